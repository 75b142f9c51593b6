"""ONNX files: what is read equals onnxruntime on them; what cannot be read is refused by name."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from onnx_models import RNG, agrees, floats, mlp, model_of, node, run
from relucidate.errors import (
    ArgumentError,
    ColumnError,
    MalformedModelError,
    UnfaithfulError,
    UnsafeFileError,
    UnsupportedModelError,
    ValueInDataError,
)
from relucidate.frameworks import load

# ---------------------------------------------------------------- weights and structure


def test_stored_weights_stay_as_they_are() -> None:
    model = mlp()
    network = load(model)
    weights = {t.name: numpy_helper.to_array(t).astype(np.float64) for t in model.graph.initializer}
    first, last = network.layers
    assert np.array_equal(first.weight, weights["w1"].T)
    assert np.array_equal(first.bias, weights["b1"])
    assert np.array_equal(last.weight, weights["w2"].T)
    assert first.name == "dense/relu"
    assert network.provenance.operators[0][0] in {"MatMul", "Add", "Relu", "Gemm"}


def test_one_row_or_many(tmp_path: Path) -> None:
    path = tmp_path / "named_wrongly.txt"
    onnx.save(mlp("Sigmoid"), path)
    network = load(path)
    assert network.provenance.path == str(path)
    assert len(network.provenance.sha256) == 64
    x = floats(4, 3)
    assert np.allclose(network.predict(x)[:1], network.predict(x[:1]), atol=0)


UNARY = {
    "relu": (lambda: [node("Relu", "z", "y")], {}),
    "leaky": (lambda: [node("LeakyRelu", "z", "y", alpha=0.2)], {}),
    "leaky default": (lambda: [node("LeakyRelu", "z", "y")], {}),
    "leaky negative": (lambda: [node("LeakyRelu", "z", "y", alpha=-0.5)], {}),
    "prelu": (lambda: [node("PRelu", "z s", "y")], {"s": floats(4)}),
    "prelu one": (lambda: [node("PRelu", "z s", "y")], {"s": floats(1)}),
    "clip": (lambda: [node("Clip", "z lo hi", "y")], {"lo": np.float32(-0.5), "hi": np.float32(0.7)}),
    "relu6 as clip": (lambda: [node("Clip", "z lo hi", "y")], {"lo": np.float32(0), "hi": np.float32(6)}),
    "clip above only": (lambda: [node("Clip", "z - hi", "y")], {"hi": np.float32(0.7)}),
    "clip below only": (lambda: [node("Clip", "z lo", "y")], {"lo": np.float32(0.7)}),
    "abs": (lambda: [node("Abs", "z", "y")], {}),
    "hard sigmoid": (lambda: [node("HardSigmoid", "z", "y", alpha=0.3, beta=0.4)], {}),
    "max constant": (lambda: [node("Max", "z c", "y")], {"c": floats(4)}),
    "min constant": (lambda: [node("Min", "c z", "y")], {"c": floats(1)}),
    "max of three": (lambda: [node("Neg", "z", "n"), node("Abs", "z", "a"), node("Max", "n a z", "y")], {}),
    "min of two": (lambda: [node("Mul", "z c", "n"), node("Min", "n z", "y")], {"c": floats(4)}),
    "sum": (lambda: [node("Relu", "z", "r"), node("Sum", "r z c", "y")], {"c": floats(4)}),
    "constant minus": (lambda: [node("Sub", "c z", "y")], {"c": floats(4)}),
    "divide": (lambda: [node("Div", "z c", "y")], {"c": floats(4)}),
    "twice": (lambda: [node("Relu", "z", "r"), node("Relu", "r", "s"), node("Add", "r s", "y")], {}),
    "exp": (lambda: [node("Exp", "z", "y")], {}),
    "softmax": (lambda: [node("Softmax", "z", "y", axis=-1)], {}),
    "sigmoids": (lambda: [node("Sigmoid", "z", "y")], {}),
    "batch norm": (
        lambda: [node("BatchNormalization", "z s b m v", "y", epsilon=1e-3)],
        {"s": floats(4), "b": floats(4), "m": floats(4), "v": np.abs(floats(4))},
    ),
    "dropout": (lambda: [node("Dropout", "z r t", "y")], {"r": np.float32(0.5), "t": np.bool_(False)}),
    "gather": (lambda: [node("Gather", "z i", "y", axis=1)], {"i": np.array([3, -4, 0])}),
    "slice": (
        lambda: [node("Slice", "z s e a t", "y")],
        {"s": np.array([-1]), "e": np.array([-9]), "a": np.array([1]), "t": np.array([-2])},
    ),
    "split": (lambda: [node("Split", "z s", "a b", axis=1), node("Concat", "b z a", "y", axis=-1)], {"s": [1, 3]}),
    "squeeze": (
        lambda: [node("Unsqueeze", "z a", "u"), node("Squeeze", "u a", "y")],
        {"a": np.array([1])},
    ),
    "transposed twice": (
        lambda: [
            node("Reshape", "z s", "r"),
            node("Transpose", "r", "t", perm=[0, 2, 1]),
            node("MatMul", "t w", "u"),
            node("Flatten", "u", "y"),
        ],
        {"s": np.array([0, 2, 2]), "w": floats(2, 3)},
    ),
    "weight on the left": (
        lambda: [node("Unsqueeze", "z a", "u"), node("MatMul", "w u", "v"), node("Squeeze", "v a", "y")],
        {"a": np.array([2]), "w": floats(6, 4)},
    ),
    "scaled gemm": (
        lambda: [node("Gemm", "z w b", "y", alpha=0.5, beta=2.0, transB=1)],
        {"w": floats(2, 4), "b": floats(1)},
    ),
    "view": (
        lambda: [
            node("Shape", "z", "shape"),
            node("Gather", "shape zero", "n", axis=0),
            node("Unsqueeze", "n axis", "n1"),
            node("Concat", "n1 rest", "to", axis=0),
            node("Reshape", "z to", "y"),
        ],
        {"zero": np.int64(0), "axis": np.array([0]), "rest": np.array([-1])},
    ),
}


@pytest.mark.parametrize("name", UNARY)
def test_operator_equals_onnxruntime(name: str) -> None:
    nodes, constants = UNARY[name]
    constants = {k: np.asarray(v) for k, v in constants.items()}
    model = model_of(
        [node("Gemm", "x w0 b0", "z"), *nodes()], {"w0": floats(3, 4), "b0": floats(4)} | constants, outputs={"y": None}
    )
    x = 2 * floats(200, 3)
    network = agrees(model, {"x": x}, x)
    assert network.link == {"exp": "log", "softmax": "softmax", "sigmoids": "logit"}.get(name, "identity")


@pytest.mark.parametrize("opset", [6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 17, 18, 21])
def test_opsets(opset: int) -> None:
    """Attributes that became inputs: Clip, Squeeze, Unsqueeze, Dropout, Softmax, BatchNormalization's momentum."""
    constants = {
        "w0": floats(3, 4),
        "b0": floats(4),
        "s": floats(4),
        "b": floats(4),
        "m": floats(4),
        "w1": floats(4, 3),
    }
    constants |= {"v": np.abs(floats(4)), "b1": floats(3), "axes": np.array([2]), "low": np.float32(-1)}
    as_input = opset >= 13
    more = {"momentum": 0.9} if opset < 14 else {}
    old = {"is_test": 1} if opset < 7 else {}
    broadcast = {"broadcast": 1} if opset < 7 else {}
    nodes = [
        node("Gemm", "x w0 b0", "z", **broadcast),
        node("BatchNormalization", "z s b m v", "n", **more, **old),
        node("Clip", "n low", "c") if opset >= 11 else node("Clip", "n", "c", min=-1.0),
        node("Dropout", "c", "d", **old),
        node("Unsqueeze", "d axes", "u") if as_input else node("Unsqueeze", "d", "u", axes=[2]),
        node("Squeeze", "u axes", "q") if as_input else node("Squeeze", "u", "q", axes=[2]),
        node("Relu", "q", "r"),
        node("Gemm", "r w1 b1", "l", **broadcast),
        node("Softmax", "l", "y"),
    ]
    if not as_input:
        del constants["axes"]
    if opset < 11:
        del constants["low"]
    model = model_of(nodes, constants, opset=opset)
    x = floats(100, 3)
    if opset >= 7:  # older ones are not run by onnxruntime
        agrees(model, {"x": x}, x)
    else:
        network = load(model)
        assert network.faithfulness is not None
        z = x @ constants["w0"] + constants["b0"]
        n = (z - constants["m"]) / np.sqrt(constants["v"] + 1e-5) * constants["s"] + constants["b"]
        logits = np.maximum(np.maximum(n, -1), 0) @ constants["w1"] + constants["b1"]
        assert np.allclose(network.decision(x), logits, atol=1e-5)


