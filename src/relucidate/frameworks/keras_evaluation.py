"""The layers of Keras run in numpy as they stand, layer by layer: what the lowered network is compared with.

Written apart from the lowering on purpose: convolutions slide their window over the rows here, and pooling takes the
largest value of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from relucidate.frameworks.keras_files import Array
from relucidate.frameworks.keras_graph import At, Graph, Step
from relucidate.frameworks.keras_layers import Function, Layer, activation_of
from relucidate.frameworks.keras_lowering import (
    constant_of,
    index_of,
    is_channels_first,
    normalization_of,
    slopes_of,
    widths_of,
)

_Rule = Callable[[Layer, Array], Array]
_Joint = Callable[[Layer, Sequence[Any]], Array]
_BLOCK_ROWS = 64  # windows of a convolution are held side by side for this many rows at a time


def evaluate(graph: Graph, inputs: Mapping[int, Array], dtype: Any, before: Step | None = None) -> Array:
    """Return the graph's output (n, …) on rows, computed in one precision throughout.

    Parameters
    ----------
    inputs : (n, …) of each input, by the number of its tensor.
    dtype : `numpy.float64`, or `numpy.float32` to see what that costs.
    before : a step whose activation is left out, and the steps behind it with it: the decision instead of the prediction.
    """
    n = len(next(iter(inputs.values())))
    parts = []
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for start in range(0, max(n, 1), _BLOCK_ROWS):
            rows = {k: np.asarray(v[start : start + _BLOCK_ROWS], dtype=dtype) for k, v in inputs.items()}
            parts.append(_evaluated(graph, rows, before))
    return np.concatenate(parts)


def _evaluated(graph: Graph, inputs: Mapping[int, Array], before: Step | None) -> Array:
    values = dict(inputs)
    for step in graph.steps:
        out = _applied(step, values)
        if step is before:
            return out
        values[step.output] = _activated(activation_of(step.layer), out)
    return values[graph.output]


def _applied(step: Step, values: Mapping[int, Array]) -> Array:
    layer = step.layer
    operands = _operands(step.operands, values)
    if layer.kind in _JOINTS:
        return _JOINTS[layer.kind](layer, operands)
    return _RULES.get(layer.kind, _same)(layer, operands[0])


def _operands(operands: Sequence[Any], values: Mapping[int, Array]) -> list[Any]:
    out: list[Any] = []
    for operand in operands:
        if isinstance(operand, At):
            out.append(values[operand.number])
        elif isinstance(operand, list) and any(isinstance(o, At) for o in operand):
            out += _operands(operand, values)
        else:
            out.append(operand)
    return out


def _activated(function: Function, x: Array) -> Array:
    kind, numbers = function.kind, function.numbers
    if kind == "relu":
        slope, top = numbers
        return np.minimum(np.maximum(x, 0), x.dtype.type(top)) + x.dtype.type(slope) * np.minimum(x, 0)
    if kind == "clip":
        slope, offset, low, high = map(x.dtype.type, numbers)
        return np.clip(slope * x + offset, low, high)
    if kind == "soft_shrink":
        return np.sign(x) * np.maximum(np.abs(x) - x.dtype.type(numbers[0]), 0)
    if kind == "sigmoid":
        return np.asarray(1 / (1 + np.exp(-x)), dtype=x.dtype)
    if kind == "exponential":
        return np.exp(x)
    if kind in ("softmax", "log_softmax"):
        axis = int(numbers[0])
        shifted = x - x.max(axis=axis, keepdims=True)
        total = np.exp(shifted).sum(axis=axis, keepdims=True)
        return np.exp(shifted) / total if kind == "softmax" else shifted - np.log(total)
    return x


def _as(x: Array, weight: Array) -> Array:
    return weight.astype(x.dtype)


def _same(layer: Layer, x: Array) -> Array:
    return x


def _dense(layer: Layer, x: Array) -> Array:
    units = layer.whole("units" if "units" in layer.config else "output_dim")
    out = x @ _as(x, layer.array("kernel", (x.shape[-1], units)))
    return _biased(layer, out, -1)


def _biased(layer: Layer, x: Array, axis: int) -> Array:
    if not layer.flag("use_bias", True):
        return x
    bias = _as(x, layer.array("bias", (x.shape[axis],)))
    return x + bias.reshape([-1 if a == axis % x.ndim else 1 for a in range(x.ndim)])


def _batch_normalization(layer: Layer, x: Array) -> Array:
    axis = layer.config.get("axis", -1)
    axis = (axis[0] if isinstance(axis, list) else axis) % x.ndim
    n = x.shape[axis]

    def along(name: str) -> Array:
        return _as(x, layer.array(name, (n,))).reshape([n if a == axis else 1 for a in range(x.ndim)])

    out = (x - along("moving_mean")) / np.sqrt(along("moving_variance") + x.dtype.type(layer.number("epsilon", 1e-3)))
    out = out * along("gamma") if layer.flag("scale", True) else out
    return out + along("beta") if layer.flag("center", True) else out


def _normalization(layer: Layer, x: Array) -> Array:
    mean, deviation = (_as(x, v) for v in normalization_of(layer, (1, *x.shape[1:])))
    return x * deviation + mean if layer.flag("invert", False) else (x - mean) / deviation


def _rescaling(layer: Layer, x: Array) -> Array:
    out = x * _as(x, layer.given("scale"))
    return out if layer.config.get("offset") is None else out + _as(x, layer.given("offset"))


# ---------------------------------------------------------------- convolution and pooling


def _windows(
    layer: Layer, x: Array, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int], fill: float
) -> Array:
    """Return the windows (n, channels, places …, kernel …) of `x` (n, channels, …), padding filled with `fill`."""
    spread = [d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True)]
    widths = []
    for size, span, stride in zip(x.shape[2:], spread, strides, strict=True):
        kind = layer.config.get("padding", "valid")
        missing = max(0, (-(-size // stride) - 1) * stride + span - size)
        before = {"same": missing // 2, "causal": span - 1}.get(kind, 0)
        widths.append((before, missing - before if kind == "same" else 0))
    x = np.pad(x, [(0, 0), (0, 0), *widths], constant_values=fill)
    view = np.lib.stride_tricks.sliding_window_view(x, spread, axis=tuple(range(2, x.ndim)))
    every = (slice(None), slice(None))
    return view[every + tuple(slice(None, None, s) for s in strides) + tuple(slice(None, None, d) for d in dilations)]


def _in_front(layer: Layer, x: Array) -> Array:
    return x if is_channels_first(layer) else np.moveaxis(x, -1, 1)


def _back(layer: Layer, x: Array) -> Array:
    return x if is_channels_first(layer) else np.moveaxis(x, 1, -1)


def _convolution(n: int) -> _Rule:
    def rule(layer: Layer, x: Array) -> Array:
        x = _in_front(layer, x)
        kernel, filters, groups = layer.sizes("kernel_size", n), layer.whole("filters"), layer.whole("groups", 1)
        weight = _as(x, layer.array("kernel", (*kernel, x.shape[1] // groups, filters)))
        windows = _windows(layer, x, kernel, layer.sizes("strides", n, 1), layer.sizes("dilation_rate", n, 1), 0.0)
        over = [1, *range(2 + n, 2 + 2 * n)]
        parts = [
            np.tensordot(w, k, axes=(over, [n, *range(n)]))
            for w, k in zip(np.split(windows, groups, axis=1), np.split(weight, groups, axis=-1), strict=True)
        ]
        out = np.moveaxis(np.concatenate(parts, axis=-1), -1, 1)
        return _back(layer, _biased(layer, out, 1))

    return rule


def _each_channel(layer: Layer, x: Array) -> Array:
    """Return every channel of `x` (n, channels, …) convolved with its own kernels."""
    kernel, many = layer.sizes("kernel_size", 2), layer.whole("depth_multiplier", 1)
    weight = _as(x, layer.array("depthwise_kernel", (*kernel, x.shape[1], many)))
    windows = _windows(layer, x, kernel, layer.sizes("strides", 2, 1), layer.sizes("dilation_rate", 2, 1), 0.0)
    out = np.einsum("ncijkl,klcm->ncmij", windows, weight)
    return out.reshape(len(x), -1, *out.shape[3:])


def _depthwise(layer: Layer, x: Array) -> Array:
    return _back(layer, _biased(layer, _each_channel(layer, _in_front(layer, x)), 1))


def _separable(layer: Layer, x: Array) -> Array:
    x = _each_channel(layer, _in_front(layer, x))
    point = _as(x, layer.array("pointwise_kernel", (1, 1, x.shape[1], layer.whole("filters"))))[0, 0]
    return _back(layer, _biased(layer, np.einsum("ncij,cf->nfij", x, point), 1))


def _pooling(n: int, largest: bool) -> _Rule:
    def rule(layer: Layer, x: Array) -> Array:
        x = _in_front(layer, x)
        kernel = layer.sizes("pool_size", n, 2)
        strides = layer.sizes("strides", n, kernel)
        windows = _windows(layer, x, kernel, strides, [1] * n, -np.inf if largest else np.nan)
        over = tuple(range(2 + n, 2 + 2 * n))
        return _back(layer, windows.max(axis=over) if largest else np.nanmean(windows, axis=over, dtype=x.dtype))

    return rule


def _global_pooling(n: int, largest: bool) -> _Rule:
    def rule(layer: Layer, x: Array) -> Array:
        axes = tuple(range(2, n + 2)) if is_channels_first(layer) else tuple(range(1, n + 1))
        keep = layer.flag("keepdims", False)
        return x.max(axis=axes, keepdims=keep) if largest else x.mean(axis=axes, keepdims=keep)

    return rule


def _spatial(layer: Layer, n: int) -> slice:
    return slice(2, 2 + n) if n > 1 and is_channels_first(layer) else slice(1, 1 + n)


def _zero_padding(n: int) -> _Rule:
    def rule(layer: Layer, x: Array) -> Array:
        widths = [(0, 0)] * x.ndim
        widths[_spatial(layer, n)] = widths_of(layer, "padding", n)
        return np.pad(x, widths)

    return rule


def _cropping(n: int) -> _Rule:
    def rule(layer: Layer, x: Array) -> Array:
        cut: list[Any] = [slice(None)] * x.ndim
        sizes = x.shape[_spatial(layer, n)]
        pairs = zip(widths_of(layer, "cropping", n), sizes, strict=True)
        cut[_spatial(layer, n)] = [slice(before, size - after) for (before, after), size in pairs]
        return x[tuple(cut)]

    return rule


def _up_sampling(n: int) -> _Rule:
    def rule(layer: Layer, x: Array) -> Array:
        for axis, size in zip(range(x.ndim)[_spatial(layer, n)], layer.sizes("size", n, 2), strict=True):
            x = np.repeat(x, size, axis=axis)
        return x

    return rule


# ---------------------------------------------------------------- shapes


def _flatten(layer: Layer, x: Array) -> Array:
    return (np.moveaxis(x, 1, -1) if is_channels_first(layer) and x.ndim > 2 else x).reshape(len(x), -1)


def _reshape(layer: Layer, x: Array) -> Array:
    shape = layer.config["target_shape"] if "target_shape" in layer.config else layer.config["newshape"][1:]
    return x.reshape(len(x), *shape)


# ---------------------------------------------------------------- several tensors


def _constants(xs: Sequence[Any]) -> list[Array]:
    dtype = next(x.dtype for x in xs if isinstance(x, np.ndarray))
    return [x if isinstance(x, np.ndarray) else np.asarray(constant_of(x), dtype=dtype) for x in xs]


def _folded(function: Callable[[Array, Array], Array]) -> _Joint:
    def rule(layer: Layer, xs: Sequence[Any]) -> Array:
        out, *rest = _constants(xs)
        for x in rest:
            out = function(out, x)
        return out

    return rule


def _average(layer: Layer, xs: Sequence[Any]) -> Array:
    return _folded(np.add)(layer, xs) / len(xs)


def _concatenate(layer: Layer, xs: Sequence[Any]) -> Array:
    return np.concatenate(xs, axis=layer.config.get("axis", -1))


_RULES: dict[str, _Rule] = {
    "Dense": _dense,
    "BatchNormalization": _batch_normalization,
    "Normalization": _normalization,
    "Rescaling": _rescaling,
    "PReLU": lambda layer, x: np.maximum(x, 0) + _as(x, slopes_of(layer, (1, *x.shape[1:]))) * np.minimum(x, 0),
    "Conv1D": _convolution(1),
    "Conv2D": _convolution(2),
    "DepthwiseConv2D": _depthwise,
    "SeparableConv2D": _separable,
    "MaxPooling1D": _pooling(1, True),
    "MaxPooling2D": _pooling(2, True),
    "AveragePooling1D": _pooling(1, False),
    "AveragePooling2D": _pooling(2, False),
    "GlobalMaxPooling1D": _global_pooling(1, True),
    "GlobalMaxPooling2D": _global_pooling(2, True),
    "GlobalAveragePooling1D": _global_pooling(1, False),
    "GlobalAveragePooling2D": _global_pooling(2, False),
    "ZeroPadding1D": _zero_padding(1),
    "ZeroPadding2D": _zero_padding(2),
    "Cropping1D": _cropping(1),
    "Cropping2D": _cropping(2),
    "UpSampling1D": _up_sampling(1),
    "UpSampling2D": _up_sampling(2),
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Permute": lambda layer, x: np.transpose(x, (0, *layer.config["dims"])),
    "RepeatVector": lambda layer, x: np.repeat(x[:, None], layer.whole("n"), axis=1),
    "Negative": lambda layer, x: -x,
    "Absolute": lambda layer, x: np.abs(x),
    "Abs": lambda layer, x: np.abs(x),
}
_JOINTS: dict[str, _Joint] = {
    "Add": _folded(np.add),
    "Subtract": _folded(np.subtract),
    "Average": _average,
    "Multiply": _folded(np.multiply),
    "Divide": _folded(np.divide),
    "TrueDivide": _folded(np.divide),
    "Maximum": _folded(np.maximum),
    "Minimum": _folded(np.minimum),
    "Concatenate": _concatenate,
    "GetItem": lambda layer, xs: np.asarray(xs[0][index_of(xs[1])]),
}
