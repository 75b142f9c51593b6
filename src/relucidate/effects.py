"""What happens as one feature changes: exact curves of single rows, their mean, and accumulated local effects.

Along one feature a network is piecewise linear, so that each row's curve is known in full from its breakpoints, and a mean
of such curves from the places where their slopes change.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from relucidate.displaying import in_notebook
from relucidate.errors import ArgumentError, DataError, clipped, shown
from relucidate.features import Feature
from relucidate.layers import Floats
from relucidate.network import Network
from relucidate.paths import encoded_rows, known, numbers_of
from relucidate.segments import Walk, checked, over_segments
from relucidate.unwrapping import Unwrapped

if TYPE_CHECKING:
    import pandas as pd

Scale = Literal["decision", "prediction"]
Progress = Callable[[int, int], None]

MAX_ROWS = 20_000  # of a table that was unwrapped, where no rows are given
_POINTS = 201  # evenly spaced, at which the mean prediction is taken
_LARGEST = 100  # places, where the slope changes most, at which it is taken too
_CELLS = 2**24


@dataclass(frozen=True, eq=False)
class Ice:
    """The decision of each row as one feature changes and the others stay (individual conditional expectation).

    Parameters
    ----------
    network : that was followed. feature : name of the feature, in its units.
    offsets : (n + 1,) knots ``offsets[i]`` to ``offsets[i + 1] - 1`` are those of row i.
    values : (T,) of the feature at the knots, increasing within a row. decision : (T, n_outputs) there.
    row : (n,) numbers of the rows in their table. own : (n,) the feature's value of each. own_decision : (n, n_outputs)
    weight : (n,) of the rows. caveat : what a figure must say: "" if all rows are here.
    """

    network: Network
    feature: str
    offsets: NDArray[np.intp]
    values: Floats
    decision: Floats
    row: NDArray[np.int64]
    own: Floats
    own_decision: Floats
    weight: Floats
    caveat: str

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.own)

    def curve(self, row: int) -> tuple[Floats, Floats]:
        """Return the knots (T_i,) of the row of that number and the decisions (T_i, n_outputs) there, linear between them.

        Raises
        ------
        ArgumentError : that row is not here.
        """
        found = np.flatnonzero(self.row == row)
        if len(found) == 0:
            raise ArgumentError(
                f"There is no curve of row {clipped(row)}; there are those of {shown(self.row.tolist(), 8)}."
            )
        return self.curve_at(int(found[0]))

    def curve_at(self, i: int) -> tuple[Floats, Floats]:
        """Return the knots and decisions of the curve at a position among the rows that are here."""
        part = slice(self.offsets[i], self.offsets[i + 1])
        return self.values[part], self.decision[part]

    @cached_property
    def mean(self) -> tuple[Floats, Floats]:
        """Values (m,) of the feature, and the weighted mean decision (m, n_outputs) there: linear between them, and exact."""
        return _summed(self.values, self.offsets, self.decision, self.weight / self.weight.sum())

    def at(self, values: Any, scale: Scale = "decision") -> Floats:
        """Return decisions or predictions of all rows at values of the feature (n, m, n_outputs).

        Raises
        ------
        ArgumentError : a value outside of the curves, or no such scale.
        """
        wanted = _inside(values, float(self.values.min()), float(self.values.max()))
        scale = _scale(self.network, scale)
        out = np.empty((self.n_rows, len(wanted), self.network.n_outputs))
        for i in range(self.n_rows):
            knots, decision = self.curve_at(i)
            for k in range(out.shape[2]):
                out[i, :, k] = np.interp(wanted, knots, decision[:, k])
        if scale == "decision":
            return out
        return self.network.inverse_link(out.reshape(-1, out.shape[2])).reshape(out.shape)

    _repr_html_ = in_notebook

    def to_frame(self) -> pd.DataFrame:
        """Return one row per knot: ``row``, the feature's ``value``, the ``decision`` (per output)."""
        import pandas as pd

        row = np.repeat(self.row, np.diff(self.offsets))
        return pd.DataFrame({"row": row, "value": self.values, **_columns("decision", self.network, self.decision)})

    def __repr__(self) -> str:
        kinks = len(self.values) - 2 * self.n_rows
        return (
            f"Ice of {self.n_rows:,} rows along {self.feature}: {kinks:,} kinks, exact between and at them{self.caveat}"
        )


