"""How far a row is from where its region ends, from the decision boundary, and from the nearest row decided otherwise."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from relucidate.errors import ArgumentError, DataError, clipped, shown
from relucidate.exact import Bounds, U, thresholds
from relucidate.features import Features
from relucidate.grouping import distinct
from relucidate.layers import Bools, Floats, is_sparse
from relucidate.network import Network, Patterns
from relucidate.unwrapping import Unwrapped

if TYPE_CHECKING:
    import pandas as pd

Integers = NDArray[np.intp]
Norm = Literal["1", "2", "inf"]
Progress = Callable[[int, int], None]

STEP = 1e-7  # of the way of a decision to the level: so far beyond the level counts as across
_FAR = 1e6  # units of the scale, or times the size of the row in them: farther nothing is looked for
_SAME = 1e-6  # relative gap between the best point found and the proved bound, up to which they count as equal
_SLACK = 1e-9  # of a distance, by which a point may lie beyond a wall
_PENALTY = 1e5  # price of lying beyond a wall, in distances; see `_Programs`
_TRIES = 20  # steps of the first guess
_TOLD = 3  # features that are written out in an equation


class Search(Enum):
    """How the search for the nearest row decided otherwise ended, with what to do about it."""

    FOUND = "The nearest one is found: no point nearer is decided otherwise."
    NONE = "Nothing that can be reached is decided otherwise: widen `bounds`, or let more features move."
    BUDGET = "The budget was reached before the nearest one was proved: raise `budget`, or freeze or bound features."
    UNDECIDED = "Rounding hides whether something nearer is decided otherwise: trust `lower_bound`, and give a `scale`."


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
    regions : (n,) regions looked at. notes : what a reader should know.
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
    budget: Any = 500,
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
    budget : regions looked at per row in the search; 0 for no search.
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

    The search takes regions in the order of their distance from the row. In each it finds the nearest point that is decided
    otherwise (a least-distance program, by NNLS for norm 2 and by HiGHS for the others), then queues the regions beyond its
    walls. It ends when the best point is no farther than the next region. Any weights y >= 0 of the walls ``A t >= b`` prove
    ``‖t‖ >= y'b / ‖y'A‖*``; `lower_bound` is made of the solver's weights in this way,
    and so does not depend on the solver being right.
    "Decided otherwise" means beyond the level by at least 1e-7 of the row's margin plus the rounding error of the network,
    so a decision that only touches the level does not count; a row exactly at the level counts as not above it. Every
    counterfactual has been through the network. Farther than a million units nothing is looked for.

    Indicators of one column do not move unless `indicators` is true, and neither does a number that stands in for a
    missing value. Whole numbers move as if they were continuous. `notes` says which.
    Cost: rows × neurons × features for the distances in the region; in the search one program per region looked at, whose
    number can grow exponentially with the neurons that switch on the way.
    Source: Jordan, Lewis and Dimakis 2019 (GeoCert); least distances: Lawson and Hanson 1974, chapter 23.
    """
    network, sample = (of.network, of.sample) if isinstance(of, Unwrapped) else (of, None)
    if not isinstance(network, Network):
        raise ArgumentError(f"The first argument is a {type(of).__name__}; expected a Network, or what unwrap returns.")
    kind = _norm(norm)
    target = _Target.of(network, level, output)
    if not isinstance(budget, int | np.integer) or isinstance(budget, bool) or budget < 0:
        raise ArgumentError(f"budget is {clipped(budget)}; expected a whole number of regions, from 0.")
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
    reach = _Reach((low - x) / unscaled, (high - x) / unscaled, kind)
    geometry = _Geometry(network, np.zeros(network.n_features), unscaled)
    packed, code = distinct(trace.patterns.packed)
    order = np.argsort(code, kind="stable")
    cut = np.searchsorted(code[order], np.arange(len(packed) + 1))
    for p, bits in enumerate(Patterns(np.array(packed), network.n_bits).bits()):
        rows = order[cut[p] : cut[p + 1]]
        near.fill(rows, x[rows] / unscaled, side[rows], geometry.at(bits), reach.taken(rows), target)
    walk = _Walks(network, target, kind, int(budget))
    n = len(x)
    there, distance, bound = np.full_like(x, np.nan), np.full(n, np.inf), np.zeros(n)
    regions, status = np.zeros(n, dtype=np.intp), []
    for i in range(n):
        found = walk.nearest(x[i], unscaled, low[i], high[i], trace.decision[i], int(side[i]))
        there[i], distance[i], bound[i], regions[i] = found.point, found.distance, found.bound, found.regions
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


