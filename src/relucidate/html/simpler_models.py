"""A simplification with other numbers of models, for the reader to pick from, and how each of them does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relucidate.grouping import PatternIndex
from relucidate.plans import TREE_FEATURES, CellPlan, MergePlan, TreePlan
from relucidate.sampling import Sample
from relucidate.simplified import ByCentre, ByPattern, ByRule, Simplified, compared
from relucidate.studying import Path, Plan, Study, scores_of
from relucidate.unwrapping import Unwrapped
from relucidate.words import plural

MOST = 7  # numbers of models beside the chosen one
SIZES = (1, 2, 4, 8, 16, 12, 3, 6)  # those that a reader asks for first come first
TEST_ROWS = 50_000  # that candidates are scored on
_MERGED_REGIONS = 2_000  # above, the path of merges takes too long to be made twice
# rows times squared features up to which so many numbers of models take a few seconds
_WORK = ((8e6, MOST), (2e7, 4), (4e7, 3), (3e8, 1))


@dataclass(frozen=True, eq=False)
class Judged:
    """How decisions do on some rows: scores by name, share of the network's variance explained, same decision."""

    n: int
    scores: Mapping[str, float]
    fidelity: float
    agreement: float | None


@dataclass(frozen=True, eq=False)
class Candidate:
    """A simplification, its loss on the rows held out from it (None if unknown), and how it does on the test rows."""

    simplified: Simplified
    loss: float | None
    chosen: bool
    test: Judged | None


def candidates(u: Unwrapped, s: Simplified, test: Unwrapped | None) -> tuple[list[Candidate], str, Judged | None]:
    """Return the simplification with several numbers of models, the fewest first, and which are missing.

    Returns
    -------
    The candidates; why there are no others, "" if there are; how the network itself does on the test rows.

    Notes
    -----
    The others are looked for as `s` was: same method, rows and held-out rows. How its models were fitted is told by making
    one of them again; where none of the ways gives the same model, or others were held out, there are no others.
    """
    others, why = _others(u, s)
    rows = None if test is None else _some(test.sample, TEST_ROWS)
    loss = None if s.curve is None else float(s.curve.loss[s.curve.n_models == s.curve.chosen][0])
    found = [*others, (s, loss)]
    out = [
        Candidate(each, lost, each is s, None if rows is None else _judged(each, rows))
        for each, lost in sorted(found, key=lambda pair: pair[0].n_models)
    ]
    network = None
    if rows is not None:
        known = {} if rows.y is None else scores_of(u.network, rows, rows.decision)
        network = Judged(len(rows.x), known, 1.0, 1.0 if u.network.is_classifier else None)
    return out, why, network


def _some(sample: Sample, most: int) -> Sample:
    """Return at most `most` rows, evenly spaced."""
    n = len(sample.x)
    return sample if n <= most else sample.taken(np.unique(np.linspace(0, n - 1, most).astype(np.intp)))


def _judged(s: Simplified, rows: Sample) -> Judged:
    decision = s.decision_of(rows.x)
    proof, fidelity = compared(s.network, decision, rows.decision)
    scores = {} if rows.y is None else scores_of(s.network, rows, decision)
    return Judged(len(rows.x), scores, fidelity, proof.agreement)


# ---------------------------------------------------------------- other numbers of models


def _others(u: Unwrapped, s: Simplified) -> tuple[list[tuple[Simplified, float]], str]:
    """Return other numbers of models with their held-out loss, and in words why there are none."""
    if s.curve is None or len(s.curve.n_models) < 2:
        return [], "The simplification was made with one number of models, so there is no other to pick."
    if s.method not in ("tree", "cells", "merge"):
        return [], f"Other numbers of models of a simplification by {s.method} are not made for this page."
    if s.sample is None:
        return [], "The result does not hold the rows that it was made on, so other numbers of models cannot be made."
    study = Study(replace(u, network=s.network, sample=s.sample), None, None, None, "auto", 0)
    sizes = _sizes(study, s)
    if not sizes:
        rows = plural(study.n, "row")
        return (
            [],
            f"Others would take too long to make of {rows} and {plural(study.d, 'feature')}: only this one is shown.",
        )
    plan = _plan_of(study, s)
    if plan is None:
        return [], "How its models were fitted cannot be told from the result, so no others are shown beside it."
    if not _same_held_out(study, s):
        return [], "Which rows were held out cannot be told from the result, so no others are shown beside it."
    return list(_made(study, s, _Kept(plan), sizes)), ""


