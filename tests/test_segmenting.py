"""Segments: the planted weak segment, false alarms, their numbers against loops, and groups of rows."""

import tracemalloc
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import polars
import pyarrow.parquet as pq
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

import relucidate as rl
import relucidate.features
from relucidate import diagnose, segmenting, simplify
from relucidate.errors import ArgumentError, TargetError
from relucidate.layers import Activation, Layer
from relucidate.network import Network
from relucidate.segmenting import Segments, segments
from relucidate.simplified import ByRule, in_words
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
    found, spread = segmenting._entropy(net, decision)
    if link == "softmax":
        np.testing.assert_allclose(found, -(p * np.log(p)).sum(axis=1), rtol=1e-9)
        np.testing.assert_allclose(spread, (p * np.log(p) ** 2).sum(axis=1) - found**2, rtol=1e-7)
    else:
        np.testing.assert_allclose(found, -(p * np.log(p) + (1 - p) * np.log(1 - p)).sum(axis=1), rtol=1e-9)
        square = p * np.log(p) ** 2 + (1 - p) * np.log(1 - p) ** 2
        mean = p * np.log(p) + (1 - p) * np.log(1 - p)
        np.testing.assert_allclose(spread, (square - mean**2).sum(axis=1), rtol=1e-7)


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


# ---------------------------------------------------------------- tests


def two_regions() -> Network:
    """A quiet region of many rows, a noisy one of few: default is as good as tossed in one and rare in the other."""
    first = Layer(np.array([[1.0]]), np.zeros(1), Activation.of_kind("relu", 1))
    last = Layer(np.array([[-2.7]]), np.array([-0.2]), Activation.of_kind("identity", 1))
    return Network((first, last), rl.features.Features.plain(1), "logit")


def excess_of(u: rl.Unwrapped) -> Any:
    p = u.network.inverse_link(u.sample.decision)[:, 0]
    loss = -np.where(u.sample.label == 1, np.log(p), np.log1p(-p))
    variance = p * (1 - p) * u.sample.decision[:, 0] ** 2
    return loss + p * np.log(p) + (1 - p) * np.log1p(-p), variance


def welch(v: Any, here: Any, variance: Any) -> float:
    """From the formula, with scipy's own figures where no variance is below the one that is to be expected."""
    a, b = v[here], v[~here]
    own = [a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)]
    floor = [variance[here].mean() / len(a), variance[~here].mean() / len(b)]
    if own[0] >= floor[0] and own[1] >= floor[1]:
        return float(stats.ttest_ind(a, b, equal_var=False, alternative="greater").pvalue)
    x, y = np.maximum(own, floor)
    freedom = (x + y) ** 2 / (x**2 / (len(a) - 1) + y**2 / (len(b) - 1))
    return float(stats.t.sf((a.mean() - b.mean()) / np.sqrt(x + y), freedom))


@pytest.mark.parametrize("network", ["two", "many", "regression"])
def test_p_values_of_single_regions_are_welchs(network: str) -> None:
    plain = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        if network == "two":
            net = two_regions()
            x = np.where(np.arange(1000) < 900, -1 - rng.random(1000), 1 + 0.01 * rng.random(1000))[:, None]
        else:
            net = random_network([3, 8, 1], seed=1, link="logit" if network == "many" else "identity")
            x = rng.normal(size=(1000, 3)) * 1.5
        u = rl.unwrap(net, x, response(net, x, seed))
        if net.is_classifier:
            v, variance = excess_of(u)
        else:
            v = row_loss(net, u.sample.decision, u.sample.y)
            variance = np.full(len(v), v.var())
        tested = [r for r in range(u.n_regions) if u.count[r] >= 30 and len(v) - u.count[r] >= 5]
        raw = [welch(v, u.sample.region == r, variance) for r in tested]
        expected = dict(zip(tested, stats.false_discovery_control(raw), strict=True))
        found = segments(u, most=100)
        single = [i for i, kind in enumerate(found.kind) if kind == "region"]
        assert len(single) == len(tested)
        for i in single:
            assert found.p[i] == pytest.approx(expected[found.regions[i][0]], rel=1e-7, abs=1e-12)
        scipys = [
            stats.ttest_ind(
                v[u.sample.region == r], v[u.sample.region != r], equal_var=False, alternative="greater"
            ).pvalue
            for r in tested
        ]
        plain += sum(p == q for p, q in zip(raw, scipys, strict=True))
    assert plain or network == "two"  # some are Welch's as they stand


