"""What commands share that show a result: where it may be written, as which output, as a table or a picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relucidate.cli_parts import fitting, named, refuse_inputs
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


def is_picture(path: Path) -> bool:
    """Return whether a file is to hold a picture, by its ending."""
    return path.suffix.lower() in _PICTURES


def beside(out: Sequence[Path], what: str) -> list[Path]:
    """Return where the second table of a result goes: s.groups.csv beside s.csv."""
    return [path.with_name(f"{path.stem}.{what}{path.suffix}") for path in out if path.suffix.lower() in _TABLES]


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
    result: Any,
    picture: str,
    drawing: dict[str, Any],
    only: Callable[[Any], Any],
    out: list[Path],
    quiet: bool,
    second: tuple[str, Callable[[], Any]] | None = None,
    *,
    headline: str | None = None,
    each: Mapping[Path, dict[str, Any]] | None = None,
) -> None:
    """Write the result to the files asked for, or print it.

    Parameters
    ----------
    drawing : options of the picture; `each` has more of them for some files.
    second : name of a second table, written `beside` the first, and what makes it.
    headline : what is printed first, by default what the result says of itself.
    """
    for path in out:
        if is_picture(path):
            _draw(result, picture, drawing | (each or {}).get(path, {}), path)
        else:
            _write(only(result.to_frame()), path)
    more = [] if second is None else beside(out, second[0])
    for path in more:
        assert second is not None
        _write(second[1](), path)
    if not quiet:
        print(f"{repr(result) if headline is None else headline}\n")
        print(f"wrote {', '.join(map(str, out + more))}" if out else printed(only(result.to_frame())))


def _write(frame: Any, path: Path) -> None:
    from relucidate.outputs import write_csv_atomically, write_parquet_atomically

    if path.suffix.lower() == ".csv":
        write_csv_atomically(frame, path)
    else:
        write_parquet_atomically(_arrow(frame), path)


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
    drawn = BytesIO()  # on a full disk matplotlib's writers fail with errors of many kinds
    with mpl.rc_context({"svg.hashsalt": "relucidate"}):
        ax.figure.savefig(drawn, format=ending, dpi=200, metadata=metadata)
    plt.close(ax.figure)
    with atomic_file(path) as file:
        file.write_bytes(drawn.getbuffer())


def printed(frame: Any) -> str:
    """Return the first rows of a table as text, and of its columns those that the terminal has room for."""
    text, columns = fitting(frame.head(_PRINTED))
    rows = max(len(frame) - _PRINTED, 0)
    more = [f"{n:,} more {what}{'s' * (n != 1)}" for n, what in ((columns, "column"), (rows, "row")) if n]
    return f"{text}\n… and {', '.join(more)}: -o table.csv writes all" if more else text
