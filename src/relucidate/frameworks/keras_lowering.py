"""The layers of Keras, each brought to affine maps and piecewise-linear activations, or refused by name.

A model is read as the function of one row: the batch axis of every tensor counts 1. Keras keeps channels last; they are
moved to the front for convolution and pooling, and back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np
from scipy import sparse

from relucidate.errors import MalformedModelError, ModelError, UnsupportedModelError, clipped
from relucidate.frameworks import operators
from relucidate.frameworks.heads import SMOOTH, Head, refuse_unless_one_distribution
from relucidate.frameworks.keras_files import Array
from relucidate.frameworks.keras_graph import At, Graph, Step, numbers
from relucidate.frameworks.keras_layers import LAYER_FUNCTIONS, Function, Layer, activation_of
from relucidate.frameworks.lowering import MAX_VALUES, Builder, Expr, Shape
from relucidate.layers import Activation
from relucidate.network import Link

Value = Any  # Expr | Head
_Rule = Callable[["Lowering", Layer, Expr], Expr]
_Joint = Callable[["Lowering", Layer, Sequence[Any]], Expr]


@dataclass(eq=False)
class Lowering:
    """Lowers the steps of one model in order.

    Parameters
    ----------
    backend : that a live model computes with, "" for a file.
    last : the step that made the head.
    notes : what a reader should know.
    """

    builder: Builder = field(default_factory=Builder)
    backend: str = ""
    last: Step | None = None
    notes: list[str] = field(default_factory=list)

    def run(self, graph: Graph, inputs: Mapping[int, Expr], names: Mapping[int, str]) -> Value:
        """Return what the graph's output is.

        Parameters
        ----------
        inputs : expressions of the inputs. names : of the tensors that `output=` can choose, for messages.

        Raises
        ------
        ModelError : a layer that cannot be lowered, named.
        """
        values: dict[int, Value] = dict(inputs)
        for step in graph.steps:
            label = step.layer.label
            try:
                values[step.output] = self._step(step, values, names)
            except ModelError as problem:
                text = str(problem)
                raise type(problem)(text if text.startswith("layer ") else f"{label}: {text}") from None
            except (ValueError, IndexError, TypeError, OverflowError, ZeroDivisionError, AttributeError) as problem:
                raise MalformedModelError(f"{label} does not fit what enters it: {clipped(problem)}.") from problem
        return values[graph.output]

    def _step(self, step: Step, values: Mapping[int, Value], names: Mapping[int, str]) -> Value:
        layer = step.layer
        entering = [values[at.number] for at in numbers(step.operands)]
        if layer.kind not in RULES and layer.kind not in JOINTS:
            raise UnsupportedModelError(_unknown(layer))
        for head in (v for v in entering if isinstance(v, Head)):
            is_linear = layer.kind in _PURE and activation_of(layer).kind == "linear"
            if len(entering) == 1 and (layer.kind in _TAIL or is_linear):
                return _behind(layer, head)
            raise head.refusal(layer.label)
        if layer.kind in JOINTS:
            out = JOINTS[layer.kind](self, layer, _operands(step.operands, values))
        elif len(entering) != 1 or step.operands != (At(numbers(step.operands)[0].number),):
            raise UnsupportedModelError(f"it is called with {clipped(step.operands)}; one tensor is read.")
        else:
            out = RULES[layer.kind](self, layer, entering[0])
        function = activation_of(layer)
        if not function.is_link:
            return self.applied(function, out, layer.title)
        self.last = step
        before = numbers(step.operands)[0].number if layer.kind in _PURE else -1
        return _head(function, out, layer, names.get(before, ""))

    def applied(self, function: Function, x: Expr, name: str) -> Expr:
        """Return an activation function of `x`, value by value."""
        kind, size = function.kind, x.size
        if kind == "linear":
            return x
        if kind == "relu":
            slope, top = function.numbers
            return self.builder.activation(x, _relu(slope, top, size), name)
        if kind == "clip":
            slope, offset, low, high = function.numbers
            line = self.builder.shift(self.builder.scale(x, slope), offset)
            return operators.clip(self.builder, line, low, high, name)
        (t,) = function.numbers  # soft shrinkage
        return self.builder.activation(x, Activation.build(size, [-t, t], [1, 0, 1], [t, 0, -t]), name)

    def rows(self, x: Expr, weight: Array, bias: Array | None, shape: Shape) -> Expr:
        """Return ``x @ weight + bias`` along the last axis of `x`."""
        repeats = x.size // len(weight) if len(weight) else 0
        self.builder.afford(repeats * weight.size)
        full: Any = weight.T
        if repeats != 1:
            full = sparse.csr_array(sparse.kron(sparse.eye_array(repeats), weight.T, "csr"))
        return self.builder.affine(x, full, None if bias is None else np.tile(bias, repeats), shape)


def _operands(operands: Sequence[Any], values: Mapping[int, Value]) -> list[Any]:
    """Return operands in one list: expressions, and constants as they are."""
    out: list[Any] = []
    for operand in operands:
        if isinstance(operand, At):
            out.append(values[operand.number])
        elif isinstance(operand, list) and numbers(operand):
            out += _operands(operand, values)
        else:
            out.append(operand)
    return out


def _relu(slope: float, top: float, size: int) -> Activation:
    if top == np.inf:
        kind = ("leaky_relu", slope) if slope else ("relu",)
        return Activation.of_kind(kind[0], size, *kind[1:])
    if top == 0:
        return Activation.build(size, [0], [slope, 0], [0, 0])
    return Activation.build(size, [0, top], [slope, 1, 0], [0, 0, top])


def _head(function: Function, x: Expr, layer: Layer, tensor: str) -> Head:
    link: Link = {"sigmoid": "logit", "exponential": "log"}.get(function.kind, "softmax")  # type: ignore[assignment]
    if link == "softmax":
        axis = int(function.numbers[0])
        if not -len(x.shape) <= axis < len(x.shape) or axis % len(x.shape) == 0:
            raise MalformedModelError(f"a softmax along axis {axis} of a tensor of shape {x.shape}.")
        refuse_unless_one_distribution(x, (axis % len(x.shape),))
    return Head(x, link, layer.label, function.kind, tensor, log=function.kind == "log_softmax", shape=x.shape)


def _behind(layer: Layer, head: Head) -> Head:
    """Return a head behind a layer that at most gives what it makes another shape."""
    if layer.kind == "Flatten":
        return replace(head, shape=(1, prod(head.shape)))
    if layer.kind == "Reshape":
        return replace(head, shape=(1, *_new_shape(layer, head.shape)))
    return head


# ---------------------------------------------------------------- refusals


_SEQUENCES = "It carries a state along a sequence through gates, which is not piecewise linear."
_MIXING = "It multiplies what it takes with itself, which is not piecewise linear."
_ENCODE = "Encode the columns before the network, for example with scikit-learn, and train it on numbers."
_REMEDIES = {
    **dict.fromkeys(("LSTM", "GRU", "SimpleRNN", "RNN", "Bidirectional", "ConvLSTM1D", "ConvLSTM2D"), _SEQUENCES),
    **dict.fromkeys(("Attention", "AdditiveAttention", "MultiHeadAttention", "GroupQueryAttention", "Dot"), _MIXING),
    **dict.fromkeys(("ELU", "SELU", "Elu", "Selu", "Gelu", "Silu", "Tanh", "Softplus"), SMOOTH),
    **dict.fromkeys(("UnitNormalization", "LayerNormalization", "GroupNormalization", "RMSNormalization"), SMOOTH),
    "ThresholdedReLU": "It jumps at its threshold; only continuous functions are read. Train with ReLU instead.",
    **dict.fromkeys(("Embedding", "CategoryEncoding", "StringLookup", "IntegerLookup", "Hashing"), _ENCODE),
    **dict.fromkeys(("Discretization", "TextVectorization", "HashedCrossing"), _ENCODE),
    "TFOpLambda": "It calls a function of TensorFlow by name; write it as a layer of Keras.",
    "TensorFlowOpLayer": "It holds an operation of TensorFlow; write it as a layer of Keras.",
}


def _unknown(layer: Layer) -> str:
    remedy = _REMEDIES.get(
        layer.kind, "Build the model from dense, convolutional, pooling and merging layers with ReLU or LeakyReLU."
    )
    return f"it is not supported. {remedy}"


# ---------------------------------------------------------------- affine layers


def _same(low: Lowering, layer: Layer, x: Expr) -> Expr:
    return x


def _dense(low: Lowering, layer: Layer, x: Expr) -> Expr:
    _refuse_quantised(layer)
    units = layer.whole("units" if "units" in layer.config else "output_dim")
    weight = layer.array("kernel", (x.shape[-1], units))
    bias = layer.array("bias", (units,)) if layer.flag("use_bias", True) else None
    return low.rows(x, weight, bias, (*x.shape[:-1], units))


def _refuse_quantised(layer: Layer) -> None:
    policy = layer.config.get("dtype")
    kind = str(policy.get("class_name")) if isinstance(policy, Mapping) else ""
    if layer.config.get("quantization_config") or "Quantized" in kind:
        raise UnsupportedModelError("it is quantised, which rounds. Save the model before quantisation.")


def _batch_normalization(low: Lowering, layer: Layer, x: Expr) -> Expr:
    axis = _axis(layer, x)
    n = (x.shape[axis],)
    scale = layer.array("gamma", n) if layer.flag("scale", True) else np.ones(n)
    shift = layer.array("beta", n) if layer.flag("center", True) else np.zeros(n)
    mean, variance = layer.array("moving_mean", n), layer.array("moving_variance", n)
    epsilon = layer.number("epsilon", 1e-3)
    return operators.batch_normalization(low.builder, x, scale, shift, mean, variance, epsilon, axis)


def _axis(layer: Layer, x: Expr) -> int:
    axis = layer.config.get("axis", -1)
    axis = axis[0] if isinstance(axis, list) and len(axis) == 1 else axis
    if type(axis) is not int or not -len(x.shape) <= axis < len(x.shape) or axis % len(x.shape) == 0:
        raise MalformedModelError(f"its axis is {clipped(axis)} for a tensor of shape {x.shape}.")
    return axis % len(x.shape)


def normalization_of(layer: Layer, shape: Shape) -> tuple[Array, Array]:
    """Return mean and standard deviation of a normalising layer, each to be broadcast to the shape (1, …)."""
    axes = layer.config.get("axis", -1)
    axes = [] if axes is None else [axes] if isinstance(axes, int) else axes
    if not all(type(a) is int and -len(shape) <= a < len(shape) for a in axes):
        raise MalformedModelError(f"its axis is {clipped(axes)} for a tensor of shape {shape}.")
    kept = sorted({a % len(shape) for a in axes})
    wide = [s if i in kept else 1 for i, s in enumerate(shape)]
    narrow = [shape[a] for a in kept]
    if layer.config.get("mean") is None:
        mean, variance = layer.array("mean", narrow), layer.array("variance", narrow)
    else:
        mean, variance = (np.broadcast_to(_squeezed(layer.given(v), narrow), narrow) for v in ("mean", "variance"))
    if (variance < 0).any():
        raise MalformedModelError("its variance is negative.")
    return mean.reshape(wide), np.maximum(np.sqrt(variance), 1e-7).reshape(wide)


def _squeezed(array: Array, narrow: Sequence[int]) -> Array:
    """Keras 2 wrote mean and variance with the axes that they do not vary along."""
    return array.reshape(narrow) if array.ndim > len(narrow) and array.size == prod(narrow) else array


def _normalization(low: Lowering, layer: Layer, x: Expr) -> Expr:
    mean, deviation = normalization_of(layer, x.shape)
    if layer.flag("invert", False):
        return low.builder.shift(low.builder.scale(x, deviation), mean)
    return low.builder.scale(low.builder.shift(x, -mean), 1.0 / deviation)


def _rescaling(low: Lowering, layer: Layer, x: Expr) -> Expr:
    scale = layer.given("scale")
    offset = layer.given("offset") if layer.config.get("offset") is not None else np.zeros(())
    return low.builder.shift(low.builder.scale(x, scale), offset)


# ---------------------------------------------------------------- convolution and pooling


def _to_front(low: Lowering, layer: Layer, x: Expr, n: int) -> Expr:
    if len(x.shape) != n + 2:
        raise MalformedModelError(f"it takes tensors of {n + 2} dimensions; got the shape {x.shape}.")
    return x if is_channels_first(layer) else low.builder.moved(x, lambda i: np.moveaxis(i, -1, 1))


def _back(low: Lowering, layer: Layer, x: Expr) -> Expr:
    return x if is_channels_first(layer) else low.builder.moved(x, lambda i: np.moveaxis(i, 1, -1))


def is_channels_first(layer: Layer) -> bool:
    """Return whether a layer keeps channels before the other axes."""
    known = ("channels_first", "channels_last")
    return layer.text("data_format", "channels_last", *known) == "channels_first"


def _padding(layer: Layer, sizes: Sequence[int], kernel: Any, strides: Any, dilations: Any) -> list[tuple[int, int]]:
    kind = layer.text("padding", "valid", "valid", "same", *(("causal",) if layer.kind == "Conv1D" else ()))
    if kind == "valid":
        return [(0, 0)] * len(sizes)
    if kind == "causal":
        return [(dilations[0] * (kernel[0] - 1), 0)]
    return [operators.same_padding(*axis) for axis in zip(sizes, kernel, strides, dilations, strict=True)]


def _convolution(n: int) -> _Rule:
    def rule(low: Lowering, layer: Layer, x: Expr) -> Expr:
        _refuse_quantised(layer)
        x = _to_front(low, layer, x, n)
        kernel, filters = layer.sizes("kernel_size", n), layer.whole("filters")
        groups = layer.whole("groups", 1)
        weight = layer.array("kernel", (*kernel, x.shape[1] // groups, filters))
        out = _convolved(low, layer, x, np.moveaxis(weight, (-1, -2), (0, 1)), _bias(layer, filters), groups)
        return _back(low, layer, out)

    return rule


def _bias(layer: Layer, n: int) -> Array | None:
    return layer.array("bias", (n,)) if layer.flag("use_bias", True) else None


def _convolved(low: Lowering, layer: Layer, x: Expr, weight: Array, bias: Array | None, groups: int) -> Expr:
    n = weight.ndim - 2
    kernel = weight.shape[2:]
    strides, dilations = layer.sizes("strides", n, 1), layer.sizes("dilation_rate", n, 1)
    padding = _padding(layer, x.shape[2:], kernel, strides, dilations)
    return operators.convolution(
        low.builder, x, weight, bias, strides=strides, padding=padding, dilations=dilations, groups=groups
    )


def _by_channel(layer: Layer, x: Expr) -> Array:
    """Return the kernel of a depthwise convolution as one of as many groups as channels."""
    kernel, channels = layer.sizes("kernel_size", 2), x.shape[1]
    many = layer.whole("depth_multiplier", 1)
    weight = layer.array("depthwise_kernel", (*kernel, channels, many))
    return np.transpose(weight, (2, 3, 0, 1)).reshape(channels * many, 1, *kernel)


def _depthwise(low: Lowering, layer: Layer, x: Expr) -> Expr:
    x = _to_front(low, layer, x, 2)
    weight = _by_channel(layer, x)
    return _back(low, layer, _convolved(low, layer, x, weight, _bias(layer, len(weight)), x.shape[1]))


def _separable(low: Lowering, layer: Layer, x: Expr) -> Expr:
    x = _to_front(low, layer, x, 2)
    filters, weight = layer.whole("filters"), _by_channel(layer, x)
    x = _convolved(low, layer, x, weight, None, x.shape[1])
    point = layer.array("pointwise_kernel", (1, 1, len(weight), filters))[0, 0].T[:, :, None, None]
    out = operators.convolution(
        low.builder, x, point, _bias(layer, filters), strides=[1, 1], padding=[(0, 0)] * 2, dilations=[1, 1]
    )
    return _back(low, layer, out)


def _pooling(n: int, largest: bool) -> _Rule:
    def rule(low: Lowering, layer: Layer, x: Expr) -> Expr:
        x = _to_front(low, layer, x, n)
        kernel = layer.sizes("pool_size", n, 2)
        strides = layer.sizes("strides", n, kernel)
        padding = _padding(layer, x.shape[2:], kernel, strides, [1] * n)
        if largest:
            out = operators.max_pool(low.builder, x, kernel=kernel, strides=strides, padding=padding, name=layer.title)
        else:
            _mind_uneven(low, layer, padding)
            out = operators.average_pool(low.builder, x, kernel=kernel, strides=strides, padding=padding)
        return _back(low, layer, out)

    return rule


def _mind_uneven(low: Lowering, layer: Layer, padding: Sequence[tuple[int, int]]) -> None:
    """Average pooling with uneven padding leaves it out; only on PyTorch Keras repeats the border and counts it."""
    if all(before == after for before, after in padding):
        return
    if low.backend == "torch":
        raise UnsupportedModelError(
            "its padding is uneven, where Keras on PyTorch repeats the border and counts it, unlike Keras on JAX or "
            "TensorFlow. Pad with ZeroPadding first, or load the model on another backend."
        )
    low.notes.append(
        f"{layer.label} has uneven padding, which is left out of the means; Keras on PyTorch counts the border twice there"
    )


def _global_pooling(n: int, largest: bool) -> _Rule:
    def rule(low: Lowering, layer: Layer, x: Expr) -> Expr:
        if len(x.shape) != n + 2:
            raise MalformedModelError(f"it takes tensors of {n + 2} dimensions; got the shape {x.shape}.")
        axes = range(2, n + 2) if is_channels_first(layer) else range(1, n + 1)
        keep = layer.flag("keepdims", False)
        if largest:
            return operators.reduced_to_extreme(low.builder, x, axes, largest_=True, keep=keep, name=layer.title)
        return operators.reduced(low.builder, x, axes, mean=True, keep=keep)

    return rule


def widths_of(layer: Layer, name: str, n: int) -> list[tuple[int, int]]:
    """Return how much is added, or cut, before and after each of `n` axes."""
    value = layer.config.get(name, 1)
    value = [value] * n if isinstance(value, int) else value
    value = [value] if n == 1 and isinstance(value, list) and len(value) == 2 else value
    pairs = [[v, v] if isinstance(v, int) else v for v in value] if isinstance(value, list) else []
    fits = len(pairs) == n and all(isinstance(p, list) and len(p) == 2 for p in pairs)
    if not fits or not all(type(v) is int and 0 <= v < 2**31 for p in pairs for v in p):
        raise MalformedModelError(f"its {name} is {clipped(value)}; expected whole numbers for {n} axes.")
    return [(p[0], p[1]) for p in pairs]


def _padded(n: int, name: str, sign: int) -> _Rule:
    def rule(low: Lowering, layer: Layer, x: Expr) -> Expr:
        if len(x.shape) != n + 2:
            raise MalformedModelError(f"it takes tensors of {n + 2} dimensions; got the shape {x.shape}.")
        pairs = widths_of(layer, name, n)
        first = n > 1 and is_channels_first(layer)
        full = [(0, 0), (0, 0), *pairs] if first else [(0, 0), *pairs, (0, 0)]
        return operators.pad(low.builder, x, [sign * a for a, _ in full], [sign * b for _, b in full])

    return rule


def _enlarged(n: int) -> _Rule:
    def rule(low: Lowering, layer: Layer, x: Expr) -> Expr:
        if len(x.shape) != n + 2:
            raise MalformedModelError(f"it takes tensors of {n + 2} dimensions; got the shape {x.shape}.")
        if n > 1:
            layer.text("interpolation", "nearest", "nearest")
        sizes, first = layer.sizes("size", n, 2), n > 1 and is_channels_first(layer)
        if prod(sizes) * x.size > MAX_VALUES:
            raise UnsupportedModelError(f"a tensor of {prod(sizes) * x.size:,} values is more than relucidate takes.")

        def repeated(index: Any) -> Any:
            for i, size in enumerate(sizes):
                index = np.repeat(index, size, axis=i + (2 if first else 1))
            return index

        return low.builder.moved(x, repeated)

    return rule


# ---------------------------------------------------------------- shapes


def _flatten(low: Lowering, layer: Layer, x: Expr) -> Expr:
    if is_channels_first(layer) and len(x.shape) > 2:
        x = low.builder.moved(x, lambda i: np.moveaxis(i, 1, -1))
    return x.reshaped((1, x.size))


def _new_shape(layer: Layer, shape: Shape) -> Shape:
    name = "target_shape" if "target_shape" in layer.config else "newshape"
    wanted = layer.config.get(name)
    if not isinstance(wanted, list) or not all(type(s) is int and -1 <= s < 2**31 for s in wanted) or not wanted:
        raise MalformedModelError(f"its {name} is {clipped(wanted)}; expected whole numbers.")
    wanted = wanted[1:] if name == "newshape" else wanted
    size, known = prod(shape), prod(s for s in wanted if s != -1)
    if wanted.count(-1) > 1 or known < 1 or size % known:
        raise MalformedModelError(f"{size} values cannot take the shape {wanted}.")
    return tuple(size // known if s == -1 else s for s in wanted)


def _reshape(low: Lowering, layer: Layer, x: Expr) -> Expr:
    return x.reshaped((1, *_new_shape(layer, x.shape)))


def _permute(low: Lowering, layer: Layer, x: Expr) -> Expr:
    dims = layer.config.get("dims")
    if not isinstance(dims, list) or sorted(dims) != list(range(1, len(x.shape))):
        raise MalformedModelError(f"its dims are {clipped(dims)} for a tensor of shape {x.shape}.")
    return low.builder.moved(x, lambda i: np.transpose(i, (0, *dims)))


def _repeat(low: Lowering, layer: Layer, x: Expr) -> Expr:
    if len(x.shape) != 2:
        raise MalformedModelError(f"it takes tensors of 2 dimensions; got the shape {x.shape}.")
    n = layer.whole("n")
    return low.builder.broadcast(x.reshaped((1, 1, x.size)), (1, n, x.size))


# ---------------------------------------------------------------- activations with weights


def _prelu(low: Lowering, layer: Layer, x: Expr) -> Expr:
    slope = np.broadcast_to(slopes_of(layer, x.shape), x.shape)
    return low.builder.activation(x, Activation.of_kind("leaky_relu", x.size, slope.ravel()), layer.title)


def slopes_of(layer: Layer, shape: Shape) -> Array:
    """Return the slopes of a PReLU, to be broadcast to the shape (1, …)."""
    shared = layer.config.get("shared_axes") or []
    shared = [shared] if isinstance(shared, int) else shared
    return layer.array("alpha", [1 if i in shared else s for i, s in enumerate(shape) if i])[None]


# ---------------------------------------------------------------- several tensors


def _together(low: Lowering, xs: Sequence[Any]) -> list[Any]:
    """Return operands at one shape; constants as arrays."""
    given = [x if isinstance(x, Expr) else _constant(x) for x in xs]
    ranks = {len(x.shape) for x in given if isinstance(x, Expr)}
    if len(ranks) > 1:
        raise UnsupportedModelError(f"it joins tensors of shapes {', '.join(str(x.shape) for x in given)}.")
    shape = np.broadcast_shapes(*(x.shape for x in given))
    if prod(shape) > MAX_VALUES:
        raise UnsupportedModelError(f"a tensor of shape {shape} is more than relucidate takes.")
    return [low.builder.broadcast(x, shape) if isinstance(x, Expr) else np.broadcast_to(x, shape) for x in given]


def _constant(value: Any) -> Array:
    array = constant_of(value)
    if array is None:
        raise UnsupportedModelError(f"it takes {clipped(value)}; only tensors and numbers are read.")
    return array


def constant_of(value: Any) -> Array | None:
    """Return a number, or nested lists of numbers, among operands as an array; None if it is something else."""
    if isinstance(value, Mapping):
        config = value.get("config")
        value = config.get("value") if isinstance(config, Mapping) else None
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    return array if np.isfinite(array).all() and array.size <= MAX_VALUES else None


def _sum(low: Lowering, layer: Layer, xs: Sequence[Any]) -> Expr:
    parts = _together(low, xs)
    out = low.builder.add(*(p for p in parts if isinstance(p, Expr)))
    for constant in (p for p in parts if not isinstance(p, Expr)):
        out = low.builder.shift(out, constant)
    return out


def _average(low: Lowering, layer: Layer, xs: Sequence[Any]) -> Expr:
    return low.builder.scale(_sum(low, layer, xs), 1.0 / len(xs))


def _difference(low: Lowering, layer: Layer, xs: Sequence[Any]) -> Expr:
    a, b = _two(xs)
    return _sum(low, layer, [a, low.builder.scale(b, -1.0) if isinstance(b, Expr) else -_constant(b)])


def _two(xs: Sequence[Any]) -> tuple[Any, Any]:
    if len(xs) != 2:
        raise MalformedModelError(f"it takes two tensors; {len(xs)} enter it.")
    return xs[0], xs[1]


def _multiply(low: Lowering, layer: Layer, xs: Sequence[Any]) -> Expr:
    exprs = [x for x in xs if isinstance(x, Expr)]
    if len(exprs) > 1:
        raise UnsupportedModelError(
            "a product of two tensors that both depend on the input is not piecewise linear (gates, attention). Train "
            "without it."
        )
    parts = _together(low, xs)
    (out,) = (p for p in parts if isinstance(p, Expr))
    for constant in (p for p in parts if not isinstance(p, Expr)):
        out = low.builder.scale(out, constant)
    return out


def _divide(low: Lowering, layer: Layer, xs: Sequence[Any]) -> Expr:
    a, b = _two(xs)
    if isinstance(b, Expr):
        raise UnsupportedModelError("a division by something that depends on the input is not piecewise linear.")
    divisor = _constant(b)
    if (divisor == 0).any():
        raise MalformedModelError("a division by 0.")
    return _multiply(low, layer, [a, 1.0 / divisor])


def _extreme(largest: bool) -> _Joint:
    def rule(low: Lowering, layer: Layer, xs: Sequence[Any]) -> Expr:
        first, *rest = sorted(_together(low, xs), key=lambda p: not isinstance(p, Expr))
        for other in rest:
            if isinstance(other, Expr):
                made = low.builder.maximum if largest else low.builder.minimum
                first = made(first, other, layer.title)
            else:
                low_, high = (other, np.inf) if largest else (-np.inf, other)
                first = operators.clip(low.builder, first, low_, high, layer.title)
        return first

    return rule


def _concatenate(low: Lowering, layer: Layer, xs: Sequence[Any]) -> Expr:
    if not all(isinstance(x, Expr) for x in xs):
        raise UnsupportedModelError("it joins constants to tensors, which is not read.")
    axis = layer.config.get("axis", -1)
    if type(axis) is not int or not -len(xs[0].shape) <= axis < len(xs[0].shape) or axis % len(xs[0].shape) == 0:
        raise MalformedModelError(f"its axis is {clipped(axis)} for tensors of shape {xs[0].shape}.")
    return low.builder.concat(xs, axis)


def _item(low: Lowering, layer: Layer, xs: Sequence[Any]) -> Expr:
    x, key = _two(xs)
    return low.builder.moved(x, lambda i: i[index_of(key)])


def index_of(key: Any) -> tuple[Any, ...]:
    """Return what stands in brackets behind a tensor, its batch axis taken whole."""
    parts = tuple(_index(part) for part in (key if isinstance(key, list) else [key]))
    if not parts or parts[0] not in (slice(None), Ellipsis):
        raise UnsupportedModelError("it takes some rows only, or depends on how many there are.")
    return parts


def _index(part: Any) -> Any:
    if isinstance(part, Mapping):
        if part.get("class_name") == "__ellipsis__":
            return Ellipsis
        config = part.get("config")
        if part.get("class_name") == "__slice__" and isinstance(config, Mapping):
            ends = [config.get(name) for name in ("start", "stop", "step")]
            if all(end is None or type(end) is int for end in ends):
                return slice(*ends)
    if part is None or type(part) is int:
        return part
    raise UnsupportedModelError(f"the index {clipped(part)} is not read; write slices and whole numbers.")


def _negative(low: Lowering, layer: Layer, x: Expr) -> Expr:
    return low.builder.scale(x, -1.0)


def _absolute(low: Lowering, layer: Layer, x: Expr) -> Expr:
    return low.builder.activation(x, Activation.of_kind("abs", x.size), layer.title)


# ---------------------------------------------------------------- tables

_NOTHING = (
    "Dropout",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
    "GaussianNoise",
    "GaussianDropout",
    "AlphaDropout",
    "ActivityRegularization",
    "Identity",
)
# Layers that are an activation function and nothing else.
_PURE = tuple(LAYER_FUNCTIONS)
# Layers that may follow the link at the end.
_TAIL = frozenset((*_NOTHING, "Flatten", "Reshape"))

RULES: dict[str, _Rule] = {
    **dict.fromkeys((*_NOTHING, *_PURE), _same),
    "Dense": _dense,
    "BatchNormalization": _batch_normalization,
    "Normalization": _normalization,
    "Rescaling": _rescaling,
    "PReLU": _prelu,
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
    "ZeroPadding1D": _padded(1, "padding", 1),
    "ZeroPadding2D": _padded(2, "padding", 1),
    "Cropping1D": _padded(1, "cropping", -1),
    "Cropping2D": _padded(2, "cropping", -1),
    "UpSampling1D": _enlarged(1),
    "UpSampling2D": _enlarged(2),
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Permute": _permute,
    "RepeatVector": _repeat,
    "Negative": _negative,
    "Absolute": _absolute,
    "Abs": _absolute,
}
JOINTS: dict[str, _Joint] = {
    "Add": _sum,
    "Subtract": _difference,
    "Average": _average,
    "Multiply": _multiply,
    "Divide": _divide,
    "TrueDivide": _divide,
    "Maximum": _extreme(True),
    "Minimum": _extreme(False),
    "Concatenate": _concatenate,
    "GetItem": _item,
}