def test_p_values_of_rules_are_welchs() -> None:
    net = random_network([3, 8, 1], seed=1, link="logit").with_names(["a", "b", "c"])
    x = np.random.default_rng(0).normal(size=(1500, 3)) * 1.5
    u = rl.unwrap(net, x, response(net, x))
    v, variance = excess_of(u)
    half = np.zeros(1500, dtype=bool)
    half[np.random.default_rng(0).permutation(1500)[:750]] = True
    found = segments(u)
    searched = [i for i, kind in enumerate(found.kind) if kind != "region"]
    raw = []
    for i in searched:
        member = np.isin(u.sample.region, found.regions[i])
        if found.kind[i] == "rule":
            member = np.isin(np.arange(1500), pd.DataFrame(x, columns=["a", "b", "c"]).query(found.rule[i]).index)
        raw.append(welch(v[~half], member[~half], variance[~half]))
    np.testing.assert_allclose(found.p[searched], stats.false_discovery_control(raw), rtol=1e-7)


def test_others_that_are_quiet_by_chance_do_not_make_a_region_bad() -> None:
    """Of 100 rows where default is rare, few without one look better than they are, and the 900 beside them worse."""
    net, flagged = two_regions(), 0
    for seed in range(120):
        rng = np.random.default_rng(seed)
        x = np.where(np.arange(1000) < 900, -1 - rng.random(1000), 1 + 0.01 * rng.random(1000))[:, None]
        u = rl.unwrap(net, x, response(net, x, seed))
        rows = segmenting._rows(u, u.sample.region)
        flagged += bool(segmenting._single_regions(rows, u.n_regions, 10)[0][0].flag)
    assert flagged / 120 <= 0.05


@pytest.mark.parametrize("where", [0, 17])
def test_one_huge_weight_flags_nothing(where: int) -> None:
    net = random_network([2, 6, 1], seed=3, link="logit")
    x = np.random.default_rng(0).normal(size=(600, 2))
    weight = np.ones(600)
    weight[where] = 1e12
    found = segments(rl.unwrap(net, x, response(net, x), weight))
    assert found.n_regions > 3
    assert not found.flag.any()


def test_sums_of_all_others_keep_their_digits_beside_a_huge_value() -> None:
    values = np.r_[1.0, 1e300, 2.0, 3e-5]
    expected = [values[np.arange(4) != i].sum() for i in range(4)]
    assert segmenting._but_one(values).tolist() == expected
    assert segmenting._but_one(np.ones(1)).tolist() == [0]


# ---------------------------------------------------------------- copies


def table_of_copies(times: int, seed: int, n: int = 400) -> tuple[Any, Any]:
    net = random_network([3, 8, 1], seed=1, link="logit")
    x = np.random.default_rng(seed).normal(size=(n, 3)) * 1.5
    y = response(net, x, seed)
    y = np.where((x[:, 0] > 0.5) & (x[:, 1] > 0), 1 - y, y) if seed == 0 else y
    return segments(rl.unwrap(net, np.repeat(x, times, axis=0), np.repeat(y, times))), times


def test_copies_of_rows_change_nothing() -> None:
    once, twice, thrice = (table_of_copies(times, seed=0)[0] for times in (1, 2, 3))
    assert once.flag.any()
    for several, times in ((twice, 2), (thrice, 3)):
        assert several.rule == once.rule
        np.testing.assert_allclose(several.p, once.p, rtol=1e-9)
        np.testing.assert_allclose(several.loss_high, once.loss_high, rtol=1e-9)
        assert several.count.tolist() == (times * once.count).tolist()
        assert several.tested.tolist() == once.tested.tolist()
        assert several.n_copies == (times - 1) * 400
    assert once.n_copies == 0
    assert twice.summary()[1] == "400 rows repeat others and are no evidence beside them: copies were tested as one row"


def test_a_table_written_twice_has_no_false_flags() -> None:
    assert sum(table_of_copies(2, seed)[0].flag.any() for seed in range(1, 16)) <= 1


