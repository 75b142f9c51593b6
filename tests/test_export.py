"""What `export` writes is the same function in every format, is read back first, and leaves nothing where it fails."""

import builtins
import json
import os
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from relucidate import examples
from relucidate.errors import (
    ArgumentError,
    MissingDependencyError,
    OutputError,
    UnfaithfulError,
    UnsupportedModelError,
)
from relucidate.features import Feature, Features
from relucidate.frameworks import (
    exporting_arrays,
    exporting_onnx,
    exporting_torch,
    exporting_units,
    jsonfile,
    load,
)
from relucidate.frameworks.exporting import export
from relucidate.layers import Activation, Layer
from relucidate.network import Network, Provenance
from small_networks import SPECIMENS, mixed, network, random_network, rows_for

FILES = ["net.onnx", "net.pt", "net.pth", "net.safetensors", "net.json", "net.npz"]


def agree(ours: Any, theirs: Any) -> None:
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype == np.float64
    assert (np.abs(ours - theirs) <= 1e-10 * (1 + np.abs(theirs))).all()


def forward(weights: list[Any], biases: list[Any], rows: Any) -> Any:
    """The network, weights (inputs, outputs) and ReLU between layers."""
    a = rows
    for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        a = a @ weight + bias
        a = a if i == len(weights) - 1 else a * (a > 0)
    return a


def in_onnxruntime(model: Any, rows: Any) -> Any:
    import onnxruntime as ort

    source = model.SerializeToString() if hasattr(model, "SerializeToString") else model
    return ort.InferenceSession(source, providers=["CPUExecutionProvider"]).run(None, {"input": rows})[0]


def in_torch(module: Any, rows: Any) -> Any:
    import torch

    with torch.no_grad():
        return module(torch.from_numpy(rows)).numpy()


# ---------------------------------------------------------------- the same function everywhere


@pytest.mark.parametrize("name", SPECIMENS)
def test_onnx(name: str, tmp_path: Path) -> None:
    net = SPECIMENS[name]
    rows = rows_for(net, 200)
    path = export(net, tmp_path / "net.onnx")
    assert path == tmp_path / "net.onnx"
    agree(in_onnxruntime(path, rows), net.predict(rows))
    agree(in_onnxruntime(path, rows[:1]), net.predict(rows[:1]))
    back = load(path)
    agree(back.decision(rows), net.decision(rows))
    assert (back.link, back.feature_names, back.n_bits) == (net.link, net.feature_names, net.n_bits)
    # one-to-one between patterns, whatever the order of the neurons
    ours, theirs = net.patterns(rows).packed, back.patterns(rows).packed
    assert (
        len(np.unique(np.hstack([ours, theirs]), axis=0))
        == len(np.unique(ours, axis=0))
        == len(np.unique(theirs, axis=0))
    )


@pytest.mark.parametrize("name", SPECIMENS)
def test_torch(name: str, tmp_path: Path) -> None:
    import torch

    net = SPECIMENS[name]
    rows = rows_for(net, 200)
    module = export(net, format="torch")
    assert type(module) is torch.nn.Sequential
    assert not module.training
    agree(in_torch(module, rows), net.predict(rows))
    state = torch.load(export(net, tmp_path / "net.pt"), weights_only=True)
    assert list(state) == list(module.state_dict())
    for parameter in module.parameters():
        torch.nn.init.zeros_(parameter)
    module.load_state_dict(state)
    agree(in_torch(module, rows), net.predict(rows))


@pytest.mark.parametrize("name", SPECIMENS)
def test_arrays(name: str, tmp_path: Path) -> None:
    net = SPECIMENS[name]
    rows = rows_for(net, 200)
    weights, biases = export(net, format="arrays")
    agree(forward(weights, biases, rows), net.decision(rows))
    agree(load({"weights": weights, "biases": biases, "orientation": "in_out"}).decision(rows), net.decision(rows))
    with np.load(export(net, tmp_path / "net.npz"), allow_pickle=False) as archive:
        assert set(archive.files) == {f"{what}_{i}" for what in ("weights", "biases") for i in range(len(weights))}
        agree(
            forward(*[[archive[f"{w}_{i}"] for i in range(len(weights))] for w in ("weights", "biases")], rows),
            net.decision(rows),
        )


