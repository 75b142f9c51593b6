"""What a network does along a straight line from one row to another, piece by piece."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from relucidate.displaying import in_notebook
from relucidate.errors import ArgumentError, ColumnError, clipped
from relucidate.features import Features
from relucidate.grouping import Codes, distinct
from relucidate.layers import Floats
from relucidate.maps import maps_of
from relucidate.network import Network, Patterns
from relucidate.segments import Walk, between, checked, over_segments
from relucidate.unwrapping import Unwrapped

if TYPE_CHECKING:
    import pandas as pd

_RESOLUTION = 2.0**-48  # of the size of a row: rows nearer to each other than that are hard to tell apart


@dataclass(frozen=True, eq=False)
class Path:
    """The pieces of straight lines, on each of which the network is one linear model.

    Parameters
    ----------
    network : that was followed.
    a, b : (n, n_features) the ends, encoded.
    offsets : (n + 1,) pieces ``offsets[i]`` to ``offsets[i + 1] - 1`` are those of segment i.
    start, stop : (P,) where each piece begins and ends: t = 0 is `a`, t = 1 is `b`.
    value, next_value : (P, n_outputs) decisions at its ends.
    slope : (P, n_outputs) what the decision gains per unit of t.
    patterns : (P,) what is on there.
    region : (P,) the region of an `Unwrapped`, -1 where no row of its table was; None if only a network was given.
    error : largest difference between a piece's linear model and the network at the ends of the piece, relative to
        1 + |decision|.
    """

    network: Network
    a: Floats
    b: Floats
    offsets: NDArray[np.intp]
    start: Floats
    stop: Floats
    value: Floats
    next_value: Floats
    slope: Floats
    patterns: Patterns
    region: Codes | None
    error: float

    @property
    def n_segments(self) -> int:
        """Number of segments."""
        return len(self.a)

    @property
    def n_pieces(self) -> int:
        """Number of pieces of all segments."""
        return len(self.start)

    @cached_property
    def segment(self) -> NDArray[np.intp]:
        """The segment of each piece (P,)."""
        return np.repeat(np.arange(self.n_segments), np.diff(self.offsets))

    @cached_property
    def t(self) -> Floats:
        """Breakpoints in [0, 1] with both ends, (P + n,): those of one segment after those of another."""
        return np.insert(self.start, self.offsets[1:], 1.0)

    @cached_property
    def decision(self) -> Floats:
        """Decisions at the breakpoints `t` (P + n, n_outputs)."""
        return np.insert(self.value, self.offsets[1:], self.next_value[self.offsets[1:] - 1], axis=0)

    @cached_property
    def _maps(self) -> tuple[Any, Any]:
        return maps_of(self.network, self.patterns)

    @property
    def coef(self) -> Floats:
        """Coefficients of the linear model on each piece (P, n_outputs, n_features); computed on demand if large."""
        return self._maps[0]

    @property
    def intercept(self) -> Floats:
        """Intercepts of the linear model on each piece (P, n_outputs)."""
        return self._maps[1]

    def rows(self) -> Floats:
        """Return the encoded rows at the breakpoints `t` (P + n, n_features)."""
        of = np.repeat(np.arange(self.n_segments), np.diff(self.offsets) + 1)
        return between(self.a[of], self.b[of], self.t)

    def switched(self, piece: int) -> list[str]:
        """Return the neurons that switch where a piece begins, ["dense 1 neuron 3"]; [] for the first of a segment."""
        if piece in self.offsets:
            return []
        bits = self.patterns[piece - 1 : piece + 1].bits()
        changed = np.flatnonzero(bits[0] != bits[1])
        out: list[str] = []
        first = 0
        for i, layer in enumerate(self.network.hidden):
            neuron = layer.activation.switches[0]
            here = changed[(changed >= first) & (changed < first + len(neuron))] - first
            out += [f"{layer.name or f'layer {i}'} neuron {j}" for j in dict.fromkeys(neuron[here].tolist())]
            first += len(neuron)
        return out

    _repr_html_ = in_notebook

    def to_frame(self) -> pd.DataFrame:
        """Return one row per piece.

        Returns
        -------
        pandas.DataFrame with ``segment``, ``start``, ``stop``, ``pattern``, ``region`` (where one can be named), then
        per output ``decision``, ``next_decision``, ``slope``, and ``switched``: which neurons switched at its start.
        """
        import pandas as pd

        columns: dict[str, Any] = {"segment": self.segment, "start": self.start, "stop": self.stop}
        columns["pattern"] = self.patterns.ids()
        if self.region is not None:
            columns["region"] = self.region
        single = len(self.network.outputs) == 1
        for k, output in enumerate(self.network.outputs):
            suffix = "" if single else f"[{output}]"
            columns[f"decision{suffix}"] = self.value[:, k]
            columns[f"next_decision{suffix}"] = self.next_value[:, k]
            columns[f"slope{suffix}"] = self.slope[:, k]
        columns["switched"] = [", ".join(self.switched(p)) for p in range(self.n_pieces)]
        return pd.DataFrame(columns)

    def __repr__(self) -> str:
        s, p = self.n_segments, self.n_pieces
        where = "one segment" if s == 1 else f"{s:,} segments"
        return (
            f"Path: {where}, {p:,} piece{'s' * (p != 1)}; each linear model equals the network at both of its ends to "
            f"{self.error:.1e}"
        )


def path(model: Network | Unwrapped, a: Any, b: Any) -> Path:
    """Return every breakpoint of a network on the straight line from one row to another, or on many such lines.

    Parameters
    ----------
    model : a network, or what was unwrapped from it; then pieces know their region.
    a, b : a row (n_features,), or rows as an array or table; as many on both sides, or one on one of them. "mean" is the
        mean row of the table that was unwrapped.

    Returns
    -------
    Path : pieces in order, with decisions, patterns and linear models.

    Raises
    ------
    DataError : rows do not fit the network or each other.
    UnfaithfulError : a piece does not say what the network says.

    Notes
    -----
    Breakpoints come in closed form, layer by layer; work and memory grow with their number. The pattern of a piece is that
    of the row in its middle, decided in exact arithmetic. Breakpoints nearer to each other than 4e-15 of the row's
    size count as one: where hyperplanes coincide, several neurons switch at once. On every piece the linear model is compared
    with the network at both ends. Source: Sotoudeh & Thakur 2019.
    """
    model = known(model).identified
    network, u = (model.network, model) if isinstance(model, Unwrapped) else (model, None)
    start_rows, end_rows = ends(network.features, _mean_row(u, a), _mean_row(u, b))
    parts = over_segments(network, start_rows, end_rows, _pieces)
    segment = np.concatenate([np.zeros(0, dtype=np.intp), *(p[0] for p in parts)])
    start = np.concatenate([np.zeros(0), *(p[1] for p in parts)])
    keep = _long_enough(segment, start, start_rows, end_rows)
    segment, start = segment[keep], start[keep]
    packed = np.zeros((len(start), (network.n_bits + 7) // 8), dtype=np.uint8)
    middle = (start + _stops(segment, start)) / 2
    for rows in _blocks(len(start), network):
        x = between(start_rows[segment[rows]], end_rows[segment[rows]], middle[rows])
        packed[rows] = network.trace(x).patterns.packed
    differs = np.r_[True, (packed[1:] != packed[:-1]).any(axis=1) | (segment[1:] != segment[:-1])][: len(start)]
    segment, start, packed = segment[differs], start[differs], packed[differs]
    stop, patterns = _stops(segment, start), Patterns(packed, network.n_bits)
    value, next_value, slope, error = _compared(network, start_rows[segment], end_rows[segment], start, stop, patterns)
    return Path(
        network=network,
        a=start_rows,
        b=end_rows,
        offsets=np.searchsorted(segment, np.arange(len(start_rows) + 1)),
        start=start,
        stop=stop,
        value=value,
        next_value=next_value,
        slope=slope,
        patterns=patterns,
        region=None if u is None else u.regions_of_patterns(patterns),
        error=error,
    )


def known(model: Any) -> Any:
    """Return what is a network or was unwrapped from one.

    Raises
    ------
    ArgumentError : anything else.
    """
    if not isinstance(model, Network | Unwrapped):
        raise ArgumentError(
            f"Expected a Network or an Unwrapped, got a {type(model).__name__}. Give what relucidate.load or unwrap returned."
        )
    return model


def numbers_of(values: Any, name: str) -> Floats:
    """Return an argument as float64.

    Raises
    ------
    ArgumentError : it holds no numbers.
    """
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ArgumentError(f"{name} is {clipped(values)}; expected numbers.") from None


@dataclass(frozen=True, eq=False)
class Encoded:
    """Rows that are encoded already (n, n_features)."""

    x: Floats


def _mean_row(u: Unwrapped | None, rows: Any) -> Any:
    return mean_row(u) if isinstance(rows, str) and rows == "mean" else rows


def mean_row(u: Unwrapped | None) -> Encoded:
    """Return the mean row of the table that was unwrapped, which may lie between the levels of a category.

    Raises
    ------
    ArgumentError : there is no table.
    """
    if u is None:
        raise ArgumentError(
            "'mean' is the mean row of a table, and only a network was given. Give what unwrap returned, or a row."
        )
    return Encoded(u.sample.mean[None])


def ends(features: Features, a: Any, b: Any) -> tuple[Floats, Floats]:
    """Return rows as encoded ends of segments, both (n, n_features).

    Raises
    ------
    ColumnError : neither as many on both sides, nor one on one of them.
    """
    first, second = encoded_rows(features, a), encoded_rows(features, b)
    if len(first) != len(second) and 1 not in (len(first), len(second)):
        raise ColumnError(
            f"There are {len(first):,} rows to start from and {len(second):,} to go to; expected as many, or one on one side."
        )
    n = len(second) if len(first) == 1 else len(first)
    shape = (n, len(features))
    return np.array(np.broadcast_to(first, shape)), np.array(np.broadcast_to(second, shape))


def encoded_rows(features: Features, rows: Any) -> Floats:
    """Return a row (n_features,), or rows, encoded (n, n_features)."""
    if isinstance(rows, Encoded):
        return rows.x
    if isinstance(rows, np.ndarray | list | tuple) and np.ndim(rows) == 1:
        rows = np.asarray(rows)[None]
    return features.encode(rows)


def _pieces(walk: Walk, rows: slice) -> tuple[NDArray[np.intp], Floats]:
    return walk.segment + rows.start, walk.start


def _long_enough(segment: NDArray[np.intp], start: Floats, a: Floats, b: Floats) -> NDArray[np.bool_]:
    """Return which breakpoints to keep: the first of a segment, and those not too near to the one kept before or the end."""
    moved = b - a
    length = np.sqrt((moved**2).sum(axis=1))
    away = np.sqrt(np.where(moved != 0, a, 0.0) ** 2 @ np.ones(a.shape[1]))
    with np.errstate(invalid="ignore", divide="ignore"):
        least = _RESOLUTION * (start + np.nan_to_num(away / length)[segment])
    keep = np.ones(len(start), dtype=bool)
    near = np.flatnonzero((np.diff(start, prepend=-1.0) < least) & (np.diff(segment, prepend=-1) == 0))
    for k in near.tolist():  # few: a chain of near ones is measured from the last that was kept
        before = k - 1
        while not keep[before]:
            before -= 1
        keep[k] = start[k] - start[before] >= least[k]
    keep &= (start == 0) | (1 - start > least)
    return keep


def _stops(segment: NDArray[np.intp], start: Floats) -> Floats:
    last = np.r_[segment[1:] != segment[:-1], True][: len(start)]
    return np.where(last, 1.0, np.r_[start[1:], 1.0][: len(start)])


def _blocks(n: int, network: Network) -> list[slice]:
    step = max(1, 2**22 // max(network.n_features, 1))
    return [slice(i, min(i + step, n)) for i in range(0, n, step)]


def _compared(
    network: Network, a: Floats, b: Floats, start: Floats, stop: Floats, patterns: Patterns
) -> tuple[Floats, Floats, Floats, float]:
    """Return decisions at both ends of each piece, its slope, and how far its linear model is from them at most."""
    shape = (len(start), network.n_outputs)
    value, next_value, slope = np.empty(shape), np.empty(shape), np.empty(shape)
    worst = 0.0
    widest = max(max(layer.weight.shape) for layer in network.layers)
    step = max(1, 2**22 // (widest * network.n_outputs))
    for first in range(0, len(start), step):
        rows = slice(first, first + step)
        here, of = distinct(patterns.packed[rows])
        coef, intercept = network.affine_maps(Patterns(here, network.n_bits))
        slope[rows] = np.einsum("pkd,pd->pk", coef[of], b[rows] - a[rows])
        for t, out in ((start, value), (stop, next_value)):
            x = between(a[rows], b[rows], t[rows])
            out[rows] = network.trace(x, patterns=False).decision
            ours = np.einsum("pkd,pd->pk", coef[of], x) + intercept[of]
            worst = max(worst, checked(network, x, ours, out[rows], "The linear model of a piece"))
    return value, next_value, slope, worst
