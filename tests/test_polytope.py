"""Polytopes against one linear program per row, corner enumeration, and what must hold whatever the rows are."""

from __future__ import annotations

from itertools import combinations, product
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from relucidate import polytope as module
from relucidate.errors import ArgumentError, UnfaithfulError
from relucidate.polytope import Empty, Facets, Interior, Polytope, Undecided


def irredundant(A: Any, b: Any) -> list[int]:
    """One linear program per row: a row counts if the others let a point beyond it. Of equal rows the first counts."""
    first: list[int] = []
    for i in range(len(A)):
        if not any(np.abs(A[i] - A[j]).max() < 1e-9 and abs(b[i] - b[j]) < 1e-9 * (1 + abs(b[i])) for j in first):
            first.append(i)
    out = []
    for i in first:
        others = [j for j in first if j != i]
        answer = linprog(-A[i], A[[*others, i]], [*b[others], b[i] + 1], bounds=(None, None))
        if -answer.fun > b[i] + 1e-7:
            out.append(i)
    return out


def random_polytope(seed: int, m: int, d: int, whole: bool = False) -> Polytope:
    """Rows around a point away from 0; whole numbers make degenerate corners."""
    rng = np.random.default_rng(seed)
    if whole:
        A = rng.integers(-2, 3, size=(m, d))
        return Polytope.of(A, rng.integers(1, 4, size=m))
    A = rng.normal(size=(m, d))
    return Polytope.of(A, A @ rng.normal(size=d) + rng.exponential(size=m))


def assert_proved(p: Polytope, found: Facets) -> None:
    """Each facet's point is on its row, strictly inside all others by `clearance`; a step across violates this row alone."""
    for i, x, clearance in zip(found.index, found.point, found.clearance, strict=True):
        slack = p.b - p.A @ x
        same = found.same == found.same[i]
        assert abs(slack[i]) < 1e-9 * (1 + abs(x).max())
        assert clearance > 0
        assert np.all(slack[~same] >= clearance * (1 - 1e-6) - 1e-12)
        beyond = p.b - p.A @ (x + min(clearance / 2, 1.0) * p.A[i])
        assert (beyond[same] < 0).all()
        assert (beyond[~same] > 0).all()


CASES = [(m, d) for d in (1, 2, 3, 5, 8) for m in (1, 2, d, d + 1, 3 * d, 40)]


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(("m", "d"), CASES)
def test_facets_are_those_of_one_linear_program_per_row(m: int, d: int, whole: bool) -> None:
    for seed in range(3):
        p = random_polytope(100 * seed + m, m, d, whole)
        found = p.facets()
        assert len(found.doubtful) == 0
        np.testing.assert_array_equal(found.index, irredundant(p.A, p.b))
        assert_proved(p, found)


def test_facets_of_a_large_polytope() -> None:
    p = random_polytope(1, 150, 12)
    np.testing.assert_array_equal(p.facets().index, irredundant(p.A, p.b))
    assert_proved(p, p.facets())


