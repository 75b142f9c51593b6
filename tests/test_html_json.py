"""The file of facts beside the page: it is what the documentation says, in full precision, and as careful with files."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from relucidate.errors import ArgumentError, OutputError
from relucidate.examples import home_lending
from relucidate.frameworks import load
from relucidate.html import report
from relucidate.html.content import SCHEMA
from relucidate.simplify import tree
from relucidate.unwrapping import unwrap
from test_html import SPECIMENS

DOCS = Path(__file__).parent.parent / "docs" / "report.md"


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Those of the page with every chapter."""
    loans = home_lending()
    u = unwrap(load(str(loans.model)), str(loans.train), loans.target)
    path = report(
        u,
        tmp_path_factory.mktemp("facts") / "report.html",
        X_test=str(loans.test),
        y_test=loans.target,
        X=str(loans.train),
        y=loans.target,
        protected="age_group",
        expected={"credit_score": "-"},
        rows=10,
        simplified=tree(u, n_models=4),
        files=[loans.train],
        reproduce="relucidate report",
    )

    def refused(constant: str) -> Any:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(path.with_suffix(".json").read_text(encoding="utf-8"), parse_constant=refused)


def test_every_chapter_and_part_is_in_the_documentation(facts: Any) -> None:
    lines = dict(re.findall(r"^\| `chapters\.([\w-]+)` \| (.*) \|$", DOCS.read_text(encoding="utf-8"), re.MULTILINE))
    assert set(lines) == set(facts["chapters"])
    for chapter, line in lines.items():
        assert set(re.findall(r"`([\w-]+)`", line)) == set(facts["chapters"][chapter]), chapter
    assert facts["schema"] == SCHEMA
    assert f"`{SCHEMA}`" in DOCS.read_text(encoding="utf-8")


def test_keys_are_names(facts: Any) -> None:
    for chapter, parts in facts["chapters"].items():
        for part, found in parts.items():
            keys = [chapter, part, *(found if isinstance(found, dict) else [])]
            assert [key for key in keys if not re.fullmatch(r"[a-z0-9_-]+", key)] == []


def test_findings_and_limitations_lead_to_parts_and_numbers_are_whole(facts: Any) -> None:
    parts = {part for chapter in facts["chapters"].values() for part in chapter}
    found = facts["summary"]["findings"]
    assert 3 <= len(found) <= 5
    assert {f["part"] for f in found} <= parts | {"network"}
    assert [f["weight"] for f in found] == sorted((f["weight"] for f in found), reverse=True)
    assert len(facts["chapters"]["limitations"]["limits"]) >= 3
    loans = home_lending()
    u = unwrap(load(str(loans.model)), str(loans.train), loans.target)
    assert facts["chapters"]["about"]["exactness"]["max_difference"] == u.exactness.max_difference
    assert facts["chapters"]["local"]["spread"]["effective_regions"] == u.effective_regions
    assert facts["chapters"]["about"]["reproduction"]["files"][0]["name"] == "home_lending_train.parquet"


def test_another_file_is_not_written_over(tmp_path: Path) -> None:
    u = SPECIMENS["binary"]()
    for content in (b"{}", b"[1, 2]", b'{"schema": "other", "x": 1}', b"\xff\xfe", b"", b'"relucidate report 1"'):
        (tmp_path / "a.json").write_bytes(content)
        with pytest.raises(OutputError, match="is there and is no report"):
            report(u, tmp_path / "a.html")
        assert (tmp_path / "a.json").read_bytes() == content
        assert not (tmp_path / "a.html").exists()
    (tmp_path / "a.json").unlink()
    report(u, tmp_path / "a.html")
    report(u, tmp_path / "a.html")  # its own may go
    with pytest.raises(OutputError, match="exists"):
        report(u, tmp_path / "a.html", overwrite=False)
    with pytest.raises(OutputError, match=r"ends in \.html"):
        report(u, tmp_path / "b.json")
    with pytest.raises(OutputError, match="no folder"):
        report(u, tmp_path / "nowhere" / "b.html")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.html", "a.json"]


def test_neither_file_is_there_after_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> str:
        raise RuntimeError("no memory")

    monkeypatch.setattr("relucidate.html.page.render", broken)
    with pytest.raises(RuntimeError):
        report(SPECIMENS["binary"](), tmp_path / "a.html")
    assert list(tmp_path.iterdir()) == []


def test_arguments_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    u = SPECIMENS["binary"]()
    X = np.zeros((3, u.network.n_features))
    for given, words in (
        ({"rows": -1}, "rows is -1"),
        ({"rows": True}, "rows is True"),
        ({"rows": 2.5}, r"rows is 2\.5"),
        ({"y_test": [1]}, "y_test is given without X_test"),
        ({"protected": "sex"}, "there is none"),
        ({"protected": "sex", "X": X, "y": [0, 1, 0]}, "sex"),
        ({"expected": {"nobody": "+"}}, "nobody"),
    ):
        with pytest.raises(Exception, match=words) as caught:
            report(u, tmp_path / "a.html", **given)
        assert type(caught.value).__module__ == "relucidate.errors"
    with pytest.raises(ArgumentError, match="unwrap"):
        report(u.network, tmp_path / "a.html")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
