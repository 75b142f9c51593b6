"""scikit-learn: multilayer perceptrons with the pipelines around them.

Preprocessing is followed symbolically. Every intermediate column is either a column of the user's table, untouched but
for the value that fills its gaps, or an affine combination of features in the user's units (and, after a scaler that
clips, of clip neurons). The combination that reaches the perceptron is folded into its first layer.

None, NaN and NA are one and the same here: a cell without a value.
"""

from __future__ import annotations

import copy
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, cast

import numpy as np

from relucidate.errors import ArgumentError, ModelError, UnsupportedModelError, clipped, shown
from relucidate.features import Feature, Features, Level
from relucidate.frameworks.reading import Options, Original, Reading, probe_rows
from relucidate.layers import Activation, Floats, Layer
from relucidate.network import Link, Network, Provenance

_PROBE_ROWS = 768
_DENSE_CELLS = 2**16  # a smaller front layer is stored dense


def recognises(model: Any) -> bool:
    """Return whether `model` is an estimator of scikit-learn or derives from one; scikit-learn is not imported."""
    return "sklearn" in sys.modules and _sklearn_class(type(model)) is not None


def read(model: Any, options: Options) -> Reading:
    """Return the network of a fitted estimator, and the estimator itself to prove it against.

    Parameters
    ----------
    model : MLPClassifier or MLPRegressor with relu or identity hidden layers; alone, in a Pipeline, in a
        TransformedTargetRegressor with a linear transformer, or as the best estimator of a search.
    options : `link` must be the estimator's own if given; `feature_names` name the columns of an estimator that was
        fitted without names.

    Raises
    ------
    UnsupportedModelError : a step is not known or not piecewise linear; the message names it.
    ModelError : a step is not fitted.
    ArgumentError : an option contradicts the estimator.
    """
    import sklearn

    options.refuse("a scikit-learn estimator", "inputs", "output", "architecture", "normalise")
    columns = _Columns.of(model, options)
    front = _Front(columns)
    head = _head(model, [_Raw(i) for i in range(len(columns.names))], front, type(model).__name__)
    link = _link(head.mlp)
    if options.link is not None and options.link != link:
        raise ArgumentError(
            f"link={options.link!r} contradicts the {type(head.mlp).__name__}, whose link is {link!r}. Leave it out."
        )
    first = front.lowered(head.cells)
    network = Network(
        layers=(*first.layers, *_layers(head, first)),
        features=first.features,
        link=link,
        classes=_classes(head.mlp),
        outputs=_outputs(head.mlp),
        provenance=Provenance(
            source=f"scikit-learn {type(model).__name__}",
            operators=tuple(front.operators.items()),
            notes=(*head.notes, *_notes(head.mlp, first.features, columns)),
        ),
    )
    probe = front.probe(network)
    name = f"scikit-learn {sklearn.__version__}"
    live = _Live(model, head.mlp, columns)

    def tolerance(table: Any) -> float:
        return live.tolerance(table, head, first)

    originals = [Original(name, live.prediction, "predict", tolerance)]
    if link != "identity":  # probabilities saturate and would hide a difference
        originals.append(Original(f"{name}, before the link", live.decision, "decision", tolerance))
    return Reading(network, tuple(originals), probe)


# -------------------------------------------------------------------------------------------- the user's columns


@dataclass(frozen=True)
class _Columns:
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

    @staticmethod
    def of(model: Any, options: Options) -> _Columns:
        own = next((n for n in _found(model, "feature_names_in_")), None)
        n = next((n for n in _found(model, "n_features_in_")), None)
        if n is None:
            _refuse_unfitted(model, type(model).__name__)
            n = 0  # the first step is not one of ours, and will be refused by its name
        given = options.feature_names
        if own is not None:
            names = tuple(str(name) for name in own)
            if given is not None and tuple(str(name) for name in given) != names:
                raise ArgumentError(
                    f"The {type(model).__name__} was fitted on columns named {shown(names)}; feature_names gives "
                    f"{shown(given)}. Leave feature_names out, and rename with network.with_names(...) afterwards."
                )
            return _Columns(names, fitted=True, named=True)
        features = Features.plain(int(n), given)  # says what is wrong with the names
        return _Columns(features.columns, fitted=False, named=features.named)

    def as_fitted(self, table: Any) -> Any:
        """Return a table in the form the estimator was fitted on: named columns or none."""
        if self.fitted and isinstance(table, np.ndarray):
            import pandas as pd

            return pd.DataFrame(table, columns=list(self.names))
        if not self.fitted and hasattr(table, "columns"):
            return np.asarray(table)
        return table


def _found(model: Any, attribute: str) -> Iterator[Any]:
    """Yield an attribute of the first step that the table enters."""
    for inner in _entered(model):
        if inner is model:
            value = getattr(inner, attribute, None)
            if value is not None:
                yield value
        else:
            yield from _found(inner, attribute)


def _entered(model: Any) -> Iterator[Any]:
    """Yield the estimators that the whole table enters, from the outside in."""
    kind = _sklearn_class(type(model))
    if kind == "Pipeline":
        for _, step in model.steps:
            if not _passes(step):
                yield step
                return
    elif kind == "FeatureUnion":
        for _, step in model.transformer_list:
            if not isinstance(step, str):
                yield step
    else:
        if kind is not None:
            yield model
        for attribute in ("best_estimator_", "regressor_", "estimator_", "estimator"):
            inner = getattr(model, attribute, None)
            if inner is not None and _sklearn_class(type(inner)) is not None:
                yield inner


