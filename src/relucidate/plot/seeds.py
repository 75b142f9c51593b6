"""Picture of how far networks trained with different seeds agree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from relucidate.errors import ArgumentError, clipped
from relucidate.layers import Floats
from relucidate.plot.attributions import HEADER, TOP, legend_above, named
from relucidate.plot.parts import (
    BLUE,
    GRID,
    NAME,
    ONE,
    QUIET,
    VERMILION,
    axes_for,
    finished,
    fitting,
    label_rows,
    right_column,
    short,
    some,
)
from relucidate.seeds import Stability

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SIGNS = ((1, BLUE, "rises"), (-1, VERMILION, "falls"), (0, QUIET, "flat"), (2, "#b0b0b0", "levels"))


def stability(result: Stability, ax: Axes | None = None, *, output: str | int = 0, most: int = 15) -> Axes:
    """Draw the importance of each feature in each network as a dot, the most important on top, and return the axes.

    Parameters
    ----------
    result : from `interpret.stability`.
    ax : to draw on; a new figure by default.
    output : which one, by name or position.
    most : features shown, fewer where there is no room.

    Raises
    ------
    ArgumentError : there is no such output, or `most` is below 1.

    Notes
    -----
    The line goes from the least to the largest importance, the stroke across it is the mean. On the right: the share of
    rows on which two networks' local coefficients have the same sign, mean over pairs.
    """
    if most < 1:
        raise ArgumentError(f"most is {clipped(most)}; expected at least 1.")
    k = result.output_index(output)
    share = 100 * result.importance[:, k]
    N, G = share.shape
    ax = axes_for(ax, ONE, 2.2 + 0.2 * min(G, most))
    mean = share.mean(axis=0)
    kept = np.argsort(-mean, kind="stable")[: fitting(ax, G, most, 2.1)]
    y = np.arange(len(kept))
    ax.hlines(y, share[:, kept].min(axis=0), share[:, kept].max(axis=0), color=GRID, linewidth=3, zorder=1)
    ax.plot(mean[kept], y, "|", color="black", markersize=9, markeredgewidth=1.2, zorder=4)
    sign = np.nan_to_num(result.sign[:, k], nan=2)
    for which, colour, label in _SIGNS:
        network, place = np.nonzero(sign[:, kept] == which)
        if len(network):
            x = share[network, kept[place]]
            ax.plot(x, place, "o", color=colour, markersize=4, alpha=0.75, markeredgewidth=0, label=label, zorder=3)
    label_rows(ax, y, named(ax, [result.columns[j] for j in kept]))
    right_column(ax, np.r_[HEADER, y], ["same\nsign", *(f"{100 * result.sign_agreement[k, j]:.0f} %" for j in kept)])
    ax.set_ylim(len(kept) - 0.4, TOP)
    ax.set_xlim(left=min(0.0, ax.get_xlim()[0]))
    legend_above(ax)
    ax.grid(axis="x", color=GRID, linewidth=0.7)
    ax.locator_params(axis="x", nbins=5)
    ax.set_xlabel("importance (share of the variance of effects, %)")
    said = [f"Output {short(result.outputs[k], NAME)}, one of {len(result.outputs):,}."] * (len(result.outputs) > 1)
    said += [
        some(len(kept), G, "features", "those with the largest mean"),
        f"A dot per network: on average its decision rises or falls with the feature{result.caveat}.",
    ]
    return finished(ax, f"Importance in {N:,} networks", " ".join(filter(None, [*said, _pairs(result, k)])))


def _pairs(result: Stability, k: int) -> str:
    """Return how far pairs of networks agree, in words."""
    n = len(result.pair)
    figures: list[tuple[str, Floats]] = [
        ("correlation of decisions", result.decision_correlation[:, k]),
        ("rank correlation of importances", result.rank_correlation[:, k]),
        ("cosine of local coefficients", result.cosine[:, k]),
        ("adjusted Rand index of regions", result.same_partition),
    ]
    told = [
        f"{name} {np.nanmean(values):.2f}".replace("-", "−") for name, values in figures if np.isfinite(values).any()
    ]
    return f"{'The pair' if n == 1 else f'Mean over {n:,} pairs'}: {', '.join(told)}."
