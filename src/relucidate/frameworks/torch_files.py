"""Files of weights: PyTorch state_dicts and safetensors. Nothing in them is ever executed.

A state_dict says what the weights are, not what the network does with them. What it does is said by `architecture=`; only
where all that a file holds is one chain of linear layers is ReLU taken to stand between them, and the notes say so.
"""

from __future__ import annotations

import copy
import hashlib
import json
import pickletools
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from relucidate.errors import (
    ArgumentError,
    MalformedModelError,
    MissingDependencyError,
    ModelError,
    UnsafeFileError,
    UnsupportedModelError,
    clipped,
    shown,
)
from relucidate.frameworks import arrays
from relucidate.frameworks import torch as live
from relucidate.frameworks.reading import Options, Reading
from relucidate.layers import Floats


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_MEMBERS = 100_000
_RATIO = 100  # a member that grows more than this when unpacked is no weight
_PICKLE_BYTES = 2**26
_HEADER_BYTES = 2**26
_CHUNK = 2**20
_STEPS = 100_000  # orders of layers that are tried

# What a state_dict needs to name, and nothing that allocates, reads or runs.
_DTYPES = _words("float16 float32 float64 bfloat16 int8 int16 int32 int64 uint8 bool half float double long")
_REBUILDERS = _words(
    "_rebuild_tensor _rebuild_tensor_v2 _rebuild_tensor_v3 _rebuild_parameter _rebuild_parameter_with_state"
)
_ALLOWED = frozenset(
    [
        ("collections", "OrderedDict"),
        ("collections", "defaultdict"),
        ("torch", "Size"),
        ("torch", "device"),
        ("torch.nn.parameter", "Parameter"),
        ("torch.serialization", "_get_layout"),
        ("torch.storage", "TypedStorage"),
        ("torch.storage", "UntypedStorage"),
        ("torch._tensor", "_rebuild_from_type_v2"),
        ("torch", "Tensor"),
        ("builtins", "set"),
        ("__builtin__", "set"),
        *(("torch._utils", name) for name in _REBUILDERS),
        *(("torch", name) for name in _DTYPES),
    ]
)
# Modules whose functions reach outside the file; a pickle that names them was made to do so.
_DANGEROUS = _words(
    "os posix nt sys subprocess builtins __builtin__ shutil importlib runpy socket ctypes pickle _pickle marshal code pty "
    "io _io operator _operator functools types tempfile webbrowser threading _thread multiprocessing asyncio requests "
    "urllib http httplib ftplib smtplib pdb timeit cProfile profile platform commands pip setuptools signal gc inspect "
    "pathlib glob codeop codecs _codecs bdb trace zipimport pydoc idlelib"
)
_HARMLESS = _words("dict list tuple frozenset object int float bool str bytes bytearray complex slice range")


def read(path: Any, kind: str, options: Options, probe: Any = None) -> Reading:
    """Return the network of a file of weights, still to be proved.

    Parameters
    ----------
    kind : "torch" (a zip as torch.save writes it) or "safetensors".
    options : `architecture` is ``[inputs, 40, 40, outputs]`` for linear layers with ReLU between them, or a module that
        takes the weights; without it the file must hold one chain of linear layers and nothing else.
    probe : rows of the shape that the module takes, as for live modules.

    Raises
    ------
    UnsafeFileError : its pickle names something that could run code; it was not read.
    UnsupportedModelError : a pickled module or TorchScript; weights that do not say what network they are.
    MalformedModelError : damaged, or its weights do not fit the architecture.
    MissingDependencyError : torch or safetensors is not installed. ArgumentError : an option that means nothing here.
    """
    path = Path(path)
    try:
        tensors, notes = _from_zip(path) if kind == "torch" else _from_safetensors(path)
        ordered = kind == "torch"  # safetensors sorts its tensors, torch.save keeps their order
        reading = _network(tensors, ordered, options, probe)
    except (ModelError, ArgumentError, MissingDependencyError) as problem:
        text = str(problem)
        raise type(problem)(text if text.startswith(str(path)) else f"{path}: {text}") from None
    what = "PyTorch state_dict" if kind == "torch" else "safetensors"
    about = reading.network.provenance
    source = what if about.source == "arrays" else f"{what} in {about.source}"
    provenance = replace(about, source=source, path=str(path), sha256=_sha256(path), notes=(*notes, *about.notes))
    return replace(reading, network=replace(reading.network, provenance=provenance))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ---------------------------------------------------------------- the zip, before anything is trusted to it


