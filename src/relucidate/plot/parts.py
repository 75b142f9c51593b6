"""What all pictures share: colours, sizes, axes, and text that fits.

Text is set at 7 to 9 points, so that a picture can be read at the width of one column (3.4 inches) and of two.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from numpy.typing import NDArray

from relucidate.errors import ArgumentError, MissingDependencyError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from relucidate.network import Network

# Okabe & Ito 2008: told apart by readers with any of the usual kinds of colour vision.
BLUE, VERMILION, SKY, QUIET, GRID = "#0072b2", "#d55e00", "#56b4e9", "#666666", "#e3e3e3"
DIVERGING = "PuOr"  # orange below 0, purple above

TITLE, TEXT, SMALL = 9.0, 8.0, 7.0  # points
CHARACTER = 0.56  # average width of a character, in sizes of its font
WIDE = 0.64  # width of a character in words of few, which may all be wide
LINE = 1.3  # height of a line of text, in sizes of its font
HINTING = 0.92  # text is up to so much narrower at one resolution than at another
NAME = 26  # characters of a feature's name that are shown
MANY = 2_000  # dots, above which they are pixels in a picture that is otherwise drawn: its file would be many megabytes
NARROW = 5.0  # inches: below, rules have no room beside other things
_UPRIGHT, _BELOW = 3, 2  # lines of a label beside an axis, and below one panel of several
ONE, TWO = 4.8, 6.8  # inches: default widths of pictures without and with long labels

Box: TypeAlias = tuple[float, float]


def axes_for(ax: Axes | None, width: float, height: float) -> Axes:
    """Return the axes given, or those of a new figure of so many inches; with small text and few lines."""
    if ax is None:
        try:
            import matplotlib.pyplot as plt
        except ImportError:
            raise MissingDependencyError("Pictures need matplotlib: pip install matplotlib") from None
        _, ax = plt.subplots(figsize=(width, min(height, 40.0)), layout="constrained")
    ax.tick_params(labelsize=TEXT, color=QUIET)
    for axis in (ax.xaxis, ax.yaxis):
        axis.label.set_fontsize(TEXT)
        axis.get_offset_text().set(fontsize=SMALL, color=QUIET)
    plain(ax.xaxis.label, ax.yaxis.label)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(QUIET)
    ax.set_axisbelow(True)
    return ax


def plain(*texts: Any) -> None:
    """Let texts be shown as they are: "$a_b$" is a name, no mathematics."""
    for text in texts:
        text.set_parse_math(False)


def inches(ax: Axes) -> Box:
    """Return the width and height that the axes have with their labels, before anything is laid out."""
    whole = ax.get_figure(root=True).get_size_inches()  # type: ignore[union-attr]
    spec = ax.get_subplotspec()
    box = ax.get_position() if spec is None else spec.get_position(ax.figure)  # type: ignore[arg-type]
    inner = 1.0 / 0.77  # the default margins, which a layout takes back
    return float(whole[0] * min(box.width * inner, 1.0)), float(whole[1] * min(box.height * inner, 1.0))


def characters(inches: float, size: float) -> int:
    """Return how many characters fit."""
    return max(int(72 * inches / (size * CHARACTER)), 6)


def text_width(ax: Axes, text: str, size: float = SMALL, weight: str = "normal") -> float:
    """Return the inches that a line of text takes at most."""
    figure: Any = ax.get_figure(root=True)
    drawn = figure.text(0, 0, text, fontsize=size, fontweight=weight, parse_math=False)
    width = float(drawn.get_window_extent().width) / figure.dpi / HINTING
    drawn.remove()
    return width


def cut(ax: Axes, text: str, room: float, weight: str = "normal") -> str:
    """Return small text on one line of at most so many inches, cut in the middle."""
    for limit in range(len(text), 4, -1):
        if text_width(ax, short(text, limit), weight=weight) <= room:
            return short(text, limit)
    return short(text, 4)


def fitting(ax: Axes, n: int, most: int, spare: float = 1.7) -> int:
    """Return how many of n rows are shown: at most `most`, and no more than have room beside `spare` inches."""
    return max(min(n, most, int((inches(ax)[1] - spare) / (SMALL * LINE / 72))), 1)


def widened(low: float, high: float, scale: float = 0.0) -> Box:
    """Return the ends of an axis, apart where they are equal but for rounding: of numbers as large as `scale`."""
    if high - low > 1e-12 * max(abs(low), abs(high), scale):
        return low, high
    middle = (low + high) / 2
    half = 0.5 * abs(middle) if abs(middle) > 1e-12 * scale else 1.0
    return (middle - half, middle + half) if half else (-1.0, 1.0)


def compact(value: float, _: Any = None) -> str:
    """Return a tick's number in few characters: 250000 as 250k."""
    size = abs(value)
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size >= unit and not (unit == 1e3 and size < 1e4):
            return f"{value / unit:g}{letter}".replace("-", "−")
    return (f"{value:.3g}" if 0 < size < 1e-3 else f"{value:.6g}").replace("-", "−").replace("e−0", "e−")


