"""Merging regions: from thousands of local linear models to a handful, by what each merger costs.

`region_moments` keeps of each region what the cost needs; `merge_path` joins regions one pair at a time, from all of
them down to one; `joint_maps` and `partition_loss` serve any partition.
`published_merge` is the merger of Sudjianto et al. 2020, kept for comparison. Arrays in, arrays out.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from relucidate.displaying import in_notebook
from relucidate.errors import ArgumentError, shown
from relucidate.layers import Floats
from relucidate.products import in_threads, one_thread

if TYPE_CHECKING:
    import pandas as pd

Ints = NDArray[np.intp]

NEIGHBOURS = 15
PRIOR = 1e-3
_JITTER = 1e-9  # on the diagonal of a correlation matrix: features may be constant or depend on each other
_RANK = 1e-13  # of the largest eigenvalue: below it a direction is one in which the rows do not vary
_CHUNK_CELLS = 2**20


# -------------------------------------------------------------------- moments


@dataclass(frozen=True, eq=False)
class RegionMoments:
    """Second moments of the rows of each region, ``S_r = Σ ω z zᵀ`` with ``z`` a row in whitened coordinates.

    Parameters
    ----------
    origin, scale : (d,) mean and standard deviation of each feature over all rows (1 where it is constant).
    root : (1 + d, 1 + d) lower triangular; ``z = root⁻¹ (1, (x - origin) / scale)``, so that the sum of all ``S_r`` is
        the total weight times the identity, but for directions in which the rows do not vary.
    count : (R,) rows. weight : (R,) sums of ω. mean : (R, d) rows' mean, less `origin`, by `scale`.
    factor : (m, 1 + d) rows ``√ω z`` of the regions with fewer than 1 + d rows, one region after the other.
    start : (R + 1,) where those of each region begin. dense : (D, 1 + d, 1 + d) the moments of all others.
    dense_of : (R,) the place of a region in `dense`, or -1.
    """

    origin: Floats
    scale: Floats
    root: Floats
    count: NDArray[np.int64]
    weight: Floats
    mean: Floats
    factor: Floats
    start: Ints
    dense: Floats
    dense_of: Ints

    @property
    def n_regions(self) -> int:
        """Number of regions."""
        return len(self.count)

    def inward(self, beta: Floats) -> Floats:
        """Return maps (..., 1 + d) of ``(1, x)`` as maps of ``z``."""
        moved = np.array(beta, dtype=np.float64)
        moved[..., 0] += moved[..., 1:] @ self.origin
        moved[..., 1:] *= self.scale
        return moved @ self.root

    def outward(self, beta: Floats) -> Floats:
        """Return maps (..., 1 + d) of ``z`` as maps of ``(1, x)``."""
        from scipy.linalg import solve_triangular

        flat = beta.reshape(-1, beta.shape[-1])
        moved = solve_triangular(self.root, flat.T, lower=True, trans="T").T.reshape(beta.shape)
        moved[..., 1:] /= self.scale
        moved[..., 0] -= moved[..., 1:] @ self.origin
        return moved

    def form(self, region: int) -> Form:
        """Return the moments of one region (1 + d, 1 + d), or a factor (rows, 1 + d) of them where that is smaller."""
        at = self.dense_of[region]
        if at >= 0:
            return Form(self.dense[at], True)
        return Form(self.factor[self.start[region] : self.start[region + 1]], False)

    def total(self) -> Floats:
        """Return ``Σ S_r`` over the regions (1 + d, 1 + d)."""
        return self.factor.T @ self.factor + self.dense[self.dense_of[self.dense_of >= 0]].sum(axis=0)

    def applied(self, v: Floats) -> tuple[Floats, Floats]:
        """Return ``Σ S_r v_r`` (K, 1 + d) and ``Σ v_rᵀ S_r v_r`` (K,) over the regions, for v (R, K, 1 + d)."""
        of_row = np.repeat(np.arange(self.n_regions), np.diff(self.start))
        is_dense = self.dense_of >= 0
        dense = self.dense[self.dense_of[is_dense]]
        sums, squares = np.empty(v.shape[1:]), np.empty(v.shape[1])
        for k in range(v.shape[1]):
            on_rows = np.einsum("mp,mp->m", self.factor, v[of_row, k])
            moved = np.einsum("rpq,rq->rp", dense, v[is_dense, k])
            sums[k] = on_rows @ self.factor + moved.sum(axis=0)
            squares[k] = on_rows @ on_rows + (v[is_dense, k] * moved).sum()
        return sums, squares

    def taken(self, order: Ints) -> RegionMoments:
        """Return the same regions in another order."""
        lengths = np.diff(self.start)[order]
        start = np.concatenate([[0], np.cumsum(lengths)])
        rows = np.repeat(self.start[order] - start[:-1], lengths) + np.arange(start[-1])
        return replace(
            self,
            count=self.count[order],
            weight=self.weight[order],
            mean=self.mean[order],
            factor=self.factor[rows],
            start=start,
            dense_of=self.dense_of[order],
        )


def region_moments(
    x: Floats, region: NDArray[np.integer], n_regions: int, weight: Floats | None = None
) -> RegionMoments:
    """Return the second moments of the rows of each region.

    Parameters
    ----------
    x : (n, d) rows. region : (n,) the region of each, from 0.
    n_regions : R; every region has a row.
    weight : (n,) ω, not negative; 1 by default. For a logit, p (1 - p) makes squared differences of the decision count
        as they count for the likelihood.

    Raises
    ------
    ArgumentError : a region without rows, values that are not finite, weights that are negative or all 0, or arrays
        that do not go together.

    Notes
    -----
    O(n d²). Memory is that of the rows at most: a region with fewer rows than 1 + d keeps them, the others (1 + d)² numbers.
    """
    from scipy.linalg import cholesky, solve_triangular

    x = np.asarray(x, dtype=np.float64)
    region = np.asarray(region)
    n, d = x.shape
    w = np.ones(n) if weight is None else np.asarray(weight, dtype=np.float64)
    _check_rows(n, region, n_regions, w)
    if not np.isfinite(x).all():
        raise ArgumentError("x holds values that are not finite.")
    count = np.bincount(region, minlength=n_regions).astype(np.int64)
    total = w.sum()
    origin = w @ x / total
    scale = np.sqrt(w @ (x - origin) ** 2 / total)
    # what is constant but for the rounding of its mean does not vary
    scale[~(scale > 1e-12 * np.abs(origin))] = 1.0

    z = np.empty((n, 1 + d))
    z[:, 0] = 1
    np.divide(x - origin, scale, out=z[:, 1:])
    pooled = z.T @ (z * (w / total)[:, None])
    pooled[range(1, 1 + d), range(1, 1 + d)] += _JITTER
    root = cholesky(pooled, lower=True)

    # each row is moved before rows are sorted, so that the numbers of the regions do not decide how it rounds
    white = solve_triangular(root, z.T, lower=True).T * np.sqrt(w)[:, None]
    order = np.argsort(region, kind="stable")
    ends = np.cumsum(count)
    begins = ends - count
    summed = np.add.reduceat(w[order], begins)
    # rows that weigh nothing still say where their region lies
    share = np.where((summed > 0).repeat(count), w[order], 1.0)
    mean = np.add.reduceat(z[order, 1:] * share[:, None], begins) / np.add.reduceat(share, begins)[:, None]
    z = np.ascontiguousarray(white[order])
    few = count <= d
    dense_of = np.where(few, -1, np.cumsum(~few) - 1)
    dense = np.empty((int((~few).sum()), 1 + d, 1 + d))
    for at, r in enumerate(np.flatnonzero(~few)):
        rows = z[begins[r] : ends[r]]
        dense[at] = rows.T @ rows
    start = np.concatenate([[0], np.cumsum(np.where(few, count, 0))])
    return RegionMoments(origin, scale, root, count, summed, mean, z[few.repeat(count)], start, dense, dense_of)


def _check_rows(n: int, region: NDArray[np.integer], n_regions: int, weight: Floats) -> None:
    if region.shape != (n,) or weight.shape != (n,):
        raise ArgumentError(
            f"{n:,} rows come with {len(region):,} regions and {len(weight):,} weights; expected as many."
        )
    if n == 0 or region.min() < 0 or region.max() >= n_regions:
        raise ArgumentError(f"region must hold numbers from 0 to {n_regions - 1}, one for each of at least one row.")
    empty = np.flatnonzero(np.bincount(region, minlength=n_regions) == 0)
    if len(empty):
        raise ArgumentError(
            f"{len(empty):,} regions have no rows ({shown(empty)}). Leave them out, or give the rows that they were found with."
        )
    if not (weight >= 0).all() or not 0 < weight.sum() < np.inf:
        raise ArgumentError("Weights must be finite, not negative, and not all 0.")


@dataclass(frozen=True, eq=False)
class Form:
    """A quadratic form, as its matrix or as a factor F with ``S = FᵀF`` of fewer rows than columns."""

    values: Floats
    is_dense: bool

    def matrix(self) -> Floats:
        return self.values if self.is_dense else self.values.T @ self.values

    def times(self, v: Floats) -> Floats:
        return v @ self.values if self.is_dense else (v @ self.values.T) @ self.values

    def __add__(self, other: Form) -> Form:
        if not self.is_dense and not other.is_dense and len(self.values) + len(other.values) < self.values.shape[1]:
            return Form(np.concatenate([self.values, other.values]), False)
        return Form(self.matrix() + other.matrix(), True)


# -------------------------------------------------------------------- graph


def region_graph(mean: Floats, k: int = NEIGHBOURS) -> Ints:
    """Return which regions are neighbours: edges (E, 2), each once, that connect all regions.

    Parameters
    ----------
    mean : (R, d) mean rows of the regions, on one scale.
    k : every region is joined with the k regions of the nearest means.

    Notes
    -----
    Where that leaves several components, each but the largest is joined with the region nearest to it outside, until
    one is left. O(R² d), in matrix products.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from sklearn.neighbors import NearestNeighbors

    R = len(mean)
    if R == 1:
        return np.zeros((0, 2), dtype=np.intp)
    k = min(k, R - 1)
    near = NearestNeighbors(n_neighbors=k).fit(mean).kneighbors(return_distance=False)
    edges = np.column_stack([np.repeat(np.arange(R), k), near.ravel()])
    while True:
        graph = coo_array((np.ones(len(edges), dtype=bool), (edges[:, 0], edges[:, 1])), shape=(R, R))
        n, component = connected_components(graph, directed=False)
        if n == 1:
            return np.unique(np.sort(edges, axis=1), axis=0).astype(np.intp)
        edges = np.concatenate([edges, _bridges(mean, component)])


