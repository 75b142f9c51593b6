"""Exposure: its parts against loops and other libraries, false alarms on undrifted sets, and the drift that was planted."""

import sys
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportions_ztest

import relucidate as rl
from relucidate import diagnose, exposures
from relucidate.errors import ArgumentError, NumericalOverflowError
from relucidate.exposures import Exposure, exposure
from relucidate.network import Network
from relucidate.sums import row_loss
from small_networks import SPECIMENS, random_network, rows_for
from test_importances import grouped
from test_performances import response

sys.path.insert(0, str(Path(__file__).parents[1] / "examples" / "home_lending"))
import simulate

sys.path.pop(0)

SUMS = 1e-9  # relative: sums in another order differ in the last places


def drawn(net: Network, n: int, seed: int, move: float = 0.0) -> tuple[Any, Any]:
    x = np.random.default_rng(seed).normal(size=(n, net.n_features)) + move
    return x, response(net, x, seed)


@cache
def lending() -> rl.Unwrapped:
    example = rl.examples.home_lending()
    return rl.unwrap(rl.load(example.model), example.train, example.target)


# ---------------------------------------------------------------- parts


@pytest.mark.parametrize("name", SPECIMENS)
def test_counts_and_losses_are_those_of_a_loop(name: str) -> None:
    net = SPECIMENS[name]
    train, test = rows_for(net, 200), rows_for(net, 100, 1) * 1.5
    y = response(net, train), response(net, test, 1)
    u = rl.unwrap(net, train, y[0])
    found = exposure(u, (train, y[0]), (test, y[1]))
    region = u.assign(test)
    np.testing.assert_array_equal(found.count[0], u.count)
    np.testing.assert_array_equal(found.count[1], np.bincount(region[region >= 0], minlength=u.n_regions))
    assert found.outside.tolist() == [0, (region < 0).sum()]
    assert found.drift[0].n_unseen == (region < 0).sum()
    np.testing.assert_allclose(found.share[1], found.count[1] / len(test), rtol=SUMS)
    loss = row_loss(net, net.decision(test), y[1]) / (1 if net.is_classifier else net.n_outputs)
    scores = found.scores[1]
    assert scores is not None
    for r in np.flatnonzero(found.count[1])[:10]:
        assert scores.value[-1, r] == pytest.approx(loss[region == r].mean(), rel=SUMS)
        if not net.is_classifier:
            expected = np.asarray(y[1]).reshape(len(test), -1)[region == r].mean(axis=0)
            np.testing.assert_allclose(found.response[1, r], expected, rtol=1e-7, atol=1e-12)
    drift = found.drift[0]
    np.testing.assert_allclose(drift.contribution.sum(axis=1) + drift.remainder, drift.shift, atol=1e-12)
    moved = net.decision(test).mean(axis=0) - net.decision(train).mean(axis=0)
    moved = moved - moved.mean() if net.link == "softmax" else moved
    np.testing.assert_allclose(drift.shift, moved, atol=1e-9)
    assert len(found.to_frame()) == 2 * u.n_regions + (found.outside > 0).sum()
    again = exposure(u, u, rl.unwrap(net, test, y[1]))
    np.testing.assert_array_equal(again.share_p, found.share_p)


def test_shift_of_a_linear_network_is_all_explained() -> None:
    net = SPECIMENS["linear"]
    train, test = rows_for(net), rows_for(net, 80, 3) + 1
    found = exposure(rl.unwrap(net, train), train, test)
    coef = np.asarray(net.layers[0].weight)
    np.testing.assert_allclose(
        found.drift[0].contribution[0], coef[0] * (test.mean(axis=0) - train.mean(axis=0)), rtol=SUMS
    )
    assert abs(found.drift[0].remainder[0]) < 1e-12
    assert np.isnan(found.drift[0].loss_change)
    assert "no response" in found.summary()[0]


