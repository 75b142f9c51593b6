"""Times shap's exact explainer on one network and its rows; prints one JSON object. Runs in an environment of its own.

::

    .bench/shap/bin/python benchmarks/rivals/shap_values.py case.npz

``case.npz`` holds the weights ``W0``, ``W1``, … of shape (in, out), the biases ``b0``, ``b1``, …, the rows ``X`` and the
``background``. The values go to ``case.out.npz``. The network is a plain numpy forward pass in float64, and what is compiled
on first use is compiled before the clock starts.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import shap


def main() -> None:
    path = Path(sys.argv[1])
    with np.load(path) as case:
        n = sum(name.startswith("W") for name in case.files)
        layers = [(case[f"W{i}"], case[f"b{i}"]) for i in range(n)]
        x, background = case["X"], case["background"]

    def decision(a: np.ndarray) -> np.ndarray:
        for weight, bias in layers[:-1]:
            a = np.maximum(a @ weight + bias, 0)
        return (a @ layers[-1][0] + layers[-1][1])[:, 0]

    few = shap.explainers.Exact(decision, shap.maskers.Independent(background[:2], max_samples=2))
    few(x[:1], silent=True)
    explainer = shap.explainers.Exact(decision, shap.maskers.Independent(background, max_samples=len(background)))
    wall, processor = time.perf_counter(), time.process_time()
    found = explainer(x, silent=True)
    seconds = {"seconds": time.perf_counter() - wall, "processor_seconds": time.process_time() - processor}
    np.savez(path.with_suffix(".out.npz"), values=found.values, base=found.base_values)
    print(json.dumps(seconds))


if __name__ == "__main__":
    main()
