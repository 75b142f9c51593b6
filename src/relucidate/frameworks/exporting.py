"""Writing networks for other programs: ONNX, PyTorch, safetensors, JSON and plain arrays, each read back and compared."""

from __future__ import annotations

import io
import json
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

import relucidate
from relucidate import deploying
from relucidate.errors import (
    ArgumentError,
    MissingDependencyError,
    RelucidateError,
    UnfaithfulError,
    UnsupportedModelError,
    clipped,
    shown,
)
from relucidate.features import Features
from relucidate.frameworks import _proved, jsonfile, load
from relucidate.frameworks.reading import Options, Original, Reading
from relucidate.layers import Activation, Floats, Layer, is_sparse
from relucidate.network import Network, Provenance
from relucidate.outputs import atomic_file
from relucidate.simplified import Simplified

Format = Literal["onnx", "torch", "safetensors", "json", "arrays"]
Kind = Literal["identity", "relu", "abs", "prelu", "max", "min", "clip"]
Arrays: TypeAlias = tuple[list[Floats], list[Floats]]

_FORMAT_OF = {
    ".onnx": "onnx",
    ".pt": "torch",
    ".pth": "torch",
    ".safetensors": "safetensors",
    ".json": "json",
    ".npz": "arrays",
}
_LIVE = ("onnx", "torch", "arrays")
_TOLERANCE = 1e-10
_OPSET, _IR = 17, 8  # the newest that onnxruntime computes throughout in double precision
_LARGEST_DENSE = 2**26
_LARGEST_ONNX = 2**31 - 2**20  # bytes that protobuf can hold
_LARGEST_LOG = 700.0
_CLIPS = 16  # Clip has one pair of limits; a layer with more pairs than this takes Max and Min, which have one a neuron
_RELU_ONLY: frozenset[Kind] = frozenset({"relu"})
_ALL_KINDS: frozenset[Kind] = frozenset(get_args(Kind))


def export(
    network: Network | Simplified | deploying.Deployed,
    path: str | os.PathLike[str] | None = None,
    *,
    format: Format | deploying.Format | None = None,
    **options: Any,
) -> Any:
    """Return the path of a file that holds the network, or without `path` the network as an object of another framework.

    Parameters
    ----------
    network : what to write. A `Simplified` is written by `relucidate.deploying.export`, as ONNX, Python, SQL, JSON or a
        scorecard; `options` are its own.
    path : file to write; an earlier file stays until the new one is complete and compared. None for an object.
    format : "onnx" (`.onnx`), "torch" (`.pt`, `.pth`), "safetensors" (`.safetensors`), "json" (`.json`) or "arrays"
        (`.npz`); what the name of the file says if not given.

    Returns
    -------
    The path; without one

    - "onnx" : an `onnx.ModelProto`.
    - "torch" : a `torch.nn.Sequential` of float64 modules, in evaluation mode.
    - "arrays" : ``(weights, biases)``, weights (inputs, outputs) as scikit-learn keeps them, all hidden layers ReLU.
      `relucidate.load` takes them back.

    Raises
    ------
    ArgumentError : no format is named or implied, two formats are, or `network` is no network.
    UnsupportedModelError : the format cannot hold this network; the message says which can.
    UnfaithfulError : what was read back does not equal the network; nothing is left behind.
    OutputError : the file cannot be written.
    MissingDependencyError : torch or safetensors is needed and not installed.

    Notes
    -----
    The file is read back and compared with the network, to ``1e-10 (1 + |value|)`` on at least 256 rows across its
    regions (more only where rounding costs more), before it takes its name. All numbers are float64.

    What each format keeps:

    - ONNX (opset 17) predicts what the network predicts: the link is its last node. Names of features and classes are in
      its metadata, where `load` finds them. Activations are Relu, PRelu, Abs, Max, Min and Clip; other pieces become
      sums of Relu. The batch axis is open, the input is called "input".
    - PyTorch: Linear with ReLU, LeakyReLU, PReLU or Hardtanh, and Sigmoid or Softmax for the link; a layer of another
      mixture becomes a wider one of ReLU. A `.pt` file holds the `state_dict` of the Sequential that
      ``export(network, format="torch")`` returns, without names, classes, link or the limits of Hardtanh and the slope
      of LeakyReLU, which are no tensors.
    - safetensors: the same tensors; names, classes and link as JSON in its metadata, under the names that ONNX has.
    - arrays: decisions only, without link, names or classes. In the file, ``weights_0, biases_0, weights_1, …``.
    - JSON: everything, bit by bit; see `relucidate.frameworks.jsonfile`.

    A network whose inputs are categories or imputed columns takes encoded features in all formats but JSON: one
    column for each of `network.feature_names`. Sparse layers are written dense, up to 67 million numbers. Names of
    outputs and notes are kept in JSON only.

    A piece is rewritten as ``f(b) - s0 relu(b - z) + s1 relu(z - b) + Σ (s_k - s_(k-1)) relu(z - b_k)``, where b is the
    first breakpoint and s are the slopes; without breakpoints as ``o + s relu(z) - s relu(-z)``.

    Examples
    --------
    >>> from relucidate import examples
    >>> network = load(examples.home_lending().model)
    >>> weights, biases = export(network, format="arrays")
    >>> [w.shape for w in weights]
    [(12, 8), (8, 4), (4, 1)]
    """
    if isinstance(network, Simplified | deploying.Deployed):
        return deploying.export(network, path, format=format, **options)
    if options:
        raise TypeError(f"export got options that a network has no use for: {', '.join(options)}.")
    if not isinstance(network, Network):
        raise ArgumentError(
            f"export takes a Network; got a {type(network).__module__}.{type(network).__qualname__}. Load it first: "
            "export(relucidate.load(model), path)."
        )
    chosen = _format(path, format)
    if path is None:
        return _OBJECTS[chosen](network)
    final = Path(path)
    with atomic_file(final) as temporary, _named(temporary, final):
        _FILES[chosen](network, temporary, final)
    return final


