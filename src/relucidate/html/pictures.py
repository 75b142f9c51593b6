"""Pictures as SVG text: drawn to be read at the width of a telephone, coloured by the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from relucidate.layers import Floats
from relucidate.words import Name, count, percent, plural, power

WIDTH = 400  # in user units; the page shows it 340 to 500 pixels wide
_CHARACTER = 6.9  # average width at the font size of 12, of the widest of the page's fonts
_POINTS = 160  # of a curve
_Rectangle: TypeAlias = tuple[float, float, float, float]


def cumulative(shares: Floats) -> Markup:
    """Return the share of rows that the largest regions hold, by their number on a logarithmic axis.

    Parameters
    ----------
    shares : (R,) of each region, R at least 2.
    """
    total = np.minimum(np.cumsum(np.sort(shares)[::-1]), 1.0)
    total[-1] = 1.0
    n = len(total)
    box = _Box(left=46, top=26, width=WIDTH - 46 - 18, height=210)
    top = math.log10(n)
    at = np.unique(np.round(np.geomspace(1, n, _POINTS)).astype(np.int64))
    points = [(box.x(math.log10(k) / top), box.y(total[k - 1])) for k in at]
    out = [*_percent_grid(box), *_log_ticks(box, n)]
    out.append(_axis_title(box, "largest regions, counted (logarithmic)"))
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    out.append(f'<polyline class="line" points="{line}"/>')
    out.extend(_marks(box, total, top))
    text = ", ".join(f"{percent(total[k - 1])} in {plural(k, 'region')}" for k in _key_counts(total))
    return _svg(box.bottom + 42, f"Share of rows in the largest regions: {text}.", out)


def _key_counts(total: Floats) -> list[int]:
    """Return how many regions hold 50, 80 and 95 % of the rows, and all of them; each number once."""
    counts = [int(np.searchsorted(total, level - 1e-9)) + 1 for level in (0.5, 0.8, 0.95)]
    return sorted({min(k, len(total)) for k in (*counts, len(total))})


def _marks(box: _Box, total: Floats, top: float) -> Iterator[str]:
    """Draw the key points, with labels where they fit: a rising curve leaves the upper left and the lower right."""
    label = f"all {count(len(total))}: 100 %"
    yield f'<circle class="dot" cx="{box.right:.1f}" cy="{box.top}" r="3.5"/>'
    yield f'<text class="halo end" x="{box.right + 6:.1f}" y="{box.top - 12}">{label}</text>'
    taken = [_spot(box.right + 6 - _CHARACTER * len(label), box.top - 12, label)]
    for k in _key_counts(total)[:-1]:
        x, y = box.x(math.log10(k) / top), box.y(total[k - 1])
        yield f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>'
        label = f"{plural(k, 'region')}: {percent(total[k - 1], 0)}"
        width = _CHARACTER * len(label)
        for style, at, base in [("halo end", x - 8, y - 1), *(("halo", x + 9, y + 16 + 15 * i) for i in range(5))]:
            spot = _spot(at - width if "end" in style else at, base, label)
            inside = spot[0] > box.left and spot[2] <= WIDTH and spot[3] < box.bottom
            if inside and not any(_overlap(spot, other) for other in taken):
                taken.append(spot)
                yield f'<text class="{style}" x="{at:.1f}" y="{base:.1f}">{escape(label)}</text>'
                break


def _spot(left: float, base: float, label: str) -> _Rectangle:
    """Return the rectangle (left, top, right, bottom) that a label fills."""
    return (left, base - 11, left + _CHARACTER * len(label), base + 3)


def _overlap(a: _Rectangle, b: _Rectangle) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


SIZES = ((1, 1), (2, 9), (10, 29), (30, 99), (100, None))


def sizes(counts: NDArray[np.int64], weights: Floats) -> tuple[Markup, list[tuple[str, int, float, int, float]]]:
    """Return how many regions, and how many rows, are in regions of 1, 2–9, 10–29, 30–99 and 100 rows or more.

    Parameters
    ----------
    counts : (R,) rows of each region. weights : (R,) their share, by weight.

    Returns
    -------
    The picture, and its numbers: (label, regions, share of regions, rows, share of rows) per size.
    """
    table = []
    for low, high in SIZES:
        inside = (counts >= low) & (counts <= (math.inf if high is None else high))
        label = "1 row" if high == 1 else f"{low}–{high} rows" if high else f"{low} rows or more"
        rows = int(counts[inside].sum())
        table.append((label, int(inside.sum()), float(inside.mean()), rows, float(weights[inside].sum())))
    box = _Box(left=8, top=24, width=WIDTH - 8 - 56, height=len(table) * 46)
    out = [*_legend(8, 10, (("of regions", "bar-regions"), ("of rows", "bar-rows"))), *_percent_columns(box)]
    for i, (label, n_regions, of_regions, n_rows, of_rows) in enumerate(table):
        y = box.top + 46 * i
        numbers = "none" if n_regions == 0 else f"{plural(n_regions, 'region')} with {plural(n_rows, 'row')}"
        label = f'<tspan class="strong">{escape(label)}</tspan><tspan class="quiet" dx="7">{numbers}</tspan>'
        out.append(f'<text class="halo" x="{box.left}" y="{y + 13}">{label}</text>')
        for j, (share, style) in enumerate(((of_regions, "bar-regions"), (of_rows, "bar-rows"))):
            if n_regions:
                top, end = y + 18 + 13 * j, box.left + box.width * share + 5
                out.append(_bar(box.left, top, box.width * share, 11, style))
                out.append(f'<text class="halo small" x="{end:.1f}" y="{top + 9.5}">{percent(share)}</text>')
    spoken = "; ".join(f"{label}: {count(a)} regions with {count(b)} rows" for label, a, _, b, _ in table)
    return _svg(box.bottom + 40, f"Regions by size. {spoken}.", out), table


def importance(
    names: Sequence[Name], shares: Sequence[float], rest: tuple[int, float] | None, columns: Sequence[int]
) -> Markup:
    """Return a bar per feature.

    Parameters
    ----------
    names, shares : of the features drawn, largest first; shares of all features add to 1.
    rest : (number of the features that are not drawn, their joint share), or None.
    columns : that each belongs to, so that the page can mark them.
    """
    longest = max(len(n.short) for n in names)
    left = min(max(60, round(_CHARACTER * longest) + 12), 190)
    box = _Box(left=left, top=6, width=WIDTH - left - 54, height=21 * len(names))
    reach = _round_up(max(shares))
    out = list(_share_columns(box, reach))
    for i, (feature, share, column) in enumerate(zip(names, shares, columns, strict=True)):
        y = box.top + 21 * i
        hover = f"<title>{escape(feature.full)}</title>" if feature.full else ""
        mark = f'data-feature="{column}"'
        out.append(
            f'<text class="end isolate" {mark} x="{left - 8}" y="{y + 14.5}">{escape(feature.short)}{hover}</text>'
        )
        width = box.width * share / reach
        out.append(_bar(left, y + 4, width, 13, "bar-rows").replace("<rect", f"<rect {mark}", 1))
        out.append(f'<text class="halo" x="{left + width + 6:.1f}" y="{y + 14.5}">{percent(share)}</text>')
    out.append(_axis_title(box, "share of importance"))
    spoken = ", ".join(f"{feature.short} {percent(share)}" for feature, share in zip(names, shares, strict=True))
    height = box.bottom + 42
    if rest is not None:
        text = f"The {plural(rest[0], 'other feature')} have {percent(rest[1])} together."
        out.append(f'<text class="small" x="{8}" y="{height + 12}">{text}</text>')
        spoken, height = f"{spoken}. {text[:-1]}", height + 20
    return _svg(height, f"Importance of features: {spoken}.", out)


_EFFECT_HEIGHT = 150
_STRIP = 26  # height of a distribution below a curve


def effect(values: Floats, curve: Floats, quantiles: Floats, reach: tuple[float, float], axis: str) -> Markup:
    """Return a mean decision along a feature, and the feature's distribution below it.

    Parameters
    ----------
    values, curve : (m,) of the feature, and the mean there. quantiles : evenly spaced, of the feature.
    reach : lowest and highest value of the vertical axis. axis : what it shows.
    """
    box, ticks = _effect_box(reach)
    low, high = float(values[0]), float(values[-1])
    out = [f'<text class="tick" x="4" y="10">{escape(axis)}</text>', *_value_lines(box, ticks, reach)]
    edges = np.linspace(low, high, 41)
    share = np.histogram(np.clip(quantiles, low, high), edges)[0]
    floor = box.bottom + _STRIP + 6
    for i, s in enumerate(share / share.max()):
        x, width = box.x(i / 40), box.width / 40
        out.append(_rect(x, floor - _STRIP * s, width, _STRIP * s, "band"))
    for i, value in enumerate(_round_ticks(low, high, 4)):
        x = box.x((value - low) / (high - low))
        anchor = "middle" if box.left + 14 < x < box.right - 14 or i else ""
        out.append(f'<text class="tick {anchor}" x="{x:.1f}" y="{floor + 15:.1f}">{_tick(value)}</text>')
    points = " ".join(
        f"{box.x((v - low) / (high - low)):.1f},{box.y(_share(y, reach)):.1f}"
        for v, y in zip(values, curve, strict=True)
    )
    out.append(f'<polyline class="line" points="{points}"/>')
    spoken = f"Mean decision {_tick(curve[0])} at {_tick(low)}, {_tick(curve[-1])} at {_tick(high)}"
    return _svg(floor + 20, spoken, out)


def levels(names: Sequence[Name], means: Floats, shares: Floats, reach: tuple[float, float], axis: str) -> Markup:
    """Return the mean decision at each level of a category, and how many rows have it. `axis` : what is shown."""
    left = min(max(40, round(_CHARACTER * max(len(n.short) for n in names)) + 12), 170)
    box = _Box(left=left, top=22, width=WIDTH - left - 62, height=21 * len(names))
    out = [
        f'<text class="tick" x="4" y="10">{escape(axis)}</text>',
        f'<text class="tick end" x="{WIDTH - 4}" y="10">share of the rows</text>',
    ]
    for value in _round_ticks(*reach, 4):
        x = box.x(_share(value, reach))
        out.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{box.top}" y2="{box.bottom}"/>')
        out.append(f'<text class="tick middle" x="{x:.1f}" y="{box.bottom + 16}">{_tick(value)}</text>')
    for i, (level, mean, share) in enumerate(zip(names, means, shares, strict=True)):
        y = box.top + 21 * i + 10.5
        hover = f"<title>{escape(level.full)}</title>" if level.full else ""
        out.append(f'<text class="end isolate" x="{box.left - 8}" y="{y + 4}">{escape(level.short)}{hover}</text>')
        out.append(f'<circle class="dot" cx="{box.x(_share(mean, reach)):.1f}" cy="{y}" r="4"/>')
        out.append(f'<text class="small" x="{box.right + 8}" y="{y + 4}">{percent(share)}</text>')
    spoken = ", ".join(f"{level.short} {_tick(mean)}" for level, mean in zip(names, means, strict=True))
    return _svg(box.bottom + 22, f"Mean decision by level: {spoken}.", out)


def _effect_box(reach: tuple[float, float]) -> tuple[_Box, list[float]]:
    ticks = _round_ticks(*reach, 4)
    left = 14 + round(_CHARACTER * max(len(_tick(value)) for value in ticks))
    return _Box(left=left, top=22, width=WIDTH - left - 14, height=_EFFECT_HEIGHT), ticks


def _value_lines(box: _Box, ticks: Sequence[float], reach: tuple[float, float]) -> Iterator[str]:
    for value in ticks:
        y = box.y(_share(value, reach))
        yield f'<line class="grid" x1="{box.left}" x2="{box.right}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="tick end" x="{box.left - 7}" y="{y + 4:.1f}">{_tick(value)}</text>'


def _share(value: float, reach: tuple[float, float]) -> float:
    low, high = reach
    return (float(value) - low) / (high - low) if high > low else 0.5


def _round_ticks(low: float, high: float, most: int) -> list[float]:
    """Return at most `most` + 1 round numbers from `low` to `high`; the middle if there is none between."""
    from matplotlib.ticker import MaxNLocator

    found = MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high) if high > low else np.array([low])
    inside = [float(v) for v in found if low <= v <= high]
    return inside or [(low + high) / 2]


def _tick(value: float) -> str:
    text = f"{value:,.4g}"
    if "e" in text:
        text = f"{value:,.0f}" if 1 <= abs(value) < 1e7 else power(value)
    return text.replace("-", "\N{MINUS SIGN}")


def _rect(x: float, y: float, width: float, height: float, style: str) -> str:
    return f'<rect class="{style}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"/>'


# ---------------------------------------------------------------- parts


class _Box:
    """The rectangle that data are drawn in; places are shares of it from its lower left corner."""

    def __init__(self, left: float, top: float, width: float, height: float) -> None:
        self.left, self.top, self.width, self.height = left, top, width, height
        self.right, self.bottom = left + width, top + height

    def x(self, share: float) -> float:
        return self.left + share * self.width

    def y(self, share: float) -> float:
        return self.bottom - share * self.height


def _svg(height: float, spoken: str, parts: Sequence[str]) -> Markup:
    body = "\n".join(parts)
    head = f'<svg class="picture" viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(spoken)}">'
    return Markup(f"{head}\n{body}\n</svg>")  # every part is a number or was escaped


def _bar(x: float, y: float, width: float, height: float, style: str) -> str:
    # what is there can be seen, however little
    drawn = max(width, 1.0) if width > 0 else 0.0
    return f'<rect class="{style}" x="{x:.1f}" y="{y:.1f}" width="{drawn:.1f}" height="{height}"/>'


def _percent_grid(box: _Box) -> Iterator[str]:
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = box.y(tick)
        yield f'<line class="grid" x1="{box.left}" x2="{box.right}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="tick end" x="{box.left - 7}" y="{y + 4:.1f}">{tick:.0%}</text>'


def _percent_columns(box: _Box) -> Iterator[str]:
    yield from _share_columns(box, 1.0)
    yield _axis_title(box, "share")


def _share_columns(box: _Box, reach: float) -> Iterator[str]:
    """Draw vertical lines at shares from 0 to `reach`, with their percentage below."""
    for i in range(5):
        x = box.x(i / 4)
        value = 100 * reach * i / 4
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{box.top}" y2="{box.bottom}"/>'
        yield f'<text class="tick middle" x="{x:.1f}" y="{box.bottom + 16}">{value:g}%</text>'


def _log_ticks(box: _Box, n: int) -> Iterator[str]:
    top = math.log10(n)
    ticks = [10**e for e in range(int(top) + 1)]
    if len(ticks) < 3:
        ticks = [m * t for t in ticks for m in (1, 2, 5) if m * t <= n]
    for tick in ticks:
        x = box.x(math.log10(tick) / top)
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{box.top}" y2="{box.bottom}"/>'
        yield f'<text class="tick middle" x="{x:.1f}" y="{box.bottom + 16}">{count(tick)}</text>'


def _axis_title(box: _Box, text: str) -> str:
    return f'<text class="tick middle" x="{(box.left + box.right) / 2:.1f}" y="{box.bottom + 34}">{escape(text)}</text>'


def _legend(x: float, y: float, items: Sequence[tuple[str, str]]) -> Iterator[str]:
    for text, style in items:
        yield f'<rect class="{style}" x="{x}" y="{y - 9}" width="10" height="10"/>'
        yield f'<text class="small" x="{x + 15}" y="{y}">{escape(text)}</text>'
        x += 15 + _CHARACTER * len(text) + 18


def _round_up(share: float) -> float:
    """Return the next share whose quarters are round."""
    for reach in (0.004, 0.008, 0.02, 0.04, 0.08, 0.12, 0.2, 0.4, 0.6, 0.8, 1.0):
        if share <= reach + 1e-9:
            return reach
    return 1.0
