"""Matrix products: a row has the same bits in any company, and thread limits are given back."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from relucidate import products
from relucidate.products import in_threads, one_thread, padded, row_by_row
from small_networks import random_network


def blas_threads():
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


@pytest.mark.parametrize("columns", [1, 2, 5, 17, 24, 31, 50, 100, 193, 500])
@pytest.mark.parametrize("terms", [1, 2, 17, 128, 129, 300])
def test_a_row_has_the_same_bits_in_any_number_of_rows_at_any_place(columns, terms):
    rng = np.random.default_rng(columns * 1000 + terms)
    weight, rows = padded(rng.normal(size=(columns, terms))), rng.normal(size=(5, terms))
    seen = None
    with one_thread():
        for n in (64, 192, 512, 1600):
            z = row_by_row(rows[np.arange(n) % 5], weight)[:, :columns]
            seen = z[:5] if seen is None else seen
            assert np.array_equal(z, seen[np.arange(n) % 5])
    np.testing.assert_allclose(seen, rows @ weight[:columns].T, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("sizes", [[5, 50, 50, 5], [784, 64, 10], [600, 500, 1], [10, 300, 300, 2]])
def test_decisions_and_maps_have_the_same_bits_with_any_number_of_threads(sizes):
    net = random_network(sizes, seed=3)
    X = np.random.default_rng(0).normal(size=(700, sizes[0]))
    with threadpool_limits(1, user_api="blas"):
        trace = net.trace(X)
        coef, intercept = net.affine_maps(trace.patterns[:100])
    for threads in (2, 3, 4):
        with threadpool_limits(threads, user_api="blas"):
            other = net.trace(X)
            assert np.array_equal(other.decision, trace.decision)
            assert np.array_equal(other.patterns.packed, trace.patterns.packed)
            maps = net.affine_maps(trace.patterns[:100])
            assert np.array_equal(maps[0], coef)
            assert np.array_equal(maps[1], intercept)


def test_a_map_has_the_same_bits_alone_and_in_any_order():
    for sizes in ([30, 40, 40, 1], [17, 33, 31, 29, 3], [10, 1000, 1]):
        net = random_network(sizes, seed=4)
        patterns = net.patterns(np.random.default_rng(0).normal(size=(333, sizes[0])))
        coef, intercept = net.affine_maps(patterns)
        order = np.random.default_rng(1).permutation(333)
        for rows in (order, order[:1], order[:65]):
            c, b = net.affine_maps(patterns[rows])
            assert np.array_equal(c, coef[rows])
            assert np.array_equal(b, intercept[rows])


def test_the_thread_limit_is_given_back_after_errors_nesting_and_overlap():
    # libraries that other tests have loaded since (torch has one of its own) would be looked at below, and not limited
    products._libraries.cache_clear()
    with threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        with pytest.raises(KeyError), one_thread():  # noqa: PT012
            assert set(blas_threads()) == {1}
            raise KeyError
        with one_thread(), one_thread():
            pass
        assert blas_threads() == before
        inside, leave = threading.Event(), threading.Event()

        def other():
            with one_thread():
                inside.set()
                leave.wait(10)

        thread = threading.Thread(target=other)
        with one_thread():
            thread.start()
            assert inside.wait(10)
        assert set(blas_threads()) == {1}  # the other one is still in
        leave.set()
        thread.join()
        assert blas_threads() == before
    assert products._gate._inside == 0


def test_parts_come_back_in_order_and_errors_come_through():
    assert in_threads(lambda i: i * i, range(20)) == [i * i for i in range(20)]
    assert in_threads(lambda i: i, []) == []
    with pytest.raises(ZeroDivisionError):
        in_threads(lambda i: 1 // i, [1, 0, 2])
