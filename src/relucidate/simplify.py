"""From thousands of local linear models to a handful that do as well.

Every verb looks for its simplification on some rows, judges it on others that it has not seen, and is then carried out
on all rows; scores and faithfulness that a result reports are those of rows that were held out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from relucidate import trees
from relucidate.compressing import compress
from relucidate.displaying import in_notebook
from relucidate.errors import ArgumentError, clipped
from relucidate.features import Features
from relucidate.flattening import Flattened
from relucidate.flattening import flatten as flatten_maps
from relucidate.grouping import distinct
from relucidate.layers import Floats
from relucidate.merging import MergePath, PublishedMerge, published_merge, region_moments
from relucidate.merging import merge_path as path_of
from relucidate.network import Network, Patterns
from relucidate.products import one_thread
from relucidate.sampling import Sample
from relucidate.scoring import auc
from relucidate.simplified import ByCentre, ByMap, ByPattern, ByRule, Curve, Models, Route, Simplified, compared
from relucidate.sums import row_loss
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
FOLDS, FOLDS_BELOW = 5, 5_000  # cross-validation where rows are few; else one part of them is held out
HELD_OUT = 0.3
MERGE_FEATURES = 128
TREE_FEATURES = 48  # that splits are tried on; of more, the most important ones
SEGMENTS = 2  # leaves of a tree per model: those that differ little share one
DIRECTIONS = 24  # oblique splits that are tried beside them
SHRINKAGE = (np.inf, 100.0, 10.0, 1.0)  # rows that the network's own map weighs against a model's rows

Refit = Literal["auto", "response", "decision"]


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
    study = _Study(u, X, y, sample_weight, refit, random_state, extra_rows)
    if study.network.n_features == 1:
        shapes = [False]
    plans = [_TreePlan(study, shape, confident) for shape in shapes for confident in study.weightings]
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
    study = _Study(u, X, y, sample_weight, refit, random_state)
    plans = [_CellPlan(study, by_effect, c) for by_effect in (False, True) for c in study.weightings]
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
    study = _Study(u, X, y, sample_weight, refit, random_state)
    if study.d > MERGE_FEATURES:
        raise ArgumentError(
            f"Merging compares maps of {study.d:,} features pair by pair; it takes {MERGE_FEATURES} at most. Use tree or "
            "cells."
        )
    if by == "published":
        return study.carried_out("published merge", [_PublishedPlan(study)], n_models, max_models)
    routes: list[Literal["pattern", "centre"]] = ["pattern", "centre"]
    return study.carried_out("merge", [_MergePlan(study, unseen) for unseen in routes], n_models, max_models)


def merge_path(
    u: Unwrapped, X: Any = None, y: Any = None, *, sample_weight: Any = None, random_state: int = 0
) -> MergePath:
    """Return the whole path of merges by loss, from every region to one, with its curve and its dendrogram.

    Parameters
    ----------
    As in `merge`.
    """
    study = _Study(u, X, y, sample_weight, "decision", random_state)
    return _MergePlan(study, "pattern").path(np.arange(study.n)).merges


def prune(u: Unwrapped, k: int, X: Any = None, y: Any = None, *, sample_weight: Any = None) -> Simplified:
    """Return the local linear models of the k largest regions alone; other rows take that of the nearest of them.

    Parameters
    ----------
    k : regions kept. X, y, sample_weight : as in `tree`; rows on which the result is judged.
    """
    study = _Study(u, X, y, sample_weight, "decision", 0)
    if not 1 <= k <= u.n_regions:
        raise ArgumentError(f"k is {clipped(k)}; there are {u.n_regions:,} regions to keep some of.")
    return study.carried_out("prune", [_PrunePlan(study, u)], k, k)


def single(
    u: Unwrapped, X: Any = None, y: Any = None, *, refit: Refit = "auto", sample_weight: Any = None
) -> Simplified:
    """Return one linear model for all rows: what any simplification has to beat."""
    study = _Study(u, X, y, sample_weight, refit, 0)
    return study.carried_out("single", [_TreePlan(study, False, c, 1) for c in study.weightings], 1, 1)


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
    frame : a row per model, output and term: ``estimate``, ``se``, ``statistic``, ``p``, ``lower``, ``upper``, ``reason``.
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
            frame.insert(0, "model", m)
            note = found.note
            missing = pd.DataFrame(
                [{"model": m, "term": name, "n": int(mine.sum()), "reason": why} for name, why in left_out]
            )
            frames += [frame, missing] if len(missing) else [frame]
    return Coefficients(pd.concat(frames, ignore_index=True), note)


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
    study = _Study(u, X, y, None, "auto", random_state)
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


def _unwrapped(study: _Study, rows: NDArray[np.intp]) -> Unwrapped:
    """Return some rows of a study, unwrapped."""
    part = study.rows.taken(rows)
    y = None if part.y is None else _labels_of(study.network, np.asarray(part.y))
    network = replace(study.network, features=Features.plain(study.d, study.network.feature_names))
    u = unwrap(network, part.x, y, part.weight)
    return replace(u, network=replace(u.network, features=study.network.features))


def _labels_of(network: Network, codes: Any) -> Any:
    """Return class labels of codes, as `unwrap` takes them."""
    if not network.is_classifier or not network.classes or (network.link == "logit" and network.n_outputs > 1):
        return codes
    return np.asarray(network.classes)[codes.reshape(-1).astype(int)]


def _compared_row(name: str, n: int, network: Network, judge: Sample, decision: Floats) -> dict[str, Any]:
    _, fidelity = compared(network, decision, judge.decision)
    return {"method": name, "n_models": n, **scores_of(network, judge, decision), "fidelity": fidelity}


def _random_partition(s: Simplified, part: Unwrapped, judge: Sample, random_state: int) -> dict[str, Any]:
    """Return the scores of models fitted to rows put into groups of the same sizes at random."""
    rng = np.random.default_rng(random_state)
    study = _Study(part, None, None, None, "auto", random_state)
    share = s.count / s.count.sum()
    here, there = (rng.choice(s.n_models, size=n, p=share) for n in (study.n, len(judge.x)))
    decision = np.zeros((len(judge.x), study.network.n_outputs))
    for m in range(s.n_models):
        mine = np.flatnonzero(here == m)
        coef, intercept = study.outward(study.fitted(mine, study.rows.weights)[0])
        decision[there == m] = judge.x[there == m] @ coef.T + intercept
    return _compared_row("random partition", s.n_models, study.network, judge, decision)


# ---------------------------------------------------------------- rows, folds, and how candidates are judged


class _Path(Protocol):
    """What a plan makes of some rows: a way to route rows to each number of models."""

    def route(self, n_models: int) -> Route | None:
        """Return the route to so many models, None if there is none."""

    def maps(self, n_models: int) -> tuple[Floats, Floats] | None:
        """Return the models themselves where the plan has them: coefficients (K, o, d), intercepts (K, o)."""


class _Plan(Protocol):
    """One way to simplify, with its settings."""

    weight_by_confidence: bool

    @property
    def plain(self) -> bool:
        """Whether its routes are as easy to read as they can be."""

    def path(self, rows: NDArray[np.intp]) -> _Path:
        """Return what it makes of some rows of the study."""

    @property
    def said(self) -> str:
        """What to say of its settings."""


@dataclass(eq=False)
class _Fit:
    """Held-out decisions and losses of one plan, number of models and shrinkage, over all folds."""

    loss: Floats
    decision: Floats


@dataclass(eq=False)
class _Study:
    """The rows that a simplification is made on, how they are cut into folds, and what is fitted to them."""

    u: Unwrapped
    X: Any
    y: Any
    sample_weight: Any
    refit: Refit
    random_state: int
    extra_rows: float = 0.0
    rows: Sample = field(init=False)
    network: Network = field(init=False)
    most: int = 1
    memory: dict[bytes, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        u = self.u
        if self.X is not None:
            u = unwrap(u.network, self.X, self.y, self.sample_weight, random_state=self.random_state)
        elif self.y is not None or self.sample_weight is not None:
            raise ArgumentError("y or sample_weight was given without X. Give the rows too, or leave both out.")
        self.rows, self.network, self.notes = u.sample, u.network, list(u.notes)
        if self.refit not in ("auto", "response", "decision"):
            raise ArgumentError(f"refit is {clipped(self.refit)}; expected 'auto', 'response' or 'decision'.")
        self.has_y = self.rows.y is not None
        if self.refit == "response" and not self.has_y:
            raise ArgumentError("refit='response' needs a response; give y, or unwrap with one.")
        if len(self.rows.x) < 20:
            raise ArgumentError(f"{len(self.rows.x)} rows are too few to simplify on; give 20 at least.")
        if not self.rows.is_complete:
            self.notes.append(f"made on a sample of {len(self.rows.x):,} of {self.rows.n:,} rows")
        self.n = len(self.rows.x)
        self.d = self.network.n_features
        centre, spread = self.rows.x.mean(axis=0), self.rows.x.std(axis=0)
        self.centre, self.spread = centre, np.where(spread > 0, spread, 1.0)
        self.z = np.concatenate([np.ones((self.n, 1)), (self.rows.x - self.centre) / self.spread], axis=1)
        self.folds = self._folds()
        self.shrinkage: Sequence[float] = (np.inf,)
        if self.has_y and self.refit != "decision":
            self.shrinkage = SHRINKAGE if self.refit == "auto" else SHRINKAGE[-1:]

    @property
    def weightings(self) -> list[bool]:
        """Whether rows of which the network is sure may count less: both ways are tried for a classifier."""
        return [False, True] if self.network.is_classifier else [False]

    def weights(self, confidence: bool) -> Floats:
        """Return what each row weighs in fits to decisions (n,)."""
        w = self.rows.weights
        if not confidence:
            return w
        p = self.network.inverse_link(self.rows.decision)
        return w * np.maximum((p * (1 - p)).max(axis=1), 1e-3)

    def _folds(self) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        order = np.random.default_rng(self.random_state).permutation(self.n)
        if self.n >= FOLDS_BELOW:
            cut = int(self.n * HELD_OUT)
            return [(np.sort(order[cut:]), np.sort(order[:cut]))]
        parts = np.array_split(order, FOLDS)
        return [
            (np.sort(np.concatenate([p for j, p in enumerate(parts) if j != i])), np.sort(parts[i]))
            for i in range(FOLDS)
        ]

    @property
    def held(self) -> NDArray[np.intp]:
        """Rows that are held out, fold after fold."""
        return np.concatenate([held for _, held in self.folds])

    # ------------------------------------------------------------ fits

    def loss(self, decision: Floats, rows: NDArray[np.intp]) -> Floats:
        """Return the loss of each row (m,): of the response if there is one, else squared error of the decision."""
        if self.has_y:
            return row_loss(self.network, decision, np.asarray(self.rows.y)[rows].astype(np.float64))
        return ((decision - self.rows.decision[rows]) ** 2).sum(axis=1)

    @property
    def measure(self) -> str:
        if not self.has_y:
            return "squared difference to the network's decision"
        return "log-loss" if self.network.is_classifier else "squared error"

    def fitted(self, rows: NDArray[np.intp], weight: Floats) -> list[Floats]:
        """Return a model (1 + d, o) of these rows, in standardised features, for each shrinkage."""
        z, decision, w = self.z[rows], self.rows.decision[rows], weight[rows]
        own = _ridge(z, decision, w)
        if len(self.shrinkage) == 1 and np.isinf(self.shrinkage[0]):
            return [own]
        y = np.asarray(self.rows.y)[rows]
        given = self.rows.weights[rows]
        return [own if np.isinf(s) else _refitted(z, y, given, own, s, self.network) for s in self.shrinkage]

    def outward(self, model: Floats) -> tuple[Floats, Floats]:
        """Return coefficients (o, d) and intercept (o,) per unit of each feature."""
        coef = model[1:].T / self.spread
        return coef, model[0] - coef @ self.centre

    # ------------------------------------------------------------ judging

    def judged(self, plan: _Plan, sizes: Sequence[int]) -> dict[tuple[int, int], _Fit]:
        """Return held-out losses and decisions for each (number of models, shrinkage)."""
        weight = self.weights(plan.weight_by_confidence)
        parts: dict[tuple[int, int], list[Floats]] = {}
        for fit, held in self.folds:
            path = plan.path(fit)
            cache: dict[bytes, list[Floats]] = {}
            for k in sizes:
                route = path.route(k)
                if route is None:
                    continue
                own = path.maps(k)
                there = route.assign(self.network, self.rows.x[held])
                if own is not None:
                    parts.setdefault((k, 0), []).append(_evaluated(self.rows.x[held], there, *own))
                    continue
                here = route.assign(self.network, self.rows.x[fit])
                out = np.zeros((len(self.shrinkage), len(held), self.network.n_outputs))
                for m in range(k):
                    mine = fit[here == m]
                    key = mine.tobytes()
                    if key not in cache:
                        cache[key] = (
                            self.fitted(mine, weight)
                            if len(mine)
                            else [np.zeros((self.d + 1, out.shape[2]))] * len(out)
                        )
                    at = there == m
                    for i, model in enumerate(cache[key]):
                        out[i, at] = self.z[held[at]] @ model
                for i in range(len(out)):
                    parts.setdefault((k, i), []).append(out[i])
        found = {}
        for key, decisions in parts.items():
            if len(decisions) == len(self.folds):
                decision = np.concatenate(decisions)
                found[key] = _Fit(self.loss(decision, self.held), decision)
        return found

    @one_thread()
    def carried_out(self, method: str, plans: Sequence[_Plan], n_models: int | None, max_models: int) -> Simplified:
        """Return the best plan, by held-out loss, made anew on all rows."""
        sizes = _sizes(n_models, max_models)
        self.most = sizes[-1]
        results: list[tuple[_Plan, dict[tuple[int, int], _Fit]]] = [(plan, self.judged(plan, sizes)) for plan in plans]
        weight = self.rows.weights[self.held]
        best: dict[int, tuple[_Plan, int, _Fit]] = {}
        for plain in (True, False):
            for plan, found in results:
                for (k, i), fit in found.items():
                    if plan.plain is plain and (k not in best or _is_better(fit, best[k], plan, weight)):
                        best[k] = (plan, i, fit)
        if not best:
            raise ArgumentError(f"No {method} of {n_models} models could be made of {self.n:,} rows; ask for fewer.")
        curve = _curve(best, weight, n_models, self.measure)
        plan, shrinkage, fit = best[curve.chosen]
        result = self._final(method, plan, curve.chosen, shrinkage)
        faithfulness, fidelity = compared(self.network, fit.decision, self.rows.decision[self.held])
        notes = [*self.notes, *result.notes]
        said = self._said(plan, shrinkage)
        return replace(
            result,
            curve=curve,
            faithfulness=faithfulness,
            fidelity=fidelity,
            scores=self._scores(fit.decision),
            notes=tuple(dict.fromkeys([*notes, *said])),
        )

    def _said(self, plan: _Plan, shrinkage: int) -> list[str]:
        said = [plan.said] if plan.said else []
        s = self.shrinkage[shrinkage] if shrinkage < len(self.shrinkage) else np.inf
        if np.isinf(s):
            said.append("the models are fitted to what the network says")
        else:
            rows = "one row" if s == 1 else f"{s:g} rows"
            said.append(f"the models are refitted to the response; the fit to the network counts as {rows} in each")
        said.append("held-out rows had no part in the simplification; the network may have been trained on them")
        return said

    def _final(self, method: str, plan: _Plan, k: int, shrinkage: int) -> Simplified:
        every = np.arange(self.n)
        path = plan.path(every)
        route, notes = path.route(k), []
        while route is None:  # fewer rows differ in all of them than in a part: rare, and said
            k -= 1
            route = path.route(k)
            notes = [f"all rows together allow {k} models"]
        labels = route.assign(self.network, self.rows.x)
        own = path.maps(k)
        weight = self.weights(plan.weight_by_confidence)
        coef, intercept = np.zeros((k, self.network.n_outputs, self.d)), np.zeros((k, self.network.n_outputs))
        for m in range(k):
            if own is not None:
                coef[m], intercept[m] = own[0][m], own[1][m]
                continue
            mine = np.flatnonzero(labels == m)
            if len(mine):
                coef[m], intercept[m] = self.outward(self.fitted(mine, weight)[shrinkage])
        return Simplified(
            network=self.network,
            method=method,
            route=route,
            coef=coef,
            intercept=intercept,
            count=np.bincount(labels, minlength=k).astype(np.int64),
            faithfulness=compared(self.network, self.rows.decision, self.rows.decision)[0],
            response=self._responses(labels, k),
            sample=self.rows,
            notes=tuple(notes),
        )

    def _responses(self, labels: Models, k: int) -> Floats | None:
        if not self.has_y:
            return None
        y = np.asarray(self.rows.y, dtype=np.float64)
        if self.network.link == "softmax":
            y = (y.reshape(-1, 1) == np.arange(self.network.n_outputs)).astype(np.float64)
        y, w = y.reshape(self.n, -1), self.rows.weights
        total = np.bincount(labels, w, minlength=k)
        sums = np.stack([np.bincount(labels, w * column, minlength=k) for column in y.T], axis=1)
        with np.errstate(invalid="ignore"):
            return sums / total[:, None]

    def _scores(self, decision: Floats) -> dict[str, tuple[float, float]]:
        """Return (ours, the network's) on the held-out rows."""
        if not self.has_y:
            return {}
        rows = self.rows.taken(self.held)
        theirs = scores_of(self.network, rows, rows.decision)
        return {name: (value, theirs[name]) for name, value in scores_of(self.network, rows, decision).items()}


def scores_of(network: Network, rows: Sample, decision: Floats) -> dict[str, float]:
    """Return the scores of decisions (n, n_outputs) on some rows."""
    y, w = np.asarray(rows.y), rows.weights
    loss = float(np.average(row_loss(network, decision, y.astype(np.float64)), weights=w))
    if not network.is_classifier:
        y = y.reshape(len(y), -1)
        mse = loss / network.n_outputs
        variance = float(np.average(((y - np.average(y, axis=0, weights=w)) ** 2).mean(axis=1), weights=w))
        return {"mse": mse, "r2": 1 - mse / variance if variance > 0 else float("nan")}
    if network.n_outputs == 1:
        return {"auc": auc(decision[:, 0], y.reshape(-1) == 1, w), "log_loss": loss}
    if network.link == "softmax":
        return {"accuracy": float(np.average(decision.argmax(axis=1) == y.reshape(-1), weights=w)), "log_loss": loss}
    return {"log_loss": loss}


def _is_better(fit: _Fit, held: tuple[_Plan, int, _Fit], plan: _Plan, weight: Floats) -> bool:
    """Whether a fit is taken for one found before: rules that are harder to read must gain more than a standard error."""
    gain = held[2].loss - fit.loss
    harder = held[0].plain and not plan.plain
    return float(np.average(gain, weights=weight)) > (_standard_error(gain, weight) if harder else 0.0)


def _sizes(n_models: int | None, max_models: int) -> list[int]:
    """Return the numbers of models that are looked at."""
    given: list[tuple[str, Any]] = [("n_models", n_models), ("max_models", max_models)]
    for name, value in given:
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1):
            raise ArgumentError(f"{name} is {clipped(value)}; expected a whole number from 1.")
    most = max_models if n_models is None else int(n_models)
    usual = [k for k in (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 96, 128) if k <= most]
    return usual if most in usual else [*usual, most]


