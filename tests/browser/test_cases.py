"""The chapter on one case in a browser: what the page computes is what the library computes."""

from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from browsing import click, opened, typed
from relucidate import interpret
from relucidate.features import Feature, Features
from relucidate.html import content, report
from relucidate.html.cases import cases
from relucidate.html.page import render
from relucidate.html.subject import Subject
from relucidate.layers import Activation
from relucidate.network import Network
from relucidate.paths import Encoded
from relucidate.unwrapping import Unwrapped, unwrap
from small_networks import SPECIMENS, TOWNS, mixed, random_network

pytestmark = [pytest.mark.slow, pytest.mark.browser]

TOLERANCE = 1e-9  # the page and numpy add up in another order; both are right to about 1e-13 here
POINTS = 60


def leaky(m: int) -> Activation:
    return Activation.of_kind("leaky_relu", m, 0.1)


def clipped(m: int) -> Activation:
    return Activation.of_kind("clip", m, -0.5, 0.5)


def balanced(net: Network) -> Network:
    """Return the network with its median decision taken off, so that both sides of 0 are met."""
    middle = np.median(net.decision(np.random.default_rng(1).normal(size=(500, net.n_features))), axis=0)
    return replace(net, layers=(*net.layers[:-1], replace(net.layers[-1], bias=net.layers[-1].bias - middle)))


NETWORKS: dict[str, Network] = {
    "binary deep": balanced(random_network([4, 12, 10, 8, 1], seed=1, link="logit")),
    "softmax": balanced(random_network([4, 10, 10, 5], seed=4, link="softmax")),
    "softmax of eleven": balanced(random_network([3, 9, 11], seed=5, link="softmax")),
    "regression": random_network([3, 12, 1], seed=2),
    "leaky": balanced(random_network([3, 8, 8, 1], seed=10, kind=leaky, link="logit")),
    "clip": balanced(random_network([3, 8, 8, 1], seed=12, kind=clipped, link="logit")),
    "mixed": random_network([4, 12, 12, 2], seed=13, kind=mixed),
    "two logits": balanced(random_network([4, 9, 2], seed=6, link="logit")),
    "log": random_network([3, 6, 1], seed=3, link="log"),
    "linear": balanced(random_network([3, 1], seed=3, link="logit")),
    "one feature": balanced(random_network([1, 8, 1], seed=3, link="logit")),
    "sparse": SPECIMENS["sparse"],
    "float32": random_network(
        [4, 9, 1], seed=8, link="logit", draw=lambda s: np.random.default_rng(s[0]).normal(size=s).astype("f4")
    ),
}


def page(u: Unwrapped, folder: Path, rows: int = 0, test: Unwrapped | None = None) -> Path:
    """Return a page with this chapter alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(content, "_CHAPTERS", (("one case", cases),))
        made = content.page(Subject(u, rows=rows, test=test))
    path = folder / "page.html"
    path.write_text(render(made), encoding="utf-8")
    return path


@pytest.fixture(scope="module", params=NETWORKS)
def known(
    request: pytest.FixtureRequest, browser: Any, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Unwrapped, Any, Any]:
    """A network that was unwrapped, points, and the browser with its page."""
    net = NETWORKS[request.param]
    rng = np.random.default_rng(7)
    u = unwrap(net, rng.normal(size=(800, net.n_features)))
    points = rng.normal(size=(POINTS, net.n_features)) * 1.5
    opened(browser, page(u, tmp_path_factory.mktemp("case")))
    assert browser.get_log("browser") == []
    return u, points, browser


def asked(browser: Any, code: str, *arguments: Any) -> Any:
    """Return what an expression of the page's script gives, for each of the points x."""
    lists = [a.tolist() if isinstance(a, np.ndarray) else a for a in arguments]
    head = "const [points, ...more] = arguments, net = relucidate.network, f = (v) => Float64Array.from(v);"
    return browser.execute_script(f"{head} return points.map((x, i) => {{ {code} }});", *lists)


