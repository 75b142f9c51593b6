"""Pictures of the chapter on simplification: the curve to pick a number of models from."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from typing import TypeAlias

import numpy as np
from markupsafe import Markup, escape

from relucidate.html import pictures
from relucidate.html.pictures import WIDTH, _axis_title, _Box, _svg
from relucidate.scoring import SCORE_WORDS
from relucidate.simplified import Curve
from relucidate.words import count, fixed, number, plural, power

_Point: TypeAlias = tuple[float, float]


def curve_picture(curve: Curve, offered: Collection[int] = ()) -> Markup:
    """Return the held-out loss by the number of models on a logarithmic axis, with its band and the chosen number.

    Parameters
    ----------
    curve : at least two numbers of models. offered : those that the page can show; a reader picks one by its point.
    """
    box = _Box(left=58, top=30, width=WIDTH - 58 - 18, height=190)
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
    title = f"{SCORE_WORDS.get(curve.measure, curve.measure)} on held-out rows"
    out = [f'<text class="tick" x="2" y="14">{escape(title)}</text>', *_grid(box, ticks), *_model_ticks(box, curve)]
    out.append(f'<polygon class="band" points="{_points([*upper, *reversed(lower)])}"/>')
    out.append(f'<polyline class="line" points="{_points(line)}"/>')
    for k, (x, y) in zip(curve.n_models.tolist(), line, strict=True):
        pick, r = (f' data-pick="{k}"', 4) if k in offered else ("", 2.5)
        out.append(f'<circle class="dot"{pick} cx="{x:.1f}" cy="{y:.1f}" r="{r}"/>')
    chosen = int(np.flatnonzero(curve.n_models == curve.chosen)[0])
    x, y = line[chosen]
    out.append(f'<circle class="chosen" cx="{x:.1f}" cy="{y:.1f}" r="5"/>')
    label = f"{plural(curve.chosen, 'model')}: {_value(float(loss[chosen]), ticks)}"
    left, base = _free_spot(box, (x, y), label, upper, lower)
    out.append(f'<text class="halo strong" x="{left:.1f}" y="{base:.1f}">{escape(label)}</text>')
    out.append(_axis_title(box, "number of linear models (logarithmic)"))
    # larger than what is seen, for a finger
    out += [
        f'<circle class="reach" data-pick="{k}" cx="{x:.1f}" cy="{y:.1f}" r="11"/>'
        for k, (x, y) in zip(curve.n_models.tolist(), line, strict=True)
        if k in offered
    ]
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


_WHISKER = 120  # width of an interval in a table


def whisker(effect: tuple[float, float, float], reach: float) -> Markup:
    """Return an interval as a line with its estimate, between -reach and +reach; what is beyond is cut, and an arrow leads to it.

    Parameters
    ----------
    effect : estimate, lower and upper end.
    """
    half = _WHISKER / 2
    at, low, high = (half + (half - 6) * min(max(v / reach, -1.0), 1.0) for v in effect)
    drawn = f'<path class="axis" d="M{half:g} 0V14"/><path class="simple-interval" d="M{low:.1f} 7H{high:.1f}"/>'
    dot = f'<circle cx="{at:.1f}" cy="7" r="3"/>'
    if abs(effect[0]) > reach:  # an arrow to where it is
        dot = f'<path d="M{at:.1f} 3{"l5 4-5 4z" if effect[0] > 0 else "l-5 4 5 4z"}"/>'
    return Markup(f'<svg class="simple-whisker" viewBox="0 0 {_WHISKER} 14" aria-hidden="true">{drawn}{dot}</svg>')
