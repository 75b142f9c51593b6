"""Distances to facets and boundaries, and counterfactuals: against integer programs, bisection, and random tries."""

from dataclasses import replace
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
from relucidate.least_distances import Reach
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
    r = boundary(net, x, norm=norm, scale=scale, budget=5000)
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
    r = boundary(net, x, norm=norm, budget=12)
    found = np.isfinite(r.distance)
    np.testing.assert_allclose(length(r.counterfactual - x, norm)[found], r.distance[found], rtol=1e-9, atol=1e-15)
    np.testing.assert_array_equal(r.decision_there[found], net.decision(r.counterfactual[found]))
    rng = np.random.default_rng(0)
    for i in range(len(x)):
        assert r.status[i] is not Search.UNDECIDED
        assert r.regions[i] <= 12
        assert r.lower_bound[i] <= r.distance[i]
        if found[i]:
            assert across(net, r, r.counterfactual[[i]], int(r.side[i])).all()
            if r.status[i] is Search.FOUND:  # to the rounding of x
                assert r.distance[i] <= (1 + 1e-6) * r.lower_bound[i] + 1e-14
        else:
            assert r.status[i] in (Search.NONE, Search.BUDGET)
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
        r = boundary(net, [[start]])
        assert r.status[0] is Search.FOUND
        assert r.distance[0] == pytest.approx(start + 1, rel=1e-6)
    # a neuron that is at its breakpoint all along, and comes alive beyond the wall of the one before it
    net = network([np.array([[1.0]]), np.array([[1.0]]), np.array([[1.0]])], [np.zeros(1), np.zeros(1), -np.ones(1)])
    r = boundary(net, [[-3.0]])
    assert (r.status[0], r.distance[0]) == (Search.FOUND, pytest.approx(4.0, rel=1e-6))


def test_a_decision_that_only_touches_the_level_is_not_across() -> None:
    for norm in (1, 2, np.inf):
        r = boundary(SPECIMENS["abs"], [[1.0], [0.0]], norm=norm)
        assert r.status[0] is Search.NONE
        assert r.lower_bound[0] >= 1e6
        assert r.status[1] is Search.FOUND  # a row at the level is not above it, and any step is
        assert r.distance[1] < 1e-9


def test_the_search_says_when_its_budget_was_reached() -> None:
    net = SPECIMENS["deep"]
    x = rows_for(net, 10)[3:5]
    bounds = []
    for budget in (0, 1, 10, 60):
        r = boundary(net, x, budget=budget)
        assert set(r.status) == {Search.BUDGET}
        assert (r.regions <= budget).all()
        assert (r.regions >= budget - 1).all()  # parts are cut in two
        bounds.append(r.lower_bound)
        assert "raise `budget`" in r.summary(0)[-1]
    np.testing.assert_array_equal(bounds[0], 0)
    assert (np.diff(bounds, axis=0) >= 0).all()
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
    r = boundary(net, x, norm=norm, budget=0)
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
        assert before == pytest.approx(r.x[i, j], rel=6e-3)
        assert after == pytest.approx(r.counterfactual[i, j], rel=6e-3)
        assert before != after
    lines = r.summary(i)
    assert lines[0].startswith(f"Row {i} is decided {frame['side'][i]}")
    assert lines[-1] == Search.FOUND.value
    assert any(f"Decided {frame['side_there'][i]} instead" in line for line in lines)
    assert frame["facet"][i] in lines[1]
    assert "neuron" in frame["facet"][i]
    assert f"{found.sum()} found" in repr(r)
    assert boundary(net, table, frozen=["age", "town", "children", "debt"]).summary(0)[1].startswith("Nothing that can")
    alone = boundary(random_network((1, 3, 1), seed=1), [[0.5]])
    assert alone.side_name(0) in ("above 0", "not above 0")
    assert alone.unit == "units of the features"


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
    with pytest.raises(ArgumentError, match=r"row is 9; there are 1 rows"):
        boundary(net, np.zeros((1, 3)), budget=0).summary(9)


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
