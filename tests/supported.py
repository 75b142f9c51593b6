"""The layers of each framework that have been proved, each in a small network that is really trained and written.

`python tests/supported.py` writes docs/supported.md from what stands here; tests/test_supported.py proves every cell of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent.parent / "docs" / "supported.md"
TORCH = ("PyTorch module", "ONNX by torch.export", "ONNX by TorchScript")
KERAS = ("Keras model", ".keras", ".h5")
COLUMNS = (*TORCH, *KERAS)

VECTOR, SEQUENCE, IMAGE = (6,), (3, 12), (2, 8, 8)


@dataclass(frozen=True)
class Row:
    """One kind of layer.

    Parameters
    ----------
    name : as it stands in the table.
    shape : of one row that enters it, channels first.
    torch, keras : a function that makes the layer, None where the framework has none; it gives a module (PyTorch) or a
        function of a tensor (Keras).
    """

    name: str
    shape: tuple[int, ...]
    torch: Callable[[], Any] | None
    keras: Callable[[], Any] | None


def _nn() -> Any:
    import torch

    return torch.nn


def keras() -> Any:
    """Keras, on whichever of its engines is installed."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras

    return keras


def _layers() -> Any:
    return keras().layers


def _written(function: Callable[[Any, Any], Any]) -> Callable[[], Any]:
    """Return a maker of a PyTorch module whose forward pass is a function of torch and its input."""

    def make() -> Any:
        import torch

        class Written(torch.nn.Module):
            def forward(self, x: Any) -> Any:
                return function(torch, x)

        return Written()

    return make


def _merged(name: str) -> Callable[[], Any]:
    """Return a maker of a Keras layer that joins a tensor with another made from it."""

    def make() -> Any:
        layers = _layers()
        return lambda x: getattr(layers, name)()([x, layers.Dense(6)(x)])

    return make


