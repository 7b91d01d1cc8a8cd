"""Every Python block of the README and of the pages in docs runs as it stands, and its commands exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text()
# The page about PostgreSQL needs a server, that about the Rust crate a file of it, that about MCP the command in the
# path: they have tests of their own.
PAGES = sorted(page for page in (ROOT / "docs").glob("*.md") if page.stem not in ("postgres", "from-rust", "mcp"))
PROGRAMS = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
COMMANDS = [line for block in re.findall(r"^```console\n(.*?)^```", TEXT, re.M | re.S) for line in block.splitlines()]


@pytest.mark.parametrize("program", PROGRAMS, ids=range(len(PROGRAMS)))
def test_a_program_of_the_readme_runs(program: str, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(program, id=f"{page.stem}-{number}")
        for page in PAGES
        for number, program in enumerate(re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S), 1)
    ],
)
def test_a_program_of_a_page_runs(program: str, tmp_path: Path) -> None:
    test_a_program_of_the_readme_runs(program, tmp_path)


def test_the_first_example_is_in_the_first_screen_and_short() -> None:
    first = PROGRAMS[0].strip().splitlines()
    assert len(first) <= 16
    assert TEXT.index(first[0]) < 1200


@pytest.mark.parametrize("target", sorted(set(re.findall(r"^\$ make ([a-z-]+)", TEXT, re.MULTILINE))))
def test_a_make_target_of_the_readme_exists(target: str) -> None:
    done = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("verb", sorted(set(re.findall(r"^\$ swarm-persistence ([a-z]+)", TEXT, re.MULTILINE))))
def test_a_command_of_the_readme_exists(verb: str) -> None:
    command = [sys.executable, "-m", "swarm_persistence", verb, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([\w./-]+\.md)\)", TEXT))))
def test_a_page_that_the_readme_names_exists(target: str) -> None:
    assert (ROOT / target).is_file()


def test_the_readme_shows_commands() -> None:
    assert [line for line in COMMANDS if line.startswith("$ make demo")]
