"""PyTorch operators that slide windows over images: convolution, pooling, upsampling."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from relucidate.frameworks import operators
from relucidate.frameworks.lowering import Expr
from relucidate.frameworks.torch_rules_affine import by_evaluation
from relucidate.frameworks.torch_values import POSITIONS, Call, Rule, Unread, Value, constant_of, named

if TYPE_CHECKING:
    from relucidate.frameworks.torch_lowering import Lowering


def _each(value: Any, n: int) -> list[int]:
    """Return one number per dimension, from one for all of them."""
    numbers = [int(v) for v in value] if isinstance(value, list | tuple) else [int(value)]
    return numbers * n if len(numbers) == 1 else numbers


def _with_rows(low: Lowering, x: Expr, n: int) -> tuple[Expr, bool]:
    """Return a tensor with its axis of rows, and whether it lacked one."""
    lacks = len(x.shape) == n + 1
    return (x.reshaped((1, *x.shape)) if lacks else x), lacks


def _convolution(low: Lowering, call: Call) -> Value:
    if call.get("transposed", False):
        return by_evaluation(low, call)
    weight = constant_of(call["weight"], "the kernel")
    bias = None if call["bias"] is None else constant_of(call["bias"], "the bias")
    n = weight.ndim - 2
    x, lacked = _with_rows(low, low.numeric(call["input"]), n)
    strides, dilations = _each(call["stride"], n), _each(call["dilation"], n)
    padding = call["padding"]
    if padding == "same":
        reach = [d * (k - 1) for d, k in zip(dilations, weight.shape[2:], strict=True)]
        widths = [(r // 2, r - r // 2) for r in reach]
    else:
        widths = [(p, p) for p in _each(0 if padding == "valid" else padding, n)]
    out = operators.convolution(
        low.builder, x, weight, bias, strides=strides, padding=widths, dilations=dilations, groups=call["groups"]
    )
    return out.reshaped(out.shape[1:]) if lacked else out


def _average_pool(low: Lowering, call: Call) -> Value:
    n = int(call.name[-2])
    x, lacked = _with_rows(low, low.numeric(call["self"]), n)
    kernel = _each(call["kernel_size"], n)
    out = operators.average_pool(
        low.builder,
        x,
        kernel=kernel,
        strides=_each(call.get("stride") or kernel, n),
        padding=[(p, p) for p in _each(call.get("padding", 0), n)],
        ceil=bool(call.get("ceil_mode", False)),
        count_padding=bool(call.get("count_include_pad", True)),
        divisor=call.get("divisor_override"),
    )
    return out.reshaped(out.shape[1:]) if lacked else out


def _adaptive_windows(size: int, n_out: int) -> list[range]:
    """Return what each window of an adaptive pool covers along one axis."""
    return [range(i * size // n_out, -(-(i + 1) * size // n_out)) for i in range(n_out)]


def _adaptive_sizes(x: Expr, wanted: Any, n: int) -> list[int]:
    given = list(wanted) if isinstance(wanted, list | tuple) else [wanted]
    given = given * n if len(given) == 1 else given
    return [size if w is None else int(w) for w, size in zip(given, x.shape[-n:], strict=True)]


def _adaptive_average_pool(low: Lowering, call: Call) -> Value:
    n = int(call.name[-2])
    x = low.numeric(call["self"])
    sizes = _adaptive_sizes(x, call["output_size"], n)
    matrix: Any = sparse.eye_array(prod(x.shape[:-n]), format="csr")
    for size, n_out in zip(x.shape[-n:], sizes, strict=True):
        windows = _adaptive_windows(size, n_out)
        row = np.repeat(np.arange(n_out), [len(w) for w in windows])
        share = np.concatenate([np.full(len(w), 1.0 / len(w)) for w in windows])
        along = sparse.csr_array((share, (row, np.concatenate(windows))), shape=(n_out, size))
        matrix = sparse.kron(matrix, along, "csr")
    return low.builder.affine(x, sparse.csr_array(matrix), None, (*x.shape[:-n], *sizes))


def _adaptive_max_pool(low: Lowering, call: Call) -> Value:
    n = int(call.name[-2])
    x = low.numeric(call["self"])
    for axis, n_out in zip(range(-n, 0), _adaptive_sizes(x, call["output_size"], n), strict=True):
        windows = _adaptive_windows(x.shape[axis], n_out)
        widest = max(len(w) for w in windows)
        at = np.array([[*w, *[operators.ABSENT] * (widest - len(w))] for w in windows])
        index = np.moveaxis(np.arange(x.size).reshape(x.shape), axis, -1)
        groups = np.where(at == operators.ABSENT, operators.ABSENT, index[..., at])
        shape = (*x.shape[: len(x.shape) + axis], n_out, *x.shape[len(x.shape) + axis + 1 :])
        flat = np.moveaxis(groups, -2, axis - 1).reshape(-1, widest)
        x = operators.largest(low.builder, x, flat, call.place.title).reshaped(shape)
    return [x, Unread(POSITIONS)]


def _max_pool(low: Lowering, call: Call) -> Value:
    n = int(call.name.removesuffix("_with_indices")[-2])
    x, lacked = _with_rows(low, low.numeric(call["self"]), n)
    kernel = _each(call["kernel_size"], n)
    out = operators.max_pool(
        low.builder,
        x,
        kernel=kernel,
        strides=_each(call.get("stride") or kernel, n),
        padding=[(p, p) for p in _each(call.get("padding", 0), n)],
        dilations=_each(call.get("dilation", 1), n),
        ceil=bool(call.get("ceil_mode", False)),
        name=call.place.title,
    )
    out = out.reshaped(out.shape[1:]) if lacked else out
    return [out, Unread(POSITIONS)] if call.name.endswith("_with_indices") else out


RULES: dict[str, Rule] = {
    **named("conv_transpose2d conv_transpose3d upsample_linear1d upsample_bilinear2d", by_evaluation),
    **named("upsample_trilinear3d upsample_bicubic2d _upsample_bilinear2d_aa", by_evaluation),
    **named("conv1d conv2d conv3d convolution", _convolution),
    **dict.fromkeys(("avg_pool1d", "avg_pool2d", "avg_pool3d"), _average_pool),
    **named("adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d", _adaptive_average_pool),
    **dict.fromkeys(("_adaptive_avg_pool2d", "_adaptive_avg_pool3d"), _adaptive_average_pool),
    **named("adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d", _adaptive_max_pool),
    **dict.fromkeys(("max_pool1d", "max_pool2d", "max_pool3d"), _max_pool),
    **named("max_pool1d_with_indices max_pool2d_with_indices max_pool3d_with_indices", _max_pool),
}
