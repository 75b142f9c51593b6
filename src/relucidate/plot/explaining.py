"""Picture of one explained row: from the mean row to this one, feature by feature."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from relucidate.errors import ArgumentError, clipped
from relucidate.explaining import Explanation
from relucidate.plot.parts import (
    BLUE,
    GRID,
    LINE,
    NAME,
    NARROW,
    ONE,
    QUIET,
    SMALL,
    TEXT,
    TITLE,
    VERMILION,
    axes_for,
    characters,
    finished,
    fitting,
    inches,
    label_rows,
    right_column,
    scale_label,
    short,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BAR = 0.68  # height of a bar, of a row


def explain(
    result: Explanation,
    ax: Axes | None = None,
    *,
    row: int | None = None,
    output: str | int | None = None,
    most: int = 10,
) -> Axes:
    """Draw what each feature of a row adds to what its local linear model says of the mean row, and return the axes.

    Parameters
    ----------
    result : from `interpret.explain`.
    ax : to draw on; a new figure by default.
    row : its number in the table; the first that was explained by default.
    output : name or position; by default the first, or of a softmax network the class predicted.
    most : bars, fewer where there is no room; the smaller ones are added up in one more.

    Raises
    ------
    ArgumentError : the row was not explained, or another argument makes no sense.

    Notes
    -----
    Bars are centred effects, the largest first, indicators of one column in one bar; each starts where the one before
    ended, so that the last one ends at the decision.
    """
    if most < 1:
        raise ArgumentError(f"most is {clipped(most)}; expected a whole number from 1.")
    i = result.position(row)
    k = result.output_of(i, output)
    terms = result.terms(row, output)
    names = [short(name, NAME) for name in result.network.feature_names]
    title = _title(result, i, k)
    caption = " ".join([*result.reliability(row), result.end(row, names)[0]])
    label = scale_label(result.network, k)
    ax = axes_for(ax, ONE, 1.9 + 0.21 * (min(len(terms), most) + 3))
    # beside the bars are the rows at both ends and that of the others
    m = fitting(ax, len(terms) + 3, most + 3, _beside(inches(ax)[0], title, label, caption)) - 3
    m = max(m if m < len(terms) - 1 else len(terms), 1)  # "1 other" takes as much room as its name
    shown, rest = terms[:m], terms[m:]
    start, end = float(result.mean_part[i, k]), float(result.decision[i, k])
    steps = np.array([t.centred for t in shown] + [sum(t.centred for t in rest)] * bool(rest))
    edges = np.concatenate([[start], start + np.cumsum(steps)])
    room = characters(0.42 * inches(ax)[0], SMALL)
    labels = [_label(t.name, t.value, room) for t in shown] + [f"{len(rest):,} others"] * bool(rest)
    for n, step in enumerate(steps):
        ax.barh(n + 1, step, _BAR, left=edges[n], color=BLUE if step >= 0 else VERMILION, zorder=2)
    for n, edge in enumerate(edges):  # from the top of one bar, or from the dot, to the bottom of the next
        ends = [n - _BAR / 2 * (n > 0), n + 1 + _BAR / 2 * (n < len(steps))]
        ax.plot([edge, edge], ends, color=QUIET, linewidth=0.7, zorder=3)
    last = len(steps) + 1
    ax.plot([start, end], [0, last], "o", color="black", markersize=4.5, linestyle="none", zorder=4)
    places = np.arange(last + 1)
    label_rows(ax, places, ["mean row", *labels, "this row"])
    for at in (0, last):
        ax.get_yticklabels()[at].set_fontweight("bold")
    right_column(ax, places, [_signed(start, ""), *(_signed(s) for s in steps), _signed(end, "")])
    ax.set_ylim(last + 0.6, -0.6)
    low, high = float(edges.min()), float(edges.max())
    margin = 0.05 * (high - low) or 0.5
    low, high = low - margin, high + margin
    ax.set_xlim(low, high)
    if result.network.is_classifier and result.network.n_outputs == 1 and low < 0 < high:
        ax.axvline(0, color=QUIET, linewidth=0.6, linestyle=(0, (4, 3)), zorder=1)
    ax.grid(axis="x", color=GRID, linewidth=0.7)
    ax.locator_params(axis="x", nbins=3 if inches(ax)[0] < NARROW else 6)
    ax.set_xlabel(label)
    return finished(ax, title, caption)


def _beside(wide: float, title: str, label: str, caption: str) -> float:
    """Return the inches that all but the bars takes of the height."""
    texts = ((title, 0.85, TITLE), (caption, 0.8, SMALL), (label, 0.45, TEXT))
    lines = [(-(-len(text) // characters(share * wide, size)), size) for text, share, size in texts]
    return 0.4 + sum(n * size * LINE / 72 for n, size in lines)


def _label(name: str, value: str, room: int) -> str:
    told = short(value, max(room // 2, 6))
    return f"{short(name, max(room - len(told) - 3, 6))} = {told}"


def _signed(value: float, sign: str = "+") -> str:
    text = f"{value:{sign},.0f}" if 1e3 <= abs(value) < 1e9 else f"{value:{sign}.3g}"
    return "0" if value == 0 else text.replace("-", "−")


def _title(result: Explanation, i: int, k: int) -> str:
    net = result.network
    title = (
        f"Row {result.row[i]:,}: {scale_label(net, k, 'prediction')} is {_signed(float(result.prediction[i, k]), '')}"
    )
    return title if net.link == "identity" else f"{title}, decision {_signed(float(result.decision[i, k]), '')}"
