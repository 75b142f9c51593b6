"""Segments: where a network does worst, in regions and in rules that are easy to say, and how groups of people fare."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from relucidate import data
from relucidate.displaying import in_notebook
from relucidate.errors import ArgumentError, ColumnError, TargetError, clipped
from relucidate.features import Features, is_table
from relucidate.layers import Floats
from relucidate.maps import over_classes
from relucidate.network import Network, Patterns
from relucidate.scoring import (
    SCORE_WORDS,
    GroupScores,
    adjusted,
    larger_mean,
    mean_limits,
    means_by_group,
    scores_by_group,
    unitless,
    wilson,
)
from relucidate.simplified import in_words
from relucidate.sums import row_loss
from relucidate.trees import Tree, cut_points
from relucidate.unwrapping import Unwrapped, table_of
from relucidate.words import plural

if TYPE_CHECKING:
    import pandas as pd

LEVEL = 0.95  # of intervals; flags are at 1 - LEVEL
LEAST_ROWS = 30  # of a segment, in each half
MAX_GROUPS = 20
_LEAST_OTHERS = 5  # that a segment is compared with
_THRESHOLDS = 16  # per feature, at quantiles
_CONDITIONS = 3  # of a rule
_BEAM = 24
_SEARCH_ROWS = 50_000
_SAME = 0.5  # rules that share more of their rows are one
_NARROWED = 0.95  # a condition that keeps more rows than this says nothing


@dataclass(frozen=True, eq=False)
class Groups:
    """How groups of rows fare, the largest first, which the differences refer to; then in the order of the categories.

    Without categories in an order, the larger comes first.

    Parameters
    ----------
    column : what the groups are of. names : (G,)
    count : (G,) rows, of the sample where the table has more. share : (G,) by weight.
    scores : (m, G) with intervals, each for itself: they are not adjusted for the number of groups.
    accepted, accepted_low, accepted_high : (G,) share predicted positive (of a softmax of two classes: the second); NaN
        unless there are two classes.
    decision, decision_low, decision_high : (G, n_outputs) mean decision.
    coef : (G, n_outputs, n_features) mean coefficients of the local linear models that the rows use.
    """

    column: str
    names: tuple[str, ...]
    count: NDArray[np.int64]
    share: Floats
    scores: GroupScores
    accepted: Floats
    accepted_low: Floats
    accepted_high: Floats
    decision: Floats
    decision_low: Floats
    decision_high: Floats
    coef: Floats

    @property
    def coef_difference(self) -> Floats:
        """Mean coefficients less those of the largest group (G, n_outputs, n_features)."""
        return self.coef - self.coef[0]

    def difference(self, value: Floats, low: Floats, high: Floats) -> tuple[Floats, Floats, Floats]:
        """Return differences (G,) to the largest group with the limits of their intervals.

        Notes
        -----
        Limits of two independent intervals, squared and added: Newcombe 1998, method 10; Zou and Donner 2008.
        """
        out = value - value[0]
        below = out - np.sqrt((value - low) ** 2 + (high[0] - value[0]) ** 2)
        above = out + np.sqrt((high - value) ** 2 + (value[0] - low[0]) ** 2)
        out[0] = below[0] = above[0] = 0.0
        return out, below, above


@dataclass(frozen=True, eq=False)
class Segments:
    """Where the network does worst.

    Parameters
    ----------
    kind : (n,) "rule", "regions" (several together) or "region".
    rule : (n,) in words, in the units of the features. regions : (n,) the regions of each; () for a rule.
    count : (n,) rows, of the sample where the table has more. share : (n,) by weight.
    tested : (n,) rows that the scores rest on: of a rule, those of the half that it was not found on. None weighs 0, and
        copies of a row are one.
    loss, loss_low, loss_high : (n,) mean loss. rest : (n,) mean loss of all other tested rows.
    claimed : (n,) mean loss that the network's own probabilities lead to expect; of a regression, that of the rest.
    scores : (m, n) all scores, with intervals.
    p : (n,) adjusted p-values that the network does no worse there than elsewhere. flag : (n,) at most 0.05, and the loss
        above the claimed one.
    overall : mean loss of all rows. measure : "log_loss" or "mse".
    n_searched : rules and groups of regions tested. n_regions : regions tested, of `total_regions`.
    groups : how groups of rows fare; None if none were asked for.
    n_copies : rows that repeat another one, and are tested together with it as one.
    features, outputs : names. n_rows : of the table. caveat : what a picture must say beside it.
    """

    kind: tuple[str, ...]
    rule: tuple[str, ...]
    regions: tuple[tuple[int, ...], ...]
    count: NDArray[np.int64]
    share: Floats
    tested: NDArray[np.int64]
    loss: Floats
    loss_low: Floats
    loss_high: Floats
    rest: Floats
    claimed: Floats
    scores: GroupScores
    p: Floats
    flag: NDArray[np.bool_]
    overall: float
    measure: str
    n_searched: int
    n_regions: int
    total_regions: int
    groups: Groups | None
    n_copies: int
    features: tuple[str, ...]
    outputs: tuple[str, ...]
    n_rows: int
    caveat: str

    _repr_html_ = in_notebook

    def to_frame(self) -> pd.DataFrame:
        """Return one row per segment, flagged ones first, then by what the loss exceeds the claimed one.

        Returns
        -------
        pandas.DataFrame with ``kind``, ``rule``, ``count``, ``share``, ``tested``, ``loss``, ``loss_low``,
        ``loss_high``, ``rest``, ``claimed``, the other scores with their limits, ``p`` (adjusted), ``flag``.
        """
        import pandas as pd

        columns: dict[str, Any] = {
            "kind": np.array(self.kind, dtype=object),
            "rule": np.array(self.rule, dtype=object),
            "count": self.count,
            "share": self.share,
            "tested": self.tested,
            "loss": self.loss,
            "loss_low": self.loss_low,
            "loss_high": self.loss_high,
            "rest": self.rest,
            "claimed": self.claimed,
        }
        for m, name in enumerate(self.scores.measures):
            if name != self.measure:
                columns |= {name: self.scores.value[m]}
                columns |= {f"{name}_low": self.scores.low[m], f"{name}_high": self.scores.high[m]}
        return pd.DataFrame({**columns, "p": self.p, "flag": self.flag})

    def groups_frame(self) -> pd.DataFrame:
        """Return one row per group of the protected column, the largest first.

        Returns
        -------
        pandas.DataFrame with ``group``, ``count``, ``share``; per score, ``accepted`` (share predicted positive) and
        ``decision`` (mean): the value, ``…_low``, ``…_high``, ``…_difference`` to the largest group and its limits; and
        ``coef_difference: feature`` of the mean coefficients.

        Raises
        ------
        ArgumentError : no protected column was given.
        """
        import pandas as pd

        g = self.groups
        if g is None:
            raise ArgumentError("There are no groups: call segments with protected=…, a column or an array.")
        columns: dict[str, Any] = {"group": np.array(g.names, dtype=object), "count": g.count, "share": g.share}
        parts = [(name, *g.scores.of(name)) for name in g.scores.measures]
        if np.isfinite(g.accepted).any():
            parts.append(("accepted", g.accepted, g.accepted_low, g.accepted_high))
        several = len(self.outputs) > 1
        for k, output in enumerate(self.outputs):
            name = f"decision[{output}]" if several else "decision"
            parts.append((name, g.decision[:, k], g.decision_low[:, k], g.decision_high[:, k]))
        for name, value, low, high in parts:
            apart = g.difference(value, low, high)
            columns |= {name: value, f"{name}_low": low, f"{name}_high": high, f"{name}_difference": apart[0]}
            columns |= {f"{name}_difference_low": apart[1], f"{name}_difference_high": apart[2]}
        for k, output in enumerate(self.outputs):
            suffix = f"[{output}]" if several else ""
            difference = g.coef_difference[:, k].T
            columns |= {f"coef_difference: {f}{suffix}": c for f, c in zip(self.features, difference, strict=True)}
        return pd.DataFrame(columns)

    def summary(self) -> list[str]:
        """Return what matters most, a sentence a line."""
        word = SCORE_WORDS[self.measure]
        one = self.n_searched == 1
        tried = f"{self.n_searched:,} {'rule or group' if one else 'rules and groups'} of regions, found on one half of the "
        tried += f"rows, {'was' if one else 'were'}"
        lines = [
            f"{plural(self.n_rows, 'row')}, {word} {_figure(self.overall)}{self.caveat}; {tried} tested on the other, "
            f"and {self.n_regions:,} of {self.total_regions:,} single region{'' if self.total_regions == 1 else 's'} with "
            f"{LEAST_ROWS} rows at least"
        ]
        if self.n_copies:
            repeat = "repeats another one and is no evidence beside it"
            if self.n_copies > 1:
                repeat = "repeat others and are no evidence beside them"
            lines.append(f"{plural(self.n_copies, 'row')} {repeat}: copies were tested as one row")
        flagged = np.flatnonzero(self.flag)
        if self.n_searched + self.n_regions == 0:
            lines.append("these are too few rows to test anything on: nothing is said about where it does worse")
        elif len(flagged) == 0:
            lines.append("in none of them does the network clearly do worse than elsewhere")
        for i in flagged:
            parts = (self.loss[i], self.loss_low[i], self.loss_high[i], self.claimed[i])
            loss, low, high, claimed = map(_figure, parts)
            lines.append(
                f"{_line(self.rule[i])}: {self.count[i]:,} rows ({self.share[i]:.1%}), {word} {loss} [{low}, {high}] where "
                f"{claimed} would be expected (adjusted p {self.p[i]:.2g})"
            )
        return lines + self._groups_in_words()

    def _groups_in_words(self) -> list[str]:
        g = self.groups
        if g is None:
            return []
        column, names = _line(g.column), [_line(name) for name in g.names]
        if len(names) == 1:
            return [f"{column}: all rows are of one group, {names[0]}, so that there is nothing to compare"]
        lines = []
        for i in range(1, len(names)):
            parts: list[str] = []
            for name, value, low, high in (
                (SCORE_WORDS[g.scores.measures[0]], *g.scores.of(g.scores.measures[0])),
                (SCORE_WORDS[self.measure], *g.scores.of(self.measure)),
                ("share predicted positive", g.accepted, g.accepted_low, g.accepted_high),
            ):
                apart = g.difference(value, low, high)
                if np.isfinite(apart[0][i]) and not any(p.startswith(name) for p in parts):
                    difference, *limits = (_figure(part[i], "+") for part in apart)
                    interval = f"[{', '.join(limits)}]" if np.isfinite(apart[1][i]) else "(no interval)"
                    parts.append(f"{name} {difference} {interval}")
            said = "; ".join(parts) or "no scores"
            rows = plural(int(g.count[i]), "row")
            lines.append(f"{column} {names[i]} ({rows}) against {names[0]} ({g.count[0]:,}): {said}")
        return lines

    def __repr__(self) -> str:
        return "\n".join(self.summary())


def _figure(value: float, sign: str = "") -> str:
    """Return four decimals, of a large number four digits."""
    return f"{value:{sign}.4f}" if abs(value) < 1e6 else f"{value:{sign}.4g}"


def _line(text: str) -> str:
    """Return a name on one line, what cannot be printed as "?", so that it cannot pass for another line."""
    return "".join(c if c.isprintable() else "?" for c in text) or "(empty)"


class _Rows(NamedTuple):
    """What a search works on: the rows of a table with what is tested of each."""

    network: Network
    x: Floats
    decision: Floats
    y: Any
    region: NDArray[Any]
    loss: Floats
    claimed: Floats
    excess: Floats
    spread: Floats  # variance of the excess that is to be expected
    weight: Floats
    n_rows: NDArray[np.int64]  # of the table that each stands for


def segments(u: Unwrapped, X: Any = None, y: Any = None, *, protected: Any = None, most: int = 10) -> Segments:
    """Return the regions, groups of regions and simple rules where the network does worst, and how groups fare.

    Parameters
    ----------
    u : from `relucidate.unwrap`.
    X, y : another table and its response, as for `unwrap`, or what `unwrap` made of it; by default the rows of `u`.
    protected : what groups are compared by: the name of an input or of a column of X, or (n,) values: numbers, text,
        categories, intervals, dates. A missing value is a group.
    most : how many rules, and how many single regions, are returned at most.

    Returns
    -------
    Segments : flagged ones first.

    Raises
    ------
    ArgumentError : there is no response, X is of another network, `most` makes no sense, or `protected` has another length
        or too many values.
    TargetError : `protected` is no column. DataError : the table does not fit the network.

    Notes
    -----
    What is tested is the loss of a row less what the network's own probabilities lead to expect, ``H(p)`` (their entropy):
    where default is frequent and the network says so, the log-loss is large and nothing is wrong. Of a regression it is the
    squared error. Rules have at most three conditions on features, thresholds at quantiles; a beam search on a seeded half
    of the rows keeps those whose mean stands out most for its standard error. They, and all regions together that stand
    out by more than one standard error, are then tested on the other half against all other rows of it,
    Benjamini-Hochberg over what was tested. Single regions are tested on all rows, as no loss chose them.

    The test is Welch's, one-sided, with ``Σ w (v - mean)² / Σ w / (n - 1)`` as the variance of a mean, ``n = (Σ w)² / Σ w²``,
    but never less than what the null leads to expect: ``Σ w² s² / (Σ w)²`` with ``s²`` the variance of a row's log-loss
    under the network's own probabilities; of a regression, that of all squared errors. Losses are skewed: few rows without
    a rare event would else look quiet, and others beside them bad. Intervals hold 95 %, flags are at 5 %.

    Rows have to be independent. Rows with the same features and response are copies where rows of the same features differ in
    their response at most half as often as the network's probabilities lead to expect (of a regression, where at most half of
    them differ); copies are then one row of their joint weight, in one half, so that a table written twice gives the same
    flags. Rows that only resemble each other, as those of one person,
    and the intervals of groups are not mended. Cost: features × rows of a half (50,000 at most) × 50.
    """
    number = cast(Any, most)
    if not isinstance(number, int | np.integer) or isinstance(number, bool) or number < 1:
        raise ArgumentError(f"most is {clipped(most)}; expected a whole number, at least 1.")
    other = table_of(u, X, y, "segments")
    with np.errstate(over="ignore", invalid="ignore"):  # a variance above float64 is infinite: nothing can be told then
        return _segments(u, other, X, protected, int(most))


def _segments(u: Unwrapped, other: Unwrapped, X: Any, protected: Any, most: int) -> Segments:
    region_of: Any = np.arange(u.n_regions)
    if other is not u:
        region_of = u.regions_of_patterns(Patterns(other.sums.packed, u.network.n_bits))
    rows = _rows(other, np.asarray(region_of[other.sample.region]))
    overall = float(np.average(rows.loss, weights=rows.weight))
    groups = None if protected is None else _groups(u, other, rows, protected, X)
    rows = _without_copies(rows)
    rng = np.random.default_rng(0)
    first_half = np.zeros(len(rows.loss), dtype=bool)
    first_half[rng.permutation(len(rows.loss))[: len(rows.loss) // 2]] = True
    found = _searched(rows, first_half, most, rng)
    found_regions, n_tested = _single_regions(rows, u.n_regions, most)
    kept = found + found_regions
    if kept:
        value = np.array([s.loss - s.claimed for s in kept])
        kept = [kept[i] for i in np.lexsort((-value, np.array([not s.flag for s in kept])))]
    return Segments(
        kind=tuple(s.kind for s in kept),
        rule=tuple(s.rule for s in kept),
        regions=tuple(s.regions for s in kept),
        count=np.array([s.count for s in kept], dtype=np.int64),
        share=np.array([s.share for s in kept]),
        tested=np.array([s.tested for s in kept], dtype=np.int64),
        loss=np.array([s.loss for s in kept]),
        loss_low=np.array([s.low for s in kept]),
        loss_high=np.array([s.high for s in kept]),
        rest=np.array([s.rest for s in kept]),
        claimed=np.array([s.claimed for s in kept]),
        scores=_joined([s.scores for s in kept], rows),
        p=np.array([s.p for s in kept]),
        flag=np.array([s.flag for s in kept], dtype=bool),
        overall=overall,
        measure="log_loss" if u.network.is_classifier else "mse",
        n_searched=len(found),
        n_regions=n_tested,
        total_regions=u.n_regions,
        groups=groups,
        n_copies=int((rows.n_rows - 1).sum()),
        features=u.network.feature_names,
        outputs=u.network.outputs,
        n_rows=other.n_rows,
        caveat=other.sample.caveat,
    )


def _rows(v: Unwrapped, region: NDArray[Any]) -> _Rows:
    net, s = v.network, v.sample
    loss = row_loss(net, s.decision, s.y)
    if net.is_classifier:
        claimed, spread = _entropy(net, s.decision)
    else:
        loss = loss / net.n_outputs
        claimed = np.full(len(loss), np.average(loss, weights=s.weights))
        spread = np.full(len(loss), np.average((loss - claimed) ** 2, weights=s.weights))
    one = np.ones(len(loss), dtype=np.int64)
    return _Rows(net, s.x, s.decision, s.y, region, loss, claimed, loss - claimed, spread, unitless(s.weights), one)


def _entropy(net: Network, decision: Floats) -> tuple[Floats, Floats]:
    """Return mean and variance of the log-loss of each row if its classes were drawn with the network's probabilities."""
    p = net.inverse_link(decision)
    if net.link == "softmax":
        top = decision - decision.max(axis=1, keepdims=True)
        loss = np.log(np.exp(top).sum(axis=1, keepdims=True)) - top
        mean = (p * loss).sum(axis=1)
        # where p is 0, the square may be infinite
        return mean, np.where(p > 0, p * (loss - mean[:, None]) ** 2, 0.0).sum(axis=1)
    mean = (p * np.logaddexp(0, -decision) + (1 - p) * np.logaddexp(0, decision)).sum(axis=1)
    return mean, np.where(p * (1 - p) > 0, p * (1 - p) * decision**2, 0.0).sum(axis=1)


