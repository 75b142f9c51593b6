"""ONNX files: which tensor to unwrap, what its inputs are called, and what the network is compared with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np

from relucidate.errors import (
    ArgumentError,
    ColumnError,
    MalformedModelError,
    ModelError,
    UnsupportedModelError,
    ValueInDataError,
    clipped,
    shown,
)
from relucidate.features import Feature, Features
from relucidate.frameworks.heads import Head, link_of
from relucidate.frameworks.lowering import Basis, Builder, Expr, Indices, numbers_in
from relucidate.frameworks.onnx_evaluation import Evaluation
from relucidate.frameworks.onnx_graph import FLOATS, INTEGERS, Array, Graph, Tensor, numbers_convolved, parse
from relucidate.frameworks.onnx_lowering import Lowering
from relucidate.frameworks.onnx_values import MAX_COLUMNS, Columns, raw_columns
from relucidate.frameworks.reading import Options, Original, Reading, columns_of, probe_rows, probe_table, scale_of
from relucidate.layers import Floats
from relucidate.network import Link, Network, Provenance
from relucidate.products import one_thread

_FLOAT32, _STRING, _FLOAT16, _DOUBLE = 1, 8, 10, 11
_DTYPES: dict[int, Any] = {_FLOAT32: np.float32, _FLOAT16: np.float16, _DOUBLE: np.float64, _STRING: object}
_INT_DTYPES: dict[int, Any] = {
    2: np.uint8,
    3: np.int8,
    4: np.uint16,
    5: np.int16,
    6: np.int32,
    7: np.int64,
    9: np.bool_,
    12: np.uint32,
    13: np.uint64,
}

# Probe rows of a heavy network are fewer, so that comparing stays a matter of seconds: rows times weights.
_PROBED_NUMBERS = 2**28
_TENSOR_NUMBERS = 2**22


def recognises(model: Any) -> bool:
    """Return whether `model` is an ONNX model in memory, without importing onnx."""
    return type(model).__name__ == "ModelProto" and type(model).__module__.startswith("onnx")


def read(model: Any, options: Options) -> Reading:
    """Return the network of an ONNX file or `onnx.ModelProto`, still to be proved.

    Parameters
    ----------
    model : path of the file, or a model in memory.

    Raises
    ------
    MalformedModelError : damaged. UnsafeFileError : weights outside the file's folder.
    UnsupportedModelError : a node that is not piecewise linear, named with its position; several inputs or outputs to
        choose from.
    ArgumentError : an option that does not fit the file.
    """
    options.refuse("an ONNX file", "architecture", "normalise")
    if recognises(model):
        data, path, folder = model.SerializeToString(), "", None
    else:
        data, path, folder = Path(model).read_bytes(), str(model), Path(model).parent
    where = path or "this ONNX model"
    graph = parse(data, where, folder)
    sha256 = hashlib.sha256(data).hexdigest()
    del data  # the graph holds the bytes that are run
    try:
        return _read(graph, sha256, path, options)
    except (ModelError, ArgumentError, ColumnError) as problem:
        raise type(problem)(f"{where}: {problem}") from None


# ---------------------------------------------------------------- inputs


@dataclass(frozen=True, eq=False)
class Inputs:
    """The inputs that a caller passes, as columns of one table.

    Parameters
    ----------
    tensors : in the order of the columns.
    shapes : of one row of each, the batch axis counting 1.
    batched : whether the first axis of the tensors counts rows.
    batch : how many rows the file takes at once; None for any number.
    unused : inputs that the output does not depend on.
    names : one per column. named : whether they say something.
    """

    tensors: tuple[Tensor, ...]
    shapes: tuple[tuple[int, ...], ...]
    batched: bool
    batch: int | None
    unused: tuple[Tensor, ...]
    names: tuple[str, ...]
    named: bool

    @property
    def kinds(self) -> tuple[Literal["float", "int", "text"], ...]:
        """What the cells of each column are."""
        return tuple(_kind(t) for t, shape in zip(self.tensors, self.shapes, strict=True) for _ in range(prod(shape)))

    def values(self) -> dict[str, Columns]:
        """Return the tensors of one row as columns that nothing was computed from yet."""
        out, first = {}, 0
        for tensor, shape in zip(self.tensors, self.shapes, strict=True):
            out[tensor.name] = raw_columns(first, shape, _kind(tensor))
            first += prod(shape)
        return out

    def tables(self, columns: Sequence[Array]) -> list[Array]:
        """Return for each tensor its rows (n, width), in the type that the file takes."""
        out, first = [], 0
        n = len(columns[0]) if columns else 0
        for tensor, shape in zip(self.tensors, self.shapes, strict=True):
            width = prod(shape)
            cells = [_typed(columns[first + j], tensor.kind, self.names[first + j]) for j in range(width)]
            first += width
            full = np.empty((n, width), dtype=cells[0].dtype)
            for j, column in enumerate(cells):
                full[:, j] = column
            out.append(full)
        return out

    def feeds(self, tables: Sequence[Array], rows: Any) -> dict[str, Array]:
        """Return the arrays that the file takes for some rows of its tables."""
        out: dict[str, Array] = {}
        n = 0
        for tensor, shape, table in zip(self.tensors, self.shapes, tables, strict=True):
            part = table[rows]
            n = len(part)
            out[tensor.name] = part.reshape((n, *shape[1:]) if self.batched else shape)
        for tensor in self.unused:
            fill: Any = "" if tensor.kind == _STRING else 0
            shape = tuple(s or 1 for s in tensor.shape)
            shape = (n, *shape[1:]) if self.batched and shape else shape
            out[tensor.name] = np.full(shape, fill, dtype=_DTYPES.get(tensor.kind) or _INT_DTYPES[tensor.kind])
        return out


def _kind(tensor: Tensor) -> Literal["float", "int", "text"]:
    if tensor.kind in FLOATS:
        return "float"
    if tensor.kind in INTEGERS:
        return "int"
    if tensor.kind == _STRING:
        return "text"
    raise UnsupportedModelError(f"the input {clipped(tensor.name)} has elements of a type that no table holds.")


def _typed(cells: Array, kind: int, name: str) -> Array:
    if kind == _STRING:
        out = np.empty(len(cells), dtype=object)
        out[:] = ["" if v is None or v != v else str(v) for v in cells.tolist()]
        return out
    if kind in _DTYPES:
        return cells.astype(_DTYPES[kind])
    whole = cells.astype(np.float64)
    if not (whole == np.rint(whole)).all():
        row = int(np.flatnonzero(whole != np.rint(whole))[0])
        raise ValueInDataError(f"Column {clipped(name)} takes whole numbers in this file; row {row} has {cells[row]}.")
    low, high = _range(kind)
    if ((whole < low) | (whole > high)).any():
        raise ValueInDataError(f"Column {clipped(name)} takes whole numbers from {low} to {high} in this file.")
    return whole.astype(_INT_DTYPES[kind])


def _range(kind: int) -> tuple[float, float]:
    """Return the whole numbers that an input type holds and float64 tells apart."""
    dtype = _INT_DTYPES[kind]
    if dtype is np.bool_:
        return 0, 1
    return max(int(np.iinfo(dtype).min), -(2**53)), min(int(np.iinfo(dtype).max), 2**53)


def _chosen_inputs(graph: Graph, output: str, options: Options, batched: bool) -> Inputs:
    nodes = graph.ancestors(output)
    needed = {name for node in nodes for name in node.inputs} | {output}
    used = [t for t in graph.inputs if t.name in needed]
    if not used:
        raise UnsupportedModelError(f"the output {clipped(output)} depends on no input; there is nothing to unwrap.")
    unused = tuple(t for t in graph.inputs if t.name not in needed)
    if options.inputs is not None:
        by_name = {t.name: t for t in used}
        wanted = [options.inputs] if isinstance(options.inputs, str) else list(options.inputs)
        if sorted(wanted) != sorted(by_name):
            raise ArgumentError(
                f"inputs={wanted!r} must list each input that the output needs once: {shown(by_name, 20)}."
            )
        used = [by_name[name] for name in wanted]
    shapes = [_one_row(graph, t, batched, len(used)) for t in used]
    widths = [prod(shape) for shape in shapes]
    if len(used) > 1 and max(widths) > 1 and options.inputs is None:
        listed = shown([f"{t.name} ({w} columns)" for t, w in zip(used, widths, strict=True)], 12)
        raise UnsupportedModelError(
            f"the network has {len(used)} inputs, {listed}, and their order is not evident. Give "
            f"inputs={[t.name for t in used][:4]!r}: their columns are then taken in that order."
        )
    first = used[0].shape[:1]
    batch = first[0] if batched and first else (None if batched else 1)
    if sum(widths) > MAX_COLUMNS:
        raise UnsupportedModelError(f"{sum(widths):,} input values are more than relucidate takes ({MAX_COLUMNS:,}).")
    names, named = _column_names(graph, used, widths, options)
    return Inputs(tuple(used), tuple(shapes), batched, batch, unused, names, named)


def _one_row(graph: Graph, tensor: Tensor, batched: bool, n_inputs: int) -> tuple[int, ...]:
    """Return the shape of an input for one row."""
    if tensor.kind == 0:
        raise UnsupportedModelError(f"the input {clipped(tensor.name)} is no tensor.")
    dims = list(tensor.shape)
    if batched and dims:
        dims[0] = 1
    open_axes = [i for i, d in enumerate(dims) if d is None]
    if open_axes == [len(dims) - 1]:
        width = _width_from_use(graph, tensor.name)
        dims[-1] = 1 if width is None and n_inputs > 1 else width
    if None in dims or not dims:
        raise UnsupportedModelError(
            f"the file leaves open how many values the input {clipped(tensor.name)} holds (declared shape "
            f"{list(tensor.shape)}). Export it with fixed sizes for all but the first axis."
        )
    return tuple(int(d or 0) for d in dims)


def _width_from_use(graph: Graph, name: str) -> int | None:
    """Return how many features an input of undeclared width has, from the weights that it meets."""
    alive = {name}
    for node in graph.nodes:
        if not alive & set(node.inputs):
            continue
        constants = [graph.constants[i] for i in node.inputs if i in graph.constants]
        if node.op == "MatMul" and len(constants) == 1 and constants[0].ndim >= 2:
            return int(constants[0].shape[-2] if node.inputs[1] in graph.constants else constants[0].shape[-1])
        if node.op == "Gemm" and node.inputs[1] in graph.constants:
            return int(graph.constants[node.inputs[1]].shape[1 if node.attribute("transB", 0) else 0])
        for attribute in ("offset", "scale", "imputed_value_floats"):
            if len(node.attribute(attribute) or ()) > 1:
                return len(node.attribute(attribute))
        if node.op in ("Add", "Sub", "Mul", "Div", "BatchNormalization"):
            for constant in constants:
                if constant.ndim and constant.shape[-1] > 1:
                    return int(constant.shape[-1])
        if node.op in ("Add", "Sub", "Mul", "Div", "Cast", "Identity", "Dropout", "Relu", "Clip", "Scaler", "Imputer"):
            alive.update(node.outputs)
    return None


def _column_names(
    graph: Graph, used: Sequence[Tensor], widths: Sequence[int], options: Options
) -> tuple[tuple[str, ...], bool]:
    n = sum(widths)
    if options.feature_names is not None:
        names = tuple(str(name) for name in options.feature_names)
        if len(names) != n:
            raise ColumnError(f"{len(names)} feature names were given for {n} input columns; give one each.")
        return names, True
    stored = _json_list(graph, "relucidate.feature_names")
    if stored is not None:
        if len(stored) != n:
            raise MalformedModelError(
                f"its metadata name {len(stored)} features, but {n} columns enter. Give feature_names=[…] when loading."
            )
        return tuple(str(name) for name in stored), True
    if len(used) > 1:
        pairs = zip(used, widths, strict=True)
        return tuple(t.name if w == 1 else f"{t.name}_{j}" for t, w in pairs for j in range(w)), True
    return tuple(f"x{i}" for i in range(n)), False


def _json_list(graph: Graph, key: str) -> list[Any] | None:
    if key not in graph.metadata:
        return None
    stored = graph.metadata[key]
    try:
        value = json.loads(stored)
    except ValueError:
        value = None
    if not isinstance(value, list) or not all(isinstance(v, str | int | float | bool) for v in value):
        raise MalformedModelError(f"its metadata entry {key!r} must be a JSON list; got {clipped(stored)}.")
    return value


# ---------------------------------------------------------------- output


def _chosen_output(graph: Graph, wanted: str | None) -> str:
    names = [t.name for t in graph.outputs]
    if wanted is not None:
        if wanted in names or wanted in graph.maker:
            return wanted
        raise ArgumentError(f"output={wanted!r} is no tensor of the file; its outputs are {shown(names, 20)}.")
    scores = [t for t in graph.outputs if t.kind in FLOATS or t.kind == 0]
    if len(scores) == 1:
        return scores[0].name
    if not names:
        raise MalformedModelError("the graph has no output.")
    if not scores:
        raise UnsupportedModelError(
            f"its only outputs, {shown(names, 12)}, are labels. Give output= the tensor that holds the scores."
        )
    raise UnsupportedModelError(
        f"the network has {len(scores)} outputs, {shown([t.name for t in scores], 12)}. Give output= the one to unwrap."
    )


def _labels(graph: Graph, score: str, size: int) -> tuple[Any, ...]:
    """Return the classes that the file's own label path picks from, () if there is none."""
    for node in graph.nodes:
        if node.op == "ArrayFeatureExtractor" and node.inputs[0] in graph.constants:
            table = graph.constants[node.inputs[0]].ravel().tolist()
            made_by = graph.maker.get(node.inputs[1])
            if len(table) == size and made_by is not None and made_by.op == "ArgMax":
                return tuple(table)
        if node.op == "LabelEncoder":
            table = node.attribute("values_strings") or node.attribute("values_int64s") or []
            made_by = graph.maker.get(node.inputs[0])
            if len(table) == size and made_by is not None and made_by.op in ("ArgMax", "Cast", "Reshape"):
                return tuple(table)
    return ()


