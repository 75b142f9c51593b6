"""Facets of one activation region, against aletheia-dnn 1.3.5: same networks, same regions, same box, one run.

    python benchmarks/facets.py [--regions 100] [--repeats 3] [--keep FOLDER] [-o results.json]

Times are the processor's, of all threads together, and minima over the repeats, taken in turn (A B A B …), because the
machine may be shared; only ratios are meant to be quoted. aletheia-dnn's `get_local_boundaries` is compiled and solves one
linear program per inequality within the range of its table; ours is asked for the same within that box, and in the same time
finds a point strictly inside and a point on every facet. Its answer is a list of hyperplanes, told apart here by coefficients.
On 100 regions of 800 neurons it takes ten minutes, on a busy machine hours: answers are kept in a folder, ten regions a file,
and are not asked for again.
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
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from relucidate import regions
from relucidate.facets import neighbours_of
from relucidate.features import Features
from relucidate.layers import Activation, Layer
from relucidate.network import Network

HERE = Path(__file__).parent
# widths, regions whose facets are compared, and those of them that are timed
CASES = (((20, 80, 80, 1), 100, 10), ((20, 400, 400, 1), 100, 2))

# Runs in the rival's own environment, once for each turn.
RIVAL = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
import numpy as np, aletheia
case, first, last, out = np.load(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
n = sum(name.startswith("W") for name in case.files)
u = aletheia.UnwrapperClassifier([case["W%d" % i] for i in range(n)], [case["b%d" % i] for i in range(n)])
u.fit(case["X"], case["y"])
confs = u.get_confs(case["X"])
seconds, found = [], {}
for i in range(first, last):
    pattern = [int(bit) for bit in confs[i]]
    start = time.process_time()
    A, b, _ = u.get_local_boundaries(pattern)
    seconds.append(time.process_time() - start)
    found["r%d" % i] = np.column_stack([A, b])
np.savez(out, **found)
print(json.dumps(seconds))
"""


