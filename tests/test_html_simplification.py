"""The report's section on a simplification: its numbers are the result's, its picture the curve's, and names do nothing."""

import json
import re
import unicodedata
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from relucidate import simplify, words
from relucidate.errors import ArgumentError
from relucidate.features import Features
from relucidate.html import pictures, report, simpler_models
from relucidate.html.parts import plain
from relucidate.html.pictures_simplification import curve_picture, whisker
from relucidate.html.simpler_coefficients import intervals
from relucidate.html.simpler_models import candidates, group_of
from relucidate.html.simplification import MAX_MODELS, in_short, simplification
from relucidate.html.simplification import simplified as chapter_of
from relucidate.html.subject import Subject
from relucidate.layers import Activation, Layer
from relucidate.network import Faithfulness, Network
from relucidate.simplified import ByCentre, ByRule, Curve, Simplified
from relucidate.studying import Study
from relucidate.trees import Tree
from relucidate.unwrapping import Unwrapped, unwrap

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "abc\u202edesrever",
    "L" * 10_000,
    "{{ 7 * 7 }}{% raw %}",
)
PLAIN = ("age", "income", "debt_to_income", "arrears", "region=North")


def network(names: tuple[str, ...] = PLAIN, link: Any = "logit", classes: tuple[str, ...] = ()) -> Network:
    """A random network of one hidden layer."""
    rng = np.random.default_rng(5)
    layers, width = [], len(names)
    for m, kind in ((6, "relu"), (max(len(classes), 1) if link == "softmax" else 1, "identity")):
        layers.append(Layer(rng.normal(size=(m, width)), rng.normal(size=m), Activation.of_kind(kind, m), f"dense {m}"))
        width = m
    return Network(tuple(layers), Features.plain(len(names), names), link, classes)


def unwrapped(net: Network) -> Unwrapped:
    return unwrap(net, np.random.default_rng(0).normal(size=(400, net.n_features)) * np.arange(1, net.n_features + 1))


def simplified(net: Network, K: int = 4, oblique: bool = False, response: bool = True) -> Simplified:
    """K models behind a tree, its splits one below the other."""
    rng = np.random.default_rng(1)
    d, o = net.n_features, net.n_outputs
    direction = np.eye(d)[np.arange(K - 1) % d]
    if oblique:
        direction[::2] = rng.normal(size=direction[::2].shape)
    return Simplified(
        network=net,
        method="tree",
        route=ByRule(Tree(np.arange(K - 1), direction, rng.normal(size=K - 1), np.ones(K - 1)), np.arange(K)),
        coef=rng.normal(size=(K, o, d)),
        intercept=np.zeros((K, o)),
        count=np.arange(1, K + 1) * 1111,
        faithfulness=Faithfulness(7.75, 0.67, 0.5, 3, 0.989, 6000, "the network"),
        scores={"auc": (0.8969, 0.8991), "log_loss": (0.1676, 0.1651)},
        response=rng.random((K, o)) if response else None,
        curve=curve(K),
        fidelity=0.502,
        notes=("columns not used: '<b>quarter</b>'",),
    )


def curve(chosen: int = 4) -> Curve:
    k = np.unique([1, 2, 3, 4, 6, 8, 12, 16, chosen])
    return Curve(k, 1 / k + 0.1, 0.1 / k, chosen, "the fewest within one standard error of the best", "log-loss")


class Section(HTMLParser):
    """The section taken apart: its elements, its text, and the cells of its table row by row."""

    def __init__(self, u: Unwrapped, s: Simplified, folder: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.page = report(u, folder / "report.html", simplified=s).read_text(encoding="utf-8")
        found = re.search(r'<section id="simplification".*?</section>', self.page, flags=re.DOTALL)
        assert found is not None
        self.source = found[0]
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.listed = False
        self.feed(self.source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "wbr":
            return
        self.open.append(tag)
        if tag == "table":
            self.listed = "models" in str(dict(attrs).get("class")).split()
        if tag == "tr" and self.listed:
            self.rows.append([])
        if tag in ("th", "td") and self.listed:
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if {"th", "td"} & set(self.open) and self.listed:
            self.rows[-1][-1] += data

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.words))


def section(folder: Path, s: Simplified) -> Section:
    return Section(unwrapped(s.network), s, folder)


# ---------------------------------------------------------------- when it is there