# ---------------------------------------------------------------- what is aimed at


@dataclass(frozen=True, eq=False)
class _Target:
    """What "decided otherwise" means. output : -1 where classes compete."""

    output: int
    level: float

    @staticmethod
    def of(network: Network, level: Any, output: str | int | None) -> _Target:
        if not isinstance(level, int | float | np.number) or isinstance(level, bool) or not np.isfinite(level):
            raise ArgumentError(f"level is {clipped(level)}; expected a finite number, a decision of the network.")
        if network.link != "softmax":
            return _Target(0 if output is None else network.output_index(output), float(level))
        if output is not None or level != 0:
            raise ArgumentError(
                "A softmax network is decided otherwise when another class is on top; it takes neither output nor level. For "
                "one class against another, give network.contrast(one, other)."
            )
        return _Target(-1, 0.0)

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


# ---------------------------------------------------------------- distances to half-spaces


def _length(t: Floats, norm: Norm) -> Floats:
    """Return the norms of vectors (…, d)."""
    if t.shape[-1] == 0:
        return np.zeros(t.shape[:-1])
    if norm == "2":
        return np.asarray(np.sqrt((t * t).sum(axis=-1)))
    return np.asarray(np.abs(t).sum(axis=-1) if norm == "1" else np.abs(t).max(axis=-1))


_DUAL: dict[Norm, Norm] = {"1": "inf", "2": "2", "inf": "1"}


