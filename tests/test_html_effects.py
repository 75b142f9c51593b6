"""The page's section on single features: exact curves on one scale, and in words what they are of."""

import re
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from relucidate.features import Feature, Features
from relucidate.html import effects as section
from relucidate.html import pictures, report
from relucidate.html.effects import effects
from relucidate.html.subject import Subject
from relucidate.importances import importance
from relucidate.unwrapping import unwrap
from relucidate.words import Name, number
from test_effects import categorical
from test_html import SPECIMENS, network


def curve(picture: Any) -> Any:
    """The points of the line of a picture, in user units."""
    (points,) = re.findall(r'<polyline class="line" points="([^"]*)"', str(picture))
    return np.array([[float(v) for v in pair.split(",")] for pair in points.split()])


def of(name: str) -> Any:
    u = SPECIMENS[name]()
    return u, part(u).content


def part(u: Any, rows: int = 0) -> Any:
    s = Subject(u, rows=rows)
    return effects(s, importance(u).order)


@pytest.mark.parametrize("name", sorted(SPECIMENS))
def test_every_page_has_its_section(name: str, tmp_path: Any) -> None:
    u = SPECIMENS[name]()
    page = report(u, tmp_path / "page.html").read_text(encoding="utf-8")
    assert ('<section id="effects"' in page) == (u.n_regions > 1)


