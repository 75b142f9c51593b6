"""Files of weights: state_dicts and safetensors are read as data; whatever could run, overflow or mislead is refused."""

import argparse
import io
import json
import os
import pickle
import subprocess
import sys
import time
import zipfile
from collections import OrderedDict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import torch_networks as nets
from relucidate.errors import (
    ArgumentError,
    MalformedModelError,
    MissingDependencyError,
    ModelError,
    UnsafeFileError,
    UnsupportedModelError,
)
from relucidate.frameworks import load, torch_files
from relucidate.network import Network

nn = torch.nn
Floats = np.ndarray[Any, Any]


def mlp(*widths: int) -> Any:
    steps: list[Any] = []
    for below, above in pairwise(widths):
        steps += [nn.Linear(below, above), nn.ReLU()]
    return nets.seeded(lambda: nn.Sequential(*steps[:-1]))


def saved(content: Any, folder: Path, name: str = "weights.pt") -> Path:
    path = folder / name
    torch.save(content, path)
    return path


def safe(state: dict[str, Any], folder: Path) -> Path:
    from safetensors.torch import save_file

    path = folder / "weights.safetensors"
    save_file(state, path)
    return path


def same(network: Network, module: Any) -> None:
    """Assert that a network equals a module of one linear input."""
    rows = nets.spread_rows(50, network.n_features)
    assert np.allclose(network.decision(rows), nets.wide(module, rows, (network.n_features,)), atol=1e-12)


# ---------------------------------------------------------------- what is read


@pytest.mark.parametrize("architecture", [None, [4, 8, 8, 3], (4, np.int64(8), 8, 3)])
def test_chain_of_linear_layers(architecture: Any, tmp_path: Path) -> None:
    module = mlp(4, 8, 8, 3)
    path = saved(module.state_dict(), tmp_path)
    network = load(path, architecture=architecture, link="softmax", feature_names=list("abcd"))
    same(network, module)
    about = network.provenance
    assert (about.path, len(about.sha256), about.source) == (str(path), 64, "PyTorch state_dict")
    said = (
        "ReLU was assumed"
        if architecture is None
        else "does not say which activations the network uses; ReLU was taken"
    )
    assert any(said in note for note in about.notes)
    assert network.feature_names == tuple("abcd")
    assert [layer.name for layer in network.layers] == ["0", "2", "4"]
    assert np.array_equal(network.layers[0].weight, module[0].weight.detach().double().numpy())


def test_safetensors(tmp_path: Path) -> None:
    module = mlp(4, 8, 8, 8, 8, 8, 3)  # '10' comes before '2' in the file
    network = load(safe(module.state_dict(), tmp_path))
    same(network, module)
    assert [layer.name for layer in network.layers] == ["0", "2", "4", "6", "8", "10"]
    assert network.provenance.source == "safetensors"
    same(load(tmp_path / "weights.safetensors", architecture=[4, 8, 8, 8, 8, 8, 3]), module)
    same(load(tmp_path / "weights.safetensors", architecture=mlp(4, 8, 8, 8, 8, 8, 3)), module)


def test_safetensors_whose_order_only_shapes_tell(tmp_path: Path) -> None:
    parts = OrderedDict(output=nn.Linear(5, 2), hidden=nn.Linear(7, 5), entry=nn.Linear(3, 7))
    state = {f"{n}.{k}": v for n, part in parts.items() for k, v in part.state_dict().items()}
    network = load(safe(state, tmp_path))
    assert [layer.name for layer in network.layers] == ["entry", "hidden", "output"]
    state = {f"{n}.weight": torch.randn(4, 4) for n in ("alpha", "beta")}
    with pytest.raises(UnsupportedModelError, match="chain in more than one order, and safetensors keeps none"):
        load(safe(state, tmp_path))
    state = {"a.weight": torch.randn(4, 3), "b.weight": torch.randn(5, 3)}
    with pytest.raises(UnsupportedModelError, match="do not chain in any order"):
        load(safe(state, tmp_path))


