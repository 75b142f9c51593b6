"""A decision as a sum, drawn step by step: from the mean row of the table to one case."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup, escape

from relucidate.words import MINUS, Name, number, plural

WIDTH = 400  # in user units, as in `pictures`
_STEP = 34  # height of a step: its words, and its bar below them
_LEFT, _RIGHT = 6, WIDTH - 6


def waterfall(
    base: float,
    here: float,
    bars: Sequence[tuple[int, Name, str, float]],
    rest: tuple[int, float] | None,
    end: float,
    quantity: str,
) -> Markup:
    """Return how contributions add up to a decision.

    Parameters
    ----------
    base : of the network at the mean row. here : of the case's local linear model there.
    bars : (index of the column, its name, value of the case in words, contribution), largest first.
    rest : (number of other columns, their joint contribution), or None. end : of the case. quantity : what they are.
    """
    steps: list[tuple[int, str, str, str, float]] = [
        (-1, "the model of this region, at the mean row", "", "", here - base)
    ]
    steps += [(g, column.short, column.full, f" = {value}", part) for g, column, value, part in bars]
    if rest is not None:
        steps.append((-1, f"the {plural(rest[0], 'other column')}", "", "", rest[1]))
    places = [base]
    for step in steps:
        places.append(places[-1] + step[4])
    low, high = min([*places, end]), max([*places, end])
    reach = high - low or 1.0

    def x(value: float) -> float:
        return _LEFT + 4 + (value - low) / reach * (_RIGHT - _LEFT - 8)

    height = _STEP * (len(steps) + 2)
    out = [
        f'<line class="grid" x1="{x(v):.1f}" x2="{x(v):.1f}" y1="{_STEP * i + 24}" y2="{_STEP * (i + 1) + 24}"/>'
        for i, v in enumerate(places)
    ]
    out += _row(0, -1, "the network at the mean row", "", "", number(base), "")
    out.append(_dot(x(base), 24))
    for i, (g, label, full, value, part) in enumerate(steps):
        top = _STEP * (i + 1)
        out += _row(top, g, label, full, value, signed(part), "")
        left, right = sorted((x(places[i]), x(places[i + 1])))
        mark = f' data-feature="{g}"' if g >= 0 else ""
        style = "neg" if part < 0 else "pos"
        out.append(
            f'<rect class="{style}" x="{left:.1f}" y="{top + 19}" width="{max(right - left, 0.8):.1f}" height="9"{mark}/>'
        )
    out += _row(height - _STEP, -1, f"this case: {quantity}", "", "", number(end), "strong ")
    out.append(_dot(x(end), height - 10))
    said = ", ".join(f"{label}{value} {signed(part)}" for _, label, _, value, part in steps)
    spoken = f"From {number(base)} at the mean row to {number(end)}: {said}."
    head = f'<svg class="picture waterfall" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(spoken)}">'
    return Markup(head + "\n" + "\n".join(out) + "\n</svg>")  # every part is a number or was escaped


def signed(value: float) -> str:
    """Return a number with its sign."""
    text = number(value)
    return text if text.startswith(MINUS) or text == "0" else f"+{text}"


def _row(top: float, g: int, label: str, full: str, value: str, text: str, style: str) -> list[str]:
    mark = f' data-feature="{g}"' if g >= 0 else ""
    hover = f"<title>{escape(full)}</title>" if full else ""
    return [
        f'<text class="{style}halo isolate" x="{_LEFT}" y="{top + 14}"{mark}><tspan class="isolate">{escape(label)}</tspan>'
        f'<tspan class="quiet">{escape(value)}</tspan>{hover}</text>',
        f'<text class="{style}halo end" x="{_RIGHT}" y="{top + 14}">{text}</text>',
    ]


def _dot(x: float, y: float) -> str:
    return f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