def _format(path: Any, format: Any) -> str:
    known = get_args(Format)
    if format is not None and format not in known:
        raise ArgumentError(f"format={format!r}; expected one of {', '.join(map(repr, known))}.")
    if path is None:
        if format not in _LIVE:
            said = "neither path nor format was given" if format is None else f"format={format!r} needs a path"
            raise ArgumentError(
                f"{said}. Give the path of a file, or format='onnx', 'torch' or 'arrays' for an object."
            )
        return str(format)
    if not isinstance(path, str | os.PathLike):
        raise ArgumentError(f"path is a {type(path).__qualname__}; expected the name of a file.")
    suffix = Path(path).suffix.lower()
    implied = _FORMAT_OF.get(suffix)
    if format is None and implied is None:
        raise ArgumentError(
            f"{Path(path).name!r} names no format; expected a name that ends in {', '.join(_FORMAT_OF)}, or format=, one "
            f"of {', '.join(map(repr, known))}."
        )
    if format is not None and implied not in (None, format):
        raise ArgumentError(
            f"format={format!r}, but a name that ends in {suffix} says {implied!r}. Rename the file, or leave format out."
        )
    return str(format or implied)


@contextmanager
def _named(temporary: Path, final: Path) -> Iterator[None]:
    """Have errors name the final file, not the temporary one."""
    try:
        yield
    except RelucidateError as problem:
        raise type(problem)(str(problem).replace(str(temporary), str(final))) from problem


# ---------------------------------------------------------------- comparing


def _encoded(network: Network, called: str) -> Network:
    """Return the network on its encoded features, under the name that messages call it."""
    features = network.features
    if not features.is_plain:
        features = Features.plain(len(features), features.names)
    return replace(network, features=features, provenance=Provenance(called), faithfulness=None)


def _compare(
    network: Network,
    called: str,
    *,
    decision: Callable[[Floats], Floats] | None = None,
    predict: Callable[[Floats], Floats] | None = None,
) -> None:
    """Raise unless what was read back equals the network.

    Parameters
    ----------
    called : what messages call the file or object.
    decision, predict : what was read back, (n, n_features) to (n, n_outputs).

    Raises
    ------
    UnfaithfulError : it does not.
    """
    core = _encoded(network, called)
    rows = jsonfile.probe_of(core)
    originals = []
    if decision is not None:
        originals.append(Original("what was read back", decision, "decision", _Tolerance(core)))
    if predict is not None:
        if network.link == "log":
            rows = rows[(core.decision(rows) < _LARGEST_LOG).all(axis=1)]
        originals.append(Original("what was read back", predict, "predict", _Tolerance(core)))
    if len(rows):
        _proved(Reading(core, tuple(originals), rows), None)