def _bridges(mean: Floats, component: NDArray[np.integer]) -> Ints:
    """Return for each component but the largest the nearest pair of a region in it and one outside (components - 1, 2)."""
    from sklearn.metrics import pairwise_distances_argmin_min

    size = np.bincount(component)
    pairs = []
    for c in range(len(size)):
        if c != size.argmax():
            inside, outside = np.flatnonzero(component == c), np.flatnonzero(component != c)
            nearest, distance = pairwise_distances_argmin_min(mean[inside], mean[outside])
            i = distance.argmin()
            pairs.append((inside[i], outside[nearest[i]]))
    return np.array(pairs)


# -------------------------------------------------------------------- path


@dataclass(frozen=True, eq=False)
class MergePath:
    """The order in which regions join, from R models down to one.

    Parameters
    ----------
    moments : of the regions. beta : (R, n_outputs, 1 + d) their maps of ``(1, x)``.
    prior : κ, see `merge_path`.
    pairs : (R - 1, 2) what joins: regions are 0 to R - 1, and merger i makes cluster R + i; as in `scipy.cluster.hierarchy`.
    cost : (R - 1,) what each merger adds to the loss with its prior.
    loss : (R,) after as many mergers, the sum over rows and outputs of ω times the squared difference between the
        decision and the joint map.
    count : (R - 1,) rows of the cluster made.
    """

    moments: RegionMoments
    beta: Floats
    prior: float
    pairs: Ints
    cost: Floats
    loss: Floats
    count: NDArray[np.int64]

    @property
    def n_regions(self) -> int:
        """Number of regions at the start."""
        return len(self.loss)

    def labels(self, n_models: int) -> Ints:
        """Return the cluster of each region (R,) when `n_models` are left; clusters with most rows first.

        Raises
        ------
        ArgumentError : fewer than one model or more than there are regions.
        """
        return self._clusters(n_models)[1]

    def _clusters(self, n_models: int) -> tuple[Ints, Ints]:
        """Return the node of each cluster (n_models,) and the cluster of each region (R,)."""
        R = self.n_regions
        if not 1 <= n_models <= R:
            raise ArgumentError(f"n_models is {n_models}; there are {R:,} regions, so expected 1 to {R}.")
        made = R - n_models
        parent = np.arange(R + made)
        parent[self.pairs[:made].ravel()] = np.repeat(np.arange(R, R + made), 2)
        while not np.array_equal(above := parent[parent], parent):
            parent = above
        label = _by_rows(parent[:R], self.moments.count)
        nodes = np.empty(n_models, dtype=np.intp)
        nodes[label] = parent[:R]
        return nodes, label

    def maps(self, n_models: int, *, prior: float | None = None) -> Floats:
        """Return the joint map of each cluster (n_models, n_outputs, 1 + d), of ``(1, x)``.

        Parameters
        ----------
        n_models : as in `labels`.
        prior : the κ of the path by default; see `joint_maps`.
        """
        return joint_maps(self.moments, self.beta, self.labels(n_models), self.prior if prior is None else prior)

    def curve(self) -> Floats:
        """Return the mean squared difference from the decision with 1, 2, … R models (R,), a row's outputs added up."""
        return self.loss[::-1] / self.moments.weight.sum()

    @cached_property
    def _variance(self) -> float:
        """Weighted variance of the decision over the rows, its outputs added up."""
        inner = self.moments.inward(self.beta)
        # a common constant changes no variance; without it less cancels
        inner[:, :, 0] -= np.average(inner[:, :, 0], axis=0, weights=self.moments.weight)
        sums, squares = self.moments.applied(inner)
        total = self.moments.weight.sum()
        # the first entry of z is 1, so the first sum is that of the decision itself
        return float((squares / total - (sums[:, 0] / total) ** 2).sum())

    def linkage(self, n_models: int | None = None) -> Floats:
        """Return the last mergers, from `n_models` down to one, as a linkage that scipy draws (n_models - 1, 4).

        Leaf i is cluster i of ``labels(n_models)``; by default, region i. Heights are the loss with its prior, summed
        up to there, which never falls; the single costs may.
        """
        R = self.n_regions
        n = R if n_models is None else n_models
        nodes = np.arange(R) if n_models is None else self._clusters(n)[0]
        name = np.full(2 * R - 1, -1)
        name[nodes] = np.arange(n)
        name[2 * R - n :] = np.arange(n, 2 * n - 1)
        size = np.ones(2 * n - 1)
        out = np.empty((n - 1, 4))
        out[:, :2] = np.sort(name[self.pairs[R - n :]], axis=1)
        out[:, 2] = np.cumsum(self.cost)[R - n :]
        for i, (a, b) in enumerate(out[:, :2].astype(np.intp)):
            out[i, 3] = size[n + i] = size[a] + size[b]
        return out

    _repr_html_ = in_notebook

    def to_frame(self) -> pd.DataFrame:
        """Return one row per number of models, from 1 up.

        Returns
        -------
        pandas.DataFrame indexed by ``n_models``, with ``loss`` (see `curve`), ``r2`` (share of the variance of the
        decision that is kept), ``cost`` (of the next merger) and ``count`` (rows of the cluster that it makes).
        """
        import pandas as pd

        loss = self.curve()
        with np.errstate(invalid="ignore", divide="ignore"):
            r2 = np.where(self._variance > 0, 1 - loss / self._variance, np.nan)
        cost = np.concatenate([[np.nan], self.cost[::-1] / self.moments.weight.sum()])
        count = np.concatenate([[0], self.count[::-1]])
        index = pd.RangeIndex(1, len(loss) + 1, name="n_models")
        return pd.DataFrame({"loss": loss, "r2": r2, "cost": cost, "count": count}, index=index)

    def __repr__(self) -> str:
        rows = int(self.moments.count.sum())
        return f"<MergePath: {self.n_regions:,} regions of {rows:,} rows down to one, prior {self.prior:g}>"


