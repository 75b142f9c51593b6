"""Integrated gradients without steps: each piece of the way from a baseline integrates to a closed form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from relucidate.displaying import in_notebook
from relucidate.errors import ArgumentError, DataError, UnfaithfulError, clipped, shown
from relucidate.layers import Floats
from relucidate.network import Network
from relucidate.paths import encoded_rows, known, mean_row, numbers_of
from relucidate.segments import Walk, over_segments, rounding
from relucidate.unwrapping import Unwrapped

if TYPE_CHECKING:
    import pandas as pd

Scale = Literal["decision", "prediction"]

COMPLETENESS = 1e-9  # on |sum - difference| / (1 + |difference|)
_SEGMENT_CELLS = 2**22  # numbers in the ends of the segments that are held at once
_NODES = 10  # of Gauss and Legendre on pieces of a softmax
_REACH = 2.0  # log-odds that one such piece may span: ten nodes are then right to rounding


@dataclass(frozen=True, eq=False)
class IntegratedGradients:
    """How much of the way from a baseline to each row every feature accounts for.

    Parameters
    ----------
    network : that was followed. scale : "decision" or "prediction".
    values : (n, n_outputs, n_features) attributions; they add up to `output` less `base`.
    output : (n, n_outputs) of the rows, on that scale. base : (n_outputs,) of the baseline, or their weighted mean.
    x : (n, n_features) the rows, encoded. row : (n,) their numbers.
    n_baselines : baselines averaged over. baseline : what they are, in words.
    n_pieces : pieces of all the ways.
    completeness : largest ``|sum - difference| / (1 + |difference|)``.
    """

    network: Network
    scale: Scale
    values: Floats
    output: Floats
    base: Floats
    x: Floats
    row: NDArray[np.int64]
    n_baselines: int
    baseline: str
    n_pieces: int
    completeness: float

    @property
    def features(self) -> tuple[str, ...]:
        """The user's columns that attributions are `grouped` by."""
        return tuple(column for column, _ in self.network.features.groups)

    @property
    def grouped(self) -> Floats:
        """Attributions of the user's columns (n, n_outputs, n_columns): those of indicators of one column added up."""
        return self.network.features.grouped(self.values)

    _repr_html_ = in_notebook

    def to_frame(self) -> pd.DataFrame:
        """Return one row per row, output and column.

        Returns
        -------
        pandas.DataFrame with ``row``, ``output``, ``feature``, ``value`` of the row (a number, or the name of a
        level) and ``attribution``.
        """
        import pandas as pd

        n, K, g = self.grouped.shape
        columns = self.network.features.in_columns(self.x)
        value = np.empty((n, g), dtype=object if any(c.dtype == object for c in columns) else np.float64)
        for j, column in enumerate(columns):
            value[:, j] = column
        return pd.DataFrame(
            {
                "row": np.repeat(self.row, K * g),
                "output": np.tile(np.repeat(np.array(self.network.outputs, dtype=object), g), n),
                "feature": np.tile(np.array(self.features, dtype=object), n * K),
                "value": np.repeat(value, K, axis=0).ravel(),
                "attribution": self.grouped.ravel(),
            }
        )

    def __repr__(self) -> str:
        n = len(self.values)
        return (
            f"IntegratedGradients of {n:,} row{'s' * (n != 1)} from {self.baseline}, on the {self.scale}: {self.n_pieces:,} "
            f"pieces, attributions add up to {self.completeness:.1e}"
        )


