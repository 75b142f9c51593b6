"""`load`: what a file is, is decided by its content; what is read is proved; nothing in a file is executed."""

import gzip
import io
import json
import os
import pickle
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from relucidate import examples
from relucidate.errors import (
    ArgumentError,
    ColumnError,
    DataError,
    MalformedModelError,
    ModelError,
    UnfaithfulError,
    UnsafeFileError,
    UnsupportedModelError,
)
from relucidate.features import Feature, Features
from relucidate.frameworks import _proved, load
from relucidate.frameworks.files import kind_of
from relucidate.frameworks.reading import (
    Options,
    Original,
    Reading,
    columns_of,
    probe_rows,
    probe_table,
    rounded,
)
from relucidate.layers import Activation, Layer
from relucidate.network import Network


def net(d: int = 3, m: int = 6, link: Any = "identity", features: Features | None = None) -> Network:
    rng = np.random.default_rng(1)
    hidden = Layer(rng.normal(size=(m, d)), rng.normal(size=m), Activation.of_kind("relu", m))
    last = Layer(rng.normal(size=(1, m)), rng.normal(size=1), Activation.of_kind("identity", 1))
    return Network((hidden, last), features or Features.plain(d), link)


def small_onnx() -> Any:
    weight = numpy_helper.from_array(np.ones((2, 1), np.float32), "w")
    nodes = [helper.make_node("Relu", ["x"], ["h"]), helper.make_node("MatMul", ["h", "w"], ["y"])]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [None, k]) for n, k in (("x", 2), ("y", 1))]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


# ---------------------------------------------------------------- what a file is


