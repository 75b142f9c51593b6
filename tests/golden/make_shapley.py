"""Stores Shapley values that shap's exact explainer computes for two small networks, in ``shapley.npz``.

::

    python tests/golden/make_shapley.py

Needs numpy and shap, and nothing of the package. The stored file was made with shap 0.51.0, numpy 2.4.6 and Python 3.11.7
on Linux, x86-64 (``made_with`` in it): ``shap.explainers.Exact`` with ``shap.maskers.Independent(background,
max_samples=len(background))``. Weights, rows and backgrounds are drawn here and stored with the values, so that a
comparison does not depend on the generator.
"""

import platform
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import shap

OUT = Path(__file__).parent / "shapley.npz"


def network(sizes: list[int], rng: np.random.Generator) -> list[tuple[Any, Any]]:
    """Weights (in, out) and biases of a ReLU network."""
    return [(rng.normal(size=(k, m)) / np.sqrt(k), rng.normal(size=m) / 2) for k, m in pairwise(sizes)]


def rows(n: int, d: int, rng: np.random.Generator) -> Any:
    """Rows of which a quarter of the features are indicators, so that rows and background often agree there."""
    x = rng.normal(size=(n, d))
    x[:, : d // 4] = x[:, : d // 4] > 0
    return x


def forward(layers: list[tuple[Any, Any]]) -> Callable[[Any], Any]:
    def decision(x: Any) -> Any:
        for weight, bias in layers[:-1]:
            x = np.maximum(x @ weight + bias, 0)
        weight, bias = layers[-1]
        return x @ weight + bias

    return decision


def explained(function: Callable[[Any], Any], x: Any, background: Any) -> tuple[Any, Any]:
    """Values (n, n_outputs, d) and base (n_outputs,)."""
    masker = shap.maskers.Independent(background, max_samples=len(background))
    found = shap.explainers.Exact(function, masker)(x)
    # one output has no axis of its own there
    return np.moveaxis(found.values.reshape(*x.shape, -1), 1, 2), np.atleast_1d(found.base_values[0])


def main() -> None:
    rng = np.random.default_rng(20)
    arrays: dict[str, Any] = {"made_with": f"shap {shap.__version__}, numpy {np.__version__}"}
    for name, sizes, n_background in (("eight", [8, 16, 12, 2], 60), ("twelve", [12, 20, 10, 1], 15)):
        layers, x, background = network(sizes, rng), rows(50, sizes[0], rng), rows(n_background, sizes[0], rng)
        for i, (weight, bias) in enumerate(layers):
            arrays |= {f"{name}_W{i}": weight, f"{name}_b{i}": bias}
        decision = forward(layers)
        values, base = explained(decision, x, background)
        arrays |= {f"{name}_x": x, f"{name}_background": background, f"{name}_values": values, f"{name}_base": base}
        if name == "eight":
            values, base = explained(lambda x, f=decision: 1 / (1 + np.exp(-f(x))), x, background)  # type: ignore[misc]
            arrays |= {f"{name}_probability_values": values, f"{name}_probability_base": base}
    np.savez_compressed(OUT, **arrays)
    print(f"{OUT}: {arrays['made_with']}, Python {platform.python_version()}")


if __name__ == "__main__":
    main()
