"""The target and the weights of rows: labels to class codes, numbers to float64, nothing guessed in silence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from relucidate.errors import TargetError, clipped, shown
from relucidate.layers import Bools, Floats

Label: TypeAlias = "str | float | int | bool"
Values: TypeAlias = "NDArray[Any]"

MAX_LABELS = 10_000  # more distinct labels than this are a measurement, not classes


@dataclass(frozen=True, eq=False)
class Encoded:
    """A target as the sums over rows need it.

    Parameters
    ----------
    values : regression: float64 (n,) or (n, n_outputs); classes: intp codes (n,), columns of `predict_proba`;
        several yes/no outputs: int8 (n, n_outputs) of 0 and 1.
    classes : the label of each code; () for a regression or several yes/no outputs.
    notes : what a reader should know: "'yes' is the positive class".
    """

    values: Values
    classes: tuple[Label, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class TargetCoder:
    """How labels become codes; the same for every batch.

    Parameters
    ----------
    link, n_outputs : of the network.
    classes : label of each code; () for a regression or several yes/no outputs.
    notes : what was decided, for results to say.
    assumed : True if the classes are 0 … K - 1 because neither the network nor a look at the data says otherwise.
    """

    link: str
    n_outputs: int
    classes: tuple[Label, ...]
    notes: tuple[str, ...] = ()
    assumed: bool = False

    @property
    def is_classifier(self) -> bool:
        """Whether each row gets the code of one class."""
        return has_labels(self.link, self.n_outputs)

    @property
    def is_named(self) -> bool:
        """Whether the classes have labels other than the codes 0 … K - 1."""
        return self.classes != tuple(range(len(self.classes)))

    def encode(self, y: Any, first_row: int = 0) -> Encoded:
        """Return one batch of the target.

        Parameters
        ----------
        y : (n,) or (n, n_outputs): array, Series, list.
        first_row : number of the first row, for messages.

        Raises
        ------
        TargetError : a value is missing, infinite, of the wrong kind, or an unknown label.
        """
        values = as_values(y)
        refuse_missing(values, first_row)
        if self.is_classifier:
            codes, notes = self._codes(values, first_row)
            return Encoded(codes, self.classes, tuple(dict.fromkeys(self.notes + notes)))
        numbers = _per_output(_numeric(values, first_row), self.n_outputs)
        if self.link == "logit":
            return Encoded(_yes_or_no(numbers, first_row), (), self.notes)
        return Encoded(numbers[:, 0] if self.n_outputs == 1 else numbers, (), self.notes)

    def _codes(self, values: Values, first_row: int) -> tuple[NDArray[np.intp], tuple[str, ...]]:
        k = len(self.classes)
        if _is_one_hot(values, k):
            return values.argmax(axis=1), (f"the {k} columns of the target were taken as one class each",)
        labels, index = _indexed(_one_column(values))
        code, notes = _matched(labels, self.classes)
        unknown = np.flatnonzero(code[index] < 0)
        if len(unknown):
            self._refuse_label(labels[index[unknown[0]]], int(unknown[0]) + first_row)
        return code[index], notes

    def _refuse_label(self, label: Label, row: int) -> None:
        told = f"Row {row} has the label {clipped(label)} ({_kind(label)}); "
        if self.assumed:
            raise TargetError(
                f"{told}the network does not name its classes, so that only {shown(self.classes)} can be told apart. "
                "Load the model with its classes, recode the labels, or pass a path or a table, which can be looked "
                "through beforehand."
            )
        raise TargetError(
            f"{told}the classes are {shown(self.classes, 12)} ({_kind(self.classes[0])}). Recode the label, or drop "
            "these rows."
        )


def has_labels(link: str, n_outputs: int) -> bool:
    """Return whether the target of a network is one class label per row."""
    return link == "softmax" or (link == "logit" and n_outputs == 1)


def encode_target(y: Any, link: str, n_outputs: int, classes: Sequence[Label] = (), *, first_row: int = 0) -> Encoded:
    """Return a whole target as a network needs it.

    Parameters
    ----------
    y : (n,) or (n, n_outputs): array, Series, list.
    link : "identity" and "log" mean a regression, "softmax" and "logit" with one output classes, "logit" with several
        outputs as many yes/no answers.
    n_outputs : of the network.
    classes : labels in the order of `predict_proba`'s columns, () if the network does not know them.
    first_row : number of the first row, for messages.

    Raises
    ------
    TargetError : as `target_coder` and `TargetCoder.encode`.
    """
    values = as_values(y)
    refuse_missing(values, first_row)
    if has_labels(link, n_outputs) and not _is_one_hot(values, max(n_outputs, 2)):
        values = _one_column(values)
    return target_coder(link, n_outputs, classes, distinct(values)).encode(values, first_row)


def target_coder(
    link: str, n_outputs: int, classes: Sequence[Label] = (), labels: Sequence[Label] | None = None
) -> TargetCoder:
    """Return how the labels of a target become codes.

    Parameters
    ----------
    link, n_outputs, classes : of the network; classes is () if it does not know them.
    labels : the distinct labels of the data (`Source.distinct_labels`); None if they cannot be known beforehand.

    Raises
    ------
    TargetError : the labels are too many, or too few to tell which class is which, or a mixture of numbers and text.

    Notes
    -----
    Known classes are matched by value: ``1 == 1.0 == True``, text equals text. Only where no label matches so, and each
    one reads as a class of the other kind ("1" for 1) or is one but for blanks around it, are they taken so, with a
    note. With unknown classes the labels 0 … K - 1 are codes as they stand; K other labels are codes in sorted order,
    with a note.
    """
    if not has_labels(link, n_outputs):
        return TargetCoder(link, n_outputs, ())
    k = max(n_outputs, 2)
    notes = _constant_note(labels or ())
    if classes:
        known = tuple(plain_label(c) for c in classes)
        if labels:
            notes += _matched(tuple(labels), known)[1]
        return TargetCoder(link, n_outputs, known, notes)
    counted = tuple(range(k))
    if labels is None:
        return TargetCoder(link, n_outputs, counted, (), assumed=True)
    if all(_is_code(label, k) for label in labels):
        return TargetCoder(link, n_outputs, counted, notes)
    if set(labels) <= {str(i) for i in range(k)}:
        return TargetCoder(link, n_outputs, tuple(str(i) for i in range(k)), notes)
    ordered = _sorted_as_classes(labels, k)
    if k == 2:
        return TargetCoder(link, n_outputs, ordered, (f"{clipped(ordered[1])} is the positive class",))
    return TargetCoder(link, n_outputs, ordered, (f"the classes were taken in sorted order: {shown(ordered, 12)}",))


# ---------------------------------------------------------------- any column to numpy


def as_values(y: Any, what: str = "y") -> Values:
    """Return a column, or several, as float64 with NaN, or as objects with None, of shape (n,) or (n, k).

    Raises
    ------
    TargetError : not a column, or neither numbers nor text.
    """
    array = _as_array(y, what)
    if array.dtype.kind in "fiub":
        return np.asarray(array, dtype=np.float64)
    if array.dtype.kind == "U":
        array = array.astype(object)
    if array.dtype != object:
        raise TargetError(f"{what} has dtype {array.dtype}; expected numbers or labels. Convert the column.")
    cells = [v if type(v) is str else plain_label(v, what) for v in array.ravel().tolist()]
    if any(isinstance(v, str) for v in cells):
        out = np.empty(len(cells), dtype=object)
        out[:] = cells
        return out.reshape(array.shape)
    return np.array([np.nan if v is None else float(v) for v in cells], dtype=np.float64).reshape(array.shape)


def _as_array(y: Any, what: str) -> Values:
    if isinstance(y, np.ndarray):
        array = y
    elif type(y).__module__.partition(".")[0] in ("pandas", "polars", "pyarrow", "narwhals"):
        array = _from_column(y, what)
    elif isinstance(y, list | tuple):
        try:
            array = np.array(y, dtype=object)
        except ValueError:
            array = np.zeros((0, 0, 0))
        if array.ndim == 1 and any(isinstance(v, list | tuple | np.ndarray) for v in y):
            raise TargetError(f"{what} is a ragged list; give as many values for every row.")
    elif hasattr(y, "__array__"):
        array = np.asarray(y)
    else:
        raise TargetError(f"{what} is a {type(y).__name__}; expected an array, a list, a Series or a column's name.")
    if array.ndim not in (1, 2):
        raise TargetError(f"{what} has shape {array.shape}; expected (n,) or (n, n_outputs).")
    return array


def _from_column(y: Any, what: str) -> Values:
    import narwhals.stable.v2 as nw

    if type(y).__module__.startswith("pyarrow"):
        import pyarrow as pa

        y = pa.chunked_array([y]) if isinstance(y, pa.Array) else y
    try:
        native: Any = nw.from_native(y, eager_only=True, allow_series=True)
    except TypeError:
        raise TargetError(
            f"{what} is a {type(y).__name__}; expected a Series or a table with a column per output."
        ) from None
    if hasattr(native, "columns"):
        return np.column_stack([_series_values(native.get_column(name)) for name in native.columns])
    return _series_values(native)


def _series_values(series: Any) -> Values:
    if series.dtype.is_numeric() and not series.dtype.is_decimal() and not series.null_count():
        return np.asarray(series.to_numpy())
    out = np.empty(len(series), dtype=object)
    out[:] = series.to_list()
    return out


def plain_label(value: Any, what: str = "The target") -> Any:
    """Return a cell as text, a Python number, or None where it is missing.

    Raises
    ------
    TargetError : it is neither text nor a number.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return None
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Decimal):
        value = float(value)
    if isinstance(value, bool | int | float):
        return None if value != value else value
    raise TargetError(
        f"{what} holds {clipped(value)} ({type(value).__name__}); expected numbers or text labels. Convert the column."
    )


