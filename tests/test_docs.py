"""README and docs are true: every command and every Python block in them runs, and every name is documented."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import relucidate as rl
from relucidate import errors

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    return [text for kind, text in BLOCK.findall(page.read_text(encoding="utf-8")) if kind == language]


def commands(page: Path) -> list[list[str]]:
    lines = "".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.strip() and not line.startswith("#")]


def all_commands() -> list[tuple[str, list[str]]]:
    return [(page.name, command) for page in PAGES for command in commands(page)]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder laid out like a clone, as far as commands on the pages reach."""
    (tmp_path / "src" / "relucidate").mkdir(parents=True)
    shutil.copytree(ROOT / "src" / "relucidate" / "_data", tmp_path / "src" / "relucidate" / "_data")
    return tmp_path


@pytest.mark.parametrize(
    "page", [p for p in PAGES if any(c[0] == "relucidate" for c in commands(p))], ids=lambda p: p.name
)
def test_every_command_on_a_page_runs(page: Path, clone: Path) -> None:
    """One after the other, as a reader would run them: later ones may take what earlier ones wrote."""
    for command in commands(page):
        if command[0] == "relucidate":
            done = subprocess.run(
                [sys.executable, "-m", *command], cwd=clone, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{page.name}: {shlex.join(command)}\n{done.stderr}"
            assert done.stdout.strip()


@pytest.mark.parametrize(("page", "command"), [c for c in all_commands() if c[1][0] == "make"])
def test_every_make_target_on_a_page_exists(page: str, command: list[str]) -> None:
    done = subprocess.run(["make", "-n", *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{page}: {done.stderr}"


def test_pages_name_no_other_program() -> None:
    assert {command[0] for _, command in all_commands()} <= {"relucidate", "make"}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")  # of Keras's torch backend
@pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec")  # of torch.export
@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=lambda p: p.name)
def test_python_on_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile("\n".join(blocks(page, "python")), page.name, "exec"), {})


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"


def test_every_public_name_error_and_command_is_in_the_reference() -> None:
    from relucidate.cli import app

    text = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    names = [name for name in rl.__all__ if name not in ("errors", "examples")]
    names += [
        name for name, value in vars(errors).items() if isinstance(value, type) and value.__module__ == errors.__name__
    ]
    names += [command.callback.__name__ for command in app.registered_commands if command.callback]
    assert [name for name in names if f"`{name}" not in text] == []


def test_every_option_is_in_the_reference() -> None:
    import typer

    from relucidate.cli import app

    text = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    command = typer.main.get_command(app)
    options = {o for sub in command.commands.values() for p in sub.params for o in p.opts if o.startswith("--")}
    assert sorted(o for o in options if f"`{o}" not in text and o != "--help") == []


# ---------------------------------------------------------------- columns of the tables


@cache
def lending() -> rl.Unwrapped:
    loans = rl.examples.home_lending()
    return rl.unwrap(rl.load(loans.model), loans.train, loans.target)


def frames() -> dict[str, Any]:
    """The table of each view."""
    u, loans = lending(), rl.examples.home_lending()
    of, ask = rl.interpret, rl.diagnose
    other = replace(
        u.network, layers=(*u.network.hidden, replace(u.network.layers[-1], bias=u.network.layers[-1].bias + 0.1))
    )
    some = pd.read_parquet(loans.train).head(6)
    return {
        "importance": of.importance(u),
        "coefficients": of.coefficients(u),
        "clusters": of.clusters(u),
        "intercepts": of.intercepts(u),
        "directions": of.directions(u),
        "profile": of.profile(u, "credit_score"),
        "pairs": of.pairs(u),
        "explain": of.explain(u, some),
        "integrated-gradients": of.integrated_gradients(u, some),
        "shapley": of.shapley(u, some.head(1), some.head(1)),
        "ice": of.ice(u, some, feature="credit_score"),
        "partial-dependence": of.partial_dependence(u, some, feature="credit_score"),
        "ale": of.ale(u, feature="credit_score"),
        "path": of.path(u, some.iloc[[0]], some.iloc[[1]]),
        "stability": of.stability({"a": u.network, "b": other}, some.drop(columns=loans.target)),
        "reliability": ask.reliability(u),
        "performance": ask.performance(u),
        "exposure": ask.exposure(u, u, (loans.test, loans.target)),
        "extrapolation": ask.extrapolation(u, some, some[loans.target]),
        "boundary": ask.boundary(u, some.head(2)),
        "monotonicity": ask.monotonicity(u),
        "complexity": ask.complexity(u),
        "segments": ask.segments(u, protected="first_time_buyer"),
    }


def described(view: str) -> set[str]:
    """The columns that the page explains in the section of a view, or for all."""
    text = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8")
    sections = {
        head: body for head, body in re.findall(r"^### ([^\n]+)\n(.*?)(?=^##|\Z)", text, re.DOTALL | re.MULTILINE)
    }
    (own,) = [body for head, body in sections.items() if f"`{view}`" in head]
    both = text[: text.index("## `interpret`")] + own
    return set(
        re.findall(r"`([^`\n]+)`", "\n".join(line.split("|")[1] for line in both.splitlines() if line.startswith("|")))
    )


def test_every_column_of_every_table_is_explained() -> None:
    wildcards = (r"_(low|high|difference|difference_low|difference_high)$", r": .*$", r"^(local|global)_", r"\[.*\]$")
    for view, result in frames().items():
        known = described(view) | {f"{c.split(':')[0]}:" for c in described(view) if ":" in c}
        tables = [result.to_frame()] + ([result.groups_frame()] if view == "segments" else [])
        for frame in tables:
            for column in map(str, [*frame.columns, *filter(None, frame.index.names)]):
                names = {column}
                for _ in range(2):  # local_accuracy_low is accuracy
                    names |= {re.sub(w, ":" if w.startswith(":") else "", name) for w in wildcards for name in names}
                assert names & known, f"docs/tables.md does not explain the column {column!r} of {view}"
