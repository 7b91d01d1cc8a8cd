"""The commands of the page about durability run as they stand, one after the other, on a database of a swarm."""

# ruff: noqa: ASYNC221 - nothing else is to be done meanwhile

import re
import subprocess
import sys
from pathlib import Path

from swarm_persistence import EventModel, SqliteStorage, TaskModel

TEXT = (Path(__file__).parents[2] / "docs" / "durability.md").read_text()
COMMANDS = re.findall(r"^\$ swarm-persistence (.*)$", TEXT, re.MULTILINE)


async def test_its_commands_run_in_their_order(tmp_path: Path) -> None:
    async with await SqliteStorage.open(tmp_path / "swarm.db") as storage:
        await storage.store_tasks([TaskModel.new("job", number) for number in range(20)])
        await storage.store_event(EventModel.new("started", {}))
    assert {"backup", "restore", "doctor", "stats", "recover"} == {command.split()[0] for command in COMMANDS}

    for command in COMMANDS:
        done = subprocess.run(
            (sys.executable, "-m", "swarm_persistence", *command.split()),
            cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, ""), f"{command}: {done.stdout}"

    for name in ("monday.db", "swarm.db", "recovered.db"):
        async with await SqliteStorage.open(tmp_path / name) as storage:
            assert await storage.repository(TaskModel).count() == 20
            assert len(await storage.read_events()) == 1
