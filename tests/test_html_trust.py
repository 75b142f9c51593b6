"""The page's chapter on reliability and performance: its numbers are those of the results, and what it may not show."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from relucidate import words
from relucidate.complexities import complexity
from relucidate.html import pictures_trust as pictures
from relucidate.html import report
from relucidate.html.deciles import deciles
from relucidate.html.parts import Chapter, Part
from relucidate.html.pictures_trust import Line, Mark
from relucidate.html.subject import Subject
from relucidate.html.trust import trust
from relucidate.performances import performance
from relucidate.reliabilities import reliability
from relucidate.segmenting import segments
from relucidate.unwrapping import Unwrapped, unwrap
from test_html import HOSTILE, SPECIMENS, Page, network, unwrapped

RESPONSE = {"performance", "segments", "fairness"}


def parts_of(chapter: Chapter) -> dict[str, Part]:
    return {part.id: part for part in chapter.parts}


def of(u: Unwrapped, **options: Any) -> dict[str, Part]:
    return parts_of(trust(Subject(u, **options)))


def logistic(n: int = 3000, seed: int = 1, shift: float = 0.0) -> tuple[Any, Any, Any]:
    """A network, rows, and yes/no answers drawn with its own probabilities, on the log-odds scale off by `shift`."""
    net = network((3, 8, 1), "logit", ("age", "income", "debt"))
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3))
    p = 1 / (1 + np.exp(-(net.trace(X).decision[:, 0] + shift)))
    return net, X, (rng.random(n) < p).astype(int)


def marks(picture: Any, kind: str) -> np.ndarray[Any, Any]:
    """The places of the marks of a kind (m, 2), in user units."""
    if kind == "own":
        found = re.findall(
            r'<circle class="trust-mark trust-own"[^>]* cx="([\d.-]+)" cy="([\d.-]+)" r="4"/>', str(picture)
        )
    else:
        found = re.findall(r'<rect class="trust-mark trust-tick"[^>]* x="([\d.-]+)" y="([\d.-]+)"', str(picture))
    return np.array(found, dtype=float).reshape(-1, 2)


# ---------------------------------------------------------------- deciles


def test_deciles_are_tenths_of_the_rows_in_order() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(1000)
    y = (rng.random(1000) < p).astype(float)
    b = deciles(p, y, np.ones(1000), shares=True)
    order = np.argsort(p).reshape(10, 100)
    np.testing.assert_array_equal(b.count, 100)
    np.testing.assert_allclose(b.predicted, p[order].mean(axis=1))
    np.testing.assert_allclose(b.observed, y[order].mean(axis=1))
    for i in range(10):
        hits = int(y[order[i]].sum())
        exact = stats.binomtest(hits, 100).proportion_ci(0.95, method="wilson")
        assert (b.low[i], b.high[i]) == pytest.approx((exact.low, exact.high))
    assert b.error == pytest.approx(np.abs(b.predicted - b.observed).mean())
    outside = int(((b.predicted < b.low) | (b.predicted > b.high)).sum())
    assert b.chance == pytest.approx(stats.binom.sf(outside - 1, 10, 0.05) if outside else 1.0)


def test_deciles_of_numbers_have_students_intervals() -> None:
    rng = np.random.default_rng(1)
    p = rng.normal(size=200)
    y = p + rng.normal(size=200)
    b = deciles(p, y, np.ones(200), shares=False)
    rows = np.argsort(p)[:20]
    exact = stats.ttest_1samp(y[rows], 0).confidence_interval(0.95)
    assert (b.low[0], b.high[0]) == pytest.approx((exact.low, exact.high))


def test_weights_count_as_rows_do() -> None:
    rng = np.random.default_rng(2)
    p, y = rng.random(300), rng.integers(0, 2, 300).astype(float)
    times = rng.integers(1, 5, 300)
    once = deciles(p, y, times.astype(float), shares=True)
    often = deciles(np.repeat(p, times), np.repeat(y, times), np.ones(times.sum()), shares=True)
    np.testing.assert_allclose(once.predicted, often.predicted)
    np.testing.assert_allclose(once.observed, often.observed)
    np.testing.assert_allclose(once.share, often.share)
    assert (once.high - once.low > often.high - often.low).all()  # rows of weight 4 are not 4 rows


@pytest.mark.parametrize("least", [5, 30, 100])
def test_no_bin_is_smaller_than_asked_and_equal_predictions_stay_together(least: int) -> None:
    rng = np.random.default_rng(3)
    for n in (1, 4, least, least + 1, 2 * least - 1, 317):
        p = np.round(rng.random(n), 1)
        w = rng.integers(0, 3, n).astype(float)
        b = deciles(p, rng.random(n), w, shares=False, least=least)
        if (w > 0).sum() < least:
            assert len(b.count) == 0
            continue
        assert b.count.sum() == (w > 0).sum()
        assert b.count.min() >= least
        assert (np.diff(b.predicted) > 0).all()
        assert b.share.sum() == pytest.approx(1)
    constant = deciles(np.full(50, 0.3) + 1e-16, rng.random(50), np.ones(50), shares=False)
    assert list(constant.count) == [50]


# ---------------------------------------------------------------- every kind of page


@pytest.mark.parametrize("specimen", sorted(SPECIMENS))
def test_parts_that_need_a_response_are_absent_without_one(specimen: str, tmp_path: Path) -> None:
    u = SPECIMENS[specimen]()
    page = Page(report(u, tmp_path / "page.html"))
    held = {a.get("id") for a in page.all("section")}
    assert {"trust", "reliability", "complexity"} <= held
    assert (RESPONSE - {"fairness"} <= held) == u.has_y
    assert "fairness" not in held
    assert ("There is no response: how well the network does" in page.text) == (not u.has_y)
    facts = json.loads((tmp_path / "page.json").read_text(encoding="utf-8"))["chapters"]["trust"]
    assert set(facts) == {"reliability", "complexity"} | ({"performance", "segments"} if u.has_y else set())


def test_every_finding_leads_to_a_part_and_has_a_weight() -> None:
    for make in SPECIMENS.values():
        parts = of(make())
        for part in parts.values():
            for finding in part.findings:
                assert finding.part == part.id
                assert 0 < finding.weight < 1
                assert finding.text.endswith(".")
            assert all(limit.part == part.id for limit in part.limitations)


def test_hostile_names_of_groups_and_levels_do_nothing(tmp_path: Path) -> None:
    net, X, y = logistic(800)
    frame = pd.DataFrame(X, columns=net.feature_names)
    frame[HOSTILE[0]] = np.array(HOSTILE, dtype=object)[np.arange(800) % len(HOSTILE)]
    page = Page(report(unwrap(net, frame, y), tmp_path / "page.html", X=frame, y=y, protected=HOSTILE[0]))
    assert "fairness" in [a.get("id") for a in page.all("section")]
    assert not page.all("b")
    assert not page.all("img")
    assert "<script>alert(1)</script>" in page.text
    assert "L" * 301 not in page.source


# ---------------------------------------------------------------- reliability


@pytest.mark.parametrize("specimen", ["binary", "regression", "weighted", "without a response", "five classes"])
def test_reasons_add_up_to_all_regions_and_rows(specimen: str) -> None:
    u = SPECIMENS[specimen]()
    rel = reliability(u)
    content = of(u)["reliability"].content
    lines = [*content.rows, content.sound]
    assert sum(int(line.regions.replace(",", "")) for line in lines) == u.n_regions
    assert sum(int(line.rows.replace(",", "")) for line in lines) == u.n_rows
    for j, line in enumerate(content.rows):
        only = [r for r in range(u.n_regions) if rel.flags[r, j] and not rel.flags[r, :j].any()]
        assert line.reason == rel.reasons[j]
        assert line.threshold
        assert int(line.regions.replace(",", "")) == len(only)
        assert line.share == words.percent(float(sum(u.share[r] for r in only)))
        assert int(line.every.replace(",", "")) == rel.flags[:, j].sum()
    sound = [r for r in range(u.n_regions) if not rel.flags[r].any()]
    assert content.sound.share == words.percent(float(sum(u.share[r] for r in sound)))


def test_bars_are_as_long_as_their_shares() -> None:
    u = SPECIMENS["binary"]()
    rel = reliability(u)
    picture = str(of(u)["reliability"].content.picture)
    regions, share = rel.tally
    shown = [len(rel.reasons), *(j for j in range(len(rel.reasons)) if regions[j])]
    for style, values in (("bar-regions", regions / u.n_regions), ("bar-rows", share)):
        widths = [
            float(w)
            for w, h in re.findall(
                rf'<rect class="{style}" x="8.0" y="[\d.]+" width="([\d.]+)" height="(\d+)"', picture
            )
            if h == "11"
        ]
        assert len(widths) == len(shown)
        at = np.array([values[j] for j in shown])
        full = max(widths) / at.max()
        # what is there is at least one unit long
        np.testing.assert_allclose(widths, np.where(at > 0, np.maximum(full * at, 1), 0), atol=0.11)


@pytest.mark.parametrize("specimen", ["binary", "regression", "without a response"])
def test_what_cannot_be_confirmed_is_a_limitation(specimen: str) -> None:
    u = SPECIMENS[specimen]()
    rel = reliability(u)
    (limit,) = [x for x in of(u)["reliability"].limitations if "cannot confirm" in x.text]
    thin = {
        "one row",
        "one class",
        "fewer rows than coefficients",
        "few rows",
        "rank-deficient or ill-conditioned rows",
    }
    share = sum(float(u.share[r]) for r in range(u.n_regions) if rel.reason[r] in thin)
    share = round(share, 12)
    assert limit.text.startswith(
        f"{words.percent(share)} of the rows rest on local models that the table cannot confirm"
    )


def test_doubtful_regions_are_linked_and_of_some_size() -> None:
    u = SPECIMENS["binary"]()
    rel = reliability(u)
    listed = of(u)["reliability"].content.doubtful
    assert listed
    for region, rows, _, why in listed:
        assert int(rows) == u.count[region] >= 5
        assert why.split("; ") == [name for name, holds in zip(rel.reasons, rel.flags[region], strict=True) if holds]


# ---------------------------------------------------------------- performance


def test_scores_are_those_of_both_tables(tmp_path: Path) -> None:
    net, X, y = logistic()
    u = unwrap(net, X[:2000], y[:2000])
    test = unwrap(net, X[2000:], y[2000:])
    content = of(u, test=test)["performance"].content
    on_table, on_test = performance(u), performance(u, test)
    assert [label for label, *_ in content.sets][:2] == ["the table", "the test rows"]
    for (_, rows, cells), p in zip(content.sets[:2], (on_table, on_test), strict=True):
        assert rows == f"{p.n_rows:,}"
        assert [c.value for c in cells] == [f"{v:.4f}" for v in p.network.value[:, 0]]
        assert [c.low for c in cells] == [f"{v:.4f}" for v in p.network.low[:, 0]]
    assert content.with_test
    for region, rows, _, local, seen, everywhere in content.table:
        assert rows == f"{u.count[region]:,}"
        assert local.value == f"{on_table.local.value[0, region]:.4f}"
        assert everywhere.value == f"{on_table.overall.value[0, region]:.4f}"
        if on_test.count[region] >= 5 and np.isfinite(on_test.local.value[0, region]):
            assert seen.value == f"{on_test.local.value[0, region]:.4f}"
        if on_test.count[region] < 5:
            assert seen.value == words.NONE


def test_forest_draws_the_scores() -> None:
    net, X, y = logistic()
    u = unwrap(net, X, y)
    p = performance(u)
    picture = of(u)["performance"].content.picture
    own, everywhere = marks(picture, "own")[1:], marks(picture, "tick")[1:]  # the first is in the legend
    regions = [int(r) for r in p.order[:12]]
    local = [p.local.value[0, r] for r in regions if np.isfinite(p.local.value[0, r])]
    x = np.r_[own[:, 0], everywhere[:, 0] + 1.5]
    value = np.r_[local, p.overall.value[0, regions]]
    slope, start = np.polyfit(value, x, 1)
    assert slope > 0
    np.testing.assert_allclose(x, start + slope * value, atol=0.12)  # drawn to a tenth of a unit
    assert str(picture).count('data-region="') >= 2 * len(regions)


def test_verdict_on_one_linear_model() -> None:
    rng = np.random.default_rng(0)
    net = network((3, 8, 1))
    X = rng.normal(size=(4000, 3))
    u = unwrap(net, X, rng.normal(size=4000) * 50)  # a response that nothing explains
    part = of(u)["performance"]
    assert "One linear model would do" in part.content.verdicts[0][1]
    (finding,) = [f for f in part.findings if "would do" in f.text]
    assert finding.weight == 0.7
    true = unwrap(net, X, net.predict(X)[:, 0])
    (_, verdict) = of(true)["performance"].content.verdicts[0]
    assert "None of the local models would do alone" in verdict


def test_worse_on_test_rows_is_a_finding() -> None:
    net, X, y = logistic()
    u = unwrap(net, X[:2000], y[:2000])
    noise = np.random.default_rng(5).integers(0, 2, 1000)
    found = [f for f in of(u, test=unwrap(net, X[2000:], noise))["performance"].findings if "test rows" in f.text]
    assert any(f.weight == 0.85 and f.kind == "doubt" and "the mean log-loss is larger by" in f.text for f in found)
    found = [f for f in of(u, test=unwrap(net, X[2000:], y[2000:]))["performance"].findings if f.weight == 0.85]
    assert found == []


@pytest.mark.parametrize(("shift", "weight"), [(0.0, 0.4), (1.5, 0.7)])
def test_probabilities_are_held_against_what_was_observed(shift: float, weight: float) -> None:
    net, X, y = logistic(shift=shift)
    u = unwrap(net, X, y)
    part = of(u)["performance"]
    ((_, picture, _, table),) = part.content.calibrated
    order = np.argsort(u.sample.decision[:, 0], kind="stable").reshape(10, -1)
    p = 1 / (1 + np.exp(-u.sample.decision[:, 0]))
    assert [line[0] for line in table] == [words.percent(float(p[rows].mean()), 2) for rows in order]
    assert [line[1] for line in table] == [words.percent(float(y[rows].mean()), 2) for rows in order]
    drawn = str(picture).count("<circle") + str(picture).count("<polygon")
    assert drawn == 10
    assert weight in [f.weight for f in part.findings if "bin" in f.text]


def test_one_vote_of_several_classes_is_not_called_a_doubt() -> None:
    """Bins apart by chance in one of 14 outputs are not put down to the network."""
    part = of(SPECIMENS["many outputs"]())["performance"]
    assert len(part.content.calibrated) == 10


# ---------------------------------------------------------------- segments


def weak() -> tuple[Any, Any]:
    """Rows where the network's probabilities are wrong for all with x0 > 1, and nowhere else."""
    net, X, y = logistic(4000)
    y = np.where(X[:, 0] > 1, 1 - (net.trace(X).decision[:, 0] > 0), y)
    return net, unwrap(net, X, y)