def refuse_missing(values: Values, first_row: int = 0) -> None:
    """Raise if a target value is missing.

    Raises
    ------
    TargetError : with the rows.
    """
    if values.dtype == object:
        empty = np.fromiter((v is None for v in values.ravel().tolist()), dtype=bool, count=values.size)
    else:
        empty = np.isnan(values).ravel()
    rows = np.flatnonzero(empty.reshape(len(values), -1).any(axis=1)) if empty.any() else np.zeros(0, dtype=int)
    if len(rows):
        raise TargetError(
            f"The target is missing in {len(rows):,} of {len(values):,} rows: rows {_shown_rows(rows, first_row)}. "
            "Drop these rows, or leave the target out."
        )


def distinct(values: Values) -> tuple[Label, ...]:
    """Return the distinct labels, numbers before text, each sorted; missing ones are left out."""
    if values.dtype != object:
        found = np.unique(values)
        return tuple(float(v) for v in found[~np.isnan(found)])
    return sort_labels({v for v in values.ravel().tolist() if v is not None})


def sort_labels(labels: Iterable[Label]) -> tuple[Label, ...]:
    """Return labels in sorted order, numbers before text."""
    return tuple(sorted(labels, key=lambda v: (isinstance(v, str), v)))


# ---------------------------------------------------------------- weights


