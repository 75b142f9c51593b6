"""An ONNX file as plain data: parsed, checked, and nothing allocated that the file does not hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError, Message  # type: ignore[import-untyped]
from onnx import TensorProto

from relucidate.errors import (
    MalformedModelError,
    RelucidateError,
    UnsafeFileError,
    UnsupportedModelError,
    clipped,
    shown,
)
from relucidate.frameworks.onnx_external import Folder, is_external
from relucidate.frameworks.onnx_functions import bodies, inlined, refuse_endless

Array = np.ndarray[Any, Any]

# Real networks have hundreds of nodes; a chain of 10^5 is an attack, or at best nothing that anyone could read.
MAX_NODES = 10_000

_ITEM_BYTES: dict[int, int] = {
    TensorProto.FLOAT: 4,
    TensorProto.DOUBLE: 8,
    TensorProto.FLOAT16: 2,
    TensorProto.INT8: 1,
    TensorProto.UINT8: 1,
    TensorProto.INT16: 2,
    TensorProto.UINT16: 2,
    TensorProto.INT32: 4,
    TensorProto.UINT32: 4,
    TensorProto.INT64: 8,
    TensorProto.UINT64: 8,
    TensorProto.BOOL: 1,
}
_FIELD = {
    TensorProto.FLOAT: "float_data",
    TensorProto.DOUBLE: "double_data",
    TensorProto.INT64: "int64_data",
    TensorProto.UINT64: "uint64_data",
    TensorProto.UINT32: "uint64_data",
    TensorProto.STRING: "string_data",
}
INTEGERS = frozenset(
    {
        TensorProto.INT8,
        TensorProto.UINT8,
        TensorProto.INT16,
        TensorProto.UINT16,
        TensorProto.INT32,
        TensorProto.UINT32,
        TensorProto.INT64,
        TensorProto.UINT64,
        TensorProto.BOOL,
    }
)
FLOATS = frozenset({TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16})


def word(text: str) -> str:
    """Return text out of a file fit for a message: escaped and cut, without quotes."""
    return clipped(text)[1:-1]


@dataclass(frozen=True, eq=False)
class Node:
    """One operation.

    Parameters
    ----------
    position, total : which node of how many, from 1.
    domain : "" for the standard operators.
    version : of the operator set that the domain is read by.
    inputs : names of tensors, "" for one left out.
    attributes : numbers, strings, arrays.
    """

    position: int
    total: int
    name: str
    op: str
    domain: str
    version: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    @property
    def label(self) -> str:
        """What messages call it: "node 7 of 12, 'act/tanh' (Tanh)"."""
        operator = f"{self.domain}.{self.op}" if self.domain else self.op
        called = f", {clipped(self.title)}" if self.title else ""
        return f"node {self.position} of {self.total}{called} ({word(operator)})"

    @property
    def title(self) -> str:
        """Its name, or that of its output."""
        return self.name or (self.outputs[0] if self.outputs else "")

    def attribute(self, name: str, default: Any = None) -> Any:
        """Return an attribute, or `default` where the file leaves it out."""
        return self.attributes.get(name, default)


@dataclass(frozen=True, eq=False)
class Tensor:
    """A declared input or output.

    Parameters
    ----------
    kind : `TensorProto` type of its elements, 0 if it is no tensor (a sequence of maps).
    shape : None for a dimension that is left open; () if the rank is unknown.
    """

    name: str
    kind: int
    shape: tuple[int | None, ...]


@dataclass(frozen=True, eq=False)
class Graph:
    """A checked graph: every tensor is defined once, before it is used.

    Parameters
    ----------
    inputs : what a caller passes; initialisers are left out, whether the file lists them as inputs or not.
    constants : initialisers as the file stores them.
    source : "ONNX (opset 17, skl2onnx 1.20)".
    model : the parsed file, its functions written out.
    data : the file's bytes, tensors that are stored elsewhere put into them.
    outside : SHA-256 of each file that tensors were stored in.
    objection : what onnx's inference of shapes says against the file, "" if nothing. Some exporters declare shapes and
        types that are not those computed; what is computed counts here.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    nodes: tuple[Node, ...]
    constants: Mapping[str, Array]
    metadata: Mapping[str, str]
    source: str
    model: Any = field(repr=False)
    data: bytes = field(default=b"", repr=False)
    outside: Mapping[str, str] = field(default_factory=dict)
    objection: str = ""

    @cached_property
    def maker(self) -> dict[str, Node]:
        """The node that makes each tensor."""
        return {name: node for node in self.nodes for name in node.outputs if name}

    @cached_property
    def users(self) -> dict[str, list[Node]]:
        """The nodes that take each tensor."""
        out: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                out.setdefault(name, []).append(node)
        return out

    def ancestors(self, tensor: str) -> list[Node]:
        """Return the nodes that a tensor depends on, in order."""
        needed, wanted = {tensor}, []
        for node in reversed(self.nodes):
            if any(name in needed for name in node.outputs if name):
                wanted.append(node)
                needed.update(node.inputs)
        return wanted[::-1]

    @property
    def numbers(self) -> int:
        """How many numbers the file stores."""
        arrays = [a for node in self.nodes for a in node.attributes.values() if isinstance(a, np.ndarray)]
        return sum(a.size for a in (*self.constants.values(), *arrays))

    @property
    def operators(self) -> tuple[tuple[str, int], ...]:
        """(operator, how many), the most frequent first."""
        return tuple(Counter(node.op for node in self.nodes).most_common())


