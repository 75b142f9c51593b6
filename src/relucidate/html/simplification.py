"""The section on a handful of models in place of all regions: what they are, what they lose, and how they were chosen."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from markupsafe import Markup, escape

from relucidate.errors import ArgumentError
from relucidate.html import pictures
from relucidate.html.pictures import WIDTH, _axis_title, _Box, _svg
from relucidate.html.regions import quantity
from relucidate.html.words import NONE, Name, count, decimals_for, fixed, name, number, percent, plural, power
from relucidate.layers import Floats
from relucidate.plot import short_rules
from relucidate.simplified import SCORE_NAMES, ByRule, Curve, Simplified
from relucidate.unwrapping import Unwrapped

_Point: TypeAlias = tuple[float, float]

MAX_MODELS = 40  # listed
_COEFFICIENTS = 4  # named per model
_RULES = 6  # per model
_SUMS = 20
_NOTES = 20


@dataclass(frozen=True)
class ModelRow:
    """A model as a row of the table: where it holds, how much it holds, and what matters most in it."""

    model: int
    rules: list[Name]
    more_rules: int
    rows: str
    share: str
    response: str
    coefficients: list[tuple[Name, str]]


@dataclass(frozen=True)
class Simplification:
    """What the section lays out.

    Parameters
    ----------
    sentences : in words. curve : picture, None without one. chosen : how the number was chosen. rows : models, in order.
    sums : (name, what it is) of the sums in the rules. facts : how faithful it is. response : heading, "" without one.
    """

    sentences: list[str]
    curve: Markup | None
    chosen: str
    rows: list[ModelRow]
    n_models: int
    sums: list[tuple[str, Name]]
    n_sums: int
    facts: list[tuple[str, str]]
    response: str
    notes: list[str]


def simplification(u: Unwrapped, s: Simplified, sd: Floats) -> Simplification:
    """Return the content of the section.

    Parameters
    ----------
    u : what the report is on. s : a simplification of the same network. sd : (d,) spread of each feature.

    Raises
    ------
    ArgumentError : `s` simplifies another network.
    """
    _check_same(u, s)
    rules, sums = short_rules(s, 40)
    return Simplification(
        sentences=sentences(u, s),
        curve=None if s.curve is None or len(s.curve.n_models) < 2 else curve_picture(s.curve),
        chosen="" if s.curve is None else _chosen(s.curve),
        rows=[_row(s, m, rules[m], sd) for m in range(min(s.n_models, MAX_MODELS))],
        n_models=s.n_models,
        sums=[(key, name(text, 400)) for key, text in sums[:_SUMS]],
        n_sums=len(sums),
        facts=_facts(s, quantity(u)),
        response="" if s.response is None else _response_heading(s),
        notes=[name(note, 300).short for note in s.notes[:_NOTES]],
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
        f"{SCORE_NAMES.get(key, key)} {number(ours)} instead of {number(theirs)}"
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
        f"{SCORE_NAMES.get(key, key)} {number(ours)} (the network {number(theirs)})"
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


def _facts(s: Simplified, what: str) -> list[tuple[str, str]]:
    f = s.faithfulness
    facts = [
        ("Method", s.method),
        ("Held-out rows compared", count(f.n)),
        (f"Mean difference of the {what}", number(f.mean_difference, 3)),
        ("Largest difference", number(f.max_difference, 3)),
        ("Explained variance", percent(s.fidelity) if s.fidelity >= 0 else number(s.fidelity, 3)),
    ]
    return facts + ([] if f.agreement is None else [("Same decision", percent(f.agreement))])


# ---------------------------------------------------------------- the table


def _row(s: Simplified, m: int, rules: Sequence[str], sd: Floats) -> ModelRow:
    return ModelRow(
        model=m,
        rules=[name(rule, 600) for rule in rules[:_RULES]],
        more_rules=max(len(rules) - _RULES, 0),
        rows=count(int(s.count[m])),
        share=percent(float(s.count[m]) / max(float(s.count.sum()), 1.0)),
        response=_response(s, m),
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


def _largest(s: Simplified, m: int, sd: Floats) -> Iterator[tuple[Name, str]]:
    """Yield the features that move the model most over their spread, with their coefficients."""
    effect = np.abs(s.coef[m] * sd)
    order = np.argsort(-effect, axis=None, kind="stable")[:_COEFFICIENTS]
    for k, j in zip(*np.unravel_index(order, effect.shape), strict=True):
        if s.coef[m, k, j] == 0:
            continue
        output = f" [{name(s.network.outputs[k], 16).short}]" if s.network.n_outputs > 1 else ""
        value = float(s.coef[m, k, j])
        text = ("+" if value > 0 else "") + number(value, 3)
        feature = name(s.network.feature_names[j], 30)
        yield Name(feature.short + output, feature.full), text


# ---------------------------------------------------------------- the curve


def curve_picture(curve: Curve) -> Markup:
    """Return the held-out loss by the number of models on a logarithmic axis, with its band and the chosen number."""
    box = _Box(left=58, top=14, width=WIDTH - 58 - 18, height=190)
    loss, error = curve.loss, curve.error
    ticks = _linear_ticks(float((loss - error).min()), float((loss + error).max()))
    low, high = ticks[0], ticks[-1]
    start = math.log2(curve.n_models[0])
    reach = math.log2(curve.n_models[-1]) - start

    def at(k: float, value: float) -> tuple[float, float]:
        return box.x((math.log2(k) - start) / reach), box.y((value - low) / (high - low))

    line = [at(k, v) for k, v in zip(curve.n_models, loss, strict=True)]
    upper = [at(k, v) for k, v in zip(curve.n_models, loss + error, strict=True)]
    lower = [at(k, v) for k, v in zip(curve.n_models, loss - error, strict=True)]
    out = [*_grid(box, ticks), *_model_ticks(box, curve)]
    out.append(f'<polygon class="band" points="{_points([*upper, *reversed(lower)])}"/>')
    out.append(f'<polyline class="line" points="{_points(line)}"/>')
    out += [f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>' for x, y in line]
    chosen = int(np.flatnonzero(curve.n_models == curve.chosen)[0])
    x, y = line[chosen]
    out.append(f'<circle class="chosen" cx="{x:.1f}" cy="{y:.1f}" r="5"/>')
    label = f"{plural(curve.chosen, 'model')}: {_value(float(loss[chosen]), ticks)}"
    left, base = _free_spot(box, (x, y), label, upper, lower)
    out.append(f'<text class="halo strong" x="{left:.1f}" y="{base:.1f}">{escape(label)}</text>')
    out.append(_axis_title(box, "number of linear models (logarithmic)"))
    said = ", ".join(f"{count(int(k))}: {number(float(v))}" for k, v in zip(curve.n_models, loss, strict=True))
    return _svg(box.bottom + 42, f"Held-out {curve.measure} by number of models. {said}. Chosen: {label}.", out)


def _free_spot(
    box: _Box, at: _Point, label: str, upper: Sequence[_Point], lower: Sequence[_Point]
) -> tuple[float, float]:
    """Return where a label starts (left, base line) near a point: where it does not cover the band, inside the box."""
    width = 1.06 * pictures._CHARACTER * len(label)
    places = [
        (at[0] + right, at[1] + down)
        for down in (20, -12, 34, -26, -42, -60, -90, 60)
        for right in (-width, -width / 2, 0)
    ]
    for left, base in places:
        across = np.linspace(left - 4, left + width + 4, 24)
        top, bottom = (np.interp(across, *np.transpose(edge)) for edge in (upper, lower))
        covers = bool(((top < base + 5) & (bottom > base - 12)).any())
        if left >= box.left and left + width <= WIDTH and box.top + 10 <= base <= box.bottom - 4 and not covers:
            return left, base
    return box.right - width, box.top + 10.0


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _linear_ticks(low: float, high: float) -> list[float]:
    """Return three to seven round numbers, the first at or below `low`, the last at or above `high`."""
    # ticks between values that rounding sets apart would be one
    if not high - low > 1e-9 * max(abs(low), abs(high)):
        low, high = low - max(abs(low), 1.0) / 10, high + max(abs(high), 1.0) / 10
    raw = (high - low) / 4
    unit = 10.0 ** math.floor(math.log10(raw))
    step = unit * next(m for m in (1, 2, 2.5, 5, 10) if m * unit >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [step * i for i in range(first, last + 1)]


def _value(value: float, ticks: Sequence[float]) -> str:
    """Return a loss with a digit more than the ticks need."""
    decimals = _decimals(ticks)
    return fixed(value, decimals + 1 if decimals >= 0 else -1)


def _decimals(ticks: Sequence[float]) -> int:
    """Return how many decimals tell ticks apart, -1 for powers of ten."""
    step = ticks[1] - ticks[0]
    if step < 1e-5 or max(abs(t) for t in ticks) >= 1e5:
        return -1
    return next((n for n in range(7) if abs(round(step, n) - step) < 1e-9 * step), 6)


def _grid(box: _Box, ticks: Sequence[float]) -> Iterator[str]:
    decimals = _decimals(ticks)
    for tick in ticks:
        y = box.y((tick - ticks[0]) / (ticks[-1] - ticks[0]))
        text = fixed(tick, decimals) if decimals >= 0 or tick == 0 else power(tick)
        yield f'<line class="grid" x1="{box.left}" x2="{box.right}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="tick end" x="{box.left - 7}" y="{y + 4:.1f}">{text}</text>'


def _model_ticks(box: _Box, curve: Curve) -> Iterator[str]:
    """Label the numbers of models that have room: the chosen one, the ends, powers of two, then others."""
    k = [int(v) for v in curve.n_models]
    start, reach = math.log2(k[0]), math.log2(k[-1] / k[0])
    kept: list[tuple[int, float]] = []
    for value in sorted(k, key=lambda v: (v != curve.chosen, v not in (k[0], k[-1]), v & (v - 1) != 0, v)):
        x = box.x((math.log2(value) - start) / reach)
        width = pictures._CHARACTER * len(count(value))
        if all(abs(x - other) >= (width + pictures._CHARACTER * len(count(v))) / 2 + 5 for v, other in kept):
            kept.append((value, x))
    for value, x in sorted(kept):
        style = "tick middle strong" if value == curve.chosen else "tick middle"
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{box.bottom}" y2="{box.bottom + 4}"/>'
        yield f'<text class="{style}" x="{x:.1f}" y="{box.bottom + 16}">{count(value)}</text>'
