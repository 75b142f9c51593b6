"""Estimators for scikit-learn: the verbs behind `fit`, `predict` and `get_params`.

Each trains a ReLU network, or takes one that is trained, and unwraps it on the rows of `fit`. The `LocalLinear…` estimators
then predict what the network predicts; the others predict by the few linear models that a verb of `relucidate.simplify`
makes of it.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_array, check_consistent_length, check_random_state, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, has_fit_parameter, validate_data

import relucidate
from relucidate import simplify
from relucidate.errors import ArgumentError, shown
from relucidate.features import is_table
from relucidate.layers import Floats
from relucidate.network import Network
from relucidate.simplified import ByRule, Simplified, compared
from relucidate.studying import Refit
from relucidate.targets import encode_target
from relucidate.trees import Tree
from relucidate.unwrapping import Unwrapped, unwrap

__all__ = [
    "CellsOfLinearModelsClassifier",
    "CellsOfLinearModelsRegressor",
    "LocalLinearClassifier",
    "LocalLinearRegressor",
    "MergedClassifier",
    "MergedRegressor",
    "TreeOfLinearModelsClassifier",
    "TreeOfLinearModelsRegressor",
]

Array = NDArray[Any]

WIDTHS = (40, 40)  # of the network that is trained where none is given
STOPS_EARLY_FROM = 500  # rows of which a tenth, held out, says when to stop; fewer are fitted with a penalty instead
RAREST_FROM = 20  # and so many of the rarest class, of which some are to be held out
FEW_ROWS = 20  # below, nothing can be held out to choose a simplification by


# ---------------------------------------------------------------- what all of them do


class _Unwrapping(BaseEstimator):  # type: ignore[misc]
    """An estimator that has a network, and knows which of its local linear models the rows of `fit` use."""

    estimator: Any
    prefit: bool
    random_state: Any
    network_: Network
    unwrapped_: Unwrapped
    n_features_in_: int
    feature_names_in_: Array

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Train the network unless it is trained, unwrap it, and simplify it if that is what the estimator is for.

        Parameters
        ----------
        X : (n, n_columns) array or table. y : (n,) labels, or (n,) or (n, n_outputs) numbers.
        sample_weight : (n,) weights, not negative. They reach every step of `estimator` whose `fit` takes them.

        Returns
        -------
        self

        Raises
        ------
        ValueError : rows, labels or weights that scikit-learn refuses.
        ArgumentError : a network that is none of this kind, or that cannot be trained with weights.
        UnsupportedModelError : a step of `estimator` that is not piecewise linear.
        """
        seed = _seed(self.random_state)
        trained = self._trained()
        if y is None:
            validate_data(self, X, y)  # says that it is required
        rows = self._rows(X, network=trained, reset=True)
        y = self._target(y)
        check_consistent_length(rows, y)
        weight = None if sample_weight is None else _check_sample_weight(sample_weight, rows, dtype=np.float64)
        network = self._train(rows, y, weight, seed) if trained is None else trained
        self._admit(network, y)
        self.unwrapped_ = unwrap(network, rows, y, weight, random_state=seed)
        self.network_ = self.unwrapped_.network
        self._simplify(seed)
        return self

    # ------------------------------------------------------------ left to the kinds

    def _simplify(self, seed: int) -> None:
        """Learn what the estimator predicts with, beyond the network."""

    @property
    def _source(self) -> Network | Simplified:
        """What decides and predicts."""
        raise NotImplementedError

    def _target(self, y: Any) -> Array:
        raise NotImplementedError

    def _admit(self, network: Network, y: Array) -> None:
        raise NotImplementedError

    def _default(self, rows: Floats, y: Array, weight: Floats | None, seed: int) -> Any:
        raise NotImplementedError

    # ------------------------------------------------------------ the network

    def _trained(self) -> Network | None:
        """Return the network that `estimator` already is: promised to be fitted, or nothing that could be; else None."""
        if self.prefit and self.estimator is None:
            raise ArgumentError("prefit=True, but no estimator is given. Give the one that is fitted.")
        if self.estimator is None or (hasattr(self.estimator, "get_params") and not self.prefit):
            return None
        return relucidate.load(self.estimator)

    def _train(self, rows: Any, y: Array, weight: Floats | None, seed: int) -> Network:
        if self.estimator is None:
            model = self._default(rows, y, weight, seed)
            return relucidate.load(model, feature_names=getattr(self, "feature_names_in_", None))
        model = clone(self.estimator)
        return relucidate.load(model.fit(rows, y, **_weight_parameters(model, weight)))

    # ------------------------------------------------------------ rows

    def _rows(self, X: Any, *, network: Network | None, reset: bool) -> Any:
        """Return rows as the network takes them.

        A network of the user's may need a table, with its names and its categories: such a table passes as it is. All else
        becomes an array; it may have gaps where the network fills them or where its own `fit` is still to say so.
        """
        if self.estimator is not None and _is_named(X):
            return validate_data(self, X, reset=reset, skip_check_array=True)
        gaps = self.estimator is not None and (network is None or not network.features.is_plain)
        array = validate_data(
            self,
            X,
            reset=reset,
            dtype=np.float64 if self.estimator is None else None,
            ensure_all_finite="allow-nan" if gaps else True,
        )
        if self.estimator is None or reset or not hasattr(self, "feature_names_in_"):
            return array
        import pandas as pd

        return pd.DataFrame(array, columns=self.feature_names_in_)

    def _asked(self, X: Any) -> Any:
        """Return rows that a fitted estimator is asked about."""
        check_is_fitted(self)
        return self._rows(X, network=self.network_, reset=False)


