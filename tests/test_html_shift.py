"""The page's chapter on the test rows: its numbers are those of the results, and it shows no single row unasked."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from relucidate import words
from relucidate.exposures import exposure
from relucidate.extrapolating import extrapolation
from relucidate.html import report
from relucidate.html.parts import Part
from relucidate.html.shift import shift
from relucidate.html.subject import Subject
from relucidate.unwrapping import Unwrapped, unwrap
from test_html import SPECIMENS, Page, network, unwrapped


def others(u: Unwrapped, n: int = 300, moved: float = 0.0, response: bool = True) -> Unwrapped:
    """Other rows for the network of `u`, moved along every feature."""
    net = u.network
    X = np.random.default_rng(1).normal(size=(n, net.n_features)) + moved
    if not response or not u.has_y:
        return unwrap(net, X)
    if net.link == "softmax":
        return unwrap(net, X, np.array(net.classes, dtype=object)[net.predict(X).argmax(axis=1)])
    return unwrap(
        net, X, (X[:, 0] > 0).astype(int) if net.link == "logit" else net.predict(X)[:, : net.n_outputs] + X[:, :1]
    )


def parts(u: Unwrapped, test: Unwrapped, rows: int = 0) -> dict[str, Part]:
    chapter = shift(Subject(u, test=test, rows=rows))
    assert chapter is not None
    return {part.id: part for part in chapter.parts}


@pytest.mark.parametrize("name", sorted(set(SPECIMENS) - {"one row"}))
def test_every_page_takes_other_rows(name: str, tmp_path: Path) -> None:
    u = SPECIMENS[name]()
    page = Page(report(u, tmp_path / "report.html", X_test=others(u)))
    ids = {a.get("id") for _, a in page.elements}
    assert {"shift", "exposure", "extrapolation"} <= ids
    facts = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert facts["chapters"]["shift"]["exposure"]["rows"] == {"train": u.n_rows, "test": 300}


def test_without_other_rows_there_is_no_such_chapter(tmp_path: Path) -> None:
    assert shift(Subject(SPECIMENS["binary"]())) is None


def test_drift_is_told_with_what_moved(tmp_path: Path) -> None:
    u = SPECIMENS["binary"]()
    still, moved = (parts(u, others(u, 2000, by)) for by in (0.0, 1.0))
    assert [f.kind for f in still["exposure"].findings][:1] == ["sound"]
    assert [f.kind for f in moved["exposure"].findings][:1] == ["doubt"]
    assert "have drifted" in moved["exposure"].content.sentences[0]
    assert "No drift was found" in still["exposure"].content.sentences[0]
    assert all(row.flagged for row in moved["exposure"].content.columns)


def test_numbers_are_those_of_the_result() -> None:
    u = SPECIMENS["binary"]()
    test = others(u, 3000, 1.0)
    x = exposure(u, u, test)
    content = parts(u, test)["exposure"].content
    for row in content.columns:
        g = row.column
        assert row.mean == words.number(x.mean[0, g])
        assert row.other == words.number(x.mean[1, g])
        assert row.distance == words.number(x.statistic[1, g], 2)
    for row in content.regions:
        r = row.region
        assert (row.rows, row.other_rows) == (words.count(int(x.count[0, r])), words.count(int(x.count[1, r])))
        assert row.share == words.percent(x.share[0, r], 2)
    assert content.n_flagged == x.share_flag[1].sum() > 0
    # what moved the mean decision adds up to how far it moved, as the bars say
    _, picture = content.moved[0]
    text = re.findall(r'class="halo small(?: end)?"[^>]*>([^<]+)</text>', picture)
    values = [float(t.replace("\N{MINUS SIGN}", "-").replace(",", "")) for t in text]
    assert values[-1] == pytest.approx(float(x.drift[0].shift[0]), rel=1e-2)  # three digits are shown
    assert sum(values[:-1]) == pytest.approx(values[-1], abs=0.02 * max(map(abs, values)))


def test_marks_stand_where_the_shares_are() -> None:
    u = SPECIMENS["binary"]()
    test = others(u, 1500, 0.5)
    x = exposure(u, u, test)
    picture = parts(u, test)["exposure"].content.picture
    found = re.findall(r'data-region="(\d+)" cx="([\d.]+)" cy="([\d.]+)"', picture)
    region, cx, cy = (np.array(v, dtype=float) for v in zip(*found, strict=True))
    r = region.astype(int)
    assert len(r) == ((x.share[0] > 0) & (x.share[1] > 0)).sum()
    for place, share in ((cx, x.share[0, r]), (-cy, x.share[1, r])):
        slope, start = np.polyfit(np.log10(share), place, 1)
        assert slope > 0
        np.testing.assert_allclose(slope * np.log10(share) + start, place, atol=0.11)  # places have one decimal


def test_curve_is_the_calibration() -> None:
    u = SPECIMENS["binary"]()
    test = others(u, 1500)
    c = extrapolation(u, test).calibration
    assert c is not None
    curve = parts(u, test)["extrapolation"].content.curve
    points = re.findall(r'<polyline[^>]*points="([^"]+)"', curve)[-1]  # the first order is drawn last, on top
    drawn = np.array([p.split(",") for p in points.split()], dtype=float)
    slope, start = np.polyfit(c.loss[0], drawn[:, 1], 1)
    assert slope < 0
    np.testing.assert_allclose(slope * c.loss[0] + start, drawn[:, 1], atol=0.11)


def test_single_rows_are_shown_if_asked_for_alone(tmp_path: Path) -> None:
    u = SPECIMENS["binary"]()
    test = others(u, 400, 1.0)
    assert parts(u, test)["extrapolation"].content.rows == []
    shown = parts(u, test, rows=7)["extrapolation"].content.rows
    e = extrapolation(u, test)
    assert [row[0] for row in shown] == [words.count(int(e.row[i])) for i in np.argsort(e.trust, kind="stable")[:7]]
    for row in parts(u, test)["exposure"].content.regions:
        for rows, loss in ((row.rows, row.loss), (row.other_rows, row.other_loss)):
            assert loss == words.NONE or int(rows.replace(",", "")) >= 5


def test_rows_out_of_range_are_counted_on_their_side() -> None:
    u = SPECIMENS["binary"]()
    test = others(u, 400, 1.0)
    low, high = u.sample.x.min(axis=0), u.sample.x.max(axis=0)
    for column, _, below, above in parts(u, test)["extrapolation"].content.outside:
        values = test.sample.x[:, column]
        assert (below, above) == (
            words.count(int((values < low[column]).sum())),
            words.count(int((values > high[column]).sum())),
        )


def test_names_do_nothing(tmp_path: Path) -> None:
    u = SPECIMENS["hostile"]()
    page = Page(report(u, tmp_path / "report.html", X_test=others(u, 500, 1.0), rows=10))
    assert not {"img", "b"} & {tag for tag, _ in page.elements}
    assert len(page.all("script")) == 2
    assert not any(key.startswith("on") for _, a in page.elements for key in a)
    assert "\u202e" not in page.source


def test_other_rows_of_another_network_are_refused(tmp_path: Path) -> None:
    u, other = SPECIMENS["binary"](), unwrapped(network((5, 6, 1), "logit"))
    with pytest.raises(Exception, match="network"):
        report(u, tmp_path / "report.html", X_test=other)
    assert list(tmp_path.iterdir()) == []


def test_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    u = SPECIMENS["five classes"]()
    made: list[Any] = []
    for name in ("a", "b"):
        report(u, tmp_path / f"{name}.html", X_test=others(u))
        made.append([(tmp_path / f"{name}.{end}").read_bytes() for end in ("html", "json")])
    assert made[0] == made[1]


def test_what_too_few_rows_cannot_tell_is_said() -> None:
    u = SPECIMENS["binary"]()
    few = unwrap(u.network, u.sample.x[:8], u.sample.label[:8])
    content = parts(u, few)["exposure"].content
    said = " ".join(content.sentences)
    assert "nan" not in said
    assert words.NONE not in said
    assert "of the shares of regions (too few rows to tell)" in said
    assert "Whether the shares of regions have changed cannot be told: rows are so few" in said
    assert "; with fewer than 20 rows of either this is not tested." in said


def test_notes_of_the_sets_are_under_the_names_of_the_page() -> None:
    u = SPECIMENS["binary"]()
    x = replace(others(u), notes=("columns not used: 'a'", "the table says: so"))
    notes = parts(replace(u, notes=("columns not used: 'a'",)), x)["exposure"].content.notes
    assert "the table and the test rows: columns not used: 'a'" in notes
    assert "the test rows: the table says: so" in notes
