"""The estimators keep scikit-learn's promises, and say what the network and the verbs say."""

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.datasets import make_circles
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import relucidate as rl
from relucidate import simplify
from relucidate.errors import ArgumentError, ModelError, UnsupportedModelError, ValueInDataError
from relucidate.sklearn import (
    CellsOfLinearModelsClassifier,
    CellsOfLinearModelsRegressor,
    LocalLinearClassifier,
    LocalLinearRegressor,
    MergedClassifier,
    MergedRegressor,
    TreeOfLinearModelsClassifier,
    TreeOfLinearModelsRegressor,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

VERSION = tuple(int(part) for part in sklearn.__version__.split(".")[:2])


def classifier(**kwargs: Any) -> Any:
    settings = {"hidden_layer_sizes": (8,), "solver": "lbfgs", "max_iter": 60, "random_state": 0, **kwargs}
    return make_pipeline(StandardScaler(), MLPClassifier(**settings))


def regressor(**kwargs: Any) -> Any:
    settings = {"hidden_layer_sizes": (8,), "max_iter": 100, "learning_rate_init": 0.03, "random_state": 0, **kwargs}
    return make_pipeline(StandardScaler(), MLPRegressor(**settings))


# ---------------------------------------------------------------- scikit-learn's own checks

FEW = {"max_models": 2, "refit": "decision"}
ESTIMATORS = [
    LocalLinearClassifier(),
    LocalLinearRegressor(),
    LocalLinearClassifier(classifier()),
    LocalLinearRegressor(regressor()),
    TreeOfLinearModelsClassifier(classifier(), oblique=False, **FEW),
    TreeOfLinearModelsRegressor(regressor(), oblique=False, **FEW),
    CellsOfLinearModelsClassifier(classifier(), **FEW),
    CellsOfLinearModelsRegressor(regressor(), **FEW),
    MergedClassifier(classifier(), **FEW),
    MergedRegressor(regressor(), **FEW),
]
EQUIVALENCE = "check_sample_weight_equivalence_on_dense_data"


def expected_to_fail(estimator: Any) -> dict[str, str]:
    if VERSION < (1, 7):
        reason = "the perceptrons of this scikit-learn take no weights"
        checks = ("pandas_series", "not_an_array", "list", "shape", "not_overwritten")
        return {EQUIVALENCE: reason, **{f"check_sample_weights_{name}": reason for name in checks}}
    if hasattr(estimator, "n_models"):
        return {
            EQUIVALENCE: "other rows are held out to choose a simplification by where a row is left out than where it weighs 0"
        }
    return {}


@parametrize_with_checks(ESTIMATORS, expected_failed_checks=expected_to_fail)
def test_scikit_learns_checks(estimator: Any, check: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relucidate.sklearn.WIDTHS", (10, 10))  # of the default network: a matter of seconds
    if isinstance(estimator, LocalLinearRegressor) and estimator.estimator is None and EQUIVALENCE in str(check):
        pytest.xfail("L-BFGS follows rounding across the kinks of ReLU: scikit-learn checks MLPRegressor with SGD too")
    check(estimator)


def test_importing_relucidate_imports_no_scikit_learn() -> None:
    program = (
        "import sys, relucidate; assert 'sklearn' not in sys.modules; assert 'relucidate.sklearn' not in sys.modules"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


# ---------------------------------------------------------------- data


@pytest.fixture(scope="module")
def circles() -> tuple[np.ndarray, np.ndarray]:
    X, y = make_circles(300, noise=0.1, factor=0.4, random_state=0)
    return X, np.where(y == 1, "inner", "outer")


@pytest.fixture(scope="module")
def bent() -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(1)
    X = pd.DataFrame(rng.normal([50, 3], [20, 1], size=(200, 2)), columns=["age", "rooms"])
    return X, 1e4 * (np.abs(X["age"] - 50) + 3 * X["rooms"]).to_numpy()


@pytest.fixture(scope="module")
def people() -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(2)
    X = pd.DataFrame({"age": rng.normal(50, 20, 200), "where": rng.choice(["north", "south"], 200)})
    X.loc[::9, "age"] = np.nan
    return X, (X["age"].fillna(50) > 45) ^ (X["where"] == "north")


def mixed() -> Any:
    columns = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), ["age"]), (OneHotEncoder(), ["where"])
    )
    return make_pipeline(columns, MLPClassifier((6,), solver="lbfgs", max_iter=60, random_state=0))


