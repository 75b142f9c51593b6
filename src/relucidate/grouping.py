"""Exact grouping of bit-packed activation patterns."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from relucidate.products import in_threads

Codes = NDArray[np.int32]


def distinct(packed: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], Codes]:
    """Return the distinct rows of (n, n_bytes) in order of first appearance, and the index of each row's own (n,)."""
    import pyarrow as pa

    n, width = packed.shape
    if width == 0:
        return packed[:1], np.zeros(n, dtype=np.int32)
    packed = np.ascontiguousarray(packed)
    encoded = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(width), n, [None, pa.py_buffer(packed)]
    ).dictionary_encode()
    kept = encoded.dictionary
    first = kept.offset * width
    rows = np.frombuffer(kept.buffers()[1], dtype=np.uint8)[first : first + len(kept) * width]
    return rows.reshape(-1, width), encoded.indices.to_numpy()


class PatternIndex:
    """A growing set of packed patterns, each numbered when it arrives; those of one call in any order.

    A hash table with open addressing over whole arrays of patterns. Equality is decided on all bits, never on a hash.
    """

    def __init__(self, n_bytes: int) -> None:
        self.n_bytes = n_bytes
        self._width = max(1, -(-n_bytes // 8))
        self._keys = np.empty((1024, self._width), dtype=np.uint64)
        self._table = np.full(4096, -1, dtype=np.int32)
        self._n = 0

    def __len__(self) -> int:
        return self._n

    @property
    def packed(self) -> NDArray[np.uint8]:
        """The patterns (len, n_bytes), by number."""
        return self._keys[: self._n].view(np.uint8)[:, : self.n_bytes]

    def _words(self, packed: NDArray[np.uint8]) -> NDArray[np.uint64]:
        words = np.zeros((len(packed), self._width * 8), dtype=np.uint8)
        words[:, : self.n_bytes] = packed
        return words.view(np.uint64)

    def _slots(self, words: NDArray[np.uint64]) -> NDArray[np.int64]:
        h = words[:, 0] * np.uint64(0x9E3779B97F4A7C15)
        for j in range(1, self._width):
            h ^= h >> np.uint64(29)
            h += words[:, j]
            h *= np.uint64(0xBF58476D1CE4E5B9)
        h ^= h >> np.uint64(32)
        return (h & np.uint64(len(self._table) - 1)).astype(np.int64)

    def find(self, packed: NDArray[np.uint8]) -> Codes:
        """Return the number of each pattern (n, n_bytes), -1 where it is not in the set."""
        return self._probe(self._words(packed), insert=False)

    def add(self, packed: NDArray[np.uint8]) -> Codes:
        """Return the number of each pattern (n, n_bytes), giving new ones the next numbers."""
        words = self._words(packed)
        self._make_room(len(words))
        return self._probe(words, insert=True)

    def _make_room(self, n: int) -> None:
        if self._n + n > len(self._keys):
            bigger = np.empty((max(2 * len(self._keys), self._n + n), self._width), dtype=np.uint64)
            bigger[: self._n] = self._keys[: self._n]
            self._keys = bigger
        size = len(self._table)
        while 2 * (self._n + n) > size:
            size *= 2
        if size > len(self._table):
            self._table = np.full(size, -1, dtype=np.int32)
            self._refill()

    def _refill(self) -> None:
        pending = np.arange(self._n, dtype=np.int32)
        slot = self._slots(self._keys[: self._n])
        while len(pending):
            free = self._table[slot] < 0
            self._table[slot[free]] = pending[free]
            lost = self._table[slot] != pending
            pending, slot = pending[lost], (slot[lost] + 1) & (len(self._table) - 1)

    def _probe(self, words: NDArray[np.uint64], *, insert: bool) -> Codes:
        out = np.full(len(words), -1, dtype=np.int32)
        pending, slot = np.arange(len(words)), self._slots(words)
        while len(pending):
            held = self._table[slot]
            empty = held < 0
            if insert and empty.any():
                self._claim(slot[empty], words[empty])
                held = self._table[slot]
            elif empty.any():
                keep = ~empty
                pending, slot, words, held = pending[keep], slot[keep], words[keep], held[keep]
            same = (self._keys[held] == words).all(axis=1)
            out[pending[same]] = held[same]
            other = ~same
            pending, slot, words = pending[other], (slot[other] + 1) & (len(self._table) - 1), words[other]
        return out

    def _claim(self, slot: NDArray[np.int64], words: NDArray[np.uint64]) -> None:
        """Give each empty slot to one of the patterns that want it; the others meet it there and go on."""
        ticket = np.arange(len(slot), dtype=np.int32)
        self._table[slot] = ticket
        won = self._table[slot] == ticket
        new = np.arange(self._n, self._n + np.count_nonzero(won), dtype=np.int32)
        self._table[slot[won]] = new
        self._keys[new] = words[won]
        self._n += len(new)


_CELLS = 2**17  # of a table of distances, held at once by a thread
_QUERIES = 512  # that a thread takes at a time


def nearest(
    packed: NDArray[np.uint8], query: NDArray[np.uint8], skip: NDArray[np.intp] | None = None
) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Return for each pattern the one that differs from it in the fewest bits, ties to the first, and in how many.

    Parameters
    ----------
    packed : (R, n_bytes) bit-packed patterns to choose from, at least one. query : (n, n_bytes) others.
    skip : (n,) one of the R that a query may not choose, -1 for none. With a single pattern there is none to skip.

    Notes
    -----
    Exclusive or and a count of bits, by words of 64 of them: exact, O(n R bits / 64). Give each query once.
    """
    ours, theirs = _by_word(packed), _by_word(query)
    R, n = len(packed), len(query)
    index, distance = np.zeros(n, dtype=np.intp), np.zeros(n, dtype=np.int64)
    step = max(1, _CELLS // max(R, 1))

    def find(first: int) -> None:
        last = min(first + _QUERIES, n)
        words = np.empty((min(step, last - first), R), dtype=np.uint64)
        for start in range(first, last, step):
            rows = slice(start, min(start + step, last))
            m = rows.stop - rows.start
            differing = np.zeros((m, R), dtype=np.int32)
            for a, b in zip(ours, theirs, strict=True):
                np.bitwise_xor(b[rows, None], a, out=words[:m])
                differing += np.bitwise_count(words[:m])
            if skip is not None:
                barred = np.flatnonzero(skip[rows] >= 0)
                differing[barred, skip[rows][barred]] = np.iinfo(np.int32).max
            index[rows] = differing.argmin(axis=1)
            distance[rows] = differing[np.arange(m), index[rows]]

    in_threads(find, range(0, n, _QUERIES))
    return index, distance


def nearest_patterns(packed: NDArray[np.uint8], query: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Return for each pattern the region whose pattern differs from it in the fewest bits (n,), ties to the first.

    Parameters
    ----------
    packed : (R, n_bytes) bit-packed patterns of the regions. query : (n, n_bytes) those of other rows.

    Notes
    -----
    Where a row's own region has no rows, the region of the nearest pattern says more about it than the region of the
    nearest mean row, as the network has learnt which features matter. See `nearest`.
    """
    return nearest(packed, query)[0]


def _by_word(packed: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return patterns (n, n_bytes) as words of 64 bits (n_words, n), those of one word next to each other."""
    bytes_ = np.zeros((len(packed), -(-packed.shape[1] // 8) * 8), dtype=np.uint8)
    bytes_[:, : packed.shape[1]] = packed
    return np.ascontiguousarray(bytes_.view(np.uint64).T)
