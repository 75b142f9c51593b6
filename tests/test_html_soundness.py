"""The page's chapter on conceptual soundness: its numbers computed apart, what it links, and what it keeps to itself."""

import json
import re
from dataclasses import replace
from functools import cache
from html import unescape
from typing import Any

import numpy as np
import pytest

from relucidate.features import Feature, Features
from relucidate.html import dependence as changes
from relucidate.html.page import _environment
from relucidate.html.parts import Chapter, Part, plain
from relucidate.html.soundness import soundness
from relucidate.html.subject import Subject
from relucidate.network import Network
from relucidate.unwrapping import Unwrapped, unwrap
from relucidate.words import fixed, percent
from test_effects import categorical
from test_html import HOSTILE, SPECIMENS, network

TAGS = {"div", "p", "span", "sub", "bdi", "h4", "ul", "li", "label", "select", "option", "figure", "figcaption"}
TAGS |= {"svg", "rect", "line", "text", "title", "circle", "polyline", "polygon"}
TAGS |= {"table", "caption", "thead", "tbody", "tr", "th", "td"}


@cache
def specimen(name: str) -> Unwrapped:
    return SPECIMENS[name]()


def part_of(s: Subject, id: str) -> Part:
    return {part.id: part for part in soundness(s).parts}[id]


def html(part: Part) -> str:
    text = _environment().get_template(f"sections/{part.id}.html.j2").render(content=part.content)
    return text.replace("\xa0", " ")


def row_coefficients(u: Unwrapped) -> Any:
    """The coefficients (n, K, d) of every row, one by one, of a softmax less their mean."""
    out = np.stack([u.coef[r] for r in u.sample.region])
    return out - out.mean(axis=1, keepdims=True) if u.network.link == "softmax" else out


def attribute(text: str, tag: str, name: str) -> list[str]:
    return re.findall(rf'<{tag} [^>]*\b{name}="([^"]*)"', text)


# ---------------------------------------------------------------- all specimens


@pytest.mark.parametrize("name", sorted(SPECIMENS))
def test_every_part_is_laid_out_and_its_facts_are_json(name: str) -> None:
    s = Subject(specimen(name))
    chapter: Any = soundness(s)
    assert isinstance(chapter, Chapter)
    ids = [part.id for part in chapter.parts]
    assert ids[0] == "importance"
    assert ("profiles" in ids) == (s.u.n_regions > 1 and not s.u.is_constant)
    for part in chapter.parts:
        text = html(part)
        assert "nan" not in re.sub("nan[a-z]", "", text.lower())
        json.dumps(plain(part.facts), allow_nan=False)
        shown = {int(k) for k in attribute(text, "div", "data-output")}
        assert shown in (set(), set(range(s.n_outputs)))  # whatever output is chosen, there is something to see
        for g in attribute(text, "[a-z]+", "data-feature"):
            assert 0 <= int(g) < len(s.net.features.groups)
        for r in attribute(text, "[a-z]+", "data-region"):
            assert 0 <= int(r) < s.u.n_regions
        for said in [*part.findings, *part.limitations]:
            assert said.part == part.id
            assert all(character.isprintable() for character in said.text)


def test_names_do_nothing_in_sentences_and_pictures() -> None:
    u = specimen("hostile")
    outputs = u.network.outputs
    s = Subject(u, expected={(feature, outputs[0]): "+" for feature in HOSTILE})
    for part in soundness(s).parts:
        text = html(part)
        for bad in ("<script", "<img", "<b>", "\u202e", "L" * 301, "onerror=alert(1)>"):
            assert bad not in text
        assert set(re.findall(r"<([a-z0-9]+)", text)) <= TAGS


# ---------------------------------------------------------------- importance


def test_columns_share_the_variance_of_their_summed_effects() -> None:
    net, frame = categorical()
    s = Subject(unwrap(net, frame))
    part = part_of(s, "importance")
    x = s.u.sample.x
    effect = row_coefficients(s.u)[:, 0] * (x - x.mean(axis=0))
    columns = {"age": [0, 1], "job": [2, 3], "debt": [4]}
    variance = {column: effect[:, at].sum(axis=1).var() for column, at in columns.items()}
    total = sum(variance.values())
    facts = part.facts
    assert sorted(facts["columns"]) == sorted(columns)
    for column, share in zip(facts["columns"], facts["overall"], strict=True):
        assert share == pytest.approx(variance[column] / total, rel=1e-9)
    assert facts["overall"] == sorted(facts["overall"], reverse=True)
    text = html(part)
    order = [list(columns).index(column) for column in facts["columns"]]
    assert attribute(text, "rect", "data-feature") == [str(g) for g in order]
    assert f"{facts['columns'][0]} {percent(facts['overall'][0])}" in unescape(attribute(text, "svg", "aria-label")[0])
    assert "of one column are added up first" in text
    finding = part.findings[0]
    assert (
        finding.text
        == f"{facts['columns'][0]} moves the logit most: it has {percent(facts['overall'][0])} of the importance."
    )


