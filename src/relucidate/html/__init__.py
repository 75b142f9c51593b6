"""The report: a result as one self-contained HTML page that opens from disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from relucidate.simplified import Simplified
    from relucidate.unwrapping import Unwrapped


def report(
    u: Unwrapped,
    path: str | Path = "report.html",
    *,
    title: str | None = None,
    reproduce: str | None = None,
    simplified: Simplified | None = None,
    overwrite: bool = True,
) -> Path:
    """Write a page that says what the network does on the table, and return its path.

    Parameters
    ----------
    u : from `relucidate.unwrap`.
    path : of the HTML file.
    title : of the page; by default it names the model.
    reproduce : the command or call that makes this page again; the page shows it.
    simplified : a simplification of the same network, from `relucidate.simplify`; the page then has a section on it.
    overwrite : whether a file that is there already may be replaced.

    Raises
    ------
    ArgumentError : `simplified` is of another network.
    OutputError : the file cannot be written, or is there and `overwrite` is False. What was there is left as it was.

    Notes
    -----
    The page asks nothing of the network, holds the 1,000 largest regions and stays below 5 MB. The same result gives
    the same bytes.

    Examples
    --------
    >>> report(u, "home_lending.html", title="Home lending")  # doctest: +SKIP
    PosixPath('home_lending.html')
    """
    from relucidate.html.content import page
    from relucidate.html.page import render
    from relucidate.outputs import atomic_file

    with atomic_file(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(render(page(u, title, reproduce, simplified)).encode("utf-8"))
    return Path(path)
