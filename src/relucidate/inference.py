"""Standard errors, p-values and intervals of refitted models, or the reason why there are none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from relucidate.displaying import in_notebook
from relucidate.errors import ArgumentError, TargetError
from relucidate.glm import Fits, Rows, Status, fit
from relucidate.layers import Floats

if TYPE_CHECKING:
    import pandas as pd

INTERCEPT = "(intercept)"

_AT_OPTIMUM = 1e-3  # standard errors that an estimate may be away from the optimum of the rows it is judged by
_NO_RESIDUAL = 1e-24  # residual variance, in units of the mean square response, that is rounding
_FAILED = 0.05  # share of resamples without an optimum from which on an interval would mislead
_RESAMPLED_NUMBERS = 2**23  # of the rows resampled at once

_CHOSEN_HERE = "These intervals ignore that the segments were chosen on the same rows."
_HONEST = "These rows had no part in choosing the segments, so the intervals hold for the segments as they are."
_EACH = "Each holds by itself; nothing is adjusted for how many there are."


@dataclass(frozen=True, eq=False)
class Inference:
    """Estimates with their uncertainty, as arrays over groups, outputs and terms.

    Parameters
    ----------
    terms : (q,) the intercept, then the features. outputs : (K,) what the outputs are: class k against the reference class
        for a softmax.
    estimate, se, statistic, p, lower, upper : (G, K, q); all but the estimates are NaN where there is a reason.
    reason : (G,) why a group has none, "" if it has. n : (G,) rows. df : (G,) degrees of freedom of Student's t, infinite
        for the normal.
    level : of the intervals. method : "Wald", "Wald, HC1", "bootstrap percentile" or "bootstrap BCa".
    honest : whether the rows had no part in choosing the segments.
    """

    terms: tuple[str, ...]
    outputs: tuple[str, ...]
    estimate: Floats
    se: Floats
    statistic: Floats
    p: Floats
    lower: Floats
    upper: Floats
    reason: tuple[str, ...]
    n: NDArray[np.int64]
    df: Floats
    level: float
    method: str
    honest: bool

    def __len__(self) -> int:
        return len(self.estimate)

    @property
    def note(self) -> str:
        """A sentence or two that belong under every table of these numbers."""
        return f"{_HONEST if self.honest else _CHOSEN_HERE} {_EACH}"

    _repr_html_ = in_notebook

    def to_frame(self) -> pd.DataFrame:
        """Return a table with a row per group, output and term."""
        import pandas as pd

        G, K, q = self.estimate.shape
        group, output, term = (index.ravel() for index in np.indices((G, K, q)))
        columns = {name: getattr(self, name).ravel() for name in ("estimate", "se", "statistic", "p", "lower", "upper")}
        return pd.DataFrame(
            {
                "group": group,
                "output": np.array(self.outputs, dtype=object)[output],
                "term": np.array(self.terms, dtype=object)[term],
                **columns,
                "df": self.df[group],
                "reason": np.array(self.reason, dtype=object)[group],
            }
        )


# -------------------------------------------------------------------- Wald


def wald(
    fits: Fits,
    X: ArrayLike,
    y: ArrayLike,
    *,
    group: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    offset: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    level: float = 0.95,
    robust: bool = False,
    frequency: bool = False,
    honest: bool = False,
    reference: int = 0,
) -> Inference:
    """Return Wald tests and intervals of unpenalised fits.

    Parameters
    ----------
    fits : what `glm.fit` made of exactly these rows.
    X, y, group, weight, offset : as given to `glm.fit`.
    names : (d,) of the features; those of the fits by default.
    level : of the intervals. robust : whether the variance is HC1's sandwich, which holds where the family is wrong.
    frequency : whether a row of weight 2 stands for two rows, so that weights add up to the number of rows. Otherwise it
        is one row, known twice as precisely.
    honest : whether these rows had no part in choosing the groups, see `honest_split`; changes the note only.
    reference : class that the other classes of a softmax are compared with.

    Raises
    ------
    ArgumentError : `fits` has other groups, features or classes, or the level makes no sense. DataError : as `glm.fit`.

    Notes
    -----
    Variance: the inverse information at the optimum, times the dispersion: ``Σ w r² / (n - q)`` for "gaussian", with
    Student's t on n - q degrees of freedom; Pearson's χ² / (n - q) for "gamma"; 1 for the others. As statsmodels has it for
    OLS, GLM and MNLogit. HC1 is HC0 times n / (n - parameters), a factor that statsmodels leaves out for GLM and MNLogit.
    A group has estimates and a reason, but no inference, if its status is not OK, if it is penalised, or if its
    coefficients are not the optimum of the rows given. Cost: n q² per group.
    Source: McCullagh & Nelder 1989, §2.5 and §9; MacKinnon & White 1985 for HC1.
    """
    rows = _same_rows(fits, X, y, group, weight, offset, names)
    _check_level(level)
    frame = _Frame.of(fits, rows, reference)
    G, K, q = frame.estimate.shape
    se = np.full((G, K, q), np.nan)
    df = np.full(G, np.inf)
    reasons = [fits.reason(g) for g in range(G)]
    for g in range(G):
        if reasons[g]:
            continue
        model = _LocalModel(fits, rows, g, frame.classes, reference)
        size = float(model.w.sum()) if frequency else float(len(model.w))
        reasons[g] = model.flaw(size)
        if reasons[g]:
            continue
        variance = model.sandwich(size, frequency) if robust else model.variance(size)
        se[g] = np.sqrt(np.maximum(variance, 0))
        if fits.family == "gaussian":
            df[g] = size - q
    statistic, p, half = _tests(frame.estimate, se, df, level)
    return Inference(
        terms=frame.terms,
        outputs=frame.outputs,
        estimate=frame.estimate,
        se=se,
        statistic=statistic,
        p=p,
        lower=frame.estimate - half,
        upper=frame.estimate + half,
        reason=tuple(reasons),
        n=np.diff(rows.starts).astype(np.int64),
        df=np.where([bool(r) for r in reasons], np.nan, df),
        level=level,
        method="Wald, HC1" if robust else "Wald",
        honest=honest,
    )


def _same_rows(
    fits: Fits,
    X: ArrayLike,
    y: ArrayLike,
    group: ArrayLike | None,
    weight: ArrayLike | None,
    offset: ArrayLike | None,
    names: Sequence[str] | None,
) -> Rows:
    """Return the rows, which must be of the shape that the fits were made of."""
    G, K, d = fits.coef.shape
    rows = Rows.of(
        X,
        y,
        fits.family,
        weight=weight,
        offset=offset,
        group=group,
        n_groups=G,
        n_classes=K if fits.family == "multinomial" else None,
        names=None,
    )
    if rows.x.shape[1] != d or rows.y.shape[1] != K:
        raise ArgumentError(
            f"The fits have {d} features and {K} outputs; X and y have {rows.x.shape[1]} and {rows.y.shape[1]}. "
            "Give the rows that were fitted."
        )
    labels = fits.names if names is None else tuple(str(name) for name in names)
    if len(labels) != d:
        raise ArgumentError(f"{len(labels)} names for {d} features; give one each.")
    return Rows(rows.family, rows.x, rows.y, rows.w, rows.offset, rows.starts, rows.order, labels)


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ArgumentError(f"level is {level}; expected a number between 0 and 1, such as 0.95.")


@dataclass(frozen=True, eq=False)
class _Frame:
    """What the rows and columns of the result are: estimates (G, K, q), and the class of each output."""

    terms: tuple[str, ...]
    outputs: tuple[str, ...]
    estimate: Floats
    classes: tuple[int, ...]

    @staticmethod
    def of(fits: Fits, rows: Rows, reference: int) -> _Frame:
        """Return the frame of some fits."""
        theta = np.concatenate([fits.intercept[:, :, None], fits.coef], axis=2)
        K = theta.shape[1]
        terms = (INTERCEPT, *rows.names)
        if fits.family != "multinomial":
            return _Frame(terms, tuple(f"y{k}" for k in range(K)) if K > 1 else ("y",), theta, tuple(range(K)))
        if not 0 <= reference < K:
            raise ArgumentError(f"reference is {reference}; expected a class from 0 to {K - 1}.")
        others = tuple(k for k in range(K) if k != reference)
        outputs = tuple(f"{k} against {reference}" for k in others)
        return _Frame(terms, outputs, theta[:, list(others)] - theta[:, [reference]], others)


class _LocalModel:
    """One group's model on its rows: information, scores and what follows from them, parameters flattened (K q,).

    The columns are standardised, so that the information is well conditioned; variances come out in the user's units.
    """

    def __init__(self, fits: Fits, rows: Rows, g: int, classes: Sequence[int], reference: int) -> None:
        mine = rows.of_group(g)
        self.family = fits.family
        self.x, self.w, self.y = rows.x[mine], rows.w[mine], rows.y[mine]
        self.eta = self.x @ fits.coef[g].T + fits.intercept[g] + rows.offset[mine]
        self.mean = fits.mean(self.eta)
        self.classes = list(classes)
        centre, sd = self.x.mean(axis=0), self.x.std(axis=0)
        sd = np.where(sd > 0, sd, 1.0)
        self.a = np.column_stack([np.ones(len(self.x)), (self.x - centre) / sd])
        # coefficients in the user's units are `units` times the standardised ones
        self.units = np.diag(np.r_[1.0, 1 / sd])
        self.units[0, 1:] = -centre / sd
        self.bread = _inverse(self._information())

    def _information(self, observed: bool = False) -> Floats:
        """Return the expected information without dispersion: (q, q), or (K q, K q) for a softmax.

        The observed one differs for "gamma" alone, whose log link is not its own.
        """
        if self.family == "multinomial":
            p = self.mean[:, self.classes]
            K, q = p.shape[1], self.a.shape[1]
            blocks = np.empty((K, q, K, q))
            for k in range(K):
                for j in range(K):
                    blocks[k, :, j] = self._gram(self.w * p[:, k] * (float(k == j) - p[:, j]))
            return blocks.reshape(K * q, K * q)
        mean = self.mean[:, 0]
        unit = {"binomial": mean * (1 - mean), "poisson": mean}.get(self.family, np.ones_like(mean))
        if observed and self.family == "gamma":
            unit = self.y[:, 0] / mean
        return self._gram(self.w * unit)

    def _gram(self, w: Floats) -> Floats:
        return np.asarray(self.a.T @ (self.a * w[:, None]))

    def _residuals(self) -> Floats:
        """Return minus the slope of the loss (n, K), of which the scores are made."""
        if self.family == "gamma":
            return self.y / self.mean - 1
        return (self.y - self.mean)[:, self.classes]

    def scores(self, weight_power: float = 1.0) -> Floats:
        """Return each row's score (n, K, q), without dispersion."""
        return np.asarray((self._residuals() * self.w[:, None] ** weight_power)[:, :, None] * self.a[:, None])

    def dispersion(self, size: float) -> Floats:
        """Return the variance that the family leaves open, per output (K,)."""
        if self.family not in ("gaussian", "gamma"):
            return np.ones(len(self.classes))
        return np.asarray((self.w[:, None] * self._residuals() ** 2).sum(axis=0) / (size - self.a.shape[1]))

    def flaw(self, size: float) -> str:
        """Return why there can be no inference on these rows, "" if there can."""
        free = size - self.a.shape[1]
        if free <= 0:
            return f"too few rows: weights of {size:g} for {self.a.shape[1]} coefficients"
        if not np.isfinite(self.bread).all():
            return "no information: the rows are not those of the fit"
        dispersion = self.dispersion(size)
        square = np.average(self.y**2, axis=0, weights=self.w) if self.family == "gaussian" else np.ones(1)
        if (dispersion <= _NO_RESIDUAL * square).any():
            return "no residual: the model fits every row exactly"
        total = self.scores().sum(axis=0)
        flat = total.reshape(1, -1) if self.family == "multinomial" else total
        away = np.einsum("ki,ij,kj->k", flat, self.bread, flat)
        if (away > _AT_OPTIMUM**2 * (1.0 if self.family == "multinomial" else dispersion)).any():
            return "not the optimum of these rows: fit the model on them first"
        return ""

    def variance(self, size: float) -> Floats:
        """Return the variances of the coefficients (K, q) if the family is right."""
        return self._in_units(self.bread) * self.dispersion(size)[:, None]

    def sandwich(self, size: float, frequency: bool) -> Floats:
        """Return the variances of the coefficients (K, q) by HC1."""
        scores = self.scores(0.5 if frequency else 1.0)
        n, K, q = scores.shape
        if self.family == "multinomial":
            meat = self._meat(scores.reshape(n, K * q))
            return self._in_units(self.bread @ meat @ self.bread) * size / (size - K * q)
        bread = _inverse(self._information(observed=True))
        each = [self._in_units(bread @ self._meat(scores[:, k]) @ bread) for k in range(K)]
        return np.concatenate(each) * size / (size - q)

    @staticmethod
    def _meat(scores: Floats) -> Floats:
        return np.asarray(scores.T @ scores)

    def influence(self) -> Floats:
        """Return how each row moves the coefficients (n, K, q)."""
        scores = self.scores()
        n, K, q = scores.shape
        if self.family == "multinomial":
            moved = (scores.reshape(n, K * q) @ self.bread).reshape(n, K, q)
        else:
            moved = scores @ self.bread
        return np.asarray(moved @ self.units.T)

    def _in_units(self, covariance: Floats) -> Floats:
        """Return the variances in the user's units: of a (q, q) covariance (1, q), of a (K q, K q) one (K, q)."""
        q = self.a.shape[1]
        blocks = [covariance[i : i + q, i : i + q] for i in range(0, len(covariance), q)]
        return np.array([np.einsum("ij,jk,ik->i", self.units, block, self.units) for block in blocks])


