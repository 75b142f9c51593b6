"""What the network of a PyTorch module is compared with: the module itself, and its graph, run by PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
import torch.utils._pytree as pytree

from relucidate.errors import UnsupportedModelError, shown
from relucidate.features import Features
from relucidate.frameworks.heads import Head
from relucidate.frameworks.reading import Original, columns_of, probe_rows
from relucidate.frameworks.torch_capture import Captured
from relucidate.frameworks.torch_inputs import Inputs, Subject, version
from relucidate.layers import Floats
from relucidate.network import Network
from relucidate.products import one_thread

_AT_ONCE = 64  # rows that an original is given in one batch
_ALONE = 3  # rows that it is also given one by one, to see whether rows are mixed
_COSTLY = 50_000_000  # multiplications for one row, beyond which fewer probe rows are taken


def probe_of(network: Network, given: Any) -> Floats:
    """Return rows on which the network is compared, about those that were given."""
    n = int(np.clip(256 * _COSTLY / max(1, network.n_parameters), 64, 256))
    centre: Any = 0.0
    spread: Any = 1.0
    if given is not None:
        parts = given if isinstance(given, tuple) else (given,)
        flat = [_array(part) for part in parts]
        rows = np.concatenate([part.reshape(len(part), -1) for part in flat], axis=1)
        if len(rows) and rows.shape[1] == network.n_features and np.isfinite(rows).all():
            centre, deviation = rows.mean(axis=0), rows.std(axis=0)
            spread = np.where(deviation > 0, deviation, 1.0)
    return probe_rows(network, centre, spread, n=n)


def _array(rows: Any) -> Floats:
    if hasattr(rows, "detach"):
        rows = rows.detach().cpu().double()
    return np.asarray(rows, dtype=np.float64)


# ---------------------------------------------------------------- the module and its graph, on rows


@dataclass(eq=False)
class Eager:
    """The module's own forward pass on the rows of a table, many at once.

    Parameters
    ----------
    leaf : which of the values it returns.
    """

    subject: Subject
    inputs: Inputs
    features: Features
    leaf: int
    one_by_one: bool = False
    checked: bool = field(default=False)

    def __call__(self, table: Any) -> Floats:
        rows = _rows(self.features, table)
        if not self.checked:
            self._check(rows)
            self.checked = True
        step = 1 if self.one_by_one else _AT_ONCE
        parts = [self.run(rows[start : start + step]) for start in range(0, len(rows), step)]
        return np.concatenate(parts) if parts else np.zeros((0, 1))

    def run(self, rows: Floats) -> Floats:
        """Return the output for a batch of rows, (n, k)."""
        with self.subject.ready() as module:
            args, kwargs = self.inputs.arguments(self.inputs.tensors(rows, self.subject.dtype))
            out = pytree.tree_leaves(module(*args, **kwargs))[self.leaf]
        if len(rows) != 1 and (out.ndim == 0 or len(out) != len(rows)):
            raise ValueError(f"a batch of {len(rows)} rows gives a tensor of shape {tuple(out.shape)}")
        return np.asarray(out.double().numpy()).reshape(len(rows), -1)

    def _check(self, rows: Floats) -> None:
        """See whether the module takes several rows at once, and whether it then mixes them.

        Raises
        ------
        UnsupportedModelError : it mixes them.
        """
        few = rows[: _ALONE + 2]
        alone = np.concatenate([self.run(row[None]) for row in few])
        try:
            together = self.run(few)
        except Exception:  # a shape that is fixed inside the module
            self.one_by_one = True
            return
        if together.shape != alone.shape or len(few) < 2:
            self.one_by_one = together.shape != alone.shape
            return
        allowed = 64 * torch.finfo(self.subject.dtype).eps
        gap = np.abs(together - alone) / (1 + np.abs(alone) + np.abs(alone).max(initial=0.0))
        if (gap > 1e3 * allowed).any():
            raise UnsupportedModelError(
                f"the answer for a row depends on the other rows of the batch: row 0 gives {shown(alone[0])} alone and "
                f"{shown(together[0])} among {len(few)}. A network is a function of one row; look for a step along the first "
                "axis (a mean, a maximum, a softmax over dim 0)."
            )


def _rows(features: Features, table: Any) -> Floats:
    return np.stack([np.asarray(c, dtype=np.float64) for c in columns_of(features, table)], axis=1)


@dataclass(eq=False)
class Replay:
    """The captured graph, run node by node by PyTorch.

    Parameters
    ----------
    nodes : what `last` needs, in order.
    wide : in float64, whatever precision the module asks for; else in that.
    """

    nodes: Sequence[Any]
    last: Any
    graph: Captured
    inputs: Inputs
    features: Features
    dtype: Any
    wide: bool

    def __call__(self, table: Any) -> Floats:
        rows = _rows(self.features, table)
        tensors = self.inputs.tensors(rows, torch.float64 if self.wide else self.dtype)
        with torch.no_grad(), one_thread():  # one row is too little to share
            out = [self._one([t[i : i + 1] for t in tensors]).double().numpy().ravel() for i in range(len(rows))]
        return np.array(out).reshape(len(rows), -1)

    @cached_property
    def _constants(self) -> dict[Any, Any]:
        return dict(self.graph.others) | {node: self._widened(t) for node, t in self.graph.constants.items()}

    def _one(self, tensors: Sequence[Any]) -> Any:
        values = self._constants | dict(zip(self.graph.inputs, tensors, strict=True))
        for node in self.nodes:
            if str(node.target).startswith("aten._assert"):
                continue
            args = torch.fx.node.map_arg(node.args, values.__getitem__)
            kwargs = torch.fx.node.map_arg(node.kwargs, values.__getitem__)
            if self.wide and node.all_input_nodes:
                args, kwargs = _with_dtype(args), _with_dtype(kwargs)
            values[node] = self._widened(node.target(*args, **kwargs))
        return values[self.last]

    def _widened(self, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [self._widened(v) for v in value]
        value = value.detach().cpu() if isinstance(value, torch.Tensor) else value
        if self.wide and isinstance(value, torch.Tensor) and value.is_floating_point():
            return value.double()
        return value


def _with_dtype(args: Any) -> Any:
    """Return arguments that ask for float64 where they asked for less."""
    if isinstance(args, list | tuple):
        return [_with_dtype(a) for a in args]
    if isinstance(args, Mapping):
        return {key: _with_dtype(a) for key, a in args.items()}
    return torch.float64 if isinstance(args, torch.dtype) and args.is_floating_point else args


def _asks_for_precision(nodes: Sequence[Any]) -> bool:
    """Whether the forward pass names a precision, which a copy in float64 would then lose again."""
    for node in nodes:
        if str(node.target).startswith("aten._assert"):
            continue
        for value in (*node.args, *node.kwargs.values()):
            if isinstance(value, torch.dtype) and value.is_floating_point and value is not torch.float64:
                return True
    return False


# ---------------------------------------------------------------- what the network must equal


def originals_of(
    subject: Subject,
    inputs: Inputs,
    graph: Captured,
    leaf: int,
    last: Any,
    head: Head | None,
    network: Network,
    probe: Floats,
    notes: list[str],
) -> tuple[Original, ...]:
    on: Literal["predict", "decision"] = "predict" if head is not None or network.link == "identity" else "decision"
    nodes, name = graph.ancestors(last), f"PyTorch {version()}"

    def replay(until: Any, wide: bool) -> Replay:
        until_nodes = graph.ancestors(until)
        return Replay(until_nodes, until, graph, inputs, network.features, subject.dtype, wide)

    def as_predicted(run: Callable[[Any], Floats]) -> Callable[[Any], Floats]:
        def output_of(table: Any) -> Floats:
            out = run(table)
            out = np.exp(out) if head is not None and head.log else out
            return out[:, 1:] if head is not None and head.form == "pair" else out

        return output_of

    own = Eager(subject, inputs, network.features, leaf)
    wide_run: Callable[[Any], Floats] | None = None
    if subject.dtype is torch.float64:
        wide_run = own
    elif not subject.own and not _asks_for_precision(nodes):
        wide_run = _running(lambda: Eager(subject.widened(), inputs, network.features, leaf), probe)
    in_float64 = f"{name} in float64"
    if wide_run is None:
        wide_run, in_float64 = replay(last, True), f"{name} running its graph in float64"
        notes.append("the module itself does not compute in float64; its captured graph was run in float64")
    wide = as_predicted(wide_run)
    originals = [Original(in_float64, wide, on, 1e-9)]
    if head is not None:
        sign = -1.0 if head.form == "complement" else 1.0
        source = next(node for node in nodes if node.name == head.tensor).all_input_nodes[0]
        before = replay(source, True)
        label = f"{name} running its graph in float64, before {head.op}"
        originals.append(Original(label, lambda t: sign * before(t), "decision", 1e-9))
    if subject.dtype is not torch.float64:
        originals += _in_its_own_precision(own, replay(last, False), wide, as_predicted, on, name, probe, notes)
    for run in (own, wide_run):
        if isinstance(run, Eager) and not run.checked:
            run(probe[: _ALONE + 2])
    if own.one_by_one:
        notes.append("the module takes one row at a time; it was run row by row")
    return tuple(originals)


def _running(make: Callable[[], Eager], probe: Floats) -> Eager | None:
    """Return a run of the module if it can be made and takes rows, else None."""
    try:
        run = make()
        run(probe[: _ALONE + 2])
    except UnsupportedModelError:
        raise
    except Exception:  # a forward pass with a precision of its own, or what cannot be copied
        return None
    return run


def _in_its_own_precision(
    own: Eager,
    graph: Replay,
    wide: Callable[[Any], Floats],
    as_predicted: Callable[[Callable[[Any], Floats]], Callable[[Any], Floats]],
    on: Literal["predict", "decision"],
    name: str,
    probe: Floats,
    notes: list[str],
) -> list[Original]:
    """Return the module as the user has it, with the tolerance that its precision needs."""
    kind = str(own.subject.dtype).removeprefix("torch.")
    if _running(lambda: own, probe) is None:
        notes.append(f"not compared with the module in {kind}, in which it does not run on this processor")
        return []
    epsilon = torch.finfo(own.subject.dtype).eps
    declared = as_predicted(graph)

    def tolerance(table: Any) -> Floats:
        """What this precision costs here, on this row and commonly, with room for another order of sums."""
        exact, rough = wide(table), declared(table)
        with np.errstate(invalid="ignore", over="ignore"):
            lost = np.abs(exact - rough)
        lost = np.where(np.isfinite(lost), lost, 0.0)
        commonly = np.quantile(lost, 0.95, axis=0) if len(lost) else 0.0
        return 16 * (lost + commonly) / (1 + np.abs(exact)) + 16 * epsilon

    return [Original(f"{name} in {kind}", as_predicted(own), on, tolerance, single=True, may_overflow=True)]
