"""Simplified models as ONNX graphs of standard operators, in double precision."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relucidate.deploying_model import Deployed, plain
from relucidate.errors import UnsupportedModelError, shown
from relucidate.layers import Floats
from relucidate.onnx_writing import AXES, HEADS, LARGEST, Graph, in_onnxruntime
from relucidate.simplified import ByCentre, ByRule
from relucidate.trees import Tree


def write(model: Deployed) -> bytes:
    """Return an ONNX file: "input" (rows, n_features) of encoded features to "prediction" (rows, n_outputs).

    Raises
    ------
    UnsupportedModelError : the models are too large for a file, or a class has no name that its metadata can hold.

    Notes
    -----
    Each row is taken through every linear model; which one counts is decided by comparisons alone and picked with Where,
    so that nothing of the others enters. A split on a single feature compares that column itself with the threshold.
    """
    if model.coef.nbytes > LARGEST:
        raise UnsupportedModelError(
            f"the coefficients take {model.coef.nbytes:,} bytes, and an ONNX file holds at most {LARGEST:,}. Write a "
            ".json file."
        )
    graph = _Graph()
    decision = graph.chosen(model)
    op = HEADS.get(model.link, "Identity")
    graph.node(op, [decision], output="prediction", **AXES.get(op, {}))
    found = ("prediction", model.n_outputs)
    proto = graph.model("simplified", ("input", len(model.features)), found, _metadata(model))
    return bytes(proto.SerializeToString(deterministic=True))


def run(data: bytes, x: Floats) -> Floats:
    """Return what onnxruntime makes of a file (n, n_outputs); without it, what the evaluator of the onnx package makes.

    Raises
    ------
    UnsupportedModelError : onnxruntime cannot run the file.
    """
    runs = in_onnxruntime(data, "prediction", "write a .py or .json file")
    return _evaluated(data, x) if runs is None else runs(x)


def _evaluated(data: bytes, x: Floats) -> Floats:
    import onnx
    from onnx.reference import ReferenceEvaluator

    found: Any = ReferenceEvaluator(onnx.load_from_string(data)).run(["prediction"], {"input": x})
    return np.asarray(found[0])


def _metadata(model: Deployed) -> dict[str, str]:
    """Return names of features and classes as exported networks have them."""
    out = {"relucidate.feature_names": json.dumps(list(model.features.names)), "relucidate.link": model.link}
    if model.classes:
        classes = [plain(c) for c in model.classes]
        if any(c is None or (isinstance(c, float) and not math.isfinite(c)) for c in classes):
            raise UnsupportedModelError(
                f"the classes {shown(classes)} are not all finite; only JSON files hold such labels. Rename them."
            )
        out["relucidate.classes"] = json.dumps(classes)
    return out


class _Graph(Graph):
    """The graph of simplified models."""

    def chosen(self, model: Deployed) -> str:
        """Return the decision (rows, n_outputs) of the model that each row takes."""
        k, o, d = model.coef.shape
        every = self.affine("input", model.coef.reshape(k * o, d), model.intercept.reshape(k * o))
        if k == 1:
            return every
        every = self.node("Reshape", [every, self.constant(np.array([-1, k, o]))])
        mask = self.node("Reshape", [self.mask(model), self.constant(np.array([-1, k, 1]))])
        alone = self.node("Where", [mask, every, self.constant(np.zeros(1))])
        return self.node("ReduceSum", [alone, self.constant(np.array([1]))], keepdims=0)

    def number(self, condition: str) -> str:
        """Return a condition as 0.0 or 1.0."""
        from onnx import TensorProto

        return self.node("Cast", [condition], to=TensorProto.DOUBLE)

    def mask(self, model: Deployed) -> str:
        """Return (rows, K) whether a row takes each model."""
        if isinstance(model.route, ByCentre):
            return self.nearest(model.route, model.n_models)
        return self.ruled(model.route, model.n_models)

    def nearest(self, route: ByCentre, k: int) -> str:
        centre = route.centre / route.scale
        at = self.node("Div", ["input", self.constant(route.scale)])
        closeness = self.affine(at, centre, -0.5 * (centre**2).sum(axis=1))
        first = self.node("ArgMax", [closeness], axis=1, keepdims=0, select_last_index=0)
        return self.node("Gather", [self.constant(route.model[:, None] == np.arange(k)), first], axis=0)

    def ruled(self, route: ByRule, k: int) -> str:
        """Return the mask from how many of its conditions each leaf finds fulfilled: whole numbers, added exactly."""
        above, order = self.above(route.tree)
        weight, bias = _counting(route.tree)
        missed = self.affine(above, weight[:, order], bias)
        leaf = self.node("Equal", [missed, self.constant(np.zeros(1))])
        joined = (route.model == np.arange(k)[:, None]).astype(np.float64)
        taken = self.affine(self.number(leaf), joined, np.zeros(k))
        return self.node("Greater", [taken, self.constant(np.array([0.5]))])

    def above(self, tree: Tree) -> tuple[str, NDArray[np.intp]]:
        """Return whether rows are above each threshold, as 0.0 or 1.0, and the split of each column."""
        axis = ((tree.direction != 0).sum(axis=1) == 1) & (tree.direction.max(axis=1, initial=0) == 1)
        parts = []
        order = np.concatenate([np.flatnonzero(axis), np.flatnonzero(~axis)])
        if axis.any():
            feature = tree.direction[axis].argmax(axis=1)
            parts.append(self.node("Gather", ["input", self.constant(feature.astype(np.int64))], axis=1))
        if not axis.all():
            parts.append(self.affine("input", tree.direction[~axis], np.zeros(int((~axis).sum()))))
        compared = self.node("Concat", parts, axis=1) if len(parts) > 1 else parts[0]
        return self.number(self.node("Greater", [compared, self.constant(tree.threshold[order])])), order


def _counting(tree: Tree) -> tuple[Floats, Floats]:
    """Return weight (leaves, splits) and bias that count, with a minus, the conditions of each leaf that fail."""
    weight, bias = np.zeros((tree.n_leaves, len(tree.leaf))), np.zeros(tree.n_leaves)
    for leaf in range(tree.n_leaves):
        for split, above in tree.conditions(leaf):
            weight[leaf, split] = 1.0 if above else -1.0
            bias[leaf] -= float(above)
    return weight, bias
