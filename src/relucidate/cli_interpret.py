"""The commands that interpret: a view of what a network does, as a table or a picture, and the explanation of a row."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
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
    Overwrite,
    Quiet,
    Seed,
    Target,
    Weight,
    load_network,
    named,
    unwrap_table,
    watching,
)
from relucidate.cli_views import Of, Out, deliver, is_picture, kind_of, only_output, output_of, printed, refuse_places
from relucidate.errors import ArgumentError, RelucidateError, clipped

if TYPE_CHECKING:
    from relucidate.network import Network
    from relucidate.unwrapping import Unwrapped


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
    model: str
    data: list[str]
    target: str | None
    weight: str | None
    load: Callable[[str], Network]
    features: list[str]
    rows: list[int]
    output: int | None
    kind: str | None
    baseline: str
    against: list[str]
    standardised: bool

    @property
    def _known(self) -> list[str]:
        features = self.u.network.features
        return [*features.names, *features.columns]

    def one_feature(self) -> str | int:
        """Return the feature, where one is needed."""
        if len(self.features) == 1:
            return named(self.features[0], self._known)
        names = ", ".join(column for column, _ in self.u.network.features.groups[:8])
        raise ArgumentError(f"This view is of one feature: give it by --feature. The network has {names}.")

    def some_rows(self) -> Any:
        """Return the rows asked for as the table has them."""
        from relucidate.data import picked_rows

        return picked_rows(self.data, self.u.network.features, self.rows)

    def numbered(self, made: Callable[[Any], Any]) -> Any:
        """Return what is made of `some_rows`, under the numbers that these have in the table; errors speak of these too."""
        import numpy as np

        try:
            result = made(self.some_rows())
        except RelucidateError as problem:
            said = re.sub(r"^Row (\d+)\b", lambda found: f"Row {self.rows[int(found[1])]}", str(problem))
            raise type(problem)(said) from None
        return replace(result, row=np.array(self.rows))

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
    return rl.pairs(a.u, [named(f, a._known) for f in a.features] or None, output=a.output or 0)


def _ice(a: _Asked, rl: Any) -> Any:
    feature = a.one_feature()
    return a.numbered(lambda rows: rl.ice(a.u, rows, feature)) if a.rows else rl.ice(a.u, None, feature)


def _partial_dependence(a: _Asked, rl: Any) -> Any:
    return rl.partial_dependence(a.u, None, a.one_feature(), scale=a.kind)


def _ale(a: _Asked, rl: Any) -> Any:
    return rl.ale(a.u, None, a.one_feature())


def _path(a: _Asked, rl: Any) -> Any:
    if len(a.rows) not in (1, 2):
        raise ArgumentError(
            "A path leads from one row to another: give --row twice, or once to start from the baseline."
        )
    if len(a.rows) == 2 and a.baseline != "mean":
        raise ArgumentError("A path has one start: give --row twice, or --row once and --baseline.")
    rows = a.some_rows()
    start = rows[0:1] if len(a.rows) == 2 else a.start()
    return rl.path(a.u, start, rows[len(a.rows) - 1 : len(a.rows)])


def _integrated_gradients(a: _Asked, rl: Any) -> Any:
    from relucidate.paths import Encoded

    if a.rows:
        return a.numbered(lambda rows: rl.integrated_gradients(a.u, rows, a.start(), scale=a.kind))
    all_of_them = rl.integrated_gradients(a.u, Encoded(a.u.sample.x), a.start(), scale=a.kind)
    return replace(all_of_them, row=a.u.sample.row)


def _shapley(a: _Asked, rl: Any) -> Any:
    if not a.rows:
        raise ArgumentError(
            "Shapley values are of single rows, since each costs many evaluations: give --row, once or more."
        )
    return a.numbered(lambda rows: rl.shapley(a.u, rows, scale=a.kind))


def _stability(a: _Asked, rl: Any) -> Any:
    if not a.against:
        raise ArgumentError("Stability compares networks: give the others by --against MODEL, once or more.")
    networks = {a.model: a.u.network} | {path: a.load(path) for path in a.against}
    if len(networks) <= len(a.against):
        raise ArgumentError("A model is compared with itself: give each one once.")
    names = _short_names(list(networks))
    return rl.stability(dict(zip(names, networks.values(), strict=True)), a.data, a.target, a.weight)


def _short_names(paths: list[str]) -> list[str]:
    """Return the names of files without folder and ending, or the paths where these are not distinct."""
    names = [Path(path).stem for path in paths]
    return names if len(set(names)) == len(names) else paths


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
Baseline = Annotated[str, typer.Option("--baseline", help="Where to start from: mean, or the number of a row.")]


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
    overwrite: Overwrite = False,
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
    kind = kind_of(view.value, shown.kinds, kind)
    refuse_places(out or [], overwrite, [model, *data, *(against or [])])
    refuse_silence(quiet, out)

    def load(path: str) -> Network:
        return load_network(path, link, features, inputs, output, architecture, normalise)

    with watching(quiet) as progress:
        u = unwrap_table(load(model), data, target, weight, seed, progress)
        from relucidate import interpret as verbs

        asked = _Asked(
            u=u,
            model=model,
            data=data,
            target=target,
            weight=weight,
            load=load,
            features=feature or [],
            rows=list(dict.fromkeys(row or [])),
            output=output_of(u.network, of),
            kind=kind,
            baseline=baseline,
            against=against or [],
            standardised=standardised,
        )
        result = shown.make(asked, verbs)
        drawing: dict[str, Any] = {} if of is None or view in _IN_RESULT else {"output": asked.output}
        if view is View.coefficients:
            drawing["kind"] = kind
        headline = result.headline(asked.output) if view is View.importance else None
        deliver(result, shown.picture, drawing, only_output(u, asked.output), out or [], quiet, headline=headline)


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
    overwrite: Overwrite = False,
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
    numbers = list(dict.fromkeys(row))
    pictures = numbered_pictures(out or [], numbers)
    places = [place for path in out or [] for place in pictures.get(path, {path: None})]
    refuse_places(places, overwrite, [model, *data])
    refuse_silence(quiet, out, baseline)
    with watching(quiet) as progress:
        network = load_network(model, link, features, inputs, output, architecture, normalise)
        u = unwrap_table(network, data, target, weight, seed, progress)
        from relucidate import interpret as verbs

        which = output_of(u.network, of)
        asked = _Asked(
            u=u,
            model=model,
            data=data,
            target=target,
            weight=weight,
            load=lambda path: network,
            features=[],
            rows=numbers,
            output=which,
            kind="decision",
            baseline=baseline or "mean",
            against=[],
            standardised=False,
        )
        gradients = None if baseline is None else _integrated_gradients(asked, verbs)
        result = asked.numbered(lambda rows: verbs.explain(u, rows))
        if not quiet:
            for number in numbers:
                print("\n".join(result.summary(number, output=which)), end="\n\n")
            if gradients is not None:
                print(f"{gradients!r}\n{printed(only_output(u, which)(gradients.to_frame()))}")
        if out:

            def table(frame: Any) -> Any:
                if gradients is not None:  # both have a row per row, output and feature
                    frame = frame.assign(attribution=gradients.values.reshape(-1))
                return only_output(u, which)(frame)

            drawing = {} if which is None else {"output": which}
            each = {place: {"row": number} for made in pictures.values() for place, number in made.items()}
            deliver(result, "explain", drawing, table, places, quiet, each=each)


def numbered_pictures(out: Sequence[Path], rows: Sequence[int]) -> dict[Path, dict[Path, int]]:
    """Return for each picture, which has room for one row, the files that several rows take: x-3.png and x-7.png."""
    if len(rows) < 2:
        return {}
    pictures = [path for path in out if is_picture(path)]
    return {path: {path.with_stem(f"{path.stem}-{row}"): row for row in rows} for path in pictures}


def refuse_silence(quiet: bool, out: Sequence[Path] | None, baseline: str | None = None) -> None:
    """Refuse --quiet where nothing is written, or where attributions are asked for and no table could hold them."""
    if quiet and not out:
        raise ArgumentError("With --quiet and no -o there is nothing to show. Give a file, or leave --quiet out.")
    if quiet and baseline is not None and all(map(is_picture, out or [])):
        raise ArgumentError(
            "--baseline is printed, and a column of tables: with --quiet and pictures alone it is nowhere. Add -o table.csv, or "
            "leave one of the two out."
        )