def _curve(best: dict[int, tuple[Any, int, _Fit]], weight: Floats, n_models: int | None, measure: str) -> Curve:
    sizes = np.array(sorted(best), dtype=np.intp)
    losses = np.array([np.average(best[k][2].loss, weights=weight) for k in sizes])
    lowest = best[int(sizes[losses.argmin()])][2].loss
    errors = np.array([_standard_error(best[k][2].loss - lowest, weight) for k in sizes])
    if n_models is not None:
        chosen, rule = int(sizes[-1]), "given"
    else:
        within = losses - losses.min() <= errors
        chosen, rule = int(sizes[np.argmax(within)]), "the fewest within one standard error of the best"
    return Curve(sizes, losses, errors, chosen, rule, measure)


def _standard_error(values: Floats, weight: Floats) -> float:
    mean = np.average(values, weights=weight)
    n = weight.sum() ** 2 / (weight**2).sum()
    return float(np.sqrt(np.average((values - mean) ** 2, weights=weight) / max(n - 1, 1)))


def _evaluated(x: Floats, model: Models, coef: Floats, intercept: Floats) -> Floats:
    return np.asarray(np.einsum("nkd,nd->nk", coef[model], x) + intercept[model])


# ---------------------------------------------------------------- fits of one model


def _ridge(z: Floats, target: Floats, weight: Floats) -> Floats:
    """Return least squares (1 + d, o) with a ridge of a tenth of a row, which keeps degenerate rows finite."""
    penalty = np.full(z.shape[1], trees.PRIOR_ROWS * (weight.mean() if len(weight) else 1.0))
    penalty[0] *= 1e-6
    wz = z * weight[:, None]
    with one_thread():
        return np.asarray(np.linalg.solve(wz.T @ z + np.diag(penalty), wz.T @ target))


