"""The chapter on conceptual soundness in a browser: what is linked in it is marked everywhere."""

from pathlib import Path
from typing import Any

import pytest

from browsing import click, opened
from relucidate.html import report
from test_html import SPECIMENS

pytestmark = [pytest.mark.slow, pytest.mark.browser]


def linked(browser: Any, part: str) -> list[str]:
    told = "e => e.dataset.region ?? 'feature ' + e.dataset.feature"
    return list(browser.execute_script(f"return [...document.querySelectorAll('#{part} .linked')].map({told})"))


def test_a_region_against_a_sign_is_found_in_every_profile(browser: Any, tmp_path: Path) -> None:
    u = SPECIMENS["binary"]()
    opened(browser, report(u, tmp_path / "report.html", expected={"x1": "+"}))
    link = browser.execute_script(
        "return [...document.querySelectorAll('#monotonicity .violated .region-link')].map(e => e.dataset.region)"
    )[0]
    assert u.coef[int(link), 0, 1] < 0
    click(browser, "#monotonicity .violated .region-link")
    found = linked(browser, "profiles")
    assert len(found) == len(browser.execute_script("return document.querySelectorAll('#profiles figure')")) == 5
    assert set(found) == {link}
    on_top = browser.execute_script(
        "return [...document.querySelectorAll('#profiles svg')].map(svg => svg.lastElementChild.dataset.region)"
    )
    assert on_top == found


def test_a_feature_is_found_in_every_part(browser: Any, tmp_path: Path) -> None:
    opened(browser, report(SPECIMENS["five classes"](), tmp_path / "report.html"))
    feature = browser.execute_script("return document.querySelector('#coefficients tbody tr').dataset.feature")
    click(browser, "#coefficients tbody tr")
    for part in ("importance", "coefficients", "effects", "profiles", "pairs", "monotonicity"):
        assert set(linked(browser, part)) == {f"feature {feature}"}, part


def test_all_parts_show_the_output_chosen(browser: Any, tmp_path: Path) -> None:
    opened(browser, report(SPECIMENS["five classes"](), tmp_path / "report.html"))
    browser.execute_script("relucidate.select('output', 3)")
    for part in ("importance", "coefficients", "effects", "profiles", "pairs", "monotonicity"):
        shown = browser.execute_script(
            f"return [...document.querySelectorAll('#{part} [data-output]')].filter(e => !e.hidden).map(e => e.dataset.output)"
        )
        assert shown == ["3"], part
    assert not [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
