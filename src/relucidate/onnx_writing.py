"""ONNX graphs as they are written and tried: nodes and constants in double precision, and what onnxruntime makes of them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from relucidate.errors import UnsupportedModelError, clipped
from relucidate.layers import Floats

LARGEST = 2**31 - 2**20  # bytes that protobuf can hold
HEADS = {"logit": "Sigmoid", "softmax": "Softmax", "log": "Exp"}
AXES: dict[str, dict[str, Any]] = {"Softmax": {"axis": 1}}
_OPSET, _IR = 17, 8  # the newest that onnxruntime computes throughout in double precision


class Graph:
    """The nodes and constants of an ONNX graph."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._names: Counter[str] = Counter()

    def constant(self, array: Any) -> str:
        """Return the name of a new constant."""
        from onnx import numpy_helper

        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(array, order="C"), name))
        return name

    def node(self, op: str, inputs: Sequence[str], name: str = "", output: str = "", **attributes: Any) -> str:
        """Return the output of a new node."""
        from onnx import helper

        output, name = output or f"value_{len(self.nodes)}", name or f"{op} {len(self.nodes)}"
        self._names[name] += 1  # onnxruntime refuses two nodes of one name
        while self._names[name] > 1:
            name = f"{name} {self._names[name]}"
            self._names[name] += 1
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=name, **attributes))
        return output

    def affine(self, x: str, weight: Floats, bias: Floats, name: str = "", output: str = "") -> str:
        """Return ``x @ weight.T + bias``."""
        return self.node("Gemm", [x, self.constant(weight), self.constant(bias)], name, output, transB=1)

    def model(self, name: str, given: tuple[str, int], found: tuple[str, int], metadata: Mapping[str, str]) -> Any:
        """Return an `onnx.ModelProto`.

        Parameters
        ----------
        given, found : name and width of the input and of the output.
        """
        from onnx import TensorProto, helper

        import relucidate

        inputs, outputs = (
            [helper.make_tensor_value_info(end, TensorProto.DOUBLE, ["rows", width])] for end, width in (given, found)
        )
        model = helper.make_model(
            helper.make_graph(self.nodes, name, inputs, outputs, self.constants),
            opset_imports=[helper.make_opsetid("", _OPSET)],
            ir_version=_IR,
            producer_name="relucidate",
            producer_version=relucidate.__version__,
        )
        helper.set_model_props(model, dict(metadata))
        return model


def runtime() -> Any:
    """Return onnxruntime, told to send nothing about its use.

    Raises
    ------
    ImportError : it is not installed.

    Notes
    -----
    When it is imported it writes an identifier into the user's home and reports the start, unless this variable is set by
    then; what was imported before can only be told to report no more.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    return onnxruntime


def in_onnxruntime(source: Any, output: str, otherwise: str, called: str = "") -> Callable[[Floats], Floats] | None:
    """Return what onnxruntime makes of a file, with the optimisations that its users get; None without it.

    Parameters
    ----------
    source : path or bytes. output : which one. otherwise : what to do where it cannot run it. called : its name.

    Raises
    ------
    UnsupportedModelError : it cannot run it, now or when it is called.
    """
    try:
        onnxruntime = runtime()
    except ImportError:
        return None
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4

    def refused(problem: Exception) -> UnsupportedModelError:
        return UnsupportedModelError(
            f"{called}{': ' * bool(called)}onnxruntime {onnxruntime.__version__} cannot run what was written "
            f"({clipped(' '.join(str(problem).split()), 200)}). Update onnxruntime, or {otherwise}."
        )

    try:
        session = onnxruntime.InferenceSession(source, settings, providers=["CPUExecutionProvider"])
    # its errors have no common class but Exception
    except Exception as problem:
        raise refused(problem) from None

    def run(rows: Floats) -> Floats:
        try:
            return np.asarray(session.run([output], {"input": rows})[0])
        except Exception as problem:
            raise refused(problem) from None

    return run
