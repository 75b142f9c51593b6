"""The names that a written file keeps beside its numbers, as `load` finds them."""

from __future__ import annotations

import json
import math

from relucidate.errors import UnsupportedModelError, shown
from relucidate.frameworks import jsonfile
from relucidate.network import Network


def metadata_of(network: Network) -> dict[str, str]:
    """Return names of features and classes as files keep them."""
    out = {}
    default = tuple(f"x{i}" for i in range(network.n_features))
    if network.features.named or network.feature_names != default:
        out["relucidate.feature_names"] = json.dumps(list(network.feature_names))
    if network.classes:
        classes = [jsonfile.plain_label(c, "class") for c in network.classes]
        if not all(math.isfinite(c) for c in classes if isinstance(c, float)):
            raise UnsupportedModelError(
                f"the classes {shown(classes)} are not all finite; only JSON files hold such labels. Rename them."
            )
        out["relucidate.classes"] = json.dumps(classes)
    return out
