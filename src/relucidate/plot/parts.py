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
NARROW = 5.0  # inches: below, rules have no room beside other things
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
    ax.xaxis.label.set_fontsize(TEXT)
    ax.yaxis.label.set_fontsize(TEXT)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(QUIET)
    ax.set_axisbelow(True)
    return ax


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
        ax.text(1.02, place, text, transform=ax.get_yaxis_transform(), va="center", fontsize=SMALL, color=QUIET)


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
    """Set the title and the caption, and wrap them and the label of the axis to the width that was laid out."""
    figure = ax.get_figure(root=True)
    assert figure is not None
    for _ in range(2):  # the second layout starts from ticks that fit the first
        figure.draw_without_rendering()
    inner, outer = ax.get_window_extent(), ax.get_tightbbox() or ax.get_window_extent()
    left = max(outer.x0, figure.bbox.x0 + 2)
    fitted(ax.xaxis.label, inner.width)
    start = (left - inner.x0) / inner.width
    ax.set_title(title, loc="left", x=start, fontsize=TITLE, fontweight="bold", parse_math=False)
    fitted(ax._left_title, inner.x1 - left)  # type: ignore[attr-defined]
    if caption:
        lower = (ax.get_tightbbox() or outer).y0
        offset = (0.0, (lower - inner.y0) * 72 / figure.dpi - 5)
        note = ax.annotate(caption, (start, 0), offset, xycoords="axes fraction", textcoords="offset points", va="top")
        note.set(fontsize=SMALL, color=QUIET, parse_math=False)
        fitted(note, inner.x1 - left)
    return ax


def fitted(text: Any, width: float) -> None:
    """Break a text into lines that are no wider than so many pixels, at other resolutions too."""
    width *= HINTING
    whole = text.get_text()
    drawn = text.get_window_extent().width
    n = len(whole) if drawn <= width else int(1.1 * len(whole) * width / drawn)
    while drawn > width and n > 8:
        text.set_text(textwrap.fill(whole, n))
        drawn = text.get_window_extent().width
        n -= 1


def short(value: object, limit: int) -> str:
    """Return text on one line of at most `limit` characters, cut in the middle, what cannot be printed as "?"."""
    text = "".join(c if c.isprintable() or c == "\N{NO-BREAK SPACE}" else "?" for c in str(value)[: 10 * limit + 1000])
    if len(text) <= limit:
        return text
    tail = max(limit // 3, 1)
    return text[: max(limit - tail - 1, 1)] + "…" + text[-tail:]


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