def parse(data: bytes, where: str, folder: Path | None = None) -> Graph:
    """Return the graph of an ONNX file's bytes.

    Parameters
    ----------
    folder : where the file lies and may keep tensors in other files; None for a model in memory.

    Raises
    ------
    MalformedModelError : not ONNX, damaged, or a tensor whose size is not what it declares.
    UnsafeFileError : tensors outside the folder, or behind links.
    UnsupportedModelError : subgraphs, element types that no network here has, too many nodes.
    """
    try:
        model = onnx.ModelProto.FromString(data)
    except DecodeError as problem:
        raise MalformedModelError(
            f"{where} cannot be read as ONNX ({clipped(problem)}); it is damaged or cut short. Export or copy it anew."
        ) from None
    try:
        return of_model(model, data, folder)
    except RelucidateError as problem:
        raise type(problem)(f"{where}: {problem}") from None


def of_model(model: Any, data: bytes, folder: Path | None = None) -> Graph:
    """Return the checked graph of a parsed model whose bytes are `data`."""
    if not model.HasField("graph") or (not model.graph.node and not model.graph.output):
        raise MalformedModelError("this is not an ONNX model: it holds no graph. Export it anew with its framework.")
    _refuse_parts(model)
    with Folder(folder) as outside:
        outside.embed((t for t in _tensors(model) if is_external(t)), _ITEM_BYTES)
        if outside.read:
            data = model.SerializeToString()
    for tensor in _tensors(model):
        _check_size(tensor)
    if model.functions:
        refuse_endless(model, MAX_NODES)
        _refuse_if_invalid(data)
        model = inlined(model)
    graph = _plain(model)
    _check_order(graph)
    _refuse_if_invalid(data)
    return replace(graph, data=data, outside=outside.read, objection=_objection(data, full=True))


def _refuse_if_invalid(data: bytes) -> None:
    objection = _objection(data, full=False)
    if objection:
        raise MalformedModelError(f"onnx.checker refuses the file: {objection}. Export it anew with its framework.")


def _objection(data: bytes, *, full: bool) -> str:
    """Return what onnx's checker, or in full its inference of shapes and types too, says against a model."""
    try:
        onnx.checker.check_model(data, full_check=full)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError, RuntimeError) as problem:
        return clipped(problem, 300).strip().rstrip(".") or "it is not valid"
    return ""


def text(value: Any) -> str:
    """Return a name out of a file, which must be text."""
    if not isinstance(value, str):
        raise MalformedModelError(f"the file holds a name that is not text ({clipped(value)}); it is damaged.")
    return value


