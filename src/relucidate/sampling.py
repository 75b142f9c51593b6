"""A seeded sample of rows, kept beside the sums for what needs rows: order statistics and pictures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relucidate.errors import ArgumentError, clipped
from relucidate.grouping import Codes
from relucidate.layers import Floats

MAX_ROWS = 200_000
_MAX_BYTES = 2**28


@dataclass(frozen=True, eq=False)
class Sample:
    """Rows kept, in the order of the table.

    Parameters
    ----------
    row : (s,) row numbers in the table. n : rows in the table.
    x : (s, n_features) encoded. decision : (s, n_outputs). region : (s,)
    y : (s,) class codes or (s, k) numbers, None without a response. weight : (s,) or None.
    """

    row: NDArray[np.int64]
    n: int
    x: Floats
    decision: Floats
    region: Codes
    y: Any = None
    weight: Any = None

    def taken(self, rows: NDArray[np.intp]) -> Sample:
        """Return some of the rows."""
        return Sample(
            row=self.row[rows],
            n=self.n,
            x=self.x[rows],
            decision=self.decision[rows],
            region=self.region[rows],
            y=None if self.y is None else self.y[rows],
            weight=None if self.weight is None else self.weight[rows],
        )

    @property
    def is_complete(self) -> bool:
        """Whether every row of the table is here."""
        return len(self.row) == self.n

    @property
    def caveat(self) -> str:
        """What a figure made from these rows must say: "" if they are all."""
        return "" if self.is_complete else f" (on a sample of {len(self.row):,} of {self.n:,} rows)"

    @property
    def label(self) -> NDArray[np.int64]:
        """Class codes (s,)."""
        return np.asarray(self.y).reshape(len(self.row), -1)[:, 0].astype(np.int64)

    @property
    def weights(self) -> Floats:
        """Weights (s,), ones where none were given."""
        return np.ones(len(self.row)) if self.weight is None else np.asarray(self.weight)

    @cached_property
    def mean(self) -> Floats:
        """Weighted mean of each feature (n_features,); of a constant one its very value."""
        weights = self.weights
        origin = self.x[(weights > 0).argmax()]  # about a row that counts, a constant feature leaves nothing to round
        return np.asarray(origin + weights / weights.sum() @ (self.x - origin))

    @cached_property
    def sd(self) -> Floats:
        """Weighted standard deviation of each feature (n_features,), about `mean`; of a constant one 0."""
        apart = self.x - self.mean
        reach = np.maximum(apart.max(axis=0), -apart.min(axis=0))  # relative to it, no square leaves float64
        apart /= np.where(reach > 0, reach, 1)
        apart *= apart
        return np.asarray(reach * np.sqrt(self.weights / self.weights.sum() @ apart))


class Sampler:
    """Keeps the rows whose number hashes lowest: the same ones however the table is cut into batches."""

    def __init__(self, n_features: int, n_rows: int | None, random_state: int) -> None:
        self.limit = max(1, min(MAX_ROWS, _MAX_BYTES // (8 * max(n_features, 1))))
        seed: Any = random_state
        if not (isinstance(seed, int | np.integer) and 0 <= seed < 2**64):
            raise ArgumentError(
                f"random_state is {clipped(random_state)}; expected a whole number from 0 to 2**64 - 1."
            )
        self._seed = np.uint64(random_state)
        self._n = 0
        self._parts: list[dict[str, Any]] = []
        self._held = 0
        self._below = 2**64 - 1
        if n_rows is not None and n_rows > self.limit:
            # nearly all that is gathered is kept: six standard deviations more than the limit
            self._below = min(int((self.limit + 6 * self.limit**0.5) / n_rows * 2**64), 2**64 - 1)

    def take(self, x: Floats, y: Any, weight: Any, decision: Floats, region: Codes) -> None:
        """Consider one batch of rows, next in the table's order."""
        row = np.arange(self._n, self._n + len(x))
        self._n += len(x)
        priority = _hash(row.astype(np.uint64), self._seed)
        keep = np.flatnonzero(priority <= np.uint64(self._below))
        part = {
            "row": row,
            "priority": priority,
            "x": x,
            "decision": decision,
            "region": region,
            "y": y,
            "weight": weight,
        }
        self._parts.append({k: None if v is None else v[keep] for k, v in part.items()})
        self._held += len(keep)
        if self._held > 2 * self.limit:
            self._shrink()

    def _shrink(self) -> None:
        parts = self._parts
        whole: dict[str, Any] = {
            k: None if parts[0][k] is None else np.concatenate([p[k] for p in parts]) for k in parts[0]
        }
        if self._held > self.limit:
            lowest = np.sort(np.argpartition(whole["priority"], self.limit - 1)[: self.limit])
            whole = {k: None if v is None else v[lowest] for k, v in whole.items()}
            self._below = min(self._below, int(whole["priority"].max()))
        self._parts, self._held = [whole], len(whole["row"])

    def sample(self) -> Sample:
        """Return the rows kept."""
        self._shrink()
        whole = self._parts[0]
        return Sample(n=self._n, **{k: v for k, v in whole.items() if k != "priority"})


def _hash(values: NDArray[np.uint64], seed: np.uint64) -> NDArray[np.uint64]:
    """Return the SplitMix64 hash of integers (Steele, Lea, Flood 2014)."""
    with np.errstate(over="ignore"):
        z = values + (seed + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
