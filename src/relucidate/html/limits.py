"""What the page says of its own limits: each is stated because something was measured, and leads to where it was."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from relucidate.html.parts import Chapter, Limitation, Part
from relucidate.html.subject import Subject
from relucidate.words import count, plural


@dataclass(frozen=True)
class Limits:
    """Limitations in the order of the page, each with the heading of the part that measured it."""

    rows: list[tuple[Limitation, str]]


def limits(s: Subject, chapters: Sequence[Chapter]) -> Chapter:
    """Return the last chapter, made of the limitations of the others."""
    parts = [part for chapter in chapters for part in chapter.parts]
    missing = [chapter for chapter in chapters if not chapter.parts]
    heading = {part.id: part.heading for part in parts} | {chapter.id: chapter.heading for chapter in missing}
    found = [
        *_own(s),
        *(Limitation(f"{chapter.heading}: this chapter could not be made.", chapter.id) for chapter in missing),
        *(limit for part in parts for limit in part.limitations),
    ]
    rows = [(limit, heading[limit.part]) for limit in found if limit.part in heading]
    return Chapter(
        "limitations",
        "Limitations",
        "What this page does not show, and which rows it says little about.",
        [Part("limits", "What was measured, and what follows", Limits(rows), facts=[limit.text for limit, _ in rows])],
    )


def _own(s: Subject) -> Iterable[Limitation]:
    """Yield what limits the page as a whole."""
    u = s.u
    yield Limitation(
        f"Everything here is about the {plural(u.n_rows, 'row')} of the table and the {plural(u.n_regions, 'region')} that "
        "they use. Where no row lies the network has other regions, of which nothing is said.",
        "network",
    )
    if s.net.faithfulness is None:
        yield Limitation(
            "The network was given as weights and compared with no original: that they are the weights of the model in use "
            "is not shown here.",
            "network",
        )
    if not u.sample.is_complete:
        yield Limitation(
            f"What needs single rows rests on {count(len(u.sample.row))} of {count(u.n_rows)} rows, drawn by hash: order "
            "statistics, some scores and the pictures of single features.",
            "reproduction",
        )
    if not u.has_y:
        what = (
            "whether the network is right is not asked, only what it does."
            if s.judged is None
            else "how well the network does is known of the test rows alone."
        )
        yield Limitation(f"The table has no response: {what}", "network")
    if s.test is not None and s.compared is None:
        few = f" of fewer than {s.least} rows" if s.least > 1 else ""
        yield Limitation(
            f"The {plural(s.test.n_rows, 'test row')} {'was' if s.test.n_rows == 1 else 'were'} not compared with the "
            f"{plural(u.n_rows, 'row')} of the table: figures{few} would show what single rows are like, or nothing.",
            "network",
        )
    if u.has_y and s.performance is None:
        yield Limitation(
            f"Scores are not shown: those of {plural(u.n_rows, 'row')} would show what single rows are like.", "network"
        )
    if s.test is None:
        yield Limitation(
            "No other rows were given: "
            + ("scores are those" if u.has_y else "all of this is")
            + " of the rows of the table, which the network may have been trained on, and new rows may differ from them.",
            "network",
        )
