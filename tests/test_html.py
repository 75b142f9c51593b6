"""The report page: what it says, and that nothing in a user's data can do anything in it. No browser is needed here."""

import base64
import hashlib
import json
import re
import unicodedata
from collections.abc import Sequence
from html import unescape
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relucidate import words
from relucidate.errors import OutputError
from relucidate.features import Features
from relucidate.html import page as rendering
from relucidate.html import pictures, report
from relucidate.html.regions import STATIC_REGIONS, feature_importance
from relucidate.layers import Activation, Layer
from relucidate.network import Faithfulness, Network, Provenance
from relucidate.unwrapping import Unwrapped, unwrap

STYLE = "".join(
    p.read_text(encoding="utf-8") for p in sorted(Path(rendering.__file__).with_name("styles").glob("*.css"))
)
VOID = {"meta", "link", "input", "br", "wbr", "img", "hr"}

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</script><b>bold",
    "abc\u202edesrever",
    "L" * 10_000,
    "a\u2028b\u2029c\x00\x07'`${x}",
    "{{ 7 * 7 }}{% raw %}",
    "=1+1",
)


# ---------------------------------------------------------------- specimens


def network(sizes: Sequence[int], link: Any = "identity", names: Sequence[str] | None = None, **about: Any) -> Network:
    """A random ReLU network."""
    rng = np.random.default_rng(len(sizes))
    layers = []
    for i, (n, m) in enumerate(pairwise(sizes)):
        kind = "relu" if i < len(sizes) - 2 else "identity"
        weight = rng.normal(size=(m, n)) * np.sqrt(2 / n)
        layers.append(Layer(weight, rng.normal(size=m) / 10, Activation.of_kind(kind, m), f"dense {i}"))
    return Network(tuple(layers), Features.plain(sizes[0], names), link, **about)


def unwrapped(net: Network, n: int = 500, response: bool = True, **options: Any) -> Unwrapped:
    """That network on normal rows, with its own decisions as the response."""
    X = np.random.default_rng(0).normal(size=(n, net.n_features))
    y: Any = None
    if response and net.link == "softmax":
        y = np.array(net.classes, dtype=object)[net.predict(X).argmax(axis=1)]
    elif response and net.link == "logit":
        y = (X[:, 0] > 0).astype(int)
    elif response:
        y = net.predict(X)[:, 0] + X[:, 0]
    return unwrap(net, X, y, **options)


def dead() -> Network:
    net = network((4, 6, 1), "logit")
    first = net.layers[0]
    silent = Layer(np.array(first.weight), first.bias - 1e3, first.activation, first.name)
    return Network((silent, *net.layers[1:]), net.features, net.link)


def hostile() -> Unwrapped:
    about = Provenance(
        "ONNX <b>", "/tmp/<img src=x onerror=alert(3)>.onnx", "ab" * 32, (("Gemm<", 3),), ("note </script> <b>",)
    )
    classes = ("<i>yes</i>", "</script><script>alert(2)</script>", "n\u202eo")
    return unwrapped(network((8, 6, 3), "softmax", HOSTILE, classes=classes, provenance=about))


SPECIMENS = {
    "regression": lambda: unwrapped(network((3, 8, 1))),
    "binary": lambda: unwrapped(network((5, 8, 4, 1), "logit")),
    "five classes": lambda: unwrapped(network((6, 8, 5), "softmax", classes=tuple("abcde"))),
    "several outputs": lambda: unwrapped(network((4, 6, 3)), response=False),
    "without a response": lambda: unwrapped(network((3, 8, 1), "logit"), response=False),
    "weighted": lambda: unwrapped(network((3, 8, 1)), sample_weight=np.linspace(0.5, 2, 500)),
    "log link": lambda: unwrapped(network((3, 4, 1), "log"), response=False),
    "linear": lambda: unwrapped(network((3, 1))),
    "one row": lambda: unwrapped(network((3, 4, 1)), n=1, response=False),
    "one feature": lambda: unwrapped(network((1, 4, 1))),
    "dead": lambda: unwrapped(dead()),
    "many features": lambda: unwrapped(network((60, 8, 1), "logit")),
    "many outputs": lambda: unwrapped(network((4, 6, 14), "softmax", classes=tuple(range(14)))),
    "hostile": hostile,
}


