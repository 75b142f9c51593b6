"""relucidate's own file: every number comes back bit by bit, and damage is refused with its place."""

import json
import math
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from relucidate.errors import (
    ArgumentError,
    ColumnError,
    MalformedModelError,
    ModelError,
    RelucidateError,
    UnsupportedModelError,
)
from relucidate.features import Feature, Features
from relucidate.frameworks import _proved, jsonfile, load
from relucidate.frameworks.jsonfile import write
from relucidate.frameworks.reading import Options
from relucidate.layers import Activation, Layer, is_sparse
from relucidate.network import Network, Provenance
from small_networks import SPECIMENS, network, random_network, rows_for

FEATURES = Features(
    (
        Feature("age", "age", impute=40.5),
        Feature("age missing", "age", "missing"),
        Feature("region=N", "region", "level", ("N", "north"), "N"),
        Feature("region=?", "region", "level", (math.nan,)),
        Feature("region other", "region", "other", ("N", "S", "north", math.nan)),
        Feature("size=1", "size", "level", (1, 2.5, math.inf)),
        Feature("flag", "flag", "level", (True,)),
    ),
    ("age", "spare", "region", "size", "flag"),
    True,
    (("region", ("N", "north", "S", math.nan, "W")),),
)


def categorical() -> Network:
    plain = random_network([7, 6, 1], seed=2, link="logit")
    return Network(plain.layers, FEATURES, "logit", ("no", "yes"), provenance=Provenance("a test", notes=("a note",)))


def read(path: Path, **options: Any) -> Network:
    """Read whatever the file looks like; `load` decides by its content whether it is one at all."""
    return _proved(jsonfile.read(path, Options(**options)), None)


