"""The two worked examples: the bundled networks hold what their pages say, and the scripts make them again."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from dataclasses import FrozenInstanceError
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

import relucidate as rl
from relucidate.errors import ArgumentError
from relucidate.examples import Multiplexer, Titanic, multiplexer, titanic

SCRIPTS = Path(__file__).resolve().parents[1] / "examples"
PAGE = SCRIPTS.parent / "docs" / "examples.md"


def script(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.replace("/", "_").removesuffix(".py"), SCRIPTS / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- Loaders -------------------------------------------------------------------------------------------------------


def test_import_is_light() -> None:
    code = (
        "import sys, relucidate.examples as e\n"
        "e.multiplexer(), e.titanic()\n"
        "heavy = {'numpy', 'onnx', 'pyarrow', 'pandas', 'sklearn', 'torch'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_networks_load_without_torch() -> None:
    code = (
        "import sys, relucidate as rl\n"
        "rl.load(rl.examples.multiplexer().model)\n"
        "[rl.load(path) for path in rl.examples.titanic().models]\n"
        "assert not {'torch', 'onnx', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_files_are_small_and_results_frozen() -> None:
    files = [multiplexer().model, titanic().table, *titanic().models]
    assert sum(path.stat().st_size for path in files) < 100_000
    for example in (multiplexer(), titanic()):
        with pytest.raises(FrozenInstanceError):
            example.target = "other"  # type: ignore[misc]


def test_columns_are_documented() -> None:
    folder = titanic().table.parent
    for column in pd.read_parquet(titanic().table):
        assert f"`{column}`" in (folder / "titanic_README.md").read_text(encoding="utf-8")
        assert f"`{column}`" in (Titanic.__doc__ or "")
    for column in ("x1", "x2", "x3", "noise1", "noise7", "y"):
        assert f"`{column}`" in (Multiplexer.__doc__ or "")
    notice = (folder / "titanic_LICENSE.txt").read_text(encoding="utf-8")
    assert "Copyright (c) 2019 Oege Dijk" in notice
    assert "The above copyright notice and this permission notice shall be included in all" in notice


# --- Multiplexer ---------------------------------------------------------------------------------------------------


FIRST_ROWS = ["1111101001", "1000010011", "0001110100", "1011100000"]


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return multiplexer().rows()


@pytest.fixture(scope="module")
def switch(rows: pd.DataFrame) -> rl.Unwrapped:
    return rl.unwrap(rl.load(multiplexer().model), rows, multiplexer().target)


@pytest.fixture(scope="module")
def train_multiplexer() -> ModuleType:
    return script("multiplexer/train.py")


def test_rows_are_fair_independent_coins_and_a_switch(rows: pd.DataFrame) -> None:
    x = rows[list(multiplexer().features)]
    assert rows.shape == (100_000, 11)
    assert set(np.unique(rows)) == {0, 1}
    assert len(x.drop_duplicates()) == 1024
    np.testing.assert_array_equal(rows["y"], rows["x3"] * rows["x1"] + (1 - rows["x3"]) * rows["x2"])
    standard_error = 0.5 / np.sqrt(len(rows))
    assert abs(x.mean() - 0.5).max() < 4 * standard_error
    correlation = np.corrcoef(x.T) - np.eye(10)
    assert abs(correlation).max() < 4 / np.sqrt(len(rows))


def test_rows_are_the_same_everywhere(rows: pd.DataFrame) -> None:
    """The first numbers of the stream, written down, so that a numpy with another one is found out."""
    first = ["".join(map(str, row)) for row in rows.head(4)[list(multiplexer().features)].to_numpy()]
    assert first == FIRST_ROWS
    assert int(rows["y"].sum()) == 50_119
    pd.testing.assert_frame_equal(multiplexer().rows(50), rows.head(50))
    assert not multiplexer().rows(50, seed=1).equals(rows.head(50))


@pytest.mark.parametrize("n", [0, -3])
def test_rows_draws_at_least_one(n: int) -> None:
    with pytest.raises(ArgumentError, match=f"at least one row; got n={n}"):
        multiplexer().rows(n)


def test_the_network_has_the_three_regions_of_the_truth(switch: rl.Unwrapped, rows: pd.DataFrame) -> None:
    no, low, high = rows["y"] == 0, (rows["x3"] == 0) & (rows["x2"] == 1), (rows["x3"] == 1) & (rows["x1"] == 1)
    assert switch.n_regions == 3
    for region, members in enumerate((no, low, high)):
        np.testing.assert_array_equal(switch.region_of == region, members)
    assert switch.count.tolist() == [49_881, 25_150, 24_969]
    assert switch.scores["auc"] == 1
    np.testing.assert_array_equal(switch.sample.decision[:, 0] > 0, rows["y"] == 1)


def test_coefficients_of_the_three_regions(switch: rl.Unwrapped) -> None:
    coef, intercept = switch.coef[:, 0], switch.intercept[:, 0]
    assert not coef[0].any()
    assert intercept[0] == pytest.approx(-8.14, abs=0.005)  # as the page rounds it
    for region, used, size in ((1, {1: 137.06, 2: -173.44}, -128.43), (2, {0: 78.59, 2: 96.42}, -166.57)):
        rest = [j for j in range(10) if j not in used]
        np.testing.assert_allclose(coef[region, list(used)], list(used.values()), atol=0.005)
        assert intercept[region] == pytest.approx(size, abs=0.005)
        assert np.abs(coef[region, rest]).max() < 0.0003
        assert np.abs(coef[region, rest]).max() < 0.01 * np.abs(coef[region, list(used)]).min()


def test_coefficients_are_what_differences_say(switch: rl.Unwrapped) -> None:
    """Written anew: within a region of coins, flipping one coin moves the decision by its coefficient."""
    net = switch.network
    corner = np.array([[1.0, 1, 1, *[0] * 7], [0.0, 1, 0, *[0] * 7]])
    for x, region in zip(corner, (2, 1), strict=True):
        assert switch.assign(x[None])[0] == region
        for j in [*range(3, 10), 1 if region == 2 else 0]:
            other = x.copy()
            other[j] = 1 - other[j]
            assert switch.assign(other[None])[0] == region
            change = (net.decision(other[None]) - net.decision(x[None]))[0, 0] * (1 if other[j] else -1)
            # the decision is about 8.5 after cancelling terms of 170
            np.testing.assert_allclose(switch.coef[region, 0, j], change, atol=1e-11)


def test_training_again_gives_the_bundled_network(
    train_multiplexer: ModuleType, rows: pd.DataFrame, switch: rl.Unwrapped
) -> None:
    net = train_multiplexer.network(train_multiplexer.train(rows, seed=0), seed=0)
    for ours, bundled in zip(net.layers, switch.network.layers, strict=True):
        # linear-algebra libraries differ in the last digits; 10,000 steps make 5e-13 of 1e-13 at the start
        np.testing.assert_allclose(ours.weight, bundled.weight, atol=1e-6)
        np.testing.assert_allclose(ours.bias, bundled.bias, atol=1e-6)
    assert train_multiplexer.learned(net, rows) == "the truth"
    assert net.feature_names == switch.network.feature_names
    assert switch.network.provenance.source == net.provenance.source


def test_weighted_distinct_rows_have_the_gradient_of_all_rows(train_multiplexer: ModuleType) -> None:
    """What full batches of distinct rows rest on, by finite differences of the loss over all rows, one by one."""
    table = multiplexer().rows(700)
    x, y = table[list(multiplexer().features)].to_numpy(float), table["y"].to_numpy(float)
    parameters = [p + 0.1 for p in train_multiplexer.initial(3)]

    def loss() -> float:
        w1, b1, w2, b2, w3, b3 = parameters
        a1 = np.maximum(x @ w1 + b1, 0)
        log_odds = (np.maximum(a1 @ w2 + b2, 0) @ w3 + b3)[:, 0]
        return float(np.mean(np.logaddexp(0, log_odds) - y * log_odds) + 0.02 * a1.sum(axis=1).mean())

    rows, count = train_multiplexer.distinct(table)
    assert len(rows) < 600
    shares, penalty = count / count.sum(), train_multiplexer.PENALTY
    ours = train_multiplexer.gradient(
        parameters, rows.iloc[:, :10].to_numpy(float), rows[["y"]].to_numpy(), shares, penalty
    )
    for p, found in zip(parameters, ours, strict=True):
        for at in np.ndindex(p.shape):
            middle = p[at]
            p[at] = middle + 1e-6
            up = loss()
            p[at] = middle - 1e-6
            slope = (up - loss()) / 2e-6
            p[at] = middle
            assert found[at] == pytest.approx(
                slope, abs=1e-8
            )  # rounding of the loss, 1e-16, over 2e-6; no kink is near
    assert min(np.abs(found).max() for found in ours) > 1e-3


@pytest.mark.slow
def test_seeds_of_the_multiplexer_come_out_as_on_the_page(
    rows: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script("multiplexer/train.py").main(tmp_path)
    assert (tmp_path / "multiplexer.json").read_text().splitlines()[0] == "{"
    page = PAGE.read_text(encoding="utf-8")
    printed = capsys.readouterr().out.split("100,000 rows use")[0]
    assert printed.strip() in page


# --- Titanic -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def people() -> pd.DataFrame:
    return pd.read_parquet(titanic().table)


@pytest.fixture(scope="module")
def survivors(people: pd.DataFrame) -> list[rl.Unwrapped]:
    return [rl.unwrap(rl.load(path), people, titanic().target) for path in titanic().models]


def test_the_table_is_the_well_known_one(people: pd.DataFrame) -> None:
    assert len(people) == 891
    assert people["name"].is_unique
    assert people["survived"].sum() == 342
    assert people["female"].sum() == 314
    assert people["ticket_class"].value_counts().to_dict() == {3: 491, 1: 216, 2: 184}
    assert people["age"].isna().sum() == 177
    assert people["age"].mean() == pytest.approx(29.699, abs=0.001)
    assert people["fare"].mean() == pytest.approx(32.204, abs=0.001)
    assert people["embarked"].value_counts(dropna=False).tolist() == [644, 168, 77, 2]
    assert people["part"].value_counts().to_dict() == {"train": 691, "test": 200}
    assert set(people) == {*titanic().features, "survived", "name", "age", "fare"} | {
        "siblings_spouses",
        "parents_children",
        "embarked",
        "part",
    }


def slowly_coded(people: pd.DataFrame) -> list[list[int]]:
    """The coding as the page has it, one passenger at a time."""
    out = []
    for person in people.to_dict("records"):
        title = person["name"].split(", ")[1].split(".")[0]
        codes = (("Mr",), ("Miss", "Mlle", "Ms"), ("Mrs", "Mme"), ("Master",))
        code = next((i for i, group in enumerate(codes, start=1) if title in group), 5)
        age = person["age"]
        if age != age:
            alike = [
                p["age"]
                for p in people.to_dict("records")
                if (p["female"], p["ticket_class"]) == (person["female"], person["ticket_class"])
                and p["age"] == p["age"]
            ]
            age = sorted(alike)[len(alike) // 2] / 2 + sorted(alike)[(len(alike) - 1) // 2] / 2
        age_band = sum(age > end for end in (16, 32, 48, 64))
        fare_band = sum(person["fare"] > end for end in (7.91, 14.454, 31))
        port = {"Cherbourg": 1, "Queenstown": 2}.get(person["embarked"], 0)
        alone = int(person["siblings_spouses"] == 0 and person["parents_children"] == 0)
        out.append([person["ticket_class"], code, person["female"], age_band, fare_band, port, alone])
    return out


def test_inputs_are_coded_from_the_other_columns(people: pd.DataFrame) -> None:
    inputs = people[list(titanic().features)]
    assert inputs.to_numpy().tolist() == slowly_coded(people)
    prepare = script("titanic/prepare.py")
    raw = people.drop(columns=["title", "age_band", "fare_band", "port", "alone"])
    pd.testing.assert_frame_equal(prepare.coded(raw), inputs)
    assert ((people["title"] != 5) <= (people["female"] == people["title"].isin([2, 3]))).all()


def test_prepare_makes_the_table_from_the_source_columns(people: pd.DataFrame, tmp_path: Path) -> None:
    """From tables in the layout of the source, made of the bundled one: one of the sexes may be unmarked."""
    source = pd.DataFrame(
        {
            "Name": people["name"],
            "Survival": people["survived"],
            "Fare": people["fare"],
            "Age": people["age"].fillna(-999),
            "PassengerClass": people["ticket_class"],
            "No_of_siblings_plus_spouses_on_board": people["siblings_spouses"],
            "No_of_parents_plus_children_on_board": people["parents_children"],
            "Sex_female": people["female"].where(~people["name"].str.startswith("Cumings, Mrs."), 0),
            "Sex_male": 1 - people["female"],
            "Embarked_Cherbourg": (people["embarked"] == "Cherbourg").fillna(False).astype(int),
            "Embarked_Queenstown": (people["embarked"] == "Queenstown").fillna(False).astype(int),
            "Embarked_Southampton": (people["embarked"] == "Southampton").fillna(False).astype(int),
        }
    )
    for part in ("train", "test"):
        source[people["part"] == part].to_csv(tmp_path / f"{part}.csv", index=False)
    script("titanic/prepare.py").main(tmp_path / "train.csv", tmp_path / "test.csv", tmp_path)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "titanic.parquet"), people)


REGIONS = [4, 6, 1, 8, 5, 5, 7, 5]
LINEAR_REGIONS = [4, 3, 1, 6, 4, 4, 7, 3]
ACCURACY = [0.797, 0.801, 0.616, 0.799, 0.804, 0.791, 0.813, 0.804]
LARGEST = [615, 766, 891, 550, 781, 582, 478, 803]


def test_eight_networks_as_on_the_page(survivors: list[rl.Unwrapped], people: pd.DataFrame) -> None:
    assert [u.n_regions for u in survivors] == REGIONS
    assert [u.join_equal().n_regions for u in survivors] == LINEAR_REGIONS
    assert [int(u.count[0]) for u in survivors] == LARGEST
    right = [float(np.mean((u.sample.decision[:, 0] > 0) == people["survived"])) for u in survivors]
    np.testing.assert_allclose(right, ACCURACY, atol=0.0005)
    assert right[2] == 1 - people["survived"].mean()  # it says that nobody survived
    assert survivors[2].is_constant


def test_what_the_networks_agree_on(survivors: list[rl.Unwrapped]) -> None:
    largest = np.array([u.coef[0, 0] for i, u in enumerate(survivors) if i != 2])
    signs = dict(zip(titanic().features, np.sign(largest).T.tolist(), strict=True))
    assert signs.pop("fare_band").count(1) == 5
    assert {name: set(values) for name, values in signs.items()} == {
        "ticket_class": {-1},
        "title": {1},
        "female": {1},
        "age_band": {-1},
        "port": {1},
        "alone": {1},
    }


def test_networks_name_what_they_take_and_give(survivors: list[rl.Unwrapped]) -> None:
    for u in survivors:
        assert u.network.feature_names == titanic().features
        assert u.network.outputs == ("survived",)
        assert u.network.classes == (0, 1)


def test_training_again_gives_the_bundled_networks(people: pd.DataFrame) -> None:
    train = script("titanic/train.py")
    for seed in (0, 7):
        net, bundled = rl.load(train.fit(people, seed)), rl.load(titanic().models[seed])
        for ours, theirs in zip(net.layers, bundled.layers, strict=True):
            # linear-algebra libraries differ in the last digits; training makes 1e-13 of 1e-13 at the start
            np.testing.assert_allclose(ours.weight, theirs.weight, atol=1e-6)
            np.testing.assert_allclose(ours.bias, theirs.bias, atol=1e-6)


@pytest.mark.slow
def test_training_script_prints_the_table_of_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script("titanic/train.py").main(tmp_path)
    page = PAGE.read_text(encoding="utf-8")
    assert capsys.readouterr().out.strip() in page
    for bundled in titanic().models:
        layers = json.loads((tmp_path / bundled.name).read_text(encoding="utf-8"))["layers"]
        theirs = json.loads(bundled.read_text(encoding="utf-8"))["layers"]
        for ours, other in zip(layers, theirs, strict=True):
            np.testing.assert_allclose(ours["weight"], other["weight"], atol=1e-6)


# --- The page ------------------------------------------------------------------------------------------------------


def test_page_shows_what_its_code_prints(capsys: pytest.CaptureFixture[str]) -> None:
    """Text blocks that follow code are its output; those of the training scripts are looked at by the slow tests."""
    found = re.findall(r"^```(python|text)\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    names: dict[str, object] = {}
    compared = 0
    for (kind, text), (next_kind, shown) in pairwise([*found, ("", "")]):
        if kind == "python":
            exec(compile(text, PAGE.name, "exec"), names)
            printed = capsys.readouterr().out
            assert printed == (shown if next_kind == "text" else "")
            compared += next_kind == "text"
    assert compared == 6


def test_what_the_page_says_of_single_regions(survivors: list[rl.Unwrapped], people: pd.DataFrame) -> None:
    u = survivors[0]
    assert (people["female"][u.region_of != 0] == 0).all()
    assert (people["ticket_class"][u.region_of != 0] == 3).mean() > 0.95
    positive = u.sample.decision[:, 0] > 0
    assert not positive[u.region_of != 0].any()
    assert not u.coef[2].any()


def test_pictures_of_the_page_exist_and_are_made_by_a_script() -> None:
    names = re.findall(r"\]\(images/(\w+\.png)\)", PAGE.read_text(encoding="utf-8"))
    assert names
    source = (SCRIPTS / "figures.py").read_text(encoding="utf-8")
    for name in names:
        assert (PAGE.parent / "images" / name).read_bytes()[:4] == b"\x89PNG"
        assert name in source
