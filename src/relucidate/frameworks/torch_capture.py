"""The graph of a PyTorch module for one row, as torch.export captures it."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.utils._pytree as pytree

from relucidate.errors import ArgumentError, UnsupportedModelError, clipped, shown
from relucidate.frameworks.torch_inputs import TO_ONNX, Inputs, Subject, culprit_of, fault_of
from relucidate.frameworks.torch_values import one_line

_LOGGERS = (
    "torch.fx.experimental.symbolic_shapes",
    "torch._subclasses.fake_tensor",
    "torch.export",
    "torch._export",
    "torch._dynamo",
)


@dataclass(frozen=True, eq=False)
class Captured:
    """The graph of one row.

    Parameters
    ----------
    nodes : that compute something, in order.
    constants : parameters, buffers and tensors that the forward pass made once, in their stored precision.
    inputs : the nodes of the inputs, in the order of `Inputs`. others : inputs that are no tensors, by node.
    outputs : (name, node) of each tensor that is returned; a module that returns one tensor has the name "".
    leaves : position of each output among all that is returned.
    changed : buffers that a run changes.
    """

    nodes: tuple[Any, ...]
    constants: Mapping[Any, Any]
    inputs: tuple[Any, ...]
    others: Mapping[Any, Any]
    outputs: tuple[tuple[str, Any], ...]
    leaves: tuple[int, ...]
    changed: tuple[str, ...] = ()

    def ancestors(self, last: Any) -> list[Any]:
        """Return the nodes that `last` needs, itself included, in order."""
        needed, todo = {last}, [last]
        while todo:
            for source in todo.pop().all_input_nodes:
                if source not in needed:
                    needed.add(source)
                    todo.append(source)
        return [node for node in self.nodes if node in needed]


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep torch.export's own warnings and log records from the user; what it raises says the same."""

    def silent(record: logging.LogRecord) -> bool:
        return False

    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for logger in loggers:
        logger.addFilter(silent)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r".*(LeafSpec|treespec).*")
            warnings.filterwarnings("ignore", module=r"torch(\.|$)")
            yield
    finally:
        for logger in loggers:
            logger.removeFilter(silent)


def captured(subject: Subject, inputs: Inputs) -> Captured:
    """Return the graph of one row.

    Raises
    ------
    UnsupportedModelError : it does not run, or depends on the input in ways that no graph holds.
    """
    fault = fault_of(subject, inputs)
    if fault is not None:
        culprit = culprit_of(subject) if re.search("indices|Long|when training", fault) else None
        if culprit is not None:
            raise culprit
        shapes = ", ".join(f"{name} {shape}" for name, shape in zip(inputs.names, inputs.shapes, strict=True))
        raise ArgumentError(
            f"forward() does not take a row of shape {shapes}: {clipped(fault, 300)}. Give probe= rows, or inputs= the shape "
            "of one row, as forward() takes it."
        )
    args, kwargs = inputs.arguments(inputs.example(subject.dtype))
    with subject.ready() as module, _quietly():
        try:
            program = torch.export.export(module, args, kwargs or None, strict=False)
            if any(_writes(node) for node in program.graph.nodes):
                # turns what is written in place into values, and takes nothing apart
                program = program.run_decompositions({})
        except Exception as problem:  # torch.export raises errors of many kinds
            culprit = culprit_of(subject)
            if culprit is not None:
                raise culprit from None
            raise UnsupportedModelError(
                "forward() cannot be captured as one graph, as it must be where its steps depend on the numbers that enter. "
                f"torch.export says: {clipped(one_line(problem), 300)}. Rewrite that step with torch.where, clamp or relu; "
                f"or export the module with {TO_ONNX} and load the file."
            ) from None
    return _graph(program)


def _writes(node: Any) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and bool(schema.is_mutable)


def _graph(program: Any) -> Captured:
    from torch.export.graph_signature import ConstantArgument, InputKind, OutputKind

    signature = program.graph_signature
    by_name = {node.name: node for node in program.graph.nodes}
    constants: dict[Any, Any] = {}
    inputs, others = [], {}
    for spec in signature.input_specs:
        node = by_name[spec.arg.name]
        if spec.kind is InputKind.USER_INPUT:
            if isinstance(spec.arg, ConstantArgument):
                others[node] = spec.arg.value
            else:
                inputs.append(node)
        elif spec.target in program.state_dict:
            constants[node] = program.state_dict[spec.target]
        else:
            constants[node] = program.constants.get(spec.target)
    names = _output_names(program)
    returned = [spec for spec in signature.output_specs if spec.kind is OutputKind.USER_OUTPUT]
    tensors = [i for i, spec in enumerate(returned) if not isinstance(spec.arg, ConstantArgument)]
    changed = [spec.target for spec in signature.output_specs if spec.kind is OutputKind.BUFFER_MUTATION]
    return Captured(
        tuple(node for node in program.graph.nodes if node.op == "call_function"),
        constants,
        tuple(inputs),
        others,
        tuple((names[i], by_name[returned[i].arg.name]) for i in tensors),
        tuple(tensors),
        tuple(str(name) for name in changed),
    )


def _output_names(program: Any) -> list[str]:
    """Return the position or key of each value that the module returns."""
    spec = program.call_spec.out_spec
    paths, _ = pytree.tree_flatten_with_path(pytree.tree_unflatten(list(range(spec.num_leaves)), spec))
    return [".".join(str(getattr(key, "key", getattr(key, "idx", key))) for key in path) for path, _ in paths]


def chosen_output(graph: Captured, wanted: Any) -> tuple[int, Any]:
    """Return which of the outputs to unwrap, and its node."""
    names = [name for name, _ in graph.outputs]
    if not names:
        raise UnsupportedModelError("forward() returns no tensor.")
    if wanted is None:
        if len(names) == 1:
            return 0, graph.outputs[0][1]
        raise UnsupportedModelError(
            f"forward() returns {len(names)} tensors, {shown(names, 12)}. Give output= the one to unwrap, for example "
            f"output={names[0]!r}."
        )
    if str(wanted) not in names:
        listed = shown(names, 12) if names != [""] else "one tensor, which has no name; leave it out"
        raise ArgumentError(f"output={wanted!r} is none of what forward() returns: {listed}.")
    at = names.index(str(wanted))
    return at, graph.outputs[at][1]