def _refitted(z: Floats, y: Any, weight: Floats, own: Floats, rows: float, network: Network) -> Floats:
    """Return the model of the response, shrunk toward `own` (1 + d, o) as if that were so many rows."""
    if network.link == "softmax":
        target = (np.asarray(y).reshape(-1, 1) == np.arange(network.n_outputs)).astype(np.float64)
    else:
        target = np.asarray(y, dtype=np.float64).reshape(len(z), -1)
    return _newton(z, target, weight, own, rows, network)


def _newton(z: Floats, y: Floats, weight: Floats, own: Floats, rows: float, network: Network) -> Floats:
    """Return the penalised maximum-likelihood model by Newton steps that are halved until the loss falls."""
    beta = own.copy()
    link = network.link
    scale = {"identity": 1.0, "logit": 0.25, "softmax": 0.25, "log": 1.0}[link]
    penalty = np.full(z.shape[1], rows * scale)

    def objective(b: Floats) -> float:
        loss = row_loss(network, z @ b, y.argmax(axis=1) if link == "softmax" else y)
        return float(weight @ loss * (0.5 if link in ("identity", "log") else 1.0)) + 0.5 * float(
            (penalty[:, None] * (b - own) ** 2).sum()
        )

    if link == "log":
        return own  # a squared error behind an exponential is not convex: the network's own fit stands
    value = objective(beta)
    for _ in range(50):
        mean = network.inverse_link(z @ beta)
        gradient = z.T @ (weight[:, None] * (mean - y)) + penalty[:, None] * (beta - own)
        step = np.empty_like(beta)
        for k in range(y.shape[1]):
            variance = np.ones(len(z)) if link == "identity" else np.maximum(mean[:, k] * (1 - mean[:, k]), 1e-9)
            hessian = (z * (weight * variance)[:, None]).T @ z + np.diag(penalty)
            step[:, k] = np.linalg.solve(hessian, gradient[:, k])
        if link == "softmax":
            step *= 0.5  # the blocks of the diagonal alone overshoot
        size, moved = 1.0, False
        while size > 1e-4:
            trial = beta - size * step
            new = objective(trial)
            if new <= value:
                moved = value - new > 1e-10 * (1 + abs(value))
                beta, value = trial, new
                break
            size /= 2
        if not moved:
            break
    return beta


