"""Sums per pattern: they add up in any order, and far-off means, weights of 0 and many features cost nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import r2_score

import rational
import relucidate as rl
from relucidate import sums, unwrapping
from relucidate.layers import Layer
from relucidate.network import Network
from small_networks import SPECIMENS, rows_for


def shifted(net, by):
    last = net.layers[-1]
    return Network((*net.layers[:-1], Layer(last.weight, last.bias + by, last.activation)), net.features)


@pytest.mark.parametrize("offset", [0.0, 1e4, 1e8, -1e10])
def test_a_response_far_from_zero_keeps_its_scores(offset):
    net = shifted(SPECIMENS["deep"], offset)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 3))
    predicted = net.decision(X)[:, 0]
    y = predicted + 0.5 * rng.normal(size=500)
    u = rl.unwrap(net, X, y)
    table = u.table(global_scores="all")
    # a mean of 1e10 is itself known to 1e-6 only; the deviations are about 1
    close = {"rel": 1e-9 + 1e-16 * abs(offset) * 10, "abs": 1e-9}
    assert u.scores["r2"] == pytest.approx(r2_score(y, predicted), **close)
    for r in range(3):
        mine = u.region_of == r
        assert table["response_sd"][r] == pytest.approx(y[mine].std(), **close)
        assert table["local_r2"][r] == pytest.approx(r2_score(y[mine], predicted[mine]), **close)
        everywhere = X @ u.coef[r, 0] + u.intercept[r, 0]
        assert table["global_mse"][r] == pytest.approx(((y - everywhere) ** 2).mean(), **close)


def test_batches_about_different_origins_give_what_one_batch_gives():
    net = shifted(SPECIMENS["three outputs"], 1e6)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 4))
    y = net.decision(X) + rng.normal(size=(300, 3)) + np.linspace(0, 1e3, 300)[:, None]
    w = rng.random(300)
    whole, _ = sums.batch_sums(net, X, y, w)
    a, b = (sums.batch_sums(net, X[s], y[s], w[s])[0] for s in (slice(0, 100), slice(100, 300)))
    assert not np.array_equal(a.y_origin, b.y_origin)
    for joined in (sums.merge(a, b), sums.merge(b, a)):
        np.testing.assert_allclose(joined.total_variance(), whole.total_variance(), rtol=1e-9)
        one, other = np.lexsort(whole.packed.T), np.lexsort(joined.packed.T)
        np.testing.assert_allclose(joined.variance()[other], whole.variance()[one], rtol=1e-7, atol=1e-7)
        coef, intercept = rng.normal(size=(5, 3, 4)), 1e6 + rng.normal(size=(5, 3))
        truth = [(w[:, None] * (y - X @ c.T - i) ** 2).sum() for c, i in zip(coef, intercept, strict=True)]
        np.testing.assert_allclose(joined.squared_error(coef, intercept), truth, rtol=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.lists(st.integers(1, 59), max_size=5, unique=True), st.booleans())
def test_any_cut_adds_up_to_the_whole(seed, cuts, weighted):
    net = SPECIMENS["mixed"]
    rng = np.random.default_rng(seed)
    X, y = rows_for(net, 60, seed), rng.normal(size=(60, 2))
    w = rng.integers(0, 3, 60).astype(float) if weighted else None
    whole, codes = sums.batch_sums(net, X, y, w)
    total = sums.Total(whole.packed.shape[1])
    for a, b in zip([0, *sorted(cuts)], [*sorted(cuts), 60], strict=True):
        total.absorb(sums.batch_sums(net, X[a:b], y[a:b], None if w is None else w[a:b])[0])
    joined = total.sums().about(whole.y_origin)
    one, other = np.lexsort(whole.packed.T), np.lexsort(joined.packed.T)
    assert np.array_equal(whole.packed[one], joined.packed[other])
    assert np.array_equal(whole.count[one], joined.count[other])
    for name, values in whole.per_pattern().items():
        np.testing.assert_allclose(joined.per_pattern()[name][other], values[one], rtol=1e-11, atol=1e-11, err_msg=name)
    weight = np.ones(60) if w is None else w
    for p in range(len(whole.packed)):
        mine = codes == p
        assert whole.count[p] == mine.sum()
        np.testing.assert_allclose(whole.weight[p], weight[mine].sum())
        np.testing.assert_allclose(whole.x[p], (weight[:, None] * X)[mine].sum(axis=0), atol=1e-12)
        squared = ((y - net.decision(X)) ** 2).sum(axis=1)
        np.testing.assert_allclose(whole.loss[p], (weight * squared)[mine].sum(), rtol=1e-12)


def test_rows_of_weight_zero_are_counted_and_change_no_score():
    net = SPECIMENS["one logit"]
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(400, 3)), rng.integers(0, 2, 400)
    w = (np.arange(400) % 2).astype(float)
    u, half = rl.unwrap(net, X, y, w), rl.unwrap(net, X[1::2], y[1::2])
    assert u.n_rows == 400
    assert u.scores == pytest.approx(half.scores, rel=1e-12)
    assert u.share.sum() == pytest.approx(1, rel=1e-15)
    assert u.effective_regions == pytest.approx(half.effective_regions, rel=1e-12)
    score, positive = net.decision(X)[:, 0], y == 1
    for r in range(3):
        mine = u.region_of == r
        expected = rational.auc(score[mine], positive[mine], w[mine])
        assert u.table()["local_auc"][r] == pytest.approx(expected, rel=1e-12, nan_ok=True)


def test_one_row_with_any_weight_is_enough():
    net = SPECIMENS["deep"]
    X = np.random.default_rng(0).normal(size=(50, 3))
    w = np.zeros(50)
    w[7] = 2.0
    u = rl.unwrap(net, X, X[:, 0], w)
    assert u.scores["mse"] == pytest.approx(float((net.decision(X)[7, 0] - X[7, 0]) ** 2))
    assert u.effective_regions == 1
    assert u.table()["response_mean"].notna().sum() == 1


def test_mean_rows_are_left_out_where_they_would_not_fit(monkeypatch):
    net = SPECIMENS["deep"]
    X = np.random.default_rng(0).normal(size=(500, 3))
    whole = rl.unwrap(net, X, X[:, 0])
    monkeypatch.setattr(unwrapping, "_KEEP_X_BYTES", 100)
    u = rl.unwrap(net, iter([(X[:200], X[:200, 0]), (X[200:], X[200:, 0])]))
    assert any("mean rows" in note for note in u.notes)
    assert "mean: x0" not in u.table()
    assert np.array_equal(u.region_of, whole.region_of)
    np.testing.assert_allclose(u.table()["global_mse"], whole.table()["global_mse"], rtol=1e-9)


def test_joining_regions_leaves_the_first_result_alone():
    net = SPECIMENS["lattice"]
    X = np.random.default_rng(0).random((500, 2))
    u = rl.unwrap(net, iter([X]))  # of unknown length, so that assignments lie in a file
    before = np.array(u.region_of)
    joined = u.join_equal()
    assert joined.n_regions < u.n_regions
    assert np.array_equal(u.region_of, before)
    assert np.array_equal(u.assign(X), before)
    assert np.array_equal(joined.assign(X), joined.region_of)
