"""What `relucidate simplify` writes: tables, curve, coefficients, and the simplified network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relucidate import simplify
from relucidate.errors import ArgumentError, clipped
from relucidate.frameworks.exporting import export
from relucidate.outputs import safe_cell
from relucidate.simplified import ByCentre, ByRule, Simplified
from relucidate.unwrapping import Unwrapped

if TYPE_CHECKING:
    import pandas as pd

METHODS = ("best", "tree", "cells", "merge", "prune", "flatten", "compress")
PRUNED = 8  # regions kept where no number is given


def write(
    u: Unwrapped, folder: Path, *, method: str = "best", n_models: int | None = None, random_state: int = 0
) -> list[str]:
    """Write a simplification of an unwrapped network into a folder, and return what to say of it.

    Parameters
    ----------
    method : "best" (tree or cells, by held-out loss), "tree", "cells", "merge", "prune", "flatten" or "compress".
    n_models : how many; by default as few as do as well. It means nothing for "compress".

    Raises
    ------
    ArgumentError : no such method; a number that means nothing.
    """
    if method not in METHODS:
        raise ArgumentError(f"--method {clipped(method)}: expected {', '.join(METHODS)}.")
    if method == "compress":
        if n_models is not None:
            raise ArgumentError("--models means nothing for --method compress, which loses nothing; leave it out.")
        return _compressed(u, folder)
    options: dict[str, Any] = {"n_models": n_models, "random_state": random_state}
    verbs: dict[str, Callable[..., Simplified]] = {
        "best": simplify.best,
        "tree": simplify.tree,
        "cells": simplify.cells,
        "merge": simplify.merge,
        "flatten": simplify.best,
    }
    s = simplify.prune(u, n_models or min(PRUNED, u.n_regions)) if method == "prune" else verbs[method](u, **options)
    lines = s.summary()
    _csv(s.table().reset_index(), folder / "models.csv")
    _csv(s.rules(), folder / "rules.csv")
    if s.curve is not None:
        _csv(s.curve.to_frame(), folder / "curve.csv")
    if u.has_y and method != "prune":
        found = simplify.inference(s)
        _csv(found.to_frame(), folder / "coefficients.csv")
        lines.append(f"coefficients.csv: {found.note}")
    if isinstance(s.route, ByRule | ByCentre):
        for name in ("simplified.json", "simplified.onnx", "simplified.py"):
            export(s, folder / name)
        lines.append(
            "simplified.json, .onnx and .py predict without the network; relucidate export makes SQL of the first"
        )
    if method == "flatten":
        flat = simplify.flatten(s, random_state=random_state)
        export(flat.network, folder / "flattened.onnx")
        lines.append(f"flattened.onnx: {flat!r}")
    (folder / "summary.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return lines


def is_simplified(path: str | Path) -> bool:
    """Return whether a file is the JSON of a simplification, told by how it begins."""
    try:
        with open(path, "rb") as file:
            return b'"relucidate.simplified/' in file.read(4096)
    except OSError:
        return False  # whoever opens it next says why it cannot be


def _compressed(u: Unwrapped, folder: Path) -> list[str]:
    found = simplify.compress(u.network, u.sample.x)
    _csv(found.to_frame(), folder / "removed.csv")
    export(found.network, folder / "compressed.onnx")
    lines = [
        f"{u.network.n_neurons} neurons became {found.network.n_neurons} over the range of each feature in the table",
        f"largest difference on {found.faithfulness.n:,} points of that box: {found.faithfulness.max_difference:.1e}",
    ]
    (folder / "summary.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return lines


def _csv(frame: pd.DataFrame, path: Path) -> None:
    """Write a table; cells of text that a spreadsheet would take for a formula are made harmless."""
    safe = frame.rename(columns=lambda c: safe_cell(str(c)))
    for column in safe.columns[safe.dtypes.map(lambda kind: kind.kind == "O" or str(kind) in ("str", "string"))]:
        safe[column] = [safe_cell(v) if isinstance(v, str) else v for v in safe[column]]
    safe.to_csv(path, index=False)
