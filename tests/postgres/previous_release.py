"""Brings the previous release: its wheel, built from this repository's history, in an environment of its own."""

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

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
    offline = ("--quiet", "--disable-pip-version-check", "--no-deps", "--no-index")
    _pip("wheel", *offline, "--no-build-isolation", "--wheel-dir", folder, source)
    (wheel,) = folder.glob("*.whl")
    environment = folder / "environment"
    venv.create(environment)
    python = environment / "bin" / "python"
    site = Path(_output(python, "import sysconfig; print(sysconfig.get_path('purelib'))"))
    _pip("install", *offline, "--target", site, wheel)
    # What it depends on is that of this environment; the release itself is found first.
    (site / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    found = Path(_output(python, "import swarm_persistence; print(swarm_persistence.__file__)"))
    if not found.is_relative_to(environment):
        raise RuntimeError(f"{found} is not the previous release")
    return python


def _pip(*arguments: object) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"pip {arguments[0]} failed: {done.stdout}{done.stderr}")


def _output(python: Path, program: str) -> str:
    done = subprocess.run([python, "-c", program], capture_output=True, text=True, check=True, cwd=python.parent)
    return done.stdout.strip()
