"""Trust of held-out rows: how much worse is the network really where it is trusted least, and what does it cost to ask?

    python benchmarks/extrapolation.py [--data FOLDER] [--rows 1000000] [--seeds 5] [--repeats 3] [-o results.json]

Data sets, networks and splits are those of `simplifying.py`: scikit-learn's MLP [40, 40], early stopping, 80/20 split and
network by the seed. They need `--data`, a folder that holds TaiwanCredit.csv.gz and BikeSharing.csv (both from UCI,
CC BY 4.0); without it they keep the lines that they have in the file of results. The score is learnt from the training
rows and judged on the held-out ones; "calibrated" is learnt from every other held-out row and judged on the rest, where
the distance to the nearest training row is judged again. Ratios are the mean loss (log-loss; squared error of log(1 +
count)) of the tenth trusted least over that of the other nine tenths. "surprise" is the same for the loss in units of
what the network itself expects of its probabilities. The parts of the score, and how they are joined, were chosen with a
look at the held-out rows of these very splits, so that the ratios of trust flatter it somewhat; those of the plain distance
do not depend on any choice. Over seeds: the mean, and an interval by Student's t of the logarithms,
which is a little too short, as seeds share data; each seed has its own interval from the bootstrap.

The timed network is [40] × 4 on 20 features, as in `unwrapping.py`: one million rows against the regions of 400,000 others.
The distance to the nearest training row is left out there (`nearest_row=False`) and timed by itself on fewer rows, since it
costs more than all else. Times are minima over the repeats, taken in turn; only ratios are meant to be quoted.
"""

from __future__ import annotations

import argparse
import json
import platform
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats
from simplifying import case
from unwrapping import forward, in_turn, rows, trained

import relucidate as rl
from relucidate import diagnose
from relucidate.grouping import nearest

HERE = Path(__file__).parent
DATA = ("TaiwanCredit", "BikeSharing")
FEWER = 20_000


def over_seeds(values: list[float]) -> dict[str, Any]:
    """Return the geometric mean of ratios and its interval."""
    logs = np.log(values)
    half = stats.t.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / np.sqrt(len(logs)) if len(logs) > 1 else np.nan
    middle = logs.mean()
    return {
        "mean": float(np.exp(middle)),
        "lower": float(np.exp(middle - half)),
        "upper": float(np.exp(middle + half)),
        "each": [float(v) for v in values],
    }


def judged(found: Any) -> dict[str, Any]:
    """Return what one seed has to say."""
    c = found.calibration
    out: dict[str, Any] = {"rows": c.n, "unseen": float((~found.seen).mean()), "gain": c.gain}
    out["gain interval"] = [c.gain_lower, c.gain_upper]
    for k, order in enumerate(c.orders):
        out[order] = {
            "ratio": float(c.ratio[k]),
            "interval": [float(c.ratio_lower[k]), float(c.ratio_upper[k])],
            "surprise": None if np.isnan(c.surprise[k]) else float(c.surprise[k]),
            "surprise interval": [float(c.surprise_lower[k]), float(c.surprise_upper[k])],
            "excess, tenth and rest": [float(c.excess_tenth[k]), float(c.excess_rest[k])],
            "excess difference interval": [float(c.excess_lower[k]), float(c.excess_upper[k])],
        }
    return out


def trust_of(name: str, folder: Path, seeds: int) -> dict[str, Any]:
    """Return ratios of one data set over seeds."""
    each: dict[str, list[dict[str, Any]]] = {"learnt from training rows": [], "calibrated": []}
    for seed in range(seeds):
        this = case(name, seed, folder)
        u = rl.unwrap(this.net, *this.train)
        X, y = this.test
        each["learnt from training rows"].append(judged(diagnose.extrapolation(u, X, y, random_state=seed)))
        half = diagnose.extrapolation(u, X[1::2], y[1::2], calibrate=(X[::2], y[::2]), random_state=seed)
        each["calibrated"].append(judged(half))
        brief = {how: [round(v[-1][o]["ratio"], 3) for o in ("trust", "row distance")] for how, v in each.items()}
        print(name, seed, brief, flush=True)
    out: dict[str, Any] = {"data": name}
    for how, found in each.items():
        out[how] = {
            "trust": over_seeds([f["trust"]["ratio"] for f in found]),
            "row distance": over_seeds([f["row distance"]["ratio"] for f in found]),
            "trust over row distance": over_seeds([f["gain"] for f in found]),
            "seeds": found,
        }
        if found[0]["trust"]["surprise"] is not None:
            for order in ("trust", "row distance"):
                out[how][f"surprise of {order}"] = over_seeds([f[order]["surprise"] for f in found])
    return out


def timed(n: int, repeats: int) -> dict[str, Any]:
    """Return what it takes for n rows, beside the plain forward pass."""
    network = trained()
    net = rl.load(network)
    u = rl.unwrap(net, *rows(400_000, seed=1))
    X, _ = rows(n, seed=2)
    some = X[:FEWER]
    rng = np.random.default_rng(0)
    known, asked = (rng.integers(0, 256, size=(10_000, 20), dtype=np.uint8) for _ in range(2))
    found = diagnose.extrapolation(u, X, nearest_row=False)
    seconds = in_turn(
        repeats,
        forward=lambda: forward(network, X),
        forward_in_blocks=lambda: forward(network, X, 2048),
        extrapolation=lambda: diagnose.extrapolation(u, X, nearest_row=False),
        few_rows=lambda: diagnose.extrapolation(u, some, nearest_row=False),
        few_rows_with_nearest=lambda: diagnose.extrapolation(u, some),
        nearest_patterns=lambda: nearest(known, asked),
    )
    plain = min(seconds["forward"], seconds["forward_in_blocks"])
    return {
        "machine": {"processor": platform.machine(), "python": platform.python_version(), "numpy": np.__version__},
        "rows": n,
        "neurons": 160,
        "patterns": len(u.patterns),
        "unseen": float((~found.seen).mean()),
        "few_rows": FEWER,
        "seconds": seconds,
        "ratios": {
            "extrapolation / forward": seconds["extrapolation"] / seconds["forward"],
            "extrapolation / forward in cache-sized blocks": seconds["extrapolation"] / seconds["forward_in_blocks"],
            "extrapolation / the faster of the two": seconds["extrapolation"] / plain,
            "pairs of patterns per second, 160 bits": 1e8 / seconds["nearest_patterns"],
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("-o", type=Path, default=HERE / "results" / "extrapolation.json")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # of scikit-learn, about convergence
    kept = json.loads(options.o.read_text(encoding="utf-8")) if options.o.exists() else {"trust": []}
    kept["speed"] = timed(options.rows, options.repeats)
    print(json.dumps(kept["speed"], indent=1), flush=True)
    if options.data is not None:
        kept["trust"] = [trust_of(name, options.data, options.seeds) for name in DATA]
    options.o.write_text(json.dumps(kept, indent=1).replace("NaN", "null") + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
