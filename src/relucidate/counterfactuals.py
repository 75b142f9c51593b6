"""How far a row is from where its region ends, from the decision boundary, and from the nearest row decided otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, localcontext
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from relucidate.displaying import in_notebook
from relucidate.errors import ArgumentError, DataError, clipped, shown
from relucidate.explaining import imputed_cells
from relucidate.facets import others_in_words
from relucidate.features import Features, Level
from relucidate.grouping import distinct
from relucidate.layers import Bools, Floats
from relucidate.least_distances import DUAL, FAR, SLACK, Integers, Norm, Programs, Reach, first_wall, norm_of
from relucidate.nearest_points import LARGE, Geometry, Region, Search, Target, Walks
from relucidate.network import Network, Patterns
from relucidate.unwrapping import Unwrapped
from relucidate.words import plural

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["BoundaryDistances", "Search", "boundary"]

Progress = Callable[[int, int], None]

_TOLD = 3  # features that are written out in an equation
_LARGEST = 700.0  # decision whose exponential is told
_DIGITS = 15  # of a decimal number that float64 tells from others of as many


# ---------------------------------------------------------------- the result


@dataclass(frozen=True, eq=False)
class BoundaryDistances:
    """How far rows are from the end of their region, from the decision boundary, and from a row decided otherwise.

    Parameters
    ----------
    network : what was asked. x : (n, d) rows, encoded. row : (n,) their numbers.
    norm : "1", "2" or "inf". scale : (d,) what counts as one unit of distance of each feature; 0 where it cannot move.
    bounds : (d, 2) lowest and highest value that features may move to. unit : the unit of the distances in words.
    spread : (d,) standard deviation of each feature, the scale where it is 0 or `has_sample` is false, that is, where a
        network was given.
    level : the decision at which a row is decided otherwise; NaN where none was named for a regression, and then all that
        rests on it is NaN too. output : position of the output; -1 where classes compete.
    decision : (n, n_outputs). margin : (n,) decision less level; of a softmax network, largest decision less the second.
    side : (n,) 1 above the level, 0 not above, -1 without a level; of a softmax network the class on top.
    distance_facet : (n,) to where the first neuron switches, inf if none does.
    facet_layer, facet_neuron : (n,) hidden layer and neuron that switches there, -1 without one.
    facet_normal : (n, d) and facet_value : (n,): the facet is where ``facet_normal @ x == facet_value``.
    distance_model : (n,) to where the row's own local linear model reaches the level, in the region or beyond.
    distance_boundary : (n,) the same within the region only, inf where the region does not reach the level.
    inside : (n,) whether the nearest point of `distance_model` lies in the region, so that both distances are one.
    sensitivity : (n,) the most that the local linear model's decision changes per unit of distance.
    counterfactual : (n, d) the nearest row found that is decided otherwise, NaN if none.
    distance : (n,) to it, inf if none. lower_bound : (n,) no row nearer than this is decided otherwise, by more than `step`.
    step : (n,) of the decision, beyond the level: 1e-7 of the margin, and what rounding may add; 0 without a search. Where it
        is more than 1e-3 of the margin, as of a row at the level, `lower_bound` is one that holds without.
    status : (n,) of `Search`. decision_there : (n, n_outputs) of the network at the counterfactual, NaN if none.
    regions : (n,) regions and larger parts of the space looked at. notes : what a reader should know.
    """

    network: Network
    x: Floats
    row: NDArray[np.int64]
    norm: Norm
    scale: Floats
    bounds: Floats
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
    step: Floats
    status: tuple[Search, ...]
    decision_there: Floats
    regions: Integers
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.x)

    @property
    def decides(self) -> bool:
        """Whether there is a level at which rows are decided otherwise; else only the distances to facets are known."""
        return not np.isnan(self.level)

    def __repr__(self) -> str:
        counts = [(s.name.lower(), sum(t is s for t in self.status)) for s in Search]
        told = ", ".join(f"{n:,} {name}" for name, n in counts if n) if self.decides else "to facets only"
        return f"Boundary distances of {len(self):,} row{'s' * (len(self) != 1)} (norm {self.norm}): {told}"

    def side_name(self, i: int, there: bool = False) -> str:
        """Return how a row is decided, or its counterfactual, in words; "" without a level."""
        if not self.decides:
            return ""
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
        others = others_in_words(int(np.count_nonzero(normal)) - len(told))
        held = f"; {others}" if others else ""
        now, then = _apart(here, end)
        name = self.network.hidden[layer].name or f"layer {layer}"
        return f"neuron {self.facet_neuron[i]} of {name}: {said.removeprefix('+ ')} = {then} (here {now}{held})"

    def changes(self, i: int) -> tuple[tuple[int, str], ...]:
        """Return (feature, "81.2 → 74.9") of each feature that the counterfactual changes, the largest change first.

        Notes
        -----
        Numbers are rounded away from the row, to as few digits as leave the network deciding otherwise where these numbers
        take the place of the row's: to three digits and a tenth of the change, or more. A model that rounds to float32 may
        not follow.
        """
        x, there = self.x[i], self.counterfactual[i]
        if np.isnan(there).any():
            return ()
        move = np.abs(_moves(there - x, self.spread))
        order = [int(j) for j in np.argsort(-move, kind="stable") if there[j] != x[j]]
        kept = [j for j in order if move[j] > 1e-9 * move.max()]  # less is rounding
        target = Target(self.output, self.level)
        for digits in range(_DIGITS):
            told = [_away(float(x[j]), float(there[j]), digits, self.bounds[j]) for j in kept]
            row = x.copy()
            row[kept] = [value for value, _ in told]
            if target.across(self.network.trace(row[None], patterns=False).decision[0], int(self.side[i])):
                return tuple((j, words) for j, (_, words) in zip(kept, told, strict=True))
        return tuple((j, f"{_exactly(x[j])} → {_exactly(there[j])}") for j in order)

    def summary(self, row: int = 0, most: int = 5) -> list[str]:
        """Return what matters about one row, a sentence a line.

        Parameters
        ----------
        row : its number in the table. most : features named.

        Raises
        ------
        ArgumentError : there is no such row, or `most` is no number from 1.
        """
        i = self.position(row)
        if not _is_whole(most) or most < 1:
            raise ArgumentError(f"most is {clipped(most)}; expected a whole number from 1.")
        lines = self._decided(i)
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
            rest = f" and {plural(len(changes) - most, 'more feature')}" if len(changes) > most else ""
            lines.append(
                f"Decided {self.side_name(i, there=True)} instead with {', '.join(named)}{rest}: {_text(self.distance[i], 3)} "
                f"{self.unit} away."
            )
        if self.status[i] is not Search.FOUND and 0 < self.lower_bound[i] < np.inf:
            lines.append(
                f"Proved: nothing nearer than {_text(self.lower_bound[i], 3)} {self.unit} is decided otherwise."
            )
        return [*lines, self.status[i].value, *self.notes]

    def _decided(self, i: int) -> list[str]:
        if not self.decides:
            decision = float(self.decision[i, self.output])
            return [f"Row {self.row[i]:,} has a decision of {_text(decision)}{self._predicted(decision, ', ')}."]
        lines = [f"Row {self.row[i]:,} is decided {self.side_name(i)}, with a margin of {_text(self.margin[i])}."]
        if self.output >= 0 and (self.level != 0 or self.network.link == "log"):
            told = self._predicted(self.level, "is ")
            lines += [f"The level, a decision of {_text(self.level)}, {told}."] if told else []
        return lines

    def _predicted(self, decision: float, before: str) -> str:
        """Return what a decision of the output is as a prediction, "" where both are the same or the range is left."""
        if self.network.link == "identity" or abs(decision) > _LARGEST:
            return ""
        prediction = self.network.inverse_link(np.full((1, self.network.n_outputs), decision))[0, self.output]
        return f"{before}a prediction of {_text(prediction)}"

    def position(self, row: int) -> int:
        """Return a row's number after checking that there is one.

        Raises
        ------
        ArgumentError : there is no such row.
        """
        if not _is_whole(row) or not 0 <= row < len(self):
            raise ArgumentError(
                f"row is {clipped(row)}; there are {len(self):,} rows, so expected 0 to {len(self) - 1}."
            )
        return row

    _repr_html_ = in_notebook

    def rows(self) -> pd.DataFrame:
        """Return the counterfactuals as rows of the user's table.

        Returns
        -------
        pandas.DataFrame with the columns that the network takes, and the numbers of the rows that have a counterfactual as
        index. The network takes it as it takes the rows themselves.

        Raises
        ------
        ArgumentError : indicators have moved to a mixture of levels, which is no row.

        Notes
        -----
        A number that stands in for a missing value is missing again where the network has an indicator of that. Levels that
        are pooled are told by the first of them, those without an indicator by one that has none.
        """
        import pandas as pd

        found = np.flatnonzero(np.isfinite(self.distance))
        features, z = self.network.features, self.counterfactual[found]
        cells = {column: _cells(features, column, indices, z) for column, indices in features.groups}
        unused = np.full(len(z), np.nan)
        return pd.DataFrame({c: cells.get(c, unused) for c in features.columns}, index=self.row[found])

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


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _exactly(value: float) -> str:
    return repr(float(value) + 0.0).replace("-", "−")


def _away(one: float, other: float, more: int, bounds: Floats) -> tuple[float, str]:
    """Return a number near another and beyond it as seen from one, in few digits, and "one → number" in words.

    Parameters
    ----------
    more : how many digits more than three, and than a tenth of the difference asks for. bounds : (2,) that it stays within.
    """
    place = min(_place(other) - 2, _place(other - one) - 1) - more
    whole = 1e4 <= max(abs(one), abs(other)) < 1e15
    place = min(place, 0) if whole else place
    if place < _place(other) - _DIGITS + 1:
        return other, f"{_exactly(one)} → {_exactly(other)}"
    with localcontext() as context:
        context.prec = 400
        unit = Decimal(1).scaleb(place)
        exact = Decimal(other).quantize(unit, rounding=ROUND_CEILING if other > one else ROUND_FLOOR)
    value = float(exact)
    if not min(bounds[0], other) <= value <= max(bounds[1], other):
        return other, f"{_exactly(one)} → {_exactly(other)}"

    def said(v: float) -> str:
        if whole:
            return f"{v:,.{-place}f}".replace("-", "−")
        return _text(v, min(max(_place(v) - place + 1, 3), _DIGITS))

    return value, f"{said(one)} → {said(value)}"


def _place(value: float) -> int:
    """Return the power of ten of the first digit."""
    return Decimal(value).adjusted() if value else 0


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


# ---------------------------------------------------------------- back to the user's table


def _cells(features: Features, column: str, indices: tuple[int, ...], z: Floats) -> NDArray[Any]:
    """Return what rows (n, d) have in one column of the user's (n,)."""
    items = [features.items[j] for j in indices]

    def of(kind: str) -> Floats:
        return z[:, [j for j, item in zip(indices, items, strict=True) if item.kind == kind]]

    missing, other, values = of("missing").any(axis=1), of("other").any(axis=1), of("value")
    if not np.isin(np.column_stack([of("missing"), of("other"), of("level")]), (0.0, 1.0)).all():
        raise ArgumentError(
            f"Row by row {clipped(column)} must have one level, or no value; it has moved to a mixture, which is no row of a "
            "table. Call boundary without indicators=True."
        )
    if values.shape[1]:
        return np.where(missing, np.nan, values[:, 0])
    own = [item.levels for item in items if item.kind == "level"]
    shown_by = {level for levels in own for level in levels}
    pooled = [level for item in items if item.kind == "other" for level in item.levels if level not in shown_by]
    beyond = _beyond(shown_by.union(pooled), dict(features.known).get(column))
    out = np.full(len(z), pooled[0] if pooled else beyond, dtype=object)
    out[other] = beyond
    on = of("level") != 0
    for i in np.flatnonzero(on.any(axis=1)):
        out[i] = own[int(on[i].argmax())][0]
    out[missing] = None
    return np.array([None if level != level else level for level in out], dtype=object)