def test_weak_segment_is_the_first_finding() -> None:
    _, u = weak()
    part = of(u)["segments"]
    found = segments(u)
    assert found.flag[0]
    (finding,) = part.findings
    assert (finding.weight, finding.kind) == (0.9, "doubt")
    said = found.rule[0].replace(" <= ", " ≤ ").replace(" -", " " + words.MINUS)
    assert "≤" in said
    assert words.name(said, 140).short in finding.text
    assert f"{found.loss[0]:.4f}" in finding.text
    for i, row in enumerate(part.content.rows):
        assert row.flagged == found.flag[i]
        assert row.loss.value == f"{found.loss[i]:.4f}"
        assert row.claimed == f"{found.claimed[i]:.4f}"
        assert row.region == (found.regions[i][0] if found.kind[i] == "region" else None)
    own = marks(part.content.picture, "tick")[1:, 0] + 1.5
    n = part.content.n_drawn
    slope, start = np.polyfit(found.claimed[:n], own, 1)
    np.testing.assert_allclose(own, start + slope * found.claimed[:n], atol=0.12)


def test_no_weak_segment_speaks_for_the_network() -> None:
    net, X, y = logistic(4000, seed=8)
    part = of(unwrap(net, X, y))["segments"]
    assert not any(row.flagged for row in part.content.rows)
    (finding,) = part.findings
    assert finding.kind == "sound"


