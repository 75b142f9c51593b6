"""The canonical network: its maps are its function, and its edges are loud."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.special import expit, softmax

import rational
import relucidate as rl
from relucidate.errors import ArgumentError, MalformedModelError, UnfaithfulError
from relucidate.features import Features
from relucidate.frameworks import load
from relucidate.layers import Activation, Layer
from relucidate.network import Network, Patterns, assert_faithful
from small_networks import SPECIMENS, network, random_network, rows_for


@pytest.mark.parametrize("name", SPECIMENS)
def test_decision_is_that_of_rational_arithmetic(name):
    net = SPECIMENS[name]
    X = rows_for(net, 20)
    expected = np.array([[float(v) for v in rational.evaluate(net, x)[1]] for x in X])
    # a few dozen roundings of numbers of size 1 to 10
    np.testing.assert_allclose(net.decision(X), expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("name", SPECIMENS)
def test_maps_are_those_of_one_plus_d_evaluations(name):
    net = SPECIMENS[name]
    patterns = net.patterns(rows_for(net, 16))
    coef, intercept = net.affine_maps(patterns)
    for bits, c, b in zip(patterns.bits().tolist(), coef, intercept, strict=True):
        expected, constant = rational.affine_map(net, bits)
        np.testing.assert_allclose(c, np.array(expected, dtype=float), rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(b, np.array(constant, dtype=float), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", SPECIMENS)
def test_preactivation_maps_say_which_bits_are_on(name):
    net = SPECIMENS[name]
    X = np.random.default_rng(2).normal(size=(10, net.n_features))
    for x, pattern in zip(X, (net.patterns(X)[i] for i in range(10)), strict=True):
        bits = []
        for layer, (w, c) in zip(net.hidden, net.preactivation_maps(pattern), strict=True):
            bits += layer.activation.bits((w @ x + c)[None])[0].tolist()
        if name not in ("twins", "lattice"):  # there preactivations are 0, and rounding decides on the map's side
            assert bits == pattern.bits()[0].tolist()


def test_maps_do_not_depend_on_their_company():
    net = SPECIMENS["deep"]
    patterns = net.patterns(rows_for(net, 200))
    coef, _ = net.affine_maps(patterns)
    for i in (0, 17, 199):
        assert np.array_equal(net.affine_maps(patterns[i])[0][0], coef[i])


def test_links():
    X = np.random.default_rng(0).normal(size=(9, 3)) * 50
    net = SPECIMENS["one logit"]
    np.testing.assert_allclose(net.predict(X), expit(net.decision(X)), rtol=1e-14)
    proba = net.predict_proba(X)
    assert proba.shape == (9, 2)
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-15)
    five = SPECIMENS["five classes"]
    Y = np.random.default_rng(0).normal(size=(9, 4)) * 500
    np.testing.assert_allclose(five.predict(Y), softmax(five.decision(Y), axis=1), rtol=1e-12)
    log = random_network([2, 3, 1], link="log")
    np.testing.assert_allclose(log.predict(Y[:, :2] / 500), np.exp(log.decision(Y[:, :2] / 500)))
    with pytest.raises(ArgumentError, match="no class probabilities"):
        log.predict_proba(Y[:, :2])


def test_layers_that_do_not_chain_are_named():
    layers = (Layer(np.ones((3, 2)), np.zeros(3), Activation.of_kind("relu", 3), "first"),)
    last = Layer(np.ones((1, 4)), np.zeros(1), Activation.of_kind("identity", 1), "second")
    with pytest.raises(MalformedModelError, match=r"second has a weight of shape \(1, 4\).*3 values"):
        Network((*layers, last), Features.plain(2))
    with pytest.raises(MalformedModelError, match="must be affine"):
        Network(layers, Features.plain(2))
    with pytest.raises(MalformedModelError, match=r"'first'.*NaN or infinity"):
        Layer(np.full((3, 2), np.nan), np.zeros(3), Activation.of_kind("relu", 3), "first")
    with pytest.raises(MalformedModelError, match="continuous"):
        Activation.build(2, [0], [0, 1], [0, 5])


def test_patterns_round_trip():
    bits = np.random.default_rng(0).random((11, 21)) > 0.5
    patterns = Patterns.pack(bits)
    assert np.array_equal(patterns.bits(), bits)
    assert np.array_equal(np.asarray(patterns), bits)
    assert len(set(patterns.ids())) == 11
    assert Patterns.pack(np.zeros((4, 0), dtype=bool)).bits().shape == (4, 0)


def test_assert_faithful_reports_and_refuses():
    a = np.array([[0.2], [0.6]])
    result = assert_faithful("net", a, a + np.array([[0.0], [1e-12]]), tolerance=1e-10, against="it", link="logit")
    assert (result.worst_row, result.agreement, result.n) == (1, 1.0, 2)
    assert result.max_difference == pytest.approx(1e-12, rel=1e-3)
    with pytest.raises(UnfaithfulError, match="row 1 differs from it"):
        assert_faithful("net", a, a + np.array([[0.0], [1e-6]]), tolerance=1e-10, against="it")
    with pytest.raises(UnfaithfulError, match="row 0"):
        assert_faithful("net", np.full((1, 1), np.nan), np.ones((1, 1)), tolerance=1e-10, against="it")


def test_wide_and_deep_networks_work():
    wide = network([np.ones((20_000, 1)), np.ones((1, 20_000))], [np.linspace(-1, 1, 20_000), np.zeros(1)])
    bits = wide.patterns(np.array([[0.0], [2.0], [-2.0]])).bits()
    assert [int(b.sum()) for b in bits] == [10_000, 20_000, 0]
    columns = random_network([10_000, 5, 1])
    X = np.random.default_rng(0).normal(size=(3, 10_000))
    coef, intercept = columns.affine_maps(columns.patterns(X))
    np.testing.assert_allclose(np.einsum("nkd,nd->nk", coef, X) + intercept, columns.decision(X), rtol=1e-10)
    deep = random_network([4, *[16] * 30, 1], seed=3)
    Y = np.random.default_rng(0).normal(size=(5, 4))
    assert np.array_equal(deep.patterns(Y).bits(), [rational.evaluate(deep, y)[0] for y in Y])


def test_contrast_is_the_difference_of_two_logits():
    rng = np.random.default_rng(3)
    weights, biases = [rng.normal(size=(4, 9)), rng.normal(size=(9, 3))], [rng.normal(size=9), rng.normal(size=3)]
    net = dataclasses.replace(load((weights, biases), link="softmax"), classes=("cat", "dog", "fox"))
    rows = rng.normal(size=(50, 4))
    pair = net.contrast("fox", "cat")
    decision, p = net.decision(rows), net.predict_proba(rows)
    # subtracting before or after the last product rounds differently
    assert np.allclose(pair.decision(rows)[:, 0], decision[:, 2] - decision[:, 0], rtol=0, atol=1e-12)
    assert np.allclose(pair.predict_proba(rows)[:, 1], p[:, 2] / (p[:, 0] + p[:, 2]), rtol=1e-12)
    assert pair.classes == ("cat", "fox")
    assert np.array_equal(pair.patterns(rows).packed, net.patterns(rows).packed)
    u = rl.unwrap(pair, rows)
    assert u.coef.shape[1:] == (1, 4)


@pytest.mark.parametrize(
    ("one", "other", "text"),
    [
        ("ox", "cat", "'ox' is no class of this network; its classes are 'cat', 'dog', 'fox'"),
        ("cat", "cat", "two classes"),
    ],
)
def test_contrast_needs_two_classes(one, other, text):
    net = dataclasses.replace(load(([np.eye(3)], [np.zeros(3)]), link="softmax"), classes=("cat", "dog", "fox"))
    with pytest.raises(ArgumentError, match=text):
        net.contrast(one, other)


def test_contrast_needs_a_softmax():
    with pytest.raises(ArgumentError, match="has the link 'identity'"):
        load(([np.eye(3)], [np.zeros(3)])).contrast(0, 1)
