"""`relucidate diagnose segments --protected`: the table of groups is written beside the one of segments."""

from pathlib import Path

import pandas as pd
import pytest

import relucidate as rl
from relucidate.examples import home_lending
from test_cli_diagnose import failed, run

LOANS = home_lending()


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("data") / "train.parquet"
    pd.read_parquet(LOANS.train).head(1500).to_parquet(path)
    return str(path)


def command(train: str, *more: str) -> tuple[str, ...]:
    return ("diagnose", "segments", str(LOANS.model), train, "--target", "default", *more)


def test_groups_are_written_beside_the_segments(train: str, tmp_path: Path) -> None:
    out = [str(tmp_path / name) for name in ("s.csv", "s.parquet", "s.png")]
    told = run(*command(train, "--protected", "age_group"), *(word for path in out for word in ("-o", path)))
    names = ["s.csv", "s.parquet", "s.png", "s.groups.csv", "s.groups.parquet"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    assert told.splitlines()[-1] == "wrote " + ", ".join(str(tmp_path / name) for name in names)
    table = pd.read_parquet(train)
    found = rl.diagnose.segments(rl.unwrap(rl.load(LOANS.model), table, "default"), protected=table["age_group"])
    for frame in (pd.read_csv(tmp_path / "s.groups.csv"), pd.read_parquet(tmp_path / "s.groups.parquet")):
        pd.testing.assert_frame_equal(frame, found.groups_frame())
    assert len(pd.read_csv(tmp_path / "s.csv")) == len(found.rule)


def test_without_groups_there_is_no_second_table(train: str, tmp_path: Path) -> None:
    told = run(*command(train), "-o", str(tmp_path / "s.csv"))
    assert [path.name for path in tmp_path.iterdir()] == ["s.csv"]
    assert told.splitlines()[-1] == f"wrote {tmp_path / 's.csv'}"
    run(*command(train, "--protected", "age_group"), "-o", str(tmp_path / "s.png"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.csv", "s.png"]


def test_a_table_of_groups_that_exists_is_kept(train: str, tmp_path: Path) -> None:
    """It is refused before any work is done: the first table is not written either."""
    (tmp_path / "s.groups.csv").write_text("mine")
    asked = command(train, "--protected", "age_group", "-o", str(tmp_path / "s.csv"))
    assert "s.groups.csv exists. Name another file, or add --overwrite" in failed(*asked)
    assert [path.name for path in tmp_path.iterdir()] == ["s.groups.csv"]
    assert (tmp_path / "s.groups.csv").read_text() == "mine"
    run(*asked, "--overwrite")
    assert (tmp_path / "s.groups.csv").read_text().startswith("group,count,share")


def test_the_table_of_groups_does_not_take_the_place_of_another(train: str, tmp_path: Path) -> None:
    more = ("-o", str(tmp_path / "s.csv"), "-o", str(tmp_path / "s.groups.csv"))
    assert "is where the table of groups is written" in failed(*command(train, "--protected", "age_group"), *more)
    data = tmp_path / "s.groups.parquet"
    pd.read_parquet(train).to_parquet(data)
    asked = (*command(str(data), "--protected", "age_group", "--overwrite"), "-o", str(tmp_path / "s.parquet"))
    assert "is read by this command" in failed(*asked)
