"""Reliability: every reason against a loop over regions and rows, and the published counts."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, log_loss, r2_score, roc_auc_score

import relucidate as rl
from paper_cases import cocircles
from relucidate import diagnose
from relucidate import reliabilities as module
from relucidate.errors import ArgumentError, NumericalOverflowError
from relucidate.features import Feature, Features
from relucidate.reliabilities import (
    CHANCE,
    FAR,
    FEW,
    FEWER,
    MEAN,
    ONE_CLASS,
    ONE_ROW,
    RANK,
    Reliability,
    reliability,
)
from small_networks import SPECIMENS, network, random_network, rows_for

SUMS = 1e-7  # relative: other decompositions and orders of summation differ in the last places, times the condition


def response(net: rl.Network, x: Any, seed: int = 0) -> Any:
    """Labels or numbers that depend on the rows, with noise."""
    rng = np.random.default_rng(seed)
    score = net.decision(x) + rng.normal(size=(len(x), net.n_outputs))
    if net.link == "softmax":
        return score.argmax(axis=1)
    if net.link == "logit":
        y = (score > np.median(score, axis=0)).astype(int)
        return y[:, 0] if net.n_outputs == 1 else y
    return score


def unwrapped(net: rl.Network, n: int = 60, weighted: bool = False) -> rl.Unwrapped:
    x = rows_for(net, n)
    weight = np.random.default_rng(1).integers(0, 4, len(x)) + (np.arange(len(x)) == 0) if weighted else None
    return rl.unwrap(net, x, response(net, x), weight)


def circles(with_labels: bool = True) -> rl.Unwrapped:
    case = cocircles()
    net = rl.load((list(case.weights), list(case.biases)), link="logit")
    return rl.unwrap(net, case.X_train, case.y_train if with_labels else None)


# ---------------------------------------------------------------- written twice


def slow_skill(u: rl.Unwrapped, here: Any) -> float:
    net, s = u.network, u.sample
    w, y, decision = s.weights[here], np.asarray(s.y)[here], s.decision[here]
    if not (w > 0).any():
        return np.nan
    if not net.is_classifier:
        truth = y.reshape(len(y), -1)
        if (truth == truth[0]).all():
            return np.nan
        # several outputs: of the errors and variances added up
        mse = np.average((truth - net.inverse_link(decision)) ** 2, axis=0, weights=w).sum()
        variance = np.average((truth - np.average(truth, axis=0, weights=w)) ** 2, axis=0, weights=w).sum()
        if truth.shape[1] == 1 and (w > 0).sum() > 1:
            expected = r2_score(truth, net.inverse_link(decision), sample_weight=w)
            assert 1 - mse / variance == pytest.approx(expected, rel=SUMS)
        return float(1 - mse / variance) if variance > 0 else np.nan
    if net.n_outputs > 1 and net.link == "logit":
        p = np.average(y, axis=0, weights=w)
        if set(p) <= {0.0, 1.0}:
            return np.nan
        prediction = net.inverse_link(decision)
        loss = sum(log_loss(y[:, k], prediction[:, k], labels=[0, 1], sample_weight=w) for k in range(y.shape[1]))
        entropy = sum(-q * np.log(q) for q in np.r_[p, 1 - p] if 0 < q < 1)
        return float(1 - loss / entropy)
    y = y.astype(int)
    if len(set(y[w > 0])) == 1:
        return np.nan
    if net.link == "logit":
        return float(2 * roc_auc_score(y, decision[:, 0], sample_weight=w) - 1)
    commonest = np.bincount(y, w).max() / w.sum()
    return float(1 - (1 - accuracy_score(y, decision.argmax(axis=1), sample_weight=w)) / (1 - commonest))


def slow_condition(u: rl.Unwrapped, here: Any) -> float:
    """Of the region's rows; the table has all directions."""
    s = u.sample
    here = here[s.weights[here] > 0]
    varies = s.sd > 0
    x, w = (s.x[here] / np.where(varies, s.sd, 1))[:, varies], s.weights[here]
    x = (x - np.average(x, axis=0, weights=w)) * np.sqrt(w)[:, None]
    if np.linalg.matrix_rank(x) < x.shape[1]:
        return np.inf
    return float(np.linalg.cond(x))


