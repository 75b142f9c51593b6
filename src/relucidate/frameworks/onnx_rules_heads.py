"""The link at the end of an ONNX graph, and what exporters put behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from relucidate.errors import UnsupportedModelError
from relucidate.frameworks.heads import Head, refuse_unless_one_distribution
from relucidate.frameworks.onnx_graph import Node
from relucidate.frameworks.onnx_values import Rule, Value
from relucidate.network import Link

if TYPE_CHECKING:
    from relucidate.frameworks.onnx_lowering import Lowering

# Operators that may follow the link at the end.
TAIL = frozenset(
    (
        "Identity",
        "Cast",
        "Reshape",
        "Flatten",
        "Squeeze",
        "Unsqueeze",
        "Transpose",
        "Dropout",
        "Sub",
        "Concat",
        "ZipMap",
    )
)


def _head(link: Link, log: bool = False) -> Rule:
    def rule(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
        x = low.numeric(inputs[0])
        if link == "softmax":
            axis = node.attribute("axis", -1 if node.version >= 13 else 1)
            axis = axis + len(x.shape) if axis < 0 else axis
            axes = (axis,) if node.version >= 13 else tuple(range(axis, len(x.shape)))
            refuse_unless_one_distribution(x, axes)
        return Head(x, link, node.label, node.op, node.inputs[0], log=log, shape=x.shape)

    return rule


def pair(node: Node, inputs: Sequence[Value]) -> Head:
    """Return the link whose two probabilities (1 - p, p) are joined."""
    forms = [v.form if isinstance(v, Head) else "" for v in inputs]
    if forms != ["complement", "whole"] or inputs[0].decision is not inputs[1].decision:
        raise UnsupportedModelError("of probabilities only (1 - p, p) is joined; choose an output before this node.")
    p: Head = inputs[1]
    if p.decision.size != 1:
        raise UnsupportedModelError(
            f"it joins 1 - p and p for {p.decision.size} labels at once, which is no distribution over classes. Give "
            f"output={node.inputs[1]!r} to unwrap the {p.decision.size} labels side by side."
        )
    return replace(p, form="pair", shape=(1, 2))


def _zip_map(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    labels = tuple(node.attribute("classlabels_int64s") or node.attribute("classlabels_strings") or ())
    if not isinstance(inputs[0], Head):
        raise UnsupportedModelError(f"it names scores that are no probabilities; give output={node.inputs[0]!r}.")
    return replace(inputs[0], classes=labels)


RULES: dict[tuple[str, str], Rule] = {
    ("", "Sigmoid"): _head("logit"),
    ("", "Softmax"): _head("softmax"),
    ("", "LogSoftmax"): _head("softmax", log=True),
    ("", "Exp"): _head("log"),
    ("ai.onnx.ml", "ZipMap"): _zip_map,
}