def test_chi_square_two_proportions_and_ks_are_those_of_other_libraries() -> None:
    rng = np.random.default_rng(0)
    counts = rng.integers(8, 60, (2, 12)).astype(float)
    expected = stats.chi2_contingency(counts, correction=False).pvalue
    assert exposures._chi_square(counts) == pytest.approx(expected, rel=1e-8)
    n, m = counts.sum(axis=1)
    found = exposures._two_proportions(counts[0] / n, counts[1] / m, n, m)
    for k in range(12):
        assert found[k] == pytest.approx(proportions_ztest(counts[:, k], [n, m])[1], rel=1e-8)
    a, b = np.round(rng.normal(size=300), 1), np.round(rng.normal(size=200) + 0.2, 1)
    statistic, psi, _, p = exposures._column(a, b, np.ones(300), np.ones(200))
    whole = stats.ks_2samp(a, b, method="asymp")
    assert statistic == pytest.approx(whole.statistic, rel=SUMS)
    assert p == pytest.approx(stats.kstwobign.sf(whole.statistic * np.sqrt(300 * 200 / 500)), rel=1e-8)
    edges = np.r_[-np.inf, np.unique(np.quantile(a, np.linspace(0.1, 0.9, 9), method="lower")), np.inf]
    shares = [(np.array([((v > lo) & (v <= hi)).sum() for lo, hi in pairwise(edges)]) + 0.5) for v in (a, b)]
    q = [s / s.sum() for s in shares]
    assert psi == pytest.approx(((q[1] - q[0]) * np.log(q[1] / q[0])).sum(), rel=0.02)


def test_weights_are_copies_to_a_distance() -> None:
    rng = np.random.default_rng(0)
    a, b, times = rng.normal(size=60), rng.normal(size=50), rng.integers(1, 4, 60)
    found = exposures._kolmogorov_smirnov(a, b, times.astype(float), np.ones(50))
    assert found == pytest.approx(stats.ks_2samp(np.repeat(a, times), b).statistic, rel=SUMS)


def test_pooling_leaves_enough_rows_and_loses_none() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        counts = rng.poisson(rng.exponential(6, 30), (2, 30)).astype(float) + np.array([[1.0], [0.0]])
        pooled = exposures._pooled(counts)
        np.testing.assert_allclose(pooled.sum(axis=1), counts.sum(axis=1))
        expected = pooled.sum(axis=0) * counts.sum(axis=1).min() / counts.sum()
        assert (expected >= 5).all() or pooled.shape[1] == 1


def test_chance_of_unseen_rows_is_that_of_permutations() -> None:
    rng = np.random.default_rng(0)
    total = np.array([1] * 20 + [2] * 8 + [3] * 3 + [40, 60, 80])
    label = np.repeat(np.arange(len(total)), total)
    m = 70
    seen = []
    for _ in range(3000):
        mine = np.bincount(label[rng.permutation(len(label))[:m]], minlength=len(total))
        seen.append(mine[mine == total].sum())
    for observed in (6, 9, 12):
        expected = np.mean(np.array(seen) >= observed)
        # draws are independent between patterns, which permutations are not quite, and both are random
        assert exposures._unseen_p(total, m, observed) == pytest.approx(expected, abs=0.05)
    assert exposures._unseen_p(total, m, 0) == 1
    assert exposures._unseen_p(np.array([5, 5]), 5, 5) < 0.02


def test_distance_is_that_of_the_nearest_pattern() -> None:
    net = SPECIMENS["deep"]
    train, test = rows_for(net, 40), rows_for(net, 200, 2) * 2
    u = rl.unwrap(net, train)
    found = exposure(u, train, test).drift[0]
    seen, other = net.patterns(train).bits(), net.patterns(test).bits()
    away = (seen[None] != other[:, None]).sum(axis=2).min(axis=1)
    expected = np.bincount(away[away > 0])
    np.testing.assert_array_equal(found.distance, expected)
    assert found.mean_distance == pytest.approx(away[away > 0].mean())
    assert found.unseen_expected == pytest.approx((u.count == 1).sum() / 40)


def test_p_values_are_adjusted_over_what_was_tested() -> None:
    net = random_network([3, 8, 1], seed=7, link="logit")
    (x, y), (z, v) = drawn(net, 2000, 0), drawn(net, 1500, 1, 0.3)
    u = rl.unwrap(net, x, y)
    found = exposure(u, u, (z, v))
    raw = exposures._two_proportions(found.share[0], found.share[1], 2000, 1500)
    known = np.isfinite(raw)
    np.testing.assert_allclose(found.share_p[1][known], multipletests(raw[known], method="fdr_bh")[1], rtol=SUMS)
    assert (np.isnan(found.worse_p[1]) == (found.count.min(axis=0) < 20)).all()
    d = found.drift[0]
    assert d.p == pytest.approx(min(1, 4 * d.p_regions, 4 * d.p_unseen, 2 * d.p_features))
    assert d.drifted


