"""ONNX files made to do harm, or damaged: refused with a message, nothing opened that is not theirs, no memory taken."""

import hashlib
import itertools
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnx_models import floats, mlp, model_of, node, run
from relucidate.errors import (
    ArgumentError,
    MalformedModelError,
    ModelError,
    RelucidateError,
    UnfaithfulError,
    UnsafeFileError,
    UnsupportedModelError,
)
from relucidate.frameworks import load

EXTERNAL = TensorProto.EXTERNAL


# ---------------------------------------------------------------- tensors in other files


def moved_out(tensor: Any, location: str, **entries: Any) -> None:
    """Make a tensor refer to a file."""
    tensor.ClearField("raw_data")
    tensor.data_location = EXTERNAL
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=str(value))


def stored(folder: Path, location: str = "weights.bin", written: str | None = None, **entries: Any) -> tuple[Path, Any]:
    """A file whose first weight lies in another, and the model with the weight inside."""
    whole = mlp("Sigmoid")
    data = whole.graph.initializer[0].raw_data
    place = folder / (location if written is None else written)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)
    model = onnx.ModelProto()
    model.CopyFrom(whole)
    moved_out(model.graph.initializer[0], location, **entries)
    path = folder / "net.onnx"
    path.write_bytes(model.SerializeToString())
    return path, whole


@pytest.mark.parametrize("location", ["weights.bin", "deep/er/weights.bin", "./weights.bin", "ünï .bin"])
def test_data_beside_the_model_is_read(location: str, tmp_path: Path) -> None:
    path, whole = stored(tmp_path, location)
    network = load(path)
    x = floats(9, 3)
    assert np.allclose(network.predict(x), run(whole, {"x": x}), atol=1e-6)
    assert network.provenance.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    digest = hashlib.sha256((tmp_path / location).read_bytes()).hexdigest()
    assert any(digest in note and Path(location).name in note for note in network.provenance.notes)
    assert network.faithfulness is not None
    assert network.faithfulness.against.startswith("onnxruntime")


def test_offsets_and_lengths(tmp_path: Path) -> None:
    whole = mlp("Sigmoid")
    path = tmp_path / "net.onnx"
    onnx.save(whole, path, save_as_external_data=True, location="all.bin", size_threshold=0)
    assert sum(t.data_location == EXTERNAL for t in onnx.load(path, load_external_data=False).graph.initializer) == 4
    x = floats(9, 3)
    assert np.allclose(load(path).predict(x), run(onnx.load(path), {"x": x}), atol=1e-6)


def test_data_of_an_attribute_is_read_or_refused_alike(tmp_path: Path) -> None:
    constant = node("Constant", "", "w", value=numpy_helper.from_array(floats(3, 2), "inside"))
    model = model_of([constant, node("MatMul", "x w", "m"), node("Relu", "m", "y")])
    tensor = model.graph.node[0].attribute[0].t
    (tmp_path / "w.bin").write_bytes(tensor.raw_data)
    path = tmp_path / "net.onnx"
    weight = numpy_helper.to_array(tensor)
    moved_out(tensor, "w.bin")
    path.write_bytes(model.SerializeToString())
    x = floats(5, 3)
    assert np.allclose(load(path).predict(x), np.maximum(x @ weight, 0), atol=1e-6)
    tensor.external_data[0].value = "../w.bin"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UnsafeFileError, match="'inside' is stored outside"):
        load(path)


OUTSIDE = (
    *("../secret", "/etc/hostname", "a/../../s", "..", ".", "", "a//b", "a/", "C:secret", "C:\\secret", "..\\secret"),
    *("a\\b", "\\\\host\\share", "file\0.bin", "./../secret", "a/./../../b"),
)


@pytest.mark.parametrize("location", OUTSIDE)
def test_locations_outside_the_folder_are_refused(location: str, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "a").mkdir(parents=True)
    secret = tmp_path / "secret"
    secret.write_bytes(mlp().graph.initializer[0].raw_data)
    path, _ = stored(folder, location, written="ok")
    with pytest.raises(UnsafeFileError, match=r"net\.onnx: tensor 'w1' is stored outside the file .*Embed the weights"):
        load(path)