# ---------------------------------------------------------------- plans


@dataclass(eq=False)
class _TreePlan:
    study: _Study
    oblique: bool
    weight_by_confidence: bool
    segments: int = SEGMENTS

    @property
    def plain(self) -> bool:
        return not self.oblique

    @property
    def said(self) -> str:
        return "" if self.segments == 1 else "segments that differ little share a model"

    def path(self, rows: NDArray[np.intp]) -> _Path:
        s = self.study
        x, decision, w = s.rows.x[rows], s.rows.decision[rows], s.weights(self.weight_by_confidence)[rows]
        if s.extra_rows:
            between, said = _between(x, s.extra_rows, s.network, s.random_state)
            x, decision = np.concatenate([x, between]), np.concatenate([decision, said])
            w = np.concatenate([w, np.full(len(between), w.mean())])
        directions = _hyperplanes(s.network, s.spread) if self.oblique else None
        basis = _most_important(s, rows, TREE_FEATURES) if s.d > TREE_FEATURES else None
        settings: dict[str, Any] = {"directions": directions, "basis": basis, "candidates": basis}
        most = s.most * self.segments if s.most > 1 else 1
        grown = trees.grow(x, decision, w, max_leaves=most, random_state=s.random_state, **settings)

        def made(n_models: int) -> ByRule | None:
            leaves = min(n_models * self.segments, grown.n_leaves) if n_models > 1 else 1
            if leaves < n_models:
                return None
            tree, model = trees.improved(grown.pruned(leaves), x, decision, w, **settings), np.arange(n_models)
            if leaves > n_models:
                for _ in range(2):
                    model = trees.shared(tree, x, decision, w, n_models=n_models, basis=basis)
                    tree = trees.improved(tree, x, decision, w, model=model, **settings)
            return ByRule(*trees.collapsed(tree, model))

        return _TreePath(made)


