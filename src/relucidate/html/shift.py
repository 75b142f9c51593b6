"""What the page says of the test rows: how they use the regions, whether they have drifted, how far to trust the network."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from markupsafe import Markup

from relucidate.exposures import LEAST_EXPECTED, LEAST_ROWS, Drift, Exposure
from relucidate.extrapolating import LEAST_JUDGED, Extrapolation, Rejection
from relucidate.html import pictures_shift as drawing
from relucidate.html.parts import Chapter, Finding, Limitation, Part, plain
from relucidate.html.regions import quantity
from relucidate.html.subject import Subject
from relucidate.html.told import told
from relucidate.rulers import COMPONENTS
from relucidate.scoring import SCORE_WORDS, GroupScores
from relucidate.words import MINUS, NONE, Name, count, name, number, percent, plural

_MARKS = 200
_REGIONS = 15
_COLUMNS = 15
_BARS = 8
_OUTSIDE = 10
_ROWS = 15
_DISTRUST = 0.01
_SETS = {"train": "the table", "test": "the test rows"}
_ORDERS = {"trust": "by trust", "row distance": "by the distance to the nearest row of the table"}


@dataclass(frozen=True)
class ColumnRow:
    """A column in both tables, as text; `column` is its index, `flagged` whether it differs by more than chance."""

    column: int
    name: Name
    mean: str
    other: str
    distance: str
    psi: str
    expected: str
    p: str
    flagged: bool


@dataclass(frozen=True)
class RegionRow:
    """A region in both tables, as text."""

    region: int
    rows: str
    other_rows: str
    share: str
    other: str
    p: str
    loss: str
    other_loss: str
    worse: bool


@dataclass(frozen=True)
class ExposureContent:
    """What the part on exposure lays out.

    Parameters
    ----------
    sentences : in words. scores : (score, of the table with interval, of the test rows). picture, moved : of the shares
        of regions; per output of what moved the mean decision. n_marks : regions drawn; n_absent : of one table alone.
    columns, regions : that differ most. notes : of the result.
    """

    sentences: list[str]
    scores: list[tuple[str, str, str]]
    picture: Markup | None
    n_marks: int
    n_absent: int
    moved: list[tuple[Name, Markup]]
    quantity: str
    columns: list[ColumnRow]
    n_columns: int
    regions: list[RegionRow]
    n_flagged: int
    measure: str
    notes: list[str]


@dataclass(frozen=True)
class TrustContent:
    """What the part on trust lays out: sentences, the curve, what the score goes by, features out of range, rows."""

    sentences: list[str]
    curve: Markup | None
    components: list[tuple[str, str]]
    outside: list[tuple[int, Name, str, str]]
    rows: list[tuple[str, str, str, str, str]]
    notes: list[str]


def shift(s: Subject) -> Chapter | None:
    """Return the chapter on the test rows, None without any."""
    if s.compared is None or s.exposure is None or s.extrapolation is None:
        return None
    return Chapter(
        "shift",
        "The table against the test rows",
        f"How {plural(s.compared.n_rows, 'test row')} {'uses' if s.compared.n_rows == 1 else 'use'} the regions that the table "
        "uses, and how far the network can be trusted there.",
        [_exposure(s, s.exposure), _trust(s, s.extrapolation)],
    )


# ---------------------------------------------------------------- exposure


def _exposure(s: Subject, x: Exposure) -> Part:
    drift = x.drift[0]
    measure = _loss_name(x)
    content = ExposureContent(
        sentences=list(_sentences(x, drift)),
        scores=list(_scores(x)),
        picture=drawing.shares(marks := _marks(x)),
        n_marks=len(marks),
        n_absent=int((((x.count[0] > 0) & (x.count[1] == 0)) | ((x.count[0] == 0) & (x.count[1] > 0))).sum()),
        moved=[(name(output), _moved(s, drift, k)) for k, output in enumerate(x.outputs[: s.n_outputs])],
        quantity=quantity(s.u),
        columns=_columns(x),
        n_columns=len(x.features),
        regions=_regions(x, s.least),
        n_flagged=int(x.share_flag[1].sum()),
        measure=SCORE_WORDS.get(measure, measure),
        notes=[name(_of_page(note), 400).short for note in x.notes],
    )
    facts = {
        "rows": dict(zip(x.names, x.n_rows, strict=True)),
        "drift": plain(drift),
        "level": x.alpha,
        "columns": [
            {
                "column": f,
                "mean": plain(x.mean[:, g]),
                "distance": plain(x.statistic[1, g]),
                "psi": plain(x.feature_psi[1, g]),
            }
            | {"adjusted_p": plain(x.feature_p[1, g]), "flagged": bool(x.feature_flag[1, g])}
            for g, f in enumerate(x.features)
        ],
        "regions_of_another_share": [int(r) for r in np.flatnonzero(x.share_flag[1])],
        "regions_of_larger_loss": [int(r) for r in np.flatnonzero(x.worse_flag[1])],
    }
    return Part(
        "exposure",
        "How the test rows differ",
        content,
        facts=facts,
        findings=list(_findings(x, drift)),
        limitations=list(_limitations(x, drift)),
    )


def _sentences(x: Exposure, d: Drift) -> Iterator[str]:
    level = percent(x.alpha, 0)
    if d.drifted:
        said = f"The test rows have drifted: if they came as those of the table do, so much would be rare ({_p(d.p)})"
    else:
        said = f"No drift was found: rows that come as those of the table do would differ as much ({_p(d.p)})"
    yield (
        f"{said}. Three tests are taken together, so that a false alarm has a chance of at most {level}: of the shares of "
        f"regions ({_p(d.p_regions)}), of the rows in patterns never used ({_p(d.p_unseen)}), of the columns "
        f"({_p(d.p_features)})."
    )
    seen = "none would be expected" if d.unseen_expected == 0 else f"{percent(d.unseen_expected, 2)} would be expected"
    yield (
        f"{plural(d.n_unseen, 'test row')} ({percent(d.unseen_share, 2)}) {'lies' if d.n_unseen == 1 else 'lie'} in patterns "
        f"that no row of the table uses; {seen} of rows that come as those of the table do."
    )
    if not np.isfinite(d.psi):
        yield (
            "Whether the shares of regions have changed cannot be told: rows are so few that a single group of regions is left "
            f"once each is expected to have {LEAST_EXPECTED:.0f} of either."
        )
    elif d.n_groups == 1:
        yield "All rows of both lie in one region."
    else:
        yield (
            f"The stability index over {plural(d.n_groups, 'group')} of regions is {number(d.psi, 3)}; without drift it would "
            f"be about {number(d.psi_expected, 2)}."
        )
    if np.isfinite(d.loss_change):
        word = "larger" if d.loss_change > 0 else "smaller"
        by = f"The mean {_loss_words(x)} of the test rows is {word} by {number(abs(d.loss_change), 3)}"
        if np.isnan(d.loss_low):
            yield f"{by}; with fewer than {LEAST_ROWS} rows of either this is not tested."
            return
        sure = "" if d.loss_low > 0 or d.loss_high < 0 else "; the interval holds 0, so that it may be chance"
        interval = f"{number(d.loss_low, 3)} to {number(d.loss_high, 3)}"
        yield f"{by} ({percent(1 - x.alpha, 0)} interval of the difference {interval}){sure}."


def _of_page(note: str) -> str:
    """Return a note of one or both sets under what the page calls them."""
    sets, colon, said = note.partition(": ")
    named = [_SETS.get(one) for one in sets.split(", ")]
    return f"{' and '.join(str(one) for one in named)}: {said}" if colon and None not in named else note


def _p(value: float) -> str:
    return "too few rows to tell" if np.isnan(value) else "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def _scores(x: Exposure) -> Iterator[tuple[str, str, str]]:
    table, other = x.totals[0], x.totals[1]
    first = table or other
    if first is None:
        return
    for measure in first.measures:
        yield SCORE_WORDS.get(measure, measure), _with_interval(table, measure), _with_interval(other, measure)


def _with_interval(scores: GroupScores | None, measure: str) -> str:
    if scores is None:
        return "no response"
    m = scores.measures.index(measure)
    value, low, high = (float(v[m, 0]) for v in (scores.value, scores.low, scores.high))
    return f"{number(value)} ({number(low)} to {number(high)})" if np.isfinite(value) else NONE


def _loss_name(x: Exposure) -> str:
    known = next((t for t in x.totals if t is not None), None)
    return "" if known is None else known.measures[-1]


def _loss_words(x: Exposure) -> str:
    measure = _loss_name(x)
    return SCORE_WORDS.get(measure, measure) or "loss"


def _marks(x: Exposure) -> list[drawing.Share]:
    both = np.flatnonzero((x.share[0] > 0) & (x.share[1] > 0))
    order = both[np.argsort(-(x.share[0, both] + x.share[1, both]), kind="stable")][:_MARKS]
    return [
        drawing.Share(
            int(r),
            float(x.share[0, r]),
            float(x.share[1, r]),
            bool(x.share_flag[1, r]),
            f"Region {r}: {percent(float(x.share[0, r]), 2)} of the table, {percent(float(x.share[1, r]), 2)} of the test rows",
        )
        for r in order
    ]


def _moved(s: Subject, d: Drift, k: int) -> Markup:
    values = d.contribution[k]
    order = [int(g) for g in np.argsort(-np.abs(values), kind="stable")]
    shown = order if len(order) <= _BARS + 1 else order[:_BARS]
    bars: list[tuple[Name, float, int | None]] = [
        (name(s.net.features.groups[g][0], 24), float(values[g]), g) for g in shown
    ]
    if len(shown) < len(order):
        rest = float(values[order[len(shown) :]].sum())
        bars.append((Name(plural(len(order) - len(shown), "other column")), rest, None))
    bars.append((Name("other local models"), float(d.remainder[k]), None))
    bars.append((Name("together"), float(d.shift[k]), None))
    return drawing.contributions(bars, f"change of the mean {quantity(s.u)}")


def _columns(x: Exposure) -> list[ColumnRow]:
    order = np.lexsort((-np.nan_to_num(x.statistic[1]), ~x.feature_flag[1]))[:_COLUMNS]
    return [
        ColumnRow(
            column=int(g),
            name=name(x.features[g], 30),
            mean=number(float(x.mean[0, g])),
            other=number(float(x.mean[1, g])),
            distance=number(float(x.statistic[1, g]), 2),
            psi=number(float(x.feature_psi[1, g]), 2),
            expected=number(float(x.feature_psi_expected[1, g]), 2),
            p=_adjusted(float(x.feature_p[1, g])),
            flagged=bool(x.feature_flag[1, g]),
        )
        for g in order
    ]


def _adjusted(p: float) -> str:
    if not np.isfinite(p):
        return NONE
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _regions(x: Exposure, least: int) -> list[RegionRow]:
    """Return the regions whose share differs most, flagged ones first; losses of few rows are left out."""
    apart = np.abs(x.share[1] - x.share[0])
    order = np.lexsort((-apart, ~(x.share_flag[1] | x.worse_flag[1])))[:_REGIONS]
    enough = [told(n, least) for n in x.count]

    def loss(which: int, r: int) -> str:
        scores = x.scores[which]
        if scores is None or not enough[which][r]:
            return NONE
        return number(float(scores.value[-1, r]), 3)

    return [
        RegionRow(
            region=int(r),
            rows=count(int(x.count[0, r])),
            other_rows=count(int(x.count[1, r])),
            share=percent(float(x.share[0, r]), 2),
            other=percent(float(x.share[1, r]), 2),
            p=_adjusted(float(x.share_p[1, r])),
            loss=loss(0, int(r)),
            other_loss=loss(1, int(r)),
            worse=bool(x.worse_flag[1, r]),
        )
        for r in order
    ]


def _findings(x: Exposure, d: Drift) -> Iterator[Finding]:
    if d.drifted:
        flagged = np.flatnonzero(x.feature_flag[1])
        named = [
            name(x.features[g], 30).short for g in flagged[np.argsort(-x.statistic[1, flagged], kind="stable")][:3]
        ]
        which = f" Most apart: {', '.join(named)}." if named else ""
        yield Finding(
            0.92, f"The test rows have drifted from those of the table ({_p(d.p)}).{which}", "exposure", "doubt"
        )
    else:
        yield Finding(0.55, f"No drift was found between the table and the test rows ({_p(d.p)}).", "exposure", "sound")


def _limitations(x: Exposure, d: Drift) -> Iterator[Limitation]:
    if d.n_unseen:
        yield Limitation(
            f"{plural(d.n_unseen, 'test row')} ({percent(d.unseen_share, 2)}) {'uses' if d.n_unseen == 1 else 'use'} local "
            "linear models that no row of the table uses: what is said of regions does not cover them.",
            "exposure",
        )
    few = int((~np.isfinite(x.share_p[1])).sum())
    if few:
        yield Limitation(
            f"In {plural(few, 'region')} too few rows would be expected to test whether their share has changed.",
            "exposure",
        )


# ---------------------------------------------------------------- trust


def _trust(s: Subject, e: Extrapolation) -> Part:
    c = _told(e.calibration, s.least)
    sentences = e.summary()
    if c is None and e.calibration is not None and e.calibration.n >= LEAST_JUDGED:
        sentences = [
            *replace(e, calibration=None).summary(),
            f"A tenth of {plural(e.calibration.n, 'row')} is fewer than {s.least}: how their loss goes with trust would show "
            "single rows.",
        ]
    curve = None
    if c is not None and c.n >= LEAST_JUDGED:
        orders = [_ORDERS.get(order, order) for order in c.orders]
        curve = drawing.rejection(c.share, c.loss, c.lower, c.upper, c.overall, orders)
    # the score learns nothing of a component that never helped
    weight = [
        (COMPONENTS[e.components[j]], percent(float(e.weight[j]), 0)) for j in np.argsort(-e.weight) if e.weight[j] > 0
    ]
    content = TrustContent(
        sentences=[name(_as_here(line), 900).short for line in sentences if not line.startswith("note:")],
        curve=curve,
        components=weight,
        outside=_outside(s, e),
        rows=_rows(s, e),
        notes=[name(note, 400).short for note in e.notes],
    )
    facts: dict[str, Any] = {
        "rows": len(e),
        "rows_in_new_patterns": int((~e.seen).sum()),
        "rows_outside_the_range": int((e.outside_feature >= 0).sum()),
        "rows_of_low_trust": {"below": _DISTRUST, "rows": int((e.trust < _DISTRUST).sum())},
        "learnt_from": e.learnt,
        "components": {key: plain(w) for key, w in zip(e.components, e.weight, strict=True)},
        "calibration": plain(c),
    }
    return Part(
        "extrapolation", "How far the network can be trusted there", content, facts=facts, findings=list(_trusted(c))
    )


def _as_here(line: str) -> str:
    """Return a sentence of the library in the page's words and numbers."""
    line = line.replace("no training row has", "no row of the table has").replace(
        "nearest training row", "nearest row of the table"
    )
    line = re.sub(r"([\d,]+) training rows", r"\1 rows of the table", line)
    return re.sub(r"(?<=\d)%", " %", re.sub(r"(?<![\w.])-(?=\d)", MINUS, line))