VERBS = [
    (TreeOfLinearModelsClassifier, TreeOfLinearModelsRegressor, simplify.tree),
    (CellsOfLinearModelsClassifier, CellsOfLinearModelsRegressor, simplify.cells),
    (MergedClassifier, MergedRegressor, simplify.merge),
]


# ---------------------------------------------------------------- predictions are those of the network, or of the verb


def test_a_trained_network_predicts_what_it_predicted(circles: Any) -> None:
    X, y = circles
    own = classifier().fit(X, y)
    model = LocalLinearClassifier(own, prefit=True).fit(X, y)
    net = rl.load(own)
    np.testing.assert_array_equal(model.classes_, own.classes_)
    np.testing.assert_array_equal(model.predict(X), own.predict(X))
    np.testing.assert_array_equal(model.decision_function(X), net.decision(X)[:, 0])
    np.testing.assert_array_equal(model.predict_proba(X), net.predict_proba(X))
    np.testing.assert_allclose(model.predict_proba(X), own.predict_proba(X), rtol=1e-9)
    assert model.score(X, y) == own.score(X, y)


def test_the_maps_of_its_region_say_what_a_row_gets(circles: Any, bent: Any) -> None:
    for model, (X, y) in [(LocalLinearClassifier(classifier()), circles), (LocalLinearRegressor(regressor()), bent)]:
        model.fit(X, y)
        region = model.apply(X)
        x = np.asarray(X)
        ours = np.einsum("nd,nd->n", model.coef_[region, 0], x) + model.intercept_[region, 0]
        said = model.decision_function(X) if hasattr(model, "classes_") else model.predict(X)
        np.testing.assert_allclose(ours, said, rtol=1e-9, atol=1e-9)
        np.testing.assert_array_equal(region, model.unwrapped_.region_of)


@pytest.mark.parametrize(("classifies", "regresses", "verb"), VERBS)
def test_predictions_are_those_of_the_verb(classifies: Any, regresses: Any, verb: Any, circles: Any, bent: Any) -> None:
    X, y = circles
    net = rl.load(classifier().fit(X, y))
    model = classifies(net, n_models=3, random_state=5).fit(X, y)
    s = verb(rl.unwrap(net, X, y, random_state=5), n_models=3, random_state=5)
    np.testing.assert_array_equal(model.decision_function(X), s.decision(X)[:, 0])
    np.testing.assert_array_equal(model.predict_proba(X), s.predict_proba(X))
    np.testing.assert_array_equal(model.predict(X), np.array(net.classes)[(s.decision(X)[:, 0] > 0).astype(int)])
    np.testing.assert_array_equal(model.apply(X), s.assign(X))
    np.testing.assert_array_equal(model.coef_, s.coef)
    np.testing.assert_array_equal(model.intercept_, s.intercept)
    assert len(model.simplified_.table()) == 3

    X, y = bent
    model = regresses(regressor(), n_models=2, random_state=5).fit(X, y)
    s = verb(rl.unwrap(model.network_, X, y, random_state=5), n_models=2, random_state=5)
    np.testing.assert_array_equal(model.predict(X), s.predict(X)[:, 0])


def test_options_reach_the_verb(circles: Any) -> None:
    X, y = circles
    net = rl.load(classifier().fit(X, y))
    assert MergedClassifier(net, n_models=3, by="published").fit(X, y).simplified_.method == "published merge"
    with pytest.raises(ArgumentError, match="by is 'chance'"):
        MergedClassifier(net, by="chance").fit(X, y)
    with pytest.raises(ArgumentError, match="refit is 'often'"):
        CellsOfLinearModelsClassifier(net, refit="often").fit(X, y)
    with pytest.raises(ArgumentError, match="n_models is 0"):
        TreeOfLinearModelsClassifier(net, n_models=0).fit(X, y)
    straight = TreeOfLinearModelsClassifier(net, n_models=4, oblique=False).fit(X, y)
    assert "(" not in " ".join(straight.simplified_.rules()["rule"])


