"""Parts of the input space bounded by straight lines: no point of a part that is decided otherwise is nearer than so much.

A part is what is left of a ball where some neurons are above or below a breakpoint. Over it each neuron stays within bounds,
and between two lines. Put into one another from the top down, the lines bound the decision by one affine function, so that
whatever is decided otherwise lies in a half-space. Any slopes of the lines, and any weights >= 0 of the sides that make the
part, give such a half-space; the farthest is looked for by ascent, many parts at once. What the half-space leaves of the ball
is the part to look at next, over which the bounds are narrower.
Sources: the lines are those of Zhang et al. 2018 (CROWN), the ascent over slopes and weights that of Wang et al. 2021
(beta-CROWN), here of a distance and not of a decision; bounds narrowed by what is aimed at: Kotha et al. 2023 (INVPROP).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from relucidate.exact import U
from relucidate.layers import Activation, Bools, Floats, is_sparse
from relucidate.least_distances import DUAL, Integers, Reach, norm_of
from relucidate.network import Network

_STEPS = 12  # of the ascent
_RATE = 0.3  # of the first step, as a share of the range of a slope; each is shorter than the one before
_SLOWER = 0.85
_WORTH = 1.02  # the whole is bounded anew while that moves it so much farther
_AGAIN = 8  # times at most
_SHARES = (0.3, 0.7, 1.0, 1.5, 2.5, 5.0)  # prices of a half-space that are tried, in sizes of what is bounded
_SHARP = (
    16  # in norm 1 the ascent looks at moves spread over the largest coefficients: in proportion to this power of them
)
_LOOSE = 0.05  # weight of what a bit might gain anywhere, against what it gains at the nearest point
_CELLS = 2**20  # numbers in one block

Lines = tuple[Floats, Floats, Floats, Floats]  # slope and offset (N, m) of a line above each neuron, then of one below


@dataclass(frozen=True, eq=False)
class Parts:
    """Parts of the input space (N of them).

    Parameters
    ----------
    rival : (N,) which of the lines is to be crossed. side : (N, n_bits) 1 above the breakpoint, -1 below, 0 either.
    low, high : (N, M) bounds of the preactivations of all hidden neurons.
    weight : (N, n_bits) of each side taken. upper, lower : (N, M) slopes of the lines above and below, NaN before the first.
    least : (N,) no point decided otherwise is nearer; inf for an empty part. point : (N, d) where the half-space is that near.
    normal, offset : (N, d) and (N,): what is decided otherwise lies where ``normal @ t >= offset``.
    gain : (N, n_bits) how much taking a side of a bit may gain, a guess; 0 for bits that are decided, or to rounding.
    """

    rival: Integers
    side: Any
    low: Floats
    high: Floats
    weight: Floats
    upper: Floats
    lower: Floats
    least: Floats
    point: Floats
    normal: Floats
    offset: Floats
    gain: Floats

    def __len__(self) -> int:
        return len(self.rival)

    def taken(self, rows: Any) -> Parts:
        """Return some of them."""
        return Parts(**{name: getattr(self, name)[rows] for name in self.__dataclass_fields__})

    @staticmethod
    def joined(parts: list[Parts]) -> Parts:
        """Return several as one."""
        return Parts(**{k: np.concatenate([getattr(p, k) for p in parts]) for k in Parts.__dataclass_fields__})

    def split(self, bit: Integers) -> Parts:
        """Return twice as many, with a bit (N,) of each above its breakpoint, then below."""
        both = self.taken(np.tile(np.arange(len(self)), 2))
        both.side[np.arange(len(both)), np.tile(bit, 2)] = np.repeat([1, -1], len(self))
        return both


class _Layer:
    """One hidden layer, and its place among all of them."""

    def __init__(self, activation: Activation, weight: Floats, bias: Floats, bits: int, neurons: int) -> None:
        self.activation, self.weight, self.bias = activation, weight, bias
        self.neuron, self.k = activation.switches
        self.at = activation.breakpoints[self.neuron, self.k]
        self.rows = slice(neurons, neurons + len(activation))
        self.bits = slice(bits, bits + len(self.neuron))
        self.finite = np.where(np.isfinite(activation.breakpoints), activation.breakpoints, 0.0)
        self.turns = [np.flatnonzero(self.k == j) for j in range(activation.breakpoints.shape[1])]
        self.steepest = np.abs(activation.slopes).max(axis=1)
        self.largest = np.abs(activation.offsets).max(axis=1)

    def summed(self, bits: Floats) -> Floats:
        """Return sums (N, m) over each neuron's bits (N, bits)."""
        out = np.zeros((len(bits), len(self.activation)))
        for turn in self.turns:
            out[:, self.neuron[turn]] += bits[:, turn]
        return out


