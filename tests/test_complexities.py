"""Complexity and monotonicity: against exact combinatorics, simulation and loops over rows, neurons and pairs."""

from dataclasses import replace
from fractions import Fraction
from itertools import combinations
from math import comb
from typing import Any

import numpy as np
import pandas as pd
import pytest

import relucidate as rl
from paper_cases import cocircles
from relucidate import diagnose
from relucidate.complexities import DEAD, LINEAR, SWITCHING, complexity, expected_regions, monotonicity
from relucidate.errors import ArgumentError, NumericalOverflowError
from relucidate.features import Feature, Features
from small_networks import SPECIMENS, mixed, random_network, rows_for

SUMS = 1e-9  # relative: sums in another order differ in the last places


def unwrapped(net: rl.Network, n: int = 60, weighted: bool = False) -> rl.Unwrapped:
    x = rows_for(net, n)
    weight = np.random.default_rng(1).integers(0, 4, len(x)) + (np.arange(len(x)) == 0) if weighted else None
    return rl.unwrap(net, x, sample_weight=weight)


# ---------------------------------------------------------------- growth


@pytest.mark.parametrize("count", [[1], [5], [4, 3, 3, 1, 1, 1], [40, 2, 1, 1], list(range(1, 13))])
def test_growth_is_that_of_exact_binomials(count: list[int]) -> None:
    n = sum(count)
    drawn = np.arange(1, n + 1)
    exact = [float(sum(1 - Fraction(comb(n - c, m), comb(n, m)) for c in count)) for m in range(1, n + 1)]
    np.testing.assert_allclose(expected_regions(np.array(count), drawn), exact, rtol=1e-10)  # logarithms of factorials


def test_growth_is_the_mean_of_draws() -> None:
    u = unwrapped(SPECIMENS["deep"], 200)
    result = complexity(u)
    rng = np.random.default_rng(0)
    for m in (20, 100):
        found = [len(np.unique(u.region_of[rng.permutation(u.n_rows)[:m]])) for _ in range(400)]
        error = np.std(found) / np.sqrt(len(found))
        expected = expected_regions(u.count, np.array([m]))[0]
        assert abs(np.mean(found) - expected) < 4 * error  # four standard errors
    assert result.drawn[0] == 1
    assert result.expected[0] == pytest.approx(1)
    assert result.drawn[-1] == u.n_rows
    assert result.expected[-1] == pytest.approx(u.n_regions)
    assert (np.diff(result.expected) >= -1e-9).all()
    frame = result.growth()
    np.testing.assert_array_equal(frame["rows"], result.drawn)
    np.testing.assert_array_equal(frame["regions"], result.expected)