def test_page_without_a_simplification_has_no_such_section(tmp_path: Path) -> None:
    u = unwrapped(network())
    page = report(u, tmp_path / "a.html").read_text(encoding="utf-8")
    assert 'id="simpler"' not in page
    assert 'id="simplification"' not in page
    assert report(u, tmp_path / "b.html", simplified=None).read_text(encoding="utf-8") == page


def test_contents_lead_to_it_and_the_summary_names_it(tmp_path: Path) -> None:
    s = simplified(network())
    page = section(tmp_path, s).page
    assert '<li><a href="#simplification">A few models in place of many</a></li>' in page
    assert in_short(s) in page.replace("&#39;", "'")
    assert in_short(s) == (
        "Simplified to 4 linear models, the network has AUC 0.8969 instead of 0.8991, log-loss 0.1676 instead of 0.1651 "
        "on held-out rows."
    )


def test_simplification_of_another_network_is_refused(tmp_path: Path) -> None:
    net = network()
    layers = [replace(layer, bias=layer.bias + 1) for layer in net.layers]
    for other in (network(("a", *PLAIN[1:])), Network(tuple(layers), net.features, net.link)):
        with pytest.raises(ArgumentError, match="another network"):
            report(unwrapped(net), tmp_path / "report.html", simplified=simplified(other))
    assert list(tmp_path.iterdir()) == []
    again = network()  # equal, though not the same object
    assert report(unwrapped(net), tmp_path / "report.html", simplified=simplified(again)).exists()


# ---------------------------------------------------------------- what it says


def test_sentences_say_what_was_made_and_lost(tmp_path: Path) -> None:
    s = simplified(network())
    u = unwrapped(s.network)
    text = Section(u, s, tmp_path).text
    assert (
        f"4 linear models stand in for the {u.n_regions} regions of these rows. Rules lead a row to its model." in text
    )
    assert "Score on 6,000 rows held out while the models were made: AUC 0.8969 (the network 0.8991)" in text
    assert (
        "the decision is the network’s own on 98.9 %; 50.2 % of the variance of the network’s logit is explained"
        in text
    )
    assert "4 models: the fewest within one standard error of the best." in text
    assert "columns not used: '<b>quarter</b>'" in text


def test_table_holds_every_model(tmp_path: Path) -> None:
    s = simplified(network())
    assert s.response is not None
    head, *rows = section(tmp_path, s).rows
    assert head == ["model", "rows that take it", "rows", "share", "mean response", "largest coefficients"]
    assert len(rows) == 4
    for m, (row, rules) in enumerate(zip(rows, s.conditions(), strict=True)):
        model, rule, count, share, response, coefficients = row
        assert (model, count) == (str(m), f"{s.count[m]:,}")
        assert rule.replace("\xa0", " ") == " or ".join(rules).replace("<=", "≤")
        assert share.replace("\xa0", " ") == words.percent(s.count[m] / s.count.sum())
        assert float(response) == pytest.approx(s.response[m, 0], abs=1e-3)
        assert coefficients.count("_in") <= 4


def test_coefficients_named_are_those_that_move_most(tmp_path: Path) -> None:
    s = simplified(network())
    sd = np.array([1.0, 100.0, 0.0, 1e-9, 10.0])
    (panel,) = simplification(unwrapped(s.network), s, sd).panels
    row = panel.rows[0]
    effect = np.abs(s.coef[0, 0] * sd)
    assert [feature.short for feature, _, _ in row.coefficients] == [PLAIN[j] for j in np.argsort(-effect)[:4]]
    j = int(effect.argmax())
    assert row.coefficients[0][1] == j
    assert row.coefficients[0][2] == ("+" if s.coef[0, 0, j] > 0 else "") + words.number(s.coef[0, 0, j], 3)


def test_rules_that_lead_to_one_model_are_all_told(tmp_path: Path) -> None:
    s = simplified(network())
    assert isinstance(s.route, ByRule)
    shared = replace(s, route=ByRule(s.route.tree, np.array([0, 1, 2, 0])))
    first = section(tmp_path, shared).rows[1][1].replace("\xa0", " ")
    assert first == " or ".join(shared.conditions()[0]).replace("<=", "≤")


def test_sums_are_named_and_explained(tmp_path: Path) -> None:
    page = section(tmp_path, simplified(network(), oblique=True))
    assert "The sums that the rules compare" in page.text
    assert page.rows[1][1].replace("\xa0", " ").startswith("sum 1 ≤ ")
    assert "The sums" not in section(tmp_path, simplified(network())).text


