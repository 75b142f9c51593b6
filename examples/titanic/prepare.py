"""Make the table of the bundled Titanic example from the two tables of explainerdashboard.

    python examples/titanic/prepare.py titanic_train.csv titanic_test.csv [FOLDER]

writes `titanic.parquet` to the folder (by default `src/relucidate/_data`). The two tables hold the 891 passengers of the
well-known Kaggle table, and are in explainerdashboard's package (MIT licence). One woman of the first, Mrs. Cumings, has
neither of the indicators of sex; nobody else does, so whoever is not marked male is female.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd

import relucidate as rl

EXAMPLE = rl.examples.titanic()

TITLES = {"Mr": 1, "Miss": 2, "Mlle": 2, "Ms": 2, "Mrs": 3, "Mme": 3, "Master": 4}
OTHER_TITLE = 5
AGES = (16, 32, 48, 64)  # years; a band includes its upper end
FARES = (7.91, 14.454, 31)  # pounds, the quartiles of all passengers; likewise
PORTS = {"Southampton": 0, "Cherbourg": 1, "Queenstown": 2}


def renamed(raw: pd.DataFrame, part: str) -> pd.DataFrame:
    """Return a table of explainerdashboard under the example's names, its indicators put together, ages missing as NaN."""
    port = pd.Series(pd.NA, index=raw.index, dtype="string")
    for name in PORTS:
        port = port.mask(raw[f"Embarked_{name}"] == 1, name)
    return pd.DataFrame(
        {
            "name": raw["Name"],
            "survived": raw["Survival"],
            "ticket_class": raw["PassengerClass"],
            "female": 1 - raw["Sex_male"],
            "age": raw["Age"].where(raw["Age"] >= 0),
            "fare": raw["Fare"],
            "siblings_spouses": raw["No_of_siblings_plus_spouses_on_board"],
            "parents_children": raw["No_of_parents_plus_children_on_board"],
            "embarked": port,
            "part": part,
        }
    )


def coded(people: pd.DataFrame) -> pd.DataFrame:
    """Return the seven inputs of the networks, as whole numbers, of all passengers."""
    titles = [re.search(r", (?:the )?([^.]+)\.", name) for name in people["name"]]
    known_age = people.groupby(["female", "ticket_class"])["age"].transform("median")
    relatives = people["siblings_spouses"] + people["parents_children"]
    columns = {
        "ticket_class": people["ticket_class"],
        "title": [TITLES.get(title[1], OTHER_TITLE) if title else OTHER_TITLE for title in titles],
        "female": people["female"],
        "age_band": np.digitize(people["age"].fillna(known_age), AGES, right=True),
        "fare_band": np.digitize(people["fare"], FARES, right=True),
        "port": people["embarked"].fillna("Southampton").map(PORTS),
        "alone": relatives == 0,
    }
    return pd.DataFrame(columns).astype(np.int8)[list(EXAMPLE.features)]


def main(train: Path, test: Path, folder: Path = EXAMPLE.table.parent) -> None:
    """Write the table."""
    parts = [renamed(pd.read_csv(path), part) for path, part in ((train, "train"), (test, "test"))]
    people = pd.concat(parts, ignore_index=True)
    inputs = coded(people)
    table = pd.concat([inputs, people.drop(columns=[c for c in people if c in inputs])], axis=1)
    small = {"survived": np.int8, "siblings_spouses": np.int8, "parents_children": np.int8}
    path = folder / EXAMPLE.table.name
    table.astype(small).to_parquet(path, index=False, compression="zstd")
    print(f"{path}: {len(table)} rows, {table.shape[1]} columns, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
