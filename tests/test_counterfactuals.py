"""Distances to facets and boundaries, and counterfactuals: against integer programs, bisection, and random tries."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import Bounds, LinearConstraint, linprog, milp

from relucidate import examples, load
from relucidate.counterfactuals import BoundaryDistances, Search, boundary
from relucidate.diagnose import boundary as exported
from relucidate.errors import ArgumentError, ColumnError, DataError
from relucidate.features import Feature, Features
from relucidate.layers import Activation
from relucidate.least_distances import Programs, Reach
from relucidate.nearest_points import Geometry, Target, _Walk
from relucidate.network import Network
from relucidate.unwrapping import unwrap
from small_networks import SPECIMENS, network, random_network, rows_for

NETWORKS = pytest.mark.parametrize("name", SPECIMENS)
NORMS = pytest.mark.parametrize("norm", [1, 2, np.inf])


def length(t: Any, norm: float) -> Any:
    return np.linalg.norm(t, ord=norm, axis=-1)


def across(net: Network, result: BoundaryDistances, x: Any, side: int) -> Any:
    """Which rows are decided otherwise than `side`."""
    decision = net.decision(x)
    if net.link == "softmax":
        return (np.delete(decision, side, axis=1) > decision[:, [side]]).any(axis=1)
    value = decision[:, result.output]
    return value < result.level if side else value > result.level


# ---------------------------------------------------------------- the nearest counterfactual


def by_integers(net: Network, x: Any, norm: float, scale: Any, box: Any) -> float:
    """The distance to decision 0 of a ReLU network with one output, as a mixed-integer program with big M."""
    d, sizes = len(x), [len(layer.bias) for layer in net.hidden]
    n_extra = d if norm == 1 else 1
    m = sum(sizes)
    # variables: x, distances, then per neuron its value and whether it is on
    at_value, at_on = d + n_extra, d + n_extra + m
    n = at_on + m
    low, high = np.full(n, -np.inf), np.full(n, np.inf)
    low[:d], high[:d] = box
    low[d:at_on] = 0
    low[at_on:], high[at_on:] = 0, 1
    rows, least, most = [], [], []

    def add(row: Any, a: float, b: float) -> None:
        rows.append(row)
        least.append(a)
        most.append(b)

    for j in range(d):
        for sign in (1, -1):
            row = np.zeros(n)
            row[j], row[d + (j if norm == 1 else 0)] = sign / scale[j], 1
            add(row, sign * x[j] / scale[j], np.inf)
    before, start, lower, upper = np.arange(d), 0, *box
    for layer in net.hidden:
        w, b = layer.weight, layer.bias
        z_low = np.minimum(w * lower, w * upper).sum(axis=1) + b
        z_high = np.maximum(w * lower, w * upper).sum(axis=1) + b
        for k in range(len(b)):
            v, on = at_value + start + k, at_on + start + k
            row = np.zeros(n)
            row[v], row[before] = 1, -w[k]
            add(row, b[k], np.inf)  # value >= z
            row = row.copy()
            row[on] = -min(z_low[k], 0.0)
            add(row, -np.inf, b[k] - min(z_low[k], 0.0))  # value <= z - low (1 - on)
            row = np.zeros(n)
            row[v], row[on] = 1, -max(z_high[k], 0.0)
            add(row, -np.inf, 0.0)  # value <= high on
        before, start = np.arange(at_value + start, at_value + start + len(b)), start + len(b)
        lower, upper = np.maximum(z_low, 0), np.maximum(z_high, 0)
    sign = -1.0 if net.decision(x[None])[0, 0] > 0 else 1.0
    row = np.zeros(n)
    row[before] = sign * net.layers[-1].weight[0]
    add(row, -sign * net.layers[-1].bias[0], np.inf)
    cost = np.zeros(n)
    cost[d : d + n_extra] = 1
    whole = np.zeros(n)
    whole[at_on:] = 1
    solved = milp(
        cost,
        constraints=LinearConstraint(np.array(rows), least, most),
        bounds=Bounds(low, high),
        integrality=whole,
        options={"mip_rel_gap": 1e-9},
    )
    assert solved.status in (0, 2)
    return float(solved.fun) if solved.status == 0 else np.inf


def compare_with_integers(seed: int) -> bool:
    """Whether there was a counterfactual."""
    rng = np.random.default_rng(seed)
    sizes = [(2, 6, 1), (3, 5, 4, 1), (4, 8, 1), (3, 4, 4, 3, 1), (5, 6, 3, 1)][seed % 5]
    net = random_network(sizes, seed=seed, link="logit")
    d = sizes[0]
    x, scale = rng.normal(size=d), rng.uniform(0.5, 2, d)
    box = np.stack([x - rng.uniform(0.3, 3, d), x + rng.uniform(0.3, 3, d)])
    found = False
    for norm in (1, np.inf):
        r = boundary(net, x[None], norm=norm, scale=scale, bounds=box.T, budget=5000)
        right = by_integers(net, x, norm, scale, box)
        # an integer program is feasible to 1e-6 of its rows, and whole to 1e-6 times M
        assert r.status[0] is (Search.FOUND if np.isfinite(right) else Search.NONE), (seed, norm)
        if np.isfinite(right):
            assert r.distance[0] == pytest.approx(right, rel=1e-5, abs=1e-5)
            assert r.lower_bound[0] == pytest.approx(right, rel=1e-5, abs=1e-5)
            found = True
    return found


@pytest.mark.parametrize("seed", range(25))
def test_as_near_as_an_integer_program_says(seed: int) -> None:
    compare_with_integers(seed)


def test_some_rows_of_these_programs_have_a_counterfactual_and_some_have_none() -> None:
    found = [compare_with_integers(seed) for seed in (0, 1, 2, 3, 5, 6)]
    assert 0 < sum(found) < len(found)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(25, 200))
def test_as_near_as_an_integer_program_says_of_many(seed: int) -> None:
    compare_with_integers(seed)


@NORMS
@pytest.mark.parametrize("seed", range(4))
def test_no_random_try_is_nearer(seed: int, norm: float) -> None:
    rng = np.random.default_rng(seed)
    link = ["logit", "identity", "softmax", "log"][seed]
    net = random_network((3, 7, 4, 3 if link == "softmax" else 1), seed=20 + seed, link=link)
    x, scale = rng.normal(size=(1, 3)), rng.uniform(0.5, 2, 3)
    r = boundary(net, x, norm=norm, scale=scale, level=0, budget=5000)
    assert r.status[0] is Search.FOUND
    far = 2 * r.distance[0]
    t = rng.normal(size=(100_000, 3))
    t *= (far * rng.random(100_000) ** (1 / 3) / length(t, norm))[:, None]
    hits = across(net, r, x + scale * t, int(r.side[0]))
    assert hits.sum() > 10
    assert length(t[hits], norm).min() >= r.lower_bound[0]
    assert r.distance[0] <= length(t[hits], norm).min()
    assert r.distance[0] == pytest.approx(r.lower_bound[0], rel=1e-6)


@NORMS
@NETWORKS
def test_counterfactuals_are_decided_otherwise_and_bounds_hold(name: str, norm: float) -> None:
    net = SPECIMENS[name]
    x = rows_for(net, 9, seed=3)
    r = boundary(net, x, norm=norm, level=0, budget=12)
    found = np.isfinite(r.distance)
    np.testing.assert_allclose(length(r.counterfactual - x, norm)[found], r.distance[found], rtol=1e-9, atol=1e-15)
    np.testing.assert_array_equal(r.decision_there[found], net.decision(r.counterfactual[found]))
    rng = np.random.default_rng(0)
    for i in range(len(x)):
        tied = bool(r.step[i] > 1e-3 * abs(r.margin[i]))
        assert r.status[i] is not Search.UNDECIDED or tied
        assert r.step[i] >= 1e-7 * abs(r.margin[i])
        assert (r.step[i] <= 1.01e-7 * abs(r.margin[i])) or abs(r.margin[i]) < 1e-4
        assert r.regions[i] <= 12
        assert r.lower_bound[i] <= r.distance[i]
        if found[i]:
            assert across(net, r, r.counterfactual[[i]], int(r.side[i])).all()
            if r.status[i] is Search.FOUND:  # to the rounding of x
                assert r.distance[i] <= (1 + 1e-6) * r.lower_bound[i] + 1e-14
        else:
            assert r.status[i] in (Search.NONE, Search.FAR, Search.BUDGET) or tied
            assert np.isnan(r.counterfactual[i]).all()
        # nothing nearer than what is proved is decided otherwise
        radius = min(r.lower_bound[i], 1e3)
        t = rng.normal(size=(300, net.n_features))
        t *= ((1 - 1e-9) * radius * rng.random(300) ** (1 / net.n_features) / length(t, norm))[:, None]
        # what touches the level only is not across: allow for the rounding of the network
        near = t[across(net, r, x[i] + t, int(r.side[i]))]
        if len(near):
            decision = net.decision(x[i] + near)
            gap = np.sort(decision, axis=1)[:, -2:] if net.link == "softmax" else decision[:, [r.output]]
            assert np.abs(np.diff(gap, axis=1) if net.link == "softmax" else gap - r.level).max() < 1e-7 * (1 + radius)


def test_neurons_that_switch_together_are_crossed() -> None:
    # relu(x) - relu(-x) - x / 2: at 0 both neurons switch; doubled neurons share every wall
    w = np.array([[1.0], [1.0], [-1.0], [-1.0]])
    net = network([w, np.array([[0.5, 0.5, -0.5, -0.5]])], [np.zeros(4), np.array([1.0])])
    for start in (2.0, 0.0):
        r = boundary(net, [[start]], level=0)
        assert r.status[0] is Search.FOUND
        assert r.distance[0] == pytest.approx(start + 1, rel=1e-6)
    # a neuron that is at its breakpoint all along, and comes alive beyond the wall of the one before it
    net = network([np.array([[1.0]]), np.array([[1.0]]), np.array([[1.0]])], [np.zeros(1), np.zeros(1), -np.ones(1)])
    r = boundary(net, [[-3.0]], level=0)
    assert (r.status[0], r.distance[0]) == (Search.FOUND, pytest.approx(4.0, rel=1e-6))


def test_a_decision_that_only_touches_the_level_is_not_across() -> None:
    for norm in (1, 2, np.inf):
        r = boundary(SPECIMENS["abs"], [[1.0], [0.0]], norm=norm, level=0)
        assert r.status[0] is Search.FAR
        assert r.lower_bound[0] == 1e6
        # a row at the level is not above it, and any step is: there is no nearest
        assert r.side_name(1) == "not above 0"
        assert r.status[1] is Search.UNDECIDED
        assert r.distance[1] < 1e-9
        assert r.lower_bound[1] == 0
        boxed = boundary(SPECIMENS["abs"], [[1.0]], norm=norm, level=0, bounds={0: (-3, 3)})
        assert boxed.status[0] is Search.NONE
        assert boxed.lower_bound[0] == np.inf
        assert "beyond the level" in boxed.summary(0)[-2]
    # "not above" is how a decision at the level reads, but it takes one below to be decided otherwise
    r = boundary(SPECIMENS["xor"], [[0.5, 0.0]], level=0)
    assert SPECIMENS["xor"].decision(np.zeros((1, 2)))[0, 0] == 0
    assert r.distance[0] == pytest.approx(1.5 / np.sqrt(2), rel=1e-6)
    assert r.decision_there[0, 0] < 0


def test_the_search_says_when_its_budget_was_reached() -> None:
    net = SPECIMENS["deep"]
    x = rows_for(net, 10)[3:5]
    bounds = []
    for budget in (0, 1, 10, 60):
        r = boundary(net, x, level=0, budget=budget)
        assert set(r.status) == {Search.BUDGET if budget else Search.SKIPPED}
        assert (r.regions <= budget).all()
        assert (r.regions >= budget - 1).all()  # parts are cut in two
        bounds.append(r.lower_bound)
        assert ("raise `budget`" if budget else "not searched") in r.summary(0)[-1]
        assert r.summary(0)[-2].startswith("Proved: nothing nearer than ")
    # without a search the region of the row is proof as far as it and its model go
    np.testing.assert_array_equal(bounds[0], np.minimum(r.distance_facet, r.distance_model))
    assert (np.diff(bounds, axis=0) >= -1e-14).all()
    # the region of the row itself reaches as far as its nearest facet
    np.testing.assert_allclose(bounds[1], r.distance_facet, rtol=1e-9)


def test_frozen_and_bounded_features_stay_where_they_must() -> None:
    net = random_network((5, 7, 1), seed=4, link="logit").with_names(list("abcde"))
    x = np.random.default_rng(0).normal(size=(12, 5))
    free = boundary(net, x, budget=3000)
    r = boundary(net, x, frozen=["b", 3], bounds={"a": (-0.5, 0.5), 4: (0, np.inf)}, budget=3000)
    found = np.isfinite(r.distance)
    assert found.sum() >= 4
    there = r.counterfactual[found]
    np.testing.assert_array_equal(there[:, [1, 3]], x[found][:, [1, 3]])
    # a row beyond its bounds may stay where it is
    assert (there[:, 0] >= np.minimum(-0.5, x[found, 0])).all()
    assert (there[:, 0] <= np.maximum(0.5, x[found, 0])).all()
    assert (there[:, 4] >= np.minimum(0, x[found, 4])).all()
    assert (r.distance >= free.distance * (1 - 1e-9)).all()
    assert (r.distance_facet >= free.distance_facet * (1 - 1e-9)).all()
    none = boundary(net, x, frozen=list("abcde"))
    assert set(none.status) == {Search.NONE}
    assert np.isinf(none.distance_facet).all()
    assert np.isinf(none.distance_boundary).all()
    assert not none.sensitivity.any()
    np.testing.assert_array_equal(
        boundary(net, x, scale=[1, 0, 1, 0, 1]).distance, boundary(net, x, frozen=[1, 3]).distance
    )


# ---------------------------------------------------------------- rounding, and how far it is looked


def deep_network(layers: int) -> Network:
    """Leaky throughout, so that a product of absolute weights grows without end, and decisions do not."""
    rng = np.random.default_rng(1)
    sizes = [4, *[8] * layers, 1]
    weights = [rng.normal(size=(m, k)) * np.sqrt(2 / k) for k, m in pairwise(sizes)]
    biases = [rng.normal(size=m) * 0.1 for m in sizes[1:]]
    return network(weights, biases, lambda m: Activation.of_kind("leaky_relu", m, 0.2))


@pytest.mark.parametrize("layers", [20, 40])
def test_no_row_nearer_than_proved_is_decided_otherwise_on_deep_networks(layers: int) -> None:
    net = deep_network(layers)
    rng = np.random.default_rng(5)
    x = rng.normal(size=(5, 4))
    level = float(np.median(net.decision(rng.normal(size=(1000, 4)))))
    r = boundary(net, x, level=level, budget=150 if layers < 40 else 1)
    assert (r.step <= 1e-3 * np.abs(r.margin)).all()
    assert np.isfinite(r.distance).all()
    assert (Search.FOUND in r.status) == (layers < 40)
    for i in range(len(x)):
        ways = np.vstack([r.counterfactual[i] - x[i], rng.normal(size=(200, 4))])
        ways /= length(ways, 2)[:, None]
        far = np.linspace(0, 1, 501)[1:, None, None] * ways * r.distance[i]
        hit = across(net, r, (x[i] + far).reshape(-1, 4), int(r.side[i])).reshape(500, -1)
        assert length(far[hit], 2).min(initial=np.inf) >= r.lower_bound[i] * (1 - 1e-6)
        # on the way to what was found, nothing earlier is
        along = np.linspace(0, 1, 20_001)[1:, None] * (r.counterfactual[i] - x[i])
        first = int(across(net, r, x[i] + along, int(r.side[i])).argmax())
        assert length(along[first], 2) >= r.lower_bound[i] * (1 - 1e-6)


def test_maps_of_deep_networks_keep_their_small_coefficients() -> None:
    net = deep_network(40)
    x = np.random.default_rng(5).normal(size=(5, 4))
    patterns = net.patterns(x)
    coef, _ = net.affine_maps(patterns)
    geometry = Geometry(net, np.zeros(4), np.ones(4))
    for bits, right in zip(patterns.bits(), coef, strict=True):
        region = geometry.at(bits)
        np.testing.assert_allclose(region.slope, right, rtol=1e-9)
        assert len(region.bit) == net.n_bits  # no neuron is taken to stand still
        assert region.inward.all()


@NORMS
def test_units_of_any_size(norm: float) -> None:
    net, x = random_network((3, 7, 5, 1), seed=20, link="logit"), np.array([[0.2, -0.4, 0.3]])
    right = boundary(net, x, norm=norm)
    assert right.status[0] is Search.FOUND
    fields = ("distance", "lower_bound", "distance_facet", "distance_model", "distance_boundary")
    for size in (1e-170, 1e-9, 1e12, 1e100, 1e160):
        r = boundary(net, x, norm=norm, scale=size)
        assert r.status[0] is Search.FOUND
        np.testing.assert_allclose(r.counterfactual, right.counterfactual, rtol=1e-6)
        np.testing.assert_allclose(r.sensitivity, right.sensitivity * size, rtol=1e-9)
        for field in fields:
            np.testing.assert_allclose(getattr(r, field), getattr(right, field) / size, rtol=1e-6, err_msg=field)


@NORMS
def test_layers_whose_squares_are_beyond_float64(norm: float) -> None:
    w = np.array([[1.0, 0.5], [-0.5, 1.0]])
    x = np.array([[0.2, 0.3]])

    def distances(one: float, two: float) -> BoundaryDistances:
        last = one * two * -0.6 * np.ones(1)
        return boundary(
            network([one * w, two * np.ones((1, 2))], [np.zeros(2), last], link="logit"), x, norm=norm, budget=500
        )

    right = distances(1, 1)
    assert right.status[0] is Search.FOUND
    for sizes in ((1e-150, 1e-150), (1e150, 1e150), (1e-170, 1e160), (1e170, 1e-160)):
        r = distances(*sizes)
        assert r.status[0] is Search.FOUND, sizes
        assert r.distance[0] == pytest.approx(right.distance[0], rel=1e-6)
        assert r.lower_bound[0] == pytest.approx(right.distance[0], rel=1e-6)


@NORMS
def test_where_it_was_not_looked_nothing_is_claimed(norm: float) -> None:
    steep = network([np.array([[1e-3]])], [np.zeros(1)])
    r = boundary(steep, [[1.0]], norm=norm, level=2000.0)  # one linear model: it is looked without end
    assert r.status[0] is Search.FOUND
    assert r.distance[0] == pytest.approx(1_999_999, rel=1e-6)
    assert r.distance_boundary[0] == pytest.approx(1_999_999, rel=1e-9)
    bent = network([np.array([[1e-3]]), np.ones((1, 1))], [np.zeros(1), np.zeros(1)])
    r = boundary(bent, [[1.0]], norm=norm, level=2000.0)
    assert r.status[0] is Search.FAR
    assert (r.distance[0], r.lower_bound[0]) == (np.inf, 1e6)
    assert "nothing nearer than 1e+06" in " ".join(r.summary(0))
    assert "larger `scale`" in r.summary(0)[-1 - len(r.notes)]
    assert r.distance_boundary[0] == pytest.approx(1_999_999, rel=1e-9)
    nearer = boundary(bent, [[1.0]], norm=norm, level=2000.0, scale=10)
    assert nearer.status[0] is Search.FOUND
    assert nearer.distance[0] == pytest.approx(199_999.9, rel=1e-6)


@NORMS
def test_what_cannot_be_reached_is_told_from_what_rounding_hides(norm: float) -> None:
    statuses: list[Search] = []
    for seed in range(20):
        net = random_network((2, 4, 3, 1), seed=seed)
        x = np.random.default_rng(seed).normal(size=(2, 2))
        tried = net.decision(np.random.default_rng(0).normal(size=(20_000, 2)) * 30)[:, 0]
        statuses += boundary(net, x, norm=norm, level=float(tried.min() - 0.1), budget=2000).status
        boxed = boundary(net, x, norm=norm, level=float(tried.min() - 0.1), bounds=[(-50, 50)] * 2)
        assert set(boxed.status) <= {Search.NONE, Search.FOUND}, seed
    assert Search.UNDECIDED not in statuses
    assert statuses.count(Search.FAR) >= 10
    for x in ([[0.25]], [[0.3]], [[2.0]]):
        assert boundary(SPECIMENS["abs"], x, norm=norm, level=0).status[0] is Search.FAR


def test_neurons_that_rounding_leaves_open_are_given_both_pieces() -> None:
    for seed in range(5):
        net = random_network((2, 2, 2, 1), seed=seed)
        geometry = Geometry(net, np.zeros(2), np.ones(2))
        ends = np.full(2, np.inf)
        walk = _Walk(geometry, Programs(-ends, ends, "2"), Target.of(net, 0.0, None), 1, 1.0, 1e6)
        cells = walk._cells(np.zeros(4, dtype=bool), np.zeros(4, dtype=bool))
        assert cells is not None
        told = {tuple(cell.bits) for cell in cells}
        x = np.random.default_rng(seed).normal(size=(5000, 2)) * 10
        assert {tuple(bits) for bits in net.patterns(x).bits()} <= told
        # where the first layer is off, the second does not move: it has one pattern there, and no other
        assert len([bits for bits in told if not any(bits[:2])]) == 1
    wide = random_network((2, 9, 1), seed=0)
    walk = _Walk(Geometry(wide, np.zeros(2), np.ones(2)), walk.programs, walk.target, 1, 1.0, 1e6)
    assert walk._cells(np.zeros(9, dtype=bool), np.zeros(9, dtype=bool)) is None


def test_rows_at_the_level_are_proved_by_their_own_region_only() -> None:
    net = random_network((3, 7, 5, 1), seed=20, link="logit")
    x = np.random.default_rng(3).normal(size=(4, 3))
    for i in range(4):
        level = float(net.decision(x)[i, 0])
        for moved in (level, level * (1 + 1e-15), level * (1 - 1e-15)):
            r = boundary(net, x, level=moved, budget=300)
            near = np.abs(r.margin) < 1e-13
            assert near[i]
            assert r.status[i] is Search.UNDECIDED
            # distances of 1e-16 are rounding, and 0 elsewhere
            assert r.lower_bound[i] <= min(r.distance_facet[i], r.distance_model[i]) * (1 + 1e-9) + 1e-14
            assert r.distance[i] < 1e-10
            assert r.notes[-1].startswith("At the level, to rounding, is 1 of 4 rows")
            assert all(s is not Search.UNDECIDED for s in np.array(r.status, dtype=object)[~near])
    # where nothing moves at a row at the level, its region is proof
    flat = network([np.array([[1.0]]), np.ones((1, 1))], [-np.ones(1), np.zeros(1)])
    r = boundary(flat, [[0.0]], level=0)
    assert (r.status[0], r.lower_bound[0]) == (Search.FOUND, pytest.approx(1, rel=1e-6))


# ---------------------------------------------------------------- within the region


@NORMS
@NETWORKS
def test_the_facet_is_where_the_pattern_first_changes(name: str, norm: float) -> None:
    net = SPECIMENS[name]
    x = rows_for(net, 24)[12:]
    scale = np.random.default_rng(1).uniform(0.5, 2, net.n_features)
    r = boundary(net, x, norm=norm, scale=scale, budget=0)
    rng = np.random.default_rng(0)
    for i in np.flatnonzero(np.isfinite(r.distance_facet) & (r.distance_facet > 1e-6)):
        # towards the facet: the way that gains most per distance, straight from the dual norm
        a = r.facet_normal[i] * scale
        way = {1: np.sign(a) * (np.arange(len(a)) == np.abs(a).argmax()), 2: a, np.inf: np.sign(a)}[norm]
        way = -way / length(way, norm)
        low, high = 0.0, 2 * r.distance_facet[i]
        here = net.patterns(x[[i]]).packed
        assert (net.patterns((x[i] + scale * high * way)[None]).packed != here).any() or net.n_bits > 1
        for _ in range(45):  # bisection along the ray
            middle = (low + high) / 2
            same = (net.patterns((x[i] + scale * middle * way)[None]).packed == here).all()
            low, high = (middle, high) if same else (low, middle)
        assert r.distance_facet[i] == pytest.approx(high, rel=1e-7)
        t = rng.normal(size=(100, len(a)))
        t *= ((1 - 1e-7) * r.distance_facet[i] / length(t, norm))[:, None]
        assert (net.patterns(x[i] + scale * t).packed == here).all()


@NORMS
def test_distances_within_bounds_are_those_of_a_linear_program(norm: float) -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        d = int(rng.integers(1, 6))
        a, g = np.round(rng.normal(size=d), 1), float(rng.uniform(0, 3))
        low, high = -rng.uniform(0, 2, d), rng.uniform(0, 2, d)
        low[rng.random(d) < 0.3], high[rng.random(d) < 0.3] = -np.inf, np.inf
        low[rng.random(d) < 0.2], high[rng.random(d) < 0.2] = 0, 0
        reach = Reach(low[None], high[None], {1: "1", 2: "2", np.inf: "inf"}[norm])
        distance, t = reach.half_space(a[None], np.array([g]))
        if norm == 2:
            # every feature moves by a multiple of its coefficient, as far as it can; the multiple by bisection
            few, many = 0.0, 1e6
            for _ in range(100):
                middle = (few + many) / 2
                few, many = (few, middle) if a @ np.clip(middle * a, low, high) >= g else (middle, many)
            best = np.clip(many * a, low, high)
            right = length(best, 2) if a @ best >= g else np.inf
            tolerance = 1e-7
        else:
            eye = np.eye(d)
            top = -eye if norm == 1 else -np.ones((d, 1))
            k = top.shape[1]
            solved = linprog(
                np.r_[np.zeros(d), np.ones(k)],
                A_ub=np.vstack([np.r_[-a, np.zeros(k)], np.hstack([eye, top]), np.hstack([-eye, top])]),
                b_ub=np.r_[-g, np.zeros(2 * d)],
                bounds=[*zip(low, high, strict=True), *[(0, None)] * k],
            )
            right, tolerance = (solved.fun if solved.status == 0 else np.inf), 1e-7
        assert distance[0] == pytest.approx(right, abs=tolerance)
        if np.isfinite(distance[0]):
            assert t[0] @ a >= g - 1e-9
            assert ((t[0] >= low) & (t[0] <= high)).all()
            assert length(t[0], norm) == pytest.approx(distance[0])


@NORMS
@NETWORKS
def test_the_boundary_within_the_region(name: str, norm: float) -> None:
    net = SPECIMENS[name]
    x = rows_for(net, 30)[15:]
    r = boundary(net, x, norm=norm, level=0, budget=0)
    coef, intercept = net.affine_maps(net.patterns(x))
    dual = {1: np.inf, 2: 2, np.inf: 1}[norm]
    for i in range(len(x)):
        lines = [(coef[i, r.output], r.margin[i])]
        if net.link == "softmax":
            d, top = r.decision[i], r.side[i]
            lines = [(coef[i, k] - coef[i, top], d[top] - d[k]) for k in range(len(d)) if k != top]
        sizes = [np.linalg.norm(w, ord=dual) for w, _ in lines]
        right = min((abs(m) / s for (_, m), s in zip(lines, sizes, strict=True) if s > 1e-12), default=np.inf)
        if np.isfinite(right):
            assert r.distance_model[i] == pytest.approx(right, rel=1e-6, abs=1e-12)
        assert r.sensitivity[i] == pytest.approx(max(sizes), rel=1e-9, abs=1e-12)
        assert r.distance_boundary[i] >= r.distance_model[i] * (1 - 1e-9)
        assert not r.inside[i] or r.distance_boundary[i] == r.distance_model[i]
        if r.distance_model[i] <= r.distance_facet[i]:
            assert r.inside[i]
    assert (intercept.shape[0], len(r)) == (len(x), len(x))


def test_the_boundary_within_the_region_by_clipping_a_line() -> None:
    """In the plane: the decision's line cut by each wall in turn, its nearest point at the foot or at an end."""
    net = random_network((2, 9, 1), seed=6, link="logit")
    x = np.random.default_rng(2).normal(size=(150, 2))
    r = boundary(net, x, budget=0)
    first = net.layers[0]
    coef, intercept = net.affine_maps(net.patterns(x))
    here = np.where(net.patterns(x).bits(), 1.0, -1.0)
    met = 0
    for i in range(len(x)):
        w, b = coef[i, 0], intercept[i, 0]
        if not w.any():
            continue
        foot = x[i] - (w @ x[i] + b) / (w @ w) * w
        along = np.array([-w[1], w[0]]) / np.linalg.norm(w)
        low, high = -np.inf, np.inf
        for a, c, s in zip(first.weight, first.bias, here[i], strict=True):
            slope, value = s * (a @ along), s * (a @ foot + c)
            if slope > 0:
                low = max(low, -value / slope)
            else:
                high = min(high, -value / slope)
        if low > high:
            assert np.isinf(r.distance_boundary[i])
            continue
        met += not low <= 0 <= high
        nearest = foot + min(max(0.0, low), high) * along
        assert r.distance_boundary[i] == pytest.approx(np.linalg.norm(nearest - x[i]), rel=1e-7)
        assert r.inside[i] == (low <= 0 <= high)
    assert met > 3


