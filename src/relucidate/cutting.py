"""Convex polygons on a plane, split layer by layer along the lines on which neurons switch.

Within a polygon every preactivation of the next layer is linear, so that its values at the corners say whether its neuron
switches inside; where it does, the line between the two crossings splits the polygon. Each polygon takes the lowest of the
neurons that cross it, all polygons at once, until none is crossed. That takes fewer rounds than there are neurons, some 25 for
the first layer of a hundred, since a part inherits only what crosses it.

The values belong to the corners, and a crossing is computed from the end where the preactivation is negative to the end
where it is positive: polygons on either side of an edge get the same numbers to the last bit, and so does every order in which
polygons are taken. The idea of splitting cell by cell is that of Berzins 2023 (edge subdivision) and Humayun et al. 2023
(SplineCam); values at corners in place of composed maps, and rounds in place of neurons, are ours.

Polygons are held as `ring`, the corners of all of them, counterclockwise, one polygon after the other, and `start` (F + 1,),
where each begins in it. Corners are numbered (V,), and a ring has places (N,): a corner has one in each of its polygons.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from relucidate.errors import NumericalOverflowError
from relucidate.exact import U
from relucidate.layers import Bools, Floats, Layer, is_sparse
from relucidate.network import Network
from relucidate.planes import Plane
from relucidate.products import one_thread

Indices = NDArray[np.intp]
Sides = NDArray[np.int8]
Words = NDArray[np.uint64]

TOLERANCE = 2.0**10  # times the rounding error to be expected of a preactivation: what is nearer to 0 counts as 0
_CELLS = 2**19  # preactivations at the corners of the polygons that are split at once
_ROW_TILE = 64  # products of a multiple of so many rows have the same bits for a row whatever the others
_GROWTH = 64  # times as many polygons may come of a piece: it is so small that they stay within the budget


@dataclass(frozen=True, eq=False)
class Part:
    """Some polygons on their way through the network.

    Parameters
    ----------
    layer : that splits them next. ring, start : corners of the polygons. x : (V, 2) corners in a box from -1 to 1.
    a : (V, k) what enters the layer at the corners, (V, 0) for the first. z : (V, m) preactivations there, if the layer has
        begun to split the polygons.
    on, off : per layer so far (F, words): bits of a pattern whose preactivation is above, and those whose is below, its
        breakpoint somewhere on the polygon; see `bits_of`.
    """

    layer: int
    ring: Indices
    start: Indices
    x: Floats
    a: Floats
    on: tuple[Words, ...] = ()
    off: tuple[Words, ...] = ()
    z: Floats | None = None

    def __len__(self) -> int:
        return len(self.start) - 1

    def pieces(self, n: int) -> list[Part]:
        """Return parts of at most `n` polygons, those in the middle of the box first."""
        if len(self) <= n:
            return [self]
        middle = summed(self.x.take(self.ring, axis=0), self.start) / np.diff(self.start)[:, None]
        away = np.abs(middle).max(axis=1)
        order = np.argsort(away, kind="stable")
        out = []
        for first in range(0, len(self), n):
            rows = order[first : first + n]
            ring, start = taken(self.ring, self.start, rows)
            used, ring = np.unique(ring, return_inverse=True)
            on, off = (tuple(words[rows] for words in part) for part in (self.on, self.off))
            z = None if self.z is None else self.z[used]
            out.append(Part(self.layer, ring, start, self.x[used], self.a[used], on, off, z))
        return out


class Cutter:
    """Splits a box on a plane layer by layer, a part of the polygons at a time, the last ones first.

    Parameters
    ----------
    net, plane, box : what is cut, by which plane, and where on it (2, 2).
    budget : largest number of polygons, finished or waiting to be split.
    tolerance : what is nearer to a breakpoint than so many times the expected rounding error counts as on it.
    progress : called with the number of polygons finished and the share of the box that they take.

    Raises
    ------
    NumericalOverflowError : the network leaves the range of float64 in the box.

    Notes
    -----
    Corners are held in coordinates in which the box reaches from -1 to 1; `centre` and `half` (2,) lead back to those of the
    plane, see `plane_points`. `doubt` is what counts as 0 of the preactivations of each layer (m,).
    """

    def __init__(
        self,
        net: Network,
        plane: Plane,
        box: Floats,
        budget: int,
        tolerance: float,
        progress: Callable[[int, float], None] | None,
    ) -> None:
        self.net, self.plane, self.box, self.budget, self.progress = net, plane, box, budget, progress
        self.centre, self.half = box.mean(axis=1), np.diff(box, axis=1)[:, 0] / 2
        first: Any = net.layers[0].weight
        with np.errstate(over="ignore", invalid="ignore"):
            self.first = np.asarray(first @ (plane.basis * self.half))
            self.constant = np.asarray(first @ (plane.origin + plane.basis @ self.centre)) + net.layers[0].bias
            self.doubt = self._doubts(tolerance)
        if not all(np.isfinite(d).all() for d in self.doubt):
            raise NumericalOverflowError(
                "The network may leave the range of float64 in this box: its weights multiply beyond 1.8e308. Shrink the box, or "
                "scale the weights down."
            )

    def _doubts(self, tolerance: float) -> list[Floats]:
        """Return per layer what counts as 0 of each preactivation (m,).

        Notes
        -----
        Rounding errors of the terms of a sum add up like independent numbers, as root of the sum of squares; so do those of
        the layer below, by their weights. Proved bounds add them up without signs and grow past use within a few layers.
        """
        size = np.abs(self.first).sum(axis=1) + np.abs(self.constant)
        error = U * size
        out = [tolerance * error]
        for below, layer in zip(self.net.layers, self.net.layers[1:], strict=False):
            activation = below.activation
            steepest = np.abs(activation.slopes).max(axis=1)
            value = steepest * size + np.abs(activation.offsets).max(axis=1)
            error = steepest * error + U * value
            size = np.sqrt(_squared(layer) @ value**2) + np.abs(layer.bias)
            error = np.sqrt(_squared(layer) @ error**2) + U * size
            out.append(tolerance * error)
        return out

    def plane_points(self, x: Floats) -> Floats:
        """Return coordinates of the plane, from those in which the box reaches from -1 to 1."""
        at = self.centre + self.half * x
        return np.where(x == -1, self.box[:, 0], np.where(x == 1, self.box[:, 1], at))

    def preactivation(self, part: Part) -> Floats:
        """Return preactivations (V, m) at the corners: the same bits for a corner whatever the other corners."""
        if part.z is not None:
            return part.z
        if part.layer == 0:
            x, c = part.x, self.first.T
            return x[:, :1] * c[0] + x[:, 1:] * c[1] + self.constant
        layer, n = self.net.layers[part.layer], len(part.a)
        a = np.zeros((-(-n // _ROW_TILE) * _ROW_TILE, part.a.shape[1]))
        a[:n] = part.a
        return np.ascontiguousarray(layer.preactivation(a)[:n])

    def run(self) -> tuple[list[tuple[Part, Floats]], list[Part]]:
        """Return what is finished, with the decisions at its corners, and what the budget left."""
        square = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
        waiting = [Part(0, np.arange(4), np.array([0, 4]), square, np.zeros((4, 0)))]
        finished: list[tuple[Part, Floats]] = []
        n_finished, n_waiting, share = 0, 1, 0.0
        last = len(self.net.layers) - 1
        with one_thread(), np.errstate(under="ignore"):
            while waiting and n_finished + n_waiting <= self.budget:
                part = waiting.pop()
                n_waiting -= len(part)
                if part.layer == last:
                    finished.append((part, self.preactivation(part)))
                    n_finished += len(part)
                    if self.progress is not None:
                        share += float(areas(part.x, part.ring, part.start).sum()) / 4
                        self.progress(n_finished, min(share, 1.0))
                    continue
                room = self.budget - n_finished - n_waiting
                layer, doubt = self.net.layers[part.layer], self.doubt[part.layer]
                split, left = _split(part, self.preactivation(part), layer, doubt, room)
                n_waiting += len(split) + len(left)
                if len(left) and len(split) + 2 * len(left) > room:
                    return finished, [p for p in (*waiting, split, left) if len(p)]
                budget = self.budget - n_finished - n_waiting
                waiting += [*self._pieces(left, budget), *self._pieces(split, budget)]
        return finished, waiting

    def _pieces(self, part: Part, budget: int) -> list[Part]:
        """Return what is split at once, the last first, with so many polygons to come within the budget."""
        if len(part) == 0:
            return []
        width = max(self.net.layers[part.layer].weight.shape)
        room = _CELLS // max(width, 1) if part.z is None else len(part) // 4
        return part.pieces(max(1, min(max(64, room), budget // _GROWTH)))[::-1]


def _squared(layer: Layer) -> Any:
    weight: Any = layer.weight
    return weight.power(2) if is_sparse(weight) else weight**2


def as_one(net: Network, finished: list[tuple[Part, Floats]]) -> tuple[Part, Floats]:
    """Return all that is finished as one part, each corner once, and the decisions at its corners."""
    if len(finished) == 1:
        return finished[0]
    parts = [p for p, _ in finished]
    offset = starts_of(np.array([len(p.x) for p in parts], dtype=np.intp))
    x = np.concatenate([np.zeros((0, 2)), *(p.x for p in parts)])
    kept, number = distinct(x)
    ring = np.concatenate([np.zeros(0, np.intp), *(p.ring + o for p, o in zip(parts, offset[:-1], strict=True))])
    width = [-(-layer.activation.n_bits // 64) for layer in net.hidden]  # told by the network, for there may be no part
    on, off = (
        tuple(
            np.concatenate([np.zeros((0, w), np.uint64), *(getattr(p, name)[i] for p in parts)])
            for i, w in enumerate(width)
        )
        for name in ("on", "off")
    )
    decision = np.concatenate([np.zeros((0, net.n_outputs)), *(d for _, d in finished)])
    start = starts_of(np.concatenate([np.zeros(0, np.intp), *(np.diff(p.start) for p in parts)]))
    return Part(len(net.hidden), number.take(ring), start, x[kept], x[kept, :0], on, off), decision[kept]


class _Corners:
    """Corners with their preactivations and sides, in arrays with room for more."""

    def __init__(self, x: Floats, z: Floats, layer: Layer, doubt: Floats) -> None:
        neuron, k = layer.activation.switches
        self.neuron, self.at = neuron, layer.activation.breakpoints[neuron, k]
        self.plain = (
            len(neuron) == z.shape[1] and not self.at.any()
        )  # preactivations are the distances: nothing is copied
        self.doubt = doubt[neuron]
        self.n = len(x)
        self.x, self.z = x, z
        self.on, self.off = self._sides(z)

    def _sides(self, z: Floats) -> tuple[Words, Words]:
        distance = z if self.plain else z[:, self.neuron] - self.at
        return _words_of(distance > self.doubt), _words_of(distance < -self.doubt)

    def add(self, cut: Cut) -> None:
        """Add the new corners of a cut."""
        n = self.n + len(cut.t)
        if n > len(self.x):
            for name in ("x", "z", "on", "off"):
                array = getattr(self, name)
                bigger = np.empty((2 * n, array.shape[1]), dtype=array.dtype)
                bigger[: self.n] = array[: self.n]
                setattr(self, name, bigger)
        rows = slice(self.n, n)
        self.x[rows], self.z[rows] = cut.at_new(self.x), cut.at_new(self.z)
        self.on[rows], self.off[rows] = self._sides(self.z[rows])
        self.n = n

    def values(self, ring: Indices, switch: Indices) -> tuple[Floats, Sides]:
        """Return how far above its breakpoint a preactivation is, and on which side, at corners (N,), for a bit of each."""
        value = self.z.ravel().take(ring * self.z.shape[1] + (switch if self.plain else self.neuron.take(switch)))
        if not self.plain:
            value -= self.at.take(switch)
        return value, sides_of(value, self.doubt.take(switch))

    def crossed(self, ring: Indices, start: Indices) -> tuple[Words, Words]:
        """Return the bits that are above and those that are below somewhere on each polygon (F, words)."""
        return (
            np.bitwise_or.reduceat(self.on.take(ring, axis=0), start[:-1], axis=0),
            np.bitwise_or.reduceat(self.off.take(ring, axis=0), start[:-1], axis=0),
        )


class _Done(NamedTuple):
    """Polygons that nothing in a layer crosses any more: corners, which of the layer's polygons they come from, bits."""

    ring: Indices
    start: Indices
    root: Indices
    on: Words
    off: Words


