"""Train the network of the bundled multiplexer example and write it as JSON.

    python examples/multiplexer/train.py [FOLDER]

draws the 100,000 rows of `relucidate.examples.multiplexer`, trains a network 10-4-2-1 on them from each of 20 seeds, with
and without a penalty on the activity of its first layer, says what each has learned, and writes the first one with the
regions of the truth to the folder (by default `src/relucidate/_data`) as `multiplexer.json`. It takes about a minute.

Ten coins make 1,024 different rows. The gradient of a mean over 100,000 rows is that of a mean over those 1,024, weighted
by how often each occurs, so this is what is computed: full batches, and Adam with a step that falls to zero. Nothing but
numpy is needed, and the results agree to many digits between linear-algebra libraries.

The setting is that of Picchiotti and Gori 2021 (arXiv 2110.06593): L1 penalty of 0.02 on the activity of the first layer.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import relucidate as rl
from relucidate.network import Provenance

Array = NDArray[Any]

WIDTHS = (10, 4, 2, 1)
PENALTY = 0.02  # per unit of mean activity of the first layer
STEPS = 10_000
STEP_SIZE = 0.01  # at the start; it falls linearly to 0
SEEDS = range(20)
SMALL = 0.01  # a coefficient below this share of the largest is no longer looked at

EXAMPLE = rl.examples.multiplexer()
TRUTH = {"": "always no", "x1 x3": "x1 where x3 is 1", "x2 x3": "x2 where x3 is 0"}


def distinct(table: pd.DataFrame) -> tuple[pd.DataFrame, Array]:
    """Return the different rows of a table, and how often each occurs."""
    counted = table.groupby(list(table.columns), sort=True).size()
    return counted.index.to_frame(index=False), counted.to_numpy(dtype=np.float64)


def train(table: pd.DataFrame, seed: int, penalty: float = PENALTY) -> list[Array]:
    """Return weights and biases in turn, first layer first, after Adam on the log-loss plus the penalty."""
    rows, count = distinct(table)
    parameters = initial(seed)
    mean, square = ([np.zeros_like(p) for p in parameters] for _ in range(2))
    x, y = rows[list(EXAMPLE.features)].to_numpy(dtype=np.float64), rows[[EXAMPLE.target]].to_numpy(dtype=np.float64)
    for step in range(STEPS):
        size = STEP_SIZE * (1 - step / STEPS) * np.sqrt(1 - 0.999 ** (step + 1)) / (1 - 0.9 ** (step + 1))
        gradients = gradient(parameters, x, y, count / count.sum(), penalty)
        for p, g, m, s in zip(parameters, gradients, mean, square, strict=True):
            m += 0.1 * (g - m)
            s += 0.001 * (g * g - s)
            p -= size * m / (np.sqrt(s) + 1e-7)
    return parameters


def gradient(parameters: list[Array], x: Array, y: Array, share: Array, penalty: float) -> tuple[Array, ...]:
    """Return the gradient of the log-loss plus the penalty by each parameter.

    Parameters
    ----------
    x : (n, 10) different rows. y : (n, 1) their answers. share : (n,) of all rows.
    """
    w1, b1, w2, b2, w3, b3 = parameters
    a1 = np.maximum(x @ w1 + b1, 0)
    a2 = np.maximum(a1 @ w2 + b2, 0)
    g3 = share[:, None] * ((1 + np.tanh((a2 @ w3 + b3) / 2)) / 2 - y)
    g2 = g3 @ w3.T * (a2 > 0)
    g1 = (g2 @ w2.T + penalty * share[:, None]) * (a1 > 0)
    return x.T @ g1, g1.sum(0), a1.T @ g2, g2.sum(0), a2.T @ g3, g3.sum(0)


def initial(seed: int) -> list[Array]:
    """Return weights drawn evenly from ±sqrt(6 / (inputs + outputs)), as Glorot and Bengio 2010 have it, and zero biases."""
    shapes = list(pairwise(WIDTHS))
    ends = np.cumsum([a * b for a, b in shapes])
    even = np.random.PCG64(seed).random_raw(int(ends[-1])) / 2.0**64
    parameters = []
    for (a, b), drawn in zip(shapes, np.split(even, ends[:-1]), strict=True):
        parameters += [(2 * drawn.reshape(a, b) - 1) * np.sqrt(6 / (a + b)), np.zeros(b)]
    return parameters


def network(parameters: list[Array], seed: int) -> rl.Network:
    """Return the parameters as a network with the names of the example."""
    net = rl.load((parameters[0::2], parameters[1::2]), link="logit", feature_names=EXAMPLE.features)
    source = Provenance(source=f"examples/multiplexer/train.py, seed {seed}")
    return replace(net, classes=(0, 1), outputs=(EXAMPLE.target,), provenance=source, faithfulness=None)


def learned(net: rl.Network, table: pd.DataFrame) -> str:
    """Return in words what a network has learned."""
    rows, _ = distinct(table)
    u = rl.unwrap(net, rows, EXAMPLE.target)
    right = (u.sample.decision[:, 0] > 0) == (rows[EXAMPLE.target] == 1)
    if not right.all():
        return "does not fit all rows"
    used = {}
    for r in range(u.n_regions):
        size = np.abs(u.coef[r, 0])
        used[r] = " ".join(name for name, s in zip(EXAMPLE.features, size, strict=True) if s > SMALL * size.max())
    if sorted(used.values()) != sorted(TRUTH):
        return f"fits all rows, with {u.n_regions} other regions"
    constant = next(r for r, names in used.items() if not names)
    return "the truth" if u.intercept[constant, 0] < 0 else "its mirror image: always yes, and two ways to no"


def main(folder: Path = EXAMPLE.model.parent) -> None:
    """Train from every seed, count what came out, and write the first network that has learned the truth."""
    table = EXAMPLE.rows()
    chosen = None
    for penalty in (PENALTY, 0.0):
        outcomes: Counter[str] = Counter()
        for seed in SEEDS:
            net = network(train(table, seed, penalty), seed)
            outcome = learned(net, table)
            outcomes[outcome] += 1
            if penalty and outcome == "the truth" and chosen is None:
                chosen = net
                print(f"seed {seed} is the first with the regions of the truth")
        print(f"penalty {penalty}: of {len(SEEDS)} seeds")
        for outcome, n in sorted(outcomes.items(), key=lambda item: (-item[1], item[0])):
            print(f"  {n:2d}  {outcome}")
    if chosen is None:
        sys.exit("no seed gave the regions of the truth; nothing was written")
    path = rl.export(chosen, folder / EXAMPLE.model.name)
    print(rl.unwrap(chosen, table, EXAMPLE.target))
    print(f"{path}: {Path(path).stat().st_size} bytes")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