# ---------------------------------------------------------------- features, words, arguments


def loans() -> Network:
    items = (
        Feature("age", "age", impute=40.0),
        Feature("age missing", "age", "missing"),
        Feature("town=A", "town", "level", ("A",)),
        Feature("town=B", "town", "level", ("B",)),
        Feature("children", "children"),
        Feature("debt", "debt"),
    )
    net = random_network((6, 8, 1), seed=3, link="logit")
    return replace(net, features=Features(items, ("age", "town", "children", "debt"), True), classes=("no", "yes"))


def loan_table(n: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "age": np.where(rng.random(n) < 0.3, np.nan, rng.normal(size=n)),
            "town": rng.choice(["A", "B"], n),
            "children": rng.integers(0, 4, n),
            "debt": rng.normal(size=n) * 2,
        }
    )


def test_levels_and_filled_in_numbers_stay() -> None:
    net, table = loans(), loan_table()
    u = unwrap(net, table)
    r = boundary(u, table)
    found = np.isfinite(r.distance)
    assert found.sum() > 20
    np.testing.assert_array_equal(r.counterfactual[found][:, 1:4], r.x[found][:, 1:4])
    missing = found & table["age"].isna().to_numpy()
    assert missing.sum() > 5
    np.testing.assert_array_equal(r.counterfactual[missing, 0], 40.0)
    assert (r.counterfactual[found & ~missing, 0] != r.x[found & ~missing, 0]).any()
    assert r.notes == (
        "Levels of 'town' stay as they are.",
        "Whole numbers move as if they were continuous: 'children'.",
    )
    np.testing.assert_array_equal(r.scale, u.sample.sd)
    free = boundary(u, table, indicators=True)
    assert (free.lower_bound <= r.lower_bound * (1 + 1e-9)).all()
    moved = np.isfinite(free.distance)
    assert (free.counterfactual[moved][:, 2:4] != free.x[moved][:, 2:4]).any()
    assert ((free.counterfactual[moved][:, 1:4] >= 0) & (free.counterfactual[moved][:, 1:4] <= 1)).all()
    assert free.notes == r.notes[1:]


