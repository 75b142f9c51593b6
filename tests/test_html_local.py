"""The page's chapter on local models: its numbers against the result, what it leaves out, and that it shows nobody's row."""

import base64
import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from relucidate import simplify
from relucidate.complexities import complexity
from relucidate.facets import polytope_of
from relucidate.html import region_details as details
from relucidate.html import regions as tables
from relucidate.html.local import local
from relucidate.html.parts import Part
from relucidate.html.pictures_regions import region_marks
from relucidate.html.regions import MAX_REGIONS, feature_importance
from relucidate.html.subject import Subject
from relucidate.reliabilities import reliability
from relucidate.simplified import ByPattern
from relucidate.unwrapping import Unwrapped, unwrap
from relucidate.words import percent
from test_effects import categorical
from test_html import SPECIMENS, network, unwrapped

F4 = 2e-7  # rounding to float32


def unpacked(found: dict[str, Any]) -> Any:
    """An array of the page."""
    raw = np.frombuffer(base64.b64decode(found["base64"]), "<" + found["kind"])
    return raw.reshape(found["shape"])


def part(u: Unwrapped, id: str = "regions", **about: Any) -> Part:
    """A part of the chapter, its data read from JSON as the page does."""
    found = {p.id: p for p in local(Subject(u, **about)).parts}[id]
    return replace(found, data=json.loads(json.dumps(found.data, allow_nan=False)))


def column(data: Any, label: str, output: int = 0) -> Any:
    (found,) = [c for c in [*data["columns"], *data["details"]] if c["label"] == label]
    return unpacked(found["values"][output])


@pytest.fixture(scope="module", params=SPECIMENS)
def case(request: pytest.FixtureRequest) -> tuple[Unwrapped, Any]:
    u = SPECIMENS[request.param]()
    return u, part(u).data


def told_of(u: Unwrapped) -> int:
    """How many of the largest regions have means: those of five rows, if the others have none or five in all."""
    enough = int((u.count >= 5).sum())
    return enough - (0 < u.count[enough:].sum() < 5 and enough > 0)


# ---------------------------------------------------------------- numbers


def test_numbers_are_those_of_the_result(case: tuple[Unwrapped, Any]) -> None:
    u, data = case
    R, K = min(u.n_regions, MAX_REGIONS), len(data["outputs"])
    kept = feature_importance(u, K).order
    assert column(data, "rows").tolist() == u.count[:R].tolist()
    np.testing.assert_allclose(column(data, "share"), u.share[:R], rtol=F4)
    np.testing.assert_allclose(unpacked(data["coef"]), u.coef[:R, :K][:, :, kept].transpose(1, 2, 0), rtol=F4)
    enough = told_of(u)
    means = u.sums.x[:enough] / u.sums.weight[:enough, None]
    np.testing.assert_allclose(unpacked(data["means"]), means[:, kept].T, rtol=F4)
    predicted = u.sums.prediction[:enough, :K] / u.sums.weight[:enough, None]
    for k in range(K):
        np.testing.assert_allclose(column(data, "intercept", k), u.intercept[:R, k], rtol=F4)
        np.testing.assert_allclose(column(data, "predicted mean", k), predicted[:, k], rtol=F4)
    labels = [c["label"] for c in data["columns"]]
    assert ("response mean" in labels) == u.has_y
    assert data["more"] == 0


def test_verdicts_are_those_of_reliability(case: tuple[Unwrapped, Any]) -> None:
    u, data = case
    judged = reliability(u)
    assert data["reasons"] == list(judged.reasons)
    bits = unpacked(data["flags"])[:, None] >> np.arange(len(judged.reasons)) & 1
    np.testing.assert_array_equal(bits.astype(bool), judged.flags)
    np.testing.assert_array_equal(column(data, "verdict"), judged.first)


