"""Convex polytopes {x : A x <= b}: what is inside, which rows bound them, how far they reach.

Nothing here trusts a solver. A claim is made only with what proves it: a point that was put back into every row, or
multipliers whose sum was added up again. Most claims come from cheap tests on many rows at once, in coordinates about a point
strictly inside, where the polytope is {y : P y <= 1}; linear programs decide the rest.

Sources: redundancy against the facets known so far is Clarkson 1994 (*More output-sensitive geometric algorithms*); that a
ray from inside crosses first a facet is Boneh and Golan 1979; the batched walk along edges is the primal simplex method.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from relucidate.errors import ArgumentError, UnfaithfulError, clipped
from relucidate.exact import U
from relucidate.layers import Bools, Floats
from relucidate.products import one_thread

Integers = NDArray[np.intp]

TOLERANCE = 1e-9  # of the distance from the point inside, below which what a row cuts off does not count
_SOLVER = 1e-10  # feasibility asked of the solver, its finest
_BLURRED = 1e-8  # of the size of a program, below which a radius is not told well from that
_CELLS = 2**21  # numbers in one array of a batch
_WIDE = 1e3  # times the median |b|: farther than that a point inside is not looked for, unless it must be
_RAYS = 6  # rounds of rays at most
_ROUNDS = 20  # rounds of walks at most; what is left after them goes to the solver
_RAISED = 1e-8  # of a limit, at most twice: how much walks raise limits
_FAR = 1e6  # times the size of what is looked at: farther points are not spoken of where multipliers are rounded
_NEVER = 1e-9  # of the median: how near, seen from inside, a hyperplane counts as never reached
_MOST_DIMENSIONS = 8
_ALIKE = 100.0  # times as large as the smallest column, up to which a linear program is not scaled
_NONE = 1e-200  # in place of 0 where something is divided by it
_CROWD = 0.85  # of walks that must go on, so that those which ended are not dropped
_WHOLE = 4  # rows left for each facet known, up to which walks keep to all rows

OPEN, REACHED, EXCEEDED, ENDLESS = range(4)


# ---------------------------------------------------------------- results


@dataclass(frozen=True, eq=False)
class Interior:
    """A point strictly inside.

    Parameters
    ----------
    witness : (d,) the point. radius : of a ball around it that is inside: its smallest slack, inf without rows.
    """

    witness: Floats
    radius: float


@dataclass(frozen=True, eq=False)
class Empty:
    """Nothing is strictly inside.

    Parameters
    ----------
    certificate : (m,) multipliers y >= 0 that add up to 1, with ``y @ A`` = 0 and ``y @ b`` <= 0. No point can be strictly on the
        right side of all rows, and if ``y @ b`` < 0 there is no point at all.
    """

    certificate: Floats


@dataclass(frozen=True, eq=False)
class Undecided:
    """Whether anything is inside cannot be told in float64.

    Parameters
    ----------
    reason : why, and what to do.
    """

    reason: str


@dataclass(frozen=True, eq=False)
class Facets:
    """Which rows bound a polytope, each with a proof.

    Parameters
    ----------
    index : (F,) irredundant rows, increasing; of rows with one hyperplane the first.
    point : (F, d) a point on each, strictly inside all other rows: going on across it violates this row alone.
    clearance : (F,) distance of that point to the nearest hyperplane of another row.
    same : (m,) place in `index` of the facet whose hyperplane a row has, -1 for redundant rows.
    doubtful : rows neither shown to be facets nor shown to be redundant.
    """

    index: Integers
    point: Floats
    clearance: Floats
    same: Integers
    doubtful: Integers

    def __len__(self) -> int:
        return len(self.index)


# ---------------------------------------------------------------- the polytope


@dataclass(frozen=True, eq=False)
class Polytope:
    """The points x with ``A @ x <= b``. Make one with `Polytope.of`.

    Parameters
    ----------
    A : (m, d) rows of length 1. b : (m,). row : (m,) number of each among the rows given, -1 for the edge of a box.

    Notes
    -----
    ``b - A @ x`` are distances to hyperplanes, in the units of x. A row of zeros with b = -1 says that there is no point.
    """

    A: Floats
    b: Floats
    row: Integers

    @staticmethod
    def of(A: ArrayLike, b: ArrayLike) -> Polytope:
        """Return the polytope of inequalities, scaled to rows of length 1.

        Parameters
        ----------
        A : (m, d) finite. b : (m,); +inf for a row that says nothing.

        Raises
        ------
        ArgumentError : shapes do not fit, or a number is NaN or infinite.

        Notes
        -----
        Rows of zeros are dropped if their b is 0 or more; otherwise no point fulfils them, and they are kept.
        """
        rows, limit = np.array(A, dtype=np.float64), np.array(b, dtype=np.float64)
        if rows.ndim != 2 or limit.shape != (len(rows),) or rows.shape[1] == 0:
            raise ArgumentError(
                f"A has shape {rows.shape} and b {limit.shape}; expected (m, d) with d >= 1, and (m,): one number per row."
            )
        if not np.isfinite(rows).all() or np.isnan(limit).any() or (limit == -np.inf).any():
            raise ArgumentError(
                "A holds NaN or infinity, or b holds NaN or -inf; every inequality needs finite numbers."
            )
        largest = np.abs(rows).max(axis=1)
        zero = largest == 0
        scale = np.where(zero, 1.0, largest)
        rows = rows / scale[:, None]
        length = np.where(zero, 1.0, np.sqrt((rows * rows).sum(axis=1)))
        rows /= length[:, None]
        with np.errstate(over="ignore"):
            limit = np.where(zero, -1.0, limit / scale / length)
        keep = np.flatnonzero(np.where(zero, np.asarray(b) < 0, limit < np.inf))
        return Polytope(rows[keep], limit[keep], keep.astype(np.intp))

    def __post_init__(self) -> None:
        for part in (self.A, self.b, self.row):
            part.flags.writeable = False

    def __len__(self) -> int:
        return len(self.b)

    @property
    def n_dimensions(self) -> int:
        """Number of coordinates."""
        return self.A.shape[1]

    def __repr__(self) -> str:
        return f"Polytope of {len(self):,} inequalities in {self.n_dimensions} dimensions"

    def within(self, lower: ArrayLike, upper: ArrayLike) -> Polytope:
        """Return the part in a box, whose edges are more rows.

        Parameters
        ----------
        lower, upper : numbers or (d,); infinite where there is no edge.

        Raises
        ------
        ArgumentError : they do not fit, or lower is above upper.
        """
        d = self.n_dimensions
        try:
            low, high = (np.broadcast_to(np.asarray(side, dtype=np.float64), d) for side in (lower, upper))
        except (TypeError, ValueError):
            raise ArgumentError(
                f"The box is {clipped(lower)} to {clipped(upper)}; expected numbers, one for all or {d}: one per coordinate."
            ) from None
        if not (low <= high).all() or (low == np.inf).any() or (high == -np.inf).any():
            raise ArgumentError(f"The box is {clipped(low)} to {clipped(high)}; expected lower <= upper everywhere.")
        at_low, at_high = np.flatnonzero(np.isfinite(low)), np.flatnonzero(np.isfinite(high))
        eye = np.eye(d)
        return Polytope(
            np.concatenate([self.A, -eye[at_low], eye[at_high]]),
            np.concatenate([self.b, -low[at_low], high[at_high]]),
            np.concatenate([self.row, np.full(len(at_low) + len(at_high), -1, dtype=np.intp)]),
        )

    def slack(self, X: ArrayLike) -> Floats:
        """Return the distance (n, m) of each point to each hyperplane, negative beyond it."""
        x = np.atleast_2d(np.asarray(X, dtype=np.float64))
        if x.ndim != 2 or x.shape[1] != self.n_dimensions:
            raise ArgumentError(
                f"X has shape {np.shape(X)}; expected (n, {self.n_dimensions}): one column per coordinate."
            )
        return self.b - x @ self.A.T

    def contains(self, X: ArrayLike, tolerance: float = 0.0) -> Bools:
        """Return whether each point (n, d) is on the right side of every row (n,), or at most `tolerance` beyond it."""
        return np.asarray((self.slack(X) >= -tolerance).all(axis=1))

    # ---------------------------------------------------------------- inside or empty

    def interior(self) -> Interior | Empty | Undecided:
        """Return a point strictly inside, or a proof that there is none.

        Notes
        -----
        The point is the Chebyshev centre, that of a largest ball which fits, by a linear program. Hyperplanes farther away than
        about 1000 times the median \\|b\\| are taken to be no farther, which makes balls end. If rounding hides the ball, one
        is looked for in units in which coordinates count alike, and closer to 0; the largest that is found is taken. The point
        is put back into every row, and the multipliers of an empty polytope are added up again. Where ``y @ A`` is not exactly
        0, they speak of points up to 1e6 times that far.
        """
        return self._interior

    @cached_property
    def _interior(self) -> Interior | Empty | Undecided:
        m, d = self.A.shape
        if m == 0:
            return Interior(np.zeros(d), np.inf)
        impossible = np.flatnonzero(~self.A.any(axis=1))
        if len(impossible):
            return Empty(_unit(m, int(impossible[0])))
        largest = np.abs(self.A).max(axis=0)
        alike = 1.0 / np.where(largest > 0, largest, 1.0)
        best: Interior | None = None
        proof: Empty | None = None
        # in the units given, then in units in which coordinates count alike; then near 0, where all may be much smaller than 1
        for units, least in ((np.ones(d), 1.0), (alike, 1.0), (np.ones(d), 0.0), (alike, 0.0)):
            rows = self.A * units
            length = np.sqrt((rows * rows).sum(axis=1))
            limit = self.b / length
            # a hyperplane very far away would drown the others in the solver's tolerance; it may as well be nearer
            size = least + max(_WIDE * float(np.median(np.abs(limit))), 2 * float(-limit.min()))
            size = min(size, least + float(np.abs(limit).max()))
            if size <= 0:
                continue
            witness, multipliers = _largest_ball(rows / length[:, None], np.minimum(limit, size) / size)
            if witness is not None and (found := self.inside(witness * size * units)) is not None:
                best = found if best is None or found.radius > best.radius else best
                if best.radius > _BLURRED * size:
                    return best
            if best is None and proof is None and multipliers is not None:
                proof = self._empty(multipliers / length, size * units)
        # a proof by rounded multipliers speaks of points up to a distance; a point inside may be farther
        if best is not None:
            return best
        if proof is not None:
            return proof
        if (pair := self._opposite()) is not None:
            return pair
        return Undecided(
            "No ball fits that rounding can tell from a point, and no multipliers prove that there is none: the polytope is "
            "thinner than float64 can tell, or flat. Take a point a little farther from the hyperplanes."
        )

    def inside(self, x: ArrayLike) -> Interior | None:
        """Return a point as `Interior` if it is strictly inside by more than rounding, else None."""
        point = np.array(x, dtype=np.float64)
        slack = self.slack(point)[0]
        if not (slack > self._rounding(point)).all():
            return None
        return Interior(point, float(slack.min(initial=np.inf)))

    def _rounding(self, x: Floats) -> Floats:
        """Return a bound on the rounding error of the slack of a point (m,)."""
        return 2 * (self.n_dimensions + 4) * U * (np.abs(self.A) @ np.abs(x) + np.abs(self.b))

    def _empty(self, multipliers: Floats, reach: Floats) -> Empty | None:
        """Return the proof that no point up to `_FAR` times `reach` (d,) is inside, if the multipliers (m,) are one."""
        y = np.maximum(multipliers, 0.0)
        y = np.where(y > 1e-12 * y.max(initial=0.0), y, 0.0)
        total = y.sum()
        if not (np.isfinite(total) and total > 0):
            return None
        y /= total
        rest, value = np.abs(y @ self.A), float(y @ self.b)
        terms = (np.count_nonzero(y) + 4) * U
        rest += terms * (y @ np.abs(self.A))
        if value + terms * float(y @ np.abs(self.b)) + float(rest @ reach) * _FAR < 0:
            return Empty(y)
        return None

    def _opposite(self) -> Empty | None:
        """Return the proof that two rows leave nothing between them, where they are exactly opposite."""
        least: dict[bytes, int] = {}
        for i, row in enumerate(self.A):
            key = (row + 0.0).tobytes()
            if key not in least or self.b[i] < self.b[least[key]]:
                least[key] = i
        for i in least.values():
            j = least.get((0.0 - self.A[i]).tobytes())
            if j is not None and self.b[i] + self.b[j] <= 0:
                return Empty((_unit(len(self), i) + _unit(len(self), j)) / 2)
        return None

    # ---------------------------------------------------------------- what bounds it

    def facets(self, start: ArrayLike | None = None) -> Facets:
        """Return the rows that bound the polytope, each with a point on it.

        Parameters
        ----------
        start : (d,) a point strictly inside from which to look; by default that of `interior`.

        Raises
        ------
        ArgumentError : nothing is strictly inside, or `start` is not.

        Notes
        -----
        A ray from inside meets first a facet, alone if no other row is as near: that point proves it. Redundant rows are sums of
        facets, ``y @ A = a`` and ``y @ b <= b_i`` with y >= 0: these multipliers prove it. What a row cuts off counts if it is
        more than 1e-9 of the row's distance from `start`. A hyperplane 1e9 times as far as the median one counts as never
        reached. Cost: walks take facets × dimensions for each row that is not one,
        about as many times as there are dimensions.
        """
        if start is None:
            return self._facets
        return _Search(self, self._started(start)).run()

    def _started(self, start: ArrayLike) -> Floats:
        inside = self.inside(start)
        if inside is None:
            raise ArgumentError(f"start is {clipped(start)}, which is not strictly inside; give a point that is.")
        return inside.witness

    @cached_property
    def _facets(self) -> Facets:
        return _Search(self, self._centre("facets")).run()

    def _centre(self, what: str) -> Floats:
        found = self._interior
        if isinstance(found, Interior):
            return found.witness
        why = found.reason if isinstance(found, Undecided) else "Nothing is strictly inside."
        raise ArgumentError(f"This polytope has no {what}. {why}")

    def bounds(self, start: ArrayLike | None = None) -> Floats:
        """Return the lowest and the highest value of each coordinate (d, 2); infinite where nothing bounds it.

        Parameters
        ----------
        start : (d,) a point strictly inside from which to look; by default that of `interior`.

        Raises
        ------
        ArgumentError : nothing is strictly inside, or `start` is not. UnfaithfulError : a solver's bound could not be confirmed.

        Notes
        -----
        A finite bound has multipliers that add up to it, and a point inside that reaches it to rounding; where there is none, a
        direction leads away without end.
        """
        return self._bounds if start is None else self._bounds_from(self._started(start))

    @cached_property
    def _bounds(self) -> Floats:
        return self._bounds_from(self._centre("bounds"))

    def _bounds_from(self, centre: Floats) -> Floats:
        d = self.n_dimensions
        polar = _Polar(self, centre)
        goals = np.concatenate([np.eye(d), -np.eye(d)])
        value = _farthest(polar.P[polar.near], goals)
        low, high = -value[d:], value[:d]
        out = np.stack([low, high], axis=1) * polar.scale[:, None] + polar.origin[:, None]
        out.flags.writeable = False
        return out

    def vertices(self) -> Floats:
        """Return the corners (V, d) of a bounded polytope in few dimensions, in the order of their coordinates.

        Raises
        ------
        ArgumentError : more than 8 dimensions, nothing strictly inside, or no end in some direction.
        UnfaithfulError : a corner is not one, or a facet has too few.

        Notes
        -----
        By Qhull's intersection of halfspaces. Every corner is put back into all rows, and d independent ones meet there; every
        facet has d corners or more. Corners nearer to each other than 1e-9 of the polytope are one.
        """
        d = self.n_dimensions
        if d > _MOST_DIMENSIONS:
            raise ArgumentError(
                f"The polytope has {d} dimensions; its corners are counted in {_MOST_DIMENSIONS} at most."
            )
        bounds = self.bounds()
        if not np.isfinite(bounds).all():
            raise ArgumentError("The polytope has no end in some direction; cut it with `within` first.")
        if d == 1:
            return bounds.reshape(2, 1).copy()
        from scipy.spatial import HalfspaceIntersection, QhullError

        polar = _Polar(self, self._centre("corners"))
        rows = polar.P[self.facets().index]
        try:
            y = HalfspaceIntersection(np.column_stack([rows, -np.ones(len(rows))]), np.zeros(d)).intersections
        except QhullError as problem:
            raise UnfaithfulError(f"Qhull finds no corners: {clipped(problem)}") from None
        return self._checked(y, rows, polar)

    def _checked(self, y: Floats, rows: Floats, polar: _Polar) -> Floats:
        """Return corners in the units of x, each once, after putting them back."""
        d = self.n_dimensions
        size = np.abs(y).max()
        y = y[np.unique(np.round(y / (size * TOLERANCE)), axis=0, return_index=True)[1]]
        value = y @ rows.T
        tight = np.abs(value - 1) <= 1e-7 * np.maximum(1, np.abs(y) @ np.abs(rows).T)
        independent = all(np.linalg.matrix_rank(rows[at], tol=1e-9) == d for at in tight)
        if not (
            np.isfinite(y).all() and (tight | (value < 1)).all() and independent and (tight.sum(axis=0) >= d).all()
        ):
            raise UnfaithfulError(
                "The corners that Qhull found do not fit the rows: some hyperplanes are too nearly parallel to tell where they "
                "meet. Use `bounds` and `facets`, which do not need corners."
            )
        return y * polar.scale + polar.origin


def _unit(n: int, i: int) -> Floats:
    out = np.zeros(n)
    out[i] = 1.0
    return out


# ---------------------------------------------------------------- coordinates about a point inside


class _Polar:
    """The polytope as {y : P y <= 1}, x = origin + scale * y, about a point strictly inside."""

    def __init__(self, polytope: Polytope, origin: Floats) -> None:
        A = polytope.A
        self.origin = origin
        self.slack = polytope.slack(origin)[0]
        P = A / self.slack[:, None]
        mean = np.sqrt((P * P).mean(axis=0)) if len(P) else np.ones(A.shape[1])
        self.scale = 1.0 / np.where(mean > 0, mean, 1.0)
        self.P = P * self.scale
        # what a row cuts off is not spoken of below this, in units of its distance from the origin
        self.tolerance = np.maximum(TOLERANCE, 8 * polytope._rounding(origin) / self.slack)
        self.size = np.sqrt((self.P * self.P).sum(axis=1))
        self.near = self.size >= _NEVER * np.median(self.size) if len(P) else np.zeros(0, dtype=bool)


class _Search:
    """Finds the facets of one polytope."""

    def __init__(self, polytope: Polytope, start: Floats) -> None:
        self.polytope = polytope
        self.polar = _Polar(polytope, start)
        self.P = self.polar.P
        m = len(self.P)
        self.first = _first_of_same(self.P, self.polar.tolerance * self.polar.size)
        self.rows = np.flatnonzero(self.first == np.arange(m))  # each hyperplane once
        self.Q = self.P[self.rows]
        self.known = np.zeros(len(self.rows), dtype=bool)
        self.redundant = ~self.polar.near[self.rows]
        self.point = np.zeros_like(self.Q)  # in polar coordinates
        self.clearance = np.zeros(len(self.rows))
        self.rng = np.random.default_rng(0)

    @one_thread()  # hundreds of small products, on which threads only wait for each other
    def run(self) -> Facets:
        if len(self.rows):
            self._boxed()
            self._rays()
            self._walks()
            self._programs()
        index = self.rows[self.known]
        place = np.full(len(self.P), -1, dtype=np.intp)
        place[index] = np.arange(len(index))
        return Facets(
            index=index,
            point=self.polar.origin + self.point[self.known] * self.polar.scale,
            clearance=self.clearance[self.known],
            same=place[self.first],
            doubtful=self.rows[~self.known & ~self.redundant],
        )

    @property
    def open(self) -> Integers:
        return np.flatnonzero(~self.known & ~self.redundant)

    def _boxed(self) -> None:
        """Rows that a box of single-coordinate rows keeps from being reached are redundant."""
        used = np.count_nonzero(self.Q, axis=1)
        reach = np.full((2, self.Q.shape[1]), np.inf)
        single = np.flatnonzero(used == 1)
        column = np.abs(self.Q[single]).argmax(axis=1)
        value = self.Q[single, column]
        np.minimum.at(reach, ((value < 0).astype(np.intp), column), 1 / np.abs(value))
        if not np.isfinite(reach).any():
            return
        with np.errstate(invalid="ignore"):
            most = np.where(self.Q > 0, self.Q * reach[0], np.where(self.Q < 0, -self.Q * reach[1], 0.0)).sum(axis=1)
        self.redundant |= (used > 1) & (most < 1)

    # ---------------------------------------------------------------- rays

    def _rays(self) -> None:
        """Shoot from inside along the rows' normals; where much is left, along axes and at random until little comes of it."""
        d = self.Q.shape[1]
        live = self.Q[~self.redundant]
        self.shoot(live)
        if self._few():
            return
        spread = np.linalg.eigh(live.T @ live / len(live))
        # as the body is long
        round_body = spread[1] / np.sqrt(np.maximum(spread[0], 1e-6 * spread[0].max()))
        self.shoot(np.concatenate([live @ round_body @ round_body.T, np.eye(d), -np.eye(d)]), known_too=True)
        count = max(64, 2 * d, len(live) // 2)
        for _ in range(_RAYS):
            before = int(self.known.sum())
            left = len(self.open)
            self.shoot(self.rng.normal(size=(count, d)) @ round_body.T, known_too=True)
            if int(self.known.sum()) - before < 0.02 * left + 1:
                break

    def shoot(self, directions: Floats, known_too: bool = False) -> None:
        """Note the facets that rays from the origin meet; of known ones, if asked for, points with more clearance."""
        step = max(1, _CELLS // max(len(self.rows), 1))
        for begin in range(0, len(directions), step):
            ray = directions[begin : begin + step]
            ray = ray[ray.any(axis=1)]
            T = ray @ self.Q.T
            hit = T.argmax(axis=1)
            at = np.arange(len(ray))
            rate = T[at, hit]
            some = np.flatnonzero((known_too | ~self.known[hit]) & (rate > 1e-12 * np.sqrt((ray * ray).sum(axis=1))))
            self._noted(ray[some] / rate[some, None], hit[some], T[some] / rate[some, None])

    def _noted(self, y: Floats, hit: Integers, value: Floats) -> None:
        """Keep points on facets: `y` is on row `hit`, and `value` is Q y."""
        distance = (1 - value) * self.polar.slack[self.rows]
        distance[np.arange(len(y)), hit] = np.inf
        distance = np.where(1 - value > self.polar.tolerance[self.rows] * 1e-2, distance, -np.inf)
        distance[np.arange(len(y)), hit] = np.inf
        clear = distance.min(axis=1)
        order = np.argsort(-clear, kind="stable")
        facet, first = np.unique(hit[order], return_index=True)
        best = order[first]
        better = (clear[best] > 0) & (clear[best] > self.clearance[facet])
        facet, best = facet[better], best[better]
        self.known[facet] = True
        self.redundant[facet] = False
        self.point[facet], self.clearance[facet] = y[best], clear[best]

    # ---------------------------------------------------------------- walks

    def _walks(self) -> None:
        """Walk along edges of what is known, for every row left: to a point beyond it, or to a proof that there is none."""
        for _ in range(_ROUNDS):
            left = self.open
            if len(left) == 0:
                return
            columns = np.flatnonzero(self.known)
            before = len(columns)
            own = None
            if whole := self._few():
                columns = np.flatnonzero(~self.redundant)
                own = np.searchsorted(columns, left)
            walk = _walked(self.Q[columns], self.Q[left], self.polar.tolerance[self.rows[left]], own)
            endless, beyond = walk.state == ENDLESS, walk.state == EXCEEDED
            self._towards(np.concatenate([walk.ray[endless], walk.y[beyond]]), closely=not whole)
            at = np.flatnonzero(walk.state == REACHED)
            self._proved(left[at], columns[walk.rows[at]], np.where(walk.rows[at] >= 0, walk.multipliers[at], 0.0))
            if int(self.known.sum()) == before:
                return

    def _few(self) -> bool:
        """Return whether so few rows are left that walks may keep to all rows, which settles each at once."""
        return len(self.open) <= _WHOLE * int(self.known.sum()) + 2 * self.Q.shape[1]

    def _towards(self, target: Floats, closely: bool = True) -> None:
        """Shoot at points beyond unknown rows, and close to them where several rows are met at once."""
        self.shoot(target)
        if not closely:
            return
        d = target.shape[1]
        length = np.sqrt((target * target).sum(axis=1, keepdims=True)) / np.sqrt(d)
        for width in (1e-6, 1e-4, 1e-2):
            self.shoot(target + width * length * self.rng.normal(size=target.shape))

    def _proved(self, rows: Integers, facets: Integers, multipliers: Floats) -> None:
        """Mark rows (K,) as redundant to which facets (K, n), times multipliers (K, n), add up."""
        n, d = facets.shape[1], self.Q.shape[1]
        step = max(1, _CELLS // max(n * d, 1))
        for begin in range(0, len(rows), step):
            at = slice(begin, begin + step)
            i = self.rows[rows[at]]
            y = np.maximum(multipliers[at], 0.0)
            total = np.matmul(y[:, None], self.Q[facets[at]])[:, 0]
            tolerance = self.polar.tolerance[i]
            fits = np.abs(total - self.Q[rows[at]]).max(axis=1) <= tolerance * self.polar.size[i]
            fits &= (y.sum(axis=1) <= 1 + tolerance) & (self.known[facets[at]] | (y == 0)).all(axis=1)
            self.redundant[rows[at][fits]] = True

    # ---------------------------------------------------------------- linear programs

    def _programs(self) -> None:
        """Decide what is left by the solver, one row at a time."""
        for i in self.open:
            for _ in range(len(self.rows)):
                if self.known[i] or self.redundant[i]:
                    break
                facets = np.flatnonzero(self.known)
                before = len(facets)
                answer = _solved(self.Q[facets], self.Q[i])
                if answer is None:
                    break
                y, multipliers = answer
                if multipliers is not None:
                    self._proved(np.array([i]), facets[None], multipliers[None])
                if not self.redundant[i]:
                    self._towards(np.repeat(y[None], 4, axis=0))
                    if int(self.known.sum()) == before:
                        break


def _first_of_same(P: Floats, tolerance: Floats) -> Integers:
    """Return for each row the first row that is the same to the tolerance (m,)."""
    m, d = P.shape
    first = np.arange(m)
    if m == 0:
        return first
    direction = np.cos(1.0 + np.arange(d))
    key = P @ direction
    order = np.argsort(key, kind="stable")
    width = tolerance * np.sqrt(float(direction @ direction))
    for offset in range(1, m):
        one, other = order[:-offset], order[offset:]
        near = key[other] - key[one] <= np.maximum(width[one], width[other])
        if not near.any():
            break
        one, other = one[near], other[near]
        allowed = np.maximum(tolerance[one], tolerance[other])
        pair = np.abs(P[one] - P[other]).max(axis=1) <= allowed
        for i, j in zip(one[pair], other[pair], strict=True):
            first[max(i, j)] = min(first[max(i, j)], i, j)
    for i in range(m):
        first[i] = first[first[i]]
    return first


# ---------------------------------------------------------------- walking along edges


@dataclass(frozen=True, eq=False)
class _Walk:
    """Where walks ended: state (K,), point y and direction without end (K, d), the rows met there (K, d), -1 for none, and their
    multipliers.
    """

    state: Integers
    y: Floats
    ray: Floats
    rows: Integers
    multipliers: Floats


def _walked(P: Floats, goals: Floats, tolerance: Floats | None = None, own: Integers | None = None) -> _Walk:
    """Return for each goal (K, d) where ``goal @ y`` is largest over {y : P y <= 1}, from 0 along edges.

    Parameters
    ----------
    tolerance : (K,) stop where ``goal @ y`` exceeds 1 by more; without it walk to the end, with limits of exactly 1.
    own : (K,) a row that does not count for each goal.

    Notes
    -----
    All goals at once: up to a corner by the steepest way that the rows met leave open, as Rosen's projected gradient, and on by
    the primal simplex method. Limits are raised a little, each by another number, so that no two rows are met at once;
    multipliers do not depend on that. Nothing here is a proof.
    """
    K, (F, d) = len(goals), P.shape
    none = np.full((K, d), -1, dtype=np.intp)
    out = _Walk(np.full(K, OPEN, dtype=np.intp), np.zeros((K, d)), np.zeros((K, d)), none, np.zeros((K, d)))
    limit = np.ones(F)
    if tolerance is not None:
        limit += _RAISED * np.random.default_rng(0).uniform(1, 2, size=F)
    end = np.full(K, np.inf) if tolerance is None else 1 + 3 * _RAISED + 2 * tolerance
    step = max(1, _CELLS // max(F, d * d, 1))
    for begin in range(0, K if F else 0, step):
        who = np.arange(begin, min(begin + step, K))
        room = np.repeat(limit[None], len(who), axis=0)
        if own is not None:
            room[np.arange(len(who)), own[who]] = np.inf
        with np.errstate(over="ignore"):
            stuck = _climb(P, goals, end, who, room.copy(), out)
        if len(stuck):
            # from the start, along edges alone: in directions that no row bounds yet, too
            n = len(stuck)
            edges, basis = np.repeat(np.eye(d)[None], n, axis=0), np.full((n, d), -1, dtype=np.intp)
            with np.errstate(over="ignore"):
                _along(P, goals, end, stuck, np.zeros((n, d)), room[stuck - begin], edges, basis, out)
    return out


def _climb(P: Floats, goals: Floats, end: Floats, who: Integers, slack: Floats, out: _Walk) -> Integers:
    """Walk to a corner and on from there; return those of `who` whose goal is a sum of fewer rows than make a corner."""
    d, K = P.shape[1], len(who)
    across = np.ascontiguousarray(P.T)
    goal, stop = goals[who], end[who]
    y, rest, value = np.zeros((K, d)), goal.copy(), np.zeros(K)
    steep = np.vecdot(rest, rest)
    flat, squares = 1e-22 * steep, np.vecdot(P, P)
    # the rows met are L @ frame, with orthonormal frame and lower triangular L, of which the inverse is kept
    frame, lower, basis = np.empty((K, d, d)), np.zeros((K, d, d)), np.empty((K, d), dtype=np.intp)
    live, stuck = np.ones(K, dtype=bool), [np.zeros(0, dtype=np.intp)]
    for p in range(d):
        if np.count_nonzero(live) < _CROWD * len(live):
            parts: tuple[Any, ...] = (who, stop, y, rest, value, steep, flat, basis, slack)
            who, stop, y, rest, value, steep, flat, basis, slack = (part[live] for part in parts)
            frame[: len(who), :p], lower[: len(who), :p, :p] = frame[live, :p], lower[live, :p, :p]
            frame, lower = frame[: len(who)], lower[: len(who)]
            live = live[live]
        if len(who) == 0:
            break
        n = np.arange(len(who))
        rate, step, enter, endless = _met(rest, np.sqrt(steep), across, slack, live)
        if endless.any():
            out.state[who[endless]], out.ray[who[endless]] = ENDLESS, rest[endless]
            live &= ~endless
        y += step[:, None] * rest
        value += step * steep
        rate *= step[:, None]
        slack -= rate
        np.abs(slack, out=slack)
        slack += _NONE
        slack[n, enter] = np.inf
        beyond = live & (value > stop)
        if beyond.any():
            out.state[who[beyond]], out.y[who[beyond]] = EXCEEDED, y[beyond]
            live &= ~beyond
        row = P[enter]
        part = np.matmul(frame[:, :p], row[:, :, None])[:, :, 0]
        new = row - np.matmul(part[:, None], frame[:, :p])[:, 0]
        length = np.vecdot(new, new)
        lost = (length < 0.01 * squares[enter]).nonzero()[0]
        if len(lost):  # of what cancels, the remains are made orthogonal once more
            more = np.matmul(frame[lost, :p], new[lost, :, None])[:, :, 0]
            new[lost] -= np.matmul(more[:, None], frame[lost, :p])[:, 0]
            part[lost] += more
            length[lost] = np.vecdot(new[lost], new[lost])
            nothing = lost[length[lost] <= 1e-24 * squares[enter[lost]]]
            new[nothing], length[nothing] = 0.0, 1.0
            flat[nothing] = np.inf
        length = np.sqrt(length)[:, None]
        new /= length
        frame[:, p], basis[:, p] = new, enter
        lower[:, p, :p] = np.matmul(part[:, None], lower[:, :p, :p])[:, 0] / -length
        lower[:, p, p] = 1 / length[:, 0]
        rest -= np.vecdot(rest, new)[:, None] * new
        steep = np.vecdot(rest, rest)
        no_way = live & (steep <= flat) & ((p < d - 1) | (flat == np.inf))
        if no_way.any():
            stuck.append(who[no_way])
            live &= ~no_way
    edges = np.matmul(lower[live].transpose(0, 2, 1), frame[live])
    _along(P, goals, end, who[live], y[live], slack[live], edges, basis[live], out)
    return np.concatenate(stuck)


def _along(
    P: Floats,
    goals: Floats,
    end: Floats,
    who: Integers,
    y: Floats,
    slack: Floats,
    edges: Floats,
    basis: Integers,
    out: _Walk,
) -> None:
    """Walk along edges (K, d, d) from y, each edge leaving one row of the basis (K, d), -1 where it is bound by none."""
    d = P.shape[1]
    across = np.ascontiguousarray(P.T)
    goal, stop = goals[who], end[who]
    least = 1e-11 * np.sqrt(np.vecdot(goal, goal))
    multiplier = np.matmul(edges, goal[:, :, None])[:, :, 0]
    value = np.vecdot(goal, y)
    live = np.ones(len(who), dtype=bool)
    for _ in range(10 * (d + 5)):
        n, free = np.arange(len(who)), basis < 0
        lengths = np.sqrt(np.vecdot(edges, edges))
        gain = np.where(free, np.abs(multiplier), -multiplier) / lengths
        leave = gain.argmax(axis=1)
        ended = (live & ~(gain[n, leave] > least)).nonzero()[0]
        if len(ended):
            out.state[who[ended]], out.y[who[ended]], out.rows[who[ended]] = REACHED, y[ended], basis[ended]
            out.multipliers[who[ended]] = np.matmul(edges[ended], goal[ended, :, None])[:, :, 0]
            live[ended] = False
        if np.count_nonzero(live) < _CROWD * len(live):
            parts: tuple[Any, ...] = (who, goal, stop, least, multiplier, value, y, slack, edges, basis, leave, lengths)
            who, goal, stop, least, multiplier, value, y, slack, edges, basis, leave, lengths = (p[live] for p in parts)
            live = live[live]
            n = np.arange(len(who))
        if len(who) == 0:
            return
        old, row_left, length = multiplier[n, leave], basis[n, leave], lengths[n, leave]
        bound = row_left >= 0
        slack[n[bound], row_left[bound]] = _NONE
        edge = edges[n, leave] * np.sign(old)[:, None]
        rate, step, enter, endless = _met(edge, length, across, slack, live)
        if endless.any():
            out.state[who[endless]], out.ray[who[endless]] = ENDLESS, edge[endless]
            live &= ~endless
        y += step[:, None] * edge
        value += step * np.abs(old)
        rate *= step[:, None]
        slack -= rate
        np.abs(slack, out=slack)
        slack += _NONE
        slack[n, enter] = np.inf
        # the row met takes the place of the one left
        part = np.matmul(edges, P[enter][:, :, None])[:, :, 0]
        pivot = np.where(live, part[n, leave], 1.0)
        part[n, leave] = 0.0
        part[~live] = 0.0  # walks that ended stay as they are until they are dropped
        new, old = edges[n, leave] / pivot[:, None], old / pivot
        edges -= np.matmul(part[:, :, None], new[:, None, :])
        multiplier -= part * old[:, None]
        edges[n, leave], multiplier[n, leave], basis[n, leave] = new, old, enter
        beyond = live & (value > stop)
        if beyond.any():
            out.state[who[beyond]], out.y[who[beyond]] = EXCEEDED, y[beyond]
            live &= ~beyond
    out.y[who[live]] = y[live]


def _met(
    direction: Floats, length: Floats, across: Floats, slack: Floats, live: Bools
) -> tuple[Floats, Floats, Integers, Bools]:
    """Return how fast each row comes nearer (K, F), how far the first is (K,), which it is, and whether no row ever comes."""
    rate = direction @ across
    n, least = np.arange(len(rate)), 1e-11 * length
    near = rate / slack
    enter = near.argmax(axis=1)
    low = (rate[n, enter] <= least).nonzero()[0]
    if len(low):  # rounding on a row that is as good as met may hide another
        near[low] = np.where(rate[low] > least[low, None], near[low], 0.0)
        enter[low] = near[low].argmax(axis=1)
    nearest = near[n, enter]
    never = ~(nearest > 0)
    step = np.where(live & ~never, 1.0, 0.0) / np.where(never, 1.0, nearest)
    return rate, step, enter, live & never


def _farthest(P: Floats, goals: Floats) -> Floats:
    """Return the largest ``goal @ y`` over {y : P y <= 1} for each goal (K, d), inf where there is none.

    Raises
    ------
    UnfaithfulError : neither a walk nor the solver gave an answer that could be confirmed.
    """
    out = np.full(len(goals), np.nan)
    if len(P) == 0:
        return np.full(len(goals), np.inf)
    walk = _walked(P, goals)
    for k, goal in enumerate(goals):
        multipliers = np.zeros(len(P))
        met = walk.rows[k] >= 0
        multipliers[walk.rows[k][met]] = walk.multipliers[k][met]
        out[k] = _confirmed(P, goal, walk.y[k], multipliers, walk.ray[k])
        if np.isnan(out[k]):
            answer = _solved(P, goal)
            if answer is not None:
                y, found = answer
                ray = y if found is None else np.zeros_like(y)
                out[k] = _confirmed(P, goal, y, np.zeros(len(P)) if found is None else found, ray)
    if np.isnan(out).any():
        raise UnfaithfulError(
            f"The bounds of {int(np.isnan(out).sum())} directions could not be confirmed: rows are too nearly parallel for "
            "float64. Cut the polytope with `within` first."
        )
    return out


def _confirmed(P: Floats, goal: Floats, y: Floats, multipliers: Floats, ray: Floats) -> float:
    """Return the largest ``goal @ y``, or NaN if neither multipliers and point nor a direction without end prove it."""
    size = np.abs(P).max(axis=1)
    if ray.any() and (P @ ray <= 1e-12 * size * np.abs(ray).sum()).all() and goal @ ray > TOLERANCE * np.abs(ray).max():
        return float("inf")
    most = float(multipliers.sum())
    adds_up = (multipliers >= -TOLERANCE * max(most, 0.0)).all() and np.abs(multipliers @ P - goal).max() <= TOLERANCE
    inside = (P @ y <= 1 + TOLERANCE).all()
    if adds_up and inside and abs(goal @ y - most) <= 10 * TOLERANCE * (1 + abs(most)):
        return most
    return float("nan")


# ---------------------------------------------------------------- the solver


def quiet_solver(tolerance: float) -> Any:
    """Return a HiGHS solver that prints nothing and uses one thread, with a feasibility tolerance (of rows and of prices)."""
    solver = _quiet_solver()()
    for name, value in (
        ("output_flag", False),
        ("presolve", "off"),
        ("threads", 1),
        ("primal_feasibility_tolerance", tolerance),
        ("dual_feasibility_tolerance", tolerance),
    ):
        solver.setOptionValue(name, value)
    return solver


@cache
def _quiet_solver() -> Any:
    import highspy

    class Quiet(highspy.Highs):  # type: ignore[misc, unused-ignore]
        def enableCallbacks(self) -> None:
            """Leave callbacks off: turning them on prints a banner before any option can be set."""

    return Quiet


def _program(cost: Floats, A: Floats, upper: Floats, column_upper: Floats) -> Any:
    """Return a solver that maximises ``cost @ x`` over ``A x <= upper`` and ``x <= column_upper``, after its run."""
    import highspy

    m, d = A.shape
    row, column = np.nonzero(A)
    start = np.searchsorted(row, np.arange(m + 1))
    solver = quiet_solver(_SOLVER)
    size = np.abs(A).max(axis=0)
    if size.max() < _ALIKE * size.min():
        solver.setOptionValue("simplex_scale_strategy", 0)
    solver.passModel(
        d,
        m,
        len(row),
        int(highspy.MatrixFormat.kRowwise),
        int(highspy.ObjSense.kMaximize),
        0.0,
        cost,
        np.full(d, -np.inf),
        column_upper,
        np.full(m, -np.inf),
        upper,
        start.astype(np.int32),
        column.astype(np.int32),
        A[row, column],
        np.zeros(d, dtype=np.int32),
    )
    solver.run()
    return solver


def _largest_ball(A: Floats, b: Floats) -> tuple[Floats | None, Floats | None]:
    """Return the centre of a largest ball in {x : A x <= b}, of radius 1 at most, and the multipliers that bound its radius."""
    import highspy

    m, d = A.shape
    rows = np.column_stack([A, np.ones(m)])
    solver = _program(np.append(np.zeros(d), 1.0), rows, b, np.append(np.full(d, np.inf), 1.0))
    if solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        return None, None
    solution = solver.getSolution()
    return np.array(solution.col_value)[:d], np.abs(np.array(solution.row_dual))


def _solved(P: Floats, goal: Floats) -> tuple[Floats, Floats | None] | None:
    """Return where ``goal @ y`` is largest over {y : P y <= 1} with its multipliers; a direction and None if it has no end."""
    import highspy

    if len(P) == 0:
        return goal, None
    solver = _program(goal, P, np.ones(len(P)), np.full(P.shape[1], np.inf))
    status = solver.getModelStatus()
    if status == highspy.HighsModelStatus.kOptimal:
        solution = solver.getSolution()
        return np.array(solution.col_value), np.abs(np.array(solution.row_dual))
    if status == highspy.HighsModelStatus.kUnbounded:
        ray = solver.getPrimalRay()
        if len(ray) > 2 and ray[1]:
            return np.array(ray[2], dtype=np.float64), None
    return None