def test_decisions_and_predictions_are_the_networks(known: tuple[Unwrapped, Any, Any]) -> None:
    u, points, browser = known
    got = asked(browser, "const d = net.trace(f(x)).decision; return [[...d], [...net.predicted(d)]]", points)
    np.testing.assert_allclose([g[0] for g in got], u.network.decision(points), rtol=TOLERANCE, atol=1e-12)
    np.testing.assert_allclose([g[1] for g in got], u.network.predict(points), rtol=TOLERANCE, atol=1e-12)


def test_patterns_and_regions_are_those_of_the_table(known: tuple[Unwrapped, Any, Any]) -> None:
    u, points, browser = known
    rows = np.concatenate([points, u.sample.x[:60]])
    got = asked(browser, "const t = net.trace(f(x)); return [[...t.packed], relucidate.cases.regionAt(t.packed)]", rows)
    packed = np.array([g[0] for g in got], dtype=np.uint8).reshape(len(rows), -1)
    np.testing.assert_array_equal(packed, u.network.patterns(rows).packed)
    region = u.assign(rows)
    large = (region >= 0) & (u.count[region] >= 5)  # the page holds no pattern that would show where single rows are
    assert [g[1] for g in got] == np.where(large, region, -1).tolist()
    assert large[POINTS:].any()


def test_single_rows_bring_all_regions(browser: Any, tmp_path: Path) -> None:
    u = unwrap(NETWORKS["softmax"], np.random.default_rng(7).normal(size=(800, 4)))
    opened(browser, page(u, tmp_path, rows=1))
    rows = np.random.default_rng(8).normal(size=(POINTS, 4)) * 1.5
    got = asked(browser, "return relucidate.cases.regionAt(net.trace(f(x)).packed)", rows)
    assert got == u.assign(rows).tolist()
    assert (u.count[got] < 5).any()
    assert -1 in got
    browser.execute_script("relucidate.cases.show(arguments[0])", rows[got.index(-1)].tolist())
    assert "none of the rows uses" in browser.find_element("id", "case-region").text


def test_nearest_pattern_is_nearest(known: tuple[Unwrapped, Any, Any]) -> None:
    u, points, browser = known
    got = asked(browser, "return relucidate.cases.nearestRegion(net.trace(f(x)).packed)", points)
    bits = u.network.patterns(points).bits()
    apart = (bits[:, None] != u.patterns.bits()[None]).sum(axis=2)
    apart[:, u.count[u.region_of_pattern] < 5] = u.network.n_bits + 1
    assert [g["bits"] for g in got] == apart.min(axis=1).tolist()
    for g, distances in zip(got, apart, strict=True):
        assert distances[u.region_of_pattern == g["region"]].min() == distances.min()


def test_local_models_and_facets_are_those_of_explain(known: tuple[Unwrapped, Any, Any]) -> None:
    u, points, browser = known
    code = """const m = net.compose(net.trace(f(x)), f(more[0])), n = m.nearest;
      return [m.coef.map((w) => [...w]), [...m.intercept], n ? [n.distance, n.layer, n.neuron] : null]"""
    got = asked(browser, code, points, u.sample.sd)
    coef, intercept = u.network.affine_maps(u.network.patterns(points))
    np.testing.assert_allclose([g[0] for g in got], coef, rtol=TOLERANCE, atol=1e-12)
    np.testing.assert_allclose([g[1] for g in got], intercept, rtol=TOLERANCE, atol=1e-12)
    e = interpret.explain(u, points)
    for i, (_, _, nearest) in enumerate(got):
        if nearest is None:
            assert np.isinf(e.distance[i])
        else:
            assert nearest[0] == pytest.approx(e.distance[i], rel=1e-7)
            assert nearest[1:] == [e.facet_layer[i], e.facet_neuron[i]]


