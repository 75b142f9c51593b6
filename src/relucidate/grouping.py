"""Exact grouping of bit-packed activation patterns."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

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
        return _words(packed)

    def _slots(self, words: NDArray[np.uint64]) -> NDArray[np.int64]:
        h = _mixed(words)
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
_FEW_PATTERNS = 2048  # are all looked at
_TRIED = 32  # queries compared with all patterns, to learn whether looking up is worth while
_FEW_QUERIES = 32  # per part: are compared with all patterns in the time that it takes to sort these
_PARTS = (2, 3, 4, 6, 8, 12, 16)  # that bits are dealt to, one try after the other
_WORTH = 8  # how many patterns are looked at in a row in the time of one that is looked up
_FAR = np.iinfo(np.int64).max

Words = NDArray[np.uint64]


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
    Exact. Of m parts of the bits, a pattern that differs in less than m bits has at least one part in common with the query:
    so those that share a part are looked up and compared, for m = 2, 3, …, until one is found that differs in less than m.
    Where too many share one, or a few queries that are tried first are far from all, they are compared with all R. Patterns
    of other rows of the same data mostly differ in few bits; at worst it is O(n R bits / 64). Memory: O(R + n), and a table
    of bounded size per thread. Give each query once. Source: Norouzi, Punjani, Fleet 2012, multi-index hashing.
    """
    ours, theirs = _words(packed), _words(query)
    n = len(theirs)
    barred = np.full(n, -1, dtype=np.int64) if skip is None or len(ours) == 1 else skip.astype(np.int64)
    best = np.full(n, _FAR)  # distance, then number in the lower half: the least is the nearest, ties to the first
    left, costly = np.arange(n), []
    if n and len(ours) > _FEW_PATTERNS:
        tried = left[:: -(-n // _TRIED)]
        _look_at_all(ours, theirs, barred, best, tried)
        near = np.median(best[tried] >> 32) < _PARTS[-1]
        for m in _PARTS if near else ():
            if len(left) < _FEW_QUERIES * m:
                break
            cheap = _look_up(ours, theirs, barred, best, left, m)
            costly.append(left[~cheap])
            left = left[cheap & (best[left] >> 32 >= m)]
    _look_at_all(ours, theirs, barred, best, np.concatenate([left, *costly]))
    return (best & (2**32 - 1)).astype(np.intp), best >> 32


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


def _look_up(ours: Words, theirs: Words, barred: Any, best: Any, left: NDArray[np.intp], m: int) -> NDArray[np.bool_]:
    """Improve `best` of some queries by the patterns that share one of m parts; return which had few enough of these."""
    spent = np.zeros(len(left), dtype=np.int64)
    limit = len(ours) // _WORTH
    for mask in _parts(ours, m):
        key, asked = _mixed(ours & mask), _mixed(theirs[left] & mask)
        order, by_key = np.argsort(key, kind="stable"), np.argsort(asked)  # alike queries together: kind to the cache
        key, asked = key[order], asked[by_key]
        low, high = (np.searchsorted(key, asked, side) for side in ("left", "right"))
        spent[by_key] += high - low
        here = (high > low) & (spent[by_key] <= limit)
        _compare(ours[order], order, theirs, barred, best, left[by_key[here]], low[here], high[here])
    return spent <= limit


def _parts(ours: Words, m: int) -> list[Words]:
    """Return m masks (n_words,) that share out the bits in which the patterns differ among each other."""
    differing = np.bitwise_or.reduce(ours) ^ np.bitwise_and.reduce(ours)
    at = np.flatnonzero(np.unpackbits(differing.view(np.uint8)))
    masks = np.zeros((m, 64 * len(differing)), dtype=np.uint8)
    masks[np.arange(len(at)) % m, at] = 1  # dealt like cards: neurons of one layer know much of each other
    return list(np.packbits(masks, axis=1).view(np.uint64))


def _compare(
    ours: Words,
    number: NDArray[np.intp],
    theirs: Words,
    barred: Any,
    best: Any,
    query: NDArray[np.intp],
    low: NDArray[np.intp],
    high: NDArray[np.intp],
) -> None:
    """Improve `best` of queries, no two the same, by patterns ``ours[low:high]`` of each; `number` says which these are."""
    columns = np.ascontiguousarray(ours.T)
    length = high - low
    end = np.cumsum(length)
    cuts = np.searchsorted(end, np.arange(0, end[-1] if len(end) else 0, _CELLS))
    parts = list(pairwise(np.unique(np.append(cuts, len(query))).tolist()))

    def look(part: tuple[int, int]) -> None:
        at, n = query[slice(*part)], length[slice(*part)]
        start = np.cumsum(n) - n
        place = np.arange(n.sum()) + np.repeat(low[slice(*part)] - start, n)
        differing = np.zeros(len(place), dtype=np.int64)
        for a, b in zip(columns, theirs[at].T, strict=True):
            differing += np.bitwise_count(a[place] ^ np.repeat(b, n))
        which = number[place]
        found = (differing << 32) | which
        found[which == np.repeat(barred[at], n)] = _FAR
        best[at] = np.minimum(best[at], np.minimum.reduceat(found, start))

    in_threads(look, parts)


def _look_at_all(ours: Words, theirs: Words, barred: Any, best: Any, query: NDArray[np.intp]) -> None:
    """Set `best` of queries by comparing each with all patterns."""
    columns = np.ascontiguousarray(ours.T)
    R, bits = columns.shape[1], 64 * len(columns)
    kind = np.uint8 if bits < 2**8 else np.uint16 if bits < 2**16 else np.int32  # the narrower the faster
    step = max(1, _CELLS // R)

    def look(first: int) -> None:
        last = min(first + _QUERIES, len(query))
        words = np.empty((min(step, last - first), R), dtype=np.uint64)
        counts, differing = np.empty(words.shape, dtype=np.uint8), np.empty(words.shape, dtype=kind)
        for start in range(first, last, step):
            at = query[start : min(start + step, last)]
            m = len(at)
            differing[:m] = 0
            for a, b in zip(columns, theirs[at].T, strict=True):
                np.bitwise_xor(b[:, None], a, out=words[:m])
                np.bitwise_count(words[:m], out=counts[:m])
                np.add(differing[:m], counts[:m], out=differing[:m])
            hidden = np.flatnonzero(barred[at] >= 0)
            differing[hidden, barred[at[hidden]]] = np.iinfo(kind).max
            which = differing[:m].argmin(axis=1)
            best[at] = (differing[np.arange(m), which].astype(np.int64) << 32) | which

    in_threads(look, range(0, len(query), _QUERIES))


def _mixed(words: Words) -> NDArray[np.uint64]:
    """Return one word for each row (n, n_words); others may have the same, by chance."""
    h = words[:, 0] * np.uint64(0x9E3779B97F4A7C15)
    for j in range(1, words.shape[1]):
        h ^= h >> np.uint64(29)
        h += words[:, j]
        h *= np.uint64(0xBF58476D1CE4E5B9)
    return h


def _words(packed: NDArray[np.uint8]) -> Words:
    """Return patterns (n, n_bytes) as words of 64 bits (n, n_words), one at least."""
    bytes_ = np.zeros((len(packed), max(1, -(-packed.shape[1] // 8)) * 8), dtype=np.uint8)
    bytes_[:, : packed.shape[1]] = packed
    return bytes_.view(np.uint64)
