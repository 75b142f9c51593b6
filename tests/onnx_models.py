"""Small ONNX models for tests, and what others say of them."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from relucidate.frameworks import load
from relucidate.network import Network

RNG = np.random.default_rng(7)
Floats = np.ndarray[Any, Any]


def floats(*shape: int) -> Floats:
    return RNG.normal(size=shape).astype(np.float32)


def node(op: str, inputs: str, outputs: str, name: str = "", **attributes: Any) -> Any:
    """A node; names of tensors are separated by blanks, "-" is an input left out."""
    of = ["" if i == "-" else i for i in inputs.split()]
    domain = attributes.pop("domain", None)
    return helper.make_node(op, of, outputs.split(), name=name, domain=domain, **attributes)


def model_of(
    nodes: Sequence[Any],
    constants: dict[str, Any] | None = None,
    *,
    inputs: dict[str, Any] | None = None,
    outputs: dict[str, Any] | None = None,
    opset: int = 17,
    metadata: dict[str, Any] | None = None,
    kind: int = TensorProto.FLOAT,
    infer: bool = True,
) -> Any:
    """A model; inputs and outputs map names to shapes, None for an open dimension; outputs may be left to be inferred."""
    inputs = {"x": [None, 3]} if inputs is None else inputs
    outputs = {"y": None} if outputs is None else outputs
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()],
    )
    domains = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=domains, ir_version=8)
    for key, value in (metadata or {}).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value if isinstance(value, str) else json.dumps(value)
    return onnx.shape_inference.infer_shapes(model) if infer else model  # outputs must declare a rank


def run(model: Any, feeds: dict[str, Any], output: str | None = None) -> Floats:
    """What onnxruntime says."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run([output or session.get_outputs()[0].name], feeds)[0])


def mlp(head: str = "", *, d: int = 3, width: int = 5, out: int = 1, **more: Any) -> Any:
    """A network with one hidden layer and an optional head."""
    constants = {"w1": floats(d, width), "b1": floats(width), "w2": floats(width, out), "b2": floats(out)}
    last = "z" if head else "y"
    nodes = [
        node("MatMul", "x w1", "m", "dense/matmul"),
        node("Add", "m b1", "a"),
        node("Relu", "a", "h", "dense/relu"),
        node("Gemm", "h w2 b2", last),
    ]
    if head:
        nodes.append(node(head, "z", "y"))
    more.setdefault("inputs", {"x": [None, d]})
    return model_of(nodes, constants | more.pop("constants", {}), **more)


def agrees(model: Any, feeds: dict[str, Any], table: Any, tolerance: float = 2e-5, **options: Any) -> Network:
    """Load, compare with onnxruntime on rows that the reader did not choose, return the network."""
    network = load(model, **options)
    theirs = run(model, feeds)
    ours = network.predict(table)
    assert ours.shape[0] == len(theirs)
    difference = np.abs(ours - theirs.reshape(len(theirs), -1)) / (1 + np.abs(ours))
    assert difference.max() < tolerance
    assert network.faithfulness is not None
    assert network.faithfulness.against.startswith("onnxruntime")
    return network


def in_float64(model: Any, feeds: dict[str, Any]) -> Floats:
    """What onnx's own evaluator says of the graph with every number in float64; it is not right on every operator."""
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    wide.graph.ClearField("value_info")
    for tensor in wide.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name))
    for value in (*wide.graph.input, *wide.graph.output):
        value.type.tensor_type.elem_type = TensorProto.DOUBLE
    for made in wide.graph.node:
        for attribute in made.attribute:
            if made.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.DOUBLE
    (out,) = ReferenceEvaluator(wide).run(None, {name: np.asarray(a, dtype=np.float64) for name, a in feeds.items()})
    return np.asarray(out)
