"""The proof that breakpoints are idle: bounds on the preactivations of a network over a box, as tight as time allows."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from relucidate.displaying import in_notebook
from relucidate.exact import Bounds, thresholds
from relucidate.layers import Activation, Bools, Floats, Layer, is_sparse
from relucidate.linear_bounds import Program, Relaxed, lower_bounds
from relucidate.ranges import Range, affine_range, idle, points
from relucidate.shrinking import Part

if TYPE_CHECKING:
    import pandas as pd

Indices = NDArray[np.intp]

_PROBE_CELLS = 2**20  # numbers in the widest layer at the points that are tried
_ROW_CELLS = 2**22  # numbers in one block of rows whose linear bounds are found at once


@dataclass(frozen=True, eq=False)
class Switches:
    """Breakpoints of hidden neurons, each with what was proved of its neuron's preactivation on the box.

    Parameters
    ----------
    layer, neuron, breakpoint : (n,) which: hidden layers, their neurons and the breakpoints of one, each from 0.
    at : (n,) the breakpoint's place on the axis of preactivations: 0 for a ReLU.
    low, high : (n,) proved bounds on the preactivation.
    how : (n,) what decided it ("interval", "symbolic" or "linear program"), or why it is not decided.
    round : (n,) 1 if proved of the network that was given; later rounds prove it of what the earlier ones left, which
        is the same function to rounding.
    """

    layer: Indices
    neuron: Indices
    breakpoint: Indices
    at: Floats
    low: Floats
    high: Floats
    how: tuple[str, ...]
    round: Indices

    def __len__(self) -> int:
        return len(self.layer)

    _repr_html_ = in_notebook

    def to_frame(self) -> pd.DataFrame:
        """Return one row per breakpoint."""
        import pandas as pd

        return pd.DataFrame({name: getattr(self, name) for name in self.__dataclass_fields__})

    @staticmethod
    def of(rows: Sequence[tuple[Any, ...]]) -> Switches:
        """Return rows, as `Part.fact` gives them, as columns."""
        layer, neuron, k, at, low, high, how, number = zip(*rows, strict=True) if rows else [()] * 8
        whole = [np.array(column, dtype=np.intp) for column in (layer, neuron, k, number)]
        reals = [np.array(column, dtype=np.float64) for column in (at, low, high)]
        return Switches(whole[0], whole[1], whole[2], reals[0], reals[1], reals[2], tuple(how), whole[3])


@dataclass(frozen=True)
class Progress:
    """How far a compression is.

    Parameters
    ----------
    layer, layers : hidden layer being bounded, and how many there are. round : how many times over, from 1.
    undecided : breakpoints still in doubt in this layer. seconds_left : of the time budget.
    """

    layer: int
    layers: int
    round: int
    undecided: int
    seconds_left: float


class Prover:
    """Bounds the preactivations of a network, layer by layer, and keeps a record of what that proves."""

    def __init__(
        self,
        box: Range,
        lp: bool,
        deadline: float,
        random_state: int,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self.box = box
        self.proved: list[tuple[Any, ...]] = []
        self.open: list[tuple[Any, ...]] = []
        self._lp, self._deadline, self._seed, self._progress = lp, deadline, random_state, progress

    @property
    def _seconds_left(self) -> float:
        return self._deadline - time.monotonic()

    def restricted(self, parts: Sequence[Part], number: int) -> list[Part]:
        """Return the layers without the breakpoints that are idle on the box, the last one as it is."""
        self.open.clear()
        layers = [part.layer for part in parts[:-1]]
        seen = _Seen(layers, self.box, self._seed)
        relaxed: list[Relaxed] = []
        out: list[Part] = []
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            for i, part in enumerate(parts[:-1]):
                z = self._bounds(relaxed, part, seen, number, len(layers))
                relaxed.append(Relaxed.of(part.layer, z))
                out.append(part.restricted(z))
                self._report(i, len(layers), number, part.layer.activation, z)
        return [*out, parts[-1]]

    def _bounds(self, relaxed: list[Relaxed], part: Part, seen: _Seen, number: int, n_layers: int) -> Range:
        """Return bounds on the preactivations of the layer after those relaxed; record what is decided and how."""
        layer, i = part.layer, len(relaxed)
        before = relaxed[-1].a if relaxed else self.box
        z = affine_range(layer, before)
        self._record(part, None, z, "interval", number)
        bounded = self.box.is_bounded and all(s.z.is_bounded and s.a.is_bounded for s in relaxed)
        if relaxed and bounded:
            tighter = _symbolic(relaxed, self.box, layer, z, self._deadline)
            self._record(part, z, tighter, "symbolic", number)
            z = tighter
        why: dict[int, str] = {}
        if self._lp and relaxed and bounded:
            z, why = self._programmed(relaxed, part, z, seen, number, n_layers)
        if not bounded:
            default = "the box is unbounded"
        elif self._seconds_left <= 0:
            default = "out of time"
        else:
            default = "the relaxation is too loose" if self._lp else "linear programs are off"
        never, always = idle(layer.activation, z)
        open_ = np.isfinite(layer.activation.breakpoints) & ~never & ~always & ~seen.switching(i)
        for j, k in np.argwhere(open_):
            self.open.append(part.fact(j, k, z, why.get(int(j), default), number))
        return z

    def _programmed(
        self, relaxed: list[Relaxed], part: Part, z: Range, seen: _Seen, number: int, n_layers: int
    ) -> tuple[Range, dict[int, str]]:
        """Return bounds that linear programs made tighter where a breakpoint was in doubt, and why others stayed so."""
        layer, i = part.layer, len(relaxed)
        program = Program(relaxed, self.box)
        low, high = z.low.copy(), z.high.copy()
        why: dict[int, str] = {}
        for j in range(len(layer.bias)):
            for sign, bound in ((1.0, low), (-1.0, high)):
                if not seen.wanted(i, j, sign, low[j], high[j]):
                    continue
                if self._seconds_left <= 0:
                    why[j] = "out of time"
                    continue
                row = layer.weight[[j]]
                row = sign * (row.toarray()[0] if is_sparse(row) else row[0])  # type: ignore[union-attr]
                found = program.multipliers(row, self._seconds_left)
                if found is None:
                    why[j] = "out of time" if self._seconds_left <= 0 else "the solver gave no answer"
                    continue
                q, x = found
                least = float(lower_bounds(relaxed, self.box, row[None], sign * layer.bias[[j]], q)[0])
                tighter = Range(low.copy(), high.copy())
                (tighter.low if sign > 0 else tighter.high)[j] = max(sign * bound[j], least) * sign
                self._record(part, Range(low, high), tighter, "linear program", number)
                low, high = tighter.low, tighter.high
                seen.at(np.clip(x, self.box.low, self.box.high)[None])
                self._report(i, n_layers, number, layer.activation, tighter)
        return Range(low, high), why

    def _record(self, part: Part, before: Range | None, z: Range, how: str, number: int) -> None:
        """Record the breakpoints that the bounds `z` decide and those before did not."""
        never, always = idle(part.layer.activation, z)
        new = never | always
        if before is not None:
            never, always = idle(part.layer.activation, before)
            new &= ~(never | always)
        self.proved += [part.fact(j, k, z, how, number) for j, k in np.argwhere(new)]

    def _report(self, i: int, n_layers: int, number: int, activation: Activation, z: Range) -> None:
        if self._progress is not None:
            never, always = idle(activation, z)
            undecided = int((np.isfinite(activation.breakpoints) & ~never & ~always).sum())
            self._progress(Progress(i, n_layers, number, undecided, max(self._seconds_left, 0.0)))


def _symbolic(relaxed: Sequence[Relaxed], box: Range, layer: Layer, z: Range, deadline: float) -> Range:
    """Return bounds on preactivations, tighter by linear bounds where a breakpoint is in doubt and time allows."""
    never, always = idle(layer.activation, z)
    open_ = np.flatnonzero((np.isfinite(layer.activation.breakpoints) & ~never & ~always).any(axis=1))
    low, high = z.low.copy(), z.high.copy()
    widest = max(max(s.layer.weight.shape[1], len(s.neuron), len(s.layer.bias)) for s in relaxed)
    step = max(1, _ROW_CELLS // max(widest, 1))
    for start in range(0, len(open_), step):
        if time.monotonic() >= deadline:
            break
        at = open_[start : start + step]
        rows: Any = layer.weight[at]
        rows = rows.toarray() if is_sparse(rows) else rows
        low[at] = np.maximum(low[at], lower_bounds(relaxed, box, rows, layer.bias[at]))
        high[at] = np.minimum(high[at], -lower_bounds(relaxed, box, -rows, -layer.bias[at]))
    return Range(low, high)


class _Seen:
    """The preactivations met at points of the box, with room for rounding: a breakpoint met on both sides switches."""

    def __init__(self, layers: Sequence[Layer], box: Range, seed: int) -> None:
        self._layers = layers
        self._low = [np.full(len(layer.bias), np.inf) for layer in layers]
        self._high = [np.full(len(layer.bias), -np.inf) for layer in layers]
        self._bounds = [Bounds(layer) for layer in layers]
        widest = max((max(layer.weight.shape) for layer in layers), default=1)
        for x in points(box, max(64, min(4096, _PROBE_CELLS // max(widest, 1))), seed):
            self.at(x)

    def at(self, a: Floats) -> None:
        """Look at more points (n, n_features)."""
        errors = thresholds(self._bounds, np.abs(a).max(axis=0, initial=0.0))
        with np.errstate(over="ignore", invalid="ignore"):
            for i, layer in enumerate(self._layers):
                z = layer.preactivation(a)
                self._low[i] = np.fmin(self._low[i], z.min(axis=0) + errors[i])
                self._high[i] = np.fmax(self._high[i], z.max(axis=0) - errors[i])
                a = layer.activation(z)

    def switching(self, i: int) -> Bools:
        """Return which breakpoints (m, p) of layer i were met on both sides."""
        b = self._layers[i].activation.breakpoints
        return np.isfinite(b) & (self._low[i][:, None] <= b) & (b < self._high[i][:, None])

    def wanted(self, i: int, j: int, sign: float, low: float, high: float) -> bool:
        """Return whether a better lower (sign 1) or upper (-1) bound of a neuron might prove a breakpoint idle."""
        b = self._layers[i].activation.breakpoints[j]
        open_ = np.isfinite(b) & (low < b) & (b < high)
        return bool((open_ & ((self._low[i][j] > b) if sign > 0 else (self._high[i][j] <= b))).any())
