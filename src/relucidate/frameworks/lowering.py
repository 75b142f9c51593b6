"""From a graph of affine and piecewise-linear operations to the layers of a canonical network.

A value on the way is an `Expr`: an affine function of *bases*, which are the inputs and the outputs of activations.
`Builder.layers` puts the activations on levels; a value that is needed more than one level up is carried by neurons
whose activation is the identity, the value itself or what will be made of it, whichever takes fewer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from relucidate.errors import MalformedModelError, UnsupportedModelError
from relucidate.layers import Activation, Floats, Layer, Matrix, is_sparse

Shape = tuple[int, ...]
Indices = NDArray[np.intp]

# A composed map is kept as two where it would be much larger than they are (784 -> 10 -> 784): by this factor, and by
# this many numbers in all.
BOTTLENECK_FACTOR = 2
BOTTLENECK_NUMBERS = 50_000
# Blocks of one layer are held dense where that costs little or they are mostly full.
DENSE_NUMBERS = 20_000
DENSE_SHARE = 0.25
# A few bytes in a file can ask for any number of values; what is larger than this is refused before it is made.
MAX_VALUES = 2**20
MAX_NUMBERS = 2**28
MAX_CONVOLVED = 2**26  # a few weights make a large matrix of any convolution, so that these have a limit of their own
NEURON_NUMBERS = 8  # what one neuron costs besides its weights


@dataclass(frozen=True, eq=False)
class Basis:
    """Numbers that expressions are affine in: an input (`depth` 0), or what an activation gives.

    Parameters
    ----------
    size : how many numbers.
    name : of the node that makes them.
    depth : 0 for an input, else one more than the deepest basis that it is made from.
    before : preactivation; None for an input.
    activation : one per number; None for an input.
    """

    size: int
    name: str
    depth: int = 0
    before: Expr | None = None
    activation: Activation | None = None


@dataclass(frozen=True, eq=False)
class Expr:
    """The flattened tensor ``sum of matrix @ basis + offset``.

    Parameters
    ----------
    terms : matrix (size, basis.size), dense or csr, of each basis.
    offset : (size,)
    shape : of the tensor, the batch axis left out or 1.
    """

    terms: Mapping[Basis, Matrix]
    offset: Floats
    shape: Shape

    @property
    def size(self) -> int:
        """How many numbers the tensor holds."""
        return len(self.offset)

    @property
    def depth(self) -> int:
        """Depth of the deepest basis; 0 for constants and functions of the input alone."""
        return max((basis.depth for basis in self.terms), default=0)

    def reshaped(self, shape: Sequence[int]) -> Expr:
        """Return the same numbers under another shape."""
        shape = tuple(int(s) for s in shape)
        if prod(shape) != self.size:
            raise MalformedModelError(f"{self.size} values of shape {self.shape} cannot take the shape {shape}.")
        return Expr(self.terms, self.offset, shape)


# ---------------------------------------------------------------- matrices


def eye(n: int) -> Any:
    """Return the identity (n, n), sparse."""
    return selection(np.arange(n), n)


def selection(index: Indices, n: int, scale: Floats | None = None) -> Any:
    """Return the sparse matrix (len(index), n) that picks the numbers at `index`; -1 picks nothing."""
    picked = index >= 0
    data = np.ones(len(index)) if scale is None else np.asarray(scale, dtype=np.float64)
    indptr = np.concatenate([[0], np.cumsum(picked)])
    return sparse.csr_array((data[picked], index[picked], indptr), shape=(len(index), n))


def numbers_in(matrix: Matrix) -> int:
    """Return how many numbers a matrix stores."""
    return int(matrix.nnz if is_sparse(matrix) else matrix.size)  # type: ignore[union-attr]


def _picks(matrix: Any) -> tuple[Indices, Floats] | None:
    """Return (index, scale) of a sparse matrix with at most one number in each row, else None."""
    if not is_sparse(matrix):
        return None
    count = np.diff(matrix.indptr)
    if (count > 1).any():
        return None
    index, scale = np.full(len(count), -1), np.zeros(len(count))
    index[count == 1], scale[count == 1] = matrix.indices, matrix.data
    return index, scale


def product(a: Matrix, b: Matrix) -> Matrix:
    """Return ``a @ b``: bit for bit `b` or `a` where the other is the identity, rows of `b` where `a` picks them."""
    left: Any = a
    right: Any = b
    picks = _picks(left)
    if picks is not None:
        index, scale = picks
        if (scale == 1).all() and len(index) == right.shape[0] and (index == np.arange(len(index))).all():
            return b
        if not is_sparse(right):
            out = right[index]
            out = out if (scale == 1).all() else out * scale[:, None]
            out[index < 0] = 0.0
            return np.asarray(out)
        return sparse.csr_array(left @ right)
    picks = _picks(right)
    if picks is not None and right.shape[0] == right.shape[1]:
        index, scale = picks
        if (scale == 1).all() and (index == np.arange(len(index))).all():
            return a
    if is_sparse(left) and is_sparse(right):
        return sparse.csr_array(left @ right)
    return np.asarray(left @ right)


def total(a: Matrix, b: Matrix) -> Matrix:
    """Return ``a + b``, sparse only if both are."""
    left: Any = a
    right: Any = b
    if is_sparse(left) and is_sparse(right):
        return sparse.csr_array(left + right)
    if is_sparse(left):
        left, right = right, left
    if not is_sparse(right):
        return np.asarray(left + right)
    out = left.copy()
    right = right.tocoo()
    np.add.at(out, (right.row, right.col), right.data)
    return np.asarray(out)


def stacked(blocks: Sequence[Sequence[Matrix | None]], heights: Sequence[int], widths: Sequence[int]) -> Matrix:
    """Return one matrix from rows of blocks; None is a block of zeros. One block alone is returned as it is."""
    if len(blocks) == 1 and len(blocks[0]) == 1 and blocks[0][0] is not None:
        return blocks[0][0]
    stored = sum(numbers_in(b) for row in blocks for b in row if b is not None)
    shape = (sum(heights), sum(widths))
    any_dense = any(b is not None and not is_sparse(b) for row in blocks for b in row)
    if shape[0] * shape[1] <= DENSE_NUMBERS or (any_dense and stored >= DENSE_SHARE * shape[0] * shape[1]):
        out = np.zeros(shape)
        for i, row in enumerate(blocks):
            for j, block in enumerate(row):
                if block is not None:
                    top, left = sum(heights[:i]), sum(widths[:j])
                    full: Any = block
                    out[top : top + heights[i], left : left + widths[j]] = full.toarray() if is_sparse(full) else full
        return out
    filled = [
        [sparse.csr_array((heights[i], widths[j])) if b is None else sparse.csr_array(b) for j, b in enumerate(row)]
        for i, row in enumerate(blocks)
    ]
    return sparse.csr_array(sparse.block_array(filled, format="csr"))


def _used_columns(matrix: Any) -> Indices:
    if is_sparse(matrix):
        return np.unique(matrix.indices[matrix.data != 0])
    return np.flatnonzero(matrix.any(axis=0))


def _used_rows(matrix: Any) -> Indices:
    if is_sparse(matrix):
        live = matrix.copy()
        live.eliminate_zeros()
        return np.flatnonzero(np.diff(live.indptr))
    return np.flatnonzero(matrix.any(axis=1))


# ---------------------------------------------------------------- building


@dataclass(eq=False)
class Builder:
    """Makes expressions, and layers of one of them. It remembers which values were given neurons of their own.

    Parameters
    ----------
    limit : how many numbers the network may come to store. A file of a few bytes can ask for any number, by using one
        weight again and again or by repeating a value.
    """

    limit: int = MAX_NUMBERS
    spent: int = 0
    convolved: int = 0
    _own: dict[int, tuple[Expr, Expr]] = field(default_factory=dict)

    def input(self, size: int, name: str = "input", shape: Sequence[int] | None = None) -> Expr:
        """Return `size` numbers that enter the network."""
        basis = Basis(size, name)
        return Expr({basis: eye(size)}, np.zeros(size), (size,) if shape is None else tuple(shape))

    def constant(self, value: Any) -> Expr:
        """Return an expression that does not depend on the input."""
        array = np.asarray(value, dtype=np.float64)
        return Expr({}, array.ravel(), array.shape)

    def affine(self, x: Expr, weight: Matrix, bias: Floats | None = None, shape: Sequence[int] | None = None) -> Expr:
        """Return ``weight @ x + bias``, weight (m, x.size).

        Notes
        -----
        Two affine maps in a row are composed, unless that would store much more than the two: then `x` gets neurons.
        """
        x = self._settled(x)
        rows, columns = weight.shape
        if columns != x.size:
            raise MalformedModelError(f"A weight of shape {weight.shape} (out, in) cannot take {x.size} values.")
        if rows > MAX_VALUES:
            raise UnsupportedModelError(f"A map to {rows:,} values is too large ({MAX_VALUES:,} at most).")
        self.afford(numbers_in(weight))
        if self._too_large(x, weight):
            x = self._on_its_own(x)
        terms = {basis: product(weight, matrix) for basis, matrix in x.terms.items()}
        offset = np.zeros(rows) if bias is None else np.asarray(bias, dtype=np.float64).ravel()
        if x.offset.any():
            offset = np.asarray(weight @ x.offset) + offset
        return Expr(terms, offset, (rows,) if shape is None else tuple(shape))

    def afford(self, numbers: int) -> None:
        """Raise unless `numbers` more numbers can be stored.

        Raises
        ------
        UnsupportedModelError : they cannot; this is checked before anything is allocated.
        """
        if self.spent + numbers > self.limit:
            raise UnsupportedModelError(
                f"Written out, the network would store more than {self.limit:,} numbers, many times what the file "
                "holds. It repeats values or weights; load a smaller part of it with output=."
            )

    def afford_map(self, numbers: int) -> None:
        """Raise unless a convolution of `numbers` numbers, written out, can be stored beside those before it.

        Raises
        ------
        UnsupportedModelError : it cannot; this is checked before anything is allocated.
        """
        self.convolved += numbers
        if self.convolved > MAX_CONVOLVED:
            raise UnsupportedModelError(
                f"Written out as sparse matrices, the convolutions would store more than {MAX_CONVOLVED:,} numbers. Load a "
                "part of the network with output=, or a network for smaller images."
            )
        self.limit += 4 * numbers  # for the copies that composing, carrying and pooling make

    def _too_large(self, x: Expr, weight: Any) -> bool:
        """Return whether the composed map would store much more than `weight` and neurons for `x` would."""
        if _picks(weight) is not None:
            return False
        composed = parts = 0
        rows = weight.shape[0]
        for basis, matrix in x.terms.items():
            parts += numbers_in(matrix)
            if is_sparse(weight) and _picks(matrix) is not None:
                composed += numbers_in(weight) * numbers_in(matrix) // max(1, x.size)
            elif is_sparse(weight) and is_sparse(matrix):
                per_row = np.diff(matrix.indptr)  # type: ignore[union-attr]
                composed += min(int(per_row[weight.indices].sum()), rows * basis.size)
            else:
                composed += rows * basis.size
        return composed > BOTTLENECK_NUMBERS and composed > BOTTLENECK_FACTOR * (numbers_in(weight) + parts)

    def _settled(self, x: Expr) -> Expr:
        """Return `x`, by the neurons that it was given earlier if it was."""
        own = self._own.get(id(x))
        return x if own is None else own[1].reshaped(x.shape)

    def _on_its_own(self, x: Expr) -> Expr:
        own = self.activation(x, Activation.of_kind("identity", x.size), "")
        self._own[id(x)] = (x, own)  # x is kept, so that its id stays taken
        return own

    def add(self, *exprs: Expr) -> Expr:
        """Return the sum of expressions of one shape."""
        first, *rest = (self._settled(e) for e in exprs)
        terms, offset = dict(first.terms), first.offset
        for e in rest:
            if e.shape != first.shape:
                raise MalformedModelError(f"Shapes {first.shape} and {e.shape} cannot be added.")
            for basis, matrix in e.terms.items():
                terms[basis] = total(terms[basis], matrix) if basis in terms else matrix
            offset = offset + e.offset
        return Expr(terms, offset, first.shape)

    def shift(self, x: Expr, by: Any) -> Expr:
        """Return ``x + by``; `by` is a number or holds one number per value."""
        x = self._settled(x)
        return Expr(x.terms, x.offset + np.broadcast_to(np.asarray(by, dtype=np.float64), x.shape).ravel(), x.shape)

    def scale(self, x: Expr, by: Any) -> Expr:
        """Return ``x * by``; `by` is a number or holds one number per value."""
        x = self._settled(x)
        factor = np.broadcast_to(np.asarray(by, dtype=np.float64), x.shape).ravel()
        if (factor == 1).all():
            return x
        diagonal = selection(np.arange(x.size), x.size, factor)
        return Expr({b: product(diagonal, m) for b, m in x.terms.items()}, factor * x.offset, x.shape)

    def subtract(self, a: Expr, b: Expr) -> Expr:
        """Return ``a - b``."""
        return self.add(a, self.scale(b, -1.0))

    def select(self, x: Expr, index: Any) -> Expr:
        """Return the values of `x` at flat positions `index`, in its shape: slices, permutations, repeats."""
        x = self._settled(x)
        index = np.asarray(index)
        if index.size > MAX_VALUES:
            raise UnsupportedModelError(f"A tensor of {index.size:,} values is too large ({MAX_VALUES:,} at most).")
        self.afford(sum(index.size * numbers_in(m) // max(1, x.size) for m in x.terms.values()))
        flat = index.ravel()
        if len(flat) == x.size and (flat == np.arange(x.size)).all():
            return x.reshaped(index.shape)
        pick = selection(flat, x.size)
        return Expr({b: product(pick, m) for b, m in x.terms.items()}, x.offset[flat], index.shape)

    def moved(self, x: Expr, how: Callable[[Any], Any]) -> Expr:
        """Return what `how`, a numpy function that only moves values, makes of the tensor `x`."""
        return self.select(x, how(np.arange(x.size).reshape(x.shape)))

    def broadcast(self, x: Expr, shape: Sequence[int]) -> Expr:
        """Return `x` repeated to a larger shape, by numpy's rules."""
        if prod(shape) > MAX_VALUES:
            raise UnsupportedModelError(f"A tensor of shape {tuple(shape)} is more than relucidate takes.")
        return x if tuple(shape) == x.shape else self.moved(x, lambda i: np.broadcast_to(i, shape))

    def concat(self, parts: Sequence[Expr], axis: int) -> Expr:
        """Return the tensors `parts` joined along `axis`."""
        parts = [self._settled(p) for p in parts]
        starts = np.cumsum([0, *(p.size for p in parts)])
        if starts[-1] > MAX_VALUES:
            raise UnsupportedModelError(f"A tensor of {starts[-1]:,} values is too large ({MAX_VALUES:,} at most).")
        bases = list(dict.fromkeys(basis for p in parts for basis in p.terms))
        heights = [p.size for p in parts]
        terms = {b: stacked([[p.terms.get(b)] for p in parts], heights, [b.size]) for b in bases}
        flat = Expr(terms, np.concatenate([p.offset for p in parts]), (int(starts[-1]),))
        where = [s + np.arange(p.size).reshape(p.shape) for s, p in zip(starts, parts, strict=False)]
        return self.select(flat, np.concatenate(where, axis=axis))

    def activation(self, x: Expr, activation: Activation, name: str) -> Expr:
        """Return ``activation(x)``, one function per value."""
        x = self._settled(x)
        if len(activation) != x.size:
            raise MalformedModelError(f"{len(activation)} activations cannot follow {x.size} values.")
        numbers = sum(numbers_in(m) for m in x.terms.values()) + NEURON_NUMBERS * x.size
        self.afford(numbers)
        self.spent += numbers
        basis = Basis(x.size, name, 1 + x.depth, x, activation)
        return Expr({basis: eye(x.size)}, np.zeros(x.size), x.shape)

    def maximum(self, a: Expr, b: Expr, name: str) -> Expr:
        """Return the larger of two expressions, value by value: ``b + relu(a - b)``."""
        gap = self.activation(self.subtract(a, b), Activation.of_kind("relu", a.size), name)
        return self.add(b, gap)

    def minimum(self, a: Expr, b: Expr, name: str) -> Expr:
        """Return the smaller of two expressions, value by value: ``b - relu(b - a)``."""
        gap = self.activation(self.subtract(b, a), Activation.of_kind("relu", a.size), name)
        return self.subtract(b, gap)

    def layers(
        self, output: Expr, n_features: int, place: Mapping[Basis, Indices] | None = None, name: str = ""
    ) -> tuple[Layer, ...]:
        """Return the layers that compute `output` from `n_features` inputs; what it does not need is left out.

        Parameters
        ----------
        place : for each input basis, which network input each of its numbers is; a single input is the network's.
        name : of the output layer.
        """
        levels = _Levels(self._settled(output), n_features, place or {}, name)
        self.afford(NEURON_NUMBERS * levels.n_carried)
        return levels.layers()


