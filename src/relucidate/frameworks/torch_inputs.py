"""A PyTorch module as it is run, and what shapes it takes."""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch

from relucidate.errors import ArgumentError, UnsupportedModelError, clipped, shown
from relucidate.frameworks.lowering import Shape
from relucidate.frameworks.reading import Options
from relucidate.frameworks.torch_refusals import remedy
from relucidate.frameworks.torch_values import one_line
from relucidate.layers import Floats

TO_ONNX = "torch.onnx.export"
_SIZES = range(1, 257)  # of square images that are tried where a module does not say what it takes


# ---------------------------------------------------------------- the module


def version() -> str:
    """Return the version of PyTorch, without the name of a build."""
    return str(torch.__version__).partition("+")[0]


@dataclass(frozen=True, eq=False)
class Subject:
    """A module that is run, in evaluation mode.

    Parameters
    ----------
    module : a copy of the user's, or the user's own where it cannot be copied.
    own : whether it is the user's own: its training flags are then put back after each run.
    dtype : of its parameters.
    name : of its class.
    """

    module: Any
    own: bool
    dtype: Any
    name: str

    @contextmanager
    def ready(self) -> Iterator[Any]:
        """Give the module in evaluation mode; nothing about it or the random state is changed in the end."""
        flags = [(m, m.training) for m in self.module.modules()] if self.own else []
        with torch.no_grad(), torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what the module warns of, it says when its owner runs it
            try:
                for m, _ in flags:
                    m.training = False
                yield self.module
            finally:
                for m, training in flags:
                    m.training = training

    def widened(self) -> Subject:
        """Return a copy in float64."""
        return Subject(copy.deepcopy(self.module).double(), False, torch.float64, self.name)


def subject_of(model: Any, notes: list[str]) -> Subject:
    """Return what is run of a user's module."""
    if isinstance(model, torch.jit.ScriptModule):
        raise UnsupportedModelError(
            "a TorchScript module holds compiled code, which is not read. Pass the module it was made from, or export that "
            f"with {TO_ONNX}."
        )
    if isinstance(model, torch.export.ExportedProgram):
        module = model.module()
        return Subject(module, False, _dtype_of(module), type(model).__name__)
    module = unwrapped(model)
    lazy = [name for name, p in module.named_parameters() if torch.nn.parameter.is_lazy(p)]
    if lazy:
        raise UnsupportedModelError(
            f"{shown(lazy)} have no size yet (a lazy layer). Run one batch through the module, then load it."
        )
    if any(m.training for m in module.modules()):
        notes.append(
            "the module was in training mode: evaluated in evaluation mode (dropout off, batch normalisation with its "
            "running statistics)"
        )
    hooked = [name or "the module itself" for name, m in module.named_modules() if m._forward_hooks]
    if hooked:
        notes.append(f"forward hooks of {shown(hooked)} are part of the function; they were run")
    dtype = _dtype_of(module)
    if dtype.itemsize < 4:
        kind = str(dtype).removeprefix("torch.")
        notes.append(f"the weights are {kind}: they were widened, and the network computes in float64")
    try:
        duplicate = copy.deepcopy(module).eval().cpu()
    except Exception:  # a module may hold anything: what cannot be copied is run as it is
        if any(t.device.type != "cpu" for t in (*module.parameters(), *module.buffers())):
            raise UnsupportedModelError("it cannot be copied; move it to the processor first: module.cpu().") from None
        notes.append("the module cannot be copied: it was run itself, and its training flags were put back")
        return Subject(module, True, dtype, type(module).__name__)
    return Subject(duplicate, False, dtype, type(module).__name__)


def unwrapped(module: Any) -> Any:
    """Return the module inside the wrappers of torch.compile and of parallel training."""
    while True:
        kind = type(module).__name__
        if kind == "OptimizedModule":
            module = module._orig_mod
        elif kind in ("DataParallel", "DistributedDataParallel"):
            module = module.module
        else:
            return module


def _dtype_of(module: Any) -> Any:
    kinds = [p.dtype for p in (*module.parameters(), *module.buffers()) if p.is_floating_point()]
    return kinds[0] if kinds else torch.get_default_dtype()


# ---------------------------------------------------------------- inputs


