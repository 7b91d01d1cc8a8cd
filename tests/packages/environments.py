"""Builds wheels, and makes environments that hold them; nothing is downloaded."""

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

_OFFLINE = ("--quiet", "--disable-pip-version-check", "--no-deps", "--no-index")


def build_wheel(source: Path, folder: Path) -> Path:
    """Build the wheel of a source tree into a folder; raises `RuntimeError` if that fails."""
    before = {*folder.glob("*.whl")}
    _pip("wheel", *_OFFLINE, "--no-build-isolation", "--wheel-dir", folder, source)
    (wheel,) = {*folder.glob("*.whl")} - before
    return wheel


def new_environment(folder: Path, *wheels: Path) -> Path:
    """Make an environment with these wheels, whose dependencies are those of this environment; return its Python.

    Raises:
        RuntimeError: a wheel could not be installed, or its package is not the one that is imported.

    """
    venv.create(folder)
    python = folder / "bin" / "python"
    site = Path(_output(python, "import sysconfig; print(sysconfig.get_path('purelib'))"))
    _pip("install", *_OFFLINE, "--target", site, *wheels)
    # Python looks here after the wheels' own directory, so the packages of the wheels win.
    (site / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    for wheel in wheels:
        package = wheel.name.partition("-")[0]
        found = Path(_output(python, f"import {package}; print({package}.__file__)"))
        if not found.is_relative_to(folder):
            raise RuntimeError(f"{found} is not the package of {wheel.name}")
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
