"""Complexity of a network on rows: how many regions, whether more rows bring more, which neurons never switch, jumps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from relucidate.displaying import in_notebook
from relucidate.errors import ArgumentError, clipped
from relucidate.grouping import PatternIndex
from relucidate.layers import Floats
from relucidate.maps import LazyMaps, over_classes
from relucidate.network import Network
from relucidate.unwrapping import Unwrapped, squaring, unwrapped
from relucidate.words import plural

if TYPE_CHECKING:
    import pandas as pd

Indices = NDArray[np.intp]
Counts = NDArray[np.int64]

DEAD, LINEAR, SWITCHING = "dead", "always on", "switches"
LEVELS = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)  # of the quantiles of the jumps

_CELLS = 2**23  # held at a time
_STEPS = 60  # points of the growth curve


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
            f"{n:,} rows use {plural(R, f'{self.kind} region')}, {self.regions_per_row:.3g} a row: as many as "
            f"{self.effective_regions:.1f} equally large ones. {half:,} {'holds' if half == 1 else 'hold'} half of the rows, "
            f"{most:,} {'holds' if most == 1 else 'hold'} 90 %.",
            f"Of new rows like these about {100 * self.unseen:.1f} % would fall into regions not seen yet "
            f"({100 * low:.1f} to {100 * high:.1f} %).",
        ]
        if self.n_maps is None:
            lines.append("Equal maps were not looked for: the coefficients would take more than 1 GiB.")
        elif self.n_maps < self.n_patterns:
            lines.append(f"The {self.n_patterns:,} activation patterns have {plural(self.n_maps, 'different map')}.")
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
            f"{plural(m, 'pair')} of seen patterns differ{'s' if m == 1 else ''} in one neuron; their coefficients per "
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
