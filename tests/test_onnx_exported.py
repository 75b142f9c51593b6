"""Files as exporters really write them: PyTorch's two, Keras's, scikit-learn's; trained a few steps, read, compared."""

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from torch.nn import functional

from relucidate.errors import UnsupportedModelError
from relucidate.frameworks import load

# PyTorch announces its own changes while it exports.
pytestmark = pytest.mark.filterwarnings("ignore")


class Residual(nn.Module):
    """Convolutions with normalisation and a shortcut, pooled to one number per channel."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 4, 3, padding="same", groups=2)
        self.last = nn.Linear(16, 3)

    def forward(self, x: Any) -> Any:
        h = functional.relu(self.norm(self.first(x)))
        h = h + functional.leaky_relu(self.second(h), 0.2)
        h = functional.adaptive_avg_pool2d(functional.max_pool2d(h, 2), (2, 2))
        return torch.softmax(self.last(torch.flatten(h, 1)), dim=1)


class Bends(nn.Module):
    """The piecewise-linear functions that PyTorch has, and choices written by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.utils.parametrizations.weight_norm(nn.Linear(5, 8))
        self.slope = nn.PReLU(8)
        self.last = nn.Linear(8, 1)

    def forward(self, x: Any) -> Any:
        h = self.first(x)
        h = torch.where(h > 0, h, 0.1 * h) + h * (h > 0).float() + h.masked_fill(h < 0, 0.0)
        h = functional.hardtanh(h, -2, 2) + functional.relu6(h) + functional.threshold(h, 0.0, 0.0) + self.slope(h)
        h = torch.maximum(h, -h).clamp(min=0.1) - torch.minimum(h, torch.zeros_like(h)) + functional.hardsigmoid(h)
        return torch.sigmoid(self.last(h)).squeeze(-1)


class Shapes(nn.Module):
    """Tensors taken apart and put together again."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 12)
        self.up = nn.Upsample(scale_factor=2)

    def forward(self, x: Any) -> Any:
        h = functional.relu(self.first(x)).view(x.size(0), 3, 4)
        a, b = h.transpose(1, 2).chunk(2, dim=1)
        h = torch.cat([a.flip(1), b.repeat(1, 2, 1)], dim=1)
        pooled = torch.stack([h.mean(dim=(1, 2)), h.sum(dim=1).max(dim=1).values, h.amin(dim=(1, 2))], dim=1)
        return torch.cat([pooled, self.up(h[:, :2, 1:]).flatten(1)[:, ::3]], dim=1)


class Signal(nn.Module):
    """One dimension: padding of every kind, a transposed convolution, pooling that hangs over."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(1, 3, 3, stride=2, padding=1, padding_mode="circular"),
            nn.ReLU(),
            nn.Conv1d(3, 3, 3, padding=1, padding_mode="reflect"),
            nn.ConvTranspose1d(3, 2, 3, stride=2, output_padding=1),
            nn.AvgPool1d(2, ceil_mode=True),
            nn.MaxPool1d(3, 2, 1, ceil_mode=True),
            nn.ReplicationPad1d(1),
            nn.Flatten(),
        )

    def forward(self, x: Any) -> Any:
        return self.layers(x)


class Image(nn.Module):
    """Channels that become places and back, in three dimensions too."""

    def __init__(self) -> None:
        super().__init__()
        self.flat = nn.Sequential(nn.ZeroPad2d((1, 0, 2, 1)), nn.Conv2d(1, 4, 3), nn.PixelShuffle(2), nn.ReLU())
        self.deep = nn.Sequential(
            nn.Conv3d(1, 2, 2), nn.ReLU(), nn.MaxPool3d(2, 1), nn.AvgPool3d((1, 2, 2)), nn.Flatten()
        )

    def forward(self, x: Any) -> Any:
        h = nn.PixelUnshuffle(2)(self.flat(x))
        return self.deep(h.unsqueeze(1))


NETS: dict[str, tuple[Callable[[], Any], tuple[int, ...]]] = {
    "residual": (Residual, (2, 8, 8)),
    "bends": (Bends, (5,)),
    "shapes": (Shapes, (6,)),
    "signal": (Signal, (1, 11)),
    "image": (Image, (1, 4, 5)),
}


