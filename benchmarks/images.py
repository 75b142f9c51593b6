"""A convolutional network with some 130,000 neurons: loading it, and the exact linear model of each image.

    python benchmarks/images.py [--images 64] [-o results.json]

The rival for the linear models is PyTorch's own Jacobian (`torch.func.vmap(jacrev)`, float64) of the same module at the same
images, in the same run: it gives the slopes alone; ours gives slopes, intercepts, exact activation patterns and the
comparison of every row.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import relucidate as rl

HERE = Path(__file__).parent


def network() -> nn.Module:
    """Return conv 32, conv 64, pool, conv 64, pool, linear 10, for images of 28 × 28."""
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64 * 49, 10)),
    ).eval()


def seconds(task: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    out = task()
    return time.perf_counter() - start, out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("-o", type=Path, default=HERE / "results" / "images.json")
    options = parser.parse_args()
    module = network()
    images = torch.rand(options.images, 1, 28, 28)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's, about its age
        path = Path(folder) / "images.onnx"
        names: dict[str, Any] = {"input_names": ["image"], "dynamic_axes": {"image": {0: "rows"}}}
        torch.onnx.export(module, (images[:1],), path, dynamo=False, **names)
        file_seconds, net = seconds(lambda: rl.load(path, link="softmax"))
        live_seconds, _ = seconds(lambda: rl.load(module, probe=images[:1], link="softmax"))
    x = images.double().numpy()
    rl.unwrap(net, x[:1])  # bounds on rounding are made once
    ours, u = seconds(lambda: (lambda u: (u, u.coef))(rl.unwrap(net, x))[0])
    one, _ = seconds(lambda: rl.unwrap(net, x[:1]).coef)
    wide = module.double()
    jacobian = torch.func.vmap(torch.func.jacrev(lambda image: wide(image[None])[0]))
    jacobian(images[:2].double())
    theirs, slopes = seconds(lambda: jacobian(images.double()).detach().numpy())
    difference = np.abs(u.coef[u.region_of] - slopes.reshape(len(x), 10, 784)).max()
    results = {
        "neurons": net.n_neurons,
        "stored_weights": net.n_parameters,
        "images": len(x),
        "load_onnx_seconds": file_seconds,
        "load_module_seconds": live_seconds,
        "one_image_seconds": one,
        "all_images_seconds": ours,
        "jacobian_seconds": theirs,
        "largest_difference_of_slopes": float(difference),
        "ratios": {"unwrap / torch Jacobian (slopes alone)": ours / theirs},
    }
    options.o.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
