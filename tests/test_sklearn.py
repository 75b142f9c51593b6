"""Networks read from scikit-learn equal the estimator, in the units of the table that the estimator was fitted on."""

import pickle
import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_selector
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_selection import SelectFromModel, SelectKBest, VarianceThreshold
from sklearn.frozen import FrozenEstimator
from sklearn.impute import KNNImputer, MissingIndicator, SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    PowerTransformer,
    RobustScaler,
    StandardScaler,
)

from relucidate.errors import (
    ArgumentError,
    ColumnError,
    ModelError,
    UnfaithfulError,
    UnsupportedModelError,
    ValueInDataError,
)
from relucidate.frameworks import load
from relucidate.frameworks import sklearn as reader
from relucidate.frameworks.reading import Options, Reading
from relucidate.network import Network

VERSION = tuple(int(part) for part in sklearn.__version__.split(".")[:2])


def fitted(model: Any, X: Any, y: Any) -> Any:
    """Fit without the warning that a few iterations are too few."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(X, y)


def classifier(**kwargs: Any) -> MLPClassifier:
    return MLPClassifier(**{"hidden_layer_sizes": (7, 5), "max_iter": 15, "random_state": 0, **kwargs})


def regressor(**kwargs: Any) -> MLPRegressor:
    return MLPRegressor(**{"hidden_layer_sizes": (7, 5), "max_iter": 15, "random_state": 0, **kwargs})


def own_output(model: Any, X: Any) -> np.ndarray:
    """What the estimator itself says, as (n, n_outputs)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not hasattr(model, "predict_proba"):
            out = np.asarray(model.predict(X), dtype=float)
            return out.reshape(len(out), -1)
        out = model.predict_proba(X)
        several_labels = model.predict(X[:1]).ndim == 2
    return out[:, 1:] if out.shape[1] == 2 and not several_labels else out


def proved(model: Any, *tables: Any, options: Options | None = None) -> Network:
    """Read a model; compare it with its originals on the probe and with its own output on the tables."""
    reading: Reading = reader.read(model, options or Options())
    net = reading.network
    assert len(reading.probe) >= 512
    for original in reading.originals:
        ours, theirs = getattr(net, original.on)(reading.probe), original.output(reading.probe)
        assert ours.shape == theirs.shape
        tolerance = original.tolerance(reading.probe) if callable(original.tolerance) else original.tolerance
        assert 1e-9 <= tolerance < 1e-6
        assert (np.abs(ours - theirs) <= tolerance * (1 + np.abs(theirs))).all(), original
    assert np.ptp(theirs, axis=0).min() > 0, "a probe on which nothing changes proves nothing"
    for table in tables:
        theirs = own_output(model, table)
        np.testing.assert_allclose(net.predict(table), theirs, rtol=1e-9, atol=1e-9 * (1 + np.abs(theirs).max()))
    return net


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture
def numbers(rng: np.random.Generator) -> np.ndarray:
    return rng.normal([0, 10, -3, 2000], [1, 5, 0.1, 3], size=(200, 4))


@pytest.fixture
def people(rng: np.random.Generator) -> pd.DataFrame:
    n = 300
    table = pd.DataFrame(
        {
            "income": rng.normal(5e4, 1e4, n),
            "age": rng.integers(18, 90, n).astype(float),
            "region": rng.choice(["N", "S", "E", "W", "Isle", "Cape"], n, p=[0.3, 0.3, 0.2, 0.16, 0.02, 0.02]),
            "grade": rng.choice([1, 2, 3], n),
            "comment": ["text"] * n,
        }
    )
    table["region"] = table["region"].astype(object)
    table.loc[::7, "income"] = np.nan
    table.loc[::11, "region"] = np.nan
    return table


@pytest.fixture
def yes(people: pd.DataFrame) -> np.ndarray:
    return np.where(people["age"] + people["grade"] * 5 > 60, "yes", "no")


# ---------------------------------------------------------------- the perceptron alone


@pytest.mark.parametrize("activation", ["relu", "identity"])
def test_weights_are_taken_as_they_are(numbers: np.ndarray, activation: str) -> None:
    model = fitted(classifier(activation=activation), numbers, numbers[:, 0] > 0)
    net = proved(model, numbers)
    for layer, coef, intercept in zip(net.layers, model.coefs_, model.intercepts_, strict=True):
        assert layer.weight.tobytes() == np.ascontiguousarray(coef.T).tobytes()
        assert layer.bias.tobytes() == intercept.tobytes()
    assert net.n_bits == (12 if activation == "relu" else 0)
    assert (net.link, net.classes) == ("logit", (False, True))
    assert net.feature_names == ("x0", "x1", "x2", "x3")
    assert not net.features.named


def test_more_classes_two_outputs_and_several_labels(numbers: np.ndarray, rng: np.random.Generator) -> None:
    y = np.array(["a", "b", "c"])[rng.integers(3, size=200)]
    net = proved(fitted(classifier(), numbers, y), numbers)
    assert (net.link, net.classes, net.n_outputs) == ("softmax", ("a", "b", "c"), 3)
    assert all(type(c) is str for c in net.classes)

    net = proved(fitted(classifier(), numbers, rng.integers(2, size=(200, 2))), numbers)
    assert (net.link, net.classes, net.outputs) == ("logit", (), ("label 0", "label 1"))

    net = proved(fitted(regressor(), numbers, numbers[:, :2]), numbers)
    assert (net.link, net.classes, net.n_outputs) == ("identity", (), 2)