# ---------------------------------------------------------------- reading


@dataclass(frozen=True, eq=False)
class _Lowered:
    """What the chosen output is."""

    decision: Expr
    head: Head | None
    tensor: str  # the tensor that holds the decision
    sign: float
    lowering: Lowering
    inputs: Inputs


def _lowered(graph: Graph, output: str, options: Options) -> _Lowered:
    """Lower the graph; its first axis counts rows, unless it only makes sense as part of one row."""
    ranks = {len(t.shape) for t in graph.inputs if t.kind}
    fixed = {t.shape[0] for t in graph.inputs if t.shape}
    rows_first = ranks != {1}
    if rows_first:
        try:
            return _lowered_as(graph, output, options, batched=True)
        except ModelError:
            if None in fixed or fixed <= {1} or len(graph.inputs) != 1:
                raise
            try:
                return _lowered_as(graph, output, options, batched=False)
            except ModelError:
                pass  # the first reading is the usual one, and its message the one that helps
            raise
    return _lowered_as(graph, output, options, batched=False)


def _lowered_as(graph: Graph, output: str, options: Options, *, batched: bool) -> _Lowered:
    inputs = _chosen_inputs(graph, output, options, batched)
    budget = Builder()
    for node, numbers in numbers_convolved(graph, graph.ancestors(output)):
        try:
            budget.afford_map(numbers)
        except UnsupportedModelError as problem:
            raise UnsupportedModelError(f"{node.label}: {problem}") from None
    lowering = Lowering(graph, inputs.names, inputs.batch, Builder(2**22 + 3 * graph.numbers))
    value = lowering.run(inputs.values(), output)
    if isinstance(value, Head):
        complement = value.form == "complement"
        decision = lowering.builder.scale(value.decision, -1.0) if complement else value.decision
        return _Lowered(decision, value, value.tensor, -1.0 if complement else 1.0, lowering, inputs)
    if isinstance(value, np.ndarray):
        raise UnsupportedModelError(f"the output {clipped(output)} is a constant; there is nothing to unwrap.")
    return _Lowered(lowering.numeric(value), None, output, 1.0, lowering, inputs)


