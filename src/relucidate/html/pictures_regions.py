"""The picture of the regions: how many rows each has, against what the network predicts in it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from relucidate.html.pictures import _CHARACTER, WIDTH, _axis_title, _Box, _round_ticks, _svg, _tick, _value_lines
from relucidate.layers import Floats
from relucidate.words import count, number, plural

MARKS = 200  # regions drawn


def region_marks(
    rows: NDArray[np.int64], means: Floats, reliable: NDArray[np.bool_], overall: float, title: str
) -> Markup | None:
    """Return a mark per region: its rows on a logarithmic axis, its mean prediction upwards; None for fewer than two.

    Parameters
    ----------
    rows, means, reliable : (R,) of the largest regions; those without a mean are not drawn.
    overall : mean prediction of all rows. title : of the upward axis.
    """
    drawn = np.flatnonzero(~np.isnan(means))
    if len(drawn) < 2:
        return None
    low, high = _padded(float(means[drawn].min()), float(means[drawn].max()))
    ticks = _round_ticks(low, high, 5)
    left = 16 + round(_CHARACTER * max(len(_tick(value)) for value in ticks))
    box = _Box(left=left, top=44, width=WIDTH - left - 16, height=230)
    start, end = _decades(int(rows[drawn].min()), int(rows[drawn].max()))

    def y(value: float) -> float:
        return box.y((value - low) / (high - low))

    out = [f'<text class="tick" x="2" y="34">{escape(title)}</text>', *_legend(box)]
    out += _value_lines(box, ticks, (low, high))
    out += _row_ticks(box, start, end)
    out.append(_axis_title(box, "rows of the region (logarithmic)"))
    if low <= overall <= high:
        out.append(
            f'<line class="overall" x1="{box.left}" x2="{box.right}" y1="{y(overall):.1f}" y2="{y(overall):.1f}"/>'
        )
    for r in drawn:
        x = box.x((math.log10(rows[r]) - start) / (end - start))
        style = "region-mark" if reliable[r] else "region-mark doubted"
        said = f"Region {r}: {plural(int(rows[r]), 'row')}, mean prediction {number(float(means[r]))}"
        place = f'cx="{x:.1f}" cy="{y(float(means[r])):.1f}"'
        out.append(f'<circle class="{style}" data-region="{r}" {place} r="4"><title>{said}</title></circle>')
    spoken = (
        f"{count(len(drawn))} regions by their rows, {count(int(rows[drawn].min()))} to {count(int(rows[drawn].max()))}, and "
        f"their mean prediction, {number(float(means[drawn].min()))} to {number(float(means[drawn].max()))}; "
        f"{number(overall)} over all rows. The table lists the same regions."
    )
    return _svg(box.bottom + 42, spoken, out)


def _padded(low: float, high: float) -> tuple[float, float]:
    """Return a reach with room around the outermost marks."""
    room = 0.05 * (high - low) or 0.1 * abs(high) or 1.0
    return low - room, high + room


def _decades(least: int, most: int) -> tuple[float, float]:
    """Return logarithms with room around the outermost marks."""
    low, high = math.log10(least), math.log10(most)
    room = 0.04 * (high - low) or 0.2
    return low - room, high + room


def _row_ticks(box: _Box, start: float, end: float) -> Iterator[str]:
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)):
        ticks = [round(m * 10**e) for e in range(max(0, math.floor(start)), math.ceil(end) + 1) for m in steps]
        ticks = sorted({t for t in ticks if start <= math.log10(t) <= end})
        if len(ticks) >= 3:
            break
    last = -math.inf
    for tick in ticks:
        x, half = box.x((math.log10(tick) - start) / (end - start)), 0.5 * _CHARACTER * len(count(tick))
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{box.top}" y2="{box.bottom}"/>'
        if x - half > last + 6 and x + half < WIDTH:
            yield f'<text class="tick middle" x="{x:.1f}" y="{box.bottom + 16}">{count(tick)}</text>'
            last = x + half


def _legend(box: _Box) -> Iterator[str]:
    items: Sequence[tuple[str, str]] = (("region-mark", "reliable"), ("region-mark doubted", "not reliable"))
    x = 8.0
    for style, words in items:
        yield f'<circle class="{style}" cx="{x:.0f}" cy="9" r="4"/>'
        yield f'<text class="small" x="{x + 9:.0f}" y="13">{words}</text>'
        x += 9 + _CHARACTER * len(words) + 18
    yield f'<line class="overall" x1="{x:.0f}" x2="{x + 20:.0f}" y1="9" y2="9"/>'
    yield f'<text class="small" x="{x + 26:.0f}" y="13">mean of all rows</text>'
