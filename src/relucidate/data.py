"""Rows for a network, batch by batch, from arrays, tables, files or iterators."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from relucidate.csvfile import ColumnRule
from relucidate.errors import ArgumentError, ColumnError, DataError, TargetError, clipped, shown
from relucidate.features import Features, as_matrix, is_table, refuse_duplicates
from relucidate.files import TableFiles, open_files, plain_table
from relucidate.targets import MAX_LABELS, Label, Values, as_values, as_weights, distinct, sort_labels

if TYPE_CHECKING:
    from relucidate.layers import Floats

Names: TypeAlias = tuple[str, ...]

BATCH_ROWS = 65_536


@dataclass(frozen=True, eq=False)
class Batch:
    """Some rows, ready for a network.

    Parameters
    ----------
    x : (n, n_features) float64, encoded.
    y : (n,) or (n, k): float64 with NaN, or objects (text, numbers, None where missing); None without a target.
    weight : (n,) float64, finite and not negative; None without weights.
    first_row : number of the first row in the whole source.
    """

    x: Floats
    y: Values | None
    weight: Floats | None
    first_row: int

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True, eq=False)
class Part:
    """Some rows as they lie in the source: an array or a table, with the target and weights that came along."""

    X: Any
    y: Any = None
    weight: Any = None
    file: str = ""


@dataclass(frozen=True, eq=False)
class Rows:
    """Where rows come from.

    Parameters
    ----------
    describe : for people: "income.csv", "pandas DataFrame, 100 rows".
    columns : names in the order met; None for arrays.
    n_rows : None if only reading tells.
    reiterable : whether a second pass gives the same rows.
    read : columns and their rules, batch rows → parts in row order. Columns are None for arrays.
    kind_of : column → "number" or "text", where files do not say; by reading it.
    """

    describe: str
    columns: Names | None
    n_rows: int | None
    reiterable: bool
    read: Callable[[dict[str, ColumnRule] | None, int], Iterator[Part]]
    kind_of: Callable[[str], Literal["number", "text"]] | None = None


@dataclass(frozen=True, eq=False)
class Source:
    """Rows with the columns of one network picked out.

    Parameters
    ----------
    rows : where they come from.
    features : of the network, under the adopted names if any.
    adopted : names that a network without names takes from the table, one per column; else None.
    ignored : columns that neither the network, the target nor the weights need.
    target : names of target columns, or the values themselves, or None.
    weight : name of the weight column, or the values themselves, or None.
    batch_rows : rows per batch, but for the last.
    numeric_target : True if the target must be numbers (a regression).
    """

    rows: Rows
    features: Features
    adopted: Names | None
    ignored: Names
    target: Names | Values | None
    weight: str | Floats | None
    batch_rows: int = BATCH_ROWS
    numeric_target: bool = False

    @property
    def n_rows(self) -> int | None:
        """Number of rows; None if only reading tells."""
        return self.rows.n_rows

    @property
    def describe(self) -> str:
        """What the source is, for people."""
        return self.rows.describe

    @property
    def reiterable(self) -> bool:
        """Whether a second pass is possible."""
        return self.rows.reiterable

    @property
    def has_target(self) -> bool:
        """Whether batches carry a target, as far as is known before reading: iterators may bring their own."""
        return self.target is not None

    def batches(self) -> Iterator[Batch]:
        """Yield all rows in order.

        Raises
        ------
        DataError : there are no rows, or a row does not fit the network; the message has file, line or row.
        TargetError : target or weights have another length, or a weight is negative or not finite, or all are 0.
        """
        weighed = 0.0
        batch = None
        for batch in _rebatched(self._pieces(), self.batch_rows):
            if batch.weight is not None:
                weighed += float(batch.weight.sum())
            yield batch
        if batch is None:
            raise DataError(f"{self.describe} has no rows. Give at least one.")
        if batch.weight is not None and weighed == 0:
            raise TargetError("All weights are 0, so that no row counts. Give at least one positive weight.")

    def distinct_labels(self) -> tuple[Label, ...]:
        """Return the distinct labels of the target, numbers before text, sorted; only the target column is read.

        Raises
        ------
        ArgumentError : an iterator cannot be read twice.
        TargetError : there is no target, or it has more than 10,000 distinct labels.
        """
        return self._labels

    @cached_property
    def _labels(self) -> tuple[Label, ...]:
        if self.target is None and self.reiterable:
            raise TargetError("There is no target, so there are no labels. Give y.")
        if isinstance(self.target, np.ndarray):
            return distinct(self.target)
        if not self.reiterable:
            raise ArgumentError(
                "The labels of an iterator cannot be listed beforehand, because it can be read only once. Load the "
                "model with its classes, give labels 0 … K - 1, or pass a path or a table."
            )
        assert isinstance(self.target, tuple)
        found: set[Label] = set()
        for part in self.rows.read(self._rules(self.target), self.batch_rows):
            found.update(distinct(as_values(_columns_of(part.X, self.target))))
            if len(found) > MAX_LABELS:
                raise TargetError(
                    f"The target {shown(self.target)} has more than {MAX_LABELS:,} distinct labels; that is a "
                    "measurement, not classes. Check which column is the target."
                )
        return sort_labels(found)

    @property
    def _picked(self) -> Names | None:
        return self.features.columns if self.rows.columns is not None else None

    def _rules(self, wanted: Iterable[str]) -> dict[str, ColumnRule]:
        return self._target_rules | {n: column_rule(self.features, n) for n in wanted if n not in self._target_rules}

    @cached_property
    def _target_rules(self) -> dict[str, ColumnRule]:
        """How cells of a CSV file become target values: numbers if all of them are."""
        if not isinstance(self.target, tuple) or self.rows.kind_of is None:
            return {}
        return {n: ColumnRule("number" if self.numeric_target else self.rows.kind_of(n)) for n in self.target}

    @property
    def _wanted(self) -> dict[str, ColumnRule] | None:
        """Columns to read, with their rules; None for arrays."""
        if self._picked is None:
            return None
        extra = self.target if isinstance(self.target, tuple) else ()
        weight = (self.weight,) if isinstance(self.weight, str) else ()
        return self._rules(dict.fromkeys((*self._picked, *extra, *weight)))

    def _pieces(self) -> Iterator[Batch]:
        """Yield rows as the source cuts them."""
        first = begin = 0
        file = ""
        for part in self.rows.read(self._wanted, self.batch_rows):
            if part.file != file:
                file, begin = part.file, first
            n = _length(part.X)
            if n == 0:
                continue
            with _in_file(file, begin):
                x = self.features.encode(_columns_of(part.X, self._picked), first_row=first)
                piece = Batch(x, self._target_of(part, first, n), self._weight_of(part, first, n), first)
            yield piece
            first += n
        for values, what in ((self.target, "y"), (self.weight, "sample_weight")):
            if isinstance(values, np.ndarray) and len(values) != first:
                raise _other_length(what, len(values), first)

    def _target_of(self, part: Part, first: int, n: int) -> Values | None:
        if isinstance(self.target, tuple):
            values = as_values(_columns_of(part.X, self.target))
            return values[:, 0] if len(self.target) == 1 else values
        return _slice_or_own(self.target, None if part.y is None else as_values(part.y), "y", first, n)

    def _weight_of(self, part: Part, first: int, n: int) -> Floats | None:
        if isinstance(self.weight, str):
            return as_weights(_columns_of(part.X, (self.weight,)), first)
        own = None if part.weight is None else as_weights(part.weight, first)
        return _slice_or_own(self.weight, own, "sample_weight", first, n)


def _slice_or_own(given: Values | None, own: Values | None, what: str, first: int, n: int) -> Values | None:
    """Return the part of the given values that belongs to a batch, or those that the batch brought."""
    if given is not None and own is not None:
        raise ArgumentError(f"{what} is given twice: as an argument and with the batches. Leave one out.")
    if own is not None and len(own) != n:
        raise TargetError(f"{what} of the batch from row {first} has {len(own):,} values, its X has {n:,} rows.")
    if given is not None and len(given) < first + n:
        raise TargetError(f"{what} has {len(given):,} values, X has {first + n:,} rows or more; they must be as many.")
    return given[first : first + n] if given is not None else own


@contextmanager
def _in_file(file: str, begin: int) -> Iterator[None]:
    """Name the file in what is raised about some of its rows."""
    try:
        yield
    except DataError as problem:
        if not file:
            raise
        counted = f" Rows are counted through all files; this one begins at row {begin:,}." if begin else ""
        raise type(problem)(f"{file}: {problem}{counted}") from None


# ---------------------------------------------------------------- the verbs


def open_source(
    X: Any,
    y: Any,
    sample_weight: Any,
    features: Features,
    *,
    batch_rows: int = BATCH_ROWS,
    numeric_target: bool = False,
) -> Source:
    """Return rows, target and weights as a source of batches for a network; nothing but headers is read yet.

    Parameters
    ----------
    X : (n, n_columns) array or list of rows; pandas, polars or Arrow table; path, glob or list of paths of Parquet and
        CSV files (also gzipped CSV, and folders); or an iterator of batches, each an array, a table, or a tuple
        (X, y) or (X, y, sample_weight).
    y : values (n,) or (n, k), or the name of a column of X, or a list of names; None for none.
    sample_weight : values (n,) or the name of a column of X; None for none.
    features : of the network.
    batch_rows : rows per batch, but for the last. Batches do not depend on the kind of source.
    numeric_target : True if the target of a CSV file must be numbers (a regression).

    Raises
    ------
    DataError : X cannot be read. ColumnError : columns do not fit. TargetError : y or weights do not fit.
    """
    if batch_rows < 1:
        raise ArgumentError(f"batch_rows is {batch_rows}; expected 1 or more.")
    rows = rows_of(X, len(features.columns))
    if rows.n_rows == 0:
        raise DataError(f"{rows.describe} has no rows. Give at least one.")
    target = _named_or_values(y, rows, "y", as_values)
    weight: Any = _named_or_values(sample_weight, rows, "sample_weight", as_weights)
    if isinstance(weight, tuple):
        if len(weight) > 1:
            raise TargetError(f"sample_weight names {len(weight)} columns ({shown(weight)}); give one.")
        weight = weight[0]
    features, adopted, ignored = _picked_columns(rows, features, target, weight)
    return Source(rows, features, adopted, ignored, target, weight, batch_rows, numeric_target)


def picked_rows(X: Any, features: Features, rows: Sequence[int]) -> Any:
    """Return some rows of a source as they lie there, an array or an Arrow table that `Features.encode` takes.

    Parameters
    ----------
    X : as for `open_source`. rows : their numbers, in the order in which they are returned.

    Raises
    ------
    ArgumentError : there is no such row. DataError, ColumnError : as for `open_source`.
    """
    source = open_source(X, None, None, features)
    kept: dict[int, Any] = {}
    first = 0
    for part in source.rows.read(source._wanted, source.batch_rows):
        table, n = _columns_of(part.X, source._picked), _length(part.X)
        here = [row for row in dict.fromkeys(rows) if first <= row < first + n]
        kept |= {row: table[row - first : row - first + 1] for row in here}
        first += n
        if len(kept) == len(set(rows)):
            break
    missing = [row for row in rows if row not in kept]
    if missing:
        raise ArgumentError(
            f"There is no row {missing[0]} in {source.describe}; its {first:,} rows are counted from 0."
        )
    parts = [kept[row] for row in rows]
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    import pyarrow as pa

    return pa.concat_tables([part.to_arrow() for part in parts], promote_options="permissive")


def batches(
    X: Any,
    y: Any,
    sample_weight: Any,
    features: Features,
    *,
    batch_rows: int = BATCH_ROWS,
    numeric_target: bool = False,
) -> Iterator[Batch]:
    """Yield the batches of `open_source` with the same arguments."""
    return open_source(X, y, sample_weight, features, batch_rows=batch_rows, numeric_target=numeric_target).batches()


def adopted_names(X: Any, y: Any, sample_weight: Any, features: Features) -> Names | None:
    """Return the names that a network without names takes from the columns of X; None if it takes none.

    X must be readable twice: of an iterator use `open_source(…).adopted`.
    """
    return open_source(X, y, sample_weight, features).adopted


def distinct_labels(source: Source) -> tuple[Label, ...]:
    """Return the distinct labels of a source's target; see `Source.distinct_labels`."""
    return source.distinct_labels()