def test_three_columns_together_are_told() -> None:
    part = part_of(Subject(specimen("binary")), "importance")
    names, share = part.facts["columns"], part.facts["overall"]
    assert part.findings[0].text.endswith(
        f"; together with {names[1]} and {names[2]} it has {percent(sum(share[:3]))}."
    )
    assert part.findings[0].weight == 0.6


def test_features_that_go_together_are_measured() -> None:
    net = specimen("binary").network
    x = np.random.default_rng(1).normal(size=(500, 5))
    apart = part_of(Subject(unwrap(net, x)), "importance")
    assert apart.limitations == []
    largest = np.abs(np.triu(np.corrcoef(x.T), 1)).max()
    assert fixed(largest, 2).lstrip("−") in apart.content.together.replace("−", "")
    assert "too little to blur importance" in apart.content.together
    x[:, 3] = 0.9 * x[:, 1] + 0.3 * x[:, 3]
    r = np.corrcoef(x[:, 1], x[:, 3])[0, 1]
    u = unwrap(net, x)
    (limit,) = part_of(Subject(u), "importance").limitations
    assert {"x1", "x3"} == set(re.findall(r"x\d", limit.text))
    assert f"have a correlation of {r:.2f}." in limit.text
    weight = np.linspace(0.1, 3, 500)
    weighted = unwrap(net, x, sample_weight=weight)
    (limit,) = part_of(Subject(weighted), "importance").limitations
    covariance = np.cov(x[:, 1], x[:, 3], aweights=weight)
    assert f"{covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]):.2f}" in limit.text


def test_indicators_of_one_column_are_not_compared() -> None:
    items = tuple(Feature(f"job={v}", "job", "level", (v,)) for v in "ab")
    net = replace(network((2, 6, 1)), features=Features(items, ("job",), True))
    x = np.array([["a"], ["b"]] * 20, dtype=object)  # correlation −1
    part = part_of(Subject(unwrap(net, x)), "importance")
    assert part.content.together == ""
    assert part.limitations == []


# ---------------------------------------------------------------- coefficients


@pytest.mark.parametrize("name", ["binary", "five classes", "weighted", "linear"])
def test_quantiles_are_those_of_the_rows(name: str) -> None:
    u = specimen(name)
    part = part_of(Subject(u), "coefficients")
    facts, coef, weight = part.facts, row_coefficients(u), u.sample.weights
    for i, feature in enumerate(facts["features"]):
        j = u.network.feature_names.index(feature)
        for k in range(len(facts["outputs"])):
            values = coef[:, k, j]
            order = np.argsort(values)
            reached = np.cumsum(weight[order]) / weight.sum()
            for q, found in zip(facts["quantiles"], facts["coefficient"][k][i], strict=True):
                first = next(v for v, at in zip(values[order], reached, strict=True) if at >= q - 1e-9)
                assert found == pytest.approx(first, abs=1e-12)
            assert facts["share_positive"][k][i] == pytest.approx(np.average(values > 0, weights=weight))
            assert facts["share_negative"][k][i] == pytest.approx(np.average(values < 0, weights=weight))
    row = part.content.outputs[0][2][0]
    assert row.negative == percent(facts["share_negative"][0][0])
    assert row.positive == percent(facts["share_positive"][0][0])
    assert (part.content.outputs[0][1] is None) == (u.n_regions == 1)


def test_strips_are_drawn_to_one_scale_per_standard_deviation() -> None:
    u = specimen("binary")
    part = part_of(Subject(u), "coefficients")
    picture = str(part.content.outputs[0][1])
    places, values = [], []
    whiskers = re.findall(r'class="whisker" x1="([\d.]+)" x2="([\d.]+)"', picture)
    boxes = re.findall(r'<rect [^>]*x="([\d.]+)" [^>]*width="([\d.]+)"', picture)
    medians = re.findall(r'class="median" x1="([\d.]+)"', picture)
    for found, sd, whisker, box, median in zip(
        part.facts["coefficient"][0], part.facts["sd"], whiskers, boxes, medians, strict=True
    ):
        places += [float(whisker[0]), float(box[0]), float(median), float(box[0]) + float(box[1]), float(whisker[1])]
        values += [v * sd for v in found]
    slope, constant = np.polyfit(values, places, 1)
    assert slope > 0
    np.testing.assert_allclose(places, np.polyval([slope, constant], values), atol=1.2)  # a box is never thinner than 1
    (zero,) = re.findall(r'class="axis" x1="([\d.]+)"', picture)
    assert float(zero) == pytest.approx(constant, abs=0.3)