def test_links_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    path, whole = stored(folder)
    data = folder / "weights.bin"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "weights.bin").write_bytes(whole.graph.initializer[0].raw_data)

    data.unlink()
    data.symlink_to(elsewhere / "weights.bin")
    with pytest.raises(UnsafeFileError, match=r"a link \('weights\.bin'\)"):
        load(path)
    data.unlink()
    os.link(elsewhere / "weights.bin", data)
    with pytest.raises(UnsafeFileError, match="a hard link"):
        load(path)
    data.unlink()
    data.symlink_to(folder / "nothing")
    with pytest.raises(UnsafeFileError, match="a link"):
        load(path)

    path, _ = stored(folder, "sub/weights.bin")
    (folder / "sub" / "weights.bin").unlink()
    (folder / "sub").rmdir()
    (folder / "sub").symlink_to(elsewhere)
    with pytest.raises(UnsafeFileError, match=r"a link \('sub'\)"):
        load(path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    path, _ = stored(tmp_path)
    data = tmp_path / "weights.bin"
    data.unlink()
    data.mkdir()
    with pytest.raises(UnsafeFileError, match="no regular file"):
        load(path)
    data.rmdir()
    os.mkfifo(data)
    with pytest.raises(UnsafeFileError, match="no regular file"):
        load(path)
    data.unlink()
    with pytest.raises(MalformedModelError, match=r"'weights\.bin', which cannot be read: No such file"):
        load(path)
    path, _ = stored(tmp_path, "net.onnx/weights.bin", written="other")
    with pytest.raises(UnsafeFileError, match="no regular file"):
        load(path)


def test_a_model_reached_through_a_link_still_keeps_to_its_folder(tmp_path: Path) -> None:
    path, whole = stored(tmp_path / "store")
    (tmp_path / "link.onnx").symlink_to(path)
    with pytest.raises(MalformedModelError, match="No such file"):
        load(tmp_path / "link.onnx")
    (tmp_path / "folder").symlink_to(tmp_path / "store")
    x = floats(3, 3)
    assert np.allclose(load(tmp_path / "folder" / "net.onnx").predict(x), run(whole, {"x": x}), atol=1e-6)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"offset": 4}, "takes 60 bytes"),
        ({"offset": 61, "length": 60}, "has 60"),
        ({"offset": 2**62, "length": 60}, "has 60|stored outside the file with the offset"),
        ({"offset": -4}, "offset"),
        ({"offset": "four"}, "offset"),
        ({"offset": "1" * 5000}, "offset"),
        ({"length": 56}, "declares 56"),
        ({"length": 2**50}, "declares 1,125"),
        ({"length": "0x3c"}, "length"),
        ({"length": "٦٠"}, "length"),
    ],
)
def test_data_of_another_size_is_refused(entries: dict[str, Any], message: str, tmp_path: Path) -> None:
    path, _ = stored(tmp_path, **entries)
    with pytest.raises(MalformedModelError, match=rf"tensor 'w1'.*({message})"):
        load(path)


def test_data_cut_short_is_refused(tmp_path: Path) -> None:
    path, whole = stored(tmp_path, length=60)
    (tmp_path / "weights.bin").write_bytes(whole.graph.initializer[0].raw_data[:-1])
    with pytest.raises(MalformedModelError, match=r"takes 60 bytes of 'weights\.bin' from byte 0, which has 59"):
        load(path)


@pytest.mark.parametrize("dims", [[2, 2**40], [2**62, 2**62], [-1, 5], [0, 5], [2**31]])
def test_declared_dimensions_are_checked_before_reading(dims: list[int], tmp_path: Path) -> None:
    path, _ = stored(tmp_path)
    model = onnx.load(path, load_external_data=False)
    del model.graph.initializer[0].dims[:]
    model.graph.initializer[0].dims.extend(dims)
    path.write_bytes(model.SerializeToString())
    with pytest.raises((MalformedModelError, UnsupportedModelError)):
        load(path)


