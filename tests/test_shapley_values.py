"""Shapley values: the definition by permutations, another library's numbers, and laws that hold for every network."""

from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import relucidate as rl
from relucidate import shapley_values
from relucidate.errors import ArgumentError, DataError, NumericalOverflowError, UnfaithfulError
from relucidate.features import Feature, Features
from relucidate.layers import Activation, Layer
from relucidate.network import Network
from relucidate.shapley_values import shapley
from small_networks import SPECIMENS, mixed, network, random_network, rows_for

GOLDEN = np.load(Path(__file__).parent / "golden" / "shapley.npz")


def by_definition(f: Any, groups: Any, x: Any, background: Any, weight: Any) -> Any:
    """Values (n_outputs, n_groups) of one row: the mean over all orders in which its columns may arrive."""
    known: dict[frozenset[int], Any] = {}

    def worth(present: frozenset[int]) -> Any:
        if present not in known:
            rows = background.copy()
            for g in present:
                rows[:, list(groups[g])] = x[list(groups[g])]
            known[present] = np.average(f(rows), axis=0, weights=weight)
        return known[present]

    orders = list(permutations(range(len(groups))))
    total = 0.0
    for order in orders:
        gained = [worth(frozenset(order[: i + 1])) - worth(frozenset(order[:i])) for i in range(len(order))]
        total = total + np.array(gained)[np.argsort(order)].T
    return total / len(orders)


def stored(name: str, kind: str = "relu", link: Any = "identity") -> Network:
    n = sum(key.startswith(f"{name}_W") for key in GOLDEN.files)
    return network([GOLDEN[f"{name}_W{i}"].T for i in range(n)], [GOLDEN[f"{name}_b{i}"] for i in range(n)], kind, link)


def with_levels() -> tuple[Network, pd.DataFrame]:
    """A network on a number, a number that may be missing, a column of three levels, and one of two."""
    items = (
        Feature("age", "age"),
        Feature("region=N", "region", "level", ("N",)),
        Feature("debt", "debt", impute=0.5),
        Feature("region=S", "region", "level", ("S", "SE")),
        Feature("debt missing", "debt", "missing"),
        Feature("owner", "owner", "level", (True,)),
        Feature("region other", "region", "other", ("N", "S", "SE")),
    )
    net = random_network([7, 9, 6, 2], seed=3)
    net = Network(net.layers, Features(items, ("age", "region", "debt", "owner"), True), net.link)
    rng = np.random.default_rng(4)
    table = pd.DataFrame(
        {
            "age": rng.normal(size=12),
            "region": rng.choice(["N", "S", "SE", "elsewhere"], 12),
            "debt": np.where(rng.random(12) < 0.4, np.nan, rng.normal(size=12)),
            "owner": rng.random(12) < 0.5,
        }
    )
    return net, table


# ---------------------------------------------------------------- against something independent


@pytest.mark.parametrize("scale", ["decision", "prediction"])
@pytest.mark.parametrize("name", SPECIMENS)
def test_values_are_the_mean_over_all_orders(name: str, scale: Any) -> None:
    net = SPECIMENS[name].identified
    rows = rows_for(net, 14)
    x, background = rows[-4:], np.vstack([rows[:6], rows[-4:-3]])
    background[1, 0] = x[
        1, 0
    ]  # a pair that agrees somewhere; the last row agrees with one of the background everywhere
    weight = np.arange(len(background), dtype=float)
    found = shapley(net, x, background, weight, scale=scale)
    f = net.decision if scale == "decision" else net.predict
    groups = [indices for _, indices in net.features.groups]
    for i in range(len(x)):
        # sums of at most 64 mixtures, of decisions of order 1 to 100
        np.testing.assert_allclose(
            found.values[i], by_definition(f, groups, x[i], background, weight), rtol=1e-11, atol=1e-12
        )
    np.testing.assert_allclose(found.base, np.average(f(background), axis=0, weights=weight), rtol=1e-13, atol=1e-14)
    assert np.array_equal(found.output, f(x))


@pytest.mark.parametrize("name", ["eight", "twelve"])
def test_values_are_those_of_shap(name: str) -> None:
    found = shapley(stored(name), GOLDEN[f"{name}_x"], GOLDEN[f"{name}_background"])
    # shap sums 2**12 terms of order 1 one after the other
    np.testing.assert_allclose(found.values, GOLDEN[f"{name}_values"], rtol=0, atol=1e-10)
    np.testing.assert_allclose(found.base, GOLDEN[f"{name}_base"], rtol=0, atol=1e-12)
    assert np.abs(found.values).max() > 0.3


