"""Monotonicity: against loops over rows, and a network whose signs are known."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

import relucidate as rl
from relucidate import diagnose
from relucidate.errors import ArgumentError
from relucidate.features import Feature, Features
from relucidate.monotonicities import monotonicity
from small_networks import SPECIMENS, random_network
from test_complexities import SUMS, unwrapped


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", SPECIMENS)
def test_shares_of_signs_are_those_of_a_loop_over_rows(name: str, weighted: bool) -> None:
    net = SPECIMENS[name]
    u = unwrapped(net, weighted=weighted)
    result = monotonicity(u)
    coef = np.array(u.coef)
    coef = coef - coef.mean(axis=1, keepdims=True) if net.link == "softmax" else coef
    sd = np.where(u.sample.sd > 0, u.sample.sd, 1)
    w = u.sample.weights / u.sample.weights.sum()
    tiny = 1e-9 * np.abs(coef * sd).max(axis=(0, 2))
    assert result.names == net.feature_names
    for k in range(net.n_outputs):
        for j in range(net.n_features):
            slope = coef[u.region_of, k, j]
            sign = np.sign(slope) * (np.abs(slope * sd[j]) > tiny[k])
            shares = [float(w @ (sign == s)) for s in (1, -1, 0)]
            np.testing.assert_allclose(
                [result.increasing[k, j], result.decreasing[k, j], result.flat[k, j]], shares, atol=1e-12
            )
            seen = {int(s) for s in sign[w > 0]}
            words = {
                frozenset({1}): "always increasing",
                frozenset({-1}): "always decreasing",
                frozenset({0}): "flat everywhere",
                frozenset({0, 1}): "never decreasing",
                frozenset({0, -1}): "never increasing",
            }
            assert result.verdict[k, j] == words.get(frozenset(seen), "mixed")
            assert result.mean_slope[k, j] == pytest.approx(float(w @ slope), abs=1e-9)
            majority = (1 if shares[0] >= shares[1] else -1) if shares[0] + shares[1] > 0 else 0
            assert result.reference[k, j] == majority
            used = np.unique(u.region_of[w > 0])
            against = [
                r for r in used if np.sign(coef[r, k, j]) == -majority != 0 and abs(coef[r, k, j] * sd[j]) > tiny[k]
            ]
            assert result.n_against[k, j] == len(against)
            assert result.against[k, j] == pytest.approx(u.share[against].sum())
            listed = (result.break_output == k) & (result.break_feature == j)
            assert result.break_region[listed].tolist() == against
            np.testing.assert_allclose(result.break_slope[listed], coef[against, k, j], rtol=SUMS)
    frame = result.to_frame()
    assert len(frame) == net.n_outputs * net.n_features
    np.testing.assert_array_equal(frame["against"].to_numpy(), result.against.ravel())
    assert result.breaks()["count"].tolist() == u.count[result.break_region].tolist()


def credit() -> rl.Unwrapped:
    """Income and debt raise and lower the score on most rows; beyond 2 debt raises it."""
    net = rl.load(
        ([np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[3.0], [5.0]])], [np.array([10.0, -2.0]), np.zeros(1)]),
        feature_names=["income", "debt"],
    )
    first, last = net.layers
    slopes = last.weight.copy()
    net = replace(
        net,
        layers=(
            replace(
                first,
                weight=np.vstack([first.weight, [0.0, -1.0]]),
                bias=np.r_[first.bias, 50.0],
                activation=type(first.activation).of_kind("relu", 3),
            ),
            replace(last, weight=np.hstack([slopes, [[2.0]]])),
        ),
    )
    rng = np.random.default_rng(0)
    return rl.unwrap(net, rng.uniform([0, 0], [1, 4], size=(200, 2)))


def test_an_expected_sign_is_held_against_the_rows() -> None:
    u = credit()
    result = diagnose.monotonicity(u, expected={"income": "+", "debt": "-"})
    beyond = u.sample.x[:, 1] > 2
    assert result.violating[0].tolist() == [0, pytest.approx(beyond.mean())]
    (row,) = result.breaks().to_dict("records")
    assert (row["feature"], row["count"], row["slope"]) == ("debt", int(beyond.sum()), pytest.approx(3.0))
    lines = result.summary()
    assert "'income': expected +, and on these rows no region says otherwise." in lines
    assert lines[-1].startswith("'debt': expected −, violated on these rows in 1 region with ")
    assert lines[0].startswith("On these 200 rows ")
    assert result.to_frame()["expected"].tolist() == ["+", "-"]
    opposite = monotonicity(u, ["debt"], expected={"debt": "+"})
    assert opposite.names == ("debt",)
    assert opposite.violating[0, 0] == pytest.approx(1 - beyond.mean())
    unasked = monotonicity(u)
    assert np.isnan(unasked.violating).all()
    assert set(unasked.to_frame()["expected"]) == {""}
    way = "falls" if unasked.reference[0, 1] > 0 else "rises"
    assert f"It {way} with 'debt', against most rows, in 1 region" in unasked.summary()[-1]


def test_what_rounding_leaves_of_0_is_flat() -> None:
    rng = np.random.default_rng(0)
    first = np.zeros((80, 2))
    first[:, 0] = np.abs(rng.normal(size=80))
    last = np.r_[1 / first[:40, 0], -1 / first[40:, 0]]  # 40 times 1, less 40 times 1
    first[0, 1] = 1.0
    net = rl.load(([first.T, last[:, None]], [np.full(80, 9.0), np.zeros(1)]))
    u = rl.unwrap(net, rng.random(size=(50, 2)))
    assert 0 < abs(u.coef[0, 0, 0]) < 1e-10
    result = monotonicity(u, expected={"x0": "+" if u.coef[0, 0, 0] < 0 else "-"})
    assert result.verdict[0, 0] == "flat everywhere"
    assert result.violating[0, 0] == 0
    assert len(result.break_region) == 0
    assert result.verdict[0, 1] == "always increasing"


def test_no_more_regions_are_listed_than_asked_for_and_all_are_counted() -> None:
    u = unwrapped(SPECIMENS["deep"], 300)
    whole, few = monotonicity(u), monotonicity(u, most=2)
    np.testing.assert_array_equal(whole.n_against, few.n_against)
    assert (whole.n_against > 2).any()
    for j in range(3):
        listed = whole.break_region[whole.break_feature == j]
        assert (np.diff(listed) > 0).all()
        assert few.break_region[few.break_feature == j].tolist() == listed[:2].tolist()


def test_blocks_of_maps_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    u = unwrapped(SPECIMENS["five classes"], 200)
    whole = monotonicity(u, most=5)
    blocks = type(u).map_blocks
    monkeypatch.setattr(type(u), "map_blocks", lambda self, limit_bytes=0: blocks(self, 2000))
    parts = monotonicity(u, most=5)
    for name in ("increasing", "against", "break_slope"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=SUMS)
    for name in ("break_region", "break_feature", "break_output", "n_against", "verdict"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))


def levels() -> rl.Unwrapped:
    items = (
        Feature("age", "age", impute=0.0),
        Feature("age is missing", "age", "missing"),
        *(Feature(f"town={t}", "town", "level", (t,)) for t in "ABC"),
        Feature("member=yes", "member", "level", ("yes",)),
    )
    net = replace(random_network([6, 8, 2], seed=3), features=Features(items, ("age", "town", "member"), True))
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age": np.where(rng.random(90) < 0.2, np.nan, rng.normal(size=90)),
            "town": rng.choice(list("ABC"), 90),
            "member": rng.choice(["yes", "no"], 90),
        }
    )
    return rl.unwrap(net, frame)


def test_columns_of_several_features_have_no_direction() -> None:
    u = levels()
    result = monotonicity(u)
    assert result.names == ("age", "member=yes")
    assert result.left_out == ("town",)
    assert "left out: 'town'" in result.summary()[-1]
    coef = u.coef[u.region_of][:, 1, [0, 5]]
    np.testing.assert_allclose(result.increasing[1], (coef > 0).mean(axis=0), atol=1e-12)
    one = monotonicity(u, ["town=B"], expected={("town=B", "y1"): "+"})
    assert one.names == ("town=B",)
    assert one.expected[:, 0].tolist() == [0, 1]
    with pytest.raises(ArgumentError, match=r"'town' is made of 3 features and has no one direction.*'town=A'"):
        monotonicity(u, ["town"])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"features": []}, "features is empty"),
        ({"features": ["agee"]}, "'agee' is no feature of this network. Did you mean 'age'"),
        ({"expected": {("age", "y0"): "up"}}, "The sign expected of 'age' is 'up'; expected '\\+' or '-'"),
        ({"expected": {"age": "+"}}, "The network has 2 outputs; say of which a sign is expected"),
        ({"expected": {("age", "z"): "+"}}, "'z' is no output of this network"),
        ({"most": 0}, "most is 0; expected at least 1"),
        ({"most": "a"}, "most is 'a'; expected at least 1, a whole number"),
        ({"most": 1.5}, "most is 1.5; expected at least 1, a whole number"),
        ({"expected": ["age"]}, r"expected is \['age'\]; expected a mapping from features to signs"),
        ({"expected": "age"}, "expected is 'age'; expected a mapping from features to signs"),
        ({"expected": {("age", "y0"): ["+"]}}, r"The sign expected of 'age' is \['\+'\]"),
        ({"expected": {("age", "y0"): "+", (0, "y0"): "-"}}, "Both signs are expected of 'age'; expected one"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        monotonicity(levels(), **wrong)


def test_what_is_no_result_of_unwrap_is_refused_and_nothing_is_squared() -> None:
    net = random_network([3, 8, 1], seed=1, link="logit")
    with pytest.raises(ArgumentError, match="Expected an Unwrapped, got a Network"):
        monotonicity(net)  # type: ignore[arg-type]
    x = np.random.default_rng(0).normal(size=(400, 3))
    x[:, 0] *= 1e200
    assert np.isfinite(monotonicity(rl.unwrap(net, x)).mean_slope).all()


def test_words_fit_one_row_no_feature_and_several_outputs() -> None:
    net = random_network([3, 8, 1], seed=1)
    x = np.random.default_rng(0).normal(size=(400, 3))
    assert monotonicity(rl.unwrap(net, x[:1])).summary()[0] == (
        "On this one row the decision never changes its direction in 3 of 3 features."
    )
    mixed = monotonicity(rl.unwrap(random_network([3, 16, 16, 1], seed=1), x))
    assert (mixed.verdict == "mixed").all()
    assert "in none of 3 features." in mixed.summary()[0]
    assert mixed.summary()[1].startswith(("It falls with", "It rises with"))
    several = monotonicity(rl.unwrap(random_network([3, 8, 2], seed=1), x)).summary()
    assert any(
        line.startswith(("The decision of 'y1' falls with", "The decision of 'y1' rises with")) for line in several
    )
    signed = monotonicity(rl.unwrap(net, x), expected={"x0": "\N{MINUS SIGN}"})
    assert signed.expected[0].tolist() == monotonicity(rl.unwrap(net, x), expected={"x0": "-"}).expected[0].tolist()
