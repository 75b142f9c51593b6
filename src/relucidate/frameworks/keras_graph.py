"""What a Keras configuration says: which layers there are and what each call of them takes. No code of it runs.

A model is flattened into steps: each call of a layer is one, nested models are written out where they are called, and a
layer that is called twice keeps its one set of weights.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from relucidate.errors import (
    ArgumentError,
    MalformedModelError,
    ModelError,
    UnsafeFileError,
    UnsupportedModelError,
    clipped,
    shown,
)
from relucidate.frameworks.keras_files import Stored
from relucidate.frameworks.keras_layers import IN_KERAS, Config, Layer

MAX_STEPS = 20_000
MAX_NESTING = 16
_MODELS = ("Sequential", "Functional", "Model")
_ROOTS = ("keras", "tf_keras", "tensorflow", "tensorflow_core")  # modules that are Keras' own
_LAMBDAS = ("Lambda", "__lambda__")
_LIVE = "If you trust it, load it with Keras yourself"


# ---------------------------------------------------------------- models


@dataclass(frozen=True)
class Ref:
    """The tensor that one call of a layer gives: which layer, which call of it, which of its outputs."""

    layer: str
    call: int = 0
    output: int = 0


@dataclass(eq=False)
class Model:
    """A model as its configuration describes it.

    Parameters
    ----------
    members : layers and models in the order in which Keras lists them.
    calls : what the calls of each member take: layers in calls, operands in each.
    inputs, outputs : tensors. keys : names under which a caller passes the inputs, if it passes a dictionary.
    """

    name: str
    path: str
    members: dict[str, Layer | Model]
    calls: dict[str, list[tuple[Any, ...]]]
    inputs: tuple[Ref, ...]
    outputs: tuple[Ref, ...]
    keys: tuple[str, ...] = ()
    trainable: bool = True

    def layers(self) -> Iterator[Layer]:
        """Yield every layer, those of nested models in their place."""
        for member in self.members.values():
            if isinstance(member, Layer):
                yield member
            else:
                yield from member.layers()


@dataclass(eq=False)
class _Parser:
    """Reads one configuration."""

    version: int
    depth: int = 0
    shared: dict[Any, Layer | Model] = field(default_factory=dict)

    def model(self, entry: Config, path: str, owners: tuple[str, ...]) -> Model:
        kind, config = entry.get("class_name"), entry.get("config")
        if self.depth >= MAX_NESTING:
            raise UnsupportedModelError(f"models are nested more than {MAX_NESTING} deep.")
        if isinstance(config, list):
            config = {"layers": config}  # a Sequential before Keras 2.2.3
        if not isinstance(config, Mapping) or not isinstance(config.get("layers"), list):
            raise MalformedModelError(f"the configuration of {clipped(kind)} lists no layers. Save the model anew.")
        name = str(config.get("name") or entry.get("name") or kind)
        self.depth += 1
        try:
            members = self._members(config["layers"], path, (*owners, name) if path else ())
            made = _sequential if kind == "Sequential" else _functional
            return made(name, path, config, members)
        finally:
            self.depth -= 1

    def _members(
        self, entries: Sequence[Any], path: str, owners: tuple[str, ...]
    ) -> list[tuple[Config, Layer | Model]]:
        used: dict[str, int] = {}
        out = []
        for i, entry in enumerate(entries):
            if not isinstance(entry, Mapping) or not isinstance(entry.get("class_name"), str):
                raise MalformedModelError(f"layer {i} of the configuration has no class. Save the model anew.")
            out.append((entry, self._member(entry, i, f"{path}/layers" if path else "layers", owners, used)))
        return out

    def _member(
        self, entry: Config, i: int, folder: str, owners: tuple[str, ...], used: dict[str, int]
    ) -> Layer | Model:
        kind, config = entry["class_name"], entry.get("config")
        is_operation = ".ops." in str(entry.get("module"))
        place = folder if is_operation else f"{folder}/{_unique(_snake_case(kind), used)}"
        identity = entry.get("shared_object_id")
        if identity is not None and isinstance(identity, int) and identity in self.shared:
            return self.shared[identity]
        if kind in _MODELS:
            made: Layer | Model = self.model(entry, place, owners)
        else:
            if not isinstance(config, Mapping):
                raise MalformedModelError(f"layer {i} ({clipped(kind)}) has no configuration. Save the model anew.")
            name = entry.get("name") or config.get("name") or f"{_snake_case(kind)}_{i}"
            made = Layer(kind, str(name), config, place, owners, self.version)
        if isinstance(identity, int):
            self.shared[identity] = made
        return made


def parse(config: Config, version: str, *, live: bool = False) -> Model:
    """Return the model that a configuration describes.

    Parameters
    ----------
    version : of the Keras that wrote it.
    live : whether it belongs to an object in memory, whose code runs already.

    Raises
    ------
    UnsafeFileError : Keras would run code of the file. UnsupportedModelError : a model that is no graph of layers.
    MalformedModelError : damaged.
    """
    _refuse_code(config, live)
    kind = config.get("class_name")
    if kind not in _MODELS:
        raise UnsupportedModelError(
            f"the model is of the class {clipped(kind)}, whose forward pass is code that the file does not hold. Build it as "
            "a Sequential or functional model, or export it to ONNX and load that."
        )
    match = re.match(r"\d+", version)
    return _Parser(int(match[0]) if match else _guessed_version(config)).model(config, "", ())


def _guessed_version(config: Config) -> int:
    return 3 if "module" in config else 2


def _snake_case(name: str) -> str:
    """Return a class name as Keras writes it into paths: "LeakyReLU" becomes "leaky_re_lu"."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def _unique(name: str, used: dict[str, int]) -> str:
    if name not in used:
        used[name] = 0
        return name
    used[name] += 1
    return f"{name}_{used[name]}"


