"""Pictures of reliability, complexity and monotonicity: they show the numbers of the results, and can be read."""

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from itertools import combinations
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb

import relucidate as rl
from drawing import assert_legible, axes, caption, texts
from paper_cases import cocircles
from relucidate import diagnose, plot
from relucidate.complexities import DEAD, LINEAR, SWITCHING
from relucidate.errors import ArgumentError
from small_networks import SPECIMENS, random_network, rows_for

mpl.use("Agg")

BLUE, VERMILION, FLAT = "#0072b2", "#d55e00", "#bdbdbd"
NAMES = ("age", "income_of_the_whole_household_last_year", "$x_1^2$ <b>\u202e", "debt", "L" * 300)


@cache
def circles() -> rl.Unwrapped:
    case = cocircles()
    return rl.unwrap(rl.load((list(case.weights), list(case.biases)), link="logit"), case.X_train, case.y_train)


@cache
def few() -> rl.Unwrapped:
    """Five features with hostile names, four regions, weights."""
    net = random_network([5, 2, 1], seed=3, link="logit").with_names(NAMES)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 5))
    return rl.unwrap(net, x, (x[:, 0] + rng.normal(size=500) > 0).astype(int), rng.integers(1, 4, 500))


@cache
def features() -> rl.Unwrapped:
    net = random_network([200, 12, 12, 1], seed=1)
    net = net.with_names([f"a feature that has a rather long name {i}" for i in range(200)])
    return rl.unwrap(net, np.random.default_rng(0).normal(size=(1500, 200)))


@cache
def regions() -> rl.Unwrapped:
    """About 10,000 regions of all sizes."""
    x = np.random.default_rng(0).normal(size=(60_000, 4))
    net = random_network([4, 20, 20, 1], seed=1, link="logit")
    return rl.unwrap(net, x, (net.decision(x)[:, 0] + np.random.default_rng(1).normal(size=60_000) > 0).astype(int))


@cache
def layers() -> rl.Unwrapped:
    net = random_network([5, *[6] * 60, 1], seed=1)
    parts = [replace(layer, name=f"a layer with a long name $x$ {i}") for i, layer in enumerate(net.layers)]
    return rl.unwrap(replace(net, layers=tuple(parts)), np.random.default_rng(0).normal(size=(300, 5)))


@cache
def classes() -> rl.Unwrapped:
    net = replace(SPECIMENS["five classes"], outputs=tuple(f"a class with a long name {i}" for i in range(5)))
    return rl.unwrap(net, rows_for(net, 300), np.arange(300) % 5)


CASES: dict[str, Callable[[], rl.Unwrapped]] = {
    "circles": circles,
    "few": few,
    "features": features,
    "regions": regions,
    "layers": layers,
    "classes": classes,
    **{name: (lambda name=name: rl.unwrap(SPECIMENS[name], rows_for(SPECIMENS[name]))) for name in ("abs", "linear")},
}


@cache
def result_of(verb: str, case: str) -> Any:
    """Results that several tests draw."""
    return getattr(diagnose, verb)(CASES[case]())


def signs(u: rl.Unwrapped) -> Any:
    """A sign expected of the first and of the last feature."""
    names, first = u.network.feature_names, u.network.outputs[0]
    return diagnose.monotonicity(u, expected={(names[0], first): "+", (names[-1], first): "-"})


VERBS: dict[str, Callable[[str, Axes | None], Axes]] = {
    "reliability": lambda case, ax: plot.reliability(result_of("reliability", case), ax),
    "complexity": lambda case, ax: plot.complexity(result_of("complexity", case), ax),
    "monotonicity": lambda case, ax: plot.monotonicity(result_of("monotonicity", case), ax),
    "expected": lambda case, ax: plot.monotonicity(signs(CASES[case]()), ax),
}


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


# ---------------------------------------------------------------- laws of every picture


@pytest.mark.parametrize("width", [3.4, 6.8])
@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("case", CASES)
def test_no_text_lies_on_other_text_or_outside(case: str, verb: str, width: float) -> None:
    ax = VERBS[verb](case, axes(width, 5.0 if width < 5 else 4.0))
    assert_legible(ax)
    for text in texts(ax):
        assert "\u202e" not in text.get_text()
        assert 7 <= text.get_fontsize() <= 9
        assert "$" not in text.get_text() or not text.get_parse_math()


@pytest.mark.parametrize("case", CASES)
def test_sizes_are_left_out_where_they_have_no_room(case: str) -> None:
    """In the axes of a small multiple, the key and the histogram lay on each other."""
    small = plot.reliability(result_of("reliability", case), axes(3.4, 2.55))
    assert_legible(small)
    _, key = small.child_axes  # shares and key only
    texts(small)
    left, below = key.get_window_extent(), small.texts[-1].get_window_extent()
    assert below.y1 <= left.y0 + 1.5
    needed = float(re.findall(r"sizes of these regions would need ([\d.]+) in of height", caption(small))[0])
    tall = plot.reliability(result_of("reliability", case), axes(3.4, needed))
    assert_legible(tall)
    assert len(tall.child_axes) == 3
    assert "would need" not in caption(tall)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("case", ["few", "circles", "linear"])
