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
_COLOURS = ((BLUE, "-"), (VERMILION, "--"))


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
    row that is not proved at its lower bound, so that the true curve lies between the two.
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
    if result.status[i] is not Search.FOUND and np.isfinite(result.lower_bound[i]):
        said.append(f"Proved: nothing nearer than {_number(result.lower_bound[i])} is decided otherwise.")
    said.append(result.status[i].value)
    if not changes:
        ax.text(0.5, 0.5, "none found", transform=ax.transAxes, ha="center", va="center", fontsize=SMALL, color=QUIET)
        ax.set_yticks([])
    return finished(ax, f"What would change the decision of row {result.row[i]:,}", " ".join(said))


def _spread_unit(result: BoundaryDistances) -> str:
    return "standard deviations" if result.has_sample else result.unit


def _norm_name(result: BoundaryDistances) -> str:
    return {"inf": "∞"}.get(result.norm, result.norm)


def _number(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")


# ---------------------------------------------------------------- many rows


def _many(result: BoundaryDistances, ax: Axes | None) -> Axes:
    names = np.array([result.side_name(i) for i in range(len(result))], dtype=object)
    sides, counts = np.unique(names.astype(str), return_counts=True)
    order = np.lexsort([sides, -counts])[:_SIDES]
    height = 1.35
    ax = axes_for(ax, ONE, 1.3 + height * len(order))
    unproved = np.array([s is not Search.FOUND and s is not Search.NONE for s in result.status])
    finite = [v[np.isfinite(v)] for v in (result.distance_facet, result.distance)]
    far = max((float(np.quantile(v, 0.95)) for v in finite if len(v)), default=0.0) or 1.0
    ax.set_axis_off()
    narrow = inches(ax)[0] < NARROW
    step = 1 / len(order)
    panels = []
    for n, k in enumerate(order):
        bottom = 1 - (n + 1) * step
        panel = ax.inset_axes((0.0, bottom + 0.02 * step, 1.0, 0.72 * step))
        axes_for(panel, ONE, height)
        mine = names.astype(str) == sides[k]
        curves: list[tuple[Floats, str, Any]] = [
            (result.distance_facet[mine], *_COLOURS[0]),
            (result.distance[mine], *_COLOURS[1]),
        ]
        if unproved[mine].any():
            curves.append((np.minimum(result.lower_bound, result.distance)[mine], VERMILION, ":"))
        for values, colour, style in curves:
            at = np.sort(values)
            share = np.arange(1, len(at) + 1) / len(at)
            keep = at <= far
            x = np.concatenate([[0.0], at[keep], [far]])
            y = np.concatenate([[0.0], share[keep], share[keep][-1:] if keep.any() else [0.0]])
            panel.plot(x, y, color=colour, linestyle=style, linewidth=1.4, drawstyle="steps-post")
        panel.set_xlim(0, far)
        panel.set_ylim(0, 1.02)
        panel.set_yticks([0, 1], ["0 %", "100 %"], fontsize=SMALL)
        panel.locator_params(axis="x", nbins=4 if narrow else 7)
        panel.xaxis.set_major_formatter(compact)
        panel.grid(color=GRID, linewidth=0.7)
        panel.set_title(
            f"decided {short(sides[k], NAME)}: {counts[k]:,} row{'s' * int(counts[k] != 1)}",
            loc="left",
            fontsize=SMALL,
            parse_math=False,
        )
        if n < len(order) - 1:
            panel.set_xticklabels([])
        panels.append(panel)
    panels[-1].set_xlabel(f"distance ({result.unit}, norm {_norm_name(result)})")
    return finished(
        ax, "How far rows are from another decision", _said_of_many(result, order, sides, counts, far, unproved)
    )


def _said_of_many(result: BoundaryDistances, order: Any, sides: Any, counts: Any, far: float, unproved: Any) -> str:
    n = len(result)
    said = [
        "Share of the rows that are nearer. Solid: to the nearest facet of their region; dashed: to the nearest row found that "
        "is decided otherwise."
    ]
    if unproved.any():
        said.append(
            f"{int(unproved.sum()):,} of {n:,} rows are not proved; dotted: those at their lower bound, so the truth lies "
            "between the two curves."
        )
    none = int(sum(s is Search.NONE for s in result.status))
    if none:
        said.append(f"{none:,} of {n:,} rows can reach no other decision.")
    for values, what in ((result.distance_facet, "facet"), (result.distance, "other decision")):
        beyond = int((np.isfinite(values) & (values > far)).sum())
        if beyond:
            said.append(f"{beyond:,} rows have their nearest {what} beyond {_number(far)}.")
    if len(order) < len(sides):
        said.append(
            f"Shown are the {len(order)} of {len(sides)} decisions with the most rows, {counts[order].sum():,} of {n:,}."
        )
    return " ".join(said)
