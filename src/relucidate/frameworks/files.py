"""What a file is, by its content: names and extensions say nothing."""

from __future__ import annotations

import re
import stat
import zipfile
from pathlib import Path
from typing import BinaryIO

from relucidate.errors import MalformedModelError, ModelError, UnsafeFileError, UnsupportedModelError, clipped, shown

_HEAD = 4096
_EXPORT = "Export the model to ONNX, for example with torch.onnx.export, tf2onnx or skl2onnx, and load that."
_PICKLE = (
    "reading it could run any code, so relucidate never unpickles. Export the model to ONNX (skl2onnx.to_onnx, "
    "torch.onnx.export), or load it yourself if you trust it and pass the live object to relucidate.load."
)
# Field numbers of an ONNX ModelProto and their wire types.
_ONNX_FIELDS = {1: 0, 2: 2, 3: 2, 4: 2, 5: 0, 6: 2, 7: 2, 8: 2, 14: 2, 20: 2, 25: 2, 26: 2}

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x89HDF\r\n\x1a\n", "hdf5"),
    (b"\x93NUMPY", "npy"),
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"%PDF", "a PDF document"),
    (b"\x7fELF", "a program (ELF)"),
    (b"PAR1", "a Parquet table"),
    (b"GGUF", "a GGUF model"),
    (b"\x1f\x8b", "compressed"),
    (b"BZh", "compressed"),
    (b"\xfd7zXZ\x00", "compressed"),
    (b"\x04\x22\x4d\x18", "compressed"),
    (b"\x28\xb5\x2f\xfd", "compressed"),
    (b"ZF", "compressed"),
)


def refuse_unless_file(path: Path) -> None:
    """Raise unless `path` is a regular file that can be opened and holds something.

    Raises
    ------
    MalformedModelError : missing, a folder, a device, empty, or not readable.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        raise MalformedModelError(f"{path} does not exist. Check the path; it is taken from {Path.cwd()}.") from None
    except (OSError, ValueError) as problem:
        raise MalformedModelError(f"{clipped(path)} cannot be opened: {problem}.") from None
    if stat.S_ISDIR(status.st_mode):
        raise MalformedModelError(f"{path} is a folder. Give the path of the model file in it.")
    if not stat.S_ISREG(status.st_mode):
        raise MalformedModelError(f"{path} is no regular file (a device or a pipe). Give the path of a model file.")
    if status.st_size == 0:
        raise MalformedModelError(f"{path} is empty (0 bytes). Export or copy the model anew.")


def kind_of(path: Path) -> str:
    """Return what a file is: "onnx", "keras", …, or what is said of it when it is refused. Reads headers only.

    Raises
    ------
    ModelError : it cannot be opened.
    """
    refuse_unless_file(path)
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
            for magic, kind in _MAGIC:
                if head.startswith(magic):
                    return kind
            if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
                return _zip_kind(path)
            if head[:1] == b"\x78" and len(head) > 1 and (head[0] * 256 + head[1]) % 31 == 0:
                return "compressed"
            if _is_pickle(head):
                return "pickle"
            if head[4:8] == b"TFL3":
                return "a TensorFlow Lite model"
            if _is_safetensors(head, path.stat().st_size):
                return "safetensors"
            if _is_onnx(file, path.stat().st_size):
                return "onnx"
    except OSError as problem:
        raise MalformedModelError(f"{path} cannot be read: {problem.strerror or problem}.") from None
    if _is_nnet(head):
        return "nnet"
    if head.lstrip()[:1] == b"{" and b"relucidate.network/" in head:
        return "json"
    return "text" if _is_text(head) else "unknown"


def refusal(path: Path, kind: str) -> ModelError:
    """Return the error for a file of a kind that is not read."""
    size = path.stat().st_size
    if kind == "pickle":
        return UnsafeFileError(f"{path} is a pickle (joblib and .pkl files are): {_PICKLE}")
    if kind == "torch-legacy":
        return UnsafeFileError(f"{path} is a PyTorch file of the old format, a pickle: {_PICKLE}")
    if kind == "compressed":
        return UnsafeFileError(
            f"{path} is a compressed file, as joblib.dump makes. If a pickle is inside, {_PICKLE} If not, "
            "decompress it first."
        )
    if kind == "torchscript":
        return UnsupportedModelError(f"{path} is a TorchScript archive, which holds code; it is not read. {_EXPORT}")
    if kind == "npy":
        return UnsupportedModelError(
            f"{path} is a NumPy array. Load the weights with numpy and pass load((weights, biases))."
        )
    if kind == "npz":
        return UnsupportedModelError(
            f"{path} is an archive of NumPy arrays. Load it with numpy.load(…, allow_pickle=False) and pass "
            "load((weights, biases))."
        )
    if kind == "text":
        return MalformedModelError(f"{path} is a text file, not a model. {_EXPORT}")
    if kind == "unknown":
        return MalformedModelError(
            f"{path} ({size:,} byte{'s' * (size != 1)}) is no model file that relucidate knows; its content is "
            f"not ONNX. {_EXPORT}"
        )
    return MalformedModelError(f"{path} is {kind}, not a model, whatever its name says. {_EXPORT}")


def _zip_kind(path: Path) -> str:
    """Return what a zip archive is, from the names in its directory; nothing is unpacked."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()[:100_000]
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as problem:
        raise MalformedModelError(f"{path} is a damaged zip archive: {problem}. Save or copy it anew.") from None
    ends = {name.rsplit("/", 1)[-1] for name in names}
    if any("/code/" in f"/{name}" for name in names) and ends & {"constants.pkl", "data.pkl"}:
        return "torchscript"
    if "data.pkl" in ends:
        return "torch"
    if {"config.json", "metadata.json"} <= ends or "model.weights.h5" in ends:
        return "keras"
    if names and all(name.endswith(".npy") for name in names):
        return "npz"
    if "schema.json" in ends:
        return "a skops file"
    return f"a zip archive (of {shown(names, 3)})"


