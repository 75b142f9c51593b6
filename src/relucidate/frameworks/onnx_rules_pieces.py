"""ONNX operators that bend: activations, limits, the largest of several, and the choices that exporters write them as."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from relucidate.errors import MalformedModelError, UnsupportedModelError
from relucidate.frameworks import operators
from relucidate.frameworks.lowering import Expr
from relucidate.frameworks.onnx_graph import Array, Node
from relucidate.frameworks.onnx_values import Columns, Mask, Rule, Value
from relucidate.layers import Activation, Bools, Floats, is_sparse

if TYPE_CHECKING:
    from relucidate.frameworks.onnx_lowering import Lowering

# Two affine maps are one a multiple of the other up to this; what is composed of the same weights differs by roundings.
_ROUNDING = 1e-13


# ---------------------------------------------------------------- activations


def _relu(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    return low.activate(inputs[0], "relu", node)


def _leaky_relu(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    return low.activate(inputs[0], "leaky_relu", node, float(node.attribute("alpha", 0.01)))


def _prelu(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    x = low.numeric(inputs[0])
    if not isinstance(inputs[1], np.ndarray):
        raise UnsupportedModelError("a slope that depends on the input is not piecewise linear.")
    return low.activate(x, "leaky_relu", node, np.broadcast_to(inputs[1], x.shape).ravel())


def _abs(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    return low.activate(inputs[0], "abs", node)


def _thresholded_relu(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    alpha = float(node.attribute("alpha", 1.0))
    if alpha != 0:
        raise UnsupportedModelError(
            f"it jumps from 0 to {alpha:g} at {alpha:g}, and relucidate unwraps continuous functions. Train with ReLU."
        )
    return low.activate(inputs[0], "relu", node)


def _shrink(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    threshold, bias = float(node.attribute("lambd", 0.5)), float(node.attribute("bias", 0.0))
    if threshold != bias or threshold < 0:
        raise UnsupportedModelError(
            f"it jumps at ±{threshold:g}, and relucidate unwraps continuous functions. Train with ReLU, or with a soft "
            "shrinkage (bias = lambd)."
        )
    x = low.numeric(inputs[0])
    soft = Activation.build(x.size, [-threshold, threshold], [1, 0, 1], [threshold, 0, -threshold])
    return low.builder.activation(x, soft, node.title)


def _clip(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    x, bottom, top = (*inputs, None, None)[:3]
    bottom = node.attribute("min", -np.inf) if bottom is None else bottom
    top = node.attribute("max", np.inf) if top is None else top
    if isinstance(bottom, Expr | Columns) or isinstance(top, Expr | Columns):
        raise UnsupportedModelError("limits that depend on the input; write Max and Min instead.")
    return operators.clip(low.builder, low.numeric(x), bottom, top, node.title)


def _hard_sigmoid(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    slope, offset = node.attribute("alpha", 0.2), node.attribute("beta", 0.5)
    return operators.hard_sigmoid(low.builder, low.numeric(inputs[0]), slope, offset, node.title)


# ---------------------------------------------------------------- the largest of several


def _extreme(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    largest = node.op == "Max"
    out = inputs[0]
    for other in inputs[1:]:
        a, b, _ = low.elementwise(out, other)
        if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
            out = np.maximum(a, b) if largest else np.minimum(a, b)
        elif isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
            x, limit = (b, a) if isinstance(a, np.ndarray) else (a, b)
            bottom, top = (limit, np.inf) if largest else (-np.inf, limit)
            out = operators.clip(low.builder, x, bottom, top, node.title)
        else:
            out = (low.builder.maximum if largest else low.builder.minimum)(a, b, node.title)
    return low.numeric(out)


def axes_of(node: Node, inputs: Sequence[Value], rank: int) -> tuple[int, ...] | None:
    """Return the axes of a reduction: None for all of them, () for none."""
    given = node.attribute("axes")
    if given is None and len(inputs) > 1 and inputs[1] is not None:
        if not isinstance(inputs[1], np.ndarray):
            raise UnsupportedModelError("axes that depend on the input; only constants are read.")
        given = inputs[1].ravel().tolist()
    if not given:
        return () if node.attribute("noop_with_empty_axes", 0) else None
    if any(not -rank <= a < rank for a in given):
        raise MalformedModelError(f"axes {given} of a tensor with {rank} dimensions.")
    return tuple(int(a) % rank for a in given)


def _reduce_to_extreme(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    x = low.numeric(inputs[0])
    axes = axes_of(node, inputs, len(x.shape))
    if axes == ():
        return x
    keep = bool(node.attribute("keepdims", 1))
    largest = node.op == "ReduceMax"
    return operators.reduced_to_extreme(low.builder, x, axes, largest_=largest, keep=keep, name=node.title)


@dataclass(frozen=True)
class Window:
    """How a window slides over the places of a tensor, one number or pair per axis."""

    kernel: Sequence[int]
    strides: Sequence[int]
    padding: Sequence[tuple[int, int]]
    dilations: Sequence[int]
    ceil: bool


def window_of(node: Node, sizes: Sequence[int], kernel: Sequence[int] | None) -> Window:
    """Return the window of a convolution or a pooling over a tensor with these spatial `sizes`.

    Raises
    ------
    MalformedModelError : its attributes do not fit the tensor.
    """
    if kernel is None:
        raise MalformedModelError("kernel_shape is missing.")
    n = len(kernel)
    strides, dilations = (list(node.attribute(name) or [1] * n) for name in ("strides", "dilations"))
    pads = list(node.attribute("pads") or [0] * (2 * n))
    if {len(sizes), len(strides), len(dilations), len(pads) - n} != {n}:
        raise MalformedModelError(
            f"a window of {n} dimensions, its strides, dilations and pads over {len(sizes)} axes."
        )
    if min((*kernel, *strides, *dilations), default=1) < 1 or min(pads, default=0) < 0:
        raise MalformedModelError(f"kernel {list(kernel)}, strides {strides}, dilations {dilations}, pads {pads}.")
    ceil = bool(node.attribute("ceil_mode", 0))
    auto = node.attribute("auto_pad") or "NOTSET"
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        if node.op != "Conv" and max(dilations, default=1) > 1:
            raise UnsupportedModelError(
                f"auto_pad={auto} with dilations, where onnxruntime and the specification disagree; export with pads."
            )
        lower = auto == "SAME_LOWER"
        each = zip(sizes, kernel, strides, dilations, strict=True)
        return Window(kernel, strides, [operators.same_padding(*axis, lower) for axis in each], dilations, False)
    if auto not in ("NOTSET", "VALID"):
        raise MalformedModelError(f"auto_pad={auto!r}; expected NOTSET, SAME_UPPER, SAME_LOWER or VALID.")
    padding = list(zip(pads[:n], pads[n:], strict=True)) if auto == "NOTSET" else [(0, 0)] * n
    return Window(kernel, strides, padding, dilations, ceil)


def _max_pool(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    x = low.numeric(inputs[0])
    window = window_of(node, x.shape[2:], node.attribute("kernel_shape"))
    return operators.max_pool(
        low.builder,
        x,
        kernel=window.kernel,
        strides=window.strides,
        padding=window.padding,
        dilations=window.dilations,
        ceil=window.ceil,
        name=node.title,
    )


def _global_max_pool(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    x = low.numeric(inputs[0])
    over = range(2, len(x.shape))
    return operators.reduced_to_extreme(low.builder, x, over, largest_=True, keep=True, name=node.title)


# ---------------------------------------------------------------- comparisons, and choices by them


def _compare(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    a, b, _ = low.elementwise(*inputs)
    above, equal = node.op.startswith("Greater"), node.op.endswith("Equal")
    if isinstance(a, np.ndarray):
        return Mask(b, np.asarray(a, dtype=np.float64).ravel(), not above, equal)
    if isinstance(b, np.ndarray):
        return Mask(a, np.asarray(b, dtype=np.float64).ravel(), above, equal)
    return Mask(low.builder.subtract(a, b), np.zeros(a.size), above, equal)


def _not(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    return _mask(inputs[0]).inverted()


def _mask(value: Value) -> Mask:
    if not isinstance(value, Mask):
        raise UnsupportedModelError("a logical operation on something that is no comparison with a constant.")
    return value


def _combine(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    """And, Or with a constant that decides alike everywhere."""
    mask, other = inputs if isinstance(inputs[0], Mask) else inputs[::-1]
    neutral = node.op == "And"
    if isinstance(other, np.ndarray) and np.broadcast_shapes(mask.shape, other.shape) == mask.shape:
        if (other.astype(bool) == neutral).all():
            return _mask(mask)
        if (other.astype(bool) != neutral).all():
            return np.full(mask.shape, not neutral)
    raise UnsupportedModelError("two conditions at once are not read; write the choice with Max and Min.")


def _where(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    condition, yes, no = inputs
    if isinstance(condition, np.ndarray):
        return _selected(low, condition.astype(bool), yes, no)
    if isinstance(condition, Mask):
        return chosen(low, node, condition, yes, no)
    raise UnsupportedModelError("a choice by something that is no comparison with a constant is not read.")


def _selected(low: Lowering, condition: Array, yes: Value, no: Value) -> Expr:
    """Return `yes` where a constant condition holds and `no` elsewhere."""
    a, b, shape = low.elementwise(yes, no)
    shape = np.broadcast_shapes(shape, condition.shape)
    a, b = (low.builder.broadcast(low.numeric(v), shape) for v in (a, b))
    place = np.arange(a.size).reshape(shape)
    return low.builder.select(low.builder.concat([a, b], 0), np.where(condition, place, a.size + place))


def chosen(low: Lowering, node: Node, mask: Mask, yes: Value, no: Value) -> Expr:
    """Return `yes` where a comparison holds and `no` elsewhere, exactly, if that is continuous.

    Raises
    ------
    UnsupportedModelError : it jumps where the comparison changes.

    Notes
    -----
    Continuous is what differs, on the two sides, by a multiple of the distance from the breakpoint:
    ``above - below = s * (x - at)``. Then it equals ``below + s * relu(x - at)``, and where `below` itself is a function
    of x, one activation with two pieces.
    """
    yes, no = (v if isinstance(v, np.ndarray) else low.numeric(v) for v in (yes, no))
    shape = np.broadcast_shapes(mask.shape, yes.shape, no.shape)
    x = low.builder.broadcast(mask.x, shape)
    at = np.broadcast_to(mask.at.reshape(mask.shape), shape).ravel()
    a, b = (
        low.builder.broadcast(low.builder.constant(v) if isinstance(v, np.ndarray) else v, shape) for v in (yes, no)
    )
    mask = Mask(x, at, mask.above, mask.equal)
    below, above = (b, a) if mask.above else (a, b)
    below, above = _decided(low, mask, below, above)
    rise = _multiple(low.builder.subtract(above, below), x)
    jump = rise.offset + rise.slope * at
    loose = _ROUNDING * (rise.magnitude + np.abs(rise.slope * at))
    if not (rise.fits & (np.abs(jump) <= loose)).all():
        raise UnsupportedModelError(
            "what it chooses between differs where the comparison changes, so that it jumps; relucidate unwraps continuous "
            "functions. Train with ReLU or LeakyReLU instead."
        )
    under, over = _multiple(below, x), _multiple(above, x)
    if (under.fits & over.fits).all():
        offset = under.snapped
        pieces = Activation.build(
            x.size, [at], [under.slope, over.slope], [offset, offset + (under.slope - over.slope) * at]
        )
        return low.builder.activation(x, pieces, node.title)
    hinge = low.builder.activation(
        low.builder.shift(x, -at.reshape(shape)), Activation.of_kind("relu", x.size), node.title
    )
    return low.builder.add(below, low.builder.scale(hinge, rise.slope.reshape(shape)))


def _decided(low: Lowering, mask: Mask, below: Expr, above: Expr) -> tuple[Expr, Expr]:
    """Return both sides with the same value where what is compared does not depend on the input at all."""
    fixed = np.ones(mask.x.size, dtype=bool)
    for matrix in mask.x.terms.values():
        full: Any = matrix
        fixed &= np.asarray(abs(full).sum(axis=1)).ravel() == 0
    if not fixed.any():
        return below, above
    is_above = mask.holds(mask.x.offset) == mask.above
    both = low.builder.concat([below, above], 0)
    place = np.arange(below.size).reshape(below.shape)
    sides = []
    for side in (False, True):
        take = np.where(fixed, is_above, side).reshape(below.shape)
        sides.append(low.builder.select(both, np.where(take, below.size + place, place)))
    return sides[0], sides[1]


@dataclass(frozen=True)
class _Multiple:
    """``y = slope * x + offset``, value by value, where `fits`; `magnitude` is what was subtracted to find the offset."""

    slope: Floats
    offset: Floats
    fits: Bools
    magnitude: Floats

    @property
    def snapped(self) -> Floats:
        """The offset, 0 where it is nothing but rounding."""
        return np.where(np.abs(self.offset) <= _ROUNDING * self.magnitude, 0.0, self.offset)


def _multiple(y: Expr, x: Expr) -> _Multiple:
    """Return by which multiple and offset each value of `y` follows from that of `x`."""
    squares, products, left, largest = (np.zeros(x.size) for _ in range(4))
    pairs = [(x.terms.get(basis), y.terms.get(basis)) for basis in dict.fromkeys((*x.terms, *y.terms))]
    for of_x, of_y in pairs:
        squares += _dot(of_x, of_x)
        products += _dot(of_x, of_y)
    slope = products / np.where(squares > 0, squares, 1.0)
    for of_x, of_y in pairs:
        left = np.maximum(left, _largest_difference(of_y, of_x, slope))
        largest = np.maximum(largest, _largest_difference(of_y, None, slope))
    offset = y.offset - slope * x.offset
    magnitude = np.abs(y.offset) + np.abs(slope * x.offset)
    return _Multiple(slope, offset, left <= _ROUNDING * largest, magnitude)


def _dot(a: Any, b: Any) -> Any:
    """Return the products of the rows of two matrices; None is a matrix of zeros."""
    if a is None or b is None:
        return 0.0
    if is_sparse(b):
        a, b = b, a
    return np.asarray(a.multiply(b).sum(axis=1) if is_sparse(a) else (a * b).sum(axis=1)).ravel()


def _largest_difference(y: Any, x: Any, slope: Floats) -> Any:
    """Return the largest of ``|y - slope * x|`` in each row."""
    if x is not None:
        scaled = sparse.dia_array((slope[None], [0]), shape=(len(slope), len(slope))) @ x
        y = -scaled if y is None else y - scaled
    if y is None:
        return 0.0
    if is_sparse(y):
        return np.asarray(abs(y).max(axis=1).todense()).ravel()
    return np.abs(np.asarray(y)).max(axis=1, initial=0.0)


RULES: dict[tuple[str, str], Rule] = {
    ("", name): rule
    for name, rule in {
        "Relu": _relu,
        "LeakyRelu": _leaky_relu,
        "PRelu": _prelu,
        "Abs": _abs,
        "ThresholdedRelu": _thresholded_relu,
        "Shrink": _shrink,
        "Clip": _clip,
        "HardSigmoid": _hard_sigmoid,
        "Max": _extreme,
        "Min": _extreme,
        "MaxPool": _max_pool,
        "GlobalMaxPool": _global_max_pool,
        "ReduceMax": _reduce_to_extreme,
        "ReduceMin": _reduce_to_extreme,
        **dict.fromkeys(("Greater", "GreaterOrEqual", "Less", "LessOrEqual"), _compare),
        "Not": _not,
        "And": _combine,
        "Or": _combine,
        "Where": _where,
    }.items()
}
