"""What the page says of how far the network can be trusted: which local models rows support, scores, how complex it is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from relucidate.complexities import DEAD, LINEAR, SWITCHING, Complexity
from relucidate.html import pictures_trust as pictures
from relucidate.html.parts import SINGLE_ROWS, Chapter, Finding, Limitation, Part, plain
from relucidate.html.scores import FACTS, performance_part
from relucidate.html.subject import Subject
from relucidate.html.told import told
from relucidate.html.weakness import fairness_part, segments_part
from relucidate.network import Patterns
from relucidate.reliabilities import CHANCE, FAR, FEW, FEWER, MEAN, ONE_CLASS, ONE_ROW, RANK, Reliability
from relucidate.scoring import SCORE_WORDS
from relucidate.words import MINUS, NONE, Name, count, name, number, percent, plural

_DOUBTFUL = 8  # regions listed
_LAYERS = 30
_DIGITS = 12  # a sum of shares is 1 but for rounding
_UNCONFIRMED = (ONE_ROW, ONE_CLASS, FEWER, FEW, RANK)  # the rows are too few or too alike; the others contradict


def trust(s: Subject) -> Chapter:
    """Return the chapter on reliability and performance."""
    parts = [_reliability_part(s), performance_part(s), segments_part(s), fairness_part(s), _complexity_part(s)]
    return Chapter(
        "trust",
        "Reliability and performance",
        "Which local models the rows can support, how well the network does and where it does worst, and how complex it is.",
        [part for part in parts if part is not None],
    )


# ---------------------------------------------------------------- reliability


@dataclass(frozen=True)
class ReasonRow:
    """A reason for doubt: its threshold in words, regions and rows of which it is the first, regions in which it holds."""

    reason: str
    threshold: str
    regions: str
    rows: str
    share: str
    every: str
    every_share: str


@dataclass(frozen=True)
class ReliabilityContent:
    """Which local models the rows can support.

    Parameters
    ----------
    sentences : in words. picture : None for one region. rows : a line per reason. sound : the line of regions without any.
    doubtful : (region, rows, share, reasons) of the largest regions with a reason. n_doubtful : of all.
    absent : what is not in this chapter for want of a response, or "". notes : reasons not looked at.
    """

    sentences: list[str]
    picture: Markup | None
    rows: list[ReasonRow]
    sound: ReasonRow
    doubtful: list[tuple[int, str, str, str]]
    n_doubtful: str
    absent: str
    notes: list[str]


def _reliability_part(s: Subject) -> Part:
    rel = s.reliability
    regions, share = rel.tally
    share = np.round(share, _DIGITS)
    rows = np.bincount(rel.first, rel.count, len(rel.reasons) + 1).astype(np.int64)
    R, n = len(rel.count), int(rel.count.sum())
    lines = [_reason_row(rel, j, int(regions[j]), int(rows[j]), float(share[j])) for j in range(len(rel.reasons))]
    sound = ReasonRow(
        "no reason for doubt", "", count(int(regions[-1])), count(int(rows[-1])), percent(float(share[-1])), "", ""
    )
    picture = None
    if R > 1:
        order = [len(rel.reasons), *range(len(rel.reasons))]
        drawn = [
            (
                "no reason for doubt" if j == len(rel.reasons) else rel.reasons[j],
                int(regions[j]),
                float(regions[j]) / R,
                int(rows[j]),
                float(share[j]),
            )
            for j in order
            if regions[j] or j == len(rel.reasons)
        ]
        picture = pictures.reasons(drawn)
    doubtful = np.flatnonzero(~rel.reliable & (rel.count >= s.least))
    listed = [
        (
            int(r),
            count(int(rel.count[r])),
            percent(float(rel.share[r]), 2),
            "; ".join(why for why, holds in zip(rel.reasons, rel.flags[r], strict=True) if holds),
        )
        for r in doubtful[:_DOUBTFUL]
    ]
    content = ReliabilityContent(
        sentences=_reliability_words(s, rel, int(regions[-1]), float(share[-1])),
        picture=picture,
        rows=lines,
        sound=sound,
        doubtful=listed if R > 1 else [],
        n_doubtful=count(int((~rel.reliable).sum())),
        absent=_absent(s),
        notes=[*rel.notes, *_untold(rel)],
    )
    facts = {
        "rows": n,
        "regions": R,
        "thresholds": {
            "min_rows": rel.min_rows,
            "coefficients": rel.n_coefficients,
            "max_condition": plain(rel.max_condition),
            "min_skill": plain(rel.min_skill),
            "max_distance": plain(rel.max_distance),
            "neighbours": rel.n_neighbours,
        },
        "reasons": [
            {"reason": why, "regions": int(a), "rows": int(b), "share": float(c), "regions_with_it": int(f.sum())}
            for why, a, b, c, f in zip(rel.reasons, regions, rows, share, rel.flags.T, strict=False)
        ],
        "without_doubt": {"regions": int(regions[-1]), "rows": int(rows[-1]), "share": float(share[-1])},
        "of_regions": _region_facts(s, rel),
        "notes": list(rel.notes),
    }
    return Part(
        "reliability",
        "Which local models can be trusted",
        content,
        facts=facts,
        findings=_reliability_findings(rel, regions, share),
        limitations=_reliability_limits(s, rel),
    )


def _reason_row(rel: Reliability, j: int, regions: int, rows: int, share: float) -> ReasonRow:
    holds = rel.flags[:, j]
    return ReasonRow(
        rel.reasons[j],
        _threshold(rel, rel.reasons[j]),
        count(regions),
        count(rows),
        percent(share),
        count(int(holds.sum())),
        percent(round(float(rel.share[holds].sum()), _DIGITS)),
    )


def _threshold(rel: Reliability, reason: str) -> str:
    score, least = (
        SCORE_WORDS.get(rel.score_name.removeprefix("local_"), "score"),
        f"{rel.min_skill:.4g}".replace("-", MINUS),
    )
    chance = f"AUC below {(rel.min_skill + 1) / 2:.4g}" if score == "AUC" else f"skill below {least}, by {score}"
    return {
        ONE_ROW: "a single row",
        ONE_CLASS: "all rows of one class",
        FEWER: f"fewer than {plural(rel.n_coefficients, 'row')}, the coefficients and the intercept",
        FEW: f"fewer than {count(rel.min_rows)} rows",
        RANK: f"condition number above {rel.max_condition:,.4g}",
        CHANCE: chance,
        MEAN: f"R² below {least}",
        FAR: f"more than {rel.max_distance:.4g} × the spread of all coefficients, from its {rel.n_neighbours} nearest",
    }.get(reason, "")


def _reliability_words(s: Subject, rel: Reliability, sound: int, share: float) -> list[str]:
    R = len(rel.count)
    if R == 1:
        if sound:
            return ["The one linear model rests on rows that can support it: no reason for doubt was found."]
        first = rel.reasons[int(rel.first[0])]
        return [f"The one linear model is in doubt; the first reason is “{first}”."]
    out = [_sound_words(sound, R, share)]
    out.append(
        "A local model gives the network’s value exactly, however few rows it has. What is asked here is whether the table "
        "holds rows enough, and unlike enough, to say that this value is right."
    )
    if rel.caveat:
        out.append(f"Conditions and scores are those of rows{rel.caveat}.")
    return out


def _sound_words(sound: int, R: int, share: float) -> str:
    if not sound:
        return f"Every one of the {count(R)} local models has a reason for doubt."
    have, hold = ("has", "it holds") if sound == 1 else ("have", "they hold")
    return (
        f"{count(sound)} of {plural(R, 'local model')} {have} no reason for doubt; {hold} {percent(share)} of the rows."
    )


def _untold(rel: Reliability) -> list[str]:
    if not rel.n_untold:
        return []
    have = "has" if rel.n_untold == 1 else "have"
    return [
        f"{plural(rel.n_untold, 'region')} {have} too few rows in the sample to tell whether they vary in every direction."
    ]


def _absent(s: Subject) -> str:
    if s.judged is not None:
        return ""
    groups = " and of groups" if s.protected is not None else ""
    why = "The rows with a response are too few to show scores" if s.u.has_y else "There is no response"
    return (
        f"{why}: how well the network does, where it does worst{', how groups fare' if groups else ''} and "
        "whether its predictions are right on average cannot be said, and these parts are not in this page."
    )


def _region_facts(s: Subject, rel: Reliability) -> dict[str, Any]:
    """Return what is known of the largest regions; of those of fewer than `s.least` rows nothing."""
    scored = told(np.bincount(s.u.sample.region, minlength=len(rel.count)), s.least)
    kept = np.flatnonzero(rel.count >= s.least)[:FACTS]
    out = {
        "region": plain(kept),
        "rows": plain(rel.count[kept]),
        "share": plain(rel.share[kept]),
        "reasons": [
            [why for why, holds in zip(rel.reasons, flags, strict=True) if holds] for flags in rel.flags[kept].tolist()
        ],
        "condition": plain(rel.condition[kept]),
        "distance": plain(rel.distance[kept]),
    }
    if rel.score_name:
        out |= {rel.score_name: plain(np.where(scored, rel.score, np.nan)[kept])}
    return out


def _unconfirmed(rel: Reliability) -> tuple[float, dict[str, float]]:
    """Return the share of rows in regions whose rows are too few or too alike, and its parts by first reason."""
    places = [j for j, reason in enumerate(rel.reasons) if reason in _UNCONFIRMED]
    share = np.round(rel.tally[1], _DIGITS)
    parts = {rel.reasons[j]: float(share[j]) for j in places if share[j] > 0}
    return round(sum(parts.values()), _DIGITS), parts


def _reliability_findings(rel: Reliability, regions: Any, share: Any) -> list[Finding]:
    R, held = len(rel.count), float(share[-1])
    if R == 1:
        if rel.reliable[0]:
            return [Finding(0.3, "The one linear model rests on rows that can support it.", "reliability", "sound")]
        return [Finding(0.7, f"The one linear model is in doubt: {rel.reason[0]}.", "reliability", "doubt")]
    text = _sound_words(int(regions[-1]), R, held)
    largest = int(np.argmax(share[:-1]))
    if share[largest] > 0:
        text = f"{text[:-1]}. The commonest reason for doubt is “{rel.reasons[largest]}”, with {percent(float(share[largest]))}."
    if held < 0.5:
        if rel.reasons[largest] == ONE_ROW:
            return [Finding(0.91, text, "reliability", "doubt", about=SINGLE_ROWS)]
        return [Finding(0.85, text, "reliability", "doubt")]
    return [Finding(0.6 if held < 0.9 else 0.5, text, "reliability", "fact" if held < 0.9 else "sound")]


def _reliability_limits(s: Subject, rel: Reliability) -> list[Limitation]:
    total, parts = _unconfirmed(rel)
    out = []
    if total > 0:
        why = ", ".join(f"{reason} {percent(part)}" for reason, part in parts.items())
        out.append(
            Limitation(
                f"{percent(total)} of the rows rest on local models that the table cannot confirm ({why}).",
                "reliability",
            )
        )
    if rel.n_untold:
        out.append(Limitation(_untold(rel)[0], "reliability"))
    return out


# ---------------------------------------------------------------- complexity


@dataclass(frozen=True)
class ComplexityContent:
    """How complex the network is on the table.

    Parameters
    ----------
    facts : (term, value). picture : regions expected by rows; None for one region or row. sentences : about it.
    layers : (layer, neurons, that switch, always on, dead); total : of all. n_layers : of all, more than are listed.
    neurons : in words.
    """

    facts: list[tuple[str, str]]
    picture: Markup | None
    sentences: list[str]
    layers: list[tuple[Name, str, str, str, str]]
    total: list[str]
    n_layers: int
    neurons: list[str]


def _complexity_part(s: Subject) -> Part:
    c = s.complexity
    states = [c.neurons_of(state) for state in (SWITCHING, LINEAR, DEAD)]
    every = np.sum(states, axis=0)
    held = [[count(int(n)) for n in layer] for layer in np.transpose([every, *states])]
    layers = [(name(c.layers[i], 40), a, b, d, e) for i, (a, b, d, e) in enumerate(held[:_LAYERS])]
    total = [count(len(c.neuron)), *(count(int(v.sum())) for v in states)]
    picture = pictures.growth(c.drawn, c.expected) if c.n_regions > 1 and c.n_rows > 1 else None
    content = ComplexityContent(
        facts=_complexity_facts(c),
        picture=picture,
        sentences=_growth_words(s, c),
        layers=layers,
        total=total,
        n_layers=len(c.layers),
        neurons=_neuron_words(c),
    )
    facts = {
        "rows": c.n_rows,
        "regions": c.n_regions,
        "kind": c.kind,
        "effective_regions": plain(c.effective_regions),
        "patterns": c.n_patterns,
        "maps": c.n_maps,
        "unseen": plain(c.unseen),
        "unseen_interval": plain(c.unseen_interval),
        "growth": {"rows": plain(c.drawn), "regions": plain(c.expected)},
        "layers": [
            {"layer": layer, "switching": int(a), "always_on": int(b), "dead": int(d)}
            for layer, a, b, d in zip(c.layers, *states, strict=True)
        ],
        "pairs": len(c.pair),
        "jump_quantiles": plain(c.jump_quantiles),
        "typical": plain(c.typical),
    }
    return Part(
        "complexity",
        "How complex it is",
        content,
        facts=facts,
        findings=_complexity_findings(c),
        limitations=_complexity_limits(c),
    )


def _complexity_facts(c: Complexity) -> list[tuple[str, str]]:
    R = c.n_regions
    out = [("Regions that the rows use", count(R))]
    if R > 1:
        out += [
            ("Equally large regions with the same entropy", number(c.effective_regions, 3)),
            ("Regions that hold half of the rows", count(c.regions_for(0.5))),
            ("Regions that hold 90 % of the rows", count(c.regions_for(0.9))),
            ("Regions per row", number(c.regions_per_row, 3)),
        ]
    out.append(("Activation patterns", count(c.n_patterns)))
    if c.n_maps is None:
        out.append(("Different linear models among them", f"{NONE} (too many to compare)"))
    else:
        equal = "" if c.n_maps < c.n_patterns or c.n_patterns == 1 else " (no two are equal)"
        out.append(("Different linear models among them", count(c.n_maps) + equal))
    return out


def _growth_words(s: Subject, c: Complexity) -> list[str]:
    if c.n_rows == 1:
        return ["One row says nothing of regions that other rows would use."]
    low, high = c.unseen_interval
    singles = int((c.count == 1).sum())
    what = (
        "None holds a single row"
        if not singles
        else f"{plural(singles, 'region')} hold{'s' if singles == 1 else ''} a single row"
    )
    out = [
        f"{what}: of new rows like these about {percent(c.unseen)} would fall into regions that the table does not use "
        f"(Good’s estimate; {percent(low)} to {percent(high)})."
    ]
    if s.test is not None:
        found = s.u.regions_of_patterns(Patterns(s.test.sums.packed, s.net.n_bits))
        share = float(s.test.share[np.asarray(found) < 0].sum())
        out.append(f"Of the {plural(s.test.n_rows, 'test row')} {percent(share)} did.")
    if c.n_regions > 1:
        half = float(np.interp(c.n_rows / 2, c.drawn, c.expected))
        out.append(
            f"Half of the rows would use {plural(round(half), 'region')}, all use {count(c.n_regions)}"
            + (
                ": more rows would bring more."
                if c.n_regions - half > 0.05 * c.n_regions
                else ": the curve is nearly flat."
            )
        )
    return out


def _neuron_words(c: Complexity) -> list[str]:
    N = len(c.neuron)
    if N == 0:
        return ["No neuron can switch: the network is one linear model."]
    dead, linear = (int((c.state == state).sum()) for state in (DEAD, LINEAR))
    out = [
        f"On these rows {count(dead)} of {plural(N, 'neuron')} {'is' if dead == 1 else 'are'} dead (the output is a constant) "
        f"and {count(linear)} {'is' if linear == 1 else 'are'} always on (a part of the linear model only)."
    ]
    m = len(c.jump)
    if m and c.typical > 0:
        q = c.jump_quantiles
        largest = int(c.jump.argmax())
        j = c.pair_neuron[largest]
        where = f"neuron {c.neuron[j]} of {name(c.layers[c.layer[j]], 40).short}"
        out.append(
            f"{plural(m, 'pair')} of regions differ{'s' if m == 1 else ''} in one neuron only. Across it the coefficients, per "
            f"standard deviation of the features, change by {percent(float(q[2]) / c.typical, 0)} of their typical size in the "
            f"median, and by {percent(float(q[-1]) / c.typical, 0)} at most, at {where}{c.caveat}."
        )
    return out


def _complexity_findings(c: Complexity) -> list[Finding]:
    out = []
    N, dead = len(c.neuron), int((c.state == DEAD).sum())
    if dead:
        weight = 0.3 if 2 * dead < N else 0.5
        do = "is dead on these rows: it never does" if dead == 1 else "are dead on these rows: they never do"
        out.append(
            Finding(
                weight,
                f"{count(dead)} of {plural(N, 'neuron')} {do} anything.",
                "complexity",
            )
        )
    if c.n_rows > 1 and c.unseen >= 0.05:
        low, high = c.unseen_interval
        text = (
            f"About {percent(c.unseen)} of new rows like these ({percent(low)} to {percent(high)}) would fall into regions that "
            "the table does not use."
        )
        out.append(Finding(0.75 if c.unseen >= 0.2 else 0.6, text, "complexity", "doubt", about=SINGLE_ROWS))
    return out


def _complexity_limits(c: Complexity) -> list[Limitation]:
    if c.n_rows == 1 or not math.isfinite(c.unseen) or c.unseen <= 0:
        return []
    low, high = c.unseen_interval
    text = (
        f"About {percent(c.unseen)} of new rows like these ({percent(low)} to {percent(high)}) would use local models that are "
        "not among those of this page."
    )
    return [Limitation(text, "complexity")]
