"""Performance: DeLong, Wilson and the scores of local models against slow computations and other libraries."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

import relucidate as rl
from relucidate import diagnose
from relucidate.errors import ArgumentError
from relucidate.network import Network
from relucidate.performances import Performance, _with_unseen, performance
from relucidate.scoring import (
    adjusted,
    auc_limits,
    auc_variance,
    larger_mean,
    mean_limits,
    means_by_group,
    placements,
    scores_by_group,
    wilson,
)
from relucidate.sums import row_loss
from small_networks import SPECIMENS, random_network, rows_for

SUMS = 1e-9  # relative: sums in another order differ in the last places


def response(net: Network, x: Any, seed: int = 0) -> Any:
    """Responses that the network predicts, with noise."""
    rng = np.random.default_rng(seed)
    p = net.inverse_link(net.decision(x))
    if net.link == "softmax":
        return (p.cumsum(axis=1) > rng.random((len(x), 1))).argmax(axis=1)
    if net.link == "logit":
        return (rng.random(p.shape) < p).astype(int)[:, 0]
    y = p + rng.normal(size=p.shape) * 0.3
    return y[:, 0] if net.n_outputs == 1 else y


def unwrapped(net: Network, n: int = 300, weighted: bool = False, seed: int = 0) -> rl.Unwrapped:
    x = rows_for(net, n, seed)
    weight = np.random.default_rng(1).integers(1, 4, len(x)) if weighted else None
    return rl.unwrap(net, x, response(net, x, seed), sample_weight=weight)


# ---------------------------------------------------------------- intervals and tests


def slow_delong(a: Any, b: Any, positive: Any) -> tuple[float, float, float]:
    """Area of a, its variance, and the variance of the difference of two areas: the paper's formulas, pair by pair."""

    def components(score: Any) -> tuple[Any, Any]:
        x, z = score[positive], score[~positive]
        psi = np.array([[1.0 if u > v else 0.5 if u == v else 0.0 for v in z] for u in x])
        return psi.mean(axis=1), psi.mean(axis=0)

    (a10, a01), (b10, b01) = components(a), components(b)
    m, n = positive.sum(), (~positive).sum()
    s10, s01 = np.cov(a10, b10), np.cov(a01, b01)
    s = s10 / m + s01 / n
    return float(a10.mean()), float(s[0, 0]), float(s[0, 0] + s[1, 1] - 2 * s[0, 1])


@pytest.mark.parametrize("seed", range(5))
def test_delong_is_the_papers(seed: int) -> None:
    rng = np.random.default_rng(seed)
    positive = rng.random(60) < 0.4
    a = np.round(rng.normal(size=60) + positive, 1)  # with ties
    b = np.round(rng.normal(size=60) + 0.5 * positive, 1)
    area, variance, of_difference = slow_delong(a, b, positive)
    group = np.zeros(60, dtype=int)
    one, other = placements(group, 1, a, positive), placements(group, 1, b, positive)
    assert one[positive].mean() == pytest.approx(roc_auc_score(positive, a), rel=SUMS)
    assert one[positive].mean() == pytest.approx(area, rel=SUMS)
    assert one[~positive].mean() == pytest.approx(area, rel=SUMS)
    assert auc_variance(group, 1, one, positive)[0] == pytest.approx(variance, rel=SUMS)
    assert auc_variance(group, 1, one - other, positive)[0] == pytest.approx(of_difference, rel=SUMS)


def test_groups_are_scored_apart() -> None:
    rng = np.random.default_rng(0)
    group, positive = rng.integers(0, 4, 200), rng.random(200) < 0.5
    score = np.round(rng.normal(size=200) + positive * group, 1)
    place = placements(group, 5, score, positive)
    variance = auc_variance(group, 5, place, positive)
    for g in range(4):
        here = group == g
        area, expected, _ = slow_delong(score[here], score[here], positive[here])
        assert place[here & positive].mean() == pytest.approx(area, rel=SUMS)
        assert variance[g] == pytest.approx(expected, rel=SUMS)
    assert np.isnan(variance[4])


def test_area_is_covered_by_its_interval() -> None:
    """Scores N(1, 1) against N(0, 1): the area is Φ(1/√2) = 0.760."""
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(400):
        positive = np.arange(60) < 25
        score = rng.normal(size=60) + positive
        place = placements(np.zeros(60, dtype=int), 1, score, positive)
        variance = auc_variance(np.zeros(60, dtype=int), 1, place, positive)
        low, high = auc_limits(np.array([place[positive].mean()]), variance, np.array([25.0]), 0.95)
        inside += int(low[0] <= 0.7602 <= high[0])
    assert 0.92 <= inside / 400 <= 0.98  # three standard errors are 0.033


