"""The promises the package makes about itself: what importing it costs, what is documented, what is pinned."""

import inspect
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import relucidate
from relucidate import errors

ROOT = Path(__file__).resolve().parents[1]

FRAMEWORKS = {"h5py", "keras", "onnx", "onnxruntime", "sklearn", "tensorflow", "torch"}
HEAVY = FRAMEWORKS | {"matplotlib", "pandas"}
# For the package itself even the arrays' companions wait until they are used.
DEFERRED = HEAVY | {"pyarrow", "scipy"}

ERRORS = [
    value
    for value in vars(errors).values()
    if inspect.isclass(value) and issubclass(value, Exception) and value.__module__ == errors.__name__
]


def imported_by(module: str) -> set[str]:
    """Top-level packages in ``sys.modules`` of a fresh interpreter that has imported ``module``."""
    program = f"import sys, {module}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return set(run.stdout.split())


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("relucidate", DEFERRED),
        ("relucidate.errors", DEFERRED),
        ("relucidate.network", HEAVY),
        ("relucidate.unwrapping", HEAVY),
        ("relucidate.cli", HEAVY),
    ],
)
def test_importing_stays_light(module: str, absent: set[str]) -> None:
    assert imported_by(module) & absent == set()


def own_docstring(value: object) -> str:
    """The docstring written for ``value``: neither inherited nor the signature that ``dataclass`` puts in its place."""
    if not isinstance(value, ModuleType) and not inspect.isroutine(value) and not inspect.isclass(value):
        return "a constant, described by its module"
    doc = (value.__doc__ or "").strip()
    return "" if inspect.isclass(value) and doc.startswith(f"{value.__name__}(") else doc


@pytest.mark.parametrize("name", relucidate.__all__)
def test_public_name_resolves_and_is_documented(name: str) -> None:
    value = getattr(relucidate, name)
    assert own_docstring(value), f"relucidate.{name} has no docstring"
    assert name in dir(relucidate)


def test_public_names_are_listed_once() -> None:
    assert len(relucidate.__all__) == len(set(relucidate.__all__))


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        getattr(relucidate, "no_such_name")  # noqa: B009


def test_there_are_errors_to_check() -> None:
    assert ERRORS


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_error_is_documented(error: type[Exception]) -> None:
    assert own_docstring(error), f"{error.__name__} has no docstring"


def pins(name: str) -> dict[str, str]:
    """Package to exact version, as listed in ``requirements/<name>.txt``."""
    lines = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    pinned = {}
    for line in lines:
        if line and not line.startswith("#"):
            match = re.fullmatch(r"([\w.-]+)==([\w.!]+)", line)
            assert match, f"not an exact version: {line!r}"
            pinned[canonicalize_name(match[1])] = match[2]
    return pinned


def project() -> dict[str, Any]:
    """The ``[project]`` table of ``pyproject.toml``."""
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return table


def declared(extras: list[str]) -> list[Requirement]:
    """Dependencies in ``pyproject.toml`` of the package and of ``extras``, without references to itself."""
    about = project()
    lines = [*about["dependencies"], *(line for extra in extras for line in about["optional-dependencies"][extra])]
    return [requirement for line in lines if (requirement := Requirement(line)).name != about["name"]]


@pytest.mark.parametrize(("name", "extras"), [("core", []), ("dev", list(project()["optional-dependencies"]))])
def test_pins_satisfy_what_is_declared(name: str, extras: list[str]) -> None:
    pinned = pins(name)
    for requirement in declared(extras):
        version = pinned[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement} is declared, {version} pinned"


def test_every_extra_for_users_is_in_all() -> None:
    extras = set(project()["optional-dependencies"]) - {"all", "dev"}
    (everything,) = map(Requirement, project()["optional-dependencies"]["all"])
    assert everything.extras == extras


def test_version_is_the_one_declared() -> None:
    assert relucidate.__version__ == project()["version"]


def test_both_environments_have_the_same_versions() -> None:
    assert pins("core").items() <= pins("dev").items()
