"""Scores of predictions against responses, over all rows and region by region."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from relucidate.layers import Floats


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
    w = np.ones(len(s)) if weight is None else weight[order]
    pos, neg = np.where(positive[order], w, 0.0), np.where(positive[order], 0.0, w)
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