def column_rule(features: Features, column: str) -> ColumnRule:
    """Return how a cell of a text file becomes a value of one of the network's columns."""
    items = [f for f in features.items if f.column == column]
    levels = [level for f in items for level in f.levels]
    levels += [level for name, known in features.known if name == column for level in known]
    texts = frozenset(level for level in levels if isinstance(level, str))
    if texts or (not levels and any(f.kind in ("level", "other") for f in items)):
        return ColumnRule("text", texts)
    return ColumnRule("number")


# ---------------------------------------------------------------- what X is


def rows_of(X: Any, n_columns: int) -> Rows:
    """Return the rows of whatever X is.

    Raises
    ------
    DataError : X is nothing that holds rows.
    """
    if isinstance(X, str | os.PathLike):
        return _file_rows(open_files([X]))
    if isinstance(X, list | tuple) and X and all(isinstance(item, str | os.PathLike) for item in X):
        return _file_rows(open_files(X))
    if _is_arrow_dataset(X):
        return _dataset_rows(X)
    if is_table(X):
        return _table_rows(X)
    if _is_stream(X):
        return _stream_rows(iter(X), n_columns)
    return _array_rows(X, n_columns)


def _file_rows(files: TableFiles) -> Rows:
    def read(wanted: dict[str, ColumnRule] | None, rows: int) -> Iterator[Part]:
        return (Part(table, file=file) for file, table in files.read(wanted or {}, rows))

    return Rows(files.describe, files.columns, files.n_rows, True, read, files.kind_of)


