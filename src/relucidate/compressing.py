"""Compression without loss: a smaller network that equals the original on a box, with a proof of every removal.

A breakpoint that no preactivation crosses on the box does nothing there. What preactivations can reach is bounded by
intervals, then by linear bounds carried back to the input, then by linear programs; every bound is rounded outwards, and
of a linear program only the multipliers are used, in an inequality that holds whatever they are. Then neurons that are
constant, affine, proportional or without influence leave the network.

Sources: the relaxation and the linear bounds are those of Zhang et al. 2018 (arXiv 1811.00866) and Singh et al. 2019
(DeepPoly); certificates from any multipliers follow Neumaier and Shcherbina 2004 (*Safe bounds in linear and
mixed-integer programming*); the idea of removing stable neurons is that of Serra et al. 2020 (arXiv 2001.00218).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from relucidate.displaying import in_notebook
from relucidate.errors import ArgumentError, clipped, shown
from relucidate.exact import SLACK, TINY, Bounds, U, thresholds
from relucidate.layers import Activation, Bools, Floats, Layer, Matrix, is_sparse
from relucidate.network import Faithfulness, Network, assert_faithful

if TYPE_CHECKING:
    import pandas as pd

Indices = NDArray[np.intp]

EQUAL = 2.0**-50  # relative difference of weights that came from one number by scaling and rounding
SAME = 1e-12  # largest |difference| / (1 + |decision|) between the two networks
_CHECK_ROWS = 100_000
_CHECK_CELLS = 2**22
_PROBE_CELLS = 2**20
_ALL_CORNERS = 10  # features up to which every corner of the box is tried
_ROUNDS = 4
_ROW_CELLS = 2**22
# A composed layer is kept as two where it would store much more than they do: by this factor, and in all.
_BOTTLENECK_FACTOR = 2
_BOTTLENECK_NUMBERS = 50_000

KEPT, DEAD, ALWAYS_ON, JOINED, WITHOUT_INFLUENCE = range(5)


# ---------------------------------------------------------------- results


@dataclass(frozen=True, eq=False)
class Switches:
    """Breakpoints of hidden neurons, each with what was proved of its neuron's preactivation on the box.

    Parameters
    ----------
    layer, neuron, breakpoint : (n,) which: hidden layers, their neurons and the breakpoints of one, each from 0.
    at : (n,) the breakpoint's place on the axis of preactivations: 0 for a ReLU.
    low, high : (n,) proved bounds on the preactivation.
    how : (n,) what decided it ("interval", "symbolic" or "linear program"), or why it is not decided.
    round : (n,) 1 if proved of the network that was given; later rounds prove it of what the earlier ones left, which
        is the same function to rounding.
    """

    layer: Indices
    neuron: Indices
    breakpoint: Indices
    at: Floats
    low: Floats
    high: Floats
    how: tuple[str, ...]
    round: Indices

    def __len__(self) -> int:
        return len(self.layer)

    _repr_html_ = in_notebook

    def to_frame(self) -> pd.DataFrame:
        """Return one row per breakpoint."""
        import pandas as pd

        return pd.DataFrame({name: getattr(self, name) for name in self.__dataclass_fields__})

    @staticmethod
    def _of(rows: Sequence[tuple[Any, ...]]) -> Switches:
        layer, neuron, k, at, low, high, how, number = zip(*rows, strict=True) if rows else [()] * 8
        whole = [np.array(column, dtype=np.intp) for column in (layer, neuron, k, number)]
        reals = [np.array(column, dtype=np.float64) for column in (at, low, high)]
        return Switches(whole[0], whole[1], whole[2], reals[0], reals[1], reals[2], tuple(how), whole[3])


@dataclass(frozen=True, eq=False)
class Removed:
    """What became of the neurons of each hidden layer.

    Parameters
    ----------
    before : (L,) neurons in the network given.
    dead : (L,) constant on the box; the constant went into the next bias.
    always_on : (L,) affine on the box.
    joined : (L,) proportional to another neuron of the layer.
    without_influence : (L,) nothing after them uses them.
    carried : (L,) identity neurons that carry what the affine ones did past the layer.
    after : (L,) neurons now: ``before - dead - always_on - joined - without_influence + carried``; 0 for a layer that
        was composed into the next.
    """

    before: Indices
    dead: Indices
    always_on: Indices
    joined: Indices
    without_influence: Indices
    carried: Indices
    after: Indices

    _repr_html_ = in_notebook

    def to_frame(self) -> pd.DataFrame:
        """Return one row per hidden layer."""
        import pandas as pd

        columns = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return pd.DataFrame(columns).rename_axis("layer")


@dataclass(frozen=True, eq=False)
class Compressed:
    """A smaller network that equals the original on a box.

    Parameters
    ----------
    network : the smaller one, of the same features, link and outputs. Outside the box it may be another function.
    lower, upper : (n_features,) the box.
    removed : what became of the neurons, layer by layer.
    proof : breakpoints that no preactivation crosses on the box, each with its bound.
    undecided : breakpoints that were neither proved idle nor seen to switch; their neurons were kept.
    faithfulness : decisions of both networks compared on random points and corners of the box.
    seconds : how long it took.
    """

    network: Network
    lower: Floats
    upper: Floats
    removed: Removed
    proof: Switches
    undecided: Switches
    faithfulness: Faithfulness
    seconds: float

    _repr_html_ = in_notebook

    def to_frame(self) -> pd.DataFrame:
        """Return one row per hidden layer of the original, see `Removed`."""
        return self.removed.to_frame()

    def __repr__(self) -> str:
        r = self.removed
        doubt = f", {len(self.undecided):,} breakpoints undecided" if len(self.undecided) else ""
        return (
            f"Compressed: {int(r.before.sum()):,} → {int(r.after.sum()):,} neurons in {len(self.network.hidden)} of "
            f"{len(r.before)} hidden layers, equal on the box to {self.faithfulness.max_difference:.1e} on "
            f"{self.faithfulness.n:,} points{doubt}"
        )


@dataclass(frozen=True)
class Progress:
    """How far a compression is.

    Parameters
    ----------
    layer, layers : hidden layer being bounded, and how many there are. round : how many times over, from 1.
    undecided : breakpoints still in doubt in this layer. seconds_left : of the time budget.
    """

    layer: int
    layers: int
    round: int
    undecided: int
    seconds_left: float


# ---------------------------------------------------------------- the verb


def compress(
    network: Network,
    box: Any,
    *,
    lp: bool = True,
    time_budget: float = 60.0,
    tolerance: float = EQUAL,
    max_difference: float = SAME,
    check_rows: int = _CHECK_ROWS,
    random_state: int = 0,
    progress: Callable[[Progress], None] | None = None,
) -> Compressed:
    """Return a smaller network that equals `network` on a box.

    Parameters
    ----------
    box : a tuple ``(lower, upper)`` of numbers or of arrays with one number per encoded feature; a mapping from feature
        name to ``(low, high)``, where indicators of levels may be left out; or a table of rows, of which the smallest and
        largest value of each feature are taken. Bounds may be infinite.
    lp : whether to try linear programs where cheaper bounds do not decide.
    time_budget : seconds for linear bounds and linear programs. What they did not come to is in `undecided`.
    tolerance : largest relative difference between the weights of neurons that are joined as proportional. The default
        joins those that differ by the rounding of their factor alone.
    max_difference : largest |difference| / (1 + |decision|) allowed between the two networks.
    check_rows : on how many points of the box they are compared.
    random_state : of these points.
    progress : called before each layer and while linear programs are solved.

    Raises
    ------
    ArgumentError : the box does not fit the features or is empty; another argument makes no sense.
    UnfaithfulError : the networks differ by more than `max_difference` on the box, by rounding; raise it if the
        original's own rounding is as large.

    Notes
    -----
    A breakpoint is idle if it lies outside the open interval of its neuron's preactivations. Bounds are proved of the
    real function that the stored weights define. Folding constants and composing affine layers rounds, as every
    evaluation of the network does.
    Cost: intervals as one forward pass, linear bounds as one backward product per pair of layers, linear programs of all
    neurons before, one for each breakpoint in doubt.

    Examples
    --------
    >>> import numpy as np, relucidate as rl
    >>> from relucidate.compressing import compress
    >>> net = rl.load(([np.array([[1.0, -1.0]]), np.ones((2, 1))], [np.array([0.5, -2.0]), np.zeros(1)]))
    >>> compress(net, (0.0, 1.0)).to_frame()[["before", "dead", "always_on", "after"]].values.tolist()
    [[2, 1, 1, 0]]
    """
    start = time.monotonic()
    lower, upper = as_box(network, box)
    if not time_budget >= 0:
        raise ArgumentError(f"time_budget is {clipped(time_budget)}; expected seconds, 0 or more.")
    if not 0 <= tolerance < 1:
        raise ArgumentError(f"tolerance is {clipped(tolerance)}; expected a number from 0 to below 1.")
    if not check_rows >= 1:
        raise ArgumentError(f"check_rows is {clipped(check_rows)}; expected a whole number, 1 or more.")
    prover = _Prover(_Range(lower, upper), lp, start + time_budget, random_state, progress)
    work = _Work.of(network)
    for number in range(1, _ROUNDS + 1):
        work.parts = prover.restricted(work.parts, number)
        if number == 1:
            work.pin(prover.box)
        # what was joined or cut off can make bounds tighter; what was removed as idle cannot
        if not work.reduce(tolerance):
            break
    small = replace(network, layers=tuple(part.layer for part in work.parts), faithfulness=None)
    faithfulness = _compared(small, network, prover.box, check_rows, random_state, max_difference)
    notes = (*network.provenance.notes, "compressed: equals the original on a box of its inputs only")
    small = replace(small, faithfulness=faithfulness, provenance=replace(network.provenance, notes=notes))
    return Compressed(
        small,
        lower,
        upper,
        work.removed(),
        Switches._of(prover.proved),
        Switches._of([fact for fact in prover.open if work.fate[fact[0]][fact[1]] == KEPT]),
        faithfulness,
        time.monotonic() - start,
    )


def as_box(network: Network, box: Any) -> tuple[Floats, Floats]:
    """Return lower and upper bounds (n_features,) of a box given in any of the ways that `compress` takes.

    Raises
    ------
    ArgumentError : bounds are missing, not numbers, of the wrong number or crossed.
    DataError : a table of rows does not fit the network.
    """
    names = network.feature_names
    if isinstance(box, Mapping):
        lower, upper = _box_of_names(network, box)
    elif isinstance(box, tuple):
        if len(box) != 2:
            raise ArgumentError(f"box is a tuple of {len(box)}; expected (lower, upper).")
        lower, upper = (_bound(side, name, len(names)) for side, name in zip(box, ("lower", "upper"), strict=True))
    else:
        rows = network.features.encode(box)
        if len(rows) == 0:
            raise ArgumentError("box is a table without rows, which has no range. Give rows, or (lower, upper).")
        lower, upper = rows.min(axis=0), rows.max(axis=0)
    wrong = np.flatnonzero(~(lower <= upper) | (lower == np.inf) | (upper == -np.inf))
    if len(wrong):
        j = wrong[0]
        raise ArgumentError(
            f"box is empty for {len(wrong)} of {len(names)} features: {shown([names[k] for k in wrong])}; {names[j]!r} is "
            f"to lie between {lower[j]} and {upper[j]}. Expected lower <= upper."
        )
    return lower, upper


def _bound(side: Any, name: str, d: int) -> Floats:
    try:
        values = np.array(side, dtype=np.float64)
    except (TypeError, ValueError):
        raise ArgumentError(f"The {name} bounds of box are {clipped(side)}; expected numbers.") from None
    if values.shape not in ((), (d,)):
        raise ArgumentError(
            f"The {name} bounds of box have shape {values.shape}; expected one number, or ({d},): one per encoded feature."
        )
    return np.array(np.broadcast_to(values, d))


def _box_of_names(network: Network, box: Mapping[Any, Any]) -> tuple[Floats, Floats]:
    names = network.feature_names
    unknown = [name for name in box if name not in names]
    if unknown:
        raise ArgumentError(f"box names {shown(unknown)}, which the network does not have. It has {shown(names, 12)}.")
    sides = {f.name: (0.0, 1.0) for f in network.features.items if f.kind != "value"} | dict(box)
    missing = [name for name in names if name not in sides]
    if missing:
        raise ArgumentError(
            f"box has no bounds for {len(missing)} of {len(names)} features: {shown(missing)}. Give (low, high) for each; "
            "(-inf, inf) where there are none."
        )
    try:
        low, high = np.array([sides[name] for name in names], dtype=np.float64).reshape(len(names), 2).T
    except (TypeError, ValueError):
        raise ArgumentError("box maps each feature name to two numbers (low, high); some value is not that.") from None
    return low.copy(), high.copy()


# ---------------------------------------------------------------- ranges, rounded outwards


@dataclass(frozen=True, eq=False)
class _Range:
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


def _gamma(terms: int) -> float:
    """Relative error of a sum of so many products, in any order."""
    return terms * U / (1 - terms * U)


def _least_sum(weight: Any, bias: Floats, a: _Range) -> tuple[Floats, Floats]:
    """Return lower bounds (m,) of ``weight @ a + bias``, and by how much they may be too low for rounding alone.

    Terms that are 0 carry no error, so that a sum of numbers that are not negative never seems to be.
    """
    up, down = (abs(weight) + weight) / 2, (abs(weight) - weight) / 2
    free_low, free_high = np.isinf(a.low), np.isinf(a.high)
    low, high = np.where(free_low, 0.0, a.low), np.where(free_high, 0.0, a.high)
    value = up @ low - down @ high + bias
    size = up @ np.abs(low) + down @ np.abs(high) + np.abs(bias)
    terms = weight.shape[1] + 2
    error = _gamma(terms) * SLACK * size + (terms * TINY if _may_underflow(weight, low, high) else 0.0)
    bound = np.where(error == 0, value, np.nextafter(value - error, -np.inf))
    if free_low.any() or free_high.any():
        bound[(up @ free_low.astype(float) > 0) | (down @ free_high.astype(float) > 0)] = -np.inf
    return np.where(np.isfinite(value), bound, -np.inf), 2 * error


def _may_underflow(weight: Any, *factors: Floats) -> bool:
    def smallest(values: Any) -> float:
        size = np.abs(values[values != 0])
        return float(size.min(initial=1.0))

    return smallest(weight.data if is_sparse(weight) else weight) * min(map(smallest, factors)) < 2.0**-1000


def _exact_least(weight: Floats, bias: float, a: _Range) -> float:
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


def _affine_range(layer: Layer, a: _Range) -> _Range:
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
    return _Range(sides[0], -sides[1])


def _vertices(activation: Activation, z: _Range) -> tuple[Floats, Floats, Floats]:
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


def _image(activation: Activation, z: _Range) -> _Range:
    """Return what values (m,) can be."""
    _, value, error = _vertices(activation, z)
    return _Range((value - error).min(axis=1), (value + error).max(axis=1))


def _idle(activation: Activation, z: _Range) -> tuple[Bools, Bools]:
    """Return which breakpoints (m, p) are never passed, and which always; (False, False) where there is none."""
    b = activation.breakpoints
    finite = np.isfinite(b)
    always = finite & (b <= z.low[:, None])
    return finite & (b >= z.high[:, None]) & ~always, always


def _restricted(activation: Activation, z: _Range) -> Activation:
    """Return the activation with the pieces that are in force somewhere between `z.low` and `z.high`."""
    never, always = _idle(activation, z)
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


# ---------------------------------------------------------------- lines above and below each activation


@dataclass(frozen=True, eq=False)
class _Relaxed:
    """A layer whose activations are known to lie between lines, ``a >= slope * z + offset`` or ``<=``.

    Parameters
    ----------
    layer, z, a : the layer, and what its preactivations and values can be.
    neuron, slope, offset : (K,) of each line.
    side : (K,) 1 for a line below, -1 for a line above, 0 for a line that is the activation itself.
    below, above : (m,) the line that is closest in the middle of z, -1 where the range of `a` is closer.
    """

    layer: Layer
    z: _Range
    a: _Range
    neuron: Indices
    slope: Floats
    offset: Floats
    side: NDArray[np.int8]
    below: Indices
    above: Indices

    @staticmethod
    def of(layer: Layer, z: _Range) -> _Relaxed:
        """Return the tightest lines: the edges of the convex hull of each activation's graph over `z`."""
        activation = _restricted(layer.activation, z)
        a = _image(activation, z)
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
        return _Relaxed(layer, z, a, *lines, np.concatenate(side), below, above)

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


