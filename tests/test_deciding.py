"""Which side of a breakpoint a preactivation is on: decided as rational arithmetic decides, whatever the batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rational
from relucidate import exact
from relucidate.errors import NumericalOverflowError
from small_networks import SPECIMENS, integers, mixed, network, random_network, rows_for, twins

TIERS = (exact._in_float64, exact._in_slices, exact._in_digits)


def exact_bits(net, X):
    return np.array([rational.evaluate(net, x)[0] for x in X], dtype=bool).reshape(len(X), net.n_bits)


@pytest.mark.parametrize("name", SPECIMENS)
def test_patterns_are_those_of_rational_arithmetic(name):
    net = SPECIMENS[name]
    X = rows_for(net)
    assert np.array_equal(net.patterns(X).bits(), exact_bits(net, X))


@pytest.mark.parametrize("tier", TIERS, ids=lambda t: t.__name__)
@pytest.mark.parametrize("name", SPECIMENS)
def test_no_tier_contradicts_rational_arithmetic_where_it_decides(name, tier):
    net = SPECIMENS[name]
    X = rows_for(net)
    bits, decided = tier(net._bounds, X)
    assert np.array_equal(bits[decided], exact_bits(net, X)[decided])
    if tier is exact._in_digits:
        assert decided.all()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["integers", "dyadic", "float32", "float64", "huge range", "mixed"]))
def test_patterns_of_random_networks_are_exact(seed, kind):
    rng = np.random.default_rng(seed)
    draws = {
        "integers": integers(seed),
        "dyadic": lambda s: rng.integers(-16, 17, size=s) / 8,
        "float32": lambda s: rng.normal(size=s).astype(np.float32),
        "huge range": lambda s: rng.normal(size=s) * 10.0 ** rng.integers(-12, 12, size=s),
    }
    net = random_network([3, 5, 4, 2], seed, kind=mixed if kind == "mixed" else "relu", draw=draws.get(kind))
    X = rows_for(net, 12, seed)
    # rows moved onto a breakpoint of the first layer, as closely as float64 goes
    w, b = net.layers[0].weight, net.layers[0].bias
    j = int(rng.integers(len(b)))
    if w[j] @ w[j] > 0:
        X[-4:] -= ((X[-4:] @ w[j] + b[j]) / (w[j] @ w[j]))[:, None] * w[j]
    assert np.array_equal(net.patterns(X).bits(), exact_bits(net, X))


def cancelling():
    """A second layer whose preactivation is 1e-25 between terms of size 1: float64 sees 0."""
    tiny = 1e-25
    w2 = np.array([[1.0, -1.0, tiny], [1.0, -1.0, -tiny]])
    return network(
        [np.array([[1.0], [1.0], [0.0]]), w2, np.ones((1, 2))], [np.array([0.1, 0.1, 1.0]), np.zeros(2), [0.0]]
    )


def test_slices_decide_what_float64_cannot():
    net = cancelling()
    X = np.random.default_rng(0).uniform(0.1, 1, size=(20, 1))
    _, decided = exact._in_float64(net._bounds, X)
    bits, later = exact._in_slices(net._bounds, X)
    assert not decided.any()
    assert later.all()
    assert np.array_equal(bits, exact_bits(net, X))


def test_exact_zeros_at_arbitrary_weights_are_off():
    net = twins()
    X = np.random.default_rng(0).normal(size=(200, 5))
    bits = net.patterns(X).bits()
    assert not bits[:, 16:].any()
    assert bits[:, :16].any()


@pytest.mark.parametrize("name", ["deep", "integers", "twins", "mixed", "sparse", "zero biases"])
def test_a_row_has_one_region_and_one_decision_in_any_company(name):
    net = SPECIMENS[name]
    X = rows_for(net, 300)
    bits, decision = net.patterns(X).bits(), net.decision(X)
    order = np.random.default_rng(1).permutation(len(X))
    for rows in [np.arange(len(X))[::-1], order, np.repeat(order, 3), *np.array_split(order, len(X) // 7), order[:1]]:
        assert np.array_equal(net.patterns(X[rows]).bits(), bits[rows])
        assert np.array_equal(net.decision(X[rows]), decision[rows])  # bit for bit
    single = X.astype(np.float32)
    assert np.array_equal(net.patterns(single).packed, net.patterns(single.astype(np.float64)).packed)


SCRIPT = """
import hashlib, json, numpy as np
from small_networks import random_network
net = random_network([10, 30, 30, 30, 3], seed=1)
X = np.random.default_rng(0).normal(size=(3000, 10))
w, b = net.layers[0].weight, net.layers[0].bias
X -= ((X @ w[0] + b[0]) / (w[0] @ w[0]))[:, None] * w[0]
print(json.dumps([hashlib.sha256(a.tobytes()).hexdigest() for a in (net.patterns(X).packed, net.decision(X))]))
"""


def test_threads_hash_seed_locale_and_time_zone_change_nothing():
    seen = set()
    for threads, seed, zone in (("1", "0", "UTC"), ("2", "1", "Asia/Tokyo"), ("4", "2", "America/Lima")):
        env = os.environ | {
            "OPENBLAS_NUM_THREADS": threads,
            "PYTHONHASHSEED": seed,
            "TZ": zone,
            "LC_ALL": "de_DE.UTF-8",
        }
        env["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
        done = subprocess.run([sys.executable, "-c", SCRIPT], env=env, capture_output=True, text=True, check=True)
        seen.add(tuple(json.loads(done.stdout)))
    assert len(seen) == 1


def test_minus_zero_is_zero_and_extremes_are_decided():
    net = SPECIMENS["zero biases"]
    X = np.array([[0.0, 0.0], [-0.0, 0.0], [-0.0, -0.0], [5e-324, 0.0], [1e-310, -1e-310], [3e38, -3e38], [1e-45, 0]])
    bits = net.patterns(X).bits()
    assert np.array_equal(bits, exact_bits(net, X))
    assert not bits[:3].any()


def test_overflow_names_the_rows():
    net = network([np.full((2, 1), 1e300), np.ones((1, 2))], [np.zeros(2), np.zeros(1)])
    with pytest.raises(NumericalOverflowError, match=r"1 of 3 rows .* rows 1"):
        net.decision(np.array([[1.0], [1e300], [2.0]]))


def test_bounds_hold_for_sums_in_float32_rounded_at_every_step():
    # the bound is used for float64; here its formula is checked on the coarser arithmetic, where errors are visible
    rng = np.random.default_rng(0)
    w, x = rng.normal(size=(40, 300)).astype(np.float32), rng.normal(size=300).astype(np.float32)
    z = np.zeros(40, dtype=np.float32)
    for j in range(300):
        z += w[:, j] * x[j]
    error = np.abs(z.astype(float) - w.astype(float) @ x.astype(float))
    gamma = 302 * 2.0**-24 / (1 - 302 * 2.0**-24)
    assert (error <= gamma * (np.abs(w).astype(float) @ np.abs(x).astype(float))).all()
    assert error.max() > 0