def test_values_of_probabilities_are_those_of_shap() -> None:
    net = stored("eight", link="logit")
    found = shapley(net, GOLDEN["eight_x"], GOLDEN["eight_background"], scale="prediction")
    np.testing.assert_allclose(found.values, GOLDEN["eight_probability_values"], rtol=0, atol=1e-10)
    np.testing.assert_allclose(found.base, GOLDEN["eight_probability_base"], rtol=0, atol=1e-12)


def test_columns_of_several_features_are_one_player() -> None:
    net, table = with_levels()
    x, background = net.features.encode(table[:5]), net.features.encode(table[5:])
    found = shapley(net, table[:5], table[5:])
    assert found.features == ("age", "region", "debt", "owner")
    assert found.values.shape == (5, 2, 4)
    layers = Network(net.layers, Features.plain(7))
    groups = [(0,), (1, 3, 6), (2, 4), (5,)]
    for i in range(5):
        np.testing.assert_allclose(
            found.values[i], by_definition(layers.decision, groups, x[i], background, None), rtol=1e-11, atol=1e-12
        )


# ---------------------------------------------------------------- laws


@pytest.mark.parametrize("block_bytes", [2**9, 2**13, 2**19])
def test_blocks_change_nothing(block_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    net = random_network([7, 12, 9, 3], seed=2, kind=mixed)
    rng = np.random.default_rng(5)
    x, background = rng.normal(size=(6, 7)), rng.normal(size=(5, 7))
    x[:3, 2] = background[:3, 2]
    expected = shapley(net, x, background)
    monkeypatch.setattr(shapley_values, "_BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(shapley_values, "_PAIR_CELLS", 80)
    monkeypatch.setattr(shapley_values, "_TURN", 2**17)
    seen: list[tuple[int, int]] = []
    found = shapley(net, x, background, progress=lambda done, total: seen.append((done, total)))
    np.testing.assert_allclose(found.values, expected.values, rtol=0, atol=1e-13)
    pairs = (x[:, None] != background).sum(axis=2)
    assert found.n_evaluations == expected.n_evaluations == (2**pairs).sum()
    assert len(seen) > 1
    assert seen[-1] == (found.n_evaluations, found.n_evaluations)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


@pytest.mark.parametrize("name", SPECIMENS)
def test_values_sum_to_the_decision(name: str) -> None:
    net = SPECIMENS[name].identified
    rows = rows_for(net, 40)
    found = shapley(net, rows[20:], rows[:20])
    np.testing.assert_allclose(found.base + found.values.sum(axis=2), net.decision(rows[20:]), rtol=1e-12, atol=1e-12)
    assert found.gap < 1e-12 * (1 + np.abs(found.output).max())


def test_what_agrees_or_is_not_used_has_nothing() -> None:
    net = random_network([5, 8, 1], seed=1)
    first = net.layers[0]
    weight = np.array(first.weight)
    weight[:, 3] = 0
    net = Network((Layer(weight, first.bias, first.activation), *net.layers[1:]), net.features)
    rng = np.random.default_rng(2)
    x, background = rng.normal(size=(4, 5)), rng.normal(size=(6, 5))
    x[1, 2] = 7.0
    background[:, 2] = 7.0
    found = shapley(net, x, background)
    assert found.values[1, 0, 2] == 0.0  # exactly: the row and all of the background agree
    assert (found.values[[0, 2, 3], 0, 2] != 0).all()
    np.testing.assert_allclose(found.values[:, 0, 3], 0, atol=1e-15)
    same = shapley(net, background[:1], background[:1])
    assert not same.values.any()
    assert same.n_evaluations == 0


def test_copies_count_as_often_as_they_come() -> None:
    net = random_network([3, 6, 2], seed=4)
    rng = np.random.default_rng(0)
    x, background = rng.normal(size=(3, 3)), rng.normal(size=(4, 3))
    often = shapley(net, x[[0, 1, 0, 2]], background[[0, 1, 1, 2, 3, 3, 3]])
    weighted = shapley(net, x, np.vstack([background, x]), [1, 2, 1, 3, 0, 0, 0])
    np.testing.assert_allclose(often.values, weighted.values[[0, 1, 0, 2]], atol=1e-14)
    assert often.n_evaluations == weighted.n_evaluations == 3 * 4 * 8
    np.testing.assert_allclose(often.background_weight, np.array([1, 2, 1, 3]) / 7)


def test_a_sum_of_functions_has_the_values_of_its_terms() -> None:
    net = network([np.diag([1.0, -2.0, 0.5]), np.array([[3.0, 1.0, -1.0]])], [np.array([0.1, 0, -0.2]), np.zeros(1)])
    rng = np.random.default_rng(3)
    x, background = rng.normal(size=(5, 3)), rng.normal(size=(7, 3))
    top = np.asarray(net.layers[1].weight)[0]

    def terms(rows: Any) -> Any:
        return np.maximum(rows * [1, -2, 0.5] + [0.1, 0, -0.2], 0) * top

    np.testing.assert_allclose(
        shapley(net, x, background).values[:, 0], terms(x) - terms(background).mean(axis=0), atol=1e-14
    )


def test_sums_that_cancel_are_no_defect() -> None:
    # 1e12 times the difference of two roundings of one number: it depends on the order of the sums
    first, top = np.array([[0.1, 0.7], [0.1, 0.0], [0.0, 0.7]]), 1e12 * np.array([[1.0, -1.0, -1.0]])
    net = network([first, top], [np.zeros(3), np.zeros(1)])
    rng = np.random.default_rng(0)
    found = shapley(net, rng.random((50, 2)), rng.random((5, 2)))
    assert 1e-6 < found.gap < 1e-2


# ---------------------------------------------------------------- the background by default


def test_the_sample_of_an_unwrapping_is_the_background() -> None:
    net = random_network([3, 6, 1], seed=4)
    rng = np.random.default_rng(0)
    X, weight = rng.normal(size=(250, 3)), rng.random(250)
    u = rl.unwrap(net, X, sample_weight=weight)
    found = shapley(u, X[:4])
    assert found.note == "Relative to 100 of 250 rows, drawn at random (random_state 0)."
    assert len(found.background) == 100
    at = (X[:, None] == found.background).all(axis=2).argmax(axis=0)
    np.testing.assert_allclose(found.background_weight, weight[at] / weight[at].sum())
    np.testing.assert_allclose(found.values, shapley(net, X[:4], X[at], weight[at]).values, atol=1e-13)
    assert not np.array_equal(shapley(u, X[:4], random_state=1).background, found.background)
    few = shapley(rl.unwrap(net, X[:30]), X[:4])
    assert few.note == "Relative to 30 rows."
    assert np.array_equal(few.background, X[:30])
    assert shapley(net, X[:4], X[:1]).note == "Relative to a background of 1 row."


# ---------------------------------------------------------------- tables


def test_tables_have_a_line_per_row_output_and_column() -> None:
    net, table = with_levels()
    table.loc[0, "debt"] = np.nan
    table.loc[:2, "region"] = ["N", "SE", "elsewhere"]
    table.loc[:1, "owner"] = [True, False]
    found = shapley(net, table[:3], table[3:])
    frame = found.to_frame()
    assert list(frame.columns) == ["row", "output", "feature", "value", "shapley"]
    assert len(frame) == 3 * 2 * 4
    for (i, output, feature), line in frame.set_index(["row", "output", "feature"]).iterrows():
        k, j = net.outputs.index(output), found.features.index(feature)
        assert line["shapley"] == found.values[i, k, j]
        shown = found.feature_values[j][i]
        assert line["value"] == shown or (np.isnan(line["value"]) and np.isnan(shown))
    assert found.feature_values[1].tolist() == ["N", "S or SE", "other"]
    assert found.feature_values[3].tolist()[:2] == ["True", "not True"]
    assert np.isnan(found.feature_values[2][0])
    assert found.feature_values[0].tolist() == table["age"][:3].tolist()
    plain = shapley(random_network([2, 3, 1]), np.ones((1, 2)), np.zeros((1, 2))).to_frame()
    assert plain["value"].dtype == np.float64


def test_no_rows_give_no_values() -> None:
    found = shapley(random_network([2, 3, 1]), np.zeros((0, 2)), np.zeros((1, 2)))
    assert found.values.shape == (0, 1, 2)
    assert len(found.to_frame()) == 0


# ---------------------------------------------------------------- refusals


def test_too_many_columns_are_refused_with_what_they_would_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    net = random_network([23, 8, 1], seed=1)
    rng = np.random.default_rng(0)
    x, background = rng.normal(size=(3, 23)), rng.normal(size=(10, 23))
    with pytest.raises(ArgumentError, match=r"differ in 23 of 23 columns, and at most 20 can be computed") as refused:
        shapley(net, x, background)
    assert "2**23 evaluations of the network for such a pair: 2.5e+08 for 3 rows" in str(refused.value)
    assert "10 background rows, about" in str(refused.value)
    assert "Take integrated_gradients" in str(refused.value)
    assert "allow it" not in str(refused.value)
    x[:, 13:] = background[:, 13:] = 1.0  # columns that never vary are free
    with pytest.raises(ArgumentError, match=r"13 of 23 columns, and max_players is 12.* allow it: max_players=13"):
        shapley(net, x, background, max_players=12)
    assert shapley(net, x, background[:1], max_players=13).gap < 1e-12
    # by default what it takes decides
    assert shapley(net, x, background[:1]).gap < 1e-12
    monkeypatch.setattr(shapley_values, "_seconds", lambda game, row: 0.01)
    told = r"that takes too long\. .* 2\*\*13 .* 8\.2e\+03 for 1 row and 1 background row, about 82 seconds here"
    with pytest.raises(ArgumentError, match=told + r".*\. Take integrated_gradients.* allow it: max_players=13"):
        shapley(net, x[:1], background[:1])
    with pytest.raises(ArgumentError, match=r"for 3 rows .*Give fewer rows or take integrated_gradients"):
        shapley(net, x, background[:1])
    x[:, 12] = background[:, 12] = 1.0
    assert shapley(net, x[:1], background[:1]).gap < 1e-12  # 12 are never refused


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.01, "about 1 second"), (100, "about 100 seconds"), (7200, "about 2 hours"), (1e15, "about 3e+07 years")],
)
def test_durations_are_told_in_words(seconds: float, words: str) -> None:
    assert shapley_values._duration(seconds) == words


