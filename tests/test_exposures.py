"""Exposure: its parts against loops and other libraries, false alarms on undrifted sets, and the drift that was planted."""

import sys
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportions_ztest

import relucidate as rl
from relucidate import diagnose, exposures
from relucidate.errors import ArgumentError, NumericalOverflowError
from relucidate.exposures import Exposure, exposure
from relucidate.features import Feature, Features
from relucidate.network import Network
from relucidate.scoring import adjusted, means_by_group
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


def zip_codes(levels: int) -> Network:
    items = tuple(Feature(f"zip={i}", "zip", "level", (f"z{i}",)) for i in range(levels))
    return replace(random_network([levels, 8, 1], seed=3, link="logit"), features=Features(items, ("zip",), True))


def codes(levels: int, n: int, seed: int) -> pd.DataFrame:
    return pd.DataFrame({"zip": [f"z{i}" for i in np.random.default_rng(seed).integers(0, levels, n)]})


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


def joined_by_hand(table: pd.DataFrame) -> Any:
    """Rows of a table of counts (groups, 2), small ones joined in the order of the index, by the rule as it is written."""
    size = table.sum(axis=1) * (table.sum().min() / table.to_numpy().sum())
    kept = [row.to_numpy(float) for (_, row), s in zip(table.iterrows(), size, strict=True) if s >= 5]
    closed: list[Any] = []
    held, held_size = np.zeros(2), 0.0
    for (_, row), s in zip(table.iterrows(), size, strict=True):
        if s >= 5:
            continue
        held, held_size = held + row.to_numpy(float), held_size + s
        if held_size >= 5:
            closed.append(held)
            held, held_size = np.zeros(2), 0.0
    if closed:
        closed[-1] = closed[-1] + held
    return np.array(kept + closed).T


def test_a_shift_among_many_rare_levels_is_found() -> None:
    net = zip_codes(400)
    train, test = codes(400, 3000, 0), codes(200, 600, 1)
    u = rl.unwrap(net, train)
    found = exposure(u, u, test)
    both = pd.concat([train, test])["zip"]
    table = pd.crosstab(both, np.r_[np.zeros(3000), np.ones(600)])
    assert (table.sum(axis=1) * (600 / 3600) < 5).all()
    counts = joined_by_hand(table)
    assert found.feature_p[1, 0] == pytest.approx(stats.chi2_contingency(counts, correction=False).pvalue, rel=1e-6)
    assert found.feature_p[1, 0] < 1e-20
    q, p = (counts[k] + 0.5 for k in (1, 0))
    q, p = q / q.sum(), p / p.sum()
    assert found.feature_psi[1, 0] == pytest.approx(((q - p) * np.log(q / p)).sum(), rel=SUMS)
    assert found.feature_psi[1, 0] > 5 * found.feature_psi_expected[1, 0]
    assert found.feature_flag[1, 0]


def test_regions_of_single_rows_are_joined_in_the_order_of_their_bits() -> None:
    net = random_network([8, 30, 30, 1], seed=3)
    train, test = (np.random.default_rng(k).normal(size=(n, 8)) for k, n in ((0, 900), (1, 700)))
    u = rl.unwrap(net, train)
    found = exposure(u, u, test).drift[0]
    names = ["".join(map(str, bits.astype(int))) for bits in net.patterns(np.vstack([train, test])).bits()]
    assert len(set(names)) > 1500
    counts = joined_by_hand(pd.crosstab(np.array(names), np.r_[np.zeros(900), np.ones(700)]))
    assert found.n_groups == counts.shape[1] > 100
    assert found.p_regions == pytest.approx(stats.chi2_contingency(counts, correction=False).pvalue, rel=1e-6)
    assert found.psi_expected == pytest.approx((counts.shape[1] - 1) * (1 / 900 + 1 / 700))


def test_what_is_joined_does_not_depend_on_the_split() -> None:
    rng = np.random.default_rng(0)
    total = rng.poisson(rng.exponential(6, 200)) + 1
    label = np.repeat(np.arange(200), total)
    sizes = set()
    for _ in range(20):
        mine = np.bincount(label[rng.permutation(len(label))[:300]], minlength=200)
        sizes.add(tuple(exposures._pooled(np.stack([total - mine, mine]).astype(float)).sum(axis=0)))
    assert len(sizes) == 1


@pytest.mark.parametrize(("levels", "n", "m"), [(400, 3000, 600), (5000, 6000, 6000), (3000, 2000, 200)])
def test_many_rare_groups_raise_few_alarms(levels: int, n: int, m: int) -> None:
    rng = np.random.default_rng(0)
    share = rng.exponential(size=levels)
    share /= share.sum()
    held = [
        exposures._shares_test(np.stack([rng.multinomial(k, share) for k in (n, m)]).astype(float))[1]
        for _ in range(300)
    ]
    assert np.mean(np.array(held) <= 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)


