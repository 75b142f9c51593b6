"""The command line: a few lines a command, heavy imports inside them."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relucidate import __version__
from relucidate.errors import ArgumentError, RelucidateError

if TYPE_CHECKING:
    from relucidate.network import Network
    from relucidate.simplified import Simplified
    from relucidate.unwrapping import Progress, Unwrapped

app = typer.Typer(
    name="relucidate",
    help="Say exactly what a trained ReLU network does.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

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


def main() -> None:
    """Run the command line; an error of ours is one sentence and exit code 2."""
    try:
        app(standalone_mode=True)
    except RelucidateError as error:
        _fail(str(error))
    except BrokenPipeError:
        sys.exit(141)  # whoever read our output has enough; what a shell reports for SIGPIPE


def _fail(message: str) -> None:
    print(f"relucidate: {message}", file=sys.stderr)
    sys.exit(2)


def _version(asked: bool) -> None:
    if asked:
        print(f"relucidate {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def inspect(
    model: Model,
    link: Link = None,
    features: Names = None,
    inputs: Inputs = None,
    output: Output = None,
    architecture: Architecture = None,
    normalise: Normalise = False,
    as_json: Json = False,
) -> None:
    """Say what a model is: layers, operators, link, inputs, parameters, and how it was proved."""
    from relucidate.saving import describe

    network = _load(model, link, features, inputs, output, architecture, normalise)
    about = describe(network)
    if as_json:
        _print_json(about)
        return
    print(network)
    print(f"file: {about['path']}  SHA-256 {about['sha256']}")
    print(f"operators: {', '.join(f'{n} × {name}' for name, n in about['operators'].items())}")
    print(
        f"link: {about['link']}; outputs: {_some(about['outputs'])}; classes: {_some(about['classes']) or 'not named'}"
    )
    print(f"{about['inputs']} inputs{'' if about['named'] else ' (not named in the file)'}: {_some(about['features'])}")
    print(f"{about['neurons']:,} neurons that switch, {about['parameters']:,} parameters")
    for layer in about["layers"]:
        kinds = " + ".join(layer["activation"])
        print(f"  {layer['name'] or 'layer':30.30}  {layer['inputs']:>6} → {layer['neurons']:<6}  {kinds}")
    for note in about["notes"]:
        print(f"note: {note}")


@app.command()
def unwrap(
    model: Model,
    data: Data,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder to write: regions, assignments, summary.")],
    target: Target = None,
    weight: Weight = None,
    link: Link = None,
    features: Names = None,
    inputs: Inputs = None,
    output: Output = None,
    architecture: Architecture = None,
    normalise: Normalise = False,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Write the exact local linear models that a table uses, and which one each row is in."""
    from relucidate.outputs import atomic_folder
    from relucidate.saving import summary, write

    with _watching(quiet or as_json) as progress, atomic_folder(out, overwrite=overwrite) as folder:
        network = _load(model, link, features, inputs, output, architecture, normalise)
        u = _unwrap(network, data, target, weight, seed, progress)
        write(u, folder)
    if as_json:
        _print_json({**summary(u), "out": str(out)})
    elif not quiet:
        _print_summary(u)
        print(f"wrote {out}/regions.parquet, assignments.parquet, summary.json, state.parquet")


