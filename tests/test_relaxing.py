"""Bounds of parts of the input space: against points tried at random, on every network."""

from typing import Any

import numpy as np
import pytest

from relucidate.layers import Floats
from relucidate.least_distances import Norm, Reach
from relucidate.nearest_points import Geometry, Target
from relucidate.network import Network
from relucidate.relaxing import Parts, Relaxation
from small_networks import SPECIMENS, random_network, rows_for

HIDDEN = [name for name, net in SPECIMENS.items() if net.n_bits]
NORMS: tuple[Norm, ...] = ("1", "2", "inf")


def length(t: Any, norm: Norm) -> Any:
    return np.linalg.norm(t, ord={"1": 1, "2": 2, "inf": np.inf}[norm], axis=-1)


def relaxed(net: Network, x: Floats, norm: Norm, bounded: bool, level: float = 0.0) -> tuple[Relaxation, int]:
    target = Target.of(net, level, None)
    side = int(target.sides(net.decision(x[None]))[0][0])
    wide = np.full((1, len(x)), 0.4 if bounded else np.inf)
    geometry = Geometry(net, x, np.ones(len(x)))
    return geometry.relaxation(Reach(-wide, wide, norm), target, side, 0.0), side


def tried(net: Network, x: Floats, norm: Norm, radius: float, bounded: bool, n: int) -> tuple[Floats, Floats, Any]:
    """Moves within the ball and reach, the preactivations there, and the decisions."""
    rng = np.random.default_rng(0)
    t = rng.normal(size=(n, len(x)))
    t *= (radius * rng.random(n) ** (1 / len(x)) / length(t, norm))[:, None]
    t = np.clip(t, -0.4, 0.4) if bounded else t
    value, z = x + t, []
    for layer in net.hidden:
        z.append(np.asarray((layer.weight @ value.T).T) + layer.bias)
        value = layer.activation(z[-1])
    return t, np.concatenate(z, axis=1), net.decision(x + t)


def cut(relaxation: Relaxation, parts: Parts, radius: float, times: int) -> Parts:
    """Cut every part that can be cut, a few times."""
    for _ in range(times):
        parts = parts.taken(np.flatnonzero((parts.least < radius) & parts.gain.any(axis=1))[:8])
        if len(parts) == 0:
            break
        parts = relaxation.bounded(parts.split(parts.gain.argmax(axis=1)), radius)
    return parts


@pytest.mark.parametrize("bounded", [False, True])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", HIDDEN)
def test_no_point_tried_is_outside_of_what_is_proved(name: str, norm: Norm, bounded: bool) -> None:
    net = SPECIMENS[name]
    x, radius = rows_for(net, 4, seed=2)[3], 1.5
    t, z, decision = tried(net, x, norm, radius, bounded, 4000)
    level = 0.0 if net.link == "softmax" else float(decision[:, 0].min() + np.ptp(decision[:, 0]) / 2)
    relaxation, side = relaxed(net, x, norm, bounded, level)
    where = z[:, relaxation.neuron] - relaxation.at
    target = Target.of(net, level, None)
    hits = 0
    whole = relaxation.whole(radius)
    for parts in (whole, cut(relaxation, whole, radius, 1), cut(relaxation, whole, radius, 3)):
        for i in range(len(parts)):
            part = parts.taken([i])
            inside = ((part.side[0] * where) >= 0).all(axis=1)
            # of the whole all bounds hold; once cut for a line they hold where that line is crossed
            lines, rest = target.lines(np.eye(net.n_outputs), np.zeros(net.n_outputs), side)
            k = int(part.rival[0])
            hit = inside & (decision @ lines[k] > rest[k] + 1e-9)
            size = 1e-9 * (1 + np.abs(z[hit]).max(axis=0, initial=0.0))
            assert np.isinf(part.least[0]) <= (not hit.any())
            hits += int(hit.sum())
            if not hit.any():
                continue
            assert (z[hit] >= part.low[0] - size).all()
            assert (z[hit] <= part.high[0] + size).all()
            assert length(t[hit], norm).min() >= part.least[0] * (1 - 1e-12)
            assert (t[hit] @ part.normal[0] >= part.offset[0] - 1e-9 * (1 + abs(part.offset[0]))).all()
            normals, offsets = relaxation.walls(part)
            assert (t[hit] @ normals.T >= offsets - 1e-9 * (1 + np.abs(offsets))).all()
    assert hits > 0 or np.ptp(decision) < 1e-9


@pytest.mark.parametrize("norm", NORMS)
def test_cutting_comes_nearer_to_the_truth(norm: Norm) -> None:
    x = np.random.default_rng(1).normal(size=3)
    for seed in range(20):
        net = random_network((3, 8, 6, 1), seed=seed, link="logit")
        relaxation, side = relaxed(net, x, norm, bounded=False)
        t, _, decision = tried(net, x, norm, 2.0, False, 100_000)
        hit = (decision[:, 0] > 0) != bool(side)
        if hit.sum() > 1000:
            break
    right = length(t[hit], norm).min()
    radius = 1.05 * right
    parts = relaxation.whole(radius)
    bounds, done = [float(parts.least.min())], np.inf
    for _ in range(8):
        open_ = np.flatnonzero((parts.least < radius) & parts.gain.any(axis=1))
        done = min(done, parts.least[~parts.gain.any(axis=1)].min(initial=np.inf))
        if len(open_) == 0:
            break
        before = parts.taken(open_)
        parts = relaxation.bounded(before.split(before.gain.argmax(axis=1)), radius)
        assert (parts.least >= np.tile(before.least, 2)).all()
        bounds.append(min(float(parts.least.min()), float(done)))
    assert bounds[0] > 0.3 * right
    assert bounds[-1] > 0.8 * right
    assert max(bounds) <= right * (1 + 1e-9)


def test_a_linear_network_is_bounded_exactly() -> None:
    """With every neuron on throughout the ball, the half-space is the decision's own."""
    net = random_network((4, 5, 1), seed=1, link="logit")
    layer = net.layers[0]
    x = np.zeros(4)
    up = type(layer)(layer.weight, np.full(5, 50.0), layer.activation)
    coef = np.asarray(net.layers[1].weight) @ np.asarray(layer.weight)
    last = type(layer)(
        net.layers[1].weight, -np.asarray(net.layers[1].weight) @ np.full(5, 50.0) - 1, net.layers[1].activation
    )
    net = Network((up, last), net.features, "logit")
    for norm, dual in (("1", np.inf), ("2", 2), ("inf", 1)):
        relaxation, _ = relaxed(net, x, norm, bounded=False)
        parts = relaxation.whole(4.0)
        assert parts.least[0] == pytest.approx(min(1 / np.linalg.norm(coef[0], ord=dual), np.inf), rel=1e-9)
        assert not parts.gain.any()