def test_places_are_their_definitions(case: tuple[Unwrapped, Any]) -> None:
    u, data = case
    s, K, kept = u.sample, len(data["outputs"]), feature_importance(u, len(data["outputs"])).order
    average = sum(u.share[r] * u.coef[r, :K] for r in range(u.n_regions))
    size = np.abs(u.coef).max()
    np.testing.assert_allclose(data["average"], average[:, kept], rtol=1e-5, atol=1e-6 * size)
    spread = unpacked(data["spread"])
    for r in range(0, spread.shape[1], 7):
        here = s.region == r
        x, w = s.x[here][:, kept], s.weights[here]
        centre = np.average(x, axis=0, weights=w)
        expected = np.sqrt(np.average((x - centre) ** 2, axis=0, weights=w))
        np.testing.assert_allclose(spread[:, r], expected, rtol=1e-5, atol=1e-9)
    if not u.weighted and u.n_rows > 1:
        # a mean of five values of which the quantile is in the middle, so that it is no row's
        n = len(s.x)
        first = np.clip(np.ceil(np.array([0.05, 0.95]) * n - 0.5).astype(int) - 2, 0, n - 5)
        expected = [np.sort(s.x[:, kept], axis=0)[at : at + 5].mean(axis=0) for at in first]
        np.testing.assert_allclose([data["low"], data["high"]], expected, rtol=1e-5, atol=1e-6)


def test_neighbours_are_all_pairs_one_bit_apart(case: tuple[Unwrapped, Any]) -> None:
    u, data = case
    bits = u.patterns.bits()
    assert (u.region_of_pattern == np.arange(u.n_regions)).all()
    expected = {
        (i, j) for i in range(len(bits)) for j in range(i) if np.count_nonzero(bits[i] != bits[j]) == 1
    }  # slow and obvious
    near = data["next"]
    pairs = zip(unpacked(near["one"]).tolist(), unpacked(near["other"]).tolist(), strict=True)
    found = [(max(p), min(p)) for p in pairs]
    assert len(found) == len(set(found))
    assert set(found) == expected
    assert near["all"]
    centre = u.coef.mean(axis=1, keepdims=True) if u.network.link == "softmax" else 0
    scaled = (u.coef - centre) * u.sample.sd
    jumps = [np.linalg.norm(scaled[a] - scaled[b]) for a, b in found]
    np.testing.assert_allclose(unpacked(near["jump"]), jumps, rtol=1e-5, atol=1e-9)


# ---------------------------------------------------------------- nobody's row


def test_few_rows_show_nothing_of_themselves(case: tuple[Unwrapped, Any]) -> None:
    u, data = case
    few = u.count < 5
    enough = int((~few).sum())
    of_rows = ("response mean", "predicted mean", "local", "response sd", "predicted positive")
    told = [c for c in [*data["columns"], *data["details"]] if c["label"].startswith(of_rows)]
    assert told
    for c in told:
        assert all(v["shape"][0] <= enough for v in c["values"]), c["label"]
    assert unpacked(data["means"]).shape[1] <= enough
    assert unpacked(data["spread"]).shape[1] <= enough
    assert all(int(r) < enough for r in data["facets"])
    if u.n_rows < 5:
        assert set(data["overall"]) == set(data["low"]) == set(data["high"]) == {None}


def test_spread_of_few_rows_of_a_sample_is_not_shown() -> None:
    whole = SPECIMENS["regression"]()
    u = replace(whole, sample=whole.sample.taken(np.arange(0, 500, 4)))
    held = np.bincount(u.sample.region, minlength=u.n_regions)
    spread = unpacked(part(u).data["spread"])
    n = spread.shape[1]
    assert ((u.count[:n] >= 5) & (held[:n] > 0) & (held[:n] < 5)).any()
    np.testing.assert_array_equal(np.isnan(spread).all(axis=0), held[:n] < 5)


def test_rows_asked_for_bring_them_back() -> None:
    u = SPECIMENS["regression"]()
    assert (u.count == 1).any()
    content = part(u, rows=10)
    data = content.data
    np.testing.assert_allclose(column(data, "predicted mean"), u.sums.prediction[:, 0] / u.sums.weight, rtol=F4)
    assert unpacked(data["means"]).shape[1] == u.n_regions
    assert not any("somebody" in text for text in content.content.left_out)
    without = part(u).content.left_out
    n = int((u.count < 5).sum())
    assert any(f"of the {n} regions with fewer than 5 rows" in text for text in without)


