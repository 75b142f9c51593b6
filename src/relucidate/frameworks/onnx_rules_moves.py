"""ONNX operators that only move values about: shapes, slices, repeats, joins, casts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from relucidate.errors import UnsupportedModelError
from relucidate.frameworks.heads import Head
from relucidate.frameworks.lowering import MAX_VALUES, Expr
from relucidate.frameworks.onnx_evaluation import evaluate_node, made_size
from relucidate.frameworks.onnx_graph import FLOATS, INTEGERS, Node
from relucidate.frameworks.onnx_rules_heads import pair
from relucidate.frameworks.onnx_values import MAX_COLUMNS, Columns, Mask, Rule, Value

if TYPE_CHECKING:
    from relucidate.frameworks.onnx_lowering import Lowering

_How = Callable[["Lowering", Node, Sequence[Value]], Callable[[Any], Any]]


def move(how: _How) -> Rule:
    """Return the rule of an operator that only moves values about."""

    def rule(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
        x = inputs[0] if isinstance(inputs[0], Columns | Head | Expr) else low.numeric(inputs[0])
        _refuse_unless_affordable(node, x, inputs)
        moved = how(low, node, inputs)
        if isinstance(x, Columns):
            return replace(x, atoms=moved(x.atoms))
        if isinstance(x, Expr):
            return low.builder.moved(x, moved)
        size = prod(x.shape)
        index = moved(np.arange(size).reshape(x.shape))
        if not (index.size == size and (index.ravel() == np.arange(size)).all()):
            raise UnsupportedModelError(f"what {x.label} gives is taken apart; choose it whole with output=.")
        return replace(x, shape=index.shape)

    return rule


def _refuse_unless_affordable(node: Node, x: Value, inputs: Sequence[Value]) -> None:
    if not all(v is None or isinstance(v, np.ndarray) for v in inputs[1:]):
        raise UnsupportedModelError("where to take values from depends on the input; only constants are read.")
    size = made_size(node, [np.broadcast_to(np.zeros((), np.int8), x.shape), *inputs[1:]])
    if size > MAX_VALUES:
        raise UnsupportedModelError(f"a tensor of {size:,} values is more than relucidate takes ({MAX_VALUES:,}).")


def _as_evaluated(low: Lowering, node: Node, inputs: Sequence[Value]) -> Callable[[Any], Any]:
    return lambda array: evaluate_node(node, [array, *inputs[1:]], widen=True)[0]


def _reshape(low: Lowering, node: Node, inputs: Sequence[Value]) -> Callable[[Any], Any]:
    def reshaped(array: Any) -> Any:
        wanted = node.attribute("shape") if len(inputs) < 2 else inputs[1].tolist()
        if low.batch and wanted and wanted[0] == low.batch and array.shape[:1] == (1,):
            wanted = [1, *wanted[1:]]
        if not node.attribute("allowzero", 0):
            wanted = [array.shape[i] if s == 0 else s for i, s in enumerate(wanted)]
        return array.reshape(wanted)

    return reshaped


def _expand(low: Lowering, node: Node, inputs: Sequence[Value]) -> Callable[[Any], Any]:
    wanted = inputs[1].tolist()
    if low.batch and wanted and wanted[0] == low.batch and len(wanted) == len(inputs[0].shape):
        wanted = [1, *wanted[1:]]
    return lambda array: np.broadcast_to(array, np.broadcast_shapes(array.shape, tuple(wanted)))


def _split(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    x = inputs[0] if isinstance(inputs[0], Columns) else low.numeric(inputs[0])
    _refuse_unless_affordable(node, x, inputs)

    def part(array: Any, i: int) -> Any:
        return evaluate_node(node, [array, *inputs[1:]], widen=True)[i]

    parts = range(len(node.outputs))
    if isinstance(x, Columns):
        return tuple(replace(x, atoms=part(x.atoms, i)) for i in parts)
    return tuple(low.builder.moved(x, partial(part, i=i)) for i in parts)


def concat(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    """Return tensors joined along an axis."""
    axis = node.attribute("axis", 1)
    if any(isinstance(v, Head) for v in inputs):
        return pair(node, inputs)
    if all(isinstance(v, Columns) for v in inputs) and len({(v.kind, v.truncated) for v in inputs}) == 1:
        if sum(v.atoms.size for v in inputs) > MAX_COLUMNS:
            raise UnsupportedModelError(f"columns are repeated more than {MAX_COLUMNS:,} times.")
        return replace(inputs[0], atoms=np.concatenate([v.atoms for v in inputs], axis=axis))
    return low.builder.concat([low.numeric(v) for v in inputs], axis)


def _cast(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    x, kind = inputs[0], node.attribute("to")
    if isinstance(x, Columns):
        return _cast_columns(x, kind)
    if isinstance(x, Mask):
        return x  # 1 and 0 in any type
    if kind == 10:
        raise UnsupportedModelError("a cast to half precision rounds, which is no piecewise-linear function.")
    if kind not in FLOATS and not (isinstance(x, Expr) and kind in INTEGERS and low.is_whole(x)):
        raise UnsupportedModelError("a cast to whole numbers is a staircase, not a piecewise-linear function.")
    return x


def _cast_like(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    x, like = inputs
    if isinstance(like, np.ndarray):
        kind = 1 if like.dtype.kind == "f" else 7
    elif isinstance(like, Expr) or (isinstance(like, Columns) and like.kind == "float"):
        kind = 1
    else:
        raise UnsupportedModelError("a cast to the type of something that is no number. Export with Cast.")
    if isinstance(x, np.ndarray):
        return x.astype(np.float64 if kind == 1 else np.int64)
    return _cast(low, replace(node, attributes={"to": kind}), [x])


def _cast_columns(x: Columns, kind: int) -> Columns:
    if kind in FLOATS and x.kind != "text" and not x.truncated:
        return replace(x, kind="float")
    if kind in INTEGERS and x.kind != "text":
        return replace(x, kind="int", truncated=x.truncated or x.kind == "float")
    if (kind == 8) == (x.kind == "text"):
        return x
    raise UnsupportedModelError("a cast between numbers and text is not read; encode the column before the export.")


def _dropout(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    training = (*inputs, None, None)[2]
    if training is not None and not (isinstance(training, np.ndarray) and not training.any()):
        raise UnsupportedModelError(
            "it is in training mode, where answers are random. Export the model in evaluation mode (model.eval())."
        )
    return inputs[0]


def _same(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    return inputs[0]


def _shape(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    return np.array(inputs[0].shape[node.attribute("start", 0) : node.attribute("end")], dtype=np.int64)


def _size(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    return np.array(prod(inputs[0].shape), dtype=np.int64)


_MOVES = (
    *("Flatten", "Squeeze", "Unsqueeze", "Transpose", "Gather", "GatherElements", "GatherND", "Slice", "Tile"),
    *("DepthToSpace", "SpaceToDepth", "Resize", "Upsample"),
)
RULES: dict[tuple[str, str], Rule] = {
    **{("", name): move(_as_evaluated) for name in _MOVES},
    **{
        ("", name): rule
        for name, rule in {
            "Reshape": move(_reshape),
            "Expand": move(_expand),
            "Split": _split,
            "Concat": concat,
            "Cast": _cast,
            "CastLike": _cast_like,
            "Dropout": _dropout,
            "Identity": _same,
            "Shape": _shape,
            "Size": _size,
        }.items()
    },
}
