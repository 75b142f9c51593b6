"""A network as plain arrays: weights and biases of ReLU layers."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from relucidate.frameworks.exporting_comparing import compare
from relucidate.frameworks.exporting_units import RELU_ONLY, in_stages, in_units
from relucidate.layers import Floats
from relucidate.network import Network

Arrays: TypeAlias = tuple[list[Floats], list[Floats]]


def arrays_object(network: Network) -> Arrays:
    """Return ``(weights, biases)``, compared with the network."""
    weights, biases = _arrays(network)
    compare(network, "the arrays", decision=lambda rows: _run_arrays(weights, biases, rows))
    return weights, biases


def arrays_file(network: Network, temporary: Path, final: Path) -> None:
    """Write an `.npz` file, read it back and compare."""
    weights, biases = _arrays(network)
    named = {f"weights_{i}": w for i, w in enumerate(weights)} | {f"biases_{i}": b for i, b in enumerate(biases)}
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **named)
    temporary.write_bytes(buffer.getvalue())
    with np.load(temporary, allow_pickle=False) as archive:
        n = len(archive.files) // 2
        read_w, read_b = ([archive[f"{what}_{i}"] for i in range(n)] for what in ("weights", "biases"))
    compare(network, str(final), decision=lambda rows: _run_arrays(read_w, read_b, rows))


def _arrays(network: Network) -> Arrays:
    """Return weights (inputs, outputs) and biases of a network whose hidden layers are all ReLU."""
    stages, weight, bias = in_stages(network, lambda activation: in_units(activation, RELU_ONLY))
    weights = [np.ascontiguousarray(w.T) for w in (*(s.weight for s in stages), weight)]
    return weights, [np.array(b) for b in (*(s.bias for s in stages), bias)]


def _run_arrays(weights: Sequence[Any], biases: Sequence[Any], rows: Floats) -> Floats:
    a = rows
    for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        a = a @ weight + bias
        a = np.maximum(a, 0.0) if i < len(weights) - 1 else a
    return a
