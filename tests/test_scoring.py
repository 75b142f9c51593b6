"""Scores against scikit-learn and against counting all pairs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
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