def trained(net: Any, shape: tuple[int, ...], steps: int = 5) -> Any:
    """The network after a few steps, in evaluation mode."""
    x = torch.randn(16, *shape)
    target = torch.rand_like(net(x))
    optimiser = torch.optim.SGD(net.parameters(), lr=0.05)
    for _ in range(steps):
        optimiser.zero_grad()
        ((net(x) - target) ** 2).mean().backward()
        optimiser.step()
    return net.eval()


def exported(net: Any, shape: tuple[int, ...], path: Path, *, dynamo: bool, rows: int | None) -> Path:
    """Write a network to a file that takes any number of rows, or `rows` at a time."""
    x = torch.randn(rows or 2, *shape)
    anything = {"dynamic_shapes": ({0: torch.export.Dim("n")},)} if dynamo else {"dynamic_axes": {"x": {0: "n"}}}
    names = {} if dynamo else {"input_names": ["x"]}
    quiet = io.StringIO()
    with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
        torch.onnx.export(net, (x,), path, dynamo=dynamo, **names, **(anything if rows is None else {}))
    return path


def ways() -> Iterator[Any]:
    """Each network by each exporter, for any number of rows and for a fixed one; a few of them every time."""
    for name in NETS:
        for exporter in ("torchscript", "dynamo"):
            for rows in (None, 1, 4):
                often = rows is None and (exporter == "torchscript" or name in ("residual", "bends"))
                marks = () if often or (name, rows) == ("bends", 4) else (pytest.mark.slow,)
                yield pytest.param(
                    name, exporter == "dynamo", rows, marks=marks, id=f"{name}-{exporter}-{rows or 'any'}"
                )


@pytest.mark.parametrize(("name", "dynamo", "rows"), list(ways()))
def test_exports_of_pytorch(name: str, dynamo: bool, rows: int | None, tmp_path: Path) -> None:
    torch.manual_seed(0)
    make, shape = NETS[name]
    net = trained(make(), shape)
    network = load(exported(net, shape, tmp_path / "net.onnx", dynamo=dynamo, rows=rows))
    assert network.faithfulness is not None
    assert network.faithfulness.against.startswith("onnxruntime")
    x = 2 * torch.randn(50, *shape)
    with torch.no_grad():
        theirs = net(x).numpy().reshape(50, -1)
        exact = net.double()(x.double()).numpy().reshape(50, -1)
    ours = network.predict(x.numpy().reshape(50, -1))
    assert np.abs(ours - theirs).max() < 2e-5
    assert np.abs(ours - exact).max() < 1e-6  # constants of the graph are in single precision


def test_weights_that_pytorch_stores_beside_the_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = trained(Bends(), (5,))
    path = tmp_path / "net.onnx"
    x = torch.randn(4, 5)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        torch.onnx.export(net, (x,), path, dynamo=True, external_data=True)
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="net.data", size_threshold=0)
    network = load(path)
    assert any("'net.data', SHA-256" in note for note in network.provenance.notes)
    with torch.no_grad():
        assert np.abs(network.predict(x.numpy())[:, 0] - net(x).numpy()).max() < 1e-5


class Smooth(nn.Module):
    """A dense layer and something that is not piecewise linear."""

    def __init__(self, part: Any) -> None:
        super().__init__()
        self.dense = nn.Linear(4, 4)
        self.part = part

    def forward(self, x: Any) -> Any:
        return self.part(self.dense(x))


def attention(x: Any) -> Any:
    h = x.reshape(-1, 1, 2, 2)
    return functional.scaled_dot_product_attention(h, h, h).flatten(1)


SMOOTH: dict[str, tuple[Any, str]] = {
    "gelu": (nn.GELU(), r"\(Gelu\) is not supported"),
    "gelu by tanh": (nn.GELU(approximate="tanh"), r"\(Gelu\) is not supported"),
    "silu": (nn.SiLU(), r"\(Sigmoid\).*SiLU|\(Swish\)"),
    "mish": (nn.Mish(), r"\(Mish\)|\(Softplus\).*Mish"),
    "elu": (nn.ELU(), r"\(Elu\) is not supported"),
    "tanh": (nn.Tanh(), r"\(Tanh\) is not supported"),
    "layer normalisation": (nn.LayerNorm(4), r"\(LayerNormalization\) is not supported"),
    "attention": (attention, r"\(MatMul\): it is part of attention|\(Attention\)"),
}


