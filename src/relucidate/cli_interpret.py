"""The commands that interpret: a view of what a network does, as a table or a picture, and the explanation of a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relucidate.cli_parts import (
    Architecture,
    Data,
    Inputs,
    Link,
    Model,
    Names,
    Normalise,
    Output,
    Quiet,
    Seed,
    Target,
    Weight,
    load_network,
    unwrap_table,
    watching,
)
from relucidate.errors import ArgumentError, clipped

if TYPE_CHECKING:
    from relucidate.unwrapping import Unwrapped

_PRINTED = 30  # rows of a table on the terminal
_PICTURES = (".png", ".svg", ".pdf")
_TABLES = (".csv", ".parquet")


class View(StrEnum):
    """What `relucidate interpret` shows."""

    importance = "importance"
    coefficients = "coefficients"
    clusters = "clusters"
    intercepts = "intercepts"
    directions = "directions"
    profile = "profile"
    pairs = "pairs"
    ice = "ice"
    partial_dependence = "partial-dependence"
    ale = "ale"
    path = "path"
    integrated_gradients = "integrated-gradients"
    shapley = "shapley"
    stability = "stability"


@dataclass(frozen=True)
class _Asked:
    """What was asked of a view, besides the model and the table."""

    u: Unwrapped
    data: list[str]
    target: str | None
    features: list[str]
    rows: list[int]
    output: str | None
    kind: str | None
    baseline: str
    against: list[str]
    standardised: bool

    def one_feature(self) -> str:
        """Return the feature, where one is needed."""
        if len(self.features) == 1:
            return self.features[0]
        names = ", ".join(column for column, _ in self.u.network.features.groups[:8])
        raise ArgumentError(f"This view is of one feature: give it by --feature. The network has {names}.")

    def some_rows(self) -> Any:
        """Return the rows asked for as the table has them."""
        from relucidate.data import picked_rows

        return picked_rows(self.data, self.u.network.features, self.rows)

    def start(self) -> Any:
        """Return the baseline: "mean", or a row of the table."""
        from relucidate.data import picked_rows

        if self.baseline == "mean":
            return "mean"
        if not (self.baseline.isascii() and self.baseline.isdigit()):
            raise ArgumentError(
                f"--baseline is {clipped(self.baseline)}; expected mean, or the number of a row, from 0."
            )
        return picked_rows(self.data, self.u.network.features, [int(self.baseline)])


@dataclass(frozen=True)
class _View:
    """How a view is made and drawn, and which options it heeds.

    Parameters
    ----------
    make : from what was asked to a result. heeds : names of options. picture : name in `relucidate.plot`.
    kinds : what --kind may be, the default first.
    """

    make: Callable[[_Asked, Any], Any]
    picture: str
    heeds: frozenset[str] = frozenset()
    kinds: tuple[str, ...] = ()


def _importance(a: _Asked, rl: Any) -> Any:
    return rl.importance(a.u, kind=a.kind)


def _coefficients(a: _Asked, rl: Any) -> Any:
    return rl.coefficients(a.u, standardised=a.standardised)


def _profile(a: _Asked, rl: Any) -> Any:
    return rl.profile(a.u, a.one_feature(), output=a.output or 0, place=a.kind)


def _pairs(a: _Asked, rl: Any) -> Any:
    return rl.pairs(a.u, a.features or None, output=a.output or 0)


def _ice(a: _Asked, rl: Any) -> Any:
    rows = a.some_rows() if a.rows else None
    return rl.ice(a.u, rows, a.one_feature())


def _partial_dependence(a: _Asked, rl: Any) -> Any:
    return rl.partial_dependence(a.u, None, a.one_feature(), scale=a.kind)


def _ale(a: _Asked, rl: Any) -> Any:
    return rl.ale(a.u, None, a.one_feature())


def _path(a: _Asked, rl: Any) -> Any:
    if len(a.rows) not in (1, 2):
        raise ArgumentError(
            "A path leads from one row to another: give --row twice, or once to start from the baseline."
        )
    rows = a.some_rows()
    start = rows[0:1] if len(a.rows) == 2 else a.start()
    return rl.path(a.u, start, rows[len(a.rows) - 1 : len(a.rows)])


def _integrated_gradients(a: _Asked, rl: Any) -> Any:
    from relucidate.paths import Encoded

    rows = a.some_rows() if a.rows else Encoded(a.u.sample.x)
    return rl.integrated_gradients(a.u, rows, a.start(), scale=a.kind)


def _shapley(a: _Asked, rl: Any) -> Any:
    if not a.rows:
        raise ArgumentError(
            "Shapley values are of single rows, since each costs many evaluations: give --row, once or more."
        )
    return rl.shapley(a.u, a.some_rows(), scale=a.kind)


def _stability(a: _Asked, rl: Any) -> Any:
    if not a.against:
        raise ArgumentError("Stability compares networks: give the others by --against MODEL, once or more.")
    from relucidate.frameworks import load

    others = [load(path) for path in a.against]
    return rl.stability([a.u.network, *others], a.data, a.target)


_SCALES = ("decision", "prediction")
_VIEWS: Mapping[View, _View] = {
    View.importance: _View(_importance, "importance", frozenset({"of"}), ("variance", "coefficients")),
    View.coefficients: _View(_coefficients, "coefficients", frozenset({"of", "standardised"}), ("violins", "lines")),
    View.clusters: _View(lambda a, rl: rl.clusters(a.u), "clusters", frozenset({"of"})),
    View.intercepts: _View(lambda a, rl: rl.intercepts(a.u), "intercepts", frozenset({"of"})),
    View.directions: _View(lambda a, rl: rl.directions(a.u), "directions", frozenset({"of"})),
    View.profile: _View(_profile, "profile", frozenset({"of", "feature"}), ("centred", "decision")),
    View.pairs: _View(_pairs, "pairs", frozenset({"of", "feature"})),
    View.ice: _View(_ice, "ice", frozenset({"of", "feature", "row"})),
    View.partial_dependence: _View(_partial_dependence, "partial_dependence", frozenset({"of", "feature"}), _SCALES),
    View.ale: _View(_ale, "ale", frozenset({"of", "feature"})),
    View.path: _View(_path, "path", frozenset({"of", "row", "baseline"})),
    View.integrated_gradients: _View(
        _integrated_gradients, "integrated_gradients", frozenset({"of", "row", "baseline"}), _SCALES
    ),
    View.shapley: _View(_shapley, "shapley", frozenset({"of", "row"}), _SCALES),
    View.stability: _View(_stability, "stability", frozenset({"against"})),
}
_IN_RESULT = {View.profile, View.pairs}  # views whose result is of one output already

Feature = Annotated[list[str] | None, typer.Option("--feature", "-f", help="Feature to look at; may be given again.")]
Row = Annotated[list[int] | None, typer.Option("--row", help="Number of a row, from 0; may be given again.", min=0)]
Of = Annotated[str | None, typer.Option("--of", help="Which output or class, of a network with several.")]
Baseline = Annotated[str, typer.Option("--baseline", help="Where to start from: mean, or the number of a row.")]
Out = Annotated[
    list[Path] | None,
    typer.Option("-o", "--out", help="File to write: .png, .svg, .pdf, .csv or .parquet; may be given again."),
]


def interpret(
    view: Annotated[View, typer.Argument(help="What to show.", metavar="VIEW")],
    model: Model,
    data: Data,
    feature: Feature = None,
    row: Row = None,
    of: Of = None,
    kind: Annotated[str | None, typer.Option("--kind", help="Variant of the view, see the reference.")] = None,
    baseline: Baseline = "mean",
    against: Annotated[list[str] | None, typer.Option("--against", help="Another model to compare with.")] = None,
    standardised: Annotated[
        bool, typer.Option("--standardised", help="Coefficients per standard deviation of their feature.")
    ] = False,
    out: Out = None,
    target: Target = None,
    weight: Weight = None,
    link: Link = None,
    features: Names = None,
    inputs: Inputs = None,
    output: Output = None,
    architecture: Architecture = None,
    normalise: Normalise = False,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Show what a network does: importance, coefficients, profiles, exact effects, paths and attributions."""
    shown = _VIEWS[view]
    given = {"feature": feature, "row": row, "of": of, "against": against, "standardised": standardised}
    given["baseline"] = baseline if baseline != "mean" else None
    for option, value in given.items():
        if value and option not in shown.heeds:
            raise ArgumentError(f"--{option} has no meaning for {view.value}. Leave it out.")
    kind = _kind(view, shown, kind)
    _refuse_endings(out or [])
    with watching(quiet) as progress:
        network = load_network(model, link, features, inputs, output, architecture, normalise)
        u = unwrap_table(network, data, target, weight, seed, progress)
        from relucidate import interpret as verbs

        asked = _Asked(
            u=u,
            data=data,
            target=target,
            features=feature or [],
            rows=row or [],
            output=_number_or_name(of),
            kind=kind,
            baseline=baseline,
            against=against or [],
            standardised=standardised,
        )
        result = shown.make(asked, verbs)
        drawing: dict[str, Any] = {} if of is None or view in _IN_RESULT else {"output": asked.output}
        if view is View.coefficients:
            drawing["kind"] = kind
        _deliver(result, shown.picture, drawing, out or [], quiet)


