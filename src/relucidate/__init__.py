"""relucidate says exactly what a trained ReLU network does.

Inside each activation region a piecewise-linear network is one linear model. `load` brings a model to one canonical
form and proves it equal to the original; `unwrap` finds the local linear models that a table uses.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from relucidate import diagnose, errors, examples, interpret, regions, simplify
    from relucidate.frameworks import load
    from relucidate.frameworks.exporting import export
    from relucidate.html import report
    from relucidate.network import Faithfulness, Network, Patterns
    from relucidate.simplified import Simplified
    from relucidate.unwrapping import Unwrapped, unwrap

__version__ = "0.1.0.dev0"

_HOME = {
    "diagnose": "relucidate.diagnose",
    "errors": "relucidate.errors",
    "examples": "relucidate.examples",
    "export": "relucidate.frameworks.exporting",
    "interpret": "relucidate.interpret",
    "load": "relucidate.frameworks",
    "regions": "relucidate.regions",
    "report": "relucidate.html",
    "simplify": "relucidate.simplify",
    "Faithfulness": "relucidate.network",
    "Network": "relucidate.network",
    "Patterns": "relucidate.network",
    "Simplified": "relucidate.simplified",
    "Unwrapped": "relucidate.unwrapping",
    "unwrap": "relucidate.unwrapping",
}
__all__ = [
    "Faithfulness",
    "Network",
    "Patterns",
    "Simplified",
    "Unwrapped",
    "diagnose",
    "errors",
    "examples",
    "export",
    "interpret",
    "load",
    "regions",
    "report",
    "simplify",
    "unwrap",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'relucidate' has no attribute {name!r}")
    module = import_module(_HOME[name])
    value = module if _HOME[name] == f"relucidate.{name}" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