def stored(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "net.json"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def same_bits(a: Any, b: Any) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def same(a: Network, b: Network) -> None:
    """Raise unless two networks hold the same numbers, bit by bit, under the same names."""
    assert len(a.layers) == len(b.layers)
    for one, other in zip(a.layers, b.layers, strict=True):
        assert one.name == other.name
        assert is_sparse(one.weight) == is_sparse(other.weight)
        pairs = [(one.bias, other.bias)]
        if is_sparse(one.weight):
            assert one.weight.shape == other.weight.shape
            pairs += [(one.weight.data, other.weight.data)]
            assert (one.weight.indices == other.weight.indices).all()
            assert (one.weight.indptr == other.weight.indptr).all()
        else:
            pairs.append((one.weight, other.weight))
        pairs += [
            (getattr(one.activation, p), getattr(other.activation, p)) for p in ("breakpoints", "slopes", "offsets")
        ]
        assert all(same_bits(*pair) for pair in pairs)
    assert repr(a.features) == repr(b.features)  # NaN equals nothing, but its text does
    assert (a.link, a.classes, a.outputs) == (b.link, b.classes, b.outputs)
    assert list(map(type, a.classes)) == list(map(type, b.classes))
    assert (a.provenance.source, a.provenance.operators) == (b.provenance.source, b.provenance.operators)
    assert a.provenance.notes == b.provenance.notes


# ---------------------------------------------------------------- what is written and read


@pytest.mark.parametrize("name", SPECIMENS)
def test_specimens_come_back_bit_by_bit(name: str, tmp_path: Path) -> None:
    net = SPECIMENS[name]
    back = load(stored(tmp_path, write(net)))
    same(back, net)
    rows = rows_for(net)
    assert same_bits(back.decision(rows), net.decision(rows))
    assert write(back) == write(net)
    assert back.faithfulness is not None
    assert back.faithfulness.against == f"plain evaluation of the file in numpy {np.__version__}"
    assert back.faithfulness.n >= 256
    assert back.provenance.path == str(tmp_path / "net.json")
    assert len(back.provenance.sha256) == 64


def test_categories_and_imputed_columns_come_back(tmp_path: Path) -> None:
    import pandas as pd

    net = categorical()
    back = load(stored(tmp_path, write(net)))
    same(back, net)
    table = pd.DataFrame(
        {
            "age": [20.0, np.nan, 70.0],
            "spare": [0, 0, 0],
            "region": ["north", None, "W"],
            "size": [1.0, 2.5, 7.0],
            "flag": [True, False, True],
        }
    )
    assert same_bits(back.decision(table), net.decision(table))
    assert (back.classes, back.outputs) == (("no", "yes"), ("y",))


def test_the_plain_evaluation_encodes_by_itself(tmp_path: Path) -> None:
    """A mistake in what the network makes of a column would be found."""
    reading = jsonfile.read(stored(tmp_path, write(categorical())), Options())
    (original,) = reading.originals
    ours = reading.network.decision(reading.probe)
    np.testing.assert_allclose(original.output(reading.probe), ours, rtol=1e-12, atol=1e-12)
    assert reading.network.features.encode(reading.probe)[:, :5].std(axis=0).all()


def test_odd_names_features_and_labels(tmp_path: Path) -> None:
    plain = random_network([2, 3, 4], seed=1)
    odd = 'a "quoted" \\ name\n\t\u202e<script>é\U0001f600'
    layers = (Layer(plain.layers[0].weight, plain.layers[0].bias, plain.layers[0].activation, odd), plain.layers[1])
    classes = (1, 1.5, True, odd)
    net = Network(layers, Features.plain(2, [odd, ""]), "softmax", classes, ("1", "", odd, "d"))
    back = load(stored(tmp_path, write(net)))
    same(back, net)
    unnamed = Network(net.layers, Features(net.features.items, net.features.columns, False), "softmax")
    assert load(stored(tmp_path, write(unnamed))).features == unnamed.features
    swapped = Features(net.features.items[::-1], net.features.columns, True)
    assert load(stored(tmp_path, write(Network(net.layers, swapped)))).features == swapped


def test_labels_of_numpy_are_written_as_what_they_are(tmp_path: Path) -> None:
    plain = random_network([2, 3, 3], seed=1, link="softmax")
    for classes in (
        np.array([1, 2, 5]),
        np.array([0.5, 1, 2]),
        np.array(["a", "b", "c"]),
        np.array([np.nan, np.inf, 1]),
    ):
        back = load(stored(tmp_path, write(Network(plain.layers, plain.features, "softmax", tuple(classes)))))
        assert str(back.classes) == str(tuple(classes.tolist()))


def test_labels_that_no_file_holds() -> None:
    plain = random_network([2, 3, 1], seed=1, link="logit")
    with pytest.raises(
        UnsupportedModelError, match=r"the class \(1, 2\) is a tuple; files hold text, numbers and booleans"
    ):
        write(Network(plain.layers, plain.features, "logit", ((1, 2), 3)))


def test_extreme_numbers(tmp_path: Path) -> None:
    tiny, huge, odd = 5e-324, 1.7976931348623157e308, 0.1 + 0.2
    first = np.array([[tiny, -0.0], [odd, 1e-300], [0.0, 3.0], [1.0, 2**53 + 2.0]])
    net = network([first, np.array([[tiny, odd, -0.0, 1e-9]])], [np.array([-0.0, tiny, huge / 1e10, 1.0]), np.zeros(1)])
    same(load(stored(tmp_path, write(net))), net)
    for activation in (
        Activation.build(4, [-0.0], [0, 1], [0, 0]),
        Activation.build(4, [0], [-0.0, 1], [0, 0]),
        Activation.build(4, [np.inf], [1, 1], [0, 0]),
        Activation.build(4, [-1, 2, np.inf], [0, 1 / 3, 0, 0], [-1 / 3, 0, 2 / 3, 2 / 3]),
        Activation.build(4, [], [0.5], [odd]),
    ):
        layers = (Layer(first, net.layers[0].bias * 0, activation), net.layers[1])
        other = Network(layers, net.features)
        same(load(stored(tmp_path, write(other))), other)


def test_layers_without_neurons_and_empty_sparse_rows(tmp_path: Path) -> None:
    identity = Activation.of_kind("identity", 1)
    last = Layer(np.zeros((1, 0)), np.ones(1), identity)
    for kind in ("relu", "identity"):
        none = Network((Layer(np.zeros((0, 3)), np.zeros(0), Activation.of_kind(kind, 0)), last), Features.plain(3))
        back = load(stored(tmp_path, write(none)))
        assert back.layers[0].weight.shape == (0, 3)
        assert (back.decision(np.ones((4, 3))) == 1).all()
    weight = csr_array(np.array([[0.0, 0.0, 0.0], [0.0, 2.0, 0.0]]))
    hidden = Layer(weight, np.array([1.0, -1.0]), Activation.of_kind("relu", 2))
    net = Network((hidden, Layer(np.ones((1, 2)), np.zeros(1), identity)), Features.plain(3))
    same(load(stored(tmp_path, write(net))), net)


finite = st.floats(-1e3, 1e3)


@st.composite
def activations(draw: Any, m: int) -> Activation:
    parts = []
    for _ in range(m):
        kind = draw(st.sampled_from(["relu", "identity", "abs", "leaky_relu", "clip", "pieces"]))
        if kind == "leaky_relu":
            parts.append(Activation.of_kind(kind, 1, draw(finite)))
        elif kind == "clip":
            low, high = sorted([draw(finite), draw(finite)])
            parts.append(Activation.of_kind(kind, 1, low, high))
        elif kind == "pieces":
            at = sorted(set(draw(st.lists(st.integers(-50, 50), max_size=4))))
            slopes = [draw(st.integers(-5, 5)) for _ in range(len(at) + 1)]
            offsets = [float(draw(st.integers(-5, 5)))]
            for b, before, after in zip(at, slopes, slopes[1:], strict=False):
                offsets.append(offsets[-1] + (before - after) * b)
            parts.append(Activation.build(1, at, slopes, offsets))
        else:
            parts.append(Activation.of_kind(kind, 1))
    return Activation.joined(parts)


@st.composite
def networks(draw: Any) -> Network:
    sizes = [draw(st.integers(1, 4)) for _ in range(draw(st.integers(2, 4)))]
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    layers = []
    for i, (k, m) in enumerate(pairwise(sizes)):
        activation = Activation.of_kind("identity", m) if i == len(sizes) - 2 else draw(activations(m))
        weight: Any = rng.normal(size=(m, k))
        if draw(st.booleans()):
            weight = csr_array(np.where(rng.random((m, k)) < 0.5, weight, 0))
        layers.append(Layer(weight, rng.normal(size=m), activation, draw(st.text(max_size=5).filter(_encodable))))
    link = draw(st.sampled_from(["identity", "logit", "softmax"]))
    names = draw(st.lists(st.text().filter(_encodable), min_size=sizes[0], max_size=sizes[0], unique=True))
    return Network(tuple(layers), Features.plain(sizes[0], draw(st.sampled_from([None, names]))), link)


def _encodable(text: str) -> bool:
    return not any("\ud800" <= c <= "\udfff" for c in text)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(networks())
def test_any_network_comes_back_bit_by_bit(tmp_path: Path, net: Network) -> None:
    back = load(stored(tmp_path, write(net)))
    same(back, net)


def test_the_file_is_strict_json_in_short_lines() -> None:
    text = write(SPECIMENS["mixed"])
    assert text.isascii()
    document = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert document["schema"] == "relucidate.network/1"
    assert next(iter(document)) == "schema"
    assert document["layers"][0]["activation"]["breakpoints"][5] == [None, None]
    assert [layer["activation"] for layer in json.loads(write(SPECIMENS["deep"]))["layers"]] == ["relu"] * 3 + [
        "identity"
    ]
    assert max(map(len, text.splitlines())) < 1000
    assert set(json.loads(write(SPECIMENS["sparse"]))["layers"][0]["weight"]) == {"shape", "data", "indices", "indptr"}


def test_written_by_hand(tmp_path: Path) -> None:
    """Whole numbers, any order of members, spaces, a byte order mark."""
    document = {
        "layers": [
            {"weight": [[1], [-1]], "bias": [0, 0], "name": "", "activation": "relu"},
            {"weight": [[1, 1]], "bias": [0], "name": "", "activation": "identity"},
        ],
        "features": {"names": ["x"], "named": True},
        "provenance": {"source": "by hand", "operators": [], "notes": []},
        "outputs": ["|x|"],
        "classes": [],
        "link": "identity",
        "schema": "relucidate.network/1",
    }
    content = "\ufeff" + json.dumps(document, indent=8)
    net = read(stored(tmp_path, content))
    assert net.decision(np.array([[-3.0], [2.0]])).ravel().tolist() == [3, 2]
    assert (net.outputs, net.provenance.source) == (("|x|",), "by hand")


# ---------------------------------------------------------------- options


def test_link_and_names(tmp_path: Path) -> None:
    path = stored(tmp_path, write(SPECIMENS["lines"]))
    net = load(path, link="logit", feature_names=["a", "b"])
    assert (net.link, net.feature_names) == ("logit", ("a", "b"))
    with pytest.raises(ArgumentError, match="link is 'probit'"):
        load(path, link="probit")
    with pytest.raises(ColumnError, match="3 feature names were given for a network with 2 inputs"):
        load(path, feature_names=["a", "b", "c"])
    path = stored(tmp_path, write(SPECIMENS["one logit"]))
    assert load(path, link="logit").link == "logit"
    with pytest.raises(ArgumentError, match="link='softmax', but the file says 'logit'"):
        load(path, link="softmax")
    with pytest.raises(ColumnError, match="names its own columns"):
        load(stored(tmp_path, write(categorical())), feature_names=list("abcdefg"))


@pytest.mark.parametrize("option", [{"inputs": ["x"]}, {"output": "y"}, {"architecture": [1, 2]}, {"normalise": True}])
def test_options_that_mean_nothing(tmp_path: Path, option: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match="means nothing for a relucidate JSON file; leave it out"):
        load(stored(tmp_path, write(SPECIMENS["lines"])), **option)


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "line 1, column 1 is no JSON: Expecting value"),
        ("[1, 2", "line 1, column 6 is no JSON: Expecting ',' delimiter.* The file is cut short or damaged"),
        ("[1, 2]", "it holds a list of 2; expected an object with the schema 'relucidate.network/1'"),
        ('"text"', "it holds 'text'; expected an object"),
        ("{}", "its schema is None; expected 'relucidate.network/1'. Other JSON files are not networks"),
        ('{"schema": "other/1"}', "its schema is 'other/1'; expected"),
        ('{"schema": 1}', "its schema is 1; expected"),
        ('{"schema": NaN}', "it holds NaN, which is no JSON; every number must be finite"),
        ('{"a": -Infinity}', "it holds -Infinity, which is no JSON"),
        ('{"a": 1, "a": 2}', "an object has two members 'a'; each may occur once"),
        ("[" * 100_000, "its lists are nested hundreds deep"),
        ('{"a":' * 100_000, "its lists are nested hundreds deep"),
        ("1" * 10_000, "it holds a number that cannot be read"),
        (b"\xff\xfe{\x00", "byte 0 is no UTF-8"),
        (b'{"schema": "\xe9"}', "byte 12 is no UTF-8"),
        (b'{"a": "\x00"}', "line 1, column 8 is no JSON: Invalid control character"),
        ('{"schema": "relucidate.network/1"}', "the file lacks 'link', 'classes', 'outputs', 'features', 'layers'"),
    ],
)
def test_files_that_are_none(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(MalformedModelError, match=message) as caught:
        read(stored(tmp_path, content))
    assert str(caught.value).startswith(f"{tmp_path / 'net.json'}: ")


def test_another_version_of_the_schema(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match=r"its schema is 'relucidate\.network/2'; this relucidate reads"):
        read(stored(tmp_path, '{"schema": "relucidate.network/2"}'))


def test_a_file_of_brackets_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    with pytest.raises(MalformedModelError, match="bytes of brackets and quotes for the most part"):
        read(stored(tmp_path, "[" + "[]," * 2_000_000 + "[]]"))


def document() -> Any:
    return json.loads(write(categorical()))


def sparse_document() -> Any:
    return json.loads(write(SPECIMENS["sparse"]))


FIRST = ("layers", 0)
WEIGHT = ("layers", 0, "weight")
ACTIVATION = ("layers", 0, "activation")
PIECES = {"breakpoints": [[0.0]] * 6, "slopes": [[0.0, 1.0]] * 6, "offsets": [[0.0, 0.0]] * 6}


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("link",), "probit", "link is 'probit'; expected one of identity, logit, softmax, log"),
        (("link",), 1, "link is 1; expected text"),
        (("extra",), 1, "the file has the unknown members 'extra'"),
        (("classes",), "no", "classes is 'no'; expected a list"),
        (("classes",), [1], "1 classes for 1 outputs; expected 2"),
        (("classes",), [[1], 2], "classes holds a list of 1; expected text, a finite number or a boolean"),
        (("classes",), [{"infinity": 2}, 2], "classes holds an object; expected text"),
        (("classes",), ["\ud800", "b"], r"classes is .*ud800.*, which is no valid text"),
        (("outputs",), ["a", "b"], "2 output names for 1 outputs"),
        (("outputs",), [1], "outputs is 1; expected text"),
        (("layers",), [], "A network needs at least one layer"),
        (("layers",), {}, "layers is an object; expected a list"),
        (("layers",), [{}] * 1001, "it has 1,001 layers; relucidate reads at most 1,000"),
        (FIRST, [], r"layers\[0\] is a list of 0; expected an object with name, weight, bias, activation"),
        (FIRST, {"name": ""}, r"layers\[0\] lacks 'weight', 'bias', 'activation'"),
        ((*FIRST, "name"), None, r"layers\[0\].name is None; expected text"),
        (
            (*FIRST, "bias"),
            [1.0] * 5,
            r"layers\[0\]: Layer 'dense 0': a weight of shape \(6, 7\) needs a bias of shape",
        ),
        ((*FIRST, "bias"), [1.0] * 5 + [True], r"layers\[0\].bias holds True; expected numbers"),
        ((*FIRST, "bias"), [1.0] * 5 + ["1"], r"layers\[0\].bias holds '1'; expected numbers"),
        ((*FIRST, "bias"), [1.0] * 5 + [None], r"layers\[0\].bias holds None; expected numbers"),
        ((*FIRST, "bias"), [10**400] * 6, r"layers\[0\].bias holds a number beyond the range of float64"),
        (WEIGHT, [[1.0] * 7] * 5 + [[1.0] * 6], r"layers\[0\].weight has rows of 6, 7 numbers"),
        (WEIGHT, [[1.0] * 8] * 6, "dense 0 has a weight of shape .6, 8. .out, in., but 7 values enter it"),
        (WEIGHT, [1.0] * 6, r"layers\[0\].weight is 1.0; expected a list"),
        (WEIGHT, [[[1.0]] * 7] * 6, r"layers\[0\].weight\[0\] holds a list of 1; expected numbers"),
        (WEIGHT, 3, r"layers\[0\].weight is 3; expected a list"),
        (WEIGHT, [], r"a weight of shape \(0, 7\) needs a bias of shape \(0,\)"),
        (ACTIVATION, "gelu", r"layers\[0\].activation is 'gelu'; expected 'identity', 'relu' or an object"),
        (ACTIVATION, None, r"layers\[0\].activation is None; expected an object with breakpoints, slopes, offsets"),
        (
            ACTIVATION,
            PIECES | {"slopes": [[0.0]] * 6},
            r"layers\[0\].activation: An activation with breakpoints \(6, 1\)",
        ),
        (ACTIVATION, PIECES | {"offsets": [[0.0, 5.0]] * 6}, r"layers\[0\].activation: .*must be continuous"),
        (ACTIVATION, PIECES | {"breakpoints": [["0"]] * 6}, r"activation.breakpoints\[0\] holds '0'; expected numbers"),
        (ACTIVATION, PIECES | {"breakpoints": [0] * 6}, r"activation.breakpoints is 0; expected a list"),
        (ACTIVATION, PIECES | {"slopes": []}, r"activation.slopes is empty; expected a row for each neuron"),
        (("layers", 1, "activation"), "relu", "The output layer must be affine"),
        (("features",), [], "features is a list of 0; expected an object with named, columns, items, known"),
        (("features",), {"named": True, "names": ["a", "a"]}, "features.names names 'a' twice"),
        (("features",), {"named": 1, "names": list("abcdefg")}, "features.named is 1; expected true or false"),
        (("features", "columns"), ["age", "age"], "features.columns names 'age' twice"),
        (
            ("features", "items", 0, "column"),
            "none",
            r"features.items\[0\].column is 'none', which features.columns do",
        ),
        (
            ("features", "items", 0, "kind"),
            "power",
            r"features.items\[0\].kind is 'power'; expected one of value, level",
        ),
        (("features", "items", 0, "kind"), {}, r"features.items\[0\].kind is \{\}; expected one of"),
        (("features", "items", 0, "impute"), "x", r"features.items\[0\].impute is 'x'; expected a number"),
        (("features", "items", 0, "name"), "flag", "features.items names 'flag' twice"),
        (("features", "items", 2, "levels"), [{}], r"features.items\[2\].levels holds an object; expected text"),
        (("features", "known"), [["none", []]], r"features.known holds \['none', \[\]\]; expected pairs"),
        (("features", "known"), [3], "features.known holds 3; expected pairs"),
        (("provenance",), {}, "provenance lacks 'source', 'operators', 'notes'"),
        (("provenance", "operators"), [["Gemm", 1.5]], "provenance.operators holds .* expected pairs .name, number."),
        (("provenance", "notes"), "a note", "provenance.notes is 'a note'; expected a list"),
    ],
)
def test_damage_is_refused_with_its_place(tmp_path: Path, place: tuple[Any, ...], value: Any, message: str) -> None:
    changed = document()
    at = changed
    for step in place[:-1]:
        at = at[step]
    at[place[-1]] = value
    with pytest.raises(ModelError, match=message):
        read(stored(tmp_path, json.dumps(changed)))