def slow_distance(u: rl.Unwrapped, k: int) -> Any:
    s, sums = u.sample, u.sums
    sd = s.sd
    coef = np.array(u.coef)
    if u.network.link == "softmax":
        coef = coef - coef.mean(axis=1, keepdims=True)
    b = (coef * sd).reshape(len(coef), -1)
    share = sums.weight / sums.weight.sum()
    spread = np.sqrt(share @ ((b - share @ b) ** 2).sum(axis=1))
    known = [r for r in range(u.n_regions) if sums.weight[r] > 0]
    out = np.full(u.n_regions, np.nan)
    for r in known:
        places = {q: (sums.x[q] / sums.weight[q])[sd > 0] / sd[sd > 0] for q in known}
        gap = {q: round(float(((places[q] - places[r]) ** 2).sum()), 9) for q in known if q != r}
        near = sorted(gap, key=gap.__getitem__)[:k]  # a stable sort: ties, on a grid, to the larger region
        mean = sum(sums.weight[q] * b[q] for q in near) / sum(sums.weight[q] for q in near)
        out[r] = np.sqrt(((b[r] - mean) ** 2).sum()) / spread if spread > 0 else 0
    return out


CASES = {
    "one logit": random_network([3, 6, 1], seed=7, link="logit"),
    "three logits": random_network([3, 6, 3], seed=7, link="logit"),
    "five classes": random_network([4, 6, 5], seed=4, link="softmax"),
    "three outputs": random_network([4, 5, 3], seed=6),
    "log": random_network([3, 5, 1], seed=6, link="log"),
    "mixed": SPECIMENS["mixed"],
    "dead": SPECIMENS["dead"],
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_each_reason_is_that_of_a_loop_over_regions(name: str, weighted: bool) -> None:
    u = unwrapped(CASES[name], 300, weighted)
    s, d = u.sample, u.network.n_features
    result = reliability(u, min_rows=12, max_condition=6, min_skill=0.3, max_distance=0.7, neighbours=3)
    near = slow_distance(u, 3)
    assert result.n_coefficients == d + 1
    y = np.asarray(s.y).reshape(len(s.x), -1)
    for r in range(u.n_regions):
        here = np.flatnonzero(s.region == r)
        flag = dict(zip(result.reasons, result.flags[r], strict=True))
        used = here[s.weights[here] > 0]
        assert flag[ONE_ROW] == (len(used) == 1)
        assert flag[FEWER] == (len(used) < d + 1)
        assert flag[FEW] == (len(used) < 12)
        if u.network.is_classifier:
            one = len(used) > 0 and all(len(set(column)) == 1 for column in y[used].T)
            assert flag[ONE_CLASS] == one
        skill = slow_skill(u, here)
        np.testing.assert_allclose(result.skill[r], skill, rtol=SUMS, atol=1e-9)
        assert flag[CHANCE if u.network.is_classifier else MEAN] == (skill < 0.3)
        condition = slow_condition(u, here) if len(used) >= d + 1 else np.nan
        np.testing.assert_allclose(result.condition[r], condition, rtol=SUMS)
        assert flag[RANK] == (condition > 6)
        np.testing.assert_allclose(result.distance[r], near[r], rtol=SUMS, atol=1e-9)
        assert flag[FAR] == (near[r] > 0.7)
        first = next((reason for reason in result.reasons if flag[reason]), "")
        assert result.reason[r] == first
        assert result.reliable[r] == (first == "")
    for j, reason in enumerate((*result.reasons, "")):
        assert result.tally[0][j] == (result.reason == reason).sum()
        assert result.tally[1][j] == pytest.approx(u.share[result.reason == reason].sum())
    assert result.flags.any(axis=0).sum() >= 3  # the loop has met some


def test_weights_count_as_repeated_rows() -> None:
    net = CASES["one logit"]
    x = rows_for(net, 300)
    y = response(net, x)
    times = np.random.default_rng(1).integers(1, 4, len(x))
    weighted = reliability(rl.unwrap(net, x, y, times))
    repeated = reliability(rl.unwrap(net, np.repeat(x, times, axis=0), np.repeat(y, times)))
    for name in ("distance", "skill", "share"):  # conditions need rows enough, whatever their weight
        one, other = (np.sort(getattr(result, name)) for result in (weighted, repeated))  # regions in another order
        assert np.isfinite(one).any()
        np.testing.assert_allclose(one, other, rtol=SUMS)


# ---------------------------------------------------------------- what is published


def test_circles_have_327_regions_of_one_row_and_123_more_of_one_class() -> None:
    result = diagnose.reliability(circles())
    frame = result.to_frame()
    assert (frame["reason"] == "one row").sum() == 327
    assert (frame["reason"] == "one class").sum() == 123
    assert frame.loc[frame["reason"] == "one row", "share"].sum() == pytest.approx(0.204, abs=5e-4)
    assert frame["one class"].sum() == 450
    assert len(frame) == 530
    lines = result.summary()
    assert "327 of 530 regions rest on one row; they hold 20.4 % of the rows." in lines
    assert any(line.startswith("123 more of 530 regions have rows of one class only") for line in lines)
    assert frame.set_index("region").loc[0, "local_auc"] == pytest.approx(
        cocircles().expected["first_local_score"], rel=1e-9
    )


def test_without_a_response_what_needs_one_is_absent_and_said() -> None:
    result = reliability(circles(with_labels=False))
    assert result.reasons == (ONE_ROW, FEWER, FEW, RANK, FAR)
    assert result.summary()[-1] == 'Note: "one class" and "worse than chance" were not looked at: there is no response.'
    assert not {"skill", "one class"} & set(result.to_frame().columns)
    regression = reliability(rl.unwrap(SPECIMENS["lines"], rows_for(SPECIMENS["lines"])))
    assert 'Note: "worse than the mean" was not looked at: there is no response.' in regression.summary()


def test_joined_regions_are_judged_on_all_their_rows() -> None:
    net = SPECIMENS["lattice"]
    u = unwrapped(net, 200)
    joined = u.join_equal()
    result = reliability(joined, neighbours=2)
    assert result.kind == "linear"
    assert reliability(u).kind == "activation"
    assert len(result.count) == joined.n_regions < u.n_regions
    r = int(np.flatnonzero(np.isfinite(result.condition))[0])
    assert result.condition[r] == pytest.approx(slow_condition(joined, np.flatnonzero(joined.sample.region == r)))


# ---------------------------------------------------------------- laws


def test_units_do_not_matter() -> None:
    net = random_network([3, 9, 9, 1], seed=7, link="logit")
    x = rows_for(net, 500)
    y = response(net, x)
    scale = np.array([1e4, 1.0, 2.0**-20])
    first, *others = net.layers
    other = replace(net, layers=(replace(first, weight=first.weight / scale), *others))
    one, two = reliability(rl.unwrap(net, x, y)), reliability(rl.unwrap(other, x * scale, y))
    np.testing.assert_allclose(one.condition, two.condition, rtol=SUMS)
    np.testing.assert_allclose(one.distance, two.distance, rtol=SUMS)
    np.testing.assert_array_equal(one.flags, two.flags)


def test_a_full_set_of_indicators_takes_no_coefficient_and_no_direction() -> None:
    items = (Feature("age", "age"), *(Feature(f"town={t}", "town", "level", (t,)) for t in "ABC"))
    net = replace(random_network([4, 3, 1], seed=3), features=Features(items, ("age", "town"), True))
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"age": rng.normal(size=400), "town": rng.choice(list("ABC"), 400)})
    u = rl.unwrap(net, frame)
    result = reliability(u)
    assert result.n_coefficients == 4  # age, two of three indicators, and the intercept
    for r in range(u.n_regions):
        here = u.sample.x[u.sample.region == r]
        if len(here) >= 4:
            varies = len({tuple(row) for row in here[:, 1:]}) == 3
            assert np.isfinite(result.condition[r]) == varies
    assert np.isfinite(result.condition).any()


