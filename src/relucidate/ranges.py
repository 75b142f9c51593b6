"""Ranges, rounded outwards: what the preactivations and values of a layer can be, and points to try."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from relucidate.exact import SLACK, TINY, gamma
from relucidate.layers import Activation, Bools, Floats, Layer, is_sparse

_POINT_CELLS = 2**22  # numbers in one block of points
_ALL_CORNERS = 10  # features up to which every corner of the box is tried


@dataclass(frozen=True, eq=False)
class Range:
    """Numbers known to lie between `low` and `high`, both (m,)."""

    low: Floats
    high: Floats

    @cached_property
    def largest(self) -> Floats:
        """Bound on |value|."""
        return np.maximum(np.abs(self.low), np.abs(self.high))

    @cached_property
    def is_bounded(self) -> bool:
        return bool(np.isfinite(self.largest).all())


def points(box: Range, n: int, seed: int) -> Iterator[Floats]:
    """Yield `n` points of the box in blocks: corners first, then points drawn evenly."""
    rng = np.random.default_rng(seed)
    d = len(box.low)
    low, high = np.maximum(box.low, -np.finfo(float).max / 4), np.minimum(box.high, np.finfo(float).max / 4)
    step = max(1, _POINT_CELLS // max(d, 1))
    if d <= _ALL_CORNERS and 2**d <= max(n // 2, 1):
        choice = (np.arange(2**d)[:, None] >> np.arange(d)) & 1
    else:
        choice = rng.integers(0, 2, size=(min(max(n // 10, 1), step), d))
    unbounded = np.isinf(box.low) | np.isinf(box.high)

    def inside(share: Floats) -> Floats:
        x = np.clip(low + share * (high - low), low, high)
        if unbounded.any():
            # any size, on either side of what bound there is
            wide = rng.normal(size=share.shape) * 10.0 ** rng.uniform(-2, 3, size=share.shape)
            start = np.where(np.isfinite(box.low), box.low, np.where(np.isfinite(box.high), box.high, 0.0))
            wide = np.where(np.isfinite(box.low), np.abs(wide), np.where(np.isfinite(box.high), -np.abs(wide), wide))
            x = np.where(unbounded, start + wide, x)
        return np.asarray(x)

    yield inside(choice.astype(np.float64))
    for start in range(len(choice), n, step):
        yield inside(rng.random((min(step, n - start), d)))


# ---------------------------------------------------------------- of affine functions


def _least_sum(weight: Any, bias: Floats, a: Range) -> tuple[Floats, Floats]:
    """Return lower bounds (m,) of ``weight @ a + bias``, and by how much they may be too low for rounding alone.

    Terms that are 0 carry no error, so that a sum of numbers that are not negative never seems to be.
    """
    up, down = (abs(weight) + weight) / 2, (abs(weight) - weight) / 2
    free_low, free_high = np.isinf(a.low), np.isinf(a.high)
    low, high = np.where(free_low, 0.0, a.low), np.where(free_high, 0.0, a.high)
    value = up @ low - down @ high + bias
    size = up @ np.abs(low) + down @ np.abs(high) + np.abs(bias)
    terms = weight.shape[1] + 2
    error = gamma(terms) * SLACK * size + (terms * TINY if _may_underflow(weight, low, high) else 0.0)
    bound = np.where(error == 0, value, np.nextafter(value - error, -np.inf))
    if free_low.any() or free_high.any():
        bound[(up @ free_low.astype(float) > 0) | (down @ free_high.astype(float) > 0)] = -np.inf
    return np.where(np.isfinite(value), bound, -np.inf), 2 * error


def _may_underflow(weight: Any, *factors: Floats) -> bool:
    def smallest(values: Any) -> float:
        size = np.abs(values[values != 0])
        return float(size.min(initial=1.0))

    return smallest(weight.data if is_sparse(weight) else weight) * min(map(smallest, factors)) < 2.0**-1000


def _exact_least(weight: Floats, bias: float, a: Range) -> float:
    """Return the largest float64 that is not above the least ``weight @ a + bias``, found in rational arithmetic."""
    at = np.where(weight > 0, a.low, a.high)
    used = weight != 0
    if not np.isfinite(at[used]).all():
        return -np.inf
    total = Fraction(bias)
    for w, x in zip(weight[used].tolist(), at[used].tolist(), strict=True):
        total += Fraction(w) * Fraction(x)
    try:
        value = float(total)
    except OverflowError:
        return -np.inf if total < 0 else float(np.finfo(np.float64).max)
    return value if Fraction(value) <= total else float(np.nextafter(value, -np.inf))


def affine_range(layer: Layer, a: Range) -> Range:
    """Return what preactivations (m,) can be, each input ranging on its own."""
    sides = []
    finite = np.isfinite(layer.activation.breakpoints)
    for sign in (1.0, -1.0):
        weight: Any = sign * layer.weight
        bias = sign * layer.bias
        low, doubt = _least_sum(weight, bias, a)
        at = np.where(finite, sign * layer.activation.breakpoints, np.inf)
        # a breakpoint that lies between the bound and what it may be without rounding
        near = ((at > low[:, None]) & (at <= (low + doubt)[:, None])).any(axis=1)
        for j in np.flatnonzero(near):
            row = weight[[j]].toarray()[0] if is_sparse(weight) else weight[j]
            low[j] = max(low[j], _exact_least(row, float(bias[j]), a))
        sides.append(low)
    return Range(sides[0], -sides[1])


# ---------------------------------------------------------------- of activations


def vertices(activation: Activation, z: Range) -> tuple[Floats, Floats, Floats]:
    """Return where the graph of each activation bends or ends (m, p + 2), its values there, and bounds on their error."""
    at = np.column_stack([z.low, np.clip(activation.breakpoints, z.low[:, None], z.high[:, None]), z.high])
    slopes, offsets = activation.pieces_in_force(activation.bits(at.T))
    slopes, offsets = np.broadcast_to(slopes.T, at.shape), np.broadcast_to(offsets.T, at.shape)
    product = np.where(slopes == 0, 0.0, slopes * at)
    plain = (np.isin(activation.slopes, (-1.0, 0.0, 1.0)) & (activation.offsets == 0)).all(axis=1)
    # rounding, and the jump that an activation is allowed at its breakpoints
    exact = plain[:, None] | np.isinf(product)
    error = np.where(exact, 0.0, 3e-14 * (np.abs(product) + np.abs(offsets)) + TINY)
    return at, product + offsets, error


def image(activation: Activation, z: Range) -> Range:
    """Return what values (m,) can be."""
    _, value, error = vertices(activation, z)
    return Range((value - error).min(axis=1), (value + error).max(axis=1))


def idle(activation: Activation, z: Range) -> tuple[Bools, Bools]:
    """Return which breakpoints (m, p) are never passed, and which always; (False, False) where there is none."""
    b = activation.breakpoints
    finite = np.isfinite(b)
    always = finite & (b <= z.low[:, None])
    return finite & (b >= z.high[:, None]) & ~always, always


def restricted(activation: Activation, z: Range) -> Activation:
    """Return the activation with the pieces that are in force somewhere between `z.low` and `z.high`."""
    never, always = idle(activation, z)
    first = always.sum(axis=1)[:, None]
    count = np.isfinite(activation.breakpoints).sum(axis=1)[:, None] - first - never.sum(axis=1)[:, None]
    p = int(count.max(initial=0))
    bends, pieces = np.arange(p)[None], np.minimum(np.arange(p + 1)[None], count)
    padded = np.pad(activation.breakpoints, ((0, 0), (0, p + 1)), constant_values=np.inf)
    breakpoints = np.where(bends < count, np.take_along_axis(padded, first + bends, axis=1), np.inf)
    return Activation(
        breakpoints,
        np.take_along_axis(activation.slopes, first + pieces, axis=1),
        np.take_along_axis(activation.offsets, first + pieces, axis=1),
    )
