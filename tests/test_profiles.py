"""Profiles and pairs: against slow versions written from the formulae, other libraries, and laws on many networks."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from relucidate import maps, sampling
from relucidate.errors import ArgumentError
from relucidate.features import Feature, Features
from relucidate.importances import importance
from relucidate.layers import Activation, Layer
from relucidate.network import Network, Patterns
from relucidate.profiles import QUANTILES, lowess, pairs, profile
from relucidate.unwrapping import Unwrapped, unwrap
from small_networks import SPECIMENS, network, random_network, rows_for

NETWORKS = pytest.mark.parametrize("name", SPECIMENS)


def unwrapped(net: Network, n: int = 160, weighted: bool = True, seed: int = 0) -> tuple[Unwrapped, Any, Any]:
    x = rows_for(net, n, seed)
    weight = np.random.default_rng(seed).integers(0, 4, len(x)).astype(float) if weighted else np.ones(len(x))
    return unwrap(net, x, sample_weight=weight if weighted else None), x, weight


def one_hot() -> Network:
    """A number and two indicators of one column."""
    items = (Feature("age", "age"), *(Feature(f"town={t}", "town", "level", (t,)) for t in ("A", "B")))
    net = random_network([3, 6, 1], seed=3)
    return replace(net, features=Features(items, ("age", "town"), True))


def town_table(n: int = 80) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame({"age": rng.normal(size=n), "town": rng.choice(["A", "B", "C"], n)})


# ---------------------------------------------------------------- profile


@NETWORKS
def test_profile_is_what_the_formula_says_of_each_region(name: str) -> None:
    net = SPECIMENS[name]
    u, x, weight = unwrapped(net)
    net, u = net.identified, u.identified
    j, k = net.n_features - 1, net.n_outputs - 1
    decision = net.decision(x)[:, k]
    for place in ("centred", "decision"):
        p = profile(u, j, output=k, most=5, place=place)  # type: ignore[arg-type]
        shares = [weight[u.region_of == r].sum() / weight.sum() for r in range(u.n_regions)]
        assert p.region.tolist() == sorted((r for r in range(u.n_regions) if shares[r]), key=lambda r: -shares[r])[:5]
        for i, r in enumerate(p.region):
            rows = (u.region_of == r) & (weight > 0)
            mean = np.average(x[rows, j], weights=weight[rows])
            level = np.average(decision[rows], weights=weight[rows]) if place == "decision" else 0.0
            assert (p.low[i], p.high[i], p.count[i]) == (x[rows, j].min(), x[rows, j].max(), (u.region_of == r).sum())
            assert p.share[i] == pytest.approx(shares[r])
            assert p.mean[i] == pytest.approx(mean)
            assert p.slope[i] == u.coef[r, k, j]
            assert set(p.rows[p.offset[i] : p.offset[i + 1]]) <= set(x[rows, j])
            ends = [level + p.slope[i] * (end - mean) for end in (p.low[i], p.high[i])]
            np.testing.assert_allclose(p.ends[i], ends, atol=1e-12)
            frame = p.to_frame()
            np.testing.assert_allclose(frame.loc[r, ["y_low", "y_high"]].to_numpy(float), ends, atol=1e-12)


@NETWORKS
def test_lines_of_all_features_add_up_to_the_decision(name: str) -> None:
    net = SPECIMENS[name]
    u, x, _ = unwrapped(net, weighted=False)
    net = net.identified
    parts = [profile(u, j, most=u.n_regions) for j in range(net.n_features)]
    level = profile(u, 0, most=u.n_regions, place="decision").level
    for i in np.flatnonzero(u.region_of <= 3):
        r = int(u.region_of[i])
        at = int(np.flatnonzero(parts[0].region == r)[0])
        total = level[at] + sum(p.slope[at] * (x[i, j] - p.mean[at]) for j, p in enumerate(parts))
        # a few products, each rounded
        assert total == pytest.approx(net.decision(x[i : i + 1])[0, 0], abs=1e-11)


def slow_quantile(values: Any, weight: Any, q: float) -> float:
    for v in np.sort(values):
        if weight[values <= v].sum() >= q * weight.sum() * (1 - 1e-12):
            return float(v)
    raise AssertionError


@pytest.mark.parametrize("rounded", [True, False])
def test_band_is_the_weighted_quantiles_of_rows_in_bins(rounded: bool) -> None:
    rng = np.random.default_rng(1)
    net = random_network([3, 9, 1], seed=1)
    x = rng.normal(size=(700, 3))
    x[:, 1] = np.round(x[:, 1]) if rounded else x[:, 1]
    weight = rng.integers(0, 3, 700).astype(float)
    u = unwrap(net, x, sample_weight=weight)
    band = profile(u, 1, place="decision").band
    kept = weight > 0
    x, weight, region, decision = x[kept], weight[kept], u.region_of[kept], net.decision(x)[kept, 0]
    if rounded:
        groups = [x[:, 1] == v for v in np.unique(x[:, 1])]
    else:
        bins = len(weight) // 50
        middle = np.array([weight[x[:, 1] < v].sum() + weight[x[:, 1] == v].sum() / 2 for v in x[:, 1]]) / weight.sum()
        groups = [np.minimum((middle * bins).astype(int), bins - 1) == b for b in range(bins)]
    assert len(band.x) == len(groups)
    for b, rows in enumerate(groups):
        assert band.x[b] == pytest.approx(np.average(x[rows, 1], weights=weight[rows]))
        for i, q in enumerate(QUANTILES):
            assert band.slope[i, b] == slow_quantile(u.coef[region[rows], 0, 1], weight[rows], q)
            assert band.y[i, b] == slow_quantile(decision[rows], weight[rows], q)


def test_centred_band_is_of_the_lines_of_all_regions() -> None:
    net = random_network([2, 6, 1], seed=4)
    x = rows_for(net, 300)
    x[:, 0] = np.round(x[:, 0])
    u = unwrap(net, x)
    band = profile(u, 0).band
    mean = np.array([x[u.region_of == r, 0].mean() for r in range(u.n_regions)])
    y = u.coef[u.region_of, 0, 0] * (x[:, 0] - mean[u.region_of])
    for b, v in enumerate(np.unique(x[:, 0])):
        rows = x[:, 0] == v
        expected = [slow_quantile(y[rows], np.ones(rows.sum()), q) for q in QUANTILES]
        np.testing.assert_allclose(band.y[:, b], expected, atol=1e-12)


@NETWORKS
def test_importance_is_that_of_the_module_on_importance(name: str) -> None:
    net = SPECIMENS[name]
    u, _, _ = unwrapped(net)
    for k in range(net.n_outputs):
        expected = importance(u).share[k]
        for j in range(net.n_features):
            found = profile(u, j, output=k, most=1).importance
            if np.isnan(found):
                assert not expected.any()
            else:
                assert found == pytest.approx(expected[j], rel=1e-9, abs=1e-12)


@NETWORKS
def test_a_row_of_weight_2_is_two_rows(name: str) -> None:
    net = SPECIMENS[name]
    u, x, weight = unwrapped(net)
    v = unwrap(net, np.repeat(x, weight.astype(int), axis=0))
    one, two = profile(u, 0, most=u.n_regions), profile(v, 0, most=v.n_regions)
    there = v.regions_of_patterns(Patterns(u.sums.packed, net.n_bits))[one.region]
    at = np.array([int(np.flatnonzero(two.region == r)[0]) for r in there])  # regions are in another order
    assert sorted(at) == list(range(len(two.region)))
    for field in ("slope", "mean", "low", "high", "level", "share", "within"):
        np.testing.assert_allclose(getattr(one, field), getattr(two, field)[at], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(one.importance, two.importance, rtol=1e-9)
    np.testing.assert_allclose(one.everywhere, two.everywhere)
    first, second = pairs(u, [0], intercept=True), pairs(v, [0], intercept=True)
    for field in ("slope", "correlation", "smooth", "strength", "centre", "typical"):
        np.testing.assert_allclose(getattr(first, field), getattr(second, field), rtol=1e-6, atol=1e-9)


def test_histogram_is_that_of_numpy() -> None:
    net = random_network([2, 6, 1], seed=4)
    u, x, weight = unwrapped(net, 400)
    p = profile(u, 0, most=3)
    kept = weight > 0
    expected, edges = np.histogram(x[kept, 0], len(p.everywhere), weights=weight[kept])
    np.testing.assert_allclose(p.edges, edges)
    np.testing.assert_allclose(p.everywhere, expected / weight.sum())
    for i, r in enumerate(p.region):
        rows = kept & (u.region_of == r)
        own, _ = np.histogram(x[rows, 0], edges, weights=weight[rows])
        np.testing.assert_allclose(p.within[i], own / weight[rows].sum())


def test_few_values_have_a_bin_each() -> None:
    net = random_network([2, 6, 1], seed=4)
    x = rows_for(net, 100)
    x[:, 0], x[:, 1] = np.arange(100) % 3, 7.0
    u = unwrap(net, x)
    p = profile(u, 0)
    assert p.edges.tolist() == [-0.5, 0.5, 1.5, 2.5]
    np.testing.assert_allclose(p.everywhere, [0.34, 0.33, 0.33])
    constant = profile(u, 1)
    assert constant.edges[0] < 7 < constant.edges[1]
    assert constant.everywhere.tolist() == [1.0]
    assert constant.importance == pytest.approx(0, abs=1e-20)


def test_dots_are_at_most_60_a_region_with_the_ends() -> None:
    net = network([np.array([[2.0, -1.0, 0.5]])], [np.array([0.25])])
    x = np.random.default_rng(0).normal(size=(500, 3))
    p = profile(unwrap(net, x), 0)
    assert len(p.rows) == 60
    assert (p.rows[0], p.rows[-1]) == (x[:, 0].min(), x[:, 0].max())
    np.testing.assert_allclose(p.height(0), 2 * (p.rows - x[:, 0].mean()), atol=1e-12)
    assert p.shown_share == 1


def test_sample_and_maps_on_demand(monkeypatch: pytest.MonkeyPatch) -> None:
    net = random_network([3, 8, 2], seed=2)
    x = rows_for(net, 300)
    u = unwrap(net, x)
    whole, square = profile(u, 1, output=1), pairs(u, intercept=True, output=1)
    assert whole.caveat == ""
    monkeypatch.setattr(maps, "FIT_BYTES", 0)
    lazy = unwrap(net, x)
    assert not isinstance(lazy.coef, np.ndarray)
    np.testing.assert_array_equal(profile(lazy, 1, output=1).slope, whole.slope)
    assert profile(lazy, 1, output=1).importance == pytest.approx(whole.importance, rel=1e-12)
    np.testing.assert_allclose(pairs(lazy, intercept=True, output=1).coef, square.coef, rtol=1e-13)
    monkeypatch.setattr(sampling, "MAX_ROWS", 60)
    few = unwrap(net, x)
    assert profile(few, 1).caveat == " (on a sample of 60 of 300 rows)"
    assert pairs(few).caveat
    monkeypatch.setattr("relucidate.unwrapping._KEEP_X_BYTES", 0)
    bare = pairs(unwrap(net, x), [0])  # no means of all rows: those of the sample, where it has any
    rows = unwrap(net, x).sample
    assert bare.region.tolist() == np.unique(rows.region).tolist()
    first = rows.x[rows.region == bare.region[0], 0].mean()
    assert bare.mean[0, 0] == pytest.approx(first)
    assert (bare.n_regions, len(bare.region)) == (few.n_regions, len(set(rows.region)))


def test_features_and_outputs_by_name() -> None:
    net = one_hot()
    u = unwrap(net, town_table())
    assert profile(u, "town=B").feature == profile(u, 2).feature == "town=B"
    assert profile(u, "age").feature == "age"
    assert pairs(u, "age").features == ("age",)
    assert pairs(u, ["town=A", 0], intercept=True).terms == ("town=A", "age", "intercept")
    with pytest.raises(ArgumentError, match=r"'town' enters the network as 2 features.*'town=A', 'town=B'"):
        profile(u, "town")
    with pytest.raises(ArgumentError, match="'town' enters the network as 2 features"):
        pairs(u, ["town"])


def test_arguments_that_make_no_sense() -> None:
    u, _, _ = unwrapped(SPECIMENS["three outputs"])
    with pytest.raises(ArgumentError, match="'up' is no feature"):
        profile(u, "up")
    with pytest.raises(ArgumentError, match="output is 3; expected 0 to 2"):
        profile(u, 0, output=3)
    with pytest.raises(ArgumentError, match=r"place is .left.; expected one of .centred., .decision."):
        profile(u, 0, place="left")  # type: ignore[arg-type]
    for most in (0, 2.5, True):
        with pytest.raises(ArgumentError, match=r"most is .*; expected a whole number from 1"):
            profile(u, 0, most=most)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="features is empty"):
        pairs(u, [])
    with pytest.raises(ArgumentError, match="features has 'x1' more than once"):
        pairs(u, [1, "x1"])


# ---------------------------------------------------------------- pairs


@NETWORKS
def test_pairs_are_means_and_coefficients_with_their_lines(name: str) -> None:
    net = SPECIMENS[name]
    u, x, weight = unwrapped(net)
    p = pairs(u, intercept=True)
    index = [net.feature_names.index(f) for f in p.features]
    assert len(index) == min(4, net.n_features)
    shares = importance(u).share[0]
    assert sorted(shares[index])[0] == pytest.approx(np.sort(shares)[-len(index)], abs=1e-12) or net.link == "softmax"
    for i, r in enumerate(p.region):
        rows = u.region_of == r
        np.testing.assert_allclose(p.mean[i], np.average(x[rows][:, index], axis=0, weights=weight[rows]), atol=1e-12)
        assert p.coef[i].tolist() == [*u.identified.coef[r, 0, index], u.identified.intercept[r, 0]]
    w = u.sums.weight[p.region]
    assert (u.sums.weight > 0).sum() == len(w)
    for a in range(len(p.terms)):
        for c in range(len(index)):
            m, v = p.mean[:, c], p.coef[:, a]
            if np.ptp(m) < 1e-9 or np.ptp(v) < 1e-9:
                continue
            slope, constant = np.polyfit(m, v, 1, w=np.sqrt(w))
            assert p.slope[a, c] == pytest.approx(slope, rel=1e-6, abs=1e-9)
            assert p.typical[a] - p.slope[a, c] * p.centre[c] == pytest.approx(constant, rel=1e-6, abs=1e-8)
            both = np.cov(m, v, aweights=w)
            assert p.correlation[a, c] == pytest.approx(both[0, 1] / np.sqrt(both[0, 0] * both[1, 1]), abs=1e-9)
            sd = [
                np.sqrt(np.average((x[:, j] - np.average(x[:, j], weights=weight)) ** 2, weights=weight)) for j in index
            ]
            assert p.strength[a, c] == pytest.approx(abs(slope) * [*sd, 1.0][a] * sd[c], rel=1e-6, abs=1e-9)
    frame = p.to_frame()
    assert len(frame) == len(p.terms) * len(index)
    assert frame["strength"].dropna().is_monotonic_decreasing
    first = frame.iloc[0]
    at = p.terms.index(first["term"]), p.features.index(first["feature"])
    assert first["strength"] == p.strength[at] or np.isnan(first["strength"])


def test_a_sum_of_functions_has_no_interactions_and_a_function_of_a_sum_has() -> None:
    grid = np.stack(np.meshgrid([-2.0, -1.0, 1.0, 2.0], [-2.0, -1.0, 1.0, 2.0]), axis=-1).reshape(-1, 2)
    additive = network([np.vstack([np.eye(2), -np.eye(2)]), np.ones((1, 4))], [np.zeros(4), np.zeros(1)])  # |x0| + |x1|
    p = pairs(unwrap(additive, grid))
    np.testing.assert_allclose(p.correlation, np.eye(2), atol=1e-12)
    kinds = p.to_frame().set_index("kind")["strength"]
    assert (kinds["nonlinear"] > 1).all()
    assert (kinds["interaction"] < 1e-12).all()
    together = network([np.array([[1.0, 1.0], [-1.0, -1.0]]), np.ones((1, 2))], [np.zeros(2), np.zeros(1)])  # |x0 + x1|
    crossed = pairs(unwrap(together, grid)).to_frame().set_index("kind")["strength"]
    assert (crossed["interaction"] > 1).all()


def test_linear_networks_have_neither_slope_nor_correlation() -> None:
    u, _, _ = unwrapped(SPECIMENS["linear"])
    p = pairs(u)
    assert np.isnan(p.correlation).all()
    assert np.isnan(p.slope).all()  # one region: no mean varies
    np.testing.assert_allclose(
        p.smooth,
        np.repeat(u.coef[0, 0][[0, 1, 2]][np.argsort([0, 1, 2])][:, None], 60, axis=1)[
            [["x0", "x1", "x2"].index(f) for f in p.features]
        ],
    )


def test_smooth_is_on_the_diagonal() -> None:
    net = random_network([3, 20, 20, 1], seed=5)
    u, _, _ = unwrapped(net, 300, weighted=False)
    p = pairs(u)
    weight = u.sums.weight[p.region]
    for c in range(3):
        np.testing.assert_array_equal(p.smooth[c], lowess(p.mean[:, c], p.coef[:, c], weight, p.at[c]))
        assert (p.at[c, 0], p.at[c, -1]) == (p.mean[:, c].min(), p.mean[:, c].max())


# ---------------------------------------------------------------- the smoother


def slow_lowess(x: Any, y: Any, weight: Any, x0: float, fraction: float) -> float:
    """A fit by least squares to the points, each as often as its weight says."""
    x, y = np.repeat(x, weight.astype(int)), np.repeat(y, weight.astype(int))
    distance = np.sort(np.abs(x - x0))
    h = distance[int(np.ceil(fraction * len(x) - 1e-9)) - 1]
    kernel = np.array([(1 - (abs(v - x0) / h) ** 3) ** 3 if abs(v - x0) < h else 0.0 for v in x])
    design = np.column_stack([np.ones(len(x)), x - x0])
    root = np.sqrt(kernel)
    return float(np.linalg.lstsq(design * root[:, None], y * root, rcond=None)[0][0])


@pytest.mark.parametrize("fraction", [0.3, 2 / 3, 1.0])
def test_lowess_is_local_least_squares_of_repeated_points(fraction: float) -> None:
    rng = np.random.default_rng(3)
    x, weight = rng.normal(size=50), rng.integers(1, 6, 50).astype(float)
    y = np.sin(2 * x) + rng.normal(size=50)
    at = np.linspace(-3, 3, 25)
    expected = [slow_lowess(x, y, weight, x0, fraction) for x0 in at]
    np.testing.assert_allclose(lowess(x, y, weight, at, fraction), expected, atol=1e-9)


def test_lowess_is_that_of_statsmodels_without_weights() -> None:
    from statsmodels.nonparametric.smoothers_lowess import lowess as theirs

    rng = np.random.default_rng(4)
    x = rng.normal(size=90)
    y = np.cos(x) + rng.normal(size=90)
    for fraction in (1 / 3, 2 / 3):  # whole numbers of points, where the two round alike
        expected = theirs(y, x, frac=fraction, it=0, delta=0, return_sorted=False)
        np.testing.assert_allclose(lowess(x, y, np.full(90, 7.0), x, fraction), expected, atol=1e-10)


def test_lowess_keeps_straight_lines_and_survives_ties() -> None:
    x = np.array([0.0, 1.0, 2.0, 5.0])
    weight = np.array([1.0, 2.0, 3.0, 4.0])
    np.testing.assert_allclose(lowess(x, 2 * x - 1, weight, np.array([0.0, 1.5, 5.0]), 1.0), [-1, 2, 9], atol=1e-12)
    same = np.zeros(4)
    assert lowess(same, np.array([0.0, 1.0, 2.0, 3.0]), weight, same[:1]).tolist() == [2.0]
    heavy = np.array([1.0, 1000.0, 1.0, 1.0])  # one point holds the fraction
    assert lowess(x, np.array([5.0, 7.0, 9.0, 0.0]), heavy, np.array([1.0]))[0] == 7.0
    assert np.isfinite(lowess(x, x**2, heavy, np.linspace(0, 5, 40))).all()
    # two points at the border of the window, and none within
    assert lowess(np.array([-1.0, 1.0]), np.array([2.0, 4.0]), np.ones(2), np.zeros(1))[0] == pytest.approx(3.0)
    far = 1e9 + x * 1e-3
    y = 3000 * (far - 1e9)
    np.testing.assert_allclose(lowess(far, y, weight, far, 1.0), y, atol=1e-10)


def test_lowess_has_no_spikes_between_values_that_many_points_share() -> None:
    """Between them the window ended at the many, which had no weight there, and a few points were drawn out to a line."""
    rng = np.random.default_rng(0)
    x = np.concatenate([np.repeat([-1.0, 0.0, 1.0, 2.0], [150, 400, 200, 100]), rng.uniform(0, 0.3, 6)])
    truth = np.array([-0.2, 0.2, 0.7, 0.75])
    y = np.interp(x, [-1, 0, 1, 2], truth) + 0.05 * rng.normal(size=len(x))
    y[-6:] += 0.8 * x[-6:]  # a few points between go up steeply
    at = np.linspace(-1, 2, 90)
    for points in (slice(None), slice(850)):
        smooth = lowess(x[points], y[points], np.ones(len(x[points])), at)
        np.testing.assert_allclose(smooth, np.interp(at, [-1, 0, 1, 2], truth), atol=0.15)


def test_wide_softmax_network_compares_classes() -> None:
    """A number added to all logits changes no importance."""
    net = SPECIMENS["five classes"]
    last = net.layers[-1]
    rng = np.random.default_rng(0)
    shift = np.tile(rng.normal(size=(1, last.weight.shape[1])), (5, 1))
    moved = replace(net, layers=(*net.hidden, Layer(last.weight + shift, last.bias, Activation.of_kind("identity", 5))))
    x = rows_for(net, 200)
    for j in range(4):
        expected = profile(unwrap(net, x), j, output=2).importance
        assert profile(unwrap(moved, x), j, output=2).importance == pytest.approx(expected, rel=1e-9)


def test_identical_rows_give_no_feature_importance() -> None:
    net = random_network([3, 9, 9, 1], seed=7)
    found = profile(unwrap(net, np.tile([[0.1, 0.7, 0.3]], (3, 1))), 0)
    assert np.isnan(found.importance)
    assert repr(found).endswith("1 of 1 region, with 100.0% of the rows; no feature has an effect")
