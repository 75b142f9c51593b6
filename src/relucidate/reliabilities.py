"""Reliability: which local linear models rest on rows that can support them, why others do not, and how many rows use each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from relucidate.displaying import in_notebook
from relucidate.errors import ArgumentError, clipped
from relucidate.layers import Floats
from relucidate.maps import over_classes
from relucidate.products import in_threads, one_thread
from relucidate.unwrapping import Unwrapped, squaring, unwrapped

if TYPE_CHECKING:
    import pandas as pd

ONE_ROW = "one row"
ONE_CLASS = "one class"
FEWER = "fewer rows than coefficients"
FEW = "few rows"
RANK = "rank-deficient or ill-conditioned rows"
CHANCE = "worse than chance"
MEAN = "worse than the mean"
FAR = "coefficients unlike its neighbours"

_CELLS = 2**23  # held at a time
_CACHED = 2**20  # distances held at a time in each thread, near what a processor's cache holds
_GROUP = 64  # regions whose least distance stands for all of them
_ALIAS = 1e-9  # of the largest singular value of all rows: below, features are copies of others in the whole table
_SAME = 1e-9  # distance from 0 or 1 at which a share is that but for rounding


@dataclass(frozen=True, eq=False)
class Reliability:
    """Which local linear models can be trusted as far as their rows tell, the largest region first.

    Parameters
    ----------
    kind : "activation" or "linear" (where `Unwrapped.join_equal` joined regions).
    count : (R,) rows. share : (R,) share of all rows, by weight.
    reasons : what was looked at, in the order in which one reason goes before another.
    flags : (R, n_reasons) whether each holds. A region is reliable if none does.
    score_name : of `score`, "" without a response. score : (R,) on the region's own rows, NaN where there is none.
    skill : (R,) the score on a scale where 0 is chance or the mean and 1 is perfect; NaN where it cannot be told.
    condition : (R,) condition number of the region's rows, infinite where they lack a direction that the table has; NaN
        where the region has too few rows in the sample for it.
    distance : (R,) of the coefficients from those of the neighbours, see `reliability`; NaN where it cannot be told.
    n_coefficients : of a local linear model that the table can tell apart, the intercept included.
    min_rows, max_condition, min_skill, max_distance, n_neighbours : as asked for.
    n_untold : regions with rows enough, but too few of them in the sample to tell their condition.
    caveat : what condition and score rest on, "" if on all rows. notes : reasons that were not looked at, and why.
    """

    kind: str
    count: NDArray[np.int64]
    share: Floats
    reasons: tuple[str, ...]
    flags: NDArray[np.bool_]
    score_name: str
    score: Floats
    skill: Floats
    condition: Floats
    distance: Floats
    n_coefficients: int
    min_rows: int
    max_condition: float
    min_skill: float
    max_distance: float
    n_neighbours: int
    n_untold: int
    caveat: str
    notes: tuple[str, ...]

    @property
    def reliable(self) -> NDArray[np.bool_]:
        """Whether no reason holds (R,)."""
        return np.asarray(~self.flags.any(axis=1))

    @property
    def first(self) -> NDArray[np.intp]:
        """The first reason of each region (R,), by its place in `reasons`; ``len(reasons)`` where none holds."""
        return np.where(self.reliable, len(self.reasons), self.flags.argmax(axis=1))

    @property
    def reason(self) -> NDArray[Any]:
        """The first reason of each region in words (R,), "" where none holds."""
        return np.array([*self.reasons, ""], dtype=object)[self.first]

    @property
    def tally(self) -> tuple[NDArray[np.int64], Floats]:
        """Regions, and their share of the rows, by first reason (n_reasons + 1,); the last is of the reliable ones."""
        n = len(self.reasons) + 1
        regions = np.bincount(self.first, minlength=n).astype(np.int64)
        return regions, np.asarray(np.bincount(self.first, self.share, minlength=n))

    def __repr__(self) -> str:
        return "\n".join(self.summary())

    _repr_html_ = in_notebook

    def to_frame(self) -> pd.DataFrame:
        """Return one row per region, the largest first.

        Returns
        -------
        pandas.DataFrame with ``region``, ``count``, ``share``, ``reliable``, ``reason`` (the first, "" if none), a column
        for each reason, ``condition``, ``distance``, ``skill``, and the local score under its own name.
        """
        import pandas as pd

        columns: dict[str, Any] = {
            "region": np.arange(len(self.count)),
            "count": self.count,
            "share": self.share,
            "reliable": self.reliable,
            "reason": self.reason,
            **dict(zip(self.reasons, self.flags.T, strict=True)),
            "condition": self.condition,
            "distance": self.distance,
        }
        if self.score_name:
            columns |= {"skill": self.skill, self.score_name: self.score}
        return pd.DataFrame(columns)

    def summary(self) -> list[str]:
        """Return how many regions and rows are behind each reason, a sentence a line."""
        R = len(self.count)
        regions, rows = self.tally
        lines = [
            f"{_of(regions[-1], R)} {_are(regions[-1], 'is', 'are')} reliable; "
            f"{_are(regions[-1], 'it holds', 'they hold')} {_percent(rows[-1])} of the rows."
        ]
        before = False
        for j, reason in enumerate(self.reasons):
            if regions[j] == 0:
                continue
            n = int(regions[j])
            more = " more" if before else ""
            words = self._words(reason, n)
            lines.append(
                f"{_of(n, R, more)} {words}; {_are(n, 'it holds', 'they hold')} {_percent(rows[j])} of the rows."
            )
            before = True
        if self.n_untold:
            lines.append(
                f"{_of(self.n_untold, R)} {_are(self.n_untold, 'has', 'have')} too few rows in the sample to tell whether "
                "they vary in every direction."
            )
        if self.caveat:
            lines.append(f"Conditions, AUC and accuracy need rows{self.caveat}.")
        return [*lines, *(f"Note: {note}" for note in self.notes)]

    def _words(self, reason: str, n: int) -> str:
        has, its = _are(n, "has", "have"), _are(n, "its", "their")
        return {
            ONE_ROW: _are(n, "rests on one row", "rest on one row"),
            ONE_CLASS: f"{has} rows of one class only",
            FEWER: f"{has} fewer rows than the {self.n_coefficients:,} coefficients",
            FEW: f"{has} fewer than {self.min_rows:,} rows",
            RANK: f"{has} rows that do not vary, or hardly vary, in some direction",
            CHANCE: f"{_are(n, 'does', 'do')} worse than chance on {its} own rows",
            MEAN: f"{_are(n, 'does', 'do')} worse than the mean on {its} own rows",
            FAR: f"{has} coefficients far from {its} neighbours'",
        }[reason]


def reliability(
    u: Unwrapped,
    *,
    min_rows: int = 30,
    max_condition: float = 100.0,
    min_skill: float = 0.0,
    max_distance: float = 1.0,
    neighbours: int = 5,
) -> Reliability:
    """Return per region whether its local linear model can be trusted, with all reasons why not.

    Parameters
    ----------
    u : from `relucidate.unwrap`, its regions joined or not.
    min_rows : a region with fewer has "few rows"; 1 to allow any number.
    max_condition : largest condition number of a region's rows; infinite to flag missing directions only.
    min_skill : least skill of the local score: 0 is chance or the mean, 1 is perfect.
    max_distance : largest distance of the coefficients from those of the neighbours, in spreads of all coefficients.
    neighbours : regions that a region is compared with.

    Returns
    -------
    Reliability : flags and figures per region.

    Raises
    ------
    ArgumentError : `u` is no result of `unwrap`, or a threshold makes no sense.
    NumericalOverflowError : values or coefficients are so large that their squares leave the range of float64.

    Notes
    -----
    The exact map of a region is exact however few rows it has; what few rows cannot say is whether it should be believed.
    The reasons, of which the first that holds is the one named, are:

    - "one row": the region holds one row.
    - "one class": all of its rows have one class (of several yes/no outputs: in each of them). Needs labels.
    - "fewer rows than coefficients": fewer rows than the coefficients and the intercept. Features that are constant, or
      combinations of others, in the whole table (as one of a full set of one-hot indicators) are not counted.
    - "few rows": fewer than `min_rows`.
    - "rank-deficient or ill-conditioned rows": the condition number is above `max_condition`. It is the ratio of the
      largest to the smallest singular value of the region's rows, weighted, less their mean, each feature divided by its
      standard deviation in the whole table, in the directions in which the whole table varies. Infinite where the rows do
      not vary in one of these. Above 30 is called strong and above 100 severe collinearity (Belsley, Kuh, Welsch 1980).
    - "worse than chance": the skill is below `min_skill`. Two classes: ``2 AUC − 1``; several classes:
      ``1 − (1 − accuracy) / (1 − share of the commonest class)``; several yes/no outputs: ``1 − log-loss / entropy of the
      observed shares``. For a regression "worse than the mean": R². All on the region's own rows, estimates without interval.
    - "coefficients unlike its neighbours": ``|b_r − m_r| / s > max_distance``. b_r are the region's coefficients per
      standard deviation of the features, all outputs in one vector (of a softmax less their mean over classes); m_r is
      the mean, by weight, of those of the nearest regions by mean row (features in standard deviations; ties to the larger
      region); s is the root of the weighted mean of ``|b_r − mean|²`` over all regions. At 1 the neighbours say no more
      about a region than the mean of all does. Not looked at where there are fewer than twice as many other regions as
      `neighbours`: those would not be near.

    Rows of weight 0 are not counted by these reasons, where the sample holds all rows or all of a region weigh 0.
    What needs rows, the condition and AUC or accuracy, is that of the sample, see `caveat`. Cost: rows × features² for the
    conditions, regions² × features for the neighbours, in blocks.
    """
    u = unwrapped(u)
    _check(min_rows, max_condition, min_skill, max_distance, neighbours)
    net, count = u.network, u.count
    sd = u.sample.sd
    basis, n_directions = _directions(u)
    n_coefficients = n_directions + 1
    support = _support(u)
    condition, n_untold = _conditions(u, basis, n_coefficients, support)
    with squaring(u):
        distance = _distances(u, sd, neighbours)
    name, score, skill = _scores(u)
    found: dict[str, Any] = {ONE_ROW: support == 1}
    notes = []
    if u.has_y and net.is_classifier:
        found[ONE_CLASS] = _one_class(u)
    found[FEWER] = support < n_coefficients
    found[FEW] = support < min_rows
    found[RANK] = condition > max_condition
    if u.has_y:
        found[CHANCE if net.is_classifier else MEAN] = skill < min_skill - _SAME
    else:
        absent = f'"{ONE_CLASS}" and "{CHANCE}" were' if net.is_classifier else f'"{MEAN}" was'
        notes.append(f"{absent} not looked at: there is no response.")
    if not u.sums.x.shape[1]:
        notes.append(f'"{FAR}" was not looked at: the mean rows of the regions were not kept.')
    elif np.isnan(distance).all():
        notes.append(f'"{FAR}" was not looked at: among so few regions none is nearer than the others.')
    else:
        found[FAR] = distance > max_distance
    return Reliability(
        kind="activation" if u.n_regions == len(u.patterns) else "linear",
        count=count,
        share=u.share,
        reasons=tuple(found),
        flags=np.stack(list(found.values()), axis=1),
        score_name=name,
        score=score,
        skill=skill,
        condition=condition,
        distance=distance,
        n_coefficients=n_coefficients,
        min_rows=int(min_rows),
        max_condition=float(max_condition),
        min_skill=float(min_skill),
        max_distance=float(max_distance),
        n_neighbours=int(neighbours),
        n_untold=n_untold,
        caveat=u.sample.caveat,
        notes=tuple(notes),
    )


def _check(min_rows: Any, max_condition: Any, min_skill: Any, max_distance: Any, neighbours: Any) -> None:
    whole = {"min_rows": min_rows, "neighbours": neighbours}
    for name, value in whole.items():
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
            raise ArgumentError(f"{name} is {clipped(value)}; expected a whole number, at least 1.")
    for name, value, least in (("max_condition", max_condition, 1), ("max_distance", max_distance, 0)):
        if not value >= least:
            raise ArgumentError(f"{name} is {clipped(value)}; expected a number, at least {least}.")
    if not min_skill <= 1:
        raise ArgumentError(
            f"min_skill is {clipped(min_skill)}; expected a number of at most 1, the skill of a perfect model."
        )


def _of(n: int, total: int, more: str = "") -> str:
    return f"{n:,}{more} of {total:,} region{'' if total == 1 else 's'}"


def _are(n: int, one: str, several: str) -> str:
    return one if n == 1 else several


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


# ---------------------------------------------------------------- what the response says


def _support(u: Unwrapped) -> NDArray[np.int64]:
    """Return how many rows of each region weigh something (R,), as far as that is known."""
    s = u.sample
    count = np.bincount(s.region[s.weights > 0], minlength=u.n_regions) if s.is_complete else u.count
    return np.asarray(np.where(u.sums.weight > 0, count, 0), dtype=np.int64)


def _one_class(u: Unwrapped) -> NDArray[np.bool_]:
    with np.errstate(invalid="ignore", divide="ignore"):
        part = u.sums.y / u.sums.weight[:, None] + u.sums.y_origin
        return np.asarray(((part <= _SAME) | (part >= 1 - _SAME)).all(axis=1))


def _scores(u: Unwrapped) -> tuple[str, Floats, Floats]:
    """Return the name of the local score, the score (R,) and the skill (R,)."""
    nothing = np.full(u.n_regions, np.nan)
    scores = u.local_scores()
    if not scores:
        return "", nothing, nothing
    mean = u.sums.mean()
    with np.errstate(invalid="ignore", divide="ignore"):
        if "local_auc" in scores:
            score = scores["local_auc"]
            return "local_auc", score, 2 * score - 1
        if "local_accuracy" in scores:
            # the accuracy is that of the rows of the sample, and so is what it is held against
            score, commonest = scores["local_accuracy"], _class_shares(u).max(axis=1)
            return "local_accuracy", score, np.where(commonest < 1 - _SAME, 1 - (1 - score) / (1 - commonest), np.nan)
        if "local_r2" in scores:
            # a variance of rounding errors is none
            square = u.sums.yy / u.sums.weight[:, None]
            varies = (u.sums.variance() > 1e-12 * square).any(axis=1)
            score = np.where(varies, scores["local_r2"], np.nan)
            return "local_r2", score, score
        score, either = scores["local_log_loss"], np.stack([mean, 1 - mean])
        entropy = -np.where(either > 0, either * np.log(either), 0).sum(axis=(0, 2))
        return "local_log_loss", score, np.where(_one_class(u), np.nan, 1 - score / entropy)


def _class_shares(u: Unwrapped) -> Floats:
    """Return the share of each class among the rows of the sample, per region (R, n_outputs), NaN where it has none."""
    s, R, K = u.sample, u.n_regions, u.network.n_outputs
    weights, code = s.weights, np.asarray(s.y).reshape(-1).astype(np.intp)
    total = np.bincount(s.region * K + code, weights, minlength=R * K).reshape(R, K)
    return np.asarray(total / total.sum(axis=1, keepdims=True))


# ---------------------------------------------------------------- what the rows say


def _directions(u: Unwrapped) -> tuple[Floats, int]:
    """Return the directions (d, q) in which the table varies, of features in standard deviations; and how many count.

    Where the table has no more rows than features all features that vary count: what few rows lack is no property of the
    features.
    """
    s = u.sample
    varies = np.ptp(s.x[s.weights > 0], axis=0) > 0 if len(s.x) else np.zeros(s.x.shape[1], dtype=bool)
    n_varying = int(varies.sum())
    if n_varying == 0:
        return np.zeros((len(varies), 0)), 0
    r = _triangle(_standardised(u, np.arange(len(s.x)), s.mean, 0.0))
    with one_thread():
        _, size, axes = np.linalg.svd(r, full_matrices=False)
    kept = size > _ALIAS * size[0]
    if np.count_nonzero(s.weights) <= n_varying:
        return axes[kept].T, n_varying
    return axes[kept].T, int(kept.sum())


def _standardised(u: Unwrapped, rows: NDArray[np.intp], origin: Floats, mean: Floats | float) -> Iterator[Floats]:
    """Yield rows of the sample block by block, less origin and mean, in standard deviations, times the root of their weight."""
    s = u.sample
    weights = s.weights
    scale = np.where(s.sd > 0, s.sd, 1)
    step = max(64, _CELLS // max(s.x.shape[1], 1))
    for start in range(0, len(rows), step):
        at = rows[start : start + step]
        yield ((s.x[at] - origin) - mean) / scale * np.sqrt(weights[at])[:, None]


def _triangle(blocks: Iterator[Floats]) -> Floats:
    """Return the triangular factor of all rows: their singular values and directions, without their number."""
    r: Any = None
    with one_thread():
        for block in blocks:
            r = np.linalg.qr(block if r is None else np.vstack([r, block]), mode="r")
    return r


def _conditions(u: Unwrapped, basis: Floats, n_coefficients: int, support: NDArray[np.int64]) -> tuple[Floats, int]:
    """Return the condition number of each region's rows (R,), and how many regions the sample has too few rows of."""
    s, R = u.sample, u.n_regions
    out = np.full(R, np.nan)
    weights = s.weights
    rows = np.flatnonzero(weights > 0)
    rows = rows[np.argsort(s.region[rows], kind="stable")]
    held = np.bincount(s.region[rows], minlength=R)
    end = np.cumsum(held)
    enough = held >= n_coefficients
    n_untold = int((~enough & (support >= n_coefficients)).sum())
    if basis.shape[1] == 0:
        return out, n_untold
    for r in np.flatnonzero(enough & (held > 1)):
        here = rows[end[r] - held[r] : end[r]]
        w, first = weights[here], s.x[here[0]]
        mean = w @ (s.x[here] - first) / w.sum()  # exactly 0 where all rows are alike
        with one_thread():
            triangle = _triangle(block @ basis for block in _standardised(u, here, first, mean))
            size = np.linalg.svd(triangle, compute_uv=False)
        lost = len(size) < basis.shape[1] or size[-1] <= size[0] * held[r] * np.finfo(float).eps or size[0] == 0
        out[r] = np.inf if lost else size[0] / size[-1]
    return out, n_untold