def test_a_network_that_is_right_more_often_than_it_expects_has_no_weak_segment() -> None:
    """Its first class is always right: it does better than it expects everywhere, in places less so."""
    net = SPECIMENS["five classes"]().network
    x = np.random.default_rng(0).normal(size=(4000, net.n_features))
    u = unwrap(net, x, np.array(net.classes)[net.decision(x).argmax(axis=1)])
    found = segments(u)
    assert (found.p <= 0.05).any()
    assert (found.loss <= found.claimed).all()
    assert not found.flag.any()
    (finding,) = of(u)["segments"].findings
    assert finding.kind == "sound"


def test_segments_are_of_test_rows_where_these_have_a_response() -> None:
    net, X, y = logistic()
    u = unwrap(net, X[:2000])
    parts = of(u, test=unwrap(net, X[2000:], y[2000:]))
    assert "the 1,000 test rows" in parts["segments"].content.sentences[0]
    assert parts["performance"].content.sets[0][0] == "the test rows"


# ---------------------------------------------------------------- groups


def grouped(names: Any) -> tuple[Any, Any]:
    net, X, y = logistic()
    group = np.array(names, dtype=object)[(X[:, 0] > 0.3).astype(int)]
    frame = pd.DataFrame(X, columns=net.feature_names)
    return unwrap(net, frame, y), {"protected": group, "table": (frame, y)}