def test_a_model_in_memory_has_no_folder(tmp_path: Path) -> None:
    path, _ = stored(tmp_path)
    model = onnx.load(path, load_external_data=False)
    with pytest.raises(UnsafeFileError, match=r"in memory has no folder.*load_external_data_for_model"):
        load(model)
    onnx.load_external_data_for_model(model, str(tmp_path))
    assert load(model).n_features == 3


def test_one_file_read_again_and_again_is_refused(tmp_path: Path) -> None:
    """A kilobyte of tensors that all lie on the same megabytes."""
    data = tmp_path / "w.bin"
    data.write_bytes(bytes(2**22))
    model = mlp()
    for i in range(200):
        tensor = TensorProto(name=f"t{i}", data_type=TensorProto.FLOAT, dims=[2**20])
        moved_out(tensor, "w.bin")
        model.graph.initializer.append(tensor)
    path = tmp_path / "net.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UnsafeFileError, match="again and again"):
        load(path)


@pytest.mark.parametrize("part", ["values", "indices"])
@pytest.mark.parametrize("location", ["../secret", "w.bin"])
def test_sparse_tensors_in_other_files_are_refused(part: str, location: str, tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(8))
    values = numpy_helper.from_array(np.ones(2, np.float32), "s")
    indices = numpy_helper.from_array(np.array([0, 3]), "i")
    moved_out(values if part == "values" else indices, location)
    sparse = onnx.SparseTensorProto(values=values, indices=indices, dims=[3, 5])
    path = tmp_path / "net.onnx"
    model = mlp()
    model.graph.sparse_initializer.append(sparse)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UnsafeFileError, match=r"sparse initialisers \('s'\) stored outside"):
        load(path)
    model = mlp()
    holder = helper.make_node("Constant", [], ["s"], name="holder")
    holder.attribute.append(helper.make_attribute("sparse_value", sparse))
    model.graph.node.insert(0, holder)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UnsafeFileError, match="'holder': sparse tensors"):
        load(path)


def test_sparse_tensors_inside_are_refused() -> None:
    model = mlp()
    values = numpy_helper.from_array(np.ones(2, np.float32), "s")
    indices = numpy_helper.from_array(np.array([0, 3]), "i")
    model.graph.sparse_initializer.append(onnx.SparseTensorProto(values=values, indices=indices, dims=[3, 5]))
    with pytest.raises(UnsupportedModelError, match=r"sparse initialisers \('s'\).*dense"):
        load(model)


def test_functions_are_looked_into(tmp_path: Path) -> None:
    body = [node("Constant", "", "k", value=numpy_helper.from_array(floats(3), "k")), node("Add", "a k", "c")]
    moved_out(body[0].attribute[0].t, "../secret")
    model = model_of([node("F", "x", "y", domain="mine")], outputs={"y": [None, 3]}, infer=False)
    model.functions.append(helper.make_function("mine", "F", ["a"], ["c"], body, [helper.make_opsetid("", 17)]))
    model.opset_import.append(helper.make_opsetid("mine", 1))
    path = tmp_path / "net.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UnsafeFileError, match="'k' is stored outside"):
        load(path)


# ---------------------------------------------------------------- small files that ask for much


