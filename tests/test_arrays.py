"""Networks given as plain arrays, either way round."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

from relucidate.errors import ArgumentError, ColumnError, MalformedModelError
from relucidate.frameworks import arrays, load
from relucidate.network import Network


def random_arrays(widths: list[int], seed: int = 0) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Weights (inputs, outputs) and biases of a random network."""
    rng = np.random.default_rng(seed)
    pairs = list(pairwise(widths))
    return [rng.normal(size=pair) for pair in pairs], [rng.normal(size=out) for _, out in pairs]


def slow(weights: list[np.ndarray], biases: list[np.ndarray], row: list[float]) -> list[float]:
    """The network, a neuron at a time; weights (inputs, outputs)."""
    values = row
    for depth, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        sums = [
            sum(v * w for v, w in zip(values, column, strict=True)) + b
            for column, b in zip(weight.T, bias, strict=True)
        ]
        values = sums if depth == len(weights) - 1 else [max(s, 0.0) for s in sums]
    return values


def agrees(net: Network, weights: list[np.ndarray], biases: list[np.ndarray]) -> None:
    rows = np.random.default_rng(1).normal(size=(20, weights[0].shape[0])) * 3
    np.testing.assert_allclose(
        net.decision(rows), [slow(weights, biases, r.tolist()) for r in rows], rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize("widths", [[3, 5, 4, 2], [1, 1], [4, 1], [2, 2, 1], [3, 3, 3, 2], [2, 3, 3, 3], [1, 8, 8, 1]])
@pytest.mark.parametrize("seed", range(3))
def test_both_ways_round(widths: list[int], seed: int) -> None:
    weights, biases = random_arrays(widths, seed)
    agrees(load((weights, biases)), weights, biases)
    if widths != [1, 1]:
        agrees(load(([w.T for w in weights], biases)), weights, biases)
    agrees(load({"weights": [w.T for w in weights], "biases": biases, "orientation": "out_in"}), weights, biases)


def test_the_arrays_are_stored_as_they_are() -> None:
    weights, biases = random_arrays([3, 4, 2])
    net = load((weights, biases))
    for layer, weight, bias in zip(net.layers, weights, biases, strict=True):
        assert layer.weight.tobytes() == np.ascontiguousarray(weight.T).tobytes()
        assert layer.bias.tobytes() == bias.tobytes()
    weights[0][:] = 0  # ours is a copy
    assert net.layers[0].weight.all()
    assert net.n_bits == 4
    assert [layer.name for layer in net.layers] == ["weights[0]", "weights[1]"]
    assert (net.link, net.provenance.source) == ("identity", "arrays")
    assert "(inputs, outputs)" in net.provenance.notes[0]
    assert net.faithfulness is not None
    assert net.faithfulness.against == f"forward pass in numpy {np.__version__}"
    assert net.faithfulness.n >= 256


def test_square_weights_are_taken_as_scikit_learn_keeps_them_and_this_is_said() -> None:
    weights, biases = random_arrays([3, 3, 3])
    net = load((weights, biases))
    agrees(net, weights, biases)
    assert "orientation cannot be seen" in net.provenance.notes[0]
    forced = load({"weights": weights, "biases": biases, "orientation": "out_in"})
    agrees(forced, [w.T for w in weights], biases)
    assert not any("cannot be seen" in note for note in forced.provenance.notes)


def test_kinds_of_arrays() -> None:
    weights, biases = random_arrays([3, 4, 2])
    agrees(load([[w.tolist() for w in weights], [b.tolist() for b in biases]]), weights, biases)
    agrees(load((weights, [b[:, None] for b in biases])), weights, biases)
    agrees(load((weights, [b[None] for b in biases])), weights, biases)
    agrees(load(([csr_array(w) for w in weights], biases)), weights, biases)
    agrees(load(([csr_array(w.T) for w in weights], biases)), weights, biases)
    single = [w.astype(np.float32) for w in weights]
    agrees(load((single, biases)), [w.astype(float) for w in single], biases)
    whole = [np.rint(w).astype(int) for w in weights]
    agrees(load((whole, biases)), whole, biases)


def test_link_and_names() -> None:
    net = load(random_arrays([3, 4, 1]), link="logit", feature_names=["a", "b", "c"])
    assert (net.link, net.feature_names) == ("logit", ("a", "b", "c"))
    np.testing.assert_allclose(net.predict(np.ones((1, 3))), 1 / (1 + np.exp(-net.decision(np.ones((1, 3))))))
    with pytest.raises(ArgumentError, match="link is 'probit'"):
        load(random_arrays([3, 4, 1]), link="probit")
    with pytest.raises(ColumnError, match="2 feature names were given for a network with 3 inputs"):
        load(random_arrays([3, 4, 1]), feature_names=["a", "b"])
    with pytest.raises(ArgumentError, match="output='y' means nothing for weights and biases"):
        load(random_arrays([3, 4, 1]), output="y")


def test_large_terms_that_cancel_are_no_reason_to_refuse() -> None:
    weights, biases = random_arrays([4, 30, 30, 1])
    net = load(([w * 1e4 for w in weights], [b * 1e4 for b in biases]))
    assert net.faithfulness is not None


@pytest.mark.parametrize(
    ("model", "recognised"),
    [
        (([np.eye(2)], [np.zeros(2)]), True),
        ([[np.eye(2)], [np.zeros(2)]], True),
        ({"weights": [np.eye(2)], "biases": [np.zeros(2)]}, True),
        ({"weights": [np.eye(2)]}, False),
        ("model.onnx", False),
        (np.eye(2), False),
        ((np.eye(2), np.zeros(2)), False),
        (([], [], []), False),
        (("a", "b"), False),
    ],
)
def test_recognises(model: Any, recognised: bool) -> None:
    assert arrays.recognises(model) is recognised


def w(*shape: int) -> np.ndarray:
    return np.ones(shape)


@pytest.mark.parametrize(
    ("weights", "biases", "message"),
    [
        ([], [], "0 weight matrices and 0 biases"),
        ([w(3, 4)], [w(4), w(2)], "1 weight matrices and 2 biases"),
        ([w(3, 4), w(5, 2)], [w(4), w(2)], r"weights\[1\] of shape \(5, 2\) takes 5 values, but weights\[0\] gives 4"),
        ([w(3, 4), w(4, 2)], [w(4), w(3)], r"weights\[1\] of shape \(4, 2\) has 2 outputs, but biases\[1\] holds 3"),
        (
            [w(4, 3), w(2, 5)],
            [w(4), w(2)],
            r"Read as \(outputs, inputs\): weights\[1\] of shape \(2, 5\) takes 5 values",
        ),
        ([w(3, 4), w(2, 4)], [w(4), w(2)], r"Shapes of the weights: \(3, 4\), \(2, 4\); of the biases: \(4,\), \(2,\)"),
        ([w(3)], [w(1)], r"weights\[0\] has shape \(3,\); expected two dimensions"),
        ([w(3, 4)], [w(2, 2)], r"biases\[0\] has shape \(2, 2\)"),
        ([[[1, 2], [3]]], [w(2)], r"weights\[0\] is ragged"),
        ([w(3, 4) * 1j], [w(4)], r"weights\[0\] has dtype complex128; expected real numbers"),
        ([w(3, 4).astype(object)], [w(4)], r"weights\[0\] has dtype object"),
        ([w(3, 4)], [np.array(list("abcd"))], r"biases\[0\] has dtype <U1"),
        ([w(3, 4) * np.nan], [w(4)], r"weights\[0\].*NaN or infinity"),
        ([w(3, 4)], [w(4) * np.inf], r"weights\[0\].*NaN or infinity"),
    ],
)
def test_refusals(weights: list[Any], biases: list[Any], message: str) -> None:
    with pytest.raises(MalformedModelError, match=message):
        load((weights, biases))


def test_refused_keys_and_orientations() -> None:
    weights, biases = random_arrays([3, 4, 2])
    with pytest.raises(ArgumentError, match=r"has the keys 'scale'; expected weights, biases, orientation"):
        load({"weights": weights, "biases": biases, "scale": 1})
    with pytest.raises(ArgumentError, match="orientation is 'rows'; expected 'in_out'"):
        load({"weights": weights, "biases": biases, "orientation": "rows"})
    with pytest.raises(
        MalformedModelError, match=r"Read as \(outputs, inputs\): weights\[0\] of shape \(3, 4\) has 3 outputs"
    ):
        load({"weights": weights, "biases": biases, "orientation": "out_in"})
