"""Draw the pictures of docs/examples.md.

    python examples/figures.py [FOLDER]

writes them as PNG to the folder (by default `docs/images`).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib import pyplot as plt

import relucidate as rl
from relucidate import plot

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"


def drawn(function: Any, result: Any, path: Path, height: float, **options: Any) -> None:
    """Draw one result at the width of a page."""
    figure, ax = plt.subplots(figsize=(6.8, height))
    function(result, ax, **options)
    # the same bytes on every run
    figure.savefig(path, dpi=150, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)
    print(path)


def main(folder: Path = IMAGES) -> None:
    """Draw all pictures."""
    mpl.use("agg")
    example = rl.examples.multiplexer()
    u = rl.unwrap(rl.load(example.model), example.rows(), example.target)
    drawn(plot.clusters, rl.interpret.clusters(u), folder / "multiplexer_regions.png", 3.4, features=10)

    titanic = rl.examples.titanic()
    people = pd.read_parquet(titanic.table)
    networks = {f"seed {seed}": rl.load(path) for seed, path in enumerate(titanic.models)}
    u = rl.unwrap(networks["seed 0"], people, titanic.target)
    drawn(plot.clusters, rl.interpret.clusters(u), folder / "titanic_regions.png", 5.6)
    alive = {name: net for name, net in networks.items() if name != "seed 2"}
    stability = rl.interpret.stability(alive, people, titanic.target)
    drawn(plot.stability, stability, folder / "titanic_stability.png", 3.6)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