def test_too_few_rows_for_a_test_of_shares_are_told() -> None:
    net = zip_codes(30)
    train = codes(30, 200, 0)
    u = rl.unwrap(net, train)
    found = exposure(u, u, codes(30, 8, 1))
    d = found.drift[0]
    assert np.isnan(
        [d.p_regions, d.psi, d.psi_expected, d.p_features, found.feature_p[1, 0], found.feature_psi[1, 0]]
    ).all()
    assert d.n_groups == 1
    assert not found.drifted
    assert 0 <= d.p <= 1
    said = repr(found)
    few = "cannot be told: rows are so few that a single group is left once each is expected to have 5 of train and of test"
    assert f"test: whether shares of regions have changed {few}" in said
    assert f"test: whether levels of zip have changed {few}" in said
    assert "shares of regions cannot be told, rows in new patterns p 1, features cannot be told" in said
    assert "nan" not in said
    linear = SPECIMENS["linear"]
    x = rows_for(linear)
    one = exposure(rl.unwrap(linear, x), x, x)
    assert (one.drift[0].p_regions, one.drift[0].psi) == (1, 0)  # nothing was joined
    assert "test: all rows lie in the one region that those of train lie in" in repr(one)


def test_rows_without_weight_leave_stability_alone() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=300), rng.normal(size=200) + 0.2
    plain = exposures._column(a, b, np.ones(300), np.ones(200))
    more = np.r_[a, rng.normal(size=150) * 9 + 4], np.r_[np.ones(300), np.zeros(150)]
    assert exposures._column(more[0], b, more[1], np.ones(200)) == pytest.approx(plain, rel=SUMS)
    times = rng.integers(1, 4, 300)
    np.testing.assert_array_equal(
        exposures._quantiles(a, times.astype(float)),
        np.unique(np.quantile(np.repeat(a, times), np.arange(1, 10) / 10, method="inverted_cdf")),
    )


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


def not_larger(other: Any, train: Any, tail: str = "greater") -> float:
    """The larger p-value of Welch's test and of Student's with the variance about the common mean, which a correlation holds."""
    welch = stats.ttest_ind(other, train, equal_var=False, alternative=tail).pvalue
    n = len(other) + len(train)
    r = stats.pearsonr(np.r_[np.ones(len(other)), np.zeros(len(train))], np.r_[other, train]).statistic
    t = r * np.sqrt(n - 1)
    null = stats.t.sf(t, n - 2) if tail == "greater" else 2 * stats.t.sf(abs(t), n - 2)
    return float(max(welch, null))


def test_worse_takes_the_larger_p_value_of_two_tests() -> None:
    net = random_network([2, 4, 1], seed=3)
    x = np.random.default_rng(0).normal(size=(600, 2))
    y = net.decision(x)[:, 0] + np.random.default_rng(1).normal(size=600) * 0.1
    u = rl.unwrap(net, x, y)
    worst = u.region_of == 0
    v = y + np.where(worst, np.random.default_rng(2).normal(size=600), 0)
    found = exposure(u, u, (x, v))
    loss = [(net.decision(x)[:, 0] - t) ** 2 for t in (y, v)]
    tested = np.flatnonzero(u.count >= 20)
    raw = [not_larger(loss[1][u.region_of == r], loss[0][u.region_of == r]) for r in tested]
    np.testing.assert_allclose(found.worse_p[1][tested], multipletests(raw, method="fdr_bh")[1], rtol=1e-7)
    assert np.flatnonzero(found.worse_flag[1]).tolist() == [0]
    assert not found.drifted  # the same rows
    d = found.drift[0]
    assert d.worse_p == pytest.approx(not_larger(loss[1], loss[0]), rel=1e-7)
    assert d.worse_p < 1e-6
    assert d.loss_change == pytest.approx(loss[1].mean() - loss[0].mean(), rel=SUMS)


@pytest.mark.parametrize(("n", "m"), [(40, 300), (300, 40), (60, 60)])
def test_limits_of_the_change_are_where_the_tests_turn(n: int, m: int) -> None:
    rng = np.random.default_rng(0)
    train, other = rng.lognormal(0, 1, n), rng.lognormal(0.3, 1.5, m)
    held = [means_by_group(np.zeros(len(v), dtype=int), 1, v) for v in (train, other)]
    apart, low, high, _ = (float(v[0]) for v in exposures._change(held[0], held[1], 0.9, 1))

    def rejected(shift: float) -> float:
        return not_larger(other - shift, train, "two-sided") - 0.1

    assert low == pytest.approx(optimize.brentq(rejected, apart - 50, apart), rel=1e-6)
    assert high == pytest.approx(optimize.brentq(rejected, apart, apart + 50), rel=1e-6)


