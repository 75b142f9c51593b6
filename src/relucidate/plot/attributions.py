"""Pictures of what features add to decisions: of one row as signed bars, of many as a swarm of dots per feature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from relucidate.attributing import IntegratedGradients
from relucidate.errors import ArgumentError, clipped
from relucidate.layers import Floats
from relucidate.network import Network
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
    finished,
    fitting,
    inches,
    label_rows,
    right_column,
    scale_label,
    short,
    some,
)
from relucidate.shapley_values import Shapley

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DOTS = 1_000  # rows drawn of each feature
_BINS = 80  # of the swarm, across the axis
_ROW = 0.2  # inches of a row
HEADER, TOP = -1.3, -1.9  # places of the words above a column of numbers, and of the upper edge
_LEVEL = "#b0b0b0"  # dots of values that are no numbers
_MIDDLE = "#b9a6b5"  # between blue and orange


def shapley(
    result: Shapley, ax: Axes | None = None, *, row: int | None = None, output: str | int = 0, most: int = 12
) -> Axes:
    """Draw the values of one row as bars, or those of all rows as dots, the largest on top, and return the axes.

    Parameters
    ----------
    result : from `interpret.shapley`.
    ax : to draw on; a new figure by default.
    row : position of the row whose bars are drawn; by default dots of all rows, or bars if there is one row.
    output : which one, by name or position.
    most : features shown, fewer where there is no room; bars of the others are added up.

    Raises
    ------
    ArgumentError : no such row or output, no rows, or `most` below 1.

    Notes
    -----
    Dots are coloured by the value of the feature, from its 5 % to its 95 % quantile; above 1,000 rows every so many-th is
    drawn. Features are sorted by their mean |value| over all rows, which is the number on the right.
    """
    parts = _Parts(
        network=result.network,
        row=result.row,
        values=result.values,
        base=result.base,
        total=result.output,
        scale=result.scale,
        features=result.features,
        feature_values=result.feature_values,
        noun="Shapley value",
        start="the mean over the background",
        note=result.note,
    )
    return _drawn(parts, ax, row, output, most)


def integrated_gradients(
    result: IntegratedGradients,
    ax: Axes | None = None,
    *,
    row: int | None = None,
    output: str | int = 0,
    most: int = 12,
) -> Axes:
    """Draw the attributions of one row as bars, or those of all rows as dots, as `shapley` does; return the axes.

    Parameters
    ----------
    result : from `interpret.integrated_gradients`.
    ax, row, output, most : as for `shapley`.

    Raises
    ------
    ArgumentError : as for `shapley`.
    """
    several = result.n_baselines > 1
    parts = _Parts(
        network=result.network,
        row=result.row,
        values=result.grouped,
        base=result.base,
        total=result.output,
        scale=result.scale,
        features=result.features,
        feature_values=result.network.features.in_columns(result.x),
        noun="attribution",
        start="the mean over the baselines" if several else "the baseline",
        note=f"Exact integrated gradients from {result.baseline}.",
    )
    return _drawn(parts, ax, row, output, most)


@dataclass(frozen=True, eq=False)
class _Parts:
    """What features add to what is said of rows: `base` plus `values` is `total`, on a scale.

    Parameters
    ----------
    row : (n,) numbers. values : (n, n_outputs, n_groups). base : (n_outputs,). total : (n, n_outputs).
    features : a name per group. feature_values : what each row has there.
    noun, start, note : what values are called, what `base` is, more words.
    """

    network: Network
    row: NDArray[np.int64]
    values: Floats
    base: Floats
    total: Floats
    scale: str
    features: tuple[str, ...]
    feature_values: tuple[NDArray[Any], ...]
    noun: str
    start: str
    note: str


def _drawn(parts: _Parts, ax: Axes | None, row: int | None, output: str | int, most: int) -> Axes:
    k = parts.network.output_index(output)
    n = len(parts.values)
    if n == 0:
        raise ArgumentError("There are no rows to draw.")
    if most < 1:
        raise ArgumentError(f"most is {clipped(most)}; expected at least 1.")
    if row is None and n > 1:
        return _swarm(parts, ax, k, most)
    i = 0 if row is None else row
    if not 0 <= i < n:
        raise ArgumentError(f"row is {clipped(row)}; expected 0 to {n - 1}.")
    return _bars(parts, ax, i, k, most)


def signed(value: float, form: str = ".3g") -> str:
    """Return a number as text, with a sign that is as wide as a plus."""
    return format(value, form).replace("-", "−")


# ---------------------------------------------------------------- one row


def _bars(result: _Parts, ax: Axes | None, i: int, k: int, most: int) -> Axes:
    values = result.values[i, k]
    G = len(values)
    ax = axes_for(ax, ONE, 1.7 + _ROW * min(G, most + 1))
    order = np.argsort(-np.abs(values), kind="stable")
    m = fitting(ax, G, most + 1)  # with the bar of the others
    m = m if m == G else max(min(m - 1, int(np.count_nonzero(values))), 1)  # no place for zeros where some are left out
    kept = order[:m]
    ends = list(values[kept]) + [float(values[order[m:]].sum())] * (m < G)
    room = characters(0.42 * inches(ax)[0], SMALL)
    labels = [_named(result.features[j], result.feature_values[j][i], room) for j in kept]
    labels += [f"{G - m:,} other{'s' * (G - m > 1)}"] * (m < G)
    y = np.arange(len(ends))
    ax.barh(y, ends, 0.68, color=[BLUE if v >= 0 else VERMILION for v in ends], zorder=2)
    ax.axvline(0, color=QUIET, linewidth=0.8, zorder=3)
    label_rows(ax, y, labels)
    right_column(ax, y, [signed(v, "+.3g") if v else "0" for v in ends])
    ax.set_ylim(len(ends) - 0.4, -0.6)
    ax.margins(x=0.06)
    _scaled(ax, result, k)
    base, decision = signed(float(result.base[k]), ".4g"), signed(float(result.total[i, k]), ".4g")
    said = [some(m, G, "features", "those with the largest values"), f"{base}, {result.start}, plus the values is"]
    said += [f"{decision}.", result.note]
    return finished(
        ax,
        f"Row {result.row[i]:,}: {scale_label(result.network, k, result.scale)} {decision}",
        " ".join(filter(None, said)),
    )


def _named(name: str, value: Any, room: int) -> str:
    if isinstance(value, float):
        value = "missing" if np.isnan(value) else signed(value, ".4g")
    told = short(value, max(room // 2, 6))
    return f"{short(name, max(room - len(told) - 3, 6))} = {told}"


def _scaled(ax: Axes, result: _Parts, k: int) -> None:
    ax.grid(axis="x", color=GRID, linewidth=0.7)
    ax.locator_params(axis="x", nbins=5 if inches(ax)[0] > NARROW else 3)
    ax.set_xlabel(f"{result.noun}: adds to the {scale_label(result.network, k, result.scale)}", parse_math=False)


# ---------------------------------------------------------------- many rows


def _swarm(result: _Parts, ax: Axes | None, k: int, most: int) -> Axes:
    values = result.values[:, k]
    n, G = values.shape
    ax = axes_for(ax, ONE, 2.1 + 1.3 * _ROW * min(G, most))
    size = np.abs(values).mean(axis=0)
    kept = np.argsort(-size, kind="stable")[: fitting(ax, G, most, 2.0)]
    rows = np.unique(np.linspace(0, n - 1, min(n, _DOTS)).astype(np.intp))
    reach = float(np.ptp(values[np.ix_(rows, kept)])) or 1.0
    levels = False
    for at, j in enumerate(kept):
        shown = values[rows, j]
        tone = _tones(result.feature_values[j])[rows]
        known = np.isfinite(tone)
        levels |= not known.all()
        place = at + _spread(shown, reach)
        area = 9.0 if len(rows) <= 300 else 5.0
        ax.scatter(shown[~known], place[~known], area, color=_LEVEL, linewidths=0, zorder=2)
        ax.scatter(
            shown[known], place[known], area, tone[known], cmap=_colours(), vmin=0, vmax=1, linewidths=0, zorder=3
        )
    ax.axvline(0, color=QUIET, linewidth=0.8, zorder=1)
    y = np.arange(len(kept))
    label_rows(ax, y, named(ax, [result.features[j] for j in kept]))
    right_column(ax, np.r_[HEADER, y], ["mean\n|value|", *(f"{size[j]:.2g}" for j in kept)])
    ax.set_ylim(len(kept) - 0.4, TOP)
    _legend(ax, levels)
    _scaled(ax, result, k)
    said = [
        some(len(kept), G, "features", "those with the largest mean |value|"),
        f"A dot per row, {len(rows):,} of {n:,}." if len(rows) < n else f"A dot for each of {n:,} rows.",
        result.note,
    ]
    return finished(ax, f"{result.noun[0].upper()}{result.noun[1:]}s of all rows", " ".join(filter(None, said)))


def _tones(values: NDArray[Any]) -> Floats:
    """Return where each value is between the feature's 5 % and 95 % quantile (n,), NaN for what is no number."""
    if values.dtype == object or not np.isfinite(values).any():
        return np.full(len(values), np.nan)
    low, high = np.nanquantile(values, [0.05, 0.95])
    if low == high:
        low, high = np.nanmin(values), np.nanmax(values)
    return np.clip((values - low) / (high - low), 0, 1) if low < high else np.where(np.isnan(values), np.nan, 0.5)