# ---------------------------------------------------------------- levels


@dataclass(eq=False)
class _Consumer:
    """What is affine in bases: a group of neurons at its level, or the output above all of them (`basis` None)."""

    level: int
    terms: dict[Basis, Any]
    offset: Floats
    basis: Basis | None
    arrivals: dict[int, list[Basis]] = field(default_factory=dict)  # level at which each basis is multiplied in
    rows: dict[int, Indices] = field(default_factory=dict)  # which partial sums are carried at lower levels

    def sort_arrivals(self) -> None:
        """Set the partial sums that lower levels carry, from the arrivals there."""
        mask = np.zeros(len(self.offset), dtype=bool)
        for level in range(min(self.arrivals, default=self.level), self.level):
            for basis in self.arrivals.get(level, ()):
                mask[_used_rows(self.terms[basis])] = True
            if mask.any():
                self.rows[level] = np.flatnonzero(mask)


_Slot = tuple["Basis | _Consumer", Indices]
_Row = tuple[list["Matrix | None"], Floats, Activation, str]


class _Levels:
    """Groups of neurons sorted by depth, and the neurons that carry values past levels."""

    def __init__(self, output: Expr, n_features: int, place: Mapping[Basis, Indices], name: str) -> None:
        self.source = Basis(n_features, "input")
        self.place = place
        self.name = name
        self.depth = output.depth
        self.consumers = self._reachable(output)
        self.carried: dict[Basis, list[tuple[int, Indices]]] = {}  # basis -> (up to which level, which numbers)
        self._schedule()

    def _reachable(self, output: Expr) -> list[_Consumer]:
        found: dict[Basis, _Consumer] = {}
        last = _Consumer(self.depth + 1, self._on_source(output), output.offset, None)
        todo = [last]
        while todo:
            for basis in todo.pop().terms:
                if basis.before is not None and basis not in found:
                    found[basis] = _Consumer(basis.depth, self._on_source(basis.before), basis.before.offset, basis)
                    todo.append(found[basis])
        return [*sorted(found.values(), key=lambda c: c.level), last]

    def _on_source(self, expr: Expr) -> dict[Basis, Any]:
        """Return the terms of an expression with all inputs put in their places in the network's one input."""
        terms: dict[Basis, Any] = {}
        n = self.source.size
        for basis, matrix in expr.terms.items():
            if basis.before is not None:
                terms[basis] = matrix
                continue
            at = self.place.get(basis)
            if at is None and basis.size != n:
                raise MalformedModelError(f"Input {basis.name!r} has {basis.size} numbers, the network {n}.")
            if at is not None and not (len(at) == n and (at == np.arange(n)).all()):
                matrix = product(matrix, selection(np.asarray(at), n))
            terms[self.source] = total(terms[self.source], matrix) if self.source in terms else matrix
        return terms

    def _schedule(self) -> None:
        """Decide for each basis that is needed more than one level up whether it or what it adds is carried there."""
        users: dict[Basis, list[_Consumer]] = {}
        for c in self.consumers:
            for basis in c.terms:
                users.setdefault(basis, []).append(c)
        claimed: dict[_Consumer, NDArray[np.bool_]] = {}
        for basis in sorted(users, key=lambda b: b.depth):
            late = [c for c in users[basis] if c.level > basis.depth + 1]
            spans = _spans(basis, late)
            by_basis = sum((stop - start) * len(columns) for start, stop, columns in spans)
            by_image = 0
            for c in late:
                rows = _used_rows(c.terms[basis])
                new = rows if c not in claimed else rows[~claimed[c][rows]]
                by_image += len(new) * (c.level - basis.depth - 1)
            as_images = by_image < by_basis
            for c in users[basis]:
                at = basis.depth + 1 if as_images else c.level
                c.arrivals.setdefault(at, []).append(basis)
                if as_images and c in late:
                    claimed.setdefault(c, np.zeros(len(c.offset), dtype=bool))[_used_rows(c.terms[basis])] = True
            if late and not as_images:
                self.carried[basis] = [(stop, columns) for _, stop, columns in spans]
        for c in self.consumers:
            c.sort_arrivals()

    @property
    def n_carried(self) -> int:
        """How many neurons there will be that only carry a value."""
        count = sum(len(rows) for c in self.consumers for rows in c.rows.values())
        for basis, spans in self.carried.items():
            start = basis.depth + 1
            for stop, columns in spans:
                count += (stop - start) * len(columns)
                start = stop
        return count

    def layers(self) -> tuple[Layer, ...]:
        """Return the layers from the first to the output."""
        made: dict[int, list[_Consumer]] = {}
        partial: dict[int, list[_Consumer]] = {}
        carried: dict[int, list[_Slot]] = {}
        for c in self.consumers:
            made.setdefault(c.level, []).append(c)
            for level in c.rows:
                partial.setdefault(level, []).append(c)
        for basis, spans in self.carried.items():
            start = basis.depth + 1
            for stop, columns in spans:
                for level in range(start, stop):
                    carried.setdefault(level, []).append((basis, columns))
                start = stop
        slots: list[_Slot] = [(self.source, np.arange(self.source.size))]
        out = []
        for level in range(1, self.depth + 2):
            rows: list[_Row] = []
            following: list[_Slot] = []
            for c in made.get(level, ()):
                every = np.arange(len(c.offset))
                activation = _identity(len(every)) if c.basis is None else c.basis.activation
                name = self.name if c.basis is None else c.basis.name
                assert activation is not None
                rows.append((_blocks(c, level, every, slots), c.offset, activation, name))
                if c.basis is not None:
                    following.append((c.basis, every))
            for c in partial.get(level, ()):
                index = c.rows[level]
                rows.append((_blocks(c, level, index, slots), np.zeros(len(index)), _identity(len(index)), ""))
                following.append((c, index))
            for kept, columns in carried.get(level, ()):
                blocks = [_picked(columns, at) if key is kept else None for key, at in slots]
                rows.append((blocks, np.zeros(len(columns)), _identity(len(columns)), ""))
                following.append((kept, columns))
            out.append(_layer(rows, [len(at) for _, at in slots]))
            slots = following
        return tuple(out)


