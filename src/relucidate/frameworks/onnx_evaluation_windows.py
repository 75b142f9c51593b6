"""Convolution and pooling evaluated with windows that slide over arrays, as the ONNX specification reads.

Written apart from the lowering, which makes sparse matrices of the same operators: the one is compared with the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from relucidate.errors import MalformedModelError
from relucidate.frameworks.onnx_graph import Array, Node

_UNFOLDED_NUMBERS = 2**21  # windows written out at once; more would not stay in the processor's cache


@dataclass(frozen=True)
class _Axis:
    """How windows slide along one axis.

    Parameters
    ----------
    before, after : padding that the file declares. hanging : what the last window covers beyond it.
    """

    size: int
    kernel: int
    stride: int
    dilation: int
    before: int
    after: int
    n_out: int

    @property
    def reach(self) -> int:
        """How many values a window spans."""
        return (self.kernel - 1) * self.dilation + 1

    @property
    def hanging(self) -> int:
        covered = (self.n_out - 1) * self.stride + self.reach
        return max(0, covered - self.size - self.before - self.after)


def _axes(node: Node, sizes: Sequence[int], kernel: Sequence[int]) -> list[_Axis]:
    n = len(sizes)
    strides, dilations = (node.attribute(name) or [1] * n for name in ("strides", "dilations"))
    pads = node.attribute("pads") or [0] * (2 * n)
    auto = node.attribute("auto_pad") or "NOTSET"
    ceil = bool(node.attribute("ceil_mode", 0))
    out = []
    for i, (size, k, stride, dilation) in enumerate(zip(sizes, kernel, strides, dilations, strict=True)):
        reach = (k - 1) * dilation + 1
        if auto in ("SAME_UPPER", "SAME_LOWER"):
            n_out = (size + stride - 1) // stride
            missing = max((n_out - 1) * stride + reach - size, 0)
            smaller, larger = missing // 2, missing - missing // 2
            before, after = (smaller, larger) if auto == "SAME_UPPER" else (larger, smaller)
        else:
            before, after = (0, 0) if auto == "VALID" else (pads[i], pads[n + i])
            steps, rest = divmod(size + before + after - reach, stride)
            n_out = 1 + steps + int(ceil and rest > 0)
            if ceil and (n_out - 1) * stride >= size + before:  # a window that would begin behind the end
                n_out -= 1
        if n_out < 1 or before < 0 or after < 0:
            raise MalformedModelError(f"{node.label} slides a window of {reach} over {size} values.")
        out.append(_Axis(size, k, stride, dilation, before, after, n_out))
    return out


def _windows(padded: Array, axes: Sequence[_Axis]) -> Array:
    """Return a view (rows, channels, *places, *kernel) of an array that holds its padding."""
    spatial = tuple(range(2, 2 + len(axes)))
    view = sliding_window_view(padded, [a.reach for a in axes], axis=spatial)
    every = tuple(slice(None, (a.n_out - 1) * a.stride + 1, a.stride) for a in axes)
    return view[(slice(None), slice(None), *every, *(slice(None, None, a.dilation) for a in axes))]


def _padded(x: Array, axes: Sequence[_Axis], value: Any) -> Array:
    widths = [(0, 0), (0, 0), *((a.before, a.after + a.hanging) for a in axes)]
    return np.pad(x, widths, constant_values=value)


def conv(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    """Return a convolution: every window times every weight, group by group."""
    x, weight, bias = (*inputs, None)[:3]
    axes = _axes(node, x.shape[2:], weight.shape[2:])
    groups = node.attribute("group", 1)
    unfolded = x.shape[1] * prod(a.n_out * a.kernel for a in axes)
    step = max(1, _UNFOLDED_NUMBERS // max(1, unfolded))
    parts = [_correlated(x[i : i + step], weight, axes, groups) for i in range(0, max(1, len(x)), step)]
    out = np.concatenate(parts)
    return out if bias is None else out + bias.reshape(-1, *[1] * len(axes))


def _correlated(x: Array, weight: Array, axes: Sequence[_Axis], groups: int) -> Array:
    n = len(axes)
    view = _windows(_padded(x, axes, 0), axes)
    contracted = ((1, *range(2 + n, 2 + 2 * n)), (1, *range(2, 2 + n)))
    channels = np.split(view, groups, axis=1)
    parts = [
        np.tensordot(v, w, axes=contracted) for v, w in zip(channels, np.split(weight, groups, axis=0), strict=True)
    ]
    return np.ascontiguousarray(np.moveaxis(np.concatenate(parts, axis=-1), -1, 1))


def conv_transpose(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    """Return a transposed convolution: every value spreads its multiple of the kernel over what is around it."""
    x, weight, bias = (*inputs, None)[:3]
    kernel, n = weight.shape[2:], weight.ndim - 2
    strides, dilations = (node.attribute(name) or [1] * n for name in ("strides", "dilations"))
    extra = node.attribute("output_padding") or [0] * n
    groups = node.attribute("group", 1)
    full = [
        (size - 1) * s + (k - 1) * d + 1 for size, s, k, d in zip(x.shape[2:], strides, kernel, dilations, strict=True)
    ]
    pads = node.attribute("pads") if node.attribute("auto_pad") != "VALID" else None
    begins, ends = (pads[:n], pads[n:]) if pads else ([0] * n, [0] * n)
    sizes = [f + e - b - a for f, e, b, a in zip(full, extra, begins, ends, strict=True)]
    room = [max(f, b + s) for f, b, s in zip(full, begins, sizes, strict=True)]
    parts = []
    for rows, w in zip(np.split(x, groups, axis=1), np.split(weight, groups, axis=0), strict=True):
        out = np.zeros((len(x), w.shape[1], *room), dtype=np.result_type(x, w))
        for at in np.ndindex(*kernel):
            where = tuple(
                slice(i * d, i * d + (size - 1) * s + 1, s)
                for i, d, s, size in zip(at, dilations, strides, x.shape[2:], strict=True)
            )
            spread = np.tensordot(rows, w[(slice(None), slice(None), *at)], axes=((1,), (0,)))
            out[(slice(None), slice(None), *where)] += np.moveaxis(spread, -1, 1)
        parts.append(out)
    kept = tuple(slice(b, b + s) for b, s in zip(begins, sizes, strict=True))
    out = np.concatenate(parts, axis=1)[(slice(None), slice(None), *kept)]
    return out if bias is None else out + bias.reshape(-1, *[1] * n)


def max_pool(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    """Return the largest value of each window; padding never wins."""
    x = inputs[0]
    axes = _axes(node, x.shape[2:], node.attribute("kernel_shape"))
    least = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    return _windows(_padded(x, axes, least), axes).max(axis=tuple(range(-len(axes), 0)))


def average_pool(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    """Return the mean of each window, over what the file says counts."""
    x = inputs[0]
    axes = _axes(node, x.shape[2:], node.attribute("kernel_shape"))
    over = tuple(range(-len(axes), 0))
    counted = np.ones((1, 1, *x.shape[2:]), dtype=x.dtype)
    if node.attribute("count_include_pad", 0):
        counted = np.pad(counted, [(0, 0), (0, 0), *((a.before, a.after) for a in axes)], constant_values=1)
        counted = np.pad(counted, [(0, 0), (0, 0), *((0, a.hanging) for a in axes)])
    else:
        counted = _padded(counted, axes, 0)
    total = _windows(_padded(x, axes, 0), axes).sum(axis=over)
    return (total / _windows(counted, axes).sum(axis=over)).astype(x.dtype)


def global_average_pool(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    """Return the mean over all places of each channel."""
    return inputs[0].mean(axis=tuple(range(2, inputs[0].ndim)), keepdims=True)


def global_max_pool(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    """Return the largest value of each channel."""
    return inputs[0].max(axis=tuple(range(2, inputs[0].ndim)), keepdims=True)
