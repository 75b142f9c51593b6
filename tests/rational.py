"""The network again, slow and obvious, in rational arithmetic: what the fast one must agree with."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from relucidate.network import Network

Rational = list[Fraction]


def rational(values: Any) -> Rational:
    return [Fraction(float(v)) for v in values]


def affine(layer: Any, a: Rational) -> Rational:
    weight = layer.weight.toarray() if hasattr(layer.weight, "toarray") else layer.weight
    rows = zip(weight, layer.bias, strict=True)
    return [sum((w * v for w, v in zip(rational(row), a, strict=True)), Fraction(float(b))) for row, b in rows]


def breakpoints(activation: Any, neuron: int) -> Rational:
    return rational(b for b in activation.breakpoints[neuron] if np.isfinite(b))


def on_piece(activation: Any, neuron: int, k: int, z: Fraction) -> Fraction:
    slope, offset = rational((activation.slopes[neuron, k], activation.offsets[neuron, k]))
    return slope * z + offset


def evaluate(network: Network, x: Any) -> tuple[list[bool], Rational]:
    """The exact activation pattern and the exact decision of one row."""
    a, bits = rational(x), []
    for layer in network.hidden:
        out = []
        for j, z in enumerate(affine(layer, a)):
            above = [z > b for b in breakpoints(layer.activation, j)]
            bits += above
            out.append(on_piece(layer.activation, j, sum(above), z))
        a = out
    return bits, affine(network.layers[-1], a)


def held(network: Network, bits: list[bool], x: Rational) -> Rational:
    """The decision at x with the pattern held fixed, whatever the pattern of x itself is."""
    a, start = x, 0
    for layer in network.hidden:
        out = []
        for j, z in enumerate(affine(layer, a)):
            n = len(breakpoints(layer.activation, j))
            out.append(on_piece(layer.activation, j, sum(bits[start : start + n]), z))
            start += n
        a = out
    return affine(network.layers[-1], a)


def affine_map(network: Network, bits: list[bool]) -> tuple[list[Rational], Rational]:
    """Coefficients [output][feature] and intercepts, by 1 + d evaluations with the pattern held fixed."""
    d = network.n_features
    intercept = held(network, bits, [Fraction(0)] * d)
    columns = [held(network, bits, [Fraction(int(i == j)) for j in range(d)]) for i in range(d)]
    return [[column[k] - intercept[k] for column in columns] for k in range(len(intercept))], intercept


def auc(score: Any, positive: Any, weight: Any = None) -> float:
    """By all pairs."""
    w = np.ones(len(score)) if weight is None else weight
    won = total = 0.0
    for i in np.flatnonzero(positive):
        for j in np.flatnonzero(~np.asarray(positive)):
            pair = w[i] * w[j]
            total += pair
            won += pair * (1.0 if score[i] > score[j] else 0.5 if score[i] == score[j] else 0.0)
    return won / total if total else float("nan")
