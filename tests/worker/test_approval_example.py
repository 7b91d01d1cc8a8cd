"""The example of an approval does what it says, with the command line as the person who decides."""

import subprocess
import sys
from pathlib import Path

import pytest

from polling import block_until
from swarm_persistence import open_storage
from swarm_persistence_conformance.waiting import LIMIT_SECONDS

EXAMPLE = Path(__file__).parents[2] / "examples" / "approval.py"


@pytest.mark.parametrize(
    ("action", "said"),
    [("approve", "app-1.0.tar was published: alice said 'fine'"), ("reject", "rejected by alice: fine")],
)
def test_the_release_waits_for_the_decision(path: Path, action: str, said: str) -> None:
    with subprocess.Popen([sys.executable, str(EXAMPLE), str(path)], stdout=subprocess.PIPE, text=True) as example:
        command = [sys.executable, "-m", "swarm_persistence", "tasks", action, str(path), "release-1-approval"]
        command += ["--by", "alice", "--comment", "fine"]
        block_until(lambda: subprocess.run(command, check=False, capture_output=True).returncode == 0)
        output, _ = example.communicate(timeout=LIMIT_SECONDS)
    assert example.returncode == 0
    assert said in output
    with open_storage(path) as storage:
        build = storage.get_task("release-1-build")
    assert build is not None
    assert build.progress is not None