def parts_of(sizes: tuple[int, ...]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return weights (in, out) and biases, as He and others start a network."""
    rng = np.random.default_rng(0)
    return [(rng.normal(size=(k, m)) * np.sqrt(2 / k), 0.1 * rng.normal(size=m)) for k, m in pairwise(sizes)]


def network(parts: list[tuple[np.ndarray, np.ndarray]]) -> Network:
    layers = [
        Layer(w.T, b, Activation.of_kind("relu" if i < len(parts) - 1 else "identity", len(b)), f"dense {i}")
        for i, (w, b) in enumerate(parts)
    ]
    return Network(tuple(layers), Features.plain(len(parts[0][0])), "logit")


def seconds(task: Callable[[], Any], times: int = 3) -> float:
    best = float("inf")
    for _ in range(times):
        start = time.process_time()
        task()
        best = min(best, time.process_time() - start)
    return best


def bits(region: regions.Region, planes: np.ndarray) -> set[int]:
    """Return the bits of the pattern whose hyperplanes these are (k, d + 1), each up to its sign."""
    ours = np.column_stack([region.walls.inward, region.walls.constant])
    ours, theirs = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (ours, planes))
    likeness = np.abs(theirs @ ours.T)
    if not (likeness.max(axis=1) > 1 - 1e-9).all():
        raise ValueError("a hyperplane of the rival's is none of the region's")
    return {int(region.walls.bit[i]) for i in likeness.argmax(axis=1)}


def facets(region: regions.Region) -> set[int]:
    rows = region.polytope.row[region.facets.index]
    return {int(region.walls.bit[i]) for i in rows[rows >= 0]}


def crossed(region: regions.Region) -> int:
    """Return how many facets are proved by crossing them: the pattern flips where the facet's neuron is, and nowhere else."""
    found = neighbours_of(region)
    return sum(
        set(np.flatnonzero(found.flipped[i])) == set(region.walls.bit[region.owners(int(k))])
        for i, k in enumerate(found.facet)
    )


def compared(
    sizes: tuple[int, ...], n: int, timed: int, repeats: int, python: Path | None, folder: Path, keep: Path
) -> dict[str, Any]:
    """Return facets and times of one network."""
    parts = parts_of(sizes)
    net = network(parts)
    rng = np.random.default_rng(1)
    X = rng.uniform(-1, 1, size=(max(n, 200), sizes[0]))
    box = (X.min(axis=0), X.max(axis=0))
    found = [regions.polytope(net, X[i], box) for i in range(n)]
    patterns = net.patterns(X[:n])
    inside = net.patterns(np.array([r.witness for r in found]))
    out: dict[str, Any] = {
        "network": " → ".join(map(str, sizes)),
        "neurons": net.n_bits,
        "regions": n,
        "facets_mean": float(np.mean([len(facets(r)) for r in found])),
        "doubtful": sum(len(r.facets.doubtful) for r in found),
        "witnesses_with_their_pattern": int((inside.packed == patterns.packed).all(axis=1).sum()),
        "facets_crossed": sum(crossed(r) for r in found),
        "facets": sum(len(facets(r)) for r in found),
        "ms": float("inf"),
        "ms_without_box": float("inf"),
        "aletheia_ms": float("inf") if python else None,
    }
    case = folder / "case.npz"
    y = (X[:, 0] > 0).astype(int)
    np.savez(
        case,
        X=X,
        y=y,
        **{f"W{i}": w for i, (w, _) in enumerate(parts)},
        **{f"b{i}": b for i, (_, b) in enumerate(parts)},
    )
    if python:
        theirs = answers(python, case, n, folder, keep / "-".join(map(str, sizes)))
        out["equal_facet_sets"] = sum(bits(r, theirs[f"r{i}"]) == facets(r) for i, r in enumerate(found))
    for _ in range(repeats):
        for name, within in (("ms", box), ("ms_without_box", None)):
            each = [
                seconds(lambda i=i, within=within: regions.polytope(net, X[i], within).facets) for i in range(timed)
            ]
            out[name] = min(out[name], 1e3 * float(np.mean(each)))
        if python:
            out["aletheia_ms"] = min(out["aletheia_ms"], 1e3 * float(np.mean(rival(python, case, 0, timed, folder)[0])))
    if python:
        out["ratios"] = {"aletheia / polytope": out["aletheia_ms"] / out["ms"]}
    return out


def answers(python: Path, case: Path, n: int, folder: Path, keep: Path) -> dict[str, Any]:
    """Return the rival's hyperplanes of each region, from where they were kept if they are of the same rows."""
    keep.mkdir(parents=True, exist_ok=True)
    with np.load(case) as known:
        X = known["X"]
    out: dict[str, Any] = {}
    for first in range(0, n, 10):
        last = min(first + 10, n)
        path = keep / f"{first}-{last}.npz"
        if path.is_file():
            with np.load(path) as kept:
                found = {name: kept[name] for name in kept.files}
            if np.array_equal(found.pop("X"), X):
                out |= found
                continue
        found = rival(python, case, first, last, folder)[1]
        np.savez(path, X=X, **found)
        out |= found
    return out


def rival(python: Path, case: Path, first: int, last: int, folder: Path) -> tuple[list[float], Any]:
    answer = folder / "found.npz"
    command = [str(python), "-c", RIVAL, str(case), str(first), str(last), str(answer)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={"MPLBACKEND": "agg", "OMP_NUM_THREADS": "1"}
    )
    with np.load(answer) as found:
        return json.loads(done.stdout.splitlines()[-1]), {name: found[name] for name in found.files}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--regions", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--keep", type=Path, default=HERE.parent / ".bench" / "facets")
    parser.add_argument("-o", "--out", type=Path, default=HERE / "results" / "facets.json")
    args = parser.parse_args()
    sys.path.insert(0, str(HERE / "rivals"))
    from aletheia_env import Unavailable, ensure

    python, reason = None, ""
    try:
        python = ensure()
    except Unavailable as problem:
        reason = str(problem)
    with tempfile.TemporaryDirectory() as folder:
        cases = [
            compared(sizes, min(n, args.regions), timed, args.repeats, python, Path(folder), args.keep)
            for sizes, n, timed in CASES
        ]
    result = {
        "machine": {"processor": platform.machine(), "python": platform.python_version(), "numpy": np.__version__},
        "rival": "aletheia-dnn 1.3.5" if python else f"not run: {reason}",
        "cases": cases,
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