def label_step(ax: Axes, n: int) -> int:
    """Return every how many rows a label has room."""
    room = 0.7 * inches(ax)[1] / (SMALL * LINE / 72)
    return max(1, math.ceil(n / max(room, 1.0)))


def label_rows(ax: Axes, y: NDArray[Any], labels: Sequence[str], every: int = 1) -> None:
    ax.set_yticks(y[::every], labels[::every], fontsize=SMALL, parse_math=False)
    ax.tick_params(axis="y", length=0)


def right_column(ax: Axes, y: NDArray[Any], texts: Sequence[str]) -> None:
    """Write numbers in a column at the right edge."""
    for place, text in zip(y, texts, strict=True):
        ax.text(
            1.02,
            place,
            text,
            transform=ax.get_yaxis_transform(),
            va="center",
            fontsize=SMALL,
            color=QUIET,
            parse_math=False,
        )


def write(
    ax: Axes,
    text: str,
    xy: Box,
    offset: Box,
    ha: Any,
    colour: str,
    va: Any = "bottom",
) -> None:
    """Write beside a point, `offset` points away."""
    note = ax.annotate(text, xy, offset, textcoords="offset points", ha=ha, va=va, fontsize=SMALL, color=colour)
    note.set_parse_math(False)


def finished(ax: Axes, title: str, caption: str) -> Axes:
    """Set the title and the caption, and wrap them and the labels of axes and panels to the room that was laid out."""
    figure = ax.get_figure(root=True)
    assert figure is not None
    for _ in range(2):  # the second layout starts from ticks that fit the first
        figure.draw_without_rendering()
    labels = [
        (
            part,
            axis.label,
            axis.label.get_text(),
            _UPRIGHT if axis is part.yaxis else _BELOW if part is not ax else None,
        )
        for part in (ax, *ax.child_axes)
        if part.axison
        for axis in (part.xaxis, part.yaxis)
    ]
    if _labels_fitted(labels):
        figure.draw_without_rendering()
    heading = ax.set_title("", loc="left", fontsize=TITLE, fontweight="bold", parse_math=False)
    note = ax.annotate(caption, (0, 0), (0, 0), xycoords="axes fraction", textcoords="offset points", va="top")
    note.set(fontsize=SMALL, color=QUIET, parse_math=False)
    plain_place = heading.get_transform()
    for last in (False, True):  # the title and the caption take room from what they are fitted to
        heading.set_text("")
        note.set_visible(False)
        inner, outer = ax.get_window_extent(), ax.get_tightbbox() or ax.get_window_extent()
        left = max(outer.x0, figure.bbox.x0 + 2)
        points = 72 / figure.dpi
        heading.set_text(title)
        heading.set_transform(plain_place + _moved(figure, (left - inner.x0) * points))
        heading.set_x(0.0)
        fitted(heading, inner.x1 - left)
        note.set(text=caption, visible=True, position=((left - inner.x0) * points, (outer.y0 - inner.y0) * points - 5))
        fitted(note, inner.x1 - left)
        if not last:
            figure.draw_without_rendering()
            if _labels_fitted(labels):
                figure.draw_without_rendering()
    if not caption:
        note.remove()
    return ax


def _moved(figure: Any, points: float) -> Any:
    from matplotlib.transforms import ScaledTranslation

    return ScaledTranslation(points / 72, 0, figure.dpi_scale_trans)


