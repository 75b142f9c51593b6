"""Affine layers and the piecewise-linear activation of each of their neurons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from relucidate.errors import MalformedModelError, clipped
from relucidate.products import padded, row_by_row

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Floats: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]
Matrix: TypeAlias = "Floats | csr_array"


def is_sparse(matrix: object) -> bool:
    """Return whether `matrix` is a scipy sparse container, without importing scipy."""
    return hasattr(matrix, "indptr")


def frozen(array: Any) -> Any:
    """Return `array` (dense or sparse) marked read-only."""
    for part in (array.data, array.indices, array.indptr) if is_sparse(array) else (array,):
        part.flags.writeable = False
    return array


@dataclass(frozen=True, eq=False)
class Activation:
    """A continuous piecewise-linear function per neuron.

    Parameters
    ----------
    breakpoints : (m, p) increasing along each row, unused places hold +inf.
    slopes, offsets : (m, p + 1). On piece k the value is ``slopes[:, k] * z + offsets[:, k]``.

    Notes
    -----
    The piece in force is the number of breakpoints strictly below z; a ReLU is therefore on iff z > 0. Neurons without
    a finite breakpoint never switch and take no place in activation patterns.
    """

    breakpoints: Floats
    slopes: Floats
    offsets: Floats

    def __post_init__(self) -> None:
        for name in ("breakpoints", "slopes", "offsets"):
            object.__setattr__(self, name, np.array(getattr(self, name), dtype=np.float64, order="C"))
        m, p = self.breakpoints.shape
        if self.slopes.shape != (m, p + 1) or self.offsets.shape != (m, p + 1):
            raise MalformedModelError(
                f"An activation with breakpoints {self.breakpoints.shape} needs slopes and offsets of shape {(m, p + 1)}; "
                f"got {self.slopes.shape} and {self.offsets.shape}."
            )
        if not (
            np.isfinite(self.slopes).all() and np.isfinite(self.offsets).all() and (self.breakpoints > -np.inf).all()
        ):
            raise MalformedModelError(
                "An activation's slopes and offsets must be finite, and its breakpoints neither NaN nor -inf; mend the model."
            )
        if (
            p > 1
            and not (np.diff(np.where(np.isinf(self.breakpoints), np.finfo(float).max, self.breakpoints)) >= 0).all()
        ):
            raise MalformedModelError("The breakpoints of an activation must increase along each row.")
        at = np.isfinite(self.breakpoints)
        b = np.where(at, self.breakpoints, 0.0)
        below = self.slopes[:, :-1] * b + self.offsets[:, :-1]
        above = self.slopes[:, 1:] * b + self.offsets[:, 1:]
        # one rounding of each term of either side
        gap = np.where(
            at,
            np.abs(below - above)
            - 1e-14 * (np.abs(b * self.slopes[:, :-1]) + np.abs(self.offsets[:, :-1]) + np.abs(above)),
            0,
        )
        if not (gap <= 0).all():
            raise MalformedModelError(
                f"An activation must be continuous; it jumps by {clipped(float(gap.max()))} at a breakpoint."
            )
        for part in (self.breakpoints, self.slopes, self.offsets):
            frozen(part)

    @staticmethod
    def of_kind(kind: str, m: int, *parameters: Any) -> Activation:
        """Return `m` neurons of one kind.

        Parameters
        ----------
        kind : "identity", "relu", "leaky_relu" (slope or (m,) slopes), "clip" (low, high; either may be infinite), "abs".
        """
        inf = np.inf
        if kind == "identity":
            return Activation.build(m, [], [1], [0])
        if kind == "relu":
            return Activation.build(m, [0], [0, 1], [0, 0])
        if kind == "abs":
            return Activation.build(m, [0], [-1, 1], [0, 0])
        if kind == "leaky_relu":
            return Activation.build(m, [0], [parameters[0], 1], [0, 0])
        if kind == "clip":
            low, high = parameters
            if low == -inf and high == inf:
                return Activation.of_kind("identity", m)
            if high == inf:
                return Activation.build(m, [low], [0, 1], [low, 0])
            if low == -inf:
                return Activation.build(m, [high], [1, 0], [0, high])
            if not low < high:
                return Activation.build(m, [], [0], [high])
            return Activation.build(m, [low, high], [0, 1, 0], [low, 0, high])
        raise MalformedModelError(f"Unknown activation {kind!r}; expected identity, relu, leaky_relu, clip or abs.")

    @staticmethod
    def build(m: int, breakpoints: Sequence[Any], slopes: Sequence[Any], offsets: Sequence[Any]) -> Activation:
        """Return an activation from one value, or one (m,) array, per breakpoint and per piece."""

        def columns(parts: Sequence[Any]) -> Floats:
            out = np.empty((m, len(parts)))
            for k, part in enumerate(parts):
                out[:, k] = part
            return out

        return Activation(columns(breakpoints), columns(slopes), columns(offsets))

    @staticmethod
    def joined(parts: Sequence[Activation]) -> Activation:
        """Return the neurons of several activations one after the other."""
        p = max((a.breakpoints.shape[1] for a in parts), default=0)

        def padded(array: Floats, width: int, last: bool) -> Floats:
            missing = width - array.shape[1]
            filler = np.repeat(array[:, -1:], missing, axis=1) if last else np.full((len(array), missing), np.inf)
            return np.hstack([array, filler])

        return Activation(
            np.vstack([padded(a.breakpoints, p, last=False) for a in parts]),
            np.vstack([padded(a.slopes, p + 1, last=True) for a in parts]),
            np.vstack([padded(a.offsets, p + 1, last=True) for a in parts]),
        )

    def __len__(self) -> int:
        return len(self.breakpoints)

    @cached_property
    def is_relu(self) -> bool:
        """Whether every neuron is a plain ReLU."""
        return bool(
            self.breakpoints.shape[1] == 1
            and (self.breakpoints == 0).all()
            and (self.slopes == (0, 1)).all()
            and not self.offsets.any()
        )

    @cached_property
    def is_identity(self) -> bool:
        """Whether no neuron changes its preactivation."""
        return bool(self.breakpoints.shape[1] == 0 and (self.slopes == 1).all() and not self.offsets.any())

    @cached_property
    def switches(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Neuron and breakpoint of each bit of the pattern, neuron by neuron."""
        neuron, k = np.nonzero(np.isfinite(self.breakpoints))
        return neuron, k

    @property
    def n_bits(self) -> int:
        """Number of bits that this layer takes in an activation pattern."""
        return len(self.switches[0])

    def pieces_in_force(self, bits: Bools) -> tuple[Floats, Floats]:
        """Return slopes and offsets (n, m) of the pieces that the bits (n, n_bits) put in force."""
        if self.is_relu:
            return bits.astype(np.float64), np.zeros((1, len(self)))
        neuron, k = self.switches
        above = []
        for j in range(self.breakpoints.shape[1]):
            on = np.zeros((len(bits), len(self)), dtype=bool)
            on[:, neuron[k == j]] = bits[:, k == j]
            above.append(on)
        return self._pieces_above(above, len(bits))

    def _pieces_above(self, above: Sequence[Bools], n: int) -> tuple[Floats, Floats]:
        """Return slopes and offsets (n, m), from whether each neuron is above its first, second, … breakpoint (n, m)."""
        slopes = np.broadcast_to(self.slopes[:, 0], (n, len(self)))
        offsets = np.broadcast_to(self.offsets[:, 0], (n, len(self)))
        for j, on in enumerate(above):
            slopes = np.where(on, self.slopes[:, j + 1], slopes)
            offsets = np.where(on, self.offsets[:, j + 1], offsets)
        return slopes, offsets

    def bits(self, z: Floats) -> Bools:
        """Return the pattern bits (n, n_bits) of preactivations (n, m)."""
        if self.is_relu:
            return z > 0
        neuron, k = self.switches
        return z[:, neuron] > self.breakpoints[neuron, k]

    def __call__(self, z: Floats) -> Floats:
        """Return the values (n, m) at preactivations (n, m)."""
        if self.is_relu:
            return np.maximum(z, 0.0)
        if self.is_identity:
            return z
        slopes, offsets = self._pieces_above([z > b for b in self.breakpoints.T], len(z))
        return slopes * z + offsets

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The kinds of neuron present, as a person would call them."""
        return tuple(sorted({_kind(*row) for row in zip(self.breakpoints, self.slopes, self.offsets, strict=True)}))


def _kind(breakpoints: Floats, slopes: Floats, offsets: Floats) -> str:
    b = breakpoints[np.isfinite(breakpoints)]
    s, o = slopes[: len(b) + 1].tolist(), offsets[: len(b) + 1].tolist()
    if len(b) == 0:
        return "identity" if (s, o) == ([1.0], [0.0]) else "affine"
    if len(b) == 1 and b[0] == 0 and o == [0.0, 0.0]:
        return {(0.0, 1.0): "ReLU", (-1.0, 1.0): "Abs"}.get((s[0], s[1]), "LeakyReLU" if s[1] == 1 else "two-piece")
    if s == [0.0, 1.0, 0.0] or (len(b) == 1 and sorted(s) == [0.0, 1.0]):
        return "Clip"
    return f"{len(b) + 1}-piece"


@dataclass(frozen=True, eq=False)
class Layer:
    """One affine map followed by a piecewise-linear activation per neuron.

    Parameters
    ----------
    weight : (m, k) dense float64 array or `scipy.sparse.csr_array`.
    bias : (m,)
    activation : one function per neuron; the identity for an output layer.
    name : what the layer was called in the file or object that it came from.
    """

    weight: Matrix
    bias: Floats
    activation: Activation
    name: str = field(default="")

    def __post_init__(self) -> None:
        weight: Any = self.weight
        if hasattr(weight, "tocsr"):
            from scipy.sparse import csr_array

            weight = csr_array(weight, dtype=np.float64, copy=True)
            weight.sum_duplicates()
        else:
            weight = np.array(weight, dtype=np.float64, order="C")
        bias = np.array(self.bias, dtype=np.float64)
        where = f"Layer {self.name!r}: " if self.name else ""
        if weight.ndim != 2 or bias.shape != (weight.shape[0],) or len(self.activation) != weight.shape[0]:
            raise MalformedModelError(
                f"{where}a weight of shape {weight.shape} needs a bias of shape ({weight.shape[0]},) and as many "
                f"activations; got a bias {bias.shape} and {len(self.activation)} activations."
            )
        values = weight.data if is_sparse(weight) else weight
        if not (np.isfinite(values).all() and np.isfinite(bias).all()):
            raise MalformedModelError(
                f"{where}weights or biases hold NaN or infinity; every number in a network must be finite. Train it anew "
                "or mend the file."
            )
        object.__setattr__(self, "weight", frozen(weight))
        object.__setattr__(self, "bias", frozen(bias))

    def preactivation(self, a: Floats) -> Floats:
        """Return ``a @ weight.T + bias``, (n, k) to (n, m)."""
        z = np.ascontiguousarray((self.weight @ a.T).T) if is_sparse(self.weight) else row_by_row(a, self._forward)
        z = z[:, : len(self.bias)]  # a view of padded columns, if there are any
        z += self.bias
        return z

    def pulled_back(self, v: Floats) -> tuple[Floats, Floats]:
        """Return ``v @ weight`` (n, k) and ``v @ bias`` (n,), of (n, m)."""
        weight: Any = self.weight
        if is_sparse(weight):
            return np.ascontiguousarray((self._transposed @ v.T).T), row_by_row(v, padded(self.bias[None]))[:, 0]
        both = row_by_row(v, self._backward)
        return both[:, : weight.shape[1]], both[:, weight.shape[1]]

    @cached_property
    def _forward(self) -> Floats:
        return padded(self.weight)

    @cached_property
    def _transposed(self) -> Any:
        """The sparse weight by columns: products with it take half the time."""
        weight: Any = self.weight
        return weight.T.tocsr()

    @cached_property
    def _backward(self) -> Floats:
        return padded(np.concatenate([self.weight.T, self.bias[None]]))

    @property
    def n_parameters(self) -> int:
        """Stored weights and biases."""
        return (self.weight.nnz if is_sparse(self.weight) else self.weight.size) + len(self.bias)  # type: ignore[union-attr]
