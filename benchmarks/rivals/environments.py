"""Environments of their own for rivals that run on the Python that runs the benchmarks: ``.bench/<name>``, built once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

BENCH = Path(__file__).resolve().parents[2] / ".bench"


def ensure(name: str, requirements: Sequence[str], module: str) -> Path:
    """Return the Python of the environment, which is built first unless it is there with these requirements.

    Parameters
    ----------
    requirements : exact versions, as pip takes them. module : imported once, as a proof.

    Raises
    ------
    RuntimeError : the installation failed.
    """
    folder = BENCH / name
    python, stamp = folder / "bin" / "python", folder / ".installed"
    wanted = f"{sys.version_info[:2]} {' '.join(requirements)}"
    if stamp.is_file() and stamp.read_text() == wanted:
        return python
    print(f"Building {folder} (a minute or two, once)", file=sys.stderr)
    BENCH.mkdir(parents=True, exist_ok=True)
    (BENCH / ".gitignore").write_text("*\n")
    quiet = ["--quiet", "--disable-pip-version-check", "--no-input"]
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(folder)],
        [str(python), "-m", "pip", "install", *quiet, *requirements],
        [str(python), "-c", f"import {module}"],
    ):
        run = subprocess.run(command, stdout=sys.stderr, env={**os.environ, "MPLBACKEND": "agg"}, check=False)
        if run.returncode:
            raise RuntimeError(f"Building {folder} failed with status {run.returncode} at: {' '.join(command)}")
    stamp.write_text(wanted)  # written last, so an interrupted build is begun again
    return python
