"""A network as a Sequential of PyTorch, and its tensors in `.pt` and safetensors files."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from relucidate.errors import MissingDependencyError, UnfaithfulError, UnsupportedModelError
from relucidate.frameworks.exporting_comparing import compare
from relucidate.frameworks.exporting_metadata import metadata_of
from relucidate.frameworks.exporting_units import ALL_KINDS, RELU_ONLY, Units, in_stages, in_units
from relucidate.layers import Activation, Floats
from relucidate.network import Network


@dataclass(frozen=True, eq=False)
class _Module:
    """One module of a Sequential.

    Parameters
    ----------
    kind : its class in `torch.nn`.
    tensors : its parameters by name.
    numbers : its other arguments.
    """

    kind: Literal["Linear", "ReLU", "LeakyReLU", "PReLU", "Hardtanh", "Sigmoid", "Softmax"]
    tensors: Mapping[str, Floats]
    numbers: tuple[float, ...] = ()


def torch_object(network: Network) -> Any:
    """Return a `torch.nn.Sequential` with the link at its end, compared with the network."""
    modules = _modules(network)
    head = _torch_head(network)
    sequential = _sequential([*modules, *head])
    sequential.load_state_dict(_tensors(_state(modules)))
    decision = _run_torch(sequential[: len(modules)])
    compare(network, "the torch module", decision=decision, predict=_run_torch(sequential))
    return sequential


def torch_file(network: Network, temporary: Path, final: Path) -> None:
    """Write a state_dict, read it back and compare."""
    torch = _needed("torch", "a .pt file")
    modules = _modules(network)
    buffer = io.BytesIO()
    torch.save(_tensors(_state(modules)), buffer)
    temporary.write_bytes(buffer.getvalue())
    sequential = _sequential(modules)
    sequential.load_state_dict(torch.load(temporary, weights_only=True))
    compare(network, str(final), decision=_run_torch(sequential))


def safetensors_file(network: Network, temporary: Path, final: Path) -> None:
    """Write tensors with names and link beside them, read them back and compare."""
    _needed("safetensors", "a safetensors file")
    from safetensors import safe_open
    from safetensors.numpy import save

    modules = _modules(network)
    metadata = metadata_of(network) | {"relucidate.link": network.link}
    temporary.write_bytes(save(_state(modules), metadata=metadata))
    with safe_open(temporary, framework="np") as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no mapping
        if file.metadata() != metadata:
            raise UnfaithfulError(f"{final}: the names that were read back are not those that were written.")
    compare(network, str(final), decision=lambda rows: _run_modules(modules, state, rows))


def _modules(network: Network) -> list[_Module]:
    """Return the modules up to the decision."""
    stages, weight, bias = in_stages(network, _torch_units)
    out = []
    for stage in stages:
        out.append(_Module("Linear", {"weight": stage.weight, "bias": stage.bias}))
        out += _torch_activation(stage.units) or []
    return [*out, _Module("Linear", {"weight": weight, "bias": bias})]


def _torch_units(activation: Activation) -> Units:
    units = in_units(activation, ALL_KINDS)
    return units if _torch_activation(units) is not None else in_units(activation, RELU_ONLY)


def _torch_activation(units: Units) -> list[_Module] | None:
    """Return the modules that are the activation of a layer, None if there are none."""
    slopes = units.slopes()
    if slopes is not None:
        if (slopes == 1).all():
            return []
        if not slopes.any():
            return [_Module("ReLU", {})]
        if (slopes == slopes[0]).all():
            return [_Module("LeakyReLU", {}, (float(slopes[0]),))]
        return [_Module("PReLU", {"weight": slopes})]
    if set(units.kind.tolist()) == {"relu"}:
        return [_Module("ReLU", {})]
    clipped_alike = (units.low == units.low[:1]).all() and (units.high == units.high[:1]).all()
    if units.one_each and set(units.kind.tolist()) == {"clip"} and clipped_alike:
        return [_Module("Hardtanh", {}, (float(units.low[0]), float(units.high[0])))]
    return None


def _torch_head(network: Network) -> list[_Module]:
    if network.link == "log":
        raise UnsupportedModelError(
            "torch.nn has no module for the exponential, which is the inverse of this network's link 'log'. Export to "
            "ONNX, or export dataclasses.replace(network, link='identity') for a module that gives logarithms."
        )
    head: dict[str, list[_Module]] = {"logit": [_Module("Sigmoid", {})], "softmax": [_Module("Softmax", {})]}
    return head.get(network.link, [])


def _state(modules: Sequence[_Module]) -> dict[str, Floats]:
    """Return the tensors by the names that a Sequential gives them."""
    return {
        f"{i}.{name}": np.array(tensor, dtype=np.float64, order="C")
        for i, module in enumerate(modules)
        for name, tensor in module.tensors.items()
    }


def _sequential(modules: Sequence[_Module]) -> Any:
    """Return a float64 Sequential of the modules, their tensors still to be loaded."""
    nn = _needed("torch", "a PyTorch module").nn
    made = []
    for module in modules:
        if module.kind == "Linear":
            m, k = module.tensors["weight"].shape
            made.append(nn.Linear(k, m))
        elif module.kind == "PReLU":
            made.append(nn.PReLU(len(module.tensors["weight"])))
        elif module.kind == "Softmax":
            made.append(nn.Softmax(dim=1))
        else:
            made.append(getattr(nn, module.kind)(*module.numbers))
    return nn.Sequential(*made).double().eval()


def _run_torch(module: Any) -> Callable[[Floats], Floats]:
    torch = _needed("torch", "a PyTorch module")

    def run(rows: Floats) -> Floats:
        with torch.no_grad():
            return np.asarray(module(torch.from_numpy(np.array(rows))).numpy())

    return run


def _tensors(state: Mapping[str, Floats]) -> dict[str, Any]:
    torch = _needed("torch", "a PyTorch module")
    return {name: torch.from_numpy(array.copy()) for name, array in state.items()}


def _run_modules(modules: Sequence[_Module], state: Mapping[str, Floats], rows: Floats) -> Floats:
    """Return what a Sequential with these tensors gives, without torch."""
    a = rows
    for i, module in enumerate(modules):
        if module.kind == "Linear":
            a = a @ state[f"{i}.weight"].T + state[f"{i}.bias"]
        elif module.kind == "Hardtanh":
            low, high = module.numbers
            a = np.clip(a, low, high)
        else:
            slope: Any = state[f"{i}.weight"] if module.kind == "PReLU" else (*module.numbers, 0.0)[0]
            a = np.where(a > 0, a, slope * a)
    return a


def _needed(package: str, what: str) -> Any:
    """Return an optional package.

    Raises
    ------
    MissingDependencyError : it is not installed.
    """
    from importlib import import_module

    try:
        return import_module(package)
    except ImportError:
        raise MissingDependencyError(
            f"{what[0].upper()}{what[1:]} needs {package}, which is not installed. Install it with "
            f"pip install 'relucidate[{package}]', or export to ONNX."
        ) from None
