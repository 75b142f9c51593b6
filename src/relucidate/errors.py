"""Every error that relucidate raises on purpose.

Each message says what is wrong with the value met, what was expected, and what to do next. The command line prints the
message alone and exits with code 2; from Python the class tells the kind of trouble.
"""

from __future__ import annotations


class RelucidateError(Exception):
    """Base class: catch this to catch everything that relucidate raises on purpose."""


class ModelError(RelucidateError):
    """The model cannot be read as a piecewise-linear network."""


class UnsupportedModelError(ModelError):
    """The model holds a layer, operator or option that relucidate does not know, named with its position."""


class UnsafeFileError(ModelError):
    """The file could execute code or reach outside its folder when read; it was not read."""


class MalformedModelError(ModelError):
    """The file or object is not a model, is damaged, or its weights do not chain."""


class UnfaithfulError(RelucidateError):
    """Two things that must say the same do not: the network and its original, or its local linear models."""


class DataError(RelucidateError, ValueError):
    """The table does not fit what the network expects."""


class ColumnError(DataError):
    """A column is missing, duplicated, of the wrong number, or of the wrong kind."""


class ValueInDataError(DataError):
    """A cell cannot be used: missing where nothing imputes, infinite, not a number, or an unknown level."""


class TargetError(DataError):
    """The target or the weights do not fit the rows or the network."""


class NumericalOverflowError(RelucidateError):
    """A finite row leaves the range of float64 inside the network."""


class OutputError(RelucidateError):
    """The result cannot be written where it was asked for; nothing was left half written."""


class ArgumentError(RelucidateError, ValueError):
    """An argument has a value that makes no sense; the message names it."""


class MissingDependencyError(RelucidateError, ImportError):
    """An optional package is needed for this call; the message says how to install it."""


def shown(values: object, limit: int = 5) -> str:
    """Return the first `limit` items of a sequence as text, with the number of the rest."""
    items = list(values)  # type: ignore[call-overload]
    text = ", ".join(clipped(v) for v in items[:limit])
    return text + (f" and {len(items) - limit:,} more" if len(items) > limit else "")


def clipped(value: object, limit: int = 80) -> str:
    """Return `repr(value)`, cut to a length that fits an error message."""
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
