"""Brings the previous release: its wheel, built from this repository's history, in an environment of its own."""

import subprocess
from pathlib import Path

from packages.environments import build_wheel, new_environment

PREVIOUS = "98670f839192ff47c5f42a865a8963b809e7b4e4"
"""The last commit whose schema on PostgreSQL has version 2."""

_ROOT = Path(__file__).parents[2]


def install_previous(folder: Path) -> Path:
    """Install the wheel, and return the Python that imports it; nothing is downloaded.

    Raises:
        RuntimeError: the history does not go back so far, as in a shallow clone, or the wheel could not be built.

    """
    source = folder / "source"
    source.mkdir()
    archive = subprocess.run(["git", "-C", _ROOT, "archive", PREVIOUS], capture_output=True, check=False)
    if archive.returncode:
        raise RuntimeError(
            f"this test builds the wheel of commit {PREVIOUS[:7]}, which this clone lacks; fetch the whole history "
            f"(git fetch --unshallow; in CI, fetch-depth: 0): {archive.stderr.decode().strip()}"
        )
    subprocess.run(["tar", "-x", "-C", source], input=archive.stdout, check=True)
    return new_environment(folder / "environment", build_wheel(source, folder))
