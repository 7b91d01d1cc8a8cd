"""A follower of a table misses no write, not even one that comes after the last row was deleted."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio

from swarm_persistence import MemoryStorage, SqliteStorage, Storage, TaskModel
from swarm_persistence.engines.following import BEFORE_ALL, PAGE_BYTES
from swarm_persistence.engines.following import follow as follow_rows
from swarm_persistence.engines.interface import FeedPosition, Reader
from swarm_persistence.engines.reads import Sizes
from swarm_persistence.query.query import Query
from swarm_persistence.schema.tables import TASKS
from swarm_persistence_conformance.records import a_task


@pytest_asyncio.fixture(params=["memory", "sqlite"])
async def storage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Storage]:
    opened = MemoryStorage() if request.param == "memory" else await SqliteStorage.open(tmp_path / "swarm.db")
    async with opened:
        yield opened


async def follow(storage: Storage, after: FeedPosition, limit: int = 100) -> tuple[list[Any], FeedPosition]:
    page = await storage._engine.follow(Query(TASKS), after, limit)
    return [row[0] for row in page.rows], page.position


async def test_a_write_after_the_last_row_was_deleted_is_seen(storage: Storage) -> None:
    for id in "abc":
        await storage.store_task(a_task(id))
    seen, cursor = await follow(storage, BEFORE_ALL)

    await storage.repository(TaskModel).delete("c")
    await storage.store_task(a_task("d"))

    assert seen == ["a", "b", "c"]
    assert (await follow(storage, cursor))[0] == ["d"]


async def test_a_page_may_end_within_the_rows_of_one_statement(storage: Storage) -> None:
    await storage.store_many([a_task(id) for id in "abcde"])
    await storage.store_many([a_task(id) for id in "fg"])

    pages, place = [], BEFORE_ALL
    while True:
        page = await storage._engine.follow(Query(TASKS), place, 2)
        pages.append([row[0] for row in page.rows])
        place = page.position
        if not page.is_full:
            break

    assert pages == [["a", "b"], ["c", "d"], ["e", "f"], ["g"]]
    assert (await follow(storage, place))[0] == []


async def test_a_reader_that_is_behind_reads_up_to_any_place(storage: Storage) -> None:
    await storage.store_many([a_task(id) for id in "abcde"])
    await storage.store_many([a_task(id) for id in "fg"])
    _, first = await follow(storage, BEFORE_ALL, 1)
    _, third = await follow(storage, BEFORE_ALL, 3)
    _, sixth = await follow(storage, BEFORE_ALL, 6)

    async def between(after: FeedPosition, upto: FeedPosition) -> list[Any]:
        return [row[0] for row in (await storage._engine.follow(Query(TASKS), after, 100, upto)).rows]

    assert await between(BEFORE_ALL, third) == ["a", "b", "c"]
    assert await between(first, third) == ["b", "c"]
    assert await between(first, sixth) == ["b", "c", "d", "e", "f"]
    assert await between(third, sixth) == ["d", "e", "f"]
    assert await between(sixth, third) == []


async def test_a_change_of_what_only_the_storage_knows_is_not_told(storage: Storage) -> None:
    await storage.store_task(a_task("a"))
    await storage.store_task(a_task("b", dependencies=["a"]))
    _, cursor = await follow(storage, BEFORE_ALL)

    claimed = await storage.claim_next_task("agent")
    assert claimed is not None
    await storage.complete_task(claimed)

    assert (await follow(storage, cursor))[0] == ["a"]


async def test_rows_that_one_statement_writes_between_measuring_and_reading_are_not_cut(tmp_path: Path) -> None:
    async with await SqliteStorage.open(tmp_path / "swarm.db") as storage:
        await storage.store_tasks([a_task(id) for id in "abc"])

        class ClaimsBetween:
            async def read(self, read: Any) -> Any:
                found = await storage.engine.read(read)
                if isinstance(read, Sizes) and not await storage.get_tasks_by_agent("agent-1"):
                    await storage.store_tasks([a_task(id) for id in "de"])
                    await storage.claim_next_tasks("agent-1", limit=5)
                return found

        reader = cast(Reader, ClaimsBetween())
        page = await follow_rows(reader, Query(TASKS), BEFORE_ALL, 100, most_bytes=PAGE_BYTES)
        later, _ = await follow(storage, page.position)

        assert {*(row[0] for row in page.rows), *later} == {*"abcde"}
