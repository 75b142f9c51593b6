"""How much rounding may have changed the affine maps of one pattern, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from relucidate.exact import U
from relucidate.layers import Floats, Layer, is_sparse


class Roundings:
    """Bounds, to first order, on what rounding changed in the maps ``v @ t + c`` of the preactivations of a pattern.

    Parameters
    ----------
    layers : of the network. magnitude : the absolute weights of each.
    size : (m, d) and constant_size : (m,) of the first layer: sums of the absolute terms that its map and constant are sums of.

    Notes
    -----
    What each layer adds is led on by the maps from there. Products of weights without their signs, which are less work, grow with
    each layer beyond all measure: after 20 layers of 40 neurons they are larger than true coefficients over the precision.
    """

    def __init__(self, layers: Sequence[Layer], magnitude: Sequence[Any], size: Floats, constant_size: Floats) -> None:
        self._layers, self._magnitude = layers, magnitude
        unit = (layers[0].weight.shape[1] + 6) * U
        self._added: list[tuple[Floats, Floats]] = [(unit * size, unit * constant_size)]
        self._slopes: list[Floats] = []

    def take(self, v: Floats, c: Floats, slopes: Floats, offsets: Floats) -> None:
        """Go on to the next layer.

        Parameters
        ----------
        v, c : (m, d) and (m,) the map of this layer's preactivations. slopes, offsets : (m,) of the pieces in force.
        """
        self._slopes.append(slopes)
        k = len(self._slopes)
        layer, unit = self._layers[k], (self._layers[k].weight.shape[1] + 6) * U
        size = self._magnitude[k] @ (np.abs(slopes * c) + np.abs(offsets)) + np.abs(layer.bias)
        self._added.append(
            (unit * np.asarray(self._magnitude[k] @ np.abs(slopes[:, None] * v)), unit * np.asarray(size))
        )

    def bounds(self) -> tuple[Floats, Floats]:
        """Return by how much the map (m, d) and the constant (m,) of the layer that was come to may be wrong.

        Notes
        -----
        Cost: for each layer before, a product with its weight and one with its maps.
        """
        last = len(self._slopes)
        of_map, of_constant = self._added[last]
        pull: Any = None
        for k in range(last - 1, -1, -1):
            weight: Any = self._layers[k + 1].weight
            if pull is not None:
                pull = np.asarray(pull @ weight)
            else:
                pull = weight.toarray() if is_sparse(weight) else weight
            pull = pull * self._slopes[k]
            added_map, added_constant = self._added[k]
            of_map, of_constant = of_map + np.abs(pull) @ added_map, of_constant + np.abs(pull) @ added_constant
        return 2 * of_map, 2 * of_constant
