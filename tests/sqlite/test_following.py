"""Who follows a table misses no write: not even one that comes after the last row was deleted."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from swarm_persistence import MemoryStorage, SqliteStorage, Storage, TaskModel
from swarm_persistence.query.query import Query
from swarm_persistence.schema.tables import TASKS
from swarm_persistence.testing.records import a_task


@pytest_asyncio.fixture(params=["memory", "sqlite"])
async def storage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Storage]:
    opened = MemoryStorage() if request.param == "memory" else await SqliteStorage.open(tmp_path / "swarm.db")
    async with opened:
        yield opened


async def follow(storage: Storage, after: int, limit: int = 100) -> tuple[list[str], int]:
    records, cursor = await storage._engine.follow(Query(TASKS), after, limit)
    return [task.id for task in records], cursor


async def test_a_write_after_the_last_row_was_deleted_is_seen(storage: Storage) -> None:
    for id in "abc":
        await storage.store_task(a_task(id))
    seen, cursor = await follow(storage, 0)

    await storage.repository(TaskModel).delete("c")
    await storage.store_task(a_task("d"))

    assert seen == ["a", "b", "c"]
    assert (await follow(storage, cursor))[0] == ["d"]


async def test_a_page_ends_between_two_statements(storage: Storage) -> None:
    await storage.store_many([a_task(id) for id in "abc"])
    await storage.store_many([a_task(id) for id in "de"])

    found, cursor = [], 0
    while True:
        page, cursor_after = await follow(storage, cursor, 2)
        found += page
        if cursor_after == cursor:
            break
        cursor = cursor_after

    assert found == list("abcde")


async def test_a_change_of_what_only_the_storage_knows_is_not_told(storage: Storage) -> None:
    await storage.store_task(a_task("a"))
    await storage.store_task(a_task("b", dependencies=["a"]))
    _, cursor = await follow(storage, 0)

    claimed = await storage.claim_next_task("agent")
    assert claimed is not None
    await storage.complete_task(claimed)

    assert (await follow(storage, cursor))[0] == ["a"]
