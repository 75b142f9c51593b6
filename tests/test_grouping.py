"""Grouping of patterns: by all their bits, whatever their hash, their number or their order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relucidate import grouping
from relucidate.grouping import PatternIndex, distinct, nearest

ROWS = st.integers(1, 20).flatmap(
    lambda width: st.tuples(
        st.just(width), st.lists(st.lists(st.binary(min_size=width, max_size=width), max_size=12), max_size=8)
    )
)


def as_array(rows, width):
    return np.array([list(row) for row in rows], dtype=np.uint8).reshape(len(rows), width)


@settings(max_examples=100, deadline=None)
@given(ROWS)
def test_an_index_is_a_dictionary(case):
    width, calls = case
    index, known = PatternIndex(width), {}
    for rows in calls:
        packed = as_array(rows, width)
        assert index.find(packed).tolist() == [known.get(row, -1) for row in rows]
        numbers = index.add(packed).tolist()
        for row, number in zip(rows, numbers, strict=True):
            assert known.setdefault(row, number) == number
        assert sorted(known.values()) == list(range(len(index)))
    for row, number in known.items():
        assert index.packed[number].tobytes() == row


@settings(max_examples=100, deadline=None)
@given(ROWS)
def test_distinct_keeps_the_order_of_first_appearance(case):
    width, calls = case
    rows = [row for call in calls for row in call]
    packed, codes = distinct(as_array(rows, width))
    order = list(dict.fromkeys(rows))
    assert [p.tobytes() for p in packed] == order
    assert codes.tolist() == [order.index(row) for row in rows]


@pytest.mark.parametrize("n", [0, 1, 5])
def test_networks_without_neurons_have_one_pattern(n):
    packed, codes = distinct(np.zeros((n, 0), dtype=np.uint8))
    assert packed.shape == (min(n, 1), 0)
    assert codes.tolist() == [0] * n
    index = PatternIndex(0)
    assert index.find(np.zeros((n, 0), dtype=np.uint8)).tolist() == [-1] * n
    assert index.add(np.zeros((n, 0), dtype=np.uint8)).tolist() == [0] * n
    assert len(index) == min(n, 1)


def test_patterns_that_share_every_slot_stay_apart():
    index = PatternIndex(16)
    index._slots = lambda words: np.zeros(len(words), dtype=np.int64)
    packed = np.zeros((300, 2), dtype=np.uint64)
    packed[:, 1] = np.arange(300)
    packed = packed.view(np.uint8)
    numbers = index.add(np.repeat(packed, 2, axis=0))
    assert len(index) == 300
    assert np.array_equal(numbers[::2], numbers[1::2])
    assert np.array_equal(index.find(packed), numbers[::2])


def test_hundreds_of_thousands_of_patterns_are_found_again():
    rng = np.random.default_rng(0)
    packed = rng.integers(0, 256, size=(300_000, 38), dtype=np.uint8)
    index = PatternIndex(38)
    numbers = np.concatenate([index.add(packed[i : i + 65_536]) for i in range(0, 300_000, 65_536)])
    assert sorted(numbers.tolist()) == list(range(300_000))
    assert np.array_equal(index.find(packed), numbers)
    assert np.array_equal(index.packed[numbers], packed)
    flipped = packed ^ np.uint8(1)
    assert (index.find(flipped) == -1).all()


# ---------------------------------------------------------------- the nearest


@pytest.mark.parametrize("n_bits", [1, 7, 64, 65, 200])
def test_the_nearest_pattern_is_that_of_brute_force(n_bits, monkeypatch):
    rng = np.random.default_rng(n_bits)
    known, asked = rng.random((90, n_bits)) < 0.5, rng.random((1100, n_bits)) < 0.5
    asked[:10] = known[20:30]
    skip = rng.integers(-1, 90, len(asked))
    skip[:5], skip[5:10] = np.arange(20, 25), -1
    bits = (known[None] != asked[:, None]).sum(axis=2)
    barred = bits.copy()
    barred[skip >= 0, skip[skip >= 0]] = n_bits + 1
    a, b = np.packbits(known, axis=1), np.packbits(asked, axis=1)
    for cells in (grouping._CELLS, 300):
        monkeypatch.setattr(grouping, "_CELLS", cells)
        for got, expected in ((nearest(a, b), bits), (nearest(a, b, skip), barred)):
            np.testing.assert_array_equal(got[0], expected.argmin(axis=1))
            np.testing.assert_array_equal(got[1], expected.min(axis=1))


def near_each_other(n_bits: int, n: int, seed: int):
    """Return bits (n, n_bits) that differ from one of five patterns here and there, and never at all in the first ones."""
    rng = np.random.default_rng(seed)
    middle = np.random.default_rng(n_bits).random((5, n_bits)) < 0.5
    moved = rng.random((n, n_bits)) < rng.choice([0.004, 0.02, 0.15], (n, 1))
    moved[:, : n_bits // 8] = False
    return middle[rng.integers(0, 5, n)] ^ moved


@pytest.mark.parametrize("n_bits", [1, 9, 64, 160, 300])
@pytest.mark.parametrize("worth", [1, 8, 10**6])  # ever more queries are compared with all patterns
def test_patterns_found_by_their_parts_are_the_nearest_of_all(n_bits, worth, monkeypatch):
    known, asked = near_each_other(n_bits, 400, 0), near_each_other(n_bits, 300, 1)
    asked[:20] = known[100:120]
    asked[20:30] ^= True  # far from everything
    differing = (known[None] != asked[:, None]).sum(axis=2)
    skip = np.full(len(asked), -1)
    skip[:20] = np.arange(100, 120)
    skip[30:200] = differing[30:200].argmin(axis=1)
    barred = differing.copy()
    barred[skip >= 0, skip[skip >= 0]] = n_bits + 1
    a, b = np.packbits(known, axis=1), np.packbits(asked, axis=1)
    looked_up = []
    look_up = grouping._look_up

    def counted(*args):
        cheap = look_up(*args)
        looked_up.append(int(cheap.sum()))
        return cheap

    monkeypatch.setattr(grouping, "_look_up", counted)
    monkeypatch.setattr(grouping, "_FEW_PATTERNS", 1)
    monkeypatch.setattr(grouping, "_FEW_QUERIES", 0)
    monkeypatch.setattr(grouping, "_WORTH", worth)
    for cells in (grouping._CELLS, 50):
        monkeypatch.setattr(grouping, "_CELLS", cells)
        for got, expected in ((nearest(a, b), differing), (nearest(a, b, skip), barred)):
            np.testing.assert_array_equal(got[0], expected.argmin(axis=1))
            np.testing.assert_array_equal(got[1], expected.min(axis=1))
    assert len(looked_up) == 4 * len(grouping._PARTS)
    if n_bits >= 64 and worth == 8:
        assert looked_up[0] > looked_up[-1]


def test_patterns_far_from_all_are_not_looked_up(monkeypatch):
    rng = np.random.default_rng(0)
    known, asked = (rng.random((n, 300)) < 0.5 for n in (3000, 200))
    monkeypatch.setattr(grouping, "_look_up", None)
    got = nearest(np.packbits(known, axis=1), np.packbits(asked, axis=1))
    for i in range(0, 200, 20):
        differing = (known != asked[i]).sum(axis=1)
        assert (got[0][i], got[1][i]) == (differing.argmin(), differing.min())


def test_many_patterns_are_compared_by_parts_and_few_with_all():
    known, asked = near_each_other(96, 3000, 0), near_each_other(96, 400, 1)
    got = nearest(np.packbits(known, axis=1), np.packbits(asked, axis=1))
    for i in range(0, 400, 10):
        differing = (known != asked[i]).sum(axis=1)
        assert (got[0][i], got[1][i]) == (differing.argmin(), differing.min())


def test_the_only_pattern_cannot_be_skipped_and_wide_ones_are_counted_in_full():
    one = np.packbits(near_each_other(40, 1, 0), axis=1)
    assert [v.tolist() for v in nearest(one, one, np.array([0]))] == [[0], [0]]
    wide = np.zeros((2, 9000), dtype=np.uint8)
    wide[1, :8200] = 255
    for last in (0, 255):
        wide[0, -1] = last
        index, distance = nearest(wide, wide[::-1].copy(), np.array([1, 0]))
        assert index.tolist() == [0, 1]
        assert distance.tolist() == [65_600 + last // 255 * 8] * 2