def _sizes(study: Study, s: Simplified) -> list[int]:
    """Return which numbers of models of the curve can be made within a few seconds."""
    assert s.curve is not None
    work = study.n * (min(study.d, TREE_FEATURES) + 1.0) ** 2 * study.network.n_outputs
    if isinstance(s.route, ByRule) and s.route.tree.is_oblique():
        work *= 4
    most = next((most for limit, most in _WORK if work <= limit), 0)
    if isinstance(s.route, ByPattern) and len(s.route.packed) > _MERGED_REGIONS:
        most = 0
    known = [k for k in SIZES if k in s.curve.n_models and k != s.n_models]
    return sorted(known[:most])


def _plan_of(study: Study, s: Simplified) -> Plan | None:
    """Return the plan that `s` came from, and let the study fit models as it did; None if no plan gives its models."""
    label = s.route.assign(study.network, study.rows.x)
    largest = int(np.bincount(label, minlength=s.n_models).argmax())
    mine = np.flatnonzero(label == largest)
    size = float(np.abs(s.coef[largest] * study.spread).max()) + 1e-300
    for confident in study.weightings if s.method != "merge" else [False]:
        for shrinkage, model in zip(study.shrinkage, study.fitted(mine, study.weights(confident)), strict=True):
            coef, _ = study.outward(model)
            # the same sums in the same order, but for the number of threads
            if float(np.abs((coef - s.coef[largest]) * study.spread).max()) <= 1e-6 * size:
                study.shrinkage = (shrinkage,)
                return _plan(study, s, confident)
    return None


def _plan(study: Study, s: Simplified, confident: bool) -> Plan:
    if isinstance(s.route, ByRule):
        return TreePlan(study, s.route.tree.is_oblique(), confident)
    if isinstance(s.route, ByCentre):
        return CellPlan(study, not np.allclose(s.route.scale, study.spread), confident)
    centres = isinstance(s.route, ByPattern) and s.route.fallback is not None
    return MergePlan(study, "centre" if centres else "pattern")


def _same_held_out(study: Study, s: Simplified) -> bool:
    """Whether the network's own scores, and the number of rows, are those that `s` was judged by."""
    held = study.rows.taken(study.held)
    if s.faithfulness.n != len(held.x):
        return False
    if not s.scores:
        return True
    own = scores_of(study.network, held, held.decision)
    return all(np.isclose(own[key], theirs, rtol=1e-9, equal_nan=True) for key, (_, theirs) in s.scores.items())


@dataclass(eq=False)
class _Kept:
    """A plan that makes what it makes of the same rows once."""

    plan: Plan

    def __post_init__(self) -> None:
        self.weight_by_confidence = self.plan.weight_by_confidence
        self.made: dict[bytes, Path] = {}

    @property
    def plain(self) -> bool:
        return self.plan.plain

    @property
    def said(self) -> str:
        return self.plan.said

    def path(self, rows: NDArray[np.intp]) -> Path:
        key = rows.tobytes()
        if key not in self.made:
            self.made[key] = self.plan.path(rows)
        return self.made[key]


def _made(study: Study, s: Simplified, plan: Plan, sizes: list[int]) -> Iterator[tuple[Simplified, float]]:
    study.most = max(sizes)
    fits = study.judged(plan, sizes)
    held = study.rows.taken(study.held)
    for k in sizes:
        if (k, 0) not in fits:
            continue
        fit = fits[k, 0]
        result = study.final(s.method, plan, k, 0)
        faithfulness, fidelity = compared(study.network, fit.decision, held.decision)
        scores: Any = study.scores(fit.decision)
        yield (
            replace(result, curve=s.curve, faithfulness=faithfulness, fidelity=fidelity, scores=scores, notes=s.notes),
            float(np.average(fit.loss, weights=held.weights)),
        )


def group_of(u: Unwrapped, s: Simplified, n: int) -> NDArray[np.int64] | None:
    """Return the model of each of the first n regions, -1 for a pattern that `s` never saw; None where rows decide."""
    if not isinstance(s.route, ByPattern):
        return None
    index = PatternIndex(u.patterns.packed.shape[1])
    at = index.add(s.route.packed)
    model = np.full(len(at) + 1, -1, dtype=np.int64)  # what is not found has the last place
    model[at] = s.route.model
    out = np.full(u.n_regions, -1, dtype=np.int64)
    out[u.region_of_pattern[::-1]] = model[index.find(u.patterns.packed)][::-1]  # of several patterns, the first
    return out[:n]
