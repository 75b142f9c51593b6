"""Pictures of straight ways: a path piece by piece, and what happens as one feature changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
    TEXT,
    VERMILION,
    axes_for,
    finished,
    scale_label,
    short,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CURVES = 100  # rows that are drawn
_BANDS = 40  # pieces that are told apart by shading
_POINTS = 2_000  # of a mean curve that has more knots than that
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
    above, below = ax.inset_axes((0, 0.36, 1, 0.64)), ax.inset_axes((0, 0, 1, 0.28))
    for panel in (above, below):
        _styled(panel)
        panel.set_xlim(0, 1)
        for start, stop in zip(t[:-1:2], t[1::2], strict=False) if len(slope) <= _BANDS else ():
            panel.axvspan(start, stop, color="#f3f3f3", linewidth=0, zorder=0)
    above.plot(t, decision, color=BLUE, linewidth=1.4)
    above.plot(t, decision, "o", color=BLUE, markersize=3.2 if len(t) <= 200 else 1.2)
    below.plot(np.repeat(t, 2)[1:-1], np.repeat(slope, 2), color=VERMILION, linewidth=1.2)
    below.axhline(0, color=QUIET, linewidth=0.7, zorder=1)
    above.set_xticklabels([])
    above.set_ylabel(_broken(scale_label(result.network, k)))
    below.set_ylabel("slope\n(per unit of t)")
    below.set_xlabel("share t of the way from a to b")
    for panel in (above, below):
        panel.locator_params(axis="y", nbins=4)
    said = f"{len(slope):,} piece{'s' * (len(slope) != 1)}; the line is straight between the dots."
    if result.region is not None:
        seen = int((result.region[part] >= 0).sum())
        said += f" {seen:,} of them are regions that rows of the table use."
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
    lines = [np.column_stack([knots, decision[:, k]]) for knots, decision in map(result.curve, shown.tolist())]
    ax = axes_for(ax, ONE, 3.2)
    opacity = float(np.clip(12 / len(shown), 0.15, 0.8))
    ax.add_collection(LineCollection(lines, colors=BLUE, linewidths=0.8, alpha=opacity))
    ax.plot(result.own[shown], result.own_decision[shown, k], ".", color=BLUE, markersize=2.5, alpha=0.7)
    values, mean = _thinned(*result.mean)
    ax.plot(values, mean[:, k], color=VERMILION, linewidth=2.0)
    ax.set_xlim(values[0], values[-1])
    ax.autoscale_view(scalex=False)
    _labelled(ax, result.feature, scale_label(result.network, k))
    said = f"{len(shown):,} of {n:,} rows are drawn" if len(shown) < n else f"All {n:,} rows are drawn"
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
    ax = axes_for(ax, ONE, 3.2)
    if result.levels:
        return _levels(result, ax, k)
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


def _levels(result: Effect, ax: Axes, k: int) -> Axes:
    """Draw the mean at each level as a dot, and the share of the rows that have it."""
    from relucidate.plot.parts import label_rows, right_column

    order = np.argsort(-result.effect[:, k], kind="stable")
    y = np.arange(len(order))
    mean = float(result.distribution @ result.effect[:, k]) if result.distribution.sum() > 0 else 0.0
    ax.hlines(y, mean, result.effect[order, k], color=GRID, linewidth=2)
    ax.plot(result.effect[order, k], y, "o", color=BLUE, markersize=6)
    ax.axvline(mean, color=QUIET, linewidth=0.8)
    label_rows(ax, y, [short(result.levels[i], NAME) for i in order])
    right_column(ax, y, [f"{result.distribution[i]:.1%} of rows" for i in order])
    ax.set_ylim(len(order) - 0.4, -0.6)
    ax.locator_params(axis="x", nbins=5)
    ax.set_xlabel(_mean_label(result, k))
    return finished(
        ax, _effect_title(result), f"{_effect_caption(result)} The line is their mean by share of the rows."
    )


def _mean_label(result: Effect, k: int) -> str:
    label = scale_label(result.network, k, result.scale)
    return f"mean {label}" if result.kind == "partial dependence" else f"effect on the {label}"


def _effect_title(result: Effect) -> str:
    return f"{result.kind.capitalize()} of {short(result.feature, NAME)}"


def _effect_caption(result: Effect) -> str:
    rows = f"{result.n_rows:,} row{'s' * (result.n_rows != 1)}"
    if result.levels:
        return f"Mean of {rows}, each level set in turn{result.caveat}."
    if result.kind != "partial dependence":
        bins = len(result.edges) - 1
        return (
            f"{rows} in {bins:,} bin{'s' * (bins != 1)}, slopes averaged within each{result.caveat}; exact between. Thin "
            "outside of the middle 98 % of the rows, whose distribution is below."
        )
    kinks = max(len(result.values) - 2, 0)
    how = f"with all {kinks:,} kinks" if result.scale == "decision" else f"at {len(result.values):,} values"
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
    low, high = float(y.min()), float(y.max())
    span = high - low or 1.0
    floor = low - span * (0.06 + _STRIP) / (1 - _STRIP)
    ax.set_ylim(floor, high + 0.06 * span)
    edges = np.linspace(quantiles[0], quantiles[-1], 41)
    if edges[0] == edges[-1]:
        return
    share = np.histogram(quantiles, edges)[0]
    ax.stairs(floor + share / share.max() * _STRIP * span, edges, baseline=floor, fill=True, color=SKY, alpha=0.45)


def _styled(ax: Any) -> None:
    ax.tick_params(labelsize=SMALL, color=QUIET)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(QUIET)
    ax.xaxis.label.set_fontsize(TEXT)
    ax.yaxis.label.set_fontsize(TEXT)
    ax.grid(axis="y", color=GRID, linewidth=0.7)
    ax.set_axisbelow(True)


def _labelled(ax: Axes, feature: str, label: str) -> None:
    ax.set_xlabel(short(feature, 40), parse_math=False)
    ax.set_ylabel(_broken(label), parse_math=False)
    ax.locator_params(axis="x", nbins=5)
    ax.locator_params(axis="y", nbins=5)
    ax.grid(axis="y", color=GRID, linewidth=0.7)


def _broken(label: str) -> str:
    """Return a label of an upright axis on two lines where it is long."""
    words, _, unit = label.partition(" (")
    return f"{words}\n({unit}" if unit and len(label) > 30 else label