@pytest.mark.parametrize("kind", [torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("file", ["pt", "safetensors"])
def test_precision_is_kept(kind: Any, file: str, tmp_path: Path) -> None:
    module = mlp(4, 8, 3).to(kind)
    state = module.state_dict()
    path = saved(state, tmp_path) if file == "pt" else safe(state, tmp_path)
    same(load(path), module)
    same(load(path, architecture=mlp(4, 8, 3)), module)


def test_widest_type_of_the_file_decides_for_a_module(tmp_path: Path) -> None:
    module = mlp(4, 8, 3).double()
    module[0].weight.data.add_(1e-12)
    same(load(saved(module.state_dict(), tmp_path), architecture=mlp(4, 8, 3)), module)


def test_into_a_module(tmp_path: Path) -> None:
    def make() -> Any:
        return nets.seeded(
            lambda: nn.Sequential(
                nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.LeakyReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(18, 3)
            ),
            seed=int(np.random.default_rng(len(list(tmp_path.iterdir()))).integers(100)),
        )

    trained, fresh = make(), nets.seeded(make, 5)
    before = {name: t.clone() for name, t in fresh.state_dict().items()}
    path = saved(trained.state_dict(), tmp_path)
    network = load(path, architecture=fresh, inputs={"input": (1, 8, 8)})
    rows = nets.spread_rows(30, 64)
    assert np.allclose(network.decision(rows), nets.wide(trained, rows, (1, 8, 8)), atol=1e-12)
    assert all(torch.equal(t, before[name]) for name, t in fresh.state_dict().items())
    assert network.provenance.source.startswith("PyTorch state_dict in PyTorch")
    assert network.provenance.path == str(path)
    assert network.faithfulness is not None
    assert network.faithfulness.against.endswith("in float64")


@pytest.mark.parametrize(
    ("wrap", "place"),
    [
        (lambda s: {"state_dict": s, "epoch": 3}, "['state_dict']"),
        (lambda s: {"model_state_dict": s, "optimizer_state_dict": adam(), "loss": 0.5}, "['model_state_dict']"),
        (lambda s: [s], "[0]"),
        (lambda s: {"a": {"b": [s]}}, "['a']['b'][0]"),
    ],
)
def test_wrapped(wrap: Any, place: str, tmp_path: Path) -> None:
    module = mlp(4, 8, 3)
    network = load(saved(wrap(module.state_dict()), tmp_path))
    same(network, module)
    assert any(f"are those at {place} of" in note for note in network.provenance.notes)


def adam() -> Any:
    module = nn.Linear(2, 1)
    best = torch.optim.Adam(module.parameters())
    module(torch.zeros(1, 2)).sum().backward()
    best.step()
    return best.state_dict()


def test_ambiguous_and_empty_checkpoints(tmp_path: Path) -> None:
    state = mlp(4, 8, 3).state_dict()
    with pytest.raises(
        UnsupportedModelError, match=r"2 mappings of tensors, at \['model'\], \['ema'\].*\n.*torch.save\("
    ):
        load(saved({"model": state, "ema": state}, tmp_path))
    with pytest.raises(UnsupportedModelError, match=r"holds no state_dict.*keys 'epoch'.*torch.save\(model.state_dict"):
        load(saved({"epoch": 3}, tmp_path))
    with pytest.raises(UnsupportedModelError, match=r"holds no state_dict.*Tensor"):
        load(saved(torch.zeros(3), tmp_path))


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod."])
def test_prefixes(prefix: str, tmp_path: Path) -> None:
    module = mlp(4, 8, 3)
    path = saved({prefix + name: t for name, t in module.state_dict().items()}, tmp_path)
    same(load(path), module)
    same(load(path, architecture=[4, 8, 3]), module)
    network = load(path, architecture=mlp(4, 8, 3))
    same(network, module)
    assert any(f"prefix {prefix!r}" in note for note in network.provenance.notes)


def test_one_layer_without_a_prefix_or_bias(tmp_path: Path) -> None:
    module = nn.Linear(3, 2, bias=False)
    network = load(saved(module.state_dict(), tmp_path))
    same(network, module)
    assert any("without a bias" in note for note in network.provenance.notes)


# ---------------------------------------------------------------- weights that do not fit


@pytest.mark.parametrize(
    ("architecture", "text"),
    [
        ([4, 8, 8, 3], r"'2.weight' has shape \(3, 8\); architecture=\[4, 8, 8, 3\] expects \(8, 8\).*for layer 2"),
        ([4, 8, 3, 2], r"3 layers, the file 2: missing weights of shape \(2, 3\)"),
        ([4, 8], r"1 layers, the file 2: '2.weight' \(3, 8\) would be left over"),
        ([8, 4, 3], r"'0.weight' has shape \(8, 4\).*expects \(4, 8\).*looks transposed"),
        ([4, 9, 3], r"'0.weight' has shape \(8, 4\).*expects \(9, 4\) \(outputs, inputs\) for layer 1\.$"),
    ],
)
def test_widths_that_do_not_fit(architecture: Any, text: str, tmp_path: Path) -> None:
    path = saved(mlp(4, 8, 3).state_dict(), tmp_path)
    with pytest.raises(MalformedModelError, match=text):
        load(path, architecture=architecture)


@pytest.mark.parametrize("architecture", ["mlp", [4], [4, 0, 2], [4.5, 2], [4, True], 7, [4, "8", 2]])
def test_architectures_that_are_none(architecture: Any, tmp_path: Path) -> None:
    path = saved(mlp(4, 8, 3).state_dict(), tmp_path)
    with pytest.raises(ArgumentError, match=r"architecture=\[inputs, 40, 40, outputs\]"):
        load(path, architecture=architecture)


def test_options_that_mean_nothing(tmp_path: Path) -> None:
    path = saved(mlp(4, 3).state_dict(), tmp_path)
    with pytest.raises(ArgumentError, match="means nothing for a file of weights"):
        load(path, output="y")


OTHERS: dict[str, tuple[Any, str]] = {
    "batch norm": (
        lambda: nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)),
        r"'1.weight' \(4,\), '1.bias' \(4,\), '1.running_mean' \(4,\)",
    ),
    "convolution": (lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.Linear(2, 1)), r"'0.weight' \(2, 1, 3, 3\)"),
    "prelu": (lambda: nn.Sequential(nn.Linear(3, 4), nn.PReLU(), nn.Linear(4, 1)), r"'1.weight' \(1,\)"),
    "layer norm": (lambda: nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4)), r"'1.weight' \(4,\)"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_more_than_linear_layers(name: str, tmp_path: Path) -> None:
    make, text = OTHERS[name]
    path = saved(make().state_dict(), tmp_path)
    with pytest.raises(
        UnsupportedModelError, match=f"holds more than linear layers: {text}.*Give architecture= the module"
    ):
        load(path)
    with pytest.raises(MalformedModelError, match=f"the file also holds {text}"):
        load(path, architecture=[3, 4, 1])


