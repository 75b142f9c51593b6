"""A handful of linear models in place of a network, and the rule that says which one a row takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from relucidate.displaying import in_notebook
from relucidate.errors import ArgumentError
from relucidate.features import Features
from relucidate.grouping import PatternIndex, distinct, nearest_patterns
from relucidate.layers import Floats
from relucidate.network import Faithfulness, Network, Patterns, assert_faithful
from relucidate.products import one_thread, padded, row_by_row
from relucidate.sampling import Sample
from relucidate.scoring import SCORE_WORDS
from relucidate.trees import Tree, ranges

if TYPE_CHECKING:
    import pandas as pd

Models: TypeAlias = NDArray[np.intp]


# ---------------------------------------------------------------- which model a row takes


@dataclass(frozen=True, eq=False)
class ByRule:
    """Rows are led to their model by a tree of thresholds.

    Parameters
    ----------
    tree : its leaves. model : (leaves,) the model of each leaf; several leaves may share one.
    """

    tree: Tree
    model: Models

    def assign(self, network: Network, x: Floats) -> Models:
        """Return the model of each row."""
        return self.model[self.tree.assign(x)]

    kind = "rule"


@dataclass(frozen=True, eq=False)
class ByCentre:
    """Rows take the model of the nearest centre.

    Parameters
    ----------
    centre : (c, d). scale : (d,) what one unit of distance is along each feature. model : (c,)
    """

    centre: Floats
    scale: Floats
    model: Models

    def assign(self, network: Network, x: Floats) -> Models:
        """Return the model of each row."""
        return self.model[self.nearest(x)]

    def nearest(self, x: Floats) -> Models:
        """Return the centre nearest to each row (n,), the first of several."""
        weight = padded(self.centre / self.scale)
        half = 0.5 * ((self.centre / self.scale) ** 2).sum(axis=1)
        out = np.empty(len(x), dtype=np.intp)
        with one_thread():
            for start in range(0, len(x), 1024):
                rows = x[start : start + 1024] / self.scale
                full = np.zeros((-(-len(rows) // 64) * 64, x.shape[1]))  # the same products for a row in any batch
                full[: len(rows)] = rows
                closeness = row_by_row(full, weight)[: len(rows), : len(half)] - half
                out[start : start + len(rows)] = closeness.argmax(axis=1)
        return out

    kind = "nearest centre"


@dataclass(frozen=True, eq=False)
class ByPattern:
    """Rows take the model that their activation pattern was given.

    Parameters
    ----------
    packed : (P, n_bytes) patterns, each once. model : (P,)
    fallback : what a pattern never seen goes by: None for the seen pattern that differs in the fewest neurons, or centres.
    """

    packed: NDArray[np.uint8]
    model: Models
    fallback: ByCentre | None = None

    def assign(self, network: Network, x: Floats) -> Models:
        """Return the model of each row."""
        index, model = self._lookup
        patterns = network.trace(x).patterns.packed
        found = index.find(patterns)
        out = model[found]
        unseen = np.flatnonzero(found < 0)
        if len(unseen) == 0:
            return out
        if self.fallback is not None:
            out[unseen] = self.fallback.assign(network, x[unseen])
        else:
            new, code = distinct(patterns[unseen])
            out[unseen] = self.model[nearest_patterns(self.packed, new)][code]
        return out

    @cached_property
    def _lookup(self) -> tuple[PatternIndex, Models]:
        index = PatternIndex(self.packed.shape[1])
        number = index.add(self.packed)
        model = np.zeros(len(number) + 1, dtype=np.intp)
        model[number] = self.model
        return index, model

    @property
    def kind(self) -> str:
        unseen = "the nearest pattern" if self.fallback is None else "the nearest centre"
        return f"activation pattern (one never seen: {unseen})"


@dataclass(frozen=True, eq=False)
class ByMap:
    """Rows take the model of that region, of the five with the nearest means, whose map is nearest to the network's own.

    Parameters
    ----------
    mean : (R, d) of the regions. beta : (R, n_outputs, 1 + d) their maps. model : (R,)
    """

    mean: Floats
    beta: Floats
    model: Models

    def assign(self, network: Network, x: Floats) -> Models:
        """Return the model of each row."""
        from sklearn.neighbors import NearestNeighbors

        packed, code = distinct(network.trace(x).patterns.packed)
        coef, intercept = network.affine_maps(Patterns(packed, network.n_bits))
        own = np.concatenate([intercept[:, :, None], coef], axis=2).reshape(len(packed), -1)
        near = NearestNeighbors(n_neighbors=min(5, len(self.mean))).fit(self.mean).kneighbors(x, return_distance=False)
        difference = self.beta.reshape(len(self.beta), -1)[near] - own[code][:, None]
        chosen = (difference**2).sum(axis=2).argmin(axis=1)
        return self.model[near[np.arange(len(near)), chosen]]

    kind = "nearest region and map"


Route: TypeAlias = ByRule | ByCentre | ByPattern | ByMap


# ---------------------------------------------------------------- the result


@dataclass(frozen=True, eq=False)
class Curve:
    """Held-out loss of each number of models, and which one was chosen.

    Parameters
    ----------
    n_models : (m,) increasing. loss : (m,) mean over held-out rows. error : (m,) standard error of the difference to the
        best. chosen : the number of models taken. rule : how it was chosen. measure : what the loss is.
    """

    n_models: Models
    loss: Floats
    error: Floats
    chosen: int
    rule: str
    measure: str

    _repr_html_ = in_notebook

    def to_frame(self) -> pd.DataFrame:
        """Return one row per number of models: ``n_models``, ``loss``, ``error``, ``chosen``."""
        import pandas as pd

        columns = {"n_models": self.n_models, "loss": self.loss, "error": self.error}
        return pd.DataFrame({**columns, "chosen": self.n_models == self.chosen})


@dataclass(frozen=True, eq=False)
class Simplified:
    """A few linear models that stand for a network.

    Parameters
    ----------
    network : what was simplified; it gives features, link, classes and outputs.
    method : "tree", "cells", "merge", "published merge", "prune", "single" or "random".
    route : which model a row takes.
    coef : (K, n_outputs, n_features) per unit of each feature. intercept : (K, n_outputs)
    count : (K,) rows that each model was fitted to. response : (K, k) their mean response, None without one.
    faithfulness : decisions compared with the network's on rows that were not fitted to.
    scores : of the simplified model and the network on those rows: {"auc": (ours, the network's)}.
    curve : numbers of models against held-out loss. fidelity : share of the variance of the network's decisions explained.
    sample : the rows that it was made on.
    notes : what a reader should know.
    """

    network: Network
    method: str
    route: Route
    coef: Floats
    intercept: Floats
    count: NDArray[np.int64]
    faithfulness: Faithfulness
    scores: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    response: Floats | None = None
    curve: Curve | None = None
    fidelity: float = float("nan")
    sample: Sample | None = None
    notes: tuple[str, ...] = ()

    @property
    def n_models(self) -> int:
        """Number of linear models."""
        return len(self.coef)

    @property
    def features(self) -> Features:
        """What the inputs are."""
        return self.network.features

    def assign(self, X: Any) -> Models:
        """Return the model of each row (n,)."""
        return self.route.assign(self.network, self.features.encode(X))

    def decision(self, X: Any) -> Floats:
        """Return the decision (n, n_outputs): logits, or the regression value.

        Parameters
        ----------
        X : (n, n_columns) array or table, see `Features.encode`.
        """
        return self.decision_of(self.features.encode(X))

    def decision_of(self, x: Floats) -> Floats:
        """Return the decision of encoded rows (n, n_features)."""
        model = self.route.assign(self.network, x)
        out = self.intercept[model]
        for m in np.unique(model):
            rows = model == m
            out[rows] += np.einsum("nd,kd->nk", x[rows], self.coef[m])
        return out

    def predict(self, X: Any) -> Floats:
        """Return predictions on the network's own scale (n, n_outputs): the inverse link of the decision."""
        return self.network.inverse_link(self.decision(X))

    def predict_proba(self, X: Any) -> Floats:
        """Return class probabilities (n, n_classes), two columns for two classes.

        Raises
        ------
        ArgumentError : the network is no classifier.
        """
        if not self.network.is_classifier:
            raise ArgumentError(f"The link is {self.network.link!r}: there are no class probabilities. Use predict.")
        p = self.predict(X)
        return np.hstack([1 - p, p]) if p.shape[1] == 1 else p

    def conditions(self) -> list[list[str]]:
        """Return for each model the segments that take it, each a condition in words; [] where rows are not led by rules."""
        route = self.route
        if not isinstance(route, ByRule):
            return [[] for _ in range(self.n_models)]
        out: list[list[str]] = [[] for _ in range(self.n_models)]
        for leaf, model in enumerate(route.model):
            out[model].append(in_words(route.tree, leaf, self.features))
        return out

    def rules(self) -> pd.DataFrame:
        """Return one row per segment: ``model``, ``rule`` in words, ``count`` of its rows, ``response_mean`` of its model."""
        import pandas as pd

        rows = []
        for m, texts in enumerate(self.conditions()):
            counts = self._segment_counts(m)
            for text, count in zip(texts or [f"by {self.route.kind}"], counts, strict=True):
                rows.append({"model": m, "rule": text, "count": count, **self._response(m)})
        return pd.DataFrame(rows)

    def _segment_counts(self, m: int) -> list[int]:
        route = self.route
        if not isinstance(route, ByRule) or self.sample is None:
            return [int(self.count[m])] * max(1, len(self.conditions()[m]))
        leaves = np.bincount(route.tree.assign(self.sample.x), minlength=route.tree.n_leaves)
        return leaves[route.model == m].tolist()

    _repr_html_ = in_notebook

    def table(self) -> pd.DataFrame:
        """Return one row per model: ``rule``, ``count``, ``share``, ``response_mean``, ``intercept``, ``coef: feature``.

        With several outputs, names end in ``[output]``.
        """
        import pandas as pd

        outputs = [""] if len(self.network.outputs) == 1 else [f"[{o}]" for o in self.network.outputs]
        rows = []
        for m, texts in enumerate(self.conditions()):
            row: dict[str, Any] = {"rule": " or ".join(texts) or f"by {self.route.kind}", "count": int(self.count[m])}
            row |= {"share": self.count[m] / self.count.sum(), **self._response(m)}
            for k, suffix in enumerate(outputs):
                row[f"intercept{suffix}"] = self.intercept[m, k]
                names = (f"coef: {f}{suffix}" for f in self.network.feature_names)
                row |= dict(zip(names, self.coef[m, k], strict=True))
            rows.append(row)
        return pd.DataFrame(rows).rename_axis("model")

    def _response(self, m: int) -> dict[str, float]:
        if self.response is None:
            return {}
        names = ["response_mean"]
        if self.response.shape[1] > 1:
            names = [f"response_mean[{o}]" for o in self.network.outputs]
        return dict(zip(names, self.response[m].tolist(), strict=True))

    def summary(self) -> list[str]:
        """Return what matters most, a sentence a line."""
        s = "" if self.n_models == 1 else "s"
        lines = [f"{self.n_models} linear model{s} by {self.method}, rows led to them by {self.route.kind}"]
        for name, (ours, theirs) in self.scores.items():
            lines.append(f"held-out {SCORE_WORDS.get(name, name)} {ours:.4f}, the network {theirs:.4f}")
        f = self.faithfulness
        agreement = "" if f.agreement is None else f", same decision on {f.agreement:.1%}"
        lines.append(
            f"differs from the network's decisions by {f.mean_difference:.3g} on average, {f.max_difference:.3g} at most"
            f"{agreement} ({f.n:,} held-out rows; it explains {self.fidelity:.1%} of their variance)"
        )
        return lines + [f"note: {note}" for note in self.notes]

    def __repr__(self) -> str:
        return "\n".join(self.summary())


def compared(network: Network, ours: Floats, theirs: Floats) -> tuple[Faithfulness, float]:
    """Return how decisions compare with the network's, and the share of the variance of its decisions they explain."""
    result = assert_faithful("simplified", ours, theirs, tolerance=np.inf, against="the network")
    if network.is_classifier:
        a, b = network.inverse_link(ours), network.inverse_link(theirs)
        agreement = assert_faithful("", a, b, tolerance=np.inf, against="", link=network.link).agreement
        result = Faithfulness(**{**vars(result), "agreement": agreement})
    variance = ((theirs - theirs.mean(axis=0)) ** 2).sum()
    error = ((ours - theirs) ** 2).sum()
    return result, float(1 - error / variance) if variance > 0 else float("nan")


# ---------------------------------------------------------------- rules in words


def in_words(tree: Tree, leaf: int, features: Features) -> str:
    """Return the rule of a leaf: "utilisation > 0.83 and delinquencies <= 1"; "all rows" for a tree without splits."""
    parts = [_range_in_words(direction, low, high, features) for direction, low, high in ranges(tree, leaf)]
    if len(parts) > 1:
        parts = [f"({part})" if part.endswith(_OR_MISSING) else part for part in parts]
    return " and ".join(parts) or "all rows"


_OR_MISSING = " or missing"


def _range_in_words(direction: Floats, low: float, high: float, features: Features) -> str:
    """Return "20 < income <= 50"; "… or missing" where a missing value is taken as one within."""
    used = np.flatnonzero(direction)
    end = ""
    if len(used) == 1 and direction[used[0]] == 1:
        item = features.items[int(used[0])]
        if item.kind != "value" and (low >= 0) != (high < 1):
            return _level_in_words(item, above=low >= 0)
        name = features.names[int(used[0])]
        if item.kind == "value" and item.impute is not None and low < float(item.impute) <= high:
            end = _OR_MISSING
    else:
        name = _sum_in_words(direction, used, features.names)
    if np.isinf(high):
        return f"{name} > {_number(low)}{end}"
    if np.isinf(low):
        return f"{name} <= {_number(high)}{end}"
    return f"{_number(low)} < {name} <= {_number(high)}{end}"


def _number(value: float) -> str:
    """Return a threshold with every digit that it has, so that the rule is the one that is applied."""
    return repr(float(value)).removesuffix(".0")


def _level_in_words(item: Any, above: bool) -> str:
    """Return "purpose = car" or "purpose is not car" for a split on an indicator; of all other levels, the reverse."""
    if item.kind == "missing":
        return f"{item.column} is missing" if above else f"{item.column} is not missing"
    levels = [str(v) for v in item.levels if v == v]
    # a missing value is a level, or taken as one
    if len(levels) < len(item.levels) or (item.impute is not None and item.impute in item.levels):
        levels.append("missing")
    what = " or ".join(levels)
    if item.kind == "other" and not levels:
        return f"{item.column} is {'any' if above else 'no'} level"
    return f"{item.column} = {what}" if above == (item.kind == "level") else f"{item.column} is not {what}"


def _sum_in_words(
    direction: Floats, used: Sequence[int] | NDArray[np.intp], names: Sequence[str], most: int = 6
) -> str:
    largest = sorted(used, key=lambda j: -abs(direction[j]))
    parts = [f"{direction[j]:+.4g} {names[j]}" for j in largest[:most]]
    rest = f" and {len(largest) - most} smaller terms" if len(largest) > most else ""
    return "(" + " ".join(parts).lstrip("+") + rest + ")"
