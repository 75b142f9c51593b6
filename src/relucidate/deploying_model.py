"""What is left of a simplification once the network is put aside: rules or centres, and a linear model for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from relucidate.errors import ArgumentError, UnfaithfulError, UnsupportedModelError, clipped
from relucidate.features import Feature, Features, Level
from relucidate.layers import Activation, Floats, Layer
from relucidate.network import Link, Network
from relucidate.simplified import ByCentre, ByRule, Models, Simplified, in_words
from relucidate.trees import ranges

TOLERANCE = 1e-9
PROBE_ROWS = 512
_ROWS_EACH = 8  # for each leaf
LARGEST_LOG = 700.0  # decisions whose exponential every format holds
_ROUNDING = 32 * np.finfo(np.float64).eps

CellType = Literal["number", "text", "boolean", "mixed", "unknown"]


@dataclass(frozen=True, eq=False)
class Deployed:
    """A few linear models and what leads rows to them; the network is not needed any more.

    Parameters
    ----------
    features, link, classes, outputs : as the network had them.
    route : rules or centres.
    coef : (K, n_outputs, n_features) per unit of each feature. intercept : (K, n_outputs)
    count : (K,) rows that each model was fitted to.
    method, notes : how it was made, and what a reader should know.
    scores : name of a measure to (of these models, of the network) on held-out rows.
    """

    features: Features
    link: Link
    classes: tuple[Any, ...]
    outputs: tuple[str, ...]
    route: ByRule | ByCentre
    coef: Floats
    intercept: Floats
    count: NDArray[np.int64]
    method: str = ""
    notes: tuple[str, ...] = ()
    scores: Mapping[str, tuple[float, float]] | None = None

    @property
    def n_models(self) -> int:
        """Number of linear models."""
        return len(self.coef)

    @property
    def n_outputs(self) -> int:
        """Number of decisions per row."""
        return self.coef.shape[1]

    def assign(self, X: Any) -> Models:
        """Return the model of each row (n,)."""
        return self.assign_encoded(self.features.encode(X))

    def decision(self, X: Any) -> Floats:
        """Return the decision (n, n_outputs): logits, or the regression value.

        Parameters
        ----------
        X : (n, n_columns) array or table, see `Features.encode`.
        """
        return self.decision_of(self.features.encode(X))

    def predict(self, X: Any) -> Floats:
        """Return predictions (n, n_outputs): the inverse link of the decision.

        Raises
        ------
        NumericalOverflowError : the exponential of a decision leaves the range of float64.
        """
        return self._shell.inverse_link(self.decision(X))

    def predict_proba(self, X: Any) -> Floats:
        """Return class probabilities (n, n_classes), two columns for two classes.

        Raises
        ------
        ArgumentError : the models classify nothing.
        """
        if self.link not in ("logit", "softmax"):
            raise ArgumentError(f"The link is {self.link!r}: there are no class probabilities. Use predict.")
        p = self.predict(X)
        return np.hstack([1 - p, p]) if p.shape[1] == 1 else p

    def assign_encoded(self, x: Floats) -> Models:
        """Return the model of each encoded row (n,)."""
        return self.route.assign(self._shell, x)

    def decision_of(self, x: Floats) -> Floats:
        """Return the decision of encoded rows (n, n_outputs)."""
        model = self.assign_encoded(x)
        out = self.intercept[model]
        for m in np.unique(model):
            rows = model == m
            out[rows] += np.einsum("nd,kd->nk", x[rows], self.coef[m])
        return out

    def inverse_link(self, decision: Floats) -> Floats:
        """Return predictions from decisions, both (n, n_outputs)."""
        return self._shell.inverse_link(decision)

    def segments(self) -> Iterator[tuple[int, str, list[tuple[Floats, float, float]]]]:
        """Yield (model, rule in words, [(direction, above, up to)]) for each leaf, none for centres."""
        if isinstance(self.route, ByRule):
            for leaf, model in enumerate(self.route.model.tolist()):
                yield model, in_words(self.route.tree, leaf, self.features), list(ranges(self.route.tree, leaf))

    @cached_property
    def _shell(self) -> Network:
        """One layer with the link of the network: routes by rule and centre, and the link, ask for no more."""
        output = Layer(
            np.zeros((self.n_outputs, len(self.features))),
            np.zeros(self.n_outputs),
            Activation.of_kind("identity", self.n_outputs),
        )
        return Network((output,), self.features, self.link, self.classes, self.outputs)


def deployed(s: Simplified) -> Deployed:
    """Return a simplification without its network.

    Raises
    ------
    ArgumentError : it is none.
    UnsupportedModelError : rows find their model by what the network says of them, or a number is not finite.
    """
    given: Any = s
    if not isinstance(given, Simplified):
        raise ArgumentError(
            f"expected a Simplified, as relucidate.simplify gives it; got a {type(given).__module__}."
            f"{type(given).__qualname__}. Networks are written by relucidate.export."
        )
    if not isinstance(s.route, ByRule | ByCentre):
        raise UnsupportedModelError(
            f"the models of {s.method!r} are found by {s.route.kind}, which takes the network to tell. Simplify with "
            "relucidate.simplify.tree or cells, whose rules and centres can be written down; the network itself is "
            "exported with relucidate.export(s.network, path)."
        )
    if not (np.isfinite(s.coef).all() and np.isfinite(s.intercept).all()):
        raise UnsupportedModelError("a coefficient is not finite. Simplify again with fewer models.")
    network = s.network
    return Deployed(
        network.features,
        network.link,
        network.classes,
        network.outputs,
        s.route,
        s.coef,
        s.intercept,
        s.count,
        s.method,
        tuple(s.notes),
        dict(s.scores),
    )


# ---------------------------------------------------------------- columns and levels


def is_missing(value: Any) -> bool:
    """Return whether a level or cell stands for no value."""
    return value is None or bool(value != value)


def same(a: Any, b: Any) -> bool:
    """Return whether two levels are one: text equals text, numbers equal numbers, no value equals no value."""
    if is_missing(a) or is_missing(b):
        return is_missing(a) and is_missing(b)
    return isinstance(a, str) == isinstance(b, str) and bool(a == b)


def plain(level: Any) -> Level | None:
    """Return a level as plain Python has it, None for a missing one.

    Raises
    ------
    UnsupportedModelError : it is neither text nor a number nor a boolean.
    """
    value = level.item() if isinstance(level, np.generic) else level
    if is_missing(value):
        return None
    if not isinstance(value, str | int | float):
        raise UnsupportedModelError(
            f"the level or class {clipped(value)} is a {type(value).__qualname__}; files hold text, numbers and "
            "booleans. Rename it."
        )
    return value


def of_column(features: Features, column: str) -> list[Feature]:
    """Return the features that are made from a column."""
    return [f for f in features.items if f.column == column]


def levels_of(features: Features, column: str) -> list[Level]:
    """Return every level of a column that is named anywhere, each once, without the missing one."""
    items = [f for f in of_column(features, column) if f.kind in ("level", "other")]
    named = [level for f in items for level in (*f.levels, f.impute)] + list(dict(features.known).get(column, ()))
    out: list[Level] = []
    for level in map(plain, named):
        if level is not None and not any(same(level, met) for met in out):
            out.append(level)
    return out


def cell_type(features: Features, column: str) -> CellType:
    """Return what a column holds, as far as its features tell."""
    kinds: set[CellType] = set()
    if any(f.kind == "value" for f in of_column(features, column)):
        kinds.add("number")
    for level in levels_of(features, column):
        kinds.add("text" if isinstance(level, str) else "boolean" if isinstance(level, bool) else "number")
    if not kinds:
        return "unknown"
    return kinds.pop() if len(kinds) == 1 else "mixed"


def refuses_missing(features: Features, column: str) -> bool:
    """Return whether a cell without a value is refused."""
    items = of_column(features, column)
    if any(f.kind == "value" and is_missing(f.impute) for f in items):
        return True
    known = dict(features.known).get(column)
    if known is None:
        return False
    fills = {f.impute for f in items if f.kind in ("level", "other")}
    accepts_gap = any(is_missing(level) for level in known)
    return any(not accepts_gap and not any(same(level, fill) for level in known) for fill in fills)


def has_missing(feature: Feature) -> bool:
    """Return whether a cell without a value, filled as the feature fills it, is among the feature's levels."""
    return any(same(level, feature.impute) for level in feature.levels)


