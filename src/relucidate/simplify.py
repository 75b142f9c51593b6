"""From thousands of local linear models to a handful that do as well.

Every verb looks for its simplification on some rows, judges it on others that it has not seen, and is then carried out
on all rows; scores and faithfulness that a result reports are those of rows that were held out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from relucidate.compressing import compress
from relucidate.displaying import in_notebook
from relucidate.errors import ArgumentError, clipped
from relucidate.features import Features
from relucidate.flattening import Flattened
from relucidate.flattening import flatten as flatten_maps
from relucidate.layers import Floats
from relucidate.merging import MergePath
from relucidate.network import Network
from relucidate.plans import CellPlan, MergePlan, PrunePlan, PublishedPlan, TreePlan
from relucidate.sampling import Sample
from relucidate.simplified import Simplified, compared
from relucidate.studying import HELD_OUT, Refit, Study, labels_of, scores_of
from relucidate.unwrapping import Unwrapped, unwrap

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Coefficients",
    "Comparison",
    "best",
    "cells",
    "compare",
    "compress",
    "flatten",
    "inference",
    "merge",
    "merge_path",
    "prune",
    "single",
    "tree",
]

MAX_MODELS = 32  # looked at where the number is not given
MERGE_FEATURES = 128


# ---------------------------------------------------------------- verbs


def tree(
    u: Unwrapped,
    X: Any = None,
    y: Any = None,
    *,
    n_models: int | None = None,
    max_models: int = MAX_MODELS,
    oblique: bool | None = None,
    refit: Refit = "auto",
    extra_rows: float = 0.0,
    sample_weight: Any = None,
    random_state: int = 0,
) -> Simplified:
    """Return a tree whose leaves are linear models, grown on what the network says.

    Parameters
    ----------
    u : an unwrapped network. X, y, sample_weight : rows to simplify on, as `unwrap` takes them; those that `u` kept by
        default (at most 200,000).
    n_models : leaves; by default the fewest whose held-out loss is within one standard error of the best.
    max_models : at most so many are looked at.
    oblique : whether splits may compare sums of features, along the network's own first-layer hyperplanes. By default they
        do if that lowers the held-out loss by more than a standard error: rules on single features are easier to read.
    refit : what the leaves' models are fitted to. "decision": what the network says. "response": y. "auto": shrunk between
        the two as far as held-out rows like it.
    extra_rows : rows drawn between those of the table and labelled by the network, per row of the table.

    Returns
    -------
    Simplified, its rows led to their models by rules in the units of the features. A model may have two segments or more.

    Raises
    ------
    ArgumentError : a number of models that makes no sense; refit="response" without a response.

    Notes
    -----
    Grown best-first on the decision (gain: what a split takes off the squared error of linear fits); then all splits are
    chosen anew, knowing the leaves below them, and leaves that differ little are given one model, in turns.
    """
    shapes = [False, True] if oblique is None else [oblique]
    study = Study(u, X, y, sample_weight, refit, random_state, extra_rows)
    if study.network.n_features == 1:
        shapes = [False]
    plans = [TreePlan(study, shape, confident) for shape in shapes for confident in study.weightings]
    return study.carried_out("tree", plans, n_models, max_models)


def cells(
    u: Unwrapped,
    X: Any = None,
    y: Any = None,
    *,
    n_models: int | None = None,
    max_models: int = MAX_MODELS,
    refit: Refit = "auto",
    sample_weight: Any = None,
    random_state: int = 0,
) -> Simplified:
    """Return linear models of cells: each row takes the model of the centre nearest to it.

    Parameters
    ----------
    As in `tree`.

    Notes
    -----
    Centres are those of k-means on features scaled by their spread, or by what they do to the decision, whichever does
    better on held-out rows.
    """
    study = Study(u, X, y, sample_weight, refit, random_state)
    plans = [CellPlan(study, by_effect, c) for by_effect in (False, True) for c in study.weightings]
    return study.carried_out("cells", plans, n_models, max_models)


def merge(
    u: Unwrapped,
    X: Any = None,
    y: Any = None,
    *,
    n_models: int | None = None,
    max_models: int = MAX_MODELS,
    by: Literal["loss", "published"] = "loss",
    refit: Refit = "auto",
    sample_weight: Any = None,
    random_state: int = 0,
) -> Simplified:
    """Return regions merged into a few groups, each with one linear model.

    Parameters
    ----------
    by : "loss" joins the two regions whose joint map costs least, in squared decision over the rows themselves;
        "published" is Sudjianto et al. 2020, Algorithm 1 (Ward's linkage on the maps).
    Others as in `tree`.

    Notes
    -----
    A row finds its model by its activation pattern, so the network is needed for prediction. Rows whose pattern was never
    seen take the model of the nearest pattern or of the nearest region mean, whichever does better on held-out rows.
    """
    if by not in ("loss", "published"):
        raise ArgumentError(f"by is {clipped(by)}; expected 'loss' or 'published'.")
    study = Study(u, X, y, sample_weight, refit, random_state)
    if study.d > MERGE_FEATURES:
        raise ArgumentError(
            f"Merging compares maps of {study.d:,} features pair by pair; it takes {MERGE_FEATURES} at most. Use tree or "
            "cells."
        )
    if by == "published":
        return study.carried_out("published merge", [PublishedPlan(study)], n_models, max_models)
    routes: list[Literal["pattern", "centre"]] = ["pattern", "centre"]
    return study.carried_out("merge", [MergePlan(study, unseen) for unseen in routes], n_models, max_models)


def merge_path(
    u: Unwrapped, X: Any = None, y: Any = None, *, sample_weight: Any = None, random_state: int = 0
) -> MergePath:
    """Return the whole path of merges by loss, from every region to one, with its curve and its dendrogram.

    Parameters
    ----------
    As in `merge`.
    """
    study = Study(u, X, y, sample_weight, "decision", random_state)
    return MergePlan(study, "pattern").path(np.arange(study.n)).merges


def prune(u: Unwrapped, k: int, X: Any = None, y: Any = None, *, sample_weight: Any = None) -> Simplified:
    """Return the local linear models of the k largest regions alone; other rows take that of the nearest of them.

    Parameters
    ----------
    k : regions kept. X, y, sample_weight : as in `tree`; rows on which the result is judged.
    """
    study = Study(u, X, y, sample_weight, "decision", 0)
    if not 1 <= k <= u.n_regions:
        raise ArgumentError(f"k is {clipped(k)}; there are {u.n_regions:,} regions to keep some of.")
    return study.carried_out("prune", [PrunePlan(study, u)], k, k)


def single(
    u: Unwrapped, X: Any = None, y: Any = None, *, refit: Refit = "auto", sample_weight: Any = None
) -> Simplified:
    """Return one linear model for all rows: what any simplification has to beat."""
    study = Study(u, X, y, sample_weight, refit, 0)
    return study.carried_out("single", [TreePlan(study, False, c, 1) for c in study.weightings], 1, 1)


def best(
    u: Unwrapped,
    X: Any = None,
    y: Any = None,
    *,
    n_models: int | None = None,
    max_models: int = MAX_MODELS,
    refit: Refit = "auto",
    sample_weight: Any = None,
    random_state: int = 0,
) -> Simplified:
    """Return the simplification that stands alone, a tree or cells, with the lower held-out loss.

    Parameters
    ----------
    As in `tree`.
    """
    options: dict[str, Any] = {
        "n_models": n_models,
        "max_models": max_models,
        "refit": refit,
        "sample_weight": sample_weight,
        "random_state": random_state,
    }
    found = [verb(u, X, y, **options) for verb in (tree, cells)]
    return min(found, key=_loss_of)


def _loss_of(s: Simplified) -> float:
    assert s.curve is not None
    return float(s.curve.loss[s.curve.n_models == s.curve.chosen][0])


def flatten(s: Simplified, *, n_units: int | None = None, fine_tune: bool = False, random_state: int = 0) -> Flattened:
    """Return a network of one hidden layer whose units are the models of a simplification.

    Parameters
    ----------
    s : its rows are those that it was made on; the response is what is fitted, else what the network says.
    n_units, fine_tune : as in `relucidate.flattening.flatten`, Sudjianto et al. 2020, Algorithm 2.
    """
    rows = _rows_of(s)
    target = rows.y if rows.y is not None else s.network.inverse_link(rows.decision)
    return flatten_maps(
        rows.x,
        target,
        s.coef,
        s.intercept,
        s.network.link,
        weight=rows.weight,
        n_units=n_units,
        fine_tune=fine_tune,
        mirrored=True,  # where one class is rare the models are below 0 nearly everywhere, and so would units be
        decision=rows.decision,
        features=s.features,
        random_state=random_state,
    )


def _rows_of(s: Simplified) -> Sample:
    if s.sample is None:
        raise ArgumentError("This simplification does not hold the rows that it was made on; make it anew.")
    return s.sample


# ---------------------------------------------------------------- inference


@dataclass(frozen=True, eq=False)
class Coefficients:
    """Coefficients of each model, refitted without penalty, with their uncertainty.

    Parameters
    ----------
    frame : a row per model, output and term: ``estimate``, ``se``, ``statistic``, ``p``, ``lower``, ``upper``, ``reason``. Of
        several classes each is set against the first: "good against bad".
    note : what must stand under every table of these numbers.
    """

    frame: pd.DataFrame = field(repr=False)
    note: str

    _repr_html_ = in_notebook

    def to_frame(self) -> pd.DataFrame:
        """Return the table."""
        return self.frame.copy()


def inference(
    s: Simplified,
    X: Any = None,
    y: Any = None,
    *,
    sample_weight: Any = None,
    level: float = 0.95,
    robust: bool = False,
) -> Coefficients:
    """Return the models refitted to a response by maximum likelihood, with Wald intervals and tests.

    Parameters
    ----------
    X, y : rows that had no part in the simplification or the network, for honest intervals. Without them the rows that the
        models were chosen on are used, and the note says that the intervals ignore this.
    level : of the intervals. robust : whether variances are HC1's, which hold where the family is wrong.

    Raises
    ------
    ArgumentError : there is no response.

    Notes
    -----
    Features that do not vary in a segment, or depend on others there, are left out of it and have a reason instead of an
    estimate. A model of one class, of separated classes, of too few rows or of none has no inference, but the reason.
    """
    import pandas as pd

    from relucidate import glm
    from relucidate.inference import wald

    honest = X is not None
    rows = unwrap(s.network, X, y, sample_weight).sample if honest else _rows_of(s)
    if rows.y is None:
        raise ArgumentError("inference needs a response; give y.")
    family: Any = {"identity": "gaussian", "logit": "binomial", "softmax": "multinomial", "log": "poisson"}[
        s.network.link
    ]
    known: dict[str, Any] = {"n_classes": s.network.n_classes} if family == "multinomial" else {}
    names = s.network.feature_names
    model = s.route.assign(s.network, rows.x)
    frames, note = [], ""
    responses = np.asarray(rows.y).reshape(len(rows.x), -1)
    for m in range(s.n_models):
        mine = model == m
        x, weight = rows.x[mine], None if rows.weight is None else np.asarray(rows.weight)[mine]
        if not len(x):
            frames.append(pd.DataFrame([{"model": m, "term": name, "n": 0, "reason": "no rows"} for name in names]))
            continue
        kept, left_out = _independent(x, names)
        for k in range(responses.shape[1]):
            used = [names[j] for j in kept]
            target = responses[mine, k]
            fits = glm.fit(x[:, kept], target, family, weight=weight, names=used, **known)
            found = wald(fits, x[:, kept], target, weight=weight, level=level, robust=robust, honest=honest)
            frame = found.to_frame().drop(columns=["group"], errors="ignore")
            if responses.shape[1] > 1:
                frame["output"] = s.network.outputs[k]
            if family == "multinomial":
                for column in ("output", "reason"):
                    frame[column] = [_with_classes(text, s.network.outputs) for text in frame[column]]
            frame.insert(0, "model", m)
            note = found.note
            missing = pd.DataFrame(
                [{"model": m, "term": name, "n": int(mine.sum()), "reason": why} for name, why in left_out]
            )
            frames += [frame, missing] if len(missing) else [frame]
    return Coefficients(pd.concat(frames, ignore_index=True), note)


def _with_classes(text: str, names: Sequence[str]) -> str:
    """Return "1 against 0" and "no rows of class 1, 2" with the names of the classes."""
    if found := re.fullmatch(r"(\d+) against (\d+)", text):
        return f"{names[int(found[1])]} against {names[int(found[2])]}"
    before, of_class, codes = text.partition("no rows of class ")
    return before + of_class + re.sub(r"(?<!and )\b\d+", lambda code: names[int(code[0])], codes)


def _independent(x: Floats, names: Sequence[str]) -> tuple[list[int], list[tuple[str, str]]]:
    """Return the columns that vary and depend on none before them, and why the others were left out."""
    kept: list[int] = []
    left_out = []
    spread = x.std(axis=0) if len(x) else np.zeros(x.shape[1])
    basis = np.zeros((len(x), 0))
    for j in range(x.shape[1]):
        if not spread[j] > 1e-10 * (1 + np.abs(x[:, j]).max(initial=0.0)):
            left_out.append((names[j], "does not vary in this segment"))
            continue
        column = (x[:, j] - x[:, j].mean()) / (spread[j] * np.sqrt(len(x)))
        rest = column - basis @ (basis.T @ column)
        rest -= basis @ (basis.T @ rest)  # once more, for rounding
        length = float(np.linalg.norm(rest))
        if length < 1e-6:
            left_out.append((names[j], "follows from the features before it in this segment"))
            continue
        kept.append(j)
        basis = np.column_stack([basis, rest / length])
    return kept, left_out


# ---------------------------------------------------------------- comparison


@dataclass(frozen=True, eq=False)
class Comparison:
    """Ways to simplify side by side.

    Parameters
    ----------
    rows : one mapping per method: ``method``, ``n_models``, scores, ``fidelity``.
    on : which rows the scores are of.
    """

    rows: tuple[Mapping[str, Any], ...]
    on: str

    _repr_html_ = in_notebook

    def to_frame(self) -> pd.DataFrame:
        """Return one row per method: ``method``, ``n_models``, scores, ``fidelity`` (variance of decisions explained)."""
        import pandas as pd

        return pd.DataFrame(self.rows)

    def __repr__(self) -> str:
        return f"{self.to_frame().to_string(index=False, float_format=lambda v: f'{v:.4f}')}\n({self.on})"


def compare(
    u: Unwrapped,
    X: Any = None,
    y: Any = None,
    *,
    n_models: int = 8,
    test: tuple[Any, Any] | None = None,
    random_state: int = 0,
) -> Comparison:
    """Return how the network, its simplifications, one linear model and a random partition do on rows not fitted to.

    Parameters
    ----------
    test : (X, y) of other rows to score on. By default 30 % of the rows are set aside for it; the network may have been
        trained on those.
    """
    study = Study(u, X, y, None, "auto", random_state)
    if not study.has_y:
        raise ArgumentError("compare needs a response to score on; give y, or unwrap with one.")
    order = np.random.default_rng(random_state).permutation(study.n)
    cut = int(study.n * HELD_OUT) if test is None else 0
    fitted, held = np.sort(order[cut:]), np.sort(order[:cut])
    judge = unwrap(study.network, *test).sample if test is not None else study.rows.taken(held)
    part = _unwrapped(study, fitted)
    verbs: dict[str, Callable[[], Any]] = {
        "tree": lambda: tree(part, n_models=n_models, random_state=random_state),
        "cells": lambda: cells(part, n_models=n_models, random_state=random_state),
        "merge": lambda: merge(part, n_models=n_models, random_state=random_state),
        "published merge": lambda: merge(part, n_models=n_models, by="published", random_state=random_state),
        "prune": lambda: prune(part, min(n_models, part.n_regions)),
        "one linear model": lambda: single(part),
    }
    if study.d > MERGE_FEATURES:
        del verbs["merge"], verbs["published merge"]
    rows: list[dict[str, Any]] = [_compared_row("network", u.n_regions, study.network, judge, judge.decision)]
    made: dict[str, Simplified] = {}
    for name, verb in verbs.items():
        try:
            s = made[name] = verb()
        except ArgumentError as problem:  # one that cannot be made of these rows is said, not hidden
            rows.append({"method": name, "n_models": n_models, "note": str(problem)})
            continue
        rows.append(_compared_row(name, s.n_models, study.network, judge, s.decision_of(judge.x)))
    if "tree" in made:
        flat = flatten(made["tree"], n_units=made["tree"].n_models, random_state=random_state)
        units = flat.network.layers[0].weight.shape[0]
        rows.append(_compared_row("flattened tree", units, study.network, judge, flat.network.trace(judge.x).decision))
        rows.append(_random_partition(made["tree"], part, judge, random_state))
    on = "rows of your test table" if test is not None else f"{len(held):,} rows set aside, which the network may know"
    return Comparison(tuple(rows), on)


def _unwrapped(study: Study, rows: NDArray[np.intp]) -> Unwrapped:
    """Return some rows of a study, unwrapped."""
    part = study.rows.taken(rows)
    y = None if part.y is None else labels_of(study.network, np.asarray(part.y))
    network = replace(study.network, features=Features.plain(study.d, study.network.feature_names))
    u = unwrap(network, part.x, y, part.weight)
    return replace(u, network=replace(u.network, features=study.network.features))


def _compared_row(name: str, n: int, network: Network, judge: Sample, decision: Floats) -> dict[str, Any]:
    _, fidelity = compared(network, decision, judge.decision)
    return {"method": name, "n_models": n, **scores_of(network, judge, decision), "fidelity": fidelity}


def _random_partition(s: Simplified, part: Unwrapped, judge: Sample, random_state: int) -> dict[str, Any]:
    """Return the scores of models fitted to rows put into groups of the same sizes at random."""
    rng = np.random.default_rng(random_state)
    study = Study(part, None, None, None, "auto", random_state)
    share = s.count / s.count.sum()
    here, there = (rng.choice(s.n_models, size=n, p=share) for n in (study.n, len(judge.x)))
    decision = np.zeros((len(judge.x), study.network.n_outputs))
    for m in range(s.n_models):
        mine = np.flatnonzero(here == m)
        coef, intercept = study.outward(study.fitted(mine, study.rows.weights)[0])
        decision[there == m] = judge.x[there == m] @ coef.T + intercept
    return _compared_row("random partition", s.n_models, study.network, judge, decision)
