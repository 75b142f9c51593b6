"""An ONNX graph brought, node by node, to affine maps and piecewise-linear activations, or refused by name.

A graph is read as the function of one row: its batch axis counts 1. Whatever the file does with shapes (fixed to a
batch of one, open, flattened through Shape and Gather) is then plain arithmetic on known numbers. That a graph does not
mix rows is not assumed: the network is compared with the graph run on many rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from relucidate.errors import MalformedModelError, ModelError, UnsupportedModelError, clipped
from relucidate.features import Feature, Level
from relucidate.frameworks import (
    onnx_rules_affine,
    onnx_rules_columns,
    onnx_rules_heads,
    onnx_rules_moves,
    onnx_rules_pieces,
)
from relucidate.frameworks.heads import Head
from relucidate.frameworks.lowering import MAX_VALUES, Basis, Builder, Expr, Shape, eye, numbers_in
from relucidate.frameworks.onnx_evaluation import OPERATORS, constant_of
from relucidate.frameworks.onnx_graph import Graph, Node
from relucidate.frameworks.onnx_refusals import idiom, unknown
from relucidate.frameworks.onnx_values import Columns, Mask, Rule, Value
from relucidate.layers import Activation

RULES: dict[tuple[str, str], Rule] = {
    **onnx_rules_affine.RULES,
    **onnx_rules_pieces.RULES,
    **onnx_rules_moves.RULES,
    **onnx_rules_heads.RULES,
    **onnx_rules_columns.RULES,
}
_MAX_HELD, _MAX_MADE, _MAX_VALUES_MADE = 2**22, 2**27, 2**26  # see _Held
# What may take a comparison: only what can make a continuous function of it.
_TAKES_MASKS = frozenset(("Where", "Mul", "Cast", "Not", "And", "Or", "Sub", "Identity", "Shape", "Size"))
_MASKED = (
    "the result of a comparison jumps from 0 to 1; only Where and Mul are read after it, where they make a continuous "
    "function. Train with ReLU or LeakyReLU instead."
)


@dataclass(eq=False)
class Lowering:
    """Lowers the nodes of one graph in order; holds what every tensor is, and the features made on the way."""

    graph: Graph
    columns: tuple[str, ...]
    batch: int | None = None  # a fixed batch size above 1, which reshapes in the file may spell out
    builder: Builder = field(default_factory=Builder)
    blocks: dict[Basis, tuple[Feature, ...]] = field(default_factory=dict)
    known: dict[str, tuple[Level, ...]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    values_made: int = 0  # in all tensors of one row
    _made: dict[Any, Expr] = field(default_factory=dict)

    def run(self, inputs: Mapping[str, Columns], output: str) -> Value:
        """Return what the tensor `output` is.

        Raises
        ------
        ModelError : a node that cannot be lowered, named with its position.
        """
        values: dict[str, Value] = {"": None, **inputs}
        values.update(self.graph.constants)
        nodes = self.graph.ancestors(output)
        last_use = {name: node.position for node in nodes for name in node.inputs}
        held = _Held()
        for node in nodes:
            try:
                for name in node.inputs:
                    if name not in values:
                        raise UnsupportedModelError(f"it takes {clipped(name)}, a side output that is not read.")
                # widened here and not all at once: a refused file must not have cost several times its size
                out = self._node(node, [_widened(values[name]) for name in node.inputs])
                for name, value in zip(node.outputs, out, strict=False):
                    held.add(name, value)
                held.refuse_beyond(self.builder.limit)
            except ModelError as problem:
                raise type(problem)(self._said(node, problem)) from None
            except (ValueError, IndexError, TypeError, OverflowError, ZeroDivisionError) as problem:
                raise MalformedModelError(f"{node.label} does not fit what enters it: {clipped(problem)}.") from problem
            values.update(zip(node.outputs, out, strict=False))
            for name in node.inputs:
                if last_use[name] == node.position and name != output:
                    values.pop(name, None)
                    held.drop(name)
            values.setdefault("", None)
        if output not in values:
            raise MalformedModelError(f"the tensor {clipped(output)} is never made.")
        self.values_made = held.values
        return values[output]

    def _said(self, node: Node, problem: ModelError) -> str:
        """Return a message that names the node, and the function that it is part of where that is known."""
        text = str(problem)
        if text.startswith("node "):
            return text
        part = idiom(self.graph, node) if isinstance(problem, UnsupportedModelError) else ""
        return f"{node.label}: {f'it is part of {part}: ' if part else ''}{text}"

    def _node(self, node: Node, inputs: Sequence[Value]) -> tuple[Value, ...]:
        given = [v for v in inputs if v is not None]
        key = (node.domain, node.op)
        rule = RULES.get(key)
        constant = all(isinstance(v, np.ndarray) for v in given)
        if rule is None and not (constant and key in OPERATORS):
            raise UnsupportedModelError(unknown(self.graph, node, given))
        if constant:
            return tuple(np.asarray(v) for v in constant_of(node, inputs))
        assert rule is not None
        for value in given:
            if isinstance(value, Head) and node.op not in onnx_rules_heads.TAIL:
                part = idiom(self.graph, node)
                raise value.refusal(f"{node.label}, part of {part}," if part else node.label)
            if isinstance(value, Mask) and node.op not in _TAKES_MASKS:
                raise UnsupportedModelError(_MASKED)
        out = rule(self, node, inputs)
        return out if isinstance(out, tuple) else (out,)

    # ------------------------------------------------------------ inputs become features

    def numeric(self, value: Value) -> Expr:
        """Return a value as an expression; raw columns become features."""
        if isinstance(value, Expr):
            return value
        if isinstance(value, np.ndarray):
            if value.dtype.kind not in "fiub":
                raise UnsupportedModelError(f"text ({clipped(list(value.ravel()[:3]))}) where numbers are needed.")
            return self.builder.constant(value)
        if isinstance(value, Mask):
            raise UnsupportedModelError(_MASKED)
        if not isinstance(value, Columns):
            raise UnsupportedModelError(f"a {type(value).__name__} where numbers are needed.")
        if value.kind == "text":
            names = [self.columns[c] for c, _ in value.atoms.ravel()[:3]]
            raise UnsupportedModelError(f"text columns ({', '.join(names)}) enter a computation without an encoder.")
        if value.truncated:
            raise UnsupportedModelError(
                "numbers cut to whole ones enter a computation; that is a staircase, not a piecewise-linear function."
            )
        key = tuple(value.atoms.ravel())
        if key not in self._made:
            made = [Feature(self.columns[c], self.columns[c], "value", (), impute) for c, impute in key]
            self._made[key] = self._block(made, (len(made),))
        return self._made[key].reshaped(value.shape)

    def levels(self, value: Columns, levels: Sequence[Level], refuses_others: bool) -> Expr:
        """Return indicators (…, k) of `levels` in each column of a tensor (…)."""
        key = (tuple(value.atoms.ravel()), tuple(levels))
        if key not in self._made:
            made = []
            for c, impute in value.atoms.ravel():
                column = self.columns[c]
                made += [Feature(f"{column}={level}", column, "level", (level,), impute) for level in levels]
                if refuses_others:
                    self.known[column] = tuple(levels)
            self._made[key] = self._block(made, (len(made),))
            if value.truncated and value.kind == "int":
                names = ", ".join(dict.fromkeys(self.columns[c] for c, _ in value.atoms.ravel()))
                self.notes.append(
                    f"{names}: the file cuts numbers to whole ones before encoding; here only whole numbers are levels"
                )
        return self._made[key].reshaped((*value.shape, len(levels)))

    def _block(self, features: Sequence[Feature], shape: Shape) -> Expr:
        basis = Basis(len(features), "input")
        self.blocks[basis] = tuple(features)
        return Expr({basis: eye(len(features))}, np.zeros(len(features)), shape)

    def is_whole(self, x: Expr) -> bool:
        """Return whether an expression only takes whole numbers: sums of whole multiples of indicators."""
        parts: list[Any] = [x.offset]
        for basis, matrix in x.terms.items():
            if any(f.kind == "value" for f in self.blocks.get(basis, (Feature("", ""),))):
                return False
            parts.append(getattr(matrix, "data", matrix))
        return all((np.asarray(p) == np.rint(p)).all() for p in parts)

    # ------------------------------------------------------------ pieces that rules share

    def activate(self, value: Value, kind: str, node: Node, *parameters: Any) -> Expr:
        """Return an activation of one kind for every value."""
        x = self.numeric(value)
        return self.builder.activation(x, Activation.of_kind(kind, x.size, *parameters), node.title)

    def elementwise(self, a: Value, b: Value) -> tuple[Value, Value, Shape]:
        """Return two operands at one shape; constants stay arrays."""
        a, b = (v if isinstance(v, np.ndarray) else self.numeric(v) for v in (a, b))
        a, b = self._of_one_row(a, b), self._of_one_row(b, a)
        shape = np.broadcast_shapes(a.shape, b.shape)
        if prod(shape) > MAX_VALUES:
            raise UnsupportedModelError(f"a tensor of shape {shape} is more than relucidate takes.")
        a, b = (
            np.broadcast_to(v, shape) if isinstance(v, np.ndarray) else self.builder.broadcast(v, shape) for v in (a, b)
        )
        return a, b, shape

    def _of_one_row(self, value: Value, other: Value) -> Value:
        """Return a constant that a file of a fixed number of rows repeats for each of them, for one row."""
        repeated = (
            self.batch is not None
            and isinstance(value, np.ndarray)
            and isinstance(other, Expr)
            and value.ndim == len(other.shape)
            and value.shape[:1] == (self.batch,)
            and other.shape[:1] == (1,)
        )
        return value[:1] if repeated and (value == value[:1]).all() else value

    def plus(self, a: Value, b: Value) -> Value:
        """Return the sum of two values; of two constants an array."""
        a, b, _ = self.elementwise(a, b)
        if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
            return a + b
        if isinstance(a, np.ndarray):
            a, b = b, a
        return self.builder.shift(a, b) if isinstance(b, np.ndarray) else self.builder.add(a, b)


@dataclass(eq=False)
class _Held:
    """How many numbers the tensors of a graph take that are still needed, and that were made at all.

    A small file can copy a tensor any number of times, and keep the copies for its last node.
    """

    sizes: dict[str, int] = field(default_factory=dict)
    now: int = 0
    ever: int = 0
    values: int = 0

    def add(self, name: str, value: Value) -> None:
        """Count what a node made."""
        if isinstance(value, Expr):
            size = sum(numbers_in(matrix) for matrix in value.terms.values()) + value.size
        else:
            size = value.size if isinstance(value, np.ndarray) else 0
        self.values += prod(getattr(value, "shape", ()))
        self.sizes[name] = size
        self.now += size
        self.ever += size

    def drop(self, name: str) -> None:
        """No longer count what is no longer needed."""
        self.now -= self.sizes.pop(name, 0)

    def refuse_beyond(self, limit: int) -> None:
        """Raise if that is much more than a network that stores `limit` numbers needs."""
        if self.now > _MAX_HELD + limit or self.ever > _MAX_MADE + 16 * limit or self.values > _MAX_VALUES_MADE:
            raise UnsupportedModelError(
                f"the tensors up to here hold {self.now:,} numbers at once and {self.ever:,} in all, many times what the "
                "file holds. It copies tensors again and again; load a smaller part of it with output=."
            )


def _widened(value: Value) -> Value:
    is_float = isinstance(value, np.ndarray) and value.dtype.kind == "f"
    with np.errstate(invalid="ignore"):  # a signalling NaN in a damaged file; the layer that meets it refuses it
        return value.astype(np.float64, copy=False) if is_float else value
