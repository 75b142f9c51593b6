"""The report on TaiwanCredit: what it takes to write it, beside unwrapping; its size; what it takes a browser to open it.

    python benchmarks/report.py [--data FOLDER] [--repeats 3] [-o results.json]

FOLDER holds TaiwanCredit.csv.gz (UCI, CC BY 4.0): 30,000 rows and 23 features; without it the results stay as they are. The
network is that of `simplifying.py` for seed 0, scikit-learn's MLP [40, 40] trained on 80 % of the rows; the page is on all
30,000 rows, the 20 % held out being the test rows. "everything" has every chapter: test rows, 200 single rows to pick from,
signs expected, and a simplification that was made before. Opening is from the disk to the load event, in headless Chromium,
which has to be installed with its driver. Times are minima over the repeats, taken in turn; only ratios are meant to be quoted.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from simplifying import case
from unwrapping import in_turn

import relucidate as rl
from relucidate import simplify

HERE = Path(__file__).parent


def opened(path: Path, repeats: int) -> float:
    """Return the seconds from asking for the page to its load event, the least of the repeats."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    program, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if program is None or driver is None:
        raise SystemExit("The time to open needs Chromium and its driver (on Debian: chromium chromium-driver).")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu"):
        options.add_argument(argument)
    browser = webdriver.Chrome(options=options, service=Service(driver))
    try:
        seconds = []
        for _ in range(repeats + 1):  # the first one starts the browser's processes
            browser.get(path.as_uri())
            timing = "const t = performance.timing; return (t.loadEventEnd - t.navigationStart) / 1000"
            seconds.append(float(browser.execute_script(timing)))
        return min(seconds[1:])
    finally:
        browser.quit()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("-o", type=Path, default=HERE / "results" / "report.json")
    options = parser.parse_args()
    if options.data is None:
        print("without --data nothing is measured; the results stay as they are")
        return
    warnings.simplefilter("ignore")  # of scikit-learn, about convergence
    this = case("TaiwanCredit", 0, options.data)
    X = np.concatenate([this.train[0], this.test[0]])
    y = np.concatenate([this.train[1], this.test[1]])
    u, test = rl.unwrap(this.net, X, y), rl.unwrap(this.net, *this.test)
    few = simplify.tree(u, n_models=8)
    with tempfile.TemporaryDirectory() as folder:
        plain, full = Path(folder) / "plain.html", Path(folder) / "full.html"
        seconds = in_turn(
            options.repeats,
            unwrap=lambda: rl.unwrap(this.net, X, y),
            plain=lambda: rl.report(fresh(u), plain),
            everything=lambda: rl.report(
                fresh(u), full, X_test=test, rows=200, expected={u.network.feature_names[0]: "-"}, simplified=few
            ),
        )
        found: dict[str, Any] = {
            "rows": len(X),
            "regions": u.n_regions,
            "seconds": seconds,
            "ratios": {
                "report / unwrap": seconds["plain"] / seconds["unwrap"],
                "report with everything / unwrap": seconds["everything"] / seconds["unwrap"],
            },
            "bytes": {"report": plain.stat().st_size, "report with everything": full.stat().st_size},
            "seconds_to_open": {
                "report": opened(plain, options.repeats),
                "report with everything": opened(full, options.repeats),
            },
        }
    print(json.dumps(found, indent=1))
    options.o.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def fresh(u: Any) -> Any:
    """Return the result without what earlier reports have computed and kept in it."""
    from dataclasses import replace

    return replace(u)


if __name__ == "__main__":
    main()