def test_copies_are_in_one_half(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three times as many rows, those searched on are as many as of one, and none of them is tested on."""
    seen: list[Any] = []
    best_rules = segmenting._best_rules

    def watch(rows: Any, searched: Any, most: int) -> Any:
        seen.append((rows.x, searched))
        return best_rules(rows, searched, most)

    monkeypatch.setattr(segmenting, "_best_rules", watch)
    table_of_copies(3, seed=1)
    x, searched = seen[0]
    assert len(searched) == 200
    rest = np.delete(x, searched, axis=0)
    assert not {row.tobytes() for row in x[searched]} & {row.tobytes() for row in rest}


def test_equal_rows_of_few_categories_are_no_copies() -> None:
    """64 kinds of rows, whose responses differ as the network lets them."""
    net = random_network([3, 6, 1], seed=2, link="logit")
    x = np.random.default_rng(0).integers(0, 4, (1500, 3)).astype(float)
    found = segments(rl.unwrap(net, x, response(net, x)))
    assert found.n_copies == 0
    assert found.n_searched > 3
    assert "repeat" not in repr(found)


@pytest.mark.parametrize("name", SPECIMENS)
def test_copies_are_known_whatever_the_responses_are(name: str) -> None:
    net = SPECIMENS[name]
    x = np.random.default_rng(0).normal(size=(200, net.n_features))
    y = response(net, x)
    x[:100, 0] = 0.0
    again = np.where(x == 0, -0.0, x)
    different = len(np.unique(np.column_stack([x, y]), axis=0))
    found = segments(rl.unwrap(net, np.vstack([x, again]), np.concatenate([y, y])))
    assert found.n_copies == (400 - different if net.n_features > 1 else 0)


# ---------------------------------------------------------------- words


def test_one_is_one_and_large_losses_are_short() -> None:
    u = unwrapped(SPECIMENS["one logit"], 400)
    found = segments(u, protected=["a", "b"] * 200)
    one = replace(found, n_searched=1, total_regions=1, n_regions=1).summary()[0]
    assert (
        "1 rule or group of regions, found on one half of the rows, was tested on the other, and 1 of 1 single region"
        in one
    )
    huge = replace(found, overall=3e199, loss=found.loss * 1e199, flag=np.ones(len(found.flag), dtype=bool))
    assert "log-loss 3e+199;" in huge.summary()[0]
    assert max(map(len, huge.summary())) < 300


def imputed() -> tuple[Network, Any]:
    """Income is missing in three rows of ten, and taken as 50 there."""
    features = rl.features.Features(
        (rl.features.Feature("income", "income", "value", (), 50.0), rl.features.Feature("age", "age")),
        ("income", "age"),
        True,
    )
    net = Network(random_network([2, 8, 1], seed=3, link="logit").layers, features, "logit")
    rng = np.random.default_rng(0)
    income = np.where(rng.random(3000) < 0.3, np.nan, rng.normal(50, 20, 3000).round(1))
    return net, pd.DataFrame({"income": income, "age": rng.normal(40, 10, 3000).round(1)})


def rows_named(rule: str, table: Any) -> Any:
    """The rows that a reader of a rule takes, word by word."""
    return table.query(rule.replace(" or missing", " or income.isna()")).index


def test_a_rule_names_the_rows_that_it_holds_where_missing_values_are_imputed() -> None:
    net, table = imputed()
    y = response(net, net.features.encode(table))
    weak = table["income"].between(42, 58) | table["income"].isna()
    y[weak & (np.random.default_rng(1).random(3000) < 0.6)] ^= 1
    found = segments(rl.unwrap(net, table, y))
    assert any("or missing" in rule for rule in found.rule)
    for rule, n, kind in zip(found.rule, found.count, found.kind, strict=True):
        if kind == "rule":
            assert len(rows_named(rule, table)) == n


def leaf_words(conditions: Any, features: Any) -> str:
    tree, leaf = segmenting._as_tree(conditions, len(features.items))
    return in_words(tree, leaf, features)


def test_words_of_a_range_say_where_missing_values_are() -> None:
    net, _ = imputed()
    said = {
        "income <= 50 or missing": [(0, 50.0, False)],
        "income > 50": [(0, 50.0, True)],
        "income <= 49.9": [(0, 49.9, False)],
        "income > 49.9 or missing": [(0, 49.9, True)],
        "43.8 < income <= 58.75 or missing": [(0, 43.8, True), (0, 58.75, False)],
        "(income > 49.9 or missing) and age <= 3": [(0, 49.9, True), (1, 3.0, False)],
        "income > 50 and age <= 3": [(0, 50.0, True), (1, 3.0, False)],
    }
    for words, conditions in said.items():
        assert leaf_words(conditions, net.features) == words


def test_words_of_levels_name_the_levels() -> None:
    """Of all other levels too; a missing value is said where it is taken as one of them."""
    feature = rl.features.Feature
    nan = float("nan")
    items = (
        feature("r=N", "r", "level", ("N", "S"), "S"),
        feature("r other", "r", "other", ("N", "S"), "S"),
        feature("q=1", "q", "level", (1, nan)),
        feature("q other", "q", "other", (1,)),
        feature("r?", "r", "missing"),
        feature("t other", "t", "other", ()),
    )
    features = rl.features.Features(items, ("r", "q", "t"), True)
    above = ["r = N or S or missing", "r is not N or S or missing", "q = 1 or missing", "q is not 1", "r is missing"]
    below = [
        "r is not N or S or missing",
        "r = N or S or missing",
        "q is not 1 or missing",
        "q = 1",
        "r is not missing",
    ]
    for j in range(6):
        assert leaf_words([(j, 0.5, True)], features) == [*above, "t is any level"][j]
        assert leaf_words([(j, 0.5, False)], features) == [*below, "t is no level"][j]


def test_rules_of_simplify_name_the_rows_that_they_lead() -> None:
    net, table = imputed()
    u = rl.unwrap(net, table, response(net, net.features.encode(table)))
    found = simplify.tree(u, n_models=6, oblique=False)
    assert isinstance(found.route, ByRule)
    texts = found.conditions()
    assert any("or missing" in rule for rules in texts for rule in rules)
    model = found.assign(table)
    for m, rules in enumerate(texts):
        rows = np.unique(np.concatenate([rows_named(rule, table) for rule in rules])) if rules else np.zeros(0)
        np.testing.assert_array_equal(rows, np.flatnonzero(model == m))


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


def names_of(protected: Any, n: int = 90) -> tuple[Any, Any]:
    g = segments(unwrapped(SPECIMENS["one logit"], n), protected=protected).groups
    assert g is not None
    return g.names, g.count.tolist()


def test_ranges_keep_their_order() -> None:
    """What the message on too many values recommends: the largest comes first, then the others as they are ordered."""
    age = np.r_[np.full(20, 15.0), np.full(10, 30), np.full(45, 50), np.full(12, 70), np.full(3, np.nan)]
    expected = (("(40, 60]", "(0, 20]", "(20, 40]", "(60, 80]", "missing"), [45, 20, 10, 12, 3])
    cut = pd.cut(age, [0, 20, 40, 60, 80, 100])
    assert names_of(cut) == expected
    assert names_of(pd.Series(cut)) == expected
    assert names_of(pd.CategoricalIndex(cut)) == expected
    assert sorted(names_of(cut.tolist())[0]) == [
        "(0.0, 20.0]",
        "(20.0, 40.0]",
        "(40.0, 60.0]",
        "(60.0, 80.0]",
        "missing",
    ]
    net = SPECIMENS["one logit"]
    table = pd.DataFrame(rows_for(net, 90), columns=list(net.feature_names)).assign(age=cut)
    y = response(net, table.to_numpy()[:, :-1].astype(float))
    g = segments(rl.unwrap(net, table.drop(columns="age"), y), table, y, protected="age").groups
    assert g is not None
    assert (g.names, g.count.tolist(), g.column) == (*expected, "age")


@pytest.mark.parametrize("how", ["series", "array", "nanoseconds", "objects", "days", "column", "polars"])
def test_dates_are_groups(how: str) -> None:
    days = pd.Series(pd.to_datetime(["2024-01-01"] * 50 + ["2024-02-01"] * 30 + [None] * 10))
    given: Any = {
        "series": days,
        "array": days.to_numpy().astype("datetime64[D]"),
        "nanoseconds": days.to_numpy().astype("datetime64[ns]"),
        "objects": days.to_list(),
        "days": [None if pd.isna(day) else day.date() for day in days],
    }.get(how)
    if how == "polars":
        given = polars.Series(days.dt.date.tolist()[:80] + [None] * 10)
    if given is not None:
        assert names_of(given) == (("2024-01-01", "2024-02-01", "missing"), [50, 30, 10])
        return
    net = SPECIMENS["one logit"]
    table = pd.DataFrame(rows_for(net, 90), columns=list(net.feature_names))
    u = rl.unwrap(net, table, response(net, table.to_numpy()))
    g = segments(u, table.assign(day=days), response(net, table.to_numpy()), protected="day").groups
    assert g is not None
    assert g.names == ("2024-01-01", "2024-02-01", "missing")


def test_a_column_of_a_file_that_is_no_group_is_called_protected(tmp_path: Any) -> None:
    net = SPECIMENS["one logit"]
    table = pd.DataFrame(rows_for(net, 90), columns=list(net.feature_names))
    u = rl.unwrap(net, table, response(net, table.to_numpy()))
    path = tmp_path / "t.parquet"
    table.assign(y=response(net, table.to_numpy()), day=pd.Timestamp("2024-01-01")).to_parquet(path)
    with pytest.raises(TargetError, match=r"t\.parquet: protected holds .*datetime"):
        segments(u, path, "y", protected="day")


def test_groups_are_told_apart_by_value_and_have_names_of_their_own() -> None:
    assert names_of([1, "1", None] * 30)[0] == ("1 (number)", "1", "missing")
    assert names_of(["a", "a\0", "b"] * 30) == (("a", "a\0", "b"), [30, 30, 30])
    names, count = names_of([None, "missing", "missing value"] * 30)
    assert len(set(names)) == 3
    assert {"missing", "missing value"} < set(names)
    assert count == [30, 30, 30]
    assert names_of([1, 1.0, True] * 30) == (("1",), [90])
    assert names_of(pd.Series([True, False, None] * 30, dtype="boolean"))[0] == ("0", "1", "missing")
    assert names_of([1e200, 10**400, np.inf] * 30)[0] == ("1.00000e+200", "1.00000e+400", "Infinity")
    assert names_of(np.array([0.3, 0.1 + 0.2, 2.0] * 30))[0] == ("0.3", "0.30000000000000004", "2")


def test_long_text_takes_no_memory_and_many_values_are_refused_at_once() -> None:
    tracemalloc.start()
    names, _ = names_of(["x" * 1_000_000] + ["a"] * 8999, n=9000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert names[0] == "a"
    assert peak < 100e6  # 36 GB if every name took as much as the longest
    read: list[int] = []

    class Counted(list[Any]):
        def __iter__(self) -> Any:
            for i in range(len(self)):
                read.append(i)
                yield self[i]

    with pytest.raises(ArgumentError, match="more than 20 different values"):
        segmenting._coded(segmenting._Cells(Counted(range(5000))))
    assert len(read) == 21


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
    with pytest.raises(ArgumentError, match=r"protected has shape \(100, 2\); expected one value per row"):
        segments(u, protected=np.zeros((100, 2)))
    with pytest.raises(
        ArgumentError, match=r"protected holds \[1\] \(list\); expected numbers, text, dates or categories"
    ):
        segments(u, protected=[[1]] * 100)
    with pytest.raises(ArgumentError, match=r"protected has 3 values; the table has 100 rows"):
        segments(u, protected=[1, 2, 3])
    with pytest.raises(ArgumentError, match="protected has more than 20 different values; at most 20 groups"):
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


def test_numbers_of_single_precision_have_their_short_names() -> None:
    u = unwrapped(SPECIMENS["xor"], 90)
    held = np.repeat(np.array([0.1, 2.0, np.nan], dtype=np.float32), u.n_rows // 3 + 1)[: u.n_rows]
    g = segments(u, protected=held).groups
    assert g is not None
    assert sorted(g.names) == ["0.1", "2", "missing"]
