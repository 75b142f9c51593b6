"""Importance: how much each feature moves the decision, over all local linear models that a table uses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np

from relucidate.displaying import in_notebook
from relucidate.errors import ArgumentError, clipped
from relucidate.layers import Floats
from relucidate.maps import over_classes
from relucidate.network import Patterns
from relucidate.unwrapping import Unwrapped, squarable, squaring, unwrapped

if TYPE_CHECKING:
    import pandas as pd

Kind: TypeAlias = Literal["variance", "coefficients"]
Groups: TypeAlias = tuple[tuple[str, tuple[int, ...]], ...]

_CELLS = 2**22  # coefficients of rows held at a time
_ROUNDING = 256 * np.finfo(float).eps  # of an effect, relative to what it is a sum of

_DEFINITIONS = {
    "variance": "share of the variance over rows of each feature's effect, coefficient × (value − mean)",
    "coefficients": "share of the squared coefficients, summed over rows",
}
_ONE_SCALE = " (squared coefficients depend on the units of the features: they compare only features on one scale)"


@dataclass(frozen=True, eq=False)
class Importance:
    """How much each column moves the decision; one-hot indicators of one column count as one.

    Parameters
    ----------
    kind : "variance" or "coefficients", see `importance`.
    names : (n_groups,) the columns. outputs : (n_outputs,) names.
    share : (n_outputs, n_groups) each row adds to 1, or is 0 where the output is constant.
    overall : (n_groups,) all outputs together; adds to 1, or is 0.
    mean_slope : (n_outputs, n_groups) weighted mean coefficient, per unit of the feature; NaN for columns of several
        features.
    share_positive, share_negative : (n_outputs, n_groups) share of the rows, by weight, whose coefficient is above or
        below 0; NaN for columns of several features.
    link : of the network. n_rows : rows that `share` rests on. caveat : what a picture must say beside it.
    varies : whether any feature varies over the sample; where none does, no effect varies either.
    """

    kind: Kind
    names: tuple[str, ...]
    outputs: tuple[str, ...]
    share: Floats
    overall: Floats
    mean_slope: Floats
    share_positive: Floats
    share_negative: Floats
    link: str
    n_rows: int
    caveat: str
    varies: bool

    @property
    def definition(self) -> str:
        """What the shares are, in words."""
        return _DEFINITIONS[self.kind]

    @property
    def order(self) -> list[int]:
        """Columns, the most important over all outputs first; ties in the network's order."""
        return [int(j) for j in np.argsort(-self.overall, kind="stable")]

    def headline(self, output: int | None = None) -> str:
        """Return one line with the most important columns, of one output or over all of them."""
        share = self.overall if output is None else self.share[output]
        first = ", ".join(f"{clipped(self.names[j])} {share[j]:.1%}" for j in np.argsort(-share, kind="stable")[:5])
        g, n = len(self.names), self.n_rows
        what = "" if output is None or len(self.outputs) == 1 else f" for {clipped(self.outputs[output])}"
        kind = f"({self.kind}), {n:,} row{'s' * (n != 1)}{self.caveat}"
        return f"Importance of {g:,} feature{'s' * (g != 1)}{what} {kind}: {first}"

    def __repr__(self) -> str:
        return self.headline()

    _repr_html_ = in_notebook

    def to_frame(self) -> pd.DataFrame:
        """Return one row per output and column, the most important of each output first.

        Returns
        -------
        pandas.DataFrame with ``output``, ``feature``, ``importance``, ``mean_slope``, ``share_positive``.
        """
        import pandas as pd

        order = np.argsort(-self.share, axis=1, kind="stable")
        output = np.repeat(np.arange(len(self.outputs)), len(self.names))
        at = (output, order.ravel())
        return pd.DataFrame(
            {
                "output": np.array(self.outputs, dtype=object)[output],
                "feature": np.array(self.names, dtype=object)[at[1]],
                "importance": self.share[at],
                "mean_slope": self.mean_slope[at],
                "share_positive": self.share_positive[at],
            }
        )


