"""Merging regions: costs are what refits cost, the path is the greedy one, and the published merger gives its counts."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster import hierarchy
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.cluster import AgglomerativeClustering

import relucidate as rl
from paper_cases import boston, breast_cancer, cocircles
from relucidate import merging
from relucidate.errors import ArgumentError
from relucidate.grouping import nearest_patterns
from relucidate.merging import merge_path, published_merge, region_graph, region_moments

# ---------------------------------------------------------------- the same, slowly


class Rows:
    """Rows in regions with a map each, and what merging them costs by refitting."""

    def __init__(self, seed, sizes, d=3, K=1, *, weighted=False, spread=1.0, shift=0.0, duplicates=False):
        rng = np.random.default_rng(seed)
        self.region = np.repeat(np.arange(len(sizes)), sizes)
        n = len(self.region)
        centres = rng.normal(size=(len(sizes), d))
        self.x = (centres[self.region] + 0.5 * rng.normal(size=(n, d))) * np.linspace(1, spread, d) + shift
        if duplicates:
            self.x[1::3] = self.x[np.arange(len(self.x[1::3])) * 3]
        self.weight = rng.integers(0, 4, n).astype(float) if weighted else None
        if weighted:
            self.weight[0] = 1
        self.beta = rng.normal(size=(len(sizes), K, 1 + d)) / np.r_[1, np.linspace(1, spread, d)]
        self.R = len(sizes)

    @property
    def moments(self):
        return region_moments(self.x, self.region, self.R, self.weight)

    @property
    def w(self):
        return np.ones(len(self.x)) if self.weight is None else self.weight

    def stacked(self, regions, prior):
        """Return the weighted rows of regions, those of their priors, and the decisions at both."""
        z = np.column_stack([np.ones(len(self.x)), self.x])
        share = self.w / self.w.sum()
        sd = np.sqrt(share @ (self.x - share @ self.x) ** 2)
        # the jitter is part of the prior: it matters where there are fewer rows than features
        jitter = np.diag(np.r_[0, np.sqrt(merging._JITTER) * np.where(sd > 1e-9, sd, 1)])
        spread = np.concatenate([z * np.sqrt(share)[:, None], jitter])
        rows, values = [], []
        for r in regions:
            mine = self.region == r
            own = z[mine] * np.sqrt(self.w[mine])[:, None]
            both = np.concatenate([own, np.sqrt(prior * self.w[mine].sum()) * spread]) if prior else own
            rows.append(both)
            values.append(both @ self.beta[r].T)
        return np.concatenate(rows), np.concatenate(values)

    def refit(self, regions, prior=0.0):
        """Return the least loss of one map for all these regions, and that map (1 + d, K)."""
        z, f = self.stacked(regions, prior)
        size = np.abs(z).max(axis=0)
        size[size == 0] = 1
        b = np.linalg.lstsq(z / size, f, rcond=1e-10)[0] / size[:, None]
        return float(((z @ b - f) ** 2).sum()), b

    def cost(self, a, b, prior=0.0):
        return self.refit([*a, *b], prior)[0] - self.refit(a, prior)[0] - self.refit(b, prior)[0]

    def scale(self):
        f = self.stacked(range(self.R), 0.0)[1]
        return float((f**2).sum()) + 1e-300


def replay(rows, path, edges, prior, tolerance=1e-9):
    """Assert that each merger joins a cheapest pair of neighbouring clusters, at its cost."""
    edges = {tuple(e) for e in np.asarray(edges).tolist()}
    clusters = {r: [r] for r in range(rows.R)}
    eps = tolerance * rows.scale()
    total = 0.0
    for i, (a, b) in enumerate(path.pairs.tolist()):
        near = [
            (p, q)
            for p, q in itertools.combinations(clusters, 2)
            if any((r, s) in edges or (s, r) in edges for r in clusters[p] for s in clusters[q])
        ]
        costs = {pair: rows.cost(clusters[pair[0]], clusters[pair[1]], prior) for pair in near}
        assert (a, b) in costs
        assert path.cost[i] == pytest.approx(costs[a, b], rel=tolerance, abs=eps)
        assert costs[a, b] <= min(costs.values()) + eps
        clusters[rows.R + i] = clusters.pop(a) + clusters.pop(b)
        total += costs[a, b]
        assert path.count[i] == np.isin(rows.region, clusters[rows.R + i]).sum()
        if prior == 0:
            assert path.loss[i + 1] == pytest.approx(total, rel=tolerance, abs=eps)


SIZES = {
    "many rows each": [9, 12, 7, 20, 8, 11],
    "one row each": [1] * 7,
    "fewer rows than coefficients": [2, 3, 1, 2, 3, 1],
    "mixed": [1, 15, 2, 1, 9, 3, 1, 6],
    "one large": [60, 1, 1, 1, 1],
}

# ---------------------------------------------------------------- moments


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_moments_and_maps_go_in_and_out(sizes, weighted):
    rows = Rows(0, sizes, K=2, weighted=weighted, spread=1e3, shift=1e4)
    m = rows.moments
    np.testing.assert_allclose(
        m.outward(m.inward(rows.beta)), rows.beta, rtol=1e-9, atol=1e-9 * np.abs(rows.beta).max()
    )
    inner = m.inward(rows.beta)
    z = np.column_stack([np.ones(len(rows.x)), rows.x])
    for r in range(rows.R):
        mine = rows.region == r
        decision = np.sqrt(rows.w[mine])[:, None] * (z[mine] @ rows.beta[r].T)
        quadratic = inner[r] @ m.form(r).matrix() @ inner[r].T
        np.testing.assert_allclose(quadratic, decision.T @ decision, rtol=1e-9, atol=1e-9 * rows.scale())
        np.testing.assert_allclose(m.form(r).times(inner[r]), inner[r] @ m.form(r).matrix(), atol=1e-9 * rows.scale())
    np.testing.assert_allclose(m.total(), m.weight.sum() * np.eye(4), atol=1e-6 * m.weight.sum())
    sums, squares = m.applied(inner)
    each = [inner[r] @ m.form(r).matrix() for r in range(rows.R)]
    np.testing.assert_allclose(sums, sum(each), rtol=1e-9, atol=1e-9 * rows.scale())
    expected = sum((e * v).sum(axis=1) for e, v in zip(each, inner, strict=True))
    np.testing.assert_allclose(squares, expected, rtol=1e-9)


def test_small_regions_take_the_room_of_their_rows():
    rows = Rows(0, [1, 2, 30, 3, 4], d=3)
    m = rows.moments
    assert m.factor.shape == (1 + 2 + 3, 4)
    assert m.dense.shape == (2, 4, 4)
    back = m.taken(np.array([4, 3, 0]))
    assert back.count.tolist() == [4, 3, 1]
    for at, r in enumerate([4, 3, 0]):
        assert np.array_equal(back.form(at).matrix(), m.form(r).matrix())


def test_features_that_do_not_vary_or_depend_on_each_other_do_no_harm():
    rows = Rows(0, SIZES["mixed"], d=5)
    rows.x[:, 1] = 7e8
    rows.x[:, 3] = 2 * rows.x[:, 0] - 3
    rows.beta[:, :, 2] = 0
    path = merge_path(rows.moments, rows.beta, prior=0.0)
    assert path.loss[-1] == pytest.approx(rows.refit(range(rows.R))[0], rel=1e-6)
    assert np.isfinite(path.maps(2)).all()
    np.testing.assert_allclose(path.maps(rows.R)[path.labels(rows.R)], rows.beta, atol=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_regions": 4}, "1 regions have no rows"),
        ({"n_regions": 2}, "numbers from 0 to 1"),
        ({"region": np.array([0, 1])}, "3 rows come with 2 regions"),
        ({"region": np.array([0, -1, 2])}, "numbers from 0"),
        ({"weight": np.array([1.0, -1.0, 1.0])}, "not negative"),
        ({"weight": np.zeros(3)}, "not all 0"),
        ({"weight": np.array([1.0, np.nan, 1.0])}, "finite"),
        ({"weight": np.ones(2)}, "2 weights"),
        ({"x": np.full((3, 3), np.nan)}, "x holds values that are not finite"),
    ],
)
def test_rows_that_do_not_fit_are_refused(change, message):
    arguments = {"x": np.eye(3), "region": np.array([0, 1, 2]), "n_regions": 3} | change
    with pytest.raises(ArgumentError, match=message):
        region_moments(**arguments)


# ---------------------------------------------------------------- costs


@pytest.mark.parametrize("prior", [0.0, 0.01, 3.0])
@pytest.mark.parametrize("K", [1, 3])
@pytest.mark.parametrize("sizes", [(1, 1), (1, 20), (3, 2), (2, 1), (30, 25), (4, 1)])
def test_joining_two_costs_what_a_refit_costs(sizes, K, prior):
    for seed in range(6):
        rows = Rows(seed, sizes, K=K, weighted=seed % 2 == 1, spread=50.0, duplicates=seed % 3 == 0)
        path = merge_path(rows.moments, rows.beta, prior=prior)
        close = {"rel": 1e-9 if prior == 0 else 1e-6, "abs": (1e-12 if prior == 0 else 1e-10) * rows.scale()}
        assert path.cost[0] == pytest.approx(rows.cost([0], [1], prior), **close)
        joint = rows.refit([0, 1], prior)[1]
        z, f = rows.stacked([0, 1], 0.0)
        np.testing.assert_allclose(
            z @ path.maps(1)[0].T, z @ joint, atol=1e-6 * np.abs(f).max(), err_msg="values on the rows"
        )
        assert path.loss[1] == pytest.approx(float(((z @ joint - f) ** 2).sum()), rel=1e-5, abs=1e-9 * rows.scale())


def test_two_rows_join_for_nothing_unless_they_are_one():
    x = np.array([[0.0, 0.0], [1.0, 2.0]])
    beta = np.array([[0.0, 1.0, 0.0], [5.0, 0.0, -3.0]])
    assert merge_path(region_moments(x, np.arange(2), 2), beta, prior=0.0).cost[0] == 0.0
    same = np.zeros((2, 2))
    path = merge_path(region_moments(same, np.arange(2), 2), beta, prior=0.0)
    assert path.cost[0] == pytest.approx(5.0**2 / 2)  # values 0 and 5 at one place


def test_a_prior_keeps_far_apart_maps_from_joining_for_nothing():
    x = np.array([[0.0], [1.0], [2.0], [3.0]])
    beta = np.array([[0.0, 1.0], [0.0, 1.1], [9.0, -40.0], [9.0, -41.0]])
    for prior, tie in ((0.01, False), (0.0, True)):
        path = merge_path(region_moments(x, np.arange(4), 4), beta, prior=prior)
        assert (path.cost[0] == 0) == tie
        assert path.labels(2)[0] == path.labels(2)[1] != path.labels(2)[2] == path.labels(2)[3]


def test_directions_that_no_row_determines_keep_the_mean_of_the_maps():
    x = np.zeros((4, 3))
    x[:, 0] = [0, 1, 2, 3]
    beta = np.random.default_rng(0).normal(size=(2, 1, 4))
    maps = merge_path(region_moments(x, np.array([0, 0, 0, 1]), 2), beta, prior=0.0).maps(1)
    np.testing.assert_allclose(maps[0, :, 2:], 0.75 * beta[0, :, 2:] + 0.25 * beta[1, :, 2:], atol=1e-6)


# ---------------------------------------------------------------- paths


@pytest.mark.parametrize("prior", [0.0, 0.01])
@pytest.mark.parametrize("K", [1, 2])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_every_merger_is_a_cheapest_one(sizes, K, prior):
    rows = Rows(3, sizes, K=K)
    edges = region_graph(rows.moments.mean, 2)
    path = merge_path(rows.moments, rows.beta, prior=prior, k=2)
    replay(rows, path, edges, prior, 1e-9 if prior == 0 else 1e-7)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10**6),
    st.lists(st.sampled_from([1, 1, 2, 3, 5, 9]), min_size=1, max_size=7),
    st.integers(1, 3),
    st.booleans(),
    st.booleans(),
    st.sampled_from([0.0, 0.01, 1.0]),
)
def test_a_path_is_greedy_whatever_the_rows(seed, sizes, k, weighted, duplicates, prior):
    rows = Rows(seed, sizes, K=1 + seed % 2, weighted=weighted, duplicates=duplicates)
    edges = region_graph(rows.moments.mean, k)
    path = merge_path(rows.moments, rows.beta, prior=prior, edges=edges)
    replay(rows, path, edges, prior, 1e-7)
    assert (path.cost >= 0).all()
    assert path.loss[0] == 0
    assert (path.loss >= 0).all()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12), st.sampled_from([0.0, 0.01]))
def test_labels_are_nested_and_maps_have_the_loss_of_the_path(seed, R, prior):
    rng = np.random.default_rng(seed)
    rows = Rows(seed, rng.integers(1, 8, R), K=2)
    path = merge_path(rows.moments, rows.beta, prior=prior)
    z = np.column_stack([np.ones(len(rows.x)), rows.x])
    for n in range(1, R + 1):
        label = path.labels(n)
        assert sorted(set(label)) == list(range(n))
        counts = np.bincount(label, np.bincount(rows.region))
        assert (np.diff(counts) <= 0).all()
        if n > 1:
            coarser = path.labels(n - 1)
            assert len(set(zip(label, coarser, strict=True))) == n
        maps = path.maps(n)
        wrong = np.einsum("nkp,np->nk", maps[label[rows.region]] - rows.beta[rows.region], z)
        assert path.curve()[n - 1] * len(z) == pytest.approx((wrong**2).sum(), rel=1e-7, abs=1e-9 * rows.scale())
        refitted = path.maps(n, prior=0)
        best = sum(rows.refit(np.flatnonzero(label == c))[0] for c in range(n))
        wrong = np.einsum("nkp,np->nk", refitted[label[rows.region]] - rows.beta[rows.region], z)
        assert (wrong**2).sum() == pytest.approx(best, rel=1e-7, abs=1e-9 * rows.scale())
        assert merging.partition_loss(rows.moments, rows.beta, label, refitted) * len(z) == pytest.approx(
            best, rel=1e-7, abs=1e-9 * rows.scale()
        )
        linkage = path.linkage(n)
        assert linkage.shape == (n - 1, 4)
        if n > 1:
            assert hierarchy.is_valid_linkage(linkage)
            assert hierarchy.is_monotonic(linkage)
            assert linkage[-1, 3] == n


def test_scipy_cuts_the_linkage_where_the_path_does():
    rows = Rows(1, SIZES["many rows each"])
    path = merge_path(rows.moments, rows.beta)
    for n in range(1, rows.R + 1):
        theirs = hierarchy.fcluster(path.linkage(), n, "maxclust")
        assert len(set(zip(theirs, path.labels(n), strict=True))) == n
    leaves = hierarchy.dendrogram(path.linkage(4), no_plot=True)["ivl"]
    assert sorted(leaves) == ["0", "1", "2", "3"]
    few = hierarchy.fcluster(path.linkage(4), 2, "maxclust")
    assert len(set(zip(few[path.labels(4)], path.labels(2), strict=True))) == 2


@pytest.mark.parametrize("prior", [0.0, 0.01])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_the_numbers_of_regions_do_not_matter(sizes, prior):
    rows = Rows(5, sizes * 3, K=2, duplicates=True)
    path = merge_path(rows.moments, rows.beta, prior=prior, k=3)
    rng = np.random.default_rng(0)
    for _ in range(3):
        new = rng.permutation(rows.R)
        beta = np.empty_like(rows.beta)
        beta[new] = rows.beta
        other = merge_path(region_moments(rows.x, new[rows.region], rows.R), beta, prior=prior, k=3)
        assert np.array_equal(path.cost, other.cost)
        assert np.array_equal(path.loss, other.loss)
        for n in range(1, rows.R + 1):
            assert len(set(zip(path.labels(n), other.labels(n)[new], strict=True))) == n


def test_many_regions_are_joined_as_few_are(monkeypatch):
    """In many parts, and with the heap tidied at every turn, the path is the same."""
    rng = np.random.default_rng(0)
    rows = Rows(0, rng.integers(1, 6, 200), d=4)
    path = merge_path(rows.moments, rows.beta)
    monkeypatch.setattr(merging, "_CHUNK_CELLS", 100)
    tidied = []
    whole = merging._Merging._tidy

    def always(self):
        whole(self)
        self.limit = 0
        tidied.append(len(self.heap))

    monkeypatch.setattr(merging._Merging, "_tidy", always)
    other = merge_path(rows.moments, rows.beta)
    assert len(tidied) > 150
    assert np.array_equal(path.pairs, other.pairs)
    assert np.array_equal(path.cost, other.cost)


def test_without_neighbours_to_spare_ward_is_found():
    """Where every region has the moments of all rows, the path is Ward's on the maps."""
    rng = np.random.default_rng(0)
    cube = np.array(list(itertools.product([-1.0, 1.0], repeat=3)))
    x, region = np.tile(cube, (30, 1)), np.repeat(np.arange(30), len(cube))
    beta = rng.normal(size=(30, 1, 4))
    for prior in (0.0, 1.0):
        path = merge_path(region_moments(x, region, 30), beta, prior=prior, k=29)
        ward = hierarchy.ward(beta[:, 0])
        np.testing.assert_allclose(path.cost, (1 + prior) * len(cube) * ward[:, 2] ** 2 / 2, rtol=1e-6)
        for n in (2, 5, 12):
            theirs = AgglomerativeClustering(n).fit_predict(beta[:, 0])
            assert len(set(zip(theirs, path.labels(n), strict=True))) == n


