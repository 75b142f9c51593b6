"""How the local linear models use a feature along its range, and how coefficients go with where their regions lie."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from relucidate.displaying import in_notebook
from relucidate.errors import ArgumentError, clipped, shown
from relucidate.features import Features
from relucidate.layers import Floats
from relucidate.maps import over_classes
from relucidate.network import Network
from relucidate.unwrapping import Unwrapped, squarable, squaring, unwrapped

if TYPE_CHECKING:
    import pandas as pd

Place = Literal["centred", "decision"]
Integers = NDArray[np.intp]

QUANTILES = (0.1, 0.5, 0.9)  # of the band
_DOTS = 60  # rows of a region that are kept
_BINS = 20  # of the band
_ROWS_IN_BIN = 50  # that a bin of the band holds on average, where there are few rows
_CELLS = 40  # of a histogram
_FEW = 10  # regions below which there is no smooth line but a straight one
_ELSEWHERE, _WIDER = 0.1, 4  # weight off one value that a slope needs; how many times a window is made wider for it
_GRID = 60  # places at which the smooth line is computed
_BLOCK = 2**18  # numbers held at once


# ---------------------------------------------------------------- profile


@dataclass(frozen=True, eq=False)
class Band:
    """The middle of all rows along a feature: the 10 %, 50 % and 90 % quantile in bins with about as many rows each.

    Parameters
    ----------
    x : (m,) mean of the feature in each bin.
    slope : (3, m) of the coefficients of the rows' regions. y : (3, m) of what the profile shows on its axis.
    """

    x: Floats
    slope: Floats
    y: Floats


@dataclass(frozen=True, eq=False)
class Profile:
    """The local linear models along one feature, those of the largest regions each as a line.

    Parameters
    ----------
    network : whose. output : position. feature : name. place : where lines are put, see `profile`.
    region : (k,) the regions shown, largest first. count : (k,) their rows. share : (k,) of the rows, by weight.
    slope : (k,) coefficient of the feature, decision per unit. mean, low, high : (k,) of the feature over the region's rows.
    level : (k,) height of the line at the mean: 0, or the region's mean decision.
    rows : flat values of the feature in the shown regions, at most 60 of each, evenly along its sorted rows; those of
        region i are ``rows[offset[i] : offset[i + 1]]``.
    edges : (b + 1,) of the histogram. everywhere : (b,) share of all rows in each bin. within : (k, b) share of the
        region's own rows.
    band : all rows, those of regions that are not shown too.
    importance : variance of the feature's effect over that of all features' effects, NaN if nothing has an effect.
    n_regions : of how many regions. caveat : "" if all rows of the table were looked at.
    """

    network: Network
    output: int
    feature: str
    place: Place
    region: Integers
    count: NDArray[np.int64]
    share: Floats
    slope: Floats
    mean: Floats
    low: Floats
    high: Floats
    level: Floats
    rows: Floats
    offset: Integers
    edges: Floats
    everywhere: Floats
    within: Floats
    band: Band
    importance: float
    n_regions: int
    caveat: str

    @property
    def ends(self) -> Floats:
        """Height of each line at its low and its high end (k, 2)."""
        x = np.stack([self.low, self.high], axis=1)
        return self.level[:, None] + self.slope[:, None] * (x - self.mean[:, None])

    @property
    def shown_share(self) -> float:
        """Share of the rows, by weight, in the regions shown."""
        return float(self.share.sum())

    def height(self, i: int) -> Floats:
        """Return the height of the line of the i-th region shown at its ``rows``."""
        rows = self.rows[self.offset[i] : self.offset[i + 1]]
        return self.level[i] + self.slope[i] * (rows - self.mean[i])

    def __repr__(self) -> str:
        n = self.n_regions
        told = (
            "no feature has an effect"
            if np.isnan(self.importance)
            else f"it has {self.importance:.1%} of the importance"
        )
        return (
            f"Profile of {clipped(self.feature)}: {len(self.region):,} of {n:,} region{'s' * (n != 1)}, with "
            f"{self.shown_share:.1%} of the rows{self.caveat}; {told}"
        )

    _repr_html_ = in_notebook

    def to_frame(self) -> pd.DataFrame:
        """Return one row per region shown: ``count``, ``share``, ``slope``, ``mean``, ``low``, ``high``, ``y_low``,
        ``y_high``.
        """
        import pandas as pd

        columns = {name: getattr(self, name) for name in ("count", "share", "slope", "mean", "low", "high")}
        ends = self.ends
        columns |= {"y_low": ends[:, 0], "y_high": ends[:, 1]}
        return pd.DataFrame(columns, index=pd.Index(self.region, name="region"))


def profile(
    u: Unwrapped, feature: str | int, *, output: str | int = 0, most: int = 7, place: Place = "centred"
) -> Profile:
    """Return the local linear models along one feature.

    Parameters
    ----------
    feature : name or position.
    output : name or position.
    most : largest regions of which each is a line; all others are in the band.
    place : "centred" puts the mean row of each region at 0; "decision" puts it at the region's mean decision.

    Raises
    ------
    ArgumentError : no such feature or output, a column that is several indicators, or another argument makes no sense.
    NumericalOverflowError : effects are too large to be squared.

    Notes
    -----
    The line of region r is ``w_rj (x - mean of x_j in r)`` over the range that its own rows have, plus its mean decision if
    ``place="decision"``. The importance is ``Var_i(w_r(i)j (x_ij - mean of x_j))`` over the sum of the same over all
    features, indicators of one column added up before; coefficients of a softmax less their mean over the classes.
    Means, ranges, quantiles and the importance are those of the rows in ``u.sample``, by weight; rows that weigh nothing
    are left out. One pass over the coefficients and the sample.
    Source: Sudjianto et al. 2020, local linear profile.
    """
    u = unwrapped(u).identified
    net, s = u.network, u.sample
    j, k = _one_feature(net.features, feature), net.output_index(output)
    if place not in get_args(Place):
        raise ArgumentError(f"place is {clipped(place)}; expected one of {shown(get_args(Place))}.")
    if not _is_count(most):
        raise ArgumentError(f"most is {clipped(most)}; expected a whole number from 1.")
    slope, _ = _coefficients(u, k, [j])
    slope = slope[:, 0]
    used = np.flatnonzero(s.weights > 0)
    x, weight, region, decision = s.x[used, j], s.weights[used], s.region[used], s.decision[used, k]
    total = np.bincount(region, weight, u.n_regions)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(region, weight * x, u.n_regions) / total
        level = np.bincount(region, weight * decision, u.n_regions) / total
    there = np.flatnonzero(total > 0)
    kept = there[np.argsort(-u.share[there], kind="stable")[:most]]
    parts = [np.flatnonzero(region == r) for r in kept]
    edges = _edges(x)
    dots = [_evenly(np.sort(x[rows]), _DOTS) for rows in parts]
    y = decision if place == "decision" else slope[region] * (x - mean[region])
    variance = _effect_variances(u, k)
    return Profile(
        network=net,
        output=k,
        feature=net.feature_names[j],
        place=place,
        region=kept,
        count=u.count[kept],
        share=u.share[kept],
        slope=slope[kept],
        mean=mean[kept],
        low=np.array([x[rows].min() for rows in parts]),
        high=np.array([x[rows].max() for rows in parts]),
        level=level[kept] if place == "decision" else np.zeros(len(kept)),
        rows=np.concatenate(dots),
        offset=np.concatenate([[0], np.cumsum([len(d) for d in dots])]).astype(np.intp),
        edges=edges,
        everywhere=_histogram(x, weight, edges),
        within=np.stack([_histogram(x[rows], weight[rows], edges) for rows in parts]),
        band=_band(x, weight, slope[region], y),
        importance=float(variance[0][j] / variance[1].sum()) if variance[1].any() else float("nan"),
        n_regions=u.n_regions,
        caveat=s.caveat,
    )


def _is_count(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value >= 1)


def _one_feature(features: Features, feature: str | int) -> int:
    """Return the position of a feature; a column that is made into several is refused."""
    if isinstance(feature, str) and feature in features.names:
        return features.names.index(feature)
    column, indices = features.find(feature)
    if len(indices) > 1:
        raise ArgumentError(
            f"{clipped(column)} enters the network as {len(indices)} features, each with a coefficient of its own. Name one "
            f"of them: {shown([features.names[i] for i in indices], 12)}."
        )
    return indices[0]


def _map_blocks(u: Unwrapped) -> Iterator[tuple[slice, Floats, Floats]]:
    """Yield (regions, coef, intercept): all at once where `u` holds them."""
    coef: Any = u.coef
    if isinstance(coef, np.ndarray):
        yield slice(0, u.n_regions), coef, u.intercept
    else:
        yield from u.map_blocks()


def _coefficients(u: Unwrapped, output: int, index: Sequence[int]) -> tuple[Floats, Floats]:
    """Return the coefficients (n_regions, len(index)) of some features, and the intercepts (n_regions,)."""
    parts = [(coef[:, output][:, list(index)], intercept[:, output]) for _, coef, intercept in _map_blocks(u)]
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


def _effect_variances(u: Unwrapped, output: int) -> tuple[Floats, Floats]:
    """Return the variance over the sample of ``w_r(i)j (x_ij - mean of x_j)`` of each feature, and of sums in each group."""
    s = u.sample
    groups = u.network.features.grouped
    order = np.argsort(s.region, kind="stable")
    region = s.region[order]
    step = max(1, _BLOCK // max(s.x.shape[1], 1))
    sums: Any = np.zeros(0)
    for regions, coef, _ in _map_blocks(u):
        rows = order[np.searchsorted(region, regions.start) : np.searchsorted(region, regions.stop)]
        own = over_classes(coef, u.network.link)[:, output]
        for start in range(0, len(rows), step):
            at = rows[start : start + step]
            effect = own[s.region[at] - regions.start] * (s.x[at] - s.mean)
            both = np.concatenate([effect, groups(effect)], axis=1)
            with squaring(u):
                part = squarable(s.weights[at] @ np.concatenate([both, both**2], axis=1))
                sums = part if len(sums) == 0 else sums + part
    with squaring(u):
        first, second = np.split(sums / s.weights.sum(), 2)
        variance = np.maximum(second - first**2, 0)
        squarable(variance.sum())
    return variance[: s.x.shape[1]], variance[s.x.shape[1] :]


def _evenly(values: Floats, most: int) -> Floats:
    """Return at most so many of sorted values, the ends among them."""
    if len(values) <= most:
        return values
    return values[np.round(np.linspace(0, len(values) - 1, most)).astype(np.intp)]


def _edges(x: Floats) -> Floats:
    """Return edges of bins: one for each value of a feature that has few, else of one width."""
    values = np.unique(x)
    if len(values) == 1:
        half = max(abs(float(values[0])), 1.0) / 2
        return np.array([values[0] - half, values[0] + half])
    if len(values) > _CELLS:
        return np.linspace(values[0], values[-1], _CELLS + 1)
    middle = values[:-1] + np.diff(values) / 2
    return np.concatenate([[2 * values[0] - middle[0]], middle, [2 * values[-1] - middle[-1]]])


def _histogram(x: Floats, weight: Floats, edges: Floats) -> Floats:
    """Return the share of the weight in each bin."""
    at = np.clip(np.searchsorted(edges, x, side="right") - 1, 0, len(edges) - 2)
    return np.bincount(at, weight, len(edges) - 1) / weight.sum()


def _band(x: Floats, weight: Floats, slope: Floats, y: Floats) -> Band:
    values, inverse = np.unique(x, return_inverse=True)
    held = np.bincount(inverse, weight)
    if len(values) <= _BINS:
        of_value = np.arange(len(values))
    else:
        bins = min(max(len(x) // _ROWS_IN_BIN, 1), _BINS)
        of_value = np.minimum(((np.cumsum(held) - held / 2) / held.sum() * bins).astype(np.intp), bins - 1)
    _, of_row = np.unique(of_value[inverse], return_inverse=True)
    total: Any = np.bincount(of_row, weight)
    quantiles = [_quantiles(values, weight, of_row, total) for values in (slope, y)]
    return Band(np.bincount(of_row, weight * x) / total, *quantiles)


def _quantiles(values: Floats, weight: Floats, group: Integers, total: Floats) -> Floats:
    """Return per group the smallest values that have at least such shares of the weight at or below them (3, groups)."""
    order = np.lexsort((values, group))
    cumulative = np.cumsum(weight[order])
    last = np.cumsum(np.bincount(group)) - 1
    first = np.concatenate([[0], last[:-1] + 1])
    start = np.concatenate([[0.0], cumulative[last[:-1]]])
    out = []
    for q in QUANTILES:
        # rounding of the running sum must not lead past a value that has just the share
        at = np.searchsorted(cumulative, start + q * total - 1e-12 * cumulative[-1])
        out.append(values[order][np.clip(at, first, last)])
    return np.stack(out)


# ---------------------------------------------------------------- pairs


@dataclass(frozen=True, eq=False)
class Pairs:
    """Coefficients of some features against where their regions lie: row a, column c of a matrix of pictures.

    Parameters
    ----------
    network : whose. output : position.
    features : (f,) names of the columns, and of the first rows; `terms` names the rows: the features, then "intercept" if
        asked for.
    importance : (f,) variance of each feature's effect over that of all.
    region, count, share : (R,) regions that hold rows that weigh something, largest first.
    mean : (R, f) of each feature in each region. coef : (R, n_terms), decision per unit, the intercept in decision.
    at, smooth : (f, m) local linear smooth of a feature's own coefficient (the diagonal), at places along its range; the
        straight line where there are fewer than 10 regions.
    slope, correlation : (n_terms, f) of the straight line that fits a coefficient to a mean, by weight. NaN where either
        does not vary.
    centre : (f,) and typical : (n_terms,), means by weight, through which that line goes.
    strength : (n_terms, f) ``|slope|`` times one standard deviation of either feature, in units of the decision.
    n_regions : of how many regions. caveat : "" if means and importance are those of all rows.
    """

    network: Network
    output: int
    features: tuple[str, ...]
    terms: tuple[str, ...]
    importance: Floats
    region: Integers
    count: NDArray[np.int64]
    share: Floats
    mean: Floats
    coef: Floats
    at: Floats
    smooth: Floats
    slope: Floats
    correlation: Floats
    centre: Floats
    typical: Floats
    strength: Floats
    n_regions: int
    caveat: str

    def __repr__(self) -> str:
        n = len(self.features)
        return f"Pairs of {n} features over {self.n_regions:,} regions{self.caveat}: {shown(self.features, 8)}"

    _repr_html_ = in_notebook

    def to_frame(self) -> pd.DataFrame:
        """Return one row per cell, strongest first: ``term``, ``feature``, ``kind``, ``strength``, ``correlation``, ``slope``.

        Notes
        -----
        ``kind`` is "nonlinear" on the diagonal, "interaction" off it, "intercept" in the row of the intercept.
        """
        import pandas as pd

        columns: dict[str, list[Any]] = {
            name: [] for name in ("term", "feature", "kind", "strength", "correlation", "slope")
        }
        for a, term in enumerate(self.terms):
            for c, feature in enumerate(self.features):
                kind = "intercept" if a == len(self.features) else "nonlinear" if a == c else "interaction"
                values = (self.strength[a, c], self.correlation[a, c], self.slope[a, c])
                for name, value in zip(columns, (term, feature, kind, *values), strict=True):
                    columns[name].append(value)
        frame = pd.DataFrame(columns)
        return frame.sort_values("strength", ascending=False, kind="stable", ignore_index=True)


def pairs(
    u: Unwrapped, features: Sequence[str | int] | None = None, *, output: str | int = 0, intercept: bool = False
) -> Pairs:
    """Return coefficients against region means, for some features.

    Parameters
    ----------
    features : names or positions; by default the 4 whose effects vary most.
    output : name or position.
    intercept : whether the intercept is a row too.

    Raises
    ------
    ArgumentError : no such feature or output, a column that is several indicators, a feature named twice, or `u` was not
        unwrapped.
    NumericalOverflowError : effects are too large to be squared.

    Notes
    -----
    Where the coefficient of a goes with the mean of a, the effect of a is nonlinear; where it goes with the mean of
    another feature c, a and c interact, unless c merely goes with a in the data. ``strength`` says by how much the effect
    of one standard deviation of a changes per standard deviation of c. Regions count by the weight of their rows. Means
    are those of all rows, or of the sample where they were not kept; importance is that of the sample.
    Source: Sudjianto et al. 2020, pairwise plot.
    """
    u = unwrapped(u).identified
    net, k = u.network, u.network.output_index(output)
    variance, of_groups = _effect_variances(u, k)
    index = _chosen(net.features, features, variance)
    mean = _region_means(u, index)
    used = np.flatnonzero((u.sums.weight > 0) & np.isfinite(mean).all(axis=1))
    used = used[np.argsort(-u.share[used], kind="stable")]
    slopes, constants = _coefficients(u, k, index)
    coef = np.concatenate([slopes, constants[:, None]], axis=1) if intercept else slopes
    mean, coef, weight = mean[used], coef[used], u.sums.weight[used]
    at = np.linspace(mean.min(axis=0), mean.max(axis=0), _GRID, axis=1)
    with squaring(u):
        slope, correlation, centre, typical = _lines(mean, coef, weight)
    if len(used) >= _FEW:
        smooth = np.stack([lowess(mean[:, c], coef[:, c], weight, at[c]) for c in range(len(index))])
    else:
        own = range(len(index))
        smooth = typical[own, None] + np.nan_to_num(slope[own, own])[:, None] * (at - centre[:, None])
    sd = u.sample.sd[index]
    with np.errstate(invalid="ignore", divide="ignore"):
        importance = variance[index] / of_groups.sum()
    terms = tuple(net.feature_names[j] for j in index)
    return Pairs(
        network=net,
        output=k,
        features=terms,
        terms=(*terms, "intercept") if intercept else terms,
        importance=importance,
        region=used,
        count=u.count[used],
        share=u.share[used],
        mean=mean,
        coef=coef,
        at=at,
        smooth=smooth,
        slope=slope,
        correlation=correlation,
        centre=centre,
        typical=typical,
        strength=np.abs(slope) * np.append(sd, 1.0)[: coef.shape[1], None] * sd,
        n_regions=u.n_regions,
        caveat=u.sample.caveat,
    )


def _chosen(features: Features, given: Any, variance: Floats) -> list[int]:
    if given is None:
        return [int(j) for j in np.argsort(-variance, kind="stable")[:4]]
    index = [_one_feature(features, f) for f in ([given] if isinstance(given, str | int) else given)]
    if not index:
        raise ArgumentError("features is empty; name at least one, or leave it out.")
    twice = [features.names[j] for j in dict.fromkeys(index) if index.count(j) > 1]
    if twice:
        raise ArgumentError(f"features has {shown(twice)} more than once; name each once.")
    return index


def _region_means(u: Unwrapped, index: Sequence[int]) -> Floats:
    """Return the mean of some features in each region (n_regions, len(index)), NaN where no row tells."""
    sums, s = u.sums, u.sample
    with np.errstate(invalid="ignore", divide="ignore"):
        if sums.x.shape[1]:
            return sums.x[:, list(index)] / sums.weight[:, None]
        total = np.bincount(s.region, s.weights, u.n_regions)
        parts = [np.bincount(s.region, s.weights * s.x[:, j], u.n_regions) / total for j in index]
    return np.stack(parts, axis=1)


def _lines(x: Floats, y: Floats, weight: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Return slopes and correlations (k, f) of y (n, k) on x (n, f) by weight, and the means of x and y."""
    share = weight / weight.sum()
    centre, typical = share @ x, share @ y
    dx, dy = x - centre, y - typical
    xx, yy, xy = share @ dx**2, share @ dy**2, (share[:, None] * dy).T @ dx
    # what does not vary differs from its mean by rounding only
    xx = np.where(xx > (1e-14 * np.abs(x).max(axis=0)) ** 2, xx, np.nan)
    yy = np.where(yy > (1e-14 * np.abs(y).max(axis=0)) ** 2, yy, np.nan)
    return np.where(np.isnan(yy)[:, None], 0.0, xy) / xx, xy / np.sqrt(yy[:, None] * xx), centre, typical