# ---------------------------------------------------------------- copies


def _without_copies(rows: _Rows) -> _Rows:
    """Return rows of which none is a copy of another: copies are one, of their joint weight."""
    number, first = _numbered(rows.x)
    if len(first) == len(number):
        return rows
    y = rows.y.reshape(len(number), -1)
    differs = (y != y[first[number]]).any(axis=1)
    pair = (rows.weight > 0) & (first[number] != np.arange(len(number)))
    # equal rows are not copies where categories are few and responses differ as independent ones do
    if differs[pair].sum() > _differing(rows.network, rows.decision[pair]).sum() / 2:
        return rows
    number, first = _numbered(np.column_stack([number, y]))
    kept = {name: part[first] for name, part in rows._asdict().items() if name not in ("network", "weight", "n_rows")}
    n = len(first)
    weight: Any = np.bincount(number, rows.weight, n)
    return rows._replace(**kept, weight=weight, n_rows=np.bincount(number, minlength=n))


def _numbered(cells: Any) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return for each row the number of those equal to it, in the order in which they come first, and the first of each."""
    met: dict[bytes, int] = {}
    cells = np.ascontiguousarray(cells, dtype=np.float64)
    # a digest of 16 bytes instead of a row; 0 is added as -0 is 0
    keys = (blake2b((row + 0.0).tobytes(), digest_size=16).digest() for row in cells)
    number = np.fromiter((met.setdefault(key, len(met)) for key in keys), dtype=np.intp, count=len(cells))
    return number, np.unique(number, return_index=True)[1]


def _differing(net: Network, decision: Floats) -> Floats:
    """Return how probably two responses to the same row differ."""
    if not net.is_classifier:
        return np.ones(len(decision))
    p = net.inverse_link(decision)
    same = (p**2).sum(axis=1) if net.link == "softmax" else (p**2 + (1 - p) ** 2).prod(axis=1)
    return np.asarray(1 - same)


# ---------------------------------------------------------------- tests


def _worse(group: NDArray[Any], n_groups: int, rows: _Rows, of: Any = slice(None)) -> Floats:
    """Return one-sided p-values that the excess of each group is larger than that of all other rows.

    Parameters
    ----------
    group : of the rows `of` that count. Their weights are not 0.
    """
    w = rows.weight[of]
    v = rows.excess[of] - np.median(rows.excess[of])  # sums of squares about 0 keep their digits
    weight, squares = np.bincount(group, w, n_groups), np.bincount(group, w**2, n_groups)
    expected = np.bincount(group, w**2 * rows.spread[of], n_groups)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.nan_to_num(np.bincount(group, w * v, n_groups) / weight, posinf=np.inf, neginf=-np.inf)
        about = np.bincount(group, w * (v - mean[group]) ** 2, n_groups)
        other_weight, other_mean = _but_one(weight), _but_one(weight * mean) / _but_one(weight)
        other_about = np.maximum(_but_one(about + weight * mean**2) - other_weight * other_mean**2, 0)
        sides = [
            (m, np.fmax(s / total / (n - 1), e / total**2), n)
            for m, s, total, e, n in (
                (mean, about, weight, expected, weight**2 / squares),
                (other_mean, other_about, other_weight, _but_one(expected), other_weight**2 / _but_one(squares)),
            )
        ]
    return larger_mean(*sides[0], over=sides[1])


def _but_one(values: Any) -> Floats:
    """Return the sum of all others for each value; nothing is subtracted, so that a huge one leaves the rest whole."""
    total = np.zeros(len(values) + 1)
    before, after = total.copy(), total.copy()
    before[1:] = np.cumsum(values)
    after[:-1] = np.cumsum(values[::-1])[::-1]
    return np.asarray(before[:-1] + after[1:])


@dataclass(frozen=True, eq=False)
class _Found:
    kind: str
    rule: str
    regions: tuple[int, ...]
    count: int
    share: float
    tested: int
    loss: float
    low: float
    high: float
    rest: float
    claimed: float
    scores: GroupScores
    p: float
    flag: bool = False


def _measured(
    rows: _Rows, member: NDArray[np.bool_], tested: NDArray[np.bool_], kind: str, rule: str, regions: Any
) -> _Found:
    """Return the scores of the members among the tested rows, and the p-value against the others."""
    tested = tested & (rows.weight > 0)
    code = (~member[tested]).astype(np.intp)
    w = rows.weight[tested]
    p = _worse(code, 2, rows, tested)
    loss = means_by_group(code, 2, rows.loss[tested], w)
    low, high = mean_limits(*loss, LEVEL)
    claimed = means_by_group(code, 2, rows.claimed[tested], w)[0][0]
    here = np.flatnonzero(tested)[code == 0]
    return _Found(
        kind=kind,
        rule=rule,
        regions=regions,
        count=int(rows.n_rows[member].sum()),
        share=float(rows.weight[member].sum() / rows.weight.sum()),
        tested=len(here),
        loss=float(loss[0][0]),
        low=max(float(low[0]), 0.0),
        high=float(high[0]),
        rest=float(loss[0][1]),
        claimed=float(claimed if rows.network.is_classifier else loss[0][1]),
        scores=_scores_of(rows, here),
        p=float(p[0]),
    )


def _scores_of(rows: _Rows, here: NDArray[np.intp], group: Any = None, n: int = 1) -> GroupScores:
    loss = rows.loss[here] * (1 if rows.network.is_classifier else rows.network.n_outputs)
    group = np.zeros(len(here), dtype=np.intp) if group is None else group
    link = rows.network.link
    return scores_by_group(group, n, rows.decision[here], rows.y[here], loss, link, rows.weight[here], LEVEL)


def _joined(parts: Sequence[GroupScores], rows: _Rows) -> GroupScores:
    parts = parts or [_scores_of(rows, np.zeros(0, dtype=np.intp), n=0)]
    value, low, high, reason = (
        np.concatenate([getattr(p, name) for p in parts], axis=1) for name in ("value", "low", "high", "reason")
    )
    return GroupScores(parts[0].measures, value, low, high, reason)


def _flagged(found: list[_Found]) -> list[_Found]:
    raised = adjusted(np.array([s.p for s in found]))
    return [_with(s, float(p)) for s, p in zip(found, raised, strict=True)]


# ---------------------------------------------------------------- single regions


def _single_regions(rows: _Rows, R: int, most: int) -> tuple[list[_Found], int]:
    """Return the regions whose p-values are smallest, adjusted over all that have enough rows, and how many have."""
    w = rows.weight
    seen = (rows.region >= 0) & (w > 0)
    count = np.bincount(rows.region[seen], minlength=R)
    tested = np.flatnonzero((count >= LEAST_ROWS) & (count <= (w > 0).sum() - _LEAST_OTHERS))
    # rows of no region known are others of each
    group = np.where(rows.region >= 0, rows.region, R)[w > 0]
    p = _worse(group, R + 1, rows, w > 0)[tested]
    mean = means_by_group(group, R + 1, rows.excess[w > 0], w[w > 0])[0][tested]
    raised = adjusted(p)
    first = np.lexsort((-mean, raised))[:most]
    every = np.ones(len(rows.region), dtype=bool)
    out = []
    for i in first[np.isfinite(p[first])]:
        r = int(tested[i])
        found = _measured(rows, rows.region == r, every, "region", f"region {r}", (r,))
        out.append(_with(found, float(raised[i])))
    return out, len(tested)


def _with(found: _Found, p: float) -> _Found:
    """Return a segment with its adjusted p-value; where the network is right more often than it expects it does not do badly."""
    return replace(found, p=p, flag=p <= 1 - LEVEL and found.loss > found.claimed)


# ---------------------------------------------------------------- rules


class _Rule(NamedTuple):
    score: float
    conditions: tuple[tuple[int, float, bool], ...]
    member: NDArray[np.bool_]


def _searched(rows: _Rows, first_half: NDArray[np.bool_], most: int, rng: np.random.Generator) -> list[_Found]:
    """Return rules and the group of regions found on one half of the rows, tested on the other."""
    half = np.flatnonzero(first_half & (rows.weight > 0))
    if len(half) < 2 * LEAST_ROWS:
        return []
    searched = half if len(half) <= _SEARCH_ROWS else np.sort(rng.choice(half, _SEARCH_ROWS, replace=False))
    found = []
    for rule in _best_rules(rows, searched, most):
        tree, leaf = _as_tree(rule.conditions, rows.x.shape[1])
        member = tree.assign(rows.x) == leaf
        if _enough(rows, member, ~first_half):
            found.append(_measured(rows, member, ~first_half, "rule", in_words(tree, leaf, rows.network.features), ()))
    together = _regions_together(rows, half)
    if len(together) > 1:
        member = np.isin(rows.region, together)
        if _enough(rows, member, ~first_half):
            shown = ", ".join(str(r) for r in together[:4])
            shown += f" and {len(together) - 4:,} more" if len(together) > 4 else ""
            regions = tuple(together.tolist())
            found.append(_measured(rows, member, ~first_half, "regions", f"regions {shown} together", regions))
    return _flagged(found)


def _enough(rows: _Rows, member: NDArray[np.bool_], tested: NDArray[np.bool_]) -> bool:
    """Return whether a segment has rows enough to be tested, and others to be compared with."""
    counts = tested & (rows.weight > 0)
    return bool((member & counts).sum() >= LEAST_ROWS and (~member & counts).sum() >= _LEAST_OTHERS)


def _regions_together(rows: _Rows, half: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the regions whose mean stands out by more than a standard error on one half of the rows."""
    half = half[rows.region[half] >= 0]
    if len(half) == 0:
        return np.zeros(0, dtype=np.intp)
    w = rows.weight[half]
    mean, variance, _ = means_by_group(rows.region[half], int(rows.region[half].max()) + 1, rows.excess[half], w)
    with np.errstate(invalid="ignore"):
        return np.flatnonzero(mean - np.average(rows.excess[half], weights=w) > np.sqrt(variance))


