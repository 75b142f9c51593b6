"""Comparing what was read back of an export with the network that was written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from relucidate.features import Features
from relucidate.frameworks import _proved, jsonfile
from relucidate.frameworks.reading import Original, Reading
from relucidate.layers import Floats
from relucidate.network import Network, Provenance

TOLERANCE = 1e-10
_LARGEST_LOG = 700.0


def encoded(network: Network, called: str) -> Network:
    """Return the network on its encoded features, under the name that messages call it."""
    features = network.features
    if not features.is_plain:
        features = Features.plain(len(features), features.names)
    return replace(network, features=features, provenance=Provenance(called), faithfulness=None)


def compare(
    network: Network,
    called: str,
    *,
    decision: Callable[[Floats], Floats] | None = None,
    predict: Callable[[Floats], Floats] | None = None,
) -> None:
    """Raise unless what was read back equals the network.

    Parameters
    ----------
    called : what messages call the file or object.
    decision, predict : what was read back, (n, n_features) to (n, n_outputs).

    Raises
    ------
    UnfaithfulError : it does not.
    """
    core = encoded(network, called)
    rows = jsonfile.probe_of(core)
    originals = []
    if decision is not None:
        originals.append(Original("what was read back", decision, "decision", _Tolerance(core)))
    if predict is not None:
        if network.link == "log":
            rows = rows[(core.decision(rows) < _LARGEST_LOG).all(axis=1)]
        originals.append(Original("what was read back", predict, "predict", _Tolerance(core)))
    if len(rows):
        _proved(Reading(core, tuple(originals), rows), None)


@dataclass(frozen=True, eq=False)
class _Tolerance:
    """What rounding may do to each value (n, n_outputs): 1e-10, or more where large terms cancel."""

    network: Network

    def __call__(self, rows: Floats) -> Floats:
        size = np.abs(rows)
        for layer in self.network.layers:
            size = np.asarray((abs(layer.weight) @ size.T).T) + np.abs(layer.bias)
            a = layer.activation
            if not (a.is_relu or a.is_identity):
                at = np.where(np.isfinite(a.breakpoints), np.abs(a.breakpoints), 0.0).max(axis=1, initial=0.0)
                steep = np.abs(a.slopes).max(axis=1)
                size = 2 * steep * (size + at) + np.abs(a.offsets).max(axis=1)
        lost = 16 * np.finfo(float).eps * size
        if self.network.link == "identity":
            return np.maximum(TOLERANCE, lost / (1 + np.abs(self.network.decision(rows))))
        # no inverse link is steeper than 1, or relatively so
        return np.broadcast_to(np.maximum(TOLERANCE, lost.max(axis=1, keepdims=True)), size.shape)