@dataclass(frozen=True, eq=False)
class Effect:
    """The mean effect of one feature.

    Parameters
    ----------
    network : that was followed. feature : its name, in its units.
    kind : "partial dependence" or "accumulated local effects". scale : "decision" or "prediction".
    values : (m,) of the feature, increasing; 0, 1, … where `levels` names them.
    effect : (m, n_outputs) there. On the decision it is linear between neighbouring values, and exact everywhere; on the
        prediction it is exact at `values`.
    levels : names of the levels of a categorical feature, else ().
    distribution : (q,) quantiles of the feature over the rows, evenly spaced; shares of the levels where these are named.
    edges : of the bins of accumulated local effects, at which its slope may jump without the network's doing; else empty.
    n_rows : averaged over. caveat : what a figure must say: "" if these are all.
    """

    network: Network
    feature: str
    kind: str
    scale: Scale
    values: Floats
    effect: Floats
    levels: tuple[str, ...]
    distribution: Floats
    edges: Floats
    n_rows: int
    caveat: str

    @property
    def kinks(self) -> Floats:
        """Change of the slope at each value between the first and the last (m - 2, n_outputs)."""
        return np.diff(np.diff(self.effect, axis=0) / np.diff(self.values)[:, None], axis=0)

    def at(self, values: Any) -> Floats:
        """Return the effect at other values (k, n_outputs), linear between `values`; exact for the decision.

        Raises
        ------
        ArgumentError : a value outside, or levels have no values between them.
        """
        if self.levels:
            raise ArgumentError(f"{clipped(self.feature)} has levels and nothing between them; see to_frame().")
        wanted = _inside(values, float(self.values[0]), float(self.values[-1]))
        return np.stack([np.interp(wanted, self.values, column) for column in self.effect.T], axis=1)

    _repr_html_ = in_notebook

    def to_frame(self) -> pd.DataFrame:
        """Return one row per value: ``value``, ``level`` where levels have names, ``effect`` (per output)."""
        import pandas as pd

        columns: dict[str, Any] = {"value": self.values}
        if self.levels:
            columns["level"] = self.levels
        return pd.DataFrame({**columns, **_columns("effect", self.network, self.effect)})

    def __repr__(self) -> str:
        where = f"{len(self.levels)} levels" if self.levels else f"{len(self.values):,} values"
        return f"{self.kind.capitalize()} of {self.feature} on the {self.scale}, {self.n_rows:,} rows: {where}{self.caveat}"


def _inside(values: Any, low: float, high: float) -> Floats:
    """Return values (m,) as numbers, none of them below `low` or above `high`."""
    wanted = np.atleast_1d(np.asarray(values, dtype=np.float64))
    if not ((wanted >= low) & (wanted <= high)).all():
        raise ArgumentError(f"This is known from {low:.6g} to {high:.6g}; give low and high to go farther.")
    return wanted


def _columns(name: str, network: Network, values: Floats) -> dict[str, Floats]:
    if network.n_outputs == 1:
        return {name: values[:, 0]}
    return {f"{name}[{output}]": column for output, column in zip(network.outputs, values.T, strict=True)}


# ---------------------------------------------------------------- single rows


def ice(
    model: Network | Unwrapped,
    X: Any = None,
    feature: str | int | None = None,
    *,
    low: float | None = None,
    high: float | None = None,
    sample_weight: Any = None,
    max_rows: int = MAX_ROWS,
    progress: Progress | None = None,
) -> Ice:
    """Return the exact curve of each row along one feature.

    Parameters
    ----------
    model : a network, or what was unwrapped from it.
    X : rows as an array or table; by default those of the table that was unwrapped.
    feature : name or position of a numeric feature.
    low, high : where the curves begin and end, in the feature's units; by default its range over the rows, and over those
        that were unwrapped.
    sample_weight : (n,) weights of X; those that were unwrapped keep their own.
    max_rows : at most so many of them, evenly spaced, where X is not given.
    progress : called with the rows done and their number.

    Returns
    -------
    Ice : knots and decisions; between knots a curve is linear.

    Raises
    ------
    ArgumentError : no such feature, a categorical one, or `low` is not below `high`.
    DataError : rows do not fit the network, or the feature is constant and no range was given.

    Notes
    -----
    Breakpoints where the slope of no output changes are left out. Source: Goldstein et al. 2015, for the curves; Sotoudeh &
    Thakur 2019, for the breakpoints.
    """
    rows = _rows(model, X, sample_weight, max_rows)
    return _curves(rows, *_numeric(rows.network, feature), low, high, progress)