def _table_rows(X: Any) -> Rows:
    frame = _eager(X)
    kind = f"{type(X).__module__.partition('.')[0]} {type(X).__name__}"

    def read(wanted: dict[str, ColumnRule] | None, rows: int) -> Iterator[Part]:
        return (Part(frame[start : start + rows]) for start in range(0, len(frame), rows))

    return Rows(f"{kind}, {len(frame):,} rows", _names(X), len(frame), True, read)


def _array_rows(X: Any, n_columns: int) -> Rows:
    sparse = hasattr(X, "tocsr")
    array: Any = X.tocsr() if sparse else X
    if not sparse and not isinstance(X, np.ndarray):
        if isinstance(X, list | tuple) and not X:
            raise DataError("X is an empty list and has no rows. Give at least one.")
        array = as_matrix(X, n_columns)
    if array.ndim < 2:
        as_matrix(array, n_columns)
    n = array.shape[0]

    def read(wanted: dict[str, ColumnRule] | None, rows: int) -> Iterator[Part]:
        return (Part(array[start : start + rows]) for start in range(0, n, rows))

    return Rows(f"array of shape {array.shape}", None, n, True, read)


def _dataset_rows(X: Any) -> Rows:
    def read(wanted: dict[str, ColumnRule] | None, rows: int) -> Iterator[Part]:
        stream = X.to_batches(columns=list(wanted or {}), batch_size=rows, batch_readahead=2, fragment_readahead=1)
        return (Part(batch) for batch in stream)

    return Rows("Arrow dataset", tuple(X.schema.names), X.count_rows(), True, read)


