"""What the values of a PyTorch graph are while it is lowered, and what a rule is told of the node that it lowers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from relucidate.errors import UnsupportedModelError
from relucidate.frameworks.lowering import Expr, Shape
from relucidate.layers import Floats

if TYPE_CHECKING:
    from relucidate.frameworks.torch_lowering import Lowering

_T = TypeVar("_T")
_PLUMBING = frozenset(("getitem", "_assert_tensor_metadata", "_assert_scalar", "_assert_async", "alias", "detach"))


@dataclass(frozen=True, eq=False)
class Step:
    """A tensor that jumps: `high` where ``gap > 0``, else `low`. Only a product or a choice can make it continuous.

    Parameters
    ----------
    gap : what a comparison compares with 0; its shape is the tensor's.
    low, high : of the same shape.
    label : of the node that made it.
    """

    gap: Expr
    low: Floats
    high: Floats
    label: str

    @property
    def shape(self) -> Shape:
        return self.gap.shape


@dataclass(frozen=True, eq=False)
class Unread:
    """A side output that has no exact form here: positions of maxima, the state of a normalisation."""

    why: str


@dataclass(frozen=True, eq=False)
class Place:
    """Where in the module a node of the graph was made.

    Parameters
    ----------
    path : dotted name of the innermost submodule, "" for the module itself.
    kind : its class.
    op : "aten.relu".
    own : name of the node, unique in the graph.
    """

    path: str
    kind: str
    op: str
    own: str

    @property
    def label(self) -> str:
        """What messages call the node: ``'features.3' (GELU, aten.gelu)``."""
        return f"{self.path!r} ({self.kind}, {self.op})" if self.path else f"forward() of {self.kind} ({self.op})"

    @property
    def title(self) -> str:
        """What layers of the network are called: the submodule, or the node where a submodule makes several."""
        return self.path or self.own


def place_of(node: Any) -> Place:
    """Return where in the module a node was made."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path, kind = stack[-1] if stack else ("", "module")
    kind = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
    return Place(path, kind.rsplit(".", 1)[-1], op_of(node), node.name)


def op_of(node: Any) -> str:
    """Return the operator of a node without its overload: "aten.relu"."""
    schema = getattr(node.target, "_schema", None)
    if schema is not None:
        return str(schema.name).replace("::", ".")
    return str(getattr(node.target, "__name__", node.target))


def kinds_of(nodes: Sequence[Any]) -> list[str]:
    """Return the operators of a graph without the library they belong to, those left out that compute nothing."""
    names = [op_of(node).rsplit(".", 1)[-1] for node in nodes if node.op == "call_function"]
    return [name for name in names if name not in _PLUMBING]


@dataclass(frozen=True, eq=False)
class Call:
    """One node with what enters it.

    Parameters
    ----------
    place : where in the module it is.
    target : the operator.
    given : what it takes, by the names in the operator's own signature.
    """

    place: Place
    target: Any
    given: Mapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.given[name]

    def get(self, name: str, default: Any = None) -> Any:
        """Return an argument, `default` if it is absent or None."""
        value = self.given.get(name)
        return default if value is None else value

    @property
    def name(self) -> str:
        """The operator without its library: "relu"."""
        return self.place.op.rsplit(".", 1)[-1]

    def evaluated(self, other: Callable[[Any], Any] = lambda value: value) -> Any:
        """Return what PyTorch computes, with each argument that `other` changes changed."""
        given = {name: mapped(value, other) for name, value in self.given.items()}
        arguments = self.target._schema.arguments
        args = [given[a.name] for a in arguments if not a.kwarg_only]
        kwargs = {a.name: given[a.name] for a in arguments if a.kwarg_only and given[a.name] is not None}
        return self.target(*args, **kwargs)


Value = Any  # torch.Tensor (a constant) | Expr | Step | Head | Unread | a list or tuple of these | what is no tensor
Rule = Callable[["Lowering", Call], Any]

POSITIONS = "it takes the positions of largest values, which jump; only the values are read."


def mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(value, list | tuple):
        return [mapped(v, change) for v in value]
    return change(value)


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple):
        for v in value:
            yield from leaves(v)
    elif isinstance(value, Mapping):
        for v in value.values():
            yield from leaves(v)
    else:
        yield value


def widened(value: Any) -> Any:
    """Return a tensor of real numbers as float64, anything else as it is."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        return value.double() if value.is_floating_point() else value
    return value


def constant_of(value: Any, what: str) -> Floats:
    """Return a constant argument as float64.

    Raises
    ------
    UnsupportedModelError : it depends on the input.
    """
    if isinstance(value, torch.Tensor):
        return np.asarray(value.double().numpy())
    if isinstance(value, bool | int | float):
        return np.asarray(float(value))
    raise UnsupportedModelError(f"{what} depends on the input, so that it is not piecewise linear.")


def axes_of(dim: Any) -> list[int] | None:
    if dim is None:
        return None
    return [int(d) for d in dim] if isinstance(dim, list | tuple) else [int(dim)]


def one_line(problem: object) -> str:
    return " ".join(str(problem).split()).rstrip(".")


def named(names: str, value: _T) -> dict[str, _T]:
    """Return a mapping of several names, separated by blanks, to one value."""
    return dict.fromkeys(names.split(), value)


def jump(label: str) -> UnsupportedModelError:
    """Return the error for a function that is not continuous."""
    return UnsupportedModelError(
        f"{label}: the output jumps where this comparison changes, or cannot be seen not to; only continuous "
        "piecewise-linear functions are read. Write it with relu, clamp, maximum or minimum."
    )
