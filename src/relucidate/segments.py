"""A network along straight lines: every breakpoint in closed form, layer by layer, for many segments at once.

Along a segment each neuron is a piecewise-linear function of one number, t. Its values at the breakpoints of the layers
below are one product with the layer's weights; between two of them it is linear, so where it meets a breakpoint of its own
is one division. Work and memory grow with the breakpoints met. Source: Sotoudeh & Thakur 2019 (arXiv 1908.06214).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from relucidate import exact
from relucidate.errors import NumericalOverflowError, UnfaithfulError, clipped, shown
from relucidate.layers import Activation, Bools, Floats, is_sparse
from relucidate.network import Network, Patterns
from relucidate.products import in_threads, one_thread

Indices = NDArray[np.intp]
Result = TypeVar("Result")

TOLERANCE = 1e-9  # on |ours - network| / (1 + |decision|)
_CELLS = 2**21  # values of one layer at the breakpoints of one block of segments
_PILOT = 8  # segments walked first, to learn how many breakpoints to expect


@dataclass(frozen=True, eq=False)
class Walk:
    """Some segments, or one part of a segment, cut into pieces on each of which the network is one linear model.

    Parameters
    ----------
    network : that was walked through.
    segment : (P,) which segment each piece is of, in order. n_segments : how many there are.
    start, stop : (P,) where a piece begins and ends, 0 at the first end of its segment, 1 at the other.
    value, next_value : (P, n_outputs) decisions there.
    bits : per hidden layer (P_l, n_bits) what is on, on the pieces that the layers up to it make.
    piece : per hidden layer (P,) which of those each piece lies in.
    """

    network: Network
    segment: Indices
    n_segments: int
    start: Floats
    stop: Floats
    value: Floats
    next_value: Floats
    bits: tuple[Bools, ...]
    piece: tuple[Indices, ...]

    def patterns(self) -> Patterns:
        """Return the activation pattern of each piece (P,)."""
        net = self.network
        packed = np.empty((len(self.segment), (net.n_bits + 7) // 8), dtype=np.uint8)
        step = max(1, _CELLS // max(net.n_bits, 1))
        for first in range(0, len(packed), step):
            rows = slice(first, first + step)
            whole = [bits[piece[rows]] for bits, piece in zip(self.bits, self.piece, strict=True)]
            joined = np.concatenate([np.zeros((len(packed[rows]), 0), dtype=bool), *whole], axis=1)
            packed[rows] = np.packbits(joined, axis=1)
        return Patterns(packed, net.n_bits)

    def summed_coef(self, weight: Floats) -> Floats:
        """Return for each segment the weighted sum of the coefficients on its pieces (n_segments, k, n_features).

        Parameters
        ----------
        weight : (P,) of each piece, then k is n_outputs; or (P, k, n_outputs), of each output in each of k sums.

        Notes
        -----
        From the top down a layer is applied once for each run of pieces on which no layer above it switches, and the
        first layer once for each segment.
        """
        net = self.network
        top: Any = net.layers[-1].weight
        top = top.toarray() if is_sparse(top) else top
        weight = weight[:, None, None] * np.eye(net.n_outputs) if weight.ndim == 1 else weight
        if not net.hidden:
            total = np.zeros((self.n_segments, weight.shape[1], net.n_outputs))
            np.add.at(total, self.segment, weight)
            return total @ top
        v = np.broadcast_to(top, (self.n_segments, *top.shape))
        parent = self.segment  # the run of the layers above that each piece is in
        for i in range(len(net.hidden) - 1, -1, -1):
            layer, run = net.hidden[i], self._runs[i]
            first = np.flatnonzero(np.diff(run, prepend=-1))
            slopes = layer.activation.pieces_in_force(self.bits[i])[0]
            slopes = np.broadcast_to(slopes, (len(self.bits[i]), len(layer.bias)))
            if i == 0:
                return self._first_layer(v, parent, slopes, weight)
            v = v[parent[first]] * slopes[self.piece[i][first]][:, None, :]
            parent = run
            v = layer.pulled_back(v.reshape(-1, v.shape[2]))[0].reshape(len(first), net.n_outputs, -1)
        raise AssertionError("a network without hidden layers returns above")

    def _first_layer(self, v: Floats, parent: Indices, slopes: Floats, weight: Floats) -> Floats:
        """Return the weighted sums, from the products down to the first layer (runs, n_outputs, m)."""
        net, layer = self.network, self.network.hidden[0]
        m, k = v.shape[2], weight.shape[1]
        total = np.zeros((self.n_segments, k, m))
        step = max(1, _CELLS // (m * net.n_outputs))
        for start in range(0, len(self.segment), step):
            rows = slice(start, start + step)
            part = v[parent[rows]] * slopes[self.piece[0][rows]][:, None, :]
            part = (weight[rows, :, :, None] * part[:, None]).sum(axis=2) if k > 1 else weight[rows] @ part
            here = np.flatnonzero(np.diff(self.segment[rows], prepend=-1))
            total[self.segment[rows][here]] += np.add.reduceat(part, here, axis=0)
        first: Any = layer.weight
        flat = total.reshape(-1, m)
        out = np.asarray((first.T @ flat.T).T) if is_sparse(first) else flat @ first
        return np.ascontiguousarray(out).reshape(self.n_segments, k, -1)

    @cached_property
    def _runs(self) -> list[Indices]:
        """Per hidden layer (P,) the run of pieces on which neither it nor any layer above it switches."""
        changed = np.diff(self.segment, prepend=-1) != 0
        out: list[Indices] = []
        for bits, piece in zip(reversed(self.bits), reversed(self.piece), strict=True):
            switches = np.r_[True, (bits[1:] != bits[:-1]).any(axis=1)] if len(bits) else np.ones(0, dtype=bool)
            changed = changed | (switches[piece] & (np.diff(piece, prepend=-1) != 0))
            out.append(np.cumsum(changed) - 1)
        return out[::-1]


class _TooManyBreakpoints(Exception):
    """A block of segments takes more memory than it may."""


def over_segments(
    network: Network,
    a: Floats,
    b: Floats,
    task: Callable[[Walk, slice], Result],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> list[Result]:
    """Return what `task` makes of all segments, block by block, in order.

    Parameters
    ----------
    a, b : (n, n_features) encoded ends of the segments.
    task : called with a walk and the segments that it is of, several blocks at a time in threads. A segment with very many
        breakpoints comes in parts, one after the other.
    progress : called with the segments done and their number.

    Raises
    ------
    NumericalOverflowError : a preactivation leaves the range of float64.
    """
    n = len(a)
    out: list[Result] = []
    done = 0
    at = 0
    size = _PILOT
    with one_thread():
        while at < n:
            parts = [slice(i, min(i + size, n)) for i in range(at, min(at + 16 * size, n), size)]
            found = in_threads(lambda rows: _walked(network, a, b, rows, (0.0, 1.0), task), parts)
            pieces = sum(count for part in found for count, _ in part)
            out += [result for part in found for _, result in part]
            at = parts[-1].stop
            done = at
            width = max(max(layer.weight.shape) for layer in network.layers)
            size = max(1, int(_CELLS / (width * max(pieces / (parts[-1].stop - parts[0].start), 1.0)) / 1.5))
            if progress is not None:
                progress(done, n)
    return out


def _walked(
    network: Network,
    a: Floats,
    b: Floats,
    rows: slice,
    part: tuple[float, float],
    task: Callable[[Walk, slice], Result],
) -> list[tuple[int, Result]]:
    """Return (pieces, result) of some segments, in halves where they take too much memory at once."""
    n = rows.stop - rows.start
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            walk = _walk(network, a[rows], b[rows], part)
    except _TooManyBreakpoints:
        if n > 1:
            middle = rows.start + n // 2
            halves = [(slice(rows.start, middle), part), (slice(middle, rows.stop), part)]
        else:
            between = (part[0] + part[1]) / 2
            halves = [(rows, (part[0], between)), (rows, (between, part[1]))]
        return [found for half, where in halves for found in _walked(network, a, b, half, where, task)]
    return [(len(walk.segment), task(walk, rows))]


def _walk(network: Network, a: Floats, b: Floats, part: tuple[float, float]) -> Walk:
    """Return the pieces of segments, or of the part of them between two values of t.

    Raises
    ------
    _TooManyBreakpoints : they take too much memory, and can still be halved.
    """
    n = len(a)
    low, high = part
    ends = np.empty((2 * n, a.shape[1]))
    ends[0::2], ends[1::2] = between(a, b, np.full(n, low)), between(a, b, np.full(n, high))
    t = np.tile(np.array([low, high]), n)
    segment = np.repeat(np.arange(n), 2)
    values = ends
    may_halve = n > 1 or high - low > 2.0**-20
    bits: list[Bools] = []
    origin: list[
        Indices
    ] = []  # per layer: for each knot of the layers so far, which of its own knots lies at or before it
    for layer in network.hidden:
        z = layer.preactivation(values)
        if not np.isfinite(z).all():
            raise _overflow(segment[~np.isfinite(z).all(axis=1)])
        z, t, segment, before = _cut(layer.activation, z, t, segment)
        if may_halve and z.size > 2 * _CELLS:
            raise _TooManyBreakpoints
        origin = [index[before] for index in origin]
        origin.append(np.arange(len(t)))
        bits.append(layer.activation.bits((z[1:] + z[:-1]) / 2))
        values = layer.activation(z)
    decision = network.layers[-1].preactivation(values)
    if not np.isfinite(decision).all():
        raise _overflow(segment[~np.isfinite(decision).all(axis=1)])
    # neurons that meet their breakpoints in one place have a knot each
    inner = np.flatnonzero((segment[1:] == segment[:-1]) & (t[1:] > t[:-1]))
    return Walk(
        network,
        segment[inner],
        n,
        t[inner],
        t[inner + 1],
        decision[inner],
        decision[inner + 1],
        tuple(bits),
        tuple(index[inner] for index in origin),
    )


def between(a: Floats, b: Floats, t: Floats) -> Floats:
    """Return ``a + t (b - a)``, each end exactly."""
    at = t[:, None]
    return np.where(at == 0, a, np.where(at == 1, b, a + at * (b - a)))


def _overflow(segments: Indices) -> NumericalOverflowError:
    return NumericalOverflowError(
        f"{len(np.unique(segments)):,} segments leave the range of float64 inside the network, the first is segment "
        f"{clipped(int(segments[0]))} of its block. Look for huge values in the rows or in the weights."
    )


def _cut(activation: Activation, z: Floats, t: Floats, segment: Indices) -> tuple[Floats, Floats, Indices, Indices]:
    """Insert the places where neurons meet their breakpoints.

    Parameters
    ----------
    z : (T, m) preactivations at knots `t` (T,) of segments (T,).

    Returns
    -------
    The same three with more knots, and for each of these the old knot at or before it.
    """
    neuron, k = activation.switches
    T = len(t)
    every = np.arange(T)
    if len(neuron) == 0:
        return z, t, segment, every
    at = activation.breakpoints[neuron, k]
    plain = len(neuron) == z.shape[1] and not at.any()
    above = z > 0 if plain else z[:, neuron] > at
    crosses = above[1:] != above[:-1]
    crosses[segment[1:] != segment[:-1]] = False
    left, switch = np.nonzero(crosses)
    if len(left) == 0:
        return z, t, segment, every
    which = neuron[switch]
    before, after = z[left, which] - at[switch], z[left + 1, which] - at[switch]
    share = before / (before - after)
    where = t[left] + share * (t[left + 1] - t[left])
    inside = (where > t[left]) & (where < t[left + 1])
    left, which, share, where, switch = left[inside], which[inside], share[inside], where[inside], switch[inside]
    order = np.lexsort((where, left))
    left, which, share, where, switch = left[order], which[order], share[order], where[order], switch[order]
    old = np.searchsorted(left, every, side="left") + every  # the new place of each old knot
    new = left + 1 + np.arange(len(left))
    out = np.empty((T + len(left), z.shape[1]))
    out[old] = z
    added = z[left + 1]
    added -= z[left]
    added *= share[:, None]
    added += z[left]
    added[np.arange(len(left)), which] = at[switch]
    out[new] = added
    knots, owner, before_old = np.empty(len(out)), np.empty(len(out), dtype=np.intp), np.empty(len(out), dtype=np.intp)
    knots[old], knots[new] = t, where
    owner[old], owner[new] = segment, segment[left]
    before_old[old], before_old[new] = every, left
    return out, knots, owner, before_old


def checked(network: Network, x: Floats, ours: Floats, theirs: Floats, what: str) -> float:
    """Return the largest difference of two decisions (n, n_outputs) of rows (n, n_features), relative to 1 + |theirs|.

    Raises
    ------
    UnfaithfulError : it is more than 1e-9, and more than rounding in the network explains.
    """
    difference = np.abs(ours - theirs)
    relative = difference / (1 + np.abs(theirs))
    worst = float(relative.max(initial=0.0))
    if worst <= TOLERANCE:
        return worst
    rows = np.flatnonzero(~(relative <= TOLERANCE).all(axis=1))
    beyond = rows[~(difference[rows] <= rounding(network, x[rows])).all(axis=1)]
    if len(beyond):
        row = int(beyond[0])
        raise UnfaithfulError(
            f"{what} says {shown(ours[row])}, the network {shown(theirs[row])}; more than rounding explains. Nothing was "
            "returned. This is a defect of relucidate: please report it with the model."
        )
    return worst


def rounding(network: Network, x: Floats) -> Floats:
    """Return a bound on what rounding makes of decisions computed along segments, at rows (n, n_features): (n, n_outputs).

    It is four times the proved bound on the rounding of the network there: where a breakpoint lies on a segment rounds
    too, as does the row there.
    """
    bounds = [exact.Bounds(layer) for layer in network.layers]
    return 4 * np.array([exact.thresholds(bounds, np.abs(row))[-1] for row in x]).reshape(len(x), network.n_outputs)