ROWS = (
    Row("Linear, Dense", VECTOR, lambda: _nn().Linear(6, 5), lambda: _layers().Dense(5)),
    Row("ReLU", VECTOR, lambda: _nn().ReLU(), lambda: _layers().ReLU()),
    Row("ReLU as a function, reused", VECTOR, _written(lambda t, x: t.relu(t.relu(x) - 0.5)), lambda: keras().ops.relu),
    Row("ReLU6", VECTOR, lambda: _nn().ReLU6(), lambda: _layers().ReLU(max_value=6)),
    Row("LeakyReLU", VECTOR, lambda: _nn().LeakyReLU(0.1), lambda: _layers().LeakyReLU(negative_slope=0.1)),
    Row("PReLU", VECTOR, lambda: _nn().PReLU(6), lambda: _layers().PReLU()),
    Row("Hardtanh, clamp", VECTOR, lambda: _nn().Hardtanh(-0.7, 0.9), None),
    Row("Hardsigmoid", VECTOR, lambda: _nn().Hardsigmoid(), lambda: _layers().Activation("hard_sigmoid")),
    Row("abs", VECTOR, _written(lambda t, x: t.abs(x)), None),
    Row("maximum of two", VECTOR, _written(lambda t, x: t.maximum(x, x.flip(1))), _merged("Maximum")),
    Row("minimum of two", VECTOR, _written(lambda t, x: t.minimum(x, 0.3 * x)), _merged("Minimum")),
    Row("residual sum", VECTOR, _written(lambda t, x: x + t.relu(0.5 * x)), _merged("Add")),
    Row("concatenation", VECTOR, _written(lambda t, x: t.cat([x, t.relu(-x)], 1)), _merged("Concatenate")),
    Row("slicing", VECTOR, _written(lambda t, x: x[:, 1:5:2]), None),
    Row("permuting", VECTOR, _written(lambda t, x: x[:, [3, 1, 0, 5, 4, 2]]), None),
    Row("Flatten", IMAGE, lambda: _nn().Flatten(), lambda: _layers().Flatten()),
    Row("Reshape, view", IMAGE, _written(lambda t, x: x.view(x.shape[0], 4, 32)), lambda: _layers().Reshape((4, 32))),
    Row(
        "Permute, transpose", IMAGE, _written(lambda t, x: x.permute(0, 2, 3, 1)), lambda: _layers().Permute((3, 1, 2))
    ),
    Row("BatchNorm, vectors", VECTOR, lambda: _nn().BatchNorm1d(6), lambda: _layers().BatchNormalization()),
    Row("BatchNorm, images", IMAGE, lambda: _nn().BatchNorm2d(2), lambda: _layers().BatchNormalization()),
    Row("Dropout", VECTOR, lambda: _nn().Dropout(0.3), lambda: _layers().Dropout(0.3)),
    Row("Identity", VECTOR, lambda: _nn().Identity(), lambda: _layers().Identity()),
    Row("Normalization, Rescaling", VECTOR, None, lambda: _layers().Rescaling(0.5, 0.1)),
    Row("Conv1d", SEQUENCE, lambda: _nn().Conv1d(3, 4, 3, padding=1), lambda: _layers().Conv1D(4, 3, padding="same")),
    Row("Conv2d", IMAGE, lambda: _nn().Conv2d(2, 3, 3), lambda: _layers().Conv2D(3, 3)),
    Row(
        "Conv2d, strides and groups",
        IMAGE,
        lambda: _nn().Conv2d(2, 4, 3, stride=2, padding=1, groups=2),
        lambda: _layers().Conv2D(4, 3, strides=2, padding="same"),
    ),
    Row(
        "Conv2d, dilated",
        IMAGE,
        lambda: _nn().Conv2d(2, 3, 3, dilation=2),
        lambda: _layers().Conv2D(3, 3, dilation_rate=2),
    ),
    Row(
        "Depthwise Conv2d",
        IMAGE,
        lambda: _nn().Conv2d(2, 2, 3, groups=2),
        lambda: _layers().DepthwiseConv2D(3),
    ),
    Row("MaxPool1d", SEQUENCE, lambda: _nn().MaxPool1d(2), lambda: _layers().MaxPooling1D(2)),
    Row("MaxPool2d", IMAGE, lambda: _nn().MaxPool2d(2), lambda: _layers().MaxPooling2D(2)),
    Row(
        "MaxPool2d, overlapping and padded",
        IMAGE,
        lambda: _nn().MaxPool2d(3, 2, 1),
        lambda: _layers().MaxPooling2D(3, 2, padding="same"),
    ),
    Row("AvgPool1d", SEQUENCE, lambda: _nn().AvgPool1d(2), lambda: _layers().AveragePooling1D(2)),
    Row("AvgPool2d", IMAGE, lambda: _nn().AvgPool2d(2), lambda: _layers().AveragePooling2D(2)),
    Row("global average", IMAGE, lambda: _nn().AdaptiveAvgPool2d(1), lambda: _layers().GlobalAveragePooling2D()),
    Row("global maximum", IMAGE, lambda: _nn().AdaptiveMaxPool2d(1), lambda: _layers().GlobalMaxPooling2D()),
    Row("padding with zeros", IMAGE, lambda: _nn().ZeroPad2d(1), lambda: _layers().ZeroPadding2D(1)),
)
HEADS = (
    Row("sigmoid at the end", VECTOR, lambda: _nn().Sigmoid(), lambda: _layers().Activation("sigmoid")),
    Row("softmax at the end", VECTOR, lambda: _nn().Softmax(1), lambda: _layers().Softmax()),
    Row("log-softmax at the end", VECTOR, lambda: _nn().LogSoftmax(1), lambda: _layers().Activation("log_softmax")),
)

# Layers that a framework has and its exporter does not write, with what it says.
NOT_WRITTEN: frozenset[tuple[str, str]] = frozenset()
# Custom functions are no layers of a Keras file that could be read without running them.
NOT_STORED = frozenset({("ReLU as a function, reused", ".h5")})


def cells() -> list[tuple[Row, str]]:
    """Every layer in every form in which it has been proved."""
    out = []
    for row in (*ROWS, *HEADS):
        out += [(row, c) for c in TORCH if row.torch is not None and (row.name, c) not in NOT_WRITTEN]
        out += [(row, c) for c in KERAS if row.keras is not None and (row.name, c) not in NOT_STORED]
    return out


def page() -> str:
    """Return docs/supported.md."""
    proved = {(row.name, column) for row, column in cells()}
    lines = [
        "# What has been proved",
        "",
        "Each ✓ is a test: a small network with this layer, trained for some steps in its framework, written where the column",
        "names a file, loaded by relucidate, and compared with the framework's own output on rows that neither has seen. An",
        "empty cell is a layer that the framework does not have, or does not write. This page is written from the tests",
        "(`tests/supported.py`); what else is read, and what is refused, stands in [loading.md](loading.md).",
        "",
        "| layer | " + " | ".join(COLUMNS) + " |",
        "|---|" + ":-:|" * len(COLUMNS),
    ]
    for row in (*ROWS, *HEADS):
        marks = ["✓" if (row.name, column) in proved else "" for column in COLUMNS]
        lines.append(f"| {row.name} | " + " | ".join(marks) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
