"""Times aletheia-dnn on one network and one table; prints one JSON object. Runs in the environment of ``aletheia_env``.

::

    .bench/aletheia/bin/python benchmarks/rivals/aletheia_unwrap.py case.npz --timeout 300 --memory 8

``case.npz`` holds the weights ``W0``, ``W1``, … of shape (in, out), the biases ``b0``, ``b1``, …, the rows ``X`` and
the response ``y``. What is printed:

- ``status``: ``ok``, ``timeout``, ``memory`` (the limit was met), ``killed`` (by a signal) or ``error``; unless it is
  ``ok``, ``message`` says more;
- ``rows``, ``regions``; ``fit_seconds`` and ``summary_seconds``, null for what was not reached;
- ``stage``: ``load``, ``fit`` or ``summary``, the last one begun;
- ``base_memory_mb`` before the fit and ``peak_memory_mb``, both resident.

The work is done in a child process: compiled code heeds no alarm, and its tables of rows × regions can be larger than
the machine. Python 3.7 must be able to read this file.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import time


def emit(**facts: object) -> None:
    """Tells the parent what is known so far."""
    print(json.dumps(facts), flush=True)


def work(path: str, kind: str, memory_gb: float) -> None:
    """Fits and summarises, and emits each fact as soon as it is known."""
    emit(stage="load")
    import warnings

    import numpy as np

    warnings.simplefilter("ignore")
    import aletheia

    with np.load(path) as case:
        n_layers = sum(name.startswith("W") for name in case.files)
        weights = [case[f"W{layer}"] for layer in range(n_layers)]
        biases = [case[f"b{layer}"] for layer in range(n_layers)]
        X, y = case["X"], case["y"]
    if memory_gb:
        limit = int(memory_gb * 2**30)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    emit(rows=len(X), base_memory_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)

    unwrapper_of = {"classification": aletheia.UnwrapperClassifier, "regression": aletheia.UnwrapperRegressor}
    unwrapper = unwrapper_of[kind](weights, biases)
    try:
        emit(stage="fit")
        start = time.perf_counter()
        unwrapper.fit(X, y)
        emit(fit_seconds=time.perf_counter() - start, regions=int(unwrapper.nllms))
        emit(stage="summary")
        start = time.perf_counter()
        unwrapper.summary()
        emit(summary_seconds=time.perf_counter() - start, status="ok")
    except MemoryError as error:
        emit(status="memory", message=str(error))
    except Exception as error:
        emit(status="error", message=f"{type(error).__name__}: {error}")


def measure(path: str, kind: str, timeout: float | None, memory_gb: float) -> dict[str, object]:
    """Runs ``work`` in a child process and gathers what it emitted until it ended or was ended."""
    command = [sys.executable, os.path.abspath(__file__), path, "--kind", kind, "--memory", str(memory_gb), "--child"]
    child = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        env=dict(os.environ, MPLBACKEND="agg"),
    )
    timed_out = False
    try:
        out, err = child.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        timed_out = True
        child.kill()
        out, err = child.communicate()
    except BaseException:
        child.kill()
        raise

    facts: dict[str, object] = dict.fromkeys(
        ("status", "stage", "rows", "regions", "fit_seconds", "summary_seconds", "base_memory_mb")
    )
    for line in out.splitlines():
        if line.startswith("{"):
            facts.update(json.loads(line))
    if facts["status"] is None:
        if timed_out:
            facts.update(status="timeout", message=f"over {timeout} seconds")
        elif child.returncode < 0:
            facts.update(status="killed", message=signal.Signals(-child.returncode).name)
        else:
            facts.update(status="error", message=(err.strip().splitlines() or ["no output"])[-1])
    facts["peak_memory_mb"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return facts


def main() -> None:
    parser = argparse.ArgumentParser(description="Time aletheia-dnn on one network and table; print JSON.")
    parser.add_argument("case", help="an .npz with W0…, b0…, X and y")
    parser.add_argument("--kind", choices=("classification", "regression"), default="classification")
    parser.add_argument("--timeout", type=float, help="seconds for everything, importing included (default: none)")
    parser.add_argument("--memory", type=float, default=0, help="limit of address space in GB (default: none)")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        work(args.case, args.kind, args.memory)
    else:
        print(json.dumps(measure(args.case, args.kind, args.timeout, args.memory), indent=2))


if __name__ == "__main__":
    main()
