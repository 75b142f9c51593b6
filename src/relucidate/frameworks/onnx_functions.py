"""Functions that an ONNX file defines for itself, written out where they are called."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from onnx import inliner

from relucidate.errors import MalformedModelError, UnsupportedModelError, clipped, shown

# A few functions that call each other can stand for any number of nodes, and hold their constants as often.
_MAX_DEPTH = 64
_MAX_GROWTH = 2**26  # bytes

_Key = tuple[str, str, str]


def refuse_endless(model: Any, max_nodes: int) -> None:
    """Raise unless the functions of a model, written out, make a graph of a reasonable size.

    Raises
    ------
    MalformedModelError : a function calls itself, or calls are nested without end.
    UnsupportedModelError : written out, the graph would be huge.
    """
    functions = {_key(f.domain, f): f for f in model.functions}
    standard = [f"{f.domain}.{f.name}" for f in model.functions if f.domain in ("", "ai.onnx", "ai.onnx.ml")]
    if standard:
        raise UnsupportedModelError(
            f"the file redefines standard operators ({shown(standard)}); relucidate reads those by their specification. "
            "Export the model without."
        )
    size = _Expansion(functions)
    nodes = data = 0
    for node in model.graph.node:
        more, held = size.of_node(node)
        nodes, data = nodes + more, data + held
    if nodes > max_nodes:
        raise UnsupportedModelError(
            f"with its functions written out, the graph has {nodes:,} nodes; relucidate reads at most {max_nodes:,}."
        )
    if data > _MAX_GROWTH + 4 * model.ByteSize():
        raise UnsupportedModelError(
            f"with its functions written out, the file grows to {data:,} bytes. Keep its weights out of functions."
        )


def inlined(model: Any) -> Any:
    """Return a model without functions of its own, from a valid one.

    Raises
    ------
    UnsupportedModelError : a function cannot be written out.
    """
    functions = {_key(f.domain, f): f for f in model.functions}
    try:
        flat = inliner.inline_local_functions(model)
    except (RuntimeError, ValueError) as problem:
        raise UnsupportedModelError(
            f"its functions ({_named(functions)}) cannot be written out: {clipped(problem, 200)}."
        ) from None
    if flat.functions:
        raise UnsupportedModelError(
            f"its functions {_named({_key(f.domain, f): f for f in flat.functions})} are written for another opset than "
            "the graph. Inline them when exporting: onnx.inliner.inline_local_functions(model, convert_version=True)."
        )
    return flat


def bodies(model: Any) -> Iterator[Any]:
    """Yield the graph and every function of a model: what holds nodes."""
    yield model.graph
    yield from model.functions


def _named(functions: dict[_Key, Any]) -> str:
    return shown([f"{domain}.{name}" for domain, name, _ in functions])


def _key(domain: str, called: Any) -> _Key:
    return domain, getattr(called, "op_type", "") or called.name, getattr(called, "overload", "")


class _Expansion:
    """How large the functions of a file become where they are called."""

    def __init__(self, functions: dict[_Key, Any]) -> None:
        self.functions = functions
        self.known: dict[_Key, tuple[int, int]] = {}
        self.open: list[_Key] = []

    def of_node(self, node: Any) -> tuple[int, int]:
        """Return how many nodes, and bytes, a node stands for."""
        key = _key(node.domain, node)
        return self._of_function(key) if key in self.functions else (1, node.ByteSize())

    def _of_function(self, key: _Key) -> tuple[int, int]:
        if key in self.known:
            return self.known[key]
        if key in self.open:
            raise MalformedModelError(f"the function {clipped(f'{key[0]}.{key[1]}')} of the file calls itself.")
        if len(self.open) >= _MAX_DEPTH:
            raise MalformedModelError(f"the functions of the file call each other more than {_MAX_DEPTH} levels deep.")
        self.open.append(key)
        parts = [self.of_node(node) for node in self.functions[key].node]
        self.open.pop()
        self.known[key] = sum(nodes for nodes, _ in parts), sum(data for _, data in parts)
        return self.known[key]
