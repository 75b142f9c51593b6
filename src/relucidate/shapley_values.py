"""Exact interventional Shapley values: what each of the user's columns adds to a decision, by enumeration.

The value of a set of columns is the mean decision when the row keeps these columns and takes the others from background
rows. Whatever a pair of a row and a background row agrees on cannot matter to that pair, so each pair is a game of the
columns in which the two differ, and the values of a row are the mean over its pairs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from relucidate.displaying import in_notebook
from relucidate.errors import ArgumentError, DataError, NumericalOverflowError, UnfaithfulError, clipped, shown
from relucidate.exact import Bounds, thresholds
from relucidate.grouping import distinct
from relucidate.layers import Bools, Floats, is_sparse
from relucidate.network import Network
from relucidate.paths import encoded_rows
from relucidate.products import in_threads, one_thread
from relucidate.unwrapping import Unwrapped
from relucidate.words import plural

if TYPE_CHECKING:
    import pandas as pd

Scale = Literal["decision", "prediction"]
Rows = NDArray[np.intp]

TOLERANCE = 1e-9  # on |base + sum of the values - decision| / (1 + largest |decision| of a mixture)
BACKGROUND = 100  # rows taken from the sample of an unwrapping
MOST = 20  # players: the decisions of one pair take 8 MB then
FREE = 12  # players that are taken whatever they cost
_MINUTE = 60.0  # seconds that more players may take by default
_BLOCK_BYTES = 2**19  # mixtures and their widest layer stay in the processor's cache
_PAIR_CELLS = 2**22  # comparisons of a row's feature with a background row's that are held at once
_TURN = 2**31  # products until the caller hears of the progress and an interrupt is heeded


@dataclass(frozen=True, eq=False)
class Shapley:
    """What each of the user's columns adds to the decision of each row.

    Parameters
    ----------
    network : whose decisions.
    x : (n, n_features) the rows, encoded. row : (n,) their numbers.
    values : (n, n_outputs, n_groups) Shapley values, one per group of features (`Features.groups`): the indicators of one
        column are one player.
    base : (n_outputs,) weighted mean over the background.
    output : (n, n_outputs) what the network says of each row on `scale`: ``base + values.sum(axis=2)`` to rounding.
    scale : "decision", or "prediction" (the inverse link of it).
    background : (B, n_features) distinct background rows, encoded. background_weight : (B,), sums to 1.
    gap : largest ``|base + values.sum(axis=2) - output|``.
    n_evaluations : mixtures of rows of which the decision was computed.
    note : which background the values are relative to.
    """

    network: Network
    x: Floats
    row: NDArray[np.int64]
    values: Floats
    base: Floats
    output: Floats
    scale: Scale
    background: Floats
    background_weight: Floats
    gap: float
    n_evaluations: int
    note: str

    @property
    def features(self) -> tuple[str, ...]:
        """The user's columns (n_groups), in the order of `values`."""
        return tuple(column for column, _ in self.network.features.groups)

    @cached_property
    def feature_values(self) -> tuple[NDArray[Any], ...]:
        """Per column what each row has there (n,): numbers, or the names of levels."""
        return self.network.features.in_columns(self.x)

    def __repr__(self) -> str:
        n = len(self.values)
        return f"Shapley values of {n:,} row{'s' * (n != 1)} on the {self.scale}; they add up to {self.gap:.1e}. {self.note}"

    _repr_html_ = in_notebook

    def to_frame(self) -> pd.DataFrame:
        """Return one row per row, output and column: ``row``, ``output``, ``feature``, ``value``, ``shapley``."""
        import pandas as pd

        n, n_outputs, m = self.values.shape
        each = np.empty((n, m), dtype=object if any(v.dtype == object for v in self.feature_values) else np.float64)
        for j, column in enumerate(self.feature_values):
            each[:, j] = column
        return pd.DataFrame(
            {
                "row": np.repeat(self.row, n_outputs * m),
                "output": np.tile(np.repeat(np.array(self.network.outputs, dtype=object), m), n),
                "feature": np.tile(np.array(self.features, dtype=object), n * n_outputs),
                "value": np.repeat(each[:, None], n_outputs, axis=1).ravel(),
                "shapley": self.values.ravel(),
            }
        )


