"""Pictures of results, with matplotlib: each function draws what was computed, and returns the axes it drew on."""

from relucidate.plot.attributions import integrated_gradients, shapley
from relucidate.plot.boundary import boundary
from relucidate.plot.explaining import explain
from relucidate.plot.local_models import clusters, coefficients, directions, importance, intercepts
from relucidate.plot.parts import BLUE, QUIET, VERMILION
from relucidate.plot.paths import ale, ice, partial_dependence, path
from relucidate.plot.performances import exposure, performance, segments
from relucidate.plot.planes import local_lines, region, slice2d
from relucidate.plot.profiles import pairs, profile
from relucidate.plot.reliabilities import complexity, monotonicity, reliability
from relucidate.plot.seeds import stability
from relucidate.plot.simplification import comparison, curve, dendrogram, inference, models, short_rules, tree
from relucidate.plot.trust import extrapolation

__all__ = [
    "BLUE",
    "QUIET",
    "VERMILION",
    "ale",
    "boundary",
    "clusters",
    "coefficients",
    "comparison",
    "complexity",
    "curve",
    "dendrogram",
    "directions",
    "explain",
    "exposure",
    "extrapolation",
    "ice",
    "importance",
    "inference",
    "integrated_gradients",
    "intercepts",
    "local_lines",
    "models",
    "monotonicity",
    "pairs",
    "partial_dependence",
    "path",
    "performance",
    "profile",
    "region",
    "reliability",
    "segments",
    "shapley",
    "short_rules",
    "slice2d",
    "stability",
    "tree",
]
