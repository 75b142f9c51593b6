"""Unwrapping against the plain forward pass, `numpy.unique`, and aletheia-dnn: same network, same rows, one run.

    python benchmarks/unwrapping.py [--rows 1000000] [--repeats 5] [-o results.json]

The network is [40]×4 on 20 features that two hidden factors drive, trained by scikit-learn. Times are minima over the
repeats, taken in turn (A B A B …), because the machine may be shared; only ratios are meant to be quoted.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.neural_network import MLPClassifier

import relucidate as rl

HERE = Path(__file__).parent


def rows(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return X (n, 20), float64, driven by two factors, and labels (n,)."""
    mixing = np.random.default_rng(0).normal(size=(2, 20))
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 2))
    X = z @ mixing + 0.001 * rng.normal(size=(n, 20))
    logit = 2 * np.sin(2 * z[:, 0]) + z[:, 1] * np.abs(z[:, 0])
    return X, (logit + rng.logistic(size=n) > 0.5).astype(np.int64)


def trained() -> MLPClassifier:
    """Return the [40]×4 network."""
    X, y = rows(20_000, seed=1)
    network = MLPClassifier(hidden_layer_sizes=(40,) * 4, alpha=0.02, max_iter=60, early_stopping=True, random_state=0)
    return network.fit(X, y)


def forward(network: MLPClassifier, X: np.ndarray, block: int | None = None) -> np.ndarray:
    """Return the decision as anybody would write it in NumPy; in cache-sized blocks if `block` is given."""
    if block is not None:
        return np.concatenate([forward(network, X[i : i + block]) for i in range(0, len(X), block)])
    a = X
    for W, b in zip(network.coefs_[:-1], network.intercepts_[:-1], strict=True):
        a = np.maximum(a @ W + b, 0)
    return a @ network.coefs_[-1] + network.intercepts_[-1]


def in_turn(repeats: int, **tasks: Callable[[], Any]) -> dict[str, float]:
    """Return the least seconds of each task, run one after the other, `repeats` times."""
    best = dict.fromkeys(tasks, float("inf"))
    for _ in range(repeats):
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def aletheia(network: MLPClassifier, sizes: list[int], timeout: int) -> list[dict[str, Any]]:
    """Return what aletheia-dnn took to unwrap the first n rows, for each size, with what we took."""
    sys.path.insert(0, str(HERE / "rivals"))
    from aletheia_env import Unavailable, ensure

    try:
        python = ensure(HERE.parent / ".bench" / "aletheia")
    except Unavailable as reason:
        return [{"status": "not run", "reason": str(reason)}]
    net = rl.load(network)
    out = []
    for n in sizes:
        X, y = rows(n, seed=2)
        with tempfile.TemporaryDirectory() as folder:
            case = Path(folder) / "case.npz"
            arrays = {f"W{i}": W for i, W in enumerate(network.coefs_)}
            arrays |= {f"b{i}": b for i, b in enumerate(network.intercepts_)}
            np.savez(case, X=X, y=y, **arrays)
            script = [str(python), str(HERE / "rivals" / "aletheia_unwrap.py"), str(case), "--timeout", str(timeout)]
            done = subprocess.run(script, capture_output=True, text=True, check=False)
        theirs = json.loads(done.stdout) if done.stdout else {"status": "error", "message": done.stderr[-500:]}
        ours = in_turn(3, unwrap=lambda X=X, y=y: rl.unwrap(net, X, y).table())
        out.append({"rows": n, **theirs, "ours_seconds": ours["unwrap"]})
        if theirs.get("status") != "ok":
            break
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--timeout", type=int, default=300, help="seconds that aletheia-dnn may take for one size")
    parser.add_argument("-o", "--out", type=Path, default=HERE / "results" / "unwrapping.json")
    args = parser.parse_args()

    network = trained()
    X, y = rows(args.rows, seed=2)
    net = rl.load(network)
    u = rl.unwrap(net, X, y)
    packed = net.patterns(X).packed
    some = packed[: min(len(packed), 100_000)]

    from relucidate.grouping import distinct

    seconds = in_turn(
        args.repeats,
        forward=lambda: forward(network, X),
        forward_in_blocks=lambda: forward(network, X, 2048),
        unwrap=lambda: rl.unwrap(net, X),
        unwrap_with_response=lambda: rl.unwrap(net, X, y),
        grouping=lambda: distinct(some),
        np_unique=lambda: np.unique(some, axis=0, return_inverse=True),
    )
    result = {
        "machine": {"processor": platform.machine(), "python": platform.python_version(), "numpy": np.__version__},
        "rows": args.rows,
        "regions": u.n_regions,
        "largest_difference": u.exactness.max_difference,
        "seconds": seconds,
        "ratios": {
            "unwrap / forward": seconds["unwrap"] / seconds["forward"],
            "unwrap with response / forward": seconds["unwrap_with_response"] / seconds["forward"],
            "unwrap / forward in cache-sized blocks": seconds["unwrap"] / seconds["forward_in_blocks"],
            "np.unique(axis=0) / grouping": seconds["np_unique"] / seconds["grouping"],
        },
        "grouped_rows": len(some),
        "aletheia": aletheia(network, [2_000, 5_000, 10_000, 20_000], args.timeout),
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
