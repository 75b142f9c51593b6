"""Which figures are held back, so that no row can be had from those that are shown."""

import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from relucidate.html.told import end, quantile, told
from relucidate.unwrapping import Unwrapped, unwrap
from test_html import network, page_of


@given(st.lists(st.integers(0, 12), min_size=1, max_size=12), st.integers(1, 6), st.integers(0, 4))
def test_what_is_left_of_all_rows_is_nothing_or_enough(counts: list[int], least: int, others: int) -> None:
    others = min(others, least - 1)
    shown = told(np.array(counts), least, others)
    assert (np.array(counts)[shown] >= least).all()
    rest = others + sum(n for n, one in zip(counts, shown, strict=True) if not one)
    assert rest == 0 or rest >= least or not shown.any()
    # no more is held back than must be
    able = np.array(counts) >= least
    assert (able & ~shown).sum() <= 1
    if (able & ~shown).any():
        assert rest - np.array(counts)[able & ~shown][0] in range(1, least)
        assert np.array(counts)[able & ~shown][0] == np.array(counts)[able].min()


def test_the_last_of_equal_groups_joins_the_rest() -> None:
    assert told(np.array([9, 7, 7, 2]), 5).tolist() == [True, True, False, False]
    assert told(np.array([9, 7, 7, 2]), 1).tolist() == [True] * 4
    assert told(np.array([2, 1]), 5).tolist() == [False, False]


@given(arrays(float, st.integers(5, 30), elements=st.floats(-100, 100)), st.booleans())
def test_ends_are_means_of_the_outermost_values(values: Any, highest: bool) -> None:
    kept = np.copy(values)
    part = np.sort(values)[-5:] if highest else np.sort(values)[:5]
    assert end(values, 5, highest) == pytest.approx(part.mean(), abs=1e-9)
    assert end(values, 1, highest) == (values.max() if highest else values.min())
    np.testing.assert_array_equal(values, kept)


def test_quantiles_are_about_what_they_are_called() -> None:
    x = np.sort(np.random.default_rng(1).normal(size=1000))
    below = (np.arange(1000) + 0.5) / 1000
    for level in (0.05, 0.5, 0.95):
        assert quantile(x, below, level, 1) == pytest.approx(np.quantile(x, level, method="hazen"))
        found = quantile(x, below, level, 5)
        assert abs((x < found).mean() - level) < 0.004
        assert np.abs(x - found).min() > 0
    assert quantile(x[:5], below[:5], 0.0, 5) == pytest.approx(x[:5].mean())


# ---------------------------------------------------------------- the whole page


def marked(n: int, d: int, seed: int) -> Any:
    """Values of many digits, none like another."""
    return 123_456.789 + 1000 * np.random.default_rng(seed).normal(size=(n, d))


def table(n: int, d: int = 4) -> tuple[Unwrapped, Any, Any]:
    net = network((d, 8, 1))
    first = net.layers[0]
    weight = np.array(first.weight) / 1000
    moved = type(first)(weight, first.bias - weight.sum(axis=1) * 123_456.789, first.activation, first.name)
    net = type(net)((moved, *net.layers[1:]), net.features)
    X = marked(n, d, n)
    y = 400_000 + 777 * net.predict(X)[:, 0] + marked(n, 1, 9)[:, 0] / 100
    return unwrap(net, X, y), X, y


def numbers(value: Any) -> list[float]:
    """Every number in JSON values, those of text and those of packed arrays among them."""
    if isinstance(value, dict) and set(value) == {"kind", "shape", "base64"}:
        held = np.frombuffer(base64.b64decode(value["base64"]), "<" + value["kind"])
        return held.astype(float).tolist() if value["kind"][0] == "f" else []
    if isinstance(value, dict):
        return [v for item in value.values() for v in numbers(item)]
    if isinstance(value, list):
        return [v for item in value for v in numbers(item)]
    if isinstance(value, str):
        return [float(v.replace(",", "")) for v in re.findall(r"\d[\d,]*\.\d+", value)]
    return [float(value)] if isinstance(value, int | float) else []


@pytest.mark.parametrize(("n", "d"), [(400, 4), (8, 3), (40, 4), (110, 2), (4, 3), (1, 3)])
@pytest.mark.parametrize("n_test", [0, 1, 4, 60])
def test_no_value_of_a_row_is_in_the_page(n: int, d: int, n_test: int, tmp_path: Path) -> None:
    u, X, y = table(n, d)
    test = {"X_test": marked(n_test, d, 77), "y_test": 3 * marked(n_test, 1, 5)[:, 0]} if n_test else {}
    page = page_of(u, tmp_path, **test)
    facts = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    words = [v for _, attributes in page.elements for k, v in attributes.items() if k in ("aria-label", "title")]
    found = np.array([v for v in numbers([page.data, facts, page.text, words]) if v > 1e4])
    values = np.concatenate([X.ravel(), y, *(np.ravel(v) for v in test.values())])
    # among few values means come close to none by chance
    close = np.abs(found[:, None] - values) / values < (2e-8 if len(values) < 100 else 1e-10)
    assert not close.any(), found[close.any(axis=1)]