def _refuse_code(config: Config, live: bool) -> None:
    """Raise if anything in a configuration is code, or names something outside Keras that would be imported."""
    unsafe: type[ModelError] = UnsupportedModelError if live else UnsafeFileError
    remedy = IN_KERAS if live else f"{_LIVE} and export it to ONNX. Nothing was run."
    todo: list[tuple[Any, str]] = [(config, "the model")]
    while todo:
        value, where = todo.pop()
        if isinstance(value, list):
            todo += [(v, where) for v in value if isinstance(v, list | dict)]
            continue
        kind, module, inner = value.get("class_name"), value.get("module"), value.get("config")
        name = value.get("name") or (inner.get("name") if isinstance(inner, Mapping) else None)
        if isinstance(name, str) and isinstance(kind, str):
            where = f"layer {clipped(name)} ({clipped(kind).strip(chr(39))})"
        if kind in _LAMBDAS:
            raise unsafe(f"{where}: it holds Python code (a lambda), which runs whenever the model does. {remedy}")
        root = module.split(".")[0] if isinstance(module, str) else "keras"
        registered = value.get("registered_name")
        if isinstance(kind, str) and root not in _ROOTS and kind != "function":
            if isinstance(registered, str) and ">" in registered:
                raise UnsupportedModelError(
                    f"{where}: {clipped(registered)} is a class of somebody's own, whose code is not in the file. {IN_KERAS}"
                )
            raise unsafe(
                f"{where}: it names {clipped(kind)} of the module {clipped(module)}, which is no part of Keras; loading it "
                f"there would import and call that. {remedy}"
            )
        todo += [
            (v, where)
            for key, v in value.items()
            if key not in ("compile_config", "build_config") and isinstance(v, list | dict)
        ]


# ---------------------------------------------------------------- sequential and functional models


def _sequential(name: str, path: str, config: Config, found: Sequence[tuple[Config, Layer | Model]]) -> Model:
    members: dict[str, Layer | Model] = {}
    calls: dict[str, list[tuple[Any, ...]]] = {}
    if not found:
        raise MalformedModelError(f"the model {clipped(name)} has no layers.")
    first = found[0][1]
    if not (isinstance(first, Layer) and first.kind == "InputLayer"):
        shape = _declared_shape(first, config)
        entry = {"batch_shape": shape, "name": "input"}
        called = "input" if all(m.name != "input" for _, m in found) else " input"
        members[called] = Layer("InputLayer", called, entry, "", ())
        calls[called] = [()]
    last = Ref(next(iter(members), ""))
    for _, member in found:
        if member.name in members:
            raise MalformedModelError(f"two layers of {clipped(name)} are called {clipped(member.name)}.")
        members[member.name] = member
        calls[member.name] = [(last,)] if last.layer else [()]
        last = Ref(member.name)
    inputs = (Ref(next(iter(members))),)
    return Model(name, path, members, calls, inputs, (last,), (), config.get("trainable", True) is not False)