def test_batch_normalisation_of_opset_9_is_evaluated_as_used() -> None:
    """A momentum attribute says how training went on; it must not put the answer of a row at the mercy of others."""
    constants = {"s": [2.0, 1.0], "b": [0.5, 0.1], "m": [0.1, -0.2], "v": [0.25, 4.0], "w": [[1.0], [-6.0]], "c": [0.0]}
    model = model_of(
        [node("BatchNormalization", "x s b m v", "n", momentum=0.9), node("Gemm", "n w c", "y")],
        {k: np.asarray(v, np.float32) for k, v in constants.items()},
        inputs={"x": [None, 2]},
        opset=9,
    )
    expected = (0.2 / np.sqrt(0.25 + 1e-5) * 2 + 0.5) - 6 * (-1.0 / np.sqrt(4 + 1e-5) + 0.1)
    assert load(model).predict([[0.3, -1.2]])[0, 0] == pytest.approx(expected, abs=1e-6)


# ---------------------------------------------------------------- random graphs


@st.composite
def graphs(draw: Any) -> tuple[Any, int]:
    """A random graph of supported operators on three inputs."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    nodes: list[Any] = []
    constants: dict[str, Any] = {}
    pool: list[tuple[str, int]] = [("x", 3)]

    def constant(*shape: int) -> str:
        name = f"c{len(constants)}"
        constants[name] = rng.normal(size=shape).astype(np.float32)
        return name

    def made(op: str, inputs: str, width: int, **attributes: Any) -> None:
        name = f"t{len(nodes)}"
        nodes.append(node(op, inputs, name, f"n{len(nodes)}/{op}", **attributes))
        pool.append((name, width))

    def pick() -> tuple[str, int]:
        return pool[draw(st.integers(max(0, len(pool) - 5), len(pool) - 1))]

    def dense() -> None:
        t, w = pick()
        m = draw(st.integers(1, 5))
        made("Gemm", f"{t} {constant(w, m)} {constant(m)}", m)

    def bend() -> None:
        t, w = pick()
        op = draw(st.sampled_from(["Relu", "Relu", "Relu", "LeakyRelu", "Abs", "PRelu", "HardSigmoid", "Max", "Min"]))
        made(op, f"{t} {constant(w)}" if op in ("PRelu", "Max", "Min") else t, w)

    def join() -> None:
        t, w = pick()
        same = [u for u, v in pool if v == w]
        made(draw(st.sampled_from(["Add", "Sub", "Max", "Min", "Sum"])), f"{t} {draw(st.sampled_from(same))}", w)

    def stretch() -> None:
        t, w = pick()
        op = draw(st.sampled_from(["Mul", "Add", "Sub", "Neg", "Identity"]))
        made(op, t if op in ("Neg", "Identity") else f"{t} {constant(w)}", w)

    def concat() -> None:
        (t, w), (u, v) = pick(), pick()
        made("Concat", f"{t} {u}", w + v, axis=1)

    def gather() -> None:
        t, w = pick()
        name = f"c{len(constants)}"
        constants[name] = rng.integers(-w, w, size=draw(st.integers(1, 4)))
        made("Gather", f"{t} {name}", len(constants[name]), axis=1)

    steps = draw(
        st.lists(st.sampled_from([dense, dense, bend, bend, join, stretch, concat, gather]), min_size=1, max_size=14)
    )
    for step in steps:
        step()
    if pool[-1][1] > 40:
        dense()
    name, width = pool[-1]
    outputs = {name: [None, width]}
    return model_of(nodes, constants, outputs=outputs), width


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(graphs())
def test_any_graph_equals_onnxruntime(drawn: tuple[Any, int]) -> None:
    model, width = drawn
    if not any("x" in n.input for n in model.graph.node):
        return
    x = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32) * 3
    network = load(model)
    theirs = run(model, {"x": x})
    ours = network.predict(x)
    assert ours.shape == (60, width)
    # float32 loses by the size of what is cancelled on the way
    scale = 1 + np.abs(ours).max()
    assert np.abs(ours - theirs).max() < 1e-4 * scale
    maps, offsets = network.affine_maps(network.patterns(x))
    assert np.allclose(np.einsum("rkd,rd->rk", maps, x) + offsets, ours, atol=1e-9 * scale)


# ---------------------------------------------------------------- inputs of every shape


@pytest.mark.parametrize("shape", [[1, 3], [None, 3], [None, 1, 3], [1, 1, 1, 3], ["batch", 3, 1], [3], [4, 3]])
def test_any_number_of_rows(shape: list[Any]) -> None:
    fixed = [s if isinstance(s, int) else 1 for s in shape]
    to = [3] if shape == [3] else [4, 3] if shape == [4, 3] else [-1, 3]
    nodes = [
        node("Reshape", "x to", "f"),
        node("MatMul", "f w1", "m"),
        node("Add", "m b1", "a"),
        node("Relu", "a", "h"),
        node("MatMul", "h w2", "y"),
    ]
    constants = {"w1": floats(3, 6), "b1": floats(6), "w2": floats(6, 2), "to": np.array(to)}
    network = load(model_of(nodes, constants, inputs={"x": shape}))
    x = floats(7, 3)
    expected = np.maximum(x @ constants["w1"] + constants["b1"], 0) @ constants["w2"]
    assert np.allclose(network.predict(x), expected, atol=1e-5)
    assert np.allclose(network.predict(x.reshape(7, *fixed[1:])) if len(fixed) > 2 else expected, expected, atol=1e-5)


def test_a_column_vector_is_one_row() -> None:
    constants = {"w1": floats(6, 4), "b1": floats(6, 1), "w2": floats(2, 6)}
    nodes = [node("MatMul", "w1 x", "m"), node("Add", "m b1", "a"), node("Relu", "a", "h"), node("MatMul", "w2 h", "y")]
    x = floats(5, 4)
    expected = (constants["w2"] @ np.maximum(constants["w1"] @ x.T + constants["b1"], 0)).T
    for shape in ([4, 1], [1, 4, 1]):
        network = load(model_of(nodes, constants, inputs={"x": shape}))
        assert np.allclose(network.predict(x), expected, atol=1e-5)


def test_width_is_found_where_the_file_leaves_it_open() -> None:
    assert load(mlp(inputs={"x": [None, None]})).n_features == 3


def test_reshape_to_one_row_is_accepted_for_many() -> None:
    nodes = [node("Reshape", "x to", "f"), node("Relu", "f", "h"), node("MatMul", "h w", "y")]
    constants = {"to": np.array([1, -1]), "w": floats(3, 2)}
    x = floats(5, 3)
    network = load(model_of(nodes, constants))
    assert np.allclose(network.predict(x), np.maximum(x, 0) @ constants["w"], atol=1e-6)


def test_initialisers_listed_as_inputs_are_no_inputs() -> None:
    model = mlp()
    for tensor in model.graph.initializer:
        model.graph.input.insert(0, helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    assert load(model).n_features == 3


def test_rows_that_mix_are_noticed() -> None:
    """A graph that subtracts what the other rows hold is no function of one row."""
    nodes = [
        node("Transpose", "x", "t"),
        node("Gather", "t i", "g", axis=1),
        node("Transpose", "g", "f"),
        node("Sub", "x f", "y"),
    ]
    with pytest.raises(UnfaithfulError, match="row"):
        load(model_of(nodes, {"i": np.array([0])}))


@pytest.mark.parametrize("kind", [TensorProto.INT64, TensorProto.UINT8, TensorProto.BOOL, TensorProto.DOUBLE])
def test_inputs_of_other_types(kind: int) -> None:
    nodes = [
        node("Cast", "x", "f", to=1),
        node("Gemm", "f w b", "a"),
        node("Relu", "a", "h"),
        node("MatMul", "h v", "y"),
    ]
    model = model_of(nodes, {"w": floats(3, 5), "b": floats(5), "v": floats(5, 1)})
    model.graph.input[0].type.tensor_type.elem_type = kind
    x = RNG.integers(0, 2, size=(9, 3))
    network = load(model)
    theirs = run(model, {"x": x.astype(helper.tensor_dtype_to_np_dtype(kind))})
    assert np.allclose(network.predict(x), theirs, atol=1e-5)
    if kind != TensorProto.DOUBLE:
        with pytest.raises(ValueInDataError, match=r"takes whole numbers in this file; row 0 has 0\.5"):
            load(model, probe=np.full((1, 3), 0.5))
        with pytest.raises(ValueInDataError, match="takes whole numbers from"):
            load(model, probe=np.full((1, 3), 1e20))


# ---------------------------------------------------------------- several inputs and outputs


def two_inputs(first: int, second: int) -> Any:
    nodes = [node("Concat", "b a", "x", axis=1), node("Relu", "x", "h"), node("MatMul", "h w", "y")]
    return model_of(nodes, {"w": floats(first + second, 1)}, inputs={"a": [None, first], "b": [None, second]})


def test_one_column_inputs_are_columns_of_their_name() -> None:
    import pandas as pd

    model = two_inputs(1, 1)
    network = load(model)
    assert network.feature_names == ("a", "b")
    x = floats(9, 2)
    theirs = run(model, {"a": x[:, :1], "b": x[:, 1:]})
    assert np.allclose(network.predict(x), theirs, atol=1e-6)
    table = pd.DataFrame({"b": x[:, 1], "other": 0.0, "a": x[:, 0]})
    assert np.allclose(network.predict(table), theirs, atol=1e-6)


def test_wider_inputs_must_be_ordered() -> None:
    model = two_inputs(2, 1)
    with pytest.raises(UnsupportedModelError, match=r"2 inputs, 'a \(2 columns\)', 'b \(1 columns\)'.*inputs="):
        load(model)
    x = floats(9, 3)
    theirs = run(model, {"a": x[:, 1:], "b": x[:, :1]})
    network = load(model, inputs=["b", "a"])
    assert np.allclose(network.predict(x), theirs, atol=1e-6)
    with pytest.raises(ArgumentError, match="each input"):
        load(model, inputs=["b"])


def test_several_outputs_must_be_chosen() -> None:
    model = mlp()
    model.graph.output.extend([helper.make_tensor_value_info(n, TensorProto.FLOAT, [None, 5]) for n in ("h", "a")])
    with pytest.raises(UnsupportedModelError, match=r"3 outputs, 'y', 'h', 'a'\. Give output="):
        load(model)
    assert load(model, output="h").n_outputs == 5
    assert load(model, output="m").n_outputs == 5  # any tensor
    with pytest.raises(ArgumentError, match="output='q'"):
        load(model, output="q")


# ---------------------------------------------------------------- heads and names


def test_heads_give_links() -> None:
    x = floats(20, 3)
    for head, link, out in (("Sigmoid", "logit", 1), ("Softmax", "softmax", 3), ("Exp", "log", 1)):
        network = agrees(mlp(head, out=out), {"x": x}, x)
        assert network.link == link
        assert any(head in note for note in network.provenance.notes)


def test_log_softmax_is_told_as_probabilities() -> None:
    model = mlp("LogSoftmax", out=3)
    network = load(model)
    x = floats(20, 3)
    assert network.link == "softmax"
    assert np.allclose(np.log(network.predict(x)), run(model, {"x": x}), atol=1e-5)
    assert any("log-probabilities" in note for note in network.provenance.notes)


def test_link_is_the_users_where_the_file_has_none() -> None:
    model = mlp()
    network = load(model, link="logit")
    assert network.link == "logit"
    x = floats(5, 3)
    logits = run(model, {"x": x})
    assert np.allclose(network.decision(x), logits, atol=1e-5)
    assert np.allclose(network.predict(x), 1 / (1 + np.exp(-logits)), atol=1e-5)
    with pytest.raises(ArgumentError, match=r"ends in node 5 of 5.*Sigmoid"):
        load(mlp("Sigmoid"), link="softmax")
    with pytest.raises(ArgumentError, match="expected 'identity'"):
        load(mlp(), link="probit")


def test_metadata_name_features_and_classes() -> None:
    names = {"relucidate.feature_names": ["a", "b", "c"], "relucidate.classes": ["no", "yes"]}
    network = load(mlp("Sigmoid", metadata=names))
    assert network.feature_names == ("a", "b", "c")
    assert network.classes == ("no", "yes")
    assert load(mlp(metadata=names), feature_names=list("uvw")).feature_names == ("u", "v", "w")
    with pytest.raises(ColumnError, match="2 feature names"):
        load(mlp(), feature_names=list("uv"))
    with pytest.raises(MalformedModelError, match="JSON list"):
        load(mlp(metadata={"relucidate.feature_names": "{"}))
    with pytest.raises(MalformedModelError, match="name 1 features, but 3"):
        load(mlp(metadata={"relucidate.feature_names": ["a"]}))


# ---------------------------------------------------------------- refusals


def hidden(op: str, **attributes: Any) -> Any:
    return model_of(
        [node("Gemm", "x w1", "a"), node(op, "a", "h", f"act/{op.lower()}", **attributes), node("MatMul", "h w2", "y")],
        {"w1": floats(3, 4), "w2": floats(4, 1)},
    )


@pytest.mark.parametrize("op", ["Tanh", "Sigmoid", "Softmax", "Elu", "Softplus", "Erf", "Sqrt", "Floor", "Exp"])
def test_hidden_smooth_function_is_refused_by_name(op: str) -> None:
    with pytest.raises(UnsupportedModelError, match=rf"node 2 of 3, 'act/{op.lower()}' \({op}\)"):
        load(hidden(op))


REFUSED = {
    "product of two tensors": ([node("Mul", "x x", "y", "gate")], {}, r"'gate' \(Mul\): a product of two"),
    "attention": ([node("Transpose", "x", "t"), node("MatMul", "x t", "y")], {}, "attention"),
    "division by input": ([node("Div", "c x", "y")], {"c": floats(3)}, "division"),
    "cast to int": ([node("Cast", "x", "i", to=7), node("Cast", "i", "y", to=1)], {}, "cut to whole|whole numbers"),
    "half": (
        [node("Relu", "x", "h"), node("Cast", "h", "i", to=10), node("Cast", "i", "y", to=1)],
        {},
        "half precision",
    ),
    "dropout in training": (
        [node("Dropout", "x r t", "y")],
        {"r": np.float32(0.5), "t": np.bool_(True)},
        "training mode",
    ),
    "batch norm in training": (
        [node("BatchNormalization", "x s s s v", "y m n", training_mode=1)],
        {"s": floats(3), "v": np.abs(floats(3))},
        "training mode",
    ),
    "softmax across rows": ([node("Softmax", "x", "y", axis=0)], {}, "one over all outputs"),
    "argmax only": ([node("ArgMax", "x", "i", axis=1), node("Cast", "i", "y", to=1)], {}, "labels"),
    "normalizer": ([node("Normalizer", "x", "y", domain="ai.onnx.ml", norm="L2")], {}, "norm"),
    "divide by zero": ([node("Div", "x c", "y")], {"c": np.zeros(3, np.float32)}, "by 0"),
    "constant": ([node("Identity", "c", "y")], {"c": floats(1, 3)}, "no input"),
    "quantised": (
        [node("QuantizeLinear", "x s z", "q"), node("DequantizeLinear", "q s z", "y")],
        {"s": np.float32(0.1), "z": np.uint8(3)},
        "before quantisation",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(name: str) -> None:
    nodes, constants, message = REFUSED[name]
    with pytest.raises((UnsupportedModelError, MalformedModelError), match=message):
        load(model_of(nodes, constants, outputs={"y": [None, None]}))


def test_weights_must_be_finite() -> None:
    for bad in (np.nan, np.inf):
        w = floats(3, 5)
        w[1, 2] = bad
        model = mlp()
        model.graph.initializer[0].CopyFrom(numpy_helper.from_array(w, "w1"))
        with pytest.raises(MalformedModelError, match="NaN or infinity"):
            load(model)


def test_weights_must_chain() -> None:
    model = mlp()
    model.graph.initializer[2].CopyFrom(numpy_helper.from_array(floats(4, 1), "w2"))
    with pytest.raises(MalformedModelError):
        load(model)


def test_options_of_other_formats_are_refused() -> None:
    with pytest.raises(ArgumentError, match="normalise=True means nothing for an ONNX file"):
        load(mlp(), normalise=True)
    with pytest.raises(ArgumentError, match="architecture"):
        load(mlp(), architecture=[3, 4])


# ---------------------------------------------------------------- unsafe and damaged files


def external(location: str) -> Any:
    model = mlp()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location
    return model


@pytest.mark.parametrize("location", ["../secret", "/etc/hostname", "a/../../s"])
def test_weights_outside_the_folder_are_refused(location: str, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(external(location).SerializeToString())
    with pytest.raises(UnsafeFileError, match=r"'w1' is stored outside.*Embed the weights"):
        load(path)


def test_a_tensor_holds_what_it_declares(tmp_path: Path) -> None:
    model = mlp()
    del model.graph.initializer[0].dims[:]
    model.graph.initializer[0].dims.extend([2, 2**40])
    path = tmp_path / "net.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(MalformedModelError, match=r"'w1' declares.*2,199,023,255,552 values, and holds 15"):
        load(path)


def test_graphs_that_are_none() -> None:
    cycle = model_of([node("Add", "x b", "a"), node("Relu", "a", "b"), node("Identity", "b", "y")])
    with pytest.raises(MalformedModelError, match="cycle"):
        load(cycle)
    with pytest.raises(MalformedModelError, match="'q', which is never made"):
        load(model_of([node("Add", "x q", "y")]))
    with pytest.raises(MalformedModelError, match="exists already"):
        load(model_of([node("Relu", "x", "y"), node("Abs", "x", "y")]))
    with pytest.raises(MalformedModelError, match="output 'z' is never made"):
        load(model_of([node("Relu", "x", "y")], outputs={"z": None}))
    with pytest.raises(MalformedModelError, match="no graph"):
        load(onnx.ModelProto(ir_version=8))


def test_subgraphs_are_refused() -> None:
    branch = helper.make_graph([node("Identity", "x", "b")], "b", [], [helper.make_tensor_value_info("b", 1, None)])
    chosen = node("If", "c", "y", "choose", then_branch=branch, else_branch=branch)
    with pytest.raises(UnsupportedModelError, match=r"'choose' \(If\)"):
        load(model_of([chosen], {"c": np.bool_(True)}))


def test_a_very_long_chain_is_refused() -> None:
    nodes = [node("Relu", "x" if i == 0 else f"t{i - 1}", f"t{i}") for i in range(100_000)]
    with pytest.raises(UnsupportedModelError, match="100,000 nodes"):
        load(model_of(nodes, outputs={"t99999": None}))


def test_a_long_chain_is_read() -> None:
    nodes = [node("Neg" if i % 2 else "Identity", "x" if i == 0 else f"t{i - 1}", f"t{i}") for i in range(9_000)]
    nodes.append(node("Relu", "t8999", "y"))
    x = floats(5, 3)
    assert np.allclose(load(model_of(nodes)).predict(x), np.maximum(x, 0))


@pytest.mark.parametrize("doubling", ["Concat", "Expand"])
def test_a_small_file_cannot_ask_for_a_huge_tensor(doubling: str) -> None:
    if doubling == "Concat":
        nodes = [node("Concat", "x x" if i == 0 else f"t{i - 1} t{i - 1}", f"t{i}", axis=1) for i in range(40)]
        constants: dict[str, Any] = {}
        nodes.append(node("Relu", "t39", "y"))
    else:
        nodes, constants = [node("Expand", "x s", "y")], {"s": np.array([1, 2**40, 3])}
    with pytest.raises((UnsupportedModelError, MalformedModelError)):
        load(model_of(nodes, constants))


def test_one_weight_used_without_end_is_refused() -> None:
    nodes = []
    for i in range(3000):
        nodes += [node("MatMul", "x w" if i == 0 else f"t{i - 1} w", f"m{i}"), node("Relu", f"m{i}", f"t{i}")]
    model = model_of(nodes, {"w": floats(300, 300)}, inputs={"x": [None, 300]}, outputs={"t2999": None})
    with pytest.raises(UnsupportedModelError, match="would store more than"):
        load(model)


def test_a_value_carried_without_end_is_refused() -> None:
    nodes = [node("Relu", "x", "r"), node("Gather", "r i", "t0", axis=1)]
    nodes += [node("Relu", f"t{i}", f"t{i + 1}") for i in range(2000)]
    nodes.append(node("Add", "t2000 r", "y"))
    model = model_of(nodes, {"i": np.array([0])}, inputs={"x": [None, 3000]})
    with pytest.raises(UnsupportedModelError, match="would store more than"):
        load(model)


def test_weights_that_overflow_single_precision() -> None:
    """onnxruntime answers infinity on most rows; the network is compared there in float64."""
    model = model_of(
        [node("Gemm", "x w1", "a"), node("Relu", "a", "h"), node("Gemm", "h w2", "y")],
        {"w1": floats(3, 4), "w2": floats(4, 1) * np.float32(1e38)},
    )
    network = load(model)
    assert network.faithfulness is not None
    assert network.faithfulness.n < 512
    assert any("node-by-node" in note and "512" in note for note in network.provenance.notes)
    assert np.isfinite(network.predict(floats(5, 3))).all()


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    data = mlp("Sigmoid").SerializeToString()
    path = tmp_path / "net.onnx"
    whole = load(mlp("Sigmoid"))
    for size in range(0, len(data), 7):
        path.write_bytes(data[:size])
        try:
            network = load(path)
        except (MalformedModelError, UnsupportedModelError):
            continue
        else:  # only what lies behind the graph was cut
            assert network.provenance.sha256 != whole.provenance.sha256
            assert network.n_parameters == whole.n_parameters


def test_no_flipped_bit_crashes(tmp_path: Path) -> None:
    data = bytearray(mlp("Sigmoid").SerializeToString())
    rng = np.random.default_rng(0)
    path = tmp_path / "net.onnx"
    refused = 0
    for _ in range(150):
        at, bit = int(rng.integers(len(data))), int(rng.integers(8))
        data[at] ^= 1 << bit
        path.write_bytes(bytes(data))
        data[at] ^= 1 << bit
        try:
            assert load(path).faithfulness is not None
        except (MalformedModelError, UnsupportedModelError, UnsafeFileError, UnfaithfulError, ArgumentError):
            refused += 1
    assert 0 < refused < 150


# ---------------------------------------------------------------- the comparison itself


def test_a_wrong_lowering_is_withheld(monkeypatch: pytest.MonkeyPatch) -> None:
    from relucidate.frameworks import onnx_lowering

    monkeypatch.setitem(onnx_lowering.RULES, ("", "Relu"), onnx_lowering.RULES["", "Abs"])
    with pytest.raises(UnfaithfulError, match="onnxruntime"):
        load(mlp())


def test_a_wrong_evaluation_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    from relucidate.frameworks import onnx_evaluation

    monkeypatch.setitem(onnx_evaluation.OPERATORS, ("", "Relu"), onnx_evaluation.OPERATORS["", "Abs"])
    with pytest.raises(UnfaithfulError):
        load(mlp())


@pytest.mark.parametrize("scale", [1.0, 1e6])
def test_onnxruntime_alone_notices_an_error_of_a_ten_thousandth(scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both our readings wrong in the same way: the tolerance for single precision must not hide it."""
    from relucidate.frameworks import onnx_evaluation, onnx_lowering

    def off(low: Any, of: Any, inputs: Any) -> Any:
        return low.builder.scale(low.activate(inputs[0], "relu", of), 1 + 1e-4)

    monkeypatch.setitem(onnx_lowering.RULES, ("", "Relu"), off)
    monkeypatch.setitem(
        onnx_evaluation.OPERATORS, ("", "Relu"), lambda node, inputs, widen: np.maximum(inputs[0], 0) * (1 + 1e-4)
    )
    model = mlp(width=30)
    weight = numpy_helper.to_array(model.graph.initializer[2]) * np.float32(scale)
    model.graph.initializer[2].CopyFrom(numpy_helper.from_array(weight, "w2"))
    with pytest.raises(UnfaithfulError, match="onnxruntime"):
        load(model)


