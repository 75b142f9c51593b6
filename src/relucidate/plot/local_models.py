"""Pictures of the local linear models: what is important, their coefficients, intercepts, directions and clusters."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from relucidate.errors import ArgumentError, clipped, shown
from relucidate.importances import Importance
from relucidate.layers import Floats
from relucidate.local_models import Clusters, Coefficients, Directions, Intercepts
from relucidate.plot.parts import (
    BLUE,
    CHARACTER,
    GRID,
    LINE,
    MANY,
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
    counted,
    cut,
    finished,
    inches,
    is_are,
    label_rows,
    right_column,
    short,
    some,
    text_width,
    wrapped,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap, Normalize

Style = Literal["lines", "violins"]

_FLAT, _SEVERAL = "#bdbdbd", "#7b6d8d"
_DOTS = 1000
_FEW = 20  # models, of which each is shown on its own, and no curve is laid through them
_LARGE = 0.01  # share of the rows of a region that is drawn as large as can be, where none has more
_ROW = 0.155  # inches that a row with a label needs
_DECISION = {
    "identity": "decision",
    "logit": "decision (log-odds)",
    "softmax": "decision (logit less the mean logit)",
    "log": "decision (log of the prediction)",
}


def _output(outputs: Sequence[str], output: str | int) -> int:
    """Return the position of an output, given by name or position."""
    if isinstance(output, str) and output in outputs:
        return list(outputs).index(output)
    if isinstance(output, int | np.integer) and 0 <= output < len(outputs):
        return int(output)
    raise ArgumentError(f"output is {clipped(output)}; expected one of {shown(outputs, 12)}, or its position.")


def _at_least_one(name: str, value: int) -> None:
    if value < 1:
        raise ArgumentError(f"{name} is {clipped(value)}; expected at least 1.")


def _which(outputs: Sequence[str], k: int) -> str:
    return f"Output {short(outputs[k], NAME)}, one of {len(outputs):,}." if len(outputs) > 1 else ""


def _percent(share: float) -> str:
    """Return a share with two digits that count: 24 %, 3.4 %, < 0.1 %; 0 % and 100 % where it is that but for rounding."""
    value = 100 * share
    for whole in (0, 100):
        if abs(value - whole) < 1e-9:
            return f"{whole} %"
    if value < 0.1:
        return "< 0.1 %"
    return f"{value:.0f} %" if 10 <= value < 99.5 else f"{min(value, 99.9):.1f} %"


def _said(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _room(ax: Axes, caption: int) -> tuple[float, float]:
    """Return the inches that are left for panels beside a title and a caption of so many characters."""
    wide, high = inches(ax)
    lines = -(-caption // characters(wide, SMALL))
    return wide, max(high - 0.3 - lines * SMALL * LINE / 72, 0.5 * high)


def _panels(
    ax: Axes, room: tuple[float, float], n: int, columns: int, left: float, gap: float, top: float, below: float
) -> list[Axes]:
    """Turn axes off, and return n panels in them, row by row.

    Parameters
    ----------
    room : inches of all. left : kept free beside all panels. gap : between columns. top, below : above and below each row.
    """
    wide, high = room
    ax.set_axis_off()
    width = max((wide - left - gap * (columns - 1)) / columns, 0.2)
    height = max(high / -(-n // columns) - top - below, 0.2)
    panels = []
    for i in range(n):
        row, column = divmod(i, columns)
        x, y = left + column * (width + gap), high - (row + 1) * (top + height) - row * below
        panels.append(_panel(ax, room, (x, y, width, height)))
    return panels


def _panel(ax: Axes, room: tuple[float, float], box: tuple[float, float, float, float]) -> Axes:
    """Return a panel at (left, bottom, width, height) inches of the room."""
    (wide, high), (x, y, width, height) = room, box
    return axes_for(ax.inset_axes((x / wide, y / high, width / wide, height / high)), 0, 0)


def _compact(value: float) -> str:
    """Return a number for an axis with little room: 2.5, 1.5e-4."""
    text = f"{value:.4g}"
    if "e" in text or len(text.lstrip("-")) > 5:
        mantissa, exponent = f"{value:.3e}".split("e")
        text = f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    return text.replace("-", "−", 1) if text.startswith("-") else text


def _narrow_ticks(panel: Axes, width: float) -> None:
    """Label so many ticks of the lower axis, so many inches wide, as fit between its ends."""
    from matplotlib.ticker import MaxNLocator

    low, high = panel.get_xlim()
    panel.set_xlim(low, high)
    for n in (4, 3, 2, 1):
        ticks = [float(v) for v in MaxNLocator(n).tick_values(low, high)]
        room = max(len(_compact(v)) for v in ticks) * SMALL * CHARACTER / 72 * (high - low) / width
        ticks = [v for v in ticks if low + 0.4 * room <= v <= high - 0.4 * room]
        if ticks and (len(ticks) == 1 or ticks[1] - ticks[0] >= 1.2 * room):
            break
    panel.set_xticks(ticks, [_compact(v) for v in ticks], fontsize=SMALL)


def _heading(panel: Axes, text: str, lines: Sequence[str] = ()) -> None:
    """Write a bold line above a panel, and lines below it."""
    for i, line in enumerate([text, *lines]):
        drop = 3 + SMALL * LINE * (len(lines) - i)
        note = panel.annotate(
            line, (0, 1), (0, drop), xycoords="axes fraction", textcoords="offset points", va="bottom"
        )
        note.set(fontsize=SMALL, fontweight="normal" if i else "bold", parse_math=False)


# ---------------------------------------------------------------- colours


def _colours() -> Colormap:
    """Return a map from dark blue to orange, without the yellow that is lost on white."""
    import matplotlib as mpl
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("plasma, dark", mpl.colormaps["plasma"](np.linspace(0, 0.85, 256)))


def _middle(values: Floats, weight: Floats) -> Normalize:
    """Return a scale from the 5th to the 95th weighted percentile."""
    from matplotlib.colors import Normalize

    known = np.isfinite(values) & (weight > 0)
    if not known.any():
        return Normalize(0, 1)
    order = np.argsort(values[known])
    reached = np.cumsum(weight[known][order])
    low, high = (values[known][order][np.searchsorted(reached, q * reached[-1])] for q in (0.05, 0.95))
    return Normalize(low, high if high > low else low + 1)


def _tone(result: Any, output: int) -> tuple[Floats | None, str]:
    """Return what regions are coloured by (R,), and what it is: the mean response, or else the mean prediction."""
    for values, words in ((result.response, "mean response"), (getattr(result, "prediction", None), "mean prediction")):
        if values is not None:
            return values[:, min(output, values.shape[1] - 1)], words
    return None, ""


def _strength(share: Floats) -> Floats:
    """Return how strongly regions are drawn, 0 to 1, by their share of the rows: areas are in proportion."""
    return np.sqrt(share / max(float(share.max(initial=0.0)), _LARGE))


def _bar(ax: Axes, drawn: Any, words: str, cax: Axes | None = None, lying: bool = False) -> None:
    figure: Any = ax.get_figure(root=True)
    at: dict[str, Any] = {"cax": cax} if cax is not None else {"ax": ax, "pad": 0.02, "fraction": 0.06, "aspect": 26}
    bar = figure.colorbar(drawn, **at, extend="both", orientation="horizontal" if lying else "vertical")
    bar.set_label(words, fontsize=SMALL, parse_math=False)
    bar.ax.tick_params(labelsize=SMALL)
    for axis in (bar.ax.xaxis, bar.ax.yaxis):
        axis.get_offset_text().set(fontsize=SMALL, color=QUIET)
    bar.ax.locator_params(axis="x" if lying else "y", nbins=4)
    bar.outline.set_visible(False)


# ---------------------------------------------------------------- importance


def importance(result: Importance, ax: Axes | None = None, *, output: str | int | None = None, most: int = 12) -> Axes:
    """Draw the importance of each feature as a bar, the largest on top, and return the axes.

    Parameters
    ----------
    result : from `interpret.importance`.
    ax : to draw on; a new figure by default.
    output : which one; by default all of them, a panel each.
    most : features shown; the others are added up. Fewer where there is no room.

    Raises
    ------
    ArgumentError : there is no such output, or `most` is below 1.

    Notes
    -----
    Of each bar the part is blue that is the share of the rows, by weight, for which the decision rises with the feature;
    orange where it falls. Columns of several features, as one-hot groups, have no one direction. Panels of several outputs
    have the same features in the same order, the most important over all outputs first.
    """
    _at_least_one("most", most)
    K, n = len(result.outputs), len(result.names)
    if output is None and K > 1:
        return _importance_panels(result, ax, most)
    k = 0 if output is None else _output(result.outputs, output)
    ax = axes_for(ax, ONE, 1.5 + 0.2 * min(n, most + 1))
    order = np.argsort(-result.share[k], kind="stable")
    m = _fitting(inches(ax)[1] - 1.3, n, most)
    _importance_bars(ax, result, k, order[:m], n)
    ax.set_xlabel(textwrap.fill("importance (share, %)", 40))
    colours = "Rises, falls, flat: parts of the rows for which the decision does so as the feature grows."
    colours = colours if np.isfinite(result.share_positive[k, order[:m]]).any() else ""
    constant = "" if result.share[k].any() else _nothing_moves(result, k)
    caption = _said(_which(result.outputs, k), constant, _importance_words(result), colours)
    return finished(ax, "Importance of the features", caption)


def _nothing_moves(result: Importance, output: int) -> str:
    """Return why an output has no importance: it is constant, or the rows are."""
    if result.kind == "variance" and not result.varies:
        return "No feature varies over these rows."
    sloped = result.share_positive[output] + result.share_negative[output]
    return "This output is constant." if (sloped == 0).all() else "No feature moves this output over these rows."


def _importance_words(result: Importance) -> str:
    return f"{result.definition[0].upper()}{result.definition[1:]}{result.caveat}; {counted(result.n_rows, 'row')}."


def _fitting(height: float, n: int, most: int) -> int:
    """Return how many of n rows are shown of at most `most`, where one more is needed for the rest, in so many inches."""
    room = max(int(height / _ROW) - 2, 2)  # the legend takes a row
    m = min(n, most, room)
    return n if n <= min(m + 1, room) else m


def _importance_bars(ax: Axes, result: Importance, k: int, kept: NDArray[np.intp], n: int, names: bool = True) -> None:
    """Draw the bars of one output, with the sum of the others and what the colours say."""
    share = 100 * result.share[k, kept]
    y = np.arange(len(kept))
    up, down = (np.nan_to_num(part[k, kept]) for part in (result.share_positive, result.share_negative))
    single = np.isfinite(result.share_positive[k, kept])
    parts = [
        ("rises", BLUE, up * share),
        ("falls", VERMILION, down * share),
        ("flat", _FLAT, np.where(single, np.maximum(1 - up - down, 0), 0) * share),
        ("several levels", _SEVERAL, np.where(single, 0, share)),
    ]
    start = np.zeros(len(kept))
    for label, colour, length in parts:
        if (length > 1e-9).any():
            ax.barh(y, length, 0.72, left=start, color=colour, label=label)
        start = start + length
    rest = n - len(kept)
    ends, labels = list(share), [short(result.names[j], NAME) for j in kept]
    if rest:
        ends.append(max(100 * float(result.share[k].sum()) - share.sum(), 0.0))
        ax.barh(len(kept), ends[-1], 0.72, color=GRID, label=f"{rest:,} others")
        labels.append(f"{rest:,} others")
    for place, end in enumerate(ends):
        note = ax.annotate(_percent(end / 100), (end, place), (3, 0), textcoords="offset points", va="center")
        note.set(fontsize=SMALL, color=QUIET)
    wide = inches(ax)[0]
    ax.set_xlim(0, (max(ends) or 100.0) * (1.22 if wide > 2 else 1.5))
    ax.set_ylim(len(ends) + 0.9 if names else len(ends) - 0.4, -0.6)
    label_rows(ax, np.arange(len(ends)), labels if names else [""] * len(ends))
    if names:
        handles, words = ax.get_legend_handles_labels()
        known = [(h, w) for h, w in zip(handles, words, strict=True) if not w.endswith("others")]
        if known:
            _legend(ax, known)
    ax.locator_params(axis="x", nbins=3 if wide < 2 else 5)
    ax.grid(axis="x", color=GRID, linewidth=0.7)


def _legend(ax: Axes, known: Sequence[tuple[Any, str]]) -> None:
    handles, words = zip(*known, strict=True)
    style: dict[str, Any] = {"handlelength": 0.8, "handletextpad": 0.4, "columnspacing": 0.9, "borderpad": 0.0}
    ax.legend(handles, words, loc="lower right", ncols=4, fontsize=SMALL, frameon=False, borderaxespad=0.2, **style)


def _importance_panels(result: Importance, ax: Axes | None, most: int) -> Axes:
    K, n = len(result.outputs), len(result.names)
    ax = axes_for(ax, TWO, 1.3 + -(-min(K, 9) // 3) * (0.6 + 0.17 * min(n, most + 1)))
    wide, high = room = _room(ax, 320)
    left = _label_width([result.names[j] for j in result.order[:most]], wide)
    columns = max(1, min(K, int((wide - left + 0.1) / 1.15)))
    head, below = 0.2, 0.3
    rows = max(1, min(-(-K // columns), int(high / (head + below + 5 * _ROW))))
    m = min(_fitting(high / rows - head - below + _ROW, n, most), n)
    drawn = min(K, rows * columns)
    kept = np.array(result.order[:m], dtype=np.intp)
    panels = _panels(ax, room, drawn, columns, left, 0.14, head, below)
    for k, panel in enumerate(panels):
        _importance_bars(panel, result, k, kept, n, names=False)
        if k % columns == 0:
            labels = [*(short(result.names[j], _name_characters(left)) for j in kept)]
            labels += [f"{n - m:,} others"] * (m < n)
            label_rows(panel, np.arange(len(labels)), labels)
        _heading(panel, cut(ax, short(result.outputs[k], NAME), _heading_room(ax, wide, left, columns), "bold"))
        panel.tick_params(labelsize=SMALL)
    limit = max(panel.get_xlim()[1] for panel in panels)
    for panel in panels:
        panel.set_xlim(0, limit)
    caption = _said(
        some(drawn, K, "outputs", "the first"),
        "Axes: importance (share, %). Blue: rows where the output rises with the feature; orange: where it falls.",
        _importance_words(result),
    )
    return finished(ax, "Importance of the features for each output", caption)


def _panel_width(wide: float, left: float, columns: int) -> float:
    """Return the inches of each of several panels side by side."""
    return (wide - left) / columns - 0.14


def _heading_room(ax: Axes, wide: float, left: float, columns: int) -> float:
    """Return the inches that a line above each of several panels has: they are a little narrower once laid out."""
    figure: Any = ax.get_figure(root=True)
    laid_out = 0.95 if figure.get_layout_engine() is not None else 0.77  # else there are margins
    return laid_out * _panel_width(wide, left, columns)


def _label_width(names: Sequence[str], wide: float) -> float:
    """Return the inches that labels of rows take, at most a third of the picture."""
    longest = max((len(short(name, NAME)) for name in names), default=1)
    return min(longest * SMALL * CHARACTER / 72 + 0.12, 0.36 * wide)


def _name_characters(left: float) -> int:
    return min(characters(left - 0.1, SMALL), NAME)


# ---------------------------------------------------------------- coefficients


def coefficients(
    result: Coefficients,
    ax: Axes | None = None,
    *,
    kind: Style = "violins",
    output: str | int = 0,
    most: int = 12,
    regions: int = 200,
) -> Axes:
    """Draw the coefficients of all local linear models, a row per feature, and return the axes.

    Parameters
    ----------
    result : from `interpret.coefficients`.
    ax : to draw on; a new figure by default.
    kind : "violins", how many rows have which coefficient, or "lines", one per region (parallel coordinates).
    output : which one, for networks with several.
    most : features shown, those with the largest coefficients. regions : lines drawn, the largest regions.

    Raises
    ------
    ArgumentError : another `kind`, no such output, or a number below 1.

    Notes
    -----
    Coefficients are drawn per standard deviation of their feature, so that features compare. A violin of one colour is a
    monotone feature, a narrow one at 0 can be left out, a wide one is nonlinear. The axis reaches over the middle 99 % of
    the rows of each feature; the caption says how many lie beyond.
    """
    if kind not in get_args(Style):
        raise ArgumentError(f"kind is {clipped(kind)}; expected 'violins' or 'lines'.")
    _at_least_one("most", most)
    _at_least_one("regions", regions)
    k, d = _output(result.outputs, output), len(result.names)
    per_feature = 0.32 if kind == "violins" else 0.27
    ax = axes_for(ax, TWO, 1.7 + per_feature * min(d, most))
    kept = result.order(k)[: max(2, min(most, int((inches(ax)[1] - 1.3) / 0.25)))]
    values = result.coef[:, k, kept] * result.scale[kept]
    low, high = (result.quantile(q)[k, kept] * result.scale[kept] for q in (0.005, 0.995))
    reach = max(float(high.max() - low.min()), float(np.abs([high, low]).max()))
    if reach <= 1e-12 * float(np.abs(result.coef[:, k]).max() * min(float(result.scale.max()), 1.0)):
        reach = 0.0  # nothing but rounding
    reach = reach or 10.0
    limits = (min(float(low.min()), 0.0) - 0.06 * reach, max(float(high.max()), 0.0) + 0.06 * reach)
    ax.set_xlim(limits)
    y = np.arange(len(kept))
    ax.set_ylim(len(kept) - 0.4, -0.6)
    ax.axvline(0, color=QUIET, linewidth=1.0, zorder=1.5)
    if kind == "violins":
        said = _violins(ax, result, k, kept, values)
    else:
        said = _lines(ax, result, k, kept, values, regions)
    label_rows(ax, y, [short(result.names[j], NAME) for j in kept])
    ax.locator_params(axis="x", nbins=4 if inches(ax)[0] < NARROW else 7)
    ax.grid(axis="x", color=GRID, linewidth=0.7)
    known = result.standardised or result.sd is not None
    per = "per standard deviation of the feature" if known else "relative to the feature's largest"
    ax.set_xlabel(f"coefficient {per}: {_DECISION[result.link]}")
    beyond = ((values < limits[0]) | (values > limits[1])).any(axis=1)
    outside = float(result.weight[beyond].sum() / result.weight.sum())
    caption = _said(
        _which(result.outputs, k),
        said,
        some(len(kept), d, "features", "those with the largest coefficients"),
        f"{_percent(outside)} of the rows have a coefficient beyond the axis." if outside > 0 else "",
        f"Held: the largest, with {_percent(result.share)} of the rows." if result.share < 1 else "",
        f"Standard deviations{result.caveat}." if result.caveat else "",
    )
    return finished(ax, f"Coefficients of {counted(result.n_models, result.kind)}", caption)


def _violins(ax: Axes, result: Coefficients, k: int, kept: NDArray[np.intp], values: Floats) -> str:
    """Draw how many rows have which coefficient: a body per feature, its quartiles and its median."""
    weight = result.weight
    low, middle, high = (result.quantile(q)[k, kept] * result.scale[kept] for q in (0.25, 0.5, 0.75))
    if (weight > 0).sum() <= _FEW:
        share = weight / weight.sum()
        for y in range(len(kept)):
            colours = np.select([values[:, y] > 0, values[:, y] < 0], [BLUE, VERMILION], QUIET)
            ax.scatter(values[:, y], np.full(len(share), y), s=150 * share, c=colours.tolist(), alpha=0.7, linewidths=0)
        right_column(ax, np.arange(len(kept)), [_sign_words(result, k, int(j)) for j in kept])
        return f"A dot per {result.kind}, its area by its rows. Right: share of the rows above 0."
    low_, high_ = ax.get_xlim()
    width = (high_ - low_) / 160
    for y in range(len(kept)):
        sides = [(VERMILION, np.linspace(low_, 0, 201), -1), (BLUE, np.linspace(0, high_, 201), 1)]
        bodies = [(colour, grid, _density(values[:, y], weight, grid, sign, width)) for colour, grid, sign in sides]
        top = max(float(density.max()) for *_, density in bodies) or 1.0
        for colour, grid, density in bodies:
            half = 0.4 * density / top
            ax.fill_between(grid, y - half, y + half, where=half > 0.002, color=colour, alpha=0.55, linewidth=0)
        flat = 0.45 * float(weight[values[:, y] == 0].sum() / weight.sum())
        if flat:
            ax.plot([0, 0], [y - flat, y + flat], color=QUIET, linewidth=3.0, solid_capstyle="butt", zorder=2)
        ax.plot([low[y], high[y]], [y, y], color="black", linewidth=2.0, solid_capstyle="butt", zorder=3)
        ax.plot(middle[y], y, "o", color="black", markerfacecolor="white", markersize=4, markeredgewidth=1.0, zorder=4)
    right_column(ax, np.arange(len(kept)), [_sign_words(result, k, int(j)) for j in kept])
    return (
        "Width: rows with this coefficient; bar: the middle half of the rows; dot: the median; grey at 0, higher for more: "
        "rows for which it is 0. Right: share of the rows above 0."
    )


def _density(values: Floats, weight: Floats, grid: Floats, sign: int, least: float) -> Floats:
    """Return a weighted kernel estimate on a grid of the values of one sign, none of it beyond them or across 0."""
    kept = (np.sign(values) == sign) & (weight > 0)
    if not kept.any():
        return np.zeros(len(grid))
    values, weight = values[kept], weight[kept]
    total = weight.sum()
    sd = math.sqrt(max(float(weight @ (values - weight @ values / total) ** 2 / total), 0.0))
    width = max(0.9 * sd * (total**2 / (weight @ weight)) ** -0.2, least)
    step = grid[1] - grid[0]
    place = np.rint((values - grid[0]) / step).astype(np.intp)
    on = (place >= 0) & (place < len(grid))
    binned = np.bincount(place[on], weight[on], minlength=len(grid))
    across, mirrored = grid[:, None] - grid, grid[:, None] + grid
    out = binned @ (np.exp(-0.5 * (across / width) ** 2) + np.exp(-0.5 * (mirrored / width) ** 2))
    inside = (grid >= values.min() - least) & (grid <= values.max() + least)
    return np.where(inside, out / width, 0.0)


def _sign_words(result: Coefficients, k: int, j: int) -> str:
    short_words = {
        "zero everywhere": "always 0",
        "always positive": "always +",
        "always negative": "always −",
        "never negative": "never −",
        "never positive": "never +",
    }
    return short_words.get(str(result.verdicts[k, j]), f"{_percent(float(result.signs[0][k, j]))} +")


def _lines(ax: Axes, result: Coefficients, k: int, kept: NDArray[np.intp], values: Floats, regions: int) -> str:
    """Draw a line per region, strong and in front where it holds many rows; behind them where most of all rows lie."""
    from matplotlib.collections import LineCollection

    y = np.arange(len(kept), dtype=float)
    shown_ = np.argsort(-result.weight, kind="stable")[:regions][::-1]
    share = result.weight[shown_] / result.weight.sum()
    strength = _strength(share)
    segments = [np.column_stack([values[r], y]) for r in shown_]
    tone, words = _tone(result, k)
    lines = LineCollection(segments, linewidths=0.5 + 1.7 * strength, alpha=0.15 + 0.75 * strength, zorder=2.5)
    if tone is None:
        lines.set_color(BLUE)
    else:
        lines.set(
            array=np.ma.masked_invalid(tone[shown_]), cmap=_colours(), norm=_middle(tone[shown_], result.weight[shown_])
        )
    ax.add_collection(lines, autolim=False)
    if len(shown_) < len(values):
        low, high = (result.quantile(q)[k, kept] * result.scale[kept] for q in (0.05, 0.95))
        ax.fill_betweenx(y, low, high, color=GRID, linewidth=0, zorder=1)
    if tone is not None:
        _bar(ax, lines, f"{words} of the {result.kind}")
    whole = len(shown_) == result.n_models
    some = (
        all_of(result.n_models, result.kind).capitalize()
        if whole
        else (
            f"Lines: the {len(shown_):,} largest of {counted(result.n_models, result.kind)}, {_percent(float(share.sum()))} "
            "of the rows; grey: the middle 90 % of all rows"
        )
    )
    return f"{some}. Strong lines hold many rows."


# ---------------------------------------------------------------- clusters


def clusters(
    result: Clusters, ax: Axes | None = None, *, output: str | int = 0, most: int = 6, features: int = 8
) -> Axes:
    """Draw what the largest clusters are told, a panel of signed bars each, and return the axes.

    Parameters
    ----------
    result : from `interpret.clusters`.
    ax : to draw on; a new figure by default.
    output : which one, for networks with several.
    most : clusters shown, the largest. features : shown, those with the largest coefficients in these clusters.

    Raises
    ------
    ArgumentError : no such output, or a number below 1.

    Notes
    -----
    All panels have the same features in the same order and one scale. Fewer clusters and features are shown where there is
    no room.
    """
    _at_least_one("most", most)
    _at_least_one("features", features)
    k, d = _output(result.outputs, output), len(result.names)
    m = min(most, len(result.number))
    columns = min(m, 3)
    ax = axes_for(ax, TWO, 1.2 + -(-m // columns) * (0.85 + 0.16 * min(d, features)))
    wide, high = room = _room(ax, 340)
    columns = min(columns, 2) if wide < NARROW else columns
    scaled = result.scaled[:, k] if result.sd is not None else result.coef[:, k]
    wanted = [result.names[j] for j in np.argsort(-np.abs(scaled[:m]).max(axis=0), kind="stable")[:features]]
    left = _label_width(wanted, wide)
    room_ = _heading_room(ax, wide, left, columns)
    headings = [_cluster_words(ax, result, i, k, room_) for i in range(m)]
    head, below = 0.08 + (1 + max(map(len, headings))) * SMALL * LINE / 72, 0.3
    rows = max(1, min(-(-m // columns), int(high / (head + below + 4 * _ROW))))
    m = min(m, rows * columns)
    fitting = int((high / rows - head - below) / _ROW)
    size = np.sqrt(result.share[:m] @ scaled[:m] ** 2)
    kept = np.argsort(-size, kind="stable")[: max(1, min(features, fitting))]
    panels = _panels(ax, room, m, columns, left, 0.16, head, below)
    reach = float(np.abs(scaled[:m, kept]).max(initial=0.0)) or 1.0
    y = np.arange(len(kept))
    power = 10.0 ** math.floor(math.log10(0.85 * reach))
    tick = max(step * power for step in (1, 2, 5) if step * power <= 0.85 * reach)
    for i, panel in enumerate(panels):
        bars = scaled[i, kept]
        panel.barh(y, bars, 0.72, color=np.where(bars >= 0, BLUE, VERMILION))
        panel.axvline(0, color=QUIET, linewidth=0.8)
        panel.set_xlim(-1.08 * reach, 1.08 * reach)
        panel.set_ylim(len(kept) - 0.4, -0.6)
        labels = [short(result.names[j], _name_characters(left)) for j in kept]
        label_rows(panel, y, labels if i % columns == 0 else [""] * len(kept))
        panel.set_xticks(*_three_ticks(tick, _panel_width(wide, left, columns) * tick / (2.16 * reach)))
        panel.tick_params(axis="x", labelsize=SMALL)
        panel.grid(axis="x", color=GRID, linewidth=0.7)
        panel.spines["left"].set_visible(False)
        if not result.coef[i, k].any():
            note = panel.text(0, (len(kept) - 1) / 2, "constant", fontsize=SMALL, color=QUIET, ha="center", va="center")
            note.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1.0})
        share = _percent(float(result.share[i]))
        _heading(panel, cut(ax, f"{result.kind} {result.number[i]}: {share}", room_, "bold"), headings[i])
    per = "per standard deviation of the feature" if result.sd is not None else "per unit of the feature"
    caption = _said(
        _which(result.outputs, k),
        f"Coefficients {per}: {_DECISION[result.link]}; blue raises it, orange lowers it.",
        f"{m:,} of {counted(result.n_clusters, result.kind)} {is_are(m)} shown, with "
        f"{_percent(float(result.share[:m].sum()))} of the rows.",
        some(len(kept), d, "features", "those with the largest coefficients here"),
        _means(result),
        f"Standard deviations{result.caveat}." if result.caveat else "",
    )
    return finished(ax, f"Same {result.kind}, same explanation", caption)


def _three_ticks(value: float, apart: float) -> tuple[list[float], list[str]]:
    """Return ticks about 0 and their labels; without 0 where they are too close, so many inches apart."""
    text = _compact(value)
    if apart < (0.5 * len(text) + 2) * SMALL * CHARACTER / 72:
        return [-value, value], [f"−{text}", text]
    return [-value, 0.0, value], [f"−{text}", "0", text]


def _means(result: Clusters) -> str:
    """Return what the numbers in the headings are."""
    said = "Predicted +: share of the rows." if result.share_positive is not None else ""
    means = ["response"] if result.response is not None else []
    means += ["prediction"] if result.share_positive is None and result.prediction is not None else []
    return _said(said, f"{' and '.join(means).capitalize()}: mean{'s' * (len(means) > 1)}." if means else "")


def _cluster_words(ax: Axes, result: Clusters, i: int, output: int, room: float) -> list[str]:
    """Return lines on the rows of a cluster, what is predicted, what was observed; each no longer than so many inches."""
    words = [counted(int(result.count[i]), "row")]
    if result.share_positive is not None and np.isfinite(result.share_positive[i]):
        words.append(f"{_percent(float(result.share_positive[i]))} predicted +")
    elif result.prediction is not None:
        words.append(f"prediction {result.prediction[i, output]:.3g}")
    if result.response is not None:
        words.append(f"response {result.response[i, min(output, result.response.shape[1] - 1)]:.3g}")
    lines = [words[0]]
    for word in words[1:]:
        if text_width(ax, f"{lines[-1]}, {word}") <= room:
            lines[-1] += f", {word}"
        else:
            lines.append(word)
    return [cut(ax, line, room) for line in lines]


# ---------------------------------------------------------------- intercepts


def intercepts(result: Intercepts, ax: Axes | None = None, *, output: str | int = 0, most: int = 4) -> Axes:
    """Draw intercepts and mean decisions of all regions, against the mean of the features, and return the axes.

    Parameters
    ----------
    result : from `interpret.intercepts`.
    ax : to draw on; a new figure by default.
    output : which one, for networks with several.
    most : features shown, those with the largest coefficients; two at most where the picture is narrow.

    Raises
    ------
    ArgumentError : no such output, or `most` below 1.

    Notes
    -----
    One dot per region, its area and darkness by its rows; the line is `Intercepts.trend`. The upper row is the intercept,
    the decision where all features are 0; the lower row is the decision at the region's mean row. On the left, how they
    spread: the middle half of the rows as a bar, the median as a dot.
    """
    _at_least_one("most", most)
    k = _output(result.outputs, output)
    ax = axes_for(ax, TWO, 4.0)
    wide, high = room = _room(ax, 330)
    limit = min(most, 2) if wide < NARROW else most
    kept = np.argsort(-result.effect[k], kind="stable")[:limit]
    left, bottom, gap, strip = 0.5, 0.5, 0.1, 0.3
    ax.set_axis_off()
    height = (high - bottom - 0.2) / 2
    cell = (wide - left - strip - 0.25 - gap * len(kept)) / len(kept)
    dots = np.argsort(-result.weight, kind="stable")[: min(_DOTS, int((result.weight > 0).sum()))]
    parts = [("intercept", result.intercept[:, k]), ("mean decision", result.mean_decision[:, k])]
    outside = 0.0
    for row, (name, values) in enumerate(parts):
        y = bottom + (1 - row) * (height + 0.15)
        box = _panel(ax, room, (left, y, strip, height))
        low, high_ = _range(values, result.weight)
        away = result.weight[(values < low) | (values > high_)].sum() / result.weight.sum()
        outside = max(outside, float(away))
        _strip(box, values, result.weight)
        box.set_ylim(low, high_)
        box.set_ylabel(name, fontsize=SMALL)
        for i, j in enumerate(kept):
            x = left + strip + gap + i * (cell + gap)
            panel = _panel(ax, room, (x, y, cell, height))
            panel.grid(color=GRID, linewidth=0.7)
            _scatter(panel, result.mean_row[dots, j], values[dots], (result.weight / result.weight.sum())[dots])
            if len(dots) > _FEW:
                panel.plot(*result.trend(values, int(j)), color=VERMILION, linewidth=1.6, zorder=3)
            panel.set_ylim(low, high_)
            panel.tick_params(axis="y", length=0, labelleft=False)
            panel.tick_params(axis="x", labelbottom=row == 1)
            panel.margins(x=0.1)
            _narrow_ticks(panel, cell)
            panel.locator_params(axis="y", nbins=5)
            if row == 1:
                label = textwrap.fill(short(result.names[j], NAME), max(characters(cell - 0.05, SMALL), 8))
                panel.set_xlabel(label, fontsize=SMALL, parse_math=False)
    R = len(result.count)
    how_many = all_of(R, "region")
    if len(dots) < R:
        share = _percent(float(result.weight[dots].sum() / result.weight.sum()))
        how_many = f"the {len(dots):,} largest of {R:,} regions, with {share} of the rows"
    shown_ = some(len(kept), len(result.names), "features", "those with the largest coefficients")
    caption = _said(
        _which(result.outputs, k),
        f"Dots: {how_many}. Across: its mean of the feature; up: the {_DECISION[result.link]}, above where all features are "
        "0, below at the region's mean row.",
        "Line: local regression on all regions, by their rows." if len(dots) > _FEW else "",
        shown_,
        f"At most {_percent(outside)} of the rows lie beyond an axis." if outside > 0 else "",
    )
    return finished(ax, "Intercepts, and decisions at the mean rows", caption)


def _range(values: Floats, weight: Floats) -> tuple[float, float]:
    """Return limits of an axis around the middle 99 % of the rows, by weight."""
    order = np.argsort(values)
    reached = np.cumsum(weight[order])
    low, high = (float(values[order][np.searchsorted(reached, q * reached[-1])]) for q in (0.005, 0.995))
    margin = 0.08 * (high - low) or 0.5 * abs(low) or 1.0
    return low - margin, high + margin


def _strip(box: Axes, values: Floats, weight: Floats) -> None:
    """Draw how values spread over the rows: all regions as a thin line, the middle half as a bar, the median as a dot."""
    order = np.argsort(values)
    reached = np.cumsum(weight[order])
    at = np.searchsorted(reached, np.array([0.25, 0.5, 0.75]) * reached[-1])
    low, middle, high = values[order][at]
    box.plot([0, 0], [values.min(), values.max()], color=QUIET, linewidth=0.9)
    box.plot([0, 0], [low, high], color=BLUE, linewidth=5, solid_capstyle="butt")
    box.plot(0, middle, "o", color="black", markerfacecolor="white", markersize=4)
    box.set_xlim(-1, 1)
    box.set_xticks([])
    box.spines["bottom"].set_visible(False)
    box.tick_params(axis="y", labelsize=SMALL)
    box.locator_params(axis="y", nbins=5)


def _scatter(panel: Axes, x: Floats, y: Floats, share: Floats, colour: Any = BLUE, **how: Any) -> Any:
    """Draw a dot per region, the largest in front, area and darkness by its rows."""
    order = np.argsort(share, kind="stable")
    size = _strength(share[order])
    if not isinstance(colour, str):
        colour = np.ma.masked_invalid(colour[order])
    alpha: Any = 0.2 + 0.6 * size
    style: dict[str, Any] = {"linewidths": 0, "zorder": 2, "rasterized": len(x) > MANY}
    return panel.scatter(x[order], y[order], s=3 + 60 * size**2, c=colour, alpha=alpha, **style, **how)


# ---------------------------------------------------------------- directions


def directions(result: Directions, ax: Axes | None = None, *, output: str | int = 0, most: int = 400) -> Axes:
    """Draw which way the decision rises in each region, in the planes of coefficients and of rows; return the axes.

    Parameters
    ----------
    result : from `interpret.directions`.
    ax : to draw on; a new figure by default.
    output : which one, for networks with several.
    most : regions shown, the largest.

    Raises
    ------
    ArgumentError : no such output, or `most` below 1.

    Notes
    -----
    First panel: a dot per region, its coefficients per standard deviation; far from the centre is steep, opposite are
    regions that say the opposite. Second panel: an arrow at the mean row of each region, along which the decision rises
    fastest; its length is the steepness in this plane, that of the steepest twentieth cut to one length.
    """
    _at_least_one("most", most)
    k = _output(result.outputs, output)
    ax = axes_for(ax, TWO, 3.9)
    wide, high = room = _room(ax, 330)
    kept = np.argsort(-result.weight, kind="stable")[: min(most, int((result.weight > 0).sum()))]
    share = (result.weight / result.weight.sum())[kept]
    tone, words = _tone(result, k)
    assert tone is not None  # every result has predictions
    ax.set_axis_off()
    narrow = wide < NARROW  # the colours are told below the panels, not beside them
    left, bottom, bar = (0.74, 0.95, 0.06) if narrow else (0.72, 0.52, 0.62)
    width, height = (wide - 2 * left - bar) / 2, max(high - bottom - 0.25, 0.3)
    places = [(left, bottom), (2 * left + width, bottom)]
    one, other = (_panel(ax, room, (x, y, width, height)) for x, y in places)
    how: dict[str, Any] = {"cmap": _colours(), "norm": _middle(tone[kept], share)}
    place = result.place[kept, k]
    drawn = _scatter(one, place[:, 0], place[:, 1], share, tone[kept], **how)
    _polar_grid(one, place)
    outside = _arrows(other, result.row_place[kept], result.slope[kept, k], share, tone[kept], **how)
    for panel, axes, explained, what in (
        (one, result.axes[k], result.explained[k], "coefficients"),
        (other, result.row_axes, result.row_explained, "rows"),
    ):
        texts = [_axis_words(result.names, axes[i], float(explained[i])) for i in (0, 1)]
        for put, text, space in ((panel.set_xlabel, texts[0], width), (panel.set_ylabel, texts[1], 0.7 * height)):
            put(wrapped(text, characters(0.95 * space, SMALL), 2), fontsize=SMALL)
        panel.tick_params(labelsize=SMALL)
        panel.locator_params(nbins=3 if narrow else 5)
        panel.set_aspect("equal", adjustable="datalim")  # so that angles are true
        _heading(panel, what)
    x, y = places[1]
    place_ = (left, 0.36, wide - left - bar, 0.08) if narrow else (x + width + 0.1, y, 0.09, height)
    _bar(ax, drawn, f"{words} of the region", _panel(ax, room, place_), narrow)
    R = len(result.weight)
    how_many = (
        f"{all_of(R, 'region').capitalize()}."
        if len(kept) == R
        else (
            f"{len(kept):,} of {R:,} regions {is_are(len(kept))} shown, the largest, with "
            f"{_percent(float(share.sum()))} of the rows."
        )
    )
    both = [_percent(float(part.sum())) for part in (result.explained[k], result.row_explained)]
    caption = _said(
        _which(result.outputs, k),
        how_many,
        f"Everything per standard deviation of the features; {_DECISION[result.link]}.",
        f"The planes hold {both[0]} of the coefficients (squared) and {both[1]} of the variance of the rows"
        f"{result.caveat}.",
        "Arrows: where the decision rises.",
        f"At most {_percent(outside)} of the rows lie beyond the axes." if outside > 0 else "",
    )
    return finished(ax, "Which way the decision rises", caption)


def _axis_words(names: Sequence[str], axis: Floats, explained: float) -> str:
    """Return the share that an axis holds and what it is: the feature, or its largest loadings."""
    used = np.flatnonzero(np.abs(axis) > 0.3 * np.abs(axis).max())
    largest = used[np.argsort(-np.abs(axis[used]), kind="stable")][:3]
    words = " ".join(f"{'+' if axis[j] > 0 else '−'} {short(names[j], 18)}" for j in largest).removeprefix("+ ")
    more = " …" if np.count_nonzero(axis) > len(largest) else ""
    return f"{_percent(explained)}: {words or 'nothing'}{more}"


def _polar_grid(ax: Axes, place: Floats) -> None:
    """Draw circles about 0 and lines through it, and leave room for the dots and 0."""
    from matplotlib.patches import Circle
    from matplotlib.ticker import MaxNLocator

    reach = float(np.hypot(place[:, 0], place[:, 1]).max()) or 1.0
    low, high = np.minimum(place.min(axis=0), 0) - 0.1 * reach, np.maximum(place.max(axis=0), 0) + 0.1 * reach
    ax.update_datalim([low, high])
    for radius in MaxNLocator(4).tick_values(0, reach)[1:]:
        ax.add_artist(Circle((0, 0), radius, fill=False, edgecolor=GRID, linewidth=0.7, zorder=1))
    ax.axhline(0, color=QUIET, linewidth=0.7, zorder=1)
    ax.axvline(0, color=QUIET, linewidth=0.7, zorder=1)


def _arrows(ax: Axes, at: Floats, slope: Floats, share: Floats, tone: Floats, **how: Any) -> float:
    """Draw the mean rows, each with an arrow along its slope; return the share of the rows beyond the axes."""
    length = np.hypot(slope[:, 0], slope[:, 1])
    order = np.argsort(share, kind="stable")
    longest = float(np.quantile(length, 0.95)) or float(length.max()) or 1.0
    drawn = slope / np.maximum(length, longest)[:, None]
    alpha: Any = 0.3 + 0.7 * _strength(share[order])
    colours = np.ma.masked_invalid(tone[order])
    xy, uv = at[order], drawn[order]
    ax.scatter(xy[:, 0], xy[:, 1], s=3, c=colours, alpha=alpha, linewidths=0, **how)
    style: dict[str, Any] = {
        "angles": "xy",
        "scale": 11,
        "scale_units": "width",
        "width": 0.0045,
        "headwidth": 4.5,
        "headlength": 5,
    }
    ax.quiver(xy[:, 0], xy[:, 1], uv[:, 0], uv[:, 1], colours, alpha=alpha, pivot="middle", **style, **how)
    low, high = np.quantile(at, (0.01, 0.99), axis=0)  # a few far regions leave no room for the others
    margin = 0.15 * max(float((high - low).max()), 1.0)
    low, high = low - margin, high + margin
    ax.dataLim.set_points(np.array([low, high]))
    ax.autoscale_view()
    return float(share[((at < low) | (at > high)).any(axis=1)].sum())
