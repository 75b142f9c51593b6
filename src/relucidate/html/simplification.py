"""The chapter on a handful of models in place of all regions: how many to pick, what they are, and what they lose."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from relucidate.errors import ArgumentError
from relucidate.html.parts import Chapter, Finding, Limitation, Part, packed, plain
from relucidate.html.pictures_simplification import curve_picture
from relucidate.html.regions import quantity
from relucidate.html.simpler_coefficients import Intervals, intervals
from relucidate.html.simpler_models import Candidate, Judged, candidates, group_of
from relucidate.html.subject import LEAST_ROWS, Subject
from relucidate.html.told import told
from relucidate.layers import Floats
from relucidate.plot import short_rules
from relucidate.products import one_thread
from relucidate.scoring import SCORE_WORDS
from relucidate.simplified import ByRule, Curve, Simplified
from relucidate.unwrapping import Unwrapped
from relucidate.words import NONE, Name, count, decimals_for, fixed, name, number, percent, plural
from relucidate.words import rule as printed

MAX_MODELS = 40  # listed
_COEFFICIENTS = 4  # named per model
_RULES = 6  # per model
_SUMS = 20
_NOTES = 20
_NO_GROUP = 65_535


@dataclass(frozen=True)
class ModelRow:
    """A model as a row of the table: where it holds, how much it holds, and what matters most in it.

    `coefficients` : (feature, its column in the table, coefficient).
    """

    model: int
    rules: list[Name]
    more_rules: int
    rows: str
    share: str
    response: str
    coefficients: list[tuple[Name, int, str]]


@dataclass(frozen=True)
class Panel:
    """One number of models.

    Parameters
    ----------
    models : how many. chosen : whether it is the simplification that was given. rows : models, in order.
    sums : (name, what it is) of the sums in the rules. facts : how faithful it is. response : heading, "" without one.
    """

    models: int
    chosen: bool
    heading: str
    rows: list[ModelRow]
    sums: list[tuple[str, Name]]
    n_sums: int
    facts: list[tuple[str, str]]
    response: str


@dataclass(frozen=True)
class Scores:
    """How each number of models does beside the network.

    Parameters
    ----------
    groups : (rows that were scored, columns). measures : of the columns, in their order.
    rows : (number of models, None for the network; label; cells).
    """

    groups: list[tuple[str, int]]
    measures: list[str]
    rows: list[tuple[int | None, str, list[str]]]


@dataclass(frozen=True)
class Simplification:
    """What the section lays out.

    Parameters
    ----------
    sentences : in words. curve : picture, None without one. measure : what its loss is.
    models : the number that was chosen. chosen : how it was.
    panels : one for each number that can be picked. why : no other can be, "" if one can. notes : of the simplification.
    """

    sentences: list[str]
    curve: Markup | None
    measure: str
    chosen: str
    models: int
    panels: list[Panel]
    scores: Scores
    why: str
    notes: list[str]


@dataclass(frozen=True)
class IntervalPanels:
    """The tables of coefficients: (number of models, whether chosen, the table or why there is none) each."""

    panels: list[tuple[int, bool, Intervals | str]]


def simplified(s: Subject) -> Chapter | None:
    """Return the chapter on a simplification, None without one."""
    if s.simplified is None:
        return None
    _check_same(s.u, s.simplified)
    return Chapter(
        "simpler",
        "Simplification",
        "How few linear models would do, what they are, and what they lose.",
        list(_parts(s, s.simplified)),
    )


def _parts(s: Subject, simpler: Simplified) -> Iterator[Part]:
    # many small products: threads would only wait for each other
    with one_thread():
        found, why, network = candidates(s.u, simpler, s.test)
    content = simplification(s.u, simpler, s.importance.sd, found, why, network, s.least)
    test = None if s.test is None else s.test.sample
    what = quantity(s.u)
    with one_thread():
        coefficients = {
            c.simplified.n_models: intervals(
                c.simplified, test, s.importance.sd, response=what, least=s.least, other=not c.chosen
            )
            for c in found
        }
    chosen = coefficients[simpler.n_models]
    group = group_of(s.u, simpler, s.regions.n_shown)
    yield Part(
        "simplification",
        "A few models in place of many",
        content,
        data={
            "chosen": simpler.n_models,
            "models": [panel.models for panel in content.panels],
            "said": [_said(c) for c in found],
            "groupOf": None if group is None else packed(np.where(group < 0, _NO_GROUP, group), "u2"),
        },
        facts={
            "chosen": simpler.n_models,
            "method": simpler.method,
            "curve": None if simpler.curve is None else plain(simpler.curve),
            "network_on_test": plain(network),
            "numbers": [_record(c, s.least) for c in found],
            "notes": list(simpler.notes),
        },
        findings=list(_findings(simpler, found)),
        limitations=list(_limitations(simpler, what, why)),
    )
    yield Part(
        "simplification-coefficients",
        "Coefficients with intervals",
        IntervalPanels([(c.simplified.n_models, c.chosen, coefficients[c.simplified.n_models]) for c in found]),
        facts={
            str(k): {"why": table} if isinstance(table, str) else plain(table.facts)
            for k, table in coefficients.items()
        },
        limitations=list(_uncertain(chosen)),
    )


def simplification(
    u: Unwrapped,
    s: Simplified,
    sd: Floats,
    found: Sequence[Candidate] | None = None,
    why: str = "",
    network: Judged | None = None,
    least: int = LEAST_ROWS,
) -> Simplification:
    """Return the content of the section.

    Parameters
    ----------
    u : what the report is on. s : a simplification of the same network. sd : (d,) spread of each feature.
    found, why, network : from `candidates`; `s` alone by default. least : fewest rows whose mean response is shown.

    Raises
    ------
    ArgumentError : `s` simplifies another network.
    """
    _check_same(u, s)
    found = [Candidate(s, None, True, None)] if found is None else found
    curve = None
    if s.curve is not None and len(s.curve.n_models) > 1:
        curve = curve_picture(s.curve, {c.simplified.n_models for c in found} if len(found) > 1 else ())
    return Simplification(
        sentences=sentences(u, s),
        curve=curve,
        measure="" if s.curve is None else s.curve.measure,
        chosen="" if s.curve is None else _chosen(s.curve),
        models=s.n_models,
        panels=[_panel(c, quantity(u), sd, least) for c in found],
        scores=_scores(s, found, network),
        why=why,
        notes=[name(note, 300).short for note in s.notes[:_NOTES]],
    )


def _panel(c: Candidate, what: str, sd: Floats, least: int) -> Panel:
    s = c.simplified
    rules, sums = short_rules(s, 40)
    shown = told(s.count, least)
    return Panel(
        models=s.n_models,
        chosen=c.chosen,
        heading=plural(s.n_models, "linear model"),
        rows=[_row(s, m, rules[m], sd, bool(shown[m])) for m in range(min(s.n_models, MAX_MODELS))],
        sums=[(key, name(text, 400)) for key, text in sums[:_SUMS]],
        n_sums=len(sums),
        facts=_facts(c, what),
        response="" if s.response is None else _response_heading(s),
    )


def _check_same(u: Unwrapped, s: Simplified) -> None:
    a, b = u.network, s.network
    same = a is b or (
        a.feature_names == b.feature_names
        and len(a.layers) == len(b.layers)
        and all(
            p.weight.shape == q.weight.shape and np.array_equal(p.bias, q.bias)
            for p, q in zip(a.layers, b.layers, strict=True)
        )
    )
    if not same:
        raise ArgumentError(
            "`simplified` simplifies another network than the one of this report. Give what relucidate.simplify made of "
            "the same network."
        )


def _chosen(curve: Curve) -> str:
    n = plural(curve.chosen, "model")
    return f"{n}, as asked for." if curve.rule == "given" else f"{n}: {curve.rule}."


# ---------------------------------------------------------------- in words


def in_short(s: Simplified) -> str:
    """Return the sentence for the summary of the page."""
    start = f"Simplified to {plural(s.n_models, 'linear model')}, the network"
    scores = [
        f"{SCORE_WORDS.get(key, key)} {number(ours)} instead of {number(theirs)}"
        for key, (ours, theirs) in s.scores.items()
    ]
    if scores:
        return f"{start} has {', '.join(scores)} on held-out rows."
    if s.fidelity >= 0:
        return f"{start} keeps {percent(s.fidelity)} of the variance of its output on held-out rows."
    return f"{start} keeps nothing of the variance of its output on held-out rows."


def sentences(u: Unwrapped, s: Simplified) -> list[str]:
    """Return what became of the regions, and what was lost."""
    what = "linear model stands" if s.n_models == 1 else "linear models stand"
    regions = "one region" if u.n_regions == 1 else f"{count(u.n_regions)} regions"
    how = (
        "Rules lead a row to its model." if isinstance(s.route, ByRule) else f"A row finds its model by {s.route.kind}."
    )
    first = f"{count(s.n_models)} {what} in for the {regions} of these rows."
    return [first if s.n_models == 1 else f"{first} {how}", *_losses(s, quantity(u))]


def _losses(s: Simplified, what: str) -> Iterator[str]:
    f = s.faithfulness
    scores = [
        f"{SCORE_WORDS.get(key, key)} {number(ours)} (the network {number(theirs)})"
        for key, (ours, theirs) in s.scores.items()
    ]
    if scores:
        yield f"Score on {plural(f.n, 'row')} held out while the models were made: {', '.join(scores)}."
    parts = [] if f.agreement is None else [f"the decision is the network’s own on {percent(f.agreement)}"]
    if not math.isfinite(s.fidelity):
        parts.append(f"the network’s {what} does not vary")
    elif s.fidelity < 0:
        parts.append(f"the network’s {what} is followed less well than by a constant")
    else:
        parts.append(f"{percent(s.fidelity)} of the variance of the network’s {what} is explained")
    yield f"Of {plural(f.n, 'held-out row')} compared with the network, {'; '.join(parts)}."


def _facts(c: Candidate, what: str) -> list[tuple[str, str]]:
    s, f = c.simplified, c.simplified.faithfulness
    facts = [
        ("Method", s.method),
        ("Held-out rows compared", count(f.n)),
        (f"Mean difference of the {what}", number(f.mean_difference, 3)),
        ("Largest difference", number(f.max_difference, 3)),
        ("Explained variance", _explained(s.fidelity)),
    ]
    if f.agreement is not None:
        facts.append(("Same decision", percent(f.agreement)))
    if c.loss is not None and s.curve is not None:
        facts.append((f"Loss ({s.curve.measure})", number(c.loss)))
    return facts


def _explained(fidelity: float) -> str:
    return percent(fidelity) if fidelity >= 0 else number(fidelity, 3)


# ---------------------------------------------------------------- beside each other


def _scores(s: Simplified, found: Sequence[Candidate], network: Judged | None) -> Scores:
    """Return the scores of each number of models and of the network, on held-out and on test rows."""
    n = s.faithfulness.n
    own = Judged(n, {key: theirs for key, (_, theirs) in s.scores.items()}, 1.0, s.faithfulness.agreement)
    held = [
        Judged(n, {key: ours for key, (ours, _) in c.simplified.scores.items()}, c.simplified.fidelity, f.agreement)
        for c in found
        for f in [c.simplified.faithfulness]
    ]
    groups, measures = [], []
    columns: list[list[str]] = []  # of the candidates, then of the network
    sets: list[tuple[str, Sequence[Judged | None], Judged | None]] = [
        ("held-out rows", held, own),
        ("test rows", [c.test for c in found], network),
    ]
    for label, of_candidates, of_network in sets:
        if of_network is None:
            continue
        known = [j for j in of_candidates if j is not None]
        before = len(columns)
        for key in of_network.scores:
            values = [*(j.scores[key] for j in known), of_network.scores[key]]
            columns.append([fixed(v, 4) if 1e-3 <= abs(v) < 1e4 else number(v) for v in values])
            measures.append(SCORE_WORDS.get(key, key))
        columns.append([*(_explained(j.fidelity) for j in known), NONE])
        measures.append("variance explained")
        if of_network.agreement is not None:
            columns.append([*(percent(j.agreement) for j in known), NONE])
            measures.append("same decision")
        groups.append((f"{count(of_network.n)} {label}", len(columns) - before))
    keys: list[tuple[int | None, str]] = [
        (k, "one linear model" if k == 1 else f"{count(k)} models") for k in (c.simplified.n_models for c in found)
    ]
    rows = [
        (k, label, [column[i] for column in columns]) for i, (k, label) in enumerate([*keys, (None, "the network")])
    ]
    return Scores(groups, measures, rows)


def _said(c: Candidate) -> str:
    """Return what is said when a number of models is picked."""
    s = c.simplified
    scores = [f"{SCORE_WORDS.get(key, key)} {number(ours)}" for key, (ours, _) in s.scores.items()]
    scores += [f"{_explained(s.fidelity)} of the variance explained"] if math.isfinite(s.fidelity) else []
    return (
        f"{plural(s.n_models, 'linear model')}{' (chosen)' if c.chosen else ''}: {', '.join(scores) or 'shown below'}."
    )


def _record(c: Candidate, least: int) -> dict[str, Any]:
    """Return a candidate for the JSON file."""
    s = c.simplified
    response = None
    if s.response is not None:
        shown = told(s.count, least)
        response = [plain(r) if ok else None for r, ok in zip(s.response, shown.tolist(), strict=True)]
    return {
        "models": s.n_models,
        "chosen": c.chosen,
        "loss": c.loss,
        "scores": {key: {"simplified": ours, "network": theirs} for key, (ours, theirs) in s.scores.items()},
        "fidelity": s.fidelity,
        "faithfulness": plain(s.faithfulness),
        "test": plain(c.test),
        "rules": s.conditions(),
        "count": plain(s.count),
        "response_mean": response,
        "coef": plain(s.coef),
        "intercept": plain(s.intercept),
    }


def _findings(s: Simplified, found: Sequence[Candidate]) -> Iterator[Finding]:
    if not s.scores:
        if math.isfinite(s.fidelity):
            do = "models explain" if s.n_models > 1 else "model explains"
            yield Finding(
                0.6,
                f"{count(s.n_models)} linear {do} {_explained(s.fidelity)} of the variance of the network’s output on "
                f"{plural(s.faithfulness.n, 'held-out row')}.",
                "simplification",
            )
        return
    key, (ours, theirs) = next(iter(s.scores.items()))
    one = next((c.simplified for c in found if c.simplified.n_models == 1 and s.n_models > 1), None)
    single = f", one linear model {number(one.scores[key][0])}" if one is not None and key in one.scores else ""
    reach = "models reach" if s.n_models > 1 else "model reaches"
    yield Finding(
        0.7,
        f"{count(s.n_models)} linear {reach} {SCORE_WORDS.get(key, key)} {number(ours)} on "
        f"{plural(s.faithfulness.n, 'held-out row')}, the network {number(theirs)}{single}.",
        "simplification",
    )


def _limitations(s: Simplified, what: str, why: str) -> Iterator[Limitation]:
    f, models = s.faithfulness, plural(s.n_models, "linear model")
    if f.agreement is not None and f.agreement < 1:
        yield Limitation(
            f"On {percent(1 - f.agreement)} of {plural(f.n, 'held-out row')} the decision of the {models} differs from the "
            f"network’s; the {what} differs by at most {number(f.max_difference, 3)}.",
            "simplification",
        )
    elif f.max_difference > 0:
        yield Limitation(
            f"On {plural(f.n, 'held-out row')} the {what} of the {models} differs from the network’s by at most "
            f"{number(f.max_difference, 3)}.",
            "simplification",
        )
    if why:
        yield Limitation(f"Of the simplification the chosen number of models is shown alone. {why}", "simplification")


def _uncertain(table: Intervals | str) -> Iterator[Limitation]:
    part = "simplification-coefficients"
    if isinstance(table, str):
        yield Limitation(f"The coefficients of the simplification stand without intervals. {table}", part)
        return
    if not table.honest:
        yield Limitation(
            "The intervals of the simplification’s coefficients rest on the rows that its models were chosen on, and are "
            "too narrow for that.",
            part,
        )
    if table.without:
        have = "has" if table.without == 1 else "have"
        yield Limitation(
            f"{plural(table.without, 'model')} of the simplification {have} no intervals: the table says why.", part
        )


# ---------------------------------------------------------------- the table


def _row(s: Simplified, m: int, rules: Sequence[str], sd: Floats, shown: bool) -> ModelRow:
    return ModelRow(
        model=m,
        rules=[name(printed(rule), 600) for rule in rules[:_RULES]],
        more_rules=max(len(rules) - _RULES, 0),
        rows=count(int(s.count[m])),
        share=percent(float(s.count[m]) / max(float(s.count.sum()), 1.0)),
        response=_response(s, m) if shown else NONE if s.response is not None else "",
        coefficients=list(_largest(s, m, sd)),
    )


def _response_heading(s: Simplified) -> str:
    several = s.response is not None and s.response.shape[1] > 1
    return "mean response, largest first" if several else "mean response"


def _response(s: Simplified, m: int) -> str:
    if s.response is None:
        return ""
    values = s.response[m]
    if len(values) == 1:
        return fixed(float(values[0]), decimals_for(s.response[:, 0].tolist()))
    if not np.isfinite(values).all():
        return NONE
    order = np.argsort(-values, kind="stable")[:3]
    return ", ".join(f"{name(s.network.outputs[k], 20).short} {number(float(values[k]), 2)}" for k in order)


def _largest(s: Simplified, m: int, sd: Floats) -> Iterator[tuple[Name, int, str]]:
    """Yield the features that move the model most over their spread, with their columns and coefficients."""
    column = np.zeros(s.network.n_features, dtype=np.intp)
    for g, (_, indices) in enumerate(s.features.groups):
        column[list(indices)] = g
    effect = np.abs(s.coef[m] * sd)
    order = np.argsort(-effect, axis=None, kind="stable")[:_COEFFICIENTS]
    for k, j in zip(*np.unravel_index(order, effect.shape), strict=True):
        if s.coef[m, k, j] == 0:
            continue
        output = f" [{name(s.network.outputs[k], 16).short}]" if s.network.n_outputs > 1 else ""
        value = float(s.coef[m, k, j])
        text = ("+" if value > 0 else "") + number(value, 3)
        feature = name(s.network.feature_names[j], 30)
        yield Name(feature.short + output, feature.full), int(column[j]), text
