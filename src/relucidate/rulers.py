"""The ruler that rows are measured with: how far a row lies from the training rows, in each of several ways."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relucidate.errors import DataError
from relucidate.grouping import distinct, nearest
from relucidate.layers import Bools, Floats
from relucidate.network import Trace
from relucidate.products import in_threads, one_thread, padded, row_by_row
from relucidate.sampling import Sample
from relucidate.sums import row_loss
from relucidate.unwrapping import Unwrapped

Integers = NDArray[np.intp]

COMPONENTS = {
    "unseen": "pattern never seen",
    "hamming": "bits to the nearest pattern seen",
    "rarity": "few rows in its region",
    "region distance": "distance from the rows of its region",
    "centre distance": "distance from the mean row",
    "outside": "outside the range of a feature",
    "row distance": "distance to the nearest training row",
    "closeness": "close to the end of its region",
    "region loss": "loss of the rows of its region",
}
_REFERENCES = 20_000  # training rows that are left out, one at a time, and whose preactivations are looked at
_PRIOR_ROWS = 10.0  # of average loss that each region is credited with
_SHRINKAGE = 0.05  # of the covariance towards that of independent features
_TREE_FEATURES = 32  # above, a tree of rows is slower than all distances
_FEW_ROWS = 20_000  # of which a tree is never much slower than all distances
_PROBES, _LEAF = 64, 16  # rows that try a tree of such leaves
_COMPARED = 0.01  # share of all rows: a tree that compares a row with more is slower than all distances
_ANCHORS = 500
_FARTHEST = 1e100  # standard deviations: what is farther is as far
_BLOCK_ROWS = 1024  # a multiple of 64, see `row_by_row`


@dataclass(frozen=True, eq=False)
class Measured:
    """What rows are like, held against the training rows.

    Parameters
    ----------
    seen : (n,) whether a training row has the row's activation pattern.
    region : (n,) of the row, or of the nearest pattern seen. hamming : (n,) bits that differ from that pattern.
    count : (n,) training rows in that region.
    region_distance : (n,) from the mean row of that region, in standard deviations within regions (Mahalanobis).
    centre_distance : (n,) from the mean of all training rows, in standard deviations of the features.
    row_distance : (n,) to the nearest training row, likewise; NaN if it was not asked for.
    margin : (n,) least distance of a preactivation from where its neuron switches, in standard deviations of that
        preactivation over the training rows; infinite where nothing switches.
    outside : (n,) how far the row is outside the range of a feature, at most, in standard deviations of the feature;
        infinite where the feature never varied. outside_feature : (n,) which feature it is, -1 if the row is inside.
    beyond : sparse (n, n_features), the same for each feature, negative below the range.
    region_loss : (n,) mean training loss of that region, with ten rows of average loss added; NaN without a response.
    """

    seen: Bools
    region: Integers
    hamming: NDArray[np.int64]
    count: NDArray[np.int64]
    region_distance: Floats
    centre_distance: Floats
    row_distance: Floats
    margin: Floats
    outside: Floats
    outside_feature: Integers
    beyond: Any
    region_loss: Floats


def component(found: Measured, name: str) -> Floats:
    """Return one of `COMPONENTS` of rows (n,): the larger, the less a row is like the training rows."""
    if name == "unseen":
        return (~found.seen).astype(np.float64)
    if name == "rarity":
        return -found.count.astype(np.float64)
    if name == "closeness":
        return -found.margin
    return np.asarray(getattr(found, name.replace(" ", "_")), dtype=np.float64)


@dataclass(frozen=True, eq=False)
class _LeftOut:
    """Rows of the training table, each to be measured against the others: weights and losses (n,)."""

    weight: Floats
    loss: Floats


class Ruler:
    """The training rows, as that against which others are measured.

    Parameters
    ----------
    u : the training rows, unwrapped. nearest_row : whether to look for the nearest training row of each row.

    Raises
    ------
    DataError : fewer than two rows of positive weight.
    """

    def __init__(self, u: Unwrapped, nearest_row: bool) -> None:
        self._u, self.network, self._nearest_row = u, u.network, nearest_row
        s = u.sample
        s = s if s.weight is None else s.taken(np.flatnonzero(s.weights > 0))
        self._sample: Sample = s
        if len(s.row) < 2:
            raise DataError(
                f"The unwrapped table has {len(s.row)} rows of positive weight; two at least are needed, to see how far rows "
                "lie apart. Unwrap the table that the network was trained on."
            )
        self._alive = u.sums.weight > 0
        self._known = np.flatnonzero(self._alive[u.region_of_pattern])  # patterns that count as seen
        # rows of weight 0 were never seen, as far as it is known which they are
        partly = u.sample.weight is not None and u.sample.is_complete
        self._count = np.bincount(s.region, minlength=u.n_regions) if partly else u.count
        self._low, self._high = s.x.min(axis=0), s.x.max(axis=0)
        self._mean = s.mean
        with np.errstate(divide="ignore"):
            # a constant may have a tiny standard deviation, from rounding
            self._per_sd = np.where(self._high > self._low, 1 / s.sd, 0.0)
            self._per_sd_outside = np.where(self._high > self._low, 1 / s.sd, np.inf)
        self._has_means = u.sums.x.shape[1] > 0
        self._average_loss = float(u.sums.loss.sum() / u.sums.weight.sum()) if u.has_y else np.nan

    @property
    def notes(self) -> tuple[str, ...]:
        """What cannot be measured though it was asked for, in words."""
        return () if self._has_means else ("distances from a region's rows are left out: mean rows were not kept",)

    @property
    def components(self) -> tuple[str, ...]:
        """What can be measured."""
        absent = set() if self._u.has_y else {"region loss"}
        absent |= set() if self._has_means else {"region distance"}
        absent |= set() if self._nearest_row else {"row distance"}
        return tuple(name for name in COMPONENTS if name not in absent)

    @cached_property
    def references(self) -> tuple[Measured, Floats, Floats | None]:
        """Training rows, each measured against the others; their weights, and losses if there was a response."""
        s, at = self._sample, self._some
        x, weight = np.ascontiguousarray(s.x[at]), s.weights[at]
        trace = self.network.trace(x)
        loss = row_loss(self.network, trace.decision, s.y[at]) if s.y is not None else None
        found = self.measure(x, trace, _LeftOut(weight, np.zeros(len(at)) if loss is None else loss))
        return found, weight, loss

    @property
    def _some(self) -> Integers:
        """Places of training rows in the sample, evenly spaced, no more than 20,000."""
        n = len(self._sample.row)
        return np.unique(np.linspace(0, n - 1, min(n, _REFERENCES)).astype(np.intp))

    @cached_property
    def _whitening(self) -> Floats:
        """A matrix (d, d): its product with a standardised row has the covariance 1 within regions."""
        s, d = self._sample, len(self._mean)
        covariance, freedom = np.zeros((d, d)), len(s.row) - len(np.unique(s.region))
        scale = s.weights / s.weights.mean()
        for start in range(0, len(s.row), 2**14):
            rows = slice(start, start + 2**14)
            z = (s.x[rows] - self._means(s.region[rows])) * self._per_sd
            covariance += z.T @ (z * scale[rows, None])
        if freedom > 0:
            covariance = (1 - _SHRINKAGE) * covariance / freedom + _SHRINKAGE * np.eye(d)
        else:
            covariance = np.eye(d)
        values, vectors = np.linalg.eigh(covariance)
        return padded(np.ascontiguousarray((vectors / np.sqrt(np.maximum(values, _SHRINKAGE))).T))

    def _means(self, region: NDArray[Any]) -> Floats:
        sums = self._u.sums
        return sums.x[region] / sums.weight[region, None]

    @cached_property
    def _points(self) -> Floats:
        return self._sample.x * self._per_sd

    @cached_property
    def _axes(self) -> Floats:
        """The principal axes of standardised rows: along them the boxes of a tree fit rows that lie near a plane."""
        centred = self._points - self._mean * self._per_sd
        return padded(np.ascontiguousarray(np.linalg.eigh(centred.T @ centred)[1].T))

    def _turned(self, z: Floats) -> Floats:
        """Return standardised rows along the principal axes."""
        with one_thread():
            turned = row_by_row(_whole(z - self._mean * self._per_sd), self._axes)
        return np.ascontiguousarray(turned[: len(z), : z.shape[1]])

    @cached_property
    def _tree(self) -> Any:
        """A tree of the training rows; None where a row would be compared with too many of them to gain anything."""
        if self._points.shape[1] > _TREE_FEATURES:
            return None
        points = self._turned(self._points)
        if len(points) > _FEW_ROWS:
            from sklearn import neighbors

            counting = neighbors.KDTree(points, leaf_size=_LEAF)
            probes = points[np.linspace(0, len(points) - 1, _PROBES).astype(np.intp)]
            counting.reset_n_calls()
            counting.query(probes, k=2, return_distance=False)
            if counting.get_n_calls() > _COMPARED * len(points) * _PROBES:
                return None
        from scipy.spatial import KDTree

        return KDTree(points)

    @cached_property
    def _brute(self) -> Any:
        from sklearn.neighbors import NearestNeighbors

        return NearestNeighbors(algorithm="brute").fit(self._points)

    def _row_distance(self, z: Floats, k: int) -> Floats:
        """Return the distance of standardised rows to the k-th nearest training row (n,)."""
        points = self._points
        if self._tree is None:
            near = self._brute.kneighbors(z, k, return_distance=False)
        else:
            near, turned = np.empty((len(z), k), dtype=np.intp), self._turned(z)
            order = _alike_together(turned, self._tree.data)
            near[order] = self._tree.query(turned[order], k=range(1, k + 1), workers=-1)[1]
        # products of matrices round; measured again
        each = [
            np.sqrt(((z[i : i + 2**13] - points[at[i : i + 2**13]]) ** 2).sum(axis=1))
            for at in near.T
            for i in range(0, len(z), 2**13)
        ]
        return np.asarray(np.concatenate(each).reshape(k, len(z)).max(axis=0))

    @cached_property
    def _second(self) -> tuple[Floats, Floats]:
        """Smallest and largest values of each feature when one row that has the smallest or largest is gone."""
        x = self._sample.x
        return np.partition(x, 1, axis=0)[1], np.partition(x, len(x) - 2, axis=0)[-2]

    @cached_property
    def _spread(self) -> list[Floats]:
        """Per hidden layer 1 over the standard deviation of the preactivation at each switch, 0 where it is constant."""
        at = self._some
        a, w, out = self._sample.x[at], self._sample.weights[at], []
        for layer in self.network.hidden:
            z = layer.preactivation(a)
            centred = z - w @ z / w.sum()
            reach = np.abs(centred).max(axis=0, initial=0.0)  # relative to it, no square leaves float64
            sd = reach * np.sqrt(w @ (centred / np.where(reach > 0, reach, 1)) ** 2 / w.sum())
            varies = sd > 1e-12 * np.abs(z).max(axis=0, initial=0.0)  # what is less is rounding
            with np.errstate(divide="ignore"):
                out.append(np.where(varies, 1 / sd, 0.0)[layer.activation.switches[0]])
            a = layer.activation(z)
        return out

    def measure(self, x: Floats, trace: Trace, left_out: _LeftOut | None = None) -> Measured:
        """Return what encoded rows are like; `left_out`, if they are training rows to be measured against the others."""
        u, n = self._u, len(x)
        packed, code = distinct(trace.patterns.packed)
        own = u.regions_of_patterns(trace.patterns).astype(np.intp)
        seen = (own >= 0) & self._alive[own]
        if left_out is not None:
            left = u.sums.weight[own] - left_out.weight
            seen &= (self._count[own] > 1) & (left > 1e-9 * left_out.weight)
        region, hamming = own.copy(), np.zeros(n, dtype=np.int64)
        new, of_new = np.unique(code[~seen], return_inverse=True)
        if len(new):
            patterns = u.patterns.packed[self._known]
            skip = None
            if left_out is not None:
                mine = dict(zip(map(bytes, patterns), range(len(patterns)), strict=True))
                skip = np.array([mine[bytes(packed[i])] for i in new], dtype=np.intp)
            at, bits = nearest(patterns, np.ascontiguousarray(packed[new]), skip)
            region[~seen] = u.region_of_pattern[self._known[at]][of_new]
            hamming[~seen] = bits[of_new]
        gone = seen if left_out is not None else np.zeros(n, dtype=bool)
        count = self._count[region] - gone
        blocks = self._blocks(x, region, count, left_out, gone)
        row_distance = np.full(n, np.nan)
        if self._nearest_row:
            row_distance = self._row_distance(_within(x * self._per_sd), 1 if left_out is None else 2)
        return Measured(seen, region, hamming, count, row_distance=row_distance, **blocks)

    def _blocks(
        self, x: Floats, region: Integers, count: NDArray[np.int64], left_out: _LeftOut | None, gone: Bools
    ) -> dict[str, Any]:
        from scipy.sparse import csr_array

        n, d = x.shape
        out = {name: np.full(n, np.nan) for name in ("region_distance", "centre_distance", "margin", "outside")}
        feature = np.full(n, -1, dtype=np.intp)
        sums = self._u.sums
        weight, loss = sums.weight[region], sums.loss[region]
        grown = np.ones(n)  # a row that is taken from a mean is farther from what is left
        if left_out is not None:
            grown[gone] = weight[gone] / (weight[gone] - left_out.weight[gone])
            weight = weight - np.where(gone, left_out.weight, 0.0)
            loss = loss - np.where(gone, left_out.loss * left_out.weight, 0.0)
        prior = _PRIOR_ROWS * sums.weight.sum() / self._count.sum()
        grown /= np.sqrt(1 + 1 / count)  # the mean of few rows is uncertain
        self._prepare()

        def fill(start: int) -> Any:
            rows = slice(start, min(start + _BLOCK_ROWS, n))
            m = rows.stop - start
            block = x[rows]
            out["margin"][rows] = self._margin(_whole(block))[:m]
            if self._has_means:
                z = _within((block - self._means(region[rows])) * self._per_sd * grown[rows, None])
                white = row_by_row(_whole(z), self._whitening)[:m, :d]
                out["region_distance"][rows] = np.sqrt((white**2).sum(axis=1))
            out["centre_distance"][rows] = np.sqrt((_within((block - self._mean) * self._per_sd) ** 2).sum(axis=1))
            low, high = self._low, self._high
            if left_out is not None:
                low, high = np.where(block == low, self._second[0], low), np.where(block == high, self._second[1], high)
            excess = np.maximum(block - high, 0.0) - np.maximum(low - block, 0.0)
            i, j = np.nonzero(excess)
            by = excess[i, j] * self._per_sd_outside[j]
            far = np.zeros(block.shape) if len(i) else excess
            far[i, j] = np.abs(by)
            out["outside"][rows] = far.max(axis=1, initial=0.0)
            feature[rows] = np.where(out["outside"][rows] > 0, far.argmax(axis=1), -1)
            return start + i, j, by

        with one_thread():
            parts = in_threads(fill, range(0, n, _BLOCK_ROWS))
        i, j, by = (np.concatenate(part) for part in zip(*parts, strict=True))
        return {
            **out,
            "outside_feature": feature,
            "beyond": csr_array((by, (i, j)), shape=(n, d)),
            "region_loss": (loss + prior * self._average_loss) / (weight + prior),
        }

    def _prepare(self) -> None:
        """Compute what threads would each compute again."""
        _ = self._whitening if self._has_means else None, self._spread, self._second

    def _margin(self, a: Floats) -> Floats:
        least = np.full(len(a), np.inf)
        for layer, per_sd in zip(self.network.hidden, self._spread, strict=True):
            z = layer.preactivation(a)
            activation = layer.activation
            neuron, k = activation.switches
            if len(neuron):
                gap = z if activation.is_relu else z[:, neuron] - activation.breakpoints[neuron, k]
                gap = np.abs(gap) * per_sd
                if not per_sd.all():
                    gap[:, per_sd == 0] = np.inf
                np.minimum(least, gap.min(axis=1), out=least)
            a = np.maximum(z, 0, out=z) if activation.is_relu else activation(z)
        return least


def _alike_together(z: Floats, points: Floats) -> Integers:
    """Return an order of many rows in which those near the same point follow each other: a tree is then in the cache."""
    if len(z) <= _FEW_ROWS:
        return np.arange(len(z))
    from scipy.spatial import KDTree

    near = KDTree(points[:: max(1, len(points) // _ANCHORS)]).query(z, workers=-1)[1]
    return np.argsort(near, kind="stable")


def _within(z: Floats) -> Floats:
    """Return standardised values, in place, none so large that its square leaves the range of float64."""
    return np.clip(z, -_FARTHEST, _FARTHEST, out=z)


def _whole(block: Floats) -> Floats:
    """Return rows with rows of zeros added, up to a multiple of 64: see `row_by_row`."""
    missing = -len(block) % 64
    return np.concatenate([block, np.zeros((missing, block.shape[1]))]) if missing else block