def test_facets_do_not_depend_on_where_one_looks_from() -> None:
    p = random_polytope(7, 60, 6)
    rng = np.random.default_rng(0)
    centre = p.facets()
    for _ in range(5):
        x = p.facets().point[rng.integers(len(centre))]
        start = p.interior().witness + rng.uniform(0.3, 0.95) * (x - p.interior().witness)  # type: ignore[union-attr]
        np.testing.assert_array_equal(p.facets(start).index, centre.index)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    m=st.integers(1, 25),
    d=st.integers(1, 5),
    stretch=st.integers(-20, 20),
)
def test_laws_of_facets(seed: int, m: int, d: int, stretch: int) -> None:
    """Order of the rows, their length, the units of the coordinates and where 0 is change nothing."""
    p = random_polytope(seed, m, d)
    expected = set(p.facets().index.tolist())
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(p))
    units = 2.0 ** rng.integers(-abs(stretch), abs(stretch) + 1, size=d)
    shift = rng.normal(size=d)
    length = 10.0 ** rng.uniform(-3, 3, size=len(p))
    A = (p.A * units)[order] * length[:, None]
    b = (p.b + p.A @ shift)[order] * length
    other = Polytope.of(A, b)
    assert set(order[other.facets().index].tolist()) == expected
    inside = other.interior()
    assert isinstance(inside, Interior)
    assert p.contains(inside.witness[None] * units - shift).all()
    # without its redundant rows it is the same set
    kept = p.facets().index
    small = Polytope.of(p.A[kept], p.b[kept])
    x = rng.normal(size=(200, d)) * 3
    clear = (np.abs(p.slack(x)) > 1e-6).all(axis=1)
    np.testing.assert_array_equal(p.contains(x)[clear], small.contains(x)[clear])


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10**6), F=st.integers(1, 30), d=st.integers(1, 6), whole=st.booleans(), left_out=st.booleans()
)
@example(seed=2041, F=10, d=5, whole=True, left_out=True)  # the solver stops at status 4 (numerical difficulties)
def test_walks_end_where_a_linear_program_does(seed: int, F: int, d: int, whole: bool, left_out: bool) -> None:
    """Also without end, for goals that are sums of few rows, and where many rows meet; one row may be left out for each.

    Each end is proved by duality, whatever a solver says: multipliers of the same value as a point inside, or a direction that
    no row bounds. The solver must agree where it decides (0: optimal, 3: unbounded). At times it does not, status 4, or calls
    programs infeasible, 2, that 0 is a point of.
    """
    rng = np.random.default_rng(seed)
    P = rng.integers(-2, 3, size=(F, d)).astype(float) if whole else rng.normal(size=(F, d))
    P[~P.any(axis=1), 0] = 1.0
    goals = np.concatenate([P, rng.normal(size=(5, d)), P[:1] + P[-1:], 3 * P[:2]])
    goals = goals[goals.any(axis=1)]
    own = rng.integers(F, size=len(goals)) if left_out else None
    # with a tolerance limits are raised, so that no two rows are met at once; goals are far enough from 1 to go on to the end
    walk = module._walked(P, goals, np.full(len(goals), 1e9), own)
    decided = 0
    for k, goal in enumerate(goals):
        rows = np.delete(np.arange(F), own[k]) if own is not None else np.arange(F)
        program = linprog(-goal, P[rows], np.ones(len(rows)), bounds=(None, None)) if len(rows) else None
        status = program.status if program is not None else 3
        decided += status in (0, 3)
        if walk.state[k] == module.ENDLESS:
            assert status != 0
            assert goal @ walk.ray[k] > 0
            assert (P[rows] @ walk.ray[k] <= 1e-9 * np.abs(walk.ray[k]).max()).all()
            continue
        assert walk.state[k] == module.REACHED
        assert status != 3
        met = walk.rows[k] >= 0
        y = walk.multipliers[k][met]
        assert (y >= -1e-9 * (1 + y.sum())).all()
        assert set(walk.rows[k][met]) <= set(rows)
        np.testing.assert_allclose(y @ P[walk.rows[k][met]], goal, atol=1e-8 * (1 + np.abs(y).max()))
        assert (P[rows] @ walk.y[k] <= 1 + 1e-6).all()  # limits are raised by 2e-8 at most
        assert goal @ walk.y[k] == pytest.approx(y.sum(), rel=1e-6, abs=1e-6)
        if program is not None and status == 0:
            assert y.sum() == pytest.approx(-program.fun, rel=1e-6, abs=1e-7)
    assert decided >= 0.8 * len(goals)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(("m", "d"), [(60, 2), (60, 6), (25, 24), (3, 5)])
