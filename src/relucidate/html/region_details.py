"""What the page says of one region beside its model: where its rows lie, what bounds it, which regions are next to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relucidate.complexities import Complexity
from relucidate.errors import ArgumentError, UnfaithfulError
from relucidate.facets import Region, neurons_in_words, polytope_of
from relucidate.html.parts import packed
from relucidate.html.regions import RegionTable, as_packed, single
from relucidate.html.told import quantile, told
from relucidate.layers import Floats
from relucidate.network import Patterns
from relucidate.simplified import ByPattern, Simplified
from relucidate.unwrapping import Unwrapped
from relucidate.words import count, name, rounded

FACET_REGIONS = 50  # whose facets are in the page
FACETS = 8  # of a region, the nearest ones
PAIRS = 30_000  # of neighbours
NO_GROUP = 65_535
_FACET_WORK = 200_000  # inequalities × features, over all regions whose facets are looked for
_QUANTILE_ROWS = 20_000
_REACH = (0.05, 0.95)


# ---------------------------------------------------------------- where rows lie


@dataclass(frozen=True, eq=False)
class Places:
    """Where the rows of the largest regions lie, and those of the table.

    Parameters
    ----------
    low, high : (f,) 5 and 95 % of the rows of the table are below, about, see `told.quantile`; 0 and 1 of an indicator; NaN
        where it says nothing.
    indicator : (f,) whether a feature is 0 or 1, so that its mean is a share of the rows.
    sd : (f, M) standard deviation of the rows of a region, NaN of too few rows.
    average : (K, f) mean coefficient over all rows.
    """

    low: Floats
    high: Floats
    indicator: NDArray[np.bool_]
    sd: Floats
    average: Floats

    def data(self) -> dict[str, Any]:
        """Return what the script needs, as JSON values."""
        return {
            "low": [rounded(v) for v in self.low],
            "high": [rounded(v) for v in self.high],
            "indicator": [int(v) for v in self.indicator],
            "spread": as_packed(self.sd),
            "average": [[rounded(v) for v in row] for row in self.average],
        }


def places(u: Unwrapped, table: RegionTable) -> Places:
    """Return where the rows of the regions with means lie."""
    kept, items = table.kept, u.network.features.items
    indicator = np.array([items[j].kind != "value" for j in kept])
    low, high = _reach(u, table)
    return Places(
        low=np.where(indicator, 0.0, low),
        high=np.where(indicator, 1.0, high),
        indicator=indicator,
        sd=_spreads(u, table),
        average=_average(u, len(table.outputs))[:, kept],
    )


def _reach(u: Unwrapped, table: RegionTable) -> tuple[Floats, Floats]:
    """Return the 5 and 95 % quantiles of the features (f,) by weight, NaN where they are one or rest on too few rows."""
    s = u.sample
    out = np.full((2, len(table.kept)), np.nan)
    rows = np.flatnonzero(s.weights > 0)
    if len(rows) < max(table.least, 2):
        return out[0], out[1]
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), _QUANTILE_ROWS)).astype(np.intp)]
    weight = s.weights[rows]
    for i, j in enumerate(table.kept):
        x = s.x[rows, j]
        order = np.argsort(x, kind="stable")
        below = (np.cumsum(weight[order]) - weight[order] / 2) / weight.sum()
        out[:, i] = [quantile(x[order], below, level, table.least) for level in _REACH]
        if out[1, i] <= out[0, i]:  # nearly all rows have one value
            middle, sd = s.mean[j], s.sd[j]
            out[:, i] = (middle - 2 * sd, middle + 2 * sd) if sd > 0 else np.nan
    return out[0], out[1]


def _spreads(u: Unwrapped, table: RegionTable) -> Floats:
    """Return the standard deviation of each feature in the regions with means (f, M), as far as the sample tells it."""
    s, n = u.sample, table.means.shape[1]
    out = np.full((len(table.kept), n), np.nan)
    rows = np.flatnonzero(s.region < n)
    region, weight = np.asarray(s.region)[rows], s.weights[rows]
    held = np.bincount(region, minlength=n)
    with np.errstate(invalid="ignore", divide="ignore"):
        total = np.bincount(region, weight, n)
        for i, j in enumerate(table.kept):
            x = s.x[rows, j] - s.mean[j]
            centre = np.bincount(region, weight * x, n) / total
            out[i] = np.sqrt(np.bincount(region, weight * (x - centre[region]) ** 2, n) / total)
    out[:, held < max(table.least, 2)] = np.nan
    return single(out)


def _average(u: Unwrapped, K: int) -> Floats:
    """Return the mean of the coefficients over all rows, by weight (K, d)."""
    out, share = np.zeros((K, u.network.n_features)), u.share
    for rows, coef, _ in u.map_blocks():
        out += np.einsum("r,rkj->kj", share[rows], coef[:, :K])
    return out


# ---------------------------------------------------------------- what bounds a region


@dataclass(frozen=True)
class FacetLine:
    """A facet in words. `distance` : of the region's mean row, in standard deviations. `beyond` : a region or -1."""

    words: str
    neuron: str
    distance: float | None
    beyond: int


