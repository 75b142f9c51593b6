"""Exposure and extrapolation of a million rows beside the plain forward pass: same network, same rows, one run.

    python benchmarks/exposure.py [--rows 1000000] [--repeats 3] [-o results.json]

Networks are [40]×4 on 20 features that a few hidden factors drive, trained by scikit-learn as in `unwrapping.py`; the table
that they are unwrapped with has 400,000 rows. The more factors and the more noise beside them, the more activation patterns
there are and the more of the million rows lie in patterns that no training row has: the nearest of all training patterns is
then looked for. "exposure" unwraps both tables and tests all it can, with responses; "extrapolation" is all parts of the trust
score, the nearest training row among them, and "without nearest row" leaves that one out. "forward" is the plain NumPy loop
over all rows at once, "blocked forward" the same loop over 2,048 rows at a time. Times are minima over the repeats, taken in
turn, by the clock and of the processor, because the machine may be shared; only ratios are meant to be quoted.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.neural_network import MLPClassifier
from unwrapping import forward

import relucidate as rl
from relucidate import diagnose
from relucidate.grouping import distinct

HERE = Path(__file__).parent
CASES = {"two factors": (2, 0.001), "three factors": (3, 0.05), "four factors": (4, 0.01)}  # and the noise beside them
TRAIN = 400_000


def rows(n: int, seed: int, factors: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Return X (n, 20), float64, driven by so many factors, and labels (n,)."""
    mixing = np.random.default_rng(0).normal(size=(factors, 20))
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, factors))
    X = z @ mixing + noise * rng.normal(size=(n, 20))
    logit = 2 * np.sin(2 * z[:, 0]) + z[:, 1] * np.abs(z[:, -1])
    return X, (logit + rng.logistic(size=n) > 0.5).astype(np.int64)


def in_turn(repeats: int, **tasks: Callable[[], Any]) -> dict[str, dict[str, float]]:
    """Return the least seconds of each task, by the clock and of the processor, run one after the other."""
    best = {how: dict.fromkeys(tasks, float("inf")) for how in ("seconds", "processor_seconds")}
    for _ in range(repeats):
        for name, task in tasks.items():
            clock, processor = time.perf_counter(), time.process_time()
            task()
            for how, took in zip(best, (time.perf_counter() - clock, time.process_time() - processor), strict=True):
                best[how][name] = min(best[how][name], took)
    return best


def timed(n: int, repeats: int, factors: int, noise: float) -> dict[str, Any]:
    """Return what n rows take, beside the plain forward pass."""
    network = MLPClassifier(hidden_layer_sizes=(40,) * 4, alpha=0.02, max_iter=60, early_stopping=True, random_state=0)
    network.fit(*rows(20_000, 1, factors, noise))
    net = rl.load(network)
    train, test = rows(TRAIN, 1, factors, noise), rows(n, 2, factors, noise)
    X = test[0]
    u = rl.unwrap(net, *train)
    found: dict[str, Any] = {}
    best = in_turn(
        repeats,
        forward=lambda: forward(network, X),
        forward_in_blocks=lambda: forward(network, X, 2048),
        unwrap=lambda: rl.unwrap(net, X),
        exposure=lambda: found.update(exposure=diagnose.exposure(u, train, test)),
        extrapolation=lambda: found.update(extrapolation=diagnose.extrapolation(u, X)),
        extrapolation_without_nearest_row=lambda: diagnose.extrapolation(u, X, nearest_row=False),
    )
    drift, bits = found["exposure"].drift[0], found["extrapolation"].hamming
    unseen = ~found["extrapolation"].seen
    assert (drift.distance == np.bincount(bits[unseen], minlength=len(drift.distance))).all()
    out: dict[str, Any] = {
        "rows": n,
        "train_rows": TRAIN,
        "neurons": 160,
        "factors": factors,
        "noise": noise,
        "patterns": len(u.patterns),
        "unseen": float(unseen.mean()),
        "unseen_patterns": len(distinct(net.patterns(X).packed[unseen])[0]),
        "bits_to_nearest_pattern": float(bits[unseen].mean()),
        **best,
        "peak_memory_mb_so_far": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    for how, name in (("seconds", "ratios"), ("processor_seconds", "ratios_of_processor_times")):
        took = best[how]
        verbs = [verb for verb in took if not verb.startswith("forward")]
        out[name] = {f"{verb.replace('_', ' ')} / forward": took[verb] / took["forward"] for verb in verbs}
        blocked = {
            f"{verb.replace('_', ' ')} / blocked forward": took[verb] / took["forward_in_blocks"] for verb in verbs
        }
        out[name] |= blocked
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("-o", type=Path, default=HERE / "results" / "exposure.json")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # of scikit-learn, about convergence
    result = {
        "machine": {"processor": platform.machine(), "python": platform.python_version(), "numpy": np.__version__},
        "cases": {},
    }
    for name, case in CASES.items():
        result["cases"][name] = timed(options.rows, options.repeats, *case)
        print(name, json.dumps(result["cases"][name], indent=1), flush=True)
    options.o.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
