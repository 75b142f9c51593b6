"""What the page says of the whole network: which features count, in which direction, and how that changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from relucidate.html import pictures
from relucidate.html import pictures_soundness as drawn
from relucidate.html.dependence import (
    Dependence,
    column_of,
    correlations,
    dependence,
    important,
    interactions,
    lighter,
    once,
    profiles,
)
from relucidate.html.effects import effects
from relucidate.html.parts import Chapter, Finding, Limitation, Part, plain
from relucidate.html.regions import MAX_FEATURES, quantity
from relucidate.html.subject import Subject
from relucidate.importances import Importance, importance
from relucidate.local_models import Coefficients
from relucidate.maps import over_classes
from relucidate.monotonicities import Monotonicity
from relucidate.words import Name, count, decimals_for, fixed, name, number, percent, plural

_BARS = 12
_COEFFICIENTS = 12  # features with a strip
_MONOTONE = 12  # columns listed that no sign is expected of
_REGIONS = 5  # named, of those against a sign
_COUNTING = 5  # features that are compared with others
_COMPARED = 200  # with how many, the most important
_TOGETHER = 0.5  # correlation from which on two features are said to go together
_FACTS = 2_000  # directions in the facts


def soundness(s: Subject) -> Chapter:
    """Return the chapter on what the network does as a whole."""
    found = importance(lighter(s))
    parts: list[Part | None] = [_importance(s, found)]
    if not s.u.is_constant:
        parts.append(_coefficients(s))
        if s.u.n_regions > 1:
            parts.append(effects(s, found.order))
            parts += _changes(s)
    parts.append(_monotonicity(s, found))
    return Chapter(
        "soundness",
        "Conceptual soundness",
        "Which features count, in which direction, and whether that makes sense.",
        [part for part in parts if part is not None],
    )


def _changes(s: Subject) -> list[Part | None]:
    """Return the parts on coefficients that change with features."""
    found: Dependence | None = dependence(s)
    return [] if found is None else [profiles(s, found), interactions(s, found)]


# ---------------------------------------------------------------- importance


@dataclass(frozen=True)
class ImportanceContent:
    """A picture per output shown (output, picture or None if constant), and what they rest on.

    Parameters
    ----------
    together : which features go together, in words, "" if there is nothing to compare. levels : whether a column is made
        of several features.
    """

    pictures: list[tuple[Name, Markup | None]]
    n_outputs: int
    rows: str
    quantity: str
    centred: bool
    together: str
    levels: bool


def _importance(s: Subject, found: Importance) -> Part:
    shown: list[tuple[Name, Markup | None]] = []
    for k, (output, share) in enumerate(zip(s.net.outputs[: s.n_outputs], found.share, strict=False)):
        order = np.argsort(-share, kind="stable")
        bars = order[: _BARS if len(order) > _BARS + 2 else len(order)]
        others = len(order) - len(bars)
        rest = (others, max(float(1 - share[bars].sum()), 0.0)) if others else None
        names = [once(name(found.names[g], 22), k) for g in bars]
        picture = pictures.importance(names, share[bars].tolist(), rest, bars.tolist()) if share.any() else None
        shown.append((name(output), picture))
    n = found.n_rows
    rows = f"all {plural(n, 'row')}" if n == s.u.n_rows else f"a sample of {count(n)} of the {count(s.u.n_rows)} rows"
    together, limits = _going_together(s)
    if n < s.u.n_rows:
        limits.append(Limitation(f"Importance was computed on {rows}.", "importance"))
    levels = len(found.names) < s.net.n_features
    content = ImportanceContent(shown, s.net.n_outputs, rows, quantity(s.u), s.net.link == "softmax", together, levels)
    kept = found.order[:MAX_FEATURES]
    facts = {
        "definition": found.definition,
        "rows": n,
        "columns": [found.names[g] for g in kept],
        "share": {output: plain(found.share[k, kept]) for k, output in enumerate(found.outputs)},
        "overall": plain(found.overall[kept]),
    }
    return Part("importance", "Importance of the features", content, None, facts, _most_important(s, found), limits)


def _most_important(s: Subject, found: Importance) -> list[Finding]:
    """Return what the first columns make up."""
    overall, first = found.overall, found.order[:3]
    if not overall.any() or len(found.names) < 2:
        return []
    what = f"the {quantity(s.u)}s" if s.net.n_outputs > 1 else f"the {quantity(s.u)}"
    text = (
        f"{name(found.names[first[0]]).short} moves {what} most: it has {percent(overall[first[0]])} of the importance"
    )
    if len(found.names) > 3 and (overall[first] > 0).all():
        others = " and ".join(name(found.names[g]).short for g in first[1:])
        text += f"; together with {others} it has {percent(float(overall[first].sum()))}"
    return [Finding(0.6, text + ".", "importance")]


def _going_together(s: Subject) -> tuple[str, list[Limitation]]:
    """Return which two of the important features go together most, in words, and what that limits."""
    u, columns = lighter(s), column_of(s)
    first, others = important(s, _COUNTING), s.importance.order[:_COMPARED]
    apart = np.array([[columns[i] != columns[j] for j in others] for i in first], dtype=bool)
    apart = apart.reshape(len(first), len(others))
    if not apart.any():
        return "", []
    found = correlations(u, first, others)
    size = np.where(apart, np.abs(np.nan_to_num(found)), 0.0)
    close = size >= _TOGETHER
    # of those that go together the pair of the most important feature, else the largest of all
    a = int(close.any(axis=1).argmax()) if close.any() else int(size.max(axis=1).argmax())
    b = int(size[a].argmax())
    one, other = name(s.net.feature_names[first[a]]).short, name(s.net.feature_names[others[b]]).short
    r = fixed(float(found[a, b]), 2)
    of = "all others" if len(others) == s.net.n_features else f"the {count(len(others))} next"
    who = f"{count(len(first))} most important features were" if len(first) > 1 else "one feature that counts was"
    among = f"The {who} compared with {of} over the rows"
    if not close.any():
        return f"{among}: {one} and {other} go together most (correlation {r}), too little to blur importance.", []
    pairs = {frozenset((first[i], others[j])) for i, j in np.argwhere(close)}
    more = f"; {plural(len(pairs), 'pair')} reach {_TOGETHER} in size" if len(pairs) > 1 else ""
    blurred = "How the importance is divided between such features says little"
    limit = f"Importance is blurred by features that go together: {one} and {other} have a correlation of {r}{more}. {blurred}."
    return f"{among}: {one} and {other} go together (correlation {r}){more}. {blurred}.", [
        Limitation(limit, "importance")
    ]


# ---------------------------------------------------------------- coefficients


@dataclass(frozen=True)
class CoefficientRow:
    """The coefficients of one feature over the rows, as text; `column` is what it belongs to."""

    feature: Name
    column: int
    median: str
    middle: str
    per_sd: str
    negative: str
    positive: str


@dataclass(frozen=True)
class CoefficientsContent:
    """Per output: its name, a picture (None where all rows have the same coefficients), a row per feature."""

    outputs: list[tuple[Name, Markup | None, list[CoefficientRow]]]
    quantity: str
    n_features: int
    softmax: bool
    levels: bool
    one: bool


def _coefficients(s: Subject) -> Part | None:
    chosen = important(s, _COEFFICIENTS) or s.importance.order[:_COEFFICIENTS]
    if not chosen:
        return None
    found = _of_features(s, chosen)
    quantiles = np.stack([found.quantile(q) for q in (0.05, 0.25, 0.5, 0.75, 0.95)], axis=-1)  # (K, f, 5)
    positive, negative = found.signs
    sd = s.u.sample.sd[chosen]
    columns = [column_of(s)[j] for j in chosen]
    names = [name(s.net.feature_names[j], 22) for j in chosen]
    long = [name(s.net.feature_names[j], 28) for j in chosen]
    axis = f"{quantity(s.u)} per standard deviation"
    outputs = []
    for k, output in enumerate(found.outputs):
        per_sd = quantiles[k] * sd[:, None]
        picture = (
            drawn.strips([once(n, k) for n in names], columns, per_sd, axis) if s.u.n_regions > 1 and sd.any() else None
        )
        digits = decimals_for(per_sd[:, 2].tolist())
        rows = [
            CoefficientRow(
                feature=once(long[i], k),
                column=columns[i],
                median=number(quantiles[k, i, 2], 3),
                middle=f"{number(quantiles[k, i, 1], 3)} to {number(quantiles[k, i, 3], 3)}",
                per_sd=fixed(per_sd[i, 2], digits),
                negative=percent(negative[k, i]),
                positive=percent(positive[k, i]),
            )
            for i in range(len(chosen))
        ]
        outputs.append((name(output), picture, rows))
    content = CoefficientsContent(
        outputs=outputs,
        quantity=quantity(s.u),
        n_features=s.net.n_features,
        softmax=s.net.link == "softmax",
        levels=any(s.net.features.items[j].kind == "level" for j in chosen),
        one=s.u.n_regions == 1,
    )
    facts = {
        "outputs": list(found.outputs),
        "features": list(found.names),
        "quantiles": [0.05, 0.25, 0.5, 0.75, 0.95],
        "coefficient": plain(quantiles),
        "share_positive": plain(positive),
        "share_negative": plain(negative),
        "verdict": plain(found.verdicts),
        "sd": plain(sd),
    }
    return Part("coefficients", "Coefficients over the rows", content, facts=facts)


def _of_features(s: Subject, chosen: Sequence[int]) -> Coefficients:
    """Return the coefficients of some features in all regions, of the outputs shown."""
    u = s.u
    coef = [over_classes(part, s.net.link)[:, : s.n_outputs][:, :, chosen] for _, part, _ in u.map_blocks()]
    return Coefficients(
        kind="region",
        number=np.arange(u.n_regions),
        coef=np.concatenate(coef),
        standardised=False,
        count=u.count,
        weight=u.sums.weight,
        prediction=None,
        response=None,
        sd=u.sample.sd[list(chosen)],
        names=tuple(s.net.feature_names[j] for j in chosen),
        outputs=s.net.outputs[: s.n_outputs],
        link=s.net.link,
        n_models=u.n_regions,
        share=1.0,
        caveat=u.sample.caveat,
    )


# ---------------------------------------------------------------- monotonicity


@dataclass(frozen=True)
class Direction:
    """Which way one output goes with one column, as text.

    Parameters
    ----------
    expected : "+", "−" or "". against, n_against : share of the rows that go the other way, how many regions.
    regions : the largest of these.
    """

    feature: Name
    column: int
    rising: str
    falling: str
    flat: str
    verdict: str
    expected: str
    violated: bool
    against: str
    n_against: int
    regions: list[int]


@dataclass(frozen=True)
class MonotonicityContent:
    """Per output: its name, sentences on the signs expected, a row per column; what is left out, in words."""

    outputs: list[tuple[Name, list[str], list[Direction]]]
    rest: str
    quantity: str
    expected: bool
    softmax: bool
    n_rows: str


def _monotonicity(s: Subject, found: Importance) -> Part | None:
    m = s.monotonicity
    if not m.names:
        return None
    at = _positions(s, m)
    columns = column_of(s)
    overall = found.overall
    wanted = (m.expected != 0).any(axis=0)
    # expected ones first, each by importance
    order = sorted(range(len(m.names)), key=lambda i: (not wanted[i], -overall[columns[at[i]]]))
    most = max(_MONOTONE, int(wanted.sum()))
    shown = order[:most]
    outputs = []
    for k, output in enumerate(s.net.outputs[: s.n_outputs]):
        rows = [_direction(m, k, i, columns[at[i]]) for i in shown]
        outputs.append((name(output), _expected_in_words(s, m, k, shown), rows))
    rest = []
    if len(order) > len(shown):
        steady = int((m.verdict[: s.n_outputs, order[most:]] != "mixed").all(axis=0).sum())
        kept = f"{count(steady)} never change{'s' if steady == 1 else ''}" if steady else "none keeps"
        rest.append(
            f"{count(len(shown))} of {count(len(order))} columns are listed, the most important; of the other "
            f"{count(len(order) - len(shown))} {kept} its direction."
        )
    if m.left_out:
        some = ", ".join(name(column).short for column in m.left_out[:6])
        more = f" and {count(len(m.left_out) - 6)} more" if len(m.left_out) > 6 else ""
        rest.append(f"Columns of several levels have no one direction and are left out: {some}{more}.")
    content = MonotonicityContent(
        outputs=outputs,
        rest=" ".join(rest),
        quantity=quantity(s.u),
        expected=bool(wanted.any()),
        softmax=s.net.link == "softmax",
        n_rows=plural(m.n_rows, "row"),
    )
    findings = _on_signs(s, m) or _on_first(s, m, order, overall[[columns[j] for j in at]])
    limits = []
    if not wanted.any():
        limits.append(
            Limitation(
                f"No sign was expected of any of the {plural(len(m.names), 'column')} that have a direction: directions were "
                "measured, but held against nothing.",
                "monotonicity",
            )
        )
    return Part("monotonicity", "Directions and expected signs", content, None, _facts(s, m, shown), findings, limits)


def _positions(s: Subject, m: Monotonicity) -> list[int]:
    """Return the position of each feature that directions were looked for in."""
    features = s.net.features
    out = []
    for text in m.names:
        indices = features.find(text)[1]
        values = [j for j in indices if features.items[j].kind == "value"]
        out.append(values[0] if values else indices[0])
    return out


def _direction(m: Monotonicity, k: int, i: int, column: int) -> Direction:
    return Direction(
        feature=once(name(m.names[i]), k),
        column=column,
        rising=percent(m.increasing[k, i]),
        falling=percent(m.decreasing[k, i]),
        flat=percent(m.flat[k, i]),
        verdict=str(m.verdict[k, i]),
        expected={1: "+", -1: "−"}.get(int(m.expected[k, i]), ""),
        violated=bool(m.expected[k, i] != 0 and m.n_against[k, i] > 0),
        against=percent(m.against[k, i]),
        n_against=int(m.n_against[k, i]),
        regions=_largest(m, k, i),
    )


def _expected_in_words(s: Subject, m: Monotonicity, k: int, order: Sequence[int]) -> list[str]:
    """Return a sentence for each sign expected."""
    out = []
    for i in order:
        if m.expected[k, i] == 0:
            continue
        rise = m.expected[k, i] > 0
        text = f"{name(m.names[i]).short}: the {quantity(s.u)} was expected to {'rise' if rise else 'fall'} with it"
        n, share = int(m.n_against[k, i]), float(m.against[k, i])
        if n == 0:
            level = float(m.flat[k, i])
            out.append(
                f"{text}, and does on every row{f', or does not change ({percent(level)} of the rows)' if level else ''}."
            )
        else:
            out.append(
                f"{text}, but {'falls' if rise else 'rises'} on {percent(share)} of the rows, in {plural(n, 'region')}."
            )
    return out


def _on_signs(s: Subject, m: Monotonicity) -> list[Finding]:
    """Return what came of the signs expected."""
    n = int((m.expected != 0).sum())
    if n == 0:
        return []
    against = np.where(m.expected != 0, m.n_against, 0)
    if not against.any():
        what = "The sign expected of the one feature holds" if n == 1 else f"All {count(n)} expected signs hold"
        return [Finding(0.7, f"{what} on every row.", "monotonicity", "sound")]
    share = np.where(against > 0, m.against, -1)
    k, i = np.unravel_index(share.argmax(), share.shape)
    others = int((against > 0).sum()) - 1
    of = f" (output {name(s.net.outputs[k]).short})" if s.net.n_outputs > 1 else ""
    text = (
        f"The sign of {name(m.names[i]).short}{of} is against what was expected on {percent(m.against[k, i])} of the rows, in "
        f"{plural(int(against[k, i]), 'region')}"
    )
    if others:
        text += f"; {plural(others, 'other expected sign')} {'is' if others == 1 else 'are'} broken too, on fewer rows"
    return [Finding(0.95 if m.against[k, i] >= 0.001 else 0.7, text + ".", "monotonicity", "doubt")]


def _on_first(s: Subject, m: Monotonicity, order: Sequence[int], overall: Any) -> list[Finding]:
    """Return how often the column that counts most goes another way, where no sign is expected."""
    if s.net.n_outputs > 1 or not overall.any():
        return []
    i = order[0]
    up, down = float(m.increasing[0, i]), float(m.decreasing[0, i])
    who, what = name(m.names[i]).short, quantity(s.u)
    if min(up, down) < 0.01:
        way = "rises" if up > down else "falls"
        return [Finding(0.45, f"The {what} {way} with {who} on {percent(max(up, down))} of the rows.", "monotonicity")]
    text = f"The {what} rises with {who} on {percent(up)} of the rows and falls with it on {percent(down)}."
    return [Finding(0.5, text, "monotonicity")]


def _facts(s: Subject, m: Monotonicity, shown: Sequence[int]) -> Any:
    """Return directions (outputs, features), of all columns where that is not too much, and the regions against the signs."""
    K = s.n_outputs
    kept = list(range(len(m.names))) if K * len(m.names) <= _FACTS else sorted(shown)
    tables = ("increasing", "decreasing", "flat", "mean_slope", "verdict", "expected", "against", "n_against")
    return {
        "outputs": list(m.outputs[:K]),
        "features": [m.names[i] for i in kept],
        **{table: plain(getattr(m, table)[:K][:, kept]) for table in tables},
        "largest_against": [[_largest(m, k, i) for i in kept] for k in range(K)],
    }


def _largest(m: Monotonicity, k: int, i: int) -> list[int]:
    """Return the largest regions that go against the sign of a feature."""
    here = slice(*np.searchsorted(m.break_output * len(m.names) + m.break_feature, (n := k * len(m.names) + i, n + 1)))
    return [int(r) for r in m.break_region[here][:_REGIONS]]
