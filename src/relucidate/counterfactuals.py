"""How far a row is from where its region ends, from the decision boundary, and from the nearest row decided otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from relucidate.displaying import in_notebook
from relucidate.errors import ArgumentError, DataError, clipped, shown
from relucidate.features import Features
from relucidate.grouping import distinct
from relucidate.layers import Bools, Floats
from relucidate.least_distances import FAR, SLACK, Integers, Norm, Programs, Reach, first_wall, norm_of
from relucidate.nearest_points import Geometry, Region, Search, Target, Walks
from relucidate.network import Network, Patterns
from relucidate.unwrapping import Unwrapped

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["BoundaryDistances", "Search", "boundary"]

Progress = Callable[[int, int], None]

_TOLD = 3  # features that are written out in an equation


# ---------------------------------------------------------------- the result


@dataclass(frozen=True, eq=False)
class BoundaryDistances:
    """How far rows are from the end of their region, from the decision boundary, and from a row decided otherwise.

    Parameters
    ----------
    network : what was asked. x : (n, d) rows, encoded. row : (n,) their numbers.
    norm : "1", "2" or "inf". scale : (d,) what counts as one unit of distance of each feature; 0 where it cannot move.
    unit : the unit of the distances in words. spread : (d,) standard deviation of each feature, the scale where it is 0 or
        `has_sample` is false, that is, where a network was given.
    level : the decision at which a row is decided otherwise. output : position of the output; -1 where classes compete.
    decision : (n, n_outputs). margin : (n,) decision less level; of a softmax network, largest decision less the second.
    side : (n,) 1 above the level, 0 not above; of a softmax network the class on top.
    distance_facet : (n,) to where the first neuron switches, inf if none does.
    facet_layer, facet_neuron : (n,) hidden layer and neuron that switches there, -1 without one.
    facet_normal : (n, d) and facet_value : (n,): the facet is where ``facet_normal @ x == facet_value``.
    distance_model : (n,) to where the row's own local linear model reaches the level, in the region or beyond.
    distance_boundary : (n,) the same within the region only, inf where the region does not reach the level.
    inside : (n,) whether the nearest point of `distance_model` lies in the region, so that both distances are one.
    sensitivity : (n,) the most that the local linear model's decision changes per unit of distance.
    counterfactual : (n, d) the nearest row found that is decided otherwise, NaN if none.
    distance : (n,) to it, inf if none. lower_bound : (n,) no row nearer than this is decided otherwise.
    status : (n,) of `Search`. decision_there : (n, n_outputs) of the network at the counterfactual, NaN if none.
    regions : (n,) regions and larger parts of the space looked at. notes : what a reader should know.
    """

    network: Network
    x: Floats
    row: NDArray[np.int64]
    norm: Norm
    scale: Floats
    unit: str
    spread: Floats
    has_sample: bool
    level: float
    output: int
    decision: Floats
    margin: Floats
    side: Integers
    distance_facet: Floats
    facet_layer: Integers
    facet_neuron: Integers
    facet_normal: Floats
    facet_value: Floats
    distance_model: Floats
    distance_boundary: Floats
    inside: Bools
    sensitivity: Floats
    counterfactual: Floats
    distance: Floats
    lower_bound: Floats
    status: tuple[Search, ...]
    decision_there: Floats
    regions: Integers
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.x)

    def __repr__(self) -> str:
        counts = [(s.name.lower(), sum(t is s for t in self.status)) for s in Search]
        told = ", ".join(f"{n:,} {name}" for name, n in counts if n)
        return f"Boundary distances of {len(self):,} row{'s' * (len(self) != 1)} (norm {self.norm}): {told}"

    def side_name(self, i: int, there: bool = False) -> str:
        """Return how a row is decided, or its counterfactual, in words."""
        net, decision = self.network, (self.decision_there if there else self.decision)[i]
        if self.output < 0:
            k = int(decision.argmax())
            return str(net.classes[k]) if net.classes else net.outputs[k]
        above = bool(decision[self.output] > self.level)
        if net.link == "logit" and net.n_outputs == 1 and net.classes and self.level == 0:
            return str(net.classes[int(above)])
        return f"{'above' if above else 'not above'} {_text(self.level)}"

    def facet_in_words(self, i: int) -> str:
        """Return which neuron switches at the nearest facet of a row, and where; "" if none does."""
        if not np.isfinite(self.distance_facet[i]):
            return ""
        layer, normal, names = int(self.facet_layer[i]), self.facet_normal[i], self.network.feature_names
        size = np.abs(normal * self.scale)
        told = [int(j) for j in np.argsort(-size, kind="stable")[:_TOLD] if size[j] > 0.005 * size.max()]
        factors = normal[told] / normal[told[0]]
        here = float(factors @ self.x[i, told])
        end = here + float(self.facet_value[i] - normal @ self.x[i]) / float(normal[told[0]])
        said = " ".join(
            f"{'−' if f < 0 else '+'} {'' if abs(f) == 1 else _text(abs(f), 3) + ' '}{names[j]}"
            for f, j in zip(factors, told, strict=True)
        )
        rest = int(np.count_nonzero(normal)) - len(told)
        held = f"; {rest} other feature{'s' * (rest != 1)} as they are" if rest else ""
        now, then = _apart(here, end)
        name = self.network.hidden[layer].name or f"layer {layer}"
        return f"neuron {self.facet_neuron[i]} of {name}: {said.removeprefix('+ ')} = {then} (here {now}{held})"

    def changes(self, i: int) -> tuple[tuple[int, str], ...]:
        """Return (feature, "81.2 → 74.9") of each feature that the counterfactual changes, the largest change first."""
        there = self.counterfactual[i]
        if np.isnan(there).any():
            return ()
        move = _moves(there - self.x[i], self.spread)
        # less than a billionth of the largest move is rounding
        order = [int(j) for j in np.argsort(-np.abs(move), kind="stable") if abs(move[j]) > 1e-9 * np.abs(move).max()]
        return tuple((j, " → ".join(_apart(self.x[i, j], there[j]))) for j in order)

    def summary(self, row: int = 0, most: int = 5) -> list[str]:
        """Return what matters about one row, a sentence a line.

        Parameters
        ----------
        row : its number in the table. most : features named.

        Raises
        ------
        ArgumentError : there is no such row.
        """
        i = self.position(row)
        lines = [f"Row {self.row[i]:,} is decided {self.side_name(i)}, with a margin of {_text(self.margin[i])}."]
        if np.isfinite(self.distance_facet[i]):
            lines.append(
                f"Its region ends {_text(self.distance_facet[i], 3)} {self.unit} away at {self.facet_in_words(i)}."
            )
        else:
            lines.append("Nothing that can be reached ends its region.")
        if np.isfinite(self.distance_boundary[i]):
            lines.append(
                f"Its region meets the decision boundary {_text(self.distance_boundary[i], 3)} {self.unit} away."
            )
        elif np.isfinite(self.distance_model[i]):
            lines.append(
                f"Its local linear model would change the decision {_text(self.distance_model[i], 3)} {self.unit} away, but the "
                "region ends before."
            )
        changes = self.changes(i)
        if changes:
            named = [f"{self.network.feature_names[j]} {words}" for j, words in changes[:most]]
            rest = f" and {len(changes) - most} more features" if len(changes) > most else ""
            lines.append(
                f"Decided {self.side_name(i, there=True)} instead with {', '.join(named)}{rest}: {_text(self.distance[i], 3)} "
                f"{self.unit} away."
            )
        if self.status[i] is not Search.FOUND and np.isfinite(self.lower_bound[i]):
            lines.append(
                f"Proved: nothing nearer than {_text(self.lower_bound[i], 3)} {self.unit} is decided otherwise."
            )
        return [*lines, self.status[i].value]

    def position(self, row: int) -> int:
        """Return a row's number after checking that there is one.

        Raises
        ------
        ArgumentError : there is no such row.
        """
        if not 0 <= row < len(self):
            raise ArgumentError(
                f"row is {clipped(row)}; there are {len(self):,} rows, so expected 0 to {len(self) - 1}."
            )
        return row

    _repr_html_ = in_notebook

    def to_frame(self) -> pd.DataFrame:
        """Return one row per row.

        Returns
        -------
        pandas.DataFrame with ``row``, ``side``, ``margin``, ``distance_facet``, ``facet``, ``distance_model``,
        ``distance_boundary_inside``, ``inside``, ``sensitivity``, ``distance_counterfactual``, ``lower_bound``, ``status``,
        ``regions``, ``side_there`` and ``changes``; see the fields of this class.
        """
        import pandas as pd

        n, names = len(self), self.network.feature_names
        found = np.isfinite(self.distance)
        return pd.DataFrame(
            {
                "row": self.row,
                "side": [self.side_name(i) for i in range(n)],
                "margin": self.margin,
                "distance_facet": self.distance_facet,
                "facet": [self.facet_in_words(i) for i in range(n)],
                "distance_model": self.distance_model,
                "distance_boundary_inside": self.distance_boundary,
                "inside": self.inside,
                "sensitivity": self.sensitivity,
                "distance_counterfactual": self.distance,
                "lower_bound": self.lower_bound,
                "status": [s.name.lower() for s in self.status],
                "regions": self.regions,
                "side_there": [self.side_name(i, there=True) if found[i] else "" for i in range(n)],
                "changes": ["; ".join(f"{names[j]} {words}" for j, words in self.changes(i)) for i in range(n)],
            }
        )


def _text(value: float, digits: int = 4) -> str:
    """Return a number of so many digits, with a minus sign and not a hyphen."""
    return f"{value + 0.0:.{digits}g}".replace("-", "−")


def _apart(one: float, other: float) -> tuple[str, str]:
    """Return two numbers with as many digits as it takes to tell them apart, three at least."""

    whole = 1e4 <= max(abs(one), abs(other)) < 1e15

    def said(value: float, digits: int) -> str:
        return (f"{value:,.{max(digits - 5, 0)}f}" if whole else f"{value + 0.0:.{digits}g}").replace("-", "−")

    digits = next((n for n in range(3, 17) if said(one, n) != said(other, n)), 4)
    return said(one, digits), said(other, digits)


def _moves(difference: Floats, scale: Floats) -> Floats:
    """Return differences in units of the scale, 0 where it is 0."""
    return np.divide(difference, scale, out=np.zeros_like(difference), where=scale > 0)


# ---------------------------------------------------------------- asking


def boundary(
    of: Network | Unwrapped,
    X: Any,
    *,
    norm: float | str = 2,
    scale: Any = None,
    frozen: Sequence[str | int] = (),
    bounds: Any = None,
    level: float = 0.0,
    output: str | int | None = None,
    indicators: bool = False,
    budget: Any = 5000,
    progress: Progress | None = None,
) -> BoundaryDistances:
    """Return how far each row is from the end of its region, from the decision boundary, and from a row decided otherwise.

    Parameters
    ----------
    of : a network, or what `unwrap` returned for it, which knows the standard deviations.
    X : array or table, see `Features.encode`.
    norm : 1, 2 or inf: how moves of several features add up to one distance.
    scale : number, or (d,) numbers: how much of each feature counts as one unit of distance; 0 for one that cannot move. By
        default the standard deviation, or 1 where a network was given.
    frozen : features or columns that cannot move.
    bounds : {feature or column: (lowest, highest)}, or (d, 2); a row beyond its bounds can stay there, not go farther.
    level : the decision (log-odds for a logit link, log for a log link) at which a row is decided otherwise; for softmax
        networks 0, another class on top.
    output : whose decision, by name or position; the first by default. Softmax networks have none, their classes compete.
    indicators : whether indicators of levels move too, as numbers from 0 to 1. A mixture of levels is no row that exists, so
        what comes out is a lower bound for changes of level.
    budget : parts of the space looked at per row in the search; 0 for no search.
    progress : called with the rows done and their number.

    Returns
    -------
    BoundaryDistances : one entry per row.

    Raises
    ------
    ArgumentError : an argument makes no sense. DataError : the table does not fit, or has no rows.

    Notes
    -----
    Distance is ``‖(z − x) / scale‖``. In the row's region each preactivation and the decision are affine, so each distance
    there is that of a hyperplane: by the dual norm, or within bounds by filling the moves that gain most until they
    suffice, which is exact for the three norms. The nearest hyperplane of a neuron is a facet of the region.

    The search cuts balls around the row into parts by the sides of single neurons, and bounds each part by linear relaxation:
    whatever is decided otherwise in it lies in a half-space, whose distance is exact. The part with the least bound is cut
    first. Where no neuron may switch, a least-distance program finds the nearest point (NNLS for norm 2, HiGHS otherwise). It
    ends when no part has a lower bound than the best point. Any slopes, and any weights y >= 0 of walls ``A t >= b``, prove
    ``‖t‖ >= y'b / ‖y'A‖*``; `lower_bound` is made in this way, with room for rounding, and so does not depend on a solver.
    "Decided otherwise" means beyond the level by at least 1e-7 of the row's margin plus the rounding error of the network,
    so a decision that only touches the level does not count; a row exactly at the level counts as not above it. Every
    counterfactual has been through the network. Farther than a million units nothing is looked for.

    Indicators of one column do not move unless `indicators` is true, and neither does a number that stands in for a
    missing value. Whole numbers move as if they were continuous. `notes` says which.
    Cost: rows × neurons × features for the distances in the region; in the search a
    product of two layers per part, whose number can grow exponentially with the neurons that switch on the way.
    Sources: Zhang et al. 2018 (CROWN), Bunel et al. 2020 (branch and bound), Wang et al. 2021 (beta-CROWN); least distances:
    Lawson and Hanson 1974, chapter 23.
    """
    network, sample = (of.network, of.sample) if isinstance(of, Unwrapped) else (of, None)
    if not isinstance(network, Network):
        raise ArgumentError(f"The first argument is a {type(of).__name__}; expected a Network, or what unwrap returns.")
    kind = _norm(norm)
    target = Target.of(network, level, output)
    if not isinstance(budget, int | np.integer) or isinstance(budget, bool) or budget < 0:
        raise ArgumentError(f"budget is {clipped(budget)}; expected a whole number of parts, from 0.")
    x = network.features.encode(X)
    if len(x) == 0:
        raise DataError("X has no rows; give at least one.")
    known = sample.x if sample is not None else x
    steps, unit = _scale(network.features, scale, None if sample is None else sample.sd)
    low, high, notes = _reachable(network.features, x, known, steps, frozen, bounds, indicators)
    if sample is not None and scale is None and sample.caveat:
        notes.append(f"Standard deviations are those{sample.caveat}.")
    spread = steps if sample is None else np.where(sample.sd > 0, sample.sd, steps)
    trace = network.trace(x)
    side, margin = target.sides(trace.decision)
    near = _Near(len(x), network.n_features)
    unscaled = np.where(steps > 0, steps, 1.0)
    reach = Reach((low - x) / unscaled, (high - x) / unscaled, kind)
    geometry = Geometry(network, np.zeros(network.n_features), unscaled)
    packed, code = distinct(trace.patterns.packed)
    order = np.argsort(code, kind="stable")
    cut = np.searchsorted(code[order], np.arange(len(packed) + 1))
    for p, bits in enumerate(Patterns(np.array(packed), network.n_bits).bits()):
        rows = order[cut[p] : cut[p + 1]]
        near.fill(rows, x[rows] / unscaled, side[rows], geometry.at(bits), reach.taken(rows), target)
    walk = Walks(network, target, kind, int(budget))
    n = len(x)
    there, distance, bound = np.full_like(x, np.nan), np.full(n, np.inf), np.zeros(n)
    regions, status = np.zeros(n, dtype=np.intp), []
    for i in range(n):
        found = walk.nearest(x[i], unscaled, low[i], high[i], trace.decision[i], int(side[i]))
        there[i], distance[i], bound[i], regions[i] = found.point, found.distance, found.bound, found.parts
        status.append(found.status)
        if progress is not None:
            progress(i + 1, n)
    decision_there = np.full_like(trace.decision, np.nan)
    at = np.isfinite(distance)
    decision_there[at] = network.trace(there[at], patterns=False).decision
    return BoundaryDistances(
        network=network,
        x=x,
        row=np.arange(len(x)),
        norm=kind,
        scale=steps,
        unit=unit,
        spread=spread,
        has_sample=sample is not None,
        level=float(level),
        output=target.output,
        decision=trace.decision,
        margin=margin,
        side=side,
        distance_facet=near.facet,
        facet_layer=near.layer,
        facet_neuron=near.neuron,
        facet_normal=near.normal / unscaled,
        facet_value=near.value,
        distance_model=near.model,
        distance_boundary=near.boundary,
        inside=near.inside,
        sensitivity=near.sensitivity,
        counterfactual=there,
        distance=distance,
        lower_bound=bound,
        status=tuple(status),
        decision_there=decision_there,
        regions=regions,
        notes=tuple(notes),
    )


def _norm(norm: Any) -> Norm:
    named: dict[Any, Norm] = {1: "1", 2: "2", np.inf: "inf", "1": "1", "2": "2", "inf": "inf"}
    if isinstance(norm, bool) or not isinstance(norm, int | float | str | np.number) or norm not in named:
        raise ArgumentError(f"norm is {clipped(norm)}; expected 1, 2 or inf.")
    return named[norm]


def _scale(features: Features, scale: Any, sd: Floats | None) -> tuple[Floats, str]:
    """Return (d,) how much of each feature is one unit of distance, and the unit in words."""
    d = len(features)
    if scale is None:
        return (sd, "standard deviations") if sd is not None else (np.ones(d), "units of the features")
    try:
        given = np.asarray(scale, dtype=np.float64)
    except (TypeError, ValueError):
        given = np.zeros((0, 0))
    if given.shape not in ((), (d,)):
        raise ArgumentError(f"scale is {clipped(scale)}; expected one number, or {d}, one per feature.")
    given = np.broadcast_to(given, (d,)).copy()
    wrong = np.flatnonzero(~(np.isfinite(given) & (given >= 0)))
    if len(wrong):
        raise ArgumentError(
            f"scale is {shown(given[wrong].tolist())} for {shown([features.names[j] for j in wrong])}; expected finite "
            "numbers from 0, where 0 keeps the feature as it is."
        )
    return given, "units of the scale"


def _reachable(
    features: Features,
    x: Floats,
    known: Floats,
    scale: Floats,
    frozen: Sequence[str | int],
    bounds: Any,
    indicators: bool,
) -> tuple[Floats, Floats, list[str]]:
    """Return the lowest and highest value (n, d) of each feature of each row, and notes on what cannot move."""
    if isinstance(frozen, str):
        raise ArgumentError(f"frozen is {clipped(frozen)}; expected a list of features: frozen=[{clipped(frozen)}].")
    d, kinds = len(features), np.array([f.kind for f in features.items])
    lower, upper = np.full(d, -np.inf), np.full(d, np.inf)
    if indicators:
        lower[kinds != "value"], upper[kinds != "value"] = 0.0, 1.0
    for j, (low, high) in _bounds(features, bounds).items():
        lower[j], upper[j] = low, high
    still = scale == 0
    for feature in frozen:
        still[list(features.find(feature)[1])] = True
    notes: list[str] = []
    if not indicators and (kinds != "value").any():
        columns = list(dict.fromkeys(f.column for f in features.items if f.kind in ("level", "other")))
        if columns:
            notes.append(f"Levels of {shown(columns)} stay as they are.")
        still |= kinds != "value"
    numbers = [j for j, f in enumerate(features.items) if f.kind == "value" and not still[j]]
    whole = [j for j in numbers if np.array_equal(known[:, j], np.round(known[:, j]))]
    if whole:
        notes.append(f"Whole numbers move as if they were continuous: {shown([features.names[j] for j in whole])}.")
    low, high = np.minimum(lower, x), np.maximum(upper, x)
    fixed = np.broadcast_to(still, x.shape).copy()
    for _, indices in features.groups:
        missing = [j for j in indices if kinds[j] == "missing"]
        if missing and not indicators:
            values = [j for j in indices if kinds[j] == "value"]
            fixed[:, values] |= (x[:, missing] != 0).any(axis=1, keepdims=True)
    return np.where(fixed, x, low), np.where(fixed, x, high), notes


def _bounds(features: Features, bounds: Any) -> dict[int, tuple[float, float]]:
    """Return the bounds given, by feature."""
    if bounds is None:
        return {}
    expected = "expected {feature: (lowest, highest)}, or an array (d, 2)"
    if isinstance(bounds, Mapping):
        given = [(features.find(name), pair) for name, pair in bounds.items()]
    else:
        try:
            array = np.asarray(bounds, dtype=np.float64)
        except (TypeError, ValueError):
            raise ArgumentError(f"bounds is {clipped(bounds)}; {expected}.") from None
        if array.shape != (len(features), 2):
            raise ArgumentError(f"bounds has shape {array.shape}; {expected}, here ({len(features)}, 2).")
        given = [(features.find(j), pair) for j, pair in enumerate(array)]
    out: dict[int, tuple[float, float]] = {}
    for (name, indices), pair in given:
        values = [j for j in indices if features.items[j].kind == "value"] if len(indices) > 1 else list(indices)
        if not values:
            raise ArgumentError(f"bounds names {clipped(name)}, which has levels and no numbers; freeze it instead.")
        try:
            low, high = (float(v) for v in pair)
        except (TypeError, ValueError):
            raise ArgumentError(
                f"The bounds of {clipped(name)} are {clipped(pair)}; expected (lowest, highest)."
            ) from None
        if not low <= high:
            raise ArgumentError(f"The bounds of {clipped(name)} are {clipped((low, high))}; the lowest comes first.")
        out |= dict.fromkeys(values, (low, high))
    return out


# ---------------------------------------------------------------- within the region


class _Near:
    """Distances within the regions of rows, filled in pattern by pattern; normals are in units of the scale."""

    def __init__(self, n: int, d: int) -> None:
        self.facet, self.model, self.boundary = np.full(n, np.inf), np.full(n, np.inf), np.full(n, np.inf)
        self.layer, self.neuron = np.full(n, -1, dtype=np.intp), np.full(n, -1, dtype=np.intp)
        self.normal, self.value = np.zeros((n, d)), np.full(n, np.nan)
        self.inside, self.sensitivity = np.zeros(n, dtype=bool), np.zeros(n)

    def fill(self, rows: Integers, t: Floats, side: Integers, region: Region, reach: Reach, target: Target) -> None:
        """Fill in rows of one pattern, at t (m, d)."""
        slack = np.maximum(t @ region.inward.T + region.slack, 0.0)  # rounding may put a row beyond its own wall
        distance, wall = first_wall(region.inward, slack, reach)
        self.facet[rows] = distance
        met = np.isfinite(distance)
        at, wall = rows[met], wall[met]
        self.layer[at], self.neuron[at] = region.layer[wall], region.neuron[wall]
        self.normal[at], self.value[at] = region.inward[wall], -region.slack[wall]
        for one in np.unique(side):
            mine = np.flatnonzero(side == one)
            self._decision(rows[mine], t[mine], slack[mine], int(one), region, reach.taken(mine), target)

    def _decision(
        self, rows: Integers, t: Floats, slack: Floats, side: int, region: Region, reach: Reach, target: Target
    ) -> None:
        a, b = target.lines(region.slope, region.value, side)
        lengths = norm_of(region.inward, "2")
        here = np.full(len(rows), np.inf)
        for line, rest in zip(a, b, strict=True):
            need = np.maximum(rest - t @ line, 0.0)
            self.sensitivity[rows] = np.maximum(self.sensitivity[rows], reach.dual(np.where(reach.movable, line, 0.0)))
            distance, move = reach.half_space(np.broadcast_to(line, t.shape), need)
            with np.errstate(invalid="ignore"):
                within = (move @ region.inward.T + slack >= -SLACK * np.maximum(distance, 1e-9)[:, None] * lengths).all(
                    axis=1
                )
            nearer = distance < self.model[rows]
            self.inside[rows] = np.where(nearer, within, self.inside[rows])
            self.model[rows] = np.minimum(self.model[rows], distance)
            here = np.where(within, np.minimum(here, distance), here)
            for i in np.flatnonzero(~within & (distance < here)):
                free = reach.movable[i]
                program = Programs(reach.low[i, free], reach.high[i, free], reach.norm)
                walls = np.concatenate([line[None], region.inward])[:, free]
                point, _ = program.nearest(walls, np.concatenate([need[[i]], -slack[i]]), min(here[i], FAR))
                if point is not None:
                    here[i] = min(here[i], float(norm_of(point, reach.norm)))
        self.boundary[rows] = here
