"""Rows that generalised linear models are fitted to, checked and sorted by group, and the loss of each row by family."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from relucidate.errors import ArgumentError, ColumnError, TargetError, ValueInDataError, shown
from relucidate.layers import Floats

Family = Literal["gaussian", "binomial", "multinomial", "poisson", "gamma"]
Ints = NDArray[np.intp]


# -------------------------------------------------------------------- families


class Loss:
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
            return log_sum_exp(eta) - np.where(y > 0, y * np.where(y > 0, eta, 0.0), 0.0).sum(axis=-1)
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
            return np.exp(eta - log_sum_exp(eta)[..., None])
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


LOSSES: dict[Family, Loss] = {name: Loss(name) for name in get_args(Family)}


def unit_deviance(decision: Floats, y: Floats, family: Family) -> Floats:
    """Return the deviance of each row (n,), from linear predictors and responses (n, K); class indicators for classes."""
    loss = LOSSES[family]
    return 2 * (loss.value(decision, y) - loss.saturated(y))


def _sigmoid(eta: Floats) -> Floats:
    e = np.exp(-np.abs(eta))
    return np.where(eta >= 0, 1 / (1 + e), e / (1 + e))


def log_sum_exp(eta: Floats) -> Floats:
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
        x = checked_features(X)
        n, d = x.shape
        response = checked_response(y, n, family, n_classes)
        w = checked_weight(weight, n)
        off = checked_offset(offset, n, response.shape[1])
        codes, G = checked_group(group, n, n_groups)
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


def checked_features(X: ArrayLike) -> Floats:
    x = np.asarray(X, dtype=np.float64)
    if x.ndim != 2:
        raise ColumnError(f"X has shape {x.shape}; expected (rows, features).")
    if not np.isfinite(x).all():
        bad = np.flatnonzero(~np.isfinite(x).all(axis=1))
        raise ValueInDataError(f"{len(bad):,} rows of X hold NaN or infinity: rows {shown(bad)}. Impute or drop them.")
    return x


def checked_response(y: ArrayLike, n: int, family: Family, n_classes: int | None) -> Floats:
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


def checked_weight(weight: ArrayLike | None, n: int) -> Floats:
    if weight is None:
        return np.ones(n)
    w = np.asarray(weight, dtype=np.float64)
    if w.shape != (n,) or not np.isfinite(w).all() or (w < 0).any():
        raise TargetError(f"weight must be {n:,} finite numbers of 0 or more; got shape {w.shape}.")
    return w


def checked_offset(offset: ArrayLike | None, n: int, K: int) -> Floats:
    if offset is None:
        return np.zeros((n, K))
    off = np.asarray(offset, dtype=np.float64)
    off = off[:, None] if off.ndim == 1 else off
    if off.shape != (n, K) or not np.isfinite(off).all():
        raise TargetError(f"offset has shape {off.shape}; expected finite numbers of shape ({n}, {K}).")
    return off


def checked_group(group: ArrayLike | None, n: int, n_groups: int | None) -> tuple[Ints, int]:
    codes = np.zeros(n, dtype=np.intp) if group is None else np.asarray(group)
    if codes.shape != (n,) or codes.dtype.kind not in "iu":
        raise ArgumentError(f"group must be {n:,} integers; got {codes.dtype} of shape {codes.shape}.")
    G = n_groups if n_groups is not None else int(codes.max(initial=0)) + 1
    if n and (codes.min() < 0 or codes.max() >= G):
        raise ArgumentError(f"group holds {codes.min()} … {codes.max()}; expected 0 … {G - 1}.")
    return codes.astype(np.intp), G
