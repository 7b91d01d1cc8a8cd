"""The help of every command, as golden files: `UPDATE_GOLDEN=1` writes them anew."""

import os
import re
from pathlib import Path

import pytest

from swarm_persistence import __version__
from swarm_persistence.cli.main import main, make_parser

GOLDEN = Path(__file__).parent / "golden"
COMMANDS = [
    "demo",
    "worker",
    "serve",
    "mcp",
    "stats",
    "top",
    "tasks",
    "schedules",
    "limits",
    "agents",
    "events",
    "messages",
    "doctor",
    "migrate",
    "prune",
    "partition",
    "recover",
    "copy",
    "import-rust",
    "delete",
    "erase",
    "backup",
    "restore",
    "checksums",
    "completion",
]
ACTIONS = {
    "tasks": ["list", "blocked", "show", "add", "retry", "cancel", "release", "approve", "reject", "wait"],
    "schedules": ["list", "show", "set", "pause", "resume", "delete"],
    "limits": ["list", "set", "delete"],
    "agents": ["list"],
    "events": ["tail"],
    "messages": ["list", "send"],
}
CALLS = [[], *([each] for each in COMMANDS), *([each, action] for each, names in ACTIONS.items() for action in names)]


@pytest.mark.parametrize("arguments", CALLS, ids=lambda each: " ".join(each) or "-")
def test_help_is_as_written_down(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    with pytest.raises(SystemExit, match=r"^0$"):
        main([*arguments, "--help"])
    path = GOLDEN / f"help{''.join(f'-{each}' for each in arguments)}.txt"
    text = capsys.readouterr().out
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


def test_there_is_a_golden_file_for_every_command() -> None:
    listed = re.findall(r"^    ([a-z-]+)(?: |$)", make_parser().format_help(), re.MULTILINE)
    assert listed == COMMANDS


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["--version"])
    assert capsys.readouterr().out == f"swarm-persistence {__version__}\n"
