"""Trust against slow re-implementations from its definition, and laws that it has to obey."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.optimize import lsq_linear

import relucidate as rl
from relucidate import extrapolating
from relucidate.diagnose import extrapolation
from relucidate.errors import ArgumentError, DataError, TargetError
from relucidate.layers import Layer
from relucidate.network import Network
from relucidate.rulers import Measured, Ruler
from small_networks import SPECIMENS, random_network, rows_for

ARRAYS = ("trust", "familiarity", "standing", "expected_loss", "seen", "region", "hamming", "count", "region_distance")
ARRAYS += ("centre_distance", "row_distance", "margin", "outside", "outside_feature", "region_loss", "strangest")


def response(net: Network, x: Any, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    if net.link == "softmax":
        return rng.integers(0, net.n_outputs, len(x))
    if net.link == "logit":
        return (net.predict(x)[:, 0] > rng.uniform(size=len(x))).astype(int)
    return net.decision(x) + rng.normal(size=(len(x), net.n_outputs))


def study(net: Network, n: int = 300, m: int = 80) -> tuple[rl.Unwrapped, Any, Any]:
    x, new = rows_for(net, n), 1.5 * rows_for(net, m, seed=1)
    return rl.unwrap(net, x, response(net, x)), new, response(net, new, 1)


DEEP = random_network([4, 16, 16, 1], seed=3, link="logit")


# ---------------------------------------------------------------- the score


@pytest.mark.parametrize("weighted", [False, True])
def test_familiarity_is_a_p_value_and_standing_a_rank_of_the_expected_loss(weighted: bool) -> None:
    x, new = rows_for(DEEP, 300), 1.5 * rows_for(DEEP, 80, seed=1)
    w = np.random.default_rng(0).integers(1, 4, len(x)).astype(float)
    u = rl.unwrap(DEEP, x, response(DEEP, x), w if weighted else None)
    found = extrapolation(u, new)
    left, weight, loss = Ruler(u, True).references
    weight = weight / weight.mean()
    assert loss is not None
    p: list[Any] = []
    ranks: list[Any] = []
    ranks_left: list[Any] = []
    for name in found.components:
        own = _component(left, name)
        here = _component(found, name)
        for values, out in ((here, ranks), (own, ranks_left)):
            out.append([(weight[own < v].sum() + weight[own == v].sum() / 2) / len(own) for v in values])
        if name in ("hamming", "region distance", "centre distance", "outside", "row distance"):
            p.append([(1 + weight[own >= v].sum()) / (1 + len(own)) for v in here])
    np.testing.assert_allclose(found.familiarity, np.minimum(5 * np.min(p, axis=0), 1), rtol=1e-12)

    def design(r: Any) -> Any:
        return np.hstack([np.ones((len(r), 1)), *(np.maximum(r - k, 0) / (1 - k) for k in (0, 0.5, 0.8, 0.9))])

    a = design(np.array(ranks_left).T)
    root = np.sqrt(weight)
    slow = lsq_linear(a * root[:, None], loss * root, (0, np.inf), method="bvls", tol=1e-14)
    np.testing.assert_allclose(found.expected_loss, design(np.array(ranks).T) @ slow.x, rtol=1e-6)
    fitted = a @ slow.x
    standing = [(1 + weight[fitted >= v - 1e-9].sum()) / (1 + len(fitted)) for v in found.expected_loss]
    np.testing.assert_allclose(found.standing, standing, atol=2 / 300)  # values that tie but for rounding
    np.testing.assert_array_equal(found.trust, np.minimum(found.familiarity, found.standing))
    more = found.standing[:, None] > found.standing
    assert (found.expected_loss[:, None] <= found.expected_loss)[more].all()


def _component(found: Measured, name: str) -> Any:
    plain = {"unseen": ~found.seen, "rarity": -found.count, "closeness": -found.margin}
    return np.asarray(plain[name] if name in plain else getattr(found, name.replace(" ", "_")), dtype=float)


# ---------------------------------------------------------------- laws


@pytest.mark.parametrize("name", SPECIMENS)
def test_a_row_is_judged_the_same_in_any_company(name: str) -> None:
    u, x, y = study(SPECIMENS[name])
    whole = extrapolation(u, x, y)
    order = np.random.default_rng(0).permutation(len(x))
    for rows in (order, np.arange(3), order[:70]):
        part = extrapolation(u, x[rows])
        for what in ARRAYS:
            np.testing.assert_array_equal(getattr(part, what), getattr(whole, what)[rows], err_msg=what)
    assert ((whole.trust > 0) & (whole.trust <= 1)).all()
    # the response judges, and has no part in the score
    np.testing.assert_array_equal(extrapolation(u, x).trust, whole.trust)


def test_rescaling_a_feature_changes_nothing_if_the_network_makes_up_for_it() -> None:
    x, new = rows_for(DEEP, 300), 1.5 * rows_for(DEEP, 80, seed=1)
    factor = np.array([4.0, 1 / 1024, 1.0, 2.0])  # powers of 2: not a bit of the network's decision changes
    first, *rest = DEEP.layers
    other = replace(DEEP, layers=(Layer(first.weight / factor, first.bias, first.activation, first.name), *rest))
    y = response(DEEP, x)
    a = extrapolation(rl.unwrap(DEEP, x, y), new)
    b = extrapolation(rl.unwrap(other, x * factor, y), new * factor)
    for what in ARRAYS:
        np.testing.assert_allclose(getattr(a, what), getattr(b, what), rtol=1e-9, atol=1e-12, err_msg=what)


def test_rows_of_weight_zero_were_never_seen() -> None:
    x, new = rows_for(DEEP, 300), 1.5 * rows_for(DEEP, 80, seed=1)
    y = response(DEEP, x)
    w = np.ones(300)
    w[200:] = 0
    a = extrapolation(rl.unwrap(DEEP, x[:200], y[:200]), new)
    b = extrapolation(rl.unwrap(DEEP, x, y, w), new)
    for what in ("seen", "hamming", "outside", "outside_feature"):
        np.testing.assert_array_equal(getattr(a, what), getattr(b, what), err_msg=what)
    for what in ("centre_distance", "row_distance", "margin"):
        np.testing.assert_allclose(getattr(a, what), getattr(b, what), rtol=1e-12, err_msg=what)


@pytest.mark.parametrize("name", ["deep", "one logit", "five classes", "mixed", "linear", "leaky"])
@pytest.mark.parametrize("with_y", [True, False])
def test_rows_of_the_table_are_trusted_more_than_rows_far_away(name: str, with_y: bool) -> None:
    net = SPECIMENS[name]
    x = rows_for(net, 400)
    u = rl.unwrap(net, x, response(net, x) if with_y else None)
    inside, away = extrapolation(u, x), extrapolation(u, 20 * x[1:] + 40)
    assert away.trust.max() < 0.03 < np.quantile(inside.trust, 0.05)
    assert (inside.seen.all(), inside.hamming.max(), inside.outside.max()) == (True, 0, 0)


@pytest.mark.parametrize("j", range(4))
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_row_moved_out_of_the_range_of_one_feature_is_distrusted(j: int, sign: int) -> None:
    x = rows_for(DEEP, 1000)
    u = rl.unwrap(DEEP, x, response(DEEP, x))
    new = rows_for(DEEP, 100, seed=5)
    before = extrapolation(u, new)
    end = x[:, j].max() if sign > 0 else x[:, j].min()
    new[:, j] = end + 2 * sign * x[:, j].std()
    after = extrapolation(u, new)
    assert (after.outside_feature == j).all() or (after.outside >= 2 - 1e-9).all()
    np.testing.assert_allclose(after.beyond.toarray()[:, j], 2 * sign)
    assert after.trust.max() < 0.05
    assert np.median(before.trust) > 0.2


def test_a_value_of_a_feature_that_never_varied_is_infinitely_far() -> None:
    x = rows_for(DEEP, 200)
    x[:, 2] = 0.1
    u = rl.unwrap(DEEP, x)
    new = x[:2].copy()
    new[1, 2] = 0.2
    found = extrapolation(u, new)
    assert found.outside.tolist() == [0, np.inf]
    assert found.outside_feature.tolist() == [-1, 2]
    assert found.trust[1] < 0.03
    assert np.isfinite(found.centre_distance).all()


def test_where_no_loss_is_known_it_is_the_mean_rank() -> None:
    u, x, _ = study(DEEP)
    bare = rl.unwrap(DEEP, rows_for(DEEP, 300))
    found = extrapolation(bare, x)
    assert found.components == tuple(c for c in extrapolation(u, x).components if c != "region loss")
    assert np.isnan(found.expected_loss).all()
    assert np.isnan(found.loss).all()
    np.testing.assert_allclose(found.weight, 1 / 8)
    assert "mean rank" in found.learnt
    left = Ruler(bare, True).references[0]
    ranks = [
        [((own < v).sum() + (own == v).sum() / 2) / len(own) for v in _component(found, name)]
        for name in found.components
        for own in [_component(left, name)]
    ]
    slow = [
        [((own < v).sum() + (own == v).sum() / 2) / len(own) for v in own]
        for name in found.components
        for own in [_component(left, name)]
    ]
    reference = np.mean(slow, axis=0)
    expected = [(1 + (reference >= v - 1e-12).sum()) / 301 for v in np.mean(ranks, axis=0)]
    np.testing.assert_allclose(found.standing, expected, atol=1.5 / 301)
    few = rows_for(DEEP, 60)
    assert "fewer than 100" in extrapolation(rl.unwrap(DEEP, few, response(DEEP, few)), x).learnt


def test_it_can_be_learnt_from_held_out_rows() -> None:
    rng = np.random.default_rng(2)
    net = random_network([3, 20, 20, 1], seed=4)
    x, cal, new = (rng.normal(size=(n, 3)) for n in (600, 400, 400))

    def noisy(rows: Any) -> Any:  # far rows are worse, which training rows do not tell
        return net.decision(rows)[:, 0] + 2 * (np.abs(rows).max(axis=1) > 1.8) * rng.normal(size=len(rows))

    u = rl.unwrap(net, x, net.decision(x) + 0.01 * rng.normal(size=(600, 1)))
    y = noisy(new)
    found = extrapolation(u, new, y, calibrate=(cal, noisy(cal)))
    assert found.learnt == "400 held-out rows"
    assert found.calibration is not None
    assert found.calibration.ratio_lower[0] > 2
    blind = extrapolation(u, new, y).calibration
    assert blind is not None
    assert found.calibration.ratio[0] > 1.2 * blind.ratio[0]
    assert found.components[int(found.weight.argmax())] in ("centre distance", "row distance", "outside")


def test_joined_regions_and_rows_without_the_nearest_one() -> None:
    net = SPECIMENS["lattice"]
    x = rows_for(net, 300)
    u = rl.unwrap(net, x, response(net, x)).join_equal()
    assert u.n_regions < len(u.patterns)
    found = extrapolation(u, rows_for(net, 50, seed=2), nearest_row=False)
    assert np.isnan(found.row_distance).all()
    assert "row distance" not in found.components
    np.testing.assert_array_equal(found.count, u.count[found.region])
    assert (found.count[found.seen] == u.count[u.assign(rows_for(net, 50, seed=2))][found.seen]).all()


# ---------------------------------------------------------------- judging


def test_the_curve_is_that_of_a_slow_computation() -> None:
    u, x, y = study(DEEP, 400, 200)
    found = extrapolation(u, x, y)
    c = found.calibration
    assert c is not None
    for k, score in enumerate((found.trust, -found.row_distance)):
        # rows that tie share their loss
        shared = np.array([found.loss[score == s].mean() for s in score])
        ordered = shared[np.argsort(score)]
        for share, loss in zip(c.share, c.loss[k], strict=True):
            gone = share * 200
            keep = np.clip(np.arange(1, 201) - gone, 0, 1)
            np.testing.assert_allclose(loss, keep @ ordered / keep.sum(), rtol=1e-12)
        np.testing.assert_allclose(c.tenth[k], ordered[:20].mean())
        np.testing.assert_allclose(c.rest[k], ordered[20:].mean())
        np.testing.assert_allclose(c.ratio[k], ordered[:20].mean() / ordered[20:].mean())
    assert c.orders == ("trust", "row distance")
    np.testing.assert_allclose(c.loss[:, 0], c.overall)
    np.testing.assert_allclose(c.gain, c.ratio[0] / c.ratio[1])
    p = u.network.predict(x)[:, 0]
    expects = -p * np.log(p) - (1 - p) * np.log(1 - p)
    np.testing.assert_allclose(found.network_expects, expects, rtol=1e-9)
    first = np.argsort(found.trust, kind="stable")[:20]
    rest = np.setdiff1d(np.arange(200), first)
    assert len(np.unique(found.trust[first])) == 20 or found.trust[first].max() < found.trust[rest].min()
    np.testing.assert_allclose(c.excess_tenth[0], (found.loss - expects)[first].mean())
    surprise = found.loss[first].sum() / expects[first].sum() / (found.loss[rest].sum() / expects[rest].sum())
    np.testing.assert_allclose(c.surprise[0], surprise)


def test_intervals_hold_the_truth_about_as_often_as_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extrapolating, "_RESAMPLES", 100)
    rng = np.random.default_rng(0)
    held = 0
    for seed in range(60):
        score = rng.uniform(size=300)
        loss = rng.exponential(size=300) * np.where(score < 0.1, 2.0, 1.0)
        c = extrapolating._rejection({"trust": score}, loss, np.full(300, np.nan), np.ones(300), 0.9, seed)
        assert (c.lower <= c.upper).all()
        held += bool(c.ratio_lower[0] <= 2.0 <= c.ratio_upper[0])
    # 54 expected; percentiles of 30 rows fall a little short; fewer than 46 of 60 has a probability of 0.1 % at 0.9
    assert held >= 46


def test_a_random_score_has_a_ratio_of_one_and_ties_say_nothing() -> None:
    loss = np.random.default_rng(0).exponential(size=500)
    c = extrapolating._rejection({"trust": np.full(500, 0.3)}, loss, np.full(500, np.nan), np.ones(500), 0.95, 0)
    np.testing.assert_allclose(c.ratio, 1)
    np.testing.assert_allclose(c.loss, loss.mean())
    assert np.isnan([c.gain, c.gain_lower, c.surprise[0]]).all()


def test_the_entropy_of_several_classes() -> None:
    net = SPECIMENS["five classes"]
    u, x, y = study(net)
    p = net.predict(x)
    found = extrapolation(u, x, y)
    np.testing.assert_allclose(found.network_expects, -(p * np.log(p)).sum(axis=1), rtol=1e-9)
    assert np.isnan(extrapolation(*study(SPECIMENS["deep"])).network_expects).all()


# ---------------------------------------------------------------- what users meet


def test_tables_and_words() -> None:
    u, x, y = study(DEEP)
    found = extrapolation(u, x, y, random_state=3)
    frame = found.to_frame()
    assert len(frame) == len(found) == 80
    for what in ("trust", "seen", "hamming", "count", "outside", "loss"):
        np.testing.assert_array_equal(frame[what], getattr(found, what))
    assert set(frame["outside_feature"]) <= {*u.network.feature_names, ""}
    assert frame["least_familiar"].iloc[0] == found.components[found.strangest[0]]
    c = found.calibration
    assert c is not None
    curve = c.to_frame()
    np.testing.assert_array_equal(curve["loss"].to_numpy().reshape(2, -1), c.loss)
    assert list(curve["order"].unique()) == ["trust", "row distance"]
    text = repr(found)
    new = int((~found.seen).sum())
    assert f"{new:,} of 80 rows" in text
    assert f"the loss is {c.ratio[0]:.2f} times that of the rest" in text
    assert f"nearest training row it is {c.ratio[1]:.2f} times" in text
    assert f"the ratio is {c.surprise[0]:.2f}" in text
    again = extrapolation(u, x, y, random_state=3).calibration
    assert again is not None
    np.testing.assert_array_equal(c.upper, again.upper)
    assert len(extrapolation(u, x).summary()) == 3  # the third tells how low trust can fall with 300 rows


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ArgumentError, match="Expected an Unwrapped, got a Network"):
        extrapolation(DEEP, rows_for(DEEP))  # type: ignore[arg-type]
    u, x, y = study(DEEP)
    with pytest.raises(ArgumentError, match="X has no rows"):
        extrapolation(u, x[:0])
    with pytest.raises(ArgumentError, match="level is 95; expected a number between 0 and 1"):
        extrapolation(u, x, y, level=95)
    with pytest.raises(ArgumentError, match="random_state is -1"):
        extrapolation(u, x, y, random_state=-1)
    with pytest.raises(DataError, match="y has 79 values for 80 rows"):
        extrapolation(u, x, y[1:])
    with pytest.raises(ArgumentError, match=r"expected a pair \(X, y\) of held-out rows"):
        extrapolation(u, x, calibrate=x)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="calibrate has 80 rows; 100 at least"):
        extrapolation(u, x, calibrate=(x, y))
    with pytest.raises(DataError, match="The y of calibrate has 80 values for 160 rows"):
        extrapolation(u, x, calibrate=(np.vstack([x, x]), y))
    with pytest.raises(TargetError):
        extrapolation(u, x, np.full(80, np.nan))
    with pytest.raises(DataError, match="has 1 rows of positive weight"):
        extrapolation(rl.unwrap(DEEP, x[:1]), x)


@pytest.mark.parametrize("size", [1e155, 1e200, 1e300])
def test_values_whose_squares_leave_float64_are_far_away(size: float) -> None:
    net = random_network([3, 6, 1], seed=1, link="logit")
    x = np.random.default_rng(0).normal(size=(400, 3))
    far = x[:3].copy()
    far[0, 1] = size
    found = extrapolation(rl.unwrap(net, x), far)
    assert found.trust[0] < 0.05
    assert found.row_distance[0] == found.centre_distance[0] == 1e100  # as far as anything is said to be
    assert found.outside[0] == pytest.approx(size / x[:, 1].std(), rel=0.01)
    assert np.isfinite(found.region_distance).all()
    # a table of such values is measured like any other
    scale = np.array([1, size, 1])
    layers = (replace(net.layers[0], weight=net.layers[0].weight / scale), *net.layers[1:])
    other, plain = replace(net, layers=layers), x[:50] * 1.5
    a, b = extrapolation(rl.unwrap(net, x), plain), extrapolation(rl.unwrap(other, x * scale), plain * scale)
    for name in ("trust", "margin", "row_distance", "region_distance"):
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=1e-6, err_msg=name)


# ---------------------------------------------------------------- what is said at the edges


def test_few_rows_to_compare_with_say_how_low_trust_can_fall() -> None:
    net = random_network([3, 6, 1], seed=3)
    x = np.random.default_rng(0).normal(size=(40, 3))
    found = extrapolation(rl.unwrap(net, x, net.decision(x)), np.full((5, 3), 1e6))
    least = 5 / 41
    np.testing.assert_allclose(found.familiarity, least)
    assert f"a row stranger than all 40 rows that it is compared with has a trust of {least:.2g} by that alone" in repr(
        found
    )
    many = np.random.default_rng(0).normal(size=(600, 3))
    assert "by that alone" not in repr(extrapolation(rl.unwrap(net, many, net.decision(many)), x))


def test_losses_that_are_nothing_or_leave_float64_are_told() -> None:
    """Of a network that is right on all rows there is no ratio; of infinite losses there is no curve."""
    net = random_network([3, 6, 1], seed=3)
    x = np.random.default_rng(0).normal(size=(200, 3))
    y = net.decision(x)
    u = rl.unwrap(net, x, y)
    right = extrapolation(u, x, y)
    assert right.calibration is not None
    np.testing.assert_array_equal(right.calibration.tenth, 0)
    assert np.isnan(right.calibration.ratio_lower).all()
    assert "the loss is 0 per row, and 0 in the rest" in repr(right)
    assert "nan" not in repr(right)
    far = extrapolation(u, x * 1e200, y)
    assert far.calibration is None
    lost = int(np.isinf(far.loss).sum())
    assert lost > 150
    assert f"the losses of {lost} rows leave the range of float64 (1.8e308)" in repr(far)


@pytest.mark.parametrize("turned", [False, True])
def test_less_sure_is_said_only_where_the_network_is(turned: bool) -> None:
    """The sentence came whenever the interval reached 1, and was false as often as not."""
    said = []
    for seed in range(6):
        net = random_network([3, 8, 1], seed=seed, link="logit")
        rng = np.random.default_rng(seed)
        x, new = rng.normal(size=(500, 3)), rng.normal(size=(400, 3)) * (1 if turned else 0.7)
        p, q = (net.inverse_link(net.decision(z))[:, 0] for z in (x, new))
        found = extrapolation(rl.unwrap(net, x, rng.random(500) < p), new, rng.random(400) < q)
        c = found.calibration
        assert c is not None
        entropy = -(q * np.log(q) + (1 - q) * np.log(1 - q))
        order = np.argsort(found.trust, kind="stable")
        tenth, rest = entropy[order[:40]].mean(), entropy[order[40:]].mean()
        # rows that tie at the tenth go in proportion: near a tie of the two means either is right
        if c.surprise_lower[0] <= 1 and abs(tenth - rest) > 0.02:
            assert ("less sure there" in repr(found)) == (tenth > rest)
            said.append(tenth > rest)
    assert len(said) > 2