def test_groups_have_their_own_shares() -> None:
    u, asked = grouped(("low", "high"))
    part = of(u, **asked)["fairness"]
    group = asked["protected"]
    accepted = u.sample.decision[:, 0] > 0
    first_figure = part.content.rows[:2]
    assert [str(row.group) for row in first_figure] == ["low", "high"]
    for row in first_figure:
        mine = group == str(row.group)
        assert row.figure == "share predicted positive"
        assert row.rows == f"{mine.sum():,}"
        assert row.value.value == words.percent(float(accepted[mine].mean()))
        assert row.value.low == words.percent(
            stats.binomtest(int(accepted[mine].sum()), int(mine.sum())).proportion_ci(0.95, method="wilson").low
        )
    gap = 100 * (accepted[group == "high"].mean() - accepted[group == "low"].mean())
    assert first_figure[1].apart.value == f"{gap:+.1f}".replace("-", words.MINUS)
    (finding,) = part.findings
    assert finding.weight == 0.8
    coef = u.coef[u.sample.region][:, 0]
    apart = coef[group == "high"].mean(axis=0) - coef[group == "low"].mean(axis=0)
    ((_, features),) = part.content.coefficients
    first = int(np.argmax(np.abs(apart * u.sample.sd)))
    assert features[0][0].short == u.network.feature_names[first]
    assert features[0][3].lstrip("+" + words.MINUS) == words.number(abs(float(apart[first])))
    assert len(part.content.cannot) >= 4


