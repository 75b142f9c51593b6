"""The nearest point that a network decides otherwise, with a bound that nothing nearer is."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np

from relucidate.errors import ArgumentError, clipped
from relucidate.exact import U
from relucidate.layers import Bools, Floats, is_sparse
from relucidate.least_distances import DUAL, FAR, Integers, Norm, Programs, Reach, norm_of
from relucidate.network import Network
from relucidate.relaxing import Parts, Relaxation
from relucidate.roundings import Roundings

STEP = 1e-7  # of the way of a decision to the level: so far beyond the level counts as across
LARGE = 1e-3  # of the way: a step that is larger, for rounding, says little of what lies nearer
_SAME = 1e-6  # relative gap between the best point found and the proved bound, up to which they count as equal
_NARROWEST = 64  # times the first ball fits into one that reaches the first point found
_WIDER = 2.0  # the second ball against the first; the next is wider by the square of that, and so on
_TOGETHER = 32  # parts cut at once
_FIRST = 64  # programs solved to see whether they end parts
_HOPE = 8  # more of them for each part that one ended
_TRIES = 20  # steps of the first guess
_CELLS = 32  # regions that a part may consist of, with neurons at a breakpoint to rounding, to be looked at one by one


class Search(Enum):
    """How the search for the nearest row decided otherwise ended, with what to do about it."""

    FOUND = "The nearest one is found: no point nearer is beyond the level."
    NONE = "Nothing that can be reached is beyond the level: widen `bounds`, or let more features move."
    FAR = "Nothing nearer than `lower_bound` is beyond the level, and farther was not looked: give a larger `scale`."
    BUDGET = "The budget was reached before the nearest one was proved: raise `budget`, or freeze or bound features."
    UNDECIDED = "Rounding hides whether something nearer is beyond the level: trust `lower_bound`."
    SKIPPED = "It was not searched for, since `budget` is 0: give a `budget`."
    UNASKED = "A regression decides nothing until a level is named: give `level`, on the command line --threshold."


# ---------------------------------------------------------------- what is aimed at


@dataclass(frozen=True, eq=False)
class Target:
    """What "decided otherwise" means. output : -1 where classes compete."""

    output: int
    level: float

    @staticmethod
    def of(network: Network, level: Any, output: str | int | None) -> Target:
        if not isinstance(level, int | float | np.number) or isinstance(level, bool) or not np.isfinite(level):
            raise ArgumentError(f"level is {clipped(level)}; expected a finite number, a decision of the network.")
        if network.link != "softmax":
            return Target(0 if output is None else network.output_index(output), float(level))
        if output is not None or level != 0:
            raise ArgumentError(
                "A softmax network is decided otherwise when another class is on top; it takes neither output nor level. For "
                "one class against another, give network.contrast(one, other)."
            )
        return Target(-1, 0.0)

    def sides(self, decision: Floats) -> tuple[Integers, Floats]:
        """Return side and margin (n,) of decisions (n, n_outputs)."""
        if self.output >= 0:
            margin = decision[:, self.output] - self.level
            return (margin > 0).astype(np.intp), margin
        top = decision.argmax(axis=1)
        if decision.shape[1] == 1:
            return top, np.full(len(top), np.inf)
        best = np.sort(decision, axis=1)
        return top, best[:, -1] - best[:, -2]

    def lines(self, slope: Floats, value: Floats, side: int) -> tuple[Floats, Floats]:
        """Return (R, d) and (R,): decided otherwise is where one of ``row @ t >= rest`` holds, of an affine decision."""
        if self.output >= 0:
            sign = 1.0 if side else -1.0
            return -sign * slope[[self.output]], sign * (value[[self.output]] - self.level)
        rivals = np.arange(len(value)) != side
        return slope[rivals] - slope[side], value[side] - value[rivals]

    def across(self, decision: Floats, side: int, by: float = 0.0) -> bool:
        """Return whether a decision (n_outputs,) is on another side, by more than so much."""
        if self.output >= 0:
            value = decision[self.output] - self.level
            return bool(value < -by if side else value > by)
        return bool((np.delete(decision, side) > decision[side] + by).any())


# ---------------------------------------------------------------- regions


@dataclass(frozen=True, eq=False)
class Region:
    """One pattern's affine pieces around an origin, in units of the scale: the region is where ``inward @ t + slack >= 0``.

    Parameters
    ----------
    bits : (n_bits,). bit : (B,) of each wall. layer, neuron : (B,).
    stuck : bits of neurons that are at their breakpoint throughout. slope : (n_outputs, d), value : (n_outputs,).
    inside : (n_bits,) how far neurons that do not move at all are on their bit's side of the breakpoint, in what rounding may
        change; 0 for others.
    """

    bits: Bools
    inward: Floats
    slack: Floats
    bit: Integers
    layer: Integers
    neuron: Integers
    stuck: Integers
    slope: Floats
    value: Floats
    inside: Floats

    @property
    def empty(self) -> bool:
        """Whether a neuron that does not move is on the wrong side, by more than coefficients that rounding hid may reach."""
        return bool((self.inside < -FAR).any())


class Geometry:
    """A network seen from a point, in units of a scale: ``x = origin + scale * t``.

    Parameters
    ----------
    free : which features t has; all by default.
    """

    def __init__(self, network: Network, origin: Floats, scale: Floats, free: Any = slice(None)) -> None:
        self.network = network
        first: Any = network.layers[0].weight
        dense = first.toarray() if is_sparse(first) else first
        self.map = (dense * scale)[:, free]
        self.constant = dense @ origin + network.layers[0].bias
        self.size = np.abs(self.map)
        self.constant_size = np.abs(dense) @ np.abs(origin) + np.abs(network.layers[0].bias)
        self.magnitude = [abs(layer.weight) for layer in network.layers]

    def steepest(self, norm: Norm) -> float:
        """Return what no slope of a decision exceeds by much: all neurons on, all weights of one sign."""
        slope: Any = self.size
        for magnitude in self.magnitude[1:]:
            slope = magnitude @ slope
        return float(norm_of(np.asarray(slope), DUAL[norm]).max(initial=0.0))

    def rounding(self, bits: Bools) -> float:
        """Return how much rounding may change decisions at the origin, which has the pattern.

        Notes
        -----
        A neuron that is at its breakpoint to rounding passes it on as its steepest piece does.
        """
        roundings = Roundings(self.network.layers, self.magnitude, self.size[:, :0], self.constant_size)
        c, start = self.constant, 0
        for i, layer in enumerate(self.network.layers):
            c = np.asarray(layer.weight @ c) + layer.bias if i else c
            error = roundings.bounds()[1]
            if i == len(self.network.layers) - 1:
                break
            a, (neuron, k) = layer.activation, layer.activation.switches
            stop = start + len(neuron)
            slopes, offsets = (p[0] for p in a.pieces_in_force(bits[None, start:stop]))
            close = np.abs(c[neuron] - a.breakpoints[neuron, k]) <= error[neuron]
            value = slopes * c + offsets
            slopes = slopes.copy()
            slopes[neuron[close]] = np.abs(a.slopes[neuron[close]]).max(axis=1)
            roundings.take(np.zeros((len(c), 0)), c, slopes, offsets)
            c, start = value, stop
        return float(error.max(initial=0.0))

    def relaxation(self, reach: Reach, target: Target, side: int, step: float) -> Relaxation:
        """Return the bounds of parts around the origin, of what is decided otherwise by a step."""
        last = self.network.layers[-1]
        weight: Any = last.weight
        lines, rests = target.lines(weight.toarray() if is_sparse(weight) else weight, last.bias, side)
        return Relaxation(
            self.network, self.map, self.constant, self.size, self.constant_size, reach, lines, rests + step
        )

    def decisions(self, t: Floats) -> Floats:
        """Return the decisions (n, n_outputs) at points (n, d)."""
        z = t @ self.map.T + self.constant
        for before, layer in zip(self.network.layers, self.network.layers[1:], strict=False):
            z = np.asarray(layer.weight @ before.activation(z).T).T + layer.bias
        return z

    def bits(self, t: Floats) -> Bools:
        """Return the pattern at a point, to rounding."""
        z, parts = self.map @ t + self.constant, [np.zeros(0, dtype=bool)]
        for layer, after in zip(self.network.layers, self.network.layers[1:], strict=False):
            parts.append(layer.activation.bits(z[None])[0])
            z = np.asarray(after.weight @ layer.activation(z[None])[0]) + after.bias
        return np.concatenate(parts)

    def at(self, bits: Bools, tied: Any = None, way: Floats | None = None) -> Region:
        """Return the region of a pattern.

        Parameters
        ----------
        tied, way : bits that are at their breakpoint where the region is entered along a way (d,), and are set by how
            they change on it. A way alone: all bits are set, as they are right behind the origin.

        Notes
        -----
        A coefficient is 0 if it is no larger than the rounding of the products that it is a sum of.
        """
        v, c, sv, sc = self.map, self.constant, self.size, self.constant_size
        layers, bits = self.network.layers, bits.copy()
        roundings = Roundings(layers, self.magnitude, sv, sc)
        walls: list[tuple[Any, ...]] = []
        stuck: list[Integers] = [np.zeros(0, dtype=np.intp)]
        inside = np.zeros(len(bits))
        start, terms = 0, 2 + self.network.n_features
        for i, layer in enumerate(layers):
            if i:
                weight: Any = layer.weight
                v, c = np.asarray(weight @ v), weight @ c + layer.bias
                sv, sc = np.asarray(self.magnitude[i] @ sv), self.magnitude[i] @ sc + np.abs(layer.bias)
                terms += weight.shape[1] + 2
            activation = layer.activation
            neuron, k = activation.switches
            at_0 = np.abs(v) <= 4 * terms * U * sv
            gap = c[neuron] - activation.breakpoints[neuron, k]
            rounding = 4 * terms * U * (sc[neuron] + np.abs(activation.breakpoints[neuron, k]))
            close = np.abs(gap) <= rounding
            if i and (v[at_0].any() or close.any()):
                error_v, error_c = roundings.bounds()
                at_0 &= np.abs(v) <= error_v
                close &= np.abs(gap) <= error_c[neuron] + 4 * U * np.abs(activation.breakpoints[neuron, k])
            v = np.where(at_0, 0.0, v)
            if i == len(layers) - 1:
                break
            stop = start + len(neuron)
            place = np.arange(start, stop)
            normal = v[neuron]
            if way is not None:
                at = close if tied is None else np.isin(place, tied)
                if tied is None:
                    bits[place] = gap > 0
                bits[place[at]] = normal[at] @ way > 1e-12 * np.abs(normal[at]) @ np.abs(way)
            sign = np.where(bits[start:stop], 1.0, -1.0)
            real = normal.any(axis=1)
            stuck.append(place[~real & close])
            inside[place[~real]] = (sign * gap / np.maximum(rounding, np.finfo(float).tiny))[~real]
            walls.append(
                (sign[real, None] * normal[real], (sign * gap)[real], place[real], np.full(real.sum(), i), neuron[real])
            )
            slopes, offsets = activation.pieces_in_force(bits[None, start:stop])
            roundings.take(v, c, slopes[0], offsets[0])
            v, c = slopes[0][:, None] * v, slopes[0] * c + offsets[0]
            sv, sc = np.abs(slopes[0])[:, None] * sv, np.abs(slopes[0]) * sc + np.abs(offsets[0])
            start = stop
        none = np.zeros(0, dtype=np.intp)
        parts = [np.concatenate(p) for p in zip(*walls, strict=True)] or [
            np.zeros((0, v.shape[1])),
            np.zeros(0),
            none,
            none,
            none,
        ]
        return Region(bits, parts[0], parts[1], parts[2], parts[3], parts[4], np.concatenate(stuck), v, c, inside)


# ---------------------------------------------------------------- walking across regions


@dataclass(frozen=True, eq=False)
class Found:
    """What a search found. point : (d,), NaN if nothing. distance : inf if nothing. step : beyond the level, see `Walks`."""

    point: Floats
    distance: float
    bound: float
    parts: int
    status: Search
    step: float


@dataclass(frozen=True, eq=False)
class Walks:
    """Searches for the nearest row decided otherwise, one row at a time."""

    network: Network
    target: Target
    norm: Norm
    budget: int

    def nearest(
        self, x: Floats, scale: Floats, low: Floats, high: Floats, decision: Floats, side: int, far: float = FAR
    ) -> Found:
        """Return what the search from one row x (d,) finds between low and high (d,).

        Parameters
        ----------
        far : no farther than this, or than so many times the row, is looked.

        Notes
        -----
        What is proved is proved of points beyond the level by a step. Where rounding makes that no small part of the way to
        the level, what lies beyond by less may be nearer: then only what holds without a step is kept.
        """
        free = (low < x) | (high > x)
        margin = float(np.abs(self.target.sides(decision[None])[1][0]))
        walk = _Walk(
            geometry=Geometry(self.network, x, scale, free),
            programs=Programs(((low - x) / scale)[free], ((high - x) / scale)[free], self.norm),
            target=self.target,
            side=side,
            margin=margin if np.isfinite(margin) else 0.0,
            far=max(far, FAR * float(np.abs(x / scale).max(initial=0.0))),
        )
        status, none = walk.run(self.budget), np.full(len(x), np.nan)
        point, distance, bound = none, np.inf, walk.bound
        if walk.step > LARGE * margin:
            bound = min(bound, walk.sure)
        if walk.move is not None:
            point = x.copy()
            point[free] = np.clip(x[free] + scale[free] * walk.move, low[free], high[free])
            distance = float(norm_of((point - x) / scale, self.norm))
            if not self.target.across(self.network.trace(point[None], patterns=False).decision[0], side):
                return Found(none, np.inf, bound, walk.parts, Search.UNDECIDED, walk.step)
            bound = min(bound, distance)
        proved = walk.bound if status is Search.FAR else distance * (1 - _SAME)
        if status is not Search.BUDGET and bound < min(walk.bound, proved):
            status = Search.UNDECIDED
        return Found(point, distance, bound, walk.parts, status, walk.step)


class _Walk:
    """The search from one row, which is at t = 0.

    Parameters
    ----------
    margin : of the row, 0 if nothing competes. far : no t longer than this is looked for.

    Notes
    -----
    Balls of growing radius, up to the best point found, are each cut into parts until what is proved of every part reaches
    the radius. The part with the least bound comes first. A part without neurons that may be on either side is one region,
    or less: there the nearest point is that of a program.
    """

    def __init__(
        self, geometry: Geometry, programs: Programs, target: Target, side: int, margin: float, far: float
    ) -> None:
        self.geometry, self.programs, self.target = geometry, programs, target
        self.side, self.margin, self.far = side, margin, far
        self.step = 0.0  # of the decision, beyond the level
        self.sure = 0.0  # what is proved without a step
        self.move: Floats | None = None
        self.best = np.inf
        self.bound = 0.0
        self.parts = 0
        self._probe = np.random.default_rng(0).normal(size=geometry.map.shape[1])
        self._floor = np.inf  # no point of the regions looked at is nearer
        self._tried = self._helped = 0

    def run(self, budget: int) -> Search:
        """Search, and return how it ended."""
        start = self.geometry.at(np.zeros(self.geometry.network.n_bits, dtype=bool), way=self._probe)
        self.step = STEP * self.margin + 4 * self.geometry.rounding(start.bits)
        if self.step == 0:  # a row exactly at the level has no margin, and may have no rounding
            self.step = 1e-5 * STEP * self.geometry.steepest(self.programs.norm)
        self.step = max(self.step, np.finfo(float).tiny)
        if not len(start.inward):  # one region is all there is
            self.far = np.inf
        self._guess(start)
        if self.move is None:
            self._descend()
        self._improve()
        lines, rests = self._lines(start)
        model = float(self.programs.one_wall(lines, rests).min(initial=np.inf))
        walls = self.programs.one_wall(-start.inward, start.slack)
        wall = float(walls.min(initial=np.inf))
        self.bound = min(model, wall, self.best)
        steep = lines.any(axis=1)  # where the decision is the same everywhere, a row at the level stays there
        self.sure = min(float(self.programs.one_wall(lines[steep], rests[steep] - self.step).min(initial=np.inf)), wall)
        if len(lines) == 0 or not len(start.inward):
            self.parts = 1
            self._cross(start)
            return self._ended()
        relaxation = self.geometry.relaxation(self.programs.reach, self.target, self.side, self.step)
        first = float(np.append(walls[walls > 0], self.far).min()) if np.isinf(model) else model
        radius = max(first, self.best / _NARROWEST if self.move is not None else 0.0)
        wider = _WIDER
        while True:
            if radius * _WIDER**0.5 > self._within:
                radius = self._within
            if self.parts and self.parts + len(lines) > budget:
                return Search.BUDGET
            ahead = self._prove(relaxation, radius, budget)
            self.bound = max(self.bound, min(ahead, radius, self._floor, self.best))
            if ahead < min(radius, self._within) * (1 - _SAME / 2):
                return Search.BUDGET
            if radius >= self._within * (1 - _SAME / 2) or self._floor <= radius:
                return self._ended()
            radius *= wider
            wider *= wider

    def _prove(self, relaxation: Relaxation, radius: float, budget: int) -> float:
        """Cut a ball into parts until none has a lower bound than the radius, or the best point; return the lowest."""
        queue: list[tuple[float, int, Parts, int]] = []
        pushed = 0
        new = relaxation.whole(min(radius, self._within))
        self.parts += len(new)
        while True:
            limit = min(radius, self._within)
            for k in np.flatnonzero(new.least < limit):
                pushed += 1
                heapq.heappush(queue, (float(new.least[k]), pushed, new, int(k)))
            if not queue or queue[0][0] >= limit * (1 - _SAME / 2):
                break
            taken: list[Parts] = []
            room = min(_TOGETHER, (budget - self.parts) // 2)
            while queue and len(taken) < room and queue[0][0] < (limit := min(radius, self._within)):
                _, _, parts, i = heapq.heappop(queue)
                part = parts.taken([i])
                if not part.gain.any():
                    self._finish(part, relaxation)
                elif self._reached(part, relaxation, limit) < limit:
                    taken.append(part)
            if not taken and room < 1:
                break
            new = new.taken([])
            if taken:
                these = Parts.joined(taken)
                new = relaxation.bounded(these.split(these.gain.argmax(axis=1)), min(radius, self._within))
                self.parts += len(new)
                self._try(new.point[new.least < min(radius, self._within)])
        return queue[0][0] if queue else np.inf

    def _reached(self, part: Parts, relaxation: Relaxation, limit: float) -> float:
        """Return the distance to what all half-spaces of a part have in common: that to one of them may be much less."""
        if part.side.any() and self._tried < _FIRST + _HOPE * self._helped:  # it may not be worth its time
            least = self.programs.nearest(*relaxation.walls(part), limit, roughly=True)[1]
            self._tried += 1
            self._helped += int(least >= limit)
            part.least[0] = max(part.least[0], least)
        return float(part.least[0])

    def _ended(self) -> Search:
        """Return how a search ended that has looked everywhere."""
        self.bound = max(self.bound, min(self._floor, self._within))
        corner = np.maximum(-self.programs.low, self.programs.high)
        if self.move is None and self._floor == np.inf:
            # beyond what is looked for, nothing is proved, unless nothing lies there
            if float(norm_of(corner, self.programs.norm)) > self.far:
                return Search.FAR
            self.bound = np.inf
            return Search.NONE
        if self.move is None:
            return Search.UNDECIDED
        return Search.FOUND if self.best <= self.bound * (1 + _SAME) + 1e-300 else Search.UNDECIDED

    @property
    def _within(self) -> float:
        return min(self.best, self.far)

    def _lines(self, region: Region) -> tuple[Floats, Floats]:
        """Return what is to be crossed by the decision of a region, by the step."""
        lines, rest = self.target.lines(region.slope, region.value, self.side)
        return lines, rest + self.step

    def _cross(self, region: Region) -> None:
        """Find the nearest point of a region that is decided otherwise."""
        lines, rest = self._lines(region)
        alone = self.programs.one_wall(lines, rest) if len(lines) else np.zeros(0)
        for k in np.argsort(alone, kind="stable"):
            if alone[k] >= self._within:
                break
            self._solve(lines[k], rest[k], region.inward, region.slack)

    def _solve(self, line: Floats, rest: float, inward: Floats, slack: Floats) -> None:
        """Find the nearest point beyond a line and within walls."""
        walls = np.concatenate([line[None], inward])
        point, least = self.programs.nearest(walls, np.concatenate([[rest], -slack]), self._within)
        if least < self._within:
            self._floor = min(self._floor, least)
        if point is not None:
            self._take(point)

    def _finish(self, part: Parts, relaxation: Relaxation) -> None:
        """Find the nearest point of a part in which no neuron may be on either side of a breakpoint, but for rounding.

        Notes
        -----
        Neurons that are at a breakpoint to rounding are given both pieces in turn. Where these are too many they have no wall;
        which piece they are given changes the decision by no more than rounding may, which the line gives way by.
        """
        low, high, side = part.low[0, relaxation.neuron], part.high[0, relaxation.neuron], part.side[0]
        bits = np.where(side != 0, side > 0, low + high > 2 * relaxation.at)
        sure = (side != 0) | (low >= relaxation.at) | (high <= relaxation.at)
        k, cells = int(part.rival[0]), self._cells(bits, sure)
        for region in cells or ():
            lines, rest = self._lines(region)
            self._solve(lines[k], float(rest[k]), region.inward, region.slack)
        if cells is None:
            region = self.geometry.at(bits)
            lines, rest = self._lines(region)
            walls = sure[region.bit]
            for give in (8 * len(relaxation.layers) * float(relaxation.error_there[k]), 0.0):
                self._solve(lines[k], float(rest[k]) - give, region.inward[walls], region.slack[walls])

    def _cells(self, bits: Bools, sure: Bools) -> list[Region] | None:
        """Return the regions that bits which are not sure make, None if there are too many."""
        cells = [self.geometry.at(bits)]
        for p in np.flatnonzero(~sure):  # what a neuron does depends on the bits of layers before it only
            for n, region in enumerate(cells[:]):
                walled, wrong = bool((region.bit == p).any()), bool(region.inside[p] < 0)
                if not walled and not wrong:
                    continue
                other = region.bits.copy()
                other[p] ^= True
                if wrong:
                    cells[n] = self.geometry.at(other)
                elif len(cells) >= _CELLS:
                    return None
                else:
                    cells.append(self.geometry.at(other))
        return [region for region in cells if not region.empty]

    def _across(self, point: Floats) -> bool:
        """Return whether a point is decided otherwise; by half the step, since a program meets the step to rounding."""
        return self.target.across(self.geometry.decisions(point[None])[0], self.side, self.step / 2)

    def _take(self, point: Floats) -> None:
        """Keep a point if it is decided otherwise and the nearest so far."""
        size = float(norm_of(point, self.programs.norm))
        if size < self._within and self._across(point):
            self.best, self.move = size, point

    # ------------------------------------------------------------ points, wherever they come from

    def _try(self, points: Floats) -> None:
        """Look at points that half-spaces come nearest at, and as far the same way as the best point is."""
        points = points[np.isfinite(points).all(axis=1)]
        size = norm_of(points, self.programs.norm)
        points, size = points[size > 0], size[size > 0]
        if np.isfinite(self.best):
            farther = points * ((1 - 1e-9) * self.best / size)[:, None]
            points = np.concatenate([points, np.clip(farther, self.programs.low, self.programs.high)])
        decisions = self.geometry.decisions(points)
        for point, decision in zip(points, decisions, strict=True):
            near = float(norm_of(point, self.programs.norm)) < self._within
            if near and self.target.across(decision, self.side, self.step / 2):
                self._back(point)
                self._improve()

    def _guess(self, region: Region) -> None:
        """Find some point that is decided otherwise: to where the local model says, anew from there, then back.

        Notes
        -----
        Moosavi-Dezfooli, Fawzi and Frossard 2016 (DeepFool), with each step taken from the row itself.
        """
        for _ in range(_TRIES):
            move = self._towards(region, np.zeros(len(self._probe)))
            if move is None:
                return
            if self._across(move):
                before = self.best
                self._back(move)
                if self.move is None or not self.best < before * (1 - 1e-3):
                    return
            region = self.geometry.at(self.geometry.bits(move if self.move is None else self.move))

    def _descend(self) -> None:
        """Find some point that is decided otherwise, with each step taken from the one before."""
        at = np.zeros(len(self._probe))
        for _ in range(5 * _TRIES):
            move = self._towards(self.geometry.at(self.geometry.bits(at)), at)
            if move is None:
                return
            at = np.clip(at + move, self.programs.low, self.programs.high)
            if self._across(at):
                self._back(at)
                return

    def _towards(self, region: Region, at: Floats) -> Floats | None:
        """Return the shortest move from a point to where a region's model is decided otherwise, None if it is too far."""
        lines, rest = self._lines(region)
        if len(lines) == 0:
            return None
        low, high = (np.broadcast_to(v - at, lines.shape) for v in (self.programs.low, self.programs.high))
        distance, moves = Reach(low, high, self.programs.norm).half_space(lines, rest - lines @ at)
        k = int(distance.argmin())
        return moves[k] if distance[k] < self.far else None

    def _back(self, far: Floats) -> None:
        """Halve the way to a point decided otherwise, and find the nearest in the region where the decision changes."""
        near, across = 0.0, 1.0
        for _ in range(20):
            middle = (near + across) / 2
            if self._across(middle * far):
                across = middle
            else:
                near = middle
        self._take(across * far)
        floor = self._floor
        self._cross(self.geometry.at(self.geometry.bits(across * far)))
        self._floor = floor  # the search comes to this region in its turn

    def _improve(self) -> None:
        """Go on to regions next to the best point as long as that leads nearer."""
        while self.move is not None:
            before, floor = self.best, self._floor
            region = self.geometry.at(self.geometry.bits(self.move))
            slack = region.inward @ self.move + region.slack
            for wall in np.flatnonzero(np.abs(slack) <= 1e-7 * self.best * norm_of(region.inward, "2")):
                bits = region.bits.copy()
                bits[region.bit[wall]] ^= True
                self._cross(self.geometry.at(bits))
                if self.best < before * (1 - 1e-4):
                    break
            self._floor = floor
            if not self.best < before * (1 - 1e-4):
                return
