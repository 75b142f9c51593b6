"""What needs a browser is marked so, and is left out of the ordinary run."""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "browser: opens pages in Chromium; needs chromium, its driver and selenium")
