"""The perceptron at the end of an estimator: how it is found, and the layers, link and classes that it has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from relucidate.errors import ModelError, UnsupportedModelError, clipped, shown
from relucidate.features import Features
from relucidate.frameworks.sklearn_columns import Cell, Columns, First, Front, scalar
from relucidate.frameworks.sklearn_steps import followed, name_of, passes, refuse_unfitted, sklearn_class
from relucidate.layers import Activation, Floats, Layer
from relucidate.network import Link


@dataclass(frozen=True, eq=False)
class Head:
    """The perceptron, what enters it, and the scaling of its target: ``y = output * scale + shift``."""

    mlp: Any
    cells: list[Cell]
    scale: Any = 1.0
    shift: Any = 0.0
    notes: tuple[str, ...] = ()


_SEARCHES = ("GridSearchCV", "RandomizedSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV")
_WRAPPERS = {
    "FrozenEstimator": "estimator",
    "FixedThresholdClassifier": "estimator_",
    "TunedThresholdClassifierCV": "estimator_",
}


def wrapped(model: Any, where: str) -> Any:
    """Return the estimator that a search or a wrapper hands its table to; None if `model` is neither."""
    kind = sklearn_class(type(model))
    if kind in _SEARCHES:
        if not model.refit:
            raise ModelError(
                f"{where} was fitted with refit=False, so that it holds no best estimator. Fit with refit=True."
            )
        refuse_unfitted(model, where)
        return model.best_estimator_
    if kind in _WRAPPERS:
        refuse_unfitted(model, where)
        return getattr(model, _WRAPPERS[kind], model.estimator)
    return None


def head_of(model: Any, cells: list[Cell], front: Front, where: str) -> Head:
    """Return the perceptron at the end of an estimator, and what reaches it."""
    kind = sklearn_class(type(model))
    inner = wrapped(model, where)
    if inner is not None:
        head = head_of(inner, cells, front, f"{where} > {type(inner).__name__}")
        note = {
            "FrozenEstimator": "FrozenEstimator: the estimator inside was read",
            "FixedThresholdClassifier": "FixedThresholdClassifier: its threshold is not part of the network",
            "TunedThresholdClassifierCV": "TunedThresholdClassifierCV: its threshold is not part of the network",
        }.get(kind or "", f"{kind}: best_estimator_ was read")
        return replace(head, notes=(note, *head.notes))
    if kind == "Pipeline":
        for i, (name, step) in enumerate(model.steps[:-1]):
            cells = followed(step, cells, front, f"{where} step {i} {name!r}")
        name, last = model.steps[-1]
        if passes(last):
            raise UnsupportedModelError(
                f"{where} ends in {last!r}; expected MLPClassifier or MLPRegressor as the last step."
            )
        return head_of(last, cells, front, f"{where} step {len(model.steps) - 1} {name!r}: {type(last).__name__}")
    if kind == "TransformedTargetRegressor":
        return _transformed_target(model, cells, front, where)
    if kind in ("MLPClassifier", "MLPRegressor"):
        return _perceptron(model, cells, front, where)
    hint = {
        "CalibratedClassifierCV": " Calibration bends the probabilities; pass the classifier inside it.",
    }.get(kind or "", "")
    raise UnsupportedModelError(
        f"{where} is not a ReLU network; expected MLPClassifier or MLPRegressor, alone or as the last step of a "
        f"Pipeline, in a TransformedTargetRegressor, or in a search.{hint}"
    )


def _perceptron(model: Any, cells: list[Cell], front: Front, where: str) -> Head:
    if not hasattr(model, "coefs_"):
        raise ModelError(f"{where} is not fitted: it holds no weights yet. Call fit(X, y) before loading it.")
    n_hidden = len(model.coefs_) - 1
    if model.activation not in ("relu", "identity") and n_hidden:
        raise UnsupportedModelError(
            f"{where} has {n_hidden} hidden layers (widths {shown([len(b) for b in model.intercepts_[:-1]], 10)}) with "
            f"activation={model.activation!r}, which is not piecewise linear; expected 'relu' or 'identity'. Train it "
            "with activation='relu'."
        )
    if len(cells) != model.coefs_[0].shape[0]:
        raise ModelError(
            f"{where} was fitted on {model.coefs_[0].shape[0]} columns, but {len(cells)} reach it. Fit the whole "
            "pipeline at once."
        )
    kind = sklearn_class(type(model)) or type(model).__name__
    front.operators[kind] = 1
    return Head(model, cells)


def _transformed_target(model: Any, cells: list[Cell], front: Front, where: str) -> Head:
    if not hasattr(model, "regressor_"):
        raise ModelError(f"{where} is not fitted: it holds no weights yet. Call fit(X, y) before loading it.")
    inner = model.regressor_
    head = head_of(inner, cells, front, f"{where}: regressor {type(inner).__name__}")
    scale, shift = _inverse(model.transformer_, where)
    if np.ndim(scale) == 0 and scale == 1 and np.ndim(shift) == 0 and shift == 0:
        return head
    if link_of(head.mlp) != "identity":
        raise UnsupportedModelError(
            f"{where} scales a target that the regressor models through a log link. Pass the regressor inside it "
            "(model.regressor_)."
        )
    note = f"the target's {type(model.transformer_).__name__} is folded into the output layer"
    return replace(head, scale=head.scale * scale, shift=head.shift * scale + shift, notes=(*head.notes, note))


def _inverse(step: Any, where: str) -> tuple[Any, Any]:
    """Return (scale, shift) with which a target transformer is undone: ``y = v * scale + shift``."""
    kind = sklearn_class(type(step)) or type(step).__name__
    if passes(step):
        return 1.0, 0.0
    if kind == "Pipeline":
        scale: Any = 1.0
        shift: Any = 0.0
        for _, inner in reversed(step.steps):
            a, b = _inverse(inner, where)
            scale, shift = scale * a, shift * a + b
        return scale, shift
    if kind == "FunctionTransformer":
        if step.func is None and step.inverse_func is None:
            return 1.0, 0.0
        function = step.func if step.func is not None else step.inverse_func
        raise UnsupportedModelError(
            f"{where} transforms the target with {clipped(name_of(function))}, so that its output is not piecewise "
            "linear (nor is log1p with expm1 a log link). Pass the regressor inside it (model.regressor_), whose "
            "output is the transformed target."
        )
    if kind == "StandardScaler":
        return step.scale_ if step.with_std else 1.0, step.mean_ if step.with_mean else 0.0
    if kind == "RobustScaler":
        return step.scale_ if step.with_scaling else 1.0, step.center_ if step.with_centering else 0.0
    if kind == "MaxAbsScaler":
        return step.scale_, 0.0
    if kind == "MinMaxScaler":
        return 1.0 / step.scale_, -step.min_ / step.scale_
    raise UnsupportedModelError(
        f"{where} transforms the target with {type(step).__name__}, which is not linear; expected StandardScaler, "
        "MinMaxScaler, MaxAbsScaler or RobustScaler. Pass the regressor inside it (model.regressor_)."
    )


def layers_of(head: Head, first: First) -> Iterator[Layer]:
    """Yield the perceptron's layers: the first in the user's units, the last in the target's."""
    last = len(head.mlp.coefs_) - 1
    for i, (coef, intercept) in enumerate(zip(head.mlp.coefs_, head.mlp.intercepts_, strict=True)):
        weight, bias = np.asarray(coef, dtype=np.float64).T, np.asarray(intercept, dtype=np.float64)
        if i == 0:
            weight, bias = _folded(weight, bias, first)
        if i == last:
            scale = np.broadcast_to(np.asarray(head.scale, dtype=np.float64), bias.shape)
            weight, bias = weight * scale[:, None], bias * scale + head.shift
        kind = "identity" if i == last else head.mlp.activation
        yield Layer(weight, bias, Activation.of_kind(kind, len(bias)), name=f"coefs_[{i}]")


