"""Which side of 0 a preactivation is on, decided rightly.

A preactivation computed in float64 carries a rounding error. Where its distance to a breakpoint is larger than a bound on
that error, its side is certain; the few others are decided here by slower arithmetic, in this order: float64 with a bound
for each number and a test for values on a common grid; sums of error-free slices (about 2**-95 relative); fixed-point
numbers of as many digits as it takes, which are exact.
The side is that of the exact real number that the stored weights and the row define, so it cannot depend on the batch,
the order of the rows, or the number of threads.

Sources: the bounds are those of Higham, *Accuracy and Stability of Numerical Algorithms* (2002), section 3.1; the
error-free slices are those of Ozaki, Ogita, Oishi, Rump, *Error-free transformations of matrix multiplication* (2012).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relucidate.layers import Activation, Bools, Floats, Layer, is_sparse

U = 2.0**-53
TINY = 2.0**-1074
SLACK = 1.0625  # covers the rounding of the bounds themselves


def gamma(terms: int) -> float:
    """Return the relative error of a sum of so many products, in any order."""
    return terms * U / (1 - terms * U)


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
        return gamma(self.terms + 2)

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

    @cached_property
    def tiny(self) -> Floats:
        """What underflow can add to the error of each neuron (m,): 0 where there is nothing to multiply."""
        weight: Any = self.layer.weight
        some = np.diff(weight.indptr) > 0 if is_sparse(weight) else weight.any(axis=1)
        return np.where(some, (self.terms + 2) * TINY, 0.0)

    def reach(self, value: Floats, error: Floats) -> tuple[Floats, Floats]:
        """Return bounds (…, m) on |preactivation| and on its error, from bounds (…, k) on the inputs."""
        size = _times(value, self.magnitude) + np.abs(self.layer.bias)
        error = (_times(error, self.magnitude) + self.gamma * size) * SLACK
        return size * SLACK, error + self.tiny

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


_MANY_LAYERS = 8


def decide(bounds: Sequence[Bounds], X: Floats) -> Bools:
    """Return the pattern bits (n, n_bits) of rows (n, d), each decided exactly.

    Notes
    -----
    Passes, each over the rows that the one before left undecided. The last one is exact and decides everything; its
    numbers grow longer with each layer, so that a pass of fixed cost comes before it only where there are many layers.
    """
    out = np.zeros((len(X), sum(b.layer.activation.n_bits for b in bounds)), dtype=bool)
    rows = np.argsort(_grid(X), kind="stable")  # rows of a block share one grid in the last pass
    passes = (_in_float64, _in_slices, _in_digits) if len(bounds) > _MANY_LAYERS else (_in_float64, _in_digits)
    for attempt in passes:
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
            fine: Any = grid > -1074
            on_grid = (size < np.asarray(np.ldexp(1.0, np.clip(grid + 53, -1074, 1023)))[:, None]) & fine[:, None]
            e = np.where(on_grid & ~np.asarray(error.any(axis=1))[:, None], 0.0, e)
            e[~(np.isfinite(z) & np.isfinite(e))] = np.inf
            side, ok = _sides(layer.activation, z, e, grid)
            bits.append(side)
            decided &= ok
            slopes, offsets = layer.activation.pieces_in_force(side)
            flat = slopes == 0  # such a piece is its offset, whatever z and its bound
            a = np.where(flat, offsets, slopes * z + offsets)
            error = np.where(flat, 0.0, np.abs(slopes) * e)
            if b.rounds:
                exact = flat | ((np.abs(slopes) == 1) & (offsets == 0))
                error = np.where(exact, error, (error + 3 * U * (np.abs(slopes * z) + np.abs(offsets))) * SLACK + TINY)
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
            size = _times(np.abs(high), b.magnitude) + np.abs(layer.bias)
            cut = 16.0 * (SLICES + 1) * terms * 2.0 ** (-width * SLICES)
            e = (_times(error, b.magnitude) + cut * top * weight_top + 2.0**-98 * size) * SLACK + 2.0**-1000
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
                error[~(np.isfinite(high) & np.isfinite(low))] = np.inf
            else:
                high, low, error = slopes * z, slopes * rest, np.abs(slopes) * e
            flat = slopes == 0
            high, low, error = np.where(flat, offsets, high), np.where(flat, 0.0, low), np.where(flat, 0.0, error)
            grid = _next_grid(grid, b)
    return np.hstack(bits) if bits else np.zeros((len(X), 0), bool), decided


Digits = list[Any]


def _digits(values: Any, exponent: int, base: int) -> Iterator[tuple[int, Any]]:
    """Yield (place, digit) with ``values == sum(digit * 2.0 ** (exponent + base * place))``, largest place first.

    Digits are whole numbers of at most ``2**(base - 1)`` in size; those that are 0 throughout are left out. `values` are
    multiples of ``2**exponent``.
    """
    if not values.any():
        return
    places = -(-(int(np.frexp(np.abs(values).max())[1]) + 1 - exponent) // base)
    for place in reversed(range(places)):
        at = exponent + base * place
        scaled = np.ldexp(values, -at)
        digit = np.rint(scaled)
        if digit.any():
            # where the digit is 0, scaling may have lost bits; where it is not, its own power of two may overflow
            values = np.where(digit == 0, values, np.ldexp(scaled - digit, at))
            yield place, digit


def _weight_digits(weight: Any, exponent: int, base: int) -> Iterator[tuple[int, Any]]:
    if not is_sparse(weight):
        yield from _digits(weight, exponent, base)
        return
    for place, digit in _digits(weight.data, exponent, base):
        yield place, type(weight)((digit, weight.indices, weight.indptr), shape=weight.shape)


def _add(total: Digits, place: int, digit: Floats) -> None:
    total.extend(np.zeros_like(total[0]) for _ in range(place + 1 - len(total)))
    total[place] += digit


def _carried(total: Digits, base: int) -> Digits:
    """Return the same numbers in digits of at most ``2**(base - 1)``, so that the highest that is not 0 has the sign."""
    out, carry = [], np.zeros_like(total[0])
    for part in total:
        part = part + carry
        carry = np.rint(part * 2.0**-base)
        out.append(part - carry * 2.0**base)
    while carry.any():
        part, carry = carry, np.rint(carry * 2.0**-base)
        out.append(part - carry * 2.0**base)
    while len(out) > 1 and not out[-1].any():
        out.pop()
    return out


def _positive(number: Digits) -> Bools:
    sign = np.zeros_like(number[0])
    for digit in number:
        sign = np.where(digit != 0, digit, sign)
    return sign > 0


_ADDENDS = 16  # products that are added up in one place before carrying


def _in_digits(bounds: Sequence[Bounds], X: Floats) -> tuple[Bools, Bools]:
    """Bits from exact fixed-point numbers; every row is decided.

    Notes
    -----
    A number is an integer in digits of `base` bits times a power of two. Digits are whole numbers in float64, so narrow
    that matrix products of them have no error: ``2 * base + log2(terms) + log2(_ADDENDS) <= 53``.
    """
    terms = max((b.terms for b in bounds), default=1) + 1
    base = (53 - int(np.ceil(np.log2(terms * _ADDENDS)))) // 2
    exponent = min(int(_grid(X).min(initial=2000)), 0)
    a: Digits = [np.zeros(X.shape)]
    for place, digit in _digits(X, exponent, base):
        _add(a, place, digit)
    bits = []
    for b in bounds:
        layer, activation = b.layer, b.layer.activation
        weight_grid, bias_grid, slope_grid, offset_grid = b.grid
        neuron, k = activation.switches
        at = activation.breakpoints[neuron, k]
        z_exponent = min(exponent + weight_grid, bias_grid, int(_grid(at[None])[0]), 0)
        z: Digits = [np.zeros((len(X), len(layer.bias)))]
        for number, (place, w) in enumerate(_weight_digits(layer.weight, z_exponent - exponent, base), 1):
            for i, digit in enumerate(a):
                if digit.any():
                    _add(z, i + place, _times(digit, w))
            if number % (_ADDENDS - 2) == 0:
                z = _carried(z, base)
        for place, digit in _digits(layer.bias, z_exponent, base):
            _add(z, place, digit)
        z = _carried(z, base)
        distance = [digit[:, neuron] for digit in z]
        for place, digit in _digits(at, z_exponent, base):
            _add(distance, place, -digit)
        side = _positive(_carried(distance, base))
        bits.append(side)
        slopes, offsets = activation.pieces_in_force(side)
        if b.rounds:
            exponent = z_exponent + min(slope_grid, offset_grid - z_exponent, 0)
            a = [np.zeros(z[0].shape)]
            for number, (place, s) in enumerate(_digits(slopes, exponent - z_exponent, base), 1):
                for i, digit in enumerate(z):
                    _add(a, i + place, digit * s)
                if number % (_ADDENDS - 2) == 0:
                    a = _carried(a, base)
            for place, digit in _digits(offsets, exponent, base):
                _add(a, place, digit)
            a = _carried(a, base)
        else:
            a, exponent = [slopes * digit for digit in z], z_exponent
        while len(a) > 1 and not a[0].any():
            del a[0]
            exponent += base
    decided = np.ones(len(X), dtype=bool)
    return np.hstack(bits) if bits else np.zeros((len(X), 0), bool), decided
