"""How a simplification is looked for: the rows, how they are cut into folds, and which candidate is taken.

A plan is one way to simplify, with its settings. Every plan is carried out on some rows and judged on others, and the best
one is then carried out on all rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from relucidate import trees
from relucidate.errors import ArgumentError, clipped
from relucidate.layers import Floats
from relucidate.network import Network
from relucidate.products import one_thread
from relucidate.sampling import Sample
from relucidate.scoring import auc
from relucidate.simplified import Curve, Models, Route, Simplified, compared
from relucidate.sums import row_loss
from relucidate.unwrapping import Unwrapped, unwrap

FOLDS, FOLDS_BELOW = 5, 5_000  # cross-validation where rows are few; else one part of them is held out
HELD_OUT = 0.3
SHRINKAGE = (np.inf, 100.0, 10.0, 1.0)  # rows that the network's own map weighs against a model's rows

Refit = Literal["auto", "response", "decision"]


class Path(Protocol):
    """What a plan makes of some rows: a way to route rows to each number of models."""

    def route(self, n_models: int) -> Route | None:
        """Return the route to so many models, None if there is none."""

    def maps(self, n_models: int) -> tuple[Floats, Floats] | None:
        """Return the models themselves where the plan has them: coefficients (K, o, d), intercepts (K, o)."""


class Plan(Protocol):
    """One way to simplify, with its settings."""

    weight_by_confidence: bool

    @property
    def plain(self) -> bool:
        """Whether its routes are as easy to read as they can be."""

    def path(self, rows: NDArray[np.intp]) -> Path:
        """Return what it makes of some rows of the study."""

    @property
    def said(self) -> str:
        """What to say of its settings."""


@dataclass(eq=False)
class Fit:
    """Held-out decisions and losses of one plan, number of models and shrinkage, over all folds."""

    loss: Floats
    decision: Floats


@dataclass(eq=False)
class Study:
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

    def judged(self, plan: Plan, sizes: Sequence[int]) -> dict[tuple[int, int], Fit]:
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
                found[key] = Fit(self.loss(decision, self.held), decision)
        return found

    @one_thread()
    def carried_out(self, method: str, plans: Sequence[Plan], n_models: int | None, max_models: int) -> Simplified:
        """Return the best plan, by held-out loss, made anew on all rows."""
        sizes = _sizes(n_models, max_models)
        self.most = sizes[-1]
        results: list[tuple[Plan, dict[tuple[int, int], Fit]]] = [(plan, self.judged(plan, sizes)) for plan in plans]
        weight = self.rows.weights[self.held]
        best: dict[int, tuple[Plan, int, Fit]] = {}
        for plain in (True, False):
            for plan, found in results:
                for (k, i), fit in found.items():
                    if plan.plain is plain and (k not in best or _is_better(fit, best[k], plan, weight)):
                        best[k] = (plan, i, fit)
        if not best:
            raise ArgumentError(f"No {method} of {n_models} models could be made of {self.n:,} rows; ask for fewer.")
        curve = _curve(best, weight, n_models, self.measure)
        plan, shrinkage, fit = best[curve.chosen]
        result = self.final(method, plan, curve.chosen, shrinkage)
        faithfulness, fidelity = compared(self.network, fit.decision, self.rows.decision[self.held])
        notes = [*self.notes, *result.notes]
        said = self._said(plan, shrinkage)
        return replace(
            result,
            curve=curve,
            faithfulness=faithfulness,
            fidelity=fidelity,
            scores=self.scores(fit.decision),
            notes=tuple(dict.fromkeys([*notes, *said])),
        )

    def _said(self, plan: Plan, shrinkage: int) -> list[str]:
        said = [plan.said] if plan.said else []
        s = self.shrinkage[shrinkage] if shrinkage < len(self.shrinkage) else np.inf
        if np.isinf(s):
            said.append("the models are fitted to what the network says")
        else:
            rows = "one row" if s == 1 else f"{s:g} rows"
            said.append(f"the models are refitted to the response; the fit to the network counts as {rows} in each")
        said.append("held-out rows had no part in the simplification; the network may have been trained on them")
        return said

    def final(self, method: str, plan: Plan, k: int, shrinkage: int) -> Simplified:
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

    def scores(self, decision: Floats) -> dict[str, tuple[float, float]]:
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


def labels_of(network: Network, codes: Any) -> Any:
    """Return class labels of codes, as `unwrap` takes them."""
    if not network.is_classifier or not network.classes or (network.link == "logit" and network.n_outputs > 1):
        return codes
    return np.asarray(network.classes)[codes.reshape(-1).astype(int)]


def _is_better(fit: Fit, held: tuple[Plan, int, Fit], plan: Plan, weight: Floats) -> bool:
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


def _curve(best: dict[int, tuple[Any, int, Fit]], weight: Floats, n_models: int | None, measure: str) -> Curve:
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