def test_several_classes_and_several_outputs(bent: Any) -> None:
    X, y = bent
    level = np.digitize(y, np.quantile(y, [0.3, 0.6]))
    model = LocalLinearClassifier(classifier()).fit(X, level)
    assert model.decision_function(X).shape == model.predict_proba(X).shape == (200, 3)
    np.testing.assert_array_equal(model.predict(X), model.predict_proba(X).argmax(axis=1))
    assert model.coef_.shape[1:] == (3, 2)

    both = np.column_stack([y, -y])
    for kind in (LocalLinearRegressor(random_state=0), TreeOfLinearModelsRegressor(n_models=2, random_state=0)):
        model = kind.fit(X, both)
        assert model.predict(X).shape == (200, 2)
        assert model.score(X, both) > 0.9


# ---------------------------------------------------------------- the network behind


def test_the_default_network_is_in_the_units_and_names_of_the_table(bent: Any) -> None:
    X, y = bent
    model = TreeOfLinearModelsRegressor(n_models=2, oblique=False, random_state=0).fit(X, y)
    assert model.score(X, y) > 0.95
    assert model.network_.feature_names == ("age", "rooms") == tuple(model.feature_names_in_)
    assert any("age" in rule for rule in model.simplified_.rules()["rule"])
    np.testing.assert_allclose(np.sort(model.coef_[:, 0, 0]), [-1e4, 1e4], rtol=0.2)


def test_many_rows_stop_early() -> None:
    X, y = make_circles(600, noise=0.1, factor=0.4, random_state=0)
    model = LocalLinearClassifier(random_state=0).fit(X, y)
    assert model.score(X, y) > 0.9
    rare = np.where(np.arange(600) < 5, "rare", y.astype(str))  # too few to hold some out
    assert LocalLinearClassifier(random_state=0).fit(X, rare).score(X, rare) > 0.8
    assert LocalLinearRegressor(random_state=0).fit(X, X[:, 0] ** 2).score(X, X[:, 0] ** 2) > 0.8


def test_a_seed_makes_it_reproducible(circles: Any) -> None:
    X, y = circles
    a, b, c = (LocalLinearClassifier(random_state=r).fit(X, y).decision_function(X) for r in (3, 3, None))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


@pytest.mark.parametrize("name", ["net.onnx", "net.json"])
def test_a_path_is_a_trained_network(circles: Any, tmp_path: Path, name: str) -> None:
    X, y = circles
    own = classifier().fit(X, y)
    rl.export(rl.load(own), tmp_path / name)
    model = LocalLinearClassifier(tmp_path / name).fit(X, y)
    np.testing.assert_array_equal(model.predict(X), own.predict(X))
    assert clone(model).fit(X, y).score(X, y) == own.score(X, y)


def test_a_network_that_names_no_classes_takes_them_from_the_labels(circles: Any) -> None:
    X, y = circles
    mlp = MLPClassifier((8,), solver="lbfgs", max_iter=60, random_state=0).fit(X, y)
    net = rl.load((mlp.coefs_, mlp.intercepts_), link="logit")
    assert net.classes == ()
    model = LocalLinearClassifier(net).fit(X, y)
    assert model.classes_.tolist() == ["inner", "outer"]
    np.testing.assert_array_equal(model.predict(X), mlp.predict(X))


def test_a_frozen_network_outlives_a_search(circles: Any) -> None:
    X, y = circles
    own = classifier().fit(X, y)
    search = GridSearchCV(
        TreeOfLinearModelsClassifier(FrozenEstimator(own), random_state=0), {"n_models": [1, 3]}, cv=2
    )
    assert search.fit(X, y).best_params_ == {"n_models": 3}
    np.testing.assert_array_equal(search.best_estimator_.network_.decision(X), rl.load(own).decision(X))
    with pytest.raises(ModelError, match="is not fitted"):
        clone(LocalLinearClassifier(own, prefit=True)).fit(X, y)