def test_axes_given_are_those_returned_and_pyplot_holds_nothing(case: str, verb: str) -> None:
    import matplotlib.pyplot as plt

    ax, before = axes(), dict(mpl.rcParams)
    assert VERBS[verb](case, ax) is ax
    assert plt.get_fignums() == []
    assert dict(mpl.rcParams) == before
    made = VERBS[verb](case, None)
    assert plt.figure(plt.get_fignums()[0]) is made.figure
    assert ax.get_title(loc="left")
    assert_legible(made)


# ---------------------------------------------------------------- reliability


@pytest.mark.parametrize("width", [3.4, 6.8])
@pytest.mark.parametrize("case", ["circles", "few", "regions", "classes"])
def test_reliability_bars_are_the_shares_by_reason(case: str, width: float) -> None:
    result = result_of("reliability", case)
    top, key, sizes = plot.reliability(result, axes(width, 5)).child_axes
    number, rows = result.tally
    named = [*result.reasons, "reliable"]
    drawn = [j for j in reversed(range(len(named))) if number[j]]
    colours = []
    for j, bar in zip(drawn, zip(top.patches[::2], top.patches[1::2], strict=True), strict=True):
        shares = [100 * number[j] / number.sum(), 100 * rows[j]]
        np.testing.assert_allclose([part.get_width() for part in bar], shares, atol=1e-9)  # type: ignore[attr-defined]
        colours.append(to_hex(bar[0].get_facecolor()))
    assert len(set(colours)) == len(drawn)
    ends = [part.get_x() + part.get_width() for part in top.patches[-2:]]  # type: ignore[attr-defined]
    np.testing.assert_allclose(ends, 100)
    said = [text.get_text() for text in key.texts]
    assert said[:2] == ["regions", "rows"]
    assert said[2::3] == [named[j] for j in drawn]
    assert said[3::3] == [f"{number[j]:,}" for j in drawn]
    assert [to_hex(line.get_color()) for line in key.lines] == colours  # type: ignore[arg-type]
    n = len(sizes.patches) // len(drawn)
    for i, j in enumerate(drawn):
        here = result.first == j
        heights = [
            100 * result.share[here & (result.count >= 2**b) & (result.count < 2 ** (b + 1))].sum() for b in range(n)
        ]
        bars = sizes.patches[i * n : (i + 1) * n]
        np.testing.assert_allclose([bar.get_height() for bar in bars], heights, atol=1e-9)  # type: ignore[attr-defined]
        assert {to_hex(bar.get_facecolor()) for bar in bars} == {colours[i]}
    assert result.count.max() < 2**n


