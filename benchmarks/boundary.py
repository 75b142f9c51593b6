"""The nearest row that a network decides otherwise, against HiGHS's mixed-integer solver: same rows, same norms, one run.

    python benchmarks/boundary.py [--rows 40] [--rival-rows 6] [--seconds 60] [-o results.json]

Times are the processor's, each row once, in turn with the rival (A B A B …), because the machine may be shared; only ratios are
meant to be quoted. The rival gets the network as a program with a binary number per neuron (big M from intervals over a box
twice as far away as our answer, which favours it), to a relative gap of 1e-6 as ours, and a limit of time; what reaches the limit
counts with it, so that the ratio is then a lower bound. Norm 2 is a quadratic program, which it does not solve with integers.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from relucidate.diagnose import boundary
from relucidate.features import Features
from relucidate.layers import Activation, Layer
from relucidate.network import Network

HERE = Path(__file__).parent
CASES = (((12, 8, 4, 1), 1), ((20, 40, 40, 1), 0))  # widths, and the seed of the weights
BUDGET = 20_000
NORMS = (1, 2, np.inf)


def network(sizes: tuple[int, ...], seed: int) -> Network:
    """Return a network with weights as He and others start it."""
    rng = np.random.default_rng(seed)
    parts = [(rng.normal(size=(k, m)) * np.sqrt(2 / k), 0.1 * rng.normal(size=m)) for k, m in pairwise(sizes)]
    layers = [
        Layer(w.T, b, Activation.of_kind("relu" if i < len(parts) - 1 else "identity", len(b)), f"dense {i}")
        for i, (w, b) in enumerate(parts)
    ]
    return Network(tuple(layers), Features.plain(sizes[0]), "logit")


def by_integers(net: Network, x: np.ndarray, norm: float, far: float, limit: float) -> tuple[float, bool]:
    """Return the distance to decision 0 by a mixed-integer program, looking no farther than `far`, and whether it is proved."""
    d, widths = len(x), [len(layer.bias) for layer in net.hidden]
    m, extra = sum(widths), d if norm == 1 else 1
    n = d + extra + 2 * m  # moved row, distances, values of neurons, whether they are on
    rows: list[np.ndarray] = []
    least: list[float] = []
    most: list[float] = []

    def add(entries: dict[Any, Any], a: float, b: float) -> None:
        row = np.zeros(n)
        for at, value in entries.items():
            row[list(at) if isinstance(at, tuple) else at] = value
        rows.append(row)
        least.append(a)
        most.append(b)

    for j in range(d):
        for sign in (1, -1):
            add({j: sign, d + (j if norm == 1 else 0): 1}, sign * x[j], np.inf)
    lower, upper, before, start = x - far, x + far, tuple(range(d)), d + extra
    for layer in net.hidden:
        w, b = np.asarray(layer.weight), layer.bias
        z_low = np.minimum(w * lower, w * upper).sum(axis=1) + b
        z_high = np.maximum(w * lower, w * upper).sum(axis=1) + b
        for k in range(len(b)):
            v, on = start + k, start + m + k
            low, high = min(z_low[k], 0.0), max(z_high[k], 0.0)
            add({before: -w[k], v: 1}, b[k], np.inf)
            add({before: -w[k], v: 1, on: -low}, -np.inf, b[k] - low)
            add({v: 1, on: -high}, -np.inf, 0.0)
        before, start = tuple(range(start, start + len(b))), start + len(b)
        lower, upper = np.maximum(z_low, 0), np.maximum(z_high, 0)
    sign = -1.0 if net.decision(x[None])[0, 0] > 0 else 1.0
    add({before: sign * np.asarray(net.layers[-1].weight)[0]}, -sign * net.layers[-1].bias[0], np.inf)
    at_on = d + extra + m
    low, high = np.zeros(n), np.full(n, np.inf)
    low[:d], high[:d], high[at_on:] = x - far, x + far, 1
    cost, whole = np.zeros(n), np.zeros(n)
    cost[d : d + extra], whole[at_on:] = 1, 1
    solved = milp(
        cost,
        constraints=LinearConstraint(np.array(rows), least, most),
        bounds=Bounds(low, high),
        integrality=whole,
        options={"mip_rel_gap": 1e-6, "time_limit": limit},
    )
    return (float(solved.fun) if solved.fun is not None else np.inf), solved.status == 0


def compared(sizes: tuple[int, ...], seed: int, norm: float, n: int, n_rival: int, limit: float) -> dict[str, Any]:
    """Return what was proved, in which time, of one network and norm."""
    net = network(sizes, seed)
    x = np.random.default_rng(1).uniform(-1, 1, size=(n, sizes[0]))
    ours, theirs, agreed, proved, statuses, ratio = [], [], [], 0, [], []
    boundary(net, x[:1], norm=norm)  # what is imported on first use
    for i in range(n):
        start = time.process_time()
        r = boundary(net, x[[i]], norm=norm, budget=BUDGET)
        ours.append(time.process_time() - start)
        statuses.append(r.status[0].name)
        ratio.append(float(r.lower_bound[0] / r.distance[0]))
        if norm != 2 and i < n_rival and np.isfinite(r.distance[0]):
            start = time.process_time()
            distance, done = by_integers(net, x[i], norm, 2 * float(r.distance[0]), limit)
            theirs.append((ours[-1], time.process_time() - start))
            proved += done
            if done and statuses[-1] == "FOUND":
                agreed.append(abs(distance / float(r.distance[0]) - 1))
    out: dict[str, Any] = {
        "network": " → ".join(map(str, sizes)),
        "norm": str(norm),
        "rows": n,
        "budget": BUDGET,
        "status": dict(Counter(statuses)),
        "seconds_median": float(np.median(ours)),
        "seconds_largest": max(ours),
        "lower_bound_over_distance_least": min(ratio),
    }
    if theirs:
        mine, rival = np.array(theirs).T
        out |= {
            "milp_rows": len(theirs),
            "milp_proved": int(proved),
            "milp_seconds_median": float(np.median(rival)),
            "largest_relative_difference": max(agreed, default=None),
            "ratios": {"milp / boundary": float(np.median(rival / mine))},
        }
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=40)
    parser.add_argument("--rival-rows", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("-o", "--out", type=Path, default=HERE / "results" / "boundary.json")
    args = parser.parse_args()
    result = {
        "machine": {"processor": platform.machine(), "python": platform.python_version(), "numpy": np.__version__},
        "limit": args.seconds,
        "cases": [
            compared(sizes, seed, norm, args.rows, args.rival_rows, args.seconds)
            for sizes, seed in CASES
            for norm in NORMS
        ],
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