def _at_one_place(x: Floats, weight: Floats) -> bool:
    """Return whether ordered points have nearly all their weight at one value, so that a few others decide on a slope."""
    if len(x) == 0:
        return True
    start = np.flatnonzero(np.r_[True, x[1:] != x[:-1]])
    return bool(np.add.reduceat(weight, start).max() > (1 - _ELSEWHERE) * weight.sum())


def lowess(x: Floats, y: Floats, weight: Floats, at: Floats, fraction: float = 2 / 3) -> Floats:
    """Return a local linear smooth of weighted points, at some places (m,).

    Parameters
    ----------
    x, y, weight : (n,) points and weights, which count like so many points.
    fraction : of the weight that each fit sees.

    Notes
    -----
    At x0 the points within h have the weights ``weight (1 - (|x - x0| / h)³)³``, h the least distance within which
    lies the fraction. Where less than a tenth of the weight within is elsewhere than at one value that many points share, h is
    half as large again, some times: a few points would decide on the slope. Where the points within have one and the same x, the
    fit is their mean. There are no robustness iterations. O(n) for each place after sorting. Source: Cleveland 1979.
    """
    order = np.argsort(x, kind="stable")
    x, y, weight = x[order], y[order], weight[order]
    wanted = fraction * weight.sum() * (1 - 1e-10)  # sums round
    reach = np.abs(x).max(initial=0.0)
    out = np.empty(len(at))
    for i, x0 in enumerate(at):
        from_x0 = x - x0  # about x0, so that a large x costs no digits
        apart = np.abs(from_x0)
        near = np.argsort(apart, kind="stable")  # two runs in order, merged
        h = apart[near[min(np.searchsorted(np.cumsum(weight[near]), wanted), len(x) - 1)]]
        inside = apart < h if h > 0 else apart == 0
        for _ in range(_WIDER if h > 0 else 0):
            if not _at_one_place(x[inside], weight[inside]):
                break
            h *= 1.5
            inside = apart < h
        if not inside.any():
            inside = apart <= h
        kernel = weight[inside] * (1 - (apart[inside] / h) ** 3) ** 3 if h > 0 else weight[inside]
        if not kernel.any():
            kernel = weight[inside]
        kernel = kernel / kernel.sum()
        mid, level = kernel @ from_x0[inside], kernel @ y[inside]
        spread = kernel @ (from_x0[inside] - mid) ** 2
        tilt = kernel @ ((from_x0[inside] - mid) * (y[inside] - level))
        out[i] = level - (tilt / spread * mid if spread > (1e-7 * max(h, 1e-8 * reach)) ** 2 else 0.0)
    return out
