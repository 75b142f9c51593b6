"""Pictures of results, with matplotlib: each function draws what was computed, and returns the axes it drew on."""

from relucidate.plot.parts import BLUE, QUIET
from relucidate.plot.simplification import comparison, curve, dendrogram, inference, models, short_rules, tree

__all__ = ["BLUE", "QUIET", "comparison", "curve", "dendrogram", "inference", "models", "short_rules", "tree"]
