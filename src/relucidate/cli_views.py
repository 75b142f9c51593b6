"""What commands share that show a result: where it may be written, as which output, as a table or a picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relucidate.cli_parts import named, refuse_inputs
from relucidate.errors import ArgumentError, OutputError, clipped

if TYPE_CHECKING:
    from relucidate.network import Network
    from relucidate.unwrapping import Unwrapped

_PRINTED = 30  # rows of a table on the terminal
_PICTURES = (".png", ".svg", ".pdf")
_TABLES = (".csv", ".parquet")

Of = Annotated[str | None, typer.Option("--of", help="Which output or class, of a network with several.")]
Out = Annotated[
    list[Path] | None,
    typer.Option("-o", "--out", help="File to write: .png, .svg, .pdf, .csv or .parquet; may be given again."),
]


def kind_of(view: str, kinds: Sequence[str], kind: str | None) -> str | None:
    """Return the variant of a view that was asked for, the first by default."""
    if kind is None:
        return kinds[0] if kinds else None
    if kind not in kinds:
        known = f"expected {' or '.join(kinds)}" if kinds else "it has no variants"
        raise ArgumentError(f"--kind {clipped(kind)} is no variant of {view}; {known}.")
    return kind


def output_of(network: Network, of: str | None) -> int | None:
    """Return the position of an output that was asked for."""
    return None if of is None else network.output_index(named(of, network.outputs))


def refuse_places(out: list[Path], overwrite: bool, inputs: list[str]) -> None:
    """Refuse a file that nothing can or should be written to, before the work is done."""
    for path in out:
        if path.suffix.lower() not in _PICTURES + _TABLES:
            raise ArgumentError(
                f"{path}: the ending says what to write; expected {', '.join(_PICTURES)} for a picture, "
                f"{' or '.join(_TABLES)} for a table."
            )
        refuse_inputs(path, inputs)
        if not path.parent.is_dir():
            raise OutputError(f"{path}: there is no folder {path.parent}. Make it first.")
        if path.exists() and not overwrite:
            raise OutputError(f"{path} exists. Name another file, or add --overwrite.")


def only_output(u: Unwrapped, output: int | None) -> Callable[[Any], Any]:
    """Return what leaves in a table the one output that was asked for."""

    def kept(frame: Any) -> Any:
        if output is None or len(u.network.outputs) == 1:
            return frame
        name = u.network.outputs[output]
        if "output" in frame:
            return frame[frame["output"] == name]
        others = tuple(f"[{other}]" for other in u.network.outputs if other != name)
        return frame[[column for column in frame if not str(column).endswith(others)]]

    return kept


def deliver(
    result: Any, picture: str, drawing: dict[str, Any], only: Callable[[Any], Any], out: list[Path], quiet: bool
) -> None:
    """Write the result to the files asked for, or print its table."""
    from relucidate.outputs import write_csv_atomically, write_parquet_atomically

    for path in out:
        ending = path.suffix.lower()
        if ending in _PICTURES:
            _draw(result, picture, drawing, path)
        elif ending == ".csv":
            write_csv_atomically(only(result.to_frame()), path)
        else:
            write_parquet_atomically(_arrow(only(result.to_frame())), path)
    if not quiet:
        print(f"{result!r}\n")
        print(f"wrote {', '.join(map(str, out))}" if out else printed(only(result.to_frame())))


def _arrow(frame: Any) -> Any:
    """Return a table for Parquet; a column that holds numbers beside names holds text there."""
    import pyarrow as pa

    frame = frame if frame.index.name is None else frame.reset_index()
    for column in frame:
        kinds = {type(value) for value in frame[column]} if frame[column].dtype == object else set()
        if len(kinds) > 1:
            frame = frame.assign(**{column: frame[column].map(str)})
    return pa.Table.from_pandas(frame, preserve_index=False)


def _draw(result: Any, picture: str, drawing: dict[str, Any], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    from relucidate import plot
    from relucidate.outputs import atomic_file

    ax = getattr(plot, picture)(result, **drawing)
    ending = path.suffix.lower().removeprefix(".")
    # the same result gives the same file
    metadata: dict[str, Any] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(ending, {})
    with atomic_file(path) as file, mpl.rc_context({"svg.hashsalt": "relucidate"}):
        ax.figure.savefig(file, format=ending, dpi=200, metadata=metadata)
    plt.close(ax.figure)


def printed(frame: Any) -> str:
    """Return the first rows of a table as text."""
    text = str(frame.head(_PRINTED).to_string(index=frame.index.name is not None, float_format=lambda v: f"{v:.4g}"))
    more = len(frame) - _PRINTED
    return f"{text}\n… and {more:,} more rows: -o table.csv writes all" if more > 0 else text