@pytest.mark.parametrize("name", SPECIMENS)
def test_safetensors(name: str, tmp_path: Path) -> None:
    import safetensors.numpy as numpy
    import torch

    net = SPECIMENS[name]
    state = numpy.load_file(export(net, tmp_path / "net.safetensors"))
    module = export(net, format="torch")
    assert set(state) == set(module.state_dict())
    for parameter in module.parameters():
        torch.nn.init.zeros_(parameter)
    module.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
    rows = rows_for(net, 100)
    agree(in_torch(module, rows), net.predict(rows))


@pytest.mark.parametrize("name", SPECIMENS)
def test_json(name: str, tmp_path: Path) -> None:
    net = SPECIMENS[name]
    back = load(export(net, tmp_path / "net.json"))
    rows = rows_for(net, 100)
    assert back.decision(rows).tobytes() == net.decision(rows).tobytes()


def pieces(m: int, seed: int = 0) -> Activation:
    """Neurons of every kind, among them pieces that have no name."""
    rng = np.random.default_rng(seed)
    makers: list[Callable[[], Activation]] = [
        lambda: Activation.of_kind("relu", 1),
        lambda: Activation.of_kind("identity", 1),
        lambda: Activation.of_kind("abs", 1),
        lambda: Activation.of_kind("leaky_relu", 1, rng.normal()),
        lambda: Activation.of_kind("clip", 1, *np.sort(rng.normal(size=2))),
        lambda: Activation.of_kind("clip", 1, rng.normal(), np.inf),
        lambda: Activation.of_kind("clip", 1, -np.inf, rng.normal()),
        lambda: Activation.of_kind("clip", 1, 1.0, 0.5),
        lambda: Activation.build(1, [], [rng.normal()], [rng.normal()]),
        lambda: Activation.build(1, [0], [0.5, 2.0], [0, 0]),
        lambda: Activation.build(1, [-2.5, 2.5], [0, 0.2, 0], [0, 0.5, 1.0]),
        lambda: Activation.build(1, [-1, 0, 2], [1, -1, 3, -2], [2, 0, 0, 10]),
        lambda: Activation.build(1, [1], [0, 1], [0, -1]),
    ]
    return Activation.joined([makers[i]() for i in rng.integers(len(makers), size=m)])


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32), st.lists(st.integers(1, 6), min_size=2, max_size=5), st.sampled_from(["identity", "logit"])
)
def test_any_network(seed: int, sizes: list[int], link: str) -> None:
    net = random_network(sizes, seed=seed, kind=lambda m: pieces(m, seed), link=link)
    rows = np.random.default_rng(seed).normal(size=(50, sizes[0])) * 3
    model = export(net, format="onnx")
    agree(in_onnxruntime(model, rows), net.predict(rows))
    agree(load(model).decision(rows), net.decision(rows))
    agree(forward(*export(net, format="arrays"), rows), net.decision(rows))
    agree(in_torch(export(net, format="torch"), rows), net.predict(rows))


@pytest.mark.parametrize("link", ["identity", "logit", "softmax", "log"])
@pytest.mark.parametrize("width", [1, 3])
def test_links(link: Any, width: int) -> None:
    net = random_network([4, 6, width], seed=3, link=link)
    rows = rows_for(net)
    if (link, width) == ("softmax", 1):
        with pytest.raises(UnsupportedModelError, match="a softmax over a single output is 1 for every row"):
            export(net, format="onnx")
        return
    model = export(net, format="onnx")
    agree(in_onnxruntime(model, rows), net.predict(rows))
    back = load(model)
    assert back.link == link
    agree(back.predict(rows), net.predict(rows))
    if link == "log":
        with pytest.raises(UnsupportedModelError, match=r"no module for the exponential.*Export to ONNX, or export"):
            export(net, format="torch")
        net = replace(net, link="identity")
    agree(in_torch(export(net, format="torch"), rows), net.predict(rows))


