"""A network as an ONNX graph of standard operators, in double precision."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import relucidate
from relucidate.deploying_onnx import runtime
from relucidate.errors import UnfaithfulError, UnsupportedModelError, clipped
from relucidate.frameworks import jsonfile, load
from relucidate.frameworks.exporting_comparing import compare, encoded
from relucidate.frameworks.exporting_metadata import metadata_of
from relucidate.frameworks.exporting_units import ALL_KINDS, Stage, in_stages, in_units
from relucidate.layers import Floats
from relucidate.network import Network

_OPSET, _IR = 17, 8  # the newest that onnxruntime computes throughout in double precision
_LARGEST = 2**31 - 2**20  # bytes that protobuf can hold
_CLIPS = 16  # Clip has one pair of limits; a layer with more pairs than this takes Max and Min, which have one a neuron


def onnx_object(network: Network) -> Any:
    """Return an `onnx.ModelProto`, compared with the network."""
    model = _onnx(network)
    _compare_onnx(network, model, "the ONNX model")
    return model


def onnx_file(network: Network, temporary: Path, final: Path) -> None:
    """Write an ONNX file, read it back and compare."""
    temporary.write_bytes(_onnx(network).SerializeToString(deterministic=True))
    _compare_onnx(network, temporary, str(final))


def _onnx(network: Network) -> Any:
    from onnx import TensorProto, helper

    stages, weight, bias = in_stages(network, lambda activation: in_units(activation, ALL_KINDS))
    size = 8 * (sum(s.weight.size for s in stages) + weight.size)
    if size > _LARGEST:
        raise UnsupportedModelError(
            f"the weights take {size:,} bytes in float64, and an ONNX file holds at most {_LARGEST:,}. Export to "
            "safetensors or JSON."
        )
    if network.link == "softmax" and network.n_outputs == 1:
        raise UnsupportedModelError(
            "a softmax over a single output is 1 for every row, and no reader of ONNX would find the decision behind it. "
            "Export dataclasses.replace(network, link='identity') or link='logit'."
        )
    graph = _Graph()
    x = "input"
    order: Any = slice(None)
    for stage in stages:
        x, order = _onnx_stage(graph, x, replace(stage, weight=stage.weight[:, order]))
    op = {"logit": "Sigmoid", "softmax": "Softmax", "log": "Exp"}.get(network.link)
    name = network.layers[-1].name or f"layer {len(network.layers)}"
    decision = graph.affine(x, weight[:, order], bias, name, "decision" if op else "output")
    if op:
        graph.node(op, [decision], "link", "output", **({"axis": 1} if op == "Softmax" else {}))
    ends = [("input", network.n_features), ("output", network.n_outputs)]
    inputs, outputs = ([helper.make_tensor_value_info(end, TensorProto.DOUBLE, ["rows", width])] for end, width in ends)
    model = helper.make_model(
        helper.make_graph(graph.nodes, "network", inputs, outputs, graph.constants),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR,
        producer_name="relucidate",
        producer_version=relucidate.__version__,
    )
    helper.set_model_props(model, metadata_of(network))
    return model


def _onnx_stage(graph: _Graph, x: str, stage: Stage) -> tuple[str, NDArray[np.intp]]:
    """Return the output of a hidden layer, and which unit each of its values is.

    Notes
    -----
    Units of different kinds go side by side, so that each stays one neuron with the breakpoints that it has.
    """
    units = stage.units
    groups: dict[tuple[str, float, float], list[int]] = {}
    pairs = list(zip(units.low.tolist(), units.high.tolist(), strict=True))
    alike = len(set(pairs)) <= _CLIPS
    for i, kind in enumerate(units.kind.tolist()):
        low, high = pairs[i] if kind == "clip" and alike else (0.0, 0.0)
        groups.setdefault((kind, low, high), []).append(i)
    parts, order = [], []
    for (kind, low, high), members in groups.items():
        at = np.array(members)
        name = stage.name if len(groups) == 1 else f"{stage.name} ({kind})"
        z = graph.affine(x, stage.weight[at], stage.bias[at], f"{name} affine")
        if kind == "clip" and not alike:
            z = graph.node("Max", [z, graph.constant(units.low[at])], f"{name} below")
            z = graph.node("Min", [z, graph.constant(units.high[at])], f"{name} above")
        elif kind == "prelu":
            z = graph.node("PRelu", [z, graph.constant(units.slope[at])], name)
        elif kind == "max":
            z = graph.node("Max", [z, graph.constant(units.low[at])], name)
        elif kind == "min":
            z = graph.node("Min", [z, graph.constant(units.high[at])], name)
        elif kind == "clip":
            z = graph.node("Clip", [z, graph.constant(low), graph.constant(high)], name)
        elif kind != "identity":
            z = graph.node({"relu": "Relu", "abs": "Abs"}[kind], [z], name)
        parts.append(z)
        order.append(at)
    if len(parts) > 1:
        parts = [graph.node("Concat", parts, f"{stage.name} joined", axis=1)]
    return parts[0], np.concatenate(order)


class _Graph:
    """The nodes and constants of an ONNX graph."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._names: Counter[str] = Counter()

    def constant(self, array: Any) -> str:
        """Return the name of a new constant."""
        from onnx import numpy_helper

        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(array, dtype=np.float64, order="C"), name))
        return name

    def node(self, op: str, inputs: Sequence[str], name: str, output: str = "", **attributes: Any) -> str:
        """Return the output of a new node."""
        from onnx import helper

        output = output or f"value_{len(self.nodes)}"
        self._names[name] += 1  # onnxruntime refuses two nodes of one name
        while self._names[name] > 1:
            name = f"{name} {self._names[name]}"
            self._names[name] += 1
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=name, **attributes))
        return output

    def affine(self, x: str, weight: Floats, bias: Floats, name: str, output: str = "") -> str:
        """Return ``x @ weight.T + bias``."""
        return self.node("Gemm", [x, self.constant(weight), self.constant(bias)], name, output, transB=1)


