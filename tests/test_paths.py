"""Along a straight line: every breakpoint is found, each piece is what the network is there, and nothing else."""

from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pytest

import relucidate as rl
from relucidate import segments
from relucidate.errors import ColumnError, NumericalOverflowError, UnfaithfulError
from relucidate.interpret import path
from relucidate.network import Network
from relucidate.segments import checked, over_segments
from small_networks import SPECIMENS, network, random_network, rows_for

NAMES = sorted(SPECIMENS)


def ends(net: Network, n: int = 20) -> tuple[Any, Any]:
    """Rows on a grid, where breakpoints coincide, to rows in general position."""
    x = rows_for(net, 2 * n, seed=1)
    return x[:n], x[n:]


def exactly(net: Network, a: Any, b: Any) -> list[Fraction]:
    """The breakpoints of a segment in rational arithmetic, from the definition: piece by piece, layer by layer."""
    cuts = [Fraction(0), Fraction(1)]
    values = [[Fraction(float(v)) for v in end] for end in (a, b)]
    for layer in net.hidden:
        weight = layer.weight.toarray() if hasattr(layer.weight, "toarray") else np.asarray(layer.weight)
        w = [[Fraction(float(v)) for v in row] for row in weight]
        bias = [Fraction(float(v)) for v in layer.bias]
        z = [
            [sum((p * q for p, q in zip(row, v, strict=True)), c) for row, c in zip(w, bias, strict=True)]
            for v in values
        ]
        new = set(cuts)
        for i in range(len(cuts) - 1):
            for neuron, at in zip(*layer.activation.switches, strict=True):
                level = Fraction(float(layer.activation.breakpoints[neuron, at]))
                p, q = z[i][neuron] - level, z[i + 1][neuron] - level
                if p * q < 0:
                    new.add(cuts[i] + p / (p - q) * (cuts[i + 1] - cuts[i]))
        knots = sorted(new)
        at_knots = []
        for t in knots:
            i = max(k for k in range(len(cuts) - 1) if cuts[k] <= t)
            s = (t - cuts[i]) / (cuts[i + 1] - cuts[i])
            at_knots.append([p + s * (q - p) for p, q in zip(z[i], z[i + 1], strict=True)])
        cuts, values = knots, [[_activated(layer.activation, m, v) for m, v in enumerate(row)] for row in at_knots]
    return cuts


def _activated(activation: Any, neuron: int, z: Fraction) -> Fraction:
    finite = [Fraction(float(v)) for v in activation.breakpoints[neuron] if np.isfinite(v)]
    k = sum(at < z for at in finite)
    return Fraction(float(activation.slopes[neuron, k])) * z + Fraction(float(activation.offsets[neuron, k]))


@pytest.mark.parametrize("name", NAMES)
def test_breakpoints_are_those_of_rational_arithmetic(name: str) -> None:
    net = SPECIMENS[name].identified
    a, b = ends(net, 4)
    found = path(net, a, b)
    for i in range(4):
        part = slice(found.offsets[i], found.offsets[i + 1])
        true = np.array([float(t) for t in exactly(net, a[i], b[i])])
        t = np.r_[found.start[part], 1.0]
        # each one found is a true one; those left out switch nothing: they touch a breakpoint without crossing it
        assert np.abs(t[:, None] - true).min(axis=1).max() < 1e-12
        between = (true[:-1] + true[1:]) / 2
        of = np.searchsorted(t, between) - 1
        patterns = net.patterns(a[i] + between[:, None] * (b[i] - a[i]))
        wide = np.diff(true) > 1e-9
        same = (patterns.packed == found.patterns.packed[part][of]).all(axis=1)
        if name not in ("twins", "zero biases", "integers", "lattice"):  # rows between ties are no ties any more
            assert same[wide].all()
        np.testing.assert_allclose(
            net.decision(a[i] + between[:, None] * (b[i] - a[i]))[wide],
            (found.value[part][of] + (between - t[of])[:, None] * found.slope[part][of])[wide],
            atol=1e-12,  # values of size 10 at most, a few roundings
        )


@pytest.mark.parametrize("name", NAMES)
def test_a_path_is_continuous_and_whole(name: str) -> None:
    net = SPECIMENS[name].identified
    a, b = ends(net)
    found = path(net, a, b)
    first, last = found.offsets[:-1], found.offsets[1:] - 1
    assert (found.start[first] == 0).all()
    assert (found.stop[last] == 1).all()
    inner = np.flatnonzero(found.segment[1:] == found.segment[:-1])
    assert (found.stop[inner] == found.start[inner + 1]).all()
    assert (found.start < found.stop).all()
    np.testing.assert_array_equal(found.next_value[inner], found.value[inner + 1])
    np.testing.assert_array_equal(found.value[first], net.decision(a))
    np.testing.assert_array_equal(found.next_value[last], net.decision(b))
    rise = found.slope * (found.stop - found.start)[:, None]
    np.testing.assert_allclose(found.next_value - found.value, rise, atol=1e-12)
    assert (found.patterns.packed[inner] != found.patterns.packed[inner + 1]).any(axis=1).all()


