"""A choice between two branches, where it makes a continuous piecewise-linear function."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from relucidate.frameworks.lowering import Expr
from relucidate.frameworks.torch_values import jump
from relucidate.layers import Activation, Floats

if TYPE_CHECKING:
    from relucidate.frameworks.torch_lowering import Lowering

_FLAT = 1e-12  # two branches meet where what is left of their difference is below this share of their weights


def chosen(low: Lowering, gap: Expr, yes: Expr, no: Expr, label: str) -> Expr:
    """Return `yes` where ``gap > 0``, else `no`: continuous where their difference is a multiple of the gap.

    Raises
    ------
    UnsupportedModelError : it is not, or not visibly.

    Notes
    -----
    With ``yes - no = c * gap`` it is ``no + c * relu(gap)``; if besides ``no = s * gap + e``, it is one activation of the
    gap with slopes s and s + c. Where the gap is a constant other than 0, one of the two branches is all there is.
    """
    yes, no = _settled(low, gap, yes, no)
    size = _size(yes) + _size(no)
    factor, rest, left = _multiple(low.builder.subtract(yes, no), gap)
    if (left > _FLAT * size).any() or (np.abs(rest) > _FLAT * (size + np.abs(yes.offset) + np.abs(no.offset))).any():
        raise jump(label)
    slope, offset, left = _multiple(no, gap)
    title = label.split("'")[1] if label.startswith("'") else "where"
    if (left <= _FLAT * size).all():
        one = Activation.build(gap.size, [0.0], [slope, slope + factor], [offset, offset])
        return low.builder.activation(gap, one, title)
    above = low.builder.activation(gap, Activation.of_kind("relu", gap.size), title)
    return low.builder.add(no, low.builder.scale(above, factor.reshape(gap.shape)))


def _settled(low: Lowering, gap: Expr, yes: Expr, no: Expr) -> tuple[Expr, Expr]:
    """Return both branches, the same one twice where the gap is a constant that decides between them."""
    decided = (_size(gap) == 0) & (gap.offset != 0)
    if not decided.any():
        return yes, no
    both = low.builder.concat([yes.reshaped((yes.size,)), no.reshaped((no.size,))], 0)
    first, second = np.arange(yes.size), yes.size + np.arange(yes.size)
    only = np.where(gap.offset > 0, first, second)
    one, two = (low.builder.select(both, np.where(decided, only, at).reshape(yes.shape)) for at in (first, second))
    return one, two


def _size(x: Expr) -> Floats:
    """Return the largest weight of each value (n,)."""
    size = np.zeros(x.size)
    for matrix in x.terms.values():
        size = np.maximum(size, np.asarray(abs(sparse.csr_array(matrix)).max(axis=1).toarray()).ravel())
    return size


def _multiple(y: Expr, d: Expr) -> tuple[Floats, Floats, Floats]:
    """Return (c, e, left): ``y = c * d + e`` value by value, but for weights as large as `left`."""
    top, bottom = np.zeros(y.size), np.zeros(y.size)
    pairs = []
    for basis in dict.fromkeys((*y.terms, *d.terms)):
        ours, theirs = (
            sparse.csr_array(x.terms[basis]) if basis in x.terms else sparse.csr_array((x.size, basis.size))
            for x in (y, d)
        )
        top += np.asarray(ours.multiply(theirs).sum(axis=1)).ravel()
        bottom += np.asarray(theirs.multiply(theirs).sum(axis=1)).ravel()
        pairs.append((ours, theirs))
    c = np.divide(top, bottom, out=np.zeros(y.size), where=bottom > 0)
    left = np.zeros(y.size)
    for ours, theirs in pairs:
        gap = abs(ours - sparse.csr_array(theirs.multiply(c[:, None])))
        left = np.maximum(left, np.asarray(gap.max(axis=1).toarray()).ravel())
    return c, y.offset - c * d.offset, left
