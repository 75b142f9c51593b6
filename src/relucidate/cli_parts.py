"""What commands share: the arguments they take, and how models and tables are read, watched and printed."""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relucidate.errors import ArgumentError, DataError, OutputError, clipped, shown
from relucidate.interrupting import interrupts
from relucidate.words import plural

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


# what errors say to users of Python, and what it is on the command line; text in quotes is the user's own
_SPOKEN = (
    (r", or allow it: max_players=\d+", ""),
    (r"\b(link|output|architecture)='([^']*)'", r"--\1 \2"),
    (r"\b(link|output|architecture)=([^\s',;.]+)", r"--\1 \2"),
    (r"\boverwrite=True\b", "--overwrite"),
    (r"\bfeature_names\b", "--features"),
    (r"\bsample_weight\b", "--weight"),
    (r"\boutput=(?=\s)", "--output"),
    (r"\bintegrated_gradients\b", "integrated-gradients"),
    (r"\bpartial_dependence\b", "partial-dependence"),
)


def spoken(message: str) -> str:
    """Return an error's message in the words of the command line: options in place of arguments, views by their names."""
    for pattern, said in _SPOKEN:
        message = re.sub(rf"(?<![\w'])'[^']*'(?!\w)|{pattern}", partial(_said, said), message)
    return message


def _said(said: str, found: re.Match[str]) -> str:
    return found[0] if found[0].startswith("'") else found.expand(said)


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

    try:
        return load(
            model,
            link=link,
            feature_names=listed(features),
            inputs=listed(inputs),
            output=output,
            architecture=widths(architecture),
            normalise=normalise,
        )
    except ArgumentError as problem:
        if output is None or f"output={output!r}" not in str(problem):
            raise
        raise ArgumentError(
            f"{problem} Did you mean --of {output}? That names one output or class of the network, in the commands that have it."
        ) from None


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
    progress: Watch,
) -> Unwrapped:
    from relucidate.unwrapping import unwrap as run

    refuse_columns(data, target=target, weight=weight)
    u = run(network, data, target, weight, random_state=seed, progress=progress)
    progress.close()  # the rows are done, and what follows may print
    return u


def unwrap_other(u: Unwrapped, path: str, target: str | None, weight: str | None, *, needed: bool = False) -> Unwrapped:
    """Return another table, unwrapped with its weights and its response, which new rows need not have unless `needed`."""
    from relucidate.unwrapping import unwrap as run

    columns = refuse_columns([path], target=target if needed else None, weight=weight)
    with _named(path):
        return run(u.network, path, target if needed or target in columns else None, weight)


@contextmanager
def _named(path: str) -> Iterator[None]:
    """Name the table in what is raised about it."""
    try:
        yield
    except DataError as problem:
        if str(problem).startswith(path):
            raise
        raise type(problem)(f"{path}: {problem}") from None


def refuse_columns(tables: Sequence[str], **options: str | None) -> tuple[str, ...]:
    """Return the columns of files, or refuse a column that an option names and they do not have.

    Raises
    ------
    ArgumentError : with the option, the file and what it has. DataError : the files cannot be read.
    """
    from relucidate.files import open_files

    files = open_files(tables)
    for option, name in options.items():
        if name is None or name in files.columns:
            continue
        folded = {column.strip().casefold(): column for column in reversed(files.columns)}
        alike = get_close_matches(name.strip().casefold(), list(folded), 3)
        started = [c for c in folded if c.startswith(name.strip().casefold())] if name.strip() else []
        found = [repr(folded[c]) for c in dict.fromkeys([*started[:3], *alike])][:3]
        hint = f"Did you mean {' or '.join(found)}?" if found else f"It has {shown(files.columns, 12)}."
        raise ArgumentError(f"--{option} is {clipped(name)}, and {files.describe} has no such column. {hint}")
    return files.columns


