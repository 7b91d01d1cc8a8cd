"""What it takes to run the package in a browser: where it is, what to do if it is not there, and how to get it."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from textwrap import shorten

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".browser"
PYODIDE = FOLDER / "node_modules" / "pyodide"
WHEELS = FOLDER / "wheels"
AXE = FOLDER / "node_modules" / "axe-core" / "axe.min.js"
"""The accessibility checks of the live page."""
PUPPETEER = FOLDER / "node_modules" / "puppeteer-core" / "package.json"
"""What drives Firefox."""
CHROMIUM = Path("/usr/bin/chromium")
FIREFOX = Path("/usr/bin/firefox-esr")

TIMEOUT_SECONDS = 600
"""How long each step of the installation may take."""

PYODIDE_VERSION = "314.0.7"
AXE_VERSION = "4.11.0"
PUPPETEER_VERSION = "24.43.1"
MSGSPEC_VERSION = "0.22.0"
_PYTHON = ("--only-binary=:all:", "--python-version", "3.14", "--implementation", "cp")
_SUITE = ("pytest==9.*", "pytest-asyncio==1.*", "hypothesis==6.155.*", "tzdata")
"""What the conformance suite takes. Later releases of Hypothesis have no wheel that runs everywhere, and a browser has
no time zones of its own."""


def missing(*, is_tested: bool = True) -> str:
    """Return what is missing and how to get it, in one line; nothing if all is there."""
    lacking = []
    for browser in _missing_browsers() if is_tested else ():
        how = f"as root: apt-get install -y --no-install-recommends {browser.name}"
        lacking.append(f"{browser} ({how}{_last_failure(browser.name)})")
    if not (PYODIDE / "pyodide.mjs").exists():
        lacking.append(f"Pyodide (make browser-needs, which takes npm{_last_failure('pyodide')})")
    if is_tested and not AXE.exists():
        lacking.append(f"axe-core (make browser-needs, which takes npm{_last_failure('axe')})")
    if is_tested and not PUPPETEER.exists():
        lacking.append(f"puppeteer-core (make browser-needs, which takes npm{_last_failure('puppeteer')})")
    if not package_wheels():
        lacking.append(f"msgspec's wheel for Pyodide (make browser-needs{_last_failure('package')})")
    if is_tested and not suite_wheels():
        lacking.append(f"the wheels of the conformance suite (make browser-needs{_last_failure('suite')})")
    return ", ".join(lacking)


def install(*, is_tested: bool = True) -> None:
    """Bring what is missing, as far as this user may; a page that is not tested is opened in the user's own browser."""
    FOLDER.mkdir(exist_ok=True)
    for browser in _missing_browsers() if is_tested and shutil.which("apt-get") else ():
        _run(browser.name, "apt-get", "update", "--quiet")
        _run(browser.name, "apt-get", "install", "-y", "--no-install-recommends", browser.name)
    if not (PYODIDE / "pyodide.mjs").exists():
        _install_from_npm("pyodide", f"pyodide@{PYODIDE_VERSION}")
    if is_tested and not AXE.exists():
        _install_from_npm("axe", f"axe-core@{AXE_VERSION}")
    if is_tested and not PUPPETEER.exists():
        _install_from_npm("puppeteer", f"puppeteer-core@{PUPPETEER_VERSION}")
    if not package_wheels():
        platform = ("--platform", "pyemscripten_2026_0_wasm32")
        _download("package", "--no-deps", *_PYTHON, *platform, f"msgspec=={MSGSPEC_VERSION}")
    if is_tested and not suite_wheels():
        _download("suite", *_PYTHON, "--abi", "cp314", "--platform", "any", *_SUITE)


def build_package(folder: Path) -> Path:
    """Build the package's own wheel from the tree."""
    return _build(ROOT, folder)


def build_suite(folder: Path) -> Path:
    """Build the wheel of the conformance suite from the tree."""
    return _build(ROOT / "conformance", folder)


def _build(project: Path, folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=project, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def package_wheels() -> list[Path]:
    """Return the wheels that the package takes beside its own: msgspec's."""
    return sorted((WHEELS / "package").glob("*.whl"))


def suite_wheels() -> list[Path]:
    """Return the wheels that the conformance suite takes."""
    return sorted((WHEELS / "suite").glob("*.whl"))


def _missing_browsers() -> list[Path]:
    return [browser for browser in (CHROMIUM, FIREFOX) if not browser.exists()]


def _install_from_npm(purpose: str, package: str) -> None:
    # A registry that does not answer is asked again soon: npm's own patience is five minutes a request.
    patience = ("--fetch-timeout=30000", "--fetch-retries=5", "--no-update-notifier")
    _run(purpose, "npm", "install", "--no-audit", "--no-fund", *patience, "--prefix", str(FOLDER), package)


def _download(purpose: str, *arguments: str) -> None:
    _run(purpose, sys.executable, "-m", "pip", "download", "--quiet", "-d", str(WHEELS / purpose), *arguments)


def _run(purpose: str, *command: str) -> None:
    # What fails here is told by `missing` in one line, in another process: the tests need it, and nothing else does.
    reason = _reason_of_failure(command)
    note = _note(purpose)
    if reason:
        note.write_text(reason)
        sys.stderr.write(f"{reason}\n")
    else:
        note.unlink(missing_ok=True)


def _reason_of_failure(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
    except FileNotFoundError:
        return f"there is no {command[0]}"
    except subprocess.TimeoutExpired:
        return f"{command[0]} was not done after {TIMEOUT_SECONDS:g} s"
    if not done.returncode:
        return ""
    return f"{Path(command[0]).name} failed: {shorten(done.stderr or done.stdout, 400)}"


def _last_failure(purpose: str) -> str:
    note = _note(purpose)
    return f"; last time, {note.read_text()}" if note.exists() else ""


def _note(purpose: str) -> Path:
    return FOLDER / f"{purpose}.failed"