class _Hull:
    """The lines above and below the neurons of one layer over bounds.

    Notes
    -----
    The activation is straight between vertices: the bounds and the breakpoints between them. So a line of any slope lies above
    it everywhere if it does at the vertices, which sets its offset.
    """

    def __init__(self, layer: _Layer, low: Floats, high: Floats) -> None:
        a = layer.activation
        self.is_relu = a.is_relu
        inner = [np.clip(layer.finite[:, j], low, high) for j in range(layer.finite.shape[1])]
        self.place = np.array([low, *inner, high])
        self.value = np.array([a(v) for v in self.place])
        width = high - low
        rise = self.value[-1] - self.value[0]
        with np.errstate(over="ignore"):  # bounds a rounding apart
            chord = np.clip(rise / np.where(width > 0, width, 1.0), -layer.steepest, layer.steepest)
        middle = (low + high) / 2
        piece = np.broadcast_to(a.slopes[:, 0], low.shape)
        for j, at in enumerate(a.breakpoints.T):
            piece = np.where(middle > at, a.slopes[:, j + 1], piece)
        above = self.value[1:-1] - self.value[0] - chord * (self.place[1:-1] - low)
        size = 1e-12 * (np.abs(self.value[0]) + np.abs(self.value[-1]) + layer.steepest * (np.abs(low) + np.abs(high)))
        # where the activation is above its chord, the line above it has a slope to choose
        self.bent = (above > size).any(axis=0), (above < -size).any(axis=0)
        straight = np.where((width > 0) & (self.bent[0] | self.bent[1]), chord, piece)
        self.upper, self.lower = np.where(self.bent[0], piece, straight), np.where(self.bent[1], piece, straight)
        self.above = (self.value - self.upper * self.place).max(axis=0)
        self.below = (self.value - self.lower * self.place).min(axis=0)
        self.gap = np.abs(above)

    @property
    def lines(self) -> Lines:
        """Slopes and offsets by the rule: the chord, or the piece in the middle where the activation leaves the chord."""
        return self.upper, self.above, self.lower, self.below

    def taken(self, rows: Any) -> _Hull:
        """Return that of some parts."""
        out = object.__new__(_Hull)
        out.is_relu, out.above, out.below = self.is_relu, self.above[rows], self.below[rows]
        out.place, out.value, out.gap = self.place[:, rows], self.value[:, rows], self.gap[:, rows]
        return out

    def line(self, up: Bools, upper: Floats, lower: Floats) -> tuple[Floats, Floats, Floats]:
        """Return slope and offset (N, m) of the line above where `up`, else below, and the place that it touches."""
        slope = np.where(up, upper, lower)
        if self.is_relu:  # above it is the chord, below any line through 0
            return slope, np.where(up, self.above, self.below), np.zeros(1)
        offsets = self.value - slope * self.place
        which = np.where(up, offsets.argmax(axis=0), offsets.argmin(axis=0))[None]
        return slope, np.take_along_axis(offsets, which, 0)[0], np.take_along_axis(self.place, which, 0)[0]