@dataclass(frozen=True, eq=False)
class Inputs:
    """What `forward` takes, as columns of one table.

    Parameters
    ----------
    names : of the arguments. shapes : of one row of each.
    keywords : arguments that can only be given by name.
    between : values of arguments left out before others that are given: (position, value).
    """

    names: tuple[str, ...]
    shapes: tuple[Shape, ...]
    keywords: frozenset[str] = frozenset()
    between: tuple[tuple[int, Any], ...] = ()

    @property
    def widths(self) -> list[int]:
        return [prod(shape) for shape in self.shapes]

    def column_names(self) -> tuple[str, ...] | None:
        """Return a name per column where there are several inputs."""
        if len(self.names) == 1:
            return None
        pairs = zip(self.names, self.widths, strict=True)
        return tuple(name if width == 1 else f"{name}_{j}" for name, width in pairs for j in range(width))

    def tensors(self, rows: Floats, dtype: Any) -> list[Any]:
        """Return the rows (n, all columns) as the tensors that `forward` takes."""
        parts = np.split(rows, np.cumsum(self.widths)[:-1], axis=1)
        return [
            torch.from_numpy(np.ascontiguousarray(part).reshape(len(rows), *shape)).to(dtype)
            for part, shape in zip(parts, self.shapes, strict=True)
        ]

    def arguments(self, tensors: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return positional and keyword arguments."""
        pairs = list(zip(self.names, tensors, strict=True))
        args = [t for name, t in pairs if name not in self.keywords]
        for at, value in self.between:
            args.insert(at, value)
        return tuple(args), {name: t for name, t in pairs if name in self.keywords}

    def example(self, dtype: Any) -> list[Any]:
        """Return one row of small numbers."""
        rows = np.random.default_rng(0).normal(size=(1, sum(self.widths)))
        return self.tensors(rows, dtype)


def _parameters(module: Any) -> list[inspect.Parameter]:
    return list(inspect.signature(module.forward).parameters.values())


def inputs_of(subject: Subject, options: Options, probe: Any, notes: list[str]) -> Inputs:
    """Return the inputs, from what was given or from the layers of the module."""
    if options.inputs is not None:
        if not isinstance(options.inputs, Mapping):
            raise ArgumentError(
                f"inputs={clipped(options.inputs)} for a module is a mapping of each argument of forward() to the shape of "
                "one row, for example inputs={'x': (1, 28, 28)}."
            )
        return _named_inputs(subject, options.inputs)
    if probe is not None:
        return _probed_inputs(subject, probe)
    return _inferred_inputs(subject, notes)


def _named_inputs(subject: Subject, shapes: Mapping[str, Any]) -> Inputs:
    given = {str(name): _row_shape(name, shape) for name, shape in shapes.items()}
    parameters = _parameters(subject.module)
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return Inputs(tuple(given), tuple(given.values()))
    known = {p.name: p for p in parameters if p.kind is not p.VAR_KEYWORD}
    strange = [name for name in given if name not in known]
    lacking = [name for name, p in known.items() if p.default is p.empty and name not in given]
    if strange or lacking or not given:
        fault = f"forward() has no argument {shown(strange)}" if strange else f"it lacks {shown(lacking)}"
        raise ArgumentError(f"inputs={clipped(dict(shapes))}: {fault}. forward() takes {shown(known, 12)}.")
    names = [name for name in known if name in given]
    positional = [name for name, p in known.items() if p.kind is not p.KEYWORD_ONLY]
    last = max((positional.index(name) for name in names if name in positional), default=-1)
    between = tuple((i, known[positional[i]].default) for i in range(last) if positional[i] not in given)
    keywords = frozenset(name for name in names if name not in positional)
    return Inputs(tuple(names), tuple(given[name] for name in names), keywords, between)


def _row_shape(name: str, shape: Any) -> Shape:
    try:
        sizes = tuple(int(s) for s in ((shape,) if isinstance(shape, int) else shape))
    except (TypeError, ValueError):
        sizes = (0,)
    if not sizes or min(sizes) < 1:
        raise ArgumentError(
            f"inputs: the shape of one row of {name!r} is {clipped(shape)}; expected whole numbers above 0, without the "
            "number of rows, for example (1, 28, 28)."
        )
    return sizes


def _probed_inputs(subject: Subject, probe: Any) -> Inputs:
    parts = list(probe) if isinstance(probe, tuple) else [probe]
    shapes = []
    for part in parts:
        shape = tuple(part.shape) if hasattr(part, "shape") else np.shape(part)
        if len(shape) < 2:
            raise ArgumentError(f"probe has the shape {shape}; expected rows, (n, …) as forward() takes them.")
        shapes.append(tuple(int(s) for s in shape[1:]))
    parameters = _parameters(subject.module)
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        names += [f"input_{i}" for i in range(len(names), len(parts))]
    needed = [p.name for p in parameters if p.default is p.empty and p.name in names]
    if not len(needed) <= len(parts) <= len(names):
        raise ArgumentError(
            f"probe holds {len(parts)} array{'s' * (len(parts) != 1)}, but forward() takes {shown(needed or names, 12)}. Give "
            "a tuple with one array for each."
        )
    return Inputs(tuple(names[: len(parts)]), tuple(shapes))


def _ask_for_shape(subject: Subject, why: str) -> Exception:
    """Return the error that asks what shape rows have, or that names a layer which cannot be read anyway."""
    culprit = culprit_of(subject)
    if culprit is not None:
        return culprit
    names = [p.name for p in _parameters(subject.module) if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
    wanted = ", ".join(f"{name!r}: (1, 28, 28)" for name in names[:3]) or "'x': (1, 28, 28)"
    several = " (a tuple of arrays)" if len(names) > 1 else ""
    return ArgumentError(
        f"{why} Give probe= rows of yours in the shape that forward() takes{several}, or the shape of one row: "
        f"inputs={{{wanted}}}."
    )


# Layers that are never read, by the operator that would be refused if the module could be captured.
_NEVER = {
    "LSTM": "lstm",
    "GRU": "gru",
    "RNN": "rnn_relu",
    "MultiheadAttention": "scaled_dot_product_attention",
    "Embedding": "embedding",
    "EmbeddingBag": "embedding_bag",
}


def culprit_of(subject: Subject) -> UnsupportedModelError | None:
    """Return the refusal of the first layer that is never read, for a module that does not even run or get captured."""
    for path, module in subject.module.named_modules():
        kind = type(module).__name__
        name = f"{path!r} ({kind})" if path else kind
        if kind in _NEVER:
            return UnsupportedModelError(f"{name} is not supported. {remedy(_NEVER[kind])}")
        if "BatchNorm" in kind and getattr(module, "running_mean", True) is None:
            return UnsupportedModelError(f"{name}: {remedy('batch_norm')}")
    return None


def _inferred_inputs(subject: Subject, notes: list[str]) -> Inputs:
    """Return the input of a module with one, from its first layer: what a linear layer takes, or a square image."""
    if isinstance(subject.module, torch.fx.GraphModule):
        shape = _exported_shape(subject.module)
        if shape is not None:
            return shape
    parameters = _parameters(subject.module)
    needed = [p for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if len(needed) != 1:
        listed = shown([p.name for p in parameters], 12)
        raise _ask_for_shape(subject, f"forward() takes {listed}, whose shapes cannot be told from the layers.")
    name = needed[0].name
    layers = list(subject.module.modules())
    convolutions = [m for m in layers if isinstance(m, torch.nn.Conv1d | torch.nn.Conv2d | torch.nn.Conv3d)]
    if convolutions:
        inputs, why = _square_image(subject, name, convolutions[0])
    else:
        widths = dict.fromkeys(m.in_features for m in layers if isinstance(m, torch.nn.Linear))
        fitting = (Inputs((name,), ((width,),)) for width in widths)
        inputs = next((one for one in fitting if fault_of(subject, one) is None), None)
        why = "How many values a row has cannot be told from the layers."
    if inputs is None:
        raise _ask_for_shape(subject, why)
    if convolutions:
        notes.append(f"rows were taken to be of shape {inputs.shapes[0]}, the only square size up to 256 that fits")
    return inputs


def _exported_shape(module: Any) -> Inputs | None:
    """Return the inputs that an exported program declares.

    Raises
    ------
    UnsupportedModelError : it was exported for batches of one size above 1.
    """
    found = [node for node in module.graph.nodes if node.op == "placeholder"]
    shapes = [tuple(getattr(node.meta.get("val"), "shape", ())) for node in found]
    if not found or not all(shapes):
        return None
    for node, (rows, *sizes) in zip(found, shapes, strict=True):
        if not all(isinstance(s, int) for s in sizes):
            return None
        if isinstance(rows, int) and rows != 1:
            raise UnsupportedModelError(
                f"its input {node.name!r} is fixed to batches of {rows}. Export it with one row, or with a dynamic first "
                "dimension."
            )
    return Inputs(tuple(node.name for node in found), tuple(tuple(shape[1:]) for shape in shapes))


def _square_image(subject: Subject, name: str, first: Any) -> tuple[Inputs | None, str]:
    """Return the one square size that the layers take, tried without computing anything; or None and what was found."""
    n, channels = len(first.kernel_size), first.in_channels
    try:
        hollow = Subject(copy.deepcopy(subject.module).to("meta"), False, torch.float32, subject.name)
    except Exception:  # a module that cannot be copied, or whose parts cannot be without numbers
        return None, "The size of the images cannot be told from the layers."
    fitting: list[Inputs] = []
    for size in _SIZES:
        inputs = Inputs((name,), ((channels, *[size] * n),))
        if fault_of(hollow, inputs, "meta") is None:
            fitting.append(inputs)
        if len(fitting) > 1:
            sizes = " and ".join(str(one.shapes[0]) for one in fitting)
            return None, f"Rows of more than one shape fit the layers, {sizes} among them."
    return (fitting[0] if fitting else None), "No square image of up to 256 × 256 fits the layers."


def fault_of(subject: Subject, inputs: Inputs, device: str = "cpu") -> str | None:
    """Return why the module cannot take one row, None if it can."""
    with subject.ready() as module:
        args, kwargs = inputs.arguments([t.to(device) for t in inputs.example(subject.dtype)])
        try:
            module(*args, **kwargs)
        except Exception as problem:  # the forward pass is anybody's code
            return one_line(problem)
    return None