@pytest.mark.parametrize("R", [1, 2])
def test_one_region_and_two(R):
    rows = Rows(0, [4, 3][:R], K=2)
    path = merge_path(rows.moments, rows.beta)
    assert path.labels(R).tolist() == list(range(R))
    np.testing.assert_allclose(path.maps(R), rows.beta, atol=1e-9)
    assert path.labels(1).tolist() == [0] * R
    assert len(path.cost) == len(path.pairs) == R - 1
    frame = path.to_frame()
    assert frame.index.tolist() == list(range(1, R + 1))
    assert frame["loss"].tolist() == path.curve().tolist()
    assert frame["r2"][R] == pytest.approx(1)
    assert f"{R} regions" in repr(path)


def test_the_table_says_what_share_of_the_variance_is_kept():
    rows = Rows(2, SIZES["mixed"], K=2, weighted=True, shift=100.0)
    frame = merge_path(rows.moments, rows.beta, prior=0.0).to_frame()
    z = np.column_stack([np.ones(len(rows.x)), rows.x])
    decision = np.einsum("nkp,np->nk", rows.beta[rows.region], z)
    mean = np.average(decision, axis=0, weights=rows.w)
    variance = np.average((decision - mean) ** 2, axis=0, weights=rows.w).sum()
    np.testing.assert_allclose(frame["r2"], 1 - frame["loss"] / variance, rtol=1e-6, atol=1e-9)
    assert frame["count"][2] == len(rows.x)
    assert np.isnan(frame["cost"][1])


