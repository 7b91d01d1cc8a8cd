"""Facts about the step to the order of arrival: on a filled file, forwards and back, beside workers of the old code."""

from pathlib import Path
from typing import Any

import apsw
import pytest

from sqlite.old_release import VERSION_5, unpack
from sqlite.order_of_arrival import fill, worker_of_old_code
from sqlite.programs import Program
from swarm_persistence import SqliteStorage
from swarm_persistence.engines.sql.sqlite import schema_version
from swarm_persistence_conformance.records import a_task, after, ids

_INDEXES = "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL ORDER BY name"

WORK = worker_of_old_code("SqliteStorage")


def rows_of(path: Path, query: str) -> list[Any]:
    connection = apsw.Connection(str(path))
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


async def test_a_filled_file_is_brought_up_and_back_with_all_rows(tmp_path: Path) -> None:
    path, plain = tmp_path / "swarm.db", tmp_path / "plain.db"
    connection = apsw.Connection(str(plain))
    schema_version.migrate(connection, 5)
    connection.close()
    async with await SqliteStorage.open(path) as storage:
        await fill(storage)
        await storage.migrate_to(5)
        rows = rows_of(path, "SELECT * FROM tasks ORDER BY sequence")
        assert rows_of(path, _INDEXES) == rows_of(plain, _INDEXES)

    async with await SqliteStorage.open(path) as storage:
        claimed = await storage.claim_next_tasks("agent-1", limit=99)

    high, low = range(0, 40, 2), range(1, 40, 2)
    ready = [f"{number:02}" for numbers in (high, low) for number in numbers if number % 5 and number % 7]
    assert len(rows) == 40
    assert ids(claimed) == ready
    assert rows_of(path, "PRAGMA integrity_check") == [("ok",)]
    async with await SqliteStorage.open(path) as storage:
        for task in claimed:
            await storage.release_task(task)
        assert ids(await storage.get_ready_tasks()) == ready


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the directory to import the release before from."""
    return unpack(VERSION_5, tmp_path_factory.mktemp("old"))


async def test_workers_of_the_old_code_go_on_in_their_order_and_share_the_tasks(path: Path, old: Path) -> None:
    async with await SqliteStorage.open(path) as storage:
        await storage.migrate_to(5)
    worker = Program(WORK, path, old)
    assert worker.wait_for_line() == "5"

    async with await SqliteStorage.open(path) as storage:
        await storage.store_tasks([a_task(str(number), created_at=after(-number)) for number in range(6)])
        by_old, by_new = [], []
        for _ in range(3):
            worker.tell("")
            by_old.append(worker.wait_for_line())
            task = await storage.claim_next_task("new")
            assert task is not None
            by_new.append(task.id)
        worker.tell("")
        assert worker.finish() == []

    # Theirs is the order of `created_at`.
    assert by_old == ["5", "4", "3"]
    assert by_new == ["0", "1", "2"]
