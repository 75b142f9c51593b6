"""The ways to simplify: trees, cells, merged regions, the largest regions; each makes of some rows a route to its models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from relucidate import trees
from relucidate.grouping import distinct
from relucidate.layers import Floats
from relucidate.merging import MergePath, PublishedMerge, merge_path, published_merge, region_moments
from relucidate.network import Network, Patterns
from relucidate.products import one_thread
from relucidate.simplified import ByCentre, ByMap, ByPattern, ByRule, Route
from relucidate.studying import Path, Study
from relucidate.unwrapping import Unwrapped

TREE_FEATURES = 48  # that splits are tried on; of more, the most important ones
SEGMENTS = 2  # leaves of a tree per model: those that differ little share one
DIRECTIONS = 24  # oblique splits that are tried beside them
CELL_ROWS = 20_000  # that centres are looked for on


@dataclass(eq=False)
class TreePlan:
    study: Study
    oblique: bool
    weight_by_confidence: bool
    segments: int = SEGMENTS

    @property
    def plain(self) -> bool:
        return not self.oblique

    @property
    def said(self) -> str:
        return "" if self.segments == 1 else "segments that differ little share a model"

    def path(self, rows: NDArray[np.intp]) -> Path:
        s = self.study
        x, decision, w = s.rows.x[rows], s.rows.decision[rows], s.weights(self.weight_by_confidence)[rows]
        if s.extra_rows:
            between, said = _between(x, s.extra_rows, s.network, s.random_state)
            x, decision = np.concatenate([x, between]), np.concatenate([decision, said])
            w = np.concatenate([w, np.full(len(between), w.mean())])
        directions = _hyperplanes(s.network, s.spread) if self.oblique else None
        basis = _most_important(s, rows, TREE_FEATURES) if s.d > TREE_FEATURES else None
        settings: dict[str, Any] = {"directions": directions, "basis": basis, "candidates": basis}
        most = s.most * self.segments if s.most > 1 else 1
        grown = trees.grow(x, decision, w, max_leaves=most, random_state=s.random_state, **settings)

        def made(n_models: int) -> ByRule | None:
            leaves = min(n_models * self.segments, grown.n_leaves) if n_models > 1 else 1
            if leaves < n_models:
                return None
            tree, model = trees.improved(grown.pruned(leaves), x, decision, w, **settings), np.arange(n_models)
            if leaves > n_models:
                for _ in range(2):
                    model = trees.shared(tree, x, decision, w, n_models=n_models, basis=basis)
                    tree = trees.improved(tree, x, decision, w, model=model, **settings)
            return ByRule(*trees.collapsed(tree, model))

        return _TreePath(made)


@dataclass(eq=False)
class _TreePath:
    route: Callable[[int], ByRule | None]

    def maps(self, n_models: int) -> None:
        return None


def _between(x: Floats, share: float, network: Network, random_state: int) -> tuple[Floats, Floats]:
    """Return rows drawn on the segments between rows, nearer to one of the two, and what the network says of them."""
    rng = np.random.default_rng(random_state)
    n = int(share * len(x))
    a, b = rng.integers(len(x), size=(2, n))
    t = rng.uniform(0, 0.5, size=(n, 1))
    rows = x[a] * (1 - t) + x[b] * t
    return rows, network.trace(rows, patterns=False).decision


def _hyperplanes(network: Network, spread: Floats) -> Floats:
    """Return the directions of the network's first layer, largest first, each scaled to a largest coefficient of 1."""
    weight: Any = network.layers[0].weight if network.hidden else np.zeros((0, network.n_features))
    weight = weight.toarray() if hasattr(weight, "toarray") else np.asarray(weight)
    length = np.abs(weight * spread).max(axis=1, initial=0.0)
    order = np.argsort(-length, kind="stable")[:DIRECTIONS]
    order = order[length[order] > 0]
    largest = np.abs(weight[order]).max(axis=1, keepdims=True)
    return np.asarray(weight[order] / largest)


def _most_important(s: Study, rows: NDArray[np.intp], n: int) -> NDArray[np.intp]:
    """Return the features with the largest effect on the decision, by their local coefficients and their spread."""
    return np.sort(np.argsort(-_effects(s, rows), kind="stable")[:n])


def _effects(s: Study, rows: NDArray[np.intp]) -> Floats:
    """Return the root mean square of what one spread of each feature does to the decision (d,)."""
    some = rows[np.random.default_rng(s.random_state).permutation(len(rows))[:2000]]
    coef, _ = s.network.affine_maps(s.network.trace(s.rows.x[some]).patterns)
    return np.asarray(np.sqrt((coef**2).mean(axis=(0, 1))) * s.spread)


@dataclass(eq=False)
class CellPlan:
    study: Study
    by_effect: bool
    weight_by_confidence: bool
    plain = True

    @property
    def said(self) -> str:
        return f"distances are measured in {'effects on the decision' if self.by_effect else 'spreads of the features'}"

    def path(self, rows: NDArray[np.intp]) -> Path:
        s = self.study
        scale = s.spread
        if self.by_effect:
            effect = _effects(s, rows)
            floor = 0.01 * float(effect.max(initial=0.0))
            scale = s.spread / np.maximum(effect, floor if floor > 0 else 1.0)
        return _CellPath(s.rows.x[rows], s.rows.weights[rows], scale, s.random_state)