def _compare_onnx(network: Network, model: Any, called: str) -> None:
    """Raise unless `load` makes of a file or model what was written."""
    back = load(model)
    kept = encoded(network, called)
    expected: dict[str, Any] = {"link": kept.link, "feature_names": kept.feature_names}
    if kept.link == "softmax" or (kept.link == "logit" and kept.n_outputs == 1):
        expected["classes"] = tuple(jsonfile.plain_label(c, "class") for c in kept.classes)
    for name, value in expected.items():
        if getattr(back, name) != value:
            raise UnfaithfulError(
                f"{called}: its {name} are read back as {clipped(getattr(back, name))}; expected {clipped(value)}. The "
                "result was withheld."
            )
    compare(network, called, decision=back.decision, predict=back.predict)
    run = _in_onnxruntime(model, called)
    if run is not None:
        compare(network, called, predict=run)


def _in_onnxruntime(model: Any, called: str) -> Callable[[Floats], Floats] | None:
    """Return what onnxruntime makes of a file or model, with the optimisations that its users get; None without it.

    Raises
    ------
    UnsupportedModelError : it cannot run it.
    """
    try:
        onnxruntime = runtime()
    except ImportError:
        return None
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    source = model.SerializeToString() if hasattr(model, "SerializeToString") else str(model)
    try:
        session = onnxruntime.InferenceSession(source, settings, providers=["CPUExecutionProvider"])
    # its errors have no common class but Exception
    except Exception as problem:
        raise UnsupportedModelError(
            f"{called}: onnxruntime {onnxruntime.__version__} cannot run what was written "
            f"({clipped(' '.join(str(problem).split()), 200)}). Update onnxruntime, or export to another format."
        ) from None
    return lambda rows: np.asarray(session.run(["output"], {"input": rows})[0])
