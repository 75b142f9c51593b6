"""Linear bounds: lines above and below each activation, and what any multipliers of them prove of the values after.

Carried back to the input, the lines closest to each activation give multipliers at once; a linear program gives better ones.
Every bound is rounded outwards, and of a linear program only the multipliers are used, in an inequality that holds whatever
they are.

Sources: the relaxation and the linear bounds are those of Zhang et al. 2018 (arXiv 1811.00866) and Singh et al. 2019
(DeepPoly); certificates from any multipliers follow Neumaier and Shcherbina 2004 (*Safe bounds in linear and
mixed-integer programming*).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relucidate.exact import SLACK, TINY, U, gamma
from relucidate.layers import Activation, Floats, Layer
from relucidate.ranges import Range, image, restricted, vertices

Indices = NDArray[np.intp]


# ---------------------------------------------------------------- lines above and below each activation


@dataclass(frozen=True, eq=False)
class Relaxed:
    """A layer whose activations are known to lie between lines, ``a >= slope * z + offset`` or ``<=``.

    Parameters
    ----------
    layer, z, a : the layer, and what its preactivations and values can be.
    neuron, slope, offset : (K,) of each line.
    side : (K,) 1 for a line below, -1 for a line above, 0 for a line that is the activation itself.
    below, above : (m,) the line that is closest in the middle of z, -1 where the range of `a` is closer.
    """

    layer: Layer
    z: Range
    a: Range
    neuron: Indices
    slope: Floats
    offset: Floats
    side: NDArray[np.int8]
    below: Indices
    above: Indices

    @staticmethod
    def of(layer: Layer, z: Range) -> Relaxed:
        """Return the tightest lines: the edges of the convex hull of each activation's graph over `z`."""
        activation = restricted(layer.activation, z)
        a = image(activation, z)
        exact = np.flatnonzero(~np.isfinite(activation.breakpoints).any(axis=1))
        middle = z.low / 2 + z.high / 2
        below, above = np.full(len(activation), -1), np.full(len(activation), -1)
        below[exact] = above[exact] = np.arange(len(exact))
        neuron, side = [exact], [np.zeros(len(exact), dtype=np.int8)]
        slope, offset = [activation.slopes[exact, 0]], [activation.offsets[exact, 0]]
        closest = {1: a.low.copy(), -1: -a.high}
        total = len(exact)
        for sign, rows, s, o in _edges(activation, z):
            # an edge without slope is the range of `a`
            rows, s, o = rows[s != 0], s[s != 0], o[s != 0]
            neuron.append(rows)
            side.append(np.full(len(rows), sign, dtype=np.int8))
            slope.append(s)
            offset.append(o)
            height = sign * (s * middle[rows] + o)
            better = height > closest[sign][rows]
            closest[sign][rows[better]] = height[better]
            (below if sign == 1 else above)[rows[better]] = total + np.flatnonzero(better)
            total += len(rows)
        lines = (np.concatenate(neuron), np.concatenate(slope), np.concatenate(offset))
        return Relaxed(layer, z, a, *lines, np.concatenate(side), below, above)

    @cached_property
    def owner(self) -> Any:
        """Matrix (K, m) with a 1 for the neuron of each line."""
        from scipy.sparse import csr_array

        k = len(self.neuron)
        return csr_array((np.ones(k), self.neuron, np.arange(k + 1)), shape=(k, len(self.layer.bias)))

    @cached_property
    def magnitude(self) -> Any:
        """|weight|."""
        return abs(self.layer.weight)

    def closest(self, r: Floats) -> Floats:
        """Return multipliers (n, K) that replace ``r @ a``, r (n, m), by the lines closest in the middle."""
        q = np.zeros((len(r), len(self.neuron)))
        for line, part in ((self.below, np.maximum(r, 0)), (self.above, np.minimum(r, 0))):
            used = np.flatnonzero(line >= 0)
            q[:, line[used]] += part[:, used]
        return q

    def allowed(self, q: Floats, r: Floats) -> Floats:
        """Return multipliers with the signs that make the inequality hold, whatever they were."""
        q = np.where(np.isfinite(q) & (q * self.side > 0), q, 0.0)
        same = np.flatnonzero(self.side == 0)
        q[:, same] = r[:, self.neuron[same]]
        return q