@dataclass(frozen=True)
class Bounds:
    """What bounds a region: its facets, the nearest listed. `n_walls` : where a neuron switches within reach of the input."""

    region: int
    n_facets: int
    n_walls: int
    lines: tuple[FacetLine, ...]


@dataclass(frozen=True)
class AllBounds:
    """The bounds of the largest regions, and why others have none.

    Parameters
    ----------
    found : in order. asked : regions that were looked at. why : a sentence on those that were not or could not be told.
    """

    found: tuple[Bounds, ...]
    asked: int
    why: str

    def data(self) -> dict[str, Any]:
        """Return what the script needs: per region facets, walls and lines."""
        return {
            str(b.region): [b.n_facets, b.n_walls, [[w.words, w.neuron, w.distance, w.beyond] for w in b.lines]]
            for b in self.found
        }


def bounds(u: Unwrapped, table: RegionTable, limit: int = FACET_REGIONS) -> AllBounds:
    """Return the facets of the largest regions, seen from the mean of their rows.

    Notes
    -----
    A region is convex, so the mean of its rows lies inside. A region of equal maps that were joined is none; regions of too
    few rows have no mean in the page. Fewer regions where the network has many neurons and features.
    """
    net = u.network
    n_patterns = np.bincount(u.region_of_pattern, minlength=u.n_regions)
    most = min(limit, max(1, _FACET_WORK // max(net.n_bits * net.n_features, 1)))
    enough = np.flatnonzero(told(u.count, table.least) & (u.sums.weight > 0))
    regions = [int(r) for r in enough[:most] if r < table.n_shown and n_patterns[r] == 1]
    if not u.sums.x.shape[1] or net.n_bits == 0:
        regions = []
    found = [b for r in regions if (b := _bounds_of(u, r)) is not None]
    parts = []
    if len(found) < u.n_regions and net.n_bits:
        largest = [b.region for b in found] == list(range(len(found)))
        parts.append(f"What bounds a region is in this page for {_regions(len(found), u.n_regions, largest)}.")
    if len(found) < len(regions):
        parts.append(f"The bounds of {count(len(regions) - len(found))} more could not be told in float64.")
    if u.n_regions < len(u.patterns):
        parts.append("A region of equal maps that were joined need not be convex, and has no list of bounds.")
    return AllBounds(tuple(found), len(regions), " ".join(parts))


def _regions(n: int, total: int, largest: bool) -> str:
    if n == 0 or not largest:
        return "no region" if n == 0 else f"{count(n)} of {count(total)} regions"
    return f"the {'' if n == 1 else count(n) + ' '}largest of {count(total)} regions"


def _bounds_of(u: Unwrapped, r: int) -> Bounds | None:
    """Return what bounds a region, None where it cannot be told."""
    mean = u.sums.x[r] / u.sums.weight[r]
    region = polytope_of(u.network, mean, spread=u.sample.sd)
    try:
        if not (region.pattern.packed == u.sums.packed[r]).all() or region.polytope.inside(mean) is None:
            return None
        facets = region.facets
    except (ArgumentError, UnfaithfulError):
        return None
    normal = region.polytope.A[facets.index]
    across = np.sqrt(((normal * u.sample.sd) ** 2).sum(axis=1))
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = region.polytope.slack(mean)[0][facets.index] / across
    distance[across == 0] = np.inf  # no row moves in its direction
    order = np.argsort(distance, kind="stable")[:FACETS]
    return Bounds(r, len(facets), len(region.walls), tuple(_lines(u, region, order, distance)))


def _lines(u: Unwrapped, region: Region, order: NDArray[np.intp], distance: Floats) -> Iterator[FacetLine]:
    net, w = u.network, region.walls
    names = [name(f, 28).short for f in net.feature_names]
    bits = np.repeat(region.pattern.bits(), len(order), axis=0)
    owners = [region.owners(int(f)) for f in order]
    for i, owner in enumerate(owners):
        bits[i, w.bit[owner]] ^= True
    beyond = u.regions_of_patterns(Patterns(np.packbits(bits, axis=1), net.n_bits))
    for i, f in enumerate(order):
        said = neurons_in_words(net, [(int(w.layer[k]), int(w.neuron[k])) for k in owners[i]])
        yield FacetLine(region.words(int(f), names), name(said, 60).short, rounded(distance[f], 3), int(beyond[i]))


# ---------------------------------------------------------------- what is next to a region


@dataclass(frozen=True, eq=False)
class NextTo:
    """Pairs of regions in the page whose patterns differ in one bit.

    Parameters
    ----------
    n : pairs of seen patterns, of all regions. one, other : (m,) regions. neuron : (m,) a place in `names`.
    jump : (m,) how far the coefficients per standard deviation jump. typical : what jumps compare with.
    """

    n: int
    one: NDArray[np.intp]
    other: NDArray[np.intp]
    neuron: NDArray[np.intp]
    names: list[str]
    jump: Floats
    typical: float

    @property
    def said(self) -> str:
        """What is left out, in words; "" for nothing."""
        if len(self.one) == self.n:
            return ""
        return f"{count(len(self.one))} of {count(self.n)} pairs of neighbours are in this page, those of the largest regions."

    def data(self) -> dict[str, Any]:
        """Return what the script needs, as JSON values."""
        return {
            "one": packed(self.one, "u2"),
            "other": packed(self.other, "u2"),
            "neuron": packed(self.neuron, "u2"),
            "names": self.names,
            "jump": as_packed(single(self.jump)),
            "typical": rounded(self.typical),
            "all": len(self.one) == self.n,
        }


def next_to(u: Unwrapped, c: Complexity, n_shown: int) -> NextTo:
    """Return the neighbours of the regions in the page."""
    region = np.asarray(u.region_of_pattern, dtype=np.intp)[c.pair].reshape(-1, 2)
    first, last = region.min(axis=1), region.max(axis=1)
    # joined regions meet in several places; the largest jump stands for them
    order = np.lexsort((-c.jump, last, first))
    order = order[first[order] != last[order]]
    same = (np.diff(first[order], prepend=-1) == 0) & (np.diff(last[order], prepend=-1) == 0)
    pairs = order[~same]
    kept = pairs[last[pairs] < n_shown][:PAIRS]
    used, at = np.unique(c.pair_neuron[kept], return_inverse=True)
    names = [f"neuron {c.neuron[j]} of {name(c.layers[c.layer[j]], 24).short}" for j in used]
    return NextTo(len(pairs), region[kept, 0], region[kept, 1], at, names, c.jump[kept], c.typical)


# ---------------------------------------------------------------- which model of the simplification


@dataclass(frozen=True, eq=False)
class Groups:
    """Which model of a simplification the rows of a region take.

    Parameters
    ----------
    model : (R,) that most of them take, NO_GROUP where it is not told. split : regions whose rows take several.
    n_models : of the simplification. by_rows : whether it goes by the rows and not by the pattern.
    """

    model: NDArray[np.int64]
    split: int
    n_models: int
    by_rows: bool

    @property
    def present(self) -> list[int]:
        """Models that some region takes."""
        return [int(m) for m in np.unique(self.model[self.model != NO_GROUP])]

    def said(self, least: int, caveat: str) -> str:
        """Return how a region came to its model, in words."""
        if not self.by_rows:
            return "Each region takes one model of the simplification."
        few = f"; a region of fewer than {least} rows is given none here" if least > 1 else ""
        mixed = f" The rows of {count(self.split)} regions take several." if self.split else ""
        return f"A region goes with the model that most of its rows take{caveat}{few}.{mixed}"

    def data(self) -> dict[str, Any]:
        """Return what the script needs, as JSON values."""
        return {"model": packed(self.model, "u2"), "none": NO_GROUP}


def groups(u: Unwrapped, simpler: Simplified, table: RegionTable) -> Groups:
    """Return which model of a simplification each region in the page goes with; the smallest of those equally often taken."""
    R, s, n_models = table.n_shown, u.sample, simpler.n_models
    by_rows = not isinstance(simpler.route, ByPattern)
    rows = np.flatnonzero((np.asarray(s.region) < R) & (s.weights > 0))
    held = np.zeros((R, n_models))
    step = 2**15
    for start in range(0, len(rows), step):
        at = rows[start : start + step]
        np.add.at(held, (s.region[at], simpler.route.assign(u.network, s.x[at])), s.weights[at])
    model = np.where(held.any(axis=1), held.argmax(axis=1), NO_GROUP)
    if by_rows:
        # which rule few rows fulfil says something of each
        model[u.count[:R] < table.least] = NO_GROUP
    split = int(((held > 0).sum(axis=1)[model != NO_GROUP] > 1).sum())
    return Groups(model.astype(np.int64), split, n_models, by_rows)