def importance(u: Unwrapped, *, kind: Kind = "variance") -> Importance:
    """Return how much each column moves the decision, as shares that add to 1 per output.

    Parameters
    ----------
    u : from `relucidate.unwrap`.
    kind : "variance", which depends on no unit, or "coefficients", the published definition.

    Returns
    -------
    Importance : per output and column, and for all outputs together.

    Raises
    ------
    ArgumentError : another `kind`, or `u` was not unwrapped.
    NumericalOverflowError : effects are too large to be squared.

    Notes
    -----
    r(i) is the region of row i, w its coefficients, x̄ the mean over all rows; everything is weighted by the rows' weights.
    "variance" is ``Var_i(e_ig) / Σ_g Var_i(e_ig)`` with ``e_ig = Σ_{j in g} w_{r(i)j} (x_ij − x̄_j)``: the variance of the
    summed effect of the column's features, on the sample of `u`. Rescaling a feature changes nothing. Effects of
    different columns may be correlated; their covariances are left out.

    "coefficients" is ``Σ_r n_r Σ_{j in g} w_rj² / Σ_r n_r Σ_j w_rj²`` with n_r the rows (their weight) of region r: the
    squares of the column's features added up, intercepts left out. It presumes features on one scale, and says so.

    Adding one function to all logits of a softmax network changes no prediction, so there the coefficients are first
    centred over the classes, ``w_k − mean_k w``. For all outputs together the numerators are added up; those of the
    identity link, which may be in different units, are first divided by their output's total.
    Source: Sudjianto et al. 2020, section 3 ("coefficients"). Cost: rows × outputs × features.
    """
    if kind not in get_args(Kind):
        raise ArgumentError(f"kind is {clipped(kind)}; expected 'variance' or 'coefficients'.")
    u = unwrapped(u)
    net, groups = u.network, u.network.features.groups
    with squaring(u):
        positive, negative, slope, squares, largest = _over_regions(u)
        if kind == "variance":
            size = _variance(u, groups, largest)
            n_rows, caveat = len(u.sample.row), u.sample.caveat
        else:
            size = squarable(net.features.grouped(squares))
            n_rows, caveat = u.n_rows, _ONE_SCALE
        share = _shares(size)
        overall = _shares((share if net.link == "identity" else size).sum(axis=0))
    return Importance(
        kind=kind,
        names=tuple(name for name, _ in groups),
        outputs=net.outputs,
        share=share,
        overall=overall,
        mean_slope=_singles(slope, groups),
        share_positive=_singles(positive, groups),
        share_negative=_singles(negative, groups),
        link=net.link,
        n_rows=n_rows,
        caveat=caveat,
        varies=bool(u.sample.sd.any()),
    )


def _shares(size: Floats) -> Floats:
    total = squarable(size.sum(axis=-1, keepdims=True))
    return size / np.where(total > 0, total, 1)


def _singles(values: Floats, groups: Groups) -> Floats:
    """Return values (K, d) of the groups (K, n_groups), NaN for those of several features."""
    columns = [values[:, at[0]] if len(at) == 1 else np.full(len(values), np.nan) for _, at in groups]
    return np.stack(columns, axis=1)


def _over_regions(u: Unwrapped) -> tuple[Floats, ...]:
    """Return share positive, share negative, mean, sum of squares and largest size of the coefficients, each (K, d)."""
    net = u.network
    positive, negative, slope, squares, largest = np.zeros((5, net.n_outputs, net.n_features))
    share = u.share
    for rows, coef, _ in u.map_blocks():
        coef = over_classes(coef, net.link)
        flat, weight = coef.reshape(len(coef), -1), share[rows]
        shape = coef.shape[1:]
        positive += (weight @ (flat > 0)).reshape(shape)
        negative += (weight @ (flat < 0)).reshape(shape)
        slope += (weight @ flat).reshape(shape)
        squares += (weight @ flat**2).reshape(shape)
        np.maximum(largest, np.abs(coef).max(axis=0), out=largest)
    # shares of rows are sums that round
    return np.minimum(positive, 1), np.minimum(negative, 1), slope, squares, largest


def _variance(u: Unwrapped, groups: Groups, largest: Floats) -> Floats:
    """Return the weighted variance over the sample of the effect of each group (K, n_groups)."""
    net, s = u.network, u.sample
    held = Spread((net.n_outputs, len(groups)))
    for rows, coef in row_maps(u, np.asarray(s.region), net.n_outputs):
        effect = coef * (s.x[rows] - s.mean)[:, None]
        held.add(net.features.grouped(effect), s.weights[rows])
    reach = largest * np.abs(s.x).max(axis=0)
    noise = (_ROUNDING * net.features.grouped(reach)) ** 2
    return np.where(squarable(held.variance) > noise, held.variance, 0.0)


class Spread:
    """A weighted variance that grows by blocks, each about its own mean, so that large means cost no digits."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.weight = 0.0
        self.mean = np.zeros(shape)
        self._squares = np.zeros(shape)

    def add(self, values: Floats, weight: Floats) -> None:
        """Add rows (n, *shape) with their weights (n,)."""
        w = float(weight.sum())
        if w == 0:
            return
        mean = np.tensordot(weight, values, axes=1) / w
        squares = np.tensordot(weight, (values - mean) ** 2, axes=1)
        total = self.weight + w
        shift = mean - self.mean
        self._squares += squares + shift**2 * (self.weight * w / total)
        self.mean += shift * (w / total)
        self.weight = total

    @property
    def variance(self) -> Floats:
        """About the mean of all rows (*shape), 0 without rows."""
        return self._squares / self.weight if self.weight > 0 else self._squares


def row_maps(u: Unwrapped, region: Any, n_outputs: int) -> Iterator[tuple[Any, Floats]]:
    """Yield (rows, coefficients (rows, n_outputs, n_features)) block by block, rows of one region together.

    Coefficients of a softmax network are less their mean over its classes.

    Parameters
    ----------
    region : (n,) the region of each row. n_outputs : the first so many.
    """
    net = u.network
    order = np.argsort(region, kind="stable")
    step = max(64, _CELLS // (net.n_outputs * net.n_features))
    for start in range(0, len(order), step):
        rows = order[start : start + step]
        here, of_row = np.unique(region[rows], return_inverse=True)
        coef, _ = net.affine_maps(Patterns(u.sums.packed[here], net.n_bits))
        yield rows, over_classes(coef, net.link)[of_row, :n_outputs]