def _edges(activation: Activation, z: _Range) -> Iterator[tuple[int, Indices, Floats, Floats]]:
    """Yield (side, neurons, slopes, offsets) of lines that bound activations with breakpoints inside `z`.

    Offsets are rounded so that the lines hold; which of them are edges of the hull is a matter of tightness alone.
    """
    open_ = np.flatnonzero(np.isfinite(activation.breakpoints).any(axis=1))
    at, value, error = (part[open_] for part in _vertices(activation, z))
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


def _least(
    relaxed: Sequence[_Relaxed], box: _Range, rows: Floats, bias: Floats, given: Sequence[Floats] | None = None
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
            few = _gamma(int(np.bincount(s.neuron, minlength=1).max()) + 3)
            slack += few * ((np.abs(r) + np.abs(q) @ s.owner) @ s.a.largest + (np.abs(bent) @ s.owner) @ s.z.largest)
            slack += _gamma(m + 3) * ((np.abs(v) @ s.magnitude) @ before.largest)
            slack += TINY * (m + 3) * (1 + s.z.largest.sum() + s.a.largest.sum() + before.largest.sum())
            r = np.asarray(v @ s.layer.weight)
            terms += 2 * m + len(s.neuron) + 4
        floor = np.minimum(r * box.low, r * box.high)
        low += floor.sum(axis=1)
        size += np.abs(floor).sum(axis=1)
        terms += len(box.low)
        out = np.nextafter(low - (slack + _gamma(terms) * size + terms * TINY) * SLACK, -np.inf)
    return np.where(np.isfinite(out), out, -np.inf)


# ---------------------------------------------------------------- linear programs


@dataclass(frozen=True, eq=False)
class _Program:
    """The linear program of the lines of some layers: minimise ``r @ a`` of the last one.

    Variables are the input, then z and a of each layer; z needs no bounds of its own.
    """

    relaxed: Sequence[_Relaxed]
    box: _Range

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


# ---------------------------------------------------------------- proving breakpoints idle


class _Prover:
    """Bounds the preactivations of a network, layer by layer, and keeps a record of what that proves."""

    def __init__(
        self,
        box: _Range,
        lp: bool,
        deadline: float,
        random_state: int,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self.box = box
        self.proved: list[tuple[Any, ...]] = []
        self.open: list[tuple[Any, ...]] = []
        self._lp, self._deadline, self._seed, self._progress = lp, deadline, random_state, progress

    @property
    def _seconds_left(self) -> float:
        return self._deadline - time.monotonic()

    def restricted(self, parts: Sequence[_Part], number: int) -> list[_Part]:
        """Return the layers without the breakpoints that are idle on the box, the last one as it is."""
        self.open.clear()
        layers = [part.layer for part in parts[:-1]]
        seen = _Seen(layers, self.box, self._seed)
        relaxed: list[_Relaxed] = []
        out: list[_Part] = []
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            for i, part in enumerate(parts[:-1]):
                z = self._bounds(relaxed, part, seen, number, len(layers))
                relaxed.append(_Relaxed.of(part.layer, z))
                out.append(part.restricted(z))
                self._report(i, len(layers), number, part.layer.activation, z)
        return [*out, parts[-1]]

    def _bounds(self, relaxed: list[_Relaxed], part: _Part, seen: _Seen, number: int, n_layers: int) -> _Range:
        """Return bounds on the preactivations of the layer after those relaxed; record what is decided and how."""
        layer, i = part.layer, len(relaxed)
        before = relaxed[-1].a if relaxed else self.box
        z = _affine_range(layer, before)
        self._record(part, None, z, "interval", number)
        bounded = self.box.is_bounded and all(s.z.is_bounded and s.a.is_bounded for s in relaxed)
        if relaxed and bounded:
            tighter = _symbolic(relaxed, self.box, layer, z, self._deadline)
            self._record(part, z, tighter, "symbolic", number)
            z = tighter
        why: dict[int, str] = {}
        if self._lp and relaxed and bounded:
            z, why = self._programmed(relaxed, part, z, seen, number, n_layers)
        if not bounded:
            default = "the box is unbounded"
        elif self._seconds_left <= 0:
            default = "out of time"
        else:
            default = "the relaxation is too loose" if self._lp else "linear programs are off"
        never, always = _idle(layer.activation, z)
        open_ = np.isfinite(layer.activation.breakpoints) & ~never & ~always & ~seen.switching(i)
        for j, k in np.argwhere(open_):
            self.open.append(part.fact(j, k, z, why.get(int(j), default), number))
        return z

    def _programmed(
        self, relaxed: list[_Relaxed], part: _Part, z: _Range, seen: _Seen, number: int, n_layers: int
    ) -> tuple[_Range, dict[int, str]]:
        """Return bounds that linear programs made tighter where a breakpoint was in doubt, and why others stayed so."""
        layer, i = part.layer, len(relaxed)
        program = _Program(relaxed, self.box)
        low, high = z.low.copy(), z.high.copy()
        why: dict[int, str] = {}
        for j in range(len(layer.bias)):
            for sign, bound in ((1.0, low), (-1.0, high)):
                if not seen.wanted(i, j, sign, low[j], high[j]):
                    continue
                if self._seconds_left <= 0:
                    why[j] = "out of time"
                    continue
                row = layer.weight[[j]]
                row = sign * (row.toarray()[0] if is_sparse(row) else row[0])  # type: ignore[union-attr]
                found = program.multipliers(row, self._seconds_left)
                if found is None:
                    why[j] = "out of time" if self._seconds_left <= 0 else "the solver gave no answer"
                    continue
                q, x = found
                least = float(_least(relaxed, self.box, row[None], sign * layer.bias[[j]], q)[0])
                tighter = _Range(low.copy(), high.copy())
                (tighter.low if sign > 0 else tighter.high)[j] = max(sign * bound[j], least) * sign
                self._record(part, _Range(low, high), tighter, "linear program", number)
                low, high = tighter.low, tighter.high
                seen.at(np.clip(x, self.box.low, self.box.high)[None])
                self._report(i, n_layers, number, layer.activation, tighter)
        return _Range(low, high), why

    def _record(self, part: _Part, before: _Range | None, z: _Range, how: str, number: int) -> None:
        """Record the breakpoints that the bounds `z` decide and those before did not."""
        never, always = _idle(part.layer.activation, z)
        new = never | always
        if before is not None:
            never, always = _idle(part.layer.activation, before)
            new &= ~(never | always)
        self.proved += [part.fact(j, k, z, how, number) for j, k in np.argwhere(new)]

    def _report(self, i: int, n_layers: int, number: int, activation: Activation, z: _Range) -> None:
        if self._progress is not None:
            never, always = _idle(activation, z)
            undecided = int((np.isfinite(activation.breakpoints) & ~never & ~always).sum())
            self._progress(Progress(i, n_layers, number, undecided, max(self._seconds_left, 0.0)))


def _symbolic(relaxed: Sequence[_Relaxed], box: _Range, layer: Layer, z: _Range, deadline: float) -> _Range:
    """Return bounds on preactivations, tighter by linear bounds where a breakpoint is in doubt and time allows."""
    never, always = _idle(layer.activation, z)
    open_ = np.flatnonzero((np.isfinite(layer.activation.breakpoints) & ~never & ~always).any(axis=1))
    low, high = z.low.copy(), z.high.copy()
    widest = max(max(s.layer.weight.shape[1], len(s.neuron), len(s.layer.bias)) for s in relaxed)
    step = max(1, _ROW_CELLS // max(widest, 1))
    for start in range(0, len(open_), step):
        if time.monotonic() >= deadline:
            break
        at = open_[start : start + step]
        rows: Any = layer.weight[at]
        rows = rows.toarray() if is_sparse(rows) else rows
        low[at] = np.maximum(low[at], _least(relaxed, box, rows, layer.bias[at]))
        high[at] = np.minimum(high[at], -_least(relaxed, box, -rows, -layer.bias[at]))
    return _Range(low, high)


class _Seen:
    """The preactivations met at points of the box, with room for rounding: a breakpoint met on both sides switches."""

    def __init__(self, layers: Sequence[Layer], box: _Range, seed: int) -> None:
        self._layers = layers
        self._low = [np.full(len(layer.bias), np.inf) for layer in layers]
        self._high = [np.full(len(layer.bias), -np.inf) for layer in layers]
        self._bounds = [Bounds(layer) for layer in layers]
        widest = max((max(layer.weight.shape) for layer in layers), default=1)
        for x in _points(box, max(64, min(4096, _PROBE_CELLS // max(widest, 1))), seed):
            self.at(x)

    def at(self, a: Floats) -> None:
        """Look at more points (n, n_features)."""
        errors = thresholds(self._bounds, np.abs(a).max(axis=0, initial=0.0))
        with np.errstate(over="ignore", invalid="ignore"):
            for i, layer in enumerate(self._layers):
                z = layer.preactivation(a)
                self._low[i] = np.fmin(self._low[i], z.min(axis=0) + errors[i])
                self._high[i] = np.fmax(self._high[i], z.max(axis=0) - errors[i])
                a = layer.activation(z)

    def switching(self, i: int) -> Bools:
        """Return which breakpoints (m, p) of layer i were met on both sides."""
        b = self._layers[i].activation.breakpoints
        return np.isfinite(b) & (self._low[i][:, None] <= b) & (b < self._high[i][:, None])

    def wanted(self, i: int, j: int, sign: float, low: float, high: float) -> bool:
        """Return whether a better lower (sign 1) or upper (-1) bound of a neuron might prove a breakpoint idle."""
        b = self._layers[i].activation.breakpoints[j]
        open_ = np.isfinite(b) & (low < b) & (b < high)
        return bool((open_ & ((self._low[i][j] > b) if sign > 0 else (self._high[i][j] <= b))).any())


# ---------------------------------------------------------------- making the network smaller


@dataclass(frozen=True, eq=False)
class _Part:
    """A layer on its way.

    Parameters
    ----------
    layer : as it is now.
    origin : which hidden layer it was.
    who : (m,) which neuron of that layer each one was; -1 for those that carry others' values.
    passed : (m,) how many of its first breakpoints each neuron has lost.
    """

    layer: Layer
    origin: int
    who: Indices
    passed: Indices

    def fact(self, j: int, k: int, z: _Range, how: str, number: int) -> tuple[Any, ...]:
        """Return a row of `Switches`."""
        at = float(self.layer.activation.breakpoints[j, k])
        k = int(self.passed[j] + k)
        return self.origin, int(self.who[j]), k, at, float(z.low[j]), float(z.high[j]), how, number

    def restricted(self, z: _Range) -> _Part:
        """Return the part without the breakpoints that `z` does not reach."""
        activation = self.layer.activation
        _, always = _idle(activation, z)
        layer = replace(self.layer, activation=_restricted(activation, z))
        return replace(self, layer=layer, passed=self.passed + always.sum(axis=1))

    def picked(self, rows: Any) -> _Part:
        """Return the part with some of its neurons."""
        layer, act = self.layer, self.layer.activation
        p = int(np.isfinite(act.breakpoints[rows]).sum(axis=1).max(initial=0))
        activation = Activation(act.breakpoints[rows, :p], act.slopes[rows, : p + 1], act.offsets[rows, : p + 1])
        return replace(
            self,
            layer=replace(layer, weight=_rows(layer.weight, rows), bias=layer.bias[rows], activation=activation),
            who=self.who[rows],
            passed=self.passed[rows],
        )


def _rows(weight: Any, rows: Any) -> Any:
    return weight[np.flatnonzero(rows) if np.asarray(rows).dtype == bool else rows]


def _columns(weight: Any, columns: Any) -> Any:
    return weight[:, np.flatnonzero(columns) if np.asarray(columns).dtype == bool else columns]


def _used(weight: Any, axis: int) -> Bools:
    """Return which columns (axis 0) or rows (axis 1) of a matrix hold a number that is not 0."""
    return np.asarray((weight != 0).sum(axis=axis)).ravel() > 0


def _stored(weight: Any) -> int:
    return int(weight.nnz if is_sparse(weight) else weight.size)


@dataclass(eq=False)
class _Work:
    """The layers as they become fewer, and what became of each neuron."""

    parts: list[_Part]
    fate: list[NDArray[np.int8]]

    @staticmethod
    def of(network: Network) -> _Work:
        parts = []
        for i, layer in enumerate(network.layers):
            m = len(layer.bias)
            parts.append(_Part(layer, i, np.arange(m), np.zeros(m, dtype=np.intp)))
        return _Work(parts, [np.full(len(layer.bias), KEPT, dtype=np.int8) for layer in network.hidden])

    def removed(self) -> Removed:
        """Return the table of fates."""
        counts = [[int((fate == kind).sum()) for fate in self.fate] for kind in range(5)]
        after = np.zeros(len(self.fate), dtype=np.intp)
        for part in self.parts[:-1]:
            after[part.origin] = len(part.who)
        before = np.array([len(fate) for fate in self.fate], dtype=np.intp)
        kept, dead, on, joined, without = (np.array(c, dtype=np.intp) for c in counts)
        return Removed(before, dead, on, joined, without, after - kept, after)

    def pin(self, box: _Range) -> None:
        """Fold the features that have one value on the box into the first bias."""
        pinned = box.low == box.high
        if pinned.any():
            first = self.parts[0].layer
            bias = first.bias + first.weight @ np.where(pinned, box.low, 0.0)
            self.parts[0] = replace(self.parts[0], layer=replace(first, weight=_weighted(first, ~pinned), bias=bias))

    def reduce(self, tolerance: float) -> bool:
        """Remove what can go, until nothing can; return whether anything was joined or found without influence."""
        before = self._count((JOINED, WITHOUT_INFLUENCE))
        while True:
            n = self._size()
            # from the top, so that what loses its influence takes with it what only it used
            for i in reversed(range(len(self.parts) - 1)):
                self._fold_constants(i)
                self._drop_unused(i)
                self._straighten(i)
                self._join(i, tolerance)
                self._carry(i)
            self._compose()
            if self._size() == n:
                return self._count((JOINED, WITHOUT_INFLUENCE)) > before

    def _size(self) -> tuple[int, int]:
        return len(self.parts), sum(len(part.who) for part in self.parts)

    def _count(self, kinds: Sequence[int]) -> int:
        return int(sum(np.isin(fate, kinds).sum() for fate in self.fate))

    def _mark(self, i: int, which: Any, kind: int) -> None:
        who = self.parts[i].who[which]
        self.fate[self.parts[i].origin][who[who >= 0]] = kind

    def _following(self, i: int, weight: Any, bias: Floats) -> None:
        part = self.parts[i + 1]
        self.parts[i + 1] = replace(part, layer=replace(part.layer, weight=weight, bias=bias))

    def _fold_constants(self, i: int) -> None:
        """Add neurons of one value to the next bias."""
        layer, following = self.parts[i].layer, self.parts[i + 1].layer
        fixed = ~_used(layer.weight, 1)
        value = layer.activation(layer.bias[None])[0]
        flat = ~np.isfinite(layer.activation.breakpoints).any(axis=1) & (layer.activation.slopes[:, 0] == 0)
        value = np.where(flat, layer.activation.offsets[:, 0], value)
        fixed |= flat
        if fixed.any():
            bias = following.bias + following.weight @ np.where(fixed, value, 0.0)
            self._mark(i, fixed, DEAD)
            self._following(i, _columns(following.weight, ~fixed), bias)
            self.parts[i] = self.parts[i].picked(~fixed)

    def _drop_unused(self, i: int) -> None:
        """Drop neurons that the next layer gives no weight."""
        following = self.parts[i + 1].layer
        used = _used(following.weight, 0)
        if not used.all():
            self._mark(i, ~used, WITHOUT_INFLUENCE)
            self._following(i, _columns(following.weight, used), following.bias)
            self.parts[i] = self.parts[i].picked(used)

    def _straighten(self, i: int) -> None:
        """Make neurons with one piece identities, their slope and offset moved into the weights."""
        part = self.parts[i]
        layer, act = part.layer, part.layer.activation
        straight = ~np.isfinite(act.breakpoints).any(axis=1)
        if not straight.any():
            return
        self._mark(i, straight, ALWAYS_ON)
        slope, offset = np.where(straight, act.slopes[:, 0], 1.0), np.where(straight, act.offsets[:, 0], 0.0)
        slopes, offsets = act.slopes.copy(), act.offsets.copy()
        slopes[straight], offsets[straight] = 1.0, 0.0
        layer = replace(
            layer,
            weight=_scaled(layer.weight, slope),
            bias=slope * layer.bias + offset,
            activation=Activation(act.breakpoints, slopes, offsets),
        )
        self.parts[i] = replace(part, layer=layer, who=np.where(straight, -1, part.who))

    def _join(self, i: int, tolerance: float) -> None:
        """Keep one of the neurons that are proportional to each other, with the weights of all."""
        part, following = self.parts[i], self.parts[i + 1].layer
        kept, factor = _proportional(part.layer, tolerance)
        gone = kept != np.arange(len(kept))
        if gone.any():
            from scipy.sparse import csr_array

            place = np.cumsum(~gone) - 1
            gather = csr_array((factor, place[kept], np.arange(len(kept) + 1)), shape=(len(kept), int((~gone).sum())))
            self._mark(i, gone, JOINED)
            self._following(i, following.weight @ gather, following.bias)
            self.parts[i] = part.picked(~gone)

    def _carry(self, i: int) -> None:
        """Carry what identity neurons say by fewer of them: the inputs that they use, or the sums that are used."""
        part, following = self.parts[i], self.parts[i + 1].layer
        layer: Any = part.layer
        carriers = ~np.isfinite(layer.activation.breakpoints).any(axis=1)
        inner, outer = _rows(layer.weight, carriers), _columns(following.weight, carriers)
        inputs, sums = np.flatnonzero(_used(inner, 0)), np.flatnonzero(_used(outer, 1))
        fewest = min(len(inputs), len(sums))
        if fewest >= int(carriers.sum()):
            return
        middle = outer @ inner
        sparse = is_sparse(layer.weight)
        if len(inputs) <= len(sums):
            rows, columns = _unit_rows(inputs, middle.shape[1], sparse), middle[:, inputs]
        else:
            rows, columns = middle[sums], _unit_rows(sums, middle.shape[0], sparse).T
        if sparse and _stored(rows) + _stored(columns) > _stored(inner) + _stored(outer):
            return
        kept = part.picked(~carriers)
        identity = Activation.of_kind("identity", fewest)
        weight = _stacked(kept.layer.weight, rows, 0)
        self._following(
            i,
            _stacked(_columns(following.weight, ~carriers), columns, 1),
            following.bias + outer @ layer.bias[carriers],
        )
        self.parts[i] = replace(
            part,
            layer=Layer(
                weight,
                np.concatenate([kept.layer.bias, np.zeros(fewest)]),
                Activation.joined([kept.layer.activation, identity]),
                layer.name,
            ),
            who=np.concatenate([kept.who, np.full(fewest, -1)]),
            passed=np.concatenate([kept.passed, np.zeros(fewest, dtype=np.intp)]),
        )

    def _compose(self) -> None:
        """Compose layers in which nothing switches with the next, unless that stores much more."""
        i = 0
        while i < len(self.parts) - 1:
            layer, following = self.parts[i].layer, self.parts[i + 1].layer
            if not (layer.activation.is_identity or len(layer.bias) == 0):
                i += 1
                continue
            weight = following.weight @ layer.weight
            apart = _stored(layer.weight) + _stored(following.weight)
            if _stored(weight) > max(_BOTTLENECK_NUMBERS, _BOTTLENECK_FACTOR * apart):
                i += 1
                continue
            self._following(i, weight, following.bias + following.weight @ layer.bias)
            del self.parts[i]


def _scaled(weight: Any, factor: Floats) -> Matrix:
    """Return the rows of a matrix times one number each."""
    if not is_sparse(weight):
        return np.asarray(weight * factor[:, None])
    data = weight.data * np.repeat(factor, np.diff(weight.indptr))
    return type(weight)((data, weight.indices, weight.indptr), shape=weight.shape)


def _weighted(layer: Layer, keep: Bools) -> Matrix:
    """Return the weights with 0 in the columns that are not kept."""
    weight: Any = layer.weight
    if not is_sparse(weight):
        return np.where(keep, weight, 0.0)
    out = weight.copy()
    out.data *= keep[out.indices]
    out.eliminate_zeros()
    return out


def _unit_rows(index: Indices, n: int, sparse: bool) -> Any:
    """Return rows (len(index), n) of the identity."""
    from scipy.sparse import csr_array

    k = len(index)
    rows = csr_array((np.ones(k), index, np.arange(k + 1)), shape=(k, n))
    return rows if sparse else rows.toarray()


def _stacked(a: Any, b: Any, axis: int) -> Matrix:
    """Return two matrices on top of (axis 0) or beside (1) each other, sparse if the first one is."""
    if not is_sparse(a):
        return np.concatenate([a, b.toarray() if hasattr(b, "toarray") else b], axis=axis)
    from scipy.sparse import csr_array, hstack, vstack

    return csr_array((vstack if axis == 0 else hstack)([a, csr_array(b)]))


def _proportional(layer: Layer, tolerance: float) -> tuple[Indices, Floats]:
    """Return for each neuron (m,) the first one that it is a multiple of, itself if none, and the factor.

    Neuron j is c times neuron i, c > 0, if its weights, bias, breakpoints and offsets are, and its slopes are the same;
    c may be negative for an identity. Numbers are compared one by one, each relatively to its size.
    """
    m, act = len(layer.bias), layer.activation
    weight: Any = layer.weight
    kept, factor = np.arange(m), np.ones(m)
    if m < 2:
        return kept, factor
    largest = abs(weight).max(axis=1)
    largest = np.maximum(largest.toarray().ravel() if is_sparse(weight) else largest, np.abs(layer.bias))
    size = np.where(largest > 0, largest, 1.0)
    rng = np.random.default_rng(0)
    direction = rng.normal(size=weight.shape[1])
    straight = ~np.isfinite(act.breakpoints).any(axis=1)
    shadow = weight @ direction / size
    # the sign of an identity is free: that of its shadow, since proportional rows have proportional shadows
    size = np.where(straight & (shadow < 0), -size, size)
    shadow = np.where(straight, np.abs(shadow), shadow)
    window = (16 * tolerance + _gamma(2 * weight.shape[1] + 8)) * np.abs(direction).sum()

    def numbers(j: int) -> Floats:
        row = weight[[j]].toarray()[0] if is_sparse(weight) else weight[j]
        finite = np.where(np.isfinite(act.breakpoints[j]), act.breakpoints[j], 0.0)
        tail = [layer.bias[j : j + 1], finite, act.offsets[j]]
        return np.concatenate([np.concatenate([row, *tail]) / size[j], act.slopes[j], np.isinf(act.breakpoints[j])])

    order = np.argsort(shadow, kind="stable")
    taken = np.zeros(m, dtype=bool)
    for position, i in enumerate(order):
        if taken[i]:
            continue
        group = [int(i)]
        ours: Floats | None = None
        for j in order[position + 1 :]:
            if shadow[j] - shadow[i] > window:
                break
            if taken[j]:
                continue
            ours = numbers(int(i)) if ours is None else ours
            theirs = numbers(int(j))
            if (np.abs(ours - theirs) <= tolerance * np.maximum(np.abs(ours), np.abs(theirs))).all():
                group.append(int(j))
                taken[j] = True
        first = min(group)
        kept[group], factor[group] = first, size[group] / size[first]
    return kept, factor


# ---------------------------------------------------------------- comparing


def _points(box: _Range, n: int, seed: int) -> Iterator[Floats]:
    """Yield `n` points of the box in blocks: corners first, then points drawn evenly."""
    rng = np.random.default_rng(seed)
    d = len(box.low)
    low, high = np.maximum(box.low, -np.finfo(float).max / 4), np.minimum(box.high, np.finfo(float).max / 4)
    step = max(1, _CHECK_CELLS // max(d, 1))
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


def _compared(small: Network, network: Network, box: _Range, n: int, seed: int, allowed: float) -> Faithfulness:
    """Return how closely the decisions of two networks agree on points of the box, or raise `UnfaithfulError`.

    Where they differ by more than is allowed, they may by as much as evaluating the two can round.
    """
    ours, theirs, unexplained = [], [], False
    for x in _points(box, n, seed):
        a, b = (net.trace(x, patterns=False).decision for net in (small, network))
        far = np.flatnonzero((np.abs(a - b) > allowed * (1 + np.abs(b))).any(axis=1))
        rounding = _rounding(small, x[far]) + _rounding(network, x[far])
        unexplained |= bool((np.abs(a - b)[far] > rounding).any())
        ours.append(a)
        theirs.append(b)
    a, b = np.vstack(ours), np.vstack(theirs)
    limit = allowed if unexplained else np.inf
    found = assert_faithful("compressed network", a, b, tolerance=limit, against="the network given")
    agreement = None
    if network.link == "logit":
        agreement = float(((a > 0) == (b > 0)).mean())
    elif network.link == "softmax":
        agreement = float((a.argmax(axis=1) == b.argmax(axis=1)).mean())
    return replace(found, agreement=agreement)


def _rounding(network: Network, x: Floats) -> Floats:
    """Return how far computed decisions (n, n_outputs) of rows can be from the exact ones."""
    value, error = np.abs(x), np.zeros_like(x)
    with np.errstate(over="ignore", invalid="ignore"):
        for layer in network.layers:
            bounds = Bounds(layer)
            size, error = bounds.reach(value, error)
            value, error = bounds.after(size, error)
    return error