def _from_zip(path: Path) -> tuple[dict[str, Floats], list[str]]:
    _check_archive(path)
    torch = _required("torch", path)
    try:
        content = torch.load(str(path), map_location="cpu", weights_only=True, mmap=True)
    except Exception as problem:  # what a damaged file makes of the unpickler is of many classes
        raise MalformedModelError(
            f"torch.load(weights_only=True) cannot read it: {clipped(_one_line(problem), 200)}. Save the state_dict anew: "
            "torch.save(model.state_dict(), 'weights.pt')."
        ) from None
    notes: list[str] = []
    state = _state_in(content, torch, path, notes)
    return _converted(state, torch, path), notes


def _required(package: str, path: Path) -> Any:
    try:
        return __import__(package)
    except ImportError:
        raise MissingDependencyError(
            f'{path} needs the package {package} to be read. Install it: pip install "relucidate[{package}]".'
        ) from None


def _one_line(problem: BaseException) -> str:
    return " ".join(str(problem).split()).rstrip(".") or type(problem).__name__


def _check_archive(path: Path) -> None:
    """Raise unless the file is a whole zip that holds a state_dict and nothing that could do harm."""
    size = path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _check_members(members, size)
            pickled = _the_pickle(members)
            broken = archive.testzip()
            if broken is not None:
                raise MalformedModelError(
                    f"it is damaged: the checksum of {clipped(broken)} is wrong. Copy or save it anew."
                )
            data = archive.read(pickled)
    except ModelError:
        raise
    except Exception as problem:  # zipfile meets damage with a dozen classes of error
        raise MalformedModelError(f"it is damaged: {clipped(_one_line(problem), 120)}. Copy or save it anew.") from None
    _check_pickle(data, path)


def _check_members(members: Sequence[zipfile.ZipInfo], size: int) -> None:
    if len(members) > _MEMBERS:
        raise MalformedModelError(f"the archive holds {len(members):,} members; at most {_MEMBERS:,} are read.")
    names = [m.filename for m in members]
    if len(set(names)) != len(names):
        raise UnsafeFileError("the archive holds two members of one name; it was not written by torch.save.")
    for m in members:
        parts = re.split(r"[/\\]", m.filename)
        if ".." in parts or parts[0] == "" or ":" in parts[0]:
            raise UnsafeFileError(
                f"the archive holds a member {clipped(m.filename)}, outside the archive; it was not read."
            )
        if m.flag_bits & 1:
            raise UnsupportedModelError("the archive is encrypted; save it without a password.")
        if m.file_size > _RATIO * max(1, m.compress_size):
            raise UnsafeFileError(
                f"the member {clipped(m.filename)} would grow from {m.compress_size:,} to {m.file_size:,} bytes; no weights "
                "are packed like that. It was not unpacked."
            )
    if sum(m.compress_size for m in members) > size:
        raise UnsafeFileError("the members of the archive overlap; it was not written by torch.save.")


def _the_pickle(members: Sequence[zipfile.ZipInfo]) -> zipfile.ZipInfo:
    names = [m.filename for m in members]
    if any("/code/" in f"/{name}" or name.endswith("/constants.pkl") for name in names):
        raise UnsupportedModelError(
            "it is a TorchScript archive, which holds code; it is not read. Save the state_dict of the module it was made "
            "from, or export that with torch.onnx.export."
        )
    found = [m for m in members if m.filename.rsplit("/", 1)[-1] == "data.pkl"]
    if len(found) != 1:
        raise MalformedModelError(
            f"the archive holds {len(found)} members data.pkl; torch.save writes one. Save the state_dict anew."
        )
    if found[0].file_size > _PICKLE_BYTES:
        raise UnsupportedModelError(
            f"its data.pkl has {found[0].file_size:,} bytes; a state_dict needs far less. Save the state_dict alone."
        )
    return found[0]


