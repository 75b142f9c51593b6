"""Flattening: one hidden layer whose units are local linear models, with an output layer fitted as a GLM.

Source: Sudjianto, Knauth, Singh, Yang, Zhang 2020 (arXiv 2011.04041), Algorithm 2; Knauth 2020 (arXiv 2012.01293).
Which unit costs least to drop is judged as in Hassibi and Stork 1993 (*Optimal brain surgeon*).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray

from relucidate.displaying import in_notebook
from relucidate.errors import ArgumentError, TargetError, clipped, shown
from relucidate.features import Features
from relucidate.layers import Activation, Bools, Floats, Layer
from relucidate.network import Faithfulness, Link, Network, Provenance, assert_faithful
from relucidate.products import one_thread

if TYPE_CHECKING:
    import pandas as pd

Indices = NDArray[np.intp]

RIDGE = 1e-4  # on output weights of units of standard deviation 1, beside the mean loss
_INTERCEPT_RIDGE = 1e-9  # softmax intercepts are known up to a constant
HELD_OUT = 0.3
_PATH_ROWS = 20_000  # a seeded sample of more rows decides which units go
_CANDIDATES = 3  # units whose removal is tried where the quadratic model of the loss is not exact
_NEWTON_STEPS = 60
_NEWTON_TOLERANCE = 1e-12  # of the squared Newton decrement
_LARGEST_STEP = 20.0  # of a decision in one Newton step, so that exponentials stay finite
_FLAT = 1e-12  # standard deviation, in units of the largest value, of a unit that says nothing
_TUNING_STEPS = 1000


# ---------------------------------------------------------------- results


@dataclass(frozen=True, eq=False)
class UnitPath:
    """From all units down to one, the output layer refitted each time.

    Parameters
    ----------
    n_units : (m,) m, m - 1, …, 1.
    dropped : (m,) the unit dropped last, -1 at the start; as in `Flattened.unit`, a row of the stacked maps.
    loss : (m,) mean loss on the rows fitted to. held_out : (m,) mean loss on the others.
    error : (m,) standard error of the difference of `held_out` to its smallest.
    chosen : number of units taken. rule : how.
    measure : what the loss is: "squared error / 2", "log-loss", "Poisson loss".
    """

    n_units: Indices
    dropped: Indices
    loss: Floats
    held_out: Floats
    error: Floats
    chosen: int
    rule: str
    measure: str

    _repr_html_ = in_notebook

    def to_frame(self) -> pd.DataFrame:
        """Return one row per number of units."""
        import pandas as pd

        names = ("n_units", "dropped", "loss", "held_out", "error")
        columns = {name: getattr(self, name) for name in names}
        return pd.DataFrame({**columns, "chosen": self.n_units == self.chosen})


@dataclass(frozen=True, eq=False)
class Flattened:
    """A network of one hidden layer whose units are local linear models.

    Parameters
    ----------
    network : its decision is ``intercept + sum of weight_k * relu(coef_k @ x + intercept_k)``.
    unit : (K,) which of the stacked maps each hidden unit is, in the order of `stacked_maps`; before fine-tuning.
    path : losses from all units down to one.
    history : (t,) mean penalised loss on all rows: refitted, then after each step of fine-tuning. It never rises.
    held_out_loss : of the same number of units on the held-out rows, fitted (and fine-tuned) to the others.
    faithfulness : of the same, decisions compared with those given; None if none were given.
    """

    network: Network
    unit: Indices
    path: UnitPath
    history: Floats
    held_out_loss: float
    faithfulness: Faithfulness | None

    _repr_html_ = in_notebook

    def to_frame(self) -> pd.DataFrame:
        """Return the path, one row per number of units."""
        return self.path.to_frame()

    def __repr__(self) -> str:
        tuned = f", fine-tuned in {len(self.history) - 1} steps" if len(self.history) > 1 else ""
        return (
            f"Flattened: {len(self.unit)} of {int(self.path.n_units[0])} units, held-out {self.path.measure} "
            f"{self.held_out_loss:.4g}{tuned}"
        )


# ---------------------------------------------------------------- the verb


def stacked_maps(coef: Any, intercept: Any) -> tuple[Floats, Floats]:
    """Return maps as one list of units: coefficients (K * n_outputs, d) and intercepts (K * n_outputs,).

    Parameters
    ----------
    coef : (K, d) or (K, n_outputs, d). intercept : (K,) or (K, n_outputs).

    Raises
    ------
    ArgumentError : the shapes do not fit each other, or numbers are not finite.
    """
    w, b = np.asarray(coef, dtype=np.float64), np.asarray(intercept, dtype=np.float64)
    if w.ndim not in (2, 3) or b.shape != w.shape[:-1] or w.size == 0:
        raise ArgumentError(
            f"coef has shape {w.shape} and intercept {b.shape}; expected (K, d) and (K,), or (K, n_outputs, d) and "
            "(K, n_outputs)."
        )
    if not (np.isfinite(w).all() and np.isfinite(b).all()):
        raise ArgumentError("coef or intercept holds NaN or infinity; leave out the models that have no estimate.")
    return w.reshape(-1, w.shape[-1]), b.reshape(-1)


def flatten(
    x: Any,
    target: Any,
    coef: Any,
    intercept: Any,
    link: Link,
    *,
    weight: Any = None,
    n_units: int | None = None,
    fine_tune: bool = False,
    mirrored: bool = False,
    l2: float = RIDGE,
    held_out: float = HELD_OUT,
    decision: Any = None,
    features: Features | None = None,
    random_state: int = 0,
) -> Flattened:
    """Return a network of one hidden layer whose units are the maps given.

    Parameters
    ----------
    x : (n, d) rows, encoded.
    target : what to fit. Link "identity": numbers (n,) or (n, n_outputs); "logit": numbers from 0 to 1, the same shapes;
        "softmax": class codes (n,), or rows of probabilities (n, n_classes); "log": numbers not below 0. The network's
        predictions may stand in for the response.
    coef, intercept : the maps: (K, d) and (K,), or (K, n_outputs, d) and (K, n_outputs), which gives a unit per output.
    weight : (n,) of the rows.
    n_units : how many to keep, if so many vary on the rows; by default the fewest whose held-out loss is within one
        standard error of the best.
    fine_tune : whether to move all weights at the end, by L-BFGS on the same penalised loss.
    mirrored : whether each map may also enter with the other sign, as a unit of its own.
    l2 : penalty on the output weights of units scaled to standard deviation 1: mean loss + l2 / 2 * sum of squares.
    held_out : share of the rows on which numbers of units are compared.
    decision : (n, n_outputs) what to report faithfulness to.
    features : of the network; by default plain ones.
    random_state : which rows are held out.

    Returns
    -------
    Flattened. Units that are constant on the rows are left out of it.

    Raises
    ------
    ArgumentError : an argument has the wrong shape or makes no sense. TargetError : the target does not fit the link.

    Notes
    -----
    The output layer is a convex problem, solved by Newton steps. A unit's removal costs about
    ``g' S^-1 g / 2``, g being its output weights and S their block of the inverse Hessian; this is exact for
    squared error, and otherwise chooses the few units whose removal is tried.
    Cost: of order K steps times K² n.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.linspace(-1, 1, 200)[:, None]
    >>> maps = [[1.0], [-1.0], [0.5]], [0.0, 0.0, 2.0]
    >>> flat = flatten(x, np.abs(x[:, 0]), *maps, "identity", n_units=2, l2=1e-10)
    >>> flat.unit.tolist(), bool(np.abs(flat.network.decision(x) - np.abs(x)).max() < 1e-6)
    ([0, 1], True)
    """
    w, b = stacked_maps(coef, intercept)
    rows = _Rows.of(x, target, link, weight, w.shape[1], decision)
    if mirrored:
        w, b = np.vstack([w, -w]), np.concatenate([b, -b])
    if not l2 > 0:
        raise ArgumentError(f"l2 is {clipped(l2)}; expected a number above 0. 1e-8 is next to none.")
    if not 0 < held_out < 1:
        raise ArgumentError(f"held_out is {clipped(held_out)}; expected a share between 0 and 1.")
    fitted, others = _split(len(rows.x), held_out, random_state)
    units = _Units.of(w, b, rows.taken(fitted).x)
    if n_units is not None and not 1 <= n_units <= len(w):
        raise ArgumentError(
            f"n_units is {clipped(n_units)}; expected a whole number from 1 to {len(w)}, the number of units."
        )
    train, rest = rows.taken(fitted), rows.taken(others)
    with one_thread():  # the matrices are small: threads would wait for each other
        path, kept, theta = _path(units, train, rest, l2, n_units, random_state)
        trial = _Model(units.picked(kept), theta)
        if fine_tune:
            trial, _ = _tuned(trial, train, l2)
        eta = trial.decision(rest.x)
        faithfulness = None if rows.decision is None else _faithful(eta, rows.decision[others], link)
        chosen = units.picked(kept)
        model = _Model(chosen, _fit(_with_one(chosen.values(rows.x)), rows, l2, theta))
        history = [_objective(model.decision(rows.x), model.theta, rows, l2)]
        if fine_tune:
            model, history = _tuned(model, rows, l2)
    loss = float(np.mean(rest.w * rest.loss.value(eta, rest.y)))
    network = model.network(link, features, rows.classes)
    return Flattened(network, units.index[kept], path, np.array(history), loss, faithfulness)


# ---------------------------------------------------------------- rows and losses


@dataclass(frozen=True, eq=False)
class _Rows:
    """Checked rows; weights have mean 1."""

    x: Floats
    y: Floats
    w: Floats
    loss: _Loss
    decision: Floats | None
    classes: int

    @staticmethod
    def of(x: Any, target: Any, link: Link, weight: Any, d: int, decision: Any) -> _Rows:
        x = np.asarray(x, dtype=np.float64)
        if x.ndim != 2 or x.shape[1] != d or len(x) < 2:
            raise ArgumentError(f"x has shape {x.shape}; the maps take (n, {d}), n at least 2.")
        if not np.isfinite(x).all():
            raise ArgumentError("x holds NaN or infinity; drop or fill these rows.")
        if link not in get_args(Link):
            raise ArgumentError(f"link is {link!r}; expected one of {', '.join(get_args(Link))}.")
        y = _checked_target(target, len(x), link)
        w = np.ones(len(x)) if weight is None else np.asarray(weight, dtype=np.float64)
        if w.shape != (len(x),) or not np.isfinite(w).all() or (w < 0).any() or not w.any():
            raise ArgumentError(
                f"weight has shape {w.shape}; expected ({len(x)},) numbers not below 0, some of them above."
            )
        if decision is not None:
            decision = np.asarray(decision, dtype=np.float64).reshape(len(x), -1)
            if decision.shape != y.shape:
                raise ArgumentError(f"decision has shape {decision.shape}; the target makes {y.shape[1]} outputs.")
        return _Rows(x, y, w / w.mean(), _Loss(link), decision, y.shape[1] if link == "softmax" else 0)

    def taken(self, rows: Any) -> _Rows:
        """Return some of the rows."""
        part = self.w[rows]
        scale = part.mean()
        return replace(self, x=self.x[rows], y=self.y[rows], w=part / (scale if scale > 0 else 1.0), decision=None)


def _checked_target(target: Any, n: int, link: Link) -> Floats:
    """Return the target as (n, n_outputs)."""
    y = np.asarray(target, dtype=np.float64)
    if y.ndim not in (1, 2) or len(y) != n:
        raise TargetError(f"target has shape {y.shape} for {n} rows; expected ({n},) or ({n}, n_outputs).")
    if not np.isfinite(y).all():
        raise TargetError("target holds NaN or infinity; drop these rows.")
    if link == "softmax" and y.ndim == 1:
        if (y != np.round(y)).any() or (y < 0).any():
            raise TargetError(f"target must hold class codes 0, 1, …; it holds {shown(np.unique(y))}.")
        y = np.eye(int(y.max()) + 1)[y.astype(np.intp)]
    y = y.reshape(n, -1)
    if link == "softmax" and ((y < 0).any() or not np.allclose(y.sum(axis=1), 1)):
        raise TargetError("target must hold rows of probabilities, which add up to 1; some do not.")
    if link == "logit" and ((y < 0) | (y > 1)).any():
        raise TargetError(f"target must lie between 0 and 1 for a logit; it reaches from {y.min():g} to {y.max():g}.")
    if link == "log" and (y < 0).any():
        raise TargetError(f"target must not be negative for a log link; it reaches down to {y.min():g}.")
    return y


@dataclass(frozen=True)
class _Loss:
    """What a row loses, as a function of its decision; arrays are (n, n_outputs)."""

    link: Link

    @property
    def measure(self) -> str:
        return {"identity": "squared error / 2", "log": "Poisson loss"}.get(self.link, "log-loss")

    @property
    def is_quadratic(self) -> bool:
        return self.link == "identity"

    def value(self, eta: Floats, y: Floats) -> Floats:
        """Return the loss of each row (n,)."""
        if self.link == "identity":
            return ((eta - y) ** 2).sum(axis=1) / 2
        if self.link == "logit":
            return (np.logaddexp(0.0, eta) - y * eta).sum(axis=1)
        if self.link == "log":
            return (np.exp(eta) - y * eta).sum(axis=1)
        top = eta.max(axis=1, keepdims=True)
        return (top[:, 0] + np.log(np.exp(eta - top).sum(axis=1))) - (y * eta).sum(axis=1)

    def mean(self, eta: Floats) -> Floats:
        """Return predictions (n, n_outputs); their difference to the target is the loss's slope."""
        if self.link == "identity":
            return eta
        if self.link == "logit":
            e = np.exp(-np.abs(eta))
            return np.where(eta >= 0, 1 / (1 + e), e / (1 + e))
        if self.link == "log":
            return np.exp(eta)
        e = np.exp(eta - eta.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    def curvature(self, eta: Floats, c: int, d: int) -> Floats | None:
        """Return the second derivatives (n,) by outputs c and d; None where they are 0."""
        mean = self.mean(eta)
        if self.link == "softmax":
            return mean[:, c] * ((c == d) - mean[:, d])
        if c != d:
            return None
        if self.link == "identity":
            return np.ones(len(eta))
        return mean[:, c] if self.link == "log" else mean[:, c] * (1 - mean[:, c])


# ---------------------------------------------------------------- units and the output layer


@dataclass(frozen=True, eq=False)
class _Units:
    """Hidden units ``relu(w @ x + b)`` whose values have standard deviation 1 on the rows they were made for."""

    w: Floats
    b: Floats
    index: Indices

    @staticmethod
    def of(w: Floats, b: Floats, x: Floats) -> _Units:
        """Return the units that vary on rows, scaled; `index` says which maps they are."""
        values = np.maximum(x @ w.T + b, 0.0)
        spread = values.std(axis=0)
        varies = np.flatnonzero(spread > _FLAT * np.maximum(values.max(axis=0), np.finfo(float).tiny))
        if len(varies) == 0:
            raise ArgumentError(
                "Each of the maps is constant, or never positive, on the rows; there is nothing to flatten."
            )
        scale = spread[varies]
        return _Units(w[varies] / scale[:, None], b[varies] / scale, varies)

    def picked(self, which: Any) -> _Units:
        """Return some of the units."""
        return _Units(self.w[which], self.b[which], self.index[which])

    def values(self, x: Floats) -> Floats:
        """Return what the units say (n, K)."""
        return np.maximum(x @ self.w.T + self.b, 0.0)


def _with_one(values: Floats) -> Floats:
    """Return values with a column of ones, for the intercept, at the end."""
    return np.column_stack([values, np.ones(len(values))])


def _penalty(p: int, l2: float) -> Floats:
    """Return the ridge (p,) of each column; the intercept, which is last, is all but free."""
    return np.append(np.full(p - 1, l2), _INTERCEPT_RIDGE)


def _objective(eta: Floats, theta: Floats, rows: _Rows, l2: float) -> float:
    """Return the mean penalised loss."""
    with np.errstate(over="ignore"):
        loss = float(np.mean(rows.w * rows.loss.value(eta, rows.y)))
    return loss + float((_penalty(theta.shape[1], l2) * theta**2).sum()) / 2


def _hessian(h: Floats, eta: Floats, rows: _Rows, l2: float) -> Floats:
    """Return the second derivatives (C * p, C * p) of the objective by the output weights (C, p)."""
    outputs, p = rows.y.shape[1], h.shape[1]
    out = np.zeros((outputs, p, outputs, p))
    for c in range(outputs):
        for d in range(c + 1):
            curvature = rows.loss.curvature(eta, c, d)
            if curvature is not None:
                out[c, :, d] = (h.T * (rows.w * curvature / len(h))) @ h
                out[d, :, c] = out[c, :, d]
        out[c, :, c] += np.diag(_penalty(p, l2))
    return out.reshape(outputs * p, outputs * p)


def _fit(h: Floats, rows: _Rows, l2: float, start: Floats) -> Floats:
    """Return the output weights (C, p), intercepts last, that minimise the objective."""
    from scipy.linalg import solve

    theta = start
    eta = h @ theta.T
    value = _objective(eta, theta, rows, l2)
    for _ in range(_NEWTON_STEPS):
        slope = (rows.w[:, None] * (rows.loss.mean(eta) - rows.y)).T @ h / len(h)
        slope += _penalty(h.shape[1], l2) * theta
        step = solve(_hessian(h, eta, rows, l2), slope.ravel(), assume_a="sym").reshape(theta.shape)
        if float((step * slope).sum()) <= _NEWTON_TOLERANCE:
            break
        moved = h @ step.T
        size = 1.0 if rows.loss.is_quadratic else min(1.0, _LARGEST_STEP / max(float(np.abs(moved).max()), 1e-300))
        while size > 1e-10:
            new = _objective(eta - size * moved, theta - size * step, rows, l2)
            if new <= value:
                break
            size /= 2
        else:
            break
        theta, value = theta - size * step, new
        eta = h @ theta.T
    return theta


# ---------------------------------------------------------------- from all units down to one


def _split(n: int, held_out: float, random_state: int) -> tuple[Indices, Indices]:
    """Return rows to fit to and rows held out, at least one of each."""
    order = np.random.default_rng(random_state).permutation(n)
    at = min(max(round(n * held_out), 1), n - 1)
    return np.sort(order[at:]), np.sort(order[:at])


def _path(
    units: _Units, train: _Rows, rest: _Rows, l2: float, n_units: int | None, random_state: int
) -> tuple[UnitPath, Indices, Floats]:
    """Return the path, the units it chooses and their output weights."""
    if len(train.x) > _PATH_ROWS:
        rng = np.random.default_rng(random_state)
        train = train.taken(np.sort(rng.choice(len(train.x), _PATH_ROWS, replace=False)))
    h, unseen = _with_one(units.values(train.x)), _with_one(units.values(rest.x))
    kept = np.arange(len(units.index))
    theta = _fit(h, train, l2, np.zeros((train.y.shape[1], h.shape[1])))
    steps: list[tuple[Indices, Floats, int]] = [(kept, theta, -1)]
    while len(kept) > 1:
        columns = np.append(kept, h.shape[1] - 1)
        gone, theta = _dropped(h[:, columns], theta, train, l2)
        steps.append((np.delete(kept, gone), theta, int(units.index[kept[gone]])))
        kept = np.delete(kept, gone)
    losses, fits = [], []
    for kept, theta, _ in steps:
        columns = np.append(kept, h.shape[1] - 1)
        with np.errstate(over="ignore"):
            losses.append(rest.loss.value(unseen[:, columns] @ theta.T, rest.y))
            fits.append(float(np.mean(train.w * train.loss.value(h[:, columns] @ theta.T, train.y))))
    held = np.array([np.mean(rest.w * loss) for loss in losses])
    best = int(np.argmin(held))
    error = np.array([np.std(rest.w * (loss - losses[best])) / np.sqrt(len(loss)) for loss in losses])
    sizes = np.array([len(kept) for kept, *_ in steps])
    if n_units is None:
        # the difference to the best is known to its error: as few units as that allows
        within = held <= held[best] + error
        at, rule = int(np.flatnonzero(within).max()), "fewest within one standard error of the best"
    else:
        at, rule = int(np.flatnonzero(sizes <= n_units)[0]), "as given"
    path = UnitPath(
        sizes,
        np.array([dropped for *_, dropped in steps]),
        np.array(fits),
        held,
        error,
        int(sizes[at]),
        rule,
        train.loss.measure,
    )
    return path, steps[at][0], steps[at][1]


def _dropped(h: Floats, theta: Floats, rows: _Rows, l2: float) -> tuple[int, Floats]:
    """Return the column whose removal costs least, and the output weights without it."""
    outputs, p = theta.shape
    inverse = np.linalg.pinv(_hessian(h, h @ theta.T, rows, l2), hermitian=True).reshape(outputs, p, outputs, p)
    shifts, costs = [], np.empty(p - 1)
    for k in range(p - 1):
        g = theta[:, k]
        pull = np.linalg.solve(inverse[:, k, :, k], g)
        costs[k] = g @ pull / 2
        shifts.append(np.einsum("cpd,d->cp", inverse[:, :, :, k], pull))
    tried = np.argsort(costs, kind="stable")[: 1 if rows.loss.is_quadratic else _CANDIDATES]
    best: tuple[float, int, Floats] | None = None
    for k in tried:
        rest = np.delete(h, k, axis=1)
        start = np.delete(theta - shifts[k], k, axis=1)
        before = np.delete(theta, k, axis=1)
        # the quadratic model may lead far off; the weights as they were are the other place to start from
        near = min((start, before), key=lambda t: _objective(rest @ t.T, t, rows, l2))
        fitted = _fit(rest, rows, l2, near)
        value = _objective(rest @ fitted.T, fitted, rows, l2)
        if best is None or value < best[0]:
            best = (value, int(k), fitted)
    assert best is not None
    return best[1], best[2]


# ---------------------------------------------------------------- all weights together


@dataclass(frozen=True, eq=False)
class _Model:
    """Hidden units and output weights (C, K + 1), intercepts last."""

    units: _Units
    theta: Floats

    def decision(self, x: Floats) -> Floats:
        """Return decisions (n, n_outputs)."""
        return _with_one(self.units.values(x)) @ self.theta.T

    def network(self, link: Link, features: Features | None, classes: int) -> Network:
        """Return the canonical network; output weights that are equal for all classes of a softmax are taken off."""
        theta = self.theta - self.theta.mean(axis=0) if classes else self.theta
        m, d = self.units.w.shape
        hidden = Layer(self.units.w, self.units.b, Activation.of_kind("relu", m), "local linear models")
        top = Layer(theta[:, :-1], theta[:, -1], Activation.of_kind("identity", len(theta)), "output")
        source = Provenance("flattened local linear models")
        return Network((hidden, top), features or Features.plain(d), link, provenance=source)


def _objective_and_gradient(flat: Floats, shape: tuple[int, int, int], rows: _Rows, l2: float) -> tuple[float, Floats]:
    """Return the penalised loss of all weights laid out one after the other, and its gradient.

    Parameters
    ----------
    flat : hidden weights (K, d), hidden biases (K,), output weights (C, K + 1).
    shape : (K, d, C)
    """
    w, b, theta = _parts(flat, shape)
    z = rows.x @ w.T + b
    h = _with_one(np.maximum(z, 0.0))
    eta = h @ theta.T
    with np.errstate(over="ignore"):
        slope = rows.w[:, None] * (rows.loss.mean(eta) - rows.y) / len(h)
        back = (slope @ theta[:, :-1]) * (z > 0)
        top = slope.T @ h + _penalty(theta.shape[1], l2) * theta
    gradient = np.concatenate([(back.T @ rows.x).ravel(), back.sum(axis=0), top.ravel()])
    return _objective(eta, theta, rows, l2), gradient


def _parts(flat: Floats, shape: tuple[int, int, int]) -> tuple[Floats, Floats, Floats]:
    m, d, outputs = shape
    w, b, theta = np.split(flat, [m * d, m * d + m])
    return w.reshape(m, d), b, theta.reshape(outputs, m + 1)


def _tuned(model: _Model, rows: _Rows, l2: float) -> tuple[_Model, list[float]]:
    """Return the model with all weights moved to a nearby minimum of the loss, and the loss after each step."""
    from scipy.optimize import minimize

    units = model.units
    centre, spread = rows.x.mean(axis=0), rows.x.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    # features of one scale, or the steps follow the one with the largest numbers
    scaled = replace(rows, x=(rows.x - centre) / spread)
    shape = (*units.w.shape, len(model.theta))
    start = np.concatenate([(units.w * spread).ravel(), units.b + units.w @ centre, model.theta.ravel()])
    history = [_objective(model.decision(rows.x), model.theta, rows, l2)]
    best = [start]

    def after_step(intermediate_result: Any) -> None:
        if intermediate_result.fun <= history[-1]:
            history.append(float(intermediate_result.fun))
            best[0] = intermediate_result.x.copy()

    minimize(
        _objective_and_gradient,
        start,
        args=(shape, scaled, l2),
        jac=True,
        method="L-BFGS-B",
        callback=after_step,
        options={"maxiter": _TUNING_STEPS, "maxcor": 20},
    )
    w, b, theta = _parts(best[0], shape)
    w = w / spread
    return _Model(_Units(w, b - w @ centre, units.index), theta), history


def _faithful(ours: Floats, theirs: Floats, link: Link) -> Faithfulness:
    """Return how closely decisions agree; nothing is refused, since a simplification says something else."""
    found = assert_faithful("flattened network", ours, theirs, tolerance=np.inf, against="the decisions given")
    same: Bools | None = None
    if link == "logit":
        same = (ours > 0) == (theirs > 0)
    elif link == "softmax":
        same = ours.argmax(axis=1) == theirs.argmax(axis=1)
    return found if same is None else replace(found, agreement=float(same.mean()))
