"""Reading models of other frameworks, and proving what was read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from relucidate.errors import ArgumentError, DataError, UnsupportedModelError, shown
from relucidate.frameworks.files import kind_of, refusal
from relucidate.frameworks.reading import Options, Original, Reading, rounded
from relucidate.network import Faithfulness, Network, assert_faithful

# Readers of live objects, each of which knows its own without importing the framework. They are asked in this order:
# a Keras model on PyTorch is a PyTorch module too.
_READERS = ("sklearn", "arrays", "keras", "torch", "parameters")


def load(
    model: Any,
    *,
    link: str | None = None,
    feature_names: Sequence[str] | None = None,
    inputs: Sequence[str] | None = None,
    output: str | None = None,
    architecture: Any = None,
    normalise: bool = False,
    probe: Any = None,
) -> Network:
    """Return a model as a network in canonical form, proved equal to the original on probe points.

    Parameters
    ----------
    model : path of a file, a live model, or arrays. Files, told apart by their content: ONNX, Keras (`.keras`, `.h5`),
        PyTorch state_dicts (`.pt`), safetensors, NNet (`.nnet`), and the JSON that `export` writes. Live: a PyTorch module,
        a Keras model, a fitted scikit-learn estimator or pipeline, an `onnx.ModelProto`, a `Network` (returned as it is).
        Arrays: ``(weights, biases)``, or the parameters of a JAX network with its architecture.
    link : "identity", "logit", "softmax" or "log", for a model that ends in logits and does not say so.
    feature_names : one per input column.
    inputs : for a model with several inputs, their names in the order in which their columns are taken. For a PyTorch
        module also a mapping of each input's name to the shape of one row, where that cannot be inferred.
    output : for a model with several outputs, the one to unwrap; in an ONNX file any tensor may be named.
    architecture : for parameters alone (a state_dict, safetensors, JAX), the widths ``[inputs, 40, 40, outputs]`` of a
        network with ReLU between its layers; for a state_dict also the module that takes it.
    normalise : for NNet files, whether their means and ranges are folded in.
    probe : rows of yours on which the network is compared with the original too, shaped as the model takes them; a tuple
        of arrays for several inputs.

    Returns
    -------
    Network, with `faithfulness` saying what it was compared with and how closely it agrees.

    Raises
    ------
    UnsupportedModelError : a layer, operator or format that is not read, named with its position.
    UnsafeFileError : reading the file could run code or reach outside it.
    MalformedModelError : not a model, or damaged.
    UnfaithfulError : the network does not equal the original; it is withheld.
    ArgumentError : an option that means nothing for this model.

    Notes
    -----
    There is no way to skip the comparison. Nothing in a file is ever executed.

    Examples
    --------
    >>> from relucidate import examples
    >>> load(examples.home_lending().model).link
    'logit'
    """
    if isinstance(model, Network):
        return model
    options = Options(link, feature_names, inputs, output, architecture, normalise)
    return _proved(_reading(model, options, probe), probe)


def _reading(model: Any, options: Options, probe: Any) -> Reading:
    if isinstance(model, str | os.PathLike):
        return _reading_of_file(Path(model), options, probe)
    if isinstance(model, bytes | bytearray | memoryview):
        raise ArgumentError("load takes a path or an object, not bytes; write them to a file first.")
    if type(model).__name__ == "ModelProto" and type(model).__module__.startswith("onnx"):
        return _reader("onnx").read(model, options)
    for name in _READERS:
        reader = _reader(name)
        if reader.recognises(model):
            needs_shape = name in ("torch", "keras")  # such models do not always say what rows they take
            return reader.read(model, options, probe) if needs_shape else reader.read(model, options)
    kind = f"{type(model).__module__}.{type(model).__qualname__}"
    raise UnsupportedModelError(
        f"load does not read a {kind}. It takes the path of a model file, a PyTorch or Keras model, a fitted scikit-learn "
        "estimator or pipeline, parameters of a JAX network with architecture=[…], or (weights, biases). Export other "
        "models to ONNX first."
    )


def _reading_of_file(path: Path, options: Options, probe: Any) -> Reading:
    kind = kind_of(path)
    match kind:
        case "onnx":
            return _reader("onnx").read(path, options)
        case "nnet":
            return _reader("nnet").read(path, options)
        case "json":
            return _reader("jsonfile").read(path, options)
        case "keras" | "hdf5":
            return _reader("keras").read_file(path, kind, options)
        case "torch" | "safetensors":
            return _reader("torch_files").read(path, kind, options, probe)
        case _:
            raise refusal(path, kind)


def _reader(name: str) -> Any:
    return import_module(f"relucidate.frameworks.{name}")


# ---------------------------------------------------------------- proof


def _proved(reading: Reading, probe: Any) -> Network:
    """Return the network with its faithfulness, or raise.

    Raises
    ------
    UnfaithfulError : it differs from an original.
    """
    if not reading.originals:
        raise ArgumentError("a reader gave nothing to compare its network with.")
    network = reading.network
    notes: list[str] = []
    results: list[Faithfulness] = []
    for original in reading.originals:
        result = _compared(network, original, reading.probe)
        if result.n == 0:
            notes.append(f"not compared with {original.name}: every probe point leaves the range of its arithmetic")
            continue
        if results:
            notes.append(_said(result))
        results.append(result)
    if probe is not None:
        probe = _side_by_side(probe)
        notes += [_said(_compared(network, original, probe), " of yours") for original in reading.originals]
    provenance = replace(network.provenance, notes=(*network.provenance.notes, *notes))
    return replace(network, faithfulness=results[0], provenance=provenance)


def _side_by_side(probe: Any) -> Any:
    """Return one table of a tuple of arrays, one for each input of a model; anything else as it is."""
    if hasattr(probe, "detach"):
        probe = probe.detach().cpu().numpy()
    if not isinstance(probe, tuple) or not all(hasattr(part, "shape") for part in probe):
        return probe
    parts = [np.asarray(_side_by_side(part), dtype=np.float64) for part in probe]
    if len({len(part) for part in parts}) > 1:
        raise DataError(f"probe holds arrays of {shown([len(part) for part in parts])} rows; each input needs as many.")
    return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)


def _compared(network: Network, original: Original, probe: Any) -> Faithfulness:
    """Return how closely a network agrees with one original; rows that leave the original's range are left out.

    Raises
    ------
    UnfaithfulError : it differs. NumericalOverflowError : a row leaves the range of float64.
    """
    rows = rounded(probe) if original.single else probe
    decision = network.decision(rows)
    ours = network.inverse_link(decision) if original.on == "predict" else decision
    if len(ours) == 0:
        raise DataError("probe has no rows; give at least one, or leave it out.")
    theirs = original.output(rows)
    allowed: Any = original.tolerance(rows) if callable(original.tolerance) else original.tolerance
    if theirs.shape == ours.shape:
        allowed = np.broadcast_to(allowed, ours.shape)
        inside = np.isfinite(theirs).all(axis=1) | (not original.may_overflow)
        ours, theirs, allowed = ours[inside], theirs[inside], allowed[inside]
    tolerance = _strictest(ours, theirs, allowed)
    name = network.provenance.path or network.provenance.source
    link = network.link if original.on == "predict" else "identity"
    with np.errstate(invalid="ignore"):  # infinity less infinity: a difference that is refused like any other
        result = assert_faithful(name, ours, theirs, tolerance=tolerance, against=original.name, link=link)
    if original.on == "decision" and network.is_classifier:
        ours, theirs = network.inverse_link(ours), network.inverse_link(theirs)
        same = assert_faithful(name, ours, theirs, tolerance=np.inf, against=original.name, link=network.link)
        result = replace(result, agreement=same.agreement)
    return result


def _strictest(ours: Any, theirs: Any, allowed: Any) -> float:
    """Return the one tolerance to assert: the smallest that is exceeded, else the largest."""
    if ours.shape != theirs.shape or ours.size == 0:
        return 0.0
    with np.errstate(invalid="ignore"):
        exceeded = ~(np.abs(ours - theirs) / (1 + np.abs(theirs)) <= allowed)
    return float(allowed[exceeded].min() if exceeded.any() else allowed.max())


def _said(result: Faithfulness, whose: str = "") -> str:
    return f"equals {result.against} to {result.max_difference:.1e} on {result.n:,} probe points{whose}"