def _check_pickle(data: bytes, path: Path) -> None:
    """Raise unless a pickle names nothing but what a state_dict needs. It is scanned, never run."""
    foreign = []
    try:
        for module, name in _globals_of(data):
            if not _is_allowed(module, name):
                foreign.append((module, name))
    except ModelError:
        raise
    except Exception as problem:  # pickletools meets damage with errors of many classes
        raise MalformedModelError(
            f"its data.pkl is damaged: {clipped(_one_line(problem), 120)}. Save it anew."
        ) from None
    dangerous = [pair for pair in foreign if _is_dangerous(*pair)]
    if dangerous:
        module, name = dangerous[0]
        raise UnsafeFileError(
            f"its pickle names {clipped(f'{module}.{name}')}, which could run code or reach outside the file; it was not read. "
            "Do not load this file with anything else either, unless you know where it comes from."
        )
    if foreign:
        module, name = foreign[0]
        raise UnsupportedModelError(
            f"it holds a pickled object of the class {clipped(f'{module}.{name}')}, not weights alone; to read that would run "
            f"code. These two lines save the weights:\n"
            f"    model = torch.load({str(path)!r}, weights_only=False)  # only if you trust the file\n"
            '    torch.save(model.state_dict(), "weights.pt")\n'
            'Then load("weights.pt", architecture=[inputs, 40, 1]) or architecture=a module; or pass the live model to load.'
        )


def _is_allowed(module: str, name: str) -> bool:
    is_storage = module in ("torch", "torch.cuda", "torch.storage") and name.endswith("Storage") and name.isidentifier()
    return is_storage or (module, name) in _ALLOWED


def _is_dangerous(module: str, name: str) -> bool:
    root = module.split(".")[0]
    if root in ("builtins", "__builtin__"):
        return name not in _HARMLESS
    is_function_of_torch = root == "torch" and not module.startswith("torch.nn") and name[:1].islower()
    return root in _DANGEROUS or is_function_of_torch


def _globals_of(data: bytes) -> Iterator[tuple[str, str]]:
    """Yield (module, name) of all that a pickle would look up.

    Raises
    ------
    UnsafeFileError : a name that the pickle computes, so that it cannot be seen.
    """
    memo: dict[Any, Any] = {}
    recent: list[Any] = []  # what the last instructions pushed: text, or None for anything else
    for op, arg, _ in pickletools.genops(data):
        if op.name in ("GLOBAL", "INST"):
            module, _, name = str(arg).partition(" ")
            yield module, name
            recent.append(None)
        elif op.name == "STACK_GLOBAL":
            if len(recent) < 2 or not all(isinstance(part, str) for part in recent[-2:]):
                raise UnsafeFileError("its pickle computes the name of what it would run; it was not read.")
            yield recent[-2], recent[-1]
            recent.append(None)
        elif op.name.startswith("EXT"):
            raise UnsafeFileError("its pickle names classes by number, so that they cannot be seen; it was not read.")
        elif op.name in ("PUT", "BINPUT", "LONG_BINPUT"):
            memo[arg] = recent[-1] if recent else None
        elif op.name == "MEMOIZE":
            memo[len(memo)] = recent[-1] if recent else None
        elif op.name in ("GET", "BINGET", "LONG_BINGET"):
            recent.append(memo.get(arg))
        else:
            recent.append(arg if isinstance(arg, str) else None)
        del recent[:-2]


# ---------------------------------------------------------------- what was loaded


def _state_in(content: Any, torch: Any, path: Path, notes: list[str]) -> Mapping[str, Any]:
    """Return the one mapping of names to tensors in what was saved."""
    found = list(_states(content, torch, ()))
    if not found:
        what = (
            f"a mapping with the keys {shown(content, 8)}" if isinstance(content, Mapping) else type(content).__name__
        )
        raise UnsupportedModelError(
            f"it holds no state_dict (names with a tensor each) but {what}. Save one: "
            'torch.save(model.state_dict(), "weights.pt").'
        )
    if len(found) > 1:
        places = ["".join(f"[{key!r}]" for key in place) for place, _ in found]
        raise UnsupportedModelError(
            f"it holds {len(found)} mappings of tensors, at {', '.join(places[:8])}, and which one is the network is not "
            f'evident. Save that one:\n    torch.save(torch.load({str(path)!r}){places[0]}, "weights.pt")'
        )
    place, state = found[0]
    if place:
        notes.append("the weights are those at " + "".join(f"[{key!r}]" for key in place) + " of what was saved")
    return state


