"""What a tensor of an ONNX graph can be while it is lowered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from relucidate.errors import UnsupportedModelError
from relucidate.frameworks.lowering import Expr, Shape
from relucidate.frameworks.onnx_graph import Node
from relucidate.layers import Bools, Floats

if TYPE_CHECKING:
    from relucidate.frameworks.onnx_lowering import Lowering

MAX_COLUMNS = 2**18

Value = Any  # Array | Expr | Columns | Mask | Head
Rule = Callable[["Lowering", Node, Sequence[Value]], Any]


@dataclass(frozen=True, eq=False)
class Columns:
    """Input columns that nothing was computed from yet: what encoders and imputers take.

    Parameters
    ----------
    atoms : (column, what takes the place of a missing value or None), as the tensor is shaped.
    kind : of the cells.
    truncated : cast from float to a whole number, which is no affine map unless an encoder follows.
    """

    atoms: np.ndarray[Any, Any]
    kind: Literal["float", "int", "text"]
    truncated: bool = False

    @property
    def shape(self) -> Shape:
        return self.atoms.shape

    def __post_init__(self) -> None:
        if self.atoms.size > MAX_COLUMNS:
            raise UnsupportedModelError(f"{self.atoms.size:,} inputs are more than relucidate takes ({MAX_COLUMNS:,}).")


def atoms(items: Sequence[tuple[int, Any]], shape: Shape) -> np.ndarray[Any, Any]:
    """Return pairs (column, imputed value) as an array of objects."""
    out = np.empty(len(items), dtype=object)
    out[:] = items
    return out.reshape(shape)


def raw_columns(first: int, shape: Shape, kind: Literal["float", "int", "text"]) -> Columns:
    """Return the tensor of an input of one row, its columns numbered from `first`."""
    if prod(shape) > MAX_COLUMNS:
        raise UnsupportedModelError(f"an input of shape {shape} has more than {MAX_COLUMNS:,} values.")
    return Columns(atoms([(first + i, None) for i in range(prod(shape))], shape), kind)


@dataclass(frozen=True, eq=False)
class Mask:
    """Where a preactivation is above, or below, a constant: 1 or 0. By itself a jump.

    Parameters
    ----------
    x : what is compared. at : with what, (x.size,).
    above : whether it holds above `at`, else below.
    equal : whether it holds at `at` itself.
    """

    x: Expr
    at: Floats
    above: bool
    equal: bool

    @property
    def shape(self) -> Shape:
        return self.x.shape

    def inverted(self) -> Mask:
        """Return where this one does not hold."""
        return replace(self, above=not self.above, equal=not self.equal)

    def holds(self, values: Floats) -> Bools:
        """Return whether it holds at preactivations (x.size,)."""
        side = values > self.at if self.above else values < self.at
        return side | ((values == self.at) & self.equal)