def test_a_perfect_order_has_an_interval() -> None:
    low, high = auc_limits(np.array([1.0, 0.0]), np.zeros(2), np.array([4.0, 4.0]), 0.95)
    assert (low[0], high[0]) == (pytest.approx(proportion_confint(4, 4, method="wilson")[0]), 1)
    assert (low[1], high[1]) == (0, pytest.approx(proportion_confint(0, 4, method="wilson")[1]))


@pytest.mark.parametrize(("k", "n"), [(0, 5), (3, 7), (50, 1000), (9, 9)])
def test_wilson_is_that_of_statsmodels(k: int, n: int) -> None:
    for level in (0.9, 0.99):
        found = wilson(np.array([k / n]), np.array([float(n)]), level)
        expected = proportion_confint(k, n, 1 - level, "wilson")
        np.testing.assert_allclose([v[0] for v in found], expected, atol=1e-12)


def test_mean_and_welch_are_those_of_statsmodels() -> None:
    rng = np.random.default_rng(0)
    values, code = rng.exponential(size=50), np.arange(50) % 3 // 2
    mean, variance, n = means_by_group(code, 2, values)
    low, high = mean_limits(mean, variance, n, 0.9)
    held = [DescrStatsW(values[code == g]) for g in range(2)]
    for g in range(2):
        np.testing.assert_allclose((low[g], high[g]), held[g].tconfint_mean(0.1), rtol=SUMS)
    p = larger_mean(mean[:1], variance[:1], n[:1], over=(mean[1:], variance[1:], n[1:]))
    expected = CompareMeans(*held).ttest_ind("larger", "unequal")[1]
    assert p[0] == pytest.approx(expected, rel=1e-8)


def test_adjusted_is_benjamini_hochberg() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(40) ** 3
    np.testing.assert_allclose(adjusted(p), multipletests(p, method="fdr_bh")[1], rtol=SUMS)
    holes = p.copy()
    holes[::4] = np.nan
    known = np.isfinite(holes)
    np.testing.assert_allclose(adjusted(holes)[known], multipletests(p[known], method="fdr_bh")[1], rtol=SUMS)
    assert np.isnan(adjusted(holes)[~known]).all()
    assert np.isnan(adjusted(np.full(3, np.nan))).all()


def test_what_cannot_be_computed_says_why() -> None:
    group = np.array([0, 0, 0, 1, 2, 2, 3, 3])
    y = np.array([0, 1, 1, 1, 0, 0, 1, 0])
    decision = np.linspace(-1, 1, 8)[:, None]
    found = scores_by_group(group, 5, decision, y, np.ones(8) * group, "logit")
    auc, accuracy, loss = found.reason
    assert auc.tolist() == [
        "one row of a class, no interval",
        "one class",
        "one class",
        "one row of a class, no interval",
        "no rows",
    ]
    assert accuracy.tolist() == ["", "", "", "", "no rows"]
    assert loss.tolist() == ["", "one row, no interval", "", "", "no rows"]
    np.testing.assert_array_equal(np.isnan(found.value[0]), [False, True, True, False, True])
    assert np.isnan(found.low[0]).all()
    assert found.why(1) == "AUC: one class; log-loss: one row, no interval"
    assert found.why(4) == "no rows"