# ---------------------------------------------------------------- facets


def test_facets_are_those_of_the_polytope_and_distances_those_of_the_neurons() -> None:
    u = SPECIMENS["binary"]()
    net, data = u.network, part(u).data
    assert len(data["facets"]) >= 20
    checked = 0
    for key, (n_facets, n_walls, lines) in list(data["facets"].items())[:12]:
        r = int(key)
        mean = u.sums.x[r] / u.sums.weight[r]
        region = polytope_of(net, mean, spread=u.sample.sd)
        assert (n_facets, n_walls) == (len(region.facets), len(region.walls))
        assert len(lines) == min(n_facets, details.FACETS)
        distances = [d for _, _, d, _ in lines]
        assert distances == sorted(distances)
        for said, neuron, distance, beyond in lines:
            assert re.search(r"[≤≥] −?[\d.,]+", said)
            i = re.fullmatch(r"neuron (\d+) of dense 0", neuron)
            if i is None:
                continue
            # of the first layer, a neuron's own weights say how far it is
            weight, bias = net.layers[0].weight[int(i[1])], net.layers[0].bias[int(i[1])]
            expected = abs(weight @ mean + bias) / np.linalg.norm(weight * u.sample.sd)
            assert distance == pytest.approx(expected, rel=1e-2)
            checked += 1
            if beyond >= 0:
                turned = np.flatnonzero(u.patterns[[r]].bits()[0] != u.patterns[[beyond]].bits()[0])
                assert turned.tolist() == [int(i[1])]
    assert checked > 20


def test_facets_seen_beyond_are_neighbours() -> None:
    u = SPECIMENS["binary"]()
    data = part(u).data
    near = data["next"]
    pairs = set(zip(unpacked(near["one"]).tolist(), unpacked(near["other"]).tolist(), strict=True))
    seen = [(int(r), b) for r, (_, _, lines) in data["facets"].items() for *_, b in lines if b >= 0]
    assert len(seen) > 20
    assert all((a, b) in pairs or (b, a) in pairs for a, b in seen)


def test_joined_regions_have_no_facets_and_are_not_their_own_neighbours() -> None:
    net = network((3, 8, 1))
    first = net.layers[0]
    silent = np.array(net.layers[1].weight)
    silent[:, :4] = 0  # four neurons switch and change nothing
    net = replace(net, layers=(first, replace(net.layers[1], weight=silent)))
    u = unwrapped(net, n=2000).join_equal()
    assert u.n_regions < len(u.patterns)
    found = part(u)
    several = np.flatnonzero(np.bincount(u.region_of_pattern) > 1)
    assert not set(found.data["facets"]) & {str(r) for r in several}
    assert any("joined need not be convex" in text for text in found.content.left_out)
    one, other = (unpacked(found.data["next"][key]) for key in ("one", "other"))
    assert (one != other).all()
    pairs = {tuple(sorted(p)) for p in zip(one.tolist(), other.tolist(), strict=True)}
    assert len(pairs) == len(one)
    assert found.data["next"]["all"]


def test_few_facets_where_they_are_dear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(details, "_FACET_WORK", 12 * 5 * 3)
    u = SPECIMENS["binary"]()
    found = part(u)
    assert sorted(found.data["facets"]) == ["0", "1", "2"]
    assert f"What bounds a region is in this page for the 3 largest of {u.n_regions} regions." in found.content.left_out


# ---------------------------------------------------------------- what is left out


def test_regions_left_out_are_told_with_their_share(monkeypatch: pytest.MonkeyPatch) -> None:
    u = SPECIMENS["binary"]()
    monkeypatch.setattr(tables, "MAX_REGIONS", 60)
    found = part(u)
    assert len(found.data["patterns"]) == 60
    assert unpacked(found.data["coef"]).shape[2] == 60
    (told,) = [limit.text for limit in found.limitations if "are in this page, the largest" in limit.text]
    assert told.startswith(f"60 of {u.n_regions} regions")
    assert f"{percent(u.share[:60].sum())} of the rows" in told
    near = found.data["next"]
    assert unpacked(near["one"]).max() < 60
    assert not near["all"]
    assert any(f"{len(unpacked(near['one']))} of {len(complexity(u).pair)} pairs" in t for t in found.content.left_out)


