"""Pictures of coefficients as SVG text: their spread over the rows, and how they go along a feature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from relucidate.html.pictures import (
    _CHARACTER,
    WIDTH,
    _axis_title,
    _Box,
    _rect,
    _round_ticks,
    _share,
    _svg,
    _tick,
    _value_lines,
)
from relucidate.layers import Floats
from relucidate.words import Name, plural

_ROW = 21  # height of a strip
_HEIGHT = 170  # of a profile
_LARGEST, _SMALLEST = 7.0, 1.6  # radius of a bubble


def strips(names: Sequence[Name], columns: Sequence[int], quantiles: Floats, axis: str) -> Markup:
    """Return a strip per feature: from the 5 % to the 95 % quantile a line, from the 25 % to the 75 % a box, the median in it.

    Parameters
    ----------
    names, columns : of the features drawn: text, and the column that each belongs to.
    quantiles : (f, 5) of the coefficients over the rows, comparable between features. axis : what they are.
    """
    longest = max(len(n.short) for n in names)
    left = min(max(60, round(_CHARACTER * longest) + 12), 190)
    box = _Box(left=left, top=6, width=WIDTH - left - 16, height=_ROW * len(names))
    reach = _around_zero(quantiles)
    out = []
    for value in _round_ticks(*reach, 4):
        x = box.x(_share(value, reach))
        out.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{box.top}" y2="{box.bottom}"/>')
        out.append(f'<text class="tick middle" x="{x:.1f}" y="{box.bottom + 16}">{_tick(value)}</text>')
    zero = box.x(_share(0, reach))
    out.append(f'<line class="axis" x1="{zero:.1f}" x2="{zero:.1f}" y1="{box.top}" y2="{box.bottom}"/>')
    for i, (feature, column, found) in enumerate(zip(names, columns, quantiles, strict=True)):
        y = box.top + _ROW * i
        a, b, c, d, e = (box.x(_share(value, reach)) for value in found)
        hover = f"<title>{escape(feature.full)}</title>" if feature.full else ""
        out.append(
            f'<text class="end isolate" data-feature="{column}" x="{left - 8}" y="{y + 14.5}">'
            f"{escape(feature.short)}{hover}</text>"
        )
        out.append(f'<line class="whisker" x1="{a:.1f}" x2="{e:.1f}" y1="{y + 10.5}" y2="{y + 10.5}"/>')
        style = "bar-rows" if found[2] >= 0 else "bar-regions"
        width = max(d - b, 1.0)
        out.append(
            f'<rect class="{style}" data-feature="{column}" x="{b:.1f}" y="{y + 4}" width="{width:.1f}" height="13"/>'
        )
        out.append(f'<line class="median" x1="{c:.1f}" x2="{c:.1f}" y1="{y + 3}" y2="{y + 18}"/>')
    out.append(_axis_title(box, axis))
    spoken = ", ".join(
        f"{feature.short} {_tick(found[2])} ({_tick(found[0])} to {_tick(found[4])})"
        for feature, found in zip(names, quantiles, strict=True)
    )
    return _svg(box.bottom + 42, f"Median of the coefficients, and 5 % to 95 % of the rows: {spoken}.", out)


@dataclass(frozen=True, eq=False)
class Along:
    """Coefficients of one feature along its range.

    Parameters
    ----------
    feature : its name, short. region, count : (k,) the regions drawn. mean, coef, size : (k,) of each: mean of the feature,
        coefficient, share of the rows.
    at, band : (m,) mean of the feature in bins of rows, (3, m) quantiles of the rows' coefficients there.
    """

    feature: str
    region: NDArray[np.intp]
    count: NDArray[np.int64]
    mean: Floats
    coef: Floats
    size: Floats
    at: Floats
    band: Floats


def along(found: Along, axis: str) -> Markup:
    """Return coefficients of a feature against its value: a bubble per region, the middle of all rows as a band.

    Parameters
    ----------
    axis : what a coefficient is per.
    """
    reach = _around_zero(np.r_[found.coef, found.band.ravel()])
    ticks = _round_ticks(*reach, 4)
    left = 14 + round(_CHARACTER * max(len(_tick(value)) for value in ticks))
    box = _Box(left=left, top=22, width=WIDTH - left - 14, height=_HEIGHT)
    places = np.r_[found.mean, found.at]
    low, high = float(places.min()), float(places.max())
    room = 0.04 * (high - low) or 0.5
    wide = (low - room, high + room)
    out = [f'<text class="tick" x="4" y="10">{escape(axis)}</text>', *_value_lines(box, ticks, reach)]
    for value in _round_ticks(low, high, 4):
        x = box.x(_share(value, wide))
        out.append(f'<text class="tick middle" x="{x:.1f}" y="{box.bottom + 16:.1f}">{_tick(value)}</text>')
    zero = box.y(_share(0, reach))
    out.append(f'<line class="axis" x1="{box.left}" x2="{box.right}" y1="{zero:.1f}" y2="{zero:.1f}"/>')
    xs = [box.x(_share(value, wide)) for value in found.at]
    lower, middle, upper = ([box.y(_share(value, reach)) for value in part] for part in found.band)
    if len(xs) == 1:  # all rows have one value, or there are too few for more bins
        out.append(_rect(xs[0] - 6, upper[0], 12, max(lower[0] - upper[0], 1), "band"))
    else:
        edge = [*zip(xs, upper, strict=True), *reversed(list(zip(xs, lower, strict=True)))]
        out.append(f'<polygon class="band" points="{_points(edge)}"/>')
    largest = float(found.size.max()) if len(found.size) else 1.0
    for i, r in enumerate(found.region):
        x, y = box.x(_share(found.mean[i], wide)), box.y(_share(found.coef[i], reach))
        radius = _SMALLEST + (_LARGEST - _SMALLEST) * float(np.sqrt(found.size[i] / largest))
        out.append(
            f'<circle class="bubble" data-region="{r}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}">'
            f"<title>region {r}: {plural(int(found.count[i]), 'row')}</title></circle>"
        )
    if len(xs) > 1:
        out.append(f'<polyline class="line" points="{_points(list(zip(xs, middle, strict=True)))}"/>')
    spoken = (
        f"Coefficient of {found.feature} by its value: median over the rows {_tick(found.band[1, 0])} at "
        f"{_tick(found.at[0])}, {_tick(found.band[1, -1])} at {_tick(found.at[-1])}; {plural(len(found.region), 'region')}"
    )
    return _svg(box.bottom + 22, spoken, out)


def _points(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


def _around_zero(values: Floats) -> tuple[float, float]:
    """Return a range that holds all values and 0, with a little room."""
    low, high = min(float(values.min(initial=0)), 0.0), max(float(values.max(initial=0)), 0.0)
    room = 0.03 * (high - low) or 1.0
    return low - room, high + room