def test_groups_of_a_few_rows_are_left_out(tmp_path: Path) -> None:
    u, asked = grouped(("low", "high"))
    group = asked["protected"].copy()
    group[:3] = "hermit"
    parts = of(u, **{**asked, "protected": group})
    assert "hermit" not in json.dumps(parts["fairness"].facts)
    assert "1 group of fewer than 5 rows is left out." in parts["fairness"].content.sentences
    alone = of(u, rows=10, **{**asked, "protected": group})
    assert "hermit" in json.dumps(alone["fairness"].facts)


def test_groups_need_a_response() -> None:
    u, asked = grouped(("low", "high"))
    X, _ = asked["table"]
    bare = unwrap(u.network, X)
    parts = of(bare, protected=asked["protected"], table=(X, None))
    assert set(parts) == {"reliability", "complexity"}
    assert "how groups fare" in parts["reliability"].content.absent


# ---------------------------------------------------------------- complexity


@pytest.mark.parametrize("specimen", ["binary", "many features", "five classes"])
def test_growth_curve_ends_at_all_rows_and_regions(specimen: str) -> None:
    u = SPECIMENS[specimen]()
    c = complexity(u)
    picture = str(of(u)["complexity"].content.picture)
    (points,) = re.findall(r'<polyline class="line" points="([^"]*)"', picture)
    drawn = np.array([[float(v) for v in pair.split(",")] for pair in points.split()])
    slope, start = np.polyfit(c.drawn, drawn[:, 0], 1)
    np.testing.assert_allclose(drawn[:, 0], start + slope * c.drawn, atol=0.11)
    slope, start = np.polyfit(c.expected, drawn[:, 1], 1)
    assert slope < 0
    np.testing.assert_allclose(drawn[:, 1], start + slope * c.expected, atol=0.11)


