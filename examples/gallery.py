"""Draw the gallery of docs/gallery.md: each view of `relucidate.interpret` and `relucidate.diagnose`.

    python examples/gallery.py [--only importance,profile]

Writes PNG files to docs/images/gallery and the page beside them. The network of circles is trained here, in some seconds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from sklearn.datasets import make_circles
from sklearn.neural_network import MLPClassifier

import relucidate as rl
from relucidate import diagnose, examples, interpret, plot

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images" / "gallery"
HEAD = """# Gallery

Every view, as `python examples/gallery.py` draws it. The network is the bundled one that predicts mortgage default, unless
said otherwise; circles are two noisy rings that a network with four layers of 40 neurons tells apart.

"""


def circles() -> rl.Unwrapped:
    X, y = make_circles(2000, noise=0.1, random_state=0)
    mlp = MLPClassifier((40,) * 4, max_iter=2000, early_stopping=True, n_iter_no_change=100, random_state=0).fit(X, y)
    return rl.unwrap(rl.load(mlp, feature_names=["x1", "x2"]), X, y)


def pictures() -> dict[str, tuple[str, Callable[[], Any]]]:
    """Return what each picture is called, and how it is drawn."""
    loans = examples.home_lending()
    net = rl.load(loans.model)
    u = rl.unwrap(net, loans.train, loans.target)
    table, later = pd.read_parquet(loans.train), pd.read_parquet(loans.test)
    test = rl.unwrap(net, loans.test, loans.target)
    rings = circles()
    titanic = examples.titanic()
    networks = [rl.load(path) for path in titanic.models]
    return {
        "importance": ("interpret.importance(u)", lambda: plot.importance(interpret.importance(u))),
        "coefficients": (
            "interpret.coefficients(u)",
            lambda: plot.coefficients(interpret.coefficients(u, standardised=True)),
        ),
        "lines": (
            'plot.coefficients(result, kind="lines")',
            lambda: plot.coefficients(interpret.coefficients(u, standardised=True), kind="lines"),
        ),
        "clusters": ("interpret.clusters(u)", lambda: plot.clusters(interpret.clusters(u))),
        "merged": (
            "interpret.clusters(simplify.merge(u, n_models=4))",
            lambda: plot.clusters(interpret.clusters(rl.simplify.merge(u, n_models=4))),
        ),
        "profile": (
            'interpret.profile(u, "loan_to_value")',
            lambda: plot.profile(interpret.profile(u, "loan_to_value")),
        ),
        "pairs": ("interpret.pairs(u)", lambda: plot.pairs(interpret.pairs(u))),
        "intercepts": ("interpret.intercepts(u)", lambda: plot.intercepts(interpret.intercepts(u))),
        "directions": ("interpret.directions(u), circles", lambda: plot.directions(interpret.directions(rings))),
        "explain": ("interpret.explain(u, table, rows=5)", lambda: plot.explain(interpret.explain(u, table, rows=5))),
        "partial_dependence": (
            'interpret.partial_dependence(u, feature="loan_age_months")',
            lambda: plot.partial_dependence(interpret.partial_dependence(u, None, "loan_age_months")),
        ),
        "ale": (
            'interpret.ale(u, feature="loan_age_months")',
            lambda: plot.ale(interpret.ale(u, None, "loan_age_months")),
        ),
        "ice": (
            'interpret.ice(u, feature="loan_age_months")',
            lambda: plot.ice(interpret.ice(u, None, "loan_age_months")),
        ),
        "path": ("interpret.path(u, a, b)", lambda: plot.path(interpret.path(u, table[5:6], table[17:18]))),
        "integrated_gradients": (
            "interpret.integrated_gradients(u, table[:500])",
            lambda: plot.integrated_gradients(interpret.integrated_gradients(u, table[:500])),
        ),
        "shapley": ("interpret.shapley(u, table[5:6])", lambda: plot.shapley(interpret.shapley(u, table[5:6]))),
        "slice2d": ("regions.slice2d(u), circles", lambda: plot.slice2d(rl.regions.slice2d(rings))),
        "region": (
            "plot.region(result, [0.2, 0.6]), circles",
            lambda: plot.region(rl.regions.slice2d(rings), [0.2, 0.6]),
        ),
        "local_lines": ("plot.local_lines(result), circles", lambda: plot.local_lines(rl.regions.slice2d(rings))),
        "plane": (
            'regions.slice2d(u, ("loan_to_value", "credit_score"))',
            lambda: plot.slice2d(rl.regions.slice2d(u, ("loan_to_value", "credit_score"))),
        ),
        "stability": (
            "interpret.stability(networks, passengers), eight seeds on the Titanic's passengers",
            lambda: plot.stability(interpret.stability(networks, titanic.table, titanic.target)),
        ),
        "reliability": ("diagnose.reliability(u)", lambda: plot.reliability(diagnose.reliability(u))),
        "performance": (
            "diagnose.performance(u, test, y)",
            lambda: plot.performance(diagnose.performance(u, test)),
        ),
        "performance_bars": (
            'plot.performance(result, kind="bars")',
            lambda: plot.performance(diagnose.performance(u, test), kind="bars"),
        ),
        "exposure": ("diagnose.exposure(u, u, (test, y))", lambda: plot.exposure(diagnose.exposure(u, u, test))),
        "extrapolation": (
            "diagnose.extrapolation(u, test, y)",
            lambda: plot.extrapolation(diagnose.extrapolation(u, test)),
        ),
        "boundary": ("diagnose.boundary(u, test[:1])", lambda: plot.boundary(diagnose.boundary(u, later[:1]))),
        "boundaries": ("diagnose.boundary(u, test[:60])", lambda: plot.boundary(diagnose.boundary(u, later[:60]))),
        "monotonicity": (
            'diagnose.monotonicity(u, expected={"credit_score": "-", "loan_to_value": "+"})',
            lambda: plot.monotonicity(diagnose.monotonicity(u, expected={"credit_score": "-", "loan_to_value": "+"})),
        ),
        "complexity": ("diagnose.complexity(u)", lambda: plot.complexity(diagnose.complexity(u))),
        "segments": (
            'diagnose.segments(u, train, y, protected="age_group")',
            lambda: plot.segments(diagnose.segments(u, loans.train, loans.target, protected="age_group")),
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="names, separated by commas")
    only = parser.parse_args().only
    mpl.use("agg")
    IMAGES.mkdir(parents=True, exist_ok=True)
    parts = []
    for name, (code, draw) in pictures().items():
        parts.append(f"## {name.replace('_', ' ').capitalize()}\n\n`{code}`\n\n![{code}](images/gallery/{name}.png)\n")
        if only is None or name in only.split(","):
            figure = draw().figure
            figure.savefig(IMAGES / f"{name}.png", dpi=110)
            print(name)
            mpl.pyplot.close(figure)
    (ROOT / "docs" / "gallery.md").write_text(HEAD + "\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