def groups_of(u: Unwrapped, tables: list[str], protected: str) -> Any:
    """Return what groups of rows are compared by: a column that is an input by its name, else its values in `tables`."""
    if protected in u.network.features.columns:
        return protected
    refuse_columns(tables, protected=protected)
    import pandas as pd

    from relucidate.segmenting import column_values

    # a column that is no input was not kept, so that the table has to be read again for it
    return pd.Series(column_values(tables, protected, u.network.features), name=protected)


@contextmanager
def watching(silent: bool) -> Iterator[Watch]:
    """Yield what says what to expect and draws a bar on standard error."""
    interrupts.when = "before the first rows were done"
    watch = Watch(silent)
    try:
        yield watch
    finally:
        watch.close()


class Watch:
    """One line on what to expect in time and memory, then a progress bar if standard error is a terminal."""

    def __init__(self, silent: bool) -> None:
        self.last: Progress | None = None
        self._silent = silent
        self._last_time = 0.0
        self._expected = False
        self._doing = False
        self._bar: Any = None
        self._task: Any = None

    def __call__(self, p: Progress) -> None:
        before, self.last = self.last, p
        interrupts.when = f"after {p.rows:,} row{'s' * (p.rows != 1)}"
        interrupts.heed()
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
            self._bar.update(self._task, completed=p.rows, **_counted(p))

    def doing(self, what: str) -> None:
        """Say what is worked on after the rows, on a terminal."""
        interrupts.heed()
        self.close()
        if sys.stderr.isatty():
            print(f"\r\033[K{what} …", end="", file=sys.stderr, flush=True)
            self._doing = True

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        if self._doing:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
            self._doing = False

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

        columns = (rich.TextColumn("{task.description}"), rich.BarColumn(), rich.TextColumn("{task.fields[rows]}"))
        self._bar = rich.Progress(*columns, rich.TimeRemainingColumn(), console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task(total=p.total, **_counted(p))
        self._bar.start()


def _counted(p: Progress) -> dict[str, Any]:
    """Return what the bar says of some progress; files of text do not tell how many rows they hold."""
    rows = f"{p.rows:,} rows" if p.total is None else f"{p.rows:,} of {p.total:,} rows"
    return {"description": f"{p.regions:,} region{'s' * (p.regions != 1)}", "rows": rows}


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


def refuse_expected(
    expect: list[str], network: Network, data: list[str], target: str | None, weight: str | None
) -> None:
    """Refuse a sign, or a feature that is none, before the work is done.

    Raises
    ------
    ArgumentError : with what it may be. DataError : the table does not fit.
    """
    if not expect:
        return
    from relucidate.data import adopted_names

    refuse_columns(data, target=target, weight=weight)
    names = adopted_names(data, target, weight, network.features)
    features = network.features if names is None else network.with_names(names).features
    for feature in signs(expect, features):
        try:
            features.find(feature)
        except ArgumentError as problem:
            raise ArgumentError(f"--expect: {problem}") from None


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
    text, left = fitting(table)
    print(f"\n{text}")
    more = [] if left == 0 else [plural(left, "more column")]
    if u.n_regions > len(table):
        more.append(plural(u.n_regions - len(table), "more region"))
    if more:
        print(f"… and {', '.join(more)}")


def fitting(frame: Any) -> tuple[str, int]:
    """Return a table as text, no wider than the terminal if there is one, and how many columns had no room."""
    index, n = frame.index.name is not None, frame.shape[1]

    def text(columns: int) -> str:
        return str(frame.iloc[:, :columns].to_string(index=index, float_format=lambda v: f"{v:.4g}"))

    if not sys.stdout.isatty() or n == 0:
        return text(n), 0
    width = shutil.get_terminal_size().columns
    too_many = bisect_left(range(1, n + 1), True, key=lambda k: max(map(len, text(k).split("\n"))) > width)
    kept = max(too_many, 1)  # the first stays, whatever its width
    return text(kept), n - kept


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=True))


def some(values: list[Any], limit: int = 12) -> str:
    text = ", ".join(str(v) for v in values[:limit])
    return text + (f" and {len(values) - limit:,} more" if len(values) > limit else "")


def command_line() -> str:
    import shlex

    return shlex.join(["relucidate", *sys.argv[1:]])
