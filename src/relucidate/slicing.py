"""A network on a plane: every activation region as a true polygon, and the lines on which the decision changes.

`relucidate.cutting` splits the box into polygons. Here they are put in order, their patterns are held against exact arithmetic,
and their rows are counted; `Slice2D` is what comes of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from relucidate.boundaries import Boundary, Decided, Edges, class_boundary, edges_of, level_boundary, no_boundary
from relucidate.cutting import TOLERANCE, Cutter, Indices, Part, areas, as_one, bits_of, starts_of, summed, taken
from relucidate.displaying import in_notebook
from relucidate.errors import ArgumentError, clipped, shown
from relucidate.facets import neurons_in_words, switches_of
from relucidate.grouping import Codes, PatternIndex
from relucidate.layers import Bools, Floats
from relucidate.network import Network, Patterns
from relucidate.planes import Plane, box_of, plane_of
from relucidate.unwrapping import Unwrapped

if TYPE_CHECKING:
    import pandas as pd

_BIT_CELLS = 2**24  # bits of patterns that are compared at once
_ROWS = 2000  # rows kept for a picture
_CLOSE = 1 - 2.0**-10  # of the way from the witness to a corner
_NEGLIGIBLE = 0.005  # of the larger term of an equation, below which the other is not written out


class Stopped(Enum):
    """Why an enumeration ended, with what to do about it."""

    COMPLETE = ""
    BUDGET = "The budget was reached: raise `budget` or shrink the box."
    UNDECIDED = "Some polygons are narrower than float64 can tell: see `undecided`, and shrink the box around them."


# ---------------------------------------------------------------- what is found


@dataclass(frozen=True)
class Facet:
    """One side of a polygon.

    Parameters
    ----------
    ends : its two ends, in coordinates of the plane, with the polygon to the left. neighbour : the polygon beyond; -1 for none.
    switches : (hidden layer, neuron, whether it is above its breakpoint beyond) of each that switches there; () at the edge
        of the box.
    name : of the neurons, as "neuron 3 of dense 0". words : the side of it that the polygon is on, in units of the two axes.
    """

    ends: tuple[tuple[float, float], tuple[float, float]]
    neighbour: int
    switches: tuple[tuple[int, int, bool], ...]
    name: str
    words: str


@dataclass(frozen=True, eq=False)
class LocalLines:
    """The lines on which local linear models, each by itself, change their decision.

    Parameters
    ----------
    polygon : (L,) whose local linear model. segment : (L, 2, 2) its line within the box. count : (L,) rows of its region.
    n_models : how many were asked about; the lines of the others miss the box.
    """

    polygon: Indices
    segment: Floats
    count: NDArray[np.int64]
    n_models: int


@dataclass(frozen=True, eq=False)
class Dots:
    """Rows for a picture of a plane.

    Parameters
    ----------
    at : (n, 2) coordinates, projected where rows lie off the plane; in random order, so that the first of them are a sample.
    label : (n,) class, None without classes. n_rows : of the table; fewer are here if it has more than 2,000.
    """

    at: Floats
    label: NDArray[np.int64] | None
    n_rows: int


@dataclass(frozen=True, eq=False)
class Slice2D:
    """The activation regions of a network on a plane, largest first.

    Parameters
    ----------
    network, plane : what was cut, and by what. box : (2, 2) lowest and highest of either coordinate.
    vertex : (V, 2) corners, each once. ring : corners of all polygons, counterclockwise, one polygon after the other.
    start : (F + 1,) where each polygon begins in `ring`.
    patterns : (F,) activation pattern of each. witness : (F, 2) a point inside. area : (F,) in units of the two axes.
    vertex_decision : (V, n_outputs) of the network. decision : (F, n_outputs) at the witness.
    level : decision at which the boundary lies: 0 for a logit, what was asked for a regression, None for softmax.
    undecided : (F,) whether exact arithmetic at the witness does not confirm what the corners say: too narrow to tell.
    region : (F,) region of the table, -1 where no row has the pattern; None without a table. count : (F,) rows of it.
    dots : rows of the table, None without one.
    rest, rest_start : corners (n, 2) and beginnings of polygons that the budget left unfinished.
    stopped : COMPLETE, or why not, with the remedy as its value.
    doubt : (n_outputs,) what is nearer to a threshold counts as on it.
    """

    network: Network
    plane: Plane
    box: Floats
    vertex: Floats
    ring: Indices
    start: Indices
    patterns: Patterns
    witness: Floats
    area: Floats
    vertex_decision: Floats
    decision: Floats
    level: float | None
    undecided: Bools
    region: Codes | None
    count: NDArray[np.int64] | None
    dots: Dots | None
    rest: Floats
    rest_start: Indices
    stopped: Stopped
    doubt: Floats

    def __len__(self) -> int:
        return len(self.area)

    def polygon(self, i: int) -> Floats:
        """Return the corners (n, 2) of one polygon, counterclockwise."""
        if not -len(self) <= i < len(self):
            raise ArgumentError(f"There is no polygon {i}: there are {len(self):,}.")
        i = i % len(self)
        return self.vertex[self.ring[self.start[i] : self.start[i + 1]]]

    @property
    def n_corners(self) -> Indices:
        """Corners of each polygon (F,)."""
        return np.diff(self.start)

    @property
    def share(self) -> Floats:
        """Share of the box that each polygon takes (F,)."""
        return self.area / float(np.prod(np.diff(self.box, axis=1)))

    @cached_property
    def prediction(self) -> Floats:
        """Prediction at the witness of each polygon (F, n_outputs)."""
        return self.network.inverse_link(self.decision)

    # ---------------------------------------------------------------- maps

    @cached_property
    def _maps(self) -> tuple[Floats, Floats]:
        slope, intercept = (
            np.empty((len(self), self.network.n_outputs, 2)),
            np.empty((len(self), self.network.n_outputs)),
        )
        for rows, coef, constant in self.network.map_blocks(self.patterns):
            slope[rows] = coef @ self.plane.basis
            intercept[rows] = coef @ self.plane.origin + constant
        return slope, intercept

    @property
    def slope(self) -> Floats:
        """Change of the decision per unit of either coordinate (F, n_outputs, 2)."""
        return self._maps[0]

    @property
    def intercept(self) -> Floats:
        """Decision of each local linear model at coordinates (0, 0), (F, n_outputs)."""
        return self._maps[1]

    # ---------------------------------------------------------------- what bounds what

    @cached_property
    def edges(self) -> Edges:
        """Every side of a polygon, once."""
        return edges_of(self.ring, self.start, len(self.vertex))

    @cached_property
    def ties(self) -> int:
        """Corners at which more than two lines meet: whatever lies between them there is smaller than can be told."""
        meeting = np.bincount(self.ring, minlength=len(self.vertex))
        at_box = (self.vertex == self.box[:, 0]) | (self.vertex == self.box[:, 1])
        usual = np.array([4, 2, 1])[at_box.sum(axis=1)]
        return int((meeting > usual).sum())

    def lines(self, i: int) -> tuple[Floats, Floats]:
        """Return where neurons would switch if the local linear model of one polygon held everywhere.

        Returns
        -------
        normal (n_bits, 2) and constant (n_bits,): the line of a neuron and breakpoint is where ``normal @ (s, t) + constant``
        is 0; above it the bit is on.
        """
        normal, constant = [np.zeros((0, 2))], [np.zeros(0)]
        for layer, (v, c) in zip(self.network.hidden, self.network.preactivation_maps(self.patterns[[i]]), strict=True):
            neuron, k = layer.activation.switches
            normal.append((v @ self.plane.basis)[neuron])
            constant.append((v @ self.plane.origin + c)[neuron] - layer.activation.breakpoints[neuron, k])
        return np.concatenate(normal), np.concatenate(constant)

    def facets(self, i: int, names: Sequence[str] | None = None) -> tuple[Facet, ...]:
        """Return the sides of one polygon, counterclockwise, each with the neurons that switch there.

        Parameters
        ----------
        i : number of the polygon. names : what to call the two axes, if not by their labels.

        Notes
        -----
        Words give the equation of the first of them, from its weights, in units of the two axes, its larger term with the
        coefficient 1.
        """
        corners = self.polygon(i)
        i = i % len(self)
        normal, constant = self.lines(i)
        on = self.patterns[[i]].bits()[0]
        layer, neuron, _ = switches_of(self.network)
        names, width = names or self.plane.labels, np.diff(self.box, axis=1)[:, 0]
        out = []
        for here, there, beyond in zip(corners, np.roll(corners, -1, axis=0), self._beyond(i), strict=True):
            bits = np.flatnonzero(on != self.patterns[[beyond]].bits()[0]) if beyond >= 0 else np.zeros(0, np.intp)
            found = tuple((int(layer[b]), int(neuron[b]), not on[b]) for b in bits)
            words = [_inequality(normal[b], constant[b], bool(on[b]), names, width) for b in bits]
            ends = ((float(here[0]), float(here[1])), (float(there[0]), float(there[1])))
            name = neurons_in_words(self.network, [at[:2] for at in found]) if beyond >= 0 else "edge of the box"
            out.append(Facet(ends, int(beyond), found, name, next((w for w in words if w), "")))
        return tuple(out)

    def _beyond(self, i: int) -> list[int]:
        """Return the polygon beyond each side of one polygon, -1 for none."""
        ring = self.ring[self.start[i] : self.start[i + 1]]
        edges = self.edges
        mine = np.flatnonzero((edges.polygon == i).any(axis=1))
        beyond = {frozenset(map(int, edges.corner[e])): int(edges.polygon[e].sum() - i) for e in mine}
        return [beyond[frozenset((int(a), int(b)))] for a, b in zip(ring, np.roll(ring, -1), strict=True)]

    @cached_property
    def boundary(self) -> Boundary:
        """Where the decision changes: at its level, or for a softmax network where the class on top does.

        Notes
        -----
        Ends are on the sides of polygons, and the same for both polygons at a side. A decision that only touches its level
        makes no boundary. Classes that tie over a whole polygon make none inside.
        """
        decided = Decided(self.vertex, self.ring, self.start, self.vertex_decision, self.doubt, self.box)
        if self.network.link == "softmax":
            return class_boundary(decided)
        if self.level is None:
            return no_boundary()
        return level_boundary(decided, self.edges, self.level)

    # ---------------------------------------------------------------- asking

    def locate(self, points: ArrayLike) -> Indices:
        """Return the polygon of each point (n,): of those found, the one whose pattern it has.

        Parameters
        ----------
        points : (n, 2) in coordinates of the plane.

        Returns
        -------
        (n,) polygon; -1 outside the box, and where the budget ended.
        """
        at = np.asarray(points, dtype=np.float64)
        if at.ndim != 2 or at.shape[1] != 2 or not np.isfinite(at).all():
            raise ArgumentError(f"points has shape {at.shape}; expected finite coordinates (n, 2) on the plane.")
        out = self._of_patterns(self.network.trace(self.plane.lift(at)).patterns)
        out[((at < self.box[:, 0]) | (at > self.box[:, 1])).any(axis=1)] = -1
        return out

    def _of_patterns(self, patterns: Patterns) -> Indices:
        index, polygon = self._lookup
        return polygon[index.find(patterns.packed)]

    @cached_property
    def _lookup(self) -> tuple[PatternIndex, Indices]:
        index = PatternIndex(self.patterns.packed.shape[1])
        number = index.add(self.patterns.packed)
        polygon = np.full(len(index) + 1, -1, dtype=np.intp)
        polygon[number[::-1]] = np.arange(len(self))[::-1]  # of two that could not be told apart, the larger
        return index, polygon

    def local_lines(self, rows: Any = None, output: str | int = 0) -> LocalLines:
        """Return where local linear models, each by itself, change their decision.

        Parameters
        ----------
        rows : table or array whose regions are meant, see `Features.encode`; by default the polygons that hold rows of the
            table that was cut, without one all.
        output : which decision, by name or position; without meaning for a softmax network, where the line is that between
            the two classes that are on top at the witness.

        Raises
        ------
        ArgumentError : a regression that was cut without a level has no such lines.
        """
        if rows is not None:
            polygon = self._of_patterns(self.network.patterns(rows))
            count = np.bincount(polygon[polygon >= 0], minlength=len(self)).astype(np.int64)
        else:
            count = np.zeros(len(self), dtype=np.int64) if self.count is None else self.count
        models = np.flatnonzero(count > 0) if rows is not None or self.count is not None else np.arange(len(self))
        if self.network.link == "softmax":
            order = np.argsort(-self.decision[models], axis=1, kind="stable")[:, :2]
            pick = (models[:, None], order)
            normal = self.slope[pick][:, 0] - self.slope[pick][:, 1]
            constant = self.intercept[pick][:, 0] - self.intercept[pick][:, 1]
        else:
            k = self.network.output_index(output)
            if self.level is None:
                raise ArgumentError("This network decides nothing at a level: call slice2d with a `level`.")
            normal, constant = self.slope[models, k], self.intercept[models, k] - self.level
        segment, hit = clipped_lines(normal, constant, self.box)
        return LocalLines(models[hit], segment[hit], count[models[hit]], len(models))

    # ---------------------------------------------------------------- tables and words

    _repr_html_ = in_notebook

    def to_frame(self) -> pd.DataFrame:
        """Return one row per polygon, largest first.

        Returns
        -------
        pandas.DataFrame with ``pattern`` (short id), ``corners``, ``area``, ``area_share``, ``witness: …`` of the two axes,
        ``decision`` there, ``slope: …`` per unit of either axis, ``intercept``, ``undecided``, and with a table ``region``
        and ``count``. With several outputs, names end in ``[output]``.
        """
        import pandas as pd

        net = self.network
        columns: dict[str, Any] = {"polygon": np.arange(len(self)), "pattern": self.patterns.ids()}
        if self.region is not None:
            columns |= {"region": self.region, "count": self.count}
        columns |= {"corners": self.n_corners, "area": self.area, "area_share": self.share}
        for axis, label in enumerate(self.plane.labels):
            columns[f"witness: {label}"] = self.witness[:, axis]
        for k, name in enumerate(net.outputs):
            suffix = f"[{name}]" if net.n_outputs > 1 else ""
            columns[f"decision{suffix}"] = self.decision[:, k]
            columns |= {f"slope: {label}{suffix}": self.slope[:, k, a] for a, label in enumerate(self.plane.labels)}
            columns[f"intercept{suffix}"] = self.intercept[:, k]
        columns["undecided"] = self.undecided
        return pd.DataFrame(columns).set_index("polygon")

    def summary(self) -> list[str]:
        """Return what matters most, a sentence a line."""
        n, thin = len(self), int(self.undecided.sum())
        lines = [f"{n:,} activation region{'s' * (n != 1)} on {self.share.sum():.1%} of the box"]
        if self.count is not None:
            seen = self.count > 0
            lines.append(
                f"{int(seen.sum()):,} of them, {self.share[seen].sum():.1%} of the box, hold rows of the table"
            )
        if len(self.rest_start) > 1:
            lines.append(f"{len(self.rest_start) - 1:,} polygons are unfinished. {Stopped.BUDGET.value}")
        if thin:
            lines.append(
                f"{thin:,} polygons, {self.share[self.undecided].sum():.1e} of the box, are too narrow to be decided: "
                f"{shown(np.flatnonzero(self.undecided).tolist(), 6)}"
            )
        if self.ties:
            corners = "1 corner is" if self.ties == 1 else f"{self.ties:,} corners are"
            lines.append(f"{corners} shared by more than two lines, as nearly as float64 can tell")
        return lines

    def __repr__(self) -> str:
        return "\n".join(self.summary())


def _number(value: float) -> str:
    size = abs(value)
    if 1e-3 <= size < 1e4 or value == 0:
        return f"{value:,.4g}"
    return f"{value:,.0f}" if 1e4 <= size < 1e15 else f"{value:.3g}"


def _inequality(normal: Floats, constant: float, on: bool, names: Sequence[str], width: Floats) -> str:
    """Return on which side of ``normal @ x + constant == 0`` a polygon is, in words."""
    size = np.abs(normal) * width
    first = int(size.argmax())
    if not size[first] > 0:
        return ""
    factor = normal / normal[first]
    above = on == (normal[first] > 0)
    said = names[first]
    other = 1 - first
    if size[other] >= _NEGLIGIBLE * size[first]:
        said += f" {'−' if factor[other] < 0 else '+'} {abs(factor[other]):.3g} {names[other]}"
    return f"{said} {'≥' if above else '≤'} {_number(float(-constant / normal[first]))}"


def clipped_lines(normal: Floats, constant: Floats, box: Floats) -> tuple[Floats, Bools]:
    """Return the part of each line ``normal @ x + constant == 0`` that lies in a box (2, 2).

    Returns
    -------
    (n, 2, 2) ends, and (n,) whether there is such a part.
    """
    n = len(normal)
    centre, half = box.mean(axis=1), np.diff(box, axis=1)[:, 0] / 2
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        a = normal * half  # in units in which the box reaches from -1 to 1
        c = normal @ centre + constant
        length = np.hypot(a[:, 0], a[:, 1])
        a, c = a / length[:, None], c / length
        foot = -c[:, None] * a
        along = np.stack([-a[:, 1], a[:, 0]], axis=1)
        one, other = (-1 - foot) / along, (1 - foot) / along
        parallel = along == 0
        outside = (parallel & (np.abs(foot) > 1)).any(axis=1)
        low = np.where(parallel, -np.inf, np.minimum(one, other)).max(axis=1, initial=-np.inf)
        high = np.where(parallel, np.inf, np.maximum(one, other)).min(axis=1, initial=np.inf)
        hit = np.isfinite(low) & np.isfinite(high) & (low < high) & ~outside
        ends = foot[:, None] + np.stack([low, high], axis=1)[:, :, None] * along[:, None]
    ends = np.where(hit[:, None, None], np.clip(ends, -1, 1), 0.0)
    return ends.reshape(n, 2, 2) * half + centre, hit


# ---------------------------------------------------------------- cutting


def slice2d(
    net_or_u: Network | Unwrapped,
    plane: Any = None,
    box: Any = None,
    *,
    at: Any = None,
    level: float | None = None,
    budget: int = 100_000,
    tolerance: float = TOLERANCE,
    progress: Callable[[int, float], None] | None = None,
) -> Slice2D:
    """Return the activation regions of a network on a plane, as polygons.

    Parameters
    ----------
    net_or_u : a network, or a table unwrapped: then regions know their rows.
    plane : a `Plane`; two features by name or position; or vectors (origin, u, v) of encoded features. By default the two
        features of a network that has two; of more, the first two principal components of the table.
    box : ((low, high), (low, high)) of the two coordinates, or one (low, high) for both. By default the range of the table's
        rows with a margin of 5 %.
    at : where two features are named, the row at which the others are held; by default the mean row of the table.
    level : decision at which the boundary is drawn; by default 0 for a logit, none for a regression.
    budget : largest number of polygons, finished or waiting to be split.
    tolerance : what is nearer to a breakpoint than so many times the rounding error that a preactivation is expected to have
        counts as on it. Less makes needles of lines that meet in a point; more swallows needles that are there.
    progress : called with the number of polygons finished and the share of the box that they take.

    Raises
    ------
    ArgumentError : the plane or the box does not fit, or is missing.
    NumericalOverflowError : the network leaves the range of float64 in the box.

    Notes
    -----
    A bit is on iff the preactivation is above the breakpoint, as in `Network.patterns`. Every polygon has a witness, the mean
    of its corners, whose pattern is then decided in exact arithmetic; where it is not the pattern that the corners say, the
    polygon is marked as undecided and not left out. Polygons fill the box without gaps, so their areas add up to its own. Regions
    narrower than the tolerance, about 1e-13 of the box in shallow networks, are merged with a neighbour; they can only be where
    lines seem to meet in a point or to coincide, see `Slice2D.ties`.
    Time and memory grow with polygons × neurons of a layer; the largest layer is held for a part of the polygons at a time.
    """
    u = net_or_u if isinstance(net_or_u, Unwrapped) else None
    net: Any = net_or_u if u is None else u.network
    if not isinstance(net, Network):
        raise ArgumentError(
            f"slice2d takes a Network or an Unwrapped, got a {type(net).__name__}. Load the model first."
        )
    net = net.identified
    u = None if u is None else u.identified
    if not budget >= 1:
        raise ArgumentError(f"budget is {clipped(budget)}; expected a whole number of polygons, at least 1.")
    if not (np.isfinite(tolerance) and tolerance >= 1):
        raise ArgumentError(f"tolerance is {clipped(tolerance)}; expected a number of rounding errors, at least 1.")
    level = _level(net, level)
    chosen = plane_of(net, u, plane, at)
    cutter = Cutter(net, chosen, box_of(chosen, u, box), int(budget), float(tolerance), progress)
    whole, rest = cutter.run()
    return _result(cutter, whole, rest, u, level)


def _level(net: Network, level: float | None) -> float | None:
    if level is None:
        return 0.0 if net.link == "logit" else None
    if net.link == "softmax":
        raise ArgumentError(
            "A softmax network has no level: its boundary is where the class on top changes. Leave `level` out."
        )
    if not np.isfinite(level):
        raise ArgumentError(f"level is {clipped(level)}; expected a finite decision.")
    return float(level)


# ---------------------------------------------------------------- the result


def _result(
    cutter: Cutter, finished: list[tuple[Part, Floats]], rest: list[Part], u: Unwrapped | None, level: float | None
) -> Slice2D:
    """Return what was found, largest first, each corner once, with every pattern checked."""
    net, plane, half = cutter.net, cutter.plane, cutter.half
    part, decision = as_one(net, finished)
    area = areas(part.x, part.ring, part.start)
    order = np.argsort(-area, kind="stable")
    ring, start = taken(part.ring, part.start, order)
    on, off = (tuple(words[order] for words in layers) for layers in (part.on, part.off))
    part = replace(part, ring=ring, start=start, on=on, off=off)
    middle = summed(part.x.take(ring, axis=0), start) / np.diff(start)[:, None]
    vertex, witness = cutter.plane_points(part.x), cutter.plane_points(middle)
    trace = net.trace(plane.lift(witness))
    patterns, undecided = _confirmed(net, plane, part, vertex, witness, trace.patterns)
    region = None if u is None else u.regions_of_patterns(patterns)
    count = None
    if u is not None and region is not None:
        count = np.where(region >= 0, u.count[np.maximum(region, 0)], 0)
    left = [(cutter.plane_points(p.x)[p.ring], np.diff(p.start)) for p in rest]
    stopped = Stopped.BUDGET if rest else Stopped.UNDECIDED if undecided.any() else Stopped.COMPLETE
    return Slice2D(
        network=net,
        plane=plane,
        box=cutter.box,
        vertex=vertex,
        ring=ring,
        start=start,
        patterns=patterns,
        witness=witness,
        area=area[order] * float(half[0] * half[1]),
        vertex_decision=decision,
        decision=trace.decision,
        level=level,
        undecided=undecided,
        region=region,
        count=count,
        dots=None if u is None else _dots(u, plane),
        rest=np.concatenate([np.zeros((0, 2)), *(corners for corners, _ in left)]),
        rest_start=starts_of(np.concatenate([np.zeros(0, np.intp), *(sizes for _, sizes in left)])),
        stopped=stopped,
        doubt=cutter.doubt[-1],
    )


def _confirmed(
    net: Network, plane: Plane, part: Part, vertex: Floats, witness: Floats, exact: Patterns
) -> tuple[Patterns, Bools]:
    """Return the patterns of polygons, and which of them (F,) exact arithmetic does not confirm.

    Parameters
    ----------
    vertex : (V, 2) corners on the plane. witness : (F, 2) points inside the polygons. exact : patterns of these.

    Notes
    -----
    A neuron that is above on some corner and below on none must be on at the witness, and the other way round. One that is on
    its breakpoint, as nearly as can be told, on all of the polygon must have one and the same exact side at the witness
    and close to every corner: a corner itself may lie beyond by rounding.
    """
    F = len(exact)
    packed, undecided = exact.packed.copy(), np.zeros(F, dtype=bool)
    widths = [layer.activation.n_bits for layer in net.hidden]
    step = max(1, _BIT_CELLS // max(net.n_bits, 1))
    flat = np.zeros_like(packed)
    for first in range(0, F if net.n_bits else 0, step):
        rows = slice(first, first + step)
        above, below = (
            np.concatenate([bits_of(words[rows], n) for words, n in zip(layers, widths, strict=True)], axis=1)
            for layers in (part.on, part.off)
        )
        bits = exact[rows].bits()
        undecided[rows] = ((above & below) | (above & ~bits) | (below & bits)).any(axis=1)
        clear = above ^ below
        packed[rows] = np.packbits(np.where(clear, above, bits), axis=1)
        flat[rows] = np.packbits(~(above | below), axis=1)
    doubtful = np.flatnonzero(flat.any(axis=1))
    if len(doubtful):
        ring, start = taken(part.ring, part.start, doubtful)
        middle = np.repeat(witness[doubtful], np.diff(start), axis=0)
        corner = net.trace(plane.lift(middle + _CLOSE * (vertex[ring] - middle))).patterns.packed
        some, all_on = np.bitwise_or.reduceat(corner, start[:-1]), np.bitwise_and.reduceat(corner, start[:-1])
        mixed = ((some ^ all_on) | (some ^ packed[doubtful])) & flat[doubtful]
        undecided[doubtful] |= mixed.any(axis=1)
    return Patterns(packed, net.n_bits), undecided


def _dots(u: Unwrapped, plane: Plane) -> Dots:
    s = u.sample
    rows = np.random.default_rng(0).permutation(len(s.row))[:_ROWS]
    single = u.has_y and u.network.is_classifier and (u.network.n_outputs == 1 or u.network.link == "softmax")
    return Dots(plane.coordinates(s.x[rows]), s.label[rows] if single else None, s.n)