def _folded(weight: Floats, bias: Floats, first: First) -> tuple[Floats, Floats]:
    if first.units is not None:
        moved = np.zeros((len(weight), first.matrix.shape[1]))
        moved[:, first.units] = weight
        return moved, bias
    return np.asarray(weight @ first.matrix), bias + weight @ first.offset


def link_of(mlp: Any) -> Link:
    """Return the link of a perceptron, which its output activation undoes."""
    link = {"identity": "identity", "logistic": "logit", "softmax": "softmax", "exp": "log"}.get(mlp.out_activation_)
    if link is None:
        raise UnsupportedModelError(
            f"{type(mlp).__name__} has the output activation {mlp.out_activation_!r}; expected identity, logistic, "
            "softmax or exp."
        )
    return cast(Link, link)


def _is_multilabel(mlp: Any) -> bool:
    return bool(mlp.out_activation_ == "logistic" and mlp.n_outputs_ > 1)


def classes_of(mlp: Any) -> tuple[Any, ...]:
    """Return the classes that a perceptron tells apart; none if it does not."""
    classes = tuple(scalar(c) for c in getattr(mlp, "classes_", ()))
    # the labels of a multilabel classifier are no classes of one question; one class alone has no opposite
    return classes if len(classes) == max(mlp.n_outputs_, 2) and not _is_multilabel(mlp) else ()


def outputs_of(mlp: Any) -> tuple[str, ...]:
    """Return the names of the outputs where each is a question of its own; none otherwise."""
    return tuple(f"label {scalar(c)}" for c in mlp.classes_) if _is_multilabel(mlp) else ()


def notes_of(mlp: Any, features: Features, columns: Columns) -> Iterator[str]:
    """Yield what was left out of the network: the link, and columns that it never uses."""
    classes = [scalar(c) for c in getattr(mlp, "classes_", ())]
    if mlp.out_activation_ == "softmax":
        yield "softmax removed: decisions are one score per class"
    elif _is_multilabel(mlp):
        yield "sigmoid removed: decisions are one logit per label"
    elif mlp.out_activation_ == "logistic" and len(classes) == 2:
        yield f"sigmoid removed: the decision is the logit of class {clipped(classes[1])}"
    elif mlp.out_activation_ == "exp":
        yield "exponential removed: the decision is the logarithm of the prediction"
    unused = [name for name in columns.names if name not in {f.column for f in features.items}]
    if unused:
        yield f"columns that the model never uses: {shown(unused)}"