# ---------------------------------------------------------------- reading a page


class Page(HTMLParser):
    """A page taken apart: (tag, attributes) of its elements, the text of each kind, its text without scripts."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.source = path.read_text(encoding="utf-8")
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.content: dict[str, list[str]] = {}
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(self.source)
        self.close()
        assert self.open == [], f"not closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(attrs) == len(dict(attrs)), f"an attribute twice in {tag}"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
            self.content.setdefault(tag, []).append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"{tag} closes another element"

    def handle_data(self, data: str) -> None:
        for tag in set(self.open):
            self.content[tag][-1] += data
        if not {"script", "style"} & set(self.open):
            self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.words))

    @property
    def data(self) -> Any:
        return json.loads(self.content["script"][0])


@pytest.fixture(scope="module", params=SPECIMENS)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Unwrapped, Page]:
    u = SPECIMENS[request.param]()
    return u, Page(report(u, tmp_path_factory.mktemp("page") / "report.html"))


def page_of(u: Unwrapped, folder: Path, **options: Any) -> Page:
    return Page(report(u, folder / "report.html", **options))


# ---------------------------------------------------------------- the page as a document


def test_document_has_language_title_and_landmarks(case: tuple[Unwrapped, Page]) -> None:
    _, page = case
    assert page.source.startswith("<!DOCTYPE html>\n")
    assert page.all("html") == [{"lang": "en"}]
    assert (
        page.source.count("<title>", 0, page.source.index("</head>"))
        == len(page.all("h1"))
        == len(page.all("main"))
        == len(page.all("nav"))
        == 1
    )
    assert page.all("header")
    assert page.all("footer")
    assert page.elements[[tag for tag, _ in page.elements].index("body") + 1][1]["href"] == "#main"


def test_ids_are_unique_and_references_lead_somewhere(case: tuple[Unwrapped, Page]) -> None:
    _, page = case
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    for _, attributes in page.elements:
        assert attributes.get("aria-labelledby", ids[0]) in ids
        assert (attributes.get("href") or "#main").removeprefix("#") in [*ids, "data:,"]


def test_headings_do_not_skip_a_level(case: tuple[Unwrapped, Page]) -> None:
    levels = [int(tag[1]) for tag, _ in case[1].elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))


def test_no_line_ends_before_a_percent_sign(case: tuple[Unwrapped, Page]) -> None:
    words = "".join(case[1].words)
    assert "\xa0%" in words
    text = re.sub(r"<svg.*?</svg>|<script.*?</script>|<style.*?</style>", "", case[1].source, flags=re.DOTALL)
    assert not re.search(r"\d[ \n]%", text)


def test_pictures_have_words(case: tuple[Unwrapped, Page]) -> None:
    u, page = case
    drawn = [a for a in page.all("svg") if a.get("aria-hidden") != "true"]
    if u.n_rows == 1 or not u.is_constant:
        assert bool(drawn) == (u.n_rows > 1)  # where a constant does worst can still be drawn
    for attributes in drawn:
        assert attributes["role"] == "img"
        assert attributes["aria-label"]


# ---------------------------------------------------------------- nothing is executed or fetched


def test_policy_allows_the_pages_own_script_and_style_alone(case: tuple[Unwrapped, Page]) -> None:
    _, page = case
    (policy,) = [a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.split(" ", 1) for rule in str(policy).split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == f"'sha256-{digest(page.content['script'][1])}'"
    assert rules["style-src"] == f"'sha256-{digest(page.content['style'][0])}'"
    assert "unsafe" not in str(policy)
    assert page.all("script") == [{"type": "application/json", "id": "data"}, {}]
    assert len(page.all("style")) == 1


def digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def test_policy_comes_before_everything_it_governs(case: tuple[Unwrapped, Page]) -> None:
    tags = [tag for tag, _ in case[1].elements]
    at = next(i for i, (_, a) in enumerate(case[1].elements) if a.get("http-equiv"))
    assert at < min(tags.index(tag) for tag in ("style", "script", "link"))


def test_nothing_is_fetched_and_no_attribute_is_code(case: tuple[Unwrapped, Page]) -> None:
    _, page = case
    for tag, attributes in page.elements:
        assert tag not in {"img", "iframe", "object", "embed", "base", "form", "audio", "video", "use", "image", "a:x"}
        for key, value in attributes.items():
            assert not key.startswith("on"), f"{tag} has {key}"
            assert key not in {"src", "srcset", "style", "action", "xlink:href"}, f"{tag} has {key}"
            if key == "href":
                assert str(value).startswith("#") or value == "data:,"
    for rule in ("@import", "url(", "expression(", "@font-face"):
        assert rule not in STYLE
    script = page.content["script"][1]
    for word in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval",
        "Function(",
        "fetch",
        "import(",
    ):
        assert word not in script
    assert re.findall(r"https?://[^\"'\s]+", script) == ["http://www.w3.org/2000/svg"]


def test_names_do_nothing(tmp_path: Path) -> None:
    page = page_of(hostile(), tmp_path, title=HOSTILE[1], reproduce="relucidate report '<b>&</b>'\n\u202e</pre>")
    assert not page.all("b")
    assert not page.all("i") or all(str(a["class"]).startswith("h") for a in page.all("i"))
    assert "alert" not in page.content["script"][1]
    assert page.content["title"][0] == HOSTILE[1]
    assert "relucidate report '<b>&</b>'\n⟨U+202E⟩</pre>" in page.content["pre"][0]
    assert "{{ 7 * 7 }}" in page.text
    assert "abc⟨U+202E⟩desrever" in page.text
    assert "<i>yes</i>" in page.text
    assert "<img src=x onerror=alert(3)>.onnx" in page.text


def test_controls_that_reorder_text_are_written_out(tmp_path: Path) -> None:
    source = page_of(hostile(), tmp_path).source
    odd = {c for c in source if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"} and c != "\n"}
    assert odd == set()


def test_long_names_are_cut_and_their_length_is_told(tmp_path: Path) -> None:
    page = page_of(hostile(), tmp_path)
    assert "L" * 301 not in page.source
    assert any("(10,000 characters)" in str(a.get("title")) for _, a in page.elements)
    assert "L" * 41 not in page.text.replace("L" * 300 + "… (10,000 characters)", "")


def test_data_cannot_end_their_element(tmp_path: Path) -> None:
    page = page_of(hostile(), tmp_path)
    assert not set("<>&\u2028\u2029") & set(page.content["script"][0])
    assert page.content["script"][0].isascii()
    assert "<i>yes</i>" in page.data["regions"]["outputs"]


@given(st.text(st.characters(), max_size=80), st.integers(9, 60))
def test_any_text_becomes_a_short_plain_name(text: str, limit: int) -> None:
    name = words.name(text, limit)
    assert 0 < len(name.short) <= limit
    for shown in (name.short, name.full):
        shown.encode("utf-8")
        assert all(unicodedata.category(c)[0] != "C" or c in "\u200c\u200d" for c in shown)
    if not name.full:
        assert name.short == (words.visible(text) or "(no name)")


@given(
    st.recursive(
        st.text() | st.floats(allow_nan=False, allow_infinity=False),
        lambda s: st.lists(s) | st.dictionaries(st.text(), s),
    )
)
def test_json_comes_back_whatever_it_holds(value: Any) -> None:
    text = rendering._json(value)
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == value


# ---------------------------------------------------------------- what it says


def test_table_is_in_the_page_itself(case: tuple[Unwrapped, Page]) -> None:
    u, page = case
    (table,) = [text for text in page.content["table"] if "region\nrows" in text.replace(" ", "")]
    rows = table[table.index("\n0") :].strip().split("\n")
    assert len(rows) == min(u.n_regions, STATIC_REGIONS)
    assert rows[0].startswith(f"0{u.count[0]:,}")


def test_summary_says_what_matters(tmp_path: Path) -> None:
    u = unwrapped(network((5, 8, 4, 1), "logit"), n=3000)
    text = page_of(u, tmp_path).text
    half = int(np.searchsorted(np.cumsum(u.share), 0.5)) + 1
    single = int((u.count == 1).sum())
    assert f"The 3,000 rows use {u.n_regions} local linear models" in text
    assert f"Half of the rows lie in {half} of them" in text
    assert f"{single} of the models rest on a single row" in text
    assert f"AUC {u.scores['auc']:.4f}" in text
    assert words.power(u.exactness.max_difference) in text


def test_proof_is_told_or_its_absence(tmp_path: Path) -> None:
    net = network((3, 4, 1))
    assert "none: the network was given as weights" in page_of(unwrapped(net), tmp_path).text
    proof = Faithfulness(3e-8, 1e-9, 2e-8, 4, 0.999, 512, "onnxruntime 9.9")
    proved = Network(net.layers, net.features, faithfulness=proof)
    text = page_of(unwrapped(proved), tmp_path).text
    assert "compared with onnxruntime 9.9 on 512 probe points: they differ by at most 3.0×10⁻⁸" in text


def test_constant_network_is_called_so(tmp_path: Path) -> None:
    text = page_of(unwrapped(dead()), tmp_path).text
    assert "The network gives the same value on all 500 rows: it does not look at its input." in text
    assert "The output does not change with any feature on these rows." in text


def test_one_region_is_one_linear_model(tmp_path: Path) -> None:
    page = page_of(unwrapped(network((3, 1))), tmp_path)
    assert "All 500 rows use one and the same linear model." in page.text
    assert "spread" not in [a.get("id") for a in page.all("section")]


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    u = unwrapped(network((60, 40, 40, 1), "logit"), n=1500)
    page = page_of(u, tmp_path)
    assert f"All {u.n_regions:,} regions are in this page." in page.text
    assert "The 12 most important features have a column; 48 more appear in the details of a region." in page.text
    assert "regions.parquet" in page.text
    many = page_of(unwrapped(network((4, 6, 14), "softmax", classes=tuple(range(14)))), tmp_path)
    assert "The first 10 of 14 outputs are in this page." in many.text


def test_reproduction_names_versions_and_hashes(tmp_path: Path) -> None:
    u = unwrapped(network((3, 4, 1)))
    text = page_of(u, tmp_path, reproduce="relucidate report a.onnx b.csv").text
    assert "relucidate report a.onnx b.csv" in text
    assert f"numpy {np.__version__}" in text
    again = page_of(unwrapped(network((3, 4, 1))), tmp_path).text
    hashes = re.findall(r"SHA-256\s*([0-9a-f]{64})", text)
    assert len(hashes) == 2
    assert hashes == re.findall(r"SHA-256\s*([0-9a-f]{64})", again)
    other = page_of(unwrapped(network((3, 4, 1)), n=499), tmp_path).text
    weights, regions = re.findall(r"SHA-256\s*([0-9a-f]{64})", other)
    assert weights == hashes[0]
    assert regions != hashes[1]


# ---------------------------------------------------------------- the file


def test_same_result_gives_the_same_bytes(tmp_path: Path) -> None:
    a = report(SPECIMENS["five classes"](), tmp_path / "a.html")
    b = report(SPECIMENS["five classes"](), tmp_path / "b.html")
    assert a.read_bytes() == b.read_bytes()
    assert b"\r" not in a.read_bytes()


def test_page_stays_small_whatever_comes(tmp_path: Path) -> None:
    names = [f"{i} " + "漢" * 10_000 for i in range(400)]
    classes = tuple(f"{i} " + "<" * 10_000 for i in range(12))
    net = network((400, 30, 30, 12), "softmax", names, classes=classes)
    path = report(unwrapped(net, n=1100), tmp_path / "report.html")
    assert path.stat().st_size < 5_000_000


def test_earlier_file_is_kept_unless_it_may_go(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("mine")
    with pytest.raises(OutputError, match=r"report\.html exists"):
        report(SPECIMENS["linear"](), path, overwrite=False)
    assert path.read_text() == "mine"
    assert report(SPECIMENS["linear"](), path) == path
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(page: object) -> str:
        raise RuntimeError("halfway")

    monkeypatch.setattr(rendering, "render", broken)
    with pytest.raises(RuntimeError, match="halfway"):
        report(SPECIMENS["linear"](), tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- importance and pictures


@pytest.mark.parametrize("name", ["binary", "five classes", "weighted", "linear"])
def test_importance_is_its_definition(name: str) -> None:
    u = SPECIMENS[name]()
    s, w = u.sample, u.sample.weights
    mean = np.average(s.x, axis=0, weights=w)
    expected = np.zeros((u.network.n_outputs, u.network.n_features))
    # a number added to all logits of a softmax changes nothing
    coef = u.coef - u.coef.mean(axis=1, keepdims=True) if u.network.link == "softmax" else u.coef
    for k in range(u.network.n_outputs):
        for j in range(u.network.n_features):
            part = np.array([coef[r, k, j] * (x - mean[j]) for r, x in zip(s.region, s.x[:, j], strict=True)])
            centre = np.average(part, weights=w)
            expected[k, j] = np.average((part - centre) ** 2, weights=w)
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(feature_importance(u, u.network.n_outputs).share, expected, rtol=1e-9)


def test_sizes_count_every_region_and_row_once() -> None:
    counts = np.array([500, 100, 99, 30, 29, 10, 9, 2, 1, 1, 1])
    _, table = pictures.sizes(counts, counts / counts.sum())
    assert [(label, regions, rows) for label, regions, _, rows, _ in table] == [
        ("1 row", 3, 3),
        ("2–9 rows", 2, 11),
        ("10–29 rows", 2, 39),
        ("30–99 rows", 2, 129),
        ("100 rows or more", 2, 600),
    ]
    assert sum(share for *_, share in table) == pytest.approx(1)


@given(st.lists(st.integers(1, 10**6), min_size=3, max_size=300))
def test_curve_rises_inside_its_box_and_labels_do_not_overlap(counts: list[int]) -> None:
    picture = str(pictures.cumulative(np.array(counts) / sum(counts)))
    points = [tuple(map(float, p.split(","))) for p in re.findall(r'points="([^"]+)"', picture)[0].split()]
    xs, ys = zip(*points, strict=True)
    assert list(xs) == sorted(xs)
    assert list(ys) == sorted(ys, reverse=True)
    assert 0 <= min(xs) <= max(xs) <= pictures.WIDTH
    spots = []
    for style, x, y, text in re.findall(r'<text class="(halo[ a-z]*)" x="([\d.]+)" y="([\d.]+)">([^<]+)', picture):
        width = 6.3 * len(unescape(text))
        left = float(x) - (width if "end" in style else 0)
        spots.append((left, float(y) - 9, left + width, float(y)))
        assert left >= 0
        assert left + width <= pictures.WIDTH
    for i, a in enumerate(spots):
        for b in spots[:i]:
            assert not (a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3])


# ---------------------------------------------------------------- numbers as text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1.5, "1.500"), (-1234.56, "−1,235"), (3.1e-15, "3.100×10⁻¹⁵"), (None, "–"), (float("nan"), "–")],
)
def test_number(value: float | None, text: str) -> None:
    assert words.number(value) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0 %"), (1, "100 %"), (0.0004, "<0.1 %"), (0.9996, ">99.9 %"), (0.123, "12.3 %"), (None, "–")],
)
def test_percent_never_rounds_to_nothing_or_to_all(share: float | None, text: str) -> None:
    assert words.percent(share) == text


def test_fixed_has_no_negative_zero() -> None:
    assert words.fixed(-1e-9, 3) == "0.000"
    assert words.fixed(-0.5, 3) == "−0.500"


# ---------------------------------------------------------------- colours


def colours(block: str) -> dict[str, str]:
    return dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{3,6});", block))


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1, 2], ids=["light", "dark", "print"])
def test_colours_can_be_read(scheme: int) -> None:
    c = colours(re.findall(r":root \{(.*?)\}", STYLE, flags=re.DOTALL)[scheme])
    for ground in ("ground", "panel"):
        assert contrast(c["ink"], c[ground]) >= 7
        assert contrast(c["quiet"], c[ground]) >= 4.5
    assert contrast(c["link"], c["ground"]) >= 4.5
    for cell in ("p1", "p2", "p3", "p4", "p5", "m1", "m2", "m3", "m4", "m5"):
        assert contrast(c["ink"], c[cell]) >= 4.5, cell
    for mark in ("bar", "bar-2", "line"):
        assert contrast(c[mark], c["ground"]) >= 3, mark