def test_many_rows_cost_the_growth_no_digits() -> None:
    count = np.array([10**6, 10**5, 3, 1])
    n = int(count.sum())
    drawn = np.array([1, 10, n // 2, n])
    product = [sum(1 - np.prod([(n - m - j) / (n - j) for j in range(c)]) for c in (3, 1)) for m in drawn]
    large = [
        sum(1 - np.prod([(n - c - j) / (n - j) for j in range(min(m, 10**4))]) for c in (10**6, 10**5)) for m in drawn
    ]
    np.testing.assert_allclose(expected_regions(count, drawn), np.add(product, large), rtol=1e-7)


def test_share_of_unseen_regions_is_right_on_average_and_its_interval_covers() -> None:
    net = random_network([2, 20, 1], seed=3)
    rng = np.random.default_rng(0)
    many = rng.normal(size=(30_000, 2))
    estimates, truths, inside = [], [], 0
    for i in range(60):
        u = rl.unwrap(net, rng.normal(size=(200, 2)))
        result = complexity(u)
        truth = float((u.assign(many[500 * i : 500 * (i + 1)]) < 0).mean())
        estimates.append(result.unseen)
        truths.append(truth)
        low, high = result.unseen_interval
        inside += low - 0.02 <= truth <= high + 0.02  # 500 rows tell a share to about 0.02
    gap = np.array(estimates) - np.array(truths)
    assert abs(gap.mean()) < 4 * gap.std() / np.sqrt(len(gap))
    assert inside >= 54  # of 60, at 95 %


def test_interval_is_never_of_no_width() -> None:
    result = complexity(unwrapped(SPECIMENS["linear"]))
    assert result.unseen == 0
    assert result.count.tolist() == [60]
    assert result.unseen_interval == (0.0, pytest.approx(3 / 60))


# ---------------------------------------------------------------- sizes and neurons


def test_circles() -> None:
    case = cocircles()
    net = rl.load((list(case.weights), list(case.biases)), link="logit")
    result = diagnose.complexity(rl.unwrap(net, case.X_train, case.y_train))
    assert result.n_regions == case.expected["n_regions"]
    assert result.unseen == pytest.approx(case.expected["one_row"] / 1600)
    low, high = result.unseen_interval
    unseen = case.expected["unseen_test_rows"] / len(case.X_test)
    assert low < unseen < high  # 22.5 % of the test rows
    assert "1,600 rows use 530 activation regions" in result.summary()[0]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", SPECIMENS)
def test_neurons_are_those_of_a_loop_over_rows(name: str, weighted: bool) -> None:
    net = SPECIMENS[name]
    u = unwrapped(net, weighted=weighted)
    result = complexity(u)
    bits = net.patterns(u.sample.x).bits()
    w = u.sample.weights / u.sample.weights.sum()
    start, expected = 0, []
    for i, layer in enumerate(net.hidden):
        a = layer.activation
        for j in range(len(a)):
            own = [start + b for b, neuron in enumerate(a.switches[0]) if neuron == j]
            if own:
                pieces = bits[:, own].sum(axis=1)
                slopes = a.slopes[j, pieces]
                state = SWITCHING if len(set(pieces)) > 1 else DEAD if slopes[0] == 0 else LINEAR
                expected.append((i, j, state, float(w @ bits[:, own[0]])))
        start += a.n_bits
    found = list(zip(result.layer, result.neuron, result.state, result.above, strict=True))
    assert [row[:3] for row in found] == [row[:3] for row in expected]
    np.testing.assert_allclose(result.above, [row[3] for row in expected], atol=1e-12)
    for state in (DEAD, LINEAR, SWITCHING):
        per_layer = [sum(row[0] == i and row[2] == state for row in expected) for i in range(len(net.hidden))]
        assert result.neurons_of(state).tolist() == per_layer
    joined = complexity(u.join_equal())
    np.testing.assert_allclose(joined.above, result.above, atol=1e-12)
    assert (joined.state == result.state).all()
    assert len(result.to_frame()) == net.n_neurons


def test_dead_neurons_give_a_constant_and_always_on_ones_a_line() -> None:
    net = random_network([3, 60, 1], seed=5, kind=mixed)
    u = rl.unwrap(net, 1.0 + rows_for(net, 20) / 8)
    result = complexity(u)
    layer = net.hidden[0]
    z = layer.preactivation(u.sample.x)
    value = layer.activation(z)
    for j, state in zip(result.neuron, result.state, strict=True):
        if state == DEAD:
            assert np.ptp(value[:, j]) == 0
        if state == LINEAR:
            slope, offset = np.polyfit(z[:, j], value[:, j], 1)
            np.testing.assert_allclose(value[:, j], slope * z[:, j] + offset, atol=1e-9)
            assert slope != 0
    assert {*result.state} == {DEAD, LINEAR, SWITCHING}


@pytest.mark.parametrize("name", ["lattice", "twins", "deep", "linear", "dead"])
def test_equal_maps_are_counted(name: str) -> None:
    u = unwrapped(SPECIMENS[name])
    result = complexity(u)
    flat = np.concatenate([u.coef.reshape(u.n_regions, -1), u.intercept], axis=1)
    assert result.n_maps == len(np.unique(flat.round(9), axis=0))
    assert result.n_patterns == u.n_regions
    joined = complexity(u.join_equal())
    assert (joined.n_maps, joined.n_patterns) == (result.n_maps, result.n_patterns)
    if result.n_maps is not None and result.n_maps < u.n_regions:
        assert joined.kind == "linear"
        assert f"The {u.n_regions} activation patterns have {result.n_maps} different map" in "\n".join(
            result.summary()
        )


def test_maps_beyond_memory_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = complexity(unwrapped(SPECIMENS["mixed"]))
    monkeypatch.setattr("relucidate.maps.FIT_BYTES", 0)
    monkeypatch.setattr("relucidate.complexities._CELLS", 64)
    result = complexity(unwrapped(SPECIMENS["mixed"]))
    assert result.n_maps is None
    assert "Equal maps were not looked for" in "\n".join(result.summary())
    np.testing.assert_allclose(result.jump, whole.jump, rtol=SUMS)
    np.testing.assert_allclose(result.above, whole.above, atol=1e-12)
    assert (result.state == whole.state).all()


def test_how_many_regions_hold_a_part_of_the_rows() -> None:
    u = unwrapped(SPECIMENS["lines"], 300, weighted=True)
    result = complexity(u)
    share = np.sort(u.share)[::-1]
    for part in (0.1, 0.5, 0.9, 1.0):
        k = result.regions_for(part)
        assert share[:k].sum() >= part - 1e-9 > share[: k - 1].sum() - 2e-9
    assert result.regions_for(0) == 0
    assert result.regions_per_row == u.n_regions / 300
    p = u.share[u.share > 0]
    assert result.effective_regions == pytest.approx(np.exp(-(p * np.log(p)).sum()))


# ---------------------------------------------------------------- neighbours


@pytest.mark.parametrize("name", SPECIMENS)
def test_pairs_and_jumps_are_those_of_all_pairs(name: str) -> None:
    net = SPECIMENS[name]
    u = unwrapped(net)
    for which in (u, u.join_equal()):
        result = complexity(which)
        bits = which.patterns.bits()
        coef = net.affine_maps(which.patterns)[0]
        coef = coef - coef.mean(axis=1, keepdims=True) if net.link == "softmax" else coef
        scaled = coef * which.sample.sd
        places: dict[Any, int] = {}
        of_bit = []
        for i, layer in enumerate(net.hidden):
            for j in layer.activation.switches[0]:
                of_bit.append(places.setdefault((i, int(j)), len(places)))
        expected = {}
        for i, j in combinations(range(len(bits)), 2):
            (differs,) = np.nonzero(bits[i] != bits[j])
            if len(differs) == 1:
                one, other = (j, i) if bits[i, differs[0]] else (i, j)
                expected[one, other] = (of_bit[differs[0]], float(np.linalg.norm(scaled[i] - scaled[j])))
        found = {
            (int(a), int(b)): (int(k), float(jump))
            for (a, b), k, jump in zip(result.pair, result.pair_neuron, result.jump, strict=True)
        }
        assert found.keys() == expected.keys()
        assert len(found) == len(result.jump)
        for pair, (k, jump) in expected.items():
            assert found[pair][0] == k
            assert found[pair][1] == pytest.approx(jump, rel=SUMS, abs=1e-12)
        frame = result.to_frame()
        for k in range(len(frame)):
            jumps = [jump for place, jump in expected.values() if place == k]
            assert frame["pairs"][k] == len(jumps)
            if jumps:
                assert frame["median_jump"][k] == pytest.approx(np.median(jumps), abs=1e-12)
                assert frame["max_jump"][k] == pytest.approx(max(jumps), abs=1e-12)
            else:
                assert np.isnan(frame["max_jump"][k])
        if len(found):
            assert result.jump_quantiles[-1] == result.jump.max()
            assert result.jump_quantiles[2] == pytest.approx(np.median(result.jump))


def test_a_jump_is_the_change_of_slope_across_a_kink() -> None:
    net = random_network([1, 1, 1], seed=0)
    x = np.linspace(-30, 30, 601)[:, None]
    first, last = net.layers
    change = abs(float(last.weight[0, 0] * first.weight[0, 0]))
    result = complexity(rl.unwrap(net, x))
    assert result.jump == pytest.approx([change * x.std()])
    assert result.summary()[-1].startswith("1 pair of seen patterns differs in one neuron")
    assert "at neuron 0 of 'dense 0'" in result.summary()[-1]


def test_arguments_of_methods_are_checked() -> None:
    result = complexity(unwrapped(SPECIMENS["lines"]))
    with pytest.raises(ArgumentError, match="part is 2; expected a share of the rows"):
        result.regions_for(2)
    with pytest.raises(ArgumentError, match="state is 'off'; expected 'dead', 'always on' or 'switches'"):
        result.neurons_of("off")


# ---------------------------------------------------------------- monotonicity


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", SPECIMENS)
def test_shares_of_signs_are_those_of_a_loop_over_rows(name: str, weighted: bool) -> None:
    net = SPECIMENS[name]
    u = unwrapped(net, weighted=weighted)
    result = monotonicity(u)
    coef = np.array(u.coef)
    coef = coef - coef.mean(axis=1, keepdims=True) if net.link == "softmax" else coef
    sd = np.where(u.sample.sd > 0, u.sample.sd, 1)
    w = u.sample.weights / u.sample.weights.sum()
    tiny = 1e-9 * np.abs(coef * sd).max(axis=(0, 2))
    assert result.names == net.feature_names
    for k in range(net.n_outputs):
        for j in range(net.n_features):
            slope = coef[u.region_of, k, j]
            sign = np.sign(slope) * (np.abs(slope * sd[j]) > tiny[k])
            shares = [float(w @ (sign == s)) for s in (1, -1, 0)]
            np.testing.assert_allclose(
                [result.increasing[k, j], result.decreasing[k, j], result.flat[k, j]], shares, atol=1e-12
            )
            seen = {int(s) for s in sign[w > 0]}
            words = {
                frozenset({1}): "always increasing",
                frozenset({-1}): "always decreasing",
                frozenset({0}): "flat everywhere",
                frozenset({0, 1}): "never decreasing",
                frozenset({0, -1}): "never increasing",
            }
            assert result.verdict[k, j] == words.get(frozenset(seen), "mixed")
            assert result.mean_slope[k, j] == pytest.approx(float(w @ slope), abs=1e-9)
            majority = (1 if shares[0] >= shares[1] else -1) if shares[0] + shares[1] > 0 else 0
            assert result.reference[k, j] == majority
            used = np.unique(u.region_of[w > 0])
            against = [
                r for r in used if np.sign(coef[r, k, j]) == -majority != 0 and abs(coef[r, k, j] * sd[j]) > tiny[k]
            ]
            assert result.n_against[k, j] == len(against)
            assert result.against[k, j] == pytest.approx(u.share[against].sum())
            listed = (result.break_output == k) & (result.break_feature == j)
            assert result.break_region[listed].tolist() == against
            np.testing.assert_allclose(result.break_slope[listed], coef[against, k, j], rtol=SUMS)
    frame = result.to_frame()
    assert len(frame) == net.n_outputs * net.n_features
    np.testing.assert_array_equal(frame["against"].to_numpy(), result.against.ravel())
    assert result.breaks()["count"].tolist() == u.count[result.break_region].tolist()


def credit() -> rl.Unwrapped:
    """Income and debt raise and lower the score on most rows; beyond 2 debt raises it."""
    net = rl.load(
        ([np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[3.0], [5.0]])], [np.array([10.0, -2.0]), np.zeros(1)]),
        feature_names=["income", "debt"],
    )
    first, last = net.layers
    slopes = last.weight.copy()
    net = replace(
        net,
        layers=(
            replace(
                first,
                weight=np.vstack([first.weight, [0.0, -1.0]]),
                bias=np.r_[first.bias, 50.0],
                activation=type(first.activation).of_kind("relu", 3),
            ),
            replace(last, weight=np.hstack([slopes, [[2.0]]])),
        ),
    )
    rng = np.random.default_rng(0)
    return rl.unwrap(net, rng.uniform([0, 0], [1, 4], size=(200, 2)))


