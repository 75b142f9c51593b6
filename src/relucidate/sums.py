"""What is kept of the rows: counts and sums per activation pattern, which add up in any order.

`batch_sums` is one pure function from a batch of rows to sums; `merge` joins two of them and is associative. Memory
grows with the number of patterns, never with the number of rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relucidate.grouping import Codes, PatternIndex, distinct
from relucidate.layers import Floats
from relucidate.network import Network, Trace
from relucidate.scoring import log_loss

_MOMENTS_FEATURES = 2048  # above this the (d, d) moments would cost more than they tell


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums over all rows about a fixed origin, from which the error of any linear model on all rows follows.

    Parameters
    ----------
    origin : (d,) subtracted from every row before squaring, so that large means cost no digits.
    zz : (d + 1, d + 1) of ``w z zᵀ`` with ``z = (1, x - origin)``; zy : (d + 1, n_outputs) and yy : (n_outputs,) with
        the response about the origin that `Sums` names.
    """

    origin: Floats
    zz: Floats
    zy: Floats
    yy: Floats

    def squared_error(self, coef: Floats, intercept: Floats) -> Floats:
        """Return per model the weighted sum of squared errors over all rows and outputs (R,).

        Parameters
        ----------
        coef : (R, n_outputs, d); intercept : (R, n_outputs), less the origin of the response.
        """
        shifted = np.concatenate([(intercept + coef @ self.origin)[:, :, None], coef], axis=2)
        quadratic = np.einsum("rki,rki->rk", shifted @ self.zz, shifted)
        return (quadratic - 2 * np.einsum("rki,ik->rk", shifted, self.zy) + self.yy).sum(axis=1)


