"""`relucidate diagnose`: what a user types, the sentences and tables that are printed, the files that are written."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import relucidate as rl
from relucidate import plot
from relucidate.cli import app
from relucidate.cli_diagnose import _VIEWS, Diagnosis
from relucidate.examples import home_lending

LOANS = home_lending()
OPTIONS: dict[Diagnosis, tuple[str, ...]] = {
    Diagnosis.exposure: ("--test", "TEST"),
    Diagnosis.extrapolation: ("--test", "TEST"),
    Diagnosis.boundary: ("--row", "3", "--row", "7"),
    Diagnosis.monotonicity: ("--expect", "credit_score=-"),
    Diagnosis.segments: ("--protected", "age_group"),
}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Loans of the calm period and of the downturn, some of each."""
    folder = tmp_path_factory.mktemp("data")
    pd.read_parquet(LOANS.train).head(1500).to_parquet(folder / "train.parquet")
    pd.read_parquet(LOANS.test).head(800).to_parquet(folder / "test.parquet")
    return str(folder / "train.parquet"), str(folder / "test.parquet")


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def failed(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code != 0
    assert done.exception is not None
    return str(done.exception) if not isinstance(done.exception, SystemExit) else done.output


def command(diagnosis: Diagnosis, tables: tuple[str, str]) -> tuple[str, ...]:
    options = [tables[1] if option == "TEST" else option for option in OPTIONS.get(diagnosis, ())]
    return ("diagnose", diagnosis.value, str(LOANS.model), tables[0], "--target", "default", *options)


def test_every_diagnosis_has_a_maker_and_a_picture() -> None:
    assert set(_VIEWS) == set(Diagnosis)
    assert all(callable(getattr(plot, diagnosis.value)) for diagnosis in Diagnosis)


@pytest.mark.parametrize("diagnosis", list(Diagnosis), ids=lambda d: d.value)
def test_a_diagnosis_is_printed_and_written(diagnosis: Diagnosis, tables: tuple[str, str], tmp_path: Path) -> None:
    printed = run(*command(diagnosis, tables))
    assert len(printed.splitlines()) > 3
    assert "array(" not in printed
    files = [tmp_path / f"found.{ending}" for ending in ("png", "csv", "parquet")]
    assert "wrote" in run(*command(diagnosis, tables), *(word for file in files for word in ("-o", str(file))))
    csv, parquet = pd.read_csv(files[1]), pd.read_parquet(files[2])
    assert csv.columns.tolist() == parquet.columns.tolist()
    assert len(csv) == len(parquet) > 0
    assert files[0].stat().st_size > 5000


def test_numbers_are_those_of_python(tables: tuple[str, str], tmp_path: Path) -> None:
    u = rl.unwrap(rl.load(LOANS.model), tables[0], "default")
    printed = run(*command(Diagnosis.reliability, tables))
    assert printed.startswith(repr(rl.diagnose.reliability(u)))
    out = tmp_path / "rows.parquet"
    run(*command(Diagnosis.boundary, tables), "-o", str(out))
    frame = pd.read_parquet(out)
    assert frame["row"].tolist() == [3, 7]
    rows = pd.read_parquet(tables[0]).iloc[[3, 7]]
    np.testing.assert_allclose(frame["distance_facet"], rl.diagnose.boundary(u, rows).distance_facet)
    drift = run(*command(Diagnosis.exposure, tables))
    assert "test has drifted against train" in drift


def weighted(path: str, folder: Path, name: str) -> Any:
    """A table with weights, half of which are 0, written to a file."""
    frame = pd.read_parquet(path)
    rng = np.random.default_rng(0)
    frame["w"] = np.where(rng.random(len(frame)) < 0.5, 0.0, rng.random(len(frame)))
    frame.to_parquet(folder / name)
    return frame


def test_weights_are_those_of_the_other_table_too(tables: tuple[str, str], tmp_path: Path) -> None:
    train = weighted(tables[0], tmp_path, "train.parquet")
    test = weighted(tables[1], tmp_path, "test.parquet")
    files = [str(tmp_path / name) for name in ("train.parquet", "test.parquet")]
    net = rl.load(LOANS.model)
    u, other = (rl.unwrap(net, frame, "default", "w") for frame in (train, test))
    common = (str(LOANS.model), files[0], "-t", "default", "--weight", "w", "--test", files[1])
    assert run("diagnose", "performance", *common).startswith(repr(rl.diagnose.performance(u, other)))
    expected = rl.diagnose.segments(u, other, protected=test["age_group"])
    assert run("diagnose", "segments", *common, "--protected", "age_group").startswith(repr(expected))
    expected = rl.diagnose.segments(u, protected=train["age_group"])
    assert run("diagnose", "segments", *common[:6], "--protected", "age_group").startswith(repr(expected))
    assert any(line.startswith("age_group ") for line in expected.summary())
    assert run("diagnose", "extrapolation", *common).startswith(repr(rl.diagnose.extrapolation(u, other)))


def test_new_rows_need_no_response_yet(tables: tuple[str, str], tmp_path: Path) -> None:
    new = str(tmp_path / "new.parquet")
    pd.read_parquet(tables[1]).drop(columns="default").to_parquet(new)
    for diagnosis, words in (("exposure", "test: 800 rows; no response"), ("extrapolation", "of 800 rows")):
        printed = run("diagnose", diagnosis, str(LOANS.model), tables[0], "-t", "default", "--test", new)
        assert words in printed
    words = "y is 'default', but X has no such column"
    assert words in failed("diagnose", "performance", str(LOANS.model), tables[0], "-t", "default", "--test", new)


def test_an_input_may_be_protected(tables: tuple[str, str]) -> None:
    printed = run(*command(Diagnosis.reliability, tables)[:1], "segments", str(LOANS.model), tables[0], "-t", "default",
                  "--protected", "self_employed")  # fmt: skip
    assert "self_employed 1 (" in printed


def test_what_makes_no_sense_is_refused(tables: tuple[str, str], tmp_path: Path) -> None:
    model, (train, test) = str(LOANS.model), tables
    cases = [
        (("reliability", model, train, "--row", "3"), "--row has no meaning for reliability"),
        (("exposure", model, train), "give the other one by --test"),
        (("extrapolation", model, train, "-t", "default"), "Give --test DATA2"),
        (("boundary", model, train), "give --row, once or more"),
        (("monotonicity", model, train, "--expect", "credit_score"), "a feature and a sign"),
        (("complexity", model, train, "-q"), "there is nothing to show"),
        (("performance", model, train), "performance compares with the response: name its column by --target"),
        (("segments", model, train), "segments compares with the response: name its column by --target"),
        (
            ("segments", model, train, "-t", "default", "--protected", "sex"),
            "protected is 'sex', but X has no such column",
        ),
        (("exposure", model, train, "--test", test, "-o", test), "is read by this command"),
    ]
    for arguments, words in cases:
        assert words in failed("diagnose", *arguments)
    assert list(tmp_path.iterdir()) == []
