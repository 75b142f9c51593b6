"""Regions of networks: their facets against one linear program per row, crossed one by one, and put in words."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import linprog

import relucidate as rl
from relucidate import regions
from relucidate.errors import ArgumentError
from relucidate.facets import neighbours_of, number, polytope_of, switches_of, terms_in_words, walls
from relucidate.features import Features
from relucidate.layers import Activation, Layer
from relucidate.network import Network, Patterns
from relucidate.polytope import Empty, Interior
from small_networks import SPECIMENS, mixed, network, random_network, rows_for

RANDOM = {
    "wide": random_network([3, 20, 20, 1], seed=21),
    "deep and narrow": random_network([5, 6, 6, 6, 6, 2], seed=22),
    "pieces": random_network([3, 10, 10, 1], seed=23, kind=mixed),
    "one feature": random_network([1, 8, 6, 1], seed=24),
}
NETWORKS = SPECIMENS | RANDOM


def regions_of(net: Network, n: int = 12) -> list[regions.Region]:
    """The regions of some rows, but of those without an interior none."""
    found = [regions.polytope(net, x) for x in rows_for(net, n)]
    return [r for r in found if isinstance(r.interior, Interior)]


def brute_force(net: Network, pattern: Patterns) -> tuple[Any, Any, list[int]]:
    """Every neuron's inequality from the weights, in a loop, and the bits that a linear program finds irredundant."""
    bits = pattern.bits()[0]
    A, b, bit = [], [], []
    v, c, place = np.eye(net.n_features), np.zeros(net.n_features), 0
    for layer in net.hidden:
        weight: Any = layer.weight
        weight = weight.toarray() if hasattr(weight, "toarray") else weight
        v, c = weight @ v, weight @ c + layer.bias
        slope, offset = np.zeros(len(c)), np.zeros(len(c))
        for neuron in range(len(c)):
            at = layer.activation.breakpoints[neuron]
            at = at[np.isfinite(at)]
            for k in range(len(at)):
                if np.abs(v[neuron]).max() > 1e-9:
                    sign = -1.0 if bits[place + k] else 1.0
                    length = np.linalg.norm(v[neuron])
                    A.append(sign * v[neuron] / length)
                    b.append(sign * (at[k] - c[neuron]) / length)
                    bit.append(place + k)
            piece = int(bits[place : place + len(at)].sum())
            place += len(at)
            slope[neuron], offset[neuron] = (
                layer.activation.slopes[neuron, piece],
                layer.activation.offsets[neuron, piece],
            )
        v, c = slope[:, None] * v, slope * c + offset
    rows, limits = np.reshape(A, (-1, net.n_features)), np.array(b)
    kept: list[int] = []
    for i in range(len(rows)):
        same = [j for j in kept if np.abs(rows[i] - rows[j]).max() < 1e-9 and abs(limits[i] - limits[j]) < 1e-9]
        others = [
            j for j in range(len(rows)) if np.abs(rows[i] - rows[j]).max() > 1e-9 or abs(limits[i] - limits[j]) > 1e-9
        ]
        if not same:
            answer = linprog(-rows[i], rows[[*others, i]], [*limits[others], limits[i] + 1], bounds=(None, None))
            if -answer.fun > limits[i] + 1e-7:
                kept.append(i)
    return rows, limits, [bit[i] for i in kept]


@pytest.mark.parametrize("name", NETWORKS)
def test_facets_are_those_of_one_linear_program_per_neuron(name: str) -> None:
    net = NETWORKS[name]
    for r in regions_of(net, 4)[:2]:
        rows, limits, bits = brute_force(net, r.pattern)
        np.testing.assert_allclose(r.polytope.A, rows, atol=1e-9)
        np.testing.assert_allclose(r.polytope.b, limits, atol=1e-9)
        assert r.walls.bit[r.polytope.row[r.facets.index]].tolist() == bits
        assert len(r.facets.doubtful) == 0


@pytest.mark.parametrize("name", NETWORKS)
def test_witness_and_row_are_in_the_region(name: str) -> None:
    net = NETWORKS[name]
    rng = np.random.default_rng(0)
    for r in regions_of(net):
        assert r.polytope.contains(r.x, 1e-12).all()
        ball = rng.normal(size=(20, net.n_features))
        ball *= min(r.radius, 1.0) * (1 - 1e-6) / np.linalg.norm(ball, axis=1, keepdims=True)
        inside = net.patterns(np.concatenate([r.witness[None], r.witness + ball]))
        assert (inside.packed == r.pattern.packed).all()


