"""Pictures of scores: local models on their own and on all rows, sets of rows compared, and where the network does worst."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from relucidate.errors import ArgumentError, clipped, shown
from relucidate.exposures import Exposure
from relucidate.layers import Floats
from relucidate.performances import Performance
from relucidate.plot.parts import (
    BLUE,
    CHARACTER,
    GRID,
    HINTING,
    LINE,
    NAME,
    NARROW,
    ONE,
    QUIET,
    SMALL,
    TWO,
    VERMILION,
    all_of,
    axes_for,
    characters,
    compact,
    counted,
    finished,
    inches,
    is_are,
    label_rows,
    short,
)
from relucidate.segmenting import Segments

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Kind = Literal["bubbles", "bars"]

_WORDS = {
    "auc": "AUC",
    "accuracy": "accuracy (share of rows)",
    "log_loss": "log-loss (nats)",
    "mse": "MSE (squared units of the target)",
}
_FEW = 10  # regions, of which whole intervals are shown
_LARGEST = 420.0  # points², of a bubble
_OPAQUE: dict[str, Any] = {"framealpha": 1.0, "facecolor": "white", "edgecolor": "none", "borderpad": 0.1}
_ROW = 0.19  # inches that a row with a label needs
_STEP = 0.34  # inches of a row with its label above it


def _at_least_one(name: str, value: Any) -> None:
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
        raise ArgumentError(f"{name} is {clipped(value)}; expected a whole number, at least 1.")


def _measure(measures: tuple[str, ...], measure: str | None) -> str:
    if measure is None:
        return measures[0]
    if measure not in measures:
        raise ArgumentError(f"measure is {clipped(measure)}; expected one of {shown(measures)}.")
    return measure


def _error_bars(
    ax: Axes, x: Floats, y: Any, low: Floats, high: Floats, colour: str, along: str = "x", **style: Any
) -> None:
    """Draw points with intervals, those of which are known."""
    values = x if along == "x" else y
    with np.errstate(invalid="ignore"):
        reach = np.nan_to_num(np.maximum([values - low, high - values], 0.0))
    limits: dict[str, Any] = {"xerr": reach} if along == "x" else {"yerr": reach}
    ax.errorbar(x, y, **limits, ecolor=colour, color=colour, elinewidth=1.0, linestyle="none", **style)


# ---------------------------------------------------------------- local against global


def performance(
    result: Performance,
    ax: Axes | None = None,
    *,
    kind: Kind = "bubbles",
    measure: str | None = None,
    intervals: int = 5,
    most: int = 12,
) -> Axes:
    """Draw the score of each local linear model on its own rows against that on all rows, and return the axes.

    Parameters
    ----------
    result : from `diagnose.performance`.
    ax : to draw on; a new figure by default.
    kind : "bubbles", a point per region beside the diagonal, or "bars", both scores of the largest regions.
    measure : "auc", "accuracy", "log_loss" or "mse"; by default the one to read first.
    intervals : how many of the largest regions have their intervals and numbers drawn as bubbles, at least 1.
    most : bars; fewer where there is no room.

    Raises
    ------
    ArgumentError : an argument makes no sense, or no region has both scores.

    Notes
    -----
    The area of a bubble is in proportion to the rows of its region. A model on the diagonal does as well on all rows as on
    its own.
    """
    if kind not in get_args(Kind):
        raise ArgumentError(f"kind is {clipped(kind)}; expected 'bubbles' or 'bars'.")
    _at_least_one("most", most)
    _at_least_one("intervals", intervals)
    name = _measure(result.measures, measure)
    local, overall = result.local.of(name), result.overall.of(name)
    order = result.order
    known = order[(np.isfinite(local[0]) & np.isfinite(overall[0]))[order]]
    if len(known) == 0:
        raise ArgumentError(
            f"No region has {_WORDS[name].split(' (')[0]} both on its own rows and on all: nothing to draw. "
            f"{_what_else(result)}"
        )
    return (_bubbles if kind == "bubbles" else _bars)(result, ax, name, known, intervals if kind == "bubbles" else most)


def _what_else(result: Performance) -> str:
    """Return what can be drawn in place of a measure that no region has."""
    drawable = [
        other
        for other in result.measures
        if (np.isfinite(result.local.of(other)[0]) & np.isfinite(result.overall.of(other)[0])).any()
    ]
    if drawable:
        return f"Name a measure that they have: {shown(drawable)}."
    return "Score more models, with the `most` of diagnose.performance, or give rows that lie in regions of u."


def _network(result: Performance, name: str) -> float:
    return float(result.network.of(name)[0][0])


def _covered(result: Performance, n: int, drawn: NDArray[np.intp], words: str) -> str:
    share, R = result.share[drawn].sum(), len(result.count)
    if n == R:
        return f"{all_of(n, 'region').capitalize()} ({share:.0%} of the rows)"
    return f"{n:,} of {R:,} regions ({share:.0%} of the rows) {is_are(n)} shown: {words}"


def _bubbles(result: Performance, ax: Axes | None, name: str, known: NDArray[np.intp], intervals: int) -> Axes:
    local, overall = result.local.of(name), result.overall.of(name)
    ax = axes_for(ax, ONE, 4.4)
    size = _LARGEST * min(inches(ax)[0] / 4.8, 1.0) * result.count[known] / result.count[known].max()
    x, y = overall[0][known], local[0][known]
    first = known[:intervals]
    ax.scatter(x, y, np.maximum(size, 4), color=BLUE, alpha=0.45, linewidths=0.6, edgecolors="white", zorder=3)
    for at, along in ((0, "x"), (1, "y")):
        limits = (overall, local)[at]
        _error_bars(ax, overall[0][first], local[0][first], limits[1][first], limits[2][first], QUIET, along, zorder=2)
    theirs = _network(result, name)
    ax.axvline(theirs, color=VERMILION, linewidth=1.0, linestyle=(0, (4, 3)), zorder=1)
    ends = [np.zeros(0), np.zeros(0)]
    if len(known) <= _FEW:  # with more, one wide interval would press all points together
        ends = [np.concatenate([v[first] for v in held[1:]]) for held in (overall, local)]
    # differences that the rows cannot tell must not fill the picture
    known_within = [v[0] for v in result.network.of(name) if np.isfinite(v[0])]
    spans = [_span(np.concatenate([x, known_within, ends[0]]), name), _span(np.concatenate([y, ends[1]]), name)]
    ax.set_xlim(*spans[0])
    ax.set_ylim(*spans[1])
    ax.axline((theirs, theirs), slope=1, color=QUIET, linewidth=0.8, zorder=1)
    wide, high = inches(ax)
    taken: list[tuple[float, float]] = []
    for r in first:
        place = (
            (overall[0][r] - spans[0][0]) / (spans[0][1] - spans[0][0]) * wide * 0.8,
            (local[0][r] - spans[1][0]) / (spans[1][1] - spans[1][0]) * high * 0.65,
        )
        if all(abs(place[0] - a) > 0.4 or abs(place[1] - b) > 0.17 for a, b in taken) and place[0] < 0.8 * wide - 0.4:
            taken.append(place)
            note = ax.annotate(str(r), (overall[0][r], local[0][r]), (3, 3), textcoords="offset points", zorder=5)
            note.set(fontsize=SMALL, color="black", parse_math=False)
    ax.grid(color=GRID, linewidth=0.7)
    ax.locator_params(nbins=5 if wide > 4 else 4)
    _plain_numbers(ax.xaxis, ax.yaxis)
    score = _WORDS[name]
    ax.set_xlabel(f"{score} of the local model on all rows")
    ax.set_ylabel(f"{score} on its own rows")
    better = "Above" if name in ("auc", "accuracy") else "Below"
    barred = f"the {len(first):,} largest, some of them with their number" if len(first) > 1 else "the largest"
    caption = (
        f"{_covered(result, len(known), known, 'those with both scores')}; area: rows. {better} the line a model does better "
        f"on its own rows. Dashed: the network on all rows, {theirs:.4g}. Bars: {result.level:.0%} intervals of "
        f"{barred}{result.caveat}."
    )
    return finished(ax, "Local models on their own rows and on all rows", caption)


def _plain_numbers(*axes: Any) -> None:
    """Write the numbers of axes out, without a power or an offset at the end, which no one reads."""
    for axis in axes:
        axis.set_major_formatter(compact)


def _span(values: Floats, name: str) -> tuple[float, float]:
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    margin = 0.07 * (high - low) or 0.05 * max(abs(high), 0.1)
    low, high = low - margin, high + margin
    return (low, min(high, 1.02)) if name in ("auc", "accuracy") else (max(low, -0.02 * high), high)


def _bars(result: Performance, ax: Axes | None, name: str, known: NDArray[np.intp], most: int) -> Axes:
    local, overall = result.local.of(name), result.overall.of(name)
    ax = axes_for(ax, ONE, 1.9 + 0.3 * min(len(known), most))
    kept = known[: max(1, min(most, int((inches(ax)[1] - 1.6) / 0.26)))]
    y = np.arange(len(kept), dtype=np.float64)
    for held, colour, label, shift in ((local, BLUE, "own rows", -0.2), (overall, VERMILION, "all rows", 0.2)):
        ax.barh(y + shift, held[0][kept], 0.36, color=colour, label=label)
        _error_bars(ax, held[0][kept], y + shift, held[1][kept], held[2][kept], "black", fmt="none")
    theirs = _network(result, name)
    ax.axvline(theirs, color=QUIET, linewidth=1.0, linestyle=(0, (4, 3)))
    ax.set_ylim(len(kept) + 0.4, -0.6)
    ax.legend(loc="lower right", ncols=2, fontsize=SMALL, borderaxespad=0.1, **_OPAQUE)
    label_rows(ax, y, [f"region {r}: {_rows(result.count[r])}" for r in kept])
    ax.locator_params(axis="x", nbins=5)
    _plain_numbers(ax.xaxis)
    ax.grid(axis="x", color=GRID, linewidth=0.7)
    ax.set_xlabel(_WORDS[name])
    caption = (
        f"{_covered(result, len(kept), kept, 'the largest with both scores')}. Dashed: the network on all rows, {theirs:.4g}. "
        f"Lines: {result.level:.0%} intervals{result.caveat}."
    )
    return finished(ax, "Local models on their own rows and on all rows", caption)


# ---------------------------------------------------------------- sets of rows


def exposure(result: Exposure, ax: Axes | None = None, *, which: str | None = None, most: int = 12) -> Axes:
    """Draw the shares of rows and the mean losses of the largest regions in training and another set, and return the axes.

    Parameters
    ----------
    result : from `diagnose.exposure`.
    ax : to draw on; a new figure by default.
    which : name of the set compared with training; the first by default.
    most : regions shown, flagged ones before others, those with the largest shares of both sets first. Fewer where there is no
        room.

    Raises
    ------
    ArgumentError : there is no such set, or `most` is below 1.

    Notes
    -----
    Filled points are flagged: a share that differs, a mean loss that is larger. "new patterns" shows the share of rows in
    patterns that training never used, and for training the share that it would lead to expect.
    """
    _at_least_one("most", most)
    others = result.names[1:]
    if which is not None and which not in others:
        raise ArgumentError(f"which is {clipped(which)}; expected one of {shown(others)}.")
    i = 1 if which is None else result.names.index(which)
    drift = result.drift[i - 1]
    train, name = result.names[0], result.names[i]
    flagged = result.share_flag[i] | result.worse_flag[i]
    rows = np.lexsort((-(result.share[0] + result.share[i]), ~flagged))
    ax = axes_for(ax, TWO, 2.0 + _ROW * (min(len(rows), most) + 1))
    ax.set_axis_off()
    wide, high = inches(ax)
    with_loss = result.scores[0] is not None and result.scores[i] is not None
    caption = _exposure_words(result, i, with_loss, rows[: min(most, len(rows))])
    top, below = 0.28, 0.42
    words = 0.35 + -(-len(caption) // characters(wide, SMALL)) * SMALL * LINE / 72
    room = max(high - words - top - below, 0.4)
    m = max(1, min(most, len(rows), int(room / _ROW) - 1))
    kept = rows[:m]
    left, gap = 13 * SMALL * CHARACTER / 72 + 0.05, 0.18
    n = 1 + with_loss
    width = max((wide - left - gap * (n - 1)) / n, 0.3)
    total = high - words
    box = [((left + k * (width + gap)) / wide, below / total, width / wide, room / total) for k in range(n)]
    caption = _exposure_words(result, i, with_loss, kept)
    panels = [axes_for(ax.inset_axes(b), 0, 0) for b in box]
    y = np.arange(m + 1)
    shares = np.stack(
        [np.r_[result.share[0][kept], drift.unseen_expected], np.r_[result.share[i][kept], drift.unseen_share]]
    )
    flags = np.r_[result.share_flag[i][kept], drift.drifted and drift.p_unseen <= result.alpha / 4]
    _pairs(panels[0], y, 100 * shares, flags)
    panels[0].set_xlim(left=-0.03 * 100 * shares.max())
    panels[0].set_xlabel("share of rows (%)")
    labels = [f"region {r}" for r in kept] + ["new patterns"]
    label_rows(panels[0], y, labels)
    if with_loss:
        _losses(panels[1], result, i, kept, y)
        panels[1].set_yticks([])
    for panel, words_above in zip(panels, ("shares", "mean losses"), strict=False):
        panel.set_ylim(m + 0.6, -0.6)
        panel.tick_params(axis="x", labelsize=SMALL)
        panel.xaxis.label.set_fontsize(SMALL)
        panel.locator_params(axis="x", nbins=max(2, int(width / 0.5)))
        _plain_numbers(panel.xaxis)
        panel.grid(axis="x", color=GRID, linewidth=0.7)
        note = panel.annotate(words_above, (0, 1), (0, 3), xycoords="axes fraction", textcoords="offset points")
        note.set(fontsize=SMALL, fontweight="bold")
    has = "has drifted" if drift.drifted else "shows no drift"
    return finished(ax, f"{name[0].upper()}{name[1:]} {has} against {train}", caption)


def _pairs(ax: Axes, y: NDArray[Any], values: Floats, flags: NDArray[np.bool_]) -> None:
    """Draw a point of training and one of the other set in each row, and a line between them."""
    ax.hlines(y, *values, color=QUIET, linewidth=0.8, zorder=2)
    ax.plot(values[0], y, "|", color="black", markersize=7, markeredgewidth=1.4, linestyle="none", zorder=4)
    _flagged_points(ax, values[1], y, flags)


def _flagged_points(ax: Axes, x: Floats, y: NDArray[Any], flags: NDArray[np.bool_]) -> None:
    face = ["white" if not flag else VERMILION for flag in flags]
    ax.scatter(x, y, 22, color=face, edgecolors=VERMILION, linewidths=1.0, zorder=5)


def _losses(ax: Axes, result: Exposure, i: int, kept: NDArray[np.intp], y: NDArray[Any]) -> None:
    train, other = result.scores[0], result.scores[i]
    assert train is not None
    assert other is not None
    name = train.measures[-1]
    for held, colour, shift in ((train, "black", -0.16), (other, VERMILION, 0.16)):
        value, low, high = (v[kept] for v in held.of(name))
        at = y[: len(kept)] + shift
        _error_bars(ax, value, at, low, high, colour, fmt="none", zorder=3)
        if colour == "black":
            ax.plot(value, at, "|", color=colour, markersize=6, markeredgewidth=1.4, linestyle="none", zorder=4)
        else:
            _flagged_points(ax, value, at, result.worse_flag[i][kept])
    ax.set_xlabel(_WORDS[name].replace(" (squared units of the target)", " (units²)"))


def _exposure_words(result: Exposure, i: int, with_loss: bool, kept: NDArray[np.intp]) -> str:
    d, train = result.drift[i - 1], result.names[0]
    distance = f", on average {d.mean_distance:.1f} bits from the nearest of {train}" if d.n_unseen else ""
    losses = f" Lines: {1 - result.alpha:.0%} intervals." if with_loss else ""
    p = "p < 0.001" if d.p < 0.001 else f"p = {d.p:.2g}"
    held = f"{result.share[0][kept].sum():.0%} of {train} and {result.share[i][kept].sum():.0%} of {d.name}"
    R = len(result.patterns)
    n = int((result.share_flag[i] | result.worse_flag[i]).sum())
    which = f"{all_of(R, 'region').capitalize()}:"
    if len(kept) < R:
        flagged = f"{n} flagged and the largest other" if n < len(kept) else f"{len(kept)} of {n:,} flagged"
        which = f"{flagged} of {R:,} regions hold" if n else f"The {len(kept):,} largest of {R:,} regions hold"
    stability = f"Stability index {d.psi:.3f}, {d.psi_expected:.3f} without drift."
    if np.isnan(d.psi):
        stability = "Too few rows for a stability index."
    return (
        f"{which} {held}. Bars: {train}; points: {d.name}, filled "
        f"where the share differs or the loss is larger (adjusted).{losses} Family-wise {p}. {stability} "
        f"New patterns: {d.unseen_share:.2%} of {d.n_rows:,} rows, "
        f"{d.unseen_expected:.2%} expected{distance}{result.caveat}."
    )


# ---------------------------------------------------------------- segments


def segments(result: Segments, ax: Axes | None = None, *, most: int = 8) -> Axes:
    """Draw the mean loss of each segment with its interval beside that of all rows, and return the axes.

    Parameters
    ----------
    result : from `diagnose.segments`.
    ax : to draw on; a new figure by default.
    most : segments shown, in the order of `to_frame`; fewer where there is no room. Groups come below them.

    Raises
    ------
    ArgumentError : `most` is below 1, or there is nothing to draw.

    Notes
    -----
    Flagged segments have filled points. The small bar is the loss that the network's own probabilities lead to expect.
    """
    _at_least_one("most", most)
    g = result.groups
    n_groups = 0 if g is None else len(g.names)
    if len(result.rule) + n_groups == 0:
        raise ArgumentError("There are too few rows for any segment, and no groups: nothing to draw.")
    ax = axes_for(ax, TWO, 1.8 + _STEP * (min(len(result.rule), most) + n_groups))
    wide, high = inches(ax)
    room = 0.86 * wide
    figure: Any = ax.get_figure(root=True)
    if figure.get_layout_engine() is None:  # the axes stay where they are
        room = min(room, ax.get_window_extent().width / figure.dpi)
    limit = characters(room, SMALL)
    parts = [
        (_with_short_names(rule, result.features), f": {_rows(n)} ({p:.1%})")
        for rule, n, p in zip(result.rule, result.count, result.share, strict=True)
    ]
    named = []
    if g is not None:
        named = [
            (f"{g.column} = {name}", f": {_rows(n)} ({p:.1%})")
            for name, n, p in zip(g.names, g.count, g.share, strict=True)
        ]
    lines = max(_wrapped(*part, limit).count("\n") + 1 for part in [*parts[:most], *named])
    n_rows = max(int((high - (2.1 if wide < NARROW else 1.5)) / (_STEP + (lines - 1) * SMALL * LINE / 72)), 2)
    shown_groups = min(n_groups, max(n_rows // 2, n_rows - len(result.rule)))
    m = min(len(result.rule), most, max(n_rows - shown_groups, 1))
    y = np.arange(m + shown_groups, dtype=float)
    parts = parts[:m] + named[:shown_groups]
    colours = [VERMILION if result.flag[i] else QUIET for i in range(m)]
    _error_bars(ax, result.loss[:m], y[:m], result.loss_low[:m], result.loss_high[:m], QUIET, fmt="none", zorder=3)
    face = [c if result.flag[i] else "white" for i, c in enumerate(colours)]
    ax.scatter(result.loss[:m], y[:m], 26, color=face, edgecolors=colours, linewidths=1.1, zorder=4)
    ax.plot(
        result.claimed[:m], y[:m], "|", color="black", markersize=8, markeredgewidth=1.4, linestyle="none", zorder=5
    )
    if g is not None:
        value, low, upper = (v[:shown_groups] for v in g.scores.of(result.measure))
        _error_bars(ax, value, y[m:], low, upper, BLUE, fmt="none", zorder=3)
        ax.plot(value, y[m:], "s", color=BLUE, markersize=4.5, linestyle="none", zorder=4)
    ax.axvline(result.overall, color=QUIET, linewidth=1.0, linestyle=(0, (4, 3)), zorder=1)
    ax.set_ylim(len(y) - 0.6, -0.95)
    for place, part in zip(y, parts, strict=True):
        note = ax.annotate(
            "", (0, place), (2, 5), xycoords=ax.get_yaxis_transform(), textcoords="offset points", va="bottom"
        )
        note.set(fontsize=SMALL, parse_math=False, linespacing=1.15, in_layout=False)
        note.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.5})
        _fill(note, part, limit, room)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    ax.locator_params(axis="x", nbins=4 if wide < NARROW else 7)
    _plain_numbers(ax.xaxis)
    ax.grid(axis="x", color=GRID, linewidth=0.7)
    ax.set_xlabel(f"mean {_WORDS[result.measure]}")
    caption = (
        f"{m:,} of {len(result.rule):,} segments are shown, of {result.n_searched:,} rules and {result.n_regions:,} regions "
        f"tested; {int(result.flag.sum()):,} are flagged (filled). Bar: what would be expected. Dashed: all rows, "
        f"{result.overall:.4g}. Lines: 95 % intervals"
    )
    if g is not None:
        caption += f". Squares: {shown_groups:,} of {n_groups:,} groups"
    return finished(ax, "Where the network does worst", f"{caption}{result.caveat}.")


def _rows(n: int) -> str:
    return counted(int(n), "row")


def _with_short_names(rule: str, names: tuple[str, ...]) -> str:
    """Return a rule in which long names are cut, so that what is said of them has room."""
    for name in sorted(names, key=len, reverse=True):
        if len(name) > NAME:
            rule = rule.replace(name, short(name, NAME))
    return rule


def _fill(note: Any, part: tuple[str, str], limit: int, width: float) -> None:
    """Write a label in characters that are wider than most with fewer of them."""
    while True:
        note.set_text(_wrapped(*part, limit))
        if limit <= 12 or note.get_window_extent().width <= width * note.figure.dpi * HINTING:
            return
        limit -= 3


def _wrapped(text: str, end: str, limit: int) -> str:
    """Return text and its end on at most two lines of so many characters, the text cut in the middle where it must be."""
    whole = short(text, max(2 * limit - len(end) - 8, 8)) + end
    if len(whole) <= limit:
        return whole
    lines = textwrap.wrap(whole, limit)
    return "\n".join(lines) if len(lines) <= 2 else short(text, max(limit - len(end), 8)) + end
