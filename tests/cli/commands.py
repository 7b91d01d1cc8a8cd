"""Runs the command line in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent


def run_command(
    *arguments: str | Path, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command and return what it printed, in a terminal's width of 80."""
    return subprocess.run(
        [sys.executable, "-m", "swarm_persistence", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "80", "PYTHONSAFEPATH": "1", **environment},
    )
