"""Pictures of straight ways: a path piece by piece, and what happens as one feature changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from relucidate.effects import Effect, Ice
from relucidate.errors import ArgumentError
from relucidate.layers import Floats
from relucidate.paths import Path
from relucidate.plot.parts import (
    BLUE,
    GRID,
    NAME,
    ONE,
    QUIET,
    SKY,
    SMALL,
    VERMILION,
    all_of,
    axes_for,
    compact,
    counted,
    finished,
    fitting,
    is_are,
    label_rows,
    right_column,
    scale_label,
    short,
    some,
    widened,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CURVES = 100  # rows that are drawn
_BANDS = 40  # pieces that are told apart by shading
_POINTS = 2_000  # of a mean curve that has more knots than that
_LEVELS = 40  # of a categorical feature that are drawn
_STRIP = 0.13  # height of the distribution, in heights of the axes


def path(result: Path, ax: Axes | None = None, *, segment: int = 0, output: str | int = 0) -> Axes:
    """Draw the decision along a path, and its slope on each piece; return the axes.

    Parameters
    ----------
    result : from `interpret.path`.
    ax : to draw in; a new figure by default.
    segment : which one, if there are several. output : which one, by name or position.

    Raises
    ------
    ArgumentError : no such segment or output.

    Notes
    -----
    Dots are breakpoints: the line is straight between them. Up to 40 pieces are told apart by shading.
    """
    if not 0 <= segment < result.n_segments:
        raise ArgumentError(f"segment is {segment}; expected 0 to {result.n_segments - 1}.")
    k = result.network.output_index(output)
    part = slice(int(result.offsets[segment]), int(result.offsets[segment + 1]))
    t = np.r_[result.start[part], 1.0]
    decision = np.r_[result.value[part, k], result.next_value[part.stop - 1, k]]
    slope = result.slope[part, k]
    ax = axes_for(ax, ONE, 3.4)
    ax.set_axis_off()
    above, below = (axes_for(ax.inset_axes(box), 0, 0) for box in ((0, 0.38, 1, 0.62), (0, 0, 1, 0.3)))
    for panel in (above, below):
        panel.tick_params(labelsize=SMALL)
        panel.grid(axis="y", color=GRID, linewidth=0.7)
        panel.set_xlim(0, 1)
        for start, stop in zip(t[:-1:2], t[1::2], strict=False) if len(slope) <= _BANDS else ():
            panel.axvspan(start, stop, color="#f3f3f3", linewidth=0, zorder=0)
    above.plot(t, decision, color=BLUE, linewidth=1.4)
    above.plot(t, decision, "o", color=BLUE, markersize=3.2 if len(t) <= 200 else 1.2)
    below.plot(np.repeat(t, 2)[1:-1], np.repeat(slope, 2), color=VERMILION, linewidth=1.2)
    below.axhline(0, color=QUIET, linewidth=0.7, zorder=1)
    above.set_xticklabels([])
    above.set_ylabel(scale_label(result.network, k))
    below.set_ylabel("slope\n(per unit of t)")
    below.set_xlabel("share t of the way from a to b")
    for panel in (above, below):
        panel.locator_params(axis="y", nbins=4)
    below.yaxis.set_major_formatter(compact)
    _apart(above, decision)
    _apart(below, np.r_[slope, 0.0], float(np.abs(decision).max()))
    said = f"{counted(len(slope), 'piece')}; the line is straight between the dots."
    if result.region is not None:
        seen = int((result.region[part] >= 0).sum())
        if seen == len(slope) == 1:
            said += " It is a region that rows of the table use."
        else:
            kind = "a region" if seen == 1 else "regions"
            said += f" {seen:,} of them {is_are(seen)} {kind} that rows of the table use."
    if result.n_segments > 1:
        said = f"Segment {segment:,} of {result.n_segments:,}. {said}"
    return finished(ax, "The decision on a straight way", said)


def ice(result: Ice, ax: Axes | None = None, *, output: str | int = 0, most: int = _CURVES) -> Axes:
    """Draw the curves of rows along a feature, and their mean; return the axes.

    Parameters
    ----------
    result : from `interpret.ice`.
    ax : to draw on; a new figure by default.
    output : which one, by name or position. most : rows that are drawn, evenly spaced in the order of their decisions.

    Raises
    ------
    ArgumentError : no such output.
    """
    from matplotlib.collections import LineCollection

    k = result.network.output_index(output)
    n = result.n_rows
    order = np.argsort(result.own_decision[:, k], kind="stable")
    shown = order[np.unique(np.linspace(0, n - 1, min(n, max(most, 1))).astype(np.intp))]
    lines = [np.column_stack([knots, decision[:, k]]) for knots, decision in map(result.curve_at, shown.tolist())]
    ax = axes_for(ax, ONE, 3.2)
    opacity = float(np.clip(12 / len(shown), 0.15, 0.8))
    ax.add_collection(LineCollection(lines, colors=BLUE, linewidths=0.8, alpha=opacity))
    ax.plot(result.own[shown], result.own_decision[shown, k], ".", color=BLUE, markersize=2.5, alpha=0.7)
    values, mean = _thinned(*result.mean)
    ax.plot(values, mean[:, k], color=VERMILION, linewidth=2.0)
    ax.set_xlim(values[0], values[-1])
    ax.autoscale_view(scalex=False)
    _labelled(ax, result.feature, scale_label(result.network, k))
    _apart(ax, np.concatenate([line[:, 1] for line in lines]))
    many = f"{len(shown):,} of {n:,} rows" if len(shown) < n else all_of(n, "row").capitalize()
    said = f"{many} {is_are(len(shown))} drawn"
    said += f", with a dot where each one is; the thick line is the mean of all{result.caveat}."
    return finished(ax, f"Each row as {short(result.feature, NAME)} changes", said)


def partial_dependence(result: Effect, ax: Axes | None = None, *, output: str | int = 0) -> Axes:
    """Draw a mean effect over the distribution of its feature; return the axes.

    Parameters
    ----------
    result : from `interpret.partial_dependence` or `interpret.ale`.
    ax : to draw on; a new figure by default.
    output : which one, by name or position.

    Raises
    ------
    ArgumentError : no such output.

    Notes
    -----
    The strip at the bottom is the distribution of the feature over the rows, up to its own maximum; the line is thin
    outside of the middle 98 % of them.
    """
    k = result.network.output_index(output)
    if result.levels:
        return _levels(result, ax, k)
    ax = axes_for(ax, ONE, 3.2)
    values, effect = _thinned(result.values, result.effect)
    y = effect[:, k]
    low, high = np.quantile(result.distribution, [0.01, 0.99])
    inside = (values >= low) & (values <= high)
    ax.plot(values, y, color=BLUE, linewidth=0.8)
    ax.plot(values[inside], y[inside], color=BLUE, linewidth=2.0)
    _strip(ax, result.distribution, y)
    ax.set_xlim(values[0], values[-1])
    _labelled(ax, result.feature, _mean_label(result, k))
    if result.kind != "partial dependence":
        ax.axhline(0, color=QUIET, linewidth=0.7, zorder=1)
    return finished(ax, _effect_title(result), _effect_caption(result))


def ale(result: Effect, ax: Axes | None = None, *, output: str | int = 0) -> Axes:
    """Draw accumulated local effects, as `partial_dependence` does; return the axes."""
    return partial_dependence(result, ax, output=output)


def _levels(result: Effect, ax: Axes | None, k: int) -> Axes:
    """Draw the mean at each level as a dot, and the share of the rows that have it."""
    effect, share = result.effect[:, k], result.distribution
    n = len(effect)
    ax = axes_for(ax, ONE, max(1.5 + 0.16 * min(n, _LEVELS), 3.2))
    m = fitting(ax, n, _LEVELS, 1.3)
    mean = float(share @ effect) if share.sum() > 0 else 0.0
    matter = np.abs(effect - mean) * (share if share.sum() > 0 else 1.0)
    kept = np.argsort(-matter, kind="stable")[:m]
    order = kept[np.lexsort((kept, -effect[kept]))]
    y = np.arange(m)
    ax.hlines(y, mean, effect[order], color=GRID, linewidth=2)
    ax.plot(effect[order], y, "o", color=BLUE, markersize=6 if m <= 20 else 4)
    ax.axvline(mean, color=QUIET, linewidth=0.8)
    label_rows(ax, y, [short(result.levels[i], NAME) for i in order])
    right_column(ax, y, [f"{share[i]:.1%} of rows" for i in order])
    ax.set_ylim(m - 0.4, -0.6)
    ends = float(effect[order].min()), float(effect[order].max())
    if widened(*ends) != ends:
        ax.set_xlim(widened(*ends))
    ax.locator_params(axis="x", nbins=5)
    ax.set_xlabel(_mean_label(result, k))
    said = [_effect_caption(result), "The line is their mean by share of the rows."]
    said += [some(m, n, "levels", "those with the largest distance from the mean, times their share")] * (m < n)
    return finished(ax, _effect_title(result), " ".join(said))


def _apart(ax: Axes, values: Floats, scale: float = 0.0) -> None:
    """Give an upright axis a range where all values are equal but for rounding."""
    ends = float(values.min()), float(values.max())
    if widened(*ends, scale) != ends:
        ax.set_ylim(widened(*ends, scale))


def _mean_label(result: Effect, k: int) -> str:
    label = scale_label(result.network, k, result.scale)
    return f"mean {label}" if result.kind == "partial dependence" else f"effect on the {label}"


def _effect_title(result: Effect) -> str:
    return f"{result.kind.capitalize()} of {short(result.feature, NAME)}"


def _effect_caption(result: Effect) -> str:
    rows = counted(result.n_rows, "row")
    if result.levels:
        return f"Mean of {rows}, each level set in turn{result.caveat}."
    if result.kind != "partial dependence":
        bins = len(result.edges) - 1
        return (
            f"{rows} in {counted(bins, 'bin')}, slopes averaged within each{result.caveat}; exact between. Thin "
            "outside of the middle 98 % of the rows, whose distribution is below."
        )
    kinks = max(len(result.values) - 2, 0)
    kinked = f"with {all_of(kinks, 'kink') if kinks else 'no kink'}"
    how = kinked if result.scale == "decision" else f"at {counted(len(result.values), 'value')}"
    return (
        f"Mean of {rows}{result.caveat}, exact {how}. Thin outside of the middle 98 % of the rows, whose distribution is "
        "below."
    )


def _thinned(values: Floats, effect: Floats) -> tuple[Floats, Floats]:
    """Return a curve at no more points than can be seen: evenly spaced ones, and the largest kinks."""
    if len(values) <= 2 * _POINTS:
        return values, effect
    even = np.linspace(values[0], values[-1], _POINTS)
    kinks = np.abs(np.diff(np.diff(effect, axis=0) / np.diff(values)[:, None], axis=0)).max(axis=1)
    at = np.unique(np.concatenate([even, values[1 + np.argsort(-kinks, kind="stable")[:_POINTS]]]))
    return at, np.stack([np.interp(at, values, column) for column in effect.T], axis=1)


def _strip(ax: Axes, quantiles: Floats, y: Floats) -> None:
    """Draw the distribution below a curve, up to its own maximum."""
    low, high = widened(float(y.min()), float(y.max()))
    span = high - low
    floor = low - span * (0.06 + _STRIP) / (1 - _STRIP)
    ax.set_ylim(floor, high + 0.06 * span)
    edges = np.linspace(quantiles[0], quantiles[-1], 41)
    if edges[0] == edges[-1]:
        return
    share = np.histogram(quantiles, edges)[0]
    ax.stairs(floor + share / share.max() * _STRIP * span, edges, baseline=floor, fill=True, color=SKY, alpha=0.45)


def _labelled(ax: Axes, feature: str, label: str) -> None:
    ax.set_xlabel(short(feature, 40))
    ax.set_ylabel(label)
    ax.locator_params(axis="x", nbins=5)
    ax.locator_params(axis="y", nbins=5)
    ax.grid(axis="y", color=GRID, linewidth=0.7)
