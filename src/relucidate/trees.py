"""Trees whose leaves are linear models, grown best-first on what a network says.

A tree is a list of splits in the order in which they were made. Split s divides one leaf: rows above its threshold move
to the new leaf s + 1, the others stay. Its first k - 1 splits are therefore the best tree of k leaves that the search
met, and one growth gives the whole path from one leaf to many.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relucidate.errors import ArgumentError, clipped
from relucidate.layers import Floats
from relucidate.products import one_thread

Leaves = NDArray[np.intp]

FINE_BINS = 256  # thresholds tried per column when the splits of a tree are chosen anew
BINS = 32  # thresholds tried per column and leaf, at quantiles of its rows
PRIOR_ROWS = 0.1  # weight of the ridge that keeps fits of few or degenerate rows finite, in rows
SEARCH_ROWS = 50_000  # rows of a leaf that a split is looked for on


@dataclass(frozen=True, eq=False)
class Tree:
    """A path of trees: its first k - 1 splits make k leaves.

    Parameters
    ----------
    leaf : (s,) the leaf that each split divides.
    direction : (s, d) what is compared with the threshold, ``x @ direction``; one 1 for a split on a single feature.
    threshold : (s,) rows above it move to leaf ``s + 1``.
    gain : (s,) what each split takes off the squared error of the linear fits.
    """

    leaf: Leaves
    direction: Floats
    threshold: Floats
    gain: Floats

    @property
    def n_leaves(self) -> int:
        """Leaves of the whole tree."""
        return len(self.leaf) + 1

    def pruned(self, n_leaves: int) -> Tree:
        """Return the tree of the first splits.

        Raises
        ------
        ArgumentError : no such tree was grown.
        """
        if not 1 <= n_leaves <= self.n_leaves:
            raise ArgumentError(f"n_leaves is {clipped(n_leaves)}; this tree has from 1 to {self.n_leaves}.")
        first = slice(0, n_leaves - 1)
        return replace(
            self,
            leaf=self.leaf[first],
            direction=self.direction[first],
            threshold=self.threshold[first],
            gain=self.gain[first],
        )

    def assign(self, x: Floats) -> Leaves:
        """Return the leaf of each row (n,)."""
        out = np.zeros(len(x), dtype=np.intp)
        for s, (leaf, direction, threshold) in enumerate(zip(self.leaf, self.direction, self.threshold, strict=True)):
            rows = np.flatnonzero(out == leaf)
            out[rows[_projected(x[rows], direction) > threshold]] = s + 1
        return out

    def conditions(self, leaf: int) -> list[tuple[int, bool]]:
        """Return the splits that lead to a leaf, first to last, and whether its rows are above each."""
        made = leaf - 1  # the split that made it; those of its parent before that are its own
        before = [*self.conditions_until(int(self.leaf[made]), made), (made, True)] if leaf else []
        return before + [(s, False) for s in range(made + 1 if leaf else 0, len(self.leaf)) if self.leaf[s] == leaf]

    def conditions_until(self, leaf: int, split: int) -> list[tuple[int, bool]]:
        """Return the conditions of a leaf as it was before a split was made."""
        return [(s, above) for s, above in self.pruned(split + 1).conditions(leaf)]

    def is_oblique(self) -> bool:
        """Whether a split compares more than one feature."""
        return bool(((self.direction != 0).sum(axis=1) > 1).any())


def _projected(x: Floats, direction: Floats) -> Floats:
    used = np.flatnonzero(direction)
    if len(used) == 1 and direction[used[0]] == 1:
        return x[:, used[0]]  # exactly the feature, so that a rule and the tree agree at the threshold
    return (x[:, used] * direction[used]).sum(axis=1)


# ---------------------------------------------------------------- growing


def grow(
    x: Floats,
    target: Floats,
    weight: Floats | None = None,
    *,
    max_leaves: int,
    min_rows: int | None = None,
    directions: Floats | None = None,
    candidates: NDArray[np.intp] | None = None,
    basis: NDArray[np.intp] | None = None,
    random_state: int = 0,
) -> Tree:
    """Return a tree of linear models of `target`, the split with the largest gain first.

    Parameters
    ----------
    x : (n, d) rows. target : (n, k) what the leaves' linear models are fitted to. weight : (n,)
    max_leaves : at most so many.
    min_rows : in a leaf; twice the coefficients of a linear model, and 30 at least, by default.
    directions : (m, d) of oblique splits that are tried beside the features.
    candidates : features that splits are tried on; all by default.
    basis : features that enter the linear models while the tree grows; all by default.
    random_state : seed of the rows that splits of large leaves are looked for on.

    Notes
    -----
    The gain of a split is what it takes off the weighted squared error of two linear fits against one, from cumulative
    sums of moments over the bins of a column. Cost for a leaf of n rows: n · (columns tried) · (features + 1)².
    """
    search = _Search(x, target, weight, min_rows, directions, candidates, basis, random_state)
    splits: list[tuple[int, Floats, float, float]] = []
    rows_of: dict[int, NDArray[np.intp]] = {0: np.arange(len(x))}
    heap: list[tuple[float, int, int, float]] = []  # (-gain, leaf, column, threshold)

    def offer(leaf: int) -> None:
        found = search.best(rows_of[leaf])
        if found is not None:
            heapq.heappush(heap, (-found[0], leaf, found[1], found[2]))

    with one_thread():
        offer(0)
        while heap and len(splits) + 1 < max_leaves:
            gain, leaf, column, threshold = heapq.heappop(heap)
            rows = rows_of[leaf]
            above = search.column(rows, column) > threshold
            made = len(splits) + 1
            rows_of[leaf], rows_of[made] = rows[~above], rows[above]
            splits.append((leaf, search.direction(column), threshold, -gain))
            if made + 1 < max_leaves:
                offer(leaf)
                offer(made)
    return Tree(
        np.array([s[0] for s in splits], dtype=np.intp),
        np.array([s[1] for s in splits]).reshape(len(splits), x.shape[1]),
        np.array([s[2] for s in splits], dtype=np.float64),
        np.array([s[3] for s in splits], dtype=np.float64),
    )


class _Search:
    """Finds the best split of a set of rows."""

    def __init__(
        self,
        x: Floats,
        target: Floats,
        weight: Floats | None,
        min_rows: int | None,
        directions: Floats | None,
        candidates: NDArray[np.intp] | None,
        basis: NDArray[np.intp] | None,
        random_state: int,
    ) -> None:
        n, d = x.shape
        self.x = x
        self.features = np.arange(d) if candidates is None else np.asarray(candidates)
        self.oblique = np.zeros((0, d)) if directions is None else directions
        w = np.ones(n) if weight is None else np.asarray(weight, dtype=np.float64)
        used = x if basis is None else x[:, basis]
        centre, spread = used.mean(axis=0), used.std(axis=0)
        z = (used - centre) / np.where(spread > 0, spread, 1.0)
        root = np.sqrt(w)[:, None]
        self.k = target.shape[1]
        self.size = z.shape[1] + 1
        # (1, z, target), each times the root of the weight: all moments are one product of this with itself
        self.joint = np.concatenate([root, z * root, (target - np.average(target, axis=0, weights=w)) * root], axis=1)
        self.ridge = np.full(self.size, PRIOR_ROWS * w.mean())
        self.ridge[0] *= 1e-6
        self.min_rows = max(30, 2 * self.size) if min_rows is None else int(min_rows)
        self.rng = np.random.default_rng(random_state)

    def column(self, rows: NDArray[np.intp], column: int) -> Floats:
        """Return what is compared with a threshold for some rows."""
        return _projected(self.x[rows], self.direction(column))

    def direction(self, column: int) -> Floats:
        if column >= len(self.features):
            return self.oblique[column - len(self.features)]
        out = np.zeros(self.x.shape[1])
        out[self.features[column]] = 1.0
        return out

    def best(self, rows: NDArray[np.intp]) -> tuple[float, int, float] | None:
        """Return (gain, column, threshold) of the best split, None if there is none."""
        if len(rows) < 2 * self.min_rows:
            return None
        scale = 1.0
        if len(rows) > SEARCH_ROWS:
            scale = len(rows) / SEARCH_ROWS
            rows = np.sort(self.rng.choice(rows, SEARCH_ROWS, replace=False))
        joint = self.joint[rows]
        whole = joint.T @ joint
        base = self.losses(whole[None])[0]
        best: tuple[float, int, float] | None = None
        for column in range(len(self.features) + len(self.oblique)):
            found = self._scan(self.column(rows, column), joint, whole, self.min_rows / scale)
            if found is None:
                continue
            left, thresholds = found
            gains = base - self.losses(left) - self.losses(whole - left)
            i = int(gains.argmax())
            gain = float(gains[i]) * scale
            if gain > 1e-9 * base * scale and (best is None or gain > best[0]):
                best = (gain, column, float(thresholds[i]))
        return best

    def moments_of(self, leaf: Leaves, n_leaves: int) -> Floats:
        """Return the moments (n_leaves, p, p) of (1, z, target) in each leaf."""
        out = np.empty((n_leaves, self.joint.shape[1], self.joint.shape[1]))
        for m in range(n_leaves):
            mine = self.joint[leaf == m]
            out[m] = mine.T @ mine
        return out

    def fits(self, moments: Floats) -> Floats:
        """Return the linear model (size, k) of moments (p, p)."""
        s = self.size
        return np.asarray(np.linalg.solve(moments[:s, :s] + np.diag(self.ridge), moments[:s, s:]))

    def losses_under(self, moments: Floats, model: Floats) -> Floats:
        """Return the squared error (m,) of one linear model (size, k) on the rows of each moments (m, p, p)."""
        s = self.size
        total = np.trace(moments[:, s:, s:], axis1=1, axis2=2)
        cross = np.einsum("msk,sk->m", moments[:, :s, s:], model)
        return np.asarray(total - 2 * cross + np.einsum("sk,mst,tk->m", model, moments[:, :s, :s], model))

    def loss_in_each_leaf(self, leaf: Leaves, n_leaves: int) -> Floats:
        """Return the squared error (n, n_leaves) of each row under the linear model of each leaf."""
        s = self.size
        out = np.empty((len(self.joint), n_leaves))
        for m, moments in enumerate(self.moments_of(leaf, n_leaves)):
            out[:, m] = ((self.joint[:, s:] - self.joint[:, :s] @ self.fits(moments)) ** 2).sum(axis=1)
        return out

    def _scan(self, values: Floats, joint: Floats, whole: Floats, least: float) -> tuple[Floats, Floats] | None:
        """Return the moments of the rows at or below each threshold of a column, and the thresholds."""
        thresholds = cut_points(values, BINS)
        if len(thresholds) == 0:
            return None
        code = np.searchsorted(thresholds, values, side="left")
        below = np.cumsum(np.bincount(code, minlength=len(thresholds) + 1))[:-1]
        wide = np.flatnonzero((below >= least) & (len(values) - below >= least))
        if len(wide) == 0:
            return None
        ordered = joint[np.argsort(code, kind="stable")]
        parts = np.empty((len(wide), *whole.shape))
        for i, (start, stop) in enumerate(pairwise([0, *below[wide]])):
            part = ordered[start:stop]
            parts[i] = part.T @ part
        return np.cumsum(parts, axis=0), thresholds[wide]

    def losses(self, moments: Floats) -> Floats:
        """Return the penalised squared error (m,) of linear fits, from moments (m, p, p) of (1, z, target)."""
        s = self.size
        gram = moments[:, :s, :s] + np.diag(self.ridge)
        cross = moments[:, :s, s:]
        fitted = np.linalg.solve(gram, cross)
        total = np.trace(moments[:, s:, s:], axis1=1, axis2=2)
        return np.asarray(total - np.einsum("msk,msk->m", cross, fitted))


# ---------------------------------------------------------------- leaves that share a model


def shared(
    tree: Tree,
    x: Floats,
    target: Floats,
    weight: Floats | None = None,
    *,
    n_models: int,
    basis: NDArray[np.intp] | None = None,
    rounds: int = 20,
) -> Leaves:
    """Return for each leaf which of `n_models` linear models it takes, leaves that differ little taking the same.

    Notes
    -----
    The two groups of leaves whose joint fit costs least are joined until `n_models` are left; then each leaf goes to the
    model with the smallest error on its rows, and models are fitted anew, as long as the error falls. All from sums.
    """
    search = _Search(x, target, weight, None, None, None, basis, 0)
    moments = search.moments_of(tree.assign(x), tree.n_leaves)
    group = _joined(search, moments, n_models)
    best = np.inf
    for _ in range(rounds):
        sums = np.stack([moments[group == g].sum(axis=0) for g in range(n_models)])
        loss = np.stack([search.losses_under(moments, search.fits(total)) for total in sums], axis=1)
        moved = loss.argmin(axis=1)
        now = float(loss.min(axis=1).sum())
        if now > best * (1 - 1e-6) or len(np.unique(moved)) < n_models:
            break
        best, group = now, moved
    return group


def collapsed(tree: Tree, model: Leaves) -> tuple[Tree, Leaves]:
    """Return the tree without splits both of whose leaves take the same model, and the model of each leaf left."""
    while True:
        last = [s for s in range(len(tree.leaf)) if not np.isin(tree.leaf[s + 1 :], (tree.leaf[s], s + 1)).any()]
        idle = [s for s in last if model[tree.leaf[s]] == model[s + 1]]
        if not idle:
            return tree, model
        s = idle[-1]
        kept = np.arange(len(tree.leaf)) != s
        leaf = tree.leaf[kept]
        tree = Tree(leaf - (leaf > s + 1), tree.direction[kept], tree.threshold[kept], tree.gain[kept])
        model = np.delete(model, s + 1)


def _joined(search: _Search, moments: Floats, n_groups: int) -> Leaves:
    """Return groups of leaves, joined pair by pair by what joining costs."""
    n = len(moments)
    moments = moments.copy()
    loss = search.losses(moments)
    group = np.arange(n)
    cost = np.full((n, n), np.inf)
    a, b = np.triu_indices(n, 1)
    cost[a, b] = search.losses(moments[a] + moments[b]) - loss[a] - loss[b]
    for _ in range(n - n_groups):
        i, j = np.unravel_index(int(cost.argmin()), cost.shape)
        moments[i] += moments[j]
        loss[i] = search.losses(moments[i : i + 1])[0]
        group[group == j] = i
        cost[j, :] = cost[:, j] = np.inf
        others = np.setdiff1d(np.unique(group), [i])
        if len(others):
            new = search.losses(moments[i] + moments[others]) - loss[i] - loss[others]
            cost[np.minimum(others, i), np.maximum(others, i)] = new
    return np.unique(group, return_inverse=True)[1].reshape(n)


# ---------------------------------------------------------------- improving a tree as a whole


def improved(
    tree: Tree,
    x: Floats,
    target: Floats,
    weight: Floats | None = None,
    *,
    min_rows: int | None = None,
    directions: Floats | None = None,
    candidates: NDArray[np.intp] | None = None,
    basis: NDArray[np.intp] | None = None,
    model: Leaves | None = None,
    rounds: int = 4,
) -> Tree:
    """Return a tree of the same form whose splits were each chosen anew, knowing the leaves below them.

    Parameters
    ----------
    As in `grow`. model : (leaves,) the model that each leaf takes, where some share one.
    rounds : over all splits at most, while the squared error falls.

    Notes
    -----
    With the leaves' linear models held fixed, the best split of a node is the one under which each row goes to the side
    that says it better, which one pass over the sorted values of a column finds. The error never rises. Source:
    Carreira-Perpiñán and Tavallali 2018, *Alternating optimization of decision trees*.
    """
    search = _Search(x, target, weight, min_rows, directions, candidates, basis, 0)
    every = np.arange(len(x))
    columns = [_Binned.of(search.column(every, c)) for c in range(len(search.features) + len(search.oblique))]
    last = np.inf
    with one_thread():
        for _ in range(rounds):
            leaf = tree.assign(x)
            if model is None:
                loss = search.loss_in_each_leaf(leaf, tree.n_leaves)
            else:
                loss = search.loss_in_each_leaf(model[leaf], int(model.max()) + 1)[:, model]
            now = float(loss[every, leaf].sum())
            if now > last * (1 - 1e-4):
                break
            last = now
            for s in reversed(range(len(tree.leaf))):
                found = _chosen_anew(tree, s, x, loss, columns, search.min_rows)
                if found is not None:
                    direction, threshold = tree.direction.copy(), tree.threshold.copy()
                    direction[s], threshold[s] = search.direction(found[0]), found[1]
                    tree = replace(tree, direction=direction, threshold=threshold)
    return tree


@dataclass(frozen=True, eq=False)
class _Binned:
    """One column cut at quantiles: rows with code <= k are at or below thresholds[k]."""

    code: NDArray[np.int16]
    thresholds: Floats

    @staticmethod
    def of(values: Floats) -> _Binned:
        thresholds = cut_points(values, FINE_BINS)
        return _Binned(np.searchsorted(thresholds, values, side="left").astype(np.int16), thresholds)


def _chosen_anew(
    tree: Tree, split: int, x: Floats, loss: Floats, columns: list[_Binned], least: int
) -> tuple[int, float] | None:
    """Return (column, threshold) of a better split in a place, None if there is none."""
    rows = np.flatnonzero(tree.pruned(split + 1).assign(x) == tree.leaf[split])
    if len(rows) < 2 * least:
        return None
    stay, move = (_followed(tree, x[rows], leaf, split + 1) for leaf in (int(tree.leaf[split]), split + 1))
    below, above = loss[rows, stay], loss[rows, move]
    moves_up = _projected(x[rows], tree.direction[split]) > tree.threshold[split]
    best = float(np.where(moves_up, above, below).sum()) * (1 - 1e-12)
    found = None
    saved, base = below - above, float(above.sum())
    for c, column in enumerate(columns):
        n = len(column.thresholds)
        if n == 0:
            continue
        code = column.code[rows]
        count = np.cumsum(np.bincount(code, minlength=n + 1))[:n]
        total = base + np.cumsum(np.bincount(code, saved, minlength=n + 1))[:n]
        total[(count < least) | (len(rows) - count < least)] = np.inf
        k = int(total.argmin())
        if total[k] < best and _leaves_enough(np.where(code <= k, stay, move), np.where(moves_up, move, stay), least):
            best, found = float(total[k]), (c, float(column.thresholds[k]))
    return found


def _leaves_enough(leaf: Leaves, before: Leaves, least: int) -> bool:
    """Whether no leaf that rows were in is left with fewer than `least` of them."""
    used = np.unique(before)
    return bool(np.bincount(leaf, minlength=int(used[-1]) + 1)[used].min() >= least)


def _followed(tree: Tree, x: Floats, leaf: int, start: int) -> Leaves:
    """Return the leaves in which rows end that are in `leaf` before split `start`."""
    out = np.full(len(x), leaf, dtype=np.intp)
    for s in range(start, len(tree.leaf)):
        rows = np.flatnonzero(out == tree.leaf[s])
        if len(rows):
            out[rows[_projected(x[rows], tree.direction[s]) > tree.threshold[s]]] = s + 1
    return out


def cut_points(values: Floats, bins: int) -> Floats:
    """Return at most ``bins - 1`` thresholds at quantiles, between values that occur, written as shortly as they can be."""
    ordered = np.unique(values)
    if len(ordered) <= bins:
        low, high = ordered[:-1], ordered[1:]
    else:
        at = np.sort(values)[np.linspace(0, len(values) - 1, bins + 1).astype(int)[1:-1]]
        place = np.unique(np.searchsorted(ordered, at))
        place = place[place < len(ordered) - 1]
        low, high = ordered[place], ordered[place + 1]
    return np.unique([short_between(a, b) for a, b in zip(low.tolist(), high.tolist(), strict=True)])


def short_between(low: float, high: float) -> float:
    """Return a number with few digits in [low, high), near the middle."""
    middle = low + (high - low) / 2
    if not low < middle < high:
        return low
    for digits in range(1, 17):
        value = float(f"{middle:.{digits}g}")
        if low <= value < high:
            return value
    return low


# ---------------------------------------------------------------- rules


def ranges(tree: Tree, leaf: int) -> Iterator[tuple[Any, float, float]]:
    """Yield (direction, above, up to) for each direction that leads to a leaf, in the order of the first split on it."""
    limits: dict[bytes, list[Any]] = {}
    for s, above in tree.conditions(leaf):
        direction = tree.direction[s]
        held = limits.setdefault(direction.tobytes(), [direction, -np.inf, np.inf])
        threshold = float(tree.threshold[s])
        if above:
            held[1] = max(held[1], threshold)
        else:
            held[2] = min(held[2], threshold)
    yield from (tuple(v) for v in limits.values())
