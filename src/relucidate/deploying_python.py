"""Simplified models as a Python module that needs nothing but Python."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import relucidate
from relucidate.deploying_model import Deployed, cell_type, plain
from relucidate.features import Features
from relucidate.layers import Floats
from relucidate.simplified import ByCentre


def write(model: Deployed) -> str:
    """Return the text of a module with ``decision(row)``, ``predict(row)`` and ``model_of(x)``.

    Notes
    -----
    Names and levels are written by `repr`, so that whatever they hold stays text. Run as a program, the module reads a
    CSV file with column names from standard input and writes it with its predictions to standard output.
    """
    sums = _Sums(model)
    parts = [
        _HEAD.format(version=relucidate.__version__),
        _tuple("COLUMNS", [repr(c) for c in model.features.columns]),
        _tuple("OUTPUTS", [repr(o) for o in model.outputs]),
        _tuple("CLASSES", [_literal(c) for c in model.classes]),
        f"LINK = {model.link!r}",
        _cells(model.features),
        _features(model.features),
        _known(model.features),
        _models(model),
        sums.centres(),
        _ENCODING,
        sums.choice(),
        _PREDICTING,
    ]
    texts = [part.strip("\n") for part in parts if part]
    return texts[0] + "".join(("\n\n\n" if t.startswith("def") else "\n\n") + t for t in texts[1:]) + "\n"


def run(text: str) -> Callable[[NDArray[Any]], Floats]:
    """Return what the module's ``predict`` makes of rows (n, n_columns), as (n, n_outputs)."""
    module: dict[str, Any] = {"__name__": "written"}
    exec(compile(text, "written.py", "exec"), module)

    def predict(cells: NDArray[Any]) -> Floats:
        columns = module["COLUMNS"]
        rows = [dict(zip(columns, row, strict=True)) for row in cells.tolist()]
        return np.array([module["predict"](row) for row in rows], dtype=np.float64).reshape(len(cells), -1)

    return predict


# ---------------------------------------------------------------- tables


def _literal(level: Any) -> str:
    """Return a level as Python writes it; None for a missing one."""
    value = plain(level)
    if isinstance(value, float) and math.isinf(value):
        return "float('inf')" if value > 0 else "float('-inf')"
    return repr(value)


def _tuple(name: str, items: list[str]) -> str:
    if not items:
        return f"{name} = ()"
    return f"{name} = (\n" + "".join(f"    {item},\n" for item in items) + ")"


def _cells(features: Features) -> str:
    held = "".join(f"    {c!r}: {cell_type(features, c)!r},\n" for c in features.columns)
    return f"# what the cells of each column hold\nCELLS = {{\n{held}}}"


def _features(features: Features) -> str:
    rows = []
    for f in features.items:
        levels = "(" + "".join(f"{_literal(level)}, " for level in f.levels).rstrip(" ") + ")"
        rows.append(f"({f.name!r}, {f.column!r}, {f.kind!r}, {levels}, {_literal(f.impute)})")
    return "# name, column, kind, levels, and what takes the place of a missing value\n" + _tuple("FEATURES", rows)


def _known(features: Features) -> str:
    rows = [f"    {c!r}: [{', '.join(map(_literal, levels))}],\n" for c, levels in features.known]
    return (
        "# levels that a column may have; others are refused\nKNOWN = {" + ("\n" if rows else "") + "".join(rows) + "}"
    )


def _models(model: Deployed) -> str:
    lines = ["# of each model and output: the intercept, and a coefficient for each feature that has one", "MODELS = ["]
    for m in range(model.n_models):
        lines.append(f"    [  # model {m}, fitted to {int(model.count[m])} rows")
        for intercept, coef in zip(model.intercept[m].tolist(), model.coef[m].tolist(), strict=True):
            lines += ["        (", f"            {intercept!r},", "            {"]
            lines += [f"                {n!r}: {c!r}," for n, c in zip(model.features.names, coef, strict=True) if c]
            lines += ["            },", "        ),"]
        lines.append("    ],")
    return "\n".join([*lines, "]"])


class _Sums:
    """The part that leads a row to its model."""

    def __init__(self, model: Deployed) -> None:
        self.model = model

    def centres(self) -> str:
        """Return the table of centres, "" for rules."""
        route = self.model.route
        if not isinstance(route, ByCentre):
            return ""
        centre = route.centre / route.scale
        half = 0.5 * (centre**2).sum(axis=1)
        scale = "".join(
            f"    {n!r}: {s!r},\n" for n, s in zip(self.model.features.names, route.scale.tolist(), strict=True)
        )
        lines = ["# of each centre: its model, half its squared length, and its place in units of SCALE", "CENTRES = ["]
        for number, size, place in zip(route.model.tolist(), half.tolist(), centre.tolist(), strict=True):
            lines += ["    (", f"        {number},", f"        {size!r},", "        {"]
            lines += [f"            {n!r}: {v!r}," for n, v in zip(self.model.features.names, place, strict=True)]
            lines += ["        },", "    ),"]
        return f"SCALE = {{\n{scale}}}\n\n" + "\n".join([*lines, "]"])

    def choice(self) -> str:
        """Return the function ``model_of``."""
        if isinstance(self.model.route, ByCentre):
            return _NEAREST
        lines = ["def model_of(x):", '    """Return the number of the model that an encoded row takes."""']
        *others, last = self.model.segments()
        for i, (number, _, conditions) in enumerate(others):
            said = " and ".join(self.condition(*c) for c in conditions)
            lines += [f"    {'elif' if i else 'if'} {said}:", f"        return {number}"]
        return "\n".join([*lines, f"    return {last[0]}"])

    def condition(self, direction: Floats, above: float, up_to: float) -> str:
        names = self.model.features.names
        used = np.flatnonzero(direction).tolist()
        if len(used) == 1 and direction[used[0]] == 1:
            said = f"x[{names[used[0]]!r}]"
        else:
            said = " + ".join(f"{float(direction[j])!r} * x[{names[j]!r}]" for j in used)
        if math.isinf(up_to):
            return f"{said} > {above!r}"
        return f"{said} <= {up_to!r}" if math.isinf(above) else f"{above!r} < {said} <= {up_to!r}"


