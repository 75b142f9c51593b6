"""The command line: a few lines a command, heavy imports inside them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from relucidate import __version__
from relucidate.cli_diagnose import diagnose
from relucidate.cli_interpret import explain, interpret
from relucidate.cli_parts import (
    Architecture,
    Data,
    Inputs,
    Json,
    Link,
    Model,
    Names,
    Normalise,
    Output,
    Overwrite,
    Quiet,
    Seed,
    Target,
    Weight,
    command_line,
    groups_of,
    load_network,
    print_json,
    print_summary,
    refuse_columns,
    refuse_expected,
    refuse_inputs,
    signs,
    simplified_of,
    some,
    spoken,
    unwrap_other,
    unwrap_table,
    watching,
)
from relucidate.errors import ArgumentError, RelucidateError
from relucidate.interrupting import ends_at_an_interrupt, interrupts

app = typer.Typer(
    name="relucidate",
    help="Say exactly what a trained ReLU network does.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.command()(interpret)
app.command()(explain)
app.command()(diagnose)


def main() -> None:
    """Run the command line; an error of ours, or of the system, is one sentence and exit code 2."""
    with ends_at_an_interrupt():
        try:
            try:
                app(standalone_mode=True)
            finally:
                sys.stdout.flush()  # here, where a full disk can still be reported
        except RelucidateError as error:
            _fail(str(error))
        except BrokenPipeError:
            _no_reader()
        except OSError as error:
            _drop_output()
            where = f" ({error.filename})" if error.filename is not None else ""
            _fail(
                f"the system refused to read or write: {error.strerror or error}{where}. Free some space or name another place, "
                "and run again."
            )
        except SystemExit as end:
            # typer meets a pipe without a reader first, and ends with 1
            if isinstance(end.__context__, BrokenPipeError):
                _no_reader()
            raise


def _no_reader() -> None:
    """End as a program does that a closed pipe stops: whoever read our output has enough."""
    _drop_output()
    sys.exit(141)


def _drop_output() -> None:
    """Drop what could not be printed, which Python would try again when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno() if sys.__stdout__ else 1)


def _fail(message: str) -> None:
    interrupts.heed()
    print(f"relucidate: {spoken(message)}", file=sys.stderr)
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

    network = load_network(model, link, features, inputs, output, architecture, normalise)
    about = describe(network)
    if as_json:
        print_json(about)
        return
    print(network)
    print(f"file: {about['path']}  SHA-256 {about['sha256']}")
    print(f"operators: {', '.join(f'{n} × {name}' for name, n in about['operators'].items())}")
    print(f"link: {about['link']}; outputs: {some(about['outputs'])}; classes: {some(about['classes']) or 'not named'}")
    print(f"{about['inputs']} inputs{'' if about['named'] else ' (not named in the file)'}: {some(about['features'])}")
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

    with watching(quiet or as_json) as progress, atomic_folder(out, overwrite=overwrite) as folder:
        network = load_network(model, link, features, inputs, output, architecture, normalise)
        u = unwrap_table(network, data, target, weight, seed, progress)
        write(u, folder)
    if as_json:
        print_json({**summary(u), "out": str(out)})
    elif not quiet:
        print_summary(u)
        print(f"wrote {out}/regions.parquet, assignments.parquet, summary.json, state.parquet")


@app.command()
def report(
    model: Model,
    data: Data,
    out: Annotated[Path, typer.Option("-o", "--out", help="HTML file to write.")] = Path("report.html"),
    target: Target = None,
    test: Annotated[
        str | None, typer.Option("--test", help="Other rows: how they differ, and how far to trust the network there.")
    ] = None,
    protected: Annotated[str | None, typer.Option("--protected", help="Column whose groups are compared.")] = None,
    expect: Annotated[
        list[str] | None, typer.Option("--expect", help="Sign expected of a feature: income=+; may be given again.")
    ] = None,
    rows: Annotated[int, typer.Option("--rows", help="How many single rows the page may hold.", min=0)] = 0,
    weight: Weight = None,
    link: Link = None,
    features: Names = None,
    inputs: Inputs = None,
    output: Output = None,
    architecture: Architecture = None,
    normalise: Normalise = False,
    models: Annotated[
        int | None, typer.Option("--models", help="Also put so many linear models in its place, in a chapter.", min=1)
    ] = None,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Write one self-contained page: what the network does, how exactly that is known, how far it can be trusted."""
    from relucidate.html import check_place
    from relucidate.html import report as write

    if out.suffix.lower() not in (".html", ".htm"):
        raise ArgumentError(f"{out}: the report is one page of HTML; expected a name that ends in .html.")
    refuse_inputs(out, [model, *data, *([test] if test else [])])
    check_place(out)
    refuse_columns(data, target=target, weight=weight)
    with watching(quiet) as progress:
        network = load_network(model, link, features, inputs, output, architecture, normalise)
        refuse_expected(expect or [], network, data, target, weight)
        u = unwrap_table(network, data, target, weight, seed, progress)
        other = None if test is None else unwrap_other(u, test, target, weight)
        judged, read = (other, [str(test)]) if other is not None and other.has_y else (u, data)
        write(
            u,
            out,
            X_test=other,
            X=None if protected is None else judged,
            protected=None if protected is None else groups_of(judged, read, protected),
            expected=signs(expect or [], u.network.features),
            rows=rows,
            simplified=simplified_of(u, models, seed),
            reproduce=command_line(),
            files=[*data, *([test] if test else [])],
            progress=None if quiet else progress.doing,
        )
    if not quiet:
        print_summary(u)
        print(f"wrote {out.resolve()} and {out.with_suffix('.json').name}")


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

    with watching(quiet) as progress, atomic_folder(out, overwrite=overwrite) as folder:
        network = load_network(model, link, features, inputs, output, architecture, normalise)
        u = unwrap_table(network, data, target, weight, seed, progress)
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

    refuse_inputs(out, [model])

    if is_simplified(model):
        from relucidate.deploying import read_json

        write(read_json(model), out)
        if not quiet:
            print(f"wrote {out}")
        return
    network = load_network(model, link, features, inputs, output, architecture, normalise)
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
    report(
        str(example.model),
        [str(example.train)],
        out,
        target=example.target,
        test=str(example.test),
        protected="age_group",
        expect=["credit_score=-", "loan_to_value=+", "debt_to_income=+"],
        rows=40,
        models=8,
        quiet=quiet,
    )
