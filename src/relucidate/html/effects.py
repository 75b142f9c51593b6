"""What the page says of single features: how the mean decision changes with each, exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from markupsafe import Markup

from relucidate.effects import Effect, partial_dependence
from relucidate.errors import DataError
from relucidate.html import pictures
from relucidate.html.dependence import once
from relucidate.html.parts import Finding, Limitation, Part, plain
from relucidate.html.regions import quantity
from relucidate.html.subject import Subject
from relucidate.html.told import end
from relucidate.layers import Floats
from relucidate.words import Name, count, name, number, plural

_FEATURES = 6
_ROWS = 5_000
_WEIGHTS = 10**9  # weights times rows: more would take minutes
_LEVELS = 12  # the most frequent ones of a column
_POINTS = 240  # of a curve that has more kinks than can be seen
_FEWER = 80  # of each where there are more than two outputs
_HEADING = "How the decision changes with each feature"


@dataclass(frozen=True)
class EffectsContent:
    """A picture per feature for each output shown, and what they rest on; or why there are none.

    Parameters
    ----------
    pictures : (output, [(feature, its column, picture, further words)]). n_features : columns in all.
    kinks : where their slopes change, in all curves. rows : what the means are of, in words. ends : how far curves go, in
        words. quantity : what a decision is. missing : why there are none, or "".
    """

    pictures: list[tuple[Name, list[tuple[Name, int, Markup, str]]]]
    n_features: int
    kinks: int
    rows: str
    quantity: str
    ends: str = ""
    missing: str = ""


def effects(s: Subject, order: Sequence[int]) -> Part:
    """Return the part on the partial dependence on the columns that matter most, all outputs on one scale each.

    Parameters
    ----------
    order : columns, in the network's groups, the most important first.
    """
    u, net = s.u, s.net
    rows = min(_ROWS, len(u.sample.row), _WEIGHTS // net.n_parameters)
    n_groups = len(net.features.groups)
    missing = ""
    found: list[tuple[int, Effect]] = []
    kinks = 0
    if rows < 1:
        missing = f"They are left out, since a network of {count(net.n_parameters)} weights would take minutes."
    elif rows < s.least:
        missing = f"They are left out, since a mean of {plural(rows, 'row')} would show what single rows are like."
    else:
        found, kinks = _found(s, order, rows)
        missing = "" if found else "No feature changes over these rows."
    if missing:
        return Part("effects", _HEADING, EffectsContent([], n_groups, 0, "", "", "", missing))
    shown = []
    for k, output in enumerate(net.outputs[: s.n_outputs]):
        low = min(float(effect.effect[:, k].min()) for _, effect in found)
        high = max(float(effect.effect[:, k].max()) for _, effect in found)
        axis = f"mean {quantity(u)}"
        drawn = [(once(name(effect.feature, 40), k), g, *_picture(effect, k, low, high, axis)) for g, effect in found]
        shown.append((name(output), drawn))
    of = (
        f"all {plural(rows, 'row')}"
        if rows == u.n_rows
        else f"{count(rows)} of the {plural(u.n_rows, 'row')}, evenly spaced"
    )
    ends = (
        f"Curves run from the mean of the {s.least} lowest values to that of the {s.least} highest, and their lines join places "
        f"between which {s.least} kinks or more lie, so that no single row shows."
        if s.least > 1 and net.n_features > 1
        else ""
    )
    content = EffectsContent(shown, n_groups, kinks, of, quantity(u), ends)
    limits = [] if rows == u.n_rows else [Limitation(f"Mean decisions along features are those of {of}.", "effects")]
    facts = {
        "outputs": list(net.outputs[: s.n_outputs]),
        "effects": [{"column": effect.feature, "curves": _curves(effect, s.n_outputs)} for _, effect in found],
    }
    return Part("effects", _HEADING, content, None, facts, _widest(s, found), limits)


def _found(s: Subject, order: Sequence[int], rows: int) -> tuple[list[tuple[int, Effect]], int]:
    """Return the effects of the most important columns that vary over the rows, each with its column; kinks of all curves."""
    features = s.net.features
    total = s.importance.share.sum(axis=0)
    out: list[tuple[int, Effect]] = []
    kinks = 0
    for g in order:
        column, indices = features.groups[g]
        if len(out) == _FEATURES:
            break
        if not total[list(indices)].any():
            continue
        values = [j for j in indices if features.items[j].kind == "value"]
        low = high = None
        if values and s.least > 1:
            x = s.u.sample.x[:, values[0]]
            low, high = end(x, s.least, highest=False), end(x, s.least, highest=True)
            if not low < high:  # all but a few rows have one value
                continue
        try:
            effect = partial_dependence(
                s.u, None, indices[0] if len(indices) == 1 else column, low=low, high=high, max_rows=rows
            )
        except DataError:  # the rows taken all have one value there
            continue
        kinks += 0 if effect.levels else max(len(effect.values) - 2, 0)
        out.append((g, _blurred(effect, s.least)))
    return out, kinks


def _blurred(effect: Effect, least: int) -> Effect:
    """Return a curve without the places of its kinks, of which each is where one row makes a neuron switch.

    Notes
    -----
    It has the same values at the means of groups of `least` consecutive kinks or more. As a kink lies in each piece between
    two of them, no slope and no kink of the exact curve can be had from it. The kinks of a single feature are the network's.
    """
    if least == 1 or effect.levels or effect.network.n_features == 1:
        return effect
    inside = effect.values[1:-1]
    groups = np.array_split(inside, max(1, min(len(inside) // least, 2 * _points(effect) - 2))) if len(inside) else []
    places = [float(group[0] + (group - group[0]).mean()) for group in groups]
    at = np.unique(np.array([effect.values[0], *places, effect.values[-1]]))
    curves = [np.interp(at, effect.values, effect.effect[:, k]) for k in range(effect.effect.shape[1])]
    return replace(effect, values=at, effect=np.stack(curves, axis=1))


def _picture(effect: Effect, k: int, low: float, high: float, axis: str) -> tuple[Markup, str]:
    """Return the picture of an effect, and what it leaves out."""
    if effect.levels:
        kept = np.sort(np.argsort(-effect.distribution, kind="stable")[:_LEVELS])
        names = [name(effect.levels[i], 22) for i in kept]
        left = len(effect.levels) - len(kept)
        words = f"the {len(kept)} most frequent of {count(len(effect.levels))} levels" if left else ""
        return pictures.levels(names, effect.effect[kept, k], effect.distribution[kept], (low, high), axis), words
    values, curve = _thinned(effect.values, effect.effect[:, k], _points(effect))
    return pictures.effect(values, curve, effect.distribution, (low, high), axis), ""


def _curves(effect: Effect, n_outputs: int) -> list[dict[str, object]]:
    """Return values and mean decisions of each output, as they are drawn."""
    if effect.levels:
        return [{"value": plain(effect.levels), "mean": plain(effect.effect[:, k])} for k in range(n_outputs)]
    drawn = [_thinned(effect.values, effect.effect[:, k], _points(effect)) for k in range(n_outputs)]
    return [{"value": plain(values), "mean": plain(curve)} for values, curve in drawn]


def _widest(s: Subject, found: list[tuple[int, Effect]]) -> list[Finding]:
    """Return which column moves the mean decision furthest."""
    k, effect = max(
        ((k, effect) for k in range(s.n_outputs) for _, effect in found),
        key=lambda one: np.ptp(one[1].effect[:, one[0]]),
    )
    curve = effect.effect[:, k]
    low, high = int(curve.argmin()), int(curve.argmax())
    if effect.levels:
        places = [name(effect.levels[i]).short for i in (low, high)]
    else:
        places = [number(effect.values[i], 3) for i in (low, high)]
    of = f" of output {name(s.net.outputs[k]).short}" if s.net.n_outputs > 1 else ""
    text = (
        f"Set to each of its values in turn, {name(effect.feature).short} moves the mean {quantity(s.u)}{of} furthest: from "
        f"{number(curve[low], 3)} at {places[0]} to {number(curve[high], 3)} at {places[1]}."
    )
    return [Finding(0.35, text, "effects")]


def _points(effect: Effect) -> int:
    return _POINTS if effect.effect.shape[1] <= 2 else _FEWER


def _thinned(values: Floats, curve: Floats, points: int) -> tuple[Floats, Floats]:
    """Return a curve at about twice so many places: evenly spaced ones, and those where its slope changes most."""
    if len(values) <= 2 * points:
        return values, curve
    kinks = np.abs(np.diff(np.diff(curve) / np.diff(values)))
    largest = values[1 + np.argsort(-kinks, kind="stable")[:points]]
    at = np.unique(np.concatenate([np.linspace(values[0], values[-1], points), largest]))
    return at, np.interp(at, values, curve)
