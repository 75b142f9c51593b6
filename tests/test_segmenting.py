"""Segments: the planted weak segment, false alarms, their numbers against loops, and groups of rows."""

from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

import relucidate as rl
from relucidate import diagnose, segmenting
from relucidate.errors import ArgumentError, TargetError
from relucidate.layers import Activation, Layer
from relucidate.network import Network
from relucidate.segmenting import Segments, segments
from relucidate.sums import row_loss
from small_networks import SPECIMENS, random_network, rows_for
from test_exposures import lending, simulate
from test_performances import response, unwrapped

SUMS = 1e-9  # relative: sums in another order differ in the last places


@cache
def found_lending() -> Segments:
    example = rl.examples.home_lending()
    return segments(lending(), example.train, example.target, protected="age_group")


def test_planted_weak_segment_is_found() -> None:
    found = found_lending()
    train = pq.read_table(rl.examples.home_lending().train)
    weak = simulate.in_weak_segment(train)
    assert found.flag[0]
    assert found.kind[0] == "rule"
    member = train.to_pandas().query(found.rule[0]).index.to_numpy()
    assert len(member) == found.count[0]
    overlap = weak[member].sum() / (weak.sum() + len(member) - weak[member].sum())
    assert overlap > 0.8
    for part in ("debt_to_income > 40", "self_employed > 0.5", "loan_age_months <= 15"):
        assert part in found.rule[0]
    assert found.loss_low[0] > found.claimed[0]
    assert found.rule[0] in found.summary()[1]
    assert found.scores.of("auc")[0][0] < 0.6  # the credit score points the wrong way there


def test_a_network_that_is_right_has_no_weak_segment() -> None:
    """Responses drawn with the network's own probabilities: 5 % of tables have a flag among rules, 5 % among regions."""
    net = random_network([4, 10, 6, 1], seed=5, link="logit", draw=None)
    flagged = 0
    for seed in range(30):
        x = np.random.default_rng(seed).normal(size=(800, 4)) * 2
        flagged += bool(segments(rl.unwrap(net, x, response(net, x, seed))).flag.any())
    assert flagged / 30 <= 0.1 + 3 * np.sqrt(0.1 * 0.9 / 30)


def test_a_weak_corner_of_a_regression_is_found() -> None:
    net = random_network([5, 8, 1], seed=1).with_names(["a", "b", "c", "d", "e"])
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3000, 5))
    weak = (x[:, 1] > 1) & (x[:, 3] < 0)
    y = net.decision(x)[:, 0] + rng.normal(size=3000) * np.where(weak, 3, 0.3)
    found = segments(rl.unwrap(net, x, y))
    assert found.measure == "mse"
    best = next(rule for rule, flag in zip(found.rule, found.flag, strict=True) if flag)
    assert "b > " in best
    assert "d <= " in best
    assert "would be expected" in repr(found)


# ---------------------------------------------------------------- numbers


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", SPECIMENS)
def test_numbers_are_those_of_a_loop(name: str, weighted: bool) -> None:
    u = unwrapped(SPECIMENS[name], 400, weighted)
    found = segments(u)
    net, s = u.network, u.sample
    loss = row_loss(net, s.decision, s.y) / (1 if net.is_classifier else net.n_outputs)
    assert found.overall == pytest.approx(np.average(loss, weights=s.weights), rel=SUMS)
    for i, (kind, regions) in enumerate(zip(found.kind, found.regions, strict=True)):
        if kind == "region":
            here = s.region == regions[0]
            assert found.tested[i] == found.count[i] == here.sum() >= 30
            assert found.loss[i] == pytest.approx(np.average(loss[here], weights=s.weights[here]), rel=SUMS)
            if not here.all():
                assert found.rest[i] == pytest.approx(np.average(loss[~here], weights=s.weights[~here]), rel=SUMS)
        elif kind == "regions":
            assert found.count[i] == np.isin(s.region, regions).sum()
        else:
            assert 30 <= found.tested[i] < found.count[i]
        assert found.loss_low[i] <= found.loss[i] <= found.loss_high[i]
    assert len(found.to_frame()) == len(found.rule)
    flags = found.to_frame()["flag"].to_list()
    assert flags == sorted(flags, reverse=True)
    assert found.summary()


@pytest.mark.parametrize(("link", "k"), [("logit", 1), ("logit", 3), ("softmax", 4)])
def test_claimed_loss_is_that_of_drawn_responses(link: str, k: int) -> None:
    net = random_network([3, 6, k], seed=1, link=link)
    decision = net.decision(np.random.default_rng(0).normal(size=(5, 3)))
    p = net.inverse_link(decision)
    found = segmenting._entropy(net, decision)
    if link == "softmax":
        np.testing.assert_allclose(found, -(p * np.log(p)).sum(axis=1), rtol=1e-9)
    else:
        np.testing.assert_allclose(found, -(p * np.log(p) + (1 - p) * np.log(1 - p)).sum(axis=1), rtol=1e-9)


