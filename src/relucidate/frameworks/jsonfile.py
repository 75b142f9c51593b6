"""relucidate's own file: any canonical network as JSON, every number exactly as it is.

The schema ``relucidate.network/1``, an object with the members

- ``schema`` : ``"relucidate.network/1"``.
- ``link`` : ``"identity"``, ``"logit"``, ``"softmax"`` or ``"log"``.
- ``classes`` : labels of the classes; may be empty.
- ``outputs`` : a name per output.
- ``features`` : ``named`` and ``names`` for plain features. Else ``named``, ``columns``, ``items``, each with ``name``,
  ``column``, ``kind`` and, where they say something, ``levels`` and ``impute``; and ``known``, pairs of a column and its
  levels. See `relucidate.features`.
- ``layers`` : in order, each with ``name``, ``weight``, ``bias`` and ``activation``. A dense weight is a list of rows
  (outputs, inputs); a sparse one an object with ``shape``, ``data``, ``indices`` and ``indptr`` (CSR). An activation is
  ``"identity"`` or ``"relu"`` for all neurons of a layer, else an object with ``breakpoints`` (m, p), ``slopes`` and
  ``offsets`` (m, p + 1), where null among the breakpoints marks a place that is not used.
- ``provenance`` : ``source``, ``operators`` as pairs of a name and a number, ``notes``.

Among levels and classes, null stands for NaN (a missing value) and ``{"infinity": 1}`` or ``{"infinity": -1}`` for an
infinite number. Numbers are written with as many digits as tell every float64 from its neighbours, and NaN and Infinity
are never written as literals.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from relucidate.errors import (
    ArgumentError,
    MalformedModelError,
    RelucidateError,
    UnsupportedModelError,
    clipped,
    shown,
)
from relucidate.features import Feature, Features, Level
from relucidate.frameworks.reading import Options, Original, Reading, columns_of, probe_rows, probe_table
from relucidate.layers import Activation, Floats, Layer, is_sparse
from relucidate.network import Network, Provenance

SCHEMA = "relucidate.network/1"
MAX_LAYERS = 1_000

_ANEW = "The file is damaged; write it anew with relucidate's export."
_KINDS = ("value", "level", "other", "missing")
# What Python takes for a list or an object, and for half a text; a file of nothing else would take 20 times its size.
_LIST_BYTES, _QUOTE_BYTES = 64, 32
_SHORT_DIGITS = 5


# ---------------------------------------------------------------- writing


def write(network: Network) -> str:
    """Return a network as the text of a JSON file, with one row of numbers a line.

    Raises
    ------
    UnsupportedModelError : a class or level is neither text nor a number nor a boolean.

    Notes
    -----
    `read` gives every number back bit by bit. The faithfulness to the original is left out: it belongs to a comparison
    that the reader of the file cannot repeat. So are the path and the digest of the original.
    """
    layers = ",\n".join(_layer_text(layer) for layer in network.layers)
    provenance = {
        "source": network.provenance.source,
        "operators": [list(pair) for pair in network.provenance.operators],
        "notes": list(network.provenance.notes),
    }
    members = [
        ("schema", _text_of(SCHEMA)),
        ("link", _text_of(network.link)),
        ("classes", _text_of([_written(c, "class") for c in network.classes])),
        ("outputs", _text_of(list(network.outputs))),
        ("features", _text_of(_features_written(network.features))),
        ("layers", f"[\n{layers}\n]"),
        ("provenance", _text_of(provenance)),
    ]
    return "{\n" + ",\n".join(f'"{name}": {text}' for name, text in members) + "\n}\n"


def _text_of(value: Any) -> str:
    return json.dumps(value, allow_nan=False)


def _layer_text(layer: Layer) -> str:
    weight: Any = layer.weight
    if is_sparse(weight):
        parts = [("shape", list(weight.shape))]
        parts += [(name, getattr(weight, name).tolist()) for name in ("data", "indices", "indptr")]
        written = "{" + ",\n".join(f'"{name}": {_text_of(value)}' for name, value in parts) + "}"
    else:
        written = _rows_text(weight)
    return (
        f'{{"name": {_text_of(layer.name)},\n"weight": {written},\n"bias": {_text_of(layer.bias.tolist())},\n'
        f'"activation": {_activation_text(layer.activation)}}}'
    )


def _rows_text(array: Floats) -> str:
    return "[" + ",\n".join(_text_of(row.tolist()) for row in array) + "]"


def _activation_text(activation: Activation) -> str:
    # -0.0 counts as 0 there, but is not the same bit by bit
    signed = any(np.signbit(a).any() for a in (activation.breakpoints, activation.slopes, activation.offsets))
    if not signed or len(activation) == 0:
        if activation.is_relu:
            return '"relu"'
        if activation.is_identity or len(activation) == 0:
            return '"identity"'
    breakpoints = [[None if b == math.inf else b for b in row] for row in activation.breakpoints.tolist()]
    rows = "[" + ",\n".join(_text_of(row) for row in breakpoints) + "]"
    return (
        f'{{"breakpoints": {rows},\n"slopes": {_rows_text(activation.slopes)},\n'
        f'"offsets": {_rows_text(activation.offsets)}}}'
    )


def _features_written(features: Features) -> dict[str, Any]:
    if features.is_plain and features.names == features.columns and not features.known:
        return {"named": features.named, "names": list(features.names)}
    items = []
    for feature in features.items:
        item: dict[str, Any] = {"name": feature.name, "column": feature.column, "kind": feature.kind}
        if feature.levels:
            item["levels"] = [_written(level, "level") for level in feature.levels]
        if feature.impute is not None:
            item["impute"] = _written(feature.impute, "imputed value")
        items.append(item)
    known = [[column, [_written(level, "level") for level in levels]] for column, levels in features.known]
    return {"named": features.named, "columns": list(features.columns), "items": items, "known": known}


def _written(value: Any, what: str) -> Any:
    """Return a class or level as JSON holds it."""
    plain = plain_label(value, what)
    if isinstance(plain, float) and not math.isfinite(plain):
        return None if math.isnan(plain) else {"infinity": 1 if plain > 0 else -1}
    return plain


def plain_label(value: Any, what: str) -> Level:
    """Return a class or level as plain Python has it: text, a number or a boolean.

    Raises
    ------
    UnsupportedModelError : it is something else.
    """
    plain = value.item() if isinstance(value, np.generic) else value
    if not isinstance(plain, str | int | float):
        raise UnsupportedModelError(
            f"the {what} {clipped(value)} is a {type(value).__qualname__}; files hold text, numbers and booleans. Rename it."
        )
    return plain


# ---------------------------------------------------------------- reading


def read(path: Path, options: Options) -> Reading:
    """Return the network of a JSON file, and a plain evaluation of what stands in it to prove it against.

    Parameters
    ----------
    path : the file.
    options : `link` for a file that says "identity"; `feature_names` in place of those in the file.

    Raises
    ------
    MalformedModelError : no JSON, damaged, or something missing, of the wrong size or of the wrong kind, with its place.
    UnsupportedModelError : a schema of another version; more layers than are read.
    ArgumentError : an option that means nothing here.

    Notes
    -----
    The network is that which was written, bit by bit, with its notes; `provenance.path` and `sha256` are this file's.
    """
    options.refuse("a relucidate JSON file", "inputs", "output", "architecture", "normalise")
    try:
        text, digest = _text_and_digest(path)
        document = _document(text)
        del text  # of a large file
        network = _network(document, str(path), digest, options)
        plain = _Plain(document, network)
    except RelucidateError as problem:
        raise type(problem)(f"{path}: {problem}") from None
    name = f"plain evaluation of the file in numpy {np.__version__}"
    original = Original(name, plain.decision, "decision", plain.tolerance)
    return Reading(network, (original,), probe_table(network.features, probe_of(network)))


def probe_of(network: Network) -> Floats:
    """Return encoded rows (n, n_features) that cross many regions, at the scale that the first layer's weights suggest.

    Notes
    -----
    The spread of a feature is what moves a neuron of the first layer by about ``1 / sqrt(n_features)``.
    """
    weight: Any = network.layers[0].weight
    with np.errstate(over="ignore"):
        squares = np.asarray((weight * weight).sum(axis=0)).ravel()
        size = np.sqrt(squares / max(1, weight.shape[0]) * weight.shape[1])
        spread = 1 / np.where(size > 0, size, 1.0)
        # a weight near the end of the range asks for steps beyond it, which the probe leaves out
        return probe_rows(network, 0.0, np.minimum(spread, 1e15), n=512 if network.n_features < 20_000 else 256)


def _text_and_digest(path: Path) -> tuple[str, str]:
    """Return what the file holds, unless it is of a kind that would take many times its size to parse."""
    data = path.read_bytes()
    structure = _LIST_BYTES * (data.count(b"[") + data.count(b"{")) + _QUOTE_BYTES * data.count(b'"')
    if structure > 2 * len(data) + 2**26:
        raise MalformedModelError(
            f"the file is {len(data):,} bytes of brackets and quotes for the most part; a network is numbers. {_ANEW}"
        )
    try:
        return data.decode("utf-8-sig"), hashlib.sha256(data).hexdigest()
    except UnicodeDecodeError as problem:
        raise MalformedModelError(
            f"byte {problem.start} is no UTF-8 ({problem.reason}). Save the file as UTF-8, or write it anew."
        ) from None


def _document(text: str) -> dict[str, Any]:
    """Return the parsed file, if it is ours."""
    short: dict[str, float] = {}

    def number(digits: str) -> float:
        # a float takes 24 bytes; of the short ones, such as 0.0, one of each will do
        if len(digits) > _SHORT_DIGITS:
            return float(digits)
        return short.setdefault(digits, float(digits))

    try:
        document = json.loads(text, parse_float=number, parse_constant=_constant, object_pairs_hook=_object)
    except json.JSONDecodeError as problem:
        raise MalformedModelError(
            f"line {problem.lineno}, column {problem.colno} is no JSON: {problem.msg}. The file is cut short or damaged; "
            "write it anew with relucidate's export."
        ) from None
    except RecursionError:
        raise MalformedModelError(f"its lists are nested hundreds deep; a network's are three deep. {_ANEW}") from None
    except ValueError as problem:  # a whole number of thousands of digits
        raise MalformedModelError(f"it holds a number that cannot be read: {clipped(problem)}. {_ANEW}") from None
    if not isinstance(document, dict):
        raise MalformedModelError(f"it holds {_kind(document)}; expected an object with the schema {SCHEMA!r}. {_ANEW}")
    schema = document.get("schema")
    if schema != SCHEMA:
        if isinstance(schema, str) and schema.startswith(SCHEMA.split("/")[0] + "/"):
            raise UnsupportedModelError(
                f"its schema is {clipped(schema)}; this relucidate reads {SCHEMA!r}. Read it with the version that wrote "
                "it, or update relucidate."
            )
        raise MalformedModelError(
            f"its schema is {clipped(schema)}; expected {SCHEMA!r}. Other JSON files are not networks of relucidate."
        )
    return document


def _constant(text: str) -> Any:
    raise MalformedModelError(f"it holds {text}, which is no JSON; every number must be finite. {_ANEW}")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise MalformedModelError(f"an object has two members {clipped(twice)}; each may occur once. {_ANEW}")
    return out


def _network(document: Mapping[str, Any], path: str, digest: str, options: Options) -> Network:
    top = _members(
        document, "the file", ("schema", "link", "classes", "outputs", "features", "layers", "provenance"), ()
    )
    link = _text(top["link"], "link")
    if options.link is not None and link not in ("identity", options.link):
        raise ArgumentError(f"link={options.link!r}, but the file says {link!r}. Leave it out.")
    listed = _list(top["layers"], "layers")
    if len(listed) > MAX_LAYERS:
        raise UnsupportedModelError(
            f"it has {len(listed):,} layers; relucidate reads at most {MAX_LAYERS:,}. Merge its layers."
        )
    features = _features(top["features"])
    layers: list[Layer] = []
    for i, layer in enumerate(listed):
        width = len(layers[-1].bias) if layers else len(features)
        layers.append(_layer(layer, width, f"layers[{i}]"))
    said = _members(top["provenance"], "provenance", ("source", "operators", "notes"), ())
    try:
        network = Network(
            tuple(layers),
            features,
            options.link or link,  # type: ignore[arg-type]  # the network checks it
            tuple(_label(c, "classes") for c in _list(top["classes"], "classes")),
            tuple(_text(name, "outputs") for name in _list(top["outputs"], "outputs")),
            Provenance(
                _text(said["source"], "provenance.source"),
                path,
                digest,
                tuple(_operator(pair) for pair in _list(said["operators"], "provenance.operators")),
                tuple(_text(note, "provenance.notes") for note in _list(said["notes"], "provenance.notes")),
            ),
        )
    except ArgumentError as problem:
        raise problem if options.link else MalformedModelError(f"{problem} {_ANEW}") from None
    return network if options.feature_names is None else network.with_names(options.feature_names)


def _layer(value: Any, width: int, where: str) -> Layer:
    """Return a layer that `width` values enter."""
    parts = _members(value, where, ("name", "weight", "bias", "activation"), ())
    bias = _vector(parts["bias"], f"{where}.bias")
    # without rows there is nothing that would tell the columns
    weight = np.empty((0, width)) if parts["weight"] == [] else _weight(parts["weight"], f"{where}.weight")
    activation = _activation(parts["activation"], len(bias), f"{where}.activation")
    name = _text(parts["name"], f"{where}.name")
    try:
        return Layer(weight, bias, activation, name)
    except MalformedModelError as problem:
        raise MalformedModelError(f"{where}: {problem}") from None


def _weight(value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        return _matrix(value, where)
    parts = _members(value, where, ("shape", "data", "indices", "indptr"), ())
    shape = _whole(parts["shape"], f"{where}.shape")
    data = _vector(parts["data"], f"{where}.data")
    indices = _whole(parts["indices"], f"{where}.indices")
    indptr = _whole(parts["indptr"], f"{where}.indptr")
    if len(shape) != 2 or (shape < 0).any():
        raise MalformedModelError(f"{where}.shape is {clipped(shape.tolist())}; expected (outputs, inputs). {_ANEW}")
    rows, columns = (int(n) for n in shape)
    if (
        len(indptr) != rows + 1
        or indptr[0] != 0
        or indptr[-1] != len(data)
        or (np.diff(indptr) < 0).any()
        or len(indices) != len(data)
        or (len(indices) and not (indices.min() >= 0 and indices.max() < columns))
    ):
        raise MalformedModelError(
            f"{where} is no sparse matrix of shape {(rows, columns)}: it holds {len(data):,} numbers, {len(indices):,} "
            f"indices and {len(indptr):,} row pointers that do not fit together. {_ANEW}"
        )
    from scipy.sparse import csr_array

    return csr_array((data, indices, indptr), shape=(rows, columns))


def _activation(value: Any, m: int, where: str) -> Activation:
    if value in ("identity", "relu"):
        return Activation.of_kind(value, m)
    if isinstance(value, str):
        raise MalformedModelError(f"{where} is {clipped(value)}; expected 'identity', 'relu' or an object. {_ANEW}")
    parts = _members(value, where, ("breakpoints", "slopes", "offsets"), ())
    rows = [
        [math.inf if b is None else b for b in _list(row, f"{where}.breakpoints")]
        for row in _list(parts["breakpoints"], f"{where}.breakpoints")
    ]
    breakpoints = _matrix(rows, f"{where}.breakpoints", finite=False)
    slopes, offsets = (_matrix(parts[name], f"{where}.{name}") for name in ("slopes", "offsets"))
    try:
        return Activation(breakpoints, slopes, offsets)
    except MalformedModelError as problem:
        raise MalformedModelError(f"{where}: {problem}") from None


def _features(value: Any) -> Features:
    where = "features"
    if isinstance(value, dict) and "names" in value:
        parts = _members(value, where, ("named", "names"), ())
        names = tuple(_text(name, f"{where}.names") for name in _list(parts["names"], f"{where}.names"))
        _refuse_twice(names, f"{where}.names")
        items = tuple(Feature(name, name) for name in names)
        return Features(items, names, _boolean(parts["named"], f"{where}.named"))
    parts = _members(value, where, ("named", "columns", "items", "known"), ())
    columns = tuple(_text(name, f"{where}.columns") for name in _list(parts["columns"], f"{where}.columns"))
    _refuse_twice(columns, f"{where}.columns")
    items = tuple(
        _feature(item, columns, f"{where}.items[{i}]") for i, item in enumerate(_list(parts["items"], f"{where}.items"))
    )
    _refuse_twice([item.name for item in items], f"{where}.items")
    known = []
    for pair in _list(parts["known"], f"{where}.known"):
        if not isinstance(pair, list) or len(pair) != 2 or pair[0] not in columns:
            raise MalformedModelError(f"{where}.known holds {clipped(pair)}; expected pairs [column, levels]. {_ANEW}")
        known.append((pair[0], tuple(_label(v, f"{where}.known") for v in _list(pair[1], f"{where}.known"))))
    return Features(items, columns, _boolean(parts["named"], f"{where}.named"), tuple(known))


def _feature(value: Any, columns: Sequence[str], where: str) -> Feature:
    parts = _members(value, where, ("name", "column", "kind"), ("levels", "impute"))
    column, kind = _text(parts["column"], f"{where}.column"), parts["kind"]
    if column not in columns:
        raise MalformedModelError(f"{where}.column is {clipped(column)}, which features.columns do not name. {_ANEW}")
    if kind not in _KINDS:
        raise MalformedModelError(f"{where}.kind is {clipped(kind)}; expected one of {', '.join(_KINDS)}. {_ANEW}")
    levels = tuple(_label(v, f"{where}.levels") for v in _list(parts.get("levels", []), f"{where}.levels"))
    impute = _label(parts["impute"], f"{where}.impute") if "impute" in parts else None
    if kind == "value" and isinstance(impute, str):
        raise MalformedModelError(f"{where}.impute is {clipped(impute)}; expected a number. {_ANEW}")
    return Feature(_text(parts["name"], f"{where}.name"), column, kind, levels, impute)


# ---------------------------------------------------------------- checked parts


def _kind(value: Any) -> str:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else f"a list of {len(value):,}"
    return clipped(value)


def _members(value: Any, where: str, needed: Sequence[str], optional: Sequence[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise MalformedModelError(f"{where} is {_kind(value)}; expected an object with {', '.join(needed)}. {_ANEW}")
    missing = [name for name in needed if name not in value]
    strange = [name for name in value if name not in needed and name not in optional]
    if missing or strange:
        what = f"lacks {shown(missing)}" if missing else f"has the unknown members {shown(strange)}"
        raise MalformedModelError(f"{where} {what}; expected {', '.join(needed)}. {_ANEW}")
    return value


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise MalformedModelError(f"{where} is {_kind(value)}; expected a list. {_ANEW}")
    return value


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise MalformedModelError(f"{where} is {_kind(value)}; expected text. {_ANEW}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise MalformedModelError(f"{where} is {clipped(ascii(value))}, which is no valid text. {_ANEW}") from None
    return value


def _boolean(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise MalformedModelError(f"{where} is {_kind(value)}; expected true or false. {_ANEW}")
    return value


def _label(value: Any, where: str) -> Level:
    if value is None:
        return math.nan
    if isinstance(value, dict) and set(value) == {"infinity"} and value["infinity"] in (1, -1):
        return math.copysign(math.inf, value["infinity"])
    if isinstance(value, str):
        return _text(value, where)
    if not isinstance(value, bool | int | float) or (isinstance(value, float) and not math.isfinite(value)):
        raise MalformedModelError(f"{where} holds {_kind(value)}; expected text, a finite number or a boolean. {_ANEW}")
    return value


def _operator(value: Any) -> tuple[str, int]:
    where = "provenance.operators"
    if not isinstance(value, list) or len(value) != 2 or type(value[1]) is not int:
        raise MalformedModelError(f"{where} holds {clipped(value)}; expected pairs [name, number]. {_ANEW}")
    return _text(value[0], where), value[1]


def _refuse_twice(names: Sequence[str], where: str) -> None:
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise MalformedModelError(f"{where} names {clipped(twice)} twice; names must be unique. {_ANEW}")


def _numbers(values: list[Any], where: str, finite: bool = True) -> Floats:
    """Return a list of numbers as float64."""
    if not set(map(type, values)) <= {int, float}:
        met = next(v for v in values if type(v) not in (int, float))
        raise MalformedModelError(f"{where} holds {_kind(met)}; expected numbers. {_ANEW}")
    try:
        array = np.array(values, dtype=np.float64)
    except OverflowError:
        array = np.array([math.inf])
    if finite and not np.isfinite(array).all():
        raise MalformedModelError(f"{where} holds a number beyond the range of float64 (1.8e308). Mend it.")
    return array


def _vector(value: Any, where: str) -> Floats:
    return _numbers(_list(value, where), where)


def _matrix(value: Any, where: str, finite: bool = True) -> Floats:
    rows = [_list(row, where) for row in _list(value, where)]
    lengths = {len(row) for row in rows}
    if len(lengths) > 1:
        raise MalformedModelError(
            f"{where} has rows of {shown(sorted(lengths))} numbers; all must have the same number. {_ANEW}"
        )
    if not rows:
        raise MalformedModelError(f"{where} is empty; expected a row for each neuron. {_ANEW}")
    out = np.empty((len(rows), lengths.pop()))
    for i, row in enumerate(rows):
        out[i] = _numbers(row, f"{where}[{i}]", finite)
    return out


def _whole(value: Any, where: str) -> np.ndarray[Any, np.dtype[np.int64]]:
    values = _list(value, where)
    if not set(map(type, values)) <= {int} or not all(abs(v) < 2**63 for v in values):
        met = next(v for v in values if type(v) is not int or abs(v) >= 2**63)
        raise MalformedModelError(f"{where} holds {_kind(met)}; expected whole numbers. {_ANEW}")
    return np.array(values, dtype=np.int64)


# ---------------------------------------------------------------- what it is compared with


@dataclass(frozen=True, eq=False)
class _Plain:
    """The parsed file run as it stands: cells are encoded one by one, layers evaluated one after the other."""

    document: Mapping[str, Any]
    network: Network

    def decision(self, table: Any) -> Floats:
        """Return the output of the last layer."""
        a = self._encoded(table)
        for layer in self.document["layers"]:
            z = _affine(layer["weight"], a, False) + np.array(layer["bias"], dtype=np.float64)
            a = _activated(layer["activation"], z)
        return a

    def tolerance(self, table: Any) -> Floats:
        """Return what rounding may do to each value (n, n_outputs): 1e-9, or more where large terms cancel."""
        size = np.abs(self._encoded(table))
        for layer in self.document["layers"]:
            size = _affine(layer["weight"], size, True) + np.abs(np.array(layer["bias"], dtype=np.float64))
            if isinstance(layer["activation"], dict):
                steep = np.abs(np.array(layer["activation"]["slopes"], dtype=np.float64)).max(axis=1)
                size = size * steep + np.abs(np.array(layer["activation"]["offsets"], dtype=np.float64)).max(axis=1)
        return np.maximum(1e-9, 16 * np.finfo(float).eps * size / (1 + np.abs(self.decision(table))))

    def _encoded(self, table: Any) -> Floats:
        columns = columns_of(self.network.features, table)
        features = self.document["features"]
        if "names" in features:
            return np.column_stack([np.asarray(column, dtype=np.float64) for column in columns])
        cells = {name: column.tolist() for name, column in zip(features["columns"], columns, strict=True)}
        return np.column_stack([[_encoded(cell, item) for cell in cells[item["column"]]] for item in features["items"]])


def _encoded(cell: Any, item: Mapping[str, Any]) -> float:
    """Return the number that one cell becomes."""
    missing = cell is None or cell != cell
    if item["kind"] == "missing":
        return float(missing)
    if missing:
        cell = item.get("impute")
    if item["kind"] == "value":
        return math.nan if cell is None else float(cell)
    among = any(_same(cell, level) for level in item.get("levels", ()))
    return float(among == (item["kind"] == "level"))


def _same(cell: Any, level: Any) -> bool:
    if isinstance(level, dict):
        level = math.copysign(math.inf, level["infinity"])
    return bool(isinstance(cell, str) == isinstance(level, str) and cell == level)


def _affine(weight: Any, a: Floats, absolute: bool) -> Floats:
    """Return the products (n, m) of rows with a weight as it stands in the file, or with its absolute values."""
    of: Callable[[Floats], Floats] = np.abs if absolute else np.asarray
    if isinstance(weight, list):
        if not weight:
            return np.zeros((len(a), 0))
        return a @ of(np.array(weight, dtype=np.float64)).T
    m = weight["shape"][0]
    data = of(np.array(weight["data"], dtype=np.float64))
    indices = np.array(weight["indices"], dtype=np.intp)
    indptr: Any = np.array(weight["indptr"], dtype=np.intp)
    row_of = np.repeat(np.arange(m), indptr[1:] - indptr[:-1])
    summed: Iterable[Any] = map(partial(np.bincount, row_of, minlength=m), (data * row[indices] for row in a))
    return np.array(list(summed)).reshape(len(a), m)


def _activated(activation: Any, z: Floats) -> Floats:
    """Return the values at preactivations (n, m): of each neuron, on the piece that its breakpoints below z select."""
    if isinstance(activation, str):
        return np.maximum(z, 0.0) if activation == "relu" else z
    out = np.empty_like(z)
    parts = zip(activation["breakpoints"], activation["slopes"], activation["offsets"], strict=True)
    for j, (breakpoints, slopes, offsets) in enumerate(parts):
        places = np.array([b for b in breakpoints if b is not None], dtype=np.float64)
        piece = np.searchsorted(places, z[:, j], side="left")
        out[:, j] = np.array(slopes, dtype=np.float64)[piece] * z[:, j] + np.array(offsets, dtype=np.float64)[piece]
    return out
