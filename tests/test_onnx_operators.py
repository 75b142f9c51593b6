"""Each ONNX operator that is read, in the opsets that write it differently, equals onnxruntime and onnx's own evaluator."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onnx_models import agrees, floats, in_float64, model_of, node, run
from relucidate.errors import MalformedModelError, UnsupportedModelError
from relucidate.frameworks import load
from relucidate.frameworks.onnx_evaluation import Evaluation
from relucidate.frameworks.onnx_graph import parse
from relucidate.network import Network


def behind_a_layer(
    nodes: Sequence[Any], constants: dict[str, Any], shape: Sequence[int], opset: int, rank: int | None = None
) -> Any:
    """A model of `nodes` that take z, a hidden layer of the shape of the input, and make y."""
    first = [node("Mul", "x w_first", "scaled"), node("Add", "scaled b_first", "shifted"), node("Relu", "shifted", "z")]
    constants = {"w_first": 1 + floats(*shape) / 4, "b_first": floats(*shape)} | constants
    return model_of(
        [*first, *nodes],
        constants,
        inputs={"x": [None, *shape]},
        outputs={"y": None if rank is None else [None] * rank},
        opset=opset,
    )


def check(model: Any, shape: Sequence[int], *, reference: bool = True, rows: int = 40) -> Network:
    """Compare what is read with onnxruntime, and in float64 with onnx's evaluator, on rows that the reader never saw."""
    x = 2 * floats(rows, *shape)
    network = agrees(model, {"x": x}, x.reshape(rows, -1))
    if reference:
        theirs = in_float64(model, {"x": x}).reshape(rows, -1)
        assert np.abs(network.predict(x.reshape(rows, -1)) - theirs).max() < 1e-11 * (1 + np.abs(theirs).max())
    return network


# ---------------------------------------------------------------- moves, sums and extremes

IMAGE = (4, 3, 6)  # channels, height, width


def reduction(op: str, opset: int, axes: Sequence[int] | None, **attributes: Any) -> tuple[list[Any], dict[str, Any]]:
    """A reduction whose axes are an attribute or, in newer opsets, an input."""
    if axes is None:
        return [node(op, "z", "y", **attributes)], {}
    if opset >= (13 if op == "ReduceSum" else 18):
        return [node(op, "z axes", "y", **attributes)], {"axes": np.array(axes, dtype=np.int64)}
    return [node(op, "z", "y", axes=list(axes), **attributes)], {}


