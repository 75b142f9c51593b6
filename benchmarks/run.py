"""Run every benchmark, and write docs/benchmarks.md from the results. `--table` only writes the page anew."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "benchmarks.md"
SCRIPTS = ("unwrapping", "streaming", "images", "merging", "simplifying")


def page(
    unwrapping: dict[str, Any],
    streaming: dict[str, Any],
    images: dict[str, Any],
    merging: dict[str, Any],
    simplifying: list[dict[str, Any]],
) -> str:
    """Return the page as Markdown; it quotes ratios, since machines differ and may be shared."""
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`. Both sides of a ratio ran in turn, in one run, on the same network and the same rows.",
        "",
        f"## Unwrapping {unwrapping['rows']:,} rows",
        "",
        f"Network 20 → 40 → 40 → 40 → 40 → 1, float64, {unwrapping['regions']:,} regions; largest difference between a local",
        f"linear model and the network: {unwrapping['largest_difference']:.1e}.",
        "",
        "| ratio of times | |",
        "|---|---|",
        *(f"| {name} | {value:.2f} |" for name, value in unwrapping["ratios"].items()),
        "",
        "*forward* is the plain NumPy loop `a = np.maximum(a @ W + b, 0)` over all rows at once; *in cache-sized blocks* is the",
        "same loop over 2,048 rows at a time. *unwrap* is everything: patterns, grouping, maps, counts, sums, and the comparison",
        f"of every row. Grouping is of {unwrapping['grouped_rows']:,} patterns.",
        "",
        "## aletheia-dnn 1.3.5",
        "",
        "Its fit and its summary table against ours, `unwrap(…).table()`.",
        "",
        "| rows | regions | aletheia-dnn, seconds (fit + summary) | peak memory, MB | ours, seconds | ratio |",
        "|---|---|---|---|---|---|",
        *(_rival(row) for row in unwrapping["aletheia"]),
        "",
        f"## Streaming {streaming['rows']:,} rows from Parquet",
        "",
        "| | |",
        "|---|---|",
        f"| peak memory above the interpreter with its imports | {streaming['above_base_mb']:.0f} MB |",
        f"| counts sum to the rows | {streaming['counts_sum_to_rows']} |",
        f"| same regions as in memory (first million rows) | {streaming['same_regions_as_in_memory']} |",
        f"| output under the final name after `kill -9` half-way | {streaming['output_exists']} |",
        f"| rows a second | {streaming['rows'] / streaming['seconds']:,.0f} |",
        "",
        "## A convolutional network",
        "",
        f"{images['neurons']:,} neurons that switch, {images['stored_weights']:,} weights written out as sparse layers, for",
        "images of 28 × 28. The rival for the local models is PyTorch's own Jacobian, vectorised, float64, of the same module at",
        "the same images: it gives slopes alone and is faster; ours gives slopes and intercepts, exact patterns, and the",
        f"comparison of every row. Largest difference of the slopes: {images['largest_difference_of_slopes']:.1e}.",
        "",
        "| | |",
        "|---|---|",
        f"| load the ONNX file, seconds | {images['load_onnx_seconds']:.1f} |",
        f"| load the live module, seconds | {images['load_module_seconds']:.1f} |",
        f"| one image, seconds | {images['one_image_seconds']:.1f} |",
        *(f"| {name}, {images['images']} images | {value:.1f} |" for name, value in images["ratios"].items()),
        "",
        f"## Merging {merging['regions']:,} regions of {merging['features']} features",
        "",
        "The whole path from all regions to one, by what each merger costs on the rows, against scikit-learn's Ward on the maps",
        "along the same graph, which does not look at the rows.",
        "",
        "| ratio of processor times | |",
        "|---|---|",
        *(f"| {name} | {value:.2f} |" for name, value in merging["ratios"].items()),
        "",
        "## Simplifying: scores on test rows",
        "",
        "AUC, or R² for counts of bikes; mean and standard deviation over the seeds. Random partition: rows put into as many",
        "groups of the same sizes at random.",
        "",
        *_simplified(simplifying),
    ]
    return "\n".join(lines) + "\n"


def _simplified(cases: list[dict[str, Any]]) -> list[str]:
    methods = list(dict.fromkeys(m for case in cases for m in case["scores"]))
    heads = [f"{case['data']}, {case['models']} models" for case in cases]
    lines = [f"| | {' | '.join(heads)} |", f"|---|{'---|' * len(cases)}"]
    for method in methods:
        cells = []
        for case in cases:
            s = case["scores"].get(method)
            cells.append("" if s is None else f"{s['mean']:.4f}" + (f" ± {s['sd']:.4f}" if s["n"] > 1 else ""))
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return lines


def _rival(row: dict[str, Any]) -> str:
    if row["status"] != "ok":
        return f"| {row.get('rows', '')} | | {row['status']}: {row.get('reason') or row.get('message')} | | | |"
    theirs = row["fit_seconds"] + row["summary_seconds"]
    seconds = f"{theirs:.2f} ({row['fit_seconds']:.2f} + {row['summary_seconds']:.2f})"
    ours = row["ours_seconds"]
    cells = (
        f"{row['rows']:,}",
        f"{row['regions']:,}",
        seconds,
        f"{row['peak_memory_mb']:.0f}",
        f"{ours:.3f}",
        f"{theirs / ours:.0f}",
    )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    if "--table" not in sys.argv:
        for script in SCRIPTS:
            subprocess.run([sys.executable, str(HERE / f"{script}.py")], check=True)
    results = [json.loads((HERE / "results" / f"{script}.json").read_text(encoding="utf-8")) for script in SCRIPTS]
    PAGE.write_text(page(*results), encoding="utf-8")


if __name__ == "__main__":
    main()
