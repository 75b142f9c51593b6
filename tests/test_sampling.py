"""The sample: which rows it keeps depends on their numbers and the seed alone."""

from __future__ import annotations

import numpy as np
import pytest

import relucidate as rl
from relucidate import sampling
from relucidate.errors import ArgumentError
from small_networks import SPECIMENS


def drawn(n, told, cuts=(), seed=0):
    X = np.arange(float(n))[:, None]
    sampler = sampling.Sampler(1, n if told else None, seed)
    for a, b in zip([0, *cuts], [*cuts, n], strict=True):
        sampler.take(X[a:b], X[a:b, 0], None, X[a:b], np.zeros(b - a, dtype=np.int32))
    return sampler.sample()


@pytest.mark.parametrize("over", [0, 1, 7, 40, 41, 1000])
def test_a_table_a_little_over_the_limit_is_sampled(monkeypatch, over):
    # up to six standard deviations over, every row is a candidate
    monkeypatch.setattr(sampling, "MAX_ROWS", 50)
    sample = drawn(50 + over, told=True)
    assert len(sample.row) == 50
    assert sample.is_complete == (over == 0)
    assert (np.diff(sample.row) > 0).all()
    assert np.array_equal(sample.x[:, 0], sample.row)
    assert np.array_equal(sample.y, sample.row)


def test_cuts_and_foreknowledge_of_the_length_change_nothing(monkeypatch):
    monkeypatch.setattr(sampling, "MAX_ROWS", 50)
    first = drawn(3000, told=True)
    for told, cuts in [(False, ()), (True, (1, 2, 2999)), (False, tuple(range(7, 3000, 7))), (False, (1500,))]:
        assert np.array_equal(drawn(3000, told, cuts).row, first.row)
    assert not np.array_equal(drawn(3000, told=True, seed=1).row, first.row)


def test_every_row_has_the_same_chance(monkeypatch):
    monkeypatch.setattr(sampling, "MAX_ROWS", 100)
    kept = np.zeros(1000)
    for seed in range(400):
        kept[drawn(1000, told=True, seed=seed).row] += 1
    # binomial(400, 0.1): mean 40, sd 6; the largest of 1,000 deviations stays within 5 sd, and means of halves within 5
    assert np.abs(kept - 40).max() < 30
    assert abs(kept[:500].mean() - 40) < 5 * 6 / np.sqrt(500)


@pytest.mark.parametrize("seed", [-1, 2**64, 0.5, None, "0"])
def test_a_seed_that_is_none_is_refused(seed):
    with pytest.raises(ArgumentError, match="random_state is"):
        rl.unwrap(SPECIMENS["abs"], np.zeros((3, 1)), random_state=seed)


def test_a_constant_column_has_its_own_value_and_no_spread():
    rng = np.random.default_rng(0)
    for n, weight in ((500, rng.random(500)), (777, None), (3, None)):
        constant = np.array([1 / 3, 0.1, 1.0, 1e9 + 0.3])
        x = np.concatenate([rng.normal(size=(n, 1)), np.tile(constant, (n, 1))], axis=1)
        s = sampling.Sample(np.arange(n), n, x, x, np.zeros(n, dtype=np.int32), weight=weight)
        assert s.mean[1:].tolist() == constant.tolist()
        assert s.sd[1:].tolist() == [0, 0, 0, 0]
        w = np.ones(n) if weight is None else weight
        assert s.mean[0] == pytest.approx(np.average(x[:, 0], weights=w), abs=1e-14)
        assert s.sd[0] == pytest.approx(np.sqrt(np.average((x[:, 0] - s.mean[0]) ** 2, weights=w)))


def test_rows_without_weight_do_not_make_a_column_vary():
    x = np.array([[5.0, 1.0], [0.1, 2.0], [0.1, 4.0]])
    s = sampling.Sample(np.arange(3), 3, x, x, np.zeros(3, dtype=np.int32), weight=np.array([0.0, 0.3, 0.7]))
    assert (s.mean[0], s.sd[0]) == (0.1, 0)


def test_the_spread_of_huge_and_tiny_values_is_finite():
    for size in (1e200, 1e-200, 1.0):
        x = size * np.array([[1.0], [2.0], [3.0]])
        s = sampling.Sample(np.arange(3), 3, x, x, np.zeros(3, dtype=np.int32))
        assert s.sd[0] == pytest.approx(size * np.sqrt(2 / 3))