def _states(content: Any, torch: Any, place: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], Mapping[str, Any]]]:
    if isinstance(content, Mapping) and content:
        if all(isinstance(value, torch.Tensor) for value in content.values()) and all(
            isinstance(k, str) for k in content
        ):
            yield place, content
        elif len(place) < 3 and not {"state", "param_groups"} <= set(content):  # that is an optimizer's
            for key, value in content.items():
                if isinstance(key, str):
                    yield from _states(value, torch, (*place, key))
    elif isinstance(content, list | tuple) and len(place) < 3 and len(content) < 100:
        for i, value in enumerate(content):
            yield from _states(value, torch, (*place, i))


def _converted(state: Mapping[str, Any], torch: Any, path: Path) -> dict[str, Floats]:
    """Return the tensors as arrays, each checked against the bytes that stand behind it first."""
    for name, tensor in state.items():
        if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_complex() or tensor.is_meta:
            kind = "complex" if tensor.is_complex() else "quantised" if tensor.is_quantized else "not a plain tensor"
            raise UnsupportedModelError(f"{clipped(name)} is {kind}; only tensors of real numbers are read.")
        held = tensor.untyped_storage().nbytes() // max(1, tensor.element_size())
        if tensor.numel() > held:
            raise MalformedModelError(
                f"{clipped(name)} claims {tensor.numel():,} values of shape {tuple(tensor.shape)}, but {held:,} are stored. "
                "Save it with .clone()."
            )
    total = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    if total > 2 * path.stat().st_size + _CHUNK:
        raise MalformedModelError(f"its tensors claim {total:,} bytes together, more than the file has; save it anew.")
    return {name: _finite(name, _array(tensor, torch)) for name, tensor in state.items()}


def _array(tensor: Any, torch: Any) -> Any:
    tensor = tensor.detach()
    return (tensor.float() if tensor.dtype is torch.bfloat16 else tensor).numpy()


def _finite(name: str, array: Any) -> Any:
    if array.dtype.kind not in "fiub":
        raise UnsupportedModelError(
            f"{clipped(name)} has the type {array.dtype}; only tensors of real numbers are read."
        )
    if not np.isfinite(array).all():
        count = int((~np.isfinite(array)).sum())
        raise MalformedModelError(
            f"{clipped(name)} holds {count:,} value{'s' * (count != 1)} that {'are' if count != 1 else 'is'} NaN or infinite; "
            "every weight must be finite. Train the network anew."
        )
    return array


# ---------------------------------------------------------------- safetensors

_SAFE = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}


def _from_safetensors(path: Path) -> tuple[dict[str, Floats], list[str]]:
    header, start = _safetensors_header(path)
    safetensors = _required("safetensors", path)
    notes = []
    out: dict[str, Floats] = {}
    try:
        with safetensors.safe_open(str(path), framework="numpy") as file:
            for name, entry in header.items():
                if entry["dtype"] == "BF16":
                    out[name] = _finite(name, _bfloat16(path, start, entry))
                else:
                    out[name] = _finite(name, file.get_tensor(name))
    except ModelError:
        raise
    except Exception as problem:  # safetensors' error class is no subclass of a common one
        raise MalformedModelError(f"it is damaged: {clipped(_one_line(problem), 200)}. Save it anew.") from None
    if any(entry["dtype"] in ("BF16", "F16") for entry in header.values()):
        notes.append("weights in half precision were widened; the network computes in float64")
    return out, notes


def _bfloat16(path: Path, start: int, entry: Any) -> Any:
    """Return a tensor of bfloat16, which numpy does not know: the upper half of float32."""
    begin, end = entry["data_offsets"]
    with path.open("rb") as file:
        file.seek(start + begin)
        upper = np.frombuffer(file.read(end - begin), dtype="<u2").astype(np.uint32)
    return (upper << 16).view(np.float32).reshape(entry["shape"])


