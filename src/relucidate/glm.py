"""Generalised linear models, penalised or not, fitted for thousands of groups of rows in one call.

Every group gets an estimate, and a `Status` that says whether it is an optimum of which standard errors may be had. Where
it is not, the status names the reason: one class, separated classes, columns that depend on others, too few rows.
"""

from __future__ import annotations

from relucidate.glm_coordinates import dependences
from relucidate.glm_fits import SEPARATED_L2, Fits, Status, fit, fit_sums
from relucidate.glm_penalties import PenaltyCurve, choose_penalty, fit_path
from relucidate.glm_rows import Family, Rows, unit_deviance
from relucidate.glm_separation import Overlap, Separation, separated

__all__ = [
    "SEPARATED_L2",
    "Family",
    "Fits",
    "Overlap",
    "PenaltyCurve",
    "Rows",
    "Separation",
    "Status",
    "choose_penalty",
    "dependences",
    "fit",
    "fit_path",
    "fit_sums",
    "separated",
    "unit_deviance",
]
