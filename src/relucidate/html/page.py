"""A `Page` as HTML text: one file, no request to anywhere, nothing executed but the page's own script."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from relucidate.html.content import Page

# in the order in which they stand in the page: what others rest on comes first, what prints comes last
_STYLES = (
    "base.css",
    "regions.css",
    "soundness.css",
    "trust.css",
    "shift.css",
    "cases.css",
    "simplification.css",
    "print.css",
)
_SCRIPTS = ("core.js", "regions.js", "network.js", "cases.js", "soundness.js", "simplification.js", "start.js")


def render(page: Page) -> str:
    """Return the page as HTML."""
    style, script = _assets("styles", _STYLES), _assets("scripts", _SCRIPTS)
    policy = "; ".join(
        [
            "default-src 'none'",
            f"script-src '{_hash(script)}'",
            f"style-src '{_hash(style)}'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        ]
    )
    return (
        _environment()
        .get_template("page.html.j2")
        .render(page=page, policy=Markup(policy), style=Markup(style), script=Markup(script), data=_json(page.data))
    )


def _json(data: Any) -> Markup:
    """Return JSON that cannot end the element it stands in."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # no markup is left in it


def _hash(text: str) -> str:
    """Return the source expression of a content security policy that allows exactly this text."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def _assets(folder: str, names: tuple[str, ...]) -> str:
    """Return the files of a folder as one text."""
    parts = [
        files("relucidate.html").joinpath(folder, name).read_text(encoding="utf-8").replace("\r\n", "\n")
        for name in names
    ]
    for name, text in zip(names, parts, strict=True):
        if "</s" in text.lower():
            raise AssertionError(f"{name} would end its own element")
    return "".join(parts)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("relucidate", "html"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        finalize=_unbroken,
    )
    environment.filters["breakable"] = _breakable
    return environment


def _unbroken(value: Any) -> Any:
    """Return text in which no line ends between a number and its percent sign."""
    return re.sub(r"(?<=\d) %", "\u00a0%", value) if type(value) is str else value


def _breakable(text: str) -> Markup:
    """Return text that may break after underscores."""
    return Markup("_<wbr>").join(text.split("_"))
