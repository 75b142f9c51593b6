"""Train a scikit-learn network in a scaling pipeline on a table, and export it to ONNX.

    python examples/train_on_table.py TaiwanCredit.csv.gz FlagDefault -o taiwan
    python examples/train_on_table.py BikeSharing.csv cnt --task regression --log1p -o bike

The folder gets ``model.onnx`` (one input per column, under the column's name), ``train.parquet`` and ``test.parquet``
(80/20), ready for ``relucidate unwrap bike/model.onnx bike/train.parquet --target cnt -o bike/unwrapped``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from skl2onnx import to_onnx
from skl2onnx.common.data_types import DoubleTensorType
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler


def train(X: pd.DataFrame, y: pd.Series, task: str, hidden: tuple[int, ...], seed: int) -> Pipeline:
    """Return a fitted MinMaxScaler and ReLU network with early stopping."""
    kind = MLPClassifier if task == "classification" else MLPRegressor
    network = kind(
        hidden_layer_sizes=hidden, max_iter=2000, early_stopping=True, n_iter_no_change=20, random_state=seed
    )
    return make_pipeline(MinMaxScaler(), network).fit(X, y)


def export(pipeline: Pipeline, X: pd.DataFrame, path: Path) -> None:
    """Write the pipeline as ONNX in float64, with one input per column."""
    inputs = [(name, DoubleTensorType([None, 1])) for name in X.columns]
    options = {"zipmap": False} if hasattr(pipeline, "predict_proba") else {}
    options_of = {id(pipeline): options} if options else None
    path.write_bytes(to_onnx(pipeline, initial_types=inputs, options=options_of).SerializeToString())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("target")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--task", choices=["classification", "regression"], default="classification")
    parser.add_argument("--log1p", action="store_true", help="predict log(1 + target)")
    parser.add_argument("--hidden", type=int, nargs="+", default=[40, 40])
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    table = pd.read_csv(args.table)
    if args.log1p:
        table[args.target] = np.log1p(table[args.target])
    training, test = train_test_split(table, test_size=0.2, random_state=args.seed)
    X, y = training.drop(columns=args.target).astype(float), training[args.target]
    pipeline = train(X, y, args.task, tuple(args.hidden), args.seed)

    args.out.mkdir(parents=True, exist_ok=True)
    export(pipeline, X, args.out / "model.onnx")
    training.to_parquet(args.out / "train.parquet", index=False)
    test.to_parquet(args.out / "test.parquet", index=False)
    X_test, y_test = test.drop(columns=args.target).astype(float), test[args.target]
    if args.task == "classification":
        scores = [roc_auc_score(b, pipeline.predict_proba(a)[:, 1]) for a, b in ((X, y), (X_test, y_test))]
        print(f"AUC: train {scores[0]:.4f}, test {scores[1]:.4f}")
    else:
        scores = [r2_score(b, pipeline.predict(a)) for a, b in ((X, y), (X_test, y_test))]
        print(f"R²: train {scores[0]:.4f}, test {scores[1]:.4f}")


if __name__ == "__main__":
    main()