def _declared_shape(first: Layer | Model, config: Config) -> list[Any] | None:
    """Return the input shape of a Sequential without an input layer, as far as it is written anywhere."""
    given = first.config if isinstance(first, Layer) else {}
    for entry in (given.get("batch_input_shape"), given.get("batch_shape"), config.get("build_input_shape")):
        if isinstance(entry, list | tuple):
            return list(entry)
    if isinstance(given.get("input_shape"), list | tuple):
        return [None, *given["input_shape"]]
    if isinstance(given.get("input_dim"), int):
        return [None, given["input_dim"]]
    if isinstance(first, Model):
        inner = first.members[first.inputs[0].layer]
        return _batch_shape(inner.config) if isinstance(inner, Layer) else None
    return None


def _batch_shape(config: Config) -> list[Any] | None:
    for key in ("batch_shape", "batch_input_shape"):
        if isinstance(config.get(key), list | tuple):
            return list(config[key])
    return None


def _functional(name: str, path: str, config: Config, found: Sequence[tuple[Config, Layer | Model]]) -> Model:
    members: dict[str, Layer | Model] = {}
    calls: dict[str, list[tuple[Any, ...]]] = {}
    for entry, member in found:
        called = str(entry.get("name") or member.name)
        if called in members:
            raise MalformedModelError(f"two layers of {clipped(name)} are called {clipped(called)}.")
        members[called] = member
        label = member.label if isinstance(member, Layer) else f"model {clipped(member.name)}"
        nodes = entry.get("inbound_nodes") or []
        if not isinstance(nodes, list):
            raise MalformedModelError(f"{label}: its inbound_nodes are {clipped(nodes)}; expected a list.")
        calls[called] = [_operands(node, label) for node in nodes] or [()]
    inputs, keys = _ends(config.get("input_layers"))
    outputs, _ = _ends(config.get("output_layers"))
    model = Model(name, path, members, calls, inputs, outputs, keys, config.get("trainable", True) is not False)
    _count_calls_from_zero(model)
    if not inputs or not outputs:
        raise MalformedModelError(f"the model {clipped(name)} names no inputs or no outputs.")
    return model


def _operands(node: Any, label: str) -> tuple[Any, ...]:
    """Return what one call takes, tensors as `Ref`, in the form of Keras 3 or of older versions."""
    if isinstance(node, Mapping):
        _refuse_arguments(node.get("kwargs"), label)
        args = node.get("args")
        if not isinstance(args, list):
            raise MalformedModelError(f"{label}: a call of it has no arguments.")
        return tuple(_operand(arg) for arg in args)
    if not isinstance(node, list) or not node:
        raise MalformedModelError(f"{label}: what it takes is {clipped(node)}; expected a list.")
    parts = [node] if isinstance(node[0], str) else node
    for part in parts:
        if not _is_ref(part):
            raise UnsupportedModelError(f"{label}: what it takes, {clipped(part)}, is no tensor.")
        _refuse_arguments(part[3] if len(part) > 3 else None, label)
    return tuple(Ref(part[0], part[1], part[2]) for part in parts)


def _is_ref(part: Any) -> bool:
    return isinstance(part, list) and len(part) >= 3 and [type(p) for p in part[:3]] == [str, int, int] and part[1] >= 0


def _operand(arg: Any) -> Any:
    if isinstance(arg, Mapping):
        config = arg.get("config")
        if arg.get("class_name") == "__keras_tensor__" and isinstance(config, Mapping):
            history = config.get("keras_history")
            if _is_ref(history):
                return Ref(*history[:3])  # type: ignore[index]
            raise MalformedModelError(f"a tensor's keras_history is {clipped(history)}.")
        if "class_name" not in arg:
            return [_operand(arg[key]) for key in sorted(arg)]  # as Keras flattens dictionaries
        return arg
    return [_operand(a) for a in arg] if isinstance(arg, list) else arg