def losses_of(kind: str, rng: np.random.Generator, size: tuple[int, ...]) -> Any:
    rare = {"one in fifty": 0.02, "one in twenty": 0.05}
    if kind in rare:
        return np.where(rng.random(size) < rare[kind], 3.5, rare[kind])
    return rng.lognormal(0, 1.5, size) if kind == "lognormal" else rng.pareto(2.2, size)


@pytest.mark.parametrize("kind", ["one in fifty", "one in twenty", "lognormal", "pareto"])
@pytest.mark.parametrize(("n", "m"), [(20, 200), (200, 20), (50, 2000), (2000, 50), (100, 100)])
def test_skewed_losses_raise_few_flags(kind: str, n: int, m: int) -> None:
    """Ten regions of one distribution in both sets: a flag among them in at most 5 of 100 families."""
    rng = np.random.default_rng(0)
    families, R = 200, 10
    held = [
        means_by_group(
            np.repeat(np.arange(families * R), size), families * R, losses_of(kind, rng, (families * R, size)).ravel()
        )
        for size in (n, m)
    ]
    p = exposures._change(held[0], held[1], 0.95, families * R)[3].reshape(families, R)
    assert np.isfinite(p).all()
    flagged = np.mean([(adjusted(row) <= 0.05).any() for row in p])
    assert flagged <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / families)


def rare_events() -> Network:
    net = random_network([3, 8, 1], seed=1, link="logit")
    last = net.layers[-1]
    return replace(net, layers=(*net.layers[:-1], replace(last, bias=np.asarray(last.bias) - 3)))


def test_a_larger_set_of_rare_events_is_not_called_worse() -> None:
    net, flags, larger = rare_events(), 0, 0
    for seed in range(15):
        (x, y), (z, v) = drawn(net, 2000, 2 * seed), drawn(net, 20_000, 2 * seed + 1)
        u = rl.unwrap(net, x, y)
        found = exposure(u, u, (z, v))
        flags += found.worse_flag.any()
        larger += found.drift[0].loss_low > 0
    assert flags <= 1
    assert larger <= 3  # 2.5 % on either side


def test_equal_losses_are_not_larger_by_rounding() -> None:
    def held(n: int, loss: float) -> Any:
        return means_by_group(np.zeros(n, dtype=int), 1, np.full(n, loss))

    constant = held(200, 0.1), held(21, 0.1)
    _, low, high, p = exposures._change(*constant, 0.95, 1)
    assert p[0] == 0.5
    assert low[0] < 0 < high[0]
    assert exposures._change(constant[0], held(21, 0.2), 0.95, 1)[3][0] < 1e-6


def test_verdict_and_interval_of_the_loss_agree() -> None:
    net, near = random_network([3, 8, 1], seed=1, link="logit"), 0
    for seed in (*range(12), 110, 135):
        rng = np.random.default_rng(seed)
        x, z = rng.normal(size=(500, 3)), rng.normal(size=(500, 3))
        y, v = ((rng.random(500) < net.inverse_link(net.decision(a))[:, 0]).astype(int) for a in (x, z))
        u = rl.unwrap(net, x, y)
        found = exposure(u, u, (z, v))
        d = found.drift[0]
        near += d.worse_p <= 0.05 and d.loss_low < 0
        assert (d.loss_low > 0) == (d.worse_p <= 0.025)
        said = next(line for line in found.summary() if "the mean loss is" in line)
        assert ("is larger than in train" in said) == (d.loss_low > 0)
    assert near  # one-sided at 5 % the verdict would differ from the interval


def test_too_few_rows_for_a_test_of_losses_are_told() -> None:
    net = SPECIMENS["one logit"]
    (x, y), (z, v) = drawn(net, 300, 0), drawn(net, 19, 1)
    u = rl.unwrap(net, x, y)
    d = exposure(u, u, (z, v)).drift[0]
    assert np.isnan([d.loss_low, d.loss_high, d.worse_p]).all()
    assert np.isfinite(d.loss_change)
    assert "away from that of train; to test it takes 20 rows in both sets" in repr(exposure(u, u, (z, v)))
    deep = random_network([6, 30, 1], seed=3, link="logit")
    (x, y), (z, v) = drawn(deep, 100, 0), drawn(deep, 100, 1)
    u = rl.unwrap(deep, x, y)
    found = exposure(u, u, (z, v))
    assert np.isfinite(found.drift[0].worse_p)
    assert "; no region has 20 rows in both sets" in repr(found)


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
    for alpha in ("0.05", None, True):
        with pytest.raises(ArgumentError, match=f"alpha is .*{alpha}.*; expected a number between 0 and 1"):
            exposure(u, x, x, alpha=alpha)  # type: ignore[arg-type]
    for wrong in ((), (x, None, None, 1)):
        with pytest.raises(ArgumentError, match=rf"test is a tuple of {len(wrong)}; expected X, \(X, y\) or"):
            exposure(u, x, wrong)
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


