"""Simplified models as ONNX graphs of standard operators, in double precision."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import relucidate
from relucidate.deploying_model import Deployed, plain
from relucidate.errors import UnsupportedModelError, clipped, shown
from relucidate.layers import Floats
from relucidate.simplified import ByCentre, ByRule
from relucidate.trees import Tree

_OPSET, _IR = 17, 8  # the newest that onnxruntime computes throughout in double precision
_LARGEST = 2**31 - 2**20  # bytes that protobuf can hold
_HEADS = {"logit": "Sigmoid", "softmax": "Softmax", "log": "Exp"}


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
    if model.coef.nbytes > _LARGEST:
        raise UnsupportedModelError(
            f"the coefficients take {model.coef.nbytes:,} bytes, and an ONNX file holds at most {_LARGEST:,}. Write a "
            ".json file."
        )
    from onnx import TensorProto, helper

    graph = _Graph()
    decision = graph.chosen(model)
    op = _HEADS.get(model.link, "Identity")
    graph.node(op, [decision], output="prediction", **({"axis": 1} if op == "Softmax" else {}))
    ends = [("input", len(model.features)), ("prediction", model.n_outputs)]
    inputs, outputs = ([helper.make_tensor_value_info(end, TensorProto.DOUBLE, ["rows", width])] for end, width in ends)
    proto = helper.make_model(
        helper.make_graph(graph.nodes, "simplified", inputs, outputs, graph.constants),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR,
        producer_name="relucidate",
        producer_version=relucidate.__version__,
    )
    helper.set_model_props(proto, _metadata(model))
    return bytes(proto.SerializeToString(deterministic=True))


def runtime() -> Any:
    """Return onnxruntime, told to send nothing about its use.

    Raises
    ------
    ImportError : it is not installed.

    Notes
    -----
    When it is imported it writes an identifier into the user's home and reports the start, unless this variable is set by
    then; what was imported before can only be told to report no more.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    return onnxruntime


def run(data: bytes, x: Floats) -> Floats:
    """Return what onnxruntime makes of a file (n, n_outputs); without it, what the evaluator of the onnx package makes.

    Raises
    ------
    UnsupportedModelError : onnxruntime cannot run the file.
    """
    try:
        onnxruntime = runtime()
    except ImportError:
        return _evaluated(data, x)
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(data, settings, providers=["CPUExecutionProvider"])
        return np.asarray(session.run(["prediction"], {"input": x})[0])
    # its errors have no common class but Exception
    except Exception as problem:
        raise UnsupportedModelError(
            f"onnxruntime {onnxruntime.__version__} cannot run what was written "
            f"({clipped(' '.join(str(problem).split()), 200)}). Update onnxruntime, or write a .py or .json file."
        ) from None


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


class _Graph:
    """The nodes and constants of an ONNX graph."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, array: Any) -> str:
        """Return the name of a new constant."""
        from onnx import numpy_helper

        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(self, op: str, inputs: Sequence[str], output: str = "", **attributes: Any) -> str:
        """Return the output of a new node."""
        from onnx import TensorProto, helper

        output = output or f"value_{len(self.nodes)}"
        if op == "Cast":
            attributes = {"to": TensorProto.DOUBLE}
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=f"{op} {len(self.nodes)}", **attributes))
        return output

    def affine(self, x: str, weight: Floats, bias: Floats) -> str:
        """Return ``x @ weight.T + bias``."""
        return self.node("Gemm", [x, self.constant(weight), self.constant(bias)], transB=1)

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
        taken = self.affine(self.node("Cast", [leaf]), joined, np.zeros(k))
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
        return self.node("Cast", [self.node("Greater", [compared, self.constant(tree.threshold[order])])]), order


def _counting(tree: Tree) -> tuple[Floats, Floats]:
    """Return weight (leaves, splits) and bias that count, with a minus, the conditions of each leaf that fail."""
    weight, bias = np.zeros((tree.n_leaves, len(tree.leaf))), np.zeros(tree.n_leaves)
    for leaf in range(tree.n_leaves):
        for split, above in tree.conditions(leaf):
            weight[leaf, split] = 1.0 if above else -1.0
            bias[leaf] -= float(above)
    return weight, bias