def _refuse_arguments(kwargs: Any, label: str) -> None:
    """Raise if a call has an argument that changes what it computes."""
    for name, value in (kwargs or {}).items() if isinstance(kwargs, Mapping) else ():
        if value is None or (name == "training" and not value):
            continue
        if name == "training":
            raise UnsupportedModelError(
                f"{label}: it is called in training mode, where answers are random or depend on the other rows. Build the "
                "model without training=True."
            )
        raise UnsupportedModelError(f"{label}: it is called with {clipped(name)}, which is not read. {IN_KERAS}")


def _ends(entry: Any) -> tuple[tuple[Ref, ...], tuple[str, ...]]:
    """Return the tensors of `input_layers` or `output_layers`, and their keys if they are a dictionary."""
    if _is_ref(entry):
        return (Ref(*entry[:3]),), ()
    if isinstance(entry, Mapping):
        keys = sorted(entry)
        return tuple(ref for key in keys for ref in _ends(entry[key])[0]), tuple(keys)
    if isinstance(entry, list):
        return tuple(ref for part in entry for ref in _ends(part)[0]), ()
    raise MalformedModelError(f"the model's inputs or outputs are {clipped(entry)}; expected layers.")


def _count_calls_from_zero(model: Model) -> None:
    """Older versions count the calls of a nested model from 1, since its own graph was call 0."""
    refs = [*model.outputs, *(ref for calls in model.calls.values() for operands in calls for ref in tensors(operands))]
    last: dict[str, int] = {}
    for ref in refs:
        last[ref.layer] = max(last.get(ref.layer, 0), ref.call)
    late = {
        name
        for name, call in last.items()
        if isinstance(model.members.get(name), Model) and call >= len(model.calls[name])
    }
    if not late:
        return

    def moved(value: Any) -> Any:
        if isinstance(value, Ref):
            return Ref(value.layer, value.call - (value.layer in late), value.output)
        return [moved(v) for v in value] if isinstance(value, list) else value

    model.calls = {n: [tuple(moved(o) for o in operands) for operands in calls] for n, calls in model.calls.items()}
    model.outputs = tuple(moved(ref) for ref in model.outputs)


def tensors(operands: Any) -> list[Ref]:
    """Return the tensors among operands, in order."""
    if isinstance(operands, Ref):
        return [operands]
    return [ref for part in operands for ref in tensors(part)] if isinstance(operands, list | tuple) else []


# ---------------------------------------------------------------- steps


@dataclass(frozen=True, eq=False)
class Step:
    """One call of one layer.

    Parameters
    ----------
    operands : what it takes; numbers of tensors are held as `At`, everything else is a constant.
    output : number of the tensor that it makes.
    """

    layer: Layer
    operands: tuple[Any, ...]
    output: int


@dataclass(frozen=True)
class At:
    """A tensor by its number."""

    number: int


@dataclass(frozen=True, eq=False)
class Input:
    """An input of the model.

    Parameters
    ----------
    shape : of one row. key : under which a caller passes it, "" if inputs are passed in order.
    """

    name: str
    shape: tuple[int, ...]
    number: int
    dtype: str = "float32"
    key: str = ""


@dataclass(frozen=True, eq=False)
class Graph:
    """A model as the steps that one of its tensors needs.

    Parameters
    ----------
    inputs : in the model's order. used : those that the tensor depends on.
    output : number of the tensor.
    """

    inputs: tuple[Input, ...]
    steps: tuple[Step, ...]
    output: int

    @property
    def used(self) -> tuple[Input, ...]:
        """The inputs that the output depends on."""
        taken = {at.number for step in self.steps for at in numbers(step.operands)} | {self.output}
        return tuple(i for i in self.inputs if i.number in taken)

    @property
    def operators(self) -> tuple[tuple[str, int], ...]:
        """Classes of layers and how many calls there are of each, the most frequent first."""
        count: dict[str, int] = {}
        for step in self.steps:
            count[step.layer.kind] = count.get(step.layer.kind, 0) + 1
        return tuple(sorted(count.items(), key=lambda item: (-item[1], item[0])))


def numbers(operands: Any) -> list[At]:
    """Return the tensors among operands of a step, in order."""
    if isinstance(operands, At):
        return [operands]
    return [at for part in operands for at in numbers(part)] if isinstance(operands, list | tuple) else []


def output_names(model: Model) -> list[str]:
    """Return a name for each output of a model: its layer's."""
    return [ref.layer for ref in model.outputs]


