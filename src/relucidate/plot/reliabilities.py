"""Pictures of reliability: which local linear models can be trusted, how complex a network is, and where its signs turn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from relucidate.complexities import DEAD, LINEAR, SWITCHING, Complexity
from relucidate.errors import ArgumentError, clipped, shown
from relucidate.monotonicities import Monotonicity
from relucidate.plot.parts import (
    BLUE,
    CHARACTER,
    GRID,
    LINE,
    NAME,
    NARROW,
    ONE,
    QUIET,
    SKY,
    SMALL,
    TWO,
    VERMILION,
    axes_for,
    characters,
    finished,
    inches,
    label_rows,
    right_column,
    short,
)
from relucidate.reliabilities import CHANCE, FAR, FEW, FEWER, MEAN, ONE_CLASS, ONE_ROW, RANK, Reliability

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FLAT = "#bdbdbd"
_RELIABLE = "reliable"
# blue and green are kept for what is reliable; brown and greys are told apart from Okabe and Ito's by all readers too
_COLOURS = {
    ONE_ROW: VERMILION,
    ONE_CLASS: "#e69f00",
    FEWER: "#cc79a7",
    FEW: "#f0e442",
    RANK: "#5b3a1e",
    CHANCE: "#000000",
    MEAN: "#000000",
    FAR: "#cccccc",
    _RELIABLE: BLUE,
}
_ROW = 0.155  # inches that a row with a label needs
_LEAST = 0.4  # inches of height of a histogram


def _percent(share: float) -> str:
    """Return a share with two digits that count: 24 %, 3.4 %, < 0.1 %."""
    value = 100 * share
    if value < 1e-9:
        return "0 %"
    if value < 0.1:
        return "< 0.1 %"
    if abs(value - 100) < 1e-9:
        return "100 %"
    return f"{value:.0f} %" if 10 <= value < 99.5 else f"{min(value, 99.9):.1f} %"


def _said(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _counted(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def _room(ax: Axes, caption: str) -> tuple[float, float]:
    """Return the inches that are left for panels beside a title and a caption."""
    wide, high = inches(ax)
    lines = -(-len(caption) // characters(wide, SMALL)) + 1
    return wide, max(high - 0.35 - lines * SMALL * LINE / 72, 0.5 * high)


def _panel(ax: Axes, room: tuple[float, float], box: tuple[float, float, float, float]) -> Axes:
    """Return a panel at (left, bottom, width, height) inches of the room."""
    (wide, high), (x, y, width, height) = room, box
    panel = axes_for(ax.inset_axes((x / wide, y / high, max(width, 0.2) / wide, max(height, 0.2) / high)), 0, 0)
    panel.tick_params(labelsize=SMALL)
    return panel


def _label(panel: Axes, x: str = "", y: str = "") -> None:
    for put, text in ((panel.set_xlabel, x), (panel.set_ylabel, y)):
        put(text, fontsize=SMALL, parse_math=False)


# ---------------------------------------------------------------- reliability


def reliability(result: Reliability, ax: Axes | None = None) -> Axes:
    """Draw which share of the regions and of the rows is behind each reason, and the sizes of these regions; return the axes.

    Parameters
    ----------
    result : from `diagnose.reliability`.
    ax : to draw on; a new figure by default.

    Notes
    -----
    Above, all regions and all rows, split by the first reason of each region. Below, the rows by the size of their region,
    in the same colours: the bar at 8 is of the regions with 8 to 15 rows. Where these have no room, the caption says so.
    """
    regions, rows = result.tally
    R, n = len(result.count), int(result.count.sum())
    caption = _said(
        f"{_counted(R, 'region')}, {_counted(n, 'row')}, each counted under the first reason that holds.",
        f"Few rows: fewer than {result.min_rows:,}." if FEW in result.reasons else "",
        f"Coefficients: {result.n_coefficients:,}, with the intercept.",
        f"Conditions and scores{result.caveat}." if result.caveat else "",
        *result.notes,
    )
    ax = axes_for(ax, TWO, 3.8)
    names = [*result.reasons, _RELIABLE]
    drawn = [j for j in reversed(range(len(names))) if regions[j] > 0]
    left, bars, gap = 0.55, 0.5, 0.38
    key = (len(drawn) + 1) * _ROW
    side_by_side = inches(ax)[0] >= NARROW
    above = 0.45 if side_by_side else key + 0.5
    missing = bars + gap + above + _LEAST - _room(ax, caption)[1]
    if missing > 0:
        needed = math.ceil(10 * (inches(ax)[1] + missing)) / 10
        caption = _said(caption, f"The sizes of these regions would need {needed:.1f} in of height.")
        bars, gap = 0.36, 0.32
    wide, high = room = _room(ax, caption)
    ax.set_axis_off()
    top = _panel(ax, room, (left, high - bars, wide - left - 0.15, bars))
    _shares(top, [regions / R, rows], names, drawn)
    below = high - bars - gap
    with_sizes = missing <= 0
    across = 0.52 * wide if side_by_side and with_sizes else wide - 0.1
    _key(ax, room, (0.05, below, across), names, drawn, regions, rows)
    if with_sizes:
        start = across + 0.1 if side_by_side else 0.0
        width = wide - start - left - 0.15
        _sizes(_panel(ax, room, (start + left, 0.4, width, below - above)), result, names, drawn, width)
    return finished(ax, "Which local linear models can be trusted", caption)


def _shares(panel: Axes, shares: Sequence[Any], names: Sequence[str], drawn: Sequence[int]) -> None:
    start = np.zeros(2)
    for j in drawn:
        length = 100 * np.array([float(part[j]) for part in shares])
        panel.barh([0, 1], length, 0.78, left=start, color=_COLOURS[names[j]], edgecolor="white", linewidth=0.4)
        start += length
    panel.set_xlim(0, 100)
    panel.set_ylim(1.5, -0.5)
    label_rows(panel, np.arange(2), ["regions", "rows"])
    panel.set_xticks([0, 25, 50, 75, 100], ["0 %", "25 %", "50 %", "75 %", "100 %"], fontsize=SMALL)


def _key(
    ax: Axes,
    room: tuple[float, float],
    place: tuple[float, float, float],
    names: Sequence[str],
    drawn: Sequence[int],
    regions: NDArray[np.int64],
    rows: NDArray[np.float64],
) -> None:
    """Write the reasons with their colours and numbers, from the upper left corner of (left, top, width) inches."""
    left, top, width = place
    height = (len(drawn) + 1) * _ROW
    panel = _panel(ax, room, (left, top - height, width, height))
    panel.set_xlim(0, width)
    panel.set_ylim(len(drawn) + 0.5, -0.5)
    panel.set_xticks([])
    panel.set_yticks([])
    panel.spines[:].set_visible(False)
    panel.patch.set_visible(False)
    columns = (width - 0.55, width)
    style: dict[str, Any] = {"fontsize": SMALL, "va": "center"}
    for x, text in zip(columns, ("regions", "rows"), strict=True):
        panel.text(x, 0, text, ha="right", color=QUIET, **style)
    limit = characters(columns[0] - 0.55, SMALL)
    for line, j in enumerate(drawn, 1):
        panel.plot(0.06, line, "s", color=_COLOURS[names[j]], markersize=5.5, markeredgewidth=0)
        panel.text(0.17, line, short(names[j], limit), ha="left", **style)
        panel.text(columns[0], line, f"{regions[j]:,}", ha="right", **style)
        panel.text(columns[1], line, _percent(float(rows[j])), ha="right", **style)


def _sizes(panel: Axes, result: Reliability, names: Sequence[str], drawn: Sequence[int], width: float) -> None:
    """Draw the share of the rows in regions of 1, 2 to 3, 4 to 7, … rows, split by reason."""
    size = np.log2(result.count).astype(int)
    n = int(size.max()) + 1
    start = np.zeros(n)
    for j in drawn:
        here = result.first == j
        height = 100 * np.bincount(size[here], result.share[here], minlength=n)
        panel.bar(np.arange(n), height, 0.86, bottom=start, color=_COLOURS[names[j]], edgecolor="white", linewidth=0.3)
        start += height
    labels = [_round(2**i) for i in range(n)]
    every = math.ceil((max(map(len, labels)) + 1) * SMALL * CHARACTER / 72 * n / max(width, 0.2))
    panel.set_xticks(np.arange(n)[::every], labels[::every], fontsize=SMALL)
    panel.set_xlim(-0.6, n - 0.4)
    panel.locator_params(axis="y", nbins=4)
    panel.grid(axis="y", color=GRID, linewidth=0.7)
    _label(panel, "rows in the region (1, 2–3, 4–7, …)", "rows (%)")


def _round(value: int) -> str:
    return f"{value}" if value < 1024 else f"{value // 1024}k" if value < 2**20 else f"{value // 2**20}M"


# ---------------------------------------------------------------- complexity


def complexity(result: Complexity, ax: Axes | None = None) -> Axes:
    """Draw how the number of regions grows with the rows, and what the neurons of each layer do; return the axes.

    Parameters
    ----------
    result : from `diagnose.complexity`.
    ax : to draw on; a new figure by default.

    Notes
    -----
    The curve is the number of regions expected among so many of the rows; the dashed line goes on from all rows with the
    slope that the regions of a single row tell. Bars: the neurons that switch on these rows, those that are always on one
    piece, and those that are dead.
    """
    low, high_ = (100 * part for part in result.unseen_interval)
    caption = _said(
        f"{_counted(result.n_rows, 'row')} use {_counted(result.n_regions, f'{result.kind} region')}, as many as "
        f"{result.effective_regions:,.1f} equally large ones.",
        f"Dashed: of new rows about {100 * result.unseen:.1f} % ({low:.1f} to {high_:.1f} %) are expected in regions not "
        "seen yet.",
        f"{_counted(len(result.neuron), 'neuron')} that can switch." if len(result.neuron) else "No neuron can switch.",
    )
    ax = axes_for(ax, TWO, 3.2)
    wide, high = room = _room(ax, caption)
    ax.set_axis_off()
    left, bottom, gap = 0.65, 0.45, 0.3
    names = min(max((len(short(name, 14)) for name in result.layers), default=0) * SMALL * CHARACTER / 72 + 0.1, 1.1)
    if wide >= NARROW:
        width = (wide - left - names - gap - 0.15) / 2
        one = _panel(ax, room, (left, bottom, width, high - bottom - 0.1))
        other = _panel(ax, room, (left + width + gap + names, bottom, width, high - bottom - 0.35))
        tall = high - bottom - 0.35
    else:
        half = (high - 2 * bottom - 0.5) / 2
        one = _panel(ax, room, (left, 2 * bottom + half + 0.4, wide - left - 0.15, half))
        other = _panel(ax, room, (max(names, left), bottom, wide - max(names, left) - 0.15, half))
        tall = half
    _growth(one, result)
    _layers(other, result, tall)
    return finished(ax, "Complexity on these rows", caption)


def _growth(panel: Axes, result: Complexity) -> None:
    n, R = result.n_rows, result.n_regions
    beyond = np.array([n, 1.25 * n])
    panel.plot(beyond, R + result.unseen * (beyond - n), color=QUIET, linewidth=1.1, linestyle=(0, (4, 3)))
    panel.plot(result.drawn, result.expected, color=BLUE, linewidth=1.6)
    panel.plot(n, R, "o", color=BLUE, markersize=4.5)
    panel.set_xlim(0, 1.28 * n)
    panel.set_ylim(0, None)
    panel.grid(color=GRID, linewidth=0.7)
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_major_locator(_whole(4))
        axis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value < 1e7 else f"{value / 1e6:,.0f} M")
    _label(panel, "rows drawn", "regions expected")


def _whole(n: int) -> Any:
    """Return ticks at about n whole numbers."""
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(n, integer=True)


def _layers(panel: Axes, result: Complexity, tall: float) -> None:
    if len(result.neuron) == 0:
        panel.set_axis_off()
        panel.text(0.5, 0.5, "no neuron can switch", fontsize=SMALL, color=QUIET, ha="center", va="center")
        return
    parts = [("switches", SWITCHING, BLUE), ("always on", LINEAR, SKY), ("dead", DEAD, VERMILION)]
    L = len(result.layers)
    y = np.arange(L)
    start = np.zeros(L)
    for label, state, colour in parts:
        length = result.neurons_of(state)
        panel.barh(y, length, 0.76, left=start, color=colour, label=label)
        start = start + length
    panel.set_ylim(max(L, 1) - 0.4, -0.6)
    panel.set_xlim(0, max(1.0, 1.03 * float(start.max(initial=0.0))))
    every = max(1, math.ceil(L * _ROW / max(tall, 0.1)))
    label_rows(panel, y, [short(name, 14) for name in result.layers], every)
    panel.xaxis.set_major_locator(_whole(4))
    panel.grid(axis="x", color=GRID, linewidth=0.7)
    style: dict[str, Any] = {"handlelength": 0.8, "handletextpad": 0.4, "columnspacing": 0.9, "borderpad": 0.0}
    panel.legend(
        loc="lower left", bbox_to_anchor=(0, 1.01), ncols=3, fontsize=SMALL, frameon=False, borderaxespad=0.2, **style
    )
    _label(panel, "neurons")


# ---------------------------------------------------------------- monotonicity


def monotonicity(result: Monotonicity, ax: Axes | None = None, *, output: str | int = 0, most: int = 15) -> Axes:
    """Draw for which share of the rows the decision rises, stays and falls with each feature; return the axes.

    Parameters
    ----------
    result : from `diagnose.monotonicity`.
    ax : to draw on; a new figure by default.
    output : which one, for networks with several.
    most : features shown; fewer where there is no room.

    Raises
    ------
    ArgumentError : no such output, or `most` below 1.

    Notes
    -----
    Features of which a sign is expected come first, those that most rows violate on top; then the others, those with the
    most rows against the sign of the majority on top. What violates an expected sign is hatched, and its share is at the
    right.
    """
    if not most >= 1:
        raise ArgumentError(f"most is {clipped(most)}; expected at least 1.")
    k = _output(result.outputs, output)
    n = len(result.names)
    ax = axes_for(ax, ONE, 1.7 + 0.2 * min(n, most))
    order = np.lexsort((-result.against[k], -np.nan_to_num(result.violating[k]), result.expected[k] == 0))
    room = max(int((inches(ax)[1] - 1.65) / _ROW), 2)
    kept = order[: min(n, most, room)]
    m = len(kept)
    y = np.arange(m)
    start = np.zeros(m)
    parts = [("rises", BLUE, result.increasing), ("flat", _FLAT, result.flat), ("falls", VERMILION, result.decreasing)]
    for label, colour, share in parts:
        length = 100 * share[k, kept]
        ax.barh(y, length, 0.74, left=start, color=colour, label=label)
        start = start + length
    wrong = 100 * np.nan_to_num(result.violating[k, kept])
    told = np.flatnonzero(wrong > 0)
    if len(told):
        begin = np.where(result.expected[k, kept] > 0, 100 - wrong, 0.0)
        style_of: dict[str, Any] = {"color": "none", "edgecolor": "white", "hatch": "////", "linewidth": 0}
        ax.barh(y[told], wrong[told], 0.74, left=begin[told], label="violates", **style_of)
    wide = inches(ax)[0]
    limit = min(NAME, characters(0.36 * wide, SMALL) - 4)
    signs = np.array(["", " (+)", " (−)"], dtype=object)[result.expected[k, kept]]
    label_rows(ax, y, [short(result.names[j], limit) + sign for j, sign in zip(kept, signs, strict=True)])
    if result.expected[k, kept].any():
        right_column(ax, y, [_percent(v) if math.isfinite(v) else "" for v in result.violating[k, kept]])
    ax.set_xlim(0, 100)
    ax.set_ylim(m - 0.4 + 0.22 * m / max(inches(ax)[1] - 1.5, 0.3), -0.6)  # with room for the legend
    ax.set_xticks([0, 50, 100] if wide < NARROW else [0, 25, 50, 75, 100])
    ax.set_xlabel("share of the rows (%)")
    handles, labels = ax.get_legend_handles_labels()
    handles = [_swatch(label, handle) for label, handle in zip(labels, handles, strict=True)]
    style: dict[str, Any] = {"handlelength": 0.9, "handletextpad": 0.4, "columnspacing": 0.9, "borderpad": 0.0}
    ax.legend(handles, labels, loc="lower left", ncols=4, fontsize=SMALL, frameon=False, borderaxespad=0.3, **style)
    expected = result.expected[k].any()
    caption = _said(
        f"Output {short(result.outputs[k], NAME)}, one of {len(result.outputs):,}." if len(result.outputs) > 1 else "",
        f"Rises, flat, falls: what the {_DECISION[result.link]} does as the feature grows, on these "
        f"{_counted(result.n_rows, 'row')}; nothing is said beyond them.",
        "In brackets the sign expected; hatched, and at the right, the rows that violate it." if expected else "",
        f"{m:,} of {n:,} features are shown: those with the most rows against the expected sign, or against most rows."
        if m < n
        else "",
        f"{_counted(len(result.left_out), 'column')} of several features left out." if result.left_out else "",
    )
    return finished(ax, "Does the decision rise with a feature?", caption)


_DECISION = {
    "identity": "decision",
    "logit": "decision (log-odds)",
    "softmax": "decision (logit less the mean logit)",
    "log": "decision (log of the prediction)",
}


def _swatch(label: str, handle: Any) -> Any:
    """Return what stands for a part in the legend: hatches are white, and need a ground to be seen."""
    from matplotlib.patches import Patch

    if label != "violates":
        return handle
    return Patch(facecolor=QUIET, edgecolor="white", hatch="////", linewidth=0)


def _output(outputs: Sequence[str], output: str | int) -> int:
    """Return the position of an output, given by name or position."""
    if isinstance(output, str) and output in outputs:
        return list(outputs).index(output)
    if isinstance(output, int | np.integer) and 0 <= output < len(outputs):
        return int(output)
    raise ArgumentError(f"output is {clipped(output)}; expected one of {shown(outputs, 12)}, or its position.")
