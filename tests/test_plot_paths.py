"""Pictures of paths and effects show the numbers of the result, say what they leave out, and can be read."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

import relucidate as rl
from drawing import all_axes, assert_legible, axes, caption, texts
from relucidate import interpret, plot
from relucidate.errors import ArgumentError
from relucidate.network import Network
from small_networks import SPECIMENS, random_network, rows_for
from test_effects import categorical

HOSTILE = ("$x_1^2$ <b>", "L" * 300, "debt_to_income_of_the_whole_household")


def hostile(link: Any = "logit", n_outputs: int = 1) -> Network:
    return random_network([3, 12, 12, n_outputs], seed=2, link=link).with_names(HOSTILE)


def rows(n: int = 300) -> Any:
    return np.random.default_rng(0).normal(size=(n, 3)) * 3


def long_class() -> Network:
    return replace(hostile("softmax", 3), outputs=("$\\frac{$", "$a_b$", "Z" * 26))


CLASSES: dict[str, Callable[[Network, Axes | None], Axes]] = {
    "path": lambda net, ax: plot.path(interpret.path(net, rows()[0], rows()[1]), ax, output=2),
    "ice": lambda net, ax: plot.ice(interpret.ice(net, rows(), 0), ax, output=2),
    "partial dependence": lambda net, ax: plot.partial_dependence(
        interpret.partial_dependence(net, rows(), 1, scale="prediction"), ax, output=2
    ),
    "ale": lambda net, ax: plot.ale(interpret.ale(net, rows(), 0), ax, output=2),
}


PICTURES: dict[str, Callable[[Axes | None], Axes]] = {
    "path": lambda ax: plot.path(interpret.path(hostile(), rows()[0], rows()[1]), ax),
    "path of many pieces": lambda ax: plot.path(
        interpret.path(random_network([3, 60, 60, 3], seed=1, link="softmax"), rows()[:3], -rows()[:3]),
        ax,
        segment=1,
        output=2,
    ),
    "ice": lambda ax: plot.ice(interpret.ice(hostile(), rows(), 0), ax),
    "ice of few": lambda ax: plot.ice(interpret.ice(hostile("softmax", 3), rows(3), 1), ax, output=1),
    "partial dependence": lambda ax: plot.partial_dependence(interpret.partial_dependence(hostile(), rows(), 1), ax),
    "partial dependence on the prediction": lambda ax: plot.partial_dependence(
        interpret.partial_dependence(hostile("softmax", 3), rows(), 2, scale="prediction"), ax, output="y1"
    ),
    "partial dependence on levels": lambda ax: plot.partial_dependence(
        interpret.partial_dependence(*categorical(), "job"), ax
    ),
    **{
        f"{name} of a long class": lambda ax, name=name: CLASSES[name](long_class(), ax)  # type: ignore[misc]
        for name in ("path", "ice", "partial dependence", "ale")
    },
    "ale": lambda ax: plot.ale(interpret.ale(hostile(), rows(), 2), ax),
}


@pytest.mark.parametrize("width", [3.4, 6.8])
@pytest.mark.parametrize("name", PICTURES)
def test_it_can_be_read(name: str, width: float) -> None:
    ax = axes(width, 5)
    assert PICTURES[name](ax) is ax
    assert_legible(ax)
    assert ax.get_title(loc="left")
    labels = [part.get_xlabel() for part in all_axes(ax)] + [part.get_ylabel() for part in all_axes(ax)]
    assert any("log-odds" in label or "logit" in label or "probability" in label for label in labels)


def test_path_shows_breakpoints_and_slopes() -> None:
    net = SPECIMENS["deep"]
    x = rows_for(net, 50)
    u = rl.unwrap(net, x)
    found = interpret.path(u, x[3], x[30])
    ax = plot.path(found, axes())
    above, below = ax.child_axes
    line, dots = above.lines
    for drawn in (line, dots):
        np.testing.assert_array_equal(drawn.get_xdata(), found.t)
        np.testing.assert_array_equal(drawn.get_ydata(), found.decision[:, 0])
    steps = np.asarray(below.lines[0].get_xydata())
    np.testing.assert_array_equal(steps[::2, 0], found.start)
    np.testing.assert_array_equal(steps[1::2, 0], found.stop)
    np.testing.assert_array_equal(steps[::2, 1], found.slope[:, 0])
    seen = int((found.region >= 0).sum())  # type: ignore[operator]
    assert caption(ax) == (
        f"{found.n_pieces} pieces; the line is straight between the dots. {seen} of them are regions that rows of the table use."
    )


def test_path_of_many_segments_shows_the_one_asked_for() -> None:
    net = SPECIMENS["five classes"]
    x = rows_for(net, 20)
    found = interpret.path(net, x[:5], x[10:15])
    ax = plot.path(found, axes(), segment=3, output=4)
    line = ax.child_axes[0].lines[0]
    single = interpret.path(net, x[3], x[13])
    np.testing.assert_allclose(line.get_ydata(), single.decision[:, 4], atol=1e-13)
    assert caption(ax).startswith("Segment 3 of 5.")
    assert f"decision of {net.outputs[4]}" in ax.child_axes[0].get_ylabel().replace("\n", " ")
    with pytest.raises(ArgumentError, match="segment is 5; expected 0 to 4"):
        plot.path(found, segment=5)


def test_curves_are_those_of_rows_and_their_mean() -> None:
    found = interpret.ice(hostile(), rows(100), 0)
    ax = plot.ice(found, axes(), most=20)
    drawn = [np.asarray(p.vertices) for p in ax.collections[0].get_paths()]
    assert len(drawn) == 20
    curves = {float(found.curve(i)[1][0, 0]): i for i in range(100)}
    for vertices in drawn:
        knots, decision = found.curve(curves[float(vertices[0, 1])])
        np.testing.assert_array_equal(vertices, np.column_stack([knots, decision[:, 0]]))
    (mean,) = [line for line in ax.lines if to_hex(line.get_color()) == plot.VERMILION]
    np.testing.assert_array_equal(mean.get_xdata(), found.mean[0])
    np.testing.assert_array_equal(mean.get_ydata(), found.mean[1][:, 0])
    assert "20 of 100 rows are drawn" in caption(ax)
    assert "The only row is drawn" in caption(plot.ice(interpret.ice(hostile(), rows(1), 0, low=-1, high=1), axes()))
    assert "All 3 rows are drawn" in caption(plot.ice(interpret.ice(hostile(), rows(3), 0), axes()))


def test_effect_is_drawn_whole_and_thick_where_the_rows_are() -> None:
    found = interpret.partial_dependence(hostile(), rows(100), 1)
    ax = plot.partial_dependence(found, axes())
    thin, thick = ax.lines
    np.testing.assert_array_equal(thin.get_xdata(), found.values)
    np.testing.assert_array_equal(thin.get_ydata(), found.effect[:, 0])
    low, high = np.quantile(found.distribution, [0.01, 0.99])
    inside = (found.values >= low) & (found.values <= high)
    assert 0 < inside.sum() < len(inside)
    np.testing.assert_array_equal(thick.get_xdata(), found.values[inside])
    assert thick.get_linewidth() > thin.get_linewidth()
    assert f"with all {len(found.values) - 2:,} kinks" in caption(ax)
    strip = ax.patches[0]
    share = strip.get_data().values - strip.get_data().baseline  # type: ignore[attr-defined]
    counts = np.histogram(found.distribution, strip.get_data().edges)[0]  # type: ignore[attr-defined]
    np.testing.assert_allclose(share / share.max(), counts / counts.max(), atol=1e-9)


def test_a_curve_of_many_knots_is_thinned_but_keeps_its_largest_kinks() -> None:
    found = interpret.partial_dependence(hostile(), rows(), 1)
    values = np.linspace(0, 1, 9001)
    bent = np.where(values < values[4001], 0.0, values - values[4001])
    many = replace(found, values=values, effect=bent[:, None])
    drawn = np.asarray(plot.partial_dependence(many, axes()).lines[0].get_xdata())
    assert len(drawn) <= 4000
    assert values[4001] in drawn


def test_levels_are_dots_with_their_shares() -> None:
    found = interpret.partial_dependence(*categorical(), "job")
    ax = plot.partial_dependence(found, axes())
    order = np.argsort(-found.effect[:, 0])
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), found.effect[order, 0])
    assert [label.get_text() for label in ax.get_yticklabels()] == [found.levels[i] for i in order]
    assert [t.get_text() for t in ax.texts[:3]] == [f"{found.distribution[i]:.1%} of rows" for i in order]
    mean = found.distribution @ found.effect[:, 0]
    assert np.asarray(ax.lines[1].get_xdata())[0] == pytest.approx(mean)


def test_accumulated_effects_say_their_bins() -> None:
    found = interpret.ale(hostile(), rows(), 2, bins=6)
    ax = plot.ale(found, axes())
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), found.effect[:, 0])
    assert "300 rows in 6 bins" in caption(ax)


@pytest.mark.parametrize("output", [0, 1])
def test_names_of_classes_are_no_mathematics(output: int) -> None:
    net = long_class()
    for ax in (
        plot.path(interpret.path(net, rows()[0], rows()[1]), axes(), output=output),
        plot.partial_dependence(interpret.partial_dependence(net, rows(), 1), axes(), output=output),
        plot.ice(interpret.ice(net, rows(), 1), axes(), output=output),
    ):
        assert_legible(ax)
        named = [text for text in texts(ax) if net.outputs[output] in text.get_text()]
        assert named
        assert not any(text.get_parse_math() for text in named)


@pytest.mark.parametrize("width", [3.4, 6.8])
def test_of_many_levels_those_that_matter_most_are_drawn(width: float) -> None:
    few = interpret.partial_dependence(*categorical(), "job")
    r = np.random.default_rng(1)
    share = r.dirichlet(np.ones(60))
    found = replace(
        few, levels=tuple(f"City of {i}" for i in range(60)), effect=r.normal(size=(60, 1)), distribution=share
    )
    ax = plot.partial_dependence(found, axes(width, 3.4))
    assert_legible(ax)
    drawn = [label.get_text() for label in ax.get_yticklabels()]
    effect = found.effect[:, 0]
    matter = np.abs(effect - share @ effect) * share
    assert {int(name.split()[-1]) for name in drawn} == set(np.argsort(-matter)[: len(drawn)].tolist())
    assert 10 < len(drawn) < 60
    assert f"{len(drawn)} of 60 levels are shown" in caption(ax)
    tall = plot.partial_dependence(found)
    assert len(tall.get_yticklabels()) == 40
    assert_legible(tall)


def test_a_path_on_which_nothing_changes_has_axes_of_a_sensible_range() -> None:
    x = rows(1)
    above, below = plot.path(interpret.path(hostile(), x[0], x[0] * (1 + 1e-17)), axes()).child_axes
    assert below.get_ylim() == (-1, 1)
    assert np.ptp(above.get_ylim()) > 0.1