def test_neurons_are_counted_by_layer() -> None:
    u = SPECIMENS["dead"]()
    part = of(u)["complexity"]
    assert part.content.layers[0][1:] == ("6", "0", "0", "6")
    assert part.content.total == ["6", "0", "0", "6"]
    (finding,) = part.findings
    assert finding.text == "6 of 6 neurons are dead on these rows: they never do anything."
    binary = SPECIMENS["binary"]()
    c = complexity(binary)
    held = of(binary)["complexity"].content.layers
    for i, line in enumerate(held):
        assert line[1:] == tuple(
            str(int(((c.layer == i) & (c.state == state)).sum())) if state else str(int((c.layer == i).sum()))
            for state in ("", "switches", "always on", "dead")
        )


def test_share_of_new_rows_in_unseen_regions_is_goods() -> None:
    u = SPECIMENS["binary"]()
    part = of(u)["complexity"]
    share = words.percent(float((u.count == 1).sum()) / u.n_rows)
    assert f"about {share} would fall into regions that the table does not use" in part.content.sentences[0]
    assert any(share in f.text for f in part.findings)
    assert any(share in x.text for x in part.limitations)


def test_test_rows_in_unseen_regions_are_told() -> None:
    u = SPECIMENS["binary"]()
    other = unwrap(u.network, np.random.default_rng(9).normal(size=(400, 5)))
    seen = {bytes(p) for p in u.patterns.packed}
    share = np.mean([bytes(p) not in seen for p in u.network.trace(other.sample.x).patterns.packed])
    sentences = of(u, test=other)["complexity"].content.sentences
    assert f"Of the 400 test rows {words.percent(float(share))} did." in sentences


# ---------------------------------------------------------------- no single rows


@pytest.mark.parametrize("specimen", ["binary", "regression", "five classes", "weighted"])
def test_facts_hold_no_score_of_fewer_than_five_rows(specimen: str) -> None:
    u = SPECIMENS[specimen]()
    parts = of(u)
    kept = parts["reliability"].facts["of_regions"]
    assert kept["region"] == np.flatnonzero(u.count >= 5).tolist()
    for held in parts["performance"].facts["sets"]:
        assert min(held["regions"]["rows"]) >= 5
        assert len(held["regions"]["local"]["value"][0]) == len(held["regions"]["region"])
    for b in parts["performance"].facts["bins"]:
        assert min(b["count"]) >= 5


def test_facts_are_in_full_precision() -> None:
    u = unwrapped(network((5, 8, 4, 1), "logit"), n=3000)
    parts, p = of(u), performance(u)
    held = parts["performance"].facts["sets"][0]
    assert held["network"]["value"] == p.network.value.tolist()
    at = held["regions"]["region"].index(int(p.order[0]))
    assert held["regions"]["global"]["value"][0][at] == p.overall.value[0, p.order[0]]
    assert parts["complexity"].facts["growth"]["regions"] == complexity(u).expected.tolist()


# ---------------------------------------------------------------- pictures


def test_an_interval_that_dwarfs_the_values_is_cut_with_an_arrow() -> None:
    lines = [
        Line("a", "", [Mark("own", 1.0, 0.9, 1.1)]),
        Line("b", "", [Mark("own", 2.0, -50.0, 60.0)]),
    ]
    limits = pictures.reach([m for line in lines for m in line.marks])
    assert -2 < limits[0] < 1
    assert 2 < limits[1] < 4
    picture = str(pictures.forest(lines, limits, "score", [("own", "own")], "two"))
    assert picture.count("trust-arrow") == 2
    assert all(0 <= float(x) <= pictures.WIDTH for x in re.findall(r' x[12]?="([\d.-]+)"', picture))


def test_a_line_without_a_score_says_so() -> None:
    lines = [Line("a", "", [Mark("own", float("nan")), Mark("tick", 1.0)]), Line("b", "", [Mark("own", 2.0)])]
    picture = str(pictures.forest(lines, (0, 3), "score", [], "two"))
    assert picture.count("no score of its own") == 1
    assert picture.count("<circle") == 1