def test_rows_led_by_anything_else_have_no_column_of_rules(tmp_path: Path) -> None:
    s = replace(simplified(network()), route=ByCentre(np.zeros((4, 5)), np.ones(5), np.arange(4)))
    page = section(tmp_path, s)
    assert page.rows[0] == ["model", "rows", "share", "mean response", "largest coefficients"]
    assert "A row finds its model by nearest centre." in page.text


def test_several_outputs_name_theirs(tmp_path: Path) -> None:
    s = simplified(network(link="softmax", classes=("<i>yes</i>", "no", "perhaps")))
    head, first, *_ = section(tmp_path, s).rows
    assert "mean response, largest first" in head
    assert re.search(r"\[(<i>yes</i>|no|perhaps)\]", first[-1])


def test_without_response_scores_or_curve_the_rest_remains(tmp_path: Path) -> None:
    s = replace(simplified(network(), response=False), scores={}, curve=None, notes=())
    page = section(tmp_path, s)
    assert "mean response" not in page.text
    assert "<svg" not in page.source
    assert "Score on" not in page.text
    keeps = "Simplified to 4 linear models, the network keeps"
    assert in_short(s) == f"{keeps} 50.2 % of the variance of its output on held-out rows."
    assert in_short(replace(s, fidelity=-3.0)) == f"{keeps} nothing of the variance of its output on held-out rows."
    worse = section(tmp_path, replace(s, fidelity=-3.0, faithfulness=replace(s.faithfulness, agreement=None))).text
    assert "the network’s logit is followed less well than by a constant" in worse
    assert "does not vary" in section(tmp_path, replace(s, fidelity=float("nan"))).text


def test_one_model_is_one(tmp_path: Path) -> None:
    page = section(tmp_path, replace(simplified(network(), K=1), curve=None))
    assert "1 linear model stands in for the" in page.text
    assert len(page.rows) == 2


def test_many_models_are_cut_and_it_is_said(tmp_path: Path) -> None:
    page = section(tmp_path, simplified(network(), K=60))
    assert len(page.rows) == MAX_MODELS + 1
    assert f"{MAX_MODELS} of 60 models are listed, the first." in page.text


# ---------------------------------------------------------------- names do nothing, readers of all kinds


@pytest.mark.parametrize("oblique", [False, True])
def test_names_do_nothing(tmp_path: Path, oblique: bool) -> None:
    page = section(tmp_path, simplified(network(HOSTILE), oblique=oblique))
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "img", "b", "i", "style"}
    for tag, attributes in page.elements:
        assert not [key for key in attributes if key.startswith("on") or key in ("style", "src", "href")], tag
    assert "<script>alert(1)</script>" in page.text
    assert "49" not in page.text.replace("0.49", "")
    assert "L" * 301 not in page.source
    assert {c for c in page.source if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"} and c != "\n"} == set()


def test_table_and_picture_can_be_heard(tmp_path: Path) -> None:
    page = section(tmp_path, simplified(network()))
    heads = [attributes.get("scope") for tag, attributes in page.elements if tag == "th"]
    assert heads == [*["colgroup", *["col"] * 5, *["row"] * 2], *["col"] * 6, *["row"] * 4]
    assert [tag for tag, _ in page.elements].count("caption") == 2
    (picture,) = [attributes for tag, attributes in page.elements if tag == "svg"]
    assert picture["role"] == "img"
    assert "Chosen: 4 models" in str(picture["aria-label"])
    assert "1: 1.100, 2: 0.6000" in str(picture["aria-label"])


def test_same_result_gives_the_same_bytes(tmp_path: Path) -> None:
    s = simplified(network(), oblique=True)
    assert section(tmp_path, s).page == section(tmp_path, s).page


# ---------------------------------------------------------------- the curve


def test_curve_is_drawn_where_its_numbers_are() -> None:
    c = curve()
    picture = str(curve_picture(c))
    (line,) = re.findall(r'polyline class="line" points="([^"]+)"', picture)
    x, y = np.array([point.split(",") for point in line.split()], dtype=float).T
    assert np.allclose(np.diff(x) / np.diff(np.log2(c.n_models)), (x[-1] - x[0]) / np.log2(c.n_models[-1]), rtol=0.02)
    assert np.allclose(np.diff(y) / np.diff(c.loss), (y[-1] - y[0]) / (c.loss[-1] - c.loss[0]), rtol=0.1)
    marked = re.findall(r'class="chosen" cx="([\d.]+)" cy="([\d.]+)"', picture)
    at = c.n_models.tolist().index(4)
    assert [tuple(map(float, p)) for p in marked] == [(x[at], y[at])]


LOSSES = st.lists(st.tuples(st.floats(1e-4, 1e6), st.floats(0, 1e3)), min_size=2, max_size=18)


@settings(max_examples=200, deadline=None)
@given(LOSSES, st.data())
def test_curve_stays_in_its_box_and_words_do_not_overlap(
    numbers: list[tuple[float, float]], data: st.DataObject
) -> None:
    sizes = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 96, 128)[: len(numbers)]
    loss, error = np.array(numbers).T
    chosen = data.draw(st.sampled_from(sizes))
    picture = str(curve_picture(Curve(np.array(sizes), loss, error, chosen, "given", "log-loss")))
    drawn = re.findall(r'points="([^"]+)"', picture)
    for x, y in (map(float, point.split(",")) for points in drawn for point in points.split()):
        assert 57.9 <= x <= pictures.WIDTH - 17.9
        assert 29.9 <= y <= 220.1
    for style, x, text in re.findall(r'<text class="([a-z ]*)" x="([\d.-]+)" y="[\d.-]+">([^<]+)', picture):
        width = 6.3 * len(unescape(text))
        left = float(x) - (width if "end" in style else width / 2 if "middle" in style else 0)
        assert left >= -2, text
        assert left + width <= pictures.WIDTH + 8, text
    below = re.findall(r'class="tick middle[ a-z]*" x="([\d.]+)" y="236(?:\.0)?">([\d,]+)', picture)
    assert str(chosen) in [text for _, text in below]
    spans = sorted((float(x) - 3.2 * len(text), float(x) + 3.2 * len(text)) for x, text in below)
    assert all(a[1] < b[0] for a, b in pairwise(spans))


