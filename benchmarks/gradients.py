"""Exact integrated gradients against captum's sums of 50 and 1,000 steps, on the same networks and rows in one run.

    python benchmarks/gradients.py [--rows 1000] [-o results.json]

captum runs in an environment of its own, with as many threads, in float64 and in float32. Its error is the completeness
error, the largest difference between the sum of a row's attributions and what the decision gains from the baseline to
the row, and the largest difference of an attribution from ours, both relative to 1 + the largest size of that gain.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from rivals.environments import ensure

import relucidate as rl
from relucidate import examples
from relucidate.features import Features
from relucidate.layers import Activation, Layer
from relucidate.network import Network

HERE = Path(__file__).parent
CAPTUM = ("captum==0.9.0", "torch==2.13.0")


def deep(rows: int) -> tuple[Network, Any, Any]:
    """Return a network 20 → [256] × 6 → 1 with He's uniform weights, rows, and a baseline."""
    rng = np.random.default_rng(0)
    sizes = [20, *[256] * 6, 1]
    layers = []
    for i, (k, m) in enumerate(pairwise(sizes)):
        reach = np.sqrt(6 / k)  # He's, so that signals neither die nor grow
        kind = "identity" if i == len(sizes) - 2 else "relu"
        weight, bias = rng.uniform(-reach, reach, (m, k)), rng.uniform(-0.1, 0.1, m)
        layers.append(Layer(weight, bias, Activation.of_kind(kind, m), f"dense {i}"))
    return Network(tuple(layers), Features.plain(20)), rng.normal(size=(rows, 20)), np.zeros(20)


def bundled(rows: int) -> tuple[Network, Any, Any]:
    """Return the bundled network of home loans, its first rows, and the mean row."""
    example = examples.home_lending()
    u = rl.unwrap(rl.load(example.model), example.train, example.target)
    return u.network, u.sample.x[:rows], u.sample.mean


def seconds_of(net: Network, x: Any, baseline: Any) -> tuple[float, Any]:
    rl.interpret.integrated_gradients(net, x[:2], baseline)
    best, out = np.inf, None
    for _ in range(3):
        start = time.perf_counter()
        out = rl.interpret.integrated_gradients(net, x, baseline)
        best = min(best, time.perf_counter() - start)
    return best, out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("-o", type=Path, default=HERE / "results" / "gradients.json")
    options = parser.parse_args()
    python = ensure("captum", CAPTUM, "captum.attr")
    results = []
    for name, make in (("bundled example, 12-8-4-1", bundled), ("20-[256]×6-1", deep)):
        net, x, baseline = make(options.rows)
        ours_seconds, ours = seconds_of(net, x, baseline)
        gain = (ours.output - ours.base)[:, 0]
        size = 1 + np.abs(gain).max()
        row = {
            "network": name,
            "rows": len(x),
            "pieces_per_row": ours.n_pieces / len(x),
            "seconds": ours_seconds,
            "completeness": float(np.abs(ours.values[:, 0].sum(axis=1) - gain).max() / size),
            "captum": [],
        }
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "case.npz"
            arrays = {f"W{i}": np.asarray(layer.weight) for i, layer in enumerate(net.layers)}
            arrays |= {f"b{i}": layer.bias for i, layer in enumerate(net.layers)}
            np.savez(path, X=x, baseline=baseline, **arrays)
            script = HERE / "rivals" / "captum_gradients.py"
            run = subprocess.run([python, script, path], capture_output=True, text=True, check=True)
            facts = json.loads(run.stdout)
            with np.load(path.with_suffix(".out.npz")) as out:
                for found in facts["runs"]:
                    values = out[f"captum_{found['steps']}_{found['dtype']}"]
                    found["ratio_of_times"] = found["seconds"] / ours_seconds
                    found["completeness"] = float(np.abs(values.sum(axis=1) - gain).max() / size)
                    found["largest_difference"] = float(np.abs(values - ours.values[:, 0]).max() / size)
                    row["captum"].append(found)
        print(json.dumps(row, indent=1), flush=True)
        results.append(row)
    options.o.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
