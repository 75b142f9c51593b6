"""Simplified models where they are put to work: ONNX, Python without dependencies, SQL, JSON and scorecards.

What is written is read back or run, and compared with the models on rows that lie on their thresholds and centres and
around them, before it takes its name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from relucidate import deploying_json, deploying_onnx, deploying_python, deploying_sql
from relucidate.deploying_model import Deployed, compare, deployed, probe
from relucidate.deploying_scorecard import Scorecard, scorecard
from relucidate.deploying_sql import Dialect
from relucidate.errors import ArgumentError, MalformedModelError, RelucidateError, UnfaithfulError, clipped
from relucidate.outputs import atomic_file
from relucidate.simplified import Simplified

Format = Literal["onnx", "python", "sql", "json", "scorecard"]

_FORMAT_OF = {".onnx": "onnx", ".py": "python", ".sql": "sql", ".json": "json", ".csv": "scorecard"}


def export(
    s: Simplified | Deployed,
    path: str | os.PathLike[str] | None,
    *,
    format: str | None = None,
    dialect: Dialect = "duckdb",
    table: str | Sequence[str] = "rows",
) -> Path:
    """Return the path of a file that holds simplified models for use without the network and without relucidate.

    Parameters
    ----------
    s : models whose rows are led to them by rules or centres: of `simplify.tree`, `cells` or `single`.
    path : file to write; an earlier file stays until the new one is complete and compared.
    format : "onnx" (`.onnx`), "python" (`.py`), "sql" (`.sql`), "json" (`.json`) or "scorecard" (`.csv`); what the name
        of the file says if not given.
    dialect : of SQL: "duckdb", "postgres" or "spark".
    table : that SQL selects from; a list for one with a schema, such as ``["main", "rows"]``.

    Raises
    ------
    ArgumentError : no format is named or implied, two formats are, or an argument that means nothing.
    UnsupportedModelError : only the network leads rows to their models, or the format cannot hold a name or level.
    UnfaithfulError : what was read back does not predict what the models predict; nothing is left behind.
    OutputError : the file cannot be written.
    MissingDependencyError : SQL is run before it is kept, which takes duckdb.

    Notes
    -----
    Compared on 512 rows to 1e-9 relative, and to what rounding does where large terms cancel. All numbers are float64.

    - ONNX: encoded features "input" to "prediction", on the scale of `predict`; one column for each feature.
    - Python, SQL and JSON take the user's columns: levels, missing values and what is imputed are encoded in the file.
    - A scorecard is written with the settings that `scorecard` has by default; for others,
      ``scorecard(s, ...).write(path)``.

    A row within rounding of a tie (a threshold on a sum of features, two centres at one distance) may take either side,
    as each program adds in its own order. Thresholds on one feature are exact everywhere.
    """
    final, chosen = _target(path, format)
    if chosen != "sql" and (dialect, table) != ("duckdb", "rows"):
        raise ArgumentError(f"dialect and table are for SQL; the format is {chosen!r}. Leave them out.")
    model = s if isinstance(s, Deployed) else deployed(s)
    if chosen == "scorecard":
        return scorecard(model).write(final)
    with atomic_file(final) as temporary, _named(final):
        if chosen == "sql":
            _write_sql(model, temporary, final, dialect, table)
        else:
            _WRITERS[chosen](model, temporary, final)
    return final


def read_json(path: str | os.PathLike[str]) -> Deployed:
    """Return the models of a JSON file that `export` wrote, bit by bit.

    Raises
    ------
    MalformedModelError : no such file, or one that is damaged. UnsupportedModelError : a schema of another version.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as problem:
        reason = getattr(problem, "strerror", None) or "it is no UTF-8"
        raise MalformedModelError(f"{path} cannot be read: {reason}. Give a file that relucidate wrote.") from None
    with _named(Path(path)):
        return deploying_json.read(text)


def _target(path: Any, format: str | None) -> tuple[Path, str]:
    """Return the file to write, and its format."""
    known = get_args(Format)
    if format is not None and format not in known:
        raise ArgumentError(f"format={format!r}; simplified models are written as {', '.join(map(repr, known))}.")
    if not isinstance(path, str | os.PathLike):
        raise ArgumentError(
            f"path is {clipped(path)}; simplified models go to a file. Give its name, which ends in "
            f"{', '.join(_FORMAT_OF)}."
        )
    suffix = Path(path).suffix.lower()
    implied = _FORMAT_OF.get(suffix)
    if format is None and implied is None:
        raise ArgumentError(
            f"{Path(path).name!r} names no format; expected a name that ends in {', '.join(_FORMAT_OF)}, or format=, one "
            f"of {', '.join(map(repr, known))}."
        )
    if format is not None and implied not in (None, format):
        raise ArgumentError(
            f"format={format!r}, but a name that ends in {suffix} says {implied!r}. Rename the file, or leave format out."
        )
    return Path(path), str(format or implied)


@contextmanager
def _named(final: Path) -> Iterator[None]:
    """Have errors say which file they are about."""
    try:
        yield
    except RelucidateError as problem:
        if str(final) in str(problem):
            raise
        raise type(problem)(f"{final}: {problem}") from problem


# ---------------------------------------------------------------- one writer for each format


def _write_onnx(model: Deployed, temporary: Path, final: Path) -> None:
    temporary.write_bytes(deploying_onnx.write(model))
    written = temporary.read_bytes()
    compare(model, str(final), probe(model), lambda cells: deploying_onnx.run(written, model.features.encode(cells)))


def _write_python(model: Deployed, temporary: Path, final: Path) -> None:
    temporary.write_bytes(deploying_python.write(model).encode())
    compare(model, str(final), probe(model), deploying_python.run(temporary.read_text(encoding="utf-8")))


def _write_sql(model: Deployed, temporary: Path, final: Path, dialect: Dialect, table: str | Sequence[str]) -> None:
    temporary.write_bytes(deploying_sql.write(model, dialect=dialect, table=table).encode())
    written = temporary.read_bytes().decode()
    compare(model, str(final), probe(model), partial(deploying_sql.run, model, written, dialect, table))


def _write_json(model: Deployed, temporary: Path, final: Path) -> None:
    text = deploying_json.write(model)
    temporary.write_bytes(text.encode())
    back = deploying_json.read(temporary.read_text(encoding="utf-8"))
    if deploying_json.write(back) != text:
        raise UnfaithfulError(f"{final}: what was read back is not bit by bit what was written. It was withheld.")
    compare(model, str(final), probe(model), lambda cells: np.asarray(back.predict(cells)))


_WRITERS: dict[str, Callable[[Deployed, Path, Path], None]] = {
    "onnx": _write_onnx,
    "python": _write_python,
    "json": _write_json,
}

__all__ = ["Deployed", "Dialect", "Format", "Scorecard", "deployed", "export", "read_json", "scorecard"]
