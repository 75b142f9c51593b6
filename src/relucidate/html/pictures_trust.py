"""Pictures of how far a network can be trusted: bars of reasons, scores with intervals, predictions against responses."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from relucidate.html.deciles import Deciles
from relucidate.html.pictures import (
    _CHARACTER,
    WIDTH,
    _axis_title,
    _bar,
    _Box,
    _legend,
    _percent_columns,
    _round_ticks,
    _svg,
    _tick,
)
from relucidate.layers import Floats
from relucidate.words import count, percent

Limits = tuple[float, float]


def reasons(rows: Sequence[tuple[str, int, float, int, float]]) -> Markup:
    """Return two bars per reason: its share of the regions, and of the rows.

    Parameters
    ----------
    rows : (label, regions, share of regions, rows, share of rows)
    """
    longest = max(len(f"{percent(v)} · {count(n)}") for _, a, b, c, d in rows for n, v in ((a, b), (c, d)))
    box = _Box(left=8, top=24, width=WIDTH - 16 - 0.9 * _CHARACTER * longest, height=len(rows) * 46)
    out = [*_legend(8, 10, (("of regions", "bar-regions"), ("of rows", "bar-rows"))), *_percent_columns(box)]
    for i, (label, n_regions, of_regions, n_rows, of_rows) in enumerate(rows):
        y = box.top + 46 * i
        out.append(f'<text class="halo strong" x="{box.left}" y="{y + 13}">{escape(label)}</text>')
        pairs = ((n_regions, of_regions, "bar-regions"), (n_rows, of_rows, "bar-rows"))
        for j, (n, share, style) in enumerate(pairs):
            top, end = y + 18 + 13 * j, box.left + box.width * min(share, 1.0) + 5
            out.append(_bar(box.left, top, box.width * min(share, 1.0), 11, style))
            out.append(f'<text class="halo small" x="{end:.1f}" y="{top + 9.5}">{percent(share)} · {count(n)}</text>')
    spoken = "; ".join(f"{label}: {count(a)} regions with {percent(s)} of the rows" for label, a, _, _, s in rows)
    return _svg(box.bottom + 40, f"Regions by the first reason for doubt. {spoken}.", out)


# ---------------------------------------------------------------- scores with intervals


@dataclass(frozen=True)
class Mark:
    """A value with its interval, which may be unknown; `kind` is its shape and, by the style sheet, its colour."""

    kind: Literal["own", "other", "tick"]
    value: float
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True)
class Line:
    """A line of a forest: a label, quiet text below it, what it is linked to, marks."""

    label: str
    below: str
    marks: Sequence[Mark]
    region: int | None = None
    full: str = ""


def reach(values: Sequence[Mark], least: float = -math.inf, most: float = math.inf) -> Limits:
    """Return the ends of an axis that holds all values, and their intervals as far as these do not dwarf the values."""
    at = np.array([m.value for m in values if math.isfinite(m.value)])
    if not len(at):
        return (0.0, 1.0)
    low, high = float(at.min()), float(at.max())
    ends = [v for m in values for v in (m.low, m.high) if math.isfinite(v)]
    room = (high - low) or abs(high) / 2 or 0.5
    low, high = max(min([low, *ends]), low - room), min(max([high, *ends]), high + room)
    pad = 0.03 * ((high - low) or abs(high) or 1.0)
    return max(low - pad, least), min(high + pad, most)


def forest(
    lines: Sequence[Line],
    limits: Limits,
    axis: str,
    legend: Sequence[tuple[str, str]],
    spoken: str,
    *,
    shares: bool = False,
    reference: float | None = None,
) -> Markup:
    """Return values with intervals, a line each.

    Parameters
    ----------
    limits : of the axis, whose title is `axis`. legend : (text, kind of mark). spoken : what the picture says.
    shares : whether ticks are percentages. reference : where a dashed line stands.
    """
    longest = max(max(len(line.label), 0.92 * len(line.below)) for line in lines)
    left = min(max(60, round(_CHARACTER * longest) + 14), 190)
    intervals = max(sum(m.kind != "tick" for m in line.marks) for line in lines)
    step = 30 if intervals < 2 else 34
    top = 8 + 18 * len(legend)
    box = _Box(left=left, top=top, width=WIDTH - left - 18, height=step * len(lines))
    out: list[str] = []
    for i, (text, kind) in enumerate(legend):
        y = 8.0 + 18 * i
        out.extend(_shape(kind, 16.0, y, ""))
        out.append(f'<text class="small" x="30" y="{y + 4}">{escape(text)}</text>')
    out.extend(_columns(box, limits, shares))
    if reference is not None and limits[0] <= reference <= limits[1]:
        x = box.x(_part(reference, limits))
        out.append(f'<line class="trust-reference" x1="{x:.1f}" x2="{x:.1f}" y1="{box.top - 2}" y2="{box.bottom}"/>')
    for i, line in enumerate(lines):
        link = "" if line.region is None else f' data-region="{line.region}"'
        y = box.top + step * (i + 0.5)
        hover = f"<title>{escape(line.full)}</title>" if line.full else ""
        out.append(
            f'<text class="end isolate"{link} x="{left - 9}" y="{y - 1:.1f}">{escape(line.label)}{hover}</text>'
            f'<text class="quiet end" x="{left - 9}" y="{y + 12:.1f}">{escape(line.below)}</text>'
        )
        drawn = [m for m in line.marks if math.isfinite(m.value)]
        spread = [m for m in drawn if m.kind != "tick"]
        for mark in drawn:
            offset = 0.0 if mark.kind == "tick" or intervals < 2 else (-5.5 if mark.kind == "own" else 5.5)
            out.extend(_interval(box, limits, mark, y + offset))
            out.extend(_shape(mark.kind, box.x(_part(mark.value, limits)), y + offset, link))
        if not spread:
            out.append(f'<text class="quiet" x="{box.left + 4}" y="{y + 4:.1f}">no score of its own</text>')
    out.append(_axis_title(box, axis))
    return _svg(box.bottom + 42, spoken, out)


def _part(value: float, limits: Limits) -> float:
    low, high = limits
    return min(max((value - low) / (high - low), 0.0), 1.0) if high > low else 0.5


def _columns(box: _Box, limits: Limits, shares: bool) -> Iterator[str]:
    ticks = [t for t in _round_ticks(*limits, 4) if limits[0] <= t <= limits[1]]
    for value in ticks:
        x = box.x(_part(value, limits))
        text = f"{100 * value:.4g}%".replace("-", "\N{MINUS SIGN}") if shares else _tick(value)
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{box.top}" y2="{box.bottom}"/>'
        yield f'<text class="tick middle" x="{x:.1f}" y="{box.bottom + 16}">{text}</text>'


def _interval(box: _Box, limits: Limits, mark: Mark, y: float) -> Iterator[str]:
    """Draw an interval as a line; an arrow where it goes on beyond the axis."""
    if not (math.isfinite(mark.low) and math.isfinite(mark.high)):
        return
    a, b = (box.x(_part(v, limits)) for v in (mark.low, mark.high))
    yield f'<line class="trust-interval trust-{mark.kind}" x1="{a:.1f}" x2="{b:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
    beyond = 1e-9 * (limits[1] - limits[0])
    if mark.low < limits[0] - beyond:
        yield f'<path class="trust-arrow trust-{mark.kind}" d="M{a:.1f} {y - 4:.1f}L{a - 6:.1f} {y:.1f}L{a:.1f} {y + 4:.1f}Z"/>'
    if mark.high > limits[1] + beyond:
        yield f'<path class="trust-arrow trust-{mark.kind}" d="M{b:.1f} {y - 4:.1f}L{b + 6:.1f} {y:.1f}L{b:.1f} {y + 4:.1f}Z"/>'


def _shape(kind: str, x: float, y: float, link: str) -> Iterator[str]:
    if kind == "own":
        yield f'<circle class="trust-mark trust-own"{link} cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
    elif kind == "other":
        points = f"{x:.1f},{y - 5:.1f} {x + 5:.1f},{y:.1f} {x:.1f},{y + 5:.1f} {x - 5:.1f},{y:.1f}"
        yield f'<polygon class="trust-mark trust-other"{link} points="{points}"/>'
    elif kind == "reference":
        yield f'<line class="trust-reference" x1="{x - 8:.1f}" x2="{x + 8:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
    else:
        yield f'<rect class="trust-mark trust-tick"{link} x="{x - 1.5:.1f}" y="{y - 8:.1f}" width="3" height="16"/>'


# ---------------------------------------------------------------- predictions and responses


def calibration(bins: Deciles, shares: bool, across: str, along: str) -> Markup:
    """Return the mean response over the mean prediction of each bin, and the line on which both are equal.

    Parameters
    ----------
    bins : two at least. shares : whether both are shares. across, along : titles of the axes.
    """
    marks = [Mark("own", float(v)) for v in bins.predicted]
    marks += [
        Mark("own", float(v), float(a), float(b)) for v, a, b in zip(bins.observed, bins.low, bins.high, strict=True)
    ]
    limits = reach(marks, *((0.0, 1.0) if shares else ()))
    if shares and limits[0] < 0.15 * limits[1]:
        limits = (0.0, limits[1])
    ticks = [t for t in _round_ticks(*limits, 5) if limits[0] <= t <= limits[1]]
    shown = [f"{100 * t:.4g}%" if shares else _tick(t) for t in ticks]
    left = 16 + round(_CHARACTER * max(len(t) for t in shown))
    box = _Box(left=left, top=26, width=WIDTH - left - 20, height=250)
    out = []
    for value, text in zip(ticks, shown, strict=True):
        x, y = box.x(_part(value, limits)), box.y(_part(value, limits))
        out.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{box.top}" y2="{box.bottom}"/>')
        out.append(f'<line class="grid" x1="{box.left}" x2="{box.right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        out.append(f'<text class="tick middle" x="{x:.1f}" y="{box.bottom + 16}">{text}</text>')
        out.append(f'<text class="tick end" x="{box.left - 7}" y="{y + 4:.1f}">{text}</text>')
    out.append(
        f'<line class="trust-reference" x1="{box.left}" x2="{box.right:.1f}" y1="{box.bottom}" y2="{box.top}"/>'
        f'<text class="tick" x="4" y="13">{escape(along)}</text>'
    )
    for predicted, observed, low, high, apart in zip(
        bins.predicted, bins.observed, bins.low, bins.high, bins.apart, strict=True
    ):
        x, y = box.x(_part(predicted, limits)), box.y(_part(observed, limits))
        kind = "other" if apart else "own"
        if math.isfinite(low):
            a, b = box.y(_part(low, limits)), box.y(_part(high, limits))
            out.append(
                f'<line class="trust-interval trust-{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{a:.1f}" y2="{b:.1f}"/>'
            )
        out.extend(_shape(kind, x, y, ""))
    out.append(_axis_title(box, across))
    say = percent if shares else _tick
    pairs = ", ".join(f"{say(p)} and {say(o)}" for p, o in zip(bins.predicted, bins.observed, strict=True))
    return _svg(box.bottom + 42, f"Predicted and observed in {len(bins.count)} bins: {pairs}.", out)


# ---------------------------------------------------------------- growth


def growth(drawn: NDArray[np.int64], expected: Floats) -> Markup:
    """Return how many regions are expected among so many rows; `drawn` ends above 1."""
    n, regions = float(drawn[-1]), float(expected[-1])
    y_ticks = [t for t in _round_ticks(0.0, regions, 4) if t == round(t)]
    left = 16 + round(_CHARACTER * max(len(count(int(t))) for t in y_ticks))
    box = _Box(left=left, top=26, width=WIDTH - left - 24, height=190)
    out = []
    for value in y_ticks:
        y = box.y(value / regions)
        out.append(f'<line class="grid" x1="{box.left}" x2="{box.right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        out.append(f'<text class="tick end" x="{box.left - 7}" y="{y + 4:.1f}">{count(int(value))}</text>')
    for value in [t for t in _round_ticks(0.0, n, 4) if t == round(t)]:
        x = box.x(value / n)
        out.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{box.top}" y2="{box.bottom}"/>')
        out.append(f'<text class="tick middle" x="{x:.1f}" y="{box.bottom + 16}">{count(int(value))}</text>')
    points = " ".join(f"{box.x(m / n):.1f},{box.y(r / regions):.1f}" for m, r in zip(drawn, expected, strict=True))
    out.append(f'<polyline class="line" points="{points}"/>')
    out.append('<text class="tick" x="4" y="13">regions expected</text>')
    out.append(_axis_title(box, "rows drawn"))
    half = float(np.interp(n / 2, drawn, expected))
    spoken = f"Regions expected among the rows: {half:,.0f} among half of them, {count(round(regions))} among all {count(int(n))}"
    return _svg(box.bottom + 42, spoken + ".", out)
