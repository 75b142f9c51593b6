"""The command that diagnoses: which local models can be trusted, where the network extrapolates, how data differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from math import isnan, nan
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
    groups_of,
    load_network,
    named,
    refuse_expected,
    signs,
    unwrap_other,
    unwrap_table,
    watching,
)
from relucidate.cli_views import Of, Out, beside, deliver, only_output, output_of, refuse_places
from relucidate.errors import ArgumentError, clipped

if TYPE_CHECKING:
    from relucidate.unwrapping import Unwrapped


class Diagnosis(StrEnum):
    """What `relucidate diagnose` looks into."""

    reliability = "reliability"
    performance = "performance"
    exposure = "exposure"
    extrapolation = "extrapolation"
    boundary = "boundary"
    monotonicity = "monotonicity"
    complexity = "complexity"
    segments = "segments"


class Norm(StrEnum):
    """How moves of several features add up to one distance."""

    one = "1"
    two = "2"
    inf = "inf"


@dataclass(frozen=True)
class _Asked:
    """What was asked for, besides the model and the table."""

    u: Unwrapped
    data: list[str]
    target: str | None
    weight: str | None
    tests: list[str]
    rows: list[int]
    features: list[str]
    output: int | None
    expected: list[str]
    protected: str | None
    options: dict[str, Any]
    """What was given of thresholds, norm, bounds and level, as the function in Python takes it."""

    def other(self, path: str, needed: bool) -> Unwrapped:
        """Return another table, unwrapped with its weights and its response, which new rows need not have yet."""
        return unwrap_other(self.u, path, self.target, self.weight, needed=needed)

    def one_test(self, needed: bool) -> str | None:
        """Return the other table."""
        if len(self.tests) > 1 or (needed and not self.tests):
            raise ArgumentError(
                f"{len(self.tests)} tables were given by --test; this diagnosis takes one. Give --test DATA2."
            )
        return self.tests[0] if self.tests else None


def _performance(a: _Asked, verbs: Any) -> Any:
    test = a.one_test(needed=False)
    return verbs.performance(a.u, None if test is None else a.other(test, needed=True))


def _exposure(a: _Asked, verbs: Any) -> Any:
    if not 1 <= len(a.tests) <= 2:
        raise ArgumentError(
            "Exposure compares tables: give the other one by --test DATA2, and a third by --test again."
        )
    return verbs.exposure(a.u, a.u, *(a.other(path, needed=False) for path in a.tests))


def _extrapolation(a: _Asked, verbs: Any) -> Any:
    # read as any table is, and at most as many rows as a sample holds
    return verbs.extrapolation(a.u, a.other(str(a.one_test(needed=True)), needed=False))


def _boundary(a: _Asked, verbs: Any) -> Any:
    from relucidate.data import picked_rows

    if not a.rows:
        raise ArgumentError("Distances and counterfactuals are of single rows: give --row, once or more.")
    known = [*a.u.network.features.names, *a.u.network.features.columns]
    options = {**a.options}
    if "frozen" in options:
        options["frozen"] = [named(feature, known) for feature in options["frozen"]]
    if "bounds" in options:
        options["bounds"] = {named(feature, known): pair for feature, pair in options["bounds"].items()}
    found = verbs.boundary(a.u, picked_rows(a.data, a.u.network.features, a.rows), output=a.output, **options)
    import numpy as np

    return replace(found, row=np.array(a.rows))


def _bounds(texts: list[str]) -> dict[str, tuple[float, float]]:
    """Return the lowest and highest value of each column, from texts such as income=0:100000 or income=0:."""
    out: dict[str, tuple[float, float]] = {}
    for text in texts:
        column, _, ends = text.rpartition("=")
        low, colon, high = (part.strip() for part in ends.partition(":"))
        try:
            pair = (float(low or "-inf"), float(high or "inf"))
        except ValueError:
            pair = (nan, nan)
        if not column or not colon or not (low or high) or isnan(pair[0]) or isnan(pair[1]):
            raise ArgumentError(
                f"--bound is {clipped(text)}; expected a column and its lowest and highest value, such as income=0:100000, "
                "income=0: or income=:100000."
            )
        if column in out:
            raise ArgumentError(f"--bound names {clipped(column)} twice; give both ends at once, as income=0:100000.")
        out[column] = pair
    return out


def _monotonicity(a: _Asked, verbs: Any) -> Any:
    known = [*a.u.network.features.names, *a.u.network.features.columns]
    features = [named(feature, known) for feature in a.features]
    return verbs.monotonicity(a.u, features or None, expected=signs(a.expected, a.u.network.features) or None)


def _segments(a: _Asked, verbs: Any) -> Any:
    test = a.one_test(needed=False)
    other = None if test is None else a.other(test, needed=True)
    read = a.data if test is None else [test]
    protected = None if a.protected is None else groups_of(a.u, read, a.protected)
    return verbs.segments(a.u, other, protected=protected)


_VIEWS: Mapping[Diagnosis, tuple[Callable[[_Asked, Any], Any], frozenset[str]]] = {
    Diagnosis.reliability: (
        lambda a, verbs: verbs.reliability(a.u, **a.options),
        frozenset({"min-rows", "max-condition", "min-skill", "max-distance"}),
    ),
    Diagnosis.performance: (_performance, frozenset({"test"})),
    Diagnosis.exposure: (_exposure, frozenset({"test"})),
    Diagnosis.extrapolation: (_extrapolation, frozenset({"test"})),
    Diagnosis.boundary: (_boundary, frozenset({"row", "of", "freeze", "bound", "norm", "threshold"})),
    Diagnosis.monotonicity: (_monotonicity, frozenset({"feature", "of", "expect"})),
    Diagnosis.complexity: (lambda a, verbs: verbs.complexity(a.u), frozenset()),
    Diagnosis.segments: (_segments, frozenset({"test", "protected"})),
}
_DRAWN_BY_OUTPUT = {Diagnosis.monotonicity}
_NEED_RESPONSE = {Diagnosis.performance, Diagnosis.segments}


def _heeding(option: str) -> str:
    """Return which diagnoses heed an option, as its help says it."""
    return f"Of {', '.join(diagnosis.value for diagnosis, (_, heeds) in _VIEWS.items() if option in heeds)}."


def diagnose(
    diagnosis: Annotated[
        Diagnosis, typer.Argument(help=f"What to look into: {', '.join(Diagnosis)}.", metavar="DIAGNOSIS")
    ],
    model: Model,
    data: Data,
    test: Annotated[
        list[str] | None, typer.Option("--test", help=f"Another table; may be given again. {_heeding('test')}")
    ] = None,
    row: Annotated[
        list[int] | None,
        typer.Option("--row", help=f"Number of a row, from 0; may be given again. {_heeding('row')}", min=0),
    ] = None,
    feature: Annotated[
        list[str] | None, typer.Option("--feature", "-f", help=f"Feature to look at. {_heeding('feature')}")
    ] = None,
    expect: Annotated[
        list[str] | None, typer.Option("--expect", help=f"Sign expected of a feature: income=+. {_heeding('expect')}")
    ] = None,
    protected: Annotated[
        str | None,
        typer.Option(
            "--protected",
            help=f"Column whose groups are compared; -o s.csv writes them to s.groups.csv. {_heeding('protected')}",
        ),
    ] = None,
    freeze: Annotated[
        list[str] | None,
        typer.Option("--freeze", help=f"Column that cannot move; may be given again. {_heeding('freeze')}"),
    ] = None,
    bound: Annotated[
        list[str] | None,
        typer.Option(
            "--bound",
            help="Lowest and highest value that a column can move to, as income=0:100000 or income=0:; may be given again. "
            f"{_heeding('bound')}",
        ),
    ] = None,
    norm: Annotated[
        Norm | None,
        typer.Option("--norm", help=f"How moves of columns add up to a distance; 2 by default. {_heeding('norm')}"),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold",
            help="Decision at which a row is decided otherwise: log-odds of a logit link, 0 by default; the logarithm of a log "
            f"link. A regression has none by default. {_heeding('threshold')}",
        ),
    ] = None,
    min_rows: Annotated[
        int | None,
        typer.Option(
            "--min-rows", help=f"Rows that a region needs to be reliable; 30 by default. {_heeding('min-rows')}"
        ),
    ] = None,
    max_condition: Annotated[
        float | None,
        typer.Option(
            "--max-condition",
            help=f"Largest condition number of its rows; 100 by default. {_heeding('max-condition')}",
        ),
    ] = None,
    min_skill: Annotated[
        float | None,
        typer.Option(
            "--min-skill",
            help=f"Least skill of its local model, where 0 is chance; 0 by default. {_heeding('min-skill')}",
        ),
    ] = None,
    max_distance: Annotated[
        float | None,
        typer.Option(
            "--max-distance",
            help="Largest distance from its neighbours' coefficients, in spreads of all; 1 by default. "
            f"{_heeding('max-distance')}",
        ),
    ] = None,
    of: Of = None,
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
    """Say which local models can be trusted, where the network extrapolates, and how other data use it."""
    make, heeds = _VIEWS[diagnosis]
    given: dict[str, Any] = {
        "test": test,
        "row": row,
        "feature": feature,
        "expect": expect,
        "protected": protected,
        "of": of,
    }
    given |= {"freeze": freeze, "bound": bound, "norm": norm, "threshold": threshold}
    given |= {
        "min-rows": min_rows,
        "max-condition": max_condition,
        "min-skill": min_skill,
        "max-distance": max_distance,
    }
    for option, value in given.items():
        if value not in (None, []) and option not in heeds:
            raise ArgumentError(f"--{option} has no meaning for {diagnosis.value}. Leave it out.")
    if target is None and diagnosis in _NEED_RESPONSE:
        raise ArgumentError(
            f"{diagnosis.value} compares with the response: name its column by --target, as --target default."
        )
    options = {
        "frozen": freeze or None,
        "bounds": _bounds(bound or []) or None,
        "norm": None if norm is None else norm.value,
        "level": threshold,
        "min_rows": min_rows,
        "max_condition": max_condition,
        "min_skill": min_skill,
        "max_distance": max_distance,
    }
    groups = beside(out or [], "groups") if protected is not None else []
    twice = next((path for path in groups if path in (out or [])), None)
    if twice is not None:
        raise ArgumentError(f"{twice} is where the table of groups is written. Name another file.")
    refuse_places([*(out or []), *groups], overwrite, [model, *data, *(test or [])])
    if quiet and not out:
        raise ArgumentError("With --quiet and no -o there is nothing to show. Give a file, or leave --quiet out.")
    with watching(quiet) as progress:
        network = load_network(model, link, features, inputs, output, architecture, normalise)
        refuse_expected(expect or [], network, data, target, weight)
        u = unwrap_table(network, data, target, weight, seed, progress)
        from relucidate import diagnose as verbs

        which = output_of(u.network, of)
        asked = _Asked(
            u=u,
            data=data,
            target=target,
            weight=weight,
            tests=test or [],
            rows=list(dict.fromkeys(row or [])),
            features=feature or [],
            output=which,
            expected=expect or [],
            protected=protected,
            options={name: value for name, value in options.items() if value is not None},
        )
        result = make(asked, verbs)
        if diagnosis is Diagnosis.boundary and not quiet:
            for i in range(len(result)):
                print("\n".join(result.summary(i)), end="\n\n")
        drawing = {"output": which} if which is not None and diagnosis in _DRAWN_BY_OUTPUT else {}
        second = ("groups", result.groups_frame) if groups else None
        deliver(result, diagnosis.value, drawing, only_output(u, which), out or [], quiet, second)
