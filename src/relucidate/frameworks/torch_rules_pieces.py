"""PyTorch operators that are piecewise linear: activations, limits, maxima, and choices between branches."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from relucidate.errors import UnsupportedModelError
from relucidate.frameworks import operators
from relucidate.frameworks.lowering import Expr
from relucidate.frameworks.torch_rules_affine import sum_of, together
from relucidate.frameworks.torch_steps import chosen
from relucidate.frameworks.torch_values import (
    POSITIONS,
    Call,
    Rule,
    Step,
    Unread,
    Value,
    axes_of,
    constant_of,
    jump,
    named,
)
from relucidate.layers import Activation

if TYPE_CHECKING:
    from relucidate.frameworks.torch_lowering import Lowering


def _relu(low: Lowering, call: Call) -> Value:
    return low.activate(call["self"], call, "relu")


def _abs(low: Lowering, call: Call) -> Value:
    return low.activate(call["self"], call, "abs")


def _leaky_relu(low: Lowering, call: Call) -> Value:
    return low.activate(call["self"], call, "leaky_relu", float(call["negative_slope"]))


def _rrelu(low: Lowering, call: Call) -> Value:
    if call.get("training", False):
        raise UnsupportedModelError("its slope is random in training mode; let forward() pass training=self.training.")
    return low.activate(call["self"], call, "leaky_relu", (float(call["lower"]) + float(call["upper"])) / 2)


def _prelu(low: Lowering, call: Call) -> Value:
    x = low.numeric(call["self"])
    slope = constant_of(call["weight"], "the slope")
    if call.name == "prelu" and slope.size > 1:
        slope = slope.reshape(1, -1, *[1] * (len(x.shape) - 2))
    return low.activate(
        x, call, "leaky_relu", np.broadcast_to(slope.reshape(-1) if slope.size == 1 else slope, x.shape).ravel()
    )


def _limits(low: Lowering, x: Value, bottom: Value, top: Value, call: Call) -> Expr:
    """Return ``min(max(x, bottom), top)``; None is no limit, and a limit may depend on the input."""
    if any(isinstance(v, Expr) for v in (bottom, top)):
        x = x if bottom is None else _larger(low, x, bottom, call, largest=True)
        return low.numeric(x if top is None else _larger(low, x, top, call, largest=False))
    least, most = (
        constant_of(v, "a limit") for v in (-np.inf if bottom is None else bottom, np.inf if top is None else top)
    )
    x = low.numeric(x)
    x = low.builder.broadcast(x, np.broadcast_shapes(x.shape, least.shape, most.shape))
    return operators.clip(low.builder, x, least, most, call.place.title)


def _clamp(low: Lowering, call: Call) -> Value:
    return _limits(low, call["self"], call.get("min"), call.get("max"), call)


def _hardtanh(low: Lowering, call: Call) -> Value:
    return _limits(low, call["self"], call["min_val"], call["max_val"], call)


def _relu6(low: Lowering, call: Call) -> Value:
    return _limits(low, call["self"], 0.0, 6.0, call)


def _hardsigmoid(low: Lowering, call: Call) -> Value:
    return operators.hard_sigmoid(low.builder, low.numeric(call["self"]), 1 / 6, 0.5, call.place.title)


def _threshold(low: Lowering, call: Call) -> Value:
    threshold, value = float(call["threshold"]), float(call["value"])
    if threshold != value:
        raise UnsupportedModelError(
            f"nn.Threshold({threshold:g}, {value:g}) jumps from {value:g} to {threshold:g}; only continuous functions are "
            "read. Use the same number twice."
        )
    return _limits(low, call["self"], value, None, call)


def _softshrink(low: Lowering, call: Call) -> Value:
    x, width = low.numeric(call["self"]), float(call["lambd"])
    shrunk = Activation.build(x.size, [-width, width], [1, 0, 1], [width, 0, -width])
    return low.builder.activation(x, shrunk, call.place.title)


def _larger(low: Lowering, a: Value, b: Value, call: Call, *, largest: bool) -> Expr:
    a, b = together(low, a, b)
    if isinstance(a, Expr) and isinstance(b, Expr):
        return (low.builder.maximum if largest else low.builder.minimum)(a, b, call.place.title)
    x, limit = (a, b) if isinstance(a, Expr) else (b, a)
    least, most = (limit, np.inf) if largest else (-np.inf, limit)
    return operators.clip(low.builder, x, least, most, call.place.title)


def _extreme(low: Lowering, call: Call) -> Value:
    """`maximum`, `max` and their like: of two tensors, along an axis, or of all values."""
    largest = "max" in call.name
    if "other" in call.given:
        return _larger(low, call["self"], call["other"], call, largest=largest)
    axes = axes_of(call.get("dim")) or None
    x = low.numeric(call["self"])
    if x.shape:
        keep = bool(call.get("keepdim", False))
        x = operators.reduced_to_extreme(low.builder, x, axes, largest_=largest, keep=keep, name=call.place.title)
    return [x, Unread(POSITIONS)] if call.name in ("max", "min") and "dim" in call.given else x


# ---------------------------------------------------------------- comparisons and choices


def _compare(low: Lowering, call: Call) -> Value:
    a, b = call["self"], call["other"]
    if any(isinstance(v, Step) for v in (a, b)):
        raise jump(call.place.label)
    gap = sum_of(low, a, b, -1.0) if call.name in ("gt", "ge", "greater", "greater_equal") else sum_of(low, b, a, -1.0)
    return Step(gap, np.zeros(gap.shape), np.ones(gap.shape), call.place.label)


def _not(low: Lowering, call: Call) -> Value:
    step = call["self"]
    if not isinstance(step, Step) or not set(np.unique([step.low, step.high])) <= {0.0, 1.0}:
        raise jump(call.place.label)
    return replace(step, low=1.0 - step.low, high=1.0 - step.high)


def _where(low: Lowering, call: Call) -> Value:
    return _selected(low, call, call["condition"], call["self"], call["other"])


def _masked_fill(low: Lowering, call: Call) -> Value:
    return _selected(low, call, call["mask"], call["value"], call["self"])


def _selected(low: Lowering, call: Call, condition: Value, yes: Value, no: Value) -> Value:
    """Return `yes` where the condition holds, else `no`."""
    if isinstance(condition, Expr) or any(isinstance(v, Step) for v in (yes, no)):
        raise jump(call.place.label)
    shape = np.broadcast_shapes(*(np.shape(v) for v in (condition, yes, no)))
    if isinstance(condition, torch.Tensor):
        one, two = (low.builder.broadcast(low.numeric(v), shape) for v in (yes, no))
        both = low.builder.concat([one.reshaped((one.size,)), two.reshaped((two.size,))], 0)
        at = np.arange(one.size).reshape(shape)
        return low.builder.select(both, np.where(np.broadcast_to(condition.numpy() != 0, shape), at, at + one.size))
    if not isinstance(yes, Expr) and not isinstance(no, Expr):
        branches = [np.broadcast_to(constant_of(v, ""), shape) for v in (yes, no)]
        on = np.broadcast_to(condition.high > condition.low, shape)  # a condition turned round has them so
        gap = low.builder.broadcast(condition.gap, shape)
        return Step(gap, np.where(on, *branches[::-1]), np.where(on, *branches), condition.label)
    one, two = (low.builder.broadcast(low.numeric(v), shape) for v in (yes, no))
    turned = np.broadcast_to(condition.high < condition.low, shape)
    gap = low.builder.broadcast(condition.gap, shape)
    return chosen(low, low.builder.scale(gap, np.where(turned, -1.0, 1.0)), one, two, condition.label)


RULES: dict[str, Rule] = {
    "relu": _relu,
    "abs": _abs,
    "absolute": _abs,
    "leaky_relu": _leaky_relu,
    **dict.fromkeys(("rrelu", "rrelu_with_noise"), _rrelu),
    **dict.fromkeys(("prelu", "_prelu_kernel"), _prelu),
    **named("clamp clip clamp_min clamp_max", _clamp),
    "hardtanh": _hardtanh,
    "relu6": _relu6,
    "hardsigmoid": _hardsigmoid,
    "threshold": _threshold,
    "softshrink": _softshrink,
    **named("maximum minimum fmax fmin max min amax amin", _extreme),
    **named("gt ge lt le greater greater_equal less less_equal", _compare),
    **dict.fromkeys(("logical_not", "bitwise_not"), _not),
    "where": _where,
    "masked_fill": _masked_fill,
}
