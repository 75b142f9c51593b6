"""The chapter on a simplification in a browser: a number of models is picked, one model is looked at, paper shows the chosen."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from browsing import opened
from relucidate import simplify
from relucidate.html import report
from relucidate.unwrapping import unwrap
from small_networks import random_network

pytestmark = [pytest.mark.slow, pytest.mark.browser]

SHOWN = (
    "return [...document.querySelectorAll('.simple-panel')].filter(p => p.getBoundingClientRect().height)"
    ".map(p => p.dataset.models)"
)
STATUS = "return document.getElementById('simple-status').textContent"
LINES = (
    "return [...document.querySelectorAll('#simplification-coefficients .simple-panel:not([hidden]) [data-model]')]"
    ".filter(line => !line.hidden).map(line => line.dataset.model)"
)
PICK = "const e = document.getElementById('simple-pick'); e.value = arguments[0]; e.dispatchEvent(new Event('change'))"
CLICK = "document.querySelector(arguments[0]).dispatchEvent(new MouseEvent('click', {bubbles: true}))"


def made(folder: Path, verb: Any) -> Path:
    net = random_network([4, 9, 6, 1], seed=3, link="logit")
    rng = np.random.default_rng(0)
    X = rng.normal(size=(900, 4))
    u = unwrap(net, X, (rng.random(900) < net.predict(X)[:, 0]).astype(int))
    return report(u, folder / "report.html", simplified=verb(u, n_models=4))


@pytest.fixture(scope="module")
def ruled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("ruled"), simplify.tree)


@pytest.fixture(scope="module")
def merged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("merged"), simplify.merge)


def test_a_number_is_picked_by_menu_by_point_and_by_row(browser: Any, ruled: Path) -> None:
    browser = opened(browser, ruled)
    assert browser.execute_script(SHOWN) == ["4", "4"]
    assert browser.execute_script(STATUS).startswith("4 linear models (chosen): AUC 0.")
    browser.execute_script(PICK, "2")
    assert browser.execute_script(SHOWN) == ["2", "2"]
    assert browser.execute_script(STATUS).startswith("2 linear models: AUC 0.")
    browser.execute_script(CLICK, "#simplification .reach[data-pick='3']")
    assert browser.execute_script(SHOWN) == ["3", "3"]
    assert browser.execute_script("return document.getElementById('simple-pick').value") == "3"
    browser.execute_script(CLICK, "#simplification tr[data-number='1'] td")
    assert browser.execute_script(SHOWN) == ["1", "1"]
    marked = (
        "return [...document.querySelectorAll('#simplification .simple-picked')]"
        ".map(e => e.dataset.pick ?? e.dataset.number)"
    )
    assert browser.execute_script(marked) == ["1", "1", "1"]
    assert browser.get_log("browser") == []


def test_a_point_can_be_hit(browser: Any, ruled: Path) -> None:
    browser = opened(browser, ruled)
    at = browser.execute_script(
        "document.documentElement.style.scrollBehavior = 'auto';"
        "const e = document.querySelector('#simplification .reach[data-pick=\"4\"]'); e.scrollIntoView({block: 'center'});"
        "const r = e.getBoundingClientRect();"
        "return document.elementFromPoint(r.x + r.width / 2, r.y + r.height / 2).dataset.pick"
    )
    assert at == "4"


def test_a_model_that_is_selected_is_shown_alone(browser: Any, ruled: Path) -> None:
    browser = opened(browser, ruled)
    assert set(browser.execute_script(LINES)) == {"0", "1", "2", "3"}
    browser.execute_script(CLICK, "#simplification .simple-given tr[data-group='2'] th")
    assert browser.execute_script("return document.getElementById('selection-text').textContent") == "model 2"
    assert set(browser.execute_script(LINES)) == {"2"}
    # picking another number lets go of the model; selecting a model leads back to the chosen number
    browser.execute_script(PICK, "3")
    assert browser.execute_script("return relucidate.state.group") is None
    browser.execute_script("relucidate.select('group', 1)")
    assert browser.execute_script(SHOWN) == ["4", "4"]
    assert set(browser.execute_script(LINES)) == {"1"}
    menu = "#simplification-coefficients .simple-panel:not([hidden]) select"
    choose = (
        "const e = document.querySelector(arguments[0]); e.value = arguments[1]; e.dispatchEvent(new Event('change'))"
    )
    browser.execute_script(choose, menu, "")
    assert browser.execute_script("return relucidate.state.group") is None
    assert set(browser.execute_script(LINES)) == {"0", "1", "2", "3"}
    browser.execute_script(PICK, "2")
    browser.execute_script(choose, menu, "1")
    assert browser.execute_script("return relucidate.state.group") is None
    assert set(browser.execute_script(LINES)) == {"1"}


def test_a_region_says_which_model_it_goes_with(browser: Any, merged: Path) -> None:
    browser = opened(browser, merged)
    browser.execute_script("relucidate.select('region', 1)")
    said = browser.execute_script("return document.getElementById('simple-region').textContent")
    group = browser.execute_script("return relucidate.unpack(relucidate.data.simplification.groupOf).values[1]")
    assert said == f"Region 1 goes with model {group}."
    assert group == browser.execute_script("return relucidate.unpack(relucidate.data.regions.groups.model).values[1]")


def test_paper_has_the_chosen_number(browser: Any, ruled: Path) -> None:
    browser = opened(browser, ruled)
    browser.execute_script(PICK, "2")
    browser.execute_script("relucidate.select('group', null)")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert browser.execute_script(SHOWN) == ["4", "4"]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert browser.execute_script(SHOWN) == ["2", "2"]


def test_without_scripts_the_chosen_number_is_there(browser: Any, ruled: Path) -> None:
    browser = opened(browser, ruled, script=False)
    document = browser.execute_cdp_cmd("DOM.getDocument", {"depth": 0})["root"]["nodeId"]

    def styles(selector: str) -> list[str]:
        nodes = browser.execute_cdp_cmd("DOM.querySelectorAll", {"nodeId": document, "selector": selector})["nodeIds"]
        browser.execute_cdp_cmd("DOM.enable", {})
        browser.execute_cdp_cmd("CSS.enable", {})
        found = [browser.execute_cdp_cmd("CSS.getComputedStyleForNode", {"nodeId": n})["computedStyle"] for n in nodes]
        return [next(p["value"] for p in style if p["name"] == "display") for style in found]

    assert styles(".simple-panel[data-models='4']") == ["block", "block"]
    assert set(styles(".simple-panel:not([data-models='4'])")) == {"none"}
    assert set(styles("#simple-controls, .simple-filter")) == {"none"}
    opened(browser, ruled)


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_fits_at_every_number(browser: Any, ruled: Path, width: int, scheme: str) -> None:
    browser = opened(browser, ruled, width, scheme)
    for models in ("1", "2", "3", "4"):
        browser.execute_script(PICK, models)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.get_log("browser") == []
