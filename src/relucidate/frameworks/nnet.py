"""NNet text files (`.nnet`), the format of the ACAS Xu networks: ReLU hidden layers and an affine output layer."""

from __future__ import annotations

import hashlib
import io
import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np

from relucidate.errors import MalformedModelError, RelucidateError, UnsupportedModelError, clipped, shown
from relucidate.features import Features
from relucidate.frameworks.reading import Options, Original, Reading, probe_rows
from relucidate.layers import Activation, Floats, Layer
from relucidate.network import Network, Provenance

MAX_LAYERS = 1_000  # real networks have dozens; many more are an attack, or at best nothing that anyone could read

_ANEW = "The file is damaged; write or copy it anew."
# A number and its comma take two characters at least; written with every digit of a double and a space, 26.
_SHORTEST, _LONGEST = 2, 64
_HEADER_CHARACTERS = 2**20  # a line of sizes, before anything is known of how long it may be
_NUMERIC = str.maketrans("", "", "0123456789+-.eE, \t\r\n")
_UTF16 = ("\xff\xfe", "\xfe\xff")
_BOM = "\xef\xbb\xbf"


def read(path: Path, options: Options) -> Reading:
    """Return the network of an NNet file, and a layer-by-layer evaluation to prove it against.

    Parameters
    ----------
    path : the file.
    options : `normalise` folds the file's means and ranges into the first and the last layer, so that the network takes
        and gives the units of the data; `link` says what the output is, "identity" if not given; `feature_names` name
        the inputs.

    Returns
    -------
    Reading, whose network's `provenance.notes` say in which units it is and what the file holds besides weights.

    Raises
    ------
    MalformedModelError : damaged, cut short, or something else than finite numbers in it, with the line.
    UnsupportedModelError : more layers than are read.
    ArgumentError : an option that means nothing here.

    Notes
    -----
    Without `normalise` the network is kept in its own units: it takes ``(x - mean) / range`` and gives
    ``(y - mean) / range``. A range of 0 means that nothing is divided; a line with a single 0 in place of means or
    ranges, that there are none. Clipping of the inputs to the file's minima and maxima is not applied.

    The first line may hold the number of layers alone; commas at the end of a line, blank lines, comments (``//``)
    anywhere, a byte order mark and either kind of line end are accepted.

    Source: K. Julian, the NNet file format, Stanford 2016.
    """
    options.refuse("an NNet file", "inputs", "output", "architecture")
    with path.open("rb") as stream:
        try:
            parsed = _Lines(stream, path.stat().st_size).parse()
        except RelucidateError as problem:
            raise type(problem)(f"{path}: {problem}") from None
        stream.seek(0)
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    plain = _Plain(parsed, options.normalise)
    weights, biases = _folded(parsed) if options.normalise else (list(parsed.weights), list(parsed.biases))
    kinds = ["relu"] * (len(weights) - 1) + ["identity"]
    layers = tuple(
        Layer(weight, bias, Activation.of_kind(kind, len(bias)), name=f"layer {i + 1}")
        for i, (weight, bias, kind) in enumerate(zip(weights, biases, kinds, strict=True))
    )
    network = Network(
        layers,
        Features.plain(parsed.sizes[0], options.feature_names),
        link=options.link or "identity",  # type: ignore[arg-type]  # the network checks it
        provenance=Provenance(
            "NNet file",
            str(path),
            digest,
            (("Linear", len(weights)), ("ReLU", len(weights) - 1)),
            _notes(parsed, options.normalise),
        ),
    )
    centre, spread = (parsed.mean_in, np.abs(parsed.range_in)) if options.normalise else (0.0, 1.0)
    name = f"layer-by-layer evaluation in numpy {np.__version__}"
    original = Original(name, plain.decision, "decision", plain.tolerance)
    with np.errstate(over="ignore"):  # a weight near the end of the range asks for steps beyond it, which are left out
        probe = probe_rows(network, centre, spread)
    return Reading(network, (original,), probe)


