"""Predictions against responses in bins of rows with like predictions: calibration of probabilities, and of numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from relucidate.layers import Floats
from relucidate.scoring import mean_limits, means_by_group, wilson

LEVEL = 0.95
_SAME = 1e-9  # of the largest prediction: closer ones are equal but for rounding


@dataclass(frozen=True, eq=False)
class Deciles:
    """Bins of rows, the lowest predictions first.

    Parameters
    ----------
    count : (b,) rows. share : (b,) of all rows, by weight. predicted : (b,) mean prediction.
    observed, low, high : (b,) mean response and its interval, NaN where a bin has too few rows for one.
    """

    count: NDArray[np.int64]
    share: Floats
    predicted: Floats
    observed: Floats
    low: Floats
    high: Floats

    @property
    def apart(self) -> NDArray[np.bool_]:
        """Whether the mean prediction lies outside of the interval of the mean response (b,)."""
        return np.asarray((self.predicted < self.low) | (self.predicted > self.high))

    @property
    def error(self) -> float:
        """Mean distance of prediction and response over the bins, by weight; NaN without bins."""
        if not len(self.count):
            return float("nan")
        return float(np.average(np.abs(self.observed - self.predicted), weights=self.share))

    @property
    def chance(self) -> float:
        """How probable so many bins apart, or more, are where each is with a chance of 5 %; 1 without bins."""
        from scipy.special import bdtrc

        found = int(self.apart.sum())
        return float(bdtrc(found - 1, len(self.count), 1 - LEVEL)) if found else 1.0


def deciles(
    predicted: Floats, observed: Floats, weight: Floats, *, shares: bool, most: int = 10, least: int = 5
) -> Deciles:
    """Return predictions and responses in at most `most` bins of equal weight, none of fewer than `least` rows.

    Parameters
    ----------
    predicted, observed, weight : (n,). shares : whether `observed` is 0 or 1.

    Notes
    -----
    A row is in bin ``⌊most · s⌋``, s the share of the weight below the middle of all rows with its prediction, so that equal
    predictions are never parted. A bin with too few rows is joined to the next, the last to the one before. Intervals:
    Wilson for shares, Student for means, of 95 %. Without `least` rows in all there are no bins.
    """
    counts = weight > 0
    predicted, observed, weight = predicted[counts], observed[counts], weight[counts]
    if len(predicted) < least:
        nothing = np.zeros(0)
        return Deciles(np.zeros(0, dtype=np.int64), nothing, nothing, nothing, nothing, nothing)
    group = _bins(predicted, weight, most, least)
    b = int(group.max()) + 1
    mean, variance, n = means_by_group(group, b, observed, weight)
    low, high = wilson(mean, n, LEVEL) if shares else mean_limits(mean, variance, n, LEVEL)
    total = np.bincount(group, weight, b)
    return Deciles(
        count=np.bincount(group, minlength=b).astype(np.int64),
        share=total / total.sum(),
        predicted=means_by_group(group, b, predicted, weight)[0],
        observed=mean,
        low=low,
        high=high,
    )


def _bins(predicted: Floats, weight: Floats, most: int, least: int) -> NDArray[np.intp]:
    """Return the bin of each row (n,), without gaps."""
    scale = _SAME * float(np.abs(predicted).max()) or 1.0
    _, tie = np.unique(np.round(predicted / scale), return_inverse=True)
    total = np.bincount(tie, weight)
    middle = (np.cumsum(total) - total / 2) / total.sum()
    bin_of_tie = np.minimum((middle * most).astype(np.intp), most - 1)
    rows = np.bincount(bin_of_tie, np.bincount(tie), most)
    place, held, at = np.zeros(most, dtype=np.intp), 0, 0
    for i, n in enumerate(rows):
        place[i] = at
        held += int(n)
        if held >= least:
            held, at = 0, at + 1
    if held and at:  # what is left over joins the bin before
        place[place == at] = at - 1
    return place[bin_of_tie][tie]