def _inverse(matrix: Floats) -> Floats:
    """Return the inverse, NaN where there is none."""
    try:
        return np.asarray(np.linalg.inv(matrix), dtype=np.float64)
    except np.linalg.LinAlgError:
        return np.full(matrix.shape, np.nan)


def _tests(estimate: Floats, se: Floats, df: Floats, level: float) -> tuple[Floats, Floats, Floats]:
    """Return statistic, two-sided p and half width of the interval."""
    from scipy.special import ndtr, ndtri, stdtr, stdtrit

    normal = np.isinf(df)
    finite = np.where(normal, 1.0, df)[:, None, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        statistic = estimate / se
    tail = np.where(normal[:, None, None], ndtr(-np.abs(statistic)), stdtr(finite, -np.abs(statistic)))
    quantile = np.where(normal, ndtri((1 + level) / 2), stdtrit(finite[:, 0, 0], (1 + level) / 2))
    return statistic, 2 * tail, quantile[:, None, None] * se


# -------------------------------------------------------------------- bootstrap


def bootstrap(
    fits: Fits,
    X: ArrayLike,
    y: ArrayLike,
    *,
    group: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    offset: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    n: int = 200,
    method: Literal["percentile", "bca"] = "percentile",
    level: float = 0.95,
    random_state: int | np.random.Generator | None = None,
    honest: bool = False,
    reference: int = 0,
) -> Inference:
    """Return bootstrap intervals of unpenalised fits, from rows resampled within each group.

    Parameters
    ----------
    n : resamples. method : "percentile", or "bca", which corrects for bias and skewness; it wants n of 1,000 or more.
    random_state : of the resamples.
    fits, X, y, group, weight, offset, names, level, honest, reference : as for `wald`. Rows are drawn with equal chances and
        keep their weight.

    Raises
    ------
    ArgumentError : as `wald`, or fewer than two resamples, or an unknown method. DataError : as `glm.fit`.

    Notes
    -----
    `Inference.se` is the standard deviation over resamples; there is no test. Resamples without an optimum (one class,
    separated, dependent columns) are left out; a group where they are more than one in twenty has no interval but the
    reason. BCa takes its acceleration from the rows' influence instead of a jackknife. Cost: n fits.
    Source: Efron 1987, Better bootstrap confidence intervals; Efron & Tibshirani 1993, §14 and §22.6.
    """
    rows = _same_rows(fits, X, y, group, weight, offset, names)
    _check_level(level)
    if n < 2:
        raise ArgumentError(f"n is {n}; expected at least 2 resamples, better 200 or more.")
    if method not in ("percentile", "bca"):
        raise ArgumentError(f"method is {method!r}; expected 'percentile' or 'bca'.")
    frame = _Frame.of(fits, rows, reference)
    G = len(fits)
    reasons = [fits.reason(g) for g in range(G)]
    draws = np.full((n, *frame.estimate.shape), np.nan)
    sound = np.flatnonzero([not reason for reason in reasons])
    if len(sound):
        draws[:, sound] = _resampled(fits, rows, sound, n, reference, np.random.default_rng(random_state))
    failed = np.isnan(draws).any(axis=(2, 3)).sum(axis=0)
    se, lower, upper = (np.full(frame.estimate.shape, np.nan) for _ in range(3))
    for g in sound.tolist():
        if failed[g] > _FAILED * n:
            reasons[g] = f"bootstrap: {failed[g]} of {n} resamples have no optimum"
            continue
        good = draws[~np.isnan(draws[:, g]).any(axis=(1, 2)), g]
        probabilities = np.array([(1 - level) / 2, (1 + level) / 2])
        shares = np.broadcast_to(probabilities[:, None, None], (2, *good.shape[1:]))
        if method == "bca":
            influence = _LocalModel(fits, rows, g, frame.classes, reference).influence()
            shares = _bca_shares(good, frame.estimate[g], influence, probabilities)
        se[g] = good.std(axis=0, ddof=1)
        lower[g], upper[g] = _quantiles(good, shares)
    nothing = np.full(frame.estimate.shape, np.nan)
    return Inference(
        terms=frame.terms,
        outputs=frame.outputs,
        estimate=frame.estimate,
        se=se,
        statistic=nothing,
        p=nothing,
        lower=lower,
        upper=upper,
        reason=tuple(reasons),
        n=np.diff(rows.starts).astype(np.int64),
        df=np.full(G, np.nan),
        level=level,
        method="bootstrap BCa" if method == "bca" else "bootstrap percentile",
        honest=honest,
    )


def _resampled(
    fits: Fits, rows: Rows, groups: NDArray[np.intp], n: int, reference: int, rng: np.random.Generator
) -> Floats:
    """Return the estimates of some groups from n resamples (n, groups, K, q), NaN where there is no optimum."""
    sizes = np.diff(rows.starts)[groups]
    place = np.repeat(np.arange(len(groups)), sizes)
    at_once = max(1, _RESAMPLED_NUMBERS // max(1, len(place) * (rows.x.shape[1] + rows.y.shape[1])))
    parts = []
    for start in range(0, n, at_once):
        m = min(at_once, n - start)
        drawn = (rng.random((m, len(place))) * sizes[place]).astype(np.intp) + rows.starts[groups][place]
        which = drawn.ravel()
        code = (place + len(groups) * np.arange(m)[:, None]).ravel()
        again = fit(
            rows.x[which],
            rows.y[which],
            fits.family,
            weight=rows.w[which],
            offset=rows.offset[which],
            group=code,
            n_groups=m * len(groups),
            test_separation=False,
        )
        estimate = _Frame.of(again, rows, reference).estimate
        estimate[[status is not Status.OK for status in again.status]] = np.nan
        parts.append(estimate.reshape(m, len(groups), *estimate.shape[1:]))
    return np.concatenate(parts)


def _bca_shares(draws: Floats, estimate: Floats, influence: Floats, probabilities: Floats) -> Floats:
    """Return which quantiles of the resamples make up BCa's interval (2, K, q)."""
    from scipy.special import ndtr, ndtri

    below = ((draws < estimate).sum(axis=0) + (draws == estimate).sum(axis=0) / 2) / len(draws)
    bias = ndtri(np.clip(below, 0.5 / len(draws), 1 - 0.5 / len(draws)))
    acceleration = (influence**3).sum(axis=0) / (6 * (influence**2).sum(axis=0) ** 1.5)
    z = bias + ndtri(probabilities)[:, None, None]
    return np.asarray(ndtr(bias + z / (1 - acceleration * z)))


def _quantiles(draws: Floats, shares: Floats) -> Floats:
    """Return quantiles (2, K, q) of draws (n, K, q), each with its own share (2, K, q)."""
    ordered = np.sort(draws, axis=0)
    place = shares * (len(draws) - 1)
    low = np.floor(place).astype(np.intp)
    high = np.minimum(low + 1, len(draws) - 1)
    left, right = np.take_along_axis(ordered, low, axis=0), np.take_along_axis(ordered, high, axis=0)
    return np.asarray(left + (place - low) * (right - left))


# -------------------------------------------------------------------- splitting


def honest_split(
    n: int,
    random_state: int | np.random.Generator | None = None,
    share: float = 0.5,
    stratify: ArrayLike | None = None,
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the rows to choose the segments on and, apart from them, the rows to fit and test on, both in order.

    Parameters
    ----------
    n : rows. random_state : of the draw. share : of the rows that the choice gets.
    stratify : (n,) labels, each divided in this proportion, to within a row.

    Raises
    ------
    ArgumentError : the share leaves one part empty. TargetError : `stratify` does not fit the rows.

    Notes
    -----
    Intervals from the second part are valid whatever was done with the first. They cover the coefficients of the segments
    that were chosen, not of those that another choice would have made.
    Source: Cox 1975, A note on data-splitting for the evaluation of significance levels; Athey & Imbens 2016.
    """
    if not 0 < share < 1 or not 0 < round(share * n) < n:
        raise ArgumentError(f"share is {share} of {n} rows; expected a share that leaves rows in both parts.")
    rng = np.random.default_rng(random_state)
    labels = np.zeros(n, dtype=np.intp)
    if stratify is not None:
        given = np.asarray(stratify)
        if given.shape != (n,):
            raise TargetError(f"stratify has shape {given.shape}; expected ({n},).")
        labels = np.unique(given, return_inverse=True)[1]
    # Rows stand in random order within each label, the labels in random order: every k-th then goes to the choice.
    order = np.lexsort((rng.random(n), rng.permutation(labels.max() + 1)[labels]))
    counted = np.floor(np.arange(n + 1) * (round(share * n) / n) + 0.5)
    chosen = np.zeros(n, dtype=bool)
    chosen[order] = np.diff(counted) > 0
    return np.flatnonzero(chosen), np.flatnonzero(~chosen)