# ---------------------------------------------------------------- comparing what was written


def probe(model: Deployed, n: int = PROBE_ROWS) -> NDArray[Any]:
    """Return rows (n and a few more, n_columns) of cells in the user's columns.

    Notes
    -----
    Many cells lie on thresholds and centres or next to them. After n rows drawn at random come some for each leaf, which
    meet its conditions on single features, or one for each centre.
    """
    rng = np.random.default_rng(0)
    out = np.empty((n, len(model.features.columns)), dtype=object)
    for j, column in enumerate(model.features.columns):
        pool, spread = _candidates(model, column)
        for i, pick in enumerate(rng.integers(len(pool), size=n)):
            cell = pool[pick]
            step = float(rng.normal()) * spread if i % 2 else 0.0
            out[i, j] = cell + step if spread and cell is not None else cell
    led = _at_centres(model, out) if isinstance(model.route, ByCentre) else _in_leaves(model, out)
    return np.concatenate([out, led])


def _at_centres(model: Deployed, drawn: NDArray[Any]) -> NDArray[Any]:
    """Return a row for each centre, with its numbers."""
    assert isinstance(model.route, ByCentre)
    centre = model.route.centre
    rows = drawn[np.arange(len(centre)) % len(drawn)]
    for j, column in enumerate(model.features.columns):
        for i, feature in enumerate(model.features.items):
            if feature.column == column and feature.kind == "value":
                rows[:, j] = centre[:, i]
    return rows


