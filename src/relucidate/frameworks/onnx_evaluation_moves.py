"""Shapes, slices, repeats, casts and the making of constants, evaluated as the ONNX specification reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
from onnx import TensorProto

from relucidate.errors import MalformedModelError, UnsupportedModelError
from relucidate.frameworks.onnx_graph import Node

_TYPES: dict[int, Any] = {
    TensorProto.FLOAT: np.float32,
    TensorProto.DOUBLE: np.float64,
    TensorProto.FLOAT16: np.float16,
    TensorProto.INT8: np.int8,
    TensorProto.UINT8: np.uint8,
    TensorProto.INT16: np.int16,
    TensorProto.UINT16: np.uint16,
    TensorProto.INT32: np.int32,
    TensorProto.UINT32: np.uint32,
    TensorProto.INT64: np.int64,
    TensorProto.UINT64: np.uint64,
    TensorProto.BOOL: np.bool_,
}


def widened(array: Any) -> Any:
    """Return an array in float64 if it holds fractional numbers, else as it is."""
    return array.astype(np.float64) if isinstance(array, np.ndarray) and array.dtype.kind == "f" else array


def _dtype(kind: int, widen: bool) -> Any:
    dtype = _TYPES[kind]
    return np.float64 if widen and np.issubdtype(dtype, np.floating) else dtype


def axes_given(node: Node, inputs: Sequence[Any], place: int = 1) -> tuple[int, ...] | None:
    """Return the axes that an attribute or an input names, None if neither does."""
    given = node.attribute("axes")
    if given is None and len(inputs) > place and inputs[place] is not None:
        given = inputs[place].ravel().tolist()
    return None if given is None else tuple(int(a) for a in given)


def _flatten(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    shape, axis = inputs[0].shape, node.attribute("axis", 1)
    axis = axis + len(shape) if axis < 0 else axis
    return inputs[0].reshape(prod(shape[:axis]), -1 if prod(shape[:axis]) else prod(shape[axis:]))


def _reshape(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    wanted = node.attribute("shape") if len(inputs) < 2 else inputs[1].tolist()
    old = inputs[0].shape
    if not node.attribute("allowzero", 0):
        wanted = [old[i] if s == 0 else s for i, s in enumerate(wanted)]
    return inputs[0].reshape(wanted)


def _squeeze(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    return np.squeeze(inputs[0], axis=axes_given(node, inputs))


def _unsqueeze(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    return np.expand_dims(inputs[0], axis=axes_given(node, inputs) or ())


def _cast(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    kind = node.attribute("to")
    if isinstance(kind, str):  # opset 1 wrote the name
        kind = TensorProto.DataType.Value(kind)
    if kind == TensorProto.STRING and inputs[0].dtype.kind == "O":
        return inputs[0]
    if kind not in _TYPES:
        raise UnsupportedModelError(f"{node.label} casts to {TensorProto.DataType.Name(kind)}, which is not evaluated.")
    return inputs[0].astype(_dtype(kind, widen))


def _constant(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    for name, dtype in (
        ("value", None),
        ("value_float", np.float32),
        ("value_floats", np.float32),
        ("value_int", np.int64),
        ("value_ints", np.int64),
        ("value_string", object),
        ("value_strings", object),
    ):
        if name in node.attributes:
            value = np.asarray(node.attributes[name], dtype=dtype)
            return widened(value) if widen else value
    raise UnsupportedModelError(f"{node.label} has no value that relucidate reads.")


def _gather(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    return np.take(inputs[0], inputs[1], axis=node.attribute("axis", 0))


def _slice(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    if node.version < 10:
        starts, ends = node.attribute("starts"), node.attribute("ends")
        axes, steps = node.attribute("axes"), None
    else:
        starts, ends = inputs[1].tolist(), inputs[2].tolist()
        axes, steps = ((None if p is None else p.tolist()) for p in (*inputs[3:], None, None)[:2])
    axes = list(range(len(starts))) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    where = [slice(None)] * inputs[0].ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        size = inputs[0].shape[axis]
        stop: int | None = end
        if step < 0 and end < -size:
            stop = None
        where[axis] = slice(start, stop, step)
    return inputs[0][tuple(where)]


def _split(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    axis = node.attribute("axis", 0)
    sizes = node.attribute("split")
    if sizes is None and len(inputs) > 1 and inputs[1] is not None:
        sizes = inputs[1].tolist()
    size, parts = inputs[0].shape[axis], len(node.outputs)
    if sizes is None:
        each = -(-size // parts)
        sizes = [each] * (parts - 1) + [size - each * (parts - 1)]
    if sum(sizes) != size or min(sizes) < 0:
        raise MalformedModelError(f"{node.label} splits {size} values into parts of {sizes}.")
    return tuple(np.split(inputs[0], np.cumsum(sizes)[:-1], axis=axis))


def _expand(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    return np.broadcast_to(inputs[0], np.broadcast_shapes(inputs[0].shape, tuple(inputs[1].tolist())))


def _constant_of_shape(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    value = node.attribute("value", np.zeros(1, np.float32))
    value = widened(value) if widen else value
    return np.full(inputs[0].tolist(), value[0], dtype=value.dtype)


def _shape(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    return np.array(inputs[0].shape[node.attribute("start", 0) : node.attribute("end")], dtype=np.int64)


def _cast_like(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    return inputs[0].astype(inputs[1].dtype)


def _size(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    return np.array(inputs[0].size, dtype=np.int64)


def _gather_elements(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    data, index = inputs
    axis = node.attribute("axis", 0) % data.ndim
    data = data[tuple(slice(None) if a == axis else slice(0, s) for a, s in enumerate(index.shape))]
    return np.take_along_axis(data, np.where(index < 0, index + data.shape[axis], index), axis)


def _gather_nd(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    data, index = inputs
    batch = node.attribute("batch_dims", 0)
    if batch == 0:
        return data[tuple(np.moveaxis(index, -1, 0))]
    parts = [data[at][tuple(np.moveaxis(index[at], -1, 0))] for at in np.ndindex(*data.shape[:batch])]
    return np.stack(parts).reshape(*data.shape[:batch], *parts[0].shape)


def _scatter_nd(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    data, index, updates = inputs
    if node.attribute("reduction", "none") != "none":
        raise UnsupportedModelError(f"{node.label} adds to what it writes over, which is not evaluated.")
    out = data.copy()
    out[tuple(np.moveaxis(index, -1, 0))] = updates
    return out


def _scatter_elements(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    data, index, updates = inputs
    if node.attribute("reduction", "none") != "none":
        raise UnsupportedModelError(f"{node.label} adds to what it writes over, which is not evaluated.")
    axis = node.attribute("axis", 0) % data.ndim
    out = data.copy()
    part = out[tuple(slice(None) if a == axis else slice(0, s) for a, s in enumerate(index.shape))]
    np.put_along_axis(part, np.where(index < 0, index + data.shape[axis], index), updates, axis)
    return out


def _tile(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    if len(inputs) == 3:  # opset 1: how often, along which axis
        repeats = [1] * inputs[0].ndim
        repeats[int(inputs[2].ravel()[0])] = int(inputs[1].ravel()[0])
        return np.tile(inputs[0], repeats)
    return np.tile(inputs[0], inputs[1].tolist())


def _depth_to_space(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    n, c, h, w = inputs[0].shape
    b = node.attribute("blocksize")
    if node.attribute("mode", "DCR") == "DCR":
        apart = inputs[0].reshape(n, b, b, c // b**2, h, w).transpose(0, 3, 4, 1, 5, 2)
    else:
        apart = inputs[0].reshape(n, c // b**2, b, b, h, w).transpose(0, 1, 4, 2, 5, 3)
    return apart.reshape(n, c // b**2, h * b, w * b)


def _space_to_depth(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    n, c, h, w = inputs[0].shape
    b = node.attribute("blocksize")
    apart = inputs[0].reshape(n, c, h // b, b, w // b, b).transpose(0, 3, 5, 1, 2, 4)
    return apart.reshape(n, c * b**2, h // b, w // b)


def pad_widths(node: Node, inputs: Sequence[Any], rank: int) -> list[tuple[int, int]]:
    """Return what a Pad adds before and after each axis; negative numbers cut."""
    given = node.attribute("pads", node.attribute("paddings"))
    given = inputs[1].ravel().tolist() if given is None else given
    axes = (*inputs, None, None, None)[3]
    over = list(range(rank)) if axes is None else [int(a) % rank for a in axes.ravel()]
    widths = [(0, 0)] * rank
    for i, axis in enumerate(over):
        widths[axis] = (int(given[i]), int(given[len(over) + i]))
    return widths


def _pad(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    x = inputs[0]
    widths = pad_widths(node, inputs, x.ndim)
    x = x[tuple(slice(max(0, -b), s - max(0, -a)) for (b, a), s in zip(widths, x.shape, strict=True))]
    widths = [(max(0, b), max(0, a)) for b, a in widths]
    mode = node.attribute("mode", "constant")
    if mode != "constant":
        return np.pad(x, widths, mode=mode)
    value = (*inputs, None, None)[2]
    fill = node.attribute("value", 0.0) if value is None or value.size == 0 else value.ravel()[0]
    return np.pad(x, widths, constant_values=fill)


def resized_shape(node: Node, inputs: Sequence[Any]) -> tuple[list[int], list[float]]:
    """Return the sizes that a Resize or Upsample makes, and by which factor each grows."""
    shape = inputs[0].shape
    # opset 10 takes the factors second, newer ones a region of interest before them
    scales, sizes = ((*inputs, None)[1], None) if node.version < 11 else (*inputs, None, None, None)[2:4]
    if node.attribute("axes") or node.attribute("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise UnsupportedModelError(
            f"{node.label} resizes by axes or ratios; export it with scales or sizes for all axes."
        )
    if sizes is not None and sizes.size:
        out = [int(s) for s in sizes.ravel()]
        return out, [o / s for o, s in zip(out, shape, strict=True)]
    factors = [float(f) for f in (node.attribute("scales") or () if scales is None else scales.ravel())]
    return [int(s * f) for s, f in zip(shape, factors, strict=True)], factors


def _resize(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    """Return the nearest value at each place; other ways to resize are refused."""
    x = inputs[0]
    sizes, factors = resized_shape(node, inputs)
    if node.attribute("mode", "nearest") != "nearest":
        raise UnsupportedModelError(
            f"{node.label} interpolates ({node.attribute('mode')}); only the nearest value is read."
        )
    for axis, (size, factor) in enumerate(zip(sizes, factors, strict=True)):
        if size != x.shape[axis] or factor != 1:
            x = np.take(x, _nearest(node, x.shape[axis], size, factor), axis=axis)
    return x


def _nearest(node: Node, size: int, wanted: int, factor: float) -> Any:
    """Return which of `size` values stands at each of `wanted` places."""
    at = np.arange(wanted, dtype=np.float64)
    older = node.op == "Upsample" or node.version < 11
    place = "asymmetric" if older else node.attribute("coordinate_transformation_mode", "half_pixel")
    rounding = "floor" if older else node.attribute("nearest_mode", "round_prefer_floor")
    if place == "half_pixel" or (place == "pytorch_half_pixel" and wanted > 1):
        at = (at + 0.5) / factor - 0.5
    elif place == "asymmetric":
        at = at / factor
    elif place == "align_corners":
        at = at * (size - 1) / max(1, wanted - 1)
    elif place == "pytorch_half_pixel":
        at = at * 0
    else:
        raise UnsupportedModelError(f"{node.label} places its values by {place}, which is not read.")
    roundings: dict[str, Callable[[Any], Any]] = {
        "round_prefer_floor": lambda v: np.ceil(v - 0.5),
        "round_prefer_ceil": lambda v: np.floor(v + 0.5),
        "floor": np.floor,
        "ceil": np.ceil,
    }
    return np.clip(roundings[rounding](at).astype(np.int64), 0, size - 1)


def _range(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    start, limit, delta = (a.ravel()[0] for a in inputs)
    return np.arange(start, limit, delta, dtype=inputs[0].dtype)


def _non_zero(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    return np.stack(np.nonzero(inputs[0])).astype(np.int64)


def _where(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    return np.where(*inputs)


def _concat(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    return np.concatenate(inputs, axis=node.attribute("axis", 1))


def _transpose(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    return np.transpose(inputs[0], node.attribute("perm"))


def _same(node: Node, inputs: Sequence[Any], widen: bool) -> Any:
    return inputs[0]


OPERATORS = {
    ("", name): operator
    for name, operator in {
        "Cast": _cast,
        "CastLike": _cast_like,
        "Concat": _concat,
        "Constant": _constant,
        "ConstantOfShape": _constant_of_shape,
        "DepthToSpace": _depth_to_space,
        "Dropout": _same,
        "Expand": _expand,
        "Flatten": _flatten,
        "Gather": _gather,
        "GatherElements": _gather_elements,
        "GatherND": _gather_nd,
        "Identity": _same,
        "NonZero": _non_zero,
        "Pad": _pad,
        "Range": _range,
        "Reshape": _reshape,
        "Resize": _resize,
        "ScatterElements": _scatter_elements,
        "ScatterND": _scatter_nd,
        "Shape": _shape,
        "Size": _size,
        "Slice": _slice,
        "SpaceToDepth": _space_to_depth,
        "Split": _split,
        "Squeeze": _squeeze,
        "Tile": _tile,
        "Transpose": _transpose,
        "Unsqueeze": _unsqueeze,
        "Upsample": _resize,
        "Where": _where,
    }.items()
}