def _safetensors_header(path: Path) -> tuple[dict[str, Any], int]:
    """Return what the header says of each tensor, checked against the size of the file, and where the data begin."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(size - 8, _HEADER_BYTES):
            raise MalformedModelError(
                f"its header claims {length:,} bytes where the file has {size:,}; it is cut off or damaged. Copy it anew."
            )
        raw = file.read(length)
    try:
        header = json.loads(raw.decode("utf-8"), object_pairs_hook=_once)
    except (ValueError, RecursionError) as problem:
        raise MalformedModelError(f"its header is no JSON: {clipped(_one_line(problem), 120)}. Copy it anew.") from None
    if not isinstance(header, dict):
        raise MalformedModelError("its header is no mapping. Copy it anew.")
    header.pop("__metadata__", None)
    if not header:
        raise MalformedModelError("it holds no tensors.")
    for name, entry in header.items():
        _check_entry(name, entry, size - 8 - length)
    return header, 8 + length


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("a name occurs twice")
    return dict(pairs)


def _check_entry(name: str, entry: Any, room: int) -> None:
    try:
        kind, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
        whole = all(type(n) is int and n >= 0 for n in (*shape, begin, end))
    except (KeyError, TypeError, ValueError):
        whole = False
    if not whole:
        raise MalformedModelError(f"the header does not say what {clipped(name)} is: {clipped(entry)}. Copy it anew.")
    if kind not in _SAFE:
        raise UnsupportedModelError(f"{clipped(name)} has elements of type {clipped(kind)}, which are not read.")
    if not (begin <= end <= room and prod(shape) * _SAFE[kind] == end - begin):
        raise MalformedModelError(
            f"{clipped(name)} of shape {clipped(tuple(shape))} ({kind}) lies at bytes {begin:,} to {end:,}, where the file has "
            f"{room:,}; it is cut off or damaged. Copy it anew."
        )


# ---------------------------------------------------------------- from weights to a network


@dataclass(frozen=True, eq=False)
class _Linear:
    """A linear layer of a file: weight (outputs, inputs) and bias, None if it has none."""

    prefix: str
    weight: Floats
    bias: Floats | None

    @property
    def key(self) -> str:
        """Name of the weight in the file."""
        return f"{self.prefix}.weight" if self.prefix else "weight"


def _network(tensors: dict[str, Floats], ordered: bool, options: Options, probe: Any) -> Reading:
    if live.recognises(options.architecture):
        return _in_module(tensors, options, probe)
    options.refuse("a file of weights", "inputs", "output", "normalise")
    notes: list[str] = []
    if options.architecture is None:
        layers = _chain(tensors, ordered, notes)
        notes.append(
            "the file does not say what stands between its linear layers: ReLU was assumed; give architecture= the module if "
            "it is something else"
        )
    else:
        layers = _by_widths(tensors, ordered, _widths(options.architecture))
        notes.append(
            "a state_dict does not say which activations the network uses; ReLU was taken, because architecture=[…] means "
            "that"
        )
    without = [layer.prefix for layer in layers if layer.bias is None]
    if without:
        notes.append(f"without a bias: {shown(without)}")
    weights = [np.asarray(layer.weight, dtype=np.float64) for layer in layers]
    biases = [
        np.zeros(len(w)) if layer.bias is None else np.asarray(layer.bias, dtype=np.float64)
        for w, layer in zip(weights, layers, strict=True)
    ]
    given = {"weights": weights, "biases": biases, "orientation": "out_in"}
    reading = arrays.read(given, Options(link=options.link, feature_names=options.feature_names))
    network = reading.network
    named = tuple(replace(made, name=layer.prefix) for made, layer in zip(network.layers, layers, strict=True))
    counts = (("linear", len(layers)), ("relu", len(layers) - 1)) if len(layers) > 1 else (("linear", 1),)
    provenance = replace(network.provenance, operators=counts, notes=tuple(notes))
    return replace(reading, network=replace(network, layers=named, provenance=provenance))


def _widths(architecture: Any) -> list[int]:
    try:
        widths = [int(w) for w in architecture if int(w) == w and not isinstance(w, bool)]
        whole = len(widths) == len(architecture) and not isinstance(architecture, str)
    except (TypeError, ValueError):
        whole, widths = False, []
    if not whole or len(widths) < 2 or min(widths) < 1:
        raise ArgumentError(
            f"architecture={clipped(architecture)} is neither a module nor the widths of its layers; write "
            "architecture=[inputs, 40, 40, outputs] in whole numbers above 0."
        )
    return widths


def _sketch(tensors: Mapping[str, Any], limit: int = 8) -> str:
    """Return names and shapes for a message."""
    items = [f"{clipped(name)} {tuple(t.shape)}" for name, t in tensors.items()]
    return ", ".join(items[:limit]) + (f" and {len(items) - limit:,} more" if len(items) > limit else "")


def _linear_layers(tensors: Mapping[str, Floats]) -> tuple[list[_Linear], dict[str, Floats]]:
    """Return the linear layers in the order of the file, and what is left."""
    rest = dict(tensors)
    layers = []
    for name, weight in tensors.items():
        prefix, _, leaf = name.rpartition(".")
        if leaf != "weight" or weight.ndim != 2 or weight.dtype.kind != "f":
            continue
        bias = rest.get(f"{prefix}.bias" if prefix else "bias")
        if bias is not None and bias.ndim != 1:
            continue
        rest.pop(name)
        rest.pop(f"{prefix}.bias" if prefix else "bias", None)
        layers.append(_Linear(prefix, weight, bias))
    return layers, rest


_ASK = "Give architecture= the module that takes these weights, or pass the live module to load."


def _chain(tensors: dict[str, Floats], ordered: bool, notes: list[str]) -> list[_Linear]:
    """Return the linear layers of a file that holds one chain of them and nothing else.

    Raises
    ------
    UnsupportedModelError : it holds something else, or they do not chain.
    """
    layers, rest = _linear_layers(tensors)
    if rest or not layers:
        what = f"holds more than linear layers: {_sketch(rest)}" if rest else "holds no tensors"
        raise UnsupportedModelError(f"it {what}. Weights do not say what is done with them. {_ASK}")
    if not ordered:
        layers = _sorted_chain(layers)
        notes.append(
            f"safetensors keeps no order; by names and shapes it is {shown([one.prefix for one in layers], 12)}"
        )
    for below, above in pairwise(layers):
        if above.weight.shape[1] != below.weight.shape[0]:
            raise UnsupportedModelError(
                f"its linear layers are no chain in the order of the file: {above.key!r} {above.weight.shape} takes "
                f"{above.weight.shape[1]} values, but {below.key!r} {below.weight.shape} gives {below.weight.shape[0]}. {_ASK}"
            )
    for layer in layers:
        _check_bias(layer)
    return layers


def _check_bias(layer: _Linear) -> None:
    if layer.bias is not None and layer.bias.shape != layer.weight.shape[:1]:
        raise MalformedModelError(
            f"{layer.prefix + '.bias'!r} has shape {layer.bias.shape}; {layer.key!r} of shape {layer.weight.shape} needs "
            f"({layer.weight.shape[0]},)."
        )


def _sorted_chain(layers: Sequence[_Linear]) -> list[_Linear]:
    """Return the one order in which layers chain and those named alike but for a number come by that number.

    Raises
    ------
    UnsupportedModelError : there is none, or more than one.
    """
    numbered = [([int(n) for n in re.findall(r"\d+", one.prefix)], re.sub(r"\d+", "#", one.prefix)) for one in layers]
    found: list[list[int]] = []
    steps = 0
    todo: list[list[int]] = [[]]
    while todo and len(found) < 2:
        order = todo.pop()
        steps += 1
        if steps > _STEPS:
            break
        if len(order) == len(layers):
            found.append(order)
            continue
        left = [i for i in range(len(layers)) if i not in order]
        for i in left:
            chains = not order or layers[i].weight.shape[1] == layers[order[-1]].weight.shape[0]
            comes_next = not any(numbered[j][1] == numbered[i][1] and numbered[j][0] < numbered[i][0] for j in left)
            if chains and comes_next:
                todo.append([*order, i])
    if len(found) == 1 and steps <= _STEPS:
        return [layers[i] for i in found[0]]
    fault = "do not chain in any order" if not found else "chain in more than one order, and safetensors keeps none"
    raise UnsupportedModelError(
        f"its linear layers {fault}: {_sketch({one.key: one.weight for one in layers})}. {_ASK}"
    )


def _by_widths(tensors: dict[str, Floats], ordered: bool, widths: Sequence[int]) -> list[_Linear]:
    """Return the linear layers of a file, which must be those that the widths say."""
    layers, rest = _linear_layers(tensors)
    text = f"architecture={list(widths)}"
    if rest:
        raise MalformedModelError(
            f"{text} is linear layers with ReLU between them, but the file also holds {_sketch(rest)}. Give architecture= the "
            "module that takes these weights."
        )
    expected = [(above, below) for below, above in pairwise(widths)]
    if not ordered and len(layers) == len(expected):
        layers = _sorted_chain(layers)
    for i, (layer, shape) in enumerate(zip(layers, expected, strict=False)):
        if layer.weight.shape != shape:
            turned = layer.weight.shape[::-1] == shape
            hint = " It looks transposed: PyTorch keeps (outputs, inputs); save it as weight.T." if turned else ""
            raise MalformedModelError(
                f"{layer.key!r} has shape {layer.weight.shape}; {text} expects {shape} (outputs, inputs) for layer {i + 1}.{hint}"
            )
        _check_bias(layer)
    if len(layers) < len(expected):
        lacking = ", ".join(str(shape) for shape in expected[len(layers) :])
        raise MalformedModelError(
            f"{text} has {len(expected)} layers, the file {len(layers)}: missing weights of shape {lacking}. It holds "
            f"{_sketch(tensors)}."
        )
    if len(layers) > len(expected):
        extra = {one.key: one.weight for one in layers[len(expected) :]}
        raise MalformedModelError(
            f"{text} has {len(expected)} layers, the file {len(layers)}: {_sketch(extra)} would be left over."
        )
    return layers


# ---------------------------------------------------------------- into the user's module

_PREFIXES = ("module.", "_orig_mod.", "model.")


def _in_module(tensors: dict[str, Floats], options: Options, probe: Any) -> Reading:
    """Return the network of a copy of the user's module with the weights of the file."""
    import torch

    module = copy.deepcopy(options.architecture).eval()
    notes: list[str] = []
    state = _fitted(tensors, {name: tuple(t.shape) for name, t in module.state_dict().items()}, notes)
    kinds = {array.dtype for array in state.values() if array.dtype.kind == "f"}
    if kinds:  # so that nothing is rounded on the way into the module
        module = module.to(torch.from_numpy(np.zeros(0, dtype=max(kinds, key=lambda k: k.itemsize))).dtype)
    try:
        module.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in state.items()})
    except Exception as problem:  # hooks of the module may check more than names and shapes
        raise MalformedModelError(f"the module does not take it: {clipped(_one_line(problem), 300)}.") from None
    reading = live.read(module, replace(options, architecture=None), probe)
    about = reading.network.provenance
    provenance = replace(about, notes=(*notes, *about.notes))
    return replace(reading, network=replace(reading.network, provenance=provenance))