@dataclass(frozen=True, eq=False)
class _Tolerance:
    """What rounding may do to each value (n, n_outputs): 1e-10, or more where large terms cancel."""

    network: Network

    def __call__(self, rows: Floats) -> Floats:
        size = np.abs(rows)
        for layer in self.network.layers:
            size = np.asarray((abs(layer.weight) @ size.T).T) + np.abs(layer.bias)
            a = layer.activation
            if not (a.is_relu or a.is_identity):
                at = np.where(np.isfinite(a.breakpoints), np.abs(a.breakpoints), 0.0).max(axis=1, initial=0.0)
                steep = np.abs(a.slopes).max(axis=1)
                size = 2 * steep * (size + at) + np.abs(a.offsets).max(axis=1)
        lost = 16 * np.finfo(float).eps * size
        if self.network.link == "identity":
            return np.maximum(_TOLERANCE, lost / (1 + np.abs(self.network.decision(rows))))
        # no inverse link is steeper than 1, or relatively so
        return np.broadcast_to(np.maximum(_TOLERANCE, lost.max(axis=1, keepdims=True)), size.shape)


# ---------------------------------------------------------------- what a layer becomes


@dataclass(frozen=True, eq=False)
class _Units:
    """Simple neurons whose weighted sums are those of a layer.

    Parameters
    ----------
    neuron : which neuron of the layer each belongs to; unit u has the preactivation ``sign * (z[neuron] - shift)``.
    kind : of each unit; "prelu" has `slope`, "max" has `low`, "min" has `high`, "clip" both.
    coefficient : neuron i is ``constant[i] + Σ coefficient[u] * unit[u]`` over its units.
    """

    neuron: NDArray[np.intp]
    kind: NDArray[np.str_]
    sign: Floats
    shift: Floats
    coefficient: Floats
    slope: Floats
    low: Floats
    high: Floats
    constant: Floats

    @property
    def one_each(self) -> bool:
        """Whether each neuron is one unit as it stands."""
        return bool(
            np.array_equal(self.neuron, np.arange(len(self.constant)))
            and (self.coefficient == 1).all()
            and not self.constant.any()
        )

    def slopes(self) -> Floats | None:
        """Return the slope below 0 of each neuron, if each breaks at 0 at most and has slope 1 above it."""
        if not self.one_each or not set(self.kind.tolist()) <= {"identity", "relu", "abs", "prelu"}:
            return None
        return np.select(
            [self.kind == "identity", self.kind == "relu", self.kind == "abs"], [1.0, 0.0, -1.0], self.slope
        )


@dataclass(frozen=True)
class _Unit:
    kind: Kind
    coefficient: float = 1.0
    sign: float = 1.0
    shift: float = 0.0
    slope: float = 0.0
    low: float = -math.inf
    high: float = math.inf


def _units(activation: Activation, kinds: frozenset[Kind]) -> _Units:
    """Return the units of a layer, of the given kinds only; "relu" must be among them."""
    m = len(activation)
    neuron: list[int] = []
    units: list[_Unit] = []
    constant = np.zeros(m)
    for i in range(m):
        finite = np.isfinite(activation.breakpoints[i])
        at = activation.breakpoints[i][finite].tolist()
        slopes = activation.slopes[i, : len(at) + 1].tolist()
        offsets = activation.offsets[i, : len(at) + 1].tolist()
        simple = _simple(at, slopes, offsets)
        if simple is not None and simple.kind in kinds:
            parts, constant[i] = [simple], 0.0
        else:
            parts, constant[i] = _pieces(at, slopes, offsets, "identity" in kinds)
        units += parts
        neuron += [i] * len(parts)
    columns = {
        name: np.array([getattr(u, name) for u in units], dtype=np.float64)
        for name in ("sign", "shift", "coefficient", "slope", "low", "high")
    }
    return _Units(
        neuron=np.array(neuron, dtype=np.intp),
        kind=np.array([u.kind for u in units], dtype=np.str_),
        constant=constant,
        **columns,
    )


