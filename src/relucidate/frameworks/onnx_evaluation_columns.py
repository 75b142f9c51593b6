"""The encoders, imputers and scalers of ai.onnx.ml, evaluated on rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from relucidate.errors import UnsupportedModelError
from relucidate.frameworks.onnx_graph import Node


def _scaler(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    dtype = np.float64 if widen else np.float32
    offset = np.asarray(node.attribute("offset", [0.0]), dtype=dtype)
    return (inputs[0].astype(dtype) - offset) * np.asarray(node.attribute("scale", [1.0]), dtype=dtype)


def _imputer(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    x = inputs[0]
    if x.dtype.kind == "f":
        fill, replaced = node.attribute("imputed_value_floats"), node.attribute("replaced_value_float", 0.0)
    else:
        fill, replaced = node.attribute("imputed_value_int64s"), node.attribute("replaced_value_int64", 0)
    gap = np.isnan(x) if replaced != replaced else x == replaced
    return np.where(gap, np.asarray(fill, dtype=x.dtype), x)


def _one_hot_encoder(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    x = inputs[0]
    levels = node.attribute("cats_strings") or node.attribute("cats_int64s") or []
    cells = x if x.dtype.kind == "O" else x.astype(np.int64)
    out = np.stack([np.asarray(cells == level, dtype=np.float64 if widen else np.float32) for level in levels], axis=-1)
    if not node.attribute("zeros", 1) and not (out.sum(axis=-1) == 1).all():
        raise UnsupportedModelError(f"{node.label} met a level that it does not know.")
    return out


def _label_encoder(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    def of(prefix: str) -> Any:
        for kind in ("strings", "int64s", "floats"):
            if node.attribute(f"{prefix}_{kind}") is not None:
                return kind, node.attribute(f"{prefix}_{kind}")
        return None, None

    _, keys = of("keys")
    kind, values = of("values")
    fallback = node.attribute(
        f"default_{(kind or 'int64s')[:-1]}", {"strings": "_Unused", "floats": -0.0}.get(kind, -1)
    )
    table = dict(zip(keys or [], values or [], strict=True))
    found = [table.get(v, fallback) for v in inputs[0].ravel().tolist()]
    dtype = {"strings": object, "floats": np.float64 if widen else np.float32}.get(kind, np.int64)
    return np.array(found, dtype=dtype).reshape(inputs[0].shape)


def _array_feature_extractor(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    return np.atleast_2d(inputs[0])[..., inputs[1].ravel()]


def _feature_vectorizer(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    return np.concatenate([np.asarray(a, dtype=np.float64 if widen else np.float32) for a in inputs], axis=1)


OPERATORS = {
    ("ai.onnx.ml", name): operator
    for name, operator in {
        "Scaler": _scaler,
        "Imputer": _imputer,
        "OneHotEncoder": _one_hot_encoder,
        "LabelEncoder": _label_encoder,
        "FeatureVectorizer": _feature_vectorizer,
        "ArrayFeatureExtractor": _array_feature_extractor,
        "ZipMap": lambda node, inputs, widen: inputs[0],
    }.items()
}
