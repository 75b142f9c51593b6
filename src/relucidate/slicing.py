"""A network on a plane: every activation region as a true polygon, and the lines on which the decision changes.

Convex polygons are split layer by layer. Within a polygon every preactivation of the next layer is linear, so that its
values at the corners say whether its neuron switches inside; where it does, the line between the two crossings splits the
polygon. Each polygon takes the lowest of the neurons that cross it, all polygons at once, until none is crossed. That takes
fewer rounds than there are neurons, some 25 for the first layer of a hundred, since a part inherits only what crosses it.

The values belong to the corners, and a crossing is computed from the end where the preactivation is negative to the end
where it is positive: polygons on either side of an edge get the same numbers to the last bit, and so does every order in which
polygons are taken. The idea of splitting cell by cell is that of Berzins 2023 (edge subdivision) and Humayun et al. 2023
(SplineCam); values at corners in place of composed maps, and rounds in place of neurons, are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from relucidate.errors import ArgumentError, NumericalOverflowError, clipped, shown
from relucidate.exact import U
from relucidate.features import is_table
from relucidate.grouping import Codes, PatternIndex
from relucidate.layers import Bools, Floats, Layer, is_sparse
from relucidate.network import Network, Patterns
from relucidate.products import one_thread
from relucidate.unwrapping import Unwrapped

if TYPE_CHECKING:
    import pandas as pd

Indices = NDArray[np.intp]
Words = NDArray[np.uint64]

TOLERANCE = 2.0**10  # times the rounding error to be expected of a preactivation: what is nearer to 0 counts as 0
_CELLS = 2**19  # preactivations at the corners of the polygons that are split at once
_BIT_CELLS = 2**24  # bits of patterns that are compared at once
_MARGIN = 0.05  # of the rows' range, around it
_ROWS = 2000  # rows kept for a picture
_ROW_TILE = 64  # products of a multiple of so many rows have the same bits for a row whatever the others
_GROWTH = 64  # times as many polygons may come of a piece: it is so small that they stay within the budget
_CLOSE = 1 - 2.0**-10  # of the way from the witness to a corner
_NEGLIGIBLE = 0.005  # of the larger term of an equation, below which the other is not written out


class Stopped(Enum):
    """Why an enumeration ended, with what to do about it."""

    COMPLETE = ""
    BUDGET = "The budget was reached: raise `budget` or shrink the box."
    UNDECIDED = "Some polygons are narrower than float64 can tell: see `undecided`, and shrink the box around them."


# ---------------------------------------------------------------- planes


@dataclass(frozen=True, eq=False)
class Plane:
    """A plane in the space of features: the point with coordinates (s, t) is ``origin + s u + t v``.

    Parameters
    ----------
    origin, u, v : (n_features,) encoded, in the units of the features.
    labels : what the two coordinates are.
    features : positions of the two features that are the coordinates; None for any other plane.
    same_unit : whether both coordinates have one unit, so that a picture may show angles and lengths as they are.
    projection : (2, n_features), from ``x - origin`` to coordinates; by default the nearest point of the plane.
    note : what a picture must say of the plane: at which values the other features are held.
    box : (2, 2) what to look at if nothing else is asked for: lowest and highest s, lowest and highest t.

    Raises
    ------
    ArgumentError : the vectors are not three of one length, not finite, or u and v do not span a plane.
    """

    origin: Floats
    u: Floats
    v: Floats
    labels: tuple[str, str] = ("s", "t")
    features: tuple[int, int] | None = None
    same_unit: bool = False
    projection: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    note: str = ""
    box: Floats | None = None

    def __post_init__(self) -> None:
        for name in ("origin", "u", "v"):
            object.__setattr__(self, name, _vector(getattr(self, name), name))
        if not len(self.origin) == len(self.u) == len(self.v):
            raise ArgumentError(
                f"A plane takes three vectors of one length; got {len(self.origin)}, {len(self.u)} and {len(self.v)} numbers."
            )
        size = np.hypot(self.u, self.v)
        scaled = np.stack([self.u, self.v]) / np.where(size > 0, size, 1.0)
        if np.linalg.matrix_rank(scaled) < 2:
            raise ArgumentError("The directions u and v are parallel or zero; two different directions span a plane.")
        if self.projection.size == 0:
            object.__setattr__(self, "projection", np.linalg.pinv(self.basis))

    @property
    def basis(self) -> Floats:
        """The two directions as columns (n_features, 2)."""
        return np.stack([self.u, self.v], axis=1)

    def lift(self, points: ArrayLike) -> Floats:
        """Return the features (n, n_features) of points (n, 2) of the plane."""
        at = np.asarray(points, dtype=np.float64).reshape(-1, 2)
        return self.origin + at[:, :1] * self.u + at[:, 1:] * self.v

    def coordinates(self, x: Floats) -> Floats:
        """Return the coordinates (n, 2) of encoded rows (n, n_features), projected on the plane."""
        return (x - self.origin) @ self.projection.T

    @staticmethod
    def through(points: ArrayLike) -> Plane:
        """Return the plane through three points (3, n_features): the first is (0, 0), the others (1, 0) and (0, 1).

        Raises
        ------
        ArgumentError : there are not three points, or they lie on one line.
        """
        at = np.asarray(points, dtype=np.float64)
        if at.ndim != 2 or len(at) != 3:
            raise ArgumentError(f"A plane goes through three points (3, n_features); got an array of shape {at.shape}.")
        labels = ("towards the second point", "towards the third point")
        return Plane(
            at[0], at[1] - at[0], at[2] - at[0], labels, note="a plane through three points", box=_square(-0.25, 1.25)
        )

    @staticmethod
    def of_features(net: Network | Unwrapped, a: str | int, b: str | int, at: Any = None) -> Plane:
        """Return the plane of two features, with the others held fixed.

        Parameters
        ----------
        net : the network, or a table unwrapped.
        a, b : name or position of a feature.
        at : where the others are held: an encoded row (n_features,), or a table with one row; by default the mean row.

        Raises
        ------
        ArgumentError : a feature is unknown or has several indicators, the two are one, or there is nothing to hold the
            others at.
        """
        u, net = (net, net.network) if isinstance(net, Unwrapped) else (None, net)
        i, j = _feature(net, a), _feature(net, b)
        if i == j:
            raise ArgumentError(f"A plane needs two features; both are {clipped(net.feature_names[i])}.")
        others = net.n_features > 2
        if at is not None and not isinstance(at, str):
            origin, held = _row(net, at), "the row given"
        elif at not in (None, "mean"):
            raise ArgumentError(f"at is {clipped(at)}; expected a row of features, or 'mean'.")
        elif u is not None:
            origin, held = u.sample.mean.copy(), f"their means{u.sample.caveat}"
        elif others:
            raise ArgumentError(
                f"The other {net.n_features - 2} features must be held somewhere: give a row as `at`, or an unwrapped table in "
                "place of the network for its mean row."
            )
        else:
            origin, held = np.zeros(net.n_features), ""
        origin[[i, j]] = 0.0
        axes = np.zeros((2, net.n_features))
        axes[[0, 1], [i, j]] = 1.0
        return Plane(
            origin,
            axes[0],
            axes[1],
            (net.feature_names[i], net.feature_names[j]),
            (i, j),
            not net.features.named,
            projection=axes,
            note=f"the other {net.n_features - 2} features are held at {held}" if others else "",
        )

    @staticmethod
    def principal(u: Unwrapped) -> Plane:
        """Return the plane of the first two principal components of the standardised rows, through their mean.

        Raises
        ------
        ArgumentError : fewer than two directions vary.

        Notes
        -----
        Coordinates are sums of standardised features with weights of length 1; the largest weight is positive. Labels give
        the share of the variance. Rows count by their weights.
        """
        s = u.sample
        sd = np.where(s.sd > 0, s.sd, 1.0)
        w = np.sqrt(s.weights / s.weights.sum())
        z = (s.x - s.mean) / sd * w[:, None]
        variance, vectors = np.linalg.eigh(z.T @ z)
        if len(variance) < 2 or not variance[-2] > 1e-12 * variance.sum():
            raise ArgumentError("The rows vary in fewer than two directions, so that they have no plane. Give one.")
        loading = vectors[:, [-1, -2]].T
        loading = loading * np.sign(loading[[0, 1], np.abs(loading).argmax(axis=1)])[:, None]
        share = variance[[-1, -2]] / variance.sum()
        labels = [f"principal component {i} ({p:.0%})" for i, p in enumerate(share, 1)]
        said = [f"component {i}: {_loadings(row, u.network)}" for i, row in enumerate(loading, 1)]
        return Plane(
            s.mean,
            loading[0] * sd,
            loading[1] * sd,
            (labels[0], labels[1]),
            same_unit=True,
            projection=loading / sd,
            note=f"through the mean row{s.caveat}; {'; '.join(said)}",
        )


def _square(low: float, high: float) -> Floats:
    return np.array([[low, high], [low, high]])


def _vector(values: Any, name: str) -> Floats:
    array = np.array(values, dtype=np.float64)
    if array.ndim != 1 or not np.isfinite(array).all():
        raise ArgumentError(f"{name} is {clipped(values)}; expected a vector of finite numbers, one per feature.")
    return array


def _feature(net: Network, feature: str | int) -> int:
    name, indices = net.features.find(feature)
    if len(indices) > 1:
        names = [net.feature_names[i] for i in indices]
        raise ArgumentError(f"{clipped(name)} has {len(indices)} indicators; name one of them: {shown(names, 12)}.")
    return indices[0]


def _row(net: Network, at: Any) -> Floats:
    if is_table(at):
        x = net.features.encode(at)
        if len(x) != 1:
            raise ArgumentError(f"at is a table of {len(x):,} rows; give one row.")
        return x[0].copy()
    row = _vector(np.asarray(at, dtype=np.float64).reshape(-1), "at")
    if len(row) != net.n_features:
        raise ArgumentError(f"at has {len(row)} numbers; the network takes {net.n_features} features.")
    return row


def _loadings(weights: Floats, net: Network, most: int = 2) -> str:
    order = np.argsort(-np.abs(weights), kind="stable")[:most]
    told = [i for i in order if abs(weights[i]) >= 0.1]
    rest = int((np.abs(np.delete(weights, told)) > 1e-12).sum())
    said = " ".join(f"{'−' if weights[i] < 0 else '+'} {abs(weights[i]):.2f} {net.feature_names[i]}" for i in told)
    return said.removeprefix("+ ") + (f" and {rest} smaller" if rest else "")


# ---------------------------------------------------------------- what is found


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
        after = self.ring.take(_next(self.start))
        low, high = np.minimum(self.ring, after), np.maximum(self.ring, after)
        order = np.argsort(low * len(self.vertex) + high, kind="stable")
        a, b = low[order], high[order]
        first = np.ones(len(order), dtype=bool)
        first[1:] = (a[1:] != a[:-1]) | (b[1:] != b[:-1])
        owner = np.repeat(np.arange(len(self)), self.n_corners)
        number = np.empty(len(order), dtype=np.intp)
        number[order] = np.cumsum(first) - 1
        out = np.full((int(first.sum()), 2), -1, dtype=np.intp)
        out[number, (self.ring > after).astype(np.intp)] = owner
        return Edges(np.stack([a[first], b[first]], axis=1), out)

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
        layer, neuron, _ = _switches(self.network)
        names, width = names or self.plane.labels, np.diff(self.box, axis=1)[:, 0]
        out = []
        for here, there, beyond in zip(corners, np.roll(corners, -1, axis=0), self._beyond(i), strict=True):
            bits = np.flatnonzero(on != self.patterns[[beyond]].bits()[0]) if beyond >= 0 else np.zeros(0, np.intp)
            found = tuple((int(layer[b]), int(neuron[b]), not on[b]) for b in bits)
            words = [_inequality(normal[b], constant[b], bool(on[b]), names, width) for b in bits]
            ends = ((float(here[0]), float(here[1])), (float(there[0]), float(there[1])))
            name = _neurons(self.network, found) if beyond >= 0 else "edge of the box"
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
        if self.network.link == "softmax":
            return _class_boundary(self)
        if self.level is None:
            return Boundary(np.zeros((0, 2, 2)), np.zeros(0, np.intp), np.zeros((0, 2), np.intp))
        return _level_boundary(self, self.level)

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
            lines.append(f"{self.ties:,} corners are shared by more than two lines, as nearly as float64 can tell")
        return lines

    def __repr__(self) -> str:
        return "\n".join(self.summary())


def _neurons(net: Network, found: Sequence[tuple[int, int, bool]]) -> str:
    """Return neurons by name: "neurons 3, 5 of dense 0 and neuron 1 of dense 1"."""
    parts = []
    for layer in dict.fromkeys(layer for layer, _, _ in found):
        numbers = list(dict.fromkeys(str(neuron) for k, neuron, _ in found if k == layer))
        name = net.hidden[layer].name or f"layer {layer}"
        parts.append(f"neuron{'s' * (len(numbers) > 1)} {', '.join(numbers)} of {name}")
    return " and ".join(parts)


def _switches(net: Network) -> tuple[Indices, Indices, Indices]:
    """Return hidden layer, neuron and breakpoint of each bit of a pattern."""
    parts = [(np.full(s.activation.n_bits, i), *s.activation.switches) for i, s in enumerate(net.hidden)]
    empty = np.zeros(0, dtype=np.intp)
    layer, neuron, k = (
        (np.concatenate([empty, *column]) for column in zip(*parts, strict=True)) if parts else (empty,) * 3
    )
    return layer, neuron, k


def _number(value: float) -> str:
    size = abs(value)
    return (
        f"{value:,.4g}"
        if 1e-3 <= size < 1e4 or value == 0
        else f"{value:,.0f}"
        if 1e4 <= size < 1e15
        else f"{value:.3g}"
    )


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
    if not budget >= 1:
        raise ArgumentError(f"budget is {clipped(budget)}; expected a whole number of polygons, at least 1.")
    if not (np.isfinite(tolerance) and tolerance >= 1):
        raise ArgumentError(f"tolerance is {clipped(tolerance)}; expected a number of rounding errors, at least 1.")
    chosen = _plane(net, u, plane, at)
    area = _box(chosen, u, box)
    cutter = _Cutter(net, chosen, area, int(budget), float(tolerance), progress)
    whole, rest = cutter.run()
    return _result(cutter, whole, rest, u, _level(net, level))


def _plane(net: Network, u: Unwrapped | None, plane: Any, at: Any) -> Plane:
    source = net if u is None else u
    if at is not None and not _names_features(plane) and not (plane is None and net.n_features == 2):
        raise ArgumentError("at holds the other features where two are named as `plane`; leave it out here.")
    if isinstance(plane, Plane):
        found = plane
    elif plane is None and net.n_features == 2:
        found = Plane.of_features(net, 0, 1, np.zeros(2) if at is None else at)
    elif plane is None and net.n_features < 2:
        raise ArgumentError("A network of one feature has no plane: draw its values along a line.")
    elif plane is None and u is not None:
        found = Plane.principal(u)
    elif plane is None:
        raise ArgumentError(
            f"The network has {net.n_features} features: name two of them as `plane`, give a Plane, or an unwrapped table in "
            "place of the network for its first two principal components."
        )
    elif _names_features(plane):
        found = Plane.of_features(source, plane[0], plane[1], at)
    elif isinstance(plane, tuple | list) and len(plane) == 3 and all(np.ndim(part) == 1 for part in plane):
        found = Plane(*plane)
    else:
        raise ArgumentError(
            f"plane is {clipped(plane)}; expected a Plane, two features, or three vectors (origin, u, v). Plane.through(points) "
            "takes three points."
        )
    if len(found.origin) != net.n_features:
        raise ArgumentError(f"The plane lies among {len(found.origin)} features; the network has {net.n_features}.")
    return found


def _names_features(plane: Any) -> bool:
    return (
        isinstance(plane, tuple | list)
        and len(plane) == 2
        and all(isinstance(p, str | int | np.integer) for p in plane)
    )


def _box(plane: Plane, u: Unwrapped | None, box: Any) -> Floats:
    if box is None:
        if plane.box is not None:
            return np.array(plane.box, dtype=np.float64)
        if u is None:
            raise ArgumentError(
                "box is missing: give ((low, high), (low, high)) of the two coordinates, or unwrap a table."
            )
        at = plane.coordinates(u.sample.x)
        low, high = at.min(axis=0), at.max(axis=0)
        width = high - low
        spread = np.where(width > 0, width * _MARGIN, np.maximum(np.abs(low), 1.0) / 2)
        return np.stack([low - spread, high + spread], axis=1)
    try:
        given = np.array(box, dtype=np.float64)
    except (TypeError, ValueError):
        given = np.zeros(0)
    if given.shape == (2,):
        given = np.stack([given, given])
    if given.shape != (2, 2) or not np.isfinite(given).all() or not (given[:, 0] < given[:, 1]).all():
        raise ArgumentError(f"box is {clipped(box)}; expected ((low, high), (low, high)), each low below its high.")
    return given


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


@dataclass(frozen=True, eq=False)
class _Part:
    """Some polygons on their way through the network.

    Parameters
    ----------
    layer : that splits them next. ring, start : corners of the polygons. x : (V, 2) corners in a box from -1 to 1.
    a : (V, k) what enters the layer at the corners, (V, 0) for the first. z : (V, m) preactivations there, if the layer has
        begun to split the polygons.
    on, off : per layer so far (F, words): neurons that are above and below their breakpoint somewhere on the polygon.
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

    def pieces(self, n: int) -> list[_Part]:
        """Return parts of at most `n` polygons, those in the middle of the box first."""
        if len(self) <= n:
            return [self]
        sizes = _sizes(self.start)
        away = np.abs(_summed(self.x.take(self.ring, axis=0), self.start) / sizes[:, None]).max(axis=1)
        order = np.argsort(away, kind="stable")
        out = []
        for first in range(0, len(self), n):
            rows = order[first : first + n]
            start = _starts(sizes[rows])
            used, ring = np.unique(_taken(self.ring, self.start, rows), return_inverse=True)
            on, off = (tuple(words[rows] for words in part) for part in (self.on, self.off))
            z = None if self.z is None else self.z[used]
            out.append(_Part(self.layer, ring, start, self.x[used], self.a[used], on, off, z))
        return out