class Opener:
    """Leaves a mark where it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return open, (str(self.marker), "w")


def zipped(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def saved(array: Any, **more: Any) -> bytes:
    out = io.BytesIO()
    if more:
        np.savez(out, array, **more)
    else:
        np.save(out, array, allow_pickle=True)
    return out.getvalue()


def contents(marker: Path) -> dict[str, tuple[bytes, type[ModelError], str]]:
    attack = pickle.dumps(Opener(marker))
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    nnet = b"// The contents\n2,3,1,5,\n3,5,1,\n0,\n0.0,0.0,0.0,\n"
    return {
        "pickle": (attack, UnsafeFileError, "is a pickle.*never unpickles.*skl2onnx.*live object"),
        "pickle, protocol 0": (pickle.dumps(Opener(marker), 0), UnsafeFileError, "is a pickle"),
        "pickle, protocol 1": (pickle.dumps([Opener(marker)], 1), UnsafeFileError, "is a pickle"),
        "joblib, compressed": (gzip.compress(attack), UnsafeFileError, "compressed file, as joblib"),
        "torch": (zipped({"net/data.pkl": attack, "net/data/0": b"0"}), UnsafeFileError, r"names 'io\.open'.*run code"),
        "torchscript": (
            zipped({"net/data.pkl": attack, "net/constants.pkl": b"", "net/code/__torch__.py": b""}),
            UnsupportedModelError,
            "TorchScript",
        ),
        "npy of objects": (saved(np.array([Opener(marker)])), UnsupportedModelError, "NumPy array"),
        "npz": (saved(np.ones(3), b=np.ones(2)), UnsupportedModelError, "archive of NumPy arrays"),
        "keras": (zipped({"config.json": b"{}", "metadata.json": b"{}"}), MalformedModelError, "no model.weights.h5"),
        "other zip": (zipped({"readme.txt": b"hello"}), MalformedModelError, r"zip archive \(of 'readme.txt'\)"),
        "damaged zip": (b"PK\x03\x04" + bytes(40), MalformedModelError, "damaged zip"),
        "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(100), MalformedModelError, "damaged HDF5"),
        "nnet": (nnet, MalformedModelError, "26 weights and biases.*cut short"),
        "safetensors": (
            struct.pack("<Q", len(header)) + header + bytes(4),
            UnsupportedModelError,
            "more than linear layers.*architecture=",
        ),
        "png": (b"\x89PNG\r\n\x1a\n" + bytes(50), MalformedModelError, "PNG image"),
        "parquet": (b"PAR1" + bytes(50), MalformedModelError, "Parquet"),
        "csv": (b"a,b\n1,2\n", MalformedModelError, "text file"),
        "utf-16": ("a,b\n1,2\n".encode("utf-16"), MalformedModelError, "is no model file"),
        "one byte": (b"\x08", MalformedModelError, r"\(1 byte\)|cut short|no graph"),
        "noise": (np.random.default_rng(0).bytes(5000), MalformedModelError, "is no model file"),
        "empty": (b"", MalformedModelError, r"empty \(0 bytes\)"),
        "tflite": (b"\x1c\x00\x00\x00TFL3" + bytes(50), MalformedModelError, "TensorFlow Lite"),
    }


@pytest.mark.parametrize("name", contents(Path("marker")))
@pytest.mark.parametrize("ending", [".onnx", ".pt"])
def test_content_decides(name: str, ending: str, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    data, error, message = contents(marker)[name]
    path = tmp_path / f"model{ending}"
    path.write_bytes(data)
    with pytest.raises(error, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert type(caught.value) is error
    assert not marker.exists()
    with pytest.raises(error):
        load(str(path))


def test_an_onnx_file_under_any_name(tmp_path: Path) -> None:
    for name in ("model.onnx", "model.pkl", "model"):
        path = tmp_path / name
        onnx.save(small_onnx(), path)
        assert kind_of(path) == "onnx"
        assert load(path).n_features == 2


def test_onnx_with_its_fields_in_another_order(tmp_path: Path) -> None:
    """Protobuf leaves the order of fields open."""
    model = small_onnx()
    graph = onnx.ModelProto(graph=model.graph).SerializeToString()
    model.ClearField("graph")
    path = tmp_path / "model"
    path.write_bytes(graph + model.SerializeToString())
    assert load(path).n_features == 2


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(MalformedModelError, match="is a folder"):
        load(tmp_path)
    with pytest.raises(MalformedModelError, match="does not exist"):
        load(tmp_path / "none.onnx")
    with pytest.raises(MalformedModelError, match=r"cannot be opened"):
        load("nul\0byte")
    with pytest.raises(MalformedModelError, match=r"cannot be opened|does not exist"):
        load("x" * 5000)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(MalformedModelError, match="no regular file"):
        load(pipe)
    with pytest.raises(MalformedModelError, match="no regular file"):
        load("/dev/zero")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(small_onnx(), path)
    path.chmod(0)
    with pytest.raises(MalformedModelError, match="cannot be read"):
        load(path)


def test_sniffing_reads_headers_only(tmp_path: Path) -> None:
    """A sparse file of 100 GB is told by its first bytes and its fields, which are skipped over."""
    path = tmp_path / "huge"
    for start in (b"\x80\x04", b"\x08\x08:" + b"\xff\xff\xff\xff\xff\x01", b"PAR1"):
        with path.open("wb") as file:
            file.write(start)
            file.truncate(100 * 2**30)
        kind_of(path)


# ---------------------------------------------------------------- what is loaded


def test_a_network_is_returned_as_it_is() -> None:
    network = net()
    assert load(network) is network


@pytest.mark.parametrize("thing", [3, None, object(), {"a": 1}, b"bytes"])
def test_other_objects_are_refused(thing: Any) -> None:
    with pytest.raises((ModelError, ArgumentError), match=r"load (does not read|takes)"):
        load(thing)


def test_the_bundled_network() -> None:
    network = load(examples.home_lending().model)
    assert network.link == "logit"
    assert network.classes == (0, 1)
    assert network.feature_names[0] == "credit_score"
    assert network.faithfulness is not None
    assert network.faithfulness.max_difference < 1e-12


def test_loading_does_not_import_other_frameworks() -> None:
    import subprocess

    program = (
        "import sys; from relucidate.frameworks import load; from relucidate import examples; "
        "print([m for m in ('onnx', 'sklearn', 'torch', 'scipy', 'pandas') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


# ---------------------------------------------------------------- the proof


def reading(network: Network, output: Callable[[Any], Any], **more: Any) -> Reading:
    given = {"on": "predict", "tolerance": 1e-9} | more
    return Reading(network, (Original("another programme 1.0", output, **given),), probe_rows(network))


def test_faithfulness_is_stored() -> None:
    network = net()
    proved = _proved(reading(network, lambda x: network.predict(x) + 1e-11), None)
    assert proved.faithfulness is not None
    assert proved.faithfulness.against == "another programme 1.0"
    assert proved.faithfulness.n == 512
    assert proved.faithfulness.max_difference == pytest.approx(1e-11, rel=1e-3)


def test_an_unfaithful_network_is_withheld() -> None:
    network = net()

    def wrong_in_one_row(x: Any) -> Any:
        out = network.predict(x)
        out[17] += 1e-6
        return out

    with pytest.raises(UnfaithfulError, match="row 17 differs from another programme"):
        _proved(reading(network, wrong_in_one_row), None)
    with pytest.raises(UnfaithfulError):
        _proved(reading(network, lambda x: network.predict(x) * np.nan), None)
    with pytest.raises(UnfaithfulError, match="shape"):
        _proved(reading(network, lambda x: network.predict(x)[:, :0]), None)


def test_every_original_counts() -> None:
    network = net()
    good = Original("good", network.predict, "predict", 1e-12)
    bad = Original("bad", lambda x: network.predict(x) + 1, "predict", 1e-12)
    probe = probe_rows(network)
    with pytest.raises(UnfaithfulError, match="bad"):
        _proved(Reading(network, (good, bad), probe), None)
    proved = _proved(Reading(network, (good, good), probe), None)
    assert "equals good to 0.0e+00 on 512 probe points" in proved.provenance.notes
    with pytest.raises(ArgumentError, match="nothing to compare"):
        _proved(Reading(network, (), probe), None)


def test_the_users_rows_are_compared_too() -> None:
    network = net()

    def wrong_far_out(x: Any) -> Any:
        return network.predict(x) + (np.abs(x).max(axis=1, keepdims=True) > 1e5)

    proved = _proved(reading(network, wrong_far_out), np.ones((4, 3)))
    assert any("4 probe points of yours" in note for note in proved.provenance.notes)
    with pytest.raises(UnfaithfulError):
        _proved(reading(network, wrong_far_out), np.full((4, 3), 1e6))
    with pytest.raises(DataError, match="no rows"):
        _proved(reading(network, wrong_far_out), np.ones((0, 3)))
    with pytest.raises(ColumnError):
        _proved(reading(network, wrong_far_out), np.ones((4, 2)))


def test_decisions_are_compared_and_agreement_counted() -> None:
    network = net(link="logit")
    proved = _proved(reading(network, network.decision, on="decision"), None)
    assert proved.faithfulness is not None
    assert proved.faithfulness.agreement == 1.0


def test_single_precision_sees_the_same_numbers() -> None:
    """An original that takes float32 must not be blamed for the rounding of its input."""
    network = net()
    seen: list[Any] = []

    def output(x: Any) -> Any:
        seen.append(x)
        return network.predict(x)

    _proved(reading(network, output, single=True), np.full((1, 3), 0.1))
    assert np.array_equal(seen[1], np.full((1, 3), float(np.float32(0.1))))


def test_rows_outside_the_range_of_an_original_are_left_out_only_where_it_says_so() -> None:
    network = net()

    def half(x: Any) -> Any:
        return np.where(x[:, :1] > 0, np.inf, network.predict(x))

    proved = _proved(reading(network, half, may_overflow=True), None)
    assert proved.faithfulness is not None
    assert 100 < proved.faithfulness.n < 400
    with pytest.raises(UnfaithfulError):
        _proved(reading(network, half), None)


def test_a_tolerance_may_depend_on_the_rows() -> None:
    network = net()
    _proved(reading(network, lambda x: network.predict(x) + 1e-3, tolerance=lambda x: 1e-2), None)

    def wrong_in_one_row(x: Any) -> Any:
        out = network.predict(x)
        out[[3, 17]] += 1e-3
        return out

    for lenient in ([3, 17], [3]):
        allowed = np.full((512, 1), 1e-9)
        allowed[lenient] = 1e-2
        given = reading(network, wrong_in_one_row, tolerance=lambda x, allowed=allowed: allowed)
        if lenient == [3, 17]:
            _proved(given, None)
        else:
            with pytest.raises(UnfaithfulError, match="1e-09 is allowed"):
                _proved(given, None)


# ---------------------------------------------------------------- probe points


def test_probe_rows_reach_both_sides_of_every_neuron() -> None:
    network = net(m=20)
    rows = probe_rows(network)
    bits = network.patterns(rows).bits()
    assert bits.any(axis=0).all()
    assert not bits.all(axis=0).any()
    assert len(np.unique(bits, axis=0)) > 100
    z = network.layers[0].preactivation(rows)
    assert (np.abs(z).min(axis=0) < 1e-2).all()
    assert np.array_equal(rows, probe_rows(network))
    assert not np.array_equal(rows, probe_rows(network, seed=1))


def test_probe_rows_follow_the_scale() -> None:
    network = net(d=2)
    rows = probe_rows(network, centre=[1000, 0], spread=[1, 1e-3])[: 512 // 3]
    assert np.abs(np.median(rows[:, 0]) - 1000) < 5
    assert np.abs(rows[:, 1]).max() < 0.1


def test_probe_tables_hold_levels_and_gaps() -> None:
    features = Features(
        (
            Feature("age", "age", impute=40.0),
            Feature("region=N", "region", "level", ("N",)),
            Feature("region=S", "region", "level", ("S",)),
            Feature("size=1", "size", "level", (1,)),
        ),
        ("age", "spare", "region", "size"),
        True,
        (("region", ("N", "S", "W")),),
    )
    table = probe_table(features, np.ones((300, 4)))
    assert list(table.columns) == ["age", "spare", "region", "size"]
    assert np.isnan(table["age"][0])
    assert 0 < table["age"].isna().sum() < 100
    assert set(table["region"]) == {"N", "S", "W"}
    assert set(table["size"]) == {1}
    encoded = features.encode(table)
    assert encoded[0, 0] == 40
    age, _, region, _ = columns_of(features, table)
    assert np.isnan(age[0])
    assert region[0] in {"N", "S", "W"}


def test_rounding_touches_fractions_only() -> None:
    import pandas as pd

    table = pd.DataFrame({"a": [0.1, None], "b": ["u", None], "c": [2**53 + 1, 0]})
    out = rounded(table)
    assert out["a"][0] == np.float32(0.1)
    assert out["b"][0] == "u"
    assert out["c"][0] == 2**53 + 1
    assert rounded(np.array([[1, 2]])).dtype.kind == "i"


def test_options_say_what_means_nothing() -> None:
    Options().refuse("an estimator", "inputs", "normalise")
    with pytest.raises(ArgumentError, match="output='y' means nothing for an estimator"):
        Options(output="y").refuse("an estimator", "inputs", "output")
