"""Nearest points of polyhedra, against linear programs and a general-purpose minimiser."""

from typing import Any

import numpy as np
import pytest
from scipy.optimize import linprog, minimize

from relucidate.least_distances import Norm, Programs, Reach, norm_of

NORMS: tuple[Norm, ...] = ("1", "2", "inf")


def right_answer(A: Any, b: Any, low: Any, high: Any, norm: Norm) -> float:
    """The length of the shortest t with A t >= b in a box, inf if there is none."""
    d = A.shape[1]
    eye = np.eye(d)
    top = -eye if norm == "1" else -np.ones((d, 1))
    k = top.shape[1]
    solved = linprog(
        np.r_[np.zeros(d), np.ones(k)],
        A_ub=np.vstack([np.hstack([-A, np.zeros((len(A), k))]), np.hstack([eye, top]), np.hstack([-eye, top])]),
        b_ub=np.r_[-b, np.zeros(2 * d)],
        bounds=[*zip(low, high, strict=True), *[(0, None)] * k],
    )
    if solved.status != 0:
        return np.inf
    if norm != "2":
        return float(solved.fun)
    found = minimize(
        lambda t: t @ t,
        solved.x[:d],
        jac=lambda t: 2 * t,
        method="SLSQP",
        bounds=list(zip(low, high, strict=True)),
        constraints={"type": "ineq", "fun": lambda t: A @ t - b, "jac": lambda t: A},
        options={"ftol": 1e-14, "maxiter": 500},
    )
    return float(np.sqrt(found.fun))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("bounded", [False, True])
def test_the_nearest_point_and_its_proof(norm: Norm, bounded: bool) -> None:
    rng = np.random.default_rng(3)
    none = 0
    for _ in range(60):
        d, m = int(rng.integers(1, 6)), int(rng.integers(1, 9))
        A, b = rng.normal(size=(m, d)), rng.normal(size=m) * 0.7
        low, high = (
            (-rng.uniform(0, 2, d), rng.uniform(0, 2, d)) if bounded else (np.full(d, -np.inf), np.full(d, np.inf))
        )
        right = right_answer(A, b, low, high, norm)
        point, bound = Programs(low, high, norm).nearest(A, b, 1e3)
        assert bound <= right * (1 + 1e-9) + 1e-12
        if np.isinf(right):
            none += 1
            assert point is None
            assert bound >= 1e3
            continue
        assert point is not None
        assert (A @ point >= b - 1e-8).all()
        assert ((point >= low) & (point <= high)).all()
        size = float(norm_of(point, norm))
        assert size == pytest.approx(right, rel=1e-6, abs=1e-9)
        assert bound == pytest.approx(size, rel=1e-6, abs=1e-9)
        # what is farther than asked for is not returned, and is proved to be
        if size > 0:
            point, bound = Programs(low, high, norm).nearest(A, b, 0.5 * size)
            assert bound >= 0.5 * size or point is not None
    assert 0 < none < 60


@pytest.mark.parametrize("norm", NORMS)
def test_numbers_whose_squares_are_beyond_float64(norm: Norm) -> None:
    t = np.random.default_rng(0).normal(size=(4, 3))
    right = np.linalg.norm(t, ord={"1": 1, "2": 2, "inf": np.inf}[norm], axis=1)
    sizes = np.array([1e-250, 1e-3, 1e160, 1e250])
    np.testing.assert_allclose(norm_of(sizes[:, None] * t, norm), sizes * right, rtol=1e-14)
    assert norm_of(np.array([0.0, np.inf, 1e200]), norm) == np.inf
    assert norm_of(np.zeros(3), norm) == 0
    bounds = np.full((1, 3), 0.9)
    near, point = Reach(-bounds, bounds, norm).half_space(t[:1], np.array([1.0]))
    for size in sizes:
        far, there = Reach(-bounds, bounds, norm).half_space(size * t[:1], np.array([size]))
        np.testing.assert_allclose(far, near, rtol=1e-12)
        np.testing.assert_allclose(there, point, rtol=1e-12)


@pytest.mark.parametrize("norm", NORMS)
def test_a_rough_answer_is_a_bound(norm: Norm) -> None:
    rng = np.random.default_rng(4)
    for _ in range(30):
        A, b = rng.normal(size=(5, 3)), rng.normal(size=5)
        ends = np.full(3, -np.inf), np.full(3, np.inf)
        point, bound = Programs(*ends, norm).nearest(A, b, 1e3, roughly=True)
        right = right_answer(A, b, *ends, norm)
        if (b <= 0).all():
            assert bound == 0
        else:
            assert point is None
        assert bound <= right * (1 + 1e-9)
        assert bound >= max(
            float((b / np.linalg.norm(A, axis=1, ord={"1": np.inf, "2": 2, "inf": 1}[norm])).max()), 0
        ) * (1 - 1e-9)
