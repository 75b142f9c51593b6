"""Pictures of a network on a plane: regions as polygons, the lines of local linear models, one region with its facets."""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from relucidate.errors import ArgumentError, clipped
from relucidate.layers import Bools, Floats
from relucidate.plot.parts import (
    BLUE,
    DIVERGING,
    HINTING,
    NAME,
    ONE,
    QUIET,
    SMALL,
    TEXT,
    TWO,
    VERMILION,
    axes_for,
    characters,
    counted,
    finished,
    inches,
    is_are,
    scale_label,
    short,
)
from relucidate.slicing import Facet, LocalLines, Slice2D, clipped_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Colour = Literal["decision", "prediction", "count", "region"]

# Okabe & Ito 2008, in an order in which neighbours differ most; classes and regions take them in turn.
_CLASSES = (BLUE, "#e69f00", "#009e73", VERMILION, "#56b4e9", "#cc79a7", "#f0e442", "#000000")
_UNSEEN, _REST = "#f2f2f2", "#bbbbbb"
_PALE = 0.35  # of a class's colour in a region where no class is likelier than another
_TINT = 0.55  # of a colour in the map of regions
_NOTE = 260  # characters of what is said about a plane
_DOTS = 50  # rows drawn per square inch, at most
_MOST_FACETS = 8
_ASPECT = 3.0  # ratio of the sides of a box up to which both axes have one scale


# ---------------------------------------------------------------- all regions


def slice2d(
    result: Slice2D,
    ax: Axes | None = None,
    *,
    colour: Colour = "decision",
    output: str | int = 0,
    points: bool = True,
    boundary: bool = True,
) -> Axes:
    """Draw the activation regions of a network on a plane, and return the axes.

    Parameters
    ----------
    result : from `regions.slice2d`.
    ax : to draw on; a new figure by default.
    colour : of the regions. "decision" and "prediction": at the middle of each; for a softmax network the class on top
        there, paler where it is less certain. "count": rows of the region, those without any grey. "region": neighbours differ.
    output : which one, by name or position; of a softmax network, the class whose probability "prediction" shows.
    points : whether to draw rows of the table, if there was one: at most 2,000.
    boundary : whether to draw where the decision changes.

    Raises
    ------
    ArgumentError : "count" without a table, or an unknown colour or output.

    Notes
    -----
    Polygons and boundary are those of the result, to the last digit. Edges get thinner with their number. Both axes have
    one scale only where they share a unit.
    """
    from matplotlib.collections import PolyCollection

    if not isinstance(result, Slice2D):
        raise ArgumentError(f"A {type(result).__name__} cannot be drawn here: give what regions.slice2d returned.")
    k = result.network.output_index(output)
    colours, scale, said = _colours(result, colour, k)
    ax = _plane_axes(result, ax, TWO if scale else ONE)
    polygons = PolyCollection(
        np.split(result.vertex[result.ring], result.start[1:-1]) if len(result) else [],
        facecolors=colours,
        edgecolors=_edge_colour(len(result)),
        linewidths=_edge_width(len(result)),
        zorder=1,
    )
    polygons.set_gid("regions")
    ax.add_collection(polygons, autolim=False)
    _draw_rest(result, ax)
    notes = [f"{len(result):,} region{'s' * (len(result) != 1)}{_unfinished(result)}", said]
    if boundary:
        notes.append(_draw_boundary(result, ax, k))
    if points and result.dots is not None:
        notes.append(_draw_dots(result, ax))
    _scale_bar(ax, scale)
    notes += [short(result.plane.note, _NOTE), _undecided(result)]
    return _settled(ax, "Activation regions" + ("" if not boundary else " and decision boundary"), _sentences(notes))


def _plane_axes(result: Slice2D, ax: Axes | None, width: float) -> Axes:
    ax = axes_for(ax, width, 0.85 * width)
    (left, right), (bottom, top) = result.box
    ax.set_xlim(left, right)
    ax.set_ylim(bottom, top)
    sides = np.diff(result.box, axis=1)[:, 0]
    if result.plane.same_unit and sides.max() <= _ASPECT * sides.min():
        ax.set_aspect("equal")
    ax.spines[["top", "right"]].set_visible(True)
    ax.spines[["top", "right"]].set_color(QUIET)
    ax.locator_params(nbins=5)
    ax.set_xlabel(short(result.plane.labels[0], NAME), parse_math=False)
    ax.set_ylabel(short(result.plane.labels[1], NAME), parse_math=False)
    return ax