def test_a_weight_off_by_a_millionth_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    from relucidate.frameworks import onnx_lowering

    def slightly_off(low: Any, of: Any, inputs: Any) -> Any:
        return low.builder.scale(low.activate(inputs[0], "relu", of), 1 + 1e-6)

    monkeypatch.setitem(onnx_lowering.RULES, ("", "Relu"), slightly_off)
    with pytest.raises(UnfaithfulError, match="node-by-node evaluation in float64"):
        load(mlp())


# ---------------------------------------------------------------- pipelines as skl2onnx writes them


@pytest.fixture(scope="module")
def applicants() -> Any:
    import pandas as pd

    rng = np.random.default_rng(3)
    n = 240
    income = rng.normal(50, 12, n)
    return pd.DataFrame(
        {
            "income": income,
            "debt": np.where(rng.random(n) < 0.2, np.nan, rng.normal(10, 3, n)),
            "region": rng.choice(["North", "South", "East"], n),
            "children": rng.integers(0, 4, n),
            "default": (income + rng.normal(0, 8, n) < 48).astype(int),
        }
    )


def exported(pipeline: Any, table: Any, **options: Any) -> Any:
    import skl2onnx as convert
    from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType

    kinds = {"f": FloatTensorType, "i": Int64TensorType, "O": StringTensorType, "U": StringTensorType}
    types = [(c, kinds.get(table[c].dtype.kind, StringTensorType)([None, 1])) for c in table]
    return convert.to_onnx(pipeline, initial_types=types, **options)


