"""Files and folders that appear whole under their final name, or not at all."""

from __future__ import annotations

import csv
import errno
import json
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from relucidate.errors import OutputError, clipped
from relucidate.interrupting import TEMPORARY, interrupts

if TYPE_CHECKING:
    import pandas as pd

REPLACED = ".relucidate-old-"  # an earlier result while the new one takes its place

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_SPACE = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the quota is used up", errno.EFBIG: "the file is too large"}
_ATTEMPTS = 10


# ---------------------------------------------------------------- files


@contextmanager
def atomic_file(path: str | os.PathLike[str], *, overwrite: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`, with its suffix; what is written there takes its place at the end.

    Parameters
    ----------
    path : the final file. An earlier file stays as it is until the new one is complete.
    overwrite : False to refuse an earlier file.

    Raises
    ------
    OutputError : before any work if nothing can be written there; later if the disk is full. Nothing is left behind.
    """
    final = Path(path)
    _refuse_link(final)
    if final.is_dir():
        raise OutputError(f"{final} is a folder; expected the name of a file. Add a file name to it.")
    if final.exists() and not final.is_file():
        raise OutputError(f"{final} is not a regular file. Choose another name.")
    if final.exists() and not overwrite:
        raise OutputError(f"{final} exists. Choose another name, or allow it to be overwritten.")
    temporary = _temporary(final, final.suffix)
    with _reported(final):
        temporary.touch(exist_ok=False)
    try:
        with _disk_reported(final):
            yield temporary
            _flush(temporary)
            interrupts.heed()
            os.replace(temporary, final)
            interrupts.written.append(final)
            _flush_folder(final.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_parquet_atomically(table: Any, path: str | os.PathLike[str], *, overwrite: bool = True) -> Path:
    """Write an Arrow table or a pandas frame as a Parquet file, and return its path.

    Raises
    ------
    OutputError : as `atomic_file`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not isinstance(table, pa.Table):
        table = pa.Table.from_pandas(table)
    with atomic_file(path, overwrite=overwrite) as temporary:
        pq.write_table(table, temporary)
    return Path(path)


def write_csv_atomically(frame: pd.DataFrame, path: str | os.PathLike[str], *, overwrite: bool = True) -> Path:
    """Write a pandas frame as a CSV file that no spreadsheet takes for formulas, and return its path.

    Parameters
    ----------
    frame : an index with a name is written as the first column; one without is left out.

    Raises
    ------
    OutputError : as `atomic_file`.
    """
    named = any(name is not None for name in frame.index.names)
    safe = _safe_frame(frame.reset_index() if named else frame)
    # the csv module leaves a bare carriage return unquoted, which readers take for the end of a row
    quoting: Literal[0, 2] = csv.QUOTE_NONNUMERIC if _has_returns(safe) else csv.QUOTE_MINIMAL
    with atomic_file(path, overwrite=overwrite) as temporary:
        safe.to_csv(temporary, index=False, encoding="utf-8", lineterminator="\n", quoting=quoting)
    return Path(path)


def safe_cell(value: Any) -> Any:
    """Return a cell as a spreadsheet may show it: text that would be a formula gets a leading apostrophe.

    Text is meant that begins with ``= + - @``, a tab or a line break. Anything else is returned as it is, numbers too.
    """
    return "'" + value if isinstance(value, str) and value.startswith(_FORMULA) else value


def _safe_frame(frame: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    columns = []
    for i in range(frame.shape[1]):
        column = frame.iloc[:, i]
        plain = pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column)
        columns.append(column if plain else column.astype(object).map(safe_cell))
    out = pd.concat(columns, axis=1) if columns else frame.copy()
    out.columns = pd.Index([safe_cell(name) for name in frame.columns])
    return out


def _has_returns(frame: pd.DataFrame) -> bool:
    from pandas.api.types import is_numeric_dtype

    texts = (frame.iloc[:, i] for i in range(frame.shape[1]) if not is_numeric_dtype(frame.dtypes.iloc[i]))
    return any("\r" in str(cell) for column in (frame.columns, *texts) for cell in column)


# ---------------------------------------------------------------- folders


@contextmanager
def atomic_folder(path: str | os.PathLike[str], overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; it takes the name `path` at the end, with all that is in it.

    Parameters
    ----------
    path : the final folder. It may not exist yet, or be empty.
    overwrite : True to replace an earlier result of relucidate, which stays as it is until the new one is complete.
        Other folders are never replaced.

    Raises
    ------
    OutputError : before any work if nothing can be written there; later if the disk is full or another run was faster.

    Notes
    -----
    A run that is killed leaves a folder whose name begins with ``.relucidate-tmp-``. Of two runs that replace the same
    result, the last to finish wins.
    """
    final = Path(path)
    _refuse_folder(final, overwrite)
    temporary = _temporary(final)
    with _reported(final):
        temporary.mkdir()
    try:
        with _disk_reported(final):
            yield temporary
            for entry in temporary.rglob("*"):
                if entry.is_file():
                    _flush(entry)
            _flush_folder(temporary)
        interrupts.heed()
        _publish(temporary, final, overwrite)
        interrupts.written.append(final)
    finally:
        _remove(temporary)


def _refuse_folder(final: Path, overwrite: bool) -> bool:
    """Return whether `final` is an earlier result that may go; raise unless it is that, free or empty."""
    _refuse_link(final)
    for _ in range(_ATTEMPTS):
        before = _identity(final)
        if before is None:
            return False
        if not final.is_dir() and _identity(final) == before:
            raise OutputError(f"{final} is a file; expected a folder that does not exist yet. Choose another name.")
        try:
            empty = not any(final.iterdir())
        except FileNotFoundError:
            continue
        except OSError as problem:
            raise OutputError(f"{final} cannot be read: {problem.strerror}. Choose another folder.") from None
        ours = not empty and is_result(final)
        # another run may have put its result there while we looked: then what we saw is of two folders
        if _identity(final) == before:
            break
    else:
        raise OutputError(f"Another program keeps changing {final}. Wait for it, or choose another name.")
    if not empty and not ours:
        raise OutputError(
            f"{final} is a folder that holds other things than a result of relucidate. It is never replaced; choose "
            "another name."
        )
    if ours and not overwrite:
        raise OutputError(f"{final} holds an earlier result. Choose another name, or say overwrite=True to replace it.")
    return ours


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what tells a file or folder from another that takes its name; None if there is none."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino


def is_result(folder: Path) -> bool:
    """Return whether a folder is a complete result of relucidate: its summary.json has one of our schemas."""
    if folder.name.startswith((TEMPORARY, REPLACED)):
        return False
    try:
        document = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False  # no summary that can be read: whatever this is, it is not ours
    return isinstance(document, dict) and str(document.get("schema", "")).startswith("relucidate.")


def _publish(temporary: Path, final: Path, overwrite: bool) -> None:
    """Give the temporary folder its final name; an earlier result leaves only when the new one is in place."""
    problem: OSError | None = None
    for attempt in range(_ATTEMPTS):
        earlier = _refuse_folder(final, overwrite)
        old = final.with_name(REPLACED + secrets.token_hex(8))
        try:
            if earlier:
                os.rename(final, old)
            elif os.name == "nt" and final.exists():
                final.rmdir()
            os.rename(temporary, final)  # fails where there is a folder that is not empty
        except OSError as met:
            # another run renames at the same moment: put back what was taken, and look again
            problem = met
            _put_back(old, final)
            time.sleep(0.001 * secrets.randbelow(2**attempt))
            continue
        _flush_folder(final.parent)
        _remove(old)
        return
    raise OutputError(
        f"Another program keeps changing {final}, or it may not be renamed ({problem}). Wait for the other program, or "
        "choose another name."
    )


def _put_back(old: Path, final: Path) -> None:
    """Give a result its name back, or drop it if another run has put its complete result there in the meantime."""
    if not old.exists():
        return
    try:
        os.rename(old, final)
    except OSError as problem:
        if not is_result(final):
            raise OutputError(
                f"{final} could not be replaced ({problem}). The earlier result is kept as {old}; rename it by hand."
            ) from problem
        _remove(old)


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


# ---------------------------------------------------------------- shared


def _temporary(final: Path, suffix: str = "") -> Path:
    """Return a free hidden name beside `final`.

    Raises
    ------
    OutputError : the folder that should hold it is missing or no folder.
    """
    if not final.name:
        raise OutputError(f"{clipped(str(final))} names no file or folder. Give a name.")
    if not final.parent.exists():
        raise OutputError(f"{final} cannot be written: there is no folder {final.parent}. Create it first.")
    if not final.parent.is_dir():
        raise OutputError(f"{final} cannot be written: {final.parent} is a file. Choose another folder.")
    return final.with_name(TEMPORARY + secrets.token_hex(8) + suffix)


def _refuse_link(final: Path) -> None:
    try:
        linked = stat.S_ISLNK(os.lstat(final).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, ValueError) as problem:
        raise OutputError(
            f"{clipped(str(final))} is no path that can be written ({problem}). Choose another."
        ) from None
    if linked:
        raise OutputError(
            f"{final} is a link to {clipped(os.readlink(final), 200)}; relucidate writes nothing through links. Give "
            "that path itself, or another name."
        )


@contextmanager
def _reported(final: Path) -> Iterator[None]:
    """Turn what keeps a file from being created into an `OutputError`."""
    try:
        yield
    except OSError as problem:
        raise OutputError(
            f"{final} cannot be written: {problem.strerror or problem}. Choose a folder that you may write to, or "
            "change its permissions."
        ) from None


@contextmanager
def _disk_reported(final: Path) -> Iterator[None]:
    """Turn a full disk into an `OutputError`; other errors pass as they are."""
    try:
        yield
    except OSError as problem:
        if problem.errno not in _SPACE:
            raise
        raise OutputError(
            f"{final} could not be completed: {_SPACE[problem.errno]}. What was there before is unchanged; free some "
            "space and run again."
        ) from problem


def _flush(file: Path) -> None:
    """Have the bytes of a file on the disk before its name says that it is complete."""
    with open(file, "rb+") as stream:
        os.fsync(stream.fileno())


def _flush_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
