"""Pictures of scores, sets and segments show the numbers of the result, say what they leave out, and can be read."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

import relucidate as rl
from drawing import all_axes, assert_legible, axes, caption, points
from relucidate import diagnose, plot
from relucidate.errors import ArgumentError
from small_networks import SPECIMENS, random_network
from test_exposures import drawn, lending
from test_performances import unwrapped
from test_segmenting import found_lending

HOSTILE = ("$x_1^2$ <b>", "L" * 300, "debt_to_income_of_the_whole_household")


@cache
def many(d: int = 200, n: int = 4000) -> rl.Unwrapped:
    net = random_network([d, 40, 10, 1], seed=1, link="logit")
    x, y = drawn(net, n, 0)
    return rl.unwrap(net, x, y)


@cache
def hostile() -> rl.Unwrapped:
    net = random_network([3, 8, 2], seed=2).with_names(HOSTILE)
    x, y = drawn(net, 600, 0)
    return rl.unwrap(net, x, y)


@cache
def exposed() -> Any:
    example = rl.examples.home_lending()
    return diagnose.exposure(lending(), lending(), (example.test, example.target))


def segmented(u: rl.Unwrapped) -> Any:
    return diagnose.segments(u, protected=["$a_1$ " + "G" * 80 if i % 3 else "other" for i in range(u.n_rows)])


PICTURES: dict[str, Callable[[Axes | None], Axes]] = {
    "performance": lambda ax: plot.performance(diagnose.performance(lending()), ax),
    "performance of few": lambda ax: plot.performance(diagnose.performance(unwrapped(SPECIMENS["abs"])), ax),
    "performance of many": lambda ax: plot.performance(diagnose.performance(many()), ax, measure="log_loss"),
    "bars": lambda ax: plot.performance(diagnose.performance(lending()), ax, kind="bars"),
    "bars of few": lambda ax: plot.performance(diagnose.performance(hostile()), ax, kind="bars", most=3),
    "exposure": lambda ax: plot.exposure(exposed(), ax),
    "exposure without responses": lambda ax: plot.exposure(
        diagnose.exposure(hostile(), hostile(), hostile().sample.x + 1), ax
    ),
    "exposure of many": lambda ax: plot.exposure(
        diagnose.exposure(many(), many(), drawn(many().network, 500, 1)), ax, most=5
    ),
    "segments": lambda ax: plot.segments(found_lending(), ax),
    "segments with long names": lambda ax: plot.segments(segmented(hostile()), ax),
    "segments of many": lambda ax: plot.segments(segmented(many(200, 1500)), ax),
}


@pytest.mark.parametrize("width", [3.4, 6.8])
@pytest.mark.parametrize("name", PICTURES)
def test_it_can_be_read(name: str, width: float) -> None:
    ax = axes(width, 4.6)
    assert PICTURES[name](ax) is ax
    assert_legible(ax)
    assert ax.get_title(loc="left")
    assert caption(ax)


@pytest.mark.parametrize("name", ["performance", "bars", "exposure", "segments"])
def test_it_makes_its_own_figure(name: str) -> None:
    import matplotlib.pyplot as plt

    ax = PICTURES[name](None)
    assert_legible(ax)
    plt.close(ax.figure)  # type: ignore[arg-type]


def test_bubbles_are_the_scores() -> None:
    found = diagnose.performance(lending())
    ax = plot.performance(found, axes())
    local, overall = found.local.of("auc"), found.overall.of("auc")
    both = found.order[(np.isfinite(local[0]) & np.isfinite(overall[0]))[found.order]]
    dots = ax.collections[0]
    np.testing.assert_array_equal(dots.get_offsets(), np.column_stack([overall[0][both], local[0][both]]))
    size = np.asarray(dots.get_sizes())  # type: ignore[attr-defined]
    large = size > 4
    np.testing.assert_allclose(size[large] / size[0], found.count[both][large] / found.count[both[0]])
    ends = [np.asarray(p.vertices) for c in ax.containers for p in c.lines[2][0].get_paths()]
    local[1][:], local[2][:] = (np.where(np.isnan(v), local[0], v) for v in local[1:])  # no interval, no line
    for r in both[:5]:
        assert any(np.allclose(e[:, 0], [overall[1][r], overall[2][r]], equal_nan=True) for e in ends)
        assert any(np.allclose(e[:, 1], [local[1][r], local[2][r]], equal_nan=True) for e in ends)
    (dashed, *_) = [line for line in ax.lines if to_hex(line.get_color()) == plot.VERMILION]
    assert np.asarray(dashed.get_xdata())[0] == found.network.of("auc")[0][0]
    assert f"{len(both)} of 331 regions" in caption(ax)
    assert ax.get_xlabel().replace("\n", " ") == "AUC of the local model on all rows"


def test_bars_are_the_scores() -> None:
    found = diagnose.performance(lending())
    ax = plot.performance(found, axes(6.8, 5), kind="bars", measure="log_loss", most=6)
    own, every = (np.array([bar.get_width() for bar in c]) for c in ax.containers if hasattr(c, "patches"))
    np.testing.assert_allclose(own, found.local.of("log_loss")[0][:6])
    np.testing.assert_allclose(every, found.overall.of("log_loss")[0][:6])
    assert caption(ax).startswith("6 of 331 regions")
    assert "(nats)" in ax.get_xlabel()


def test_exposure_shows_shares_losses_and_flags() -> None:
    found = exposed()
    ax = plot.exposure(found, axes(), most=7)
    shares, losses = ax.child_axes
    flagged = found.share_flag[1] | found.worse_flag[1]
    order = np.argsort(-(found.share[0] + found.share[1]), kind="stable")
    kept = np.concatenate([order[flagged[order]], order[~flagged[order]]])[:7]
    d = found.drift[0]
    train = [x for x, _ in points(shares, "|")]
    np.testing.assert_allclose(train, 100 * np.r_[found.share[0][kept], d.unseen_expected])
    dots = shares.collections[-1]
    np.testing.assert_allclose(np.asarray(dots.get_offsets())[:, 0], 100 * np.r_[found.share[1][kept], d.unseen_share])
    filled = [to_hex(c) == plot.VERMILION for c in np.asarray(dots.get_facecolor())]
    assert filled == [*found.share_flag[1][kept].tolist(), False]
    np.testing.assert_allclose([x for x, _ in points(losses, "|")], found.scores[0].of("log_loss")[0][kept])
    other = np.asarray(losses.collections[-1].get_offsets())[:, 0]
    np.testing.assert_allclose(other, found.scores[1].of("log_loss")[0][kept])
    assert [t.get_text() for t in shares.get_yticklabels()] == [*(f"region {r}" for r in kept), "new patterns"]
    assert ax.get_title(loc="left") == "Test has drifted against train"
    assert f"7 of {flagged.sum()} flagged of 331 regions hold" in caption(ax)
    assert f"{d.unseen_share:.2%} of 8,000 rows" in caption(ax)


def test_segments_are_drawn_with_their_rules() -> None:
    found = found_lending()
    ax = plot.segments(found, axes(6.8, 8), most=4)
    dots = ax.collections[[len(np.asarray(c.get_offsets())) for c in ax.collections].index(4)]
    assert np.asarray(dots.get_offsets())[:, 0].tolist() == found.loss[:4].tolist()
    filled = [to_hex(c) == plot.VERMILION for c in np.asarray(dots.get_facecolor())]
    assert filled == found.flag[:4].tolist()
    assert [x for x, _ in points(ax, "|")] == found.claimed[:4].tolist()
    assert [x for x, _ in points(ax, "s")] == found.groups.scores.of("log_loss")[0].tolist()  # type: ignore[union-attr]
    ends = [np.asarray(p.vertices)[:, 0] for c in ax.containers for p in c.lines[2][0].get_paths()]
    np.testing.assert_allclose(ends[:4], np.column_stack([found.loss_low, found.loss_high])[:4])
    written = [" ".join(t.get_text().split()) for t in ax.texts]
    assert f"{found.rule[0]}: {found.count[0]:,} rows ({found.share[0]:.1%})" in written
    assert caption(ax).startswith(f"4 of {len(found.rule)} segments are shown")


def large_units() -> rl.Unwrapped:
    """A regression in units of a hundred thousand, which its network knows nothing of."""
    net = random_network([3, 8, 2], seed=3)
    x = np.random.default_rng(0).normal(size=(600, 3))
    return rl.unwrap(net, x, 1e5 * np.random.default_rng(1).normal(size=(600, 2)))


@pytest.mark.parametrize("width", [3.4, 6.8])
def test_large_numbers_are_written_at_their_ticks(width: float) -> None:
    """No power and no offset at the end of an axis, and differences that rows cannot tell do not fill the picture."""
    u = large_units()
    found = diagnose.performance(u)
    drawn_ = [
        plot.performance(found, axes(width, 4.6)),
        plot.performance(found, axes(width, 4.6), kind="bars"),
        plot.exposure(diagnose.exposure(u, u, u), axes(width, 4.6)),
        plot.segments(diagnose.segments(u), axes(width, 4.6)),
    ]
    for ax in drawn_:
        assert_legible(ax)
        for part in all_axes(ax):
            assert part.xaxis.get_offset_text().get_text() == part.yaxis.get_offset_text().get_text() == ""
    low, high = drawn_[0].get_xlim()
    within = found.network.of("mse")
    assert low <= within[1][0]
    assert within[2][0] <= high
    labels = [text.get_text() for text in drawn_[0].get_xticklabels()]
    assert len(set(labels)) == len(labels)


def test_one_region_is_spoken_of_as_one() -> None:
    u = unwrapped(SPECIMENS["linear"])
    assert caption(plot.performance(diagnose.performance(u), axes())).startswith("The only region (100% of the rows)")
    assert "intervals of the largest." in caption(plot.performance(diagnose.performance(u), axes()))
    assert caption(plot.exposure(diagnose.exposure(u, u, u), axes())).startswith("The only region: 100% of train")


@pytest.mark.parametrize("size", [(6.8, 5.1), (3.4, 4.0)])
@pytest.mark.parametrize("letters", ["W w@ ", "$x^2$ _evil_ very long "])
def test_long_names_end_with_the_axes(letters: str, size: tuple[float, float]) -> None:
    """Axes without a layout stay where they are; letters are wider at the resolution of a file."""
    found = found_lending()
    name = letters * (90 // len(letters))
    rules = tuple(f"{name} > 0.{i + 1}5 and {name} <= 0.4978 and {name} > 1.1" for i in range(len(found.rule)))
    fig, ax = plt.subplots(figsize=size)
    plot.segments(replace(found, rule=rules, features=(name,)), ax)
    for dpi in (100, 150, 300):
        fig.set_dpi(dpi)
        fig.canvas.draw()
        right = ax.get_window_extent().x1 + 0.05 * dpi
        assert all(text.get_window_extent().x1 <= right for text in ax.texts)
    plt.close(fig)


def test_a_long_name_does_not_take_the_sense_of_a_rule() -> None:
    """Names are cut, and not what is said of them."""
    found = found_lending()
    rest = "and debt_to_income > 40.15 and loan_to_value_ratio > 80.25 and first_time_buyer <= 0.5"
    rules = tuple(f"{'L' * 300} > 0.{i + 1}5 {rest}" for i in range(len(found.rule)))
    ax = plot.segments(replace(found, rule=rules, features=("L" * 300,), groups=None), axes(6.8, 8), most=4)
    written = [" ".join(text.get_text().split()) for text in ax.texts]
    for i in range(4):
        assert any(f" > 0.{i + 1}5 {rest}: {found.count[i]:,} rows" in w for w in written)
    assert_legible(ax)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plot.performance(diagnose.performance(hostile()), kind="pies"), "kind is 'pies'; expected 'bubbles'"),  # type: ignore[arg-type]
        (lambda: plot.performance(diagnose.performance(hostile()), measure="auc"), "measure is 'auc'; expected one of"),
        (
            lambda: plot.performance(diagnose.performance(hostile()), most=0),
            "most is 0; expected a whole number, at least 1",
        ),
        (
            lambda: plot.performance(diagnose.performance(hostile()), intervals=0),
            "intervals is 0; expected a whole number, at least 1",
        ),
        (
            lambda: plot.performance(diagnose.performance(unwrapped(SPECIMENS["one logit"], 1))),
            "No region has AUC both on its own rows and on all: nothing to draw. Name a measure that they have: 'accuracy', "
            "'log_loss'",
        ),
        (lambda: plot.exposure(exposed(), which="later"), "which is 'later'; expected one of 'test'"),
        (lambda: plot.exposure(exposed(), most=0), "most is 0; expected a whole number, at least 1"),
        (lambda: plot.segments(found_lending(), most=0), "most is 0; expected a whole number, at least 1"),
        (
            lambda: plot.segments(diagnose.segments(unwrapped(SPECIMENS["lines"], 20))),
            "too few rows for any segment, and no groups",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        call()