@dataclass(eq=False)
class _TreePath:
    route: Callable[[int], ByRule | None]

    def maps(self, n_models: int) -> None:
        return None


def _between(x: Floats, share: float, network: Network, random_state: int) -> tuple[Floats, Floats]:
    """Return rows drawn on the segments between rows, nearer to one of the two, and what the network says of them."""
    rng = np.random.default_rng(random_state)
    n = int(share * len(x))
    a, b = rng.integers(len(x), size=(2, n))
    t = rng.uniform(0, 0.5, size=(n, 1))
    rows = x[a] * (1 - t) + x[b] * t
    return rows, network.trace(rows, patterns=False).decision


def _hyperplanes(network: Network, spread: Floats) -> Floats:
    """Return the directions of the network's first layer, largest first, each scaled to a largest coefficient of 1."""
    weight: Any = network.layers[0].weight if network.hidden else np.zeros((0, network.n_features))
    weight = weight.toarray() if hasattr(weight, "toarray") else np.asarray(weight)
    length = np.abs(weight * spread).max(axis=1, initial=0.0)
    order = np.argsort(-length, kind="stable")[:DIRECTIONS]
    order = order[length[order] > 0]
    largest = np.abs(weight[order]).max(axis=1, keepdims=True)
    return np.asarray(weight[order] / largest)


