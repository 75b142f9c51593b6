"""Activation regions as polytopes: which neuron each inequality is of, which of them bound the region, and what lies beyond."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from relucidate.displaying import in_notebook
from relucidate.errors import ArgumentError, clipped
from relucidate.exact import U
from relucidate.layers import Bools, Floats, is_sparse
from relucidate.network import Network, Patterns
from relucidate.polytope import Empty, Facets, Integers, Interior, Polytope, Undecided
from relucidate.roundings import Roundings

if TYPE_CHECKING:
    import pandas as pd

NEGLIGIBLE = 0.005  # of the largest term of an equation, below which one is not written out
_STEPS = 12  # sizes of a step across a facet, each a quarter of the one before


# ---------------------------------------------------------------- numbers and equations in words


def text(value: float, sign: str = "", digits: int = 4) -> str:
    """Return a number of so many digits, with a minus sign and not a hyphen."""
    return f"{value + 0.0:{sign}.{digits}g}".replace("-", "−")


def number(value: float) -> str:
    """Return a number as a person would write it: whole ones whole, others to four digits."""
    if 1e4 <= abs(value) < 1e15 or (value == round(value) and abs(value) < 1e4):
        return f"{value + 0.0:,.0f}".replace("-", "−")
    return text(value)


def apart(one: float, other: float) -> tuple[str, str]:
    """Return two numbers with as many digits as it takes to tell them apart, four at least."""
    digits = next((n for n in range(4, 17) if text(one, digits=n) != text(other, digits=n)), 4)
    return text(one, digits=digits), text(other, digits=digits)


def terms_in_words(normal: Floats, spread: Floats, names: Sequence[str], most: int = 3) -> tuple[str, Integers, Floats]:
    """Return ``normal @ x`` in words, divided by the coefficient of its first term: "a + 0.17 b".

    Parameters
    ----------
    normal : (d,) not all 0. spread : (d,) by coefficient times spread the largest terms are written out, `most` of them.

    Returns
    -------
    the words, the features told, and their coefficients after division.
    """
    size = np.abs(normal * spread)
    if not size.any():
        size = np.abs(normal)
    told = np.argsort(-size, kind="stable")[:most]
    told = told[size[told] >= max(NEGLIGIBLE * size[told[0]], np.finfo(float).tiny)]
    factors = normal[told] / normal[told[0]]
    said = [f"{'−' if f < 0 else '+'} {_factor(abs(f))}{names[j]}" for j, f in zip(told, factors, strict=True)]
    return " ".join(said).removeprefix("+ "), told, factors


def _factor(value: float) -> str:
    return "" if value == 1 else f"{text(value, digits=3)} "


def others_in_words(n: int) -> str:
    """Return how many features an equation leaves out, "" for none."""
    return f"{n} other feature{'s as they are' if n > 1 else ' as it is'}" if n else ""


def neurons_in_words(net: Network, found: Iterable[tuple[int, int]]) -> str:
    """Return neurons, given by hidden layer and number, by name: "neurons 3, 5 of dense 0 and neuron 1 of dense 1"."""
    by_layer: dict[int, dict[str, None]] = {}
    for layer, neuron in found:
        by_layer.setdefault(layer, {})[str(neuron)] = None
    parts = []
    for layer, numbers in by_layer.items():
        parts.append(f"neuron{'s' * (len(numbers) > 1)} {', '.join(numbers)} of {layer_name(net, layer)}")
    return " and ".join(parts)


def layer_name(net: Network, layer: int) -> str:
    """Return what a hidden layer is called."""
    return net.hidden[layer].name or f"layer {layer}"


def switches_of(net: Network) -> tuple[Integers, Integers, Integers]:
    """Return hidden layer, neuron and breakpoint of each bit of a pattern."""
    parts = [(np.full(s.activation.n_bits, i), *s.activation.switches) for i, s in enumerate(net.hidden)]
    empty = np.zeros(0, dtype=np.intp)
    layer, neuron, k = (
        (np.concatenate([empty, *column]) for column in zip(*parts, strict=True)) if parts else (empty,) * 3
    )
    return layer, neuron, k


# ---------------------------------------------------------------- inequalities


@dataclass(frozen=True, eq=False)
class Walls:
    """Where neurons switch on one pattern, as hyperplanes: its region is where ``inward @ x + constant >= 0``.

    Parameters
    ----------
    inward : (B, d) and constant : (B,) such that the left side is the distance of the preactivation from the breakpoint.
    layer, neuron : (B,) of each. breakpoint : (B,) value of the preactivation there.
    bit : (B,) its place in the pattern. on : (B,) whether the region is above the breakpoint.
    """

    inward: Floats
    constant: Floats
    layer: Integers
    neuron: Integers
    breakpoint: Floats
    bit: Integers
    on: Bools

    def __len__(self) -> int:
        return len(self.constant)


def walls(network: Network, pattern: Patterns) -> Walls:
    """Return the hyperplanes at which a neuron switches, without neurons that are constant on the region.

    Notes
    -----
    A coefficient is 0 if it is no larger than what rounding may have made of 0, see `Roundings`: neurons that cancel each other
    leave such remains. A constant neuron on the wrong side of its breakpoint, by more than rounding, stays as a row
    of zeros that no point fulfils: no input has the pattern.
    """
    bits = pattern.bits()
    parts: list[tuple[Any, ...]] = []
    magnitude: list[Any] = [abs(layer.weight) for layer in network.layers]
    size = magnitude[0].toarray() if is_sparse(magnitude[0]) else magnitude[0]
    constant_size = np.abs(network.layers[0].bias)
    roundings = Roundings(network.layers, magnitude, size, constant_size)
    start, terms = 0, 0
    for i, (layer, (v, c)) in enumerate(zip(network.hidden, network.preactivation_maps(pattern), strict=True)):
        if i:
            size = np.asarray(magnitude[i] @ size)
            constant_size = magnitude[i] @ constant_size + np.abs(layer.bias)
        terms += layer.weight.shape[1] + 2
        neuron, k = layer.activation.switches
        stop = start + len(neuron)
        on = bits[0, start:stop]
        side = np.where(on, 1.0, -1.0)
        at = layer.activation.breakpoints[neuron, k]
        at_0 = np.abs(v) <= 4 * terms * U * size  # a bound that is cheap, and large where there are many layers
        if i and v[at_0].any():
            at_0 &= np.abs(v) <= roundings.bounds()[0]
        normal = np.where(at_0, 0.0, v)[neuron] * side[:, None]
        constant = side * (c[neuron] - at)
        moves = normal.any(axis=1)
        rounding = 4 * terms * U * (constant_size[neuron] + np.abs(at))
        if i and (~moves & (constant < 0) & (constant >= -rounding)).any():
            rounding = np.minimum(rounding, roundings.bounds()[1][neuron] + 4 * U * np.abs(at))
        wrong = constant < -rounding
        keep = moves | wrong
        where = np.full(len(neuron), i), neuron, at, np.arange(start, stop), on
        parts.append(tuple(part[keep] for part in (normal, constant, *where)))
        slopes, offsets = layer.activation.pieces_in_force(bits[:, start:stop])
        roundings.take(v, c, slopes[0], offsets[0])
        size = np.abs(slopes[0])[:, None] * size
        constant_size = np.abs(slopes[0]) * constant_size + np.abs(offsets[0])
        start = stop
    if not parts:
        none, nothing = np.zeros(0, dtype=np.intp), np.zeros(0)
        return Walls(np.zeros((0, network.n_features)), nothing, none, none, nothing, none, none.astype(bool))
    return Walls(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


# ---------------------------------------------------------------- a region


@dataclass(frozen=True, eq=False)
class Region:
    """One activation region as a polytope, whose rows know their neurons. Facets are found when first asked for.

    Parameters
    ----------
    network : whose region it is. pattern : of the region, one.
    x : (d,) the encoded row that was asked about; None if a pattern was.
    walls : who the inequalities are of.
    polytope : the region's closure, within the box if there is one: ``polytope.row`` is a number in `walls`, -1 at the
        edge of the box. A neuron is on iff its preactivation is above 0, so points on a row may have another pattern.
    lower, upper : (d,) the box, None without one.
    spread : (d,) how far each feature ranges; says which terms of an equation matter.
    """

    network: Network
    pattern: Patterns
    x: Floats | None
    walls: Walls
    polytope: Polytope
    lower: Floats | None
    upper: Floats | None
    spread: Floats

    @cached_property
    def interior(self) -> Interior | Empty | Undecided:
        """A point strictly inside, whose pattern by exact arithmetic is that of the region, or why there is none."""
        found = self.polytope.interior()
        candidates = [found] if isinstance(found, Interior) else []
        if self.x is not None:
            candidates += [near] if (near := self.polytope.inside(self.x)) is not None else []
        for candidate in candidates:
            if (self.network.trace(candidate.witness[None]).patterns.packed == self.pattern.packed).all():
                return candidate
        if isinstance(found, Interior):
            return Undecided(
                "The point farthest inside has another activation pattern by exact arithmetic: the region is thinner than "
                "the rounding of its inequalities. Take a point a little farther from where neurons switch."
            )
        return found

    @property
    def witness(self) -> Floats:
        """A point (d,) inside: the centre of a largest ball.

        Raises
        ------
        ArgumentError : nothing is strictly inside, or it could not be told.
        """
        return self._inside.witness

    @property
    def radius(self) -> float:
        """Radius of a ball about `witness` that lies inside, in the units of the features."""
        return self._inside.radius

    @property
    def _inside(self) -> Interior:
        found = self.interior
        if isinstance(found, Interior):
            return found
        if isinstance(found, Undecided):
            raise ArgumentError(f"The region has no interior that can be told. {found.reason}")
        if (why := self._outside_the_box()) is not None:
            raise ArgumentError(why)
        where = " within the box" if self.lower is not None else ""
        raise ArgumentError(
            f"The region has no interior{where}: no point is strictly on the right side of all its hyperplanes. The point "
            "asked about lies where neurons switch, or the pattern is of no input; move it, or widen the box."
        )

    def _outside_the_box(self) -> str | None:
        """Return what to do where the box does not hold the point asked about, None where it does."""
        if self.x is None or self.lower is None or self.upper is None:
            return None
        outside = np.flatnonzero((self.x < self.lower) | (self.x > self.upper))
        if not len(outside):
            return None
        j = int(outside[0])
        return (
            f"The box does not hold the point asked about, and nothing of its region: {self.network.feature_names[j]} is "
            f"{self.x[j]:.6g}, the box goes from {self.lower[j]:.6g} to {self.upper[j]:.6g}. Give a box around the point."
        )

    @cached_property
    def facets(self) -> Facets:
        """The rows of `polytope` that bound it, each with a point on it.

        Raises
        ------
        ArgumentError : nothing is strictly inside, or it could not be told.
        """
        return self.polytope.facets(self.witness)

    @cached_property
    def bounds(self) -> Floats:
        """Lowest and highest value of each feature in the region (d, 2), infinite where nothing bounds it."""
        return self.polytope.bounds(self.witness)

    def __len__(self) -> int:
        """Return the number of facets."""
        return len(self.facets)

    # ---------------------------------------------------------------- words

    def owners(self, facet: int) -> Integers:
        """Return the numbers in `walls` of all inequalities whose hyperplane is that of a facet; none at the edge of the box."""
        row = self.polytope.row[self.facets.same == self._facet(facet)]
        return np.asarray(np.sort(row[row >= 0]))

    def name(self, facet: int) -> str:
        """Return the neurons that a facet is of: "neuron 3 of dense 0"."""
        owners = self.owners(facet)
        if len(owners) == 0:
            return "edge of the box"
        w = self.walls
        return neurons_in_words(self.network, [(int(w.layer[i]), int(w.neuron[i])) for i in owners])

    def words(self, facet: int, names: Sequence[str] | None = None) -> str:
        """Return on which side of a facet the region is, in the units of the features: "loan_to_value + 0.17 loan_age ≤ 10.75".

        Parameters
        ----------
        facet : from 0 to the number of facets less one. names : what to call the features, if not by their own names.

        Notes
        -----
        The three largest terms are written out, by coefficient times `spread`, the first with the coefficient 1. Other
        features are taken as they are at `x`, or at `witness` where there is no x.
        """
        i = self.facets.index[self._facet(facet)]
        normal, limit = self.polytope.A[i], self.polytope.b[i]
        here = self.witness if self.x is None else self.x
        said, told, _ = terms_in_words(normal, self.spread, names or self.network.feature_names)
        first = normal[told[0]]
        # exact where all terms are told, without the rounding of what cancels
        rest = np.ones(len(normal), dtype=bool)
        rest[told] = False
        end = (limit - normal[rest] @ here[rest]) / first
        held = others_in_words(int(np.count_nonzero(normal[rest])))
        return f"{said} {'≤' if first > 0 else '≥'} {number(float(end))}{f' ({held})' if held else ''}"

    def _facet(self, facet: int) -> int:
        n = len(self.facets)
        if not 0 <= facet < n:
            raise ArgumentError(f"There is no facet {clipped(facet)}: there are {n:,}, from 0.")
        return int(facet)

    def summary(self, most: int = 5) -> list[str]:
        """Return what matters, a sentence a line.

        Parameters
        ----------
        most : facets named, the nearest to `x` first.
        """
        f = self.facets
        here = self.witness if self.x is None else self.x
        distance = self.polytope.slack(here)[0][f.index]
        edges = int((self.polytope.row[f.index] < 0).sum())
        n = len(f) - edges
        lines = [
            f"The region has {n:,} facet{'s' * (n != 1)} of {len(self.walls):,} inequalities"
            + (f", and {edges:,} at the edge of the box." if edges else "."),
            f"A ball of radius {text(self.radius)} fits inside.",
        ]
        if len(f.doubtful):
            lines.append(f"{len(f.doubtful):,} inequalities could not be decided in float64.")
        for k in np.argsort(distance, kind="stable")[:most]:
            lines.append(f"{self.words(int(k))}: {self.name(int(k))}.")
        return lines

    def __repr__(self) -> str:
        inside = f"{len(self.facets):,} facets" if isinstance(self.interior, Interior) else "nothing strictly inside"
        return f"Region of {len(self.walls):,} inequalities in {self.network.n_features} features, {inside}"

    _repr_html_ = in_notebook

    def to_frame(self) -> pd.DataFrame:
        """Return one row per facet.

        Returns
        -------
        pandas.DataFrame with ``neurons``, ``words``, ``layer``, ``neuron``, ``breakpoint``, ``on`` (whether the region is
        above it) of the first neuron, -1 at the edge of the box; ``neurons_on_it``: how many switch at this hyperplane;
        ``distance`` of x (or the witness), and ``clearance`` of the facet's point from other hyperplanes, both in the
        units of the features.
        """
        import pandas as pd

        f, w = self.facets, self.walls
        owners = [self.owners(k) for k in range(len(f))]
        first = [int(o[0]) if len(o) else -1 for o in owners]
        here = self.witness if self.x is None else self.x
        return pd.DataFrame(
            {
                "neurons": [self.name(k) for k in range(len(f))],
                "words": [self.words(k) for k in range(len(f))],
                "layer": [int(w.layer[i]) if i >= 0 else -1 for i in first],
                "neuron": [int(w.neuron[i]) if i >= 0 else -1 for i in first],
                "breakpoint": [float(w.breakpoint[i]) if i >= 0 else np.nan for i in first],
                "on": [bool(w.on[i]) if i >= 0 else False for i in first],
                "neurons_on_it": [len(o) for o in owners],
                "distance": self.polytope.slack(here)[0][f.index],
                "clearance": f.clearance,
            }
        ).rename_axis("facet")


def polytope_of(network: Network, x: Any, box: tuple[Any, Any] | None = None, spread: Floats | None = None) -> Region:
    """Return the activation region of a row or a pattern, as a polytope.

    Parameters
    ----------
    x : (d,) an encoded row, or one pattern (`Patterns` of length 1).
    box : (lower, upper), numbers or (d,); infinite where there is no edge. spread : (d,) see `Region`; by default the width
        of the box.

    Raises
    ------
    ArgumentError : x or the box does not fit.

    Notes
    -----
    Cost: one product per layer with the inputs. Facets, bounds and a point inside are found when asked for.
    """
    d = network.n_features
    row: Floats | None = None
    if isinstance(x, Patterns):
        pattern = x
    else:
        row = np.array(x, dtype=np.float64).reshape(-1)
        if row.shape != (d,) or not np.isfinite(row).all():
            raise ArgumentError(f"x is {clipped(x)}; expected one row of {d} finite numbers: one per feature.")
        pattern = network.trace(row[None]).patterns
    found = walls(network, pattern)
    polytope = Polytope.of(-found.inward, found.constant)
    lower = upper = None
    width = np.ones(d)
    if box is not None:
        if np.shape(box)[:1] != (2,):
            raise ArgumentError(f"box is {clipped(box)}; expected a tuple (lower, upper).")
        polytope = polytope.within(*box)
        lower, upper = (np.array(np.broadcast_to(np.asarray(side, dtype=np.float64), d)) for side in box)
        with np.errstate(invalid="ignore"):
            width = upper - lower
        width = np.where(np.isfinite(width), width, 1.0)
    return Region(network, pattern, row, found, polytope, lower, upper, width if spread is None else np.asarray(spread))


# ---------------------------------------------------------------- beyond the facets


@dataclass(frozen=True, eq=False)
class Neighbours:
    """What lies across each facet of a region, the edges of a box left out.

    Parameters
    ----------
    region : whose neighbours. facet : (N,) number of the facet in ``region.facets``.
    point : (N, d) on the facet. beyond : (N, d) a point across it, whose pattern by exact arithmetic is that of the neighbour.
    patterns : (N,) of the neighbours.
    coef : (N, n_outputs, d) and intercept : (N, n_outputs) of the neighbours' local linear models.
    jump : (N, n_outputs, d) their coefficients less those of the region: multiples of the facet's normal.
    certain : (N,) whether the two regions are shown to share the facet around `point`: there, all that bounds the neighbour
        is the facet's own hyperplane.
    region_of : (N,) region of each in the table, -1 for patterns of no row; count : (N,) rows of it. None without a table.
    """

    region: Region
    facet: Integers
    point: Floats
    beyond: Floats
    patterns: Patterns
    coef: Floats
    intercept: Floats
    jump: Floats
    certain: Bools
    region_of: Integers | None = None
    count: Integers | None = None

    def __len__(self) -> int:
        return len(self.facet)

    @cached_property
    def flipped(self) -> Bools:
        """Whether each bit of the pattern changes (N, n_bits)."""
        return self.patterns.bits() ^ self.region.pattern.bits()

    def switches(self, i: int) -> str:
        """Return which neurons switch on the way to a neighbour: "neuron 3 of dense 0"."""
        layer, neuron, _ = switches_of(self.region.network)
        return neurons_in_words(
            self.region.network, [(int(layer[b]), int(neuron[b])) for b in np.flatnonzero(self.flipped[i])]
        )

    def __repr__(self) -> str:
        n = len(self)
        known = "" if self.region_of is None else f", {int((self.region_of >= 0).sum()):,} of them with rows"
        return f"{n:,} neighbour{'s' * (n != 1)}{known}"

    _repr_html_ = in_notebook

    def to_frame(self) -> pd.DataFrame:
        """Return one row per neighbour, in the order of the facets.

        Returns
        -------
        pandas.DataFrame with ``facet``, ``words`` of it, ``switches``: the neurons; ``pattern`` (short id), with a table
        ``region`` and ``count``; ``jump: …`` of each feature's coefficient (with several outputs ``jump[output]: …``), decision
        per unit; ``intercept`` likewise; ``certain``.
        """
        import pandas as pd

        net = self.region.network
        columns: dict[str, Any] = {
            "facet": self.facet,
            "words": [self.region.words(int(f)) for f in self.facet],
            "switches": [self.switches(i) for i in range(len(self))],
            "pattern": self.patterns.ids(),
        }
        if self.region_of is not None:
            columns |= {"region": self.region_of, "count": self.count}
        for k, output in enumerate(net.outputs):
            suffix = f"[{output}]" if net.n_outputs > 1 else ""
            columns |= {f"jump{suffix}: {name}": self.jump[:, k, j] for j, name in enumerate(net.feature_names)}
            columns[f"intercept{suffix}"] = self.intercept[:, k]
        columns["certain"] = self.certain
        return pd.DataFrame(columns)


def neighbours_of(region: Region) -> Neighbours:
    """Return the regions across the facets of a region.

    Raises
    ------
    ArgumentError : nothing is strictly inside the region.

    Notes
    -----
    From the point on a facet a step leads across, along its normal. The network's exact pattern there is the neighbour's if the
    point on the facet is strictly inside all inequalities of that pattern but those on the facet's own hyperplane; else the step
    is quartered. So all neurons that vanish on the facet are found, also where hyperplanes coincide, and those of later
    layers that only begin to depend on the input beyond it. Cost: one polytope per facet.
    """
    net, f, p = region.network, region.facets, region.polytope
    facet = np.flatnonzero(p.row[f.index] >= 0)
    index = f.index[facet]
    point, normal = f.point[facet], p.A[index]
    reach = np.where(np.isfinite(f.clearance[facet]), f.clearance[facet], 1.0 + np.abs(p.b[index]))
    packed = np.repeat(region.pattern.packed, len(facet), axis=0)
    beyond, certain = point.copy(), np.zeros(len(facet), dtype=bool)
    left = np.arange(len(facet))
    for k in range(1, _STEPS + 1):
        if len(left) == 0:
            break
        there = point[left] + (reach[left] * 0.25**k)[:, None] * normal[left]
        patterns = net.trace(there).patterns
        packed[left], beyond[left] = patterns.packed, there
        shown = [
            _shared(net, patterns[[i]], there[i], point[j], normal[j], float(p.b[index[j]])) for i, j in enumerate(left)
        ]
        certain[left] = shown
        left = left[~np.array(shown, dtype=bool)]
    patterns = Patterns(packed, net.n_bits)
    coef, intercept = net.affine_maps(patterns)
    own, _ = net.affine_maps(region.pattern)
    return Neighbours(region, facet, point, beyond, patterns, coef, intercept, coef - own, certain)


def _shared(net: Network, pattern: Patterns, there: Floats, point: Floats, normal: Floats, limit: float) -> bool:
    """Return whether a pattern holds at `there`, and around `point` only the hyperplane ``normal @ x == limit`` bounds it."""
    found = walls(net, pattern)
    other = Polytope.of(-found.inward, found.constant)
    if other.inside(there) is None:
        return False
    here, across = other.slack(np.stack([point, there]))
    height = float(normal @ there - limit)
    opposite = np.abs(other.A + normal).max(axis=1) <= 1e-7
    on_it = opposite & (np.abs(here) <= 1e-6 * height) & (np.abs(across - height) <= 1e-6 * height)
    return bool(on_it.any() and (here[~on_it] > 0).all())