@pytest.mark.parametrize("name", NETWORKS)
def test_a_point_has_the_pattern_if_and_only_if_it_is_inside(name: str) -> None:
    net = NETWORKS[name]
    rng = np.random.default_rng(1)
    for r in regions_of(net, 6):
        scale = r.radius if np.isfinite(r.radius) else 1.0
        x = r.witness + rng.normal(size=(200, net.n_features)) * scale * rng.exponential(2, size=(200, 1))
        clear = (np.abs(r.polytope.slack(x)) > 1e-9).all(axis=1)
        same = (net.patterns(x).packed == r.pattern.packed).all(axis=1)
        np.testing.assert_array_equal(same[clear], r.polytope.contains(x)[clear])


@pytest.mark.parametrize("name", NETWORKS)
def test_crossing_a_facet(name: str) -> None:
    """Something on the facet flips, and only what vanishes there; the map is continuous and jumps along the normal."""
    net = NETWORKS[name]
    layer, neuron, k = switches_of(net)
    for r in regions_of(net, 8):
        found = neighbours_of(r)
        assert found.certain.all()
        coef, intercept = net.affine_maps(r.pattern)
        vanishing = _distances(net, found.point, layer, neuron, k)
        np.testing.assert_array_equal(net.patterns(found.beyond).packed, found.patterns.packed)
        for i, facet in enumerate(found.facet):
            flipped = set(np.flatnonzero(found.flipped[i]).tolist())
            owners = set(r.walls.bit[r.owners(int(facet))].tolist())
            assert flipped & owners
            assert all(vanishing[i, bit] < 1e-9 for bit in flipped | owners)
            if name in RANDOM:  # in general position nothing coincides
                assert flipped == owners
                assert len(owners) == 1
            normal = r.polytope.A[r.facets.index[facet]]
            along = np.outer(found.jump[i] @ normal, normal)
            np.testing.assert_allclose(found.jump[i], along, atol=1e-9)
            here = coef[0] @ found.point[i] + intercept[0]
            np.testing.assert_allclose(found.coef[i] @ found.point[i] + found.intercept[i], here, atol=1e-9)
            there = net.decision(found.beyond[i][None])[0]
            np.testing.assert_allclose(found.coef[i] @ found.beyond[i] + found.intercept[i], there, atol=1e-9)


def _distances(net: Network, x: Any, layer: Any, neuron: Any, k: Any) -> Any:
    """How far each preactivation is from each breakpoint, by a forward pass."""
    out = np.zeros((len(x), len(layer)))
    a = x
    for i, part in enumerate(net.hidden):
        z = part.preactivation(a)
        for bit in np.flatnonzero(layer == i):
            out[:, bit] = np.abs(z[:, neuron[bit]] - part.activation.breakpoints[neuron[bit], k[bit]])
        a = part.activation(z)
    return out


@pytest.mark.parametrize("name", ["deep", "five classes", "mixed", "integers", "wide"])
def test_neighbours_know_each_other(name: str) -> None:
    net = NETWORKS[name]
    for r in regions_of(net, 4):
        found = neighbours_of(r)
        for i in range(0, len(found), 2):
            back = neighbours_of(polytope_of(net, found.patterns[[i]]))
            assert (back.patterns.packed == r.pattern.packed).all(axis=1).any()


@pytest.mark.parametrize("name", [n for n, net in NETWORKS.items() if net.n_features == 2])
def test_corners_are_those_of_polygons_on_the_plane(name: str) -> None:
    net = NETWORKS[name]
    cut = regions.slice2d(net, box=(-2, 2))
    for i in range(min(len(cut), 40)):
        if cut.undecided[i] or cut.share[i] < 1e-9:
            continue
        r = regions.polytope(net, cut.patterns[[i]], (-2, 2))
        polygon = cut.polygon(i)
        edge, before = np.roll(polygon, -1, axis=0) - polygon, polygon - np.roll(polygon, 1, axis=0)
        turn = np.abs(before[:, 0] * edge[:, 1] - before[:, 1] * edge[:, 0])
        polygon = polygon[turn > 1e-9]  # corners of the neighbours may lie on a side
        corners = r.polytope.vertices()
        assert len(corners) == len(polygon) == len(r)
        assert np.abs(corners[:, None] - polygon).max(axis=2).min(axis=1).max() < 1e-7
        np.testing.assert_allclose(r.bounds, np.stack([polygon.min(axis=0), polygon.max(axis=0)], axis=1), atol=1e-7)


