"""What the page says of regions: the table, the models of those shown, the importance of features."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relucidate.html.parts import packed
from relucidate.html.told import told
from relucidate.importances import Spread, row_maps
from relucidate.layers import Floats
from relucidate.network import Patterns
from relucidate.reliabilities import Reliability
from relucidate.scoring import SCORE_WORDS
from relucidate.unwrapping import GLOBAL_SCORES, Unwrapped
from relucidate.words import Name, decimals_for, fixed, name, percent, rounded

MAX_REGIONS = 10_000  # in the page
STATIC_REGIONS = 50  # in the page's own HTML, for readers without scripts; the script draws the others
MAX_OUTPUTS = 10
MAX_COLUMNS = 12  # features in the table where there are more than ALL_COLUMNS
ALL_COLUMNS = 16
MAX_FEATURES = 500  # with data
LEVELS = 5  # of colour on either side of 0
# Numbers embedded, four bytes each and a third more as text: together about 2.5 MB.
COEFFICIENTS = 250_000
MEANS = 100_000
FACTS = 120_000
RELIABLE = "reliable"
_COMPLETE = 0.25  # of the coefficients are kept for regions with all features, where there is no room for all
_IMPORTANCE_CELLS = 4 * 10**8
_MAPS_BYTES = 2**28
_LARGEST_SINGLE = 3e38


@dataclass(frozen=True)
class Importance:
    """How much each feature moves the decision.

    Parameters
    ----------
    share : (K, d) of the outputs shown; each row adds to 1, or is 0 where the output is constant.
    mean, sd : (d,) of the features in the sample.
    n_rows : rows that it was computed on.
    """

    share: Floats
    mean: Floats
    sd: Floats
    n_rows: int

    @property
    def order(self) -> list[int]:
        """Features, the most important over all outputs first; ties in the network's order."""
        return [int(j) for j in np.argsort(-self.share.sum(axis=0), kind="stable")]


