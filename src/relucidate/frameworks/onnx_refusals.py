"""What is said of operators that are not piecewise linear, and of the functions that exporters write out of several."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from relucidate.frameworks.heads import SMOOTH
from relucidate.frameworks.lowering import Expr
from relucidate.frameworks.onnx_graph import Graph, Node
from relucidate.frameworks.onnx_values import Value

_LABEL = "It gives labels or ranks, not a score; choose the probabilities with output=."
_JUMP = "It jumps, and relucidate unwraps continuous functions; train with ReLU or LeakyReLU instead."
_GATED = (
    "Its gates are products of smooth functions, so no exact local linear models exist; train a feedforward network with "
    "ReLU instead."
)
_ATTENTION = "Attention multiplies values by a softmax of values; train without it."
_NORMALISING = (
    "It divides each row by a scale of its own, which is not piecewise linear; train with BatchNormalization, which folds "
    "into the weights, or without."
)
_REMEDIES = {
    **dict.fromkeys(
        ("Tanh", "Gelu", "Elu", "Selu", "Celu", "Softplus", "Softsign", "Mish", "HardSwish", "Swish", "Erf"), SMOOTH
    ),
    **dict.fromkeys(("Log", "Sqrt", "Pow", "Reciprocal", "Sin", "Cos", "Tan", "ReduceProd", "ReduceLogSumExp"), SMOOTH),
    **dict.fromkeys(("Attention", "MultiHeadAttention", "RotaryEmbedding"), _ATTENTION),
    **dict.fromkeys(
        (
            *("LayerNormalization", "InstanceNormalization", "GroupNormalization", "RMSNormalization", "LRN"),
            *("LpNormalization", "MeanVarianceNormalization", "ReduceL2", "ReduceSumSquare"),
        ),
        _NORMALISING,
    ),
    "Normalizer": "It divides each row by its norm, which is not piecewise linear; train without it.",
    **dict.fromkeys(("LSTM", "GRU", "RNN"), _GATED),
    **dict.fromkeys(("Round", "Floor", "Ceil", "Sign", "Hardmax", "Mod", "Equal"), _JUMP),
    **dict.fromkeys(("ArgMax", "ArgMin", "TopK", "Binarizer"), _LABEL),
    **dict.fromkeys(
        ("Bernoulli", "Multinomial", "RandomNormalLike", "RandomUniformLike"), "Its answers are random; remove it."
    ),
    **dict.fromkeys(
        ("TreeEnsembleClassifier", "TreeEnsembleRegressor", "SVMClassifier", "SVMRegressor"),
        "It is no neural network; relucidate unwraps networks with ReLU.",
    ),
}
_LOOKED_AT = 8  # users of a tensor that are looked at for a message
_READ = "relucidate unwraps networks of affine layers and ReLU, LeakyReLU, PReLU, Clip, Abs, Max or Min."


def unknown(graph: Graph, node: Node, given: Sequence[Value]) -> str:
    """Return what is said of an operator without a rule."""
    quantised = node.op.startswith(("Quantize", "Dequantize", "QLinear", "DynamicQuantize")) or "Integer" in node.op
    remedy = "Export the network before quantisation." if quantised else _REMEDIES.get(node.op, _READ)
    if node.domain not in ("", "ai.onnx.ml") and not quantised:
        remedy = "It belongs to a domain of its own; export the model with the standard operators."
    # behind a hidden layer it may be an afterthought; in front of them it is the network
    after = bool(given) and isinstance(given[0], Expr) and given[0].depth > 0
    part = idiom(graph, node)
    hint = f" If it only treats the network's result further, give output={node.inputs[0]!r}." if after else ""
    return f"{node.label} is not supported. {f'Here it is part of {part}. ' if part else ''}{remedy}{hint}"


def idiom(graph: Graph, node: Node) -> str:
    """Return the name of the function that a node is part of, as exporters write it out, "" if it is none known."""
    for name, is_part in _IDIOMS:
        if is_part(graph, node):
            return name
    return ""


# ---------------------------------------------------------------- the shapes that exporters give to functions


def _maker(graph: Graph, tensor: str) -> Node | None:
    """Return the node that makes a tensor, looking through casts and copies."""
    made = graph.maker.get(tensor)
    while made is not None and made.op in ("Cast", "Identity"):
        made = graph.maker.get(made.inputs[0])
    return made


def _made_by(graph: Graph, node: Node, *ops: str) -> Node | None:
    """Return the first node of these operators that makes an input of `node`."""
    makers = (_maker(graph, name) for name in node.inputs)
    return next((made for made in makers if made is not None and made.op in ops), None)


def _users(graph: Graph, node: Node) -> list[Node]:
    found = [user for name in node.outputs for user in graph.users.get(name, ())[:_LOOKED_AT]]
    return found[:_LOOKED_AT]


def _is_gelu(graph: Graph, node: Node) -> bool:
    """``x / 2 * (1 + erf(x / sqrt 2))``, or with the tanh that approximates it."""
    if node.op == "Erf":
        return any(user.op == "Add" and any(u.op == "Mul" for u in _users(graph, user)) for user in _users(graph, node))
    if node.op == "Pow" and _exponent(graph, node) == 3:
        return any(
            later.op == "Tanh" for a in _users(graph, node) for b in _users(graph, a) for later in _ahead(graph, b)
        )
    return False


def _ahead(graph: Graph, node: Node, steps: int = 3) -> list[Node]:
    found = [node]
    for _ in range(steps):
        found += [user for known in found for user in _users(graph, known) if user not in found]
    return found


def _exponent(graph: Graph, node: Node) -> float | None:
    power = graph.constants.get(node.inputs[1]) if len(node.inputs) > 1 else None
    made = graph.maker.get(node.inputs[1]) if len(node.inputs) > 1 else None
    if power is None and made is not None and made.op == "Constant":
        power = np.asarray(made.attribute("value", made.attribute("value_float", np.nan)))
    return float(power.ravel()[0]) if power is not None and power.size == 1 else None


def _is_silu(graph: Graph, node: Node) -> bool:
    gate = _made_by(graph, node, "Sigmoid") if node.op == "Mul" else None
    return gate is not None and gate.inputs[0] in node.inputs


def _is_gate(graph: Graph, node: Node) -> bool:
    return node.op == "Mul" and _made_by(graph, node, "Sigmoid") is not None


def _is_hard_swish(graph: Graph, node: Node) -> bool:
    """``x * hardsigmoid(x)``, or ``x * clip(x + 3, 0, 6) / 6``."""
    if node.op != "Mul":
        return False
    gate = _made_by(graph, node, "HardSigmoid", "Clip", "Div")
    if gate is not None and gate.op == "Div":
        gate = _made_by(graph, gate, "Clip")
    if gate is None:
        return False
    before = _maker(graph, gate.inputs[0])
    sources = {gate.inputs[0], *(before.inputs if before is not None and before.op == "Add" else ())}
    return bool(sources & set(node.inputs))


def _is_mish(graph: Graph, node: Node) -> bool:
    return node.op == "Softplus" and any(user.op == "Tanh" for user in _users(graph, node))


def _is_layer_normalization(graph: Graph, node: Node) -> bool:
    """``(x - mean) / sqrt(mean((x - mean)**2) + epsilon)``."""
    if node.op == "Mul" and len(set(node.inputs)) > 1:
        return False
    if node.op not in ("Pow", "Mul", "ReduceL2", "ReduceSumSquare"):
        return False
    centred = _made_by(graph, node, "Sub")
    return centred is not None and _made_by(graph, centred, "ReduceMean") is not None


def _is_rms_normalization(graph: Graph, node: Node) -> bool:
    square = (node.op == "Pow" and _exponent(graph, node) == 2) or (node.op == "Mul" and len(set(node.inputs)) == 1)
    return square and any(user.op == "ReduceMean" for user in _users(graph, node))


def _is_attention(graph: Graph, node: Node) -> bool:
    """A softmax of products between values, multiplied by values."""
    if node.op != "MatMul":
        return False
    return not any(name in graph.constants for name in node.inputs)


_IDIOMS = (
    ("GELU", _is_gelu),
    ("SiLU (x · sigmoid x, also called Swish)", _is_silu),
    ("a gate (x · sigmoid y)", _is_gate),
    ("HardSwish", _is_hard_swish),
    ("Mish", _is_mish),
    ("LayerNormalization", _is_layer_normalization),
    ("RMSNormalization", _is_rms_normalization),
    ("attention", _is_attention),
)
