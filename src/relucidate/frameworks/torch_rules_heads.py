"""The link at the end of a PyTorch module: sigmoid, softmax, exponential and their logarithms."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from relucidate.errors import UnsupportedModelError
from relucidate.frameworks.heads import SMOOTH, Head, refuse_unless_one_distribution
from relucidate.frameworks.torch_rules_moves import JOINS, SHAPES
from relucidate.frameworks.torch_values import Call, Rule, Value
from relucidate.network import Link

if TYPE_CHECKING:
    from relucidate.frameworks.torch_lowering import Lowering

# Operators that may follow the link.
TAIL = frozenset(
    f"{SHAPES} {JOINS} clone contiguous detach alias to _to_copy sub rsub exp log dropout lift_fresh_copy".split()
)


def _head(link: Link, log: bool = False) -> Rule:
    def rule(low: Lowering, call: Call) -> Value:
        x = call["self"]
        if isinstance(x, Head):
            if link == "log" and x.log:  # exp(log_softmax(z))
                return replace(x, log=False)
            raise x.refusal(call.place.label)
        x = low.numeric(x)
        if link == "softmax":
            refuse_unless_one_distribution(x, (int(call["dim"]) % max(1, len(x.shape)),))
        return Head(x, link, call.place.label, call.place.op, call.place.own, log=log, shape=x.shape)

    return rule


def _log(low: Lowering, call: Call) -> Value:
    x = call["self"]
    if isinstance(x, Head) and not x.log and x.form == "whole" and x.link in ("logit", "softmax"):
        return replace(x, log=True)
    if isinstance(x, Head):
        raise x.refusal(call.place.label)
    raise UnsupportedModelError(f"{call.place.label} is not supported. {SMOOTH}")


RULES: dict[str, Rule] = {
    **dict.fromkeys(("sigmoid", "special_expit"), _head("logit")),
    **dict.fromkeys(("softmax", "_softmax"), _head("softmax")),
    **dict.fromkeys(("log_softmax", "_log_softmax"), _head("softmax", log=True)),
    "log_sigmoid": _head("logit", log=True),
    "exp": _head("log"),
    "log": _log,
}
