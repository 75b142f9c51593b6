"""`relucidate interpret` and `relucidate explain`: what a user types, the table that is printed, the files that are written."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread
from typer.testing import CliRunner

import relucidate as rl
from relucidate import plot
from relucidate.cli import app
from relucidate.cli_interpret import _VIEWS, View
from relucidate.examples import home_lending

LOANS = home_lending()
FEATURE = ("--feature", "loan_to_value")
OPTIONS: dict[View, tuple[str, ...]] = {
    View.profile: FEATURE,
    View.ice: FEATURE,
    View.partial_dependence: FEATURE,
    View.ale: FEATURE,
    View.path: ("--row", "3"),
    View.integrated_gradients: ("--row", "3", "--row", "7"),
    View.shapley: ("--row", "3"),
    View.stability: ("--against", str(LOANS.model)),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The first 400 loans, which lie in some dozens of regions."""
    path = tmp_path_factory.mktemp("data") / "loans.parquet"
    pd.read_parquet(LOANS.train).head(400).to_parquet(path)
    return str(path)


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def failed(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code != 0
    assert done.exception is not None
    return str(done.exception) if not isinstance(done.exception, SystemExit) else done.output


def test_every_view_has_a_maker_and_a_picture() -> None:
    assert set(_VIEWS) == set(View)
    for view in _VIEWS.values():
        assert callable(getattr(plot, view.picture))


@pytest.mark.parametrize("view", list(View), ids=lambda view: view.value)
def test_a_view_is_printed_and_written(view: View, data: str, tmp_path: Path) -> None:
    command = ("interpret", view.value, str(LOANS.model), data, "--target", "default", *OPTIONS.get(view, ()))
    printed = run(*command)
    assert len(printed.splitlines()) > 3
    assert "array(" not in printed
    files = [tmp_path / f"view.{ending}" for ending in ("png", "csv", "parquet")]
    assert "wrote" in run(*command, *(word for file in files for word in ("-o", str(file))))
    assert imread(files[0]).shape[1] > 300
    csv, parquet = pd.read_csv(files[1]), pd.read_parquet(files[2])
    assert csv.columns.tolist() == parquet.columns.tolist()
    assert len(csv) == len(parquet) > 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["view.csv", "view.parquet", "view.png"]
    assert run(*command, "--quiet") == ""


@pytest.mark.parametrize("ending", ["svg", "pdf"])
def test_pictures_are_the_same_each_time(ending: str, data: str, tmp_path: Path) -> None:
    command = ("interpret", "importance", str(LOANS.model), data, "-q", "-o")
    one, two = tmp_path / f"one.{ending}", tmp_path / f"two.{ending}"
    run(*command, str(one))
    run(*command, str(two))
    assert one.read_bytes() == two.read_bytes()


def test_kinds_are_those_of_python(data: str, tmp_path: Path) -> None:
    u = rl.unwrap(rl.load(LOANS.model), data)
    out = tmp_path / "table.parquet"
    for kind in ("variance", "coefficients"):
        run("interpret", "importance", str(LOANS.model), data, "--kind", kind, "-o", str(out))
        expected = rl.interpret.importance(u, kind=kind).to_frame()  # type: ignore[arg-type]
        pd.testing.assert_frame_equal(pd.read_parquet(out), expected.reset_index(drop=True))
    run("interpret", "partial-dependence", str(LOANS.model), data, *FEATURE, "--kind", "prediction", "-o", str(out))
    effect = rl.interpret.partial_dependence(u, None, "loan_to_value", scale="prediction")
    pd.testing.assert_frame_equal(pd.read_parquet(out), effect.to_frame())


def test_attributions_without_rows_are_of_all(data: str, tmp_path: Path) -> None:
    out = tmp_path / "all.parquet"
    assert "of 400 rows from the mean row" in run("interpret", "integrated-gradients", str(LOANS.model), data)
    run("interpret", "integrated-gradients", str(LOANS.model), data, "-o", str(out))
    u = rl.unwrap(rl.load(LOANS.model), data)
    found = pd.read_parquet(out).pivot_table(index="row", columns="feature", values="attribution")
    gain = u.sample.decision[:, 0] - u.network.trace(u.sample.mean[None]).decision[0, 0]
    np.testing.assert_allclose(found.sum(axis=1), gain, atol=1e-12)


def test_a_path_starts_where_it_is_told(data: str, tmp_path: Path) -> None:
    u = rl.unwrap(rl.load(LOANS.model), data)
    x, out = u.sample.x, tmp_path / "path.parquet"
    cases: list[tuple[tuple[str, ...], Any]] = [
        (("--row", "3", "--row", "9"), x[3]),
        (("--row", "9"), u.sample.mean),
        (("--row", "9", "--baseline", "4"), x[4]),
    ]
    for options, start in cases:
        run("interpret", "path", str(LOANS.model), data, *options, "-o", str(out))
        expected = rl.interpret.path(u, start, x[9]).to_frame()
        np.testing.assert_allclose(pd.read_parquet(out)["stop"], expected["stop"], atol=1e-12)


def test_a_row_is_explained_in_words(data: str, tmp_path: Path) -> None:
    out = tmp_path / "rows.csv"
    command = ("explain", str(LOANS.model), data, "-t", "default", "--row", "17", "--row", "5", "--baseline", "mean")
    printed = run(*command, "-o", str(out))
    u = rl.unwrap(rl.load(LOANS.model), data, "default")
    assert re.findall(r"^Row (\d+): the decision", printed, re.MULTILINE) == ["17", "5"]
    assert f"{u.sample.decision[17, 0]:.4g}".replace("-", "−") in printed
    assert "IntegratedGradients of 2 rows from the mean row" in printed
    frame = pd.read_csv(out)
    assert frame["row"].unique().tolist() == [17, 5]
    x, coef = u.sample.x[5], u.coef[u.region_of[5], 0]
    np.testing.assert_allclose(frame.loc[frame["row"] == 5, "effect"], coef * x, rtol=1e-9)


def test_what_makes_no_sense_is_refused(data: str, tmp_path: Path) -> None:
    model = str(LOANS.model)
    cases = [
        (("interpret", "clusters", model, data, "--row", "3"), "--row has no meaning for clusters"),
        (("interpret", "importance", model, data, "--kind", "lines"), "expected variance or coefficients"),
        (("interpret", "ale", model, data, "--kind", "lines"), "it has no variants"),
        (("interpret", "ale", model, data), "give it by --feature"),
        (("interpret", "ale", model, data, "-f", "loan_to_valu"), "Did you mean 'loan_to_value'"),
        (("interpret", "ale", model, data, *FEATURE, "-o", str(tmp_path / "x.jpg")), "x.jpg: the ending says"),
        (("interpret", "path", model, data), "give --row twice"),
        (("interpret", "path", model, data, "--row", "400"), "There is no row 400 in"),
        (("interpret", "path", model, data, "--row", "1", "--baseline", "zero"), "--baseline is 'zero'"),
        (("interpret", "stability", model, data), "give the others by --against"),
        (("interpret", "shapley", model, data), "give --row, once or more"),
        (
            ("interpret", "importance", model, data, "--of", "maybe", "-o", str(tmp_path / "x.png")),
            "output is 'maybe'",
        ),
        (("explain", model, data, "--row", "500"), "There is no row 500 in"),
    ]
    for command, words in cases:
        assert words in failed(*command)
    assert list(tmp_path.iterdir()) == []