# ---------------------------------------------------------------- at the edges, on networks drawn at random

KINDS: list[Any] = [
    "relu",
    "abs",
    mixed,
    lambda m: Activation.of_kind("leaky_relu", m, 0.1),
    lambda m: Activation.of_kind("clip", m, -0.2, 0.6),
]


def drawn(seed: int) -> tuple[Network, Any]:
    """A small network of any kind, none to three hidden layers, one to four features, and a row."""
    rng = np.random.default_rng(seed)
    d = int(rng.integers(1, 5))
    widths = rng.integers(1, 9, size=int(rng.integers(0, 4)))
    net = random_network([d, *widths.tolist(), 2], seed=seed, kind=KINDS[seed % len(KINDS)])
    return net, rng.normal(size=d)


def hyperplanes(r: regions.Region, units: Any = 1.0) -> Any:
    """Facets as rows of normal and limit, those of another network in other units made comparable, in order."""
    A, b = r.polytope.A[r.facets.index] * units, r.polytope.b[r.facets.index]
    length = np.linalg.norm(A, axis=1)
    rows = np.column_stack([A / length[:, None], b / length])
    return rows[np.lexsort(np.round(rows, 6).T)]


@pytest.mark.parametrize("seed", range(20))
def test_copies_and_constant_neurons_change_no_facet(seed: int) -> None:
    """Of each first neuron a copy at another scale, one upside down, and neurons that never switch."""
    net, x = drawn(seed)
    if len(net.layers) == 1:
        assert len(regions.polytope(net, x)) == 0
        return
    first, second, *rest = net.layers
    rng = np.random.default_rng(seed)
    w, b, m = np.asarray(first.weight), first.bias, len(first.bias)
    scale = 10.0 ** rng.uniform(-6, 6, size=m)[:, None]
    zero, relu = np.zeros((2, w.shape[1])), Activation.of_kind("relu", 2 * m + 2)
    # a copy of a neuron switches at 0, so copy where the first one does
    start = first.activation.breakpoints[:, 0]
    at = np.where(np.isfinite(start), start, 0.0)
    copied = np.isfinite(start)
    more = Layer(
        np.vstack([w, scale * w, -w, zero]),
        np.concatenate([b, scale[:, 0] * (b - at), at - b, [1.0, -1.0]]),
        Activation.joined([first.activation, relu]),
        "more",
    )
    idle = np.zeros((len(second.bias), 2 * m + 2))
    wide = Network(
        (more, Layer(np.hstack([np.asarray(second.weight), idle]), second.bias, second.activation), *rest),
        net.features,
    )
    r, other = regions.polytope(net, x), regions.polytope(wide, x)
    if copied.all():  # a copy of a neuron that never switches does switch
        np.testing.assert_allclose(hyperplanes(other), hyperplanes(r), atol=1e-6)
        assert len(other.facets.doubtful) == 0
    for f in range(len(other)):
        owned = {int(other.walls.neuron[i]) for i in other.owners(f) if other.walls.layer[i] == 0}
        for neuron in np.flatnonzero(copied):
            copies = {m + neuron, 2 * m + neuron}
            assert not copies & owned or copies | {neuron} <= owned
    assert not set(other.walls.neuron[other.walls.layer == 0]) & {3 * m, 3 * m + 1}


@pytest.mark.parametrize("seed", range(20))
def test_units_change_no_facet(seed: int) -> None:
    net, x = drawn(100 + seed)
    units = 10.0 ** np.random.default_rng(seed).uniform(-5, 5, size=net.n_features)
    first, *rest = net.layers
    scaled = Layer(np.asarray(first.weight) / units, first.bias, first.activation, first.name)
    r, other = regions.polytope(net, x), regions.polytope(Network((scaled, *rest), net.features), x * units)
    bits = [set(q.walls.bit[q.facets.index].tolist()) for q in (r, other)]
    assert bits[0] == bits[1]
    assert len(r.facets.doubtful) == len(other.facets.doubtful) == 0