@dataclass(frozen=True, eq=False)
class Sums:
    """Counts and weighted sums per activation pattern.

    Parameters
    ----------
    packed : (P, n_bytes) distinct patterns.
    count : (P,) rows. weight : (P,) their weights.
    x : (P, n_features) sums of the rows, or (P, 0) where they would not fit.
    prediction : (P, n_outputs) sums of the network's predictions. positive : (P,) weight of rows predicted positive
        (decision above 0), zeros unless the network is binary.
    y, yy : (P, k) sums of the response and its square, about `y_origin`; for a classifier of k classes, of the
        indicators of each class.
    loss : (P,) sums of the squared error, or of the log-loss.
    y_origin : (k,) subtracted from every response, so that a mean far from 0 costs the variance no digits.
    moments : see `Moments`; None without a numeric response.
    """

    packed: NDArray[np.uint8]
    count: NDArray[np.int64]
    weight: Floats
    x: Floats
    prediction: Floats
    positive: Floats
    y: Floats
    yy: Floats
    loss: Floats
    y_origin: Floats
    moments: Moments | None

    def per_pattern(self) -> dict[str, Any]:
        """Return the arrays with one entry per pattern, by name."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("y_origin", "moments")}

    def variance(self) -> Floats:
        """Return the variance of the response within each pattern (P, k), NaN where the rows weigh nothing."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return _variance(self.y, self.yy, self.weight[:, None])

    def total_variance(self) -> Floats:
        """Return the variance of the response over all rows (k,)."""
        return _variance(self.y.sum(axis=0), self.yy.sum(axis=0), self.weight.sum())

    def mean(self) -> Floats:
        """Return the mean response of each pattern (P, k), NaN where the rows weigh nothing."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.y_origin + self.y / self.weight[:, None]

    def squared_error(self, coef: Floats, intercept: Floats) -> Floats:
        """Return `Moments.squared_error` of models (R,)."""
        assert self.moments is not None
        return self.moments.squared_error(coef, intercept - self.y_origin)

    def about(self, y_origin: Floats) -> Sums:
        """Return the same sums with the response about another origin."""
        if np.array_equal(y_origin, self.y_origin):
            return self
        d = self.y_origin - y_origin
        weight = self.weight[:, None]
        y, yy = self.y + weight * d, self.yy + 2 * d * self.y + weight * d**2
        m = self.moments
        if m is not None:
            m = Moments(m.origin, m.zz, m.zy + m.zz[:, :1] * d, m.yy + 2 * d * m.zy[0] + m.zz[0, 0] * d**2)
        return replace(self, y=y, yy=yy, y_origin=y_origin, moments=m)

    def gathered(self, group: NDArray[np.intp], n: int) -> dict[str, Any]:
        """Return the arrays but `packed`, added up within each group (P,) of patterns."""
        out = {}
        for name, values in self.per_pattern().items():
            if name != "packed":
                out[name] = np.zeros((n, *values.shape[1:]), dtype=values.dtype)
                np.add.at(out[name], group, values)
        return out


def batch_sums(
    network: Network,
    x: Floats,
    y: Floats | None = None,
    weight: Floats | None = None,
    *,
    trace: Trace | None = None,
    keep_x: bool = True,
    origin: Floats | None = None,
    y_origin: Floats | None = None,
) -> tuple[Sums, Codes]:
    """Return the sums of one batch, and for each row the index of its pattern among them.

    Parameters
    ----------
    x : (n, n_features) encoded rows. y : (n,) class codes or (n, k) numbers. weight : (n,)
    trace : what `network.trace(x)` gave, if it is at hand.
    origin, y_origin : of the moments (d,) and of the response (k,); the means of the batch by default (0 for classes).
    """
    trace = network.trace(x) if trace is None else trace
    packed, codes = distinct(trace.patterns.packed)
    P = len(packed)
    count = np.bincount(codes, minlength=P).astype(np.int64)
    w = np.ones(len(x)) if weight is None else weight
    total: Any = count.astype(np.float64) if weight is None else np.bincount(codes, weight, minlength=P)
    prediction = network.inverse_link(trace.decision)
    binary = network.link == "logit" and network.n_outputs == 1
    add = _Adder(codes, P, weight)
    positive: Any = np.bincount(codes, w * (trace.decision[:, 0] > 0), minlength=P) if binary else np.zeros(P)
    responses, centre, moments = np.zeros((len(x), 0)), np.zeros(0), None
    loss: Any = np.zeros(P)
    if y is not None:
        responses = _responses(network, y)
        if y_origin is not None:
            centre = y_origin
        else:
            centre = np.zeros(responses.shape[1]) if network.is_classifier else responses.mean(axis=0)
        responses = responses - centre
        loss = np.bincount(codes, w * row_loss(network, trace.decision, y), minlength=P)
        if not network.is_classifier and x.shape[1] <= _MOMENTS_FEATURES:
            moments = _moments(x, responses, weight, x.mean(axis=0) if origin is None else origin)
    sums = Sums(
        packed=packed,
        count=count,
        weight=total,
        x=add(x) if keep_x else np.zeros((P, 0)),
        prediction=add(prediction),
        positive=positive,
        y=add(responses),
        yy=add(responses**2),
        loss=loss,
        y_origin=centre,
        moments=moments,
    )
    return sums, codes


def _variance(y: Floats, yy: Floats, weight: Any) -> Floats:
    return np.asarray(np.maximum(yy / weight - (y / weight) ** 2, 0))


def row_loss(network: Network, decision: Floats, y: Floats) -> Floats:
    """Return the loss of each row (n,): squared error summed over outputs, or log-loss for a classifier."""
    if network.is_classifier:
        return log_loss(decision, y, network.link)
    return ((y.reshape(len(y), -1) - network.inverse_link(decision)) ** 2).sum(axis=1)


def _responses(network: Network, y: Floats) -> Floats:
    """Return the response as numbers (n, k); class codes become indicators, of the positive class alone if binary."""
    if network.link == "softmax":
        return (y[:, None] == np.arange(network.n_outputs)).astype(np.float64)
    return y.reshape(len(y), -1)


class _Adder:
    """Adds up rows by code, weighted."""

    def __init__(self, codes: Codes, n: int, weight: Floats | None) -> None:
        from scipy.sparse import csc_array

        data = np.ones(len(codes)) if weight is None else weight
        self._select = csc_array((data, codes, np.arange(len(codes) + 1)), shape=(n, len(codes)))

    def __call__(self, values: Floats) -> Floats:
        return np.asarray(self._select @ values)


def _moments(x: Floats, y: Floats, weight: Floats | None, origin: Floats) -> Moments:
    z = np.empty((len(x), x.shape[1] + 1))
    z[:, 0] = 1
    np.subtract(x, origin, out=z[:, 1:])
    wz = z if weight is None else z * weight[:, None]
    w = np.ones(len(x)) if weight is None else weight
    return Moments(origin, z.T @ wz, wz.T @ y, w @ (y * y))


def merge(a: Sums, b: Sums) -> Sums:
    """Return the sums of the rows of both. Associative and commutative up to rounding and the order of patterns."""
    total = Total(a.packed.shape[1])
    total.absorb(a)
    total.absorb(b)
    return total.sums()


class Total:
    """Sums that grow in place: what a fold of `merge` gives, without copying the total at every step."""

    def __init__(self, n_bytes: int) -> None:
        self._index = PatternIndex(n_bytes)
        self._arrays: dict[str, Any] = {}
        self.y_origin: Floats | None = None
        self.moments: Moments | None = None

    def __len__(self) -> int:
        return len(self._index)

    @property
    def packed(self) -> NDArray[np.uint8]:
        """The patterns so far, by number."""
        return self._index.packed

    def absorb(self, sums: Sums) -> Codes:
        """Add sums, and return the number of each of their patterns here."""
        if self.y_origin is None:
            self.y_origin = sums.y_origin
        sums = sums.about(self.y_origin)
        ids = self._index.add(sums.packed)
        for name, values in _additive(sums):
            held = self._arrays.get(name)
            if held is None or len(held) < len(self._index):
                held = self._arrays[name] = _grown(held, len(self._index), values)
            held[ids] += values
        if sums.moments is not None:
            self.moments = sums.moments if self.moments is None else _joined(self.moments, sums.moments)
        return ids

    def drop_x(self) -> None:
        """Forget the sums of the rows, which take more memory than all else where there are many features."""
        self._arrays["x"] = self._arrays["x"][:, :0]

    def sums(self) -> Sums:
        """Return the sums so far, frozen."""
        n = len(self._index)
        assert self.y_origin is not None
        arrays = {name: values[:n] for name, values in self._arrays.items()}
        return Sums(packed=self.packed.copy(), y_origin=self.y_origin, moments=self.moments, **arrays)


def _additive(sums: Sums) -> Iterator[tuple[str, Any]]:
    return ((name, values) for name, values in sums.per_pattern().items() if name != "packed")


def _grown(held: Any, n: int, like: Any) -> Any:
    """Return an array of at least n zeros-or-held entries, doubling, with the trailing shape of `like`."""
    size = max(n, 1024 if held is None else 2 * len(held))
    out = np.zeros((size, *like.shape[1:]), dtype=like.dtype)
    if held is not None:
        out[: len(held)] = held
    return out


def _joined(a: Moments, b: Moments) -> Moments:
    """Return the moments of both sets of rows, about the origin of the first."""
    if not np.array_equal(a.origin, b.origin):
        move = np.eye(len(b.zz))
        move[1:, 0] = b.origin - a.origin
        b = Moments(a.origin, move @ b.zz @ move.T, move @ b.zy, b.yy)
    return Moments(a.origin, a.zz + b.zz, a.zy + b.zy, a.yy + b.yy)
