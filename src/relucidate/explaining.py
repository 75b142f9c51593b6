"""Why a row has its decision: its local linear model, what each feature adds, and where that model ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from relucidate.errors import ArgumentError, UnfaithfulError, clipped, shown
from relucidate.exact import Bounds, U, thresholds
from relucidate.features import Feature
from relucidate.grouping import distinct
from relucidate.layers import Floats, is_sparse
from relucidate.network import Network, Patterns, Trace
from relucidate.unwrapping import TOLERANCE, Unwrapped

if TYPE_CHECKING:
    import pandas as pd

Integers = NDArray[np.intp]

_BLOCK = 2**20  # numbers held at once
_NEGLIGIBLE = 0.005  # of the largest term of an equation, below which one is not written out


@dataclass(frozen=True)
class Term:
    """What one column of the user's says about one row.

    Parameters
    ----------
    name : of the column. value : in words, "94.2" or the level. weight : per unit, NaN where several indicators share it.
    effect : weight × value. centred : weight × (value - mean), both added up over the indicators of the column.
    """

    name: str
    value: str
    weight: float
    effect: float
    centred: float


@dataclass(frozen=True, eq=False)
class Explanation:
    """The local linear model of each row, and where it ends.

    Parameters
    ----------
    network : what was explained.
    row : (n,) numbers of the rows in the table. x : (n, d) encoded.
    region : (n,) region of each row, -1 where its pattern was never seen.
    pattern : (n,) index of each row in `coef` (P, n_outputs, d) and `constant` (P, n_outputs), the maps of the patterns.
    mean : (d,) of the features over the rows that were unwrapped. decision, prediction : (n, n_outputs).
    distance : (n,) to the nearest facet, in standard deviations of the features; inf where the region has no end.
    facet_layer, facet_neuron : (n,) hidden layer and neuron that switches there, -1 without one.
    facet_breakpoint : (n,) value of its preactivation there.
    facet_normal : (n, d) and facet_value : (n,): the facet is where ``facet_normal @ x == facet_value``.
    lower, upper : (n, d) values between which each feature alone can move before the region ends; may be infinite.
    spread : (d,) standard deviation of the features over the rows that were unwrapped.
    count : (n,) rows in the region, 0 if never seen. share : (n,) of the rows, by weight.
    support : (n,) share of the rows, by weight, in regions that hold as few rows or fewer.
    scores : local scores of the region by name, (n,) each: {} without a response, NaN where not defined.
    caveat : "" if means and standard deviations are those of all rows.
    """

    network: Network
    row: NDArray[np.int64]
    x: Floats
    region: Integers
    pattern: Integers
    coef: Floats
    constant: Floats
    mean: Floats
    decision: Floats
    prediction: Floats
    distance: Floats
    facet_layer: Integers
    facet_neuron: Integers
    facet_breakpoint: Floats
    facet_normal: Floats
    facet_value: Floats
    lower: Floats
    upper: Floats
    spread: Floats
    count: NDArray[np.int64]
    share: Floats
    support: Floats
    scores: dict[str, Floats]
    caveat: str

    def __len__(self) -> int:
        return len(self.row)

    @property
    def weight(self) -> Floats:
        """Coefficients (n, n_outputs, d), decision per unit."""
        return self.coef[self.pattern]

    @property
    def intercept(self) -> Floats:
        """Intercepts (n, n_outputs); with the sum of `effect` they are the decision."""
        return self.constant[self.pattern]

    @property
    def effect(self) -> Floats:
        """``weight * x`` (n, n_outputs, d)."""
        return self.weight * self.x[:, None]

    @property
    def centred(self) -> Floats:
        """``weight * (x - mean)`` (n, n_outputs, d)."""
        return self.weight * (self.x - self.mean)[:, None]

    @property
    def mean_part(self) -> Floats:
        """What each row's local linear model says of the mean row (n, n_outputs); with the sum of `centred`, the decision."""
        return (self.constant + self.coef @ self.mean)[self.pattern]

    # ---------------------------------------------------------------- one row

    def position(self, row: int | None = None) -> int:
        """Return where a row is in the arrays, by its number in the table; the first by default.

        Raises
        ------
        ArgumentError : it was not explained.
        """
        if row is None:
            return 0
        at = np.flatnonzero(self.row == row)
        if len(at) == 0:
            raise ArgumentError(f"Row {clipped(row)} was not explained; there are rows {shown(self.row.tolist(), 12)}.")
        return int(at[0])

    def output_of(self, i: int, output: str | int | None = None) -> int:
        """Return the position of an output; by default the first, or of a softmax network the class predicted."""
        if output is not None:
            return self.network.output_index(output)
        return int(self.decision[i].argmax()) if self.network.link == "softmax" else 0

    def terms(self, row: int | None = None, output: str | int | None = None) -> tuple[Term, ...]:
        """Return what each column says about a row, largest centred effect first, ties in the order of the columns.

        Parameters
        ----------
        row : its number in the table; the first by default.
        output : name or position; by default the first, or of a softmax network the class predicted.
        """
        i = self.position(row)
        features, weight = self.network.features, self.coef[self.pattern[i], self.output_of(i, output)]
        effect = features.grouped(weight * self.x[i])
        centred = features.grouped(weight * (self.x[i] - self.mean))
        out = []
        for g in np.argsort(-np.abs(centred), kind="stable"):
            column, indices = features.groups[g]
            alone = len(indices) == 1
            out.append(
                Term(
                    features.names[indices[0]] if alone else column,
                    _value_in_words([features.items[j] for j in indices], self.x[i, list(indices)]),
                    float(weight[indices[0]]) if alone else float("nan"),
                    float(effect[g]),
                    float(centred[g]),
                )
            )
        return tuple(out)

    def facet_in_words(self, row: int | None = None, names: Sequence[str] | None = None) -> str:
        """Return where the region of a row ends at the nearest, as an equation; "" where it has no end.

        Parameters
        ----------
        row : its number in the table; the first by default.
        names : what to call the features, if not by their own names.

        Notes
        -----
        The three features that count most are written out, by coefficient times standard deviation, the first with the
        coefficient 1. The others are taken as they are in this row.
        """
        i = self.position(row)
        if not np.isfinite(self.distance[i]):
            return ""
        normal, names = self.facet_normal[i], names or self.network.feature_names
        size = np.abs(normal * self.spread)
        told = np.argsort(-size, kind="stable")[:3]
        told = told[size[told] >= _NEGLIGIBLE * size[told[0]]]
        first = normal[told[0]]
        factors = normal[told] / first
        now = float(factors @ self.x[i, told])
        end = now + float(self.facet_value[i] - normal @ self.x[i]) / float(first)
        said = [f"{'−' if f < 0 else '+'} {_factor(abs(f))}{names[j]}" for j, f in zip(told, factors, strict=True)]
        there, here = _apart(end, now)
        rest = int(np.count_nonzero(normal)) - len(told)
        held = f"; {rest} other feature{'s' * (rest != 1)} as they are" if rest else ""
        return f"{' '.join(said).removeprefix('+ ')} = {there} (here {here}{held})"

    def summary(self, row: int | None = None, output: str | int | None = None, most: int = 5) -> list[str]:
        """Return what matters about one row, a sentence a line.

        Parameters
        ----------
        row : its number in the table; the first by default.
        output : name or position; by default the first, or of a softmax network the class predicted.
        most : features named.
        """
        i = self.position(row)
        k = self.output_of(i, output)
        net, terms = self.network, self.terms(row, output)
        of = f" for {clipped(net.outputs[k])}" if net.n_outputs > 1 else ""
        lines = [
            f"Row {self.row[i]:,}: the decision{of} is {_text(self.decision[i, k])}"
            + ("." if net.link == "identity" else f", the prediction {_text(self.prediction[i, k])}."),
            f"Its local linear model says {_text(self.mean_part[i, k])} of the mean row{self.caveat}; the features of this "
            f"row add {_text(sum(t.centred for t in terms))}.",
        ]
        named = [f"{t.name} = {t.value} adds {_text(t.centred, '+')}" for t in terms[:most] if t.centred]
        rest = terms[len(named) :]
        more = f"; the other {len(rest)} add {_text(sum(t.centred for t in rest), '+')}" if rest else ""
        lines.append(f"{', '.join(named)}{more}." if named else "No feature makes a difference to the mean row there.")
        return [*lines, *self.reliability(row), *self.end(row)]

    def reliability(self, row: int | None = None) -> list[str]:
        """Return how much there is to the region of a row, a sentence a line."""
        i = self.position(row)
        if self.region[i] < 0:
            return [
                "No row that was unwrapped has the activation pattern of this one: its local linear model is exact, but "
                "untested by data."
            ]
        count, r = int(self.count[i]), self.region[i]
        lines = [
            f"It lies in region {r}, with {count:,} row{'s' * (count != 1)} ({self.share[i]:.2%} of all); "
            f"{self.support[i]:.0%} of the rows lie in regions no larger."
        ]
        known = [
            f"{_score_name(name)} {_text(values[i])}" for name, values in self.scores.items() if not np.isnan(values[i])
        ]
        return lines + [f"On the region's own rows: {', '.join(known)}."] * bool(known)

    def end(self, row: int | None = None, names: Sequence[str] | None = None) -> list[str]:
        """Return where the region of a row ends, a sentence a line.

        Parameters
        ----------
        row : its number in the table; the first by default.
        names : what to call the features, if not by their own names.
        """
        i = self.position(row)
        if not np.isfinite(self.distance[i]):
            return ["Nothing ends its region: no neuron switches as the features that vary do."]
        layer = int(self.facet_layer[i])
        lines = [
            f"The region ends where {self.facet_in_words(row, names)}: {self.distance[i]:.3g} standard deviations away, "
            f"where neuron {self.facet_neuron[i]} of {self.network.hidden[layer].name or f'layer {layer}'} switches."
        ]
        moves = self._closest_moves(i, names or self.network.feature_names)
        return lines + [f"Alone, {'; '.join(moves)}."] * bool(moves)

    def _closest_moves(self, i: int, names: Sequence[str], most: int = 3) -> list[str]:
        """Return for the numeric features that are nearest to a facet between which values they can move."""
        items, x = self.network.features.items, self.x[i]
        with np.errstate(divide="ignore", invalid="ignore"):
            near = np.minimum(x - self.lower[i], self.upper[i] - x) / self.spread
        order = [j for j in np.argsort(near, kind="stable") if np.isfinite(near[j]) and items[j].kind == "value"]
        return [_range_in_words(names[j], x[j], self.lower[i, j], self.upper[i, j]) for j in order[:most]]

    # ---------------------------------------------------------------- table

    def __repr__(self) -> str:
        n = len(self.row)
        return (
            f"Explanation of {n:,} row{'s' * (n != 1)}, {int((self.region < 0).sum()):,} of them in regions never seen"
        )

    def to_frame(self) -> pd.DataFrame:
        """Return one row per row, output and feature.

        Returns
        -------
        pandas.DataFrame with ``row``, ``output``, ``feature``, ``value``, ``weight``, ``effect``, ``centred effect``, and
        ``lower``, ``upper``: between which values the feature can move alone before the region ends.
        """
        import pandas as pd

        n, K, d = len(self), self.network.n_outputs, self.network.n_features
        whole = (n, K, d)
        columns = {
            "value": np.broadcast_to(self.x[:, None], whole),
            "weight": self.weight,
            "effect": self.effect,
            "centred effect": self.centred,
            "lower": np.broadcast_to(self.lower[:, None], whole),
            "upper": np.broadcast_to(self.upper[:, None], whole),
        }
        names = {
            "row": np.repeat(self.row, K * d),
            "output": np.tile(np.repeat(np.array(self.network.outputs, dtype=object), d), n),
            "feature": np.tile(np.array(self.network.feature_names, dtype=object), n * K),
        }
        return pd.DataFrame(names | {name: values.reshape(-1) for name, values in columns.items()})


