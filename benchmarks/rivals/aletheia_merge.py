"""Merges a network's regions with aletheia-dnn and scores the result on test rows; prints one JSON object.

::

    .bench/aletheia-refits/bin/python benchmarks/rivals/aletheia_merge.py case.npz --models 8 12 --timeout 600 --memory 12

It needs an environment of ``aletheia_env`` for Python 3.8 or 3.9, which has scikit-learn 1.2.2: with 1.7.2, that of Python
3.10, the merger's own refits fail inside and it puts constants in their place without a word. That is looked for, and is an
``error`` here.

``case.npz`` holds the weights ``W0``, ``W1``, … of shape (in, out), the biases ``b0``, ``b1``, …, rows and response to
fit, ``X`` and ``y``, and those to score on, ``X_test`` and ``y_test``. What is printed:

- ``status``: ``ok``, ``timeout``, ``memory`` (the limit was met), ``killed`` (by a signal) or ``error``; unless it is
  ``ok``, ``message`` says more;
- ``rows``, ``regions``, ``n_neighbors`` (at which its graph was connected), ``stage`` (the last one begun),
  ``base_memory_mb`` before the fit and ``peak_memory_mb``, both resident;
- ``merged``: for each number of models asked for, ``n_clusters``, ``n_models`` that were left, ``seconds`` of that merger
  alone, and ``scores``: of the merger (``merge``), with its regions refitted without penalty (``unpenalised``,
  classification only, where the merger's own refit is penalised), and of the network that it is flattened to
  (``flatten``). Scores are ``auc``, or ``mse`` and ``r2``; or ``failed``, the text of what was raised.

The merger keeps clusters of more than 30 rows only, so that fewer may be left than were asked of it: ``n_clusters`` is
raised from the number asked for to twice as many until that number is left; else the one that leaves most, and not more,
is taken. Neighbours are 1 % of the regions, as in the paper, and 5 at least, the merger's default. All else is default.

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


def work(path: str, kind: str, models: list[int], seed: int, memory_gb: float) -> None:
    """Merges and scores, and emits each fact as soon as it is known."""
    emit(stage="load")
    import warnings

    import numpy as np

    warnings.simplefilter("ignore")
    import aletheia
    from sklearn.dummy import DummyRegressor
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import mean_squared_error, r2_score, roc_auc_score

    with np.load(path) as case:
        n_layers = sum(name.startswith("W") for name in case.files)
        weights = [case[f"W{layer}"] for layer in range(n_layers)]
        biases = [case[f"b{layer}"] for layer in range(n_layers)]
        X, y, X_test, y_test = (case[name] for name in ("X", "y", "X_test", "y_test"))
    if memory_gb:
        limit = int(memory_gb * 2**30)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    emit(rows=len(X), base_memory_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    classifies = kind == "classification"
    unwrapper_of, merger_of = (
        (aletheia.UnwrapperClassifier, aletheia.MergerClassifier)
        if classifies
        else (aletheia.UnwrapperRegressor, aletheia.MergerRegressor)
    )

    def scores(model: object) -> dict[str, float]:
        if classifies:
            return {"auc": float(roc_auc_score(y_test, model.predict_proba(X_test)[:, 1]))}
        said = np.asarray(model.predict(X_test)).reshape(-1)
        return {"mse": float(mean_squared_error(y_test, said)), "r2": float(r2_score(y_test, said))}

    def attempt(of: object) -> dict[str, object]:
        try:
            return dict(scores(of()))
        except MemoryError:
            raise
        except Exception as error:
            return {"failed": f"{type(error).__name__}: {error}"}

    def check(merger: object) -> None:
        """A constant stands for a cluster whose responses are all alike, and for no other."""
        for model, mine in zip(merger.refit_model_list, merger.sample_idx_by_merge):  # noqa: B905 (3.7 has no strict)
            if isinstance(model, DummyRegressor) and len(np.unique(y[mine])) > 1:
                raise RuntimeError(f"a constant was put in place of the refit of {len(mine)} rows")

    def flattened(merger: object) -> object:
        network = merger.flatten(random_state=seed)
        network.fit(X, y)
        return network

    try:
        emit(stage="unwrap")
        unwrapper = unwrapper_of(weights, biases)
        unwrapper.fit(X, y)
        neighbors = max(5, int(unwrapper.nllms) // 100)
        emit(regions=int(unwrapper.nllms))
        merged: dict[str, object] = {}

        def merge(n_clusters: int, **options: object) -> object:
            merger = merger_of(unwrapper=unwrapper, n_clusters=n_clusters, n_neighbors=neighbors, **options)
            merger.fit(X, y)
            check(merger)
            return merger

        for wanted in models:
            emit(stage=f"merge to {wanted}")
            best, best_clusters, seconds = None, wanted, 0.0
            for n_clusters in range(wanted, 2 * wanted + 1):
                start = time.perf_counter()
                merger = merge(n_clusters)
                neighbors = int(merger.n_neighbors)  # the graph need not be grown again
                left = int(merger.n_active_clusters)
                if left <= wanted and (best is None or left > best.n_active_clusters):
                    best, best_clusters, seconds = merger, n_clusters, time.perf_counter() - start
                if best is not None and best.n_active_clusters == wanted:
                    break
            found: dict[str, object] = {}
            if best is None:
                merged[str(wanted)] = {"failed": f"no number of clusters left {wanted} models or fewer"}
                continue
            merged[str(wanted)] = {
                "n_clusters": best_clusters,
                "n_models": int(best.n_active_clusters),
                "seconds": seconds,
                "scores": found,
            }
            emit(merged=merged, n_neighbors=neighbors, stage=f"predict with {wanted}")
            found["merge"] = attempt(lambda merger=best: merger)
            if classifies:
                from sklearn import __version__ as version

                none = None if tuple(int(part) for part in version.split(".")[:2]) >= (1, 2) else "none"
                free = LogisticRegression(penalty=none, max_iter=1000)
                found["unpenalised"] = attempt(lambda n=best_clusters, free=free: merge(n, refit_model=free))
            emit(merged=merged, stage=f"flatten {wanted}")
            found["flatten"] = attempt(lambda merger=best: flattened(merger))
            emit(merged=merged)
        emit(status="ok")
    except MemoryError as error:
        emit(status="memory", message=str(error))
    except Exception as error:
        emit(status="error", message=f"{type(error).__name__}: {error}")


def measure(args: argparse.Namespace) -> dict[str, object]:
    """Runs ``work`` in a child process and gathers what it emitted until it ended or was ended."""
    command = [sys.executable, os.path.abspath(__file__), args.case, "--kind", args.kind, "--seed", str(args.seed)]
    command += ["--memory", str(args.memory), "--child", "--models", *map(str, args.models)]
    child = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        env=dict(os.environ, MPLBACKEND="agg"),
    )
    timed_out = False
    start = time.perf_counter()
    try:
        out, err = child.communicate(timeout=args.timeout)
    except subprocess.TimeoutExpired:
        timed_out = True
        child.kill()
        out, err = child.communicate()
    except BaseException:
        child.kill()
        raise

    facts: dict[str, object] = dict.fromkeys(("status", "stage", "rows", "regions", "n_neighbors", "base_memory_mb"))
    facts["merged"] = {}
    for line in out.splitlines():
        if line.startswith("{"):
            facts.update(json.loads(line))
    if facts["status"] is None:
        if timed_out:
            facts.update(status="timeout", message=f"over {args.timeout:g} seconds")
        elif child.returncode < 0:
            facts.update(status="killed", message=signal.Signals(-child.returncode).name)
        else:
            facts.update(status="error", message=(err.strip().splitlines() or ["no output"])[-1])
    facts["total_seconds"] = time.perf_counter() - start
    facts["peak_memory_mb"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return facts


def main() -> None:
    parser = argparse.ArgumentParser(description="Merge a network's regions with aletheia-dnn, score; print JSON.")
    parser.add_argument("case", help="an .npz with W0…, b0…, X, y, X_test and y_test")
    parser.add_argument("--kind", choices=("classification", "regression"), default="classification")
    parser.add_argument("--models", type=int, nargs="+", default=[8], help="numbers of models (default: 8)")
    parser.add_argument("--seed", type=int, default=0, help="of the training of flattened networks (default: 0)")
    parser.add_argument("--timeout", type=float, help="seconds for everything, importing included (default: none)")
    parser.add_argument("--memory", type=float, default=0, help="limit of address space in GB (default: none)")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        work(args.case, args.kind, args.models, args.seed, args.memory)
    else:
        print(json.dumps(measure(args), indent=2))


if __name__ == "__main__":
    main()
