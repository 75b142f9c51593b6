"""The page's section on single features: exact curves on one scale, and in words what they are of."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from relucidate.html import effects as section
from relucidate.html import pictures, report
from relucidate.html.effects import effects
from relucidate.html.regions import feature_importance
from relucidate.html.words import Name
from relucidate.unwrapping import unwrap
from test_effects import categorical
from test_html import SPECIMENS


def curve(picture: Any) -> Any:
    """The points of the line of a picture, in user units."""
    (points,) = re.findall(r'<polyline class="line" points="([^"]*)"', str(picture))
    return np.array([[float(v) for v in pair.split(",")] for pair in points.split()])


def of(name: str) -> Any:
    u = SPECIMENS[name]()
    return u, effects(u, feature_importance(u, min(u.network.n_outputs, 10)))


@pytest.mark.parametrize("name", sorted(SPECIMENS))
def test_every_page_has_its_section(name: str, tmp_path: Any) -> None:
    u = SPECIMENS[name]()
    page = report(u, tmp_path / "page.html").read_text(encoding="utf-8")
    assert ('<section id="effects"' in page) == (u.n_regions > 1)


def test_curves_are_means_of_the_network_on_one_scale() -> None:
    u, content = of("binary")
    importance = feature_importance(u, 1)
    ((_, drawn),) = content.pictures
    names = [u.network.feature_names[j] for j in importance.order]
    assert [feature.short for feature, _ in drawn] == names[: len(drawn)]
    x = u.sample.x
    heights, truth = [], []
    for feature, picture in drawn:
        j = u.network.feature_names.index(feature.short)
        points = curve(picture)
        low, high = x[:, j].min(), x[:, j].max()
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
    importance = replace(feature_importance(still, 1), share=np.full((1, 5), 0.2))
    ((_, drawn),) = effects(still, importance).pictures
    assert [feature.short for feature, _ in drawn] == ["x0", "x2", "x3", "x4"]
    same = unwrap(u.network, np.full((3, 5), 0.5))
    assert effects(same, importance).missing == "No feature changes over these rows."


def test_levels_are_named_with_their_means() -> None:
    net, frame = categorical()
    u = unwrap(net, frame)
    content = effects(u, feature_importance(u, 1))
    drawn = {feature.short: str(picture) for feature, picture in content.pictures[0][1]}
    assert set(drawn) == {"age", "job", "debt"}
    for level in ("a", "b", "none of these"):
        assert f">{level}<" in drawn["job"]
    mean = float(net.decision(frame.assign(job="a")).mean())
    assert f"a {mean:,.4g}".replace("-", "−") in drawn["job"]


def test_a_picture_shows_values_that_hardly_change() -> None:
    flat = pictures.effect(np.array([0.0, 1.0]), np.array([2.0, 2.0]), np.linspace(0, 1, 201), (2.0, 2.0))
    assert np.isfinite(curve(flat)).all()
    assert "NaN" not in str(pictures.levels([Name("a")], np.array([1.0]), np.array([1.0]), (1.0, 1.0)))
