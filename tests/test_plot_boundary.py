"""Pictures of counterfactuals and distances: bars and curves are the result's numbers."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from drawing import all_axes, assert_legible, axes, caption, texts
from relucidate import plot
from relucidate.counterfactuals import BoundaryDistances, Search, boundary
from relucidate.errors import ArgumentError
from relucidate.unwrapping import unwrap
from small_networks import random_network, rows_for

mpl.use("Agg")

WIDTHS = (3.4, 6.8)
NAMES = ("age", "income_of_the_whole_household_last_year", "$x_1^2$ <b>\u202e", "debt", "L" * 300)


@cache
def measured(
    sizes: tuple[int, ...] = (5, 8, 4, 1),
    link: Any = "logit",
    classes: Any = (),
    n: int = 40,
    budget: int = 25,
    frozen: tuple[int, ...] = (),
) -> BoundaryDistances:
    d = sizes[0]
    net = random_network(sizes, seed=3, link=link)
    names = [*NAMES, *(f"the feature number {i}" for i in range(5, d))][:d]
    net = replace(net.with_names(names), classes=classes, outputs=())
    x = np.random.default_rng(0).normal(size=(n, d)) * np.where(np.arange(d) % 3 == 1, 1e3, 1)
    first = net.layers[0]
    first = replace(first, weight=np.asarray(first.weight) / np.where(np.arange(d) % 3 == 1, 1e3, 1))
    net = replace(net, layers=(first, *net.layers[1:]))
    return boundary(unwrap(net, x), x, budget=budget, frozen=frozen)


CLASSES = ("no", "maybe $1$", "y" * 90)

PICTURES: dict[str, Callable[[Axes | None], Axes]] = {
    "one of five features": lambda ax: plot.boundary(measured(), ax, row=2),
    "one of 200 features": lambda ax: plot.boundary(measured((200, 20, 1), n=3, budget=3), ax, row=1),
    "one feature": lambda ax: plot.boundary(measured((1, 4, 1)), ax, row=0),
    "one without": lambda ax: plot.boundary(measured(frozen=(0, 1, 2, 3, 4)), ax, row=0),
    "one of a softmax": lambda ax: plot.boundary(measured((5, 8, 3), "softmax", CLASSES), ax, row=3),
    "many": lambda ax: plot.boundary(measured(), ax),
    "many without": lambda ax: plot.boundary(measured(frozen=(0, 1, 2, 3, 4)), ax),
    "many of a softmax": lambda ax: plot.boundary(measured((5, 8, 3), "softmax", CLASSES), ax),
    "thousands": lambda ax: plot.boundary(measured((2, 20, 40), "softmax", n=1000, budget=0), ax),
}


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PICTURES)
def test_no_text_lies_on_other_text_or_outside(name: str, width: float) -> None:
    assert_legible(PICTURES[name](axes(width, 9.0 if name in ("many of a softmax", "thousands") else 5.0)))


@pytest.mark.parametrize("name", PICTURES)
def test_axes_given_are_those_returned_and_names_are_no_mathematics(name: str) -> None:
    import matplotlib.pyplot as plt

    ax, before = axes(), dict(mpl.rcParams)
    assert PICTURES[name](ax) is ax
    assert plt.get_fignums() == []
    assert dict(mpl.rcParams) == before
    assert ax.get_title(loc="left")
    assert any("(standard deviations" in part.get_xlabel().replace("\n", " ") for part in all_axes(ax))
    for text in texts(ax):
        assert "\u202e" not in text.get_text()
        if "$" in text.get_text():
            assert not text.get_parse_math()
    made = PICTURES[name](None)
    assert plt.figure(plt.get_fignums()[0]) is made.get_figure()


def test_bars_are_the_changes() -> None:
    r = measured()
    found = np.flatnonzero(np.isfinite(r.distance))
    for i in (int(found[0]), int(found[-1])):
        ax = plot.boundary(r, axes(), row=i)
        changes = r.changes(i)
        assert len(ax.patches) == len(changes) > 1
        for p, (j, words) in zip(ax.patches, changes, strict=True):
            change = (r.counterfactual[i, j] - r.x[i, j]) / r.spread[j]
            assert (p.get_x(), p.get_width()) == (0, pytest.approx(change))  # type: ignore[attr-defined]
            assert to_hex(p.get_facecolor()) == ("#0072b2" if change >= 0 else "#d55e00")
            assert words in [t.get_text() for t in ax.texts]
        widths = [abs(p.get_width()) for p in ax.patches]  # type: ignore[attr-defined]
        assert widths == sorted(widths, reverse=True)
        labels = [t.get_text() for t in ax.get_yticklabels()]
        assert [label[:4] for label in labels] == [r.network.feature_names[j][:4] for j, _ in changes]
        assert f"{r.distance[i]:.3g} standard deviations away (norm 2)" in caption(ax)
        assert r.status[i].value in caption(ax)
        assert ("Proved" in caption(ax)) == (r.status[i] is not Search.FOUND)
    few = plot.boundary(r, axes(), row=int(found[0]), most=2)
    assert len(few.patches) == 2
    assert f"Shown are 2 of {len(r.changes(int(found[0])))} changes" in caption(few)
    without = plot.boundary(measured(frozen=(0, 1, 2, 3, 4)), axes(), row=0)
    assert len(without.patches) == 0
    assert "none found" in [t.get_text() for t in without.texts]
    assert Search.NONE.value in caption(without)


def test_without_a_sample_changes_are_in_units_of_the_scale() -> None:
    net = random_network((2, 4, 1), seed=3)
    r = boundary(net, [[0.3, 0.2]], scale=[2.0, 5.0], level=0)
    ax = plot.boundary(r, axes())  # the only row
    assert ax.get_xlabel() == "change (units of the scale)"
    drawn = [p.get_width() for p in ax.patches]  # type: ignore[attr-defined]
    move = (r.counterfactual[0] - r.x[0]) / [2, 5]
    np.testing.assert_allclose(drawn, move[[j for j, _ in r.changes(0)]])


@pytest.mark.parametrize("name", ["logit", "softmax"])
def test_curves_are_the_shares_of_nearer_rows(name: str) -> None:
    r = measured() if name == "logit" else measured((5, 8, 3), "softmax", CLASSES)
    ax = plot.boundary(r, axes())
    unproved = np.array([s in (Search.BUDGET, Search.UNDECIDED) for s in r.status])
    sides = np.array([r.side_name(i) for i in range(len(r))])
    panels = ax.child_axes
    assert len(panels) == len(np.unique(sides))
    seen = 0
    for panel in panels:
        title = panel.get_title(loc="left")
        [side] = [s for s in np.unique(sides) if title.startswith(f"decided {s[:12]}")]
        mine = sides == side
        seen += int(mine.sum())
        assert f": {mine.sum()} row" in title
        wanted = {"-": r.distance_facet, "--": r.distance, ":": np.minimum(r.lower_bound, r.distance)}
        assert len(panel.lines) == (3 if unproved[mine].any() else 2)
        for line in panel.lines:
            values = wanted[str(line.get_linestyle())][mine]
            x, y = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
            for at in np.linspace(0.01, float(x[-1]) * 0.99, 23):  # the step in force there
                assert y[np.searchsorted(x, at, side="right") - 1] == pytest.approx((values <= at).mean())
    assert seen == len(r)
    assert (f"{unproved.sum()} of {len(r)} rows are not proved" in caption(ax)) == bool(unproved.any())


@cache
def of_regression(n: int) -> BoundaryDistances:
    net = random_network((3, 7, 1), seed=5)
    return boundary(unwrap(net, rows_for(net, 60)), rows_for(net, n))


@pytest.mark.parametrize("n", [2, 3, 12, 19])
def test_no_row_of_few_is_cut_off(n: int) -> None:
    r = measured(n=40)
    few = np.argsort(-r.distance_facet)[:n]
    ax = plot.boundary(taken(r, few), axes())
    assert "beyond" not in caption(ax)
    finite = [v[few][np.isfinite(v[few])] for v in (r.distance_facet, r.distance)]
    for panel in ax.child_axes:
        assert panel.get_xlim()[1] > max(float(v.max()) for v in finite)  # to the right of the last step
        for line in panel.lines:
            assert np.asarray(line.get_xdata())[-1] == panel.get_xlim()[1]


def taken(r: BoundaryDistances, rows: Any) -> BoundaryDistances:
    """The same result of some of its rows."""
    n = len(r)
    arrays = {k: v[rows] for k, v in vars(r).items() if isinstance(v, np.ndarray) and len(v) == n and k != "scale"}
    return replace(r, **arrays, status=tuple(r.status[i] for i in rows))


def test_one_row_is_not_many() -> None:
    r = measured()
    far = replace(r, distance_facet=np.where(np.arange(40) == 7, 1e3, 0.01), distance=np.full(40, 0.02))
    words = caption(plot.boundary(far, axes()))
    assert "1 row has its nearest facet beyond" in words
    assert "rows" not in words.split("1 row has")[1]
    more = replace(far, distance=np.where(np.arange(40) < 2, 1e3, 0.02), status=(Search.BUDGET, *[Search.FOUND] * 39))
    words = caption(plot.boundary(more, axes()))
    assert "2 rows have their nearest other decision beyond" in words
    assert "1 of 40 rows is not proved" in words
    alone = replace(far, status=(Search.NONE, *[Search.FOUND] * 39))
    assert "1 of 40 rows can reach no other decision" in caption(plot.boundary(alone, axes()))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("unproved", [True, False])
def test_the_curves_have_a_legend(width: float, unproved: bool) -> None:
    r = measured()
    if not unproved:
        r = replace(r, status=(Search.FOUND,) * len(r))
    ax = plot.boundary(r, axes(width, 5.0))
    legends = [part.get_legend() for part in all_axes(ax) if part.get_legend() is not None]
    assert len(legends) == 1
    key = {t.get_text(): h for t, h in zip(legends[0].get_texts(), legends[0].legend_handles, strict=True)}
    assert list(key) == ["nearest facet", "nearest other decision", "least proved"][: 2 + unproved]
    drawn = {(to_hex(line.get_color()), str(line.get_linestyle())) for p in ax.child_axes for line in p.lines}
    assert {(to_hex(h.get_color()), str(h.get_linestyle())) for h in key.values()} == drawn  # type: ignore[union-attr]
    assert_legible(ax)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("n", [1, 12])
def test_a_regression_without_a_level_shows_facets_only(n: int, width: float) -> None:
    r = of_regression(n)
    ax = plot.boundary(r, axes(width, 5.0))
    assert_legible(ax)
    assert Search.UNASKED.value in caption(ax)
    assert "decided" not in caption(ax).replace(Search.UNASKED.value, "")
    if n == 1:
        assert not ax.patches
        assert not ax.lines
        assert f"{r.distance_facet[0]:.3g} standard deviations away" in caption(ax)
        assert "no level was given" in [t.get_text() for t in ax.texts]
        assert not ax.axison  # no scale of changes that there are none of
        return
    [panel] = [part for part in ax.child_axes if part.lines]
    assert panel.get_title(loc="left") == "12 rows"
    [line] = panel.lines
    at, share = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
    np.testing.assert_array_equal(at[1:-1], np.sort(r.distance_facet[np.isfinite(r.distance_facet)]))
    assert share[-1] == np.isfinite(r.distance_facet).mean()


def test_what_is_left_out_is_told() -> None:
    r = measured((2, 20, 40), "softmax", n=1000, budget=0)
    ax = plot.boundary(r, axes())
    names, counts = np.unique([r.side_name(i) for i in range(len(r))], return_counts=True)
    assert len(names) > 6
    assert len(ax.child_axes) == 6
    shown = np.sort(counts)[::-1][:6].sum()
    assert f"Shown are the 6 of {len(names)} decisions with the most rows, {shown:,} of 1,000." in caption(ax)
    beyond = (r.distance_facet > ax.child_axes[0].get_xlim()[1]).sum()
    assert f"{beyond:,} rows have their nearest facet beyond" in caption(ax)
    none = plot.boundary(measured(frozen=(0, 1, 2, 3, 4)), axes())
    assert "40 of 40 rows can reach no other decision." in caption(none)


def test_arguments_that_make_no_sense() -> None:
    with pytest.raises(ArgumentError, match=r"most is 0; expected a whole number from 1"):
        plot.boundary(measured(), axes(), row=0, most=0)
    with pytest.raises(ArgumentError, match=r"row is 99; there are 40 rows"):
        plot.boundary(measured(), axes(), row=99)
