"""Small Keras models, one for each layer and idiom that is read; importing this imports Keras."""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

L = keras.layers
Floats = np.ndarray[Any, Any]


def randomised(model: Any, seed: int = 0) -> Any:
    """The model with weights that no initialiser gives: no zeros, variances above 0."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if hasattr(layer, "layers"):
            randomised(layer, seed + 1)
            continue
        weights = []
        for array in layer.get_weights():
            drawn = rng.normal(size=array.shape) / np.sqrt(max(1, np.prod(array.shape[:-1])))
            weights.append(drawn.astype(array.dtype) if array.dtype.kind == "f" else array)
        if isinstance(layer, L.BatchNormalization | L.Normalization) and weights:
            at = -1 if isinstance(layer, L.BatchNormalization) else 1
            weights[at] = np.abs(weights[at]) + np.float32(0.3)
        layer.set_weights(weights)
        if isinstance(layer, L.Normalization):
            layer.finalize_state()
    return model


def sequence(shape: Sequence[int], *layers: Any) -> Any:
    return keras.Sequential([keras.Input(shape), *layers])


def behind(shape: Sequence[int], *layers: Any) -> Any:
    """Layers between a hidden layer and an output."""
    return sequence(shape, *layers, L.Flatten(), L.Dense(3, activation="relu"), L.Dense(2))


def graph(inputs: Any, outputs: Any) -> Any:
    return keras.Model(inputs, outputs)


# ---------------------------------------------------------------- graphs


def residual() -> Any:
    x = keras.Input((4,))
    h = L.Dense(4, activation="relu")(x)
    return graph(x, L.Dense(1)(L.Add()([x, h, L.Dense(4)(h)])))


def merged(merge: Any, n: int = 3) -> Any:
    x = keras.Input((4,))
    parts = [L.Dense(5, activation="relu", name=f"part_{i}")(x) for i in range(n)]
    return graph(x, L.Dense(2)(merge(parts)))


def broadcast() -> Any:
    x = keras.Input((4,))
    return graph(x, L.Dense(2)(L.Add()([L.Dense(5, activation="relu")(x), L.Dense(1)(x)])))


def shared() -> Any:
    x, z = keras.Input((3,), name="first"), keras.Input((3,), name="second")
    twice = L.Dense(4, activation="relu", name="twice")
    h = L.Concatenate()([twice(x), twice(z), L.Subtract()([twice(z), x_wide(x)])])
    return graph([x, z], L.Dense(1)(h))


def x_wide(x: Any) -> Any:
    return L.Dense(4, use_bias=False)(x)


def nested() -> Any:
    inner_x = keras.Input((4,))
    inner = graph(inner_x, L.BatchNormalization()(L.Dense(4, activation="relu")(inner_x)))
    chain = sequence((4,), L.Dense(5), L.ReLU(max_value=1.0), L.Dense(4), L.BatchNormalization(center=False))
    x = keras.Input((4,))
    h = L.Add()([inner(x), chain(inner(x)), chain(x)])
    return graph(x, L.Dense(2, activation="softmax")(h))


def nested_deeply() -> Any:
    inner = sequence((3,), L.Dense(3, activation="relu"), L.Dropout(0.5))
    middle = sequence((3,), L.Dense(3), inner, L.Dense(3, activation="relu"))
    return sequence((3,), middle, L.Dense(1, activation="sigmoid"))


def frozen(which: str) -> Any:
    """A nested model, some of whose weights are not trained: an `.h5` file lists these after the others."""
    chain = sequence((4,), L.Dense(4, name="d1"), L.BatchNormalization(), L.Dense(4, activation="relu", name="d2"))
    x = keras.Input((4,))
    model = graph(x, L.Dense(1)(chain(x)))
    {"all": chain, "one": chain.layers[0], "none": L.Dense(1)}[which].trainable = False
    return model


def several_inputs() -> Any:
    names = ("income", "age", "debt")
    inputs = {name: keras.Input((1,), name=name) for name in names}
    return graph(
        inputs, L.Dense(1, activation="sigmoid")(L.Dense(6, activation="relu")(L.Concatenate()(list(inputs.values()))))
    )


def wide_inputs() -> Any:
    a, b = keras.Input((2, 2), name="a"), keras.Input((3,), name="b")
    return graph([b, a], L.Dense(2)(L.Dense(6, activation="relu")(L.Concatenate()([L.Flatten()(a), b]))))


def arithmetic() -> Any:
    x = keras.Input((4,))
    h = L.Dense(4)(x)
    a = 2.0 * h - x / 4.0 + 0.5
    b = -h[:, 1:3][:, :1] + (1.0 - x) * 0.25
    return graph(x, L.Dense(2)(keras.ops.relu(a) + keras.ops.maximum(b, 0.1) - keras.ops.minimum(a, b)))


def arithmetic_of_more() -> Any:
    x = keras.Input((4,))
    a, b = L.Dense(3)(x), L.Dense(3)(x)
    h = keras.ops.concatenate([keras.ops.abs(a), keras.ops.leaky_relu(b), keras.ops.relu6(a)], axis=1)
    return graph(x, keras.ops.sigmoid(L.Dense(1)(h)))


def images(*layers: Any) -> Any:
    return behind((6, 5, 2), L.Conv2D(3, 3, activation="relu"), *layers)


def series(*layers: Any) -> Any:
    return behind((9, 2), L.Conv1D(3, 2, activation="relu"), *layers)


def mnist_like() -> Any:
    return sequence(
        (8, 8, 1),
        L.Rescaling(1 / 255.0),
        L.Conv2D(4, 3, padding="same", use_bias=False),
        L.BatchNormalization(),
        L.ReLU(),
        L.MaxPooling2D(),
        L.Conv2D(5, 3, strides=2, activation="relu"),
        L.GlobalAveragePooling2D(),
        L.Dropout(0.3),
        L.Dense(4),
        L.Softmax(),
    )


def normalised() -> Any:
    layer = L.Normalization()
    layer.adapt(np.random.default_rng(0).normal(3, 2, (50, 4)).astype("float32"))
    return behind((4,), layer)


MODELS: dict[str, Callable[[], Any]] = {
    # dense and activations
    "linear only": lambda: sequence((4,), L.Dense(2)),
    "mlp": lambda: sequence((4,), L.Dense(6, activation="relu"), L.Dense(5, activation="relu"), L.Dense(1)),
    "one input": lambda: sequence((1,), L.Dense(6, activation="relu"), L.Dense(1)),
    "no bias": lambda: sequence((4,), L.Dense(6, "relu", use_bias=False), L.Dense(2, use_bias=False)),
    "dense on rows of rows": lambda: behind((3, 4), L.Dense(5, "relu"), L.Dense(2)),
    "sigmoid": lambda: sequence((4,), L.Dense(6, activation="relu"), L.Dense(1, activation="sigmoid")),
    "sigmoids": lambda: sequence((4,), L.Dense(6, activation="relu"), L.Dense(3, activation="sigmoid")),
    "softmax": lambda: sequence((4,), L.Dense(6, activation="relu"), L.Dense(3, activation="softmax")),
    "softmax layer": lambda: sequence((4,), L.Dense(6, "relu"), L.Dense(3), L.Softmax()),
    "sigmoid layer": lambda: sequence((4,), L.Dense(6, "relu"), L.Dense(1), L.Activation("sigmoid")),
    "log softmax": lambda: sequence((4,), L.Dense(6, "relu"), L.Dense(3, "log_softmax")),
    "exponential": lambda: sequence((4,), L.Dense(6, "relu"), L.Dense(1, "exponential")),
    "head and then flat": lambda: sequence(
        (4,), L.Dense(6, "relu"), L.Reshape((1, 6)), L.Dense(3, "softmax"), L.Flatten()
    ),
    **{
        f"activation {name}": (lambda name=name: behind((4,), L.Dense(5, activation=name)))
        for name in (
            "linear",
            "relu",
            "relu6",
            "leaky_relu",
            "hard_sigmoid",
            "hard_tanh",
            "soft_shrink",
            "sparse_sigmoid",
        )
    },
    "activation layers": lambda: behind((4,), L.Activation("relu6"), L.Dense(4), L.Activation("hard_sigmoid")),
    "activation given as a layer": lambda: behind((4,), L.Dense(5, activation=L.LeakyReLU(negative_slope=0.1))),
    "relu": lambda: behind((4,), L.Dense(5), L.ReLU()),
    "relu with a top": lambda: behind((4,), L.Dense(5), L.ReLU(max_value=0.5)),
    "relu with a slope": lambda: behind((4,), L.Dense(5), L.ReLU(negative_slope=0.2)),
    "relu with both": lambda: behind((4,), L.Dense(5), L.ReLU(max_value=0.7, negative_slope=0.2)),
    "leaky relu": lambda: behind((4,), L.Dense(5), L.LeakyReLU()),
    "prelu": lambda: behind((4,), L.Dense(5), L.PReLU()),
    "prelu shared": lambda: images(L.PReLU(shared_axes=[1, 2])),
    # normalisation and what does nothing
    "batch norm": lambda: behind((4,), L.Dense(5), L.BatchNormalization(), L.ReLU()),
    "batch norm plain": lambda: behind((4,), L.BatchNormalization(center=False, scale=False, epsilon=0.1)),
    "batch norm of channels": lambda: images(L.BatchNormalization()),
    "batch norm of rows": lambda: images(L.BatchNormalization(axis=1)),
    "normalization adapted": normalised,
    "normalization given": lambda: behind((3,), L.Normalization(mean=[1.0, 2.0, 3.0], variance=[1.0, 4.0, 0.25])),
    "normalization of all": lambda: behind((3,), L.Normalization(axis=None, mean=2.0, variance=3.0)),
    "normalization of two axes": lambda: behind((2, 3), L.Normalization(axis=(1, 2))),
    "normalization inverted": lambda: behind((3,), L.Normalization(mean=1.5, variance=2.0, invert=True)),
    "rescaling": lambda: behind((4,), L.Rescaling(1 / 255.0, offset=-1.0)),
    "rescaling of each": lambda: behind((2,), L.Rescaling([0.5, 2.0], offset=[1.0, 0.0])),
    "no-ops": lambda: behind(
        (4,),
        L.Dropout(0.5),
        L.GaussianNoise(1.0),
        L.GaussianDropout(0.5),
        L.AlphaDropout(0.5),
        L.ActivityRegularization(l1=0.1),
        L.Identity(),
    ),
    "spatial dropout": lambda: images(L.SpatialDropout2D(0.5)),
    # convolution and pooling
    "conv": lambda: images(),
    "conv same": lambda: images(L.Conv2D(2, 3, padding="same")),
    "conv strided": lambda: images(L.Conv2D(2, 2, strides=2)),
    "conv strided same": lambda: images(L.Conv2D(2, 2, strides=2, padding="same")),
    "conv dilated": lambda: images(L.Conv2D(2, 2, dilation_rate=2)),
    "conv uneven": lambda: images(L.Conv2D(2, (1, 3), strides=(2, 1), padding="same", use_bias=False)),
    "conv in groups": lambda: behind((5, 4, 4), L.Conv2D(6, 2, groups=2, activation="relu")),
    "conv channels first": lambda: behind(
        (2, 6, 5), L.Conv2D(3, 3, activation="relu", data_format="channels_first"), L.Flatten("channels_first")
    ),
    "conv1d": lambda: series(L.Conv1D(2, 3, padding="same", strides=2)),
    "conv1d causal": lambda: series(L.Conv1D(2, 3, padding="causal", dilation_rate=2)),
    "conv1d in groups": lambda: behind((7, 4), L.Conv1D(4, 3, groups=4)),
    "depthwise": lambda: images(L.DepthwiseConv2D(2, depth_multiplier=2, activation="relu")),
    "depthwise same": lambda: images(L.DepthwiseConv2D(3, strides=2, padding="same", use_bias=False)),
    "separable": lambda: images(L.SeparableConv2D(4, 2, depth_multiplier=2, activation="relu")),
    "max pool": lambda: images(L.MaxPooling2D(2)),
    "max pool same": lambda: images(L.MaxPooling2D(3, strides=2, padding="same")),
    "max pool 1d": lambda: series(L.MaxPooling1D(3, strides=1)),
    "average pool": lambda: images(L.AveragePooling2D(2)),
    "average pool same": lambda: images(L.AveragePooling2D(3, strides=1, padding="same")),
    "average pool 1d": lambda: series(L.AveragePooling1D(2)),
    "global average": lambda: images(L.GlobalAveragePooling2D()),
    "global average kept": lambda: images(L.GlobalAveragePooling2D(keepdims=True)),
    "global max": lambda: images(L.GlobalMaxPooling2D()),
    "global 1d": lambda: series(L.GlobalAveragePooling1D()),
    "global max 1d": lambda: series(L.GlobalMaxPooling1D()),
    "mnist-like": mnist_like,
    # shapes
    "zero padding": lambda: images(L.ZeroPadding2D(((1, 0), (2, 1))), L.Conv2D(2, 3)),
    "zero padding 1d": lambda: series(L.ZeroPadding1D((1, 2))),
    "cropping": lambda: images(L.Cropping2D(((1, 0), (1, 1)))),
    "cropping 1d": lambda: series(L.Cropping1D(2)),
    "up-sampling": lambda: images(L.UpSampling2D((2, 1))),
    "up-sampling 1d": lambda: series(L.UpSampling1D(2)),
    "reshape": lambda: behind((6,), L.Dense(6, "relu"), L.Reshape((3, -1)), L.Dense(2)),
    "permute": lambda: behind((3, 2), L.Permute((2, 1)), L.Dense(2, "relu")),
    "repeat": lambda: behind((3,), L.Dense(2, "relu"), L.RepeatVector(3), L.Conv1D(2, 2)),
    # graphs
    "residual": residual,
    "add": lambda: merged(L.Add()),
    "subtract": lambda: merged(L.Subtract(), 2),
    "average": lambda: merged(L.Average()),
    "maximum": lambda: merged(L.Maximum()),
    "minimum": lambda: merged(L.Minimum()),
    "concatenate": lambda: merged(L.Concatenate()),
    "broadcast": broadcast,
    "shared": shared,
    "nested": nested,
    "nested deeply": nested_deeply,
    "frozen": lambda: frozen("all"),
    "frozen in part": lambda: frozen("one"),
    "several inputs": several_inputs,
    "wide inputs": wide_inputs,
    "arithmetic": arithmetic,
    "arithmetic of more": arithmetic_of_more,
}


def saved(model: Any, folder: Path) -> tuple[Path, Path]:
    """The model as a `.keras` file and as an old `.h5` file."""
    modern, legacy = folder / "model.keras", folder / "model.h5"
    model.save(modern)
    model.save(legacy)
    return modern, legacy


def rows_for(model: Any, n: int = 100, seed: int = 1) -> Floats:
    """Rows in the columns that the model's inputs take, one after the other, as float32 holds them."""
    width = sum(int(np.prod(i.shape[1:])) for i in model.inputs)
    return np.random.default_rng(seed).normal(size=(n, width)).astype("float32").astype("float64")


def outputs_of(model: Any, rows: Floats) -> Floats:
    """What Keras says of such rows."""
    parts, first = [], 0
    for i in model.inputs:
        width = int(np.prod(i.shape[1:]))
        parts.append(rows[:, first : first + width].reshape(-1, *i.shape[1:]).astype(i.dtype))
        first += width
    given: Any = parts if len(parts) > 1 else parts[0]
    if isinstance(getattr(model, "_inputs_struct", None), dict):
        given = {i.name: part for i, part in zip(model.inputs, parts, strict=True)}
    out = keras.ops.convert_to_numpy(model(given, training=False))
    return np.asarray(out, dtype=np.float64).reshape(len(rows), -1)