# ---------------------------------------------------------------- what every module has

_HEAD = '''
"""Linear models and the rules that say which one a row takes, written by relucidate {version}.

    predict(row)   the prediction: a number, or a list of one for each of OUTPUTS
    decision(row)  the same before the inverse of the link

A row is a mapping from the names of COLUMNS to cells, or a sequence of cells in that order. None and NaN are cells
without a value. Needs nothing but Python. As a program it reads CSV with column names and adds the predictions:

    python this_file.py < rows.csv > predictions.csv
"""

import csv
import math
import sys
'''

_ENCODING = '''
def missing(cell):
    """Return whether a cell has no value."""
    return cell is None or cell != cell


def same(a, b):
    """Return whether two levels are one: text equals text, numbers equal numbers."""
    if missing(a) or missing(b):
        return missing(a) and missing(b)
    return isinstance(a, str) == isinstance(b, str) and a == b


def encode(row):
    """Return the number that each feature has, by its name."""
    cells = dict(row) if hasattr(row, "keys") else dict(zip(COLUMNS, row, strict=True))
    absent = [column for column in COLUMNS if column not in cells]
    if absent:
        raise KeyError(f"the row lacks {absent!r}")
    return {name: feature(cells[column], column, *how) for name, column, *how in FEATURES}


def feature(cell, column, kind, levels, impute):
    """Return the number that a cell becomes."""
    if kind == "missing":
        return float(missing(cell))
    filled = impute if missing(cell) else cell
    if kind == "value":
        if missing(filled) or isinstance(filled, str) or math.isinf(filled):
            raise ValueError(f"column {column!r} holds {cell!r}; expected a finite number")
        return float(filled)
    if column in KNOWN and not any(same(c, level) for c in (cell, filled) for level in KNOWN[column]):
        raise ValueError(f"column {column!r} holds {cell!r}; expected one of {KNOWN[column]!r}")
    return float(any(same(filled, level) for level in levels) == (kind == "level"))
'''

_NEAREST = '''
def model_of(x):
    """Return the number of the model that an encoded row takes: that of the nearest centre, the first of several."""
    best, nearest = -math.inf, 0
    for number, half, place in CENTRES:
        closeness = sum(x[name] / SCALE[name] * at for name, at in place.items()) - half
        if closeness > best:
            best, nearest = closeness, number
    return nearest
'''

_PREDICTING = '''
def decisions(row):
    """Return a decision for each output."""
    x = encode(row)
    return [intercept + sum(c * x[name] for name, c in coef.items()) for intercept, coef in MODELS[model_of(x)]]


def decision(row):
    """Return the decision: the logit, the logarithm or the value, whatever LINK says."""
    d = decisions(row)
    return d[0] if len(d) == 1 else d


def sigmoid(d):
    e = math.exp(-abs(d))
    return 1 / (1 + e) if d >= 0 else e / (1 + e)


def predict(row):
    """Return the prediction: for two classes the probability of the second one."""
    d = decisions(row)
    if LINK == "logit":
        d = [sigmoid(v) for v in d]
    elif LINK == "log":
        d = [math.exp(v) for v in d]
    elif LINK == "softmax":
        e = [math.exp(v - max(d)) for v in d]
        d = [v / sum(e) for v in e]
    return d[0] if len(d) == 1 else d


def parsed(text, column):
    """Return the cell that a text in a CSV file stands for; nothing is a missing value."""
    kind = CELLS[column]
    if text is None or text == "":
        return None
    if kind == "boolean" and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if kind in ("number", "boolean"):
        return float(text)
    if kind == "mixed":
        try:
            return float(text)
        except ValueError:
            return text
    return text


def main():
    """Read CSV from standard input, and write it with predictions to standard output."""
    sys.stdin.reconfigure(encoding="utf-8-sig", newline="")
    sys.stdout.reconfigure(encoding="utf-8", newline="")
    table = csv.reader(sys.stdin)
    names = next(table)
    added = ["prediction"] if len(OUTPUTS) == 1 else ["prediction_" + name for name in OUTPUTS]
    out = csv.writer(sys.stdout, lineterminator="\\n")
    out.writerow(names + added)
    for row in table:
        cells = dict(zip(names, row, strict=True))
        said = predict({column: parsed(cells[column], column) for column in COLUMNS})
        out.writerow(row + [repr(p) for p in (said if isinstance(said, list) else [said])])


if __name__ == "__main__":
    main()
'''
