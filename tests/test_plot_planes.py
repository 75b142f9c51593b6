"""Pictures of a network on a plane: that they show the polygons, lines and rows of the result, and can be read."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection, PolyCollection
from matplotlib.colors import to_hex, to_rgba

import relucidate as rl
from drawing import all_axes, assert_legible, axes, caption, texts
from relucidate import plot
from relucidate.errors import ArgumentError
from relucidate.regions import Plane, Slice2D, slice2d
from small_networks import SPECIMENS, network, random_network

mpl.use("Agg")

WIDTHS = (3.4, 6.8)
HOSTILE = ("$x_1^2$ <b>\u202e", "L" * 300)


@cache
def table(n: int = 400, names: tuple[str, str] = ("x0", "x1"), link: str = "logit") -> rl.Unwrapped:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 2))
    outputs = {"logit": 1, "softmax": 4, "identity": 2}[link]
    net = random_network([2, 16, 16, outputs], seed=2, link=link).with_names(names)
    y = {"logit": (x[:, 0] > 0).astype(int), "softmax": rng.integers(4, size=n), "identity": rng.normal(size=(n, 2))}
    return rl.unwrap(net, x, y[link])


@cache
def wide() -> rl.Unwrapped:
    """Of 200 features with long names."""
    rng = np.random.default_rng(1)
    net = random_network([200, 8, 1], seed=3, link="logit").with_names(
        [f"measurement number {i} of the day" for i in range(200)]
    )
    x = rng.normal(size=(3000, 200)) @ (np.eye(200) + rng.normal(size=(200, 200)) / 10)
    return rl.unwrap(net, x, rng.integers(2, size=3000))


@cache
def many(budget: int = 100_000) -> Slice2D:
    return slice2d(random_network([2, 60, 60, 60, 1], seed=3, link="logit"), box=(-2, 2), budget=budget)


@cache
def few() -> Slice2D:
    return slice2d(SPECIMENS["xor"], box=(-1, 1), level=0.25)


@cache
def undecided() -> Slice2D:
    return slice2d(random_network([2, 40, 40, 40, 1], seed=4), box=(-1e12, 1e12))


def one_named(i: int = 3) -> Callable[[Axes | None], Axes]:
    return lambda ax: plot.region(slice2d(table(names=HOSTILE)), i, ax)


PICTURES: dict[str, Callable[[Axes | None], Axes]] = {
    "three regions": lambda ax: plot.slice2d(few(), ax),
    "decision": lambda ax: plot.slice2d(slice2d(table()), ax),
    "prediction": lambda ax: plot.slice2d(slice2d(table()), ax, colour="prediction"),
    "count": lambda ax: plot.slice2d(slice2d(table()), ax, colour="count"),
    "region": lambda ax: plot.slice2d(slice2d(table()), ax, colour="region"),
    "region without a table": lambda ax: plot.slice2d(few(), ax, colour="region"),
    "classes": lambda ax: plot.slice2d(slice2d(table(link="softmax")), ax),
    "probability of a class": lambda ax: plot.slice2d(
        slice2d(table(link="softmax")), ax, colour="prediction", output=2
    ),
    "regression": lambda ax: plot.slice2d(slice2d(table(link="identity")), ax, output=1),
    "regression with a level": lambda ax: plot.slice2d(slice2d(table(link="identity"), level=0.1), ax, output="y1"),
    "many": lambda ax: plot.slice2d(many(), ax, points=False),
    "unfinished": lambda ax: plot.slice2d(many(1000), ax),
    "undecided": lambda ax: plot.slice2d(undecided(), ax),
    "hostile names": lambda ax: plot.slice2d(slice2d(table(names=HOSTILE)), ax),
    "principal": lambda ax: plot.slice2d(slice2d(wide()), ax, colour="count"),
    "two of 200": lambda ax: plot.slice2d(slice2d(wide(), (0, 199)), ax, colour="prediction"),
    "lines": lambda ax: plot.local_lines(slice2d(table()), ax),
    "lines of classes": lambda ax: plot.local_lines(slice2d(table(link="softmax")), ax),
    "lines of many": lambda ax: plot.local_lines(many(), ax),
    "one region": lambda ax: plot.region(slice2d(table()), 3, ax),
    "one region at a point": lambda ax: plot.region(many(), [0.1, 0.2], ax),
    "one region, hostile names": one_named(),
    "one region of 200 features": lambda ax: plot.region(slice2d(wide()), 2, ax),
    "one region with many facets": lambda ax: plot.region(gon(), [0.0, 0.0], ax),
}


@cache
def gon(n: int = 18) -> Slice2D:
    """A polygon with many sides in the middle."""
    angle = np.arange(n) * 2 * np.pi / n + 0.1
    return slice2d(
        network([np.column_stack([np.cos(angle), np.sin(angle)]), np.ones((1, n))], [np.full(n, -0.5), np.zeros(1)]),
        box=(-1, 1),
    )


def drawn(ax: Axes, gid: str, kind: type = object) -> Any:
    return [c for c in ax.collections if c.get_gid() == gid and isinstance(c, kind)]


# ---------------------------------------------------------------- laws of every picture


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PICTURES)
def test_no_text_lies_on_other_text_or_outside(name: str, width: float) -> None:
    assert_legible(PICTURES[name](axes(width, 7.5)))


@pytest.mark.parametrize("name", PICTURES)
def test_axes_given_are_those_returned_and_names_are_no_mathematics(name: str) -> None:
    before = dict(mpl.rcParams)
    ax = axes()
    assert PICTURES[name](ax) is ax
    assert dict(mpl.rcParams) == before
    assert ax.get_title(loc="left")
    assert ax.get_xlabel()
    assert ax.get_ylabel()
    for text in texts(ax):
        assert "\u202e" not in text.get_text()
        if "$" in text.get_text() and "mathdefault" not in text.get_text():
            assert not text.get_parse_math()


def test_a_new_figure_is_made_and_fits() -> None:
    import matplotlib.pyplot as plt

    for name in ("decision", "region", "lines", "one region"):
        assert_legible(PICTURES[name](None))
    plt.close("all")


# ---------------------------------------------------------------- what each shows


@pytest.mark.parametrize("result", [few, lambda: slice2d(table()), many])
def test_polygons_are_those_of_the_result(result: Callable[[], Slice2D]) -> None:
    found = result()
    ax = plot.slice2d(found, axes())
    (polygons,) = drawn(ax, "regions", PolyCollection)
    paths = polygons.get_paths()
    assert len(paths) == len(found)
    for i in range(0, len(found), 1 + len(found) // 200):
        assert np.array_equal(paths[i].vertices[:-1], found.polygon(i))  # closed by the first
    assert np.array_equal([ax.get_xlim(), ax.get_ylim()], found.box)
    (line,) = drawn(ax, "boundary", LineCollection)
    assert np.array_equal(line.get_segments(), found.boundary.segment)
    assert f"{len(found):,} regions" in caption(ax)
    assert f"decision = {found.level:g}" in caption(ax)


def test_edges_get_thinner_with_their_number() -> None:
    widths = [drawn(plot.slice2d(found, axes()), "regions")[0].get_linewidths()[0] for found in (few(), many())]
    assert widths[0] == 0.8
    assert widths[1] < 0.15


def test_colours_of_decisions_are_centred_on_the_level() -> None:
    found = slice2d(table(), level=0.5)
    ax = plot.slice2d(found, axes())
    (polygons,) = drawn(ax, "regions")
    colours = polygons.get_facecolors()
    bar = next(a for a in all_axes(ax) if a is not ax)
    low, high = bar.get_ylim()
    assert low + high == pytest.approx(1)
    map_ = mpl.colormaps["PuOr"]
    share = (found.decision[:, 0] - low) / (high - low)
    np.testing.assert_allclose(colours, map_(share), atol=1e-9)
    assert bar.get_ylabel() == "decision (log-odds)"
    chance = plot.slice2d(found, axes(), colour="prediction")
    np.testing.assert_allclose(drawn(chance, "regions")[0].get_facecolors(), map_(found.prediction[:, 0]), atol=1e-9)
    assert next(a for a in all_axes(chance) if a is not chance).get_ylabel() == "probability"


def test_a_regression_without_a_level_has_a_scale_and_no_boundary() -> None:
    found = slice2d(table(link="identity"))
    ax = plot.slice2d(found, axes(), output=1)
    assert not drawn(ax, "boundary")
    bar = next(a for a in all_axes(ax) if a is not ax)
    low, high = bar.get_ylim()
    np.testing.assert_allclose([low, high], np.quantile(found.decision[:, 1], [0.01, 0.99]))
    assert bar.get_ylabel() == "decision of y1"
    level = plot.slice2d(slice2d(table(link="identity"), level=0.1), axes(), output=1)
    mine = slice2d(table(link="identity"), level=0.1).boundary
    assert np.array_equal(drawn(level, "boundary")[0].get_segments(), mine.segment[mine.between[:, 0] == 1])


def test_classes_have_colours_paler_where_they_are_less_certain() -> None:
    found = slice2d(table(link="softmax"))
    ax = plot.slice2d(found, axes())
    colours = drawn(ax, "regions")[0].get_facecolors()[:, :3]
    top = found.decision.argmax(axis=1)
    certain = found.prediction.max(axis=1)
    for k in set(top.tolist()):
        mine = top == k
        direction = 1 - colours[mine]
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        assert np.ptp(direction, axis=0).max() < 1e-6  # one colour, mixed with white
        order = np.argsort(certain[mine])
        assert (np.diff(colours[mine][order].sum(axis=1)) <= 1e-12).all()
    bar = next(a for a in all_axes(ax) if a is not ax)
    assert [t.get_text() for t in bar.get_yticklabels()] == list(found.network.outputs)
    assert "the class on top changes" in caption(ax)


def test_counts_are_logarithmic_and_regions_without_rows_grey() -> None:
    found = slice2d(table())
    ax = plot.slice2d(found, axes(), colour="count")
    colours = drawn(ax, "regions")[0].get_facecolors()
    assert found.count is not None
    grey = [to_hex(c) == "#f2f2f2" for c in colours]
    assert grey == (found.count == 0).tolist()
    scale = np.log(np.maximum(found.count, 1)) / np.log(found.count.max())
    np.testing.assert_allclose(colours[found.count > 0], mpl.colormaps["YlGnBu"](scale[found.count > 0]), atol=1e-9)
    assert f"{(found.count > 0).sum():,} hold rows" in caption(ax)
    with pytest.raises(ArgumentError, match="There are no counts"):
        plot.slice2d(few(), axes(), colour="count")


@pytest.mark.parametrize("result", [few, many])
def test_neighbours_have_different_colours(result: Callable[[], Slice2D]) -> None:
    found = result()
    colours = drawn(plot.slice2d(found, axes(), colour="region"), "regions")[0].get_facecolors()
    pairs = found.edges.polygon[found.edges.polygon.min(axis=1) >= 0]
    assert (np.abs(colours[pairs[:, 0]] - colours[pairs[:, 1]]).max(axis=1) > 0.1).all()


def test_dots_are_rows_dark_where_the_response_is_one() -> None:
    found = slice2d(table())
    ax = plot.slice2d(found, axes())
    light, dark = drawn(ax, "rows", PathCollection)
    assert found.dots is not None
    assert found.dots.label is not None
    assert np.array_equal(dark.get_offsets(), found.dots.at[found.dots.label == 1])
    assert np.array_equal(light.get_offsets(), found.dots.at[found.dots.label == 0])
    assert np.allclose(dark.get_facecolors()[0], to_rgba("#222222"))
    assert "Dots: 400 of 400 rows, dark where the response is 1" in caption(ax)
    assert not drawn(plot.slice2d(found, axes(), points=False), "rows")
    narrow = plot.slice2d(slice2d(table(5000)), axes(3.4, 3.0))
    n = sum(len(c.get_offsets()) for c in drawn(narrow, "rows"))
    assert n == int(50 * 3.4 * 3.0)
    assert f"Dots: {n:,} of 5,000 rows" in caption(narrow)
    assert "projected on the plane" in caption(plot.slice2d(slice2d(wide()), axes()))


def test_what_is_unfinished_or_undecided_is_said_and_drawn() -> None:
    found = many(1000)
    ax = plot.slice2d(found, axes())
    (rest,) = drawn(ax, "unfinished")
    assert len(rest.get_paths()) == len(found.rest_start) - 1
    assert f"hatched: {len(found.rest_start) - 1:,} polygons beyond the budget" in caption(ax)
    assert "too narrow to be decided" in caption(plot.slice2d(undecided(), axes()))


def test_axes_have_one_scale_where_they_share_a_unit() -> None:
    assert plot.slice2d(slice2d(table()), axes()).get_aspect() == "auto"  # features with names, in their own units
    assert plot.slice2d(few(), axes()).get_aspect() == 1
    assert plot.slice2d(slice2d(wide()), axes()).get_aspect() == 1
    long = slice2d(SPECIMENS["xor"], box=((-10, 10), (-1, 1)))
    assert plot.slice2d(long, axes()).get_aspect() == "auto"


def test_lines_are_those_of_the_local_models_stronger_with_more_rows() -> None:
    found = slice2d(table())
    ax = plot.local_lines(found, axes())
    (lines,) = drawn(ax, "lines", LineCollection)
    expected = found.local_lines()
    assert np.array_equal(lines.get_segments(), expected.segment)
    alpha = lines.get_colors()[:, 3]
    order = np.argsort(expected.count, kind="stable")
    assert (np.diff(alpha[order]) >= -1e-12).all()
    assert alpha.max() == pytest.approx(0.9)
    assert np.array_equal(drawn(ax, "boundary")[0].get_segments(), found.boundary.segment)
    assert f"lines of {len(expected.segment):,} local linear models" in caption(ax)
    some = found.local_lines(table().sample.x[:40])
    assert np.array_equal(drawn(plot.local_lines(found, axes(), lines=some), "lines")[0].get_segments(), some.segment)
    with pytest.raises(ArgumentError, match="call slice2d with a `level`"):
        plot.local_lines(slice2d(table(link="identity")), axes())


def test_one_region_has_its_facets_numbered_and_named() -> None:
    found = slice2d(table())
    i = 3
    ax = plot.region(found, i, axes())
    facets = found.facets(i)
    (sides,) = drawn(ax, "facets", LineCollection)
    assert np.array_equal(sides.get_segments(), [f.ends for f in facets])
    (fill,) = drawn(ax, "region", PolyCollection)
    assert np.array_equal(fill.get_paths()[0].vertices[:-1], found.polygon(i))
    (near,) = drawn(ax, "neighbours", PolyCollection)
    assert len(near.get_paths()) == len({f.neighbour for f in facets if f.neighbour >= 0})
    numbers = [t.get_text() for t in ax.texts[:-1]]
    assert numbers == [str(n + 1) for n in range(len(facets))]
    said = caption(ax)
    for number, facet in enumerate(facets, 1):
        if facet.neighbour >= 0:
            state = "on" if facet.switches[0][2] else "off"
            assert f"{number} {facet.name} {state} beyond, in polygon {facet.neighbour}; here {facet.words}" in said
    assert f"Region {found.region[i]} of the table" in said  # type: ignore[index]
    (others,) = drawn(ax, "other neurons", LineCollection)
    normal, constant = found.lines(i)
    for segment in others.get_segments():
        value = np.abs(normal @ segment.T + constant[:, None]).max(axis=1)
        assert value.min() < 1e-9
    assert plot.region(found, found.witness[i], axes()).get_title(loc="left") == f"Polygon 3 of {len(found)}"


def test_more_facets_than_have_room_are_counted() -> None:
    ax = plot.region(gon(), [0.0, 0.0], axes())
    assert "10 more facets are not numbered" in caption(ax)
    assert len(drawn(ax, "facets")[0].get_segments()) == 18


REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: plot.slice2d(table()), "A Unwrapped cannot be drawn here"),
    (lambda: plot.local_lines(3), "A int cannot be drawn here"),
    (lambda: plot.region(3, 0), "A int cannot be drawn here"),
    (lambda: plot.slice2d(few(), axes(), colour="depth"), "colour is 'depth'"),
    (lambda: plot.slice2d(few(), axes(), output=3), "output is 3"),
    (lambda: plot.region(few(), 3), "There is no polygon 3: expected 0 to 2"),
    (lambda: plot.region(few(), [5.0, 0.0]), "There is no polygon at \\[5.0, 0.0\\]"),
    (lambda: plot.region(few(), "first"), "which is 'first'"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_refusals_say_what_was_expected(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        call()


def test_a_plane_without_a_name_is_drawn() -> None:
    found = slice2d(random_network([3, 6, 1], link="logit"), Plane(*np.eye(3)), (-1, 1))
    assert plot.slice2d(found, axes()).get_xlabel() == "s"
    assert plot.slice2d(replace(found, level=1e9), axes()).get_title(loc="left")
    assert "nowhere in the box is decision = 1e+09" in caption(plot.slice2d(replace(found, level=1e9), axes())).lower()