def test_rows_on_a_line_lack_a_direction() -> None:
    net = SPECIMENS["zero biases"]
    rng = np.random.default_rng(0)
    x = np.vstack([rng.normal(size=(200, 2)), np.outer(np.linspace(1, 2, 50), [3.0, 3.0])])
    kept = net.patterns(x).bits().tolist()
    target = kept[-1]
    keep = np.array([i >= 200 or row != target for i, row in enumerate(kept)])  # that region has the line only
    u = rl.unwrap(net, x[keep])
    result = reliability(u)
    r = int(u.region_of[-1])
    assert result.condition[r] == np.inf
    assert result.reason[r] == RANK
    assert np.isfinite(np.delete(result.condition, r)).all()


@pytest.mark.parametrize("value", [0.1, 0.3, 0.7, 1e3 / 3, 1.7e9 / 7])
def test_rows_that_are_all_alike_have_no_condition(value: float) -> None:
    """Their mean was rounded, and what it left of them taken for a direction: such a region was called reliable."""
    rng = np.random.default_rng(0)
    net = network([np.ones((2, 1)), np.array([[1.0, -2.0]])], [np.array([0.0, -10 * value]), np.zeros(1)])
    x = np.concatenate([np.full(45, value), value * rng.uniform(11, 30, 60), value * rng.uniform(-30, -1, 60)])[:, None]
    u = rl.unwrap(net, x, rng.normal(size=165))
    result = reliability(u, min_skill=-np.inf)
    r = int(u.region_of[0])
    assert u.count[r] == 45
    assert result.condition[r] == np.inf
    assert result.reason[r] == RANK
    assert np.isfinite(np.delete(result.condition, r)).all()