def test_sets_are_matched_by_the_names_that_the_first_of_them_brought() -> None:
    net = random_network([2, 6, 1], seed=3, link="logit")
    x, y = drawn(net, 400, 0)
    frame = pd.DataFrame(x, columns=["a", "b"])
    turned = frame[["b", "a"]].assign(spare=1.0)
    u = rl.unwrap(net, x, y)
    found = exposure(u, (frame, y), (turned, y), production=turned)
    assert found.features == ("a", "b")
    scores = [t.of("auc")[0][0] for t in found.totals if t is not None]
    assert scores[0] == scores[1] == pytest.approx(u.scores["auc"], rel=SUMS)
    assert found.drift[0].loss_change == 0
    assert found.statistic[1:].max() == 0
    said = found.summary()
    assert "note: train: the network names no inputs; the table's columns were taken by position: 'a', 'b'" in said
    assert "note: test, production: columns not used: 'spare'" in said
    assert exposure(u, u, (frame, y), turned).statistic[1:].max() == 0
    assert exposure(u, rl.unwrap(net, frame, y), (turned, y)).statistic[1:].max() == 0
    other = rl.unwrap(net, turned[["b", "a"]], y)
    for first, name in (((frame, y), "train"), (rl.unwrap(net, frame), "train")):
        with pytest.raises(ArgumentError, match=f"test was .* in the order 'b', 'a', {name} in the order 'a', 'b'"):
            exposure(u, first, other)


def test_each_set_has_a_caveat_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    net = SPECIMENS["one logit"]
    (x, y), (z, v) = drawn(net, 300, 0), drawn(net, 90, 1)
    monkeypatch.setattr("relucidate.sampling.MAX_ROWS", 100)
    u = rl.unwrap(net, x, y)
    found = exposure(u, u, (z, v))
    lines = found.summary()
    assert lines[0].startswith("train: 300 rows")
    assert lines[0].endswith(" (on a sample of 100 of 300 rows)")
    assert lines[1].startswith("test: 90 rows")
    assert "sample" not in lines[1]
    assert found.caveats == (" (on a sample of 100 of 300 rows)", "")
    assert found.caveat == " (train on a sample of 100 of 300 rows)"
    assert exposure(u, (z, v), (z, v)).caveat == ""


def test_counts_of_one_are_told_in_the_singular() -> None:
    net = random_network([3, 8, 1], seed=7, link="logit")
    x, y = drawn(net, 200, 0)
    known = set(net.patterns(x).ids())
    rng = np.random.default_rng(5)
    new = next(row for row in rng.normal(size=(500, 3)) * 3 if net.patterns(row[None]).ids()[0] not in known)
    found = exposure(rl.unwrap(net, x, y), x, np.vstack([x[:6], new]))
    assert "test: 1 row (14.29%) lies in patterns that train never used" in repr(found)
    assert "on average" not in repr(found)
    assert "1 rows" not in repr(found)
    assert "1 groups" not in repr(found)


def test_huge_losses_are_told_in_few_digits() -> None:
    net = SPECIMENS["deep"]
    x = rows_for(net, 60)
    y = net.decision(x)[:, 0]
    wrong = y.copy()
    wrong[17] = 1e30
    u = rl.unwrap(net, x, y)
    said = repr(exposure(u, u, (x, wrong)))
    assert "MSE 1.667e+58" in said
    assert max(len(word) for word in said.split()) < 30


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


def test_flagged_regions_are_named_and_a_smaller_loss_is_called_so() -> None:
    net = random_network([3, 8, 1], seed=1, link="logit")
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(3000, 3)), rng.normal(size=(3000, 3)) + np.array([0.5, 0.0, 0.0])
    said, random = (net.decision(b)[:, 0] > 0).astype(int), (rng.random(3000) < 0.5).astype(int)
    result = exposure(rl.unwrap(net, a), (a, random), (b, said))
    flagged = np.flatnonzero(result.share_flag[1])
    assert len(flagged)
    first = flagged[np.abs(result.share[1] - result.share[0])[flagged].argmax()]
    regions = f"{len(flagged)} region{'s' * (len(flagged) > 1)}: {first}"
    (line,) = [line for line in result.summary() if "stability index" in line]
    assert f"another share of the rows in {regions}" in line
    assert result.drift[0].loss_high < 0
    assert any("the mean loss is smaller than in train, a change of -" in line for line in result.summary())