# ---------------------------------------------------------------- other numbers of models


def studied(link: Any = "logit", n: int = 1500, response: bool = True, seed: int = 2) -> tuple[Unwrapped, Unwrapped]:
    """A random network on rows of a table and on other rows, with responses drawn as it says."""
    classes = ("no", "<b>perhaps</b>", "yes") if link == "softmax" else ()
    net = network(PLAIN[:3], link=link, classes=classes)
    rng = np.random.default_rng(seed)

    def rows(m: int) -> Unwrapped:
        X = rng.normal(size=(m, 3))
        mean = net.predict(X)
        if link == "identity":
            y: Any = mean[:, 0] + rng.normal(size=m)
        elif link == "softmax":
            y = np.array(classes, dtype=object)[(mean.cumsum(axis=1) < rng.random((m, 1))).sum(axis=1)]
        else:
            y = (rng.random(m) < mean[:, 0]).astype(int)
        return unwrap(net, X, y if response else None)

    return rows(n), rows(700)


VERBS: dict[str, Any] = {
    "tree": lambda u, k: simplify.tree(u, n_models=k, oblique=False, refit="decision"),
    "oblique": lambda u, k: simplify.tree(u, n_models=k, oblique=True, refit="decision"),
    "cells": lambda u, k: simplify.cells(u, n_models=k, refit="decision"),
    "merge": lambda u, k: simplify.merge(u, n_models=k, refit="decision"),
}


@pytest.mark.parametrize("verb", VERBS)
def test_other_numbers_are_what_the_verb_makes_of_them(verb: str) -> None:
    u, test = studied("identity", 700)
    s = VERBS[verb](u, 4)
    found, why, _ = candidates(u, s, test)
    assert (why, [c.simplified.n_models for c in found]) == ("", [1, 2, 3, 4])
    assert [c.chosen for c in found] == [False, False, False, True]
    assert s.curve is not None
    for c in found[:-1]:
        k = c.simplified.n_models
        at = s.curve.n_models.tolist().index(k)
        # the curve has the best of several ways at each number; where there is one way they are the same
        assert c.loss >= s.curve.loss[at] * (1 - 1e-9)
        again = VERBS[verb](u, k)
        if verb in ("tree", "oblique") or c.loss == pytest.approx(again.curve.loss[-1], rel=1e-9):
            assert c.loss == pytest.approx(s.curve.loss[at], rel=1e-9)
            assert np.allclose(c.simplified.decision_of(test.sample.x), again.decision_of(test.sample.x), atol=1e-8)
            for key, pair in again.scores.items():
                assert c.simplified.scores[key] == pytest.approx(pair, rel=1e-9)
            assert c.simplified.fidelity == pytest.approx(again.fidelity, rel=1e-9)