def test_branches_are_no_chain(tmp_path: Path) -> None:
    module = nn.ModuleDict({"left": nn.Linear(3, 4), "right": nn.Linear(3, 4), "top": nn.Linear(8, 1)})
    with pytest.raises(
        UnsupportedModelError, match=r"no chain.*'right.weight' \(4, 3\) takes 3 values, but 'left.weight'"
    ):
        load(saved(module.state_dict(), tmp_path))


def test_bias_of_another_length(tmp_path: Path) -> None:
    state = {"a.weight": torch.zeros(4, 3), "a.bias": torch.zeros(5)}
    with pytest.raises(
        MalformedModelError, match=r"'a.bias' has shape \(5,\); 'a.weight' of shape \(4, 3\) needs \(4,\)"
    ):
        load(saved(state, tmp_path))


def test_weights_that_do_not_fit_the_module(tmp_path: Path) -> None:
    path = saved(mlp(4, 8, 3).state_dict() | {"more": torch.zeros(2)}, tmp_path)
    with pytest.raises(MalformedModelError) as caught:
        load(path, architecture=mlp(8, 4, 3, 2))
    text = str(caught.value)
    assert "missing '4.weight', '4.bias'; not in the module: 'more'" in text
    assert "'0.weight' has shape (8, 4), the module (4, 8) (looks transposed)" in text
    assert "'2.weight' has shape (3, 8), the module (3, 4)" in text


