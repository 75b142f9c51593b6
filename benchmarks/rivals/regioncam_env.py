"""An environment of its own for regioncam, a Rust library that draws the regions of a network on a plane::

    python benchmarks/rivals/regioncam_env.py

builds ``.bench/regioncam`` once, with the Python that runs this, and prints the path of the Python in it.
"""

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve()
FOLDER = HERE.parents[2] / ".bench" / "regioncam"
PINS = "regioncam==0.5.2 numpy==2.4.6"


class Unavailable(Exception):
    """The environment cannot be built here; the text says why."""


def ensure(folder: Path = FOLDER) -> Path:
    """The Python of the environment in ``folder``, which is built first unless it is there with the present pins.

    Raises:
        Unavailable: the installation failed, for example where there is no wheel for this platform.
    """
    python, stamp = folder / "bin" / "python", folder / ".installed"
    if stamp.is_file() and stamp.read_text() == PINS:
        return python
    print(f"Building {folder} (a minute, once)", file=sys.stderr)
    if folder == FOLDER:
        folder.parent.mkdir(parents=True, exist_ok=True)
        (folder.parent / ".gitignore").write_text("*\n")
    quiet = ["--quiet", "--disable-pip-version-check", "--no-input"]
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(folder)],
        [str(python), "-m", "pip", "install", *quiet, "--only-binary=:all:", *PINS.split()],
        [str(python), "-c", "import regioncam"],
    ):
        # Standard output is kept for the answer.
        if status := subprocess.run(command, stdout=sys.stderr).returncode:
            raise Unavailable(f"Building {folder} failed with status {status} at: {' '.join(command)}")
    # Written last, so an interrupted build is begun again.
    stamp.write_text(PINS)
    return python


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the environment of regioncam and print its Python.")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where to build it (default: %(default)s)")
    try:
        print(ensure(parser.parse_args().folder.absolute()))
    except Unavailable as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