@pytest.mark.parametrize(
    ("member", "value", "message"),
    [
        ("shape", [12], r"layers\[0\].weight.shape is \[12\]; expected \(outputs, inputs\)"),
        ("shape", [12, -6], "expected .outputs, inputs."),
        ("shape", [12, 6.0], "shape holds 6.0; expected whole numbers"),
        ("shape", [12, 10**30], "shape holds 10+.*; expected whole numbers"),
        ("shape", [2**40, 6], "is no sparse matrix of shape"),
        ("shape", [12, 2], "is no sparse matrix of shape"),
        ("shape", [12, 2**40], "has a weight of shape .12, 1099511627776. .out, in., but 6 values enter it"),
        ("indices", [0], "hold.* 1 indices and 13 row pointers that do not fit together"),
        ("indptr", [0] * 13, "is no sparse matrix of shape"),
        ("indptr", [], "0 row pointers"),
        ("data", "abc", "data is 'abc'; expected a list"),
    ],
)
def test_damaged_sparse_weights(tmp_path: Path, member: str, value: Any, message: str) -> None:
    changed = sparse_document()
    changed["layers"][0]["weight"][member] = value
    with pytest.raises(MalformedModelError, match=message):
        read(stored(tmp_path, json.dumps(changed)))


def test_cut_short_at_any_place(tmp_path: Path) -> None:
    text = write(SPECIMENS["abs"]).rstrip()
    for end in range(len(text)):
        with pytest.raises(MalformedModelError, match="is no JSON"):
            read(stored(tmp_path, text[:end]))


def test_one_changed_byte_is_refused_or_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    data = bytearray(write(SPECIMENS["xor"]), "ascii")
    for _ in range(400):
        at, bit = int(rng.integers(len(data))), 1 << int(rng.integers(8))
        data[at] ^= bit
        try:
            assert read(stored(tmp_path, bytes(data))).faithfulness is not None
        except RelucidateError as problem:
            assert str(tmp_path) in str(problem)  # noqa: PT017  # most are refused, not all
        data[at] ^= bit


def test_nesting_does_not_depend_on_the_recursion_limit(tmp_path: Path) -> None:
    deep = stored(
        tmp_path, '{"schema": ' + "[" * (sys.getrecursionlimit() * 20) + "]" * (sys.getrecursionlimit() * 20) + "}"
    )
    with pytest.raises(MalformedModelError, match="nested hundreds deep"):
        read(deep)
