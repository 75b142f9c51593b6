"""Batches of groups, padded to one number of rows, and the optimum of each group's penalised loss by Newton's method."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relucidate.glm_rows import Loss
from relucidate.layers import Bools, Floats

_TOLERANCE = (
    1e-12  # of the Newton decrement, per unit of weight and of the null model's variance; the step is still taken
)
_MAX_ITERATIONS = 50
_MAX_SWEEPS = 300  # of coordinate descent, per step of Newton's


@dataclass(frozen=True, eq=False)
class Batch:
    """Groups of about one size, padded with rows of weight 0, in coordinates where every direction has unit size.

    Parameters
    ----------
    a : (g, m, q) a column of ones, then the d transformed features. y, offset : (g, m, K); w : (g, m)
    live : (g, K, q) parameters that the rows determine. lam : (g, q) quadratic penalty. l1 : (q,)
    scale : (g,) size of the loss, to judge convergence by.
    """

    loss: Loss
    a: Floats
    y: Floats
    w: Floats
    offset: Floats
    live: Bools
    lam: Floats
    l1: Floats
    scale: Floats

    def take(self, which: Any) -> Batch:
        """Return some of the groups."""
        arrays = ("a", "y", "w", "offset", "live", "lam", "scale")
        return replace(self, **{name: getattr(self, name)[which] for name in arrays})

    def predictor(self, theta: Floats) -> Floats:
        """Return what the parameters (g, K, q) add to the offset (g, m, K)."""
        return np.asarray(self.a @ theta.transpose(0, 2, 1))

    def objective(self, eta: Floats, theta: Floats) -> Floats:
        """Return the penalised loss of each group (g,), infinite where it overflows."""
        rows = np.where(self.w > 0, self.w * self.loss.value(eta, self.y), 0.0).sum(axis=1)
        quadratic = (self.lam[:, None] * theta**2).sum(axis=(1, 2)) / 2
        total = rows + quadratic + (self.l1 * np.abs(theta)).sum(axis=(1, 2))
        return np.where(np.isfinite(total), total, np.inf)

    def derivatives(self, eta: Floats, theta: Floats) -> tuple[Floats, Floats]:
        """Return the smooth part's gradient (g, K, q) and Hessian: (g, q, q), or (g, K q, K q) for a softmax."""
        slope, curvature = self.loss.derivatives(eta, self.y)
        weighted = np.where(self.w[..., None] > 0, self.w[..., None] * slope, 0.0)
        gradient = weighted.transpose(0, 2, 1) @ self.a + self.lam[:, None] * theta
        if self.loss.family == "multinomial":
            hessian = self._softmax_hessian(curvature)
        else:
            hessian = self._weighted_gram(self.w * curvature[..., 0])
            diagonal(hessian)[...] += self.lam
            live = self.live[:, 0]
            _only(hessian, live)
        return np.where(self.live, gradient, 0.0), hessian

    def _weighted_gram(self, w: Floats) -> Floats:
        return np.asarray(self.a.transpose(0, 2, 1) @ (self.a * w[..., None]))

    def _softmax_hessian(self, p: Floats) -> Floats:
        g, _, q = self.a.shape
        K = p.shape[-1]
        H = np.empty((g, K, q, K, q))
        for k in range(K):
            for j in range(k + 1):
                block = self._weighted_gram(self.w * p[..., k] * (float(k == j) - p[..., j]))
                H[:, k, :, j] = H[:, j, :, k] = block
        # The same number added to all classes changes nothing: a projector on these directions, where the gradient is
        # zero, makes the system regular and leaves the step as it is.
        size = np.einsum("gkqkq->gq", H) / K + (self.lam if self.l1.any() else 0)
        shared = self.live[:, :, None] & self.live[:, None, :]
        if not self.l1.any():
            each = np.arange(q)
            H[:, :, each, :, each] += np.moveaxis(shared * (size / K)[:, None, None], 3, 0)
        each = np.arange(K)
        H[:, each, :, each] += self.lam[:, :, None] * np.eye(q)
        flat: Floats = H.reshape(g, K * q, K * q)
        _only(flat, self.live.reshape(g, K * q))
        return flat

    def step(self, gradient: Floats, hessian: Floats, theta: Floats) -> tuple[Floats, Floats]:
        """Return the Newton step (g, K, q) and the decrease it promises to first order (g,)."""
        g, K, q = gradient.shape
        shape = (g, 1, K * q) if self.loss.family == "multinomial" else (g, K, q)
        grad, now = gradient.reshape(shape), theta.reshape(shape)
        if not self.l1.any():
            step = -_solved(hessian, grad)
            return step.reshape(g, K, q), -(grad * step).sum(axis=(1, 2))
        l1 = np.tile(self.l1, shape[2] // q)
        # Newton's next step mends the rest; far from the optimum more digits would be wasted
        step = lasso(hessian, now @ hessian - grad, l1, now, 1e-5 * _TOLERANCE * self.scale, share=1e-8) - now
        gain = -(grad * step).sum(axis=(1, 2)) - (l1 * (np.abs(now + step) - np.abs(now))).sum(axis=(1, 2))
        return step.reshape(g, K, q), gain


# -------------------------------------------------------------------- Newton's steps


def diagonal(matrices: Floats) -> Floats:
    """Return the diagonals of contiguous (g, q, q) as a view (g, q)."""
    g, q, _ = matrices.shape
    return matrices.reshape(g, q * q)[:, :: q + 1]


def _only(hessian: Floats, live: Bools) -> None:
    """Take the parameters that are not live out of the system, in place."""
    if live.all():
        return
    hessian *= live[:, :, None] & live[:, None, :]
    diagonal(hessian)[~live] = 1.0


def _solved(hessian: Floats, right: Floats) -> Floats:
    """Return ``right @ inv(hessian)`` (g, r, q) of symmetric matrices, scaled to a unit diagonal first."""
    size = np.sqrt(np.maximum(diagonal(hessian), 1e-300))
    scaled = hessian / (size[:, :, None] * size[:, None, :])
    # keeps the factors finite where the information has vanished; the next step mends what it costs
    diagonal(scaled)[...] += 1e-13
    sound = np.isfinite(scaled).all(axis=(1, 2))
    if not sound.all():
        scaled[~sound] = np.nan
    solution = np.linalg.solve(scaled, (right / size[:, None]).transpose(0, 2, 1))
    return np.asarray(solution.transpose(0, 2, 1) / size[:, None])


def lasso(H: Floats, b: Floats, l1: Floats, start: Floats, tolerance: Floats, share: float = 0.0) -> Floats:
    """Return the minimum of ``θ H θ / 2 - b θ + l1 |θ|`` (g, r, q) by coordinate descent over all groups at once.

    It stops at changes below the tolerance (g,), or below a share of the first sweep's.
    """
    theta = start.copy()
    rest = b - theta @ H
    curvature = diagonal(H)
    safe = np.where(curvature > 0, curvature, 1.0)
    for sweep in range(_MAX_SWEEPS):
        largest = np.zeros(len(H))
        for j in range(H.shape[1]):
            old = theta[:, :, j]
            pull = rest[:, :, j] + curvature[:, j, None] * old
            new = np.sign(pull) * np.maximum(np.abs(pull) - l1[j], 0) / safe[:, j, None]
            change = np.where(curvature[:, j, None] > 0, new - old, 0.0)
            if change.any():
                theta[:, :, j] = old + change
                rest -= change[:, :, None] * H[:, None, j]
                np.maximum(largest, (change**2).max(axis=1) * curvature[:, j], out=largest)
        if sweep % 10 == 9:
            # where columns are nearly dependent coordinates creep; the right support is found long before the values
            _solve_on_support(H, b, l1, theta)
            rest = b - theta @ H
            continue
        if sweep == 0:
            tolerance = np.maximum(tolerance, share * largest)
        if not (largest > tolerance).any():
            break
    return theta


def _solve_on_support(H: Floats, b: Floats, l1: Floats, theta: Floats) -> None:
    """Move to the minimum among parameters of the same signs and zeros, in place, where it has the same signs."""
    for k in range(theta.shape[1]):
        now = theta[:, k]
        live = (now != 0) | (l1 == 0)
        system = H.copy()
        _only(system, live)
        right = np.where(live, b[:, k] - l1 * np.sign(now), 0.0)
        new = _solved(system, right[:, None])[:, 0]
        same = ((new * now > 0) | ~live | (l1 == 0)).all(axis=1)
        theta[same, k] = new[same]


@dataclass(eq=False)
class Optimum:
    """Where Newton's method stopped: parameters (g, K, q), and per group whether, and after how many steps."""

    theta: Floats
    converged: Bools
    iterations: NDArray[np.int64]


def newton(batch: Batch, start: Floats) -> Optimum:
    """Return the optimum of each group; a group leaves the batch when it has converged."""
    g = len(start)
    best = Optimum(start.copy(), np.zeros(g, dtype=bool), np.zeros(g, dtype=np.int64))
    going, part, theta = np.arange(g), batch, start
    eta = part.offset + part.predictor(theta)
    value = part.objective(eta, theta)
    for iteration in range(1, _MAX_ITERATIONS + 1):
        gradient, hessian = part.derivatives(eta, theta)
        step, gain = part.step(gradient, hessian, theta)
        theta, eta, value, moved = _step_halving(part, theta, eta, value, step, gain)
        small = gain <= _TOLERANCE * part.scale
        best.theta[going], best.iterations[going], best.converged[going] = theta, iteration, small
        on = moved & ~small
        if not on.any():
            break
        if not on.all():
            going, part, theta, eta, value = going[on], part.take(on), theta[on], eta[on], value[on]
    return best


def _step_halving(
    batch: Batch, theta: Floats, eta: Floats, value: Floats, step: Floats, gain: Floats
) -> tuple[Floats, Floats, Floats, Bools]:
    """Return parameters, predictor and objective after the longest halved step that lowers it, and whether one did."""
    along = batch.predictor(step)
    t = np.where(np.isfinite(gain), 1.0, 0.0)
    step, along = np.where(t[:, None, None] > 0, step, 0.0), np.where(t[:, None, None] > 0, along, 0.0)
    gain = np.where(t > 0, gain, 0.0)
    rounding = 1e-14 * (np.abs(value) + batch.scale)
    for _ in range(60):
        new_theta, new_eta = theta + t[:, None, None] * step, eta + t[:, None, None] * along
        new_value = batch.objective(new_eta, new_theta)
        good = (new_value <= value - 1e-4 * t * gain + rounding) | (t == 0)
        if good.all():
            break
        t = np.where(good, t, t / 2)
    else:
        t = np.where(good, t, 0.0)
        new_theta, new_eta = theta + t[:, None, None] * step, eta + t[:, None, None] * along
        new_value = batch.objective(new_eta, new_theta)
    return new_theta, new_eta, new_value, t > 0


def certified(batch: Batch, theta: Floats) -> Bools:
    """Return for which groups (g,) the parameters prove that a finite, unique optimum exists.

    Notes
    -----
    Along a direction h the third derivative of these losses is at most ``max_i |a_i h|`` times the second (for a softmax
    the range of the classes' ``a_i h``). With h of unit size in the Hessian's norm, slope λ (the Newton decrement) and
    D = max_i ‖a_i‖ in the inverse Hessian's, the slope at t is at least ``-λ + (1 - exp(-D t)) / D``, so if λ D < 1 every
    ray turns upwards: the optimum exists, and no direction separates. Source: Bach 2010, Self-concordant analysis for
    logistic regression, proposition 2.
    """
    g, K, q = theta.shape
    with np.errstate(all="ignore"):
        gradient, H = batch.derivatives(batch.offset + batch.predictor(theta), theta)
        softmax = batch.loss.family == "multinomial"
        grad = gradient.reshape(g, -1)
        unit = np.sqrt(diagonal(H))
        scaled = H / (unit[:, :, None] * unit[:, None])
        sound = np.isfinite(scaled).all(axis=(1, 2)) & np.isfinite(grad).all(axis=1)
        scaled[~sound] = np.eye(H.shape[1])
        sound &= np.linalg.eigvalsh(scaled)[:, 0] > 1e-12
        H[~sound] = np.eye(H.shape[1])
        inverse = np.linalg.inv(H)
        decrement = np.sqrt(np.maximum(np.einsum("gi,gij,gj->g", grad, inverse, grad), 0))
        size = np.zeros(g)
        for k in range(K if softmax else 1):
            block = inverse[:, k * q : (k + 1) * q, k * q : (k + 1) * q]
            a = batch.a * batch.live[:, k, None]
            square = np.where(batch.w > 0, ((a @ block) * a).sum(axis=2), 0.0).max(axis=1)
            size = np.maximum(size, np.sqrt(np.maximum(square, 0)))
    return np.asarray(sound & (decrement * size * (2 if softmax else 1) <= 0.5))