def _simple(at: Sequence[float], slopes: Sequence[float], offsets: Sequence[float]) -> _Unit | None:
    """Return a neuron as one unit, if it is one."""
    if not at:
        return _Unit("identity") if (slopes, offsets) == ([1.0], [0.0]) else None
    low = at[0]
    if len(at) == 1:
        if low == 0 and slopes[1] == 1 and offsets == [0.0, 0.0]:
            known: dict[float, Kind] = {0.0: "relu", -1.0: "abs"}
            return _Unit(known.get(slopes[0], "prelu"), slope=slopes[0])
        if slopes == [0.0, 1.0] and offsets == [low, 0.0]:
            return _Unit("max", low=low)
        if slopes == [1.0, 0.0] and offsets == [0.0, low]:
            return _Unit("min", high=low)
    if len(at) == 2 and slopes == [0.0, 1.0, 0.0] and offsets == [low, 0.0, at[1]]:
        return _Unit("clip", low=low, high=at[1])
    return None


def _pieces(
    at: Sequence[float], slopes: Sequence[float], offsets: Sequence[float], identity: bool
) -> tuple[list[_Unit], float]:
    """Return any neuron as ReLU units and a constant; without breakpoints as one identity, where that is allowed."""
    if not at:
        s = slopes[0]
        if s == 0:
            return [], offsets[0]
        if identity:
            return [_Unit("identity", s)], offsets[0]
        return [_Unit("relu", s), _Unit("relu", -s, sign=-1.0)], offsets[0]
    steps = [slopes[1], *(after - before for before, after in pairwise(slopes[1:]))]
    units = [_Unit("relu", -slopes[0], sign=-1.0, shift=at[0])]
    units += [_Unit("relu", step, shift=b) for b, step in zip(at, steps, strict=True)]
    return [u for u in units if u.coefficient != 0], slopes[0] * at[0] + offsets[0]


@dataclass(frozen=True, eq=False)
class _Stage:
    """A hidden layer in units: their weights and biases."""

    name: str
    weight: Floats
    bias: Floats
    units: _Units


def _stages(network: Network, units_of: Callable[[Activation], _Units]) -> tuple[list[_Stage], Floats, Floats]:
    """Return the hidden layers in units, and weight and bias of the output layer.

    Raises
    ------
    UnsupportedModelError : sparse layers that are too large to be written dense.
    """
    _afford(network)
    stages: list[_Stage] = []
    weight, bias = _dense(network.layers[0]), network.layers[0].bias
    for i, (layer, after) in enumerate(zip(network.hidden, network.layers[1:], strict=True)):
        units = units_of(layer.activation)
        sign = units.sign[:, None]
        stages.append(
            _Stage(
                layer.name or f"layer {i + 1}",
                weight[units.neuron] * sign,
                (bias[units.neuron] - units.shift) * units.sign,
                units,
            )
        )
        next_weight = _dense(after)
        weight = next_weight[:, units.neuron] * units.coefficient
        bias = after.bias + next_weight @ units.constant if units.constant.any() else after.bias
        if not len(units.neuron):
            # nothing but constants; other programs want a neuron all the same
            none = _units(Activation.of_kind("relu", 1), _RELU_ONLY)
            empty = np.zeros((1, stages[-1].weight.shape[1]))
            stages[-1] = replace(stages[-1], weight=empty, bias=np.zeros(1), units=none)
            weight = np.zeros((len(bias), 1))
    return stages, weight, bias


def _dense(layer: Layer) -> Floats:
    weight: Any = layer.weight
    return weight.toarray() if is_sparse(weight) else weight


def _afford(network: Network) -> None:
    sparse = [(layer.name, layer.weight.shape) for layer in network.layers if is_sparse(layer.weight)]
    numbers = sum(m * k for _, (m, k) in sparse)
    if numbers > _LARGEST_DENSE:
        name, (m, k) = max(sparse, key=lambda pair: pair[1][0] * pair[1][1])
        raise UnsupportedModelError(
            f"the sparse layers would be {numbers:,} numbers when written dense ({clipped(name)} is {m:,} × {k:,}); at "
            f"most {_LARGEST_DENSE:,} are written. Export to JSON, which keeps them sparse."
        )