def test_regions_whose_rows_weigh_nothing_join_for_nothing():
    rows = Rows(0, [5, 5, 2, 2, 1])
    rows.weight = (rows.region < 2).astype(float)
    for prior in (0.0, 0.01):
        path = merge_path(rows.moments, rows.beta, prior=prior)
        assert np.isfinite(path.cost).all()
        assert np.isfinite(path.maps(1)).all()
        assert path.loss[-1] <= rows.cost([0], [1]) * 1.1 + 1e-6
        assert path.count[-1] == 15


def test_any_partition_has_its_best_maps_and_their_loss():
    rows = Rows(4, SIZES["mixed"], K=2, weighted=True)
    label = np.array([1, 0, 0, 2, 1, 2, 2, 0])
    maps = merging.joint_maps(rows.moments, rows.beta, label)
    best = sum(rows.refit(np.flatnonzero(label == c))[0] for c in range(3))
    assert merging.partition_loss(rows.moments, rows.beta, label, maps) * rows.w.sum() == pytest.approx(best)
    other = maps + 0.1
    worse = 0.0
    for c in range(3):
        z, f = rows.stacked(np.flatnonzero(label == c), 0.0)
        worse += ((z @ other[c].T - f) ** 2).sum()
    assert merging.partition_loss(rows.moments, rows.beta, label, other) * rows.w.sum() == pytest.approx(worse)
    flat = merging.joint_maps(rows.moments, rows.beta[:, 0], label)
    np.testing.assert_allclose(flat, maps[:, :1], atol=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"beta": np.zeros((6, 1, 3))}, r"need \(6, n_outputs, 4\)"),
        ({"beta": np.zeros((5, 1, 4))}, r"need \(6, n_outputs, 4\)"),
        ({"beta": np.full((6, 1, 4), np.inf)}, "not finite"),
        ({"prior": -1.0}, "prior is -1"),
        ({"prior": np.nan}, "prior is nan"),
        ({"k": 0}, "k is 0"),
        ({"edges": [[0, 1], [1, 6]]}, "regions 0 to 6"),
        ({"edges": [[0, 1], [1, 1], [2, 3]]}, "unconnected"),
        ({"edges": np.zeros((0, 2))}, "unconnected"),
    ],
)
def test_what_makes_no_sense_is_refused(change, message):
    rows = Rows(0, SIZES["many rows each"])
    with pytest.raises(ArgumentError, match=message):
        merge_path(**({"moments": rows.moments, "beta": rows.beta} | change))


