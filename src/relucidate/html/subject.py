"""What a report is about, and the results that several chapters rest on: each is computed once, when first asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from relucidate.complexities import Complexity, complexity
from relucidate.exposures import Exposure, exposure
from relucidate.extrapolating import Extrapolation, extrapolation
from relucidate.html.regions import MAX_OUTPUTS, Importance, RegionTable, feature_importance, region_table
from relucidate.monotonicities import Monotonicity, monotonicity
from relucidate.network import Network
from relucidate.performances import Performance, performance
from relucidate.reliabilities import Reliability, reliability
from relucidate.segmenting import Segments, segments
from relucidate.simplified import Simplified
from relucidate.unwrapping import Unwrapped

LEAST_ROWS = 5  # behind a mean or a response in a page without single rows


@dataclass(frozen=True, eq=False)
class Subject:
    """A network on a table, and what was given beside it.

    Parameters
    ----------
    u : from `unwrap`. test : what `unwrap` made of other rows, or None. simplified : of the same network, or None.
    protected : the name of a column of `table`, or a value per row of it; None for no comparison of groups.
    table : (X, y) that `protected` belongs to. expected : the sign expected of a feature, as for `monotonicity`.
    rows : how many single rows the page may hold. 0: none, and no figure that is that of fewer than `least` rows.
    reproduce : the command or call that makes the page again. files : that were read, for their hashes.
    """

    u: Unwrapped
    test: Unwrapped | None = None
    simplified: Simplified | None = None
    protected: Any = None
    table: tuple[Any, Any] | None = None
    expected: Mapping[Any, str] = field(default_factory=dict)
    rows: int = 0
    reproduce: str | None = None
    files: Sequence[str | Path] = ()

    @property
    def net(self) -> Network:
        """The network."""
        return self.u.network

    @property
    def n_outputs(self) -> int:
        """Outputs in the page: the first ones."""
        return min(self.net.n_outputs, MAX_OUTPUTS)

    @property
    def least(self) -> int:
        """Fewest rows that a mean or a response in the page may rest on, so that it shows nobody's row."""
        return 1 if self.rows else LEAST_ROWS

    @cached_property
    def importance(self) -> Importance:
        """Share of each feature in the variance of the decision, and the features' means and spreads."""
        return feature_importance(self.u, self.n_outputs)

    @cached_property
    def regions(self) -> RegionTable:
        """The regions in the page."""
        return region_table(self.u, self.importance, self.reliability, self.least)

    @cached_property
    def complexity(self) -> Complexity:
        """How complex the network is on the table."""
        return complexity(self.u)

    @cached_property
    def reliability(self) -> Reliability:
        """A verdict per region, with reasons."""
        return reliability(self.u)

    @cached_property
    def monotonicity(self) -> Monotonicity:
        """Direction of the decision in each feature, against the signs expected."""
        return monotonicity(self.u, expected=self.expected or None)

    @cached_property
    def performance(self) -> Performance | None:
        """Scores of the local models on the table; None without a response, or rows enough for a score."""
        return performance(self.u) if self.u.has_y and _weighing(self.u) >= self.least else None

    @cached_property
    def segments(self) -> Segments | None:
        """Where the network does worst: on the test rows if they have a response, else on the table; None without one."""
        judged = self.judged
        if judged is None:
            return None
        return segments(self.u) if judged is self.u else segments(self.u, judged)

    @cached_property
    def groups(self) -> Segments | None:
        """How groups fare on the rows that `protected` belongs to; None if none were asked for, or without a response."""
        if self.protected is None or self.table is None:
            return None
        X, y = self.table
        has_response = X.has_y if isinstance(X, Unwrapped) else y is not None
        return segments(self.u, X, y, protected=self.protected) if has_response else None

    @cached_property
    def compared(self) -> Unwrapped | None:
        """The test rows; None where they, or those of the table, are too few for a comparison that shows no row."""
        test = self.test
        if test is None or min(_weighing(test), _weighing(self.u)) < self.least or _weighing(self.u) < 2:
            return None
        return test

    @property
    def judged(self) -> Unwrapped | None:
        """The rows that the network is judged on: the test rows if they have a response, else the table's; or None."""
        if self.compared is not None and self.compared.has_y:
            return self.compared
        return self.u if self.u.has_y and _weighing(self.u) >= self.least else None

    @cached_property
    def exposure(self) -> Exposure | None:
        """How the test rows use the regions; None without any to compare."""
        return None if self.compared is None else exposure(self.u, self.u, self.compared)

    @cached_property
    def extrapolation(self) -> Extrapolation | None:
        """How far the network can be trusted on each test row of the sample; None without any to compare."""
        return None if self.compared is None else extrapolation(self.u, self.compared)


def _weighing(u: Unwrapped) -> int:
    """Return how many rows of the sample have a weight."""
    return int((u.sample.weights > 0).sum())