def mixed_pipeline(table: Any, network: Any, *, handle_unknown: str = "error") -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    columns = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), ["income", "debt"]),
            ("levels", OneHotEncoder(handle_unknown=handle_unknown, sparse_output=False), ["region", "children"]),
        ]
    )
    return make_pipeline(columns, network).fit(table.drop(columns="default"), table["default"])


def small(kind: str = "classifier") -> Any:
    import sklearn.neural_network as neural

    of = neural.MLPClassifier if kind == "classifier" else neural.MLPRegressor
    return of(hidden_layer_sizes=(6, 4), max_iter=60, random_state=0)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("zipmap", [True, False])
def test_mixed_pipeline_in_the_users_units(applicants: Any, zipmap: bool) -> None:
    pipeline = mixed_pipeline(applicants, small())
    X = applicants.drop(columns="default")
    model = exported(pipeline, X, options={"zipmap": zipmap})
    network = load(model)
    assert network.feature_names == (
        *("income", "debt", "region=East", "region=North", "region=South"),
        *("children=0", "children=1", "children=2", "children=3"),
    )
    assert network.classes == (0, 1)
    assert network.link == "logit"
    assert np.abs(network.predict_proba(X) - pipeline.predict_proba(X)).max() < 1e-5
    # a coefficient is the change of the decision per unit of the user's column
    richer = X.assign(income=X["income"] + 1e-7)
    maps, _ = network.affine_maps(network.patterns(X))
    slope = (network.decision(richer) - network.decision(X))[:, 0] / 1e-7
    assert np.allclose(slope, maps[:, 0, 0], atol=1e-5)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_unknown_levels(applicants: Any) -> None:
    X = applicants.drop(columns="default")
    moon = X.assign(region=["Moon", *X["region"][1:]])
    strict = load(exported(mixed_pipeline(applicants, small()), X))
    with pytest.raises(ValueInDataError, match=r"'Moon'.*row 0"):
        strict.predict(moon)
    pipeline = mixed_pipeline(applicants, small(), handle_unknown="ignore")
    lenient = load(exported(pipeline, X))
    assert np.abs(lenient.predict_proba(moon) - pipeline.predict_proba(moon)).max() < 1e-5


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("scaler", ["StandardScaler", "MinMaxScaler", "MaxAbsScaler", "RobustScaler"])
@pytest.mark.parametrize("kind", ["classifier", "regressor"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scalers_fold_in(scaler: str, kind: str, dtype: Any) -> None:
    import skl2onnx as convert
    import sklearn.preprocessing as preprocessing
    from sklearn.pipeline import make_pipeline

    rng = np.random.default_rng(5)
    X = (rng.normal(size=(200, 3)) * [1, 100, 0.01] + [5, 1000, 0]).astype(dtype)
    y = rng.integers(3, size=200).astype(str) if kind == "classifier" else X[:, 0]
    pipeline = make_pipeline(getattr(preprocessing, scaler)(), small(kind)).fit(X, y)
    network = load(convert.to_onnx(pipeline, X))
    theirs = pipeline.predict_proba(X) if kind == "classifier" else pipeline.predict(X)[:, None]
    assert np.abs(network.predict(X) - theirs).max() < 2e-4 * (1 + np.abs(theirs).max())
    assert len(network.hidden) == 2
    assert network.classes == (("0", "1", "2") if kind == "classifier" else ())


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_levels_and_gaps_in_one_array() -> None:
    import skl2onnx as convert
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    rng = np.random.default_rng(6)
    X = rng.normal(size=(200, 3)).astype(np.float32)
    X[:, 2] = rng.integers(4, size=200)
    X[::9, 1] = np.nan
    columns = ColumnTransformer([("gaps", SimpleImputer(), [0, 1]), ("levels", OneHotEncoder(drop="first"), [2])])
    pipeline = make_pipeline(columns, small()).fit(X, (X[:, 0] > 0).astype(int))
    network = load(convert.to_onnx(pipeline, X), feature_names=["a", "b", "c"])
    assert network.feature_names == ("a", "b", "c=0", "c=1", "c=2", "c=3")
    assert np.abs(network.predict_proba(X) - pipeline.predict_proba(X)).max() < 1e-5


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_labels_side_by_side_are_refused_with_the_way_out() -> None:
    import skl2onnx as convert

    X = floats(100, 3)
    pipeline = small().fit(X, (X[:, :2] > 0).astype(int))
    model = convert.to_onnx(pipeline, X)
    with pytest.raises(UnsupportedModelError, match=r"2 labels at once.*output='out_activations_result'"):
        load(model)
    network = load(model, output="out_activations_result")
    assert np.abs(network.predict(X) - pipeline.predict_proba(X)).max() < 1e-5


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_smooth_hidden_layer_of_a_pipeline_is_refused() -> None:
    import skl2onnx as convert

    X = floats(100, 3)
    for activation, op in (("tanh", "Tanh"), ("logistic", "Sigmoid")):
        fitted = small().set_params(activation=activation).fit(X, (X[:, 0] > 0).astype(int))
        with pytest.raises(UnsupportedModelError, match=rf"node 4 of 18, '\w+' \({op}\)"):
            load(convert.to_onnx(fitted, X))


def test_float64_columns_that_skl2onnx_casts_back_to_their_own_type_are_read(tmp_path):
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import DoubleTensorType
    from sklearn.neural_network import MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler

    X = np.random.default_rng(0).normal(size=(300, 3))
    model = make_pipeline(
        MinMaxScaler(), MLPRegressor(hidden_layer_sizes=(6,), max_iter=2000, random_state=0, solver="lbfgs")
    )
    model.fit(X, np.abs(X).sum(axis=1))
    columns = [(name, DoubleTensorType([None, 1])) for name in "abc"]
    path = tmp_path / "model.onnx"
    path.write_bytes(to_onnx(model, initial_types=columns).SerializeToString())
    assert any(node.op_type == "CastLike" for node in onnx.load(path).graph.node)
    net = load(path)
    assert net.feature_names == ("a", "b", "c")
    np.testing.assert_allclose(net.predict(X)[:, 0], model.predict(X), rtol=1e-9)  # two folds of the same scaling