def _as_tree(conditions: Sequence[tuple[int, float, bool]], d: int) -> tuple[Tree, int]:
    """Return a tree with a leaf for the rows that meet all conditions (feature, threshold, above), and that leaf."""
    leaf, leaves = 0, []
    for i, (_, _, above) in enumerate(conditions):
        leaves.append(leaf)
        leaf = i + 1 if above else leaf
    direction = np.zeros((len(conditions), d))
    direction[np.arange(len(conditions)), [j for j, _, _ in conditions]] = 1.0
    threshold = np.array([t for _, t, _ in conditions])
    return Tree(np.array(leaves, dtype=np.intp), direction, threshold, np.zeros(len(conditions))), leaf


def _best_rules(rows: _Rows, searched: NDArray[np.intp], most: int) -> list[_Rule]:
    """Return rules that stand out, the most first, none of which shares most of its rows with a better one."""
    x, v, w = rows.x[searched], rows.excess[searched], rows.weight[searched]
    mean = np.average(v, weights=w)
    cuts = [cut_points(x[:, j], _THRESHOLDS) for j in range(x.shape[1])]
    codes = [np.searchsorted(t, x[:, j], side="left") for j, t in enumerate(cuts)]
    beam = [_Rule(0.0, (), np.ones(len(x), dtype=bool))]
    every: list[_Rule] = []
    for _ in range(_CONDITIONS):
        longer = [rule for parent in beam for rule in _narrowed(parent, codes, cuts, v - mean, w)]
        beam = _distinct(longer, _BEAM, 0.9)
        every += beam
        if not beam:
            break
    return _distinct(every, most, _SAME)


