"""Times captum's integrated gradients on one network and some rows; prints one JSON object. Runs in captum's environment.

::

    .bench/captum/bin/python benchmarks/rivals/captum_gradients.py case.npz

``case.npz`` holds the weights ``W0``, ``W1``, … of shape (out, in), the biases ``b0``, ``b1``, …, the rows ``X`` and the
baseline ``baseline``; attributions of each run are written into ``captum_<steps>_<dtype>`` of ``case.out.npz``.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from typing import Any

import numpy as np
import torch
from captum.attr import IntegratedGradients
from torch import nn

STEPS = (50, 1000)
INTERNAL = 50_000  # rows that captum evaluates at once


def main(path: str) -> None:
    warnings.simplefilter("ignore")
    with np.load(path) as case:
        n = sum(name.startswith("W") for name in case.files)
        layers: list[nn.Module] = []
        for i in range(n):
            weight, bias = case[f"W{i}"], case[f"b{i}"]
            linear = nn.Linear(weight.shape[1], weight.shape[0]).double()
            linear.weight.data, linear.bias.data = torch.from_numpy(weight), torch.from_numpy(bias)
            layers += [linear, nn.ReLU()]
        module = nn.Sequential(*layers[:-1]).eval()
        X, baseline = torch.from_numpy(case["X"]), torch.from_numpy(case["baseline"])[None]
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    facts: dict[str, Any] = {"torch": torch.__version__, "threads": torch.get_num_threads(), "runs": []}
    out = {}
    for dtype, name in ((torch.float64, "float64"), (torch.float32, "float32")):
        net, x, b = module.to(dtype), X.to(dtype), baseline.to(dtype)
        ig = IntegratedGradients(net)
        ig.attribute(x[:2], b, target=0, n_steps=5)
        for steps in STEPS:
            start = time.perf_counter()
            values = ig.attribute(x, b, target=0, n_steps=steps, internal_batch_size=INTERNAL)
            seconds = time.perf_counter() - start
            out[f"captum_{steps}_{name}"] = values.detach().double().numpy()
            facts["runs"].append({"steps": steps, "dtype": name, "seconds": seconds})
    np.savez(path.replace(".npz", ".out.npz"), **out)
    print(json.dumps(facts))


if __name__ == "__main__":
    main(sys.argv[1])
