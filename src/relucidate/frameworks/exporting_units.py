"""What a layer becomes where it is written: simple neurons of the kinds that other programs have."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from relucidate.errors import UnsupportedModelError, clipped
from relucidate.layers import Activation, Floats, Layer, is_sparse
from relucidate.network import Network

Kind = Literal["identity", "relu", "abs", "prelu", "max", "min", "clip"]

_LARGEST_DENSE = 2**26
RELU_ONLY: frozenset[Kind] = frozenset({"relu"})
ALL_KINDS: frozenset[Kind] = frozenset(get_args(Kind))


@dataclass(frozen=True, eq=False)
class Units:
    """Simple neurons whose weighted sums are those of a layer.

    Parameters
    ----------
    neuron : which neuron of the layer each belongs to; unit u has the preactivation ``sign * (z[neuron] - shift)``.
    kind : of each unit; "prelu" has `slope`, "max" has `low`, "min" has `high`, "clip" both.
    coefficient : neuron i is ``constant[i] + Σ coefficient[u] * unit[u]`` over its units.
    """

    neuron: NDArray[np.intp]
    kind: NDArray[np.str_]
    sign: Floats
    shift: Floats
    coefficient: Floats
    slope: Floats
    low: Floats
    high: Floats
    constant: Floats

    @property
    def one_each(self) -> bool:
        """Whether each neuron is one unit as it stands."""
        return bool(
            np.array_equal(self.neuron, np.arange(len(self.constant)))
            and (self.coefficient == 1).all()
            and not self.constant.any()
        )

    def slopes(self) -> Floats | None:
        """Return the slope below 0 of each neuron, if each breaks at 0 at most and has slope 1 above it."""
        if not self.one_each or not set(self.kind.tolist()) <= {"identity", "relu", "abs", "prelu"}:
            return None
        return np.select(
            [self.kind == "identity", self.kind == "relu", self.kind == "abs"], [1.0, 0.0, -1.0], self.slope
        )


@dataclass(frozen=True)
class _Unit:
    kind: Kind
    coefficient: float = 1.0
    sign: float = 1.0
    shift: float = 0.0
    slope: float = 0.0
    low: float = -math.inf
    high: float = math.inf


def in_units(activation: Activation, kinds: frozenset[Kind]) -> Units:
    """Return the units of a layer, of the given kinds only; "relu" must be among them."""
    m = len(activation)
    neuron: list[int] = []
    units: list[_Unit] = []
    constant = np.zeros(m)
    for i in range(m):
        finite = np.isfinite(activation.breakpoints[i])
        at = activation.breakpoints[i][finite].tolist()
        slopes = activation.slopes[i, : len(at) + 1].tolist()
        offsets = activation.offsets[i, : len(at) + 1].tolist()
        simple = _simple(at, slopes, offsets)
        if simple is not None and simple.kind in kinds:
            parts, constant[i] = [simple], 0.0
        else:
            parts, constant[i] = _pieces(at, slopes, offsets, "identity" in kinds)
        units += parts
        neuron += [i] * len(parts)
    columns = {
        name: np.array([getattr(u, name) for u in units], dtype=np.float64)
        for name in ("sign", "shift", "coefficient", "slope", "low", "high")
    }
    return Units(
        neuron=np.array(neuron, dtype=np.intp),
        kind=np.array([u.kind for u in units], dtype=np.str_),
        constant=constant,
        **columns,
    )


def _simple(at: Sequence[float], slopes: Sequence[float], offsets: Sequence[float]) -> _Unit | None:
    """Return a neuron as one unit, if it is one."""
    if not at:
        return _Unit("identity") if (slopes, offsets) == ([1.0], [0.0]) else None
    low = at[0]
    if len(at) == 1:
        if low == 0 and slopes[1] == 1 and offsets == [0.0, 0.0]:
            known: dict[float, Kind] = {0.0: "relu", -1.0: "abs"}
            return _Unit(known.get(slopes[0], "prelu"), slope=slopes[0])
        if slopes == [0.0, 1.0] and offsets == [low, 0.0]:
            return _Unit("max", low=low)
        if slopes == [1.0, 0.0] and offsets == [0.0, low]:
            return _Unit("min", high=low)
    if len(at) == 2 and slopes == [0.0, 1.0, 0.0] and offsets == [low, 0.0, at[1]]:
        return _Unit("clip", low=low, high=at[1])
    return None


def _pieces(
    at: Sequence[float], slopes: Sequence[float], offsets: Sequence[float], identity: bool
) -> tuple[list[_Unit], float]:
    """Return any neuron as ReLU units and a constant; without breakpoints as one identity, where that is allowed."""
    if not at:
        s = slopes[0]
        if s == 0:
            return [], offsets[0]
        if identity:
            return [_Unit("identity", s)], offsets[0]
        return [_Unit("relu", s), _Unit("relu", -s, sign=-1.0)], offsets[0]
    steps = [slopes[1], *(after - before for before, after in pairwise(slopes[1:]))]
    units = [_Unit("relu", -slopes[0], sign=-1.0, shift=at[0])]
    units += [_Unit("relu", step, shift=b) for b, step in zip(at, steps, strict=True)]
    return [u for u in units if u.coefficient != 0], slopes[0] * at[0] + offsets[0]


@dataclass(frozen=True, eq=False)
class Stage:
    """A hidden layer in units: their weights and biases."""

    name: str
    weight: Floats
    bias: Floats
    units: Units


def in_stages(network: Network, units_of: Callable[[Activation], Units]) -> tuple[list[Stage], Floats, Floats]:
    """Return the hidden layers in units, and weight and bias of the output layer.

    Raises
    ------
    UnsupportedModelError : sparse layers that are too large to be written dense.
    """
    _afford(network)
    stages: list[Stage] = []
    weight, bias = _dense(network.layers[0]), network.layers[0].bias
    for i, (layer, after) in enumerate(zip(network.hidden, network.layers[1:], strict=True)):
        units = units_of(layer.activation)
        sign = units.sign[:, None]
        stages.append(
            Stage(
                layer.name or f"layer {i + 1}",
                weight[units.neuron] * sign,
                (bias[units.neuron] - units.shift) * units.sign,
                units,
            )
        )
        next_weight = _dense(after)
        weight = next_weight[:, units.neuron] * units.coefficient
        bias = after.bias + next_weight @ units.constant if units.constant.any() else after.bias
        if not len(units.neuron):
            # nothing but constants; other programs want a neuron all the same
            none = in_units(Activation.of_kind("relu", 1), RELU_ONLY)
            empty = np.zeros((1, stages[-1].weight.shape[1]))
            stages[-1] = replace(stages[-1], weight=empty, bias=np.zeros(1), units=none)
            weight = np.zeros((len(bias), 1))
    return stages, weight, bias


def _dense(layer: Layer) -> Floats:
    weight: Any = layer.weight
    return weight.toarray() if is_sparse(weight) else weight


def _afford(network: Network) -> None:
    sparse = [(layer.name, layer.weight.shape) for layer in network.layers if is_sparse(layer.weight)]
    numbers = sum(m * k for _, (m, k) in sparse)
    if numbers > _LARGEST_DENSE:
        name, (m, k) = max(sparse, key=lambda pair: pair[1][0] * pair[1][1])
        raise UnsupportedModelError(
            f"the sparse layers would be {numbers:,} numbers when written dense ({clipped(name)} is {m:,} × {k:,}); at "
            f"most {_LARGEST_DENSE:,} are written. Export to JSON, which keeps them sparse."
        )