@pytest.mark.parametrize("file", ["pt", "safetensors"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_missing_and_infinite_weights(file: str, bad: float, tmp_path: Path) -> None:
    state = dict(mlp(4, 8, 3).state_dict())
    state["2.weight"][0, 1] = bad
    path = saved(state, tmp_path) if file == "pt" else safe(state, tmp_path)
    with pytest.raises(MalformedModelError, match=r"'2.weight' holds 1 value that is NaN or infinite"):
        load(path)


def test_numbers_of_other_kinds(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match=r"'a.weight' is complex"):
        load(saved({"a.weight": torch.zeros(2, 2, dtype=torch.complex64)}, tmp_path))
    with pytest.raises(UnsupportedModelError, match=r"more than linear layers: 'a\.weight'"):
        load(saved({"a.weight": torch.zeros(2, 2, dtype=torch.int64)}, tmp_path))


# ---------------------------------------------------------------- files that could run


class Payload:
    """Unpickles to a call."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = (function, args)

    def __reduce__(self) -> Any:
        return self.call


def archive(data: bytes, path: Path, **members: bytes) -> Path:
    """A zip as torch.save writes it, around a pickle of ours."""
    with zipfile.ZipFile(path, "w") as out:
        out.writestr("archive/data.pkl", data)
        out.writestr("archive/version", "3\n")
        out.writestr("archive/byteorder", "little")
        for name, content in members.items():
            out.writestr(name, content)
    return path


def runner(name: str) -> Any:
    import builtins
    import importlib
    import shutil

    return {
        "os.system": (os.system, "touch {}"),
        "builtins.open": (open, "{}", "w"),
        "builtins.eval": (eval, "open('{}', 'w')"),
        "builtins.exec": (exec, "open('{}', 'w')"),
        "subprocess.Popen": (subprocess.Popen, ["touch", "{}"]),
        "importlib.import_module": (importlib.import_module, "antigravity"),
        "builtins.getattr": (builtins.getattr, "{}", "upper"),
        "shutil.rmtree": (shutil.rmtree, "{}"),
        "torch.load": (torch.load, "{}"),
        "torch.hub.load": (torch.hub.load, "{}", "x"),
    }[name]


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize(
    "name",
    [
        *("os.system", "builtins.open", "builtins.eval", "builtins.exec", "subprocess.Popen", "builtins.getattr"),
        *("importlib.import_module", "shutil.rmtree", "torch.load", "torch.hub.load"),
    ],
)
def test_payload_is_not_run(name: str, protocol: int, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    function, *args = runner(name)
    filled = [a.format(marker) if isinstance(a, str) else [w.format(marker) for w in a] for a in args]
    data = pickle.dumps({"weight": Payload(function, *filled)}, protocol)
    path = archive(data, tmp_path / "weights.pt")
    start = time.perf_counter()
    with pytest.raises(UnsafeFileError, match="could run code or reach outside the file; it was not read"):
        load(path)
    assert time.perf_counter() - start < 5
    assert not marker.exists()


@pytest.mark.parametrize(
    ("pickled", "text"),
    [
        (b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94h\x00h\x01\x93.", "os.system"),
        (b"\x80\x04(\x8c\x02os\x8c\x06system01\x93.", "os.system|computes the name|damaged"),
        (b"\x80\x02\x82\x01.", "by number"),
        (b"\x80\x04N\x8c\x06system\x93.", "computes the name"),
        (b"(S'touch x'\nios\nsystem\n.", "os.system"),
    ],
)
def test_disguised_globals(pickled: bytes, text: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=text):
        load(archive(pickled, tmp_path / "weights.pt"))


def test_whole_module_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = saved(mlp(4, 8, 3), tmp_path)
    with pytest.raises(UnsupportedModelError) as caught:
        load(path)
    text = str(caught.value)
    assert "class 'torch.nn.modules.container.Sequential'" in text
    assert f"model = torch.load({str(path)!r}, weights_only=False)  # only if you trust the file\n" in text
    assert 'torch.save(model.state_dict(), "weights.pt")' in text
    assert 'load("weights.pt", architecture=[' in text


class Own(nn.Module):
    pass


def test_own_class_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match=r"class '.*test_torch_files.Own'"):
        load(saved(Own(), tmp_path))
    path = saved({"args": argparse.Namespace(a=1), "state_dict": {}}, tmp_path)
    with pytest.raises(UnsupportedModelError, match=r"class 'argparse.Namespace'"):
        load(path)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_torchscript_is_refused_by_that_name(tmp_path: Path) -> None:
    path = tmp_path / "scripted.pt"
    torch.jit.script(mlp(2, 1)).save(str(path))
    with pytest.raises(UnsupportedModelError, match="TorchScript"):
        load(path)
    with pytest.raises(UnsupportedModelError, match="TorchScript archive, which holds code"):
        torch_files.read(path, "torch", _options())


def _options() -> Any:
    from relucidate.frameworks.reading import Options

    return Options()


# ---------------------------------------------------------------- files that are damaged or lie


@pytest.mark.parametrize("name", ["../evil", "/abs", "archive/../../x", "C:\\x", "..\\x"])
def test_members_outside_are_refused(name: str, tmp_path: Path) -> None:
    path = archive(pickle.dumps({}, 2), tmp_path / "weights.pt", **{name: b"x"})
    with pytest.raises(UnsafeFileError, match="outside the archive"):
        load(path)


def test_bomb(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("archive/data.pkl", pickle.dumps({}, 2))
        out.writestr("archive/data/0", bytes(50_000_000))
    with pytest.raises(UnsafeFileError, match="would grow from"):
        load(path)


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_two_pickles(tmp_path: Path) -> None:
    path = archive(pickle.dumps({}, 2), tmp_path / "weights.pt", **{"other/data.pkl": pickle.dumps({}, 2)})
    with pytest.raises(MalformedModelError, match=r"2 members data.pkl"):
        load(path)
    with zipfile.ZipFile(path, "a") as out:
        out.writestr("archive/data.pkl", b"")
    with pytest.raises(UnsafeFileError, match="two members of one name"):
        load(path)


def test_tensor_that_claims_more_than_is_stored(tmp_path: Path) -> None:
    one = torch.zeros(1)
    with pytest.raises(MalformedModelError, match=r"claims 1,000,000,000,000 values.*but 1 are stored"):
        load(saved({"a.weight": one.expand(10**6, 10**6)}, tmp_path))
    shared = torch.zeros(200, 200)
    with pytest.raises(MalformedModelError, match="more than the file has"):
        load(saved({f"{i}.weight": shared for i in range(1000)}, tmp_path))


def refused_or_consistent(path: Path) -> None:
    """A damaged file is refused, or what it says is consistent with itself."""
    try:
        network = load(path)
    except (ModelError, ArgumentError):
        return
    assert np.isfinite(network.decision(np.zeros((1, network.n_features)))).all()


@pytest.mark.parametrize("file", ["pt", "safetensors"])
def test_truncated(file: str, tmp_path: Path) -> None:
    state = mlp(4, 8, 3).state_dict()
    path = saved(state, tmp_path) if file == "pt" else safe(state, tmp_path)
    whole = path.read_bytes()
    for tenth in range(10):
        path.write_bytes(whole[: len(whole) * tenth // 10])
        with pytest.raises(ModelError):
            load(path)


@pytest.mark.parametrize("file", ["pt", "safetensors"])
def test_flipped_bits(file: str, tmp_path: Path) -> None:
    state = mlp(4, 8, 3).state_dict()
    path = saved(state, tmp_path) if file == "pt" else safe(state, tmp_path)
    whole = path.read_bytes()
    for at in np.random.default_rng(0).integers(8 * len(whole), size=150):
        damaged = bytearray(whole)
        damaged[at // 8] ^= 1 << (at % 8)
        path.write_bytes(damaged)
        refused_or_consistent(path)


def header(entries: dict[str, Any], data: bytes, tmp_path: Path) -> Path:
    text = json.dumps(entries).encode()
    path = tmp_path / "weights.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ({"dtype": "F32", "shape": [2, 2**40], "data_offsets": [0, 16]}, "cut off or damaged"),
        ({"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 99]}, "cut off or damaged"),
        ({"dtype": "F32", "shape": [2, -2], "data_offsets": [0, 16]}, "does not say"),
        ({"dtype": "F32", "shape": 4, "data_offsets": [0, 16]}, "does not say"),
        ({"dtype": "F32", "shape": [2, 2]}, "does not say"),
        ({"dtype": "F8_E4M3", "shape": [4, 4], "data_offsets": [0, 16]}, "type 'F8_E4M3'"),
        (7, "does not say"),
    ],
)
def test_headers_that_lie(entry: Any, text: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=text):
        load(header({"a.weight": entry}, bytes(16), tmp_path))


def test_headers_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    for raw, text in (
        (b'{"a": 1, "a": 2}', "occurs twice"),
        (b'{"a": [' + b"[" * 20, "no JSON"),
        (b'{"__metadata__": {}}', "holds no tensors"),
    ):
        path.write_bytes(len(raw).to_bytes(8, "little") + raw)
        with pytest.raises(ModelError, match=text):
            torch_files.read(path, "safetensors", _options())
    path.write_bytes((2**40).to_bytes(8, "little") + b'{"a')
    with pytest.raises(ModelError, match="cut off or damaged"):
        torch_files.read(path, "safetensors", _options())


# ---------------------------------------------------------------- packages that are missing


@pytest.mark.parametrize("package", ["torch", "safetensors"])
def test_missing_package(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = mlp(4, 3).state_dict()
    path = saved(state, tmp_path) if package == "torch" else safe(state, tmp_path)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=rf'pip install "relucidate\[{package}\]"'):
        load(path)


def test_static_checks_come_before_torch(tmp_path: Path) -> None:
    """A file that could run code is refused in an interpreter that never imports torch."""
    data = pickle.dumps(Payload(os.system, f"touch {tmp_path / 'marker'}"), 2)
    path = archive(data, tmp_path / "weights.pt")
    program = (
        "import sys, relucidate\n"
        f"try:\n    relucidate.load({str(path)!r})\nexcept relucidate.errors.UnsafeFileError:\n"
        "    print('torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.stdout.strip() == "False", run.stderr
    assert not (tmp_path / "marker").exists()


def test_archive_helper_is_read_by_torch_itself() -> None:
    """The archives that tests write are such as torch takes, so that refusals do not come from elsewhere."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as out:
        out.writestr("archive/data.pkl", pickle.dumps({"a": 1}, 2))
        out.writestr("archive/version", "3\n")
        out.writestr("archive/byteorder", "little")
    buffer.seek(0)
    assert torch.load(buffer, weights_only=True) == {"a": 1}
