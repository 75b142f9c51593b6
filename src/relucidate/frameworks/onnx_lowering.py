"""The operators of ONNX, each brought to affine maps and piecewise-linear activations, or refused by name.

A graph is read as the function of one row: its batch axis counts 1. Whatever the file does with shapes (fixed to a
batch of one, open, flattened through Shape and Gather) is then plain arithmetic on known numbers. That a graph does not
mix rows is not assumed: the network is compared with the graph run on many rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import prod
from typing import Any, Literal

import numpy as np
from scipy import sparse

from relucidate.errors import MalformedModelError, ModelError, UnsupportedModelError, clipped
from relucidate.features import Feature, Level
from relucidate.frameworks import operators
from relucidate.frameworks.heads import SMOOTH, Head, refuse_unless_one_distribution
from relucidate.frameworks.lowering import MAX_VALUES, Basis, Builder, Expr, Shape, eye
from relucidate.frameworks.onnx_evaluation import OPERATORS, constant_of, evaluate_node
from relucidate.frameworks.onnx_graph import FLOATS, INTEGERS, Array, Graph, Node
from relucidate.layers import Activation
from relucidate.network import Link

MAX_COLUMNS = 2**18


@dataclass(frozen=True, eq=False)
class Columns:
    """Input columns that nothing was computed from yet: what encoders and imputers take.

    Parameters
    ----------
    atoms : (column, what takes the place of a missing value or None), as the tensor is shaped.
    kind : of the cells.
    truncated : cast from float to a whole number, which is no affine map unless an encoder follows.
    """

    atoms: np.ndarray[Any, Any]
    kind: Literal["float", "int", "text"]
    truncated: bool = False

    @property
    def shape(self) -> Shape:
        return self.atoms.shape

    def __post_init__(self) -> None:
        if self.atoms.size > MAX_COLUMNS:
            raise UnsupportedModelError(f"{self.atoms.size:,} inputs are more than relucidate takes ({MAX_COLUMNS:,}).")


Value = Any  # Array | Expr | Columns | Head
_Rule = Callable[["Lowering", Node, Sequence[Value]], Any]


@dataclass(eq=False)
class Lowering:
    """Lowers the nodes of one graph in order; holds what every tensor is, and the features made on the way."""

    columns: tuple[str, ...]
    batch: int | None = None  # a fixed batch size above 1, which reshapes in the file may spell out
    builder: Builder = field(default_factory=Builder)
    blocks: dict[Basis, tuple[Feature, ...]] = field(default_factory=dict)
    known: dict[str, tuple[Level, ...]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    _made: dict[Any, Expr] = field(default_factory=dict)

    def run(self, graph: Graph, inputs: Mapping[str, Columns], output: str) -> Value:
        """Return what the tensor `output` is.

        Raises
        ------
        ModelError : a node that cannot be lowered, named with its position.
        """
        values: dict[str, Value] = {"": None, **inputs}
        values.update(graph.constants)
        nodes = graph.ancestors(output)
        last_use = {name: node.position for node in nodes for name in node.inputs}
        for node in nodes:
            try:
                for name in node.inputs:
                    if name not in values:
                        raise UnsupportedModelError(f"it takes {clipped(name)}, a side output that is not read.")
                # widened here and not all at once: a refused file must not have cost several times its size
                out = self._node(node, [_widened(values[name]) for name in node.inputs])
            except ModelError as problem:
                text = str(problem)
                raise type(problem)(text if text.startswith("node ") else f"{node.label}: {text}") from None
            except (ValueError, IndexError, TypeError, OverflowError, ZeroDivisionError) as problem:
                raise MalformedModelError(f"{node.label} does not fit what enters it: {clipped(problem)}.") from problem
            values.update(zip(node.outputs, out, strict=False))
            for name in node.inputs:
                if last_use[name] == node.position and name != output:
                    values.pop(name, None)
            values.setdefault("", None)
        if output not in values:
            raise MalformedModelError(f"the tensor {clipped(output)} is never made.")
        return values[output]

    def _node(self, node: Node, inputs: Sequence[Value]) -> tuple[Value, ...]:
        given = [v for v in inputs if v is not None]
        key = (node.domain, node.op)
        rule = RULES.get(key)
        constant = all(isinstance(v, np.ndarray) for v in given)
        if rule is None and not (constant and key in OPERATORS):
            raise UnsupportedModelError(_unknown(node, given))
        if constant:
            return tuple(np.asarray(v) for v in constant_of(node, inputs))
        assert rule is not None
        for value in given:
            if isinstance(value, Head) and node.op not in _TAIL:
                raise value.refusal(node.label)
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
        x = self.numeric(value)
        return self.builder.activation(x, Activation.of_kind(kind, x.size, *parameters), node.title)


def _widened(value: Value) -> Value:
    is_float = isinstance(value, np.ndarray) and value.dtype.kind == "f"
    with np.errstate(invalid="ignore"):  # a signalling NaN in a damaged file; the layer that meets it refuses it
        return value.astype(np.float64, copy=False) if is_float else value


def _unknown(node: Node, given: Sequence[Value]) -> str:
    quantised = node.op.startswith(("Quantize", "Dequantize", "QLinear", "DynamicQuantize")) or "Integer" in node.op
    remedy = "Export the network before quantisation." if quantised else _REMEDIES.get(node.op)
    if remedy is None:
        remedy = "relucidate unwraps networks of affine layers and ReLU, LeakyReLU, PReLU, Clip, Abs, Max or Min."
    if node.domain not in ("", "ai.onnx.ml"):
        remedy = "It belongs to a domain of its own; export the model with the standard operators."
    # behind a hidden layer it may be an afterthought; in front of them it is the network
    after = bool(given) and isinstance(given[0], Expr) and given[0].depth > 0
    hint = f" If it only treats the network's result further, give output={node.inputs[0]!r}." if after else ""
    return f"{node.label} is not supported. {remedy}{hint}"


_LABEL = "It gives labels or ranks, not a score; choose the probabilities with output=."
_REMEDIES = {
    **dict.fromkeys(
        ("Tanh", "Gelu", "Elu", "Selu", "Celu", "Softplus", "Softsign", "Mish", "HardSwish", "Erf"), SMOOTH
    ),
    **dict.fromkeys(("Log", "Sqrt", "Pow", "Reciprocal", "Sin", "Cos", "LayerNormalization"), SMOOTH),
    **dict.fromkeys(("Attention", "MultiHeadAttention", "InstanceNormalization", "LpNormalization"), SMOOTH),
    "Normalizer": "It divides each row by its norm, which is not piecewise linear; train without it.",
    **dict.fromkeys(("ArgMax", "ArgMin", "TopK", "Binarizer"), _LABEL),
    **dict.fromkeys(
        ("Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"),
        "Convolutions and pooling are not read yet.",
    ),
}


# ---------------------------------------------------------------- rules


def _elementwise(low: Lowering, a: Value, b: Value) -> tuple[Value, Value, Shape]:
    """Return two operands at one shape; constants stay arrays."""
    a, b = (v if isinstance(v, np.ndarray) else low.numeric(v) for v in (a, b))
    shape = np.broadcast_shapes(a.shape, b.shape)
    if prod(shape) > MAX_VALUES:
        raise UnsupportedModelError(f"a tensor of shape {shape} is more than relucidate takes.")
    a, b = (np.broadcast_to(v, shape) if isinstance(v, np.ndarray) else low.builder.broadcast(v, shape) for v in (a, b))
    return a, b, shape


def _legacy_broadcast(node: Node, inputs: Sequence[Value]) -> Sequence[Value]:
    """Opset 6 and older aligned the second operand at `axis`; refuse what numpy would align otherwise."""
    if node.version and node.version < 7 and node.attribute("broadcast", 0) and node.attribute("axis") is not None:
        raise UnsupportedModelError("broadcasting along an axis, as opset 6 had it; use onnx.version_converter.")
    return inputs


def _add(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    inputs = _legacy_broadcast(node, inputs)
    out = inputs[0]
    for other in inputs[1:]:
        out = _plus(low, out, other)
    return out if not isinstance(out, Columns) else low.numeric(out)


def _plus(low: Lowering, a: Value, b: Value) -> Value:
    a, b, _ = _elementwise(low, a, b)
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a + b
    if isinstance(a, np.ndarray):
        a, b = b, a
    return low.builder.shift(a, b) if isinstance(b, np.ndarray) else low.builder.add(a, b)


def _sub(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    first, second = _legacy_broadcast(node, inputs)
    if isinstance(second, Head):
        if second.link == "logit" and second.form == "whole" and isinstance(first, np.ndarray) and (first == 1).all():
            return replace(second, form="complement")
        raise UnsupportedModelError(f"only 1 - p is read after {second.label}.")
    if isinstance(first, Head):
        raise UnsupportedModelError(f"a difference after {first.label} is not read.")
    a, b, _ = _elementwise(low, first, second)
    if isinstance(b, np.ndarray):
        return low.builder.shift(a, -b)
    if isinstance(a, np.ndarray):
        return low.builder.shift(low.builder.scale(b, -1.0), a)
    return low.builder.subtract(a, b)


def _mul(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    a, b, _ = _elementwise(low, *_legacy_broadcast(node, inputs))
    if isinstance(a, np.ndarray):
        a, b = b, a
    if not isinstance(b, np.ndarray):
        raise UnsupportedModelError(
            "a product of two tensors that both depend on the input is not piecewise linear (gates, attention)."
        )
    return low.builder.scale(a, b)


def _div(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    a, b, _ = _elementwise(low, *_legacy_broadcast(node, inputs))
    if not isinstance(b, np.ndarray):
        raise UnsupportedModelError("a division by something that depends on the input is not piecewise linear.")
    if (b == 0).any():
        raise MalformedModelError("a division by 0.")
    return low.builder.scale(a, 1.0 / b.astype(np.float64))


def _matmul(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    return _product(low, inputs[0], inputs[1])


def _product(low: Lowering, a: Value, b: Value) -> Expr:
    if isinstance(b, np.ndarray):
        return _times_right(low, low.numeric(a), _as_matrix(b))
    if isinstance(a, np.ndarray):
        x = low.numeric(b)
        transposed = low.builder.moved(x, lambda i: np.swapaxes(i, -1, -2)) if len(x.shape) > 1 else x
        out = _times_right(low, transposed, _as_matrix(a).T)
        return low.builder.moved(out, lambda i: np.swapaxes(i, -1, -2)) if len(x.shape) > 1 else out
    raise UnsupportedModelError(
        "a matrix product of two tensors that both depend on the input is not piecewise linear (attention)."
    )


def _as_matrix(weight: Array) -> Array:
    if weight.ndim < 2 or prod(weight.shape[:-2]) != 1:
        raise UnsupportedModelError(f"a product with a weight of shape {weight.shape}; relucidate reads matrices.")
    return weight.reshape(weight.shape[-2:]).astype(np.float64, copy=False)


def _times_right(low: Lowering, x: Expr, weight: Array) -> Expr:
    """Return x (…, k) @ weight (k, m)."""
    k, m = weight.shape
    if x.shape[-1:] != (k,):
        raise MalformedModelError(f"a tensor of shape {x.shape} cannot meet a weight of shape {weight.shape}.")
    repeats = x.size // k if k else 0
    low.builder.afford(repeats * weight.size)
    full: Any = weight.T if repeats == 1 else sparse.csr_array(sparse.kron(sparse.eye_array(repeats), weight.T, "csr"))
    return low.builder.affine(x, full, None, (*x.shape[:-1], m))


def _gemm(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    a, b, c = (*inputs, None)[:3]
    a, b = (_transposed(low, v) if node.attribute(flag, 0) else v for v, flag in ((a, "transA"), (b, "transB")))
    out = low.builder.scale(_product(low, a, b), node.attribute("alpha", 1.0))
    if c is None or node.attribute("beta", 1.0) == 0:
        return out
    if isinstance(c, np.ndarray):
        beta = node.attribute("beta", 1.0)
        return _plus(low, out, c if beta == 1 else c * beta)
    return _plus(low, out, low.builder.scale(low.numeric(c), node.attribute("beta", 1.0)))


def _transposed(low: Lowering, value: Value) -> Value:
    return value.T if isinstance(value, np.ndarray) else low.builder.moved(low.numeric(value), np.transpose)


def _relu(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    return low.activate(inputs[0], "relu", node)


def _leaky_relu(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    return low.activate(inputs[0], "leaky_relu", node, float(node.attribute("alpha", 0.01)))


def _prelu(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    x = low.numeric(inputs[0])
    if not isinstance(inputs[1], np.ndarray):
        raise UnsupportedModelError("a slope that depends on the input is not piecewise linear.")
    return low.activate(x, "leaky_relu", node, np.broadcast_to(inputs[1], x.shape).ravel())


def _abs(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    return low.activate(inputs[0], "abs", node)


def _clip(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    x, bottom, top = (*inputs, None, None)[:3]
    bottom = node.attribute("min", -np.inf) if bottom is None else bottom
    top = node.attribute("max", np.inf) if top is None else top
    if isinstance(bottom, Expr | Columns) or isinstance(top, Expr | Columns):
        raise UnsupportedModelError("limits that depend on the input; write Max and Min instead.")
    return operators.clip(low.builder, low.numeric(x), bottom, top, node.title)


def _hard_sigmoid(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    slope, offset = node.attribute("alpha", 0.2), node.attribute("beta", 0.5)
    return operators.hard_sigmoid(low.builder, low.numeric(inputs[0]), slope, offset, node.title)


def _extreme(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    largest = node.op == "Max"
    out = inputs[0]
    for other in inputs[1:]:
        a, b, _ = _elementwise(low, out, other)
        if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
            out = np.maximum(a, b) if largest else np.minimum(a, b)
        elif isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
            x, limit = (b, a) if isinstance(a, np.ndarray) else (a, b)
            bottom, top = (limit, np.inf) if largest else (-np.inf, limit)
            out = operators.clip(low.builder, x, bottom, top, node.title)
        else:
            out = (low.builder.maximum if largest else low.builder.minimum)(a, b, node.title)
    return low.numeric(out)


def _batch_normalization(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    if node.attribute("training_mode", 0) or (node.version < 7 and not node.attribute("is_test", 0)):
        raise UnsupportedModelError(
            "it is in training mode, where the answer for a row depends on the other rows. Export the model in "
            "evaluation mode (model.eval())."
        )
    if node.version < 9 and not node.attribute("spatial", 1):
        raise UnsupportedModelError("spatial=0 is not read; convert the model to a newer opset.")
    x = low.numeric(inputs[0])
    if not all(isinstance(v, np.ndarray) for v in inputs[1:5]):
        raise UnsupportedModelError("its parameters depend on the input.")
    scale, shift, mean, variance = inputs[1:5]
    epsilon = node.attribute("epsilon", 1e-5)
    return operators.batch_normalization(low.builder, x, scale, shift, mean, variance, epsilon)


def _dropout(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    training = (*inputs, None, None)[2]
    if training is not None and not (isinstance(training, np.ndarray) and not training.any()):
        raise UnsupportedModelError(
            "it is in training mode, where answers are random. Export the model in evaluation mode (model.eval())."
        )
    return inputs[0]


def _cast(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    x, kind = inputs[0], node.attribute("to")
    if isinstance(x, Columns):
        if kind in FLOATS and x.kind != "text" and not x.truncated:
            return replace(x, kind="float")
        if kind in INTEGERS and x.kind != "text":
            return replace(x, kind="int", truncated=x.truncated or x.kind == "float")
        if (kind == 8) == (x.kind == "text"):
            return x
        raise UnsupportedModelError("a cast between numbers and text is not read; encode the column before the export.")
    if kind == 10:
        raise UnsupportedModelError("a cast to half precision rounds, which is no piecewise-linear function.")
    if kind not in FLOATS and not (isinstance(x, Expr) and kind in INTEGERS and low.is_whole(x)):
        raise UnsupportedModelError("a cast to whole numbers is a staircase, not a piecewise-linear function.")
    return x


def _move(how: Callable[[Lowering, Node, Sequence[Value]], Callable[[Any], Any]]) -> _Rule:
    """Return the rule of an operator that only moves values about."""

    def rule(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
        x = inputs[0]
        if not all(v is None or isinstance(v, np.ndarray) for v in inputs[1:]):
            raise UnsupportedModelError("where to take values from depends on the input; only constants are read.")
        move = how(low, node, inputs)
        if node.op == "Expand" and prod(np.broadcast_shapes(x.shape, tuple(inputs[1].tolist()))) > MAX_COLUMNS:
            raise UnsupportedModelError(f"an expansion to {inputs[1].tolist()} is more than relucidate takes.")
        if isinstance(x, Columns):
            return replace(x, atoms=move(x.atoms))
        if isinstance(x, Expr):
            return low.builder.moved(x, move)
        size = prod(x.shape)
        index = move(np.arange(size).reshape(x.shape))
        if not (index.size == size and (index.ravel() == np.arange(size)).all()):
            raise UnsupportedModelError(f"what {x.label} gives is taken apart; choose it whole with output=.")
        return replace(x, shape=index.shape)

    return rule


def _as_evaluated(low: Lowering, node: Node, inputs: Sequence[Value]) -> Callable[[Any], Any]:
    return lambda array: evaluate_node(node, [array, *inputs[1:]], widen=True)[0]


def _reshape(low: Lowering, node: Node, inputs: Sequence[Value]) -> Callable[[Any], Any]:
    def move(array: Any) -> Any:
        wanted = node.attribute("shape") if len(inputs) < 2 else inputs[1].tolist()
        if low.batch and wanted and wanted[0] == low.batch and array.shape[:1] == (1,):
            wanted = [1, *wanted[1:]]
        if not node.attribute("allowzero", 0):
            wanted = [array.shape[i] if s == 0 else s for i, s in enumerate(wanted)]
        return array.reshape(wanted)

    return move


def _split(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    x = inputs[0] if isinstance(inputs[0], Columns) else low.numeric(inputs[0])
    parts = range(len(node.outputs))
    if not all(v is None or isinstance(v, np.ndarray) for v in inputs[1:]):
        raise UnsupportedModelError("where to split depends on the input; only constants are read.")

    def part(array: Any, i: int) -> Any:
        return evaluate_node(node, [array, *inputs[1:]], widen=True)[i]

    if isinstance(x, Columns):
        return tuple(replace(x, atoms=part(x.atoms, i)) for i in parts)
    return tuple(low.builder.moved(x, partial(part, i=i)) for i in parts)


def _concat(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    axis = node.attribute("axis", 1)
    if any(isinstance(v, Head) for v in inputs):
        return _pair(node, inputs)
    if all(isinstance(v, Columns) for v in inputs) and len({(v.kind, v.truncated) for v in inputs}) == 1:
        if sum(v.atoms.size for v in inputs) > MAX_COLUMNS:
            raise UnsupportedModelError(f"columns are repeated more than {MAX_COLUMNS:,} times.")
        return replace(inputs[0], atoms=np.concatenate([v.atoms for v in inputs], axis=axis))
    return low.builder.concat([low.numeric(v) for v in inputs], axis)


def _pair(node: Node, inputs: Sequence[Value]) -> Head:
    forms = [v.form if isinstance(v, Head) else "" for v in inputs]
    if forms != ["complement", "whole"] or inputs[0].decision is not inputs[1].decision:
        raise UnsupportedModelError("of probabilities only (1 - p, p) is joined; choose an output before this node.")
    p = inputs[1]
    if p.decision.size != 1:
        raise UnsupportedModelError(
            f"it joins 1 - p and p for {p.decision.size} labels at once, which is no distribution over classes. Give "
            f"output={node.inputs[1]!r} to unwrap the {p.decision.size} labels side by side."
        )
    return replace(p, form="pair", shape=(1, 2))


def _head(link: Link, log: bool = False) -> _Rule:
    def rule(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
        x = low.numeric(inputs[0])
        if link == "softmax":
            axis = node.attribute("axis", -1 if node.version >= 13 else 1)
            axis = axis + len(x.shape) if axis < 0 else axis
            axes = (axis,) if node.version >= 13 else tuple(range(axis, len(x.shape)))
            refuse_unless_one_distribution(x, axes)
        return Head(x, link, node.label, node.op, node.inputs[0], log=log, shape=x.shape)

    return rule


def _zip_map(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    labels = tuple(node.attribute("classlabels_int64s") or node.attribute("classlabels_strings") or ())
    if not isinstance(inputs[0], Head):
        raise UnsupportedModelError(f"it names scores that are no probabilities; give output={node.inputs[0]!r}.")
    return replace(inputs[0], classes=labels)


def _scaler(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    x = low.numeric(inputs[0])
    offset = np.asarray(node.attribute("offset", [0.0]), dtype=np.float64)
    scale = np.asarray(node.attribute("scale", [1.0]), dtype=np.float64)
    return low.builder.scale(low.builder.shift(x, -offset), scale)


def _imputer(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    x = inputs[0]
    if not isinstance(x, Columns) or x.truncated or any(impute is not None for _, impute in x.atoms.ravel()):
        raise UnsupportedModelError("an imputer is only read directly after the input.")
    replaced = node.attribute("replaced_value_float" if x.kind == "float" else "replaced_value_int64", 0)
    if replaced == replaced:
        raise UnsupportedModelError(
            f"it replaces the value {replaced}, which is a jump, not a piecewise-linear function; only missing values "
            "(NaN) can be imputed."
        )
    fill = node.attribute("imputed_value_floats") or node.attribute("imputed_value_int64s") or []
    fill = np.broadcast_to(np.asarray(fill, dtype=np.float64), x.shape).ravel()
    return replace(x, atoms=_atoms([(c, float(v)) for (c, _), v in zip(x.atoms.ravel(), fill, strict=True)], x.shape))


def _atoms(items: Sequence[tuple[int, Any]], shape: Shape) -> np.ndarray[Any, Any]:
    out = np.empty(len(items), dtype=object)
    out[:] = items
    return out.reshape(shape)


def raw_columns(first: int, shape: Shape, kind: Literal["float", "int", "text"]) -> Columns:
    """Return the tensor of an input of one row, its columns numbered from `first`."""
    if prod(shape) > MAX_COLUMNS:
        raise UnsupportedModelError(f"an input of shape {shape} has more than {MAX_COLUMNS:,} values.")
    return Columns(_atoms([(first + i, None) for i in range(prod(shape))], shape), kind)


def _one_hot_encoder(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    x = inputs[0]
    text, whole = node.attribute("cats_strings") or [], node.attribute("cats_int64s") or []
    if not isinstance(x, Columns) or (x.kind == "text") != bool(text):
        raise UnsupportedModelError("an encoder is only read directly after input columns of its own type.")
    if x.kind == "float":
        x = replace(x, kind="int", truncated=True)
    return low.levels(x, text or whole, not node.attribute("zeros", 1))


def _label_encoder(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    x = inputs[0]
    keys = node.attribute("keys_strings") or node.attribute("keys_int64s") or []
    values = node.attribute("values_int64s") or node.attribute("values_floats") or []
    fits = keys and len(keys) == len(values) and isinstance(x, Columns)
    if not fits or (x.kind == "text") != isinstance(keys[0], str):
        raise UnsupportedModelError("a label encoder is only read where it turns an input column into numbers.")
    if x.kind == "float":
        x = replace(x, kind="int", truncated=True)
    indicators = low.levels(x, keys, refuses_others=True)
    n = prod(x.shape)
    weight = sparse.csr_array(sparse.kron(sparse.eye_array(n), np.asarray(values, dtype=np.float64)[None, :], "csr"))
    return low.builder.affine(indicators, weight, None, x.shape)


def _array_feature_extractor(low: Lowering, node: Node, inputs: Sequence[Value]) -> Callable[[Any], Any]:
    return lambda array: np.atleast_2d(array)[..., inputs[1].ravel()]


def _shape(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    return np.array(inputs[0].shape[node.attribute("start", 0) : node.attribute("end")], dtype=np.int64)


def _same(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    return inputs[0]


def _neg(low: Lowering, node: Node, inputs: Sequence[Value]) -> Value:
    return low.builder.scale(low.numeric(inputs[0]), -1.0)


# Operators that may follow the link at the end.
_TAIL = frozenset(
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

RULES: dict[tuple[str, str], _Rule] = {
    **{
        ("", name): rule
        for name, rule in {
            "Add": _add,
            "Sum": _add,
            "Sub": _sub,
            "Mul": _mul,
            "Div": _div,
            "Neg": _neg,
            "MatMul": _matmul,
            "Gemm": _gemm,
            "Relu": _relu,
            "LeakyRelu": _leaky_relu,
            "PRelu": _prelu,
            "Abs": _abs,
            "Clip": _clip,
            "HardSigmoid": _hard_sigmoid,
            "Max": _extreme,
            "Min": _extreme,
            "BatchNormalization": _batch_normalization,
            "Dropout": _dropout,
            "Identity": _same,
            "Cast": _cast,
            "Flatten": _move(_as_evaluated),
            "Reshape": _move(_reshape),
            "Squeeze": _move(_as_evaluated),
            "Unsqueeze": _move(_as_evaluated),
            "Transpose": _move(_as_evaluated),
            "Gather": _move(_as_evaluated),
            "Slice": _move(_as_evaluated),
            "Expand": _move(_as_evaluated),
            "Split": _split,
            "Concat": _concat,
            "Shape": _shape,
            "Sigmoid": _head("logit"),
            "Softmax": _head("softmax"),
            "LogSoftmax": _head("softmax", log=True),
            "Exp": _head("log"),
        }.items()
    },
    **{
        ("ai.onnx.ml", name): rule
        for name, rule in {
            "Scaler": _scaler,
            "Imputer": _imputer,
            "OneHotEncoder": _one_hot_encoder,
            "LabelEncoder": _label_encoder,
            "FeatureVectorizer": _concat,
            "ArrayFeatureExtractor": _move(_array_feature_extractor),
            "ZipMap": _zip_map,
        }.items()
    },
}