# -------------------------------------------------------------------------------------------- symbolic columns


@dataclass(frozen=True)
class _Raw:
    """Column `column` of the user's table, with `impute` in place of missing values (None: they stay)."""

    column: int
    impute: Level | None = None


@dataclass(frozen=True)
class _Affine:
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

    argument: _Affine
    low: float
    high: float
    depth: int


_Cell: TypeAlias = "_Raw | _Affine"


@dataclass(frozen=True, eq=False)
class _First:
    """What preprocessing lowers to: layers, then ``matrix @ values + offset`` enters the perceptron."""

    layers: tuple[Layer, ...]
    features: Features
    matrix: Any
    offset: Floats
    units: tuple[int, ...] | None  # per input of the perceptron the one value that it is; None if it is a combination


@dataclass(eq=False)
class _Front:
    """What has been learnt about the preprocessing so far; grows as the steps are followed."""

    columns: _Columns
    atoms: list[Feature | _Clip] = field(default_factory=list)
    operators: dict[str, int] = field(default_factory=dict)
    spread: dict[int, tuple[float, float]] = field(default_factory=dict)  # column: centre and spread of its values
    seen: dict[int, list[Level]] = field(default_factory=dict)  # column: levels that an encoder knows
    accepted: list[tuple[_Raw, tuple[Level, ...] | None]] = field(default_factory=list)  # None: any level
    holes: dict[int, Any] = field(default_factory=dict)  # column: how a missing value is written
    _index: dict[Any, int] = field(default_factory=dict)

    def atom(self, item: Feature) -> int:
        """Return the index of a feature, made on first use."""
        key = (item.column, item.kind, tuple(map(repr, item.levels)), repr(item.impute))
        if key not in self._index:
            self._index[key] = len(self.atoms)
            self.atoms.append(item)
        return self._index[key]

    def affine(self, cell: _Cell) -> _Affine:
        """Return a cell as a number."""
        if isinstance(cell, _Affine):
            return cell
        name = self.columns.names[cell.column]
        atom = self.atom(Feature(name, name, impute=cell.impute))
        return _Affine({atom: 1.0}, 0.0, cell.column if cell.impute is None else None)

    def missing(self, cell: _Cell) -> _Affine:
        """Return 1 where a cell has no value."""
        gap = (cell.column if cell.impute is None else None) if isinstance(cell, _Raw) else cell.gap
        if gap is None:
            return _Affine({})
        if isinstance(cell, _Affine) and cell.is_void:
            return _Affine({}, 1.0)
        name = self.columns.names[gap]
        return _Affine({self.atom(Feature(f"{name} missing", name, "missing")): 1.0})

    def clip(self, cell: _Affine, low: float, high: float) -> _Affine:
        """Return a cell held between two bounds."""
        depth = 1 + max((self._depth(a) for a in cell.terms), default=0)
        self.atoms.append(_Clip(cell, low, high, depth))
        return _Affine({len(self.atoms) - 1: 1.0}, 0.0, None if cell.gap is None else -1)

    def _depth(self, atom: int) -> int:
        item = self.atoms[atom]
        return item.depth if isinstance(item, _Clip) else 0

    def located(self, cell: _Cell, centre: float, spread: float) -> None:
        """Remember where the values of a column lie, if a scaler says so of it or of a multiple of it."""
        if not (np.isfinite(centre) and np.isfinite(spread) and spread > 0):
            return
        if isinstance(cell, _Raw):
            self.spread[cell.column] = (float(centre), float(spread))
        elif len(cell.terms) == 1 and not cell.is_void:
            [(atom, slope)] = cell.terms.items()
            item = self.atoms[atom]
            if isinstance(item, Feature) and item.kind == "value" and slope != 0:
                column = self.columns.names.index(item.column)
                self.spread.setdefault(column, (float((centre - cell.offset) / slope), float(abs(spread / slope))))

    # ---- lowering

    def lowered(self, cells: Sequence[_Cell]) -> _First:
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
        matrix, offset = _matrix(ends, current)
        single = all(len(e.terms) == 1 and e.offset == 0 and set(e.terms.values()) == {1.0} for e in ends)
        at = {a: j for j, a in enumerate(current)}
        units = tuple(at[next(iter(e.terms))] for e in ends) if single else None
        if units is not None and len(set(units)) < len(units):
            units = None
        return _First(tuple(layers), self._features(items), matrix, offset, units)

    def _used(self, ends: Sequence[_Affine]) -> list[int]:
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
        common = [v for v in strict[0] if not _is_nan(v) and all(_has(levels, v) for levels in strict)]
        filled = [np.nan if raw.impute is None else raw.impute for raw, levels in uses if levels is not None]
        takes_gaps = all(_has(levels, v) for levels, v in zip(strict, filled, strict=True))
        return (*common, np.nan) if takes_gaps else tuple(common)

    def _clip_layer(self, current: Sequence[int], carried: Sequence[int], clips: Sequence[int]) -> Layer:
        items = [cast(_Clip, self.atoms[a]) for a in clips]
        matrix, offset = _matrix([*(_Affine({a: 1.0}) for a in carried), *(c.argument for c in items)], current)
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
        levels = [v for v in self.seen.get(column, ()) if not _is_nan(v)]
        known = self._known(self.columns.names[column])
        if levels:
            if known is not None:
                levels = [v for v in levels if _has(known, v)]
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
        expected = any(f.impute is not None or f.kind == "missing" or _has(f.levels, np.nan) for f in items)
        if known is not None:
            refused, expected = refused or not _has(known, np.nan), True
        if expected and not refused:
            gaps = rng.random(len(rows)) < 0.15
            cells[gaps] = self.holes.get(column, np.nan) if cells.dtype == object else np.nan
        return cells