def _narrowed(parent: _Rule, codes: list[Any], cuts: list[Floats], v: Floats, w: Floats) -> list[_Rule]:
    """Return the rules of one more condition, of each feature the best below and the best above a threshold."""
    rows = np.flatnonzero(parent.member)
    v, w = v[rows], w[rows]
    out = []
    for j, (code, cut) in enumerate(zip(codes, cuts, strict=True)):
        if len(cut) == 0:
            continue
        here = code[rows]
        sums = np.stack(
            [np.bincount(here, part, len(cut) + 1) for part in (np.ones(len(rows)), w, w * v, (w * v) ** 2)]
        )
        below = np.cumsum(sums, axis=1)[:, :-1]
        for above, part in ((False, below), (True, sums.sum(axis=1, keepdims=True) - below)):
            # the mean over its standard error: sum / sqrt(sum of squares), each about the mean of all rows
            with np.errstate(invalid="ignore", divide="ignore"):
                centred = np.maximum(part[3] - part[2] ** 2 / np.maximum(part[0], 1), 1e-300)
                score = part[2] / np.sqrt(centred)
            score[(part[0] < LEAST_ROWS) | (part[0] > _NARROWED * len(rows)) | np.isnan(score)] = -np.inf
            i = int(np.argmax(score))
            if score[i] > max(parent.score, 0):
                member = parent.member.copy()
                member[rows] = (here > i) if above else (here <= i)
                out.append(_Rule(float(score[i]), (*parent.conditions, (j, float(cut[i]), above)), member))
    return out


