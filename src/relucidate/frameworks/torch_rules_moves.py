"""PyTorch operators that only move values about, join them, or keep them as they are.

PyTorch itself is asked where each value goes, by running the operator on positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from relucidate.errors import UnsupportedModelError
from relucidate.frameworks.heads import Head
from relucidate.frameworks.lowering import MAX_VALUES, Expr, selection
from relucidate.frameworks.torch_values import Call, Rule, Step, Value, jump, leaves, mapped, named, widened

if TYPE_CHECKING:
    from relucidate.frameworks.torch_lowering import Lowering


def _move(*names: str) -> Rule:
    """Return the rule of an operator that only moves values about.

    Parameters
    ----------
    names : of the arguments that hold the values; the others are constants or only lend their shape.
    """

    def rule(low: Lowering, call: Call) -> Value:
        if call.get("accumulate", False) or call.get("reduce") is not None or call.get("dtype") is not None:
            raise UnsupportedModelError("values written to one place are added up, or read as another type; not read.")
        values = [v for name in names for v in leaves(call.given.get(name)) if _is_value(v)]
        if any(isinstance(v, Head) for v in values):
            return _moved_head(call, values)
        if any(isinstance(v, Step) for v in values):
            return _moved_step(low, call, values)
        parts = [low.numeric(v) for v in values]
        starts = np.cumsum([1, *(p.size for p in parts)])
        numbered = {
            id(v): torch.arange(start, start + p.size, dtype=torch.float64).reshape(p.shape)
            for v, p, start in zip(values, parts, starts, strict=False)
        }
        made = call.evaluated(lambda v: _shape_alone(numbered.get(id(v), v)))
        flat = parts[0] if len(parts) == 1 else low.builder.concat([p.reshaped((p.size,)) for p in parts], 0)
        return mapped(made, lambda at: _at(low, flat, at))

    return rule


def _is_value(value: Any) -> bool:
    return isinstance(value, Expr | Step | Head | torch.Tensor)


def _shape_alone(value: Any) -> Any:
    if isinstance(value, Expr):
        return torch.zeros(value.shape, dtype=torch.float64)
    if isinstance(value, Step):
        raise UnsupportedModelError("where to take values from depends on the input; only constants are read.")
    return value


def _at(low: Lowering, flat: Expr, positions: Any) -> Expr:
    """Return the values at positions that count from 1; 0 is a value of 0."""
    index = positions.numpy().astype(np.intp) - 1
    if index.size > MAX_VALUES:
        raise UnsupportedModelError(f"a tensor of {index.size:,} values is too large ({MAX_VALUES:,} at most).")
    if (index >= 0).all():
        return low.builder.select(flat, index)
    return low.builder.affine(flat, selection(index.ravel(), flat.size), None, index.shape)


def _moved_head(call: Call, values: Sequence[Any]) -> Head:
    """Return a head under another shape, or the pair (1 - p, p)."""
    if len(values) == 2 and all(isinstance(v, Head) for v in values):
        return _pair(values)
    if len(values) != 1:
        raise UnsupportedModelError(
            "of probabilities only (1 - p, p) is joined; let forward() return one of its parts."
        )
    (head,) = values
    size = prod(head.shape)
    made = call.evaluated(lambda v: torch.arange(size, dtype=torch.float64).reshape(head.shape) if v is head else v)
    if isinstance(made, list | tuple) or made.numel() != size or not bool((made.ravel() == torch.arange(size)).all()):
        raise UnsupportedModelError(f"what {head.label} gives is taken apart; let forward() return it whole.")
    return replace(head, shape=tuple(made.shape))


def _pair(values: Sequence[Head]) -> Head:
    first, p = values
    fits = (first.form, p.form) == ("complement", "whole") and first.decision is p.decision and not p.log
    if not fits or p.decision.size != 1:
        raise UnsupportedModelError(
            "of probabilities only (1 - p, p) is joined; let forward() return one of its parts."
        )
    return replace(p, form="pair", shape=(1, 2))


def _moved_step(low: Lowering, call: Call, values: Sequence[Any]) -> Step:
    if len(values) != 1:
        raise jump(values[0].label if isinstance(values[0], Step) else call.place.label)
    (step,) = values
    at = call.evaluated(
        lambda v: torch.arange(1.0, 1 + step.gap.size, dtype=torch.float64).reshape(step.shape) if v is step else v
    )
    if isinstance(at, list | tuple) or bool((at < 1).any()):
        raise jump(step.label)
    index = at.numpy().astype(np.intp) - 1
    return Step(low.builder.select(step.gap, index), step.low.ravel()[index], step.high.ravel()[index], step.label)


def _pad(low: Lowering, call: Call) -> Value:
    fill = float(call.get("value", 0.0))
    x = call["self"]
    if isinstance(x, Head):
        raise x.refusal(call.place.label)
    if call.get("mode", "constant") != "constant" or fill == 0:
        return _move("self")(low, call)
    # what padding leaves is the value itself, moved; around it is the fill
    x = low.numeric(x)
    plain = Call(call.place, call.target, {**call.given, "self": low.builder.shift(x, -fill), "value": 0.0})
    return low.builder.shift(_move("self")(low, plain), fill)


def _same(low: Lowering, call: Call) -> Value:
    return call["self"]


def _like(low: Lowering, call: Call) -> Value:
    """A constant that takes only its shape from the input."""
    return widened(call.evaluated(_shape_alone))


def _fill(low: Lowering, call: Call) -> Value:
    shape = tuple(call["self"].shape)
    value = call.get("value", 0.0)  # zero has none
    if isinstance(value, Expr):
        return low.builder.broadcast(value, shape)
    return torch.full(shape, float(value), dtype=torch.float64)


def _cast(low: Lowering, call: Call) -> Value:
    x, kind = call["self"], call.get("dtype")
    if kind is None and isinstance(call.given.get("other"), torch.Tensor | Expr):
        return x
    if kind is None or isinstance(x, Step):
        return x
    if not kind.is_floating_point:
        raise UnsupportedModelError("a cast to whole numbers is a staircase, not a piecewise-linear function.")
    if kind.itemsize < 4:
        low.notes.append(f"{call.place.label}: the cast to {str(kind).removeprefix('torch.')} was taken as exact")
    return x


SHAPES = (
    "view reshape _unsafe_view flatten unflatten squeeze unsqueeze permute transpose t expand select slice view_as "
    "reshape_as movedim moveaxis swapaxes swapdims ravel atleast_1d atleast_2d"
)
JOINS = "cat stack concat concatenate hstack vstack dstack column_stack row_stack"
_MOVES = (
    f"{SHAPES} broadcast_to expand_as repeat tile narrow index index_select gather take take_along_dim split "
    "split_with_sizes chunk unbind tensor_split hsplit vsplit dsplit unsafe_split unsafe_chunk unsafe_split_with_sizes "
    "flip fliplr flipud roll rot90 diagonal diag diag_embed tril triu numpy_T mT adjoint unfold im2col repeat_interleave "
    "reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d replication_pad3d "
    "pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle view_copy permute_copy expand_copy slice_copy "
    "select_copy squeeze_copy unsqueeze_copy transpose_copy t_copy"
)
_NEAREST = "upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_nearest_exact2d"

RULES: dict[str, Rule] = {
    **named(_MOVES, _move("self")),
    **named(JOINS, _move("tensors")),
    **named(_NEAREST, _move("input", "self")),
    **named("select_scatter slice_scatter diagonal_scatter scatter copy", _move("self", "src")),
    "index_put": _move("self", "values"),
    "index_copy": _move("self", "source"),
    **named("clone contiguous detach alias lift_fresh_copy lift_fresh positive", _same),
    **named("zeros_like ones_like full_like empty_like new_zeros new_ones new_full new_empty", _like),
    **dict.fromkeys(("fill", "zero"), _fill),
    **named("to _to_copy type_as", _cast),
    **dict.fromkeys(("pad", "constant_pad_nd"), _pad),
}