def huge_shape(op: str) -> Any:
    """A kilobyte that makes a tensor of 10^12 numbers or more."""
    big = 2**20
    makers: dict[str, tuple[list[Any], dict[str, Any]]] = {
        "ConstantOfShape": (
            [node("ConstantOfShape", "s", "k"), node("ReduceSum", "k", "r"), node("Add", "x r", "y")],
            {"s": np.array([big, big])},
        ),
        "Expand of a constant": (
            [node("Expand", "one s", "k"), node("ReduceSum", "k", "r"), node("Add", "x r", "y")],
            {"one": np.ones(1, np.float32), "s": np.array([big, big])},
        ),
        "Expand": ([node("Relu", "x", "z"), node("Expand", "z s", "y")], {"s": np.array([1, big, big, 3])}),
        "Tile of a constant": (
            [node("Tile", "one s", "k"), node("ReduceSum", "k", "r"), node("Add", "x r", "y")],
            {"one": np.ones((1, 1), np.float32), "s": np.array([big, big])},
        ),
        "Tile": ([node("Relu", "x", "z"), node("Tile", "z s", "y")], {"s": np.array([1, big * big])}),
        "Tile of the input": ([node("Tile", "x s", "y")], {"s": np.array([1, big * big])}),
        "Pad": ([node("Relu", "x", "z"), node("Pad", "z p", "y")], {"p": np.array([0, big * big, 0, 0])}),
        "Pad by the edge": (
            [node("Relu", "x", "z"), node("Pad", "z p", "y", mode="edge")],
            {"p": np.array([0, big * big, 0, 0])},
        ),
        "Pad of a constant": (
            [node("Pad", "one p", "k"), node("ReduceSum", "k", "r"), node("Add", "x r", "y")],
            {"one": np.ones(1, np.float32), "p": np.array([big * big, 0])},
        ),
        "Range": (
            [node("Range", "a b c", "k"), node("ReduceSum", "k", "r"), node("Add", "x r", "y")],
            {"a": np.float32(0), "b": np.float32(1e12), "c": np.float32(1)},
        ),
        "Resize": (
            [node("Relu", "x", "z"), node("Resize", "z - f", "y")],
            {"f": np.array([1, 1e12], np.float32)},
        ),
        "Gather of a constant": (
            [
                node("Gather", "k i", "t"),
                node("Gather", "t i", "u", axis=1),
                node("ReduceSum", "u", "r"),
                node("Add", "x r", "y"),
            ],
            {"k": np.ones((2, 2), np.float32), "i": np.zeros(3000, np.int64)},
        ),
        "outer sums": (
            [
                *(node("ConstantOfShape", "s", "k"), node("Transpose", "k", "t"), node("Add", "k t", "u")),
                *(node("ReduceSum", "u", "r"), node("Add", "x r", "y")),
            ],
            {"s": np.array([1, 2**21])},
        ),
        "outer product": (
            [
                *(node("ConstantOfShape", "s", "k"), node("Transpose", "k", "t"), node("MatMul", "t k", "u")),
                *(node("ReduceSum", "u", "r"), node("Add", "x r", "y")),
            ],
            {"s": np.array([1, 2**21])},
        ),
        "many constants": (
            [
                *(node("ConstantOfShape", "s", f"k{i}") for i in range(400)),
                node("Concat", " ".join(f"k{i}" for i in range(400)), "k", axis=0),
                *(node("ReduceSum", "k", "r"), node("Add", "x r", "y")),
            ],
            {"s": np.array([2**22])},
        ),
        "many copies": (
            [
                *(node("Expand", "x s", "z"), node("Relu", "z", "r")),
                *(node("Neg", "r", f"k{i}") for i in range(400)),
                node("Sum", " ".join(f"k{i}" for i in range(400)), "y"),
            ],
            {"s": np.array([2**16, 3])},
        ),
        "outer sum with the input": (
            [node("Unsqueeze", "x a", "u"), node("Add", "u k", "v"), node("Relu", "v", "y")],
            {"a": np.array([2]), "k": np.zeros((1, 2**19), np.float32)},
        ),
        "transposed convolution": (
            [node("Unsqueeze", "x a", "u"), node("ConvTranspose", "u w", "y", strides=[2**40])],
            {"a": np.array([1]), "w": np.ones((1, 1, 2), np.float32)},
        ),
        "dilated transposed convolution": (
            [node("Unsqueeze", "x a", "u"), node("ConvTranspose", "u w", "y", dilations=[2**40])],
            {"a": np.array([1]), "w": np.ones((1, 1, 2), np.float32)},
        ),
        "padded convolution": (
            [node("Unsqueeze", "x a", "u"), node("Conv", "u w", "y", pads=[2**40, 2**40])],
            {"a": np.array([1]), "w": np.ones((1, 1, 2), np.float32)},
        ),
        "padded pooling": (
            [
                node("Unsqueeze", "x a", "u"),
                node("MaxPool", "u", "y", kernel_shape=[2**40], pads=[2**40 - 1, 2**40 - 1]),
            ],
            {"a": np.array([1])},
        ),
        "padded averages": (
            [
                node("Unsqueeze", "x a", "u"),
                node("AveragePool", "u", "y", kernel_shape=[2**40], pads=[2**40 - 1, 2**40 - 1], count_include_pad=1),
            ],
            {"a": np.array([1])},
        ),
        "convolved constant": (
            [
                *(node("Unsqueeze", "k a", "u"), node("Conv", "u w", "v", pads=[2**40, 2**40])),
                *(node("ReduceSum", "v", "r"), node("Add", "x r", "y")),
            ],
            {"k": np.ones((1, 3), np.float32), "a": np.array([1]), "w": np.ones((1, 1, 2), np.float32)},
        ),
    }
    if op == "":
        return makers
    nodes, constants = makers[op]
    return model_of(nodes, constants, outputs={"y": [None, None]}, opset=18, infer=False)