def _distinct(rules: list[_Rule], most: int, same: float) -> list[_Rule]:
    """Return the best rules, none of which shares more than a part of its rows with a better one."""
    kept: list[_Rule] = []
    for rule in sorted(rules, key=lambda r: (-r.score, len(r.conditions), r.conditions)):
        overlap = ((rule.member & k.member).sum() / max((rule.member | k.member).sum(), 1) for k in kept)
        if all(part <= same for part in overlap):
            kept.append(rule)
            if len(kept) == most:
                break
    return kept


# ---------------------------------------------------------------- groups


def _groups(u: Unwrapped, other: Unwrapped, rows: _Rows, protected: Any, X: Any) -> Groups:
    values, column = _protected(other, protected, X)
    names, code, in_order = _coded(values)
    size = np.bincount(code, minlength=len(names))
    # differences are to the first, which has to weigh something
    order = np.lexsort((-size, np.bincount(code, rows.weight, len(names)) == 0))
    if in_order:
        order = np.r_[order[0], np.delete(np.arange(len(names)), order[0])]
    rank = np.empty(len(order), dtype=np.intp)
    rank[order] = np.arange(len(order))
    code, G, w = rank[code], len(names), rows.weight
    net = u.network
    scores = _scores_of(rows, np.arange(len(code)), code, G)
    accepted, low, high = np.full((3, G), np.nan)
    two = {"logit": 1, "softmax": 2}.get(net.link) == net.n_outputs
    if two:
        reached = rows.decision[:, -1] > (rows.decision[:, 0] if net.link == "softmax" else 0)
        accepted, _, n = means_by_group(code, G, reached.astype(float), w)
        low, high = wilson(accepted, n, LEVEL)
    centred = over_classes(rows.decision[:, :, None], net.link)[:, :, 0]
    parts = [means_by_group(code, G, centred[:, k], w) for k in range(net.n_outputs)]
    limits = [mean_limits(*part, LEVEL) for part in parts]
    weight = np.bincount(code, w, G)
    return Groups(
        column=column,
        names=tuple(names[i] for i in order),
        count=size[order].astype(np.int64),
        share=weight / weight.sum(),
        scores=scores,
        accepted=accepted,
        accepted_low=low,
        accepted_high=high,
        decision=np.stack([part[0] for part in parts], axis=1),
        decision_low=np.stack([limit[0] for limit in limits], axis=1),
        decision_high=np.stack([limit[1] for limit in limits], axis=1),
        coef=_mean_coef(other, code, G, w),
    )