def _stream_rows(stream: Iterator[Any], n_columns: int) -> Rows:
    head = next(stream, None)
    if head is None:
        raise DataError("The iterator X has no rows: it is exhausted or yielded nothing. Make a new one.")
    if isinstance(head, str | os.PathLike):
        return rows_of([head, *stream], n_columns)
    first = _part(head)
    used: list[bool] = []

    def read(wanted: dict[str, ColumnRule] | None, rows: int) -> Iterator[Part]:
        if used:
            raise ArgumentError("The iterator X was read already, and cannot be read twice. Make a new one.")
        used.append(True)
        return chain([first], map(_part, stream))

    return Rows("iterator", _names(first.X) if is_table(first.X) else None, None, False, read)


def _part(item: Any) -> Part:
    """Return one batch of an iterator."""
    if isinstance(item, Part):
        return item
    if isinstance(item, list | tuple) and len(item) in (2, 3) and (is_table(item[0]) or np.ndim(item[0]) >= 2):
        return Part(*item)
    return Part(item)


def _is_stream(X: Any) -> bool:
    if isinstance(X, np.ndarray) or hasattr(X, "__array__") or hasattr(X, "tocsr") or isinstance(X, str | bytes | dict):
        return False
    if isinstance(X, list | tuple):
        return bool(X) and (is_table(X[0]) or _part(X[0]).y is not None)
    return hasattr(X, "__iter__")