def seen(colour: str, vision: Any) -> Any:
    """A colour in CIE L*a*b* as seen with a kind of colour vision (Machado, Oliveira and Fernandes 2009, severity 1)."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ np.clip(np.array(vision) @ linear, 0, 1) / [0.9505, 1, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


VISIONS = {
    "usual": np.eye(3),
    "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "no blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}


@pytest.mark.parametrize("vision", VISIONS)
def test_reasons_are_told_apart_and_only_what_is_reliable_is_blue_or_green(vision: str) -> None:
    from relucidate.plot.reliabilities import _COLOURS

    for name, colour in _COLOURS.items():
        red, green, blue = to_rgb(colour)
        assert (max(green, blue) > red) == (name == "reliable"), name
    places = {colour: seen(colour, VISIONS[vision]) for colour in _COLOURS.values()}
    apart = {(a, b): np.linalg.norm(places[a] - places[b]) for a, b in combinations(places, 2)}
    assert min(apart.values()) > 16, min(apart, key=lambda pair: apart[pair])  # a difference of 2.3 is just noticeable


def test_reliability_says_what_was_not_looked_at_and_what_thresholds_were() -> None:
    said = caption(plot.reliability(diagnose.reliability(features(), min_rows=7), axes()))
    assert said.startswith("1,456 regions, 1,500 rows, each counted under the first reason that holds.")
    assert "Few rows: fewer than 7." in said
    assert "Coefficients: 201, with the intercept." in said
    assert '"worse than the mean" was not looked at' in said
    result = replace(diagnose.reliability(circles()), caveat=" (on a sample of 1 of 2 rows)")
    assert "Conditions and scores (on a sample of 1 of 2 rows)." in caption(plot.reliability(result, axes()))


# ---------------------------------------------------------------- complexity


@pytest.mark.parametrize("width", [3.4, 6.8])
@pytest.mark.parametrize("case", ["circles", "regions", "layers", "abs"])
def test_complexity_shows_growth_and_the_neurons_of_each_layer(case: str, width: float) -> None:
    result = result_of("complexity", case)
    ax = plot.complexity(result, axes(width, 5))
    growth, neurons = ax.child_axes
    beyond, curve, end = growth.lines
    np.testing.assert_array_equal(curve.get_xdata(), result.drawn)
    np.testing.assert_array_equal(curve.get_ydata(), result.expected)
    assert [end.get_xdata()[0], end.get_ydata()[0]] == [result.n_rows, result.n_regions]  # type: ignore[index]
    x, y = np.asarray(beyond.get_xdata()), np.asarray(beyond.get_ydata())
    assert (y[1] - y[0]) / (x[1] - x[0]) == pytest.approx(result.unseen)
    assert (x[0], y[0]) == (result.n_rows, result.n_regions)
    L = len(result.layers)
    for i, state in enumerate((SWITCHING, LINEAR, DEAD)):
        bars = neurons.patches[i * L : (i + 1) * L]
        assert [bar.get_width() for bar in bars] == result.neurons_of(state).tolist()  # type: ignore[attr-defined]
    legend = neurons.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["switches", "always on", "dead"]
    assert growth.get_xlabel() == "rows drawn"
    assert f"about {100 * result.unseen:.1f} %" in caption(ax)
    assert f"{len(result.neuron)} neurons that can switch" in caption(ax)


def test_a_linear_network_has_no_neurons_to_show() -> None:
    ax = plot.complexity(result_of("complexity", "linear"), axes())
    assert ax.child_axes[1].texts[0].get_text() == "no neuron can switch"
    assert "No neuron can switch." in caption(ax)


# ---------------------------------------------------------------- monotonicity


@pytest.mark.parametrize(("case", "output"), [("few", 0), ("circles", 0), ("classes", 3), ("features", 0)])
def test_monotonicity_bars_are_the_shares_of_signs(case: str, output: int) -> None:
    result = result_of("monotonicity", case)
    ax = plot.monotonicity(result, axes(), output=output, most=6)
    order = np.argsort(-result.against[output], kind="stable")[:6]
    m = len(order)
    parts = [(BLUE, result.increasing), (FLAT, result.flat), (VERMILION, result.decreasing)]
    start = np.zeros(m)
    for i, (colour, share) in enumerate(parts):
        bars = ax.patches[i * m : (i + 1) * m]
        np.testing.assert_allclose([bar.get_width() for bar in bars], 100 * share[output, order])  # type: ignore[attr-defined]
        np.testing.assert_allclose([bar.get_x() for bar in bars], start, atol=1e-9)  # type: ignore[attr-defined]
        start += 100 * share[output, order]
        assert {to_hex(bar.get_facecolor()) for bar in bars} == {colour}
    np.testing.assert_allclose(start, 100)
    n = len(result.names)
    assert (f"{m} of {n} features are shown" in caption(ax)) == (m < n)
    assert (f"Output {result.outputs[output]}, one of 5." in caption(ax)) == (case == "classes")
    assert "nothing is said beyond them" in caption(ax)


def test_violations_are_hatched_where_they_are_and_their_share_is_written() -> None:
    result = diagnose.monotonicity(few(), expected={"age": "-", "debt": "-", NAMES[1]: "+"})
    ax = plot.monotonicity(result, axes())
    hatched = [bar for bar in ax.patches if bar.get_hatch()]
    labels = [text.get_text() for text in ax.get_yticklabels()]
    assert sum(label.endswith((" (+)", " (−)")) for label in labels) == 3
    violating = {}
    for bar in hatched:
        label = labels[round(bar.get_y() + bar.get_height() / 2)]  # type: ignore[attr-defined]
        violating[label] = (bar.get_x(), bar.get_width())  # type: ignore[attr-defined]
    expected = {}
    for j, name in enumerate(result.names):
        if result.expected[0, j] and result.against[0, j] > 0:
            share = 100 * (result.decreasing if result.expected[0, j] > 0 else result.increasing)[0, j]
            at = 100 - share if result.expected[0, j] > 0 else 0.0
            sign = "+" if result.expected[0, j] > 0 else "−"
            label = next(text for text in labels if text.startswith(name[:5]) and text.endswith(f"({sign})"))
            expected[label] = (pytest.approx(at), pytest.approx(share))
    assert violating == expected
    assert len(expected) >= 2
    written = [text.get_text() for text in ax.texts if text.get_text().endswith("%")]
    order = sorted(range(5), key=lambda j: (result.expected[0, j] == 0, -np.nan_to_num(result.violating[0, j])))
    assert len(written) == 3
    for text, j in zip(written, order, strict=False):
        assert float(text.split()[0]) == pytest.approx(100 * result.violating[0, j], abs=0.5)
    assert "hatched" in caption(ax)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plot.monotonicity(diagnose.monotonicity(few()), output="z"), "output is 'z'; expected one of 'y'"),
        (lambda: plot.monotonicity(diagnose.monotonicity(few()), most=0), "most is 0; expected at least 1"),
    ],
)
def test_what_cannot_be_drawn_is_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        call()