def test_paths_have_the_same_breakpoints_and_attributions(known: tuple[Unwrapped, Any, Any]) -> None:
    u, points, browser = known
    mean = u.sample.mean
    code = """const a = f(more[0]), b = f(x), pieces = net.path(a, b), all = [...Array(net.K).keys()];
      const middle = net.link === "softmax" ? 1 / net.K : 0;
      const mixes = all.map((k) => f(all.map((c) => (c === k) - middle)));
      const sums = mixes.map((m) => [...net.integrated(a, b, pieces, m)]);
      return [[...pieces.map((p) => p.start), 1], pieces.map((p) => [...p.packed]), sums]"""
    got = asked(browser, code, points, mean)
    p = interpret.path(u, "mean", points)
    integrated = interpret.integrated_gradients(u, points).values
    for i, (t, packed, attributed) in enumerate(got):
        pieces = slice(p.offsets[i], p.offsets[i + 1])
        np.testing.assert_allclose(t, [*p.start[pieces], 1.0], rtol=1e-9, atol=1e-12)
        np.testing.assert_array_equal(np.array(packed).reshape(len(packed), -1), p.patterns.packed[pieces])
        np.testing.assert_allclose(attributed, integrated[i], rtol=1e-9, atol=1e-11)


def sides(net: Network, x: Any, k: int) -> Any:
    decision = net.decision(x)
    return decision.argmax(axis=1) if net.link == "softmax" else (decision[:, k] > 0).astype(int)


def test_single_changes_change_the_decision_there_and_not_before(known: tuple[Unwrapped, Any, Any]) -> None:
    u, points, browser = known
    net = u.network
    if not net.is_classifier:
        assert "decides nothing" in browser.find_element("id", "case-changes").text
        return
    k = min(net.n_outputs, 10) - 1
    code = "return relucidate.data.case.columns.map((_, g) => relucidate.cases.single(g, x, more[0]))"
    low, high = (np.sort(u.sample.x, axis=0)[rows].mean(axis=0) for rows in (slice(5), slice(-5, None)))
    found = 0
    for x, changes in zip(points, asked(browser, code, points, k), strict=True):
        here = sides(net, x[None], k)[0]
        for g, change in enumerate(changes):
            reach = np.linspace(min(low[g], x[g]), max(high[g], x[g]), 4001)
            line = np.tile(x, (len(reach), 1))
            line[:, g] = reach
            differs = sides(net, line, k) != here
            if change is None:
                assert not differs.any()
                continue
            found += 1
            value = change["value"]
            assert change["size"] == pytest.approx(abs(value - x[g]) / u.sample.sd[g], rel=1e-12)
            assert reach[0] - 1e-12 <= value <= reach[-1] + 1e-12
            step = 1e-7 * np.sign(value - x[g])
            around = np.tile(x, (2, 1))
            around[:, g] = value - step, value + step
            before, after = sides(net, around, k)
            assert before == here
            assert after == change["side"] != here
            nearer = np.abs(reach - x[g]) < abs(value - x[g]) - 1e-9
            assert not differs[nearer].any()
    assert found > 0


def test_single_changes_are_listed_nearest_first(known: tuple[Unwrapped, Any, Any]) -> None:
    u, points, browser = known
    if not u.network.is_classifier:
        assert "decides nothing" in browser.find_element("id", "case-changes").text
        return
    said = 0
    for x in points[:12]:
        browser.execute_script("relucidate.cases.show(arguments[0])", x.tolist())
        code = "return relucidate.data.case.columns.map((_, g) => relucidate.cases.single(g, arguments[0], 0))"
        found = [f for f in browser.execute_script(code, x.tolist()) if f]
        found.sort(key=lambda f: (f["size"], f["g"]))
        expected = [[x[f["g"]], f["value"], f["size"], None] for f in found]
        waited(browser, partial(listed, browser, expected))
        names = browser.execute_script(
            "return [...document.querySelectorAll('#changes-table tbody th')].map(h => h.textContent)"
        )
        assert names == [u.network.feature_names[f["g"]] for f in found]
        said += len(found)
    assert said > 0