@pytest.mark.parametrize("n", [0, 7, -1])
def test_a_number_of_models_that_cannot_be_is_refused(n):
    rows = Rows(0, SIZES["many rows each"])
    path = merge_path(rows.moments, rows.beta)
    for call in (path.labels, path.maps, path.linkage):
        with pytest.raises(ArgumentError, match="expected 1 to 6"):
            call(n)


def test_the_nearest_pattern_differs_in_the_fewest_bits(monkeypatch):
    rng = np.random.default_rng(0)
    bits, query = rng.integers(0, 2, size=(40, 21)), rng.integers(0, 2, size=(30, 21))
    query[:5] = bits[7:12]
    expected = [(bits != q).sum(axis=1).argmin() for q in query]
    packed, asked = (np.packbits(b.astype(np.uint8), axis=1) for b in (bits, query))
    assert nearest_patterns(packed, asked).tolist() == expected
    monkeypatch.setattr(merging, "_CHUNK_CELLS", 100)
    assert nearest_patterns(packed, asked).tolist() == expected
    assert nearest_patterns(packed, asked[:0]).tolist() == []


# ---------------------------------------------------------------- the graph


def connected(edges, R):
    graph = coo_array((np.ones(len(edges)), edges.T), shape=(R, R))
    return connected_components(graph, directed=False)[0] == 1