# ---------------------------------------------------------------- arrays


def _arrays(network: Network) -> Arrays:
    """Return weights (inputs, outputs) and biases of a network whose hidden layers are all ReLU."""
    stages, weight, bias = _stages(network, lambda activation: _units(activation, _RELU_ONLY))
    weights = [np.ascontiguousarray(w.T) for w in (*(s.weight for s in stages), weight)]
    return weights, [np.array(b) for b in (*(s.bias for s in stages), bias)]


def _run_arrays(weights: Sequence[Any], biases: Sequence[Any], rows: Floats) -> Floats:
    a = rows
    for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        a = a @ weight + bias
        a = np.maximum(a, 0.0) if i < len(weights) - 1 else a
    return a


def _arrays_object(network: Network) -> Arrays:
    weights, biases = _arrays(network)
    _compare(network, "the arrays", decision=lambda rows: _run_arrays(weights, biases, rows))
    return weights, biases


def _arrays_file(network: Network, temporary: Path, final: Path) -> None:
    weights, biases = _arrays(network)
    named = {f"weights_{i}": w for i, w in enumerate(weights)} | {f"biases_{i}": b for i, b in enumerate(biases)}
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **named)
    temporary.write_bytes(buffer.getvalue())
    with np.load(temporary, allow_pickle=False) as archive:
        n = len(archive.files) // 2
        read_w, read_b = ([archive[f"{what}_{i}"] for i in range(n)] for what in ("weights", "biases"))
    _compare(network, str(final), decision=lambda rows: _run_arrays(read_w, read_b, rows))


# ---------------------------------------------------------------- PyTorch and safetensors


@dataclass(frozen=True, eq=False)
class _Module:
    """One module of a Sequential.

    Parameters
    ----------
    kind : its class in `torch.nn`.
    tensors : its parameters by name.
    numbers : its other arguments.
    """

    kind: Literal["Linear", "ReLU", "LeakyReLU", "PReLU", "Hardtanh", "Sigmoid", "Softmax"]
    tensors: Mapping[str, Floats]
    numbers: tuple[float, ...] = ()


def _torch_units(activation: Activation) -> _Units:
    units = _units(activation, _ALL_KINDS)
    return units if _torch_activation(units) is not None else _units(activation, _RELU_ONLY)


def _torch_activation(units: _Units) -> list[_Module] | None:
    """Return the modules that are the activation of a layer, None if there are none."""
    slopes = units.slopes()
    if slopes is not None:
        if (slopes == 1).all():
            return []
        if not slopes.any():
            return [_Module("ReLU", {})]
        if (slopes == slopes[0]).all():
            return [_Module("LeakyReLU", {}, (float(slopes[0]),))]
        return [_Module("PReLU", {"weight": slopes})]
    if set(units.kind.tolist()) == {"relu"}:
        return [_Module("ReLU", {})]
    clipped_alike = (units.low == units.low[:1]).all() and (units.high == units.high[:1]).all()
    if units.one_each and set(units.kind.tolist()) == {"clip"} and clipped_alike:
        return [_Module("Hardtanh", {}, (float(units.low[0]), float(units.high[0])))]
    return None


def _modules(network: Network) -> list[_Module]:
    """Return the modules up to the decision."""
    stages, weight, bias = _stages(network, _torch_units)
    out = []
    for stage in stages:
        out.append(_Module("Linear", {"weight": stage.weight, "bias": stage.bias}))
        out += _torch_activation(stage.units) or []
    return [*out, _Module("Linear", {"weight": weight, "bias": bias})]


def _state(modules: Sequence[_Module]) -> dict[str, Floats]:
    """Return the tensors by the names that a Sequential gives them."""
    return {
        f"{i}.{name}": np.array(tensor, dtype=np.float64, order="C")
        for i, module in enumerate(modules)
        for name, tensor in module.tensors.items()
    }


