"""Pictures of explained rows: bars are the centred effects, and lead from the mean row to the decision."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from drawing import assert_legible, axes, caption, points, texts
from relucidate import plot
from relucidate.errors import ArgumentError
from relucidate.explaining import Explanation, explain
from relucidate.features import Feature, Features
from relucidate.unwrapping import unwrap
from small_networks import network, random_network

mpl.use("Agg")

WIDTHS = (3.4, 6.8)
NAMES = ("age", "income_of_the_whole_household_last_year", "$x_1^2$ <b>\u202e", "debt", "L" * 300)


def explained(
    sizes: tuple[int, ...] = (5, 12, 8, 1), link: Any = "logit", y: bool = True, classes: Any = ()
) -> Explanation:
    d = sizes[0]
    net = random_network(sizes, seed=3, link=link)
    net = replace(
        net.with_names([*NAMES, *(f"the feature number {i}" for i in range(5, d))][:d]), classes=classes, outputs=()
    )
    x = np.random.default_rng(0).normal(size=(300, d))
    response = (net.decision(x)[:, 0] > 0).astype(int) if y and sizes[-1] == 1 and not classes else None
    return explain(unwrap(net, x[:250], response if response is None else response[:250]), x)


def grouped() -> Explanation:
    towns = tuple(f"a town $ with a long name {t}" for t in "ABC")
    items = (*(Feature(f"town={t}", "town", "level", (t,)) for t in towns), Feature("age", "age"))
    net = replace(random_network([4, 6, 1], seed=3), features=Features(items, ("town", "age"), True))
    table = pd.DataFrame({"town": [*towns, *towns], "age": [1.0, 2, 3, 4, 5, 60000]})
    return explain(unwrap(net, table), table)


def endless() -> Explanation:
    net = network([np.zeros((1, 3))], [np.ones(1)])
    return explain(unwrap(net, np.eye(3)), np.eye(3))


PICTURES: dict[str, Callable[[Axes | None], Axes]] = {
    "few": lambda ax: plot.explain(explained(), ax),
    "many": lambda ax: plot.explain(explained((200, 30, 30, 1)), ax, row=17),
    "never seen": lambda ax: plot.explain(explained((200, 30, 30, 1)), ax, row=270),
    "softmax": lambda ax: plot.explain(
        explained((5, 12, 8, 3), "softmax", classes=("no", "maybe $1$", "y" * 90)), ax, row=2
    ),
    "regression": lambda ax: plot.explain(explained((5, 12, 8, 2), "identity"), ax, output="y1"),
    "rate": lambda ax: plot.explain(explained((5, 12, 8, 1), "log"), ax),
    "one feature": lambda ax: plot.explain(explained((1, 3, 1)), ax),
    "groups": lambda ax: plot.explain(grouped(), ax, row=4),
    "constant": lambda ax: plot.explain(endless(), ax),
}


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PICTURES)
def test_no_text_lies_on_other_text_or_outside(name: str, width: float) -> None:
    assert_legible(PICTURES[name](axes(width, 5.0)))


@pytest.mark.parametrize("name", PICTURES)
def test_axes_given_are_those_returned_and_names_are_no_mathematics(name: str) -> None:
    import matplotlib.pyplot as plt

    ax, before = axes(), dict(mpl.rcParams)
    assert PICTURES[name](ax) is ax
    assert plt.get_fignums() == []
    assert dict(mpl.rcParams) == before
    assert ax.get_title(loc="left")
    assert "decision" in ax.get_xlabel()
    for text in texts(ax):
        assert "\u202e" not in text.get_text()
        if "$" in text.get_text():
            assert not text.get_parse_math()
    made = PICTURES[name](None)
    assert plt.figure(plt.get_fignums()[0]) is made.get_figure()


def bars(ax: Axes) -> list[tuple[float, float, str]]:
    """Left end as it was given, width with its sign, and colour of each bar from top to bottom."""
    return [(p.get_x(), p.get_width(), to_hex(p.get_facecolor())) for p in ax.patches]  # type: ignore[attr-defined]


def test_bars_are_centred_effects_and_lead_to_the_decision() -> None:
    e = explained()
    ax = plot.explain(e, axes(), row=7)
    terms = e.terms(7)
    drawn = bars(ax)
    assert len(drawn) == len(terms) == 5
    at = e.mean_part[7, 0]
    for (left, width, colour), term in zip(drawn, terms, strict=True):
        assert (left, width) == (pytest.approx(at), pytest.approx(term.centred))
        assert colour == ("#0072b2" if term.centred >= 0 else "#d55e00")
        at += width
    assert at == pytest.approx(e.decision[7, 0])
    assert points(ax) == [(pytest.approx(e.mean_part[7, 0]), 0), (pytest.approx(e.decision[7, 0]), 6)]
    labels = [t.get_text() for t in ax.get_yticklabels()]
    assert (labels[0], labels[-1]) == ("mean row", "this row")
    where = [t.name for t in terms].index("age") + 1
    assert labels[where] == f"age = {terms[where - 1].value}"
    said = [float(t.get_text().replace("−", "-")) for t in ax.texts[:-1]]
    expected = [e.mean_part[7, 0], *(t.centred for t in terms), e.decision[7, 0]]
    np.testing.assert_allclose(said, expected, rtol=0.006)
    low, high = ax.get_xlim()
    assert all(low < end < high for left, width, _ in drawn for end in (left, left + width))


def test_small_ones_are_added_up() -> None:
    e = explained((200, 30, 30, 1))
    ax = plot.explain(e, axes(), row=17, most=4)
    terms = e.terms(17)
    drawn = bars(ax)
    assert len(drawn) == 5
    assert [width for _, width, _ in drawn[:4]] == [pytest.approx(t.centred) for t in terms[:4]]
    assert drawn[4][1] == pytest.approx(sum(t.centred for t in terms[4:]))
    assert [t.get_text() for t in ax.get_yticklabels()][5] == "196 others"
    assert points(ax)[1][0] == pytest.approx(e.decision[17, 0])
    assert len(bars(plot.explain(explained(), axes(), most=4))) == 5  # one that is left has its name
    with pytest.raises(ArgumentError, match="most is 0; expected a whole number from 1"):
        plot.explain(e, axes(), most=0)


def test_title_and_axis_name_prediction_and_unit() -> None:
    e = explained()
    ax = plot.explain(e, axes(), row=3)
    title = ax.get_title(loc="left").replace("−", "-").replace("\n", " ")
    assert title.startswith("Row 3: probability")
    assert f" is {e.prediction[3, 0]:.3g}, decision {e.decision[3, 0]:.3g}" in title
    assert ax.get_xlabel() == "decision (log-odds)"
    plain = explained((5, 12, 8, 2), "identity")
    title = plot.explain(plain, axes(), row=3, output="y1").get_title(loc="left").replace("−", "-")
    assert title == f"Row 3: prediction of y1 is {plain.decision[3, 1]:.3g}"
    several = explained((5, 12, 8, 3), "softmax", classes=("a", "b", "c"))
    for row in range(5):
        k = int(several.decision[row].argmax())
        ax = plot.explain(several, axes(), row=row)
        assert f"probability of {'abc'[k]} is {several.prediction[row, k]:.3g}" in ax.get_title(loc="left")
        assert ax.get_xlabel() == f"decision of {'abc'[k]} (logit)"
    assert points(plot.explain(several, axes(), row=1, output="c"))[1][0] == several.decision[1, 2]


def test_caption_says_support_and_facet() -> None:
    e = explained()
    said = caption(plot.explain(e, axes(), row=3))
    for sentence in e.reliability(3):
        assert sentence in said
    assert "standard deviations away, where neuron" in said
    assert "L" * 40 not in said
    unseen = explained((200, 30, 30, 1))
    assert "untested by data" in caption(plot.explain(unseen, axes(), row=270))
    assert "Nothing ends its region" in caption(plot.explain(endless(), axes()))


def test_groups_have_one_bar_with_the_level() -> None:
    e = grouped()
    ax = plot.explain(e, axes(), row=4)
    assert len(bars(ax)) == 2
    labels = [t.get_text() for t in ax.get_yticklabels()]
    town = next(i for i, label in enumerate(labels) if label.startswith("town = "))
    assert labels[town].endswith("B")
    assert bars(ax)[town - 1][1] == pytest.approx(e.centred[4, 0, :3].sum())


def test_the_decision_boundary_is_drawn_where_it_is_in_sight() -> None:
    e = explained()
    for row in range(12):
        ax = plot.explain(e, axes(), row=row)
        low, high = ax.get_xlim()
        at_zero = [line for line in ax.lines if line.get_linestyle() == "--"]
        assert len(at_zero) == (low < 0 < high)
    regression = plot.explain(explained((5, 12, 8, 2), "identity"), axes())
    assert not [line for line in regression.lines if line.get_linestyle() == "--"]


def test_rows_that_were_not_explained() -> None:
    with pytest.raises(ArgumentError, match="Row 400 was not explained"):
        plot.explain(explained(), axes(), row=400)


def test_bars_are_as_many_as_have_room() -> None:
    net = random_network((12, 9, 1), seed=2, link="logit")
    u = unwrap(net, np.random.default_rng(0).normal(size=(200, 12)))
    ax = plot.explain(explain(u, np.random.default_rng(1).normal(size=(1, 12))), axes(3.4, 2.6))
    assert_legible(ax)
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert len(labels) < 13
    assert labels[-2].endswith("others")
    pixels = abs(ax.transData.transform((0, 1))[1] - ax.transData.transform((0, 0))[1])
    figure = ax.get_figure(root=True)
    assert figure is not None
    assert pixels * 72 / figure.dpi >= 7
    assert ax._left_title.get_window_extent().x0 <= min(t.get_window_extent().x0 for t in ax.get_yticklabels()) + 3  # type: ignore[attr-defined]