def listed(browser: Any, expected: Any) -> bool:
    text = browser.find_element("id", "changes-status").text
    n = len(expected)
    return numbers(browser, "#changes-table tbody") == expected and text.startswith(f"{n} of " if n else "No column")


def numbers(browser: Any, selector: str) -> list[list[float | None]]:
    """Return the full values of the cells of a table."""
    code = """const number = (c) => (c.dataset.value === undefined ? null : Number(c.dataset.value));
      return [...document.querySelectorAll(arguments[0] + " tr")].map((r) => [...r.cells].slice(1).map(number))"""
    rows: list[list[float | None]] = browser.execute_script(code, selector)
    return rows


def test_panel_shows_what_the_network_says(known: tuple[Unwrapped, Any, Any]) -> None:
    u, points, browser = known
    net = u.network
    x = points[3]
    for g, value in enumerate(x):
        typed(browser, f"case-input-{g}", repr(float(value)))
    K = min(net.n_outputs, 10)
    shown = numbers(browser, "#case-outputs tbody")
    np.testing.assert_allclose([row[0] for row in shown[:K]], net.decision(x[None])[0, :K], rtol=TOLERANCE)
    if net.link != "identity":
        np.testing.assert_allclose([row[-1] for row in shown[:K]], net.predict(x[None])[0, :K], rtol=TOLERANCE)
    region = int(u.assign(x[None])[0])
    said = browser.find_element("id", "case-region").text
    large = region >= 0 and u.count[region] >= 5
    assert (f"region {region}, {u.count[region]}" if large else "fewer than 5 rows of the table use") in said
    assert browser.find_element("id", "case-summary").get_attribute("role") == "status"


def test_bars_add_up_from_the_mean_to_the_case(known: tuple[Unwrapped, Any, Any]) -> None:
    u, points, browser = known
    x = points[5]
    browser.execute_script("relucidate.cases.show(arguments[0])", x.tolist())
    bars = browser.execute_script(
        "return [...document.querySelectorAll('#case-waterfall rect')].map(r => Number(r.dataset.value))"
    )
    e = interpret.explain(u, x)
    base = e.network.decision(u.sample.mean[None])[0, 0]
    assert bars[0] == pytest.approx(e.mean_part[0, 0] - base, rel=1e-9, abs=1e-12)
    centred = e.centred[0, 0]
    np.testing.assert_allclose(bars[1:], centred[np.argsort(-np.abs(centred), kind="stable")], rtol=1e-9, atol=1e-12)
    assert base + sum(bars) == pytest.approx(e.decision[0, 0], rel=1e-9, abs=1e-12)


def test_way_and_its_sum_are_shown(known: tuple[Unwrapped, Any, Any]) -> None:
    u, points, browser = known
    x = points[8]
    browser.execute_script("relucidate.cases.show(arguments[0])", x.tolist())
    total = interpret.integrated_gradients(u, x)
    waited(browser, lambda: numbers(browser, "#path-table tfoot")[1][1] == pytest.approx(total.output[0, 0], rel=1e-9))
    (*_, sum_), (first, _, difference) = numbers(browser, "#path-table tfoot")
    assert first == pytest.approx(total.base[0], rel=1e-9)
    assert sum_ == pytest.approx(difference, rel=1e-9, abs=1e-12)
    parts = [row[-1] for row in numbers(browser, "#path-table tbody")]
    assert sorted(parts) == pytest.approx(sorted(total.grouped[0, 0]), rel=1e-9, abs=1e-12)
    n = interpret.path(u, "mean", x).n_pieces
    text = browser.find_element("id", "path-summary").text
    assert f"crosses {n} pieces" in text if n > 1 else "in one region" in text
    points_drawn = browser.execute_script(
        "return document.querySelector('#path-figure polyline').getAttribute('points').split(' ').length"
    )
    assert points_drawn == n + 1