@pytest.mark.parametrize("seed", range(20))
def test_of_drawn_networks_facets_are_those_of_linear_programs(seed: int) -> None:
    net, x = drawn(200 + seed)
    r = regions.polytope(net, x)
    _, _, right = brute_force(net, r.pattern)
    assert sorted(r.walls.bit[r.facets.index].tolist()) == sorted(right)


@pytest.mark.parametrize("seed", range(20))
def test_a_point_on_a_facet_has_a_region_or_is_told_that_there_is_none(seed: int) -> None:
    net, x = drawn(300 + seed)
    r = regions.polytope(net, x)
    for k in range(min(len(r), 4)):
        on = regions.polytope(net, r.facets.point[k])
        if isinstance(on.interior, Interior):
            assert (net.patterns(on.witness[None]).packed == on.pattern.packed).all()
            assert on.polytope.contains(on.witness)
            assert len(on.facets.doubtful) == 0
        else:
            with pytest.raises(ArgumentError, match="The region has no interior"):
                on.facets  # noqa: B018


# ---------------------------------------------------------------- special cases


def test_coincident_hyperplanes_flip_together() -> None:
    """Two neurons of one layer, one of the next on the same hyperplane, and one there that begins beyond it."""
    first = np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    second = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]])
    net = network([first, second, np.ones((1, 2))], [np.zeros(3), np.zeros(2), np.zeros(1)])
    inside = regions.polytope(net, [1.0, 1.0])
    assert [inside.name(k) for k in range(len(inside))] == [
        "neurons 0, 1 of dense 0 and neuron 0 of dense 1",
        "neuron 2 of dense 0",
    ]
    found = neighbours_of(inside)
    assert found.switches(0) == "neurons 0, 1 of dense 0 and neuron 0 of dense 1"
    outside = regions.neighbours(net, [-1.0, 1.0])
    on = [outside.switches(i) for i in range(len(outside))]
    assert on == ["neurons 0, 1 of dense 0 and neuron 0 of dense 1", "neuron 2 of dense 0 and neuron 1 of dense 1"]
    assert outside.certain.all()
    frame = inside.to_frame()
    assert frame["neurons_on_it"].tolist() == [3, 1]


def test_both_sides_of_a_middle_piece() -> None:
    clip = Activation.of_kind("clip", 1, -1.0, 3.0)
    layers = (
        Layer(np.array([[2.0]]), np.zeros(1), clip, "clip"),
        Layer(np.ones((1, 1)), np.zeros(1), Activation.of_kind("identity", 1)),
    )
    net = Network(layers, Features.plain(1))
    middle = regions.polytope(net, [0.0])
    np.testing.assert_allclose(middle.bounds, [[-0.5, 1.5]])
    assert middle.walls.breakpoint.tolist() == [-1, 3]
    assert middle.walls.on.tolist() == [True, False]
    assert [middle.words(k) for k in range(2)] == ["x0 ≥ −0.5", "x0 ≤ 1.5"]
    above = regions.neighbours(net, [5.0])
    assert len(above) == 1
    assert above.switches(0) == "neuron 0 of clip"
    np.testing.assert_allclose(above.jump, [[[2.0]]])


def test_words_are_in_the_units_of_the_features() -> None:
    names = ("loan_to_value", "loan_age", "rate", "term")
    layers = (
        Layer(
            np.array([[2.0, 0.34, 1e-4, 0.0], [0, 0, 0, -1]]),
            np.array([-21.5, 360.0]),
            Activation.of_kind("relu", 2),
            "dense",
        ),
        Layer(np.ones((1, 2)), np.zeros(1), Activation.of_kind("identity", 1)),
    )
    net = Network(layers, Features.plain(4).renamed(names))
    r = regions.polytope(net, [5.0, 4.0, 3.0, 100.0])
    assert r.words(0) == "loan_to_value + 0.17 loan_age ≤ 10.75 (1 other feature as it is)"
    assert r.words(1) == "term ≤ 360"
    assert r.words(1, ["a", "b", "c", "months"]) == "months ≤ 360"
    frame = r.to_frame()
    assert frame["neurons"].tolist() == ["neuron 0 of dense", "neuron 1 of dense"]
    assert frame["on"].tolist() == [False, True]
    assert frame["distance"][1] == pytest.approx(260)
    assert r.summary()[0] == "The region has 2 facets of 2 inequalities."
    # what is told holds with the other features as they are
    assert pytest.approx(0, abs=1e-3) == (2 * 10.75 - 21.5 + 1e-4 * 3)


