"""The core's algorithms once more, slow and obvious, straight from the definitions. Nothing here imports the package's own.

Numbers are `fractions.Fraction`, so nothing rounds: every float64 is a fraction. Networks are read only through
``network.layers`` and, of each layer, ``weight``, ``bias`` and ``activation.breakpoints, slopes, offsets``.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Exact = list[Fraction]
Pieces = list[list[int]]
"""For each hidden layer the index of the piece in force of each neuron."""


def dense(weight: Any) -> Array:
    """A dense or sparse matrix as an array."""
    return np.asarray(weight.toarray() if hasattr(weight, "toarray") else weight)


def fractions(values: Iterable[float]) -> Exact:
    """The same numbers, exactly."""
    return [Fraction(float(value)) for value in values]


def affine(layer: Any, a: Exact) -> Exact:
    """``weight @ a + bias``."""
    out = []
    for row, bias in zip(dense(layer.weight), layer.bias, strict=True):
        products = (Fraction(float(w)) * v for w, v in zip(row, a, strict=True) if w)
        out.append(sum(products, Fraction(float(bias))))
    return out


def piece_of(breakpoints: Array, z: Fraction) -> int:
    """The number of breakpoints strictly below ``z``."""
    return sum(Fraction(float(b)) < z for b in breakpoints if np.isfinite(b))


def on_piece(activation: Any, neuron: int, piece: int, z: Fraction) -> Fraction:
    """The value at ``z`` of the linear function that holds on a piece, wherever ``z`` lies."""
    return Fraction(float(activation.slopes[neuron, piece])) * z + Fraction(float(activation.offsets[neuron, piece]))


def preactivations(network: Any, x: Sequence[float] | Array) -> list[Exact]:
    """The exact preactivations of each hidden layer."""
    a, out = fractions(x), []
    for layer in network.layers[:-1]:
        z = affine(layer, a)
        out.append(z)
        act = layer.activation
        a = [on_piece(act, i, piece_of(act.breakpoints[i], v), v) for i, v in enumerate(z)]
    return out


def pieces(network: Any, x: Sequence[float] | Array) -> Pieces:
    """Which piece is in force at each hidden neuron."""
    return [
        [piece_of(layer.activation.breakpoints[i], v) for i, v in enumerate(z)]
        for layer, z in zip(network.layers[:-1], preactivations(network, x), strict=True)
    ]


def bits(network: Any, x: Sequence[float] | Array) -> list[bool]:
    """The activation pattern: of each hidden neuron, whether it is above each of its breakpoints."""
    out = []
    for layer, z in zip(network.layers[:-1], preactivations(network, x), strict=True):
        for breakpoints, value in zip(layer.activation.breakpoints, z, strict=True):
            out += [Fraction(float(b)) < value for b in breakpoints if np.isfinite(b)]
    return out


def all_bits(network: Any, X: Array) -> Array:
    """The patterns (n, n_bits) of rows."""
    return np.array([bits(network, x) for x in X], dtype=bool).reshape(len(X), -1)


def with_pieces(network: Any, held: Pieces, x: Exact) -> Exact:
    """The network's decision if every neuron stayed on the given piece."""
    a = x
    for layer, of_layer in zip(network.layers[:-1], held, strict=True):
        a = [on_piece(layer.activation, i, of_layer[i], z) for i, z in enumerate(affine(layer, a))]
    return affine(network.layers[-1], a)


def decision(network: Any, x: Sequence[float] | Array) -> Exact:
    """The exact decision."""
    return with_pieces(network, pieces(network, x), fractions(x))


def affine_map(network: Any, held: Pieces) -> tuple[list[Exact], Exact]:
    """Coefficients and intercept of a pattern, by 1 + d evaluations with the pattern held fixed: at 0 and at each e_j."""
    d = dense(network.layers[0].weight).shape[1]
    intercept = with_pieces(network, held, [Fraction(0)] * d)
    columns = []
    for j in range(d):
        at = with_pieces(network, held, [Fraction(int(i == j)) for i in range(d)])
        columns.append([value - base for value, base in zip(at, intercept, strict=True)])
    return [[columns[j][k] for j in range(d)] for k in range(len(intercept))], intercept