def test_an_expected_sign_is_held_against_the_rows() -> None:
    u = credit()
    result = diagnose.monotonicity(u, expected={"income": "+", "debt": "-"})
    beyond = u.sample.x[:, 1] > 2
    assert result.violating[0].tolist() == [0, pytest.approx(beyond.mean())]
    (row,) = result.breaks().to_dict("records")
    assert (row["feature"], row["count"], row["slope"]) == ("debt", int(beyond.sum()), pytest.approx(3.0))
    lines = result.summary()
    assert "'income': expected +, and on these rows no region says otherwise." in lines
    assert lines[-1].startswith("'debt': expected −, violated on these rows in 1 region with ")
    assert lines[0].startswith("On these 200 rows ")
    assert result.to_frame()["expected"].tolist() == ["+", "-"]
    opposite = monotonicity(u, ["debt"], expected={"debt": "+"})
    assert opposite.names == ("debt",)
    assert opposite.violating[0, 0] == pytest.approx(1 - beyond.mean())
    unasked = monotonicity(u)
    assert np.isnan(unasked.violating).all()
    assert set(unasked.to_frame()["expected"]) == {""}
    way = "falls" if unasked.reference[0, 1] > 0 else "rises"
    assert f"It {way} with 'debt', against most rows, in 1 region" in unasked.summary()[-1]


