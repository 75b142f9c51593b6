"""Pictures of distances to facets and to the decision boundary, and of the nearest row that is decided otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from relucidate.counterfactuals import BoundaryDistances, Search
from relucidate.errors import ArgumentError, clipped
from relucidate.layers import Floats
from relucidate.plot.parts import (
    BLUE,
    GRID,
    LINE,
    NAME,
    NARROW,
    ONE,
    QUIET,
    SMALL,
    VERMILION,
    axes_for,
    characters,
    compact,
    finished,
    inches,
    label_rows,
    right_column,
    short,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BAR = 0.68  # height of a bar, of a row
_SIDES = 6  # panels
_FEW = 20  # rows, from which on the farthest twentieth is told and not drawn
_LEGEND = 0.15  # inches that a line of the legend needs
_HEAD = 0.26  # inches that the heading of a panel needs
_FACET, _OTHER, _LEAST = "nearest facet", "nearest other decision", "least proved"
_CURVES: dict[str, tuple[str, Any]] = {_FACET: (BLUE, "-"), _OTHER: (VERMILION, "--"), _LEAST: (VERMILION, ":")}


def boundary(result: BoundaryDistances, ax: Axes | None = None, *, row: int | None = None, most: int = 10) -> Axes:
    """Draw what would have to change for another decision of one row, or how far many rows are from one; return the axes.

    Parameters
    ----------
    result : from `diagnose.boundary`.
    ax : to draw on; a new figure by default.
    row : its number in the table. By default the only row, or all rows if there are several.
    most : bars; the features with smaller changes are counted in the caption.

    Raises
    ------
    ArgumentError : there is no such row, or another argument makes no sense.

    Notes
    -----
    One row: bars are the changes from the row to its counterfactual in standard deviations (or units of the scale where
    none are known), with the values before and after. Many rows: for each side of the decision, the share of its rows that
    are nearer than a distance, for the nearest facet and for the nearest row decided otherwise; a dotted curve counts each
    row that is not proved at its lower bound, so that the true curve lies between the two. All of fewer than 20 distances
    are drawn, of more the nearest 95 %. Without a level at which rows are decided otherwise there are facets only.
    """
    if most < 1:
        raise ArgumentError(f"most is {clipped(most)}; expected a whole number from 1.")
    if row is not None or len(result) == 1:
        return _one(result, result.position(row or 0), ax, most)
    return _many(result, ax)


# ---------------------------------------------------------------- one row


def _one(result: BoundaryDistances, i: int, ax: Axes | None, most: int) -> Axes:
    changes = result.changes(i)
    shown = changes[:most]
    ax = axes_for(ax, ONE, 1.7 + 0.23 * max(len(shown), 1))
    names, places = result.network.feature_names, np.arange(len(shown))
    move = np.array(
        [(result.counterfactual[i, j] - result.x[i, j]) / result.spread[j] for j, _ in shown], dtype=np.float64
    )
    ax.barh(places, move, _BAR, color=[BLUE if m >= 0 else VERMILION for m in move], zorder=2)
    room = characters(0.36 * inches(ax)[0], SMALL)
    label_rows(ax, places, [short(names[j], min(room, NAME)) for j, _ in shown])
    right_column(ax, places, [words for _, words in shown])
    ax.set_ylim(max(len(shown), 1) - 0.4, -0.6)
    reach = 1.08 * float(np.abs(move).max(initial=0.0)) or 1.0
    ax.set_xlim(min(0.0, 1.08 * float(move.min(initial=0.0))), max(0.0, 1.08 * float(move.max(initial=0.0))) or reach)
    if result.decides:
        ax.axvline(0, color=QUIET, linewidth=0.7, zorder=3)
    ax.grid(axis="x", color=GRID, linewidth=0.7)
    ax.locator_params(axis="x", nbins=3 if inches(ax)[0] < NARROW else 6)
    ax.xaxis.set_major_formatter(compact)
    ax.set_xlabel(f"change ({_spread_unit(result)})")
    said = []
    if changes:
        said.append(
            f"Decided {short(result.side_name(i), NAME)} as it is, {short(result.side_name(i, there=True), NAME)} with these "
            f"changes: {_number(result.distance[i])} {result.unit} away (norm {_norm_name(result)})."
        )
    if len(changes) > len(shown):
        said.append(f"Shown are {len(shown):,} of {len(changes):,} changes, the largest.")
    if result.status[i] is not Search.FOUND and 0 < result.lower_bound[i] < np.inf:
        said.append(f"Proved: nothing nearer than {_number(result.lower_bound[i])} is decided otherwise.")
    said.append(result.status[i].value)
    if not changes:
        none = "none found"
        if not result.decides:
            none = "no level was given"
            ax.set_axis_off()
        ax.text(0.5, 0.5, none, transform=ax.transAxes, ha="center", va="center", fontsize=SMALL, color=QUIET)
        ax.set_yticks([])
    if not result.decides and np.isfinite(result.distance_facet[i]):
        said.insert(0, f"Its region ends {_number(result.distance_facet[i])} {result.unit} away.")
    number = f"{result.row[i]:,}"
    title = f"What would change the decision of row {number}" if result.decides else f"Row {number} has no decision yet"
    return finished(ax, title, " ".join(said))


def _spread_unit(result: BoundaryDistances) -> str:
    return "standard deviations" if result.has_sample else result.unit


def _norm_name(result: BoundaryDistances) -> str:
    return {"inf": "∞"}.get(result.norm, result.norm)


def _number(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")


# ---------------------------------------------------------------- many rows


def _many(result: BoundaryDistances, ax: Axes | None) -> Axes:
    names = np.array([result.side_name(i) for i in range(len(result))], dtype=object).astype(str)
    sides, counts = np.unique(names, return_counts=True)
    order = np.lexsort([sides, -counts])[:_SIDES]
    height = 1.35
    ax = axes_for(ax, ONE, 1.5 + height * len(order))
    open_ = (Search.BUDGET, Search.UNDECIDED, Search.SKIPPED)
    unproved = np.array([s in open_ for s in result.status])
    values: dict[str, Floats] = {_FACET: result.distance_facet}
    if result.decides:
        values |= {_OTHER: result.distance, _LEAST: np.minimum(result.lower_bound, result.distance)}
    far = max(_reach(v) for name, v in values.items() if name != _LEAST) or 1.0
    cut = any((np.isfinite(v) & (v > far)).any() for name, v in values.items() if name != _LEAST)
    edge = far if cut else 1.03 * far  # so that the last step is not on the frame
    said = _said_of_many(result, order, sides, counts, far, unproved)
    ax.set_axis_off()
    narrow = inches(ax)[0] < NARROW
    curves = [name for name in values if name != _LEAST or unproved.any()]
    columns = min(len(curves), 2 if narrow else 3)
    lines = -(-len(said) // characters(inches(ax)[0], SMALL)) + 1
    room = max(inches(ax)[1] - 0.35 - lines * SMALL * LINE / 72, 0.5 * inches(ax)[1])
    top = 1 - _LEGEND * -(-len(curves) // columns) / room
    step = top / len(order)
    panels = []
    for n, k in enumerate(order):
        panel = ax.inset_axes((0.0, top - (n + 0.98) * step, 1.0, max(0.72 * step, 0.98 * step - _HEAD / room)))
        axes_for(panel, ONE, height)
        mine = names == sides[k]
        for name in curves:
            if name == _LEAST and not unproved[mine].any():
                continue
            at = np.sort(values[name][mine])
            share = np.arange(1, len(at) + 1) / len(at)
            keep = at <= far
            x = np.concatenate([[0.0], at[keep], [edge]])
            y = np.concatenate([[0.0], share[keep], share[keep][-1:] if keep.any() else [0.0]])
            colour, style = _CURVES[name]
            panel.plot(x, y, color=colour, linestyle=style, linewidth=1.4, drawstyle="steps-post")
        panel.set_xlim(0, edge)
        panel.set_ylim(0, 1.02)
        panel.set_yticks([0, 1], ["0 %", "100 %"], fontsize=SMALL)
        panel.locator_params(axis="x", nbins=4 if narrow else 7)
        panel.xaxis.set_major_formatter(compact)
        panel.grid(color=GRID, linewidth=0.7)
        panel.set_title(
            f"{f'decided {short(sides[k], NAME)}: ' if result.decides else ''}{_rows(counts[k])}",
            loc="left",
            fontsize=SMALL,
            parse_math=False,
        )
        if n < len(order) - 1:
            panel.set_xticklabels([])
        panels.append(panel)
    panels[-1].set_xlabel(f"distance ({result.unit}, norm {_norm_name(result)})")
    _legend(ax, curves, columns)
    title = (
        "How far rows are from another decision" if result.decides else "How far rows are from where their region ends"
    )
    return finished(ax, title, said)


def _reach(distances: Floats) -> float:
    """Return how far the picture has to go."""
    finite = distances[np.isfinite(distances)]
    return float(np.quantile(finite, 0.95 if len(finite) >= _FEW else 1.0)) if len(finite) else 0.0


def _legend(ax: Axes, curves: list[str], columns: int) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=_CURVES[name][0], linestyle=_CURVES[name][1], linewidth=1.4, label=name) for name in curves
    ]
    style: dict[str, Any] = {"handlelength": 2.4, "handletextpad": 0.5, "columnspacing": 1.2, "labelspacing": 0.25}
    ax.legend(
        handles=handles,
        loc="upper left",
        ncols=columns,
        fontsize=SMALL,
        frameon=False,
        borderaxespad=0.0,
        borderpad=0.0,
        **style,
    )


def _rows(n: int, of: int | None = None) -> str:
    return f"{n:,} {'' if of is None else f'of {of:,} '}row{'' if (of or n) == 1 else 's'}"


def _said_of_many(result: BoundaryDistances, order: Any, sides: Any, counts: Any, far: float, unproved: Any) -> str:
    n = len(result)
    what = "nearest facet, or nearest other decision," if result.decides else "nearest facet"
    said = [f"Share of the rows whose {what} is nearer than a distance."]
    open_ = int(unproved.sum())
    if open_:
        said.append(
            f"{_rows(open_, n)} {'is' if open_ == 1 else 'are'} not proved; dotted: at the least distance that is proved, so "
            "the truth lies between the two curves."
        )
    if not result.decides:
        said.append(Search.UNASKED.value)
    none = int(sum(s is Search.NONE for s in result.status))
    if none:
        said.append(f"{_rows(none, n)} can reach no other decision.")
    far_off = int(sum(s is Search.FAR for s in result.status))
    if far_off:
        said.append(f"{_rows(far_off, n)} {'has' if far_off == 1 else 'have'} none as far as was looked.")
    for values, what in ((result.distance_facet, "facet"), (result.distance, "other decision")):
        beyond = int((np.isfinite(values) & (values > far)).sum())
        if beyond:
            has = "has its" if beyond == 1 else "have their"
            said.append(f"{_rows(beyond)} {has} nearest {what} beyond {_number(far)}.")
    if len(order) < len(sides):
        said.append(
            f"Shown are the {len(order)} of {len(sides)} decisions with the most rows, {counts[order].sum():,} of {n:,}."
        )
    return " ".join(said)
