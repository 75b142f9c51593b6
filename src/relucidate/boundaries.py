"""What bounds polygons: the sides at which they meet, and the lines on which the decision changes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from relucidate.cutting import Indices, Sides, arcs_of, cut_polygons, following, sides_of, starts_of, summed, taken
from relucidate.layers import Bools, Floats


@dataclass(frozen=True, eq=False)
class Decided:
    """Polygons with the decisions at their corners.

    Parameters
    ----------
    vertex : (V, 2) corners, each once. ring, start : corners of the polygons, see `relucidate.cutting`.
    decision : (V, n_outputs) at the corners, linear within a polygon.
    doubt : (n_outputs,) what is nearer to a threshold counts as on it. box : (2, 2) that they lie in.
    """

    vertex: Floats
    ring: Indices
    start: Indices
    decision: Floats
    doubt: Floats
    box: Floats


@dataclass(frozen=True, eq=False)
class Boundary:
    """Where the decision changes, as straight pieces.

    Parameters
    ----------
    segment : (S, 2, 2) the two ends of each, in coordinates of the plane. polygon : (S,) where it lies.
    between : (S, 2) the two classes of a softmax network that meet there; for others the output, twice.
    """

    segment: Floats
    polygon: Indices
    between: Indices


@dataclass(frozen=True, eq=False)
class Edges:
    """Where two polygons meet.

    Parameters
    ----------
    corner : (E, 2) which vertices it joins. polygon : (E, 2) to its left and to its right, seen from the first to the second;
        -1 beyond the box, or where the budget ended.
    """

    corner: Indices
    polygon: Indices


def edges_of(ring: Indices, start: Indices, n_vertices: int) -> Edges:
    """Return every side of a polygon, once."""
    after = ring.take(following(start))
    low, high = np.minimum(ring, after), np.maximum(ring, after)
    order = np.argsort(low * n_vertices + high, kind="stable")
    a, b = low[order], high[order]
    first = np.ones(len(order), dtype=bool)
    first[1:] = (a[1:] != a[:-1]) | (b[1:] != b[:-1])
    number = np.empty(len(order), dtype=np.intp)
    number[order] = np.cumsum(first) - 1
    polygon = np.full((int(first.sum()), 2), -1, dtype=np.intp)
    polygon[number, (ring > after).astype(np.intp)] = np.repeat(np.arange(len(start) - 1), np.diff(start))
    return Edges(np.stack([a[first], b[first]], axis=1), polygon)


def no_boundary() -> Boundary:
    """Return the boundary of what decides nothing."""
    return Boundary(np.zeros((0, 2, 2)), np.zeros(0, np.intp), np.zeros((0, 2), np.intp))


def level_boundary(of: Decided, edges: Edges, level: float) -> Boundary:
    """Return where the decision of each output crosses a level.

    Parameters
    ----------
    of, edges : the polygons, and where they meet. level : the decision that is looked for, of every output.

    Notes
    -----
    A polygon that is above on some corner and below on another is crossed. Between two that are not, the boundary is the
    edge itself if it lies on the level and only one of them has a corner above.
    """
    if len(of.start) == 1:
        return no_boundary()
    segments: list[Floats] = []
    polygons: list[Indices] = []
    outputs: list[Indices] = []
    between = edges.polygon.min(axis=1) >= 0
    corner, beside = edges.corner[between], edges.polygon[between]
    for k in range(of.decision.shape[1]):
        value = of.decision[:, k] - level
        side = sides_of(value, of.doubt[k])
        at_ring = side.take(of.ring)
        above = np.maximum.reduceat(at_ring, of.start[:-1]) > 0
        below = np.minimum.reduceat(at_ring, of.start[:-1]) < 0
        crossed = above & below
        inside = _crossings(*taken(of.ring, of.start, crossed), side, value, of.vertex)
        on_edge = (side[corner] == 0).all(axis=1) & (~crossed[beside]).all(axis=1)
        on_edge &= above[beside[:, 0]] != above[beside[:, 1]]
        higher = np.where(above[beside[:, 0]], beside[:, 0], beside[:, 1])
        segments += [inside, of.vertex[corner[on_edge]]]
        polygons += [np.flatnonzero(crossed), higher[on_edge]]
        outputs.append(np.full(len(inside) + int(on_edge.sum()), k, dtype=np.intp))
    output = np.concatenate(outputs)
    return Boundary(np.concatenate(segments), np.concatenate(polygons), np.stack([output, output], axis=1))


def class_boundary(of: Decided) -> Boundary:
    """Return where the class on top, that with the largest decision, changes.

    Notes
    -----
    Each polygon is cut between the class on top in its middle and one that is above it at a corner, until in every piece
    one class is on top at all corners, and so throughout: the differences of decisions are linear there.
    """
    x, d, doubt = of.vertex, of.decision, of.doubt
    ring, start, root = of.ring, of.start, np.arange(len(of.start) - 1)
    done: list[tuple[Indices, Indices, Indices]] = []
    while len(root):
        n = np.diff(start)
        top = summed(d.take(ring, axis=0), start).argmax(axis=1)
        top_here, rival_here = np.repeat(top, n), d.argmax(axis=1).take(ring)
        gap = d[ring, rival_here] - d[ring, top_here] - (doubt[rival_here] + doubt[top_here])
        worst = np.maximum.reduceat(gap, start[:-1])
        place = np.flatnonzero(gap == np.repeat(worst, n))
        rival = np.zeros(len(root), dtype=np.intp)
        rival[np.searchsorted(start, place, side="right") - 1] = rival_here[place]
        value = d[ring, top_here] - d[ring, np.repeat(rival, n)]
        side = sides_of(value, np.repeat(doubt[top] + doubt[rival], n))
        split: Bools = (
            (worst > 0) & (np.maximum.reduceat(side, start[:-1]) > 0) & (np.minimum.reduceat(side, start[:-1]) < 0)
        )
        if split.any():
            split[split] = ~arcs_of(starts_of(n[split]), side[np.repeat(split, n)]).broken()
        done.append((*taken(ring, start, ~split), root[~split]))
        if not split.any():
            break
        chosen = np.repeat(split, n)
        ring, start = taken(ring, start, split)
        cut = cut_polygons(ring, arcs_of(start, side[chosen]), value[chosen], len(x))
        x, d = np.concatenate([x, cut.at_new(x)]), np.concatenate([d, cut.at_new(d)])
        ring, start, root = cut.ring, cut.start, np.repeat(root[split], 2)
    return _between_classes(of, x, d, done)


def _between_classes(of: Decided, x: Floats, d: Floats, done: list[tuple[Indices, Indices, Indices]]) -> Boundary:
    """Return the sides of pieces beyond which another class is on top.

    Parameters
    ----------
    x, d : corners of the pieces, and the decisions there. done : ring and start of pieces, and the polygon each is part of.

    Notes
    -----
    The class of a piece is the first that is on top at all its corners, as nearly as can be told. The piece beyond is
    the one that has the same side; where cuts of one polygon do not meet end to end, that side is told by the two classes that
    tie along it.
    """
    if not done:
        return no_boundary()
    ring, root = np.concatenate([ring for ring, _, _ in done]), np.concatenate([root for _, _, root in done])
    n = np.concatenate([np.diff(start) for _, start, _ in done])
    start = starts_of(n)
    best = d.argmax(axis=1).take(ring)
    close = d[ring] >= d[ring, best][:, None] - of.doubt - of.doubt[best][:, None]
    throughout = np.logical_and.reduceat(close, start[:-1], axis=0)
    owner, after = np.repeat(np.arange(len(root)), n), following(start)
    mine = throughout.argmax(axis=1)[owner]
    key, back = ring * len(x) + ring.take(after), ring.take(after) * len(x) + ring
    order = np.argsort(key)
    place = order[np.minimum(np.searchsorted(key[order], back), len(order) - 1)]
    found = key[place] == back
    beyond = np.where(found, mine[place], -1)
    tied = close & close.take(after, axis=0) & ~throughout[owner]
    ends = x[np.stack([ring, ring.take(after)], axis=1)]
    inner = ~found & ~(((ends == of.box[:, 0]) | (ends == of.box[:, 1])).all(axis=1)).any(axis=1)
    segment, polygon, between = [np.zeros((0, 2, 2))], [np.zeros(0, np.intp)], [np.zeros((0, 2), np.intp)]
    for k in range(1, d.shape[1]):
        at = np.flatnonzero((mine < k) & ((beyond == k) | (inner & tied[:, k])))
        segment.append(ends[at])
        polygon.append(root[owner[at]])
        between.append(np.stack([mine[at], np.full(len(at), k)], axis=1))
    return Boundary(np.concatenate(segment), np.concatenate(polygon), np.concatenate(between))


def _crossings(ring: Indices, start: Indices, side: Sides, value: Floats, x: Floats) -> Floats:
    """Return where the line on which a value is 0 enters and leaves each polygon (F, 2, 2)."""
    if len(ring) == 0:
        return np.zeros((0, 2, 2))
    arcs = arcs_of(start, side.take(ring))
    broken = arcs.broken()
    out = np.zeros((len(start) - 1, 2, 2))
    whole, whole_start = taken(ring, start, ~broken)
    cut = cut_polygons(whole, arcs_of(whole_start, side.take(whole)), value.take(whole), len(x))
    out[~broken] = np.concatenate([x, cut.at_new(x)])[np.stack([cut.enter, cut.leave], axis=1)]
    for f in np.flatnonzero(broken):  # rounding has bent the polygon: the two crossings that are farthest apart
        change = arcs.change[(arcs.change >= start[f]) & (arcs.change < start[f + 1])]
        a, b = ring[change], ring[arcs.after[change]]
        share = np.abs(value[a]) / (np.abs(value[a]) + np.abs(value[b]))
        at = x[a] + share[:, None] * (x[b] - x[a])
        apart = np.hypot(*(at[:, None] - at[None]).transpose(2, 0, 1))
        out[f] = at[list(divmod(int(apart.argmax()), len(at)))]
    return out
