"""The steps of a pipeline, one by one: what each fitted transformer makes of symbolic columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, cast

import numpy as np

from relucidate.errors import ModelError, UnsupportedModelError, clipped
from relucidate.features import Feature, Level
from relucidate.frameworks.sklearn_columns import (
    Affine,
    Cell,
    Front,
    Raw,
    divided,
    has,
    is_nan,
    matrix_of,
    scalar,
    shifted,
    times,
)

_Follow: TypeAlias = "Callable[[Any, list[Cell], Front, str], list[Cell]]"


def followed(step: Any, cells: list[Cell], front: Front, where: str) -> list[Cell]:
    """Return what a fitted transformer makes of symbolic columns."""
    if passes(step):
        return cells
    kind = sklearn_class(type(step)) or type(step).__name__
    where = f"{where}: {type(step).__name__}"
    follow = _STEPS.get(kind)
    if follow is None and _is_selector(type(step)):
        follow = _selector
    if follow is None:
        raise UnsupportedModelError(
            f"{where} is not known to be affine and cannot be folded into the network. {_SUPPORTED} Apply this step to "
            "the table beforehand and pass the rest of the pipeline, or leave it out."
        )
    refuse_unfitted(step, where)
    n = getattr(step, "n_features_in_", None)
    if n is not None and n != len(cells):
        raise ModelError(
            f"{where} was fitted on {n} columns, but {len(cells)} reach it. Fit the whole pipeline at once."
        )
    if kind not in ("Pipeline", "FunctionTransformer"):
        front.operators[kind] = front.operators.get(kind, 0) + 1
    return follow(step, cells, front, where)


def _pipeline(step: Any, cells: list[Cell], front: Front, where: str) -> list[Cell]:
    for i, (name, inner) in enumerate(step.steps):
        cells = followed(inner, cells, front, f"{where} step {i} {name!r}")
    return cells


def _column_transformer(step: Any, cells: list[Cell], front: Front, where: str) -> list[Cell]:
    weights = step.transformer_weights or {}
    out: list[Cell] = []
    for name, inner, _ in step.transformers_:
        index = step._transformer_to_input_indices[name]
        if len(index) == 0 or (isinstance(inner, str) and inner == "drop"):
            continue
        part = followed(inner, [cells[i] for i in index], front, f"{where} {name!r}")
        out += _weighted(part, weights.get(name), front)
    return out


def _feature_union(step: Any, cells: list[Cell], front: Front, where: str) -> list[Cell]:
    weights = step.transformer_weights or {}
    out: list[Cell] = []
    for name, inner in step.transformer_list:
        if not (isinstance(inner, str) and inner == "drop"):
            part = followed(inner, list(cells), front, f"{where} {name!r}")
            out += _weighted(part, weights.get(name), front)
    return out


def _weighted(cells: list[Cell], weight: float | None, front: Front) -> list[Cell]:
    return cells if weight is None else [times(front.affine(cell), weight) for cell in cells]


def _function(step: Any, cells: list[Cell], front: Front, where: str) -> list[Cell]:
    if step.func is not None:
        raise UnsupportedModelError(
            f"{where} applies the function {clipped(name_of(step.func))}, which could be anything; only func=None "
            "(the identity) can be folded. Apply the function to the table beforehand."
        )
    return cells


def _standard(step: Any, cells: list[Cell], front: Front, where: str) -> list[Cell]:
    if step.mean_ is not None:
        for j, cell in enumerate(cells):
            front.located(cell, step.mean_[j], 1.0 if step.scale_ is None else step.scale_[j])
    return _centred(cells, step.mean_ if step.with_mean else None, step.scale_ if step.with_std else None, front)


def _robust(step: Any, cells: list[Cell], front: Front, where: str) -> list[Cell]:
    centre, scale = step.center_ if step.with_centering else None, step.scale_ if step.with_scaling else None
    if centre is not None:
        for j, cell in enumerate(cells):
            front.located(cell, centre[j], 1.0 if scale is None else scale[j])
    return _centred(cells, centre, scale, front)


def _centred(cells: list[Cell], centre: Any, scale: Any, front: Front) -> list[Cell]:
    centre = np.zeros(len(cells)) if centre is None else centre
    scale = np.ones(len(cells)) if scale is None else scale
    out: list[Cell] = []
    for cell, c, s in zip(cells, centre, scale, strict=True):
        out.append(divided(shifted(front.affine(cell), -c), s))
    return out


def _min_max(step: Any, cells: list[Cell], front: Front, where: str) -> list[Cell]:
    low, high = step.feature_range
    out: list[Cell] = []
    for j, cell in enumerate(cells):
        width = step.data_max_[j] - step.data_min_[j]
        front.located(cell, step.data_min_[j] + width / 2, width / 2)
        scaled = shifted(times(front.affine(cell), step.scale_[j]), step.min_[j])
        out.append(front.clip(scaled, low, high) if step.clip else scaled)
    return out


def _max_abs(step: Any, cells: list[Cell], front: Front, where: str) -> list[Cell]:
    out: list[Cell] = []
    for cell, scale in zip(cells, step.scale_, strict=True):
        front.located(cell, 0.0, scale / 2)
        scaled = divided(front.affine(cell), scale)
        out.append(front.clip(scaled, -1.0, 1.0) if getattr(step, "clip", False) else scaled)
    return out


def _selector(step: Any, cells: list[Cell], front: Front, where: str) -> list[Cell]:
    return [cells[i] for i in np.flatnonzero(step.get_support())]


def _pca(step: Any, cells: list[Cell], front: Front, where: str) -> list[Cell]:
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


def _svd(step: Any, cells: list[Cell], front: Front, where: str) -> list[Cell]:
    return _mixed(step.components_, np.zeros(len(step.components_)), cells, front)


def _mixed(weight: Any, bias: Any, cells: list[Cell], front: Front) -> list[Cell]:
    """Return ``weight @ cells + bias``."""
    parts = [front.affine(cell) for cell in cells]
    atoms = sorted({a for part in parts for a in part.terms})
    matrix, offset = matrix_of(parts, atoms)
    mixed = np.asarray(weight @ matrix)
    moved = weight @ offset + bias
    return [
        Affine({a: float(v) for a, v in zip(atoms, row, strict=True) if v != 0}, float(b))
        for row, b in zip(mixed, moved, strict=True)
    ]


def _imputer(step: Any, cells: list[Cell], front: Front, where: str) -> list[Cell]:
    if not is_nan(step.missing_values):
        raise UnsupportedModelError(
            f"{where} fills cells that hold {clipped(step.missing_values)}; only missing values (NaN, None) can be "
            "filled. Recode these cells as missing in the table, and fit with missing_values=np.nan."
        )
    statistics = step.statistics_
    kind = getattr(step, "_fill_dtype", None)
    keep = [step.keep_empty_features or not is_nan(v) for v in statistics]
    out: list[Cell] = []
    for cell, value, kept in zip(cells, statistics, keep, strict=True):
        if isinstance(cell, Raw):
            front.holes.setdefault(cell.column, step.missing_values)
        if kept:
            fill = scalar(np.asarray(value).astype(kind)[()] if kind is not None else value)
            out.append(_filled(cell, fill, front, where))
    if step.add_indicator:
        out += [front.missing(cells[j]) for j in step.indicator_.features_]
    return out


def _filled(cell: Cell, value: Level, front: Front, where: str) -> Cell:
    """Return a cell with a value, in the cell's own units, in place of missing ones."""
    if isinstance(cell, Raw):
        if cell.impute is not None:
            return cell
        if isinstance(value, float | int) and cell.column not in front.spread:
            front.spread[cell.column] = (float(value), max(1.0, abs(float(value)) / 4))
        return replace(cell, impute=value)
    if cell.gap is None:
        return cell
    if cell.is_void:
        return Affine({}, float(value))
    [(atom, slope)] = cell.terms.items() if len(cell.terms) == 1 else [(-1, 0.0)]
    if cell.gap < 0 or slope == 0:
        raise UnsupportedModelError(
            f"{where} fills missing values after a step (a scaler that clips, an encoder) that they cannot be followed "
            "through. Put the imputer first."
        )
    item = cast(Feature, front.atoms[atom])
    filled = front.atom(replace(item, impute=(float(value) - cell.offset) / slope))
    return Affine({filled: slope}, cell.offset)