def test_maps_on_pieces_are_those_of_their_patterns() -> None:
    net = SPECIMENS["mixed"]
    a, b = ends(net)
    found = path(net, a, b)
    middle = found.a[found.segment] + ((found.start + found.stop) / 2)[:, None] * (found.b - found.a)[found.segment]
    ours = np.einsum("pkd,pd->pk", found.coef, middle) + found.intercept
    np.testing.assert_allclose(ours, net.decision(middle), atol=1e-12)


def test_one_segment_has_its_ends_among_its_breakpoints() -> None:
    net = SPECIMENS["deep"]
    a, b = ends(net)
    found = path(net, a[3], b[3])
    assert found.n_segments == 1
    assert found.t[0] == 0
    assert found.t[-1] == 1
    assert len(found.t) == found.n_pieces + 1
    np.testing.assert_array_equal(found.decision[[0, -1]], net.decision(np.stack([a[3], b[3]])))
    np.testing.assert_allclose(net.decision(found.rows()), found.decision, atol=1e-12)


def test_breakpoints_of_an_absolute_value() -> None:
    net = SPECIMENS["abs"]
    found = path(net, [-1.0], [3.0])
    assert found.t.tolist() == [0, 0.25, 1]
    assert found.slope[:, 0].tolist() == [-4, 4]
    assert found.switched(0) == []
    assert found.switched(1) == ["dense 0 neuron 0", "dense 0 neuron 1"]
    frame = found.to_frame()
    assert frame["switched"].tolist() == ["", "dense 0 neuron 0, dense 0 neuron 1"]
    assert frame["decision"].tolist() == [1, 0]


def test_no_way_at_all_is_one_piece() -> None:
    net = SPECIMENS["deep"]
    x = rows_for(net, 10)[3]
    found = path(net, x, x)
    assert found.t.tolist() == [0, 1]
    assert found.slope.tolist() == [[0]]


def test_one_row_may_be_the_end_of_many_segments() -> None:
    net = SPECIMENS["five classes"].identified
    a, b = ends(net)
    many, single = path(net, a[:1], b), path(net, a[0], b[7])
    part = slice(many.offsets[7], many.offsets[8])
    np.testing.assert_array_equal(many.start[part], single.start)
    np.testing.assert_allclose(many.slope[part], single.slope, atol=1e-13)


def test_pieces_know_the_regions_of_a_table() -> None:
    net = SPECIMENS["deep"]
    x = rows_for(net, 200)
    u = rl.unwrap(net, x)
    found = path(u, x[10], x[150])
    assert found.region is not None
    assert found.region[0] == u.region_of[10]
    assert found.region[-1] == u.region_of[150]
    assert found.region.tolist() == u.regions_of_patterns(found.patterns).tolist()
    assert "region" in found.to_frame()
    assert "region" not in path(net, x[10], x[150]).to_frame()


def test_a_table_may_give_the_ends() -> None:
    net = SPECIMENS["lines"].with_names(["p", "q"])
    frame = pd.DataFrame({"q": [1.0, 0.5], "p": [-1.0, 2.0]})
    assert path(net, frame, [0.0, 0.0]).t.tolist() == path(net, frame[["p", "q"]].to_numpy(), [0.0, 0.0]).t.tolist()


def test_ends_that_do_not_match_are_refused() -> None:
    net = SPECIMENS["lines"]
    with pytest.raises(ColumnError, match="3 rows to start from and 2 to go to"):
        path(net, np.zeros((3, 2)), np.ones((2, 2)))
    with pytest.raises(ColumnError, match="X has 3 columns"):
        path(net, np.zeros(3), np.ones(3))


def test_a_value_beyond_the_range_is_an_error() -> None:
    net = network([np.full((2, 1), 1e200), np.full((1, 2), 1e200)], [np.zeros(2), np.zeros(1)])
    with pytest.raises(NumericalOverflowError, match="leave the range of float64"):
        path(net, [0.0], [1.0])


def test_a_piece_that_lies_is_an_error() -> None:
    net = SPECIMENS["deep"]
    x = rows_for(net, 10)
    true = net.decision(x)
    assert checked(net, x, true + 1e-10, true, "A piece") > 0
    with pytest.raises(UnfaithfulError, match=r"A piece says .* the network"):
        checked(net, x, true + 1e-8, true, "A piece")


def test_memory_may_be_small(monkeypatch: pytest.MonkeyPatch) -> None:
    net = random_network([5, 40, 40, 2], seed=3)
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 7, 5))
    whole = path(net, a, b)
    monkeypatch.setattr(segments, "_CELLS", 300)
    parts: list[int] = []
    over_segments(net, a, b, lambda walk, rows: parts.append(len(walk.segment)))
    assert len(parts) > 20  # segments come in parts, and there is no breakpoint between them
    again = path(net, a, b)
    assert again.offsets.tolist() == whole.offsets.tolist()
    np.testing.assert_allclose(again.start, whole.start, atol=1e-12)


def test_progress_is_told() -> None:
    net = SPECIMENS["deep"]
    a, b = ends(net)
    told: list[tuple[int, int]] = []
    over_segments(net, a, b, lambda walk, rows: None, progress=lambda done, n: told.append((done, n)))
    assert told[-1] == (20, 20)