def feature_importance(u: Unwrapped, n_outputs: int) -> Importance:
    """Return the variance over rows of ``w_{r(i)j} (x_ij - mean_j)``, as shares of their sum over features.

    Notes
    -----
    On the sample of `u`; on its first rows where rows × outputs × features would exceed what a page should cost.
    """
    s, net = u.sample, u.network
    d = net.n_features
    n = min(len(s.row), max(1000, _IMPORTANCE_CELLS // max(net.n_outputs * d, 1)))
    s = s if n == len(s.row) else s.taken(np.arange(n))
    held = Spread((n_outputs, d))
    for rows, coef in row_maps(u, np.asarray(s.region), n_outputs):
        held.add(coef * (s.x[rows] - s.mean)[:, None], s.weights[rows])
    whole = held.variance.sum(axis=1, keepdims=True)
    return Importance(held.variance / np.where(whole > 0, whole, 1), s.mean, s.sd, n)


# ---------------------------------------------------------------- columns


@dataclass(frozen=True, eq=False)
class Column:
    """A column of the region table.

    Parameters
    ----------
    key : name in the data. label : heading. kind : "count", "share", "number", "verdict" or "coef".
    values : per output shown, or once: the first regions' numbers, NaN where there is none; the others have none.
    decimals : of a "number" or "coef". feature : index among the features shown of a "coef", else -1.
    hint : a sentence for the heading. words : of a "verdict", what its numbers say.
    """

    key: str
    label: Name
    kind: str
    values: list[Floats]
    decimals: int = 0
    feature: int = -1
    hint: str = ""
    words: tuple[str, ...] = ()

    def at(self, output: int, row: int) -> float | None:
        """Return a value, None where there is none."""
        values = self.values[min(output, len(self.values) - 1)]
        return None if row >= len(values) or np.isnan(values[row]) else float(values[row])

    def text(self, row: int) -> str:
        """Return a value of the first output as text."""
        value = self.at(0, row)
        if self.kind == "verdict":
            return self.words[int(value or 0)]
        if self.kind == "share":
            return percent(value, 2)
        return fixed(value, 0 if self.kind == "count" else self.decimals)

    def data(self) -> dict[str, Any]:
        """Return what the script needs, as JSON values."""
        out: dict[str, Any] = {"kind": self.kind, "label": self.label.short, "decimals": self.decimals}
        if self.feature >= 0:
            return {**out, "feature": self.feature}
        return {**out, "values": [as_packed(v, self.kind) for v in self.values]}


def single(values: Any) -> Floats:
    """Return values as the page holds them: rounded to float32 where they fit, NaN where they are not finite."""
    exact = np.asarray(values, dtype=np.float64)
    exact = np.where(np.isfinite(exact), exact, np.nan)
    fits = not (np.abs(exact[~np.isnan(exact)]) > _LARGEST_SINGLE).any()
    return exact.astype(np.float32).astype(np.float64) if fits else exact


def as_packed(values: Floats, kind: str = "number") -> dict[str, Any]:
    """Return values of `single` as bytes."""
    if kind in ("count", "verdict"):
        return packed(values, "i4" if kind == "count" else "u1")
    known = values[~np.isnan(values)]
    # a share in full, so that it is rounded here as everywhere in the page
    return packed(values, "f8" if kind == "share" or (np.abs(known) > _LARGEST_SINGLE).any() else "f4")


def _numbers(label: str, values: Sequence[Any], n: int, hint: str = "") -> Column:
    """Return a column of numbers, one (R,) of them per output, of which the first n regions keep theirs."""
    kept = [_ended(single(v)[:n]) for v in values]
    typical = decimals_for(v for part in kept for v in part.tolist())
    return Column(label, Name(label), "number", kept, typical, hint=hint)


def _ended(values: Floats) -> Floats:
    """Return values up to the last that there is."""
    known = np.flatnonzero(~np.isnan(values))
    return values[: known[-1] + 1] if len(known) else values[:0]


# ---------------------------------------------------------------- the table


@dataclass(frozen=True, eq=False)
class RegionTable:
    """The regions in the page, and what it leaves out.

    Parameters
    ----------
    n, n_shown : regions. share_shown : of the rows, by weight. columns : of the table.
    patterns : short ids. outputs, n_outputs : names shown; of all.
    kept : places of the features with data, most important first. features : their names. n_features : of all.
    n_columns : of them with a column. column_of : (f,) the user's column that each belongs to.
    details : further facts of a region, for the panel.
    coef : (K, f, n_complete) of the largest regions. more_coef : (K, n_columns, n_coef − n_complete) of the next ones.
    n_facts : regions with means of predictions, scores and intercept, where there are any.
    means : (f, M) of the features, of the largest regions. least : fewest rows of a mean.
    sd, overall : (f,) of the features in the sample. scale : per output, where the colour is full.
    quantity : what the local linear models give. reasons : why a region may be unreliable. tally : (n_reasons + 1,) of the
        regions shown for which each holds; the last: reliable ones.
    flags : (R,) reasons that hold, as bits.
    """

    n: int
    n_shown: int
    share_shown: float
    columns: list[Column]
    patterns: list[str]
    outputs: list[Name]
    n_outputs: int
    kept: list[int]
    features: list[Name]
    n_features: int
    n_columns: int
    column_of: list[int]
    details: list[Column]
    coef: Floats
    more_coef: Floats
    n_facts: int
    means: Floats
    least: int
    sd: list[Any]
    overall: list[Any]
    scale: list[float]
    quantity: str
    has_global: bool
    reasons: tuple[str, ...]
    tally: list[int]
    flags: NDArray[np.int64]

    @property
    def static(self) -> range:
        """Rows that are in the page's own HTML."""
        return range(min(self.n_shown, STATIC_REGIONS))

    @property
    def n_complete(self) -> int:
        """Regions with the coefficients of all features that have data."""
        return self.coef.shape[2]

    @property
    def n_coef(self) -> int:
        """Regions with the coefficients of the features in the table."""
        return self.n_complete + self.more_coef.shape[2]

    def level(self, column: Column, row: int) -> str:
        """Return the class of colour of a coefficient of the first output."""
        return heat(column.at(0, row), self.sd[column.feature], self.scale[0])

    def column(self, key: str) -> Column:
        """Return a column by its key."""
        return next(c for c in [*self.columns, *self.details] if c.key == key)

    def data(self) -> dict[str, Any]:
        """Return what the script needs, as JSON values."""
        return {
            "outputs": [o.short for o in self.outputs],
            "columns": [c.data() for c in self.columns],
            "details": [c.data() for c in self.details],
            "patterns": self.patterns,
            "features": [[f.short, f.full] for f in self.features],
            "columnOf": self.column_of,
            "more": self.n_features - len(self.features),
            "coef": as_packed(self.coef),
            "moreCoef": as_packed(self.more_coef),
            "means": as_packed(self.means),
            "sd": self.sd,
            "overall": self.overall,
            "scale": self.scale,
            "quantity": self.quantity,
            "total": self.n,
            "least": self.least,
            "reasons": list(self.reasons),
            "flags": packed(self.flags, "i4"),
        }


def heat(value: float | None, sd: float | None, scale: float) -> str:
    """Return the class of colour of a coefficient: h-5 … h0 … h5, by its effect per standard deviation."""
    if value is None or sd is None or scale == 0:
        return "h0"
    level = math.floor(min(abs(value * sd) / scale, 1) * LEVELS + 0.5)
    return f"h{-level if value < 0 else level}"


def region_table(u: Unwrapped, importance: Importance, judged: Reliability, least: int = 1) -> RegionTable:
    """Return the largest regions of `u` with the most important features.

    Parameters
    ----------
    importance : of the features, says which come first. judged : a verdict per region.
    least : fewest rows of a region whose means, responses and own scores are shown.

    Notes
    -----
    Where there is no room for all: the largest regions keep the coefficients of all features, the next ones those of the
    features in the table, the others none; means, scores and intercepts end in the same way.
    """
    net = u.network
    K = len(importance.share)
    R = min(u.n_regions, MAX_REGIONS)
    n_columns = net.n_features if net.n_features <= ALL_COLUMNS else MAX_COLUMNS
    kept = importance.order[:MAX_FEATURES]
    n_complete, n_coef = _room(R, K, len(kept), n_columns)
    coef, intercept = _maps(u, n_coef, kept, K)
    of_features, groups = [0] * net.n_features, net.features.groups
    for g, (_, indices) in enumerate(groups):
        for j in indices:
            of_features[j] = g
    features = [name(net.feature_names[j], 24) for j in kept]
    table = _scores(u)
    enough = u.n_rows >= least
    n_enough = min(R, int(told(u.count, least).sum()))
    n_facts = min(R, FACTS // (4 * K + 8))
    scored = _score_columns(table, R, min(n_facts, n_enough), n_facts if enough else 0)
    columns = [
        *_size_columns(u, R),
        _verdict(judged, R),
        *_mean_columns(u, R, K, min(n_facts, n_enough)),
        *scored,
        _numbers("intercept", [intercept[:, k] for k in range(K)], n_facts, "of the local linear model"),
    ]
    scale = [_scale(coef[k, :n_columns] * importance.sd[kept[:n_columns], None]) for k in range(K)]
    coef = single(coef)
    for j in range(n_columns):
        typical = decimals_for(v for k in range(K) for v in coef[k, j].tolist())
        columns.append(Column(f"coef{j}", features[j], "coef", [coef[k, j] for k in range(K)], typical, j))
    n_means = min(n_enough, MEANS // (2 * len(kept))) if u.sums.x.shape[1] else 0
    with np.errstate(invalid="ignore", divide="ignore"):
        means = (u.sums.x[:n_means] / u.sums.weight[:n_means, None]).T if n_means else np.zeros((net.n_features, 0))
    return RegionTable(
        n=u.n_regions,
        n_shown=R,
        share_shown=float(u.share[:R].sum()),
        columns=columns,
        patterns=Patterns(u.sums.packed[:R], net.n_bits).ids(),
        outputs=[name(o) for o in net.outputs[:K]],
        n_outputs=net.n_outputs,
        kept=kept,
        features=features,
        n_features=net.n_features,
        n_columns=n_columns,
        column_of=[of_features[j] for j in kept],
        details=_detail_columns(table, R, K, min(n_facts, n_enough)),
        coef=coef[:, :, :n_complete],
        more_coef=coef[:, :n_columns, n_complete:],
        n_facts=n_facts,
        means=single(means[kept]),
        least=least,
        sd=[rounded(v) for v in importance.sd[kept]],
        overall=[rounded(v) if enough else None for v in importance.mean[kept]],
        scale=scale,
        quantity=quantity(u),
        has_global=any(c.key.startswith("global") for c in scored),
        reasons=judged.reasons,
        tally=[*judged.flags[:R].sum(axis=0).tolist(), int(judged.reliable[:R].sum())],
        flags=judged.flags[:R] @ (1 << np.arange(len(judged.reasons))),
    )


def quantity(u: Unwrapped) -> str:
    """Return what the local linear models give, as a word."""
    return {"logit": "logit", "softmax": "logit", "log": "log of the prediction"}.get(u.network.link, "prediction")


def _room(R: int, K: int, n_features: int, n_columns: int) -> tuple[int, int]:
    """Return of how many regions the coefficients of all features are kept, and of how many those in the table."""
    if R * K * n_features <= COEFFICIENTS:
        return R, R
    first = max(1, int(_COMPLETE * COEFFICIENTS) // (K * n_features))
    some = min(R, first + (COEFFICIENTS - first * K * n_features) // (K * n_columns))
    left = COEFFICIENTS - K * (first * n_features + (some - first) * n_columns)
    if n_features > n_columns:
        first += max(0, left // (K * (n_features - n_columns)))
    return min(first, some), some


def _maps(u: Unwrapped, R: int, kept: list[int], K: int) -> tuple[Floats, Floats]:
    """Return coefficients (K, len(kept), R) and intercepts (R, K) of the first R regions."""
    net = u.network
    coef, intercept = np.empty((K, len(kept), R)), np.empty((R, K))
    for rows, w, b in net.map_blocks(Patterns(u.sums.packed[:R], net.n_bits)):
        coef[:, :, rows] = w[:, :K][:, :, kept].transpose(1, 2, 0)
        intercept[rows] = b[:, :K]
    return coef, intercept


def _scores(u: Unwrapped) -> Any:
    """Return the table of regions without their maps; no score on all rows where the maps would not fit."""
    net = u.network
    fits = u.n_regions * net.n_outputs * (net.n_features + 1) * 8 <= _MAPS_BYTES
    return u.table(maps=False, global_scores=GLOBAL_SCORES if fits else 0).head(MAX_REGIONS)


def _size_columns(u: Unwrapped, R: int) -> list[Column]:
    rows = u.count[:R].astype(np.float64)
    return [
        Column("rows", Name("rows"), "count", [rows], hint="rows of the table in this region"),
        Column("share", Name("share"), "share", [u.share[:R]], hint="share of all rows, by weight if given"),
    ]


def _verdict(judged: Reliability, R: int) -> Column:
    words = (*judged.reasons, RELIABLE)
    hint = "whether the rows of this region support its model; if not, the first reason"
    return Column(
        "verdict", Name("verdict"), "verdict", [judged.first[:R].astype(np.float64)], hint=hint, words=tuple(words)
    )


def _mean_columns(u: Unwrapped, R: int, K: int, n: int) -> list[Column]:
    sums = u.sums
    weight = sums.weight[:R, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        predicted = (sums.prediction[:R, :K] / weight).T
        response = sums.mean()[:R, :K].T
    theirs = _numbers("predicted mean", list(predicted), n, "mean of the network's predictions in it")
    if not u.has_y:
        return [theirs]
    seen = _numbers("response mean", list(response), n, "mean of the observed response in this region")
    # side by side, they are read against each other
    return [replace(seen, decimals=theirs.decimals), theirs]


def _score_columns(table: Any, R: int, n_local: int, n_global: int) -> list[Column]:
    out = []
    for key in map(str, table.columns):
        where, _, score = key.partition("_")
        if where not in ("local", "global") or score not in SCORE_WORDS:
            continue
        place = "on the region's own rows" if where == "local" else "of this local linear model on all rows"
        n = n_local if where == "local" else n_global
        made = _numbers(
            f"{where} {SCORE_WORDS[score]}", [table[key].to_numpy()[:R]], n, f"{SCORE_WORDS[score]} {place}"
        )
        if len(made.values[0]):
            out.append(made)
    return out


def _detail_columns(table: Any, R: int, K: int, n: int) -> list[Column]:
    out = []
    names = [c for c in map(str, table.columns) if c == "response_sd" or c.startswith("response_sd[")][:K]
    if names:
        out.append(_numbers("response sd", [table[c].to_numpy()[:R] for c in names], n))
    if "share_positive" in table.columns:
        values = single(table["share_positive"].to_numpy()[:n])
        out.append(Column("positive", Name("predicted positive"), "share", [values]))
    return out


def _scale(effect: Floats) -> float:
    """Return the size of effect where the colour is full: the 95th percentile, two digits."""
    sizes = np.abs(effect[np.isfinite(effect) & (effect != 0)])
    return float(f"{np.percentile(sizes, 95):.2g}") if len(sizes) else 0.0