def test_islands_are_joined_by_their_nearest_regions():
    rng = np.random.default_rng(0)
    islands = [rng.normal(size=(20, 2)) + centre for centre in ([0, 0], [100, 0], [250, 0], [250, 90])]
    mean = np.concatenate(islands)
    edges = region_graph(mean, 3)
    assert connected(edges, 80)
    assert (edges[:, 0] < edges[:, 1]).all()
    across = [tuple(e) for e in edges if e[0] // 20 != e[1] // 20]
    assert {(a // 20, b // 20) for a, b in across} == {(0, 1), (1, 2), (2, 3)}
    for a, b in across:
        distance = np.linalg.norm(islands[a // 20][:, None] - islands[b // 20], axis=2)
        assert np.linalg.norm(mean[a] - mean[b]) == pytest.approx(distance.min())


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 30), st.integers(1, 20), st.integers(1, 5))
def test_a_graph_connects_everything(seed, R, k, places):
    rng = np.random.default_rng(seed)
    mean = rng.normal(size=(places, 3))[rng.integers(0, places, R)] * 100 + rng.integers(0, 2, size=(R, 3))
    edges = region_graph(mean, k)
    assert edges.shape[1] == 2
    assert R == 1 or connected(edges, R)
    assert len(np.unique(edges, axis=0)) == len(edges)
    if R > 1:
        distance = np.linalg.norm(mean[:, None] - mean, axis=2)
        np.fill_diagonal(distance, np.inf)
        for r in range(R):
            mine = edges[(edges == r).any(axis=1)].sum(axis=1) - r
            nearest = np.sort(distance[r])[: min(k, R - 1)]
            assert (np.sort(distance[r, mine])[: len(nearest)] <= nearest + 1e-6).all()


# ---------------------------------------------------------------- as published

# Printed by aletheia-dnn 1.3.5 (Python 3.10, scikit-learn 1.7.2) for the networks and training rows of `paper_cases`:
# MergerClassifier or MergerRegressor with n_clusters, min_samples and n_neighbors as in the keys, the counts of its
# summary. Its clusters of rows were compared with ours for (10, 30, 5) and are the same; the last entry is the number
# of neighbours at which its graph was connected.
PUBLISHED = {
    "cocircles": {
        (10, 30, 5): ([252, 226, 206, 203, 187, 186, 173, 167], 5),
        (6, 30, 5): ([399, 389, 252, 206, 187, 167], 5),
        (20, 30, 5): ([194, 187, 186, 177, 173, 157, 143, 137, 125, 51, 38, 32], 5),
        (15, 10, 3): ([295, 234, 209, 188, 171, 109, 108, 101, 83, 24, 22, 22, 20, 14], 3),
        (8, 30, 1): ([334, 315, 234, 213, 207, 188, 109], 3),
    },
    "breast_cancer": {
        (10, 30, 5): ([110, 66, 61, 51, 48, 43, 39, 37], 5),
        (6, 30, 5): ([110, 103, 100, 99, 43], 5),
        (20, 30, 5): ([130, 112, 92, 82, 39], 5),
        (15, 10, 3): ([103, 90, 60, 41, 39, 33, 22, 19, 19, 18, 11], 3),
        (8, 30, 1): ([209, 116, 75, 55], 2),
    },
    "boston": {
        (10, 30, 5): ([103, 103, 88, 61, 49], 9),
        (6, 30, 5): ([206, 103, 95], 9),
        (20, 30, 5): ([103, 87, 82, 81, 51], 9),
        (15, 10, 3): ([64, 60, 49, 47, 45, 39, 20, 19, 17, 16, 16, 12], 9),
        (8, 30, 1): ([103, 95, 84, 73, 49], 9),
    },
}

# The mean rows of its eight clusters of CoCircles, (10, 30, 5), from the same run.
COCIRCLES_CENTRES = [
    [-0.58334786, -0.62444702],
    [-0.53623949, 0.53805331],
    [0.57766106, 0.68624013],
    [0.85004189, 0.03924017],
    [0.11637832, -0.89674766],
    [0.66140395, -0.56968185],
    [-0.13217145, 0.90843681],
    [-0.91627457, 0.02499343],
]


def unwrapped(case):
    link = "logit" if case.kind == "classification" else "identity"
    u = rl.unwrap(rl.load((list(case.weights), list(case.biases)), link=link), case.X_train)
    return u, np.concatenate([u.intercept[:, :, None], u.coef], axis=2), u.sums.x / u.count[:, None]


@pytest.mark.parametrize("case", [cocircles, breast_cancer, boston], ids=lambda case: case.__name__)
def test_the_published_merger_gives_its_counts(case):
    u, beta, mean = unwrapped(case())
    for (n_models, min_rows, k), (counts, connected_at) in PUBLISHED[case.__name__].items():
        merged = published_merge(mean, beta, u.count, n_models=n_models, min_rows=min_rows, k=k)
        assert merged.count.tolist() == counts
        assert merged.k == connected_at
        assert np.bincount(merged.label[u.region_of]).tolist() == counts


def test_the_published_clusters_of_the_circles():
    case = cocircles()
    u, beta, mean = unwrapped(case)
    merged = published_merge(mean, beta, u.count)  # 1 % of 530 regions is 5 neighbours
    assert merged.count.tolist() == PUBLISHED["cocircles"][10, 30, 5][0]
    label = merged.label[u.region_of]
    centres = [case.X_train[label == c].mean(axis=0) for c in range(8)]
    np.testing.assert_allclose(centres, COCIRCLES_CENTRES, atol=1e-8)


def test_other_rows_go_where_a_near_region_has_the_nearest_map():
    case = cocircles()
    u, beta, mean = unwrapped(case)
    merged = published_merge(mean, beta, u.count)
    coef, intercept = u.network.affine_maps(u.network.patterns(case.X_test))
    own = np.concatenate([intercept[:, :, None], coef], axis=2)
    assigned = merged.assign(case.X_test, own)
    for x, map_, cluster in zip(case.X_test, own, assigned, strict=True):
        near = np.argsort(((mean - x) ** 2).sum(axis=1))[:5]
        best = near[((beta[near] - map_) ** 2).sum(axis=(1, 2)).argmin()]
        assert cluster == merged.label[best]


def test_a_cluster_of_as_many_rows_as_the_limit_is_small():
    mean = np.arange(6.0)[:, None]
    beta = np.array([0, 0, 10, 10, 30, 30.0])[:, None] * [[1, 0]]
    count = np.array([20, 11, 15, 15, 40, 1])
    clusters = published_merge(mean, beta, count, n_models=3, k=2)
    assert clusters.label.tolist() == [1, 1, 0, 0, 0, 0]
    assert clusters.count.tolist() == [71, 31]
    assert published_merge(mean, beta, count, n_models=3, k=2, min_rows=29).count.tolist() == [41, 31, 30]
    assert published_merge(mean, beta, count, n_models=3, k=2, min_rows=99).count.tolist() == [102]


def test_the_published_merger_with_few_regions_and_other_arguments():
    rng = np.random.default_rng(0)
    one = published_merge(rng.normal(size=(1, 2)), rng.normal(size=(1, 3)), np.array([7]))
    assert one.label.tolist() == [0]
    assert one.assign(np.zeros((3, 2)), np.zeros((3, 1, 3))).tolist() == [0, 0, 0]
    two = published_merge(rng.normal(size=(2, 2)), rng.normal(size=(2, 2, 3)), np.array([40, 50]))
    assert two.count.tolist() == [50, 40]
    mean, beta, count = rng.normal(size=(60, 2)), rng.normal(size=(60, 1, 3)), rng.integers(1, 20, 60)
    ward, average = (published_merge(mean, beta, count, linkage=rule, k=9) for rule in ("ward", "average"))
    assert ward.count.sum() == average.count.sum() == count.sum()
    assert not np.array_equal(ward.label, average.label)
    for arguments, message in (
        ({"n_models": 0}, "n_models is 0"),
        ({"k": 0}, "k is 0"),
        ({"linkage": "single"}, "'ward' or 'average'"),
    ):
        with pytest.raises(ArgumentError, match=message):
            published_merge(mean, beta, count, **arguments)