def test_terms_in_words() -> None:
    said, told, factors = terms_in_words(np.array([-2.0, 1.0, 0.001]), np.ones(3), ["a", "b", "c"])
    assert said == "a − 0.5 b"
    assert told.tolist() == [0, 1]
    assert factors.tolist() == [1, -0.5]
    assert terms_in_words(np.array([1.0, 2.0]), np.zeros(2), ["a", "b"])[0] == "b + 0.5 a"
    assert number(12345.6) == "12,346"


def test_a_box_has_edges() -> None:
    net = NETWORKS["deep"]
    x = rows_for(net)[5]
    r = regions.polytope(net, x, (x - 0.01, x + 0.01))
    names = [r.name(k) for k in range(len(r))]
    assert "edge of the box" in names
    assert len(neighbours_of(r)) == len(names) - names.count("edge of the box")
    np.testing.assert_allclose(r.bounds.mean(axis=1), x, atol=0.02)
    assert (r.bounds[:, 0] >= x - 0.01 - 1e-12).all()
    assert (r.bounds[:, 1] <= x + 0.01 + 1e-12).all()
    assert r.to_frame().query("layer < 0")["neurons_on_it"].eq(0).all()
    assert "at the edge of the box" in r.summary()[0]


def test_a_box_far_from_the_point_is_told_from_an_empty_region() -> None:
    net = random_network([3, 6, 1], seed=0)
    far = regions.polytope(net, np.zeros((1, 3)), (50, 51))
    if isinstance(far.interior, Interior):  # the region may reach the box
        raise AssertionError("take another seed")
    with pytest.raises(
        ArgumentError, match=r"does not hold the point asked about.*x0 is 0, the box goes from 50 to 51"
    ):
        far.witness  # noqa: B018


def test_regions_far_apart_in_units_have_bounds() -> None:
    """The same network in other units has the same bounds, to the solver's tolerance."""
    units = np.array([1e7, 1.0, 1e-5])
    for seed in range(8):
        net = random_network([3, 10, 10, 1], seed)
        first = net.layers[0]
        other = replace(net, layers=(replace(first, weight=first.weight / units), *net.layers[1:]))
        x = np.random.default_rng(seed).normal(size=(1, 3))
        a, b = regions.polytope(net, x).bounds, regions.polytope(other, x * units).bounds
        np.testing.assert_allclose(b, a * units[:, None], rtol=1e-6)


@pytest.mark.parametrize(("depth", "width"), [(2, 8), (40, 8), (20, 40)])
def test_deep_networks_keep_all_their_hyperplanes(depth: int, width: int) -> None:
    """Rounding was bounded by products of weights without signs, which grow with each layer: true coefficients became 0."""
    rng = np.random.default_rng(1)
    sizes = [4, *[width] * depth, 1]
    weights = [rng.normal(size=(m, k)) * np.sqrt(2 / k) for k, m in pairwise(sizes)]
    net = network(
        weights, [0.1 * rng.normal(size=m) for m in sizes[1:]], lambda m: Activation.of_kind("leaky_relu", m, 0.2)
    )
    pattern = net.patterns(rng.normal(size=(1, 4)))
    found = walls(net, pattern)
    maps = [part for part, _ in net.preactivation_maps(pattern)]
    np.testing.assert_array_equal(found.bit, np.arange(depth * width))
    sides = np.where(pattern.bits()[0], 1.0, -1.0)
    np.testing.assert_array_equal(found.inward, sides[:, None] * np.concatenate(maps))