@pytest.mark.parametrize("refit", ["auto", "decision", "response"])
@pytest.mark.parametrize("verb", [simplify.tree, simplify.cells, simplify.merge])
def test_settings_that_are_told_from_a_result_give_it_again(verb: Any, refit: str) -> None:
    for seed, link in ((2, "logit"), (5, "identity")):
        u, test = studied(link, 700, seed=seed)
        s = verb(u, n_models=4, refit=refit)
        assert s.sample is not None
        study = Study(replace(u, sample=s.sample), None, None, None, "auto", 0)
        plan = simpler_models._plan_of(study, s)
        assert plan is not None
        ((again, loss),) = simpler_models._made(study, s, plan, [4])
        assert np.allclose(again.coef, s.coef, rtol=1e-7, atol=1e-9)
        assert np.allclose(again.decision_of(test.sample.x), s.decision_of(test.sample.x), rtol=1e-7, atol=1e-9)
        assert s.curve is not None
        assert loss == pytest.approx(s.curve.loss[-1], rel=1e-9)
        assert again.fidelity == pytest.approx(s.fidelity, rel=1e-9)


def test_settings_are_told_from_the_models() -> None:
    u, _ = studied("logit", 900)
    for refit in ("decision", "response", "auto"):
        s = simplify.tree(u, n_models=3, oblique=False, refit=refit)
        found, why, _ = candidates(u, s, None)
        assert why == ""
        assert [c.simplified.n_models for c in found] == [1, 2, 3]
    changed = replace(s, coef=s.coef * 1.001)
    assert candidates(u, changed, None)[1].startswith("How its models were fitted cannot be told")
    many, _ = studied("logit", 5000)  # from here on one part of the rows is held out
    other = simplify.cells(many, n_models=3, random_state=1)
    assert candidates(many, other, None)[1].startswith("Which rows were held out cannot be told")
    pruned = simplify.prune(u, 4)
    assert candidates(u, pruned, None)[1].startswith("Other numbers of models of a simplification by prune")
    assert candidates(u, replace(s, sample=None), None)[1].startswith("The result does not hold the rows")
    one = simplify.single(u)
    assert candidates(u, one, None)[1].startswith("The simplification was made with one number")


def test_few_numbers_are_made_where_rows_and_features_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    u, _ = studied("logit", 900)
    s = simplify.cells(u, n_models=8)
    assert len(candidates(u, s, None)[0]) == 6
    monkeypatch.setattr(simpler_models, "_WORK", ((1e4, 7), (2e4, 2)))
    assert [c.simplified.n_models for c in candidates(u, s, None)[0]] == [1, 2, 8]
    monkeypatch.setattr(simpler_models, "_WORK", ((1e4, 7),))
    assert candidates(u, s, None)[1] == (
        "Others would take too long to make of 900 rows and 3 features: only this one is shown."
    )


def test_regions_are_grouped_as_their_rows_are() -> None:
    u, test = studied("logit", 60)
    s = simplify.merge(u, n_models=4)
    group = group_of(u, s, u.n_regions)
    assert group is not None
    assert np.array_equal(group[u.sample.region], s.route.assign(u.network, u.sample.x))
    assert np.array_equal(group_of(u, s, 3), group[:3])
    other = group_of(test, s, test.n_regions)
    assert other is not None
    assert (other == -1).any()  # patterns that the simplification never saw
    seen = other[test.sample.region] >= 0
    assert np.array_equal(other[test.sample.region][seen], s.route.assign(u.network, test.sample.x)[seen])
    assert group_of(u, simplify.cells(u, n_models=3), 5) is None


# ---------------------------------------------------------------- what the page says of them


def chapter(u: Unwrapped, s: Simplified, test: Unwrapped | None = None, rows: int = 0) -> Any:
    made = chapter_of(Subject(u, test=test, simplified=s, rows=rows))
    assert made is not None
    return made.parts