def merge_path(
    moments: RegionMoments, beta: Floats, *, k: int = NEIGHBOURS, prior: float = PRIOR, edges: Ints | None = None
) -> MergePath:
    """Return the order in which regions join, the cheapest pair of neighbours first.

    Parameters
    ----------
    moments : from `region_moments`.
    beta : (R, n_outputs, 1 + d) or (R, 1 + d) maps of ``(1, x)``: intercept first.
    k : neighbours that each region has at the start, see `region_graph`. A cluster has the neighbours of all its regions.
    prior : κ ≥ 0. A region of weight w counts as if to its rows were added κ w rows spread like all rows of the table.
    edges : (E, 2) neighbours, connected, in place of `region_graph`.

    Raises
    ------
    ArgumentError : arrays that do not go together, maps that are not finite, a negative prior, or edges that leave
        regions unconnected.

    Notes
    -----
    With ``S_r`` the moments of a region plus κ w times those of all rows, joining A and B by their best joint map
    ``(S_A + S_B)⁻¹ (S_A β_A + S_B β_B)`` costs exactly ``dᵀ S_A (S_A + S_B)⁻¹ S_B d`` with ``d = β_A - β_B``, summed over
    outputs: Ward's rule in the metric of the rows. With κ = 0 the inverse is a pseudo-inverse and the cost the
    least-squares loss itself; but then any two regions of one row join for nothing, as every line through two points
    fits, and the joint map is worthless elsewhere. As κ grows the rule becomes Ward's on the maps in the metric of all
    rows. The default was chosen on held-out rows of three data sets, where ten times as much was nearly as good;
    it also lowers the loss on the rows themselves, since free mergers mislead what follows.

    Equal costs go by Ward's distance of the maps, then by the order of regions by rows, mean and map; so the numbers
    that regions have do not matter. Time is R log R for the heap and, for each merger, one (1 + d)³ for each neighbour
    of the new cluster.
    """
    beta = _three(beta)
    R, d = moments.n_regions, len(moments.origin)
    if beta.ndim != 3 or beta.shape[0] != R or beta.shape[2] != 1 + d:
        raise ArgumentError(f"beta has shape {beta.shape}; {R} regions of {d} features need ({R}, n_outputs, {1 + d}).")
    if not np.isfinite(beta).all():
        raise ArgumentError("beta holds values that are not finite.")
    if not (0 <= prior < np.inf and k >= 1):
        raise ArgumentError(f"prior is {prior} and k is {k}; expected a number that is not negative, and 1 or more.")
    order = _canonical(moments, beta)
    rank = np.empty(R, dtype=np.intp)
    rank[order] = np.arange(R)
    ordered, inner = moments.taken(order), moments.inward(beta[order])
    graph = region_graph(ordered.mean, k) if edges is None else _renamed(edges, rank)
    with one_thread():
        merging = _Merging(ordered, inner, graph, prior)
        merging.run()
    pairs = np.array(merging.pairs, dtype=np.intp).reshape(R - 1, 2)
    pairs[pairs < R] = order[pairs[pairs < R]]
    count = np.array(merging.counts, dtype=np.int64)
    loss = np.maximum(np.concatenate([[0.0], np.cumsum(merging.losses)]), 0)
    return MergePath(moments, beta, float(prior), np.sort(pairs, axis=1), np.array(merging.costs), loss, count)


