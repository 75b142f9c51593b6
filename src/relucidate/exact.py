"""Which side of 0 a preactivation is on, decided rightly.

A preactivation computed in float64 carries a rounding error. Where its distance to a breakpoint is larger than a bound on
that error, its side is certain; the few others are decided here by slower arithmetic, in this order: float64 with a bound
for each number and a test for values on a common grid; sums of error-free slices (about 2**-95 relative); integers.
The side is that of the exact real number that the stored weights and the row define, so it cannot depend on the batch,
the order of the rows, or the number of threads.

Sources: the bounds are those of Higham, *Accuracy and Stability of Numerical Algorithms* (2002), section 3.1; the
error-free slices are those of Ozaki, Ogita, Oishi, Rump, *Error-free transformations of matrix multiplication* (2012).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relucidate.layers import Activation, Bools, Floats, Layer, is_sparse

U = 2.0**-53
TINY = 2.0**-1074
SLACK = 1.0625  # covers the rounding of the bounds themselves


@dataclass(frozen=True, eq=False)
class Bounds:
    """What bounds on rounding errors need to know of one layer.

    Parameters
    ----------
    layer : the layer bounded.
    """

    layer: Layer

    @cached_property
    def magnitude(self) -> Any:
        """|weight|, dense or sparse."""
        return abs(self.layer.weight)

    @cached_property
    def terms(self) -> int:
        """Largest number of products in one sum."""
        weight: Any = self.layer.weight
        return int(np.diff(weight.indptr).max(initial=0)) if is_sparse(weight) else weight.shape[1]

    @cached_property
    def gamma(self) -> float:
        """Relative error of a sum of `terms` products and a bias, in any order, with or without fused operations."""
        n = self.terms + 2
        return n * U / (1 - n * U)

    @cached_property
    def steepest(self) -> Floats:
        """Largest |slope| of each neuron."""
        return np.abs(self.layer.activation.slopes).max(axis=1)

    @cached_property
    def largest_offset(self) -> Floats:
        """Largest |offset| of each neuron."""
        return np.abs(self.layer.activation.offsets).max(axis=1)

    @cached_property
    def rounds(self) -> bool:
        """Whether applying the activation can round."""
        a = self.layer.activation
        return bool((np.abs(a.slopes) > 1).any() or ((np.abs(a.slopes) < 1) & (a.slopes != 0)).any() or a.offsets.any())

    @cached_property
    def grid(self) -> tuple[int, int, int, int]:
        """Exponents of the coarsest grids that hold all weights, biases, slopes and offsets."""
        weight: Any = self.layer.weight
        a = self.layer.activation
        parts = (weight.data if is_sparse(weight) else weight, self.layer.bias, a.slopes, a.offsets)
        return tuple(int(_grid(p.reshape(1, -1))[0]) for p in parts)  # type: ignore[return-value]

    def reach(self, value: Floats, error: Floats) -> tuple[Floats, Floats]:
        """Return bounds (…, m) on |preactivation| and on its error, from bounds (…, k) on the inputs."""
        size = _times(value, self.magnitude) + np.abs(self.layer.bias)
        error = (_times(error, self.magnitude) + self.gamma * size) * SLACK
        return size * SLACK, error + np.where(size > 0, (self.terms + 2) * TINY, 0.0)

    def after(self, size: Floats, error: Floats) -> tuple[Floats, Floats]:
        """Return bounds on |value| and on its error after the activation, from those on the preactivation."""
        value = self.steepest * size + self.largest_offset
        error = self.steepest * error
        if self.rounds:
            error = (error + 3 * U * value) * SLACK + TINY
            value = value * SLACK
        return value, error


def _times(a: Floats, weight: Any) -> Floats:
    """Return ``a @ weight.T`` for dense or sparse weights and (k,) or (n, k) inputs."""
    if is_sparse(weight):
        return np.asarray(weight @ a.T).T
    return a @ weight.T


def _grid(values: Floats) -> NDArray[np.int64]:
    """Return per row the largest g with every value a multiple of 2**g (2000 for a row of zeros)."""
    mantissa, exponent = np.frexp(values)
    integer = (mantissa * 2.0**53).astype(np.int64)
    lowest = integer & -integer
    trailing = np.where(integer == 0, 4000, np.frexp(lowest.astype(np.float64))[1] - 1)
    return np.where(integer == 0, 2000, exponent - 53 + trailing).min(axis=1, initial=2000).astype(np.int64)


def thresholds(bounds: Sequence[Bounds], largest: Floats) -> list[Floats]:
    """Return per layer the error bound (m,) of its preactivations over all rows with ``|x| <= largest``."""
    value, error = largest, np.zeros_like(largest)
    out = []
    with np.errstate(over="ignore", invalid="ignore"):
        for b in bounds:
            size, error = b.reach(value, error)
            out.append(np.where(np.isnan(error), np.inf, error))
            value, error = b.after(size, out[-1])
    return out


def decide(bounds: Sequence[Bounds], X: Floats) -> Bools:
    """Return the pattern bits (n, n_bits) of rows (n, d), each decided exactly.

    Notes
    -----
    Three passes, each over the rows that the one before left undecided. The last one is exact integer arithmetic and
    decides everything, at about 0.1 microseconds per product.
    """
    out = np.zeros((len(X), sum(b.layer.activation.n_bits for b in bounds)), dtype=bool)
    rows = np.arange(len(X))
    for attempt in (_in_float64, _in_slices, _in_integers):
        if len(rows) == 0:
            break
        bits, decided = _in_blocks(attempt, bounds, X[rows])
        out[rows[decided]] = bits[decided]
        rows = rows[~decided]
    return out


Attempt = Callable[[Sequence[Bounds], Floats], tuple[Bools, Bools]]


def _in_blocks(attempt: Attempt, bounds: Sequence[Bounds], X: Floats) -> tuple[Bools, Bools]:
    width = max((max(b.layer.weight.shape) for b in bounds), default=1)
    step = max(1, min(2048, 4_000_000 // width))
    parts = [attempt(bounds, X[i : i + step]) for i in range(0, len(X), step)]
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


def _sides(activation: Activation, z: Floats, error: Floats, grid: Any, low: Any = 0.0) -> tuple[Bools, Bools]:
    """Return the bits (n, n_bits) of preactivations ``z + low`` known to `error`, and which rows are certain of all.

    A value on a grid of step G that is closer to 0 than G can only be 0.
    """
    neuron, k = activation.switches
    at = activation.breakpoints[neuron, k]
    distance = (z[:, neuron] - at) + (low[:, neuron] if isinstance(low, np.ndarray) else low)
    # the subtraction is exact near the breakpoint; it and the addition round relatively elsewhere
    bound = error[:, neuron] + 4 * U * np.abs(distance)
    certain = (np.abs(distance) > bound) | (bound == 0)
    tie_grid = np.minimum(grid, _grid(at.reshape(1, -1))[0]) if at.any() else grid
    with np.errstate(under="ignore", over="ignore"):
        step = np.ldexp(1.0, np.clip(tie_grid, -1074, 1023))[:, None]
    zero = ~certain & (np.abs(distance) + bound < step) & (np.asarray(tie_grid)[:, None] > -1074)
    return np.where(zero, False, distance > 0), (certain | zero).all(axis=1)


def _next_grid(z: NDArray[np.int64], b: Bounds) -> NDArray[np.int64]:
    _, _, slopes, offsets = b.grid
    return np.minimum(np.minimum(z + slopes, offsets), z)


def _in_float64(bounds: Sequence[Bounds], X: Floats) -> tuple[Bools, Bools]:
    """Bits from float64 with an error bound for every number; sums on a common grid carry no error at all."""
    decided = np.ones(len(X), dtype=bool)
    a, error, grid = X, np.zeros_like(X), _grid(X)
    bits = []
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for b in bounds:
            layer = b.layer
            z = layer.preactivation(a)
            size, e = b.reach(np.abs(a), error)
            grid = np.minimum(grid + b.grid[0], b.grid[1])
            on_grid = (size < np.ldexp(1.0, np.clip(grid + 53, -1074, 1023))[:, None]) & (grid > -1074)[:, None]
            e = np.where(on_grid & ~error.any(axis=1)[:, None], 0.0, e)
            e[~(np.isfinite(z) & np.isfinite(e))] = np.inf
            side, ok = _sides(layer.activation, z, e, grid)
            bits.append(side)
            decided &= ok
            slopes, offsets = layer.activation.pieces_in_force(side)
            a = slopes * z + offsets
            error = np.abs(slopes) * e
            if b.rounds:
                flat = (slopes == 0) | ((slopes == 1) & (offsets == 0))
                error = np.where(flat, error, (error + 3 * U * (np.abs(slopes * z) + np.abs(offsets))) * SLACK + TINY)
            # 0 times an infinite bound: a neuron that is off, and certainly so
            error[np.isnan(error)] = 0.0
            a = np.where(np.isnan(a), 0.0, a)
            grid = _next_grid(grid, b)
    return np.hstack(bits) if bits else np.zeros((len(X), 0), bool), decided


SLICES = 5


def _two_sum(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


def _two_product(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    def halves(x: Floats) -> tuple[Floats, Floats]:
        c = 134217729.0 * x
        high = c - (c - x)
        return high, x - high

    p = a * b
    (ah, al), (bh, bl) = halves(a), halves(b)
    return p, ((ah * bh - p) + ah * bl + al * bh) + al * bl


def _slices(parts: Sequence[Floats], top: Floats, width: int) -> list[Floats]:
    """Split the sum of `parts` (n, k) into SLICES matrices of `width` bits below the power of two `top` (n, 1)."""
    rest, tail = parts[0], parts[1] if len(parts) > 1 else None
    out = []
    for i in range(SLICES):
        shift = top * 2.0 ** (53 - width * (i + 1))
        piece = (rest + shift) - shift
        rest = rest - piece
        if tail is not None:
            rest, tail = _two_sum(rest, tail)
        out.append(piece)
    return out


def _power_above(values: Floats) -> Floats:
    """Return the power of two above the largest |value| of each row, (n, 1)."""
    return np.ldexp(1.0, np.frexp(np.abs(values).max(axis=1, initial=0.0))[1] + 1)[:, None]


def _weight_slices(layer: Layer, width: int) -> tuple[list[Any], Floats]:
    """Slices of the weight, and the power of two above each row, (m,)."""
    weight: Any = layer.weight
    if not is_sparse(weight):
        top = _power_above(weight)
        return _slices([weight], top, width), top[:, 0]
    largest = np.zeros(weight.shape[0])
    owner = np.repeat(np.arange(weight.shape[0]), np.diff(weight.indptr))
    np.maximum.at(largest, owner, np.abs(weight.data))
    top = _power_above(largest[:, None])
    flat = _slices([weight.data[:, None]], top[owner], width)
    return [type(weight)((s[:, 0], weight.indices, weight.indptr), shape=weight.shape) for s in flat], top[:, 0]


def _in_slices(bounds: Sequence[Bounds], X: Floats) -> tuple[Bools, Bools]:
    """Bits from values held as two float64 each; products are taken slice by slice, each without error."""
    decided = np.ones(len(X), dtype=bool)
    high, low, error, grid = X, np.zeros_like(X), np.zeros_like(X), _grid(X)
    bits = []
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for b in bounds:
            layer, terms = b.layer, max(b.terms, 1)
            width = (53 - int(np.ceil(np.log2(terms + 1)))) // 2
            weights, weight_top = _weight_slices(layer, width)
            top = _power_above(high)
            values = _slices([high, low], top, width)
            z, rest = np.broadcast_to(layer.bias, (len(X), len(layer.bias))).copy(), np.zeros((len(X), len(layer.bias)))
            for total in range(SLICES):
                for i in range(total + 1):
                    z, t = _two_sum(z, _times(values[total - i], weights[i]))
                    rest += t
            size, e = b.reach(np.abs(high), error)
            cut = 16.0 * (SLICES + 1) * terms * 2.0 ** (-width * SLICES)
            e = _times(error, b.magnitude) * SLACK + cut * top * weight_top + 2.0**-98 * size + 2.0**-1000
            z, rest = _two_sum(z, rest)
            e[~(np.isfinite(z) & np.isfinite(e) & np.isfinite(rest))] = np.inf
            grid = np.minimum(grid + b.grid[0], b.grid[1])
            side, ok = _sides(layer.activation, z, e, grid, rest)
            bits.append(side)
            decided &= ok
            slopes, offsets = layer.activation.pieces_in_force(side)
            if b.rounds:
                p, t = _two_product(np.broadcast_to(slopes, z.shape), z)
                s, r = _two_sum(p, np.broadcast_to(offsets, z.shape))
                high, low = _two_sum(s, r + (t + slopes * rest))
                error = (np.abs(slopes) * e + 2.0**-98 * (np.abs(p) + np.abs(offsets))) * SLACK + 2.0**-1000
            else:
                high, low, error = slopes * z, slopes * rest, np.abs(slopes) * e
            for part in (high, low, error):
                part[np.isnan(part)] = 0.0
            grid = _next_grid(grid, b)
    return np.hstack(bits) if bits else np.zeros((len(X), 0), bool), decided


def _as_integers(values: Floats) -> tuple[NDArray[np.object_], int]:
    """Return integers and the exponent e with ``values == integers * 2**e``, exactly."""
    e = int(_grid(values.reshape(1, -1))[0])
    if e >= 2000:
        return np.zeros(values.shape, dtype=object), 0
    mantissa, exponent = np.frexp(values)
    integer = (mantissa * 2.0**53).astype(np.int64).astype(object)
    shift = (exponent.astype(np.int64) - 53 - e).astype(object)

    def shifted(i: int, s: int) -> int:
        return i << s if s >= 0 else i >> -s  # a right shift drops zeros only

    return np.frompyfunc(shifted, 2, 1)(integer, shift), e


def _in_integers(bounds: Sequence[Bounds], X: Floats) -> tuple[Bools, Bools]:
    """Bits from exact integer arithmetic, row by row; every row is decided."""
    bits = np.zeros((len(X), sum(b.layer.activation.n_bits for b in bounds)), dtype=bool)
    for r, x in enumerate(X):
        a, e = _as_integers(x)
        start = 0
        for b in bounds:
            activation = b.layer.activation
            z, e = _exact_preactivation(b.layer, a, e)
            neuron, k = activation.switches
            at, at_e = _as_integers(activation.breakpoints[neuron, k])
            side = np.array(
                [_align(z[i], e, at_e) > _align(t, at_e, e) for i, t in zip(neuron, at, strict=True)], dtype=bool
            )
            bits[r, start : start + len(side)] = side
            start += len(side)
            piece = activation.pieces(side[None])[0]
            rows = np.arange(len(piece))
            slope, slope_e = _as_integers(activation.slopes[rows, piece])
            offset, offset_e = _as_integers(activation.offsets[rows, piece])
            low = min(e + slope_e, offset_e)
            a = slope * z * (1 << (e + slope_e - low)) + offset * (1 << (offset_e - low))
            e = low
    return bits, np.ones(len(X), dtype=bool)


def _align(i: int, e: int, other: int) -> int:
    """Return the integer of ``i * 2**e`` on the finer of the two grids."""
    return i << max(e - other, 0)


def _exact_preactivation(layer: Layer, a: NDArray[np.object_], e: int) -> tuple[NDArray[np.object_], int]:
    """Return integers z and exponent with ``weight @ a + bias == z * 2**exponent``."""
    weight: Any = layer.weight
    live = np.flatnonzero(a != 0)
    w_e = int(_grid((weight.data if is_sparse(weight) else weight).reshape(1, -1))[0])
    bias, bias_e = _as_integers(layer.bias)
    out_e = min(w_e + e, bias_e) if w_e < 2000 else bias_e
    z = bias * (1 << (bias_e - out_e))
    step = max(1, 1_000_000 // max(len(live), 1))
    for i in range(0, weight.shape[0], step):
        block = weight[i : i + step]
        dense = block[:, live].toarray() if is_sparse(block) else block[:, live]
        w, block_e = _as_integers(dense)
        if len(live) and dense.any():
            z[i : i + step] = z[i : i + step] + w.dot(a[live]) * (1 << (block_e + e - out_e))
    return z, out_e
