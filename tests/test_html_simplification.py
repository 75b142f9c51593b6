"""The report's section on a simplification: its numbers are the result's, its picture the curve's, and names do nothing."""

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

from relucidate.errors import ArgumentError
from relucidate.features import Features
from relucidate.html import pictures, report, words
from relucidate.html.simplification import MAX_MODELS, curve_picture, in_short, simplification
from relucidate.layers import Activation, Layer
from relucidate.network import Faithfulness, Network
from relucidate.simplified import ByCentre, ByRule, Curve, Simplified
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
        self.feed(self.source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "wbr":
            return
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if {"th", "td"} & set(self.open):
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
    assert "simplification" not in page
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
        assert share == words.percent(s.count[m] / s.count.sum())
        assert float(response) == pytest.approx(s.response[m, 0], abs=1e-3)
        assert coefficients.count("_in") <= 4


def test_coefficients_named_are_those_that_move_most(tmp_path: Path) -> None:
    s = simplified(network())
    sd = np.array([1.0, 100.0, 0.0, 1e-9, 10.0])
    (row, *_) = simplification(unwrapped(s.network), s, sd).rows
    effect = np.abs(s.coef[0, 0] * sd)
    assert [feature.short for feature, _ in row.coefficients] == [PLAIN[j] for j in np.argsort(-effect)[:4]]
    j = int(effect.argmax())
    assert row.coefficients[0][1] == ("+" if s.coef[0, 0, j] > 0 else "") + words.number(s.coef[0, 0, j], 3)


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
    assert heads == ["col"] * 6 + ["row"] * 4
    assert [tag for tag, _ in page.elements].count("caption") == 1
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
        assert 13.9 <= y <= 204.1
    for style, x, text in re.findall(r'<text class="([a-z ]*)" x="([\d.-]+)" y="[\d.-]+">([^<]+)', picture):
        width = 6.3 * len(unescape(text))
        left = float(x) - (width if "end" in style else width / 2 if "middle" in style else 0)
        assert left >= -2, text
        assert left + width <= pictures.WIDTH + 8, text
    below = re.findall(r'class="tick middle[ a-z]*" x="([\d.]+)" y="220(?:\.0)?">([\d,]+)', picture)
    assert str(chosen) in [text for _, text in below]
    spans = sorted((float(x) - 3.2 * len(text), float(x) + 3.2 * len(text)) for x, text in below)
    assert all(a[1] < b[0] for a, b in pairwise(spans))
