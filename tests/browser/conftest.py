"""A browser for the tests of the page, without a network, and what they do in it."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

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


def needed(what: str, *names: str) -> str:
    """Return the path of a program, or fail: asking for these tests means wanting them to run."""
    for name in names:
        if path := shutil.which(name):
            return path
    pytest.fail(
        f"These tests need {what} ({' or '.join(names)}), which is not installed. On Debian: apt-get install {names[0]}"
    )


@pytest.fixture(scope="session")
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
