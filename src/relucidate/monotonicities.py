"""Monotonicity on rows: with which features decisions only rise or fall in the regions that rows use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from relucidate.displaying import in_notebook
from relucidate.errors import ArgumentError, clipped, shown
from relucidate.layers import Floats
from relucidate.maps import over_classes
from relucidate.network import Network
from relucidate.unwrapping import Unwrapped, unwrapped
from relucidate.words import plural

if TYPE_CHECKING:
    import pandas as pd

Indices = NDArray[np.intp]
Counts = NDArray[np.int64]

_SIGNS = {"+": 1, "-": -1, "\N{MINUS SIGN}": -1}
_ROUNDING = 1e-9  # of the largest coefficient per standard deviation: below, a coefficient is 0 but for rounding


@dataclass(frozen=True, eq=False)
class Monotonicity:
    """Whether decisions rise or fall with features, in the local linear models that rows use.

    Parameters
    ----------
    names : (m,) the features. outputs : (K,) names. link : of the network.
    increasing, decreasing, flat : (K, m) share of the rows, by weight, whose coefficient is above 0, below 0, or 0.
    mean_slope : (K, m) weighted mean coefficient, per unit of the feature.
    verdict : (K, m) in words, see `to_frame`.
    expected : (K, m) the sign expected, 1 or −1, 0 where none is. reference : (K, m) the sign that regions are held against:
        the expected one, else that of most rows; 0 where all is flat.
    against : (K, m) share of the rows, by weight, whose coefficient has the other sign. n_against : (K, m) their regions.
    break_output, break_feature : (b,) of each such region listed, output by output and feature by feature, the largest
        first. break_region, break_count, break_share, break_slope : (b,) its number, rows, share and coefficient per unit.
    most : regions listed of one feature and output.
    left_out : columns made of several features, which have no one direction. n_rows, n_regions : looked at.
    """

    names: tuple[str, ...]
    outputs: tuple[str, ...]
    link: str
    increasing: Floats
    decreasing: Floats
    flat: Floats
    mean_slope: Floats
    verdict: NDArray[Any]
    expected: NDArray[np.int8]
    reference: NDArray[np.int8]
    against: Floats
    n_against: Counts
    break_output: Indices
    break_feature: Indices
    break_region: Indices
    break_count: Counts
    break_share: Floats
    break_slope: Floats
    most: int
    left_out: tuple[str, ...]
    n_rows: int
    n_regions: int

    @property
    def violating(self) -> Floats:
        """Share of the rows that violate the expected sign (K, m), NaN where none is expected."""
        return np.where(self.expected != 0, self.against, np.nan)

    def __repr__(self) -> str:
        return "\n".join(self.summary())

    _repr_html_ = in_notebook

    def to_frame(self) -> pd.DataFrame:
        """Return one row per output and feature.

        Returns
        -------
        pandas.DataFrame with ``output``, ``feature``; shares of the rows ``increasing``, ``decreasing``, ``flat``;
        ``verdict``, ``mean_slope``, ``expected`` ("+", "-" or ""), ``violating`` (share of the rows, NaN if no sign is
        expected), ``against`` and ``regions_against``: share of the rows, and regions, that have the sign opposite to the
        expected one, or else to that of most rows.

        Notes
        -----
        Verdicts are "always increasing", "always decreasing", "flat everywhere", or where some rows are flat "never
        decreasing", "never increasing"; else "mixed". They are about these rows: regions that none of them uses are not
        looked at.
        """
        import pandas as pd

        K, m = self.increasing.shape
        columns = {
            "increasing": self.increasing,
            "decreasing": self.decreasing,
            "flat": self.flat,
            "verdict": self.verdict,
            "mean_slope": self.mean_slope,
            "expected": np.array(["", "+", "-"], dtype=object)[self.expected],
            "violating": self.violating,
            "against": self.against,
            "regions_against": self.n_against,
        }
        names = {"output": np.repeat(np.array(self.outputs, dtype=object), m), "feature": list(self.names) * K}
        return pd.DataFrame({**names, **{name: values.ravel() for name, values in columns.items()}})

    def breaks(self) -> pd.DataFrame:
        """Return the regions that have the other sign than expected, or else than most rows, the largest first.

        Returns
        -------
        pandas.DataFrame with ``output``, ``feature``, ``region``, ``count``, ``share``, ``slope`` (per unit of the feature);
        at most `most` regions of one output and feature.
        """
        import pandas as pd

        return pd.DataFrame(
            {
                "output": np.array(self.outputs, dtype=object)[self.break_output],
                "feature": np.array(self.names, dtype=object)[self.break_feature],
                "region": self.break_region,
                "count": self.break_count,
                "share": self.break_share,
                "slope": self.break_slope,
            }
        )

    def summary(self) -> list[str]:
        """Return what matters most, a sentence a line."""
        lines = []
        for k, output in enumerate(self.outputs):
            of = f" of {clipped(output)}" if len(self.outputs) > 1 else ""
            whole, m = int((self.verdict[k] != "mixed").sum()), len(self.names)
            rows = "On this one row" if self.n_rows == 1 else f"On these {self.n_rows:,} rows"
            kept = f"{whole:,} of {plural(m, 'feature')}" if whole else f"none of {plural(m, 'feature')}"
            lines.append(f"{rows} the decision{of} never changes its direction in {kept}.")
            for j in np.flatnonzero(self.expected[k]):
                lines.append(self._on_expected(k, int(j)))
            others = np.flatnonzero((self.expected[k] == 0) & (self.against[k] > 0))
            for j in others[np.argsort(-self.against[k, others], kind="stable")][:3]:
                way = "falls" if self.reference[k, j] > 0 else "rises"
                it = f"The decision{of}" if of else "It"
                lines.append(f"{it} {way} with {clipped(self.names[j])}, against most rows, {self._where(k, int(j))}.")
        if self.left_out:
            lines.append(
                f"Columns of several features have no one direction and are left out: {shown(self.left_out, 6)}."
            )
        return lines

    def _on_expected(self, k: int, j: int) -> str:
        sign, name = "+" if self.expected[k, j] > 0 else "−", clipped(self.names[j])
        if self.n_against[k, j] == 0:
            return f"{name}: expected {sign}, and on these rows no region says otherwise."
        return f"{name}: expected {sign}, violated on these rows {self._where(k, j)}."

    def _where(self, k: int, j: int) -> str:
        regions = plural(int(self.n_against[k, j]), "region")
        return f"in {regions} with {_percent(self.against[k, j])} of the rows"


def monotonicity(
    u: Unwrapped,
    features: Sequence[str | int] | None = None,
    *,
    expected: Mapping[Any, str] | None = None,
    most: int = 100,
) -> Monotonicity:
    """Return whether decisions rise or fall with each feature in the local linear models that rows use.

    Parameters
    ----------
    u : from `relucidate.unwrap`.
    features : names or positions; by default all that have a direction: numbers, and columns of one indicator.
    expected : the sign expected of a feature, ``{"income": "+", "debt": "-"}``; for networks of several outputs
        ``{("income", "yes"): "+"}``. Features named here are looked at even if `features` does not name them.
    most : regions listed, of those that have the other sign, for one feature and output.

    Raises
    ------
    ArgumentError : no such feature or output, a feature without a direction or with two signs, a sign other than "+" and "-",
        `most` below 1.

    Notes
    -----
    The sign of the coefficient of a row's region is the exact direction of the decision at this row, on the scale of the
    decision; of a softmax network coefficients are less their mean over the classes. A coefficient is flat if it is at most
    1e-9 of the largest of its output, both per standard deviation: what rounding leaves of 0. Regions whose rows weigh
    nothing are not looked at. Nothing is said about regions that no row uses: this is no proof over a box.
    Cost: regions × outputs × features, twice.
    """
    u = unwrapped(u)
    net = u.network
    number: Any = most
    if not isinstance(number, int | np.integer) or number < 1:
        raise ArgumentError(f"most is {clipped(most)}; expected at least 1, a whole number.")
    at, left_out = _chosen(net, features)
    signs = _signs(net, expected or {})
    at = list(dict.fromkeys([*at, *(feature for _, feature in signs)]))
    wanted = np.zeros((net.n_outputs, len(at)), dtype=np.int8)
    for (output, feature), sign in signs.items():
        wanted[output, at.index(feature)] = sign
    limit = _limit(u, at)
    up, down, flat, slope = _shares(u, at, limit)
    majority = np.where(up >= down, 1, -1) * ((up > 0) | (down > 0))
    reference = np.where(wanted != 0, wanted, majority).astype(np.int8)
    n_against, breaks = _against(u, at, limit, reference, most)
    region = breaks["break_region"]
    return Monotonicity(
        names=tuple(_name(net, j) for j in at),
        outputs=net.outputs,
        link=net.link,
        increasing=up,
        decreasing=down,
        flat=flat,
        mean_slope=slope,
        verdict=_verdicts(up > 0, down > 0, flat > 0),
        expected=wanted,
        reference=reference,
        against=np.select([reference > 0, reference < 0], [down, up], 0.0),
        n_against=n_against,
        **breaks,
        break_count=u.count[region],
        break_share=u.share[region],
        most=int(most),
        left_out=left_out,
        n_rows=u.n_rows,
        n_regions=u.n_regions,
    )


def _limit(u: Unwrapped, at: Sequence[int]) -> Floats:
    """Return up to which size a coefficient is flat (K, m)."""
    scale = np.where(u.sample.sd > 0, u.sample.sd, 1)
    largest = np.zeros(u.network.n_outputs)
    for _, coef, _ in u.map_blocks():
        size = np.abs(over_classes(coef, u.network.link)) * scale
        np.maximum(largest, size.max(axis=(0, 2), initial=0.0), out=largest)
    return _ROUNDING * largest[:, None] / scale[at]


def _shares(u: Unwrapped, at: Sequence[int], limit: Floats) -> Floats:
    """Return the shares of the rows whose coefficients are above 0, below 0 and flat, and the mean coefficients (4, K, m)."""
    up, down, flat, slope = out = np.zeros((4, *limit.shape))
    share = u.share
    for rows, coef in _used(u, at):
        w = share[rows]
        up += np.tensordot(w, coef > limit, axes=1)
        down += np.tensordot(w, coef < -limit, axes=1)
        flat += np.tensordot(w, np.abs(coef) <= limit, axes=1)
        slope += np.tensordot(w, coef, axes=1)
    return out


def _against(
    u: Unwrapped, at: Sequence[int], limit: Floats, reference: NDArray[np.int8], most: int
) -> tuple[Counts, dict[str, Any]]:
    """Return how many regions have the other sign (K, m), and which, at most so many of each."""
    n_against = np.zeros(reference.shape, dtype=np.int64)
    found: list[tuple[Any, ...]] = []  # blocks come in the order of the regions, the largest first
    for rows, coef in _used(u, at):
        wrong = coef * reference < -limit
        place = np.cumsum(wrong, axis=0) + n_against
        region, k, j = np.nonzero(wrong & (place <= most))
        found.append((k, j, rows[region], coef[region, k, j]))
        n_against += wrong.sum(axis=0)
    output, feature, region, slope = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.lexsort((region, feature, output))
    names = ("break_output", "break_feature", "break_region", "break_slope")
    return n_against, {name: v[order] for name, v in zip(names, (output, feature, region, slope), strict=True)}


def _verdicts(up: Any, down: Any, zero: Any) -> NDArray[Any]:
    kinds = [up & down, up & ~zero, down & ~zero, up, down]
    words = ["mixed", "always increasing", "always decreasing", "never decreasing", "never increasing"]
    return np.select(kinds, words, "flat everywhere").astype(object)


def _used(u: Unwrapped, at: Sequence[int]) -> Iterator[tuple[Indices, Floats]]:
    """Yield (regions whose rows weigh something, their coefficients of some features), block by block."""
    for rows, coef, _ in u.map_blocks():
        kept = np.flatnonzero(u.sums.weight[rows] > 0)
        yield kept + rows.start, over_classes(coef[kept], u.network.link)[:, :, at]


def _directed(net: Network, indices: Sequence[int]) -> int | None:
    """Return the one feature of a column that has a direction, None if there is none."""
    numbers = [j for j in indices if net.features.items[j].kind == "value"]
    one = numbers if len(indices) > 1 else list(indices)
    return one[0] if len(one) == 1 else None


def _chosen(net: Network, features: Sequence[str | int] | None) -> tuple[list[int], tuple[str, ...]]:
    if features is None:
        found = [(column, _directed(net, indices)) for column, indices in net.features.groups]
        return [j for _, j in found if j is not None], tuple(column for column, j in found if j is None)
    if isinstance(features, str | int | np.integer):
        features = [features]
    if len(features) == 0:
        raise ArgumentError("features is empty; name at least one, or leave it out to take all.")
    return [_feature(net, feature) for feature in features], ()


def _feature(net: Network, feature: str | int) -> int:
    name, indices = net.features.find(feature)
    j = _directed(net, indices)
    if j is None:
        levels = [net.feature_names[i] for i in indices]
        raise ArgumentError(
            f"{clipped(name)} is made of {len(indices)} features and has no one direction. Name one of them: {shown(levels)}."
        )
    return j


def _name(net: Network, j: int) -> str:
    item = net.features.items[j]
    return item.column if item.kind == "value" else item.name


def _signs(net: Network, expected: Mapping[Any, Any]) -> dict[tuple[int, int], int]:
    """Return the expected sign of (output, feature)."""
    if not isinstance(expected, Mapping):
        raise ArgumentError(
            f"expected is {clipped(expected)}; expected a mapping from features to signs, such as {{'income': '+'}}."
        )
    out: dict[tuple[int, int], int] = {}
    for key, sign in expected.items():
        feature, output = key if isinstance(key, tuple) and len(key) == 2 else (key, None)
        if not isinstance(sign, str) or sign not in _SIGNS:
            raise ArgumentError(f"The sign expected of {clipped(feature)} is {clipped(sign)}; expected '+' or '-'.")
        if output is None and net.n_outputs > 1:
            raise ArgumentError(
                f"The network has {net.n_outputs} outputs; say of which a sign is expected: "
                f"{{({clipped(feature)}, {clipped(net.outputs[0])}): {sign!r}}}."
            )
        k = 0 if output is None else net.output_index(output)
        j = _feature(net, feature)
        if out.setdefault((k, j), _SIGNS[sign]) != _SIGNS[sign]:
            raise ArgumentError(f"Both signs are expected of {clipped(_name(net, j))}; expected one.")
    return out


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share == 0 or share >= 5e-4 else "less than 0.1 %"
