"""Which figures a page without single rows may hold: none from which the values of fewer than a few rows can be had."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from relucidate.layers import Floats


def told(count: Any, least: int, others: int = 0) -> NDArray[np.bool_]:
    """Return of which groups of rows means and scores may be shown.

    Parameters
    ----------
    count : (g,) rows of each group; together with `others`, rows of no group here whose figures are not shown, they are
        all rows. least : fewest rows that a figure may rest on.

    Notes
    -----
    Those of at least `least` rows. The figures of all rows less those of the groups shown are figures of the rest: where the
    rest has some rows but fewer than `least`, the smallest group joins it, the last of equal ones.
    """
    count = np.asarray(count)
    out = np.asarray(count >= least)
    rest = others + int(count[~out].sum())
    if 0 < rest < least and out.any():
        out[len(out) - 1 - int(np.where(out, count, count.max() + 1)[::-1].argmin())] = False
    return out


def end(values: Floats, least: int, highest: bool) -> float:
    """Return the mean of the `least` lowest or highest of at least so many values: an end of their range that is no row's."""
    n = len(values)
    ordered = np.partition(values, n - least if highest else least - 1)
    part = ordered[n - least :] if highest else ordered[:least]
    return float(part[0] + (part - part[0]).mean())


def quantile(ordered: Floats, below: Floats, level: float, least: int) -> float:
    """Return about the value that a share `level` of the weight is below.

    Parameters
    ----------
    ordered : (n,) values in increasing order. below : (n,) weight up to the middle of each, as a share of all.

    Notes
    -----
    Between the two values next to it for `least` 1, else the mean of the `least` values around it, so that it is no row's.
    """
    if least == 1:
        return float(np.interp(level, below, ordered))
    start = min(max(int(np.searchsorted(below, level)) - least // 2, 0), len(ordered) - least)
    part = ordered[start : start + least]
    return float(part[0] + (part - part[0]).mean())