def _matrix(rows: Sequence[_Affine], columns: Sequence[int]) -> tuple[Any, Floats]:
    """Return the terms of the rows as a sparse matrix over the atoms `columns`, and their offsets."""
    from scipy.sparse import csr_array

    at = {a: j for j, a in enumerate(columns)}
    data = np.array([v for row in rows for v in row.terms.values()], dtype=np.float64)
    indices = np.array([at[a] for row in rows for a in row.terms], dtype=np.int32)
    indptr = np.concatenate([[0], np.cumsum([len(row.terms) for row in rows])]).astype(np.int32)
    matrix = csr_array((data, indices, indptr), shape=(len(rows), len(columns)))
    matrix.sort_indices()
    return matrix, np.array([row.offset for row in rows], dtype=np.float64)


def _shifted(cell: _Affine, by: float) -> _Affine:
    return replace(cell, offset=float(cell.offset + by))


def _times(cell: _Affine, by: float) -> _Affine:
    return replace(cell, terms={a: float(v * by) for a, v in cell.terms.items()}, offset=float(cell.offset * by))


def _divided(cell: _Affine, by: float) -> _Affine:
    return replace(cell, terms={a: float(v / by) for a, v in cell.terms.items()}, offset=float(cell.offset / by))


def _has(levels: Sequence[Level], value: Any) -> bool:
    return any(_is_nan(v) if _is_nan(value) else _equal(v, value) for v in levels)


def _equal(a: Any, b: Any) -> bool:
    return isinstance(a, str) == isinstance(b, str) and bool(a == b)


def _is_nan(value: Any) -> bool:
    """Return whether a value stands for a missing one: None, NaN, NA."""
    if value is None or type(value).__name__ == "NAType":
        return True
    return isinstance(value, float | np.floating) and bool(value != value)


def _scalar(value: Any) -> Any:
    """Return a numpy scalar as the Python scalar that it holds."""
    return value.item() if isinstance(value, np.generic) else value


def _never_seen(levels: Sequence[Level]) -> Level:
    if all(isinstance(v, str) for v in levels):
        return "(never seen)" + "".join(str(v)[:1] for v in levels[:8])
    return 1 + 2 * max(abs(float(v)) for v in levels if not isinstance(v, str))


# -------------------------------------------------------------------------------------------- steps, one by one

_Follow: TypeAlias = "Callable[[Any, list[_Cell], _Front, str], list[_Cell]]"


def _follow(step: Any, cells: list[_Cell], front: _Front, where: str) -> list[_Cell]:
    """Return what a fitted transformer makes of symbolic columns."""
    if _passes(step):
        return cells
    kind = _sklearn_class(type(step)) or type(step).__name__
    where = f"{where}: {type(step).__name__}"
    follow = _STEPS.get(kind)
    if follow is None and _is_selector(type(step)):
        follow = _selector
    if follow is None:
        raise UnsupportedModelError(
            f"{where} is not known to be affine and cannot be folded into the network. {_SUPPORTED} Apply this step to "
            "the table beforehand and pass the rest of the pipeline, or leave it out."
        )
    _refuse_unfitted(step, where)
    n = getattr(step, "n_features_in_", None)
    if n is not None and n != len(cells):
        raise ModelError(
            f"{where} was fitted on {n} columns, but {len(cells)} reach it. Fit the whole pipeline at once."
        )
    if kind not in ("Pipeline", "FunctionTransformer"):
        front.operators[kind] = front.operators.get(kind, 0) + 1
    return follow(step, cells, front, where)


def _pipeline(step: Any, cells: list[_Cell], front: _Front, where: str) -> list[_Cell]:
    for i, (name, inner) in enumerate(step.steps):
        cells = _follow(inner, cells, front, f"{where} step {i} {name!r}")
    return cells


def _column_transformer(step: Any, cells: list[_Cell], front: _Front, where: str) -> list[_Cell]:
    weights = step.transformer_weights or {}
    out: list[_Cell] = []
    for name, inner, _ in step.transformers_:
        index = step._transformer_to_input_indices[name]
        if len(index) == 0 or (isinstance(inner, str) and inner == "drop"):
            continue
        part = _follow(inner, [cells[i] for i in index], front, f"{where} {name!r}")
        out += _weighted(part, weights.get(name), front)
    return out


def _feature_union(step: Any, cells: list[_Cell], front: _Front, where: str) -> list[_Cell]:
    weights = step.transformer_weights or {}
    out: list[_Cell] = []
    for name, inner in step.transformer_list:
        if not (isinstance(inner, str) and inner == "drop"):
            part = _follow(inner, list(cells), front, f"{where} {name!r}")
            out += _weighted(part, weights.get(name), front)
    return out


