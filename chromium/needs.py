"""What it takes to run the package in a browser: where it is, what to do if it is not there, and how to get it."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".browser"
PYODIDE = FOLDER / "node_modules" / "pyodide"
WHEELS = FOLDER / "wheels"
CHROMIUM = Path("/usr/bin/chromium")

PYODIDE_VERSION = "314.0.7"
MSGSPEC_VERSION = "0.22.0"
_PYTHON = ("--only-binary=:all:", "--python-version", "3.14", "--implementation", "cp")
_SUITE = ("pytest==9.*", "pytest-asyncio==1.*", "hypothesis==6.155.*")
"""What the conformance suite takes. Later releases of Hypothesis have no wheel that runs everywhere."""


def missing(*, is_tested: bool = True) -> str:
    """Return what is missing and how to get it, in one line; nothing if all is there."""
    lacking = []
    if is_tested and not CHROMIUM.exists():
        lacking.append(f"{CHROMIUM} (as root: apt-get install -y --no-install-recommends chromium)")
    if not (PYODIDE / "pyodide.mjs").exists():
        lacking.append("Pyodide (make browser-needs, which takes npm)")
    if not package_wheels() or (is_tested and not suite_wheels()):
        lacking.append("wheels for Pyodide (make browser-needs)")
    return ", ".join(lacking)


def install() -> None:
    """Bring what is missing, as far as this user may."""
    if not CHROMIUM.exists() and shutil.which("apt-get"):
        _run("apt-get", "update", "--quiet")
        _run("apt-get", "install", "-y", "--no-install-recommends", "chromium")
    FOLDER.mkdir(exist_ok=True)
    if not (PYODIDE / "pyodide.mjs").exists():
        # A registry that does not answer is asked again soon: npm's own patience is five minutes a request.
        patience = ("--fetch-timeout=30000", "--fetch-retries=5", "--no-update-notifier")
        _run(
            "npm",
            "install",
            "--no-audit",
            "--no-fund",
            *patience,
            "--prefix",
            str(FOLDER),
            f"pyodide@{PYODIDE_VERSION}",
        )
    if not package_wheels():
        platform = ("--platform", "pyemscripten_2026_0_wasm32")
        _download("package", "--no-deps", *_PYTHON, *platform, f"msgspec=={MSGSPEC_VERSION}")
    if not suite_wheels():
        _download("suite", *_PYTHON, "--abi", "cp314", "--platform", "any", *_SUITE)


def build_package(folder: Path) -> Path:
    """Build the package's own wheel from the tree."""
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def package_wheels() -> list[Path]:
    """Return the wheels that the package takes beside its own: msgspec's."""
    return sorted((WHEELS / "package").glob("*.whl"))


def suite_wheels() -> list[Path]:
    """Return the wheels that the conformance suite takes."""
    return sorted((WHEELS / "suite").glob("*.whl"))


def _download(purpose: str, *arguments: str) -> None:
    _run(sys.executable, "-m", "pip", "download", "--quiet", "-d", str(WHEELS / purpose), *arguments)


def _run(*command: str) -> None:
    # What fails here is told by `missing` in one line: the tests need it, and nothing else does.
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    except FileNotFoundError as error:
        sys.stderr.write(f"{error}\n")
        return
    if done.returncode:
        sys.stderr.write(done.stderr)
