"""Generalised linear models, penalised or not, fitted for thousands of groups of rows in one call.

Every group gets an estimate, and a `Status` that says whether it is an optimum of which standard errors may be had. Where
it is not, the status names the reason: one class, separated classes, columns that depend on others, too few rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from relucidate.displaying import in_notebook
from relucidate.errors import ArgumentError, ColumnError, TargetError, ValueInDataError, shown
from relucidate.layers import Bools, Floats

if TYPE_CHECKING:
    import pandas as pd

Family = Literal["gaussian", "binomial", "multinomial", "poisson", "gamma"]
Ints = NDArray[np.intp]

SEPARATED_L2 = 1.0
"""Penalty on standardised coefficients of a group whose unpenalised optimum lies at infinity."""

_TOLERANCE = (
    1e-12  # of the Newton decrement, per unit of weight and of the null model's variance; the step is still taken
)
_MAX_ITERATIONS = 50
_MAX_SWEEPS = 300  # of coordinate descent, per step of Newton's
_BATCH_NUMBERS = 2**18  # of a padded batch's design: stays in the processor's cache
# standard deviation, in units of the largest value, of a column that does not vary: in the user's units the effect of a
# coefficient could not be told from its rounding
_CONSTANT = 1e-10
_SURELY_FULL_RANK = 1e-6  # smallest eigenvalue of a correlation matrix that needs no second look
_RANK = 1e-9  # singular value, in units of the largest, of columns that depend on each other
_RANK_OF_SUMS = 1e-10  # eigenvalue of a correlation matrix; sums have lost half the digits
_SEPARABLE: tuple[Family, ...] = ("binomial", "multinomial", "poisson")


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
        return _LOSS[self.family].mean(decision)

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


# -------------------------------------------------------------------- families


class _Loss:
    """Half the unit deviance up to a constant, as a function of the linear predictor; arrays end in (..., K)."""

    def __init__(self, family: Family) -> None:
        self.family = family

    def value(self, eta: Floats, y: Floats) -> Floats:
        """Return the loss of each row (...)."""
        if self.family == "gaussian":
            return np.asarray(((y - eta) ** 2).sum(axis=-1) / 2)
        if self.family == "binomial":
            return (np.logaddexp(0.0, eta) - y * eta)[..., 0]
        if self.family == "multinomial":
            # an absent class has the predictor -inf
            return _log_sum_exp(eta) - np.where(y > 0, y * np.where(y > 0, eta, 0.0), 0.0).sum(axis=-1)
        if self.family == "poisson":
            return (np.exp(eta) - y * eta)[..., 0]
        return (y * np.exp(-eta) + eta)[..., 0]

    def derivatives(self, eta: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Return slope and curvature (..., K); for a softmax the probabilities stand for the curvature."""
        if self.family == "gamma":
            ratio = y * np.exp(-eta)
            return 1 - ratio, ratio
        mean = self.mean(eta)
        if self.family == "gaussian":
            return mean - y, np.ones_like(mean)
        if self.family == "binomial":
            # 1 - mean would lose its digits where the mean is close to 1
            return mean - y, mean * _sigmoid(-eta)
        return mean - y, mean

    def mean(self, eta: Floats) -> Floats:
        """Return the inverse link (..., K)."""
        if self.family == "gaussian":
            return eta
        if self.family == "binomial":
            return _sigmoid(eta)
        if self.family == "multinomial":
            return np.exp(eta - _log_sum_exp(eta)[..., None])
        return np.exp(eta)

    def saturated(self, y: Floats) -> Floats:
        """Return the loss of a perfect prediction (...)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            if self.family == "gaussian":
                return np.zeros(y.shape[:-1])
            if self.family == "binomial":
                return -(_y_log_y(y) + _y_log_y(1 - y))[..., 0]
            if self.family == "multinomial":
                return -_y_log_y(y).sum(axis=-1)
            if self.family == "poisson":
                return (y - _y_log_y(y))[..., 0]
            return (1 + np.log(y))[..., 0]


_LOSS: dict[Family, _Loss] = {name: _Loss(name) for name in get_args(Family)}


def unit_deviance(decision: Floats, y: Floats, family: Family) -> Floats:
    """Return the deviance of each row (n,), from linear predictors and responses (n, K); class indicators for classes."""
    loss = _LOSS[family]
    return 2 * (loss.value(decision, y) - loss.saturated(y))


def _sigmoid(eta: Floats) -> Floats:
    e = np.exp(-np.abs(eta))
    return np.where(eta >= 0, 1 / (1 + e), e / (1 + e))


def _log_sum_exp(eta: Floats) -> Floats:
    top = eta.max(axis=-1)
    return np.asarray(top + np.log(np.exp(eta - top[..., None]).sum(axis=-1)))


def _y_log_y(y: Floats) -> Floats:
    return np.where(y > 0, y * np.log(np.where(y > 0, y, 1.0)), 0.0)


# -------------------------------------------------------------------- rows


@dataclass(frozen=True, eq=False)
class Rows:
    """Checked rows of positive weight, sorted by group.

    Parameters
    ----------
    x : (n, d); y : (n, K), indicators of classes for a softmax; w : (n,); offset : (n, K)
    starts : (G + 1,) where each group starts. order : (n,) the rows' places in what was given. names : (d,)
    """

    family: Family
    x: Floats
    y: Floats
    w: Floats
    offset: Floats
    starts: Ints
    order: Ints
    names: tuple[str, ...]

    @staticmethod
    def of(
        X: ArrayLike,
        y: ArrayLike,
        family: Family,
        *,
        weight: ArrayLike | None = None,
        offset: ArrayLike | None = None,
        group: ArrayLike | None = None,
        n_groups: int | None = None,
        n_classes: int | None = None,
        names: Sequence[str] | None = None,
    ) -> Rows:
        """Return the rows, or say what is wrong with them; parameters and errors as of `fit`."""
        if family not in get_args(Family):
            raise ArgumentError(f"family is {family!r}; expected one of {', '.join(get_args(Family))}.")
        x = _checked_features(X)
        n, d = x.shape
        response = _checked_response(y, n, family, n_classes)
        w = _checked_weight(weight, n)
        off = _checked_offset(offset, n, response.shape[1])
        codes, G = _checked_group(group, n, n_groups)
        if names is not None and len(names) != d:
            raise ColumnError(f"{len(names)} names for {d} features; give one each.")
        kept = np.flatnonzero(w > 0)
        if not len(kept):
            raise TargetError(f"None of {n:,} rows has a positive weight; give at least one.")
        names = getattr(X, "columns", None) if names is None else names
        order = kept[np.argsort(codes[kept], kind="stable")]
        return Rows(
            family=family,
            x=x[order],
            y=response[order],
            w=w[order],
            offset=off[order],
            starts=np.searchsorted(codes[order], np.arange(G + 1)),
            order=order,
            names=tuple(f"x{j}" for j in range(d)) if names is None else tuple(str(name) for name in names),
        )

    @property
    def n_groups(self) -> int:
        """Groups, empty ones included."""
        return len(self.starts) - 1

    def of_group(self, g: int) -> slice:
        """Return the places of a group's rows."""
        return slice(int(self.starts[g]), int(self.starts[g + 1]))


