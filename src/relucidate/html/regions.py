"""What the page says of regions: the table, the models of those shown, the importance of features."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from relucidate.html.words import Name, decimals_for, fixed, name, percent, rounded
from relucidate.importances import Spread, row_maps
from relucidate.layers import Floats
from relucidate.network import Patterns
from relucidate.unwrapping import GLOBAL_SCORES, Unwrapped

MAX_REGIONS = 1_000  # in the page
STATIC_REGIONS = 50  # in the page's own HTML, for readers without scripts; the script draws the others
MAX_OUTPUTS = 10
MAX_COLUMNS = 12  # features in the table where there are more than ALL_COLUMNS
ALL_COLUMNS = 16
MAX_NUMBERS = 200_000  # coefficients and means embedded
MAX_FEATURES = 500  # with data
LEVELS = 5  # of colour on either side of 0
_IMPORTANCE_CELLS = 4 * 10**8
_MAPS_BYTES = 2**28

_LABELS = {
    "auc": "AUC",
    "log_loss": "log-loss",
    "mse": "MSE",
    "r2": "R²",
    "accuracy": "accuracy",
}


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


@dataclass(frozen=True)
class Column:
    """A column of the region table.

    Parameters
    ----------
    key : name in the data. label : heading. kind : "count", "share", "number" or "coef".
    values : per output shown, or once: (R,) numbers or None. decimals : of a "number" or "coef".
    feature : index among the features shown of a "coef", else -1. hint : a sentence for the heading.
    """

    key: str
    label: Name
    kind: str
    values: list[list[Any]]
    decimals: int = 0
    feature: int = -1
    hint: str = ""

    def at(self, output: int, row: int) -> Any:
        """Return a value."""
        return self.values[min(output, len(self.values) - 1)][row]

    def text(self, row: int) -> str:
        """Return a value of the first output as text."""
        value = self.at(0, row)
        if self.kind == "share":
            return percent(value, 2)
        return fixed(value, 0 if self.kind == "count" else self.decimals)


@dataclass(frozen=True)
class RegionTable:
    """The regions in the page, and what it leaves out.

    Parameters
    ----------
    n, n_shown : regions. share_shown : of the rows, by weight. columns : of the table.
    patterns : short ids. outputs, n_outputs : names shown; of all. features : those with data, most important first.
    n_features : of all. details : further facts of a region, for the panel. coef : (K, f, R). means : (f, R)
    sd, overall : (f,) of the features in the sample. scale : per output, where the colour is full.
    quantity : what the local linear models give.
    """

    n: int
    n_shown: int
    share_shown: float
    columns: list[Column]
    patterns: list[str]
    outputs: list[Name]
    n_outputs: int
    features: list[Name]
    n_features: int
    details: list[Column]
    coef: list[list[list[Any]]]
    means: list[list[Any]]
    sd: list[Any]
    overall: list[Any]
    scale: list[float]
    quantity: str
    has_global: bool

    @property
    def static(self) -> range:
        """Rows that are in the page's own HTML."""
        return range(min(self.n_shown, STATIC_REGIONS))

    def level(self, column: Column, row: int) -> str:
        """Return the class of colour of a coefficient of the first output."""
        return heat(column.at(0, row), self.sd[column.feature], self.scale[0])

    def data(self) -> dict[str, Any]:
        """Return what the script needs, as JSON values."""
        return {
            "outputs": [o.short for o in self.outputs],
            "columns": [_described(c) for c in self.columns],
            "details": [_described(c) for c in self.details],
            "patterns": self.patterns,
            "features": [[f.short, f.full] for f in self.features],
            "more": self.n_features - len(self.features),
            "coef": self.coef,
            "means": self.means,
            "sd": self.sd,
            "overall": self.overall,
            "scale": self.scale,
            "quantity": self.quantity,
            "total": self.n,
        }


def _described(column: Column) -> dict[str, Any]:
    out: dict[str, Any] = {"kind": column.kind, "label": column.label.short, "decimals": column.decimals}
    if column.feature >= 0:
        return {**out, "feature": column.feature}
    return {**out, "values": column.values}


def heat(value: float | None, sd: float | None, scale: float) -> str:
    """Return the class of colour of a coefficient: h-5 … h0 … h5, by its effect per standard deviation."""
    if value is None or sd is None or scale == 0:
        return "h0"
    level = math.floor(min(abs(value * sd) / scale, 1) * LEVELS + 0.5)
    return f"h{-level if value < 0 else level}"


