"""How results show themselves in a notebook: what they say, and the head of their table, as a small piece of HTML."""

from __future__ import annotations

import math
from html import escape
from numbers import Integral, Real
from typing import Any

import numpy as np

from relucidate.words import name, number

_ROWS = 8
_COLUMNS = 9
_LINES = 6
_LINE = 300  # characters
_MOST = 200_000  # cells of a table that is made only to be looked at


def in_notebook(result: Any) -> str:
    """Return a result as HTML, for ``_repr_html_``: its own words, then the first rows and columns of its table.

    Notes
    -----
    Everything is escaped. There is no script and no style sheet, so that notebooks may keep it and show it anywhere.
    """
    first, *rest = _lines(result)
    parts = [f"<p><strong>{first}</strong></p>"]
    if rest:
        parts.append("<ul>" + "".join(f"<li>{line}</li>" for line in rest) + "</ul>")
    frame = _frame(result)
    if frame is not None and len(frame.columns):
        parts.append(_table(frame))
    return "<div>" + "".join(parts) + "</div>"


def _lines(result: Any) -> list[str]:
    text = repr(result)
    if text.startswith(f"{type(result).__name__}("):  # a list of its fields: arrays
        text = (type(result).__doc__ or type(result).__name__).strip()
        text = text.split("\n", 1)[0]
    said = [line for line in text.splitlines() if line.strip()]
    shown = [escape(name(line, _LINE).short) for line in said[:_LINES]]
    return shown + ([f"… {len(said) - _LINES} more lines: print it"] if len(said) > _LINES else [])


def _frame(result: Any) -> Any:
    """Return the table of a result, None where it has none."""
    if hasattr(result, "to_frame"):
        return result.to_frame()
    if hasattr(result, "table"):
        maps = getattr(result, "coef", None)
        small = maps is not None and math.prod(maps.shape) <= _MOST
        return result.table(maps=small, global_scores=0) if hasattr(result, "map_blocks") else result.table()
    return None


def _table(frame: Any) -> str:
    n, k = frame.shape
    columns = list(range(k)) if k <= _COLUMNS + 1 else list(range(_COLUMNS))
    head = frame.iloc[:_ROWS]
    rows = [
        "<tr><th>" + escape(_text(label)) + "</th>" + "".join(_cell(head.iat[i, j]) for j in columns) + "</tr>"
        for i, label in enumerate(head.index)
    ]
    titles = "".join(f"<th>{escape(name(_text(frame.columns[j]), 32).short)}</th>" for j in columns)
    left = [f"{n - len(head):,} more rows"] if n > len(head) else []
    left += [f"{k - len(columns):,} more columns"] if k > len(columns) else []
    note = f"<p>… and {' and '.join(left)}.</p>" if left else ""
    return f"<table><thead><tr><th></th>{titles}</tr></thead><tbody>{''.join(rows)}</tbody></table>{note}"


def _cell(value: Any) -> str:
    flag: Any = isinstance(value, bool | np.bool_)
    side = "right" if not flag and isinstance(value, Real) else "left"
    return f'<td style="text-align: {side}">{escape(_text(value))}</td>'


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(_text(v) for v in value)
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, Integral):
        return f"{int(value):,}"
    if isinstance(value, Real):
        return number(float(value))
    return name(value, 90).short if value is not None and value != "" else ""