def test_tables_and_words() -> None:
    net, table = loans(), loan_table()
    r = boundary(unwrap(net, table), table, frozen=["debt"])
    frame = r.to_frame()
    assert frame["row"].tolist() == list(range(60))
    np.testing.assert_array_equal(frame["distance_counterfactual"], r.distance)
    np.testing.assert_array_equal(frame["distance_boundary_inside"], r.distance_boundary)
    assert set(frame["side"]) <= {"yes", "no"}
    found = frame["status"] == "found"
    assert (frame["side_there"][found] != frame["side"][found]).all()
    assert (frame["side_there"][~found & np.isinf(r.distance)] == "").all()
    i = int(np.flatnonzero(found)[0])
    changes = r.changes(i)
    assert frame["changes"][i] == "; ".join(f"{net.feature_names[j]} {words}" for j, words in changes)
    for j, words in changes:
        before, after = (float(w.replace("−", "-").replace(",", "")) for w in words.split(" → "))
        move = r.counterfactual[i, j] - r.x[i, j]
        assert before == pytest.approx(r.x[i, j], rel=6e-3)
        assert 0 <= (after - r.counterfactual[i, j]) * np.sign(move) <= 0.1 * abs(move)
    lines = r.summary(i)
    assert lines[0].startswith(f"Row {i} is decided {frame['side'][i]}")
    told = ["Levels of 'town' stay as they are.", "Whole numbers move as if they were continuous: 'children'."]
    assert lines[-3:] == [Search.FOUND.value, *told]
    assert r.notes == tuple(told)
    assert any(f"Decided {frame['side_there'][i]} instead" in line for line in lines)
    assert frame["facet"][i] in lines[1]
    assert "neuron" in frame["facet"][i]
    assert f"{found.sum()} found" in repr(r)
    assert boundary(net, table, frozen=["age", "town", "children", "debt"]).summary(0)[1].startswith("Nothing that can")
    alone = boundary(random_network((1, 3, 1), seed=1), [[0.5]], level=0)
    assert alone.side_name(0) in ("above 0", "not above 0")
    assert alone.unit == "units of the features"


