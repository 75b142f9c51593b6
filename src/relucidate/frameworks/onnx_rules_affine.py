"""ONNX operators that are affine: arithmetic with constants, matrix products, convolutions, means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from relucidate.errors import MalformedModelError, UnsupportedModelError
from relucidate.frameworks import operators
from relucidate.frameworks.heads import Head
from relucidate.frameworks.lowering import Expr
from relucidate.frameworks.onnx_graph import Array, Node
from relucidate.frameworks.onnx_rules_pieces import axes_of, chosen, window_of
from relucidate.frameworks.onnx_values import Columns, Mask, Rule, Value

if TYPE_CHECKING:
    from relucidate.frameworks.onnx_lowering import Lowering


# ---------------------------------------------------------------- arithmetic


def _legacy_broadcast(node: Node, inputs: Sequence[Value]) -> Sequence[Value]:
    """Opset 6 and older aligned the second operand at `axis`; refuse what numpy would align otherwise."""
    if node.version and node.version < 7 and node.attribute("broadcast", 0) and node.attribute("axis") is not None:
        raise UnsupportedModelError("broadcasting along an axis, as opset 6 had it; use onnx.version_converter.")
    return inputs


def _add(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    inputs = _legacy_broadcast(node, inputs)
    out = inputs[0]
    for other in inputs[1:]:
        out = low.plus(out, other)
    return out if not isinstance(out, Columns) else low.numeric(out)


def _mean(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    return low.builder.scale(low.numeric(_add(low, node, inputs)), 1.0 / len(inputs))


def _sub(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    first, second = _legacy_broadcast(node, inputs)
    from_one = isinstance(first, np.ndarray) and bool((first == 1).all())
    if isinstance(second, Mask) and from_one and np.broadcast_shapes(first.shape, second.shape) == second.shape:
        return second.inverted()
    if isinstance(second, Head):
        if second.link == "logit" and second.form == "whole" and from_one:
            return replace(second, form="complement")
        raise UnsupportedModelError(f"only 1 - p is read after {second.label}.")
    if isinstance(first, Head):
        raise UnsupportedModelError(f"a difference after {first.label} is not read.")
    a, b, _ = low.elementwise(first, second)
    if isinstance(b, np.ndarray):
        return low.builder.shift(a, -b.astype(np.float64))
    if isinstance(a, np.ndarray):
        return low.builder.shift(low.builder.scale(b, -1.0), a)
    return low.builder.subtract(a, b)


def _mul(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    first, second = _legacy_broadcast(node, inputs)
    if isinstance(first, Mask):
        first, second = second, first
    if isinstance(second, Mask):
        return chosen(low, node, second, first, np.zeros(()))
    a, b, _ = low.elementwise(first, second)
    if isinstance(a, np.ndarray):
        a, b = b, a
    if not isinstance(b, np.ndarray):
        raise UnsupportedModelError(
            "a product of two tensors that both depend on the input is not piecewise linear. Train with ReLU or "
            "LeakyReLU instead."
        )
    return low.builder.scale(a, b)


def _div(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    a, b, _ = low.elementwise(*_legacy_broadcast(node, inputs))
    if not isinstance(b, np.ndarray):
        raise UnsupportedModelError(
            "a division by something that depends on the input is not piecewise linear. Train without it."
        )
    if (b == 0).any():
        raise MalformedModelError("a division by 0.")
    return low.builder.scale(a, 1.0 / b.astype(np.float64))


def _neg(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    return low.builder.scale(low.numeric(inputs[0]), -1.0)


# ---------------------------------------------------------------- matrix products


def _matmul(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    return _product(low, inputs[0], inputs[1])


def _product(low: Lowering, a: Value, b: Value) -> Expr:
    if isinstance(b, np.ndarray):
        return _times_right(low, low.numeric(a), _as_matrix(b))
    if isinstance(a, np.ndarray):
        x = low.numeric(b)
        transposed = low.builder.moved(x, lambda i: np.swapaxes(i, -1, -2)) if len(x.shape) > 1 else x
        out = _times_right(low, transposed, _as_matrix(a).T)
        return low.builder.moved(out, lambda i: np.swapaxes(i, -1, -2)) if len(x.shape) > 1 else out
    raise UnsupportedModelError(
        "a matrix product of two tensors that both depend on the input is not piecewise linear; train without it."
    )


def _as_matrix(weight: Array) -> Array:
    if weight.ndim < 2 or prod(weight.shape[:-2]) != 1:
        raise UnsupportedModelError(f"a product with a weight of shape {weight.shape}; relucidate reads matrices.")
    return weight.reshape(weight.shape[-2:]).astype(np.float64, copy=False)


def _times_right(low: Lowering, x: Expr, weight: Array) -> Expr:
    """Return x (…, k) @ weight (k, m)."""
    k, m = weight.shape
    if x.shape[-1:] != (k,):
        raise MalformedModelError(f"a tensor of shape {x.shape} cannot meet a weight of shape {weight.shape}.")
    repeats = x.size // k if k else 0
    low.builder.afford(repeats * weight.size)
    full: Any = weight.T if repeats == 1 else sparse.csr_array(sparse.kron(sparse.eye_array(repeats), weight.T, "csr"))
    return low.builder.affine(x, full, None, (*x.shape[:-1], m))


def _gemm(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    a, b, c = (*inputs, None)[:3]
    a, b = (_transposed(low, v) if node.attribute(flag, 0) else v for v, flag in ((a, "transA"), (b, "transB")))
    out = low.builder.scale(_product(low, a, b), node.attribute("alpha", 1.0))
    if c is None or node.attribute("beta", 1.0) == 0:
        return out
    if isinstance(c, np.ndarray):
        beta = node.attribute("beta", 1.0)
        return low.plus(out, c if beta == 1 else c * beta)
    return low.plus(out, low.builder.scale(low.numeric(c), node.attribute("beta", 1.0)))


def _transposed(low: Lowering, value: Value) -> Value:
    return value.T if isinstance(value, np.ndarray) else low.builder.moved(low.numeric(value), np.transpose)


# ---------------------------------------------------------------- windows


def _constants(inputs: Sequence[Value], what: str) -> tuple[Array | None, ...]:
    """Return inputs that must be constants, as float64."""
    if not all(v is None or isinstance(v, np.ndarray) for v in inputs):
        raise UnsupportedModelError(f"{what} that depend on the input are not piecewise linear.")
    return tuple(None if v is None else np.asarray(v, dtype=np.float64) for v in inputs)


def _conv(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    x = low.numeric(inputs[0])
    weight, bias = _constants((*inputs, None)[1:3], "weights")
    assert weight is not None
    _check_kernel(node, weight)
    window = window_of(node, x.shape[2:], weight.shape[2:])
    return operators.convolution(
        low.builder,
        x,
        weight,
        bias,
        strides=window.strides,
        padding=window.padding,
        dilations=window.dilations,
        groups=node.attribute("group", 1),
    )


def _conv_transpose(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    x = low.numeric(inputs[0])
    weight, bias = _constants((*inputs, None)[1:3], "weights")
    assert weight is not None
    _check_kernel(node, weight)
    n = weight.ndim - 2
    strides, dilations = (node.attribute(name) or [1] * n for name in ("strides", "dilations"))
    extra = node.attribute("output_padding") or [0] * n
    if len(x.shape) != n + 2 or {len(strides), len(dilations), len(extra)} != {n}:
        raise MalformedModelError(f"strides, dilations and paddings do not fit a tensor of shape {x.shape}.")
    if node.attribute("output_shape") is None and node.attribute("auto_pad", "NOTSET") in ("NOTSET", "VALID", ""):
        pads = node.attribute("pads") if node.attribute("auto_pad", "NOTSET") != "VALID" else None
        pads = pads or [0] * (2 * n)
        padding = list(zip(pads[:n], pads[n:], strict=True))
    else:
        raise UnsupportedModelError("an output shape instead of paddings; export it with pads and output_padding.")
    return operators.transposed_convolution(
        low.builder,
        x,
        weight,
        bias,
        strides=strides,
        padding=padding,
        dilations=dilations,
        groups=node.attribute("group", 1),
        output_padding=extra,
    )


def _check_kernel(node: Node, weight: Array) -> None:
    declared = node.attribute("kernel_shape")
    if weight.ndim < 3:
        raise MalformedModelError(f"a kernel needs three dimensions or more; the weight has the shape {weight.shape}.")
    if declared and tuple(declared) != weight.shape[2:]:
        raise MalformedModelError(f"kernel_shape {declared} is not that of the weight {weight.shape}.")


def _average_pool(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    x = low.numeric(inputs[0])
    window = window_of(node, x.shape[2:], node.attribute("kernel_shape"))
    counted = bool(node.attribute("count_include_pad", 0))
    return operators.average_pool(
        low.builder,
        x,
        kernel=window.kernel,
        strides=window.strides,
        padding=window.padding,
        dilations=window.dilations,
        ceil=window.ceil,
        count_padding=counted,
    )


def _global_average_pool(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    x = low.numeric(inputs[0])
    return operators.reduced(low.builder, x, range(2, len(x.shape)), mean=True, keep=True)


def _reduce(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    x = low.numeric(inputs[0])
    axes = axes_of(node, inputs, len(x.shape))
    if axes == ():
        return x
    keep = bool(node.attribute("keepdims", 1))
    return operators.reduced(low.builder, x, axes, mean=node.op == "ReduceMean", keep=keep)


def _pad(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    x = low.numeric(inputs[0])
    widths, value, axes = (*inputs, None, None, None)[1:4]
    if not all(v is None or isinstance(v, np.ndarray) for v in (widths, value, axes)):
        raise UnsupportedModelError("paddings that depend on the input; only constants are read.")
    given = node.attribute("pads", node.attribute("paddings")) if widths is None else widths.ravel().tolist()
    value = node.attribute("value", 0.0) if value is None or value.size == 0 else float(value.ravel()[0])
    rank = len(x.shape)
    over = range(rank) if axes is None else [int(a) % rank for a in axes.ravel()]
    if given is None or len(given) != 2 * len(over):
        raise MalformedModelError(f"paddings {given} do not fit a tensor of shape {x.shape}.")
    before, after = [0] * rank, [0] * rank
    for i, axis in enumerate(over):
        before[axis], after[axis] = int(given[i]), int(given[len(over) + i])
    return operators.pad(low.builder, x, before, after, value, node.attribute("mode", "constant"))


def _batch_normalization(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    if node.attribute("training_mode", 0) or (node.version < 7 and not node.attribute("is_test", 0)):
        raise UnsupportedModelError(
            "it is in training mode, where the answer for a row depends on the other rows. Export the model in "
            "evaluation mode (model.eval())."
        )
    if node.version < 9 and not node.attribute("spatial", 1):
        raise UnsupportedModelError("spatial=0 is not read; convert the model to a newer opset.")
    x = low.numeric(inputs[0])
    if not all(isinstance(v, np.ndarray) for v in inputs[1:5]):
        raise UnsupportedModelError("its parameters depend on the input.")
    scale, shift, mean, variance = inputs[1:5]
    epsilon = node.attribute("epsilon", 1e-5)
    return operators.batch_normalization(low.builder, x, scale, shift, mean, variance, epsilon)


RULES: dict[tuple[str, str], Rule] = {
    ("", name): rule
    for name, rule in {
        "Add": _add,
        "Sum": _add,
        "Mean": _mean,
        "Sub": _sub,
        "Mul": _mul,
        "Div": _div,
        "Neg": _neg,
        "MatMul": _matmul,
        "Gemm": _gemm,
        "Conv": _conv,
        "ConvTranspose": _conv_transpose,
        "AveragePool": _average_pool,
        "GlobalAveragePool": _global_average_pool,
        "ReduceSum": _reduce,
        "ReduceMean": _reduce,
        "Pad": _pad,
        "BatchNormalization": _batch_normalization,
    }.items()
}
