"""The report: a result as one self-contained HTML page that opens from disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from relucidate.simplified import Simplified
    from relucidate.unwrapping import Unwrapped


def report(
    u: Unwrapped,
    path: str | Path = "report.html",
    *,
    X_test: Any = None,
    y_test: Any = None,
    X: Any = None,
    y: Any = None,
    protected: Any = None,
    expected: Mapping[Any, str] | None = None,
    rows: int = 0,
    simplified: Simplified | None = None,
    title: str | None = None,
    reproduce: str | None = None,
    files: Sequence[str | Path] = (),
    progress: Callable[[str], None] | None = None,
    overwrite: bool = True,
) -> Path:
    """Write a page that says what the network does on the table, and a JSON file of the same facts; return the page's path.

    Parameters
    ----------
    u : from `relucidate.unwrap`.
    path : of the HTML file. The JSON file has its name with the ending ``.json``.
    X_test, y_test : other rows and their response, as for `unwrap`, or what `unwrap` made of them; the page then says how
        they differ from those of `u`, and how far the network can be trusted there.
    X, y : the table of `u` once more, for `protected` to be compared on; by default the test rows are.
    protected : what groups are compared by: the name of a column of that table, or (n,) values; it need not be an input.
    expected : the sign expected of a feature, ``{"income": "+", "debt": "-"}``, see `diagnose.monotonicity`.
    rows : how many single rows the page may hold, for its readers to pick from. 0: none, and no mean of fewer than 5 rows.
    simplified : a simplification of the same network, from `relucidate.simplify`; the page then has a chapter on it.
    title : of the page; by default it names the model.
    reproduce : the command or call that makes this page again; the page shows it.
    files : the tables that were read, so that the page can name their hashes.
    progress : is told the name of each chapter before it is made.
    overwrite : whether files that are there already may be replaced.

    Raises
    ------
    ArgumentError : `simplified` is of another network; `protected` without a table; `rows` is negative.
    DataError : the test rows do not fit the network.
    OutputError : a file cannot be written, or is there and `overwrite` is False; the JSON file is there and no report. What
        was there is left as it was.

    Notes
    -----
    The page asks nothing of the network and stays below 5 MB. The same result gives the same bytes.

    Examples
    --------
    >>> report(u, "home_lending.html", title="Home lending")  # doctest: +SKIP
    PosixPath('home_lending.html')
    """
    from relucidate.errors import ArgumentError, clipped
    from relucidate.html.content import page
    from relucidate.html.page import render
    from relucidate.html.subject import Subject
    from relucidate.outputs import atomic_file
    from relucidate.products import one_thread
    from relucidate.unwrapping import unwrapped

    u = unwrapped(u)
    count: Any = rows
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise ArgumentError(f"rows is {clipped(rows)}; expected a whole number that is not negative.")
    table = (X, y) if X is not None else (X_test, y_test) if X_test is not None else None
    if protected is not None and table is None:
        raise ArgumentError("protected names a column or values of a table, and there is none. Give X and y too.")
    subject = Subject(
        u=u,
        test=_test(u, X_test, y_test),
        simplified=simplified,
        protected=protected,
        table=table,
        expected=expected or {},
        rows=count,
        reproduce=reproduce,
        files=files,
    )
    final = Path(path)
    beside = check_place(final)
    with (
        one_thread(),  # how threads share a product decides how it rounds
        atomic_file(beside, overwrite=overwrite) as facts,
        atomic_file(final, overwrite=overwrite) as temporary,
    ):
        made = page(subject, title, progress)
        temporary.write_bytes(render(made).encode("utf-8"))
        facts.write_bytes(made.json().encode("utf-8"))
    return final


def _test(u: Unwrapped, X: Any, y: Any) -> Unwrapped | None:
    """Return the other rows, unwrapped."""
    from relucidate.errors import ArgumentError
    from relucidate.unwrapping import Unwrapped, unwrap

    if X is None:
        if y is not None:
            raise ArgumentError("y_test is given without X_test. Give the rows that it belongs to.")
        return None
    if isinstance(X, Unwrapped):
        return X
    return unwrap(u.network, *X) if isinstance(X, tuple) else unwrap(u.network, X, y)


def check_place(page: Path) -> Path:
    """Return where the facts of a page go, before any work is done.

    Raises
    ------
    OutputError : a file is there that is no report, or there is no such folder.
    """
    from relucidate.errors import OutputError

    beside = page.with_suffix(".json")
    if beside == page:
        raise OutputError(f"{page}: a page ends in .html; its facts are written beside it as {beside.name}.")
    if not page.parent.is_dir():
        raise OutputError(f"{page}: there is no folder {page.parent}. Make it first.")
    if not beside.is_file():
        return beside
    try:
        with beside.open("rb") as file:
            head = file.read(200)
        known = str(json.loads(head[: head.index(b",")] + b"}").get("schema")).startswith("relucidate report")
    except (ValueError, AttributeError):
        known = False
    if not known:
        raise OutputError(
            f"{beside} is there and is no report; the facts of {page.name} would be written over it. Name another page, or "
            "move that file."
        )
    return beside
