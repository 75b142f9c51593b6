"""Tensors that an ONNX model keeps in other files: read from beside it and nowhere else, and only what they declare."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from relucidate.errors import MalformedModelError, UnsafeFileError, UnsupportedModelError, clipped

# Protobuf holds no message of 2 GiB, and the model is checked and run with its data inside.
MAX_BYTES = 2**31 - 2**20
_EMBED = "Embed the weights where the model comes from: onnx.save(onnx.load(path), new_path)."
_CHUNK = 2**22


@dataclass(eq=False)
class _File:
    """An open file beside the model."""

    descriptor: int
    size: int
    sha256: str
    asked: int = 0


@dataclass(eq=False)
class Folder:
    """The folder of a model, as far as the model may look into it.

    Parameters
    ----------
    path : the folder; None for a model in memory, which has none.
    """

    path: Path | None
    _files: dict[tuple[str, ...], _File] = field(default_factory=dict)

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *problem: object) -> None:
        for file in self._files.values():
            os.close(file.descriptor)

    @property
    def read(self) -> dict[str, str]:
        """The SHA-256 of every file that was read, by its place in the folder."""
        return {"/".join(parts): file.sha256 for parts, file in self._files.items()}

    def embed(self, tensors: Iterable[Any], item_bytes: Mapping[int, int]) -> None:
        """Put the data of tensors that are stored elsewhere into them.

        Parameters
        ----------
        tensors : `TensorProto` messages, changed in place.
        item_bytes : bytes of one element of each type.

        Raises
        ------
        UnsafeFileError : a location outside the folder, or a link. MalformedModelError : a file that is missing or too
            short. UnsupportedModelError : more data than a model in one piece can hold.
        """
        total = 0
        for tensor in tensors:
            if not is_external(tensor):
                continue
            name = clipped(tensor.name or "(a constant)")
            entries = {entry.key: entry.value for entry in tensor.external_data}
            parts = _inside(name, entries.get("location", ""), known=self.path is not None)
            if tensor.data_type not in item_bytes or any(d < 0 for d in tensor.dims):
                raise MalformedModelError(
                    f"tensor {name} is stored outside the file with a type or dimensions that it cannot have."
                )
            length = prod(tensor.dims) * item_bytes[tensor.data_type]
            total += length
            if total > MAX_BYTES:
                raise UnsupportedModelError(
                    f"the tensors stored outside the file hold more than {MAX_BYTES:,} bytes up to {name}; relucidate reads "
                    "models of less than 2 GiB."
                )
            tensor.raw_data = self._read(name, parts, entries, length)
            tensor.ClearField("external_data")
            tensor.ClearField("data_location")

    def _read(self, name: str, parts: tuple[str, ...], entries: Mapping[str, Any], length: int) -> bytes:
        file = self._file(name, parts)
        offset = _number(name, "offset", entries.get("offset", "0"))
        declared = _number(name, "length", entries["length"]) if "length" in entries else file.size - offset
        where = f"tensor {name} takes {length:,} bytes of {clipped('/'.join(parts))} from byte {offset:,}"
        if declared != length:
            raise MalformedModelError(f"{where}, and the file declares {declared:,}. It is damaged; export it anew.")
        if offset + length > file.size:
            raise MalformedModelError(f"{where}, which has {file.size:,}. It is cut short; export or copy it anew.")
        file.asked += length
        if file.asked > 2 * file.size + _CHUNK:
            raise UnsafeFileError(f"{where}, bytes that other tensors hold already, again and again. {_EMBED}")
        data = bytearray()
        os.lseek(file.descriptor, offset, os.SEEK_SET)
        while len(data) < length:
            chunk = os.read(file.descriptor, min(_CHUNK, length - len(data)))
            if not chunk:
                raise MalformedModelError(f"{where}, which became shorter while it was read.")
            data += chunk
        return bytes(data)

    def _file(self, name: str, parts: tuple[str, ...]) -> _File:
        if parts not in self._files:
            assert self.path is not None
            descriptor = _opened(name, self.path, parts)
            size = os.fstat(descriptor).st_size
            self._files[parts] = _File(descriptor, size, "")
            if size > MAX_BYTES:
                raise UnsupportedModelError(f"{clipped('/'.join(parts))} has {size:,} bytes; relucidate reads 2 GiB.")
            self._files[parts].sha256 = _sha256(descriptor)
        return self._files[parts]


def is_external(tensor: Any) -> bool:
    """Return whether a tensor keeps its data in another file."""
    return bool(tensor.data_location == tensor.EXTERNAL or tensor.external_data)


def _inside(name: str, location: Any, *, known: bool) -> tuple[str, ...]:
    """Return the parts of a location that stays within the folder.

    Raises
    ------
    UnsafeFileError : it does not, or there is no folder.
    """
    if not isinstance(location, str):
        raise MalformedModelError(f"tensor {name} is stored outside the file at a place that is no text.")
    stored = f"tensor {name} is stored outside the file (at {clipped(location)})"
    if not known:
        raise UnsafeFileError(
            f"{stored}, and a model in memory has no folder to look in. Load the file by its path, or put the data into "
            "the model with onnx.load_external_data_for_model."
        )
    parts = tuple(part for part in location.split("/") if part != ".")
    plain = location and "\\" not in location and "\0" not in location and not re.match(r"[A-Za-z]:", location)
    if not plain or not parts or any(part in ("", "..") for part in parts):
        raise UnsafeFileError(
            f"{stored}; relucidate opens only files in the model's own folder, by a plain relative path. {_EMBED}"
        )
    return parts


def _opened(name: str, folder: Path, parts: tuple[str, ...]) -> int:
    """Return the descriptor of a regular file with one name, reached through no link."""
    path = folder
    where = f"tensor {name} is stored in {clipped('/'.join(parts))}"
    try:
        for i, part in enumerate(parts):
            path = path / part
            status = os.lstat(path)
            last = i == len(parts) - 1
            if not (stat.S_ISREG if last else stat.S_ISDIR)(status.st_mode):
                what = "a link" if stat.S_ISLNK(status.st_mode) else "no regular file"
                raise UnsafeFileError(
                    f"{where}, which is {what} ({clipped(part)}); only files themselves are read. {_EMBED}"
                )
        flags = os.O_RDONLY
        for flag in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
            flags |= getattr(os, flag, 0)
        descriptor = os.open(path, flags)
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise MalformedModelError(f"{where}, which cannot be read: {reason}. Keep it beside the model.") from None
    opened = os.fstat(descriptor)
    if opened.st_nlink > 1 or not stat.S_ISREG(opened.st_mode) or not os.path.samestat(opened, status):
        os.close(descriptor)
        raise UnsafeFileError(
            f"{where}, which has a second name (a hard link) or changed while it was opened. {_EMBED}"
        )
    return descriptor


def _number(name: str, what: str, text: Any) -> int:
    if not isinstance(text, str) or not re.fullmatch(r"[0-9]{1,18}", text):
        raise MalformedModelError(f"tensor {name} is stored outside the file with the {what} {clipped(text)}.")
    return int(text)


def _sha256(descriptor: int) -> str:
    digest = hashlib.sha256()
    os.lseek(descriptor, 0, os.SEEK_SET)
    while chunk := os.read(descriptor, _CHUNK):
        digest.update(chunk)
    return digest.hexdigest()
