"""Simplifying: routes, refits, honesty of what is reported, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris, make_circles
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import relucidate as rl
from relucidate import examples, simplify
from relucidate.errors import ArgumentError
from relucidate.simplified import ByPattern, ByRule

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
VERBS = {"tree": simplify.tree, "cells": simplify.cells, "merge": simplify.merge}


def fitted(kind: Any, X: Any, y: Any, layers: tuple[int, ...] = (24, 24)) -> Any:
    net = kind(hidden_layer_sizes=layers, max_iter=300, random_state=0)
    return rl.load(make_pipeline(StandardScaler(), net).fit(X, y))


@pytest.fixture(scope="module")
def circles() -> Any:
    X, y = make_circles(1000, noise=0.1, factor=0.7, random_state=1)
    net = fitted(MLPClassifier, X[:500], y[:500])
    return rl.unwrap(net, X[:500], y[:500]), X[500:], y[500:]


@pytest.fixture(scope="module")
def curve() -> Any:
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"age": rng.uniform(20, 80, 800), "debt": rng.uniform(0, 5, 800)})
    y = np.abs(X["age"] - 50) / 10 + np.where(X["debt"] > 2, X["debt"], 0) + 0.05 * rng.normal(size=800)
    net = fitted(MLPRegressor, X, y)
    return rl.unwrap(net, X, y), X, y


@pytest.mark.parametrize("verb", VERBS)
def test_a_few_models_do_what_the_network_does(verb: str, circles: Any) -> None:
    u, X, y = circles
    s = VERBS[verb](u, n_models=8)
    assert s.n_models == 8
    assert s.count.sum() == 500
    ours, theirs = roc_auc_score(y, s.decision(X)), roc_auc_score(y, u.network.decision(X))
    one = roc_auc_score(y, LogisticRegression().fit(X, y).decision_function(X))
    assert ours > theirs - 0.03
    assert ours > one + 0.2
    assert s.scores["auc"][0] == pytest.approx(ours, abs=0.06)


@pytest.mark.parametrize("verb", VERBS)
def test_decisions_are_those_of_the_row_s_model(verb: str, circles: Any) -> None:
    u, X, _ = circles
    s = VERBS[verb](u, n_models=5)
    model = s.assign(X)
    by_hand = [s.intercept[m] + s.coef[m] @ row for m, row in zip(model, X, strict=True)]
    # sums in another order
    assert np.allclose(s.decision(X), by_hand, rtol=1e-12, atol=1e-12)
    p = s.predict_proba(X)
    assert np.allclose(p[:, 1], 1 / (1 + np.exp(-s.decision(X)[:, 0])), rtol=1e-12)
    assert np.allclose(p.sum(axis=1), 1)
    alone = np.concatenate([s.decision(X[i : i + 1]) for i in range(50)])
    assert np.array_equal(alone, s.decision(X)[:50])


@pytest.mark.parametrize("verb", VERBS)
def test_the_same_seed_gives_the_same_models(verb: str, circles: Any) -> None:
    u, _, _ = circles
    a, b = (VERBS[verb](u, n_models=4, random_state=3) for _ in range(2))
    assert np.array_equal(a.coef, b.coef)
    assert a.scores == b.scores


def test_models_of_decisions_are_least_squares(curve: Any) -> None:
    u, X, _ = curve
    s = simplify.tree(u, n_models=4, refit="decision")
    model, decision = s.assign(X), u.network.decision(X)
    for m in range(4):
        mine = model == m
        z = np.column_stack([np.ones(mine.sum()), X[mine]])
        fit = np.linalg.lstsq(z, decision[mine], rcond=None)[0]
        # ours has a ridge of a tenth of a row
        assert np.allclose(s.decision(X[mine]), z @ fit, atol=0.01)


def test_refits_to_the_response_are_penalised_likelihood(circles: Any) -> None:
    u, _, _ = circles
    s = simplify.single(u, refit="response")
    x, y = u.sample.x, u.sample.label
    plain = LogisticRegression(C=1e6).fit(x, y)
    # ours is drawn toward the network's own fit with the weight of one row in 500
    assert np.allclose(s.decision_of(x)[:, 0], plain.decision_function(x), atol=0.02)


def test_rules_lead_each_row_to_its_model_and_read_in_the_user_s_units(curve: Any) -> None:
    u, X, _ = curve
    s = simplify.tree(u, n_models=4, oblique=False)
    model = s.assign(X)
    rules = s.rules()
    for m in range(4):
        inside = np.zeros(len(X), dtype=bool)
        for text in rules.loc[rules["model"] == m, "rule"]:
            inside |= X.eval(text.replace(" and ", " & ") if text != "all rows" else "age == age").to_numpy()
        assert np.array_equal(inside, model == m), rules
    assert rules["count"].sum() == len(X)
    assert set(s.table().columns) >= {"rule", "count", "share", "response_mean", "coef: age", "coef: debt"}


def test_rules_stay_on_single_features_where_sums_of_them_gain_little() -> None:
    e = examples.home_lending()
    u = rl.unwrap(rl.load(e.model), e.train, e.target)
    s = simplify.tree(u, n_models=8)
    assert isinstance(s.route, ByRule)
    assert not s.route.tree.is_oblique()
    test = pd.read_parquet(e.test)
    network = rl.unwrap(u.network, e.test, e.target).scores["auc"]
    assert roc_auc_score(test[e.target], s.decision(test)) > network - 0.003
    assert "loan_age_months" in " ".join(s.rules()["rule"])


def test_fewest_models_within_a_standard_error(curve: Any) -> None:
    u, _, _ = curve
    s = simplify.tree(u, max_models=12)
    frame = s.curve.to_frame()
    within = frame.loc[frame["loss"] - frame["loss"].min() <= frame["error"], "n_models"]
    assert s.n_models == s.curve.chosen == within.min()
    assert frame["chosen"].sum() == 1
    assert 2 < s.n_models <= 12
    assert s.scores["r2"][0] > 0.95


def test_losses_on_the_curve_are_those_of_rows_not_fitted_to(curve: Any) -> None:
    """With a response of pure noise, more models must not look better."""
    u, X, _ = curve
    noise = np.random.default_rng(0).normal(size=len(X))
    s = simplify.tree(u, X, noise, refit="response", max_models=16)
    assert s.n_models == 1
    assert s.curve.loss[-1] > s.curve.loss[0]


def test_merging_finds_unseen_patterns(circles: Any) -> None:
    u, X, _ = circles
    s = simplify.merge(u, n_models=6)
    assert isinstance(s.route, ByPattern)
    unseen = u.assign(X) < 0
    assert unseen.any()
    assert np.isfinite(s.decision(X)).all()
    path = simplify.merge_path(u)
    assert path.n_regions == u.n_regions
    published = simplify.merge(u, n_models=6, by="published")
    assert published.method == "published merge"
    assert np.isfinite(published.decision(X)).all()


def test_pruning_keeps_the_largest_regions_as_they_are(circles: Any) -> None:
    u, _, _ = circles
    s = simplify.prune(u, 5)
    x = u.sample.x[u.sample.region < 5]
    assert np.array_equal(s.coef, u.coef[:5])
    assert np.allclose(s.decision_of(x), u.network.decision(x), atol=1e-9)
    with pytest.raises(ArgumentError, match="k is 0; there are"):
        simplify.prune(u, 0)


def test_softmax_networks_have_a_map_per_class() -> None:
    X, y = load_iris(return_X_y=True, as_frame=True)
    u = rl.unwrap(fitted(MLPClassifier, X, y), X, y)
    for verb in VERBS.values():
        s = verb(u, n_models=3)
        assert s.predict_proba(X).shape == (150, 3)
        assert s.scores["accuracy"][0] > 0.9


def test_without_a_response_the_decision_is_what_counts(curve: Any) -> None:
    u, X, _ = curve
    bare = rl.unwrap(u.network, X)
    s = simplify.tree(bare, n_models=6)
    assert s.scores == {}
    assert s.fidelity > 0.9
    assert s.curve.measure == "squared difference to the network's decision"
    with pytest.raises(ArgumentError, match="needs a response"):
        simplify.tree(bare, refit="response")
    with pytest.raises(ArgumentError, match="needs a response"):
        simplify.compare(bare)
    with pytest.raises(ArgumentError, match="needs a response"):
        simplify.inference(s)


def test_flattened_networks_have_one_hidden_layer(circles: Any) -> None:
    u, X, y = circles
    s = simplify.cells(u, n_models=8)
    flat = simplify.flatten(s, n_units=8, fine_tune=True)
    assert len(flat.network.hidden) == 1
    assert roc_auc_score(y, flat.network.decision(X)) > 0.85


def test_a_model_without_rows_in_the_table_has_its_reason(circles: Any) -> None:
    u, X, y = circles
    s = simplify.cells(u, n_models=3, refit="response")
    model = s.route.assign(s.network, np.asarray(X, dtype=float))
    frame = simplify.inference(s, X[model != 1], y[model != 1]).to_frame()
    none = frame[frame["model"] == 1]
    assert set(none["reason"]) == {"no rows"}
    assert (none["n"] == 0).all()
    assert none["estimate"].isna().all()
    assert frame[frame["model"] == 0]["estimate"].notna().any()


def test_inference_is_that_of_a_plain_logistic_regression(circles: Any) -> None:
    import statsmodels.api as sm

    u, X, y = circles
    s = simplify.single(u)
    frame = simplify.inference(s, X, y).to_frame()
    theirs = sm.Logit(y, sm.add_constant(X)).fit(disp=0)
    assert np.allclose(frame["estimate"], theirs.params, rtol=1e-6, atol=1e-9)
    assert np.allclose(frame["se"], theirs.bse, rtol=1e-6)
    assert "ignore" in simplify.inference(s).note
    assert "ignore" not in simplify.inference(s, X, y).note


def test_a_segment_of_one_class_has_a_reason_and_no_p_value() -> None:
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.uniform(-1, 1, size=(2000, 2)), columns=["a", "b"])
    y = ((X["a"] > 0) | (rng.random(2000) < 0.3)).astype(int)
    u = rl.unwrap(fitted(MLPClassifier, X, y), X, y)
    frame = simplify.inference(simplify.tree(u, n_models=2, oblique=False)).to_frame()
    without = frame[frame["p"].isna()]
    assert len(without)
    assert (without["reason"].str.len() > 0).all()
    assert (frame.loc[frame["p"].notna(), "reason"] == "").all()


def test_classes_of_several_are_set_against_the_first_by_their_names() -> None:
    data = load_iris(as_frame=True)
    y = data.target_names[data.target]
    u = rl.unwrap(fitted(MLPClassifier, data.data, y, (8,)), data.data, y)
    s = simplify.single(u)
    noisy = np.random.default_rng(0).permutation(y)  # classes that are not separated have an optimum
    frame = simplify.inference(s, data.data, noisy).to_frame()
    assert list(frame["output"].unique()) == ["versicolor against setosa", "virginica against setosa"]
    codes = np.searchsorted(data.target_names, noisy)
    import statsmodels.api as sm

    theirs = sm.MNLogit(codes, sm.add_constant(data.data)).fit(disp=0)
    assert np.allclose(frame["estimate"], np.asarray(theirs.params).T.ravel(), rtol=1e-4, atol=1e-5)
    two = noisy != "versicolor"
    frame = simplify.inference(s, data.data[two], noisy[two]).to_frame()
    assert set(frame["reason"]) == {"absent class: no rows of class versicolor"}


def test_features_that_do_not_vary_in_a_segment_are_left_out_by_name(curve: Any) -> None:
    _, X, y = curve
    doubled = X.assign(copy=2 * X["age"])
    net = fitted(MLPRegressor, doubled, y)
    frame = simplify.inference(simplify.single(rl.unwrap(net, doubled, y))).to_frame()
    (reason,) = frame.loc[frame["term"] == "copy", "reason"]
    assert reason == "follows from the features before it in this segment"
    assert frame.loc[frame["term"] == "age", "p"].notna().all()


def test_comparison_lists_what_has_to_be_beaten(circles: Any) -> None:
    u, X, y = circles
    found = simplify.compare(u, n_models=8, test=(X, y))
    frame = found.to_frame().set_index("method")
    assert frame.index[0] == "network"
    assert {"tree", "cells", "merge", "published merge", "prune", "one linear model", "random partition"} <= set(
        frame.index
    )
    assert frame.loc["tree", "auc"] > frame.loc["random partition", "auc"] + 0.2
    assert frame.loc["network", "auc"] == pytest.approx(roc_auc_score(y, u.network.decision(X)))
    assert found.on == "rows of your test table"


def test_the_best_is_the_one_with_the_lower_held_out_loss(circles: Any) -> None:
    u, _, _ = circles
    pair = [verb(u, n_models=6) for verb in (simplify.tree, simplify.cells)]
    best = simplify.best(u, n_models=6)
    assert best.method == min(pair, key=lambda s: s.curve.loss[-1]).method


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"n_models": 0}, "n_models is 0; expected a whole number from 1"),
        ({"n_models": 2.5}, "n_models is 2.5"),
        ({"max_models": True}, "max_models is True"),
        ({"refit": "both"}, "refit is 'both'; expected 'auto', 'response' or 'decision'"),
        ({"y": [1]}, "without X"),
    ],
)
def test_arguments_that_make_no_sense(options: dict[str, Any], text: str, circles: Any) -> None:
    with pytest.raises(ArgumentError, match=text):
        simplify.tree(circles[0], **options)


def test_too_few_rows() -> None:
    X = np.random.default_rng(0).normal(size=(10, 2))
    u = rl.unwrap(rl.load(([np.eye(2), np.ones((2, 1))], [np.zeros(2), np.zeros(1)])), X, X[:, 0])
    with pytest.raises(ArgumentError, match="10 rows are too few to simplify on; give 20 at least"):
        simplify.tree(u)


def test_summary_says_what_was_lost(circles: Any) -> None:
    s = simplify.tree(circles[0], n_models=4)
    text = repr(s)
    assert "4 linear models by tree, rows led to them by rule" in text
    assert "held-out AUC" in text
    assert isinstance(s.route, ByRule)