def test_scores_of_every_number_stand_beside_the_networks() -> None:
    u, test = studied("logit")
    s = simplify.tree(u, n_models=4, oblique=False)
    table = chapter(u, s, test)[0].content.scores
    per = ["AUC", "log-loss", "variance explained", "same decision"]
    assert table.measures == per + per
    assert table.groups == [("1,500 held-out rows", 4), ("700 test rows", 4)]
    assert [k for k, _, _ in table.rows] == [1, 2, 3, 4, None]
    y, theirs = np.asarray(test.sample.y).ravel(), test.sample.decision[:, 0]
    for k, label, cells in table.rows[3:]:
        decision = theirs if k is None else s.decision_of(test.sample.x)[:, 0]
        p = 1 / (1 + np.exp(-decision))
        auc, loss, explained, same = cells[4:]
        assert float(auc) == pytest.approx(roc_auc_score(y, decision), abs=6e-5)
        assert float(loss) == pytest.approx(-np.mean(np.log(np.where(y == 1, p, 1 - p))), abs=6e-5)
        if k is None:
            assert (label, explained, same) == ("the network", "–", "–")
            assert cells[0] == f"{s.scores['auc'][1]:.4f}"
        else:
            assert explained == words.percent(1 - np.var(decision - theirs) / np.var(theirs)) or float(
                explained.rstrip(" %")
            ) == pytest.approx(100 * (1 - np.mean((decision - theirs) ** 2) / np.var(theirs)), abs=0.06)
            assert same == words.percent(float(np.mean((decision > 0) == (theirs > 0))))
            assert cells[0] == f"{s.scores['auc'][0]:.4f}"


def test_findings_limits_and_facts_have_the_figures() -> None:
    u, _ = studied("logit")
    s = simplify.tree(u, n_models=4, oblique=False)
    first, second = chapter(u, s)
    one = first.facts["numbers"][0]
    assert first.findings[0].text == (
        f"4 linear models reach AUC {words.number(s.scores['auc'][0])} on 1,500 held-out rows, the network "
        f"{words.number(s.scores['auc'][1])}, one linear model {words.number(one['scores']['auc']['simplified'])}."
    )
    differ = words.percent(1 - s.faithfulness.agreement)
    assert first.limitations[0].text.startswith(f"On {differ} of 1,500 held-out rows the decision of the 4 linear")
    assert first.limitations[0].text.endswith(f"at most {words.number(s.faithfulness.max_difference, 3)}.")
    assert "rest on the rows that its models were chosen on" in second.limitations[0].text
    record = first.facts["numbers"][-1]
    assert (record["models"], record["chosen"]) == (4, True)
    assert np.array_equal(record["coef"], s.coef)
    assert record["rules"] == s.conditions()
    assert record["response_mean"] == s.response.tolist()
    assert [n["models"] for n in first.facts["numbers"]] == first.data["models"] == [1, 2, 3, 4]
    json.dumps(plain([first.facts, second.facts, first.data, second.data]), allow_nan=False)


def test_response_of_few_rows_is_shown_with_single_rows_only(tmp_path: Path) -> None:
    s = replace(simplified(network()), count=np.array([4, 5, 60, 70]))
    assert s.response is not None
    u = unwrapped(s.network)
    for rows, shown in ((0, False), (1, True)):
        first, _ = chapter(u, s, rows=rows)
        assert [row.response != "–" for row in first.content.panels[0].rows] == [
            shown,
            shown,
            True,
            True,
        ]  # the model of 5 rows would tell those of the 4
        told = first.facts["numbers"][0]["response_mean"]
        assert [response is not None for response in told] == [
            shown,
            shown,
            True,
            True,
        ]  # the model of 5 rows would tell those of the 4


# ---------------------------------------------------------------- coefficients with intervals


def lines_of(table: Any, model: int) -> dict[str, Any]:
    return {line.term.short: line for line in table.lines if line.model == model}


@pytest.mark.parametrize("link", ["logit", "identity"])
def test_intervals_are_those_of_statsmodels_on_the_test_rows(link: str) -> None:
    import statsmodels.api as sm

    u, test = studied(link)
    s = simplify.tree(u, n_models=3, oblique=False)
    table = intervals(s, test.sample, np.ones(3), response="logit", least=5)
    assert not isinstance(table, str)
    assert table.honest
    assert "on the 700 test rows, which had no part in the simplification" in table.said[0]
    x, y = test.sample.x, np.asarray(test.sample.y, dtype=float).ravel()
    model = s.route.assign(s.network, x)
    for m in range(3):
        design = sm.add_constant(x[model == m])
        fit = sm.Logit(y[model == m], design).fit(disp=0) if link == "logit" else sm.OLS(y[model == m], design).fit()
        for term, est, (low, high), p in zip(
            ("intercept", *PLAIN[:3]), fit.params, fit.conf_int(), fit.pvalues, strict=True
        ):
            line = lines_of(table, m)[term]
            for shown, true in ((line.estimate, est), (line.lower, low), (line.upper, high)):
                assert float(shown.replace("−", "-")) == pytest.approx(true, rel=6e-3, abs=1e-4)
            assert line.p == ("<0.001" if p < 0.001 else pytest.approx(f"{p:.3f}"))