def explain(
    model: Model,
    data: Data,
    row: Annotated[
        list[int], typer.Option("--row", help="Number of the row to explain, from 0; may be given again.", min=0)
    ],
    of: Of = None,
    baseline: Annotated[
        str | None,
        typer.Option("--baseline", help="Also attribute the way from there, exactly: mean, or the number of a row."),
    ] = None,
    out: Out = None,
    target: Target = None,
    weight: Weight = None,
    link: Link = None,
    features: Names = None,
    inputs: Inputs = None,
    output: Output = None,
    architecture: Architecture = None,
    normalise: Normalise = False,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Say why a row has its decision: its local linear model, what each feature adds, and where that model ends."""
    _refuse_endings(out or [])
    with watching(quiet) as progress:
        network = load_network(model, link, features, inputs, output, architecture, normalise)
        u = unwrap_table(network, data, target, weight, seed, progress)
        import numpy as np

        from relucidate import interpret as verbs
        from relucidate.data import picked_rows

        which = _number_or_name(of)
        asked = _Asked(u, data, target, [], row, which, "decision", baseline or "mean", [], False)
        numbers = list(dict.fromkeys(row))
        result = replace(verbs.explain(u, picked_rows(data, u.network.features, numbers)), row=np.array(numbers))
        if not quiet:
            for number in numbers:
                print("\n".join(result.summary(number, output=which)), end="\n\n")
        if baseline is not None:
            gradients = _integrated_gradients(asked, verbs)
            print(f"{gradients!r}")
            print(_table(gradients.to_frame()))
        if out:
            _deliver(result, "explain", {} if of is None else {"output": which}, out, quiet)


# ---------------------------------------------------------------- parts


def _kind(view: View, shown: _View, kind: str | None) -> str | None:
    if kind is None:
        return shown.kinds[0] if shown.kinds else None
    if kind not in shown.kinds:
        known = f"expected {' or '.join(shown.kinds)}" if shown.kinds else "it has no variants"
        raise ArgumentError(f"--kind {clipped(kind)} is no variant of {view.value}; {known}.")
    return kind


def _number_or_name(text: str | None) -> Any:
    return int(text) if text is not None and text.isascii() and text.isdigit() else text


def _refuse_endings(out: list[Path]) -> None:
    """Refuse a file that nothing can be written to, before the work is done."""
    for path in out:
        if path.suffix.lower() not in _PICTURES + _TABLES:
            raise ArgumentError(
                f"{path}: the ending says what to write; expected {', '.join(_PICTURES)} for a picture, "
                f"{' or '.join(_TABLES)} for a table."
            )


def _deliver(result: Any, picture: str, drawing: dict[str, Any], out: list[Path], quiet: bool) -> None:
    """Write the result to the files asked for, or print its table."""
    from relucidate.outputs import write_csv_atomically, write_parquet_atomically

    for path in out:
        ending = path.suffix.lower()
        if ending in _PICTURES:
            _draw(result, picture, drawing, path)
        elif ending == ".csv":
            write_csv_atomically(result.to_frame(), path)
        else:
            import pyarrow as pa

            frame = result.to_frame()
            frame = frame if frame.index.name is None else frame.reset_index()
            write_parquet_atomically(pa.Table.from_pandas(frame, preserve_index=False), path)
    if not quiet:
        print(f"wrote {', '.join(map(str, out))}" if out else f"{result!r}\n\n{_table(result.to_frame())}")


def _draw(result: Any, picture: str, drawing: dict[str, Any], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("agg")
    from relucidate import plot
    from relucidate.outputs import atomic_file

    ax = getattr(plot, picture)(result, **drawing)
    ending = path.suffix.lower().removeprefix(".")
    # the same result gives the same file
    metadata: dict[str, Any] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(ending, {})
    with atomic_file(path) as file, mpl.rc_context({"svg.hashsalt": "relucidate"}):
        ax.figure.savefig(file, format=ending, dpi=200, metadata=metadata)


def _table(frame: Any) -> str:
    text = str(frame.head(_PRINTED).to_string(index=frame.index.name is not None, float_format=lambda v: f"{v:.4g}"))
    more = len(frame) - _PRINTED
    return f"{text}\n… and {more:,} more rows: -o table.csv writes all" if more > 0 else text
