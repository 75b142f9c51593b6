"""Simplified models as a scorecard: points per unit of each feature, for each segment."""

from __future__ import annotations

import csv
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from relucidate.deploying_model import Deployed, deployed
from relucidate.displaying import in_notebook
from relucidate.errors import ArgumentError, UnfaithfulError, UnsupportedModelError, clipped
from relucidate.layers import Floats
from relucidate.outputs import atomic_file, safe_cell
from relucidate.simplified import Simplified

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Scorecard:
    """Points for each segment and feature.

    Parameters
    ----------
    model : what leads a row to its segment.
    base : (K,) points that a row of each segment begins with. points : (K, n_features) per unit of each feature.
    """

    model: Deployed
    base: Floats
    points: Floats

    def score(self, X: Any) -> Floats:
        """Return the score of each row (n,).

        Parameters
        ----------
        X : (n, n_columns) array or table, see `Features.encode`.
        """
        x = self.model.features.encode(X)
        m = self.model.assign_encoded(x)
        return np.asarray(self.base[m] + np.einsum("nd,nd->n", x, self.points[m]))

    _repr_html_ = in_notebook

    def to_frame(self) -> pd.DataFrame:
        """Return the base and each feature of each segment: ``segment``, ``rule``, ``part``, ``feature``, ``points``.

        `part` is "base" or "per unit", `points` are those of the base or of one unit of the feature.
        """
        import pandas as pd

        rules: list[list[str]] = [[] for _ in self.base]
        for m, rule, _ in self.model.segments():
            rules[m].append(rule)
        rows = []
        for m, (base, points) in enumerate(zip(self.base.tolist(), self.points.tolist(), strict=True)):
            rule = " or ".join(rules[m]) or f"by {self.model.route.kind}"
            rows.append((m, rule, "base", "", base))
            rows += [(m, rule, "per unit", f, p) for f, p in zip(self.model.features.names, points, strict=True)]
        return pd.DataFrame(rows, columns=["segment", "rule", "part", "feature", "points"])

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write `to_frame` as a CSV file that no spreadsheet takes for formulas, and return its path.

        Raises
        ------
        OutputError : the file cannot be written. UnfaithfulError : it does not hold the numbers that were written.
        """
        final = Path(path)
        frame = self.to_frame()
        rows = [list(frame.columns), *frame.to_numpy(dtype=object).tolist()]
        with atomic_file(final) as temporary:
            with open(temporary, "w", encoding="utf-8", newline="", errors="backslashreplace") as stream:
                table = csv.writer(stream, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
                table.writerows([safe_cell(cell) for cell in row] for row in rows)
            with open(temporary, encoding="utf-8", newline="") as stream:
                back = [float(row[-1]) for row in list(csv.reader(stream))[1:]]
            if back != frame["points"].tolist():
                raise UnfaithfulError(
                    f"{final}: the points read back are not those that were written. It was withheld."
                )
        return final


def scorecard(
    s: Simplified | Deployed,
    *,
    points_to_double: float = 20.0,
    base_points: float = 600.0,
    base_odds: float = 50.0,
) -> Scorecard:
    """Return a simplification as points.

    Parameters
    ----------
    points_to_double : points in which the odds against the second class double; below 0 where the second class is the
        one that deserves points.
    base_points : the score at `base_odds`. base_odds : of the first class against the second.

    Raises
    ------
    UnsupportedModelError : several outputs, which have no common scale; rows that only the network leads to their models.
    ArgumentError : a number of which no scale can be made.

    Notes
    -----
    With the decision d, the log-odds of the second class, and f = points_to_double / ln 2, the score is
    ``base_points - f (d + ln base_odds)``: with the defaults 600 points at odds of 50 to 1 against default, 620 at 100
    to 1. For a link other than the logit the score is the decision itself, and the arguments say nothing.
    """
    model = s if isinstance(s, Deployed) else deployed(s)
    if model.n_outputs > 1:
        raise UnsupportedModelError(
            f"a scorecard is for one output; there are {model.n_outputs}. Write SQL or a .py file, which hold them all."
        )
    settings = {"points_to_double": points_to_double, "base_points": base_points, "base_odds": base_odds}
    value: Any
    for name, value in settings.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ArgumentError(f"{name} is {clipped(value)}; expected a finite number.")
    if points_to_double == 0:
        raise ArgumentError("points_to_double is 0; expected the points in which odds double, such as 20.")
    if base_odds <= 0:
        raise ArgumentError(f"base_odds is {base_odds}; odds are above 0, such as 50 for 50 to 1.")
    coef, intercept = model.coef[:, 0], model.intercept[:, 0]
    if model.link != "logit":
        return Scorecard(model, intercept.copy(), coef.copy())
    factor = points_to_double / math.log(2)
    return Scorecard(model, base_points - factor * (intercept + math.log(base_odds)), -factor * coef)
