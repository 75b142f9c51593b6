"""What networks are made of besides matrices: convolution, pooling, normalisation, padding, limits, as expressions.

Tensors have their channels on axis 1 and their batch axis of 1 on axis 0, as ONNX and PyTorch have them.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from relucidate.errors import MalformedModelError, UnsupportedModelError
from relucidate.frameworks.lowering import MAX_VALUES, Builder, Expr, Indices, selection
from relucidate.layers import Activation, Floats

Sizes = Sequence[int]
HUGE = 3.4e38  # what exporters write for "no limit" in float32
ABSENT = -1  # the place of padding in a window


# ---------------------------------------------------------------- windows


def windows(size: int, kernel: int, stride: int, before: int, dilation: int, n_out: int) -> Indices:
    """Return the positions (n_out, kernel) along one axis that each window covers, `ABSENT` for padding."""
    at = np.arange(n_out)[:, None] * stride - before + np.arange(kernel)[None, :] * dilation
    return np.where((at >= 0) & (at < size), at, ABSENT)


def n_windows(size: int, kernel: int, stride: int, padding: tuple[int, int], dilation: int, ceil: bool = False) -> int:
    """Return how many windows fit along one axis.

    Notes
    -----
    With `ceil` a last window may hang over the end, but must begin inside the tensor or its padding at the front.
    """
    room = size + sum(padding) - dilation * (kernel - 1) - 1
    n = (-(-room // stride) if ceil else room // stride) + 1
    if n < 1:
        raise MalformedModelError(
            f"a window of {kernel} (dilation {dilation}) is larger than the {size} values it slides over and their "
            f"padding {padding}."
        )
    if ceil and (n - 1) * stride >= size + padding[0]:
        n -= 1
    return n


def same_padding(size: int, kernel: int, stride: int, dilation: int, lower: bool = False) -> tuple[int, int]:
    """Return the padding that gives ``ceil(size / stride)`` windows; an odd one goes after, or before if `lower`."""
    n_out = -(-size // stride)
    missing = max(0, (n_out - 1) * stride + dilation * (kernel - 1) + 1 - size)
    half = missing // 2
    return (missing - half, half) if lower else (half, missing - half)


def _spatial(x: Expr, n: int, what: str) -> tuple[int, ...]:
    if len(x.shape) != n + 2 or x.shape[0] != 1:
        raise MalformedModelError(
            f"{what} over {n} dimension{'s' * (n != 1)} takes a tensor (rows, channels, …) of {n + 2} dimensions; got the "
            f"shape {x.shape}."
        )
    return x.shape[2:]


def _positions(
    sizes: Sizes, kernel: Sizes, strides: Sizes, padding: Sequence[tuple[int, int]], dilations: Sizes, n_out: Sizes
) -> Indices:
    """Return flat spatial positions (windows, values of a window), `ABSENT` for padding."""
    flat = np.zeros((1, 1), dtype=np.intp)
    absent = np.zeros((1, 1), dtype=bool)
    for size, k, stride, pad, dilation, n in zip(sizes, kernel, strides, padding, dilations, n_out, strict=True):
        along = windows(size, k, stride, pad[0], dilation, n)
        flat = (flat[:, None, :, None] * size + along[None, :, None, :]).reshape(len(flat) * n, -1)
        absent = (absent[:, None, :, None] | (along == ABSENT)[None, :, None, :]).reshape(len(absent) * n, -1)
    return np.where(absent, ABSENT, flat)


# ---------------------------------------------------------------- affine


def convolution(
    builder: Builder,
    x: Expr,
    weight: Floats,
    bias: Floats | None,
    *,
    strides: Sizes,
    padding: Sequence[tuple[int, int]],
    dilations: Sizes,
    groups: int = 1,
) -> Expr:
    """Return the convolution of `x` (1, channels, …) with `weight` (outputs, channels / groups, …), as a sparse map."""
    n = weight.ndim - 2
    sizes = _spatial(x, n, "a convolution")
    outputs, channels, *kernel = weight.shape
    if groups < 1 or x.shape[1] != channels * groups or outputs % groups:
        raise MalformedModelError(
            f"a convolution with a weight of shape {weight.shape} in {groups} group{'s' * (groups != 1)} cannot take a "
            f"tensor of shape {x.shape}."
        )
    axes = zip(sizes, kernel, strides, padding, dilations, strict=True)
    n_out = [n_windows(*axis) for axis in axes]
    area, places = prod(sizes), prod(n_out)
    if outputs * places > MAX_VALUES or places * prod(kernel) > MAX_VALUES * 16:
        raise UnsupportedModelError(
            f"a convolution to {outputs * places:,} values is too large ({MAX_VALUES:,} at most)."
        )
    at = _positions(sizes, kernel, strides, padding, dilations, n_out)
    builder.afford_map(outputs * channels * int((at != ABSENT).sum()))
    # the row of one output channel at one place: its window's values in each channel of its group
    here = np.broadcast_to((at != ABSENT)[:, None, :], (places, channels, at.shape[1]))
    place, channel, value = np.nonzero(here)
    columns = (channel * area + at[place, value]).astype(np.int32)
    numbers = channel * at.shape[1] + value
    per_row = np.bincount(place, minlength=places)
    flat = np.asarray(weight, dtype=np.float64).reshape(outputs, -1)
    own = outputs // groups
    data = np.empty(outputs * len(columns))
    indices = np.empty(outputs * len(columns), dtype=np.int32)
    for o in range(outputs):
        part = slice(o * len(columns), (o + 1) * len(columns))
        data[part] = flat[o, numbers]
        indices[part] = columns + (o // own) * channels * area
    indptr = np.concatenate([[0], np.cumsum(np.tile(per_row, outputs))])
    matrix = sparse.csr_array((data, indices, indptr), shape=(outputs * places, x.size))
    offset = None if bias is None else np.repeat(np.asarray(bias, dtype=np.float64), places)
    return builder.affine(x, matrix, offset, (1, outputs, *n_out))


def transposed_convolution(
    builder: Builder,
    x: Expr,
    weight: Floats,
    bias: Floats | None,
    *,
    strides: Sizes,
    padding: Sequence[tuple[int, int]],
    dilations: Sizes,
    groups: int = 1,
    output_padding: Sizes,
) -> Expr:
    """Return the transposed convolution of `x` (1, channels, …) with `weight` (channels, outputs / groups, …).

    Notes
    -----
    Its matrix is that of the convolution which takes tensors of the result's shape to tensors of the shape of `x`.
    """
    n = weight.ndim - 2
    sizes = _spatial(x, n, "a transposed convolution")
    kernel = weight.shape[2:]
    axes = zip(sizes, kernel, strides, padding, dilations, output_padding, strict=True)
    made = [(size - 1) * s + d * (k - 1) + 1 + extra - sum(pad) for size, k, s, pad, d, extra in axes]
    if groups < 1 or x.shape[1] != weight.shape[0] or x.shape[1] % groups or min(made, default=1) < 1:
        raise MalformedModelError(
            f"a transposed convolution with a weight of shape {weight.shape} in {groups} group{'s' * (groups != 1)} cannot "
            f"take a tensor of shape {x.shape}."
        )
    if any(not 0 <= extra < max(s, d) for extra, s, d in zip(output_padding, strides, dilations, strict=True)):
        raise MalformedModelError(f"an output padding of {list(output_padding)} with strides {list(strides)}.")
    outputs = weight.shape[1] * groups
    if outputs * prod(made) > MAX_VALUES:
        raise UnsupportedModelError(
            f"a transposed convolution to {outputs * prod(made):,} values is too large ({MAX_VALUES:,} at most)."
        )
    scratch = Builder()
    result = scratch.input(outputs * prod(made)).reshaped((1, outputs, *made))
    back = convolution(
        scratch, result, weight, None, strides=strides, padding=padding, dilations=dilations, groups=groups
    )
    (matrix,) = back.terms.values()
    spread: Any = matrix
    places = prod(back.shape[2:])
    if back.shape[2:] != tuple(sizes):  # an output padding of a whole stride lets one more window in
        kept = np.arange(x.shape[1] * places).reshape(back.shape[1:])[(slice(None), *(slice(0, s) for s in sizes))]
        spread = spread[kept.ravel()]
    builder.afford_map(int(spread.nnz))
    offset = None if bias is None else np.repeat(np.asarray(bias, dtype=np.float64), prod(made))
    return builder.affine(x, sparse.csr_array(spread.T), offset, (1, outputs, *made))


def average_pool(
    builder: Builder,
    x: Expr,
    *,
    kernel: Sizes,
    strides: Sizes,
    padding: Sequence[tuple[int, int]],
    dilations: Sizes | None = None,
    ceil: bool = False,
    count_padding: bool = False,
    divisor: int | None = None,
) -> Expr:
    """Return the mean of each window.

    Parameters
    ----------
    count_padding : padding counts as zeros; what a window hangs over beyond it (`ceil`) never counts.
    divisor : what sums are divided by instead.
    """
    sizes = _spatial(x, len(kernel), "pooling")
    dilations = dilations or [1] * len(kernel)
    n_out = [n_windows(*axis, ceil) for axis in zip(sizes, kernel, strides, padding, dilations, strict=True)]
    _refuse_many(x.shape[1] * prod(n_out) * prod(kernel))
    at = _positions(sizes, kernel, strides, padding, dilations, n_out)
    if divisor is not None:
        count = np.full(len(at), float(divisor))
    elif count_padding:
        padded = [size + sum(pad) for size, pad in zip(sizes, padding, strict=True)]
        inside = _positions(padded, kernel, strides, [(0, 0)] * len(kernel), dilations, n_out)
        count = (inside != ABSENT).sum(axis=1).astype(np.float64)
    else:
        count = (at != ABSENT).sum(axis=1).astype(np.float64)
    if not count.all():
        raise MalformedModelError("a pooling window covers nothing but padding.")
    place, value = np.nonzero(at != ABSENT)
    one = sparse.csr_array((1.0 / count[place], (place, at[place, value])), shape=(len(at), prod(sizes)))
    matrix = sparse.csr_array(sparse.kron(sparse.eye_array(x.shape[1]), one, format="csr"))
    return builder.affine(x, matrix, None, (1, x.shape[1], *n_out))


def reduced(builder: Builder, x: Expr, axes: Sequence[int] | None, *, mean: bool, keep: bool) -> Expr:
    """Return the sum, or the mean, over some axes; None is all of them."""
    rank = len(x.shape)
    axes = sorted({a % rank for a in (range(rank) if axes is None else axes)})
    index = np.arange(x.size).reshape(x.shape)
    kept = [a for a in range(rank) if a not in axes]
    groups = np.transpose(index, (*kept, *axes)).reshape(prod(x.shape[a] for a in kept), -1)
    shape = tuple((1 if a in axes else s) for a, s in enumerate(x.shape) if keep or a not in axes)
    if groups.shape[1] == 0:
        raise MalformedModelError(f"a reduction of a tensor of shape {x.shape} over no values.")
    factor = 1.0 / groups.shape[1] if mean else 1.0
    rows = np.repeat(np.arange(len(groups)), groups.shape[1])
    matrix = sparse.csr_array((np.full(x.size, factor), (rows, groups.ravel())), shape=(len(groups), x.size))
    return builder.affine(x, matrix, None, shape)


def batch_normalization(
    builder: Builder, x: Expr, scale: Any, shift: Any, mean: Any, variance: Any, epsilon: float, axis: int = 1
) -> Expr:
    """Return ``(x - mean) / sqrt(variance + epsilon) * scale + shift`` with one number of each per channel."""
    along = [-1 if a == axis % len(x.shape) else 1 for a in range(len(x.shape))]
    wide = (np.asarray(v, dtype=np.float64) for v in (scale, shift, mean, variance))
    scale, shift, mean, variance = (v.reshape(along) if v.ndim else v for v in wide)
    root = variance + epsilon
    if not (root > 0).all():
        raise MalformedModelError("the variance of a batch normalisation is negative, or 0 without an epsilon.")
    factor = scale / np.sqrt(root)
    return builder.shift(builder.scale(x, factor), shift - factor * mean)


def pad(builder: Builder, x: Expr, before: Sizes, after: Sizes, value: Any = 0.0, mode: str = "constant") -> Expr:
    """Return `x` with values added around it, one pair of widths per axis; negative widths cut.

    Parameters
    ----------
    mode : "constant", or "reflect", "edge", "wrap", as `numpy.pad` has them.
    """
    shape = tuple(s + b + a for s, b, a in zip(x.shape, before, after, strict=True))
    if min(shape, default=1) < 1:
        raise MalformedModelError(f"padding a tensor of shape {x.shape} to {shape} leaves nothing.")
    _refuse_many(prod(shape))
    index = np.arange(x.size).reshape(x.shape)
    cut = tuple(slice(max(-b, 0), s - max(-a, 0)) for s, b, a in zip(x.shape, before, after, strict=True))
    widths = [(max(b, 0), max(a, 0)) for b, a in zip(before, after, strict=True)]
    if mode != "constant":
        return builder.select(x, np.pad(index[cut], widths, mode=mode))  # type: ignore[call-overload]
    at = np.pad(index[cut], widths, constant_values=ABSENT)
    offset = np.where(at.ravel() == ABSENT, float(value), 0.0)
    return builder.affine(x, selection(at.ravel(), x.size), offset, shape)


def _refuse_many(values: int) -> None:
    if values > MAX_VALUES * 64:
        raise UnsupportedModelError(f"an operation over {values:,} values is more than relucidate takes.")


# ---------------------------------------------------------------- piecewise linear


def clip(builder: Builder, x: Expr, low: Any, high: Any, name: str) -> Expr:
    """Return ``min(max(x, low), high)`` with limits that broadcast to the shape of `x`."""
    low = np.broadcast_to(np.asarray(low, dtype=np.float64), x.shape).ravel()
    high = np.broadcast_to(np.asarray(high, dtype=np.float64), x.shape).ravel()
    low = np.where(low <= -HUGE, -np.inf, low)
    high = np.where(high >= HUGE, np.inf, high)
    if np.isnan(low).any() or np.isnan(high).any():
        raise MalformedModelError("a limit is NaN.")
    if (low == low[:1]).all() and (high == high[:1]).all() and x.size:
        return builder.activation(x, Activation.of_kind("clip", x.size, float(low[0]), float(high[0])), name)
    parts = [Activation.of_kind("clip", 1, float(a), float(b)) for a, b in zip(low, high, strict=True)]
    return builder.activation(x, Activation.joined(parts), name)


def max_pool(
    builder: Builder,
    x: Expr,
    *,
    kernel: Sizes,
    strides: Sizes,
    padding: Sequence[tuple[int, int]],
    dilations: Sizes | None = None,
    ceil: bool = False,
    name: str,
) -> Expr:
    """Return the largest value of each window, of its real values: padding is left out.

    Notes
    -----
    One axis after the other, in rounds of ``b + relu(a - b)``; windows that overlap share their pairs.
    """
    sizes = _spatial(x, len(kernel), "pooling")
    dilations = dilations or [1] * len(kernel)
    n_out = [n_windows(*axis, ceil) for axis in zip(sizes, kernel, strides, padding, dilations, strict=True)]
    for i, (size, k, n) in enumerate(zip(sizes, kernel, n_out, strict=True)):
        axis = 2 + i
        _refuse_many(x.size // size * n * k)
        along = windows(size, k, strides[i], padding[i][0], dilations[i], n)
        index = np.moveaxis(np.arange(x.size).reshape(x.shape), axis, -1)
        groups = np.where(along == ABSENT, ABSENT, index[..., along])  # (…, n, k)
        if (groups == ABSENT).all(axis=-1).any():
            raise MalformedModelError("a pooling window covers nothing but padding.")
        shape = (*x.shape[:axis], n, *x.shape[axis + 1 :])
        flat = np.moveaxis(groups, -2, axis).reshape(-1, k)
        x = largest(builder, x, flat, name).reshaped(shape)
    return x


def reduced_to_extreme(
    builder: Builder, x: Expr, axes: Sequence[int] | None, *, largest_: bool, keep: bool, name: str
) -> Expr:
    """Return the largest, or the smallest, value over some axes; None is all of them."""
    rank = len(x.shape)
    axes = sorted({a % rank for a in (range(rank) if axes is None else axes)})
    index = np.arange(x.size).reshape(x.shape)
    kept = [a for a in range(rank) if a not in axes]
    groups = np.transpose(index, (*kept, *axes)).reshape(prod(x.shape[a] for a in kept), -1)
    shape = tuple((1 if a in axes else s) for a, s in enumerate(x.shape) if keep or a not in axes)
    if groups.shape[1] == 0:
        raise MalformedModelError(f"a reduction of a tensor of shape {x.shape} over no values.")
    sign = 1.0 if largest_ else -1.0
    return builder.scale(largest(builder, builder.scale(x, sign), groups, name), sign).reshaped(shape)


def largest(builder: Builder, x: Expr, groups: NDArray[np.intp], name: str) -> Expr:
    """Return the largest of each group of values, (n,), from flat positions (n, k), `ABSENT` where a group is shorter."""
    while groups.shape[1] > 1:
        if groups.shape[1] % 2:
            groups = np.pad(groups, ((0, 0), (0, 1)), constant_values=ABSENT)
        a, b = groups[:, ::2], groups[:, 1::2]
        both = (a != ABSENT) & (b != ABSENT) & (a != b)
        one = np.where(b == ABSENT, a, b)  # what a pair is but for its gap
        made, number = np.unique(
            np.stack([one, np.where(both, a, ABSENT)], axis=-1).reshape(-1, 2), axis=0, return_inverse=True
        )
        present = made[:, 0] != ABSENT
        place = np.where(present, np.cumsum(present) - 1, ABSENT)
        made = made[present]
        gaps = made[:, 1] != ABSENT
        values = builder.select(x, made[:, 0])
        if gaps.any():
            gap = builder.subtract(builder.select(x, made[gaps, 1]), builder.select(x, made[gaps, 0]))
            above = builder.activation(gap, Activation.of_kind("relu", gap.size), name)
            spread = selection(np.where(gaps, np.cumsum(gaps) - 1, ABSENT), gap.size)
            values = builder.add(values, builder.affine(above, spread))
        x = values
        groups = place[number.ravel()].reshape(a.shape)
    return builder.select(x, groups[:, 0])


def hard_sigmoid(builder: Builder, x: Expr, slope: float, offset: float, name: str) -> Expr:
    """Return ``min(max(slope * x + offset, 0), 1)``."""
    return clip(builder, builder.shift(builder.scale(x, slope), offset), 0.0, 1.0, name)
