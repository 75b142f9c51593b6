"""What the page says of how coefficients change: along their own feature, and with the values of others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from markupsafe import Markup

from relucidate.html import pictures_soundness as pictures
from relucidate.html.parts import Finding, Limitation, Part, plain
from relucidate.html.regions import heat, quantity
from relucidate.html.subject import Subject
from relucidate.html.told import told
from relucidate.layers import Floats
from relucidate.profiles import Pairs, pairs
from relucidate.unwrapping import Unwrapped
from relucidate.words import Name, count, decimals_for, fixed, name, number, percent, plural

_CELLS = 10**8  # rows × outputs × features that are looked at
_FEATURES = 8  # in the matrix
_PROFILES = 6  # pictures of an output
_LOOKED_AT = 40  # features of which some have a profile
_FEW_OUTPUTS = 2  # above, fewer pictures of each
_BUBBLES = 300  # regions of a picture
_MARKS = 3_600  # in all pictures
_BINS = 20
_ROWS_IN_BIN = 50
_LISTED = 6  # interactions
_BLOCK = 2**22  # numbers held at once
_TOGETHER = 0.5  # correlation from which on two features are said to go together


@dataclass(frozen=True, eq=False)
class Dependence:
    """How coefficients go with the values of features, and what that rests on.

    Parameters
    ----------
    u : what it was looked for in; its sample may be thinner. features : positions, first the `n` most important of all.
    several : those of them that have a profile, since they have more than two values. pairs : per output shown.
    correlation : (n, n) of the first features over the rows, NaN where one does not vary.
    """

    u: Unwrapped
    features: list[int]
    n: int
    several: list[int]
    pairs: list[Pairs]
    correlation: Floats

    def change(self, k: int) -> Floats:
        """Return by how much coefficients of output k change per standard deviation of either feature (n, n)."""
        sd = self.u.sample.sd[self.features[: self.n]]
        return np.asarray(self.pairs[k].slope[: self.n, : self.n] * sd[:, None] * sd)


def dependence(s: Subject) -> Dependence | None:
    """Return how the coefficients of the most important features go with features; None if none matters.

    Raises
    ------
    NumericalOverflowError : effects are too large to be squared.
    """
    u = lighter(s)
    chosen = important(s, _FEATURES)
    if not chosen or u.n_regions == 1:
        return None
    several = _numeric(u, important(s, _LOOKED_AT))[: _PROFILES if s.n_outputs <= _FEW_OUTPUTS else _PROFILES - 2]
    features = [*chosen, *(j for j in several if j not in chosen)]
    found = [pairs(u, features, output=k) for k in range(s.n_outputs)]
    return Dependence(u, features, len(chosen), several, found, correlations(u, chosen, chosen))


def lighter(s: Subject) -> Unwrapped:
    """Return what is looked at, with as many rows as the page may cost, evenly spaced; a softmax's logits less their mean."""
    u = s.u.identified
    most = max(1000, _CELLS // (u.network.n_outputs * u.network.n_features))
    n = len(u.sample.row)
    if n <= most:
        return u
    return replace(u, sample=u.sample.taken(np.linspace(0, n - 1, most).astype(np.intp)))


def important(s: Subject, most: int) -> list[int]:
    """Return positions of the most important features, those that have any importance."""
    total = s.importance.share.sum(axis=0)
    return [j for j in s.importance.order if total[j] > 0][:most]


def correlations(u: Unwrapped, features: Sequence[int], others: Sequence[int]) -> Floats:
    """Return weighted correlations (f, g) of features with others over the sample, NaN where one does not vary."""
    s = u.sample
    share = s.weights / s.weights.sum()
    out = np.empty((len(features), len(others)))
    step = max(1, _BLOCK // len(s.row))
    with np.errstate(invalid="ignore", divide="ignore"):
        mine = (s.x[:, list(features)] - s.mean[list(features)]) / s.sd[list(features)] * share[:, None]
        for start in range(0, len(others), step):
            part = list(others[start : start + step])
            out[:, start : start + step] = mine.T @ ((s.x[:, part] - s.mean[part]) / s.sd[part])
    return np.where(np.isfinite(out), np.clip(out, -1, 1), np.nan)


def column_of(s: Subject) -> list[int]:
    """Return which column each feature belongs to (d,), as the page's marks have it."""
    out = [0] * s.net.n_features
    for g, (_, indices) in enumerate(s.net.features.groups):
        for j in indices:
            out[j] = g
    return out


def once(text: Name, k: int) -> Name:
    """Return a name with its full text for the first output alone: long names are not repeated with each."""
    return text if k == 0 else Name(text.short)


# ---------------------------------------------------------------- along the feature itself


@dataclass(frozen=True)
class ProfilesContent:
    """Per output, (feature, its column, its picture); and what is drawn, in words."""

    pictures: list[tuple[Name, list[tuple[Name, int, Markup]]]]
    quantity: str
    shown: str
    rows: str
    softmax: bool


def profiles(s: Subject, found: Dependence) -> Part | None:
    """Return the part on coefficients along their own feature; None if no feature has values in between."""
    u = found.u
    several = found.several
    if not several or int((u.sample.weights > 0).sum()) < s.least:
        return None
    means, known = _means(s, found)
    most = min(_BUBBLES, _MARKS // (s.n_outputs * len(several)))
    # the number of rows behind a mean, not their weight, says whether it shows one of them
    drawn = np.flatnonzero(told(known, s.least) & (s.u.sums.weight > 0))
    kept = drawn[np.argsort(-s.u.share[drawn], kind="stable")[:most]]
    columns = column_of(s)
    out, facts = [], []
    for k, output in enumerate(s.net.outputs[: s.n_outputs]):
        along = [_along(u, found.pairs[k], found.features.index(j), j, means, kept, s.least) for j in several]
        axis = f"{quantity(u)} per standard deviation"
        out.append(
            (
                name(output),
                [
                    (once(name(s.net.feature_names[j], 40), k), columns[j], pictures.along(a, axis))
                    for j, a in zip(several, along, strict=True)
                ],
            )
        )
        facts.append([{"value": plain(a.at), "coefficient": plain(a.band)} for a in along])
    few = int(((s.u.count < s.least) & (s.u.sums.weight > 0)).sum())
    share_few = _sum(s.u.share[s.u.count < s.least])
    shown = (
        f"{_all_or(len(kept), s.u.n_regions)} bubbles, with {percent(_sum(s.u.share[kept]))} of the rows."
        if len(kept)
        else "No region is a bubble."
    )
    limits = []
    if few:
        text = (
            f"{_regions(few)} with {percent(share_few)} of the rows have fewer than {s.least} rows each: their means would "
            "show single rows, so that they are in the bands alone."
        )
        shown += " " + text
        limits.append(Limitation(f"Profiles: {text[0].lower()}{text[1:]}", "profiles"))
    rows = f"of all {count(u.n_rows)} rows" if u.sample.is_complete else f"of {count(len(u.sample.row))} rows"
    content = ProfilesContent(out, quantity(u), shown, rows, u.network.link == "softmax")
    record = {
        "outputs": list(s.net.outputs[: s.n_outputs]),
        "features": [s.net.feature_names[j] for j in several],
        "quantiles": [0.1, 0.5, 0.9],
        "per": "standard deviation",
        "bands": facts,
    }
    return Part("profiles", "Coefficients along their feature", content, facts=record, limitations=limits)


def _all_or(n: int, of: int) -> str:
    return f"All {count(n)} regions are" if n == of else f"The {count(n)} largest of {count(of)} regions are"


def _sum(shares: Floats) -> float:
    return round(float(shares.sum()), 12)  # 1 where all are summed


def _regions(n: int) -> str:
    return plural(n, "region")


def _numeric(u: Unwrapped, features: list[int]) -> list[int]:
    """Return those that have more than two values."""
    out = []
    for j in features:
        x = u.sample.x[u.sample.weights > 0, j]
        if u.network.features.items[j].kind == "value" and len(x) and ((x != x.min()) & (x != x.max())).any():
            out.append(j)
    return out


def _means(s: Subject, found: Dependence) -> tuple[Floats, Any]:
    """Return the mean of the features in each region (R, f), and how many rows each rests on (R,)."""
    sums = s.u.sums
    with np.errstate(invalid="ignore", divide="ignore"):
        if sums.x.shape[1]:
            return sums.x[:, found.features] / sums.weight[:, None], s.u.count
        sample, R = s.u.sample, s.u.n_regions
        total = np.bincount(sample.region, sample.weights, R)
        parts = [np.bincount(sample.region, sample.weights * sample.x[:, j], R) / total for j in found.features]
    return np.stack(parts, axis=1), np.bincount(sample.region, minlength=R)


def _along(u: Unwrapped, found: Pairs, c: int, j: int, means: Floats, kept: Any, least: int) -> pictures.Along:
    """Return the coefficients of feature j, the c-th of the pairs, per standard deviation."""
    s = u.sample
    coef = np.full(u.n_regions, np.nan)
    coef[found.region] = found.coef[:, c] * s.sd[j]
    slope = coef[s.region]
    used = np.isfinite(slope) & (s.weights > 0)
    at, band = _band(s.x[used, j], slope[used], s.weights[used], least)
    return pictures.Along(
        feature=name(u.network.feature_names[j], 40).short,
        region=kept,
        count=u.count[kept],
        mean=means[kept, c],
        coef=coef[kept],
        size=u.share[kept],
        at=at,
        band=band,
    )


def _band(x: Floats, slope: Floats, weight: Floats, least: int) -> tuple[Floats, Floats]:
    """Return the mean of x in bins of about as many rows each (m,), and quantiles (3, m) of the slopes there.

    Rows of one value are in one bin, alone where there are few values. Bins of fewer than `least` rows are left out,
    unless that leaves none.
    """
    order = np.argsort(x, kind="stable")
    x, slope, weight = x[order], slope[order], weight[order]
    n = len(x)
    bins = np.unique(x, return_inverse=True)[1]
    if len(bins) and bins[-1] >= _BINS:  # more values than bins
        bins = np.searchsorted(x, x, side="left") * min(_BINS, max(1, n // _ROWS_IN_BIN)) // n
    ends = np.flatnonzero(np.diff(bins)) + 1
    parts = [part for part in np.split(np.arange(n), ends) if len(part) >= least] or [np.arange(n)]
    at = [float(np.average(x[part], weights=weight[part])) for part in parts]
    band = [weighted_quantiles(slope[part], weight[part], (0.1, 0.5, 0.9)) for part in parts]
    return np.array(at), np.array(band).T


def weighted_quantiles(values: Floats, weight: Floats, levels: tuple[float, ...]) -> Floats:
    """Return the smallest values that have at least such shares of the weight at or below them."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weight[order])
    at = np.searchsorted(reached, np.array(levels) * reached[-1] * (1 - 1e-12))
    return values[order][np.minimum(at, len(values) - 1)]


# ---------------------------------------------------------------- with other features


@dataclass(frozen=True)
class Interaction:
    """A pair of features, as it is listed: of each (name, column), numbers as text."""

    term: tuple[Name, int]
    feature: tuple[Name, int]
    change: str
    straight: str
    together: str


@dataclass(frozen=True)
class PairsContent:
    """Per output: its name, the matrix as rows of (text, class of colour), the strongest pairs.

    Parameters
    ----------
    names : of the features of the matrix, with their columns. quantity : what a decision is. n_features : of all.
    """

    outputs: list[tuple[Name, list[list[tuple[str, str]]], list[Interaction]]]
    names: list[tuple[Name, int]]
    quantity: str
    n_features: int
    softmax: bool


def interactions(s: Subject, found: Dependence) -> Part | None:
    """Return the part on coefficients that change with other features; None for a single feature."""
    if found.n < 2:
        return None
    columns = column_of(s)
    names = [(name(s.net.feature_names[j], 22), columns[j]) for j in found.features[: found.n]]
    long = [name(s.net.feature_names[j], 28) for j in found.features[: found.n]]
    outputs, changes = [], []
    for k, (output, p) in enumerate(zip(s.net.outputs, found.pairs, strict=False)):
        change = found.change(k)
        finite = np.abs(change[np.isfinite(change)])
        digits = decimals_for(finite.tolist())
        scale = float(finite.max(initial=0))
        cells = [[(fixed(v, digits), _heat(v, scale)) for v in row] for row in change.tolist()]
        listed = [
            Interaction(
                (once(long[a], k), names[a][1]),
                (once(long[c], k), names[c][1]),
                _signed(change[a, c], digits),
                fixed(p.correlation[a, c], 2),
                fixed(found.correlation[a, c], 2),
            )
            for a, c in _strongest(change)
        ]
        outputs.append((name(output), cells, listed))
        changes.append(change)
    facts = {
        "outputs": list(s.net.outputs[: s.n_outputs]),
        "features": [s.net.feature_names[j] for j in found.features[: found.n]],
        "change_per_sd_and_sd": plain(np.array(changes)),
        "fit_correlation": plain(np.array([p.correlation[: found.n, : found.n] for p in found.pairs])),
        "features_correlation": plain(found.correlation),
    }
    content = PairsContent(outputs, names, quantity(s.u), s.net.n_features, s.net.link == "softmax")
    findings, limits = _strongest_in_words(s, found, long)
    return Part("pairs", "Features that change one another’s coefficient", content, None, facts, findings, limits)


def _heat(value: float, scale: float) -> str:
    return heat(value if np.isfinite(value) else None, 1.0, scale)


def _signed(value: float, digits: int) -> str:
    return ("+" if value > 0 else "") + fixed(value, digits)


def _strongest(change: Floats) -> list[tuple[int, int]]:
    """Return the cells off the diagonal, the largest first."""
    size = np.where(np.isfinite(change), np.abs(change), 0)
    np.fill_diagonal(size, 0)
    order = np.argsort(-size.ravel(), kind="stable")[:_LISTED]
    return [(int(i) // len(size), int(i) % len(size)) for i in order if size.ravel()[i] > 0]


def _strongest_in_words(s: Subject, found: Dependence, names: list[Name]) -> tuple[list[Finding], list[Limitation]]:
    best: tuple[float, int, int, int] | None = None
    for k in range(len(found.pairs)):
        change = found.change(k)
        for a, c in _strongest(change)[:1]:
            if best is None or abs(change[a, c]) > abs(best[0]):
                best = (float(change[a, c]), k, a, c)
    if best is None:
        return [], []
    value, k, a, c = best
    of = f" of output {name(s.net.outputs[k]).short}" if s.net.n_outputs > 1 else ""
    text = (
        f"The coefficient of {names[a].short} changes most with {names[c].short}: per standard deviation it is "
        f"{number(abs(value), 2)} {'higher' if value > 0 else 'lower'} ({quantity(s.u)}{of}) where {names[c].short} is one "
        "standard deviation higher."
    )
    together = float(found.correlation[a, c])
    limits = []
    if abs(together) >= _TOGETHER:
        limits.append(
            Limitation(
                f"{names[a].short} and {names[c].short}, the strongest pair, go together (correlation {fixed(together, 2)}): "
                f"the coefficient of {names[a].short} may change with {names[a].short} itself.",
                "pairs",
            )
        )
    return [Finding(0.3, text, "pairs")], limits