NET = random_network([2, 3, 1])
X = np.ones((2, 2))


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: shapley(NET, X, X, scale="odds"), ArgumentError, "scale is 'odds'"),  # type: ignore[arg-type]
        (lambda: shapley(NET, X, X, max_players=21), ArgumentError, "max_players is 21; expected .* from 1 to 20"),
        (lambda: shapley(NET, X, X, max_players=True), ArgumentError, "max_players is True"),
        (lambda: shapley(rl.unwrap(NET, X), X, random_state=-1), ArgumentError, "random_state is -1"),
        (lambda: shapley(NET, X), ArgumentError, "There is no background"),
        (lambda: shapley(3, X, X), ArgumentError, "got a int"),  # type: ignore[arg-type]
        (lambda: shapley(rl.unwrap(NET, X), X, background_weight=[1]), ArgumentError, "needs a background"),
        (lambda: shapley(NET, X, X[:0]), DataError, "background has no rows"),
        (lambda: shapley(NET, X, X, [1.0]), DataError, r"background_weight has shape \(1,\)"),
        (lambda: shapley(NET, X, X, [0.0, 0.0]), DataError, "not all 0"),
        (lambda: shapley(NET, X, X, [1.0, -1.0]), DataError, "none negative"),
        (lambda: shapley(NET, [[1.0, np.nan]], X), DataError, "missing"),
    ],
)
def test_refusals_say_what_was_expected(call: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        call()


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_mixtures_beyond_the_range_are_refused(sign: float) -> None:
    # both rows are in the range, one of their mixtures is not; a ReLU would hide what is below the range
    net = network([np.array([[sign, sign]]), np.ones((1, 1))], [np.zeros(1), np.zeros(1)])
    with pytest.raises(NumericalOverflowError, match=r"mixture of a row .* leaves the range"):
        shapley(net, [[1e308, 0.0]], [[0.0, 1e308]])


def test_predictions_of_mixtures_beyond_the_range_are_refused() -> None:
    layer = Layer(np.array([[500.0, 500.0]]), np.zeros(1), Activation.of_kind("identity", 1))
    net = Network((layer,), Features.plain(2), "log")
    assert np.isfinite(shapley(net, [[1.0, -1.0]], [[-1.0, 1.0]]).values).all()
    with pytest.raises(NumericalOverflowError, match="mixture of a row"):
        shapley(net, [[1.0, -1.0]], [[-1.0, 1.0]], scale="prediction")


def test_values_that_do_not_sum_are_withheld(monkeypatch: pytest.MonkeyPatch) -> None:
    right = shapley_values._weights
    monkeypatch.setattr(shapley_values, "_weights", lambda k: right(k) * (1 + 1e-6))
    with pytest.raises(UnfaithfulError, match="Row 0: base and Shapley values sum to"):
        shapley(random_network([3, 5, 1], seed=1), np.ones((1, 3)), np.zeros((1, 3)))


def test_an_interrupt_passes_through() -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shapley(NET, X, X + 1, progress=interrupt)
    assert shapley(NET, X, X + 1).gap < 1e-12


def test_one_row_without_a_second_axis() -> None:
    net = random_network([3, 5, 1], seed=1)
    x = np.random.default_rng(0).normal(size=(6, 3))
    np.testing.assert_array_equal(shapley(net, x[2], x[4]).values, shapley(net, x[2:3], x[4:5]).values)
