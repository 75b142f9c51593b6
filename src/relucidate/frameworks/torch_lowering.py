"""The graph of a PyTorch module, lowered node by node by the rules for its operators.

A graph is read as the function of one row: its batch axis counts 1. An operator all of whose inputs are constants is run
by PyTorch itself.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from relucidate.errors import ModelError, UnsupportedModelError, clipped
from relucidate.frameworks import (
    torch_rules_affine,
    torch_rules_heads,
    torch_rules_moves,
    torch_rules_pieces,
    torch_rules_windows,
)
from relucidate.frameworks.heads import Head
from relucidate.frameworks.lowering import Builder, Expr
from relucidate.frameworks.torch_refusals import REMEDIES, remedy
from relucidate.frameworks.torch_values import (
    Call,
    Place,
    Rule,
    Step,
    Unread,
    Value,
    jump,
    leaves,
    mapped,
    one_line,
    place_of,
    widened,
)
from relucidate.layers import Activation

RULES: dict[str, Rule] = {
    **torch_rules_moves.RULES,
    **torch_rules_affine.RULES,
    **torch_rules_windows.RULES,
    **torch_rules_pieces.RULES,
    **torch_rules_heads.RULES,
}


@dataclass(eq=False)
class Lowering:
    """Lowers the nodes of one graph in order."""

    builder: Builder = field(default_factory=Builder)
    notes: list[str] = field(default_factory=list)

    def run(self, nodes: Sequence[Any], values: dict[Any, Value]) -> dict[Any, Value]:
        """Return `values` with what each node gives added; what is not needed later is dropped.

        Parameters
        ----------
        nodes : in order, what the wanted node needs and itself as the last.

        Raises
        ------
        ModelError : a node that cannot be lowered, named with its place in the module.
        """
        last_use = {source: node for node in nodes for source in node.all_input_nodes}
        for node in nodes:
            place = place_of(node)
            try:
                values[node] = self._node(node, place, values)
            except ModelError as problem:
                text = str(problem)
                raise type(problem)(
                    text if text.startswith(("'", "forward() of")) else f"{place.label}: {text}"
                ) from None
            except (ValueError, LookupError, TypeError, RuntimeError, NotImplementedError) as problem:
                # RuntimeError is what PyTorch raises of an operator that it is asked to run
                raise UnsupportedModelError(
                    f"{place.label} could not be read: {clipped(one_line(problem), 200)}."
                ) from problem
            for source in node.all_input_nodes:
                if last_use[source] is node:
                    values.pop(source, None)
        return values

    def _node(self, node: Any, place: Place, values: Mapping[Any, Value]) -> Value:
        args, kwargs = _filled(node.args, values), _filled(node.kwargs, values)
        if node.target is operator.getitem:
            return args[0][args[1]]
        schema = getattr(node.target, "_schema", None)
        if schema is None:
            raise UnsupportedModelError(f"{place.label} is not supported. {remedy(place.op)}")
        given = {a.name: a.default_value if a.has_default_value() else None for a in schema.arguments}
        given.update(zip((a.name for a in schema.arguments), args, strict=False))
        given.update(kwargs)
        return self._called(Call(place, node.target, given))

    def _called(self, call: Call) -> Value:
        if call.name.startswith("_assert"):
            return None
        given = list(leaves(call.given))
        for value in given:
            if isinstance(value, Unread):
                raise UnsupportedModelError(value.why)
        is_random = torch.Tag.nondeterministic_seeded in call.target.tags
        constant = not any(isinstance(value, Expr | Step | Head) for value in given)
        rule = RULES.get(call.name) if call.place.op.startswith("aten.") else None
        if is_random and (constant or rule is None) and call.name not in REMEDIES:
            raise UnsupportedModelError(
                f"{call.place.label} draws random numbers, so that the module has no one answer."
            )
        if constant:
            return mapped(call.evaluated(), widened)
        if rule is None:
            raise UnsupportedModelError(f"{call.place.label} is not supported. {remedy(call.name)}")
        for value in given:
            if isinstance(value, Head) and call.name not in torch_rules_heads.TAIL:
                raise value.refusal(call.place.label)
        return rule(self, call)

    # ------------------------------------------------------------ pieces that rules share

    def numeric(self, value: Value) -> Expr:
        """Return a value as an expression."""
        if isinstance(value, Expr):
            return value
        if isinstance(value, torch.Tensor):
            return self.builder.constant(value.double().numpy())
        if isinstance(value, bool | int | float):
            return self.builder.constant(float(value))
        if isinstance(value, Step):
            raise jump(value.label)
        raise UnsupportedModelError(f"a {type(value).__name__} where numbers are needed.")

    def activate(self, value: Value, call: Call, kind: str, *parameters: Any) -> Expr:
        x = self.numeric(value)
        return self.builder.activation(x, Activation.of_kind(kind, x.size, *parameters), call.place.title)


def _filled(args: Any, values: Mapping[Any, Value]) -> Any:
    if isinstance(args, list | tuple):
        return [_filled(a, values) for a in args]
    if isinstance(args, Mapping):
        return {key: _filled(a, values) for key, a in args.items()}
    return values[args] if isinstance(args, torch.fx.Node) else args
