"""The nearest points of half-spaces and polyhedra, in three norms, with bounds that do not depend on a solver being right."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from relucidate.exact import U
from relucidate.layers import Bools, Floats
from relucidate.polytope import quiet_solver

Integers = NDArray[np.intp]
Norm = Literal["1", "2", "inf"]

FAR = 1e6  # units of the scale, or times the size of the row in them: farther nothing is looked for
SLACK = 1e-9  # of a distance, by which a point may lie beyond a wall
_LARGE = 1e140  # numbers of which neither squares nor their sums, nor those of their inverses, leave float64
_PENALTY = 1e5  # price of lying beyond a wall, in distances; see `Programs`


# ---------------------------------------------------------------- distances to half-spaces


def norm_of(t: Floats, norm: Norm) -> Floats:
    """Return the norms of vectors (…, d)."""
    if t.shape[-1] == 0:
        return np.zeros(t.shape[:-1])
    if norm != "2":
        return np.asarray(np.abs(t).sum(axis=-1) if norm == "1" else np.abs(t).max(axis=-1))
    size = np.asarray(np.sqrt(np.einsum("...i,...i->...", t, t)))  # which does not warn of what is mended below
    if not (
        size.min(initial=1.0) > 1 / _LARGE and size.max(initial=1.0) < _LARGE
    ):  # squares may be beyond float64, or 0
        odd = ~((size > 1 / _LARGE) & (size < _LARGE))
        some = t[odd]
        unit = np.abs(some).max(axis=-1, keepdims=True)
        unit = np.where((unit > 0) & (unit < np.inf), unit, 1.0)
        some = some / unit
        size[odd] = unit[..., 0] * np.sqrt(np.einsum("...i,...i->...", some, some))
    return size


DUAL: dict[Norm, Norm] = {"1": "inf", "2": "2", "inf": "1"}


@dataclass(frozen=True, eq=False)
class Reach:
    """How far rows can move. low, high : (m, d) in units of the scale, around 0. norm : of the moves."""

    low: Floats
    high: Floats
    norm: Norm

    def taken(self, rows: Any) -> Reach:
        """Return that of some rows."""
        return Reach(self.low[rows], self.high[rows], self.norm)

    @cached_property
    def movable(self) -> Bools:
        """Which features can move at all (m, d)."""
        return (self.low < 0) | (self.high > 0)

    @cached_property
    def is_free(self) -> bool:
        """Whether what can move is not limited."""
        return not (self.movable & (np.isfinite(self.low) | np.isfinite(self.high))).any()

    def half_space(self, a: Floats, g: Floats) -> tuple[Floats, Floats]:
        """Return per row the distance (m,) to ``a @ t >= g``, inf where out of reach, and the nearest point (m, d)."""
        if a.shape[1] == 0:
            return np.where(g > 0, np.inf, 0.0), np.zeros(a.shape)
        c = np.where(self.movable, np.abs(a), 0.0)
        cap = np.where(c > 0, np.where(a > 0, self.high, -self.low), 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            t = self._greedy(c, cap, g) if self.norm == "1" else self._level(c, cap, g)
        t = np.where(g[:, None] > 0, t, 0.0)
        out = np.isnan(t.sum(axis=1))
        size = norm_of(np.where(out[:, None], 0.0, t), self.norm)
        return np.where(out, np.inf, size), np.where(out[:, None], np.nan, t * np.sign(a))

    @staticmethod
    def _greedy(c: Floats, cap: Floats, g: Floats) -> Floats:
        """Return moves >= 0 with ``c @ t = g`` of the least sum: those that gain most come first."""
        order = np.argsort(-c, axis=1, kind="stable")
        c, cap = np.take_along_axis(c, order, 1), np.take_along_axis(cap, order, 1)
        gain = np.where(cap > 0, c * cap, 0.0)
        before = np.concatenate([np.zeros((len(c), 1)), np.cumsum(gain, axis=1)[:, :-1]], axis=1)
        need = np.clip(g[:, None] - np.where(np.isfinite(before), before, np.inf), 0.0, None)
        t = np.where(c > 0, np.minimum(np.where(c > 0, need / c, 0.0), cap), 0.0)
        short = (gain.sum(axis=1) < g) | ~(c > 0).any(axis=1)
        out = np.empty_like(t)
        np.put_along_axis(out, order, np.where(short[:, None], np.nan, t), 1)
        return out

    def _level(self, c: Floats, cap: Floats, g: Floats) -> Floats:
        """Return moves >= 0 with ``c @ t = g`` of the least norm: all rise together until each meets its cap."""
        if self.norm == "2":  # in units of the largest, since squares may leave float64
            unit = np.ldexp(1.0, np.frexp(c.max(axis=1))[1] - 1)
            c, g = c / unit[:, None], g / unit
        q, knot = (c * c, np.where(c > 0, cap / c, np.inf)) if self.norm == "2" else (c, np.where(c > 0, cap, np.inf))
        order = np.argsort(knot, axis=1, kind="stable")
        ks, qs = np.take_along_axis(knot, order, 1), np.take_along_axis(q, order, 1)
        full = np.where(np.isfinite(ks), qs * ks, 0.0)
        before = np.cumsum(full, axis=1) - full
        rest = np.cumsum(qs[:, ::-1], axis=1)[:, ::-1]
        theta = np.where(rest > 0, (g[:, None] - before) / rest, np.inf)
        fits = (theta <= ks) & np.isfinite(theta)
        first = fits.argmax(axis=1)
        rows = np.arange(len(c))
        at = np.where(fits[rows, first], theta[rows, first], np.nan)[:, None]
        return np.where(c > 0, np.minimum(at * c if self.norm == "2" else at, cap), 0.0 * at)

    def dual(self, a: Floats) -> Floats:
        """Return the dual norms of rows (…, d)."""
        return norm_of(a, DUAL[self.norm])


def first_wall(inward: Floats, slack: Floats, reach: Reach) -> tuple[Floats, Integers]:
    """Return per row the distance (m,) to the nearest wall, inf where none can be reached, and which wall it is."""
    m, B = slack.shape
    best, which = np.full(m, np.inf), np.full(m, -1, dtype=np.intp)
    if B == 0:
        return best, which
    length = reach.dual(np.where(reach.movable.any(axis=0), inward, 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        least = np.where(length > 0, slack / length, np.inf)  # as if nothing were bounded: no more than the distance
    order = np.argsort(least, axis=1, kind="stable")
    for k in range(B):
        wall = order[:, k]
        rows = np.flatnonzero(least[np.arange(m), wall] < best)
        if len(rows) == 0:
            break
        wall = wall[rows]
        distance, _ = reach.taken(rows).half_space(-inward[wall], slack[rows, wall])
        nearer = distance < best[rows]
        best[rows[nearer]], which[rows[nearer]] = distance[nearer], wall[nearer]
    return best, which


# ---------------------------------------------------------------- least distances


class Programs:
    """Least-distance programs: the shortest t with ``A t >= b`` and ``low <= t <= high``.

    Notes
    -----
    What a solver says of its walls' weights y >= 0 is turned into a bound that holds whatever they are: every t there has
    ``(y'A) t >= y'b``, one half-space, whose distance within low and high is exact. A t that breaks its walls is not
    returned.
    """

    def __init__(self, low: Floats, high: Floats, norm: Norm) -> None:
        self.low, self.high, self.norm = low, high, norm
        self.reach = Reach(low[None], high[None], norm)
        self._solver: Any = None

    def one_wall(self, a: Floats, b: Floats) -> Floats:
        """Return the distance (m,) to each of ``a @ t >= b`` alone."""
        if self.reach.is_free:
            length = self.reach.dual(a)
            with np.errstate(divide="ignore", invalid="ignore"):
                return np.where(b <= 0, 0.0, np.where(length > 0, b / length, np.inf))
        whole = (np.broadcast_to(self.low, a.shape), np.broadcast_to(self.high, a.shape))
        return Reach(*whole, self.norm).half_space(a, b)[0]

    def nearest(self, A: Floats, b: Floats, within: float, roughly: bool = False) -> tuple[Floats | None, float]:
        """Return the shortest t, None if there is none, and a bound that no t is shorter than.

        Parameters
        ----------
        within : no t longer than this is looked for. roughly : whether the bound is enough.

        Notes
        -----
        For the other norms too the program in norm 2 comes first: it is quicker, and its weights prove that there is no t.
        """
        length = norm_of(A, "2")
        if (b[length == 0] > 0).any():
            return None, np.inf
        A, b = A[length > 0] / length[length > 0, None], b[length > 0] / length[length > 0]
        # rounding; walls that nothing but rounding tilts are without end away, and say nothing of it
        near = np.abs(b)[np.abs(b) < FAR]
        violated = b > 1e-15 * max(1.0, float(near.max(initial=0.0)))
        if not violated.any():
            return np.zeros(A.shape[1]), 0.0
        least = float(self.one_wall(A[violated], b[violated]).max())
        if least >= within:
            return None, least
        needed = b > -within * self.reach.dual(A)  # no t so short can break the others
        A, b, unit = A[needed], b[needed], max(least, 1e-300)
        low, high = (np.where(np.abs(v) < within, v / unit, np.copysign(np.inf, v)) for v in (self.low, self.high))
        t, y = _by_nnls(A, b / unit, low, high, roughly or self.norm != "2")
        bound = max(least, self._proved(A, b, y))
        if bound >= within or roughly:
            return None, bound
        if self.norm != "2":
            t, y = self._by_highs(A, b / unit, low, high)
            bound = max(bound, self._proved(A, b, y))
        if t is None:
            return None, bound
        t = np.clip(unit * t, self.low, self.high)
        size = float(norm_of(t, self.norm))
        if not (A @ t - b >= -SLACK * size).all():
            return None, bound
        return t, min(bound, size)

    def _proved(self, A: Floats, b: Floats, y: Floats) -> float:
        """Return the distance to the half-space that weights y >= 0 of the walls prove; what is 0 to rounding is 0."""
        together = y @ A
        together[np.abs(together) <= 8 * len(y) * U * (y @ np.abs(A))] = 0.0
        return float(self.one_wall(together[None], np.array([y @ b]))[0])

    def _by_highs(self, A: Floats, b: Floats, low: Floats, high: Floats) -> tuple[Floats | None, Floats]:
        """Return the shortest t in norm 1 or inf, and the weights of the walls.

        Notes
        -----
        One more variable lets all walls give way at a price, so that there always is a solution with weights; where it is
        used there is no t, unless the walls meet so sharply that the weights would exceed the price.
        """
        import highspy

        if self._solver is None:
            self._solver = quiet_solver(1e-10)
        m, d = A.shape
        one = np.ones((m, 1))
        if self.norm == "1":  # t is the first d less the second d
            rows, cost = np.hstack([A, -A, one]), np.ones(2 * d + 1)
            lower, upper = np.zeros(2 * d + 1), np.concatenate([high, -low, [np.inf]])
            least = b
        else:  # t, and its largest entry
            eye, top = np.eye(d), np.ones((d, 1))
            rows = np.vstack([np.hstack([A, 0 * one, one]), *(np.hstack([s * eye, top, 0 * top]) for s in (1, -1))])
            cost = np.concatenate([np.zeros(d), [1.0, 1.0]])
            lower, upper = np.concatenate([low, [0.0, 0.0]]), np.concatenate([high, [np.inf, np.inf]])
            least = np.concatenate([b, np.zeros(2 * d)])
        cost[-1] = _PENALTY
        n = rows.shape[1]
        row, column = np.nonzero(rows)
        program = highspy.HighsLp()
        program.num_col_, program.num_row_ = n, len(rows)
        program.col_cost_, program.col_lower_, program.col_upper_ = cost, lower, upper
        program.row_lower_, program.row_upper_ = least, np.full(len(rows), np.inf)
        program.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        program.a_matrix_.start_ = np.searchsorted(row, np.arange(len(rows) + 1)).astype(np.int32)
        program.a_matrix_.index_, program.a_matrix_.value_ = column.astype(np.int32), rows[row, column]
        self._solver.passModel(program)
        self._solver.run()
        if self._solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            return None, np.zeros(m)
        solution = self._solver.getSolution()
        value, y = np.array(solution.col_value), np.maximum(np.array(solution.row_dual)[:m], 0.0)
        t = value[:d] - value[d : 2 * d] if self.norm == "1" else value[:d]
        return t, y


def _by_nnls(A: Floats, b: Floats, low: Floats, high: Floats, roughly: bool = False) -> tuple[Floats | None, Floats]:
    """Return the shortest t in norm 2, and the weights of the walls (Lawson and Hanson 1974, chapter 23).

    Notes
    -----
    With u >= 0 the least-squares solution of ``[A b]' u = (0, …, 0, 1)`` and r what is left, ``t = -r[:d] / r[d]``; r is 0
    where there is no t. The walls with u > 0 are those that t lies on, from which it is found again to full precision. With
    `roughly` the weights are enough.
    """
    from scipy.optimize import lsq_linear, nnls

    m, d = A.shape
    up, down = np.flatnonzero(np.isfinite(high)), np.flatnonzero(np.isfinite(low))
    eye = np.eye(d)
    A = np.concatenate([A, -eye[up], eye[down]])
    b = np.concatenate([b, -high[up], low[down]])
    length = np.hypot(1.0, b)
    system, wanted = np.vstack([A.T, b]) / length, np.zeros(d + 1)
    wanted[-1] = 1.0
    try:
        u = nnls(system, wanted)[0]
    except RuntimeError:  # it went round in circles
        u = np.maximum(lsq_linear(system, wanted, bounds=(0.0, np.inf), tol=1e-14).x, 0.0)
    rest = system @ u - wanted
    u = u / length
    if roughly or not rest[-1] < -1e-14:
        return None, u[:m]
    t = -rest[:-1] / rest[-1]
    on = u > 0
    again = np.linalg.lstsq(A[on], b[on], rcond=None)[0]
    if (A @ again - b).min() >= min((A @ t - b).min(), -1e-13):
        t = again
    return t, u[:m]
