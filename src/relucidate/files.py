"""Parquet and CSV files as Arrow tables, a bounded number of rows at a time."""

from __future__ import annotations

import glob
import gzip
import os
import re
import stat
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from relucidate.csvfile import ColumnRule, CsvFile, open_csv, refuse_encoding
from relucidate.errors import ColumnError, DataError, clipped, shown

_PAGE_BUFFER = 2**20  # bytes of a Parquet column that are held before they are decoded

_OTHER_FORMATS = (
    (b"PARE", "a Parquet file with an encrypted footer", "Decrypt it first"),
    (b"ARROW1", "an Arrow file", "Read it with pyarrow.feather.read_table and pass the table"),
    (b"FEA1", "a Feather file", "Read it with pyarrow.feather.read_table and pass the table"),
    (b"PK\x03\x04", "a zip archive or an Excel workbook", "Unpack it, or export the sheet as CSV"),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook", "Export the sheet as CSV"),
    (b"BZh", "a bzip2 archive", "Unpack it, or compress it with gzip"),
    (b"\xfd7zXZ", "an xz archive", "Unpack it, or compress it with gzip"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", "Unpack it, or compress it with gzip"),
    (b"\x89HDF", "an HDF5 file", "Write the table as Parquet or CSV"),
    (b"\x89PNG", "a picture", "Give a Parquet or CSV file"),
)
_JSON = re.compile(
    rb'(\xef\xbb\xbf)?\s*(\{\s*"[^"]*"\s*:|\[\s*(\{\s*"|\[))'
)  # objects or rows; a header may hold brackets


@dataclass(frozen=True, eq=False)
class ParquetFile:
    """A Parquet file whose footer was read.

    Parameters
    ----------
    path : of the file.
    columns : names of its columns.
    kinds : "number", "text" or another word for the kind of each column.
    n_rows : rows that the footer declares.
    """

    path: Path
    columns: tuple[str, ...]
    kinds: tuple[str, ...]
    n_rows: int

    def read(self, wanted: Iterable[str], rows: int) -> Iterator[Any]:
        """Yield Arrow tables of at most `rows` rows of the wanted columns."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        names, done = list(wanted), 0
        try:
            with pq.ParquetFile(self.path, pre_buffer=False, buffer_size=_PAGE_BUFFER) as file:
                for batch in file.iter_batches(rows, columns=names, use_threads=False):
                    done += len(batch)
                    yield pa.Table.from_batches([batch])
        except (pa.ArrowException, OSError) as problem:
            raise _unreadable(self.path, problem) from None
        if done != self.n_rows:
            raise DataError(
                f"{self.path} declares {self.n_rows:,} rows and holds {done:,}. It is damaged; write it again."
            )


@dataclass(frozen=True, eq=False)
class TableFiles:
    """Files that hold one table, one after the other.

    Parameters
    ----------
    files : in row order.
    describe : for people.
    """

    files: tuple[ParquetFile | CsvFile, ...]
    describe: str

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the first file."""
        return self.files[0].columns

    @cached_property
    def n_rows(self) -> int | None:
        """Number of rows; None with CSV files, which do not say."""
        counts = [file.n_rows for file in self.files if isinstance(file, ParquetFile)]
        return sum(counts) if len(counts) == len(self.files) else None

    def read(self, wanted: Mapping[str, ColumnRule], rows: int) -> Iterator[tuple[str, Any]]:
        """Yield (path, Arrow table) in row order."""
        self.refuse_differing(wanted)
        for file in self.files:
            tables = file.read(wanted, rows) if isinstance(file, ParquetFile) else _gathered(file.read(wanted), rows)
            for table in tables:
                yield str(file.path), table

    def kind_of(self, column: str) -> Literal["number", "text"]:
        """Return "number" if every cell of the column in CSV files is a number; Parquet columns say what they are."""
        texts = (isinstance(f, CsvFile) and f.kind_of(column) == "text" for f in self.files if column in f.columns)
        return "text" if any(texts) else "number"

    def refuse_differing(self, wanted: Iterable[str]) -> None:
        """Raise if a file lacks a wanted column, or holds another kind of values in it than the first."""
        head = self.files[0]
        for file in self.files[1:]:
            for name in wanted:
                if name not in file.columns:
                    raise ColumnError(
                        f"{file.path} has no column {clipped(name)}, which {head.path} has; it has "
                        f"{shown(file.columns, 12)}. All files need the same columns."
                    )
                here, there = _kind_in(file, name), _kind_in(head, name)
                if here and there and here != there:
                    raise ColumnError(
                        f"Column {clipped(name)} holds {here} in {file.path} and {there} in {head.path}. Write both "
                        "files with one type."
                    )


def _gathered(tables: Iterator[Any], rows: int) -> Iterator[Any]:
    """Yield the same rows in tables of about `rows` rows: CSV blocks are small."""
    import pyarrow as pa

    held: list[Any] = []
    for table in tables:
        held.append(table)
        if sum(map(len, held)) >= rows:
            yield pa.concat_tables(held)
            held = []
    if held:
        yield pa.concat_tables(held)


def open_files(paths: Iterable[str | os.PathLike[str]]) -> TableFiles:
    """Return the files under paths, globs and folders, after reading their headers.

    Parameters
    ----------
    paths : a glob is expanded where no file has its name; a folder stands for the files in it. Both are sorted by name.

    Raises
    ------
    DataError : a file is missing, empty, damaged, or neither Parquet nor CSV by its content.
    ColumnError : a header that cannot be used.
    """
    found = [file for path in paths for file in _expanded(path)]
    files = tuple(_opened(path) for path in found)
    if len(files) == 1:
        return TableFiles(files, str(found[0]))
    return TableFiles(files, f"{len(files):,} files, {found[0]} … {found[-1]}")


# ---------------------------------------------------------------- which files


def _expanded(path: str | os.PathLike[str]) -> list[Path]:
    text = os.fspath(path)
    if "://" in text:
        raise DataError(
            f"{clipped(text)} is not a local file. Download it, or pass its batches: "
            "pyarrow.dataset.dataset(…).to_batches()."
        )
    if "\0" in text or not text:
        raise DataError(f"{clipped(text)} is not a path. Give the path of a Parquet or CSV file.")
    local = Path(text)
    try:
        mode = local.stat().st_mode
    except FileNotFoundError:
        return _globbed(text)
    except OSError as problem:
        raise DataError(f"{clipped(text, 200)} cannot be opened: {problem.strerror}. Check the path.") from None
    if stat.S_ISDIR(mode):
        return _in_folder(local)
    if not stat.S_ISREG(mode):
        raise DataError(f"{local} is not a regular file. Save the rows in a file, or pass an iterator of batches.")
    return [local]


def _globbed(pattern: str) -> list[Path]:
    if not glob.has_magic(pattern):
        raise DataError(f"There is no file {clipped(pattern, 200)} (looked from {Path.cwd()}). Check the path.")
    found = sorted(glob.glob(pattern, recursive=True))
    if not found:
        raise DataError(f"No file matches {clipped(pattern, 200)} (looked from {Path.cwd()}). Check the pattern.")
    return [file for name in found for file in _expanded(name)]


def _in_folder(folder: Path) -> list[Path]:
    entries = sorted(p for p in folder.iterdir() if not p.name.startswith((".", "_")))
    folders = [p for p in entries if p.is_dir()]
    if folders:
        raise DataError(
            f"{folder} holds folders ({shown([p.name for p in folders])}); values that stand only in their names would "
            "be lost. Pass the files, or pyarrow.dataset.dataset(…)."
        )
    if not entries:
        raise DataError(f"The folder {folder} holds no files. Give a folder with Parquet files.")
    return [file for p in entries for file in _expanded(p)]


# ---------------------------------------------------------------- which format


def _opened(path: Path) -> ParquetFile | CsvFile:
    start = _start_of(path)
    if not start:
        raise DataError(f"{path} is empty (0 bytes). Give a file with a header and rows.")
    if start.startswith(b"PAR1"):
        return _open_parquet(path)
    packed = start.startswith(b"\x1f\x8b")
    if packed:
        start = _unpacked_start(path)
    for magic, what, remedy in _OTHER_FORMATS:
        if start.startswith(magic):
            raise DataError(f"{path} is {what}; expected Parquet or CSV. {remedy}.")
    if _JSON.match(start):
        raise DataError(
            f"{path} is JSON; expected Parquet or CSV. Write the table as one of these, or read it with pandas.read_json "
            "and pass it."
        )
    if start.startswith(b"PAR1"):
        raise DataError(f"{path} is a gzipped Parquet file. Unpack it; Parquet compresses its own columns.")
    refuse_encoding(path, start)
    if path.suffix in (".parquet", ".pq") and b"\0" in start:
        raise DataError(f"{path} is not Parquet: it does not begin with PAR1. It is damaged; write it again.")
    return open_csv(path, packed)


def _start_of(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(4096)
    except OSError as problem:
        raise DataError(f"{path} cannot be opened: {problem.strerror}. Check its permissions.") from None


def _unpacked_start(path: Path) -> bytes:
    try:
        with gzip.open(path) as file:
            return file.read(4096)
    except (EOFError, OSError, zlib.error) as problem:
        raise DataError(f"{path} is gzipped, but damaged or cut off: {problem}. Copy or write it again.") from None


# ---------------------------------------------------------------- Parquet


def _open_parquet(path: Path) -> ParquetFile:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            schema, rows = file.schema_arrow, file.metadata.num_rows
    except (pa.ArrowException, OSError) as problem:
        raise _unreadable(path, problem) from None
    return ParquetFile(path, tuple(schema.names), tuple(kind_of_type(field.type) for field in schema), rows)


def _unreadable(path: Path, problem: Exception) -> DataError:
    text = " ".join(str(problem).split())
    if "crypt" in text.lower():
        return DataError(f"{path} is an encrypted Parquet file. Decrypt it first, or pass the table.")
    return DataError(
        f"{path} begins like a Parquet file, but is damaged or cut off ({clipped(text, 160)}). Write it again."
    )


def kind_of_type(kind: Any) -> str:
    """Return "number", "text", or the name of another Arrow type."""
    import pyarrow.types as t

    if t.is_dictionary(kind) or t.is_run_end_encoded(kind):
        return kind_of_type(kind.value_type)
    if t.is_null(kind):
        return ""
    if t.is_boolean(kind) or t.is_integer(kind) or t.is_floating(kind) or t.is_decimal(kind):
        return "number"
    if t.is_string(kind) or t.is_large_string(kind) or str(kind) == "string_view":
        return "text"
    return str(kind)


def _kind_in(file: ParquetFile | CsvFile, name: str) -> str:
    return file.kinds[file.columns.index(name)] if isinstance(file, ParquetFile) else ""


# ---------------------------------------------------------------- Arrow columns made plain


def plain_table(table: Any) -> Any:
    """Return an Arrow table with columns of numbers, truth values, text and times only.

    Raises
    ------
    ColumnError : a column is nested or binary.
    """
    for i, field in enumerate(table.schema):
        column = _plain(table.column(i), field.name)
        if column is not table.column(i):
            table = table.set_column(i, field.name, column)
    return table


def _plain(column: Any, name: str) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as t

    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return _plain(pa.chunked_array([c.storage for c in column.chunks], kind.storage_type), name)
    if t.is_dictionary(kind):
        return _plain(pc.cast(column, kind.value_type), name)
    if t.is_run_end_encoded(kind):
        return _plain(pc.run_end_decode(column), name)
    if t.is_nested(kind):
        raise ColumnError(
            f"Column {clipped(name)} is nested ({clipped(kind)}); expected one number or text per row. Flatten it."
        )
    if t.is_binary(kind) or t.is_large_binary(kind) or t.is_fixed_size_binary(kind) or str(kind) == "binary_view":
        raise ColumnError(f"Column {clipped(name)} holds bytes ({kind}); expected numbers or text. Write it as text.")
    if t.is_float16(kind):
        chunks = [pa.array(c.to_numpy(zero_copy_only=False).astype("float64")) for c in column.chunks]
        return pa.chunked_array(chunks, pa.float64())
    if t.is_null(kind) or t.is_decimal(kind) or ((t.is_integer(kind) or t.is_boolean(kind)) and column.null_count):
        return pc.cast(column, pa.float64(), safe=False)
    if str(kind) == "string_view":  # older versions of Arrow cannot cast it
        return pa.chunked_array([pa.array(c.to_pylist(), pa.large_string()) for c in column.chunks], pa.large_string())
    return column