@app.command()
def report(
    model: Model,
    data: Data,
    out: Annotated[Path, typer.Option("-o", "--out", help="HTML file to write.")] = Path("report.html"),
    target: Target = None,
    weight: Weight = None,
    link: Link = None,
    features: Names = None,
    inputs: Inputs = None,
    output: Output = None,
    architecture: Architecture = None,
    normalise: Normalise = False,
    models: Annotated[
        int | None, typer.Option("--models", help="Also put so many linear models in its place, in a section.", min=1)
    ] = None,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Write one self-contained page: the network, its local linear models, how exact they are."""
    from relucidate.html import report as write
    from relucidate.outputs import atomic_file

    with _watching(quiet) as progress, atomic_file(out) as file:
        network = _load(model, link, features, inputs, output, architecture, normalise)
        u = _unwrap(network, data, target, weight, seed, progress)
        write(u, file, reproduce=_command_line(), simplified=_simplified(u, models, seed))
    if not quiet:
        _print_summary(u)
        print(f"wrote {out}")


@app.command()
def simplify(
    model: Model,
    data: Data,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder to write: models, rules, curve, coefficients.")],
    target: Target = None,
    weight: Weight = None,
    models: Annotated[
        int | None, typer.Option("--models", help="How many linear models; by default as few as do as well.", min=1)
    ] = None,
    method: Annotated[
        str, typer.Option("--method", help="best, tree, cells, merge, prune, flatten or compress.")
    ] = "best",
    link: Link = None,
    features: Names = None,
    inputs: Inputs = None,
    output: Output = None,
    architecture: Architecture = None,
    normalise: Normalise = False,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Replace thousands of local linear models by a handful, and say on held-out rows what that loses."""
    from relucidate.frameworks.simplifying import write
    from relucidate.outputs import atomic_folder

    with _watching(quiet) as progress, atomic_folder(out, overwrite=overwrite) as folder:
        network = _load(model, link, features, inputs, output, architecture, normalise)
        u = _unwrap(network, data, target, weight, seed, progress)
        lines = write(u, folder, method=method, n_models=models, random_state=seed)
    if not quiet:
        print("\n".join(lines))
        print(f"wrote {out}")


@app.command()
def export(
    model: Model,
    out: Annotated[Path, typer.Option("-o", "--out", help="File to write: .onnx, .pt, .safetensors, .npz or .json.")],
    link: Link = None,
    features: Names = None,
    inputs: Inputs = None,
    output: Output = None,
    architecture: Architecture = None,
    normalise: Normalise = False,
    quiet: Quiet = False,
) -> None:
    """Write a model, or a simplification's JSON, in another format; what was written is compared before it is kept."""
    from relucidate.frameworks.exporting import export as write
    from relucidate.frameworks.simplifying import is_simplified

    if is_simplified(model):
        from relucidate.deploying import read_json

        write(read_json(model), out)
        if not quiet:
            print(f"wrote {out}")
        return
    network = _load(model, link, features, inputs, output, architecture, normalise)
    write(network, out)
    if not quiet:
        print(network)
        print(f"wrote {out}")


@app.command()
def demo(
    out: Annotated[Path, typer.Option("-o", "--out", help="HTML file to write.")] = Path("report.html"),
    quiet: Quiet = False,
) -> None:
    """Unwrap the bundled home-lending network and write its report."""
    from relucidate.examples import home_lending

    example = home_lending()
    if not quiet:
        print(
            "A network that predicts mortgage default, trained on 20,000 simulated loans (see examples/home_lending).\n"
        )
    report(str(example.model), [str(example.train)], out, target=example.target, models=8, quiet=quiet)


# -------------------------------------------------------------------- what commands share


def _load(
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
        feature_names=_listed(features),
        inputs=_listed(inputs),
        output=output,
        architecture=_widths(architecture),
        normalise=normalise,
    )


def _simplified(u: Unwrapped, models: int | None, seed: int) -> Simplified | None:
    if models is None:
        return None
    from relucidate.simplify import best

    return best(u, n_models=models, random_state=seed)


def _listed(text: str | None) -> list[str] | None:
    return None if text is None else [part.strip() for part in text.split(",")]


def _widths(text: str | None) -> list[int] | None:
    parts = _listed(text)
    if parts is None:
        return None
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise ArgumentError(
            f"--architecture {text!r}: expected whole numbers separated by commas, inputs first, such as 4,40,40,1."
        )
    return [int(part) for part in parts]


def _unwrap(
    network: Network,
    data: list[str],
    target: str | None,
    weight: str | None,
    seed: int,
    progress: Callable[[Progress], None],
) -> Unwrapped:
    from relucidate.unwrapping import unwrap as run

    return run(network, data, target, weight, random_state=seed, progress=progress)


@contextmanager
def _watching(silent: bool) -> Iterator[Callable[[Progress], None]]:
    """Yield a callback that says what to expect and draws a bar on standard error; say what an interrupt left undone."""
    watch = _Watch(silent)
    try:
        yield watch
    except KeyboardInterrupt:
        rows = "before the first rows were done" if watch.last is None else f"after {watch.last.rows:,} rows"
        print(f"relucidate: interrupted {rows}; nothing was written.", file=sys.stderr)
        sys.exit(130)
    finally:
        watch.close()


class _Watch:
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

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()

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


def _print_summary(u: Unwrapped) -> None:
    print("\n".join(u.summary()))
    table = u.table(maps=False).head(8)
    print()
    print(table.to_string(float_format=lambda v: f"{v:.4g}"))
    if u.n_regions > len(table):
        print(f"… and {u.n_regions - len(table):,} more regions")


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=True))


def _some(values: list[Any], limit: int = 12) -> str:
    text = ", ".join(str(v) for v in values[:limit])
    return text + (f" and {len(values) - limit:,} more" if len(values) > limit else "")


def _command_line() -> str:
    import shlex

    return shlex.join(["relucidate", *sys.argv[1:]])