def test_facets_do_not_depend_on_which_rows_walks_keep_to(
    monkeypatch: pytest.MonkeyPatch, m: int, d: int, whole: bool
) -> None:
    p = random_polytope(m * d, m, d, whole)
    right = irredundant(p.A, p.b)
    for allowed in (-(10**9), 10**9):  # only facets that are known; all rows at once
        monkeypatch.setattr(module, "_WHOLE", allowed)
        found = p.facets(p.interior().witness)  # type: ignore[union-attr]
        assert len(found.doubtful) == 0
        assert found.index.tolist() == right
        assert_proved(p, found)


@pytest.mark.parametrize("size", [1e-100, 1e-12, 1e-9, 1e-6, 1e6, 1e12])
def test_facets_at_every_size(size: float) -> None:
    p = random_polytope(17, 40, 5)
    q = Polytope.of(p.A, p.b * size)
    inside = q.interior()
    assert isinstance(inside, Interior)
    assert inside.radius == pytest.approx(p.interior().radius * size, rel=1e-3)  # type: ignore[union-attr]
    found = q.facets()
    np.testing.assert_array_equal(found.index, p.facets().index)
    assert len(found.doubtful) == 0
    np.testing.assert_allclose(q.bounds(), p.bounds() * size, rtol=1e-6)


def test_multipliers_of_rows_that_are_no_facets_prove_nothing() -> None:
    """Two rows on one hyperplane each prove the other redundant, were that allowed."""
    search = module._Search(Polytope.of([[1, 0], [-1, 0], [0, 1], [0, -1], [1, 1]], [1, 1, 1, 1, 1.5]), np.zeros(2))
    facets, one = np.array([[4, 2]]), np.array([0])
    y = np.linalg.solve(search.Q[[4, 2]].T, search.Q[0])
    search._proved(one, facets, y[None])
    assert not search.redundant.any()
    search._proved(one, one[None], np.ones((1, 1)))
    assert not search.redundant.any()


def test_equal_hyperplanes_count_once() -> None:
    square = np.array([[1, 0], [-1, 0], [0, 1], [0, -1]])
    p = Polytope.of(np.concatenate([square, 3 * square[:2], square[2:3]]), [1, 1, 1, 1, 3, 3, 2])
    found = p.facets()
    assert found.index.tolist() == [0, 1, 2, 3]
    assert found.same.tolist() == [0, 1, 2, 3, 0, 1, -1]


def test_a_row_that_touches_in_a_corner_is_redundant() -> None:
    square = np.array([[1, 0], [-1, 0], [0, 1], [0, -1], [1, 1]])
    assert Polytope.of(square, [1, 1, 1, 1, 2]).facets().index.tolist() == [0, 1, 2, 3]
    assert Polytope.of(square, [1, 1, 1, 1, 2 - 1e-4]).facets().index.tolist() == [0, 1, 2, 3, 4]
    # and so in an edge of a pyramid, where more rows meet than there are dimensions
    pyramid = np.array([[1, 0, 1], [-1, 0, 1], [0, 1, 1], [0, -1, 1], [0, 0, -1], [0, 0, 1], [1, 1, 2]])
    assert Polytope.of(pyramid, [1, 1, 1, 1, 0, 1, 2]).facets().index.tolist() == [0, 1, 2, 3, 4]


def test_features_in_very_different_units() -> None:
    units = np.array([1e6, 1.0, 1e-5])
    p = random_polytope(11, 30, 3)
    q = Polytope.of(p.A / units, p.b)
    np.testing.assert_array_equal(q.facets().index, p.facets().index)
    np.testing.assert_allclose(q.bounds() / units[:, None], p.bounds(), rtol=1e-6)


# ---------------------------------------------------------------- inside or empty


@pytest.mark.parametrize("seed", range(10))
def test_the_witness_is_the_centre_of_a_largest_ball(seed: int) -> None:
    p = random_polytope(seed, 25, 3).within(-5, 5)
    found = p.interior()
    assert isinstance(found, Interior)
    assert p.slack(found.witness).min() == found.radius > 0
    program = linprog([0, 0, 0, -1], np.column_stack([p.A, np.ones(len(p))]), p.b, bounds=[(None, None)] * 4)
    assert found.radius == pytest.approx(-program.fun, rel=1e-7)


