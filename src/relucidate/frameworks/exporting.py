"""Writing networks for other programs: ONNX, PyTorch, safetensors, JSON and plain arrays, each read back and compared."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

from relucidate import deploying
from relucidate.errors import ArgumentError, RelucidateError
from relucidate.frameworks.exporting_arrays import arrays_file, arrays_object
from relucidate.frameworks.exporting_json import json_file
from relucidate.frameworks.exporting_onnx import onnx_file, onnx_object
from relucidate.frameworks.exporting_torch import safetensors_file, torch_file, torch_object
from relucidate.network import Network
from relucidate.outputs import atomic_file
from relucidate.simplified import Simplified

Format = Literal["onnx", "torch", "safetensors", "json", "arrays"]

_FORMAT_OF = {
    ".onnx": "onnx",
    ".pt": "torch",
    ".pth": "torch",
    ".safetensors": "safetensors",
    ".json": "json",
    ".npz": "arrays",
}
_LIVE = ("onnx", "torch", "arrays")


def export(
    network: Network | Simplified | deploying.Deployed,
    path: str | os.PathLike[str] | None = None,
    *,
    format: Format | deploying.Format | None = None,
    **options: Any,
) -> Any:
    """Return the path of a file that holds the network, or without `path` the network as an object of another framework.

    Parameters
    ----------
    network : what to write. A `Simplified` is written by `relucidate.deploying.export`, as ONNX, Python, SQL, JSON or a
        scorecard; `options` are its own.
    path : file to write; an earlier file stays until the new one is complete and compared. None for an object.
    format : "onnx" (`.onnx`), "torch" (`.pt`, `.pth`), "safetensors" (`.safetensors`), "json" (`.json`) or "arrays"
        (`.npz`); what the name of the file says if not given.

    Returns
    -------
    The path; without one

    - "onnx" : an `onnx.ModelProto`.
    - "torch" : a `torch.nn.Sequential` of float64 modules, in evaluation mode.
    - "arrays" : ``(weights, biases)``, weights (inputs, outputs) as scikit-learn keeps them, all hidden layers ReLU.
      `relucidate.load` takes them back.

    Raises
    ------
    ArgumentError : no format is named or implied, two formats are, or `network` is no network.
    UnsupportedModelError : the format cannot hold this network; the message says which can.
    UnfaithfulError : what was read back does not equal the network; nothing is left behind.
    OutputError : the file cannot be written.
    MissingDependencyError : torch or safetensors is needed and not installed.

    Notes
    -----
    The file is read back and compared with the network, to ``1e-10 (1 + |value|)`` on at least 256 rows across its
    regions (more only where rounding costs more), before it takes its name. All numbers are float64.

    What each format keeps:

    - ONNX (opset 17) predicts what the network predicts: the link is its last node. Names of features and classes are in
      its metadata, where `load` finds them. Activations are Relu, PRelu, Abs, Max, Min and Clip; other pieces become
      sums of Relu. The batch axis is open, the input is called "input".
    - PyTorch: Linear with ReLU, LeakyReLU, PReLU or Hardtanh, and Sigmoid or Softmax for the link; a layer of another
      mixture becomes a wider one of ReLU. A `.pt` file holds the `state_dict` of the Sequential that
      ``export(network, format="torch")`` returns, without names, classes, link or the limits of Hardtanh and the slope
      of LeakyReLU, which are no tensors.
    - safetensors: the same tensors; names, classes and link as JSON in its metadata, under the names that ONNX has.
    - arrays: decisions only, without link, names or classes. In the file, ``weights_0, biases_0, weights_1, …``.
    - JSON: everything, bit by bit; see `relucidate.frameworks.jsonfile`.

    A network whose inputs are categories or imputed columns takes encoded features in all formats but JSON: one
    column for each of `network.feature_names`. Sparse layers are written dense, up to 67 million numbers. Names of
    outputs and notes are kept in JSON only.

    A piece is rewritten as ``f(b) - s0 relu(b - z) + s1 relu(z - b) + Σ (s_k - s_(k-1)) relu(z - b_k)``, where b is the
    first breakpoint and s are the slopes; without breakpoints as ``o + s relu(z) - s relu(-z)``.

    Examples
    --------
    >>> from relucidate import examples, load
    >>> network = load(examples.home_lending().model)
    >>> weights, biases = export(network, format="arrays")
    >>> [w.shape for w in weights]
    [(12, 8), (8, 4), (4, 1)]
    """
    if isinstance(network, Simplified | deploying.Deployed):
        return deploying.export(network, path, format=format, **options)
    if options:
        raise TypeError(f"export got options that a network has no use for: {', '.join(options)}.")
    if not isinstance(network, Network):
        raise ArgumentError(
            f"export takes a Network; got a {type(network).__module__}.{type(network).__qualname__}. Load it first: "
            "export(relucidate.load(model), path)."
        )
    chosen = _format(path, format)
    if path is None:
        return _OBJECTS[chosen](network)
    final = Path(path)
    with atomic_file(final) as temporary, _named(temporary, final):
        _FILES[chosen](network, temporary, final)
    return final


def _format(path: Any, format: Any) -> str:
    known = get_args(Format)
    if format is not None and format not in known:
        raise ArgumentError(f"format={format!r}; expected one of {', '.join(map(repr, known))}.")
    if path is None:
        if format not in _LIVE:
            said = "neither path nor format was given" if format is None else f"format={format!r} needs a path"
            raise ArgumentError(
                f"{said}. Give the path of a file, or format='onnx', 'torch' or 'arrays' for an object."
            )
        return str(format)
    if not isinstance(path, str | os.PathLike):
        raise ArgumentError(f"path is a {type(path).__qualname__}; expected the name of a file.")
    suffix = Path(path).suffix.lower()
    implied = _FORMAT_OF.get(suffix)
    if format is None and implied is None:
        raise ArgumentError(
            f"{Path(path).name!r} names no format; expected a name that ends in {', '.join(_FORMAT_OF)}, or format=, one "
            f"of {', '.join(map(repr, known))}."
        )
    if format is not None and implied not in (None, format):
        raise ArgumentError(
            f"format={format!r}, but a name that ends in {suffix} says {implied!r}. Rename the file, or leave format out."
        )
    return str(format or implied)


@contextmanager
def _named(temporary: Path, final: Path) -> Iterator[None]:
    """Have errors name the final file, not the temporary one."""
    try:
        yield
    except RelucidateError as problem:
        raise type(problem)(str(problem).replace(str(temporary), str(final))) from problem


_OBJECTS: dict[str, Callable[[Network], Any]] = {
    "onnx": onnx_object,
    "torch": torch_object,
    "arrays": arrays_object,
}
_FILES: dict[str, Callable[[Network, Path, Path], None]] = {
    "onnx": onnx_file,
    "torch": torch_file,
    "safetensors": safetensors_file,
    "json": json_file,
    "arrays": arrays_file,
}
