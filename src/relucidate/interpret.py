"""What a network does, globally and for one case: each function returns a result that `relucidate.plot` draws."""

from __future__ import annotations

from relucidate.attributing import IntegratedGradients, integrated_gradients
from relucidate.effects import Effect, Ice, ale, ice, partial_dependence
from relucidate.explaining import Explanation, explain
from relucidate.importances import Importance, importance
from relucidate.local_models import (
    Clusters,
    Coefficients,
    Directions,
    Intercepts,
    clusters,
    coefficients,
    directions,
    intercepts,
)
from relucidate.paths import Path, path
from relucidate.profiles import Pairs, Profile, pairs, profile
from relucidate.seeds import Stability, stability
from relucidate.shapley_values import Shapley, shapley

__all__ = [
    "Clusters",
    "Coefficients",
    "Directions",
    "Effect",
    "Explanation",
    "Ice",
    "Importance",
    "IntegratedGradients",
    "Intercepts",
    "Pairs",
    "Path",
    "Profile",
    "Shapley",
    "Stability",
    "ale",
    "clusters",
    "coefficients",
    "directions",
    "explain",
    "ice",
    "importance",
    "integrated_gradients",
    "intercepts",
    "pairs",
    "partial_dependence",
    "path",
    "profile",
    "shapley",
    "stability",
]
