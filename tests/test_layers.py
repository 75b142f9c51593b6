"""Layers and activations: they compute what their names say, keep what they were given, and refuse what makes no sense."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array, csc_array, csr_array

from relucidate.errors import MalformedModelError
from relucidate.layers import Activation, Layer

Z = np.array([-np.inf, -1e308, -7.0, -1.0, -0.3, -5e-324, -0.0, 0.0, 5e-324, 0.3, 0.5, 1.0, 6.0, 6.5, 1e308])
KINDS = {
    "identity": ((), lambda z: z),
    "relu": ((), lambda z: np.maximum(z, 0)),
    "abs": ((), np.abs),
    "leaky_relu": ((0.01,), lambda z: np.where(z > 0, z, 0.01 * z)),
    "clip": ((0.0, 6.0), lambda z: np.clip(z, 0, 6)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_its_function(kind):
    parameters, function = KINDS[kind]
    z = Z[1:, None]  # an infinite preactivation is an overflow, never a value
    assert np.array_equal(Activation.of_kind(kind, 1, *parameters)(z), function(z))


@pytest.mark.parametrize(("low", "high"), [(-np.inf, 1.0), (-0.5, np.inf), (-np.inf, np.inf), (2.0, 1.0), (1.0, 1.0)])
def test_clip_takes_infinite_and_crossed_bounds(low, high):
    z = Z[1:, None]
    assert np.array_equal(Activation.of_kind("clip", 1, low, high)(z), np.minimum(np.maximum(z, low), high))


def neurons():
    parts = [Activation.of_kind(kind, 1, *parameters) for kind, (parameters, _) in KINDS.items()]
    three = Activation.build(1, [-1, 0, 2], [0.5, -1, 0, 3], [0.5, -1.0, -1.0, -7.0])
    return Activation.joined([*parts, three])


def test_joined_neurons_keep_their_functions():
    z = Z[1:-1, None]
    joined = neurons()
    values = joined(np.repeat(z, len(joined), axis=1))
    for j, (kind, (parameters, _)) in enumerate(KINDS.items()):
        assert np.array_equal(values[:, j], Activation.of_kind(kind, 1, *parameters)(z)[:, 0])
    assert joined.names == ("4-piece", "Abs", "Clip", "LeakyReLU", "ReLU", "identity")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-10, 10), min_size=6, max_size=6))
def test_the_bits_select_the_piece_that_the_value_lies_on(values):
    activation = neurons()
    z = np.array([values])
    bits = activation.bits(z)
    assert bits.shape == (1, activation.n_bits)
    slopes, offsets = activation.pieces_in_force(bits)
    assert np.array_equal(slopes * z + offsets, activation(z))
    neuron, k = activation.switches
    for j in range(6):
        piece = sum(b < values[j] for b in activation.breakpoints[j] if np.isfinite(b))
        assert bits[0, neuron == j].sum() == piece
        assert slopes[0, j] == activation.slopes[j, piece]
    assert sorted(zip(neuron.tolist(), k.tolist(), strict=True)) == list(zip(neuron.tolist(), k.tolist(), strict=True))


def test_on_a_breakpoint_a_neuron_is_off():
    activation = Activation.of_kind("clip", 1, -0.3, 0.7)
    assert activation.bits(np.array([[-0.3], [0.7], [np.nextafter(0.7, 1)]])).tolist() == [
        [False, False],
        [True, False],
        [True, True],
    ]
    assert not Activation.of_kind("relu", 1).bits(np.array([[0.0], [-0.0]])).any()


def test_a_value_that_is_no_number_stays_none():
    for kind, (parameters, _) in KINDS.items():
        assert np.isnan(Activation.of_kind(kind, 1, *parameters)(np.array([[np.nan]]))).all(), kind


@pytest.mark.parametrize(
    ("breakpoints", "slopes", "offsets", "message"),
    [
        ([0], [0, 1], [0, 5], "jumps by"),
        ([1, 0], [0, 1, 1], [0, -1, -1], "must increase"),
        ([np.nan], [1, 1], [0, 0], "neither NaN nor -inf"),
        ([-np.inf], [5, 1], [0, 0], "neither NaN nor -inf"),
        ([0], [0, np.inf], [0, 0], "must be finite"),
        ([np.inf], [1, 1], [0, np.nan], "must be finite"),
    ],
)
def test_what_is_no_continuous_function_is_refused(breakpoints, slopes, offsets, message):
    with pytest.raises(MalformedModelError, match=message):
        Activation.build(1, breakpoints, slopes, offsets)
    with pytest.raises(MalformedModelError, match="needs slopes"):
        Activation(np.zeros((1, 1)), np.zeros((1, 1)), np.zeros((1, 2)))
    with pytest.raises(MalformedModelError, match="'tanh'"):
        Activation.of_kind("tanh", 1)


def test_the_callers_arrays_are_neither_changed_nor_frozen_nor_watched():
    weight, bias = np.ones((2, 2)), np.zeros(2)
    sparse = csr_array(weight)
    breakpoints, slopes, offsets = np.zeros((2, 1), dtype=int), np.array([[0, 1]] * 2), np.zeros((2, 2))
    activation = Activation(breakpoints, slopes, offsets)
    dense, other = Layer(weight, bias, activation), Layer(sparse, bias, activation)
    for array in (weight, bias, sparse.data, breakpoints, slopes, offsets):
        array += 7
    assert np.array_equal(dense.weight, np.ones((2, 2)))
    assert np.array_equal(other.weight.toarray(), np.ones((2, 2)))
    assert activation.is_relu
    for array in (dense.weight, dense.bias, other.weight.data, activation.slopes):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def csr_as_given(coo):
    """Rows compressed, entries given twice kept apart."""
    return csr_array((coo.data, coo.col, np.searchsorted(coo.row, np.arange(4))), shape=coo.shape)


@pytest.mark.parametrize("form", [csr_array, csc_array, coo_array, csr_as_given])
def test_any_sparse_weight_means_what_its_dense_form_means(form):
    # an entry given twice is the sum of both
    given = coo_array((np.array([1.5, 2.0, -1.0, 0.25], dtype=np.float32), ([0, 0, 2, 2], [1, 1, 0, 3])), shape=(3, 4))
    layer = Layer(form(given), np.array([1.0, 2.0, 3.0]), Activation.of_kind("relu", 3))
    dense = Layer(given.toarray(), layer.bias, layer.activation)
    assert layer.weight.dtype == np.float64
    assert layer.n_parameters == 6
    a, v = np.random.default_rng(0).normal(size=(64, 4)), np.random.default_rng(1).normal(size=(64, 3))
    np.testing.assert_allclose(layer.preactivation(a), dense.preactivation(a), rtol=1e-15, atol=1e-15)
    for ours, theirs in zip(layer.pulled_back(v), dense.pulled_back(v), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-14, atol=1e-14)


def test_products_forward_and_backward_are_those_of_the_weight():
    rng = np.random.default_rng(0)
    for m, k in [(1, 1), (1, 9), (5, 300), (30, 2), (200, 130), (0, 3), (3, 0)]:
        layer = Layer(rng.normal(size=(m, k)), rng.normal(size=m), Activation.of_kind("identity", m))
        a, v = rng.normal(size=(64, k)), rng.normal(size=(64, m))
        np.testing.assert_allclose(layer.preactivation(a), a @ layer.weight.T + layer.bias, rtol=1e-12, atol=1e-12)
        back, constant = layer.pulled_back(v)
        np.testing.assert_allclose(back, v @ layer.weight, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(constant, v @ layer.bias, rtol=1e-12, atol=1e-12)


def test_weights_that_do_not_fit_are_refused_with_their_shapes():
    relu = Activation.of_kind("relu", 3)
    with pytest.raises(MalformedModelError, match=r"'first'.*\(3, 2\) needs a bias of shape \(3,\).*got a bias \(2,\)"):
        Layer(np.ones((3, 2)), np.zeros(2), relu, "first")
    with pytest.raises(MalformedModelError, match="4 activations"):
        Layer(np.ones((3, 2)), np.zeros(3), Activation.of_kind("relu", 4))
    for bad in (np.nan, np.inf):
        with pytest.raises(MalformedModelError, match="NaN or infinity"):
            Layer(csr_array(np.full((3, 2), bad)), np.zeros(3), relu)
