"""`relucidate interpret` and `relucidate explain`: what a user types, the table that is printed, the files that are written."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread
from sklearn.compose import ColumnTransformer
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from typer.testing import CliRunner

import relucidate as rl
from relucidate import plot, shapley_values
from relucidate.cli import app
from relucidate.cli_interpret import _VIEWS, View
from relucidate.cli_parts import spoken
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
    View.stability: ("--against", "OTHER"),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The first 400 loans, which lie in some dozens of regions."""
    path = tmp_path_factory.mktemp("data") / "loans.parquet"
    pd.read_parquet(LOANS.train).head(400).to_parquet(path)
    return str(path)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Another network on the same features."""
    net = rl.load(LOANS.model)
    first = net.layers[0]
    turned = replace(net, layers=(replace(first, bias=first.bias[::-1]), *net.layers[1:]))
    path = tmp_path_factory.mktemp("models") / "turned.json"
    rl.export(turned, path)
    return str(path)


@pytest.fixture(scope="module")
def wines(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A network that tells three classes apart, called 1, 2 and 3, from a number and a category; and its table."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"age": rng.normal(size=200), "soil": rng.choice(["clay", "sand"], 200)})
    label = 1 + (table["age"] > 0.3).astype(int) + (table["soil"] == "clay")
    pipe = make_pipeline(
        ColumnTransformer([("n", "passthrough", ["age"]), ("c", OneHotEncoder(), ["soil"])]),
        MLPClassifier((6, 5), max_iter=400, random_state=0, solver="lbfgs"),
    ).fit(table, label)
    folder = tmp_path_factory.mktemp("wines")
    rl.export(rl.load(pipe), folder / "wines.json")
    table.assign(label=label).to_csv(folder / "wines.csv", index=False)
    return str(folder / "wines.json"), str(folder / "wines.csv")


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
def test_a_view_is_printed_and_written(view: View, data: str, other: str, tmp_path: Path) -> None:
    options = [other if option == "OTHER" else option for option in OPTIONS.get(view, ())]
    command = ("interpret", view.value, str(LOANS.model), data, "--target", "default", *options)
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
    assert run(*command, "--quiet", "-o", str(files[0]), "--overwrite") == ""


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
        run("interpret", "importance", str(LOANS.model), data, "--kind", kind, "-o", str(out), "--overwrite")
        expected = rl.interpret.importance(u, kind=kind).to_frame()  # type: ignore[arg-type]
        pd.testing.assert_frame_equal(pd.read_parquet(out), expected.reset_index(drop=True))
    run(
        "interpret",
        "partial-dependence",
        str(LOANS.model),
        data,
        *FEATURE,
        "--kind",
        "prediction",
        "-o",
        str(out),
        "--overwrite",
    )
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
        run("interpret", "path", str(LOANS.model), data, *options, "-o", str(out), "--overwrite")
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


def test_several_rows_have_a_picture_each_and_their_attributions(
    data: str, wines: tuple[str, str], tmp_path: Path
) -> None:
    png, csv = tmp_path / "why.png", tmp_path / "why.csv"
    command = ("explain", str(LOANS.model), data, "--row", "17", "--row", "5")
    printed = run(*command, "--baseline", "mean", "-o", str(png), "-o", str(csv))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["why-17.png", "why-5.png", "why.csv"]
    assert "why-17.png" in printed.splitlines()[-1]
    u = rl.unwrap(rl.load(LOANS.model), data)
    rows = pd.read_parquet(data).iloc[[17, 5]]
    expected = rl.interpret.integrated_gradients(u, rows, "mean").to_frame()["attribution"]
    np.testing.assert_allclose(pd.read_csv(csv)["attribution"], expected, atol=1e-12)
    assert "why-17.png exists" in failed(*command, "-o", str(png))
    run("explain", str(LOANS.model), data, "--row", "5", "-q", "-o", str(png))
    assert png.read_bytes() == (tmp_path / "why-5.png").read_bytes() != (tmp_path / "why-17.png").read_bytes()
    # indicators have attributions of their own, which add up to those of their column
    out = tmp_path / "wines.csv"
    run("explain", *wines, "--row", "3", "--baseline", "mean", "--of", "2", "-q", "-o", str(out))
    net = rl.load(wines[0])
    table = pd.read_csv(wines[1])
    found = rl.interpret.integrated_gradients(rl.unwrap(net, table), table.iloc[[3]], "mean").to_frame()
    frame = pd.read_csv(out)
    whole = found.query("output == '2'")["attribution"].sum()
    assert len(frame) == 3
    np.testing.assert_allclose(frame["attribution"].sum(), whole, atol=1e-12)


def test_importance_of_one_output_is_headlined_as_such(wines: tuple[str, str]) -> None:
    u = rl.unwrap(rl.load(wines[0]), wines[1])
    share = rl.interpret.importance(u).share
    assert np.ptp(share[:, 0]) > 0.01
    for k, output in enumerate("123"):
        first = run("interpret", "importance", *wines, "--of", output).splitlines()[0]
        assert f" for '{output}' (" in first
        best = int(share[k].argmax())
        assert f": '{('age', 'soil')[best]}' {share[k, best]:.1%}" in first


def test_errors_speak_of_the_rows_and_options_of_the_command(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapley_values, "_seconds", lambda game, row: 1.0)
    monkeypatch.setattr(shapley_values, "FREE", 3)
    message = failed("interpret", "shapley", str(LOANS.model), data, "--row", "17")
    assert re.match(r"Row 17 and a background row differ in \d+ of \d+ columns, and that takes too long", message)
    assert spoken(message).endswith("Take integrated-gradients, which is exact for any number of features.")


def test_an_existing_file_is_kept(data: str, tmp_path: Path) -> None:
    out = tmp_path / "mine.csv"
    out.write_text("mine")
    command = ("interpret", "importance", str(LOANS.model), data, "-o", str(out))
    assert "mine.csv exists. Name another file, or add --overwrite" in failed(*command)
    assert out.read_text() == "mine"
    run(*command, "--overwrite")
    assert out.read_text().startswith("output,feature")


def test_classes_that_are_numbers_are_meant_by_name(wines: tuple[str, str], tmp_path: Path) -> None:
    model, table = wines
    printed = run("explain", model, table, "--row", "5", "--of", "1")
    assert "the decision for '1' is" in printed
    assert "the decision for '3' is" in run("explain", model, table, "--row", "5", "--of", "3")
    out = tmp_path / "one.csv"
    run("interpret", "importance", model, table, "--of", "2", "-o", str(out))
    assert pd.read_csv(out)["output"].unique().tolist() == [2]
    assert "'4' is no output" in failed("interpret", "importance", model, table, "--of", "nonsense").replace(
        "nonsense", "4"
    )
    run("interpret", "partial-dependence", model, table, "-f", "age", "--of", "2", "-o", str(out), "--overwrite")
    assert pd.read_csv(out).columns.tolist() == ["value", "effect[2]"]


def test_rows_keep_their_numbers_and_categories_their_names(wines: tuple[str, str], tmp_path: Path) -> None:
    model, table = wines
    soil = pd.read_csv(table)["soil"]
    for view in ("integrated-gradients", "shapley"):
        out = tmp_path / f"{view}.parquet"
        run("interpret", view, model, table, "--row", "17", "--row", "3", "-o", str(out))
        frame = pd.read_parquet(out)
        assert frame["row"].unique().tolist() == [17, 3]
        named = frame[frame["feature"] == "soil"].drop_duplicates("row").set_index("row")["value"]
        assert named.to_dict() == {17: soil[17], 3: soil[3]}
    out = tmp_path / "ice.csv"
    run("interpret", "ice", model, table, "--row", "17", "-f", "0", "-o", str(out))
    assert pd.read_csv(out)["row"].unique().tolist() == [17]


def test_weights_count_in_stability(data: str, other: str, tmp_path: Path) -> None:
    weighted = tmp_path / "weighted.parquet"
    frame = pd.read_parquet(data)
    frame.assign(w=np.linspace(0, 1, len(frame)) ** 4).to_parquet(weighted)
    command = ("interpret", "stability", str(LOANS.model), str(weighted), "--against", other)
    plain, heavy = run(*command), run(*command, "--weight", "w")
    assert plain != heavy
    assert "turned" in run("interpret", "stability", str(LOANS.model), str(weighted), "--against", other)


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
            "'maybe' is no output of this network",
        ),
        (("explain", model, data, "--row", "500"), "There is no row 500 in"),
        (("interpret", "importance", model, data, "-q"), "there is nothing to show"),
        (("interpret", "importance", model, data, "-o", data), "is read by this command"),
        (("interpret", "importance", model, data, "-o", str(tmp_path / "no" / "x.png")), "there is no folder"),
        (("interpret", "path", model, data, "--row", "1", "--row", "2", "--baseline", "4"), "A path has one start"),
        (("interpret", "stability", model, data, "--against", model), "compared with itself"),
        (("report", model, data, "-o", str(tmp_path / "x.pdf")), "expected a name that ends in .html"),
        (("report", model, data, "-o", str(tmp_path / "x.html"), "--expect", "credit_scor=+"), "'credit_score'"),
        (("interpret", "importance", model, data, "-t", "DEFAUL"), "--target is 'DEFAUL', and " + data),
        (("interpret", "importance", model, data, "-t", "def"), "Did you mean 'default'?"),
        (("interpret", "importance", model, data, "--weight", "q"), "--weight is 'q', and"),
        (("interpret", "importance", model, data, "--output", "third"), "Did you mean --of third?"),
        (("explain", model, data, "--row", "1", "-q"), "there is nothing to show"),
        (
            ("explain", model, data, "--row", "1", "-q", "--baseline", "mean", "-o", str(tmp_path / "x.png")),
            "Add -o table.csv",
        ),
    ]
    for command, words in cases:
        assert words in failed(*command)
    assert list(tmp_path.iterdir()) == []
