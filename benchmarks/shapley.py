"""Exact Shapley values against shap's exact explainer: same networks, rows and background, one run.

    python benchmarks/shapley.py [--rows 20] [--background 100] [-o results.json]

Both enumerate all subsets of the features, in float64, so their values must be equal. shap runs in an environment of its
own, with a plain numpy forward pass as its model. Ratios are of processor times, of all threads together, the least of
the repeats of ours; times at the clock are in the file too.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import subprocess
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from rivals.environments import ensure

import relucidate as rl
from relucidate.features import Features
from relucidate.layers import Activation, Layer
from relucidate.network import Network

HERE = Path(__file__).parent
SHAP = ("shap==0.51.0", "numpy==2.4.6", "scikit-learn==1.9.1", "numba==0.68.1")


def network(sizes: list[int], rng: np.random.Generator) -> Network:
    layers = []
    for i, (k, m) in enumerate(pairwise(sizes)):
        kind = "identity" if i == len(sizes) - 2 else "relu"
        weight, bias = rng.normal(size=(m, k)) * math.sqrt(2 / k), 0.1 * rng.normal(size=m)
        layers.append(Layer(weight, bias, Activation.of_kind(kind, m), f"dense {i}"))
    return Network(tuple(layers), Features.plain(sizes[0]))


def rows(n: int, d: int, indicators: int, rng: np.random.Generator) -> Any:
    x = rng.normal(size=(n, d))
    x[:, :indicators] = x[:, :indicators] > 0
    return x


def theirs(python: Path, net: Network, x: Any, background: Any) -> tuple[dict[str, float], Any]:
    """Return what shap took, and its values (n, d)."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "case.npz"
        arrays = {f"W{i}": np.asarray(layer.weight).T for i, layer in enumerate(net.layers)}
        arrays |= {f"b{i}": layer.bias for i, layer in enumerate(net.layers)}
        np.savez(path, X=x, background=background, **arrays)
        script = HERE / "rivals" / "shap_values.py"
        run = subprocess.run([python, script, path], stdout=subprocess.PIPE, text=True, check=True)
        with np.load(path.with_suffix(".out.npz")) as out:
            return json.loads(run.stdout.splitlines()[-1]), out["values"]


def ours(net: Network, x: Any, background: Any, repeats: int) -> tuple[dict[str, float], Any]:
    """Return the least of what ours took, and the result."""
    rl.interpret.shapley(net, x[:1], background[:2])
    best = {"seconds": math.inf, "processor_seconds": math.inf}
    for _ in range(repeats):
        wall, processor = time.perf_counter(), time.process_time()
        found = rl.interpret.shapley(net, x, background)
        best["processor_seconds"] = min(best["processor_seconds"], time.process_time() - processor)
        best["seconds"] = min(best["seconds"], time.perf_counter() - wall)
    return best, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20)
    parser.add_argument("--background", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("-o", type=Path, default=HERE / "results" / "shapley.json")
    options = parser.parse_args()
    python = ensure("shap", SHAP, "shap")
    rng = np.random.default_rng(0)
    cases = []
    for sizes, indicators in (([8, 40, 40, 1], 0), ([12, 40, 40, 1], 0), ([12, 40, 40, 1], 6)):
        net = network(sizes, rng)
        x = rows(options.rows, sizes[0], indicators, rng)
        background = rows(options.background, sizes[0], indicators, rng)
        our_times, found = ours(net, x, background, options.repeats)
        their_times, values = theirs(python, net, x, background)
        case = {
            "network": " → ".join(map(str, sizes)),
            "indicators": indicators,
            "rows": len(x),
            "background": len(background),
            "evaluations": found.n_evaluations,
            "ours": our_times,
            "shap": their_times,
            "ratio": their_times["processor_seconds"] / our_times["processor_seconds"],
            "ratio_at_the_clock": their_times["seconds"] / our_times["seconds"],
            "largest_difference": float(np.abs(found.values[:, 0] - values).max()),
            "largest_value": float(np.abs(values).max()),
            "gap": found.gap,
        }
        print(json.dumps(case, indent=1), flush=True)
        cases.append(case)
    machine = {"processor": platform.machine(), "python": platform.python_version(), "numpy": np.__version__}
    result = {"machine": machine, "shap": SHAP[0].partition("==")[2], "cases": cases}
    options.o.parent.mkdir(parents=True, exist_ok=True)
    options.o.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