def _edges(activation: Activation, z: Range) -> Iterator[tuple[int, Indices, Floats, Floats]]:
    """Yield (side, neurons, slopes, offsets) of lines that bound activations with breakpoints inside `z`.

    Offsets are rounded so that the lines hold; which of them are edges of the hull is a matter of tightness alone.
    """
    open_ = np.flatnonzero(np.isfinite(activation.breakpoints).any(axis=1))
    at, value, error = (part[open_] for part in vertices(activation, z))
    if not np.isfinite(at).all():
        return
    for i in range(at.shape[1]):
        for j in range(i + 1, at.shape[1]):
            run = at[:, j] - at[:, i]
            ok = run > 0
            slope = np.divide(value[:, j] - value[:, i], run, out=np.zeros(len(run)), where=ok)
            height = value - slope[:, None] * at
            doubt = (4 * U * (np.abs(value) + np.abs(slope[:, None] * at)) + error) * SLACK + TINY
            low = np.nextafter((height - doubt).min(axis=1), -np.inf)
            high = np.nextafter((height + doubt).max(axis=1), np.inf)
            near = 1e-9 * (1 + np.abs(value).max(axis=1))
            for sign, offset in ((1, low), (-1, high)):
                touches = np.maximum(np.abs(height[:, i] - offset), np.abs(height[:, j] - offset)) <= near
                keep = ok & touches & np.isfinite(slope)
                yield sign, open_[keep], slope[keep], offset[keep]


def lower_bounds(
    relaxed: Sequence[Relaxed], box: Range, rows: Floats, bias: Floats, given: Sequence[Floats] | None = None
) -> Floats:
    """Return proved lower bounds (n,) of ``rows @ a + bias``, `a` being the values of the last relaxed layer.

    Parameters
    ----------
    given : per layer, multipliers (n, K) of its lines; by default each layer's closest lines.

    Notes
    -----
    For any q that is not negative on lines below and not positive on lines above, ``r @ a >= (r - sum q) @ a +
    q @ (slope * z + offset)``. The first term is bounded by the range of `a`; in the second, z is affine in the values of
    the layer before. Whatever q is, the bound holds, so a solver's word is never needed. All rounding is bounded as it
    happens: an error in a coefficient counts with the largest size of what it multiplies.
    """
    low, size, slack = bias.copy(), np.abs(bias), np.zeros(len(rows))
    terms, r = 8, rows
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for i in reversed(range(len(relaxed))):
            s = relaxed[i]
            before = relaxed[i - 1].a if i else box
            q = s.closest(r) if given is None else s.allowed(given[i], r)
            bent = q * s.slope
            v, rest = bent @ s.owner, r - q @ s.owner
            floor = np.minimum(rest * s.a.low, rest * s.a.high)
            low += floor.sum(axis=1) + q @ s.offset + v @ s.layer.bias
            size += np.abs(floor).sum(axis=1) + np.abs(q) @ np.abs(s.offset) + np.abs(v) @ np.abs(s.layer.bias)
            m = len(s.layer.bias)
            few = gamma(int(np.bincount(s.neuron, minlength=1).max()) + 3)
            slack += few * ((np.abs(r) + np.abs(q) @ s.owner) @ s.a.largest + (np.abs(bent) @ s.owner) @ s.z.largest)
            slack += gamma(m + 3) * ((np.abs(v) @ s.magnitude) @ before.largest)
            slack += TINY * (m + 3) * (1 + s.z.largest.sum() + s.a.largest.sum() + before.largest.sum())
            r = np.asarray(v @ s.layer.weight)
            terms += 2 * m + len(s.neuron) + 4
        floor = np.minimum(r * box.low, r * box.high)
        low += floor.sum(axis=1)
        size += np.abs(floor).sum(axis=1)
        terms += len(box.low)
        out = np.nextafter(low - (slack + gamma(terms) * size + terms * TINY) * SLACK, -np.inf)
    return np.where(np.isfinite(out), out, -np.inf)


