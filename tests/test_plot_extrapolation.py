"""Pictures of trust show the numbers of the result, and can be read."""

from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.axes import Axes

import relucidate as rl
from drawing import all_axes, assert_legible, axes, caption, texts
from relucidate import plot
from relucidate.diagnose import Extrapolation, extrapolation
from small_networks import SPECIMENS, random_network, rows_for
from test_extrapolating import response


@cache
def found(name: str = "one logit", judged: bool = True, nearest_row: bool = True) -> Extrapolation:
    net = random_network([200, 20, 1], seed=1) if name == "many features" else SPECIMENS[name]
    x, new = rows_for(net, 300), rows_for(net, 150, seed=1)
    u = rl.unwrap(net, x, response(net, x))
    return extrapolation(u, new, response(net, new, 1) if judged else None, nearest_row=nearest_row)


def panels(ax: Axes) -> list[Axes]:
    return list(ax.child_axes)


@pytest.mark.parametrize("width", [3.4, 6.8])
@pytest.mark.parametrize("name", ["one logit", "deep", "linear", "five classes", "many features"])
def test_it_can_be_read(name: str, width: float) -> None:
    ax = axes(width, 4.4)
    assert plot.extrapolation(found(name), ax) is ax
    assert_legible(ax)
    unit = "log-loss" if found(name).network.is_classifier else "squared error"
    assert unit in panels(ax)[0].get_ylabel()
    assert ax.get_title(loc="left") == "Where the network can be trusted"


@pytest.mark.parametrize("width", [3.4, 6.8])
def test_without_a_response_the_distribution_alone_is_drawn(width: float) -> None:
    ax = axes(width, 2.6)
    plot.extrapolation(found(judged=False), ax)
    assert_legible(ax)
    assert [part.get_xlabel() for part in panels(ax)] == ["trust"]
    assert "times" not in caption(ax)


def test_the_curves_and_bands_are_those_of_the_result() -> None:
    result = found()
    c = result.calibration
    assert c is not None
    above, _ = panels(plot.extrapolation(result, axes()))
    trust, distance, level = above.lines
    for k, line in enumerate((trust, distance)):
        np.testing.assert_array_equal(line.get_xdata(), c.share)
        np.testing.assert_array_equal(line.get_ydata(), c.loss[k])
        corners = above.collections[k].get_paths()[0].vertices
        n = len(c.share)
        for drawn, values in ((corners[1 : n + 1], c.lower[k]), (corners[n + 2 : 2 * n + 2][::-1], c.upper[k])):
            np.testing.assert_allclose(drawn, np.column_stack([c.share, values]))
    np.testing.assert_array_equal(level.get_ydata(), c.overall)
    assert [t.get_text() for t in above.get_legend().get_texts()] == ["trust", "plain distance", "random order"]  # type: ignore[union-attr]


def test_the_bars_are_shares_of_rows_seen_and_never_seen() -> None:
    result = found()
    _, below = panels(plot.extrapolation(result, axes()))
    for patch, rows in zip(below.patches, (result.seen, ~result.seen), strict=True):
        values, edges, _ = patch.get_data()  # type: ignore[attr-defined]
        trust = result.trust[rows]
        expected = [((trust >= a) & ((trust < b) | (b == edges[-1]))).mean() for a, b in pairwise(edges)]
        np.testing.assert_allclose(values, expected)
        np.testing.assert_allclose(values.sum(), 1)
    said = [t.get_text() for t in below.get_legend().get_texts()]  # type: ignore[union-attr]
    assert said == [f"seen ({result.seen.sum()})", f"never seen ({(~result.seen).sum()})"]


def test_the_caption_says_how_much_worse_it_is() -> None:
    result = found()
    c = result.calibration
    assert c is not None
    assert caption(plot.extrapolation(result, axes())) == (
        f"{(~result.seen).sum()} of 150 rows have a pattern that no training row has. Among the least trusted tenth the loss is "
        f"{c.ratio[0]:.2f} times that of the rest ({c.ratio_lower[0]:.2f} to {c.ratio_upper[0]:.2f}); by the plain distance to "
        f"the nearest training row {c.ratio[1]:.2f}. Bands: 95%, bootstrap."
    )


def test_without_the_nearest_row_there_is_no_line_for_it() -> None:
    ax = plot.extrapolation(found(nearest_row=False), axes(3.4, 5))
    assert_legible(ax)
    assert len(panels(ax)[0].lines) == 2
    assert "plain distance" not in " ".join(text.get_text() for text in texts(ax))
    assert len(list(all_axes(ax))) == 3


@pytest.mark.parametrize("width", [3.4, 6.8])
def test_large_losses_are_written_at_their_ticks(width: float) -> None:
    """A power above the axis would lie on the legend; of several outputs the loss is a sum."""
    net = SPECIMENS["three outputs"]
    x, new = rows_for(net, 300), rows_for(net, 150, seed=1)
    u = rl.unwrap(net, x, 1e5 * response(net, x))
    ax = plot.extrapolation(extrapolation(u, new, 1e5 * response(net, new, 1)), axes(width, 4.4))
    assert_legible(ax)
    for part in all_axes(ax):
        assert part.yaxis.get_offset_text().get_text() == ""
    assert " ".join(panels(ax)[0].get_ylabel().split()) == "mean sum of squared errors of the rows left"


def test_few_rows_are_not_judged() -> None:
    net = SPECIMENS["one logit"]
    x = rows_for(net, 300)
    u = rl.unwrap(net, x, response(net, x))
    ax = plot.extrapolation(extrapolation(u, x[:19], response(net, x[:19])), axes())
    assert "19 rows cannot tell whether the score is right: 20 at least are needed." in caption(ax)
    assert "times that of the rest" not in caption(ax)
