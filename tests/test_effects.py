"""Curves along one feature equal the network's own values at any point, and their means the means of these."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest

import relucidate as rl
from relucidate.effects import MAX_ROWS
from relucidate.errors import ArgumentError, DataError
from relucidate.features import Feature, Features
from relucidate.interpret import ale, ice, partial_dependence
from relucidate.network import Network
from small_networks import SPECIMENS, network, random_network, rows_for

NAMES = sorted(SPECIMENS)


def moved(x: Any, column: int, value: float) -> Any:
    out = np.array(x)
    out[:, column] = value
    return out


def categorical() -> tuple[Network, pd.DataFrame]:
    """A network on a number with an indicator of a missing value, and a column of three levels."""
    items = (
        Feature("age", "age", impute=1.0),
        Feature("age missing", "age", "missing"),
        *(Feature(f"job={v}", "job", "level", (v,)) for v in ("a", "b")),
        Feature("debt", "debt"),
    )
    net = random_network([5, 8, 8, 1], seed=4, link="logit")
    net = replace(net, features=Features(items, ("age", "job", "debt"), True))
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"age": rng.normal(size=80), "job": rng.choice(list("abc"), 80), "debt": rng.normal(size=80)})
    frame.loc[::9, "age"] = np.nan
    return net, frame


@pytest.mark.parametrize("name", NAMES)
def test_each_curve_is_the_network(name: str) -> None:
    net = SPECIMENS[name].identified
    x = rows_for(net, 30)
    found = ice(net, x, net.n_features - 1, low=-2, high=3)
    grid = np.linspace(-2, 3, 57)
    at = found.at(grid)
    for j, v in enumerate(grid):
        # values of size 10, and a few roundings
        np.testing.assert_allclose(at[:, j], net.decision(moved(x, net.n_features - 1, v)), atol=1e-12)
    np.testing.assert_array_equal(found.own_decision, net.decision(x))


@pytest.mark.parametrize("name", NAMES)
def test_partial_dependence_is_the_mean_of_decisions(name: str) -> None:
    net = SPECIMENS[name].identified
    x = rows_for(net, 40)
    found = partial_dependence(net, x, 0)
    assert found.values[0] == x[:, 0].min()
    assert found.values[-1] == x[:, 0].max()
    grid = np.r_[np.linspace(found.values[0], found.values[-1], 301), found.values]
    brute = np.stack([net.decision(moved(x, 0, v)).mean(axis=0) for v in grid])
    np.testing.assert_allclose(found.at(grid), brute, atol=1e-12)


def test_partial_dependence_on_a_fine_grid_and_the_kinks_that_a_coarse_one_misses() -> None:
    net = SPECIMENS["deep"]
    x = rows_for(net, 25)
    found = partial_dependence(net, x, 1)
    low, high = found.values[[0, -1]]
    grid = np.linspace(low, high, 10_001)
    brute = np.array([net.decision(moved(x, 1, v)).mean() for v in grid])
    assert np.abs(found.at(grid)[:, 0] - brute).max() < 1e-9
    # halfway between two points of a coarse grid a line is wrong where the network has a kink; ours is not
    coarse = np.linspace(low, high, 100)
    between = (coarse[1:] + coarse[:-1]) / 2
    line = (found.at(coarse)[1:, 0] + found.at(coarse)[:-1, 0]) / 2
    true = np.array([net.decision(moved(x, 1, v)).mean() for v in between])
    assert np.abs(line - true).max() > 1e-5
    assert np.abs(found.at(between)[:, 0] - true).max() < 1e-12
    inside = np.searchsorted(found.values[1:-1], coarse)
    assert (np.diff(inside) > 1).any()


def test_a_kink_is_where_the_network_has_one() -> None:
    net = SPECIMENS["abs"]
    found = partial_dependence(net, np.array([[0.3], [2.0]]), 0, low=-1, high=3)
    assert found.values.tolist() == [-1, 0, 3]
    assert found.effect[:, 0].tolist() == [1, 0, 3]
    assert found.kinks[:, 0].tolist() == [2]
    curve = ice(net, [[0.5]], 0, low=-1, high=3)
    assert curve.curve(0)[0].tolist() == [-1, 0, 3]


def test_breakpoints_that_change_no_output_are_left_out() -> None:
    net = network([np.ones((2, 1)), np.array([[1.0, -1.0]])], [np.array([0.0, 0.0]), np.zeros(1)])
    assert len(rl.interpret.path(net, [-1.0], [1.0]).t) == 3
    assert ice(net, [[0.0]], 0, low=-1, high=1).values.tolist() == [-1, 1]


def test_weights_of_a_table_count() -> None:
    net = SPECIMENS["deep"]
    x = rows_for(net, 40)
    weight = np.arange(40.0)
    u = rl.unwrap(net, x, sample_weight=weight)
    found = partial_dependence(u, None, 2)
    for v in (-0.5, 0.2):
        expected = np.average(net.decision(moved(x, 2, v)), axis=0, weights=weight)
        np.testing.assert_allclose(found.at(v)[0], expected, atol=1e-12)
    curves = ice(u, None, 2)
    np.testing.assert_allclose(curves.mean[1], found.effect, atol=1e-13)


def test_weights_of_rows_that_are_given_count() -> None:
    net = SPECIMENS["deep"]
    x = rows_for(net, 40)
    weight = np.r_[np.zeros(20), np.arange(20.0)]
    found = partial_dependence(net, x, 2, sample_weight=weight)
    expected = np.average(net.decision(moved(x, 2, 0.1)), axis=0, weights=weight)
    np.testing.assert_allclose(found.at(0.1)[0], expected, atol=1e-12)
    some = ale(net, x, 2, bins=3, sample_weight=np.r_[np.zeros(20), np.ones(20)])
    alone = ale(net, x[20:], 2, bins=3)
    inside = np.linspace(x[20:, 2].min(), x[20:, 2].max(), 30)
    difference = some.at(inside) - alone.at(inside)
    np.testing.assert_allclose(difference, difference[:1].repeat(30, axis=0), atol=1e-12)


def test_a_row_has_the_range_of_the_table() -> None:
    net = SPECIMENS["deep"]
    x = rows_for(net, 40)
    u = rl.unwrap(net, x)
    found = ice(u, x[3], 1)
    assert found.curve(0)[0][[0, -1]].tolist() == [x[:, 1].min(), x[:, 1].max()]
    thinned = ice(u, None, 1, max_rows=5)
    assert thinned.row.tolist() == [0, 9, 19, 29, 39]
    np.testing.assert_array_equal(thinned.curve(19)[0], ice(u, x[19], 1).curve(0)[0])
    assert thinned.to_frame()["row"].unique().tolist() == [0, 9, 19, 29, 39]


def test_mean_predictions_are_exact_where_they_are_given() -> None:
    net = SPECIMENS["one logit"]
    x = rows_for(net, 30)
    found = partial_dependence(net, x, 1, scale="prediction")
    assert len(found.values) > 201
    for v, e in list(zip(found.values, found.effect, strict=True))[::40]:
        np.testing.assert_allclose(e, net.predict(moved(x, 1, v)).mean(axis=0), rtol=1e-12)
    assert partial_dependence(SPECIMENS["deep"], rows_for(SPECIMENS["deep"]), 1, scale="prediction").scale == "decision"


def test_accumulated_local_effects_are_their_definition() -> None:
    net = SPECIMENS["deep"]
    x = np.random.default_rng(0).normal(size=(60, 3))
    found = ale(net, x, 1, bins=4)
    edges = np.unique(np.quantile(x[:, 1], np.linspace(0, 1, 5), method="inverted_cdf"))
    np.testing.assert_array_equal(found.edges, edges)
    # slowly: a fine sum of mean differences within each bin
    total, at, slow = 0.0, [edges[0]], [0.0]
    for b, (low, high) in enumerate(pairwise(edges)):
        here = (x[:, 1] > low) & (x[:, 1] <= high) | ((b == 0) & (x[:, 1] == low))
        grid = np.linspace(low, high, 50)
        for p, q in pairwise(grid):
            total += float((net.decision(moved(x[here], 1, q)) - net.decision(moved(x[here], 1, p))).mean())
            at.append(q)
            slow.append(total)
    expected = np.array(slow) - np.interp(x[:, 1], found.values, found.at(found.values)[:, 0]).mean()
    ours = found.at(np.clip(at, found.values[0], found.values[-1]))[:, 0]
    np.testing.assert_allclose(ours - ours[0], expected - expected[0], atol=1e-12)
    assert abs(found.at(x[:, 1]).mean()) < 1e-13


def test_without_interactions_both_means_have_one_shape() -> None:
    w = np.array([[1.0, 0], [-1, 0], [0, 1], [0, 2]])
    net = network([w, np.array([[1.0, 2, -1, 0.5]])], [np.array([0.3, -0.1, 0.2, 0.0]), np.zeros(1)])
    x = np.random.default_rng(1).normal(size=(50, 2))
    pd_, al = partial_dependence(net, x, 0), ale(net, x, 0, bins=7)
    at = np.linspace(pd_.values[0], pd_.values[-1], 40)
    difference = pd_.at(at) - al.at(at)
    np.testing.assert_allclose(difference, difference[:1].repeat(40, axis=0), atol=1e-12)


def test_levels_are_set_in_turn() -> None:
    net, frame = categorical()
    for scale in ("decision", "prediction"):
        found = partial_dependence(net, frame, "job", scale=scale)  # type: ignore[arg-type]
        assert found.levels == ("a", "b", "none of these")
        for level, effect in zip("abc", found.effect[:, 0], strict=True):
            rows = frame.assign(job=level)
            value = net.decision(rows) if scale == "decision" else net.predict(rows)
            assert effect == pytest.approx(value.mean(), abs=1e-13)
        np.testing.assert_allclose(found.distribution, [(frame["job"] == v).mean() for v in "abc"])
    assert found.to_frame()["level"].tolist() == ["a", "b", "none of these"]
    with pytest.raises(ArgumentError, match="'job' has levels"):
        found.at(0.5)
    with pytest.raises(ArgumentError, match="'job' has levels, and nothing between them"):
        ice(net, frame, "job")
    with pytest.raises(ArgumentError, match="'job' has levels"):
        ale(net, frame, "job")


def test_a_number_is_not_missing_while_it_moves() -> None:
    net, frame = categorical()
    found = partial_dependence(net, frame, "age")
    for v in (-0.5, 0.9):
        assert found.at(v)[0, 0] == pytest.approx(net.decision(frame.assign(age=v)).mean(), abs=1e-13)


def test_frames_hold_the_numbers() -> None:
    net = SPECIMENS["three outputs"]
    x = rows_for(net, 20)
    curves = ice(net, x, 0)
    frame = curves.to_frame()
    np.testing.assert_array_equal(frame[f"decision[{net.outputs[1]}]"], curves.decision[:, 1])
    knots, decision = curves.curve(4)
    np.testing.assert_array_equal(frame.loc[frame["row"] == 4, "value"], knots)
    assert decision.shape == (len(knots), 3)
    effect = partial_dependence(net, x, 0)
    np.testing.assert_array_equal(effect.to_frame()[f"effect[{net.outputs[2]}]"], effect.effect[:, 2])


def test_many_rows_of_a_table_are_thinned_and_it_is_said() -> None:
    net = SPECIMENS["abs"]
    x = np.random.default_rng(0).normal(size=(MAX_ROWS + 5, 1))
    u = rl.unwrap(net, x)
    assert partial_dependence(u, feature=0).caveat == f" (on {MAX_ROWS:,} of {MAX_ROWS + 5:,} rows)"
    assert partial_dependence(u, feature=0, max_rows=7).caveat == f" (on 7 of {MAX_ROWS + 5:,} rows)"
    assert partial_dependence(u, x, 0).caveat == ""
    assert partial_dependence(u, x, 0).n_rows == len(x)


def test_what_cannot_be_done_is_refused() -> None:
    net = SPECIMENS["deep"]
    x = rows_for(net, 10)
    cases: list[tuple[Any, type[Exception], str]] = [
        (lambda: partial_dependence(net, feature=0), ArgumentError, "no rows to average over"),
        (
            lambda: partial_dependence(net, x),
            ArgumentError,
            "No feature was named. Give feature=…, one of 'x0', 'x1', 'x2'",
        ),
        (lambda: partial_dependence(net, x[:0]), DataError, "The table has no rows"),
        (lambda: partial_dependence(net, x, "nothing"), ArgumentError, "'nothing' is no feature"),
        (lambda: partial_dependence(net, x, 0, low=2, high=1), ArgumentError, "low must be below high"),
        (lambda: partial_dependence(net, x, 0, low=np.nan), ArgumentError, "low must be below high"),
        (lambda: partial_dependence(net, x[:1], 0), DataError, "'x0' is 0 in every row: give low and high"),
        (lambda: partial_dependence(net, x, 0).at(99), ArgumentError, "This is known from"),
        (lambda: partial_dependence(net, x, 0, scale="odds"), ArgumentError, "scale is 'odds'"),  # type: ignore[arg-type]
        (lambda: ale(net, x, 0, bins=0), ArgumentError, "bins is 0; expected a whole number"),
        (lambda: ale(net, x, 0, bins=2.5), ArgumentError, "bins is 2.5"),  # type: ignore[arg-type]
        (lambda: ice(net, x, 0, low="a"), ArgumentError, "low is 'a'"),  # type: ignore[arg-type]
        (lambda: ice(net, x, 0).curve(99), ArgumentError, "There is no curve of row 99"),
        (lambda: ice(net, x, 0).at([99]), ArgumentError, "This is known from"),
        (lambda: ice(net, x, 0).at([0], "odds"), ArgumentError, "scale is 'odds'"),  # type: ignore[arg-type]
        (lambda: ice("net", x, 0), ArgumentError, "Expected a Network or an Unwrapped, got a str"),  # type: ignore[arg-type]
        (lambda: ice(net, x, 0, sample_weight=[1, 2]), ArgumentError, "sample_weight has shape"),
        (lambda: ale(rl.unwrap(net, x), None, 0, max_rows=0), ArgumentError, "max_rows is 0"),
    ]
    for call, kind, message in cases:
        with pytest.raises(kind, match=message):
            call()