class _Classifies(ClassifierMixin, _Unwrapping):  # type: ignore[misc]
    """What classifiers have in common."""

    classes_: Array

    def decision_function(self, X: Any) -> Floats:
        """Return the decision: (n,) logits of ``classes_[1]``, or (n, n_classes) for more than two classes."""
        rows = self._asked(X)
        decision = self._source.decision(rows)
        return decision[:, 0] if decision.shape[1] == 1 else decision

    def predict(self, X: Any) -> Array:
        """Return the label of each row (n,)."""
        decision = self.decision_function(X)
        code = (decision > 0).astype(np.intp) if decision.ndim == 1 else decision.argmax(axis=1)
        return self.classes_[code]

    def predict_proba(self, X: Any) -> Floats:
        """Return probabilities (n, n_classes), in the order of `classes_`."""
        rows = self._asked(X)
        return self._source.predict_proba(rows)

    def _target(self, y: Any) -> Array:
        y = check_array(y, ensure_2d=False, dtype=None, input_name="y")
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        return y

    def _admit(self, network: Network, y: Array) -> None:
        if not network.is_classifier or (network.link == "logit" and network.n_outputs > 1):
            what = "answers several questions" if network.is_classifier else "is a regression"
            raise ArgumentError(
                f"The network {what} (link {network.link!r}, {network.n_outputs} outputs); {type(self).__name__} needs one "
                "with classes. Take the regressor, or load the network with its link: relucidate.load(model, link='logit')."
            )
        classes = encode_target(y, network.link, network.n_outputs, network.classes).classes
        labels = np.unique(y)
        self.classes_ = labels if labels.tolist() == list(classes) else np.asarray(classes)

    def _train(self, rows: Any, y: Array, weight: Floats | None, seed: int) -> Network:
        labels = np.unique(y if weight is None else y[weight > 0])
        if len(labels) < 2:
            raise ArgumentError(
                f"y holds {len(labels)} class{'es' * (len(labels) != 1)} ({shown(labels.tolist())}); a network that tells "
                "classes apart needs two at least."
            )
        return super()._train(rows, y, weight, seed)

    def _default(self, rows: Floats, y: Array, weight: Floats | None, seed: int) -> Any:
        rarest = int(np.unique(y, return_counts=True)[1].min())
        model = make_pipeline(StandardScaler(), MLPClassifier(**_training(len(y), seed, rarest=rarest)))
        return model.fit(rows, y, **_weight_parameters(model, weight))


