"""Facts about a task that waits for many others: no verb touches all of its list once for each of them."""

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import apsw
import pytest

from swarm_persistence import SqliteStorage, TaskModel, TaskStatus

FEW, MANY = 20, 8_000
"""Dependencies of one task: their ids take one page, and a hundred."""
STEPS = 10

Verb = Callable[[SqliteStorage, list[TaskModel]], Awaitable[object]]


async def complete(storage: SqliteStorage, claimed: list[TaskModel]) -> None:
    for task in claimed:
        await storage.complete_task(task)


async def complete_by_replacing(storage: SqliteStorage, claimed: list[TaskModel]) -> None:
    for task in claimed:
        task.status = TaskStatus.COMPLETED
        await storage.update_task(task)


async def fail(storage: SqliteStorage, claimed: list[TaskModel]) -> None:
    for task in claimed:
        task.max_retries = 0
        await storage.update_task(task)
        await storage.fail_task(task, "it broke")


async def cancel(storage: SqliteStorage, claimed: list[TaskModel]) -> None:
    for task in claimed:
        await storage.cancel_task(task.id)


async def delete(storage: SqliteStorage, claimed: list[TaskModel]) -> None:
    for task in claimed:
        await storage.repository(TaskModel).delete(task.id)


@pytest.fixture
def connections() -> Iterator[list[apsw.Connection]]:
    opened: list[apsw.Connection] = []
    apsw.connection_hooks.append(opened.append)
    yield opened
    apsw.connection_hooks.remove(opened.append)


def pages_read(connections: list[apsw.Connection]) -> int:
    counters = (apsw.SQLITE_DBSTATUS_CACHE_HIT, apsw.SQLITE_DBSTATUS_CACHE_MISS)
    return sum(connection.status(counter, True)[0] for connection in connections for counter in counters)


@pytest.mark.parametrize("verb", [complete, complete_by_replacing, fail, cancel, delete])
@pytest.mark.parametrize("fails_with_dependencies", [True, False])
async def test_the_end_of_a_dependency_touches_as_much_however_many_there_are(
    verb: Verb, fails_with_dependencies: bool, tmp_path: Path, connections: list[apsw.Connection]
) -> None:
    touched = {}
    for number in (FEW, MANY):
        async with await SqliteStorage.open(tmp_path / f"{number}.db") as storage:
            tasks = [TaskModel(id=f"dependency-{place:025d}", task_type="t") for place in range(number)]
            await storage.store_many(tasks)
            waiting = TaskModel(
                id="waiting",
                task_type="t",
                dependencies=[task.id for task in tasks],
                fails_with_dependencies=fails_with_dependencies,
            )
            await storage.store_task(waiting)
            claimed = await storage.claim_next_tasks("agent", limit=STEPS + 1)
            await verb(storage, claimed[:1])  # the first failure fails the task that waits
            pages_read(connections)
            await verb(storage, claimed[1:])
            touched[number] = pages_read(connections)
        connections.clear()

    assert touched[MANY] < 4 * touched[FEW]  # the trees are deeper