def _weighted(cells: list[_Cell], weight: float | None, front: _Front) -> list[_Cell]:
    return cells if weight is None else [_times(front.affine(cell), weight) for cell in cells]


def _function(step: Any, cells: list[_Cell], front: _Front, where: str) -> list[_Cell]:
    if step.func is not None:
        raise UnsupportedModelError(
            f"{where} applies the function {clipped(_name_of(step.func))}, which could be anything; only func=None "
            "(the identity) can be folded. Apply the function to the table beforehand."
        )
    return cells


def _standard(step: Any, cells: list[_Cell], front: _Front, where: str) -> list[_Cell]:
    if step.mean_ is not None:
        for j, cell in enumerate(cells):
            front.located(cell, step.mean_[j], 1.0 if step.scale_ is None else step.scale_[j])
    return _centred(cells, step.mean_ if step.with_mean else None, step.scale_ if step.with_std else None, front)


def _robust(step: Any, cells: list[_Cell], front: _Front, where: str) -> list[_Cell]:
    centre, scale = step.center_ if step.with_centering else None, step.scale_ if step.with_scaling else None
    if centre is not None:
        for j, cell in enumerate(cells):
            front.located(cell, centre[j], 1.0 if scale is None else scale[j])
    return _centred(cells, centre, scale, front)


def _centred(cells: list[_Cell], centre: Any, scale: Any, front: _Front) -> list[_Cell]:
    centre = np.zeros(len(cells)) if centre is None else centre
    scale = np.ones(len(cells)) if scale is None else scale
    out: list[_Cell] = []
    for cell, c, s in zip(cells, centre, scale, strict=True):
        out.append(_divided(_shifted(front.affine(cell), -c), s))
    return out


def _min_max(step: Any, cells: list[_Cell], front: _Front, where: str) -> list[_Cell]:
    low, high = step.feature_range
    out: list[_Cell] = []
    for j, cell in enumerate(cells):
        width = step.data_max_[j] - step.data_min_[j]
        front.located(cell, step.data_min_[j] + width / 2, width / 2)
        scaled = _shifted(_times(front.affine(cell), step.scale_[j]), step.min_[j])
        out.append(front.clip(scaled, low, high) if step.clip else scaled)
    return out


def _max_abs(step: Any, cells: list[_Cell], front: _Front, where: str) -> list[_Cell]:
    out: list[_Cell] = []
    for cell, scale in zip(cells, step.scale_, strict=True):
        front.located(cell, 0.0, scale / 2)
        scaled = _divided(front.affine(cell), scale)
        out.append(front.clip(scaled, -1.0, 1.0) if getattr(step, "clip", False) else scaled)
    return out


def _selector(step: Any, cells: list[_Cell], front: _Front, where: str) -> list[_Cell]:
    return [cells[i] for i in np.flatnonzero(step.get_support())]


def _pca(step: Any, cells: list[_Cell], front: _Front, where: str) -> list[_Cell]:
    weight = np.asarray(step.components_, dtype=np.float64)
    spread = np.sqrt(step.explained_variance_ @ weight**2)
    for j, cell in enumerate(cells if step.mean_ is not None else ()):
        front.located(cell, step.mean_[j], spread[j])
    bias = np.zeros(len(weight)) if step.mean_ is None else -(weight @ step.mean_)
    if step.whiten:
        scale = np.sqrt(step.explained_variance_)
        scale = np.maximum(scale, np.finfo(scale.dtype).eps)
        weight, bias = weight / scale[:, None], bias / scale
    return _mixed(weight, bias, cells, front)


def _svd(step: Any, cells: list[_Cell], front: _Front, where: str) -> list[_Cell]:
    return _mixed(step.components_, np.zeros(len(step.components_)), cells, front)


def _mixed(weight: Any, bias: Any, cells: list[_Cell], front: _Front) -> list[_Cell]:
    """Return ``weight @ cells + bias``."""
    parts = [front.affine(cell) for cell in cells]
    atoms = sorted({a for part in parts for a in part.terms})
    matrix, offset = _matrix(parts, atoms)
    mixed = np.asarray(weight @ matrix)
    moved = weight @ offset + bias
    return [
        _Affine({a: float(v) for a, v in zip(atoms, row, strict=True) if v != 0}, float(b))
        for row, b in zip(mixed, moved, strict=True)
    ]


def _imputer(step: Any, cells: list[_Cell], front: _Front, where: str) -> list[_Cell]:
    if not _is_nan(step.missing_values):
        raise UnsupportedModelError(
            f"{where} fills cells that hold {clipped(step.missing_values)}; only missing values (NaN, None) can be "
            "filled. Recode these cells as missing in the table, and fit with missing_values=np.nan."
        )
    statistics = step.statistics_
    kind = getattr(step, "_fill_dtype", None)
    keep = [step.keep_empty_features or not _is_nan(v) for v in statistics]
    out: list[_Cell] = []
    for cell, value, kept in zip(cells, statistics, keep, strict=True):
        if isinstance(cell, _Raw):
            front.holes.setdefault(cell.column, step.missing_values)
        if kept:
            fill = _scalar(np.asarray(value).astype(kind)[()] if kind is not None else value)
            out.append(_filled(cell, fill, front, where))
    if step.add_indicator:
        out += [front.missing(cells[j]) for j in step.indicator_.features_]
    return out


