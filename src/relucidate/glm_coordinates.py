"""Coordinates in which a group's features have unit size and none depends on others, and the batches made in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from relucidate.glm_batches import Batch, diagonal
from relucidate.glm_rows import LOSSES, Family, Ints, Rows, log_sum_exp
from relucidate.layers import Bools, Floats

_BATCH_NUMBERS = 2**18  # of a padded batch's design: stays in the processor's cache
# standard deviation, in units of the largest value, of a column that does not vary: in the user's units the effect of a
# coefficient could not be told from its rounding
_CONSTANT = 1e-10
_SURELY_FULL_RANK = 1e-6  # smallest eigenvalue of a correlation matrix that needs no second look
_RANK = 1e-9  # singular value, in units of the largest, of columns that depend on each other


@dataclass(frozen=True, eq=False)
class Coordinates:
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


def standardised(x: Floats, w: Floats) -> tuple[Floats, Floats, Floats]:
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
    diagonal(correlation)[~live] = 1.0
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

    z, mean, sd = standardised(x[None], np.ones((1, len(x))))
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


# -------------------------------------------------------------------- from groups to batches


@dataclass(frozen=True, eq=False)
class Task:
    """What is asked of every group: penalties l2 (G,) and l1, and the coefficients (G, K, d) to shrink towards."""

    rows: Rows
    l2: Floats
    l1: float
    prior: Floats


def in_batches(sizes: Ints, d: int, members: Ints) -> Iterator[Ints]:
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


def batch_of(task: Task, members: Ints) -> tuple[Batch, Coordinates, Floats]:
    """Return some groups as a padded batch, its coordinates, and where to start from (g, K, q)."""
    rows, family = task.rows, task.rows.family
    sizes = rows.starts[members + 1] - rows.starts[members]
    place = np.arange(max(int(sizes.max()), 1))
    real = place < sizes[:, None]
    which = np.minimum(rows.starts[members][:, None] + place * real, max(len(rows.w) - 1, 0))
    w, y, offset = rows.w[which] * real, rows.y[which], rows.offset[which]
    z, mean, sd = standardised(rows.x[which], w)
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
    batch = Batch(
        loss=LOSSES[family],
        a=np.concatenate([np.ones((*z.shape[:2], 1)) * real[..., None], z], axis=2),
        y=y,
        w=w,
        offset=offset,
        live=alive,
        lam=np.concatenate([np.zeros((len(members), 1)), lam], axis=1),
        l1=np.r_[0.0, np.full(z.shape[2], task.l1)],
        scale=_scale(family, total, response, variance),
    )
    return batch, Coordinates(mean, sd, turn, rank), _start(batch, response, total)


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


def _start(batch: Batch, response: Floats, total: Floats) -> Floats:
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


def with_absent_classes(batch: Batch, theta: Floats, total: Floats) -> None:
    """Give classes without rows the intercept that predicts half a row of them, and centre the intercepts, in place."""
    present = batch.live[:, :, 0]
    if not present.all():
        eta = np.where(present[:, None], batch.offset + batch.predictor(theta), -np.inf)
        eta[~(batch.w > 0)] = 0.0
        level = ((batch.w / total[:, None]) * log_sum_exp(eta)).sum(axis=1)
        theta[:, :, 0] = np.where(present, theta[:, :, 0], (level + np.log(0.5 / (total + 0.5)))[:, None])