# ---------------------------------------------------------------- words


def _value_in_words(items: Sequence[Feature], x: Floats) -> str:
    """Return the value of a column: its number, or those of its indicators that are on."""
    if len(items) == 1:
        return _number(float(x[0]))
    on = [item for item, value in zip(items, x, strict=True) if item.kind != "value" and value]
    numbers = [value for item, value in zip(items, x, strict=True) if item.kind == "value"]
    if on:
        said = {"missing": "missing", "other": "another level"}
        return " + ".join(said.get(item.kind, " or ".join(str(level) for level in item.levels)) for item in on)
    return _number(float(numbers[0])) if numbers else "none of its levels"


def _text(value: float, sign: str = "", digits: int = 4) -> str:
    """Return a number of so many digits, with a minus sign and not a hyphen."""
    return f"{value + 0.0:{sign}.{digits}g}".replace("-", "−")


def _number(value: float) -> str:
    """Return a number as a person would write it: whole ones whole, others to four digits."""
    if 1e4 <= abs(value) < 1e15 or (value == round(value) and abs(value) < 1e4):
        return f"{value + 0.0:,.0f}".replace("-", "−")
    return _text(value)


def _factor(value: float) -> str:
    return "" if value == 1 else f"{_text(value, digits=3)} "


def _apart(one: float, other: float) -> tuple[str, str]:
    """Return two numbers with as many digits as it takes to tell them apart, four at least."""
    digits = next((n for n in range(4, 17) if _text(one, digits=n) != _text(other, digits=n)), 4)
    return _text(one, digits=digits), _text(other, digits=digits)


