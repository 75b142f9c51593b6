"""The layers of a network on their way to fewer neurons: constants fold, what is affine, proportional or unused goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from relucidate.displaying import in_notebook
from relucidate.exact import gamma
from relucidate.layers import Activation, Bools, Floats, Layer, Matrix, is_sparse
from relucidate.network import Network
from relucidate.ranges import Range, idle, restricted

if TYPE_CHECKING:
    import pandas as pd

Indices = NDArray[np.intp]

# A composed layer is kept as two where it would store much more than they do: by this factor, and in all.
_BOTTLENECK_FACTOR = 2
_BOTTLENECK_NUMBERS = 50_000

KEPT, DEAD, ALWAYS_ON, JOINED, WITHOUT_INFLUENCE = range(5)


@dataclass(frozen=True, eq=False)
class Removed:
    """What became of the neurons of each hidden layer.

    Parameters
    ----------
    before : (L,) neurons in the network given.
    dead : (L,) constant on the box; the constant went into the next bias.
    always_on : (L,) affine on the box.
    joined : (L,) proportional to another neuron of the layer.
    without_influence : (L,) nothing after them uses them.
    carried : (L,) identity neurons that carry what the affine ones did past the layer.
    after : (L,) neurons now: ``before - dead - always_on - joined - without_influence + carried``; 0 for a layer that
        was composed into the next.
    """

    before: Indices
    dead: Indices
    always_on: Indices
    joined: Indices
    without_influence: Indices
    carried: Indices
    after: Indices

    _repr_html_ = in_notebook

    def to_frame(self) -> pd.DataFrame:
        """Return one row per hidden layer."""
        import pandas as pd

        columns = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return pd.DataFrame(columns).rename_axis("layer")


@dataclass(frozen=True, eq=False)
class Part:
    """A layer on its way.

    Parameters
    ----------
    layer : as it is now.
    origin : which hidden layer it was.
    who : (m,) which neuron of that layer each one was; -1 for those that carry others' values.
    passed : (m,) how many of its first breakpoints each neuron has lost.
    """

    layer: Layer
    origin: int
    who: Indices
    passed: Indices

    def fact(self, j: int, k: int, z: Range, how: str, number: int) -> tuple[Any, ...]:
        """Return a row of `Switches`."""
        at = float(self.layer.activation.breakpoints[j, k])
        k = int(self.passed[j] + k)
        return self.origin, int(self.who[j]), k, at, float(z.low[j]), float(z.high[j]), how, number

    def restricted(self, z: Range) -> Part:
        """Return the part without the breakpoints that `z` does not reach."""
        activation = self.layer.activation
        _, always = idle(activation, z)
        layer = replace(self.layer, activation=restricted(activation, z))
        return replace(self, layer=layer, passed=self.passed + always.sum(axis=1))

    def picked(self, rows: Any) -> Part:
        """Return the part with some of its neurons."""
        layer, act = self.layer, self.layer.activation
        p = int(np.isfinite(act.breakpoints[rows]).sum(axis=1).max(initial=0))
        activation = Activation(act.breakpoints[rows, :p], act.slopes[rows, : p + 1], act.offsets[rows, : p + 1])
        return replace(
            self,
            layer=replace(layer, weight=_rows(layer.weight, rows), bias=layer.bias[rows], activation=activation),
            who=self.who[rows],
            passed=self.passed[rows],
        )


@dataclass(eq=False)
class Work:
    """The layers as they become fewer, and what became of each neuron."""

    parts: list[Part]
    fate: list[NDArray[np.int8]]

    @staticmethod
    def of(network: Network) -> Work:
        parts = []
        for i, layer in enumerate(network.layers):
            m = len(layer.bias)
            parts.append(Part(layer, i, np.arange(m), np.zeros(m, dtype=np.intp)))
        return Work(parts, [np.full(len(layer.bias), KEPT, dtype=np.int8) for layer in network.hidden])

    def removed(self) -> Removed:
        """Return the table of fates."""
        counts = [[int((fate == kind).sum()) for fate in self.fate] for kind in range(5)]
        after = np.zeros(len(self.fate), dtype=np.intp)
        for part in self.parts[:-1]:
            after[part.origin] = len(part.who)
        before = np.array([len(fate) for fate in self.fate], dtype=np.intp)
        kept, dead, on, joined, without = (np.array(c, dtype=np.intp) for c in counts)
        return Removed(before, dead, on, joined, without, after - kept, after)

    def pin(self, box: Range) -> None:
        """Fold the features that have one value on the box into the first bias."""
        pinned = box.low == box.high
        if pinned.any():
            first = self.parts[0].layer
            bias = first.bias + first.weight @ np.where(pinned, box.low, 0.0)
            self.parts[0] = replace(self.parts[0], layer=replace(first, weight=_weighted(first, ~pinned), bias=bias))

    def reduce(self, tolerance: float) -> bool:
        """Remove what can go, until nothing can; return whether anything was joined or found without influence."""
        before = self._count((JOINED, WITHOUT_INFLUENCE))
        while True:
            n = self._size()
            # from the top, so that what loses its influence takes with it what only it used
            for i in reversed(range(len(self.parts) - 1)):
                self._fold_constants(i)
                self._drop_unused(i)
                self._straighten(i)
                self._join(i, tolerance)
                self._carry(i)
            self._compose()
            if self._size() == n:
                return self._count((JOINED, WITHOUT_INFLUENCE)) > before

    def _size(self) -> tuple[int, int]:
        return len(self.parts), sum(len(part.who) for part in self.parts)

    def _count(self, kinds: Sequence[int]) -> int:
        return int(sum(np.isin(fate, kinds).sum() for fate in self.fate))

    def _mark(self, i: int, which: Any, kind: int) -> None:
        who = self.parts[i].who[which]
        self.fate[self.parts[i].origin][who[who >= 0]] = kind

    def _following(self, i: int, weight: Any, bias: Floats) -> None:
        part = self.parts[i + 1]
        self.parts[i + 1] = replace(part, layer=replace(part.layer, weight=weight, bias=bias))

    def _fold_constants(self, i: int) -> None:
        """Add neurons of one value to the next bias."""
        layer, following = self.parts[i].layer, self.parts[i + 1].layer
        fixed = ~_used(layer.weight, 1)
        value = layer.activation(layer.bias[None])[0]
        flat = ~np.isfinite(layer.activation.breakpoints).any(axis=1) & (layer.activation.slopes[:, 0] == 0)
        value = np.where(flat, layer.activation.offsets[:, 0], value)
        fixed |= flat
        if fixed.any():
            bias = following.bias + following.weight @ np.where(fixed, value, 0.0)
            self._mark(i, fixed, DEAD)
            self._following(i, _columns(following.weight, ~fixed), bias)
            self.parts[i] = self.parts[i].picked(~fixed)

    def _drop_unused(self, i: int) -> None:
        """Drop neurons that the next layer gives no weight."""
        following = self.parts[i + 1].layer
        used = _used(following.weight, 0)
        if not used.all():
            self._mark(i, ~used, WITHOUT_INFLUENCE)
            self._following(i, _columns(following.weight, used), following.bias)
            self.parts[i] = self.parts[i].picked(used)

    def _straighten(self, i: int) -> None:
        """Make neurons with one piece identities, their slope and offset moved into the weights."""
        part = self.parts[i]
        layer, act = part.layer, part.layer.activation
        straight = ~np.isfinite(act.breakpoints).any(axis=1)
        if not straight.any():
            return
        self._mark(i, straight, ALWAYS_ON)
        slope, offset = np.where(straight, act.slopes[:, 0], 1.0), np.where(straight, act.offsets[:, 0], 0.0)
        slopes, offsets = act.slopes.copy(), act.offsets.copy()
        slopes[straight], offsets[straight] = 1.0, 0.0
        layer = replace(
            layer,
            weight=_scaled(layer.weight, slope),
            bias=slope * layer.bias + offset,
            activation=Activation(act.breakpoints, slopes, offsets),
        )
        self.parts[i] = replace(part, layer=layer, who=np.where(straight, -1, part.who))

    def _join(self, i: int, tolerance: float) -> None:
        """Keep one of the neurons that are proportional to each other, with the weights of all."""
        part, following = self.parts[i], self.parts[i + 1].layer
        kept, factor = _proportional(part.layer, tolerance)
        gone = kept != np.arange(len(kept))
        if gone.any():
            from scipy.sparse import csr_array

            place = np.cumsum(~gone) - 1
            gather = csr_array((factor, place[kept], np.arange(len(kept) + 1)), shape=(len(kept), int((~gone).sum())))
            self._mark(i, gone, JOINED)
            self._following(i, following.weight @ gather, following.bias)
            self.parts[i] = part.picked(~gone)

    def _carry(self, i: int) -> None:
        """Carry what identity neurons say by fewer of them: the inputs that they use, or the sums that are used."""
        part, following = self.parts[i], self.parts[i + 1].layer
        layer: Any = part.layer
        carriers = ~np.isfinite(layer.activation.breakpoints).any(axis=1)
        inner, outer = _rows(layer.weight, carriers), _columns(following.weight, carriers)
        inputs, sums = np.flatnonzero(_used(inner, 0)), np.flatnonzero(_used(outer, 1))
        fewest = min(len(inputs), len(sums))
        if fewest >= int(carriers.sum()):
            return
        middle = outer @ inner
        sparse = is_sparse(layer.weight)
        if len(inputs) <= len(sums):
            rows, columns = _unit_rows(inputs, middle.shape[1], sparse), middle[:, inputs]
        else:
            rows, columns = middle[sums], _unit_rows(sums, middle.shape[0], sparse).T
        if sparse and _stored(rows) + _stored(columns) > _stored(inner) + _stored(outer):
            return
        kept = part.picked(~carriers)
        identity = Activation.of_kind("identity", fewest)
        weight = _stacked(kept.layer.weight, rows, 0)
        self._following(
            i,
            _stacked(_columns(following.weight, ~carriers), columns, 1),
            following.bias + outer @ layer.bias[carriers],
        )
        self.parts[i] = replace(
            part,
            layer=Layer(
                weight,
                np.concatenate([kept.layer.bias, np.zeros(fewest)]),
                Activation.joined([kept.layer.activation, identity]),
                layer.name,
            ),
            who=np.concatenate([kept.who, np.full(fewest, -1)]),
            passed=np.concatenate([kept.passed, np.zeros(fewest, dtype=np.intp)]),
        )

    def _compose(self) -> None:
        """Compose layers in which nothing switches with the next, unless that stores much more."""
        i = 0
        while i < len(self.parts) - 1:
            layer, following = self.parts[i].layer, self.parts[i + 1].layer
            if not (layer.activation.is_identity or len(layer.bias) == 0):
                i += 1
                continue
            weight = following.weight @ layer.weight
            apart = _stored(layer.weight) + _stored(following.weight)
            if _stored(weight) > max(_BOTTLENECK_NUMBERS, _BOTTLENECK_FACTOR * apart):
                i += 1
                continue
            self._following(i, weight, following.bias + following.weight @ layer.bias)
            del self.parts[i]


# ---------------------------------------------------------------- matrices, dense or sparse


def _rows(weight: Any, rows: Any) -> Any:
    return weight[np.flatnonzero(rows) if np.asarray(rows).dtype == bool else rows]


def _columns(weight: Any, columns: Any) -> Any:
    return weight[:, np.flatnonzero(columns) if np.asarray(columns).dtype == bool else columns]


def _used(weight: Any, axis: int) -> Bools:
    """Return which columns (axis 0) or rows (axis 1) of a matrix hold a number that is not 0."""
    return np.asarray((weight != 0).sum(axis=axis)).ravel() > 0


def _stored(weight: Any) -> int:
    return int(weight.nnz if is_sparse(weight) else weight.size)


def _scaled(weight: Any, factor: Floats) -> Matrix:
    """Return the rows of a matrix times one number each."""
    if not is_sparse(weight):
        return np.asarray(weight * factor[:, None])
    data = weight.data * np.repeat(factor, np.diff(weight.indptr))
    return type(weight)((data, weight.indices, weight.indptr), shape=weight.shape)


def _weighted(layer: Layer, keep: Bools) -> Matrix:
    """Return the weights with 0 in the columns that are not kept."""
    weight: Any = layer.weight
    if not is_sparse(weight):
        return np.where(keep, weight, 0.0)
    out = weight.copy()
    out.data *= keep[out.indices]
    out.eliminate_zeros()
    return out


def _unit_rows(index: Indices, n: int, sparse: bool) -> Any:
    """Return rows (len(index), n) of the identity."""
    from scipy.sparse import csr_array

    k = len(index)
    rows = csr_array((np.ones(k), index, np.arange(k + 1)), shape=(k, n))
    return rows if sparse else rows.toarray()


def _stacked(a: Any, b: Any, axis: int) -> Matrix:
    """Return two matrices on top of (axis 0) or beside (1) each other, sparse if the first one is."""
    if not is_sparse(a):
        return np.concatenate([a, b.toarray() if hasattr(b, "toarray") else b], axis=axis)
    from scipy.sparse import csr_array, hstack, vstack

    return csr_array((vstack if axis == 0 else hstack)([a, csr_array(b)]))


# ---------------------------------------------------------------- neurons that are multiples of each other


def _proportional(layer: Layer, tolerance: float) -> tuple[Indices, Floats]:
    """Return for each neuron (m,) the first one that it is a multiple of, itself if none, and the factor.

    Neuron j is c times neuron i, c > 0, if its weights, bias, breakpoints and offsets are, and its slopes are the same;
    c may be negative for an identity. Numbers are compared one by one, each relatively to its size.
    """
    m, act = len(layer.bias), layer.activation
    weight: Any = layer.weight
    kept, factor = np.arange(m), np.ones(m)
    if m < 2:
        return kept, factor
    largest = abs(weight).max(axis=1)
    largest = np.maximum(largest.toarray().ravel() if is_sparse(weight) else largest, np.abs(layer.bias))
    size = np.where(largest > 0, largest, 1.0)
    rng = np.random.default_rng(0)
    direction = rng.normal(size=weight.shape[1])
    straight = ~np.isfinite(act.breakpoints).any(axis=1)
    shadow = weight @ direction / size
    # the sign of an identity is free: that of its shadow, since proportional rows have proportional shadows
    size = np.where(straight & (shadow < 0), -size, size)
    shadow = np.where(straight, np.abs(shadow), shadow)
    window = (16 * tolerance + gamma(2 * weight.shape[1] + 8)) * np.abs(direction).sum()

    def numbers(j: int) -> Floats:
        row = weight[[j]].toarray()[0] if is_sparse(weight) else weight[j]
        finite = np.where(np.isfinite(act.breakpoints[j]), act.breakpoints[j], 0.0)
        tail = [layer.bias[j : j + 1], finite, act.offsets[j]]
        return np.concatenate([np.concatenate([row, *tail]) / size[j], act.slopes[j], np.isinf(act.breakpoints[j])])

    order = np.argsort(shadow, kind="stable")
    taken = np.zeros(m, dtype=bool)
    for position, i in enumerate(order):
        if taken[i]:
            continue
        group = [int(i)]
        ours: Floats | None = None
        for j in order[position + 1 :]:
            if shadow[j] - shadow[i] > window:
                break
            if taken[j]:
                continue
            ours = numbers(int(i)) if ours is None else ours
            theirs = numbers(int(j))
            if (np.abs(ours - theirs) <= tolerance * np.maximum(np.abs(ours), np.abs(theirs))).all():
                group.append(int(j))
                taken[j] = True
        first = min(group)
        kept[group], factor[group] = first, size[group] / size[first]
    return kept, factor
