"""The chapter on one case: what the page's own HTML says, what the script is given, and that no single row shows."""

import base64
import json
import re
from dataclasses import replace
from html import unescape
from typing import Any

import numpy as np
import pandas as pd
import pytest

from relucidate import diagnose, interpret, words
from relucidate.features import Feature, Features
from relucidate.html import cases as chapter
from relucidate.html import content, pictures_cases, report
from relucidate.html.cases import cases
from relucidate.html.page import render
from relucidate.html.subject import Subject
from relucidate.network import Network
from relucidate.unwrapping import Unwrapped, unwrap
from small_networks import SPECIMENS, TOWNS, random_network, rows_for

HOSTILE = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "abc\u202edesrever", "L" * 10_000)


def table(net: Network, n: int = 400, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=(n, net.n_features))


def unwrapped(sizes: Any = (4, 8, 6, 1), link: Any = "logit", n: int = 400, **options: Any) -> Unwrapped:
    net = replace(random_network(sizes, seed=3, link=link), **options)
    return unwrap(net, table(net, n))


def page(s: Subject) -> str:
    """Return a page with this chapter alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(content, "_CHAPTERS", (("one case", cases),))
        return render(content.page(s))


def made(s: Subject) -> Any:
    found = cases(s)
    assert found is not None
    return {part.id: part for part in found.parts}


def unpacked(array: dict[str, Any]) -> Any:
    """Read an array as the script does."""
    kind = {"f8": "<f8", "f4": "<f4", "i4": "<i4", "u1": "u1"}[array["kind"]]
    return np.frombuffer(base64.b64decode(array["base64"]), kind).reshape(array["shape"])


# ---------------------------------------------------------------- what the script is given


@pytest.mark.parametrize("name", SPECIMENS)
def test_network_in_the_page_is_the_network(name: str) -> None:
    net = SPECIMENS[name]
    given = chapter._network(net)
    x = a = rows_for(net)
    for layer in given["layers"]:
        weight = layer["weight"]
        if "indptr" in weight:
            start, place, value = (unpacked(weight[key]) for key in ("indptr", "indices", "values"))
            dense = np.zeros((len(start) - 1, layer["k"]))
            for i in range(len(dense)):
                dense[i, place[start[i] : start[i + 1]]] = value[start[i] : start[i + 1]]
        else:
            dense = unpacked(weight).astype(float)
        a = a @ dense.T + unpacked(layer["bias"])
        if layer["act"] is not None:
            b, slopes, offsets = (unpacked(layer["act"][key]) for key in ("breakpoints", "slopes", "offsets"))
            piece = (a[:, :, None] > b[None]).sum(axis=2)
            neuron = np.arange(a.shape[1])
            a = slopes[neuron, piece] * a + offsets[neuron, piece]
    np.testing.assert_allclose(a, net.decision(x), rtol=1e-12, atol=1e-12)


def test_weights_lose_nothing() -> None:
    short = np.array([0.5, -1.25, np.float64(np.float32(0.1))])
    assert chapter._exactly(short)["kind"] == "f4"
    for values in (np.array([0.1]), np.array([1e300]), np.array([1e-300])):
        packed = chapter._exactly(values)
        assert packed["kind"] == "f8"
        assert unpacked(packed).tolist() == values.tolist()


def columns() -> Features:
    items = (
        *TOWNS,
        Feature("plan=x", "plan", "level", ("x",), impute="x"),
        Feature("plan=y", "plan", "level", ("y", float("nan"))),
        Feature("count", "count"),
        Feature("count=7", "count", "level", (7.0,)),
    )
    return Features(items, ("age", "town", "debt", "plan", "count"), True, (("plan", ("x", "y", float("nan"))),))


def frame(n: int) -> pd.DataFrame:
    rng = np.random.default_rng(2)
    age = rng.integers(18, 80, size=n).astype(float)
    age[rng.random(n) < 0.3] = np.nan
    return pd.DataFrame(
        {
            "age": age,
            "town": rng.choice(["A", "B", "C", "D"], size=n),
            "debt": rng.choice([0.0, 1.0], size=n),
            "plan": rng.choice(["x", "y", None], size=n),
            "count": rng.integers(0, 12, size=n).astype(float),
        }
    )


def test_columns_are_encoded_as_the_features_are() -> None:
    features = columns()
    net = replace(random_network([10, 6, 1], seed=1, link="logit"), features=features)
    u = unwrap(net, frame(300))
    data = chapter._columns(features, u, 5)
    row: dict[str, Any] = {"age": 33.0, "town": "D", "debt": 0.25, "plan": "x", "count": 3.0}
    cells = {"missing": None, "another level": "Z"}
    tried = 0
    for g, (column, indices) in enumerate(features.groups):
        options = data[g]["options"] if data[g]["kind"] == "level" else [["missing", data[g]["missing"]]]
        for label, places in options:
            if places is None:
                continue
            given = np.zeros(len(indices))
            for p, value in places:
                given[p] = value
            whole = pd.DataFrame([{**row, column: cells.get(label, label)}]).astype({"age": float})
            np.testing.assert_array_equal(given, features.encode(whole)[0, list(indices)], err_msg=f"{column} {label}")
            tried += 1
    labels = {
        c: [o[0] for o in d["options"]] for (c, _), d in zip(features.groups, data, strict=True) if "options" in d
    }
    assert labels == {"town": ["A", "B", "C", "another level"], "plan": ["x", "y", "missing"]}
    assert tried == 8
    age, debt, number = data[0], data[2], data[4]
    assert (age["value"], age["absent"]) == ([0], [1])
    assert debt["missing"] is None
    assert (debt["low"], debt["high"], debt["pair"]) == (0.0, 1.0, True)
    assert number["levels"] == [[1, [7.0], False]]
    present = np.sort(frame(300)["age"].dropna().to_numpy())
    assert age["low"] == pytest.approx(present[:5].mean())
    assert age["high"] == pytest.approx(present[-5:].mean())


def test_cases_are_the_mean_the_large_regions_and_the_rows_asked_for() -> None:
    u, test = unwrapped(), unwrapped(n=50)
    held = chapter._prepared(Subject(u))
    assert set(held.kinds) == {"mean", "typical"}
    np.testing.assert_array_equal(held.x[0], u.sample.mean)
    for r in range(len(held.labels) - 1):
        inside = u.sample.region == r
        np.testing.assert_allclose(held.x[1 + r], u.sample.x[inside].mean(axis=0), atol=1e-12)
        assert held.labels[1 + r] == f"typical of region {r}: the mean of its {inside.sum()} rows"
    held = chapter._prepared(Subject(u, test=test, rows=6))
    at = [0, 10, 20, 29, 39, 49]
    assert held.labels[-6:] == [f"row {i} of the test rows" for i in at]
    np.testing.assert_array_equal(held.x[-6:], test.sample.x[at])
    held = chapter._prepared(Subject(u, rows=1000))
    assert held.labels[-1] == "row 399 of the table"
    assert held.kinds.count("row") == 400


def test_rows_that_do_not_fit_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chapter, "_ROW_CELLS", 40)
    u = unwrapped()
    assert "20 rows more were asked for" in made(Subject(u, rows=30))["case"].content.more


# ---------------------------------------------------------------- no single row shows


def test_without_rows_no_number_is_that_of_a_single_row() -> None:
    u = unwrapped()
    net = u.network
    X = table(net)
    X[0] = 77.125  # far from all the others
    u = unwrap(net, X)
    s = Subject(u)
    data = made(s)["case"].data
    counts = unpacked(data["count"])
    assert (u.count < 5).any()
    assert counts.tolist() == u.count[u.count >= 5].tolist()
    assert (u.count[unpacked(data["regionOf"])] >= 5).all()
    assert len(unpacked(data["patterns"])) == len(counts)
    rows = unpacked(data["rows"])
    assert len(rows) == 1 + min((u.count >= 5).sum(), 8)
    ordered = np.sort(X, axis=0)
    for j, column in enumerate(data["columns"]):
        assert column["low"] == pytest.approx(ordered[:5, j].mean())
        assert column["high"] == pytest.approx(ordered[-5:, j].mean())
    text = page(s)
    assert "77.125" not in text
    lonely = u.sample.x[np.isin(u.sample.region, np.flatnonzero(u.count == 1))]
    numbers = {v for key in ("rows", "mean", "sd") for v in unpacked(data[key]).ravel().tolist()}
    assert not numbers & set(lonely.ravel().tolist())


def test_a_case_in_a_small_region_does_not_name_it() -> None:
    net = random_network([6, 40, 40, 1], seed=3, link="logit")
    half = table(net, 150)
    u = unwrap(net, np.concatenate([half, -half, np.zeros((1, 6))]))  # the last row is the mean row
    s = Subject(u)
    assert u.count[u.region_of[-1]] == 1
    assert (u.count < 5).all()
    part = made(s)["case"]
    assert [row.region for row in part.content.table] == [-1]
    assert part.content.table[0].rows == "fewer than 5"
    assert part.facts["cases"][0]["region"] is None
    assert len(unpacked(part.data["patterns"])) == 0
    assert "Regions of fewer than 5 rows are not told apart here" in page(s)
    assert "Regions of fewer than 5 rows hold 100 % of the rows" in part.limitations[0].text
    asked = made(Subject(u, rows=3))["case"]
    assert not asked.limitations
    assert len(unpacked(asked.data["patterns"])) == len(u.patterns)
    assert [row.region for row in asked.content.table[-3:]] == u.region_of[[0, 150, 300]].tolist()
    assert asked.content.table[0].region == u.region_of[-1]


def test_too_few_rows_for_a_mean_have_no_chapter() -> None:
    u = unwrapped(n=4)
    assert cases(Subject(u)) is None
    assert cases(Subject(u, rows=1)) is not None


def test_a_constant_network_has_no_chapter() -> None:
    u = unwrap(SPECIMENS["twins"], table(SPECIMENS["twins"]))
    assert u.is_constant
    assert cases(Subject(u)) is None


def test_patterns_of_the_largest_regions_are_kept_where_not_all_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    u = unwrapped()
    shared = int((u.count >= 5).sum())
    monkeypatch.setattr(chapter, "_PATTERN_BYTES", 3 * (u.patterns.packed.shape[1] + 4))
    part = made(Subject(u))["case"]
    assert unpacked(part.data["regionOf"]).tolist() == [0, 1, 2]
    np.testing.assert_array_equal(unpacked(part.data["patterns"]), u.sums.packed[:3])
    assert f"the patterns of the 3 largest of {shared} regions" in part.content.patterns


# ---------------------------------------------------------------- what the page's own HTML says


@pytest.mark.parametrize("link", ["logit", "softmax", "identity", "log"])
def test_table_says_what_explain_says(link: Any) -> None:
    u = unwrapped((4, 8, 6, 3 if link == "softmax" else 1), link)
    s = Subject(u)
    held = chapter._prepared(s)
    part = made(s)["case"]
    e = interpret.explain(u, held.x)
    for i, row in enumerate(part.content.table):
        decision, predicted = u.network.decision(held.x)[i], u.network.predict(held.x)[i]
        shown = row.values
        if link == "softmax":
            assert shown[0] == (u.network.outputs[decision.argmax()], None)
            decision, predicted, shown = [decision.max()], [predicted.max()], shown[1:]
        expected = [*decision] if link == "identity" else [*decision, *predicted]
        np.testing.assert_allclose([v for _, v in shown], expected, rtol=1e-12)
        assert [text for text, _ in shown] == [words.number(v) for v in expected]
        assert row.distance == words.number(e.distance[i], 3)
        fact = part.facts["cases"][i]
        k = e.output_of(i)
        assert fact["output"] == u.network.outputs[k]
        np.testing.assert_allclose(list(fact["contributions"].values()), e.centred[i, k], rtol=1e-9, atol=1e-12)
        assert fact["mean_part"] + sum(fact["contributions"].values()) == pytest.approx(e.decision[i, k], rel=1e-9)
        assert fact["region"] == (e.region[i] if e.count[i] >= 5 else None)


def test_pictures_have_the_contributions_of_explain() -> None:
    u = unwrapped((14, 8, 1), "logit")
    s = Subject(u)
    held = chapter._prepared(s)
    drawn = made(s)["case"].content.pictures
    assert [label for label, _, _ in drawn] == held.labels[1:4]
    e = interpret.explain(u, held.x)
    base = u.network.decision(u.sample.mean[None])[0, 0]
    for i, (_, output, picture) in enumerate(drawn, 1):
        assert output is None
        centred = e.centred[i, 0]
        order = np.argsort(-np.abs(centred), kind="stable")
        text = [unescape(t) for t in re.findall(r'<text class="[^"]*end"[^>]*>([^<]*)</text>', picture)]
        expected = [e.mean_part[i, 0] - base, *centred[order[:10]], centred[order[10:]].sum()]
        assert text == [
            words.number(base),
            *map(pictures_cases.signed, expected),
            words.number(e.decision[i, 0]),
        ]
        assert "the 4 other columns" in picture
        widths = np.array([float(w) for w in re.findall(r'<rect [^>]*width="([^"]*)"', picture)])
        steps = base + np.concatenate([[0], np.cumsum(expected)])
        scale = 380 / (max(*steps, e.decision[i, 0]) - min(*steps, e.decision[i, 0]))
        np.testing.assert_allclose(widths, np.maximum(np.abs(expected) * scale, 0.8), atol=0.06)
        marks = [int(g) for g in re.findall(r'<rect [^>]*data-feature="(\d+)"', picture)]
        assert marks == order[:10].tolist()


def test_a_large_network_is_explained_without_a_panel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chapter, "MAX_WEIGHTS", 10)
    u = unwrapped()
    s = Subject(u)
    assert list(made(s)) == ["case"]
    assert made(s)["case"].data is None
    (limit,) = made(s)["case"].limitations
    assert f"The network has {u.network.n_parameters} weights, more than the 10" in limit.text
    text = page(s)
    assert f"with {u.network.n_parameters} weights the network is too large" in re.sub(r"\s+", " ", text)
    assert "case-panel" not in text.split("<body>")[1].split("<script")[0]
    assert "<svg" in text
    assert list(made(Subject(u, rows=2))) == ["case", "case-changes"]


def test_regressions_have_no_decision_to_change() -> None:
    u = unwrapped(link="identity")
    assert not made(Subject(u, rows=5))["case-changes"].content.decides
    assert made(Subject(u, rows=5))["case-changes"].content.nearest is None
    assert "decides nothing" in page(Subject(u, rows=5))


def test_nearest_rows_are_those_of_boundary_and_are_decided_otherwise() -> None:
    net = random_network([3, 8, 1], seed=4, link="logit")
    u = unwrap(net, table(net, 200))
    part = made(Subject(u, rows=4))["case-changes"]
    rows = u.sample.x[[0, 66, 133, 199]]
    found = diagnose.boundary(u, rows)
    assert np.isfinite(found.distance).all()
    for i, near in enumerate(part.content.nearest):
        assert near.label == f"row {[0, 66, 133, 199][i]} of the table"
        assert near.proved
        assert near.distance == words.number(found.distance[i], 3)
        fact = part.facts[i]
        assert fact["distance"] == pytest.approx(found.distance[i], rel=1e-6)
        to = np.array([list(fact["to"].values())])
        assert (net.decision(to) > 0) != (net.decision(rows[i : i + 1]) > 0)
        moved = np.abs(to[0] - rows[i]) / u.sample.sd
        assert np.sqrt((moved**2).sum()) == pytest.approx(found.distance[i], rel=1e-6)
        assert [g for g, *_ in near.moves] == np.argsort(-moved, kind="stable").tolist()[: len(near.moves)]
        for g, name, before, after, size in near.moves:
            assert name.short == net.feature_names[g]
            for said, value in ((before, rows[i, g]), (after, to[0, g])):
                assert said == words.number(value, 6).rstrip("0").rstrip(".")
            assert size == words.number(moved[g], 3)
        assert near.decided != near.there


def test_no_nearest_rows_without_rows() -> None:
    changes = made(Subject(unwrapped()))["case-changes"]
    assert changes.content.nearest is None
    assert changes.facts is None


def test_names_do_nothing_and_values_are_text() -> None:
    net = random_network([4, 8, 3], seed=2, link="softmax")
    features, classes = Features.plain(4, HOSTILE), ("<i>a</i>", "b\u202e", "</script>")
    net = replace(net, features=features, classes=classes, outputs=classes)
    text = page(Subject(unwrap(net, table(net)), rows=4))
    body = text.split("<body>")[1]
    for bad in ("<script>alert", "<img", "<i>a", "\u202e", "L" * 301):
        assert bad not in body
    assert json.loads(unescape(re.findall(r'<script type="application/json" id="data">(.*?)</script>', body, re.S)[0]))


def test_levels_and_mixtures_are_in_words() -> None:
    features = columns()
    x = np.zeros(10)
    x[[0, 2, 5, 6, 8]] = 31.5, 1, 0.25, 1, 3
    assert chapter._values(features, x) == ["31.50", "A", "0.2500", "x", "3.000"]
    x[1], x[2], x[6] = 1, 0.4, 0.3
    assert chapter._values(features, x) == ["missing", "a mixture", "0.2500", "a mixture", "3.000"]


def test_missing_values_and_categories_survive_the_whole_report(tmp_path: Any) -> None:
    net = replace(random_network([10, 6, 1], seed=1, link="logit"), features=columns())
    u = unwrap(net, frame(300), np.random.default_rng(0).integers(0, 2, size=300))
    first = report(u, tmp_path / "a.html", rows=12).read_bytes()
    assert first == report(u, tmp_path / "b.html", rows=12).read_bytes()
    chapters = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["chapters"]
    assert len(chapters["one-case"]["case"]["cases"]) > 12
    nearest = [near for near in chapters["one-case"]["case-changes"] if near["distance"] is not None]
    assert nearest
    for near in nearest:
        assert near["from"]["age missing"] == 0
        still = [item.name for item in columns().items if item.kind != "value"]
        assert [near["to"][name] for name in still] == [near["from"][name] for name in still]
