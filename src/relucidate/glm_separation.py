"""Separation: whether a direction divides the classes, so that no finite unpenalised optimum exists, with the evidence."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from relucidate.errors import ArgumentError
from relucidate.glm_coordinates import standardised
from relucidate.glm_rows import Family, Rows
from relucidate.layers import Floats

SEPARABLE: tuple[Family, ...] = ("binomial", "multinomial", "poisson")
_MARGIN = 1e-9  # of a row of unit size: below it a direction counts as along the row's plane
_DIVIDED = 1e-6  # margins from here on divide; between the two nothing is decided
_HIGHS = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}


class Overlap(Enum):
    """Whether a hyperplane divides the classes."""

    OVERLAPPED = "no direction divides the classes: the unpenalised optimum exists"
    QUASI = "a direction divides the classes with rows of several classes on the dividing plane"
    COMPLETE = "a direction divides the classes without exception"
    UNDECIDED = "the margin found is within rounding; treat the classes as divided, or rescale the features"


@dataclass(frozen=True, eq=False)
class Separation:
    """The verdict on whether a direction divides the classes, with its evidence.

    Parameters
    ----------
    overlap : the verdict.
    coef : (K, d) and intercept : (K,) the direction, in the units of X: along it the likelihood never falls. Zeros if the
        classes overlap.
    n_divided : rows strictly on their own side.
    smallest_margin : of all rows along the direction, where the largest row norm is 1; not below -1e-9.
    bound : what the margins of all rows along any direction of unit size can add up to at most, from the dual solution;
        NaN where a direction was found.
    """

    overlap: Overlap
    coef: Floats
    intercept: Floats
    n_divided: int
    smallest_margin: float
    bound: float

    def __bool__(self) -> bool:
        return self.overlap is not Overlap.OVERLAPPED


def separated(
    X: ArrayLike,
    y: ArrayLike,
    family: Family = "binomial",
    *,
    weight: ArrayLike | None = None,
    n_classes: int | None = None,
) -> Separation:
    """Return whether a direction divides the classes, so that no finite unpenalised optimum exists.

    Parameters
    ----------
    X, y, weight, n_classes : as for `fit`, one group. For "poisson" zeros are divided from the other counts.

    Raises
    ------
    ArgumentError : the family has no such thing. DataError : as for `fit`.

    Notes
    -----
    Linear programme of Konis: maximise ``Σ_i m_i`` over directions w in the unit box, where row i has margin
    ``m_i = s_i x_i·w ≥ 0``; 0 iff the classes overlap. Both answers are checked here, whatever the solver says: a
    direction by its margins on all rows, an overlap by the dual solution, which bounds the margins of every direction.
    A second programme tells complete from quasi-complete separation. Rows with a share between 0 and 1 count for both
    classes. Directions along which no row moves are ignored.
    Source: Konis 2007, Linear programming algorithms for detecting separated data in binary logistic regression models,
    §3; Albert & Anderson 1984 for classes, Correia, Guimarães & Zylkin 2019 for counts.

    Examples
    --------
    >>> separated([[0.0], [1.0], [2.0]], [0, 1, 0]).overlap.name
    'OVERLAPPED'
    """
    if family not in SEPARABLE:
        raise ArgumentError(f"family is {family!r}; only {', '.join(SEPARABLE)} can be separated.")
    rows = Rows.of(X, y, family, weight=weight, n_classes=n_classes)
    z, mean, sd = standardised(rows.x[None], np.ones((1, len(rows.x))))
    a = np.concatenate([np.ones((len(rows.x), 1)), z[0]], axis=1)
    verdict = separation_of(a, rows.y, family, None)
    coef = verdict.coef / sd
    return replace(verdict, coef=coef, intercept=verdict.intercept - coef @ mean[0])


def separation_of(a: Floats, y: Floats, family: Family, guess: Floats | None) -> Separation:
    """Return the verdict for standardised rows (n, q); a guess (K, q) that divides all rows saves the programme."""
    K, q = y.shape[1], a.shape[1]
    sides, ties = _sides(a / max(float(np.abs(a).max(initial=0.0)), 1e-300), y, family)
    if guess is not None and np.abs(guess).max() > 0:
        w = guess / np.abs(guess).max()
        margins = sides @ w.ravel()
        if ties.shape[0] == 0 and len(margins) and margins.min() > _DIVIDED:
            return Separation(Overlap.COMPLETE, w[:, 1:], w[:, 0], len(a), float(margins.min()), np.nan)
    w, bound = _konis(sides, ties)
    margins, off = sides @ w, np.abs(ties @ w)
    smallest = float(min(margins.min(initial=np.inf), -off.max(initial=0.0)))
    largest = float(margins.max(initial=0.0))
    none = np.zeros((K, q - 1)), np.zeros(K)
    if largest <= _DIVIDED and bound <= 10 * _DIVIDED:
        return Separation(Overlap.OVERLAPPED, *none, 0, 0.0, bound)
    if smallest < -_MARGIN or largest <= _DIVIDED:
        return Separation(Overlap.UNDECIDED, *none, 0, smallest, bound)
    kind = Overlap.QUASI
    if ties.shape[0] == 0:
        strict = _widest(sides)
        if (sides @ strict).min() > _DIVIDED:
            kind, w, margins = Overlap.COMPLETE, strict, sides @ strict
            smallest = float(margins.min())
    direction = w.reshape(K, q)
    return Separation(kind, direction[:, 1:], direction[:, 0], _n_divided(a, y, family, direction), smallest, np.nan)


def _n_divided(a: Floats, y: Floats, family: Family, direction: Floats) -> int:
    eta = a @ direction.T
    if family == "multinomial":
        own = np.where(y > 0, eta, np.inf).min(axis=1)
        return int((own - np.where(y > 0, -np.inf, eta).max(axis=1) > _DIVIDED).sum())
    return int((np.abs(eta[:, 0]) > _DIVIDED).sum())


def _sides(a: Floats, y: Floats, family: Family) -> tuple[Any, Any]:
    """Return matrices on a direction (K q,): what must not be negative, and what must be zero, along it."""
    from scipy.sparse import csr_array, hstack, vstack

    if family == "binomial":
        shared = ((y > 0) & (y < 1))[:, 0]
        return np.where(y > 0, 1.0, -1.0)[~shared] * a[~shared], a[shared]
    if family == "poisson":
        return -a[y[:, 0] == 0], a[y[:, 0] > 0]
    K = y.shape[1]
    own = (y > 0).argmax(axis=1)
    sides: list[Any] = []
    ties: list[Any] = []
    for k in range(K):
        for target, which in ((sides, y[:, k] == 0), (ties, (y[:, k] > 0) & (own != k))):
            for c in np.unique(own[which]):
                rows = csr_array(a[which & (own == c)])
                blank = csr_array(rows.shape)
                target.append(hstack([rows if j == c else -rows if j == k else blank for j in range(K)]))
    nothing = csr_array((0, K * a.shape[1]))
    return csr_array(vstack([nothing, *sides])), csr_array(vstack([nothing, *ties]))


def _konis(sides: Any, ties: Any) -> tuple[Floats, float]:
    """Return the direction in the unit box of the largest sum of margins, and the dual's bound on that sum."""
    from scipy.optimize import linprog

    total = np.asarray(sides.sum(axis=0)).ravel()
    some = ties.shape[0] > 0
    answer = linprog(
        -total,
        A_ub=-sides if sides.shape[0] else None,
        b_ub=np.zeros(sides.shape[0]) if sides.shape[0] else None,
        A_eq=ties if some else None,
        b_eq=np.zeros(ties.shape[0]) if some else None,
        bounds=(-1, 1),
        method="highs",
        options=_HIGHS,
    )
    if answer.x is None:
        return np.zeros(len(total)), np.inf
    weights = 1 - np.minimum(answer.ineqlin.marginals, 0)
    rest = sides.T @ weights if sides.shape[0] else np.zeros(len(total))
    if some:
        rest = rest + ties.T @ answer.eqlin.marginals
    return np.asarray(answer.x), float(np.abs(rest).sum())


def _widest(sides: Any) -> Floats:
    """Return the direction in the unit box whose smallest margin is largest."""
    from scipy.optimize import linprog
    from scipy.sparse import csr_array, hstack

    n, p = sides.shape
    answer = linprog(
        np.r_[np.zeros(p), -1.0],
        A_ub=hstack([csr_array(-sides), csr_array(np.ones((n, 1)))]),
        b_ub=np.zeros(n),
        bounds=[(-1, 1)] * p + [(0, None)],
        method="highs",
        options=_HIGHS,
    )
    return np.zeros(p) if answer.x is None else np.asarray(answer.x[:p])
