"""The columns of a table while the steps of a pipeline are followed: as they stand, or combined, in symbols."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, cast

import numpy as np

from relucidate.features import Feature, Features, Level
from relucidate.frameworks.reading import probe_rows
from relucidate.layers import Activation, Floats, Layer
from relucidate.network import Network

_PROBE_ROWS = 768
_DENSE_CELLS = 2**16  # a smaller front layer is stored dense


@dataclass(frozen=True)
class Columns:
    """The columns that the estimator was fitted on.

    Parameters
    ----------
    names : one per column, ours (x0, x1, …) or the user's.
    fitted : whether the estimator itself carries these names.
    named : whether anybody gave names.
    """

    names: tuple[str, ...]
    fitted: bool
    named: bool

    def as_fitted(self, table: Any) -> Any:
        """Return a table in the form the estimator was fitted on: named columns or none."""
        if self.fitted and isinstance(table, np.ndarray):
            import pandas as pd

            return pd.DataFrame(table, columns=list(self.names))
        if not self.fitted and hasattr(table, "columns"):
            return np.asarray(table)
        return table


@dataclass(frozen=True)
class Raw:
    """Column `column` of the user's table, with `impute` in place of missing values (None: they stay)."""

    column: int
    impute: Level | None = None


@dataclass(frozen=True)
class Affine:
    """``sum(terms[a] * atom[a]) + offset``.

    Parameters
    ----------
    gap : the column whose missing values come through as NaN; None if the value is never missing. -1 if some are that
        cannot be followed.
    """

    terms: dict[int, float]
    offset: float = 0.0
    gap: int | None = None

    @property
    def is_void(self) -> bool:
        """Whether the value is always missing: a scaler met no value of the column when it was fitted."""
        return not np.isfinite([self.offset, *self.terms.values()]).all()


@dataclass(frozen=True)
class _Clip:
    """A neuron that holds an affine combination between two bounds."""

    argument: Affine
    low: float
    high: float
    depth: int


Cell: TypeAlias = "Raw | Affine"


@dataclass(frozen=True, eq=False)
class First:
    """What preprocessing lowers to: layers, then ``matrix @ values + offset`` enters the perceptron."""

    layers: tuple[Layer, ...]
    features: Features
    matrix: Any
    offset: Floats
    units: tuple[int, ...] | None  # per input of the perceptron the one value that it is; None if it is a combination


