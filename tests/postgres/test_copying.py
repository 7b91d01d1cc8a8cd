"""A swarm moves from a file to a server and back, by `swarm-persistence copy`, and works on there."""

import asyncio
import signal
import sys
from pathlib import Path

import asyncpg
import pytest

from postgres.conftest import a_lock_is_waited_for
from swarm_persistence import PostgresStorage, SqliteStorage, TaskModel, init_storage
from swarm_persistence.cli.copying import _copy as copy_between
from swarm_persistence.cli.main import main
from swarm_persistence.cli.terminal import open_console
from swarm_persistence_conformance.records import a_task, an_event, complete_records

# The server has not noticed yet that the client is gone.
END_WAITING = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


async def test_a_swarm_moves_to_a_server_and_back(tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    first, lines, last = (str(tmp_path / name) for name in ("first.db", "all.jsonl", "last.db"))
    async with await SqliteStorage.open(first) as storage:
        await storage.store_many(complete_records())
        await storage.store_tasks([a_task("waits", dependencies=["ready"]), a_task("ready")])

    there = await copy_between(open_console(), first, url)
    async with await init_storage(url) as server:
        assert isinstance(server, PostgresStorage)
        assert "waits" in [task.id for task in await server.get_blocked_tasks()]
        on_the_server = await server.repository(TaskModel).find_all()
    back = await copy_between(open_console(), url, lines) + await copy_between(open_console(), lines, last)

    assert all(outcome.is_equal for outcome in there + back)
    async with await SqliteStorage.open(last) as storage:
        assert await storage.repository(TaskModel).find_all() == on_the_server


async def test_a_copy_that_was_killed_goes_on(
    tmp_path: Path, url: str, storage: PostgresStorage, rival: asyncpg.Connection, admin: asyncpg.Connection
) -> None:
    file = str(tmp_path / "first.db")
    async with await SqliteStorage.open(file) as source:
        await source.store_many([a_task(str(number)) for number in range(1200)])
        await source.store_many([an_event(str(number)) for number in range(1200)])
    command = [sys.executable, "-m", "swarm_persistence", "copy", file, url]

    async with rival.transaction():
        await rival.execute("LOCK TABLE events IN SHARE MODE")  # so that it stops between the tasks and the events
        copying = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
        await a_lock_is_waited_for(admin)
        copying.kill()
        assert await copying.wait() == -signal.SIGKILL
        await admin.execute(END_WAITING)
    assert await storage.repository(TaskModel).count() == 1200

    outcomes = await copy_between(open_console(), file, url)

    assert all(outcome.is_equal for outcome in outcomes)
    assert {outcome.kind: outcome.copied for outcome in outcomes if outcome.copied} == {"event": 1200}


@pytest.mark.parametrize("command", [["copy", "{url}", "{file}"], ["stats", "{url}"]])
def test_a_schema_that_is_not_there_is_not_made_by_looking_for_it(
    tmp_path: Path, url: str, schema: str, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):  # had it been made, the second time would succeed
        assert main([each.format(url=url, file=tmp_path / "all.jsonl") for each in command]) == 1

        assert f"no swarm in the schema '{schema}'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