@pytest.mark.parametrize("seed", range(20))
def test_an_empty_polytope_has_a_certificate(seed: int) -> None:
    rng = np.random.default_rng(seed)
    A, b = rng.normal(size=(30, 3)), rng.normal(size=30)
    p = Polytope.of(A, b)
    found, program = p.interior(), linprog(np.zeros(3), A, b, bounds=(None, None))
    if program.status == 0:
        assert isinstance(found, Interior)
        return
    assert isinstance(found, Empty)
    y = found.certificate
    assert (y >= 0).all()
    assert y.sum() == pytest.approx(1)
    np.testing.assert_allclose(y @ p.A, 0, atol=1e-9)
    assert y @ p.b < 0
    with pytest.raises(ArgumentError, match=r"This polytope has no facets\. Nothing is strictly inside\."):
        p.facets()


def test_a_polytope_with_a_point_inside_is_not_called_empty() -> None:
    """In units far apart: a rounded proof of emptiness speaks of near points only, and was believed of all."""
    rng = np.random.default_rng(0)
    for _ in range(500):
        A, x = rng.normal(size=(6, 2)), rng.normal(size=2)
        units = 10.0 ** rng.uniform(-6, 8, 2)
        p = Polytope.of(A / units, A @ x + rng.uniform(0.05, 1, 6))
        if p.inside(x * units) is None:  # nearer to a hyperplane than rounding
            continue
        assert isinstance(p.interior(), Interior)
        bounds = p.bounds(x * units)
        assert (bounds[:, 0] < x * units).all()
        assert (bounds[:, 1] > x * units).all()


def test_bounds_from_a_point_that_is_not_inside_are_refused() -> None:
    p = random_polytope(0, 10, 2)
    inside = p.interior()
    assert isinstance(inside, Interior)
    np.testing.assert_allclose(p.bounds(inside.witness + 0.5 * inside.radius), p.bounds(), rtol=1e-9, atol=1e-9)
    with pytest.raises(ArgumentError, match="not strictly inside"):
        p.bounds(inside.witness + 1e6)


def test_a_flat_polytope_has_no_interior() -> None:
    flat = Polytope.of([[1, 2], [-1, -2], [1, 0]], [3, -3, 5])
    found = flat.interior()
    assert isinstance(found, Empty)
    assert found.certificate.tolist() == [0.5, 0.5, 0]
    point = Polytope.of([[1, 0], [-1, 0], [0, 1], [0, -1]], [0, 0, 0, 0])
    assert isinstance(point.interior(), Empty)
    # flat, but no two rows say so: float64 cannot prove what 1/3 only rounds to
    thin = Polytope.of([[1, 1], [-1, 0], [0, -1]], [1 / 3, -1 / 9, -2 / 9])
    assert isinstance(thin.interior(), Undecided)
    with pytest.raises(ArgumentError, match=r"thinner than float64 can tell, or flat\. Take a point"):
        thin.bounds()


def test_rows_of_zeros() -> None:
    p = Polytope.of([[0, 0], [1, 0], [0, 0]], [0, 2, 5])
    assert p.row.tolist() == [1]
    impossible = Polytope.of([[1, 0], [0, 0]], [1, -1e-30])
    found = impossible.interior()
    assert isinstance(found, Empty)
    assert found.certificate.tolist() == [0, 1]
    assert not impossible.contains([[0, 0]]).any()