def as_weights(weight: Any, first_row: int = 0) -> Floats:
    """Return weights as float64 (n,).

    Raises
    ------
    TargetError : not one finite number, zero or more, per row.
    """
    values = as_values(weight, "sample_weight")
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1 or values.dtype == object:
        kind = "text" if values.dtype == object else "numbers"
        raise TargetError(f"sample_weight must be one number per row; got {kind} of shape {values.shape}.")
    bad = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
    if len(bad):
        raise TargetError(
            f"sample_weight must be finite and not negative; row {int(bad[0]) + first_row} has {values[bad[0]]} "
            f"({len(bad):,} such rows). Drop these rows or set their weight to 0."
        )
    return values


# ---------------------------------------------------------------- numbers


def _numeric(values: Values, first_row: int) -> Floats:
    """Return finite numbers, or raise naming the first row that has none."""
    width = values.shape[1] if values.ndim == 2 else 1
    if values.dtype == object:
        at = next(i for i, v in enumerate(values.ravel().tolist()) if isinstance(v, str))
        raise TargetError(
            f"The target must be numeric for this network; row {at // width + first_row} has "
            f"{clipped(values.ravel()[at])}. Convert the column to numbers, or load the model with link='logit' or "
            "link='softmax' if it is a classifier."
        )
    bad: Any = (
        np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1)) if len(values) else np.zeros(0, int)
    )
    if len(bad):
        raise TargetError(f"The target is infinite in rows {_shown_rows(bad, first_row)}. Drop these rows.")
    return values


def _per_output(values: Floats, n_outputs: int) -> Floats:
    """Return values as (n, n_outputs)."""
    values = values.reshape(len(values), -1) if len(values) else values.reshape(0, n_outputs)
    if values.shape[1] != n_outputs:
        raise TargetError(
            f"The target has {values.shape[1]} columns, the network {n_outputs} outputs; give one column per output."
        )
    return values


def _yes_or_no(values: Floats, first_row: int) -> Values:
    bad = np.flatnonzero(~((values == 0) | (values == 1)).all(axis=1))
    if len(bad):
        row = int(bad[0])
        raise TargetError(
            f"This network answers {values.shape[1]} yes/no questions; row {row + first_row} of the target is "
            f"{clipped(values[row].tolist())}, expected 0 or 1 in each column. Recode the target."
        )
    return values.astype(np.int8)