def _curves(
    rows: _Rows,
    name: str,
    column: int,
    zeroed: list[int],
    low: float | None,
    high: float | None,
    progress: Progress | None,
) -> Ice:
    own = rows.x[:, column]
    first, last = _range(np.concatenate([own, rows.others[:, column]]), low, high, name)
    a, b = _along(rows.x, column, zeroed, first, last)
    knots = _knots(rows.network, a, b, progress)
    return Ice(
        network=rows.network,
        feature=name,
        offsets=knots.offsets,
        values=knots.place(np.full(len(a), first), np.full(len(a), last)),
        decision=knots.decision,
        row=rows.row,
        own=own,
        own_decision=rows.network.trace(rows.x, patterns=False).decision,
        weight=rows.weight,
        caveat=rows.caveat,
    )


@dataclass(frozen=True, eq=False)
class _Rows:
    """Rows to follow, their numbers and weights, the rows whose range counts, and what a figure must say of them."""

    network: Network
    x: Floats
    row: NDArray[np.int64]
    weight: Floats
    others: Floats
    caveat: str


def _rows(model: Network | Unwrapped, X: Any, sample_weight: Any, max_rows: int) -> _Rows:
    model = known(model).identified
    network = model.network if isinstance(model, Unwrapped) else model
    others = model.sample.x if isinstance(model, Unwrapped) else np.zeros((0, network.n_features))
    most = _whole(max_rows, "max_rows")
    if X is not None:
        x = encoded_rows(network.features, X)
        if len(x) == 0:
            raise DataError("The table has no rows; give at least one.")
        return _Rows(network, x, np.arange(len(x)), _weights(sample_weight, len(x)), others, "")
    if not isinstance(model, Unwrapped):
        raise ArgumentError(
            "There are no rows to average over: give X, or what unwrap returned in place of the network."
        )
    if sample_weight is not None:
        raise ArgumentError("sample_weight goes with X; the rows that were unwrapped keep their own weights.")
    s = model.sample
    if len(s.row) <= most:
        return _Rows(network, s.x, s.row, s.weights, others, s.caveat)
    kept = np.linspace(0, len(s.row) - 1, most).astype(np.intp)
    caveat = f" (on {most:,} of {s.n:,} rows)"
    return _Rows(network, s.x[kept], s.row[kept], s.weights[kept], others, caveat)


def _whole(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ArgumentError(f"{name} is {clipped(value)}; expected a whole number, at least 1.")
    return int(value)


def _weights(given: Any, n: int) -> Floats:
    if given is None:
        return np.ones(n)
    weight = numbers_of(given, "sample_weight")
    if weight.shape != (n,) or not np.isfinite(weight).all() or (weight < 0).any() or weight.sum() <= 0:
        raise ArgumentError(
            f"sample_weight has shape {weight.shape}; expected {n:,} finite numbers that are not negative and not all 0."
        )
    return weight


def _found(network: Network, feature: str | int | None) -> tuple[str, tuple[int, ...]]:
    if feature is None:
        columns = [column for column, _ in network.features.groups]
        raise ArgumentError(f"No feature was named. Give feature=…, one of {shown(columns, 12)}.")
    return network.features.find(feature)


def _numeric(network: Network, feature: str | int | None) -> tuple[str, int, list[int]]:
    """Return name and position of a numeric feature, and the indicators that are 0 where it has a value."""
    name, indices = _found(network, feature)
    items = [network.features.items[j] for j in indices]
    numeric = [j for j, item in zip(indices, items, strict=True) if item.kind == "value"]
    if len(numeric) != 1:
        raise ArgumentError(
            f"{clipped(name)} has levels, and nothing between them to follow. Ask for partial_dependence, which gives "
            "the effect of each level."
        )
    column = numeric[0]
    of = network.features.items[column].column
    others = dict(network.features.groups)[of]
    return name, column, [j for j in others if j != column]


def _range(values: Floats, low: float | None, high: float | None, name: str) -> tuple[float, float]:
    first = float(values.min()) if low is None else float(numbers_of(low, "low"))
    last = float(values.max()) if high is None else float(numbers_of(high, "high"))
    if not (np.isfinite(first) and np.isfinite(last)) or first > last or (first == last and low is not None):
        raise ArgumentError(
            f"The range of {clipped(name)} is {first:g} to {last:g}; low must be below high, both finite."
        )
    if first == last:
        raise DataError(f"{clipped(name)} is {first:g} in every row: give low and high to say how far it may go.")
    return first, last


def _along(x: Floats, column: int, zeroed: list[int], first: Any, last: Any) -> tuple[Floats, Floats]:
    """Return rows with one feature at `first`, and at `last` (numbers or (n,))."""
    a, b = x.copy(), x.copy()
    a[:, zeroed] = b[:, zeroed] = 0
    a[:, column], b[:, column] = first, last
    return a, b


@dataclass(frozen=True, eq=False)
class _Knots:
    """Where the slope of an output changes along segments, with the ends: ``t`` in [0, 1], and decisions."""

    offsets: NDArray[np.intp]
    t: Floats
    decision: Floats

    @property
    def segment(self) -> NDArray[np.intp]:
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))

    def place(self, first: Floats, last: Floats) -> Floats:
        """Return the feature's value at each knot, where it runs from `first` (n,) to `last` (n,)."""
        of = self.segment
        inside = first[of] + self.t * (last - first)[of]
        return np.where(self.t == 0, first[of], np.where(self.t == 1, last[of], inside))


