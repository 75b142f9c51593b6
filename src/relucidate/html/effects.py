"""What the page says of single features: how the mean decision changes with each, exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from relucidate.effects import Effect, partial_dependence
from relucidate.errors import DataError
from relucidate.html import pictures
from relucidate.html.regions import MAX_OUTPUTS, Importance, quantity
from relucidate.html.words import Name, count, name, plural
from relucidate.layers import Floats
from relucidate.unwrapping import Unwrapped

_FEATURES = 6
_ROWS = 5_000
_WEIGHTS = 10**9  # weights times rows: more would take minutes
_LEVELS = 12
_POINTS = 240  # of a curve that has more kinks than can be seen


@dataclass(frozen=True)
class EffectsContent:
    """A picture per feature for each output shown, and what they rest on; or why there are none.

    Parameters
    ----------
    pictures : (output, [(feature, picture)]). n_features : in all. kinks : where their slopes change, in all curves.
    rows : what the means are of, in words. quantity : what a decision is. missing : why there are none, or "".
    """

    pictures: list[tuple[Name, list[tuple[Name, Markup]]]]
    n_features: int
    kinks: int
    rows: str
    quantity: str
    missing: str = ""


def effects(u: Unwrapped, importance: Importance) -> EffectsContent:
    """Return the partial dependence on the columns that matter most, all outputs on one scale each."""
    net = u.network
    rows = min(_ROWS, len(u.sample.row), _WEIGHTS // net.n_parameters)
    n_groups = len(net.features.groups)
    if rows < 1:
        missing = f"They are left out, since a network of {count(net.n_parameters)} weights would take minutes."
        return EffectsContent([], n_groups, 0, "", "", missing)
    found = _found(u, importance, rows)
    shown = []
    for k, output in enumerate(net.outputs[:MAX_OUTPUTS]):
        low = min(float(effect.effect[:, k].min()) for effect in found) if found else 0.0
        high = max(float(effect.effect[:, k].max()) for effect in found) if found else 0.0
        drawn = [(name(effect.feature, 40), _picture(effect, k, low, high)) for effect in found]
        shown.append((name(output), drawn))
    of = (
        f"all {plural(rows, 'row')}"
        if rows == u.n_rows
        else f"{count(rows)} of the {plural(u.n_rows, 'row')}, evenly spaced"
    )
    kinks = sum(max(len(effect.values) - 2, 0) for effect in found if not effect.levels)
    missing = "" if found else "No feature changes over these rows."
    return EffectsContent(shown, n_groups, kinks, of, quantity(u), missing)


def _found(u: Unwrapped, importance: Importance, rows: int) -> list[Effect]:
    """Return the effects of the most important columns that vary over the rows."""
    features = u.network.features
    total = importance.share.sum(axis=0)
    weight = [float(total[list(indices)].sum()) for _, indices in features.groups]
    out: list[Effect] = []
    for g in np.argsort(-np.asarray(weight), kind="stable"):
        column, indices = features.groups[g]
        if len(out) == _FEATURES or weight[g] == 0:
            break
        try:
            effect = partial_dependence(u, None, indices[0] if len(indices) == 1 else column, max_rows=rows)
        except DataError:  # the rows taken all have one value there
            continue
        if len(effect.levels) <= _LEVELS:
            out.append(effect)
    return out


def _picture(effect: Effect, k: int, low: float, high: float) -> Markup:
    if effect.levels:
        return pictures.levels(
            [name(v, 22) for v in effect.levels], effect.effect[:, k], effect.distribution, (low, high)
        )
    values, curve = _thinned(effect.values, effect.effect[:, k])
    return pictures.effect(values, curve, effect.distribution, (low, high))


def _thinned(values: Floats, curve: Floats) -> tuple[Floats, Floats]:
    if len(values) <= 2 * _POINTS:
        return values, curve
    kinks = np.abs(np.diff(np.diff(curve) / np.diff(values)))
    largest = values[1 + np.argsort(-kinks, kind="stable")[:_POINTS]]
    at = np.unique(np.concatenate([np.linspace(values[0], values[-1], _POINTS), largest]))
    return at, np.interp(at, values, curve)
