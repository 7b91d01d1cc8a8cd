"""What many callers that wait for tasks cost on SQLite: one read after each commit, however many they are."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from polling import until
from sqlite.tracing import Watch
from swarm_persistence import SqliteStorage, TaskStatus
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.records import a_task
from swarm_persistence_conformance.waiting import settle

COUNT = 1_000

Waiting = Callable[[SqliteStorage, list[str]], list[Coroutine[Any, Any, Any]]]


def reads_of(watch: Watch) -> list[str]:
    """Return the reads of whole tasks."""
    return [text for text in watch.statements if text.startswith("SELECT id, task_type")]


async def waiters_for(storage: SqliteStorage, watch: Watch, ids: list[str]) -> "list[asyncio.Task[Any]]":
    waiting = [elsewhere(storage.wait_for_task(id)) for id in ids]
    await until(lambda: len(reads_of(watch)) >= len(ids))
    await settle(storage)
    watch.forget_statements()
    return waiting


@pytest.mark.parametrize("most", [1, COUNT])
async def test_a_commit_is_read_once_for_all_that_wait(storage: SqliteStorage, watch: Watch, most: int) -> None:
    ids = [str(number) for number in range(COUNT)]
    await storage.store_tasks([a_task(id, assigned_to="a", status=TaskStatus.RUNNING) for id in ids])
    watch.forget_statements()
    waiting = await waiters_for(storage, watch, ids)

    async with storage.transaction():
        for id in ids[:most]:
            await storage.cancel_task(id)
    read_within = len(reads_of(watch))

    async with asyncio.timeout(60):
        tasks = await asyncio.gather(*waiting[:most])
    assert {task.status for task in tasks} == {TaskStatus.CANCELLED}
    assert 1 <= len(reads_of(watch)) - read_within <= 5
    for each in waiting:
        each.cancel()


async def test_a_caller_that_waits_for_many_reads_them_once(storage: SqliteStorage, watch: Watch) -> None:
    ids = [str(number) for number in range(COUNT)]
    await storage.store_tasks([a_task(id) for id in ids])
    watch.forget_statements()

    waiting = elsewhere(storage.wait_for_tasks(ids))
    await settle(storage)
    assert len(reads_of(watch)) <= 1 + 30 + 5  # settle reads as well
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


async def test_nothing_reads_on_once_no_caller_waits(storage: SqliteStorage, watch: Watch) -> None:
    await storage.store_tasks([a_task("a"), a_task("b")])
    waiting = await waiters_for(storage, watch, ["a"])
    waiting[0].cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    watch.forget_statements()

    await storage.cancel_task("b")
    for _ in range(20):
        await asyncio.sleep(0)

    assert reads_of(watch) == []
    assert storage.engine._watches.is_empty  # type: ignore[attr-defined]
