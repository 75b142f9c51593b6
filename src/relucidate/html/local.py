"""What the page says of the local linear models: how rows spread over them, and the table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from relucidate.html import pictures
from relucidate.html.parts import SINGLE_ROWS, Chapter, Finding, Limitation, Part, plain
from relucidate.html.pictures_regions import MARKS, region_marks
from relucidate.html.region_details import AllBounds, Groups, NextTo, bounds, groups, next_to, places
from relucidate.html.regions import LEVELS, RegionTable
from relucidate.html.subject import Subject
from relucidate.html.told import told
from relucidate.words import Name, count, number, percent, plural

_FEW_HOLD_HALF = 20  # regions that a person can read one by one
_MARKS_OF_ALL = 600  # over all outputs


def local(s: Subject) -> Chapter:
    """Return the chapter on the local linear models."""
    parts = [] if s.u.n_regions == 1 else [_spread(s)]
    return Chapter(
        "local",
        "Local models",
        "Every local linear model: how many rows it has, what it says, how well it does.",
        [*parts, _regions(s)],
    )


# ---------------------------------------------------------------- how rows spread


@dataclass(frozen=True)
class Spread:
    """Pictures of how rows spread over regions; `cumulative` is None for fewer than three regions."""

    cumulative: Markup | None
    sizes: Markup
    effective: str
    weighted: bool


def _spread(s: Subject) -> Part:
    u, c = s.u, s.complexity
    picture, sizes = pictures.sizes(u.count, u.share)
    curve = pictures.cumulative(u.share) if u.n_regions >= 3 else None
    content = Spread(curve, picture, number(u.effective_regions, 3), u.weighted)
    facts = {
        "n_regions": u.n_regions,
        "effective_regions": u.effective_regions,
        "regions_for": {level: c.regions_for(float(level)) for level in ("0.5", "0.8", "0.95")},
        "sizes": [
            dict(zip(("size", "regions", "share_of_regions", "rows", "share_of_rows"), row, strict=True))
            for row in sizes
        ],
        "n_patterns": c.n_patterns,
        "n_different_maps": c.n_maps,
    }
    return Part(
        "spread",
        "How the rows spread over regions",
        content,
        facts=plain(facts),
        findings=list(_spread_findings(s)),
        limitations=list(_spread_limits(s)),
    )


def _spread_findings(s: Subject) -> Iterator[Finding]:
    u, c = s.u, s.complexity
    single = u.count == 1
    n, share = int(single.sum()), float(u.share[single].sum())
    if n == u.n_regions:
        yield Finding(
            0.92,
            f"Every one of the {count(n)} local linear models rests on a single row: this table can neither confirm nor "
            "contradict any of them.",
            "spread",
            "doubt",
            about=SINGLE_ROWS,
        )
    elif n:
        yield Finding(
            min(0.9, 0.3 + 1.5 * share),
            f"{count(n)} of the {count(u.n_regions)} local linear models rest on a single row each; together they hold "
            f"{percent(share)} of the rows, on which the table cannot say whether the network is right.",
            "spread",
            "doubt" if share >= 0.01 else "fact",
            about=SINGLE_ROWS,
        )
    half = c.regions_for(0.5)
    if half <= _FEW_HOLD_HALF:
        does = "holds" if half == 1 else "hold"
        yield Finding(
            0.55,
            f"{count(half)} of the {count(u.n_regions)} local linear models {does} half of the rows: "
            f"{'it' if half == 1 else 'they'} can be read one by one.",
            "spread",
            "sound",
        )
    else:
        yield Finding(
            0.45,
            f"It takes {count(half)} of the {count(u.n_regions)} local linear models to hold half of the rows: too many to "
            "read one by one.",
            "spread",
        )
    if c.n_maps is not None and c.n_maps < c.n_patterns:
        yield Finding(
            0.3,
            f"The {count(c.n_patterns)} activation patterns have {count(c.n_maps)} different linear models: "
            f"{count(c.n_patterns - c.n_maps)} patterns repeat the model of another.",
            "spread",
        )


def _spread_limits(s: Subject) -> Iterator[Limitation]:
    small = s.u.count < 30
    if small.any():
        n, share = int(small.sum()), float(s.u.share[small].sum())
        yield Limitation(
            f"{count(n)} of {count(s.u.n_regions)} regions hold fewer than 30 rows each, {percent(share)} of the rows "
            "together: the table says little about whether their models are right.",
            "spread",
        )
    if s.complexity.n_maps is None:
        yield Limitation("Equal linear models were not looked for: the coefficients take more than 1 GiB.", "spread")


# ---------------------------------------------------------------- the table


@dataclass(frozen=True)
class RegionsContent:
    """The region table and the sentences that say what it leaves out.

    Parameters
    ----------
    left_out : sentences. pictures : (output, picture or None) per output, [] for one region. marks : regions drawn.
    verdicts : (value, words) to choose from. models : of the simplification. models_said : how regions came to them.
    column_of : for each column of the table, the user's column that it is of, -1 for none.
    """

    table: RegionTable
    left_out: list[str]
    scale: str
    swatches: list[str]
    pictures: list[tuple[Name, Markup | None]]
    marks: str
    verdicts: list[tuple[str, str]]
    models: list[int]
    models_said: str
    column_of: list[int]


def _regions(s: Subject) -> Part:
    table = s.regions
    where, walls = places(s.u, table), bounds(s.u, table)
    near = next_to(s.u, s.complexity, table.n_shown)
    members = None if s.simplified is None else groups(s.u, s.simplified, table)
    said = list(_left_out(s, table, walls, near))
    drawn, marks = _drawn(s, table)
    content = RegionsContent(
        table=table,
        left_out=said,
        scale=number(table.scale[0], 2),
        swatches=[f"h{i}" for i in range(-LEVELS, LEVELS + 1)],
        pictures=drawn,
        marks=marks,
        verdicts=_verdicts(table),
        models=[] if members is None else members.present,
        models_said="" if members is None else members.said(table.least, s.u.sample.caveat),
        column_of=[table.column_of[c.feature] if c.feature >= 0 else -1 for c in table.columns],
    )
    data = {
        **table.data(),
        **where.data(),
        "levels": LEVELS,
        "facets": walls.data(),
        "facetsSaid": walls.why,
        "next": near.data(),
        "groups": None if members is None else members.data(),
    }
    return Part(
        "regions",
        "The regions and their models",
        content,
        data,
        _facts(s, table, walls, near, members),
        limitations=[Limitation(text, "regions") for text in said],
    )


def _left_out(s: Subject, table: RegionTable, walls: AllBounds, near: NextTo) -> Iterator[str]:
    """Yield what the page does not say of the regions, and how much that is."""
    if table.n_shown < table.n:
        yield (
            f"{count(table.n_shown)} of {count(table.n)} regions are in this page, the largest; they hold "
            f"{percent(table.share_shown)} of the rows."
        )
    rest = table.n_features - len(table.features)
    if table.n_columns < table.n_features:
        parts = [f"The {table.n_columns} most important features have a column"]
        panel = len(table.features) - table.n_columns
        parts += [f"{count(panel)} more appear in the details of a region"] if panel else []
        parts += [f"{count(rest)} more are not in this page"] if rest else []
        yield f"{'; '.join(parts)}."
    if table.n_complete < table.n_coef and table.n_columns < len(table.features):
        yield (
            f"The {count(table.n_complete)} largest regions have all these coefficients in this page, the others those of "
            "the features with a column."
        )
    if table.n_coef < table.n_shown:
        yield f"The {count(table.n_coef)} largest regions have coefficients in this page, the others none."
    if len(table.outputs) < table.n_outputs:
        yield f"The first {len(table.outputs)} of {count(table.n_outputs)} outputs are in this page."
    yield from _few_rows(s, table)
    yield from filter(None, (walls.why, near.said))


def _few_rows(s: Subject, table: RegionTable) -> Iterator[str]:
    few, enough = s.u.count < table.least, int(told(s.u.count, table.least).sum())
    if few.any():
        also = (
            " Nor of the next larger one, since what all others leave would show theirs."
            if (~few)[enough:].any()
            else ""
        )
        yield (
            f"No mean, response or own score is shown of the {plural(int(few.sum()), 'region')} with fewer than {table.least} "
            f"rows, which {'holds' if few.sum() == 1 else 'hold'} {percent(float(s.u.share[few].sum()))} of the rows: it would "
            f"show somebody’s row.{also}"
        )
    known = table.means.shape[1]
    if known < min(enough, table.n_shown):
        kept = f"for the {count(known)} largest regions" if known else "for no region"
        yield f"Mean and spread of the features are in this page {kept}."
    if table.n_facts < min(enough, table.n_shown):
        yield f"Mean predictions and scores are in this page for the {count(table.n_facts)} largest regions."


def _verdicts(table: RegionTable) -> list[tuple[str, str]]:
    out = [("reliable", f"reliable ({count(table.tally[-1])})")]
    out += [
        (str(j), f"{reason} ({count(n)})")
        for j, (reason, n) in enumerate(zip(table.reasons, table.tally[:-1], strict=True))
        if n
    ]
    return out


def _drawn(s: Subject, table: RegionTable) -> tuple[list[tuple[Name, Markup | None]], str]:
    """Return a picture per output, and which regions are in them."""
    u = s.u
    if u.n_regions < 2:
        return [], ""
    means = table.column("predicted mean").values
    most = min(MARKS, _MARKS_OF_ALL // len(table.outputs), table.n_shown)
    overall = u.sums.prediction.sum(axis=0) / u.sums.weight.sum()
    title = "mean prediction (probability)" if u.network.is_classifier else "mean prediction"
    out = [
        (output, region_marks(u.count, means[k][:most], s.reliability.reliable, float(overall[k]), title))
        for k, output in enumerate(table.outputs)
    ]
    if not any(picture for _, picture in out):
        return [], ""
    drawn = min(most, len(means[0]))
    which = (
        f"The {count(drawn)} largest of {count(u.n_regions)} regions" if drawn < u.n_regions else f"All {drawn} regions"
    )
    return out, which


_LISTED = 50  # regions with all their figures in the file beside the page
_LISTED_COEFFICIENTS = 50_000


def _facts(s: Subject, table: RegionTable, walls: AllBounds, near: NextTo, members: Groups | None) -> dict[str, Any]:
    """Return the regions as JSON values: counts of all, the models of the largest."""
    u, judged = s.u, s.reliability
    K = len(table.outputs)
    n = min(table.n_shown, _LISTED, max(1, _LISTED_COEFFICIENTS // (K * table.n_features)))
    by_region = {b.region: b for b in walls.found}
    enough = told(u.count, table.least)
    with np.errstate(invalid="ignore", divide="ignore"):
        predicted, response = u.sums.prediction[:n, :K] / u.sums.weight[:n, None], u.sums.mean()[:n, :K]
    listed = [
        {
            "region": r,
            "pattern": table.patterns[r],
            "rows": u.count[r],
            "share": u.share[r],
            "reasons": [reason for reason, holds in zip(judged.reasons, judged.flags[r], strict=True) if holds],
            "predicted_mean": predicted[r] if enough[r] else None,
            "response_mean": response[r] if u.has_y and enough[r] else None,
            "coefficients": u.coef[r][:K],
            "intercepts": u.intercept[r][:K],
            "n_facets": by_region[r].n_facets if r in by_region else None,
            "facets": [line.words for line in by_region[r].lines] if r in by_region else None,
            "model": int(members.model[r]) if members is not None and r < len(members.model) else None,
        }
        for r in range(n)
    ]
    return {
        "n_regions": table.n,
        "n_in_page": table.n_shown,
        "share_in_page": table.share_shown,
        "features": list(u.network.feature_names),
        "outputs": [str(o) for o in u.network.outputs[:K]],
        "reasons": dict(zip([*table.reasons, "reliable"], table.tally, strict=True)),
        "pairs_of_neighbours": near.n,
        "largest": plain(listed),
    }