# ---------------------------------------------------------------- local and global


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", SPECIMENS)
def test_scores_are_those_of_a_loop(name: str, weighted: bool) -> None:
    u = unwrapped(SPECIMENS[name], weighted=weighted)
    found = performance(u)
    net, s = u.network, u.sample
    assert found.measures == {"logit": ("auc", "accuracy", "log_loss"), "softmax": ("accuracy", "log_loss")}.get(
        net.link, ("mse",)
    )
    for r in range(min(u.n_regions, 20)):
        here = s.region == r
        decision = s.x @ np.asarray(u.coef[r]).T + u.intercept[r]
        for held, rows in ((found.local, here), (found.overall, np.ones(len(here), dtype=bool))):
            w, d, y = s.weights[rows], decision[rows], s.y[rows]
            for m, measure in enumerate(found.measures):
                if measure == "auc":
                    value = roc_auc_score(y, d[:, 0], sample_weight=w) if len(set(y)) == 2 else np.nan
                elif measure == "accuracy":
                    value = np.average((d.argmax(axis=1) if net.n_outputs > 1 else d[:, 0] > 0) == y, weights=w)
                else:
                    value = np.average(row_loss(net, d, y), weights=w) / (net.n_outputs if measure == "mse" else 1)
                # ties of the network's and the local model's rounding move an AUC by a pair
                assert held.value[m, r] == pytest.approx(value, rel=1e-6, nan_ok=True, abs=1e-12)
    for m, measure in enumerate(found.measures):
        assert found.network.value[m, 0] == pytest.approx(u.scores[measure], rel=1e-9) if measure in u.scores else True
    known = np.isfinite(found.local.low)
    assert (found.local.low[known] <= found.local.value[known] + 1e-12).all()
    assert (found.local.high[known] >= found.local.value[known] - 1e-12).all()


def test_table_agrees_with_that_of_unwrap() -> None:
    u = unwrapped(SPECIMENS["one logit"])
    frame, table = performance(u, most=10).to_frame(), u.table(global_scores=10)
    for column in ("count", "share", "local_auc", "local_log_loss", "global_auc", "global_log_loss"):
        np.testing.assert_allclose(frame[column], table[column], rtol=1e-7)
    assert frame["reason"].iloc[10:].str.contains("outside of the 10 with the most rows").all()
    assert "reason" in frame
    assert frame["reason"][(table["count"] == 1).idxmax()].startswith("local AUC: one class")


def test_another_table_counts_unseen_rows_apart() -> None:
    net = SPECIMENS["one logit"]
    u = unwrapped(net, 100)
    x = np.random.default_rng(5).normal(size=(500, 3)) * 3
    y = response(net, x, 3)
    found = performance(u, x, y)
    region = u.assign(x)
    unseen = region < 0
    assert found.n_unseen == unseen.sum() > 20
    np.testing.assert_array_equal(found.count, np.bincount(region[~unseen], minlength=u.n_regions))
    assert found.count.sum() + found.n_unseen == 500
    decision = net.decision(x)[:, 0]
    assert found.unseen.of("auc")[0][0] == pytest.approx(roc_auc_score(y[unseen], decision[unseen]), rel=SUMS)
    assert found.network.of("auc")[0][0] == pytest.approx(roc_auc_score(y, decision), rel=SUMS)
    frame = found.to_frame()
    assert frame.loc[-1, "count"] == found.n_unseen
    assert frame["share"].sum() == pytest.approx(1)
    assert frame.loc[-1, "pattern"] == "never seen"
    assert any("rows (" in line and "patterns never seen" in line for line in found.summary())
    again = performance(u, rl.unwrap(net, x, y))
    np.testing.assert_array_equal(again.local.value, found.local.value)


def test_gap_is_paired() -> None:
    u = unwrapped(SPECIMENS["one logit"], 400)
    found = performance(u)
    s, gap = u.sample, found.gap
    other = (s.x @ np.asarray(u.coef[gap.region]).T + u.intercept[gap.region])[:, 0]
    area, _, variance = slow_delong(s.decision[:, 0], other, s.label == 1)
    assert found.overall.value[0, gap.region] == np.nanmax(found.overall.value[0])
    assert gap.value == pytest.approx(area - roc_auc_score(s.label, other), rel=1e-9)
    assert (gap.high - gap.low) / 2 == pytest.approx(1.959964 * np.sqrt(variance), rel=1e-5)


@pytest.mark.parametrize(("link", "k"), [("identity", 2), ("softmax", 3)])
def test_gap_of_other_scores(link: str, k: int) -> None:
    u = unwrapped(random_network([3, 8, k], seed=1, link=link), 400)
    found = performance(u)
    s, gap, net = u.sample, found.gap, u.network
    other = s.x @ np.asarray(u.coef[gap.region]).T + u.intercept[gap.region]
    if link == "softmax":
        lost = (s.decision.argmax(axis=1) == s.y).astype(float) - (other.argmax(axis=1) == s.y)
    else:
        lost = (row_loss(net, other, s.y) - row_loss(net, s.decision, s.y)) / k
    assert gap.value == pytest.approx(lost.mean(), rel=1e-9)
    np.testing.assert_allclose((gap.low, gap.high), DescrStatsW(lost).tconfint_mean(), rtol=1e-9)


