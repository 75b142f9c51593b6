"""Keras files as plain data: what the model is as JSON, its weights as arrays. Nothing in them runs, nothing outside is read.

A `.keras` file is a zip with ``config.json`` and an HDF5 file of weights; an `.h5` file holds both. Every link, every
declared size and every member is looked at before it is followed, made or unpacked.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import stat
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from relucidate.errors import (
    MalformedModelError,
    MissingDependencyError,
    ModelError,
    UnsafeFileError,
    UnsupportedModelError,
    clipped,
)

Array = np.ndarray[Any, Any]

MAX_CONFIG = 16 * 2**20  # bytes of JSON
MAX_ITEMS = 1_000_000  # values in it: a Python object each
MAX_MEMBERS = 10_000
SLACK = 64 * 2**20  # bytes that may be read whatever the size of the file
ZIP_RATIO, HDF5_RATIO = 200, 200  # how far numbers can be packed in earnest
_FILTERS = {1, 2, 3, 32000}  # deflate, shuffle, Fletcher's checksum, LZF: any other would load a library of code

_SAVE = "Save the whole model with Keras, model.save('model.keras'), and load that."
_ANEW = "Save or copy it anew."


@dataclass(frozen=True, eq=False)
class Stored:
    """An array of weights that was not read yet.

    Parameters
    ----------
    name : what the file calls it.
    shape : that the file declares.
    read : gives it; refuses what is no finite real number.
    """

    name: str
    shape: tuple[int, ...]
    read: Callable[[], Array]


@dataclass(frozen=True, eq=False)
class Saved:
    """A Keras file that was opened.

    Parameters
    ----------
    config : of the model, as Keras writes it: ``{"class_name": …, "config": …}``.
    version : of the Keras that wrote it, "" if unknown.
    source : "Keras 2.3.1 (HDF5)".
    sha256 : of the file's bytes. size : their number.
    by_path : the arrays at a place of Keras 3's tree ("layers/dense_1"), given the layer's name; None in an old `.h5`.
    by_layer : the arrays of a layer of the outermost model, nested ones in a row; None in a `.keras` file.
    """

    config: Mapping[str, Any]
    version: str
    source: str
    sha256: str
    size: int
    by_path: Callable[[str, str], tuple[Stored, ...]] | None = None
    by_layer: Callable[[str], tuple[Stored, ...]] | None = None


@contextmanager
def opened(path: Path, kind: str) -> Iterator[Saved]:
    """Open a file of the kind "keras" (a zip) or "hdf5", whatever its name says; weights can be read until it closes.

    Raises
    ------
    UnsafeFileError : it reaches outside itself, or would unpack to many times its size.
    MalformedModelError : damaged. UnsupportedModelError : no whole Keras model.
    MissingDependencyError : h5py is not installed.
    """
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    with ExitStack() as stack:
        if kind == "keras":
            archive = _Archive(data)
            config = parsed(archive.read("config.json", MAX_CONFIG), "config.json")
            version = archive.version()
            weights = stack.enter_context(_hdf5(archive.read("model.weights.h5")))
            yield Saved(config, version, _source(version, ".keras"), digest, len(data), by_path=_Tree(weights).arrays)
        else:
            whole = stack.enter_context(_hdf5(data))
            config, version = _embedded(whole)
            legacy = _Legacy(whole)
            yield Saved(config, version, _source(version, "HDF5"), digest, len(data), by_layer=legacy.arrays)


def _source(version: str, form: str) -> str:
    return f"Keras {version} ({form})".replace("  ", " ")


# ---------------------------------------------------------------- JSON


def parsed(text: bytes | str, what: str) -> dict[str, Any]:
    """Return a JSON object.

    Raises
    ------
    MalformedModelError : it is none, or larger than any model's.
    """
    data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text  # as h5py decodes it
    if len(data) > MAX_CONFIG or sum(data.count(mark) for mark in (b",", b"[", b"{")) > MAX_ITEMS:
        raise MalformedModelError(f"{what} ({len(data):,} bytes) is larger than the description of any model.")
    try:
        out = json.loads(data)
    except RecursionError:
        raise MalformedModelError(f"{what} is nested too deeply to be the description of a model.") from None
    except ValueError as problem:
        raise MalformedModelError(f"{what} is no JSON: {clipped(problem)}. {_ANEW}") from None
    if not isinstance(out, dict):
        raise MalformedModelError(f"{what} must hold a JSON object; it holds a {type(out).__name__}. {_ANEW}")
    return out


# ---------------------------------------------------------------- zip


class _Archive:
    """The members of a `.keras` file, in memory."""

    def __init__(self, data: bytes) -> None:
        with _zip_errors():
            self._zip = zipfile.ZipFile(io.BytesIO(data))
            members = self._zip.infolist()
        if len(members) > MAX_MEMBERS:
            raise UnsafeFileError(f"the archive has {len(members):,} members; a model has a handful.")
        self._members: dict[str, zipfile.ZipInfo] = {}
        for member in members:
            _refuse_strange(member)
            if member.filename in self._members:
                raise UnsafeFileError(f"the archive holds two members called {clipped(member.filename)}. {_ANEW}")
            self._members[member.filename] = member

    def read(self, name: str, limit: int | None = None) -> bytes:
        """Return one member, checked before it is unpacked."""
        member = self._members.get(name)
        if member is None:
            raise _incomplete(name, self._members)
        size, packed = member.file_size, member.compress_size
        if limit is not None and size > limit:
            raise UnsafeFileError(f"{name} declares {size:,} bytes; {limit:,} are more than any model needs.")
        if size > 2**20 and (size > ZIP_RATIO * packed or size > SLACK + 4 * packed):
            raise UnsafeFileError(
                f"{name} would unpack from {packed:,} to {size:,} bytes: more than weights can be packed. Save the model "
                "anew, without compression."
            )
        with _zip_errors(), self._zip.open(member) as file:
            data = file.read(size + 1)
        if len(data) != size:
            raise MalformedModelError(f"{name} declares {size:,} bytes and holds another number. {_ANEW}")
        return data

    def version(self) -> str:
        """Return the version of Keras in the metadata, "" if there is none."""
        if "metadata.json" not in self._members:
            return ""
        return _version(parsed(self.read("metadata.json", 2**20), "metadata.json").get("keras_version"))


def _version(text: object) -> str:
    return text if isinstance(text, str) and re.fullmatch(r"\d+(\.\w+)*([-+.]\w+)*", text[:40]) else ""


def _refuse_strange(member: zipfile.ZipInfo) -> None:
    """Raise if a member would be unpacked elsewhere, is a link, or is hidden behind a password."""
    name = member.filename
    parts = re.split(r"[/\\]", name)
    if name.startswith(("/", "\\")) or ".." in parts or "\0" in name or re.match(r"[A-Za-z]:", name):
        raise UnsafeFileError(
            f"the archive holds a member {clipped(name)}, outside its own folder; nothing was unpacked."
        )
    if stat.S_ISLNK(member.external_attr >> 16):
        raise UnsafeFileError(f"the archive's member {clipped(name)} is a link to another file; nothing was unpacked.")
    if member.flag_bits & 1:
        raise UnsupportedModelError(f"the archive's member {clipped(name)} is encrypted. {_SAVE}")


def _incomplete(name: str, members: Mapping[str, Any]) -> ModelError:
    if name == "config.json":
        return UnsupportedModelError(f"it has no config.json, which says what the model is. {_SAVE}")
    other = next((m for m in members if m.startswith("model.weights")), None)
    if other is not None:
        return UnsupportedModelError(f"its weights are in {clipped(other)}; only model.weights.h5 is read. {_SAVE}")
    return MalformedModelError(f"it has no {name}. {_ANEW}")


@contextmanager
def _zip_errors() -> Iterator[None]:
    try:
        yield
    except zipfile.BadZipFile as problem:
        raise MalformedModelError(f"a damaged zip archive: {clipped(problem)}. {_ANEW}") from None
    # struct.error, zlib.error, NotImplementedError and whatever else a broken header leads to
    except Exception as problem:
        raise MalformedModelError(f"a damaged zip archive ({type(problem).__name__}). {_ANEW}") from None


# ---------------------------------------------------------------- HDF5


@contextmanager
def _hdf5_errors() -> Iterator[None]:
    """Name what h5py raises on damaged files: its errors have no class in common but Exception."""
    try:
        yield
    except ModelError:
        raise
    except Exception as problem:
        text = clipped(" ".join(str(problem).split()), 120)
        raise MalformedModelError(f"a damaged HDF5 file ({type(problem).__name__}: {text}). {_ANEW}") from None


def _h5py() -> Any:
    try:
        import h5py
    except ImportError:
        raise MissingDependencyError(
            'Keras files are read with h5py, which is not installed: pip install "relucidate[keras]".'
        ) from None
    return h5py


@contextmanager
def _hdf5(data: bytes) -> Iterator[_Hdf5]:
    h5py = _h5py()
    _refuse_endless_heaps(data)
    with _hdf5_errors():
        file = h5py.File(io.BytesIO(data), "r")
    try:
        yield _Hdf5(file, data)
    finally:
        with _hdf5_errors():
            file.close()


@dataclass(eq=False)
class _Hdf5:
    """An HDF5 file of which only what it holds itself is read, and only as much as it holds."""

    root: Any
    data: bytes
    budget: int = field(init=False)
    _longest: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.budget = SLACK + 8 * self.size

    @property
    def size(self) -> int:
        """How many bytes the file has."""
        return len(self.data)

    def at(self, group: Any, path: str) -> Any:
        """Return what lies at a path below `group`, None if nothing does; only hard links are followed."""
        h5py = _h5py()
        with _hdf5_errors():
            for part in path.split("/"):
                if part in ("", ".", ".."):
                    raise MalformedModelError(f"{clipped(path)} is no name that Keras gives. {_ANEW}")
                if not isinstance(group, h5py.Group):
                    return None
                link = self._link(group, part)
                if link is None:
                    return None
                if not isinstance(link, h5py.HardLink):
                    raise UnsafeFileError(f"{_of_link(link, part, h5py)}; a model file holds its own weights. {_SAVE}")
                group = group[part]
            return group

    @staticmethod
    def _link(group: Any, name: str) -> Any:
        try:
            return group.get(name, getlink=True)
        except KeyError:
            return None
        except TypeError:
            return TypeError  # a kind of link of somebody's own

    def attribute(self, group: Any, name: str) -> Any:
        """Return an attribute that holds text or a list of texts, None if there is none."""
        h5py = _h5py()
        with _hdf5_errors():
            if name not in group.attrs:
                return None
            handle = group.attrs.get_id(name)
            if handle.shape is None:
                raise MalformedModelError(f"the attribute {name} is empty. {_ANEW}")
            count = prod(handle.shape)
            if count > 100_000 or handle.get_storage_size() > MAX_CONFIG:
                raise MalformedModelError(f"the attribute {name} declares {count:,} values. {_ANEW}")
            if count == 0:
                return []
            if handle.dtype.kind != "S" and h5py.check_string_dtype(handle.dtype) is None:
                raise MalformedModelError(f"the attribute {name} must hold text; its type is {handle.dtype}. {_ANEW}")
            if handle.dtype.kind != "S" and self._longest_text(name) > self.size:
                raise MalformedModelError(f"the attribute {name} declares a text longer than the file. {_ANEW}")
            value = group.attrs[name]
            return _text(value) if np.ndim(value) == 0 else [_text(v) for v in np.ravel(value)]

    def _longest_text(self, name: str) -> int:
        """Return the largest length that attributes of this name declare for texts of open length.

        The library makes room for such a text before it looks whether it is there: up to 4 GB for a flipped bit.
        """
        if name not in self._longest:
            self._longest[name] = max(_declared_lengths(self.data, name.encode()), default=0)
        return self._longest[name]

    def array(self, dataset: Any, name: str) -> Stored:
        """Return a dataset as an array to be read, if it is one that this file holds.

        Raises
        ------
        UnsafeFileError : its numbers lie in other files, or it declares many more than the file holds.
        """
        h5py = _h5py()
        with _hdf5_errors():
            if not isinstance(dataset, h5py.Dataset):
                raise MalformedModelError(f"{clipped(name)} must be an array. {_ANEW}")
            if dataset.external:
                raise UnsafeFileError(f"the numbers of {clipped(name)} lie in another file (external storage). {_SAVE}")
            if dataset.is_virtual:
                raise UnsafeFileError(f"{clipped(name)} is put together from other files (a virtual dataset). {_SAVE}")
            if dataset.shape is None:
                raise MalformedModelError(f"{clipped(name)} holds nothing. {_ANEW}")
            self._refuse_inflated(dataset, name)
            shape = tuple(int(s) for s in dataset.shape)
        return Stored(name, shape, lambda: self._read(dataset, name))

    def _refuse_inflated(self, dataset: Any, name: str) -> None:
        plan = dataset.id.get_create_plist()
        filters = {plan.get_filter(i)[0] for i in range(plan.get_nfilters())}
        if filters - _FILTERS:
            raise UnsafeFileError(f"{clipped(name)} is packed by a plug-in ({clipped(filters - _FILTERS)}). {_SAVE}")
        stored = dataset.id.get_storage_size()
        declared = prod(int(s) for s in dataset.shape) * dataset.dtype.itemsize
        chunk = prod(dataset.chunks or (0,)) * dataset.dtype.itemsize
        allowed = stored * (HDF5_RATIO if filters else 1)
        if declared > allowed or stored > self.size or chunk > max(2**24, 2 * declared):
            raise UnsafeFileError(
                f"{clipped(name)} declares {declared:,} bytes (shape {dataset.shape}), but the file of {self.size:,} bytes "
                f"holds {min(stored, self.size):,} for it; it was not read."
            )

    def _read(self, dataset: Any, name: str) -> Array:
        with _hdf5_errors():
            if dataset.dtype.kind != "f" or dataset.dtype.itemsize not in (2, 4, 8):
                raise UnsupportedModelError(
                    f"{clipped(name)} holds elements of the type {dataset.dtype}; only real floating-point weights are "
                    "read. Save the model before quantisation, in float32."
                )
            self.budget -= dataset.size * dataset.dtype.itemsize
            if self.budget < 0:
                raise UnsafeFileError(f"the arrays of the file, of {self.size:,} bytes, unpack to many times its size.")
            array = np.asarray(dataset[()]).astype(dataset.dtype.newbyteorder("="), copy=False)
        refuse_infinite(array, name)
        return array


def _declared_lengths(data: bytes, name: bytes) -> Iterator[int]:
    """Yield the lengths of the texts in attributes called `name`, from the bytes of an HDF5 file.

    An attribute's message is its version, a byte of flags, the sizes (2 bytes each) of name, type and dimensions, from
    version 3 a byte for the name's encoding, and then these three and the values. Version 1 fills each up to 8 bytes.
    """
    at = -1
    while (at := data.find(name + b"\0", at + 1)) >= 0:
        for before in (8, 9):
            head = data[at - before : at] if at >= before else b""
            version = head[0] if head else 0
            sizes = [int.from_bytes(head[i : i + 2], "little") for i in (2, 4, 6)]
            if version not in ((1, 2) if before == 8 else (3,)) or sizes[0] != len(name) + 1:
                continue
            name_size, type_size, space_size = (-(-s // 8) * 8 for s in sizes) if version == 1 else sizes
            kind, space = at + name_size, at + name_size + type_size
            if data[kind : kind + 1] and data[kind] & 15 == _OPEN_LENGTH:
                yield from _lengths_of(data, space, space + space_size)


_OPEN_LENGTH = 9  # HDF5's class of types whose values lie elsewhere in the file


def _lengths_of(data: bytes, space: int, values: int) -> Iterator[int]:
    """Yield the length in front of each value, a reference of 16 bytes; the dimensions say how many there are."""
    version, rank = data[space : space + 1], data[space + 1 : space + 2]
    first = space + (8 if version == b"\1" else 4)
    dims = [int.from_bytes(data[first + 8 * i : first + 8 * i + 8], "little") for i in range(rank[0] if rank else 0)]
    for i in range(min(prod(dims), 100_000)):
        yield int.from_bytes(data[values + 16 * i : values + 16 * i + 4], "little")


_HEAP = b"GCOL\1\0\0\0"


def _refuse_endless_heaps(data: bytes) -> None:
    """Raise if a heap of texts holds a piece that leads nowhere.

    The library steps from piece to piece by the sizes written there, and forever where a flipped bit made one 0.
    """
    start = -1
    while (start := data.find(_HEAP, start + 1)) >= 0:
        stop = start + int.from_bytes(data[start + 8 : start + 16], "little")
        at = start + 16
        if not at <= stop <= len(data):
            raise MalformedModelError(f"a damaged HDF5 file (a heap of texts that ends outside it). {_ANEW}")
        while at + 16 <= stop:
            index = int.from_bytes(data[at : at + 2], "little")
            size = int.from_bytes(data[at + 8 : at + 16], "little")
            step = 16 + -(-size // 8) * 8 if index else size
            if not 16 <= step <= stop - at:
                raise MalformedModelError(
                    f"a damaged HDF5 file (a heap of texts with a piece of {size:,} bytes). {_ANEW}"
                )
            at += step


def refuse_infinite(array: Array, name: str) -> None:
    """Raise `MalformedModelError` if weights hold NaN or infinity."""
    if not np.isfinite(array).all():
        raise MalformedModelError(
            f"{clipped(name)} holds NaN or infinity; every number in a network must be finite. Train it anew or mend the "
            "file."
        )


def _text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def _of_link(link: Any, name: str, h5py: Any) -> str:
    if isinstance(link, h5py.ExternalLink):
        return f"{clipped(name)} is a link to another file, {clipped(link.filename)}"
    if isinstance(link, h5py.SoftLink):
        return f"{clipped(name)} is a soft link, to {clipped(link.path)}"
    return f"{clipped(name)} is a link of an unknown kind"


# ---------------------------------------------------------------- the two layouts


@dataclass(eq=False)
class _Tree:
    """Weights as Keras 3 saves them: a tree of classes, each layer's arrays numbered in ``vars``."""

    file: _Hdf5

    def arrays(self, path: str, layer: str) -> tuple[Stored, ...]:
        """Return the arrays of the layer at a place of the tree.

        Raises
        ------
        MalformedModelError : the place belongs to another layer.
        """
        group = self.file.at(self.file.root, f"{path}/vars")
        if group is None:  # what Keras 2.12 to 2.15 wrote
            group = self.file.at(self.file.root, f"{path.replace('layers', '_layer_checkpoint_dependencies')}/vars")
        if group is None:
            return ()
        owner = self.file.attribute(group, "name") if "name" in group.attrs else None
        if owner is not None and owner != layer:
            raise MalformedModelError(
                f"{path} holds the weights of {clipped(owner)} where config.json has {clipped(layer)}; they do not belong "
                f"together. {_ANEW}"
            )
        found: list[Stored] = []
        while (dataset := self.file.at(group, str(len(found)))) is not None:
            found.append(self.file.array(dataset, f"{path}/vars/{len(found)}"))
            if len(found) > MAX_MEMBERS:
                raise MalformedModelError(f"{path} holds more than {MAX_MEMBERS:,} arrays. {_ANEW}")
        return tuple(found)