def _is_arrow_dataset(X: Any) -> bool:
    return hasattr(X, "to_batches") and hasattr(X, "count_rows") and not hasattr(X, "columns")


# ---------------------------------------------------------------- tables


def _eager(X: Any) -> Any:
    """Return a table as a narwhals frame with plain columns."""
    import narwhals.stable.v2 as nw

    if type(X).__module__.startswith("pyarrow"):
        import pyarrow as pa

        X = pa.Table.from_batches([X]) if isinstance(X, pa.RecordBatch) else X
    if not hasattr(X, "collect"):
        refuse_duplicates(_names(X), "The table's columns")
    try:
        return nw.from_native(X, eager_only=True)
    except TypeError:
        hint = " Call .collect() first." if hasattr(X, "collect") else ""
        raise DataError(
            f"X is a {type(X).__module__.partition('.')[0]} {type(X).__name__}, which cannot be read row by row; "
            f"expected a pandas, polars or Arrow table, an array, a path or an iterator.{hint}"
        ) from None


def _names(X: Any) -> Names:
    """Return the column names of a table."""
    names = X.schema.names if type(X).__module__.startswith("pyarrow") else X.columns
    return tuple(str(name) for name in names)


def _length(X: Any) -> int:
    if hasattr(X, "num_rows"):
        return int(X.num_rows)
    if hasattr(X, "shape"):
        return int(X.shape[0])
    return len(X)


def _columns_of(X: Any, names: Names | None) -> Any:
    """Return an array itself, or the table of the named columns."""
    if (names is not None) != is_table(X):
        first, other = ("a table", "an array") if names is not None else ("an array", "a table")
        raise ColumnError(f"The first batch is {first}, a later one {other}. Give all batches in one form.")
    if names is None:
        return X
    frame = X if type(X).__module__.startswith("narwhals") else _eager(X)
    at = {str(name): name for name in frame.columns}
    missing = [name for name in names if name not in at]
    if missing:
        raise ColumnError(
            f"A batch lacks the columns {shown(missing)}; it has {shown(at, 12)}. All batches need the same."
        )
    return _plain_frame(frame.select([at[name] for name in names]))


def _plain_frame(frame: Any) -> Any:
    """Return a narwhals frame whose Arrow columns, if it has such, are plain."""
    import narwhals.stable.v2 as nw

    native = nw.to_native(frame)
    return nw.from_native(plain_table(native)) if type(native).__module__.startswith("pyarrow") else frame


# ---------------------------------------------------------------- which column is what


def _named_or_values(values: Any, rows: Rows, what: str, convert: Callable[[Any], Any]) -> Any:
    """Return column names, converted values, or None."""
    if values is None:
        return None
    names = _column_names(values, rows, what)
    if names is not None:
        return names
    array = convert(values)
    if rows.n_rows is not None and len(array) != rows.n_rows:
        raise _other_length(what, len(array), rows.n_rows)
    return array