def waited(browser: Any, ready: Any) -> None:
    """Wait until the page, which computes what takes longer a moment later, has it."""
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 10, 0.05).until(lambda _: ready())


# ---------------------------------------------------------------- columns that are no numbers


def mixed_features() -> Network:
    items = (
        *TOWNS,
        Feature("owner=1", "owner", "level", (1.0,)),
        Feature("plan=x", "plan", "level", ("x",)),
        Feature("plan=y", "plan", "level", ("y",)),
        Feature("count", "count"),
        Feature("count=7", "count", "level", (7.0,)),
        Feature("count other", "count", "other", (7.0,)),
    )
    names = ("age", "town", "debt", "owner", "plan", "count")
    features = Features(items, names, True, (("plan", ("x", "y")), ("owner", (0.0, 1.0))))
    scale = np.array([0.05, 1, 1, 1, 1, 1, 1, 1, 1, 0.1, 1, 1])
    net = random_network([12, 10, 8, 1], seed=21, link="logit")
    first = replace(net.layers[0], weight=net.layers[0].weight * scale)
    net = replace(net, layers=(first, *net.layers[1:]), features=features, classes=("no", "yes"))
    middle = np.median(net.decision(mixed_table(600)), axis=0)
    return replace(net, layers=(*net.layers[:-1], replace(net.layers[-1], bias=net.layers[-1].bias - middle)))


def mixed_table(n: int) -> pd.DataFrame:
    rng = np.random.default_rng(2)
    age = rng.integers(18, 80, size=n).astype(float)
    age[rng.random(n) < 0.2] = np.nan
    return pd.DataFrame(
        {
            "age": age,
            "town": rng.choice(["A", "B", "C", "D"], size=n),
            "debt": rng.normal(size=n),
            "owner": rng.integers(0, 2, size=n),
            "plan": rng.choice(["x", "y"], size=n),
            "count": rng.integers(5, 9, size=n).astype(float),
        }
    )


@pytest.fixture
def levels(browser: Any, tmp_path: Path) -> tuple[Unwrapped, Any]:
    u = unwrap(mixed_features(), mixed_table(600))
    return u, opened(browser, page(u, tmp_path))


def chosen(browser: Any, id: str, text: str) -> None:
    code = """const e = document.getElementById(arguments[0]);
      const o = [...e.options].find((o) => o.textContent === arguments[1]);
      e.value = o.value; e.dispatchEvent(new Event('change'))"""
    browser.execute_script(code, id, text)


def test_levels_and_missing_values_are_encoded_as_the_library_does(levels: tuple[Unwrapped, Any]) -> None:
    u, browser = levels
    towns = ("A", "B", "C", "another level")
    for age, town, owner, plan, n in product((30.0, None), towns, ("0.0", "1.0"), ("x", "y"), (7, 6)):
        checked = browser.find_element("css selector", "#case-panel [type=checkbox]").is_selected()
        if age is None and not checked:
            click(browser, "#case-panel [type=checkbox]")
        elif age is not None:
            typed(browser, "case-input-0", "30")
        chosen(browser, "case-input-1", town)
        typed(browser, "case-input-2", "-0.75")
        chosen(browser, "case-input-3", owner)
        chosen(browser, "case-input-4", plan)
        typed(browser, "case-input-5", str(n))
        row = {
            "age": [age],
            "town": [town],
            "debt": [-0.75],
            "owner": [float(owner)],
            "plan": [plan],
            "count": [float(n)],
        }
        frame = pd.DataFrame(row).astype({"age": float})
        ((decision, probability),) = numbers(browser, "#case-outputs tbody")
        assert decision == pytest.approx(u.network.decision(frame)[0, 0], rel=TOLERANCE)
        assert probability == pytest.approx(u.network.predict(frame)[0, 0], rel=TOLERANCE)