def test_one_class_has_no_opposite(numbers: np.ndarray) -> None:
    reading = reader.read(fitted(classifier(), numbers, np.ones(200)), Options())
    assert reading.network.classes == ()


def test_no_hidden_layer(numbers: np.ndarray) -> None:
    net = proved(fitted(regressor(hidden_layer_sizes=()), numbers, numbers[:, 0]), numbers)
    assert net.hidden == ()


@pytest.mark.skipif(VERSION < (1, 7), reason="the Poisson loss came with scikit-learn 1.7")
def test_poisson_has_a_log_link(numbers: np.ndarray) -> None:
    net = proved(
        fitted(make_pipeline(StandardScaler(), regressor(loss="poisson")), numbers, numbers[:, 1] ** 2), numbers
    )
    assert net.link == "log"


def test_single_precision_is_held_to_what_single_precision_can(numbers: np.ndarray) -> None:
    X = numbers.astype(np.float32)
    model = fitted(make_pipeline(StandardScaler(), classifier()), X, X[:, 0] > 0)
    assert model[-1].coefs_[0].dtype == np.float32
    reading = reader.read(model, Options())
    original = reading.originals[1]
    assert original.tolerance(reading.probe) == 1e-9  # the probe is in double precision
    assert 1e-7 < original.tolerance(X) < 1e-1
    difference = np.abs(reading.network.decision(X) - original.output(X))
    assert 0 < difference.max() <= original.tolerance(X) * (1 + np.abs(original.output(X)).max())


def test_the_decision_is_compared_before_the_link(numbers: np.ndarray) -> None:
    model = fitted(classifier(), numbers, numbers[:, 0] > 0)
    originals = reader.read(model, Options()).originals
    assert [o.on for o in originals] == ["predict", "decision"]
    far = numbers * 1e4  # probabilities are 0 and 1 here
    assert np.ptp(originals[1].output(far)) > 100
    assert sklearn.__version__ in originals[0].name


def test_the_estimator_is_not_changed(people: pd.DataFrame, yes: np.ndarray) -> None:
    model = fitted(make_pipeline(mixed(), classifier()), people, yes)
    before = pickle.dumps(model)
    proved(model, people)
    assert pickle.dumps(model) == before


# ---------------------------------------------------------------- pipelines of numbers

NUMERIC_STEPS: list[Any] = [
    StandardScaler(),
    StandardScaler(with_mean=False),
    StandardScaler(with_std=False),
    MinMaxScaler(),
    MinMaxScaler((-2, 5), clip=True),
    MaxAbsScaler(),
    RobustScaler(),
    RobustScaler(with_centering=False, unit_variance=True),
    RobustScaler(with_scaling=False),
    PCA(3),
    PCA(3, whiten=True),
    TruncatedSVD(2, random_state=0),
    VarianceThreshold(0.5),
    SelectKBest(k=2),
    SelectFromModel(LinearRegression(), threshold=-np.inf, max_features=3),
    FunctionTransformer(),
    "passthrough",
    make_pipeline(StandardScaler(), MinMaxScaler(clip=True)),
    FeatureUnion(
        [("a", StandardScaler()), ("b", MinMaxScaler(clip=True)), ("c", "drop")], transformer_weights={"a": 3}
    ),
    FeatureUnion([("a", "passthrough"), ("b", PCA(1))]),
]


@pytest.mark.parametrize("step", NUMERIC_STEPS, ids=repr)
def test_a_numeric_step(step: Any, numbers: np.ndarray, rng: np.random.Generator) -> None:
    model = fitted(make_pipeline(step, classifier()), numbers, numbers[:, 0] > 0)
    proved(model, numbers, rng.normal(size=(300, 4)) * numbers.std(axis=0) * 4 + numbers.mean(axis=0))


@pytest.mark.skipif(VERSION < (1, 8), reason="MaxAbsScaler clips since scikit-learn 1.8")
def test_max_abs_that_clips(numbers: np.ndarray) -> None:
    net = proved(fitted(make_pipeline(MaxAbsScaler(clip=True), classifier()), numbers, numbers[:, 0] > 0), numbers * 3)
    assert net.layers[0].activation.names == ("Clip",)