@dataclass(frozen=True, eq=False)
class _Parsed:
    """What the file holds.

    Parameters
    ----------
    sizes : of the input and of each layer.
    minima, maxima : of the inputs, () if the file gives none.
    mean_in, range_in : (n_inputs,), zeros and ones where the file gives none.
    normalises : whether the file holds any mean or range.
    weights, biases : (m, k) and (m,) of each layer.
    """

    sizes: tuple[int, ...]
    minima: tuple[float, ...]
    maxima: tuple[float, ...]
    mean_in: Floats
    range_in: Floats
    mean_out: float
    range_out: float
    normalises: bool
    weights: tuple[Floats, ...]
    biases: tuple[Floats, ...]


# ---------------------------------------------------------------- parsing


class _Lines:
    """The lines of the file that hold numbers, one after the other, with their place for messages."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        # every byte is a character of latin-1: what is no number is then reported as it stands
        self._text = io.TextIOWrapper(stream, encoding="latin-1", newline=None)
        self._size = size
        self._number = 0

    def parse(self) -> _Parsed:
        """Return what the file holds.

        Raises
        ------
        MalformedModelError : see `read`.
        """
        try:
            return self._parse()
        finally:
            self._text.detach()

    def _parse(self) -> _Parsed:
        n_layers, header = self._layers()
        sizes = self._sizes(n_layers, header)
        self._afford(sizes)
        n = sizes[0]
        self._values("the flag that is no longer used", None, n + 64)
        minima = self._optional("minima of the inputs", n)
        maxima = self._optional("maxima of the inputs", n)
        means = self._optional("means of the inputs and of the outputs", n + 1)
        at = self._number
        ranges = self._optional("ranges of the inputs and of the outputs", n + 1)
        weights, biases = [], []
        for i in range(n_layers):
            k, m = sizes[i], sizes[i + 1]
            where = f"of layer {i + 1} of {n_layers}"
            weight, bias = np.empty((m, k)), np.empty(m)
            for row in range(m):
                weight[row] = self._values(f"row {row + 1} of {m} of the weights {where}", k, k)
            for row in range(m):
                bias[row] = self._values(f"bias {row + 1} of {m} {where}", 1, 1)[0]
            weights.append(weight)
            biases.append(bias)
        line = self._next(_HEADER_CHARACTERS)
        if line is not None:
            raise MalformedModelError(
                f"line {self._number} goes on ({clipped(line.strip())}) after the last bias of the {n_layers} layers "
                f"that the sizes {shown(sizes, 12)} call for; expected the end of the file. {_ANEW}"
            )
        mean = np.array(means or [0.0] * (n + 1))
        scale = np.array(ranges or [1.0] * (n + 1))
        if (scale < 0).any():
            raise MalformedModelError(
                f"line {at + 1} holds the range {clipped(scale.min())}; a range is a width and cannot be negative. {_ANEW}"
            )
        scale = np.where(scale == 0, 1.0, scale)
        normalises = bool(mean.any() or (scale != 1).any())
        return _Parsed(
            sizes,
            minima,
            maxima,
            mean[:n],
            scale[:n],
            float(mean[n]),
            float(scale[n]),
            normalises,
            tuple(weights),
            tuple(biases),
        )

    def _layers(self) -> tuple[int, list[float]]:
        """Return the number of layers, and the first line."""
        header = self._values("the number of layers, of inputs, of outputs and the largest layer", None, None)
        if len(header) > 4:
            raise MalformedModelError(
                f"line {self._number} holds {len(header)} numbers; expected the number of layers, of inputs, of outputs "
                f"and the largest layer. {_ANEW}"
            )
        n_layers = self._whole(header[0], "number of layers")
        if n_layers > MAX_LAYERS:
            raise UnsupportedModelError(
                f"line {self._number} declares {clipped(n_layers)} layers; relucidate reads at most {MAX_LAYERS:,}. Check "
                "the file, or merge its layers."
            )
        return n_layers, header

    def _sizes(self, n_layers: int, header: list[float]) -> tuple[int, ...]:
        values = self._values("the sizes of the layers", None, None)
        if len(values) != n_layers + 1:
            raise MalformedModelError(
                f"line {self._number} holds {len(values)} sizes; a network of {n_layers} layers needs {n_layers + 1}: its "
                f"inputs and each layer. {_ANEW}"
            )
        sizes = tuple(self._whole(value, "size of a layer") for value in values)
        for place, size, what in ((1, sizes[0], "inputs"), (2, sizes[-1], "outputs")):
            if len(header) > place and header[place] != size:
                raise MalformedModelError(
                    f"the first line says {header[place]:g} {what}, the sizes {shown(sizes, 12)} of line "
                    f"{self._number} say {size}. {_ANEW}"
                )
        return sizes

    def _whole(self, value: float, what: str) -> int:
        if value != int(value) or value < 1:
            raise MalformedModelError(
                f"line {self._number} gives {value:g} as the {what}; expected a whole number, 1 or more. {_ANEW}"
            )
        if value > self._size:
            raise MalformedModelError(
                f"line {self._number} gives {value:g} as the {what}, and the whole file has {self._size:,} bytes: it is "
                "cut short or damaged. Write or copy it anew."
            )
        return int(value)

    def _afford(self, sizes: tuple[int, ...]) -> None:
        """Raise if the file is too small for what it declares, before any of it is allocated."""
        declared = sum(m * (k + 1) for k, m in pairwise(sizes))
        if declared * _SHORTEST > self._size:
            raise MalformedModelError(
                f"line {self._number} declares the sizes {shown(sizes, 12)}, that is {declared:,} weights and biases, and "
                f"the file has {self._size:,} bytes: it is cut short or damaged. Write or copy it anew."
            )

    def _optional(self, what: str, n: int) -> tuple[float, ...]:
        """Return `n` numbers, or () where a single 0 stands for them."""
        values = self._values(f"the {n} {what}, or a single 0 for none", None, n + 64)
        if len(values) == n:
            return tuple(values)
        if values == [0.0]:
            return ()
        raise MalformedModelError(
            f"line {self._number} holds {_count(values)}; expected the {n} {what}, or a single 0 for none. {_ANEW}"
        )

    def _values(self, what: str, n: int | None, most: int | None) -> list[float]:
        """Return the numbers of the next line.

        Parameters
        ----------
        what : they are, for messages.
        n : how many there must be; None for any number.
        most : as many as the line may hold before it is not even read whole; None where nothing is known of it yet.
        """
        limit = _HEADER_CHARACTERS if most is None else most * _LONGEST + 4096
        line = self._next(limit)
        if line is None:
            raise MalformedModelError(
                f"the file ends after line {self._number}; expected {what}. It was cut short: write or copy it anew."
            )
        strange = line.translate(_NUMERIC)
        if strange:
            hint = "NNet files are plain ASCII text with commas between numbers."
            if self._number == 1 and line.startswith(_UTF16):
                hint = "The file looks like UTF-16; save it as UTF-8."
            raise MalformedModelError(
                f"line {self._number} holds {_first_strange(line)}; expected {what}, finite numbers between commas. {hint}"
            )
        parts = line.strip().removesuffix(",").split(",")
        try:
            values = [float(part) for part in parts]
        except ValueError:
            met = next(part for part in parts if not _is_number(part))
            raise MalformedModelError(
                f"line {self._number} holds {clipped(met.strip())}, which is no number; expected {what}. {_ANEW}"
            ) from None
        if not all(map(math.isfinite, values)):
            met = next(part for part, value in zip(parts, values, strict=True) if not math.isfinite(value))
            raise MalformedModelError(
                f"line {self._number} holds {clipped(met.strip())}, which is beyond the range of float64 (1.8e308); "
                f"expected {what}. Mend the number."
            )
        if n is not None and len(values) != n:
            raise MalformedModelError(f"line {self._number} holds {_count(values)}; expected {n}: {what}. {_ANEW}")
        return values

    def _next(self, limit: int) -> str | None:
        """Return the next line that is neither blank nor a comment, None at the end of the file."""
        while True:
            line = self._text.readline(limit)
            if not line:
                return None
            self._number += 1
            if self._number == 1:
                line = line.removeprefix(_BOM)
            whole = line.endswith("\n")
            if line.lstrip().startswith("//"):
                while not whole:  # a comment may be of any length, but need not be held
                    line = self._text.readline(limit)
                    whole = line.endswith("\n") or not line
                continue
            if not whole and len(line) >= limit:
                raise MalformedModelError(
                    f"line {self._number} is longer than {limit:,} characters and begins {clipped(line[:100])}; no line "
                    f"of numbers that belongs here is. {_ANEW}"
                )
            if line.strip():
                return line


def _is_number(part: str) -> bool:
    try:
        float(part)
    except ValueError:
        return False
    return True


def _count(values: list[float]) -> str:
    return f"{len(values)} number{'s' * (len(values) != 1)}"


def _first_strange(line: str) -> str:
    """Return the first part of a line that holds a character which no number has, as messages show it."""
    part = next(part for part in line.split(",") if part.translate(_NUMERIC))
    return clipped(part.strip(" \t\r\n"))


# ---------------------------------------------------------------- units


def _folded(parsed: _Parsed) -> tuple[list[Floats], list[Floats]]:
    """Return the weights and biases of the network that takes and gives the units of the data."""
    weights, biases = list(parsed.weights), list(parsed.biases)
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused by the layer that it is put in
        weights[0] = weights[0] / parsed.range_in
        biases[0] = biases[0] - weights[0] @ parsed.mean_in
        weights[-1] = weights[-1] * parsed.range_out
        biases[-1] = biases[-1] * parsed.range_out + parsed.mean_out
    return weights, biases


def _notes(parsed: _Parsed, normalise: bool) -> tuple[str, ...]:
    n = parsed.sizes[0]
    held = (
        f"inputs: means {shown(parsed.mean_in.tolist())}, ranges {shown(parsed.range_in.tolist())}; outputs: mean "
        f"{parsed.mean_out}, range {parsed.range_out}"
    )
    if not parsed.normalises:
        units = "the file holds no means and ranges: the network is in the units of its data"
    elif normalise:
        units = f"means and ranges are folded in: the network takes and gives the units of the data ({held})"
    else:
        units = (
            f"kept in its normalised units: it takes (x - mean) / range and gives (y - mean) / range ({held}); "
            "normalise=True folds means and ranges in"
        )
    if not (parsed.minima or parsed.maxima):
        return (units, f"the file holds no minima and maxima of its {n} input{'s' * (n != 1)}")
    limits = f"minima {shown(parsed.minima)}, maxima {shown(parsed.maxima)}, in the units of the data"
    return units, f"clipping of the inputs to the file's minima and maxima is not applied ({limits})"


# ---------------------------------------------------------------- what it is compared with


@dataclass(frozen=True, eq=False)
class _Plain:
    """The file run as it stands, layer by layer.

    Parameters
    ----------
    normalise : whether rows and outputs are in the units of the data.
    """

    parsed: _Parsed
    normalise: bool

    def decision(self, rows: Floats) -> Floats:
        """Return ``relu(… relu(W x + b) …)``, normalised before and scaled back after where that is asked."""
        p = self.parsed
        a = np.asarray(rows, dtype=np.float64)
        if self.normalise:
            a = (a - p.mean_in) / p.range_in
        for i, (weight, bias) in enumerate(zip(p.weights, p.biases, strict=True)):
            z = a @ weight.T + bias
            a = z if i == len(p.weights) - 1 else np.maximum(z, 0.0)
        return a * p.range_out + p.mean_out if self.normalise else a

    def tolerance(self, rows: Floats) -> Floats:
        """Return what rounding may do to each value (n, n_outputs): 1e-9, or more where large terms cancel."""
        p = self.parsed
        size = np.abs(np.asarray(rows, dtype=np.float64))
        if self.normalise:
            size = (size + np.abs(p.mean_in)) / p.range_in
        for weight, bias in zip(p.weights, p.biases, strict=True):
            size = size @ np.abs(weight).T + np.abs(bias)
        if self.normalise:
            size = size * p.range_out + abs(p.mean_out)
        return np.maximum(1e-9, 16 * np.finfo(float).eps * size / (1 + np.abs(self.decision(rows))))
