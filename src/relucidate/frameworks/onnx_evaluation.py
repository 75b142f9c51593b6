"""An ONNX graph evaluated node by node, as its specification reads.

This is what a lowered network is compared with; it shares no arithmetic with the lowering. (Constant parts of a graph,
such as the shape that a Reshape takes, and operators that only move values are evaluated here for both.) Networks are
evaluated as they are used, never as they are trained: batch normalisation takes its stored means, dropout does nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import ceil, prod
from typing import Any

import numpy as np

from relucidate.errors import UnsupportedModelError
from relucidate.frameworks import onnx_evaluation_columns, onnx_evaluation_moves, onnx_evaluation_windows
from relucidate.frameworks.onnx_evaluation_moves import axes_given, pad_widths, resized_shape, widened
from relucidate.frameworks.onnx_graph import Array, Graph, Node

MAX_SIZE = 2**22  # values in one constant; a few bytes in a file can ask for any number
Operator = Callable[[Node, Sequence[Any], bool], Any]


class Evaluation:
    """Evaluates some tensors of a graph; what does not depend on its inputs is computed once.

    Parameters
    ----------
    targets : the tensors.
    widen : compute in float64 throughout; otherwise in the types that the file declares.
    """

    def __init__(self, graph: Graph, targets: Sequence[str], *, widen: bool) -> None:
        self.targets = tuple(targets)
        self.widen = widen
        needed = {node.position: node for target in targets for node in graph.ancestors(target)}
        self._nodes = [needed[position] for position in sorted(needed)]
        self._last_use = {name: node.position for node in self._nodes for name in node.inputs}
        used = {name for node in self._nodes for name in node.inputs} | set(targets)
        constants = {name: array for name, array in graph.constants.items() if name in used}
        values = {"": None, **({n: widened(a) for n, a in constants.items()} if widen else constants)}
        self._constants: Mapping[str, Any] = values
        varying = []
        for node in self._nodes:
            if all(name in values for name in node.inputs):
                values.update(self._made(node, values))
            else:
                varying.append(node)
        self._nodes = varying

    def __call__(self, feeds: Mapping[str, Array]) -> list[Array]:
        """Return the tensors, from an array for each input."""
        values = dict(self._constants)
        values.update({name: widened(a) if self.widen else a for name, a in feeds.items()})
        for node in self._nodes:
            values.update(self._made(node, values))
            for name in node.inputs:
                if name and self._last_use[name] == node.position and name not in self.targets:
                    values.pop(name, None)
        return [values[target] for target in self.targets]

    def _made(self, node: Node, values: Mapping[str, Any]) -> dict[str, Any]:
        made = evaluate_node(node, [values[name] for name in node.inputs], widen=self.widen)
        return {name: array for name, array in zip(node.outputs, made, strict=False) if name}


def evaluate_node(node: Node, inputs: Sequence[Any], *, widen: bool) -> tuple[Any, ...]:
    """Return what one node makes of its inputs.

    Raises
    ------
    UnsupportedModelError : the operator is not known here.
    """
    operator = OPERATORS.get((node.domain, node.op))
    if operator is None:
        raise UnsupportedModelError(f"{node.label} is not an operator that relucidate evaluates.")
    with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
        out = operator(node, inputs, widen)
    return out if isinstance(out, tuple) else (out,)


def constant_of(node: Node, inputs: Sequence[Any]) -> tuple[Any, ...]:
    """Return what one node makes of constants, if that is not much more than a network can need.

    Raises
    ------
    UnsupportedModelError : the operator is not known here, or the result would be huge.
    """
    size = made_size(node, inputs)
    if size > max(MAX_SIZE, *(2 * a.size for a in inputs if a is not None), 0):
        raise UnsupportedModelError(
            f"{node.label} would make {size:,} values out of constants, more than a network needs ({MAX_SIZE:,})."
        )
    return evaluate_node(node, inputs, widen=True)


def made_size(node: Node, inputs: Sequence[Any]) -> int:
    """Return how many values a node would make, as far as that can be more than it takes."""
    sizes = _SIZES.get(node.op)
    if sizes is not None:
        return sizes(node, inputs)
    if node.op in _BROADCASTING:
        return prod(np.broadcast_shapes(*(a.shape for a in inputs if a is not None)))
    return 0


def _padded_size(node: Node, inputs: Sequence[Any]) -> int:
    pads = sum(abs(int(p)) for p in node.attribute("pads") or ())
    return prod(int(s) + pads for s in inputs[0].shape) * max(1, *(a.size for a in inputs[1:2] if a is not None), 0)


def _product_size(node: Node, inputs: Sequence[Any]) -> int:
    a, b = inputs[:2]
    inner = max(a.shape[-1:] + b.shape[-2:-1], default=1) or 1
    return int(a.size * b.size // inner**2)


def _gathered_size(node: Node, inputs: Sequence[Any]) -> int:
    data, index = inputs
    return int(index.size * (data.size // max(1, data.shape[node.attribute("axis", 0)])))


def _gathered_nd_size(node: Node, inputs: Sequence[Any]) -> int:
    data, index = inputs
    kept = data.shape[node.attribute("batch_dims", 0) + index.shape[-1] :]
    return prod(index.shape[:-1]) * prod(kept)


def _padding_size(node: Node, inputs: Sequence[Any]) -> int:
    shape = inputs[0].shape
    return prod(max(0, s + b + a) for s, (b, a) in zip(shape, pad_widths(node, inputs, len(shape)), strict=True))


def _range_size(node: Node, inputs: Sequence[Any]) -> int:
    start, limit, delta = (float(a.ravel()[0]) for a in inputs)
    return max(0, ceil((limit - start) / delta))


_SIZES: dict[str, Callable[[Node, Sequence[Any]], int]] = {
    "Concat": lambda node, inputs: sum(a.size for a in inputs),
    "ConstantOfShape": lambda node, inputs: prod(abs(int(s)) for s in inputs[0].ravel().tolist()),
    "Expand": lambda node, inputs: prod(np.broadcast_shapes(inputs[0].shape, tuple(inputs[1].tolist()))),
    "Gather": _gathered_size,
    "GatherElements": lambda node, inputs: int(inputs[1].size),
    "GatherND": _gathered_nd_size,
    "MatMul": _product_size,
    "Gemm": _product_size,
    "Pad": _padding_size,
    "Range": _range_size,
    "Tile": lambda node, inputs: inputs[0].size * prod(abs(int(r)) for a in inputs[1:2] for r in a.ravel()),
    **dict.fromkeys(("Resize", "Upsample"), lambda node, inputs: prod(resized_shape(node, inputs)[0])),
    **dict.fromkeys(("Conv", "ConvTranspose", "MaxPool", "AveragePool"), _padded_size),
}


# ---------------------------------------------------------------- arithmetic


def _gemm(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    a, b, c = (*inputs, None)[:3]
    a = a.T if node.attribute("transA", 0) else a
    b = b.T if node.attribute("transB", 0) else b
    out = node.attribute("alpha", 1.0) * (a @ b)
    return out if c is None else out + node.attribute("beta", 1.0) * c


def _clip(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    x, low, high = (*inputs, None, None)[:3]
    low = node.attribute("min", -np.inf) if low is None else low
    high = node.attribute("max", np.inf) if high is None else high
    return np.minimum(np.maximum(x, low), high).astype(x.dtype)


def _batch_normalization(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    x, scale, shift, mean, variance = inputs[:5]
    along = [-1 if axis == 1 else 1 for axis in range(x.ndim)]
    scale, shift, mean, variance = (p.reshape(along) for p in (scale, shift, mean, variance))
    return (x - mean) / np.sqrt(variance + node.attribute("epsilon", 1e-5)).astype(x.dtype) * scale + shift


def _sigmoid(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    e = np.exp(-np.abs(inputs[0]))
    return np.where(inputs[0] >= 0, 1 / (1 + e), e / (1 + e)).astype(inputs[0].dtype)


def _log_softmax(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    x = inputs[0]
    axis = node.attribute("axis", -1 if node.version >= 13 else 1)
    axes: tuple[int, ...] = (axis,)
    if node.version < 13:  # the older definition flattens the tensor to two dimensions at the axis
        axes = tuple(range(axis + x.ndim if axis < 0 else axis, x.ndim))
    x = x - x.max(axis=axes, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=axes, keepdims=True))


def _prelu(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    return np.where(inputs[0] < 0, inputs[1] * inputs[0], inputs[0])


def _hard_sigmoid(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    return np.clip(node.attribute("alpha", 0.2) * inputs[0] + node.attribute("beta", 0.5), 0, 1).astype(inputs[0].dtype)


def _folded(function: Any) -> Operator:
    def operator(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
        out = inputs[0]
        for other in inputs[1:]:
            out = function(out, other)
        return out

    return operator


def _divided(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    a, b = inputs
    if a.dtype.kind in "iu":
        return np.trunc(a / b).astype(a.dtype)
    return a / b


def _mean(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    return _folded(np.add)(node, inputs, widen) / np.asarray(len(inputs), dtype=inputs[0].dtype)


def _mod(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    return (np.fmod if node.attribute("fmod", 0) else np.mod)(*inputs)


def _thresholded_relu(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    return np.where(inputs[0] > node.attribute("alpha", 1.0), inputs[0], 0).astype(inputs[0].dtype)


def _shrink(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    x, threshold, bias = inputs[0], node.attribute("lambd", 0.5), node.attribute("bias", 0.0)
    return np.where(x < -threshold, x + bias, np.where(x > threshold, x - bias, 0)).astype(x.dtype)


def _reduction(function: Callable[..., Any]) -> Operator:
    def operator(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
        axes = axes_given(node, inputs)
        if not axes and node.attribute("noop_with_empty_axes", 0):
            return inputs[0]
        return function(inputs[0], axis=axes or None, keepdims=bool(node.attribute("keepdims", 1)))

    return operator


def _unary(function: Callable[..., Any]) -> Operator:
    return lambda node, inputs, widen: function(inputs[0])


def _compared(function: Callable[..., Any]) -> Operator:
    return lambda node, inputs, widen: function(inputs[0], inputs[1])


_COMPARISONS: dict[str, Operator] = {
    name: _compared(function)
    for name, function in {
        "Equal": np.equal,
        "Greater": np.greater,
        "GreaterOrEqual": np.greater_equal,
        "Less": np.less,
        "LessOrEqual": np.less_equal,
        "And": np.logical_and,
        "Or": np.logical_or,
        "Xor": np.logical_xor,
        "Pow": np.power,
    }.items()
}
_BROADCASTING = frozenset(
    ("Add", "Sub", "Mul", "Div", "Sum", "Mean", "Max", "Min", "Mod", "PRelu", "Where", *_COMPARISONS)
)
OPERATORS: dict[tuple[str, str], Operator] = {
    **{
        ("", name): operator
        for name, operator in {
            "Add": _folded(np.add),
            "Sub": _folded(np.subtract),
            "Mul": _folded(np.multiply),
            "Div": _divided,
            "Sum": _folded(np.add),
            "Mean": _mean,
            "Mod": _mod,
            "Max": _folded(np.maximum),
            "Min": _folded(np.minimum),
            "MatMul": _folded(np.matmul),
            "Gemm": _gemm,
            "Neg": _unary(np.negative),
            "Abs": _unary(np.abs),
            "Exp": _unary(np.exp),
            "Log": _unary(np.log),
            "Sqrt": _unary(np.sqrt),
            "Reciprocal": _unary(np.reciprocal),
            "Floor": _unary(np.floor),
            "Ceil": _unary(np.ceil),
            "Round": _unary(np.round),
            "Sign": _unary(np.sign),
            "Not": _unary(np.logical_not),
            "Relu": lambda node, inputs, widen: np.maximum(inputs[0], 0),
            "LeakyRelu": lambda node, inputs, widen: np.where(
                inputs[0] < 0, node.attribute("alpha", 0.01) * inputs[0], inputs[0]
            ),
            "PRelu": _prelu,
            "ThresholdedRelu": _thresholded_relu,
            "Shrink": _shrink,
            "HardSigmoid": _hard_sigmoid,
            "Clip": _clip,
            "BatchNormalization": _batch_normalization,
            "Sigmoid": _sigmoid,
            "Softmax": lambda node, inputs, widen: np.exp(_log_softmax(node, inputs, widen)),
            "LogSoftmax": _log_softmax,
            "ReduceSum": _reduction(np.sum),
            "ReduceMean": _reduction(np.mean),
            "ReduceMax": _reduction(np.max),
            "ReduceMin": _reduction(np.min),
            "ReduceProd": _reduction(np.prod),
            "ReduceL2": _reduction(lambda x, **how: np.sqrt(np.sum(x * x, **how))),
            "ReduceSumSquare": _reduction(lambda x, **how: np.sum(x * x, **how)),
            "Conv": onnx_evaluation_windows.conv,
            "ConvTranspose": onnx_evaluation_windows.conv_transpose,
            "MaxPool": onnx_evaluation_windows.max_pool,
            "AveragePool": onnx_evaluation_windows.average_pool,
            "GlobalAveragePool": onnx_evaluation_windows.global_average_pool,
            "GlobalMaxPool": onnx_evaluation_windows.global_max_pool,
            **_COMPARISONS,
        }.items()
    },
    **onnx_evaluation_moves.OPERATORS,
    **onnx_evaluation_columns.OPERATORS,
}