def _torch_head(network: Network) -> list[_Module]:
    if network.link == "log":
        raise UnsupportedModelError(
            "torch.nn has no module for the exponential, which is the inverse of this network's link 'log'. Export to "
            "ONNX, or export dataclasses.replace(network, link='identity') for a module that gives logarithms."
        )
    head: dict[str, list[_Module]] = {"logit": [_Module("Sigmoid", {})], "softmax": [_Module("Softmax", {})]}
    return head.get(network.link, [])


def _sequential(modules: Sequence[_Module]) -> Any:
    """Return a float64 Sequential of the modules, their tensors still to be loaded."""
    nn = _needed("torch", "a PyTorch module").nn
    made = []
    for module in modules:
        if module.kind == "Linear":
            m, k = module.tensors["weight"].shape
            made.append(nn.Linear(k, m))
        elif module.kind == "PReLU":
            made.append(nn.PReLU(len(module.tensors["weight"])))
        elif module.kind == "Softmax":
            made.append(nn.Softmax(dim=1))
        else:
            made.append(getattr(nn, module.kind)(*module.numbers))
    return nn.Sequential(*made).double().eval()


def _run_torch(module: Any) -> Callable[[Floats], Floats]:
    torch = _needed("torch", "a PyTorch module")

    def run(rows: Floats) -> Floats:
        with torch.no_grad():
            return np.asarray(module(torch.from_numpy(np.array(rows))).numpy())

    return run


def _tensors(state: Mapping[str, Floats]) -> dict[str, Any]:
    torch = _needed("torch", "a PyTorch module")
    return {name: torch.from_numpy(array.copy()) for name, array in state.items()}


def _torch_object(network: Network) -> Any:
    modules = _modules(network)
    head = _torch_head(network)
    sequential = _sequential([*modules, *head])
    sequential.load_state_dict(_tensors(_state(modules)))
    decision = _run_torch(sequential[: len(modules)])
    _compare(network, "the torch module", decision=decision, predict=_run_torch(sequential))
    return sequential


def _torch_file(network: Network, temporary: Path, final: Path) -> None:
    torch = _needed("torch", "a .pt file")
    modules = _modules(network)
    buffer = io.BytesIO()
    torch.save(_tensors(_state(modules)), buffer)
    temporary.write_bytes(buffer.getvalue())
    sequential = _sequential(modules)
    sequential.load_state_dict(torch.load(temporary, weights_only=True))
    _compare(network, str(final), decision=_run_torch(sequential))


def _safetensors_file(network: Network, temporary: Path, final: Path) -> None:
    _needed("safetensors", "a safetensors file")
    from safetensors import safe_open
    from safetensors.numpy import save

    modules = _modules(network)
    metadata = _metadata(network) | {"relucidate.link": network.link}
    temporary.write_bytes(save(_state(modules), metadata=metadata))
    with safe_open(temporary, framework="np") as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no mapping
        if file.metadata() != metadata:
            raise UnfaithfulError(f"{final}: the names that were read back are not those that were written.")
    _compare(network, str(final), decision=lambda rows: _run_modules(modules, state, rows))


def _run_modules(modules: Sequence[_Module], state: Mapping[str, Floats], rows: Floats) -> Floats:
    """Return what a Sequential with these tensors gives, without torch."""
    a = rows
    for i, module in enumerate(modules):
        if module.kind == "Linear":
            a = a @ state[f"{i}.weight"].T + state[f"{i}.bias"]
        elif module.kind == "Hardtanh":
            low, high = module.numbers
            a = np.clip(a, low, high)
        else:
            slope: Any = state[f"{i}.weight"] if module.kind == "PReLU" else (*module.numbers, 0.0)[0]
            a = np.where(a > 0, a, slope * a)
    return a


def _needed(package: str, what: str) -> Any:
    """Return an optional package.

    Raises
    ------
    MissingDependencyError : it is not installed.
    """
    from importlib import import_module

    try:
        return import_module(package)
    except ImportError:
        raise MissingDependencyError(
            f"{what[0].upper()}{what[1:]} needs {package}, which is not installed. Install it with "
            f"pip install 'relucidate[{package}]', or export to ONNX."
        ) from None


# ---------------------------------------------------------------- ONNX