def test_words_say_whether_one_model_would_do() -> None:
    straight = performance(unwrapped(SPECIMENS["linear"]))
    assert straight.gap.verdict == "one model would do"
    assert straight.summary()[1].startswith("a single linear model would do: the model of region 0 reaches MSE")
    bent = performance(unwrapped(SPECIMENS["abs"]))
    assert bent.gap.verdict == "one model would not do"
    assert "would not do" in repr(bent)


def rows_of_one_region(net: Network, n: int) -> tuple[Any, Any]:
    """Rows of the largest region and its neighbourhood, where one local model is the network."""
    u = unwrapped(net, 4000)
    x = u.sample.x[u.sample.region == u.count.argmax()][:n]
    assert len(x) == n
    return x, response(net, x, 1)


@pytest.mark.parametrize("link", ["logit", "softmax", "identity"])
def test_few_rows_do_not_show_that_one_model_would_do(link: str) -> None:
    """Where no row tells two models apart, the next may: of 6 rows they were said to be the same, [0, 0]."""
    net = random_network([2, 6, 3 if link == "softmax" else 1], seed=3, link=link)
    x, y = rows_of_one_region(net, 200)
    few = performance(rl.unwrap(net, x[:6], y[:6]))
    assert few.gap.verdict in ("undecided", "not known")
    found = performance(rl.unwrap(net, x, y))
    gap = found.gap
    assert gap.value == 0
    n = {"logit": min((y == 0).sum(), (y == 1).sum())}.get(link, 200)
    reach = proportion_confint(0, n, method="wilson")[1] * (found.network.value[0, 0] if link == "identity" else 1)
    assert (gap.low, gap.high) == (pytest.approx(-reach), pytest.approx(reach))
    assert gap.verdict == ("one model would do" if reach <= gap.close else "undecided")


def test_effective_rows_bound_what_was_not_met() -> None:
    net = random_network([2, 6, 3], seed=3, link="softmax")
    x, y = rows_of_one_region(net, 100)
    w = np.random.default_rng(0).lognormal(0, 1, 100)
    gap = performance(rl.unwrap(net, x, y, w)).gap
    z, n = 1.959964, w.sum() ** 2 / (w**2).sum()
    assert gap.high == pytest.approx(z**2 / (n + z**2), rel=1e-6)


def test_one_row_that_gains_does_not_narrow_the_limits() -> None:
    lost = np.zeros(120)
    lost[0] = -1
    low, high = _with_unseen(lost, (-1 / 120, -0.025, 0.0082), 120.0, 0.95, None)
    assert (low, high) == (-0.025, pytest.approx(proportion_confint(0, 120, method="wilson")[1] - 1 / 120))
    # and so it is of a network: its largest region, with one row from elsewhere that the model of that region has right
    u = unwrapped(random_network([2, 6, 3], seed=3, link="softmax"), 4000)
    r, sample = int(u.count.argmax()), u.sample
    model = (sample.x @ np.asarray(u.coef[r]).T + u.intercept[r]).argmax(axis=1)
    other = np.flatnonzero(model != sample.decision.argmax(axis=1))[0]
    rows = np.r_[np.flatnonzero(sample.region == r)[:119], other]
    gap = performance(u, sample.x[rows], model[rows]).gap
    assert gap.value == pytest.approx(-1 / 120)
    assert gap.high == pytest.approx(high)
    assert gap.verdict == "undecided"


def test_a_network_without_neurons_is_its_model() -> None:
    net = SPECIMENS["linear"]
    x = rows_for(net, 5)
    gap = performance(rl.unwrap(net, x, response(net, x))).gap
    assert (gap.low, gap.value, gap.high, gap.verdict) == (0, 0, 0, "one model would do")


def test_a_gap_beside_a_huge_loss_is_the_paired_mean() -> None:
    """The difference of two means of 1e197 is 0 or rounded by more than the gap."""
    net = random_network([2, 6, 2], seed=3)
    x = np.random.default_rng(0).normal(size=(600, 2))
    y = net.decision(x) + np.random.default_rng(1).normal(size=(600, 2))
    y[5] = 1e100
    gap = performance(rl.unwrap(net, x, y)).gap
    assert gap.low < gap.value < gap.high
    assert gap.value == pytest.approx((gap.low + gap.high) / 2)