def test_without_test_rows_the_note_says_what_the_intervals_ignore() -> None:
    u, _ = studied("logit", 900)
    s = simplify.tree(u, n_models=3, oblique=False)
    table = intervals(s, None, np.ones(3), response="logit", least=5)
    assert not isinstance(table, str)
    assert not table.honest
    assert "on the 900 rows that the models were made on" in table.said[0]
    assert "ignore that the segments were chosen on the same rows" in table.said[1]
    frame = simplify.inference(s).to_frame()
    want = frame[(frame.model == 1) & (frame.term == "income")].iloc[0]
    assert lines_of(table, 1)["income"].lower == words.number(want.lower, 3)
    # what moves the model most stands first, after the intercept
    big = intervals(s, None, np.array([1e-9, 1e-9, 1e9]), response="logit", least=5)
    assert not isinstance(big, str)
    assert [line.term.short for line in big.lines[:2]] == ["intercept", PLAIN[2]]


def test_intervals_that_cannot_be_are_said() -> None:
    u, test = studied("logit", 900, response=False)
    s = simplify.tree(u, n_models=3, oblique=False)
    ones = np.ones(3)
    assert intervals(s, test.sample, ones, response="logit", least=5) == (
        "There is no response, so the coefficients have no intervals."
    )
    v, test = studied("logit", 900)
    s = simplify.tree(v, n_models=3, oblique=False)
    assert str(intervals(simplify.prune(v, 3), None, ones, response="logit", least=5)).startswith(
        "These models are the"
    )
    model = s.route.assign(s.network, test.sample.x)
    # one model has no test row, another four
    rows = np.sort(np.concatenate([np.flatnonzero(model == 2), np.flatnonzero(model == 0)[:4]]))
    table = intervals(s, test.sample.taken(rows), ones, response="logit", least=5)
    assert not isinstance(table, str)
    assert table.without == 2
    assert [line.why.short for line in table.lines if line.why] == ["4 rows: too few", "0 rows: too few"]
    assert {line.model for line in table.lines if line.lower} == {2}
    whole = intervals(s, test.sample, ones, response="logit", least=5)
    assert not isinstance(whole, str)
    assert [line for line in table.lines if line.model == 2 and line.lower] == [
        replace(line, whisker=mine.whisker)
        for line, mine in zip(
            [line for line in whole.lines if line.model == 2], [m for m in table.lines if m.model == 2], strict=True
        )
    ]
    nothing = intervals(s, test.sample.taken(rows[:2]), ones, response="logit", least=5)
    assert not isinstance(nothing, str)
    assert nothing.without == 3


def test_features_that_do_not_vary_and_absent_classes_have_a_reason() -> None:
    u, _ = studied("softmax", 900)
    s = simplify.tree(u, n_models=2, oblique=False)
    assert isinstance(s.route, ByRule)
    still = int(np.flatnonzero(~s.route.tree.direction.any(axis=0))[0])  # no rule asks for it
    x, y = u.sample.x.copy(), np.asarray(u.sample.y).copy()
    model = s.route.assign(s.network, x)
    x[:, still] = 3.0
    y[(model == 0) & (y == 1)] = 0
    rows = replace(u.sample, x=x, y=y)
    table = intervals(replace(s, sample=rows), None, np.ones(3), response="logit", least=5)
    assert not isinstance(table, str)
    first, *_ = table.lines
    assert first.why is not None
    assert first.why.short == "absent class: no rows of class <b>perhaps</b>"
    assert first.term.short == "all terms"
    others = [line for line in table.lines if line.model == 1]
    assert {line.output.short for line in others if line.output} == {"<b>perhaps</b>", "yes"}
    assert [line.why.short for line in others if line.term.short == PLAIN[still] and line.why] == [
        "does not vary in this segment"
    ]
    assert table.said[2] == "Each class is set against no: a coefficient is a log-odds."