@dataclass(frozen=True, eq=False)
class _Reach:
    """How far rows can move. low, high : (m, d) in units of the scale, around 0. norm : of the moves."""

    low: Floats
    high: Floats
    norm: Norm

    def taken(self, rows: Any) -> _Reach:
        """Return that of some rows."""
        return _Reach(self.low[rows], self.high[rows], self.norm)

    @cached_property
    def movable(self) -> Bools:
        """Which features can move at all (m, d)."""
        return (self.low < 0) | (self.high > 0)

    @cached_property
    def is_free(self) -> bool:
        """Whether what can move is not limited."""
        return not (self.movable & (np.isfinite(self.low) | np.isfinite(self.high))).any()

    def half_space(self, a: Floats, g: Floats) -> tuple[Floats, Floats]:
        """Return per row the distance (m,) to ``a @ t >= g``, inf where out of reach, and the nearest point (m, d)."""
        if a.shape[1] == 0:
            return np.where(g > 0, np.inf, 0.0), np.zeros(a.shape)
        c = np.where(self.movable, np.abs(a), 0.0)
        cap = np.where(c > 0, np.where(a > 0, self.high, -self.low), 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            t = self._greedy(c, cap, g) if self.norm == "1" else self._level(c, cap, g)
        t = np.where(g[:, None] > 0, t, 0.0)
        out = np.isnan(t.sum(axis=1))
        size = _length(np.where(out[:, None], 0.0, t), self.norm)
        return np.where(out, np.inf, size), np.where(out[:, None], np.nan, t * np.sign(a))

    @staticmethod
    def _greedy(c: Floats, cap: Floats, g: Floats) -> Floats:
        """Return moves >= 0 with ``c @ t = g`` of the least sum: those that gain most come first."""
        order = np.argsort(-c, axis=1, kind="stable")
        c, cap = np.take_along_axis(c, order, 1), np.take_along_axis(cap, order, 1)
        gain = np.where(cap > 0, c * cap, 0.0)
        before = np.concatenate([np.zeros((len(c), 1)), np.cumsum(gain, axis=1)[:, :-1]], axis=1)
        need = np.clip(g[:, None] - np.where(np.isfinite(before), before, np.inf), 0.0, None)
        t = np.where(c > 0, np.minimum(np.where(c > 0, need / c, 0.0), cap), 0.0)
        short = (gain.sum(axis=1) < g) | ~(c > 0).any(axis=1)
        out = np.empty_like(t)
        np.put_along_axis(out, order, np.where(short[:, None], np.nan, t), 1)
        return out

    def _level(self, c: Floats, cap: Floats, g: Floats) -> Floats:
        """Return moves >= 0 with ``c @ t = g`` of the least norm: all rise together until each meets its cap."""
        q, knot = (c * c, np.where(c > 0, cap / c, np.inf)) if self.norm == "2" else (c, np.where(c > 0, cap, np.inf))
        order = np.argsort(knot, axis=1, kind="stable")
        ks, qs = np.take_along_axis(knot, order, 1), np.take_along_axis(q, order, 1)
        full = np.where(np.isfinite(ks), qs * ks, 0.0)
        before = np.cumsum(full, axis=1) - full
        rest = np.cumsum(qs[:, ::-1], axis=1)[:, ::-1]
        theta = np.where(rest > 0, (g[:, None] - before) / rest, np.inf)
        fits = (theta <= ks) & np.isfinite(theta)
        first = fits.argmax(axis=1)
        rows = np.arange(len(c))
        at = np.where(fits[rows, first], theta[rows, first], np.nan)[:, None]
        return np.where(c > 0, np.minimum(at * c if self.norm == "2" else at, cap), 0.0 * at)

    def dual(self, a: Floats) -> Floats:
        """Return the dual norms of rows (…, d)."""
        return _length(a, _DUAL[self.norm])


# ---------------------------------------------------------------- regions


@dataclass(frozen=True, eq=False)
class _Region:
    """One pattern's affine pieces around an origin, in units of the scale: the region is where ``inward @ t + slack >= 0``.

    Parameters
    ----------
    bits : (n_bits,). bit : (B,) of each wall. layer, neuron : (B,).
    stuck : bits of neurons that are at their breakpoint throughout. slope : (n_outputs, d), value : (n_outputs,).
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


class _Geometry:
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
        return float(_length(np.asarray(slope), _DUAL[norm]).max(initial=0.0))

    def decision(self, t: Floats) -> Floats:
        """Return the decision at a point."""
        z = self.map @ t + self.constant
        for before, layer in zip(self.network.layers, self.network.layers[1:], strict=False):
            z = np.asarray(layer.weight @ before.activation(z[None])[0]) + layer.bias
        return z

    def bits(self, t: Floats) -> Bools:
        """Return the pattern at a point, to rounding."""
        z, parts = self.map @ t + self.constant, [np.zeros(0, dtype=bool)]
        for layer, after in zip(self.network.layers, self.network.layers[1:], strict=False):
            parts.append(layer.activation.bits(z[None])[0])
            z = np.asarray(after.weight @ layer.activation(z[None])[0]) + after.bias
        return np.concatenate(parts)

    def at(self, bits: Bools, tied: Any = None, way: Floats | None = None) -> _Region:
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
        walls: list[tuple[Any, ...]] = []
        stuck: list[Integers] = [np.zeros(0, dtype=np.intp)]
        start, terms = 0, 2 + self.network.n_features
        for i, layer in enumerate(layers):
            if i:
                weight: Any = layer.weight
                v, c = np.asarray(weight @ v), weight @ c + layer.bias
                sv, sc = np.asarray(self.magnitude[i] @ sv), self.magnitude[i] @ sc + np.abs(layer.bias)
                terms += weight.shape[1] + 2
            v = np.where(np.abs(v) > 4 * terms * U * sv, v, 0.0)
            if i == len(layers) - 1:
                break
            activation = layer.activation
            neuron, k = activation.switches
            stop = start + len(neuron)
            place = np.arange(start, stop)
            gap = c[neuron] - activation.breakpoints[neuron, k]
            close = np.abs(gap) <= 4 * terms * U * (sc[neuron] + np.abs(activation.breakpoints[neuron, k]))
            normal = v[neuron]
            if way is not None:
                at = close if tied is None else np.isin(place, tied)
                if tied is None:
                    bits[place] = gap > 0
                bits[place[at]] = normal[at] @ way > 1e-12 * np.abs(normal[at]) @ np.abs(way)
            sign = np.where(bits[start:stop], 1.0, -1.0)
            real = normal.any(axis=1)
            stuck.append(place[~real & close])
            walls.append(
                (sign[real, None] * normal[real], (sign * gap)[real], place[real], np.full(real.sum(), i), neuron[real])
            )
            slopes, offsets = activation.pieces_in_force(bits[None, start:stop])
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
        return _Region(bits, parts[0], parts[1], parts[2], parts[3], parts[4], np.concatenate(stuck), v, c)


class _Near:
    """Distances within the regions of rows, filled in pattern by pattern; normals are in units of the scale."""

    def __init__(self, n: int, d: int) -> None:
        self.facet, self.model, self.boundary = np.full(n, np.inf), np.full(n, np.inf), np.full(n, np.inf)
        self.layer, self.neuron = np.full(n, -1, dtype=np.intp), np.full(n, -1, dtype=np.intp)
        self.normal, self.value = np.zeros((n, d)), np.full(n, np.nan)
        self.inside, self.sensitivity = np.zeros(n, dtype=bool), np.zeros(n)

    def fill(self, rows: Integers, t: Floats, side: Integers, region: _Region, reach: _Reach, target: _Target) -> None:
        """Fill in rows of one pattern, at t (m, d)."""
        slack = np.maximum(t @ region.inward.T + region.slack, 0.0)  # rounding may put a row beyond its own wall
        distance, wall = _first_wall(region.inward, slack, reach)
        self.facet[rows] = distance
        met = np.isfinite(distance)
        at, wall = rows[met], wall[met]
        self.layer[at], self.neuron[at] = region.layer[wall], region.neuron[wall]
        self.normal[at], self.value[at] = region.inward[wall], -region.slack[wall]
        for one in np.unique(side):
            mine = np.flatnonzero(side == one)
            self._decision(rows[mine], t[mine], slack[mine], int(one), region, reach.taken(mine), target)

    def _decision(
        self, rows: Integers, t: Floats, slack: Floats, side: int, region: _Region, reach: _Reach, target: _Target
    ) -> None:
        a, b = target.lines(region.slope, region.value, side)
        lengths = _length(region.inward, "2")
        here = np.full(len(rows), np.inf)
        for line, rest in zip(a, b, strict=True):
            need = np.maximum(rest - t @ line, 0.0)
            self.sensitivity[rows] = np.maximum(self.sensitivity[rows], reach.dual(np.where(reach.movable, line, 0.0)))
            distance, move = reach.half_space(np.broadcast_to(line, t.shape), need)
            with np.errstate(invalid="ignore"):
                within = (
                    move @ region.inward.T + slack >= -_SLACK * np.maximum(distance, 1e-9)[:, None] * lengths
                ).all(axis=1)
            nearer = distance < self.model[rows]
            self.inside[rows] = np.where(nearer, within, self.inside[rows])
            self.model[rows] = np.minimum(self.model[rows], distance)
            here = np.where(within, np.minimum(here, distance), here)
            for i in np.flatnonzero(~within & (distance < here)):
                free = reach.movable[i]
                program = _Programs(reach.low[i, free], reach.high[i, free], reach.norm)
                walls = np.concatenate([line[None], region.inward])[:, free]
                point, _ = program.nearest(walls, np.concatenate([need[[i]], -slack[i]]), min(here[i], _FAR))
                if point is not None:
                    here[i] = min(here[i], float(_length(point, reach.norm)))
        self.boundary[rows] = here


def _first_wall(inward: Floats, slack: Floats, reach: _Reach) -> tuple[Floats, Integers]:
    """Return per row the distance (m,) to the nearest wall, inf where none can be reached, and which wall it is."""
    m, B = slack.shape
    best, which = np.full(m, np.inf), np.full(m, -1, dtype=np.intp)
    if B == 0:
        return best, which
    length = reach.dual(np.where(reach.movable.any(axis=0), inward, 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        least = np.where(length > 0, slack / length, np.inf)  # as if nothing were bounded: no more than the distance
    order = np.argsort(least, axis=1, kind="stable")
    for k in range(B):
        wall = order[:, k]
        rows = np.flatnonzero(least[np.arange(m), wall] < best)
        if len(rows) == 0:
            break
        wall = wall[rows]
        distance, _ = reach.taken(rows).half_space(-inward[wall], slack[rows, wall])
        nearer = distance < best[rows]
        best[rows[nearer]], which[rows[nearer]] = distance[nearer], wall[nearer]
    return best, which


# ---------------------------------------------------------------- least distances


class _Programs:
    """Least-distance programs: the shortest t with ``A t >= b`` and ``low <= t <= high``.

    Notes
    -----
    What a solver says of its walls' weights y >= 0 is turned into a bound that holds whatever they are: every t there has
    ``(y'A) t >= y'b``, one half-space, whose distance within low and high is exact. A t that breaks its walls is not
    returned.
    """

    def __init__(self, low: Floats, high: Floats, norm: Norm) -> None:
        self.low, self.high, self.norm = low, high, norm
        self.reach = _Reach(low[None], high[None], norm)
        self._solver: Any = None

    def one_wall(self, a: Floats, b: Floats) -> Floats:
        """Return the distance (m,) to each of ``a @ t >= b`` alone."""
        if self.reach.is_free:
            length = self.reach.dual(a)
            with np.errstate(divide="ignore", invalid="ignore"):
                return np.where(b <= 0, 0.0, np.where(length > 0, b / length, np.inf))
        whole = (np.broadcast_to(self.low, a.shape), np.broadcast_to(self.high, a.shape))
        return _Reach(*whole, self.norm).half_space(a, b)[0]

    def nearest(self, A: Floats, b: Floats, within: float, roughly: bool = False) -> tuple[Floats | None, float]:
        """Return the shortest t, None if there is none, and a bound that no t is shorter than.

        Parameters
        ----------
        within : no t longer than this is looked for. roughly : whether the bound is enough.

        Notes
        -----
        For the other norms too the program in norm 2 comes first: it is quicker, and its weights prove that there is no t.
        """
        length = _length(A, "2")
        if (b[length == 0] > 0).any():
            return None, np.inf
        A, b = A[length > 0] / length[length > 0, None], b[length > 0] / length[length > 0]
        # rounding; walls that nothing but rounding tilts are without end away, and say nothing of it
        near = np.abs(b)[np.abs(b) < _FAR]
        violated = b > 1e-15 * max(1.0, float(near.max(initial=0.0)))
        if not violated.any():
            return np.zeros(A.shape[1]), 0.0
        least = float(self.one_wall(A[violated], b[violated]).max())
        if least >= within:
            return None, least
        needed = b > -within * self.reach.dual(A)  # no t so short can break the others
        A, b, unit = A[needed], b[needed], max(least, 1e-300)
        low, high = (np.where(np.abs(v) < within, v / unit, np.copysign(np.inf, v)) for v in (self.low, self.high))
        t, y = _by_nnls(A, b / unit, low, high, roughly or self.norm != "2")
        bound = max(least, self._proved(A, b, y))
        if bound >= within or roughly:
            return None, bound
        if self.norm != "2":
            t, y = self._by_highs(A, b / unit, low, high)
            bound = max(bound, self._proved(A, b, y))
        if t is None:
            return None, bound
        t = np.clip(unit * t, self.low, self.high)
        size = float(_length(t, self.norm))
        if not (A @ t - b >= -_SLACK * size).all():
            return None, bound
        return t, min(bound, size)

    def _proved(self, A: Floats, b: Floats, y: Floats) -> float:
        """Return the distance to the half-space that weights y >= 0 of the walls prove; what is 0 to rounding is 0."""
        together = y @ A
        together[np.abs(together) <= 8 * len(y) * U * (y @ np.abs(A))] = 0.0
        return float(self.one_wall(together[None], np.array([y @ b]))[0])

    def _by_highs(self, A: Floats, b: Floats, low: Floats, high: Floats) -> tuple[Floats | None, Floats]:
        """Return the shortest t in norm 1 or inf, and the weights of the walls.

        Notes
        -----
        One more variable lets all walls give way at a price, so that there always is a solution with weights; where it is
        used there is no t, unless the walls meet so sharply that the weights would exceed the price.
        """
        import highspy

        if self._solver is None:

            class Quiet(highspy.Highs):  # type: ignore[misc, unused-ignore]
                def enableCallbacks(self) -> None:
                    """Leave callbacks off: turning them on prints a banner before any option can be set."""

            self._solver = Quiet()  # type: ignore[no-untyped-call, unused-ignore]
            options = {"output_flag": False, "threads": 1, "presolve": "off"}
            options |= {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
            for name, value in options.items():
                self._solver.setOptionValue(name, value)
        m, d = A.shape
        one = np.ones((m, 1))
        if self.norm == "1":  # t is the first d less the second d
            rows, cost = np.hstack([A, -A, one]), np.ones(2 * d + 1)
            lower, upper = np.zeros(2 * d + 1), np.concatenate([high, -low, [np.inf]])
            least = b
        else:  # t, and its largest entry
            eye, top = np.eye(d), np.ones((d, 1))
            rows = np.vstack([np.hstack([A, 0 * one, one]), *(np.hstack([s * eye, top, 0 * top]) for s in (1, -1))])
            cost = np.concatenate([np.zeros(d), [1.0, 1.0]])
            lower, upper = np.concatenate([low, [0.0, 0.0]]), np.concatenate([high, [np.inf, np.inf]])
            least = np.concatenate([b, np.zeros(2 * d)])
        cost[-1] = _PENALTY
        n = rows.shape[1]
        row, column = np.nonzero(rows)
        program = highspy.HighsLp()
        program.num_col_, program.num_row_ = n, len(rows)
        program.col_cost_, program.col_lower_, program.col_upper_ = cost, lower, upper
        program.row_lower_, program.row_upper_ = least, np.full(len(rows), np.inf)
        program.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        program.a_matrix_.start_ = np.searchsorted(row, np.arange(len(rows) + 1)).astype(np.int32)
        program.a_matrix_.index_, program.a_matrix_.value_ = column.astype(np.int32), rows[row, column]
        self._solver.passModel(program)
        self._solver.run()
        if self._solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            return None, np.zeros(m)
        solution = self._solver.getSolution()
        value, y = np.array(solution.col_value), np.maximum(np.array(solution.row_dual)[:m], 0.0)
        t = value[:d] - value[d : 2 * d] if self.norm == "1" else value[:d]
        return t, y


def _by_nnls(A: Floats, b: Floats, low: Floats, high: Floats, roughly: bool = False) -> tuple[Floats | None, Floats]:
    """Return the shortest t in norm 2, and the weights of the walls (Lawson and Hanson 1974, chapter 23).

    Notes
    -----
    With u >= 0 the least-squares solution of ``[A b]' u = (0, …, 0, 1)`` and r what is left, ``t = -r[:d] / r[d]``; r is 0
    where there is no t. The walls with u > 0 are those that t lies on, from which it is found again to full precision. With
    `roughly` the weights are enough.
    """
    from scipy.optimize import lsq_linear, nnls

    m, d = A.shape
    up, down = np.flatnonzero(np.isfinite(high)), np.flatnonzero(np.isfinite(low))
    eye = np.eye(d)
    A = np.concatenate([A, -eye[up], eye[down]])
    b = np.concatenate([b, -high[up], low[down]])
    length = np.sqrt(1 + b * b)
    system, wanted = np.vstack([A.T, b]) / length, np.zeros(d + 1)
    wanted[-1] = 1.0
    try:
        u = nnls(system, wanted)[0]
    except RuntimeError:  # it went round in circles
        u = np.maximum(lsq_linear(system, wanted, bounds=(0.0, np.inf), tol=1e-14).x, 0.0)
    rest = system @ u - wanted
    u = u / length
    if roughly or not rest[-1] < -1e-14:
        return None, u[:m]
    t = -rest[:-1] / rest[-1]
    on = u > 0
    again = np.linalg.lstsq(A[on], b[on], rcond=None)[0]
    if (A @ again - b).min() >= min((A @ t - b).min(), -1e-13):
        t = again
    return t, u[:m]


# ---------------------------------------------------------------- walking across regions


@dataclass(frozen=True, eq=False)
class _Found:
    """What a search found. point : (d,), NaN if nothing. distance : inf if nothing."""

    point: Floats
    distance: float
    bound: float
    regions: int
    status: Search


@dataclass(frozen=True, eq=False)
class _Walks:
    """Searches for the nearest row decided otherwise, one row at a time."""

    network: Network
    target: _Target
    norm: Norm
    budget: int

    @cached_property
    def _rounding(self) -> tuple[Bounds, ...]:
        return tuple(Bounds(layer) for layer in self.network.layers)

    def nearest(self, x: Floats, scale: Floats, low: Floats, high: Floats, decision: Floats, side: int) -> _Found:
        """Return what the search from one row x (d,) finds between low and high (d,)."""
        free = (low < x) | (high > x)
        margin = float(np.abs(self.target.sides(decision[None])[1][0]))
        error = float(thresholds(self._rounding, np.abs(x))[-1].max())
        step = STEP * (margin if np.isfinite(margin) else 0.0) + 4 * error
        walk = _Walk(
            geometry=_Geometry(self.network, x, scale, free),
            programs=_Programs(((low - x) / scale)[free], ((high - x) / scale)[free], self.norm),
            target=self.target,
            side=side,
            step=step,
            far=_FAR * max(1.0, float(np.abs(x / scale).max(initial=0.0))),
        )
        status = walk.run(self.budget)
        point = np.full(len(x), np.nan)
        bound = walk.bound
        if walk.move is None:
            return _Found(point, np.inf, bound, walk.regions, status)
        point = x.copy()
        point[free] = np.clip(x[free] + scale[free] * walk.move, low[free], high[free])
        distance = float(_length((point - x) / scale, self.norm))
        if not self.target.across(self.network.trace(point[None], patterns=False).decision[0], side):
            return _Found(np.full(len(x), np.nan), np.inf, bound, walk.regions, Search.UNDECIDED)
        return _Found(point, distance, min(bound, distance), walk.regions, status)


@dataclass(frozen=True, eq=False)
class _Step:
    """From one region to the one beyond a wall. wall : -1 where it is known to bound the region."""

    inner: _Region
    beyond: Bools
    wall: int = -1

    @cached_property
    def key(self) -> bytes:
        """What two equal patterns share."""
        return np.packbits(self.beyond).tobytes()


class _Walk:
    """The search from one row, which is at t = 0.

    Parameters
    ----------
    step : of the decision, beyond the level. far : no t longer than this is looked for.

    Notes
    -----
    Why no region is missed: those that meet the open ball of any radius, less where they meet in more than one wall, hang
    together, so each is reached across walls within the ball, and is queued before anything farther is taken.
    """

    def __init__(
        self, geometry: _Geometry, programs: _Programs, target: _Target, side: int, step: float, far: float
    ) -> None:
        self.geometry, self.programs, self.target = geometry, programs, target
        self.side, self.step, self.far = side, step, far
        self.move: Floats | None = None
        self.best = np.inf
        self.bound = 0.0
        self.regions = 0
        d = geometry.map.shape[1]
        self._probe = np.random.default_rng(0).normal(size=d)
        self._queue: list[tuple[float, int, _Step]] = []
        self._seen: set[bytes] = set()
        self._pushed = 0
        self._floor = np.inf  # no point of the regions looked at is nearer

    def run(self, budget: int) -> Search:
        """Search, and return how it ended."""
        start = self.geometry.at(np.zeros(self.geometry.network.n_bits, dtype=bool), way=self._probe)
        # a row exactly at the level has no margin, and may have no rounding
        self.step = max(self.step, 1e-5 * STEP * self.geometry.steepest(self.programs.norm), np.finfo(float).tiny)
        if budget:
            self._guess(start)
            self._look(0.0, start)
        else:
            self._push(0.0, _Step(start, start.bits))
        while self._queue and self._queue[0][0] < self._within:
            least, _, step = heapq.heappop(self._queue)
            if step.key in self._seen:
                continue
            if step.wall >= 0:
                least = max(least, self._facet(step))
                if least < self._within:
                    self._push(least, _Step(step.inner, step.beyond))
                continue
            if self.regions >= budget:
                self.bound = min(least, self._floor, self.best)
                return Search.BUDGET
            self._look(least, self.geometry.at(step.beyond))
        ahead = self._queue[0][0] if self._queue else np.inf
        self.bound = min(ahead, self._floor, self.best)
        corner = np.maximum(-self.programs.low, self.programs.high)
        if float(_length(corner, self.programs.norm)) > self.far:  # beyond, nothing was looked for
            self.bound = min(self.bound, self.far)
        if self.move is None:
            return Search.NONE if self._floor == np.inf else Search.UNDECIDED
        return Search.FOUND if self.best <= self.bound * (1 + _SAME) + 1e-300 else Search.UNDECIDED

    def _look(self, least: float, region: _Region) -> None:
        """Look for a point in a region, and queue what lies beyond its walls."""
        self._seen.add(np.packbits(region.bits).tobytes())
        self.regions += 1
        self._cross(region)
        self._spread(least, region)

    def _facet(self, step: _Step) -> float:
        """Return a bound on the distance to a wall where it bounds its region, inf if it does not."""
        region = step.inner
        walls = np.concatenate([-region.inward[[step.wall]], region.inward])
        rest = np.concatenate([region.slack[[step.wall]], -region.slack])
        return self.programs.nearest(walls, rest, self._within, roughly=True)[1]

    @property
    def _within(self) -> float:
        return min(self.best, self.far)

    def _push(self, least: float, step: _Step) -> None:
        self._pushed += 1
        heapq.heappush(self._queue, (least, self._pushed, step))

    def _spread(self, least: float, region: _Region) -> None:
        """Queue the walls of a region: what is beyond them is no nearer than the region, and than the wall."""
        walls = np.maximum(self.programs.one_wall(-region.inward, region.slack), least)
        together = self._together(region)
        _, first = np.unique(together, return_index=True)
        for w in first[walls[first] < self._within]:
            tied = region.bit[together == together[w]]
            if len(tied) > 1 or len(region.stuck):
                tied = np.concatenate([tied, region.stuck])
                beyond = self.geometry.at(region.bits, tied=tied, way=-region.inward[w]).bits
            else:
                beyond = region.bits.copy()
                beyond[tied] ^= True
            step = _Step(region, beyond, int(w))
            if step.key not in self._seen:
                self._push(float(walls[w]), step)

    def _together(self, region: _Region) -> Integers:
        """Return a number per wall, the same for walls on one hyperplane."""
        length = _length(region.inward, "2")
        length = np.where(length > 0, length, 1.0)  # a wall that no feature that may move leads to
        place = np.stack([region.inward @ self._probe, region.slack], axis=1) / length[:, None]
        place *= np.where(place[:, :1] < 0, -1.0, 1.0)
        order = np.lexsort(place.T[::-1])
        apart = np.abs(np.diff(place[order], axis=0)) > 1e-9 * (1 + np.abs(place[order][1:]))
        out = np.empty(len(order), dtype=np.intp)
        out[order] = np.concatenate([[0], np.cumsum(apart.any(axis=1))])[: len(order)]
        return out

    def _cross(self, region: _Region) -> None:
        """Find the nearest point of a region that is decided otherwise."""
        lines, rest = self.target.lines(region.slope, region.value, self.side)
        rest = rest + self.step
        alone = self.programs.one_wall(lines, rest) if len(lines) else np.zeros(0)
        for k in np.argsort(alone, kind="stable"):
            if alone[k] >= self._within:
                break
            walls = np.concatenate([lines[[k]], region.inward])
            point, least = self.programs.nearest(walls, np.concatenate([rest[[k]], -region.slack]), self._within)
            if least < self._within:
                self._floor = min(self._floor, least)
            if point is not None:
                self._take(point)

    def _across(self, point: Floats) -> bool:
        """Return whether a point is decided otherwise; by half the step, since a program meets the step to rounding."""
        return self.target.across(self.geometry.decision(point), self.side, self.step / 2)

    def _take(self, point: Floats) -> None:
        """Keep a point if it is decided otherwise and the nearest so far."""
        if not self._across(point):
            return
        size = float(_length(point, self.programs.norm))
        if size < self._within:
            self.best, self.move = size, point

    def _guess(self, region: _Region) -> None:
        """Find some point that is decided otherwise: to where the local model says, anew from there, then back.

        Notes
        -----
        Moosavi-Dezfooli, Fawzi and Frossard 2016 (DeepFool), with each step taken from the row itself.
        """
        whole = self.programs.reach
        for _ in range(_TRIES):
            lines, rest = self.target.lines(region.slope, region.value, self.side)
            if len(lines) == 0:
                return
            low, high = np.broadcast_to(whole.low, lines.shape), np.broadcast_to(whole.high, lines.shape)
            reach = _Reach(low, high, whole.norm)
            distance, moves = reach.half_space(lines, rest + self.step)
            k = int(distance.argmin())
            if not distance[k] < self.far:
                return
            if self._across(moves[k]):
                before = self.best
                self._back(moves[k])
                if self.move is None or not self.best < before * (1 - 1e-3):
                    return
            region = self.geometry.at(self.geometry.bits(moves[k] if self.move is None else self.move))

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