def _outside(s: Subject, e: Extrapolation) -> list[tuple[int, Name, str, str]]:
    """Return (column, feature, rows below, rows above the range), the features with the most such rows first."""
    beyond = e.beyond.tocsc()
    below, above = np.zeros((2, beyond.shape[1]), dtype=np.int64)
    for j in range(beyond.shape[1]):
        values = beyond.data[beyond.indptr[j] : beyond.indptr[j + 1]]
        below[j], above[j] = (values < 0).sum(), (values > 0).sum()
    order = np.argsort(-(below + above), kind="stable")[:_OUTSIDE]
    column_of = {j: g for g, (_, indices) in enumerate(s.net.features.groups) for j in indices}
    return [
        (column_of[int(j)], name(s.net.feature_names[j], 30), count(int(below[j])), count(int(above[j])))
        for j in order
        if below[j] + above[j]
    ]


def _rows(s: Subject, e: Extrapolation) -> list[tuple[str, str, str, str, str]]:
    """Return the least trusted rows, where single rows may be shown: row, trust, pattern, range, least familiar in."""
    if not s.rows:
        return []
    out = []
    for i in np.argsort(e.trust, kind="stable")[: min(_ROWS, s.rows)]:
        feature = int(e.outside_feature[i])
        beyond = "inside"
        if feature >= 0:
            beyond = f"{name(s.net.feature_names[feature], 24).short}, by {number(float(e.outside[i]), 2)} sd"
        pattern = "used" if e.seen[i] else f"new, {plural(int(e.hamming[i]), 'neuron')} away"
        strange = COMPONENTS[e.components[int(e.strangest[i])]]
        out.append((count(int(e.row[i])), number(float(e.trust[i]), 2), pattern, beyond, strange))
    return out


