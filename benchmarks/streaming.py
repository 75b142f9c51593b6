"""Unwrapping a Parquet file that does not fit in memory: peak memory, nothing lost, killed half-way.

    python benchmarks/streaming.py [--rows 20000000] [-o results.json]

Memory is the peak of the resident set of a process of its own, less that of the same interpreter with the same imports.
The regions are compared with those of the first million rows unwrapped in memory.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from unwrapping import HERE, rows, trained

import relucidate as rl

BATCH = 500_000
CHILD = """
import resource, sys, json, time
import numpy as np, pandas, pyarrow.parquet, scipy.sparse, onnx
import relucidate as rl, relucidate.unwrapping, relucidate.html
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
if len(sys.argv) > 1:
    arrays = np.load(sys.argv[1])
    L = len(arrays.files) // 2
    net = rl.load(([arrays[f"W{i}"] for i in range(L)], [arrays[f"b{i}"] for i in range(L)]), link="logit")
    start = time.perf_counter()
    u = rl.unwrap(net, sys.argv[2], "y")
    seconds = time.perf_counter() - start
    u.save(sys.argv[3])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"seconds": seconds, "rows": u.n_rows, "regions": u.n_regions,
                      "peak_mb": peak / 1024, "base_mb": base / 1024, "above_base_mb": (peak - base) / 1024}))
"""


def write_rows(path: Path, n: int) -> None:
    """Write n rows of 20 float64 features and a label, in row groups."""
    schema = pa.schema([(f"x{i}", pa.float64()) for i in range(20)] + [("y", pa.int8())])
    with pq.ParquetWriter(path, schema, compression="none", use_dictionary=False) as writer:
        for start in range(0, n, BATCH):
            X, y = rows(min(BATCH, n - start), seed=100 + start // BATCH)
            columns = {f"x{i}": X[:, i] for i in range(20)} | {"y": y.astype(np.int8)}
            writer.write_table(pa.table(columns, schema=schema), row_group_size=100_000)


def run(arguments: list[str]) -> dict[str, Any]:
    """Return what the child process printed."""
    done = subprocess.run([sys.executable, "-c", CHILD, *arguments], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def killed_half_way(arguments: list[str], out: Path, seconds: float) -> dict[str, Any]:
    """Return what is left under the final name after `kill -9`."""
    child = subprocess.Popen([sys.executable, "-c", CHILD, *arguments], stdout=subprocess.DEVNULL)
    time.sleep(seconds)
    child.send_signal(signal.SIGKILL)
    child.wait()
    return {"killed_after_seconds": seconds, "output_exists": out.exists()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("-o", "--out", type=Path, default=HERE / "results" / "streaming.json")
    args = parser.parse_args()
    network = trained()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights = {f"W{i}": W for i, W in enumerate(network.coefs_)}
        np.savez(folder / "net.npz", **weights, **{f"b{i}": b for i, b in enumerate(network.intercepts_)})
        write_rows(folder / "rows.parquet", args.rows)
        arguments = [str(folder / "net.npz"), str(folder / "rows.parquet")]
        result = run([*arguments, str(folder / "out")])
        result["counts_sum_to_rows"] = result["rows"] == args.rows
        result["assigned_rows"] = pq.read_metadata(folder / "out" / "assignments.parquet").num_rows
        u = rl.unwrap(rl.load(network), np.concatenate([rows(BATCH, seed=100 + i)[0] for i in range(2)]))
        streamed = rl.Unwrapped.load(folder / "out")
        there = streamed.regions_of_patterns(u.patterns)
        first = streamed.region_of[: u.n_rows]
        result["same_regions_as_in_memory"] = bool((there >= 0).all() and (first == there[u.region_of]).all())
        result |= killed_half_way([*arguments, str(folder / "killed")], folder / "killed", result["seconds"] / 2)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