def _canonical(moments: RegionMoments, beta: Floats) -> Ints:
    """Return the regions in an order that does not depend on their numbers: by rows, mean, and map."""
    keys = np.column_stack([-moments.count, -moments.weight, moments.mean])
    order = np.lexsort(keys.T[::-1])
    if not (keys[order[1:]] == keys[order[:-1]]).all(axis=1).any():
        return order
    # maps can have thousands of entries, and are rarely needed
    return np.lexsort(np.column_stack([keys, beta.reshape(len(beta), -1)]).T[::-1])


def _renamed(edges: Ints, rank: Ints) -> Ints:
    """Return edges under new names, each once, without loops."""
    edges = np.asarray(edges, dtype=np.intp).reshape(-1, 2)
    if len(edges) and not (edges.min() >= 0 and edges.max() < len(rank)):
        raise ArgumentError(f"edges name regions {edges.min()} to {edges.max()}; there are {len(rank)}, from 0.")
    renamed = np.unique(np.sort(rank[edges], axis=1), axis=0)
    return renamed[renamed[:, 0] != renamed[:, 1]]


def _prior_weight(moments: RegionMoments) -> Floats:
    """Return the weight of each region's prior (R,): its own, or next to nothing where it has none."""
    return np.maximum(moments.weight, 1e-12 * moments.weight.mean())


