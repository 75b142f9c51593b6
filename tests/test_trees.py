"""Trees of linear models: their rules route as they read, their gains are brute force's, and nothing gets worse."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relucidate import trees
from relucidate.errors import ArgumentError
from relucidate.trees import Tree


def drawn(seed: int, n: int = 300, d: int = 3, k: int = 1):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    x[:, 0] = np.round(x[:, 0])  # ties
    target = np.abs(x @ rng.normal(size=(d, k))) + 0.1 * rng.normal(size=(n, k))
    return x, target, rng.uniform(0.5, 2, size=n)


def slow_assign(tree: Tree, x):
    """Each row by itself, split by split."""
    out = []
    for row in x:
        leaf = 0
        for s in range(len(tree.leaf)):
            if (
                tree.leaf[s] == leaf
                and sum(a * b for a, b in zip(row, tree.direction[s], strict=True) if b) > tree.threshold[s]
            ):
                leaf = s + 1
        out.append(leaf)
    return np.array(out)


def error(x, target, weight, leaf):
    """Squared error of one linear fit per leaf, by least squares."""
    total = 0.0
    for m in np.unique(leaf):
        mine = leaf == m
        root = np.sqrt(weight[mine])[:, None]
        z = np.column_stack([np.ones(mine.sum()), x[mine]])
        fit = np.linalg.lstsq(z * root, target[mine] * root, rcond=None)[0]
        total += float((((target[mine] - z @ fit) * root) ** 2).sum())
    return total


@pytest.mark.parametrize("k", [1, 2])
def test_first_split_is_that_of_brute_force(k):
    x, target, weight = drawn(3, k=k)
    tree = trees.grow(x, target, weight, max_leaves=2, min_rows=20)
    best = np.inf
    for j in range(3):
        for t in trees.cut_points(x[:, j], trees.BINS):
            leaf = (x[:, j] > t).astype(int)
            if 20 <= leaf.sum() <= len(x) - 20:
                best = min(best, error(x, target, weight, leaf))
    found = error(x, target, weight, tree.assign(x))
    # the search has a ridge of a tenth of a row
    assert found <= best * 1.001
    gain = error(x, target, weight, np.zeros(len(x), int)) - found
    assert tree.gain[0] == pytest.approx(gain, rel=1e-2)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_rows_go_where_the_rules_say(seed, oblique):
    x, target, weight = drawn(seed)
    directions = np.random.default_rng(seed).normal(size=(4, 3)) if oblique else None
    tree = trees.grow(x, target, weight, max_leaves=7, min_rows=10, directions=directions)
    leaf = tree.assign(x)
    assert np.array_equal(leaf, slow_assign(tree, x))
    for m in range(tree.n_leaves):
        inside = np.ones(len(x), dtype=bool)
        for direction, low, high in trees.ranges(tree, m):
            value = trees._projected(x, direction)
            inside &= (value > low) & (value <= high)
        assert np.array_equal(inside, leaf == m)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_a_prefix_of_splits_is_a_tree_and_errors_fall(seed):
    x, target, weight = drawn(seed)
    tree = trees.grow(x, target, weight, max_leaves=6, min_rows=15)
    errors = [error(x, target, weight, tree.pruned(k).assign(x)) for k in range(1, tree.n_leaves + 1)]
    assert all(b <= a * 1.001 for a, b in pairwise(errors))
    assert np.bincount(tree.assign(x)).min() >= 15


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_choosing_splits_anew_never_raises_the_error(seed):
    x, target, weight = drawn(seed)
    tree = trees.grow(x, target, weight, max_leaves=6, min_rows=15)
    better = trees.improved(tree, x, target, weight, min_rows=15)
    assert better.n_leaves == tree.n_leaves
    before, after = (error(x, target, weight, t.assign(x)) for t in (tree, better))
    # fits have a ridge of a tenth of a row while splits are compared
    assert after <= before * 1.001


def test_leaves_with_one_linear_function_share_a_model():
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, size=(2000, 2))
    # three strips, the outer two with the same linear function
    target = np.where(np.abs(x[:, 0]) < 0.4, 3 * x[:, 1], 1 - x[:, 1])[:, None]
    tree = trees.improved(trees.grow(x, target, max_leaves=6), x, target)
    model = trees.shared(tree, x, target, n_models=2)
    small, of_leaf = trees.collapsed(tree, model)
    assert small.n_leaves <= 4
    assert set(of_leaf) == {0, 1}
    assert np.array_equal(of_leaf[small.assign(x)], model[tree.assign(x)])
    # thresholds lie at quantiles and leaves keep 30 rows, so that some rows beside the true borders are on the wrong side
    one, found = (error(x, target, np.ones(2000), leaf) for leaf in (np.zeros(2000, int), of_leaf[small.assign(x)]))
    assert found < 0.05 * one


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_collapsing_moves_no_row_to_another_model(seed):
    x, target, weight = drawn(seed)
    tree = trees.grow(x, target, weight, max_leaves=8, min_rows=10)
    model = np.random.default_rng(seed).integers(0, 3, size=tree.n_leaves)
    small, of_leaf = trees.collapsed(tree, model)
    assert np.array_equal(of_leaf[small.assign(x)], model[tree.assign(x)])


@settings(max_examples=200, deadline=None)
@given(st.floats(-1e6, 1e6), st.floats(1e-9, 1e6))
def test_thresholds_lie_between_and_are_short(low, gap):
    high = low + gap
    value = trees.short_between(low, high)
    assert low <= value < high or value == low


def test_few_rows_or_no_variation_make_no_split():
    x, target, _ = drawn(0, n=50)
    assert trees.grow(x, target, max_leaves=4, min_rows=30).n_leaves == 1
    assert trees.grow(np.ones((200, 2)), np.ones((200, 1)), max_leaves=4).n_leaves == 1


def test_a_size_that_was_not_grown():
    x, target, weight = drawn(1)
    tree = trees.grow(x, target, weight, max_leaves=3)
    with pytest.raises(ArgumentError, match="n_leaves is 9; this tree has from 1 to 3"):
        tree.pruned(9)
