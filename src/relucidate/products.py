"""Matrix products whose rows do not depend on each other: the same row gives the same bits in any batch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

# Matrix libraries choose another kernel, and with it another order of summation, for few columns, for a rest of columns
# beyond a panel, for long sums, and where threads share the work. The shapes used here, in one thread, leave them no
# choice. Found by trying the kernels of OpenBLAS (Nehalem, Sandybridge, Haswell, Zen, SkylakeX); only the last is choosy.
_FEW = 24
_PANEL = 192
_MULTIPLE = 8
_TERMS = 128


def padded(weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a weight (m, k) with rows of zeros added where `row_by_row` needs them."""
    m = len(weight)
    if 1 < m < _FEW:
        missing = _FEW - m
    else:
        missing = -m % _MULTIPLE if m > _PANEL else 0
    return np.ascontiguousarray(np.pad(weight, ((0, missing), (0, 0))) if missing else weight)


def row_by_row(a: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``a @ weight.T`` for a `padded` weight, with the same bits for a row whatever the other rows.

    Bits are promised under `one_thread`, and where the number of rows is a multiple of 64.
    """
    z: NDArray[np.float64] = a[:, :_TERMS] @ weight[:, :_TERMS].T
    for start in range(_TERMS, a.shape[1], _TERMS):
        z += a[:, start : start + _TERMS] @ weight[:, start : start + _TERMS].T
    return z


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep matrix products in the calling thread; how threads share one decides how it rounds.

    Blocks of rows that fit the processor's cache gain little from threads. Calls may overlap in several threads: the
    first one in sets the limit, the last one out lifts it.
    """
    _gate.enter()
    try:
        yield
    finally:
        _gate.leave()


Part = TypeVar("Part")
Result = TypeVar("Result")


def in_threads(task: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
    """Return the task's result for each part, in order; the parts are shared among threads, one per processor.

    Matrix products run in `one_thread` each.
    """
    n = min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, len(parts))
    if n < 2:
        return [task(part) for part in parts]
    from concurrent.futures import ThreadPoolExecutor

    # a library built on OpenMP keeps a limit for each thread
    with one_thread(), ThreadPoolExecutor(n, initializer=_limit_to_one) as pool:
        return list(pool.map(task, parts))


class _Gate:
    def __init__(self) -> None:
        self._lock = Lock()
        self._inside = 0
        self._before: list[int] = []

    def enter(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._before = [library.num_threads for library in _libraries()]
            self._inside += 1
            _limit_to_one()

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                _limit_to(self._before)


def _limit_to(threads: Sequence[int]) -> None:
    for library, n in zip(_libraries(), threads, strict=True):
        # threadpoolctl ignores all but the first thread that asks; the last one out may be another
        getattr(library, "_real_set_num_threads", library.set_num_threads)(n)


def _limit_to_one() -> None:
    _limit_to([1] * len(_libraries()))


_gate = _Gate()


@cache
def _libraries() -> tuple[Any, ...]:
    from threadpoolctl import ThreadpoolController

    return tuple(ThreadpoolController().select(user_api="blas").lib_controllers)