def _most_important(s: _Study, rows: NDArray[np.intp], n: int) -> NDArray[np.intp]:
    """Return the features with the largest effect on the decision, by their local coefficients and their spread."""
    return np.sort(np.argsort(-_effects(s, rows), kind="stable")[:n])


def _effects(s: _Study, rows: NDArray[np.intp]) -> Floats:
    """Return the root mean square of what one spread of each feature does to the decision (d,)."""
    some = rows[np.random.default_rng(s.random_state).permutation(len(rows))[:2000]]
    coef, _ = s.network.affine_maps(s.network.trace(s.rows.x[some]).patterns)
    return np.asarray(np.sqrt((coef**2).mean(axis=(0, 1))) * s.spread)


@dataclass(eq=False)
class _CellPlan:
    study: _Study
    by_effect: bool
    weight_by_confidence: bool
    plain = True

    @property
    def said(self) -> str:
        return f"distances are measured in {'effects on the decision' if self.by_effect else 'spreads of the features'}"

    def path(self, rows: NDArray[np.intp]) -> _Path:
        s = self.study
        scale = s.spread
        if self.by_effect:
            effect = _effects(s, rows)
            floor = 0.01 * float(effect.max(initial=0.0))
            scale = s.spread / np.maximum(effect, floor if floor > 0 else 1.0)
        return _CellPath(s.rows.x[rows], s.rows.weights[rows], scale, s.random_state)