def test_what_overflows_behind_a_log_link_is_not_compared(tmp_path: Path) -> None:
    layers = list(random_network([2, 4, 1], seed=3).layers)
    layers[1] = Layer(layers[1].weight * 1e5, layers[1].bias, layers[1].activation)
    net = Network(tuple(layers), Features.plain(2), "log")
    for name in ("net.json", "net.npz"):
        export(net, tmp_path / name)


# ---------------------------------------------------------------- how it is written


def test_a_relu_network_is_written_with_its_own_numbers() -> None:
    net = SPECIMENS["deep"]
    model = export(net, format="onnx")
    assert [node.op_type for node in model.graph.node] == ["Gemm", "Relu"] * 3 + ["Gemm"]
    held = [onnx.numpy_helper.to_array(t) for t in model.graph.initializer]
    assert [a.tobytes() for a in held] == [a.tobytes() for layer in net.layers for a in (layer.weight, layer.bias)]
    (entry,) = model.graph.input
    assert entry.name == "input"
    assert entry.type.tensor_type.shape.dim[0].dim_param
    onnx.checker.check_model(model, full_check=True)
    weights, biases = export(net, format="arrays")
    assert [w.T.tobytes() for w in weights] == [layer.weight.T.copy().T.tobytes() for layer in net.layers]
    assert [b.tobytes() for b in biases] == [layer.bias.tobytes() for layer in net.layers]
    weights[0][:] = 0  # a copy
    assert net.layers[0].weight.all()


def test_layers_of_one_kind_keep_it() -> None:
    def ops(net: Network) -> list[str]:
        return [node.op_type for node in export(net, format="onnx").graph.node]

    assert ops(SPECIMENS["leaky"]) == ["Gemm", "PRelu", "Gemm", "PRelu", "Gemm"]
    assert ops(SPECIMENS["clip"]) == ["Gemm", "Clip", "Gemm", "Clip", "Gemm"]
    assert ops(SPECIMENS["hidden linear"]) == ["Gemm", "Gemm"]
    assert ops(random_network([3, 4, 1], kind="abs")) == ["Gemm", "Abs", "Gemm"]
    assert ops(random_network([3, 4, 1], kind=lambda m: Activation.of_kind("clip", m, 1, np.inf))) == [
        "Gemm",
        "Max",
        "Gemm",
    ]
    limits = [Activation.of_kind("clip", 1, -1.0 - i, 2.0) for i in range(40)]
    many = random_network([3, 40, 1], kind=lambda m: Activation.joined(limits))
    assert ops(many) == ["Gemm", "Max", "Min", "Gemm"]
    assert set(ops(SPECIMENS["mixed"])) == {"Gemm", "Relu", "PRelu", "Clip", "Abs", "Concat"}


def test_modules_of_torch() -> None:
    nn = import_module("torch").nn

    def kinds(net: Network) -> list[type]:
        return [type(module) for module in export(net, format="torch")]

    assert kinds(SPECIMENS["one logit"]) == [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear, nn.Sigmoid]
    assert kinds(SPECIMENS["five classes"])[-1] is nn.Softmax
    assert kinds(SPECIMENS["leaky"]) == [nn.Linear, nn.LeakyReLU, nn.Linear, nn.LeakyReLU, nn.Linear]
    assert kinds(SPECIMENS["prelu"]) == [nn.Linear, nn.PReLU, nn.Linear]
    assert kinds(SPECIMENS["clip"]) == [nn.Linear, nn.Hardtanh, nn.Linear, nn.Hardtanh, nn.Linear]
    assert kinds(SPECIMENS["hidden linear"]) == [nn.Linear, nn.Linear]
    assert kinds(SPECIMENS["mixed"]) == [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear]
    carried = random_network(
        [3, 4, 1], kind=lambda m: Activation.joined([Activation.of_kind("relu", 2), Activation.of_kind("identity", 2)])
    )
    assert kinds(carried) == [nn.Linear, nn.PReLU, nn.Linear]
    assert export(SPECIMENS["mixed"], format="torch")[0].out_features == 22  # each of 12 neurons is 1 or 2 ReLUs