def _knots(network: Network, a: Floats, b: Floats, progress: Progress | None) -> _Knots:
    """Return the knots of segments; their first and last decisions are compared with the network's.

    Raises
    ------
    UnfaithfulError : they differ by more than rounding.
    """
    parts = over_segments(network, a, b, _kinks, progress=progress)
    segment, t, decision = (np.concatenate([part[i] for part in parts]) for i in range(3))
    # a segment that came in parts has the cuts between them twice
    keep = np.r_[True, (np.diff(segment) != 0) | (np.diff(t) > 0)]
    segment, t, decision = segment[keep], t[keep], decision[keep]
    offsets = np.searchsorted(segment, np.arange(len(a) + 1))
    for x, place in ((a, offsets[:-1]), (b, offsets[1:] - 1)):
        theirs = network.trace(x, patterns=False).decision
        checked(network, x, decision[place], theirs, "The end of a curve")
    return _Knots(offsets, t, decision)


def _kinks(walk: Walk, rows: slice) -> tuple[NDArray[np.intp], Floats, Floats]:
    """Return segment, t and decision of the knots where the slope of an output changes, and of the ends."""
    length = walk.stop - walk.start
    slope = (walk.next_value - walk.value) / length[:, None]
    last = np.r_[walk.segment[1:] != walk.segment[:-1], True]
    size = np.maximum(np.abs(walk.value), np.abs(walk.next_value)).max(axis=1)
    # what rounding of the decisions at both ends can make of a slope
    noise = 2.0**-50 * (1 + size) / length
    change = np.abs(np.diff(slope, axis=0)).max(axis=1)
    kink = np.r_[True, change > noise[1:] + noise[:-1]]
    kink |= np.r_[True, last[:-1]]
    count = kink.astype(np.intp) + last
    at = np.repeat(np.arange(len(length)), count)
    ends = np.zeros(len(at), dtype=bool)
    ends[np.cumsum(count)[last] - 1] = True
    t = np.where(ends, walk.stop[at], walk.start[at])
    decision = np.where(ends[:, None], walk.next_value[at], walk.value[at])
    return walk.segment[at] + rows.start, t, decision


# ---------------------------------------------------------------- means of rows