def chosen_output(model: Model, wanted: str | None) -> Ref:
    """Return the tensor to unwrap.

    Raises
    ------
    UnsupportedModelError : there are several outputs and none was named. ArgumentError : no layer is called so.
    """
    names = output_names(model)
    if wanted is None:
        if len(model.outputs) == 1:
            return model.outputs[0]
        raise UnsupportedModelError(
            f"the network has {len(names)} outputs, {shown(names, 12)}. Give output= the one to unwrap."
        )
    if names.count(wanted) == 1:
        return model.outputs[names.index(wanted)]
    if wanted not in model.members:
        raise ArgumentError(f"output={wanted!r} is no layer of the model; it has {shown(model.members, 20)}.")
    if len(model.calls[wanted]) > 1 or names.count(wanted) > 1:
        raise ArgumentError(
            f"output={wanted!r} is a layer that is called several times, so it is not clear which is meant."
        )
    return Ref(wanted)


def flattened(model: Model, output: Ref) -> Graph:
    """Return the steps that `output`, a tensor of the model, needs, in an order in which they can be run.

    Raises
    ------
    MalformedModelError : a cycle, or a tensor that nothing makes. UnsupportedModelError : too many steps.
    """
    flat = _Flattener()
    inputs = []
    for i, ref in enumerate(model.inputs):
        layer = model.members.get(ref.layer)
        if not isinstance(layer, Layer) or layer.kind != "InputLayer":
            raise MalformedModelError(f"the input {clipped(ref.layer)} is no input layer.")
        inputs.append(_input(layer, flat.new(), model, model.keys[i] if model.keys else ""))
    given = {ref: At(i.number) for ref, i in zip(model.inputs, inputs, strict=True)}
    (at,) = flat.run(model, given, [output], 0)
    return Graph(tuple(inputs), tuple(flat.steps), at.number)


@dataclass(eq=False)
class _Flattener:
    steps: list[Step] = field(default_factory=list)
    n: int = 0

    def new(self) -> int:
        self.n += 1
        return self.n - 1

    def run(self, model: Model, given: Mapping[Ref, At], wanted: Sequence[Ref], depth: int) -> list[At]:
        """Append the steps that some tensors of a model need, and return these tensors."""
        if depth > MAX_NESTING:
            raise UnsupportedModelError(f"models are nested more than {MAX_NESTING} deep.")
        made = dict(given)
        for name, call in _order(model, given, wanted):
            member, operands = model.members[name], model.calls[name][call]
            if isinstance(member, Model):
                passed = [made[ref] for ref in tensors(operands)]
                if len(passed) != len(member.inputs):
                    raise MalformedModelError(
                        f"the model {clipped(name)} has {len(member.inputs)} inputs and is given {len(passed)}."
                    )
                inner = dict(zip(member.inputs, passed, strict=True))
                for i, at in enumerate(self.run(member, inner, member.outputs, depth + 1)):
                    made[Ref(name, call, i)] = at
                continue
            if len(self.steps) >= MAX_STEPS:
                raise UnsupportedModelError(f"written out, the model has more than {MAX_STEPS:,} calls of layers.")
            if member.kind == "InputLayer":
                raise MalformedModelError(f"{member.label} is no input of the model, but is used like one.")
            made[Ref(name, call)] = At(self.new())
            self.steps.append(Step(member, tuple(_placed(o, made) for o in operands), self.n - 1))
        return [_made(ref, made) for ref in wanted]


def _made(ref: Ref, made: Mapping[Ref, At]) -> At:
    if ref not in made:
        raise MalformedModelError(f"output {ref.output} of layer {clipped(ref.layer)} is used, but it has fewer.")
    return made[ref]


def _placed(operand: Any, made: Mapping[Ref, At]) -> Any:
    if isinstance(operand, Ref):
        return _made(operand, made)
    return [_placed(o, made) for o in operand] if isinstance(operand, list) else operand