def test_without_end() -> None:
    space = Polytope.of(np.zeros((0, 2)), [])
    assert space.interior().radius == np.inf  # type: ignore[union-attr]
    assert len(space.facets()) == 0
    assert space.contains([[1e9, 0]]).all()
    np.testing.assert_array_equal(space.bounds(), [[-np.inf, np.inf]] * 2)
    half = Polytope.of([[0, 3]], [6])
    assert half.facets().index.tolist() == [0]
    np.testing.assert_array_equal(half.bounds(), [[-np.inf, np.inf], [-np.inf, 2]])
    slab = Polytope.of([[1, 1], [-1, -1], [2, 2]], [1, 1, 9])
    assert slab.facets().index.tolist() == [0, 1]
    cone = Polytope.of([[-1, 0, 0], [0, -1, 0], [0, 0, -1], [-1, -1, -1]], [0, 0, 0, 1])
    assert cone.facets().index.tolist() == [0, 1, 2]
    np.testing.assert_allclose(cone.bounds(), [[0, np.inf]] * 3, atol=1e-9)
    with pytest.raises(ArgumentError, match="no end in some direction; cut it with `within`"):
        cone.vertices()


def test_hyperplanes_out_of_reach_do_not_matter() -> None:
    """Neurons whose weights were trained away to 1e-134 switch nowhere that a number could be."""
    p = random_polytope(4, 20, 3)
    right = p.facets().index
    rng = np.random.default_rng(0)
    A = np.concatenate([p.A, 1e-134 * rng.normal(size=(5, 3)), rng.normal(size=(5, 3))])
    q = Polytope.of(A, np.concatenate([p.b, np.ones(5), np.full(5, 1e40)]))
    found = q.interior()
    assert isinstance(found, Interior)
    assert np.abs(found.witness).max() < 1e5
    np.testing.assert_array_equal(q.facets().index, right)
    assert len(q.facets().doubtful) == 0
    np.testing.assert_allclose(q.bounds(), p.bounds(), rtol=1e-6)
    # unless the polytope itself is there
    away = Polytope.of([[1.0, 0], [-1, 0], [0, 1], [0, -1]], [1e20, -0.9e20, 1e19, 1e19])
    inside = away.interior()
    assert isinstance(inside, Interior)
    assert away.facets().index.tolist() == [0, 1, 2, 3]


def test_flat_in_several_directions_at_once() -> None:
    p = random_polytope(2, 10, 4).within([0, 1 / 3, -1, -1], [0, 1 / 3, 1, 1])
    found = p.interior()
    assert isinstance(found, Empty)
    np.testing.assert_allclose(found.certificate @ p.A, 0, atol=1e-15)
    assert found.certificate @ p.b <= 1e-15


# ---------------------------------------------------------------- bounds and corners


@pytest.mark.parametrize(("m", "d"), [(4, 2), (30, 3), (5, 4), (60, 8)])
def test_bounds_are_those_of_linear_programs(m: int, d: int) -> None:
    p = random_polytope(m, m, d)
    bounds = p.bounds()
    for j in range(d):
        for side, sign in ((0, 1.0), (1, -1.0)):
            program = linprog(sign * np.eye(d)[j], p.A, p.b, bounds=(None, None))
            expected = sign * program.fun if program.status == 0 else -sign * np.inf
            assert bounds[j, side] == pytest.approx(expected, rel=1e-7, abs=1e-7)


@pytest.mark.parametrize(("m", "d"), [(8, 1), (8, 2), (25, 2), (12, 3), (9, 4)])
def test_corners_are_where_rows_meet(m: int, d: int) -> None:
    p = random_polytope(m + d, m, d).within(-4, 4)
    corners = []
    for rows in combinations(range(len(p)), d):
        if abs(np.linalg.det(p.A[list(rows)])) > 1e-9:
            x = np.linalg.solve(p.A[list(rows)], p.b[list(rows)])
            if p.contains(x, 1e-9).all() and not any(np.abs(x - c).max() < 1e-8 for c in corners):
                corners.append(x)
    found = p.vertices()
    assert len(found) == len(corners)
    distance = np.abs(found[:, None] - np.array(corners)).max(axis=2)
    assert distance.min(axis=0).max() < 1e-8
    assert distance.min(axis=1).max() < 1e-8


