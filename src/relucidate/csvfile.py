"""CSV files as Arrow tables, a bounded number of bytes at a time, by stated rules and nothing guessed.

A cell of a number column is a decimal number ("12", "-1.5", "1e5"; blanks around it do not count), "True" or "False" in
three spellings (1 and 0), or missing (`MISSING`). Anything else is refused with its line and column. A cell of a text
column is what is written without the blanks around it, unless a level of the model has just these blanks. Blank lines
are skipped. Quotes may hold delimiters and line breaks. Text is UTF-8.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Literal

from relucidate.errors import ColumnError, DataError, ValueInDataError, clipped, shown
from relucidate.features import refuse_duplicates

MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None")
TRUE, FALSE = ("True", "TRUE", "true"), ("False", "FALSE", "false")
DELIMITERS = ",;\t"

_LINE_LIMIT = 2**24  # characters; a longer line is no line
_BLOCK = 2**20  # bytes; Arrow reads up to 32 blocks ahead
_BLANKS = " \t\r\n\v\f"
_BOMS = (
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)


@dataclass(frozen=True)
class ColumnRule:
    """How a cell of a text file becomes a value.

    Parameters
    ----------
    kind : "number" or "text".
    keep : texts that are levels, even where they look like a missing value or have blanks around them.
    """

    kind: Literal["number", "text"]
    keep: frozenset[str] = frozenset()


@dataclass(frozen=True, eq=False)
class CsvFile:
    """A CSV file whose header was read.

    Parameters
    ----------
    path : of the file.
    packed : whether it is gzipped.
    columns : the header's cells as written.
    delimiter : one of comma, semicolon and tab.
    block : bytes that are parsed at once; no row may be longer.
    """

    path: Path
    packed: bool
    columns: tuple[str, ...]
    delimiter: str
    block: int

    def read(self, wanted: Mapping[str, ColumnRule]) -> Iterator[Any]:
        """Yield Arrow tables of the wanted columns in row order: float64 or text, null where missing.

        Raises
        ------
        ValueInDataError : a cell is not what its rule says; the message has file, line, column and cell.
        DataError : the file is no well-formed CSV; the message has file and line.
        """
        import pyarrow as pa

        self._refuse_unsound()
        done = 0
        try:
            for table in self._tables({name: rule.kind for name, rule in wanted.items()}):
                yield _texts_cleaned(table, wanted)
                done += len(table)
        except OSError as problem:
            raise DataError(
                f"{self.path} could not be read to its end: {problem}. Check the disk, and try again."
            ) from None
        except pa.ArrowInvalid:
            # Arrow refuses some cells that the rules allow (" NA ", "True"), and does not say in which line others are.
            yield from self._read_carefully(wanted, done)

    def kind_of(self, column: str) -> Literal["number", "text"]:
        """Return "number" if every cell of the column is a number or missing."""
        rule = ColumnRule("number")
        try:
            for _ in self.read({column: rule}):
                pass
        except ValueInDataError:
            return "text"
        return "number"

    def _tables(self, kinds: Mapping[str, str]) -> Iterator[Any]:
        import pyarrow as pa
        from pyarrow import csv as arrow

        types = {name: pa.float64() if kind == "number" else pa.string() for name, kind in kinds.items()}
        # Arrow reads ahead in threads of its own, which must not enter Python: they may outlive the interpreter
        reader = arrow.open_csv(
            pa.input_stream(str(self.path), compression="gzip" if self.packed else None),
            read_options=arrow.ReadOptions(block_size=self.block),
            parse_options=arrow.ParseOptions(delimiter=self.delimiter, newlines_in_values=True),
            convert_options=arrow.ConvertOptions(
                include_columns=list(types), column_types=types, null_values=list(MISSING), strings_can_be_null=False
            ),
        )
        with reader:
            for batch in reader:
                yield pa.Table.from_batches([batch])

    def _read_carefully(self, wanted: Mapping[str, ColumnRule], skip: int) -> Iterator[Any]:
        """Yield what is left after `skip` rows, from the texts of the cells; raise where the rules refuse one."""
        import pyarrow as pa

        done = 0
        try:
            for texts in self._tables(dict.fromkeys(wanted, "text")):
                keep = texts.slice(max(0, skip - done))
                if len(keep):
                    yield self._by_rules(keep, wanted, done + len(texts) - len(keep))
                done += len(texts)
        except pa.ArrowInvalid as problem:
            self._refuse(tuple(wanted), str(problem))

    def _by_rules(self, texts: Any, wanted: Mapping[str, ColumnRule], first: int) -> Any:
        import pyarrow as pa

        texts = _texts_cleaned(texts, wanted)
        columns = {}
        for name, rule in wanted.items():
            column = texts.column(name)
            try:
                columns[name] = _numbers(column) if rule.kind == "number" else column
            except pa.ArrowInvalid:
                self._refuse_cell(name, column, first)
        return pa.table(columns)

    # ------------------------------------------------------------ slow passes: where is it wrong?

    def _refuse_cell(self, name: str, column: Any, first: int) -> None:
        """Raise for the first cell that is no number."""
        import pyarrow as pa

        for i, cell in enumerate(column):
            try:
                _numbers(pa.chunked_array([pa.array([cell.as_py()], pa.string())]))
            except pa.ArrowInvalid:
                value = cell.as_py()
                raise ValueInDataError(
                    f"{self.path}, line {self._line_of(first + i)}, column {clipped(name)}: {clipped(value)} is not a "
                    f"number.{_hint(value)} Correct the cell, or leave it empty if the value is missing."
                ) from None

    def _line_of(self, row: int) -> int:
        """Return the line, from 1 and with the header, on which a row begins."""
        for i, (line, _) in enumerate(_records(self)):
            if i == row + 1:
                return line
        raise DataError(f"{self.path} changed while it was read: row {row} is gone. Read it again.")

    def _refuse(self, wanted: tuple[str, ...], problem: str) -> None:
        """Raise for the first line that is ragged or not UTF-8, or else for what Arrow says."""
        at = [(self.columns.index(name), name) for name in wanted]
        line = n = 0
        for line, cells in _records(self):
            n += 1
            if len(cells) != len(self.columns):
                raise DataError(
                    f"{self.path}, line {line} has {len(cells)} cells, the header {len(self.columns)}. Check the line "
                    f"for a missing or an extra {_spelled(self.delimiter)}, or for a quote that is not closed."
                )
            for j, name in at:
                _refuse_bytes(cells[j], f"{self.path}, line {line}, column {clipped(name)}")
        if n == 1:
            return  # only a header, without a line break at its end
        raise DataError(
            f"{self.path} cannot be read as CSV ({clipped(problem, 200)}); its last good line is {line}. A row may "
            f"take {self.block:,} bytes. Look for a quote that is not closed after that line."
        )

    @cached_property
    def _checksum(self) -> tuple[int, int]:
        """Where the first NUL byte is (-1: nowhere), and the number of quote characters."""
        quotes = offset = 0
        with closing(_opened(self.path, self.packed)) as stream:
            while data := _unpacked(self.path, lambda: stream.read(_BLOCK)):
                at = data.find(b"\0")
                if at >= 0:
                    return offset + at, quotes
                quotes += data.count(b'"')
                offset += len(data)
        return -1, quotes

    def _refuse_unsound(self) -> None:
        """Raise if there is a NUL byte, or the file ends inside quotes: rows would be lost without a word."""
        nul, quotes = self._checksum
        if nul >= 0:
            raise DataError(
                f"{self.path}, line {_line_at(self, nul)} holds a NUL byte, which no text has. The file may be "
                "damaged, binary, or UTF-16; write it again as UTF-8."
            )
        if quotes % 2 and (line := _open_quote(self)):
            raise DataError(
                f"{self.path} ends inside a quoted cell of the row that begins on line {line}. Close the quote, or "
                "double it where it belongs to the text."
            )


def open_csv(path: Path, packed: bool) -> CsvFile:
    """Return a CSV file after reading its header.

    Raises
    ------
    DataError : the file is empty, not UTF-8, or its first line has no end.
    ColumnError : two columns have one name, or the first line holds numbers in place of names.
    """
    head, size = _header_line(path, packed)
    delimiter = _delimiter_of(head)
    file = CsvFile(path, packed, (), delimiter, _BLOCK)
    line, cells = next(iter(_records(file)), (0, []))
    if not line:
        raise DataError(f"{path} is empty: there is no header and there are no rows. Give a file with both.")
    if any("\0" in cell for cell in cells):
        file._refuse_unsound()
    for cell in cells:
        _refuse_bytes(cell, f"{path}, line {line} (the header)")
    if all(_is_number(cell) for cell in cells):
        raise ColumnError(
            f"{path}, line {line} must hold the names of the columns, but looks like data: {shown(cells)}. Put a line "
            "with the names before it."
        )
    refuse_duplicates(cells, f"{path}, line {line}: the names of the columns")
    return CsvFile(path, packed, tuple(cells), delimiter, max(_BLOCK, min(16 * size, 2**25)))


def refuse_encoding(path: Path, start: bytes) -> None:
    """Raise if the first bytes of a file say that it is text, but not UTF-8."""
    for bom, name in _BOMS:
        if start.startswith(bom):
            raise DataError(
                f"{path} is {name} text; CSV files must be UTF-8. Convert it, for example with: iconv -f {name} -t "
                "UTF-8."
            )


# ---------------------------------------------------------------- bytes in


def _opened(path: Path, packed: bool) -> BinaryIO:
    try:
        return gzip.open(path) if packed else open(path, "rb")  # type: ignore[return-value]
    except OSError as problem:
        raise DataError(f"{path} cannot be opened: {problem.strerror or problem}. Check its permissions.") from None


def _unpacked(path: Path, read: Any) -> Any:
    """Return what `read` reads; damage in gzipped bytes is named."""
    try:
        return read()
    except (EOFError, zlib.error, gzip.BadGzipFile) as problem:
        raise DataError(f"{path} is gzipped, but damaged or cut off: {problem}. Copy or write it again.") from None


def _line_at(file: CsvFile, offset: int) -> int:
    """Return the line, from 1, of a byte."""
    line = 1
    with closing(_opened(file.path, file.packed)) as stream:
        while offset > 0 and (data := stream.read(min(offset, _BLOCK))):
            line += data.count(b"\n")
            offset -= len(data)
    return line


# ---------------------------------------------------------------- lines and records, for headers and for messages


def _text(path: Path, packed: bool) -> AbstractContextManager[io.TextIOWrapper]:
    return io.TextIOWrapper(_opened(path, packed), encoding="utf-8-sig", errors="surrogateescape", newline="")


def _lines(path: Path, packed: bool) -> Iterator[str]:
    """Yield lines with their ends; none is longer than the limit."""
    with _text(path, packed) as text:
        number = 0
        while line := _unpacked(path, lambda: text.readline(_LINE_LIMIT)):
            number += 1
            if len(line) == _LINE_LIMIT and not line.endswith(("\n", "\r")):
                raise DataError(
                    f"{path}, line {number} is longer than {_LINE_LIMIT:,} characters; that is no row of a table. "
                    "Check how the file was written."
                )
            yield line


def _header_line(path: Path, packed: bool) -> tuple[str, int]:
    """Return the first line that is not blank, and its length in bytes."""
    for line in _lines(path, packed):
        if line.strip("\r\n"):
            return line, len(line.encode("utf-8", "surrogateescape"))
    raise DataError(f"{path} is empty: there is no header and there are no rows. Give a file with both.")


def _delimiter_of(header: str) -> str:
    """Return the delimiter: comma if the header has one outside quotes, else semicolon or tab."""
    bare = "".join(header.split('"')[::2])
    if "," in bare:
        return ","
    return max(DELIMITERS, key=bare.count) if any(d in bare for d in DELIMITERS) else ","


def _records(file: CsvFile) -> Iterator[tuple[int, list[str]]]:
    """Yield (line on which it begins, cells) of each record that is not blank, the header first."""
    reader = csv.reader(_lines(file.path, file.packed), delimiter=file.delimiter)
    line = 1
    try:
        for cells in reader:
            if cells:
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as problem:
        raise DataError(
            f"{file.path}, the row that begins on line {line} cannot be read ({problem}). Look for a quote that is not "
            "closed."
        ) from None


def _open_quote(file: CsvFile) -> int:
    """Return the line on which the last record begins if the file ends inside its quotes, else 0."""
    reader = csv.reader(_lines(file.path, file.packed), delimiter=file.delimiter, strict=True)
    line = 1
    try:
        for _ in reader:
            line = reader.line_num + 1
    except csv.Error as problem:
        return line if "unexpected end" in str(problem) else 0
    return 0


def _refuse_bytes(cell: str, where: str) -> None:
    """Raise if a cell holds bytes that are not UTF-8."""
    try:
        cell.encode("utf-8")
    except UnicodeEncodeError as problem:
        byte = ord(cell[problem.start]) - 0xDC00
        text = cell.encode("utf-8", "surrogateescape").decode("latin-1")
        raise DataError(
            f"{where}: byte 0x{byte:02X} is not UTF-8; read as Latin-1 the cell is {clipped(text)}. Save the file as "
            "UTF-8, for example with: iconv -f LATIN1 -t UTF-8."
        ) from None


# ---------------------------------------------------------------- cells


def _texts_cleaned(table: Any, wanted: Mapping[str, ColumnRule]) -> Any:
    """Return the table with blanks cut off texts, and null for texts that mean missing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for name, rule in wanted.items():
        column = table.column(name)
        if not pa.types.is_string(column.type):
            continue
        keep = pa.array(sorted(rule.keep), pa.string())
        trimmed = pc.utf8_trim(column, characters=_BLANKS)
        cleaned = pc.if_else(pc.is_in(column, value_set=keep), column, trimmed)
        missing = pa.array([text for text in MISSING if text not in rule.keep], pa.string())
        cleaned = pc.if_else(pc.is_in(cleaned, value_set=missing), pa.scalar(None, pa.string()), cleaned)
        table = table.set_column(table.column_names.index(name), name, cleaned)
    return table


def _numbers(column: Any) -> Any:
    """Return cleaned texts as float64."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for texts, number in ((TRUE, "1"), (FALSE, "0")):
        hit = pc.is_in(column, value_set=pa.array(texts, pa.string()))
        column = pc.if_else(hit, pa.scalar(number, pa.string()), column)
    return pc.cast(column, pa.float64())


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _hint(value: Any) -> str:
    """Return what a refused cell may have meant."""
    text = str(value)
    if text.replace(",", "").replace(".", "").lstrip("+-").isdecimal() and "," in text:
        return " Write decimals with a point, and thousands without a separator."
    if text.isdecimal():
        return " Write digits as 0 to 9."
    return f" Missing values are written {shown(MISSING, 8)}." if text in ("?", "-", ".", "n/a", "na") else ""


def _spelled(delimiter: str) -> str:
    return {",": "comma", ";": "semicolon", "\t": "tab"}[delimiter]


__all__ = ["FALSE", "MISSING", "TRUE", "ColumnRule", "CsvFile", "open_csv", "refuse_encoding"]