class _Regresses(RegressorMixin, _Unwrapping):  # type: ignore[misc]
    """What regressors have in common."""

    def predict(self, X: Any) -> Floats:
        """Return the prediction of each row: (n,), or (n, n_outputs) for several outputs."""
        rows = self._asked(X)
        prediction = self._source.predict(rows)
        return prediction[:, 0] if prediction.shape[1] == 1 else prediction

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _target(self, y: Any) -> Array:
        y = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
        return column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y

    def _admit(self, network: Network, y: Array) -> None:
        if network.is_classifier:
            raise ArgumentError(
                f"The network tells classes apart (link {network.link!r}); {type(self).__name__} needs a regression. Take "
                "the classifier of the same name."
            )

    def _default(self, rows: Floats, y: Array, weight: Floats | None, seed: int) -> Any:
        model = make_pipeline(StandardScaler(), MLPRegressor(**_training(len(y), seed)))
        target = StandardScaler().fit(y.reshape(len(y), -1), sample_weight=weight)
        model.fit(rows, (y - target.mean_) / target.scale_, **_weight_parameters(model, weight))
        network = model[-1]  # what it learnt of the standardised target is put in units of the target
        network.coefs_[-1] = network.coefs_[-1] * target.scale_
        network.intercepts_[-1] = network.intercepts_[-1] * target.scale_ + target.mean_
        return model


# ---------------------------------------------------------------- one kind for each verb


class _LocalLinear(_Unwrapping):
    """Predictions are the network's own."""

    def __init__(self, estimator: Any = None, *, prefit: bool = False, random_state: Any = None) -> None:
        self.estimator = estimator
        self.prefit = prefit
        self.random_state = random_state

    def apply(self, X: Any) -> Array:
        """Return the region of each row (n,), -1 where its activation pattern was not met in `fit`."""
        rows = self._asked(X)
        return self.unwrapped_.assign(rows)

    @property
    def coef_(self) -> Floats:
        """Coefficients of the local linear models (n_regions, n_outputs, n_features), per unit of each feature."""
        return self.unwrapped_.coef

    @property
    def intercept_(self) -> Floats:
        """Intercepts of the local linear models (n_regions, n_outputs)."""
        return self.unwrapped_.intercept

    @property
    def _source(self) -> Network:
        return self.network_


class _Simplifying(_Unwrapping):
    """Predictions are those of a few linear models."""

    n_models: int | None
    max_models: int
    refit: Refit
    simplified_: Simplified

    def apply(self, X: Any) -> Array:
        """Return the linear model of each row (n,), a row of ``simplified_.table()``."""
        rows = self._asked(X)
        return self.simplified_.assign(rows)

    @property
    def coef_(self) -> Floats:
        """Coefficients of the models (n_models, n_outputs, n_features), per unit of each feature."""
        return self.simplified_.coef

    @property
    def intercept_(self) -> Floats:
        """Intercepts of the models (n_models, n_outputs)."""
        return self.simplified_.intercept

    @property
    def _source(self) -> Simplified:
        return self.simplified_

    def _simplify(self, seed: int) -> None:
        too_few = self.unwrapped_.n_rows < FEW_ROWS and self.n_models in (None, 1)
        self.simplified_ = _one_model(self.unwrapped_) if too_few else self._verb(self.unwrapped_, seed)

    def _verb(self, u: Unwrapped, seed: int) -> Simplified:
        raise NotImplementedError

    def _options(self, seed: int) -> dict[str, Any]:
        """Return what every verb takes."""
        options = {"n_models": self.n_models, "max_models": self.max_models, "refit": self.refit}
        return {**options, "random_state": seed}


