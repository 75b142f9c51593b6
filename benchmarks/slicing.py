"""All regions of a network in a square, against regioncam 0.5.2: same networks, same square, one run.

    python benchmarks/slicing.py [--repeats 7] [-o results.json]

Times are the processor's, of all threads together, and minima over the repeats, taken in turn (A B A B …), because the
machine may be shared; only ratios are meant to be quoted. regioncam is compiled (Rust), computes in float32 and gives polygons
with values at their corners; ours is NumPy in float64, and gives polygons, patterns, and the proof of each pattern in exact
arithmetic. *polygons alone* leaves that proof out.

Others that enumerate regions were not run: parx needs Julia, relucent a licence of Gurobi, and affinitree builds a tree for
any dimension by linear programs.
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
import torch

from relucidate.cutting import TOLERANCE, Cutter
from relucidate.features import Features
from relucidate.layers import Activation, Layer
from relucidate.network import Network
from relucidate.regions import Plane, slice2d

HERE = Path(__file__).parent
SIZES = (
    (2, 16, 16, 1),
    (2, 40, 40, 40, 40, 1),
    (2, 100, 100, 100, 1),
    (2, 150, 150, 1),
    (2, 50, 50, 50, 50, 50, 50, 1),
)

# Runs in the rival's own environment, once for each turn.
RIVAL = """
import json, sys, time
import numpy as np, regioncam
case = np.load(sys.argv[1])
n = len(case.files) // 2
parts = [(case[f"W{i}"].T.astype(np.float32).copy(), case[f"b{i}"].astype(np.float32)) for i in range(n)]
best = float("inf")
for _ in range(3):
    start = time.process_time()
    found = regioncam.Regioncam(size=1)
    for i, (weight, bias) in enumerate(parts):
        found.linear(weight, bias)
        if i < n - 1:
            found.relu()
    best = min(best, time.process_time() - start)
print(json.dumps({"seconds": best, "regions": found.num_faces}))
"""


def weights(sizes: tuple[int, ...]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return PyTorch's own start with seed 0, as others have counted it."""
    torch.manual_seed(0)
    layers = [torch.nn.Linear(k, m) for k, m in pairwise(sizes)]
    return [(layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()) for layer in layers]


def network(parts: list[tuple[np.ndarray, np.ndarray]]) -> Network:
    layers = [
        Layer(w, b, Activation.of_kind("relu" if i < len(parts) - 1 else "identity", len(b)), f"dense {i}")
        for i, (w, b) in enumerate(parts)
    ]
    return Network(tuple(layers), Features.plain(2), "logit")


def seconds(task: Callable[[], Any], times: int = 3) -> float:
    best = float("inf")
    for _ in range(times):
        start = time.process_time()
        task()
        best = min(best, time.process_time() - start)
    return best


def polygons(net: Network) -> Any:
    """Return what is cut, before it is checked."""
    plane, box = Plane.of_features(net, 0, 1), np.array([[-1.0, 1.0], [-1.0, 1.0]])
    return Cutter(net, plane, box, 10**6, TOLERANCE, None).run()


def compared(sizes: tuple[int, ...], repeats: int, python: Path | None, folder: Path) -> dict[str, Any]:
    """Return counts and times of one network."""
    parts = weights(sizes)
    net = network(parts)
    case = folder / "case.npz"
    np.savez(case, **{f"W{i}": w for i, (w, _) in enumerate(parts)}, **{f"b{i}": b for i, (_, b) in enumerate(parts)})
    found = slice2d(net, box=(-1, 1), budget=10**6)
    out: dict[str, Any] = {
        "network": " → ".join(map(str, sizes)),
        "regions": len(found),
        "undecided": int(found.undecided.sum()),
        "area_error": abs(float(found.area.sum()) - 4),
        "seconds": float("inf"),
        "polygons_seconds": float("inf"),
        "regioncam_seconds": float("inf") if python else None,
    }
    for _ in range(repeats):
        out["seconds"] = min(out["seconds"], seconds(lambda: slice2d(net, box=(-1, 1), budget=10**6)))
        out["polygons_seconds"] = min(out["polygons_seconds"], seconds(lambda: polygons(net)))
        if python:
            done = subprocess.run([str(python), "-c", RIVAL, str(case)], capture_output=True, text=True, check=True)
            theirs = json.loads(done.stdout)
            out["regioncam_regions"] = theirs["regions"]
            out["regioncam_seconds"] = min(out["regioncam_seconds"], theirs["seconds"])
    if python:
        out["ratios"] = {
            "regioncam / slice2d": out["regioncam_seconds"] / out["seconds"],
            "regioncam / polygons alone": out["regioncam_seconds"] / out["polygons_seconds"],
        }
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("-o", "--out", type=Path, default=HERE / "results" / "slicing.json")
    args = parser.parse_args()
    sys.path.insert(0, str(HERE / "rivals"))
    from regioncam_env import Unavailable, ensure

    python, reason = None, ""
    try:
        python = ensure()
    except Unavailable as problem:
        reason = str(problem)
    with tempfile.TemporaryDirectory() as folder:
        cases = [compared(sizes, args.repeats, python, Path(folder)) for sizes in SIZES]
    result = {
        "machine": {"processor": platform.machine(), "python": platform.python_version(), "numpy": np.__version__},
        "rival": "regioncam 0.5.2" if python else f"not run: {reason}",
        "cases": cases,
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