def _column_names(values: Any, rows: Rows, what: str) -> Names | None:
    if isinstance(values, str):
        if rows.columns is None:
            raise TargetError(
                f"{what} is {clipped(values)}, the name of a column, but X ({rows.describe}) has no named columns. "
                "Pass the values, or a table."
            )
        if values not in rows.columns:
            raise TargetError(
                f"{what} is {clipped(values)}, but X has no such column; it has {shown(rows.columns, 12)}."
            )
        return (values,)
    if rows.columns is None or not isinstance(values, list | tuple) or not all(isinstance(v, str) for v in values):
        return None
    unknown = [v for v in values if v not in rows.columns]
    if len(unknown) == len(values):
        return None  # labels, not names
    if unknown:
        raise TargetError(
            f"{what} names columns that X does not have: {shown(unknown)}; it has {shown(rows.columns, 12)}."
        )
    refuse_duplicates(values, f"The columns in {what}")
    return tuple(values)


def _picked_columns(rows: Rows, features: Features, target: Any, weight: Any) -> tuple[Features, Names | None, Names]:
    """Return the features under the table's names, the names adopted, and the names ignored."""
    if rows.columns is None:
        return features, None, ()
    refuse_duplicates(rows.columns, "The table's columns")
    apart = {*(target if isinstance(target, tuple) else ()), *([weight] if isinstance(weight, str) else [])}
    needed = [name for name in features.columns if name in apart] if features.named else []
    if needed:
        raise TargetError(
            f"{shown(needed)} cannot be both an input of the network and its target or weight. Name another column in "
            "y or sample_weight."
        )
    if isinstance(target, tuple) and weight in target:
        raise TargetError(f"{clipped(weight)} cannot be both the target and the weight. Name another column.")
    candidates = [name for name in rows.columns if name not in apart]
    index, ignored = features.matched(candidates)
    names = tuple(candidates[i] for i in index)
    if names == features.columns:
        return features, None, ignored
    return _renamed(features, names), None if _is_counted(names) else names, ignored


def _is_counted(names: Names) -> bool:
    """Return whether the names are only numbers from 0, as pandas gives to arrays."""
    return names == tuple(str(i) for i in range(len(names)))


def _renamed(features: Features, names: Names) -> Features:
    if features.is_plain:
        return features.renamed(names)
    new = dict(zip(features.columns, names, strict=True))
    return Features(
        tuple(replace(f, column=new[f.column]) for f in features.items),
        names,
        True,
        tuple((new[column], levels) for column, levels in features.known),
    )


def _other_length(what: str, n: int, rows: int) -> TargetError:
    return TargetError(f"{what} has {n:,} values, X has {rows:,} rows; they must be as many, in the same order.")


# ---------------------------------------------------------------- batches of one size


def _rebatched(pieces: Iterator[Batch], rows: int) -> Iterator[Batch]:
    """Yield the same rows in batches of `rows`, so that sums do not depend on how a source cuts its rows."""
    held: list[Batch] = []
    n = 0
    for piece in pieces:
        held.append(piece)
        n += len(piece)
        while n >= rows:
            whole, rest = _cut(held, rows)
            yield whole
            held = [rest] if len(rest) else []
            n = len(rest)
    if n:
        yield _joined(held)


def _cut(held: Sequence[Batch], rows: int) -> tuple[Batch, Batch]:
    whole = _joined(held)
    return _slice(whole, 0, rows), _slice(whole, rows, len(whole))


def _slice(batch: Batch, start: int, stop: int) -> Batch:
    if start == 0 and stop == len(batch):
        return batch
    at = slice(start, stop)
    return Batch(
        batch.x[at],
        None if batch.y is None else batch.y[at],
        None if batch.weight is None else batch.weight[at],
        batch.first_row + start,
    )


def _joined(held: Sequence[Batch]) -> Batch:
    if len(held) == 1:
        return held[0]
    for what in ("y", "weight"):
        if len({getattr(b, what) is None for b in held}) > 1:
            raise TargetError(f"Some batches have a {what} and some have none. Give it with all or with none.")
    y = None if held[0].y is None else np.concatenate([b.y for b in held if b.y is not None])
    weight = None if held[0].weight is None else np.concatenate([b.weight for b in held if b.weight is not None])
    return Batch(np.concatenate([b.x for b in held]), y, weight, held[0].first_row)