def _filled(cell: _Cell, value: Level, front: _Front, where: str) -> _Cell:
    """Return a cell with a value, in the cell's own units, in place of missing ones."""
    if isinstance(cell, _Raw):
        if cell.impute is not None:
            return cell
        if isinstance(value, float | int) and cell.column not in front.spread:
            front.spread[cell.column] = (float(value), max(1.0, abs(float(value)) / 4))
        return replace(cell, impute=value)
    if cell.gap is None:
        return cell
    if cell.is_void:
        return _Affine({}, float(value))
    [(atom, slope)] = cell.terms.items() if len(cell.terms) == 1 else [(-1, 0.0)]
    if cell.gap < 0 or slope == 0:
        raise UnsupportedModelError(
            f"{where} fills missing values after a step (a scaler that clips, an encoder) that they cannot be followed "
            "through. Put the imputer first."
        )
    item = cast(Feature, front.atoms[atom])
    filled = front.atom(replace(item, impute=(float(value) - cell.offset) / slope))
    return _Affine({filled: slope}, cell.offset)


def _indicator(step: Any, cells: list[_Cell], front: _Front, where: str) -> list[_Cell]:
    if not _is_nan(step.missing_values):
        raise UnsupportedModelError(f"{where} marks cells that hold {clipped(step.missing_values)}, not missing ones.")
    return [front.missing(cells[j]) for j in step.features_]


@dataclass(frozen=True)
class _Levels:
    """What an encoder knows of one column: frequent levels, pooled rare ones, and what it does with others."""

    frequent: tuple[Level, ...]
    rare: tuple[Level, ...]
    refuses: bool
    pools: bool

    @staticmethod
    def of(step: Any, j: int, where: str) -> _Levels:
        categories = [_scalar(v) for v in step.categories_[j]]
        empty = sum(_is_nan(v) for v in categories)
        levels_at_all = step.categories_[j].dtype.kind in "OUfiub"  # a date can pass for a whole number
        strange = [v for v in categories if not (_is_nan(v) or (levels_at_all and isinstance(v, str | int | float)))]
        if empty > 1 or strange:
            why = (
                f"None and NaN as two levels in column {j}"
                if empty > 1
                else (f"the level {clipped(strange[0])} ({step.categories_[j].dtype})")
            )
            raise UnsupportedModelError(
                f"{where} has {why}; levels must be text, numbers or booleans, and one of them at most missing. Recode "
                "the column."
            )
        pooled = getattr(step, "infrequent_categories_", None)
        rare = [] if pooled is None or pooled[j] is None else [_scalar(v) for v in pooled[j]]
        levels: list[Level] = [np.nan if _is_nan(v) else v for v in categories]
        return _Levels(
            tuple(v for v in levels if not _has(rare, v)),
            tuple(v for v in levels if _has(rare, v)),
            refuses=step.handle_unknown == "error",
            pools=bool(rare) and step.handle_unknown in ("infrequent_if_exist", "warn"),
        )

    @property
    def all(self) -> tuple[Level, ...]:
        return (*self.frequent, *self.rare)


def _encoded_column(cell: _Cell, where: str) -> _Raw:
    if isinstance(cell, _Affine):
        raise UnsupportedModelError(
            f"{where} encodes a column that another step has computed. Encode the table's own columns (an imputer may "
            "come first)."
        )
    return cell


def _level(front: _Front, raw: _Raw, levels: tuple[Level, ...], rest_of: tuple[Level, ...] | None = None) -> _Affine:
    """Return 1 where a column has one of `levels`, or, given `rest_of`, none of these."""
    name = front.columns.names[raw.column]
    if rest_of is not None:
        item = Feature(f"{name}=other", name, "other", rest_of, raw.impute)
    else:
        text = ["missing" if _is_nan(v) else str(v) for v in levels]
        label = " or ".join(text) if len(text) < 4 else f"{text[0]} or {len(text) - 1} others"
        item = Feature(f"{name}={label}", name, "level", levels, raw.impute)
    return _Affine({front.atom(item): 1.0})


def _remember(front: _Front, raw: _Raw, levels: _Levels, categories: Sequence[Any]) -> None:
    front.accepted.append((raw, levels.all if levels.refuses else None))
    here = front.seen.setdefault(raw.column, [])
    here += [v for v in levels.all if not _has(here, v)]
    empty = [v for v in categories if _is_nan(v)]
    if empty:
        front.holes[raw.column] = empty[0]


def _one_hot(step: Any, cells: list[_Cell], front: _Front, where: str) -> list[_Cell]:
    out: list[_Cell] = []
    for j, cell in enumerate(cells):
        raw = _encoded_column(cell, where)
        levels = _Levels.of(step, j, where)
        _remember(front, raw, levels, step.categories_[j])
        dropped = step.drop_idx_[j] if step.drop_idx_ is not None else None
        gone: Any = None if dropped is None else _scalar(step.categories_[j][dropped])
        out += [_level(front, raw, (v,)) for v in levels.frequent if dropped is None or not _has((gone,), v)]
        if levels.rare and (dropped is None or not _has(levels.rare, gone)):
            out.append(_level(front, raw, levels.rare, levels.frequent if levels.pools else None))
    return out


