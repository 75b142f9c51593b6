"""Affine maps of many patterns, held in memory where they fit and computed on demand where they do not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from relucidate.layers import Floats
from relucidate.network import Network, Patterns

FIT_BYTES = 2**30


@dataclass(frozen=True, eq=False)
class LazyMaps:
    """The coefficients or the intercepts of many patterns, computed when they are indexed.

    Parameters
    ----------
    network, patterns : whose maps.
    part : 0 for coefficients (R, n_outputs, n_features), 1 for intercepts (R, n_outputs).

    Notes
    -----
    Indexing works as on an array, and returns one; only the maps that the first index selects are computed. Walk over
    all of them with ``Unwrapped.map_blocks``.
    """

    network: Network
    patterns: Patterns
    part: int

    @property
    def shape(self) -> tuple[int, ...]:
        """As of the array that it stands for."""
        whole = (len(self.patterns), self.network.n_outputs, self.network.n_features)
        return whole if self.part == 0 else whole[:2]

    ndim = property(lambda self: len(self.shape))
    size = property(lambda self: int(np.prod(self.shape)))
    dtype = np.dtype(np.float64)

    def __len__(self) -> int:
        return len(self.patterns)

    def __getitem__(self, key: Any) -> Any:
        first, *rest = key if isinstance(key, tuple) else (key,)
        if first is Ellipsis or first is None:
            raise IndexError("The first index of maps computed on demand selects regions; write [:, ...] to take all.")
        rows = np.arange(len(self))[first]
        values = self.network.affine_maps(self.patterns[np.atleast_1d(rows)])[self.part]
        return values[0][tuple(rest)] if rows.ndim == 0 else values[(slice(None), *rest)]

    def __iter__(self) -> Iterator[Any]:
        for _, *maps in self.network.map_blocks(self.patterns):
            yield from maps[self.part]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Floats:
        return np.asarray(self[:], dtype=dtype)


def maps_of(network: Network, patterns: Patterns) -> tuple[Any, Any]:
    """Return coefficients and intercepts of patterns: arrays if they fit, else `LazyMaps`."""
    if len(patterns) * network.n_outputs * (network.n_features + 1) * 8 <= FIT_BYTES:
        return network.affine_maps(patterns)
    return LazyMaps(network, patterns, 0), LazyMaps(network, patterns, 1)


def over_classes(values: Floats, link: str) -> Floats:
    """Return values (n, K, …), of a softmax network less their mean over its classes; what rounding leaves of it is 0.

    Adding one function to all logits of a softmax changes no prediction, so that only their differences mean anything.
    """
    if link != "softmax":
        return values
    out = values - values.mean(axis=1, keepdims=True)
    out[np.abs(out) <= 1e-14 * np.abs(values).max(axis=1, keepdims=True)] = 0
    return out