def _in_leaves(model: Deployed, drawn: NDArray[Any]) -> NDArray[Any]:
    """Return drawn rows whose cells were chosen anew so that they are led to each leaf, as far as single features lead."""
    parts = []
    for _, _, conditions in model.segments():
        rows = drawn[:_ROWS_EACH].copy()
        for j, column in enumerate(model.features.columns):
            fitting = _fitting(model, column, j, conditions, drawn[:1])
            if fitting:
                rows[:, j] = [fitting[i % len(fitting)] for i in range(len(rows))]
        parts.append(rows)
    return np.concatenate(parts)


def _fitting(
    model: Deployed, column: str, place: int, conditions: list[tuple[Floats, float, float]], row: NDArray[Any]
) -> list[Any]:
    """Return cells of a column that meet a leaf's conditions on its features, none where there are none on them."""
    items = model.features.items
    mine = [
        (int(direction.argmax()), above, up_to)
        for direction, above, up_to in conditions
        if np.count_nonzero(direction) == 1 and direction.max() == 1 and items[direction.argmax()].column == column
    ]
    if not mine:
        return []
    pool, spread = _candidates(model, column)
    for feature, above, up_to in mine:
        if items[feature].kind == "value":
            low = above if np.isfinite(above) else up_to - spread
            high = up_to if np.isfinite(up_to) else above + spread
            pool += [float(np.nextafter(low, np.inf)), low + (high - low) / 2, high]
    trial = np.repeat(row, len(pool), axis=0)
    trial[:, place] = pool
    x = model.features.encode(trial)
    met = np.logical_and.reduce([(above < x[:, f]) & (x[:, f] <= up_to) for f, above, up_to in mine])
    return [cell for cell, fits in zip(pool, met.tolist(), strict=True) if fits]


def _candidates(model: Deployed, column: str) -> tuple[list[Any], float]:
    """Return cells that a column may have, and how far from them numbers may be, 0 for levels."""
    features = model.features
    indices = [j for j, f in enumerate(features.items) if f.column == column and f.kind == "value"]
    pool: list[Any] = list(levels_of(features, column))
    spread = 0.0
    if indices:
        marks = np.concatenate([_marks(model, j) for j in indices])
        pool += [float(v) for mark in marks for v in (mark, np.nextafter(mark, -np.inf), np.nextafter(mark, np.inf))]
        spread = float(marks.std()) or _unit(model, indices[0])
    elif column not in dict(features.known):
        pool.append(_unheard_of(pool))
    if not refuses_missing(features, column):
        pool.append(None)
    return pool, spread