def integrated_gradients(
    model: Network | Unwrapped,
    X: Any,
    baseline: Any = "mean",
    *,
    scale: Scale = "decision",
    baseline_weight: Any = None,
    progress: Callable[[int, int], None] | None = None,
) -> IntegratedGradients:
    """Return the exact integrated gradients of rows.

    Parameters
    ----------
    model : a network, or what was unwrapped from it.
    X : a row (n_features,), or rows as an array or table.
    baseline : a row to start from; rows, over which attributions are averaged ("expected gradients"); or "mean", the mean
        row of the table that was unwrapped.
    scale : "decision" (logits, the regression value) or "prediction" (probabilities, the exponential of a log link).
    baseline_weight : (n_baselines,) weights of the baselines; equal by default.
    progress : called with the ways done and their number.

    Returns
    -------
    IntegratedGradients : its attributions of a row add up to the difference between the row and the baseline.

    Raises
    ------
    ArgumentError : no such scale, "mean" without a table, weights that do not fit.
    DataError : rows do not fit the network.
    UnfaithfulError : attributions do not add up to the difference to 1e-9 of it and 1, nor to what rounding explains.

    Notes
    -----
    Attribution j is ``(x_j - b_j) ∫ ∂f/∂x_j dt`` on the straight way from b to x (Sundararajan, Taly, Yan 2017). On each
    piece of the way the decision η is linear, so that the integral of its gradient w is w times the length, and, on the scale
    of a probability σ(η), w times the length times ``(σ(η₁) - σ(η₀)) / (η₁ - η₀)``; likewise for an exponential. There are no
    steps and there is no error of discretisation. A softmax of three classes or more has no closed form: each piece
    is integrated by ten-point Gauss-Legendre rules over at most 2 log-odds, which is right to rounding. Where a whole
    piece lies in a neuron's hyperplane, rounding decides which side's gradient is taken. Cost: about two forward passes
    over the breakpoints met.
    """
    model = known(model).identified
    network, u = (model.network, model) if isinstance(model, Unwrapped) else (model, None)
    if scale not in ("decision", "prediction"):
        raise ArgumentError(f"scale is {clipped(scale)}; expected 'decision' or 'prediction'.")
    if scale == "prediction" and network.link == "identity":
        scale = "decision"
    x = encoded_rows(network.features, X)
    rows, said = _baselines(network, u, baseline)
    weight = _weights(baseline_weight, len(rows))
    values = np.zeros((len(x), network.n_outputs, network.n_features))
    n_pieces = done = 0
    step = max(1, _SEGMENT_CELLS // max(len(rows) * network.n_features, 1))
    for first in range(0, len(x), step):
        block = x[first : first + step]
        a = np.tile(rows, (len(block), 1))
        b = np.repeat(block, len(rows), axis=0)
        for part, where, pieces in over_segments(network, a, b, _integral(scale)):
            n_pieces += pieces
            part = part * (b[where] - a[where])[:, None, :] * np.tile(weight, len(block))[where, None, None]
            np.add.at(values[first : first + step], np.arange(where.start, where.stop) // len(rows), part)
        done += len(b)
        if progress is not None:
            progress(done, len(x) * len(rows))
    output, of_baselines = _on_scale(network, x, scale), _on_scale(network, rows, scale)
    base = weight @ of_baselines
    return IntegratedGradients(
        network=network,
        scale=scale,
        values=values,
        output=output,
        base=base,
        x=x,
        row=np.arange(len(x)),
        n_baselines=len(rows),
        baseline=said,
        n_pieces=n_pieces,
        completeness=_complete(network, scale, values, output, base, x, rows),
    )


def _baselines(network: Network, u: Unwrapped | None, baseline: Any) -> tuple[Floats, str]:
    if isinstance(baseline, str):
        if baseline != "mean":
            raise ArgumentError(f"baseline is {clipped(baseline)}; expected a row, rows, or 'mean'.")
        row = mean_row(u).x
        return row, "the mean row" + (u.sample.caveat if u is not None else "")
    rows = encoded_rows(network.features, baseline)
    if len(rows) == 0:
        raise DataError("The baseline has no rows; give at least one.")
    return rows, "one row" if len(rows) == 1 else f"{len(rows):,} rows"


def _weights(given: Any, n: int) -> Floats:
    if given is None:
        return np.full(n, 1 / n)
    weight = numbers_of(given, "baseline_weight")
    if weight.shape != (n,) or not np.isfinite(weight).all() or (weight < 0).any() or weight.sum() <= 0:
        raise ArgumentError(
            f"baseline_weight has shape {weight.shape}, and runs from {clipped(float(weight.min(initial=0.0)))}; expected "
            f"{n:,} numbers that are not negative and not all 0."
        )
    return weight / weight.sum()


def _on_scale(network: Network, x: Floats, scale: Scale) -> Floats:
    decision = network.trace(x, patterns=False).decision
    return network.inverse_link(decision) if scale == "prediction" else decision


def _complete(
    network: Network, scale: Scale, values: Floats, output: Floats, base: Floats, x: Floats, rows: Floats
) -> float:
    """Return how far attributions are from adding up.

    Parameters
    ----------
    x : the rows, and `rows` the baselines, encoded.

    Raises
    ------
    UnfaithfulError : farther than rounding explains.
    """
    difference = output - base
    gap = np.abs(values.sum(axis=2) - difference)
    relative = gap / (1 + np.abs(difference))
    worst = float(relative.max(initial=0.0))
    if worst <= COMPLETENESS:
        return worst
    far = np.flatnonzero(~(relative <= COMPLETENESS).all(axis=1))
    # a prediction moves by at most a quarter of what a logit does, and by its own size with a logarithm
    steep = np.maximum(np.abs(output), 1.0) if scale == "prediction" else 1.0
    allowed = rounding(network, x[far]) + rounding(network, rows).max(axis=0)
    # each attribution rounds, and they may cancel
    allowed = allowed * np.broadcast_to(steep, output.shape)[far] + 2.0**-40 * np.abs(values[far]).sum(axis=2)
    beyond = far[~(gap[far] <= allowed).all(axis=1)]
    if len(beyond):
        row = int(beyond[0])
        raise UnfaithfulError(
            f"Row {row}: attributions add up to {shown(values[row].sum(axis=1))}, the difference to the baseline is "
            f"{shown(difference[row])}; more than rounding explains. Nothing was returned. This is a defect of relucidate: "
            "please report it with the model."
        )
    return worst


def _integral(scale: Scale) -> Callable[[Walk, slice], tuple[Floats, slice, int]]:
    """Return a task that integrates the gradient over segments: (n_segments, n_outputs, n_features), which, pieces."""

    def task(walk: Walk, rows: slice) -> tuple[Floats, slice, int]:
        length = walk.stop - walk.start
        weight = length if scale == "decision" else _steepness(walk) * length[:, None, None]
        return walk.summed_coef(weight), rows, len(length)

    return task


def _steepness(walk: Walk) -> Floats:
    """Return the mean over each piece of what each prediction gains per unit of each decision (P, n_outputs, n_outputs)."""
    link, K = walk.network.link, walk.network.n_outputs
    if link == "softmax":
        return _softmax_steepness(walk.value, walk.next_value)
    mean = _sigmoid_steepness if link == "logit" else _exponential_steepness
    return mean(walk.value, walk.next_value)[:, :, None] * np.eye(K)


def _sigmoid_steepness(a: Floats, b: Floats) -> Floats:
    """Return ``(σ(b) - σ(a)) / (b - a)``, which is ``sinhc((b - a) / 2) / (4 cosh(a / 2) cosh(b / 2))``."""
    return np.exp(_log_sinhc((b - a) / 2) - _log_cosh(a / 2) - _log_cosh(b / 2)) / 4


def _exponential_steepness(a: Floats, b: Floats) -> Floats:
    """Return ``(exp(b) - exp(a)) / (b - a)``."""
    return np.exp((a + b) / 2 + _log_sinhc((b - a) / 2))


def _log_cosh(u: Floats) -> Floats:
    size = np.abs(u)
    return size + np.log1p(np.exp(-2 * size)) - np.log(2.0)


def _log_sinhc(u: Floats) -> Floats:
    """Return ``log(sinh(u) / u)``, 0 at 0; by its series where the quotient would cancel."""
    size = np.abs(u)
    large = np.maximum(size, 0.05)
    square = np.minimum(size, 0.05) ** 2
    # the next term of the series is below 2e-16 there
    series = square * (1 / 6 + square * (-1 / 180 + square * (1 / 2835 - square / 37800)))
    return np.where(size < 0.05, series, large + np.log1p(-np.exp(-2 * large)) - np.log(2 * large))


def _softmax_steepness(a: Floats, b: Floats) -> Floats:
    """Return the mean of the softmax's Jacobian ``p_c (δ_cm - p_m)`` from logits `a` to `b`, both (P, K)."""
    P, K = a.shape
    change = b - a
    cuts = np.maximum(np.ceil((change.max(axis=1) - change.min(axis=1)) / _REACH), 1).astype(np.intp)
    piece = np.repeat(np.arange(P), cuts)
    number = np.arange(len(piece)) - np.repeat(np.cumsum(cuts) - cuts, cuts)
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    total = np.zeros((P, K, K))
    step = max(1, 2**20 // (K * K))
    for first in range(0, len(piece), step):
        of, at = piece[first : first + step], number[first : first + step]
        for node, weight in zip(nodes, weights, strict=True):
            s = (at + (node + 1) / 2) / cuts[of]
            logit = a[of] + s[:, None] * change[of]
            e = np.exp(logit - logit.max(axis=1, keepdims=True))
            p = e / e.sum(axis=1, keepdims=True)
            jacobian = -p[:, :, None] * p[:, None, :]
            jacobian[:, np.arange(K), np.arange(K)] += p
            np.add.at(total, of, jacobian * (weight / 2 / cuts[of])[:, None, None])
    return total