class _Merging:
    """The state of a path. A cluster lives where the first of its regions, in canonical order, began."""

    def __init__(self, moments: RegionMoments, beta: Floats, edges: Ints, prior: float) -> None:
        R = moments.n_regions
        self.prior = prior
        self.forms = [moments.form(r) for r in range(R)]
        self.weight = _prior_weight(moments)
        self.rows = moments.count.copy()
        self.beta = beta.copy()
        # Σ S_r (β - β_r) over the regions of a cluster: not 0, since β minimises the loss with its prior
        self.gradient = np.zeros_like(beta)
        self.node = list(range(R))
        self.born = [0] * R  # how many mergers had been made; R once a cluster is part of another
        self.neighbours: list[set[int]] = [set() for _ in range(R)]
        for i, j in edges.tolist():
            self.neighbours[i].add(j)
            self.neighbours[j].add(i)
        self.pairs: list[tuple[int, int]] = []
        self.costs: list[float] = []
        self.losses: list[float] = []
        self.counts: list[int] = []
        # cost, Ward's distance, the two clusters, and how many mergers had been made
        self.heap: list[tuple[float, float, int, int, int]] = []
        if len(edges):
            i, j = edges.T.tolist()
            costs, wards = self._costs(i, j)
            self.heap = list(zip(costs.tolist(), wards.tolist(), i, j, [0] * len(i), strict=True))
        self._tidy()

    def run(self) -> None:
        """Join the cheapest pair until one cluster is left."""
        R = len(self.forms)
        while len(self.pairs) < R - 1:
            if not self.heap:
                raise ArgumentError("edges leave some regions unconnected; expected a connected graph.")
            entry = heapq.heappop(self.heap)
            if self._holds(entry):
                self._join(entry[2], entry[3], entry[0])
                if len(self.heap) > self.limit:
                    self._tidy()

    def _holds(self, entry: tuple[float, float, int, int, int]) -> bool:
        """Return whether neither cluster has changed since; if one has, the heap holds a later entry."""
        _, _, i, j, made = entry
        return self.born[i] <= made and self.born[j] <= made

    def _tidy(self) -> None:
        """Rid the heap of entries that no longer hold, which would outnumber the others tenfold."""
        self.heap = [entry for entry in self.heap if self._holds(entry)]
        heapq.heapify(self.heap)
        self.limit = 2 * len(self.heap) + 1000

    def _join(self, i: int, j: int, cost: float) -> None:
        made = len(self.pairs) + 1
        self.pairs.append((self.node[i], self.node[j]))
        self.costs.append(cost)
        joint = self._joint_map(i, j)
        self.losses.append(self._moved(i, joint) + self._moved(j, joint))
        self.forms[i] = self.forms[i] + self.forms[j]
        self.forms[j] = _NOTHING
        self.weight[i] += self.weight[j]
        self.rows[i] += self.rows[j]
        self.counts.append(int(self.rows[i]))
        self.beta[i] = joint
        self.gradient[i] += self.gradient[j]
        self.node[i] = len(self.forms) + made - 1
        self.born[i], self.born[j] = made, len(self.forms)
        for other in self.neighbours[j]:
            self.neighbours[other].discard(j)
            if other != i:
                self.neighbours[other].add(i)
                self.neighbours[i].add(other)
        self.neighbours[j] = set()
        if self.neighbours[i]:
            others = sorted(self.neighbours[i])
            costs, wards = self._costs([i], others)
            for other, c, w in zip(others, costs.tolist(), wards.tolist(), strict=True):
                heapq.heappush(self.heap, (c, w, min(i, other), max(i, other), made))

    def _joint_map(self, i: int, j: int) -> Floats:
        """Return ``(S_i + S_j)⁻¹ (S_i β_i + S_j β_j)``, solved about the mean of both maps."""
        wi, wj = self.weight[i], self.weight[j]
        share = wj / (wi + wj)
        d = self.beta[i] - self.beta[j]
        a, b = self._matrices([i])[0], self._matrices([j])[0]
        pull = share * (d @ a) - (1 - share) * (d @ b)
        return self.beta[j] + (1 - share) * d + _solve((a + b)[None], pull[None], self.prior > 0)[0]

    def _moved(self, i: int, joint: Floats) -> float:
        """Return what it adds to the loss that the rows of a cluster take another map; its gradient follows."""
        step = joint - self.beta[i]
        pushed = self.forms[i].times(step)
        added = float((step * (2 * self.gradient[i] + pushed)).sum())
        self.gradient[i] += pushed
        return added

    def _matrices(self, clusters: Sequence[int]) -> Floats:
        """Return the moments of clusters with their priors (k, 1 + d, 1 + d)."""
        p = self.beta.shape[2]
        out = np.empty((len(clusters), p, p))
        for at, i in enumerate(clusters):
            form = self.forms[i]
            if form.is_dense:
                out[at] = form.values
            else:
                np.matmul(form.values.T, form.values, out=out[at])
        if self.prior:
            out[:, range(p), range(p)] += (self.prior * self.weight[clusters])[:, None]
        return out

    def _costs(self, i: Sequence[int], j: Sequence[int]) -> tuple[Floats, Floats]:
        """Return what it costs to join clusters, and Ward's distance of their maps (k,) each. One i may stand for all."""
        step = max(1, _CHUNK_CELLS // self.beta.shape[2] ** 2)
        parts = [(i if len(i) == 1 else i[s : s + step], j[s : s + step]) for s in range(0, len(j), step)]
        costs, wards = zip(*in_threads(lambda part: self._cost_chunk(*part), parts), strict=True)
        return np.concatenate(costs), np.concatenate(wards)

    def _cost_chunk(self, i: Sequence[int], j: Sequence[int]) -> tuple[Floats, Floats]:
        a, b = self._matrices(i), self._matrices(j)
        d = self.beta[i] - self.beta[j]
        ad, bd = d @ a, d @ b
        cost = (_solve(a + b, ad, self.prior > 0) * bd).sum(axis=(1, 2))
        bound = np.minimum((d * ad).sum(axis=(1, 2)), (d * bd).sum(axis=(1, 2)))
        # what remains of a cost of nothing is rounding, and must not decide
        cost = np.where(cost > 1e-12 * bound, cost, 0.0)
        wi, wj = self.weight[i], self.weight[j]
        return cost, wi * wj / (wi + wj) * (d * d).sum(axis=(1, 2))


_NOTHING = Form(np.zeros((0, 0)), False)


def _solve(s: Floats, v: Floats, definite: bool) -> Floats:
    """Return ``S⁻ v`` (k, K, p) for forms (k, p, p) and rows v (k, K, p) in their range."""
    if definite:
        return np.asarray(np.linalg.solve(s, v.transpose(0, 2, 1)).transpose(0, 2, 1), dtype=np.float64)
    values, vectors = np.linalg.eigh(s)
    kept = values > _RANK * values[:, -1:]
    inverse = np.where(kept, 1 / np.where(kept, values, 1.0), 0.0)
    return ((v @ vectors) * inverse[:, None, :]) @ vectors.transpose(0, 2, 1)


# -------------------------------------------------------------------- any partition


def joint_maps(moments: RegionMoments, beta: Floats, label: NDArray[np.integer], prior: float = 0.0) -> Floats:
    """Return the best map of each cluster of any partition of the regions (n_clusters, n_outputs, 1 + d), of ``(1, x)``.

    Parameters
    ----------
    moments, beta : as in `merge_path`.
    label : (R,) cluster of each region, from 0.
    prior : κ, see `merge_path`; 0 for the least-squares fit to the decision on the rows of the cluster.

    Notes
    -----
    In directions that neither rows nor prior determine it is the mean of the regions' maps, by weight.
    """
    inner, weight = moments.inward(_three(beta)), _prior_weight(moments)
    order = np.argsort(label, kind="stable")
    maps = []
    for part in np.split(order, np.cumsum(np.bincount(label))[:-1]):
        centre = np.average(inner[part], axis=0, weights=weight[part])
        away, own, some = inner[part] - centre, weight[part], moments.taken(part)
        pull = some.applied(away)[0] + prior * np.tensordot(own, away, axes=1)
        s = some.total() + prior * own.sum() * np.eye(inner.shape[2])
        maps.append(centre + _solve(s[None], pull[None], prior > 0)[0])
    return moments.outward(np.stack(maps))


def partition_loss(moments: RegionMoments, beta: Floats, label: NDArray[np.integer], maps: Floats) -> float:
    """Return the mean squared difference from the decision where each cluster has one map, a row's outputs added up.

    Parameters
    ----------
    moments, beta, label : as in `joint_maps`. maps : (n_clusters, n_outputs, 1 + d) of ``(1, x)``.
    """
    squares = moments.applied(moments.inward(maps)[label] - moments.inward(_three(beta)))[1]
    return float(squares.sum() / moments.weight.sum())


def _three(beta: Floats) -> Floats:
    """Return maps with an axis for outputs."""
    beta = np.asarray(beta, dtype=np.float64)
    return beta[:, None, :] if beta.ndim == 2 else beta


# -------------------------------------------------------------------- as published


@dataclass(frozen=True, eq=False)
class PublishedMerge:
    """Regions merged as published.

    Parameters
    ----------
    label : (R,) cluster of each region, those with most rows first.
    count : (n_models,) rows of each cluster.
    k : neighbours that each region had when the graph was connected.
    mean : (R, d) mean rows of the regions. beta : (R, n_outputs, 1 + d) their maps.
    """

    label: Ints
    count: NDArray[np.int64]
    k: int
    mean: Floats
    beta: Floats

    def assign(self, x: Floats, beta: Floats) -> Ints:
        """Return the cluster of other rows (n,): of the 5 nearest region means, the region with the nearest map.

        Parameters
        ----------
        x : (n, d) rows. beta : (n, n_outputs, 1 + d) the network's own maps at them.
        """
        from sklearn.neighbors import NearestNeighbors

        search = NearestNeighbors(n_neighbors=min(5, len(self.mean))).fit(self.mean)
        near = search.kneighbors(x, return_distance=False)
        difference = self.beta.reshape(len(self.beta), -1)[near] - beta.reshape(len(beta), 1, -1)
        chosen = (difference**2).sum(axis=2).argmin(axis=1)
        return self.label[near[np.arange(len(near)), chosen]]


def published_merge(
    mean: Floats,
    beta: Floats,
    count: NDArray[np.integer],
    *,
    n_models: int = 10,
    linkage: Literal["ward", "average"] = "ward",
    min_rows: int = 30,
    k: int | None = None,
) -> PublishedMerge:
    """Return regions merged as Sudjianto et al. do, and their aletheia-dnn.

    Parameters
    ----------
    mean : (R, d) mean rows of the regions, in the network's units.
    beta : (R, n_outputs, 1 + d) or (R, 1 + d) maps, intercept first. count : (R,) rows.
    n_models : clusters before small ones are dissolved. min_rows : a cluster of so many rows or fewer is small.
    k : neighbours at first; 1 % of the regions by default.

    Raises
    ------
    ArgumentError : no clusters or no neighbours are asked for, or an unknown linkage.

    Notes
    -----
    Agglomerates the maps, unscaled, along the graph of the k nearest region means; k grows by one until it is connected.
    A small cluster goes whole to the large one with the nearest mean row; where none is large, to the largest.
    Source: Sudjianto et al. 2020, Algorithm 1.
    """
    from scipy.sparse.csgraph import connected_components
    from sklearn.cluster import AgglomerativeClustering
    from sklearn.neighbors import kneighbors_graph

    R = len(mean)
    beta = _three(beta)
    if n_models < 1 or (k is not None and k < 1):
        raise ArgumentError(f"n_models is {n_models} and k is {k}; expected at least 1.")
    if linkage not in ("ward", "average"):
        raise ArgumentError(f"linkage is {linkage!r}; expected 'ward' or 'average'.")
    if R == 1:
        return PublishedMerge(np.zeros(1, dtype=np.intp), np.array(count, dtype=np.int64), 0, mean, beta)
    k = min(max(1, R // 100) if k is None else k, R - 1)
    while connected_components(graph := kneighbors_graph(mean, k, include_self=False), directed=False)[0] > 1:
        k += 1
    cluster = AgglomerativeClustering(min(n_models, R), connectivity=graph, linkage=linkage)
    found = cluster.fit_predict(beta.reshape(R, -1))
    label = _by_rows(_dissolved(found, mean, count, min_rows), count)
    return PublishedMerge(label, np.bincount(label, count).astype(np.int64), k, mean, beta)


def _dissolved(label: Ints, mean: Floats, count: NDArray[np.integer], min_rows: int) -> Ints:
    """Return the labels with each small cluster joined to the large one of the nearest mean row."""
    rows = np.bincount(label, count)
    centre = np.stack([np.bincount(label, count * column) for column in mean.T], axis=1) / rows[:, None]
    is_large = rows > min_rows if (rows > min_rows).any() else np.arange(len(rows)) == rows.argmax()
    large = np.flatnonzero(is_large)
    to = np.arange(len(rows))
    for c in np.flatnonzero(~is_large):
        to[c] = large[((centre[large] - centre[c]) ** 2).sum(axis=1).argmin()]
    return to[label]


def _by_rows(label: Ints, count: NDArray[np.integer]) -> Ints:
    """Return labels numbered anew, those with most rows first, ties by their first region."""
    _, first, code = np.unique(label, return_index=True, return_inverse=True)
    order = np.lexsort((first, -np.bincount(code, count)))
    rank = np.empty(len(order), dtype=np.intp)
    rank[order] = np.arange(len(order))
    return rank[code]
