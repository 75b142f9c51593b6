"""Penalties chosen by validation: the held-out loss over a grid of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from relucidate.displaying import in_notebook
from relucidate.errors import ArgumentError
from relucidate.glm_fits import Fits, fit
from relucidate.glm_rows import (
    Family,
    Ints,
    checked_features,
    checked_group,
    checked_offset,
    checked_response,
    checked_weight,
    unit_deviance,
)
from relucidate.layers import Floats

if TYPE_CHECKING:
    import pandas as pd


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
    x = checked_features(X)
    n = len(x)
    response = checked_response(y, n, family, n_classes)
    w, off = checked_weight(weight, n), checked_offset(offset, n, response.shape[1])
    codes, G = checked_group(group, n, n_groups)
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
