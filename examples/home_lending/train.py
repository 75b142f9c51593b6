"""Train the network of the bundled home-lending example and write it as ONNX.

    python examples/home_lending/train.py [FOLDER]

reads `home_lending_train.parquet` and `home_lending_test.parquet` from the folder (by default `src/relucidate/_data`)
and writes `home_lending.onnx` beside them: a standard scaler and a network of two hidden layers, from loans in their
natural units to the probability of default. The seed is fixed; the last digits of the weights still depend on the
linear-algebra library, so a network trained elsewhere need not have the same regions.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from simulate import DATA, FEATURES
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

Array = NDArray[Any]

HIDDEN = (8, 4)
PENALTY = 0.5  # L2, on the weights: keeps the activation regions few enough to read
SEED = 5
HELD_OUT = 0.2  # share of the training rows that decides when to stop
PATIENCE = 40  # epochs without a better loss on them
MAX_EPOCHS = 400


def features_and_target(table: pa.Table) -> tuple[Array, Array]:
    """Return the inputs of the network, shape (n, n_features), and the target, shape (n,)."""
    inputs = np.column_stack([table[name].to_numpy() for name in FEATURES])
    return inputs.astype(np.float64), table["default"].to_numpy()


def fit(X: Array, y: Array) -> tuple[StandardScaler, MLPClassifier]:
    """Return the scaler and the network, as of the epoch with the lowest log-loss on the held-out rows.

    The early stopping built into `MLPClassifier` watches accuracy, which hardly moves when one loan in thirteen
    defaults.
    """
    scaler = StandardScaler().fit(X)
    Z = scaler.transform(X)
    held = np.random.default_rng(SEED).random(len(y)) < HELD_OUT
    network = MLPClassifier(HIDDEN, alpha=PENALTY, learning_rate_init=3e-3, batch_size=256, random_state=SEED)
    best, best_epoch, weights, biases = np.inf, 0, [], []
    for epoch in range(MAX_EPOCHS):
        network.partial_fit(Z[~held], y[~held], classes=[0, 1])
        loss = log_loss(y[held], network.predict_proba(Z[held]))
        if loss < best:
            best, best_epoch = loss, epoch
            weights, biases = [w.copy() for w in network.coefs_], [b.copy() for b in network.intercepts_]
        elif epoch - best_epoch > PATIENCE:
            break
    network.coefs_, network.intercepts_ = weights, biases
    return scaler, network


def to_onnx(scaler: StandardScaler, network: MLPClassifier) -> onnx.ModelProto:
    """Return scaler and network as one ONNX model: `loans` (N, n_features) to `probability` (N, 1), in float64."""
    constants = {"mean": scaler.mean_, "scale": scaler.scale_}
    nodes = [
        helper.make_node("Sub", ["loans", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "scale"], ["hidden_0"]),
    ]
    last = len(network.coefs_)
    for i, (weight, bias) in enumerate(zip(network.coefs_, network.intercepts_, strict=True), start=1):
        constants |= {f"weight_{i}": weight, f"bias_{i}": bias}
        affine = "log_odds" if i == last else f"affine_{i}"
        nodes.append(helper.make_node("Gemm", [f"hidden_{i - 1}", f"weight_{i}", f"bias_{i}"], [affine]))
        if i < last:
            nodes.append(helper.make_node("Relu", [affine], [f"hidden_{i}"]))
    nodes.append(helper.make_node("Sigmoid", ["log_odds"], ["probability"]))

    graph = helper.make_graph(
        nodes,
        "home_lending",
        [helper.make_tensor_value_info("loans", TensorProto.DOUBLE, ["N", len(FEATURES)])],
        [helper.make_tensor_value_info("probability", TensorProto.DOUBLE, ["N", 1])],
        [numpy_helper.from_array(value.astype(np.float64), name) for name, value in constants.items()],
    )
    opset = helper.make_opsetid("", 17)
    model = helper.make_model(graph, producer_name="relucidate", opset_imports=[opset], ir_version=8)
    names_and_classes = {"relucidate.feature_names": json.dumps(FEATURES), "relucidate.classes": json.dumps([0, 1])}
    helper.set_model_props(model, names_and_classes)
    onnx.checker.check_model(model, full_check=True)
    return model


def n_regions(scaler: StandardScaler, network: MLPClassifier, X: Array) -> int:
    """Return the number of distinct activation patterns of the rows of X."""
    hidden, bits = scaler.transform(X), []
    for weight, bias in zip(network.coefs_[:-1], network.intercepts_[:-1], strict=True):
        hidden = np.maximum(hidden @ weight + bias, 0)
        bits.append(hidden > 0)
    return len(np.unique(np.hstack(bits), axis=0))


def main(folder: Path = DATA) -> None:
    """Train, compare with a logistic regression, and write the model."""
    train = features_and_target(pq.read_table(folder / "home_lending_train.parquet"))
    test = features_and_target(pq.read_table(folder / "home_lending_test.parquet"))
    scaler, network = fit(*train)
    linear = LogisticRegression(max_iter=1000).fit(scaler.transform(train[0]), train[1])
    model = to_onnx(scaler, network)
    for name, (X, y) in (("train", train), ("test", test)):
        Z = scaler.transform(X)
        probability = network.predict_proba(Z)[:, 1]
        from_onnx = np.ravel(np.asarray(ReferenceEvaluator(model).run(None, {"loans": X})[0]))
        np.testing.assert_allclose(from_onnx, probability, rtol=1e-12)
        auc, auc_linear = roc_auc_score(y, probability), roc_auc_score(y, linear.decision_function(Z))
        print(f"{name}: AUC {auc:.4f}, logistic regression {auc_linear:.4f}, {n_regions(scaler, network, X)} regions")
    path = folder / "home_lending.onnx"
    onnx.save(model, path)
    print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