def _settled(ax: Axes, title: str, caption: str) -> Axes:
    """Set the title and the caption, and lay out once more: a bar beside axes of one scale moves with them."""
    finished(ax, title, caption)
    figure = ax.get_figure(root=True)
    assert figure is not None
    for _ in range(2):
        figure.draw_without_rendering()
    return ax


def _edge_width(n: int) -> float:
    return min(0.8, 8 / math.sqrt(max(n, 1)))


def _edge_colour(n: int) -> tuple[float, float, float, float]:
    return (0.15, 0.15, 0.15, 0.75 if n < 1000 else 0.5)


def _sentences(notes: list[str]) -> str:
    said = [note[0].upper() + note[1:] for note in notes if note]
    return " ".join(note if note.endswith(".") else note + "." for note in said)


def _unfinished(result: Slice2D) -> str:
    left = len(result.rest_start) - 1
    return (
        ""
        if left == 0
        else f" on {result.share.sum():.0%} of the box; hatched: {counted(left, 'polygon')} beyond the budget"
    )


def _undecided(result: Slice2D) -> str:
    n = int(result.undecided.sum())
    return "" if n == 0 else f"{n:,} of them {is_are(n)} too narrow to be decided"


# ---------------------------------------------------------------- colours


@dataclass(frozen=True, eq=False)
class _Scale:
    """What the bar beside a picture shows: a continuous scale, or one colour for each of some names."""

    label: str
    mappable: Any = None
    names: tuple[str, ...] = ()


def _colours(result: Slice2D, colour: str, k: int) -> tuple[Floats, _Scale | None, str]:
    """Return a colour per polygon (F, 4), what the bar shows, and a sentence for the caption."""
    net = result.network
    if colour == "count":
        return _by_count(result)
    if colour == "region":
        return _by_region(result)
    if colour == "prediction":
        centre = 0.5 if net.is_classifier else None
        return _by_value(result.prediction[:, k], centre, centre, scale_label(net, k, "prediction"))
    if colour != "decision":
        raise ArgumentError(f"colour is {clipped(colour)}; expected 'decision', 'prediction', 'count' or 'region'.")
    if net.link == "softmax":
        return _by_class(result)
    return _by_value(result.decision[:, k], result.level, None, scale_label(net, k))