def _refuse_parts(model: Any) -> None:
    count = sum(len(body.node) for body in bodies(model))
    if count > MAX_NODES:
        raise UnsupportedModelError(
            f"the graph has {count:,} nodes; relucidate reads at most {MAX_NODES:,}. Simplify it when exporting."
        )
    newest = onnx.defs.onnx_opset_version()
    for opset in model.opset_import:
        if opset.domain in ("", "ai.onnx") and opset.version > newest:
            raise UnsupportedModelError(
                f"the file is written for opset {opset.version}; the onnx that is installed knows them up to {newest}. "
                "Upgrade onnx, or export the model for an older opset."
            )
    for body in bodies(model):
        total = len(body.node)
        for i, node in enumerate(body.node):
            _refuse_graphs_and_sparse(node, f"node {i + 1} of {total}, {clipped(node.name or node.op_type)}")
    if model.graph.sparse_initializer:
        _refuse_sparse("sparse initialisers", model.graph.sparse_initializer)


def _refuse_graphs_and_sparse(node: Any, label: str) -> None:
    for attribute in node.attribute:
        if attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS):
            raise UnsupportedModelError(
                f"{label} ({word(node.op_type)}) holds a graph of its own; branches and loops are not one piecewise-linear "
                "network. Export without control flow."
            )
        if attribute.HasField("sparse_tensor") or attribute.sparse_tensors:
            held = [
                *attribute.sparse_tensors,
                *([attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []),
            ]
            _refuse_sparse(f"{label}: sparse tensors", held)


def _refuse_sparse(what: str, tensors: Sequence[Any]) -> None:
    names = shown([t.values.name for t in tensors])
    if any(is_external(part) for t in tensors for part in (t.values, t.indices)):
        raise UnsafeFileError(
            f"{what} ({names}) stored outside the file are not opened. Store them dense and inside it."
        )
    raise UnsupportedModelError(f"{what} ({names}) are not read. Store them as dense tensors before exporting.")


def _tensors(model: Any) -> Iterator[Any]:
    """Yield every tensor that the file holds."""
    yield from model.graph.initializer
    for body in bodies(model):
        for node in body.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                yield from attribute.tensors


def _check_size(tensor: Any) -> None:
    """Raise unless a tensor holds exactly the numbers that it declares, in the file itself."""
    name, dims = clipped(text(tensor.name) or "(a constant)"), list(tensor.dims)
    if any(d < 0 for d in dims):
        raise MalformedModelError(f"tensor {name} declares the dimensions {dims}; they cannot be negative.")
    size = prod(dims)
    kind = tensor.data_type
    type_name = TensorProto.DataType.Name(kind) if kind in TensorProto.DataType.values() else str(kind)
    if kind == TensorProto.STRING:
        held = len(tensor.string_data)
    elif kind not in _ITEM_BYTES:
        raise UnsupportedModelError(
            f"tensor {name} has elements of type {type_name}; relucidate reads float, double, integer, bool and string "
            "tensors. Export the model in float32."
        )
    elif tensor.HasField("raw_data"):
        held, rest = divmod(len(tensor.raw_data), _ITEM_BYTES[kind])
        if rest:
            raise MalformedModelError(f"tensor {name} ends in the middle of a number ({len(tensor.raw_data)} bytes).")
    else:
        held = len(getattr(tensor, _FIELD.get(kind, "int32_data")))
    if held != size:
        raise MalformedModelError(
            f"tensor {name} declares the dimensions {dims}, that is {size:,} values, and holds {held:,}. The file is "
            "damaged; export it anew."
        )


def _plain(model: Any) -> Graph:
    versions = {("" if o.domain == "ai.onnx" else text(o.domain)): o.version for o in model.opset_import}
    constants = {}
    for tensor in model.graph.initializer:
        if text(tensor.name) in constants:
            raise MalformedModelError(f"initialiser {clipped(tensor.name)} is defined twice.")
        constants[tensor.name] = array_of(tensor)
    total = len(model.graph.node)
    nodes = tuple(_node(node, i + 1, total, versions) for i, node in enumerate(model.graph.node))
    inputs = tuple(_declared(i) for i in model.graph.input if i.name not in constants)
    nodes = tuple(_casts(node, inputs, constants) if node.op == "CastLike" else node for node in nodes)
    producer = " ".join(text(part) for part in (model.producer_name, model.producer_version) if part)
    parts = [f"opset {versions.get('', '?')}", *([word(producer)] if producer else [])]
    return Graph(
        inputs=inputs,
        outputs=tuple(_declared(o) for o in model.graph.output),
        nodes=nodes,
        constants=constants,
        metadata={text(p.key): text(p.value) for p in model.metadata_props},
        source=f"ONNX ({', '.join(parts)})",
        model=model,
    )


def _node(node: Any, position: int, total: int, versions: Mapping[str, int]) -> Node:
    domain = "" if node.domain == "ai.onnx" else text(node.domain)
    return Node(
        position,
        total,
        text(node.name),
        text(node.op_type),
        domain,
        versions.get(domain, 0),
        tuple(text(name) for name in node.input),
        tuple(text(name) for name in node.output),
        {text(a.name): _attribute(a) for a in node.attribute},
    )


def _casts(node: Node, inputs: Sequence[Tensor], constants: Mapping[str, Array]) -> Node:
    """Return a CastLike as the Cast that it is, if the file itself tells the type that it casts to."""
    like = node.inputs[1] if len(node.inputs) > 1 else ""
    kinds = {t.name: t.kind for t in inputs}
    if like in constants:
        kinds[like] = onnx.helper.np_dtype_to_tensor_dtype(constants[like].dtype)
    if like not in kinds:
        return node
    return replace(node, op="Cast", inputs=node.inputs[:1], attributes={"to": kinds[like]})


def _attribute(attribute: Any) -> Any:
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, TensorProto):
        return array_of(value)
    if isinstance(value, Message):
        return value
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in value]
    return value


