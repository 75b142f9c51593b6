"""The command that diagnoses: which local models can be trusted, where the network extrapolates, how data differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
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
    signs,
    unwrap_other,
    unwrap_table,
    watching,
)
from relucidate.cli_views import Of, Out, deliver, only_output, output_of, refuse_places
from relucidate.errors import ArgumentError

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
    found = verbs.boundary(a.u, picked_rows(a.data, a.u.network.features, a.rows), output=a.output)
    import numpy as np

    return replace(found, row=np.array(a.rows))


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
    Diagnosis.reliability: (lambda a, verbs: verbs.reliability(a.u), frozenset()),
    Diagnosis.performance: (_performance, frozenset({"test"})),
    Diagnosis.exposure: (_exposure, frozenset({"test"})),
    Diagnosis.extrapolation: (_extrapolation, frozenset({"test"})),
    Diagnosis.boundary: (_boundary, frozenset({"row", "of"})),
    Diagnosis.monotonicity: (_monotonicity, frozenset({"feature", "of", "expect"})),
    Diagnosis.complexity: (lambda a, verbs: verbs.complexity(a.u), frozenset()),
    Diagnosis.segments: (_segments, frozenset({"test", "protected"})),
}
_DRAWN_BY_OUTPUT = {Diagnosis.monotonicity}
_NEED_RESPONSE = {Diagnosis.performance, Diagnosis.segments}


def diagnose(
    diagnosis: Annotated[Diagnosis, typer.Argument(help="What to look into.", metavar="DIAGNOSIS")],
    model: Model,
    data: Data,
    test: Annotated[list[str] | None, typer.Option("--test", help="Another table; may be given again.")] = None,
    row: Annotated[
        list[int] | None, typer.Option("--row", help="Number of a row, from 0; may be given again.", min=0)
    ] = None,
    feature: Annotated[list[str] | None, typer.Option("--feature", "-f", help="Feature to look at.")] = None,
    expect: Annotated[list[str] | None, typer.Option("--expect", help="Sign expected of a feature: income=+")] = None,
    protected: Annotated[str | None, typer.Option("--protected", help="Column whose groups are compared.")] = None,
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
    given = {"test": test, "row": row, "feature": feature, "expect": expect, "protected": protected, "of": of}
    for option, value in given.items():
        if value and option not in heeds:
            raise ArgumentError(f"--{option} has no meaning for {diagnosis.value}. Leave it out.")
    if target is None and diagnosis in _NEED_RESPONSE:
        raise ArgumentError(
            f"{diagnosis.value} compares with the response: name its column by --target, as --target default."
        )
    refuse_places(out or [], overwrite, [model, *data, *(test or [])])
    if quiet and not out:
        raise ArgumentError("With --quiet and no -o there is nothing to show. Give a file, or leave --quiet out.")
    with watching(quiet) as progress:
        network = load_network(model, link, features, inputs, output, architecture, normalise)
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
        )
        result = make(asked, verbs)
        if diagnosis is Diagnosis.boundary and not quiet:
            for i in range(len(result)):
                print("\n".join(result.summary(i)), end="\n\n")
        drawing = {"output": which} if which is not None and diagnosis in _DRAWN_BY_OUTPUT else {}
        deliver(result, diagnosis.value, drawing, only_output(u, which), out or [], quiet)