def test_one_other_feature_is_told_as_one() -> None:
    w = np.array([[4.0, 3.0, 2.0, 1.0]])
    r = boundary(network([w, np.ones((1, 1))], [np.ones(1), np.zeros(1)]), np.zeros((1, 4)), level=2, budget=0)
    assert r.facet_in_words(0).endswith("; 1 other feature as it is)")
    w = np.array([[5.0, 4.0, 3.0, 2.0, 1.0]])
    r = boundary(network([w, np.ones((1, 1))], [np.ones(1), np.zeros(1)]), np.zeros((1, 5)), level=2, budget=0)
    assert r.facet_in_words(0).endswith("; 2 other features as they are)")


def typed(r: BoundaryDistances, i: int) -> Any:
    """The row with the numbers of its changes typed in."""
    row = r.x[i].copy()
    for j, words in r.changes(i):
        row[j] = float(words.split(" → ")[1].replace("−", "-").replace(",", ""))
    return row


@NORMS
def test_numbers_typed_from_the_words_change_the_decision(norm: float) -> None:
    example = examples.home_lending()
    net = load(example.model)
    u = unwrap(net, example.train, example.target)
    r = boundary(u, pd.DataFrame(u.sample.x[:40], columns=list(net.feature_names)), norm=norm, budget=400)
    found = np.flatnonzero(np.isfinite(r.distance))
    assert len(found) > 20
    rows = np.array([typed(r, i) for i in found])
    assert (net.decision(rows)[:, 0] > 0).tolist() == [not side for side in r.side[found]]
    # few digits: the text is no longer than it has to be, nor far from what was found
    texts = [words for i in found for _, words in r.changes(i)]
    assert np.median([len(text) for text in texts]) < 20
    scale = np.where(r.scale > 0, r.scale, 1)
    assert np.median(length((rows - r.x[found]) / scale, norm) / r.distance[found]) < 1.1