def _shown_rows(rows: Any, first_row: int) -> str:
    return shown([int(r) + first_row for r in rows[:10]], 10) + (
        f" and {len(rows) - 10:,} more" if len(rows) > 10 else ""
    )


# ---------------------------------------------------------------- labels


def _one_column(values: Values) -> Values:
    if values.ndim == 1:
        return values
    if values.shape[1] != 1:
        raise TargetError(f"The target has {values.shape[1]} columns; a classifier needs one column of labels.")
    return np.asarray(values[:, 0])


def _is_one_hot(values: Values, k: int) -> bool:
    if values.ndim != 2 or values.shape[1] != k or values.dtype == object:
        return False
    binary: Bools = (values == 0) | (values == 1)
    return bool(binary.all() and (values.sum(axis=1) == 1).all())


def _indexed(values: Values) -> tuple[tuple[Label, ...], NDArray[np.intp]]:
    """Return distinct labels, and the index of each row's label in them."""
    if values.dtype != object:
        found, index = np.unique(values, return_inverse=True)
        return tuple(found.tolist()), index.reshape(-1)
    at: dict[Any, int] = {}
    cells = values.tolist()
    index = np.fromiter(
        (at.setdefault((isinstance(v, str), v), len(at)) for v in cells), dtype=np.intp, count=len(cells)
    )
    return tuple(label for _, label in at), index


def _matched(labels: tuple[Label, ...], classes: tuple[Label, ...]) -> tuple[NDArray[np.intp], tuple[str, ...]]:
    """Return the code of each label, -1 where it is no class, and notes."""
    exact = _looked_up(labels, {(isinstance(c, str), c): i for i, c in enumerate(classes)}, _by_value)
    if (exact >= 0).any() or not labels:
        return exact, ()
    for reading, note in ((_trimmed, "blanks around labels do not count"), (_as_number, "")):
        table = {reading(c): i for i, c in enumerate(classes) if reading(c) is not None}
        codes = _looked_up(labels, table, reading)
        if len(table) == len(classes) and (codes >= 0).all():
            return codes, (note or f"labels given as {_kind(labels[0])} were read as the classes {shown(classes, 12)}",)
    return exact, ()


def _looked_up(labels: tuple[Label, ...], table: dict[Any, int], reading: Any) -> NDArray[np.intp]:
    return np.array([table.get(reading(label), -1) for label in labels], dtype=np.intp)


def _by_value(label: Label) -> tuple[bool, Label]:
    return isinstance(label, str), label


def _trimmed(label: Label) -> str | None:
    return label.strip() if isinstance(label, str) else None


def _as_number(label: Label) -> float | None:
    """Return the number that a label is or spells; None if it does neither."""
    if isinstance(label, str) and label.strip().lower() in ("true", "false"):
        return float(label.strip().lower() == "true")
    try:
        return float(label)
    except ValueError:
        return None


def _is_code(label: Label, k: int) -> bool:
    return not isinstance(label, str) and float(label).is_integer() and 0 <= label < k


def _sorted_as_classes(labels: Sequence[Label], k: int) -> tuple[Label, ...]:
    """Return exactly k labels in sorted order."""
    if len({isinstance(label, str) for label in labels}) > 1:
        raise TargetError(f"The target mixes numbers and text: {shown(labels, 12)}. Write all labels in one way.")
    if len(labels) > k:
        raise TargetError(
            f"The target has {len(labels):,} distinct labels ({shown(labels)}), the network {k} classes. Check which "
            "column is the target; for a regression load the model with link='identity'."
        )
    if len(labels) < k:
        raise TargetError(
            f"The target has the labels {shown(labels)} only, and the network does not name its {k} classes, so that "
            f"it is not known which they are. Load the model with its classes, or recode the labels to 0 … {k - 1}."
        )
    numbers = [_as_number(label) for label in labels]
    if any(n is None or n != n for n in numbers):
        return sort_labels(labels)
    return tuple(
        label for _, label in sorted(zip(numbers, labels, strict=True), key=lambda pair: (pair[0], str(pair[1])))
    )


def _constant_note(labels: Sequence[Label]) -> tuple[str, ...]:
    return (f"every row has the label {clipped(labels[0])}",) if len(labels) == 1 else ()


def _kind(label: Label) -> str:
    return "text" if isinstance(label, str) else "number"
