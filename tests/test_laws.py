"""What holds for every network and every table."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rational
import relucidate as rl
from relucidate.errors import NumericalOverflowError
from small_networks import integers, mixed, random_network, rows_for

NETWORKS = st.tuples(
    st.integers(0, 10**6), st.sampled_from(["relu", mixed, "identity", "abs"]), st.sampled_from(["integers", "reals"])
)


def drawn(seed, kind, weights):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 7, size=rng.integers(2, 6)).tolist()
    net = random_network(sizes, seed, kind, draw=integers(seed) if weights == "integers" else None)
    return net, rows_for(net, 40, seed)


@settings(max_examples=60, deadline=None)
@given(NETWORKS)
def test_regions_are_patterns_and_maps_are_the_network(case):
    net, X = drawn(*case)
    u = rl.unwrap(net, X)
    patterns = [tuple(rational.evaluate(net, x)[0]) for x in X]
    count = Counter(patterns)
    expected = sorted(count, key=lambda p: (-count[p], p))  # largest first, ties by pattern
    assert [tuple(p) for p in u.patterns.bits().tolist()] == expected
    assert u.count.tolist() == [count[p] for p in expected]
    assert u.region_of.tolist() == [expected.index(p) for p in patterns]
    for r, pattern in enumerate(expected):
        coef, intercept = rational.affine_map(net, list(pattern))
        # products of at most five layers of at most six terms, of numbers up to a few thousand
        np.testing.assert_allclose(u.coef[r], np.array(coef, dtype=float), rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(u.intercept[r], np.array(intercept, dtype=float), rtol=1e-11, atol=1e-12)
    decision = net.decision(X)
    ours = np.einsum("nkd,nd->nk", u.coef[u.region_of], X) + u.intercept[u.region_of]
    assert (np.abs(ours - decision) <= 1e-10 * (1 + np.abs(decision))).all()


@settings(max_examples=60, deadline=None)
@given(NETWORKS, st.integers(0, 100))
def test_order_company_and_kind_of_number_change_no_answer(case, shuffle):
    net, X = drawn(*case)
    X = X.astype(np.float32).astype(np.float64)
    bits, decision = net.patterns(X).packed, net.decision(X)
    order = np.random.default_rng(shuffle).permutation(len(X))
    for rows in (order, order[::-1], np.repeat(order, 3), order[:1], order[:7], np.resize(order, 200)):
        assert np.array_equal(net.patterns(X[rows]).packed, bits[rows])
        assert np.array_equal(net.decision(X[rows]), decision[rows])
    assert np.array_equal(net.patterns(X.astype(np.float32)).packed, bits)
    assert np.array_equal(net.patterns(np.where(X == 0, -0.0, X)).packed, bits)
    assert np.array_equal(net.patterns(np.asfortranarray(X)).packed, bits)
    u, v = rl.unwrap(net, X), rl.unwrap(net, X[order])
    assert np.array_equal(u.patterns.packed, v.patterns.packed)
    assert np.array_equal(u.count, v.count)
    assert np.array_equal(u.region_of[order], v.region_of)
    assert np.array_equal(u.coef, v.coef)
    assert u.table(maps=True)["pattern"].tolist() == v.table(maps=True)["pattern"].tolist()


@settings(max_examples=40, deadline=None)
@given(NETWORKS, st.lists(st.integers(1, 39), unique=True, max_size=5))
def test_a_table_in_pieces_is_the_table(case, cuts):
    net, X = drawn(*case)
    y = np.repeat(X[:, :1], net.n_outputs, axis=1)
    bounds = [0, *sorted(cuts), len(X)]
    whole = rl.unwrap(net, X, y)
    pieces = rl.unwrap(net, ((X[a:b], y[a:b]) for a, b in pairwise(bounds)))
    assert np.array_equal(whole.region_of, pieces.region_of)
    assert np.array_equal(whole.coef, pieces.coef)
    assert np.array_equal(whole.sample.row, pieces.sample.row)
    assert pieces.scores == pytest.approx(whole.scores, rel=1e-9, abs=1e-12, nan_ok=True)


@settings(max_examples=40, deadline=None)
@given(NETWORKS)
def test_rows_of_another_table_are_in_the_region_of_their_pattern_or_in_none(case):
    net, X = drawn(*case)
    u = rl.unwrap(net, X[:20])
    known = {tuple(p): int(r) for p, r in zip(u.patterns.bits().tolist(), u.region_of_pattern, strict=True)}
    expected = [known.get(tuple(p), -1) for p in net.patterns(X).bits().tolist()]
    assert u.assign(X).tolist() == expected


@settings(max_examples=40, deadline=None)
@given(NETWORKS)
def test_whole_weights_are_repeated_rows(case):
    net, X = drawn(*case)
    w = np.random.default_rng(case[0]).integers(1, 4, len(X))
    y = np.repeat(X[:, :1], net.n_outputs, axis=1)
    weighted, repeated = rl.unwrap(net, X, y, w), rl.unwrap(net, np.repeat(X, w, axis=0), np.repeat(y, w, axis=0))
    assert weighted.scores == pytest.approx(repeated.scores, rel=1e-9, abs=1e-12, nan_ok=True)
    assert weighted.effective_regions == pytest.approx(repeated.effective_regions, rel=1e-12)


@settings(max_examples=40, deadline=None)
@given(NETWORKS)
def test_joined_regions_share_their_map_and_the_others_do_not(case):
    net, X = drawn(*case)
    u = rl.unwrap(net, X)
    joined = u.join_equal()
    assert joined.count.sum() == len(X)
    maps = {}
    for pattern, region in zip(
        u.patterns.bits().tolist(), joined.assign(X)[np.unique(u.region_of, return_index=True)[1]], strict=True
    ):
        coef, intercept = rational.affine_map(net, pattern)
        maps.setdefault((tuple(map(tuple, coef)), tuple(intercept)), set()).add(int(region))
    assert all(len(regions) == 1 for regions in maps.values())  # equal maps are in one region
    assert joined.n_regions <= len(maps)
    ours = np.einsum("nkd,nd->nk", joined.coef[joined.region_of], X) + joined.intercept[joined.region_of]
    decision = net.decision(X)
    assert (np.abs(ours - decision) <= 1e-8 * (1 + np.abs(decision))).all()


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=3, max_size=3), st.sampled_from(["relu", mixed])
)
def test_any_finite_row_is_answered_exactly_or_refused(values, kind):
    net = random_network([3, 5, 4, 2], seed=1, kind=kind)
    expected, decision = rational.evaluate(net, values)
    if max(map(abs, values)) < 1e300:
        assert net.patterns([values]).bits()[0].tolist() == expected
        np.testing.assert_allclose(
            net.decision([values])[0], np.array(decision, float), rtol=1e-12, atol=1e-12 * size(values)
        )
        return
    try:
        bits = net.patterns([values]).bits()[0].tolist()
    except NumericalOverflowError:
        return
    assert bits == expected


def size(values):
    """What the rounding of a decision is relative to: terms cancel."""
    return 10 * (1 + max(map(abs, values)))
