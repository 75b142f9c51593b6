"""Pictures of the local linear models along a feature, and of coefficients against where their regions lie."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from relucidate.errors import ArgumentError
from relucidate.layers import Floats
from relucidate.plot.parts import (
    BLUE,
    GRID,
    LINE,
    MANY,
    NAME,
    ONE,
    QUIET,
    SKY,
    SMALL,
    TITLE,
    TWO,
    VERMILION,
    WIDE,
    all_of,
    axes_for,
    characters,
    compact,
    finished,
    inches,
    is_are,
    label_rows,
    right_column,
    scale_label,
    short,
    text_width,
    unit_of,
    widened,
)
from relucidate.profiles import Pairs, Profile

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe & Ito 2008 without the yellow, which is pale on white.
COLOURS = (BLUE, VERMILION, "#009e73", "#cc79a7", "#e69f00", SKY, "#000000")
BAND = "#d9d9d9"
_TINT = "#e69f00"  # behind the strongest cells
_LARGE = 0.01  # share of the rows from which a region's point has the full size
_MOST = 8  # features of which a matrix can be read


# ---------------------------------------------------------------- profile


def profile(result: Profile, ax: Axes | None = None) -> Axes:
    """Draw the local linear models along a feature, and return the axes.

    Parameters
    ----------
    result : from `interpret.profile`.
    ax : to draw in; a new figure by default.

    Notes
    -----
    From top to bottom: a line for each region shown, over the range and with dots at the values of its rows; the
    coefficients of these lines; and how the feature is distributed, over all rows and in each region, each curve up to its
    own maximum. The band is the middle 80 % of all rows, with their median. From the eighth region on, lines are dashed.
    """
    k = len(result.region)
    ax = axes_for(ax, ONE, 3.9 + 0.2 * (k + 1))
    wide, high = inches(ax)
    grey = result.band
    reach = np.ptp(result.edges) * np.abs(np.concatenate([result.slope, grey.slope.ravel()])).max()
    effect = max(float(np.abs(result.ends).max()), float(np.abs(grey.y).max()))
    flat = result.place == "centred" and bool((result.low == result.high).all()) and effect <= 1e-9 * max(1.0, reach)
    caption = _profile_caption(result, flat)
    # beside the title, the caption and the lower axis
    high = max(high - 0.7 - -(-len(caption) // characters(0.75 * wide, SMALL)) * SMALL * LINE / 72, 0.8)
    ridges = float(np.clip(1.15 * SMALL * LINE / 72 * (k + 1) / high, 0.32, 0.5))
    shares = (1 - ridges, ridges) if flat else (0.55 * (1 - ridges), 0.45 * (1 - ridges), ridges)
    *above, slopes, spread = _stacked(ax, shares)
    lines = above[0] if above else ax.inset_axes((0, 0, 1, 1))
    for panel, values in ((lines, grey.y), (slopes, grey.slope)):
        panel.fill_between(grey.x, values[0], values[2], color=BAND, linewidth=0, zorder=1)
        panel.plot(grey.x, values[1], color=QUIET, linewidth=0.9, zorder=1.5)
        panel.axhline(0, color=QUIET, linewidth=0.6, linestyle=(0, (4, 3)), zorder=1.2)
    thickest = float(result.share.max())
    for i in reversed(range(k)):  # the largest on top
        style: dict[str, Any] = {
            "color": COLOURS[i % len(COLOURS)],
            "linestyle": "-" if i < len(COLOURS) else (0, (3, 1.5)),
            "linewidth": 0.8 + 0.9 * math.sqrt(float(result.share[i]) / thickest),
            "solid_capstyle": "round",
        }
        ends = [result.low[i], result.high[i]]
        lines.plot(ends, result.ends[i], zorder=3, **style)
        slopes.plot(ends, [result.slope[i]] * 2, zorder=3, **style)
        rows = result.rows[result.offset[i] : result.offset[i + 1]]
        lines.plot(rows, result.height(i), "o", color=style["color"], markersize=3, markeredgewidth=0, zorder=3.5)
        if result.low[i] == result.high[i]:
            slopes.plot(
                ends[:1], [result.slope[i]], "o", color=style["color"], markersize=3, markeredgewidth=0, zorder=3
            )
    _ridges(spread, result)
    what = scale_label(result.network, result.output)
    if result.place == "centred":
        what = what.replace("decision", "centred effect on the decision", 1)
    unit, name = unit_of(result.network), short(result.feature, NAME)
    lines.set_ylabel(
        _longest([what, f"{what.partition(' on the ')[0].partition(' of ')[0]} ({unit})"], high * shares[0])
    )
    words = [f"coefficient ({unit} per unit of {name})", f"coefficient ({unit} per unit)", "coefficient per unit"]
    slopes.set_ylabel(_longest([*words, "coef. per unit"], high * shares[-2]))
    for panel, size in ((lines, effect), (slopes, reach)):
        if size <= 1e-12 * max(1.0, effect):
            panel.set_ylim(-1, 1)  # nothing but rounding
    for panel in (lines, slopes):
        panel.yaxis.set_major_formatter(compact)
        panel.tick_params(labelbottom=False)
        panel.yaxis.set_major_locator(_few_ticks(4 if panel is lines else 3))
    low, high = result.edges[0], result.edges[-1]
    for panel in (lines, slopes, spread):
        panel.set_xlim(low - 0.02 * (high - low), high + 0.02 * (high - low))
        panel.yaxis.label.set_fontsize(SMALL)
        panel.tick_params(labelsize=SMALL)
        whole = bool((result.rows == np.round(result.rows)).all())
        panel.xaxis.set_major_locator(_few_ticks(5, whole))
    spread.set_xlabel(short(result.feature, 2 * NAME), fontsize=SMALL, parse_math=False)
    title = _profile_title(result, int(0.8 * characters(inches(ax)[0], TITLE)))
    if flat:  # there is nothing to see
        lines.remove()
    return finished(ax, title, caption)


def _longest(texts: Sequence[str], high: float) -> str:
    """Return the first text that three lines beside a panel of so many inches hold without breaking a word, or the last."""
    n = characters(0.9 * high, SMALL)
    for text in texts:
        if len(textwrap.wrap(text, n)) <= 3 and max(map(len, text.split())) <= n:
            return text
    return texts[-1]


def _stacked(ax: Axes, heights: tuple[float, ...]) -> list[Axes]:
    """Turn the axes off, and return panels in it from top to bottom."""
    ax.set_axis_off()
    gap = 0.05
    free = 1 - gap * (len(heights) - 1)
    panels, top = [], 1.0
    for height in heights:
        panels.append(axes_for(ax.inset_axes((0, top - height * free, 1, height * free)), 0, 0))
        top -= height * free + gap
    return panels


def _few_ticks(n: int, whole: bool = False) -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(n, integer=whole, min_n_ticks=2)


def _ridges(ax: Axes, result: Profile) -> None:
    """Draw the distribution over all rows on top, and those of the regions below, each up to its own maximum."""
    rows = [(result.everywhere, BAND), *((w, COLOURS[i % len(COLOURS)]) for i, w in enumerate(result.within))]
    width = np.diff(result.edges)
    for y, (share, colour) in enumerate(rows):
        density = share / width
        tops = y + 0.45 - 0.85 * density / density.max()
        ax.stairs(
            tops, result.edges, baseline=y + 0.45, fill=True, color=colour, alpha=1.0 if y == 0 else 0.85, linewidth=0
        )
        ax.plot(result.edges[[0, -1]], [y + 0.45] * 2, color=GRID, linewidth=0.5, zorder=0.5)
    places = np.arange(len(rows))
    ax.set_ylim(len(rows) - 0.5, -0.5)
    label_rows(ax, places, ["all rows", *(f"region {r}" for r in result.region)])
    for label, (_, colour) in zip(ax.get_yticklabels(), rows, strict=True):
        label.set_color(QUIET if colour == BAND else colour)
    right_column(ax, places, ["100%", *(_percent(float(s)) for s in result.share)])
    ax.spines["left"].set_visible(False)


def _percent(share: float) -> str:
    return f"{share:.1%}" if share >= 0.0005 else f"{100 * share:.1g}%"


def _profile_title(result: Profile, room: int) -> str:
    title = f"{short(result.feature, min(room, 2 * NAME))}: "
    if math.isnan(result.importance):
        return title + "nothing has an effect"
    return title + f"{result.importance:.1%} of the importance"


def _profile_caption(result: Profile, flat: bool) -> str:
    k, n = len(result.region), result.n_regions
    said = [f"{all_of(n, 'region').capitalize()} {is_are(n)} shown{result.caveat}."]
    if k < n:
        said = [
            f"{k:,} of {n:,} regions {is_are(k)} shown, the largest, with {_percent(result.shown_share)} of the "
            f"rows{result.caveat}."
        ]
    if result.network.n_outputs > 1:
        said.append(f"Decisions of {short(result.network.outputs[result.output], NAME)}.")
    if flat:
        said.append("In each of them the feature has one value: there its effect is its mean, and no line is drawn.")
    said.append(f"Coefficients: {unit_of(result.network)} per unit of {short(result.feature, NAME)}.")
    said.append("Grey: the middle 80% of all rows, and their median.")
    said.append("Importance: share in the variance of all features' effects.")
    return " ".join(said)


# ---------------------------------------------------------------- pairs


def pairs(result: Pairs, ax: Axes | None = None) -> Axes:
    """Draw coefficients against region means as a matrix of panels, and return the axes.

    Parameters
    ----------
    result : from `interpret.pairs`, of at most 8 features.
    ax : to draw in; a new figure by default.

    Raises
    ------
    ArgumentError : more features than can be read.

    Notes
    -----
    A point is a region: its area and darkness show its rows. Panels of one row share their vertical axis, those of one
    column the horizontal one. The line is a smooth on the diagonal and straight off it, both by rows.
    """
    m, f = result.strength.shape
    if f > _MOST:
        raise ArgumentError(
            f"There are {f} features; a matrix of more than {_MOST} cannot be read. Name fewer in pairs."
        )
    ax = axes_for(ax, TWO, 1.2 + 5.4 * m / max(f, 3))
    ax.set_axis_off()
    wide, high = inches(ax)
    gap = 0.012
    across, down = (1 - gap * (f - 1)) / f, (1 - gap * (m - 1)) / m
    room = characters(0.64 * wide / f, SMALL), characters(0.6 * high / m, SMALL)
    y_limits = [_limits(result.coef[:, a], with_zero=a < f) for a in range(m)]
    x_limits = [_limits(result.mean[:, c], with_zero=False) for c in range(f)]
    x_ticks = [_ticks_within(limits, 0.75 * wide / f, across=True) for limits in x_limits]
    upright = any(len(ticks) < 2 for ticks, _ in x_ticks)
    if upright:  # labels too wide for two side by side
        x_ticks = [_ticks_within(limits, 0.75 * wide / f, across=False) for limits in x_limits]
    lengths = [max((text_width(ax, label) for label in labels), default=0.0) for _, labels in x_ticks]
    strongest = np.nanmax(result.strength[:f], initial=0.0)
    for a in range(m):
        for c in range(f):
            place = (c * (across + gap), 1 - down - a * (down + gap), across, down)
            panel = axes_for(ax.inset_axes(place), 0, 0)
            _cell(panel, result, a, c, strongest)
            panel.set(xlim=x_limits[c], ylim=y_limits[a])
            panel.set_xticks(*x_ticks[c], rotation=90 if upright else 0)
            panel.set_yticks(*_ticks_within(y_limits[a], 0.7 * high / m, across=False))
            panel.tick_params(labelsize=SMALL, length=2, pad=1.5, labelbottom=a == m - 1, labelleft=c == 0)
            if a == m - 1:
                panel.set_xlabel(_name("mean of", result.features[c], room[0]), fontsize=SMALL, parse_math=False)
                if upright:  # all labels below the longest of them
                    panel.xaxis.labelpad = 4 + 72 * (max(lengths) - lengths[c])
            if c == 0:
                said = _name("coef. of", result.terms[a], room[1]) if a < f else "intercept"
                panel.set_ylabel(said, fontsize=SMALL, parse_math=False)
    return finished(ax, "Coefficients by where their regions lie", _pairs_caption(result))


def _cell(panel: Axes, result: Pairs, a: int, c: int, strongest: float) -> None:
    strength, r = result.strength[a, c], result.correlation[a, c]
    if a < len(result.features) and strongest > 0 and np.isfinite(strength):
        panel.set_facecolor(_faded(_TINT, 0.45 * float(strength) / float(strongest)))
    size = (result.share / max(float(result.share.max()), _LARGE))[::-1]  # the largest on top
    faint = min(1.0, math.sqrt(300 / len(size)))  # many points: small and pale, so that the large ones can be seen
    panel.scatter(
        result.mean[::-1, c],
        result.coef[::-1, a],
        s=1 + 2.5 * faint + 40 * size,
        c=[_shade(0.17 * faint + (0.9 - 0.17 * faint) * math.sqrt(s)) for s in size],
        linewidths=0,
        zorder=2,
        rasterized=len(size) > MANY,
    )
    if a < len(result.features):
        panel.axhline(0, color=QUIET, linewidth=0.6, linestyle=(0, (4, 3)), zorder=1)
    if a == c:
        panel.plot(result.at[c], result.smooth[c], color=VERMILION, linewidth=1.6, zorder=3)
    elif np.isfinite(result.slope[a, c]):
        x = result.at[c][[0, -1]]
        y = result.typical[a] + result.slope[a, c] * (x - result.centre[c])
        panel.plot(x, y, color=VERMILION, linewidth=1.0, zorder=3)
    said = "" if np.isnan(r) else f"{r:.2f}".replace("-", "−")
    note = panel.annotate(
        said, (0, 1), (2.5, -2.5), "axes fraction", textcoords="offset points", va="top", fontsize=SMALL
    )
    note.set(zorder=4, bbox={"boxstyle": "round,pad=0.1", "color": "white", "alpha": 0.75, "linewidth": 0})


def _limits(values: Floats, with_zero: bool) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    if with_zero:
        low, high = min(low, 0.0), max(high, 0.0)
    low, high = widened(low, high)
    margin = 0.08 * (high - low)
    return low - margin, high + margin


def _ticks_within(limits: tuple[float, float], room: float, across: bool) -> tuple[list[float], list[str]]:
    """Return ticks and their labels that fit a panel of so many inches: apart, and none over its edges."""
    from matplotlib.ticker import MaxNLocator

    low, high = limits
    best: list[float] = []
    for n in (1, 2, 3, 4, 6, 8):
        ticks = [float(t) for t in MaxNLocator(n).tick_values(low, high)]
        size = {t: SMALL * (len(compact(t)) * WIDE if across else 1.0) / 72 for t in ticks}
        place = {t: (t - low) / (high - low) * room for t in ticks}
        kept = [t for t in ticks if size[t] / 2 <= place[t] <= room - size[t] / 2]
        for some in (kept, [*kept[:1], *kept[1:][-1:]]):  # all, or the first and the last
            apart = all(place[b] - place[a] > (size[a] + size[b]) / 2 + 0.06 for a, b in pairwise(some))
            if apart and len(some) > len(best):
                best = some
        if n >= 4 and len(best) > 1:
            break
    return best, [compact(t) for t in best]


def _shade(alpha: float) -> tuple[float, float, float, float]:
    red, green, blue = (int(BLUE[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return red, green, blue, alpha


def _faded(colour: str, strength: float) -> tuple[float, float, float]:
    red, green, blue = (1 - strength * (1 - int(colour[i : i + 2], 16) / 255) for i in (1, 3, 5))
    return red, green, blue


def _name(what: str, name: str, room: int) -> str:
    return f"{what}\n{short(name, max(min(room, NAME), 6))}"


def _pairs_caption(result: Pairs) -> str:
    n, total = len(result.region), result.n_regions
    unit = scale_label(result.network, result.output)
    said = [f"A point is a region, larger and darker with more rows: {all_of(n, 'region')}."]
    if n < total:
        said = [
            f"A point is a region, larger and darker with more rows: {n:,} of {total:,}; the others hold no row that counts."
        ]
    said.append(f"Coefficients: {unit} per unit of the feature. Numbers are correlations, by rows.")
    said.append("A slope on the diagonal: a nonlinear effect; off it: an interaction, or features that go together.")
    said.append("Tinted: where a coefficient changes the most.")
    if result.caveat:
        said.append(f"Importance and spread{result.caveat}.")
    return " ".join(said)
