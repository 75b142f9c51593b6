"""One layer of a Keras model: what it was made with, the weights that it must have, the function at its end."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from relucidate.errors import MalformedModelError, UnsupportedModelError, clipped
from relucidate.frameworks.keras_files import Array, Stored, refuse_infinite

Config = Mapping[str, Any]

IN_KERAS = "Build the model from Keras' own layers, or export it to ONNX and load that."


@dataclass(eq=False)
class Layer:
    """A layer, or an operation written with a symbol such as ``+``, and its weights.

    Parameters
    ----------
    kind : name of its class.
    name : in the model that holds it. owners : names of the models around that one.
    config : what it was made with.
    path : its place in the tree of weights of a `.keras` file.
    version : major version of the Keras that wrote it; some defaults differ.
    """

    kind: str
    name: str
    config: Config
    path: str
    owners: tuple[str, ...] = ()
    version: int = 3
    stored: tuple[Stored, ...] = ()
    _arrays: dict[str, Array] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Its name, with those of the models around it."""
        return "/".join((*self.owners, self.name))

    @property
    def label(self) -> str:
        """What messages call it."""
        return f"layer {clipped(self.title)} ({clipped(self.kind).strip(chr(39))})"

    # ------------------------------------------------------------ what it was made with

    def flag(self, name: str, default: bool) -> bool:
        """Return an entry that is true or false."""
        value = self.config.get(name, default)
        if value is None:
            return default
        if not isinstance(value, bool) and value not in (0, 1):
            raise MalformedModelError(f"its {name} is {clipped(value)}; expected true or false.")
        return bool(value)

    def number(self, name: str, default: float | None = None) -> float:
        """Return an entry that is a finite number; some versions write it as an array of one."""
        value = self.config.get(name, default)
        value = default if value is None else value
        if isinstance(value, Mapping) and isinstance(value.get("config"), Mapping):
            value = value["config"].get("value")
        value = value.get("value") if isinstance(value, Mapping) else value
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300:
            raise MalformedModelError(f"its {name} is {clipped(value)}; expected a number.")
        return float(value)

    def whole(self, name: str, default: int | None = None, least: int = 1) -> int:
        """Return an entry that is a whole number of at least `least`."""
        value = self.config.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**31:
            raise MalformedModelError(f"its {name} is {clipped(value)}; expected a whole number from {least} up.")
        return value

    def sizes(self, name: str, n: int, default: Any = None, least: int = 1) -> list[int]:
        """Return an entry that is one whole number, or one for each of `n` axes."""
        value = self.config.get(name, default)
        value = default if value is None else value
        value = [value] * n if isinstance(value, int) and not isinstance(value, bool) else value
        fits = isinstance(value, list | tuple) and len(value) == n
        if not fits or not all(type(v) is int and least <= v < 2**31 for v in value):
            raise MalformedModelError(f"its {name} is {clipped(value)}; expected {n} whole numbers from {least} up.")
        return list(value)

    def text(self, name: str, default: str, *known: str) -> str:
        """Return an entry that is one of some words."""
        value = self.config.get(name, default)
        value = default if value is None else value
        if value not in known:
            raise UnsupportedModelError(f"its {name} is {clipped(value)}; known are {', '.join(known)}.")
        return str(value)

    # ------------------------------------------------------------ weights

    @property
    def variables(self) -> tuple[tuple[str, bool], ...]:
        """The arrays that it must have, and whether each is trained, in the order in which Keras keeps them."""
        own = _VARIABLES.get(self.kind)
        return () if own is None else tuple(own(self))

    def check(self) -> None:
        """Raise unless there is an array for each variable."""
        names = [name for name, _ in self.variables]
        if names and len(self.stored) != len(names):
            raise MalformedModelError(
                f"{self.label} needs {len(names)} arrays ({', '.join(names)}); there are {len(self.stored)}. Save the "
                "model anew; a quantised one or one with LoRA weights is not read."
            )
        for name, stored in zip(names, self.stored, strict=False):
            called = re.sub(r"(:\d+|_\d+)+$", "", stored.name.rsplit("/", 1)[-1])
            if called in _NAMES and called != name and (called, name) != ("kernel", "depthwise_kernel"):
                raise MalformedModelError(
                    f"{self.label}: {clipped(stored.name)} stands where its {name} is expected. Save the model anew."
                )

    def array(self, name: str, shape: Sequence[int]) -> Array:
        """Return one array as float64; its shape is checked before it is read.

        Raises
        ------
        MalformedModelError : it has another shape, or holds NaN or infinity.
        """
        if name not in self._arrays:
            at = [n for n, _ in self.variables].index(name)
            stored = self.stored[at]
            if stored.shape != tuple(shape):
                raise MalformedModelError(f"its {name} has the shape {stored.shape}; {tuple(shape)} is needed.")
            self._arrays[name] = stored.read().astype(np.float64)
        array = self._arrays[name]
        if array.shape != tuple(shape):
            raise MalformedModelError(
                f"its {name} has the shape {array.shape}; where it is called again, {tuple(shape)} is needed."
            )
        return array

    def given(self, name: str) -> Array:
        """Return an entry that is a number or nested lists of numbers, as float64."""
        value = self.config.get(name)
        if isinstance(value, Mapping):
            inner = value.get("config", value)
            value = inner.get("value") if isinstance(inner, Mapping) else None
        try:
            array = np.array(value, dtype=np.float64)
        except (TypeError, ValueError):
            raise MalformedModelError(f"its {name} is {clipped(value)}; expected numbers.") from None
        refuse_infinite(array, f"its {name}")
        return array