def test_levels_that_change_the_decision_are_found(levels: tuple[Unwrapped, Any]) -> None:
    u, browser = levels
    net, rows = u.network, u.sample.x[:80]
    plain = replace(net.features, items=tuple(replace(item, impute=None) for item in net.features.items))
    e = interpret.explain(replace(u, network=replace(net, features=plain)), Encoded(rows))
    code = """const t = net.trace(f(x)), scale = f(more[0]);
      if (x[1]) scale[0] = 0;
      const changes = relucidate.data.case.columns.map((_, g) => relucidate.cases.single(g, x, 0));
      return [changes, net.compose(t, scale).nearest.distance]"""
    scale = np.where([item.kind == "value" for item in net.features.items], u.sample.sd, 0)
    towns = {"A": (1, 0, 0), "B": (0, 1, 0), "C": (0, 1, 0), "another level": (0, 0, 1)}
    found = 0
    for i, (changes, distance) in enumerate(asked(browser, code, rows, scale)):
        if rows[i, 1] == 0:
            assert distance == pytest.approx(e.distance[i], rel=1e-7)
        said = {level["text"] for level in (changes[1] or {"levels": []})["levels"]}
        expected = set()
        for level, indicators in towns.items():
            other = rows[i].copy()
            other[2:5] = indicators
            there = net.trace(other[None], patterns=False).decision[0, 0]
            if (there > 0) != (e.decision[i, 0] > 0):
                expected.add(level)
        assert said == expected
        found += len(said)
        assert changes[0] is None or rows[i, 1] == 0  # a number that stands for a missing value does not move
    assert found > 0


def test_mean_of_a_category_is_called_a_mixture(levels: tuple[Unwrapped, Any]) -> None:
    _, browser = levels
    chosen(browser, "case-pick", "the mean row of the table")
    picked = browser.execute_script(
        "const s = document.getElementById('case-input-1'); return s.options[s.selectedIndex].textContent"
    )
    assert picked == "a mixture"
    assert browser.find_element("css selector", "#case-panel [type=checkbox]").get_property("indeterminate")


# ---------------------------------------------------------------- what a reader does


def test_a_case_is_picked_changed_and_reset(browser: Any, tmp_path: Path) -> None:
    net = NETWORKS["binary deep"]
    rng = np.random.default_rng(0)
    u, test = (unwrap(net, rng.normal(size=(n, 4))) for n in (500, 90))
    opened(browser, page(u, tmp_path, rows=7, test=test))
    options = browser.execute_script("return [...document.getElementById('case-pick').options].map(o => o.textContent)")
    single = [o for o in options if o.startswith("row ")]
    assert single == [f"row {r} of the test rows" for r in np.linspace(0, 89, 7).round().astype(int)]
    chosen(browser, "case-pick", single[2])
    row = test.sample.x[int(np.linspace(0, 89, 7).round()[2])]
    decision = net.decision(row[None])[0, 0]
    assert numbers(browser, "#case-outputs tbody")[0][0] == pytest.approx(decision, rel=TOLERANCE)
    typed(browser, "case-input-1", "99")
    assert "Outside the range of the table: x1." in browser.find_element("id", "case-outside").text
    assert numbers(browser, "#case-outputs tbody")[0][0] != pytest.approx(decision, rel=1e-6)
    click(browser, "#case-reset")
    assert numbers(browser, "#case-outputs tbody")[0][0] == pytest.approx(decision, rel=TOLERANCE)
    typed(browser, "case-input-1", "")
    assert browser.find_element("id", "case-input-1").get_attribute("aria-invalid") == "true"
    assert numbers(browser, "#case-outputs tbody")[0][0] == pytest.approx(decision, rel=TOLERANCE)


