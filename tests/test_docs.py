"""README and docs are true: every command and every Python block in them runs, and every name is documented."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

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
