"""Every cell of docs/supported.md: trained, written, loaded, and compared with the framework itself."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import supported
from relucidate import load
from supported import HEADS, KERAS, PAGE, Row

# float32 arithmetic of the framework: sums of some hundred products, each rounded at 6e-8
SINGLE = 1e-5
SLOW = "ONNX by torch.export"  # its exporter takes a second or more for each file

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword"),
    pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec"),
]


def rows_of(row: Row, n: int, seed: int) -> Any:
    return np.random.default_rng(seed).normal(size=(n, *row.shape)).astype(np.float32)


def response(x: Any) -> Any:
    flat = x.reshape(len(x), -1)
    return np.abs(flat[:, :1]) - flat[:, 1:2] * (flat[:, 2:3] > 0)


@cache
def torch_module(row: Row) -> Any:
    """A network with the layer in its middle, or at its end, after thirty steps of training."""
    import torch

    nn = torch.nn
    assert row.torch is not None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first = (
            nn.Linear(6, 6)
            if len(row.shape) == 1
            else nn.Conv1d(3, 3, 1)
            if len(row.shape) == 2
            else nn.Conv2d(2, 2, 1)
        )
        if row in HEADS:
            module = nn.Sequential(first, nn.ReLU(), nn.Linear(6, 1 if "sigmoid" in row.name else 3), row.torch())
        else:
            body = nn.Sequential(
                first, nn.ReLU(), nn.Conv2d(2, 2, 1) if len(row.shape) == 3 else nn.Identity(), row.torch()
            )
            width = body(torch.zeros(2, *row.shape)).flatten(1).shape[1]
            module = nn.Sequential(body, nn.Flatten(), nn.Linear(width, 4), nn.ReLU(), nn.Linear(4, 1))
        x = torch.from_numpy(rows_of(row, 64, 1))
        y = torch.from_numpy(response(x.numpy()))
        rule = torch.optim.Adam(module.parameters(), 1e-2)
        for _ in range(30):
            rule.zero_grad()
            ((module(x) - y) ** 2).mean().backward()
            rule.step()
    return module.eval()


@cache
def keras_model(row: Row) -> Any:
    keras = supported.keras()
    layers = keras.layers
    assert row.keras is not None
    keras.utils.set_random_seed(0)
    channels_last = (*row.shape[1:], row.shape[0]) if len(row.shape) > 1 else row.shape
    inputs = keras.Input(channels_last)
    if len(row.shape) == 1:
        x = layers.Dense(6, activation="relu")(inputs)
    else:
        x = (layers.Conv1D if len(row.shape) == 2 else layers.Conv2D)(row.shape[0], 1, activation="relu")(inputs)
    if row in HEADS:
        x = row.keras()(layers.Dense(1 if "sigmoid" in row.name else 3)(x))
    else:
        x = row.keras()(x)
        x = layers.Dense(4, activation="relu")(layers.Flatten()(x))
        x = layers.Dense(1)(x)
    model = keras.Model(inputs, x)
    model.compile(optimizer=keras.optimizers.Adam(1e-2), loss="mse")
    data = np.moveaxis(rows_of(row, 64, 1), 1, -1) if len(row.shape) > 1 else rows_of(row, 64, 1)
    model.fit(data, response(data), epochs=5, batch_size=16, verbose=0)
    return model


def from_torch(row: Row, column: str, folder: Path) -> tuple[Any, Any, Any]:
    import torch

    module = torch_module(row)
    fresh = rows_of(row, 100, 2) * 3
    with torch.no_grad():
        theirs = module(torch.from_numpy(fresh)).numpy().reshape(len(fresh), -1)
    if column == "PyTorch module":
        return load(module, probe=torch.from_numpy(fresh[:5])), fresh, theirs
    path = folder / "model.onnx"
    example = (torch.from_numpy(fresh[:2]),)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporters' own, about their age and their insides
        if column == "ONNX by torch.export":
            rows = torch.export.Dim("rows")
            torch.onnx.export(module, example, path, dynamo=True, verbose=False, dynamic_shapes=({0: rows},))
        else:
            torch.onnx.export(
                module,
                example,
                path,
                dynamo=False,
                input_names=["x"],
                dynamic_axes={"x": {0: "rows"}},
                opset_version=17,
            )
    return load(path), fresh, theirs


def from_keras(row: Row, column: str, folder: Path) -> tuple[Any, Any, Any]:
    model = keras_model(row)
    fresh = rows_of(row, 100, 2) * 3
    fresh = np.moveaxis(fresh, 1, -1) if len(row.shape) > 1 else fresh
    theirs = np.asarray(model.predict(fresh, verbose=0)).reshape(len(fresh), -1)
    if column == "Keras model":
        return load(model), fresh, theirs
    path = folder / f"model{column}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras calls its own format legacy
        model.save(path)
    return load(path), fresh, theirs


def cases() -> list[Any]:
    return [
        pytest.param(row, column, id=f"{row.name}-{column}", marks=pytest.mark.slow if column == SLOW else ())
        for row, column in supported.cells()
    ]


@pytest.mark.parametrize(("row", "column"), cases())
def test_layer_is_proved(row: Row, column: str, tmp_path: Path) -> None:
    how: Callable[..., Any] = from_keras if column in KERAS else from_torch
    net, fresh, theirs = how(row, column, tmp_path)
    if row.name.startswith("log-"):
        theirs = np.exp(theirs)
    ours = net.predict(fresh)
    assert np.abs(ours - theirs).max() <= SINGLE * (1 + np.abs(theirs).max())
    assert net.faithfulness.max_relative < SINGLE
    assert net.n_bits > 0
    if row in HEADS:
        assert net.link == ("logit" if "sigmoid" in row.name else "softmax")


def test_page_is_what_the_tests_prove() -> None:
    assert PAGE.read_text(encoding="utf-8") == supported.page(), "run: python tests/supported.py"
