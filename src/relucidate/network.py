"""The canonical network: affine layers, each followed by a piecewise-linear activation per neuron, then a link."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from relucidate import exact
from relucidate.displaying import in_notebook
from relucidate.errors import (
    ArgumentError,
    MalformedModelError,
    NumericalOverflowError,
    UnfaithfulError,
    clipped,
    shown,
)
from relucidate.features import Features
from relucidate.layers import Activation, Bools, Floats, Layer, is_sparse
from relucidate.products import in_threads, one_thread

Link = Literal["identity", "logit", "softmax", "log"]

_BLOCK_BYTES = 2**20  # a block of rows and its widest layer stay in the processor's cache
_LARGEST_LOG = float(np.log(np.finfo(np.float64).max))
_LONG_BLOCK = 2**18  # weights, with which one block of rows takes much longer than starting a thread
_ROW_TILE = 64  # blocks hold a multiple of this many rows, so that every row meets the same matrix kernel


@dataclass(frozen=True, eq=False)
class Patterns:
    """Activation patterns, one per row, bit-packed.

    Parameters
    ----------
    packed : (n, ceil(n_bits / 8)) uint8, most significant bit first; unused bits are 0.
    n_bits : one per neuron and breakpoint, layer by layer. A bit is on iff the preactivation is above the breakpoint.
    """

    packed: NDArray[np.uint8]
    n_bits: int

    @staticmethod
    def pack(bits: Bools) -> Patterns:
        """Return the patterns of a bool array (n, n_bits)."""
        return Patterns(np.packbits(bits, axis=1), bits.shape[1])

    def __len__(self) -> int:
        return len(self.packed)

    def __getitem__(self, rows: Any) -> Patterns:
        return Patterns(np.atleast_2d(self.packed[rows]), self.n_bits)

    def bits(self) -> Bools:
        """Return the patterns as bool (n, n_bits)."""
        if self.n_bits == 0:
            return np.zeros((len(self), 0), dtype=bool)
        return np.unpackbits(self.packed, axis=1, count=self.n_bits).view(bool)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self.bits(), dtype=dtype)

    def ids(self) -> list[str]:
        """Return a short name per pattern: for people to read, never to compare."""
        return [hashlib.blake2b(row.tobytes(), digest_size=4).hexdigest() for row in self.packed]


@dataclass(frozen=True)
class Faithfulness:
    """How closely two programs that should say the same agree.

    Parameters
    ----------
    max_difference, mean_difference : of the outputs, absolute.
    max_relative : largest ``|difference| / (1 + |value|)``.
    worst_row : where it is.
    agreement : share of rows with the same decision (class, or sign of a logit); None for a regression.
    n : number of rows compared.
    against : what was compared with, for example "scikit-learn 1.9.1".
    """

    max_difference: float
    mean_difference: float
    max_relative: float
    worst_row: int
    agreement: float | None
    n: int
    against: str


@dataclass(frozen=True)
class Provenance:
    """Where a network came from, and what was found on the way.

    Parameters
    ----------
    source : "scikit-learn MLPClassifier", "ONNX (opset 21, pytorch 2.13)", …
    path : the file, or "".
    sha256 : of the file's bytes, or "".
    operators : (name, how many) in the original.
    notes : what a reader should know: "softmax removed: decisions are logits".
    """

    source: str = "arrays"
    path: str = ""
    sha256: str = ""
    operators: tuple[tuple[str, int], ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Trace:
    """What one pass over rows gives.

    Parameters
    ----------
    patterns : one per row.
    decision : (n, n_outputs)
    """

    patterns: Patterns
    decision: Floats


@dataclass(frozen=True, eq=False)
class Network:
    """A piecewise-linear network in canonical form.

    Parameters
    ----------
    layers : hidden layers and, last, the output layer, whose activation is the identity.
    features : what the inputs are.
    link : how a decision becomes a prediction: "identity", "logit" (sigmoid), "softmax" or "log" (exponential).
    classes : labels of the classes, in the order of `predict_proba`'s columns; () if unknown or a regression.
    outputs : a name per output.
    provenance, faithfulness : where it came from; how it compared with the original (None if nothing was compared).

    Raises
    ------
    MalformedModelError : the layers do not chain, or classes and outputs do not fit.
    """

    layers: tuple[Layer, ...]
    features: Features
    link: Link = "identity"
    classes: tuple[Any, ...] = ()
    outputs: tuple[str, ...] = ()
    provenance: Provenance = field(default_factory=Provenance)
    faithfulness: Faithfulness | None = None

    def __post_init__(self) -> None:
        if not self.layers:
            raise MalformedModelError("A network needs at least one layer; got none.")
        width = len(self.features)
        for i, layer in enumerate(self.layers):
            name = layer.name or f"layer {i}"
            if layer.weight.shape[1] != width:
                raise MalformedModelError(
                    f"The weights do not chain: {name} has a weight of shape {layer.weight.shape} (out, in), but "
                    f"{width} values enter it."
                )
            width = layer.weight.shape[0]
        if width == 0:
            raise MalformedModelError("The last layer has no outputs.")
        if not self.layers[-1].activation.is_identity:
            raise MalformedModelError("The output layer must be affine; give its activation a layer of its own.")
        if self.link not in get_args(Link):
            raise ArgumentError(f"link is {self.link!r}; expected one of {', '.join(get_args(Link))}.")
        if not self.outputs:
            names = [str(c) for c in self.classes] if len(self.classes) == width else [f"y{i}" for i in range(width)]
            object.__setattr__(self, "outputs", tuple(names) if width > 1 else ("y",))
        if len(self.outputs) != width:
            raise MalformedModelError(f"{len(self.outputs)} output names for {width} outputs; give one each.")
        if self.classes and len(self.classes) != max(width, 2):
            raise MalformedModelError(f"{len(self.classes)} classes for {width} outputs; expected {max(width, 2)}.")

    @property
    def n_features(self) -> int:
        """Number of inputs after encoding."""
        return len(self.features)

    @property
    def n_outputs(self) -> int:
        """Number of decisions per row."""
        return self.layers[-1].weight.shape[0]

    @property
    def feature_names(self) -> tuple[str, ...]:
        """A name per feature."""
        return self.features.names

    @property
    def hidden(self) -> tuple[Layer, ...]:
        """All layers but the last."""
        return self.layers[:-1]

    @cached_property
    def n_bits(self) -> int:
        """Length of an activation pattern."""
        return sum(layer.activation.n_bits for layer in self.hidden)

    @property
    def n_neurons(self) -> int:
        """Hidden neurons that can switch."""
        return sum(len(np.unique(layer.activation.switches[0])) for layer in self.hidden)

    @property
    def n_parameters(self) -> int:
        """Stored weights and biases."""
        return sum(layer.n_parameters for layer in self.layers)

    @property
    def is_classifier(self) -> bool:
        """Whether predictions are probabilities of classes."""
        return self.link in ("logit", "softmax")

    @property
    def n_classes(self) -> int:
        """Columns of `predict_proba`; 0 for a regression."""
        return max(self.n_outputs, 2) if self.is_classifier else 0

    def output_index(self, output: str | int) -> int:
        """Return the position of an output, given by name or position.

        Raises
        ------
        ArgumentError : there is none.
        """
        if isinstance(output, int | np.integer) and not isinstance(output, bool):
            if 0 <= output < self.n_outputs:
                return int(output)
            raise ArgumentError(f"output is {output}; expected 0 to {self.n_outputs - 1}.")
        if output in self.outputs:
            return self.outputs.index(output)
        raise ArgumentError(f"{clipped(output)} is no output of this network; it has {shown(self.outputs, 12)}.")

    _repr_html_ = in_notebook

    def __repr__(self) -> str:
        kinds = sorted({name for layer in self.hidden for name in layer.activation.names} - {"identity"})
        widths = " → ".join(str(w) for w in (self.n_features, *(layer.weight.shape[0] for layer in self.layers)))
        text = f"Network {widths}, {' + '.join(kinds) or 'linear'}, {self.link} link, from {self.provenance.source}"
        if self.faithfulness is not None:
            f = self.faithfulness
            text += f"; equals {f.against} to {f.max_difference:.1e} on {f.n:,} probe points"
        return text

    # ---------------------------------------------------------------- rows in, numbers out

    def decision(self, X: Any) -> Floats:
        """Return the decision (n, n_outputs): logits, or the regression value.

        Parameters
        ----------
        X : (n, n_columns) array or table, see `Features.encode`.

        Raises
        ------
        DataError : the table does not fit. NumericalOverflowError : a row leaves the range of float64.
        """
        return self.trace(self.features.encode(X), patterns=False).decision

    def predict(self, X: Any) -> Floats:
        """Return what the original returns on its own scale (n, n_outputs): the inverse link of the decision."""
        return self.inverse_link(self.decision(X))

    def predict_proba(self, X: Any) -> Floats:
        """Return class probabilities (n, n_classes), two columns for a binary network.

        Raises
        ------
        ArgumentError : the network has no probability link.
        """
        if not self.is_classifier:
            raise ArgumentError(
                f"This network has the link {self.link!r} and no class probabilities. Use predict, or load it with "
                "link='logit' or link='softmax'."
            )
        p = self.predict(X)
        return np.hstack([1 - p, p]) if self.n_outputs == 1 else p

    def inverse_link(self, decision: Floats) -> Floats:
        """Return predictions from decisions, both (n, n_outputs).

        Raises
        ------
        NumericalOverflowError : the exponential of a decision leaves the range of float64.
        """
        if self.link == "identity":
            return decision
        if self.link == "log":
            rows = np.flatnonzero((decision > _LARGEST_LOG).any(axis=1))
            if len(rows):
                raise NumericalOverflowError(
                    f"{len(rows):,} of {len(decision):,} rows have decisions above {_LARGEST_LOG:.1f}, whose exponential "
                    f"leaves the range of float64: rows {shown(rows, 10)}. Look for huge values in these rows."
                )
            with np.errstate(under="ignore"):
                return np.exp(decision)
        if self.link == "logit":
            e = np.exp(-np.abs(decision))
            return np.where(decision >= 0, 1 / (1 + e), e / (1 + e))
        e = np.exp(decision - decision.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    def patterns(self, X: Any) -> Patterns:
        """Return the activation pattern of each row.

        Notes
        -----
        A bit is on iff the exact preactivation, of the stored weights and this row, is above the neuron's breakpoint.
        The answer does not depend on the batch, the order of rows, or the number of threads.
        """
        return self.trace(self.features.encode(X)).patterns

    def trace(self, x: Floats, *, patterns: bool = True) -> Trace:
        """Return patterns and decisions of encoded rows (n, n_features) in one pass.

        Raises
        ------
        NumericalOverflowError : a preactivation or a decision is not finite.
        """
        n = len(x)
        packed = np.zeros((n, (self.n_bits + 7) // 8), dtype=np.uint8)
        decision = np.empty((n, self.n_outputs))
        with one_thread():
            doubtful = in_threads(lambda rows: self._trace_rows(x, rows, packed, decision, patterns), self._parts(n))
            if not np.isfinite(decision).all():
                rows = np.flatnonzero(~np.isfinite(decision).all(axis=1))
                raise NumericalOverflowError(
                    f"{len(rows):,} of {n:,} rows leave the range of float64 inside the network: rows {shown(rows, 10)}. "
                    "Look for huge values in these rows or in the weights; scale them down or drop the rows."
                )
            doubt = np.concatenate([*doubtful, np.zeros(0, dtype=np.intp)])
            packed[doubt] = np.packbits(exact.decide(self._bounds, x[doubt]), axis=1)
        return Trace(Patterns(packed, self.n_bits), decision)

    def _parts(self, n: int) -> list[slice]:
        """Return runs of whole blocks, a few for each thread; one may be long enough."""
        blocks = -(-n // self._block_rows)
        least = 1 if self.n_parameters > _LONG_BLOCK else 4
        size = max(least, -(-blocks // 32)) * self._block_rows
        return [slice(start, min(start + size, n)) for start in range(0, n, size)]

    def _trace_rows(
        self, x: Floats, rows: slice, packed: NDArray[np.uint8], decision: Floats, patterns: bool
    ) -> NDArray[np.intp]:
        """Fill in patterns and decisions of some rows, and return those whose pattern is in doubt."""
        step = self._block_rows
        bits = np.zeros((min(step, -(-(rows.stop - rows.start) // _ROW_TILE) * _ROW_TILE), self.n_bits), dtype=bool)
        scratch: dict[int, Floats] = {}
        undecided = [np.zeros(0, dtype=np.intp)]
        with np.errstate(over="ignore", invalid="ignore"):
            for start in range(rows.start, rows.stop, step):
                block = x[start : min(start + step, rows.stop)]
                m = len(block)
                if m < step:
                    padded = -(-m // _ROW_TILE) * _ROW_TILE
                    block = np.concatenate([block, np.zeros((padded - m, x.shape[1]))])
                out, doubt = self._block(block, bits, scratch, patterns)
                decision[start : start + m] = out[:m]
                if patterns:
                    packed[start : start + m] = np.packbits(bits[:m], axis=1)
                    if doubt is not None:
                        undecided.append(np.flatnonzero(doubt[:m]) + start)
        return np.concatenate(undecided)

    @cached_property
    def _block_rows(self) -> int:
        width = max(max(layer.weight.shape) for layer in self.layers)
        rows = _BLOCK_BYTES // (8 * width)
        return max(_ROW_TILE, rows // _ROW_TILE * _ROW_TILE)

    @cached_property
    def _bounds(self) -> tuple[exact.Bounds, ...]:
        return tuple(exact.Bounds(layer) for layer in self.hidden)

    def _block(self, a: Floats, bits: Bools, scratch: dict[int, Floats], patterns: bool) -> tuple[Floats, Bools | None]:
        """Return decisions of one block and which rows hold a preactivation within its rounding error of a breakpoint."""
        doubt = None
        start = 0
        lost = np.zeros(len(a), dtype=bool)
        limits = exact.thresholds(self._bounds, np.abs(a).max(axis=0, initial=0.0))
        for i, layer in enumerate(self.hidden):
            z = layer.preactivation(a)
            if not np.isfinite(limits[i]).all():
                lost |= ~np.isfinite(z).all(axis=1)
            activation = layer.activation
            if patterns and activation.n_bits:
                stop = start + activation.n_bits
                doubt = _near(activation, z, limits[i], scratch, doubt)
                if activation.is_relu:
                    np.greater(z, 0, out=bits[: len(z), start:stop])
                else:
                    bits[: len(z), start:stop] = activation.bits(z)
                start = stop
            a = np.maximum(z, 0, out=z) if activation.is_relu else activation(z)
        decision = self.layers[-1].preactivation(a)
        decision[lost] = np.nan  # what came after a value beyond the range, a ReLU may have turned into a number
        return decision, doubt

    # ---------------------------------------------------------------- patterns in, affine maps out

    def affine_maps(self, patterns: Patterns) -> tuple[Floats, Floats]:
        """Return coefficients (R, n_outputs, n_features) and intercepts (R, n_outputs) of the maps that patterns select.

        Notes
        -----
        One backward product per layer over all patterns, from the top: ``b += V @ offsets; V *= slopes; b += V @ bias;
        V = V @ weight``. Maps are made from the weights alone, never as a difference of outputs.
        Cost: as one forward pass over R rows per output. Source: Sudjianto et al. 2020, Theorem 1.

        Raises
        ------
        NumericalOverflowError : a coefficient leaves the range of float64.
        """
        R, K, d = len(patterns), self.n_outputs, self.n_features
        coef, intercept = np.empty((R, K, d)), np.empty((R, K))
        step = max(1, self._block_rows // K)

        def make(start: int) -> None:
            rows = slice(start, start + step)
            with np.errstate(over="ignore", invalid="ignore"):
                coef[rows], intercept[rows] = self._maps_of(patterns[rows].bits())

        with one_thread():
            in_threads(make, range(0, R, step))
        if not (np.isfinite(coef).all() and np.isfinite(intercept).all()):
            lost = np.flatnonzero(~(np.isfinite(coef).all(axis=(1, 2)) & np.isfinite(intercept).all(axis=1)))
            raise NumericalOverflowError(
                f"The local linear models of {len(lost):,} of {R:,} patterns leave the range of float64: patterns "
                f"{shown(lost.tolist(), 10)}. The weights multiply beyond 1.8e308; scale them down."
            )
        return coef, intercept

    def map_blocks(self, patterns: Patterns, limit_bytes: int = 2**26) -> Iterator[tuple[slice, Floats, Floats]]:
        """Yield (rows, coefficients, intercepts) block by block, for maps too many to hold at once."""
        step = max(1, limit_bytes // (8 * self.n_outputs * (self.n_features + 1)))
        for start in range(0, len(patterns), step):
            rows = slice(start, min(start + step, len(patterns)))
            yield (rows, *self.affine_maps(patterns[rows]))

    def _maps_of(self, bits: Bools) -> tuple[Floats, Floats]:
        R, K = len(bits), self.n_outputs
        top: Any = self.layers[-1].weight
        top = top.toarray() if is_sparse(top) else top
        # the same matrix kernel for every pattern, whatever its neighbours
        v = np.zeros((-(-R * K // _ROW_TILE) * _ROW_TILE, top.shape[1]))
        v[: R * K] = np.tile(top, (R, 1))
        b = np.repeat(self.layers[-1].bias[None], R, axis=0)
        stop = self.n_bits
        for layer in reversed(self.hidden):
            activation = layer.activation
            start = stop - activation.n_bits
            if not activation.is_identity:
                by_map = v[: R * K].reshape(R, K, -1)
                slopes, offsets = activation.pieces_in_force(bits[:, start:stop])
                if offsets.any():
                    b += np.einsum("rkm,rm->rk", by_map, np.broadcast_to(offsets, (R, len(activation))))
                by_map *= slopes[:, None, :]
            stop = start
            v, constant = layer.pulled_back(v)
            b += constant[: R * K].reshape(R, K)
        return v[: R * K].reshape(R, K, -1), b

    def preactivation_maps(self, pattern: Patterns) -> list[tuple[Floats, Floats]]:
        """Return per hidden layer the maps (m, n_features) and constants (m,) of its preactivations under one pattern.

        Raises
        ------
        ArgumentError : not exactly one pattern was given.
        """
        if len(pattern) != 1:
            raise ArgumentError(f"preactivation_maps takes one pattern; got {len(pattern)}. Index it: patterns[i].")
        bits = pattern.bits()
        out: list[tuple[Floats, Floats]] = []
        v: Any = None
        c: Any = None
        start = 0
        for layer in self.hidden:
            weight: Any = layer.weight
            if v is None:
                v, c = (weight.toarray() if is_sparse(weight) else weight.copy()), layer.bias.copy()
            else:
                v, c = np.asarray(weight @ v), weight @ c + layer.bias
            out.append((v, c))
            stop = start + layer.activation.n_bits
            slopes, offsets = layer.activation.pieces_in_force(bits[:, start:stop])
            v, c = slopes[0][:, None] * v, slopes[0] * c + offsets[0]
            start = stop
        return out

    def contrast(self, one: Any, other: Any) -> Network:
        """Return the network whose decision is that for class `one` less that for class `other`.

        Parameters
        ----------
        one, other : classes, or their positions where classes have no names.

        Returns
        -------
        Network with one output and the link "logit": the probability of `one` where only the two come into question.

        Raises
        ------
        ArgumentError : no softmax network, or no two of its classes.

        Notes
        -----
        Softmax logits say nothing each on its own, since adding a number to all of them changes no probability; their
        differences are log-odds.
        """
        if self.link != "softmax":
            raise ArgumentError(
                f"contrast compares the classes of a softmax network; this one has the link {self.link!r}."
            )
        known = list(self.classes) or list(range(self.n_outputs))
        for value in (one, other):
            if value not in known:
                raise ArgumentError(
                    f"{clipped(value)} is no class of this network; its classes are {shown(known, 12)}."
                )
        if one == other:
            raise ArgumentError(f"contrast needs two classes; both are {clipped(one)}.")
        a, b = known.index(one), known.index(other)
        last = self.layers[-1]
        weight: Any = last.weight
        top = replace(
            last,
            weight=weight[[a]] - weight[[b]],
            bias=last.bias[[a]] - last.bias[[b]],
            activation=Activation.of_kind("identity", 1),
        )
        return replace(
            self,
            layers=(*self.hidden, top),
            link="logit",
            classes=(other, one) if self.classes else (),
            outputs=(f"{one} against {other}",),
            faithfulness=None,
        )

    @cached_property
    def identified(self) -> Network:
        """The same network, of a softmax with each logit less the mean of all: what a logit says on its own is arbitrary.

        Adding one function to all logits changes no prediction. Less their mean, two networks that predict the same have the
        same decisions.
        """
        if self.link != "softmax":
            return self
        last = self.layers[-1]
        weight: Any = last.weight
        weight = weight.toarray() if is_sparse(weight) else weight
        both = np.concatenate([weight, last.bias[:, None]], axis=1)
        mean = both.mean(axis=0)
        if (np.abs(mean) <= 2.0**-50 * np.abs(both).max(axis=0)).all():  # it is so already, but for rounding
            return self
        top = replace(last, weight=weight - mean[:-1], bias=last.bias - mean[-1])
        return replace(self, layers=(*self.hidden, top))

    def with_names(self, names: Sequence[str]) -> Network:
        """Return the same network with other feature names."""
        return replace(self, features=self.features.renamed(names))

    def with_classes(self, classes: Sequence[Any]) -> Network:
        """Return the same network with names of its classes; its outputs take them unless they have names of their own."""
        unnamed = self.n_outputs > 1 and self.outputs == tuple(f"y{i}" for i in range(self.n_outputs))
        return replace(self, classes=tuple(classes), outputs=() if unnamed else self.outputs)


def _near(
    activation: Activation, z: Floats, limit: Floats, scratch: dict[int, Floats], doubt: Bools | None
) -> Bools | None:
    """Return which rows hold a preactivation within `limit` (m,) of a breakpoint, added to `doubt`."""
    neuron, k = activation.switches
    at = activation.breakpoints[neuron, k]
    if len(neuron) == z.shape[1] and not at.any():
        key = z.shape[1]
        if key not in scratch or len(scratch[key]) < len(z):
            scratch[key] = np.empty_like(z)
        distance = np.abs(z, out=scratch[key][: len(z)])
        bound = limit
    else:
        distance = np.abs(z[:, neuron] - at)
        bound = limit[neuron]
    # NaN compares false, so "not farther" catches it
    if distance.min(initial=np.inf) > bound.max(initial=0.0):
        return doubt
    near: Any = ~(distance > bound) & ((bound > 0) | ~np.isfinite(distance))
    if not near.any():
        return doubt
    rows = near.any(axis=1)
    return rows if doubt is None else doubt | rows


def assert_faithful(
    name: str,
    ours: Floats,
    theirs: Floats,
    *,
    tolerance: float,
    against: str,
    link: Link = "identity",
) -> Faithfulness:
    """Return how closely two arrays (n, k) agree.

    Parameters
    ----------
    tolerance : largest ``|difference| / (1 + |theirs|)`` allowed.

    Raises
    ------
    UnfaithfulError : they differ by more, with the largest difference and the row where it is.
    """
    if ours.shape != theirs.shape:
        raise UnfaithfulError(f"{name}: our output has shape {ours.shape}, that of {against} {theirs.shape}.")
    difference = np.abs(ours - theirs)
    relative = difference / (1 + np.abs(theirs))
    if ours.size == 0:
        return Faithfulness(0.0, 0.0, 0.0, 0, None, len(ours), against)
    worst = int(np.argmax(np.where(np.isnan(relative), np.inf, relative).max(axis=1)))
    if not (relative <= tolerance).all():
        raise UnfaithfulError(
            f"{name}: row {worst} differs from {against}: ours {shown(ours[worst])}, theirs {shown(theirs[worst])}, "
            f"relative difference {relative[worst].max():.2e} where {tolerance:.0e} is allowed on {len(ours):,} rows. The "
            "result was withheld, because it would not describe the model."
        )
    agreement = None
    if link == "logit":
        agreement = float(((ours > 0.5) == (theirs > 0.5)).mean())
    elif link == "softmax":
        agreement = float((ours.argmax(axis=1) == theirs.argmax(axis=1)).mean())
    return Faithfulness(
        float(difference.max()), float(difference.mean()), float(relative.max()), worst, agreement, len(ours), against
    )