@dataclass(eq=False)
class _Legacy:
    """Weights of an `.h5` file: a group for each layer, whose attribute ``weight_names`` lists its arrays."""

    file: _Hdf5

    def arrays(self, layer: str) -> tuple[Stored, ...]:
        """Return the arrays of a layer of the outermost model."""
        top = self.file.at(self.file.root, "model_weights")
        if top is None:
            raise UnsupportedModelError(f"it holds a model, but no weights. {_SAVE}")
        group = self.file.at(top, layer)
        if group is None:
            return ()
        out = []
        for name in self._names(group):
            dataset = self.file.at(group, name)
            if dataset is None:
                raise MalformedModelError(f"the array {clipped(name)} of layer {clipped(layer)} is not there. {_ANEW}")
            out.append(self.file.array(dataset, name))
        return tuple(out)

    def _names(self, group: Any) -> list[str]:
        names = self.file.attribute(group, "weight_names")
        if names is not None:
            return list(names)
        out: list[str] = []  # a list too long for one attribute is written in pieces
        while (part := self.file.attribute(group, f"weight_names{len(out)}")) is not None and len(out) < MAX_MEMBERS:
            out += [part] if isinstance(part, str) else part
            if not part:
                break
        return out


def _embedded(file: _Hdf5) -> tuple[dict[str, Any], str]:
    """Return the configuration in an `.h5` file and the version of Keras that wrote it."""
    text = file.attribute(file.root, "model_config")
    if isinstance(text, str):
        version = file.attribute(file.root, "keras_version")
        if version is None and (top := file.at(file.root, "model_weights")) is not None:
            version = file.attribute(top, "keras_version")
        return parsed(text, "model_config"), _version(version)
    if text is not None:
        raise MalformedModelError(f"its attribute model_config must hold one text. {_ANEW}")
    with _hdf5_errors():
        names = set(file.root)
        attributes = set(file.root.attrs)
    if "layer_names" in attributes or names & {"layers", "_layer_checkpoint_dependencies", "model_weights"}:
        raise UnsupportedModelError(
            "it holds weights without the model that they belong to (save_weights writes such files). Build the model in "
            f"Keras, load the weights into it, and pass the model itself or a file of all of it. {_SAVE}"
        )
    raise UnsupportedModelError(f"it is an HDF5 file, but holds no Keras model. {_SAVE}")