class _Cutter:
    """Splits the box layer by layer, a part of the polygons at a time, the last ones first."""

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

    def preactivation(self, part: _Part) -> Floats:
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

    def run(self) -> tuple[list[tuple[_Part, Floats]], list[_Part]]:
        """Return what is finished, with the decisions at its corners, and what the budget left."""
        square = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
        waiting = [_Part(0, np.arange(4), np.array([0, 4]), square, np.zeros((4, 0)))]
        finished: list[tuple[_Part, Floats]] = []
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
                        share += float(_areas(part.x, part.ring, part.start).sum()) / 4
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

    def _pieces(self, part: _Part, budget: int) -> list[_Part]:
        """Return what is split at once, the last first, with so many polygons to come within the budget."""
        if len(part) == 0:
            return []
        width = max(self.net.layers[part.layer].weight.shape)
        room = _CELLS // max(width, 1) if part.z is None else len(part) // 4
        return part.pieces(max(1, min(max(64, room), budget // _GROWTH)))[::-1]


def _squared(layer: Layer) -> Any:
    weight: Any = layer.weight
    return weight.power(2) if is_sparse(weight) else weight**2


def _sizes(start: Indices) -> Indices:
    return start[1:] - start[:-1]


def _next(start: Indices) -> Indices:
    """Return the position in a ring of the corner after each."""
    after = np.arange(1, int(start[-1]) + 1)
    after[start[1:] - 1] = start[:-1]
    return after


def _areas(x: Floats, ring: Indices, start: Indices) -> Floats:
    """Return the area of each polygon (F,), taken about its first corner, so that small ones are exact too."""
    n = _sizes(start)
    corner = x.take(ring, axis=0)
    corner -= np.repeat(corner[start[:-1]], n, axis=0)
    after = corner.take(_next(start), axis=0)
    return np.add.reduceat(corner[:, 0] * after[:, 1] - after[:, 0] * corner[:, 1], start[:-1]) / 2


@dataclass(frozen=True, eq=False)
class _Cut:
    """Each polygon in two, the part above first.

    Parameters
    ----------
    ring, start : the 2F parts. enter, leave : (F,) the two ends of each cut. Corners from `n_vertices` on are new.
    low, high, t : (k,) the ends of the edge on which each new corner lies, from below to above, and how far along.
    """

    ring: Indices
    start: Indices
    enter: Indices
    leave: Indices
    low: Indices
    high: Indices
    t: Floats


@dataclass(frozen=True, eq=False)
class _Arcs:
    """Runs of corners on one side of a line.

    Parameters
    ----------
    side : (N,) 1 or -1, corners on the line counted with those before them. change : positions in the ring after which it
        changes. after : (N,) next position of each.
    """

    side: NDArray[np.int8]
    change: Indices
    after: Indices

    def broken(self, start: Indices) -> Bools:
        """Return which polygons (F,) do not have one run on each side, as convex ones have."""
        if len(self.change) == 2 * (len(start) - 1):
            pairs = self.change.reshape(-1, 2)
            if (pairs[:, 0] >= start[:-1]).all() and (pairs[:, 1] < start[1:]).all():
                return np.zeros(len(start) - 1, dtype=bool)
        owner = np.searchsorted(start, self.change, side="right") - 1
        return np.bincount(owner, minlength=len(start) - 1) != 2


def _arcs(start: Indices, side: NDArray[np.int8]) -> _Arcs:
    """Return the runs of corners on one side; each polygon has a corner that is not on the line."""
    after = _next(start)
    zero = (side == 0).nonzero()[0]
    if len(zero):
        before = np.arange(-1, len(side) - 1)
        before[start[:-1]] = start[1:] - 1
        side = side.copy()
        while len(zero):
            side[zero] = side[before[zero]]
            zero = zero[side[zero] == 0]
    return _Arcs(side, (side != side.take(after)).nonzero()[0], after)


def _cut(
    ring: Indices, start: Indices, side: NDArray[np.int8], value: Floats, n_vertices: int, arcs: _Arcs | None = None
) -> _Cut:
    """Cut each polygon along the line on which a value is 0.

    Parameters
    ----------
    side : (N,) of each corner: 1 above, -1 below, 0 on the line. value : (N,) at each corner. Each polygon has corners above
        and below, in one run each.

    Notes
    -----
    A cut ends at a corner that is on the line if there is one between above and below, else on the edge between the two. Of
    several on the line, the last in the ring's order; the others stay with the part that they follow.
    """
    F, n = len(start) - 1, _sizes(start)
    arcs = _arcs(start, side) if arcs is None else arcs
    after, change = arcs.after, arcs.change.reshape(F, 2)
    falling = arcs.side.take(change[:, 0]) > 0
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
    starts = _starts(size)
    place = np.arange(int(starts[-1])) + (begin - starts[:-1]).repeat(size)
    end, length = start[1:].repeat(2).repeat(size), n.repeat(2).repeat(size)
    place -= length * (place >= end)
    rings = ring.take(place, mode="clip")  # the two last places of a part are written next
    rings[starts[1:] - 1] = other
    rings[starts[1:] - 2] = own  # where the cut ends at a corner, the run ends with it already
    return _Cut(rings, starts, end_q, end_p, ring.take(low), ring.take(high), t)


def _words(above: Bools) -> Words:
    """Return bits (n, m) as words (n, ceil(m / 64)), the first the lowest."""
    n, m = above.shape
    out = np.zeros((n, -(-m // 64) * 8), dtype=np.uint8)
    out[:, : -(-m // 8)] = np.packbits(above, axis=1, bitorder="little")
    return out.view("<u8")


def _unpacked(words: Words, n_bits: int) -> Bools:
    return np.unpackbits(np.ascontiguousarray(words).view(np.uint8), axis=1, count=n_bits, bitorder="little").view(bool)


def _lowest(words: Words) -> Indices:
    """Return the position of the lowest bit of each row (n, words), none of them without any."""
    place = (words != 0).argmax(axis=1) if words.shape[1] > 1 else np.zeros(len(words), dtype=np.intp)
    word = words[np.arange(len(words)), place] if words.shape[1] > 1 else words[:, 0]
    lowest = word & (~word + np.uint64(1))
    return 64 * place + np.bitwise_count(lowest - np.uint64(1)).astype(np.intp)


def _taken(ring: Indices, start: Indices, rows: Indices) -> Indices:
    """Return the rings of polygons in another order."""
    n = _sizes(start)[rows]
    new = _starts(n)
    return ring.take(np.repeat(start[rows] - new[:-1], n) + np.arange(int(new[-1])))


def _rings_of(ring: Indices, start: Indices, keep: Bools) -> tuple[Indices, Indices]:
    """Return the rings of some polygons."""
    n = _sizes(start)
    return ring[keep.repeat(n)], _starts(n[keep])


class _Corners:
    """Corners with their preactivations and sides, in arrays with room for more."""

    def __init__(self, x: Floats, z: Floats, layer: Layer, doubt: Floats) -> None:
        neuron, k = layer.activation.switches
        self.neuron, self.at = neuron, layer.activation.breakpoints[neuron, k]
        self.plain = len(neuron) == z.shape[1] and not self.at.any()
        self.doubt = doubt[neuron]
        self.n = len(x)
        self.x, self.z = x, z
        self.on, self.off = self._sides(z)

    def _sides(self, z: Floats) -> tuple[Words, Words]:
        distance = z if self.plain else z[:, self.neuron] - self.at
        return _words(distance > self.doubt), _words(distance < -self.doubt)

    def add(self, low: Indices, high: Indices, t: Floats) -> None:
        """Add a corner on each edge from `low` to `high`."""
        n = self.n + len(t)
        if n > len(self.x):
            for name in ("x", "z", "on", "off"):
                array = getattr(self, name)
                bigger = np.empty((2 * n, array.shape[1]), dtype=array.dtype)
                bigger[: self.n] = array[: self.n]
                setattr(self, name, bigger)
        rows = slice(self.n, n)
        for array in (self.x, self.z):
            there = array.take(low, axis=0)
            step = array.take(high, axis=0)
            step -= there
            step *= t[:, None]
            step += there
            array[rows] = step
        self.on[rows], self.off[rows] = self._sides(self.z[rows])
        self.n = n

    def values(self, ring: Indices, switch: Indices) -> tuple[Floats, NDArray[np.int8]]:
        """Return the distance of a preactivation from its breakpoint, and its side, at corners."""
        value = self.z.ravel().take(ring * self.z.shape[1] + (switch if self.plain else self.neuron.take(switch)))
        if not self.plain:
            value -= self.at.take(switch)
        doubt = self.doubt.take(switch)
        return value, (value > doubt).view(np.int8) - (value < -doubt).view(np.int8)

    def crossed(self, ring: Indices, start: Indices) -> tuple[Words, Words]:
        """Return which neurons are above and which below somewhere on each polygon."""
        return (
            np.bitwise_or.reduceat(self.on.take(ring, axis=0), start[:-1], axis=0),
            np.bitwise_or.reduceat(self.off.take(ring, axis=0), start[:-1], axis=0),
        )


def _split(part: _Part, z: Floats, layer: Layer, doubt: Floats, room: int) -> tuple[_Part, _Part]:
    """Return the polygons of a part that one layer has split, and those that it has yet to split on.

    Notes
    -----
    There are such where more than `room` polygons or too many preactivations would be held at once.
    """
    corners = _Corners(part.x, z, layer, doubt)
    ring, start, root = part.ring, part.start, np.arange(len(part))
    if len(corners.neuron) == 0:
        none = np.zeros((len(part), 0), dtype=np.uint64)
        return _joined(part, corners, layer, [(ring, start, root, none, none)]), _left(
            part, corners, ring[:0], start[:1], root[:0]
        )
    done: list[tuple[Indices, Indices, Indices, Words, Words]] = []
    n_done = 0
    on, off = corners.crossed(ring, start)
    crossing = on & off
    barred: Words | None = None
    while True:
        active: Bools = np.any(crossing, axis=1) if crossing.shape[1] > 1 else crossing[:, 0] != 0
        if not active.all():
            finished = ~active
            done.append((*_rings_of(ring, start, finished), root[finished], on[finished], off[finished]))
            n_done += len(done[-1][2])
            ring, start = _rings_of(ring, start, active)
            root, crossing = root[active], crossing[active]
            barred = None if barred is None else barred[active]
        full = corners.z.size > 4 * _CELLS and corners.n > len(part.x) and barred is None
        if len(root) == 0 or n_done + 2 * len(root) > room or full:
            return _joined(part, corners, layer, done), _left(part, corners, ring, start, root)
        lowest = _lowest(crossing)
        value, side = corners.values(ring, lowest.repeat(_sizes(start)))
        arcs = _arcs(start, side)
        broken = arcs.broken(start)
        if broken.any():  # what rounding has bent is not cut again, and comes out as undecided
            barred = np.zeros_like(crossing) if barred is None else barred
            rows = broken.nonzero()[0]
            barred[rows, lowest[rows] // 64] |= np.uint64(1) << (lowest[rows] % 64).astype(np.uint64)
        else:
            cut = _cut(ring, start, side, value, corners.n, arcs)
            corners.add(cut.low, cut.high, cut.t)
            ring, start, root = cut.ring, cut.start, root.repeat(2)
            barred = None if barred is None else np.repeat(barred, 2, axis=0)
        on, off = corners.crossed(ring, start)
        crossing = on & off if barred is None else on & off & ~barred


def _left(part: _Part, corners: _Corners, ring: Indices, start: Indices, root: Indices) -> _Part:
    """Return polygons that a layer has begun to split."""
    used, number = np.unique(ring, return_inverse=True)
    on, off = (tuple(words[root] for words in layers) for layers in (part.on, part.off))
    return _Part(part.layer, number, start, corners.x[used], np.zeros((len(used), 0)), on, off, corners.z[used])


def _joined(
    part: _Part, corners: _Corners, layer: Layer, done: list[tuple[Indices, Indices, Indices, Words, Words]]
) -> _Part:
    """Return the polygons that one layer made, each corner once, with what enters the next layer."""
    words = corners.on[:0]
    ring, root = (np.concatenate([np.zeros(0, np.intp), *(d[i] for d in done)]) for i in (0, 2))
    start = _starts(np.concatenate([np.zeros(0, np.intp), *(_sizes(d[1]) for d in done)]))
    on, off = (np.concatenate([words, *(d[i] for d in done)]) for i in (3, 4))
    old = len(part.x)
    kept, number = _distinct(corners.x[old : corners.n])
    rows = np.concatenate([np.arange(old), old + kept])
    return _Part(
        part.layer + 1,
        np.concatenate([np.arange(old), old + number]).take(ring),
        start,
        corners.x.take(rows, axis=0),
        layer.activation(corners.z.take(rows, axis=0)),
        (*(o[root] for o in part.on), on),
        (*(o[root] for o in part.off), off),
    )


def _starts(n: Indices) -> Indices:
    start = np.zeros(len(n) + 1, dtype=np.intp)
    np.cumsum(n, out=start[1:])
    return start


def _distinct(x: Floats) -> tuple[Indices, Indices]:
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


# ---------------------------------------------------------------- the result


def _result(
    cutter: _Cutter, finished: list[tuple[_Part, Floats]], rest: list[_Part], u: Unwrapped | None, level: float | None
) -> Slice2D:
    """Return what was found, largest first, each corner once, with every pattern checked."""
    net, plane, half = cutter.net, cutter.plane, cutter.half
    part, decision = _one(net, finished)
    area = _areas(part.x, part.ring, part.start)
    order = np.argsort(-area, kind="stable")
    n = np.diff(part.start)[order]
    start, ring = _starts(n), _taken(part.ring, part.start, order)
    middle = _summed(part.x.take(ring, axis=0), start) / n[:, None]
    vertex, witness = cutter.plane_points(part.x), cutter.plane_points(middle)
    trace = net.trace(plane.lift(witness))
    patterns, undecided = _confirmed(
        net,
        trace.patterns,
        [on[order] for on in part.on],
        [off[order] for off in part.off],
        ring,
        start,
        plane,
        vertex,
        witness,
    )
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
        rest_start=_starts(np.concatenate([np.zeros(0, np.intp), *(sizes for _, sizes in left)])),
        stopped=stopped,
        doubt=cutter.doubt[-1],
    )


def _one(net: Network, finished: list[tuple[_Part, Floats]]) -> tuple[_Part, Floats]:
    """Return all that is finished as one part, each corner once, and the decisions at its corners."""
    if len(finished) == 1:
        return finished[0]
    parts = [p for p, _ in finished]
    offset = _starts(np.array([len(p.x) for p in parts], dtype=np.intp))
    x = np.concatenate([np.zeros((0, 2)), *(p.x for p in parts)])
    kept, number = _distinct(x)
    ring = np.concatenate([np.zeros(0, np.intp), *(p.ring + o for p, o in zip(parts, offset[:-1], strict=True))])
    width = [-(-layer.activation.n_bits // 64) for layer in net.hidden]
    on, off = (
        tuple(
            np.concatenate([np.zeros((0, w), np.uint64), *(getattr(p, name)[i] for p in parts)])
            for i, w in enumerate(width)
        )
        for name in ("on", "off")
    )
    decision = np.concatenate([np.zeros((0, net.n_outputs)), *(d for _, d in finished)])
    start = _starts(np.concatenate([np.zeros(0, np.intp), *(np.diff(p.start) for p in parts)]))
    return _Part(len(net.hidden), number.take(ring), start, x[kept], x[kept, :0], on, off), decision[kept]


def _summed(values: Floats, start: Indices) -> Floats:
    """Return the sum of values (N, k) over each polygon (F, k)."""
    return np.add.reduceat(values, start[:-1], axis=0) if len(start) > 1 else values[:0]


def _confirmed(
    net: Network,
    exact: Patterns,
    on: list[Words],
    off: list[Words],
    ring: Indices,
    start: Indices,
    plane: Plane,
    vertex: Floats,
    witness: Floats,
) -> tuple[Patterns, Bools]:
    """Return the patterns of polygons, and which of them exact arithmetic does not confirm.

    Parameters
    ----------
    exact : of the witnesses. on, off : per layer, neurons that are above and below somewhere on a polygon.

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
        above = np.concatenate([_unpacked(o[rows], w) for o, w in zip(on, widths, strict=True)], axis=1)
        below = np.concatenate([_unpacked(o[rows], w) for o, w in zip(off, widths, strict=True)], axis=1)
        bits = exact[rows].bits()
        undecided[rows] = ((above & below) | (above & ~bits) | (below & bits)).any(axis=1)
        clear = above ^ below
        packed[rows] = np.packbits(np.where(clear, above, bits), axis=1)
        flat[rows] = np.packbits(~(above | below), axis=1)
    doubtful = np.flatnonzero(flat.any(axis=1))
    if len(doubtful):
        keep = np.zeros(F, dtype=bool)
        keep[doubtful] = True
        rings, starts = _rings_of(ring, start, keep)
        middle = np.repeat(witness[doubtful], np.diff(starts), axis=0)
        corner = net.trace(plane.lift(middle + _CLOSE * (vertex[rings] - middle))).patterns.packed
        some, all_on = np.bitwise_or.reduceat(corner, starts[:-1]), np.bitwise_and.reduceat(corner, starts[:-1])
        mixed = ((some ^ all_on) | (some ^ packed[doubtful])) & flat[doubtful]
        undecided[doubtful] |= mixed.any(axis=1)
    return Patterns(packed, net.n_bits), undecided


def _dots(u: Unwrapped, plane: Plane) -> Dots:
    s = u.sample
    rows = np.random.default_rng(0).permutation(len(s.row))[:_ROWS]
    single = u.has_y and u.network.is_classifier and (u.network.n_outputs == 1 or u.network.link == "softmax")
    return Dots(plane.coordinates(s.x[rows]), s.label[rows] if single else None, s.n)


# ---------------------------------------------------------------- where the decision changes


def _sides(value: Floats, doubt: Any) -> NDArray[np.int8]:
    return (value > doubt).astype(np.int8) - (value < -doubt).astype(np.int8)


def _level_boundary(result: Slice2D, level: float) -> Boundary:
    """Return the boundary of where the decision of each output is above a level."""
    segments, polygons, outputs = [np.zeros((0, 2, 2))], [np.zeros(0, np.intp)], [np.zeros(0, np.intp)]
    if len(result):
        edges = result.edges
        between = edges.polygon.min(axis=1) >= 0
        corner, beside = edges.corner[between], edges.polygon[between]
    for k in range(result.network.n_outputs if len(result) else 0):
        value = result.vertex_decision[:, k] - level
        side = _sides(value, result.doubt[k])
        at_ring = side.take(result.ring)
        above = np.maximum.reduceat(at_ring, result.start[:-1]) > 0
        below = np.minimum.reduceat(at_ring, result.start[:-1]) < 0
        crossed = above & below
        ring, start = _rings_of(result.ring, result.start, crossed)
        inside = _crossings(ring, start, side, value, result.vertex)
        on_edge = (side[corner] == 0).all(axis=1) & (~crossed[beside]).all(axis=1)
        on_edge &= above[beside[:, 0]] != above[beside[:, 1]]
        higher = np.where(above[beside[:, 0]], beside[:, 0], beside[:, 1])
        segments += [inside, result.vertex[corner[on_edge]]]
        polygons += [np.flatnonzero(crossed), higher[on_edge]]
        outputs.append(np.full(len(inside) + int(on_edge.sum()), k, dtype=np.intp))
    output = np.concatenate(outputs)
    return Boundary(np.concatenate(segments), np.concatenate(polygons), np.stack([output, output], axis=1))


def _crossings(ring: Indices, start: Indices, side: NDArray[np.int8], value: Floats, x: Floats) -> Floats:
    """Return where the line on which a value is 0 enters and leaves each polygon (F, 2, 2)."""
    if len(ring) == 0:
        return np.zeros((0, 2, 2))
    arcs = _arcs(start, side.take(ring))
    broken = arcs.broken(start)
    out = np.zeros((len(start) - 1, 2, 2))
    whole, whole_start = _rings_of(ring, start, ~broken)
    cut = _cut(whole, whole_start, side.take(whole), value.take(whole), len(x))
    out[~broken] = np.concatenate([x, _along(x, cut)])[np.stack([cut.enter, cut.leave], axis=1)]
    for f in np.flatnonzero(broken):  # rounding has bent the polygon: the two crossings that are farthest apart
        change = arcs.change[(arcs.change >= start[f]) & (arcs.change < start[f + 1])]
        a, b = ring[change], ring[arcs.after[change]]
        share = np.abs(value[a]) / (np.abs(value[a]) + np.abs(value[b]))
        at = x[a] + share[:, None] * (x[b] - x[a])
        apart = np.hypot(*(at[:, None] - at[None]).transpose(2, 0, 1))
        out[f] = at[list(divmod(int(apart.argmax()), len(at)))]
    return out


def _along(values: Floats, cut: _Cut) -> Floats:
    """Return values (k, …) at new corners, from those at the ends of their edges."""
    low = values.take(cut.low, axis=0)
    return low + cut.t[:, None] * (values.take(cut.high, axis=0) - low)


def _class_boundary(result: Slice2D) -> Boundary:
    """Return where the class on top changes.

    Notes
    -----
    Each polygon is cut between the class on top in its middle and one that is above it at a corner, until in every piece
    one class is on top at all corners, and so throughout: the differences of decisions are linear there.
    """
    x, d = result.vertex, result.vertex_decision
    ring, start, root = result.ring, result.start, np.arange(len(result))
    done: list[tuple[Indices, Indices, Indices, Indices]] = []
    while len(root):
        n = np.diff(start)
        top = _summed(d.take(ring, axis=0), start).argmax(axis=1)
        rival_here = d.argmax(axis=1).take(ring)
        gap = (
            d[ring, rival_here]
            - d[ring, np.repeat(top, n)]
            - (result.doubt[rival_here] + np.repeat(result.doubt[top], n))
        )
        worst = np.maximum.reduceat(gap, start[:-1])
        place = np.flatnonzero(gap == np.repeat(worst, n))
        rival = np.zeros(len(root), dtype=np.intp)
        rival[np.searchsorted(start, place, side="right") - 1] = rival_here[place]
        value = d[ring, np.repeat(top, n)] - d[ring, np.repeat(rival, n)]
        side = _sides(value, np.repeat(result.doubt[top] + result.doubt[rival], n))
        split: Bools = (
            (worst > 0) & (np.maximum.reduceat(side, start[:-1]) > 0) & (np.minimum.reduceat(side, start[:-1]) < 0)
        )
        if split.any():
            chosen = np.repeat(split, n)
            split[split] = ~_arcs(_starts(n[split]), side[chosen]).broken(_starts(n[split]))
        done.append((*_rings_of(ring, start, ~split), root[~split], top[~split]))
        chosen = np.repeat(split, n)
        ring, start = _rings_of(ring, start, split)
        if not split.any():
            break
        cut = _cut(ring, start, side[chosen], value[chosen], len(x))
        x, d = np.concatenate([x, _along(x, cut)]), np.concatenate([d, _along(d, cut)])
        ring, start, root = cut.ring, cut.start, np.repeat(root[split], 2)
    return _between_classes(result, x, d, done)


def _between_classes(
    result: Slice2D, x: Floats, d: Floats, done: list[tuple[Indices, Indices, Indices, Indices]]
) -> Boundary:
    """Return the sides of pieces beyond which another class is on top.

    Notes
    -----
    The class of a piece is the first that is on top at all its corners, as nearly as can be told. The piece beyond is
    the one that has the same side; where cuts of one polygon do not meet end to end, that side is told by the two classes that
    tie along it.
    """
    segment, polygon, between = [np.zeros((0, 2, 2))], [np.zeros(0, np.intp)], [np.zeros((0, 2), np.intp)]
    ring, root = (np.concatenate([np.zeros(0, np.intp), *(piece[i] for piece in done)]) for i in (0, 2))
    n = np.concatenate([np.zeros(0, np.intp), *(np.diff(piece[1]) for piece in done)])
    start = _starts(n)
    if len(ring):
        best = d.argmax(axis=1).take(ring)
        close = d[ring] >= d[ring, best][:, None] - result.doubt - result.doubt[best][:, None]
        top = np.logical_and.reduceat(close, start[:-1], axis=0).argmax(axis=1)
        owner, after = np.repeat(np.arange(len(root)), n), ring.take(_next(start))
        mine = top[owner]
        key, back = ring * len(x) + after, after * len(x) + ring
        order = np.argsort(key)
        place = order[np.minimum(np.searchsorted(key[order], back), len(order) - 1)]
        found = key[place] == back
        beyond = np.where(found, mine[place], -1)
        tied = close & close.take(_next(start), axis=0) & ~np.logical_and.reduceat(close, start[:-1], axis=0)[owner]
        ends = x[np.stack([ring, after], axis=1)]
        inner = ~found & ~(((ends == result.box[:, 0]) | (ends == result.box[:, 1])).all(axis=1)).any(axis=1)
        for k in range(1, d.shape[1]):
            at = np.flatnonzero((mine < k) & ((beyond == k) | (inner & tied[:, k])))
            segment.append(ends[at])
            polygon.append(root[owner[at]])
            between.append(np.stack([mine[at], np.full(len(at), k)], axis=1))
    return Boundary(np.concatenate(segment), np.concatenate(polygon), np.concatenate(between))