def test_intervals_are_drawn_where_they_are() -> None:
    drawn = str(whisker((1.0, -0.5, 3.0), 2.0))
    low, high = map(float, re.findall(r"M([\d.]+) 7H([\d.]+)", drawn)[0])
    at = float(re.findall(r'cx="([\d.]+)"', drawn)[0])
    assert (low - 60, at - 60) == pytest.approx((-0.25 * 54, 0.5 * 54), abs=0.06)
    assert high == pytest.approx(114, abs=0.06)  # cut at the edge
    beyond = str(whisker((-5.0, -6.0, -4.0), 2.0))
    assert "circle" not in beyond
    assert 'd="M6.0 3l-5 4' in beyond


# ---------------------------------------------------------------- pages of all kinds


@pytest.mark.parametrize(
    ("link", "verb"), [("logit", "merge"), ("identity", "oblique"), ("softmax", "tree"), ("softmax", "cells")]
)
def test_panels_of_every_number_are_in_the_page(tmp_path: Path, link: str, verb: str) -> None:
    u, test = studied(link, 700)
    s = VERBS[verb](u, 4)
    path = report(u, tmp_path / "report.html", simplified=s, X_test=test)
    page = path.read_text(encoding="utf-8")
    panels = re.findall(r'<div class="simple-panel( simple-given)?" data-models="(\d+)"( hidden)?>', page)
    assert [(k, bool(given), bool(hidden)) for given, k, hidden in panels] == 2 * [
        ("1", False, True),
        ("2", False, True),
        ("3", False, True),
        ("4", True, False),
    ]
    assert "<b>" not in page
    facts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["chapters"]["simpler"]
    assert [n["models"] for n in facts["simplification"]["numbers"]] == [1, 2, 3, 4]
    assert facts["simplification-coefficients"]["4"]["honest"] is True
    assert report(u, tmp_path / "b.html", simplified=s, X_test=test).read_text(encoding="utf-8") == page


def test_only_the_chosen_number_is_linked_to_other_chapters(tmp_path: Path) -> None:
    u, _ = studied("logit", 700)
    s = simplify.tree(u, n_models=3, oblique=False)
    page = report(u, tmp_path / "report.html", simplified=s).read_text(encoding="utf-8")
    for panel in page.split('<div class="simple-panel')[1:]:
        body = panel.split("</table>")[0]
        assert ("data-group" in body) is ('simple-given" data-models="3"' in "simple-panel" + panel)


@pytest.mark.parametrize("link", ["logit", "identity", "softmax"])
def test_hostile_names_weights_and_several_outputs(tmp_path: Path, link: str) -> None:
    classes = tuple(HOSTILE[:3]) if link == "softmax" else ()
    net = network(HOSTILE, link=link, classes=classes)
    if link != "softmax":
        last = net.layers[-1]
        twice = Layer(np.vstack([last.weight, -last.weight]), np.zeros(2), Activation.of_kind("identity", 2), "two")
        net = Network((*net.layers[:-1], twice), net.features, net.link)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 5))
    X[:, 4] = 1.0
    y: Any = rng.normal(size=(500, 2)) if link == "identity" else rng.integers(0, 2, size=(500, 2))
    if link == "softmax":
        y = np.array(classes, dtype=object)[rng.integers(0, 3, 500)]
    weight = rng.uniform(0.5, 2, 500)
    u, test = unwrap(net, X, y, weight), unwrap(net, X[::2], y[::2], weight[::2])
    s = simplify.cells(u, n_models=3)
    path = report(u, tmp_path / "report.html", simplified=s, X_test=test)
    page = path.read_text(encoding="utf-8")
    part = page.split('<section id="simplification-coefficients"')[1].split("</section>")[0]
    assert "does not vary in this segment" in part
    assert not re.search(r"<(script|img|b|i)\b", part)
    assert "&lt;script&gt;" in part
    assert "L" * 301 not in part
    assert "\u202e" not in part
    facts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    lines = facts["chapters"]["simpler"]["simplification-coefficients"]["3"]["coefficients"]
    # with weights: those of the library on the same rows
    plain_net = replace(net, features=Features.plain(5, HOSTILE))
    frame = simplify.inference(replace(s, network=plain_net), X[::2], y[::2], sample_weight=weight[::2]).to_frame()
    told = [line["lower"] for line in lines if line["estimate"] is not None]
    assert told == pytest.approx(frame.loc[frame.estimate.notna(), "lower"].tolist(), rel=1e-6, nan_ok=True)