def test_corners_where_many_rows_meet() -> None:
    cube = Polytope.of(np.zeros((0, 4)), []).within(0, [1, 2, 3, 4])
    np.testing.assert_allclose(cube.vertices(), list(product([0, 1], [0, 2], [0, 3], [0, 4])), atol=1e-12)
    cross = Polytope.of(list(product([-1, 1], repeat=3)), np.ones(8))  # four rows meet in each corner
    assert len(cross.vertices()) == 6
    assert len(cross.facets()) == 8


def test_box() -> None:
    p = Polytope.of([[1, 1]], [1]).within([0, -np.inf], [np.inf, 5])
    assert p.row.tolist() == [0, -1, -1]
    np.testing.assert_array_equal(p.A[1:], [[-1, 0], [0, 1]])
    assert p.b[1:].tolist() == [0, 5]
    # rows that the box keeps from being reached are never facets
    far = Polytope.of([[1, 1], [1, 2]], [50, 2.5]).within(-1, 1)
    assert far.facets().index.tolist() == [1, 2, 3, 4, 5]


# ---------------------------------------------------------------- nothing is taken on trust


def test_a_lying_solver_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    p = random_polytope(3, 40, 4)
    right = p.facets()
    start = p.interior().witness  # type: ignore[union-attr]
    walked = module._walked

    def lying(P: Any, goals: Any, tolerance: Any = None, own: Any = None) -> Any:
        walk = walked(P, goals, tolerance, own)
        walk.state[:] = module.REACHED
        walk.rows[:] = 0
        walk.multipliers[:] = 1 / len(walk.multipliers[0])
        walk.y[:] = start
        return walk

    monkeypatch.setattr(module, "_walked", lying)
    np.testing.assert_array_equal(p.facets(start).index, right.index)  # the solver decides
    monkeypatch.setattr(module, "_solved", lambda P, goal: (goal * 1e-3, np.full(len(P), 1 / len(P))))
    found = p.facets(start)
    assert set(found.index) <= set(right.index)
    assert len(found.doubtful) > 0
    assert set(found.index) | set(found.doubtful) >= set(right.index)
    with pytest.raises(UnfaithfulError, match="bounds of 8 directions could not be confirmed"):
        module._farthest(p.A, np.concatenate([np.eye(4), -np.eye(4)]))


def test_a_lying_ball_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_largest_ball", lambda A, b: (np.full(2, 50.0), np.ones(len(A))))
    assert isinstance(Polytope.of([[1, 0], [0, 1]], [1, 1]).interior(), Undecided)


def test_solver_alone_finds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    p = random_polytope(5, 30, 3)
    right = p.facets().index
    monkeypatch.setattr(module._Search, "_walks", lambda self: None)
    monkeypatch.setattr(module._Search, "_rays", lambda self: None)
    found = p.facets(p.interior().witness)  # type: ignore[union-attr]
    np.testing.assert_array_equal(found.index, right)
    assert_proved(p, found)


def test_solver_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    module._quiet_solver.cache_clear()
    random_polytope(0, 10, 2).interior()
    assert capfd.readouterr() == ("", "")


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"A has shape \(3, 2\) and b \(2,\)"):
        Polytope.of(np.ones((3, 2)), [1, 2])
    with pytest.raises(ArgumentError, match="NaN or infinity"):
        Polytope.of([[np.nan, 1]], [1])
    p = Polytope.of([[1, 0], [0, 1]], [1, np.inf])
    assert p.row.tolist() == [0]
    with pytest.raises(ArgumentError, match=r"X has shape \(1, 3\); expected \(n, 2\)"):
        p.contains([[1, 2, 3]])
    with pytest.raises(ArgumentError, match="expected lower <= upper"):
        p.within(1, 0)
    with pytest.raises(ArgumentError, match="one for all or 2: one per coordinate"):
        p.within([1, 2, 3], 5)
    with pytest.raises(ArgumentError, match="not strictly inside"):
        p.facets([1, 0])
    with pytest.raises(ArgumentError, match="9 dimensions; its corners are counted in 8 at most"):
        Polytope.of(np.zeros((0, 9)), []).within(0, 1).vertices()