def _mean_coef(v: Unwrapped, code: NDArray[Any], G: int, w: Floats) -> Floats:
    """Return the weighted mean coefficients over the rows of each group (G, n_outputs, n_features)."""
    net = v.network
    share = np.bincount(code * v.n_regions + v.sample.region, w, G * v.n_regions).reshape(G, v.n_regions)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = share / share.sum(axis=1, keepdims=True)
    out = np.zeros((G, net.n_outputs, net.n_features))
    for regions, coef, _ in v.map_blocks():
        out += np.tensordot(share[:, regions], over_classes(coef, net.link), axes=1)
    return out


def _protected(other: Unwrapped, protected: Any, X: Any) -> tuple[_Cells, str]:
    """Return the values of each row of the sample, and what they are called."""
    features, rows = other.network.features, other.sample.row
    if not isinstance(protected, str):
        cells = _cells(protected)
        if len(cells.values) != other.n_rows:
            raise ArgumentError(
                f"protected has {len(cells.values):,} values; the table has {other.n_rows:,} rows. Give one value per row."
            )
        name = getattr(protected, "name", None)
        return cells.taken(rows), name if isinstance(name, str) and name else "group"
    inputs = [name for name, _ in features.groups]
    if protected in inputs:
        return _cells(features.in_columns(other.sample.x)[inputs.index(protected)]), protected
    if X is None or isinstance(X, Unwrapped):
        raise ArgumentError(
            f"protected is the column {clipped(protected)}, but what was unwrapped keeps no columns beside the inputs. "
            "Give X and y too, or the values of the column."
        )
    return _cells(column_values(X, protected, features)).taken(rows), protected