def test_what_rounding_leaves_of_0_is_flat() -> None:
    rng = np.random.default_rng(0)
    first = np.zeros((80, 2))
    first[:, 0] = np.abs(rng.normal(size=80))
    last = np.r_[1 / first[:40, 0], -1 / first[40:, 0]]  # 40 times 1, less 40 times 1
    first[0, 1] = 1.0
    net = rl.load(([first.T, last[:, None]], [np.full(80, 9.0), np.zeros(1)]))
    u = rl.unwrap(net, rng.random(size=(50, 2)))
    assert 0 < abs(u.coef[0, 0, 0]) < 1e-10
    result = monotonicity(u, expected={"x0": "+" if u.coef[0, 0, 0] < 0 else "-"})
    assert result.verdict[0, 0] == "flat everywhere"
    assert result.violating[0, 0] == 0
    assert len(result.break_region) == 0
    assert result.verdict[0, 1] == "always increasing"


def test_no_more_regions_are_listed_than_asked_for_and_all_are_counted() -> None:
    u = unwrapped(SPECIMENS["deep"], 300)
    whole, few = monotonicity(u), monotonicity(u, most=2)
    np.testing.assert_array_equal(whole.n_against, few.n_against)
    assert (whole.n_against > 2).any()
    for j in range(3):
        listed = whole.break_region[whole.break_feature == j]
        assert (np.diff(listed) > 0).all()
        assert few.break_region[few.break_feature == j].tolist() == listed[:2].tolist()


