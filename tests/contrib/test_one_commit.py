"""The example of one commit leaves all or nothing of what it writes, wherever it is killed."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from examples.langgraph_one_commit import PLACES, show
from swarm_persistence import init_storage

ROOT = Path(__file__).parents[2]
NOTHING = "task pending, conversation [], 0 event(s), 0 message(s)\n"
ALL = "task completed, conversation ['Why?', 'Because.'], 1 event(s), 1 message(s)\n"


def run(target: str, *options: str) -> "subprocess.CompletedProcess[str]":
    command = (sys.executable, "-m", "examples.langgraph_one_commit", target, *options)
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


async def shown(target: str, capsys: pytest.CaptureFixture[str]) -> str:
    async with await init_storage(target) as storage:
        await show(storage)
    return capsys.readouterr().out


@pytest.mark.parametrize(("engine", "places"), [("sqlite", PLACES[:-1]), ("postgres", ("message",))])
async def test_what_a_killed_process_has_not_committed_is_not_there_and_the_next_process_does_it(
    engine: str,
    places: tuple[str, ...],
    request: pytest.FixtureRequest,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    target = request.getfixturevalue("url") if engine == "postgres" else str(tmp_path / "swarm.db")

    for place in places:
        killed = run(target, "--kill-after", place)
        assert (killed.returncode, killed.stderr) == (-signal.SIGKILL, "")
        assert await shown(target, capsys) == NOTHING

    done = run(target)
    assert (done.stderr, done.stdout) == ("", NOTHING + ALL)


async def test_what_a_process_has_committed_before_it_was_killed_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = str(tmp_path / "swarm.db")

    killed = run(target, "--kill-after", PLACES[-1])

    assert killed.returncode == -signal.SIGKILL
    assert await shown(target, capsys) == ALL
