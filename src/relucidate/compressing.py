"""Compression without loss: a smaller network that equals the original on a box, with a proof of every removal.

A breakpoint that no preactivation crosses on the box does nothing there. What preactivations can reach is bounded by
intervals, then by linear bounds carried back to the input, then by linear programs; every bound is rounded outwards, and
of a linear program only the multipliers are used, in an inequality that holds whatever they are. Then neurons that are
constant, affine, proportional or without influence leave the network.

Source: the idea of removing stable neurons is that of Serra et al. 2020 (arXiv 2001.00218).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from relucidate.displaying import in_notebook
from relucidate.errors import ArgumentError, clipped, shown
from relucidate.exact import Bounds
from relucidate.layers import Floats
from relucidate.network import Faithfulness, Network, assert_faithful
from relucidate.proving import Progress, Prover, Switches
from relucidate.ranges import Range, points
from relucidate.shrinking import KEPT, Removed, Work

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["EQUAL", "SAME", "Compressed", "Progress", "Removed", "Switches", "as_box", "compress"]

EQUAL = 2.0**-50  # relative difference of weights that came from one number by scaling and rounding
SAME = 1e-12  # largest |difference| / (1 + |decision|) between the two networks
_CHECK_ROWS = 100_000
_ROUNDS = 4


@dataclass(frozen=True, eq=False)
class Compressed:
    """A smaller network that equals the original on a box.

    Parameters
    ----------
    network : the smaller one, of the same features, link and outputs. Outside the box it may be another function.
    lower, upper : (n_features,) the box.
    removed : what became of the neurons, layer by layer.
    proof : breakpoints that no preactivation crosses on the box, each with its bound.
    undecided : breakpoints that were neither proved idle nor seen to switch; their neurons were kept.
    faithfulness : decisions of both networks compared on random points and corners of the box.
    seconds : how long it took.
    """

    network: Network
    lower: Floats
    upper: Floats
    removed: Removed
    proof: Switches
    undecided: Switches
    faithfulness: Faithfulness
    seconds: float

    _repr_html_ = in_notebook

    def to_frame(self) -> pd.DataFrame:
        """Return one row per hidden layer of the original, see `Removed`."""
        return self.removed.to_frame()

    def __repr__(self) -> str:
        r = self.removed
        doubt = f", {len(self.undecided):,} breakpoints undecided" if len(self.undecided) else ""
        return (
            f"Compressed: {int(r.before.sum()):,} → {int(r.after.sum()):,} neurons in {len(self.network.hidden)} of "
            f"{len(r.before)} hidden layers, equal on the box to {self.faithfulness.max_difference:.1e} on "
            f"{self.faithfulness.n:,} points{doubt}"
        )


# ---------------------------------------------------------------- the verb


def compress(
    network: Network,
    box: Any,
    *,
    lp: bool = True,
    time_budget: float = 60.0,
    tolerance: float = EQUAL,
    max_difference: float = SAME,
    check_rows: int = _CHECK_ROWS,
    random_state: int = 0,
    progress: Callable[[Progress], None] | None = None,
) -> Compressed:
    """Return a smaller network that equals `network` on a box.

    Parameters
    ----------
    box : a tuple ``(lower, upper)`` of numbers or of arrays with one number per encoded feature; a mapping from feature
        name to ``(low, high)``, where indicators of levels may be left out; or a table of rows, of which the smallest and
        largest value of each feature are taken. Bounds may be infinite.
    lp : whether to try linear programs where cheaper bounds do not decide.
    time_budget : seconds for linear bounds and linear programs. What they did not come to is in `undecided`.
    tolerance : largest relative difference between the weights of neurons that are joined as proportional. The default
        joins those that differ by the rounding of their factor alone.
    max_difference : largest |difference| / (1 + |decision|) allowed between the two networks.
    check_rows : on how many points of the box they are compared.
    random_state : of these points.
    progress : called before each layer and while linear programs are solved.

    Raises
    ------
    ArgumentError : the box does not fit the features or is empty; another argument makes no sense.
    UnfaithfulError : the networks differ by more than `max_difference` on the box, by rounding; raise it if the
        original's own rounding is as large.

    Notes
    -----
    A breakpoint is idle if it lies outside the open interval of its neuron's preactivations. Bounds are proved of the
    real function that the stored weights define. Folding constants and composing affine layers rounds, as every
    evaluation of the network does.
    Cost: intervals as one forward pass, linear bounds as one backward product per pair of layers, linear programs of all
    neurons before, one for each breakpoint in doubt.

    Examples
    --------
    >>> import numpy as np, relucidate as rl
    >>> from relucidate.compressing import compress
    >>> net = rl.load(([np.array([[1.0, -1.0]]), np.ones((2, 1))], [np.array([0.5, -2.0]), np.zeros(1)]))
    >>> compress(net, (0.0, 1.0)).to_frame()[["before", "dead", "always_on", "after"]].values.tolist()
    [[2, 1, 1, 0]]
    """
    start = time.monotonic()
    lower, upper = as_box(network, box)
    if not time_budget >= 0:
        raise ArgumentError(f"time_budget is {clipped(time_budget)}; expected seconds, 0 or more.")
    if not 0 <= tolerance < 1:
        raise ArgumentError(f"tolerance is {clipped(tolerance)}; expected a number from 0 to below 1.")
    if not check_rows >= 1:
        raise ArgumentError(f"check_rows is {clipped(check_rows)}; expected a whole number, 1 or more.")
    prover = Prover(Range(lower, upper), lp, start + time_budget, random_state, progress)
    work = Work.of(network)
    for number in range(1, _ROUNDS + 1):
        work.parts = prover.restricted(work.parts, number)
        if number == 1:
            work.pin(prover.box)
        # what was joined or cut off can make bounds tighter; what was removed as idle cannot
        if not work.reduce(tolerance):
            break
    small = replace(network, layers=tuple(part.layer for part in work.parts), faithfulness=None)
    faithfulness = _compared(small, network, prover.box, check_rows, random_state, max_difference)
    notes = (*network.provenance.notes, "compressed: equals the original on a box of its inputs only")
    small = replace(small, faithfulness=faithfulness, provenance=replace(network.provenance, notes=notes))
    return Compressed(
        small,
        lower,
        upper,
        work.removed(),
        Switches.of(prover.proved),
        Switches.of([fact for fact in prover.open if work.fate[fact[0]][fact[1]] == KEPT]),
        faithfulness,
        time.monotonic() - start,
    )


# ---------------------------------------------------------------- boxes


def as_box(network: Network, box: Any) -> tuple[Floats, Floats]:
    """Return lower and upper bounds (n_features,) of a box given in any of the ways that `compress` takes.

    Raises
    ------
    ArgumentError : bounds are missing, not numbers, of the wrong number or crossed.
    DataError : a table of rows does not fit the network.
    """
    names = network.feature_names
    if isinstance(box, Mapping):
        lower, upper = _box_of_names(network, box)
    elif isinstance(box, tuple):
        if len(box) != 2:
            raise ArgumentError(f"box is a tuple of {len(box)}; expected (lower, upper).")
        lower, upper = (_bound(side, name, len(names)) for side, name in zip(box, ("lower", "upper"), strict=True))
    else:
        rows = network.features.encode(box)
        if len(rows) == 0:
            raise ArgumentError("box is a table without rows, which has no range. Give rows, or (lower, upper).")
        lower, upper = rows.min(axis=0), rows.max(axis=0)
    wrong = np.flatnonzero(~(lower <= upper) | (lower == np.inf) | (upper == -np.inf))
    if len(wrong):
        j = wrong[0]
        raise ArgumentError(
            f"box is empty for {len(wrong)} of {len(names)} features: {shown([names[k] for k in wrong])}; {names[j]!r} is "
            f"to lie between {lower[j]} and {upper[j]}. Expected lower <= upper."
        )
    return lower, upper


def _bound(side: Any, name: str, d: int) -> Floats:
    try:
        values = np.array(side, dtype=np.float64)
    except (TypeError, ValueError):
        raise ArgumentError(f"The {name} bounds of box are {clipped(side)}; expected numbers.") from None
    if values.shape not in ((), (d,)):
        raise ArgumentError(
            f"The {name} bounds of box have shape {values.shape}; expected one number, or ({d},): one per encoded feature."
        )
    return np.array(np.broadcast_to(values, d))


def _box_of_names(network: Network, box: Mapping[Any, Any]) -> tuple[Floats, Floats]:
    names = network.feature_names
    unknown = [name for name in box if name not in names]
    if unknown:
        raise ArgumentError(f"box names {shown(unknown)}, which the network does not have. It has {shown(names, 12)}.")
    sides = {f.name: (0.0, 1.0) for f in network.features.items if f.kind != "value"} | dict(box)
    missing = [name for name in names if name not in sides]
    if missing:
        raise ArgumentError(
            f"box has no bounds for {len(missing)} of {len(names)} features: {shown(missing)}. Give (low, high) for each; "
            "(-inf, inf) where there are none."
        )
    try:
        low, high = np.array([sides[name] for name in names], dtype=np.float64).reshape(len(names), 2).T
    except (TypeError, ValueError):
        raise ArgumentError("box maps each feature name to two numbers (low, high); some value is not that.") from None
    return low.copy(), high.copy()


# ---------------------------------------------------------------- comparing


def _compared(small: Network, network: Network, box: Range, n: int, seed: int, allowed: float) -> Faithfulness:
    """Return how closely the decisions of two networks agree on points of the box, or raise `UnfaithfulError`.

    Where they differ by more than is allowed, they may by as much as evaluating the two can round.
    """
    ours, theirs, unexplained = [], [], False
    for x in points(box, n, seed):
        a, b = (net.trace(x, patterns=False).decision for net in (small, network))
        far = np.flatnonzero((np.abs(a - b) > allowed * (1 + np.abs(b))).any(axis=1))
        rounding = _rounding(small, x[far]) + _rounding(network, x[far])
        unexplained |= bool((np.abs(a - b)[far] > rounding).any())
        ours.append(a)
        theirs.append(b)
    a, b = np.vstack(ours), np.vstack(theirs)
    limit = allowed if unexplained else np.inf
    found = assert_faithful("compressed network", a, b, tolerance=limit, against="the network given")
    agreement = None
    if network.link == "logit":
        agreement = float(((a > 0) == (b > 0)).mean())
    elif network.link == "softmax":
        agreement = float((a.argmax(axis=1) == b.argmax(axis=1)).mean())
    return replace(found, agreement=agreement)


def _rounding(network: Network, x: Floats) -> Floats:
    """Return how far computed decisions (n, n_outputs) of rows can be from the exact ones."""
    value, error = np.abs(x), np.zeros_like(x)
    with np.errstate(over="ignore", invalid="ignore"):
        for layer in network.layers:
            bounds = Bounds(layer)
            size, error = bounds.reach(value, error)
            value, error = bounds.after(size, error)
    return error
