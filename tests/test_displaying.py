"""Results show themselves in a notebook: every kind does, nothing in a name can act, and large results stay small."""

import dataclasses
import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pandas as pd
import pytest

import relucidate as rl
from relucidate import diagnose, interpret, simplify
from relucidate.displaying import in_notebook
from relucidate.features import Features
from relucidate.layers import Activation, Layer
from relucidate.network import Network
from relucidate.unwrapping import Unwrapped

HOSTILE = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "abc\u202edesrever", "L" * 10_000)


def hostile(n: int = 400) -> Unwrapped:
    rng = np.random.default_rng(0)
    layers = (
        Layer(rng.normal(size=(6, 4)), rng.normal(size=6), Activation.of_kind("relu", 6), "a"),
        Layer(rng.normal(size=(1, 6)), rng.normal(size=1), Activation.of_kind("identity", 1), "b"),
    )
    net = Network(layers, Features.plain(4, HOSTILE), "logit", ("<b>no", "</script>yes"))
    X = rng.normal(size=(n, 4))
    return rl.unwrap(net, X, np.where(X[:, 0] > 0, *reversed(net.classes)))


class Parsed(HTMLParser):
    """Tags, and the text of cells and list items."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.rows: list[list[str]] = []
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {key for key, _ in attrs}
        if tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.rows and self.tags[-1] in ("th", "td"):
            self.rows[-1][-1] += data


KINDS: dict[str, Callable[[Unwrapped], Any]] = {
    "network": lambda u: u.network,
    "unwrapped": lambda u: u,
    "importance": interpret.importance,
    "coefficients": interpret.coefficients,
    "profile": lambda u: interpret.profile(u, 0),
    "explain": lambda u: interpret.explain(u, u.sample.x[:3]),
    "path": lambda u: interpret.path(u.network, u.sample.x[0], u.sample.x[1]),
    "reliability": diagnose.reliability,
    "performance": diagnose.performance,
    "segments": diagnose.segments,
    "complexity": diagnose.complexity,
    "monotonicity": diagnose.monotonicity,
    "exposure": lambda u: diagnose.exposure(u, u, u),
    "extrapolation": lambda u: diagnose.extrapolation(u, u),
    "merged": lambda u: simplify.merge(u, n_models=2),
    "region": lambda u: rl.regions.polytope(u.network, u.sample.x[0]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_names_do_nothing_and_the_head_of_the_table_is_there(kind: str) -> None:
    result = KINDS[kind](hostile())
    source = result._repr_html_()
    page = Parsed(source)
    assert set(page.tags) <= {"div", "p", "strong", "ul", "li", "table", "thead", "tbody", "tr", "th", "td"}
    assert page.attributes <= {"style"}
    assert "\u202e" not in source
    assert len(source) < 30_000
    first = repr(result).splitlines()[0]
    assert first[:20] in re.sub(r"\s+", " ", _text(source))
    if kind != "network":
        frame = result.table() if not hasattr(result, "to_frame") else result.to_frame()
        assert len(page.rows) == 1 + min(len(frame), 8)


def _text(source: str) -> str:
    from html import unescape

    return unescape(re.sub(r"<[^>]+>", " ", source)).strip()


def test_every_result_that_has_a_table_shows_itself() -> None:
    found = 0
    for module in (interpret, diagnose, simplify, rl.regions):
        for name in dir(module):
            kind = getattr(module, name)
            if dataclasses.is_dataclass(kind) and (hasattr(kind, "to_frame") or hasattr(kind, "table")):
                assert getattr(kind, "_repr_html_", None) is in_notebook, name
                found += 1
    assert found > 20


def test_numbers_are_those_of_the_table() -> None:
    result = interpret.importance(hostile())
    frame = result.to_frame()
    page = Parsed(result._repr_html_())
    at = page.rows[0].index("importance")
    for row, value in zip(page.rows[1:], frame["importance"], strict=True):
        assert float(row[at].replace("\N{MINUS SIGN}", "-")) == pytest.approx(value, rel=1e-3)  # four digits are shown


class Wide:
    """A wide table."""

    def to_frame(self) -> pd.DataFrame:
        return pd.DataFrame(np.arange(3000.0).reshape(100, 30), columns=[f"c{j}" for j in range(30)])

    def __repr__(self) -> str:
        return "\n".join(f"line {i}" for i in range(50))


def test_what_is_left_out_is_said() -> None:
    text = _text(in_notebook(Wide()))
    assert "and 92 more rows and 21 more columns" in text
    assert "44 more lines" in text


def test_a_result_that_only_lists_its_fields_is_named_by_what_it_is() -> None:
    curve = simplify.merge(hostile(), n_models=2).curve
    if curve is None:
        pytest.fail("merge keeps its curve")
    assert "array(" not in in_notebook(curve)
    assert type(curve).__doc__.splitlines()[0][:20] in _text(in_notebook(curve))


def test_ten_thousand_regions_stay_small() -> None:
    rng = np.random.default_rng(1)
    layers = (
        Layer(rng.normal(size=(60, 20)), rng.normal(size=60), Activation.of_kind("relu", 60), "a"),
        Layer(rng.normal(size=(1, 60)), rng.normal(size=1), Activation.of_kind("identity", 1), "b"),
    )
    u = rl.unwrap(Network(layers, Features.plain(20, None), "identity"), rng.normal(size=(10_000, 20)))
    assert u.n_regions > 9_000
    assert len(u._repr_html_()) < 30_000
