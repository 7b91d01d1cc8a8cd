"""The commands and programs of the page about the Rust crate run as they stand, on a file that the crate wrote."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from transfer.rust_files import WRITTEN_BY_RUST

TEXT = (Path(__file__).parents[2] / "docs" / "from-rust.md").read_text()
COMMANDS = re.findall(r"^\$ swarm-persistence (.*)$", TEXT, re.MULTILINE)
PROGRAMS = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def run(directory: Path, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=directory, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Give a directory with the file of the crate."""
    shutil.copyfile(WRITTEN_BY_RUST, tmp_path / "old.db")
    return tmp_path


def test_the_commands_run_in_their_order(directory: Path) -> None:
    assert [command.split()[0] for command in COMMANDS] == ["import-rust", "stats"]

    for command in COMMANDS:
        run(directory, "-m", "swarm_persistence", *command.split())


@pytest.mark.parametrize("program", PROGRAMS, ids=range(len(PROGRAMS)))
def test_a_program_runs(program: str, directory: Path) -> None:
    run(directory, "-c", program)
