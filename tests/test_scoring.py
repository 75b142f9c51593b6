"""Scores against scikit-learn and against counting all pairs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr
from sklearn.metrics import log_loss, roc_auc_score

import rational
from relucidate import scoring


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 4), st.booleans())
def test_auc_within_groups_is_the_share_of_pairs_won(seed, n, groups, weighted):
    rng = np.random.default_rng(seed)
    group, score = rng.integers(0, groups, n), rng.integers(-3, 4, n).astype(float)
    positive = rng.random(n) < 0.4
    weight = rng.integers(0, 4, n) / 2 if weighted else None
    got = scoring.auc_by_group(group, groups, score, positive, weight)
    for g in range(groups):
        mine = group == g
        expected = rational.auc(score[mine], positive[mine], None if weight is None else weight[mine])
        assert got[g] == pytest.approx(expected, rel=1e-12, nan_ok=True)


def test_auc_of_many_rows_is_scikit_learns():
    rng = np.random.default_rng(0)
    score, positive, weight = np.round(rng.normal(size=100_000), 3), rng.random(100_000) < 0.01, rng.random(100_000)
    assert scoring.auc(score, positive, weight) == pytest.approx(
        roc_auc_score(positive, score, sample_weight=weight), rel=1e-10
    )
    assert np.isnan(scoring.auc(np.zeros(0), np.zeros(0, dtype=bool)))
    assert np.isnan(scoring.auc_by_group(np.zeros(0, dtype=int), 2, np.zeros(0), np.zeros(0, dtype=bool))).all()


def test_log_loss_is_scikit_learns_and_finite_where_probabilities_saturate():
    rng = np.random.default_rng(0)
    d = rng.normal(size=(200, 4))
    y = rng.integers(0, 4, 200)
    p = np.exp(d) / np.exp(d).sum(axis=1, keepdims=True)
    assert scoring.log_loss(d, y, "softmax").mean() == pytest.approx(log_loss(y, p), rel=1e-12)
    binary = (y > 1).astype(float)
    q = 1 / (1 + np.exp(-d[:, :1]))
    assert scoring.log_loss(d[:, :1], binary, "logit").mean() == pytest.approx(log_loss(binary, q[:, 0]), rel=1e-12)
    several = (rng.random((200, 4)) < 0.5).astype(float)
    columns = [scoring.log_loss(d[:, [k]], several[:, k], "logit") for k in range(4)]
    np.testing.assert_allclose(scoring.log_loss(d, several, "logit"), np.sum(columns, axis=0), rtol=1e-12)
    far = np.array([[1000.0], [-1000.0]])
    assert scoring.log_loss(far, np.array([0.0, 0.0]), "logit").tolist() == [1000.0, 0.0]
    assert scoring.log_loss(np.hstack([far, -far]), np.array([1, 1]), "softmax").tolist() == [2000.0, 0.0]


# ---------------------------------------------------------------- weights


def drawn(seed: int, n: int, apart: float, heavy: float):
    """Rows of two classes of which scores are normal, with weights that are told by nothing."""
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.3).astype(int)
    decision = (rng.normal(size=n) + apart * y)[:, None]
    return decision, y, rng.lognormal(0, heavy, n) if heavy else None


def scored(decision, y, weight, link="logit"):
    loss = scoring.log_loss(decision, y, link)
    return scoring.scores_by_group(np.zeros(len(y), dtype=int), 1, decision, y, loss, link, weight)


@pytest.mark.parametrize(("n", "apart", "heavy"), [(60, 3.0, 2.0), (60, 1.5, 2.0), (20, 1.5, 1.0), (300, 3.0, 1.0)])
def test_intervals_of_weighted_rows_cover(n, apart, heavy):
    """A few heavy rows that are ordered alike say nothing of the others: 62 % were covered of 95 %."""
    rng = np.random.default_rng(10**6)
    y = (rng.random(10**6) < 0.3).astype(int)
    d = rng.normal(size=len(y)) + apart * y
    truth = {"auc": ndtr(apart / 2**0.5), "log_loss": np.logaddexp(0, np.where(y > 0, -d, d)).mean()}
    inside = {"auc": [], "log_loss": []}
    for seed in range(300):
        found = scored(*drawn(seed, n, apart, heavy))
        for name, covered in inside.items():
            _, low, high = (float(v[0]) for v in found.of(name))
            if np.isfinite(low):
                covered.append(low <= truth[name] <= high)
    assert np.mean(inside["auc"]) >= 0.94
    assert np.mean(inside["log_loss"]) >= 0.91  # means of skewed losses cover less than 95 % without weights too


@pytest.mark.parametrize("seed", range(20))
def test_equal_weights_change_no_interval(seed):
    decision, y, _ = drawn(seed, 40, 1.5, 0)
    plain, equal = scored(decision, y, None), scored(decision, y, np.full(40, 3.0))
    for name in plain.measures:
        np.testing.assert_allclose(equal.of(name), plain.of(name), rtol=1e-9)


@pytest.mark.parametrize("scale", [1e-200, 1e-160, 1e-3, 1e160, 1e250])
@pytest.mark.parametrize("heavy", [1e-9, 1.0])
def test_weights_have_no_unit(scale, heavy):
    """Weights of 1e160 lost their intervals: their squares overflow."""
    decision, y, weight = drawn(0, 200, 1.0, heavy)
    expected, found = scored(decision, y, weight), scored(decision, y, weight * scale)
    group, positive = np.arange(200) % 3, y == 1
    # groups of which one has another unit than the others, and classes too
    units = np.where(group == 1, scale, 1.0)
    areas = [scoring.auc_by_group(group, 3, decision[:, 0], positive, w) for w in (weight, weight * units)]
    np.testing.assert_allclose(areas[1], areas[0], rtol=1e-12)
    places = [scoring.placements(group, 3, decision[:, 0], positive, w) for w in (weight, weight * units)]
    np.testing.assert_allclose(places[1], places[0], atol=1e-12)
    by_class = scoring.auc(decision[:, 0], positive, weight * np.where(positive, scale, 1.0))
    assert by_class == pytest.approx(scoring.auc(decision[:, 0], positive, weight), rel=1e-12)
    for name in expected.measures:
        assert np.isfinite(expected.of(name)).all()
        np.testing.assert_allclose(found.of(name), expected.of(name), rtol=1e-9)
    assert (found.reason == "").all()


def test_variance_of_a_weighted_mean_is_right_on_average():
    """Over draws of values, with weights held fast."""
    rng = np.random.default_rng(0)
    weight = np.array([8.0, 4.0, 2.0, 1.0, 1.0])
    values = rng.normal(size=(40_000, 5))
    group = np.repeat(np.arange(len(values)), 5)
    mean, variance, n = scoring.means_by_group(group, len(values), values.ravel(), np.tile(weight, len(values)))
    exact = (weight**2).sum() / weight.sum() ** 2
    assert mean.var() == pytest.approx(exact, rel=0.03)  # four standard errors
    assert variance.mean() == pytest.approx(exact, rel=0.03)
    np.testing.assert_allclose(n, 1 / exact)


@pytest.mark.parametrize("heaviest", [1e2, 1e6, 1e11])
def test_one_heavy_row_leaves_a_finite_interval(heaviest):
    decision, y, _ = drawn(0, 60, 1.5, 0)
    weight = np.ones(60)
    weight[0] = heaviest
    for name, most in (("auc", 1.0), ("log_loss", 20.0)):
        value, low, high = (float(v[0]) for v in scored(decision, y, weight).of(name))
        assert low <= value <= high
        assert high - low <= most
    weight[0] = 1e20
    said = scored(decision, y, weight)
    assert np.isnan(said.of("log_loss")[1])
    assert said.reason[2, 0] == "one row has nearly all weight, no interval"


def test_few_effective_rows_widen_an_interval_up_to_wilsons():
    area, rows = np.array([0.99]), np.array([3.0])
    wide = scoring.wilson(area, rows, 0.95)
    low, high = scoring.auc_limits(area, np.array([1e-6]), rows, 0.95, np.array([0.3]))
    assert (low[0], high[0]) == (wide[0][0], wide[1][0])
    narrow = scoring.auc_limits(area, np.array([1e-6]), rows, 0.95)
    assert low[0] < narrow[0][0] < narrow[1][0] < high[0]
    # DeLong's own interval is never cut
    by_rows = scoring.auc_limits(area, np.array([0.3]), rows, 0.95)
    assert scoring.auc_limits(area, np.array([0.3]), rows, 0.95, np.array([0.3])) == by_rows


def test_a_score_above_float64_says_so():
    loss = np.array([1.0, np.inf])
    found = scoring.scores_by_group(np.zeros(2, dtype=int), 1, np.ones((2, 1)), np.ones((2, 1)), loss, "identity")
    assert found.reason[0, 0] == "a score that leaves the range of float64"