def test_numbers_in_words_stay_within_bounds_and_take_all_digits_where_they_must() -> None:
    # beyond x + y = 1 by no more than y - x = 1e-9: a needle that hardly any decimal number is in
    w = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0]])
    net = network([w, np.array([[1.0, -1e9, -1e9]])], [np.zeros(3), -np.ones(1)], link="logit")
    r = boundary(net, [[0.1, 0.1]], bounds={0: (-1, 1), 1: (-1, 1)})
    assert r.status[0] is Search.FOUND
    assert net.decision(typed(r, 0)[None])[0, 0] > 0
    for ends in (1 / 3, 0.123456789, 0.70000001):
        line = network([np.array([[1.0, 1.0]])], [-np.array([ends])], link="logit")
        r = boundary(line, [[0.0, 0.0]], bounds={"x0": (0, 2 * ends / 3), "x1": (0, ends / 2)})
        row = typed(r, 0)
        assert line.decision(row[None])[0, 0] > 0
        assert row[0] <= 2 * ends / 3
        assert row[1] <= ends / 2


def test_counterfactuals_as_rows_of_the_users_table() -> None:
    net, table = loans(), loan_table()
    u = unwrap(net, table)
    r = boundary(u, table)
    rows = r.rows()
    found = np.flatnonzero(np.isfinite(r.distance))
    assert len(found) > 20
    assert rows.index.tolist() == found.tolist()
    assert list(rows.columns) == ["age", "town", "children", "debt"]
    np.testing.assert_array_equal(net.features.encode(rows), r.counterfactual[found])
    np.testing.assert_array_equal(net.decision(rows), r.decision_there[found])
    assert rows["town"].tolist() == table["town"].iloc[found].tolist()
    np.testing.assert_array_equal(rows["age"].isna(), table["age"].isna().iloc[found])
    assert len(boundary(net, table, frozen=["age", "town", "children", "debt"]).rows()) == 0
    with pytest.raises(ArgumentError, match=r"'age' must have one level, or no value; it has moved to a mixture"):
        boundary(u, table, indicators=True).rows()


