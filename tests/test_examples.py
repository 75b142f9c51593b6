"""The bundled example: it is small, it is what its scripts make, and what it claims to hold is in it."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from onnx.reference import ReferenceEvaluator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from relucidate.examples import HomeLending, home_lending

SCRIPTS = Path(__file__).resolve().parents[1] / "examples" / "home_lending"


@pytest.fixture(scope="module")
def simulate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("home_lending_simulate", SCRIPTS / "simulate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def example() -> HomeLending:
    return home_lending()


@pytest.fixture(scope="module")
def train(example: HomeLending) -> pa.Table:
    return pq.read_table(example.train)


@pytest.fixture(scope="module")
def test(example: HomeLending) -> pa.Table:
    return pq.read_table(example.test)


@pytest.fixture(scope="module")
def model(example: HomeLending) -> onnx.ModelProto:
    return onnx.load(example.model)


def metadata(model: onnx.ModelProto) -> dict[str, list[str]]:
    return {prop.key: json.loads(prop.value) for prop in model.metadata_props}


def inputs(table: pa.Table, names: list[str]) -> np.ndarray:
    return np.column_stack([table[name].to_numpy() for name in names]).astype(np.float64)


def probability(model: onnx.ModelProto, table: pa.Table) -> np.ndarray:
    (p,) = ReferenceEvaluator(model).run(None, {"loans": inputs(table, metadata(model)["relucidate.feature_names"])})
    return p[:, 0]


def mean(table: pa.Table, column: str) -> float:
    return float(np.mean(table[column].to_numpy()))


# --- The files -----------------------------------------------------------------------------------------------------


def test_files_are_small(example: HomeLending) -> None:
    assert sum(path.stat().st_size for path in (example.model, example.train, example.test)) < 1_000_000


def test_result_is_frozen(example: HomeLending) -> None:
    with pytest.raises(FrozenInstanceError):
        example.target = "other"  # type: ignore[misc]


def test_import_is_light() -> None:
    code = (
        "import sys, relucidate.examples\n"
        "heavy = {'numpy', 'onnx', 'pyarrow', 'pandas', 'sklearn'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_columns_are_documented(example: HomeLending, train: pa.Table, test: pa.Table) -> None:
    assert train.schema.equals(test.schema)
    readme = (example.model.parent / "README.md").read_text(encoding="utf-8")
    for column in train.column_names:
        assert f"`{column}`" in readme
        assert f"`{column}`" in (HomeLending.__doc__ or "")


def test_values_are_in_their_natural_ranges(train: pa.Table, test: pa.Table) -> None:
    ranges = {
        "credit_score": (300, 850),
        "loan_to_value": (10, 130),
        "debt_to_income": (3, 65),
        "delinquencies_12m": (0, 12),
        "loan_age_months": (1, 240),
        "interest_rate_spread": (-0.5, 6),
        "loan_amount_usd": (20_000, 2_000_000),
        "unemployment_rate": (2, 16),
        "house_price_growth_1y": (-35, 35),
        "mortgage_rate_change": (-3, 3),
        "first_time_buyer": (0, 1),
        "self_employed": (0, 1),
        "default": (0, 1),
    }
    for table in (train, test):
        assert all(table[name].null_count == 0 for name in table.column_names)
        for name, (low, high) in ranges.items():
            values = table[name].to_numpy()
            assert low <= values.min() < values.max() <= high, name
            assert not np.any((values == 0) & np.signbit(values.astype(float))), f"{name} holds -0.0"


# --- The scripts make the files ------------------------------------------------------------------------------------


def test_simulating_again_gives_the_bundled_tables(simulate: ModuleType, train: pa.Table, test: pa.Table) -> None:
    assert simulate.simulate(simulate.N_TRAIN, "train", simulate.TRAIN_SEED).equals(train)
    assert simulate.simulate(simulate.N_TEST, "later", simulate.TEST_SEED).equals(test)


def test_main_writes_both_tables(simulate: ModuleType, tmp_path: Path, train: pa.Table, test: pa.Table) -> None:
    simulate.main(tmp_path)
    assert pq.read_table(tmp_path / "home_lending_train.parquet").equals(train)
    assert pq.read_table(tmp_path / "home_lending_test.parquet").equals(test)


def test_another_seed_gives_other_rows(simulate: ModuleType) -> None:
    assert simulate.simulate(50, seed=1).equals(simulate.simulate(50, seed=1))
    assert not simulate.simulate(50, seed=1).equals(simulate.simulate(50, seed=2))


# --- The network ---------------------------------------------------------------------------------------------------


def test_metadata_names_the_columns(model: onnx.ModelProto, simulate: ModuleType, train: pa.Table) -> None:
    names = metadata(model)["relucidate.feature_names"]
    assert names == list(simulate.FEATURES)
    assert set(train.column_names) - set(names) == {"quarter", "region", "age_group", "default"}
    assert metadata(model)["relucidate.classes"] == [0, 1]


def test_network_is_a_scaler_and_relu_layers(model: onnx.ModelProto) -> None:
    onnx.checker.check_model(model, full_check=True)
    ops = [node.op_type for node in model.graph.node]
    assert ops == ["Sub", "Div", "Gemm", "Relu", "Gemm", "Relu", "Gemm", "Sigmoid"]


def test_onnxruntime_agrees(example: HomeLending, model: onnx.ModelProto, test: pa.Table) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(example.model, providers=["CPUExecutionProvider"])
    (p,) = session.run(["probability"], {"loans": inputs(test, metadata(model)["relucidate.feature_names"])})
    np.testing.assert_allclose(p[:, 0], probability(model, test), rtol=1e-12)


def test_network_is_better_than_logistic_regression(
    model: onnx.ModelProto, simulate: ModuleType, train: pa.Table, test: pa.Table
) -> None:
    names = list(simulate.FEATURES)
    scaler = StandardScaler().fit(inputs(train, names))
    linear = LogisticRegression().fit(scaler.transform(inputs(train, names)), train["default"].to_numpy())
    for table in (train, test):
        y = table["default"].to_numpy()
        auc = roc_auc_score(y, probability(model, table))
        assert auc > 0.89
        assert auc > roc_auc_score(y, linear.decision_function(scaler.transform(inputs(table, names)))) + 0.02
        assert auc < roc_auc_score(y, simulate.true_log_odds(table))


def test_training_rows_lie_in_331_regions(model: onnx.ModelProto, simulate: ModuleType, train: pa.Table) -> None:
    constant = {c.name: onnx.numpy_helper.to_array(c) for c in model.graph.initializer}
    hidden = (inputs(train, list(simulate.FEATURES)) - constant["mean"]) / constant["scale"]
    bits = []
    for i in (1, 2):
        hidden = np.maximum(hidden @ constant[f"weight_{i}"] + constant[f"bias_{i}"], 0)
        bits.append(hidden > 0)
    assert len(np.unique(np.hstack(bits), axis=0)) == 331


# --- What is planted -----------------------------------------------------------------------------------------------


def test_base_rates(train: pa.Table, test: pa.Table) -> None:
    assert 0.06 < mean(train, "default") < 0.10
    assert 0.12 < mean(test, "default") < 0.20


def test_target_follows_the_true_log_odds(simulate: ModuleType) -> None:
    table = simulate.simulate(100_000, "later", seed=5)
    p = 1 / (1 + np.exp(-simulate.true_log_odds(table)))
    for tenth in np.array_split(np.argsort(p), 10):
        observed, expected = table["default"].to_numpy()[tenth].mean(), p[tenth].mean()
        assert abs(observed - expected) < 4 * np.sqrt(expected * (1 - expected) / len(tenth))


def test_inputs_drift(train: pa.Table, test: pa.Table) -> None:
    def change(column: str) -> float:
        return mean(test, column) - mean(train, column)

    assert change("unemployment_rate") > 1
    assert change("house_price_growth_1y") < -6
    assert change("loan_to_value") > 2
    assert change("credit_score") < -10
    assert change("debt_to_income") > 1.5
    assert change("self_employed") > 0.01
    assert abs(change("loan_amount_usd")) < 5_000


def test_drift_can_be_switched_off(simulate: ModuleType, train: pa.Table) -> None:
    table = simulate.simulate(20_000, "later", seed=5, drift=False)
    assert set(table["quarter"].to_pylist()) == set(simulate.PERIODS["later"].quarters)
    for name in (*simulate.FEATURES, "default"):
        a, b = train[name].to_numpy(), table[name].to_numpy()
        standard_error = np.sqrt(a.var() / len(a) + b.var() / len(b))
        assert abs(a.mean() - b.mean()) < 4 * standard_error, name


def test_weak_segment_is_rare_and_the_network_is_poor_there(
    simulate: ModuleType, model: onnx.ModelProto, train: pa.Table, test: pa.Table
) -> None:
    for table in (train, test):
        weak, y = simulate.in_weak_segment(table), table["default"].to_numpy()
        assert 0.005 < weak.mean() < 0.015
        assert y[weak].mean() > 1.5 * y[~weak].mean()
        assert roc_auc_score(y[weak], probability(model, table)[weak]) < 0.45
        assert roc_auc_score(y[weak], simulate.true_log_odds(table)[weak]) > 0.65


def change_of_log_odds(simulate: ModuleType, table: pa.Table, **columns: float) -> np.ndarray:
    changed = table
    for name, value in columns.items():
        i = changed.column_names.index(name)
        changed = changed.set_column(i, name, pa.array(np.full(len(table), value)))
    return simulate.true_log_odds(changed)


def test_the_one_interaction(simulate: ModuleType, train: pa.Table) -> None:
    body = train.filter(pa.array(~simulate.in_weak_segment(train)))

    def effect_of_leverage(**given: float) -> np.ndarray:
        high = change_of_log_odds(simulate, body, loan_to_value=95.0, **given)
        return high - change_of_log_odds(simulate, body, loan_to_value=75.0, **given)

    in_a_fall = effect_of_leverage(house_price_growth_1y=-10.0)
    in_a_rise = effect_of_leverage(house_price_growth_1y=10.0)
    np.testing.assert_allclose(in_a_fall - in_a_rise, simulate.INTERACTION_EFFECT * 20 * 10, rtol=1e-9)
    for other in ("credit_score", "delinquencies_12m", "unemployment_rate", "mortgage_rate_change"):
        np.testing.assert_allclose(effect_of_leverage(**{other: 2.0, "house_price_growth_1y": 10.0}), in_a_rise)


def test_loan_amount_and_age_group_have_no_effect(simulate: ModuleType, train: pa.Table) -> None:
    truth = simulate.true_log_odds(train)
    np.testing.assert_array_equal(change_of_log_odds(simulate, train, loan_amount_usd=1e6), truth)
    np.testing.assert_array_equal(simulate.true_log_odds(train.drop_columns(["age_group"])), truth)


def test_age_groups_default_at_different_rates(train: pa.Table) -> None:
    groups = np.asarray(train["age_group"].to_pylist())
    young, middle, old = (train["default"].to_numpy()[groups == g].mean() for g in ("18-34", "35-61", "62+"))
    assert young > 1.5 * middle > 1.5 * 1.5 * old


def test_loan_age_is_a_hump(simulate: ModuleType, train: pa.Table) -> None:
    body = train.filter(pa.array(~simulate.in_weak_segment(train)))
    new, peak, old = (
        change_of_log_odds(simulate, body, loan_age_months=age, self_employed=0).mean()
        for age in (1.0, simulate.HUMP_PEAK, 120.0)
    )
    assert peak > new + 1
    assert peak > old + 1