def _spread(values: Floats, reach: float) -> Floats:
    """Return how far above or below its line each dot lies (n,), so that dots of one place lie side by side."""
    bins = np.floor((values - values.min()) / reach * _BINS).astype(np.intp)
    # shuffled, since sorted dots of a place would look like a pattern
    order = np.lexsort((np.random.default_rng(0).permutation(len(values)), bins))
    count = np.bincount(bins)
    within = np.arange(len(values)) - np.repeat(np.cumsum(count) - count, count)
    step = min(0.8 / max(int(count.max()), 1), 0.08)
    out = np.empty(len(values))
    out[order] = step * ((within + 1) // 2) * np.where(within % 2, 1, -1)
    return out


def _colours() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("low to high", [BLUE, _MIDDLE, VERMILION])


def _legend(ax: Axes, levels: bool) -> None:
    names = {BLUE: "low", VERMILION: "high value"} | ({_LEVEL: "level, none"} if levels else {})
    for colour, name in names.items():
        ax.plot([], [], "o", color=colour, markersize=3.5, label=name)
    legend_above(ax)


def legend_above(ax: Axes) -> None:
    """Put a legend above the first row: from the right edge over the column of names, since axes can be narrow."""
    legend = ax.legend(
        ncols=4, loc="upper right", borderaxespad=0, fontsize=SMALL, handletextpad=0.1, columnspacing=0.8
    )
    legend.get_frame().set(facecolor="white", alpha=1, edgecolor="none")
    ax.spines["left"].set_bounds(ax.get_ylim()[0], -0.6)


def named(ax: Axes, names: Sequence[str]) -> list[str]:
    """Return names that leave the axes two thirds of their width."""
    room = min(NAME, characters(0.33 * inches(ax)[0], SMALL))
    return [short(name, room) for name in names]
