"""Pictures of profiles and pairs: what they draw is what the result holds, and it can be read."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb

from drawing import all_axes, assert_legible, axes, caption, points, texts
from relucidate import plot
from relucidate.errors import ArgumentError
from relucidate.network import Network
from relucidate.plot.profiles import COLOURS
from relucidate.profiles import lowess, pairs, profile
from relucidate.unwrapping import Unwrapped, unwrap
from small_networks import network, random_network

mpl.use("Agg")

WIDTHS = (3.4, 6.8)
NAMES = ("age", "income_of_the_whole_household_last_year", "$x_1^2$ <b>\u202e", "debt", "L" * 300)


def named(net: Network) -> Network:
    d = net.n_features
    return net.with_names([*NAMES, *(f"a feature with the number {i}" for i in range(5, d))][:d])


def unwrapped(
    sizes: tuple[int, ...] = (5, 12, 8, 1), n: int = 700, link: Any = "logit", scale: Any = None
) -> Unwrapped:
    net = named(random_network(sizes, seed=3, link=link))
    x = np.random.default_rng(0).normal(size=(n, sizes[0]))
    scale = np.array([1, 1e5, 1e-4, 30, 1]) if scale is None and sizes[0] == 5 else 1 if scale is None else scale
    first = net.layers[0]
    net = replace(net, layers=(replace(first, weight=first.weight / scale), *net.layers[1:]))
    return unwrap(net, x * scale)


def linear(d: int = 5) -> Unwrapped:
    net = named(network([np.ones((1, d))], [np.zeros(1)]))
    return unwrap(net, np.random.default_rng(0).normal(size=(60, d)))


def discrete() -> Unwrapped:
    net = random_network((2, 9, 1), seed=1)
    x = np.random.default_rng(0).normal(size=(300, 2))
    x[:, 0] = np.arange(300) % 4
    return unwrap(net, x)


PICTURES: dict[str, Callable[[Axes | None], Axes]] = {
    "profile": lambda ax: plot.profile(profile(unwrapped(), 0), ax),
    "profile, large numbers": lambda ax: plot.profile(profile(unwrapped(), 1), ax),
    "profile, small numbers": lambda ax: plot.profile(profile(unwrapped(), 2, place="decision"), ax),
    "profile, long name": lambda ax: plot.profile(profile(unwrapped(), 4), ax),
    "profile, ten regions": lambda ax: plot.profile(profile(unwrapped(), 0, most=10), ax),
    "profile, one region": lambda ax: plot.profile(profile(linear(), 0), ax),
    "profile, few values": lambda ax: plot.profile(profile(discrete(), 0), ax),
    "profile, many features": lambda ax: plot.profile(profile(unwrapped((200, 30, 30, 3), link="softmax"), 7), ax),
    "pairs": lambda ax: plot.pairs(pairs(unwrapped()), ax),
    "pairs, intercept": lambda ax: plot.pairs(pairs(unwrapped(), [4, 2, 1], intercept=True), ax),
    "pairs, one": lambda ax: plot.pairs(pairs(unwrapped(), [3]), ax),
    "pairs, one region": lambda ax: plot.pairs(pairs(linear()), ax),
    "pairs, one row a region": lambda ax: plot.pairs(pairs(unwrapped((200, 30, 30, 3), link="softmax")), ax),
}


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PICTURES)
def test_no_text_lies_on_other_text_or_outside(name: str, width: float) -> None:
    assert_legible(PICTURES[name](axes(width, 5.6)))


@pytest.mark.parametrize("name", PICTURES)
def test_axes_given_are_those_returned_and_names_are_no_mathematics(name: str) -> None:
    import matplotlib.pyplot as plt

    ax, before = axes(), dict(mpl.rcParams)
    assert PICTURES[name](ax) is ax
    assert plt.get_fignums() == []
    assert dict(mpl.rcParams) == before
    assert ax.get_title(loc="left")
    for text in texts(ax):
        assert "\u202e" not in text.get_text()
        if "$" in text.get_text():
            assert not text.get_parse_math()
    made = PICTURES[name](None)
    assert plt.figure(plt.get_fignums()[0]) is made.get_figure()


# ---------------------------------------------------------------- profile


def panels(ax: Axes) -> list[Axes]:
    return list(all_axes(ax))[1:]


def coloured(panel: Axes) -> dict[str, Any]:
    """The line of each colour that is no dot."""
    return {to_hex(line.get_color()): line.get_xydata() for line in panel.lines if line.get_marker() == "None"}


@pytest.mark.parametrize("place", ["centred", "decision"])
def test_profile_shows_lines_coefficients_and_distributions(place: Any) -> None:
    u = unwrapped()
    p = profile(u, 0, place=place)
    ax = plot.profile(p, axes())
    lines, slopes, spread = panels(ax)
    assert len(p.region) == len(COLOURS) == 7
    for i, colour in enumerate(COLOURS):
        np.testing.assert_allclose(coloured(lines)[colour], np.column_stack([[p.low[i], p.high[i]], p.ends[i]]))
        np.testing.assert_allclose(coloured(slopes)[colour], [[p.low[i], p.slope[i]], [p.high[i], p.slope[i]]])
        (dots,) = [
            line.get_xydata() for line in lines.lines if line.get_marker() == "o" and to_hex(line.get_color()) == colour
        ]
        rows = p.rows[p.offset[i] : p.offset[i + 1]]
        np.testing.assert_allclose(dots, np.column_stack([rows, p.height(i)]))
    for panel, values in ((lines, p.band.y), (slopes, p.band.slope)):
        band = np.asarray(panel.collections[0].get_paths()[0].vertices)
        for i, v in enumerate(p.band.x):
            at = band[band[:, 0] == v]
            np.testing.assert_allclose([at[:, 1].min(), at[:, 1].max()], values[[0, 2], i])
        np.testing.assert_allclose(coloured(panel)["#666666"][:, 1].size, 2)  # the line at 0 comes last
        middle = [line for line in panel.lines if len(line.get_xydata()) == len(p.band.x)]
        np.testing.assert_allclose(middle[0].get_xydata(), np.column_stack([p.band.x, values[1]]))
    for i, (patch, share) in enumerate(zip(spread.patches, [p.everywhere, *p.within], strict=True)):
        data = patch.get_data()  # type: ignore[attr-defined]
        height = (i + 0.45 - data.values) / 0.85
        np.testing.assert_allclose(height, share / share.max(), atol=1e-12)
        np.testing.assert_array_equal(data.edges, p.edges)
        assert to_hex(patch.get_facecolor()) == ("#d9d9d9" if i == 0 else COLOURS[i - 1])
    labels = [t.get_text() for t in spread.get_yticklabels()]
    assert labels == ["all rows", *(f"region {r}" for r in p.region)]
    assert [t.get_text() for t in spread.texts] == ["100%", *(f"{s:.1%}" for s in p.share)]
    assert lines.get_xlim() == slopes.get_xlim() == spread.get_xlim()
    assert len({tuple(panel.get_xticks()) for panel in (lines, slopes, spread)}) == 1
    assert "log-odds" in lines.get_ylabel()
    assert lines.get_ylabel().startswith("centred effect" if place == "centred" else "decision")
    assert ax.get_title(loc="left") == f"age: {p.importance:.1%} of the importance"
    assert f"7 of {u.n_regions:,} regions are shown, the largest, with {p.shown_share:.1%} of the rows." in caption(ax)


def test_profile_beyond_the_colours_is_dashed() -> None:
    ax = plot.profile(profile(unwrapped(), 0, most=8), axes())
    blue = [
        line for line in panels(ax)[1].lines if to_hex(line.get_color()) == COLOURS[0] and line.get_marker() == "None"
    ]
    assert sorted(line.get_linestyle() for line in blue) == ["-", "--"]


def test_profile_says_all_nothing_and_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "The only region is shown." in caption(plot.profile(profile(linear(), 0), axes()))
    constant = unwrap(network([np.zeros((1, 2))], [np.ones(1)]), np.random.default_rng(0).normal(size=(9, 2)))
    assert plot.profile(profile(constant, 0), axes()).get_title(loc="left") == "x0: nothing has an effect"
    monkeypatch.setattr("relucidate.sampling.MAX_ROWS", 200)
    assert "(on a sample of 200 of 700 rows)" in caption(plot.profile(profile(unwrapped(), 0), axes()))


def test_profile_of_one_row_a_region_has_a_dot_for_a_coefficient_and_no_panel_of_flat_effects() -> None:
    u = unwrapped((200, 30, 30, 3), link="softmax")
    p = profile(u, 7)
    ax = plot.profile(p, axes())
    slopes, spread = panels(ax)
    assert points(slopes) == [(p.low[i], p.slope[i]) for i in reversed(range(7))]
    assert [t.get_text() for t in spread.texts][1:] == ["0.1%"] * 7
    assert "with 1.0% of the rows" in caption(ax)
    assert "Decisions of y0. In each of them the feature has one value" in caption(ax)
    assert len(panels(plot.profile(profile(u, 7, place="decision"), axes()))) == 3


@pytest.mark.parametrize(("width", "height"), [(3.4, 3.4), (6.8, 5.6)])
def test_profile_says_the_unit_of_coefficients_and_breaks_no_word(width: float, height: float) -> None:
    ax = plot.profile(profile(unwrapped(), 3), axes(width, height))
    assert_legible(ax)
    said = " ".join(panels(ax)[1].get_ylabel().split())
    assert said in {"coefficient (log-odds per unit of debt)", "coefficient (log-odds per unit)", "coef. per unit"}
    assert width < 5 or said == "coefficient (log-odds per unit of debt)"
    assert "Coefficients: log-odds per unit of debt." in caption(ax)


def test_a_network_that_says_nothing_has_axes_of_a_sensible_range() -> None:
    dead = unwrap(network([np.zeros((1, 2))], [np.ones(1)]), np.random.default_rng(0).normal(size=(9, 2)))
    lines, slopes, _ = panels(plot.profile(profile(dead, 0), axes()))
    assert lines.get_ylim() == slopes.get_ylim() == (-1, 1)
    for cell in panels(plot.pairs(pairs(dead), axes())):
        assert np.ptp(cell.get_ylim()) > 1


# ---------------------------------------------------------------- pairs


def test_pairs_shows_regions_lines_and_correlations() -> None:
    u = unwrapped()
    p = pairs(u, [0, 3, 1], intercept=True)
    ax = plot.pairs(p, axes(6.8, 7))
    cells = panels(ax)
    assert len(cells) == 12
    strongest = np.unravel_index(p.strength[:3].argmax(), (3, 3))
    for a in range(4):
        for c in range(3):
            cell = cells[3 * a + c]
            (dots,) = cell.collections
            np.testing.assert_array_equal(dots.get_offsets(), np.column_stack([p.mean[::-1, c], p.coef[::-1, a]]))
            area, dark = dots.get_sizes(), dots.get_facecolor()[:, 3]  # type: ignore[attr-defined]
            order = np.argsort(p.share[::-1], kind="stable")
            assert (np.diff(area[order]) >= 0).all()
            assert (np.diff(dark[order]) >= 0).all()
            assert area[-1] == area.max() > 2 * area[0]
            (line,) = [one.get_xydata() for one in cell.lines if to_hex(one.get_color()) == "#d55e00"]
            if a == c:
                smooth = lowess(p.mean[:, c], p.coef[:, c], p.share, p.at[c])
                np.testing.assert_allclose(line, np.column_stack([p.at[c], smooth]), atol=1e-9 * np.abs(smooth).max())
            else:
                slope, constant = np.polyfit(p.mean[:, c], p.coef[:, a], 1, w=np.sqrt(p.share))
                np.testing.assert_allclose(line[:, 1], slope * line[:, 0] + constant, rtol=1e-6, atol=1e-9)
            assert float(cell.texts[0].get_text().replace("−", "-")) == pytest.approx(p.correlation[a, c], abs=0.0051)
            assert cell.get_ylim() == cells[3 * a].get_ylim()
            assert cell.get_xlim() == cells[c].get_xlim()
            assert cell.get_ylim()[0] < 0 < cell.get_ylim()[1] or a == 3
            tint = 1 - to_rgb(cell.get_facecolor())[2]
            expected = 0 if a == 3 else 0.45 * p.strength[a, c] / p.strength[strongest]
            assert tint == pytest.approx(expected, abs=1e-6)
    assert cells[0].get_ylabel() == "coef. of\nage"
    assert cells[9].get_ylabel() == "intercept"
    assert cells[10].get_xlabel() == "mean of\ndebt"
    assert f"all {u.n_regions:,} regions." in caption(ax)
    assert "Coefficients: decision (log-odds) per unit of the feature." in caption(ax)


def test_pairs_labels_two_ticks_at_least() -> None:
    for u in (unwrapped(), unwrapped((200, 30, 30, 3), link="softmax")):
        cells = panels(plot.pairs(pairs(u), axes(3.4, 5)))
        assert min(len(cells[i].get_yticks()) for i in (0, 4, 8, 12)) >= 2
        assert min(len(cells[i].get_xticks()) for i in (12, 13, 14, 15)) >= 2


def test_pairs_writes_large_and_small_numbers_short() -> None:
    from relucidate.plot.parts import compact

    values = (250000, 0, -0.5, 1500, 12000, -3e6, 2e9, 2.5e-7, 0.05)
    assert [compact(v) for v in values] == ["250k", "0", "−0.5", "1500", "12k", "−3M", "2G", "2.5e−7", "0.05"]


def test_pairs_says_what_it_leaves_out_and_refuses_too_many() -> None:
    net = random_network((9, 12, 1), seed=3)
    x = np.random.default_rng(0).normal(size=(200, 9))
    weight = np.r_[np.ones(100), np.zeros(100)]
    u = unwrap(net, x, sample_weight=weight)
    p = pairs(u)
    assert len(p.region) < u.n_regions
    expected = f"{len(p.region):,} of {u.n_regions:,}; the others hold no row that counts."
    assert expected in caption(plot.pairs(p, axes()))
    with pytest.raises(ArgumentError, match="There are 9 features; a matrix of more than 8 cannot be read"):
        plot.pairs(pairs(u, range(9)), axes())
