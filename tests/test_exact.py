"""The arithmetic that decides sides: bounds that bound, digits that lose nothing, and no cliff or trap at the extremes."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

import rational
from relucidate import exact
from relucidate.errors import NumericalOverflowError
from relucidate.features import Features
from relucidate.layers import Activation, Layer
from relucidate.network import Network
from small_networks import SPECIMENS, mixed, network, random_network, rows_for, twins


def exact_bits(net, X):
    return np.array([rational.evaluate(net, x)[0] for x in X], dtype=bool).reshape(len(X), net.n_bits)


def exact_preactivations(net, x):
    a, out = rational.rational(x), []
    for layer in net.hidden:
        z = rational.affine(layer, a)
        out.append(z)
        above = [sum(v > b for b in rational.breakpoints(layer.activation, j)) for j, v in enumerate(z)]
        a = [rational.on_piece(layer.activation, j, k, v) for j, (k, v) in enumerate(zip(above, z, strict=True))]
    return out


# ---------------------------------------------------------------- bounds


@pytest.mark.parametrize("scale", [1.0, 1e-310, 1e120])
@pytest.mark.parametrize("name", SPECIMENS)
def test_thresholds_bound_the_error_of_every_preactivation(name, scale):
    net = SPECIMENS[name]
    X = rows_for(net, 12) * scale
    limits = exact.thresholds(net._bounds, np.abs(X).max(axis=0))
    for x in X:
        a = x[None]
        for layer, limit, truth in zip(net.hidden, limits, exact_preactivations(net, x), strict=True):
            z = layer.preactivation(a)
            for computed, bound, t in zip(z[0].tolist(), limit.tolist(), truth, strict=True):
                assert bound == np.inf or abs(Fraction(computed) - t) <= Fraction(bound)
            a = layer.activation(z)


def test_a_dead_neuron_has_no_error_and_every_other_has():
    layer = Layer(np.array([[0.0, 0.0], [1e-200, 0.0]]), np.zeros(2), Activation.of_kind("relu", 2))
    (limit,) = exact.thresholds([exact.Bounds(layer)], np.array([1e-200, 1.0]))
    assert limit[0] == 0
    assert limit[1] > 0  # the product underflows, and so does its bound; what underflow can hide is added


# ---------------------------------------------------------------- extremes


def test_products_that_underflow_keep_their_sign():
    net = network([np.array([[1e-200]]), np.ones((1, 1))], [np.zeros(1), np.zeros(1)])
    assert net.patterns([[1e-200], [-1e-200], [0.0]]).bits()[:, 0].tolist() == [True, False, False]


def test_a_neuron_without_weights_and_bias_is_off():
    net = network([np.array([[0.0], [1.0]]), np.ones((1, 2))], [np.zeros(2), np.zeros(1)])
    assert net.patterns([[1.0], [2.0]]).bits().tolist() == [[False, True]] * 2


def test_whole_numbers_beyond_53_bits_are_not_taken_for_exact():
    big = 2.0**53  # big + 1 - big is 1, and 0 in float64 if added in this order
    for order in ([0, 1, 2], [1, 0, 2], [0, 2, 1], [2, 1, 0]):
        w = np.array([[big, 1.0, -big]])[:, order]
        net = network([np.vstack([w, -w]), np.ones((1, 2))], [np.zeros(2), np.zeros(1)])
        assert net.patterns(np.ones((1, 3))).bits().tolist() == [[True, False]]


def test_slices_that_overflow_decide_nothing_wrongly():
    first = Layer(np.array([[1e105]]), np.zeros(1), Activation.of_kind("leaky_relu", 1, 0.1))
    second = Layer(np.array([[1e-300], [-1e-300]]), np.array([-1.0, 1.0]), Activation.of_kind("relu", 2))
    last = Layer(np.ones((1, 2)), np.zeros(1), Activation.of_kind("identity", 1))
    net = Network((first, second, last), Features.plain(1))
    X = np.array([[1e200], [-1e200]])  # a product of 1e305, which overflows when it is split in halves
    truth = exact_bits(net, X)
    bits, decided = exact._in_slices(net._bounds, X)
    assert np.array_equal(bits[decided], truth[decided])
    assert np.array_equal(exact.decide(net._bounds, X), truth)


def test_padding_rows_on_a_tie_are_nobodys():
    net = SPECIMENS["zero biases"]  # a block is filled up with rows of zeros, whose preactivations are 0
    X = np.array([[1.0, 1.0]])
    assert np.array_equal(net.patterns(X).bits(), exact_bits(net, X))


def test_no_rows_have_no_patterns():
    for net in SPECIMENS.values():
        none = np.zeros((0, net.n_features))
        assert net.patterns(none).bits().shape == (0, net.n_bits)
        assert net.decision(none).shape == (0, net.n_outputs)


def test_a_constant_neuron_hides_no_overflow():
    constant = Layer(np.array([[1e300]]), np.zeros(1), Activation.build(1, [], [0], [3.0]))
    relu = Layer(np.ones((1, 1)), np.array([-2.0]), Activation.of_kind("relu", 1))
    last = Layer(np.ones((1, 1)), np.zeros(1), Activation.of_kind("identity", 1))
    net = Network((constant, relu, last), Features.plain(1))
    X = np.array([[1e300], [1.0]])
    for tier in (exact._in_float64, exact._in_slices, exact._in_digits):
        bits, decided = tier(net._bounds, X)
        assert bits[decided].all()  # 3 - 2 > 0 whatever enters
    with pytest.raises(NumericalOverflowError, match=r"1 of 2 rows .* rows 0"):
        net.decision(X)


def test_overflow_that_a_relu_would_hide_is_reported():
    # -1e308 - 1e308 + 1.5e308 + 1e308 is 5e307, but summed from the left it is -inf, which a ReLU makes 0
    net = network([np.array([[-1.0, -1.0, 1.5, 1.0]]), np.ones((1, 1))], [np.zeros(1), np.zeros(1)])
    with pytest.raises(NumericalOverflowError, match=r"1 of 2 rows .* rows 1"):
        net.decision(np.array([[1.0] * 4, [1.7e308, 1.7e308, 1.0, 1.0]]))


def test_overflow_is_reported_before_anything_slow(monkeypatch):
    net = network([np.full((2, 1), 1e300), np.ones((1, 2))], [np.zeros(2), np.zeros(1)])
    monkeypatch.setattr(exact, "decide", lambda *_: pytest.fail("rows that overflow were decided first"))
    with pytest.raises(NumericalOverflowError):
        net.patterns(np.full((5, 1), 1e300))


def test_maps_that_overflow_are_refused():
    net = network([np.array([[1e200]])] * 2 + [np.ones((1, 1))], [np.zeros(1)] * 3)
    patterns = net.patterns([[1e-200]])
    with pytest.raises(NumericalOverflowError, match="1 of 1 patterns"):
        net.affine_maps(patterns)


def test_nothing_that_is_no_number_becomes_one():
    for net in SPECIMENS.values():
        with pytest.raises(NumericalOverflowError):
            net.trace(np.full((1, net.n_features), np.nan))


def test_bounds_beyond_float64_cost_time_and_not_the_answer():
    net = random_network([3, *[8] * 40, 1], seed=1, draw=lambda s: np.random.default_rng(sum(s)).normal(size=s) * 1e8)
    X = rows_for(net, 4) * 1e-30
    limits = exact.thresholds(net._bounds, np.abs(X).max(axis=0))
    assert not np.isfinite(limits[-1]).all()
    bits = exact.decide(net._bounds, X)
    assert np.array_equal(bits, exact_bits(net, X))


# ---------------------------------------------------------------- the passes against rational arithmetic


def some_network(rng, kind):
    draws = {
        "lattice": lambda s: rng.integers(-2, 3, size=s).astype(float),
        "quarters": lambda s: rng.integers(-8, 9, size=s) / 4,
        "float32": lambda s: rng.normal(size=s).astype(np.float32).astype(float),
        "float64": lambda s: rng.normal(size=s),
        "any exponent": lambda s: rng.normal(size=s) * 10.0 ** rng.integers(-150, 150, size=s),
        "subnormal": lambda s: rng.normal(size=s) * 10.0 ** rng.integers(-320, 10, size=s),
    }
    draw = draws[kind]
    sizes = rng.integers(1, 6, size=rng.integers(3, 6)).tolist()
    layers = []
    for k, m in pairwise(sizes):
        weight = draw((m, k))
        if rng.random() < 0.3:
            weight = csr_array(np.where(rng.random((m, k)) < 0.5, weight, 0.0))
        last = len(layers) == len(sizes) - 2
        activation = Activation.of_kind("identity", m) if last else mixed(m)
        layers.append(Layer(weight, draw((m,)) * (rng.random() < 0.7), activation))
    net = Network(tuple(layers), Features.plain(sizes[0]))
    d = sizes[0]
    X = np.vstack([rng.integers(-2, 3, (3, d)), draw((3, d)), np.zeros((1, d)), rng.normal(size=(1, d)) * 1e-310])
    return net, np.vstack([X, rng.normal(size=(1, d)) * 3e38])


KINDS = ["lattice", "quarters", "float32", "float64", "any exponent", "subnormal"]


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(KINDS))
def test_no_pass_contradicts_rational_arithmetic_where_it_decides(seed, kind):
    net, X = some_network(np.random.default_rng(seed), kind)
    truth = exact_bits(net, X)
    for tier in (exact._in_float64, exact._in_slices, exact._in_digits):
        bits, decided = tier(net._bounds, X)
        assert np.array_equal(bits[decided], truth[decided]), tier.__name__
    assert decided.all()
    assert np.array_equal(exact.decide(net._bounds, X), truth)


@pytest.mark.slow
@settings(max_examples=3000, deadline=None)
@given(st.integers(0, 10**9), st.sampled_from(KINDS))
def test_no_pass_contradicts_rational_arithmetic_at_length(seed, kind):
    test_no_pass_contradicts_rational_arithmetic_where_it_decides.hypothesis.inner_test(seed, kind)


def test_ties_on_a_grid_are_decided_by_float64_alone():
    for name in ("abs", "xor", "zero biases", "integers"):
        net = SPECIMENS[name]
        X = np.random.default_rng(0).integers(-4, 5, size=(50, net.n_features)) / 4
        bits, decided = exact._in_float64(net._bounds, X)
        assert decided.all()
        assert np.array_equal(bits, exact_bits(net, X))


def test_deep_networks_are_decided_by_slices_where_float64_bounds_are_hopeless():
    rng = np.random.default_rng(0)
    net = random_network([4, *[32] * 30, 1], draw=lambda s: rng.normal(size=s) * np.sqrt(2 / s[1]))
    X = rng.normal(size=(50, 4))
    _, by_float64 = exact._in_float64(net._bounds, X)
    bits, by_slices = exact._in_slices(net._bounds, X)
    assert by_slices.all()
    assert not by_float64.any()
    assert np.array_equal(bits[:3], exact_bits(net, X[:3]))
    assert np.array_equal(exact._in_digits(net._bounds, X)[0], bits)


def test_thousands_of_rows_that_are_all_ties_are_decided():
    net = twins((10, 25))
    X = np.random.default_rng(0).normal(size=(5_000, 10))
    for tier in (exact._in_float64, exact._in_slices):
        assert not tier(net._bounds, X[:100])[1].any()  # only exact arithmetic sees that these are 0
    assert not net.patterns(X).bits()[:, 50:].any()


# ---------------------------------------------------------------- fixed point


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=6), st.integers(3, 25))
def test_digits_are_whole_small_and_lose_nothing(values, base):
    array = np.array(values)
    exponent = int(exact._grid(array[None])[0])
    total = [Fraction(0)] * len(values)
    for place, digit in exact._digits(array, exponent, base):
        assert (digit == np.rint(digit)).all()
        assert (np.abs(digit) <= 2 ** (base - 1)).all()
        unit = Fraction(2) ** (exponent + base * place)
        total = [t + unit * int(d) for t, d in zip(total, digit.tolist(), strict=True)]
    assert total == [Fraction(v) for v in values]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(-(2**51), 2**51), min_size=1, max_size=8), st.integers(15, 25))
def test_carrying_keeps_the_number_and_shows_its_sign(parts, base):
    number = sum(part * 2 ** (base * place) for place, part in enumerate(parts))
    digits = exact._carried([np.array([float(part)]) for part in parts], base)
    assert sum(int(d[0]) * 2 ** (base * place) for place, d in enumerate(digits)) == number
    assert all(abs(int(d[0])) <= 2 ** (base - 1) for d in digits)
    assert bool(exact._positive(digits)[0]) == (number > 0)


@settings(max_examples=200, deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_the_grid_of_a_number_is_the_coarsest_that_holds_it(value):
    g = int(exact._grid(np.array([[value]]))[0])
    if value == 0:
        assert g >= 1024
    else:
        unit = Fraction(2) ** g
        assert (Fraction(value) / unit).denominator == 1
        assert (Fraction(value) / unit).numerator % 2 == 1
