"""What commands share: the arguments they take, and how models and tables are read, watched and printed."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relucidate.errors import ArgumentError, OutputError, clipped

if TYPE_CHECKING:
    from relucidate.features import Features
    from relucidate.network import Network
    from relucidate.simplified import Simplified
    from relucidate.unwrapping import Progress, Unwrapped

Model = Annotated[
    str,
    typer.Argument(
        help="Model file: ONNX, Keras (.keras, .h5), PyTorch state_dict (.pt), safetensors, NNet or JSON.",
        metavar="MODEL",
    ),
]
Data = Annotated[list[str], typer.Argument(help="Parquet or CSV file(s) with the model's columns.", metavar="DATA...")]
Target = Annotated[str | None, typer.Option("--target", "-t", help="Column that holds the response.")]
Weight = Annotated[str | None, typer.Option("--weight", help="Column that holds the rows' weights.")]
Link = Annotated[
    str | None, typer.Option("--link", help="identity, logit, softmax or log, where the file does not tell.")
]
Names = Annotated[str | None, typer.Option("--features", help="Names of the inputs in order, separated by commas.")]
Output = Annotated[str | None, typer.Option("--output", help="Which output of the model, if it has several.")]
Inputs = Annotated[
    str | None, typer.Option("--inputs", help="Order of the inputs of a model with several, separated by commas.")
]
Architecture = Annotated[
    str | None,
    typer.Option("--architecture", help="Widths of a state_dict's layers, ReLU between, inputs first: 4,40,40,1."),
]
Normalise = Annotated[bool, typer.Option("--normalise", help="Fold the means and ranges of an NNet file in.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no summary.")]
Json = Annotated[bool, typer.Option("--json", help="Print the summary as JSON, and nothing else, to standard output.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an earlier result at that place.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of the sample of rows kept for order statistics.", min=0)]


def load_network(
    model: str,
    link: str | None,
    features: str | None,
    inputs: str | None,
    output: str | None,
    architecture: str | None,
    normalise: bool,
) -> Network:
    from relucidate.frameworks import load

    return load(
        model,
        link=link,
        feature_names=listed(features),
        inputs=listed(inputs),
        output=output,
        architecture=widths(architecture),
        normalise=normalise,
    )


def simplified_of(u: Unwrapped, models: int | None, seed: int) -> Simplified | None:
    if models is None:
        return None
    from relucidate.simplify import best

    return best(u, n_models=models, random_state=seed)


def listed(text: str | None) -> list[str] | None:
    return None if text is None else [part.strip() for part in text.split(",")]


def widths(text: str | None) -> list[int] | None:
    parts = listed(text)
    if parts is None:
        return None
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise ArgumentError(
            f"--architecture {text!r}: expected whole numbers separated by commas, inputs first, such as 4,40,40,1."
        )
    return [int(part) for part in parts]


def unwrap_table(
    network: Network,
    data: list[str],
    target: str | None,
    weight: str | None,
    seed: int,
    progress: Callable[[Progress], None],
) -> Unwrapped:
    from relucidate.unwrapping import unwrap as run

    return run(network, data, target, weight, random_state=seed, progress=progress)


def unwrap_other(u: Unwrapped, path: str, target: str | None, weight: str | None, *, needed: bool = False) -> Unwrapped:
    """Return another table, unwrapped with its weights and its response, which new rows need not have unless `needed`."""
    from relucidate.data import open_source
    from relucidate.unwrapping import unwrap as run

    known = needed or target in open_source(path, None, None, u.network.features).ignored
    return run(u.network, path, target if known else None, weight)


def groups_of(u: Unwrapped, tables: list[str], protected: str) -> Any:
    """Return what groups of rows are compared by: a column that is an input by its name, else its values in `tables`."""
    if protected in u.network.features.columns:
        return protected
    import pandas as pd

    from relucidate.segmenting import column_values

    # a column that is no input was not kept, so that the table has to be read again for it
    return pd.Series(column_values(tables, protected, u.network.features), name=protected)


@contextmanager
def watching(silent: bool) -> Iterator[Watch]:
    """Yield what says what to expect and draws a bar on standard error; say what an interrupt left undone."""
    watch = Watch(silent)
    try:
        yield watch
    except KeyboardInterrupt:
        rows = "before the first rows were done" if watch.last is None else f"after {watch.last.rows:,} rows"
        print(f"relucidate: interrupted {rows}; nothing was written.", file=sys.stderr)
        sys.exit(130)
    finally:
        watch.close()


class Watch:
    """One line on what to expect in time and memory, then a progress bar if standard error is a terminal."""

    def __init__(self, silent: bool) -> None:
        self.last: Progress | None = None
        self._silent = silent
        self._last_time = 0.0
        self._expected = False
        self._bar: Any = None
        self._task: Any = None

    def __call__(self, p: Progress) -> None:
        before, self.last = self.last, p
        if self._silent:
            return
        now = time.monotonic()
        if before is None and sys.stderr.isatty() and p.rows != p.total:
            self._draw(p)
        # the first batch pays for imports, so the second tells the pace
        if before is not None and not self._expected and p.total is not None:
            self._expected = True
            self._expect(p, p.total, (now - self._last_time) / (p.rows - before.rows) * p.total)
        self._last_time = now
        if self._bar is not None:
            self._bar.update(self._task, completed=p.rows, description=f"{p.regions:,} regions")

    def doing(self, what: str) -> None:
        """Say what is worked on after the rows, on a terminal."""
        self.close()
        if sys.stderr.isatty():
            print(f"\r\033[K{what} …", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _expect(self, p: Progress, total: int, seconds: float) -> None:
        if seconds > 5:
            held = p.regions * p.bytes_per_region / 2**20
            print(
                f"{total:,} rows: about {seconds:,.0f} s. The first {p.rows:,} rows use {p.regions:,} regions, {held:,.0f} MB; "
                f"all of them at most {held * total / p.rows:,.0f} MB.",
                file=sys.stderr,
            )

    def _draw(self, p: Progress) -> None:
        from rich import progress as rich
        from rich.console import Console

        columns = (rich.TextColumn("{task.description}"), rich.BarColumn(), rich.MofNCompleteColumn())
        self._bar = rich.Progress(*columns, rich.TimeRemainingColumn(), console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task("unwrapping", total=p.total)
        self._bar.start()


def named(text: str, names: Sequence[str]) -> str | int:
    """Return a name, or a position where no name is a number."""
    return int(text) if text not in names and text.isascii() and text.isdigit() else text


def signs(expect: list[str], features: Features) -> dict[str | int, str]:
    """Return the sign expected of each feature, from texts such as income=+.

    Raises
    ------
    ArgumentError : a text says something else.
    """
    known = [*features.names, *features.columns]
    out = {}
    for text in expect:
        feature, _, sign = text.rpartition("=")
        if sign not in ("+", "-") or not feature:
            raise ArgumentError(
                f"--expect is {clipped(text)}; expected a feature and a sign, such as income=+ or debt=-."
            )
        out[named(feature, known)] = sign
    return out


def refuse_inputs(out: Path, inputs: list[str]) -> None:
    """Refuse to write over a file that is read.

    Raises
    ------
    OutputError : `out` is one of them.
    """
    for name in inputs:
        given = Path(name)
        if out.exists() and given.exists() and out.samefile(given):
            raise OutputError(f"{out} is read by this command, and would be written over. Name another file.")


def print_summary(u: Unwrapped) -> None:
    print("\n".join(u.summary()))
    table = u.table(maps=False).head(8)
    print()
    print(table.to_string(float_format=lambda v: f"{v:.4g}"))
    if u.n_regions > len(table):
        print(f"… and {u.n_regions - len(table):,} more regions")


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=True))


def some(values: list[Any], limit: int = 12) -> str:
    text = ", ".join(str(v) for v in values[:limit])
    return text + (f" and {len(values) - limit:,} more" if len(values) > limit else "")


def command_line() -> str:
    import shlex

    return shlex.join(["relucidate", *sys.argv[1:]])