def _indicator(step: Any, cells: list[Cell], front: Front, where: str) -> list[Cell]:
    if not is_nan(step.missing_values):
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
        categories = [scalar(v) for v in step.categories_[j]]
        empty = sum(is_nan(v) for v in categories)
        levels_at_all = step.categories_[j].dtype.kind in "OUfiub"  # a date can pass for a whole number
        strange = [v for v in categories if not (is_nan(v) or (levels_at_all and isinstance(v, str | int | float)))]
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
        rare = [] if pooled is None or pooled[j] is None else [scalar(v) for v in pooled[j]]
        levels: list[Level] = [np.nan if is_nan(v) else v for v in categories]
        return _Levels(
            tuple(v for v in levels if not has(rare, v)),
            tuple(v for v in levels if has(rare, v)),
            refuses=step.handle_unknown == "error",
            pools=bool(rare) and step.handle_unknown in ("infrequent_if_exist", "warn"),
        )

    @property
    def all(self) -> tuple[Level, ...]:
        return (*self.frequent, *self.rare)


def _encoded_column(cell: Cell, where: str) -> Raw:
    if isinstance(cell, Affine):
        raise UnsupportedModelError(
            f"{where} encodes a column that another step has computed. Encode the table's own columns (an imputer may "
            "come first)."
        )
    return cell


