"""A network as an ONNX graph of standard operators, in double precision."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relucidate.errors import UnfaithfulError, UnsupportedModelError, clipped
from relucidate.frameworks import jsonfile, load
from relucidate.frameworks.exporting_comparing import compare, encoded
from relucidate.frameworks.exporting_metadata import metadata_of
from relucidate.frameworks.exporting_units import ALL_KINDS, Stage, in_stages, in_units
from relucidate.network import Network
from relucidate.onnx_writing import AXES, HEADS, LARGEST, Graph, in_onnxruntime

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
    stages, weight, bias = in_stages(network, lambda activation: in_units(activation, ALL_KINDS))
    size = 8 * (sum(s.weight.size for s in stages) + weight.size)
    if size > LARGEST:
        raise UnsupportedModelError(
            f"the weights take {size:,} bytes in float64, and an ONNX file holds at most {LARGEST:,}. Export to "
            "safetensors or JSON."
        )
    if network.link == "softmax" and network.n_outputs == 1:
        raise UnsupportedModelError(
            "a softmax over a single output is 1 for every row, and no reader of ONNX would find the decision behind it. "
            "Export dataclasses.replace(network, link='identity') or link='logit'."
        )
    graph = Graph()
    x = "input"
    order: Any = slice(None)
    for stage in stages:
        x, order = _onnx_stage(graph, x, replace(stage, weight=stage.weight[:, order]))
    op = HEADS.get(network.link)
    name = network.layers[-1].name or f"layer {len(network.layers)}"
    decision = graph.affine(x, weight[:, order], bias, name, "decision" if op else "output")
    if op:
        graph.node(op, [decision], "link", "output", **AXES.get(op, {}))
    return graph.model("network", ("input", network.n_features), ("output", network.n_outputs), metadata_of(network))


def _onnx_stage(graph: Graph, x: str, stage: Stage) -> tuple[str, NDArray[np.intp]]:
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
    source = model.SerializeToString() if hasattr(model, "SerializeToString") else str(model)
    run = in_onnxruntime(source, "output", "export to another format", called)
    if run is not None:
        compare(network, called, predict=run)