_Variables = Iterator[tuple[str, bool]]


def _of_kernels(*names: str) -> Callable[[Layer], _Variables]:
    def variables(layer: Layer) -> _Variables:
        yield from ((name, True) for name in names)
        if layer.flag("use_bias", True):
            yield "bias", True

    return variables


def _of_batch_normalization(layer: Layer) -> _Variables:
    if layer.flag("renorm", False):
        raise UnsupportedModelError(f"{layer.label}: it renormalises batches (renorm=True), which is not read.")
    if layer.flag("scale", True):
        yield "gamma", True
    if layer.flag("center", True):
        yield "beta", True
    yield "moving_mean", False
    yield "moving_variance", False


def _of_normalization(layer: Layer) -> _Variables:
    if layer.config.get("mean") is None:
        yield from (("mean", False), ("variance", False), ("count", False))


_VARIABLES: dict[str, Callable[[Layer], _Variables]] = {
    **dict.fromkeys(("Dense", "Conv1D", "Conv2D"), _of_kernels("kernel")),
    "DepthwiseConv2D": _of_kernels("depthwise_kernel"),
    "SeparableConv2D": _of_kernels("depthwise_kernel", "pointwise_kernel"),
    "BatchNormalization": _of_batch_normalization,
    "Normalization": _of_normalization,
    "PReLU": lambda layer: iter([("alpha", True)]),
}
_NAMES = frozenset(
    (
        "kernel",
        "bias",
        "depthwise_kernel",
        "pointwise_kernel",
        "gamma",
        "beta",
        "moving_mean",
        "moving_variance",
        "mean",
        "variance",
        "count",
        "alpha",
    )
)


# ---------------------------------------------------------------- activations


@dataclass(frozen=True)
class Function:
    """An activation function: its name and its numbers.

    Parameters
    ----------
    kind : "linear", "relu" (slope below 0, largest value), "clip" (slope, offset, low, high: a line between two limits),
        "soft_shrink" (threshold), "sigmoid", "softmax" (axis), "log_softmax" (axis) or "exponential".
    """

    kind: str
    numbers: tuple[float, ...] = ()

    @property
    def is_link(self) -> bool:
        """Whether it can only stand at the end of a network."""
        return self.kind in ("sigmoid", "softmax", "log_softmax", "exponential")


_SMOOTH = frozenset(
    (
        "tanh",
        "elu",
        "selu",
        "gelu",
        "celu",
        "glu",
        "silu",
        "swish",
        "hard_silu",
        "hard_swish",
        "softplus",
        "softsign",
        "mish",
        "tanh_shrink",
        "squareplus",
        "log_sigmoid",
        "sparse_plus",
    )
)
_JUMPS = frozenset(("threshold", "hard_shrink"))
_RELU = Function("relu", (0.0, np.inf))