CELL_ROWS = 20_000  # that centres are looked for on


@dataclass(eq=False)
class _CellPath:
    x: Floats
    weight: Floats
    scale: Floats
    random_state: int

    def route(self, n_models: int) -> Route | None:
        from sklearn.cluster import KMeans
        from threadpoolctl import threadpool_limits

        some = np.random.default_rng(self.random_state).permutation(len(self.x))[:CELL_ROWS]
        z = self.x[some] / self.scale
        if len(np.unique(z, axis=0)) < n_models:
            return None
        # threads that wait for each other in a loop are many times slower where other work has the processors
        with one_thread(), threadpool_limits(1, user_api="openmp"):
            means = KMeans(n_models, n_init=4, random_state=self.random_state).fit(z, sample_weight=self.weight[some])
        return ByCentre(means.cluster_centers_ * self.scale, self.scale, np.arange(n_models))

    def maps(self, n_models: int) -> None:
        return None


@dataclass(eq=False)
class _PrunePlan:
    study: _Study
    u: Unwrapped
    weight_by_confidence: bool = False
    plain = True
    said = "regions are those of the unwrapped network, each with its own map"

    def path(self, rows: NDArray[np.intp]) -> _Path:
        return _PrunePath(self.u, self.study.spread)


@dataclass(eq=False)
class _PrunePath:
    u: Unwrapped
    spread: Floats

    def route(self, n_models: int) -> Route:
        sums = self.u.sums
        means = sums.x[:n_models] / sums.weight[:n_models, None]
        nearest = ByCentre(means, self.spread, np.arange(n_models))
        kept = self.u.region_of_pattern < n_models
        return ByPattern(self.u.patterns.packed[kept], self.u.region_of_pattern[kept].astype(np.intp), nearest)

    def maps(self, n_models: int) -> tuple[Floats, Floats]:
        return np.asarray(self.u.coef[:n_models]), np.asarray(self.u.intercept[:n_models])