@pytest.mark.parametrize("opset", [9, 11, 13, 18, 21])
@pytest.mark.parametrize("op", ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin"])
@pytest.mark.parametrize(("axes", "keep"), [([1], 1), ([-1], 0), ([1, 2, 3], 0), ([2, -1], 1)])
def test_reductions(op: str, opset: int, axes: Sequence[int], keep: int) -> None:
    if opset < 11 and min(axes) < 0:
        axes = [a % 4 for a in axes]
    nodes, constants = reduction(op, opset, axes, keepdims=keep)
    check(behind_a_layer(nodes, constants, IMAGE, opset), IMAGE)


@pytest.mark.parametrize("op", ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin"])
def test_reduction_over_no_axes(op: str) -> None:
    nodes = [node(op, "z axes", "r", noop_with_empty_axes=1), node("Relu", "r", "y")]
    check(behind_a_layer(nodes, {"axes": np.zeros(0, dtype=np.int64)}, IMAGE, 18), IMAGE)


MOVES: dict[str, tuple[Callable[[int], list[Any]], dict[str, Any], Sequence[int]]] = {
    "gather negative": (lambda o: [node("Gather", "z i", "y", axis=2)], {"i": np.array([[0, -1], [2, -3]])}, [9, 13]),
    "gather one": (lambda o: [node("Gather", "z i", "y", axis=-1)], {"i": np.array(3)}, [11, 13, 21]),
    "gather nd": (
        lambda o: [node("Transpose", "z", "t", perm=[1, 2, 3, 0]), node("GatherND", "t i", "u"), TRANSPOSED_BACK],
        {"i": np.array([[0, 1, 2], [3, -1, -1]])},
        [12, 13],
    ),
    "slice": (
        lambda o: [node("Slice", "z s e a t", "y")],
        {"s": np.array([-1, 0]), "e": np.array([-(2**40), 2**40]), "a": np.array([3, -2]), "t": np.array([-2, 2])},
        [10, 11, 13],
    ),
    "slice by attributes": (lambda o: [node("Slice", "z", "y", starts=[1, -4], ends=[3, 99], axes=[1, 3])], {}, [7, 9]),
    "slice all axes": (
        lambda o: [node("Slice", "z s e", "y")],
        {"s": np.array([0, 1]), "e": np.array([9**9, 3])},
        [13],
    ),
    "transpose": (lambda o: [node("Transpose", "z", "y", perm=[0, 2, 3, 1])], {}, [7, 13, 21]),
    "flatten negative": (lambda o: [node("Flatten", "z", "y", axis=-3)], {}, [11, 13]),
    "flatten inner": (lambda o: [node("Flatten", "z", "f", axis=1), node("Relu", "f", "y")], {}, [7, 9, 11, 13, 21]),
    "reshape keeps": (lambda o: [node("Reshape", "z s", "y")], {"s": np.array([0, -1, 6])}, [7, 13, 14, 21]),
    "tile": (lambda o: [node("Tile", "z r", "y")], {"r": np.array([1, 2, 1, 3])}, [7, 13]),
    "expand": (
        lambda o: [node("Slice", "z s e a", "c"), node("Expand", "c to", "y")],
        {"s": np.array([0]), "e": np.array([1]), "a": np.array([1]), "to": np.array([1, 5, 1, 6])},
        [10, 13],
    ),
    "depth to space": (lambda o: [node("DepthToSpace", "z", "y", blocksize=2)], {}, [7, 11, 13]),
    "depth to space crd": (lambda o: [node("DepthToSpace", "z", "y", blocksize=2, mode="CRD")], {}, [11, 13]),
    "space to depth": (lambda o: [node("SpaceToDepth", "z", "y", blocksize=3)], {}, [7, 13]),
    "pad constant": (
        lambda o: [node("Pad", "z p v", "y")],
        {"p": np.array([0, 1, 0, -1, 0, 0, 2, 1]), "v": np.float32(0.5)},
        [11, 13, 18, 21],
    ),
    "pad by attributes": (lambda o: [node("Pad", "z", "y", pads=[0, 1, 0, -1, 0, 0, 2, 1], value=-2.0)], {}, [7, 9]),
    "pad axes": (
        lambda o: [node("Pad", "z p v a", "y")],
        {"p": np.array([1, 0, 2, 3]), "v": np.float32(1), "a": np.array([-1, 1])},
        [18, 21],
    ),
    "pad reflect": (
        lambda o: [node("Pad", "z p", "y", mode="reflect")],
        {"p": np.array([0, 0, 2, 1, 0, 0, 1, 5])},
        [11, 18],
    ),
    "pad edge": (lambda o: [node("Pad", "z p", "y", mode="edge")], {"p": np.array([0, 0, 2, 1, 0, 0, 1, 5])}, [11, 18]),
    "pad wrap": (lambda o: [node("Pad", "z p", "y", mode="wrap")], {"p": np.array([0, 0, 2, 1, 0, 0, 1, 5])}, [19]),
    "where constant": (
        lambda o: [node("Neg", "z", "n"), node("Where", "c z n", "y")],
        {"c": np.random.default_rng(0).random((3, 6)) < 0.5},
        [9, 16],
    ),
    "where some constant": (
        lambda o: [node("Where", "c z k", "y")],
        {"c": np.eye(3, 6) > 0, "k": floats(4, 1, 6)},
        [9, 16],
    ),
    "mean of three": (lambda o: [node("Neg", "z", "n"), node("Mean", "n z k", "y")], {"k": floats(6)}, [8, 13]),
    "max of three": (
        lambda o: [node("Neg", "z", "n"), node("Mul", "z h", "u"), node("Max", "n z u k", "y")],
        {"k": floats(6), "h": floats(3, 1)},
        [8, 12, 13],
    ),
    "min of three": (
        lambda o: [node("Neg", "z", "n"), node("Mul", "z h", "u"), node("Min", "n z u k", "y")],
        {"k": floats(6), "h": floats(3, 1)},
        [8, 12, 13],
    ),
    "global average": (lambda o: [node("GlobalAveragePool", "z", "y")], {}, [7, 21, 22]),
    "global max": (lambda o: [node("GlobalMaxPool", "z", "y")], {}, [7, 21, 22]),
    "batch normalisation": (
        lambda o: [node("BatchNormalization", "z s b m v", "y", epsilon=0.01)],
        {"s": floats(4), "b": floats(4), "m": floats(4), "v": np.abs(floats(4))},
        [9, 14, 15],
    ),
    "prelu per channel": (
        lambda o: [node("Sub", "z k", "n"), node("PRelu", "n s", "y")],
        {"k": np.abs(floats(6)), "s": floats(4, 1, 1)},
        [9, 16],
    ),
}
TRANSPOSED_BACK = node("Transpose", "u", "y", perm=[1, 0])
# onnx's evaluator does not know negative paddings or older ones, and normalises opset 9 by the batch.
WITHOUT_REFERENCE = {"pad constant", "pad by attributes", "batch normalisation"}


@pytest.mark.parametrize(
    ("name", "opset"), [(name, opset) for name, (_, _, opsets) in MOVES.items() for opset in opsets]
)
def test_moves_and_extremes(name: str, opset: int) -> None:
    nodes, constants, _ = MOVES[name]
    check(behind_a_layer(nodes(opset), constants, IMAGE, opset), IMAGE, reference=name not in WITHOUT_REFERENCE)


@pytest.mark.parametrize("opset", [11, 13, 18, 21])
def test_split(opset: int) -> None:
    last = [node("Concat", "c a b", "y", axis=1)]
    for sizes in ([2, 1, 1], None):
        constants = {} if sizes is None or opset < 13 else {"sizes": np.array(sizes)}
        attributes: dict[str, Any] = {"axis": 1}
        if sizes is not None and opset < 13:
            attributes["split"] = sizes
        if sizes is None and opset >= 18:
            attributes["num_outputs"] = 3
        channels = 4 if sizes is not None or opset >= 18 else 3
        split = node("Split", "z sizes" if constants else "z", "a b c", **attributes)
        shape = (channels, 3)
        # onnx's evaluator splits 4 into 3 parts in its own way
        check(behind_a_layer([split, *last], constants, shape, opset), shape, reference=sizes is not None)


def test_gather_elements() -> None:
    """Its indices are spelt out for every row, so that the file takes one row."""
    nodes = [node("GatherElements", "x i", "g", axis=1), node("Relu", "g", "y")]
    model = model_of(nodes, {"i": np.array([[2, -3, 0, 0]])}, inputs={"x": [1, 3]}, opset=13)
    x = floats(5, 3)
    assert np.array_equal(load(model).predict(x), np.maximum(x, 0)[:, [2, 0, 0, 0]])


@pytest.mark.parametrize("opset", [11, 13, 19])
@pytest.mark.parametrize("place", ["half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners"])
@pytest.mark.parametrize("rounding", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
def test_resizing_to_the_nearest(opset: int, place: str, rounding: str) -> None:
    how = {"coordinate_transformation_mode": place, "nearest_mode": rounding, "mode": "nearest"}
    constants = {"none": np.zeros(0, np.float32), "f": np.array([1, 1, 2, 1.5], np.float32)}
    by_scales = behind_a_layer([node("Resize", "z none f", "y", **how)], constants, (2, 3, 4), opset)
    check(by_scales, (2, 3, 4), reference=False)
    nodes = [node("Shape", "z", "s"), node("Slice", "s a b", "n"), node("Concat", "n c", "t", axis=0)]
    constants |= {"a": np.array([0]), "b": np.array([2]), "c": np.array([5, 2])}
    by_sizes = behind_a_layer([*nodes, node("Resize", "z none none t", "y", **how)], constants, (2, 3, 4), opset)
    check(by_sizes, (2, 3, 4), reference=False)


@pytest.mark.parametrize("opset", [7, 9, 10])
def test_resizing_as_older_files_have_it(opset: int) -> None:
    factors = np.array([1, 1, 2, 3], np.float32)
    if opset == 7:
        nodes = [node("Upsample", "z", "y", scales=factors.tolist())]
    else:
        nodes = [node("Upsample" if opset == 9 else "Resize", "z f", "y", mode="nearest")]
    check(behind_a_layer(nodes, {} if opset == 7 else {"f": factors}, (2, 3, 4), opset), (2, 3, 4), reference=False)


def test_interpolation_is_refused() -> None:
    model = behind_a_layer(
        [node("Resize", "z - f", "y", "up", mode="linear")], {"f": np.array([1, 1, 2, 2], np.float32)}, (2, 3, 4), 13
    )
    with pytest.raises(UnsupportedModelError, match=r"'up' \(Resize\) interpolates \(linear\)"):
        load(model)


# ---------------------------------------------------------------- convolution and pooling


@st.composite
def windows(draw: Any) -> tuple[tuple[int, ...], dict[str, Any]]:
    """Shape of one row, and the attributes of a window over it."""
    n = draw(st.integers(1, 3))
    sizes = [draw(st.integers(3, (0, 12, 7, 5)[n])) for _ in range(n)]
    kernel = [draw(st.integers(1, 3)) for _ in sizes]
    attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": [draw(st.integers(1, 3)) for _ in sizes]}
    auto = draw(st.sampled_from(["NOTSET", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]))
    if auto == "NOTSET":
        attributes["pads"] = [draw(st.integers(0, k - 1)) for k in kernel * 2]
    else:
        attributes["auto_pad"] = auto
        # onnxruntime cannot pad where strides pass over values
        attributes["strides"] = [min(s, k) for s, k in zip(attributes["strides"], kernel, strict=True)]
    fits = all((k - 1) * 2 + 1 <= s for k, s in zip(kernel, sizes, strict=True))
    if fits and not auto.startswith("SAME") and draw(st.booleans()):  # onnxruntime has not both
        attributes["dilations"] = [draw(st.integers(1, 2)) for _ in sizes]
    return (draw(st.integers(1, 3)), *sizes), attributes


EXAMPLES = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@EXAMPLES
@given(windows(), st.sampled_from([7, 11, 13, 22]), st.booleans(), st.data())
def test_convolution(drawn: Any, opset: int, declared: bool, data: Any) -> None:
    (channels, *sizes), attributes = drawn
    groups = data.draw(st.sampled_from([1, 1, channels]))
    outputs = groups * data.draw(st.integers(1, 2))
    attributes["group"] = groups
    kernel = attributes["kernel_shape"]
    if not declared:
        del attributes["kernel_shape"]
    constants = {"w": floats(outputs, channels // groups, *kernel), "b": floats(outputs)}
    nodes = [node("Conv", data.draw(st.sampled_from(["z w", "z w b"])), "c", **attributes), node("Relu", "c", "y")]
    shape = (channels, *sizes)
    # onnx's evaluator pads on the wrong side for SAME_LOWER
    reference = "auto_pad" not in attributes
    check(behind_a_layer(nodes, constants, shape, opset), shape, reference=reference, rows=5)


@EXAMPLES
@given(windows(), st.sampled_from([8, 11, 12, 18, 22]), st.booleans())
def test_max_pooling(drawn: Any, opset: int, ceil: bool) -> None:
    shape, attributes = drawn
    older = {"dilations"} if opset < 10 else set()
    attributes = {k: v for k, v in attributes.items() if k not in older}
    if ceil and opset >= 10:
        attributes["ceil_mode"] = 1
    model = behind_a_layer([node("MaxPool", "z", "y", "pool", **attributes)], {}, shape, opset)
    check(model, shape, reference=False, rows=5)


@EXAMPLES
@given(windows(), st.sampled_from([7, 10, 11, 18, 19, 22]), st.booleans(), st.booleans())
def test_average_pooling(drawn: Any, opset: int, ceil: bool, counted: bool) -> None:
    shape, attributes = drawn
    older = {"dilations"} if opset < 19 else set()
    attributes = {k: v for k, v in attributes.items() if k not in older}
    if ceil and opset >= 10:
        attributes["ceil_mode"] = 1
    model = behind_a_layer(
        [node("AveragePool", "z", "y", "pool", count_include_pad=int(counted), **attributes)], {}, shape, opset
    )
    check(model, shape, reference=False, rows=5)


@EXAMPLES
@given(windows(), st.sampled_from([7, 11, 22]), st.data())
def test_transposed_convolution(drawn: Any, opset: int, data: Any) -> None:
    (channels, *sizes), attributes = drawn
    attributes.pop("auto_pad", None)
    kernel = attributes["kernel_shape"]
    attributes["output_padding"] = [data.draw(st.integers(0, s - 1)) for s in attributes["strides"]]
    groups = data.draw(st.sampled_from([1, channels]))
    attributes["group"] = groups
    constants = {"w": floats(channels, data.draw(st.integers(1, 2)), *kernel)}
    constants["b"] = floats(groups * constants["w"].shape[1])
    shape = (channels, *sizes)
    model = behind_a_layer([node("ConvTranspose", "z w b", "y", **attributes)], constants, shape, opset)
    check(model, shape, reference=False, rows=5)


def test_pooling_of_a_dilated_window_with_automatic_padding_is_refused() -> None:
    pool = node("MaxPool", "z", "y", "pool", kernel_shape=[2], dilations=[2], auto_pad="SAME_UPPER")
    with pytest.raises(UnsupportedModelError, match=r"'pool' \(MaxPool\): auto_pad=SAME_UPPER with dilations"):
        load(behind_a_layer([pool], {}, (1, 6), 12))


def test_positions_of_the_largest_are_refused_where_they_are_used() -> None:
    pool = node("MaxPool", "z", "y i", kernel_shape=[2])
    check(behind_a_layer([pool], {}, (1, 6), 12), (1, 6), reference=False)
    used = [node("MaxPool", "z", "m i", kernel_shape=[2]), node("Cast", "i", "y", to=1)]
    with pytest.raises(UnsupportedModelError, match="'i', a side output"):
        load(behind_a_layer(used, {}, (1, 6), 12))


@pytest.mark.parametrize(
    ("op", "attributes", "message"),
    [
        ("Conv", {"strides": [0]}, "strides"),
        ("Conv", {"pads": [1, -1]}, "pads"),
        ("Conv", {"strides": [1, 1]}, "dimensions"),
        ("Conv", {"kernel_shape": [2]}, "kernel_shape"),
        ("Conv", {"group": 5}, "group"),
        ("Conv", {"dilations": [4]}, "larger than"),
        ("Conv", {"auto_pad": "SAME"}, "auto_pad|refuses"),
        ("MaxPool", {"kernel_shape": [9]}, "larger than"),
        ("AveragePool", {"kernel_shape": [2, 2]}, "dimensions"),
        ("ConvTranspose", {"output_shape": [9]}, "output shape"),
        ("ConvTranspose", {"output_padding": [3]}, "output padding"),
    ],
)
def test_windows_that_do_not_fit(op: str, attributes: dict[str, Any], message: str) -> None:
    weights = {"w": floats(2, 2, 3)} if op.startswith("Conv") else {}
    model = behind_a_layer([node(op, "z w" if weights else "z", "y", **attributes)], weights, (2, 6), 13, rank=3)
    with pytest.raises((MalformedModelError, UnsupportedModelError), match=message):
        load(model)


# ---------------------------------------------------------------- activations written as choices

CHOICES: dict[str, tuple[list[Any], dict[str, Any], int]] = {
    "leaky": (
        [node("Greater", "v zero", "c"), node("Mul", "v a", "s"), node("Where", "c v s", "y")],
        {"a": np.float32(0.1)},
        1,
    ),
    "leaky, the other way": (
        [node("Less", "v zero", "c"), node("Mul", "v a", "s"), node("Where", "c s v", "y")],
        {"a": np.float32(0.1)},
        1,
    ),
    "inverted": (
        [
            node("LessOrEqual", "v zero", "c"),
            node("Not", "c", "d"),
            node("Mul", "v a", "s"),
            node("Where", "d v s", "y"),
        ],
        {"a": floats(5)},
        1,
    ),
    "constant on the left": (
        [node("GreaterOrEqual", "zero v", "c"), node("Where", "c zero v", "y")],
        {},
        1,
    ),
    "threshold": ([node("Greater", "v k", "c"), node("Where", "c v k", "y")], {"k": floats(5)}, 1),
    "masked": ([node("Greater", "v zero", "c"), node("Cast", "c", "m", to=1), node("Mul", "v m", "y")], {}, 1),
    "masked below": (
        [
            node("Greater", "v zero", "c"),
            node("Cast", "c", "m", to=1),
            node("Sub", "one m", "n"),
            node("Mul", "n v", "y"),
        ],
        {"one": np.float32(1)},
        1,
    ),
    "masked by a constant too": (
        [
            node("Greater", "v zero", "c"),
            node("And", "c t", "d"),
            node("Cast", "d", "m", to=1),
            node("Mul", "v m", "y"),
        ],
        {"t": np.array([True])},
        1,
    ),
    "never": (
        [node("Greater", "v zero", "c"), node("And", "c f", "d"), node("Where", "d v u", "y")],
        {"f": np.array([False]), "u": floats(5)},
        0,
    ),
    "clipped": (
        [node("Max", "v lo", "m"), node("Min", "m hi", "y")],
        {"lo": np.float32(-0.3), "hi": np.float32(0.4)},
        2,
    ),
    "of something else": (
        [node("Greater", "v zero", "c"), node("Add", "v z", "s"), node("Where", "c s z", "y")],
        {},
        1,
    ),
    "two affine maps": (
        [node("Greater", "v z", "c"), node("Where", "c v z", "y")],
        {},
        1,
    ),
    "piece with an offset": (
        [node("Less", "v k", "c"), node("Mul", "v half", "s"), node("Add", "s h", "t"), node("Where", "c t v", "y")],
        {"k": np.float32(0.5), "half": np.float32(0.5), "h": np.float32(0.25)},
        1,
    ),
    "soft shrinkage": ([node("Shrink", "v", "y", lambd=0.25, bias=0.25)], {}, 2),
    "threshold of 0": ([node("ThresholdedRelu", "v", "y", alpha=0.0)], {}, 1),
    "absolute": ([node("Less", "v zero", "c"), node("Neg", "v", "n"), node("Where", "c n v", "y")], {}, 1),
}


@pytest.mark.parametrize("opset", [16, 21])
@pytest.mark.parametrize("name", CHOICES)
def test_choices_by_a_comparison(name: str, opset: int) -> None:
    nodes, constants, pieces = CHOICES[name]
    constants = {"zero": np.float32(0), "w": floats(5, 5), "b": floats(5)} | constants
    model = behind_a_layer([node("Gemm", "z w b", "v"), *nodes], constants, (5,), opset)
    network = check(model, (5,))
    assert network.n_bits == 5 + 5 * pieces


def test_choices_are_one_neuron_each_with_the_slopes_of_the_file() -> None:
    nodes = [node("Greater", "v zero", "c"), node("Mul", "v a", "s"), node("Where", "c v s", "y")]
    constants = {"zero": np.float32(0), "a": np.float32(0.1), "w": floats(5, 5), "b": floats(5)}
    network = load(behind_a_layer([node("Gemm", "z w b", "v"), *nodes], constants, (5,), 16))
    last = network.hidden[-1].activation
    assert len(network.hidden) == 2
    assert np.allclose(last.slopes, [np.float32(0.1), 1], rtol=1e-14, atol=0)
    assert not last.offsets.any()


def test_a_choice_by_what_is_constant() -> None:
    """Dead columns: what is compared does not depend on the input, and ties count as the file says."""
    w, b = floats(5, 5), floats(5)
    w[:, [1, 3, 4]], b[[1, 3, 4]] = 0, [0.0, -1.0, 2.0]
    for op in ("Greater", "GreaterOrEqual", "Less", "LessOrEqual"):
        nodes = [node("Gemm", "z w b", "v"), node(op, "v zero", "c"), node("Where", "c p q", "y")]
        if op.startswith("Greater"):
            steps = [node("Add", "v k", "p"), node("Mul", "v a", "s"), node("Add", "s k", "q")]
        else:
            steps = [node("Mul", "v a", "s"), node("Add", "s k", "p"), node("Add", "v k", "q")]
        nodes = [nodes[0], *steps, *nodes[1:]]
        constants = {"w": w, "b": b, "zero": np.float32(0), "a": np.float32(0.1), "k": floats(5)}
        check(behind_a_layer(nodes, constants, (5,), 16), (5,))


JUMPS: dict[str, tuple[list[Any], dict[str, Any], str]] = {
    "two constants": (
        [node("Greater", "v zero", "c"), node("Where", "c k l", "y")],
        {"k": floats(5), "l": floats(5)},
        "jumps",
    ),
    "other breakpoint": ([node("Greater", "v k", "c"), node("Where", "c v zero", "y")], {"k": floats(5)}, "jumps"),
    "another tensor": ([node("Greater", "v zero", "c"), node("Where", "c z v", "y")], {}, "jumps"),
    "gate": ([node("Greater", "v zero", "c"), node("Cast", "c", "m", to=1), node("Mul", "m z", "y")], {}, "jumps"),
    "mask itself": ([node("Greater", "v zero", "c"), node("Cast", "c", "y", to=1)], {}, "jumps from 0 to 1"),
    "mask added": (
        [node("Greater", "v zero", "c"), node("Cast", "c", "m", to=1), node("Add", "v m", "y")],
        {},
        "jumps from 0 to 1",
    ),
    "two conditions": (
        [
            *(node("Greater", "v zero", "c"), node("Less", "v k", "d"), node("And", "c d", "e")),
            node("Where", "e v zero", "y"),
        ],
        {"k": np.float32(1)},
        "two conditions",
    ),
    "equality": ([node("Equal", "v zero", "c"), node("Where", "c v zero", "y")], {}, "jumps"),
    "thresholded": ([node("ThresholdedRelu", "v", "y")], {}, "jumps from 0 to 1 at 1"),
    "hard shrinkage": ([node("Shrink", "v", "y")], {}, "jumps at ±0.5"),
    "sign": ([node("Sign", "v", "y")], {}, "jumps"),
    "floor": ([node("Floor", "v", "y")], {}, "jumps"),
    "round": ([node("Round", "v", "y")], {}, "jumps"),
}


@pytest.mark.parametrize("name", JUMPS)
def test_jumps_are_refused(name: str) -> None:
    nodes, constants, message = JUMPS[name]
    constants = {"zero": np.float32(0), "w": floats(5, 5), "b": floats(5)} | constants
    model = behind_a_layer([node("Gemm", "z w b", "v"), *nodes], constants, (5,), 16)
    with pytest.raises(UnsupportedModelError, match=rf"node \d+ of \d+.*{message}|{message}"):
        load(model)


# ---------------------------------------------------------------- constants that files compute

FOLDED: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "shape arithmetic": (
        [
            node("Shape", "z", "s"),
            node("Slice", "s one two", "c"),
            node("Mul", "c two", "d"),
            node("Div", "d two", "e"),
            node("Concat", "minus e", "t", axis=0),
            node("Reshape", "z t", "y"),
        ],
        {"one": np.array([1]), "two": np.array([2]), "minus": np.array([-1])},
    ),
    "expanded by ConstantOfShape and Where": (
        [
            node("ConstantOfShape", "n", "ones", value=onnx.helper.make_tensor("", 7, [1], [1])),
            node("Mul", "ones minus", "m"),
            node("Equal", "to m", "e"),
            node("Where", "e ones to", "shape"),
            node("Expand", "z shape", "y"),
        ],
        {"n": np.array([2]), "minus": np.array(-1), "to": np.array([-1, 6])},
    ),
    "range": (
        [
            node("Range", "zero six two", "i"),
            node("Mod", "i four", "j"),
            node("Gather", "z j", "y", axis=1),
        ],
        {"zero": np.array(0), "six": np.array(6), "two": np.array(2), "four": np.array(4)},
    ),
    "size": (
        [
            node("Size", "k", "n"),
            node("Cast", "n", "f", to=1),
            node("Sqrt", "f", "r"),
            node("Floor", "r", "g"),
            node("Reciprocal", "g", "h"),
            node("Mul", "z h", "y"),
        ],
        {"k": floats(9)},
    ),
    "non-zero": (
        [node("NonZero", "k", "i"), node("Squeeze", "i axis", "j"), node("Gather", "z j", "y", axis=1)],
        {"k": np.array([0, 1, 0, 0, 2, 3]), "axis": np.array([0])},
    ),
    "scattered weight": (
        [node("ScatterND", "w i u", "v"), node("ScatterElements", "v j k", "t", axis=1), node("MatMul", "z t", "y")],
        {
            **{"w": floats(6, 2), "i": np.array([[1], [-1]]), "u": floats(2, 2)},
            **{"j": np.array([[1], [0]]), "k": floats(2, 1)},
        },
    ),
    "normalised weight": (
        [
            node("ReduceL2", "v", "n", axes=[1], keepdims=1),
            node("Div", "v n", "u"),
            node("Mul", "u g", "w"),
            node("Gemm", "z w", "y", transB=1),
        ],
        {"v": floats(4, 6), "g": floats(4, 1)},
    ),
    "powers": (
        [
            node("Pow", "k two", "p"),
            node("Exp", "k", "e"),
            node("Ceil", "e", "c"),
            node("Add", "p c", "s"),
            node("Mul", "z s", "y"),
        ],
        {"k": floats(6), "two": np.float32(2)},
    ),
    "cast like": ([node("CastLike", "two z", "t"), node("Mul", "z t", "y")], {"two": np.array(2)}),
    "comparison of constants": (
        [
            node("Less", "k zero", "c"),
            node("Not", "c", "d"),
            node("Or", "c d", "e"),
            node("Xor", "c e", "f"),
            node("Where", "f z zero", "y"),
        ],
        {"k": floats(6), "zero": np.float32(0)},
    ),
}


@pytest.mark.parametrize("name", FOLDED)
def test_constants_that_a_file_computes(name: str) -> None:
    nodes, constants = FOLDED[name]
    check(behind_a_layer(nodes, constants, (6,), 16), (6,), reference=name != "cast like")


# ---------------------------------------------------------------- functions of the file's own


def with_functions(*functions: Any, calls: Sequence[Any], constants: dict[str, Any] | None = None) -> Any:
    model = model_of(calls, constants or {}, outputs={calls[-1].output[0]: [None, 3]}, opset=17, infer=False)
    model.functions.extend(functions)
    model.opset_import.append(onnx.helper.make_opsetid("mine", 1))
    return model


def function(name: str, inputs: str, outputs: str, nodes: Sequence[Any]) -> Any:
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("mine", 1)]
    return onnx.helper.make_function("mine", name, inputs.split(), outputs.split(), nodes, opsets)


def test_functions_are_written_out() -> None:
    dense = function(
        "Dense", "a w b", "c", [node("MatMul", "a w", "m"), node("Add", "m b", "n"), node("Relu", "n", "c")]
    )
    two = function(
        "Two", "a w b", "c", [node("Dense", "a w b", "d", domain="mine"), node("Dense", "d w b", "c", domain="mine")]
    )
    constants = {"w": floats(3, 3), "b": floats(3)}
    model = with_functions(dense, two, calls=[node("Two", "x w b", "y", domain="mine")], constants=constants)
    x = floats(30, 3)
    network = agrees(model, {"x": x}, x)
    assert len(network.hidden) == 2


def test_functions_that_would_grow_without_end_are_refused() -> None:
    doubled = [
        function(
            f"F{i}", "a", "c", [node(f"F{i + 1}", "a", "b", domain="mine"), node(f"F{i + 1}", "b", "c", domain="mine")]
        )
        for i in range(40)
    ]
    doubled.append(function("F40", "a", "c", [node("Relu", "a", "c")]))
    with pytest.raises(UnsupportedModelError, match=r"1,099,511,627,776 nodes"):
        load(with_functions(*doubled, calls=[node("F0", "x", "y", domain="mine")]))
    itself = function("F", "a", "c", [node("F", "a", "b", domain="mine"), node("Relu", "b", "c")])
    with pytest.raises(MalformedModelError, match=r"'mine\.F' of the file calls itself"):
        load(with_functions(itself, calls=[node("F", "x", "y", domain="mine")]))
    chain = [function(f"F{i}", "a", "c", [node(f"F{i + 1}", "a", "c", domain="mine")]) for i in range(5000)]
    chain.append(function("F5000", "a", "c", [node("Relu", "a", "c")]))
    with pytest.raises(MalformedModelError, match="levels deep"):
        load(with_functions(*chain, calls=[node("F0", "x", "y", domain="mine")]))
    heavy = node("Constant", "", "k", value=onnx.numpy_helper.from_array(floats(1, 500_000)))
    constant = function("K", "a", "c", [heavy, node("Add", "a k", "c")])
    calls = [node("K", "x" if i == 0 else f"t{i - 1}", f"t{i}", domain="mine") for i in range(200)]
    with pytest.raises(UnsupportedModelError, match="grows to"):
        load(with_functions(constant, calls=[*calls, node("Relu", "t199", "y")]))


def test_functions_cannot_stand_for_standard_operators() -> None:
    model = with_functions(calls=[node("Relu", "x", "y")])
    relu = onnx.helper.make_function(
        "", "Relu", ["a"], ["c"], [node("Abs", "a", "c")], [onnx.helper.make_opsetid("", 17)]
    )
    model.functions.append(relu)
    with pytest.raises(UnsupportedModelError, match="redefines standard operators"):
        load(model)


# ---------------------------------------------------------------- functions as exporters write them out

IDIOMS: dict[str, tuple[list[Any], dict[str, Any], str]] = {
    "gelu": (
        [
            node("Div", "v r", "d"),
            node("Erf", "d", "e"),
            node("Add", "e one", "f"),
            node("Mul", "v f", "g"),
            node("Mul", "g half", "y"),
        ],
        {"r": np.float32(2**0.5), "one": np.float32(1), "half": np.float32(0.5)},
        r"\(Erf\) is not supported. Here it is part of GELU",
    ),
    "gelu by tanh": (
        [
            *(node("Pow", "v three", "p"), node("Mul", "p c", "q"), node("Add", "v q", "s"), node("Mul", "s k", "t")),
            *(node("Tanh", "t", "u"), node("Add", "u one", "f"), node("Mul", "v f", "y")),
        ],
        {"three": np.float32(3), "c": np.float32(0.044715), "k": np.float32(0.8), "one": np.float32(1)},
        r"\(Pow\) is not supported. Here it is part of GELU",
    ),
    "silu": ([node("Sigmoid", "v", "s"), node("Mul", "v s", "y")], {}, r"\(Sigmoid\).*\(Mul\), part of SiLU"),
    "gate": ([node("Sigmoid", "v", "s"), node("Mul", "z s", "y")], {}, r"\(Sigmoid\).*\(Mul\), part of a gate"),
    "hard swish": (
        [
            node("Add", "v three", "a"),
            node("Clip", "a low high", "c"),
            node("Mul", "v c", "m"),
            node("Div", "m high", "y"),
        ],
        {"three": np.float32(3), "low": np.float32(0), "high": np.float32(6)},
        r"\(Mul\): it is part of HardSwish: a product",
    ),
    "hard swish by hard sigmoid": (
        [node("HardSigmoid", "v", "h"), node("Mul", "v h", "y")],
        {},
        r"\(Mul\): it is part of HardSwish: a product",
    ),
    "mish": (
        [node("Softplus", "v", "s"), node("Tanh", "s", "t"), node("Mul", "v t", "y")],
        {},
        r"\(Softplus\).*part of Mish",
    ),
    "layer normalisation": (
        [
            *(node("ReduceMean", "v", "m", axes=[-1]), node("Sub", "v m", "c"), node("Pow", "c two", "p")),
            *(node("ReduceMean", "p", "q", axes=[-1]), node("Add", "q tiny", "r"), node("Sqrt", "r", "s")),
            node("Div", "c s", "y"),
        ],
        {"two": np.float32(2), "tiny": np.float32(1e-5)},
        r"\(Pow\).*part of LayerNormalization",
    ),
    "layer normalisation by a product": (
        [
            *(node("ReduceMean", "v", "m", axes=[-1]), node("Sub", "v m", "c"), node("Mul", "c c", "p")),
            *(node("ReduceMean", "p", "q", axes=[-1]), node("Sqrt", "q", "s"), node("Div", "c s", "y")),
        ],
        {},
        r"\(Mul\): it is part of LayerNormalization",
    ),
    "rms normalisation": (
        [
            node("Pow", "v two", "p"),
            node("ReduceMean", "p", "q", axes=[-1]),
            node("Sqrt", "q", "s"),
            node("Div", "v s", "y"),
        ],
        {"two": np.float32(2)},
        r"\(Pow\).*part of RMSNormalization",
    ),
    "attention": (
        [
            node("Transpose", "v", "t"),
            node("MatMul", "v t", "q"),
            node("Softmax", "q", "p"),
            node("MatMul", "p v", "y"),
        ],
        {},
        r"\(MatMul\): it is part of attention",
    ),
}


@pytest.mark.parametrize("name", IDIOMS)
def test_functions_written_out_are_refused_by_their_own_names(name: str) -> None:
    nodes, constants, message = IDIOMS[name]
    constants = {"w": floats(5, 5), "b": floats(5)} | constants
    with pytest.raises(UnsupportedModelError, match=message):
        load(behind_a_layer([node("Gemm", "z w b", "v"), *nodes], constants, (5,), 17))


@pytest.mark.parametrize(
    ("op", "remedy"),
    [
        *((op, "train with ReLU") for op in ("Elu", "Selu", "Celu", "Gelu", "HardSwish", "Mish", "Softsign", "Tanh")),
        *((op, "BatchNormalization") for op in ("InstanceNormalization", "LayerNormalization", "LpNormalization")),
        *((op, "feedforward") for op in ("LSTM", "GRU", "RNN")),
        *((op, "before quantisation") for op in ("DynamicQuantizeLinear", "QLinearMatMul", "MatMulInteger")),
        ("Einsum", "affine layers"),
    ],
)
def test_refusals_name_the_node_and_a_way_out(op: str, remedy: str) -> None:
    n = {"InstanceNormalization": 3, "LayerNormalization": 2, "QLinearMatMul": 8, "MatMulInteger": 2}.get(op, 1)
    n = 3 if op in ("LSTM", "GRU", "RNN") else n
    attributes = (
        {"equation": "ij->i"}
        if op == "Einsum"
        else {"hidden_size": 3}
        if n == 3 and op in ("LSTM", "GRU", "RNN")
        else {}
    )
    model = model_of(
        [node("Relu", "x", "z"), node(op, " ".join(["z"] * n), "y", f"act/{op}", **attributes)],
        outputs={"y": [None, None]},
        opset=20,
        infer=False,
    )
    graph = parse_unchecked(model)
    with pytest.raises(UnsupportedModelError, match=rf"node 2 of 2, 'act/{op}' \({op}\) is not supported\..*{remedy}"):
        graph()


def parse_unchecked(model: Any) -> Callable[[], Any]:
    """Lower a model that onnx's checker might object to."""
    from relucidate.frameworks.onnx_graph import _plain
    from relucidate.frameworks.onnx_lowering import Lowering
    from relucidate.frameworks.onnx_values import raw_columns

    lowering = Lowering(_plain(model), ("a", "b", "c"))
    return lambda: lowering.run({"x": raw_columns(0, (1, 3), "float")}, "y")


# ---------------------------------------------------------------- the evaluation beside the lowering


@pytest.mark.parametrize("widen", [True, False])
def test_evaluation_alone_equals_onnxruntime(widen: bool) -> None:
    """It is what a network is compared with where onnxruntime is not installed."""
    nodes = [
        node("Conv", "z w b", "c", pads=[1, 1, 1, 1], dilations=[2, 1]),
        node("AveragePool", "c", "a", kernel_shape=[2, 2], ceil_mode=1, count_include_pad=1, pads=[1, 0, 0, 1]),
        node("MaxPool", "a", "m", kernel_shape=[2, 2], strides=[2, 1], auto_pad="SAME_LOWER"),
        node("Flatten", "m", "f"),
        node("Softmax", "f", "y"),
    ]
    model = behind_a_layer(nodes, {"w": floats(5, 3, 3, 2), "b": floats(5)}, (3, 8, 7), 19)
    x = floats(300, 3, 8, 7)
    (ours,) = Evaluation(parse(model.SerializeToString(), "model"), ["y"], widen=widen)({"x": x})
    assert ours.dtype == (np.float64 if widen else np.float32)
    assert np.allclose(ours, run(model, {"x": x}), atol=1e-6)
