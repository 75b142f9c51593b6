"""Trust of held-out rows: how much worse is the network really where it is trusted least? (`exposure.py` has what it costs.)

    python benchmarks/extrapolation.py [--data FOLDER] [--seeds 5] [-o results.json]

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
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats
from simplifying import case

import relucidate as rl
from relucidate import diagnose

HERE = Path(__file__).parent
DATA = ("TaiwanCredit", "BikeSharing")


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("-o", type=Path, default=HERE / "results" / "extrapolation.json")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # of scikit-learn, about convergence
    kept = json.loads(options.o.read_text(encoding="utf-8")) if options.o.exists() else {"trust": []}
    if options.data is not None:
        kept["trust"] = [trust_of(name, options.data, options.seeds) for name in DATA]
    options.o.write_text(json.dumps(kept, indent=1).replace("NaN", "null") + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
