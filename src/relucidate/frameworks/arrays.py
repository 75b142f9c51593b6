"""Plain arrays: ``(weights, biases)`` of a network with ReLU hidden layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from relucidate.errors import ArgumentError, MalformedModelError, clipped, shown
from relucidate.features import Features
from relucidate.frameworks.reading import Options, Original, Reading, probe_rows
from relucidate.layers import Activation, Floats, Layer, is_sparse
from relucidate.network import Network, Provenance

_KEYS = ("weights", "biases", "orientation")
Orientation = Literal["in_out", "out_in"]


def recognises(model: Any) -> bool:
    """Return whether `model` is a pair of lists, or a mapping with "weights" and "biases"."""
    if isinstance(model, Mapping):
        return "weights" in model and "biases" in model
    return isinstance(model, tuple | list) and len(model) == 2 and all(isinstance(part, tuple | list) for part in model)


def read(model: Any, options: Options) -> Reading:
    """Return the network of weights and biases, and a plain forward pass to prove it against.

    Parameters
    ----------
    model : ``(weights, biases)``, or ``{"weights": …, "biases": …, "orientation": "in_out" | "out_in"}``. One weight
        matrix and one bias per layer; hidden layers are ReLU, the output is affine. Weights may be (inputs, outputs),
        as scikit-learn's `coefs_`, or (outputs, inputs), as PyTorch's; which of them is seen from how the shapes chain.
        Where all are square and both chain, (inputs, outputs) is taken, a note says so, and `orientation` overrules
        it.
    options : `link` says what the output is, "identity" if not given; `feature_names` name the inputs.

    Raises
    ------
    MalformedModelError : the shapes do not chain, or an array holds something else than finite numbers.
    ArgumentError : an option or key that means nothing here.
    """
    options.refuse("weights and biases", "inputs", "output", "architecture", "normalise")
    weights, biases, orientation = _parts(model)
    given = tuple(_weight(w, i) for i, w in enumerate(weights))
    offsets = tuple(_bias(b, i) for i, b in enumerate(biases))
    orientation, notes = _oriented(given, offsets, orientation)
    plain = _Plain(given, offsets, orientation)
    layers = []
    for i, (weight, bias) in enumerate(zip(given, offsets, strict=True)):
        kind = "relu" if i < len(given) - 1 else "identity"
        transposed = weight if orientation == "out_in" else weight.T
        layers.append(Layer(_stored(transposed), bias, Activation.of_kind(kind, len(bias)), name=f"weights[{i}]"))
    n_inputs = layers[0].weight.shape[1]
    network = Network(
        tuple(layers),
        Features.plain(n_inputs, options.feature_names),
        link=options.link or "identity",  # type: ignore[arg-type]  # the network checks it
        provenance=Provenance(source="arrays", notes=notes),
    )
    name = f"forward pass in numpy {np.__version__}"
    return Reading(network, (Original(name, plain.decision, "decision", plain.tolerance),), probe_rows(network))


def _parts(model: Any) -> tuple[Sequence[Any], Sequence[Any], Orientation | None]:
    """Return weights, biases and the orientation if it was given."""
    orientation: Any = None
    if isinstance(model, Mapping):
        strange = [key for key in model if key not in _KEYS]
        if strange:
            raise ArgumentError(
                f"The mapping has the keys {shown(strange)}; expected {', '.join(_KEYS)}. Leave them out."
            )
        weights, biases, orientation = model["weights"], model["biases"], model.get("orientation")
        if orientation not in (None, "in_out", "out_in"):
            raise ArgumentError(
                f"orientation is {clipped(orientation)}; expected 'in_out' for weights (inputs, outputs) or 'out_in' "
                "for (outputs, inputs)."
            )
    else:
        weights, biases = model
    if len(weights) == 0 or len(weights) != len(biases):
        raise MalformedModelError(
            f"{len(weights)} weight matrices and {len(biases)} biases were given; a network needs one of each per "
            "layer, and at least one layer. Write zeros for a layer without a bias."
        )
    return weights, biases, orientation


def _numeric(array: Any, name: str) -> Any:
    """Return an array, or a sparse one, of real numbers."""
    if is_sparse(array) or hasattr(array, "tocsr"):
        from scipy.sparse import csr_array

        array = csr_array(array)
    else:
        try:
            array = np.asarray(array)
        except ValueError as problem:
            raise MalformedModelError(
                f"{name} is ragged ({problem}); every row needs the same number of values."
            ) from None
    if array.dtype.kind not in "fiub":
        raise MalformedModelError(f"{name} has dtype {array.dtype}; expected real numbers. Convert it to float64.")
    return array


def _weight(weight: Any, i: int) -> Any:
    array = _numeric(weight, f"weights[{i}]")
    if array.ndim != 2:
        raise MalformedModelError(
            f"weights[{i}] has shape {array.shape}; expected two dimensions. Write .reshape(-1, 1) or .reshape(1, -1) "
            "for a layer with one output or one input."
        )
    return array


def _bias(bias: Any, i: int) -> Floats:
    array = _numeric(bias, f"biases[{i}]")
    if is_sparse(array):
        array = array.toarray()
    if array.ndim == 2 and 1 in array.shape:
        array = array.ravel()
    if array.ndim != 1:
        raise MalformedModelError(
            f"biases[{i}] has shape {array.shape}; expected one number per output of the layer, (m,), (m, 1) or (1, m)."
        )
    return np.asarray(array, dtype=np.float64)


def _oriented(
    weights: Sequence[Any], biases: Sequence[Floats], given: Orientation | None
) -> tuple[Orientation, tuple[str, ...]]:
    """Return which way round the weights are, and what to say about it."""
    ways: tuple[Orientation, ...] = ("in_out", "out_in") if given is None else (given,)
    faults = [(way, _fault(weights, biases, way)) for way in ways]
    chaining = [way for way, fault in faults if fault is None]
    if not chaining:
        (_, text), way = max((fault, way) for way, fault in faults if fault is not None)
        reading = "(inputs, outputs)" if way == "in_out" else "(outputs, inputs)"
        both = "" if given else " The other way round they chain no further."
        raise MalformedModelError(
            f"The weights do not chain. Read as {reading}: {text} Shapes of the weights: "
            f"{shown([w.shape for w in weights], 12)}; of the biases: {shown([b.shape for b in biases], 12)}.{both}"
        )
    if len(chaining) == 2:
        note = (
            "all weights are square, so that their orientation cannot be seen: they were read as (inputs, outputs), as "
            "scikit-learn's coefs_; pass {'weights': …, 'biases': …, 'orientation': 'out_in'} for the other"
        )
        return "in_out", (note,)
    way = chaining[0]
    return way, (f"weights are {'(inputs, outputs)' if way == 'in_out' else '(outputs, inputs)'}",)


def _fault(weights: Sequence[Any], biases: Sequence[Floats], way: Orientation) -> tuple[int, str] | None:
    """Return the first layer that does not chain when the weights are read one way, and why; None if all do."""
    width: int | None = None
    for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        n_in, n_out = weight.shape if way == "in_out" else weight.shape[::-1]
        if width is not None and n_in != width:
            return i, f"weights[{i}] of shape {weight.shape} takes {n_in} values, but weights[{i - 1}] gives {width}."
        if len(bias) != n_out:
            return i, f"weights[{i}] of shape {weight.shape} has {n_out} outputs, but biases[{i}] holds {len(bias)}."
        width = n_out
    return None


def _stored(weight: Any) -> Any:
    from_sparse = is_sparse(weight)
    return weight.tocsr().astype(np.float64) if from_sparse else weight


@dataclass(frozen=True, eq=False)
class _Plain:
    """The arrays as they were given, run layer by layer."""

    weights: tuple[Any, ...]
    biases: tuple[Floats, ...]
    orientation: Orientation

    def decision(self, rows: Any) -> Floats:
        """Return ``relu(… relu(x @ W + b) …) @ W + b``."""
        a = np.asarray(rows, dtype=np.float64)
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            z = a @ (weight if self.orientation == "in_out" else weight.T) + bias
            a = np.maximum(z, 0) if i < len(self.weights) - 1 else z
        return a

    def tolerance(self, rows: Any) -> float:
        """Return what rounding may do: 1e-9, or more where large terms cancel."""
        size = np.abs(np.asarray(rows, dtype=np.float64))
        for weight, bias in zip(self.weights, self.biases, strict=True):
            size = size @ abs(weight if self.orientation == "in_out" else weight.T) + np.abs(bias)
        return float(max(1e-9, 16 * np.finfo(float).eps * (size / (1 + np.abs(self.decision(rows)))).max()))