def test_random_chains_of_numeric_steps(numbers: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    for seed in range(40):
        chain = [sklearn.base.clone(NUMERIC_STEPS[i]) for i in rng.choice(16, size=rng.integers(1, 5), replace=True)]
        chain = [s for i, s in enumerate(chain) if not (isinstance(s, PCA | TruncatedSVD | SelectKBest) and i)]
        chain = [
            SelectFromModel(LinearRegression(), threshold=-np.inf) if isinstance(s, SelectFromModel) else s
            for s in chain
        ]
        chain = [s.set_params(threshold=0) if isinstance(s, VarianceThreshold) else s for s in chain]
        model = fitted(make_pipeline(*chain, regressor(random_state=seed)), numbers, numbers[:, 0])
        proved(model, numbers, numbers[::-1] * 1.5)


def frozen_pattern_map(model: Pipeline, row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The affine map at a row, in the units of the table: 1 + d evaluations with the pattern of the row held fixed."""
    mlp = model[-1]

    def forward(x: np.ndarray, masks: list[np.ndarray] | None) -> tuple[np.ndarray, list[np.ndarray]]:
        a, seen = model[:-1].transform(x[None]) if len(model) > 1 else x[None], []
        for i, (coef, intercept) in enumerate(zip(mlp.coefs_, mlp.intercepts_, strict=True)):
            z = a @ coef + intercept
            if i == len(mlp.coefs_) - 1:
                return z[0], seen
            seen.append(z > 0)
            a = z * (seen[i] if masks is None else masks[i])
        raise AssertionError

    at_row, masks = forward(row, None)
    coef = np.stack([forward(row + e, masks)[0] - at_row for e in np.eye(len(row))], axis=1)
    return coef, at_row - coef @ row


@pytest.mark.parametrize("step", [StandardScaler(), MinMaxScaler(), RobustScaler(), PCA(3, whiten=True)], ids=repr)
def test_coefficients_are_per_unit_of_the_users_feature(step: Any, numbers: np.ndarray) -> None:
    y = np.digitize(numbers[:, 0], [-0.5, 0.5])
    model = fitted(make_pipeline(step, classifier(max_iter=60)), numbers, y)
    net = proved(model, numbers)
    coef, intercept = net.affine_maps(net.patterns(numbers[:20]))
    for i, row in enumerate(numbers[:20]):
        expected, constant = frozen_pattern_map(model, row)
        np.testing.assert_allclose(coef[i], expected, rtol=1e-7, atol=1e-8)
        np.testing.assert_allclose(intercept[i], constant, rtol=1e-6, atol=1e-4)


def test_a_scaler_that_clips_has_no_slope_outside_its_range() -> None:
    X = np.linspace(-1, 1, 50)[:, None]
    net = proved(fitted(make_pipeline(MinMaxScaler(clip=True), regressor()), X, X[:, 0]), X)
    coef, _ = net.affine_maps(net.patterns(np.array([[-5.0], [0.1], [5.0]])))
    assert coef[0] == coef[2] == 0 != coef[1]
    np.testing.assert_array_equal(net.decision([[-5.0], [5.0]]), net.decision([[-1.0], [1.0]]))


def test_a_mean_far_from_zero_does_not_hide_behind_rounding(rng: np.random.Generator) -> None:
    X = 1.7e9 + rng.normal(size=(200, 2)) * [1e3, 1.0]
    model = fitted(make_pipeline(StandardScaler(), regressor()), X, X[:, 0] - 1.7e9)
    reading = reader.read(model, Options())
    [original] = reading.originals
    tolerance = original.tolerance(X)
    assert 1e-9 < tolerance < 1e-3
    ours, theirs = reading.network.predict(X), original.output(X)
    assert (np.abs(ours - theirs) <= tolerance * (1 + np.abs(theirs))).all()


# ---------------------------------------------------------------- tables with levels and gaps


def mixed() -> ColumnTransformer:
    return ColumnTransformer(
        [
            ("num", make_pipeline(SimpleImputer(add_indicator=True), StandardScaler()), ["income", "age"]),
            (
                "cat",
                make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore")),
                ["region"],
            ),
            ("grade", OneHotEncoder(drop="first"), ["grade"]),
        ]
    )


def test_a_mixed_table(people: pd.DataFrame, yes: np.ndarray) -> None:
    model = fitted(Pipeline([("prepare", mixed()), ("net", classifier())]), people, yes)
    net = proved(model, people, people.sample(frac=1, random_state=0)[people.columns[::-1]])
    assert net.features.columns == ("income", "age", "region", "grade")
    regions = tuple(f"region={r}" for r in ("Cape", "E", "Isle", "N", "S", "W"))
    assert net.feature_names == ("income", "income missing", "age", *regions, "grade=2", "grade=3")
    assert net.classes == ("no", "yes")
    assert "'comment'" in " ".join(net.provenance.notes)
    by_name = dict(zip(net.feature_names, net.features.items, strict=True))
    assert by_name["income"].impute == pytest.approx(people["income"].mean())
    assert by_name["region=N"].impute == people["region"].mode()[0]
    assert dict(net.features.known) == {"grade": (1, 2, 3)}


def test_coefficients_of_levels_are_what_changing_the_level_does(people: pd.DataFrame) -> None:
    # without a hidden layer the pattern cannot change
    model = fitted(make_pipeline(mixed(), regressor(hidden_layer_sizes=())), people, people["age"])
    net = proved(model, people)
    [coef], [intercept] = net.affine_maps(net.patterns(people[:1]))
    weight = dict(zip(net.feature_names, coef[0], strict=True))
    row = people.iloc[[1]].assign(region="N", grade=2)

    def change(**cells: Any) -> float:
        return float(model.predict(row.assign(**cells))[0] - model.predict(row)[0])

    assert change(region="E") == pytest.approx(weight["region=E"] - weight["region=N"])
    assert change(region="never seen") == pytest.approx(-weight["region=N"])
    assert change(grade=1) == pytest.approx(-weight["grade=2"])
    assert change(age=row["age"] + 10) == pytest.approx(10 * weight["age"])
    mean = people["income"].mean()
    assert change(income=np.nan) == pytest.approx(
        weight["income"] * (mean - row["income"].iloc[0]) + weight["income missing"]
    )
    assert float(model.predict(row)[0]) == pytest.approx(net.features.encode(row)[0] @ coef[0] + intercept[0])


@pytest.mark.parametrize("strategy", ["mean", "median", "most_frequent", "constant"])
@pytest.mark.parametrize("keep", [True, False])
def test_imputers(numbers: np.ndarray, strategy: str, keep: bool) -> None:
    X = numbers.copy()
    X[::3, 0], X[::5, 3], X[:, 2] = np.nan, np.nan, np.nan
    imputer = SimpleImputer(strategy=strategy, fill_value=-7.5, add_indicator=True, keep_empty_features=keep)
    for chain in ([imputer, StandardScaler()], [StandardScaler(), imputer], [RobustScaler(), imputer, MinMaxScaler()]):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            proved(fitted(make_pipeline(*chain, regressor()), X, numbers[:, 1]), X)


def test_an_imputer_after_a_scaler_fills_in_the_users_units(numbers: np.ndarray) -> None:
    X = numbers.copy()
    X[::3, 1] = np.nan
    net = proved(
        fitted(make_pipeline(StandardScaler(), SimpleImputer(strategy="median"), regressor()), X, numbers[:, 0]), X
    )
    assert net.features.items[1].impute == pytest.approx(np.nanmedian(X[:, 1]))


def test_an_imputer_fills_in_the_precision_that_it_was_fitted_in(rng: np.random.Generator) -> None:
    X = rng.integers(0, 10, size=(101, 2)) * 1e6
    model = fitted(make_pipeline(SimpleImputer(), MinMaxScaler(), regressor()), X.astype(np.float32), X[:, 0])
    gaps = X.copy()
    gaps[::2, 1] = np.nan
    net = proved(model, X, gaps)
    assert net.features.items[1].impute == model[0].transform([[0.0, np.nan]])[0, 1]


def test_a_column_used_twice_as_it_is(numbers: np.ndarray) -> None:
    twice = ColumnTransformer([("a", "passthrough", [1, 0]), ("b", "passthrough", [1])])
    net = proved(fitted(make_pipeline(twice, regressor()), numbers, numbers[:, 0]), numbers)
    assert net.feature_names == ("x0", "x1")


def test_a_gap_that_one_encoder_fills_and_another_counts_as_a_level() -> None:
    X = pd.DataFrame({"c": pd.Series(["a", "b", np.nan] * 20, dtype=object)})
    y = np.arange(60.0)
    filled = make_pipeline(SimpleImputer(strategy="constant", fill_value="none"), OneHotEncoder(sparse_output=False))
    both = ColumnTransformer([("filled", filled, ["c"]), ("plain", OneHotEncoder(sparse_output=False), ["c"])])
    net = proved(fitted(make_pipeline(both, regressor()), X, y), X)
    with pytest.raises(ValueInDataError, match="'none'"):
        net.predict(pd.DataFrame({"c": ["none"]}))  # the second encoder does not know it


def test_all_levels_pooled_and_dropped(people: pd.DataFrame) -> None:
    encoder = OneHotEncoder(max_categories=1, drop="first", sparse_output=False)
    step = ColumnTransformer([("cat", encoder, ["region"]), ("age", StandardScaler(), ["age"])])
    net = proved(fitted(make_pipeline(step, regressor()), people, people["age"]), people)
    assert net.feature_names == ("age",)


def test_a_column_with_and_without_its_gaps_filled(people: pd.DataFrame) -> None:
    steps = ColumnTransformer(
        [
            ("filled", SimpleImputer(), ["age"]),
            ("plain", StandardScaler(), ["age"]),
            ("mark", MissingIndicator(), ["income"]),
        ]
    )
    net = proved(fitted(make_pipeline(steps, regressor()), people, people["age"]), people)
    assert [f.column for f in net.features.items] == ["income", "age", "age"]
    assert set(net.feature_names) == {"income missing", "age", f"age (missing as {people['age'].mean():.6g})"}
    with pytest.raises(ValueInDataError, match="missing"):
        net.decision(people.assign(age=np.nan))


def test_one_hot_encoders(people: pd.DataFrame, yes: np.ndarray) -> None:
    unknown = people.assign(region="Atlantis")
    for kwargs, accepts in [
        ({}, False),
        ({"drop": "first"}, False),
        ({"drop": "if_binary"}, False),
        ({"drop": ["E"]}, False),
        ({"drop": [np.nan]}, False),
        ({"handle_unknown": "ignore"}, True),
        ({"handle_unknown": "ignore", "drop": "first"}, True),
        ({"min_frequency": 20}, False),
        ({"max_categories": 3}, False),
        ({"min_frequency": 20, "drop": "first"}, False),
        ({"min_frequency": 20, "handle_unknown": "ignore"}, True),
        ({"min_frequency": 20, "handle_unknown": "infrequent_if_exist"}, True),
        ({"max_categories": 1, "handle_unknown": "infrequent_if_exist"}, True),
        ({"min_frequency": 20, "handle_unknown": "infrequent_if_exist", "drop": ["N"]}, True),
        ({"handle_unknown": "infrequent_if_exist"}, True),
        ({"categories": [["W", "S", "N", "E", "Isle", "Cape", np.nan]], "drop": "first"}, False),
    ]:
        step = ColumnTransformer([("cat", OneHotEncoder(sparse_output=False, **kwargs), ["region"])], remainder="drop")
        model = fitted(make_pipeline(step, classifier()), people, yes)
        if kwargs.get("max_categories") == 1:
            reading = reader.read(model, Options())  # one indicator that is always on
            np.testing.assert_allclose(reading.network.predict(unknown), own_output(model, unknown), atol=1e-12)
            continue
        net = proved(model, people, *([unknown] if accepts else []))
        if not accepts:
            with pytest.raises(ValueInDataError, match=r"'Atlantis' \(str\) in row 0; the model knows"):
                net.predict(unknown)


def test_pooled_levels_are_named() -> None:
    X = pd.DataFrame({"r": ["a"] * 50 + ["b"] * 50 + ["c", "d"]})
    y = np.arange(102.0)
    for how, name, kind in [("error", "r=c or d", "level"), ("infrequent_if_exist", "r=other", "other")]:
        encoder = OneHotEncoder(min_frequency=5, handle_unknown=how, sparse_output=False)
        net = proved(fitted(make_pipeline(encoder, regressor()), X, y), X)
        assert net.feature_names == ("r=a", "r=b", name)
        assert net.features.items[2].kind == kind


def test_numeric_levels_with_a_missing_one(rng: np.random.Generator) -> None:
    X = rng.choice([1.0, 2.0, 2.5, np.nan], size=(200, 2))
    net = proved(fitted(make_pipeline(OneHotEncoder(sparse_output=False), regressor()), X, np.arange(200.0)), X)
    assert net.feature_names[:4] == ("x0=1.0", "x0=2.0", "x0=2.5", "x0=missing")
    with pytest.raises(ValueInDataError, match=r"x0.* 3\.0 \(float\) in row 0"):
        net.decision([[3.0, 1.0]])


def test_boolean_and_none_levels() -> None:
    X = pd.DataFrame({"flag": [True, False] * 40, "who": pd.Series(["me", None, "you", None] * 20, dtype=object)})
    net = proved(fitted(make_pipeline(OneHotEncoder(), regressor()), X, np.arange(80.0)), X)
    assert net.feature_names == ("flag=False", "flag=True", "who=me", "who=you", "who=missing")


@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"encoded_missing_value": -3},
        {"handle_unknown": "use_encoded_value", "unknown_value": -1},
        {"handle_unknown": "use_encoded_value", "unknown_value": 9, "min_frequency": 20, "encoded_missing_value": 4},
        {"max_categories": 3, "encoded_missing_value": -1},
    ],
)
def test_ordinal_encoder(people: pd.DataFrame, kwargs: dict[str, Any]) -> None:
    step = ColumnTransformer([("ord", OrdinalEncoder(**kwargs), ["region", "grade"])])
    present = people if "encoded_missing_value" in kwargs else people.dropna()
    net = proved(fitted(make_pipeline(step, regressor()), present, present["age"]), present)
    assert all(f.kind == "level" for f in net.features.items)
    if "unknown_value" in kwargs:
        model = fitted(make_pipeline(step, regressor()), present, present["age"])
        proved(model, present.assign(region="Atlantis"))
    if not kwargs:
        with pytest.raises(ValueInDataError, match="has no value in row 0"):
            net.decision(people.iloc[[0]])


def test_columns_by_name_place_slice_mask_and_callable(people: pd.DataFrame, numbers: np.ndarray) -> None:
    table = people.drop(columns=["comment"]).fillna({"income": 0.0, "region": "N"})
    y = table["age"]
    text = OneHotEncoder()
    for columns, rest in [
        (["income", "age"], "region"),
        ([0, 1], [2]),
        (slice(0, 2), [False, False, True, False]),
        (slice("income", "age"), slice(2, 3)),
        (np.array([True, True, False, False]), ["region"]),
        (make_column_selector(dtype_include=float), make_column_selector(dtype_exclude=np.number)),
        ([-4, -3], [-2]),
    ]:
        rest = [rest] if isinstance(rest, str) else rest
        for remainder in ("drop", "passthrough", MinMaxScaler(clip=True)):
            steps = ColumnTransformer([("a", StandardScaler(), columns), ("b", text, rest)], remainder=remainder)
            net = proved(fitted(make_pipeline(steps, regressor()), table, y), table)
            assert ("grade" in net.features.columns) == (remainder != "drop")
    steps = ColumnTransformer([("none", StandardScaler(), []), ("two", "passthrough", [1]), ("out", "drop", [2])])
    net = proved(fitted(make_pipeline(steps, regressor()), numbers, numbers[:, 1]), numbers)
    assert (net.feature_names, net.features.columns) == (("x1",), ("x0", "x1", "x2", "x3"))


def test_an_array_with_text(people: pd.DataFrame) -> None:
    X = people[["income", "region", "grade"]].to_numpy(dtype=object)
    steps = ColumnTransformer(
        [
            ("n", make_pipeline(SimpleImputer(), StandardScaler()), [0]),
            ("c", OneHotEncoder(handle_unknown="ignore"), [1, 2]),
        ]
    )
    net = proved(fitted(make_pipeline(steps, regressor()), X, people["age"]), X)
    assert net.features.columns == ("x0", "x1", "x2")
    assert net.feature_names[:2] == ("x0", "x1=Cape")


def test_a_column_transformer_after_another_one(people: pd.DataFrame) -> None:
    first = ColumnTransformer([("n", SimpleImputer(), ["income", "age"]), ("c", "passthrough", ["region"])])
    second = ColumnTransformer([("c", OneHotEncoder(handle_unknown="ignore"), [2]), ("n", StandardScaler(), [1, 0])])
    proved(fitted(make_pipeline(first, second, regressor()), people, people["age"]), people)


def test_random_pipelines(people: pd.DataFrame) -> None:
    """Fifty random column transformers under random heads."""
    rng = np.random.default_rng(3)
    scalers = [StandardScaler(), MinMaxScaler(clip=True), MaxAbsScaler(), RobustScaler(), "passthrough"]
    fill = [
        SimpleImputer(),
        SimpleImputer(strategy="median", add_indicator=True),
        SimpleImputer(strategy="most_frequent"),
    ]
    levels = [
        OneHotEncoder(handle_unknown="ignore"),
        OneHotEncoder(drop="first", sparse_output=False),
        OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=15),
        OneHotEncoder(max_categories=3, drop="first"),
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-2, encoded_missing_value=-1),
    ]
    heads: list[tuple[Any, Any]] = [
        (classifier(), people["age"] > 50),
        (classifier(), people["grade"]),
        (classifier(), rng.integers(2, size=(len(people), 3))),
        (regressor(), people["age"]),
        (TransformedTargetRegressor(regressor(), transformer=StandardScaler()), people["age"] * 1e3),
    ]

    def pick(options: list[Any]) -> Any:
        chosen = options[rng.integers(len(options))]
        return chosen if isinstance(chosen, str) else sklearn.base.clone(chosen)

    for _ in range(50):
        parts: list[Any] = []
        for k in range(rng.integers(1, 5)):
            if rng.random() < 0.5:
                chain = [pick(fill), pick(scalers)][:: rng.choice([1, -1])]
                if chain[1] is not None and isinstance(chain[0], MinMaxScaler):
                    chain.reverse()  # what was clipped cannot be filled
                columns = rng.choice(["income", "age", "grade"], size=rng.integers(1, 4), replace=False).tolist()
                parts.append((f"p{k}", make_pipeline(*chain), columns))
            else:
                chain = [pick(levels)]
                if rng.random() < 0.5:
                    chain.insert(0, SimpleImputer(strategy="most_frequent"))
                columns = [["region"], ["grade"], ["region", "grade"]][rng.integers(3)]
                parts.append((f"p{k}", make_pipeline(*chain), columns))
        head, y = heads[rng.integers(len(heads))]
        weights = {"p0": 0.5} if rng.random() < 0.3 else None
        steps = ColumnTransformer(parts, transformer_weights=weights)
        model = make_pipeline(steps, StandardScaler(with_mean=False), sklearn.base.clone(head))
        proved(fitted(model, people, y), people)


# ---------------------------------------------------------------- targets, searches, wrappers


@pytest.mark.parametrize(
    "transformer",
    [
        None,
        StandardScaler(),
        StandardScaler(with_mean=False),
        MinMaxScaler((-1, 3)),
        MaxAbsScaler(),
        RobustScaler(),
        make_pipeline(StandardScaler(), MinMaxScaler()),
        FunctionTransformer(),
    ],
    ids=repr,
)
def test_a_scaled_target(transformer: Any, numbers: np.ndarray) -> None:
    for y in (numbers[:, 3] * 100, numbers[:, 1:3]):
        inner = make_pipeline(StandardScaler(), regressor())
        model = fitted(TransformedTargetRegressor(inner, transformer=transformer), numbers, y)
        proved(model, numbers, numbers * 1.1)
    outer = make_pipeline(MinMaxScaler(), TransformedTargetRegressor(regressor(), transformer=transformer))
    proved(fitted(outer, numbers, numbers[:, 3]), numbers)


def test_a_search_gives_its_best_estimator(numbers: np.ndarray) -> None:
    search = GridSearchCV(make_pipeline(StandardScaler(), classifier()), {"mlpclassifier__alpha": [1e-4, 1]}, cv=2)
    net = proved(fitted(search, numbers, numbers[:, 0] > 0), numbers)
    assert "GridSearchCV: best_estimator_ was read" in net.provenance.notes
    inside = make_pipeline(StandardScaler(), GridSearchCV(regressor(), {"alpha": [1e-4, 1]}, cv=2))
    proved(fitted(inside, numbers, numbers[:, 0]), numbers)


def test_frozen_and_thresholded_classifiers(numbers: np.ndarray) -> None:
    y = numbers[:, 0] > 0
    inner = fitted(make_pipeline(StandardScaler(), classifier()), numbers, y)
    proved(FrozenEstimator(inner), numbers)
    net = proved(fitted(FixedThresholdClassifier(inner, threshold=0.9), numbers, y), numbers)
    assert "threshold is not part of the network" in " ".join(net.provenance.notes)


def test_a_users_subclass_is_proved_like_any_other(numbers: np.ndarray) -> None:
    class Mine(StandardScaler):
        pass

    assert reader.recognises(Mine())
    proved(fitted(make_pipeline(Mine(), regressor()), numbers, numbers[:, 0]), numbers)


# ---------------------------------------------------------------- names and options


def test_names_come_from_the_table_or_from_the_caller(numbers: np.ndarray) -> None:
    table = pd.DataFrame(numbers, columns=["a", "b", "c", "d"])
    named = fitted(make_pipeline("passthrough", StandardScaler(), regressor()), table, numbers[:, 0])
    net = proved(named, table, table[["d", "b", "a", "c"]].rename(columns=str)[["a", "b", "c", "d"]])
    assert net.feature_names == ("a", "b", "c", "d")
    np.testing.assert_array_equal(net.decision(table), net.decision(table[["d", "b", "a", "c"]]))
    with pytest.raises(ColumnError, match="lacks 1 of the 4"):
        net.decision(table.rename(columns={"b": "B"}))
    with pytest.raises(ArgumentError, match=r"fitted on columns named 'a', 'b', 'c', 'd'; feature_names gives"):
        reader.read(named, Options(feature_names=["p", "q", "r", "s"]))

    plain = fitted(make_pipeline(SimpleImputer(), regressor()), numbers, numbers[:, 0])
    net = proved(plain, numbers, options=Options(feature_names=["p", "q", "r", "s"]))
    assert net.feature_names == ("p", "q", "r", "s")
    assert net.features.named
    with pytest.raises(ColumnError, match="2 feature names were given for a network with 4 inputs"):
        reader.read(plain, Options(feature_names=["p", "q"]))


def test_options_that_contradict_the_estimator(numbers: np.ndarray) -> None:
    model = fitted(classifier(), numbers, numbers[:, 0] > 0)
    assert reader.read(model, Options(link="logit")).network.link == "logit"
    with pytest.raises(ArgumentError, match="link='identity' contradicts the MLPClassifier, whose link is 'logit'"):
        reader.read(model, Options(link="identity"))
    with pytest.raises(ArgumentError, match="normalise=True means nothing"):
        reader.read(model, Options(normalise=True))


def test_load_proves_the_network(people: pd.DataFrame, yes: np.ndarray) -> None:
    model = fitted(make_pipeline(mixed(), classifier()), people, yes)
    net = load(model, probe=people)
    assert net.faithfulness is not None
    assert net.faithfulness.against == f"scikit-learn {sklearn.__version__}"
    assert net.faithfulness.max_difference < 1e-12
    assert net.faithfulness.agreement == 1
    assert any("before the link" in note and "of yours" in note for note in net.provenance.notes)
    assert net.provenance.source == "scikit-learn Pipeline"
    assert dict(net.provenance.operators)["OneHotEncoder"] == 2


def test_a_step_that_does_something_else_than_its_class_is_found_out(numbers: np.ndarray) -> None:
    class Crooked(StandardScaler):
        def transform(self, X: Any, copy: Any = None) -> Any:
            return super().transform(X) ** 3

    model = fitted(make_pipeline(Crooked(), regressor()), numbers, numbers[:, 0])
    with pytest.raises(UnfaithfulError, match="differs from scikit-learn"):
        load(model)


def test_an_estimator_that_refuses_the_probe(numbers: np.ndarray) -> None:
    class Narrow(StandardScaler):
        def transform(self, X: Any, copy: Any = None) -> Any:
            if (np.abs(X[:, 0]) > 4).any():
                raise ValueError("x0 beyond 4")
            return super().transform(X)

    model = fitted(make_pipeline(Narrow(), regressor()), numbers, numbers[:, 0])
    with pytest.raises(ModelError, match=r"Pipeline refuses the rows .* x0 beyond 4"):
        load(model)


def test_recognising_does_not_import_the_framework() -> None:
    program = (
        "import sys; from relucidate.frameworks import sklearn as s; assert not s.recognises(object());"
        "assert 'sklearn' not in sys.modules"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize(
    ("model", "answer"), [(classifier(), True), (LogisticRegression(), True), ("model.onnx", False), ([], False)]
)
def test_recognises(model: Any, answer: bool) -> None:
    assert reader.recognises(model) is answer


# ---------------------------------------------------------------- refusals


class Strange(sklearn.base.BaseEstimator, sklearn.base.TransformerMixin):
    def fit(self, X: Any, y: Any = None) -> "Strange":
        self.fitted_ = True
        return self

    def transform(self, X: Any) -> Any:
        return X


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (
            classifier(activation="tanh"),
            UnsupportedModelError,
            "2 hidden layers .* activation='tanh', which is not piecewise",
        ),
        (
            make_pipeline(StandardScaler(), classifier(activation="logistic")),
            UnsupportedModelError,
            "step 1 'mlpclassifier'",
        ),
        (
            make_pipeline(PowerTransformer(), classifier()),
            UnsupportedModelError,
            "step 0 'powertransformer': PowerTransformer",
        ),
        (
            make_pipeline(StandardScaler(), Normalizer(), classifier()),
            UnsupportedModelError,
            "step 1 'normalizer'.*Supported",
        ),
        (make_pipeline(KNNImputer(), classifier()), UnsupportedModelError, "KNNImputer is not known to be affine"),
        (make_pipeline(Strange(), classifier()), UnsupportedModelError, "Pipeline step 0 'strange': Strange"),
        (
            make_pipeline(FunctionTransformer(np.sign), classifier()),
            UnsupportedModelError,
            "applies the function 'sign'",
        ),
        (make_pipeline(FunctionTransformer(np.tanh, validate=True), classifier()), UnsupportedModelError, "'tanh'"),
        (
            make_pipeline(SimpleImputer(missing_values=0), classifier()),
            UnsupportedModelError,
            "fills cells that hold 0",
        ),
        (
            make_pipeline(MinMaxScaler(clip=True), OneHotEncoder(handle_unknown="ignore"), classifier()),
            UnsupportedModelError,
            "another step",
        ),
        (
            make_pipeline(MinMaxScaler(clip=True), SimpleImputer(), classifier()),
            UnsupportedModelError,
            "Put the imputer first",
        ),
        (
            make_pipeline(
                ColumnTransformer([("deep", make_pipeline(StandardScaler(), Normalizer()), [0, 1])]), classifier()
            ),
            UnsupportedModelError,
            "step 0 'columntransformer': ColumnTransformer 'deep': Pipeline step 1 'normalizer': Normalizer",
        ),
        (make_pipeline(StandardScaler(), "passthrough"), UnsupportedModelError, "ends in 'passthrough'"),
        (RandomForestClassifier(2), UnsupportedModelError, "RandomForestClassifier is not a ReLU network"),
        (CalibratedClassifierCV(classifier(), cv=2), UnsupportedModelError, "pass the classifier inside"),
        (GridSearchCV(classifier(), {"alpha": [1]}, cv=2, refit=False), ModelError, "refit=True"),
        (
            TransformedTargetRegressor(regressor(), func=np.log1p, inverse_func=np.expm1, check_inverse=False),
            UnsupportedModelError,
            "'log1p'.*log link.*regressor_",
        ),
        (
            TransformedTargetRegressor(regressor(), transformer=PowerTransformer()),
            UnsupportedModelError,
            "target with PowerTransformer, which is not linear",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refusals_name_the_step(model: Any, error: type[Exception], message: str, numbers: np.ndarray) -> None:
    with pytest.raises(error, match=message):
        reader.read(fitted(model, numbers, (numbers[:, 0] > 0).astype(int)), Options())


@pytest.mark.parametrize(
    "model",
    [
        classifier(),
        make_pipeline(StandardScaler(), classifier()),
        GridSearchCV(classifier(), {"alpha": [1]}),
        TransformedTargetRegressor(regressor()),
        ColumnTransformer([("a", StandardScaler(), [0])]),
        FixedThresholdClassifier(classifier()),
    ],
    ids=lambda m: type(m).__name__,
)
def test_an_unfitted_model_is_told_to_be_fitted(model: Any) -> None:
    with pytest.raises(ModelError, match=r"is not fitted: .*Call fit|not a ReLU network"):
        reader.read(model, Options())


def test_steps_that_do_not_chain(numbers: np.ndarray) -> None:
    inner = fitted(classifier(), numbers, numbers[:, 0] > 0)
    scaler = StandardScaler().fit(numbers[:, :3])
    with pytest.raises(ModelError, match="was fitted on 4 columns, but 3 reach it"):
        reader.read(Pipeline([("scale", scaler), ("net", inner)]), Options())


def test_levels_that_are_no_levels() -> None:
    X = pd.DataFrame({"when": pd.to_datetime(["2020-01-01", "2021-01-01"] * 20)})
    model = fitted(make_pipeline(OneHotEncoder(), regressor()), X, np.arange(40.0))
    with pytest.raises(UnsupportedModelError, match="levels must be text, numbers or booleans"):
        reader.read(model, Options())
    both = pd.DataFrame({"a": pd.Series(["x", None, np.nan, "y"] * 10, dtype=object)})
    model = fitted(make_pipeline(OneHotEncoder(), regressor()), both, np.arange(40.0))
    with pytest.raises(UnsupportedModelError, match="None and NaN as two levels in column 0"):
        reader.read(model, Options())