def column_values(X: Any, protected: str, features: Features) -> Any:
    """Return the values of a protected column (n,) of a table; it need not be an input.

    Raises
    ------
    ArgumentError : the table can be read only once. ColumnError, TargetError : there is no such column, or one of a file
        holds neither numbers nor text.
    """
    try:
        source = data.open_source(X, protected, None, features)
        if not source.reiterable:
            raise ArgumentError(
                "protected names a column of an iterator, which can be read only once. Give its values."
            )
        if is_table(X):
            return _column_of(X, protected)
        parts = [batch.y for batch in source.batches() if batch.y is not None]
    except (ColumnError, TargetError) as error:
        # it is read as a target is, and a reader knows it by another name
        raise type(error)(re.sub("(^|: )(y|The target) (?=is |holds )", r"\1protected ", str(error), count=1)) from None
    if len(parts) == 1:
        return np.asarray(parts[0])
    same = len({part.dtype for part in parts}) == 1
    return np.concatenate(parts if same else [part.astype(object) for part in parts])


def _column_of(table: Any, name: str) -> Any:
    import narwhals.stable.v2 as nw

    frame: Any = nw.from_native(table)
    frame = frame.select(name)
    return (frame.collect() if isinstance(frame, nw.LazyFrame) else frame).get_column(name).to_native()


class _Cells(NamedTuple):
    """Values of rows as they were given; of an ordered or unordered category, codes of `levels` (-1: missing)."""

    values: Any
    levels: tuple[Any, ...] | None = None

    def taken(self, rows: NDArray[Any]) -> _Cells:
        if isinstance(self.values, np.ndarray):
            return self._replace(values=self.values[rows])
        return self._replace(values=[self.values[i] for i in rows.tolist()])