# ---------------------------------------------------------------- profiles


@pytest.mark.parametrize("rows", [0, 3])
def test_bubbles_are_regions_and_none_shows_a_row(rows: int) -> None:
    u = specimen("binary")
    s = Subject(u, rows=rows)
    part = part_of(s, "profiles")
    least = 1 if rows else 5
    shown = np.flatnonzero(u.count >= least)
    assert 0 < len(shown) < (300 if rows == 0 else 301)
    if rows == 0:
        few = u.count < least
        assert few.any()
        (limit,) = part.limitations
        assert (
            f"{few.sum()} regions with {percent(u.share[few].sum())} of the rows have fewer than 5 rows" in limit.text
        )
        assert limit.text.removeprefix("Profiles: ") in html(part)
    else:
        assert part.limitations == []
    for feature, column, picture in part.content.pictures[0][1]:
        j = u.network.feature_names.index(feature.short)
        assert column == j
        found = re.findall(r'data-region="(\d+)" cx="([\d.]+)" cy="([\d.]+)" r="([\d.]+)"', str(picture))
        region, x, y, r = (np.array(part, dtype=float) for part in zip(*found, strict=True))
        assert sorted(region) == sorted(shown)
        at = region.astype(int)
        mean = np.array([u.sample.x[u.sample.region == r, j].mean() for r in at])
        for drawn, value in ((x, mean), (y, u.coef[at, 0, j])):
            line = np.polyfit(value, drawn, 1)
            np.testing.assert_allclose(drawn, np.polyval(line, value), atol=0.12)  # drawn to a tenth
        assert r[u.count[at].argmax()] == max(r)


def test_regions_of_few_rows_alone_leave_the_band() -> None:
    u = specimen("binary")
    x = u.sample.x[[np.flatnonzero(u.sample.region == r)[0] for r in range(20)]]
    part = part_of(Subject(unwrap(u.network, x)), "profiles")
    text = html(part)
    assert "No region is a bubble. 20 regions with 100 % of the rows" in text
    assert attribute(text, "circle", "data-region") == []
    assert 'class="band"' in text


def test_band_is_made_of_quantiles_in_bins() -> None:
    u = specimen("binary")
    part = part_of(Subject(u), "profiles")
    for feature, band in zip(part.facts["features"], part.facts["bands"][0], strict=True):
        j = u.network.feature_names.index(feature)
        order = np.argsort(u.sample.x[:, j])
        coef = row_coefficients(u)[order, 0, j] * u.sample.x[:, j].std()
        x = u.sample.x[order, j]
        for i in range(10):  # 500 different values in ten bins
            bin = slice(50 * i, 50 * i + 50)
            assert band["value"][i] == pytest.approx(x[bin].mean())
            assert [q[i] for q in band["coefficient"]] == pytest.approx(np.sort(coef[bin])[[4, 24, 44]])


def test_bins_of_few_rows_are_left_out() -> None:
    x = np.r_[np.zeros(60), np.ones(60), [7.0]]
    at, band = changes._band(x, x * 2, np.ones(121), 5)
    assert at.tolist() == [0, 1]
    assert band.tolist() == [[0, 2]] * 3
    assert changes._band(x, x, np.ones(121), 1)[0].tolist() == [0, 1, 7]
    assert changes._band(x[:2], x[:2], np.ones(2), 5)[0].tolist() == [0]


def test_many_regions_are_thinned_and_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "_BUBBLES", 4)
    u = specimen("binary")
    text = html(part_of(Subject(u), "profiles"))
    assert f"The 4 largest of {u.n_regions} regions are bubbles, with {percent(u.share[:4].sum())} of the rows." in text
    assert set(attribute(text, "circle", "data-region")) == {"0", "1", "2", "3"}