def region_table(u: Unwrapped, importance: Importance) -> RegionTable:
    """Return the largest regions of `u` with the most important features."""
    net = u.network
    K = len(importance.share)
    R = min(u.n_regions, MAX_REGIONS)
    n_columns = net.n_features if net.n_features <= ALL_COLUMNS else MAX_COLUMNS
    n_data = min(net.n_features, MAX_FEATURES, max(n_columns, MAX_NUMBERS // (R * (K + 1))))
    kept = importance.order[:n_data]
    coef, intercept = _maps(u, R, kept, K)
    features = [name(net.feature_names[j], 24) for j in kept]
    sd = [rounded(v) for v in importance.sd[kept]]
    table = _scores(u)
    has_global = any(str(c).startswith("global_") for c in table.columns)
    columns = [*_size_columns(u, R), *_mean_columns(u, R, K), *_score_columns(table, R)]
    columns.append(_numbers("intercept", [_listed(intercept[:, k]) for k in range(K)], "of the local linear model"))
    scale = [_scale(coef[k, :n_columns] * importance.sd[kept[:n_columns], None]) for k in range(K)]
    packed_coef = [[_listed(coef[k, j]) for j in range(n_data)] for k in range(K)]
    for j in range(n_columns):
        values = [packed_coef[k][j] for k in range(K)]
        typical = decimals_for(v for part in values for v in part)
        columns.append(Column(f"coef{j}", features[j], "coef", values, typical, j))
    means = u.sums.x[:R] / u.sums.weight[:R, None] if u.sums.x.shape[1] else np.zeros((R, 0))
    return RegionTable(
        n=u.n_regions,
        n_shown=R,
        share_shown=float(u.share[:R].sum()),
        columns=columns,
        patterns=Patterns(u.sums.packed[:R], net.n_bits).ids(),
        outputs=[name(o) for o in net.outputs[:K]],
        n_outputs=net.n_outputs,
        features=features,
        n_features=net.n_features,
        details=_detail_columns(u, table, R, K),
        coef=packed_coef,
        means=[_listed(means[:, j]) for j in kept] if means.shape[1] else [],
        sd=sd,
        overall=[rounded(v) for v in importance.mean[kept]],
        scale=scale,
        quantity=quantity(u),
        has_global=has_global,
    )


def quantity(u: Unwrapped) -> str:
    """Return what the local linear models give, as a word."""
    return {"logit": "logit", "softmax": "logit", "log": "log of the prediction"}.get(u.network.link, "prediction")


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


def _listed(values: Any) -> list[Any]:
    return [rounded(v) for v in values]


def _numbers(label: str, values: list[list[Any]], hint: str = "") -> Column:
    return Column(label, Name(label), "number", values, decimals_for(v for part in values for v in part), hint=hint)


def _size_columns(u: Unwrapped, R: int) -> list[Column]:
    return [
        Column("rows", Name("rows"), "count", [u.count[:R].tolist()], hint="rows of the table in this region"),
        Column("share", Name("share"), "share", [_listed(u.share[:R])], hint="share of all rows, by weight if given"),
    ]


def _mean_columns(u: Unwrapped, R: int, K: int) -> list[Column]:
    sums = u.sums
    weight = sums.weight[:R, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        predicted = (sums.prediction[:R, :K] / weight).T
        response = sums.mean()[:R, :K].T
    theirs = _numbers("predicted mean", list(map(_listed, predicted)), "mean of the network's predictions in it")
    if not u.has_y:
        return [theirs]
    seen = _numbers("response mean", list(map(_listed, response)), "mean of the observed response in this region")
    # side by side, they are read against each other
    return [replace(seen, decimals=theirs.decimals), theirs]


def _score_columns(table: Any, R: int) -> list[Column]:
    out = []
    for key in map(str, table.columns):
        where, _, score = key.partition("_")
        if where not in ("local", "global") or score not in _LABELS:
            continue
        values = _listed(table[key].to_numpy()[:R])
        if all(v is None for v in values):
            continue
        place = "on the region's own rows" if where == "local" else "of this local linear model on all rows"
        out.append(_numbers(f"{where} {_LABELS[score]}", [values], f"{_LABELS[score]} {place}"))
    return out


def _detail_columns(u: Unwrapped, table: Any, R: int, K: int) -> list[Column]:
    out = []
    if u.has_y:
        names = [c for c in map(str, table.columns) if c == "response_sd" or c.startswith("response_sd[")][:K]
        out.append(_numbers("response sd", [_listed(table[c].to_numpy()[:R]) for c in names]))
    if "share_positive" in table.columns:
        values = _listed(table["share_positive"].to_numpy()[:R])
        out.append(Column("positive", Name("predicted positive"), "share", [values]))
    return out


def _scale(effect: Floats) -> float:
    """Return the size of effect where the colour is full: the 95th percentile, two digits."""
    sizes = np.abs(effect[np.isfinite(effect) & (effect != 0)])
    return float(f"{np.percentile(sizes, 95):.2g}") if len(sizes) else 0.0