def test_tables_with_categories_and_gaps(people: Any) -> None:
    X, y = people
    model = TreeOfLinearModelsClassifier(mixed(), n_models=2, random_state=0).fit(X, y)
    assert model.feature_names_in_.tolist() == ["age", "where"]
    assert model.classes_.tolist() == [False, True]
    with pytest.warns(UserWarning, match="does not have valid feature names"):  # by the places they had in fit
        np.testing.assert_array_equal(model.predict(X.to_numpy()), model.predict(X))
    with pytest.raises(ValueInDataError, match="west"):
        model.predict(X.assign(where="west"))
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(X.rename(columns={"age": "years"}))

    numeric = make_pipeline(SimpleImputer(), *(step for _, step in classifier().steps))
    x = np.where(np.arange(200)[:, None] % 9 == 0, np.nan, np.random.default_rng(0).normal(size=(200, 2)))
    filled = LocalLinearClassifier(numeric).fit(x, y)
    assert filled.predict(x).shape == (200,)
    with pytest.raises(ValueError, match="infinity"):
        filled.predict(np.full((1, 2), np.inf))


def test_columns_go_by_name_to_a_trained_network(bent: Any) -> None:
    X, y = bent
    own = regressor().fit(X, y)
    turned = X[["rooms", "age"]].assign(unused=1.0)
    model = LocalLinearRegressor(own, prefit=True).fit(turned, y)
    assert model.n_features_in_ == 3
    np.testing.assert_allclose(model.predict(turned), own.predict(X), rtol=1e-9)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        np.testing.assert_array_equal(model.predict(turned.to_numpy()), model.predict(turned))


# ---------------------------------------------------------------- weights


@pytest.mark.skipif(VERSION < (1, 7), reason="the perceptrons of this scikit-learn take no weights")
def test_weights_reach_the_network_wherever_it_is(circles: Any) -> None:
    X, y = circles
    w = np.where(y == "inner", 5.0, 1.0)
    plain = classifier()
    by_hand = clone(plain).fit(X, y, standardscaler__sample_weight=w, mlpclassifier__sample_weight=w)
    model = LocalLinearClassifier(plain).fit(X, y, w)
    np.testing.assert_array_equal(model.decision_function(X), rl.load(by_hand).decision(X)[:, 0])
    assert model.unwrapped_.weighted
    for deeper in (
        make_pipeline(StandardScaler(), plain),
        GridSearchCV(plain, {"mlpclassifier__alpha": [1e-3]}, cv=2),
    ):
        weighted = LocalLinearClassifier(deeper).fit(X, y, w)
        assert (
            weighted.predict_proba(X)[:, 0].mean()
            > LocalLinearClassifier(deeper).fit(X, y).predict_proba(X)[:, 0].mean()
        )


def test_weights_that_the_network_cannot_take_are_refused(circles: Any) -> None:
    class Unweighted(MLPClassifier):
        def fit(self, X: Any, y: Any) -> Any:
            return super().fit(X, y)

    X, y = circles
    model = LocalLinearClassifier(Unweighted((4,), max_iter=5, random_state=0))
    assert model.fit(X, y).score(X, y) >= 0
    with pytest.raises(ArgumentError, match="the fit of Unweighted takes none"):
        model.fit(X, y, np.ones(len(y)))


# ---------------------------------------------------------------- in scikit-learn's company


