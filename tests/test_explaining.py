"""Explained rows: sums, facets and ranges, proved by moving the row and asking the network."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from relucidate.errors import ArgumentError, ColumnError, NumericalOverflowError, UnfaithfulError
from relucidate.explaining import explain
from relucidate.features import Feature, Features
from relucidate.layers import Activation
from relucidate.network import Network
from relucidate.unwrapping import Unwrapped, unwrap
from small_networks import SPECIMENS, TOWNS, mixed, network, random_network, rows_for

NETWORKS = pytest.mark.parametrize("name", SPECIMENS)


def unwrapped(net: Network, n: int = 120) -> tuple[Unwrapped, Any]:
    x = rows_for(net, n)
    return unwrap(net, x), x


def bits(net: Network, x: Any) -> Any:
    return net.patterns(np.atleast_2d(x)).bits()


def towns() -> Network:
    """A number that may be missing, and a column of two levels and others."""
    net = random_network([6, 8, 1], seed=3, link="logit")
    return replace(net, features=Features(TOWNS, ("age", "town", "debt"), True), classes=("no", "yes"))


def town_table(n: int = 90) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    age = np.where(rng.random(n) < 0.2, np.nan, rng.normal(size=n))
    return pd.DataFrame({"age": age, "town": rng.choice(["A", "B", "C", "D"], n), "debt": rng.normal(size=n) * 1000})


# ---------------------------------------------------------------- sums


@NETWORKS
def test_both_sums_are_the_decision(name: str) -> None:
    net = SPECIMENS[name]
    u, x = unwrapped(net)
    new = np.vstack([x[:30], np.random.default_rng(1).normal(size=(60, net.n_features)) * 3])
    e = explain(u, new)
    net, u = net.identified, u.identified
    decision = net.decision(new)
    # sums of a few products
    np.testing.assert_allclose(e.intercept + e.effect.sum(axis=2), decision, atol=1e-11, rtol=1e-11)
    np.testing.assert_allclose(e.mean_part + e.centred.sum(axis=2), decision, atol=1e-11, rtol=1e-11)
    np.testing.assert_array_equal(e.decision, decision)
    np.testing.assert_array_equal(e.prediction, net.predict(new))
    np.testing.assert_allclose(e.mean, x.mean(axis=0), atol=1e-12)
    np.testing.assert_array_equal(e.region, u.assign(new))
    for i in np.flatnonzero(e.region >= 0):
        np.testing.assert_array_equal(e.weight[i], u.coef[e.region[i]])


@NETWORKS
def test_a_row_alone_is_as_among_others(name: str) -> None:
    net = SPECIMENS[name]
    u, x = unwrapped(net)
    e = explain(u, x)
    for i in (0, 7, 100):
        one = explain(u, x, rows=i)
        assert (one.row.tolist(), len(one)) == ([i], 1)
        for field in (
            "x",
            "region",
            "weight",
            "intercept",
            "decision",
            "facet_layer",
            "facet_neuron",
            "count",
            "support",
        ):
            np.testing.assert_array_equal(getattr(one, field)[0], getattr(e, field)[i])
        for field in ("distance", "lower", "upper", "facet_value"):
            np.testing.assert_allclose(getattr(one, field)[0], getattr(e, field)[i], atol=1e-12, rtol=1e-12)
    some = explain(u, x, rows=[5, 3])
    assert some.row.tolist() == [5, 3]
    np.testing.assert_array_equal(some.x, x[[5, 3]])


def test_a_false_map_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    net = SPECIMENS["deep"]
    u, x = unwrapped(net)
    right = Network.affine_maps

    def wrong(self: Network, patterns: Any) -> Any:
        coef, intercept = right(self, patterns)
        return coef, intercept + 1e-6

    monkeypatch.setattr(Network, "affine_maps", wrong)
    with pytest.raises(UnfaithfulError, match=r"Row 4: its local linear model says .*the network says .*report it"):
        explain(u, x, rows=[4, 5])


def test_huge_rows_and_means_round_but_are_no_error() -> None:
    net = random_network([3, 9, 9, 1], seed=7)
    x = rows_for(net, 60) * 1e9 + 1e12
    e = explain(unwrap(net, x), x)
    assert np.isfinite(e.decision).all()
    assert len(e) == 60


# ---------------------------------------------------------------- where the region ends


@NETWORKS
def test_the_pattern_changes_at_the_facet_and_not_before(name: str) -> None:
    net = SPECIMENS[name]
    u, x = unwrapped(net)
    e = explain(u, x)
    starts = np.cumsum([0, *(layer.activation.n_bits for layer in net.hidden)])
    here = bits(net, x)
    looked_at = 0
    for i in range(len(x)):
        if not np.isfinite(e.distance[i]):
            assert (e.facet_layer[i], e.facet_neuron[i]) == (-1, -1)
            assert not e.facet_normal[i].any()
            continue
        if e.distance[i] < 1e-6:  # on the facet: rounding of the row decides
            continue
        # the shortest way in standard deviations
        way = e.spread**2 * e.facet_normal[i] / np.linalg.norm(e.spread * e.facet_normal[i])
        assert np.linalg.norm((way / e.spread)[e.spread > 0]) == pytest.approx(1)
        assert (here[i] == bits(net, x[i] - 0.999 * e.distance[i] * way)).all()
        beyond = bits(net, x[i] - 1.001 * e.distance[i] * way)[0]
        layer = int(e.facet_layer[i])
        activation = net.hidden[layer].activation
        own = np.flatnonzero(
            (activation.switches[0] == e.facet_neuron[i])
            & (activation.breakpoints[activation.switches] == e.facet_breakpoint[i])
        )
        assert here[i][starts[layer] + own[0]] != beyond[starts[layer] + own[0]]
        foot = x[i] - e.distance[i] * way
        assert e.facet_normal[i] @ foot == pytest.approx(e.facet_value[i], abs=1e-9)
        looked_at += 1
    assert looked_at > 20 or name in ("linear", "hidden linear")


@NETWORKS
def test_one_feature_alone_can_move_as_far_as_is_said(name: str) -> None:
    net = SPECIMENS[name]
    u, x = unwrapped(net, 50)
    e = explain(u, x)
    assert (e.lower <= x).all()
    assert (x <= e.upper).all()
    here = bits(net, x)
    for j in range(net.n_features):
        for bound in (e.lower[:, j], e.upper[:, j]):
            step = bound - x[:, j]
            free = ~np.isfinite(step)
            rows = np.flatnonzero(free | (np.abs(step) > 1e-6))
            step = np.where(free, np.sign(step) * 1e4, step)
            inside, beyond = x[rows].copy(), x[rows].copy()
            inside[:, j] += 0.999 * step[rows]
            beyond[:, j] += 1.001 * step[rows]
            assert (bits(net, inside) == here[rows]).all()
            changed = (bits(net, beyond) != here[rows]).any(axis=1)
            assert (changed == ~free[rows]).all()


@pytest.mark.parametrize("name", ["deep", "clip", "mixed", "sparse"])
def test_nothing_nearer_in_any_direction(name: str) -> None:
    net = SPECIMENS[name]
    u, x = unwrapped(net)
    e = explain(u, x, rows=np.arange(70, 90))
    way = np.random.default_rng(0).normal(size=(200, net.n_features))
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    for i in range(len(e)):
        near = e.x[i] + 0.999 * e.distance[i] * way * e.spread
        assert (bits(net, near) == bits(net, e.x[i])).all()


def test_known_facets() -> None:
    """|x0 - 1| with a clip to [0, 3] behind it: the region of 2.5 ends at 1 and at 4."""
    first = network([np.array([[1.0], [-1.0]]), np.ones((1, 2))], [np.array([-1.0, 1.0]), np.zeros(1)])
    relu, top = first.layers
    clip = replace(top, activation=Activation.of_kind("clip", 1, 0.0, 3.0), name="")
    net = replace(first, layers=(relu, clip, replace(top, weight=np.ones((1, 1)), name="out")))
    x = np.array([[2.5], [4.5], [-1.0], [1.5], [1.0]])
    e = explain(unwrap(net, x), x)
    np.testing.assert_allclose(e.lower[:, 0], [1, 4, -2, 1, 1])
    np.testing.assert_allclose(e.upper[:, 0], [4, np.inf, 1, 4, 1])
    np.testing.assert_allclose(e.distance, np.array([1.5, 0.5, 1, 0.5, 0]) / x.std())
    assert e.facet_layer.tolist()[:2] == [0, 1]
    assert e.facet_breakpoint.tolist()[:2] == [0.0, 3.0]
    assert "neuron 0 of layer 1 switches" in e.end(1)[0]
    assert "x0 = 4 (here 4.5)" in e.end(1)[0]
    assert e.end(1)[1] == "Alone, x0 (now 4.5) can fall to 4, or rise without end."
    assert e.end(2)[1] == "Alone, x0 (now −1) can move between −2 and 1."


def test_neurons_that_cancel_have_no_facet() -> None:
    u, x = unwrapped(SPECIMENS["twins"])
    e = explain(u, x)
    assert (e.facet_layer == 0).all()  # the second layer is 0 whatever the row


def test_a_feature_that_never_varied_does_not_move() -> None:
    net = random_network([2, 6, 1], seed=1)
    x = rows_for(net, 40)
    x[:, 1] = 3.0
    e = explain(unwrap(net, x), x)
    on_the_way = np.abs(e.facet_normal[:, 0] * x[:, 0] + e.facet_normal[:, 1] * 3 - e.facet_value)
    np.testing.assert_allclose(
        e.distance, on_the_way / np.abs(e.facet_normal[:, 0]) / x[:, 0].std(), rtol=1e-9, atol=1e-12
    )
    assert np.isfinite(e.lower[:, 1]).any()  # told all the same
    x[:, 0] = 1.0
    stuck = explain(unwrap(net, x), x[:1])
    assert stuck.distance[0] == np.inf
    assert stuck.facet_in_words() == ""
    assert stuck.end() == ["Nothing ends its region: no neuron switches as the features that vary do."]


def test_joined_regions_keep_the_facets_of_the_pattern() -> None:
    u, x = unwrapped(SPECIMENS["lattice"])
    joined = u.join_equal()
    assert joined.n_regions < u.n_regions
    e, f = explain(u, x), explain(joined, x)
    np.testing.assert_array_equal(e.distance, f.distance)
    np.testing.assert_array_equal(f.region, joined.assign(x))
    np.testing.assert_array_equal(f.count, joined.count[f.region])


# ---------------------------------------------------------------- support


def test_support_counts_rows_in_regions_no_larger() -> None:
    net = random_network([2, 7, 1], seed=1, link="logit")
    x = rows_for(net, 200)
    weight = np.random.default_rng(0).random(200)
    y = (net.decision(x)[:, 0] > 0).astype(int)
    u = unwrap(net, x, y, weight)
    e = explain(u, x)
    own = u.count[u.region_of]
    for i in range(200):
        assert e.support[i] == pytest.approx(weight[own <= own[i]].sum() / weight.sum())
        assert e.count[i] == (u.region_of == u.region_of[i]).sum()
        assert e.share[i] == pytest.approx(weight[u.region_of == u.region_of[i]].sum() / weight.sum())
    table = u.table(maps=False)
    assert set(e.scores) == {"local_auc", "local_log_loss"}
    np.testing.assert_array_equal(e.scores["local_log_loss"], table["local_log_loss"].to_numpy()[u.region_of])
    assert "log-loss" in e.reliability(3)[1]


def test_a_pattern_never_seen() -> None:
    net = random_network([3, 30, 30, 1], seed=2)
    x = rows_for(net, 40)
    y = net.decision(x)
    u = unwrap(net, x[:20], y[:20])
    e = explain(u, x)
    unseen = np.flatnonzero(e.region < 0)
    assert 0 < len(unseen) <= 20
    assert (unseen >= 20).all()
    for field in (e.count, e.share, e.support):
        assert (field[unseen] == 0).all()
    for values in e.scores.values():
        assert np.isnan(values[unseen]).all()
    assert "untested by data" in e.reliability(int(unseen[0]))[0]
    assert (e.distance[unseen] < np.inf).all()
    assert "1 row (" in e.reliability(int(np.flatnonzero(e.count == 1)[0]))[0]


# ---------------------------------------------------------------- words and tables


def test_columns_of_several_features_are_one_term() -> None:
    net = towns()
    table = town_table()
    table.loc[:5, "town"] = ["A", "C", "B", "D", "A", "B"]
    table.loc[:5, "age"] = [1.5, np.nan, 2.0, 3.0, 2e5, 7.0]
    e = explain(unwrap(net, table), table)
    said = [{t.name: t.value for t in e.terms(i)} for i in range(6)]
    assert [s["town"] for s in said] == ["A", "B or C", "B or C", "another level", "A", "B or C"]
    assert [s["age"] for s in said] == ["1.5", "missing", "2", "3", "200,000", "7"]
    for i in range(6):
        terms = e.terms(i)
        sizes = [abs(t.centred) for t in terms]
        assert sizes == sorted(sizes, reverse=True)
        by_name = {t.name: t for t in terms}
        assert by_name["town"].centred == pytest.approx(e.centred[i, 0, 2:5].sum())
        assert by_name["town"].effect == pytest.approx(e.effect[i, 0, 2:5].sum())
        assert np.isnan(by_name["town"].weight)
        assert by_name["debt"].weight == e.weight[i, 0, 5]
        assert sum(sizes) > 0
        assert e.mean_part[i, 0] + sum(t.centred for t in terms) == pytest.approx(e.decision[i, 0])


def test_a_column_without_any_of_its_levels() -> None:
    net = random_network([2, 4, 1], seed=3)
    items = tuple(Feature(f"town={t}", "town", "level", (t,)) for t in ("A", "B"))
    net = replace(net, features=Features(items, ("town",), True))
    table = pd.DataFrame({"town": ["A", "B", "Z"]})
    (term,) = explain(unwrap(net, table), table, rows=2).terms()
    assert (term.name, term.value, term.effect) == ("town", "none of its levels", 0.0)


def test_the_facet_in_words_holds_with_the_other_features_as_they_are() -> None:
    net = random_network([6, 10, 10, 1], seed=4)
    u, x = unwrapped(net)
    e = explain(u, x)
    for i in range(60, 80):
        told = e.facet_in_words(i)
        found = re.fullmatch(r"(.*) = (\S+) \(here ([^;]+); (\d) other features? as they are\)", told)
        assert found is not None, told
        left, end, here, rest = found.groups()
        terms = re.findall(r"(?:^|([+−]) )(?:([\d.e−]+) )?(x\d)", left)
        number = lambda text: float(text.replace("−", "-"))  # noqa: E731
        factors = {f: (-1 if sign == "−" else 1) * number(size or "1") for sign, size, f in terms}
        assert len(factors) + int(rest) == 6
        assert sum(c * x[i, int(f[1])] for f, c in factors.items()) == pytest.approx(number(here), rel=0.02, abs=0.02)
        first = next(iter(factors))
        assert factors[first] == 1
        moved = x[i].copy()
        moved[int(first[1])] += number(end) - number(here)
        # to the digits that are told
        assert e.facet_normal[i] @ moved == pytest.approx(
            e.facet_value[i], abs=0.01 * abs(e.facet_normal[i, int(first[1])])
        )
        assert number(end) != number(here)


def test_summary_says_decision_terms_support_and_end() -> None:
    net = random_network([7, 9, 1], seed=4, link="logit")
    x = rows_for(net, 80)
    e = explain(unwrap(net, x, (x[:, 0] > 0).astype(int)), x, rows=[30, 31])
    lines = e.summary(31)
    assert lines == e.summary(31, "y")
    text = " ".join(lines)
    assert (
        f"Row 31: the decision is {e.decision[1, 0]:.4g}, the prediction {e.prediction[1, 0]:.4g}.".replace("-", "−")
        in text
    )
    top = e.terms(31)[0]
    assert f"{top.name} = {top.value} adds {top.centred:+.4g}".replace("-", "−") in text
    assert "; the other 2 add " in text
    assert f"It lies in region {e.region[1]}, with {e.count[1]} row" in text
    assert "standard deviations away, where neuron" in text
    assert text.count("can move between") + text.count("without end") >= 1
    assert e.summary()[0].startswith("Row 30")
    several = explain(*unwrapped(SPECIMENS["three outputs"])).summary(0, "y2")[0]
    assert several.startswith("Row 0: the decision for 'y2' is ")
    assert "prediction" not in several


def test_a_region_where_nothing_counts() -> None:
    u, x = unwrapped(SPECIMENS["dead"])
    e = explain(u, x)
    flat = int(np.flatnonzero(~e.weight.any(axis=(1, 2)))[0])
    assert "No feature makes a difference to the mean row there." in e.summary(flat)
    assert " -0" not in " ".join(e.summary(flat))


def test_softmax_explains_the_class_predicted() -> None:
    u, x = unwrapped(SPECIMENS["five classes"])
    e = explain(u, x)
    i = int(np.flatnonzero(e.decision.argmax(axis=1) == 3)[0])
    assert e.output_of(i) == 3
    assert e.terms(i) == e.terms(i, "y3") != e.terms(i, 0)


@NETWORKS
def test_frame_has_a_row_for_each_row_output_and_feature(name: str) -> None:
    net = SPECIMENS[name]
    u, x = unwrapped(net, 30)
    e = explain(u, x, rows=[4, 9])
    net = net.identified
    frame = e.to_frame()
    assert len(frame) == 2 * net.n_outputs * net.n_features
    assert list(frame.columns) == [
        "row", "output", "feature", "value", "weight", "effect", "centred_effect", "lower", "upper",
    ]  # fmt: skip
    total = frame.groupby(["row", "output"], sort=False)["effect"].sum().to_numpy().reshape(2, -1)
    np.testing.assert_allclose(total + e.intercept, net.decision(x[[4, 9]]), atol=1e-11)
    one = frame[(frame["row"] == 9) & (frame["output"] == net.outputs[-1])].set_index("feature")
    np.testing.assert_array_equal(one["value"], x[9])
    np.testing.assert_array_equal(one["weight"], e.weight[1, -1])
    np.testing.assert_allclose(one["centred_effect"], one["weight"] * (x[9] - x.mean(axis=0)), atol=1e-12)
    np.testing.assert_array_equal(one["upper"], e.upper[1])


def test_arguments_that_make_no_sense() -> None:
    u, x = unwrapped(SPECIMENS["three outputs"], 30)
    with pytest.raises(ArgumentError, match=r"rows has 30, -1; the table has 30 rows, so expected 0 to 29"):
        explain(u, x, rows=[3, 30, -1])
    for rows in ([], [1.5], "7", [[1]], [True]):
        with pytest.raises(ArgumentError, match="expected the number of a row, or a list of numbers"):
            explain(u, x, rows=rows)  # type: ignore[arg-type]
    with pytest.raises(ColumnError, match="the network takes"):
        explain(u, x[0, :-1])
    for wrong in (u.network, "net.json", None):
        with pytest.raises(
            ArgumentError, match=r"Expected an Unwrapped, got a .*Give what unwrap\(network, X\) returned"
        ):
            explain(wrong, x)  # type: ignore[arg-type]
    e = explain(u, x, rows=[4, 9])
    with pytest.raises(ArgumentError, match="Row 5 was not explained; there are rows 4, 9"):
        e.summary(5)
    with pytest.raises(ArgumentError, match="'up' is no output"):
        e.terms(4, "up")


def test_several_breakpoints_a_neuron_and_many_rows_of_one_pattern(monkeypatch: pytest.MonkeyPatch) -> None:
    net = random_network([3, 6, 1], seed=2, kind=mixed)
    x = np.random.default_rng(0).normal(size=(400, 3))
    u = unwrap(net, x)
    whole = explain(u, x)
    monkeypatch.setattr("relucidate.explaining._BLOCK", 10)
    parts = explain(u, x)
    # products of blocks of rows add up in another order
    np.testing.assert_allclose(whole.lower, parts.lower, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(whole.upper, parts.upper, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(whole.distance, parts.distance, rtol=1e-9, atol=1e-12)
    assert len(np.unique(whole.facet_breakpoint)) > 2


# ---------------------------------------------------------------- what does not move


def test_indicators_and_missing_values_are_held() -> None:
    net, table = towns(), town_table()
    u = unwrap(net, table)
    e = explain(u, table)
    x, gone = net.features.encode(table), table["age"].isna().to_numpy()
    coded = lambda row: net.trace(row[None]).patterns.bits()  # noqa: E731
    numeric = np.array([True, False, False, False, False, True])
    for i in range(len(table)):
        free = numeric & ~(np.arange(6) == 0) if gone[i] else numeric
        assert np.isnan(e.lower[i]).tolist() == np.isnan(e.upper[i]).tolist() == (~free).tolist()
        if not np.isfinite(e.distance[i]) or e.distance[i] < 1e-6:
            continue
        sd = np.where(free, x.std(axis=0), 0)
        way = sd**2 * e.facet_normal[i] / np.linalg.norm(sd * e.facet_normal[i])
        here = coded(x[i])
        assert (coded(x[i] - 0.999 * e.distance[i] * way) == here).all()
        assert (coded(x[i] - 1.001 * e.distance[i] * way) != here).any()
        words = e.facet_in_words(i)
        assert "town" not in words
        assert "missing" not in words
        assert "age" not in words or not gone[i]
        assert "standard deviations away with categories and missing values held as they are, where" in e.end(i)[0]
    lost = int(np.flatnonzero(gone)[0])
    assert "age (now" not in " ".join(e.summary(lost))
    frame = e.to_frame()
    own = frame[(frame["row"] == lost) & (frame["feature"] == "age")]
    assert own[["value", "lower", "upper"]].isna().all(axis=None)
    assert own["effect"].item() == e.effect[lost, 0, 0]  # what is filled in has its effect all the same


def test_a_value_that_is_imputed_without_an_indicator_is_missing_too() -> None:
    net = random_network([2, 5, 1], seed=1)
    net = replace(
        net, features=Features((Feature("age", "age", impute=40.0), Feature("debt", "debt")), ("age", "debt"), True)
    )
    table = pd.DataFrame({"age": [np.nan, 40.0, 3.0, 50.0], "debt": [1.0, 1.0, 2.0, 3.0]})
    e = explain(unwrap(net, table), table)
    assert e.imputed.tolist() == [[True, False], [False, False], [False, False], [False, False]]
    assert {t.name: t.value for t in e.terms(0)}["age"] == "missing"
    assert {t.name: t.value for t in e.terms(1)}["age"] == "40"
    assert "missing values held" in e.end(0)[0]
    assert "held" not in e.end(1)[0]
    assert "age" not in e.facet_in_words(0)


def test_where_only_categories_could_end_the_region() -> None:
    net = network([np.array([[1.0, 0.0], [-1.0, 0.0]]), np.ones((1, 2))], [np.array([-0.5, 0.2]), np.zeros(1)])
    items = (Feature("town=A", "town", "level", ("A",)), Feature("debt", "debt"))
    net = replace(net, features=Features(items, ("town", "debt"), True))
    table = pd.DataFrame({"town": ["A", "B", "A"], "debt": [1.0, 2.0, 3.0]})
    e = explain(unwrap(net, table), table)
    assert np.isinf(e.distance).all()
    assert e.end(0) == [
        "Nothing ends its region with categories held as they are: no neuron switches as the numeric features that vary do."
    ]


def test_three_identical_rows_have_no_end() -> None:
    net = random_network([3, 9, 9, 1], seed=7)
    x = np.tile([[0.1, 0.7, 0.3]], (3, 1))
    e = explain(unwrap(net, x), x)
    assert e.end(0)[0].startswith("Nothing ends its region")


def test_values_too_large_to_be_squared_are_refused() -> None:
    net = random_network([3, 6, 1], seed=7)
    x = np.random.default_rng(0).normal(size=(200, 3))
    x[5, 1] = 1e160
    with pytest.raises(NumericalOverflowError, match=r"Values of 'x1' reach 1e\+160.*unwrap without their rows"):
        explain(unwrap(net, x), x[:3])


def test_one_row_without_a_second_axis_and_no_rows_at_all() -> None:
    u, x = unwrapped(SPECIMENS["three outputs"], 30)
    one, whole = explain(u, x[3]), explain(u, x)
    np.testing.assert_array_equal(one.decision[0], whole.decision[3])
    none = explain(u, x[:0])
    assert len(none) == 0
    assert none.to_frame().empty
    assert none.mean_part.shape == (0, 3)
    assert none.lower.shape == (0, u.network.n_features)
    with pytest.raises(ArgumentError, match="No row was explained"):
        none.summary()


def test_maps_that_do_not_fit_are_computed_on_demand(monkeypatch: pytest.MonkeyPatch) -> None:
    u, x = unwrapped(SPECIMENS["deep"])
    whole = explain(u, x)
    monkeypatch.setattr("relucidate.maps.FIT_BYTES", 0)
    lazy = explain(u, x)
    assert not isinstance(lazy.coef, np.ndarray)
    for field in ("weight", "intercept", "effect", "centred", "mean_part", "distance"):
        np.testing.assert_allclose(getattr(lazy, field), getattr(whole, field), rtol=1e-12, atol=1e-14)
    assert lazy.summary(3) == whole.summary(3)
    pd.testing.assert_frame_equal(lazy.to_frame(), whole.to_frame())


def test_one_other_feature_is_spoken_of_alone() -> None:
    u, x = unwrapped(random_network([6, 10, 1], seed=4))
    assert "; the other one adds " in " ".join(explain(u, x, rows=3).summary())
