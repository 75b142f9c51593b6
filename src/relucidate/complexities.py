"""Complexity of a network on rows: how many regions, whether more rows bring more, which neurons never switch; and signs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from relucidate.displaying import in_notebook
from relucidate.errors import ArgumentError, clipped, shown
from relucidate.grouping import PatternIndex
from relucidate.layers import Floats
from relucidate.maps import LazyMaps, over_classes
from relucidate.network import Network
from relucidate.unwrapping import Unwrapped, squaring, unwrapped

if TYPE_CHECKING:
    import pandas as pd

Indices = NDArray[np.intp]
Counts = NDArray[np.int64]

DEAD, LINEAR, SWITCHING = "dead", "always on", "switches"
LEVELS = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)  # of the quantiles of the jumps
SIGNS = {"+": 1, "-": -1}

_CELLS = 2**23  # held at a time
_STEPS = 60  # points of the growth curve
_ROUNDING = 1e-9  # of the largest coefficient per standard deviation: below, a coefficient is 0 but for rounding


@dataclass(frozen=True, eq=False)
class Complexity:
    """How complex a network is on the rows of a table.

    Parameters
    ----------
    kind : "activation" or "linear" (where `Unwrapped.join_equal` joined regions): what `count` is of.
    count : (R,) rows of each region. share : (R,) of all rows, by weight; both the largest region first.
    effective_regions : as many equally large regions have the same entropy of shares.
    n_patterns, n_maps : distinct activation patterns, and distinct maps among them; `n_maps` is None where the maps would
        take more than 1 GiB.
    drawn, expected : (m,) rows drawn without replacement from those of the table, and the regions expected among them.
    unseen, unseen_interval : share of new rows like these that are expected in regions not seen yet; 95 % interval.
    layers : (L,) names of the hidden layers. layer, neuron : (N,) of each neuron that can switch.
    state : (N,) "dead" (on one flat piece in all rows, its output a constant), "always on" (on one piece that is not flat)
        or "switches". above : (N,) share of the rows, by weight, above its first breakpoint.
    pair : (m, 2) numbers of seen patterns, in `Unwrapped.patterns`, that differ in one bit; the second has it on.
    pair_neuron : (m,) the neuron that it belongs to, a place in `neuron`. jump : (m,) length of the difference of their
        coefficients per standard deviation of the features, over all outputs.
    typical : length of the coefficients per standard deviation, root mean square over rows, that jumps compare with.
    caveat : what standard deviations rest on, "" if on all rows.
    """

    kind: str
    count: Counts
    share: Floats
    effective_regions: float
    n_patterns: int
    n_maps: int | None
    drawn: Counts
    expected: Floats
    unseen: float
    unseen_interval: tuple[float, float]
    layers: tuple[str, ...]
    layer: Indices
    neuron: Indices
    state: NDArray[Any]
    above: Floats
    pair: Indices
    pair_neuron: Indices
    jump: Floats
    typical: float
    caveat: str

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return int(self.count.sum())

    @property
    def n_regions(self) -> int:
        """Number of regions that rows use."""
        return len(self.count)

    @property
    def regions_per_row(self) -> float:
        """Regions over rows: 1 where no two rows share one."""
        return self.n_regions / self.n_rows

    @property
    def jump_quantiles(self) -> Floats:
        """Quantiles of the jumps at `LEVELS`, NaN without pairs."""
        return np.quantile(self.jump, LEVELS) if len(self.jump) else np.full(len(LEVELS), np.nan)

    def regions_for(self, part: float) -> int:
        """Return the smallest number of regions that hold this part of the rows, by weight.

        Raises
        ------
        ArgumentError : `part` is no share.
        """
        if not 0 <= part <= 1:
            raise ArgumentError(f"part is {clipped(part)}; expected a share of the rows, from 0 to 1.")
        reached = np.cumsum(np.sort(self.share)[::-1])
        return int(np.searchsorted(reached, part * (1 - 1e-12) * reached[-1])) + 1 if part > 0 else 0

    def neurons_of(self, state: str) -> Counts:
        """Return how many neurons of each hidden layer are in a state (L,): "dead", "always on" or "switches".

        Raises
        ------
        ArgumentError : no such state.
        """
        if state not in (DEAD, LINEAR, SWITCHING):
            raise ArgumentError(f"state is {clipped(state)}; expected {DEAD!r}, {LINEAR!r} or {SWITCHING!r}.")
        return np.bincount(self.layer[self.state == state], minlength=len(self.layers)).astype(np.int64)

    def __repr__(self) -> str:
        return "\n".join(self.summary())

    _repr_html_ = in_notebook

    def to_frame(self) -> pd.DataFrame:
        """Return one row per neuron that can switch, in the network's order.

        Returns
        -------
        pandas.DataFrame with ``layer`` (its place), ``layer_name``, ``neuron``, ``state``, ``share_above`` (of the rows),
        ``pairs`` (of seen patterns that differ in this neuron alone), ``median_jump`` and ``max_jump`` of the coefficients
        across it, NaN without pairs.
        """
        import pandas as pd

        n = len(self.neuron)
        pairs = np.bincount(self.pair_neuron, minlength=n)
        median, largest = np.full((2, n), np.nan)
        order = np.argsort(self.pair_neuron, kind="stable")
        for j, jumps in zip(np.flatnonzero(pairs), _runs(self.jump[order], pairs[pairs > 0]), strict=True):
            median[j], largest[j] = np.median(jumps), jumps.max()
        return pd.DataFrame(
            {
                "layer": self.layer,
                "layer_name": np.array(self.layers, dtype=object)[self.layer],
                "neuron": self.neuron,
                "state": self.state,
                "share_above": self.above,
                "pairs": pairs,
                "median_jump": median,
                "max_jump": largest,
            }
        )

    def growth(self) -> pd.DataFrame:
        """Return the growth curve.

        Returns
        -------
        pandas.DataFrame with ``rows`` drawn and the ``regions`` expected among them.
        """
        import pandas as pd

        return pd.DataFrame({"rows": self.drawn, "regions": self.expected})

    def summary(self) -> list[str]:
        """Return what matters most, a sentence a line."""
        n, R = self.n_rows, self.n_regions
        half, most = self.regions_for(0.5), self.regions_for(0.9)
        low, high = self.unseen_interval
        lines = [
            f"{n:,} rows use {R:,} {self.kind} region{_s(R)}, {self.regions_per_row:.3g} a row: as many as "
            f"{self.effective_regions:.1f} equally large ones. {half:,} {'holds' if half == 1 else 'hold'} half of the rows, "
            f"{most:,} {'holds' if most == 1 else 'hold'} 90 %.",
            f"Of new rows like these about {100 * self.unseen:.1f} % would fall into regions not seen yet "
            f"({100 * low:.1f} to {100 * high:.1f} %).",
        ]
        if self.n_maps is None:
            lines.append("Equal maps were not looked for: the coefficients would take more than 1 GiB.")
        elif self.n_maps < self.n_patterns:
            lines.append(
                f"The {self.n_patterns:,} activation patterns have {self.n_maps:,} different map{_s(self.n_maps)}."
            )
        elif self.n_patterns > 1:
            lines.append(f"No two of the {self.n_patterns:,} activation patterns have the same map.")
        lines.append(self._on_neurons())
        return lines if len(self.neuron) == 0 else [*lines, self._on_jumps()]

    def _on_neurons(self) -> str:
        N = len(self.neuron)
        if N == 0:
            return "No neuron can switch: the network is one linear model."
        dead, linear = (int((self.state == state).sum()) for state in (DEAD, LINEAR))
        return f"Of {N:,} neurons {dead:,} are dead on these rows and {linear:,} always on."

    def _on_jumps(self) -> str:
        m = len(self.jump)
        if m == 0:
            return "No two seen patterns differ in one neuron only, so that there are no jumps between neighbours."
        q = self.jump_quantiles
        largest = int(self.jump.argmax())
        j = self.pair_neuron[largest]
        where = f"neuron {self.neuron[j]} of {clipped(self.layers[self.layer[j]])}"
        return (
            f"{m:,} pair{_s(m)} of seen patterns differ{'s' if m == 1 else ''} in one neuron; their coefficients per "
            f"standard deviation jump by {q[2]:.3g} (median) to {q[-1]:.3g}, at {where}, where {self.typical:.3g} is typical "
            f"of the coefficients{self.caveat}."
        )


def complexity(u: Unwrapped) -> Complexity:
    """Return how complex a network is on the rows of a table.

    Parameters
    ----------
    u : from `relucidate.unwrap`, its regions joined or not.

    Raises
    ------
    ArgumentError : `u` is no result of `unwrap`.
    NumericalOverflowError : values or coefficients are so large that their squares leave the range of float64.

    Notes
    -----
    - The effective number of regions is ``exp(−Σ p log p)`` of their shares p.
    - Growth: of m rows drawn without replacement, ``Σ_r 1 − C(n − n_r, m) / C(n, m)`` regions are expected (rarefaction:
      Hurlbert 1971), n_r the rows of region r and n all rows. Where the curve still rises at n, more rows bring new regions.
    - The share of new rows expected in regions not seen yet is ``f1 / n`` (Good 1953), f1 the regions with a single row.
      The interval is ``± 1.96 sqrt(f1 + 2 f2 − f1² / n) / n`` (Esty 1983), f2 the regions with two; at
      least ``± 3 / n`` (the rule of three), as that is 0 where all regions or none have a single row. Both count rows,
      whatever their weight, and presume that new rows come as these did, each on its own.
    - Neurons are judged on the exact patterns of all rows. "always on" and "dead" are those of these rows.
    - Neighbours are pairs of seen patterns that differ in one bit; they are found exactly, by looking up each pattern with
      each of its bits turned. Nearly all of such pairs share a facet, on which one neuron switches; a pair may be apart
      where another neuron switches on and off between the two. Jumps are ``|b_r − b_s|``, b the coefficients times the
      standard deviation of each feature, all outputs in one vector (of a softmax network less their mean over the classes).

    Cost: patterns × bits look-ups, and a map per pattern.
    """
    u = unwrapped(u)
    net, count = u.network, u.count
    n = int(count.sum())
    singles, twos = int((count == 1).sum()), int((count == 2).sum())
    unseen = singles / n
    reach = max(1.96 * float(np.sqrt(singles + 2 * twos - singles**2 / n)), 3.0) / n
    drawn = np.unique(np.r_[np.geomspace(1, n, _STEPS // 2), np.linspace(1, n, _STEPS // 2)].round().astype(np.int64))
    layer, neuron, of_bit = _neurons(net)
    pair, bit = _pairs(u)
    with squaring(u):
        jump, typical = _jumps(u, pair), _typical(u)
    joined = u.n_regions < len(u.patterns)
    return Complexity(
        kind="linear" if joined else "activation",
        count=count,
        share=u.share,
        effective_regions=u.effective_regions,
        n_patterns=len(u.patterns),
        n_maps=_distinct_maps(u, joined),
        drawn=drawn,
        expected=expected_regions(count, drawn),
        unseen=unseen,
        unseen_interval=(max(unseen - reach, 0.0), min(unseen + reach, 1.0)),
        layers=tuple(layer_.name or f"layer {i}" for i, layer_ in enumerate(net.hidden)),
        layer=layer,
        neuron=neuron,
        state=_states(u),
        above=_above(u, joined)[_first_bits(of_bit, len(neuron))],
        pair=pair,
        pair_neuron=of_bit[bit],
        jump=jump,
        typical=typical,
        caveat=u.sample.caveat,
    )


def expected_regions(count: Counts, drawn: Counts) -> Floats:
    """Return how many regions m rows are expected to use, for each m of `drawn`, drawn without replacement.

    Parameters
    ----------
    count : (R,) rows of each region. drawn : (m,) at most their sum.

    Notes
    -----
    ``Σ_r 1 − C(n − n_r, m) / C(n, m)`` with logarithms of factorials, once for each different count. Source: Hurlbert 1971.
    """
    from scipy.special import gammaln

    n = int(count.sum())
    sizes, times = np.unique(count, return_counts=True)
    out = np.empty(len(drawn))
    for i, m in enumerate(drawn):
        left = n - sizes - m
        missed = np.zeros(len(sizes))
        some = left >= 0
        log = gammaln(n - sizes[some] + 1) - gammaln(left[some] + 1) - gammaln(n + 1) + gammaln(n - m + 1)
        missed[some] = np.exp(np.minimum(log, 0))
        out[i] = times @ (1 - missed)
    return out


def _runs(values: Floats, lengths: Any) -> list[Floats]:
    """Return values cut into runs of so many."""
    ends = np.cumsum(lengths)
    return [values[end - length : end] for end, length in zip(ends, lengths, strict=True)]


# ---------------------------------------------------------------- neurons


def _neurons(net: Network) -> tuple[Indices, Indices, Indices]:
    """Return layer and neuron of each neuron that can switch (N,), and the place there that each bit belongs to (n_bits,)."""
    layers, neurons, places = [], [], [np.zeros(0, dtype=np.intp)]
    start = 0
    for i, layer in enumerate(net.hidden):
        which, place = np.unique(layer.activation.switches[0], return_inverse=True)
        layers.append(np.full(len(which), i, dtype=np.intp))
        neurons.append(which.astype(np.intp))
        places.append(place.astype(np.intp) + start)
        start += len(which)
    nothing = np.zeros(0, dtype=np.intp)
    return np.concatenate([nothing, *layers]), np.concatenate([nothing, *neurons]), np.concatenate(places)


def _first_bits(of_bit: Indices, n: int) -> Indices:
    """Return the bit of the first breakpoint of each neuron (n,)."""
    return np.searchsorted(of_bit, np.arange(n))


def _states(u: Unwrapped) -> NDArray[Any]:
    """Return what each neuron does on all rows (N,)."""
    net = u.network
    ever, always = np.zeros(net.n_bits, dtype=bool), np.ones(net.n_bits, dtype=bool)
    for rows in _blocks(len(u.patterns), net.n_bits):
        bits = u.patterns[rows].bits()
        ever |= bits.any(axis=0)
        always &= bits.all(axis=0)
    out = []
    start = 0
    for layer in net.hidden:
        bits_of = slice(start, start + layer.activation.n_bits)
        start = bits_of.stop
        neuron = layer.activation.switches[0]
        stuck = np.ones(len(layer.activation), dtype=bool)
        np.logical_and.at(stuck, neuron, ever[bits_of] == always[bits_of])
        piece = np.bincount(neuron, always[bits_of], len(layer.activation)).astype(np.intp)
        flat = layer.activation.slopes[np.arange(len(piece)), piece] == 0
        state = np.where(stuck, np.where(flat, DEAD, LINEAR), SWITCHING)
        out.append(state[np.unique(neuron)])
    return np.concatenate([np.zeros(0, dtype=object), *out]).astype(object)


def _above(u: Unwrapped, joined: bool) -> Floats:
    """Return the share of the rows, by weight, that have each bit on (n_bits,)."""
    net, s = u.network, u.sample
    out = np.zeros(net.n_bits)
    if not joined:
        share = u.share
        for rows in _blocks(len(u.patterns), net.n_bits):
            out += share[rows] @ u.patterns[rows].bits()
        return out
    # the rows of each pattern are not known any more
    share = s.weights / s.weights.sum()
    for rows in _blocks(len(s.x), max(net.n_bits, net.n_features)):
        out += share[rows] @ net.trace(s.x[rows]).patterns.bits()
    return out


def _blocks(n: int, width: int) -> Iterator[slice]:
    step = max(1, _CELLS // max(width, 1))
    return (slice(start, min(start + step, n)) for start in range(0, n, step))


# ---------------------------------------------------------------- neighbours


def _pairs(u: Unwrapped) -> tuple[Indices, Indices]:
    """Return pairs of patterns (m, 2) that differ in one bit, off in the first, and that bit (m,)."""
    packed = u.patterns.packed
    index = PatternIndex(packed.shape[1])
    number = index.add(packed)
    place = np.empty(len(number), dtype=np.intp)
    place[number] = np.arange(len(number))
    one, other, bits = ([np.zeros(0, dtype=np.intp)] for _ in range(3))
    for bit in range(u.patterns.n_bits):
        byte, mask = bit // 8, np.uint8(128 >> bit % 8)
        off = np.flatnonzero(packed[:, byte] & mask == 0)
        turned = packed[off]
        turned[:, byte] |= mask
        found = index.find(turned)
        seen = found >= 0
        one.append(off[seen])
        other.append(place[found[seen]])
        bits.append(np.full(int(seen.sum()), bit, dtype=np.intp))
    return np.stack([np.concatenate(one), np.concatenate(other)], axis=1), np.concatenate(bits)


def _jumps(u: Unwrapped, pair: Indices) -> Floats:
    """Return the length of the difference of the coefficients of each pair of patterns (m,)."""
    net, sd = u.network, u.sample.sd
    out = np.empty(len(pair))
    for rows in _blocks(len(pair), 2 * net.n_outputs * net.n_features):
        used, at = np.unique(pair[rows], return_inverse=True)
        coef = over_classes(net.affine_maps(u.patterns[used])[0], net.link) * sd
        one, other = coef[at.reshape(-1, 2).T]
        out[rows] = np.sqrt(((one - other) ** 2).sum(axis=(1, 2)))
    return out


def _typical(u: Unwrapped) -> float:
    square, share = 0.0, u.share
    for rows, coef, _ in u.map_blocks():
        square += float(share[rows] @ ((over_classes(coef, u.network.link) * u.sample.sd) ** 2).sum(axis=(1, 2)))
    return float(np.sqrt(square))


def _distinct_maps(u: Unwrapped, joined: bool) -> int | None:
    if joined:
        return u.n_regions
    held: Any = u.coef
    return None if isinstance(held, LazyMaps) else u.join_equal().n_regions


# ---------------------------------------------------------------- monotonicity on data


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
            whole = int((self.verdict[k] != "mixed").sum())
            n = len(self.names)
            lines.append(
                f"On these {self.n_rows:,} rows the decision{of} never changes its direction in {whole:,} of {n:,} "
                f"feature{_s(n)}."
            )
            for j in np.flatnonzero(self.expected[k]):
                lines.append(self._on_expected(k, int(j)))
            others = np.flatnonzero((self.expected[k] == 0) & (self.against[k] > 0))
            for j in others[np.argsort(-self.against[k, others], kind="stable")][:3]:
                way = "falls" if self.reference[k, j] > 0 else "rises"
                lines.append(
                    f"It {way} with {clipped(self.names[j])}, against most rows, in {_regions(self.n_against[k, j])} with "
                    f"{_percent(self.against[k, j])} of the rows."
                )
        if self.left_out:
            lines.append(
                f"Columns of several features have no one direction and are left out: {shown(self.left_out, 6)}."
            )
        return lines

    def _on_expected(self, k: int, j: int) -> str:
        sign, name = "+" if self.expected[k, j] > 0 else "−", clipped(self.names[j])
        if self.n_against[k, j] == 0:
            return f"{name}: expected {sign}, and on these rows no region says otherwise."
        return (
            f"{name}: expected {sign}, violated on these rows in {_regions(self.n_against[k, j])} with "
            f"{_percent(self.against[k, j])} of the rows."
        )


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
    ArgumentError : no such feature or output, a feature without a direction, a sign other than "+" and "-", `most` below 1.

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
    if not most >= 1:
        raise ArgumentError(f"most is {clipped(most)}; expected at least 1.")
    at, left_out = _chosen(net, features)
    signs = _signs(net, expected or {})
    at += [j for _, j in signs if j not in at]
    at = list(dict.fromkeys(at))
    names = tuple(_name(net, j) for j in at)
    wanted = np.zeros((net.n_outputs, len(at)), dtype=np.int8)
    for (output, feature), sign in signs.items():
        wanted[output, at.index(feature)] = sign
    sd = u.sample.sd
    scale = np.where(sd > 0, sd, 1)
    largest = np.zeros(net.n_outputs)
    for _, coef, _ in u.map_blocks():
        np.maximum(largest, (np.abs(over_classes(coef, net.link)) * scale).max(axis=(0, 2), initial=0.0), out=largest)
    limit = _ROUNDING * largest[:, None] / scale[at]
    share = u.share
    up, down, zero, slope = np.zeros((4, net.n_outputs, len(at)))
    for rows, coef in _used(u, at):
        w = share[rows]
        up += np.tensordot(w, coef > limit, axes=1)
        down += np.tensordot(w, coef < -limit, axes=1)
        zero += np.tensordot(w, np.abs(coef) <= limit, axes=1)
        slope += np.tensordot(w, coef, axes=1)
    majority = np.where(up >= down, 1, -1) * ((up > 0) | (down > 0))
    reference = np.where(wanted != 0, wanted, majority).astype(np.int8)
    n_against = np.zeros(reference.shape, dtype=np.int64)
    found: list[tuple[Any, ...]] = []  # blocks come in the order of the regions, the largest first
    for rows, coef in _used(u, at):
        wrong = coef * reference < -limit
        place = np.cumsum(wrong, axis=0) + n_against
        region, k, j = np.nonzero(wrong & (place <= most))
        found.append((k, j, rows[region], coef[region, k, j]))
        n_against += wrong.sum(axis=0)
    break_output, break_feature, region, slopes = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.lexsort((region, break_feature, break_output))
    region = region[order]
    return Monotonicity(
        names=names,
        outputs=net.outputs,
        link=net.link,
        increasing=up,
        decreasing=down,
        flat=zero,
        mean_slope=slope,
        verdict=_verdicts(up > 0, down > 0, zero > 0),
        expected=wanted,
        reference=reference,
        against=np.select([reference > 0, reference < 0], [down, up], 0.0),
        n_against=n_against,
        break_output=break_output[order],
        break_feature=break_feature[order],
        break_region=region,
        break_count=u.count[region],
        break_share=share[region],
        break_slope=slopes[order],
        most=int(most),
        left_out=left_out,
        n_rows=u.n_rows,
        n_regions=u.n_regions,
    )


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


def _signs(net: Network, expected: Mapping[Any, str]) -> dict[tuple[int, int], int]:
    """Return the expected sign of (output, feature)."""
    out = {}
    for key, sign in expected.items():
        feature, output = key if isinstance(key, tuple) and len(key) == 2 else (key, None)
        if sign not in SIGNS:
            raise ArgumentError(f"The sign expected of {clipped(feature)} is {clipped(sign)}; expected '+' or '-'.")
        if output is None and net.n_outputs > 1:
            raise ArgumentError(
                f"The network has {net.n_outputs} outputs; say of which a sign is expected: "
                f"{{({clipped(feature)}, {clipped(net.outputs[0])}): {sign!r}}}."
            )
        k = 0 if output is None else net.output_index(output)
        out[k, _feature(net, feature)] = SIGNS[sign]
    return out


def _regions(n: int) -> str:
    return f"{n:,} region{_s(n)}"


def _s(n: int) -> str:
    return "" if n == 1 else "s"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share == 0 or share >= 5e-4 else "less than 0.1 %"