def _ordinal(step: Any, cells: list[_Cell], front: _Front, where: str) -> list[_Cell]:
    out: list[_Cell] = []
    for j, cell in enumerate(cells):
        raw = _encoded_column(cell, where)
        levels = _Levels.of(step, j, where)
        code = {k: float(k) for k in range(len(levels.frequent))}
        gaps = [k for k, v in enumerate(levels.frequent) if _is_nan(v) and not _is_none(step.categories_[j])]
        for k in gaps:
            code[k] = float(step.encoded_missing_value)
        unknown = float(step.unknown_value) if step.handle_unknown == "use_encoded_value" else None
        leaves_gap = any(np.isnan(c) for c in code.values())
        kept = [(v, code[k]) for k, v in enumerate(levels.frequent) if not np.isnan(code[k])]
        refuses = unknown is None or np.isnan(unknown)
        accepted = replace(levels, frequent=tuple(v for v, _ in kept), refuses=refuses or leaves_gap)
        _remember(front, raw, accepted, step.categories_[j])
        base = 0.0 if unknown is None or np.isnan(unknown) else unknown
        terms: dict[int, float] = {}
        n_codes = len(levels.frequent) - len(gaps)
        for v, c in [*(((v,), c) for v, c in kept), *([(levels.rare, float(n_codes))] if levels.rare else [])]:
            terms.update({a: c - base for a in _level(front, raw, v).terms})
        out.append(_Affine(terms, base, -1 if leaves_gap or (unknown is not None and np.isnan(unknown)) else None))
    return out


def _is_none(categories: Sequence[Any]) -> bool:
    return any(v is None for v in categories)


_STEPS: dict[str, _Follow] = {
    "Pipeline": _pipeline,
    "ColumnTransformer": _column_transformer,
    "FeatureUnion": _feature_union,
    "FunctionTransformer": _function,
    "StandardScaler": _standard,
    "RobustScaler": _robust,
    "MinMaxScaler": _min_max,
    "MaxAbsScaler": _max_abs,
    "SimpleImputer": _imputer,
    "MissingIndicator": _indicator,
    "OneHotEncoder": _one_hot,
    "OrdinalEncoder": _ordinal,
    "PCA": _pca,
    "TruncatedSVD": _svd,
}
_SUPPORTED = f"Supported steps: {', '.join(_STEPS)}, and feature selectors."


def _sklearn_class(kind: type) -> str | None:
    """Return the name of the nearest class of scikit-learn that a class is or derives from."""
    for cls in kind.__mro__:
        if cls.__module__.partition(".")[0] == "sklearn" and not cls.__name__.startswith("_"):
            return cls.__name__
    return None


def _is_selector(kind: type) -> bool:
    from sklearn.feature_selection import SelectorMixin

    return issubclass(kind, SelectorMixin)


def _passes(step: Any) -> bool:
    return step is None or (isinstance(step, str) and step == "passthrough")


def _name_of(function: Any) -> str:
    return getattr(function, "__name__", None) or repr(function)


def _refuse_unfitted(step: Any, where: str) -> None:
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(step)
    except NotFittedError:
        raise ModelError(f"{where} is not fitted: it holds no weights yet. Call fit(X, y) before loading it.") from None
    except TypeError:
        raise UnsupportedModelError(f"{where} is not an estimator. {_SUPPORTED}") from None


# -------------------------------------------------------------------------------------------- the perceptron


@dataclass(frozen=True, eq=False)
class _Head:
    """The perceptron, what enters it, and the scaling of its target: ``y = output * scale + shift``."""

    mlp: Any
    cells: list[_Cell]
    scale: Any = 1.0
    shift: Any = 0.0
    notes: tuple[str, ...] = ()


_SEARCHES = ("GridSearchCV", "RandomizedSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV")
_WRAPPERS = {
    "FrozenEstimator": "estimator",
    "FixedThresholdClassifier": "estimator_",
    "TunedThresholdClassifierCV": "estimator_",
}


def _inner(model: Any, where: str) -> Any:
    """Return the estimator that a search or a wrapper hands its table to; None if `model` is neither."""
    kind = _sklearn_class(type(model))
    if kind in _SEARCHES:
        if not model.refit:
            raise ModelError(
                f"{where} was fitted with refit=False, so that it holds no best estimator. Fit with refit=True."
            )
        _refuse_unfitted(model, where)
        return model.best_estimator_
    if kind in _WRAPPERS:
        _refuse_unfitted(model, where)
        return getattr(model, _WRAPPERS[kind], model.estimator)
    return None


def _head(model: Any, cells: list[_Cell], front: _Front, where: str) -> _Head:
    """Return the perceptron at the end of an estimator, and what reaches it."""
    kind = _sklearn_class(type(model))
    inner = _inner(model, where)
    if inner is not None:
        head = _head(inner, cells, front, f"{where} > {type(inner).__name__}")
        note = {
            "FrozenEstimator": "FrozenEstimator: the estimator inside was read",
            "FixedThresholdClassifier": "FixedThresholdClassifier: its threshold is not part of the network",
            "TunedThresholdClassifierCV": "TunedThresholdClassifierCV: its threshold is not part of the network",
        }.get(kind or "", f"{kind}: best_estimator_ was read")
        return replace(head, notes=(note, *head.notes))
    if kind == "Pipeline":
        for i, (name, step) in enumerate(model.steps[:-1]):
            cells = _follow(step, cells, front, f"{where} step {i} {name!r}")
        name, last = model.steps[-1]
        if _passes(last):
            raise UnsupportedModelError(
                f"{where} ends in {last!r}; expected MLPClassifier or MLPRegressor as the last step."
            )
        return _head(last, cells, front, f"{where} step {len(model.steps) - 1} {name!r}: {type(last).__name__}")
    if kind == "TransformedTargetRegressor":
        return _transformed_target(model, cells, front, where)
    if kind in ("MLPClassifier", "MLPRegressor"):
        return _perceptron(model, cells, front, where)
    hint = {
        "CalibratedClassifierCV": " Calibration bends the probabilities; pass the classifier inside it.",
    }.get(kind or "", "")
    raise UnsupportedModelError(
        f"{where} is not a ReLU network; expected MLPClassifier or MLPRegressor, alone or as the last step of a "
        f"Pipeline, in a TransformedTargetRegressor, or in a search.{hint}"
    )