@dataclass(eq=False)
class Front:
    """What has been learnt about the preprocessing so far; grows as the steps are followed."""

    columns: Columns
    atoms: list[Feature | _Clip] = field(default_factory=list)
    operators: dict[str, int] = field(default_factory=dict)
    spread: dict[int, tuple[float, float]] = field(default_factory=dict)  # column: centre and spread of its values
    seen: dict[int, list[Level]] = field(default_factory=dict)  # column: levels that an encoder knows
    accepted: list[tuple[Raw, tuple[Level, ...] | None]] = field(default_factory=list)  # None: any level
    holes: dict[int, Any] = field(default_factory=dict)  # column: how a missing value is written
    _index: dict[Any, int] = field(default_factory=dict)

    def atom(self, item: Feature) -> int:
        """Return the index of a feature, made on first use."""
        key = (item.column, item.kind, tuple(map(repr, item.levels)), repr(item.impute))
        if key not in self._index:
            self._index[key] = len(self.atoms)
            self.atoms.append(item)
        return self._index[key]

    def affine(self, cell: Cell) -> Affine:
        """Return a cell as a number."""
        if isinstance(cell, Affine):
            return cell
        name = self.columns.names[cell.column]
        atom = self.atom(Feature(name, name, impute=cell.impute))
        return Affine({atom: 1.0}, 0.0, cell.column if cell.impute is None else None)

    def missing(self, cell: Cell) -> Affine:
        """Return 1 where a cell has no value."""
        gap = (cell.column if cell.impute is None else None) if isinstance(cell, Raw) else cell.gap
        if gap is None:
            return Affine({})
        if isinstance(cell, Affine) and cell.is_void:
            return Affine({}, 1.0)
        name = self.columns.names[gap]
        return Affine({self.atom(Feature(f"{name} missing", name, "missing")): 1.0})

    def clip(self, cell: Affine, low: float, high: float) -> Affine:
        """Return a cell held between two bounds."""
        depth = 1 + max((self._depth(a) for a in cell.terms), default=0)
        self.atoms.append(_Clip(cell, low, high, depth))
        return Affine({len(self.atoms) - 1: 1.0}, 0.0, None if cell.gap is None else -1)

    def _depth(self, atom: int) -> int:
        item = self.atoms[atom]
        return item.depth if isinstance(item, _Clip) else 0

    def located(self, cell: Cell, centre: float, spread: float) -> None:
        """Remember where the values of a column lie, if a scaler says so of it or of a multiple of it."""
        if not (np.isfinite(centre) and np.isfinite(spread) and spread > 0):
            return
        if isinstance(cell, Raw):
            self.spread[cell.column] = (float(centre), float(spread))
        elif len(cell.terms) == 1 and not cell.is_void:
            [(atom, slope)] = cell.terms.items()
            item = self.atoms[atom]
            if isinstance(item, Feature) and item.kind == "value" and slope != 0:
                column = self.columns.names.index(item.column)
                self.spread.setdefault(column, (float((centre - cell.offset) / slope), float(abs(spread / slope))))

    # ---- lowering

    def lowered(self, cells: Sequence[Cell]) -> First:
        """Return the layers, features and combination that the cells amount to."""
        ends = [self.affine(cell) for cell in cells]
        used = self._used(ends)
        features = [a for a in used if isinstance(self.atoms[a], Feature)]
        place = {name: i for i, name in enumerate(self.columns.names)}
        kinds = ("value", "level", "other", "missing")

        def rank(atom: int) -> tuple[int, int, int]:
            item = cast(Feature, self.atoms[atom])
            return place[item.column], kinds.index(item.kind), atom

        current = sorted(features, key=rank)
        items = self._named([cast(Feature, self.atoms[a]) for a in current])
        layers = []
        for depth in range(1, 1 + max((self._depth(a) for a in used), default=0)):
            clips = [a for a in used if self._depth(a) == depth]
            later = {b for a in used if self._depth(a) > depth for b in cast(_Clip, self.atoms[a]).argument.terms}
            later |= {b for end in ends for b in end.terms}
            carried = [a for a in current if a in later]
            layers.append(self._clip_layer(current, carried, clips))
            current = [*carried, *clips]
        matrix, offset = matrix_of(ends, current)
        single = all(len(e.terms) == 1 and e.offset == 0 and set(e.terms.values()) == {1.0} for e in ends)
        at = {a: j for j, a in enumerate(current)}
        units = tuple(at[next(iter(e.terms))] for e in ends) if single else None
        if units is not None and len(set(units)) < len(units):
            units = None
        return First(tuple(layers), self._features(items), matrix, offset, units)

    def _used(self, ends: Sequence[Affine]) -> list[int]:
        found: set[int] = set()
        stack = [a for end in ends for a in end.terms]
        while stack:
            a = stack.pop()
            if a not in found:
                found.add(a)
                item = self.atoms[a]
                stack.extend(item.argument.terms if isinstance(item, _Clip) else ())
        return sorted(found)

    def _named(self, items: Sequence[Feature]) -> list[Feature]:
        """Return the features under names that are unique; of two uses of a column, the filled one says so."""
        uses = Counter(item.name for item in items)
        taken: set[str] = set()
        out = []
        for item in items:
            fill = f"{item.impute:.6g}" if isinstance(item.impute, float) else item.impute
            plain = uses[item.name] == 1 or item.impute is None
            first = name = item.name if plain else f"{item.name} (missing as {fill})"
            number = 2
            while name in taken:
                name = f"{first} ({number})"
                number += 1
            taken.add(name)
            out.append(replace(item, name=name))
        return out

    def _features(self, items: Sequence[Feature]) -> Features:
        used = {f.column for f in items}
        # an array without names must hold every column; of named ones those that are never used may be absent
        columns = tuple(c for c in self.columns.names if c in used or not self.columns.fitted)
        known = tuple((c, levels) for c in columns if (levels := self._known(c)) is not None)
        return Features(tuple(items), columns, self.columns.named, known)

    def _known(self, name: str) -> tuple[Level, ...] | None:
        """Return the levels that every encoder of a column accepts; None if all of them accept any."""
        uses = [(raw, levels) for raw, levels in self.accepted if self.columns.names[raw.column] == name]
        strict = [levels for _, levels in uses if levels is not None]
        if not strict:
            return None
        common = [v for v in strict[0] if not is_nan(v) and all(has(levels, v) for levels in strict)]
        filled = [np.nan if raw.impute is None else raw.impute for raw, levels in uses if levels is not None]
        takes_gaps = all(has(levels, v) for levels, v in zip(strict, filled, strict=True))
        return (*common, np.nan) if takes_gaps else tuple(common)

    def _clip_layer(self, current: Sequence[int], carried: Sequence[int], clips: Sequence[int]) -> Layer:
        items = [cast(_Clip, self.atoms[a]) for a in clips]
        matrix, offset = matrix_of([*(Affine({a: 1.0}) for a in carried), *(c.argument for c in items)], current)
        low, high = np.array([c.low for c in items]), np.array([c.high for c in items])
        held = Activation.build(len(items), [low, high], [0, 1, 0], [low, 0, high])
        activation = Activation.joined([Activation.of_kind("identity", len(carried)), held])
        dense = matrix.toarray() if matrix.shape[0] * matrix.shape[1] <= _DENSE_CELLS else matrix
        return Layer(dense, offset, activation, name="scaler that clips")

    # ---- probe

    def probe(self, network: Network) -> Any:
        """Return a table as the estimator was fitted on, with rows on both sides of many breakpoints."""
        at = {name: i for i, name in enumerate(self.columns.names)}
        items = network.features.items
        where = [self.spread.get(at[f.column], (0.0, 1.0)) for f in items]
        rows = probe_rows(network, [c for c, _ in where], [s for _, s in where], n=_PROBE_ROWS)
        rng = np.random.default_rng(1)
        table: dict[str, Any] = {}
        for i, name in enumerate(self.columns.names):
            mine = [j for j, f in enumerate(items) if f.column == name]
            table[name] = self._probe_column(i, [items[j] for j in mine], rows[:, mine], rng)
        if self.columns.fitted:
            import pandas as pd

            # levels stay the objects that they are: a text column of pandas would turn None into NaN
            series = {n: pd.Series(c, dtype=object) if c.dtype == object else c for n, c in table.items()}
            return pd.DataFrame(series, columns=list(self.columns.names))
        kind = object if any(c.dtype == object for c in table.values()) else np.float64
        return np.column_stack([c.astype(kind) for c in table.values()])

    def _probe_column(self, column: int, items: Sequence[Feature], rows: Floats, rng: np.random.Generator) -> Any:
        levels = [v for v in self.seen.get(column, ()) if not is_nan(v)]
        known = self._known(self.columns.names[column])
        if levels:
            if known is not None:
                levels = [v for v in levels if has(known, v)]
            else:
                levels.append(_never_seen(levels))
            text = any(isinstance(v, str) for v in levels)
            drawn = np.empty(len(rows), dtype=object)
            drawn[:] = [levels[k] for k in rng.integers(len(levels), size=len(rows))]
            cells = drawn if text else drawn.astype(np.float64)
        else:
            values = [j for j, f in enumerate(items) if f.kind == "value"]
            cells = rows[:, values[0]].copy() if values else rng.standard_normal(len(rows))
        refused = any(f.kind == "value" and f.impute is None for f in items)
        expected = any(f.impute is not None or f.kind == "missing" or has(f.levels, np.nan) for f in items)
        if known is not None:
            refused, expected = refused or not has(known, np.nan), True
        if expected and not refused:
            gaps = rng.random(len(rows)) < 0.15
            cells[gaps] = self.holes.get(column, np.nan) if cells.dtype == object else np.nan
        return cells


