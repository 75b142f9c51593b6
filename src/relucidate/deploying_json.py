"""Simplified models as JSON: everything that they are, every number exactly as it is.

The schema ``relucidate.simplified/1``, an object with the members

- ``schema`` : ``"relucidate.simplified/1"``.
- ``method``, ``notes``, ``scores`` : how the models were made, and ``{measure: [theirs, the network's]}``.
- ``link``, ``classes``, ``outputs`` : as in ``relucidate.network/1``.
- ``features`` : ``named``, ``columns``, ``known`` (pairs of a column and its levels) and ``items``, each with ``name``,
  ``column``, ``kind``, ``levels`` and ``impute`` (null for none).
- ``route`` : ``kind`` "rule" with ``splits``, each with ``leaf`` (the one that it divides; rows above go to the leaf of
  the next number), ``direction`` (feature to weight), ``threshold`` and ``gain``, and ``leaves``, each with its ``model``
  and its ``rule`` in words; or ``kind`` "nearest centre" with ``scale`` (feature to number) and ``centres``, each with its
  ``model`` and its ``at``, a number for each feature.
- ``models`` : each with ``count`` and, for each output, ``intercept`` and ``coef``, a number for each feature.

Among levels and classes, null stands for NaN (a missing value) and ``{"infinity": 1}`` or ``{"infinity": -1}`` for an
infinite number.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, get_args

import numpy as np

from relucidate.deploying_model import Deployed, plain
from relucidate.errors import MalformedModelError, UnsupportedModelError, clipped
from relucidate.features import Feature, Features, Level
from relucidate.layers import Floats
from relucidate.network import Link
from relucidate.simplified import ByCentre, ByRule
from relucidate.trees import Tree

SCHEMA = "relucidate.simplified/1"

_ANEW = "The file is damaged; write it anew with relucidate.export."
_KINDS = ("value", "level", "other", "missing")


# ---------------------------------------------------------------- writing


def write(model: Deployed) -> str:
    """Return the text of a JSON file.

    Raises
    ------
    UnsupportedModelError : a class or level is neither text nor a number nor a boolean.
    """
    document = {
        "schema": SCHEMA,
        "method": model.method,
        "notes": list(model.notes),
        "scores": {k: [_score(v) for v in pair] for k, pair in (model.scores or {}).items()},
        "link": model.link,
        "classes": [_label(c) for c in model.classes],
        "outputs": list(model.outputs),
        "features": _features(model.features),
        "route": _rules(model, model.route) if isinstance(model.route, ByRule) else _centres(model, model.route),
        "models": [
            {"count": int(n), "intercept": b.tolist(), "coef": a.tolist()}
            for n, b, a in zip(model.count, model.intercept, model.coef, strict=True)
        ],
    }
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def _score(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _label(value: Any) -> Any:
    level = plain(value)
    if isinstance(level, float) and math.isinf(level):
        return {"infinity": 1 if level > 0 else -1}
    return level


def _features(features: Features) -> dict[str, Any]:
    items = [
        {
            "name": f.name,
            "column": f.column,
            "kind": f.kind,
            "levels": [_label(v) for v in f.levels],
            "impute": _label(f.impute),
        }
        for f in features.items
    ]
    known = [[column, [_label(v) for v in levels]] for column, levels in features.known]
    return {"named": features.named, "columns": list(features.columns), "items": items, "known": known}


def _rules(model: Deployed, route: ByRule) -> dict[str, Any]:
    tree, names = route.tree, model.features.names
    splits = [
        {
            "leaf": int(leaf),
            "direction": {names[j]: float(direction[j]) for j in np.flatnonzero(direction)},
            "threshold": float(threshold),
            "gain": _score(float(gain)),
        }
        for leaf, direction, threshold, gain in zip(tree.leaf, tree.direction, tree.threshold, tree.gain, strict=True)
    ]
    leaves = [{"model": m, "rule": rule} for m, rule, _ in model.segments()]
    return {"kind": "rule", "splits": splits, "leaves": leaves}


def _centres(model: Deployed, route: ByCentre) -> dict[str, Any]:
    centres = [{"model": int(m), "at": at.tolist()} for m, at in zip(route.model, route.centre, strict=True)]
    scale = dict(zip(model.features.names, route.scale.tolist(), strict=True))
    return {"kind": "nearest centre", "scale": scale, "centres": centres}


# ---------------------------------------------------------------- reading


def read(text: str) -> Deployed:
    """Return the models of a JSON file, bit by bit those that were written.

    Raises
    ------
    MalformedModelError : no JSON, damaged, or something missing, of the wrong size or of the wrong kind.
    UnsupportedModelError : a schema of another version.
    """
    document = _document(text)
    try:
        return _model(document)
    except (KeyError, TypeError, ValueError, IndexError, OverflowError, AttributeError) as problem:
        reason = f"lacks {clipped(problem.args[0])}" if isinstance(problem, KeyError) else f"does not fit: {problem}"
        raise MalformedModelError(f"it {reason[:200]}. {_ANEW}") from None


def _document(text: str) -> dict[str, Any]:
    try:
        document = json.loads(text, parse_constant=_constant)
    except (ValueError, RecursionError) as problem:
        raise MalformedModelError(f"it is no JSON: {clipped(problem)}. {_ANEW}") from None
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema == SCHEMA:
        return dict(document)
    if isinstance(schema, str) and schema.startswith(SCHEMA.split("/")[0] + "/"):
        raise UnsupportedModelError(
            f"its schema is {clipped(schema)}; this relucidate reads {SCHEMA!r}. Read it with the version that wrote it, "
            "or update relucidate."
        )
    raise MalformedModelError(
        f"its schema is {clipped(schema)}; expected {SCHEMA!r}. Networks are read with relucidate.load."
    )


def _constant(text: str) -> Any:
    raise ValueError(f"it holds {text}; every number must be finite")


def _model(document: dict[str, Any]) -> Deployed:
    features = _features_read(document["features"])
    models = document["models"]
    intercept = _array([m["intercept"] for m in models], (len(models), -1))
    coef = _array([m["coef"] for m in models], (*intercept.shape, len(features)))
    outputs = tuple(map(_text, document["outputs"]))
    if len(outputs) != intercept.shape[1]:
        raise ValueError(f"{len(outputs)} output names for {intercept.shape[1]} outputs")
    link = document["link"]
    if link not in get_args(Link):
        raise ValueError(f"link is {clipped(link)}")
    route = document["route"]
    if route["kind"] not in ("rule", "nearest centre"):
        raise ValueError(f"route.kind is {clipped(route['kind'])}")
    led = _rules_read(route, features) if route["kind"] == "rule" else _centres_read(route, features)
    if not set(led.model.tolist()) <= set(range(len(models))):
        raise ValueError(f"the route leads to model {led.model.max()}, and there are {len(models)}")
    count = np.array([_whole(m["count"]) for m in models], dtype=np.int64)
    classes = tuple(map(_level, document["classes"]))
    if classes and len(classes) != max(len(outputs), 2):
        raise ValueError(f"{len(classes)} classes for {len(outputs)} outputs")
    scores = {_text(k): (_number(a), _number(b)) for k, (a, b) in document["scores"].items()}
    notes = tuple(map(_text, document["notes"]))
    return Deployed(
        features, link, classes, outputs, led, coef, intercept, count, _text(document["method"]), notes, scores
    )


def _features_read(value: dict[str, Any]) -> Features:
    columns = tuple(map(_text, value["columns"]))
    items = tuple(_feature(item, columns) for item in value["items"])
    if not items:
        raise ValueError("features.items is empty")
    for what, names in (("columns", columns), ("items", [f.name for f in items])):
        if len(set(names)) != len(names):
            raise ValueError(f"features.{what} has a name twice")
    known = tuple((_among(column, columns), tuple(map(_level, levels))) for column, levels in value["known"])
    if not isinstance(value["named"], bool):
        raise ValueError(f"features.named is {clipped(value['named'])}")
    return Features(items, columns, value["named"], known)


def _feature(item: dict[str, Any], columns: Sequence[str]) -> Feature:
    impute = None if item["impute"] is None else _level(item["impute"])
    if item["kind"] == "value" and isinstance(impute, str):
        raise ValueError(f"the number {clipped(impute)} that is imputed is text")
    kind: Any = _among(item["kind"], _KINDS)
    return Feature(
        _text(item["name"]), _among(item["column"], columns), kind, tuple(map(_level, item["levels"])), impute
    )


def _rules_read(route: dict[str, Any], features: Features) -> ByRule:
    splits, leaves = route["splits"], route["leaves"]
    place = {name: j for j, name in enumerate(features.names)}
    direction = np.zeros((len(splits), len(features)))
    for s, split in enumerate(splits):
        if not 0 <= _whole(split["leaf"]) <= s or not split["direction"]:
            raise ValueError(
                f"split {s} divides leaf {split['leaf']} of {s + 1}, along {len(split['direction'])} features"
            )
        for name, weight in split["direction"].items():
            direction[s, place[name]] = _finite(weight)
    if len(leaves) != len(splits) + 1:
        raise ValueError(f"{len(leaves)} leaves of {len(splits)} splits")
    tree = Tree(
        np.array([s["leaf"] for s in splits], dtype=np.intp),
        direction,
        np.array([_finite(s["threshold"]) for s in splits], dtype=np.float64),
        np.array([_number(s["gain"]) for s in splits], dtype=np.float64),
    )
    return ByRule(tree, np.array([_whole(leaf["model"]) for leaf in leaves], dtype=np.intp))


def _centres_read(route: dict[str, Any], features: Features) -> ByCentre:
    centres = route["centres"]
    at = _array([c["at"] for c in centres], (len(centres), len(features)))
    scale = _array([route["scale"][name] for name in features.names], (len(features),))
    if not centres or not (scale > 0).all():
        raise ValueError("route needs centres, and scales above 0")
    return ByCentre(at, scale, np.array([_whole(c["model"]) for c in centres], dtype=np.intp))


# ---------------------------------------------------------------- checked parts


def _array(value: Any, shape: tuple[int, ...]) -> Floats:
    flat = np.array(value, dtype=object).ravel().tolist()
    array = np.array([_finite(v) for v in flat], dtype=np.float64).reshape(shape)
    if np.shape(value) != array.shape or 0 in array.shape[:2]:
        raise ValueError(f"numbers of shape {np.shape(value)} where {shape} was expected")
    return array


def _finite(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{clipped(value)} is no finite number")
    return float(value)


def _number(value: Any) -> float:
    return math.nan if value is None else _finite(value)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise ValueError(f"{clipped(value)} is no whole number from 0")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{clipped(value)} is no text")
    return value


def _among(value: Any, known: Sequence[str]) -> str:
    if value not in known:
        raise ValueError(f"{clipped(value)} is not known")
    return str(value)


def _level(value: Any) -> Level:
    if value is None:
        return math.nan
    if isinstance(value, dict):
        if list(value) != ["infinity"] or value["infinity"] not in (1, -1):
            raise ValueError(f"{clipped(value)} is no level")
        return math.copysign(math.inf, value["infinity"])
    if not isinstance(value, str | bool | int | float):
        raise ValueError(f"{clipped(value)} is no level")
    return value
