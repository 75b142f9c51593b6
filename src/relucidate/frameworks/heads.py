"""The link at the end of a network: walked back from its output to the decision that enters it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from relucidate.errors import ArgumentError, UnsupportedModelError
from relucidate.frameworks.lowering import Expr, Shape
from relucidate.network import Link

# What to say of layers that are no piecewise-linear functions.
SMOOTH = "It is not piecewise linear, so no exact local linear models exist; train with ReLU or LeakyReLU instead."


@dataclass(frozen=True, eq=False)
class Head:
    """The link at the end of a network, and what enters it.

    Parameters
    ----------
    decision : what enters it.
    link : its inverse.
    label : what messages call the layer that makes it: "node 7 of 12, 'act/sigmoid' (Sigmoid)".
    op : its type: "Sigmoid".
    tensor : name of the tensor that enters it, "" where tensors have no names.
    form : "whole"; for a single sigmoid p also "complement" (1 - p) and "pair" (1 - p, p).
    log : log-probabilities.
    classes : labels that the file gives.
    shape : of what it makes.
    """

    decision: Expr
    link: Link
    label: str
    op: str
    tensor: str = ""
    form: Literal["whole", "complement", "pair"] = "whole"
    log: bool = False
    classes: tuple[Any, ...] = ()
    shape: Shape = ()

    def refusal(self, follower: str) -> UnsupportedModelError:
        """Return the error for a layer `follower` behind a link that is not the network's last step."""
        hint = (
            f", or give output={self.tensor!r} to unwrap what enters it" if self.tensor and self.decision.depth else ""
        )
        return UnsupportedModelError(
            f"{self.label}: {self.op} is not piecewise linear; inside a network it cannot be unwrapped (here {follower} "
            f"follows it), only as the last step. Train with ReLU or LeakyReLU instead{hint}."
        )

    def notes(self) -> list[str]:
        """Return what a reader should know of what was taken off."""
        what = {"logit": "logits", "softmax": "logits", "log": "logarithms"}.get(self.link, "values")
        notes = [f"{self.label} is the link ({self.link}): decisions are the {what} that enter it"]
        if self.log:
            notes.insert(
                0, f"{self.label} gives log-probabilities: decisions are what enters it, predictions are probabilities"
            )
        if self.link == "logit" and self.decision.size > 1:
            notes.append(f"{self.decision.size} sigmoid outputs side by side: a probability each, not one distribution")
        return notes


def refuse_unless_one_distribution(x: Expr, axes: tuple[int, ...]) -> None:
    """Raise unless a softmax of `x` over some axes gives one distribution over two or more classes.

    Raises
    ------
    UnsupportedModelError : it does not.
    """
    span = 1
    for axis in axes:
        span *= x.shape[axis]
    if span != x.size or x.size < 2:
        raise UnsupportedModelError(
            f"a softmax along axis {', '.join(map(str, axes))} of a tensor of shape {x.shape} is not one distribution per "
            "row; only one over all outputs, of which there are two or more, is read."
        )


def link_of(head: Head | None, wanted: str | None) -> Link:
    """Return the link of a network, from its last layer and the `link=` that was given.

    Raises
    ------
    ArgumentError : it is none, or contradicts the network.
    """
    if wanted is not None and wanted not in get_args(Link):
        raise ArgumentError(f"link={wanted!r}; expected 'identity', 'logit', 'softmax' or 'log'.")
    if head is None:
        return wanted or "identity"  # type: ignore[return-value]
    if wanted is not None and wanted != head.link:
        remedy = f", or give output={head.tensor!r} to start from what enters it" if head.tensor else ""
        raise ArgumentError(
            f"link={wanted!r}, but the network ends in {head.label}, whose link is {head.link!r}. Leave it out{remedy}."
        )
    return head.link