def test_layers_without_neurons_or_of_constants() -> None:
    identity = Activation.of_kind("identity", 1)
    for hidden in (
        Layer(np.zeros((0, 3)), np.zeros(0), Activation.of_kind("relu", 0)),
        Layer(np.ones((2, 3)), np.zeros(2), Activation.of_kind("clip", 2, 1.0, 0.5)),
    ):
        m = len(hidden.bias)
        net = Network((hidden, Layer(np.full((1, m), 2.0), np.ones(1), identity)), Features.plain(3))
        rows = np.random.default_rng(0).normal(size=(5, 3))
        agree(in_onnxruntime(export(net, format="onnx"), rows), net.predict(rows))
        agree(forward(*export(net, format="arrays"), rows), net.predict(rows))
        agree(in_torch(export(net, format="torch"), rows), net.predict(rows))


def test_layers_may_share_a_name() -> None:
    """onnxruntime refuses two nodes of one name."""
    layers = tuple(replace(layer, name="same") for layer in SPECIMENS["mixed"].layers)
    net = replace(SPECIMENS["mixed"], layers=layers)
    rows = rows_for(net)
    agree(in_onnxruntime(export(net, format="onnx"), rows), net.predict(rows))


def test_weights_of_very_different_sizes(tmp_path: Path) -> None:
    """Where large terms cancel, rounding is no reason to refuse."""
    net = random_network([4, 30, 30, 2], seed=1, draw=lambda shape: np.random.default_rng(3).normal(size=shape) * 1e5)
    for name in FILES:
        export(net, tmp_path / name)


# ---------------------------------------------------------------- names and classes


def named() -> Network:
    net = random_network([2, 5, 3], seed=2, link="softmax")
    return replace(
        net, features=Features.plain(2, ["income (€)", 'a "b"']), classes=("yes", "no", 3), outputs=("yes", "no", "3")
    )


def test_names_and_classes_survive(tmp_path: Path) -> None:
    net = named()
    for name in ("net.onnx", "net.json"):
        back = load(export(net, tmp_path / name))
        assert (back.feature_names, back.classes, back.outputs) == (net.feature_names, net.classes, net.outputs)
        assert back.features.named
    back = load(export(net, format="onnx"))
    assert (back.feature_names, back.classes) == (net.feature_names, net.classes)
    unnamed = load(export(SPECIMENS["lines"], format="onnx"))
    assert not unnamed.features.named
    binary = replace(random_network([2, 5, 1], link="logit"), classes=tuple(np.array(["a", "b"])))
    assert load(export(binary, format="onnx")).classes == ("a", "b")


def test_names_are_in_the_metadata_of_safetensors(tmp_path: Path) -> None:
    import safetensors

    with safetensors.safe_open(export(named(), tmp_path / "net.safetensors"), framework="np") as file:
        metadata = file.metadata()
    assert json.loads(metadata["relucidate.feature_names"]) == ["income (€)", 'a "b"']
    assert json.loads(metadata["relucidate.classes"]) == ["yes", "no", 3]
    assert metadata["relucidate.link"] == "softmax"