def test_regions_without_interior_say_so() -> None:
    net = SPECIMENS["abs"]
    tie = regions.polytope(net, [0.0])
    with pytest.raises(ArgumentError, match="The region has no interior: no point is strictly on the right side"):
        tie.facets  # noqa: B018
    assert "nothing strictly inside" in repr(tie)
    # both halves at once: no input has this pattern, by inequalities that contradict each other
    with pytest.raises(ArgumentError, match="or the pattern is of no input"):
        polytope_of(net, Patterns.pack(np.array([[True, True]]))).witness  # noqa: B018
    # a constant neuron on the wrong side: no input either
    dead = SPECIMENS["dead"]
    bits = dead.patterns(np.zeros((1, 3))).bits().copy()
    bits[0, 6] = not bits[0, 6]
    assert not isinstance(polytope_of(dead, Patterns.pack(bits)).interior, Interior)
    net = network([np.ones((1, 1)), np.zeros((1, 1)), np.ones((1, 1))], [np.zeros(1), np.array([-1.0]), np.zeros(1)])
    assert len(walls(net, Patterns.pack(np.array([[True, False]])))) == 1
    assert isinstance(polytope_of(net, Patterns.pack(np.array([[True, True]]))).interior, Empty)


def test_a_linear_network_has_one_region() -> None:
    r = regions.polytope(SPECIMENS["linear"], [1.0, 2.0, 3.0])
    assert len(r) == 0
    assert r.radius == np.inf
    np.testing.assert_array_equal(r.bounds, [[-np.inf, np.inf]] * 3)
    found = neighbours_of(r)
    assert len(found) == 0
    assert repr(found) == "0 neighbours"
    assert len(r.to_frame()) == len(found.to_frame()) == 0


def test_a_table_tells_how_many_rows_are_beyond() -> None:
    net = random_network([3, 8, 1], seed=3, link="logit")
    X = np.random.default_rng(0).normal(size=(400, 3))
    u = rl.unwrap(net, X)
    found = regions.neighbours(u, X[7], "data")
    assert found.region.lower is not None
    np.testing.assert_array_equal(found.region.lower, X.min(axis=0))
    np.testing.assert_array_equal(found.region.spread, u.sample.sd)
    packed = net.patterns(X).packed
    assert found.region_of is not None
    assert found.count is not None
    for i in range(len(found)):
        same = (packed == found.patterns.packed[i]).all(axis=1)
        assert found.count[i] == same.sum()
        assert (found.region_of[i] >= 0) == same.any()
    assert f"{(found.count > 0).sum()} of them with rows" in repr(found)
    frame = found.to_frame()
    assert frame["count"].tolist() == found.count.tolist()
    np.testing.assert_array_equal(frame[[f"jump: x{j}" for j in range(3)]], found.jump[:, 0])
    assert len(regions.neighbours(net, X[7]).to_frame().filter(["region", "count"]).columns) == 0


def test_the_range_of_the_data_has_no_edge_where_nothing_varies() -> None:
    X = np.random.default_rng(0).normal(size=(50, 3))
    X[:, 1] = 2.0
    r = regions.polytope(rl.unwrap(NETWORKS["wide"], X), X[3], "data")
    assert r.lower is not None
    assert r.lower[1] == -np.inf
    assert r.radius > 0


def test_every_region_of_the_example_has_an_interior() -> None:
    example = rl.examples.home_lending()
    net, table = rl.load(str(example.model)), pd.read_parquet(example.train)
    u = rl.unwrap(net, table)
    for i in range(5):
        found = regions.neighbours(u, table.iloc[[i]], "data")
        assert found.certain.all()
        assert len(found.region.facets.doubtful) == 0
        assert found.region.polytope.contains(found.region.x).all()


def test_what_does_not_fit_is_refused() -> None:
    net = NETWORKS["deep"]
    X = rows_for(net)
    with pytest.raises(ArgumentError, match="x has 60 rows; expected one"):
        regions.polytope(net, X)
    with pytest.raises(ArgumentError, match="expected a Network or an Unwrapped"):
        regions.polytope("net", X[:1])  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="x holds 60 patterns"):
        regions.polytope(net, net.patterns(X))
    with pytest.raises(ArgumentError, match="'data' where a table was unwrapped"):
        regions.polytope(net, X[0], "data")
    with pytest.raises(ArgumentError, match=r"expected a tuple \(lower, upper\)"):
        regions.polytope(net, X[0], (1, 2, 3))
    with pytest.raises(ArgumentError, match="expected one row of 3 finite numbers"):
        polytope_of(net, [1.0, np.nan, 2.0])
    with pytest.raises(ArgumentError, match="There is no facet 99"):
        regions.polytope(net, X[0]).words(99)
    with pytest.raises(ArgumentError, match="expected lower <= upper"):
        regions.polytope(net, X[0], (1, -1))