def _checked_features(X: ArrayLike) -> Floats:
    x = np.asarray(X, dtype=np.float64)
    if x.ndim != 2:
        raise ColumnError(f"X has shape {x.shape}; expected (rows, features).")
    if not np.isfinite(x).all():
        bad = np.flatnonzero(~np.isfinite(x).all(axis=1))
        raise ValueInDataError(f"{len(bad):,} rows of X hold NaN or infinity: rows {shown(bad)}. Impute or drop them.")
    return x


def _checked_response(y: ArrayLike, n: int, family: Family, n_classes: int | None) -> Floats:
    values = np.asarray(y, dtype=np.float64)
    if values.ndim not in (1, 2) or len(values) != n:
        raise TargetError(f"y has shape {values.shape}, X has {n:,} rows; expected one response per row.")
    if not np.isfinite(values).all():
        raise TargetError("y holds NaN or infinity; drop these rows.")
    if family == "multinomial":
        return _shares_of_classes(values, n_classes)
    values = values.reshape(n, -1) if n else np.zeros((0, 1))
    if family != "gaussian" and values.shape[1] != 1:
        raise TargetError(f"y has {values.shape[1]} columns; {family} takes one. Fit the columns one by one.")
    expected = {"binomial": "between 0 and 1", "poisson": "0 or more", "gamma": "above 0"}.get(family, "")
    wrong = {
        "binomial": (values < 0) | (values > 1),
        "poisson": values < 0,
        "gamma": values <= 0,
    }.get(family, np.zeros(1, dtype=bool))
    if wrong.any():
        raise TargetError(f"y holds {values[wrong][0]:g}; {family} expects numbers {expected}. Choose another family.")
    return values


def _shares_of_classes(values: Floats, n_classes: int | None) -> Floats:
    if values.ndim == 2:
        if n_classes not in (None, values.shape[1]):
            raise TargetError(f"y has {values.shape[1]} columns for {n_classes} classes; give one each.")
        if (values < 0).any() or not np.allclose(values.sum(axis=1), 1, rtol=0, atol=1e-9):
            raise TargetError(
                "y of several columns must hold the shares of the classes, which add up to 1 in each row."
            )
        return values
    K = n_classes if n_classes is not None else int(values.max(initial=0)) + 1
    if (values < 0).any() or (values >= K).any() or (values != np.floor(values)).any():
        raise TargetError(f"y must hold class codes 0 … {K - 1}; encode the labels first.")
    return np.asarray(values[:, None] == np.arange(K), dtype=np.float64)


def _checked_weight(weight: ArrayLike | None, n: int) -> Floats:
    if weight is None:
        return np.ones(n)
    w = np.asarray(weight, dtype=np.float64)
    if w.shape != (n,) or not np.isfinite(w).all() or (w < 0).any():
        raise TargetError(f"weight must be {n:,} finite numbers of 0 or more; got shape {w.shape}.")
    return w


def _checked_offset(offset: ArrayLike | None, n: int, K: int) -> Floats:
    if offset is None:
        return np.zeros((n, K))
    off = np.asarray(offset, dtype=np.float64)
    off = off[:, None] if off.ndim == 1 else off
    if off.shape != (n, K) or not np.isfinite(off).all():
        raise TargetError(f"offset has shape {off.shape}; expected finite numbers of shape ({n}, {K}).")
    return off


def _checked_group(group: ArrayLike | None, n: int, n_groups: int | None) -> tuple[Ints, int]:
    codes = np.zeros(n, dtype=np.intp) if group is None else np.asarray(group)
    if codes.shape != (n,) or codes.dtype.kind not in "iu":
        raise ArgumentError(f"group must be {n:,} integers; got {codes.dtype} of shape {codes.shape}.")
    G = n_groups if n_groups is not None else int(codes.max(initial=0)) + 1
    if n and (codes.min() < 0 or codes.max() >= G):
        raise ArgumentError(f"group holds {codes.min()} … {codes.max()}; expected 0 … {G - 1}.")
    return codes.astype(np.intp), G


# -------------------------------------------------------------------- padded batches of groups