def _order(model: Model, given: Mapping[Ref, At], wanted: Sequence[Ref]) -> list[tuple[str, int]]:
    """Return the calls that some tensors need, each after those that it needs itself."""
    ready = {(ref.layer, ref.call) for ref in given}
    open_: set[tuple[str, int]] = set()
    out: list[tuple[str, int]] = []
    todo = [(ref.layer, ref.call) for ref in reversed(wanted)]
    while todo:
        node = todo[-1]
        if node in ready:
            todo.pop()
            continue
        name, call = node
        if name not in model.members or call >= len(model.calls[name]):
            raise MalformedModelError(f"call {call} of layer {clipped(name)} is used, but never made.")
        missing = [(r.layer, r.call) for r in tensors(model.calls[name][call]) if (r.layer, r.call) not in ready]
        if not missing:
            ready.add(node)
            open_.discard(node)
            out.append(node)
            todo.pop()
            continue
        if node in open_:
            raise MalformedModelError(f"layer {clipped(name)} depends on itself.")
        open_.add(node)
        todo += missing
    return out


def _input(layer: Layer, number: int, model: Model, key: str) -> Input:
    shape = _batch_shape(layer.config)
    if shape is None or None in shape[1:]:
        shape = _shape_from_use(model, layer.name, shape)
    if not shape or not all(type(s) is int and 0 < s < 2**31 for s in shape[1:]):
        raise UnsupportedModelError(
            f"the file leaves open how many values the input {clipped(layer.name)} holds (shape {clipped(shape)}). Build the "
            "model with an Input of a fixed shape and save it anew."
        )
    dtype = layer.config.get("dtype", "float32")
    dtype = dtype.get("config", {}).get("name") if isinstance(dtype, Mapping) else dtype
    if dtype not in (None, "float32", "float64", "float16", "bfloat16"):
        raise UnsupportedModelError(
            f"the input {clipped(layer.name)} takes {clipped(dtype)}; only numbers (floats) are read."
        )
    return Input(layer.name, tuple(shape[1:]), number, dtype or "float32", key)


def _shape_from_use(model: Model, name: str, shape: list[Any] | None) -> list[Any] | None:
    """Return the shape of an input of unknown width, if it goes straight into a dense layer."""
    users = [
        member
        for called, member in model.members.items()
        if any(ref.layer == name for operands in model.calls[called] for ref in tensors(operands))
    ]
    if len(users) == 1 and isinstance(users[0], Layer) and users[0].kind == "Dense" and users[0].stored:
        width = users[0].stored[0].shape[:1]
        if shape is None:
            return [None, *width]
        if shape[-1] is None and None not in shape[1:-1]:
            return [*shape[:-1], *width]
    return shape


# ---------------------------------------------------------------- weights


def assign(model: Model, of_layer: Callable[[Layer], tuple[Stored, ...]]) -> None:
    """Give every layer its arrays."""
    for layer in model.layers():
        if layer.variables:
            layer.stored = of_layer(layer)
            layer.check()


def assign_in_rows(model: Model, of_member: Callable[[str], tuple[Stored, ...]]) -> None:
    """Give every layer its arrays, where those of a nested model come in one row: what is trained before what is not.

    Raises
    ------
    MalformedModelError : a row has another length.
    """
    for name, member in model.members.items():
        if isinstance(member, Layer):
            if member.variables:
                member.stored = of_member(member.name)
                member.check()
            continue
        slots = _row(member)
        row = of_member(name) or of_member(member.name) if slots else ()
        if len(row) != len(slots):
            raise MalformedModelError(
                f"the model {clipped(name)} needs {len(slots)} arrays; there are {len(row)}. Save it anew."
            )
        parts: dict[Layer, list[tuple[int, Stored]]] = {}
        for (layer, position), stored in zip(slots, row, strict=True):
            parts.setdefault(layer, []).append((position, stored))
        for layer, pairs in parts.items():
            layer.stored = tuple(stored for _, stored in sorted(pairs, key=lambda pair: pair[0]))
            layer.check()


def _row(model: Model) -> list[tuple[Layer, int]]:
    """Return (layer, which of its arrays) in the order in which an `.h5` file lists those of a nested model.

    Notes
    -----
    First what is trained, then what is not. Keras 3 keeps a model that is frozen as a whole in plain order.
    """
    layers = list(dict.fromkeys(model.layers()))
    slots = [
        (layer, i, trained and layer.flag("trainable", True))
        for layer in layers
        for i, (_, trained) in enumerate(layer.variables)
    ]
    frozen = bool(layers) and layers[0].version >= 3 and not model.trainable
    first = slots if frozen else [s for s in slots if s[2]]
    rest = [] if frozen else [s for s in slots if not s[2]]
    return [(layer, i) for layer, i, _ in (*first, *rest)]