def _read(graph: Graph, sha256: str, path: str, options: Options) -> Reading:
    output = _chosen_output(graph, options.output)
    lowered = _lowered(graph, output, options)
    head, inputs, notes = lowered.head, lowered.inputs, lowered.lowering.notes
    link = link_of(head, options.link)
    features, place = _features(lowered)
    maker = graph.maker.get(lowered.tensor)
    layers = lowered.lowering.builder.layers(lowered.decision, len(features), place, maker.title if maker else "")
    classes = _classes(graph, head, link, output, lowered.decision.size)
    if head is not None:
        notes += head.notes()
    for name, digest in graph.outside.items():
        notes.append(f"tensors stored in {clipped(name)}, SHA-256 {digest}; the model's own covers its file alone")
    if graph.objection:
        notes.append(f"onnx's inference of shapes objects: {graph.objection}")
    if inputs.unused:
        notes.append(f"inputs without influence left out: {shown([t.name for t in inputs.unused], 12)}")
    if inputs.batch is not None and inputs.batched:
        notes.append(
            f"the file is fixed to {inputs.batch} row{'s' * (inputs.batch > 1)} at a time; any number is taken"
        )
    network = Network(
        layers,
        features,
        link,
        classes,
        provenance=Provenance(graph.source, path, sha256, graph.operators, tuple(notes)),
    )
    probe = _probe(network, lowered)
    originals = _originals(graph, output, lowered, network, probe, notes)
    if network.provenance.notes != tuple(notes):
        network = _with_notes(network, notes)
    return Reading(network, originals, probe)