@pytest.mark.parametrize("room", [900, 2000, 4000, 9000])
def test_large_regions_keep_more_coefficients(monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    u = SPECIMENS["many features"]()
    monkeypatch.setattr(tables, "COEFFICIENTS", room)
    found = part(u)
    coef, more = unpacked(found.data["coef"]), unpacked(found.data["moreCoef"])
    assert coef.size + more.size <= room
    assert coef.shape[2] >= 1
    n, R = coef.shape[2] + more.shape[2], u.n_regions
    # no room is left for one more region
    assert n == R or coef.size + more.size + 12 + 60 > room
    kept = feature_importance(u, 1).order
    np.testing.assert_allclose(coef[0].T, u.coef[: coef.shape[2], 0][:, kept], rtol=F4)
    np.testing.assert_allclose(more[0].T, u.coef[coef.shape[2] : n, 0][:, kept[:12]], rtol=F4)
    said = " ".join(found.content.left_out)
    assert (f"The {n} largest regions have coefficients in this page, the others none." in said) == (n < R)
    assert f"The {coef.shape[2]} largest regions have all these coefficients" in said


@pytest.mark.parametrize("R", [1, 10, 999, 10_000])
@pytest.mark.parametrize("K", [1, 3, 10])
@pytest.mark.parametrize(("f", "columns"), [(1, 1), (16, 16), (23, 12), (500, 12)])
def test_coefficients_fit_whatever_comes(R: int, K: int, f: int, columns: int) -> None:
    complete, some = tables._room(R, K, f, columns)
    assert 1 <= complete <= some <= R
    assert K * (f * complete + columns * (some - complete)) <= tables.COEFFICIENTS
    assert complete == R or R * K * f > tables.COEFFICIENTS


def test_numbers_beyond_float32_are_kept() -> None:
    large = tables.single([1e300, np.nan, np.inf])
    assert large[0] == 1e300
    assert np.isnan(large[1:]).all()
    assert tables.as_packed(large)["kind"] == "f8"
    assert unpacked(tables.as_packed(large))[0] == 1e300
    assert tables.as_packed(tables.single([1.5]))["kind"] == "f4"


# ---------------------------------------------------------------- categories, groups, picture


def test_indicators_are_shares_of_rows() -> None:
    net, frame = categorical()
    u = unwrap(net, frame)
    data = part(u, rows=1).data
    names = [net.feature_names[j] for j in feature_importance(u, 1).order]
    columns = [net.features.groups[g][0] for g in data["columnOf"]]
    for i, name in enumerate(names):
        indicator = name not in ("age", "debt")
        assert bool(data["indicator"][i]) == indicator
        assert columns[i] == name.split("=")[0].split(" ")[0]
        if indicator:
            assert (data["low"][i], data["high"][i]) == (0, 1)
    j = names.index("job=a")
    r = int(np.argmax(u.count))
    assert unpacked(data["means"])[j, r] == pytest.approx((frame["job"][u.region_of == r] == "a").mean())


@pytest.mark.parametrize("method", [simplify.merge, simplify.tree, simplify.prune])
def test_regions_go_with_the_model_of_most_of_their_rows(method: Any) -> None:
    u = unwrapped(network((5, 8, 4, 1), "logit"), n=2000)
    s = method(u, 3) if method is simplify.prune else method(u, n_models=3)
    found = part(u, simplified=s)
    model = unpacked(found.data["groups"]["model"]).astype(int)
    taken = s.assign(u.sample.x)
    by_rows = not isinstance(s.route, ByPattern)
    assert by_rows == (method is simplify.tree)
    for r in range(u.n_regions):
        if by_rows and u.count[r] < 5:
            assert model[r] == details.NO_GROUP
        else:
            votes = np.bincount(taken[u.sample.region == r])
            assert model[r] == votes.argmax()
    assert found.content.models == sorted({int(m) for m in model} - {details.NO_GROUP})
    assert part(u).data["groups"] is None


def test_marks_are_where_the_regions_are() -> None:
    rows = np.array([1000, 100, 100, 10, 3])
    means = np.array([0.5, 0.1, 0.9, 0.3, np.nan])
    picture = str(region_marks(rows, means, np.array([True, False, True, False, False]), 0.4, "mean prediction"))
    marks = re.findall(r'<circle class="([^"]+)" data-region="(\d+)" cx="([\d.]+)" cy="([\d.]+)"', picture)
    assert [int(r) for _, r, _, _ in marks] == [0, 1, 2, 3]
    assert [style == "region-mark" for style, *_ in marks] == [True, False, True, False]
    x, y = np.array([[float(a), float(b)] for *_, a, b in marks]).T
    # one decade is as wide as another, and upwards is more
    assert x[0] - x[1] == pytest.approx(x[1] - x[3], abs=0.11)
    assert x[1] == x[2]
    slope = np.polyfit(means[:4], y, 1)
    np.testing.assert_allclose(np.polyval(slope, means[:4]), y, atol=0.06)
    assert slope[0] < 0
    (line,) = re.findall(
        r'<line class="overall" x1="[\d.]+" x2="[\d.]+" y1="([\d.]+)"', picture.split("</text>", 3)[-1]
    )[-1:]
    assert float(line) == pytest.approx(np.polyval(slope, 0.4), abs=0.11)
    assert region_marks(rows[:1], means[:1], np.array([True]), 0.5, "") is None


def test_pictures_draw_the_regions_with_means(case: tuple[Unwrapped, Any]) -> None:
    u, _ = case
    content = part(u).content
    enough = told_of(u)
    for k, (_, picture) in enumerate(content.pictures):
        drawn = [int(r) for r in re.findall(r'data-region="(\d+)"', str(picture))]
        assert drawn == list(range(min(enough, 200, 600 // len(content.pictures)))), k
    if enough > 1 and u.n_regions > 1:
        assert len(content.pictures) == len(content.table.outputs)
    else:
        assert content.pictures == []


# ---------------------------------------------------------------- what was found


def test_findings_have_their_figures() -> None:
    u = unwrapped(network((5, 8, 4, 1), "logit"), n=3000)
    single = u.count == 1
    found = part(u, "spread").findings
    assert f"{single.sum()} of the {u.n_regions} local linear models rest on a single row" in found[0].text
    assert f"{100 * u.share[single].sum():.1f} % of the rows" in found[0].text
    half = int(np.searchsorted(np.cumsum(u.share), 0.5)) + 1
    assert f"{half} of the {u.n_regions} local linear models" in found[1].text
    assert found[1].kind == ("sound" if half <= 20 else "fact")
    alone = part(unwrapped(network((20, 40, 40, 1), "logit"), n=300), "spread").findings
    assert alone[0].text.startswith("Every one of the 300 local linear models rests on a single row")
    assert alone[0].weight == 0.92


def test_equal_maps_are_found() -> None:
    net = network((3, 8, 1))
    silent = np.array(net.layers[1].weight)
    silent[:, :4] = 0
    u = unwrapped(replace(net, layers=(net.layers[0], replace(net.layers[1], weight=silent))), n=2000)
    joined = u.join_equal().n_regions
    texts = [f.text for f in part(u, "spread").findings]
    assert any(f"The {u.n_regions} activation patterns have {joined} different linear models" in t for t in texts)
    facts = part(u, "spread").facts
    assert (facts["n_patterns"], facts["n_different_maps"]) == (u.n_regions, joined)


def test_facts_hold_the_largest_regions_in_full(case: tuple[Unwrapped, Any]) -> None:
    u, _ = case
    facts = json.loads(json.dumps(part(u).facts, allow_nan=False))
    K = min(u.network.n_outputs, 10)
    assert len(facts["largest"]) == min(u.n_regions, 50)
    for r, region in enumerate(facts["largest"]):
        assert region["rows"] == u.count[r]
        np.testing.assert_array_equal(region["coefficients"], u.coef[r, :K])
        assert (region["predicted_mean"] is None) == (r >= told_of(u))
    assert sum(facts["reasons"].values()) >= min(u.n_regions, MAX_REGIONS)