def test_first_condition_is_the_best_there_is() -> None:
    """One condition: the largest mean over its standard error of all thresholds, by a loop."""
    rng = np.random.default_rng(0)
    x, v = np.round(rng.normal(size=(300, 3)), 1), rng.exponential(size=300)
    v = v + (x[:, 2] > 0.7)
    v = v - v.mean()
    cuts = [segmenting.cut_points(x[:, j], 16) for j in range(3)]
    codes = [np.searchsorted(c, x[:, j], side="left") for j, c in enumerate(cuts)]
    start = segmenting._Rule(0.0, (), np.ones(300, dtype=bool))
    best = max(segmenting._narrowed(start, codes, cuts, v, np.ones(300)), key=lambda r: r.score)
    scores = {}
    for j in range(3):
        for t in cuts[j]:
            for above in (False, True):
                here = v[x[:, j] > t] if above else v[x[:, j] <= t]
                if 30 <= len(here) <= 0.95 * 300:
                    scores[(j, t, above)] = here.sum() / np.sqrt(((here - here.mean()) ** 2).sum())
    expected = max(scores, key=lambda key: scores[key])
    assert best.conditions == (expected,)
    assert best.score == pytest.approx(scores[expected], rel=1e-9)
    j, t, _ = expected
    np.testing.assert_array_equal(best.member, x[:, j] > t)


def test_a_rule_is_found_on_rows_that_it_is_not_tested_on(monkeypatch: pytest.MonkeyPatch) -> None:
    u = unwrapped(SPECIMENS["one logit"], 400)
    used: list[Any] = []
    best_rules, measured = segmenting._best_rules, segmenting._measured

    def watch_search(rows: Any, searched: Any, most: int) -> Any:
        used.append(set(searched.tolist()))
        return best_rules(rows, searched, most)

    def watch_test(rows: Any, member: Any, tested: Any, kind: str, *rest: Any) -> Any:
        if kind != "region":
            assert not used[0] & set(np.flatnonzero(tested).tolist())
            used.append(kind)
        return measured(rows, member, tested, kind, *rest)

    monkeypatch.setattr(segmenting, "_best_rules", watch_search)
    monkeypatch.setattr(segmenting, "_measured", watch_test)
    segments(u)
    assert len(used[0]) == 200
    assert "rule" in used


# ---------------------------------------------------------------- groups


def test_groups_are_compared_with_the_largest() -> None:
    found, u = found_lending(), lending()
    group = pq.read_table(rl.examples.home_lending().train)["age_group"].to_numpy(zero_copy_only=False)
    g = found.groups
    assert g is not None
    assert g.names == ("35-61", "18-34", "62+")
    s = u.sample
    frame = found.groups_frame()
    for i, name in enumerate(g.names):
        here = group == name
        assert g.count[i] == here.sum()
        assert g.scores.of("auc")[0][i] == pytest.approx(roc_auc_score(s.label[here], s.decision[here, 0]), rel=SUMS)
        accepted = s.decision[here, 0] > 0
        assert g.accepted[i] == pytest.approx(accepted.mean())
        limits = proportion_confint(accepted.sum(), len(accepted), method="wilson")
        np.testing.assert_allclose((g.accepted_low[i], g.accepted_high[i]), limits, rtol=1e-9)
        assert g.decision[i, 0] == pytest.approx(s.decision[here, 0].mean(), rel=SUMS)
        coef = np.asarray(u.coef)[s.region[here], 0].mean(axis=0)
        np.testing.assert_allclose(g.coef[i, 0], coef, rtol=1e-9, atol=1e-12)
        column = "coef_difference: credit_score"
        assert frame[column].iloc[i] == pytest.approx(g.coef[i, 0, 0] - g.coef[0, 0, 0])
        if i:
            first = group == g.names[0]
            newcombe = confint_proportions_2indep(
                accepted.sum(), len(accepted), (s.decision[first, 0] > 0).sum(), first.sum(), method="newcomb"
            )
            row = frame.iloc[i]
            np.testing.assert_allclose(
                (row["accepted_difference_low"], row["accepted_difference_high"]), newcombe, rtol=1e-6
            )
    assert any(line.startswith("age_group 18-34 (4,675 rows) against 35-61 (12,446): AUC") for line in found.summary())


def test_groups_may_be_given_as_values() -> None:
    net = SPECIMENS["five classes"]
    x = rows_for(net, 200)
    u = rl.unwrap(net, x, response(net, x))
    values = [None if i % 10 == 0 else float(i % 2) for i in range(200)]
    g = segments(u, protected=values).groups
    assert g is not None
    assert sorted(g.names) == ["0", "1", "missing"]
    assert g.count.sum() == 200
    assert np.isnan(g.accepted).all()
    assert g.coef.shape == (3, 5, 4)


def test_missing_values_are_no_level_called_missing() -> None:
    u = unwrapped(SPECIMENS["one logit"], 90)
    g = segments(u, protected=["missing", None, "b"] * 30).groups
    assert g is not None
    assert sorted(g.names) == ["b", "missing", "missing value"]
    assert g.count.tolist() == [30, 30, 30]