def test_no_row_is_what_all_regions_less_those_shown_leave(tmp_path: Path) -> None:
    u, X, y = table(400, 2)
    small = np.flatnonzero(u.count[u.region_of] < 5)
    kept = np.setdiff1d(np.arange(400), small[1:])
    u = unwrap(u.network, X[kept], y[kept])
    assert u.count[u.count < 5].tolist() == [1]
    page = page_of(u, tmp_path)
    facts = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    of = facts["chapters"]["trust"]["performance"]["sets"][0]
    known = of["regions"]["region"]
    assert u.n_rows - u.count[known].sum() >= 5
    told_means = [
        r["region"] for r in facts["chapters"]["local"]["regions"]["largest"] if r["predicted_mean"] is not None
    ]
    assert u.n_rows - u.count[told_means].sum() >= 5
    assert page.data["regions"]["means"]["shape"][1] == len(told_means)
    assert any("Nor of the next larger one" in text for text in facts["chapters"]["limitations"]["limits"])


def test_a_curve_of_losses_has_no_step_of_a_single_row(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    net = network((3, 8, 1))
    X, T = rng.normal(size=(300, 3)), rng.normal(size=(120, 3))
    page_of(unwrap(net, X, net.predict(X)[:, 0]), tmp_path, X_test=T, y_test=rng.normal(size=120))
    part = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["chapters"]["shift"]["extrapolation"]
    rejected = np.round(np.array(part["calibration"]["share"]) * 120)
    assert len(rejected) > 5
    assert (np.diff(rejected) >= 5).all()
    assert 120 - rejected[-1] >= 5
    page_of(unwrap(net, X, net.predict(X)[:, 0]), tmp_path, X_test=T[:40], y_test=rng.normal(size=40))
    part = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["chapters"]["shift"]["extrapolation"]
    assert part["calibration"] is None


@pytest.mark.parametrize(("n", "n_test"), [(1, 3), (1, 30), (4, 4), (300, 1), (300, 4)])
def test_too_few_rows_are_not_compared_and_it_is_said(n: int, n_test: int, tmp_path: Path) -> None:
    u, *_ = table(n)
    page = page_of(u, tmp_path, X_test=marked(n_test, 4, 3), y_test=marked(n_test, 1, 4)[:, 0])
    facts = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert "shift" not in facts["chapters"]
    assert f"The {n_test} test row" in page.text
    assert "nan" not in page.text
    assert ("MSE" in json.dumps(facts["summary"])) == (n >= 5)


def test_values_that_spoil_a_chapter_leave_the_others(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 4))
    X[:, 1] *= 1e200
    page = page_of(unwrap(network((4, 8, 1), "logit"), X, X[:, 0] > 0), tmp_path)
    facts = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert "about" in facts["chapters"]
    assert set(facts["missing"]) >= {"Conceptual soundness", "Local models"}
    assert page.text.count("This chapter is missing: Values of 'x1' reach") == len(facts["missing"])
    assert "Conceptual soundness: this chapter could not be made." in page.text
    page_of(unwrap(network((4, 8, 1), "logit"), rng.normal(size=(300, 4))), tmp_path)
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["missing"] == {}


def test_a_finding_is_told_once(tmp_path: Path) -> None:
    u = unwrap(network((6, 30, 30, 1), "logit"), np.random.default_rng(0).normal(size=(800, 6)))
    assert (u.count == 1).mean() > 0.3
    page_of(u, tmp_path)
    found = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["summary"]["findings"]
    assert len([f for f in found if f["about"] == "single rows"]) == 1


def test_threads_and_hashes_change_no_byte(tmp_path: Path) -> None:
    script = """
import sys
import numpy as np
from relucidate.html import report
from relucidate.unwrapping import unwrap
from test_html import network
X = np.random.default_rng(0).normal(size=(20_000, 9))
u, test = (unwrap(network((9, 8, 1), "logit"), x, x[:, 0] > 0) for x in (X[:12_000], X[12_000:] + 0.1))
report(u, sys.argv[1], X_test=test)
"""
    for threads in ("1", "2"):
        (tmp_path / threads).mkdir()
        limits = {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads, "PYTHONHASHSEED": threads}
        path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
        subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / threads / "report.html")],
            env={**os.environ, **limits, "PYTHONPATH": path},
            check=True,
        )
    for name in ("report.html", "report.json"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()
