"""An ONNX graph evaluated node by node, as its specification reads.

This is what a lowered network is compared with; it shares no arithmetic with the lowering. (Constant parts of a graph,
such as the shape that a Reshape takes, are evaluated here for both.) Networks are evaluated as they are used, never as
they are trained: batch normalisation takes its stored means, dropout does nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
from onnx import TensorProto

from relucidate.errors import UnsupportedModelError
from relucidate.frameworks.onnx_graph import Array, Graph, Node

MAX_SIZE = 2**23  # values in one constant; a few bytes in a file can ask for any number
_TYPES: dict[int, Any] = {
    TensorProto.FLOAT: np.float32,
    TensorProto.DOUBLE: np.float64,
    TensorProto.FLOAT16: np.float16,
    TensorProto.INT8: np.int8,
    TensorProto.UINT8: np.uint8,
    TensorProto.INT16: np.int16,
    TensorProto.UINT16: np.uint16,
    TensorProto.INT32: np.int32,
    TensorProto.UINT32: np.uint32,
    TensorProto.INT64: np.int64,
    TensorProto.UINT64: np.uint64,
    TensorProto.BOOL: np.bool_,
}
Operator = Callable[[Node, Sequence[Any], bool], Any]


def evaluate(graph: Graph, feeds: Mapping[str, Array], targets: Sequence[str], *, widen: bool) -> list[Array]:
    """Return the tensors `targets`.

    Parameters
    ----------
    feeds : array for each input.
    widen : compute in float64 throughout; otherwise in the types that the file declares.
    """
    values: dict[str, Any] = {"": None}
    values.update({name: _wide(a) if widen else a for name, a in graph.constants.items()})
    values.update({name: _wide(a) if widen else a for name, a in feeds.items()})
    wanted: dict[int, Node] = {}
    for target in targets:
        wanted.update({node.position: node for node in graph.ancestors(target)})
    last_use = {name: position for position in sorted(wanted) for name in wanted[position].inputs}
    with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
        for position in sorted(wanted):
            node = wanted[position]
            out = evaluate_node(node, [values[name] for name in node.inputs], widen=widen)
            values.update(zip(node.outputs, out, strict=False))
            for name in node.inputs:
                if name and last_use[name] == position and name not in targets:
                    values.pop(name, None)
    return [values[target] for target in targets]


def evaluate_node(node: Node, inputs: Sequence[Any], *, widen: bool) -> tuple[Any, ...]:
    """Return what one node makes of its inputs.

    Raises
    ------
    UnsupportedModelError : the operator is not known here, or its result would be huge.
    """
    operator = OPERATORS.get((node.domain, node.op))
    if operator is None:
        raise UnsupportedModelError(f"{node.label} is not an operator that relucidate evaluates.")
    out = operator(node, inputs, widen)
    return out if isinstance(out, tuple) else (out,)


def constant_of(node: Node, inputs: Sequence[Any]) -> tuple[Any, ...]:
    """Return what one node makes of constants, if that is not much more than a network can need.

    Raises
    ------
    UnsupportedModelError : the operator is not known here, or the result would be huge.
    """
    size = _size(node, inputs)
    if size > MAX_SIZE:
        raise UnsupportedModelError(f"{node.label} would make {size:,} values out of constants.")
    return evaluate_node(node, inputs, widen=True)


def _size(node: Node, inputs: Sequence[Any]) -> int:
    """Return how many values a node would make, as far as it can make more than it takes."""
    arrays = [a for a in inputs if isinstance(a, np.ndarray)]
    if node.op in _BROADCASTING:
        return prod(np.broadcast_shapes(*(a.shape for a in arrays)))
    if node.op == "Concat":
        return sum(a.size for a in arrays)
    if node.op in ("MatMul", "Gemm"):
        a, b = arrays[:2]
        inner = max(a.shape[-1:] + b.shape[-2:-1], default=1) or 1
        return a.size * b.size // inner**2
    if node.op == "Gather":
        return arrays[1].size * arrays[0].size // max(1, arrays[0].shape[node.attribute("axis", 0)])
    if node.op in ("Expand", "ConstantOfShape"):
        return prod(abs(int(s)) for s in arrays[-1].tolist()) * (arrays[0].size if len(arrays) > 1 else 1)
    return 0


def _wide(array: Any) -> Any:
    return array.astype(np.float64) if isinstance(array, np.ndarray) and array.dtype.kind == "f" else array


def _dtype(kind: int, widen: bool) -> Any:
    dtype = _TYPES[kind]
    return np.float64 if widen and np.issubdtype(dtype, np.floating) else dtype


def _axes(node: Node, inputs: Sequence[Any], place: int = 1) -> tuple[int, ...] | None:
    given = node.attribute("axes")
    if given is None and len(inputs) > place and inputs[place] is not None:
        given = inputs[place].ravel().tolist()
    return None if given is None else tuple(int(a) for a in given)


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


def _flatten(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    shape, axis = inputs[0].shape, node.attribute("axis", 1)
    axis = axis + len(shape) if axis < 0 else axis
    return inputs[0].reshape(prod(shape[:axis]), -1 if prod(shape[:axis]) else prod(shape[axis:]))


def _reshape(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    wanted = node.attribute("shape") if len(inputs) < 2 else inputs[1].tolist()
    old = inputs[0].shape
    if not node.attribute("allowzero", 0):
        wanted = [old[i] if s == 0 else s for i, s in enumerate(wanted)]
    return inputs[0].reshape(wanted)


def _squeeze(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    return np.squeeze(inputs[0], axis=_axes(node, inputs))


def _unsqueeze(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    return np.expand_dims(inputs[0], axis=_axes(node, inputs) or ())


def _cast(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    kind = node.attribute("to")
    if isinstance(kind, str):  # opset 1 wrote the name
        kind = TensorProto.DataType.Value(kind)
    if kind == TensorProto.STRING and inputs[0].dtype.kind == "O":
        return inputs[0]
    if kind not in _TYPES:
        raise UnsupportedModelError(f"{node.label} casts to {TensorProto.DataType.Name(kind)}, which is not evaluated.")
    return inputs[0].astype(_dtype(kind, widen))


def _constant(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    for name, dtype in (
        ("value", None),
        ("value_float", np.float32),
        ("value_floats", np.float32),
        ("value_int", np.int64),
        ("value_ints", np.int64),
        ("value_string", object),
        ("value_strings", object),
    ):
        if name in node.attributes:
            value = np.asarray(node.attributes[name], dtype=dtype)
            return _wide(value) if widen else value
    raise UnsupportedModelError(f"{node.label} has no value that relucidate reads.")


def _gather(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    return np.take(inputs[0], inputs[1], axis=node.attribute("axis", 0))


def _slice(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    if node.version < 10:
        starts, ends = node.attribute("starts"), node.attribute("ends")
        axes, steps = node.attribute("axes"), None
    else:
        starts, ends = inputs[1].tolist(), inputs[2].tolist()
        axes, steps = ((None if p is None else p.tolist()) for p in (*inputs[3:], None, None)[:2])
    axes = list(range(len(starts))) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    where = [slice(None)] * inputs[0].ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        size = inputs[0].shape[axis]
        stop: int | None = end
        if step < 0 and end < -size:
            stop = None
        where[axis] = slice(start, stop, step)
    return inputs[0][tuple(where)]


def _split(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    axis = node.attribute("axis", 0)
    sizes = node.attribute("split")
    if sizes is None and len(inputs) > 1 and inputs[1] is not None:
        sizes = inputs[1].tolist()
    size, parts = inputs[0].shape[axis], len(node.outputs)
    if sizes is None:
        each = -(-size // parts)
        sizes = [each] * (parts - 1) + [size - each * (parts - 1)]
    return tuple(np.split(inputs[0], np.cumsum(sizes)[:-1], axis=axis))


def _expand(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    return np.broadcast_to(inputs[0], np.broadcast_shapes(inputs[0].shape, tuple(inputs[1].tolist())))


def _constant_of_shape(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    value = node.attribute("value", np.zeros(1, np.float32))
    value = _wide(value) if widen else value
    return np.full(inputs[0].tolist(), value[0], dtype=value.dtype)


def _shape(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    return np.array(inputs[0].shape[node.attribute("start", 0) : node.attribute("end")], dtype=np.int64)


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


def _scaler(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    dtype = np.float64 if widen else np.float32
    offset = np.asarray(node.attribute("offset", [0.0]), dtype=dtype)
    return (inputs[0].astype(dtype) - offset) * np.asarray(node.attribute("scale", [1.0]), dtype=dtype)


def _imputer(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    x = inputs[0]
    if x.dtype.kind == "f":
        fill, replaced = node.attribute("imputed_value_floats"), node.attribute("replaced_value_float", 0.0)
    else:
        fill, replaced = node.attribute("imputed_value_int64s"), node.attribute("replaced_value_int64", 0)
    gap = np.isnan(x) if replaced != replaced else x == replaced
    return np.where(gap, np.asarray(fill, dtype=x.dtype), x)


def _one_hot_encoder(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    x = inputs[0]
    levels = node.attribute("cats_strings") or node.attribute("cats_int64s") or []
    cells = x if x.dtype.kind == "O" else x.astype(np.int64)
    out = np.stack([np.asarray(cells == level, dtype=np.float64 if widen else np.float32) for level in levels], axis=-1)
    if not node.attribute("zeros", 1) and not (out.sum(axis=-1) == 1).all():
        raise UnsupportedModelError(f"{node.label} met a level that it does not know.")
    return out


def _label_encoder(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    def of(prefix: str) -> Any:
        for kind in ("strings", "int64s", "floats"):
            if node.attribute(f"{prefix}_{kind}") is not None:
                return kind, node.attribute(f"{prefix}_{kind}")
        return None, None

    _, keys = of("keys")
    kind, values = of("values")
    fallback = node.attribute(
        f"default_{(kind or 'int64s')[:-1]}", {"strings": "_Unused", "floats": -0.0}.get(kind, -1)
    )
    table = dict(zip(keys or [], values or [], strict=True))
    found = [table.get(v, fallback) for v in inputs[0].ravel().tolist()]
    dtype = {"strings": object, "floats": np.float64 if widen else np.float32}.get(kind, np.int64)
    return np.array(found, dtype=dtype).reshape(inputs[0].shape)


def _array_feature_extractor(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    return np.atleast_2d(inputs[0])[..., inputs[1].ravel()]


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


def _same(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    return inputs[0]


_BROADCASTING = frozenset({"Add", "Sub", "Mul", "Div", "Sum", "Max", "Min", "PRelu"})
OPERATORS: dict[tuple[str, str], Operator] = {
    **{
        ("", name): operator
        for name, operator in {
            "Add": _folded(np.add),
            "Sub": _folded(np.subtract),
            "Mul": _folded(np.multiply),
            "Div": _divided,
            "Sum": _folded(np.add),
            "Max": _folded(np.maximum),
            "Min": _folded(np.minimum),
            "MatMul": _folded(np.matmul),
            "Gemm": _gemm,
            "Neg": lambda node, inputs, widen: -inputs[0],
            "Abs": lambda node, inputs, widen: np.abs(inputs[0]),
            "Exp": lambda node, inputs, widen: np.exp(inputs[0]),
            "Relu": lambda node, inputs, widen: np.maximum(inputs[0], 0),
            "LeakyRelu": lambda node, inputs, widen: np.where(
                inputs[0] < 0, node.attribute("alpha", 0.01) * inputs[0], inputs[0]
            ),
            "PRelu": _prelu,
            "HardSigmoid": _hard_sigmoid,
            "Clip": _clip,
            "BatchNormalization": _batch_normalization,
            "Flatten": _flatten,
            "Reshape": _reshape,
            "Squeeze": _squeeze,
            "Unsqueeze": _unsqueeze,
            "Transpose": lambda node, inputs, widen: np.transpose(inputs[0], node.attribute("perm")),
            "Identity": _same,
            "Dropout": _same,
            "Cast": _cast,
            "Concat": lambda node, inputs, widen: np.concatenate(inputs, axis=node.attribute("axis", 1)),
            "Constant": _constant,
            "ConstantOfShape": _constant_of_shape,
            "Shape": _shape,
            "Gather": _gather,
            "Slice": _slice,
            "Split": _split,
            "Expand": _expand,
            "Sigmoid": _sigmoid,
            "Softmax": lambda node, inputs, widen: np.exp(_log_softmax(node, inputs, widen)),
            "LogSoftmax": _log_softmax,
        }.items()
    },
    **{
        ("ai.onnx.ml", name): operator
        for name, operator in {
            "Scaler": _scaler,
            "Imputer": _imputer,
            "OneHotEncoder": _one_hot_encoder,
            "LabelEncoder": _label_encoder,
            "FeatureVectorizer": lambda node, inputs, widen: np.concatenate(
                [np.asarray(a, dtype=np.float64 if widen else np.float32) for a in inputs], axis=1
            ),
            "ArrayFeatureExtractor": _array_feature_extractor,
            "ZipMap": _same,
        }.items()
    },
}