def _beyond(levels: set[Level], known: Sequence[Level] | None) -> Level | None:
    """Return a level that is none of these, None for no value."""
    if known is not None:
        return next((level for level in known if level == level and level not in levels), None)
    if any(isinstance(level, str) for level in levels):
        name = "other"
        while name in levels:
            name += " level"
        return name
    numbers = [level for level in levels if level == level and not isinstance(level, str)]
    return max(numbers) + 1 if numbers else None


# ---------------------------------------------------------------- asking


def boundary(
    of: Network | Unwrapped,
    X: Any,
    *,
    norm: float | str = 2,
    scale: Any = None,
    frozen: Sequence[str | int] = (),
    bounds: Any = None,
    level: float | None = None,
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
    bounds : {feature or column: (lowest, highest)}, or (d, 2); a row beyond its bounds can stay there, not go farther. Those of
        indicators count if these move.
    level : the decision (log-odds for a logit link, log for a log link) at which a row is decided otherwise. By default 0
        for a logit link; a regression has none, and without one its distances to facets are all that is returned. Softmax
        networks take none: another class is on top.
    output : whose decision, by name or position; the first by default. Softmax networks have none, their classes compete.
    indicators : whether indicators of levels move too, as numbers from 0 to 1. A mixture of levels is no row that exists, so
        what comes out is a lower bound for changes of level.
    budget : parts of the space looked at per row in the search; 0 for no search, and then `lower_bound` is how far the row's
        region is proof.
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
    "Decided otherwise" means beyond the level: below it for a row above, above it for a row that is not. A decision at the
    level, where side names would say "not above", is not beyond. What is proved is proved of decisions beyond it by `step`,
    1e-7 of the row's margin and four times what rounding may change the row's decision. Where that is more than 1e-3 of the
    margin, as it is for a row at the level, the proof falls back on the row's own region. Every counterfactual has been
    through the network. Farther than a million units, or times the row's own size, nothing is looked for, unless one linear
    model is all there is.

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
    decides = level is not None or network.is_classifier
    target = Target.of(network, 0.0 if level is None else level, output)
    if not _is_whole(budget) or budget < 0:
        raise ArgumentError(f"budget is {clipped(budget)}; expected a whole number of parts, from 0.")
    x = network.features.encode(X)
    if len(x) == 0:
        raise DataError("X has no rows; give at least one.")
    known = sample.x if sample is not None else x
    steps, unit = _scale(network.features, scale, None if sample is None else sample.sd)
    low, high, limits, notes = _reachable(network.features, x, known, steps, frozen, bounds, indicators)
    imputed = imputed_cells(network.features, X, x) if not indicators else np.zeros(x.shape, dtype=bool)
    low, high = np.where(imputed, x, low), np.where(imputed, x, high)
    if sample is not None and scale is None and sample.caveat:
        notes.append(f"Standard deviations are those{sample.caveat}.")
    spread = steps if sample is None else np.where(sample.sd > 0, sample.sd, steps)
    trace = network.trace(x)
    side, margin = target.sides(trace.decision)
    near = _Near(len(x), network.n_features, decides)
    unscaled = np.where(steps > 0, steps, 1.0)
    whole = _unit(network, x, unscaled, kind)  # what is a unit of the distances until they are returned
    unscaled = unscaled * whole
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
    there, distance, bound = np.full_like(x, np.nan), np.full(n, np.nan), np.full(n, np.nan)
    regions, status = np.zeros(n, dtype=np.intp), [Search.UNASKED] * n
    step = np.full(n, np.nan)
    if not decides:
        side, margin = np.full_like(side, -1), np.full_like(margin, np.nan)
    for i in range(n):
        if decides and not budget:
            distance[i], bound[i], status[i] = np.inf, min(near.facet[i], near.model[i]), Search.SKIPPED
            step[i] = 0.0
        elif decides:
            found = walk.nearest(
                x[i], unscaled, low[i], high[i], trace.decision[i], int(side[i]), max(1.0, FAR / whole)
            )
            there[i], distance[i], bound[i], regions[i] = found.point, found.distance, found.bound, found.parts
            status[i], step[i] = found.status, found.step
        if progress is not None:
            progress(i + 1, n)
    if tied := int((step > LARGE * np.abs(margin)).sum()):
        notes.append(
            f"At the level, to rounding, {'is' if tied == 1 else 'are'} {tied:,} of {n:,} rows: what is found there is beyond "
            "it by `step`; something nearer may be by less."
        )
    decision_there = np.full_like(trace.decision, np.nan)
    at = np.isfinite(distance)
    decision_there[at] = network.trace(there[at], patterns=False).decision
    return BoundaryDistances(
        network=network,
        x=x,
        row=np.arange(len(x)),
        norm=kind,
        scale=steps,
        bounds=limits,
        unit=unit,
        spread=spread,
        has_sample=sample is not None,
        level=target.level if decides else np.nan,
        output=target.output,
        decision=trace.decision,
        margin=margin,
        side=side,
        distance_facet=near.facet * whole,
        facet_layer=near.layer,
        facet_neuron=near.neuron,
        facet_normal=near.normal / unscaled,
        facet_value=near.value,
        distance_model=near.model * whole,
        distance_boundary=near.boundary * whole,
        inside=near.inside,
        sensitivity=near.sensitivity / whole,
        counterfactual=there,
        distance=distance * whole,
        lower_bound=bound * whole,
        step=step,
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


def _unit(network: Network, x: Floats, scale: Floats, norm: Norm) -> float:
    """Return a power of two that distances are of the order of: 1 unless they are very far from that."""
    geometry = Geometry(network, np.abs(x).mean(axis=0), scale)
    lengths = norm_of(geometry.size, DUAL[norm])
    known = (lengths > 0) & (geometry.constant_size > 0)
    with np.errstate(over="ignore", divide="ignore"):
        order = np.log2(geometry.constant_size[known]) - np.log2(lengths[known])
    middle = float(np.median(order)) if len(order) else 0.0
    return 1.0 if abs(middle) < 20 or not np.isfinite(middle) else float(2.0 ** np.clip(round(middle), -1000, 1000))


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
    frozen: Any,
    bounds: Any,
    indicators: bool,
) -> tuple[Floats, Floats, Floats, list[str]]:
    """Return the lowest and highest value (n, d) of each feature of each row, the bounds (d, 2), and notes on both."""
    if isinstance(frozen, str) or not isinstance(frozen, Iterable):
        hint = "() for none" if frozen is None else f"frozen=[{clipped(frozen)}]"
        raise ArgumentError(f"frozen is {clipped(frozen)}; expected a list of features: {hint}.")
    d, kinds = len(features), np.array([f.kind for f in features.items])
    lower, upper = np.full(d, -np.inf), np.full(d, np.inf)
    if indicators:
        lower[kinds != "value"], upper[kinds != "value"] = 0.0, 1.0
    for j, (low, high) in _bounds(features, bounds, indicators).items():
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
    return np.where(still, x, low), np.where(still, x, high), np.column_stack([lower, upper]), notes


def _bounds(features: Features, bounds: Any, indicators: bool) -> dict[int, tuple[float, float]]:
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
        if isinstance(bounds, Mapping) and not indicators and features.items[values[0]].kind != "value":
            raise ArgumentError(
                f"bounds names {clipped(name)}, an indicator, which stays as it is; leave it out, or give indicators=True."
            )
        if twice := [features.names[j] for j in values if j in out]:
            raise ArgumentError(
                f"bounds names {shown(twice)} more than once, by name, column or position; name each once."
            )
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

    def __init__(self, n: int, d: int, decides: bool) -> None:
        unmet = np.inf if decides else np.nan
        self.decides = decides
        self.facet, self.model, self.boundary = np.full(n, np.inf), np.full(n, unmet), np.full(n, unmet)
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
            if not self.decides:
                continue
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
                ends = np.concatenate([need[[i]], -slack[i]])
                point, least = program.nearest(walls, ends, min(here[i], FAR))
                if point is None and FAR <= least < here[i]:
                    point, _ = program.nearest(walls, ends, here[i])
                if point is not None:
                    here[i] = min(here[i], float(norm_of(point, reach.norm)))
        if self.decides:
            self.boundary[rows] = here
