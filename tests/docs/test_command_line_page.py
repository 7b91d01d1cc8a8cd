"""What the page about the command line shows is run, in its order, in one directory."""

import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
WITH_COMMAND = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def run(*command: str, directory: Path) -> str:
    """Return what a command prints, which must not fail."""
    done = subprocess.run(
        command, cwd=directory, env=WITH_COMMAND, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), command
    return done.stdout


def test_each_command_prints_what_is_shown(tmp_path: Path) -> None:
    for language, block in BLOCKS:
        if language == "python":
            assert run(sys.executable, "-W", "error", "-c", block, directory=tmp_path) == ""
            continue
        assert language == "console"
        for call in block.split("$ ")[1:] if "$(" not in block else [block.removeprefix("$ ")]:
            command, _, output = call.partition("\n")
            assert run("bash", "-o", "pipefail", "-c", command, directory=tmp_path) == output
