"""Parameters of JAX networks: nested mappings of arrays, as Flax and Haiku hold them, and Equinox modules.

Parameters alone do not say how a network uses them. Their architecture does: the widths ``[inputs, 40, 40, outputs]`` of
a chain of affine layers with ReLU between. An Equinox module can be asked for its output, and is compared with it.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from relucidate.errors import ArgumentError, MalformedModelError, UnsupportedModelError, clipped, shown
from relucidate.frameworks import arrays
from relucidate.frameworks.reading import Options, Original, Reading
from relucidate.layers import Floats

# What frameworks call a weight (inputs, outputs), one (outputs, inputs), and a bias.
_IN_OUT, _OUT_IN, _BIAS = ("kernel", "w"), ("weight",), ("bias", "b")


@dataclass(frozen=True, eq=False)
class _Group:
    """A weight (inputs, outputs) and its bias, found together under one name."""

    name: str
    weight: Any
    bias: Any


def recognises(model: Any) -> bool:
    """Return whether `model` is an Equinox or Flax module, or nested mappings of arrays with a weight among them."""
    if _is_equinox(model) or _is_nnx(model):
        return True
    return isinstance(model, Mapping) and any(_leaf_name(path) in _IN_OUT + _OUT_IN for path, _ in _leaves(model))


def read(model: Any, options: Options) -> Reading:
    """Return the network of some parameters, and what it must equal.

    Parameters
    ----------
    model : nested mappings of arrays: ``kernel`` or ``w`` (inputs, outputs), ``weight`` (outputs, inputs), each beside its
        ``bias`` or ``b``. Or an Equinox module made of Linear layers.
    options : `architecture` is the widths of the layers, inputs first; for an Equinox module it may be left out. `link`
        says what the output is, "identity" if not given; `feature_names` name the inputs.

    Raises
    ------
    ArgumentError : no architecture, or not a list of widths. MalformedModelError : the parameters do not fit it.
    UnsupportedModelError : parameters of something else than affine layers, or whose order is not evident.
    """
    options.refuse("parameters of a network", "inputs", "output", "normalise")
    if _is_nnx(model):
        model = _nnx_state(model)
    live = _is_equinox(model)
    groups = list(_equinox_linears(model)) if live else _grouped(model)
    widths = _widths(options.architecture, live)
    if widths is not None:
        groups = _ordered(groups, widths)
    if not groups:
        raise UnsupportedModelError(f"the {type(model).__name__} holds no Linear layer; there is nothing to unwrap.")
    stored = {
        "weights": [np.asarray(g.weight) for g in groups],
        "biases": [np.zeros(np.shape(g.weight)[1]) if g.bias is None else np.asarray(g.bias) for g in groups],
        "orientation": "in_out",
    }
    reading = arrays.read(stored, replace(options, architecture=None))
    kind = f"equinox {type(model).__name__}" if live else "parameters"
    source = f"{kind}, architecture {_shape_of(groups)}"
    layers = tuple(replace(layer, name=g.name) for layer, g in zip(reading.network.layers, groups, strict=True))
    assumed = "the layers between are taken to be ReLU: parameters do not say"
    notes = () if live else (assumed,)
    provenance = replace(reading.network.provenance, source=source, notes=notes)
    network = replace(reading.network, layers=layers, provenance=provenance)
    originals = reading.originals
    if live:
        originals = (_equinox_original(model, stored), *originals)
    return replace(reading, network=network, originals=originals)


def _shape_of(groups: Sequence[_Group]) -> list[int]:
    return [np.shape(groups[0].weight)[0], *(np.shape(g.weight)[1] for g in groups)]


def _widths(architecture: Any, live: bool) -> list[int] | None:
    """Return the widths that the caller gave."""
    if architecture is None and live:
        return None
    hint = "Give architecture=[inputs, 40, 40, outputs]: the widths of affine layers with ReLU between."
    if architecture is None:
        raise ArgumentError(f"Parameters alone do not say how a network uses them. {hint}")
    if not isinstance(architecture, list | tuple) or len(architecture) < 2:
        raise ArgumentError(f"architecture={clipped(architecture)} is no list of two or more widths. {hint}")
    if not all(isinstance(w, int | np.integer) and not isinstance(w, bool) and w > 0 for w in architecture):
        raise ArgumentError(f"architecture={clipped(architecture)} must hold whole numbers above 0. {hint}")
    return [int(w) for w in architecture]


# ---------------------------------------------------------------- mappings of arrays


def _leaves(model: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(model, Mapping):
        for key, value in model.items():
            yield from _leaves(value, (*path, str(key)))
    else:
        yield path, model


def _leaf_name(path: Sequence[str]) -> str:
    return path[-1].rsplit(".", 1)[-1] if path else ""


def _grouped(model: Mapping[str, Any]) -> list[_Group]:
    """Return the weights and biases of nested mappings, in the order in which they are held."""
    found: dict[str, dict[str, Any]] = {}
    for path, leaf in _leaves(model):
        name = ".".join(path)
        last = _leaf_name(path)
        if last not in _IN_OUT + _OUT_IN + _BIAS:
            raise UnsupportedModelError(
                f"{clipped(name)} (shape {np.shape(leaf)}) is neither a weight ({', '.join(_IN_OUT + _OUT_IN)}) nor a bias "
                f"({', '.join(_BIAS)}): only affine layers are read from parameters. Fold normalisations into the weights, "
                "or export the model to ONNX."
            )
        prefix = name[: -len(last)].rstrip(".")
        found.setdefault(prefix, {})[last] = _array(name, leaf)
    return [_group(name, parts) for name, parts in found.items()]


def _array(name: str, leaf: Any) -> Any:
    leaf = leaf.detach().cpu() if hasattr(leaf, "detach") else leaf
    array = np.asarray(leaf)
    if array.dtype.kind not in "fiub" and array.dtype.name in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
        array = array.astype(np.float32)
    if array.dtype.kind not in "fiub":
        raise MalformedModelError(f"{clipped(name)} is a {clipped(type(leaf).__name__)}; expected an array of numbers.")
    return array


def _group(name: str, parts: Mapping[str, Any]) -> _Group:
    weights = [key for key in parts if key in _IN_OUT + _OUT_IN]
    biases = [key for key in parts if key in _BIAS]
    if len(weights) != 1 or len(biases) > 1:
        raise MalformedModelError(f"{clipped(name)} holds {shown(parts)}; expected one weight and at most one bias.")
    weight = parts[weights[0]]
    if weight.ndim != 2:
        raise UnsupportedModelError(
            f"{clipped(name)}.{weights[0]} has the shape {weight.shape}; only matrices are read from parameters. Export "
            "convolutions to ONNX."
        )
    return _Group(name, weight.T if weights[0] in _OUT_IN else weight, parts[biases[0]] if biases else None)


def _ordered(groups: Sequence[_Group], widths: Sequence[int]) -> list[_Group]:
    """Return the groups in the order in which the architecture uses them."""
    wanted = list(pairwise(widths))
    held = [f"{g.name or 'the weight'} {tuple(np.shape(g.weight))}" for g in groups]
    if sorted(wanted) != sorted(tuple(np.shape(g.weight)) for g in groups):
        turned = sorted(wanted) == sorted(tuple(np.shape(g.weight))[::-1] for g in groups)
        remedy = (
            "They fit the other way round: transpose them, or give the architecture from inputs to outputs."
            if turned
            else "Give the widths of every layer, inputs first."
        )
        raise MalformedModelError(
            f"The parameters do not fit architecture={list(widths)}: it needs weights of shapes (inputs, outputs) "
            f"{shown(wanted, 12)}; there are {shown(held, 12)}. {remedy}"
        )
    if len(set(wanted)) == len(wanted):
        by_shape = {tuple(np.shape(g.weight)): g for g in groups}
        return [by_shape[shape] for shape in wanted]
    ordered = sorted(groups, key=lambda g: _natural(g.name))
    numbered = len({re.sub(r"\d+", "#", g.name) for g in groups}) == 1
    if not numbered or [tuple(np.shape(g.weight)) for g in ordered] != wanted:
        raise UnsupportedModelError(
            f"Layers of the same shape are named {shown([g.name for g in groups], 12)}, which does not tell their order. Name "
            "them by number, or pass them in order: load((weights, biases))."
        )
    return ordered


def _natural(name: str) -> list[Any]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


# ---------------------------------------------------------------- modules


def _is_a(model: Any, package: str, name: str) -> bool:
    module = sys.modules.get(package)
    return module is not None and isinstance(model, getattr(module, name, ()))


def _is_equinox(model: Any) -> bool:
    return _is_a(model, "equinox", "Module")


def _is_nnx(model: Any) -> bool:
    return _is_a(model, "flax.nnx", "Module") or _is_a(model, "flax.nnx", "State")


def _nnx_state(model: Any) -> Any:
    """Return the parameters of a Flax NNX module as nested mappings of arrays."""
    nnx = sys.modules["flax.nnx"]
    state: Any = nnx.state(model, nnx.Param) if _is_a(model, "flax.nnx", "Module") else model
    return nnx.to_pure_dict(state)


def _equinox_linears(model: Any) -> Iterator[_Group]:
    """Yield the Linear layers of a module in the order of its fields."""
    for name, part in _parts(model, ""):
        if type(part).__name__ == "Linear" and type(part).__module__.startswith("equinox."):
            weight = np.asarray(part.weight)
            yield _Group(name, weight.T, None if part.bias is None else np.asarray(part.bias).ravel())
        elif hasattr(part, "shape") and hasattr(part, "dtype") and np.asarray(part).dtype.kind in "fc":
            raise UnsupportedModelError(
                f"{clipped(name)} (shape {np.shape(part)}) is no part of a Linear layer: only affine layers with ReLU between "
                "are read from Equinox modules. Export the model to ONNX (jax2onnx) to have the rest read."
            )


def _parts(model: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield (name, Linear layer or array) of a module, its fields and whatever they hold."""
    if type(model).__name__ == "Linear" or not (_is_equinox(model) or isinstance(model, list | tuple | Mapping)):
        yield path, model
    elif isinstance(model, list | tuple):
        for i, part in enumerate(model):
            yield from _parts(part, f"{path}[{i}]")
    elif isinstance(model, Mapping):
        for key, part in model.items():
            yield from _parts(part, f"{path}[{key!r}]")
    else:
        for field in dataclasses.fields(model):
            yield from _parts(getattr(model, field.name, None), f"{path}.{field.name}".lstrip("."))


def _equinox_original(model: Any, stored: Mapping[str, Any]) -> Original:
    """Return the module itself, run on one row at a time as it takes them."""
    import jax

    def forward(rows: Any, dtype: Any) -> Floats:
        a = np.asarray(rows, dtype=dtype)
        last = len(stored["weights"]) - 1
        for i, (weight, bias) in enumerate(zip(stored["weights"], stored["biases"], strict=True)):
            z = a @ weight.astype(dtype) + bias.astype(dtype)
            a = z if i == last else np.maximum(z, 0)
        return a.astype(np.float64)

    def output(rows: Any) -> Floats:
        out = np.asarray(jax.vmap(model)(jax.numpy.asarray(np.asarray(rows), dtype=stored["weights"][0].dtype)))
        return out.reshape(len(out), -1).astype(np.float64)

    def tolerance(rows: Any) -> Floats:
        exact = forward(rows, np.float64)
        lost = np.abs(exact - forward(rows, np.float32))
        return 16 * (lost + np.quantile(lost, 0.95, axis=0)) / (1 + np.abs(exact)) + 2e-6

    return Original(f"the module itself (jax {jax.__version__})", output, "decision", tolerance, single=True)