def test_classes_that_no_file_holds(tmp_path: Path) -> None:
    net = random_network([2, 5, 1], link="logit")
    with pytest.raises(UnsupportedModelError, match="the class b'a' is a bytes; files hold text, numbers and booleans"):
        export(replace(net, classes=(b"a", b"b")), tmp_path / "net.onnx")
    with pytest.raises(UnsupportedModelError, match=r"the classes nan, 1\.0 are not all finite; only JSON files hold"):
        export(replace(net, classes=(np.nan, 1.0)), tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


def test_encoded_features(tmp_path: Path) -> None:
    import pandas as pd

    features = Features(
        (
            Feature("age", "age", impute=40.0),
            Feature("region=N", "region", "level", ("N",)),
            Feature("region=S", "region", "level", ("S",)),
        ),
        ("age", "region"),
        True,
    )
    net = replace(random_network([3, 5, 1], seed=2, link="logit"), features=features, provenance=Provenance("a test"))
    table = pd.DataFrame({"age": [30.0, np.nan], "region": ["S", "N"]})
    encoded = features.encode(table)
    back = load(export(net, tmp_path / "net.onnx"))
    assert back.feature_names == ("age", "region=N", "region=S")
    assert back.features.is_plain
    agree(back.predict(encoded), net.predict(table))
    agree(in_onnxruntime(tmp_path / "net.onnx", encoded), net.predict(table))
    back = load(export(net, tmp_path / "net.json"))
    assert back.features == features
    agree(back.predict(table), net.predict(table))
    agree(forward(*export(net, format="arrays"), encoded), net.decision(table))


def test_the_bundled_network(tmp_path: Path) -> None:
    example = examples.home_lending()
    net = load(example.model)
    back = load(export(net, tmp_path / "again.onnx"))
    assert back.feature_names == net.feature_names
    assert back.classes == net.classes
    assert back.faithfulness is not None
    assert back.faithfulness.max_difference < 1e-12


# ---------------------------------------------------------------- formats and paths


def test_the_same_network_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in FILES:
        first = export(SPECIMENS["mixed"], tmp_path / name).read_bytes()
        assert export(SPECIMENS["mixed"], tmp_path / name).read_bytes() == first


def test_a_format_may_be_named(tmp_path: Path) -> None:
    net = SPECIMENS["lines"]
    assert load(export(net, tmp_path / "model", format="onnx")).n_features == 2
    assert load(export(net, str(tmp_path / "model.v2"), format="json")).n_features == 2
    assert export(net, tmp_path / "NET.ONNX").exists()
    assert export(net, tmp_path / "net.json", format="json").exists()


@pytest.mark.parametrize(
    ("path", "format", "message"),
    [
        (
            None,
            None,
            "neither path nor format was given. Give the path of a file, or format='onnx', 'torch' or 'arrays'",
        ),
        (None, "json", "format='json' needs a path"),
        (None, "safetensors", "format='safetensors' needs a path"),
        (None, "keras", "format='keras'; expected one of 'onnx', 'torch', 'safetensors', 'json', 'arrays'"),
        ("net.onnx", "torch", "format='torch', but a name that ends in .onnx says 'onnx'. Rename the file"),
        ("net.npz", "json", "says 'arrays'"),
        ("net.h5", None, "'net.h5' names no format; expected a name that ends in .onnx, .pt"),
        ("net", None, "'net' names no format"),
        (3, "onnx", "path is a int; expected the name of a file"),
    ],
)
def test_formats_that_are_none(path: Any, format: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        export(SPECIMENS["lines"], path, format=format)


def test_only_networks_are_exported() -> None:
    with pytest.raises(
        ArgumentError, match=r"export takes a Network; got a builtins\.str\. Load it first: export\(rel"
    ):
        export("model.onnx", "again.onnx")  # type: ignore[arg-type]


def test_sparse_layers_too_large_to_be_dense(tmp_path: Path) -> None:
    n = 10_000
    weight = csr_array((np.ones(n), (np.arange(n), np.arange(n))), shape=(n, n))
    hidden = Layer(weight, np.zeros(n), Activation.of_kind("relu", n), "conv")
    net = Network((hidden, Layer(np.ones((1, n)), np.zeros(1), Activation.of_kind("identity", 1))), Features.plain(n))
    for name in ("net.onnx", "net.npz", "net.pt", "net.safetensors"):
        with pytest.raises(
            UnsupportedModelError, match=r"100,000,000 numbers when written dense \('conv' is 10,000 × 10"
        ):
            export(net, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_weights_too_large_for_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting_onnx, "LARGEST", 100)
    with pytest.raises(
        UnsupportedModelError, match="the weights take 168 bytes in float64, and an ONNX file holds at most 100"
    ):
        export(SPECIMENS["lines"], format="onnx")


# ---------------------------------------------------------------- failing


@pytest.mark.parametrize("name", FILES)
def test_what_does_not_equal_the_network_is_not_left(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slip in writing is found by reading back, and an earlier file stays."""
    net = SPECIMENS["one logit"]
    export(SPECIMENS["lines"], tmp_path / name)
    before = (tmp_path / name).read_bytes()
    other = replace(net, layers=(*net.layers[:-1], replace(net.layers[-1], bias=net.layers[-1].bias + 1e-6)))
    real = exporting_units.in_stages
    for module in (exporting_arrays, exporting_onnx, exporting_torch):
        monkeypatch.setattr(module, "in_stages", lambda _, units_of: real(other, units_of))
    written = jsonfile.write
    monkeypatch.setattr(jsonfile, "write", lambda n: written(other if n is net else n))
    with pytest.raises(UnfaithfulError) as caught:
        export(net, tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert ".relucidate-tmp" not in str(caught.value)
    assert "withheld" in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == before


@pytest.mark.parametrize("format", ["onnx", "torch", "arrays"])
def test_objects_are_compared_too(format: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = exporting_units.in_stages

    def slip(net: Network, units_of: Any) -> Any:
        stages, weight, bias = real(net, units_of)
        return stages, weight * (1 + 1e-7), bias

    for module in (exporting_arrays, exporting_onnx, exporting_torch):
        monkeypatch.setattr(module, "in_stages", slip)
    with pytest.raises(UnfaithfulError, match="differs from what was read back"):
        export(SPECIMENS["deep"], format=format)


def test_names_that_are_lost_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting_onnx, "metadata_of", lambda _: {})
    with pytest.raises(UnfaithfulError, match=r"the ONNX model: its feature_names are read back as \('x0', 'x1'\)"):
        export(named(), format="onnx")


@pytest.mark.parametrize("name", FILES)
def test_a_failing_write_leaves_nothing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    def full(self: Path, data: bytes) -> int:
        with builtins.open(self, "wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="could not be completed: the disk is full"):
        export(SPECIMENS["lines"], tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_paths_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"there is no folder .*none\. Create it first"):
        export(SPECIMENS["lines"], tmp_path / "none" / "net.onnx")
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        export(SPECIMENS["lines"], tmp_path / "folder.onnx")
    os.symlink(tmp_path / "target.onnx", tmp_path / "link.onnx")
    with pytest.raises(OutputError, match="writes nothing through links"):
        export(SPECIMENS["lines"], tmp_path / "link.onnx")
    assert not (tmp_path / "target.onnx").exists()


@pytest.mark.parametrize(("name", "package"), [("net.pt", "torch"), ("net.safetensors", "safetensors")])
def test_packages_that_are_not_installed(
    name: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(
        MissingDependencyError, match=rf"needs {package}, which is not installed. Install it with\s+pip inst"
    ):
        export(SPECIMENS["lines"], tmp_path / name)
    if package == "torch":
        with pytest.raises(MissingDependencyError, match="A PyTorch module needs torch"):
            export(SPECIMENS["lines"], format="torch")
    assert not list(tmp_path.iterdir())


def test_onnx_without_onnxruntime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    net = SPECIMENS["mixed"]
    back = load(export(net, tmp_path / "net.onnx"))
    agree(back.decision(rows_for(net)), net.decision(rows_for(net)))


def test_what_onnxruntime_cannot_run_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime as ort

    def refuse(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no kernel for PRelu")

    monkeypatch.setattr(ort, "InferenceSession", refuse)
    with pytest.raises(
        UnsupportedModelError, match=r"net\.onnx: onnxruntime .* cannot run what was written \('no kernel"
    ):
        export(SPECIMENS["lines"], tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


def test_a_large_network(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sizes = [300, 500, 500, 10]
    weights = [rng.normal(size=(m, k)) / np.sqrt(k) for k, m in pairwise(sizes)]
    net = network(weights, [rng.normal(size=m) for m in sizes[1:]], kind=mixed, link="softmax")
    rows = rng.normal(size=(20, 300))
    agree(in_onnxruntime(export(net, tmp_path / "net.onnx"), rows), net.predict(rows))
    agree(forward(*export(net, format="arrays"), rows), net.decision(rows))