@pytest.mark.parametrize("known", [True, False])
def test_levels_of_every_kind_find_their_way_back(known: bool) -> None:
    items = (
        Feature("a", "a"),
        Feature("kind=B or C", "kind", "level", ("B", "C")),
        Feature("kind other", "kind", "other", ("A", "B", "C")),
        Feature("code=2", "code", "level", (2,)),
        Feature("code=none", "code", "level", (np.nan,)),
        Feature("ok", "ok", "level", (True,)),
    )
    levels = (("kind", ("A", "B", "C", "D")), ("code", (1, 2, np.nan)), ("ok", (False, True))) if known else ()
    features = Features(items, ("a", "kind", "unused", "code", "ok"), True, levels)
    net = replace(random_network((6, 5, 1), seed=4, link="logit"), features=features)
    table = pd.DataFrame(
        {
            "a": np.linspace(-2, 2, 24),
            "kind": ["A", "B", "C", "D"] * 6,
            "unused": 1.0,
            "code": [1, 2, np.nan] * 8,
            "ok": [True] * 12 + [False] * 12,
        }
    )
    r = boundary(net, table, bounds={"a": (-1e3, 1e3)})
    rows = r.rows()
    assert len(rows) > 5
    np.testing.assert_array_equal(net.features.encode(rows), r.counterfactual[rows.index])
    np.testing.assert_array_equal(net.decision(rows), r.decision_there[rows.index])