def partial_dependence(
    model: Network | Unwrapped,
    X: Any = None,
    feature: str | int | None = None,
    *,
    scale: Scale = "decision",
    low: float | None = None,
    high: float | None = None,
    sample_weight: Any = None,
    max_rows: int = MAX_ROWS,
    progress: Progress | None = None,
) -> Effect:
    """Return the exact partial dependence on one feature: the mean over rows as it is set to each value in turn.

    Parameters
    ----------
    model, X, low, high, sample_weight, max_rows, progress : as for `ice`.
    feature : name or position of a feature, or name of a categorical column; then each of its levels is set in turn.
    scale : "decision" or "prediction".

    Returns
    -------
    Effect : on the decision in full: linear between its values, with a kink wherever a row has one. On the prediction, whose
        mean is not linear between kinks, at 201 values evenly spaced and at the 100 largest kinks of the decision.

    Raises
    ------
    ArgumentError, DataError : as for `ice`. UnfaithfulError : the curve differs from the network by more than rounding.

    Notes
    -----
    The slope of the mean changes where that of a row does, so that the curve is the running sum of those changes. It is
    compared with the mean of the network's decisions at both ends and in the middle. Source: Friedman 2001.
    """
    rows = _rows(model, X, sample_weight, max_rows)
    net = rows.network
    scale = _scale(net, scale)
    items = [net.features.items[j] for j in _found(net, feature)[1]]
    if not any(item.kind == "value" for item in items):
        return _of_levels(rows, feature, scale)
    name, column, zeroed = _numeric(net, feature)
    curves = _curves(rows, name, column, zeroed, low, high, progress)
    values, effect = curves.mean
    first, last = float(values[0]), float(values[-1])
    share = rows.weight / rows.weight.sum()
    middle = (first + last) / 2
    here, _ = _along(rows.x, column, zeroed, middle, middle)
    at_middle = np.stack([np.interp([middle], values, e) for e in effect.T], axis=1)
    theirs = (share @ net.trace(here, patterns=False).decision)[None]
    # the row of largest entries bounds the rounding of each
    checked(net, np.abs(here).max(axis=0, keepdims=True), at_middle, theirs, "The middle of a mean curve")
    if scale == "prediction":
        values = _worth_a_look(values, effect, first, last)
        effect = _mean_predictions(rows, column, zeroed, values)
    return Effect(
        network=net,
        feature=name,
        kind="partial dependence",
        scale=scale,
        values=values,
        effect=effect,
        levels=(),
        distribution=_quantiles(rows.x[:, column], rows.weight),
        edges=np.zeros(0),
        n_rows=len(rows.x),
        caveat=rows.caveat,
    )


def _scale(network: Network, scale: Scale) -> Scale:
    if scale not in ("decision", "prediction"):
        raise ArgumentError(f"scale is {clipped(scale)}; expected 'decision' or 'prediction'.")
    return "decision" if network.link == "identity" else scale


def _summed(value: Floats, offsets: NDArray[np.intp], decision: Floats, share: Floats) -> tuple[Floats, Floats]:
    """Return values (m,) of the feature and the weighted sum of all curves there (m, n_outputs).

    Parameters
    ----------
    value : (T,) of the feature at the knots of curves, `offsets` (n + 1,). decision : (T, n_outputs)
    share : (n,) weight of each curve, which counts as level before its first knot and after its last.
    """
    of = np.repeat(np.arange(len(share)), np.diff(offsets))
    inner = np.flatnonzero(of[1:] == of[:-1])
    length = value[inner + 1] - value[inner]
    rise = (decision[inner + 1] - decision[inner]) * share[of[inner]][:, None]
    slope = np.divide(rise, length[:, None], out=np.zeros_like(rise), where=length[:, None] > 0)
    # a piece switches its slope on where it begins and off where it ends
    place = np.concatenate([value[inner], value[inner + 1]])
    change = np.concatenate([slope, -slope])
    order = np.argsort(place, kind="stable")
    at, start = np.unique(place[order], return_index=True)
    # sums of many small changes: the longer format keeps their rounding from adding up
    changes = np.add.reduceat(change[order].astype(np.longdouble), start, axis=0)
    slopes = np.cumsum(changes, axis=0)
    begin = share @ decision[offsets[:-1]]
    gains = np.cumsum(slopes[:-1] * np.diff(at.astype(np.longdouble))[:, None], axis=0)
    effect = np.concatenate([begin[None], (begin + gains).astype(np.float64)])
    return at, effect


def _worth_a_look(values: Floats, effect: Floats, first: float, last: float) -> Floats:
    """Return evenly spaced values, and those where the slope changes most."""
    kinks = np.abs(np.diff(np.diff(effect, axis=0) / np.diff(values)[:, None], axis=0)).max(axis=1, initial=0.0)
    largest = 1 + np.argsort(-kinks, kind="stable")[:_LARGEST]
    return np.unique(np.concatenate([np.linspace(first, last, _POINTS), values[largest]]))


