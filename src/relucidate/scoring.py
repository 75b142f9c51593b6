"""Scores of predictions against responses, over all rows and region by region, with intervals and tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relucidate.layers import Floats

_ROUNDING = 1e-12  # of an area under the curve
_TOO_LARGE = "a score that leaves the range of float64"
_ONE_HEAVY = "one row has nearly all weight, no interval"
_ONE_ROW = 1e-24  # of a spread that is left to tell a variance from: the heaviest row weighs 1e12 times the others


def auc_by_group(
    group: NDArray[np.integer], n_groups: int, score: Floats, positive: NDArray[np.bool_], weight: Floats | None = None
) -> Floats:
    """Return the area under the ROC curve within each group (n_groups,), NaN where a group holds one class.

    Parameters
    ----------
    group, score, positive, weight : (n,)

    Notes
    -----
    The probability that a positive row scores above a negative one of its group, ties counting one half: one sort.
    """
    if len(score) == 0:
        return np.full(n_groups, np.nan)
    order = np.lexsort((score, group))
    g, s = group[order], score[order]
    pos, neg = _by_class(g, n_groups, positive[order], None if weight is None else weight[order])
    new_group = np.r_[True, g[1:] != g[:-1]]
    starts = np.flatnonzero(new_group | np.r_[True, s[1:] != s[:-1]])
    tie_pos, tie_neg, tie_group = np.add.reduceat(pos, starts), np.add.reduceat(neg, starts), g[starts]
    below = np.cumsum(tie_neg) - tie_neg
    first = np.r_[True, tie_group[1:] != tie_group[:-1]]
    below -= below[first][np.cumsum(first) - 1]
    won = np.bincount(tie_group, tie_pos * (below + tie_neg / 2), minlength=n_groups)
    pairs = np.bincount(g, pos, minlength=n_groups) * np.bincount(g, neg, minlength=n_groups)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(pairs > 0, won / pairs, np.nan)


def auc(score: Floats, positive: NDArray[np.bool_], weight: Floats | None = None) -> float:
    """Return the area under the ROC curve, NaN if only one class is present."""
    return float(auc_by_group(np.zeros(len(score), dtype=np.intp), 1, score, positive, weight)[0])


def log_loss(decision: Floats, y: Floats, link: str) -> Floats:
    """Return the log-loss of each row.

    Parameters
    ----------
    decision : (n, n_outputs)
    y : (n,) class codes, or (n, n_outputs) of 0 and 1 for a network with several logits.
    """
    if link == "softmax":
        top = decision.max(axis=1)
        total = top + np.log(np.exp(decision - top[:, None]).sum(axis=1))
        return total - decision[np.arange(len(y)), y.astype(np.intp)]
    y = y.reshape(len(y), -1)
    signed = np.where(y > 0, decision, -decision)
    return np.logaddexp(0.0, -signed).sum(axis=1)


def _scaled(group: NDArray[np.integer], n_groups: int, weight: Floats) -> Floats:
    """Return weights of which the largest of each group is between 1/2 and 1.

    Weights have no unit, but their squares and products leave float64 where they are 1e160 or 1e-200. A power of two
    rounds nothing.
    """
    top = np.zeros(n_groups)
    np.maximum.at(top, group, weight)
    return np.ldexp(weight, -np.frexp(top)[1][group])


def unitless(weight: Floats) -> Floats:
    """Return weights of which the largest is between 1/2 and 1, see `_scaled`; their squares stay in float64."""
    return np.ldexp(weight, -np.frexp(weight.max(initial=0.0))[1])


def _by_class(
    group: NDArray[np.integer], n_groups: int, positive: NDArray[np.bool_], weight: Floats | None
) -> tuple[Floats, Floats]:
    """Return the weights of the positive and of the negative rows, 0 elsewhere, each with a unit of its own."""
    w = np.ones(len(group)) if weight is None else weight
    both = np.where(positive, w, 0.0), np.where(positive, 0.0, w)
    return both if weight is None else (_scaled(group, n_groups, both[0]), _scaled(group, n_groups, both[1]))


# ---------------------------------------------------------------- intervals


def placements(
    group: NDArray[np.integer], n_groups: int, score: Floats, positive: NDArray[np.bool_], weight: Floats | None = None
) -> Floats:
    """Return for each row the share of the other class of its group that it is on the right side of (n,), ties one half.

    Parameters
    ----------
    group, score, positive, weight : (n,)

    Notes
    -----
    A positive row is on the right side of negative ones that score lower, a negative row of positive ones that score
    higher. NaN where the group has no row of the other class. The mean over either class is the area under the curve;
    DeLong's variance is made of their spread. One sort.
    """
    out = np.full(len(score), np.nan)
    if len(score) == 0:
        return out
    order = np.lexsort((score, group))
    g, s, is_positive = group[order], score[order], positive[order]
    pos, neg = _by_class(g, n_groups, is_positive, None if weight is None else weight[order])
    starts = np.flatnonzero(np.r_[True, (g[1:] != g[:-1]) | (s[1:] != s[:-1])])
    tie = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, len(s)]))
    first = np.r_[True, g[starts][1:] != g[starts][:-1]]
    of_group = np.cumsum(first) - 1
    below = []
    for part in (pos, neg):
        here = np.add.reduceat(part, starts)
        before = np.cumsum(here) - here
        below.append((before - before[first][of_group] + here / 2)[tie])
    total_pos, total_neg = (np.bincount(g, part, minlength=n_groups)[g] for part in (pos, neg))
    with np.errstate(invalid="ignore", divide="ignore"):
        out[order] = np.where(is_positive, below[1] / total_neg, 1 - below[0] / total_pos)
    return out


def auc_variance(
    group: NDArray[np.integer], n_groups: int, place: Floats, positive: NDArray[np.bool_], weight: Floats | None = None
) -> Floats:
    """Return the variance of what the placements of each group average to (n_groups,), NaN below two rows of a class.

    Parameters
    ----------
    place : (n,) `placements`; or the difference of those of two scores of the same rows, for the variance of the
        difference of their areas.

    Notes
    -----
    DeLong, DeLong and Clarke-Pearson 1988: the variance of the mean placement of the positive rows, plus that of the
    negative ones. Rows of unequal weight count as their squared weights tell.
    """
    w = np.ones(len(place)) if weight is None else weight
    out = np.zeros(n_groups)
    for rows in (positive, ~positive):
        out = out + means_by_group(group[rows], n_groups, place[rows], w[rows])[1]
    return out


def pooled_auc_variance(
    group: NDArray[np.integer], n_groups: int, place: Floats, positive: NDArray[np.bool_], weight: Floats | None = None
) -> Floats:
    """Return what `auc_variance` would be if weights told nothing of placements (n_groups,); the same for equal weights.

    Notes
    -----
    With few effective rows, the few heavy ones decide on DeLong's variance, and it is often far too small: they may all
    be ordered alike. This one, ``Σ w (v - mean)² / Σ w / (n - 1)`` of each class with n effective rows, is steadier. The
    larger of both is used.
    """
    w = np.ones(len(place)) if weight is None else weight
    out = np.zeros(n_groups)
    for rows in (positive, ~positive):
        g, values, of_class = group[rows], place[rows], w[rows]
        mean, _, n = means_by_group(g, n_groups, values, of_class)
        spread = means_by_group(g, n_groups, (values - mean[g]) ** 2, of_class)[0]
        with np.errstate(invalid="ignore", divide="ignore"):
            out = out + np.where(spread > 0, spread / (n - 1), spread)
    return out


def means_by_group(
    group: NDArray[np.integer], n_groups: int, values: Floats, weight: Floats | None = None
) -> tuple[Floats, Floats, Floats]:
    """Return the mean of each group, the variance of that mean, and the effective number of rows, each (n_groups,).

    Notes
    -----
    The mean is NaN without rows, its variance NaN below two. Rows of unequal weight count as ``(Σ w)² / Σ w²`` rows. The
    variance is ``Σ h² (v - mean)²`` with h = w / Σ w, divided by what makes it right on average for rows of equal variance,
    ``1 - 2 Σ h³ / Σ h² + Σ h²``; for equal weights, (n - 1) / n.
    """
    w = np.ones(len(values)) if weight is None else _scaled(group, n_groups, weight)
    n = np.bincount(group[w > 0], minlength=n_groups)
    total, squares = np.bincount(group, w, n_groups), np.bincount(group, w**2, n_groups)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        mean = np.bincount(group, w * values, n_groups) / total
        spread = np.bincount(group, (w * (values - mean[group])) ** 2, n_groups) / total**2
        if weight is None:
            return mean, np.where(n > 1, spread * n / (n - 1.0), np.nan), total**2 / squares
        h, share = w / total[group], squares / total**2
        kept = np.bincount(group, h**2 * ((1 - h) ** 2 + share[group] - h**2), n_groups) / share
        return mean, np.where((n > 1) & (kept > _ONE_ROW), spread / kept, np.nan), total**2 / squares


def fewest_by_group(
    group: NDArray[np.integer], n_groups: int, positive: NDArray[np.bool_], weight: Floats | None = None
) -> Floats:
    """Return the effective number of rows of the smaller class of each group (n_groups,), 0 where a class is missing."""
    w = np.ones(len(positive)) if weight is None else weight
    parts = [means_by_group(group[rows], n_groups, w[rows], w[rows])[2] for rows in (positive, ~positive)]
    return np.asarray(np.nan_to_num(np.minimum(*parts)))


def normal_quantile(level: float) -> float:
    """Return how many standard deviations to either side of the mean hold so much of a normal distribution."""
    from scipy.special import ndtri

    return float(ndtri(0.5 + level / 2))


def wilson(share: Floats, n: Floats, level: float) -> tuple[Floats, Floats]:
    """Return the limits of Wilson's interval for shares of n rows; NaN without rows.

    Notes
    -----
    Wilson 1927: all shares that a score test does not reject. It stays within 0 and 1 and has a width at either.
    """
    z = normal_quantile(level)
    with np.errstate(invalid="ignore", divide="ignore"):
        centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z / (1 + z**2 / n) * np.sqrt(np.maximum(share * (1 - share) / n + z**2 / (4 * n**2), 0))
    return np.clip(centre - half, 0, 1), np.clip(centre + half, 0, 1)


def mean_limits(mean: Floats, variance: Floats, n: Floats, level: float) -> tuple[Floats, Floats]:
    """Return the limits of Student's interval for means, given the variance of each mean and the rows behind it.

    Notes
    -----
    Two unlike rows leave one degree of freedom, and no interval takes fewer, however unlike their weights are.
    """
    from scipy.special import stdtrit

    with np.errstate(invalid="ignore"):
        half = stdtrit(np.maximum(n - 1, 1.0), 0.5 + level / 2) * np.sqrt(variance)
    return mean - half, mean + half


def auc_limits(
    area: Floats, variance: Floats, pairs: Floats, level: float, pooled: Floats | None = None
) -> tuple[Floats, Floats]:
    """Return the limits of an interval for areas under the curve, given DeLong's variance of each.

    Parameters
    ----------
    pairs : effective rows of the smaller class.
    pooled : `pooled_auc_variance`, for weighted rows. It widens the interval, but never beyond Wilson's.

    Notes
    -----
    A normal interval for the log-odds of the area, which stays within 0 and 1. Where all pairs are ordered alike the
    variance is 0 and says nothing; so many disjoint pairs were then ordered alike, and Wilson's interval for them holds.
    No area of independent rows varies more than the share of so many disjoint pairs (Birnbaum and Klose 1957).
    """
    z = normal_quantile(level)

    def around(spread: Floats) -> tuple[Floats, Floats]:
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            odds = np.log(area / (1 - area))
            half = z * np.sqrt(spread) / (area * (1 - area))
            low, high = (1 / (1 + np.exp(-(odds + sign * half))) for sign in (-1, 1))
        return low, high

    low, high = around(variance)
    wide = wilson(np.clip(area, 0, 1), pairs, level)
    if pooled is not None:
        steady = around(pooled)
        low, high = np.minimum(low, np.maximum(steady[0], wide[0])), np.maximum(high, np.minimum(steady[1], wide[1]))
    # sums of weights leave a perfect order next to 0 or 1
    end = ((area <= _ROUNDING) | (area >= 1 - _ROUNDING)) & np.isfinite(variance)
    return np.where(end, wide[0], low), np.where(end, wide[1], high)


def adjusted(p: Floats) -> Floats:
    """Return p-values adjusted for their number by Benjamini and Hochberg 1995; NaN stays, and does not count."""
    out = np.full(p.shape, np.nan)
    known = np.flatnonzero(np.isfinite(p.ravel()))
    values = p.ravel()[known]
    order = np.argsort(-values, kind="stable")
    m = len(values)
    raised = values[order] * m / (m - np.arange(m))
    out.ravel()[known[order]] = np.minimum(np.minimum.accumulate(raised), 1) if m else raised
    return out


def larger_mean(mean: Floats, variance: Floats, n: Floats, over: tuple[Floats, Floats, Floats]) -> Floats:
    """Return one-sided p-values that means are larger than others: Welch's test.

    Parameters
    ----------
    mean, variance, n : of the means, their variances, and the rows behind them. over : the same of the others.
    """
    from scipy.special import stdtr

    other, other_variance, other_n = over
    with np.errstate(invalid="ignore", divide="ignore"):
        total = variance + other_variance
        freedom = total**2 / (variance**2 / (n - 1) + other_variance**2 / (other_n - 1))
        return np.asarray(stdtr(freedom, -(mean - other) / np.sqrt(total)))


# ---------------------------------------------------------------- all scores of groups of rows


@dataclass(frozen=True, eq=False)
class GroupScores:
    """Scores of groups of rows, with intervals.

    Parameters
    ----------
    measures : (m,) "auc", "accuracy", "log_loss", "mse".
    value, low, high : (m, n_groups), NaN where the reason says why.
    reason : (m, n_groups) text, "" where score and interval could be computed.
    """

    measures: tuple[str, ...]
    value: Floats
    low: Floats
    high: Floats
    reason: NDArray[np.object_]

    def of(self, measure: str) -> tuple[Floats, Floats, Floats]:
        """Return score, lower and upper limit (n_groups,) of one measure."""
        m = self.measures.index(measure)
        return self.value[m], self.low[m], self.high[m]

    def why(self, group: int) -> str:
        """Return what could not be computed of a group, and why: "AUC: one class"; "" if all could."""
        held: dict[str, list[str]] = {}
        for name, reason in zip(self.measures, self.reason[:, group], strict=True):
            if reason:
                held.setdefault(reason, []).append(SCORE_WORDS[name])
        if len(held) == 1 and len(next(iter(held.values()))) == len(self.measures):
            return next(iter(held))
        return "; ".join(f"{', '.join(names)}: {reason}" for reason, names in held.items())


SCORE_WORDS = {"auc": "AUC", "log_loss": "log-loss", "mse": "MSE", "r2": "R²", "accuracy": "accuracy"}


def measures_of(link: str, n_outputs: int) -> tuple[str, ...]:
    """Return the scores that a network of so many outputs has, the one to read first in front."""
    if link == "logit":
        return ("auc", "accuracy", "log_loss") if n_outputs == 1 else ("log_loss",)
    return ("accuracy", "log_loss") if link == "softmax" else ("mse",)


def scores_by_group(
    group: NDArray[np.integer],
    n_groups: int,
    decision: Floats,
    y: Any,
    loss: Floats,
    link: str,
    weight: Floats | None = None,
    level: float = 0.95,
) -> GroupScores:
    """Return the scores of each group of rows, with intervals.

    Parameters
    ----------
    group : (n,) decision : (n, n_outputs). y : (n,) class codes or (n, k) numbers. loss : (n,) of each row, summed over
        outputs. weight : (n,)

    Notes
    -----
    AUC: `auc_limits`; accuracy: Wilson; mean losses: Student, not below 0. Rows of unequal weight count as
    ``(Σ w)² / Σ w²`` rows.
    """
    k = decision.shape[1]
    measures = measures_of(link, k)
    w = np.ones(len(loss)) if weight is None else weight
    positive_weight = w > 0
    group, w, loss, decision = (
        group[positive_weight],
        w[positive_weight],
        loss[positive_weight],
        decision[positive_weight],
    )
    label = (y if y.ndim == 1 else y[:, 0])[positive_weight]
    rows = np.bincount(group, minlength=n_groups)
    parts, reasons = [], []
    for measure in measures:
        reason = np.full(n_groups, "", dtype=object)
        if measure == "auc":
            positive = label == 1
            place = placements(group, n_groups, decision[:, 0], positive, w)
            area = np.clip(means_by_group(group[positive], n_groups, place[positive], w[positive])[0], 0, 1)
            fewest = np.min([np.bincount(group[part], minlength=n_groups) for part in (positive, ~positive)], axis=0)
            variance = auc_variance(group, n_groups, place, positive, w)
            pooled = None if weight is None else pooled_auc_variance(group, n_groups, place, positive, w)
            pairs = fewest_by_group(group, n_groups, positive, w)
            low, high = auc_limits(area, variance, pairs, level, pooled)
            reason[fewest == 1] = "one row of a class, no interval"
            reason[fewest == 0] = "one class"
            held = (area, low, high)
        else:
            binary = measure == "accuracy"
            values = loss / k if measure == "mse" else loss
            if binary:
                values = (decision.argmax(axis=1) if k > 1 else decision[:, 0] > 0) == label
            mean, variance, n = means_by_group(group, n_groups, np.asarray(values, dtype=float), w)
            low, high = wilson(mean, n, level) if binary else mean_limits(mean, variance, n, level)
            if not binary:
                reason[rows == 1] = "one row, no interval"
            held = (mean, np.maximum(low, 0), high)
        reason[rows == 0] = "no rows"
        reason[np.isfinite(held[0]) & np.isnan(held[1]) & (reason == "")] = _ONE_HEAVY
        reason[~np.isfinite(held[0]) & (reason == "")] = _TOO_LARGE
        parts.append(held)
        reasons.append(reason)
    value, low, high = (np.stack(v) for v in zip(*parts, strict=True))
    return GroupScores(measures, value, low, high, np.stack(reasons))