def absolute_map(network: Any, held: Pieces) -> tuple[list[Exact], Exact]:
    """As `affine_map` with every number replaced by its size: what the rounding of a map is relative to."""
    d = dense(network.layers[0].weight).shape[1]

    def run(x: Exact) -> Exact:
        a = x
        for layer, of_layer in zip(network.layers, [*held, None], strict=True):
            z = []
            for row, bias in zip(dense(layer.weight), layer.bias, strict=True):
                products = (abs(Fraction(float(w))) * v for w, v in zip(row, a, strict=True) if w)
                z.append(sum(products, abs(Fraction(float(bias)))))
            act = layer.activation
            a = z if of_layer is None else [
                abs(Fraction(float(act.slopes[i, p]))) * z[i] + abs(Fraction(float(act.offsets[i, p])))
                for i, p in enumerate(of_layer)
            ]
        return a

    base = run([Fraction(0)] * d)
    columns = [[v - b for v, b in zip(run([Fraction(int(i == j)) for i in range(d)]), base, strict=True)] for j in range(d)]
    return [[columns[j][k] for j in range(d)] for k in range(len(base))], base


# ---------------------------------------------------------------- rows by pattern


def groups(keys: Iterable[Hashable]) -> dict[Hashable, list[int]]:
    """The rows of each key, in order of first appearance."""
    out: dict[Hashable, list[int]] = defaultdict(list)
    for i, key in enumerate(keys):
        out[key].append(i)
    return dict(out)


def as_keys(bits: Array) -> list[tuple[bool, ...]]:
    """Rows of bits as tuples."""
    return [tuple(row) for row in np.asarray(bits, dtype=bool).tolist()]


def ordered_regions(bits: Array) -> list[list[int]]:
    """The rows of each region: largest first, ties by pattern, off before on from the first bit."""
    by_pattern = groups(as_keys(bits))
    return [by_pattern[key] for key in sorted(by_pattern, key=lambda key: (-len(by_pattern[key]), key))]


def counts(bits: Array) -> Counter[tuple[bool, ...]]:
    """How many rows have each pattern."""
    return Counter(as_keys(bits))


# ---------------------------------------------------------------- scores, by hand


def auc(score: Array, positive: Array, weight: Array | None = None) -> float:
    """The weighted share of (positive, negative) pairs in which the positive scores higher, ties one half."""
    weight = np.ones(len(score)) if weight is None else weight
    won = pairs = 0.0
    for i in np.flatnonzero(positive):
        for j in np.flatnonzero(~np.asarray(positive, dtype=bool)):
            w = float(weight[i] * weight[j])
            pairs += w
            won += w * (1.0 if score[i] > score[j] else 0.5 if score[i] == score[j] else 0.0)
    return won / pairs if pairs > 0 else float("nan")


def mean_squared_error(y: Array, predicted: Array, weight: Array | None = None) -> float:
    """The weighted mean over rows of the mean over outputs of the squared error."""
    weight = np.ones(len(y)) if weight is None else weight
    total = sum(float(w) * float(np.mean((np.atleast_1d(a) - np.atleast_1d(b)) ** 2))
                for w, a, b in zip(weight, y, predicted, strict=True))
    return total / float(np.sum(weight))


def r2(y: Array, predicted: Array, weight: Array | None = None) -> float:
    """1 - mean squared error / variance of the response, both averaged over outputs."""
    y = np.asarray(y, dtype=float).reshape(len(y), -1)
    centre = np.average(y, axis=0, weights=weight)
    spread = mean_squared_error(y, np.broadcast_to(centre, y.shape), weight)
    return 1 - mean_squared_error(y, predicted, weight) / spread if spread > 0 else float("nan")


def log_loss(decisions: Array, y: Array, link: str) -> list[float]:
    """Minus the logarithm of the probability of what happened, row by row; summed over outputs if there are several."""
    out = []
    for row, label in zip(decisions, y, strict=True):
        if link == "softmax":
            e = [np.exp(v - max(row)) for v in row]
            out.append(float(-np.log(e[int(label)] / sum(e))))
        else:
            labels = np.atleast_1d(label)
            p = [1 / (1 + np.exp(-v)) for v in row]
            out.append(float(sum(-np.log(q if t else 1 - q) for q, t in zip(p, labels, strict=True))))
    return out