def _mean_predictions(rows: _Rows, column: int, zeroed: list[int], values: Floats) -> Floats:
    """Return the mean prediction with the feature at each value (m, n_outputs)."""
    net, n = rows.network, len(rows.x)
    share = rows.weight / rows.weight.sum()
    out = np.empty((len(values), net.n_outputs))
    step = max(1, _CELLS // (n * net.n_features))
    for start in range(0, len(values), step):
        these = values[start : start + step]
        x = np.tile(rows.x, (len(these), 1))
        x[:, zeroed] = 0
        x[:, column] = np.repeat(these, n)
        prediction = net.inverse_link(net.trace(x, patterns=False).decision).reshape(len(these), n, -1)
        out[start : start + step] = np.einsum("n,mnk->mk", share, prediction)
    return out


def _of_levels(rows: _Rows, feature: str | int | None, scale: Scale) -> Effect:
    """Return the partial dependence on a categorical column: each of its levels is set in turn."""
    net = rows.network
    column = net.features.items[_found(net, feature)[1][0]].column
    indices = dict(net.features.groups)[column]
    items = [net.features.items[j] for j in indices]
    codes = np.eye(len(indices))
    names = [_level_name(item) for item in items]
    none = ~rows.x[:, indices].any(axis=1)
    if none.any():  # a level that has no indicator of its own, the one that was dropped
        codes = np.vstack([codes, np.zeros(len(indices))])
        names.append("none of these")
    share = rows.weight / rows.weight.sum()
    effect = np.empty((len(codes), net.n_outputs))
    for i, code in enumerate(codes):
        x = rows.x.copy()
        x[:, indices] = code
        decision = net.trace(x, patterns=False).decision
        effect[i] = share @ (net.inverse_link(decision) if scale == "prediction" else decision)
    shares = share @ np.column_stack([rows.x[:, indices], none] if none.any() else [rows.x[:, indices]])
    return Effect(
        network=net,
        feature=column,
        kind="partial dependence",
        scale=scale,
        values=np.arange(len(codes), dtype=np.float64),
        effect=effect,
        levels=tuple(names),
        distribution=shares,
        edges=np.zeros(0),
        n_rows=len(rows.x),
        caveat=rows.caveat,
    )


def _level_name(item: Feature) -> str:
    if item.kind == "level":
        return " or ".join(str(level) for level in item.levels)
    return {"missing": "missing", "other": "another level"}[item.kind]


def _quantiles(values: Floats, weight: Floats, n: int = 201) -> Floats:
    """Return n evenly spaced weighted quantiles, each one of the values."""
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weight[order])
    place = np.searchsorted(total, np.linspace(0, 1, n) * total[-1], side="left")
    return values[order][np.minimum(place, len(values) - 1)]


def ale(
    model: Network | Unwrapped,
    X: Any = None,
    feature: str | int | None = None,
    *,
    bins: int = 20,
    sample_weight: Any = None,
    max_rows: int = MAX_ROWS,
    progress: Progress | None = None,
) -> Effect:
    """Return the accumulated local effects of one feature: slopes averaged over the rows that are near, and added up.

    Parameters
    ----------
    model, X, sample_weight, max_rows, progress : as for `ice`.
    feature : name or position of a numeric feature.
    bins : at most so many, with as many rows each; rows in a bin count as near to each other.

    Returns
    -------
    Effect : linear between its values; its weighted mean over the rows is 0.

    Raises
    ------
    ArgumentError : `bins` is below 1, no such feature, a categorical one. DataError : as for `ice`.

    Notes
    -----
    At a value v the slope is the mean, over the rows of the bin that v is in, of the network's slope at v with their other
    features; it is known in full, and integrated exactly. Unlike partial dependence it does not look at combinations of
    features that are far from the data. Source: Apley & Zhu 2020.
    """
    bins = _whole(bins, "bins")
    rows = _rows(model, X, sample_weight, max_rows)
    net = rows.network
    name, column, zeroed = _numeric(net, feature)
    own = rows.x[:, column]
    _range(own, None, None, name)
    edges = np.unique(np.r_[own.min(), _quantiles(own, rows.weight, bins + 1), own.max()])
    bin_of = np.clip(np.searchsorted(edges, own, side="left") - 1, 0, len(edges) - 2)
    first, last = edges[bin_of], edges[bin_of + 1]
    total = np.bincount(bin_of, rows.weight, len(edges) - 1)
    total = np.where(total > 0, total, 1.0)
    a, b = _along(rows.x, column, zeroed, first, last)
    knots = _knots(net, a, b, progress)
    place = knots.place(first, last)
    values, effect = _summed(place, knots.offsets, knots.decision, rows.weight / total[bin_of])
    share = rows.weight / rows.weight.sum()
    effect = effect - np.array([share @ np.interp(own, values, e) for e in effect.T])
    return Effect(
        network=net,
        feature=name,
        kind="accumulated local effects",
        scale="decision",
        values=values,
        effect=effect,
        levels=(),
        distribution=_quantiles(own, rows.weight),
        edges=edges,
        n_rows=len(own),
        caveat=rows.caveat,
    )
