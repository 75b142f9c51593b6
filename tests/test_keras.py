"""Keras models, live and saved by Keras itself: what is read equals what Keras computes; the rest is refused by name."""

import subprocess
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relucidate.errors import (
    ArgumentError,
    ColumnError,
    MalformedModelError,
    RelucidateError,
    UnsafeFileError,
    UnsupportedModelError,
)
from relucidate.frameworks import _proved, keras_graph, load
from relucidate.frameworks import keras as reader
from relucidate.frameworks.reading import Options
from relucidate.network import Network

# Keras' own, on PyTorch: it asks its variables for arrays in a way that numpy 2 is leaving behind.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)

Floats = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def made() -> ModuleType:
    """The specimens; Keras is imported here, once, since that takes seconds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import keras_networks
    return keras_networks


@pytest.fixture(autouse=True)
def _fresh(made: ModuleType) -> None:
    made.keras.utils.set_random_seed(0)


def specimens() -> list[str]:
    """Their names, read without importing Keras."""
    source = (Path(__file__).parent / "keras_networks.py").read_text(encoding="utf-8")
    table = source[source.index("MODELS: dict") :]
    plain = [line.split('"')[1] for line in table.splitlines() if line.startswith('    "') and ": " in line]
    return [name for name in plain if not name.startswith("activation {")]


ACTIVATIONS = (
    "linear",
    "relu",
    "relu6",
    "leaky_relu",
    "hard_sigmoid",
    "hard_tanh",
    "soft_shrink",
    "sparse_sigmoid",
)


def live(model: Any, **options: Any) -> Network:
    return _proved(reader.read(model, Options(**options)), None)


def agrees(made: ModuleType, model: Any, folder: Path, **options: Any) -> Network:
    """Read a model and both of its files, compare them with Keras on rows that the reader did not choose."""
    modern, legacy = made.saved(model, folder)
    networks = [live(model, **options), load(modern, **options), load(legacy, **options)]
    rows = made.rows_for(model)
    theirs = made.outputs_of(model, rows)
    ours = [network.predict(rows) for network in networks]
    if any("log-probabilities" in note for note in networks[0].provenance.notes):
        theirs = np.exp(theirs)
    assert (np.abs(ours[0] - theirs) / (1 + np.abs(theirs))).max() < 1e-5
    for other, network in zip(ours[1:], networks[1:], strict=True):
        assert np.abs(other - ours[0]).max() < 1e-12
        assert network.faithfulness is not None
        assert network.faithfulness.against == "layer-by-layer evaluation in float64"
    assert networks[0].faithfulness is not None
    assert networks[0].faithfulness.against == f"Keras {made.keras.__version__} on {made.keras.backend.backend()}"
    assert len({network.provenance.operators for network in networks}) == 1
    return networks[0]


# ---------------------------------------------------------------- what is read


@pytest.mark.parametrize("name", [*specimens(), *(f"activation {name}" for name in ACTIVATIONS)])
def test_every_layer_in_every_form(made: ModuleType, tmp_path: Path, name: str) -> None:
    agrees(made, made.randomised(made.MODELS[name]()), tmp_path)


def test_every_specimen_is_tried(made: ModuleType) -> None:
    assert {*specimens(), *(f"activation {name}" for name in ACTIVATIONS)} == set(made.MODELS)


def test_stored_weights_stay_as_they_are(made: ModuleType) -> None:
    model = made.randomised(made.MODELS["sigmoid"]())
    network = live(model)
    first, last = network.layers
    (w1, b1), (w2, b2) = (layer.get_weights() for layer in model.layers)
    assert np.array_equal(first.weight, w1.T)
    assert np.array_equal(first.bias, b1)
    assert np.array_equal(last.weight, w2.T)
    assert np.array_equal(last.bias, b2)
    assert [layer.name for layer in network.layers] == [layer.name for layer in model.layers]
    assert network.link == "logit"
    assert network.provenance.source == f"Keras {made.keras.__version__} model"
    assert network.provenance.operators == (("Dense", 2),)
    assert "(Dense) is the link (logit)" in network.provenance.notes[0]


def test_reading_warns_of_nothing(made: ModuleType, tmp_path: Path) -> None:
    model = made.MODELS["nested"]()
    paths = made.saved(model, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        live(model)
        for path in paths:
            load(path)


@pytest.mark.parametrize(
    ("name", "link", "classes"),
    [("sigmoid", "logit", 2), ("sigmoids", "logit", 3), ("softmax", "softmax", 3), ("mlp", "identity", 0)],
)
def test_links(made: ModuleType, name: str, link: str, classes: int) -> None:
    network = live(made.MODELS[name]())
    assert network.link == link
    assert network.n_classes == classes


def test_all_class_names_are_written_as_keras_writes_them(made: ModuleType) -> None:
    from keras.src.utils.naming import to_snake_case

    names = [name for name in dir(made.L) if name[0].isupper()]
    assert len(names) > 100
    assert [keras_graph._snake_case(name) for name in names] == [to_snake_case(name) for name in names]


def test_a_layer_shared_between_nested_models(made: ModuleType, tmp_path: Path) -> None:
    keras, L = made.keras, made.L
    twice = L.Dense(4, activation="relu", name="twice")
    a, b = keras.Input((4,)), keras.Input((4,))
    one, two = keras.Model(a, L.Dense(4, name="own")(twice(a)), name="one"), keras.Model(b, twice(b), name="two")
    x = keras.Input((4,))
    agrees(made, made.randomised(keras.Model(x, L.Dense(1)(L.Add()([one(x), two(twice(x))])))), tmp_path)


def test_a_sequential_that_was_built_by_its_first_batch(made: ModuleType, tmp_path: Path) -> None:
    model = made.keras.Sequential([made.L.Dense(5, activation="relu"), made.L.Dense(2)])
    model(np.zeros((1, 3), np.float32))
    agrees(made, made.randomised(model), tmp_path)


def test_weights_with_lora_are_merged_in_files(made: ModuleType, tmp_path: Path) -> None:
    model = made.randomised(made.MODELS["mlp"]())
    model.layers[0].enable_lora(2)
    model.layers[0].lora_kernel_b.assign(np.ones(model.layers[0].lora_kernel_b.shape))
    model.save(tmp_path / "m.keras")
    rows = made.rows_for(model)
    assert np.allclose(load(tmp_path / "m.keras").predict(rows), made.outputs_of(model, rows), atol=1e-5)
    with pytest.raises(
        MalformedModelError, match=r"needs 2 arrays \(kernel, bias\); there are 4. .* LoRA weights is not read"
    ):
        live(model)


def test_weights_in_double_precision_stay_as_they_are(made: ModuleType, tmp_path: Path) -> None:
    made.keras.config.set_dtype_policy("float64")
    try:
        model = made.sequence((3,), made.L.Dense(5, "relu"), made.L.Dense(1))
    finally:
        made.keras.config.set_dtype_policy("float32")
    network = agrees(made, made.randomised(model), tmp_path)
    kernel = made.keras.ops.convert_to_numpy(model.layers[0].kernel)
    assert kernel.dtype == np.float64
    assert np.array_equal(network.layers[0].weight, kernel.T)


def test_half_precision_is_said(made: ModuleType, tmp_path: Path) -> None:
    L = made.L
    model = made.sequence((3,), L.Dense(5, "relu", dtype="mixed_float16"), L.Dense(1, dtype="float32"))
    model.save(tmp_path / "m.keras")
    notes = load(tmp_path / "m.keras").provenance.notes
    assert any("mixed_float16: layers compute in half precision" in note for note in notes)
    with pytest.raises(UnsupportedModelError, match=r"compute in half precision \(mixed_float16\), too coarsely"):
        live(model)


def test_average_pooling_with_uneven_padding_differs_on_torch(made: ModuleType, tmp_path: Path) -> None:
    if made.keras.backend.backend() != "torch":
        pytest.skip("other backends leave padding out")
    model = made.images(made.L.AveragePooling2D(3, strides=2, padding="same", name="mean"))
    with pytest.raises(UnsupportedModelError, match=r"layer 'mean' .*its padding is uneven, where Keras on PyTorch"):
        live(model)
    for path in made.saved(model, tmp_path):
        assert any("uneven padding" in note for note in load(path).provenance.notes)


# ---------------------------------------------------------------- trained on data


def test_trained_on_a_table_with_its_scaler(made: ModuleType, tmp_path: Path) -> None:
    from sklearn.datasets import load_breast_cancer

    X, y = load_breast_cancer(return_X_y=True)
    X = X.astype("float32")
    scaler = made.L.Normalization()
    scaler.adapt(X)
    model = made.sequence(
        (30,), scaler, made.L.Dense(12, activation="relu"), made.L.Dense(8, "relu"), made.L.Dense(1, "sigmoid")
    )
    model.compile("adam", "binary_crossentropy")
    model.fit(X, y, epochs=5, verbose=0)
    modern, legacy = made.saved(model, tmp_path)
    theirs = model.predict(X, verbose=0)
    for network in (live(model), load(modern), load(legacy)):
        assert np.abs(network.predict(X) - theirs).max() < 1e-5
        assert ((network.predict(X) > 0.5)[:, 0] == y).mean() > 0.85
        # the scaler is folded in: coefficients are per unit of the table
        assert network.layers[0].weight.shape == (12, 30)


def test_trained_on_images(made: ModuleType, tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    images = X.reshape(-1, 8, 8, 1).astype("float32")
    model = made.mnist_like()
    model.compile("adam", "sparse_categorical_crossentropy")
    keep = y < 4
    images, y = images[keep], y[keep]
    model.fit(images, y, epochs=2, verbose=0)
    modern, legacy = made.saved(model, tmp_path)
    theirs = model.predict(images, verbose=0)
    for network in (live(model), load(modern), load(legacy)):
        assert np.abs(network.predict(images[:300]) - theirs[:300]).max() < 1e-5


def test_trained_regression(made: ModuleType, tmp_path: Path) -> None:
    from sklearn.datasets import load_diabetes

    X, y = load_diabetes(return_X_y=True)
    x = made.keras.Input((10,))
    h = made.L.LeakyReLU()(made.L.BatchNormalization()(made.L.Dense(10)(x)))
    model = made.keras.Model(x, made.L.Dense(1)(made.L.Add()([x[:, :1], made.L.Dense(1)(h)])))
    model.compile("adam", "mse")
    model.fit(X.astype("float32"), y, epochs=3, verbose=0)
    agrees(made, model, tmp_path)


# ---------------------------------------------------------------- inputs and outputs


def test_columns_come_in_the_order_of_the_inputs(made: ModuleType, tmp_path: Path) -> None:
    import pandas as pd

    model = made.randomised(made.MODELS["several inputs"]())
    network = agrees(made, model, tmp_path)
    names = tuple(i.name for i in model.inputs)
    assert network.feature_names == names
    rows = made.rows_for(model)
    table = pd.DataFrame(rows, columns=list(names))[list(reversed(names))]
    assert np.array_equal(network.predict(table), network.predict(rows))
    other = live(model, inputs=list(reversed(names)))
    assert other.feature_names == tuple(reversed(names))
    assert np.allclose(other.predict(rows[:, ::-1]), network.predict(rows), atol=1e-12)
    with pytest.raises(ArgumentError, match=r"inputs=\['age'\] must list each input that the output needs once"):
        live(model, inputs=["age"])


def test_inputs_wider_than_one_column(made: ModuleType, tmp_path: Path) -> None:
    model = made.randomised(made.MODELS["wide inputs"]())
    network = agrees(made, model, tmp_path)
    rows = made.rows_for(model)
    other = live(model, inputs=["a", "b"], feature_names=[*"pqrstuv"])
    assert other.feature_names == tuple("pqrstuv")
    assert np.allclose(other.predict(np.hstack([rows[:, 3:], rows[:, :3]])), network.predict(rows), atol=1e-12)
    with pytest.raises(ColumnError, match="2 feature names were given for 7 input columns; give one each"):
        live(model, feature_names=["a", "b"])


@pytest.fixture
def two_outputs(made: ModuleType) -> Any:
    keras, L = made.keras, made.L
    x, z = keras.Input((3,), name="x"), keras.Input((2,), name="z")
    h = L.Dense(6, activation="relu", name="hidden")(x)
    both = {
        "risk": L.Dense(1, "sigmoid", name="risk_head")(h),
        "sum": L.Dense(2, name="sum_head")(L.Concatenate()([h, z])),
    }
    return made.randomised(keras.Model([x, z], both))


def test_one_of_several_outputs_is_chosen(made: ModuleType, two_outputs: Any, tmp_path: Path) -> None:
    model = two_outputs
    sources = [model, *made.saved(model, tmp_path)]
    rows = made.rows_for(model)
    theirs = model([rows[:, :3].astype("float32"), rows[:, 3:].astype("float32")], training=False)

    def loaded(source: Any, **options: Any) -> Network:
        return load(source, **options) if isinstance(source, Path) else live(source, **options)

    for source in sources:
        with pytest.raises(UnsupportedModelError, match=r"has 2 outputs, 'risk_head', 'sum_head'. Give output="):
            loaded(source)
        with pytest.raises(ArgumentError, match="output='nothing' is no layer of the model"):
            loaded(source, output="nothing")
        risk, total = loaded(source, output="risk_head"), loaded(source, output="sum_head")
        assert risk.n_features == 3
        assert risk.link == "logit"
        assert "inputs without influence left out: 'z'" in risk.provenance.notes
        assert np.abs(risk.predict(rows[:, :3]) - made.keras.ops.convert_to_numpy(theirs["risk"])).max() < 1e-5
        assert np.abs(total.predict(rows) - made.keras.ops.convert_to_numpy(theirs["sum"])).max() < 1e-5
        hidden = loaded(source, output="hidden")
        assert hidden.n_outputs == 6
        assert (hidden.predict(rows[:, :3]) >= 0).all()


def test_what_enters_a_link_can_be_chosen(made: ModuleType, tmp_path: Path) -> None:
    model = made.randomised(made.MODELS["sigmoid layer"]())
    with pytest.raises(ArgumentError, match=r"give output='(dense.*)' to start from what enters it") as caught:
        live(model, link="identity")
    name = str(caught.value).split("output='")[1].split("'")[0]
    network = live(model, output=name)
    assert network.link == "identity"
    rows = made.rows_for(model)
    assert np.allclose(network.predict(rows), live(model).decision(rows), atol=1e-12)


@pytest.mark.parametrize("option", [{"architecture": [3, 1]}, {"normalise": True}])
def test_options_that_mean_nothing_here(made: ModuleType, option: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match="means nothing for a Keras model"):
        live(made.MODELS["mlp"](), **option)


# ---------------------------------------------------------------- what is refused

GATES = "a product of two tensors that both depend on the input is not piecewise linear"
REFUSED = {
    "tanh": (lambda L: L.Dense(3, "tanh"), r"\(Dense\): its activation 'tanh' is not piecewise linear"),
    "gelu": (lambda L: L.Dense(3, "gelu"), r"its activation 'gelu' is not piecewise linear"),
    "swish": (lambda L: L.Activation("swish"), r"\(Activation\): its activation 'silu' is not piecewise linear"),
    "softplus": (lambda L: L.Activation("softplus"), "its activation 'softplus' is not piecewise linear"),
    "a jump": (lambda L: L.Activation("hard_shrink"), "its activation 'hard_shrink' jumps"),
    "elu": (lambda L: L.ELU(), r"\(ELU\): it is not supported. It is not piecewise linear"),
    "hidden sigmoid": (lambda L: L.Dense(3, "sigmoid"), r"sigmoid is not piecewise linear; inside a network"),
    "hidden softmax": (
        lambda L: L.Softmax(),
        r"softmax is not piecewise linear; inside a network .* \(here layer 'last'",
    ),
    "threshold": (lambda L: L.ReLU(threshold=0.5), r"\(ReLU\): it has a threshold other than 0, where it jumps"),
    "layer norm": (lambda L: L.LayerNormalization(), r"\(LayerNormalization\): it is not supported"),
    "unit norm": (lambda L: L.UnitNormalization(), r"\(UnitNormalization\): it is not supported"),
    "renorm": (lambda L: L.BatchNormalization(renorm=True), "it renormalises batches"),
}
IN_SERIES = {
    "lstm": (lambda L: L.LSTM(3), r"\(LSTM\): it is not supported. It carries a state along a sequence"),
    "gru": (lambda L: L.GRU(3), r"\(GRU\): it is not supported. It carries a state"),
    "wrapped": (lambda L: L.TimeDistributed(L.Dense(2)), r"\(TimeDistributed\): it is not supported. Build the model"),
    "transposed": (lambda L: L.Conv1DTranspose(2, 2), r"\(Conv1DTranspose\): it is not supported"),
    "two softmaxes": (lambda L: L.Softmax(), "a softmax along axis 2 of a tensor of shape"),
}


@pytest.mark.parametrize("case", [*REFUSED, *IN_SERIES])
def test_other_layers_are_refused_by_name(made: ModuleType, tmp_path: Path, case: str) -> None:
    layer, text = REFUSED.get(case) or IN_SERIES[case]
    shape = (4,) if case in REFUSED else (5, 4)
    model = made.sequence(shape, layer(made.L), made.L.Flatten(name="last"), made.L.Dense(1))
    if case == "hidden softmax":
        model = made.sequence(shape, layer(made.L), made.L.Dense(1, name="last"))
    for source in (model, *made.saved(model, tmp_path)):
        with pytest.raises(UnsupportedModelError, match=text):
            load(source) if isinstance(source, Path) else live(source)


def joined(made: ModuleType, join: Any) -> Any:
    x = made.keras.Input((4, 3))
    return made.keras.Model(x, join(made.L, made.L.Dense(3)(x), made.L.Dense(3)(x)))


@pytest.mark.parametrize(
    ("join", "text"),
    [
        (lambda L, a, b: L.Multiply()([a, b]), rf"\(Multiply\): {GATES}"),
        (lambda L, a, b: a * b, rf"\(Multiply\): {GATES}"),
        (lambda L, a, b: a / b, "a division by something that depends on the input"),
        (lambda L, a, b: L.Dot(axes=2)([a, b]), r"\(Dot\): it is not supported. It multiplies what it takes"),
        (lambda L, a, b: L.Attention()([a, b]), r"\(Attention\): it is not supported. It multiplies"),
        (lambda L, a, b: L.MultiHeadAttention(2, 2)(a, b), r"\(MultiHeadAttention\): it is not supported"),
        (lambda L, a, b: L.Dropout(0.5)(a, training=True), r"\(Dropout\): it is called in training mode"),
        (lambda L, a, b: L.Softmax()(a, mask=b), r"\(Softmax\): it is called with 'mask', which is not read"),
    ],
)
def test_joints_that_are_refused(made: ModuleType, tmp_path: Path, join: Any, text: str) -> None:
    model = joined(made, join)
    model.save(tmp_path / "m.keras")
    for source in (lambda: live(model), lambda: load(tmp_path / "m.keras")):
        with pytest.raises(UnsupportedModelError, match=text):
            source()


def test_embeddings_are_refused(made: ModuleType) -> None:
    model = made.keras.Sequential([made.keras.Input((4,), dtype="int32"), made.L.Embedding(5, 2), made.L.Flatten()])
    with pytest.raises(UnsupportedModelError, match="takes 'int32'; only numbers"):
        live(model)
    model = made.sequence((4,), made.L.Embedding(5, 2), made.L.Flatten())
    with pytest.raises(UnsupportedModelError, match=r"\(Embedding\): it is not supported. Encode the columns before"):
        live(model)


def test_lambdas_are_refused(made: ModuleType, tmp_path: Path) -> None:
    model = made.sequence((4,), made.L.Dense(3), made.L.Lambda(lambda x: abs(x), name="mine"), made.L.Dense(1))
    with pytest.raises(
        UnsupportedModelError, match=r"layer 'mine' \(Lambda\): it holds Python code .* ONNX and load that"
    ):
        live(model)
    for path in made.saved(model, tmp_path):
        with pytest.raises(UnsafeFileError, match=r"layer 'mine' \(Lambda\): it holds Python code .* Nothing was run"):
            load(path)


def test_classes_of_ones_own_are_refused(made: ModuleType, tmp_path: Path) -> None:
    @made.keras.saving.register_keras_serializable("mine")
    class Mine(made.L.Layer):  # type: ignore[misc,name-defined]
        def call(self, x: Any) -> Any:
            return x

    model = made.sequence((4,), made.L.Dense(3), Mine(name="own"), made.L.Dense(1))
    with pytest.raises(UnsupportedModelError, match=r"layer 'own' \(Mine\): 'mine>Mine' is a class of somebody's own"):
        live(model)
    model.save(tmp_path / "m.keras")
    with pytest.raises(UnsupportedModelError, match=r"layer 'own' \(Mine\): 'mine>Mine' is a class of somebody's own"):
        load(tmp_path / "m.keras")


def test_models_whose_forward_pass_is_code(made: ModuleType, tmp_path: Path) -> None:
    class Mine(made.keras.Model):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.dense = made.L.Dense(1)

        def call(self, x: Any) -> Any:
            return self.dense(x) ** 2

    model = Mine()
    model(np.zeros((1, 3), np.float32))
    assert reader.recognises(model)
    with pytest.raises(UnsupportedModelError, match=r"a model whose forward pass is Python code, .* functional model"):
        live(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(tmp_path / "m.keras")
    with pytest.raises(RelucidateError, match=r"'Mine' of the module|the class 'Mine', whose forward pass is code"):
        load(tmp_path / "m.keras")


def test_a_model_that_is_not_built(made: ModuleType) -> None:
    model = made.keras.Sequential([made.L.Dense(3), made.L.Dense(1)], name="fresh")
    with pytest.raises(UnsupportedModelError, match=r"the Keras model 'fresh' is not built, .* model.build\(\(None, n"):
        live(model)


def test_weights_alone(made: ModuleType, tmp_path: Path) -> None:
    made.MODELS["mlp"]().save_weights(tmp_path / "m.weights.h5")
    with pytest.raises(UnsupportedModelError, match="holds weights without the model that they belong to"):
        load(tmp_path / "m.weights.h5")


def test_weights_that_are_not_finite(made: ModuleType, tmp_path: Path) -> None:
    model = made.MODELS["mlp"]()
    kernel, bias = model.layers[1].get_weights()
    model.layers[1].set_weights([kernel * np.nan, bias])
    for source in (model, *made.saved(model, tmp_path)):
        with pytest.raises(MalformedModelError, match="holds NaN or infinity"):
            load(source) if isinstance(source, Path) else live(source)


# ---------------------------------------------------------------- dispatch


def test_load_takes_live_models(made: ModuleType) -> None:
    network = load(made.MODELS["mlp"]())
    assert network.provenance.source == f"Keras {made.keras.__version__} model"


@pytest.mark.parametrize("thing", [None, 3, [[1.0]], {"class_name": "Sequential"}, object()])
def test_other_things_are_not_recognised(thing: Any) -> None:
    assert not reader.recognises(thing)


def test_recognising_imports_nothing() -> None:
    program = (
        "import sys; from relucidate.frameworks import keras; keras.recognises(3);"
        "print({'keras', 'h5py', 'torch'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.stdout.strip() == "set()", run.stderr


# ---------------------------------------------------------------- random graphs


@st.composite
def recipes(draw: st.DrawFn) -> list[tuple[str, int, int]]:
    """What is made from which earlier tensors, one after the other."""
    kinds = st.sampled_from(
        [
            "dense",
            "relu",
            "leaky",
            "norm",
            "add",
            "subtract",
            "concat",
            "maximum",
            "shared",
            "nested",
            "slice",
            "scaled",
        ]
    )
    return draw(st.lists(st.tuples(kinds, st.integers(0, 99), st.integers(0, 99)), min_size=2, max_size=9))


def built(made: ModuleType, recipe: list[tuple[str, int, int]]) -> Any:
    """A functional model; every tensor has 3 columns but those of a concatenation, which a layer takes back to 3."""
    keras, L = made.keras, made.L
    shared = L.Dense(3, activation="relu")
    nested = made.sequence((3,), L.Dense(4, activation="relu"), L.BatchNormalization(), L.Dense(3))
    tensors = [keras.Input((3,))]
    one: dict[str, Any] = {
        "dense": lambda t: L.Dense(3)(t),
        "relu": lambda t: L.Dense(3, activation="relu")(t),
        "leaky": lambda t: L.LeakyReLU(negative_slope=0.2)(t),
        "norm": lambda t: L.BatchNormalization()(t),
        "shared": shared,
        "nested": nested,
        "slice": lambda t: L.Dense(3)(t[:, 1:]),
        "scaled": lambda t: 0.5 * t - 0.25,
    }
    two: dict[str, Any] = {
        "add": lambda a, b: L.Add()([a, b]),
        "subtract": lambda a, b: a - b,
        "concat": lambda a, b: L.Dense(3)(L.Concatenate()([a, b])),
        "maximum": lambda a, b: L.Maximum()([a, b]),
    }
    for kind, i, j in recipe:
        a, b = tensors[-1 - i % len(tensors)], tensors[j % len(tensors)]
        tensors.append(one[kind](a) if kind in one else two[kind](a, b))
    return made.randomised(keras.Model(tensors[0], L.Dense(2)(tensors[-1])))


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(recipes())
def test_random_graphs(made: ModuleType, tmp_path: Path, recipe: list[tuple[str, int, int]]) -> None:
    agrees(made, built(made, recipe), tmp_path)
