"""A `Page` as HTML text: one file, no request to anywhere, nothing executed but the page's own script."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from relucidate.html.content import Page


def render(page: Page) -> str:
    """Return the page as HTML."""
    style, script = _asset("page.css"), _asset("page.js")
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
def _asset(name: str) -> str:
    text = files("relucidate.html").joinpath(name).read_text(encoding="utf-8").replace("\r\n", "\n")
    if "</s" in text.lower():
        raise AssertionError(f"{name} would end its own element")
    return text


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("relucidate", "html"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters["breakable"] = _breakable
    return environment


def _breakable(text: str) -> Markup:
    """Return text that may break after underscores."""
    return Markup("_<wbr>").join(text.split("_"))
