"""Trains the networks of ``paper_cases`` and stores them; or tells the facts of those that are stored.

::

    python tests/golden/train_paper_networks.py boston_housing.csv    # train, check, write paper_networks.npz
    python tests/golden/train_paper_networks.py                       # check the stored ones

``boston_housing.csv`` is the table of 506 rows and 14 columns without a header, the response last. Nothing of the
package is used here: patterns are found with ``np.unique`` and the local models multiplied out one by one.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import mean_squared_error, roc_auc_score

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import paper_cases
from paper_cases import Array, Kind, PaperCase


def forward(case: PaperCase, X: Array) -> tuple[Array, Array]:
    """``(patterns, decision)``: which hidden preactivations are above zero, and the output before its link."""
    activation, bits = X, []
    for weight, bias in zip(case.weights[:-1], case.biases[:-1], strict=True):
        z = activation @ weight + bias
        bits.append(z > 0)
        activation = np.where(z > 0, z, 0.0)
    return np.hstack(bits), (activation @ case.weights[-1] + case.biases[-1])[:, 0]


def local_model(case: PaperCase, pattern: Array) -> tuple[Array, float]:
    """Coefficients and intercept of the affine map in force where ``pattern`` is."""
    coef, intercept, start = np.eye(case.weights[0].shape[0]), np.zeros(case.weights[0].shape[0]), 0
    for weight, bias in zip(case.weights[:-1], case.biases[:-1], strict=True):
        on = pattern[start : start + len(bias)]
        coef, intercept = (coef @ weight) * on, (intercept @ weight + bias) * on
        start += len(bias)
    return (coef @ case.weights[-1])[:, 0], float((intercept @ case.weights[-1] + case.biases[-1])[0])


def facts(case: PaperCase) -> dict[str, Any]:
    """What ``case.expected`` says, and the importances and first model of all three."""
    X, y = case.X_train, case.y_train
    score = roc_auc_score if case.kind == "classification" else mean_squared_error
    bits, decision = forward(case, X)
    bits_test, decision_test = forward(case, case.X_test)
    patterns, region, count = np.unique(bits, axis=0, return_inverse=True, return_counts=True)
    region = region.ravel()
    models = [local_model(case, pattern) for pattern in patterns]
    coef, intercept = np.array([c for c, _ in models]), np.array([b for _, b in models])
    np.testing.assert_allclose((coef[region] * X).sum(axis=1) + intercept[region], decision, atol=1e-12)

    first = int(np.argmax(count))
    inside = region == first
    share = count @ coef**2
    train_score, test_score = float(score(y, decision)), float(score(case.y_test, decision_test))
    known = {pattern.tobytes() for pattern in patterns}
    found = {
        "n_regions": len(patterns),
        "largest": sorted(count.tolist(), reverse=True)[:5],
        "one_row": int((count == 1).sum()),
        "unseen_test_rows": sum(pattern.tobytes() not in known for pattern in bits_test),
        "train_score": train_score,
        "test_score": test_score,
        "reported_scores": [round(train_score, 4), round(test_score, 4)],
        "importance": (share / share.sum()).tolist(),
        "first_coef": coef[first].tolist(),
        "first_intercept": float(intercept[first]),
        "first_local_score": float(score(y[inside], decision[inside])),
        "first_global_score": float(score(y, X @ coef[first] + intercept[first])),
    }
    if case.kind == "classification":
        found["one_class"] = sum(count[r] > 1 and len(set(y[region == r])) == 1 for r in range(len(patterns)))
    return found


def smallest_preactivation(case: PaperCase) -> float:
    """How near the nearest hidden neuron is to switching, over all rows: what rounding may not exceed."""
    activation, smallest = np.vstack([case.X_train, case.X_test]), np.inf
    for weight, bias in zip(case.weights[:-1], case.biases[:-1], strict=True):
        z = activation @ weight + bias
        smallest, activation = min(smallest, float(np.abs(z).min())), np.maximum(z, 0.0)
    return smallest


def store(boston: Path) -> None:
    """Trains the three networks and writes them, with the scaled Boston table."""
    table = paper_cases.scaled(np.loadtxt(boston, delimiter=","))
    data: dict[str, tuple[Kind, tuple[int, ...], tuple[Array, Array]]] = {
        "cocircles": ("classification", (40,) * 4, paper_cases.cocircles_data()),
        "breast_cancer": ("classification", (40,) * 2, paper_cases.breast_cancer_data()),
        "boston": ("regression", (20,) * 2, (table[:, :-1], table[:, -1])),
    }
    arrays = {"boston_X": table[:, :-1], "boston_y": table[:, -1]}
    for name, (kind, hidden, (X, y)) in data.items():
        X_train, y_train, _, _ = paper_cases.split(X, y)
        network = paper_cases.train(kind, hidden, X_train, y_train)
        arrays |= {f"{name}_W{layer}": weight for layer, weight in enumerate(network.coefs_)}
        arrays |= {f"{name}_b{layer}": bias for layer, bias in enumerate(network.intercepts_)}
    np.savez_compressed(paper_cases.NETWORKS, **arrays)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train and store the networks of the paper, or check the stored ones.")
    parser.add_argument("boston", nargs="?", type=Path, help="the Boston housing table: with it they are trained")
    if boston := parser.parse_args().boston:
        store(boston)

    differing = []
    for case in (paper_cases.cocircles(), paper_cases.breast_cancer(), paper_cases.boston()):
        print(f"{case.name}: nearest to switching {smallest_preactivation(case):.2g}")
        for fact, value in facts(case).items():
            expected = case.expected.get(fact, value)
            same = np.allclose(value, expected, rtol=1e-9, atol=1e-12)
            print(f"  {fact}: {value}" + ("" if same else f"  EXPECTED {expected}"))
            if not same:
                differing.append(f"{case.name}.{fact}")
    if differing:
        sys.exit(f"These differ from paper_cases: {', '.join(differing)}")


if __name__ == "__main__":
    main()
