"""The live estimator: the columns that it was fitted on, and what it answers."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from relucidate.errors import ArgumentError, ModelError, shown
from relucidate.features import Features
from relucidate.frameworks.reading import Options
from relucidate.frameworks.sklearn_columns import Columns, First
from relucidate.frameworks.sklearn_perceptron import Head, wrapped
from relucidate.frameworks.sklearn_steps import passes, refuse_unfitted, sklearn_class
from relucidate.layers import Floats


def columns_of(model: Any, options: Options) -> Columns:
    """Return the columns that an estimator was fitted on.

    Raises
    ------
    ModelError : it is not fitted.
    ArgumentError : `feature_names` are not its own, or not as many.
    """
    own = next((n for n in _found(model, "feature_names_in_")), None)
    n = next((n for n in _found(model, "n_features_in_")), None)
    if n is None:
        refuse_unfitted(model, type(model).__name__)
        n = 0  # the first step is not one of ours, and will be refused by its name
    given = options.feature_names
    if own is not None:
        names = tuple(str(name) for name in own)
        if given is not None and tuple(str(name) for name in given) != names:
            raise ArgumentError(
                f"The {type(model).__name__} was fitted on columns named {shown(names)}; feature_names gives "
                f"{shown(given)}. Leave feature_names out, and rename with network.with_names(...) afterwards."
            )
        return Columns(names, fitted=True, named=True)
    features = Features.plain(int(n), given)  # says what is wrong with the names
    return Columns(features.columns, fitted=False, named=features.named)


def _found(model: Any, attribute: str) -> Iterator[Any]:
    """Yield an attribute of the first step that the table enters."""
    for inner in _entered(model):
        if inner is model:
            value = getattr(inner, attribute, None)
            if value is not None:
                yield value
        else:
            yield from _found(inner, attribute)


def _entered(model: Any) -> Iterator[Any]:
    """Yield the estimators that the whole table enters, from the outside in."""
    kind = sklearn_class(type(model))
    if kind == "Pipeline":
        for _, step in model.steps:
            if not passes(step):
                yield step
                return
    elif kind == "FeatureUnion":
        for _, step in model.transformer_list:
            if not isinstance(step, str):
                yield step
    else:
        if kind is not None:
            yield model
        for attribute in ("best_estimator_", "regressor_", "estimator_", "estimator"):
            inner = getattr(model, attribute, None)
            if inner is not None and sklearn_class(type(inner)) is not None:
                yield inner


@dataclass(frozen=True, eq=False)
class Live:
    """The user's estimator, asked but never changed."""

    model: Any
    mlp: Any
    columns: Columns

    def prediction(self, table: Any) -> Floats:
        """Return its own output: probabilities (of the positive class if there are two) or predictions."""
        with _asking(self.model):
            table = self.columns.as_fitted(table)
            if self.mlp.out_activation_ not in ("logistic", "softmax"):
                return _two_dimensional(self.model.predict(table))
            p = _two_dimensional(self.model.predict_proba(table))
        return p[:, 1:] if self.mlp.n_outputs_ == 1 else p

    def decision(self, table: Any) -> Floats:
        """Return its output before the link."""
        if self.mlp.out_activation_ == "identity":
            return self.prediction(table)
        return _two_dimensional(self._raw(table))

    def _raw(self, table: Any) -> Any:
        # a copy: the user's perceptron keeps its own output activation
        bare = copy.copy(self.mlp)
        bare.out_activation_ = "identity"
        with _asking(self.model):
            return bare._forward_pass_fast(self._entering(table))

    def _entering(self, table: Any) -> Any:
        """Return what reaches the perceptron."""
        x, model = self.columns.as_fitted(table), self.model
        while model is not self.mlp:
            if sklearn_class(type(model)) == "Pipeline":
                for _, step in model.steps[:-1]:
                    x = x if passes(step) else step.transform(x)
                model = model.steps[-1][1]
            elif sklearn_class(type(model)) == "TransformedTargetRegressor":
                model = model.regressor_
            else:
                model = wrapped(model, type(model).__name__)
        return x

    def tolerance(self, table: Any, head: Head, first: First) -> float:
        """Return what rounding may do: 1e-9, or more where large terms cancel or scikit-learn works in float32."""
        with _asking(self.model):
            entering = self._entering(table)
        raw = self._raw(table)
        eps = float(np.finfo(raw.dtype).eps) if raw.dtype.kind == "f" else float(np.finfo(float).eps)
        size = np.abs(entering.toarray() if hasattr(entering, "toarray") else np.asarray(entering, dtype=np.float64))
        size = size + 2 * np.abs(first.offset)
        for coef, intercept in zip(self.mlp.coefs_, self.mlp.intercepts_, strict=True):
            size = size @ np.abs(coef) + np.abs(intercept)
        size = size * np.abs(head.scale) + np.abs(head.shift)
        return float(max(1e-9, 16 * eps * (size / (1 + np.abs(_two_dimensional(raw) * head.scale + head.shift))).max()))


@contextmanager
def _asking(model: Any) -> Iterator[None]:
    """Silence warnings (unknown levels are met on purpose) and say whose refusal a refusal is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except (TypeError, ValueError) as problem:
            raise ModelError(
                f"{type(model).__name__} refuses the rows on which the network was to be compared with it: {problem} "
                "The network was withheld. Fit the estimator on plain numbers, text and missing values."
            ) from problem


def _two_dimensional(values: Any) -> Floats:
    values = np.asarray(values, dtype=np.float64)
    return cast(Floats, values.reshape(len(values), -1))
