"""Keras models, live or in files: which tensor to unwrap, what its inputs are called, what the network is compared with.

Files are read without Keras. A live model is asked for its configuration and its weights, which take the same road, and
its own output is what the network is compared with first.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np

from relucidate.errors import (
    ArgumentError,
    ColumnError,
    ModelError,
    RelucidateError,
    UnsupportedModelError,
    clipped,
    shown,
)
from relucidate.features import Features
from relucidate.frameworks import keras_files, keras_graph
from relucidate.frameworks.heads import Head, link_of
from relucidate.frameworks.keras_evaluation import evaluate
from relucidate.frameworks.keras_files import Array, Stored
from relucidate.frameworks.keras_graph import Graph, Input, Model, Ref, Step
from relucidate.frameworks.keras_lowering import Lowering
from relucidate.frameworks.lowering import Basis, Builder, Expr, Indices
from relucidate.frameworks.reading import Options, Original, Reading, columns_of, probe_rows, scale_of
from relucidate.layers import Floats
from relucidate.network import Network, Provenance

MAX_COLUMNS = 2**18
_GRAPHS = ("Sequential", "Functional", "Model")
_BUILD = "Build it as a Sequential or functional model, or export it to ONNX and load that."


def recognises(model: Any) -> bool:
    """Return whether `model` is a Keras model, without importing Keras."""
    return any(c.__name__ == "Model" and _root(c) in _PACKAGES for c in type(model).__mro__)


_PACKAGES = ("keras", "tf_keras", "tensorflow")


def _root(kind: type) -> str:
    return kind.__module__.split(".")[0]


def read_file(path: Path, kind: str, options: Options) -> Reading:
    """Return the network of a `.keras` or `.h5` file, still to be proved.

    Parameters
    ----------
    kind : "keras" (a zip) or "hdf5", as the content says.

    Raises
    ------
    UnsafeFileError : Keras would run code of the file, or the file reaches outside itself.
    MalformedModelError : damaged. UnsupportedModelError : a layer that is not piecewise linear, named.
    MissingDependencyError : h5py is not installed. ArgumentError : an option that does not fit the file.
    """
    options.refuse("a Keras file", "architecture", "normalise")
    path = Path(path)
    try:
        with keras_files.opened(path, kind) as saved:
            model = keras_graph.parse(saved.config, saved.version)
            if saved.by_path is not None:
                by_path = saved.by_path
                keras_graph.assign(model, lambda layer: by_path(layer.path, layer.name))
            elif saved.by_layer is not None:
                keras_graph.assign_in_rows(model, saved.by_layer)
            return _read(model, options, (saved.source, str(path), saved.sha256), saved.size, None)
    except (ModelError, ArgumentError, ColumnError) as problem:
        raise type(problem)(f"{path}: {problem}") from None


def read(model: Any, options: Options, probe: Any = None) -> Reading:
    """Return the network of a live Keras model, still to be proved.

    Parameters
    ----------
    model : Sequential or functional, built.
    probe : not needed here; a built model says what rows it takes.

    Raises
    ------
    UnsupportedModelError : a model that is not built or no graph of layers; a layer that is not piecewise linear, named.
    ArgumentError : an option that does not fit the model.
    """
    options.refuse("a Keras model", "architecture", "normalise")
    live = _Live.of(model)
    where = f"Keras model {clipped(str(model.name))}"
    try:
        graph = keras_graph.parse(live.config, live.version, live=True)
        live.assign(graph)
        return _read(graph, options, (f"Keras {live.version} model", "", ""), model.count_params() * 4, live)
    except (ModelError, ArgumentError, ColumnError) as problem:
        raise type(problem)(f"{where}: {problem}") from None


# ---------------------------------------------------------------- inputs


@dataclass(frozen=True, eq=False)
class _Inputs:
    """The inputs of a model as columns of one table.

    Parameters
    ----------
    taken : in the order of the columns. unused : those that the output does not depend on.
    names : one per column. named : whether they say something.
    """

    taken: tuple[Input, ...]
    unused: tuple[Input, ...]
    names: tuple[str, ...]
    named: bool

    def split(self, columns: Sequence[Array]) -> dict[int, Array]:
        """Return the tensors (n, …) that the model takes, by number."""
        out, first = {}, 0
        n = len(columns[0])
        for taken in self.taken:
            width = prod(taken.shape)
            full = np.empty((n, width))
            for j in range(width):
                full[:, j] = columns[first + j]
            out[taken.number] = full.reshape(n, *taken.shape)
            first += width
        for left in self.unused:
            out[left.number] = np.zeros((n, *left.shape))
        return out


def _inputs(graph: Graph, options: Options) -> _Inputs:
    used = list(graph.used)
    if not used:
        raise UnsupportedModelError("the output depends on no input; there is nothing to unwrap.")
    unused = tuple(i for i in graph.inputs if i not in used)
    if options.inputs is not None:
        by_name = {i.name: i for i in used}
        wanted = [options.inputs] if isinstance(options.inputs, str) else list(options.inputs)
        if sorted(map(str, wanted)) != sorted(by_name):
            raise ArgumentError(
                f"inputs={wanted!r} must list each input that the output needs once: {shown(by_name, 20)}."
            )
        used = [by_name[name] for name in wanted]
    widths = [prod(i.shape) for i in used]
    if sum(widths) > MAX_COLUMNS:
        raise UnsupportedModelError(f"{sum(widths):,} input values are more than relucidate takes ({MAX_COLUMNS:,}).")
    names, named = _column_names(used, widths, options)
    return _Inputs(tuple(used), unused, names, named)


def _column_names(used: Sequence[Input], widths: Sequence[int], options: Options) -> tuple[tuple[str, ...], bool]:
    n = sum(widths)
    if options.feature_names is not None:
        names = tuple(str(name) for name in options.feature_names)
        if len(names) != n:
            raise ColumnError(f"{len(names)} feature names were given for {n} input columns; give one each.")
        return names, True
    if len(used) > 1 and max(widths) == 1:
        return tuple(i.name for i in used), True
    return tuple(f"x{i}" for i in range(n)), False


# ---------------------------------------------------------------- reading


@dataclass(frozen=True, eq=False)
class _Lowered:
    """A graph, what its output is, and where each input has its columns."""

    graph: Graph
    inputs: _Inputs
    decision: Expr
    head: Head | None
    lowering: Lowering
    place: dict[Basis, Indices]


def _lowered(graph: Graph, options: Options, size: int, names: Mapping[int, str], backend: str) -> _Lowered:
    inputs = _inputs(graph, options)
    lowering = Lowering(Builder(2**22 + 3 * size), backend)
    exprs, place, first = {}, {}, 0
    for taken in inputs.taken:
        width = prod(taken.shape)
        exprs[taken.number] = lowering.builder.input(width, taken.name, (1, *taken.shape))
        place[next(iter(exprs[taken.number].terms))] = np.arange(first, first + width)
        first += width
    value = lowering.run(graph, exprs, names)
    head = value if isinstance(value, Head) else None
    decision = value.decision if isinstance(value, Head) else value
    return _Lowered(graph, inputs, decision, head, lowering, place)


def _read(model: Model, options: Options, origin: tuple[str, str, str], size: int, live: _Live | None) -> Reading:
    output = keras_graph.chosen_output(model, options.output)
    graph = keras_graph.flattened(model, output)
    names = {step.output: step.layer.name for step in graph.steps if not step.layer.owners}
    lowered = _lowered(graph, options, size, names, live.backend if live is not None else "")
    head, inputs = lowered.head, lowered.inputs
    link = link_of(head, options.link)
    notes = [*lowered.lowering.notes, *(head.notes() if head is not None else [])]
    if inputs.unused:
        notes.append(f"inputs without influence left out: {shown([i.name for i in inputs.unused], 12)}")
    half = _half(model)
    if half and live is not None:
        raise UnsupportedModelError(
            f"its layers compute in half precision ({half}), too coarsely to be compared with. Save the model and load the "
            "file, or build it under the policy float32."
        )
    if half:
        notes.append(f"{half}: layers compute in half precision; the network is what they compute without rounding")
    features = Features.plain(len(inputs.names), inputs.names if inputs.named else None)
    last = graph.steps[-1].layer.title if graph.steps else ""
    layers = lowered.lowering.builder.layers(lowered.decision, len(features), lowered.place, last)
    source, path, digest = origin
    provenance = Provenance(source, path, digest, graph.operators, tuple(notes))
    network = Network(layers, features, link, provenance=provenance)
    centre, spread = scale_of(network)
    probe = probe_rows(network, centre, spread, n=512 if network.n_features < 20_000 else 256)
    return Reading(network, _originals(lowered, network, live, output), probe)


def _half(model: Model) -> str:
    """Return the name of a policy of half precision that some layer computes with, "" if none does."""
    for layer in model.layers():
        policy = layer.config.get("dtype")
        inner = policy.get("config") if isinstance(policy, Mapping) else policy
        name = inner.get("name") if isinstance(inner, Mapping) else inner
        if isinstance(name, str) and "float16" in name and layer.variables:
            return name
    return ""


# ---------------------------------------------------------------- what it is compared with


def _originals(lowered: _Lowered, network: Network, live: _Live | None, output: Ref) -> tuple[Original, ...]:
    head, inputs, graph = lowered.head, lowered.inputs, lowered.graph
    single = any(i.dtype != "float64" for i in inputs.taken)
    on: Literal["predict", "decision"] = "decision" if head is None and network.link != "identity" else "predict"

    def run(dtype: Any, before: Step | None = None) -> Callable[[Any], Floats]:
        def output_of(table: Any) -> Floats:
            columns = columns_of(network.features, table)
            out = evaluate(graph, inputs.split(columns), dtype, before)
            return _flat(out, head is not None and head.log and before is None)

        return output_of

    wide, rough = run(np.float64), run(np.float32)
    name = "layer-by-layer evaluation in float64"
    originals = [Original(name, wide, on, 1e-9, single)]
    if head is not None:
        originals.append(
            Original(f"{name}, before {head.op}", run(np.float64, lowered.lowering.last), "decision", 1e-9, single)
        )
    if live is None:
        return tuple(originals)

    def tolerance(table: Any) -> Floats:
        """What single precision costs here, on this row and commonly, with room for another order of sums.

        Even layers in double precision pass their products through single precision, on some backends.
        """
        exact = wide(table)
        with np.errstate(invalid="ignore", over="ignore"):
            lost = np.abs(exact - rough(table))
        lost = np.where(np.isfinite(lost), lost, 0.0)
        commonly = np.quantile(lost, 0.95, axis=0) if len(lost) else 0.0
        return 16 * (lost + commonly) / (1 + np.abs(exact)) + 2e-6

    def own(table: Any) -> Floats:
        out = live.run(inputs.split(columns_of(network.features, table)), graph.inputs, output)
        return _flat(out, head is not None and head.log)

    return (Original(live.name, own, on, tolerance, single, may_overflow=True), *originals)


def _flat(out: Array, is_log: bool) -> Floats:
    out = np.asarray(out, dtype=np.float64).reshape(len(out), -1)
    return np.exp(out) if is_log else out


# ---------------------------------------------------------------- live models


@dataclass(frozen=True, eq=False)
class _Live:
    """A model in memory."""

    model: Any
    config: dict[str, Any]
    version: str

    @staticmethod
    def of(model: Any) -> _Live:
        """Return a model with its configuration.

        Raises
        ------
        UnsupportedModelError : it is no graph of layers, or not built.
        """
        kind = type(model)
        if kind.__name__ not in _GRAPHS or _root(kind) not in _PACKAGES:
            raise UnsupportedModelError(
                f"a {kind.__module__}.{kind.__qualname__} is a model whose forward pass is Python code, which cannot be "
                f"followed. {_BUILD}"
            )
        if not model.built or not getattr(model, "inputs", None):
            raise UnsupportedModelError(
                f"the Keras model {clipped(str(model.name))} is not built, so it has no weights yet. Start it with "
                "keras.Input(shape), call model.build((None, n_features)), or pass one batch through it."
            )
        try:
            config = keras_files.parsed(model.to_json(), "the model's configuration")
        except RelucidateError:
            raise
        # get_config of any layer may raise anything; what it says is passed on
        except Exception as problem:
            raise UnsupportedModelError(
                f"the Keras model {clipped(str(model.name))} cannot write down what it is: {clipped(problem)}. {_BUILD}"
            ) from problem
        package = sys.modules.get(_root(kind))
        return _Live(model, config, str(getattr(package, "__version__", "")))

    @property
    def name(self) -> str:
        """What it is compared with is called."""
        return f"Keras {self.version}" + (f" on {self.backend}" if self.backend else "")

    @property
    def backend(self) -> str:
        """What it computes with: "torch", "jax", "tensorflow"; "" if unknown."""
        package: Any = sys.modules.get(_root(type(self.model)))
        try:
            return str(package.backend.backend())
        except AttributeError:
            return ""

    def assign(self, graph: Model) -> None:
        """Give every layer of the graph the weights of the object that it describes."""
        found: dict[int, tuple[Stored, ...]] = {}
        _pair(graph, self.model, found)
        keras_graph.assign(graph, lambda layer: found.get(id(layer), ()))

    def run(self, given: Mapping[int, Array], inputs: Sequence[Input], output: Ref) -> Array:
        """Return what the model says of some rows."""
        rows: Any = [given[i.number].astype(i.dtype) for i in inputs]
        names = keras_graph.output_names(keras_graph.parse(self.config, self.version, live=True))
        if output.layer not in names:
            return _as_numpy(self._up_to(output.layer)(rows if len(rows) > 1 else rows[0], training=False))
        if all(i.key for i in inputs):
            rows = {i.key: row for i, row in zip(inputs, rows, strict=True)}
        elif len(rows) == 1:
            (rows,) = rows
        return _as_numpy(_leaves(self.model(rows, training=False))[names.index(output.layer)])

    def _up_to(self, layer: str) -> Any:
        """Return the model that ends with one of the layers."""
        base = next(c for c in type(self.model).__mro__ if c.__name__ == "Model" and _root(c) in _PACKAGES)
        inputs = self.model.inputs
        return base(inputs if len(inputs) > 1 else inputs[0], self.model.get_layer(layer).output)


def _pair(graph: Model, model: Any, found: dict[int, tuple[Stored, ...]]) -> None:
    objects = {layer.name: layer for layer in model.layers}
    for name, member in graph.members.items():
        if isinstance(member, Model):
            _pair(member, objects[name], found)
        elif member.variables:
            variables = enumerate(objects[name].weights)
            found[id(member)] = tuple(_stored(_value_of(v), f"{name}/{i}") for i, v in variables)


def _value_of(variable: Any) -> Any:
    """Return the tensor of a variable; in older versions it is given by a method."""
    value = getattr(variable, "value", variable)
    return value() if callable(value) else value


def _stored(tensor: Any, name: str) -> Stored:
    def read() -> Array:
        wide = _as_numpy(tensor).astype(np.float64)
        keras_files.refuse_infinite(wide, name)
        return wide

    return Stored(name, tuple(int(s) for s in tensor.shape), read)


def _leaves(value: Any) -> list[Any]:
    """Return the tensors of a model's output in the order of its output layers."""
    if isinstance(value, Mapping):
        return [leaf for key in sorted(value) for leaf in _leaves(value[key])]
    return [leaf for part in value for leaf in _leaves(part)] if isinstance(value, list | tuple) else [value]


def _as_numpy(tensor: Any) -> Array:
    if hasattr(tensor, "detach"):  # numpy knows not all of PyTorch's types, but float64
        return np.asarray(tensor.detach().cpu().double().numpy())
    return np.asarray(tensor)