def test_profiles_pass_over_features_of_two_values() -> None:
    net = network((12, 8, 1))
    x = np.random.default_rng(0).normal(size=(400, 12))
    x[:, :9] = x[:, :9] > 0
    s = Subject(unwrap(net, x))
    assert set(part_of(s, "profiles").facts["features"]) == {"x9", "x10", "x11"}
    assert len(part_of(s, "pairs").facts["features"]) == 8
    x[:, 9:] = x[:, 9:] > 0
    assert "profiles" not in [part.id for part in soundness(Subject(unwrap(net, x))).parts]


# ---------------------------------------------------------------- pairs


@pytest.mark.parametrize("name", ["binary", "five classes", "weighted"])
def test_changes_are_slopes_between_regions(name: str) -> None:
    u = specimen(name)
    part = part_of(Subject(u), "pairs")
    at = [u.network.feature_names.index(feature) for feature in part.facts["features"]]
    weight = u.sums.weight
    mean = (u.sums.x / weight[:, None])[:, at]
    coef = u.coef - u.coef.mean(axis=1, keepdims=True) if u.network.link == "softmax" else u.coef
    sd = np.sqrt(np.cov(u.sample.x[:, at].T, aweights=u.sample.weights, ddof=0).diagonal())
    found = np.array(part.facts["change_per_sd_and_sd"])
    for k in range(len(found)):
        for a, j in enumerate(at):
            for c in range(len(at)):
                slope = np.polyfit(mean[:, c], coef[:, k, j], 1, w=np.sqrt(weight))[0]
                assert found[k, a, c] == pytest.approx(slope * sd[a] * sd[c], abs=1e-9)
    off = np.abs(found[0]) * (1 - np.eye(len(at)))
    a, c = np.unravel_index(off.argmax(), off.shape)
    strongest = part.content.outputs[0][2][0]
    names = part.facts["features"]
    assert (strongest.term[0].short, strongest.feature[0].short) == (names[a], names[c])
    assert float(strongest.change.replace("−", "-")) == pytest.approx(found[0, a, c], abs=2e-3)
    assert float(strongest.together.replace("−", "-")) == pytest.approx(
        part.facts["features_correlation"][a][c], abs=6e-3
    )


def test_strongest_pair_is_told_with_what_confounds_it() -> None:
    net = specimen("binary").network
    x = np.random.default_rng(1).normal(size=(800, 5))
    x[:, 1:] = x[:, :1] + 0.3 * x[:, 1:]
    part = part_of(Subject(unwrap(net, x)), "pairs")
    finding, limit = part.findings[0], part.limitations[0]
    one, other = re.findall(r"x\d", finding.text)[:2]
    found = np.abs(np.array(part.facts["change_per_sd_and_sd"][0]))
    names = part.facts["features"]
    assert found[names.index(one), names.index(other)] == (found * (1 - np.eye(5))).max()
    r = np.corrcoef(x[:, int(one[1])], x[:, int(other[1])])[0, 1]
    assert f"{one} and {other}, the strongest pair, go together (correlation {r:.2f})" in limit.text


# ---------------------------------------------------------------- monotonicity


def rising(u: Unwrapped, j: int, k: int = 0) -> Any:
    return row_coefficients(u)[:, k, j] > 0


def falling(u: Unwrapped, j: int) -> Any:
    return row_coefficients(u)[:, 0, j] < 0


def test_signs_against_expectation_are_named_with_their_regions() -> None:
    u = specimen("binary")
    s = Subject(u, expected={"x1": "+", "x3": "-"})
    part = part_of(s, "monotonicity")
    wrong = {"x1": falling(u, 1).mean(), "x3": rising(u, 3).mean()}
    assert min(wrong.values()) > 0.01
    worst = max(wrong, key=lambda feature: wrong[feature])
    (finding,) = part.findings
    assert (finding.weight, finding.kind) == (0.95, "doubt")
    assert f"The sign of {worst} is against what was expected on {percent(wrong[worst])} of the rows" in finding.text
    assert "1 other expected sign is broken too" in finding.text
    text = html(part)
    assert f"x1: the logit was expected to rise with it, but falls on {percent(wrong['x1'])} of the rows" in text
    assert f"x3: the logit was expected to fall with it, but rises on {percent(wrong['x3'])} of the rows" in text
    rows = {row.feature.short: row for row in part.content.outputs[0][2]}
    assert list(rows)[:2] in (["x1", "x3"], ["x3", "x1"])
    assert rows["x1"].regions == np.flatnonzero(u.coef[:, 0, 1] < 0)[:5].tolist()
    assert rows["x1"].n_against == (u.coef[:, 0, 1] < 0).sum()
    assert attribute(text, "span", "data-region")[:5] == [str(r) for r in next(iter(rows.values())).regions]
    assert part.limitations == []