class Relaxation:
    """Bounds of one row's parts, the row being at t = 0.

    Parameters
    ----------
    map, constant : the first layer's preactivations are ``map @ t + constant``. size, constant_size : what they are sums of,
        without signs. reach : where t may be, of one row. lines, rests : (K, m) and (K,): decided otherwise is where
        ``line @ h >= rest`` for one of them, h the values of the last hidden layer.
    """

    def __init__(
        self,
        network: Network,
        map: Floats,
        constant: Floats,
        size: Floats,
        constant_size: Floats,
        reach: Reach,
        lines: Floats,
        rests: Floats,
    ) -> None:
        self.reach, self.norm, self.lines, self.rests = reach, reach.norm, lines, rests
        self.layers: list[_Layer] = []
        bits = neurons = 0
        for i, layer in enumerate(network.hidden):
            weight: Any = layer.weight
            weight = map if i == 0 else (weight.toarray() if is_sparse(weight) else weight)
            self.layers.append(_Layer(layer.activation, weight, layer.bias if i else constant, bits, neurons))
            bits, neurons = self.layers[-1].bits.stop, self.layers[-1].rows.stop
        self.n_bits, self.n_neurons, self.n_features = bits, neurons, map.shape[1]
        self.neuron = np.concatenate([layer.rows.start + layer.neuron for layer in self.layers])
        self.at = np.concatenate([layer.at for layer in self.layers])
        self._size, self._constant_size = size, constant_size
        self._unit = 16 * U * (sum(layer.weight.shape[1] + 2 for layer in self.layers) + lines.shape[1] + 2)
        slopes = [layer.activation.slopes for layer in self.layers]
        self._lowest = np.concatenate([s.min(axis=1) for s in slopes])
        self._highest = np.concatenate([s.max(axis=1) for s in slopes])
        self._radius = -1.0
        self.error, self.error_there = np.zeros(0), np.zeros(0)  # of preactivations (M,) and of lines (K,), by rounding

    # ------------------------------------------------------------ of a ball

    def _within(self, radius: float) -> None:
        """Prepare for a radius: how much rounding may add to each preactivation and line.

        Notes
        -----
        A sum of products of n numbers is wrong by no more than n roundings of what the sum is without signs; lines have no
        larger slopes than the activation, so this holds of all functions made of lines.
        """
        if radius == self._radius:
            return
        self._radius = radius
        ball = radius * norm_of(self._size, DUAL[self.norm])
        box = self._size @ np.minimum(np.maximum(-self.reach.low[0], self.reach.high[0]), radius)
        size = self._constant_size + np.minimum(ball, box)
        every = [size]
        for before, layer in zip(self.layers, self.layers[1:], strict=False):
            size = np.abs(layer.weight) @ (before.steepest * size + before.largest) + np.abs(layer.bias)
            every.append(size)
        last = self.layers[-1]
        top = np.abs(self.lines) @ (last.steepest * size + last.largest) + np.abs(self.rests)
        self.error, self.error_there = self._unit * np.concatenate(every), self._unit * top

    def _most(self, a: Floats) -> Floats:
        """Return a bound (…) on ``a @ t`` over the ball within reach, of (…, d)."""
        ball = self._radius * norm_of(a, DUAL[self.norm])
        if self.reach.is_free:
            return ball
        low, high = np.maximum(self.reach.low[0], -self._radius), np.minimum(self.reach.high[0], self._radius)
        return np.minimum(ball, np.where(a > 0, a * high, a * low).sum(axis=-1))

    def _most_beyond(self, a: Floats, normal: Floats, offset: Floats) -> Floats:
        """Return a bound (N, K) on ``a @ t`` over what the half-space (N, d), (N,) leaves of the ball, of (N, K, d).

        Notes
        -----
        For any price p >= 0 of the half-space it is at most that of ``(a + p normal) @ t - p offset`` over the ball. Of a
        ball in norm 2 the best price is known.
        """
        r, out = self._radius, self._most(a)
        size = norm_of(normal, DUAL[self.norm])
        rows = np.flatnonzero((offset > 0) & (size > 0))
        if len(rows) == 0:
            return out
        a, unit = a[rows], normal[rows] / size[rows, None]
        depth = np.minimum(offset[rows] / size[rows] * (1 - self._unit), r)[:, None]
        most = out[rows]
        if self.norm == "2":
            length = most / r if self.reach.is_free else norm_of(a, "2")
            along = (a @ unit[:, :, None])[..., 0] / np.where(length > 0, length, 1.0)
            # what is left of a vector less its part along another has lost digits: allow for that
            rest = np.sqrt(np.maximum(1 - along**2, 0.0) + self._unit)
            part = depth / r
            cap = length * r * (part * along + np.sqrt((1 - part) * (1 + part)) * rest)
            most = np.where(along * r >= depth, most, np.minimum(most, cap))
        if self.norm != "2" or not self.reach.is_free:
            length = norm_of(a, DUAL[self.norm])
            for share in _SHARES:
                price = share * length
                cap = self._most(a + price[..., None] * unit[:, None]) - price * depth
                most = np.minimum(most, cap + self._unit * price * r)
        out[rows] = most
        return out

    def whole(self, radius: float) -> Parts:
        """Return the ball, a part for each line."""
        K, B, M, d = len(self.lines), self.n_bits, self.n_neurons, self.n_features
        endless, unknown = np.full((K, M), np.inf), np.full((K, M), np.nan)
        parts = Parts(
            rival=np.arange(K),
            side=np.zeros((K, B), dtype=np.int8),
            low=-endless,
            high=endless,
            weight=np.zeros((K, B)),
            upper=unknown,
            lower=unknown,
            least=np.zeros(K),
            point=np.zeros((K, d)),
            normal=np.zeros((K, d)),
            offset=np.zeros(K),
            gain=np.zeros((K, B)),
        )
        for _ in range(_AGAIN):
            before = parts.least
            parts = self.bounded(parts, radius)
            if not ((parts.least > before * _WORTH) & (parts.least < radius)).any():
                break
        return parts

    # ------------------------------------------------------------ of parts

    def bounded(self, parts: Parts, radius: float) -> Parts:
        """Return parts with bounds and distances of their own; they come with those of the parts that they were cut from."""
        with np.errstate(over="ignore", invalid="ignore"):  # a bound beyond float64 bounds nothing, and proves nothing
            return self._bounded(parts, radius)

    def _bounded(self, parts: Parts, radius: float) -> Parts:
        self._within(radius)
        low, high = parts.low.copy(), parts.high.copy()
        hulls: list[_Hull] = []
        empty = np.zeros(len(parts), dtype=bool)
        for layer in self.layers:
            self._narrow(layer, parts, low, high, [h.lines for h in hulls])
            mine, top = low[:, layer.rows], high[:, layer.rows]
            for turn in layer.turns:
                n, at, side = layer.neuron[turn], layer.at[turn], parts.side[:, layer.bits][:, turn]
                mine[:, n] = np.where(side > 0, np.maximum(mine[:, n], at), mine[:, n])
                top[:, n] = np.where(side < 0, np.minimum(top[:, n], at), top[:, n])
            crossed = mine > top
            empty |= crossed.any(axis=1)
            mine[crossed] = top[crossed]
            hulls.append(_Hull(layer, mine, top))
        return self._ascended(replace(parts, low=low, high=high), empty, hulls)

    def _narrow(self, layer: _Layer, parts: Parts, low: Floats, high: Floats, lines: list[Lines]) -> None:
        """Narrow the bounds (N, M) of those preactivations of one layer that may be on either side of a breakpoint."""
        mine, top, error = low[:, layer.rows], high[:, layer.rows], self.error[layer.rows]
        loose = ~(np.isfinite(mine) & np.isfinite(top))
        for turn in layer.turns:
            n, at = layer.neuron[turn], layer.at[turn]
            loose[:, n] |= (mine[:, n] < at) & (top[:, n] > at)
        which = np.flatnonzero(loose.any(axis=0))
        k = len(which)
        if k == 0:
            return
        both = np.concatenate([layer.weight[which], -layer.weight[which]])
        b, e = layer.bias[which], error[which]
        step = max(1, _CELLS // (2 * k * max(1, *(other.weight.shape[1] for other in self.layers))))
        for first in range(0, len(parts), step):
            rows = slice(first, first + step)
            a, c = self._down(
                np.broadcast_to(both, (len(mine[rows]), *both.shape)), [[p[rows] for p in q] for q in lines]
            )
            most = self._most_beyond(a, parts.normal[rows], parts.offset[rows]) + c
            top[rows, which] = np.minimum(top[rows, which], b + most[:, :k] + e)
            mine[rows, which] = np.maximum(mine[rows, which], b - most[:, k:] - e)

    def walls(self, part: Parts) -> tuple[Floats, Floats]:
        """Return half-spaces ``wall @ t >= offset``, (k, d) and (k,), that hold what is decided otherwise in one part."""
        normals, offsets = [part.normal], [part.offset]
        lines: list[list[Floats]] = []
        for layer in self.layers:
            side = part.side[0, layer.bits].astype(np.float64)
            taken = np.flatnonzero(side)
            n, sign = layer.neuron[taken], side[taken]
            if len(taken):
                a, c = self._down((sign[:, None] * layer.weight[n])[None], lines)
                normals.append(a[0])
                offsets.append(sign * (layer.at[taken] - layer.bias[n]) - c[0] - self.error[layer.rows][n])
            hull = _Hull(layer, part.low[:, layer.rows], part.high[:, layer.rows])
            lines.append(list(hull.lines))
        return np.concatenate(normals), np.concatenate(offsets)

    def _down(self, a: Floats, lines: list[list[Floats]]) -> tuple[Floats, Floats]:
        """Return (N, K, d) and (N, K): functions of t that are above ``a @ values`` of the last of the layers with lines."""
        c = np.zeros(a.shape[:2])
        for layer, (upper, above, lower, below) in zip(self.layers[: len(lines)][::-1], lines[::-1], strict=True):
            up = np.maximum(a, 0.0)
            down = a - up
            c += (up @ above[:, :, None] + down @ below[:, :, None])[..., 0]
            up *= upper[:, None]
            down *= lower[:, None]
            up += down
            c += up @ layer.bias
            a = up @ layer.weight
        return a, c

    # ------------------------------------------------------------ ascent

    def _ascended(self, parts: Parts, empty: Bools, hulls: list[_Hull]) -> Parts:
        """Return parts with the farthest half-space that is found (Adam's steps: Kingma and Ba 2015)."""
        bent = [np.concatenate([h.bent[s] for h in hulls], axis=1) for s in (0, 1)]
        ruled = [np.concatenate([(h.upper, h.lower)[s] for h in hulls], axis=1) for s in (0, 1)]
        now = [np.where(parts.side != 0, parts.weight, 0.0)]
        for s, given in ((0, parts.upper), (1, parts.lower)):
            now.append(np.where(bent[s] & np.isfinite(given), given, ruled[s]))
        kept = [p.copy() for p in now]
        moments = [(np.zeros_like(p), np.zeros_like(p)) for p in now]
        least = np.where(empty, np.inf, parts.least)
        out = replace(
            parts,
            weight=kept[0],
            upper=kept[1],
            lower=kept[2],
            least=least,
            point=parts.point.copy(),
            normal=parts.normal.copy(),
            offset=parts.offset.copy(),
            gain=np.zeros_like(parts.gain),
        )
        best = np.full(len(parts), -1.0)
        unit, rate = np.zeros_like(parts.weight), _RATE
        live = np.flatnonzero(~empty & (least < self._radius))
        for step in range(1, _STEPS + 1):
            if len(live) == 0:
                break
            some: Any = slice(None) if len(live) == len(parts) else live
            tangent = _Tangent(self, parts, now, hulls, some)
            if step == 1:
                unit[some] = tangent.unit
            better = tangent.distance > best[some]
            at = live[better]
            best[at] = tangent.distance[better]
            out.point[at], out.gain[at] = tangent.point[better], tangent.gain[better]
            farther = better & (tangent.distance > parts.least[some])
            out.normal[live[farther]], out.offset[live[farther]] = tangent.normal[farther], tangent.offset[farther]
            for k, p in zip(kept, now, strict=True):
                k[at] = p[at]
            for which, (p, (m, v), gradient) in enumerate(zip(now, moments, tangent.gradients, strict=True)):
                if which and not bent[which - 1].any():
                    continue
                m[some] = 0.7 * m[some] + 0.3 * gradient
                v[some] = 0.9 * v[some] + 0.1 * gradient**2
                move = rate * m[some] / (1 - 0.7**step) / (np.sqrt(v[some] / (1 - 0.9**step)) + 1e-300)
                if which == 0:
                    p[some] = np.where(parts.side[some] != 0, np.maximum(p[some] - move * unit[some], 0.0), 0.0)
                else:
                    moved = np.clip(p[some] - move * (self._highest - self._lowest), self._lowest, self._highest)
                    p[some] = np.where(bent[which - 1][some], moved, p[some])
            rate *= _SLOWER
            live = live[best[live] < self._radius]
        np.maximum(least, best, out=least)
        return out

    def nearest(self, normal: Floats, offset: Floats) -> tuple[Floats, Floats]:
        """Return the distances (N,) to half-spaces ``normal @ t >= offset`` within reach, and their nearest points (N, d)."""
        if not self.reach.is_free:
            low, high = (np.broadcast_to(v, normal.shape) for v in (self.reach.low, self.reach.high))
            return Reach(low, high, self.norm).half_space(normal, offset)
        size = norm_of(normal, DUAL[self.norm])
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            distance = np.where(offset <= 0, 0.0, np.where(size > 0, offset / size, np.inf))
            if self.norm == "2":
                way = normal / size[:, None]
            elif self.norm == "inf":
                way = np.sign(normal)
            else:
                way = np.sign(normal) * (np.arange(normal.shape[1]) == np.abs(normal).argmax(axis=1)[:, None])
            return distance, np.where(np.isfinite(distance)[:, None], distance[:, None] * way, np.nan)


class _Tangent:
    """The half-space that slopes and weights give, and how its distance depends on them.

    Parameters
    ----------
    now : weights, slopes above, slopes below, of all parts. some : those looked at.

    Notes
    -----
    The function above the decision is a maximum over what lies below the lines, so that its derivatives at the nearest point
    are what the layers hold there: with lines in place of activations (the envelope theorem).
    """

    def __init__(self, relaxation: Relaxation, parts: Parts, now: list[Floats], hulls: list[_Hull], some: Any) -> None:
        rival, side = parts.rival[some], parts.side[some]
        weight, upper, lower = (p[some] for p in now)
        everything = isinstance(some, slice)
        hulls = hulls if everything else [h.taken(some) for h in hulls]
        layers = relaxation.layers
        a, pull = relaxation.lines[rival], side * weight
        need = relaxation.rests[rival] + pull @ relaxation.at
        met: list[tuple[Floats, ...]] = []
        for layer, hull in zip(layers[::-1], hulls[::-1], strict=True):
            up = a > 0
            slope, offset, place = hull.line(up, upper[:, layer.rows], lower[:, layer.rows])
            need = need - np.einsum("nm,nm->n", a, offset)
            met.append((a, up, slope, offset, place))
            z = a * slope
            if pull[:, layer.bits].any():
                z += layer.summed(pull[:, layer.bits])
            need = need - z @ layer.bias
            a = z @ layer.weight
        need = need - relaxation.error_there[rival] - weight @ relaxation.error[relaxation.neuron]
        need = np.where(np.isfinite(need), need, -np.inf)
        self.normal, self.offset = a, need
        self.distance, self.point = relaxation.nearest(a, need)
        self.gain, self.unit, pulled = np.zeros_like(weight), np.zeros_like(weight), np.zeros_like(weight)
        above, below = np.zeros_like(upper), np.zeros_like(lower)
        value = self._spread(relaxation)
        low, high = parts.low[some], parts.high[some]
        for layer, hull, (a, up, slope, offset, place) in zip(layers, hulls, met[::-1], strict=True):
            z = value @ layer.weight.T + layer.bias
            pulled[:, layer.bits] = side[:, layer.bits] * (z[:, layer.neuron] - layer.at)
            moved = a * (z - place)
            above[:, layer.rows], below[:, layer.rows] = np.where(up, moved, 0.0), np.where(up, 0.0, moved)
            value = slope * z + offset
            self.unit[:, layer.bits] = np.abs(a).mean(axis=1, keepdims=True)
            lo, hi = low[:, layer.rows], high[:, layer.rows]
            within, size = np.clip(z, lo, hi), np.abs(a)
            here = size * np.abs(slope * within + offset - layer.activation(within))
            error = np.where(np.isfinite(relaxation.error[layer.rows]), 2 * relaxation.error[layer.rows], 0.0)
            for j, turn in enumerate(layer.turns):
                n, at = layer.neuron[turn], layer.at[turn]
                v, s = hull.place[1 + j][:, n], hull.value[1 + j][:, n]
                anywhere = size[:, n] * (np.abs(slope[:, n] * v + offset[:, n] - s) + hull.gap[j][:, n])
                gain = np.nan_to_num(here[:, n] + _LOOSE * anywhere) + 1e-300
                free = (lo[:, n] < at - error[n]) & (hi[:, n] > at + error[n])
                self.gain[:, layer.bits.start + turn] = np.where(free, gain, 0.0)
        self.gradients = pulled, above, below

    def _spread(self, relaxation: Relaxation) -> Floats:
        """Return where the layers are looked at: the nearest point, in norm 1 spread over features that are almost as good."""
        if relaxation.norm != "1" or not relaxation.reach.is_free or self.normal.shape[1] == 0:
            return np.where(np.isfinite(self.point), self.point, 0.0)
        size = np.abs(self.normal)
        share = (size / np.maximum(size.max(axis=1, keepdims=True), 1e-300)) ** _SHARP
        share /= np.maximum(share.sum(axis=1, keepdims=True), 1e-300)
        return np.sign(self.normal) * share * np.where(np.isfinite(self.distance), self.distance, 0.0)[:, None]