def test_region_of_a_case_is_selected_in_all_chapters(browser: Any, tmp_path: Path) -> None:
    u = unwrap(NETWORKS["binary deep"], np.random.default_rng(0).normal(size=(500, 4)))
    opened(browser, report(u, tmp_path / "report.html"))
    assert browser.get_log("browser") == []
    chosen(browser, "case-pick", f"typical of region 2: the mean of its {u.count[2]} rows")
    click(browser, "#case-region button")
    assert browser.execute_script("return relucidate.state.region") == 2
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_overflows(browser: Any, tmp_path: Path, width: int) -> None:
    names = ("<script>document.title='broken'</script>", '"><img src=x>', "abc\u202edesrever", "L" * 10_000)
    net = replace(NETWORKS["softmax"], features=Features.plain(4, names))
    opened(browser, page(unwrap(net, np.random.default_rng(0).normal(size=(500, 4))), tmp_path, rows=5), width)
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    assert browser.execute_script("return document.querySelectorAll('img').length") == 0
    assert "broken" not in browser.title


@pytest.mark.parametrize("name", ["softmax of eleven", "binary deep", "mixed"])
def test_nothing_is_cut_on_paper(browser: Any, tmp_path: Path, name: str) -> None:
    net = NETWORKS[name]
    opened(
        browser, page(unwrap(net, np.random.default_rng(0).normal(size=(500, net.n_features))), tmp_path, rows=8), 680
    )
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    wide = browser.execute_script(
        "return [...document.querySelectorAll('.chapter figure svg, .chapter table')].filter(e => e.getClientRects().length"
        " && e.getBoundingClientRect().right > document.documentElement.clientWidth + 1).map(e => e.closest('section').id)"
    )
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert wide == []


def test_a_hyperplane_is_said_to_be_in_doubt(browser: Any, tmp_path: Path) -> None:
    net = SPECIMENS["twins"]
    second, last = net.layers[1:]
    free = np.concatenate([np.ones((1, 8)), np.zeros((1, 8))], axis=1)  # beside differences that are 0 but for rounding
    wider = replace(
        second,
        weight=np.concatenate([second.weight, free]),
        bias=np.zeros(9),
        activation=Activation.of_kind("relu", 9),
    )
    net = replace(net, layers=(net.layers[0], wider, replace(last, weight=np.ones((1, 9)))))
    u = unwrap(net, np.random.default_rng(0).normal(size=(500, 5)))
    opened(browser, page(u, tmp_path))
    assert "float64 cannot tell the side" in browser.find_element("id", "case-region").text
    v = unwrap(NETWORKS["binary deep"], np.random.default_rng(0).normal(size=(500, 4)))
    opened(browser, page(v, tmp_path))
    assert "float64" not in browser.find_element("id", "case-region").text


def test_on_a_breakpoint_a_neuron_is_off(browser: Any, tmp_path: Path) -> None:
    net = SPECIMENS["zero biases"]
    u = unwrap(net, np.random.default_rng(0).integers(-1, 2, size=(200, 2)).astype(float))
    opened(browser, page(u, tmp_path))
    rows = np.array([[0.0, 0.0], [2.0, -1.0], [1.0, 1.0], [-0.0, 1.0]])
    code = "const t = net.trace(f(x)); return [[...t.packed], [...net.compose(t, f([1, 1])).coef[0]], net.inDoubt(t)]"
    got = asked(browser, code, rows)
    patterns = net.patterns(rows)
    np.testing.assert_array_equal([g[0] for g in got], patterns.packed)
    np.testing.assert_array_equal([g[1] for g in got], net.affine_maps(patterns)[0][:, 0])
    assert not got[0][2]  # sums of zeros round nothing


def test_without_scripts_the_cases_are_there(browser: Any, tmp_path: Path) -> None:
    u = unwrap(NETWORKS["binary deep"], np.random.default_rng(0).normal(size=(500, 4)))
    opened(browser, page(u, tmp_path), script=False)
    text = browser.find_element("id", "case").text
    assert "Prepared cases" in text
    assert not browser.find_element("id", "case-panel").is_displayed()
    assert (
        len([s for s in browser.find_elements("css selector", ".case-static svg.waterfall") if s.is_displayed()]) == 3
    )
