"""Which local models can be trusted, where a network extrapolates, and how data differ: results that `plot` draws."""

from __future__ import annotations

from relucidate.complexities import Complexity, complexity
from relucidate.counterfactuals import BoundaryDistances, Search, boundary
from relucidate.exposures import Drift, Exposure, exposure
from relucidate.extrapolating import Extrapolation, Rejection, extrapolation
from relucidate.monotonicities import Monotonicity, monotonicity
from relucidate.performances import Gap, Performance, performance
from relucidate.reliabilities import Reliability, reliability
from relucidate.segmenting import Groups, Segments, segments

__all__ = [
    "BoundaryDistances",
    "Complexity",
    "Drift",
    "Exposure",
    "Extrapolation",
    "Gap",
    "Groups",
    "Monotonicity",
    "Performance",
    "Rejection",
    "Reliability",
    "Search",
    "Segments",
    "boundary",
    "complexity",
    "exposure",
    "extrapolation",
    "monotonicity",
    "performance",
    "reliability",
    "segments",
]