@dataclass(eq=False)
class _Regions:
    """The activation regions of some rows of a study."""

    packed: NDArray[np.uint8]
    code: NDArray[np.intp]
    mean: Floats
    count: NDArray[np.int64]
    beta: Floats  # (R, o, 1 + d), intercept first

    @staticmethod
    def of(s: _Study, rows: NDArray[np.intp]) -> _Regions:
        x = s.rows.x[rows]
        packed, code = distinct(s.network.trace(x).patterns.packed)
        count = np.bincount(code, minlength=len(packed))
        mean = np.stack([np.bincount(code, column, minlength=len(packed)) for column in x.T], axis=1) / count[:, None]
        coef, intercept = s.network.affine_maps(Patterns(packed, s.network.n_bits))
        beta = np.concatenate([intercept[:, :, None], coef], axis=2)
        return _Regions(packed, code.astype(np.intp), mean, count.astype(np.int64), beta)


@dataclass(eq=False)
class _MergePlan:
    study: _Study
    unseen: Literal["pattern", "centre"]
    weight_by_confidence: bool = False
    plain = True
    said = ""

    def path(self, rows: NDArray[np.intp]) -> _Merged:
        s = self.study
        if rows.tobytes() not in s.memory:  # both ways to treat unseen patterns share it
            regions = _Regions.of(s, rows)
            moments = region_moments(s.rows.x[rows], regions.code, len(regions.packed), s.rows.weights[rows])
            s.memory[rows.tobytes()] = (regions, path_of(moments, regions.beta))
        regions, merges = s.memory[rows.tobytes()]
        return _Merged(regions, merges, s.spread, self.unseen)


@dataclass(eq=False)
class _Merged:
    regions: _Regions
    merges: MergePath
    spread: Floats
    unseen: Literal["pattern", "centre"]

    def route(self, n_models: int) -> Route | None:
        if n_models > len(self.regions.packed):
            return None
        model = np.asarray(self.merges.labels(n_models), dtype=np.intp)
        fallback = ByCentre(self.regions.mean, self.spread, model) if self.unseen == "centre" else None
        return ByPattern(self.regions.packed, model, fallback)

    def maps(self, n_models: int) -> None:
        return None


@dataclass(eq=False)
class _PublishedPlan:
    study: _Study
    weight_by_confidence: bool = False
    plain = True
    said = "merged as published (Sudjianto et al. 2020, Algorithm 1)"

    def path(self, rows: NDArray[np.intp]) -> _Path:
        return _Published(_Regions.of(self.study, rows))


@dataclass(eq=False)
class _Published:
    regions: _Regions

    def route(self, n_models: int) -> Route | None:
        r = self.regions
        if n_models >= len(r.packed):
            return None
        merged: PublishedMerge = published_merge(r.mean, r.beta, r.count, n_models=n_models)
        return ByMap(merged.mean, merged.beta, np.asarray(merged.label, dtype=np.intp))

    def maps(self, n_models: int) -> None:
        return None
