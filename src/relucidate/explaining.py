"""Why a row has its decision: its local linear model, what each feature adds, and where that model ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from relucidate.displaying import in_notebook
from relucidate.errors import ArgumentError, UnfaithfulError, clipped, shown
from relucidate.exact import Bounds, U, thresholds
from relucidate.facets import Walls, apart, neurons_in_words, number, others_in_words, terms_in_words, text, walls
from relucidate.features import Feature, Features
from relucidate.grouping import distinct
from relucidate.layers import Bools, Floats
from relucidate.maps import maps_of
from relucidate.network import Network, Patterns, Trace
from relucidate.paths import encoded_rows
from relucidate.unwrapping import TOLERANCE, Unwrapped, squaring, unwrapped

if TYPE_CHECKING:
    import pandas as pd

Integers = NDArray[np.intp]

_BLOCK = 2**20  # numbers held at once


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
    row : (n,) numbers of the rows in the table. x : (n, d) encoded. imputed : (n, d) where x stands for a missing value.
    region : (n,) region of each row, -1 where its pattern was never seen.
    pattern : (n,) index of each row in `coef` (P, n_outputs, d) and `constant` (P, n_outputs), the maps of the patterns;
        computed on demand if large.
    mean : (d,) of the features over the rows that were unwrapped. decision, prediction : (n, n_outputs).
    distance : (n,) to the nearest facet, in standard deviations of the features that can move, see `explain`; inf where the
        region has no end.
    facet_layer, facet_neuron : (n,) hidden layer and neuron that switches there, -1 without one.
    facet_breakpoint : (n,) value of its preactivation there.
    facet_normal : (n, d) and facet_value : (n,): the facet is where ``facet_normal @ x == facet_value``.
    lower, upper : (n, d) values between which each feature alone can move before the region ends; may be infinite. NaN for
        features that do not move.
    spread : (d,) standard deviation of the features over the rows that were unwrapped; 0 for indicators, which do not move.
    count : (n,) rows in the region, 0 if never seen. share : (n,) of the rows, by weight.
    support : (n,) share of the rows, by weight, in regions that hold as few rows or fewer.
    scores : local scores of the region by name, (n,) each: {} without a response, NaN where not defined.
    caveat : "" if means and standard deviations are those of all rows.
    """

    network: Network
    row: NDArray[np.int64]
    x: Floats
    imputed: Bools
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
        step = max(1, _BLOCK // max(self.network.n_outputs * len(self.mean), 1))
        parts = [
            self.constant[start : start + step] + self.coef[start : start + step] @ self.mean
            for start in range(0, len(self.coef), step)
        ]
        return np.concatenate([np.zeros((0, self.network.n_outputs)), *parts])[self.pattern]

    # ---------------------------------------------------------------- one row

    def position(self, row: int | None = None) -> int:
        """Return where a row is in the arrays, by its number in the table; the first by default.

        Raises
        ------
        ArgumentError : it was not explained.
        """
        if row is None and len(self.row):
            return 0
        if len(self.row) == 0:
            raise ArgumentError("No row was explained, so that there is nothing to say of one. Give a table with rows.")
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
                    "missing"
                    if self.imputed[i, list(indices)].any()
                    else _value_in_words([features.items[j] for j in indices], self.x[i, list(indices)]),
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
        normal = self.facet_normal[i]
        spread = np.where(self.imputed[i], 0.0, self.spread)
        said, told, factors = terms_in_words(normal, spread, names or self.network.feature_names)
        first = normal[told[0]]
        now = float(factors @ self.x[i, told])
        end = now + float(self.facet_value[i] - normal @ self.x[i]) / float(first)
        there, here = apart(end, now)
        rest = others_in_words(int(np.count_nonzero(normal)) - len(told))
        return f"{said} = {there} (here {here}{f'; {rest}' if rest else ''})"

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
        p = self.pattern[i]
        mean_part = float(self.constant[p, k] + self.coef[p, k] @ self.mean)
        lines = [
            f"Row {self.row[i]:,}: the decision{of} is {text(self.decision[i, k])}"
            + ("." if net.link == "identity" else f", the prediction {text(self.prediction[i, k])}."),
            f"Its local linear model says {text(mean_part)} of the mean row{self.caveat}; the features of this "
            f"row add {text(sum(t.centred for t in terms))}.",
        ]
        named = [f"{t.name} = {t.value} adds {text(t.centred, '+')}" for t in terms[:most] if t.centred]
        rest = terms[len(named) :]
        others = "other one adds" if len(rest) == 1 else f"other {len(rest)} add"
        more = f"; the {others} {text(sum(t.centred for t in rest), '+')}" if rest else ""
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
            f"{_score_name(name)} {text(values[i])}" for name, values in self.scores.items() if not np.isnan(values[i])
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
        held = self._held_in_words(i)
        if not np.isfinite(self.distance[i]):
            kind = "numeric features" if held else "features"
            return [f"Nothing ends its region{held}: no neuron switches as the {kind} that vary do."]
        layer = int(self.facet_layer[i])
        lines = [
            f"The region ends where {self.facet_in_words(row, names)}: {self.distance[i]:.3g} standard deviations away{held}, "
            f"where {neurons_in_words(self.network, [(layer, int(self.facet_neuron[i]))])} switches."
        ]
        moves = self._closest_moves(i, names or self.network.feature_names)
        return lines + [f"Alone, {'; '.join(moves)}."] * bool(moves)

    def _held_in_words(self, i: int) -> str:
        """Return what does not move, in words: "" if all features do."""
        kinds = {item.kind for item in self.network.features.items}
        said = ["categories"] * bool(kinds & {"level", "other"})
        said += ["missing values"] * bool("missing" in kinds or self.imputed[i].any())
        return f" with {' and '.join(said)} held as they are" if said else ""

    def _closest_moves(self, i: int, names: Sequence[str], most: int = 3) -> list[str]:
        """Return for the numeric features that are nearest to a facet between which values they can move."""
        x = self.x[i]
        with np.errstate(divide="ignore", invalid="ignore"):
            near = np.minimum(x - self.lower[i], self.upper[i] - x) / self.spread
        order = [j for j in np.argsort(near, kind="stable") if np.isfinite(near[j])]
        return [_range_in_words(names[j], x[j], self.lower[i, j], self.upper[i, j]) for j in order[:most]]

    # ---------------------------------------------------------------- table

    def __repr__(self) -> str:
        n = len(self.row)
        return (
            f"Explanation of {n:,} row{'s' * (n != 1)}, {int((self.region < 0).sum()):,} of them in regions never seen"
        )

    _repr_html_ = in_notebook

    def to_frame(self) -> pd.DataFrame:
        """Return one row per row, output and feature.

        Returns
        -------
        pandas.DataFrame with ``row``, ``output``, ``feature``, ``value`` (NaN where it is missing), ``weight``, ``effect``,
        ``centred_effect``, and ``lower``, ``upper``: between which values the feature can move alone before the region ends,
        NaN where it does not move.
        """
        import pandas as pd

        n, K, d = len(self), self.network.n_outputs, self.network.n_features
        whole = (n, K, d)
        weight = self.weight
        columns = {
            "value": np.broadcast_to(np.where(self.imputed, np.nan, self.x)[:, None], whole),
            "weight": weight,
            "effect": weight * self.x[:, None],
            "centred_effect": weight * (self.x - self.mean)[:, None],
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
        return number(float(x[0]))
    on = [item for item, value in zip(items, x, strict=True) if item.kind != "value" and value]
    numbers = [value for item, value in zip(items, x, strict=True) if item.kind == "value"]
    if on:
        said = {"missing": "missing", "other": "another level"}
        return " + ".join(said.get(item.kind, " or ".join(str(level) for level in item.levels)) for item in on)
    return number(float(numbers[0])) if numbers else "none of its levels"


def _range_in_words(name: str, value: float, lower: float, upper: float) -> str:
    now = number(value)
    if np.isinf(upper):
        return f"{name} (now {now}) can fall to {apart(lower, value)[0]}, or rise without end"
    if np.isinf(lower):
        return f"{name} (now {now}) can rise to {apart(upper, value)[0]}, or fall without end"
    return f"{name} (now {now}) can move between {apart(lower, value)[0]} and {apart(upper, value)[0]}"


def _score_name(column: str) -> str:
    names = {"auc": "AUC", "log_loss": "log-loss", "mse": "MSE", "r2": "R²"}
    name = column.removeprefix("local_")
    return names.get(name, name)


# ---------------------------------------------------------------- computing


def explain(u: Unwrapped, X: Any, *, rows: int | Sequence[int] | None = None) -> Explanation:
    """Return the local linear model of each row, what its features add, and where it ends.

    Parameters
    ----------
    X : a row (n_features,), or an array or table, see `Features.encode`.
    rows : number(s) of the rows of X to explain; all by default.

    Raises
    ------
    ArgumentError : there is no such row, or `u` was not unwrapped. DataError : the table does not fit.
    UnfaithfulError : a local linear model differs from the network by more than rounding.
    NumericalOverflowError : distances leave the range of float64.

    Notes
    -----
    ``decision = intercept + sum of w_j x_j = mean part + sum of w_j (x_j - mean of x_j)``, means over the rows of ``u``;
    both are compared with the network on every row. A pattern that ``u`` never met has a local linear model too, and
    region -1.
    On the region each preactivation is one affine function, so the region ends where one of them meets a breakpoint of its
    neuron; the nearest of these hyperplanes is a facet. Distances are Euclidean after division of each feature by its
    standard deviation; a feature that never varied does not move. Nor do indicators of categories and of missing values,
    which are 0 or 1 and nothing between, nor numbers that stand for a missing value: all are held as they are in the row.
    Where regions were joined, facets are still those of the activation region. A move to the value in ``lower`` or ``upper``
    reaches the facet; the pattern changes there or just beyond. Cost: rows × switches of neurons × features.
    Source: Sudjianto et al. 2020, Theorem 1.
    """
    u = unwrapped(u).identified
    net, s = u.network, u.sample
    x = encoded_rows(net.features, X)
    row = _row_numbers(rows, len(x))
    imputed = imputed_cells(net.features, X, x)[row]
    x = x[row]
    trace = net.trace(x)
    packed, code = distinct(trace.patterns.packed)
    patterns = Patterns(np.array(packed), net.n_bits)
    coef, constant = maps_of(net, patterns)
    pattern = code.astype(np.intp)
    region = u.regions_of_patterns(trace.patterns).astype(np.intp)
    _refuse_unfaithful(net, x, row, trace, coef, constant, pattern, s.mean)
    indicator = np.array([item.kind != "value" for item in net.features.items], dtype=bool)
    spread = np.where(indicator, 0.0, s.sd)
    ends = _Ends(imputed | indicator)
    order = np.argsort(pattern, kind="stable")
    cut = np.searchsorted(pattern[order], np.arange(len(patterns) + 1))
    with squaring(u):
        for p in range(len(patterns)):
            at = order[cut[p] : cut[p + 1]]
            ends.find(at, x[at], walls(net, patterns[p]), spread)
    seen = region >= 0
    smaller = _support(u)
    return Explanation(
        network=net,
        row=row.astype(np.int64),
        x=x,
        imputed=imputed,
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
        spread=spread,
        count=np.where(seen, u.count[region], 0),
        share=np.where(seen, u.share[region], 0.0),
        support=np.where(seen, smaller[region], 0.0),
        scores={name: np.where(seen, values[region], np.nan) for name, values in _local_scores(u).items()},
        caveat=s.caveat,
    )


def _row_numbers(rows: Any, n: int) -> Integers:
    """Return the numbers of the rows to explain."""
    if rows is None:
        return np.arange(n)
    given = np.atleast_1d(np.asarray(rows))
    if given.ndim != 1 or given.dtype.kind not in "iu" or len(given) == 0:
        raise ArgumentError(f"rows is {clipped(rows)}; expected the number of a row, or a list of numbers.")
    wrong = given[(given < 0) | (given >= n)]
    if len(wrong):
        raise ArgumentError(f"rows has {shown(wrong.tolist())}; the table has {n:,} rows, so expected 0 to {n - 1}.")
    return given.astype(np.intp)


def imputed_cells(features: Features, X: Any, x: Floats) -> Bools:
    """Return where the encoded rows x (n, d) of X have a number for a missing value (n, d)."""
    out = np.zeros(x.shape, dtype=bool)
    at = [j for j, item in enumerate(features.items) if item.kind == "value" and item.impute is not None]
    if at:  # there, what is filled in is what is read
        filled = (replace(features, items=tuple(replace(features.items[j], impute=v) for j in at)) for v in (0.0, 1.0))
        zeros, ones = (encoded_rows(f, X) for f in filled)
        out[:, at] = zeros != ones
    return out


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
    order = np.argsort(pattern, kind="stable")
    for start in range(0, len(x), step):
        at = order[start : start + step]
        met, of_row = np.unique(pattern[at], return_inverse=True)  # each map is computed once, or nearly
        w, b, decision = coef[met][of_row], constant[met][of_row], trace.decision[at]
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


class _Ends:
    """Where the regions of rows end, filled in pattern by pattern."""

    def __init__(self, held: Bools) -> None:
        n, d = held.shape
        self.held = held
        self.distance = np.full(n, np.inf)
        self.layer = np.full(n, -1, dtype=np.intp)
        self.neuron = np.full(n, -1, dtype=np.intp)
        self.breakpoint = np.full(n, np.nan)
        self.normal = np.zeros((n, d))
        self.value = np.full(n, np.nan)
        self.lower = np.where(held, np.nan, -np.inf)
        self.upper = np.where(held, np.nan, np.inf)

    def find(self, rows: Integers, x: Floats, walls: Walls, sd: Floats) -> None:
        """Fill in rows of one pattern."""
        B, d = walls.inward.shape
        if B == 0:
            return
        alike, code = distinct(np.packbits(self.held[rows], axis=1))
        held = np.unpackbits(alike, axis=1, count=d).astype(bool)
        length = np.sqrt(((walls.inward * np.where(held, 0.0, sd)[:, None]) ** 2).sum(axis=2))
        step = max(1, _BLOCK // (B * d))
        for start in range(0, len(rows), step):
            at = slice(start, start + step)
            slack = np.maximum(
                x[at] @ walls.inward.T + walls.constant, 0.0
            )  # rounding may put a row beyond its own facet
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                distance = np.where(length[code[at]] > 0, slack / length[code[at]], np.inf)
                move = slack[:, :, None] / np.abs(walls.inward)
            self._facet(rows[at], walls, distance)
            free = ~self.held[rows[at]]
            up, down = (np.where(side, move, np.inf).min(axis=1) for side in (walls.inward < 0, walls.inward > 0))
            self.upper[rows[at]] = np.where(free, x[at] + up, np.nan)
            self.lower[rows[at]] = np.where(free, x[at] - down, np.nan)

    def _facet(self, rows: Integers, walls: Walls, distance: Floats) -> None:
        """Fill in the nearest facet of rows, from the distances of the walls (n, B)."""
        wall, least = distance.argmin(axis=1), distance.min(axis=1)
        found = np.isfinite(least)
        rows, wall = rows[found], wall[found]
        self.distance[rows] = least[found]
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