@pytest.mark.parametrize("dynamo", [False, True], ids=["torchscript", "dynamo"])
@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_parts_are_refused_by_name(name: str, dynamo: bool, tmp_path: Path) -> None:
    part, message = SMOOTH[name]
    net = nn.Sequential(Smooth(part), nn.Linear(4, 1)).eval()
    path = exported(net, (4,), tmp_path / "net.onnx", dynamo=dynamo, rows=2)
    with pytest.raises(UnsupportedModelError, match=rf"node \d+ of \d+, .*{message}"):
        load(path)


def test_a_normalisation_of_an_older_opset_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    net = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.ReLU()).eval()
    torch.onnx.export(net, (torch.randn(2, 4),), path, dynamo=False, opset_version=11)
    with pytest.raises(UnsupportedModelError, match=r"\(Pow\) is not supported. Here it is part of LayerNormalization"):
        load(path)
    net = nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 1)).eval()
    torch.onnx.export(net, (torch.randn(2, 4),), path, dynamo=False, opset_version=11)
    with pytest.raises(UnsupportedModelError, match=r"\(Erf\) is not supported. Here it is part of GELU"):
        load(path)


KERAS = """
import sys, numpy as np, keras
layers = keras.layers
rng = np.random.default_rng(0)
keras.utils.set_random_seed(0)
image = keras.Sequential([
    keras.Input((8, 8, 1)), layers.Conv2D(4, 3, padding="same", strides=2, activation="relu"),
    layers.BatchNormalization(), layers.MaxPooling2D(2, padding="same"), layers.LeakyReLU(negative_slope=0.2),
    layers.Flatten(), layers.Dense(5, activation="relu6"), layers.Dropout(0.2), layers.Dense(3, activation="softmax"),
])
dense = keras.Sequential([
    keras.Input((6,)), layers.Dense(8), layers.ReLU(max_value=3.0, negative_slope=0.1), layers.PReLU(),
    layers.Dense(1, activation="sigmoid"),
])
for name, net, shape in (("image", image, (8, 8, 1)), ("dense", dense, (6,))):
    x = rng.normal(size=(64, *shape)).astype("float32")
    net.compile(loss="mse", optimizer="sgd")
    net.fit(x, rng.random((64, net.output_shape[-1])).astype("float32"), epochs=2, verbose=0)
    net.export(f"{sys.argv[1]}/{name}.onnx", format="onnx", verbose=False)
    np.savez(f"{sys.argv[1]}/{name}.npz", x=x, y=np.asarray(net.predict(x, verbose=0)))
"""


@pytest.mark.slow
def test_exports_of_keras(tmp_path: Path) -> None:
    """In a process of its own, since a process has one backend."""
    environment = {**os.environ, "KERAS_BACKEND": "torch"}
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", KERAS, str(tmp_path)], env=environment, check=True, capture_output=True
    )
    for name, link in (("image", "softmax"), ("dense", "logit")):
        stored = np.load(tmp_path / f"{name}.npz")
        network = load(tmp_path / f"{name}.onnx")
        assert network.link == link
        assert np.abs(network.predict(stored["x"].reshape(64, -1)) - stored["y"]).max() < 1e-5


@pytest.mark.parametrize("opset", [12, 15, 18, 21])
def test_exports_of_scikit_learn(opset: int) -> None:
    import skl2onnx as convert
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 4)).astype(np.float32)
    targets = {
        MLPClassifier: np.digitize(X[:, 0] + X[:, 1], [-0.5, 0.5]),
        MLPRegressor: np.abs(X).sum(axis=1),
    }
    for kind, y in targets.items():
        pipeline = make_pipeline(StandardScaler(), kind(hidden_layer_sizes=(8, 6), max_iter=40, random_state=0)).fit(
            X, y
        )
        network = load(convert.to_onnx(pipeline, X, target_opset={"": opset, "ai.onnx.ml": 3}))
        theirs = pipeline.predict_proba(X) if kind is MLPClassifier else pipeline.predict(X)[:, None]
        assert np.abs(network.predict(X) - theirs).max() < 1e-5
