"""Complexity: against exact combinatorics, simulation and loops over rows, neurons and pairs."""

from fractions import Fraction
from itertools import combinations
from math import comb
from typing import Any

import numpy as np
import pytest

import relucidate as rl
from paper_cases import cocircles
from relucidate import diagnose
from relucidate.complexities import DEAD, LINEAR, SWITCHING, complexity, expected_regions
from relucidate.errors import ArgumentError, NumericalOverflowError
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


def test_what_is_no_result_of_unwrap_and_what_cannot_be_squared_is_refused() -> None:
    net = random_network([3, 8, 1], seed=1, link="logit")
    with pytest.raises(ArgumentError, match="Expected an Unwrapped, got a Network"):
        complexity(net)  # type: ignore[arg-type]
    x = np.random.default_rng(0).normal(size=(400, 3))
    x[:, 0] *= 1e200
    with pytest.raises(NumericalOverflowError, match=r"Values of 'x0' reach .*e\+200: the squares of its effects"):
        complexity(rl.unwrap(net, x))