def test_curves_are_means_of_the_network_on_one_scale() -> None:
    u, content = of("binary")
    ((_, drawn),) = content.pictures
    names = [u.network.feature_names[j] for j in importance(u).order]
    assert [feature.short for feature, *_ in drawn] == names[: len(drawn)]
    x = u.sample.x
    heights, truth = [], []
    for feature, column, picture, left in drawn:
        j = u.network.feature_names.index(feature.short)
        assert (column, left) == (j, "")
        points = curve(picture)
        ordered = np.sort(x[:, j])
        low, high = ordered[:5].mean(), ordered[-5:].mean()  # no end is that of a single row
        left, right = points[0, 0], points[-1, 0]
        for at in points[:: max(len(points) // 5, 1)]:
            moved = x.copy()
            moved[:, j] = low + (at[0] - left) / (right - left) * (high - low)
            truth.append(float(u.network.trace(moved).decision.mean()))
            heights.append(at[1])
    # all pictures share one scale: height is one linear function of the mean decision, to a tenth of a unit
    slope, constant = np.polyfit(truth, heights, 1)
    assert slope < 0
    np.testing.assert_allclose(heights, np.polyval([slope, constant], truth), atol=0.3)
    assert content.rows == "all 500 rows"
    assert content.kinks > 100


def test_many_rows_are_thinned_and_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(section, "_ROWS", 60)
    _, content = of("binary")
    assert content.rows == "60 of the 500 rows, evenly spaced"
    monkeypatch.setattr(section, "_WEIGHTS", 10)
    _, content = of("binary")
    assert content.pictures == []
    assert "would take minutes" in content.missing


def test_features_that_stand_still_are_passed_over() -> None:
    u = SPECIMENS["binary"]()
    x = np.array(u.sample.x)
    x[:, 1] = 0.5
    still = unwrap(u.network, x)
    ((_, drawn),) = part(still).content.pictures
    assert sorted(feature.short for feature, *_ in drawn) == ["x0", "x2", "x3", "x4"]
    same = unwrap(u.network, np.full((7, 5), 0.5))
    assert part(same).content.missing == "No feature changes over these rows."


def test_few_rows_have_no_mean_unless_rows_may_be_shown() -> None:
    u = SPECIMENS["binary"]()
    few = unwrap(u.network, u.sample.x[:4])
    assert "a mean of 4 rows would show what single rows are like" in part(few).content.missing
    assert part(few, rows=1).content.pictures
    ((_, drawn),) = part(u, rows=1).content.pictures
    facts = part(u, rows=1).facts["effects"]
    j = u.network.feature_names.index(drawn[0][0].short)
    assert facts[0]["curves"][0]["value"][0] == u.sample.x[:, j].min()
    assert part(u).facts["effects"][0]["curves"][0]["value"][0] == pytest.approx(np.sort(u.sample.x[:, j])[:5].mean())


def test_no_place_of_a_curve_is_that_of_a_row_or_of_its_kink() -> None:
    u = SPECIMENS["binary"]()
    few = unwrap(u.network, u.sample.x[:40])
    found = part(few).facts["effects"]
    single = {e["column"]: e["curves"][0] for e in part(few, rows=1).facts["effects"]}
    assert found
    for effect in found:
        at = np.array(effect["curves"][0]["value"])
        exact = single[effect["column"]]
        j = u.network.feature_names.index(effect["column"])
        for values in (few.sample.x[:, j], np.array(exact["value"])):
            assert np.abs(at[:, None] - values).min() > 1e-9
        # no piece is straight in the exact curve, so that no slope and no kink of it can be had
        kinks = np.array(exact["value"])[1:-1]
        assert all(((low < kinks) & (kinks < high)).sum() >= 2 for low, high in pairwise(at[1:-1]))


def test_a_table_of_eight_rows_shows_no_end_of_its_range() -> None:
    u = SPECIMENS["binary"]()
    few = unwrap(u.network, u.sample.x[:8])
    for effect in part(few).facts["effects"]:
        at, x = effect["curves"][0]["value"], few.sample.x[:, u.network.feature_names.index(effect["column"])]
        assert (at[0], at[-1]) == pytest.approx((np.sort(x)[:5].mean(), np.sort(x)[-5:].mean()))


def test_facts_and_the_widest_curve_are_told() -> None:
    u = SPECIMENS["binary"]()
    found = part(u)
    curves = {e["column"]: np.array(e["curves"][0]["mean"]) for e in found.facts["effects"]}
    widest = max(curves, key=lambda column: np.ptp(curves[column]))
    (finding,) = found.findings
    assert finding.text.startswith(f"Set to each of its values in turn, {widest} moves the mean logit furthest: from ")
    assert f"from {number(curves[widest].min(), 3)} at" in finding.text
    for column, mean in curves.items():
        at = next(e["curves"][0]["value"] for e in found.facts["effects"] if e["column"] == column)
        x = u.sample.x.copy()
        x[:, u.network.feature_names.index(column)] = at[3]
        assert mean[3] == pytest.approx(float(u.network.decision(x).mean()), abs=1e-9)


def test_most_frequent_of_many_levels_are_drawn() -> None:
    items = tuple(Feature(f"city={v}", "city", "level", (v,)) for v in range(30))
    net = replace(network((30, 6, 1)), features=Features(items, ("city",), True))
    city = np.repeat(np.arange(30), np.arange(1, 31))[:, None]
    ((_, ((feature, column, picture, left),)),) = part(unwrap(net, city)).content.pictures
    assert (feature.short, column, left) == ("city", 0, "the 12 most frequent of 30 levels")
    shown = re.findall(r'class="end isolate"[^>]*>(\d+)<', str(picture))
    assert shown == [str(v) for v in range(18, 30)]


def test_levels_are_named_with_their_means() -> None:
    net, frame = categorical()
    content = part(unwrap(net, frame)).content
    drawn = {feature.short: str(picture) for feature, _, picture, _ in content.pictures[0][1]}
    assert set(drawn) == {"age", "job", "debt"}
    for level in ("a", "b", "none of these"):
        assert f">{level}<" in drawn["job"]
    mean = float(net.decision(frame.assign(job="a")).mean())
    assert f"a {mean:,.4g}".replace("-", "−") in drawn["job"]


def test_a_picture_shows_values_that_hardly_change() -> None:
    flat = pictures.effect(np.array([0.0, 1.0]), np.array([2.0, 2.0]), np.linspace(0, 1, 201), (2.0, 2.0), "mean logit")
    assert ">mean logit</text>" in str(flat)
    assert np.isfinite(curve(flat)).all()
    assert "NaN" not in str(pictures.levels([Name("a")], np.array([1.0]), np.array([1.0]), (1.0, 1.0), "mean logit"))