def test_gap_of_weighted_areas_is_widened() -> None:
    x = rows_for(SPECIMENS["one logit"], 200)
    y = response(SPECIMENS["one logit"], x)
    w = np.random.default_rng(0).lognormal(0, 2, 200)
    u = rl.unwrap(SPECIMENS["one logit"], x, y, w)
    gap, s = performance(u).gap, u.sample
    other = (s.x @ np.asarray(u.coef[gap.region]).T + u.intercept[gap.region])[:, 0]
    whole, positive = np.zeros(200, dtype=int), s.label == 1
    difference = placements(whole, 1, s.decision[:, 0], positive, w) - placements(whole, 1, other, positive, w)
    pooled = 0.0
    for part in (positive, ~positive):
        d, v = difference[part], w[part] / w[part].sum()
        pooled += (v * (d - v @ d) ** 2).sum() * (v**2).sum() / (1 - (v**2).sum())
    least = auc_variance(whole, 1, difference, positive, w)[0]
    assert (gap.high - gap.low) / 2 == pytest.approx(1.959964 * np.sqrt(max(pooled, least)), rel=1e-6)


def test_one_is_spoken_of_as_one() -> None:
    u = unwrapped(SPECIMENS["one logit"])
    x, y = u.sample.x, u.sample.y
    one = performance(rl.unwrap(u.network, x[:1], y[:1])).summary()
    assert one[0] == "1 row: the network has no AUC (one class)"
    assert one[2] == "on its own rows the only local model has no AUC (one class)"
    assert performance(rl.unwrap(u.network, x[:2], y[:2])).summary()[2] == (
        "none of 2 local models has an AUC on its own rows: 2 have one class"
    )
    of_class = performance(rl.unwrap(u.network, x[:7], y[:7])).summary()
    assert of_class[0].endswith("(one row of a class, no interval)")
    assert of_class[2] == (
        "on its own rows 1 of 6 local models has an AUC; it holds 28.6% of the rows; of the others 5 have one class"
    )
    few = rl.unwrap(u.network, x[:7], y[:7])
    unseen = np.flatnonzero(few.assign(x) < 0)[:1]
    rows = np.r_[1:7, unseen]
    far = performance(few, x[rows], y[rows]).summary()
    assert far[3] == "1 row (14.3%) lies in a pattern never seen; there it has no AUC (one class)"
    assert "1 has no rows" in far[2]
    none = performance(unwrapped(SPECIMENS["abs"], 200))
    none = replace(none, gap=none.gap._replace(value=-1e-9))
    assert "it gives up 0.0000 [" in repr(none)


def test_one_class_leaves_no_verdict() -> None:
    net = SPECIMENS["one logit"]
    x = rows_for(net)
    found = performance(rl.unwrap(net, x, np.ones(len(x), dtype=int)))
    assert np.isnan(found.network.value[0, 0])
    assert found.network.reason[0, 0] == "one class"
    assert found.gap.verdict == "not known"
    assert "is not known" in found.summary()[1]


def test_a_prediction_that_overflows_is_a_reason() -> None:
    net = random_network([2, 20, 1], seed=1, link="log", draw=lambda shape: np.random.default_rng(2).normal(size=shape))
    x = np.random.default_rng(0).normal(size=(50, 2))
    u = rl.unwrap(net, x, np.exp(net.decision(x))[:, 0])
    huge = replace(u, sample=replace(u.sample, x=u.sample.x * 1e6))
    assert "a prediction leaves the range of float64" in set(performance(huge).overall.reason[0])


def test_what_makes_no_sense_is_refused() -> None:
    u = unwrapped(SPECIMENS["abs"])
    with pytest.raises(ArgumentError, match="level is 95; expected a number between 0 and 1"):
        performance(u, level=95)
    with pytest.raises(ArgumentError, match="most is 0; expected a whole number, at least 1"):
        performance(u, most=0)
    with pytest.raises(ArgumentError, match=r"there is none\. Unwrap with y"):
        performance(rl.unwrap(SPECIMENS["abs"], np.ones((3, 1))))
    with pytest.raises(ArgumentError, match=r"there is none\. Unwrap with y"):
        performance(u, np.ones((3, 1)))
    with pytest.raises(ArgumentError, match="y is given without X"):
        performance(u, y=[1, 2])


def test_a_sample_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relucidate.sampling.MAX_ROWS", 50)
    u = unwrapped(SPECIMENS["lines"])
    assert "on a sample of 50 of 300 rows" in performance(u).summary()[0]


def test_it_is_in_diagnose() -> None:
    assert diagnose.performance is performance
    assert diagnose.Performance is Performance