MEASURED = """
import resource, sys, time
import relucidate.frameworks.onnx, onnxruntime
from relucidate.frameworks import load
from relucidate.errors import ModelError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
worst = 0
for path in sys.argv[1:]:
    start = time.perf_counter()
    try:
        load(path)
        print("accepted", path)
    except ModelError as problem:
        pass
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    if grown > 200 or time.perf_counter() - start > 5:
        print("grown", round(grown), "MB", round(time.perf_counter() - start, 1), "s", path)
        break
"""


def test_small_files_do_not_take_much_memory(tmp_path: Path) -> None:
    paths = []
    for i, op in enumerate(huge_shape("")):
        path = tmp_path / f"{i:02d} {op}.onnx"
        onnx.save(huge_shape(op), path)
        if op not in ("outer sum with the input", "Gather of a constant"):  # a large weight, indices
            assert path.stat().st_size < 25_000
        paths.append(str(path))
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *paths], capture_output=True, text=True, check=True, timeout=300
    )
    assert done.stdout == ""


@pytest.mark.parametrize("op", list(huge_shape("")))
def test_small_files_that_ask_for_much_are_refused_by_node(op: str) -> None:
    with pytest.raises(ModelError, match=r"node \d+ of \d+|onnx\.checker"):
        load(huge_shape(op))


# ---------------------------------------------------------------- graphs that are none


def test_names_given_twice() -> None:
    model = mlp()
    model.graph.initializer.append(model.graph.initializer[0])
    with pytest.raises(MalformedModelError, match="'w1' is defined twice"):
        load(model)
    model = mlp()
    model.graph.input.append(model.graph.input[0])
    with pytest.raises(ModelError):
        load(model)
    model = mlp()
    model.graph.node[1].output[0] = "m"
    with pytest.raises(MalformedModelError, match="exists already"):
        load(model)


def test_nodes_out_of_order() -> None:
    model = mlp()
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(reversed(nodes))
    with pytest.raises(MalformedModelError, match="out of order"):
        load(model)


@pytest.mark.parametrize(
    "harm",
    [
        lambda m: m.graph.node[0].input.append("w1"),
        lambda m: m.graph.node[0].ClearField("input"),
        lambda m: m.graph.node[0].ClearField("output"),
        lambda m: m.graph.node[0].ClearField("op_type"),
        lambda m: m.ClearField("opset_import"),
        lambda m: m.ClearField("ir_version"),
        lambda m: m.graph.initializer[0].ClearField("dims"),
        lambda m: m.graph.initializer[0].ClearField("data_type"),
        lambda m: m.graph.initializer[0].dims.append(7),
        lambda m: setattr(m.graph.initializer[0], "data_type", TensorProto.COMPLEX128),
        lambda m: setattr(m.graph.initializer[0], "data_type", 99),
        lambda m: setattr(m.graph.initializer[0], "raw_data", b"123"),
        lambda m: setattr(m.opset_import[0], "version", 10**6),
        lambda m: setattr(m.graph.node[0], "domain", "com.example"),
        lambda m: m.graph.node[3].attribute.append(helper.make_attribute("transA", "text")),
        lambda m: m.graph.ClearField("output"),
        lambda m: m.graph.ClearField("input"),
    ],
)
def test_damaged_structure_is_refused(harm: Callable[[Any], Any]) -> None:
    model = mlp()
    harm(model)
    with pytest.raises(RelucidateError):
        load(model)