def _with_notes(network: Network, notes: Sequence[str]) -> Network:
    return replace(network, provenance=replace(network.provenance, notes=tuple(notes)))


def _classes(graph: Graph, head: Head | None, link: Link, output: str, size: int) -> tuple[Any, ...]:
    if link not in ("logit", "softmax") or (link == "logit" and size > 1):
        return ()
    n = max(size, 2)
    stored = _json_list(graph, "relucidate.classes")
    found = tuple(stored) if stored is not None else (head.classes if head else ()) or _labels(graph, output, n)
    if found and len(found) != n:
        raise MalformedModelError(f"the file names {len(found)} classes, {shown(found)}, for {n} probabilities.")
    if head is not None and head.form == "complement":
        found = found[::-1]
    return found


def _features(lowered: _Lowered) -> tuple[Features, dict[Basis, Indices]]:
    """Return the features of the network, and where each block of them has its place."""
    lowering, inputs = lowered.lowering, lowered.inputs
    column_of = {name: i for i, name in enumerate(inputs.names)}
    made = list(dict.fromkeys(f for block in lowering.blocks.values() for f in block))
    plain = all(f.kind == "value" and f.impute is None for f in made) and "text" not in inputs.kinds
    if plain:
        features = Features.plain(len(inputs.names), inputs.names if inputs.named else None)
        at = {Feature(name, name): i for i, name in enumerate(inputs.names)}
    else:
        items = tuple(sorted(made, key=lambda f: column_of[f.column]))
        names = [f.name for f in items]
        if len(set(names)) != len(names):
            twice = sorted({name for name in names if names.count(name) > 1})
            raise UnsupportedModelError(f"{shown(twice)} enter the network in two forms, as they are and imputed.")
        features = Features(items, inputs.names, inputs.named, tuple(lowering.known.items()))
        at = {f: i for i, f in enumerate(items)}
    return features, {basis: np.array([at[f] for f in block]) for basis, block in lowering.blocks.items()}