def _fitted(tensors: dict[str, Floats], wanted: Mapping[str, tuple[int, ...]], notes: list[str]) -> dict[str, Floats]:
    """Return the tensors under the names that a module has for them.

    Raises
    ------
    MalformedModelError : names or shapes differ; each is named.
    """
    state = tensors
    if set(state) != set(wanted):
        for prefix in _PREFIXES:
            if all(name.startswith(prefix) for name in tensors):
                stripped = {name.removeprefix(prefix): t for name, t in tensors.items()}
                if set(stripped) == set(wanted):
                    notes.append(f"the prefix {prefix!r} of all names was left out")
                    state = stripped
    missing = [name for name in wanted if name not in state]
    extra = [name for name in state if name not in wanted]
    wrong = [
        f"{name!r} has shape {tuple(state[name].shape)}, the module {shape}"
        + (" (looks transposed)" if tuple(state[name].shape)[::-1] == shape != shape[::-1] else "")
        for name, shape in wanted.items()
        if name in state and tuple(state[name].shape) != shape
    ]
    faults = [f"missing {shown(missing, 8)}"] * bool(missing) + [f"not in the module: {shown(extra, 8)}"] * bool(extra)
    faults += wrong[:8]
    if faults:
        raise MalformedModelError(
            f"the weights do not fit the module given as architecture: {'; '.join(faults)}. Give the module that was trained."
        )
    return state