def test_worse_is_a_welch_test() -> None:
    net = random_network([2, 4, 1], seed=3)
    x = np.random.default_rng(0).normal(size=(600, 2))
    y = net.decision(x)[:, 0] + np.random.default_rng(1).normal(size=600) * 0.1
    u = rl.unwrap(net, x, y)
    worst = u.region_of == 0
    v = y + np.where(worst, np.random.default_rng(2).normal(size=600), 0)
    found = exposure(u, u, (x, v))
    loss = [(net.decision(x)[:, 0] - t) ** 2 for t in (y, v)]
    raw = [
        stats.ttest_ind(loss[1][u.region_of == r], loss[0][u.region_of == r], equal_var=False, alternative="greater")[1]
        for r in np.flatnonzero(u.count >= 20)
    ]
    np.testing.assert_allclose(found.worse_p[1][u.count >= 20], multipletests(raw, method="fdr_bh")[1], rtol=1e-7)
    assert np.flatnonzero(found.worse_flag[1]).tolist() == [0]
    assert not found.drifted  # the same rows
    assert found.drift[0].worse_p < 1e-6


def test_columns_of_levels_are_tested_as_one() -> None:
    net, frame = grouped()
    frame = pd.concat([frame] * 5, ignore_index=True)
    other = frame.assign(town=np.where(np.arange(len(frame)) % 2 == 0, "C", frame["town"]))
    u = rl.unwrap(net, frame)
    found = exposure(u, frame, other)
    assert found.features == ("age", "town", "debt")
    assert found.feature_flag[1].tolist() == [False, True, False]
    table = pd.crosstab(np.r_[np.zeros(400), np.ones(400)], np.r_[frame["town"], other["town"]]).to_numpy()
    raw = stats.chi2_contingency(table, correction=False).pvalue
    assert found.drift[0].p_features == pytest.approx(3 * raw, rel=1e-6)
    assert found.features_frame()["feature"].iloc[0] == "town"
    assert "town (distance" in repr(found)


def test_sets_that_do_not_fit_are_refused() -> None:
    net = SPECIMENS["lattice"]
    x = rows_for(net)
    u = rl.unwrap(net, x)
    with pytest.raises(ArgumentError, match="alpha is 5; expected a number between 0 and 1"):
        exposure(u, x, x, alpha=5)
    with pytest.raises(ArgumentError, match="Expected an Unwrapped, got a Network"):
        exposure(net, x, x)  # type: ignore[arg-type]
    joined = u.join_equal()
    with pytest.raises(ArgumentError, match="train was unwrapped with another network"):
        exposure(u, rl.unwrap(SPECIMENS["deep"], rows_for(SPECIMENS["deep"])), x)
    assert exposure(joined, x, x).count.sum() == 2 * len(x)


@pytest.mark.parametrize("name", ["lattice", "twins"])
@pytest.mark.parametrize("weighted", [False, True])
def test_joined_results_are_taken_apart_again(name: str, weighted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposures, "_ROWS", 64)
    net = SPECIMENS[name]
    train, test = rows_for(net, 300), rows_for(net, 100, 1) * 1.5
    rng = np.random.default_rng(0)
    weight = [rng.integers(1, 4, len(x)).astype(float) if weighted else None for x in (train, test)]
    y = response(net, train), response(net, test, 1)
    u, v = rl.unwrap(net, train, y[0], weight[0]), rl.unwrap(net, test, y[1], weight[1])
    joined, other = u.join_equal(), v.join_equal()
    assert joined.n_regions < len(joined.patterns)
    found, expected = exposure(u, joined, other), exposure(u, u, v)
    for name in ("count", "outside", "share", "response", "share_p", "worse_p", "feature_p", "mean"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=SUMS, atol=1e-12)
    for a, b in zip(found.totals + found.scores, expected.totals + expected.scores, strict=True):
        assert a is not None
        assert b is not None
        np.testing.assert_allclose(a.value, b.value, rtol=SUMS)
    for field in ("p", "p_regions", "p_unseen", "psi", "n_groups", "n_unseen", "unseen_expected", "loss_change"):
        assert getattr(found.drift[0], field) == pytest.approx(getattr(expected.drift[0], field), rel=SUMS), field
    np.testing.assert_array_equal(found.drift[0].distance, expected.drift[0].distance)
    np.testing.assert_allclose(found.drift[0].contribution, expected.drift[0].contribution, rtol=1e-7, atol=1e-12)


def test_joined_results_of_a_sample_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    net = SPECIMENS["lattice"]
    x = rows_for(net, 300)
    monkeypatch.setattr("relucidate.sampling.MAX_ROWS", 100)
    u = rl.unwrap(net, x)
    with pytest.raises(
        ArgumentError, match="test is a result whose equal regions were joined and which keeps 100 of its 300"
    ):
        exposure(u, x, u.join_equal())