def _perceptron(model: Any, cells: list[_Cell], front: _Front, where: str) -> _Head:
    if not hasattr(model, "coefs_"):
        raise ModelError(f"{where} is not fitted: it holds no weights yet. Call fit(X, y) before loading it.")
    n_hidden = len(model.coefs_) - 1
    if model.activation not in ("relu", "identity") and n_hidden:
        raise UnsupportedModelError(
            f"{where} has {n_hidden} hidden layers (widths {shown([len(b) for b in model.intercepts_[:-1]], 10)}) with "
            f"activation={model.activation!r}, which is not piecewise linear; expected 'relu' or 'identity'. Train it "
            "with activation='relu'."
        )
    if len(cells) != model.coefs_[0].shape[0]:
        raise ModelError(
            f"{where} was fitted on {model.coefs_[0].shape[0]} columns, but {len(cells)} reach it. Fit the whole "
            "pipeline at once."
        )
    kind = _sklearn_class(type(model)) or type(model).__name__
    front.operators[kind] = 1
    return _Head(model, cells)


def _transformed_target(model: Any, cells: list[_Cell], front: _Front, where: str) -> _Head:
    if not hasattr(model, "regressor_"):
        raise ModelError(f"{where} is not fitted: it holds no weights yet. Call fit(X, y) before loading it.")
    inner = model.regressor_
    head = _head(inner, cells, front, f"{where}: regressor {type(inner).__name__}")
    scale, shift = _inverse(model.transformer_, where)
    if np.ndim(scale) == 0 and scale == 1 and np.ndim(shift) == 0 and shift == 0:
        return head
    if _link(head.mlp) != "identity":
        raise UnsupportedModelError(
            f"{where} scales a target that the regressor models through a log link. Pass the regressor inside it "
            "(model.regressor_)."
        )
    note = f"the target's {type(model.transformer_).__name__} is folded into the output layer"
    return replace(head, scale=head.scale * scale, shift=head.shift * scale + shift, notes=(*head.notes, note))


def _inverse(step: Any, where: str) -> tuple[Any, Any]:
    """Return (scale, shift) with which a target transformer is undone: ``y = v * scale + shift``."""
    kind = _sklearn_class(type(step)) or type(step).__name__
    if _passes(step):
        return 1.0, 0.0
    if kind == "Pipeline":
        scale: Any = 1.0
        shift: Any = 0.0
        for _, inner in reversed(step.steps):
            a, b = _inverse(inner, where)
            scale, shift = scale * a, shift * a + b
        return scale, shift
    if kind == "FunctionTransformer":
        if step.func is None and step.inverse_func is None:
            return 1.0, 0.0
        function = step.func if step.func is not None else step.inverse_func
        raise UnsupportedModelError(
            f"{where} transforms the target with {clipped(_name_of(function))}, so that its output is not piecewise "
            "linear (nor is log1p with expm1 a log link). Pass the regressor inside it (model.regressor_), whose "
            "output is the transformed target."
        )
    if kind == "StandardScaler":
        return step.scale_ if step.with_std else 1.0, step.mean_ if step.with_mean else 0.0
    if kind == "RobustScaler":
        return step.scale_ if step.with_scaling else 1.0, step.center_ if step.with_centering else 0.0
    if kind == "MaxAbsScaler":
        return step.scale_, 0.0
    if kind == "MinMaxScaler":
        return 1.0 / step.scale_, -step.min_ / step.scale_
    raise UnsupportedModelError(
        f"{where} transforms the target with {type(step).__name__}, which is not linear; expected StandardScaler, "
        "MinMaxScaler, MaxAbsScaler or RobustScaler. Pass the regressor inside it (model.regressor_)."
    )


def _layers(head: _Head, first: _First) -> Iterator[Layer]:
    """Yield the perceptron's layers: the first in the user's units, the last in the target's."""
    last = len(head.mlp.coefs_) - 1
    for i, (coef, intercept) in enumerate(zip(head.mlp.coefs_, head.mlp.intercepts_, strict=True)):
        weight, bias = np.asarray(coef, dtype=np.float64).T, np.asarray(intercept, dtype=np.float64)
        if i == 0:
            weight, bias = _folded(weight, bias, first)
        if i == last:
            scale = np.broadcast_to(np.asarray(head.scale, dtype=np.float64), bias.shape)
            weight, bias = weight * scale[:, None], bias * scale + head.shift
        kind = "identity" if i == last else head.mlp.activation
        yield Layer(weight, bias, Activation.of_kind(kind, len(bias)), name=f"coefs_[{i}]")