def function_of(layer: Layer, entry: Any) -> Function:
    """Return the activation function that an entry of a configuration names.

    Raises
    ------
    UnsupportedModelError : it is unknown, or not piecewise linear.
    """
    if entry is None:
        return Function("linear")
    if isinstance(entry, Mapping):
        kind, config = entry.get("class_name"), entry.get("config")
        if kind == "function" or (kind not in LAYER_FUNCTIONS and not isinstance(config, Mapping)):
            if entry.get("module") in (None, "keras.activations") and isinstance(config or kind, str):
                return function_of(layer, config if kind == "function" else kind)
            raise UnsupportedModelError(
                f"its activation {clipped(config or kind)} is a function of somebody's own, whose code is not in the file. "
                f"{IN_KERAS}"
            )
        if kind in LAYER_FUNCTIONS and isinstance(config, Mapping):
            inner = Layer(str(kind), layer.name, config, "", layer.owners, layer.version)
            return LAYER_FUNCTIONS[str(kind)](inner)
        raise UnsupportedModelError(
            f"its activation {clipped(kind)} is not read inside a layer; give it one of its own."
        )
    if not isinstance(entry, str):
        raise MalformedModelError(f"its activation is {clipped(entry)}; expected a name.")
    name = re.sub("(?<=[a-z])(?=[A-Z])", "_", entry).lower() if entry.isalpha() and not entry.islower() else entry
    known = _FUNCTIONS.get({"softmax_v2": "softmax", "re_lu": "relu", "hard_tanh_v2": "hard_tanh"}.get(name, name))
    if known is not None:
        return known
    if name == "hard_sigmoid":
        return _hard_sigmoid(layer)
    if name in _SMOOTH:
        raise UnsupportedModelError(
            f"its activation {clipped(entry)} is not piecewise linear, so no exact local linear models exist; train with "
            "ReLU or LeakyReLU instead."
        )
    if name in _JUMPS:
        raise UnsupportedModelError(f"its activation {clipped(entry)} jumps; only continuous ones are read.")
    raise UnsupportedModelError(f"its activation {clipped(entry)} is not one that relucidate knows. {IN_KERAS}")


def _hard_sigmoid(layer: Layer) -> Function:
    """Keras 3 made the slope 1/6; before, it was 0.2."""
    return Function("clip", ((1 / 6 if layer.version >= 3 else 0.2), 0.5, 0.0, 1.0))


_FUNCTIONS: dict[str, Function] = {
    "linear": Function("linear"),
    "relu": _RELU,
    "relu6": Function("relu", (0.0, 6.0)),
    "leaky_relu": Function("relu", (0.2, np.inf)),
    "hard_tanh": Function("clip", (1.0, 0.0, -1.0, 1.0)),
    "sparse_sigmoid": Function("clip", (0.5, 0.5, 0.0, 1.0)),
    "soft_shrink": Function("soft_shrink", (0.5,)),
    "sigmoid": Function("sigmoid"),
    "softmax": Function("softmax", (-1,)),
    "log_softmax": Function("log_softmax", (-1,)),
    "exponential": Function("exponential"),
}


def _of_relu_layer(layer: Layer) -> Function:
    if layer.number("threshold", 0.0) != 0:
        raise UnsupportedModelError(
            "it has a threshold other than 0, where it jumps; only continuous functions are read."
        )
    top = np.inf if layer.config.get("max_value") is None else layer.number("max_value")
    if top < 0:
        raise MalformedModelError(f"its max_value is {top}; expected 0 or more.")
    return Function("relu", (layer.number("negative_slope", 0.0), top))


def _of_leaky_relu(layer: Layer) -> Function:
    old = "alpha" if "alpha" in layer.config else "negative_slope"
    return Function("relu", (layer.number(old, 0.3), np.inf))


def _of_softmax(layer: Layer) -> Function:
    axis = layer.config.get("axis", -1)
    if type(axis) is not int:
        raise UnsupportedModelError(f"it is taken along the axes {clipped(axis)}; only the last one is read.")
    return Function("softmax", (axis,))


def _of_own_operation(layer: Layer) -> Function:
    names = {"LeakyRelu": "leaky_relu", "Relu6": "relu6", "HardTanh": "hard_tanh", "Exp": "exponential"}
    if layer.kind == "LeakyRelu":
        return Function("relu", (layer.number("negative_slope", 0.2), np.inf))
    if layer.kind in ("Softmax", "LogSoftmax"):
        return Function("log_softmax" if layer.kind[0] == "L" else "softmax", _of_softmax(layer).numbers)
    return function_of(layer, names.get(layer.kind, layer.kind.lower()))


LAYER_FUNCTIONS: dict[str, Callable[[Layer], Function]] = {
    "ReLU": _of_relu_layer,
    "LeakyReLU": _of_leaky_relu,
    "Softmax": _of_softmax,
    "Activation": lambda layer: function_of(layer, layer.config.get("activation")),
    **dict.fromkeys(("Relu", "Relu6", "LeakyRelu", "Sigmoid", "HardTanh", "LogSoftmax", "Exp"), _of_own_operation),
}
_WITH_ACTIVATION = ("Dense", "Conv1D", "Conv2D", "DepthwiseConv2D", "SeparableConv2D")


def activation_of(layer: Layer) -> Function:
    """Return the function at the end of a layer; "linear" if it has none."""
    if layer.kind in LAYER_FUNCTIONS:
        return LAYER_FUNCTIONS[layer.kind](layer)
    if layer.kind in _WITH_ACTIVATION:
        return function_of(layer, layer.config.get("activation"))
    return Function("linear")