def _range_in_words(name: str, value: float, lower: float, upper: float) -> str:
    now = _number(value)
    if np.isinf(upper):
        return f"{name} (now {now}) can fall to {_apart(lower, value)[0]}, or rise without end"
    if np.isinf(lower):
        return f"{name} (now {now}) can rise to {_apart(upper, value)[0]}, or fall without end"
    return f"{name} (now {now}) can move between {_apart(lower, value)[0]} and {_apart(upper, value)[0]}"


def _score_name(column: str) -> str:
    names = {"auc": "AUC", "log_loss": "log-loss", "mse": "MSE", "r2": "R²"}
    name = column.removeprefix("local_")
    return names.get(name, name)


# ---------------------------------------------------------------- computing


def explain(u: Unwrapped, X: Any, *, rows: int | Sequence[int] | None = None) -> Explanation:
    """Return the local linear model of each row, what its features add, and where it ends.

    Parameters
    ----------
    X : array or table, see `Features.encode`.
    rows : number(s) of the rows of X to explain; all by default.

    Raises
    ------
    ArgumentError : there is no such row. DataError : the table does not fit.
    UnfaithfulError : a local linear model differs from the network by more than rounding.

    Notes
    -----
    ``decision = intercept + sum of w_j x_j = mean part + sum of w_j (x_j - mean of x_j)``, means over the rows of ``u``;
    both are compared with the network on every row. A pattern that ``u`` never met has a local linear model too, and
    region -1.
    On the region each preactivation is one affine function, so the region ends where one of them meets a breakpoint of its
    neuron; the nearest of these hyperplanes is a facet. Distances are Euclidean after division of each feature by its
    standard deviation; a feature that never varied does not move. Where regions were joined, facets are still those of
    the activation region. A move to the value in ``lower`` or ``upper`` reaches the facet; the pattern changes there or just
    beyond. Cost: rows × switches of neurons × features. Source: Sudjianto et al. 2020, Theorem 1.
    """
    net, s = u.network, u.sample
    x = net.features.encode(X)
    row = _row_numbers(rows, len(x))
    x = x[row]
    trace = net.trace(x)
    packed, code = distinct(trace.patterns.packed)
    patterns = Patterns(np.array(packed), net.n_bits)
    coef, constant = net.affine_maps(patterns)
    pattern = code.astype(np.intp)
    region = u.regions_of_patterns(trace.patterns).astype(np.intp)
    _refuse_unfaithful(net, x, row, trace, coef, constant, pattern, s.mean)
    ends = _Ends(len(x), net.n_features)
    order = np.argsort(pattern, kind="stable")
    cut = np.searchsorted(pattern[order], np.arange(len(patterns) + 1))
    for p in range(len(patterns)):
        at = order[cut[p] : cut[p + 1]]
        ends.find(at, x[at], _walls(net, patterns[p]), s.sd)
    seen = region >= 0
    smaller = _support(u)
    return Explanation(
        network=net,
        row=row.astype(np.int64),
        x=x,
        region=region,
        pattern=pattern,
        coef=coef,
        constant=constant,
        mean=s.mean,
        decision=trace.decision,
        prediction=net.inverse_link(trace.decision),
        distance=ends.distance,
        facet_layer=ends.layer,
        facet_neuron=ends.neuron,
        facet_breakpoint=ends.breakpoint,
        facet_normal=ends.normal,
        facet_value=ends.value,
        lower=ends.lower,
        upper=ends.upper,
        spread=s.sd,
        count=np.where(seen, u.count[region], 0),
        share=np.where(seen, u.share[region], 0.0),
        support=np.where(seen, smaller[region], 0.0),
        scores={name: np.where(seen, values[region], np.nan) for name, values in _local_scores(u).items()},
        caveat=s.caveat,
    )