def shapley(
    network: Network | Unwrapped,
    X: Any,
    background: Any = None,
    background_weight: Any = None,
    *,
    scale: Scale = "decision",
    max_players: int | None = None,
    random_state: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Shapley:
    """Return the exact interventional Shapley values of each row.

    Parameters
    ----------
    network : a network, or what `unwrap` returned.
    X : a row (n_columns,), or an array (n, n_columns) or table, see `Features.encode`.
    background : a row, or an array or table of rows to compare with. By default, with an unwrapping, 100 rows of its sample
        drawn at random, or all if there are no more; they keep their weights.
    background_weight : (B,) weights of the background's rows, not negative; equal by default.
    scale : "decision" (log-odds, or the regression value), or "prediction" (probability; the inverse link of a decision).
    max_players : columns in which a row and a background row may differ, at most 20; each one doubles the cost. By default
        as many as take about a minute, measured here on one processor; 12 are never refused.
    random_state : seed of the draw of the default background.
    progress : called with the evaluations done so far and the number of all.

    Returns
    -------
    Shapley

    Raises
    ------
    ArgumentError : rows differ in too many columns, with what that would cost; no background.
    DataError : rows or weights do not fit.
    NumericalOverflowError : a mixture of two rows leaves the range of float64.
    UnfaithfulError : the values do not sum to the decision.

    Notes
    -----
    v(S) = Σ_b ω_b f(x_S, b_rest) / Σ_b ω_b over background rows b, and φ_j = Σ over S without j of
    |S|! (m − |S| − 1)! / m! · (v(S ∪ j) − v(S)). A pair of rows takes 2 to the number of columns in which the two differ
    evaluations; columns in which they agree get exactly 0 from the pair. The first layer of a mixture is not
    multiplied: it is that of the background row plus a sum of differences, each subset's from a smaller one's.
    Mixtures may be rows that cannot exist. Source: Lundberg and Lee 2017; Janzing, Minorics, Blöbaum 2020.
    """
    if scale not in get_args(Scale):
        raise ArgumentError(f"scale is {clipped(scale)}; expected 'decision' or 'prediction'.")
    given: Any = FREE if max_players is None else max_players
    if isinstance(given, bool) or not isinstance(given, int | np.integer) or not 1 <= given <= MOST:
        raise ArgumentError(f"max_players is {clipped(max_players)}; expected a whole number from 1 to {MOST}.")
    net = network.network if isinstance(network, Unwrapped) else network
    if not isinstance(net, Network):
        raise ArgumentError(f"shapley takes a Network or what unwrap returned, got a {type(network).__name__}.")
    x = encoded_rows(net.features, X).copy()
    network, net = network.identified, net.identified
    rows, weight, note = _background(network, background, background_weight, random_state)
    rows, weight = _merged(rows, weight)
    largest = np.abs(np.concatenate([x, rows])).max(axis=0)
    game = _Game(net, rows, weight, scale, largest)
    different, code = distinct(x.view(np.uint8))
    once = np.ascontiguousarray(different).view(np.float64).reshape(-1, x.shape[1])
    total = _affordable(game, once, np.unique(code, return_index=True)[1], max_players)
    values, size = np.zeros((len(once), net.n_outputs, len(game.groups))), np.zeros(len(once))
    done = 0
    with one_thread():
        for part, evaluations in _turns(game, once):
            for at, players, own, met in in_threads(game.play, part):
                values[np.ix_(at, np.arange(net.n_outputs), players)] += own
                size[at] = np.maximum(size[at], met)
            done += evaluations
            if progress is not None:
                progress(done, total)
    base = game.weight @ game.on_scale(net.trace(game.background, patterns=False).decision)
    decision = game.on_scale(net.trace(x, patterns=False).decision) if len(x) else np.zeros((0, net.n_outputs))
    values = values[code]
    gap = _checked(game, x, values, base, decision, size[code])
    return Shapley(
        net, x, np.arange(len(x)), values, base, decision, scale, game.background, game.weight, gap, total, note
    )


# ---------------------------------------------------------------- the background


def _background(source: Any, background: Any, weight: Any, random_state: int) -> tuple[Floats, Floats, str]:
    """Return the background's encoded rows, their weights, and what they are in words."""
    net = source.network if isinstance(source, Unwrapped) else source
    if background is None:
        if not isinstance(source, Unwrapped):
            raise ArgumentError("There is no background: give rows to compare with, or what unwrap returned.")
        if weight is not None:
            raise ArgumentError("background_weight needs a background; the sample's rows keep their own weights.")
        seed: Any = random_state
        if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
            raise ArgumentError(f"random_state is {clipped(seed)}; expected a whole number from 0.")
        s = source.sample
        rows = np.flatnonzero(s.weights > 0)
        if len(rows) <= BACKGROUND:
            return s.x[rows], s.weights[rows], f"Relative to {len(rows):,} row{'s' * (len(rows) != 1)}{s.caveat}."
        rows = np.sort(np.random.default_rng(seed).choice(rows, BACKGROUND, replace=False))
        note = f"Relative to {BACKGROUND} of {s.n:,} rows, drawn at random (random_state {random_state})."
        return s.x[rows], s.weights[rows], note
    x = encoded_rows(net.features, background)
    if len(x) == 0:
        raise DataError("The background has no rows; give at least one.")
    weights = np.ones(len(x)) if weight is None else np.asarray(weight, dtype=np.float64)
    if weights.shape != (len(x),) or not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
        raise DataError(
            f"background_weight has shape {weights.shape}, begins {shown(weights.ravel(), 3)}; expected {len(x)} finite "
            "weights, one per row of the background, none negative and not all 0."
        )
    weighted = "" if weight is None else ", weighted"
    return x, weights, f"Relative to a background of {len(x):,} row{'s' * (len(x) != 1)}{weighted}."


def _merged(x: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Return the distinct rows that have weight, and the share of each."""
    x, weight = np.ascontiguousarray(x[weight > 0]), weight[weight > 0]
    packed, code = distinct(x.view(np.uint8))
    share = np.asarray(np.bincount(code, weight / weight.sum(), len(packed)), dtype=np.float64)
    return np.ascontiguousarray(packed).view(np.float64).reshape(len(packed), x.shape[1]), share


# ---------------------------------------------------------------- games of one pair


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Pairs of a row and a background row that differ in the same columns, sorted by row.

    Parameters
    ----------
    x : (P, n_features) the rows. row : (P,) where each has its values. other : (P,) background rows.
    players : positions of the groups in which they differ.
    """

    x: Floats
    row: Rows
    other: Rows
    players: Rows


@dataclass(frozen=True, eq=False)
class _Game:
    """A network, the background, its weights, the scale, and the largest |value| of each feature."""

    network: Network
    background: Floats
    weight: Floats
    scale: Scale
    largest: Floats

    @cached_property
    def may_overflow(self) -> bool:
        """Whether the layers of a mixture can leave the range of float64."""
        return not all(np.isfinite(error).all() for error in self.rounding(self.largest))

    def rounding(self, largest: Floats) -> list[Floats]:
        """Return per layer a bound on the rounding error of mixtures of rows with ``|x| <= largest``."""
        # a difference and sums of differences round as a product with inputs three times as large may
        return thresholds([Bounds(layer) for layer in self.network.layers], 3 * largest)

    @cached_property
    def weights(self) -> dict[int, Floats]:
        """What makes Shapley values of so many players, kept while the games last."""
        return {}

    @cached_property
    def groups(self) -> tuple[Rows, ...]:
        return tuple(np.array(indices, dtype=np.intp) for _, indices in self.network.features.groups)

    @cached_property
    def first(self) -> Floats:
        """Preactivations of the first layer of the background (B, m)."""
        return self.network.layers[0].preactivation(self.background)

    @cached_property
    def by_feature(self) -> Any:
        """Weights of the first layer (n_features, m), dense or sparse."""
        weight: Any = self.network.layers[0].weight
        return weight.T.tocsr() if is_sparse(weight) else np.ascontiguousarray(weight.T)

    @cached_property
    def block_rows(self) -> int:
        """Mixtures evaluated together, a power of two."""
        widest = max(len(layer.bias) for layer in self.network.layers)
        return int(2 ** max(6, int(math.log2(max(_BLOCK_BYTES // (8 * widest), 1)))))

    @cached_property
    def cost(self) -> int:
        """Products of one evaluation, about."""
        layers = self.network.layers
        return sum(layer.n_parameters for layer in layers[1:]) + 8 * sum(len(layer.bias) for layer in layers)

    def differ(self, x: Floats) -> Bools:
        """Return in which groups each row differs from each background row (n, B, n_groups)."""
        apart = x[:, None] != self.background
        if len(self.groups) == len(self.network.features):
            return apart
        return np.stack([apart[..., indices].any(axis=-1) for indices in self.groups], axis=-1)

    def on_scale(self, decision: Floats) -> Floats:
        return decision if self.scale == "decision" else self.network.inverse_link(decision)

    def play(self, pairs: _Pairs) -> tuple[Rows, Rows, Floats, Floats]:
        """Return rows, players, the weighted sum of the pairs' values (rows, n_outputs, players), the largest |v| met."""
        k = len(pairs.players)
        if k not in self.weights:
            self.weights[k] = _weights(k)
        v = self.outcomes(pairs)
        own = np.tensordot(v, self.weights[k], axes=(1, 1)) * self.weight[pairs.other][:, None, None]
        size = np.abs(v).max(axis=(1, 2))
        first = np.flatnonzero(np.diff(pairs.row, prepend=-1))
        return pairs.row[first], pairs.players, np.add.reduceat(own, first), np.maximum.reduceat(size, first)

    def outcomes(self, pairs: _Pairs) -> Floats:
        """Return what the network says of each mixture (P, 2**k, n_outputs); bit j of its number: x has player j."""
        k, P = len(pairs.players), len(pairs.x)
        low = min(k, int(math.log2(self.block_rows)))
        together = max(1, self.block_rows >> low)
        v = np.empty((P, 2**k, self.network.n_outputs))
        z = np.empty((together, 2**low, self.first.shape[1]))
        with np.errstate(over="ignore", invalid="ignore"):
            for start in range(0, P, together):
                some = slice(start, min(start + together, P))
                step = self._steps(pairs, some)
                for high, offset in enumerate(_subset_sums(self.first[pairs.other[some]], step[low:])):
                    block = _fill(z[: len(offset)], offset, step[:low])
                    mixtures = slice(high << low, (high + 1) << low)
                    v[some, mixtures] = self._evaluated(block).reshape(len(offset), 2**low, -1)
        if not np.isfinite(v).all():
            lost = int(pairs.row[np.flatnonzero(~np.isfinite(v).all(axis=(1, 2)))[0]])
            raise NumericalOverflowError(
                f"A mixture of a row ({shown(pairs.x[pairs.row == lost][0])}) and a background row leaves the range of "
                "float64 inside the network. Look for huge values in the rows, the background or the weights."
            )
        return v

    def _steps(self, pairs: _Pairs, some: slice) -> Floats:
        """Return per player what it adds to the first layer if the row has its say (k, P, m)."""
        apart = pairs.x[some] - self.background[pairs.other[some]]
        weights: Any = self.by_feature
        if len(self.groups) == len(self.network.features) and not is_sparse(weights):
            return apart[:, pairs.players].T[:, :, None] * weights[pairs.players][:, None]
        steps = []
        for indices in (self.groups[player] for player in pairs.players):
            weight = weights[indices]
            steps.append(apart[:, indices] @ (weight.toarray() if is_sparse(weight) else weight))
        return np.stack(steps)

    def _evaluated(self, z: Floats) -> Floats:
        """Return the decisions or predictions (N, n_outputs) of preactivations of the first layer (N, m), overwritten."""
        layers = self.network.layers
        lost = np.zeros(len(z), dtype=bool)
        for layer, following in pairwise(layers):
            if self.may_overflow:  # what comes after a value beyond the range, a ReLU may turn into a number
                lost |= ~np.isfinite(z).all(axis=1)
            z = np.maximum(z, 0, out=z) if layer.activation.is_relu else layer.activation(z)
            z = following.preactivation(z)
        z[lost] = np.nan
        if self.scale == "decision" or not np.isfinite(z).all():
            return z
        try:
            return self.network.inverse_link(z)
        except NumericalOverflowError:
            return np.full_like(z, np.nan)


def _weights(k: int) -> Floats:
    """Return the matrix (k, 2**k) that makes Shapley values from what each subset of players is worth."""
    subsets = np.arange(2**k)
    size = np.bitwise_count(subsets).astype(np.intp)
    # of a set of s players without j: s! (k - s - 1)! / k!
    share = np.array([1 / (k * math.comb(k - 1, s)) for s in range(k)])
    out = np.empty((k, 2**k))
    for j in range(k):
        has = (subsets >> j) & 1 == 1
        out[j] = np.where(has, share[np.maximum(size - 1, 0)], -share[np.minimum(size, k - 1)])
    return out


def _subset_sums(base: Floats, steps: Floats) -> Iterator[Floats]:
    """Yield base plus the sum of each subset of the steps, in the order of the subsets' numbers."""
    for number in range(2 ** len(steps)):
        total = base
        for j, step in enumerate(steps):
            if number >> j & 1:
                total = total + step
        yield total


def _fill(z: Floats, base: Floats, steps: Floats) -> Floats:
    """Fill z (P, 2**k, m) with base plus the sum of each subset of the steps, and return it as (P · 2**k, m)."""
    z[:, 0] = base
    for j, step in enumerate(steps):
        np.add(z[:, : 2**j], step[:, None], out=z[:, 2**j : 2 ** (j + 1)])
    return z.reshape(-1, z.shape[2])


# ---------------------------------------------------------------- all pairs


def _parts(game: _Game, x: Floats) -> Iterator[tuple[int, Floats, Bools]]:
    """Yield where some rows begin, the rows, and in which groups they differ from each background row."""
    step = max(1, _PAIR_CELLS // max(len(game.background) * x.shape[1], 1))
    for start in range(0, len(x), step):
        yield start, x[start : start + step], game.differ(x[start : start + step])


def _affordable(game: _Game, x: Floats, number: Rows, max_players: int | None) -> int:
    """Return how many evaluations the rows take, or raise if a pair differs in too many columns."""
    total, most, worst = 0, 0, 0
    for start, rows, apart in _parts(game, x):
        k = apart.sum(axis=2)
        total += sum(int(n) * 2**size for size, n in enumerate(np.bincount(k.ravel())) if size)
        if k.size and k.max() > most:
            most = int(k.max())
            worst = start + int(k.max(axis=1).argmax())
        del rows
    if most <= (FREE if max_players is None else max_players):
        return total
    seconds = total * _seconds(game, x[worst])
    if max_players is None and most <= MOST and seconds <= _MINUTE:
        return total
    limit = f"max_players is {max_players}" if max_players is not None else f"at most {MOST} can be computed"
    limit = "that takes too long" if max_players is None and most <= MOST else limit
    less = "Give fewer rows or take" if most <= MOST and len(x) > 1 else "Take"
    allow = f", or allow it: max_players={most}" if most <= MOST else ""
    raise ArgumentError(
        f"Row {int(number[worst])} and a background row differ in {most} of {len(game.groups)} columns, and {limit}. "
        f"Exact values take 2**{most} evaluations of the network for such a pair: {total:.2g} for {plural(len(x), 'row')} "
        f"and {plural(len(game.background), 'background row')}, {_duration(seconds)} here on one processor. {less} "
        f"integrated_gradients, which is exact for any number of features{allow}."
    )


def _seconds(game: _Game, row: Floats) -> float:
    """Return what one evaluation takes, measured on some."""
    other = int((row != game.background).sum(axis=1).argmax())
    players = np.flatnonzero(game.differ(row[None])[0, other])[: int(math.log2(game.block_rows))]
    pairs = _Pairs(row[None], np.zeros(1, dtype=np.intp), np.array([other]), players)
    best = math.inf
    with one_thread():
        for _ in range(3):
            start = time.perf_counter()
            game.outcomes(pairs)
            best = min(best, time.perf_counter() - start)
    return best / 2 ** len(players)


def _duration(seconds: float) -> str:
    for unit, size in (("years", 365.25 * 86400), ("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return (
                f"about {seconds / size:,.2g} {unit}" if seconds < 1000 * size else f"about {seconds / size:.0e} {unit}"
            )
    return f"about {plural(round(max(seconds, 1)), 'second')}"


def _turns(game: _Game, x: Floats) -> Iterator[tuple[list[_Pairs], int]]:
    """Yield pairs of rows to play, and the evaluations that they take: few enough to be done in a moment."""
    turn: list[_Pairs] = []
    evaluations = 0
    limit = max(1, _TURN // game.cost)
    for start, rows, apart in _parts(game, x):
        B = apart.shape[1]
        packed, code = distinct(np.packbits(apart.reshape(-1, apart.shape[2]), axis=1))
        by_set = np.split(np.argsort(code, kind="stable"), np.cumsum(np.bincount(code, minlength=len(packed)))[:-1])
        for pairs in by_set:
            players = np.flatnonzero(apart.reshape(-1, apart.shape[2])[pairs[0]])
            if len(players) == 0:
                continue
            together = max(1, min(limit // 8, 2**16) >> len(players))
            for some in np.split(pairs, range(together, len(pairs), together)):
                row, other = np.divmod(some, B)
                turn.append(_Pairs(rows[row], row + start, other, players))
                evaluations += len(some) << len(players)
                if evaluations >= limit:
                    yield turn, evaluations
                    turn, evaluations = [], 0
    if evaluations:
        yield turn, evaluations


def _checked(game: _Game, x: Floats, values: Floats, base: Floats, decision: Floats, largest: Floats) -> float:
    """Return the largest difference between what the values sum to and the decision, or raise if rounding is no excuse."""
    gap = np.abs(base + values.sum(axis=2) - decision)
    for i in np.flatnonzero(~(gap <= TOLERANCE * (1 + largest[:, None])).all(axis=1)):
        allowed = 2 * game.rounding(np.maximum(np.abs(x[i]), np.abs(game.background).max(axis=0)))[-1]
        if game.scale == "prediction":  # no link is steeper than 1, or than its largest value if it is the exponential
            allowed = allowed * max(1.0, float(largest[i]))
        if not (gap[i] <= allowed + TOLERANCE * (1 + largest[i])).all():
            raise UnfaithfulError(
                f"Row {i}: base and Shapley values sum to {shown(base + values[i].sum(axis=1))}, the network says "
                f"{shown(decision[i])}; more than rounding explains. Nothing was returned. This is a defect of "
                "relucidate: please report it with the model."
            )
    return float(gap.max(initial=0.0))


# ---------------------------------------------------------------- what a row has in a column