def _marks(model: Deployed, feature: int) -> Floats:
    """Return thresholds and centres along a feature, zero if there are none."""
    route = model.route
    if isinstance(route, ByCentre):
        return route.centre[:, feature]
    tree = route.tree
    axis = (tree.direction[:, feature] == 1) & ((tree.direction != 0).sum(axis=1) == 1)
    return tree.threshold[axis] if axis.any() else np.zeros(1)


def _unit(model: Deployed, feature: int) -> float:
    """Return what moves the decision by about 1."""
    steepest = float(np.abs(model.coef[:, :, feature]).max())
    return float(np.clip(1 / steepest, 1e-6, 1e6)) if steepest > 0 else 1.0


def _unheard_of(levels: Sequence[Any]) -> Any:
    """Return a cell that is none of some levels, of their kind."""
    if any(isinstance(level, bool) for level in levels):
        return None
    if any(isinstance(level, str) for level in levels) or not levels:
        return "none of " + " ".join(map(str, levels))
    return max(levels) + 1


def settled(model: Deployed, x: Floats) -> NDArray[np.bool_]:
    """Return (n,) whether rounding cannot lead an encoded row to another model.

    Notes
    -----
    Splits on a single feature compare it as it is. Sums of features and distances round, in an order that is each
    program's own; a row within that of a tie may take either side.
    """
    route = model.route
    if isinstance(route, ByCentre):
        if len(route.centre) == 1:
            return np.ones(len(x), dtype=bool)
        at, centre = x / route.scale, route.centre / route.scale
        half = 0.5 * (centre**2).sum(axis=1)
        top = np.sort(at @ centre.T - half, axis=1)
        size = (np.abs(at) @ np.abs(centre).T + half).max(axis=1)
        return np.asarray(top[:, -1] - top[:, -2] > _ROUNDING * size)
    tree = route.tree
    oblique = ((tree.direction != 0).sum(axis=1) > 1) | (tree.direction.max(axis=1, initial=0) != 1)
    direction, threshold = tree.direction[oblique], tree.threshold[oblique]
    size = np.abs(x) @ np.abs(direction).T + np.abs(threshold)
    return np.asarray((np.abs(x @ direction.T - threshold) > _ROUNDING * size).all(axis=1))


def compare(model: Deployed, called: str, cells: NDArray[Any], run: Callable[[NDArray[Any]], Any]) -> None:
    """Raise unless what was written predicts what the models predict.

    Parameters
    ----------
    called : what messages call the file. cells : (n, n_columns) probe rows. run : from such rows to (n, n_outputs).

    Raises
    ------
    UnfaithfulError : it does not, to ``1e-9`` relative and what rounding does to the terms of the sums.
    """
    x = model.features.encode(cells)
    decision = model.decision_of(x)
    rows = settled(model, x)
    if model.link == "log":
        rows &= (decision < LARGEST_LOG).all(axis=1)
    if not rows.any():
        return
    expected = model.inverse_link(decision[rows])
    got = np.asarray(run(cells[rows]), dtype=np.float64).reshape(expected.shape)
    coef, intercept = (np.abs(a)[model.assign_encoded(x[rows])] for a in (model.coef, model.intercept))
    lost = _ROUNDING * (np.einsum("nd,nkd->nk", np.abs(x[rows]), coef) + intercept).max(axis=1, keepdims=True)
    allowed = TOLERANCE * np.abs(expected) + lost * (1 + np.abs(expected))
    difference = np.where(got == expected, 0.0, np.abs(got - expected))
    worst = int(np.argmax(np.where(np.isnan(difference), np.inf, difference - allowed).max(axis=1)))
    if not (difference <= allowed).all():
        raise UnfaithfulError(
            f"{called}: what was written predicts {clipped(got[worst].tolist())} where the models predict "
            f"{clipped(expected[worst].tolist())}, for the cells {clipped(cells[rows][worst].tolist())}. It was withheld."
        )