def matrix_of(rows: Sequence[Affine], columns: Sequence[int]) -> tuple[Any, Floats]:
    """Return the terms of the rows as a sparse matrix over the atoms `columns`, and their offsets."""
    from scipy.sparse import csr_array

    at = {a: j for j, a in enumerate(columns)}
    data = np.array([v for row in rows for v in row.terms.values()], dtype=np.float64)
    indices = np.array([at[a] for row in rows for a in row.terms], dtype=np.int32)
    indptr = np.concatenate([[0], np.cumsum([len(row.terms) for row in rows])]).astype(np.int32)
    matrix = csr_array((data, indices, indptr), shape=(len(rows), len(columns)))
    matrix.sort_indices()
    return matrix, np.array([row.offset for row in rows], dtype=np.float64)


def shifted(cell: Affine, by: float) -> Affine:
    """Return ``cell + by``."""
    return replace(cell, offset=float(cell.offset + by))


def times(cell: Affine, by: float) -> Affine:
    """Return ``cell * by``."""
    return replace(cell, terms={a: float(v * by) for a, v in cell.terms.items()}, offset=float(cell.offset * by))


def divided(cell: Affine, by: float) -> Affine:
    """Return ``cell / by``, rounded as a scaler rounds it."""
    return replace(cell, terms={a: float(v / by) for a, v in cell.terms.items()}, offset=float(cell.offset / by))


def has(levels: Sequence[Level], value: Any) -> bool:
    """Return whether a value is among the levels; text is never a number, and missing values are one and the same."""
    return any(is_nan(v) if is_nan(value) else _equal(v, value) for v in levels)


def _equal(a: Any, b: Any) -> bool:
    return isinstance(a, str) == isinstance(b, str) and bool(a == b)


def is_nan(value: Any) -> bool:
    """Return whether a value stands for a missing one: None, NaN, NA."""
    if value is None or type(value).__name__ == "NAType":
        return True
    return isinstance(value, float | np.floating) and bool(value != value)


def scalar(value: Any) -> Any:
    """Return a numpy scalar as the Python scalar that it holds."""
    return value.item() if isinstance(value, np.generic) else value


def _never_seen(levels: Sequence[Level]) -> Level:
    if all(isinstance(v, str) for v in levels):
        return "(never seen)" + "".join(str(v)[:1] for v in levels[:8])
    return 1 + 2 * max(abs(float(v)) for v in levels if not isinstance(v, str))