def _level(front: Front, raw: Raw, levels: tuple[Level, ...], rest_of: tuple[Level, ...] | None = None) -> Affine:
    """Return 1 where a column has one of `levels`, or, given `rest_of`, none of these."""
    name = front.columns.names[raw.column]
    if rest_of is not None:
        item = Feature(f"{name}=other", name, "other", rest_of, raw.impute)
    else:
        text = ["missing" if is_nan(v) else str(v) for v in levels]
        label = " or ".join(text) if len(text) < 4 else f"{text[0]} or {len(text) - 1} others"
        item = Feature(f"{name}={label}", name, "level", levels, raw.impute)
    return Affine({front.atom(item): 1.0})


def _remember(front: Front, raw: Raw, levels: _Levels, categories: Sequence[Any]) -> None:
    front.accepted.append((raw, levels.all if levels.refuses else None))
    here = front.seen.setdefault(raw.column, [])
    here += [v for v in levels.all if not has(here, v)]
    empty = [v for v in categories if is_nan(v)]
    if empty:
        front.holes[raw.column] = empty[0]


def _one_hot(step: Any, cells: list[Cell], front: Front, where: str) -> list[Cell]:
    out: list[Cell] = []
    for j, cell in enumerate(cells):
        raw = _encoded_column(cell, where)
        levels = _Levels.of(step, j, where)
        _remember(front, raw, levels, step.categories_[j])
        dropped = step.drop_idx_[j] if step.drop_idx_ is not None else None
        gone: Any = None if dropped is None else scalar(step.categories_[j][dropped])
        out += [_level(front, raw, (v,)) for v in levels.frequent if dropped is None or not has((gone,), v)]
        if levels.rare and (dropped is None or not has(levels.rare, gone)):
            out.append(_level(front, raw, levels.rare, levels.frequent if levels.pools else None))
    return out


def _ordinal(step: Any, cells: list[Cell], front: Front, where: str) -> list[Cell]:
    out: list[Cell] = []
    for j, cell in enumerate(cells):
        raw = _encoded_column(cell, where)
        levels = _Levels.of(step, j, where)
        code = {k: float(k) for k in range(len(levels.frequent))}
        gaps = [k for k, v in enumerate(levels.frequent) if is_nan(v) and not _is_none(step.categories_[j])]
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
        out.append(Affine(terms, base, -1 if leaves_gap or (unknown is not None and np.isnan(unknown)) else None))
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


def sklearn_class(kind: type) -> str | None:
    """Return the name of the nearest class of scikit-learn that a class is or derives from."""
    for cls in kind.__mro__:
        if cls.__module__.partition(".")[0] == "sklearn" and not cls.__name__.startswith("_"):
            return cls.__name__
    return None


def _is_selector(kind: type) -> bool:
    from sklearn.feature_selection import SelectorMixin

    return issubclass(kind, SelectorMixin)


def passes(step: Any) -> bool:
    """Return whether a step hands on what enters it."""
    return step is None or (isinstance(step, str) and step == "passthrough")


def name_of(function: Any) -> str:
    """Return what messages call a function."""
    return getattr(function, "__name__", None) or repr(function)


def refuse_unfitted(step: Any, where: str) -> None:
    """Raise unless a step is fitted.

    Raises
    ------
    ModelError : it is not fitted. UnsupportedModelError : it is no estimator.
    """
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(step)
    except NotFittedError:
        raise ModelError(f"{where} is not fitted: it holds no weights yet. Call fit(X, y) before loading it.") from None
    except TypeError:
        raise UnsupportedModelError(f"{where} is not an estimator. {_SUPPORTED}") from None
