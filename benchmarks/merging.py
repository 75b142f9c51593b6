"""The merge path against scikit-learn's and aletheia-dnn's merger: same regions, same rows, one run.

    python benchmarks/merging.py [--regions 10000] [--repeats 3] [-o results.json]

Times are the processor's, of all threads together, and minima over the repeats, taken in turn (A B A B …), because the
machine may be shared; only ratios are meant to be quoted. scikit-learn's Ward runs on the maps along the very same
graph: it does less, since its cost looks at a map alone and not at the rows, and it is the agglomeration that the
published merger uses.
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
from scipy.sparse import coo_array
from sklearn.cluster import AgglomerativeClustering
from unwrapping import rows, trained

import relucidate as rl
from relucidate import merging

HERE = Path(__file__).parent


def in_turn(repeats: int, **tasks: Callable[[], Any]) -> dict[str, float]:
    """Return the least processor seconds of each task, run one after the other, `repeats` times."""
    best = dict.fromkeys(tasks, float("inf"))
    for _ in range(repeats):
        for name, task in tasks.items():
            start = time.process_time()
            task()
            best[name] = min(best[name], time.process_time() - start)
    return best


def many_regions(n_regions: int, d: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return x (n, d), the region of each row, and maps (R, 1, 1 + d) that change slowly with where a region lies.

    Regions have 1 + Geometric(0.4) rows, so that two fifths have a single one, as deep networks have.
    """
    rng = np.random.default_rng(seed)
    region = np.repeat(np.arange(n_regions), rng.geometric(0.4, n_regions))
    centre = rng.normal(size=(n_regions, d))
    x = centre[region] + 0.3 * rng.normal(size=(len(region), d))
    slope = np.tanh(centre @ rng.normal(size=(d, d)) / np.sqrt(d)) + 0.05 * rng.normal(size=(n_regions, d))
    return x, region, np.concatenate([rng.normal(size=(n_regions, 1)), slope], axis=1)[:, None]


def whole(x: np.ndarray, region: np.ndarray, beta: np.ndarray) -> merging.MergePath:
    """Return what a user waits for: moments, graph and path."""
    return merging.merge_path(merging.region_moments(x, region, len(beta)), beta)


def ward(beta: np.ndarray, edges: np.ndarray, n_models: int = 8) -> np.ndarray:
    """Return scikit-learn's clusters of the maps along the same edges; the tree is made to the end."""
    R = len(beta)
    graph = coo_array((np.ones(len(edges)), edges.T), shape=(R, R)).tocsr()
    ward = AgglomerativeClustering(n_models, connectivity=graph + graph.T, compute_full_tree=True)
    return ward.fit_predict(beta.reshape(R, -1))


def aletheia(n: int, timeout: int) -> dict[str, Any]:
    """Return what aletheia-dnn's merger took for the regions of the first n rows, with what ours took."""
    sys.path.insert(0, str(HERE / "rivals"))
    from aletheia_env import Unavailable, ensure

    try:
        python = ensure(HERE.parent / ".bench" / "aletheia")
    except Unavailable as reason:
        return {"status": "not run", "reason": str(reason)}
    network = trained()
    X, y = rows(n, seed=2)
    with tempfile.TemporaryDirectory() as folder:
        case = Path(folder) / "case.npz"
        weights = {f"W{i}": W for i, W in enumerate(network.coefs_)} | {
            f"b{i}": b for i, b in enumerate(network.intercepts_)
        }
        np.savez(case, X=X, y=y, **weights)
        try:
            done = subprocess.run(
                [str(python), "-c", RIVAL, str(case)], capture_output=True, text=True, check=False, timeout=timeout
            )
        except subprocess.TimeoutExpired:
            return {"status": "timeout", "reason": f"more than {timeout} s", "rows": n}
    if done.returncode:
        return {"status": "error", "message": done.stderr[-500:], "rows": n}
    u = rl.unwrap(rl.load(network), X)
    beta = np.concatenate([u.intercept[:, :, None], u.coef], axis=2)
    mean = u.sums.x / u.count[:, None]
    ours = in_turn(
        3,
        merge_path=lambda: whole(X, u.region_of, beta),
        published_merge=lambda: merging.published_merge(mean, beta, u.count),
    )
    theirs = json.loads(done.stdout.splitlines()[-1])
    return {"status": "ok", "rows": n, "regions": u.n_regions, **theirs, "ours_seconds": ours}


# Runs in the rival's own environment. Its time is that of the fit after unwrapping.
RIVAL = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
import numpy as np, aletheia
case = np.load(sys.argv[1])
n = sum(name.startswith("W") for name in case.files)
unwrapper = aletheia.UnwrapperClassifier([case[f"W{i}"] for i in range(n)], [case[f"b{i}"] for i in range(n)])
unwrapper.fit(case["X"], case["y"])
start = time.process_time()
merger = aletheia.MergerClassifier(unwrapper=unwrapper)
merger.fit(case["X"], case["y"])
print(json.dumps({"merge_seconds": time.process_time() - start, "their_regions": int(unwrapper.nllms)}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--regions", type=int, default=10_000)
    parser.add_argument("--features", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--timeout", type=int, default=300, help="seconds that aletheia-dnn may take")
    parser.add_argument("-o", "--out", type=Path, default=HERE / "results" / "merging.json")
    args = parser.parse_args()

    x, region, beta = many_regions(args.regions, args.features)
    moments = merging.region_moments(x, region, args.regions)
    edges = merging.region_graph(moments.mean)
    seconds = in_turn(
        args.repeats,
        moments=lambda: merging.region_moments(x, region, args.regions),
        graph=lambda: merging.region_graph(moments.mean),
        path=lambda: merging.merge_path(moments, beta, edges=edges),
        whole=lambda: whole(x, region, beta),
        ward=lambda: ward(beta, edges),
    )
    path = merging.merge_path(moments, beta, edges=edges)
    labels = {"merge path": path.labels(8), "Ward on the maps": ward(beta, edges)}
    loss = {
        name: merging.partition_loss(moments, beta, label, merging.joint_maps(moments, beta, label))
        for name, label in labels.items()
    }
    result = {
        "machine": {"processor": platform.machine(), "python": platform.python_version(), "numpy": np.__version__},
        "regions": args.regions,
        "features": args.features,
        "rows": len(x),
        "edges": len(edges),
        "seconds": seconds,
        "ratios": {
            "merge path / Ward on the maps (scikit-learn), same graph": seconds["path"] / seconds["ward"],
            "moments, graph and path / Ward on the maps": seconds["whole"] / seconds["ward"],
        },
        "mean_squared_error_of_8_refitted_models": loss,
        "aletheia": aletheia(5_000, args.timeout),
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
