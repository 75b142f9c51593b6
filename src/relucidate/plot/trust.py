"""Pictures of trust: the loss that is left when the least trusted rows are rejected, and where trust is low."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from relucidate.extrapolating import LEAST_JUDGED, Extrapolation, Rejection
from relucidate.plot.parts import (
    BLUE,
    GRID,
    ONE,
    QUIET,
    SKY,
    SMALL,
    TEXT,
    VERMILION,
    axes_for,
    compact,
    counted,
    finished,
    inches,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from relucidate.network import Network

_BINS = np.linspace(0.0, 1.0, 21)
_NAMES = {"trust": "trust", "row distance": "plain distance"}


def extrapolation(result: Extrapolation, ax: Axes | None = None) -> Axes:
    """Draw the loss of the rows that are left when the least trusted are rejected, and the distribution of trust.

    Parameters
    ----------
    result : from `diagnose.extrapolation`. Without `y` there is no loss, and the distribution alone is drawn.
    ax : to draw in; a new figure by default.

    Notes
    -----
    "plain distance" is the distance to the nearest training row; a random order leaves the mean loss of all rows. Below are
    shares of the rows whose pattern was seen, and of those whose pattern was not, each 100 % in all, in bins of 0.05.
    """
    curve = result.calibration
    ax = axes_for(ax, ONE, 4.4 if curve is not None else 2.4)
    ax.set_axis_off()
    height = max(0.7 * inches(ax)[1], 1.0)
    top = min(0.3 / height, 0.3)  # for a legend
    if curve is None:
        below = ax.inset_axes((0, 0, 1, 1 - top))
    else:
        gap = min(0.75 / height, 0.35)  # for a label and a legend
        high = (1 - gap - top) * 0.62
        above, below = ax.inset_axes((0, 1 - top - high, 1, high)), ax.inset_axes((0, 0, 1, 1 - gap - top - high))
        _styled(above)
        _curves(above, curve, result.network)
    _styled(below)
    _distribution(below, result)
    return finished(ax, "Where the network can be trusted", _caption(result))


def _curves(ax: Any, curve: Rejection, network: Network) -> None:
    loss = "mean log-loss" if network.is_classifier else "mean squared error"
    if not network.is_classifier and network.n_outputs > 1:
        loss = "mean sum of squared errors"
    looks: tuple[tuple[str, str], ...] = ((BLUE, "-"), (VERMILION, "--"))
    for k, order in enumerate(curve.orders):
        colour, line = looks[k]
        ax.fill_between(curve.share, curve.lower[k], curve.upper[k], color=colour, alpha=0.15, linewidth=0)
        ax.plot(curve.share, curve.loss[k], line, color=colour, linewidth=1.6, label=_NAMES[order])
    ax.axhline(curve.overall, color=QUIET, linewidth=0.8, label="random order")
    ax.set_xlim(0, curve.share[-1])
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    ax.yaxis.set_major_formatter(compact)  # a power above the axis would lie on the legend
    ax.set_xlabel("rows rejected, least trusted first")
    ax.set_ylabel(f"{loss}\nof the rows left")
    ax.locator_params(axis="y", nbins=5)
    ax.locator_params(axis="x", nbins=6)
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, fontsize=SMALL, frameon=False, borderaxespad=0.1,
              handlelength=1.5, columnspacing=0.8)  # fmt: skip


def _distribution(ax: Any, result: Extrapolation) -> None:
    bars = (("seen", result.seen, SKY), ("never seen", ~result.seen, VERMILION))
    top = 0.0
    for name, rows, colour in bars:
        n = int(rows.sum())
        share = np.histogram(result.trust[rows], _BINS)[0] / max(n, 1)
        top = max(top, float(share.max()))
        filled = colour == SKY
        ax.stairs(
            share,
            _BINS,
            color=colour,
            fill=filled,
            alpha=0.6 if filled else 1.0,
            linewidth=1.3,
            label=f"{name} ({n:,})",
        )
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1.08 * top)
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    ax.locator_params(axis="y", nbins=4)
    ax.set_xlabel("trust")
    ax.set_ylabel("share of rows")
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, fontsize=SMALL, frameon=False, borderaxespad=0.1,
              handlelength=1.2, columnspacing=1.0)  # fmt: skip


def _caption(result: Extrapolation) -> str:
    new, n = int((~result.seen).sum()), len(result)
    said = f"{new:,} of {n:,} rows have a pattern that no training row has{result.caveat}."
    c = result.calibration
    if c is not None and c.n < LEAST_JUDGED:
        said += f" {counted(c.n, 'row')} cannot tell whether the score is right: {LEAST_JUDGED} at least are needed."
    elif c is not None:
        said += (
            f" Among the least trusted tenth the loss is {c.ratio[0]:.2f} times that of the rest ({c.ratio_lower[0]:.2f} to "
            f"{c.ratio_upper[0]:.2f})"
        )
        said += f"; by the plain distance to the nearest training row {c.ratio[1]:.2f}." if len(c.orders) > 1 else "."
        said += f" Bands: {c.level:.0%}, bootstrap."
    return said


def _styled(ax: Any) -> None:
    ax.tick_params(labelsize=SMALL, color=QUIET)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(QUIET)
    ax.xaxis.label.set_fontsize(TEXT)
    ax.yaxis.label.set_fontsize(TEXT)
    ax.grid(axis="y", color=GRID, linewidth=0.7)
    ax.set_axisbelow(True)
