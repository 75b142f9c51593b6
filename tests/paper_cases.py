"""Networks on the examples of the paper (arXiv 2011.04041) and its reference implementation, with facts about them.

The weights are stored in ``golden/paper_networks.npz``; ``golden/PROVENANCE.md`` says where everything comes from.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, make_circles
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import MinMaxScaler

Array: TypeAlias = NDArray[Any]
Kind: TypeAlias = Literal["classification", "regression"]

NETWORKS = Path(__file__).parent / "golden" / "paper_networks.npz"

# What is not named here is scikit-learn's default: Adam in batches of 200, alpha=1e-4, tol=1e-4.
TRAINING: dict[str, Any] = {
    "learning_rate_init": 1e-3,
    "max_iter": 2000,
    "early_stopping": True,
    "n_iter_no_change": 100,
    "validation_fraction": 0.2,
    "random_state": 0,
}

COCIRCLES: dict[str, Any] = {
    "n_regions": 530,
    "largest": [62, 60, 52, 31, 29],
    "one_row": 327,
    "one_class": 123,
    "unseen_test_rows": 90,
    "reported_scores": [0.9215, 0.9320],
    "train_score": 0.921532778277828,
    "test_score": 0.932041266025641,
    "importance": [0.4826119656413226, 0.5173880343586775],
    "first_coef": [-19.016480336790952, 1.6495390837610784],
    "first_intercept": 15.935270408194722,
    "first_local_score": 0.7366771159874608,
    "first_global_score": 0.4976450770077008,
}

BREAST_CANCER: dict[str, Any] = {
    "n_regions": 288,
    "largest": [24, 22, 21, 20, 13],
    "one_row": 241,
    "one_class": 36,
    "unseen_test_rows": 64,
    "reported_scores": [0.9974, 0.9867],
    "train_score": 0.9974294670846394,
    "test_score": 0.9866624325182598,
    "first_local_score": 1.0,
    "first_global_score": 0.996342737722048,
}

BOSTON: dict[str, Any] = {
    "n_regions": 155,
    "largest": [20, 17, 14, 12, 12],
    "one_row": 82,
    "unseen_test_rows": 23,
    "reported_scores": [0.0022, 0.0094],
    "train_score": 0.0021887761484721225,
    "test_score": 0.009393742424909951,
    "first_local_score": 0.0024809748351268977,
    "first_global_score": 0.036407698436921106,
}


@dataclass(frozen=True, eq=False)
class PaperCase:
    """A trained network, the rows it was trained and tested on, and facts about them.

    ``weights`` are (in, out), as in scikit-learn; the decision is the logit of class 1 or the predicted value itself.

    ``expected`` holds, of the training rows unless it says otherwise:

    - ``n_regions``; ``largest``, the five largest counts; ``one_row``, regions with a single row; ``one_class``,
      further regions whose rows all have one label (classification); ``unseen_test_rows``, test rows whose pattern no
      training row has;
    - ``train_score`` and ``test_score``: AUC or mean squared error; ``reported_scores``, the same to the four places
      reported;
    - of the largest region, the score of its local model's decision on its own rows, ``first_local_score``, and on all
      rows, ``first_global_score``;
    - for CoCircles also ``importance``, the normalised sums of count times squared coefficient, and the local model of
      the largest region, ``first_coef`` and ``first_intercept``.
    """

    name: str
    kind: Kind
    hidden: tuple[int, ...]
    weights: list[Array]
    biases: list[Array]
    X_train: Array
    y_train: Array
    X_test: Array
    y_test: Array
    expected: dict[str, Any]


def scaled(values: Array) -> Array:
    """Each column mapped to [0, 1] over all the rows, before they are split: as published."""
    return np.asarray(MinMaxScaler().fit_transform(values))


def split(X: Array, y: Array) -> tuple[Array, Array, Array, Array]:
    """``X_train, y_train, X_test, y_test``."""
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.2, random_state=0)
    return X_train, y_train, X_test, y_test


def cocircles_data() -> tuple[Array, Array]:
    """Two noisy concentric circles, unscaled."""
    X, y = make_circles(2000, noise=0.1, random_state=0)
    return X, y


def breast_cancer_data() -> tuple[Array, Array]:
    """The Wisconsin table that comes with scikit-learn, scaled."""
    X, y = load_breast_cancer(return_X_y=True)
    return scaled(X), y


def boston_data() -> tuple[Array, Array]:
    """The Boston housing table, inputs and response scaled; stored, for scikit-learn no longer has it."""
    with np.load(NETWORKS, allow_pickle=False) as stored:
        return stored["boston_X"], stored["boston_y"]


def train(kind: Kind, hidden: Sequence[int], X: Array, y: Array) -> MLPClassifier | MLPRegressor:
    """The network of the paper's parameters fitted to ``X`` and ``y``."""
    estimator = MLPClassifier if kind == "classification" else MLPRegressor
    return estimator(hidden_layer_sizes=tuple(hidden), **TRAINING).fit(X, y)


def retrain(case: PaperCase) -> MLPClassifier | MLPRegressor:
    """The case's network trained anew. Its weights equal the stored ones only where the arithmetic is the same."""
    return train(case.kind, case.hidden, case.X_train, case.y_train)


def _case(
    name: str, kind: Kind, hidden: tuple[int, ...], data: Callable[[], tuple[Array, Array]], expected: dict[str, Any]
) -> PaperCase:
    with np.load(NETWORKS, allow_pickle=False) as stored:
        weights = [stored[f"{name}_W{layer}"] for layer in range(len(hidden) + 1)]
        biases = [stored[f"{name}_b{layer}"] for layer in range(len(hidden) + 1)]
    return PaperCase(name, kind, hidden, weights, biases, *split(*data()), expected)


def cocircles() -> PaperCase:
    """Two inputs, four layers of 40: the paper's running example."""
    return _case("cocircles", "classification", (40,) * 4, cocircles_data, COCIRCLES)


def breast_cancer() -> PaperCase:
    """Thirty inputs, two layers of 40."""
    return _case("breast_cancer", "classification", (40,) * 2, breast_cancer_data, BREAST_CANCER)


def boston() -> PaperCase:
    """Thirteen inputs, two layers of 20, a regression. For the published count only: see ``golden/PROVENANCE.md``."""
    return _case("boston", "regression", (20,) * 2, boston_data, BOSTON)