def _folded(weight: Floats, bias: Floats, first: _First) -> tuple[Floats, Floats]:
    if first.units is not None:
        moved = np.zeros((len(weight), first.matrix.shape[1]))
        moved[:, first.units] = weight
        return moved, bias
    return np.asarray(weight @ first.matrix), bias + weight @ first.offset


def _link(mlp: Any) -> Link:
    link = {"identity": "identity", "logistic": "logit", "softmax": "softmax", "exp": "log"}.get(mlp.out_activation_)
    if link is None:
        raise UnsupportedModelError(
            f"{type(mlp).__name__} has the output activation {mlp.out_activation_!r}; expected identity, logistic, "
            "softmax or exp."
        )
    return cast(Link, link)


def _is_multilabel(mlp: Any) -> bool:
    return bool(mlp.out_activation_ == "logistic" and mlp.n_outputs_ > 1)


def _classes(mlp: Any) -> tuple[Any, ...]:
    classes = tuple(_scalar(c) for c in getattr(mlp, "classes_", ()))
    # the labels of a multilabel classifier are no classes of one question; one class alone has no opposite
    return classes if len(classes) == max(mlp.n_outputs_, 2) and not _is_multilabel(mlp) else ()


def _outputs(mlp: Any) -> tuple[str, ...]:
    return tuple(f"label {_scalar(c)}" for c in mlp.classes_) if _is_multilabel(mlp) else ()


def _notes(mlp: Any, features: Features, columns: _Columns) -> Iterator[str]:
    classes = [_scalar(c) for c in getattr(mlp, "classes_", ())]
    if mlp.out_activation_ == "softmax":
        yield "softmax removed: decisions are one score per class"
    elif _is_multilabel(mlp):
        yield "sigmoid removed: decisions are one logit per label"
    elif mlp.out_activation_ == "logistic" and len(classes) == 2:
        yield f"sigmoid removed: the decision is the logit of class {clipped(classes[1])}"
    elif mlp.out_activation_ == "exp":
        yield "exponential removed: the decision is the logarithm of the prediction"
    unused = [name for name in columns.names if name not in {f.column for f in features.items}]
    if unused:
        yield f"columns that the model never uses: {shown(unused)}"


# -------------------------------------------------------------------------------------------- the live estimator


@dataclass(frozen=True, eq=False)
class _Live:
    """The user's estimator, asked but never changed."""

    model: Any
    mlp: Any
    columns: _Columns

    def prediction(self, table: Any) -> Floats:
        """Return its own output: probabilities (of the positive class if there are two) or predictions."""
        with _asking(self.model):
            table = self.columns.as_fitted(table)
            if self.mlp.out_activation_ not in ("logistic", "softmax"):
                return _two_dimensional(self.model.predict(table))
            p = _two_dimensional(self.model.predict_proba(table))
        return p[:, 1:] if self.mlp.n_outputs_ == 1 else p

    def decision(self, table: Any) -> Floats:
        """Return its output before the link."""
        if self.mlp.out_activation_ == "identity":
            return self.prediction(table)
        return _two_dimensional(self._raw(table))

    def _raw(self, table: Any) -> Any:
        # a copy: the user's perceptron keeps its own output activation
        bare = copy.copy(self.mlp)
        bare.out_activation_ = "identity"
        with _asking(self.model):
            return bare._forward_pass_fast(self._entering(table))

    def _entering(self, table: Any) -> Any:
        """Return what reaches the perceptron."""
        x, model = self.columns.as_fitted(table), self.model
        while model is not self.mlp:
            if _sklearn_class(type(model)) == "Pipeline":
                for _, step in model.steps[:-1]:
                    x = x if _passes(step) else step.transform(x)
                model = model.steps[-1][1]
            elif _sklearn_class(type(model)) == "TransformedTargetRegressor":
                model = model.regressor_
            else:
                model = _inner(model, type(model).__name__)
        return x

    def tolerance(self, table: Any, head: _Head, first: _First) -> float:
        """Return what rounding may do: 1e-9, or more where large terms cancel or scikit-learn works in float32."""
        with _asking(self.model):
            entering = self._entering(table)
        raw = self._raw(table)
        eps = float(np.finfo(raw.dtype).eps) if raw.dtype.kind == "f" else float(np.finfo(float).eps)
        size = np.abs(entering.toarray() if hasattr(entering, "toarray") else np.asarray(entering, dtype=np.float64))
        size = size + 2 * np.abs(first.offset)
        for coef, intercept in zip(self.mlp.coefs_, self.mlp.intercepts_, strict=True):
            size = size @ np.abs(coef) + np.abs(intercept)
        size = size * np.abs(head.scale) + np.abs(head.shift)
        return float(max(1e-9, 16 * eps * (size / (1 + np.abs(_two_dimensional(raw) * head.scale + head.shift))).max()))


@contextmanager
def _asking(model: Any) -> Iterator[None]:
    """Silence warnings (unknown levels are met on purpose) and say whose refusal a refusal is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except (TypeError, ValueError) as problem:
            raise ModelError(
                f"{type(model).__name__} refuses the rows on which the network was to be compared with it: {problem} "
                "The network was withheld. Fit the estimator on plain numbers, text and missing values."
            ) from problem


def _two_dimensional(values: Any) -> Floats:
    values = np.asarray(values, dtype=np.float64)
    return cast(Floats, values.reshape(len(values), -1))