def _by_value(values: Floats, centre: float | None, half: float | None, label: str) -> tuple[Floats, _Scale, str]:
    """Colour by a number, about a centre if there is one; the scale ends before the most extreme hundredth of the regions."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    low, high = (float(q) for q in np.quantile(values, [0.01, 0.99])) if len(values) else (0.0, 1.0)
    if centre is not None:
        half = half or max(abs(high - centre), abs(low - centre)) or 1.0
        low, high = centre - half, centre + half
    elif not high > low:
        low, high = low - 0.5, high + 0.5
    mappable = ScalarMappable(Normalize(low, high), colormaps["cividis" if centre is None else DIVERGING])
    beyond = int(((values < low) | (values > high)).sum())
    said = "colour: in the middle of each region"
    said += f"; {beyond:,} beyond the scale {'has' if beyond == 1 else 'have'} the colour of its end" if beyond else ""
    return np.asarray(mappable.to_rgba(values)).reshape(-1, 4), _Scale(label, mappable), said


def _mixed(colours: Floats, amount: Any) -> Floats:
    """Return colours (n, 3) mixed with white, opaque (n, 4)."""
    amount = np.broadcast_to(np.asarray(amount, dtype=np.float64), (len(colours),))[:, None]
    return np.hstack([1 - amount * (1 - colours), np.ones((len(colours), 1))])


def _by_class(result: Slice2D) -> tuple[Floats, _Scale, str]:
    from matplotlib.colors import to_rgb

    top = result.decision.argmax(axis=1)
    K = result.network.n_outputs
    palette = np.array([to_rgb(_CLASSES[i % len(_CLASSES)]) for i in range(K)])
    certain = (result.prediction.max(axis=1) - 1 / K) / (1 - 1 / K) if K > 1 else np.ones(len(result))
    names = tuple(short(c, 14) for c in (result.network.classes or result.network.outputs))
    said = "colour: in the middle of each region, paler where the class on top is less certain"
    said += "; classes share colours" if len(_CLASSES) < K else ""
    return _mixed(palette[top], _PALE + (0.85 - _PALE) * certain), _Scale("class on top", names=names), said


def _by_count(result: Slice2D) -> tuple[Floats, _Scale, str]:
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm, to_rgba

    if result.count is None:
        raise ArgumentError("There are no counts: give slice2d an unwrapped table in place of the network.")
    count = result.count
    mappable = ScalarMappable(LogNorm(1, max(2, int(count.max(initial=1)))), colormaps["YlGnBu"])
    colours = np.asarray(mappable.to_rgba(np.maximum(count, 1))).reshape(-1, 4)
    colours[count == 0] = to_rgba(_UNSEEN)
    seen = int((count > 0).sum())
    said = f"{seen:,} hold rows of the table; the others are grey"
    return colours, _Scale("rows of the region (logarithmic)", mappable), said


def _by_region(result: Slice2D) -> tuple[Floats, None, str]:
    """Colour so that neighbours differ: the largest first, each takes the first colour that no neighbour has."""
    from matplotlib.colors import to_rgb, to_rgba

    palette = np.array([to_rgb(c) for c in _CLASSES[:-1]])
    pairs = result.edges.polygon[result.edges.polygon.min(axis=1) >= 0] if len(result) else np.zeros((0, 2), np.intp)
    beside = np.concatenate([pairs, pairs[:, ::-1]])
    beside = beside[np.argsort(beside[:, 0], kind="stable")]
    start = np.searchsorted(beside[:, 0], np.arange(len(result) + 1)).tolist()
    others = beside[:, 1].tolist()
    taken: list[int] = [-1] * len(result)
    for i in range(len(result)):
        near = {taken[j] for j in others[start[i] : start[i + 1]]}
        free = [c for c in range(len(palette)) if c not in near]
        taken[i] = free[i % min(len(free), 4)] if free else i % len(palette)
    colours = _mixed(palette[np.array(taken, dtype=np.intp)], _TINT)
    said = "colours tell neighbours apart, and mean nothing else"
    if result.count is not None:
        colours[result.count == 0] = to_rgba(_UNSEEN)
        said = f"the {int((result.count > 0).sum()):,} that hold rows of the table have colours, which tell neighbours apart"
    return colours, None, said


def _scale_bar(ax: Axes, scale: _Scale | None) -> None:
    if scale is None:
        return
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize, to_rgb

    high = inches(ax)[1]
    place = ax.inset_axes((1.03, 0.0, 0.045, 1.0))
    if scale.mappable is not None:
        bar = ax.figure.colorbar(scale.mappable, cax=place)
        place.tick_params(labelsize=TEXT, color=QUIET)
    else:
        n = len(scale.names)
        shades = _mixed(np.array([to_rgb(_CLASSES[i % len(_CLASSES)]) for i in range(n)]), 0.85)
        bar = ax.figure.colorbar(ScalarMappable(Normalize(-0.5, n - 0.5), ListedColormap(shades)), cax=place)
        every = math.ceil(n / max(1, int(3 * high)))
        bar.set_ticks(list(range(0, n, every)))
        place.set_yticklabels(scale.names[::every], fontsize=SMALL, parse_math=False)
        place.tick_params(length=0)
        place.minorticks_off()
    bar.outline.set_visible(False)
    bar.set_label(textwrap.fill(scale.label, max(12, characters(0.55 * high, TEXT))), fontsize=TEXT, parse_math=False)


# ---------------------------------------------------------------- what lies on top


def _draw_rest(result: Slice2D, ax: Axes) -> None:
    """Hatch what the budget left, beneath the regions, and outline its polygons."""
    if len(result.rest_start) < 2:
        return
    from matplotlib.collections import PolyCollection
    from matplotlib.patches import Rectangle

    (left, right), (bottom, top) = result.box
    ground = Rectangle(
        (left, bottom),
        right - left,
        top - bottom,
        facecolor="white",
        edgecolor=_REST,
        hatch="///",
        linewidth=0,
        zorder=0.5,
    )
    ax.add_artist(ground)
    rest = PolyCollection(
        np.split(result.rest, result.rest_start[1:-1]), facecolors="none", edgecolors=_REST, linewidths=0.3, zorder=0.6
    )
    rest.set_gid("unfinished")
    ax.add_collection(rest, autolim=False)


def _draw_boundary(result: Slice2D, ax: Axes, k: int) -> str:
    """Draw where the decision changes, black on white, and return what the caption says."""
    from matplotlib.collections import LineCollection

    found = result.boundary
    softmax = result.network.link == "softmax"
    if not softmax and result.level is None:
        return ""
    segment = found.segment if softmax else found.segment[found.between[:, 0] == k]
    name = f"decision{f' of {short(result.network.outputs[k], NAME)}' if result.network.n_outputs > 1 else ''}"
    meaning = "the class on top changes" if softmax else f"{name} = {result.level:g}"
    if len(segment) == 0:
        return f"nowhere in the box is {meaning}" if not softmax else "one class is on top in all of the box"
    for colour, width, order in (("white", 3.2, 3.0), ("black", 1.6, 3.1)):
        lines = LineCollection(list(segment), colors=colour, linewidths=width, capstyle="round", zorder=order)
        lines.set_gid("boundary" if colour == "black" else "halo")
        ax.add_collection(lines, autolim=False)
    return f"black line: {meaning}"


def _draw_dots(result: Slice2D, ax: Axes) -> str:
    """Draw rows of the table, and return what the caption says."""
    dots = result.dots
    assert dots is not None
    net = result.network
    inside = ((dots.at >= result.box[:, 0]) & (dots.at <= result.box[:, 1])).all(axis=1)
    wide, high = inches(ax)
    inside &= np.cumsum(inside) <= max(100, int(_DOTS * wide * high))
    at = dots.at[inside]
    size = float(np.clip(14 * math.sqrt(100 / max(len(at), 1)), 4, 14))
    style: dict[str, Any] = {"s": size, "linewidths": 0.3 + 0.02 * size, "zorder": 4, "gid": "rows"}
    meaning = ""
    if dots.label is None or net.link == "softmax":
        label = np.zeros(len(at), dtype=np.int64) if dots.label is None else dots.label[inside]
        face = ["#222222"] * len(at) if dots.label is None else [_CLASSES[i % len(_CLASSES)] for i in label]
        ax.scatter(at[:, 0], at[:, 1], c=face, edgecolors="white", **style)
        meaning = "" if dots.label is None else ", in the colour of their class"
    else:
        label = dots.label[inside]
        names = [short(c, NAME) for c in (net.classes if len(net.classes) == 2 else ("0", "1"))]
        for code, fill, edge in ((0, "white", "#222222"), (1, "#222222", "white")):
            ax.scatter(at[label == code, 0], at[label == code, 1], c=fill, edgecolors=edge, **style)
        meaning = f", dark where the response is {names[1]}, light where it is {names[0]}"
    projected = "" if net.n_features == 2 else ", projected on the plane"
    return f"dots: {len(at):,} of {dots.n_rows:,} rows{meaning}{projected}"


# ---------------------------------------------------------------- lines of local linear models


def local_lines(
    result: Slice2D,
    ax: Axes | None = None,
    *,
    lines: LocalLines | None = None,
    output: str | int = 0,
    points: bool = True,
) -> Axes:
    """Draw where each local linear model, taken by itself, changes its decision, and return the axes.

    Parameters
    ----------
    result : from `regions.slice2d`.
    ax : to draw on; a new figure by default.
    lines : from `Slice2D.local_lines`; by default those of the regions that hold rows, without a table of all.
    output : which one, by name or position.
    points : whether to draw rows of the table, if there was one.

    Raises
    ------
    ArgumentError : a regression that was cut without a level.

    Notes
    -----
    A line is the stronger, the more rows its region has. It holds in its region only: there it is the boundary, black.
    """
    from matplotlib.collections import LineCollection
    from matplotlib.colors import to_rgba

    if not isinstance(result, Slice2D):
        raise ArgumentError(f"A {type(result).__name__} cannot be drawn here: give what regions.slice2d returned.")
    k = result.network.output_index(output)
    found = result.local_lines(output=k) if lines is None else lines
    ax = _plane_axes(result, ax, ONE)
    faint = float(np.clip(300 / max(len(found.segment), 1), 0.02, 0.5))  # a pixel is crossed by a share of all lines
    weight = np.sqrt(found.count / max(1, int(found.count.max(initial=1))))
    colours = np.tile(to_rgba(BLUE), (len(found.segment), 1))
    colours[:, 3] = faint + (0.9 - faint) * weight if found.count.any() else faint
    drawn = LineCollection(
        list(found.segment), colors=colours, linewidths=min(1.2, 0.4 + 8 / max(len(colours), 1)), zorder=2
    )
    drawn.set_gid("lines")
    ax.add_collection(drawn, autolim=False)
    _draw_rest(result, ax)
    strong = ", stronger where the region has more rows" if found.count.any() else ""
    n, models = len(found.segment), found.n_models
    said = f"blue: the line{'s' * (n != 1)} of {counted(n, 'local linear model')}{strong}"
    said += f"; {_others(models - n)} the box" if models > n else ""
    notes = [said, _draw_boundary(result, ax, k)]
    if points and result.dots is not None:
        notes.append(_draw_dots(result, ax))
    notes.append(short(result.plane.note, _NOTE))
    return _settled(ax, "Decision lines of local linear models", _sentences(notes))


def _others(n: int) -> str:
    return "that of the other misses" if n == 1 else f"those of the other {n:,} miss"


# ---------------------------------------------------------------- one region


def region(result: Slice2D, which: int | ArrayLike, ax: Axes | None = None) -> Axes:
    """Draw one region with its facets, numbered, and the neurons that switch there, and return the axes.

    Parameters
    ----------
    result : from `regions.slice2d`.
    which : number of the polygon, or a point of the plane in it.
    ax : to draw on; a new figure by default.

    Raises
    ------
    ArgumentError : there is no such polygon, or none at the point.

    Notes
    -----
    Light grey lines are where the other neurons would switch if the local linear model of this region held everywhere: they
    end nothing. The caption names the neurons of each facet, and what they become beyond it; up to eight facets.
    """
    from matplotlib.collections import LineCollection, PolyCollection

    if not isinstance(result, Slice2D):
        raise ArgumentError(f"A {type(result).__name__} cannot be drawn here: give what regions.slice2d returned.")
    i = _which(result, which)
    corners = result.polygon(i)
    ax = _plane_axes(result, ax, ONE)
    window = _window(result, corners)
    (left, right), (bottom, top) = window
    ax.set_xlim(left, right)
    ax.set_ylim(bottom, top)
    facets = result.facets(i, [short(name, NAME) for name in result.plane.labels])
    bounding = _bounding(result, i, facets)
    normal, constant = result.lines(i)
    segment, hit = clipped_lines(normal[~bounding], constant[~bounding], window)
    others = LineCollection(list(segment[hit]), colors="#c9c9c9", linewidths=0.5, zorder=1)
    others.set_gid("other neurons")
    ax.add_collection(others, autolim=False)
    beside = sorted({f.neighbour for f in facets if f.neighbour >= 0})
    near = PolyCollection(
        [result.polygon(j) for j in beside], facecolors="#00000008", edgecolors="#8a8a8a", linewidths=0.6, zorder=1.5
    )
    near.set_gid("neighbours")
    ax.add_collection(near, autolim=False)
    fill = PolyCollection([corners], facecolors=BLUE, alpha=0.25, linewidths=0, zorder=2)
    fill.set_gid("region")
    ax.add_collection(fill, autolim=False)
    sides = LineCollection([f.ends for f in facets], colors=BLUE, linewidths=1.8, capstyle="round", zorder=3)
    sides.set_gid("facets")
    ax.add_collection(sides, autolim=False)
    _draw_boundary(result, ax, 0)
    for number, place in _numbered(ax, facets):
        note = ax.annotate(
            str(number),
            _middle(facets[number - 1]),
            place,
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=SMALL,
            color=BLUE,
            zorder=5,
        )
        note.set_bbox({"boxstyle": "circle,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.85})
    return _itemised(ax, f"Polygon {i:,} of {len(result):,}", _region_notes(result, i, facets))


def _itemised(ax: Axes, title: str, items: list[str]) -> Axes:
    """Set the title, and a caption in which each item begins a line."""
    finished(ax, title, " ".join(items))
    note, figure = ax.texts[-1], ax.get_figure(root=True)
    assert figure is not None
    width = HINTING * (ax.get_window_extent().x1 - note.get_window_extent().x0)
    for n in range(max(14, int(1.3 * characters(width / figure.dpi, SMALL))), 13, -1):
        note.set_text("\n".join(textwrap.fill(item, n, subsequent_indent="    ") for item in items))
        if note.get_window_extent().width <= width:
            break
    for _ in range(2):  # a layout that starts from the caption as it is now
        figure.draw_without_rendering()
    return ax


def _which(result: Slice2D, which: int | ArrayLike) -> int:
    if isinstance(which, int | np.integer):
        if not 0 <= which < len(result):
            raise ArgumentError(f"There is no polygon {which}: expected 0 to {len(result) - 1}.")
        return int(which)
    try:
        at = np.asarray(which, dtype=np.float64)
    except (TypeError, ValueError):
        at = np.zeros(0)
    if at.shape != (2,):
        raise ArgumentError(f"which is {clipped(which)}; expected the number of a polygon, or a point (s, t).")
    found = int(result.locate(at[None])[0])
    if found < 0:
        raise ArgumentError(f"There is no polygon at {clipped(which)}: outside of the box, or beyond the budget.")
    return found


def _window(result: Slice2D, corners: Floats) -> Floats:
    """Return what a picture of a polygon shows: a square around it where both axes share a unit."""
    low, high = corners.min(axis=0), corners.max(axis=0)
    width = high - low
    half = (0.85 * width.max() if result.plane.same_unit else 0.85 * width) * np.ones(2)
    middle = (low + high) / 2
    return np.stack([middle - half, middle + half], axis=1)


def _bounding(result: Slice2D, i: int, facets: tuple[Facet, ...]) -> Bools:
    """Return which bits (n_bits,) switch at a facet of the region."""
    bits = result.patterns.bits()[[i, *(f.neighbour for f in facets if f.neighbour >= 0)]]
    return np.asarray((bits != bits[0]).any(axis=0))


def _middle(facet: Facet) -> tuple[float, float]:
    (x0, y0), (x1, y1) = facet.ends
    return (x0 + x1) / 2, (y0 + y1) / 2


def _numbered(ax: Axes, facets: tuple[Facet, ...]) -> list[tuple[int, tuple[float, float]]]:
    """Return for each facet its number and where to write it, in points from its middle: outside, where there is room."""
    ax.apply_aspect()
    figure = ax.get_figure(root=True)
    assert figure is not None
    scale = 72 / figure.dpi
    centre = ax.transData.transform(np.mean([f.ends[0] for f in facets], axis=0)) * scale
    taken: list[Floats] = []
    out = []
    for number, facet in enumerate(facets[:_MOST_FACETS], 1):
        here, there = (ax.transData.transform(end) * scale for end in facet.ends)
        along = there - here
        length = float(np.hypot(*along))
        outward = np.array([along[1], -along[0]]) / length if length > 0 else np.array([0.0, -1.0])
        middle = (here + there) / 2
        if outward @ (middle - centre) < 0:
            outward = -outward
        for distance in (8.0, 17.0, 26.0, 35.0, 44.0):
            place = middle + distance * outward
            if all(np.hypot(*(place - other)) >= 11 for other in taken):
                taken.append(place)
                out.append((number, (float(distance * outward[0]), float(distance * outward[1]))))
                break
    return out


def _region_notes(result: Slice2D, i: int, facets: tuple[Facet, ...]) -> list[str]:
    """Return what the caption says, an item for each facet."""
    first = f"{result.share[i]:.3g} of the area of the box."
    if result.region is not None and result.count is not None:
        seen = result.region[i] >= 0
        rows = f"{int(result.count[i]):,} row{'s' * (int(result.count[i]) != 1)}"
        first += (
            f" Region {int(result.region[i]):,} of the table, {rows}."
            if seen
            else " No row of the table has its pattern."
        )
    notes = [first]
    for number, facet in enumerate(facets[:_MOST_FACETS], 1):
        states = {on for _, _, on in facet.switches}
        becomes = "" if not states else " on" if states == {True} else " off" if states == {False} else " the other way"
        beyond = f"{becomes} beyond, in polygon {facet.neighbour:,}" if facet.neighbour >= 0 else ""
        words = f"; here {facet.words}" if facet.words else ""
        notes.append(f"{number}  {short(facet.name, 60)}{beyond}{words}")
    if len(facets) > _MOST_FACETS:
        more = len(facets) - _MOST_FACETS
        notes.append(f"{counted(more, 'more facet')} {is_are(more)} not numbered.")
    notes.append("Grey lines: where other neurons would switch, were its model true everywhere.")
    note = short(result.plane.note, _NOTE)
    return [*notes, _sentences([note])] if note else notes
