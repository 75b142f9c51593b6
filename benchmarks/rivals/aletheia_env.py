"""An environment of its own for aletheia-dnn, the reference implementation of unwrapping.

Its wheels are compiled for Linux on x86-64 and Python 3.7 to 3.10 only, so it cannot share the project's environment::

    python benchmarks/rivals/aletheia_env.py

finds such an interpreter, builds ``.bench/aletheia`` once, and prints the path of the Python in it. Interpreters are
looked for in this order, newest first: ``$ALETHEIA_PYTHON``; ``python3.10`` … ``python3.7`` on ``PATH``; the versions
that pyenv keeps under ``$PYENV_ROOT`` or ``~/.pyenv``.
"""

import argparse
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve()
FOLDER = HERE.parents[2] / ".bench" / "aletheia"

ALETHEIA = "aletheia-dnn==1.3.5"
_MIDDLE = (
    "matplotlib==3.6.3 numpy==1.23.5 pandas==1.5.3 scikit-learn==1.2.2 scipy==1.10.1 seaborn==0.12.2 "
    "statsmodels==0.14.1"
)
# The newest of each that was seen to work; what these need in turn no longer changes for Pythons this old.
PINS = {
    "3.10": "matplotlib==3.10.9 numpy==2.2.6 pandas==2.3.3 scikit-learn==1.7.2 scipy==1.15.3 seaborn==0.13.2 "
    "statsmodels==0.15.0",
    "3.9": _MIDDLE,
    "3.8": _MIDDLE,
    "3.7": "matplotlib==3.5.3 numpy==1.21.6 pandas==1.3.5 scikit-learn==1.0.2 scipy==1.7.3 seaborn==0.12.2 "
    "statsmodels==0.13.5",
}


class Unavailable(Exception):
    """The environment cannot be built here; the text says why and what to do."""


def version_of(python: str) -> str | None:
    """``major.minor`` of an interpreter that can make virtual environments, None for anything else."""
    program = "import sys, ensurepip, venv; print('%d.%d' % sys.version_info[:2])"
    try:
        run = subprocess.run([python, "-c", program], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return run.stdout.strip() if run.returncode == 0 else None


def candidates() -> Iterator[tuple[str, str]]:
    """Interpreters on ``PATH`` and of pyenv that may fit, with the version their name promises, newest first."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    for version in PINS:
        if found := shutil.which(f"python{version}"):
            yield version, found
        for folder in sorted(pyenv.glob(f"{version}.*"), reverse=True):
            yield version, str(folder / "bin" / "python3")


def find_interpreter() -> tuple[str, str]:
    """``(version, path)`` of the interpreter to build with.

    Raises:
        Unavailable: no Python 3.7 to 3.10 that can make virtual environments, or a platform without wheels.
    """
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise Unavailable(
            f"{ALETHEIA} has wheels for Linux on x86-64 only; this is {platform.system()} on {platform.machine()}. "
            "Leave this rival out here."
        )
    if named := os.environ.get("ALETHEIA_PYTHON"):
        version = version_of(named)
        if version in PINS:
            return version, named
        raise Unavailable(
            f"ALETHEIA_PYTHON={named} is {f'Python {version}' if version else 'no Python that can make environments'}; "
            f"{ALETHEIA} needs one of {', '.join(PINS)}. Name another or unset it."
        )
    for version, python in candidates():
        if version_of(python) == version:
            return version, python
    raise Unavailable(
        f"{ALETHEIA} needs Python {', '.join(PINS)} with its venv module, and none was found on PATH or among pyenv's "
        "versions. Install one (pyenv install 3.10) or name one: ALETHEIA_PYTHON=/path/to/python3.10."
    )


def ensure(folder: Path = FOLDER) -> Path:
    """The Python of the environment in ``folder``, which is built first unless it is there with the present pins.

    Raises:
        Unavailable: no interpreter fits, or the installation failed.
    """
    python = folder / "bin" / "python"
    stamp = folder / ".installed"
    if stamp.is_file() and stamp.read_text() in {f"{v} {ALETHEIA} {pins}" for v, pins in PINS.items()}:
        return python

    version, base = find_interpreter()
    print(f"Building {folder} with {base} (a minute, once)", file=sys.stderr)
    if folder == FOLDER:
        folder.parent.mkdir(parents=True, exist_ok=True)
        (folder.parent / ".gitignore").write_text("*\n")
    requirements = [ALETHEIA, *PINS[version].split()]
    quiet = ["--quiet", "--disable-pip-version-check", "--no-input"]
    for command in (
        [base, "-m", "venv", "--clear", str(folder)],
        [str(python), "-m", "pip", "install", *quiet, "--only-binary=:all:", *requirements],
        [str(python), "-c", "import aletheia"],
    ):
        # Standard output is kept for the answer.
        status = subprocess.run(command, stdout=sys.stderr, env={**os.environ, "MPLBACKEND": "agg"}).returncode
        if status:
            raise Unavailable(f"Building {folder} failed with status {status} at: {' '.join(command)}")
    # Written last, so an interrupted build is begun again.
    stamp.write_text(f"{version} {ALETHEIA} {PINS[version]}")
    return python


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the environment of aletheia-dnn and print its Python.")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where to build it (default: %(default)s)")
    try:
        print(ensure(parser.parse_args().folder.absolute()))
    except Unavailable as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
