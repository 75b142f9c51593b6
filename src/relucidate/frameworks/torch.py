"""PyTorch modules: captured as a graph by `torch.export`, lowered, and compared with the module itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from relucidate.errors import ArgumentError, ColumnError, ModelError, UnsupportedModelError, shown
from relucidate.features import Features
from relucidate.frameworks.heads import Head, link_of
from relucidate.frameworks.lowering import Builder, Expr
from relucidate.frameworks.reading import Options, Reading
from relucidate.network import Network, Provenance

if TYPE_CHECKING:
    from relucidate.frameworks.torch_capture import Captured
    from relucidate.frameworks.torch_inputs import Inputs


def recognises(model: Any) -> bool:
    """Return whether `model` is a PyTorch module or an exported program, without importing torch."""
    return any(
        (kind.__module__, kind.__name__)
        in (("torch.nn.modules.module", "Module"), ("torch.export.exported_program", "ExportedProgram"))
        for kind in type(model).__mro__
    )


def read(model: Any, options: Options, probe: Any = None) -> Reading:
    """Return the network of a module, and the module itself to prove it against.

    Parameters
    ----------
    model : `torch.nn.Module` or `torch.export.ExportedProgram`. It is not changed; it is run in evaluation mode.
    options : `inputs` may be a mapping of the arguments of `forward` to the shape of one row of each; `output` is the
        position or key of one of several results.
    probe : rows shaped as `forward` takes them, or a tuple of such; they also say what shape the inputs have.

    Raises
    ------
    UnsupportedModelError : an operator that is not piecewise linear, named with the submodule it is in; a forward pass
        that cannot be captured; several outputs to choose from.
    ArgumentError : the shape of the inputs is needed; an option that means nothing here.

    Notes
    -----
    The graph is that of one row. Parameters keep their stored precision, widened to float64. In-place operations are
    turned into values first, so that what is read after `x.relu_()` is what PyTorch reads.
    """
    options.refuse("a PyTorch module", "architecture", "normalise")
    where = f"module {type(model).__name__}"
    try:
        return _read(model, options, probe)
    except (ModelError, ArgumentError, ColumnError) as problem:
        raise type(problem)(f"{where}: {problem}") from None


def _read(model: Any, options: Options, probe: Any) -> Reading:
    # these import torch, which whoever only asks `recognises` need not have
    import torch

    from relucidate.frameworks import torch_capture, torch_inputs, torch_running
    from relucidate.frameworks.torch_lowering import Lowering
    from relucidate.frameworks.torch_values import kinds_of

    notes: list[str] = []
    subject = torch_inputs.subject_of(model, notes)
    inputs = torch_inputs.inputs_of(subject, options, probe, notes)
    graph = torch_capture.captured(subject, inputs)
    at, last = torch_capture.chosen_output(graph, options.output)
    nodes = graph.ancestors(last)
    numbers = sum(t.numel() for t in graph.constants.values() if isinstance(t, torch.Tensor))
    lowering = Lowering(Builder(2**22 + 3 * numbers), notes)
    decision, head = _lowered(lowering, graph, inputs, nodes, last)
    link = link_of(head, options.link)
    features = Features.plain(sum(inputs.widths), options.feature_names or inputs.column_names())
    layers = lowering.builder.layers(decision, len(features), name=_last_title(nodes, head))
    if head is not None:
        notes += head.notes()
    if graph.changed:
        notes.append(f"forward() changes {shown(graph.changed)}; the network is that of their present values")
    unused = [name for name, node in zip(inputs.names, graph.inputs, strict=True) if not _reaches(node, nodes)]
    if unused:
        notes.append(f"inputs without influence: {shown(unused, 12)}")
    source = f"PyTorch {torch_inputs.version()} module {type(torch_inputs.unwrapped(model)).__name__}"
    counts = tuple(Counter(kinds_of(nodes)).most_common())
    network = Network(layers, features, link, provenance=Provenance(source, operators=counts))
    rows = torch_running.probe_of(network, probe)
    originals = torch_running.originals_of(subject, inputs, graph, graph.leaves[at], last, head, network, rows, notes)
    network = replace(network, provenance=replace(network.provenance, notes=tuple(notes)))
    return Reading(network, originals, rows)


def _reaches(source: Any, nodes: Sequence[Any]) -> bool:
    return any(source in node.all_input_nodes for node in nodes)


def _last_title(nodes: Sequence[Any], head: Head | None) -> str:
    """Return what the output layer is called: the node that makes the decision."""
    from relucidate.frameworks.torch_values import place_of

    made = [node for node in nodes if head is None or node.name != head.tensor]
    if head is not None:
        names = [node.name for node in nodes]
        made = list(nodes[: names.index(head.tensor)]) or made
    return str(place_of(made[-1]).title) if made else ""


def _lowered(
    lowering: Any, graph: Captured, inputs: Inputs, nodes: Sequence[Any], last: Any
) -> tuple[Expr, Head | None]:
    """Return the decision, and the link behind it if there is one."""
    import torch

    from relucidate.frameworks.torch_values import widened

    builder: Builder = lowering.builder
    whole = builder.input(sum(inputs.widths))
    values: dict[Any, Any] = {node: widened(t) for node, t in graph.constants.items() if _reaches(node, nodes)}
    values.update(graph.others)
    starts = np.cumsum([0, *inputs.widths])
    for node, shape, start in zip(graph.inputs, inputs.shapes, starts, strict=False):
        index = np.arange(start, start + prod(shape)).reshape(1, *shape)
        values[node] = builder.select(whole, index)
    value = lowering.run(nodes, values)[last] if last in nodes else values.get(last)
    if isinstance(value, Head):
        if value.form == "complement":
            return builder.scale(value.decision, -1.0), value
        return value.decision, value
    if value is None or isinstance(value, torch.Tensor):
        raise UnsupportedModelError("its output is a constant; there is nothing to unwrap.")
    decision: Expr = lowering.numeric(value)
    return decision, None