def _told(c: Rejection | None, least: int) -> Rejection | None:
    """Return the curve at places between which a figure's worth of rows is rejected; None if a tenth of the rows is less."""
    if c is None or least == 1:
        return c
    if c.n < 10 * least:
        return None
    places = np.arange(len(c.share))
    rejected = np.round(c.share * c.n)
    kept = [0]
    for i in places[1:]:
        if rejected[i] - rejected[kept[-1]] >= least and c.n - rejected[i] >= least:
            kept.append(int(i))
    return replace(c, share=c.share[kept], loss=c.loss[:, kept], lower=c.lower[:, kept], upper=c.upper[:, kept])


def _trusted(c: Rejection | None) -> Iterator[Finding]:
    if c is None or c.n < LEAST_JUDGED or not np.isfinite(c.ratio[0]):
        return
    interval = f"{c.ratio_lower[0]:.2f} to {c.ratio_upper[0]:.2f}"
    if c.ratio_lower[0] > 1:
        text = f"The least trusted tenth of the test rows has {c.ratio[0]:.2f} times the loss of the rest ({interval})."
        yield Finding(0.65, text, "extrapolation", "fact")
    else:
        text = f"The trust score does not tell good from bad on the test rows: {c.ratio[0]:.2f} times the loss ({interval})."
        yield Finding(0.6, text, "extrapolation", "doubt")