def test_one_group_is_nothing_to_compare() -> None:
    found = segments(unwrapped(SPECIMENS["one logit"], 90), protected=["a"] * 90)
    assert found.summary()[-1] == "group: all rows are of one group, a, so that there is nothing to compare"


def test_names_stay_on_one_line_and_a_column_names_the_groups() -> None:
    net = SPECIMENS["one logit"].with_names(["a\nb", "x\x1b[31m", "c"])
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, 3))
    y = np.where((x[:, 0] > 1) & (x[:, 1] > 0), net.decision(x)[:, 0] < 0, response(net, x)).astype(int)
    protected = pd.Series(["u\nv", ""] * 1000, name="of\nwhom")
    found = segments(rl.unwrap(net, x, y), protected=protected)
    assert found.flag.any()
    assert all(line.isprintable() for line in found.summary())
    assert found.summary()[-1].startswith("of?whom u?v (1,000 rows) against (empty) (1,000): AUC")
    assert found.groups is not None
    assert found.groups.column == "of\nwhom"


def test_a_group_of_one_row_has_no_interval() -> None:
    u = unwrapped(SPECIMENS["one logit"], 90)
    found = segments(u, protected=["a"] * 89 + ["b"])
    assert "nan" not in repr(found)
    assert "b (1 row) against a (89): log-loss" in repr(found)
    assert "(no interval)" in repr(found)


def test_the_first_group_weighs_something() -> None:
    """Differences to a group without weight would all be lost."""
    net = SPECIMENS["one logit"]
    x = rows_for(net, 90)
    u = rl.unwrap(net, x, response(net, x), np.r_[np.zeros(50), np.ones(40)])
    g = segments(u, protected=["a"] * 50 + ["b"] * 25 + ["c"] * 15).groups
    assert g is not None
    assert g.names == ("b", "c", "a")
    assert np.isfinite(g.scores.of("log_loss")[0]).tolist() == [True, True, False]


def test_a_softmax_of_two_classes_accepts_too() -> None:
    """The same network as one logit: the difference of its two."""
    two = random_network([3, 8, 2], seed=3, link="softmax")
    last = two.layers[-1]
    top = Layer(last.weight[1:] - last.weight[:1], last.bias[1:] - last.bias[:1], Activation.of_kind("identity", 1))
    one = Network((*two.layers[:-1], top), two.features, "logit")
    x = np.random.default_rng(0).normal(size=(300, 3))
    y, protected = response(one, x), ["a", "b", "c"] * 100
    a, b = (segments(rl.unwrap(net, x, y), protected=protected).groups for net in (two, one))
    assert a is not None
    assert b is not None
    for what in ("accepted", "accepted_low", "accepted_high"):
        np.testing.assert_allclose(getattr(a, what), getattr(b, what))
    assert np.isfinite(a.accepted).all()


def test_groups_may_be_of_an_input() -> None:
    """Its values are among the rows that were kept, whatever was unwrapped."""
    example = rl.examples.home_lending()
    values = pq.read_table(example.train)["self_employed"].to_numpy()
    g = segments(lending(), protected="self_employed").groups
    assert g is not None
    assert (g.column, g.names) == ("self_employed", ("0", "1"))
    assert g.count.tolist() == [(values == 0).sum(), (values == 1).sum()]


def test_a_column_that_is_not_there_is_named_as_it_was_asked_for() -> None:
    example = rl.examples.home_lending()
    with pytest.raises(TargetError, match="protected is 'sex', but X has no such column; it has 'quarter'"):
        segments(lending(), example.train, example.target, protected="sex")


def test_what_makes_no_sense_is_refused() -> None:
    u = unwrapped(SPECIMENS["one logit"], 100)
    with pytest.raises(ArgumentError, match="most is 0"):
        segments(u, most=0)
    with pytest.raises(ArgumentError, match="keeps no columns beside the inputs"):
        segments(u, protected="sex")
    with pytest.raises(ArgumentError, match=r"protected has shape \(3,\); the table has 100 rows"):
        segments(u, protected=[1, 2, 3])
    with pytest.raises(ArgumentError, match="protected has 100 different values; at most 20"):
        segments(u, protected=np.arange(100))
    with pytest.raises(ArgumentError, match=r"there is none\. Unwrap with y"):
        segments(rl.unwrap(u.network, u.sample.x))
    with pytest.raises(ArgumentError, match="y is given without X"):
        segments(u, y=[1])
    with pytest.raises(ArgumentError, match="There are no groups: call segments with protected"):
        segments(u).groups_frame()


def test_few_rows_give_no_segments() -> None:
    found = segments(unwrapped(SPECIMENS["lines"], 20))
    assert found.rule == ()
    assert len(found.to_frame()) == 0
    assert "too few rows to test anything on" in repr(found)


def test_it_is_in_diagnose() -> None:
    assert diagnose.segments is segments
    assert diagnose.Segments is Segments
