"""What tests of pictures share: axes to draw on, what is written and drawn there, and whether it can be read."""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text


def axes(width: float = 6.8, height: float = 6.0) -> Axes:
    return Figure(figsize=(width, height), layout="constrained").add_subplot()


def all_axes(ax: Axes) -> Iterator[Axes]:
    """All axes of the figure, those set into others too."""
    figure = ax.get_figure(root=True)
    assert figure is not None
    waiting = list(figure.axes)
    while waiting:
        part = waiting.pop(0)
        waiting += [child for child in part.child_axes if child not in waiting]
        yield part


def texts(ax: Axes) -> list[Text]:
    """All that is written in the figure and can be seen."""
    figure = ax.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()
    written: list[Text] = []
    for part in dict.fromkeys(all_axes(ax)):
        if part.axison:
            for axis, limits in ((part.xaxis, part.get_xlim()), (part.yaxis, part.get_ylim())):
                drawn = [tick for tick in axis.get_major_ticks() if min(limits) <= tick.get_loc() <= max(limits)]
                written += [axis.label, axis.get_offset_text()]
                written += [*(label for tick in drawn for label in (tick.label1, tick.label2))]
        written += [*part.texts, part.title, part._left_title, part._right_title]  # type: ignore[attr-defined]
        legend = part.get_legend()
        written += legend.get_texts() if legend is not None else []
    return [text for text in written if text.get_text() and text.get_visible()]


def assert_legible(ax: Axes) -> None:
    """No text lies on other text or outside of the figure."""
    written = texts(ax)
    figure = ax.get_figure(root=True)
    assert figure is not None
    boxes = [text.get_window_extent() for text in written]
    for text, box in zip(written, boxes, strict=True):
        assert box.x0 >= -1, text.get_text()
        assert box.x1 <= figure.bbox.x1 + 1, text.get_text()
        assert box.y0 >= -1, text.get_text()
        assert box.y1 <= figure.bbox.y1 + 1, text.get_text()
    for (a, text), (b, other) in combinations(zip(boxes, written, strict=True), 2):
        wide, high = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        assert min(wide, high) <= 1.5, (text.get_text(), other.get_text())


def caption(ax: Axes) -> str:
    return " ".join(ax.texts[-1].get_text().split())


def points(ax: Axes, marker: str = "o") -> list[tuple[float, float]]:
    """The points of lines drawn as dots, in the order in which they were drawn."""
    found = [line.get_xydata() for line in ax.lines if line.get_marker() == marker]
    return [(float(x), float(y)) for xy in found for x, y in np.asarray(xy)]
