"""What the page says of one case: its decision, its local linear model, the way to it, what would change it.

The page computes all of it itself, from the weights, where these are few; a few cases are explained in the page's own HTML.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from relucidate.counterfactuals import BoundaryDistances, boundary
from relucidate.explaining import Explanation, explain
from relucidate.features import Feature, Features
from relucidate.html import pictures_cases
from relucidate.html.parts import Chapter, Limitation, Part, packed, plain
from relucidate.html.regions import quantity
from relucidate.html.subject import Subject
from relucidate.html.told import end, told
from relucidate.layers import Floats, Layer, is_sparse
from relucidate.network import Network
from relucidate.paths import Encoded
from relucidate.unwrapping import Unwrapped
from relucidate.words import NONE, Name, count, name, number, percent, plural

MAX_WEIGHTS = 150_000  # in the page
FIRST_COLUMNS = 12  # with an input at once; those of less importance are unfolded
_PATTERN_BYTES = 450_000  # of patterns in the page: 600 kB as base64
_ROW_CELLS = 50_000  # numbers of single rows in the page
_TYPICAL = 8
_LARGE = 10**9  # weights times features, with which the models of so many cases would take long
_PICTURES = 3
_STATIC_ROWS = 20
_OUTPUTS_SHOWN = 3  # in the table of prepared cases, which must fit on paper
_LEVELS = 200  # of one column, to choose from
_BARS = 10
_COUNTERFACTUALS = 12
_COUNTERFACTUAL_CELLS = 40_000  # switches times features times rows: more would take more than a few seconds
_REGIONS_LOOKED_AT = 120  # for each of them; fewer in large networks
_REGION_CELLS = 40_000  # switches times features times regions


def cases(s: Subject) -> Chapter | None:
    """Return the chapter on one case; None where there are too few rows for a mean, or the network looks at nothing."""
    u = s.u
    if u.n_rows < s.least or u.is_constant:
        return None
    held = _prepared(s)
    live = s.net.n_parameters <= MAX_WEIGHTS
    found = explain(_encoded_already(u), Encoded(held.x[:_STATIC_ROWS]))
    content = _content(s, held, found, live)
    facts = {"cases": _facts(s, held, found)}
    parts = [
        Part(
            "case",
            "The case and its decision",
            content,
            _data(s, held) if live else None,
            facts,
            limitations=_limits(s, live),
        )
    ]
    if live:
        parts.append(
            Part("case-path", "The way to the case", PathContent(content.quantity, u.network.link == "softmax"))
        )
    near = _counterfactuals(s, held)
    if live or near is not None:
        changed = _changes_content(s, near, held, live)
        parts.append(Part("case-changes", "What would change it", changed, None, _near_facts(s, near, held)))
    lead = (
        "Pick a case or type one: the page runs the network itself and says what it does there, exactly."
        if live
        else "Why cases that stand for many rows have the decision they have."
    )
    return Chapter("one-case", "One case", lead, parts)


def _limits(s: Subject, live: bool) -> list[Limitation]:
    if not live:
        text = (
            f"The network has {count(s.net.n_parameters)} weights, more than the {count(MAX_WEIGHTS)} that the page may hold: no "
            "case can be tried in it."
        )
        return [Limitation(text, "case")]
    inside = float(s.u.share[s.u.count >= s.least].sum())
    if inside > 0.99:
        return []
    text = (
        f"Regions of fewer than {s.least} rows hold {percent(1 - inside)} of the rows; a case in one of them counts "
        "as one where the network extrapolates, so that the page does not show where single rows are."
    )
    return [Limitation(text, "case")]


def _encoded_already(u: Unwrapped) -> Unwrapped:
    """Return the same, whose network fills nothing in: the cases have numbers where values were missing."""
    features = u.network.features
    items = tuple(replace(item, impute=None) for item in features.items)
    return replace(u, network=replace(u.network, features=replace(features, items=items)))


# ---------------------------------------------------------------- the cases


@dataclass(frozen=True, eq=False)
class Prepared:
    """Cases to start from.

    Parameters
    ----------
    labels : what they are, in words. kinds : "mean", "typical" or "row". x : (C, d) encoded.
    rows : (C,) rows that each is the mean of. left_out : rows asked for that the page does not hold. of : where rows come from.
    """

    labels: list[str]
    kinds: list[str]
    x: Floats
    rows: list[int]
    left_out: int
    of: str


def _prepared(s: Subject) -> Prepared:
    """Return the mean row, means of large regions, and single rows where they were asked for."""
    u = s.u
    labels, kinds, x, rows = ["the mean row of the table"], ["mean"], [u.sample.mean], [u.n_rows]
    most = _TYPICAL if s.net.n_parameters * s.net.n_features <= _LARGE else _PICTURES
    able = told(u.count, s.least) & (u.sums.weight > 0)
    large = np.flatnonzero(able).tolist() if u.n_regions > 1 else []
    for r in sorted(large, key=lambda r: -u.count[r])[: most if u.sums.x.shape[1] else 0]:
        labels.append(f"typical of region {r}: the mean of its {plural(int(u.count[r]), 'row')}")
        kinds.append("typical")
        x.append(u.sums.x[r] / u.sums.weight[r])
        rows.append(int(u.count[r]))
    source, of = (u.sample, "the table") if s.test is None else (s.test.sample, "the test rows")
    wanted = min(s.rows, len(source.row))
    single = min(wanted, _ROW_CELLS // s.net.n_features)
    for i in np.unique(np.linspace(0, len(source.row) - 1, single).round().astype(np.intp)):
        labels.append(f"row {int(source.row[i])} of {of}")
        kinds.append("row")
        x.append(source.x[i])
        rows.append(1)
    return Prepared(labels, kinds, np.array(x), rows, wanted - single, of)


# ---------------------------------------------------------------- what the script needs


def _data(s: Subject, held: Prepared) -> dict[str, Any]:
    u, net = s.u, s.net
    order = _patterns_held(s)
    classes = [name(c).short for c in net.classes[: 2 if net.link == "logit" else 100]]
    return {
        "network": _network(net),
        "columns": _columns(net.features, u, s.least),
        "order": _columns_by_importance(s),
        "first": FIRST_COLUMNS,
        "mean": packed(u.sample.mean, "f8"),
        "sd": packed(u.sample.sd, "f8"),
        "moves": [int(item.kind == "value") for item in net.features.items],
        "cases": [[label, kind] for label, kind in zip(held.labels, held.kinds, strict=True)],
        "rows": packed(held.x, "f8"),
        "patterns": packed(u.patterns.packed[order], "u1"),
        "regionOf": packed(u.region_of_pattern[order], "i4"),
        "count": packed(u.count[: int(u.region_of_pattern[order].max(initial=-1)) + 1], "i4"),
        "least": s.least,
        "outputs": [name(o).short for o in net.outputs[:100]],
        "classes": classes if net.is_classifier and (net.link == "softmax" or net.n_outputs == 1) else [],
        "bars": _BARS,
    }


def _patterns_held(s: Subject) -> NDArray[np.intp]:
    """Return which patterns the page holds, those of the largest regions first, as many as fit.

    Notes
    -----
    A pattern and the weights say where its rows are, to within a small polytope: none of a region of fewer than `least` rows.
    """
    u = s.u
    order = np.argsort(u.region_of_pattern, kind="stable")
    order = order[u.count[u.region_of_pattern[order]] >= s.least]
    return order[: _PATTERN_BYTES // (u.patterns.packed.shape[1] + 4)]


def _network(net: Network) -> dict[str, Any]:
    return {"layers": [_layer(layer, i) for i, layer in enumerate(net.layers)], "link": net.link}


def _layer(layer: Layer, i: int) -> dict[str, Any]:
    weight: Any = layer.weight
    a = layer.activation
    act = {key: _exactly(getattr(a, key)) for key in ("breakpoints", "slopes", "offsets")}
    return {
        "name": name(layer.name or f"layer {i}", 24).short,
        "k": weight.shape[1],
        "weight": {
            "indptr": packed(weight.indptr, "i4"),
            "indices": packed(weight.indices, "i4"),
            "values": _exactly(weight.data),
        }
        if is_sparse(weight)
        else _exactly(weight),
        "bias": _exactly(layer.bias),
        "act": None if a.is_identity else act,
    }


def _exactly(values: Floats) -> dict[str, Any]:
    """Return an array packed in float32 where that loses nothing, else in float64."""
    with np.errstate(over="ignore"):
        short = values.astype(np.float32)
    return packed(values, "f4" if np.array_equal(short.astype(np.float64), values) else "f8")


def _columns_by_importance(s: Subject) -> list[int]:
    total = s.importance.share.sum(axis=0)
    weight = np.array([total[list(indices)].sum() for _, indices in s.net.features.groups])
    return [int(g) for g in np.argsort(-weight, kind="stable")]


_ANOTHER = "\x00another level"


def _columns(features: Features, u: Unwrapped, least: int) -> list[dict[str, Any]]:
    """Return how the value of each column becomes features: what its levels are, or what its number fills in.

    Notes
    -----
    A level is [label, [[place, value], …]], places among the column's features, zeros left out. A number fills in the
    places of `value`; `levels` are [place, numbers, whether it is for all others]; `missing` is what a missing value gives.
    """
    groups = [(column, indices, [features.items[j] for j in indices]) for column, indices in features.groups]
    known = dict(features.known)
    choices = [_choices(column, items, known) for column, _, items in groups]
    encoded = _encoded(features, [column for column, _, _ in groups], [[cell for _, cell in c] for c in choices])
    out: list[dict[str, Any]] = []
    for g, (column, indices, items) in enumerate(groups):
        levels = [
            [name(label, 28).short, [[p, float(row[j])] for p, j in enumerate(indices) if row[j]]]
            for (label, _), row in zip(choices[g], encoded[g], strict=True)
        ]
        if _is_level(column, items, known):
            out.append({"kind": "level", "at": list(indices), "options": levels})
            continue
        low, high, pair = _range(u, indices, items, least)
        out.append(
            {
                "kind": "number",
                "at": list(indices),
                "value": [p for p, item in enumerate(items) if item.kind == "value"],
                "absent": [p for p, item in enumerate(items) if item.kind == "missing"],
                "levels": [
                    [p, [float(v) for v in item.levels if _is_number(v)], item.kind == "other"]
                    for p, item in enumerate(items)
                    if item.kind in ("level", "other")
                ],
                "missing": levels[0][1] if levels else None,
                "low": low,
                "high": high,
                "pair": pair,
            }
        )
    return out


def _is_number(level: Any) -> bool:
    return isinstance(level, int | float) and level == level


def _is_level(column: str, items: Sequence[Feature], known: Any) -> bool:
    return column in known or not any(item.kind == "value" for item in items)


def _choices(column: str, items: Sequence[Feature], known: Any) -> list[tuple[str, Any]]:
    """Return (label, cell) of the values of a column to choose from; of numbers, a missing one if that is accepted."""
    missing = ("missing", None)
    if not _is_level(column, items, known):
        takes = all(item.impute is not None for item in items if item.kind == "value")
        return [missing] if takes else []
    levels = known.get(column) or tuple(dict.fromkeys(level for item in items for level in item.levels))
    out = [(str(level), level) for level in levels if level == level][:_LEVELS]
    if column not in known:
        out.append(("another level" if out else "a value", _ANOTHER))
    imputed = {item.impute for item in items} - {None}
    absent = any(level != level for level in levels) or bool(imputed) or any(item.kind == "missing" for item in items)
    if absent and (column not in known or any(v != v for v in levels) or imputed & set(levels)):
        out.append(missing)
    return out


def _encoded(features: Features, columns: Sequence[str], choices: Sequence[Sequence[Any]]) -> list[Floats]:
    """Return for each column the features (n_choices, d) of rows that have its choices, one after the other."""
    place = {column: i for i, column in enumerate(features.columns)}
    levels = {f.column for f in features.items if f.kind in ("level", "other")} | {
        column for column, _ in features.known
    }
    base: list[Any] = [0.0] * len(place)
    for column, cells in zip(columns, choices, strict=True):
        if column in levels:
            base[place[column]] = cells[0] if cells else 0.0
    n = sum(map(len, choices))
    if n == 0:
        return [np.zeros((0, len(features))) for _ in choices]
    table = np.empty((n, len(place)), dtype=object)
    table[:] = base
    at = 0
    for column, cells in zip(columns, choices, strict=True):
        for cell in cells:
            table[at, place[column]] = cell
            at += 1
    encoded = features.encode(table)
    return np.split(encoded, np.cumsum([len(c) for c in choices])[:-1])


def _range(
    u: Unwrapped, indices: Sequence[int], items: Sequence[Feature], least: int
) -> tuple[float | None, float | None, bool]:
    """Return the ends of a number in the table, and whether it has two values only.

    Notes
    -----
    Each end is the mean of the `least` lowest or highest values, so that it shows no single row.
    """
    x = u.sample.x
    present = np.ones(len(x), dtype=bool)
    for j, item in zip(indices, items, strict=True):
        if item.kind == "missing":
            present &= x[:, j] == 0
    values = x[present, next(j for j, item in zip(indices, items, strict=True) if item.kind == "value")]
    n = len(values)
    if n < least:
        return None, None, False
    ordered = np.partition(values, (least - 1, n - least))
    low, high = end(values, least, highest=False), end(values, least, highest=True)
    first, last = ordered[:least].min(), ordered[n - least :].max()
    two = bool(first < last and ((values == first) | (values == last)).all() and low == first and high == last)
    return low, high, two


# ---------------------------------------------------------------- what the page's own HTML says


@dataclass(frozen=True)
class CaseRow:
    """A prepared case in the table: `values` as text and in full; region -1 where no row has its pattern."""

    label: str
    region: int
    region_text: str
    rows: str
    values: list[tuple[str, float | None]]
    distance: str


@dataclass(frozen=True)
class CaseContent:
    """A table of prepared cases, pictures of some, and what a reader must know of the panel.

    Parameters
    ----------
    live : whether the network is in the page. pictures : (label, output or None, picture).
    heads : of the values in the table. ends : how many rows each end of a range is a mean of. n_columns : in all.
    """

    live: bool
    n_weights: str
    table: list[CaseRow]
    heads: list[Name]
    more: str
    pictures: list[tuple[str, Name | None, Markup]]
    outputs: list[Name]
    quantity: str
    softmax: bool
    ends: int
    n_columns: int
    first: int
    labels: list[str]
    patterns: str
    caveat: str


def _content(s: Subject, held: Prepared, found: Explanation, live: bool) -> CaseContent:
    u, net = s.u, s.net
    quantity_ = quantity(u)
    heads, values = _values_shown(net, held.x[:_STATIC_ROWS], quantity_)
    shown = min(len(held.labels), _STATIC_ROWS)
    left = len(held.labels) - shown
    more = f"{plural(left, 'more case')} can be picked above." if left and live else ""
    if net.link != "softmax" and net.n_outputs > _OUTPUTS_SHOWN:
        more += f" The first {_OUTPUTS_SHOWN} of {count(net.n_outputs)} outputs are in this table."
    if held.left_out:
        more += (
            f" {plural(held.left_out, 'row')} more were asked for; with so many features the page would be too large."
        )
    first = next((i for i, kind in enumerate(held.kinds) if kind != "mean"), 0)
    shared = int((u.count[u.region_of_pattern] >= s.least).sum())
    fit = len(_patterns_held(s))
    patterns = ""
    if s.least > 1 and shared < len(u.patterns):
        patterns = (
            f"Regions of fewer than {s.least} rows are not told apart here, since with the weights their patterns would show "
            "where single rows are. "
        )
    if live and fit < shared:
        patterns += (
            f"The page holds the patterns of the {count(fit)} largest of {count(shared)} regions: a case in one of the others "
            "counts as one that no row is near. "
        )
    return CaseContent(
        live=live,
        n_weights=count(net.n_parameters),
        table=[_row(s, held, found, values[i], i) for i in range(shown)],
        heads=heads,
        more=more.strip(),
        pictures=_pictures(s, held, found, range(first, min(first + _PICTURES, len(held.labels)))),
        outputs=[name(o) for o in net.outputs[: s.n_outputs]],
        quantity=quantity_,
        softmax=net.link == "softmax",
        ends=s.least,
        n_columns=len(net.features.groups),
        first=FIRST_COLUMNS,
        labels=held.labels,
        patterns=patterns,
        caveat=u.sample.caveat,
    )


def _values_shown(net: Network, x: Floats, quantity_: str) -> tuple[list[Name], list[list[tuple[str, float | None]]]]:
    """Return what the table says of cases, as headings and (text, number) for each: few enough columns for paper."""
    decision = net.trace(x, patterns=False).decision
    prediction = net.inverse_link(decision)
    if net.link == "softmax":
        heads = [Name("class predicted"), Name(f"its {quantity_}"), Name("its probability")]
        rows: list[list[tuple[str, float | None]]] = []
        for d, p in zip(decision, prediction, strict=True):
            k = int(d.argmax())
            rows.append([(name(net.outputs[k], 20).short, None), *_numbered((d[k], p[k]))])
        return heads, rows
    K = min(net.n_outputs, _OUTPUTS_SHOWN)
    heads = [_head(net, quantity_, k) for k in range(K)]
    if net.link == "identity":
        return heads, [_numbered(row[:K]) for row in decision]
    heads += [_head(net, "prediction", k) for k in range(K)]
    return heads, [_numbered((*d[:K], *p[:K])) for d, p in zip(decision, prediction, strict=True)]


def _numbered(values: Any) -> list[tuple[str, float | None]]:
    return [(number(float(v)), float(v)) for v in values]


def _head(net: Network, what: str, k: int) -> Name:
    if net.n_outputs == 1:
        return Name("probability" if what == "prediction" and net.link == "logit" else what)
    output = name(net.outputs[k])
    return Name(
        f"{'probability' if what == 'prediction' and net.is_classifier else what} of {output.short}", output.full
    )


def _region_of(s: Subject, found: Explanation, i: int) -> int:
    """Return the region of a case, -1 where too few rows have its pattern for the page to say so."""
    return int(found.region[i]) if found.count[i] >= s.least else -1


def _row(s: Subject, held: Prepared, found: Explanation, values: list[tuple[str, float | None]], i: int) -> CaseRow:
    region = _region_of(s, found, i)
    # a number that stands for a missing value cannot move, and which part of a mean does is not defined
    whole = not found.x[i, _absent(found.network.features)].any()
    return CaseRow(
        label=held.labels[i],
        region=region,
        region_text=str(region) if region >= 0 else NONE,
        rows=count(int(found.count[i])) if region >= 0 else "none" if s.least == 1 else f"fewer than {s.least}",
        values=values,
        distance=(number(float(found.distance[i]), 3) if np.isfinite(found.distance[i]) else "no end")
        if whole
        else NONE,
    )


def _absent(features: Features) -> list[int]:
    """Return the indicators of missing values."""
    return [j for j, item in enumerate(features.items) if item.kind == "missing"]


def _output_of(s: Subject, found: Explanation, i: int) -> int:
    k = found.output_of(i)
    return k if k < s.n_outputs else 0


def _pictures(s: Subject, held: Prepared, found: Explanation, which: range) -> list[tuple[str, Name | None, Markup]]:
    out = []
    features = found.network.features
    base = found.network.trace(found.mean[None], patterns=False).decision[0]
    for i in which:
        k = _output_of(s, found, i)
        weight = found.coef[found.pattern[i], k]
        part = features.grouped(weight * (found.x[i] - found.mean))
        at_mean = float(found.mean_part[i, k])
        order = np.argsort(-np.abs(part), kind="stable")
        top = order[:_BARS] if len(order) > _BARS + 1 else order
        values = _values(features, found.x[i])
        bars = [(int(g), name(features.groups[g][0], 28), values[g], float(part[g])) for g in top]
        rest = (len(order) - len(top), float(part.sum() - part[top].sum())) if len(order) > len(top) else None
        said = quantity(s.u)
        picture = pictures_cases.waterfall(float(base[k]), at_mean, bars, rest, float(found.decision[i, k]), said)
        out.append((held.labels[i], name(s.net.outputs[k]) if s.net.n_outputs > 1 else None, picture))
    return out


def _values(features: Features, x: Floats) -> list[str]:
    """Return what a case has in each column, in words; "a mixture" where indicators are neither 0 nor 1."""
    cells = features.in_columns(x[None])
    out = []
    for (_, indices), cell in zip(features.groups, cells, strict=True):
        indicators = [x[j] for j in indices if features.items[j].kind != "value"]
        if any(v not in (0, 1) for v in indicators):
            out.append("a mixture")
        elif isinstance(cell[0], str):
            out.append(name(cell[0], 20).short)
        else:
            out.append("missing" if np.isnan(cell[0]) else number(float(cell[0])))
    return out


@dataclass(frozen=True)
class PathContent:
    """What the way to a case is measured in."""

    quantity: str
    softmax: bool


# ---------------------------------------------------------------- the nearest case that is decided otherwise


@dataclass(frozen=True)
class Nearest:
    """The nearest row that is decided otherwise: moves are (column index, column, from, to, in sd)."""

    label: str
    case: int
    decided: str
    there: str
    distance: str
    proved: bool
    bound: str
    moves: list[tuple[int, Name, str, str, str]]
    rest: str


@dataclass(frozen=True)
class ChangesContent:
    """What changes a decision; `nearest` of single rows, None where none were asked for or the network decides nothing."""

    live: bool
    decides: bool
    softmax: bool
    several: bool
    outputs: list[Name]
    nearest: list[Nearest] | None
    left: str
    notes: list[str]
    ends: int


def _counterfactuals(s: Subject, held: Prepared) -> tuple[BoundaryDistances, list[int]] | None:
    """Return how far some single rows are from one that is decided otherwise, and which of the cases they are."""
    u, net = s.u, s.net
    features = net.features
    rows = [i for i, kind in enumerate(held.kinds) if kind == "row" and not held.x[i, _absent(features)].any()]
    size = max(net.n_bits * net.n_features, 1)
    most = min(_COUNTERFACTUALS, _COUNTERFACTUAL_CELLS // size)
    if not rows or most == 0 or not net.is_classifier:
        return None
    taken = [rows[i] for i in np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int))]
    # cases are encoded already: indicators are held as they are
    bare = replace(net, features=Features.plain(net.n_features), faithfulness=None)
    held_still = [j for j, item in enumerate(features.items) if item.kind != "value"]
    budget = max(20, min(_REGIONS_LOOKED_AT, _REGION_CELLS // size))
    found = boundary(replace(u, network=bare), held.x[taken], frozen=held_still, budget=budget)
    return found, taken


def _changes_content(
    s: Subject, near: tuple[BoundaryDistances, list[int]] | None, held: Prepared, live: bool
) -> ChangesContent:
    net = s.net
    nearest = None if near is None else [_nearest(s, near[0], i, case, held) for i, case in enumerate(near[1])]
    singles = held.kinds.count("row")
    left = ""
    if near is not None and len(near[1]) < singles:
        left = f"{len(near[1])} of the {count(singles)} rows in the page were looked at. "
    notes = []
    if near is not None and any(item.kind != "value" for item in net.features.items):
        notes.append("Levels of categories stay as they are.")
    return ChangesContent(
        live=live,
        decides=net.is_classifier,
        softmax=net.link == "softmax",
        several=net.n_outputs > 1 and net.link == "logit",
        outputs=[name(o) for o in net.outputs[: s.n_outputs]],
        nearest=nearest,
        left=left,
        notes=notes,
        ends=s.least,
    )


_MOVES = 6


def _nearest(s: Subject, found: BoundaryDistances, i: int, case: int, held: Prepared) -> Nearest:
    net = s.net
    label = held.labels[case]
    here = _decided(net, found.decision[i])
    if not np.isfinite(found.distance[i]):
        return Nearest(label, case, here, "", "", False, number(float(found.lower_bound[i]), 3), [], "")
    moved = found.counterfactual[i] - found.x[i]
    with np.errstate(invalid="ignore", divide="ignore"):
        sizes = np.where(moved != 0, np.abs(moved) / np.where(found.scale > 0, found.scale, 1), 0.0)
    order = [int(j) for j in np.argsort(-sizes, kind="stable") if sizes[j] > 0]
    column = {j: g for g, (_, indices) in enumerate(net.features.groups) for j in indices}
    moves = [
        (
            column[j],
            name(net.feature_names[j], 28),
            _brief(float(found.x[i, j])),
            _brief(float(found.counterfactual[i, j])),
            number(float(sizes[j]), 3),
        )
        for j in order[:_MOVES]
    ]
    rest = f"and {plural(len(order) - _MOVES, 'other feature')} by less" if len(order) > _MOVES else ""
    proved = bool(found.lower_bound[i] >= found.distance[i] * (1 - 1e-6))
    return Nearest(
        label,
        case,
        here,
        _decided(net, found.decision_there[i]),
        number(float(found.distance[i]), 3),
        proved,
        number(float(found.lower_bound[i]), 3),
        moves,
        rest,
    )


def _brief(value: float) -> str:
    """Return a number with six digits, without zeros at its end."""
    text = number(value, 6)
    return text.rstrip("0").rstrip(".") if "." in text and "×" not in text else text


def _decided(net: Network, decision: Floats) -> str:
    """Return what is decided, in words."""
    if net.link == "softmax":
        return name(net.outputs[int(decision.argmax())]).short
    above = bool(decision[0] > 0)
    if net.n_outputs == 1 and net.classes:
        return name(net.classes[int(above)]).short
    return "above 0" if above else "not above 0"


# ---------------------------------------------------------------- facts


def _facts(s: Subject, held: Prepared, found: Explanation) -> list[dict[str, Any]]:
    net = s.net
    columns = [column for column, _ in net.features.groups]
    raw = net.trace(held.x, patterns=False).decision
    predicted = net.inverse_link(raw)
    out = []
    for i, label in enumerate(held.labels[:_STATIC_ROWS]):
        k = _output_of(s, found, i)
        part = net.features.grouped(found.coef[found.pattern[i], k] * (found.x[i] - found.mean))
        out.append(
            {
                "case": label,
                "region": _region_of(s, found, i) if _region_of(s, found, i) >= 0 else None,
                "decision": plain(raw[i]),
                "prediction": plain(predicted[i]),
                "output": net.outputs[k],
                "mean_part": plain(found.mean_part[i, k]),
                "contributions": dict(zip(columns, plain(part), strict=True)),
                "distance_facet": plain(found.distance[i]) if not found.x[i, _absent(net.features)].any() else None,
            }
        )
    return out


def _near_facts(s: Subject, near: tuple[BoundaryDistances, list[int]] | None, held: Prepared) -> Any:
    if near is None:
        return None
    found, taken = near
    return [
        {
            "case": held.labels[case],
            "distance": plain(found.distance[i]),
            "lower_bound": plain(found.lower_bound[i]),
            "from": dict(zip(s.net.feature_names, plain(found.x[i]), strict=True)),
            "to": dict(zip(s.net.feature_names, plain(found.counterfactual[i]), strict=True)),
        }
        for i, case in enumerate(taken)
    ]