@dataclass(frozen=True, eq=False)
class _Batch:
    """Groups of about one size, padded with rows of weight 0, in coordinates where every direction has unit size.

    Parameters
    ----------
    a : (g, m, q) a column of ones, then the d transformed features. y, offset : (g, m, K); w : (g, m)
    live : (g, K, q) parameters that the rows determine. lam : (g, q) quadratic penalty. l1 : (q,)
    scale : (g,) size of the loss, to judge convergence by.
    """

    loss: _Loss
    a: Floats
    y: Floats
    w: Floats
    offset: Floats
    live: Bools
    lam: Floats
    l1: Floats
    scale: Floats

    def take(self, which: Any) -> _Batch:
        """Return some of the groups."""
        arrays = ("a", "y", "w", "offset", "live", "lam", "scale")
        return replace(self, **{name: getattr(self, name)[which] for name in arrays})

    def predictor(self, theta: Floats) -> Floats:
        """Return what the parameters (g, K, q) add to the offset (g, m, K)."""
        return np.asarray(self.a @ theta.transpose(0, 2, 1))

    def objective(self, eta: Floats, theta: Floats) -> Floats:
        """Return the penalised loss of each group (g,), infinite where it overflows."""
        rows = np.where(self.w > 0, self.w * self.loss.value(eta, self.y), 0.0).sum(axis=1)
        quadratic = (self.lam[:, None] * theta**2).sum(axis=(1, 2)) / 2
        total = rows + quadratic + (self.l1 * np.abs(theta)).sum(axis=(1, 2))
        return np.where(np.isfinite(total), total, np.inf)

    def derivatives(self, eta: Floats, theta: Floats) -> tuple[Floats, Floats]:
        """Return the smooth part's gradient (g, K, q) and Hessian: (g, q, q), or (g, K q, K q) for a softmax."""
        slope, curvature = self.loss.derivatives(eta, self.y)
        weighted = np.where(self.w[..., None] > 0, self.w[..., None] * slope, 0.0)
        gradient = weighted.transpose(0, 2, 1) @ self.a + self.lam[:, None] * theta
        if self.loss.family == "multinomial":
            hessian = self._softmax_hessian(curvature)
        else:
            hessian = self._weighted_gram(self.w * curvature[..., 0])
            _diagonal(hessian)[...] += self.lam
            live = self.live[:, 0]
            _only(hessian, live)
        return np.where(self.live, gradient, 0.0), hessian

    def _weighted_gram(self, w: Floats) -> Floats:
        return np.asarray(self.a.transpose(0, 2, 1) @ (self.a * w[..., None]))

    def _softmax_hessian(self, p: Floats) -> Floats:
        g, _, q = self.a.shape
        K = p.shape[-1]
        H = np.empty((g, K, q, K, q))
        for k in range(K):
            for j in range(k + 1):
                block = self._weighted_gram(self.w * p[..., k] * (float(k == j) - p[..., j]))
                H[:, k, :, j] = H[:, j, :, k] = block
        # The same number added to all classes changes nothing: a projector on these directions, where the gradient is
        # zero, makes the system regular and leaves the step as it is.
        size = np.einsum("gkqkq->gq", H) / K + (self.lam if self.l1.any() else 0)
        shared = self.live[:, :, None] & self.live[:, None, :]
        if not self.l1.any():
            each = np.arange(q)
            H[:, :, each, :, each] += np.moveaxis(shared * (size / K)[:, None, None], 3, 0)
        each = np.arange(K)
        H[:, each, :, each] += self.lam[:, :, None] * np.eye(q)
        flat: Floats = H.reshape(g, K * q, K * q)
        _only(flat, self.live.reshape(g, K * q))
        return flat

    def step(self, gradient: Floats, hessian: Floats, theta: Floats) -> tuple[Floats, Floats]:
        """Return the Newton step (g, K, q) and the decrease it promises to first order (g,)."""
        g, K, q = gradient.shape
        shape = (g, 1, K * q) if self.loss.family == "multinomial" else (g, K, q)
        grad, now = gradient.reshape(shape), theta.reshape(shape)
        if not self.l1.any():
            step = -_solved(hessian, grad)
            return step.reshape(g, K, q), -(grad * step).sum(axis=(1, 2))
        l1 = np.tile(self.l1, shape[2] // q)
        # Newton's next step mends the rest; far from the optimum more digits would be wasted
        step = _lasso(hessian, now @ hessian - grad, l1, now, 1e-5 * _TOLERANCE * self.scale, share=1e-8) - now
        gain = -(grad * step).sum(axis=(1, 2)) - (l1 * (np.abs(now + step) - np.abs(now))).sum(axis=(1, 2))
        return step.reshape(g, K, q), gain


def _diagonal(matrices: Floats) -> Floats:
    """Return the diagonals of contiguous (g, q, q) as a view (g, q)."""
    g, q, _ = matrices.shape
    return matrices.reshape(g, q * q)[:, :: q + 1]


def _only(hessian: Floats, live: Bools) -> None:
    """Take the parameters that are not live out of the system, in place."""
    if live.all():
        return
    hessian *= live[:, :, None] & live[:, None, :]
    _diagonal(hessian)[~live] = 1.0


def _solved(hessian: Floats, right: Floats) -> Floats:
    """Return ``right @ inv(hessian)`` (g, r, q) of symmetric matrices, scaled to a unit diagonal first."""
    size = np.sqrt(np.maximum(_diagonal(hessian), 1e-300))
    scaled = hessian / (size[:, :, None] * size[:, None, :])
    # keeps the factors finite where the information has vanished; the next step mends what it costs
    _diagonal(scaled)[...] += 1e-13
    sound = np.isfinite(scaled).all(axis=(1, 2))
    if not sound.all():
        scaled[~sound] = np.nan
    solution = np.linalg.solve(scaled, (right / size[:, None]).transpose(0, 2, 1))
    return np.asarray(solution.transpose(0, 2, 1) / size[:, None])


def _lasso(H: Floats, b: Floats, l1: Floats, start: Floats, tolerance: Floats, share: float = 0.0) -> Floats:
    """Return the minimum of ``θ H θ / 2 - b θ + l1 |θ|`` (g, r, q) by coordinate descent over all groups at once.

    It stops at changes below the tolerance (g,), or below a share of the first sweep's.
    """
    theta = start.copy()
    rest = b - theta @ H
    curvature = _diagonal(H)
    safe = np.where(curvature > 0, curvature, 1.0)
    for sweep in range(_MAX_SWEEPS):
        largest = np.zeros(len(H))
        for j in range(H.shape[1]):
            old = theta[:, :, j]
            pull = rest[:, :, j] + curvature[:, j, None] * old
            new = np.sign(pull) * np.maximum(np.abs(pull) - l1[j], 0) / safe[:, j, None]
            change = np.where(curvature[:, j, None] > 0, new - old, 0.0)
            if change.any():
                theta[:, :, j] = old + change
                rest -= change[:, :, None] * H[:, None, j]
                np.maximum(largest, (change**2).max(axis=1) * curvature[:, j], out=largest)
        if sweep % 10 == 9:
            # where columns are nearly dependent coordinates creep; the right support is found long before the values
            _solve_on_support(H, b, l1, theta)
            rest = b - theta @ H
            continue
        if sweep == 0:
            tolerance = np.maximum(tolerance, share * largest)
        if not (largest > tolerance).any():
            break
    return theta


def _solve_on_support(H: Floats, b: Floats, l1: Floats, theta: Floats) -> None:
    """Move to the minimum among parameters of the same signs and zeros, in place, where it has the same signs."""
    for k in range(theta.shape[1]):
        now = theta[:, k]
        live = (now != 0) | (l1 == 0)
        system = H.copy()
        _only(system, live)
        right = np.where(live, b[:, k] - l1 * np.sign(now), 0.0)
        new = _solved(system, right[:, None])[:, 0]
        same = ((new * now > 0) | ~live | (l1 == 0)).all(axis=1)
        theta[same, k] = new[same]


@dataclass(eq=False)
class _Optimum:
    """Where Newton's method stopped: parameters (g, K, q), and per group whether, and after how many steps."""

    theta: Floats
    converged: Bools
    iterations: NDArray[np.int64]


def _newton(batch: _Batch, start: Floats) -> _Optimum:
    """Return the optimum of each group; a group leaves the batch when it has converged."""
    g = len(start)
    best = _Optimum(start.copy(), np.zeros(g, dtype=bool), np.zeros(g, dtype=np.int64))
    going, part, theta = np.arange(g), batch, start
    eta = part.offset + part.predictor(theta)
    value = part.objective(eta, theta)
    for iteration in range(1, _MAX_ITERATIONS + 1):
        gradient, hessian = part.derivatives(eta, theta)
        step, gain = part.step(gradient, hessian, theta)
        theta, eta, value, moved = _step_halving(part, theta, eta, value, step, gain)
        small = gain <= _TOLERANCE * part.scale
        best.theta[going], best.iterations[going], best.converged[going] = theta, iteration, small
        on = moved & ~small
        if not on.any():
            break
        if not on.all():
            going, part, theta, eta, value = going[on], part.take(on), theta[on], eta[on], value[on]
    return best


def _step_halving(
    batch: _Batch, theta: Floats, eta: Floats, value: Floats, step: Floats, gain: Floats
) -> tuple[Floats, Floats, Floats, Bools]:
    """Return parameters, predictor and objective after the longest halved step that lowers it, and whether one did."""
    along = batch.predictor(step)
    t = np.where(np.isfinite(gain), 1.0, 0.0)
    step, along = np.where(t[:, None, None] > 0, step, 0.0), np.where(t[:, None, None] > 0, along, 0.0)
    gain = np.where(t > 0, gain, 0.0)
    rounding = 1e-14 * (np.abs(value) + batch.scale)
    for _ in range(60):
        new_theta, new_eta = theta + t[:, None, None] * step, eta + t[:, None, None] * along
        new_value = batch.objective(new_eta, new_theta)
        good = (new_value <= value - 1e-4 * t * gain + rounding) | (t == 0)
        if good.all():
            break
        t = np.where(good, t, t / 2)
    else:
        t = np.where(good, t, 0.0)
        new_theta, new_eta = theta + t[:, None, None] * step, eta + t[:, None, None] * along
        new_value = batch.objective(new_eta, new_theta)
    return new_theta, new_eta, new_value, t > 0


def _certified(batch: _Batch, theta: Floats) -> Bools:
    """Return for which groups (g,) the parameters prove that a finite, unique optimum exists.

    Notes
    -----
    Along a direction h the third derivative of these losses is at most ``max_i |a_i h|`` times the second (for a softmax
    the range of the classes' ``a_i h``). With h of unit size in the Hessian's norm, slope λ (the Newton decrement) and
    D = max_i ‖a_i‖ in the inverse Hessian's, the slope at t is at least ``-λ + (1 - exp(-D t)) / D``, so if λ D < 1 every
    ray turns upwards: the optimum exists, and no direction separates. Source: Bach 2010, Self-concordant analysis for
    logistic regression, proposition 2.
    """
    g, K, q = theta.shape
    with np.errstate(all="ignore"):
        gradient, H = batch.derivatives(batch.offset + batch.predictor(theta), theta)
        softmax = batch.loss.family == "multinomial"
        grad = gradient.reshape(g, -1)
        unit = np.sqrt(_diagonal(H))
        scaled = H / (unit[:, :, None] * unit[:, None])
        sound = np.isfinite(scaled).all(axis=(1, 2)) & np.isfinite(grad).all(axis=1)
        scaled[~sound] = np.eye(H.shape[1])
        sound &= np.linalg.eigvalsh(scaled)[:, 0] > 1e-12
        H[~sound] = np.eye(H.shape[1])
        inverse = np.linalg.inv(H)
        decrement = np.sqrt(np.maximum(np.einsum("gi,gij,gj->g", grad, inverse, grad), 0))
        size = np.zeros(g)
        for k in range(K if softmax else 1):
            block = inverse[:, k * q : (k + 1) * q, k * q : (k + 1) * q]
            a = batch.a * batch.live[:, k, None]
            square = np.where(batch.w > 0, ((a @ block) * a).sum(axis=2), 0.0).max(axis=1)
            size = np.maximum(size, np.sqrt(np.maximum(square, 0)))
    return np.asarray(sound & (decrement * size * (2 if softmax else 1) <= 0.5))


# -------------------------------------------------------------------- from groups to batches and back


@dataclass(frozen=True, eq=False)
class _Coordinates:
    """How the transformed features come from the user's: ``z = (x - mean) / sd @ turn``.

    Parameters
    ----------
    mean, sd : (g, d), sd 1 where the column is constant. turn : {place in the batch: (d, d)} where columns depend on
        each other or nearly so. rank : (g,) of the centred columns.
    """

    mean: Floats
    sd: Floats
    turn: dict[int, Floats]
    rank: NDArray[np.int64]

    def in_units(self, theta: Floats, prior: Floats) -> tuple[Floats, Floats]:
        """Return coefficients (g, K, d) and intercepts (g, K) in the user's units, of deviations from the prior."""
        slopes = theta[:, :, 1:].copy()
        for i, turn in self.turn.items():
            slopes[i] = slopes[i] @ turn.T
        coef = prior + slopes / self.sd[:, None]
        return coef, theta[:, :, 0] - (coef @ self.mean[:, :, None])[..., 0]


@dataclass(frozen=True, eq=False)
class _Task:
    """What is asked of every group: penalties l2 (G,) and l1, and the coefficients (G, K, d) to shrink towards."""

    rows: Rows
    l2: Floats
    l1: float
    prior: Floats


def _batches(sizes: Ints, d: int, members: Ints) -> Iterator[Ints]:
    """Yield the groups in runs of similar size whose padded design fits the cache."""
    members = members[np.argsort(sizes[members], kind="stable")]
    start = 0
    while start < len(members):
        smallest = sizes[members[start]]
        alike = int(np.searchsorted(sizes[members], 1.25 * smallest + 4, side="right"))
        widest = sizes[members[alike - 1]]
        stop = min(alike, start + max(1, _BATCH_NUMBERS // max(1, int(widest) * (d + 1))))
        yield members[start:stop]
        start = stop


def _standardised(x: Floats, w: Floats) -> tuple[Floats, Floats, Floats]:
    """Return rows (g, m, d) with weighted mean 0 and variance 1 per group, the means and the deviations (g, d).

    Divided by their largest value first, so that squares of huge numbers stay finite. Constant columns become zeros.
    """
    real = w[..., None] > 0
    top = np.where(real, np.abs(x), 0.0).max(axis=1)
    top = np.where(top > 0, top, 1.0)
    z = x / top[:, None]
    share = w / np.maximum(w.sum(axis=1, keepdims=True), 1e-300)
    mean = (share[:, None] @ z)[:, 0]
    z -= mean[:, None]
    sd = np.sqrt((share[:, None] @ z**2)[:, 0])
    varies = sd > _CONSTANT
    sd = np.where(varies, sd, 1.0)
    z /= sd[:, None]
    z *= real & varies[:, None]
    return z, mean * top, np.where(varies, sd * top, 1.0)


def _turned(
    z: Floats, w: Floats, lam: Floats, turn_allowed: bool
) -> tuple[dict[int, Floats], NDArray[np.int64], Bools]:
    """Replace nearly dependent columns by orthogonal ones, in place: z (g, m, d), lam (g, d).

    Returns
    -------
    The turns, the ranks (g,), and which of the new columns are live (g, d).

    Notes
    -----
    Unpenalised columns are scaled to unit size as well. What is left out has no effect on the rows, so the solution is the
    one of least norm: the limit of the ridge as its penalty goes to 0.
    """
    d = z.shape[2]
    live: Bools = np.asarray(z.any(axis=1))
    rank: NDArray[np.int64] = live.sum(axis=1)
    turns: dict[int, Floats] = {}
    if d == 0:
        return turns, rank, live
    share = w / np.maximum(w.sum(axis=1, keepdims=True), 1e-300)
    correlation = z.transpose(0, 2, 1) @ (z * share[..., None])
    _diagonal(correlation)[~live] = 1.0
    for i in np.flatnonzero(np.linalg.eigvalsh(correlation)[:, 0] < _SURELY_FULL_RANK).tolist():
        _, s, vt = np.linalg.svd(z[i] * np.sqrt(share[i])[:, None], full_matrices=False)
        s, vt = np.pad(s, (0, d - len(s))), np.pad(vt, ((0, d - len(vt)), (0, 0)))
        keep = s > _RANK * max(s[0], 1e-300)
        rank[i] = keep.sum()
        if turn_allowed:
            size = np.where(keep & (lam[i].max() == 0), s, 1.0)
            turns[i] = np.where(keep, vt.T / size, 0.0)
            z[i] = z[i] @ turns[i]
            lam[i] /= size**2
            live[i] = keep
    return turns, rank, live


def _batch(task: _Task, members: Ints) -> tuple[_Batch, _Coordinates, Floats]:
    """Return some groups as a padded batch, its coordinates, and where to start from (g, K, q)."""
    rows, family = task.rows, task.rows.family
    sizes = rows.starts[members + 1] - rows.starts[members]
    place = np.arange(max(int(sizes.max()), 1))
    real = place < sizes[:, None]
    which = np.minimum(rows.starts[members][:, None] + place * real, max(len(rows.w) - 1, 0))
    w, y, offset = rows.w[which] * real, rows.y[which], rows.offset[which]
    z, mean, sd = _standardised(rows.x[which], w)
    prior = task.prior[members]
    if prior.any():
        offset = offset + (z * sd[:, None]) @ prior.transpose(0, 2, 1)
    lam = np.repeat(task.l2[members][:, None], z.shape[2], axis=1)
    turn, rank, live = _turned(z, w, lam, turn_allowed=task.l1 == 0)
    total = np.maximum(w.sum(axis=1), 1e-300)
    response = np.einsum("gm,gmk->gk", w / total[:, None], y)
    variance = np.einsum("gm,gmk->gk", w / total[:, None], (y - response[:, None]) ** 2)
    alive = np.concatenate([np.ones((len(members), 1), dtype=bool), live], axis=1)
    alive = np.repeat(alive[:, None], y.shape[2], axis=1) & _determined(family, response, variance)[..., None]
    if family == "multinomial":
        offset = np.where((response > 0)[:, None], offset, -np.inf)
        offset[~real] = 0.0
    batch = _Batch(
        loss=_LOSS[family],
        a=np.concatenate([np.ones((*z.shape[:2], 1)) * real[..., None], z], axis=2),
        y=y,
        w=w,
        offset=offset,
        live=alive,
        lam=np.concatenate([np.zeros((len(members), 1)), lam], axis=1),
        l1=np.r_[0.0, np.full(z.shape[2], task.l1)],
        scale=_scale(family, total, response, variance),
    )
    return batch, _Coordinates(mean, sd, turn, rank), _start(batch, response, total)


def _determined(family: Family, response: Floats, variance: Floats) -> Bools:
    """Return which outputs (g, K) have a finite intercept."""
    if family == "binomial":
        return (response > 0) & (response < 1)
    if family in ("poisson", "multinomial"):
        return response > 0
    return np.ones(response.shape, dtype=bool)


def _scale(family: Family, total: Floats, response: Floats, variance: Floats) -> Floats:
    """Return the null model's information about the response, per group (g,)."""
    if family == "gaussian":
        spread = (variance + 1e-12 * response**2).sum(axis=1)
    elif family in ("binomial", "multinomial"):
        spread = (response * (1 - response)).sum(axis=1)
    elif family == "poisson":
        spread = response[:, 0]
    else:
        spread = np.ones(len(total))
    return np.asarray(total * spread)


def _start(batch: _Batch, response: Floats, total: Floats) -> Floats:
    """Return the best intercept with all else 0 (g, K, q); where there is none, that of half a row more.

    The half row is the prior of Jeffreys and of Krichevsky and Trofimov; it keeps predictions of one class finite.
    """
    theta = np.zeros((len(total), batch.y.shape[2], batch.a.shape[2]))
    share = (batch.w / total[:, None])[..., None]
    family = batch.loss.family
    offset = np.where(np.isfinite(batch.offset), batch.offset, 0.0)
    size = total[:, None]
    if family == "gaussian":
        theta[:, :, 0] = (share * (batch.y - offset)).sum(axis=1)
    elif family == "binomial":
        padded = (size * response + 0.5) / (size + 1)
        p = np.where((response > 0) & (response < 1), response, padded)
        theta[:, :, 0] = np.log(p / (1 - p)) - (share * offset).sum(axis=1)
    elif family == "multinomial":
        present = response > 0
        level = np.where(present, np.log(np.where(present, response, 1.0)), 0.0) - (share * offset).sum(axis=1)
        level -= (level * present).sum(axis=1, keepdims=True) / np.maximum(present.sum(axis=1, keepdims=True), 1)
        theta[:, :, 0] = np.where(present, level, 0.0)
    else:
        with np.errstate(over="ignore", divide="ignore"):
            sign = 1.0 if family == "poisson" else -1.0
            top = (sign * offset).max(axis=1)
            tilt = np.exp(sign * offset - top[:, None])
            mean = np.where(response > 0, response, 0.5 / size)
            if family == "poisson":
                theta[:, :, 0] = np.log(mean) - np.log((share * tilt).sum(axis=1)) - top
            else:
                theta[:, :, 0] = np.log((share * tilt * batch.y).sum(axis=1)) + top
    return np.where(np.isfinite(theta), theta, 0.0)


def _with_absent_classes(batch: _Batch, theta: Floats, total: Floats) -> None:
    """Give classes without rows the intercept that predicts half a row of them, and centre the intercepts, in place."""
    present = batch.live[:, :, 0]
    if not present.all():
        eta = np.where(present[:, None], batch.offset + batch.predictor(theta), -np.inf)
        eta[~(batch.w > 0)] = 0.0
        level = ((batch.w / total[:, None]) * _log_sum_exp(eta)).sum(axis=1)
        theta[:, :, 0] = np.where(present, theta[:, :, 0], (level + np.log(0.5 / (total + 0.5)))[:, None])


# -------------------------------------------------------------------- fit


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
    task = _Task(rows, _penalties(l2, G), float(_penalties(l1, 1)[0]), _prior(prior, G, K, d))
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

    def __init__(self, task: _Task, test_separation: bool) -> None:
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
            for members in _batches(self.sizes, rows.x.shape[1], np.arange(rows.n_groups)):
                self._fit(members)
            l2 = task.l2.copy()
            l2[self.unbounded] = SEPARATED_L2
            self.task = replace(task, l2=l2)
            for members in _batches(self.sizes, rows.x.shape[1], np.array(self.unbounded, dtype=np.intp)):
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

    def _solve(self, members: Ints) -> tuple[_Batch, _Coordinates, Floats]:
        """Store the optima of some groups, and return how they were found."""
        batch, coordinates, start = _batch(self.task, members)
        optimum = _newton(batch, start)
        theta = optimum.theta
        total = batch.w.sum(axis=1)
        finite = np.isfinite(theta).all(axis=(1, 2))
        theta[~finite] = start[~finite]
        found = theta.copy()
        if batch.loss.family == "multinomial":
            _with_absent_classes(batch, theta, np.maximum(total, 1e-300))
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
        if batch.loss.family in _SEPARABLE and free.any():
            doubtful = free & ~_certified(batch, theta)
        for i, g in enumerate(members.tolist()):
            self._judge(g, batch, i, int(coordinates.rank[i]))
            if doubtful[i] and self.status[g] not in (Status.ONE_CLASS, Status.CONSTANT):
                self._settle(g, batch, coordinates, theta, i)
            if self.status[g] is Status.OK and not self.converged[g]:
                self.status[g] = Status.NOT_CONVERGED

    def _judge(self, g: int, batch: _Batch, i: int, rank: int) -> None:
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

    def _settle(self, g: int, batch: _Batch, coordinates: _Coordinates, theta: Floats, i: int) -> None:
        """Find out whether a group without certificate has an optimum, and have it fitted with a penalty if it has none."""
        if self.status[g] is Status.TOO_FEW_ROWS:
            self.unbounded.append(g)
            return
        if not self.test_separation:
            self.converged[g] = False
            return
        real, present = batch.w[i] > 0, batch.live[i, :, 0]
        y = batch.y[i][real][:, present]
        verdict = _separation(batch.a[i][real], y, batch.loss.family, theta[i][present])
        if not verdict:
            return
        self.unbounded.append(g)
        direction = np.zeros(theta[i].shape)
        direction[present] = np.column_stack([verdict.intercept, verdict.coef])
        one = _Coordinates(
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


def dependences(x: Floats, names: Sequence[str], rank: int, limit: int = 3) -> str:
    """Return the columns that depend on others as text: "x3 = 1 + 2·x0; x4 = 5".

    Parameters
    ----------
    x : (n, d) rows; rank : of the centred columns; limit : columns spelled out, the rest are counted.

    Notes
    -----
    QR of the standardised columns, with pivoting where the columns' own order leaves the rank in doubt.
    """
    from scipy.linalg import qr

    z, mean, sd = _standardised(x[None], np.ones((1, len(x))))
    # in the order of the columns if that finds as many, so that later ones are explained by earlier ones
    independent = np.abs(np.diag(np.linalg.qr(z[0], mode="r"))) > 1e-7 * np.sqrt(len(x))
    base = np.flatnonzero(independent)
    if len(base) != rank:
        base = np.sort(qr(z[0], mode="r", pivoting=True)[1][:rank])
    rest = np.setdiff1d(np.arange(x.shape[1]), base)
    slopes = np.linalg.lstsq(z[0][:, base], z[0][:, rest[:limit]], rcond=None)[0]
    texts = []
    for j, slope in zip(rest.tolist(), slopes.T, strict=False):
        terms = [k for k in range(rank) if abs(slope[k]) > 1e-7]
        slope = slope * sd[0, j] / sd[0, base]
        constant = mean[0, j] - slope @ mean[0, base]
        near_zero = abs(constant) <= 1e-9 * (abs(mean[0, j]) + np.abs(slope * mean[0, base]).sum())
        parts = [] if terms and near_zero else [f"{constant:.4g}"]
        for k in terms:
            size = "" if abs(abs(slope[k]) - 1) < 1e-9 else f"{abs(slope[k]):.4g}·"
            sign = ("-" if slope[k] < 0 else "") if not parts else (" - " if slope[k] < 0 else " + ")
            parts.append(f"{sign}{size}{names[base[k]]}")
        texts.append(f"{names[j]} = {''.join(parts)}")
    more = f" and {len(rest) - limit:,} more" if len(rest) > limit else ""
    return "; ".join(texts) + more


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
    sd = np.sqrt(np.maximum(_diagonal(np.ascontiguousarray(cross)), 0) / total[:, None])
    # The difference of two large sums is noise where it is as small as their rounding.
    noise = 1e-7 * np.sqrt(np.maximum(_diagonal(np.ascontiguousarray(S[:, 1:, 1:])), 0) / total[:, None])
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
        theta = _lasso(
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


# -------------------------------------------------------------------- separation


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
    if family not in _SEPARABLE:
        raise ArgumentError(f"family is {family!r}; only {', '.join(_SEPARABLE)} can be separated.")
    rows = Rows.of(X, y, family, weight=weight, n_classes=n_classes)
    z, mean, sd = _standardised(rows.x[None], np.ones((1, len(rows.x))))
    a = np.concatenate([np.ones((len(rows.x), 1)), z[0]], axis=1)
    verdict = _separation(a, rows.y, family, None)
    coef = verdict.coef / sd
    return replace(verdict, coef=coef, intercept=verdict.intercept - coef @ mean[0])


_MARGIN = 1e-9  # of a row of unit size: below it a direction counts as along the row's plane
_DIVIDED = 1e-6  # margins from here on divide; between the two nothing is decided


def _separation(a: Floats, y: Floats, family: Family, guess: Floats | None) -> Separation:
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


_HIGHS = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}


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


# -------------------------------------------------------------------- penalty by validation


@dataclass(frozen=True, eq=False)
class PenaltyCurve:
    """Held-out loss for each penalty of a grid.

    Parameters
    ----------
    l2, l1 : (P,) the grid. loss : (P,) mean deviance of held-out rows. se : (P,) its standard error.
    best : place of the smallest loss. chosen : place of the strongest penalty within one standard error of it.
    n : held-out rows.
    """

    l2: Floats
    l1: Floats
    loss: Floats
    se: Floats
    best: int
    chosen: int
    n: int

    _repr_html_ = in_notebook

    def to_frame(self) -> pd.DataFrame:
        """Return a table with a row per penalty."""
        import pandas as pd

        frame = pd.DataFrame({"l2": self.l2, "l1": self.l1, "loss": self.loss, "se": self.se})
        place = np.arange(len(frame))
        return frame.assign(best=place == self.best, chosen=place == self.chosen)


def fit_path(
    X: ArrayLike, y: ArrayLike, family: Family, *, l2: Sequence[float], l1: Sequence[float] = (0.0,), **options: Any
) -> tuple[Fits, ...]:
    """Return the fits for each pair of penalties, l1 by l1 and within it l2 by l2; options as for `fit`."""
    return tuple(fit(X, y, family, l2=a, l1=b, **options) for b in l1 for a in l2)


def choose_penalty(
    X: ArrayLike,
    y: ArrayLike,
    family: Family,
    *,
    group: ArrayLike | None = None,
    l2: Sequence[float] | None = None,
    l1: Sequence[float] = (0.0,),
    held_out: ArrayLike | None = None,
    folds: int = 5,
    random_state: int | np.random.Generator | None = None,
    weight: ArrayLike | None = None,
    offset: ArrayLike | None = None,
    prior: ArrayLike | None = None,
    n_groups: int | None = None,
    n_classes: int | None = None,
) -> PenaltyCurve:
    """Return the held-out loss over a grid of penalties shared by all groups, and the choice.

    Parameters
    ----------
    l2 : grid; by default 13 values from 1e-5 to 10 times the mean number of rows of a group. l1 : grid.
    held_out : (n,) bool, rows to judge by. Without it `folds` folds, drawn within each group.
    random_state : of the folds.
    X, y, family, group, weight, offset, prior, n_groups, n_classes : as for `fit`.

    Raises
    ------
    ArgumentError : a grid is empty, or fewer than two folds, or nothing is held out. DataError : as for `fit`.

    Notes
    -----
    One-standard-error rule: of the penalties whose loss is within one standard error of the smallest, the largest l1, then
    the largest l2. The standard error is over folds, or over the rows held out.
    Source: Breiman, Friedman, Olshen & Stone 1984, §3.4.3.
    """
    x = _checked_features(X)
    n = len(x)
    response = _checked_response(y, n, family, n_classes)
    w, off = _checked_weight(weight, n), _checked_offset(offset, n, response.shape[1])
    codes, G = _checked_group(group, n, n_groups)
    grid = _default_grid(codes, w) if l2 is None else [float(v) for v in l2]
    pairs = [(a, float(b)) for b in l1 for a in grid]
    if not pairs:
        raise ArgumentError("The grid of penalties is empty; give at least one l2 and one l1.")
    fold = _folds(codes, folds, random_state) if held_out is None else _as_fold(held_out, n)
    n_folds = int(fold.max()) + 1
    loss = np.full((len(pairs), n), np.nan)
    for f in range(n_folds):
        mine, rest = fold == f, fold != f
        for p, (a, b) in enumerate(pairs):
            fits = fit(
                x[rest],
                response[rest],
                family,
                weight=w[rest],
                offset=off[rest],
                l2=a,
                l1=b,
                prior=prior,
                group=codes[rest],
                n_groups=G,
                test_separation=a == b == 0,
            )
            with np.errstate(over="ignore"):
                loss[p, mine] = unit_deviance(fits.decision(x[mine], codes[mine], off[mine]), response[mine], family)
    return _curve(pairs, loss, w, fold, n_folds)


def _default_grid(codes: Ints, w: Floats) -> list[float]:
    mean_size = w.sum() / max(len(np.unique(codes)), 1)
    return [float(v) for v in mean_size * np.logspace(-5, 1, 13)]


def _folds(codes: Ints, folds: int, random_state: int | np.random.Generator | None) -> Ints:
    """Return a fold per row, each group spread evenly over them."""
    if folds < 2:
        raise ArgumentError(f"folds is {folds}; expected 2 or more, or a mask held_out.")
    rng = np.random.default_rng(random_state)
    order = np.lexsort((rng.random(len(codes)), codes))
    fold = np.empty(len(codes), dtype=np.intp)
    fold[order] = np.arange(len(codes)) % folds
    return fold


def _as_fold(held_out: ArrayLike, n: int) -> Ints:
    mask = np.asarray(held_out)
    if mask.shape != (n,) or mask.dtype != bool or not mask.any() or mask.all():
        raise ArgumentError(
            f"held_out must be {n:,} truth values, some of each; got {mask.dtype} of shape {mask.shape}."
        )
    return np.where(mask, 0, -1)


def _curve(pairs: list[tuple[float, float]], loss: Floats, w: Floats, fold: Ints, n_folds: int) -> PenaltyCurve:
    judged = (fold >= 0) & (w > 0)
    if n_folds > 1:
        parts = [judged & (fold == f) for f in range(n_folds) if (judged & (fold == f)).any()]
        values = np.stack([np.average(loss[:, part], axis=1, weights=w[part]) for part in parts], axis=1)
        sizes = np.array([w[part].sum() for part in parts])
    else:
        values, sizes = loss[:, judged], w[judged]
    mean = np.average(values, axis=1, weights=sizes)
    spread = np.average((values - mean[:, None]) ** 2, axis=1, weights=sizes)
    se = np.sqrt(spread / max(values.shape[1] - 1, 1))
    best = int(np.nanargmin(mean))
    near = [p for p in range(len(pairs)) if mean[p] <= mean[best] + se[best]]
    chosen = max(near, key=lambda p: (pairs[p][1], pairs[p][0]))
    l2, l1 = (np.array(column) for column in zip(*pairs, strict=True))
    return PenaltyCurve(l2, l1, mean, se, best, chosen, int(judged.sum()))