@dataclass(eq=False)
class _CellPath:
    x: Floats
    weight: Floats
    scale: Floats
    random_state: int

    def route(self, n_models: int) -> Route | None:
        from sklearn.cluster import KMeans
        from threadpoolctl import threadpool_limits

        some = np.random.default_rng(self.random_state).permutation(len(self.x))[:CELL_ROWS]
        z = self.x[some] / self.scale
        if len(np.unique(z, axis=0)) < n_models:
            return None
        # threads that wait for each other in a loop are many times slower where other work has the processors
        with one_thread(), threadpool_limits(1, user_api="openmp"):
            means = KMeans(n_models, n_init=4, random_state=self.random_state).fit(z, sample_weight=self.weight[some])
        return ByCentre(means.cluster_centers_ * self.scale, self.scale, np.arange(n_models))

    def maps(self, n_models: int) -> None:
        return None


@dataclass(eq=False)
class PrunePlan:
    study: Study
    u: Unwrapped
    weight_by_confidence: bool = False
    plain = True
    said = "regions are those of the unwrapped network, each with its own map"

    def path(self, rows: NDArray[np.intp]) -> Path:
        return _PrunePath(self.u, self.study.spread)


@dataclass(eq=False)
class _PrunePath:
    u: Unwrapped
    spread: Floats

    def route(self, n_models: int) -> Route:
        sums = self.u.sums
        means = sums.x[:n_models] / sums.weight[:n_models, None]
        nearest = ByCentre(means, self.spread, np.arange(n_models))
        kept = self.u.region_of_pattern < n_models
        return ByPattern(self.u.patterns.packed[kept], self.u.region_of_pattern[kept].astype(np.intp), nearest)

    def maps(self, n_models: int) -> tuple[Floats, Floats]:
        return np.asarray(self.u.coef[:n_models]), np.asarray(self.u.intercept[:n_models])


@dataclass(eq=False)
class _Regions:
    """The activation regions of some rows of a study."""

    packed: NDArray[np.uint8]
    code: NDArray[np.intp]
    mean: Floats
    count: NDArray[np.int64]
    beta: Floats  # (R, o, 1 + d), intercept first

    @staticmethod
    def of(s: Study, rows: NDArray[np.intp]) -> _Regions:
        x = s.rows.x[rows]
        packed, code = distinct(s.network.trace(x).patterns.packed)
        count = np.bincount(code, minlength=len(packed))
        mean = np.stack([np.bincount(code, column, minlength=len(packed)) for column in x.T], axis=1) / count[:, None]
        coef, intercept = s.network.affine_maps(Patterns(packed, s.network.n_bits))
        beta = np.concatenate([intercept[:, :, None], coef], axis=2)
        return _Regions(packed, code.astype(np.intp), mean, count.astype(np.int64), beta)


@dataclass(eq=False)
class MergePlan:
    study: Study
    unseen: Literal["pattern", "centre"]
    weight_by_confidence: bool = False
    plain = True
    said = ""

    def path(self, rows: NDArray[np.intp]) -> Merged:
        s = self.study
        if rows.tobytes() not in s.memory:  # both ways to treat unseen patterns share it
            regions = _Regions.of(s, rows)
            moments = region_moments(s.rows.x[rows], regions.code, len(regions.packed), s.rows.weights[rows])
            s.memory[rows.tobytes()] = (regions, merge_path(moments, regions.beta))
        regions, merges = s.memory[rows.tobytes()]
        return Merged(regions, merges, s.spread, self.unseen)


@dataclass(eq=False)
class Merged:
    regions: _Regions
    merges: MergePath
    spread: Floats
    unseen: Literal["pattern", "centre"]

    def route(self, n_models: int) -> Route | None:
        if n_models > len(self.regions.packed):
            return None
        model = np.asarray(self.merges.labels(n_models), dtype=np.intp)
        fallback = ByCentre(self.regions.mean, self.spread, model) if self.unseen == "centre" else None
        return ByPattern(self.regions.packed, model, fallback)

    def maps(self, n_models: int) -> None:
        return None


@dataclass(eq=False)
class PublishedPlan:
    study: Study
    weight_by_confidence: bool = False
    plain = True
    said = "merged as published (Sudjianto et al. 2020, Algorithm 1)"

    def path(self, rows: NDArray[np.intp]) -> Path:
        return _Published(_Regions.of(self.study, rows))


@dataclass(eq=False)
class _Published:
    regions: _Regions

    def route(self, n_models: int) -> Route | None:
        r = self.regions
        if n_models >= len(r.packed):
            return None
        merged: PublishedMerge = published_merge(r.mean, r.beta, r.count, n_models=n_models)
        return ByMap(merged.mean, merged.beta, np.asarray(merged.label, dtype=np.intp))

    def maps(self, n_models: int) -> None:
        return None
