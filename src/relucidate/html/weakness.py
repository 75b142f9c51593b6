"""What the page says of where the network does worst, and of how groups of people fare."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from relucidate.html.parts import Finding, Limitation, Part, plain
from relucidate.html.pictures_trust import Line, Mark, forest, reach
from relucidate.html.scores import (
    FACTS,
    INTERVAL,
    LARGER_IS_BETTER,
    Cell,
    axis_words,
    output_name,
    scored,
    value_text,
    with_limits,
)
from relucidate.html.subject import Subject
from relucidate.html.told import told
from relucidate.scoring import SCORE_WORDS
from relucidate.segmenting import LEAST_ROWS as LEAST_TESTED
from relucidate.segmenting import LEVEL, Groups, Segments
from relucidate.words import MINUS, NONE, Name, count, fixed, name, number, percent, plural, power, rounded
from relucidate.words import rule as printed

_SEGMENTS = 10  # with a line each in the picture
_CHIPS = 12  # regions named of a segment of several
_GROUPS, _COEFFICIENTS = 6, 5  # compared by coefficients; features of each

# ---------------------------------------------------------------- weak segments


@dataclass(frozen=True)
class SegmentRow:
    """A segment: `region` it is, or `regions` it is made of, of which `more` are not named; figures as text."""

    number: int
    rule: Name
    region: int | None
    regions: tuple[int, ...]
    more: int
    rows: str
    share: str
    tested: str
    loss: Cell
    rest: str
    claimed: str
    p: str
    flagged: bool


@dataclass(frozen=True)
class SegmentsContent:
    """Where the network does worst: sentences, a picture, a line per segment. `measure` : of the loss, in words."""

    sentences: list[str]
    picture: Markup | None
    rows: list[SegmentRow]
    measure: str
    claimed: str
    n_drawn: int


def segments_part(s: Subject) -> Part | None:
    """Return the part on where the network does worst; None without a response."""
    found = s.segments
    if found is None:
        return None
    rows = [_segment_row(s, found, i) for i in range(len(found.rule))]
    flagged = int(found.flag.sum())
    content = SegmentsContent(
        sentences=_segment_words(s, found, flagged),
        picture=_segment_picture(s, found),
        rows=rows,
        measure=axis_words(found.measure),
        claimed="expected by its own probabilities" if found.measure == "log_loss" else "as elsewhere",
        n_drawn=min(len(rows), _SEGMENTS),
    )
    facts = {
        "rows_of": _segment_rows(s, found),
        "rows": found.n_rows,
        "measure": found.measure,
        "overall": plain(found.overall),
        "rules_tested": found.n_searched,
        "regions_tested": found.n_regions,
        "segments": [
            {k: plain(getattr(found, k)[i]) for k in _SEGMENT_FACTS}
            | {"regions": [int(r) for r in found.regions[i][:FACTS]]}
            for i in range(len(rows))
        ],
        "caveat": found.caveat,
    }
    return Part(
        "segments",
        "Where it does worst",
        content,
        facts=facts,
        findings=_segment_findings(s, found, flagged),
        limitations=_segment_limits(found),
    )


_SEGMENT_FACTS = (
    "kind",
    "rule",
    "count",
    "share",
    "tested",
    "loss",
    "loss_low",
    "loss_high",
    "rest",
    "claimed",
    "p",
    "flag",
)


def _segment_rows(s: Subject, found: Segments) -> str:
    judged = s.judged
    if judged is s.u:
        return f"the {plural(found.n_rows, 'row')} of the table"
    return f"the {plural(found.n_rows, 'test row')}"


def _segment_words(s: Subject, found: Segments, flagged: int) -> list[str]:
    loss = SCORE_WORDS[found.measure]
    tried = int(found.n_searched)
    text = f"On {_segment_rows(s, found)}, the network’s {loss} is {value_text(found.measure, found.overall)}{found.caveat}."
    how = "No rule was tested"
    if tried:
        what = "One rule or group" if tried == 1 else f"{count(tried)} rules and groups"
        how = f"{what} of regions, found on one half of the rows, {'was' if tried == 1 else 'were'} tested on the other half"
    single = (
        f"{count(found.n_regions)} of {plural(found.total_regions, 'single region')} have the {LEAST_TESTED} rows that a "
        "test needs"
    )
    out = [text, f"{how}; {single}."]
    if not flagged:
        out.append("In none of them does the network clearly do worse than elsewhere.")
    else:
        out.append(
            f"{'One is' if flagged == 1 else f'{count(flagged)} are'} flagged: there the loss exceeds the expected one, by "
            f"more than elsewhere and by more than chance, at a false discovery rate of {100 * (1 - LEVEL):.0f} %."
        )
    return out


def _segment_row(s: Subject, found: Segments, i: int) -> SegmentRow:
    m, kind, regions = found.measure, found.kind[i], found.regions[i]
    together = kind == "regions"
    rule = f"{plural(len(regions), 'region')} together" if together else found.rule[i]
    return SegmentRow(
        number=i + 1,
        rule=_rule(s, rule, 160),
        region=int(regions[0]) if kind == "region" else None,
        regions=tuple(int(r) for r in regions[:_CHIPS]) if together else (),
        more=max(len(regions) - _CHIPS, 0) if together else 0,
        rows=count(int(found.count[i])),
        share=percent(float(found.share[i])),
        tested=count(int(found.tested[i])),
        loss=scored(m, float(found.loss[i]), float(found.loss_low[i]), float(found.loss_high[i])),
        rest=value_text(m, float(found.rest[i])),
        claimed=value_text(m, float(found.claimed[i])),
        p=p_text(float(found.p[i])),
        flagged=bool(found.flag[i]),
    )


def _rule(s: Subject, rule: str, limit: int) -> Name:
    """Return a rule with the names in it cut, each by itself: the rest of the rule stays legible."""
    features, text = s.net.features, rule
    for long in sorted({*s.net.feature_names, *(column for column, _ in features.groups)}, key=len, reverse=True):
        shorter = name(long).short
        if len(shorter) < len(long):
            text = text.replace(long, shorter)
    cut = text != rule
    text = printed(text)
    return Name(name(text, limit).short, name(rule, 9).full) if cut else name(text, limit)


def p_text(p: float) -> str:
    """Return a p-value as text."""
    if not math.isfinite(p):
        return NONE
    return "1" if p >= 0.9995 else power(p) if 0 < p < 0.0005 else f"{p:.3f}"


def _segment_picture(s: Subject, found: Segments) -> Markup | None:
    lines, spoken = [], []
    for i in range(min(len(found.rule), _SEGMENTS)):
        kind, m = found.kind[i], found.measure
        region = int(found.regions[i][0]) if kind == "region" else None
        label = f"{i + 1} · " + (f"region {count(region)}" if region is not None else kind)
        own = Mark(
            "other" if found.flag[i] else "own", *(float(v[i]) for v in (found.loss, found.loss_low, found.loss_high))
        )
        lines.append(
            Line(
                label,
                percent(float(found.share[i])),
                [own, Mark("tick", float(found.claimed[i]))],
                region,
                _rule(s, found.rule[i], 120).short,
            )
        )
        value = with_limits(m, own.value, own.low, own.high)
        spoken.append(f"{label}: {value}, expected {value_text(m, float(found.claimed[i]))}")
    every = [m for line in lines for m in line.marks]
    if not any(math.isfinite(m.value) for m in every):
        return None
    legend = []
    if any(m.kind == "other" for m in every):
        legend.append((f"of a segment that is flagged, with {INTERVAL}", "other"))
    if any(m.kind == "own" for m in every):
        legend.append((f"of another segment, with {INTERVAL}", "own"))
    legend += [("expected there", "tick"), ("on all rows", "reference")]
    limits = reach([*every, Mark("tick", found.overall)], 0.0)
    say = f"{SCORE_WORDS[found.measure]} of {plural(len(lines), 'segment')}. {'; '.join(spoken)}."
    return forest(lines, limits, axis_words(found.measure), legend, say, reference=found.overall)


def _segment_findings(s: Subject, found: Segments, flagged: int) -> list[Finding]:
    if not len(found.rule):
        return []
    if not flagged:
        text = (
            f"No segment is clearly weak: {plural(found.n_searched, 'rule')} and {plural(found.n_regions, 'region')} were tested "
            f"on {_segment_rows(s, found)}."
        )
        return [Finding(0.45, text, "segments", "sound")]
    m = found.measure
    i = int(np.flatnonzero(found.flag)[0])
    more = f" {plural(flagged - 1, 'more segment')} {'is' if flagged == 2 else 'are'} flagged." if flagged > 1 else ""
    where = ("where " if found.kind[i] == "rule" else "in ") + _rule(s, found.rule[i], 140).short
    figures = (
        f"{SCORE_WORDS[m]} {value_text(m, float(found.loss[i]))} where {value_text(m, float(found.claimed[i]))} is expected, on "
        f"{percent(float(found.share[i]))} of {_segment_rows(s, found)}.{more}"
    )
    than = "it should" if m == "log_loss" else "elsewhere"
    return [Finding(0.9, f"The network does worse than {than} {where}: {figures}", "segments", "doubt")]


def _segment_limits(found: Segments) -> list[Limitation]:
    small = found.total_regions - found.n_regions
    if not small or found.total_regions == 1:
        return []
    text = (
        f"{count(small)} of {plural(found.total_regions, 'region')} have fewer than {LEAST_TESTED} of the rows that the network "
        "was judged on: whether it does worse in one of them could not be tested."
    )
    return [Limitation(text, "segments")]


# ---------------------------------------------------------------- groups


@dataclass(frozen=True)
class GroupRow:
    """A figure of a group, and what it is `apart` from that of the first group."""

    figure: str
    group: Name
    rows: str
    value: Cell
    apart: Cell


@dataclass(frozen=True)
class FairnessContent:
    """How groups fare.

    Parameters
    ----------
    column : what the groups are of. sentences, cannot : what is seen, and what cannot be concluded from it.
    picture : of the share predicted positive, or of the score. caption : what it shows.
    rows : a line per figure and group.
    coefficients : (group, [(feature, in the group, in the first, difference, per standard deviation)]).
    first : the group that others are compared with. more : groups without coefficients.
    """

    column: Name
    sentences: list[str]
    cannot: list[str]
    picture: Markup | None
    caption: str
    rows: list[GroupRow]
    coefficients: list[tuple[Name, list[tuple[Name, str, str, str, str]]]]
    first: Name
    more: int


@dataclass(frozen=True)
class _Figure:
    """A figure of each group: key, heading, how it is said, value with limits, difference with limits."""

    key: str
    heading: str
    measure: str
    value: tuple[Any, Any, Any]
    apart: tuple[Any, Any, Any]


def fairness_part(s: Subject) -> Part | None:
    """Return the part on groups; None if none were asked for, or there is no response."""
    found = s.groups
    if found is None or found.groups is None:
        return None
    g = found.groups
    enough = g.count >= s.least
    kept = np.flatnonzero(told(g.count, s.least)).tolist()
    if len(kept) < 2:  # two groups can be compared; what is left of all rows would be known as well as they are
        kept = np.flatnonzero(enough).tolist()
    digits = 4 if 0 < int(g.count[~enough].sum()) < s.least else 17
    column = name(g.column, 40)
    if len(kept) < 2 or kept[0] != 0:
        text = f"Fewer than two groups have {s.least} rows: there is nothing to compare."
        content = FairnessContent(column, [text], [], None, "", [], [], name(""), 0)
        return Part("fairness", "How groups fare", content, facts={"groups": []})
    figures = _figures(s, found, g)
    coefficients = [(name(g.names[i]), _coefficients(s, g, i)) for i in kept[1 : _GROUPS + 1]]
    picture, caption = _group_picture(s, g, kept, figures[0], column)
    content = FairnessContent(
        column=column,
        sentences=_group_words(s, found, g, kept, figures),
        cannot=_cannot(s, g, kept),
        picture=picture,
        caption=caption,
        rows=[_group_row(g, i, f) for f in figures for i in kept],
        coefficients=[(group, rows) for group, rows in coefficients if rows],
        first=name(g.names[0]),
        more=max(len(kept) - 1 - _GROUPS, 0),
    )
    facts = {
        "column": str(g.column),
        "rows": found.n_rows,
        "groups": [
            {
                "group": g.names[i],
                "rows": int(g.count[i]),
                "share": float(g.share[i]),
                **{
                    f.key: {
                        "value": rounded(f.value[0][i], digits),
                        "interval": [rounded(f.value[1][i], digits), rounded(f.value[2][i], digits)],
                        "difference": rounded(f.apart[0][i], digits),
                        "difference_interval": [rounded(f.apart[1][i], digits), rounded(f.apart[2][i], digits)],
                    }
                    for f in figures
                },
                "coef_difference": plain(g.coef_difference[i, : s.n_outputs]),
            }
            for i in kept
        ],
    }
    findings = _group_findings(s, g, kept, figures[0], column)
    return Part(
        "fairness", "How groups fare", content, facts=facts, findings=findings, limitations=_group_limits(g, column)
    )


def _figures(s: Subject, found: Segments, g: Groups) -> list[_Figure]:
    out = []

    def add(key: str, heading: str, measure: str, value: Any, low: Any, high: Any) -> None:
        if np.isfinite(value).any():
            out.append(_Figure(key, heading, measure, (value, low, high), g.difference(value, low, high)))

    positive = output_name(s, 0).short if s.net.classes else "positive"
    add("accepted", f"share predicted {positive}", "share", g.accepted, g.accepted_low, g.accepted_high)
    for m in g.scores.measures:
        add(m, SCORE_WORDS[m], m, *g.scores.of(m))
    several = s.net.n_outputs > 1
    for k in range(min(s.n_outputs, 3)):
        of = f" of {output_name(s, k).short}" if several else ""
        add(
            f"decision{k}",
            f"mean decision{of}",
            "number",
            g.decision[:, k],
            g.decision_low[:, k],
            g.decision_high[:, k],
        )
    return out


def _say(measure: str, value: float) -> str:
    if measure == "share":
        return percent(value)
    return number(value, 4) if measure == "number" else value_text(measure, value)


def _apart(measure: str, value: float) -> str:
    """Return a difference with its sign; of shares in percentage points."""
    if not math.isfinite(value):
        return NONE
    text = fixed(abs(100 * value), 1) if measure == "share" else _say(measure, abs(value))
    return ("+" if value > 0 else MINUS if value < 0 else "") + text


def _group_row(g: Groups, i: int, f: _Figure) -> GroupRow:
    value, low, high = (_say(f.measure, float(v[i])) for v in f.value)
    apart, below, above = (_apart(f.measure, float(v[i])) for v in f.apart)
    own = Cell(value, f"{low} to {high}" if NONE not in (low, high) else "", low, high)
    between = f"{below} to {above}" if NONE not in (below, above) else ""
    difference = Cell("") if i == 0 else Cell(apart, between, below, above)
    return GroupRow(f.heading, name(g.names[i]), count(int(g.count[i])), own, difference)


def _clear(f: _Figure, kept: Sequence[int]) -> list[int]:
    """Return the groups whose difference to the first is not put down to chance."""
    low, high = f.apart[1], f.apart[2]
    return [i for i in kept[1:] if math.isfinite(low[i]) and (low[i] > 0 or high[i] < 0)]


def _group_words(s: Subject, found: Segments, g: Groups, kept: Sequence[int], figures: Sequence[_Figure]) -> list[str]:
    first, column = name(g.names[0]).short, name(g.column, 40).short
    n = len(kept) - 1
    out = [
        f"Groups of {column} on {plural(found.n_rows, 'row')}{found.caveat}; "
        f"{'the other is' if n == 1 else f'the other {n} are'} compared with the largest, “{first}”."
    ]
    for f in figures:
        clear = _clear(f, kept)
        if not clear:
            out.append(f"{_sentence(f.heading)}: no difference that chance could not have made.")
            continue
        said = "; ".join(_difference_words(g, f, i) for i in clear[:_GROUPS])
        out.append(f"{_sentence(f.heading)} differs by more than chance: {said}.")
    small = int((g.count < s.least).sum())
    if small:
        also = ", and another, of which figures would show theirs" if len(g.names) - len(kept) > small else ""
        are = "is" if small == 1 and not also else "are"
        out.append(f"{plural(small, 'group')} of fewer than {s.least} rows{also} {are} left out.")
    if s.u.weighted:
        out.append("The rows of this comparison are not weighted.")
    return out


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _difference_words(g: Groups, f: _Figure, i: int) -> str:
    apart, low, high = (float(v[i]) for v in f.apart)
    unit = " percentage points" if f.measure == "share" else ""
    between = f"{_apart(f.measure, low)} to {_apart(f.measure, high)}"
    return (
        f"“{name(g.names[i]).short}” has {_say(f.measure, float(f.value[0][i]))}, “{name(g.names[0]).short}” "
        f"{_say(f.measure, float(f.value[0][0]))} ({_apart(f.measure, apart)}{unit}, {between})"
    )


def _cannot(s: Subject, g: Groups, kept: Sequence[int]) -> list[str]:
    out = [
        "A difference does not show that the network treats people unequally: groups differ in what the network looks at, and "
        "nothing here holds that fixed.",
        "No difference does not show that it treats them equally: it may err on different people in each group.",
    ]
    if np.isfinite(g.accepted).any():
        out.append(
            "Rows are counted as predicted one way where the probability is above one half. A decision made at another threshold "
            "can differ more, or less."
        )
    out.append(
        "Differences of coefficients are those of the regions that each group falls into; no coefficient is of a group itself."
    )
    pairs = (len(kept) - 1) * (len(g.scores.measures) + 1 + bool(np.isfinite(g.accepted).any()))
    out.append(
        f"Intervals hold 95 % each, for about {count(pairs)} comparisons: about one in 20 would seem to differ if nothing did."
    )
    return out


def _group_picture(s: Subject, g: Groups, kept: Sequence[int], f: _Figure, column: Name) -> tuple[Markup | None, str]:
    lines, spoken = [], []
    for i in kept:
        group = name(g.names[i], 20)
        mark = Mark("own", *(float(v[i]) for v in f.value))
        lines.append(Line(group.short, plural(int(g.count[i]), "row"), [mark], None, group.full))
        spoken.append(f"{group.short} {_say(f.measure, mark.value)}")
    every = [m for line in lines for m in line.marks]
    if not any(math.isfinite(m.value) for m in every):
        return None, ""
    share = f.measure == "share"
    bounded = share or f.measure in LARGER_IS_BETTER
    limits = reach(every, *((0.0, 1.0) if bounded else (0.0,) if f.measure in SCORE_WORDS else ()))
    axis = axis_words(f.measure) if f.measure in SCORE_WORDS else f.heading
    say = f"{_sentence(f.heading)} by {column.short}: {', '.join(spoken)}."
    legend = [(f"of the group, with {INTERVAL}", "own")]
    picture = forest(lines, limits, axis, legend, say, shares=share)
    return picture, f"{_sentence(f.heading)}, by {column.short}."


def _coefficients(s: Subject, g: Groups, i: int) -> list[tuple[Name, str, str, str, str]]:
    """Return the features whose mean coefficients differ most from those of the first group, per standard deviation."""
    net, sd = s.net, s.u.sample.sd
    apart = g.coef_difference[i, : s.n_outputs]
    size = np.abs(apart * sd)
    out = []
    for at in np.argsort(-size.ravel(), kind="stable")[:_COEFFICIENTS]:
        k, j = divmod(int(at), net.n_features)
        if not size[k, j] > 0:
            break
        feature = name(net.feature_names[j])
        if net.n_outputs > 1:
            feature = Name(f"{feature.short} → {name(net.outputs[k], 20).short}", feature.full)
        own, first = float(g.coef[i, k, j]), float(g.coef[0, k, j])
        out.append(
            (
                feature,
                number(own),
                number(first),
                _apart("number", own - first),
                _apart("number", float(apart[k, j] * sd[j])),
            )
        )
    return out


def _group_findings(s: Subject, g: Groups, kept: Sequence[int], f: _Figure, column: Name) -> list[Finding]:
    clear = _clear(f, kept)
    what = f.heading
    if not clear:
        text = f"Between the groups of {column.short} the {what} does not differ by more than chance could have made."
        return [Finding(0.5, text, "fairness", "fact")]
    most = max(clear, key=lambda i: abs(float(f.apart[0][i])))
    text = f"The {what} differs by {column.short}: {_difference_words(g, f, most)}."
    return [Finding(0.8, text, "fairness", "doubt")]


def _group_limits(g: Groups, column: Name) -> list[Limitation]:
    small = int((g.count < LEAST_TESTED).sum())
    if not small:
        return []
    text = (
        f"{plural(small, 'group')} of {column.short} {'has' if small == 1 else 'have'} fewer than {LEAST_TESTED} rows: how "
        f"{'it fares' if small == 1 else 'they fare'} is hardly known."
    )
    return [Limitation(text, "fairness")]