def _is_pickle(head: bytes) -> bool:
    if len(head) > 1 and head[0] == 0x80 and 2 <= head[1] <= 6:
        return True
    # protocols 0 and 1 are text-like: a global, or the start of a container
    return re.match(rb"c[A-Za-z_][\w.]*\n[A-Za-z_]\w*\n|\((?:[dl]p?\d*\n|[ic])|[\]\}]q\x00|ccopy_reg", head) is not None


def _is_safetensors(head: bytes, size: int) -> bool:
    fits = len(head) > 9 and int.from_bytes(head[:8], "little") <= size - 8
    return fits and head[8:9] == b"{" and head[9:10] in b'"}'


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as problem:
        if problem.start < len(head) - 4:
            return False
        text = head[: problem.start].decode("utf-8")
    return all(c.isprintable() or c in "\r\n\t\f\ufeff" for c in text)


def _is_nnet(head: bytes) -> bool:
    if not _is_text(head):
        return False
    lines = [line.strip() for line in head.decode("utf-8", "ignore").splitlines()]
    numbers = [line for line in lines if line and not line.startswith("//")]
    whole = all(re.fullmatch(r"\d+(,\s*\d+)*,?", line) for line in numbers[:2])
    return len(numbers) > 2 and whole and "," in numbers[1]


def _is_onnx(file: BinaryIO, size: int) -> bool:
    """Return whether the file is a sequence of fields of an ONNX model; values are skipped, not read."""
    at = 0
    seen: set[int] = set()
    while at < size and len(seen) < 40:
        file.seek(at)
        tag, length = _varint(file.read(10))
        if not length or _ONNX_FIELDS.get(tag >> 3) != tag & 7:
            return 7 in seen and 1 in seen  # damaged behind the graph: let the parser say where
        at += length
        value, length = _varint(file.read(10)) if _seek(file, at) else (0, 0)
        if not length:
            return bool(seen)
        at += length + (value if tag & 7 == 2 else 0)
        seen.add(tag >> 3)
    return bool(seen) and (7 in seen or size < _HEAD)


def _seek(file: BinaryIO, at: int) -> bool:
    file.seek(at)
    return True


def _varint(data: bytes) -> tuple[int, int]:
    """Return the number that a protobuf varint at the start of `data` encodes and its length, 0 if there is none."""
    value = 0
    for i, byte in enumerate(data):
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return value, i + 1
    return 0, 0