# ---------------------------------------------------------------- linear programs


@dataclass(frozen=True, eq=False)
class Program:
    """The linear program of the lines of some layers: minimise ``r @ a`` of the last one.

    Variables are the input, then z and a of each layer; z needs no bounds of its own.
    """

    relaxed: Sequence[Relaxed]
    box: Range

    @cached_property
    def _at(self) -> list[tuple[int, int]]:
        """Where z and a of each layer begin."""
        out, at = [], len(self.box.low)
        for s in self.relaxed:
            m = len(s.layer.bias)
            out.append((at, at + m))
            at += 2 * m
        return out

    @cached_property
    def n_variables(self) -> int:
        return self._at[-1][1] + len(self.relaxed[-1].layer.bias)

    @cached_property
    def matrices(self) -> dict[str, Any]:
        """What `linprog` takes, the objective left out."""
        from scipy.sparse import block_array, csr_array, eye_array

        n, equal, below = self.n_variables, [], []
        equal_to: list[Floats] = []
        at_most: list[Floats] = []
        bounds = [np.column_stack([self.box.low, self.box.high])]
        for i, s in enumerate(self.relaxed):
            z, a = self._at[i]
            m = len(s.layer.bias)
            before = self._at[i - 1][1] if i else 0
            affine = csr_array(-1.0 * s.layer.weight)
            equal.append(_placed(affine, before, n) + _placed(eye_array(m, format="csr"), z, n))
            equal_to.append(s.layer.bias)
            lines = _placed(s.owner, a, n) - _placed(s.owner.multiply(s.slope[:, None]).tocsr(), z, n)
            same = s.side == 0
            equal.append(lines[same])
            equal_to.append(s.offset[same])
            sign = -s.side[~same].astype(np.float64)
            below.append(lines[~same].multiply(sign[:, None]).tocsr())
            at_most.append(sign * s.offset[~same])
            bounds += [np.tile([-np.inf, np.inf], (m, 1)), np.column_stack([s.a.low, s.a.high])]

        def together(parts: list[Any]) -> Any:
            return block_array([[part] for part in parts], format="csr")

        return {
            "A_ub": together(below),
            "b_ub": np.concatenate(at_most),
            "A_eq": together(equal),
            "b_eq": np.concatenate(equal_to),
            "bounds": np.vstack(bounds),
        }

    def multipliers(self, r: Floats, seconds: float) -> tuple[list[Floats], Floats] | None:
        """Return per layer the solver's multipliers (1, K) for ``r @ a``, r (m,), and its minimiser (n_features,)."""
        objective = np.zeros(self.n_variables)
        objective[self._at[-1][1] :] = r
        found = _solve(objective, self.matrices, seconds)
        if found is None:
            return None
        x, marginals = found
        out, start = [], 0
        for s in self.relaxed:
            q = np.zeros((1, len(s.neuron)))
            inequality = np.flatnonzero(s.side != 0)
            q[0, inequality] = -marginals[start : start + len(inequality)] * s.side[inequality]
            start += len(inequality)
            out.append(q)
        return out, x[: len(self.box.low)]


def _placed(matrix: Any, column: int, n: int) -> Any:
    """Return a csr matrix with its columns moved to begin at `column`, of `n` columns in all."""
    return type(matrix)((matrix.data, matrix.indices + column, matrix.indptr), shape=(matrix.shape[0], n))


def _solve(objective: Floats, matrices: dict[str, Any], seconds: float) -> tuple[Floats, Floats] | None:
    """Return the solver's minimiser and the multipliers of its inequalities, neither of which anyone has to believe."""
    from scipy.optimize import linprog

    found = linprog(objective, **matrices, method="highs", options={"time_limit": max(seconds, 1e-3)})
    marginals = getattr(found.get("ineqlin"), "marginals", None)
    if found.x is None or marginals is None or len(marginals) != len(matrices["b_ub"]):
        return None
    return np.asarray(found.x), np.asarray(marginals)
