"""The report in a browser: what the script does, that nothing is executed or fetched, that nothing overlaps."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from browsing import click, opened, typed
from relucidate.complexities import complexity
from relucidate.features import Features
from relucidate.html import report
from relucidate.layers import Activation, Layer
from relucidate.network import Network
from relucidate.reliabilities import reliability
from relucidate.simplify import merge
from relucidate.unwrapping import Unwrapped, unwrap

pytestmark = [pytest.mark.slow, pytest.mark.browser]

HOSTILE = (
    "<script>document.title='broken'</script>",
    '"><img src=x onerror="document.title=\'broken\'">',
    "</script><script>document.title='broken'</script>",
    "abc\u202edesrever",
    "L" * 10_000,
    "'`${document.title='broken'}",
)
LINES = "return [...document.querySelectorAll('#regions-table tbody tr')]"
ROWS = f"{LINES}.map(r => [...r.cells].map(c => c.textContent))"
HEADS = "return [...document.querySelectorAll('#regions-table .head-text')].map(e => e.textContent)"


def unwrapped(names: tuple[str, ...], classes: tuple[str, ...], n: int = 3000) -> Unwrapped:
    """A random network of three layers on normal rows."""
    rng = np.random.default_rng(3)
    layers, width = [], len(names)
    for m, kind in ((9, "relu"), (7, "relu"), (len(classes), "identity")):
        layers.append(Layer(rng.normal(size=(m, width)), rng.normal(size=m), Activation.of_kind(kind, m), f"dense {m}"))
        width = m
    net = Network(tuple(layers), Features.plain(len(names), names), "softmax", classes)
    X = rng.normal(size=(n, len(names)))
    return unwrap(net, X, np.array(classes, dtype=object)[net.predict(X).argmax(axis=1)])


@pytest.fixture(scope="module")
def plain() -> Unwrapped:
    return unwrapped(("age", "income", "debt_to_income", "region=North"), ("bus", "car", "train"))


@pytest.fixture(scope="module")
def path(plain: Unwrapped, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report(plain, tmp_path_factory.mktemp("report") / "report.html")


def test_script_runs_and_nothing_is_refused_or_fetched(browser: Any, path: Path) -> None:
    browser = opened(browser, path)
    assert browser.get_log("browser") == []
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert not browser.execute_script("return document.getElementById('detail').hidden")


def test_policy_stops_what_is_not_the_pages_own(browser: Any, path: Path) -> None:
    browser = opened(browser, path)
    add = "const s = document.createElement('img'); s.src = 'https://example.org/x.png'; document.body.append(s)"
    browser.execute_script(add)
    assert any("Content Security Policy" in entry["message"] for entry in browser.get_log("browser"))


def test_names_do_nothing(browser: Any, tmp_path: Path) -> None:
    u = unwrapped(HOSTILE, ("<b>a</b>", "</script><script>document.title='broken'</script>", "n\u202eo"))
    browser = opened(browser, report(u, tmp_path / "report.html", title="calm"))
    for r in range(3):
        click(browser, f"#regions-table tbody tr:nth-child({r + 1}) button")
    browser.execute_script(
        "const s = document.querySelector('.choose-output'); s.value = 1; s.dispatchEvent(new Event('change'))"
    )
    assert browser.title == "calm"
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.querySelectorAll('img, b').length") == 0
    assert browser.execute_script("return document.scripts.length") == 2


def test_table_is_the_same_with_and_without_the_script(browser: Any, path: Path) -> None:
    static = browser_rows(opened(browser, path, script=False))
    live = browser_rows(opened(browser, path))
    assert len(static) == 50
    assert live[:50] == static


def browser_rows(browser: Any) -> list[list[str]]:
    rows: list[list[str]] = browser.execute_cdp_cmd(
        "Runtime.evaluate", {"expression": f"JSON.stringify((() => {{ {ROWS} }})())"}
    )["result"]["value"]
    return list(json.loads(str(rows)))


def test_headers_sort_by_keyboard_and_say_so(browser: Any, path: Path, plain: Unwrapped) -> None:
    from selenium.webdriver.common.keys import Keys

    browser = opened(browser, path)
    button = browser.find_element("css selector", "[data-column='0'] button")
    button.send_keys(Keys.ENTER)
    head = button.find_element("xpath", "ancestor::th")
    assert head.get_attribute("aria-sort") == "descending"
    button.send_keys(Keys.SPACE)
    assert head.get_attribute("aria-sort") == "ascending"
    counts = [int(row[1].replace(",", "")) for row in browser.execute_script(ROWS)]
    assert counts == sorted(plain.count.tolist())[: len(counts)]


def test_filters_and_more(browser: Any, path: Path, plain: Unwrapped) -> None:
    browser = opened(browser, path)
    assert len(browser.execute_script(ROWS)) == 100
    click(browser, "#more")
    assert len(browser.execute_script(ROWS)) == min(200, plain.n_regions)
    typed(browser, "least", "30")
    large = int((plain.count >= 30).sum())
    assert len(browser.execute_script(ROWS)) == min(large, 100)
    assert f"{large} of {plain.n_regions:,} regions match" in browser.find_element("id", "status").text
    typed(browser, "least", "1")
    typed(browser, "find", "17")
    assert "17" in [row[0] for row in browser.execute_script(ROWS)]


def test_details_are_those_of_the_row_and_the_output(browser: Any, path: Path, plain: Unwrapped) -> None:
    browser = opened(browser, path)
    click(browser, "#regions-table tbody tr:nth-child(4) button")
    heading = browser.find_element("id", "detail-h")
    assert heading.text.startswith(f"Region 3: {plain.count[3]} rows")
    assert browser.switch_to.active_element == heading
    first = browser.find_element("id", "equation").text
    assert first.startswith("logit of bus = ")
    browser.execute_script(
        "const s = document.querySelector('.choose-output'); s.value = 2; s.dispatchEvent(new Event('change'))"
    )
    second = browser.find_element("id", "equation").text
    assert second.startswith("logit of train = ")
    shown = {c.split(" × ")[1]: c.split(" × ")[0] for c in second.split(" = ")[1].replace("−", "+").split(" + ")[1:]}
    for name, coefficient in zip(plain.network.feature_names, np.abs(plain.coef[3, 2]), strict=True):
        assert float(shown[name]) == pytest.approx(coefficient, rel=1e-3)
    shown = "return [...document.querySelectorAll('[data-output]')].map(e => [e.dataset.output, !e.hidden])"
    visible = browser.execute_script(shown)
    assert len(visible) >= 9  # of the importance, the effects, and the picture of the regions
    assert all(now == (output == "2") for output, now in visible)


def rows_of(browser: Any) -> list[int]:
    return [int(row[0]) for row in browser.execute_script(ROWS)]


def test_verdicts_filter_and_are_explained(browser: Any, path: Path, plain: Unwrapped) -> None:
    judged = reliability(plain)
    browser = opened(browser, path)
    for j, reason in enumerate(judged.reasons):
        holding = np.flatnonzero(judged.flags[:, j])
        option = browser.execute_script(
            "return document.querySelector(`#verdict option[value='${arguments[0]}']`)?.text", j
        )
        assert option == (f"{reason} ({len(holding):,})" if len(holding) else None)
        if len(holding):
            typed(browser, "verdict", str(j))
            assert rows_of(browser) == holding[:100].tolist()
    typed(browser, "verdict", "reliable")
    reliable = np.flatnonzero(judged.reliable)
    assert 0 < len(reliable) < 100
    assert rows_of(browser) == reliable.tolist()
    assert browser.find_element("id", "status").text == f"{len(reliable)} of {plain.n_regions:,} regions match"
    click(browser, "#regions-table tbody tr button")
    assert browser.find_element("id", "detail-verdict").text.startswith("Reliable: ")
    typed(browser, "verdict", "0")
    click(browser, "#regions-table tbody tr button")
    first = judged.flags[:, 0].argmax()
    reasons = "; ".join(reason for reason, holds in zip(judged.reasons, judged.flags[first], strict=True) if holds)
    assert browser.find_element("id", "detail-verdict").text == f"Not reliable: {reasons}."


def test_coefficients_sort_and_what_has_no_number_comes_last(browser: Any, path: Path, plain: Unwrapped) -> None:
    browser = opened(browser, path)
    heads = browser.execute_script(HEADS)
    click(browser, f"[data-column='{heads.index('age') - 1}'] button")
    assert rows_of(browser) == np.argsort(-plain.coef[:, 0, 0].astype(np.float32), kind="stable")[:100].tolist()
    few = int((plain.count >= 5).sum())
    at = heads.index("predicted mean")
    for _ in range(2):
        click(browser, f"[data-column='{at - 1}'] button")
        for _ in range(plain.n_regions // 100):
            click(browser, "#more")
        shown = [row[at] for row in browser.execute_script(ROWS)]
        assert len(shown) == plain.n_regions
        assert "–" not in shown[:few]
        assert set(shown[few:]) == {"–"}


def test_download_holds_every_region_and_column(browser: Any, path: Path, plain: Unwrapped) -> None:
    browser = opened(browser, path)
    typed(browser, "least", "30")
    keep = (
        "const made = URL.createObjectURL; URL.createObjectURL = (blob) => { window.kept = blob; return made(blob); }"
    )
    browser.execute_script(keep)
    click(browser, "#regions-tools button")
    text = browser.execute_async_script("window.kept.text().then(arguments[0])")
    frame = pd.read_csv(io.StringIO(text.removeprefix("\ufeff")))
    assert len(frame) == plain.n_regions
    assert frame["region"].tolist() == list(range(plain.n_regions))
    assert frame["rows"].tolist() == plain.count.tolist()
    for j, name in enumerate(plain.network.feature_names):
        np.testing.assert_allclose(frame[f"coefficient of {name} [bus]"], plain.coef[:, 0, j], rtol=1e-6)
    assert frame["predicted mean"].notna().tolist() == (plain.count >= 5).tolist()
    assert frame["verdict"].tolist() == [reason or "reliable" for reason in reliability(plain).reason]


def test_neighbours_lead_to_each_other(browser: Any, path: Path, plain: Unwrapped) -> None:
    browser = opened(browser, path)
    c = complexity(plain)
    click(browser, "#regions-table tbody tr:nth-child(3) button")
    expected = sorted({int(a + b - 2) for a, b in c.pair if 2 in (a, b)})
    buttons = browser.find_elements("css selector", "#near button")
    assert [b.text for b in buttons] == [f"Region {r}" for r in expected[:8]]
    items = [e.text for e in browser.find_elements("css selector", "#near li")]
    assert items[0].startswith(f"Region {expected[0]}: {plain.count[expected[0]]:,} row")
    click(browser, "#near button")
    assert browser.find_element("id", "detail-h").text.startswith(f"Region {expected[0]}: ")
    back = sorted({int(a + b - expected[0]) for a, b in c.pair if expected[0] in (a, b)})
    assert 2 in back
    assert [b.text for b in browser.find_elements("css selector", "#near button")] == [f"Region {r}" for r in back[:8]]


def test_facets_are_told_for_the_largest_regions(browser: Any, path: Path, plain: Unwrapped) -> None:
    browser = opened(browser, path)
    assert 0 < len(browser.find_elements("css selector", "#facets li")) <= 8
    assert "inequalities bound it" in browser.find_element("id", "facets-said").text
    typed(browser, "find", str(plain.n_regions - 1))
    click(browser, "#regions-table tbody tr button")
    assert browser.find_elements("css selector", "#facets li") == []
    said = browser.find_element("id", "facets-said").text
    assert said.startswith("Not in this page for a region of fewer than 5 rows.")
    assert "somebody" in browser.find_element("id", "coef-key").text


def test_features_and_marks_are_linked(browser: Any, path: Path) -> None:
    browser = opened(browser, path)
    click(browser, "#coef-rows tr[data-feature='1'] button")
    marked = browser.execute_script(f"{LINES}.map(r => [...r.cells].findIndex(c => c.matches('.column-linked')))")
    heads = browser.execute_script(HEADS)
    assert set(marked) == {heads.index("income")}
    assert browser.find_element("css selector", "#regions-table th.linked").text == "income"
    assert "income" in browser.find_element("id", "selection-text").text
    mark = "document.querySelector('#regions figure:not([hidden]) circle[data-region=\"7\"]')"
    browser.execute_script(f"{mark}.dispatchEvent(new MouseEvent('click', {{bubbles: true}}))")
    assert browser.find_element("id", "detail-h").text.startswith("Region 7: ")
    assert browser.execute_script(f"return {mark}.classList.contains('linked')")
    assert browser.execute_script("return document.querySelector('#regions-table tr.linked').dataset.region") == "7"


def test_models_of_a_simplification_filter_the_regions(browser: Any, plain: Unwrapped, tmp_path: Path) -> None:
    s = merge(plain, n_models=3)
    browser = opened(browser, report(plain, tmp_path / "report.html", simplified=s))
    model = s.assign(plain.sample.x)
    first = np.array([model[plain.sample.region == r][0] for r in range(plain.n_regions)])
    browser.execute_script(
        "const e = document.getElementById('of-group'); e.value = '1'; e.dispatchEvent(new Event('change'))"
    )
    assert rows_of(browser) == np.flatnonzero(first == 1)[:100].tolist()
    assert "model 1" in browser.find_element("id", "selection-text").text
    click(browser, "#clear")
    assert browser.execute_script("return document.getElementById('of-group').value") == ""
    assert rows_of(browser) == list(range(100))


@pytest.mark.parametrize("width", [390, 768, 1280])
@pytest.mark.parametrize("names", [("age", "income", "debt", "x"), HOSTILE], ids=["plain", "hostile"])
def test_nothing_overflows_or_overlaps(browser: Any, tmp_path: Path, width: int, names: tuple[str, ...]) -> None:
    browser = opened(browser, report(unwrapped(names, ("a", "b")), tmp_path / "report.html"), width)
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    overlaps = browser.execute_script(
        """
        const out = [];
        for (const svg of document.querySelectorAll('svg.picture')) {
          const texts = [...svg.querySelectorAll('text')];
          const boxes = texts.map(t => t.getBoundingClientRect());
          for (let i = 0; i < boxes.length; i++) {
            const a = boxes[i];
            if (a.width && (a.left < 0 || a.right > innerWidth)) out.push(texts[i].textContent + ' leaves the page');
            for (let j = 0; j < i; j++) {
              const b = boxes[j];
              const x = Math.min(a.right, b.right) - Math.max(a.left, b.left);
              const y = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
              if (x > 1 && y > 4) out.push(texts[i].textContent + ' over ' + texts[j].textContent);
            }
          }
        }
        return out;
        """
    )
    assert overlaps == []


def test_dark_is_dark(browser: Any, path: Path) -> None:
    ground = "return getComputedStyle(document.body).backgroundColor"
    assert opened(browser, path, scheme="dark").execute_script(ground) == "rgb(21, 24, 28)"
    assert opened(browser, path, scheme="light").execute_script(ground) == "rgb(253, 253, 252)"