def test_softmax_rows_are_decided_by_the_class_on_top() -> None:
    net = replace(SPECIMENS["five classes"], classes=("a", "b", "c", "d", "e"), outputs=())
    x = rows_for(net, 12)
    r = boundary(net, x, budget=300)
    np.testing.assert_array_equal(r.side, r.decision.argmax(axis=1))
    found = np.flatnonzero(np.isfinite(r.distance))
    assert (r.decision_there[found].argmax(axis=1) != r.side[found]).all()
    assert r.side_name(0) in net.classes
    pair = boundary(net.contrast("a", "b"), x, budget=50)
    np.testing.assert_allclose(pair.margin, r.decision[:, 0] - r.decision[:, 1], atol=1e-12)


def test_a_level_and_an_output_of_a_regression() -> None:
    net = SPECIMENS["three outputs"]
    x = rows_for(net, 12)
    r = boundary(net, x, level=0.3, output="y2", budget=300)
    np.testing.assert_array_equal(r.margin, net.decision(x)[:, 2] - 0.3)
    found = np.isfinite(r.distance)
    assert found.any()
    np.testing.assert_array_equal(r.decision_there[found, 2] > 0.3, r.margin[found] <= 0)


@pytest.mark.parametrize("link", ["identity", "log"])
def test_a_regression_decides_nothing_until_a_level_is_named(link: Any) -> None:
    net = random_network((3, 7, 6, 2), seed=5, link=link)
    x = rows_for(net, 6)
    calls: list[tuple[int, int]] = []
    r = boundary(net, x, output=1, progress=lambda done, n: calls.append((done, n)))
    assert calls[-1] == (6, 6)
    given = boundary(net, x, output=1, level=0.0)
    for field in ("distance_facet", "facet_neuron", "facet_normal", "sensitivity", "decision"):
        np.testing.assert_array_equal(getattr(r, field), getattr(given, field))
    for field in ("margin", "distance_model", "distance_boundary", "distance", "lower_bound", "counterfactual"):
        assert np.isnan(getattr(r, field)).all(), field
    assert np.isnan(r.level)
    assert not r.decides
    assert given.decides
    assert (r.side == -1).all()
    assert not r.inside.any()
    assert set(r.status) == {Search.UNASKED}
    assert repr(r) == "Boundary distances of 6 rows (norm 2): to facets only"
    lines = r.summary(2)
    assert lines[0].startswith(f"Row 2 has a decision of {r.decision[2, 1]:.4g}".replace("-", "−"))
    assert ("a prediction of" in lines[0]) == (link == "log")
    assert lines[1].startswith("Its region ends ")
    assert "level" in lines[2]
    assert "--threshold" in lines[2]
    assert lines[2] == Search.UNASKED.value
    assert len(lines) == 3
    assert not any("decided" in line for line in lines[:2])
    frame = r.to_frame()
    assert set(frame["side"]) == set(frame["side_there"]) == set(frame["changes"]) == {""}
    assert set(frame["status"]) == {"unasked"}
    assert frame["distance_counterfactual"].isna().all()


@pytest.mark.parametrize(("link", "prediction"), [("log", np.exp(0.5)), ("logit", 1 / (1 + np.exp(-0.5)))])
def test_a_level_is_told_as_a_prediction_too(link: Any, prediction: float) -> None:
    net = random_network((3, 7, 1), seed=5, link=link)
    r = boundary(net, rows_for(net, 2), level=0.5)
    assert r.summary(0)[1] == f"The level, a decision of 0.5, is a prediction of {prediction:.4g}."
    plain = boundary(replace(net, link="identity"), rows_for(net, 2), level=0.5)
    assert not any("prediction" in line for line in plain.summary(0))
    far = boundary(net, rows_for(net, 1), level=1e4, budget=0)  # no exponential of it
    assert not any("prediction" in line for line in far.summary(0))


