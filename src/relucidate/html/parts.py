"""What a page is made of: chapters, their parts, what was found, and what limits it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum
from typing import Any, Literal

import numpy as np

from relucidate.words import finite

SINGLE_ROWS = "single rows"  # what several findings are about


@dataclass(frozen=True)
class Finding:
    """A sentence for the summary.

    Parameters
    ----------
    weight : 0 to 1, how much a reader who must answer for the model needs it; the largest are shown.
    text : one sentence with its figures, plain text. part : id of the part that shows it.
    kind : "sound" where it speaks for the model, "doubt" where it speaks against it, "fact" otherwise.
    about : of findings about the same thing, the first of the largest weight is shown alone; "" for one of its own.
    """

    weight: float
    text: str
    part: str
    kind: Literal["sound", "doubt", "fact"] = "fact"
    about: str = ""


@dataclass(frozen=True)
class Limitation:
    """What the page cannot say, or says of some rows only, because something was measured. `part` is where it was."""

    text: str
    part: str


@dataclass(frozen=True)
class Part:
    """A part of a chapter.

    Parameters
    ----------
    id : anchor, name of its template ``sections/<id>.html.j2``, of its script's data and of its place in the JSON.
    heading : in words. content : what the template lays out, as `content`. data : what the script needs, JSON values.
    facts : the same result as JSON values in full precision, for the file beside the page.
    """

    id: str
    heading: str
    content: Any
    data: Any = None
    facts: Any = None
    findings: Sequence[Finding] = ()
    limitations: Sequence[Limitation] = ()


@dataclass(frozen=True)
class Chapter:
    """A chapter of the page: `id` is its anchor. `lead` : one sentence that says what a reader finds in it."""

    id: str
    heading: str
    lead: str
    parts: Sequence[Part]


@dataclass(frozen=True)
class Summary:
    """The head of the page: facts as (value, what it is), sentences, the findings that matter most, notes."""

    facts: list[tuple[str, str]]
    sentences: list[str]
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def plain(value: Any) -> Any:
    """Return a result as JSON values: arrays as lists, what is not finite as None, dataclasses and enums by name."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return finite(value)
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, np.ndarray):
        return [plain(v) for v in value.tolist()]
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Sequence | set | frozenset):
        return [plain(v) for v in value]
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def packed(values: Any, kind: Literal["f8", "f4", "i4", "u2", "u1"] = "f4") -> dict[str, Any]:
    """Return an array as the script's ``unpack`` reads it: little-endian bytes in base64, and the shape. NaN survives."""
    array = np.ascontiguousarray(values, dtype="<" + kind)
    return {"kind": kind, "shape": list(array.shape), "base64": base64.b64encode(array.tobytes()).decode("ascii")}
