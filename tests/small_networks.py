"""Named small networks: every function is tried on all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from relucidate.features import Feature, Features
from relucidate.layers import Activation, Layer
from relucidate.network import Network

# a number that may be missing, a column of two levels and others, and a plain number
TOWNS = (
    Feature("age", "age", impute=40.0),
    Feature("age missing", "age", "missing"),
    Feature("town=A", "town", "level", ("A",)),
    Feature("town=B", "town", "level", ("B", "C")),
    Feature("town other", "town", "other", ("A", "B", "C")),
    Feature("debt", "debt"),
)


def network(weights: Sequence[Any], biases: Sequence[Any], kind: Any = "relu", link: Any = "identity") -> Network:
    """Weights are (out, in); `kind` names one activation for all hidden layers, or is a function of the width."""
    layers = []
    for i, (w, b) in enumerate(zip(weights, biases, strict=True)):
        m = len(b)
        last = i == len(weights) - 1
        hidden = kind(m) if callable(kind) else Activation.of_kind(kind, m)
        layers.append(Layer(w, b, Activation.of_kind("identity", m) if last else hidden, f"dense {i}"))
    return Network(tuple(layers), Features.plain(weights[0].shape[1]), link)


def random_network(
    sizes: Sequence[int],
    seed: int = 0,
    kind: Any = "relu",
    link: Any = "identity",
    draw: Callable[..., Any] | None = None,
) -> Network:
    rng = np.random.default_rng(seed)
    draw = draw or (lambda shape: rng.normal(size=shape) / np.sqrt(shape[-1]))
    weights = [np.asarray(draw((m, k)), dtype=float) for k, m in pairwise(sizes)]
    biases = [np.asarray(draw((1, m)), dtype=float)[0] for m in sizes[1:]]
    return network(weights, biases, kind, link)


def integers(seed: int) -> Callable[[Any], Any]:
    rng = np.random.default_rng(seed)
    return lambda shape: rng.integers(-2, 3, size=shape)


def mixed(m: int) -> Activation:
    kinds = [("relu",), ("leaky_relu", 0.1), ("clip", 0.0, 6.0), ("clip", -0.3, 0.7), ("abs",), ("identity",)]
    return Activation.joined(
        [Activation.of_kind(kinds[i % len(kinds)][0], 1, *kinds[i % len(kinds)][1:]) for i in range(m)]
    )


def twins(sizes: tuple[int, int] = (5, 8)) -> Network:
    """Each neuron twice, subtracted in the next layer: every preactivation there is exactly 0, at arbitrary weights."""
    d, m = sizes
    rng = np.random.default_rng(3)
    w = rng.normal(size=(m, d))
    b = rng.normal(size=m)
    difference = np.hstack([np.eye(m), -np.eye(m)]) * rng.normal(size=(m, 1))
    return network([np.vstack([w, w]), difference, np.ones((1, m))], [np.r_[b, b], np.zeros(m), np.zeros(1)])


def lattice() -> Network:
    """Products of indicators on a grid, where many preactivations vanish exactly and few maps serve many patterns."""
    knots = np.arange(4) / 4
    first = np.repeat(np.eye(2), 4, axis=0)
    second = np.array([[1, -2, 1, 0, 1, -2, 1, 0], [0, 1, -2, 1, 0, 1, -2, 1], [1, 0, 0, -1, -1, 0, 0, 1]], dtype=float)
    return network([first, second, np.ones((1, 3))], [-np.tile(knots, 2), np.zeros(3), np.zeros(1)])


def sparse() -> Network:
    net = random_network([6, 12, 8, 2], seed=5)
    first, *rest = net.layers
    weight = np.where(np.abs(first.weight) > 0.3, first.weight, 0.0)
    return Network((Layer(csr_array(weight), first.bias, first.activation, "sparse"), *rest), net.features)


def dead() -> Network:
    net = random_network([3, 6, 4, 1], seed=8)
    layers = list(net.layers)
    layers[1] = Layer(layers[1].weight, layers[1].bias - 100, layers[1].activation, "dead")
    return Network(tuple(layers), net.features)


SPECIMENS: dict[str, Network] = {
    "abs": network([np.array([[1.0], [-1.0]]), np.ones((1, 2))], [np.zeros(2), np.zeros(1)]),
    "xor": network([np.ones((2, 2)), np.array([[1.0, -2.0]])], [np.array([0.0, -1.0]), np.zeros(1)]),
    "lines": random_network([2, 7, 1], seed=1),
    "deep": random_network([3, 12, 12, 12, 1], seed=2),
    "five classes": random_network([4, 10, 10, 5], seed=4, link="softmax"),
    "three outputs": random_network([4, 10, 3], seed=6),
    "one logit": random_network([3, 9, 9, 1], seed=7, link="logit"),
    "integers": random_network([3, 6, 6, 2], draw=integers(9)),
    "zero biases": network([np.array([[1.0, 2.0], [-1.0, 1.0]]), np.array([[1.0, 1.0]])], [np.zeros(2), np.zeros(1)]),
    "linear": network([np.array([[2.0, -1.0, 0.5]])], [np.array([0.25])]),
    "leaky": random_network([3, 8, 8, 1], seed=10, kind=lambda m: Activation.of_kind("leaky_relu", m, 0.01)),
    "prelu": random_network(
        [3, 8, 1], seed=11, kind=lambda m: Activation.of_kind("leaky_relu", m, np.linspace(-0.5, 0.5, m))
    ),
    "clip": random_network([3, 8, 8, 1], seed=12, kind=lambda m: Activation.of_kind("clip", m, 0.0, 0.5)),
    "mixed": random_network([4, 12, 12, 2], seed=13, kind=mixed),
    "hidden linear": random_network([3, 4, 2], seed=14, kind="identity"),
    "dead": dead(),
    "twins": twins(),
    "lattice": lattice(),
    "sparse": sparse(),
}


def rows_for(net: Network, n: int = 60, seed: int = 0) -> Any:
    """Rows on a coarse grid, where ties happen, and rows in general position."""
    rng = np.random.default_rng(seed)
    grid = rng.integers(-4, 5, size=(n // 2, net.n_features)) / 4
    return np.vstack([np.zeros((1, net.n_features)), grid, rng.normal(size=(n - n // 2 - 1, net.n_features))])
