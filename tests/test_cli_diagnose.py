"""`relucidate diagnose`: what a user types, the sentences and tables that are printed, the files that are written."""

from inspect import signature
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
from small_networks import random_network, rows_for

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


@pytest.fixture(scope="module")
def bikes(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A regression and its table."""
    folder = tmp_path_factory.mktemp("bikes")
    net = random_network((3, 8, 1), seed=5).with_names(["hour", "temp", "a=b:c"])
    rl.export(net, folder / "net.json")
    pd.DataFrame(rows_for(net, 50), columns=list(net.feature_names)).to_csv(folder / "rows.csv", index=False)
    return str(folder / "net.json"), str(folder / "rows.csv")


def test_the_boundary_is_asked_as_in_python(tables: tuple[str, str], tmp_path: Path) -> None:
    u = rl.unwrap(rl.load(LOANS.model), tables[0], "default")
    rows = pd.read_parquet(tables[0]).iloc[[3, 7]]
    common = command(Diagnosis.boundary, tables)
    cases: list[tuple[tuple[str, ...], dict[str, Any]]] = [
        (("--freeze", "credit_score", "--freeze", "mortgage_rate_change"), {"frozen": [0, "mortgage_rate_change"]}),
        (("--bound", "credit_score=610:621.5"), {"bounds": {"credit_score": (610, 621.5)}}),
        (
            ("--bound", "credit_score=600:", "--bound", "unemployment_rate=:-1e3"),
            {"bounds": {"credit_score": (600, np.inf), "unemployment_rate": (-np.inf, -1000)}},
        ),
        (("--norm", "1"), {"norm": 1}),
        (("--norm", "inf"), {"norm": np.inf}),
        (("--threshold", "-1.5"), {"level": -1.5}),
    ]
    plain = rl.diagnose.boundary(u, rows)
    for n, (options, asked) in enumerate(cases):
        out = tmp_path / f"{n}.parquet"
        printed = run(*common, *options, "-o", str(out))
        expected = rl.diagnose.boundary(u, rows, **asked)
        assert not np.array_equal(expected.distance, plain.distance)
        np.testing.assert_array_equal(pd.read_parquet(out)["distance_counterfactual"], expected.distance)
        assert repr(expected) in printed
        assert all(note in printed for note in expected.notes)
    assert "The level, a decision of −1.5, is a prediction of 0.1824." in printed


def test_a_column_may_have_a_name_like_a_bound(bikes: tuple[str, str]) -> None:
    printed = run("diagnose", "boundary", *bikes, "--row", "0", "--bound", "a=b:c=-1:1", "--threshold", "0.1")
    assert "decided" in printed
    assert "'a=b:c'" in failed("diagnose", "boundary", *bikes, "--row", "0", "--freeze", "a=b:d")


def test_a_regression_has_no_boundary_without_a_threshold(bikes: tuple[str, str], tmp_path: Path) -> None:
    out = tmp_path / "rows.png"
    printed = run("diagnose", "boundary", *bikes, "--row", "0", "--row", "4")
    assert printed.startswith("Row 0 has a decision of ")
    assert printed.count("give `level`, on the command line --threshold.") == 2
    assert "Its region ends" in printed
    assert "decided" not in printed
    assert "wrote" in run("diagnose", "boundary", *bikes, "--row", "0", "-o", str(out))
    given = run("diagnose", "boundary", *bikes, "--row", "0", "--threshold", "0")
    assert "Row 0 is decided " in given
    assert "above 0" in given


def test_thresholds_of_reliability_are_those_of_python(tables: tuple[str, str]) -> None:
    u = rl.unwrap(rl.load(LOANS.model), tables[0], "default")
    plain = repr(rl.diagnose.reliability(u))
    for name, value in (("min_rows", 100), ("max_condition", 5.0), ("min_skill", 0.9), ("max_distance", 0.01)):
        asked: dict[str, Any] = {name: value}
        expected = repr(rl.diagnose.reliability(u, **asked))
        assert expected != plain
        printed = run(*command(Diagnosis.reliability, tables), f"--{name.replace('_', '-')}", str(value))
        assert printed.startswith(expected)


def test_help_says_the_defaults_of_python() -> None:
    told = " ".join(run("diagnose", "--help").split())
    defaults = signature(rl.diagnose.reliability).parameters
    for name in ("min_rows", "max_condition", "min_skill", "max_distance"):
        after = told.split(f"--{name.replace('_', '-')} ")[1].split(" --")[0]
        assert f"{defaults[name].default:g} by default" in after
    asked = signature(rl.diagnose.boundary).parameters
    assert f"{asked['norm'].default} by default" in told.split("--norm ")[1].split(" --")[0]


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
    words = "--target is 'default', and " + new + " has no such column"
    assert words in failed("diagnose", "performance", str(LOANS.model), tables[0], "-t", "default", "--test", new)


def test_errors_about_another_table_name_it(tables: tuple[str, str], tmp_path: Path) -> None:
    frame = pd.read_parquet(tables[1])
    lacking, odd = str(tmp_path / "lacking.parquet"), str(tmp_path / "odd.parquet")
    frame.drop(columns="credit_score").to_parquet(lacking)
    frame.assign(default=frame["default"].where(frame.index != 5, 7)).to_parquet(odd)
    common = (str(LOANS.model), tables[0], "-t", "default", "--test")
    for diagnosis in ("exposure", "extrapolation", "performance", "segments"):
        message = failed("diagnose", diagnosis, *common, lacking)
        assert message.startswith(f"{lacking}: ")
        assert "'credit_score'" in message
        assert failed("diagnose", diagnosis, *common, odd).startswith(f"{odd}: Row 5 has the label 7")


def test_help_says_which_diagnosis_heeds_an_option() -> None:
    told = " ".join(run("diagnose", "--help").split())
    assert "Feature to look at. Of monotonicity." in told
    assert "Another table; may be given again. Of performance, exposure, extrapolation, segments." in told


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
            f"--protected is 'sex', and {train} has no such column",
        ),
        (("monotonicity", model, train, "--expect", "credit_scor=+"), "--expect: 'credit_scor' is no feature"),
        (("exposure", model, train, "--test", test, "-o", test), "is read by this command"),
        (("reliability", model, train, "--freeze", "age"), "--freeze has no meaning for reliability"),
        (("boundary", model, train, "--row", "0", "--min-skill", "0"), "--min-skill has no meaning for boundary"),
        (("reliability", model, train, "--threshold", "0"), "--threshold has no meaning for reliability"),
        (("reliability", model, train, "--min-rows", "0"), "min_rows is 0; expected a whole number"),
        (
            ("boundary", model, train, "--row", "0", "--freeze", "credit_skore"),
            "'credit_skore' is no feature of this network. Did",
        ),
        *(
            (("boundary", model, train, "--row", "0", "--bound", text), f"--bound is '{text}'; expected a column and")
            for text in ("age", "age=5", "=1:2", "age=:", "age=1:2:3", "age=a:b", "age=nan:1", "1:2")
        ),
        (("boundary", model, train, "--row", "0", "--bound", "credit_score=2:1"), "the lowest comes first"),
        (
            ("boundary", model, train, "--row", "0", "--bound", "age=2:", "--bound", "age=:9"),
            "--bound names 'age' twice; give both ends at once, as income=0:100000.",
        ),
        (("boundary", model, train, "--row", "0", "--threshold", "nan"), "level is nan; expected a finite number"),
    ]
    for arguments, words in cases:
        assert words in failed("diagnose", *arguments)
    assert list(tmp_path.iterdir()) == []
