"""The page for everybody: axe-core finds nothing, keys reach what the mouse reaches, paper holds what the screen shows."""

import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest

from browsing import opened
from relucidate.examples import home_lending
from relucidate.frameworks import load
from relucidate.html import report
from relucidate.simplify import tree
from relucidate.unwrapping import unwrap

pytestmark = [pytest.mark.slow, pytest.mark.browser]

AXE = Path(__file__).parents[2] / "build" / "axe" / "package" / "axe.min.js"
# of axe-core 4.14.1, as `make test-browser` fetches it from npm
AXE_SHA256 = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"
RUN = """
const done = arguments[arguments.length - 1];
axe.run(document, { resultTypes: ["violations"] }).then(
  (r) => done(r.violations.map((v) => [v.impact, v.id, v.help, ...v.nodes.slice(0, 3).map((n) => n.html.slice(0, 200))])),
  (error) => done(["error: " + error]));
"""


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page with every chapter."""
    loans = home_lending()
    u = unwrap(load(str(loans.model)), str(loans.train), loans.target)
    return report(
        u,
        tmp_path_factory.mktemp("full") / "report.html",
        X_test=str(loans.test),
        y_test=loans.target,
        X=str(loans.train),
        y=loans.target,
        protected="age_group",
        expected={"credit_score": "-", "loan_to_value": "+"},
        rows=20,
        simplified=tree(u, n_models=6),
    )


@pytest.fixture(scope="module")
def axe() -> str:
    if not AXE.is_file():
        pytest.fail(f"These tests need {AXE}, which `make test-browser` fetches with npm.")
    content = AXE.read_bytes()
    assert hashlib.sha256(content).hexdigest() == AXE_SHA256
    return content.decode("utf-8")


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_checker_finds_no_violation(browser: Any, full: Path, axe: str, width: int, scheme: str) -> None:
    browser = opened(browser, full, width, scheme)
    browser.execute_script(axe)
    browser.set_script_timeout(120)
    assert browser.execute_async_script(RUN) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_checker_finds_no_violation_in_what_is_selected(browser: Any, full: Path, axe: str, scheme: str) -> None:
    browser = opened(browser, full, 1280, scheme)
    browser.execute_script(
        "for (const [kind, value] of [['region', 7], ['feature', 1], ['group', 2]]) relucidate.select(kind, value);"
        "for (const more of document.querySelectorAll('details')) more.open = true"
    )
    browser.execute_script(axe)
    browser.set_script_timeout(120)
    assert browser.execute_async_script(RUN) == []


def test_every_chapter_is_reached_from_the_contents_and_nothing_is_fetched(browser: Any, full: Path) -> None:
    browser = opened(browser, full)
    links = browser.find_elements("css selector", ".contents a")
    assert len(links) > 20
    for link in links:
        browser.execute_script("arguments[0].click()", link)
        target = link.get_attribute("href").rsplit("#", 1)[1]
        assert (
            browser.execute_script(
                "return document.getElementById(arguments[0]).getBoundingClientRect().height", target
            )
            > 0
        )
        assert browser.current_url.endswith("#" + target)
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert browser.get_log("browser") == []


def test_every_button_and_field_has_a_name_and_is_reached_by_the_tab_key(browser: Any, full: Path) -> None:
    browser = opened(browser, full)
    found = browser.execute_script(
        "return [...document.querySelectorAll('button, input, select')].filter(e => e.getClientRects().length)"
        ".map(e => [e.tabIndex, (e.getAttribute('aria-label') || e.textContent || '').trim() || "
        "(e.labels && [...e.labels].map(l => l.textContent.trim()).join(' ')) || '', e.outerHTML.slice(0, 120)])"
    )
    assert len(found) > 30
    assert [html for tab, _, html in found if tab < 0] == []
    assert [html for _, name, html in found if not name] == []


def test_what_a_row_selects_is_reached_by_keys_and_leads_to_its_details(browser: Any, full: Path) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    browser = opened(browser, full)
    without = browser.execute_script(
        "return [...document.querySelectorAll('tr[data-region], tr[data-feature], tr[data-group]')]"
        ".filter(r => r.getClientRects().length && !r.closest('.simple-table') && !r.querySelector('button'))"
        ".map(r => r.outerHTML.slice(0, 80))"
    )
    assert without == []
    row = "#reliability tbody tr:nth-child(2)"
    button = browser.find_element("css selector", f"{row} th button")
    region = browser.find_element("css selector", row).get_attribute("data-region")
    button.send_keys(Keys.SPACE)
    assert browser.execute_script("return relucidate.state.region") == int(region)
    assert button.get_attribute("aria-pressed") == "true"
    browser.find_element("css selector", "#coefficients tbody th button").send_keys(Keys.ENTER)
    shown = browser.find_elements("css selector", "#selection a")
    assert [link.get_attribute("href").rsplit("#", 1)[1] for link in shown] == ["detail-h", "coefficients"]
    shown[0].send_keys(Keys.ENTER)
    assert browser.execute_script("return document.activeElement.textContent").startswith(f"Region {region}: ")
    mark = browser.find_element("css selector", "#monotonicity span[role='button']")
    mark.send_keys(Keys.ENTER)
    assert browser.execute_script("return relucidate.state.region") == int(mark.get_attribute("data-region"))
    ActionChains(browser).send_keys(Keys.ESCAPE).perform()
    assert not browser.find_element("id", "selection").is_displayed()
    assert button.get_attribute("aria-pressed") == mark.get_attribute("aria-pressed") == "false"


def test_rows_of_another_case_are_reached_by_keys_too(browser: Any, full: Path) -> None:
    browser = opened(browser, full)
    browser.execute_script(
        "const e = document.getElementById('case-pick'); e.value = '2'; e.dispatchEvent(new Event('change'))"
    )
    heads = "return [...document.querySelectorAll('#path-table tr[data-feature] > th')].map(h => !!h.querySelector('button'))"
    assert set(browser.execute_script(heads)) == {True}


def test_the_case_says_whether_the_model_of_its_region_is_reliable(browser: Any, full: Path) -> None:
    browser = opened(browser, full)
    verdict = browser.find_element("id", "detail-verdict").text
    assert verdict.startswith("Not reliable: ")
    assert verdict.removeprefix("Not reliable: ") in browser.find_element("id", "case-region").text


def taken(browser: Any, button: str) -> str:
    """Return what a button would download, as text."""
    browser.set_script_timeout(10)
    got: str = browser.execute_async_script(
        "const done = arguments[1]; const make = URL.createObjectURL;"
        "URL.createObjectURL = (blob) => { URL.createObjectURL = make; blob.text().then(done); return make(blob); };"
        "document.querySelector(arguments[0]).click()",
        button,
    )
    return got


def test_files_say_what_they_show(browser: Any, full: Path) -> None:
    browser = opened(browser, full)
    picture = taken(browser, "#effects figure .tools button")
    assert browser.find_element("css selector", "#effects figcaption").text in picture
    assert "mean logit" in picture
    assert "class=" not in picture
    assert 'viewBox="-14 ' in picture
    lines = [line.split(",") for line in taken(browser, "#coefficients .scroll + .tools button").splitlines()]
    assert lines[0][0].lstrip("\ufeff") == "feature"
    shown = browser.execute_script(
        "return [...document.querySelectorAll('#coefficients tbody tr')].map(r => r.cells[4].textContent)"
    )
    for line, share in zip(lines[1:], shown, strict=True):
        if not share.startswith(("<", ">")):
            assert float(line[4]) == pytest.approx(float(share.removesuffix("\xa0%")) / 100)
    pairs = taken(browser, "#pairs .below + .scroll + .tools button").splitlines()
    assert all(abs(float(line.split(",")[2])) > 0 for line in pairs[1:])


def test_nothing_is_lost_when_letters_are_twice_as_large(browser: Any, full: Path) -> None:
    browser = opened(browser, full, 640)
    browser.execute_script("document.documentElement.style.fontSize = '200%'")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 640
    assert browser.execute_script("return getComputedStyle(document.body).fontSize") == "32px"


def test_page_is_printed_whole(browser: Any, full: Path, tmp_path: Path) -> None:
    browser = opened(browser, full)
    settings = {"printBackground": True, "preferCSSPageSize": True}
    printed = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", settings)["data"])
    assert printed.startswith(b"%PDF-")
    (tmp_path / "report.pdf").write_bytes(printed)
    pages = printed.count(b"/Type /Page\n") + printed.count(b"/Type /Page>") + printed.count(b"/Type /Page ")
    assert 8 <= pages <= 32
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    cut = browser.execute_script(
        "return [...document.querySelectorAll('.chapter figure svg, .chapter table')].filter(e => e.getClientRects().length"
        " && e.getBoundingClientRect().right > document.documentElement.clientWidth + 1).map(e => e.closest('section').id)"
    )
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert cut == []


def test_page_with_every_chapter_is_small(full: Path) -> None:
    assert full.stat().st_size < 5_000_000
