"""Runs the command line in a process of its own."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent


def run_command(
    *arguments: str | Path, cwd: Path | None = None, stdin: str | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command and return what it printed, in a terminal's width of 80."""
    return subprocess.run(
        [sys.executable, "-m", "swarm_persistence", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "80", "PYTHONSAFEPATH": "1", **environment},
    )


def commands_in(remedy: str) -> list[list[str]]:
    """Return the arguments of each command of ours that a text advises in backquotes, as a shell takes it."""
    return [shlex.split(text) for text in re.findall("`swarm-persistence (.*?)`", remedy)]
