"""What many callers that wait for tasks cost on PostgreSQL: one read after each commit, however many they are."""

import asyncio

import pytest

from swarm_persistence import PostgresStorage, TaskStatus
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.records import a_task
from swarm_persistence_conformance.waiting import SOON_SECONDS, settle

COUNT = 1_000


@pytest.mark.parametrize("most", [1, COUNT])
async def test_a_commit_is_read_once_for_all_that_wait(
    storage: PostgresStorage, other: PostgresStorage, statements: list[str], most: int
) -> None:
    ids = [str(number) for number in range(COUNT)]
    await storage.store_tasks([a_task(id, assigned_to="a", status=TaskStatus.RUNNING) for id in ids])
    waiting = [elsewhere(storage.wait_for_task(id)) for id in ids]
    await settle(storage)
    statements.clear()

    async with other.transaction():
        for id in ids[:most]:
            await other.cancel_task(id)

    async with asyncio.timeout(60):
        tasks = await asyncio.gather(*waiting[:most])
    assert {task.status for task in tasks} == {TaskStatus.CANCELLED}
    reads = [text for text in statements if text.startswith("SELECT id, task_type")]
    assert 1 <= len(reads) <= 10
    for each in waiting:
        each.cancel()


async def test_a_writer_that_goes_on_delays_no_wait(storage: PostgresStorage, other: PostgresStorage) -> None:
    await storage.store_tasks([a_task("a"), a_task("b")])
    waiting = elsewhere(storage.wait_for_task("b"))
    await settle(storage)

    async with other.transaction():
        await other.claim_task("a", "agent-1")
        await elsewhere(storage.cancel_task("b"))
        async with asyncio.timeout(SOON_SECONDS):
            assert (await waiting).status is TaskStatus.CANCELLED