def _metadata(network: Network) -> dict[str, str]:
    """Return names of features and classes as files keep them."""
    out = {}
    default = tuple(f"x{i}" for i in range(network.n_features))
    if network.features.named or network.feature_names != default:
        out["relucidate.feature_names"] = json.dumps(list(network.feature_names))
    if network.classes:
        classes = [jsonfile.plain_label(c, "class") for c in network.classes]
        if not all(math.isfinite(c) for c in classes if isinstance(c, float)):
            raise UnsupportedModelError(
                f"the classes {shown(classes)} are not all finite; only JSON files hold such labels. Rename them."
            )
        out["relucidate.classes"] = json.dumps(classes)
    return out


class _Graph:
    """The nodes and constants of an ONNX graph."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._names: Counter[str] = Counter()

    def constant(self, array: Any) -> str:
        """Return the name of a new constant."""
        from onnx import numpy_helper

        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(array, dtype=np.float64, order="C"), name))
        return name

    def node(self, op: str, inputs: Sequence[str], name: str, output: str = "", **attributes: Any) -> str:
        """Return the output of a new node."""
        from onnx import helper

        output = output or f"value_{len(self.nodes)}"
        self._names[name] += 1  # onnxruntime refuses two nodes of one name
        while self._names[name] > 1:
            name = f"{name} {self._names[name]}"
            self._names[name] += 1
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=name, **attributes))
        return output

    def affine(self, x: str, weight: Floats, bias: Floats, name: str, output: str = "") -> str:
        """Return ``x @ weight.T + bias``."""
        return self.node("Gemm", [x, self.constant(weight), self.constant(bias)], name, output, transB=1)


def _onnx_stage(graph: _Graph, x: str, stage: _Stage) -> tuple[str, NDArray[np.intp]]:
    """Return the output of a hidden layer, and which unit each of its values is.

    Notes
    -----
    Units of different kinds go side by side, so that each stays one neuron with the breakpoints that it has.
    """
    units = stage.units
    groups: dict[tuple[str, float, float], list[int]] = {}
    pairs = list(zip(units.low.tolist(), units.high.tolist(), strict=True))
    alike = len(set(pairs)) <= _CLIPS
    for i, kind in enumerate(units.kind.tolist()):
        low, high = pairs[i] if kind == "clip" and alike else (0.0, 0.0)
        groups.setdefault((kind, low, high), []).append(i)
    parts, order = [], []
    for (kind, low, high), members in groups.items():
        at = np.array(members)
        name = stage.name if len(groups) == 1 else f"{stage.name} ({kind})"
        z = graph.affine(x, stage.weight[at], stage.bias[at], f"{name} affine")
        if kind == "clip" and not alike:
            z = graph.node("Max", [z, graph.constant(units.low[at])], f"{name} below")
            z = graph.node("Min", [z, graph.constant(units.high[at])], f"{name} above")
        elif kind == "prelu":
            z = graph.node("PRelu", [z, graph.constant(units.slope[at])], name)
        elif kind == "max":
            z = graph.node("Max", [z, graph.constant(units.low[at])], name)
        elif kind == "min":
            z = graph.node("Min", [z, graph.constant(units.high[at])], name)
        elif kind == "clip":
            z = graph.node("Clip", [z, graph.constant(low), graph.constant(high)], name)
        elif kind != "identity":
            z = graph.node({"relu": "Relu", "abs": "Abs"}[kind], [z], name)
        parts.append(z)
        order.append(at)
    if len(parts) > 1:
        parts = [graph.node("Concat", parts, f"{stage.name} joined", axis=1)]
    return parts[0], np.concatenate(order)


def _onnx(network: Network) -> Any:
    from onnx import TensorProto, helper

    stages, weight, bias = _stages(network, lambda activation: _units(activation, _ALL_KINDS))
    size = 8 * (sum(s.weight.size for s in stages) + weight.size)
    if size > _LARGEST_ONNX:
        raise UnsupportedModelError(
            f"the weights take {size:,} bytes in float64, and an ONNX file holds at most {_LARGEST_ONNX:,}. Export to "
            "safetensors or JSON."
        )
    if network.link == "softmax" and network.n_outputs == 1:
        raise UnsupportedModelError(
            "a softmax over a single output is 1 for every row, and no reader of ONNX would find the decision behind it. "
            "Export dataclasses.replace(network, link='identity') or link='logit'."
        )
    graph = _Graph()
    x = "input"
    order: Any = slice(None)
    for stage in stages:
        x, order = _onnx_stage(graph, x, replace(stage, weight=stage.weight[:, order]))
    op = {"logit": "Sigmoid", "softmax": "Softmax", "log": "Exp"}.get(network.link)
    name = network.layers[-1].name or f"layer {len(network.layers)}"
    decision = graph.affine(x, weight[:, order], bias, name, "decision" if op else "output")
    if op:
        graph.node(op, [decision], "link", "output", **({"axis": 1} if op == "Softmax" else {}))
    ends = [("input", network.n_features), ("output", network.n_outputs)]
    inputs, outputs = ([helper.make_tensor_value_info(end, TensorProto.DOUBLE, ["rows", width])] for end, width in ends)
    model = helper.make_model(
        helper.make_graph(graph.nodes, "network", inputs, outputs, graph.constants),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR,
        producer_name="relucidate",
        producer_version=relucidate.__version__,
    )
    helper.set_model_props(model, _metadata(network))
    return model


def _compare_onnx(network: Network, model: Any, called: str) -> None:
    """Raise unless `load` makes of a file or model what was written."""
    back = load(model)
    kept = _encoded(network, called)
    expected: dict[str, Any] = {"link": kept.link, "feature_names": kept.feature_names}
    if kept.link == "softmax" or (kept.link == "logit" and kept.n_outputs == 1):
        expected["classes"] = tuple(jsonfile.plain_label(c, "class") for c in kept.classes)
    for name, value in expected.items():
        if getattr(back, name) != value:
            raise UnfaithfulError(
                f"{called}: its {name} are read back as {clipped(getattr(back, name))}; expected {clipped(value)}. The "
                "result was withheld."
            )
    _compare(network, called, decision=back.decision, predict=back.predict)
    run = _in_onnxruntime(model, called)
    if run is not None:
        _compare(network, called, predict=run)


def _in_onnxruntime(model: Any, called: str) -> Callable[[Floats], Floats] | None:
    """Return what onnxruntime makes of a file or model, with the optimisations that its users get; None without it.

    Raises
    ------
    UnsupportedModelError : it cannot run it.
    """
    try:
        import onnxruntime
    except ImportError:
        return None
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    source = model.SerializeToString() if hasattr(model, "SerializeToString") else str(model)
    try:
        session = onnxruntime.InferenceSession(source, settings, providers=["CPUExecutionProvider"])
    # its errors have no common class but Exception
    except Exception as problem:
        raise UnsupportedModelError(
            f"{called}: onnxruntime {onnxruntime.__version__} cannot run what was written "
            f"({clipped(' '.join(str(problem).split()), 200)}). Update onnxruntime, or export to another format."
        ) from None
    return lambda rows: np.asarray(session.run(["output"], {"input": rows})[0])


def _onnx_object(network: Network) -> Any:
    model = _onnx(network)
    _compare_onnx(network, model, "the ONNX model")
    return model


def _onnx_file(network: Network, temporary: Path, final: Path) -> None:
    temporary.write_bytes(_onnx(network).SerializeToString(deterministic=True))
    _compare_onnx(network, temporary, str(final))


# ---------------------------------------------------------------- JSON


def _json_file(network: Network, temporary: Path, final: Path) -> None:
    text = jsonfile.write(network)
    temporary.write_bytes(text.encode())
    reading = jsonfile.read(temporary, Options())
    back = _proved(reading, None)
    if jsonfile.write(back) != text:
        raise UnfaithfulError(f"{final}: what was read back is not bit by bit what was written. It was withheld.")
    named = replace(network, provenance=Provenance(str(final)))
    original = Original("what was read back", back.decision, "decision", _TOLERANCE)
    _proved(Reading(named, (original,), reading.probe), None)


_OBJECTS: dict[str, Callable[[Network], Any]] = {
    "onnx": _onnx_object,
    "torch": _torch_object,
    "arrays": _arrays_object,
}
_FILES: dict[str, Callable[[Network, Path, Path], None]] = {
    "onnx": _onnx_file,
    "torch": _torch_file,
    "safetensors": _safetensors_file,
    "json": _json_file,
    "arrays": _arrays_file,
}
