"""Grouping of patterns: by all their bits, whatever their hash, their number or their order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relucidate.grouping import PatternIndex, distinct

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