# ---------------------------------------------------------------- what the neighbours say


def _distances(u: Unwrapped, sd: Floats, k: int) -> Floats:
    """Return how far the coefficients of each region are from those of its neighbours, in spreads of all (R,)."""
    net, sums, R = u.network, u.sums, u.n_regions
    out = np.full(R, np.nan)
    known = np.flatnonzero(sums.weight > 0)
    if len(known) - 1 < 2 * k or not sums.x.shape[1]:
        return out
    at = _neighbours(_places(u, known, sd), k)
    weight = sums.weight[known]
    spread = _spread(u, sd)
    step = max(1, _CELLS // (at.shape[1] * net.n_outputs * net.n_features))
    for start in range(0, len(known), step):
        here = slice(start, start + step)
        near, of_near = np.unique(at[here], return_inverse=True)
        coef, other = (_scaled(u, known[which], sd) for which in (np.arange(len(known))[here], near))
        w = weight[at[here]]
        mean = np.einsum("rk,rkf->rf", w / w.sum(axis=1, keepdims=True), other[of_near.reshape(w.shape)])
        gap = np.sqrt(((coef - mean) ** 2).sum(axis=1))
        out[known[here]] = gap / spread if spread > 0 else 0.0
    return out


def _places(u: Unwrapped, known: NDArray[np.intp], sd: Floats) -> Floats:
    """Return the mean row of each region, in standard deviations from the mean of all (R, d)."""
    mean = u.sums.x[known] / u.sums.weight[known, None]
    return (mean - u.sample.mean) / np.where(sd > 0, sd, 1) * (sd > 0)


def _scaled(u: Unwrapped, regions: NDArray[np.intp], sd: Floats) -> Floats:
    """Return coefficients of regions per standard deviation, all outputs in one vector (n, n_outputs × d)."""
    return (over_classes(u.coef[regions], u.network.link) * sd).reshape(len(regions), -1)


def _spread(u: Unwrapped, sd: Floats) -> float:
    """Return the root mean square distance, by weight, of coefficients per standard deviation from their mean."""
    share = u.share
    mean = np.zeros(u.network.n_outputs * u.network.n_features)
    square = largest = 0.0
    for rows, coef, _ in u.map_blocks():
        scaled = (over_classes(coef, u.network.link) * sd).reshape(len(coef), -1)
        mean += share[rows] @ scaled
    for rows, coef, _ in u.map_blocks():
        scaled = (over_classes(coef, u.network.link) * sd).reshape(len(coef), -1)
        square += float(share[rows] @ ((scaled - mean) ** 2).sum(axis=1))
        largest = max(largest, float(np.abs(scaled).max(initial=0.0)))
    spread = float(np.sqrt(square))
    return spread if spread > 1e-12 * largest else 0.0  # equal coefficients differ by rounding only


def _neighbours(place: Floats, k: int) -> NDArray[np.intp]:
    """Return the k nearest others of each place (R, k), ties to the first."""
    R = len(place)
    out = np.empty((R, k), dtype=np.intp)
    square = (place**2).sum(axis=1)
    left, right = np.column_stack([-2 * place, np.ones(R)]), np.vstack([place.T, square])
    # of the least in each of many groups, the k-th smallest is no smaller than the k-th smallest of all
    groups = max(k, R // _GROUP) if 2 * k * _GROUP <= R else R
    step = max(1, _CACHED // R)

    def of_rows(start: int) -> None:
        rows = np.arange(start, min(start + step, R))
        own = square[rows]
        gap = left[rows] @ right  # squared distance, less that of the row from 0
        gap[np.arange(len(rows)), rows] = np.inf
        least = gap[:, : R // groups * groups].reshape(len(rows), -1, groups).min(axis=1)
        bound = np.partition(least, k - 1, axis=1)[:, k - 1]
        at, near = np.nonzero(gap <= (bound + _SAME * (bound + 2 * own))[:, None])
        # products cancel, and equal distances of rows on a grid must not be told apart by rounding
        exact = ((place[near] - place[rows[at]]) ** 2).sum(axis=1)
        begin = np.searchsorted(at, np.arange(len(rows) + 1))
        for i, r in enumerate(rows):
            here = slice(begin[i], begin[i + 1])
            farthest = np.partition(exact[here], k - 1)[k - 1]
            ranked = np.round(exact[here] / max(farthest, _SAME * (1 + own[i])), 9)
            out[r] = near[here][np.argsort(ranked, kind="stable")[:k]]

    in_threads(of_rows, range(0, R, step))
    return out
