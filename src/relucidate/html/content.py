"""The page: its chapters in the order of a reader who must answer for the model, and what stands at their head."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from relucidate.errors import NumericalOverflowError, RelucidateError, UnfaithfulError
from relucidate.html.about import about
from relucidate.html.cases import cases
from relucidate.html.limits import limits
from relucidate.html.local import local
from relucidate.html.parts import Chapter, Finding, Part, Summary, plain
from relucidate.html.regions import quantity
from relucidate.html.shift import shift
from relucidate.html.simplification import in_short, simplified
from relucidate.html.soundness import soundness
from relucidate.html.subject import Subject
from relucidate.html.trust import trust
from relucidate.network import Network
from relucidate.scoring import SCORE_WORDS
from relucidate.unwrapping import Unwrapped
from relucidate.words import Name, count, fixed, name, number, percent, plural, power

SCHEMA = "relucidate report 1"  # the number grows when a name changes its meaning or goes
_NOTES = 40
_FINDINGS = 5
# In order; each returns its chapter, or None where it has nothing to say.
_CHAPTERS: tuple[tuple[str, Callable[[Subject], Chapter | None]], ...] = (
    ("the network and the table", about),
    ("conceptual soundness", soundness),
    ("local models", local),
    ("one case", cases),
    ("reliability and performance", trust),
    ("the table against the test rows", shift),
    ("simplification", simplified),
)


@dataclass(frozen=True)
class Page:
    """Everything that the page shows.

    Parameters
    ----------
    title : of the page. subtitle : model and table. chapters : in order. data : for the scripts, by part.
    facts : the same results as JSON values.
    """

    title: str
    subtitle: list[tuple[str, Name]]
    summary: Summary
    chapters: list[Chapter]
    data: dict[str, Any]
    facts: dict[str, Any]

    def json(self) -> str:
        """Return the facts as the text of a JSON file."""
        return json.dumps(self.facts, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def page(s: Subject, title: str | None = None, progress: Callable[[str], None] | None = None) -> Page:
    """Return the content of the report on `s`; `progress` is told the name of each chapter before it is made."""
    chapters = []
    for heading, make in _CHAPTERS:
        if progress is not None:
            progress(heading)
        try:
            chapter = make(s)
        except (NumericalOverflowError, UnfaithfulError) as error:
            chapters.append(_missing(f"missing-{make.__name__}", heading, error))
            continue
        if chapter is not None and chapter.parts:
            chapters.append(chapter)
    chapters.append(limits(s, chapters))
    parts = [part for chapter in chapters for part in chapter.parts]
    title = name(title or f"Local linear models of {_model_name(s.net)}", 120).short
    summary = _summary(s, parts)
    data = {"core": _core(s), **{part.id: part.data for part in parts if part.data is not None}}
    return Page(title, _subtitle(s.u), summary, chapters, data, _record(s, title, summary, chapters))


def _missing(anchor: str, heading: str, error: RelucidateError) -> Chapter:
    """Return a chapter without parts that says why it has none: values of the table spoil it, which need not spoil the others."""
    why = f"This chapter is missing: {name(error, 600).short}"
    return Chapter(anchor, heading[:1].upper() + heading[1:], why, [])


def _core(s: Subject) -> dict[str, Any]:
    """Return what every script uses: names as (short, full), which column each feature belongs to, sizes."""
    features = s.net.features
    columns: list[Any] = [None] * len(features.groups)
    column_of = [0] * s.net.n_features
    for g, (column, indices) in enumerate(features.groups):
        columns[g] = name(column, 28)
        for j in indices:
            column_of[j] = g
    return {
        "columns": [[c.short, c.full] for c in columns],
        "columnOf": column_of,
        "outputs": [name(output).short for output in s.net.outputs[: s.n_outputs]],
        "quantity": quantity(s.u),
        "link": s.net.link,
        "regions": s.u.n_regions,
    }


def _record(s: Subject, title: str, summary: Summary, chapters: list[Chapter]) -> dict[str, Any]:
    """Return what the file beside the page holds."""
    from relucidate import __version__
    from relucidate.saving import describe

    return {
        "schema": SCHEMA,
        "relucidate": __version__,
        "title": title,
        "model": {**plain(describe(s.net)), "path": _model_name(s.net) if s.net.provenance.path else ""},
        "summary": {
            "facts": [{"label": label, "value": value} for value, label in summary.facts],
            "sentences": summary.sentences,
            "findings": [plain(finding) for finding in summary.findings],
            "notes": summary.notes,
        },
        "chapters": {
            chapter.id: {part.id: plain(part.facts) for part in chapter.parts if part.facts is not None}
            for chapter in chapters
            if chapter.parts
        },
        "missing": {chapter.heading: chapter.lead for chapter in chapters if not chapter.parts},
    }


# ---------------------------------------------------------------- head


def _summary(s: Subject, parts: list[Part]) -> Summary:
    found: list[Finding] = []
    for finding in sorted((f for part in parts for f in part.findings), key=lambda f: -f.weight):
        if not finding.about or all(finding.about != other.about for other in found):
            found.append(finding)
    return Summary(
        facts=_facts(s),
        sentences=[*_sentences(s), *([] if s.simplified is None else [in_short(s.simplified)])],
        findings=found[:_FINDINGS],
        notes=[name(note, 300).short for note in s.u.notes[:_NOTES]],
    )


def _model_name(net: Network) -> str:
    path = net.provenance.path.replace("\\", "/").rstrip("/")
    return path.rsplit("/", 1)[-1] or "a network"


def _subtitle(u: Unwrapped) -> list[tuple[str, Name]]:
    p, net = u.network.provenance, u.network
    lines = [("Model", name(_kind(net), 200))]
    if p.path:
        lines.append(("File", name(_model_name(net), 90)))
    if p.sha256:
        lines.append(("SHA-256", name(p.sha256, 80)))
    response = "with a response" if u.has_y else "without a response"
    weights = ", weighted" if u.weighted else ""
    table = f"{plural(u.n_rows, 'row')}, {plural(len(net.features.columns), 'input column')}, {response}{weights}"
    return [*lines, ("Table", name(table, 200))]


def _kind(net: Network) -> str:
    task = "classification" if net.is_classifier else "regression"
    widths = [net.n_features, *(layer.weight.shape[0] for layer in net.layers)]
    shown = widths if len(widths) <= 12 else [*widths[:6], "…", *widths[-5:]]
    return f"{net.provenance.source}; {task}; {' → '.join(str(w) for w in shown)}"


def _holding(u: Unwrapped, level: float) -> int:
    """Return how many of the largest regions hold `level` of the rows."""
    total = np.cumsum(np.sort(u.share)[::-1])
    return min(int(np.searchsorted(total, level - 1e-9)) + 1, u.n_regions)


def _scored(s: Subject) -> list[tuple[str, float]]:
    """Return the scores of the network on the table that there are; none of so few rows that they show what one is like."""
    found = s.u.scores if s.performance is not None else {}
    return [(SCORE_WORDS.get(key, key), value) for key, value in found.items() if math.isfinite(value)]


def _facts(s: Subject) -> list[tuple[str, str]]:
    u = s.u
    single = int((u.count == 1).sum())
    facts = [(count(u.n_rows), "rows" if u.n_rows != 1 else "row")]
    if u.n_regions == 1:
        facts.append(("1", "linear model"))
    else:
        facts.append((count(u.n_regions), "local linear models"))
        facts.append((count(_holding(u, 0.5)), "of them hold half of the rows"))
        facts.append((count(single), "of them rest on a single row"))
    facts.append((power(u.exactness.max_difference), "largest difference from the network"))
    return facts + [(_score(value), key) for key, value in _scored(s)]


def _score(value: float) -> str:
    return fixed(value, 4) if abs(value) < 1e4 else number(value)


def _sentences(s: Subject) -> list[str]:
    u = s.u
    n, r, proof = u.n_rows, u.n_regions, u.network.faithfulness
    single, small = int((u.count == 1).sum()), int((u.count < 30).sum())
    out = []
    if proof is not None:
        out.append(
            f"The network as read was compared with {name(proof.against, 80).short} on {count(proof.n)} probe points: "
            f"they differ by at most {power(proof.max_difference)}."
        )
    if r == 1:
        out.append(f"All {plural(n, 'row')} use one and the same linear model.")
    else:
        half, most = _holding(u, 0.5), _holding(u, 0.95)
        out.append(f"The {plural(n, 'row')} use {count(r)} local linear models, each in its own region.")
        out.append(
            f"Half of the rows lie in {_of_them(half)}, 95 % in {count(most)}; the largest holds {percent(u.share[0])}."
        )
        if single == r:
            out.append("Every region holds a single row: this table can neither confirm nor contradict its model.")
        elif single:
            rest = "rests" if single == 1 else "rest"
            out.append(
                f"{count(single)} of the models {rest} on a single row and {count(small)} on fewer than 30: this table "
                "says little about whether these are right."
            )
        elif small:
            out.append(f"{count(small)} of the models rest on fewer than 30 rows: this table says little about them.")
    if u.is_constant:
        out.append(f"The network gives the same value on all {plural(n, 'row')}: it does not look at its input.")
    out.append(
        f"On every row the local linear model was compared with the network: they differ by at most "
        f"{power(u.exactness.max_difference)}."
    )
    if scored := _scored(s):
        scores = ", ".join(f"{key} {_score(value)}" for key, value in scored)
        out.append(f"Score of the network on these rows{u.sample.caveat}: {scores}.")
    return out


def _of_them(n: int) -> str:
    return "one of them" if n == 1 else f"{n:,} of them"
