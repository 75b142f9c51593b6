"""The report in a browser: what the script does, that nothing is executed or fetched, that nothing overlaps."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from relucidate.features import Features
from relucidate.html import report
from relucidate.layers import Activation, Layer
from relucidate.network import Network
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
QUIET = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]
ROWS = "return [...document.querySelectorAll('#regions-table tbody tr')].map(r => [...r.cells].map(c => c.textContent))"


def needed(what: str, *names: str) -> str:
    """Return the path of a program, or fail: asking for these tests means wanting them to run."""
    for name in names:
        if path := shutil.which(name):
            return path
    pytest.fail(
        f"These tests need {what} ({' or '.join(names)}), which is not installed. On Debian: apt-get install {names[0]}"
    )


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    program, driver = needed("Chromium", "chromium", "google-chrome"), needed("its driver", "chromedriver")
    try:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service
    except ImportError:
        pytest.fail("These tests need selenium, which is not installed: pip install selenium")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in [*QUIET, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    opened = webdriver.Chrome(options=options, service=Service(driver))
    yield opened
    opened.quit()


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


def opened(browser: Any, path: Path, width: int = 1280, scheme: str = "light", script: bool = True) -> Any:
    """Return the browser with the page open."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not script})
    browser.get(path.as_uri())
    return browser


def click(browser: Any, selector: str) -> None:
    browser.execute_script("document.querySelector(arguments[0]).click()", selector)


def typed(browser: Any, id: str, text: str) -> None:
    put = "const e = document.getElementById(arguments[0]); e.value = arguments[1]; e.dispatchEvent(new Event('input'))"
    browser.execute_script(put, id, text)


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
    visible = browser.execute_script("return [...document.querySelectorAll('[data-output]')].map(e => !e.hidden)")
    assert visible == [False, False, True] * 2  # of the importance, and of the effects


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