def _labels_fitted(labels: Sequence[tuple[Any, Any, str, int | None]]) -> bool:
    """Wrap the labels of axes to the sides of their axes, and return whether one has changed."""
    changed = False
    for part, label, whole, lines in labels:
        before = label.get_text()
        label.set_text(whole)
        box = part.get_window_extent()
        if label is part.yaxis.label:
            fitted(label, box.height, lines)
        else:
            power = part.xaxis.get_offset_text()  # beside the label, at the end of the axis
            beside = power.get_window_extent().width if power.get_text() else 0.0
            fitted(label, max(box.width - 2.2 * beside, 0.4 * box.width), lines)
        changed |= label.get_text() != before
    return changed


def fitted(text: Any, room: float, lines: int | None = None) -> None:
    """Break a text into lines that are no longer than so many pixels, at other resolutions too.

    Upright text is fitted to a height. What more than `lines` lines would need is cut out of the middle.
    """
    upright = text.get_rotation() == 90

    def drawn() -> float:
        box = text.get_window_extent()
        return float(box.height if upright else box.width)

    room *= HINTING
    whole, length = text.get_text(), drawn()
    n = len(whole) if length <= room else int(1.1 * len(whole) * room / length)
    while length > room and n > (8 if lines is None else 4):
        text.set_text(wrapped(whole, n, lines))
        length = drawn()
        n -= 1


def wrapped(text: str, width: int, lines: int | None = None) -> str:
    """Return text in lines of at most so many characters; cut in the middle where there would be more than `lines`."""
    out = textwrap.wrap(text, width)
    if lines is not None and len(out) > lines:
        text = " ".join(text.split())
        limit = lines * width
        while len(out) > lines and limit > 2:
            out = textwrap.wrap(short(text, limit), width)
            limit -= 1
    return "\n".join(out)


def short(value: object, limit: int) -> str:
    """Return text on one line of at most `limit` characters, cut in the middle, what cannot be printed as "?"."""
    text = "".join(c if c.isprintable() or c == "\N{NO-BREAK SPACE}" else "?" for c in str(value)[: 10 * limit + 1000])
    if len(text) <= limit:
        return text
    tail = max(limit // 3, 1)
    return text[: max(limit - tail - 1, 1)] + "…" + text[-tail:]


def is_are(n: int) -> str:
    return "is" if n == 1 else "are"


def counted(n: int, what: str) -> str:
    """Return "1 region", "12 regions"."""
    return f"{n:,} {what}" + ("" if n == 1 else "s")


def all_of(n: int, what: str) -> str:
    """Return "the only region", "all 12 regions"."""
    return f"the only {what}" if n == 1 else f"all {counted(n, what)}"


def some(n: int, total: int, what: str, how: str) -> str:
    """Return what a caption says where a part of all is shown, "" where all are."""
    how = how.replace("those", "that", 1) if n == 1 else how
    return f"{n:,} of {total:,} {what} {is_are(n)} shown: {how}." if n < total else ""


def listed(names: Sequence[str], limit: int = 6) -> str:
    """Return names with commas between them, and the number of those left out."""
    text = ", ".join(short(name, NAME) for name in names[:limit])
    return text + (f" and {len(names) - limit:,} more" if len(names) > limit else "")


def frame_of(result: Any) -> pd.DataFrame:
    """Return the table of a result."""
    frame = result.to_frame() if hasattr(result, "to_frame") else result
    if not hasattr(frame, "columns"):
        raise ArgumentError(f"A {type(result).__name__} cannot be drawn here: give a result, or its to_frame().")
    return frame


_UNITS = {"identity": "", "logit": "log-odds", "softmax": "logit", "log": "log of the prediction"}


def unit_of(network: Network) -> str:
    """Return the unit of decisions, or "decision" where they have none of their own."""
    return _UNITS[network.link] or "decision"


def scale_label(network: Network, output: int, scale: str = "decision") -> str:
    """Return what an axis shows, with its unit: "decision (log-odds)", "probability of yes", "decision of y1"."""
    several = network.n_outputs > 1
    if scale == "prediction":
        if network.is_classifier:
            named = network.classes[output if several else 1] if network.classes else network.outputs[output]
            return f"probability of {short(named, NAME)}" if network.classes or several else "probability"
        return f"prediction of {short(network.outputs[output], NAME)}" if several else "prediction"
    of = f" of {short(network.outputs[output], NAME)}" if several else ""
    unit = _UNITS[network.link]
    return f"decision{of} ({unit})" if unit else f"decision{of}"