def additive() -> Unwrapped:
    """Rises with x0 and falls with x1 everywhere."""
    net = network((2, 4, 1), "logit")
    first, last = net.layers
    weight = np.array([[1.0, 0], [1, 0], [0, 1], [0, 1]])
    layers = (
        replace(first, weight=weight, bias=np.array([9.0, 0, 9, 0])),
        replace(last, weight=np.array([[1.0, 1, -1, -1]])),
    )
    return unwrap(Network(layers, net.features, net.link), np.random.default_rng(0).normal(size=(300, 2)))


def test_signs_that_hold_speak_for_the_model() -> None:
    part = part_of(Subject(additive(), expected={"x0": "+", "x1": "-"}), "monotonicity")
    (finding,) = part.findings
    assert (finding.weight, finding.kind) == (0.7, "sound")
    assert finding.text == "All 2 expected signs hold on every row."
    text = html(part)
    assert "x0: the logit was expected to rise with it, and does on every row." in text
    assert "+ holds" in text
    assert "broken" not in text


def test_without_expectation_directions_are_measured_and_held_against_nothing() -> None:
    u = specimen("binary")
    part = part_of(Subject(u), "monotonicity")
    first = part_of(Subject(u), "importance").facts["columns"][0]
    j = u.network.feature_names.index(first)
    up, down = percent(rising(u, j).mean()), percent(falling(u, j).mean())
    assert part.findings[0].text == f"The logit rises with {first} on {up} of the rows and falls with it on {down}."
    (limit,) = part.limitations
    assert "No sign was expected of any of the 5 columns" in limit.text
    steady = part_of(Subject(additive()), "monotonicity").findings[0].text
    assert re.fullmatch(r"The logit (rises with x0|falls with x1) on 100 % of the rows\.", steady)


def test_each_output_of_a_softmax_has_its_directions() -> None:
    u = specimen("five classes")
    part = part_of(Subject(u, expected={("x2", "d"): "-"}), "monotonicity")
    facts = part.facts
    for k, output in enumerate(u.network.outputs):
        for i, feature in enumerate(facts["features"]):
            share = rising(u, u.network.feature_names.index(feature), k).mean()
            assert facts["increasing"][k][i] == pytest.approx(share), output
    wrong = rising(u, 2, 3).mean()
    assert f"The sign of x2 (output d) is against what was expected on {percent(wrong)}" in part.findings[0].text
    sentences = [said for _, said, _ in part.content.outputs]
    assert [len(said) for said in sentences] == [0, 0, 0, 1, 0]


def test_columns_of_levels_are_left_out_and_named() -> None:
    net, frame = categorical()
    part = part_of(Subject(unwrap(net, frame), expected={"job=a": "+"}), "monotonicity")
    text = html(part)
    assert "Columns of several levels have no one direction and are left out: job." in text
    assert part.content.outputs[0][2][0].feature.short == "job=a"
    assert {row.feature.short: row.column for row in part.content.outputs[0][2]} == {"job=a": 1, "age": 0, "debt": 2}


def test_many_columns_are_cut_and_the_others_counted() -> None:
    u = specimen("many features")
    part = part_of(Subject(u, expected={"x7": "+"}), "monotonicity")
    listed = [row.feature.short for row in part.content.outputs[0][2]]
    assert len(listed) == 12
    assert listed[0] == "x7"
    others = [j for j in range(60) if f"x{j}" not in listed]
    steady = sum(len(set(np.sign(u.coef[:, 0, j]))) == 1 for j in others)
    said = f"{steady} never change{'s' if steady == 1 else ''}" if steady else "none keeps"
    assert f"12 of 60 columns are listed, the most important; of the other 48 {said} its direction." in html(part)
    assert len(part.facts["features"]) == 60


# ---------------------------------------------------------------- cost


def test_wide_networks_are_looked_at_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "_CELLS", 1200 * 60)
    net = network((60, 8, 1), "logit")
    u = unwrap(net, np.random.default_rng(0).normal(size=(1500, 60)))
    thin = changes.lighter(Subject(u))
    assert len(thin.sample.row) == 1200
    part = part_of(Subject(u), "importance")
    assert part.facts["rows"] == 1200
    assert "Importance was computed on a sample of 1,200 of the 1,500 rows." in [
        limit.text for limit in part.limitations
    ]
    assert len(part_of(Subject(u), "pairs").facts["features"]) == 8