# ---------------------------------------------------------------- what it is compared with


def _probe(network: Network, lowered: _Lowered) -> Any:
    inputs = lowered.inputs
    centre, spread = scale_of(network)
    work = sum(numbers_in(layer.weight) for layer in network.layers) + lowered.lowering.values_made
    n = int(np.clip(_PROBED_NUMBERS // max(1, work), 64, 512 if network.n_features < 20_000 else 256))
    rows = probe_rows(network, centre, spread, n=n)
    types = [t.kind for t, shape in zip(inputs.tensors, inputs.shapes, strict=True) for _ in range(prod(shape))]
    type_of = dict(zip(inputs.names, types, strict=True))
    for j, feature in enumerate(network.features.items):
        if type_of[feature.column] in _INT_DTYPES:
            rows[:, j] = np.clip(np.rint(rows[:, j]), *_range(type_of[feature.column]))
    return probe_table(network.features, rows)


def _rows_at_once(network: Network) -> int:
    """Return for how many rows a graph is evaluated at once, so that each of its tensors holds a few megabytes."""
    widest = max(max(layer.weight.shape) for layer in network.layers)
    return max(2, _TENSOR_NUMBERS // widest)


@dataclass(eq=False)
class _Run:
    """Runs a graph on the rows of a table, many at once where the file takes that.

    Parameters
    ----------
    run : feeds -> the tensors asked for.
    rows : how many at once at most, so that what is computed on the way stays small.
    """

    inputs: Inputs
    features: Features
    run: Callable[[Mapping[str, Array]], Sequence[Array]]
    rows: int
    # several comparisons ask for the same rows
    _last: tuple[list[Array], list[Floats]] | None = None

    def __call__(self, table: Any) -> list[Floats]:
        """Return the tensors, each (n, values)."""
        tables = self.inputs.tables(columns_of(self.features, table))
        if self._last is None or not all(map(_equal, tables, self._last[0])):
            with one_thread():  # products of single rows gain nothing from threads, and lose much where cores are busy
                self._last = tables, self._computed(tables, len(tables[0]))
        return self._last[1]

    def _computed(self, tables: Sequence[Array], n: int) -> list[Floats]:
        if self.inputs.batch is None and n > 1:
            try:
                return self._in_parts(tables, n, max(2, min(n, self.rows)))
            except (ValueError, IndexError, RuntimeError):
                pass  # a shape that is fixed inside the file; then row by row, where the same trouble would show
        step = self.inputs.batch or 1
        parts = []
        for start in range(0, n, step):
            rows = np.minimum(np.arange(start, start + step), n - 1)
            made = self.run(self.inputs.feeds(tables, rows))
            parts.append([np.asarray(out, dtype=np.float64).reshape(step, -1)[: n - start] for out in made])
        return [np.concatenate(outs) for outs in zip(*parts, strict=True)]

    def _in_parts(self, tables: Sequence[Array], n: int, step: int) -> list[Floats]:
        parts = []
        for start in range(0, n, step):
            made = self.run(self.inputs.feeds(tables, slice(start, start + step)))
            rows = min(step, n - start)
            if any(out.ndim == 0 or len(out) != rows for out in made):
                raise ValueError("a tensor that does not hold something for each row")
            parts.append([np.asarray(out, dtype=np.float64).reshape(rows, -1) for out in made])
        return [np.concatenate(outs) for outs in zip(*parts, strict=True)]


def _equal(a: Array, b: Array) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


def _originals(
    graph: Graph, output: str, lowered: _Lowered, network: Network, probe: Any, notes: list[str]
) -> tuple[Original, ...]:
    head, inputs = lowered.head, lowered.inputs
    single = any(t.kind in (_FLOAT32, _FLOAT16) for t in inputs.tensors)
    on: Literal["predict", "decision"] = "predict" if head is not None else "decision"
    if network.link == "identity":
        on = "predict"

    step = _rows_at_once(network)
    targets = [output] if head is None else [output, lowered.tensor]
    wide_run = _Run(inputs, network.features, Evaluation(graph, targets, widen=True), step)
    declared_run = _Run(inputs, network.features, Evaluation(graph, [output], widen=False), step)

    def as_predicted(run: _Run) -> Callable[[Any], Floats]:
        def output_of(table: Any) -> Floats:
            out = run(table)[0]
            out = np.exp(out) if head is not None and head.log else out
            return out[:, 1:] if head is not None and head.form == "pair" else out

        return output_of

    wide, declared = as_predicted(wide_run), as_predicted(declared_run)
    originals = [Original("node-by-node evaluation in float64", wide, on, 1e-9, single)]
    if head is not None:
        name = f"node-by-node evaluation in float64, before {head.op}"
        originals.append(Original(name, lambda t: lowered.sign * wide_run(t)[1], "decision", 1e-9, single))
    runtime = _onnxruntime(graph, output, lambda run: _Run(inputs, network.features, run, step), probe, notes)
    if runtime is not None:
        name, run = runtime

        def tolerance(table: Any) -> Floats:
            """What the declared precision costs here, on this row and commonly, with room for another order of sums."""
            exact, rough = wide(table), declared(table)
            with np.errstate(invalid="ignore", over="ignore"):
                lost = np.abs(exact - rough)
            lost = np.where(np.isfinite(lost), lost, 0.0)
            commonly = np.quantile(lost, 0.95, axis=0) if len(lost) else 0.0
            return 16 * (lost + commonly) / (1 + np.abs(exact)) + (2e-6 if _is_single(graph) else 1e-9)

        original = Original(name, as_predicted(run), on, tolerance, single, may_overflow=_is_single(graph))
        originals.insert(0, original)
    return tuple(originals)


def _is_single(graph: Graph) -> bool:
    """Whether any part of the graph computes in less than double precision."""
    return (
        any(t.kind in (_FLOAT32, _FLOAT16) for t in graph.inputs)
        or any(a.dtype in (np.float32, np.float16) for a in graph.constants.values())
        or any(
            node.domain or (node.op == "Cast" and node.attribute("to") in (_FLOAT32, _FLOAT16)) for node in graph.nodes
        )
    )


def _onnxruntime(
    graph: Graph, output: str, on_rows: Callable[[Any], _Run], probe: Any, notes: list[str]
) -> tuple[str, _Run] | None:
    """Return onnxruntime as an original, where it is installed, gives this tensor and can run the file."""
    from relucidate.onnx_writing import runtime

    try:
        onnxruntime = runtime()
    except ImportError:
        notes.append("not compared with onnxruntime, which is not installed")
        return None
    name = f"onnxruntime {onnxruntime.__version__}"
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    settings.log_severity_level = 4
    data = graph.data
    if output not in [t.name for t in graph.outputs]:
        model = graph.model.__class__()
        model.CopyFrom(graph.model)
        model.graph.output.add(name=output)
        data = model.SerializeToString()
    try:
        session = onnxruntime.InferenceSession(data, settings, providers=["CPUExecutionProvider"])
        run = on_rows(lambda feeds: [_asked(session, output, feeds)])
        run(probe[:1])
    # onnxruntime's errors have no common class but Exception; what it cannot run is said in the notes
    except Exception as problem:
        notes.append(
            f"not compared with {name}, which cannot run the file: {clipped(' '.join(str(problem).split()), 160)}"
        )
        return None
    return name, run


def _asked(session: Any, output: str, feeds: Mapping[str, Array]) -> Array:
    expected = {i.name for i in session.get_inputs()}
    try:
        (out,) = session.run([output], {name: a for name, a in feeds.items() if name in expected})
    except Exception as problem:
        raise RuntimeError(f"onnxruntime: {problem}") from problem
    if isinstance(out, list):  # what a ZipMap makes: a dictionary for each row
        return np.array([list(row.values()) for row in out], dtype=np.float64)
    return np.asarray(out)