def _row_numbers(rows: Any, n: int) -> Integers:
    """Return the numbers of the rows to explain."""
    if rows is None:
        if n == 0:
            raise ArgumentError("X has no rows; give at least one to explain.")
        return np.arange(n)
    given = np.atleast_1d(np.asarray(rows))
    if given.ndim != 1 or given.dtype.kind not in "iu" or len(given) == 0:
        raise ArgumentError(f"rows is {clipped(rows)}; expected the number of a row, or a list of numbers.")
    wrong = given[(given < 0) | (given >= n)]
    if len(wrong):
        raise ArgumentError(f"rows has {shown(wrong.tolist())}; the table has {n:,} rows, so expected 0 to {n - 1}.")
    return given.astype(np.intp)


def _refuse_unfaithful(
    net: Network,
    x: Floats,
    row: Integers,
    trace: Trace,
    coef: Floats,
    constant: Floats,
    pattern: Integers,
    mean: Floats,
) -> None:
    """Raise unless both sums of each row are its decision, to rounding."""
    step = max(1, _BLOCK // (net.n_outputs * max(net.n_features, 1)))
    for start in range(0, len(x), step):
        at = slice(start, start + step)
        w, b, decision = coef[pattern[at]], constant[pattern[at]], trace.decision[at]
        plain = b + np.einsum("nkd,nd->nk", w, x[at])
        centred = (b + w @ mean) + np.einsum("nkd,nd->nk", w, x[at] - mean)
        difference = np.maximum(np.abs(plain - decision), np.abs(centred - decision))
        doubtful = np.flatnonzero(~(difference <= TOLERANCE * (1 + np.abs(decision))).all(axis=1))
        if len(doubtful) == 0:
            continue
        bounds = [Bounds(layer) for layer in net.layers]
        for i in doubtful:
            size = np.abs(b[i]) + np.abs(w[i]) @ (np.abs(x[at][i]) + 2 * np.abs(mean))
            allowed = 2 * thresholds(bounds, np.abs(x[at][i]))[-1] + 4 * (net.n_features + 4) * U * size
            if not (difference[i] <= allowed).all():
                raise UnfaithfulError(
                    f"Row {row[at][i]}: its local linear model says {shown(plain[i])}, and {shown(centred[i])} about the mean; "
                    f"the network says {shown(decision[i])}, and rounding does not explain it. Nothing was returned. This is a "
                    "defect of relucidate: please report it with the model."
                )


@dataclass(frozen=True, eq=False)
class _Walls:
    """Where neurons switch, as hyperplanes: the region is where ``inward @ x + constant >= 0``.

    Parameters
    ----------
    inward : (B, d) and constant : (B,). layer, neuron, breakpoint : (B,) of each.
    """

    inward: Floats
    constant: Floats
    layer: Integers
    neuron: Integers
    breakpoint: Floats


def _walls(network: Network, pattern: Patterns) -> _Walls:
    """Return the hyperplanes at which a neuron switches, without neurons that are constant on the region.

    Notes
    -----
    A coefficient is 0 if it is no larger than the rounding of the products that it is a sum of: neurons that cancel each
    other leave such remains.
    """
    bits = pattern.bits()
    maps = network.preactivation_maps(pattern)
    parts: list[tuple[Any, ...]] = []
    size: Any = None
    start, terms = 0, 0
    for i, (layer, (v, c)) in enumerate(zip(network.hidden, maps, strict=True)):
        weight: Any = abs(layer.weight)
        size = np.asarray(weight @ size) if size is not None else weight.toarray() if is_sparse(weight) else weight
        terms += weight.shape[1] + 2
        neuron, k = layer.activation.switches
        stop = start + len(neuron)
        side = np.where(bits[0, start:stop], 1.0, -1.0)
        at = layer.activation.breakpoints[neuron, k]
        normal = np.where(np.abs(v) > 4 * terms * U * size, v, 0.0)[neuron] * side[:, None]
        parts.append((normal, side * (c[neuron] - at), np.full(len(neuron), i), neuron, at))
        slopes, _ = layer.activation.pieces_in_force(bits[:, start:stop])
        size = np.abs(slopes[0])[:, None] * size
        start = stop
    if not parts:
        none = np.zeros(0, dtype=np.intp)
        return _Walls(np.zeros((0, network.n_features)), np.zeros(0), none, none, np.zeros(0))
    walls = [np.concatenate(columns) for columns in zip(*parts, strict=True)]
    real = walls[0].any(axis=1)
    return _Walls(*(part[real] for part in walls))


class _Ends:
    """Where the regions of rows end, filled in pattern by pattern."""

    def __init__(self, n: int, d: int) -> None:
        self.distance = np.full(n, np.inf)
        self.layer = np.full(n, -1, dtype=np.intp)
        self.neuron = np.full(n, -1, dtype=np.intp)
        self.breakpoint = np.full(n, np.nan)
        self.normal = np.zeros((n, d))
        self.value = np.full(n, np.nan)
        self.lower = np.full((n, d), -np.inf)
        self.upper = np.full((n, d), np.inf)

    def find(self, rows: Integers, x: Floats, walls: _Walls, sd: Floats) -> None:
        """Fill in rows of one pattern."""
        B, d = walls.inward.shape
        if B == 0:
            return
        slack = np.maximum(x @ walls.inward.T + walls.constant, 0.0)  # rounding may put a row beyond its own facet
        length = np.sqrt(((walls.inward * sd) ** 2).sum(axis=1))
        with np.errstate(divide="ignore", invalid="ignore"):
            distance = np.where(length > 0, slack / length, np.inf)
        nearest = distance.argmin(axis=1)
        found = np.isfinite(distance[np.arange(len(x)), nearest])
        self._facet(rows[found], nearest[found], walls, distance[found].min(axis=1, initial=np.inf))
        step = max(1, _BLOCK // (B * d))
        for start in range(0, len(rows), step):
            at = slice(start, start + step)
            with np.errstate(divide="ignore", invalid="ignore"):
                move = slack[at, :, None] / np.abs(walls.inward)
            self.upper[rows[at]] = x[at] + np.where(walls.inward < 0, move, np.inf).min(axis=1)
            self.lower[rows[at]] = x[at] - np.where(walls.inward > 0, move, np.inf).min(axis=1)

    def _facet(self, rows: Integers, wall: Integers, walls: _Walls, distance: Floats) -> None:
        self.distance[rows] = distance
        self.layer[rows], self.neuron[rows] = walls.layer[wall], walls.neuron[wall]
        self.breakpoint[rows] = walls.breakpoint[wall]
        self.normal[rows], self.value[rows] = walls.inward[wall], -walls.constant[wall]


def _support(u: Unwrapped) -> Floats:
    """Return per region the share of the rows that lie in regions with as few rows or fewer (n_regions,)."""
    values, inverse = np.unique(u.count, return_inverse=True)
    return np.asarray(np.cumsum(np.bincount(inverse, u.share, len(values)))[inverse], dtype=np.float64)


def _local_scores(u: Unwrapped) -> dict[str, Floats]:
    if not u.has_y:
        return {}
    table = u.table(global_scores=0, maps=False)
    return {str(name): table[name].to_numpy(float) for name in table.columns if str(name).startswith("local_")}
