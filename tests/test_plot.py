"""Pictures: that they show the numbers of the result, say what they leave out, and that no text lies on other text."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
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
from relucidate.features import Features
from relucidate.glm import fit
from relucidate.inference import Inference, wald
from relucidate.layers import Activation, Layer
from relucidate.merging import MergePath, merge_path, region_moments
from relucidate.network import Faithfulness, Network
from relucidate.simplified import ByCentre, ByRule, Curve, Simplified
from relucidate.trees import Tree

mpl.use("Agg")

NAMES = ("age", "income_of_the_whole_household_last_year", "$x_1^2$ <b>\u202e", "debt", "L" * 300)
WIDTHS = (3.4, 6.8)


# ---------------------------------------------------------------- specimens


def network(names: tuple[str, ...] = NAMES, n_outputs: int = 1) -> Network:
    """A linear network: pictures of simplifications need its names only."""
    layer = Layer(np.ones((n_outputs, len(names))), np.zeros(n_outputs), Activation.of_kind("identity", n_outputs), "")
    return Network((layer,), Features.plain(len(names), names))


def simplified(oblique: bool = False, n_outputs: int = 1, K: int = 5) -> Simplified:
    """K models behind a tree, its splits one below the other."""
    rng = np.random.default_rng(1)
    net, d = network(n_outputs=n_outputs), len(NAMES)
    direction = np.eye(d)[np.arange(K - 1) % d]
    if oblique:
        direction[::2] = rng.normal(size=direction[::2].shape)
    tree = Tree(np.arange(K - 1), direction, rng.normal(size=K - 1) * 1000, np.ones(K - 1))
    return Simplified(
        network=net,
        method="tree",
        route=ByRule(tree, np.arange(K)),
        coef=rng.normal(size=(K, n_outputs, d)) * [1, 1e-5, 1, 10, 1],
        intercept=np.zeros((K, n_outputs)),
        count=np.arange(1, K + 1) * 1111,
        faithfulness=Faithfulness(1.0, 0.1, 0.5, 3, None, 6000, "the network"),
        response=rng.random((K, n_outputs)),
        curve=curve(),
    )


def curve(chosen: int = 8, rule: str = "the fewest within one standard error of the best") -> Curve:
    k = np.array([1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 96, 128])
    return Curve(k, 1 / k + 0.1, 0.2 / k, chosen, rule, "squared difference to the network's decision")


def path(R: int = 60) -> MergePath:
    rng = np.random.default_rng(0)
    x, region = rng.normal(size=(40 * R, 3)), np.arange(40 * R) % R
    return merge_path(region_moments(x, region, R), rng.normal(size=(R, 1, 4)))


def inferred(separated: bool = False, n_groups: int = 3) -> Inference:
    rng = np.random.default_rng(2)
    n, d = 600, len(NAMES)
    x, group = rng.normal(size=(n, d)), np.arange(n) % n_groups
    y = x @ np.arange(d) + rng.normal(size=n)
    if separated:
        y[group == 1] = 3.0
    fits = fit(x, y, "gaussian", group=group, names=NAMES)
    return wald(fits, x, y, group=group)


def compared() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "method": ["network", "tree", "cells", "published merge with a name that is long", "sorted", "none"],
            "n_models": [331, 8, 8, 8, 1, 8],
            "auc": [0.8991, 0.8969, 0.89, 0.871, 0.6, np.nan],
            "log_loss": [0.165, 0.1676, 0.17, 0.19, 0.3, np.nan],
            "fidelity": [1.0, 0.5, 0.8, 0.7, 0.2, np.nan],
        }
    )


PICTURES: dict[str, Callable[[Axes | None], Axes]] = {
    "curve": lambda ax: plot.curve(curve(), ax),
    "curve, the first": lambda ax: plot.curve(curve(chosen=1), ax),
    "curve, the last": lambda ax: plot.curve(curve(chosen=128), ax),
    "comparison": lambda ax: plot.comparison(compared(), ax),
    "comparison, lower is better": lambda ax: plot.comparison(compared(), ax, score="log_loss"),
    "dendrogram": lambda ax: plot.dendrogram(path(), n_models=8, ax=ax),
    "dendrogram of few": lambda ax: plot.dendrogram(path(4), ax=ax),
    "inference": lambda ax: plot.inference(inferred(), ax),
    "inference, some without": lambda ax: plot.inference(inferred(separated=True), ax),
    "inference, the largest": lambda ax: plot.inference(inferred(n_groups=8), ax, most=12),
    "models": lambda ax: plot.models(simplified(), ax),
    "models, many": lambda ax: plot.models(simplified(K=40), ax, spread=np.ones(5)),
    "models, sums": lambda ax: plot.models(simplified(oblique=True), ax),
    "tree": lambda ax: plot.tree(simplified(), ax),
    "tree, sums": lambda ax: plot.tree(simplified(oblique=True), ax),
}


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


# ---------------------------------------------------------------- laws of every picture


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PICTURES)
def test_no_text_lies_on_other_text_or_outside(name: str, width: float) -> None:
    assert_legible(PICTURES[name](axes(width, 7.5)))


@pytest.mark.parametrize("name", PICTURES)
def test_axes_given_are_those_returned_and_pyplot_holds_nothing(name: str) -> None:
    import matplotlib.pyplot as plt

    ax, before = axes(), dict(mpl.rcParams)
    assert PICTURES[name](ax) is ax
    assert plt.get_fignums() == []
    assert dict(mpl.rcParams) == before
    made = PICTURES[name](None)
    assert len(plt.get_fignums()) == 1
    assert plt.figure(plt.get_fignums()[0]) is made.figure


@pytest.mark.parametrize("name", PICTURES)
def test_titles_and_axes_have_words(name: str) -> None:
    ax = PICTURES[name](axes())
    assert ax.get_title(loc="left")
    if name.startswith(("curve", "comparison", "dendrogram", "inference")):
        assert ax.get_xlabel()


@pytest.mark.parametrize("name", PICTURES)
def test_names_are_no_mathematics(name: str) -> None:
    for text in texts(PICTURES[name](axes())):
        assert "\u202e" not in text.get_text()
        if "$" in text.get_text():
            assert not text.get_parse_math()


def test_importing_draws_on_no_library() -> None:
    program = "import sys, relucidate.plot; print('matplotlib' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


# ---------------------------------------------------------------- what each shows


def test_curve_shows_loss_band_and_choice() -> None:
    c = curve()
    ax = plot.curve(simplified(), axes())
    drawn = points(ax)
    np.testing.assert_allclose(drawn[:-1], np.column_stack([c.n_models, c.loss]))
    assert drawn[-1] == (8, pytest.approx(1 / 8 + 0.1))
    band = ax.collections[0].get_paths()[0].vertices
    np.testing.assert_allclose([band[:, 1].min(), band[:, 1].max()], [(c.loss - c.error).min(), 1.3])
    ticks = [int(t.get_text().replace(",", "")) for t in ax.get_xticklabels()]
    assert {1, 8, 128} <= set(ticks) <= set(c.n_models.tolist())
    assert ax.texts[0].get_text() == "8 models"
    assert "8 models: the fewest within one standard error of the best." in caption(ax)
    assert "network's decision" in ax.get_ylabel().replace("\n", " ")
    assert "8 models, as asked for." in caption(plot.curve(curve(rule="given"), axes()))


def test_comparison_shows_each_method_best_first() -> None:
    ax = plot.comparison(compared(), axes())
    assert points(ax) == [(0.8969, 0), (0.89, 1), (0.871, 2), (0.6, 3)]
    labels = [t.get_text() for t in ax.get_yticklabels()]
    assert labels[0] == "tree (8 models)"
    assert labels[3] == "sorted (1 model)"
    (line,) = [line for line in ax.lines if line.get_marker() == "None"]
    assert np.asarray(line.get_xdata()).tolist() == [0.8991, 0.8991]
    assert [t.get_text() for t in ax.texts[:4]] == ["0.8969", "0.8900", "0.8710", "0.6000"]
    assert "Not shown, without this score: none." in caption(ax)
    losses = plot.comparison(compared(), axes(), score="log_loss")
    assert [x for x, _ in points(losses)] == [0.1676, 0.17, 0.19, 0.3]
    assert "lower is better" in losses.get_xlabel().replace("\n", " ")
    frame = compared()
    made = plot.comparison(SimpleNamespace(to_frame=lambda: frame, on="other rows"), axes())
    assert caption(made).startswith("On other rows.")


def test_dendrogram_shows_the_last_mergers() -> None:
    p = path()
    ax = plot.dendrogram(p, n=12, n_models=5, ax=axes())
    *branches, cut = ax.lines
    height = p.linkage(12)[:, 2] / p.moments.weight.sum()
    np.testing.assert_allclose(sorted(max(line.get_xdata()) for line in branches), np.sort(height))
    at = np.asarray(cut.get_xdata())[0]
    assert (height > at).sum() == 4  # mergers that are left from five models to one
    assert sum(to_hex(line.get_color()) == plot.BLUE for line in branches) == 7
    rows = [int(t.get_text().replace(",", "")) for t in ax.get_yticklabels()]
    assert sum(rows) == p.moments.count.sum()
    assert caption(ax) == "The last 11 of 59 mergers are shown. Dashed: the cut that leaves 5 models."


@pytest.mark.parametrize("n_models", [1, 2, 12])
def test_cut_leaves_so_many_models(n_models: int) -> None:
    p = path()
    ax = plot.dendrogram(p, n=12, n_models=n_models, ax=axes())
    at = np.asarray(ax.lines[-1].get_xdata())[0]
    assert (p.linkage(12)[:, 2] / p.moments.weight.sum() > at).sum() == n_models - 1


def test_inference_shows_estimates_and_intervals() -> None:
    result = inferred()
    ax = plot.inference(result, axes())
    frame = result.to_frame()
    frame = frame[frame["term"] != "(intercept)"]
    assert [x for x, _ in points(ax)] == frame["estimate"].tolist()
    intervals = [line.get_xdata() for line in ax.lines if line.get_marker() == "None"][:-1]
    np.testing.assert_array_equal(intervals, frame[["lower", "upper"]])
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    filled = [to_hex(dot.get_markerfacecolor()) == plot.BLUE for dot in dots]
    assert filled == ((frame["lower"] > 0) | (frame["upper"] < 0)).tolist()
    assert [t.get_text() for t in ax.get_yticklabels()][:2] == ["model 0", "age"]
    assert "All 15 coefficients are shown" in caption(ax)
    assert result.note in caption(ax)
    assert "95 % interval" in ax.get_xlabel().replace("\n", " ")


def test_inference_of_a_long_table_shows_the_largest() -> None:
    result = inferred(n_groups=8)
    ax = plot.inference(result.to_frame(), axes(), most=7, groups=[f"segment {i}" for i in range(8)])
    frame = result.to_frame()
    frame = frame[frame["term"] != "(intercept)"]
    kept = frame.loc[frame["statistic"].abs().nlargest(7).index].sort_index()
    assert [x for x, _ in points(ax)] == kept["estimate"].tolist()
    assert "7 of 40 coefficients are shown: those with the largest |z|" in caption(ax)
    assert ax.get_yticklabels()[0].get_text().startswith("segment")


def test_model_without_inference_is_grey_and_says_why() -> None:
    result = inferred(separated=True)
    ax = plot.inference(result, axes())
    (reason,) = [t.get_text() for t in ax.texts if t.get_text().startswith("no inference")]
    assert result.reason[1][:20] in reason
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    assert [to_hex(dot.get_color()) == plot.QUIET for dot in dots] == [False] * 5 + [True] * 5 + [False] * 5


def test_models_without_inference_are_cut_and_it_is_said() -> None:
    frame = inferred(n_groups=12).to_frame()
    none = frame["group"] > 0
    frame.loc[none, ["se", "statistic", "p", "lower", "upper"]] = np.nan
    frame.loc[none, "reason"] = "separated"
    ax = plot.inference(frame, axes(), most=5)
    assert sum(t.get_text() == "no inference: separated" for t in ax.texts) == 8
    assert "8 of 11 models without inference are shown." in caption(ax)


def test_spread_makes_coefficients_comparable() -> None:
    result, spread = inferred(), np.arange(1.0, 6.0)
    ax = plot.inference(result, axes(), spread=spread)
    np.testing.assert_allclose([x for x, _ in points(ax)], (result.estimate[:, 0, 1:] * spread).ravel())
    s = simplified()
    cells = plot.models(s, axes(), spread=spread).images[0]
    np.testing.assert_allclose(cells.get_array(), s.coef[:, 0] * spread)


def test_models_are_cells_centred_on_nothing() -> None:
    s = simplified()
    ax = plot.models(s, axes())
    cells = ax.images[0]
    np.testing.assert_allclose(cells.get_array(), s.coef[:, 0] / np.abs(s.coef[:, 0]).max(axis=0))
    low, high = cells.get_clim()
    assert low == -high
    labels = [t.get_text() for t in ax.get_yticklabels()]
    assert labels[2].startswith("2 · 3,333 rows\n")
    bar = next(a for a in ax.figure.axes if a is not ax)
    assert "coefficient" in bar.get_ylabel()
    assert caption(plot.models(simplified(n_outputs=3), axes(), output=1)).startswith("Output y1, one of 3.")
    assert "2 of 5 features are shown." in caption(plot.models(s, axes(), most=2))


def test_tree_shows_every_leaf_with_its_rows() -> None:
    s = simplified()
    assert s.response is not None
    ax = plot.tree(s, axes())
    written = [t.get_text() for t in ax.texts]
    for m in range(s.n_models):
        assert f"model {m}: {s.count[m]:,} rows\nmean {s.response[m, 0]:.3g}" in written
    assert f"≤ {s.route.tree.threshold[0]:.4g}" in written  # type: ignore[union-attr]


def test_leaves_that_share_a_model_are_said_to() -> None:
    s = simplified()
    assert isinstance(s.route, ByRule)
    assert "share" not in caption(plot.tree(s, axes()))
    few = replace(s, route=ByRule(s.route.tree, np.array([0, 1, 2, 3, 0])), coef=s.coef[:4], count=s.count[:4])
    ax = plot.tree(few, axes())
    assert sum(t.get_text().startswith("model 0: 1,111 rows") for t in ax.texts) == 2
    assert "the rows and the mean response of the model, which several leaves share." in caption(ax)


def test_sums_have_short_names_that_are_explained() -> None:
    s = simplified(oblique=True)
    rules, sums = plot.short_rules(s)
    assert [name.replace("\xa0", " ") for name, _ in sums] == ["sum 1", "sum 2"]
    assert all(len(rule) < 200 for texts in rules for rule in texts)
    assert "age" in sums[0][1]
    assert sums[0][1].endswith("and 1 smaller term")
    plain, none = plot.short_rules(simplified())
    assert none == []
    assert plain[0][0].replace("\xa0", " ").startswith("age ≤ ")


def test_models_without_rules_have_none() -> None:
    s = replace(simplified(), route=ByCentre(np.zeros((5, 5)), np.ones(5), np.arange(5)))
    assert plot.short_rules(s) == ([[]] * 5, [])
    assert plot.models(s, axes()).get_yticklabels()[0].get_text() == "0 · 1,111 rows"
    with pytest.raises(ArgumentError, match="there is no tree to draw"):
        plot.tree(s)


# ---------------------------------------------------------------- what cannot be drawn

REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: plot.curve(replace(simplified(), curve=None)), "no curve to draw"),
    (lambda: plot.comparison(compared().drop(columns="method")), "lacks 'method'"),
    (lambda: plot.comparison(compared(), score="r2"), "score is 'r2'"),
    (lambda: plot.comparison(compared()[["method", "n_models"]]), "no score"),
    (lambda: plot.comparison(compared()[:1]), "No method"),
    (lambda: plot.comparison(3), "A int cannot be drawn"),
    (lambda: plot.dendrogram(path(), n=1), "at least 2 models"),
    (lambda: plot.dendrogram(path(), n=12, n_models=13), "expected 1 to 12"),
    (lambda: plot.inference(compared()), "lacks 'group'"),
    (lambda: plot.inference(inferred(), spread=[1.0]), "one standard deviation per feature"),
    (lambda: plot.inference(inferred(), groups=["a"]), "1 names were given for 3 models"),
    (lambda: plot.inference(inferred().to_frame().query("term == '(intercept)'")), "no coefficients"),
    (lambda: plot.models(simplified(), output=1), "output is 1"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_refusals_say_what_was_expected(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        call()