# ---------------------------------------------------------------- damage of single bytes


def image_net() -> bytes:
    nodes = [
        node("Conv", "x w b", "c", pads=[1, 1, 1, 1]),
        node("Relu", "c", "r"),
        node("MaxPool", "r", "m", kernel_shape=[2, 2], strides=[2, 2]),
        node("Flatten", "m", "f"),
        node("Gemm", "f v", "g"),
        node("Softmax", "g", "y"),
    ]
    constants = {"w": floats(2, 1, 3, 3), "b": floats(2), "v": floats(8, 3)}
    return bytes(model_of(nodes, constants, inputs={"x": [None, 1, 4, 4]}).SerializeToString())


DAMAGE = (MalformedModelError, UnsupportedModelError, UnsafeFileError, UnfaithfulError, ArgumentError)


def test_every_truncation_is_refused_or_of_another_hash(tmp_path: Path) -> None:
    data = image_net()
    path = tmp_path / "net.onnx"
    path.write_bytes(data)
    whole = load(path)
    for tenth in range(10):
        path.write_bytes(data[: len(data) * tenth // 10])
        with pytest.raises(DAMAGE):
            load(path)
    for missing in range(1, 25):
        path.write_bytes(data[:-missing])
        try:
            assert load(path).provenance.sha256 != whole.provenance.sha256
        except DAMAGE:
            continue


def test_flipped_bits_are_refused_or_read_as_what_they_say(tmp_path: Path) -> None:
    """A file that still is a network is that network: it equals onnxruntime on the very bytes."""
    data = bytearray(image_net())
    rng = np.random.default_rng(1)
    path = tmp_path / "net.onnx"
    whole = hashlib.sha256(data).hexdigest()
    refused = 0
    for _ in range(300):
        at, bit = int(rng.integers(len(data))), int(rng.integers(8))
        data[at] ^= 1 << bit
        path.write_bytes(bytes(data))
        data[at] ^= 1 << bit
        try:
            network = load(path)
        except DAMAGE:
            refused += 1
            continue
        assert network.faithfulness is not None
        assert network.provenance.sha256 != whole
        _, offsets = network.affine_maps(network.patterns(np.zeros((1, 16))))
        assert np.allclose(offsets, network.decision(np.zeros((1, 16))), rtol=1e-9)
    assert 50 < refused < 300


# ---------------------------------------------------------------- numbers


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", ["w", "b", "v"])
def test_weights_that_are_no_numbers(bad: float, place: str) -> None:
    model = onnx.ModelProto.FromString(image_net())
    tensor = next(t for t in model.graph.initializer if t.name == place)
    array = numpy_helper.to_array(tensor).copy()
    array.flat[0] = bad
    tensor.CopyFrom(numpy_helper.from_array(array, place))
    with pytest.raises(MalformedModelError, match="NaN or infinity"):
        load(model)


def test_a_chain_of_convolutions_is_refused_before_any_is_written_out(tmp_path: Path) -> None:
    """Each of them alone would do; together they would take gigabytes, for a file of 18 kB."""
    weight = helper.make_tensor("w", onnx.TensorProto.FLOAT, [64, 64, 1, 1], [0.1] * 4096)
    names = ["x", *(f"a{i}" for i in range(30))]
    nodes = [helper.make_node("Conv", [a, "w"], [b], kernel_shape=[1, 1]) for a, b in itertools.pairwise(names)]
    declared = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1, 64, 40, 40]) for n in ("x", names[-1])]
    graph = helper.make_graph(nodes, "g", declared[:1], declared[1:], [weight])
    path = tmp_path / "chain.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    tracemalloc.start()
    with pytest.raises(UnsupportedModelError, match=r"convolutions would store more than 67,108,864 numbers"):
        load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**25