def array_of(tensor: Any) -> Array:
    """Return a tensor as an array; text as objects of type str."""
    if tensor.data_type == TensorProto.STRING:
        out = np.empty(len(tensor.string_data), dtype=object)
        out[:] = [v.decode("utf-8", "replace") for v in tensor.string_data]
        return out.reshape(tuple(tensor.dims))
    return np.asarray(onnx.numpy_helper.to_array(tensor))


def _declared(value: Any) -> Tensor:
    kind = value.type.tensor_type
    text(value.name)
    if not value.type.HasField("tensor_type"):
        return Tensor(value.name, 0, ())
    dims = tuple(d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in kind.shape.dim)
    return Tensor(value.name, kind.elem_type, dims)


def _check_order(graph: Graph) -> None:
    """Raise unless every tensor is made once, before it is used: no cycles, nothing undefined."""
    defined = {t.name for t in graph.inputs} | set(graph.constants)
    everything = {name for node in graph.nodes for name in node.outputs}
    for node in graph.nodes:
        for name in node.inputs:
            if name and name not in defined:
                later = "only made later: the nodes form a cycle or are out of order"
                why = later if name in everything else "never made"
                raise MalformedModelError(f"{node.label} takes {clipped(name)}, which is {why}. Export the model anew.")
        for name in node.outputs:
            if name and name in defined:
                raise MalformedModelError(f"{node.label} makes {clipped(name)}, which exists already.")
            defined.add(name)
    for output in graph.outputs:
        if output.name not in defined:
            raise MalformedModelError(f"the output {clipped(output.name)} is never made.")


def numbers_convolved(graph: Graph, nodes: Sequence[Node]) -> Iterator[tuple[Node, int]]:
    """Yield (node, how many numbers it holds) for the convolutions among some nodes, written out as matrices for one row.

    Notes
    -----
    Told from the shapes that onnx infers; a convolution whose shape it cannot tell counts as none. This is known before
    anything is written out, so that a file of a few bytes is refused before memory is taken.
    """
    convolutions = [n for n in nodes if n.op == "Conv" and len(n.inputs) > 1 and n.inputs[1] in graph.constants]
    if not convolutions:
        return
    try:
        inferred = onnx.shape_inference.infer_shapes(graph.model)
    except (onnx.shape_inference.InferenceError, ValueError, RuntimeError):  # the lowering counts as it goes, too
        return
    shapes = {v.name: _declared(v).shape for v in (*inferred.graph.value_info, *inferred.graph.output)}
    for node in convolutions:
        places = shapes.get(node.outputs[0], ())[2:]
        if places and None not in places:
            yield node, prod(s or 1 for s in places) * graph.constants[node.inputs[1]].size
