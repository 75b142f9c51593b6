"""Pictures of local linear models: what is drawn is what the results hold, what is left out is said, and all can be read."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle
from matplotlib.quiver import Quiver

import relucidate as rl
from drawing import all_axes, assert_legible, axes, caption, texts
from relucidate import interpret, plot, simplify
from relucidate.errors import ArgumentError
from relucidate.features import Feature, Features
from small_networks import SPECIMENS, random_network, rows_for

mpl.use("Agg")

BLUE, VERMILION = "#0072b2", "#d55e00"
NAMES = ("age", "income_of_the_whole_household_last_year", "$x_1^2$ <b>\u202e", "debt", "L" * 300)


@cache
def few() -> rl.Unwrapped:
    """Five features with hostile names, a handful of regions, with a response."""
    scale = np.array([1, 1e-4, 30, 1e5, 1])
    net = random_network([5, 2, 1], seed=3, link="logit").with_names(NAMES)
    first, last = net.layers
    net = replace(net, layers=(replace(first, weight=first.weight / scale), last))
    x = np.random.default_rng(0).normal(size=(500, 5)) * scale
    return rl.unwrap(net, x, (x[:, 0] > 0).astype(int))


@cache
def many() -> rl.Unwrapped:
    """200 features with long names, nearly a region per row, without a response."""
    net = random_network([200, 12, 12, 1], seed=1)
    net = net.with_names([f"a feature that has a rather long name {i}" for i in range(200)])
    return rl.unwrap(net, np.random.default_rng(0).normal(size=(1500, 200)))


@cache
def classes() -> rl.Unwrapped:
    net = replace(SPECIMENS["five classes"], outputs=tuple(f"a class with a long name {i}" for i in range(5)))
    x = rows_for(net, 300)
    return rl.unwrap(net, x, np.arange(300) % 5)


@cache
def levels() -> rl.Unwrapped:
    items = (Feature("age", "age"), *(Feature(f"town={t}", "town", "level", (t,)) for t in "ABC"))
    net = replace(random_network([4, 8, 2], seed=3), features=Features(items, ("age", "town"), True))
    import pandas as pd

    rng = np.random.default_rng(0)
    return rl.unwrap(net, pd.DataFrame({"age": rng.normal(size=90), "town": rng.choice(list("ABC"), 90)}))


@cache
def models() -> Any:
    net = SPECIMENS["one logit"]
    return simplify.tree(rl.unwrap(net, rows_for(net, 400), np.arange(400) % 2), n_models=3)


@cache
def one_feature() -> rl.Unwrapped:
    return rl.unwrap(SPECIMENS["abs"], rows_for(SPECIMENS["abs"]))


CASES: dict[str, Callable[[], rl.Unwrapped]] = {
    "few": few,
    "many": many,
    "classes": classes,
    "levels": levels,
    "one feature": one_feature,
    **{name: (lambda name=name: rl.unwrap(SPECIMENS[name], rows_for(SPECIMENS[name]))) for name in ("dead", "linear")},
}
VERBS: dict[str, Callable[[rl.Unwrapped, Axes | None], Axes]] = {
    "importance": lambda u, ax: plot.importance(interpret.importance(u), ax),
    "squared": lambda u, ax: plot.importance(interpret.importance(u, kind="coefficients"), ax, output=0),
    "violins": lambda u, ax: plot.coefficients(interpret.coefficients(u), ax),
    "lines": lambda u, ax: plot.coefficients(interpret.coefficients(u, standardised=True), ax, kind="lines"),
    "clusters": lambda u, ax: plot.clusters(interpret.clusters(u), ax),
    "intercepts": lambda u, ax: plot.intercepts(interpret.intercepts(u), ax),
    "directions": lambda u, ax: plot.directions(interpret.directions(u), ax),
}


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


def panels(ax: Axes) -> list[Axes]:
    """What is set into the axes, but the bar of colours."""
    return [part for part in ax.child_axes if part.get_label() != "<colorbar>"]


def bars(ax: Axes) -> list[Rectangle]:
    return [patch for patch in ax.patches if isinstance(patch, Rectangle)]


def labels(ax: Axes) -> list[str]:
    return [t.get_text() for t in ax.get_yticklabels()]


# ---------------------------------------------------------------- laws of every picture


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(("case", "width"), [*((case, 3.4) for case in CASES), ("few", 6.8), ("many", 6.8)])
def test_no_text_lies_on_other_text_or_outside(case: str, width: float, verb: str) -> None:
    ax = VERBS[verb](CASES[case](), axes(width, 7.5 if width < 5 else 4.5))
    assert_legible(ax)
    for text in texts(ax):
        assert "\u202e" not in text.get_text()
        assert 7 <= text.get_fontsize() <= 9
        if "$" in text.get_text():
            assert not text.get_parse_math()


@pytest.mark.parametrize("verb", VERBS)
def test_axes_given_are_those_returned_and_pyplot_holds_nothing(verb: str) -> None:
    import matplotlib.pyplot as plt

    ax, before = axes(), dict(mpl.rcParams)
    assert VERBS[verb](few(), ax) is ax
    assert plt.get_fignums() == []
    assert dict(mpl.rcParams) == before
    made = VERBS[verb](few(), None)
    assert plt.figure(plt.get_fignums()[0]) is made.figure
    assert ax.get_title(loc="left")
    assert_legible(made)


# ---------------------------------------------------------------- importance


def test_importance_bars_are_shares_split_by_sign() -> None:
    result = interpret.importance(few())
    ax = plot.importance(result, axes())
    order = np.argsort(-result.share[0], kind="stable")
    assert labels(ax)[0] == "age" if order[0] == 0 else labels(ax)[list(order).index(0)] == "age"
    drawn: dict[str, Any] = {}
    for bar in bars(ax):
        drawn.setdefault(to_hex(bar.get_facecolor()), []).append(bar)
    share = 100 * result.share[0, order]
    np.testing.assert_allclose([b.get_width() for b in drawn[BLUE]], share * result.share_positive[0, order])
    np.testing.assert_allclose([b.get_width() for b in drawn[VERMILION]], share * result.share_negative[0, order])
    ends = np.max([[b.get_x() + b.get_width() for b in part] for part in drawn.values()], axis=0)
    np.testing.assert_allclose(ends, share, atol=1e-9)
    legend = ax.get_legend()
    assert legend is not None
    assert [t.get_text() for t in legend.get_texts()] == ["rises", "falls", "flat"]
    assert "500 rows" in caption(ax)
    assert "variance" in caption(ax)


def test_importance_says_what_it_rests_on_and_what_is_left_out() -> None:
    result = interpret.importance(many(), kind="coefficients")
    ax = plot.importance(result, axes(), most=10)
    assert "one scale" in caption(ax)
    order = np.argsort(-result.share[0], kind="stable")
    assert labels(ax)[-1] == "190 others"
    assert len(labels(ax)) == 11
    assert bars(ax)[-1].get_width() == pytest.approx(100 * result.share[0, order[10:]].sum())


def test_levels_have_no_one_direction() -> None:
    result = interpret.importance(levels())
    ax = plot.importance(result, axes(), output="y1")
    at = labels(ax).index("town")
    (bar,) = [b for b in bars(ax) if round(b.get_y() + b.get_height() / 2) == at and b.get_width() > 0]
    assert bar.get_width() == pytest.approx(100 * result.share[1, 1])
    assert to_hex(bar.get_facecolor()) not in (BLUE, VERMILION)
    assert "Output y1, one of 2." in caption(ax)


def test_a_constant_output_is_called_so() -> None:
    ax = VERBS["importance"](rl.unwrap(SPECIMENS["dead"], rows_for(SPECIMENS["dead"])), axes())
    assert caption(ax).startswith("This output is constant.")
    assert ax.get_xlim()[1] >= 100


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (0, "0 %"),
        (1e-16, "0 %"),
        (1e-5, "< 0.1 %"),
        (0.034, "3.4 %"),
        (0.24, "24 %"),
        (0.9999, "99.9 %"),
        (1 - 1e-15, "100 %"),
    ],
)
def test_shares_in_words(share: float, words: str) -> None:
    from relucidate.plot.local_models import _percent

    assert _percent(share) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.0, "0"), (-2.5, "−2.5"), (1.5e-4, "1.5e-4"), (-8e-5, "−8e-5"), (12500, "1.25e4"), (2e6, "2e6")],
)
def test_numbers_where_there_is_little_room(value: float, words: str) -> None:
    from relucidate.plot.local_models import _compact

    assert _compact(value) == words


def test_outputs_have_a_panel_each_with_the_same_features() -> None:
    result = interpret.importance(classes())
    ax = plot.importance(result, axes(6.8, 5))
    parts = panels(ax)
    assert len(parts) == 5
    assert not ax.axison
    for k, part in enumerate(parts):
        widths = np.zeros(4)
        for bar in bars(part):
            widths[round(bar.get_y() + bar.get_height() / 2)] += bar.get_width()
        np.testing.assert_allclose(widths, 100 * result.share[k, result.order])
    narrow = plot.importance(result, axes(3.4, 3.5))
    assert f"{len(panels(narrow))} of 5 outputs are shown" in caption(narrow)


# ---------------------------------------------------------------- coefficients


def test_few_regions_are_dots() -> None:
    result = interpret.coefficients(few())
    ax = plot.coefficients(result, axes())
    dots = [c for c in ax.collections if isinstance(c, PathCollection)]
    for y, (part, j) in enumerate(zip(dots, result.order(0), strict=True)):
        drawn = np.asarray(part.get_offsets())
        np.testing.assert_allclose(drawn[:, 0], result.coef[:, 0, j] * few().sample.sd[j])
        np.testing.assert_array_equal(drawn[:, 1], y)
        np.testing.assert_allclose(part.get_sizes() / part.get_sizes().sum(), few().share)
    assert "A dot per region" in caption(ax)


def test_violins_show_quartiles_medians_and_signs() -> None:
    result = interpret.coefficients(many())
    ax = plot.coefficients(result, axes(6.8, 6), most=6)
    kept = result.order(0)[:6]
    frame = result.to_frame().iloc[kept]
    sd = many().sample.sd[kept]
    quartiles = [line.get_xdata() for line in ax.lines if line.get_linewidth() == 2.0]
    np.testing.assert_allclose(quartiles, frame[["q25", "q75"]].to_numpy() * sd[:, None])
    medians = [float(np.asarray(line.get_xdata())[0]) for line in ax.lines if line.get_marker() == "o"]
    np.testing.assert_allclose(medians, frame["median"] * sd)
    step = (ax.get_xlim()[1] - ax.get_xlim()[0]) / 80
    fifth, last_fifth = (np.quantile(result.coef[:, 0, kept] * sd, q, axis=0) for q in (0.05, 0.95))
    for y, (low, high) in enumerate(zip(frame["min"] * sd, frame["max"] * sd, strict=True)):
        bodies = {}
        for body in ax.collections:
            points = np.vstack([p.vertices for p in body.get_paths()]) if body.get_paths() else np.zeros((0, 2))
            if len(points) and abs(points[:, 1].mean() - y) < 0.3:
                bodies[to_hex(body.get_facecolor()[0])] = points[:, 0]  # type: ignore[index]
        assert (BLUE in bodies) == (high > 0)
        assert (VERMILION in bodies) == (low < 0)
        assert all((x >= -1e-12).all() for c, x in bodies.items() if c == BLUE)
        assert all((x <= 1e-12).all() for c, x in bodies.items() if c == VERMILION)
        reach = np.concatenate(list(bodies.values()))
        assert low - step <= reach.min() <= fifth[y]
        assert last_fifth[y] <= reach.max() <= high + step
    words = [t.get_text() for t in ax.texts[:6]]
    for word, row in zip(words, frame.itertuples(), strict=True):
        assert word == {"always positive": "always +", "always negative": "always −"}.get(
            str(row.verdict), word if word.endswith("% +") else ""
        )
    assert "6 of 200 features are shown: those with the largest coefficients." in caption(ax)


def test_density_is_that_of_the_rows() -> None:
    from relucidate.plot.local_models import _density

    rng = np.random.default_rng(0)
    values, weight = rng.normal(size=3000), rng.random(3000)
    grid = np.linspace(0, 4, 401)
    found = _density(values, weight, grid, 1, 0.01)
    above = values > 0
    n = weight[above].sum() ** 2 / (weight[above] ** 2).sum()
    mean = np.average(values[above], weights=weight[above])
    h = 0.9 * np.sqrt(np.average((values[above] - mean) ** 2, weights=weight[above])) * n**-0.2
    exact = [
        sum(
            w * (np.exp(-0.5 * ((v - g) / h) ** 2) + np.exp(-0.5 * ((v + g) / h) ** 2))
            for v, w in zip(values[above], weight[above], strict=True)
        )
        for g in grid[:300:30]
    ]
    # values are put on the grid first, which is much finer than the kernel
    np.testing.assert_allclose(found[:300:30], np.array(exact) / h, rtol=0.01)
    assert not _density(-np.abs(values), weight, grid, 1, 0.01).any()


@pytest.mark.parametrize("case", [few, classes])
def test_lines_are_the_coefficients_of_the_regions(case: Callable[[], rl.Unwrapped]) -> None:
    u = case()
    result = interpret.coefficients(u)
    ax = plot.coefficients(result, axes(), kind="lines", output=u.network.n_outputs - 1, regions=50)
    k = u.network.n_outputs - 1
    (lines,) = [c for c in ax.collections if isinstance(c, LineCollection)]
    kept, shown = result.order(k), np.argsort(-u.count, kind="stable")[:50][::-1]
    drawn = np.stack([np.asarray(s) for s in lines.get_segments()])
    np.testing.assert_allclose(drawn[:, :, 0], (result.coef[:, k] * u.sample.sd)[shown][:, kept])
    np.testing.assert_array_equal(drawn[0, :, 1], np.arange(len(kept)))
    assert result.response is not None
    np.testing.assert_allclose(
        np.asarray(lines.get_array()), result.response[shown, min(k, result.response.shape[1] - 1)]
    )
    assert (np.diff(lines.get_linewidth()) >= 0).all()  # type: ignore[arg-type]
    words = f"the 50 largest of {u.n_regions:,} regions" if u.n_regions > 50 else f"All {u.n_regions} regions"
    assert words in caption(ax)


def test_without_a_response_colour_is_the_prediction() -> None:
    result = interpret.coefficients(many())
    ax = plot.coefficients(result, axes(), kind="lines", regions=10)
    (lines,) = [c for c in ax.collections if isinstance(c, LineCollection)]
    shown = np.argsort(-result.weight, kind="stable")[:10][::-1]
    assert result.prediction is not None
    np.testing.assert_allclose(np.asarray(lines.get_array()), result.prediction[shown, 0])
    assert any(t.get_text() == "mean prediction of the region" for t in texts(ax))


def test_what_lies_beyond_the_axis_is_said() -> None:
    result = interpret.coefficients(many())
    far = replace(result, coef=np.where(np.arange(len(result.coef))[:, None, None] == 3, 1e3, result.coef))
    ax = plot.coefficients(far, axes())
    assert ax.get_xlim()[1] < 10
    kept = far.order(0)[: len(labels(ax))]
    values = far.coef[:, 0, kept] * far.scale[kept]
    outside = ((values < ax.get_xlim()[0]) | (values > ax.get_xlim()[1])).any(axis=1)
    said = f"{100 * far.weight[outside].sum() / far.weight.sum():.1f} % of the rows have a coefficient beyond the axis"
    assert said in caption(ax)


def test_coefficients_of_a_simplification_with_and_without_rows() -> None:
    ax = plot.coefficients(interpret.coefficients(models()), axes(), kind="lines")
    assert ax.get_title(loc="left") == "Coefficients of 3 models"
    bare = plot.coefficients(interpret.coefficients(replace(models(), sample=None)), axes())
    assert "relative to the feature's largest" in bare.get_xlabel().replace("\n", " ")
    assert_legible(bare)


# ---------------------------------------------------------------- clusters


def test_clusters_are_signed_bars_of_the_largest() -> None:
    u = few()
    result = interpret.clusters(u)
    ax = plot.clusters(result, axes(6.8, 6), most=3)
    parts = panels(ax)
    assert len(parts) == 3
    m = 3
    scaled = result.coef[:m, 0] * u.sample.sd
    order = np.argsort(-np.sqrt(u.share[:m] @ scaled**2), kind="stable")
    for i, part in enumerate(parts):
        drawn = bars(part)
        np.testing.assert_allclose([b.get_width() for b in drawn], scaled[i, order], atol=1e-12)
        for bar in drawn:
            assert to_hex(bar.get_facecolor()) == (BLUE if bar.get_width() >= 0 else VERMILION)
        words = " ".join(t.get_text() for t in part.texts)
        assert words.startswith(f"region {i}: " if scaled[i].any() else "constant")
        assert f"{u.count[i]:,} rows" in words
        assert result.share_positive is not None
        positive = 100 * result.share_positive[i]
        assert f"{positive:.0f} % predicted +" in words or f"{positive:.1f} % predicted +" in words
        assert result.response is not None
        assert f"response {result.response[i, 0]:.3g}" in words
    assert f"3 of {u.n_regions} regions are shown" in caption(ax)
    assert "log-odds" in caption(ax)


def test_a_cluster_of_zeros_is_called_constant() -> None:
    u = rl.unwrap(SPECIMENS["dead"], rows_for(SPECIMENS["dead"]))
    ax = plot.clusters(interpret.clusters(u), axes())
    assert "constant" in [t.get_text() for t in panels(ax)[0].texts]


def test_clusters_and_features_that_have_no_room_are_counted() -> None:
    ax = plot.clusters(interpret.clusters(many()), axes(3.4, 4.0), most=6)
    n = len(panels(ax))
    assert n < 6
    assert f"{n} of {many().n_regions:,} regions are shown" in caption(ax)
    rows = len(bars(panels(ax)[0]))
    assert f"{rows} of 200 features are shown" in caption(ax)


def test_models_are_clusters_too() -> None:
    ax = plot.clusters(interpret.clusters(models()), axes())
    result = interpret.clusters(models())
    assert panels(ax)[0].texts[-2].get_text().startswith(f"model {result.number[0]}") or any(
        t.get_text().startswith(f"model {result.number[0]}") for t in panels(ax)[0].texts
    )
    assert_legible(plot.clusters(interpret.clusters(replace(models(), sample=None)), axes(3.4, 6)))


# ---------------------------------------------------------------- intercepts


@pytest.mark.parametrize("case", [few, many])
def test_intercepts_and_mean_decisions_against_features(case: Callable[[], rl.Unwrapped]) -> None:
    u = case()
    result = interpret.intercepts(u)
    ax = plot.intercepts(result, axes(6.8, 5), most=3)
    parts = panels(ax)
    assert len(parts) == 2 * 4
    kept = np.argsort(-result.effect[0], kind="stable")[:3]
    shown = np.argsort(-result.weight, kind="stable")[:1000]
    for row, values in enumerate((result.intercept[:, 0], result.mean_decision[:, 0])):
        strip, *others = parts[4 * row : 4 * row + 4]
        order = np.repeat(values, u.count)
        np.testing.assert_allclose(
            np.asarray(strip.lines[1].get_ydata()), np.quantile(order, [0.25, 0.75], method="inverted_cdf")
        )
        for part, j in zip(others, kept, strict=True):
            drawn = np.asarray(part.collections[0].get_offsets())
            expected = np.column_stack([result.mean_row[shown, j], values[shown]])
            np.testing.assert_allclose(drawn[np.lexsort(drawn.T)], expected[np.lexsort(expected.T)])
            if u.n_regions > 20:
                np.testing.assert_allclose(part.lines[0].get_xydata(), np.column_stack(result.trend(values, int(j))))
            else:
                assert len(part.lines) == 0
    said = "all" if u.n_regions <= 1000 else f"the 1,000 largest of {u.n_regions:,}"
    assert f"Dots: {said}" in caption(ax)
    assert f"3 of {u.network.n_features} features" in caption(ax)


# ---------------------------------------------------------------- directions


@pytest.mark.parametrize("case", [few, classes, many])
def test_directions_are_dots_and_arrows(case: Callable[[], rl.Unwrapped]) -> None:
    u = case()
    result = interpret.directions(u)
    k = u.network.n_outputs - 1
    ax = plot.directions(result, axes(6.8, 4.5), output=k, most=60)
    one, other = panels(ax)[:2]
    shown = np.argsort(-result.weight, kind="stable")[:60]
    order = shown[np.argsort((result.weight / result.weight.sum())[shown], kind="stable")]
    np.testing.assert_allclose(one.collections[0].get_offsets(), result.place[order, k])
    (arrows,) = [c for c in other.collections if isinstance(c, Quiver)]
    np.testing.assert_allclose(np.column_stack([arrows.X, arrows.Y]), result.row_place[order])
    drawn, slope = np.column_stack([arrows.U, arrows.V]), result.slope[order, k]
    np.testing.assert_allclose(drawn[:, 0] * slope[:, 1], drawn[:, 1] * slope[:, 0], atol=1e-9 * np.abs(slope).max())
    assert ((drawn * slope).sum(axis=1) >= 0).all()
    assert np.hypot(*drawn.T).max() == pytest.approx(1)
    tone = result.prediction if result.response is None else result.response
    np.testing.assert_allclose(np.asarray(arrows.get_array()), tone[order, min(k, tone.shape[1] - 1)])
    said = f"60 of {u.n_regions:,} regions are shown" if u.n_regions > 60 else f"All {u.n_regions} regions."
    assert said in caption(ax)
    assert one.get_aspect() == other.get_aspect() == 1
    assert one.get_xlabel().replace("\n", " ").startswith(f"{100 * result.explained[k, 0]:.0f} %: ")


def test_axes_of_two_features_are_these() -> None:
    u = rl.unwrap(SPECIMENS["lines"], rows_for(SPECIMENS["lines"], 200))
    one, other = panels(plot.directions(interpret.directions(u), axes()))[:2]
    for part in (one, other):
        assert part.get_xlabel().endswith("%: x0")
        assert part.get_ylabel().endswith("%: x1")


def test_all_axes_have_words() -> None:
    for verb in ("violins", "lines"):
        assert "log-odds" in VERBS[verb](few(), axes()).get_xlabel()
    assert "share" in VERBS["squared"](few(), axes()).get_xlabel()
    assert all(part.axison for part in all_axes(VERBS["intercepts"](few(), axes())) if part.get_subplotspec() is None)


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plot.importance(interpret.importance(few()), output="z"), "output is 'z'; expected one of 'y'"),
        (lambda: plot.importance(interpret.importance(few()), most=0), "most is 0; expected at least 1"),
        (lambda: plot.coefficients(interpret.coefficients(few()), kind="bars"), "kind is 'bars'; expected 'violins'"),  # type: ignore[arg-type]
        (lambda: plot.coefficients(interpret.coefficients(few()), regions=0), "regions is 0; expected at least 1"),
        (
            lambda: plot.clusters(interpret.clusters(few()), output=1),
            "output is 1; expected one of 'y', or its position",
        ),
        (lambda: plot.clusters(interpret.clusters(few()), features=0), "features is 0; expected at least 1"),
        (lambda: plot.intercepts(interpret.intercepts(few()), most=0), "most is 0; expected at least 1"),
        (lambda: plot.directions(interpret.directions(few()), most=0), "most is 0; expected at least 1"),
    ],
)
def test_what_cannot_be_drawn_is_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        call()


def test_one_row_is_not_called_a_constant_output() -> None:
    net = SPECIMENS["deep"]
    ax = plot.importance(interpret.importance(rl.unwrap(net, rows_for(net, 1))), axes())
    assert caption(ax).startswith("No feature varies over these rows.")
    assert "; 1 row." in caption(ax)


def test_headings_of_panels_keep_to_their_panel() -> None:
    net = random_network((4, 9, 3), seed=2, link="softmax")
    net = replace(net, outputs=("Z" * 26, "W" * 26, "$a_b$ " + "M" * 20))
    u = rl.unwrap(net, np.random.default_rng(0).normal(size=(400, 4)))
    for width in (3.4, 6.8):
        assert_legible(plot.importance(interpret.importance(u), axes(width, 4)))
        assert_legible(plot.clusters(interpret.clusters(u), axes(width, 4)))


def test_directions_in_one_column_leave_their_panels_room() -> None:
    net = random_network((5, 9, 1), seed=2, link="logit")
    u = rl.unwrap(net, np.random.default_rng(0).normal(size=(300, 5)))
    ax = plot.directions(interpret.directions(u), axes(3.4, 3.4))
    assert_legible(ax)
    figure = ax.get_figure(root=True)
    assert figure is not None
    for panel in ax.child_axes[:2]:
        box = panel.get_window_extent()
        assert min(box.width, box.height) > 0.6 * figure.dpi
