"""Regions on a plane, against clipping by half planes, rational arithmetic, bisection, and published counts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import rational
import relucidate as rl
from relucidate import cutting, regions, slicing
from relucidate.errors import ArgumentError, NumericalOverflowError
from relucidate.facets import switches_of
from relucidate.features import Feature, Features
from relucidate.layers import Activation, Layer
from relucidate.network import Network
from relucidate.regions import Plane, Slice2D, Stopped, slice2d
from small_networks import SPECIMENS, integers, mixed, network, random_network, rows_for

PLANAR = {name: net for name, net in SPECIMENS.items() if net.n_features > 1}
SQUARE = np.array([[-2.0, -2.0], [2.0, -2.0], [2.0, 2.0], [-2.0, 2.0]])


def planes(net: Network) -> Iterator[Plane]:
    """One along two features, where ties are exact, and one in general position."""
    axes = np.eye(net.n_features)
    yield Plane(np.zeros(net.n_features), axes[0], axes[1])
    yield Plane(*np.random.default_rng(net.n_features).normal(size=(3, net.n_features)))


CASES = [(name, which) for name in PLANAR for which in (0, 1)]


def cut(name: str, which: int) -> Slice2D:
    net = PLANAR[name]
    return slice2d(net, list(planes(net))[which], (-2, 2))


# ---------------------------------------------------------------- the same, slowly


def clipped(corners: np.ndarray, normal: np.ndarray, constant: float) -> np.ndarray:
    """Sutherland and Hodgman 1974: the part of a convex polygon on which ``normal @ x + constant >= 0``."""
    value = corners @ normal + constant
    out = []
    for i in range(len(corners)):
        j = (i + 1) % len(corners)
        if value[i] >= 0:
            out.append(corners[i])
        if value[i] * value[j] < 0:
            out.append(corners[i] + value[i] / (value[i] - value[j]) * (corners[j] - corners[i]))
    return np.array(out).reshape(-1, 2)


def area(corners: np.ndarray) -> float:
    if len(corners) < 3:
        return 0.0
    x, y = (corners - corners[0]).T
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)) / 2


def half_planes(net: Network, plane: Plane, bits: np.ndarray) -> list[tuple[np.ndarray, float]]:
    """What a pattern demands of (s, t), neuron by neuron; the network is written out again for one pattern."""
    value = np.column_stack([plane.u, plane.v, plane.origin])  # of s, t and 1
    out, b = [], 0
    for layer in net.hidden:
        weight = layer.weight.toarray() if hasattr(layer.weight, "toarray") else layer.weight
        z = weight @ value
        z[:, 2] += layer.bias
        value = np.empty_like(z)
        for m in range(len(z)):
            piece = 0
            for at in layer.activation.breakpoints[m][np.isfinite(layer.activation.breakpoints[m])]:
                row = z[m] - [0, 0, at]
                out.append((row if bits[b] else -row)[:2])
                out[-1] = (out[-1], float((row if bits[b] else -row)[2]))
                piece += int(bits[b])
                b += 1
            value[m] = layer.activation.slopes[m, piece] * z[m] + [0, 0, layer.activation.offsets[m, piece]]
    return out


@pytest.mark.parametrize(("name", "which"), CASES)
def test_polygons_are_the_box_clipped_by_their_pattern(name: str, which: int) -> None:
    found = cut(name, which)
    bits = found.patterns.bits()
    for i in range(0, len(found), 1 + len(found) // 100):
        corners = SQUARE
        for normal, constant in half_planes(found.network, found.plane, bits[i]):
            if np.abs(normal).max() > 1e-9 or abs(constant) > 1e-9:  # not a neuron that is 0 throughout
                corners = clipped(corners, normal, constant)
        # corners of either are right to rounding, which an area multiplies by its circumference
        assert area(corners) == pytest.approx(found.area[i], rel=1e-9, abs=1e-12)
        assert area(found.polygon(i)) == pytest.approx(found.area[i], rel=1e-12, abs=1e-18)


@pytest.mark.parametrize(("name", "which"), CASES)
def test_every_pattern_that_random_points_have_is_a_polygon(name: str, which: int) -> None:
    found = cut(name, which)
    points = np.random.default_rng(0).uniform(-2, 2, size=(4000, 2))
    polygon = found.locate(points)
    assert (polygon >= 0).all()
    assert found.patterns.packed[polygon].tolist() == found.network.patterns(found.plane.lift(points)).packed.tolist()
    for i, point in zip(polygon[:300], points, strict=False):
        corners = found.polygon(i)
        side = np.roll(corners, -1, axis=0) - corners
        to = point - corners
        assert (side[:, 0] * to[:, 1] - side[:, 1] * to[:, 0] >= -1e-12).all()  # counterclockwise, and the point inside
    assert found.locate([[2.5, 0.0], [0.0, -2.0001]]).tolist() == [-1, -1]


@pytest.mark.parametrize(("name", "which"), CASES)
def test_areas_add_up_and_patterns_are_distinct(name: str, which: int) -> None:
    found = cut(name, which)
    assert found.area.sum() == pytest.approx(16, rel=1e-13)
    assert found.share.sum() == pytest.approx(1, rel=1e-13)
    assert (found.area > 0).all()
    assert (np.diff(found.area) <= 0).all()
    assert len(np.unique(found.patterns.packed, axis=0)) == len(found)
    assert found.stopped is Stopped.COMPLETE
    assert not found.undecided.any()


@pytest.mark.parametrize(("name", "which"), CASES)
def test_every_witness_has_its_pattern_and_its_map_in_rational_arithmetic(name: str, which: int) -> None:
    found = cut(name, which)
    net, plane = found.network, found.plane
    bits = found.patterns.bits()
    for i in range(0, len(found), 1 + len(found) // 20):
        x = plane.lift(found.witness[i])[0]
        pattern, decision = rational.evaluate(net, x)
        assert list(pattern) == bits[i].tolist()
        np.testing.assert_allclose(found.decision[i], np.array(decision, dtype=float), rtol=1e-12, atol=1e-12)
        coef, intercept = (np.array(part, dtype=float) for part in rational.affine_map(net, list(pattern)))
        np.testing.assert_allclose(found.slope[i], coef @ plane.basis, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(found.intercept[i], coef @ plane.origin + intercept, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(
            found.slope[i] @ found.witness[i] + found.intercept[i], found.decision[i], rtol=1e-10, atol=1e-11
        )


@pytest.mark.parametrize(("name", "which"), CASES)
def test_polygons_meet_edge_to_edge(name: str, which: int) -> None:
    """No corner lies within the edge of another polygon, and what has no neighbour lies on the box."""
    found = cut(name, which)
    edges = found.edges
    outer = edges.polygon.min(axis=1) < 0
    ends = found.vertex[edges.corner[outer]]
    assert (np.abs(ends[:, 0] - ends[:, 1]).min(axis=1) == 0).all()
    assert (np.abs(ends).max(axis=2) == 2).all()
    assert np.hypot(*(ends[:, 0] - ends[:, 1]).T).sum() == pytest.approx(16)
    assert len(found.vertex) - len(edges.corner) + len(found) == 1  # Euler
    assert len(np.unique(found.vertex, axis=0)) == len(found.vertex)


@pytest.mark.parametrize(("name", "which"), CASES)
def test_crossing_a_facet_switches_the_neurons_that_it_names(name: str, which: int) -> None:
    found = cut(name, which)
    net = found.network
    place = list(zip(*(part.tolist() for part in switches_of(net)), strict=True))
    for i in range(0, len(found), 1 + len(found) // 12):
        for facet in found.facets(i):
            ends = np.array(facet.ends)
            if facet.neighbour < 0:
                assert facet.name == "edge of the box"
                assert (np.abs(ends) == 2).all(axis=0).any()
                continue
            middle = ends.mean(axis=0)
            beside = middle + 1e-4 * (found.witness[[i, facet.neighbour]] - middle)
            here, there = net.patterns(found.plane.lift(beside)).bits()
            flipped = [(*place[b][:2], bool(there[b])) for b in np.flatnonzero(here != there)]
            assert list(facet.switches) == flipped
            assert flipped
            for layer, neuron, _ in flipped:
                assert f"of {net.hidden[layer].name}" in facet.name
                assert str(neuron) in facet.name


# ---------------------------------------------------------------- published counts


@pytest.mark.parametrize(
    ("sizes", "count"), [((2, 16, 16, 1), 127), ((2, 40, 40, 40, 40, 1), 1847), ((2, 100, 100, 100, 1), 16129)]
)
def test_counts_are_those_that_others_found(sizes: tuple[int, ...], count: int) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [torch.nn.Linear(k, m) for k, m in pairwise(sizes)]
    parts = [(layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()) for layer in layers]
    found = slice2d(network([w for w, _ in parts], [b for _, b in parts]), box=(-1, 1))
    assert len(found) == count
    assert len(np.unique(found.patterns.packed, axis=0)) == count
    assert found.area.sum() == pytest.approx(4, rel=1e-13)
    assert found.stopped is Stopped.COMPLETE
    assert len(found.vertex) - len(found.edges.corner) + count == 1


# ---------------------------------------------------------------- the boundary

ONE_LEVEL = ["lines", "deep", "one logit", "leaky", "clip", "three outputs", "mixed", "sparse", "integers"]


@pytest.mark.parametrize("name", ONE_LEVEL)
def test_boundary_is_where_the_decision_is_at_its_level(name: str) -> None:
    net = PLANAR[name]
    level = float(cut(name, 1).decision.mean())
    found = slice2d(net, list(planes(net))[1], (-2, 2), level=level)
    boundary = found.boundary
    assert len(boundary.segment)
    decision = net.decision(found.plane.lift(boundary.segment.reshape(-1, 2))).reshape(-1, 2, net.n_outputs)
    k = boundary.between[:, 0]
    at = np.take_along_axis(decision, k[:, None, None], axis=2)
    np.testing.assert_allclose(at, level, rtol=0, atol=1e-12)
    middle = boundary.segment.mean(axis=1)
    inside = middle + 1e-9 * (found.witness[boundary.polygon] - middle)
    assert (found.locate(inside) == boundary.polygon).all()
    assert _bisected(found, lambda d: d > level) < 1e-9


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_boundary_of_classes_is_where_the_one_on_top_changes(seed: int) -> None:
    net = random_network([3, 12, 12, 5], seed=seed, link="softmax")
    found = slice2d(net, list(planes(net))[1], (-2, 2))
    boundary = found.boundary
    assert len(boundary.segment)
    decision = net.decision(found.plane.lift(boundary.segment.reshape(-1, 2))).reshape(-1, 2, net.n_outputs)
    for side in np.take_along_axis(decision, boundary.between[:, None], axis=2).transpose(2, 0, 1):
        np.testing.assert_allclose(side, decision.max(axis=2), rtol=0, atol=1e-12)
    assert (boundary.between[:, 0] < boundary.between[:, 1]).all()
    assert _bisected(found, lambda d: d.argmax(axis=1)[:, None]) < 1e-9
    across = boundary.segment[:, 1] - boundary.segment[:, 0]
    long = np.hypot(*across.T) > 1e-6
    normal = np.stack([-across[long, 1], across[long, 0]], axis=1) / np.hypot(*across[long].T)[:, None]
    tops = [
        net.decision(found.plane.lift(boundary.segment[long].mean(axis=1) + 1e-8 * s * normal)).argmax(axis=1)
        for s in (-1, 1)
    ]
    assert np.sort(np.stack(tops, axis=1), axis=1).tolist() == boundary.between[long].tolist()


def _bisected(found: Slice2D, verdict: Any) -> float:
    """Largest distance from a segment of the points at which a verdict changes on the way between random points."""
    rng = np.random.default_rng(5)
    ends = rng.uniform(-2, 2, size=(2, 400, 2))

    def said(points: np.ndarray) -> np.ndarray:
        return verdict(found.network.decision(found.plane.lift(points)))

    k = found.network.n_outputs if found.network.link != "softmax" else 1
    worst = 0.0
    for output in range(k):
        low, high = ends.copy()
        changed = said(low)[:, output] != said(high)[:, output]
        low, high = low[changed], high[changed]
        first = said(low)[:, output]
        for _ in range(60):
            middle = (low + high) / 2
            same = (said(middle)[:, output] == first)[:, None]
            low, high = np.where(same, middle, low), np.where(same, high, middle)
        mine = found.boundary.segment
        if found.network.link != "softmax":
            mine = mine[found.boundary.between[:, 0] == output]
        for point in low:
            along = mine[:, 1] - mine[:, 0]
            length = np.maximum((along**2).sum(axis=1), 1e-300)
            t = np.clip(((point - mine[:, 0]) * along).sum(axis=1) / length, 0, 1)
            worst = max(worst, float(np.hypot(*(mine[:, 0] + t[:, None] * along - point).T).min()))
    return worst


def test_boundary_of_a_logit_is_at_zero() -> None:
    found = slice2d(circle().network, box=(-3, 3))
    assert found.level == 0
    ends = found.plane.lift(found.boundary.segment.reshape(-1, 2))
    assert len(ends)
    np.testing.assert_allclose(found.network.decision(ends), 0, atol=1e-12)


def test_a_decision_that_only_touches_its_level_has_no_boundary() -> None:
    w = [np.array([[1.0, 0.0], [-1.0, 0.0]]), np.array([[1.0, 1.0]])]  # |x|
    net = network(w, [np.zeros(2), np.zeros(1)])
    assert len(slice2d(net, box=(-1, 1), level=0.0).boundary.segment) == 0
    up = slice2d(net, box=(-1, 1), level=0.5).boundary
    assert sorted(up.segment[:, :, 0].ravel().tolist()) == [-0.5, -0.5, 0.5, 0.5]
    one = network([w[0][:1], np.array([[1.0]])], [np.zeros(1), np.zeros(1)])  # relu(x): 0 on half of the box
    edge = slice2d(one, box=(-1, 1), level=0.0).boundary
    assert np.abs(edge.segment[:, :, 0]).max() == 0
    assert len(edge.segment) == 1


def test_boundary_may_run_along_an_edge_and_classes_may_tie() -> None:
    crossing = network([np.array([[1.0, 0.0], [-1.0, 0.0]]), np.array([[1.0, -2.0]])], [np.zeros(2), np.zeros(1)])
    found = slice2d(crossing, box=(-1, 1), level=0.0)
    assert np.abs(found.boundary.segment[:, :, 0]).max() == 0
    assert np.abs(np.diff(found.boundary.segment[:, :, 1], axis=1)).sum() == 2
    two = np.array([[1.0, 0.0], [1.0, 0.0]])
    same = network([two, np.eye(2)], [np.zeros(2), np.zeros(2)], link="softmax")
    assert len(slice2d(same, box=(-1, 1)).boundary.segment) == 0
    first = network([two[:1], np.array([[1.0], [0.0]])], [np.zeros(1), np.zeros(2)], link="softmax")
    assert len(slice2d(first, box=(-1, 1)).boundary.segment) == 0  # tied on one half, the first on top on the other
    last = network([two[:1], np.array([[0.0], [1.0]])], [np.zeros(1), np.zeros(2)], link="softmax")
    drawn = slice2d(last, box=(-1, 1)).boundary
    assert np.abs(drawn.segment[:, :, 0]).max() == 0
    assert drawn.between.tolist() == [[0, 1]]


def test_regression_has_a_boundary_only_where_a_level_is_asked_for() -> None:
    assert len(slice2d(SPECIMENS["lines"], box=(-1, 1)).boundary.segment) == 0
    with pytest.raises(ArgumentError, match="softmax network has no level"):
        slice2d(random_network([2, 3, 3], link="softmax"), box=(-1, 1), level=0.0)
    with pytest.raises(ArgumentError, match="level is nan"):
        slice2d(SPECIMENS["lines"], box=(-1, 1), level=np.nan)


# ---------------------------------------------------------------- parts, budget, what cannot be told


@pytest.mark.parametrize("kind", ["relu", mixed])
def test_parts_change_nothing(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    net = random_network([2, 40, 40, 40, 2], seed=3, kind=kind)
    whole = slice2d(net, box=(-1, 1))
    monkeypatch.setattr(cutting, "_CELLS", 512)
    pieces = slice2d(net, box=(-1, 1))
    assert len(pieces) == len(whole) > 1000
    assert np.array_equal(pieces.area, whole.area)
    assert pieces.patterns.packed.tolist() == whole.patterns.packed.tolist()
    assert sorted(map(tuple, pieces.vertex.tolist())) == sorted(map(tuple, whole.vertex.tolist()))
    assert len(pieces.edges.corner) == len(whole.edges.corner)


@pytest.mark.parametrize("budget", [1, 40, 300, 1200, 4000])
def test_budget_is_kept_and_said(budget: int) -> None:
    net = random_network([2, 40, 40, 40, 1], seed=3)
    whole = slice2d(net, box=(-1, 1))
    some = slice2d(net, box=(-1, 1), budget=budget)
    known = {p.tobytes(): a for p, a in zip(whole.patterns.packed, whole.area, strict=True)}
    assert all(known[p.tobytes()] == a for p, a in zip(some.patterns.packed, some.area, strict=True))
    rest = np.split(some.rest, some.rest_start[1:-1]) if len(some.rest_start) > 1 else []
    assert some.area.sum() + sum(map(area, rest)) == pytest.approx(4, rel=1e-12)
    assert len(some) + len(rest) <= 2 * budget + 8
    assert (some.stopped is Stopped.BUDGET) == (len(whole) > budget)
    if some.stopped is Stopped.BUDGET:
        assert rest
        assert "raise `budget`" in some.stopped.value
        assert "unfinished. The budget was reached" in repr(some)
        assert (some.locate(np.array([corners.mean(axis=0) for corners in rest])) == -1).mean() > 0.9
    else:
        assert len(some) == len(whole)
    assert list(some.to_frame().index) == list(range(len(some)))
    assert some.boundary.segment.shape[1:] == (2, 2)


def test_progress_ends_with_everything() -> None:
    seen: list[tuple[int, float]] = []
    found = slice2d(random_network([2, 30, 30, 1]), box=(-1, 1), progress=lambda n, share: seen.append((n, share)))
    assert seen[-1] == (len(found), pytest.approx(1))


def test_too_narrow_to_tell_is_marked_and_counted() -> None:
    """At 1e17 numbers are 16 apart: where the neuron of a shifted line switches there cannot be told."""
    net = network(
        [np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), np.ones((1, 3))], [np.array([0.0, 1e-13, 0.0]), np.zeros(1)]
    )
    far = slice2d(net, box=((-1.0, 1.0), (-1.0, 1.0)), tolerance=1)
    assert len(far) == 6
    assert far.stopped is Stopped.COMPLETE
    near = slice2d(net, box=(-1, 1))  # the strip of 1e-13 is within the tolerance
    assert len(near) == 4
    assert near.area.sum() == pytest.approx(4, rel=1e-13)
    huge = slice2d(random_network([2, 40, 40, 40, 1], seed=4), box=(-1e12, 1e12))
    assert huge.stopped is Stopped.UNDECIDED
    assert huge.undecided.any()
    assert "too narrow to be decided" in repr(huge)
    assert "shrink the box" in huge.stopped.value
    assert huge.area.sum() == pytest.approx(4e24, rel=1e-12)
    assert huge.to_frame()["undecided"].sum() == huge.undecided.sum()


def test_what_corners_say_is_held_against_exact_arithmetic() -> None:
    net = random_network([2, 9, 9, 1], seed=1)
    cutter = cutting.Cutter(net, Plane.of_features(net, 0, 1), np.array([[-1.0, 1.0]] * 2), 100_000, 1024.0, None)
    ((part, decision),), rest = cutter.run()
    right = slicing._result(cutter, [(part, decision)], rest, None, None)
    assert right.stopped is Stopped.COMPLETE
    wrong = slicing._result(cutter, [(replace(part, on=part.off, off=part.on), decision)], rest, None, None)
    assert wrong.undecided.all()
    assert wrong.stopped is Stopped.UNDECIDED
    assert wrong.patterns.bits().tolist() == (~right.patterns.bits()).tolist()  # what the corners said


def test_ties_are_counted() -> None:
    assert cut("lines", 1).ties == 0
    star = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    found = slice2d(network([star, np.ones((1, 3))], [np.zeros(3), np.zeros(1)]), box=((-1, 1), (-2, 2)))
    assert len(found) == 6
    assert found.ties == 1
    assert "1 corner is shared by more than two lines" in repr(found)


def test_polygons_bent_by_rounding_are_kept_in_one_piece() -> None:
    """A ring that crosses a line four times, as no convex one does."""
    ring = np.array([[0.0, 0.0], [4.0, 0.0], [3.0, 1.0], [2.0, 0.2], [1.0, 1.0]])
    layer = Layer(np.array([[0.0, 1.0], [1.0, 0.0]]), np.zeros(2), Activation.of_kind("relu", 2))
    part = cutting.Part(0, np.arange(5), np.array([0, 5]), ring, np.zeros((5, 0)))
    z = ring[:, ::-1] - [0.5, 2.5]
    split, left = cutting._split(part, np.ascontiguousarray(z), layer, np.full(2, 1e-12), 100)
    assert len(left) == 0
    assert len(split) == 2  # by the second neuron alone
    assert ((split.on[0] & split.off[0]) == 1).any()
    assert cutting.areas(split.x, split.ring, split.start).sum() == pytest.approx(area(ring))


def test_points_of_one_key_are_told_apart() -> None:
    a, b = np.array([1.0, 2.0]).view(np.uint64), np.array([3.0]).view(np.uint64)

    def mixed_up(x: np.ndarray) -> np.ndarray:
        key = x * np.uint64(0x9E3779B97F4A7C15)
        return key ^ (key >> np.uint64(29))

    with np.errstate(over="ignore"):
        second = b + mixed_up(a[:1]) - mixed_up(a[1:])  # a second coordinate that makes both keys one
    points = np.array([[a[0], b[0]], [a[1], second[0]], [a[0], b[0]]], dtype=np.uint64).view(np.float64)
    kept, number = cutting.distinct(points)
    assert len(kept) == 2
    assert number[0] == number[2] != number[1]


# ---------------------------------------------------------------- tables


def circle(n: int = 400) -> rl.Unwrapped:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 2))
    net = random_network([2, 16, 16, 1], seed=2, link="logit")
    return rl.unwrap(net, x, (x[:, 0] > 0).astype(int))


def test_regions_of_a_table_are_found_again() -> None:
    u = circle()
    found = slice2d(u)
    assert found.region is not None
    assert found.count is not None
    assert found.dots is not None
    at = found.plane.coordinates(u.sample.x)
    assert np.array_equal(at, u.sample.x)
    assert (at >= found.box[:, 0]).all()
    assert (at <= found.box[:, 1]).all()
    assert found.region[found.locate(at)].tolist() == u.region_of.tolist()
    assert found.count.sum() == u.n_rows
    assert (found.count > 0).tolist() == (found.region >= 0).tolist()
    np.testing.assert_allclose(found.slope[found.region >= 0], u.coef[found.region[found.region >= 0]], atol=1e-12)
    frame = found.to_frame()
    assert list(frame.columns) == [
        *("pattern", "region", "count", "corners", "area", "area_share", "witness: x0", "witness: x1"),
        *("decision", "slope: x0", "slope: x1", "intercept", "undecided"),
    ]
    assert frame["count"].sum() == u.n_rows
    assert frame["area_share"].sum() == pytest.approx(1)
    assert len(found.dots.at) == u.n_rows
    assert {tuple(p) for p in found.dots.at.tolist()} == {tuple(p) for p in at.tolist()}
    assert "hold rows of the table" in repr(found)


def test_dots_are_a_sample_of_a_long_table() -> None:
    u = circle(5000)
    dots = slice2d(u).dots
    assert dots is not None
    assert dots.label is not None
    assert (len(dots.at), dots.n_rows) == (2000, 5000)
    assert ((dots.at[:, 0] > 0) == (dots.label == 1)).all()
    assert np.array_equal(dots.at, slice2d(u).dots.at)


def test_joined_regions_are_shared_by_polygons() -> None:
    u = rl.unwrap(SPECIMENS["lattice"], rows_for(SPECIMENS["lattice"], 400))
    joined = u.join_equal()
    assert joined.n_regions < u.n_regions
    found = slice2d(joined, box=(-1, 1))
    seen = found.region[found.region >= 0]
    assert len(set(seen)) < len(seen)


def test_local_lines_are_where_local_models_are_zero() -> None:
    u = circle()
    found = slice2d(u)
    lines = found.local_lines()
    assert lines.n_models == u.n_regions
    assert (lines.count == found.count[lines.polygon]).all()
    value = np.einsum("lij,lj->li", lines.segment, found.slope[lines.polygon, 0]) + found.intercept[lines.polygon, :1]
    np.testing.assert_allclose(value, 0, atol=1e-12)
    on_box = np.isclose(lines.segment, found.box[:, 0]) | np.isclose(lines.segment, found.box[:, 1])
    assert on_box.any(axis=2).all()
    missed = np.setdiff1d(np.flatnonzero(found.count > 0), lines.polygon)
    corners = np.array([[x, y] for x in found.box[0] for y in found.box[1]])
    for i in missed:
        assert np.ptp(np.sign(corners @ found.slope[i, 0] + found.intercept[i, 0])) == 0
    few = found.local_lines(u.sample.x[:3])
    assert set(few.polygon) <= set(found.locate(u.sample.x[:3]).tolist())
    assert few.count.sum() <= 3
    without = slice2d(u.network, box=found.box).local_lines()
    assert without.n_models == len(found)
    classes = slice2d(random_network([2, 9, 4], seed=1, link="softmax"), box=(-2, 2))
    between = classes.local_lines()
    top = np.sort(classes.slope[between.polygon] @ between.segment.mean(axis=1)[:, :, None], axis=1)
    assert top.shape[1] == 4
    with pytest.raises(ArgumentError, match="call slice2d with a `level`"):
        slice2d(SPECIMENS["lines"], box=(-1, 1)).local_lines()


def test_facets_are_said_in_units_of_the_axes() -> None:
    names = ("ltv", "dti", "age")
    net = network(
        [np.array([[0.5, 1.0, 2.0], [0.0, -2.0, 0.0]]), np.ones((1, 2))], [np.array([-40.0, 60.0]), np.zeros(1)]
    )
    net = net.with_names(names)
    found = slice2d(net, ("ltv", "dti"), ((0, 100), (0, 50)), at=np.array([7.0, 7.0, 5.0]))
    i = int(found.locate([[10.0, 10.0]])[0])
    words = {f.name: f.words for f in found.facets(i)}
    assert words["neuron 0 of dense 0"] == "ltv + 2 dti ≤ 60"
    assert words["neuron 1 of dense 0"] == "dti ≤ 30" if "neuron 1 of dense 0" in words else True
    j = int(found.locate([[90.0, 10.0]])[0])
    words = {f.name: f.words for f in found.facets(j, ["a", "b"])}
    assert words["neuron 0 of dense 0"] == "a + 2 b ≥ 60"
    assert words["neuron 1 of dense 0"] == "b ≤ 30"
    assert found.plane.note == "the other feature is held at the row given"
    with pytest.raises(ArgumentError, match="There is no polygon 99"):
        found.facets(99)


# ---------------------------------------------------------------- planes


def test_plane_of_features_holds_the_others() -> None:
    u = rl.unwrap(
        random_network([4, 6, 1], seed=1), rows_for(random_network([4, 6, 1]), 50), sample_weight=np.arange(1.0, 51)
    )
    plane = Plane.of_features(u, "x2", 0)
    assert plane.labels == ("x2", "x0")
    x = plane.lift([[3.0, 4.0]])[0]
    np.testing.assert_allclose(x, [4.0, u.sample.mean[1], 3.0, u.sample.mean[3]])
    np.testing.assert_allclose(plane.coordinates(x[None]), [[3.0, 4.0]])
    assert "their means" in plane.note
    given = slice2d(u.network, (0, 1), (-1, 1), at=np.arange(4.0))
    assert given.plane.origin.tolist() == [0, 0, 2, 3]
    row = pd.DataFrame([np.arange(4.0)], columns=[f"x{i}" for i in range(4)])
    assert slice2d(u, (0, 1), (-1, 1), at=row).plane.origin.tolist() == [0, 0, 2, 3]


def test_plane_through_points_and_of_vectors() -> None:
    points = np.random.default_rng(0).normal(size=(3, 5))
    plane = Plane.through(points)
    np.testing.assert_allclose(plane.lift([[0, 0], [1, 0], [0, 1]]), points)
    np.testing.assert_allclose(plane.coordinates(points), [[0, 0], [1, 0], [0, 1]], atol=1e-12)
    net = random_network([5, 8, 1])
    assert slice2d(net, plane).box.tolist() == [[-0.25, 1.25]] * 2
    assert len(slice2d(net, tuple(points), (-1, 1))) >= 1


def test_principal_plane_is_that_of_the_standardised_rows() -> None:
    from sklearn.decomposition import PCA

    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 4)) @ rng.normal(size=(4, 4)) * [1, 1e6, 1e-4, 1] + [0, 5, 1, 0]
    x[:, 3] = 2.0  # never varies
    u = rl.unwrap(random_network([4, 6, 1], seed=1), x)
    plane = Plane.principal(u)
    z = (x - x.mean(axis=0)) / np.where(x.std(axis=0) > 0, x.std(axis=0), 1)
    pca = PCA(2)
    scores = pca.fit_transform(z)
    ours = plane.coordinates(x)
    np.testing.assert_allclose(np.abs(ours), np.abs(scores), atol=1e-9)
    np.testing.assert_allclose(plane.coordinates(plane.lift(ours)), ours, atol=1e-9)
    shares = [f"principal component {i} ({share:.0%})" for i, share in enumerate(pca.explained_variance_ratio_, 1)]
    assert plane.labels == tuple(shares)
    assert plane.same_unit
    assert "component 1: " in plane.note
    found = slice2d(u)
    assert found.plane.labels == plane.labels
    assert found.area.sum() == pytest.approx(np.prod(np.diff(found.box, axis=1)), rel=1e-12)


def test_a_feature_that_never_varies_has_a_box_all_the_same() -> None:
    u = rl.unwrap(SPECIMENS["xor"], np.column_stack([np.arange(3.0), np.full(3, 7.0)]))
    assert slice2d(u).box.tolist() == [[-0.1, 2.1], [3.5, 10.5]]


def one_hot() -> Network:
    items = (
        Feature("age", "age"),
        Feature("region=N", "region", "level", ("N",)),
        Feature("region=S", "region", "level", ("S",)),
    )
    base = random_network([3, 4, 1])
    return Network(base.layers, Features(items, ("age", "region"), True))


NET3 = random_network([3, 4, 1])
REFUSED: list[tuple[Any, str]] = [
    (lambda: slice2d(3), "takes a Network or an Unwrapped, got a int"),
    (lambda: slice2d(SPECIMENS["abs"], box=(-1, 1)), "one feature has no plane"),
    (lambda: slice2d(NET3, box=(-1, 1)), "has 3 features: name two"),
    (lambda: slice2d(SPECIMENS["xor"]), "box is missing"),
    (lambda: slice2d(SPECIMENS["xor"], box=(1, -1)), "expected \\(\\(low, high\\), \\(low, high\\)\\)"),
    (lambda: slice2d(SPECIMENS["xor"], box="wide"), "box is 'wide'"),
    (lambda: slice2d(SPECIMENS["xor"], box=((0, 1), (0, np.inf))), "each low below its high"),
    (lambda: slice2d(SPECIMENS["xor"], box=(-1, 1), budget=0), "budget is 0"),
    (lambda: slice2d(SPECIMENS["xor"], box=(-1, 1), tolerance=0.5), "tolerance is 0.5"),
    (lambda: slice2d(NET3, (0, 1), (-1, 1)), "other feature must be held somewhere"),
    (lambda: slice2d(NET3, (0, 0), (-1, 1), at=np.zeros(3)), "both are 'x0'"),
    (lambda: slice2d(NET3, (0, 7), (-1, 1), at=np.zeros(3)), "feature is 7"),
    (lambda: slice2d(NET3, (0, "x9"), (-1, 1), at=np.zeros(3)), "'x9' is no feature"),
    (lambda: slice2d(NET3, (0, 1), (-1, 1), at=np.zeros(4)), "at has 4 numbers; the network takes 3"),
    (lambda: slice2d(NET3, (0, 1), (-1, 1), at="median"), "at is 'median'"),
    (lambda: slice2d(NET3, Plane(*np.eye(3)), (-1, 1), at=np.zeros(3)), "leave it out"),
    (lambda: slice2d(NET3, Plane(*np.eye(4)[:3]), (-1, 1)), "lies among 4 features; the network has 3"),
    (lambda: slice2d(NET3, np.eye(3), (-1, 1)), "Plane.through\\(points\\) takes three points"),
    (lambda: slice2d(one_hot(), ("age", "region"), (-1, 1), at=np.zeros(3)), "has 2 indicators; name one of them"),
    (
        lambda: slice2d(NET3, (0, 1), (-1, 1), at=pd.DataFrame(np.zeros((2, 3)), columns=["x0", "x1", "x2"])),
        "2 rows; give one",
    ),
    (lambda: Plane(np.zeros(3), np.ones(3), 2 * np.ones(3)), "parallel or zero"),
    (lambda: Plane(np.zeros(3), np.ones(3), np.zeros(2)), "got 3, 3 and 2 numbers"),
    (lambda: Plane(np.zeros(3), np.ones(3), np.full(3, np.nan)), "v is \\[nan"),
    (lambda: Plane.through(np.zeros((2, 3))), "three points \\(3, n_features\\); got an array of shape \\(2, 3\\)"),
    (lambda: Plane.principal(rl.unwrap(NET3, np.arange(5.0)[:, None] * np.ones(3))), "fewer than two directions"),
    (lambda: cut("lines", 0).locate([1.0, 2.0]), "expected finite coordinates"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_refusals_say_what_was_expected(call: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        call()


def test_overflow_is_refused() -> None:
    net = network(
        [np.full((2, 2), 1e200), np.full((2, 2), 1e200), np.ones((1, 2))], [np.zeros(2), np.zeros(2), np.zeros(1)]
    )
    with pytest.raises(NumericalOverflowError, match="range of float64 in this box"):
        slice2d(net, box=(-1, 1))


def test_one_hot_indicators_can_be_axes() -> None:
    found = slice2d(one_hot(), ("age", "region=S"), ((0, 10), (0, 1)), at=np.zeros(3))
    assert found.plane.features == (0, 2)
    assert not found.plane.same_unit


def test_scales_of_the_axes_do_not_matter() -> None:
    net = random_network([2, 20, 20, 1], seed=4)
    plain = slice2d(net, box=(-1, 1))
    scaled = slice2d(net, Plane(np.zeros(2), [1e6, 0.0], [0.0, 1e-6]), ((-1e-6, 1e-6), (-1e6, 1e6)))
    assert len(scaled) == len(plain)
    assert {p.tobytes() for p in scaled.patterns.packed} == {p.tobytes() for p in plain.patterns.packed}


@pytest.mark.parametrize("seed", range(12))
def test_integer_networks_with_many_ties(seed: int) -> None:
    net = random_network([2, 9, 9, 1], draw=integers(seed))
    found = slice2d(net, box=(-2, 2))
    points = np.random.default_rng(seed).uniform(-2, 2, size=(2000, 2))
    assert (found.locate(points) >= 0).all()
    assert found.area.sum() == pytest.approx(16, rel=1e-13)
    assert not found.undecided.any()
    assert len(found.vertex) - len(found.edges.corner) + len(found) == 1


def test_names_are_public() -> None:
    assert rl.regions is regions
    assert set(regions.__all__) >= {"Plane", "Slice2D", "slice2d"}


def test_one_other_feature_is_spoken_of_alone() -> None:
    from relucidate.planes import Plane

    for d, said in ((3, "the other feature is held at its mean"), (4, "the other 2 features are held at their means")):
        net = random_network([d, 5, 1], seed=1)
        assert Plane.of_features(rl.unwrap(net, rows_for(net, 30)), 0, 1).note == said
