"""Pictures of results, with matplotlib: each function draws what was computed, and returns the axes it drew on."""

from relucidate.plot.attributions import integrated_gradients, shapley
from relucidate.plot.explaining import explain
from relucidate.plot.local_models import clusters, coefficients, directions, importance, intercepts
from relucidate.plot.parts import BLUE, QUIET, VERMILION
from relucidate.plot.paths import ale, ice, partial_dependence, path
from relucidate.plot.planes import local_lines, region, slice2d
from relucidate.plot.profiles import pairs, profile
from relucidate.plot.seeds import stability
from relucidate.plot.simplification import comparison, curve, dendrogram, inference, models, short_rules, tree

__all__ = [
    "BLUE",
    "QUIET",
    "VERMILION",
    "ale",
    "clusters",
    "coefficients",
    "comparison",
    "curve",
    "dendrogram",
    "directions",
    "explain",
    "ice",
    "importance",
    "inference",
    "integrated_gradients",
    "intercepts",
    "local_lines",
    "models",
    "pairs",
    "partial_dependence",
    "path",
    "profile",
    "region",
    "shapley",
    "short_rules",
    "slice2d",
    "stability",
    "tree",
]
