"""The inputs of a network: which columns they come from, in the units that the user knows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from relucidate.errors import ArgumentError, ColumnError, DataError, ValueInDataError, clipped, shown

if TYPE_CHECKING:
    from relucidate.layers import Floats

Level = str | float | bool | int

_BLOCK_ROWS = 4096  # columns are gathered into rows block by block, so that a block stays in the processor's cache


@dataclass(frozen=True)
class Feature:
    """One number that enters the network.

    Parameters
    ----------
    name : what tables and figures call it, for example ``"income"`` or ``"region=North"``.
    column : the user's column that it is made from.
    kind : "value" (the column itself), "level" (1 where the column has one of `levels`, else 0), "other" (1 where it
        has none of them: rare and unknown levels pooled) or "missing" (1 where the column has no value).
    levels : for "level", the values that count as this one (several where rare levels were pooled); for "other", those
        that do not. NaN stands for a missing value.
    impute : what takes the place of a missing value; None if missing values are refused.
    """

    name: str
    column: str
    kind: Literal["value", "level", "other", "missing"] = "value"
    levels: tuple[Level, ...] = ()
    impute: Level | None = None


@dataclass(frozen=True)
class Features:
    """The features of a network in order, and the columns that a table must have.

    Parameters
    ----------
    items : one per network input.
    columns : the user's columns, in the order in which an array without names must hold them.
    named : False if the model carried no names, so that position counts and ``x0, x1, …`` are ours.
    known : per categorical column, every level that the model accepts (NaN: a missing value); levels outside are
        refused. A column that is absent here accepts any level (all its "level" indicators are then 0).
    """

    items: tuple[Feature, ...]
    columns: tuple[str, ...]
    named: bool
    known: tuple[tuple[str, tuple[Level, ...]], ...] = ()

    @staticmethod
    def plain(n: int, names: Sequence[str] | None = None) -> Features:
        """Return `n` numeric features; without names they are called ``x0, x1, …``."""
        given = names is not None
        names = tuple(f"x{i}" for i in range(n)) if names is None else tuple(str(name) for name in names)
        if len(names) != n:
            raise ColumnError(
                f"{len(names)} feature names were given for a network with {n} inputs; give one per input."
            )
        refuse_duplicates(names, "Feature names")
        return Features(tuple(Feature(name, name) for name in names), names, given)

    def __len__(self) -> int:
        return len(self.items)

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each feature."""
        return tuple(f.name for f in self.items)

    @cached_property
    def is_plain(self) -> bool:
        """Whether each feature is one numeric column as it stands, in order, and nothing is imputed."""
        return self.columns == tuple(f.column for f in self.items) and all(
            f.kind == "value" and f.impute is None for f in self.items
        )

    @cached_property
    def groups(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """(column, indices of its features): one-hot indicators of one column belong together."""
        at: dict[str, list[int]] = {}
        for i, feature in enumerate(self.items):
            at.setdefault(feature.column, []).append(i)
        return tuple((column, tuple(indices)) for column, indices in at.items())

    def grouped(self, values: Floats) -> Floats:
        """Return values (…, n_features) added up within `groups`, (…, n_groups)."""
        if len(self.groups) == len(self):
            return values
        return np.stack([values[..., list(indices)].sum(axis=-1) for _, indices in self.groups], axis=-1)

    def in_columns(self, x: Floats) -> tuple[np.ndarray[Any, Any], ...]:
        """Return what rows (n, n_features) have in the column of each of `groups`, (n,): numbers, or names of levels."""
        return tuple(self._in_column(indices, x) for _, indices in self.groups)

    def _in_column(self, indices: tuple[int, ...], x: Floats) -> np.ndarray[Any, Any]:
        items = [self.items[j] for j in indices]
        numeric = [j for j, item in zip(indices, items, strict=True) if item.kind == "value"]
        if numeric:
            missing = [j for j, item in zip(indices, items, strict=True) if item.kind == "missing"]
            return np.where(x[:, missing].any(axis=1), np.nan, x[:, numeric[0]])
        names = []
        for item in items:
            levels = ["missing" if level != level else str(level) for level in item.levels]
            names.append(" or ".join(levels) if item.kind == "level" else item.kind)
        names.append(f"not {names[0]}" if len(names) == 1 else "none of these")
        on = np.column_stack([x[:, list(indices)] != 0, np.ones(len(x), dtype=bool)])
        return np.array(names, dtype=object)[on.argmax(axis=1)]

    def find(self, feature: str | int) -> tuple[str, tuple[int, ...]]:
        """Return the name and the indices of one feature, or of all that are made from one column.

        Parameters
        ----------
        feature : name of a feature or of a column of the user's, or position of a feature.

        Raises
        ------
        ArgumentError : there is none.
        """
        if isinstance(feature, int | np.integer) and not isinstance(feature, bool):
            if not 0 <= feature < len(self):
                raise ArgumentError(
                    f"feature is {feature}; there are {len(self)} features, so expected 0 to {len(self) - 1}."
                )
            return self.names[feature], (int(feature),)
        for column, indices in self.groups:
            if column == feature:
                return column, indices
        if feature in self.names:
            return str(feature), (self.names.index(str(feature)),)
        known = list(dict.fromkeys([*(column for column, _ in self.groups), *self.names]))
        alike = get_close_matches(str(feature), known, 3)
        hint = f"Did you mean {' or '.join(map(repr, alike))}?" if alike else f"There are {shown(known, 12)}."
        raise ArgumentError(f"{clipped(feature)} is no feature of this network. {hint}")

    def renamed(self, names: Sequence[str]) -> Features:
        """Return the same plain features under other names."""
        if not self.is_plain:
            raise ColumnError(
                "This model names its own columns (it has categorical or imputed inputs); feature_names cannot "
                "replace them."
            )
        return Features.plain(len(self), names)

    def matched(self, names: Sequence[str]) -> tuple[tuple[int, ...], tuple[str, ...]]:
        """Return the index in `names` of each column, and the names that are not used.

        Raises
        ------
        ColumnError : a needed column is missing or a name occurs twice. A nameless network takes columns by position,
            and then their number must be right.
        """
        names = [str(name) for name in names]
        refuse_duplicates(names, "The table's columns")
        if not self.named and not set(self.columns) <= set(names):
            if len(names) != len(self.columns):
                raise ColumnError(
                    f"The network has {len(self.columns)} unnamed inputs, the table {len(names)} columns "
                    f"({shown(names)}). Give feature_names when loading the model, or pass just the columns it was "
                    "trained on, in that order."
                )
            return tuple(range(len(names))), ()
        at = {name: i for i, name in enumerate(names)}
        missing = [column for column in self.columns if column not in at]
        if missing:
            folded = {name.strip().casefold(): name for name in names}
            alike = [f"{folded[c.strip().casefold()]!r} to {c!r}" for c in missing if c.strip().casefold() in folded]
            advice = [f"Rename {', '.join(alike[:5])}."] if alike else []
            if len(alike) < len(missing):
                advice.append(f"It has {shown(names, 12)}.")
            raise ColumnError(
                f"The table lacks {len(missing)} of the {len(self.columns)} columns that the network needs: "
                f"{shown(missing)}. {' '.join(advice)}"
            )
        used = set(self.columns)
        return tuple(at[column] for column in self.columns), tuple(name for name in names if name not in used)

    def encode(self, X: Any, first_row: int = 0) -> Floats:
        """Return the network's input (n, n_features), float64, C order.

        Parameters
        ----------
        X : (n, n_columns) array (more dimensions are flattened in C order) or a table: pandas, polars, Arrow.
        first_row : number of the first row, for messages.

        Raises
        ------
        ColumnError : columns missing, duplicated or of the wrong number.
        ValueInDataError : a cell is missing where nothing imputes, infinite, text, or an unknown level.

        Notes
        -----
        None, NaN, NA and Arrow's null are one and the same: a cell without a value. A plain float64 array in C order is
        returned as it is, not copied.
        """
        if is_table(X):
            frame = as_frame(X)
            names = frame.columns
            index, _ = self.matched(names)
            return self._assemble([frame.get_column(names[i]) for i in index], len(frame), first_row)
        array = as_matrix(X, len(self.columns))
        if self.is_plain and array.dtype != object:
            values = numbers(array, first_row)
            self._refuse(values, first_row)
            return values
        return self._assemble([array[:, j] for j in range(array.shape[1])], len(array), first_row)

    def _assemble(self, columns: Sequence[Any], n: int, first_row: int) -> Floats:
        cells = {name: _Cells(name, column, first_row) for name, column in zip(self.columns, columns, strict=True)}
        known = dict(self.known)
        for column, impute in {(f.column, f.impute) for f in self.items if f.kind in ("level", "other")}:
            if column in known:
                cells[column].refuse_unknown(impute, known[column])
        parts = [cells[f.column].encoded(f) for f in self.items]
        out = np.empty((n, len(parts)))
        for start in range(0, n, _BLOCK_ROWS):
            rows = slice(start, start + _BLOCK_ROWS)
            for j, part in enumerate(parts):
                out[rows, j] = part[rows]
        self._refuse(out, first_row)
        return out

    def _refuse(self, values: Floats, first_row: int) -> None:
        """Raise if a number is missing or infinite."""
        if np.isfinite(values).all():
            return
        rows, cols = np.nonzero(~np.isfinite(values))
        bad = np.unique(rows)
        names = [self.names[j] for j in np.unique(cols)]
        kinds = ["infinite" if np.isinf(values).any() else "", "missing (NaN)" if np.isnan(values).any() else ""]
        raise ValueInDataError(
            f"{len(bad):,} of {len(values):,} rows hold values that are {' or '.join(k for k in kinds if k)}, in "
            f"{shown(names)}: rows {shown([int(r) + first_row for r in bad], 10)}. The model imputes nothing there; "
            "drop these rows or fill them before the call."
        )


def refuse_duplicates(names: Iterable[str], what: str) -> None:
    """Raise `ColumnError` if a name occurs twice."""
    seen: set[str] = set()
    twice = [name for name in names if name in seen or seen.add(name)]  # type: ignore[func-returns-value]
    if twice:
        raise ColumnError(f"{what} must be unique; {shown(dict.fromkeys(twice))} occur more than once. Rename them.")


def is_table(X: Any) -> bool:
    """Return whether `X` has named columns (pandas, polars, Arrow and what else narwhals knows)."""
    # asked of the class: a lazy table would compute its columns
    return not isinstance(X, np.ndarray) and (hasattr(type(X), "columns") or hasattr(X, "column_names"))


def as_frame(X: Any) -> Any:
    """Return a table as a narwhals frame.

    Raises
    ------
    ColumnError : two columns have one name. DataError : a lazy table, or one of a kind that is not known.
    """
    import narwhals.stable.v2 as nw

    names = getattr(X, "column_names", None)
    if names is None and type(X).__name__ != "LazyFrame":
        names = X.columns
    if names is not None and not callable(names):
        refuse_duplicates([str(name) for name in names], "The table's columns")
    try:
        return nw.from_native(X, eager_only=True)
    except TypeError:
        hint = "Call .collect() first." if hasattr(X, "collect") else "Convert it, for example with .to_pandas()."
        raise DataError(
            f"X is a {type(X).__module__}.{type(X).__qualname__}; expected an array, or a pandas, polars or Arrow "
            f"table. {hint}"
        ) from None


def as_matrix(X: Any, n_columns: int) -> np.ndarray[Any, Any]:
    """Return `X` as an array (n, n_columns); more dimensions are flattened in C order."""
    if hasattr(X, "toarray"):
        X = X.toarray()
    if isinstance(X, np.ma.MaskedArray):
        gaps = np.ma.getmaskarray(X)
        X = np.array(X.data, dtype=np.float64 if X.dtype.kind in "fiub" else object)
        X[gaps] = np.nan
    if hasattr(X, "__array__") or isinstance(X, list | tuple):
        given = X
        try:
            X = np.asarray(given)
        except ValueError as problem:
            raise DataError(
                f"X is a ragged list of rows ({problem}); every row needs the same number of values."
            ) from None
        if X.dtype.kind in "US" and isinstance(given, list | tuple):
            X = np.array(given, dtype=object)  # numbers beside text stay numbers
    if not isinstance(X, np.ndarray):
        raise DataError(
            f"X is a {type(X).__name__}; expected an array (n, {n_columns}), a pandas, polars or Arrow table, or a "
            "path."
        )
    if X.ndim > 2 and int(np.prod(X.shape[1:])) == n_columns:
        X = X.reshape(len(X), n_columns)
    if X.ndim != 2:
        hint = " Write X.reshape(1, -1) for a single row." if X.ndim == 1 else ""
        raise ColumnError(f"X has shape {X.shape}; the network takes (n, {n_columns}).{hint}")
    if X.shape[1] != n_columns:
        raise ColumnError(f"X has {X.shape[1]} columns; the network takes {n_columns}.")
    return cast("np.ndarray[Any, Any]", X)


def numbers(array: np.ndarray[Any, Any], first_row: int = 0) -> Floats:
    """Return a numeric array as float64 in C order."""
    if array.dtype.kind not in "fiub":
        raise ValueInDataError(
            f"X has dtype {array.dtype}; expected numbers. Row {first_row} begins "
            f"{clipped(list(array[:1].ravel()[:3]))}."
        )
    return np.ascontiguousarray(array, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class _Cells:
    """One column of the user's table: numpy or narwhals."""

    name: str
    column: Any
    first_row: int

    def encoded(self, feature: Feature) -> np.ndarray[Any, Any]:
        """Return the values (n,) of one feature that is made from this column."""
        if feature.kind in ("level", "other"):
            hit = self.coded.equal_to(feature.levels, feature.impute)
            return hit if feature.kind == "level" else ~hit
        if feature.kind == "missing":
            return np.isnan(self.numbers) if self._is_numeric else self.coded.equal_to((np.nan,), None)
        if feature.impute is None:
            return self.numbers
        return np.where(np.isnan(self.numbers), float(feature.impute), self.numbers)

    @property
    def _is_numeric(self) -> bool:
        if isinstance(self.column, np.ndarray):
            return self.column.dtype.kind in "fiub"
        return bool(self.column.dtype.is_numeric())

    @cached_property
    def numbers(self) -> Floats:
        """The column as float64 with NaN where it has no value."""
        raw = _array(self.column)
        if raw.dtype.kind in "fiub":
            return raw.astype(np.float64, copy=False)
        cells = raw.tolist() if raw.dtype == object else list(raw)
        strange = {kind for kind in set(map(type, cells)) if not _is_number(kind)}
        for row, cell in enumerate(cells if strange else ()):
            if type(cell) in strange and not _is_missing(cell):
                raise ValueInDataError(
                    f"Column {clipped(self.name)} must hold numbers; row {self.first_row + row} has {clipped(cell)} "
                    f"({type(cell).__name__}). Convert the column, or drop the rows where it is not a number."
                )
        try:
            return np.array([np.nan if _is_missing(cell) else float(cell) for cell in cells], dtype=np.float64)
        except OverflowError:
            raise ValueInDataError(
                f"Column {clipped(self.name)} holds a whole number beyond the range of float64 (1.8e308). Drop its "
                "rows."
            ) from None

    @cached_property
    def coded(self) -> _Coded:
        """The column as distinct values and codes."""
        try:
            return _Coded.of(self.column)
        except (TypeError, NotImplementedError) as problem:  # a list, a dict; what pyarrow cannot encode
            raise ValueInDataError(
                f"Column {clipped(self.name)} must hold levels (text, numbers or booleans); it holds something else "
                f"({problem}). Convert the column."
            ) from None

    def refuse_unknown(self, impute: Level | None, known: tuple[Level, ...]) -> None:
        """Raise `ValueInDataError` if a cell, as it is or filled, has a level outside `known`."""
        accepted = {_key(level) for level in known}
        for k, value in enumerate(self.coded.values):
            met = impute if value is None and impute is not None else value
            if _key(met) in accepted or _key(value) in accepted:
                continue
            row = self.first_row + int(np.argmax(self.coded.codes == k))
            what = "no value" if value is None else f"the level {clipped(value)} ({type(value).__name__})"
            kind = f" ({type(known[0]).__name__})" if known else ""
            raise ValueInDataError(
                f"Column {clipped(self.name)} has {what} in row {row}; the model knows {shown(known, 12)}{kind} and "
                "refuses others. Recode the level or drop these rows."
            )


def _array(column: Any) -> np.ndarray[Any, Any]:
    """Return a column as a numpy array: numbers with NaN where they are missing, or objects."""
    if isinstance(column, np.ndarray):
        return column
    if column.dtype.is_numeric() and not column.dtype.is_decimal():
        array = np.asarray(column.to_numpy())
        if array.dtype != object:
            return array
    cells = column.to_list()
    array = np.empty(len(cells), dtype=object)
    array[:] = cells
    return array if not _is_boolean(cells) else array.astype(bool)


def _is_boolean(cells: Sequence[Any]) -> bool:
    return bool(cells) and set(map(type, cells)) <= {bool, np.bool_}


def _is_number(kind: type) -> bool:
    from decimal import Decimal
    from numbers import Real

    return issubclass(kind, Real | Decimal | np.bool_)


def _is_missing(cell: Any) -> bool:
    """Return whether a cell has no value: None, NaN, or the NA of pandas."""
    return cell is None or type(cell).__name__ == "NAType" or bool(cell != cell)


@dataclass(frozen=True, eq=False)
class _Coded:
    """A categorical column: its distinct values (None for a missing one), and which one each row has."""

    values: tuple[Any, ...]
    codes: np.ndarray[Any, np.dtype[np.intp]]

    @staticmethod
    def of(column: Any) -> _Coded:
        """Return a numpy or narwhals column as codes.

        Raises
        ------
        TypeError : a cell cannot be hashed.
        """
        plain = isinstance(column, np.ndarray)
        if plain and column.dtype.kind not in "fiubU":
            return _Coded._of_objects(column.astype(object))
        if not plain and column.dtype.__class__.__name__ in ("Object", "Unknown"):
            return _Coded._of_objects(_array(column))
        import pyarrow as pa

        if plain:
            arrow = pa.array(column.astype(np.float64) if column.dtype.kind == "f" else column)
        else:
            arrow = column.to_arrow()
        if isinstance(arrow, pa.ChunkedArray):
            arrow = arrow.combine_chunks()
        if not pa.types.is_dictionary(arrow.type):
            arrow = arrow.dictionary_encode()
        values = arrow.dictionary.to_pylist()
        codes = arrow.indices.fill_null(len(values)).to_numpy(zero_copy_only=False).astype(np.intp)
        return _Coded._present([*values, None], codes)

    @staticmethod
    def _of_objects(cells: np.ndarray[Any, Any]) -> _Coded:
        import pandas as pd

        codes, values = pd.factorize(cells)
        codes = codes.astype(np.intp)
        codes[codes < 0] = len(values)
        return _Coded._present([*values, None], codes)

    @staticmethod
    def _present(values: Sequence[Any], codes: np.ndarray[Any, np.dtype[np.intp]]) -> _Coded:
        """Return the values that occur, with codes that count only these."""
        used = np.bincount(codes, minlength=len(values)) > 0
        kept = tuple(None if _is_missing(v) else v for v, here in zip(values, used, strict=True) if here)
        return _Coded(kept, (np.cumsum(used) - 1)[codes])

    def equal_to(self, levels: tuple[Level, ...], impute: Level | None) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Return (n,) whether each cell, filled with `impute` where it is missing, has one of the levels."""
        wanted = {_key(level) for level in levels}
        hit = np.zeros(len(self.values), dtype=bool)
        for key in wanted - {_MISSING}:
            hit[self.places.get(key, [])] = True
        filler = _MISSING if impute is None else _key(impute)
        hit[self.places.get(_MISSING, [])] = filler in wanted
        return hit[self.codes] if len(self.values) else np.zeros(0, dtype=bool)

    @cached_property
    def places(self) -> dict[tuple[str, Any], list[int]]:
        """Where each level is among `values`."""
        at: dict[tuple[str, Any], list[int]] = {}
        for k, value in enumerate(self.values):
            at.setdefault(_key(value), []).append(k)
        return at


_MISSING = ("missing", None)


def _key(level: Any) -> tuple[str, Any]:
    """Return what two equal levels share: text equals text, numbers equal numbers, a missing cell a missing level."""
    if _is_missing(level):
        return _MISSING
    return ("text" if isinstance(level, str) else "number", level)