def test_in_searches_pipelines_and_cross_validation(circles: Any) -> None:
    X, y = circles
    model = TreeOfLinearModelsClassifier(classifier(), oblique=False, random_state=0)
    search = GridSearchCV(model, {"n_models": [1, 4], "estimator__mlpclassifier__hidden_layer_sizes": [(6,)]}, cv=2)
    search.fit(X, y)
    assert search.best_params_["n_models"] == 4
    assert search.best_estimator_.simplified_.n_models == 4
    pipeline = make_pipeline(StandardScaler(), MergedClassifier(classifier(), n_models=4, random_state=0))
    assert cross_val_score(pipeline, X, y, cv=2).min() > 0.7
    with_names = make_pipeline(StandardScaler(), LocalLinearClassifier(classifier())).set_output(transform="pandas")
    with_names.fit(pd.DataFrame(X, columns=["a", "b"]), y)
    assert with_names[-1].network_.feature_names == ("a", "b")


@pytest.mark.parametrize("kind", [LocalLinearClassifier, *(v[0] for v in VERBS)])
def test_pickled_and_back(circles: Any, kind: Any) -> None:
    X, y = circles
    options = {} if kind is LocalLinearClassifier else {"n_models": 3, "refit": "decision"}
    model = kind(classifier(), random_state=0, **options).fit(X, y)
    model.apply(X)  # with what it keeps for later
    back = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(back.predict_proba(X), model.predict_proba(X))
    np.testing.assert_array_equal(back.apply(X), model.apply(X))
    pd.testing.assert_frame_equal(back.unwrapped_.table(), model.unwrapped_.table())


def test_few_rows_get_one_model(bent: Any) -> None:
    X, y = bent
    net = rl.load(regressor().fit(X, y))
    model = MergedRegressor(net, random_state=0).fit(X[:19], y[:19])
    assert model.simplified_.n_models == 1
    assert "19 rows are too few to hold some out" in " ".join(model.simplified_.notes)
    assert model.simplified_.rules()["rule"].tolist() == ["all rows"]
    z = np.column_stack([np.ones(19), X[:19]])
    said = z @ np.linalg.lstsq(z, net.predict(X[:19])[:, 0], rcond=None)[0]
    np.testing.assert_allclose(model.predict(X[:19]), said, rtol=1e-8)
    with pytest.raises(ArgumentError, match="19 rows are too few"):
        MergedRegressor(net, n_models=2).fit(X[:19], y[:19])


# ---------------------------------------------------------------- refusals


def test_refusals(circles: Any, bent: Any) -> None:
    X, y = circles
    with pytest.raises(ArgumentError, match="prefit=True, but no estimator"):
        LocalLinearClassifier(prefit=True).fit(X, y)
    with pytest.raises(ModelError, match="is not fitted"):
        LocalLinearClassifier(classifier(), prefit=True).fit(X, y)
    with pytest.raises(ArgumentError, match=r"y holds 1 class \('inner'\)"):
        LocalLinearClassifier(classifier()).fit(X, np.full(len(X), "inner"))
    with pytest.raises(UnsupportedModelError, match="'tanh'"):
        LocalLinearClassifier(MLPClassifier((4,), activation="tanh", max_iter=5)).fit(X, y)
    with pytest.raises(UnsupportedModelError, match="'sign'"):
        LocalLinearClassifier(make_pipeline(FunctionTransformer(np.sign), MLPClassifier((4,), max_iter=5))).fit(X, y)
    with pytest.raises(NotFittedError):
        LocalLinearClassifier().apply(X)
    with pytest.raises(AttributeError):
        _ = TreeOfLinearModelsClassifier().coef_

    net, line = rl.load(classifier().fit(X, y)), rl.load(regressor().fit(*bent))
    with pytest.raises(ArgumentError, match=r"tells classes apart .* LocalLinearRegressor needs a regression"):
        LocalLinearRegressor(net).fit(X, X[:, 0])
    with pytest.raises(ArgumentError, match=r"is a regression .* LocalLinearClassifier needs one with classes"):
        LocalLinearClassifier(line).fit(X, y)
    questions = rl.load(MLPClassifier((4,), max_iter=5, random_state=0).fit(X, np.column_stack([X > 0])))
    with pytest.raises(ArgumentError, match=r"answers several questions \(link 'logit', 2 outputs\)"):
        LocalLinearClassifier(questions).fit(X, y)
