"""Simplifications of networks on test rows, five seeds, beside what they have to beat.

    python benchmarks/simplifying.py [--data FOLDER] [--seeds 5] [-o results.json]

Networks are scikit-learn's MLP [40, 40] ([40] × 4 for the circles), early stopping, 80/20 split and network by the seed. With
`--data` a folder that holds TaiwanCredit.csv.gz and BikeSharing.csv (both from UCI, CC BY 4.0) they are run as well. Scores
are of test rows: AUC, or R² for the bike counts. "tree on y" is the same tree grown on the response alone.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.datasets import make_circles
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

import relucidate as rl
from relucidate import examples, simplify, trees

HERE = Path(__file__).parent
MODELS = {"TaiwanCredit": (8,), "BikeSharing": (16,), "CoCircles": (8, 12), "bundled example": (8,)}


def network(X: Any, y: Any, kind: Any, layers: tuple[int, ...], scaled: bool, seed: int) -> Any:
    mlp = kind(
        hidden_layer_sizes=layers,
        max_iter=2000,
        early_stopping=True,
        n_iter_no_change=100,
        validation_fraction=0.2,
        random_state=seed,
    )
    return (make_pipeline(MinMaxScaler(), mlp) if scaled else mlp).fit(X, y)


def case(name: str, seed: int, folder: Path | None) -> tuple[Any, Any, Any]:
    """Return the network, (X, y) to train and (X, y) to test on."""
    if name == "bundled example":
        e = examples.home_lending()
        train, test = (pd.read_parquet(p) for p in (e.train, e.test))
        return rl.load(e.model), (train, e.target), (test, e.target)
    if name == "CoCircles":
        X, y = make_circles(2000, noise=0.1, random_state=seed)
        kind, layers, scaled = MLPClassifier, (40,) * 4, False
    elif name == "TaiwanCredit":
        table = pd.read_csv(folder / "TaiwanCredit.csv.gz")
        X = table[[c for c in table.columns if c.upper().startswith(("PAY", "BILL"))]]
        y, kind, layers, scaled = table["FlagDefault"].to_numpy(), MLPClassifier, (40, 40), True
    else:
        table = pd.read_csv(folder / "BikeSharing.csv")
        X = table.drop(columns="cnt").select_dtypes("number")
        y, kind, layers, scaled = np.log1p(table["cnt"].to_numpy(float)), MLPRegressor, (40, 40), True
    X = X.astype(float)
    Xa, Xb, ya, yb = train_test_split(X, y, test_size=0.2, random_state=seed)
    return rl.load(network(Xa, ya, kind, layers, scaled, seed)), (Xa, ya), (Xb, yb)


def tree_on_response(u: Any, n_models: int) -> Callable[[Any], Any]:
    """Return decisions of a tree of linear models grown and fitted on the response alone."""
    x, y = u.sample.x, np.asarray(u.sample.y, dtype=float).reshape(len(u.sample.x), -1)
    tree = trees.grow(x, y, max_leaves=n_models)
    tree = trees.improved(tree, x, y)
    leaf = tree.assign(x)
    classifier = u.network.is_classifier
    fits = []
    for m in range(tree.n_leaves):
        mine = leaf == m
        kind = LogisticRegression(max_iter=1000) if classifier else Ridge(1.0)
        one_class = classifier and len(np.unique(y[mine])) == 1
        fits.append(None if one_class else make_pipeline(StandardScaler(), kind).fit(x[mine], y[mine, 0]))

    def decision(rows: Any) -> Any:
        there, out = tree.assign(rows), np.zeros((len(rows), 1))
        for m, fit in enumerate(fits):
            at = there == m
            if not at.any():
                continue
            if fit is None:
                out[at, 0] = 5.0 if y[leaf == m, 0].mean() > 0.5 else -5.0
            else:
                out[at, 0] = fit.decision_function(rows[at]) if classifier else fit.predict(rows[at])
        return out

    return decision


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("-o", type=Path, default=HERE / "results" / "simplifying.json")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # of scikit-learn, about convergence
    names = [n for n in MODELS if options.data is not None or n not in ("TaiwanCredit", "BikeSharing")]
    results = []
    for name in names:
        for n_models in MODELS[name]:
            rows: dict[str, list[float]] = {}
            regions, seconds = [], []
            for seed in range(1 if name == "bundled example" else options.seeds):
                net, train, test = case(name, seed, options.data)
                u = rl.unwrap(net, *train)
                measure = "auc" if net.is_classifier else "r2"
                start = time.perf_counter()
                best = simplify.best(u, n_models=n_models, random_state=seed)
                seconds.append(time.perf_counter() - start)
                judge = rl.unwrap(net, *test).sample
                found = simplify.compare(u, n_models=n_models, test=test, random_state=seed).to_frame()
                for row in found.to_dict("records"):
                    rows.setdefault(row["method"], []).append(row[measure])
                for method, decision in (
                    (f"best of tree and cells ({best.method})", best.decision_of(judge.x)),
                    ("tree on y", tree_on_response(u, n_models)(judge.x)),
                ):
                    key = method.split(" (")[0]
                    rows.setdefault(key, []).append(simplify.scores_of(net, judge, decision)[measure])
                regions.append(u.n_regions)
                print(name, n_models, seed, {k: round(v[-1], 4) for k, v in rows.items()}, flush=True)
            results.append(
                {
                    "data": name,
                    "models": n_models,
                    "measure": measure,
                    "regions": float(np.mean(regions)),
                    "seconds": float(np.median(seconds)),
                    "scores": {
                        k: {"mean": float(np.nanmean(v)), "sd": float(np.nanstd(v)), "n": len(v)}
                        for k, v in rows.items()
                    },
                }
            )
    options.o.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
