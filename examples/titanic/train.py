"""Train the eight networks of the bundled Titanic example and write them as JSON.

    python examples/titanic/train.py [FOLDER]

reads the bundled `titanic.parquet`, trains a network 7-3-2-1 on all 891 passengers from each of the seeds 0 to 7 with one
recipe, and writes `titanic_seed_0.json` to `titanic_seed_7.json` to the folder (by default `src/relucidate/_data`). The
last column of what it prints is the accuracy on the 200 passengers of the part `test` of a network from the same seed that
was trained on the other 691 only.

The seeds are fixed; the last digits of the weights still depend on the linear-algebra library, so networks trained
elsewhere need not have the same regions. Architecture and coding follow Picchiotti and Gori 2021 (arXiv 2110.06593).
"""

from __future__ import annotations

import sys
import warnings
from dataclasses import replace
from pathlib import Path

import pandas as pd
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

import relucidate as rl

EXAMPLE = rl.examples.titanic()


def fit(table: pd.DataFrame, seed: int) -> MLPClassifier:
    """Return a network trained for at most 200 passes over the rows."""
    model = MLPClassifier((3, 2), alpha=1.0, batch_size=32, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 200 passes are the recipe
        return model.fit(table[list(EXAMPLE.features)], table[EXAMPLE.target])


def accuracy(model: MLPClassifier, table: pd.DataFrame) -> float:
    """Return the share of the passengers whose survival the network predicts rightly."""
    return float(model.score(table[list(EXAMPLE.features)], table[EXAMPLE.target]))


def main(folder: Path = EXAMPLE.table.parent) -> None:
    """Train, write and describe the networks."""
    table = pd.read_parquet(EXAMPLE.table)
    known, unseen = (table[table["part"] == part] for part in ("train", "test"))
    print("seed  regions  accuracy  on unseen")
    for seed, bundled in enumerate(EXAMPLE.models):
        model = fit(table, seed)
        net = replace(rl.load(model), outputs=(EXAMPLE.target,))
        rl.export(net, folder / bundled.name)
        regions = rl.unwrap(net, table[list(EXAMPLE.features)]).n_regions
        honest = accuracy(fit(known, seed), unseen)
        print(f"{seed:4d}  {regions:7d}  {accuracy(model, table):8.3f}  {honest:9.3f}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
