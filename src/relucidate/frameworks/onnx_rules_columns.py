"""The encoders, imputers and scalers of ai.onnx.ml, which stand between the columns of a table and a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from relucidate.errors import UnsupportedModelError
from relucidate.frameworks.onnx_graph import Node
from relucidate.frameworks.onnx_rules_moves import concat, move
from relucidate.frameworks.onnx_values import Columns, Rule, Value, atoms

if TYPE_CHECKING:
    from relucidate.frameworks.onnx_lowering import Lowering


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
    return replace(x, atoms=atoms([(c, float(v)) for (c, _), v in zip(x.atoms.ravel(), fill, strict=True)], x.shape))


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


RULES: dict[tuple[str, str], Rule] = {
    ("ai.onnx.ml", name): rule
    for name, rule in {
        "Scaler": _scaler,
        "Imputer": _imputer,
        "OneHotEncoder": _one_hot_encoder,
        "LabelEncoder": _label_encoder,
        "FeatureVectorizer": concat,
        "ArrayFeatureExtractor": move(_array_feature_extractor),
    }.items()
}