def test_progress_is_reported_and_rows_do_not_depend_on_each_other() -> None:
    net = SPECIMENS["one logit"]
    x = rows_for(net, 8)
    calls: list[tuple[int, int]] = []
    r = boundary(net, x, budget=20, progress=lambda done, n: calls.append((done, n)))
    assert calls == [(i + 1, 8) for i in range(8)]
    for i in range(8):
        one = boundary(net, x[[i]], budget=20)
        for field in ("distance", "lower_bound", "distance_facet", "distance_model", "distance_boundary"):
            np.testing.assert_allclose(getattr(one, field)[0], getattr(r, field)[i], rtol=1e-9)
    assert exported is boundary


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm": 3}, r"norm is 3; expected 1, 2 or inf"),
        ({"norm": True}, r"norm is True; expected 1, 2 or inf"),
        ({"scale": [1, 2]}, r"scale is \[1, 2\]; expected one number, or 3, one per feature"),
        ({"scale": [1, -1, np.nan]}, r"scale is -1.0, nan for 'x1', 'x2'; expected finite numbers from 0"),
        ({"scale": "sd"}, r"scale is 'sd'; expected one number"),
        ({"frozen": "x1"}, r"frozen is 'x1'; expected a list of features: frozen=\['x1'\]"),
        ({"frozen": 1}, r"frozen is 1; expected a list of features: frozen=\[1\]"),
        ({"frozen": None}, r"frozen is None; expected a list of features: \(\) for none"),
        ({"bounds": {"x1": (0, 1), 1: (0, 2)}}, r"bounds names 'x1' more than once"),
        ({"frozen": ["y"]}, r"'y' is no feature of this network"),
        ({"bounds": {"x1": (2, 1)}}, r"The bounds of 'x1' are \(2.0, 1.0\); the lowest comes first"),
        ({"bounds": {"x1": 2}}, r"The bounds of 'x1' are 2; expected \(lowest, highest\)"),
        ({"bounds": [[0, 1]]}, r"bounds has shape \(1, 2\); expected .* here \(3, 2\)"),
        ({"bounds": "box"}, r"bounds is 'box'; expected \{feature"),
        ({"level": np.inf}, r"level is inf; expected a finite number"),
        ({"output": "z"}, r"'z' is no output of this network"),
        ({"budget": -1}, r"budget is -1; expected a whole number of parts, from 0"),
        ({"budget": 1.5}, r"budget is 1.5; expected a whole number"),
    ],
)
def test_arguments_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    net = SPECIMENS["one logit"]
    with pytest.raises(ArgumentError, match=message):
        boundary(net, rows_for(net, 4), **options)


def test_things_that_are_no_network_or_no_rows() -> None:
    net = SPECIMENS["one logit"]
    wrong: Any = "model"
    with pytest.raises(ArgumentError, match=r"The first argument is a str; expected a Network"):
        boundary(wrong, [[1.0]])
    with pytest.raises(DataError, match=r"X has no rows"):
        boundary(net, np.zeros((0, 3)))
    with pytest.raises(ColumnError, match=r"X has 2 columns"):
        boundary(net, np.zeros((1, 2)))
    with pytest.raises(ArgumentError, match=r"takes neither output nor level.*network.contrast"):
        boundary(SPECIMENS["five classes"], np.zeros((1, 4)), level=1)
    with pytest.raises(ArgumentError, match=r"bounds names 'town', which has levels"):
        boundary(loans(), loan_table(), bounds={"town": (0, 1)})
    with pytest.raises(ArgumentError, match=r"bounds names 'town=A', an indicator, .* give indicators=True"):
        boundary(loans(), loan_table(), bounds={"town=A": (0, 1)})
    alone = boundary(net, np.zeros((1, 3)), budget=0)
    for row in (9, -1, 0.5, "a", True, None):
        wrong = row
        with pytest.raises(ArgumentError, match=r"row is .*; there are 1 rows, so expected 0 to 0"):
            alone.summary(wrong)
    for most in (0, 1.5, "a"):
        wrong = most
        with pytest.raises(ArgumentError, match=r"most is .*; expected a whole number from 1"):
            alone.summary(0, most=wrong)


def test_units_of_any_size_and_neurons_that_never_move() -> None:
    """Of the bundled network one neuron is dead, so that its wall is tilted by rounding alone, and units differ a lot."""
    example = examples.home_lending()
    u = unwrap(load(example.model), example.train, example.target)
    x = u.sample.x[3:10]
    found = boundary(u, pd.DataFrame(x, columns=list(u.network.feature_names)))
    assert (found.lower_bound > 0).all()
    assert (found.distance_boundary >= found.distance_model * (1 - 1e-9)).all()
    assert (found.lower_bound <= found.distance * (1 + 1e-6)).all()
    assert sum(status is Search.FOUND for status in found.status) >= 5
    there = u.network.trace(found.counterfactual).decision[:, 0]
    assert (np.sign(there) == -np.sign(found.decision[:, 0])).all()
    rng = np.random.default_rng(0)
    for i in range(len(x)):
        way = rng.normal(size=(20_000, x.shape[1]))
        way *= (rng.random(20_000) ** 0.25 * found.lower_bound[i] * 0.999 / np.linalg.norm(way, axis=1))[:, None]
        near = u.network.trace(x[i] + way * found.scale).decision[:, 0]
        assert (np.sign(near) == np.sign(found.decision[i, 0])).all()


def test_a_missing_value_without_an_indicator_stays_as_it_is() -> None:
    """It stands for a number nobody knows; moving it was no counterfactual, and nothing was said."""
    features = Features((Feature("a", "a", impute=0.3), Feature("b", "b")), ("a", "b"), True)
    net = replace(random_network([2, 8, 1], seed=3, link="logit"), features=features)
    x = pd.DataFrame({"a": [np.nan, 0.3, np.nan], "b": [0.2, 0.2, -1.0]})
    r = boundary(net, x, level=float(net.decision(x)[0, 0]) + 0.1)
    held = np.array([True, False, True])
    there = r.counterfactual[np.isfinite(r.distance) & held]
    assert len(there)
    np.testing.assert_array_equal(there[:, 0], 0.3)
    assert r.distance[1] < r.distance[0]  # the same row, where the value is known and may move