def _split(part: Part, z: Floats, layer: Layer, doubt: Floats, room: int) -> tuple[Part, Part]:
    """Return the polygons of a part that one layer has split, and those that it has yet to split on.

    Notes
    -----
    There are such where more than `room` polygons or too many preactivations would be held at once.
    """
    corners = _Corners(part.x, z, layer, doubt)
    ring, start, root = part.ring, part.start, np.arange(len(part))
    done: list[_Done] = []
    n_done = 0
    on, off = corners.crossed(ring, start)
    crossing = on & off
    barred: Words | None = None
    while True:
        active: Bools = np.any(crossing, axis=1)
        if not active.all():
            finished = ~active
            done.append(_Done(*taken(ring, start, finished), root[finished], on[finished], off[finished]))
            n_done += len(done[-1].root)
            ring, start = taken(ring, start, active)
            root, crossing = root[active], crossing[active]
            barred = None if barred is None else barred[active]
        full = corners.z.size > 4 * _CELLS and corners.n > len(part.x) and barred is None
        if len(root) == 0 or n_done + 2 * len(root) > room or full:
            return _joined(part, corners, layer, done), _left(part, corners, ring, start, root)
        lowest = _lowest(crossing)
        value, side = corners.values(ring, lowest.repeat(np.diff(start)))
        arcs = arcs_of(start, side)
        broken = arcs.broken()
        if broken.any():  # what rounding has bent is not cut again, and comes out as undecided
            barred = np.zeros_like(crossing) if barred is None else barred
            rows = broken.nonzero()[0]
            barred[rows, lowest[rows] // 64] |= np.uint64(1) << (lowest[rows] % 64).astype(np.uint64)
        else:
            cut = cut_polygons(ring, arcs, value, corners.n)
            corners.add(cut)
            ring, start, root = cut.ring, cut.start, root.repeat(2)
            barred = None if barred is None else np.repeat(barred, 2, axis=0)
        on, off = corners.crossed(ring, start)
        crossing = on & off if barred is None else on & off & ~barred


def _left(part: Part, corners: _Corners, ring: Indices, start: Indices, root: Indices) -> Part:
    """Return polygons that a layer has begun to split."""
    used, number = np.unique(ring, return_inverse=True)
    on, off = (tuple(words[root] for words in layers) for layers in (part.on, part.off))
    return Part(part.layer, number, start, corners.x[used], np.zeros((len(used), 0)), on, off, corners.z[used])


def _joined(part: Part, corners: _Corners, layer: Layer, done: list[_Done]) -> Part:
    """Return the polygons that one layer made, each corner once, with what enters the next layer."""
    none, no_words = np.zeros(0, np.intp), corners.on[:0]
    ring = np.concatenate([none, *(d.ring for d in done)])
    start = starts_of(np.concatenate([none, *(np.diff(d.start) for d in done)]))
    root = np.concatenate([none, *(d.root for d in done)])
    on = np.concatenate([no_words, *(d.on for d in done)])
    off = np.concatenate([no_words, *(d.off for d in done)])
    old = len(part.x)
    kept, number = distinct(corners.x[old : corners.n])
    rows = np.concatenate([np.arange(old), old + kept])
    return Part(
        part.layer + 1,
        np.concatenate([np.arange(old), old + number]).take(ring),
        start,
        corners.x.take(rows, axis=0),
        layer.activation(corners.z.take(rows, axis=0)),
        (*(o[root] for o in part.on), on),
        (*(o[root] for o in part.off), off),
    )


def _words_of(bits: Bools) -> Words:
    """Return bits (n, m) as words (n, ceil(m / 64)), the first the lowest."""
    n, m = bits.shape
    out = np.zeros((n, -(-m // 64) * 8), dtype=np.uint8)
    out[:, : -(-m // 8)] = np.packbits(bits, axis=1, bitorder="little")
    return out.view("<u8")


def bits_of(words: Words, n_bits: int) -> Bools:
    """Return the first bits (n, n_bits) of words, as in `Part.on` and `Part.off`."""
    return np.unpackbits(np.ascontiguousarray(words).view(np.uint8), axis=1, count=n_bits, bitorder="little").view(bool)


def _lowest(words: Words) -> Indices:
    """Return the position of the lowest bit of each row (n, words), none of them without any."""
    place = (words != 0).argmax(axis=1)
    word = words[np.arange(len(words)), place]
    lowest = word & (~word + np.uint64(1))
    return 64 * place + np.bitwise_count(lowest - np.uint64(1)).astype(np.intp)


def sides_of(value: Floats, doubt: Floats | float) -> Sides:
    """Return on which side of 0 values are: 1 above, -1 below, 0 for what is not farther from it than `doubt`."""
    return (value > doubt).view(np.int8) - (value < -doubt).view(np.int8)


@dataclass(frozen=True, eq=False)
class Arcs:
    """Polygons before they are cut, as runs of corners on one side of a line.

    Parameters
    ----------
    start : (F + 1,) where each polygon begins. side : (N,) of each corner: 1 above, -1 below, 0 on the line.
    run : (N,) 1 or -1, corners on the line counted with those before them. change : places in the ring after which that
        changes. after : (N,) place of the corner after each.
    """

    start: Indices
    side: Sides
    run: Sides
    change: Indices
    after: Indices

    def broken(self) -> Bools:
        """Return which polygons (F,) do not have one run on each side, as convex ones have."""
        n, change = len(self.start) - 1, self.change
        if len(change) == 2 * n:
            pairs = change.reshape(-1, 2)
            if (pairs[:, 0] >= self.start[:-1]).all() and (pairs[:, 1] < self.start[1:]).all():
                return np.zeros(n, dtype=bool)
        owner = np.searchsorted(self.start, change, side="right") - 1
        return np.bincount(owner, minlength=n) != 2


def arcs_of(start: Indices, side: Sides) -> Arcs:
    """Return the runs of corners on one side of a line, of polygons that each have a corner off it."""
    after, run = following(start), side
    zero = (side == 0).nonzero()[0]
    if len(zero):
        before = np.arange(-1, len(side) - 1)
        before[start[:-1]] = start[1:] - 1
        run = side.copy()
        while len(zero):
            run[zero] = run[before[zero]]
            zero = zero[run[zero] == 0]
    return Arcs(start, side, run, (run != run.take(after)).nonzero()[0], after)


@dataclass(frozen=True, eq=False)
class Cut:
    """Each polygon in two, the part above first.

    Parameters
    ----------
    ring, start : the 2F parts. enter, leave : (F,) the two ends of each cut. Corners that are new have the highest numbers.
    low, high, t : (k,) the ends of the edge on which each new corner lies, from below to above, and how far along.
    """

    ring: Indices
    start: Indices
    enter: Indices
    leave: Indices
    low: Indices
    high: Indices
    t: Floats

    def at_new(self, values: Floats) -> Floats:
        """Return values at the new corners (k, ...), from those at the ends of their edges (V, ...)."""
        low = values.take(self.low, axis=0)
        out = values.take(self.high, axis=0)
        out -= low
        out *= self.t[:, None]
        out += low
        return out


def cut_polygons(ring: Indices, arcs: Arcs, value: Floats, n_vertices: int) -> Cut:
    """Return polygons cut along the line on which a value is 0.

    Parameters
    ----------
    ring, arcs : corners of the polygons, and on which side of the line they are; none of the polygons is broken.
    value : (N,) at each corner. n_vertices : number of the first new corner.

    Notes
    -----
    A cut ends at a corner that is on the line if there is one between above and below, else on the edge between the two. Of
    several on the line, the last in the ring's order; the others stay with the part that they follow.
    """
    start, side, after = arcs.start, arcs.side, arcs.after
    F, n = len(start) - 1, np.diff(start)
    change = arcs.change.reshape(F, 2)
    falling = arcs.run.take(change[:, 0]) > 0
    p = np.where(falling, change[:, 0], change[:, 1])  # the last above; the corner after is below
    q = np.where(falling, change[:, 1], change[:, 0])  # the last below
    new_p, new_q = side.take(p) != 0, side.take(q) != 0
    after_p, after_q = after.take(p), after.take(q)
    at_p, at_q = new_p.nonzero()[0], new_q.nonzero()[0]
    end_p, end_q = ring.take(p), ring.take(q)
    end_p[at_p] = n_vertices + np.arange(len(at_p))
    end_q[at_q] = n_vertices + len(at_p) + np.arange(len(at_q))
    low = np.concatenate([after_p.take(at_p), q.take(at_q)])
    high = np.concatenate([p.take(at_p), after_q.take(at_q)])
    below = value.take(low)
    t = below / (below - value.take(high))

    run_above = p - q
    run_above += n * (run_above < 0)
    run, begin, own, other = (np.empty(2 * F, dtype=np.intp) for _ in range(4))
    run[0::2], run[1::2] = run_above, n - run_above
    begin[0::2], begin[1::2] = after_q, after_p
    own[0::2], own[1::2] = end_p, end_q
    other[0::2], other[1::2] = end_q, end_p
    size = run + 1
    size[0::2] += new_p
    size[1::2] += new_q
    starts = starts_of(size)
    place = np.arange(int(starts[-1])) + (begin - starts[:-1]).repeat(size)
    end, length = start[1:].repeat(2).repeat(size), n.repeat(2).repeat(size)
    place -= length * (place >= end)
    rings = ring.take(place, mode="clip")  # the two last places of a part are written next
    rings[starts[1:] - 1] = other
    rings[starts[1:] - 2] = own  # where the cut ends at a corner, the run ends with it already
    return Cut(rings, starts, end_q, end_p, ring.take(low), ring.take(high), t)


def starts_of(n: Indices) -> Indices:
    """Return where polygons of so many corners (F,) begin in their ring (F + 1,)."""
    start = np.zeros(len(n) + 1, dtype=np.intp)
    np.cumsum(n, out=start[1:])
    return start


def following(start: Indices) -> Indices:
    """Return the place in a ring of the corner after each (N,)."""
    after = np.arange(1, int(start[-1]) + 1)
    after[start[1:] - 1] = start[:-1]
    return after


def taken(ring: Indices, start: Indices, which: Indices | Bools) -> tuple[Indices, Indices]:
    """Return ring and start of some polygons: by number, in that order, or those marked (F,)."""
    n = np.diff(start)[which]
    new = starts_of(n)
    return ring.take(np.repeat(start[:-1][which] - new[:-1], n) + np.arange(int(new[-1]))), new


def summed(values: Floats, start: Indices) -> Floats:
    """Return the sum of values (N, k) over each polygon (F, k)."""
    return np.add.reduceat(values, start[:-1], axis=0) if len(start) > 1 else values[:0]


def areas(x: Floats, ring: Indices, start: Indices) -> Floats:
    """Return the area of each polygon (F,), taken about its first corner, so that small ones are exact too."""
    corner = x.take(ring, axis=0)
    corner -= np.repeat(corner[start[:-1]], np.diff(start), axis=0)
    after = corner.take(following(start), axis=0)
    return np.add.reduceat(corner[:, 0] * after[:, 1] - after[:, 0] * corner[:, 1], start[:-1]) / 2


def distinct(x: Floats) -> tuple[Indices, Indices]:
    """Return a position of each distinct point (n, 2), and which of these each point is (n,)."""
    if len(x) == 0:
        return np.zeros(0, dtype=np.intp), np.zeros(0, dtype=np.intp)
    bits = np.ascontiguousarray(x).view(np.uint64)
    key = bits[:, 0] * np.uint64(0x9E3779B97F4A7C15)
    key ^= key >> np.uint64(29)
    key += bits[:, 1]
    key *= np.uint64(0xBF58476D1CE4E5B9)
    order = np.argsort(key)
    first = np.ones(len(order), dtype=bool)
    first[1:] = key[order[1:]] != key[order[:-1]]
    number = np.empty(len(order), dtype=np.intp)
    number[order] = np.cumsum(first) - 1
    kept = order[first]
    if not (bits[kept[number]] == bits).all():  # two points with one key
        _, kept, number = np.unique(bits, axis=0, return_index=True, return_inverse=True)
        number = number.reshape(-1)
    return kept, number
