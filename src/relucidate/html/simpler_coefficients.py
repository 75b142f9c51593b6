"""Coefficients of the models of a simplification, fitted anew to a response, with their intervals."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from relucidate.features import Features
from relucidate.html.pictures_simplification import whisker
from relucidate.layers import Floats
from relucidate.network import Network
from relucidate.sampling import Sample
from relucidate.simplified import Route, Simplified
from relucidate.simplify import inference
from relucidate.studying import labels_of
from relucidate.words import NONE, Name, count, name, number, plural

LEVEL = 0.95
_TERMS = 16  # listed per model and output
_TERMS_OF_SEVERAL = 6  # where there are several outputs
_LINES = 240
_REACH = 0.9  # of the ends of intervals that the pictures hold
_WORK = 1e9  # rows times squared features that are fitted within a few seconds
_WORK_FOR_OTHERS = 1e8


@dataclass(frozen=True)
class Coefficient:
    """A line of the table.

    Parameters
    ----------
    column : of the table that the term belongs to, None for the intercept. why : there is no interval.
    effect : estimate, lower and upper end times the spread of the feature. whisker : the picture of it.
    """

    model: int
    output: Name | None
    term: Name
    column: int | None
    estimate: str
    lower: str
    upper: str
    p: str
    why: Name | None = None
    effect: tuple[float, float, float] | None = None
    whisker: Markup | None = None


@dataclass(frozen=True)
class Intervals:
    """The table of one number of models: its lines, what must stand beside it, and all of its numbers for the JSON file.

    Parameters
    ----------
    said : sentences before the table. lines : in order of models. reference : what the odds of a softmax are against.
    models : in the lines. honest : whether the rows had no part in choosing the models. without : models with no interval.
    reach : of the pictures to either side of 0, "" without pictures.
    """

    said: list[str]
    lines: list[Coefficient]
    several: bool = False
    models: list[int] = field(default_factory=list)
    honest: bool = False
    without: int = 0
    reach: str = ""
    facts: Any = None


def intervals(
    s: Simplified, test: Sample | None, sd: Floats, *, response: str, least: int, other: bool = False
) -> Intervals | str:
    """Return the models fitted anew to a response, or in words why there are no intervals.

    Parameters
    ----------
    s : a simplification. test : other rows, of use if they have a response; else the rows that `s` was made on are used.
    sd : (d,) spread of each feature. least : fewest rows whose coefficients may be shown. other : fewer seconds are spent.
    response : name of the decision, for units.
    """
    honest = test is not None and test.y is not None
    rows = test if test is not None and test.y is not None else s.sample
    if rows is None or rows.y is None:
        return "There is no response, so the coefficients have no intervals."
    if s.method == "prune":
        return "These models are the network’s own, of its largest regions: nothing was estimated that intervals could be of."
    d, o = s.network.n_features, s.network.n_outputs
    most = int((_WORK_FOR_OTHERS if other else _WORK) / ((d + 1.0) ** 2 * o**2))
    if most < min(len(rows.x), 20 * d):
        return f"Fitting {plural(d, 'feature')} anew would take too long here; relucidate.simplify.inference does it."
    n = len(rows.x)
    if n > most:
        rows = rows.taken(np.unique(np.linspace(0, n - 1, most).astype(np.intp)))
    found, note, small = _fitted(s, rows, honest, max(least, 2))
    on = "test rows, which had no part in the simplification" if honest else "rows that the models were made on"
    some = f"{count(len(rows.x))} of the {count(n)}" if len(rows.x) < n else f"the {count(n)}"
    said = [
        f"Each model is fitted to the response anew, without penalty, on {some} {on}: these coefficients differ from those "
        f"above where those follow the network. They are per unit of the feature, of the {response}; intervals are Wald’s at "
        "95\u00a0%; p tests a coefficient of 0.",
        note,
    ]
    if s.network.link == "softmax":
        said.append(f"Each class is set against {name(s.network.outputs[0]).short}: a coefficient is a log-odds.")
    blocks = list(_blocks(s, found, small, sd))
    most_terms = _TERMS_OF_SEVERAL if o > 1 else _TERMS
    lines = [line for block in blocks for line in block[:most_terms]]
    if any(len(block) > most_terms for block in blocks):
        of = "each model and output" if o > 1 else "each model"
        said.append(
            f"Of {of} {most_terms} terms are listed, those that move it most over the spread of their feature. The JSON file "
            "beside this page has all."
        )
    if len(lines) > _LINES:
        said.append(f"{count(_LINES)} of {count(len(lines))} lines are listed, the first.")
        lines = lines[:_LINES]
    lines, reach = _drawn(lines)
    if reach:
        said.append(
            "The last column draws coefficient and interval times the standard deviation of the feature, on one scale; what "
            "reaches beyond it is cut at its edge."
        )
    without = {block[0].model for block in blocks} - {line.model for block in blocks for line in block if line.lower}
    facts = {
        "honest": honest,
        "n": len(rows.x),
        "level": LEVEL,
        "note": note,
        "coefficients": [
            {key: None if value is np.nan or value != value else value for key, value in row.items()} for row in found
        ],
    }
    return Intervals(said, lines, o > 1, sorted({line.model for line in lines}), honest, len(without), reach, facts)


@dataclass(frozen=True)
class _Renumbered:
    """A route to some of the models: `place` (K,) is their new number, -1 for those left out."""

    route: Route
    place: NDArray[np.intp]

    def assign(self, network: Network, x: Floats) -> NDArray[np.intp]:
        """Return the model of each row."""
        return self.place[self.route.assign(network, x)]


def _fitted(
    s: Simplified, rows: Sample, honest: bool, least: int
) -> tuple[list[dict[str, Any]], str, list[tuple[int, int]]]:
    """Return the lines that `inference` gives of encoded rows, its note, and (model, rows) where rows are too few."""
    n = np.bincount(s.route.assign(s.network, rows.x), minlength=s.n_models)
    kept = np.flatnonzero(n >= least)
    small = [(int(m), int(n[m])) for m in np.flatnonzero(n < least)]
    place = np.full(s.n_models, -1, dtype=np.intp)
    place[kept] = np.arange(len(kept))
    route: Any = _Renumbered(s.route, place)
    net = s.network
    part = replace(s, route=route, coef=s.coef[kept], intercept=s.intercept[kept], count=s.count[kept])
    if not len(kept):
        return [], "", small
    if honest:
        # the rows are encoded already
        plain = replace(net, features=Features.plain(net.n_features, net.feature_names))
        y = labels_of(net, np.asarray(rows.y))
        found = inference(replace(part, network=plain), rows.x, y, sample_weight=rows.weight, level=LEVEL)
    else:
        found = inference(replace(part, sample=rows), level=LEVEL)
    lines: list[dict[str, Any]] = [{str(k): v for k, v in row.items()} for row in found.frame.to_dict("records")]
    for line in lines:
        line["model"] = int(kept[line["model"]])
    return lines, found.note, small


def _blocks(
    s: Simplified, found: list[dict[str, Any]], small: list[tuple[int, int]], sd: Floats
) -> Iterator[list[Coefficient]]:
    """Yield the lines of each model and output: the intercept, then what moves it most, then what has no estimate."""
    net = s.network
    at = {feature: j for j, feature in enumerate(net.feature_names)}
    column = np.zeros(net.n_features, dtype=np.intp)
    for g, (_, indices) in enumerate(net.features.groups):
        column[list(indices)] = g
    parts: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for row in found:
        # a feature that was left out is left out of all outputs; it is told once
        output = row["output"] if isinstance(row["output"], str) else ""
        block = parts.setdefault((row["model"], output), [])
        if output or all(row["term"] != other["term"] for other in block):
            block.append(row)
    for m, n in small:
        parts[m, ""] = [{"model": m, "reason": f"{plural(n, 'row')}: too few"}]
    told: set[tuple[int, str]] = set()
    for (m, output), rows in sorted(parts.items(), key=lambda item: item[0][0]):
        label = name(_output(net, output), 40) if output and net.n_outputs > 1 else None
        why = [row["reason"] if isinstance(row["reason"], str) else "" for row in rows]
        if output and all(why):
            # none of the terms has an interval, for one reason, which may be that of other outputs too
            if (m, why[0]) not in told:
                told.add((m, why[0]))
                yield [_without(m, label if net.link != "softmax" else None, None, why[0])]
            continue
        size = [
            math.inf if row.get("term") not in at else abs(row["estimate"] * sd[at[row["term"]]]) if not w else -1.0
            for row, w in zip(rows, why, strict=True)
        ]
        order = np.argsort(-np.nan_to_num(np.array(size), nan=-1.0, posinf=math.inf), kind="stable")
        yield [_line(rows[i], why[i], label, at, column, sd) for i in order]


def _without(model: int, output: Name | None, term: Name | None, why: str, column: int | None = None) -> Coefficient:
    return Coefficient(model, output, term or Name("all terms"), column, "", "", "", "", name(why, 160))


def _line(
    row: dict[str, Any], why: str, output: Name | None, at: dict[str, int], column: NDArray[np.intp], sd: Floats
) -> Coefficient:
    term = row.get("term")
    shown = None if term is None else name(term, 30)
    place = int(column[at[term]]) if term in at else None
    if why:
        return _without(row["model"], output, shown, why, place)
    p = float(row["p"])
    ends = np.array([row["estimate"], row["lower"], row["upper"]]) * (sd[at[term]] if term in at else np.nan)
    return Coefficient(
        model=row["model"],
        output=output,
        term=Name("intercept") if shown is None or term not in at else shown,
        column=place,
        estimate=number(row["estimate"], 3),
        lower=number(row["lower"], 3),
        upper=number(row["upper"], 3),
        effect=(float(ends[0]), float(ends[1]), float(ends[2])) if np.isfinite(ends).all() else None,
        p=NONE if not math.isfinite(p) else "<0.001" if p < 0.001 else f"{p:.3f}",
    )


def _drawn(lines: list[Coefficient]) -> tuple[list[Coefficient], str]:
    """Return the lines with pictures on one scale, and how far that reaches to either side of 0."""
    ends = [abs(end) for line in lines if line.effect is not None for end in line.effect[1:]]
    reach = 1.2 * float(np.quantile(ends, _REACH)) if ends else 0.0
    if not reach > 0:
        return lines, ""
    drawn = [replace(line, whisker=whisker(line.effect, reach)) if line.effect else line for line in lines]
    return drawn, number(reach, 2)


def _output(net: Network, output: str) -> str:
    """Return the output that a line is of: classes by their names."""
    return output.removesuffix(f" against {net.outputs[0]}") if net.link == "softmax" else output
