"""Fits: one generalised linear model per group, each with a status that says what it is, from rows or from sums."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from relucidate.displaying import in_notebook
from relucidate.errors import ArgumentError, shown
from relucidate.glm_batches import Batch, certified, diagonal, lasso, newton
from relucidate.glm_coordinates import Coordinates, Task, batch_of, dependences, in_batches, with_absent_classes
from relucidate.glm_rows import LOSSES, Family, Ints, Rows
from relucidate.glm_separation import SEPARABLE, Overlap, Separation, separation_of
from relucidate.layers import Bools, Floats

if TYPE_CHECKING:
    import pandas as pd

SEPARATED_L2 = 1.0
"""Penalty on standardised coefficients of a group whose unpenalised optimum lies at infinity."""

_RANK_OF_SUMS = 1e-10  # eigenvalue of a correlation matrix; sums have lost half the digits


class Status(Enum):
    """What became of the fit of one group: a label, and what to do about it."""

    OK = ("ok", "nothing: the estimate is the optimum that was asked for")
    TOO_FEW_ROWS = (
        "too few rows",
        "join the group with a neighbour, or drop features; more rows than coefficients are needed",
    )
    CONSTANT = ("constant response", "join the group with a neighbour where the response differs")
    ONE_CLASS = ("one class", "join the group with a neighbour that holds another class")
    ABSENT_CLASS = ("absent class", "join the group with a neighbour that holds the class, or drop the class")
    RANK_DEFICIENT = ("rank deficient", "drop the columns named: they are constant, or sums of the others")
    SEPARATED = ("separated", "join the group with a neighbour, or report the penalised estimate without inference")
    OVERFLOW = ("overflow", "scale the response, the features or the weights down")
    NOT_CONVERGED = ("not converged", "add a penalty: l2=1 is mild")

    @property
    def label(self) -> str:
        """A word or two for a table."""
        return str(self.value[0])

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return str(self.value[1])


@dataclass(frozen=True, eq=False)
class Fits:
    """One generalised linear model per group, as arrays over the groups.

    Parameters
    ----------
    family : which fixes the link: identity, logit, softmax, log, log.
    names : (d,) of the features.
    coef : (G, K, d) and intercept : (G, K), in the units of X. Classes of a softmax have a row each, and intercepts that
        add up to 0; so do the coefficients, unless a prior says otherwise.
    status : (G,) see `Status`; converged : (G,) bool; iterations : (G,)
    deviance : (G,) twice the log-likelihood that is missing to a perfect fit; squared error for "gaussian".
    n : (G,) rows of positive weight. weight : (G,) their weights. rank : (G,) of the centred features.
    l2, l1 : (G,) the penalties in force: `SEPARATED_L2` where no unpenalised optimum exists.
    separation : evidence for the groups whose status is SEPARATED. detail : words for the statuses that have some.
    """

    family: Family
    names: tuple[str, ...]
    coef: Floats
    intercept: Floats
    status: tuple[Status, ...]
    converged: Bools
    iterations: NDArray[np.int64]
    deviance: Floats
    n: NDArray[np.int64]
    weight: Floats
    rank: NDArray[np.int64]
    l2: Floats
    l1: Floats
    separation: Mapping[int, Separation] = field(default_factory=dict)
    detail: Mapping[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.coef)

    def reason(self, g: int) -> str:
        """Return why group `g` has no inference, "" if it may have it."""
        status = self.status[g]
        if status is not Status.OK:
            return f"{status.label}: {self.detail[g]}" if g in self.detail else status.label
        return "penalised" if self.l2[g] or self.l1[g] else ""

    def decision(self, X: ArrayLike, group: ArrayLike | None = None, offset: ArrayLike | None = None) -> Floats:
        """Return the linear predictor of each row (n, K), of the model of its group (of the only one by default)."""
        x = np.asarray(X, dtype=np.float64)
        if group is None:
            eta = x @ self.coef[0].T + self.intercept[0]
        else:
            eta = np.empty((len(x), self.coef.shape[1]))
            codes = np.asarray(group, dtype=np.intp)
            for k in range(eta.shape[1]):
                eta[:, k] = np.einsum("ij,ij->i", x, self.coef[codes, k]) + self.intercept[codes, k]
        return eta if offset is None else eta + np.asarray(offset, dtype=np.float64).reshape(len(x), -1)

    def predict(self, X: ArrayLike, group: ArrayLike | None = None, offset: ArrayLike | None = None) -> Floats:
        """Return the mean response of each row (n, K); probabilities for classes."""
        return self.mean(self.decision(X, group, offset))

    def mean(self, decision: Floats) -> Floats:
        """Return the mean response of linear predictors, both (n, K)."""
        return LOSSES[self.family].mean(decision)

    _repr_html_ = in_notebook

    def to_frame(self) -> pd.DataFrame:
        """Return a table with a row per group: status, remedy, counts, deviance."""
        import pandas as pd

        return pd.DataFrame(
            {
                "status": [s.label for s in self.status],
                "reason": [self.reason(g) for g in range(len(self))],
                "remedy": ["" if s is Status.OK else s.remedy for s in self.status],
                "n": self.n,
                "weight": self.weight,
                "rank": self.rank,
                "deviance": self.deviance,
                "iterations": self.iterations,
                "l2": self.l2,
                "l1": self.l1,
            }
        ).rename_axis("group")


# -------------------------------------------------------------------- from rows


def fit(
    X: ArrayLike,
    y: ArrayLike,
    family: Family,
    *,
    weight: ArrayLike | None = None,
    offset: ArrayLike | None = None,
    l2: ArrayLike = 0.0,
    l1: float = 0.0,
    prior: ArrayLike | None = None,
    group: ArrayLike | None = None,
    n_groups: int | None = None,
    n_classes: int | None = None,
    names: Sequence[str] | None = None,
    test_separation: bool = True,
) -> Fits:
    """Return the generalised linear model of each group.

    Parameters
    ----------
    X : (n, d)
    y : (n,), or (n, K) for "gaussian" and "multinomial". Numbers; 0, 1 or shares between them for "binomial"; class codes
        or shares for "multinomial"; counts or other numbers of 0 or more for "poisson"; above 0 for "gamma".
    family : "gaussian" (identity link), "binomial" (logit), "multinomial" (softmax), "poisson" (log), "gamma" (log).
    weight : (n,) a row of weight 2 counts as two rows; rows of weight 0 are left out.
    offset : (n,) or (n, K) added to the linear predictor.
    l2 : penalty, one number or (G,): minimised is half the deviance plus ``l2 / 2 Σ (s_j (β_j - prior_j))²`` plus
        ``l1 Σ s_j |β_j - prior_j|``, with s_j the standard deviation of feature j among the rows of the group. Half the
        deviance is a sum over rows, so one penalty is one prior belief whatever the number of rows. The intercept is free.
    prior : coefficients to shrink towards, (d,), (K, d) or (G, K, d), in the units of X.
    group : (n,) integers 0 … n_groups - 1.
    n_classes : K of "multinomial"; one more than the largest code by default.
    names : (d,) of the features, for the messages; those of the table X, or x0, x1, … by default.
    test_separation : without it a group that is not proved to have an optimum is NOT_CONVERGED, and no linear programme is
        solved.

    Raises
    ------
    ColumnError, ValueInDataError : X has the wrong shape, or holds NaN or infinity.
    TargetError : y, weight or offset do not fit the rows or the family. ArgumentError : any other argument makes no sense.

    Notes
    -----
    Every group gets finite coefficients; `Fits.status` says what they are. Columns that depend on each other: the solution
    of least norm in standardised units, the limit of the ridge. Separated: the ridge with `SEPARATED_L2`. One class: no
    slopes, and the intercept of half a row of the other class.

    Newton's method with step halving on standardised features, over padded batches of groups of similar size; squared
    loss takes two steps, the second one mending the rounding of the first. L1 by coordinate descent on Newton's quadratic.
    Cost: a few passes of n q² with q = d + 1 (K q for a softmax), and q³ per group.
    Source: McCullagh & Nelder 1989, §2.5; Lee, Sun & Saunders 2014 for L1.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> fits = fit(x, [0, 0, 1, 1], "binomial")
    >>> fits.status[0].label
    'separated'
    """
    rows = Rows.of(
        X, y, family, weight=weight, offset=offset, group=group, n_groups=n_groups, n_classes=n_classes, names=names
    )
    G, K, d = rows.n_groups, rows.y.shape[1], rows.x.shape[1]
    task = Task(rows, _penalties(l2, G), float(_penalties(l1, 1)[0]), _prior(prior, G, K, d))
    return _Fitting(task, test_separation).fits()


def _penalties(value: ArrayLike, G: int) -> Floats:
    values = np.asarray(value, dtype=np.float64)
    if values.shape not in ((), (G,)) or not np.isfinite(values).all() or (values < 0).any():
        raise ArgumentError(f"A penalty must be a finite number of 0 or more, or {G} of them for l2; got {value!r}.")
    return np.broadcast_to(values, (G,)).copy()


def _prior(prior: ArrayLike | None, G: int, K: int, d: int) -> Floats:
    if prior is None:
        return np.zeros((G, K, d))
    values = np.asarray(prior, dtype=np.float64)
    shapes = ((d,), (K, d), (G, K, d)) if K == 1 else ((K, d), (G, K, d))
    if values.shape not in shapes or not np.isfinite(values).all():
        raise ArgumentError(
            f"prior has shape {values.shape}; expected finite numbers of shape {shapes[-1]} or {(K, d)}."
        )
    return np.broadcast_to(values, (G, K, d)).copy()


class _Fitting:
    """One call of `fit` under way."""

    def __init__(self, task: Task, test_separation: bool) -> None:
        self.task, self.test_separation = task, test_separation
        rows = task.rows
        G, K, d = task.prior.shape
        self.sizes = np.diff(rows.starts)
        self.status = [Status.OK] * G
        self.detail: dict[int, str] = {}
        self.separation: dict[int, Separation] = {}
        self.unbounded: list[int] = []
        self.coef, self.intercept = np.zeros((G, K, d)), np.zeros((G, K))
        self.converged, self.iterations = np.zeros(G, dtype=bool), np.zeros(G, dtype=np.int64)
        self.deviance, self.weight = np.zeros(G), np.zeros(G)
        self.rank = np.zeros(G, dtype=np.int64)

    def fits(self) -> Fits:
        """Return the result for all groups."""
        rows, task = self.task.rows, self.task
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            for members in in_batches(self.sizes, rows.x.shape[1], np.arange(rows.n_groups)):
                self._fit(members)
            l2 = task.l2.copy()
            l2[self.unbounded] = SEPARATED_L2
            self.task = replace(task, l2=l2)
            for members in in_batches(self.sizes, rows.x.shape[1], np.array(self.unbounded, dtype=np.intp)):
                self._solve(members)
        return Fits(
            family=rows.family,
            names=rows.names,
            coef=self.coef,
            intercept=self.intercept,
            status=tuple(self.status),
            converged=self.converged,
            iterations=self.iterations,
            deviance=self.deviance,
            n=self.sizes.astype(np.int64),
            weight=self.weight,
            rank=self.rank,
            l2=l2,
            l1=np.full(len(l2), task.l1),
            separation=self.separation,
            detail=self.detail,
        )

    def _solve(self, members: Ints) -> tuple[Batch, Coordinates, Floats]:
        """Store the optima of some groups, and return how they were found."""
        batch, coordinates, start = batch_of(self.task, members)
        optimum = newton(batch, start)
        theta = optimum.theta
        total = batch.w.sum(axis=1)
        finite = np.isfinite(theta).all(axis=(1, 2))
        theta[~finite] = start[~finite]
        found = theta.copy()
        if batch.loss.family == "multinomial":
            with_absent_classes(batch, theta, np.maximum(total, 1e-300))
        coef, intercept = coordinates.in_units(theta, self.task.prior[members])
        if batch.loss.family == "multinomial":
            intercept -= intercept.mean(axis=1, keepdims=True)
        lost = ~(np.isfinite(coef).all(axis=(1, 2)) & np.isfinite(intercept).all(axis=1))
        coef[lost], intercept[lost] = 0.0, start[lost, :, 0]
        eta = batch.offset + batch.predictor(theta)
        if batch.loss.family == "multinomial":  # the offset of an absent class is -inf, its intercept is not
            eta = np.where(np.isfinite(batch.offset), eta, theta[:, None, :, 0])
        elif batch.loss.family != "gaussian":
            eta = np.clip(eta, -700, 700)
        missing = batch.loss.value(eta, batch.y) - batch.loss.saturated(batch.y)
        self.coef[members], self.intercept[members] = coef, intercept
        self.converged[members] = optimum.converged & finite & ~lost
        self.iterations[members] += optimum.iterations
        self.deviance[members] = 2 * np.where(batch.w > 0, batch.w * missing, 0.0).sum(axis=1)
        self.weight[members], self.rank[members] = total, coordinates.rank
        for i in np.flatnonzero(~finite | lost | ~np.isfinite(self.deviance[members])):
            self.status[members[i]] = Status.OVERFLOW
        return batch, coordinates, found

    def _fit(self, members: Ints) -> None:
        """Solve some groups and settle their status."""
        batch, coordinates, theta = self._solve(members)
        free = (batch.lam[:, 1:] == 0).all(axis=1) & (self.task.l1 == 0) & (self.task.l2[members] == 0)
        doubtful = np.zeros(len(members), dtype=bool)
        if batch.loss.family in SEPARABLE and free.any():
            doubtful = free & ~certified(batch, theta)
        for i, g in enumerate(members.tolist()):
            self._judge(g, batch, i, int(coordinates.rank[i]))
            if doubtful[i] and self.status[g] not in (Status.ONE_CLASS, Status.CONSTANT):
                self._settle(g, batch, coordinates, theta, i)
            if self.status[g] is Status.OK and not self.converged[g]:
                self.status[g] = Status.NOT_CONVERGED

    def _judge(self, g: int, batch: Batch, i: int, rank: int) -> None:
        """Give a group the first status that its rows call for."""
        rows, d = self.task.rows, self.task.rows.x.shape[1]
        y = batch.y[i][batch.w[i] > 0]
        if self.sizes[g] <= d + 1:
            self._set(g, Status.TOO_FEW_ROWS, f"{self.sizes[g]} for {d + 1} coefficients")
        elif rows.family in ("binomial", "multinomial"):
            classes = y.any(axis=0) if rows.family == "multinomial" else np.array([(y < 1).any(), (y > 0).any()])
            if classes.sum() == 1:
                self._set(g, Status.ONE_CLASS, "")
            elif not classes.all():
                self._set(g, Status.ABSENT_CLASS, f"no rows of class {shown(np.flatnonzero(~classes))}")
        elif (np.ptp(y, axis=0) == 0).any():
            self._set(g, Status.CONSTANT, "")
        if rank < d and self.status[g] is Status.OK:
            self._set(g, Status.RANK_DEFICIENT, dependences(rows.x[rows.of_group(g)], rows.names, rank))

    def _set(self, g: int, status: Status, detail: str) -> None:
        if self.status[g] is Status.OVERFLOW:
            return
        self.status[g] = status
        if detail:
            self.detail[g] = detail

    def _settle(self, g: int, batch: Batch, coordinates: Coordinates, theta: Floats, i: int) -> None:
        """Find out whether a group without certificate has an optimum, and have it fitted with a penalty if it has none."""
        if self.status[g] is Status.TOO_FEW_ROWS:
            self.unbounded.append(g)
            return
        if not self.test_separation:
            self.converged[g] = False
            return
        real, present = batch.w[i] > 0, batch.live[i, :, 0]
        y = batch.y[i][real][:, present]
        verdict = separation_of(batch.a[i][real], y, batch.loss.family, theta[i][present])
        if not verdict:
            return
        self.unbounded.append(g)
        direction = np.zeros(theta[i].shape)
        direction[present] = np.column_stack([verdict.intercept, verdict.coef])
        one = Coordinates(
            coordinates.mean[[i]],
            coordinates.sd[[i]],
            {0: coordinates.turn[i]} if i in coordinates.turn else {},
            coordinates.rank[[i]],
        )
        coef, intercept = one.in_units(direction[None], np.zeros((1, *self.coef.shape[1:])))
        self.separation[g] = replace(verdict, coef=coef[0], intercept=intercept[0])
        if self.status[g] is Status.OK:
            size = np.abs(coef[0] * coordinates.sd[i]).max(axis=0)
            largest = [self.task.rows.names[j] for j in np.argsort(-size, kind="stable")[:3] if size[j] > 1e-6]
            along = f", along {', '.join(largest)}" if largest else ""
            self._set(g, Status.SEPARATED, f"{_KIND[verdict.overlap]}{along}")


_KIND = {Overlap.COMPLETE: "completely", Overlap.QUASI: "all but ties", Overlap.UNDECIDED: "as far as rounding tells"}


# -------------------------------------------------------------------- from sums


def fit_sums(
    zz: ArrayLike,
    zy: ArrayLike,
    yy: ArrayLike,
    n: ArrayLike,
    *,
    origin: ArrayLike | None = None,
    y_origin: ArrayLike | None = None,
    l2: ArrayLike = 0.0,
    l1: float = 0.0,
    prior: ArrayLike | None = None,
    names: Sequence[str] | None = None,
) -> Fits:
    """Return the least-squares fit of each group from sums over its rows.

    Parameters
    ----------
    zz : (G, d + 1, d + 1) of ``w z zᵀ`` with ``z = (1, x - origin)``. zy : (G, d + 1, K) and yy : (G, K) with the response
        less `y_origin`. n : (G,) rows. As `sums.Moments` has them, one more axis in front.
    origin : (d,) and y_origin : (K,), 0 by default; near the means, so that large means cost no digits.
    l2, l1, prior, names : as for `fit`.

    Raises
    ------
    ArgumentError : the shapes do not fit, or a penalty makes no sense.

    Notes
    -----
    Sums hold the square of the columns, so half the digits are gone: columns count as dependent from correlations of
    1 - 1e-10 on. Names of dependent columns need rows; here only their number is told. Cost: d³ per group.
    """
    S, c, q = (np.asarray(v, dtype=np.float64) for v in (zz, zy, yy))
    if S.ndim != 3 or S.shape[1] != S.shape[2] or c.shape[:2] != S.shape[:2] or q.shape != (len(S), c.shape[-1]):
        raise ArgumentError(
            f"zz {S.shape}, zy {c.shape} and yy {q.shape} do not fit (G, d + 1, d + 1), (G, d + 1, K), (G, K)."
        )
    G, K, d = len(S), c.shape[2], S.shape[1] - 1
    counts = np.broadcast_to(np.asarray(n, dtype=np.int64), (G,)).copy()
    penalty, shrink = _penalties(l2, G), _prior(prior, G, K, d)
    at = np.zeros(d) if origin is None else np.asarray(origin, dtype=np.float64)
    level = np.zeros(K) if y_origin is None else np.asarray(y_origin, dtype=np.float64)
    total = np.maximum(S[:, 0, 0], 1e-300)
    mean, y_mean = S[:, 0, 1:] / total[:, None], c[:, 0] / total[:, None]
    cross = S[:, 1:, 1:] - total[:, None, None] * mean[:, :, None] * mean[:, None]
    sd = np.sqrt(np.maximum(diagonal(np.ascontiguousarray(cross)), 0) / total[:, None])
    # The difference of two large sums is noise where it is as small as their rounding.
    noise = 1e-7 * np.sqrt(np.maximum(diagonal(np.ascontiguousarray(S[:, 1:, 1:])), 0) / total[:, None])
    live = sd > noise
    sd = np.where(live, sd, 1.0)
    H = cross / (sd[:, :, None] * sd[:, None])
    H *= live[:, :, None] & live[:, None]
    right = (c[:, 1:] - mean[:, :, None] * c[:, None, 0]) / sd[:, :, None] * live[:, :, None]
    right = right.transpose(0, 2, 1)
    spread = np.maximum(q - total[:, None] * y_mean**2, 0.0)
    base = shrink * sd[:, None] * live[:, None]
    values, vectors = np.linalg.eigh(H / total[:, None, None])
    keep = values > _RANK_OF_SUMS * np.maximum(values[:, -1:], 1e-300) if d else np.zeros((G, 0), dtype=bool)
    pull = right - base @ H
    if _penalties(l1, 1)[0]:
        Hl = H + penalty[:, None, None] * np.eye(d)
        theta = lasso(
            Hl, pull, np.full(d, float(l1)), np.zeros_like(pull), 1e-15 * np.maximum(spread.sum(axis=1), 1e-300)
        )
    else:
        inverse = np.where(keep, 1 / np.where(keep, values * total[:, None] + penalty[:, None], 1.0), 0.0)
        theta = ((pull @ vectors) * inverse[:, None]) @ vectors.transpose(0, 2, 1)
    fitted = base + theta
    coef = np.where(live[:, None], fitted / sd[:, None], shrink)
    rss = spread - 2 * (fitted * right).sum(axis=2) + ((fitted @ H) * fitted).sum(axis=2)
    rank = keep.sum(axis=1)
    status, detail = [Status.OK] * G, {}
    for g in range(G):
        if counts[g] <= d + 1:
            status[g], detail[g] = Status.TOO_FEW_ROWS, f"{counts[g]} for {d + 1} coefficients"
        elif (spread[g] <= 1e-14 * q[g]).any():
            status[g] = Status.CONSTANT
        elif rank[g] < d:
            status[g], detail[g] = Status.RANK_DEFICIENT, f"{rank[g]} of {d} columns are independent"
    return Fits(
        family="gaussian",
        names=tuple(f"x{j}" for j in range(d)) if names is None else tuple(names),
        coef=coef,
        intercept=level + y_mean - (coef @ (mean + at)[:, :, None])[..., 0],
        status=tuple(status),
        converged=np.asarray(np.isfinite(coef).all(axis=(1, 2))),
        iterations=np.ones(G, dtype=np.int64),
        deviance=np.maximum(rss, 0).sum(axis=1),
        n=counts,
        weight=S[:, 0, 0].copy(),
        rank=rank,
        l2=penalty,
        l1=np.full(G, float(l1)),
        detail=detail,
    )