def _cells(given: Any) -> _Cells:
    """Return values one per row."""
    levels = getattr(getattr(given, "dtype", None), "categories", None)
    if levels is not None and type(given).__module__.startswith("pandas"):
        codes = getattr(getattr(given, "cat", given), "codes", None)
        return _Cells(np.asarray(codes if codes is not None else given.array.codes), tuple(levels))
    if hasattr(given, "to_pylist"):
        return _Cells(given.to_pylist())
    if not isinstance(given, np.ndarray) and hasattr(given, "to_list"):
        return _Cells(given.to_list())
    array = given if isinstance(given, np.ndarray | list | tuple) else np.asarray(given)
    if isinstance(array, np.ndarray):
        if array.ndim != 1:
            raise ArgumentError(f"protected has shape {array.shape}; expected one value per row.")
        return _Cells(array)
    return _Cells(list(array))


_MISSING = ("missing", None)


def _coded(cells: _Cells) -> tuple[list[str], NDArray[np.intp], bool]:
    """Return the names of groups, the group of each row, and whether the groups come in an order of their own.

    Raises
    ------
    ArgumentError : there are too many groups, or a value can be no group.
    """
    values, levels = cells
    if isinstance(values, np.ndarray) and values.dtype.kind in "mM":
        for unit in ("D", "s") if values.dtype.kind == "M" else ():
            whole = values.astype(f"datetime64[{unit}]")
            if ((whole == values) | np.isnat(values)).all():
                values = whole
                break
        values = np.where(np.isnat(values), "", values.astype(str)).tolist()
        values = [None if v == "" else _Written(v) for v in values]
    elif isinstance(values, np.ndarray):
        short = values.dtype.kind == "f" and values.dtype.itemsize < 8  # 0.1 is not 0.10000000149011612
        values = (values.astype(str).astype(np.float64) if short else values).tolist()
    if levels is not None:
        values = [None if i < 0 else i for i in values]
    met: dict[tuple[str, Hashable], int] = {}
    code = np.empty(len(values), dtype=np.intp)
    for i, value in enumerate(values):
        key = _key(value)
        number = met.get(key)
        if number is None:
            if len(met) == MAX_GROUPS:
                raise ArgumentError(
                    f"protected has more than {MAX_GROUPS} different values; at most {MAX_GROUPS} groups can be compared. "
                    "Cut a number into ranges, or join rare levels."
                )
            number = met[key] = len(met)
        code[i] = number
    # numbers, then text, then what else there is, each sorted; missing values last
    keys = sorted(met, key=_place)
    rank = np.empty(len(keys), dtype=np.intp)
    rank[[met[key] for key in keys]] = np.arange(len(keys))
    if levels is not None:
        keys = [key if key == _MISSING else _key(levels[cast(int, key[1])]) for key in keys]
    return _names_of(keys), rank[code], levels is not None


class _Written(str):
    """A value by its text that is no text, such as a date."""

    __slots__ = ()


def _key(value: Any) -> tuple[str, Hashable]:
    """Return the kind of a cell with its value: numbers are equal by value, text is no number, all missing ones are one.

    Raises
    ------
    ArgumentError : it is nothing that rows can be grouped by.
    """
    if type(value) is str:
        return "text", value
    if isinstance(value, np.generic):
        value = str(value) if isinstance(value, np.datetime64 | np.timedelta64) and value == value else value.item()
    kind = type(value).__name__
    if value is None or kind in ("NAType", "NaTType"):
        return _MISSING
    if isinstance(value, _Written):
        return "date", str(value)
    if isinstance(value, str):
        return "text", str(value)
    if isinstance(value, bool | int | float | Decimal):
        return _MISSING if value != value else ("number", value)
    try:
        hash(value)
    except TypeError:
        raise ArgumentError(
            f"protected holds {clipped(value)} ({kind}); expected numbers, text, dates or categories, one per row."
        ) from None
    return kind, value


def _place(key: Any) -> tuple[Any, ...]:
    kind, value = key
    order = {"number": 0, "text": 1, "missing": 3}.get(kind, 2)
    return (order, kind, value) if order < 2 else (order, kind, str(value))


def _names_of(keys: Sequence[tuple[str, Hashable]]) -> list[str]:
    """Return a name of each group, no two alike: text keeps its own."""
    taken = {str(value) for kind, value in keys if kind == "text"}
    names: list[str] = []
    for kind, value in keys:
        if kind == "text":
            names.append(str(value))
            continue
        said = "missing" if kind == "missing" else _written(value)
        trials = [said, f"{said} value" if kind == "missing" else f"{said} ({kind})"]
        trials += [f"{trials[1]} ({i})" for i in range(2, len(keys) + 2)]
        name = next(trial for trial in trials if trial not in taken)
        taken.add(name)
        names.append(name)
    return names


def _written(value: Any) -> str:
    """Return a value as text: whole numbers without a point, large ones with a power, days without a time."""
    if isinstance(value, bool | int | float | Decimal):
        number = Decimal(value)  # holds whole numbers of any size
        if not abs(number) < Decimal(10**16):
            return f"{number:.6g}"
        return str(int(number)) if number == int(number) else str(value)
    return str(value).removesuffix(" 00:00:00")