def _spans(basis: Basis, late: list[_Consumer]) -> list[tuple[int, int, Indices]]:
    """Return (first level, level after the last, numbers needed above) of a basis carried to its `late` consumers."""
    if not late:
        return []
    spans = []
    mask = np.zeros(basis.size, dtype=bool)
    by_level: dict[int, list[_Consumer]] = {}
    for c in late:
        by_level.setdefault(c.level, []).append(c)
    levels = sorted(by_level)
    for start, stop in zip(reversed([basis.depth + 1, *levels[:-1]]), reversed(levels), strict=True):
        for c in by_level[stop]:
            mask[_used_columns(c.terms[basis])] = True
        spans.append((start, stop, np.flatnonzero(mask)))
    return [span for span in reversed(spans) if len(span[2])]


def _identity(n: int) -> Activation:
    return Activation.of_kind("identity", n)


def _picked(wanted: Indices, present: Indices) -> Any:
    """Return the matrix that picks the numbers `wanted` from the numbers `present`, both sorted; absent ones give 0."""
    if len(present) == 0:
        return selection(np.full(len(wanted), -1), 0)
    at = np.minimum(np.searchsorted(present, wanted), len(present) - 1)
    return selection(np.where(present[at] == wanted, at, -1), len(present))


def _blocks(c: _Consumer, level: int, rows: Indices, slots: list[_Slot]) -> list[Matrix | None]:
    """Return the matrices that make some rows of a consumer, at one level, from the slots of the level below."""
    arriving = set(c.arrivals.get(level, ()))
    blocks: list[Matrix | None] = []
    for key, at in slots:
        block: Any = None
        if key is c:
            block = _picked(rows, at)
        elif isinstance(key, Basis) and key in arriving:
            block = c.terms[key]
            if len(at) != key.size:
                block = block[:, at]
            if len(rows) != len(c.offset):
                block = block[rows]
        blocks.append(block)
    return blocks


def _layer(rows: list[_Row], widths: list[int]) -> Layer:
    """Return one layer from its groups of neurons."""
    weight = stacked([blocks for blocks, *_ in rows], [len(offset) for _, offset, *_ in rows], widths)
    names = dict.fromkeys(name for *_, name in rows if name)
    if len(rows) == 1:
        return Layer(weight, rows[0][1], rows[0][2], " + ".join(names))
    bias = np.concatenate([offset for _, offset, *_ in rows])
    return Layer(weight, bias, Activation.joined([activation for _, _, activation, _ in rows]), " + ".join(names))
