"""Pictures of how other rows differ: shares of regions in both tables, what moved the mean decision, loss by rejection."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape

from relucidate.html.pictures import _CHARACTER, WIDTH, _axis_title, _Box, _round_ticks, _svg, _tick
from relucidate.layers import Floats
from relucidate.words import Name, count, number, percent

_BAR_STEP = 22


@dataclass(frozen=True)
class Share:
    """A region's share of the rows of the table and of the other rows, both above 0."""

    region: int
    table: float
    other: float
    flagged: bool
    said: str


def shares(regions: Sequence[Share]) -> Markup | None:
    """Return a mark per region: its share of the table's rows across, of the other rows upwards; None for fewer than two."""
    if len(regions) < 2:
        return None
    logs = np.log10([[r.table, r.other] for r in regions])
    low, high = float(logs.min()), float(logs.max())
    room = 0.05 * (high - low) or 0.2
    low, high = low - room, high + room
    box = _Box(left=62, top=44, width=WIDTH - 62 - 16, height=250)
    out = [
        *_key(8, "own", "no more than chance"),
        *_key(160, "other", "another share: flagged"),
        '<text class="tick" x="2" y="34">share of the test rows</text>',
    ]
    for tick in _log_shares(low, high):
        x = box.x((math.log10(tick) - low) / (high - low))
        y = box.y((math.log10(tick) - low) / (high - low))
        out.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{box.top}" y2="{box.bottom}"/>')
        out.append(f'<line class="grid" x1="{box.left}" x2="{box.right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        out.append(f'<text class="tick middle" x="{x:.1f}" y="{box.bottom + 16}">{100 * tick:g}%</text>')
        out.append(f'<text class="tick end" x="{box.left - 7}" y="{y + 4:.1f}">{100 * tick:g}%</text>')
    out.append(f'<line class="trust-reference" x1="{box.left}" x2="{box.right}" y1="{box.bottom}" y2="{box.top}"/>')
    for r, (a, b) in zip(regions, (logs - low) / (high - low), strict=True):
        kind = "other" if r.flagged else "own"
        out.append(
            f'<circle class="trust-mark trust-{kind}" data-region="{r.region}" cx="{box.x(a):.1f}" cy="{box.y(b):.1f}" r="3.5">'
            f"<title>{escape(r.said)}</title></circle>"
        )
    out.append(_axis_title(box, "share of the rows of the table (both axes logarithmic)"))
    flagged = sum(r.flagged for r in regions)
    spoken = (
        f"{count(len(regions))} regions by their share of the rows of the table and of the test rows; {count(flagged)} are "
        "flagged. The table below lists those that differ most."
    )
    return _svg(box.bottom + 42, spoken, out)


def _key(x: float, kind: str, text: str) -> Iterator[str]:
    yield f'<circle class="trust-mark trust-{kind}" cx="{x}" cy="10" r="4"/>'
    yield f'<text class="small" x="{x + 10}" y="14">{escape(text)}</text>'


def _log_shares(low: float, high: float) -> list[float]:
    for steps in ((1,), (1, 3), (1, 2, 5)):
        ticks = [m * 10.0**e for e in range(math.floor(low), math.ceil(high) + 1) for m in steps]
        ticks = [t for t in ticks if low <= math.log10(t) <= high]
        if len(ticks) >= 3:
            break
    return ticks


def contributions(bars: Sequence[tuple[Name, float, int | None]], axis: str) -> Markup:
    """Return a bar to the left or to the right of 0 per line.

    Parameters
    ----------
    bars : (name, value, column or None), in order. axis : its title, with the unit.
    """
    longest = max(len(n.short) for n, _, _ in bars)
    left = min(max(60, round(_CHARACTER * longest) + 14), 200)
    box = _Box(left=left, top=6, width=WIDTH - left - 14, height=_BAR_STEP * len(bars))
    values = [value for _, value, _ in bars]
    low, high = min(0.0, *values), max(0.0, *values)
    texts = [("+" if value > 0 else "") + number(value, 3) for value in values]
    # room for the number beside the longest bar on either side of 0
    wide = (_CHARACTER * max(len(t) for t in texts) + 8) / box.width
    before, after = (wide if low < 0 else 0.0), (wide if high > 0 else 0.0)
    unit = ((high - low) or 1.0) / (1 - before - after)
    low, high = low - before * unit, high + after * unit
    if high == low:
        low, high = -1.0, 1.0

    def x(value: float) -> float:
        return box.x((value - low) / (high - low))

    out = []
    for tick in _round_ticks(low, high, 4):
        out.append(f'<line class="grid" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{box.top}" y2="{box.bottom}"/>')
        out.append(f'<text class="tick middle" x="{x(tick):.1f}" y="{box.bottom + 16}">{_tick(tick)}</text>')
    for i, ((label, value, column), text) in enumerate(zip(bars, texts, strict=True)):
        y = box.top + _BAR_STEP * i
        mark = "" if column is None else f' data-feature="{column}"'
        hover = f"<title>{escape(label.full)}</title>" if label.full else ""
        out.append(f'<text class="end isolate"{mark} x="{left - 8}" y="{y + 15}">{escape(label.short)}{hover}</text>')
        start, end = sorted((x(0.0), x(value)))
        style = "neg" if value < 0 else "pos"
        out.append(
            f'<rect class="{style}"{mark} x="{start:.1f}" y="{y + 4}" width="{max(end - start, 0.8):.1f}" height="14"/>'
        )
        at, side = (end + 5, "") if value >= 0 else (start - 5, " end")
        out.append(f'<text class="halo small{side}" x="{at:.1f}" y="{y + 15}">{text}</text>')
    out.append(f'<line class="axis" x1="{x(0.0):.1f}" x2="{x(0.0):.1f}" y1="{box.top}" y2="{box.bottom}"/>')
    out.append(_axis_title(box, axis))
    spoken = ", ".join(f"{label.short} {text}" for (label, _, _), text in zip(bars, texts, strict=True))
    return _svg(box.bottom + 42, f"{axis}: {spoken}.", out)


def rejection(
    share: Floats, loss: Floats, lower: Floats, upper: Floats, overall: float, orders: Sequence[str]
) -> Markup:
    """Return the mean loss of the rows that are left, by the share rejected; the first order is a line with its band.

    Parameters
    ----------
    share : (k,) rejected. loss, lower, upper : (n_orders, k). overall : of all rows. orders : what rows are rejected by.
    """
    top = 8 + 18 * len(orders) + 18
    low = min(float(lower[0].min()), float(loss.min()), overall)
    high = max(float(upper[0].max()), float(loss.max()), overall)
    room = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    low, high = max(low - room, 0.0) if low >= 0 else low - room, high + room
    ticks = _round_ticks(low, high, 5)
    left = 16 + round(_CHARACTER * max(len(_tick(t)) for t in ticks))
    box = _Box(left=left, top=top, width=WIDTH - left - 20, height=200)
    most = float(share[-1])

    def at(a: float, b: float) -> str:
        return f"{box.x(a / most):.1f},{box.y((b - low) / (high - low)):.1f}"

    out = []
    for i, order in enumerate(orders):
        style = "line" if i == 0 else "shift-plain"
        out.append(f'<line class="{style}" x1="4" x2="24" y1="{10 + 18 * i}" y2="{10 + 18 * i}"/>')
        out.append(f'<text class="small" x="30" y="{14 + 18 * i}">{escape(order)}</text>')
    out.append(f'<text class="tick" x="2" y="{top - 8}">mean loss of the rows left</text>')
    for tick in ticks:
        y = box.y((tick - low) / (high - low))
        out.append(f'<line class="grid" x1="{box.left}" x2="{box.right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        out.append(f'<text class="tick end" x="{box.left - 7}" y="{y + 4:.1f}">{_tick(tick)}</text>')
    for tick in (0.0, 0.2, 0.4, 0.6, 0.8):
        x = box.x(tick / most)
        out.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{box.top}" y2="{box.bottom}"/>')
        out.append(f'<text class="tick middle" x="{x:.1f}" y="{box.bottom + 16}">{tick:.0%}</text>')
    band = [at(a, b) for a, b in zip(share, upper[0], strict=True)]
    band += [at(a, b) for a, b in zip(share[::-1], lower[0][::-1], strict=True)]
    out.append(f'<polygon class="band" points="{" ".join(band)}"/>')
    y = box.y((overall - low) / (high - low))
    out.append(f'<line class="trust-reference" x1="{box.left}" x2="{box.right}" y1="{y:.1f}" y2="{y:.1f}"/>')
    for i, values in reversed(list(enumerate(loss))):
        style = "line" if i == 0 else "shift-plain"
        points = " ".join(at(a, b) for a, b in zip(share, values, strict=True))
        out.append(f'<polyline class="{style}" points="{points}"/>')
    out.append(_axis_title(box, "share of the rows rejected, least trusted first"))
    half = int(np.searchsorted(share, 0.5))
    spoken = "; ".join(
        f"by {order} from {number(float(v[0]))} to {number(float(v[half]))} when {percent(float(share[half]), 0)} are rejected"
        for order, v in zip(orders, loss, strict=True)
    )
    return _svg(box.bottom + 42, f"Mean loss of the rows that are left: {spoken}.", out)