def test_blocks_of_maps_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    u = unwrapped(SPECIMENS["five classes"], 200)
    whole = monotonicity(u, most=5)
    blocks = type(u).map_blocks
    monkeypatch.setattr(type(u), "map_blocks", lambda self, limit_bytes=0: blocks(self, 2000))
    parts = monotonicity(u, most=5)
    for name in ("increasing", "against", "break_slope"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=SUMS)
    for name in ("break_region", "break_feature", "break_output", "n_against", "verdict"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))


def levels() -> rl.Unwrapped:
    items = (
        Feature("age", "age", impute=0.0),
        Feature("age is missing", "age", "missing"),
        *(Feature(f"town={t}", "town", "level", (t,)) for t in "ABC"),
        Feature("member=yes", "member", "level", ("yes",)),
    )
    net = replace(random_network([6, 8, 2], seed=3), features=Features(items, ("age", "town", "member"), True))
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age": np.where(rng.random(90) < 0.2, np.nan, rng.normal(size=90)),
            "town": rng.choice(list("ABC"), 90),
            "member": rng.choice(["yes", "no"], 90),
        }
    )
    return rl.unwrap(net, frame)


def test_columns_of_several_features_have_no_direction() -> None:
    u = levels()
    result = monotonicity(u)
    assert result.names == ("age", "member=yes")
    assert result.left_out == ("town",)
    assert "left out: 'town'" in result.summary()[-1]
    coef = u.coef[u.region_of][:, 1, [0, 5]]
    np.testing.assert_allclose(result.increasing[1], (coef > 0).mean(axis=0), atol=1e-12)
    one = monotonicity(u, ["town=B"], expected={("town=B", "y1"): "+"})
    assert one.names == ("town=B",)
    assert one.expected[:, 0].tolist() == [0, 1]
    with pytest.raises(ArgumentError, match=r"'town' is made of 3 features and has no one direction.*'town=A'"):
        monotonicity(u, ["town"])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"features": []}, "features is empty"),
        ({"features": ["agee"]}, "'agee' is no feature of this network. Did you mean 'age'"),
        ({"expected": {("age", "y0"): "up"}}, "The sign expected of 'age' is 'up'; expected '\\+' or '-'"),
        ({"expected": {"age": "+"}}, "The network has 2 outputs; say of which a sign is expected"),
        ({"expected": {("age", "z"): "+"}}, "'z' is no output of this network"),
        ({"most": 0}, "most is 0; expected at least 1"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        monotonicity(levels(), **wrong)


def test_what_is_no_result_of_unwrap_and_what_cannot_be_squared_is_refused() -> None:
    net = random_network([3, 8, 1], seed=1, link="logit")
    for verb in (complexity, monotonicity):
        with pytest.raises(ArgumentError, match="Expected an Unwrapped, got a Network"):
            verb(net)
    x = np.random.default_rng(0).normal(size=(400, 3))
    x[:, 0] *= 1e200
    u = rl.unwrap(net, x)
    with pytest.raises(NumericalOverflowError, match=r"Values of 'x0' reach .*e\+200: the squares of its effects"):
        complexity(u)
    assert np.isfinite(monotonicity(u).mean_slope).all()  # squares nothing