def test_a_decision_that_never_varies_is_not_worse_than_chance() -> None:
    """An AUC of 0.5 but for rounding is chance itself."""
    net = network(
        [np.array([[1.0], [-1.0]]), np.array([[-1.0, 0.0]])], [np.array([0.0, -100.0]), np.array([0.3])], link="logit"
    )
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(400, 1)), rng.integers(0, 2, 400)
    for seed in range(40):
        result = reliability(rl.unwrap(net, x, y, np.random.default_rng(seed).random(400)))
        flat = int(np.abs(result.skill).argmin())
        assert abs(result.skill[flat]) < 1e-12
        assert not result.flags[flat, result.reasons.index(CHANCE)]


def test_accuracy_is_held_against_the_commonest_class_of_the_same_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a sample, both; a region that predicts one class has a skill of exactly 0."""
    monkeypatch.setattr("relucidate.sampling.MAX_ROWS", 500)
    net = random_network([2, 8, 3], seed=4, link="softmax")
    x = np.random.default_rng(0).normal(size=(4000, 2)) * 3
    y = np.where(np.random.default_rng(1).random(4000) < 0.5, net.decision(x).argmax(axis=1), 0)
    u = rl.unwrap(net, x, y)
    assert not u.sample.is_complete
    result, s = reliability(u), u.sample
    told = 0
    for r in range(u.n_regions):
        here = s.region == r
        truth, said = np.asarray(s.y)[here], s.decision[here].argmax(axis=1)
        if len(set(truth)) < 2:
            assert np.isnan(result.skill[r])
            continue
        expected = 1 - np.mean(truth != said) / np.mean(truth != np.bincount(truth.astype(int)).argmax())
        assert result.skill[r] == pytest.approx(expected, abs=1e-12)
        told += 1
    assert told > 3


def test_equal_coefficients_are_at_no_distance() -> None:
    result = reliability(unwrapped(SPECIMENS["twins"]))  # constant
    np.testing.assert_array_equal(result.distance, 0)


def test_one_region_has_no_neighbours() -> None:
    result = reliability(unwrapped(SPECIMENS["linear"]))
    assert result.reliable.tolist() == [True]
    assert FAR not in result.reasons
    assert "none is nearer" in result.summary()[-1]
    assert result.summary()[0] == "1 of 1 region is reliable; it holds 100.0 % of the rows."


@pytest.mark.parametrize(("n", "k"), [(3, 1), (40, 5), (639, 5), (1500, 1), (2003, 7)])
@pytest.mark.parametrize("kind", ["grid", "far from 0", "plain", "copies"])
def test_nearest_regions_are_those_of_a_loop(n: int, k: int, kind: str) -> None:
    """Few and many, with equal distances on a grid, with products that cancel, and many in one place; ties to the first."""
    rng = np.random.default_rng(n)
    place = {
        "grid": rng.integers(-3, 4, size=(n, 3)) * 0.1,
        "far from 0": rng.normal(size=(n, 4)) + 1e4,  # distances cancel to 1e-8 of the squares
        "plain": rng.normal(size=(n, 6)),
        "copies": np.repeat(rng.normal(size=(n, 2))[: n // 3 + 1], 3, axis=0)[:n],
    }[kind]
    found = module._neighbours(place, min(k, n - 1))
    for r in range(n):
        distance = np.sqrt(((place - place[r]) ** 2).sum(axis=1))
        distance[r] = np.inf
        expected = np.argsort(np.round(distance, 9), kind="stable")[: min(k, n - 1)]
        assert found[r].tolist() == expected.tolist()


@pytest.mark.parametrize("name", SPECIMENS)
def test_every_specimen_has_shares_that_add_up(name: str) -> None:
    for u in (
        unwrapped(SPECIMENS[name]),
        unwrapped(SPECIMENS[name], weighted=True),
        unwrapped(SPECIMENS[name]).join_equal(),
    ):
        result = reliability(u)
        regions, rows = result.tally
        assert regions.sum() == u.n_regions
        assert rows.sum() == pytest.approx(1)
        assert list(result.to_frame().columns[:5]) == ["region", "count", "share", "reliable", "reason"]
        assert repr(result).startswith(f"{regions[-1]:,} of ")


def test_what_rests_on_a_sample_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relucidate.sampling.MAX_ROWS", 100)
    net = CASES["one logit"]
    x = rows_for(net, 2000)
    result: Reliability = reliability(rl.unwrap(net, x, response(net, x)))
    assert result.n_untold > 0
    lines = result.summary()
    assert f"{result.n_untold} of {len(result.count)} regions ha" in "\n".join(lines)
    assert "Conditions, AUC and accuracy need rows (on a sample of 100 of 2,000 rows)." in lines


def test_maps_that_do_not_fit_are_computed_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    u = unwrapped(CASES["five classes"], 300)
    whole = reliability(u)
    monkeypatch.setattr("relucidate.maps.FIT_BYTES", 0)
    monkeypatch.setattr("relucidate.reliabilities._CELLS", 256)
    parts = reliability(unwrapped(CASES["five classes"], 300))
    np.testing.assert_array_equal(whole.flags, parts.flags)
    np.testing.assert_allclose(whole.distance, parts.distance, rtol=SUMS)
    np.testing.assert_allclose(whole.condition, parts.condition, rtol=SUMS)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"min_rows": 0}, "min_rows is 0; expected a whole number, at least 1"),
        ({"neighbours": 1.5}, "neighbours is 1.5; expected a whole number"),
        ({"max_condition": float("nan")}, "max_condition is nan; expected a number, at least 1"),
        ({"max_distance": -1}, "max_distance is -1; expected a number, at least 0"),
        ({"min_skill": 2}, "min_skill is 2; expected a number of at most 1"),
    ],
)
def test_thresholds_that_make_no_sense_are_refused(wrong: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        reliability(unwrapped(SPECIMENS["lines"]), **wrong)


def test_what_is_no_result_of_unwrap_and_what_cannot_be_squared_is_refused() -> None:
    net = random_network([3, 8, 1], seed=1, link="logit")
    x = np.random.default_rng(0).normal(size=(400, 3))
    with pytest.raises(ArgumentError, match="Expected an Unwrapped, got a Network"):
        reliability(net)  # type: ignore[arg-type]
    last = net.layers[-1]
    steep = replace(net, layers=(*net.layers[:-1], replace(last, weight=last.weight * 1e200)))
    with pytest.raises(NumericalOverflowError, match=r"its coefficients .*e\+200: the squares of its effects"):
        reliability(rl.unwrap(steep, x))
