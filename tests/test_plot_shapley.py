"""Pictures of Shapley values: that they show the numbers of the result, say what they leave out, and can be read."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from drawing import assert_legible, axes, caption, texts
from relucidate import plot
from relucidate.errors import ArgumentError
from relucidate.features import Feature, Features
from relucidate.interpret import integrated_gradients
from relucidate.paths import Encoded
from relucidate.shapley_values import Shapley
from small_networks import random_network

mpl.use("Agg")

NAMES = ("age", "income_of_the_whole_household_last_year", "$x_1^2$ <b>\u202e", "debt", "L" * 300)
WIDTHS = (3.4, 6.8)


@cache
def result(d: int = 5, n: int = 60, n_outputs: int = 1, link: str = "logit", scale: Any = "decision") -> Shapley:
    """Values of as many features, the last one with three levels and one before that may be missing."""
    rng = np.random.default_rng(d + n)
    names = [*NAMES, *(f"x{j}" for j in range(len(NAMES), d))][:d]
    items = [Feature(name, name, impute=0.0) for name in names[:-1]]
    items += [Feature("missing", names[0], "missing")]
    items += [Feature(f"{names[-1]}={v}", names[-1], "level", (v,)) for v in ("a", "b", "W" * 200)]
    features = Features(tuple(items), tuple(names), True)
    net = replace(random_network([len(items), 3, n_outputs], link=link), features=features)  # type: ignore[arg-type]
    x = rng.normal(size=(n, len(items)))
    x[:, d - 1] = rng.random(n) < 0.2
    x[:, d:] = np.eye(3)[rng.integers(0, 3, n)]
    values = rng.normal(size=(n, n_outputs, d)) * np.r_[1e-4, rng.permutation(d - 1) + 1] ** 2
    base = np.full(n_outputs, -0.25)
    total = base + values.sum(axis=2)
    note = "Relative to 100 of 5,000 rows, drawn at random (random_state 0)."
    return Shapley(net, x, np.arange(n), values, base, total, scale, x[:1], np.ones(1), 0.0, 1, note)


PICTURES: dict[str, Callable[[Axes | None], Axes]] = {
    "bars": lambda ax: plot.shapley(result(), ax, row=3),
    "bars of 200": lambda ax: plot.shapley(result(d=200), ax, row=3),
    "bars of one of three outputs": lambda ax: plot.shapley(result(n_outputs=3, link="softmax"), ax, row=0, output=2),
    "swarm": lambda ax: plot.shapley(result(), ax),
    "swarm of 200": lambda ax: plot.shapley(result(d=200), ax),
    "swarm of many rows": lambda ax: plot.shapley(result(n=10_000), ax),
    "swarm of probabilities": lambda ax: plot.shapley(result(scale="prediction"), ax),
    "swarm, no link": lambda ax: plot.shapley(result(link="identity", n_outputs=2), ax, output="y1"),
}


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


# ---------------------------------------------------------------- laws of every picture


@pytest.mark.parametrize("height", [3.4, 6.0])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PICTURES)
def test_no_text_lies_on_other_text_or_outside(name: str, width: float, height: float) -> None:
    assert_legible(PICTURES[name](axes(width, height)))


@pytest.mark.parametrize("name", PICTURES)
def test_axes_given_are_returned_and_names_are_no_mathematics(name: str) -> None:
    ax = axes()
    assert PICTURES[name](ax) is ax
    assert ax.get_title(loc="left")
    for text in texts(ax):
        assert "\u202e" not in text.get_text()
        assert "$" not in text.get_text() or not text.get_parse_math()
    made = PICTURES[name](None)
    assert_legible(made)


# ---------------------------------------------------------------- one row


def test_bars_are_the_values_of_a_row() -> None:
    r = result()
    ax = plot.shapley(r, axes(), row=3)
    values = r.values[3, 0]
    order = np.argsort(-np.abs(values))
    np.testing.assert_allclose([bar.get_width() for bar in ax.patches], values[order])
    assert [to_hex(bar.get_facecolor()) for bar in ax.patches] == [
        plot.BLUE if v >= 0 else plot.VERMILION for v in values[order]
    ]
    labels = [t.get_text() for t in ax.get_yticklabels()]
    first = int(np.flatnonzero(order == 3)[0])
    assert labels[first] == f"debt = {r.x[3, 3]:.4g}".replace("-", "−")
    levels = ("a", "b", "W" * 200)
    told = levels[int(np.argmax(r.x[3, 5:]))]
    assert labels[int(np.flatnonzero(order == 4)[0])].startswith("LLL")
    assert labels[int(np.flatnonzero(order == 4)[0])].endswith(told[-1:])
    assert [t.get_text() for t in ax.texts[:5]] == [f"{v:+.3g}".replace("-", "−") for v in values[order]]
    assert ax.get_title(loc="left").startswith("Row 3: decision (log-odds) ")
    assert "−0.25, the mean over the background, plus the values is" in caption(ax)
    assert caption(ax).endswith(r.note)
    assert "decision (log-odds)" in ax.get_xlabel().replace("\n", " ")


def test_a_missing_value_is_said_to_be_missing() -> None:
    r = result()
    i = int(np.flatnonzero(r.x[:, 4])[0])
    labels = [t.get_text() for t in plot.shapley(r, axes(), row=i).get_yticklabels()]
    assert "age = missing" in labels


def test_bars_of_the_others_are_added_up() -> None:
    r = result(d=200)
    ax = plot.shapley(r, axes(), row=1, most=5)
    values = r.values[1, 0]
    order = np.argsort(-np.abs(values))
    drawn = [bar.get_width() for bar in ax.patches]
    np.testing.assert_allclose(drawn, [*values[order[:5]], values[order[5:]].sum()], rtol=1e-9)
    assert ax.get_yticklabels()[5].get_text() == "195 others"
    assert "5 of 200 features are shown: those with the largest values." in caption(ax)
    assert len(plot.shapley(result(), axes(), row=1, most=4).patches) == 5  # a fifth takes as much room as "1 other"


def test_features_without_a_value_take_no_place_where_some_are_left_out() -> None:
    r = result(d=200)
    values = r.values.copy()
    values[1, 0, 2:] = 0
    ax = plot.shapley(replace(r, values=values), axes(), row=1)
    assert [t.get_text() for t in ax.get_yticklabels()][2:] == ["198 others"]


def test_one_row_is_drawn_as_bars() -> None:
    r = result()
    one = replace(r, x=r.x[:1], row=np.array([41]), values=r.values[:1], output=r.output[:1])
    assert len(plot.shapley(one, axes()).patches) == 5


# ---------------------------------------------------------------- many rows


def test_dots_are_the_values_of_all_rows() -> None:
    r = result()
    ax = plot.shapley(r, axes())
    values = r.values[:, 0]
    order = np.argsort(-np.abs(values).mean(axis=0))
    labels = [t.get_text() for t in ax.get_yticklabels()]
    assert labels[int(np.flatnonzero(order == 3)[0])] == "debt"
    for at, j in enumerate(order):
        known, unknown = ax.collections[2 * at + 1], ax.collections[2 * at]
        is_number = np.zeros(60, dtype=bool) if j == 4 else np.isfinite(r.feature_values[j].astype(float))
        np.testing.assert_allclose(np.asarray(known.get_offsets())[:, 0], values[is_number, j])
        np.testing.assert_allclose(np.asarray(unknown.get_offsets())[:, 0], values[~is_number, j])
        places = np.concatenate([np.asarray(c.get_offsets())[:, 1] for c in (known, unknown)])
        assert (np.abs(places - at) < 0.45).all()
        if is_number.any():
            shown = r.feature_values[j][is_number].astype(float)
            low, high = np.quantile(shown, [0.05, 0.95])
            np.testing.assert_allclose(known.get_array(), np.clip((shown - low) / (high - low), 0, 1))
    size = np.abs(values).mean(axis=0)[order]
    assert [t.get_text() for t in ax.texts[1:6]] == [f"{s:.2g}" for s in size]
    assert caption(ax) == f"A dot for each of 60 rows. {r.note}"
    legend = ax.get_legend()
    assert legend is not None
    assert [t.get_text() for t in legend.get_texts()] == ["low", "high value", "level, none"]


def test_dots_of_one_place_do_not_lie_on_each_other() -> None:
    r = result()
    same = replace(r, values=np.zeros_like(r.values))
    ax = plot.shapley(same, axes())
    for known, unknown in zip(ax.collections[1::2], ax.collections[::2], strict=True):
        places = np.concatenate([np.asarray(c.get_offsets())[:, 1] for c in (known, unknown)])
        assert len(np.unique(places)) == 60


def test_what_is_left_out_is_said() -> None:
    ax = plot.shapley(result(n=10_000), axes(), most=3)
    assert "3 of 5 features are shown: those with the largest mean |value|." in caption(ax)
    assert "A dot per row, 1,000 of 10,000." in caption(ax)
    assert sum(len(np.asarray(c.get_offsets())) for c in ax.collections) == 3_000
    assert "12 of 200 features are shown" in caption(plot.shapley(result(d=200), axes()))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([1.0, 1.0]), [0.5, 0.5]),
        (np.array([0.0, np.nan, 2.0, 1.0]), [0, np.nan, 1, 0.5]),
        (np.array([0.0] * 40 + [1.0]), [0.0] * 40 + [1.0]),
        (np.array(["a", "b"], dtype=object), [np.nan, np.nan]),
        (np.array([np.nan]), [np.nan]),
    ],
)
def test_colours_go_from_low_to_high(values: Any, expected: Any) -> None:
    from relucidate.plot.attributions import _tones

    np.testing.assert_allclose(_tones(values), expected)


# ---------------------------------------------------------------- what cannot be drawn


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plot.shapley(result(), row=60), "row is 60; expected 0 to 59"),
        (lambda: plot.shapley(result(), row=-1), "row is -1"),
        (lambda: plot.shapley(result(), output=1), "output is 1"),
        (lambda: plot.shapley(result(), most=0), "most is 0"),
        (lambda: plot.shapley(replace(result(), x=np.zeros((0, 8)), values=np.zeros((0, 1, 5)))), "no rows to draw"),
    ],
)
def test_refusals_say_what_was_expected(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        call()


# ---------------------------------------------------------------- integrated gradients


def attributed(n: int, **options: Any) -> Any:
    net = replace(result().network, link=options.pop("link", "logit"))
    x = result().x
    return integrated_gradients(net, Encoded(x[:n]), Encoded(x[n : n + options.pop("n_baselines", 1)]), **options)


def test_attributions_of_a_row_are_bars() -> None:
    found = attributed(3)
    ax = plot.integrated_gradients(found, axes(), row=2)
    assert_legible(ax)
    values = found.grouped[2, 0]
    drawn = [bar.get_width() for bar in ax.patches]
    np.testing.assert_allclose(drawn, values[np.argsort(-np.abs(values), kind="stable")])
    assert ax.get_xlabel().replace("\n", " ") == "attribution: adds to the decision (log-odds)"
    assert "the baseline, plus the values is" in caption(ax)
    assert "Exact integrated gradients from one row." in caption(ax)
    assert f"{found.output[2, 0]:.4g}".replace("-", "−") in caption(ax)


def test_attributions_of_rows_are_dots() -> None:
    found = attributed(40, n_baselines=5, scale="prediction")
    ax = plot.integrated_gradients(found, axes())
    assert_legible(ax)
    assert ax.get_title(loc="left") == "Attributions of all rows"
    order = np.argsort(-np.abs(found.grouped[:, 0]).mean(axis=0), kind="stable")
    for y, j in enumerate(order):
        dots = np.concatenate([c.get_offsets() for c in ax.collections])  # type: ignore[misc]
        near = np.abs(dots[:, 1] - y) < 0.5
        np.testing.assert_allclose(np.sort(dots[near, 0]), np.sort(found.grouped[:, 0, j]), atol=1e-12)
    assert "Exact integrated gradients from 5 rows." in caption(ax)
