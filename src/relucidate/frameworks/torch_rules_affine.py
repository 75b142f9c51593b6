"""PyTorch operators that are affine: arithmetic with constants, matrix products, normalisation, sums and means."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import sparse

from relucidate.errors import MalformedModelError, UnsupportedModelError
from relucidate.frameworks import operators
from relucidate.frameworks.heads import SMOOTH, Head
from relucidate.frameworks.lowering import MAX_VALUES, Builder, Expr, numbers_in
from relucidate.frameworks.torch_refusals import ATTENDS, GATES, STATISTICS
from relucidate.frameworks.torch_steps import chosen
from relucidate.frameworks.torch_values import (
    Call,
    Rule,
    Step,
    Unread,
    Value,
    axes_of,
    constant_of,
    jump,
    leaves,
    named,
)
from relucidate.layers import Floats

if TYPE_CHECKING:
    from relucidate.frameworks.torch_lowering import Lowering


# ---------------------------------------------------------------- arithmetic


def together(low: Lowering, a: Value, b: Value) -> tuple[Value, Value]:
    """Return two operands at one shape, expressions or arrays; at least one is an expression."""
    operands = [
        v if isinstance(v, Expr) else low.numeric(v) if isinstance(v, Step) else constant_of(v, "") for v in (a, b)
    ]
    shape = np.broadcast_shapes(*(v.shape for v in operands))
    if prod(shape) > MAX_VALUES:
        raise UnsupportedModelError(f"a tensor of shape {shape} is more than relucidate takes.")
    first, second = (
        low.builder.broadcast(v, shape) if isinstance(v, Expr) else np.broadcast_to(v, shape) for v in operands
    )
    return first, second


def sum_of(low: Lowering, a: Value, b: Value, sign: float = 1.0) -> Value:
    """Return ``a + sign * b``; of steps and constants a step."""
    if isinstance(a, Head) or isinstance(b, Head):
        return _complement(a, b, sign)
    if isinstance(a, Step) or isinstance(b, Step):
        return _sum_with_step(a, b, sign)
    if isinstance(a, torch.Tensor | float | int) and isinstance(b, torch.Tensor | float | int):
        return a + sign * b
    a, b = together(low, a, b)
    if not isinstance(b, Expr):
        return low.builder.shift(a, sign * b)
    b = low.builder.scale(b, sign)
    return low.builder.add(a, b) if isinstance(a, Expr) else low.builder.shift(b, a)


def _complement(a: Value, b: Value, sign: float) -> Head:
    head = b if isinstance(b, Head) else a
    one = not isinstance(a, Head | Expr | Step) and bool((constant_of(a, "") == 1).all())
    if isinstance(b, Head) and one and sign == -1 and (b.link, b.form, b.log) == ("logit", "whole", False):
        return replace(b, form="complement")
    raise UnsupportedModelError(f"only 1 - p is read after {head.label}, where p is the probability of a sigmoid.")


def _sum_with_step(a: Value, b: Value, sign: float) -> Step:
    step, other, factor = (a, b, 1.0) if isinstance(a, Step) else (b, a, sign)
    if isinstance(other, Expr | Step):
        raise jump(step.label)
    term = constant_of(other, "") * (sign if step is a else 1.0)
    low, high = step.low * factor + term, step.high * factor + term
    if low.shape != step.shape:
        raise jump(step.label)
    return replace(step, low=low, high=high)


def _add(low: Lowering, call: Call) -> Value:
    return sum_of(low, call["self"], call["other"], float(call.get("alpha", 1.0)))


def _sub(low: Lowering, call: Call) -> Value:
    return sum_of(low, call["self"], call["other"], -float(call.get("alpha", 1.0)))


def _rsub(low: Lowering, call: Call) -> Value:
    return sum_of(low, call["other"], call["self"], -float(call.get("alpha", 1.0)))


def _mul(low: Lowering, call: Call) -> Value:
    return product_of(low, call["self"], call["other"])


def product_of(low: Lowering, a: Value, b: Value) -> Value:
    if isinstance(a, Step):
        a, b = b, a
    if isinstance(b, Step):
        return _product_with_step(low, a, b)
    a, b = together(low, a, b)
    if isinstance(b, Expr):
        a, b = b, a
    if isinstance(b, Expr):
        raise UnsupportedModelError(GATES)
    return low.builder.scale(a, b)


def _product_with_step(low: Lowering, a: Value, step: Step) -> Value:
    if isinstance(a, Step):
        raise jump(step.label)
    if isinstance(a, Expr):
        shape = np.broadcast_shapes(a.shape, step.shape)
        x = low.builder.broadcast(a, shape)
        above, below = (low.builder.scale(x, np.broadcast_to(factor, shape)) for factor in (step.high, step.low))
        return chosen(low, low.builder.broadcast(step.gap, shape), above, below, step.label)
    factor = constant_of(a, "")
    made = step.low * factor, step.high * factor
    if made[0].shape != step.shape:
        raise jump(step.label)
    return replace(step, low=made[0], high=made[1])


def _div(low: Lowering, call: Call) -> Value:
    if call.get("rounding_mode") is not None:
        raise UnsupportedModelError("a division that rounds is a staircase, not a piecewise-linear function.")
    if isinstance(call["other"], Expr | Step):
        raise UnsupportedModelError(f"a division by something that depends on the input. {SMOOTH}")
    divisor = constant_of(call["other"], "")
    if (divisor == 0).any():
        raise MalformedModelError("a division by 0.")
    return product_of(low, call["self"], torch.from_numpy(np.asarray(1.0 / divisor)))


def _neg(low: Lowering, call: Call) -> Value:
    return product_of(low, call["self"], -1.0)


def _lerp(low: Lowering, call: Call) -> Value:
    start, end, weight = call["self"], call["end"], call["weight"]
    return sum_of(low, start, product_of(low, sum_of(low, end, start, -1.0), weight))


def _addc(low: Lowering, call: Call) -> Value:
    """``self + value * tensor1 * tensor2``, or divided by tensor2."""
    first, second = call["tensor1"], call["tensor2"]
    if call.name == "addcdiv":
        second = torch.from_numpy(1.0 / constant_of(second, "a divisor"))
    term = product_of(low, product_of(low, first, second), float(call.get("value", 1.0)))
    return sum_of(low, call["self"], term)


def _pow(low: Lowering, call: Call) -> Value:
    if isinstance(call["self"], Expr) and call["exponent"] == 1:
        return call["self"]
    raise UnsupportedModelError(f"a power is not piecewise linear. {SMOOTH}")


# ---------------------------------------------------------------- matrices


def _linear(low: Lowering, call: Call) -> Value:
    weight = constant_of(call["weight"], "the weight")
    out = times_right(low.builder, low.numeric(call["input"]), weight.T)
    return out if call["bias"] is None else sum_of(low, out, call["bias"])


def times_right(builder: Builder, x: Expr, weight: Floats) -> Expr:
    """Return ``x @ weight``, x (…, k), weight (k, m)."""
    k, m = weight.shape
    if x.shape[-1:] != (k,):
        raise MalformedModelError(f"a tensor of shape {x.shape} cannot meet a weight of shape {weight.shape}.")
    repeats = x.size // k if k else 0
    builder.afford(repeats * weight.size)
    full: Any = weight.T
    if repeats != 1:
        full = sparse.csr_array(sparse.kron(sparse.eye_array(repeats), weight.T, "csr"))
    return builder.affine(x, full, None, (*x.shape[:-1], m))


def _matmul(low: Lowering, call: Call) -> Value:
    a = call["self"]
    b = next(call[name] for name in ("other", "mat2", "vec", "vec2", "tensor") if name in call.given)
    if isinstance(a, Expr | Step) and isinstance(b, Expr | Step):
        raise UnsupportedModelError(ATTENDS)
    if isinstance(b, torch.Tensor) and b.ndim == 2:
        return times_right(low.builder, low.numeric(a), constant_of(b, ""))
    return by_evaluation(low, call)


def _addmm(low: Lowering, call: Call) -> Value:
    names = {"addmm": ("mat1", "mat2"), "baddbmm": ("batch1", "batch2"), "addmv": ("mat", "vec")}[call.name]
    first, second = (call[name] for name in names)
    product: Value
    if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        product = first @ second
    else:
        product = _matmul(low, Call(call.place, torch.ops.aten.matmul.default, {"self": first, "other": second}))
    product = product_of(low, product, float(call.get("alpha", 1.0)))
    beta = float(call.get("beta", 1.0))
    return product if beta == 0 else sum_of(low, product, call["self"], beta)


def by_evaluation(low: Lowering, call: Call) -> Expr:
    """Return an operator that is affine in its one input that is no constant, by asking PyTorch for each column."""
    inputs = [v for v in leaves(call.given) if isinstance(v, Expr | Step)]
    if len(inputs) != 1:
        raise UnsupportedModelError(GATES)
    (x,) = inputs
    x = low.numeric(x)

    def at(point: Any) -> Any:
        return call.evaluated(lambda v: point.reshape(x.shape) if v is inputs[0] else v)

    zero = torch.zeros(x.size, dtype=torch.float64)
    offset = at(zero)
    columns, numbers = [], 0
    for i in range(x.size):
        unit = zero.clone()
        unit[i] = 1.0
        column = sparse.csr_array((at(unit) - offset).reshape(1, -1).numpy())
        numbers += numbers_in(column)
        if numbers > MAX_VALUES * 64:
            raise UnsupportedModelError("written out as a matrix, it is more than relucidate takes.")
        columns.append(column)
    low.builder.afford_map(numbers)
    matrix = sparse.csr_array(sparse.vstack(columns, format="csr").T)
    return low.builder.affine(x, matrix, offset.numpy().ravel(), tuple(offset.shape))


# ---------------------------------------------------------------- normalisation, sums and means


def _batch_norm(low: Lowering, call: Call) -> Value:
    mean, variance = call["running_mean"], call["running_var"]
    uses_rows = call.get("training", False) or call.get("use_input_stats", False)
    if uses_rows or mean is None or variance is None:
        raise UnsupportedModelError(STATISTICS)
    x = low.numeric(call["input"])
    scale, shift = (
        default if call[name] is None else constant_of(call[name], name)
        for name, default in (("weight", 1.0), ("bias", 0.0))
    )
    mean, variance = constant_of(mean, "the mean"), constant_of(variance, "the variance")
    out = operators.batch_normalization(low.builder, x, scale, shift, mean, variance, float(call["eps"]))
    return out if call.name in ("batch_norm", "instance_norm") else [out, Unread(_SAVED), Unread(_SAVED)]


_SAVED = "it takes statistics that a normalisation keeps for training; they are not read."


def _dropout(low: Lowering, call: Call) -> Value:
    if call.get("train", False):
        raise UnsupportedModelError(
            "dropout stays on in evaluation mode, so that answers are random. Write F.dropout(x, training=self.training), "
            "or use nn.Dropout."
        )
    x = call["self"] if "self" in call.given else call["input"]
    return [x, Unread("the mask of a dropout is random.")] if call.name == "native_dropout" else x


def _reduction(low: Lowering, call: Call) -> Value:
    axes = axes_of(call.get("dim"))
    x = low.numeric(call["self"])
    if not x.shape:
        return x
    return operators.reduced(
        low.builder, x, axes or None, mean=call.name == "mean", keep=bool(call.get("keepdim", False))
    )


RULES: dict[str, Rule] = {
    "add": _add,
    **dict.fromkeys(("sub", "subtract"), _sub),
    "rsub": _rsub,
    **dict.fromkeys(("mul", "multiply"), _mul),
    **dict.fromkeys(("div", "divide", "true_divide"), _div),
    **dict.fromkeys(("neg", "negative"), _neg),
    "lerp": _lerp,
    **dict.fromkeys(("addcmul", "addcdiv"), _addc),
    "pow": _pow,
    "linear": _linear,
    **named("mm matmul bmm mv dot vdot inner outer", _matmul),
    **dict.fromkeys(("addmm", "baddbmm", "addmv"), _addmm),
    **named("einsum tensordot cumsum diff trace conv_transpose1d conv_tbc kron col2im", by_evaluation),
    **named("batch_norm instance_norm _native_batch_norm_legit_no_training native_batch_norm", _batch_norm),
    **named("dropout feature_dropout alpha_dropout feature_alpha_dropout native_dropout", _dropout),
    **dict.fromkeys(("sum", "mean"), _reduction),
}
