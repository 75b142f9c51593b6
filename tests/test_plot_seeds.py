"""The picture of stability over seeds: that it shows the numbers of the result, says what it leaves out, and can be read."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from drawing import assert_legible, axes, caption, texts
from relucidate import plot
from relucidate.errors import ArgumentError
from relucidate.features import Feature, Features
from relucidate.seeds import Stability, stability
from small_networks import random_network

mpl.use("Agg")

NAMES = ("age", "income_of_the_whole_household_last_year", "$x_1^2$ <b>\u202e", "debt", "L" * 300)
WIDTHS = (3.4, 6.8)


@cache
def result(N: int = 4, d: int = 5, n_outputs: int = 1) -> Stability:
    """Networks on as many columns: the last has two levels, the one before is not used by any."""
    names = [*NAMES, *(f"x{j}" for j in range(len(NAMES), d))][:d]
    items = [Feature(name, name) for name in names[:-1]]
    items += [Feature(f"{names[-1]}={v}", names[-1], "level", (v,)) for v in (1, 2)]
    features = Features(tuple(items), tuple(names), True)
    networks = []
    for seed in range(N):
        net = random_network([d + 1, 8, n_outputs], seed=seed)
        first = net.layers[0]
        weight = np.asarray(first.weight).copy()
        weight[:, d - 2] = 0
        networks.append(replace(net, features=features, layers=(replace(first, weight=weight), *net.layers[1:])))
    return stability(networks, np.abs(np.random.default_rng(0).normal(size=(100, d))).round(), None)


PICTURES: dict[str, Callable[[Axes | None], Axes]] = {
    "of two networks": lambda ax: plot.stability(result(N=2), ax),
    "of four networks": lambda ax: plot.stability(result(), ax),
    "of 20 networks": lambda ax: plot.stability(result(N=20), ax),
    "of 200 features": lambda ax: plot.stability(result(d=200), ax),
    "of one of three outputs": lambda ax: plot.stability(result(n_outputs=3), ax, output="y1"),
}


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.mark.parametrize("height", [3.6, 6.0])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PICTURES)
def test_no_text_lies_on_other_text_or_outside(name: str, width: float, height: float) -> None:
    assert_legible(PICTURES[name](axes(width, height)))


@pytest.mark.parametrize("name", PICTURES)
def test_axes_given_are_returned_and_names_are_no_mathematics(name: str) -> None:
    ax = axes()
    assert PICTURES[name](ax) is ax
    assert ax.get_title(loc="left")
    assert "%" in ax.get_xlabel()
    for text in texts(ax):
        assert "\u202e" not in text.get_text()
        assert "$" not in text.get_text() or not text.get_parse_math()
    assert_legible(PICTURES[name](None))


@pytest.mark.parametrize("output", [0, 2])
def test_dots_are_the_importance_in_each_network(output: int) -> None:
    r = result(n_outputs=3)
    ax = plot.stability(r, axes(), output=output)
    share = 100 * r.importance[:, output]
    order = np.argsort(-share.mean(axis=0), kind="stable")
    drawn: dict[int, list[tuple[float, str]]] = {at: [] for at in range(5)}
    for line in (line for line in ax.lines if line.get_marker() == "o" and len(line.get_xdata())):
        for x, y in np.asarray(line.get_xydata()):
            drawn[int(y)].append((float(x), to_hex(line.get_color())))
    for at, j in enumerate(order):
        assert sorted(x for x, _ in drawn[at]) == pytest.approx(sorted(share[:, j]))
        for x, colour in drawn[at]:
            i = int(np.abs(share[:, j] - x).argmin())
            if np.unique(share[:, j]).size == 4:
                known = {1.0: plot.BLUE, -1.0: plot.VERMILION, 0.0: plot.QUIET}
                assert colour == ("#b0b0b0" if j == 4 else known[r.sign[i, output, j]])
    (mean,) = (line for line in ax.lines if line.get_marker() == "|")
    np.testing.assert_allclose(np.asarray(mean.get_xdata()), share.mean(axis=0)[order])
    spans = np.array([segment[:, 0] for segment in ax.collections[0].get_segments()])  # type: ignore[attr-defined]
    np.testing.assert_allclose(spans, np.column_stack([share.min(axis=0), share.max(axis=0)])[order])
    agreement = [f"{100 * r.sign_agreement[output, j]:.0f} %" for j in order]
    assert [t.get_text() for t in ax.texts[:6]] == ["same\nsign", *agreement]
    legend = ax.get_legend()
    assert legend is not None
    assert {t.get_text() for t in legend.get_texts()} == {"rises", "falls", "flat", "levels"}
    assert caption(ax).startswith(f"Output y{output}, one of 3.")
    assert ax.get_title(loc="left") == "Importance in 4 networks"


def test_caption_says_how_pairs_agree_and_what_is_left_out() -> None:
    r = result()
    said = caption(plot.stability(r, axes()))
    assert "features are shown" not in said
    told = {
        "correlation of decisions": r.decision_correlation,
        "rank correlation of importances": r.rank_correlation,
        "cosine of local coefficients": r.cosine,
        "adjusted Rand index of regions": r.same_partition,
    }
    assert "Mean over 6 pairs: " in said
    for name, values in told.items():
        assert f"{name} {values.mean():.2f}".replace("-", "−") in said
    many = caption(plot.stability(result(d=200), axes(), most=7))
    assert "7 of 200 features are shown: those with the largest mean." in many
    assert "The pair: " in caption(plot.stability(result(N=2), axes()))
    sampled = replace(r, caveat=" (on a sample of 100 of 5,000 rows)")
    assert "with the feature (on a sample of 100 of 5,000 rows)." in caption(plot.stability(sampled, axes()))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plot.stability(result(), most=0), "most is 0"),
        (lambda: plot.stability(result(), output="z"), "output is 'z'"),
    ],
)
def test_refusals_say_what_was_expected(call: Callable[[], Axes], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        call()