class _Tree(_Simplifying):
    def __init__(
        self,
        estimator: Any = None,
        *,
        prefit: bool = False,
        n_models: int | None = None,
        max_models: int = simplify.MAX_MODELS,
        oblique: bool | None = None,
        refit: Refit = "auto",
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.prefit = prefit
        self.n_models = n_models
        self.max_models = max_models
        self.oblique = oblique
        self.refit = refit
        self.random_state = random_state

    def _verb(self, u: Unwrapped, seed: int) -> Simplified:
        return simplify.tree(u, oblique=self.oblique, **self._options(seed))


class _Cells(_Simplifying):
    def __init__(
        self,
        estimator: Any = None,
        *,
        prefit: bool = False,
        n_models: int | None = None,
        max_models: int = simplify.MAX_MODELS,
        refit: Refit = "auto",
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.prefit = prefit
        self.n_models = n_models
        self.max_models = max_models
        self.refit = refit
        self.random_state = random_state

    def _verb(self, u: Unwrapped, seed: int) -> Simplified:
        return simplify.cells(u, **self._options(seed))


class _Merged(_Simplifying):
    def __init__(
        self,
        estimator: Any = None,
        *,
        prefit: bool = False,
        n_models: int | None = None,
        max_models: int = simplify.MAX_MODELS,
        by: Literal["loss", "published"] = "loss",
        refit: Refit = "auto",
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.prefit = prefit
        self.n_models = n_models
        self.max_models = max_models
        self.by = by
        self.refit = refit
        self.random_state = random_state

    def _verb(self, u: Unwrapped, seed: int) -> Simplified:
        return simplify.merge(u, by=self.by, **self._options(seed))


# ---------------------------------------------------------------- the estimators


class LocalLinearClassifier(_Classifies, _LocalLinear):
    """A ReLU network, as the exact local linear models that the rows of `fit` use.

    Parameters
    ----------
    estimator : an `MLPClassifier`, or a pipeline or search around one, which is cloned and fitted; a network that is trained
        already: a `relucidate.Network`, or whatever `relucidate.load` takes, such as the path of an ONNX file. By default
        two layers of 40 neurons behind a `StandardScaler`.
    prefit : whether a scikit-learn estimator given is fitted and used as it is. `clone`, and with it every search, forgets
        that it was: there, wrap it in `sklearn.frozen.FrozenEstimator` instead.
    random_state : seed of whatever is drawn; an `estimator` that was given keeps its own.

    Attributes
    ----------
    network_ : the `Network`, in the units of the columns. unwrapped_ : the `Unwrapped`, with its tables.
    coef_ : (n_regions, n_outputs, n_features). intercept_ : (n_regions, n_outputs)
    classes_, n_features_in_, feature_names_in_ : as everywhere in scikit-learn.

    Notes
    -----
    The default network stops early, on a tenth of the rows; of fewer than 500 rows, or 20 of the rarest class, it is fitted by
    L-BFGS with an L2 penalty instead.

    Examples
    --------
    >>> from sklearn.datasets import make_moons
    >>> X, y = make_moons(200, noise=0.1, random_state=0)
    >>> model = LocalLinearClassifier(random_state=0).fit(X, y)
    >>> bool((model.apply(X) == model.unwrapped_.region_of).all())
    True
    """


class LocalLinearRegressor(_Regresses, _LocalLinear):
    """A ReLU network, as the exact local linear models that the rows of `fit` use.

    Parameters
    ----------
    estimator : an `MLPRegressor`, or what else `LocalLinearClassifier` takes. By default two layers of 40 neurons, the
        columns and the target standardised.
    prefit, random_state : as in `LocalLinearClassifier`.

    Attributes
    ----------
    network_, unwrapped_, coef_, intercept_, n_features_in_, feature_names_in_ : as in `LocalLinearClassifier`.
    """


class TreeOfLinearModelsClassifier(_Classifies, _Tree):
    """A tree whose leaves are linear models, grown on what a ReLU network says.

    Parameters
    ----------
    estimator, prefit, random_state : as in `LocalLinearClassifier`.
    n_models, max_models, oblique, refit : as in `relucidate.simplify.tree`.

    Attributes
    ----------
    simplified_ : the `Simplified`, with `.rules()`, `.table()`, `.scores` and `.faithfulness`.
    network_, unwrapped_ : what it was made of.
    coef_ : (n_models, n_outputs, n_features). intercept_ : (n_models, n_outputs)
    classes_, n_features_in_, feature_names_in_ : as everywhere in scikit-learn.

    Notes
    -----
    Of fewer than 20 rows none can be held out: unless `n_models` is given, one linear model is fitted to what the network
    says, and its notes say so.
    """


class TreeOfLinearModelsRegressor(_Regresses, _Tree):
    """A tree whose leaves are linear models, grown on what a ReLU network says.

    Parameters
    ----------
    estimator, prefit, random_state : as in `LocalLinearRegressor`. Others as in `TreeOfLinearModelsClassifier`.

    Attributes
    ----------
    As in `TreeOfLinearModelsClassifier`, without classes.
    """


class CellsOfLinearModelsClassifier(_Classifies, _Cells):
    """Linear models of cells of a ReLU network: each row takes the model of the centre nearest to it.

    Parameters
    ----------
    estimator, prefit, random_state : as in `LocalLinearClassifier`.
    n_models, max_models, refit : as in `relucidate.simplify.cells`.

    Attributes
    ----------
    As in `TreeOfLinearModelsClassifier`.
    """


class CellsOfLinearModelsRegressor(_Regresses, _Cells):
    """Linear models of cells of a ReLU network: each row takes the model of the centre nearest to it.

    Parameters
    ----------
    estimator, prefit, random_state : as in `LocalLinearRegressor`. Others as in `CellsOfLinearModelsClassifier`.

    Attributes
    ----------
    As in `TreeOfLinearModelsClassifier`, without classes.
    """


class MergedClassifier(_Classifies, _Merged):
    """The regions of a ReLU network merged into a few groups, each with one linear model.

    Parameters
    ----------
    estimator, prefit, random_state : as in `LocalLinearClassifier`.
    n_models, max_models, by, refit : as in `relucidate.simplify.merge`.

    Attributes
    ----------
    As in `TreeOfLinearModelsClassifier`.
    """


class MergedRegressor(_Regresses, _Merged):
    """The regions of a ReLU network merged into a few groups, each with one linear model.

    Parameters
    ----------
    estimator, prefit, random_state : as in `LocalLinearRegressor`. Others as in `MergedClassifier`.

    Attributes
    ----------
    As in `TreeOfLinearModelsClassifier`, without classes.
    """


# ---------------------------------------------------------------- parts


def _seed(random_state: Any) -> int:
    """Return a whole number: the one given, or one that is drawn."""
    if isinstance(random_state, int | np.integer):
        return int(random_state)
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


def _is_named(X: Any) -> bool:
    """Return whether rows come as a table whose columns have names that scikit-learn counts as such: all text."""
    if not is_table(X):
        return False
    names = X.column_names if hasattr(X, "column_names") else X.columns
    return all(isinstance(name, str) for name in names)


def _training(n: int, seed: int, rarest: int | None = None) -> dict[str, Any]:
    """Return the settings of the default perceptron for so many rows, `rarest` of them of the rarest class."""
    settings: dict[str, Any] = {"hidden_layer_sizes": WIDTHS, "max_iter": 1000, "random_state": seed}
    if n >= STOPS_EARLY_FROM and (rarest is None or rarest >= RAREST_FROM):
        return {**settings, "early_stopping": True, "n_iter_no_change": 20}
    return {**settings, "solver": "lbfgs", "alpha": 1.0}


def _weight_parameters(model: Any, weight: Floats | None) -> dict[str, Floats]:
    """Return the parameters of `fit` that carry weights to every step which takes them.

    Raises
    ------
    ArgumentError : the network's own `fit` takes none.
    """
    if weight is None:
        return {}
    if isinstance(model, Pipeline):
        *front, (last, network) = model.steps
        taking = {f"{name}__sample_weight": weight for name, step in front if has_fit_parameter(step, "sample_weight")}
        return taking | {f"{last}__{name}": w for name, w in _weight_parameters(network, weight).items()}
    inner = getattr(model, "regressor", getattr(model, "estimator", None))
    if inner is not None:
        return _weight_parameters(inner, weight)
    if not has_fit_parameter(model, "sample_weight"):
        raise ArgumentError(
            f"sample_weight was given, but the fit of {type(model).__name__} takes none in this version of scikit-learn. "
            "Leave it out, or train the network first and pass it with prefit=True."
        )
    return {"sample_weight": weight}


def _one_model(u: Unwrapped) -> Simplified:
    """Return one linear model, fitted by least squares to what the network says on every row."""
    s = u.sample
    root = np.sqrt(s.weights)[:, None]
    centre = np.average(s.x, axis=0, weights=s.weights)
    z = np.concatenate([np.ones((len(s.x), 1)), s.x - centre], axis=1)
    beta = np.linalg.lstsq(z * root, s.decision * root, rcond=None)[0]
    coef = beta[1:].T
    stump = Tree(np.zeros(0, dtype=np.intp), np.zeros((0, s.x.shape[1])), np.zeros(0), np.zeros(0))
    faithfulness, fidelity = compared(u.network, z @ beta, s.decision)
    return Simplified(
        network=u.network,
        method="single",
        route=ByRule(stump, np.zeros(1, dtype=np.intp)),
        coef=coef[None],
        intercept=(beta[0] - coef @ centre)[None],
        count=np.array([len(s.x)]),
        faithfulness=faithfulness,
        fidelity=fidelity,
        notes=(f"{len(s.x)} rows are too few to hold some out: one model, compared with the network on these rows",),
    )