def test_losses_whose_squares_are_too_large_are_named() -> None:
    net = SPECIMENS["deep"]
    x = rows_for(net, 60)
    y = net.decision(x)[:, 0]
    wrong = y.copy()
    wrong[17] = 1e80
    u = rl.unwrap(net, x, y)
    with pytest.raises(NumericalOverflowError, match=r"Row 17 of test has a loss of 1e\+160, of a decision of"):
        exposure(u, u, (x, wrong))
    wrong[17] = 1e30
    assert np.isfinite(exposure(u, u, (x, wrong)).drift[0].worse_p)


def test_training_rows_outside_of_the_unwrapped_table_are_told() -> None:
    net = SPECIMENS["deep"]
    found = exposure(rl.unwrap(net, rows_for(net, 30)), rows_for(net, 100, 1), rows_for(net, 50, 2))
    assert found.outside[0] > 0
    assert f"{found.outside[0]:,} rows of train lie in patterns that the unwrapped table never used" in repr(found)
    frame = found.to_frame()
    assert frame.groupby("set")["count"].sum().to_dict() == {"train": 100, "test": 50}
    assert frame.groupby("set")["share"].sum().to_list() == pytest.approx([1, 1])


def test_production_is_a_third_set() -> None:
    net = SPECIMENS["one logit"]
    (x, y), (z, v) = drawn(net, 300, 0), drawn(net, 200, 1)
    found = exposure(rl.unwrap(net, x, y), (x, y), (z, v), np.vstack([z, z + 3]))
    assert found.names == ("train", "test", "production")
    assert [d.drifted for d in found.drift] == [False, True]
    assert found.scores[2] is None
    assert set(found.to_frame()["set"]) == set(found.names)
    assert set(found.features_frame()["set"]) == {"test", "production"}
    assert any(line.startswith("production has drifted against train") for line in found.summary())


# ---------------------------------------------------------------- false alarms, and the planted drift


def alarms(seeds: range, n: int = 8000) -> list[Exposure]:
    u = lending()
    return [exposure(u, u, (simulate.simulate(n, "later", seed, drift=False), "default")) for seed in seeds]


def test_undrifted_sets_raise_few_alarms() -> None:
    found = alarms(range(40), 3000)
    assert sum(e.drifted for e in found) <= 4
    for e in found:
        assert e.drifted or not (e.share_flag.any() or e.feature_flag.any())
    psi = np.array([e.drift[0].psi for e in found])
    expected = np.mean([e.drift[0].psi_expected for e in found])
    assert psi.mean() == pytest.approx(expected, rel=0.1)  # the training rows are the same in all of them


@pytest.mark.slow
def test_a_hundred_undrifted_sets_raise_few_alarms() -> None:
    assert sum(e.drifted for e in alarms(range(100))) <= 10


def test_small_sets_raise_few_alarms() -> None:
    """Training and test anew each time: at most 5 in 100 at the level of 5 %, three standard errors more allowed."""
    net = random_network([4, 12, 8, 1], seed=3, link="logit")
    found = 0
    for seed in range(80):
        x, z = (np.random.default_rng(2 * seed + k).normal(size=(n, 4)) for k, n in ((0, 600), (1, 300)))
        u = rl.unwrap(net, x)
        found += exposure(u, u, z).drifted
    assert found / 80 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 80)


def test_planted_drift_is_found() -> None:
    example, u = rl.examples.home_lending(), lending()
    found = exposure(u, u, (example.test, example.target))
    assert found.drifted
    assert found.drift[0].p < 1e-6
    assert found.drift[0].psi > 10 * found.drift[0].psi_expected
    flagged = {name for name, flag in zip(found.features, found.feature_flag[1], strict=True) if flag}
    planted = {
        "unemployment_rate",
        "house_price_growth_1y",
        "loan_to_value",
        "credit_score",
        "debt_to_income",
        "self_employed",
    }
    assert planted <= flagged
    assert not flagged & {"loan_age_months", "loan_amount_usd", "first_time_buyer"}
    said = "\n".join(found.summary())
    assert "test has drifted against train (family-wise p < 0.001, level 0.05)" in said
    assert "house_price_growth_1y (distance 0.57, mean 3.849 → -3.855)" in said
    undrifted = alarms(range(1))[0]
    assert "test shows no drift against train" in repr(undrifted)


def test_it_is_in_diagnose() -> None:
    assert diagnose.exposure is exposure
    assert diagnose.Exposure is Exposure
