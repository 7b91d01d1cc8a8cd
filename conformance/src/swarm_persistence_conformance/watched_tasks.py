"""Facts about watching tasks: every write shows, no version twice, and the latest version always."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from datetime import timedelta
from typing import Any

import pytest

from swarm_persistence import Storage, TaskModel, TaskStatus
from swarm_persistence.testing import now
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.held_tasks import claimed, stored
from swarm_persistence_conformance.records import a_task, an_agent, ids
from swarm_persistence_conformance.waiting import FOR_LONG_SECONDS, settle

Writing = Callable[[Storage], Coroutine[Any, Any, Any]]


async def _claim(storage: Storage) -> None:
    await claimed(storage)


async def _with_claim(storage: Storage, verb: Callable[[TaskModel], Coroutine[Any, Any, None]]) -> None:
    await storage.claim_task("task", "agent-1")
    await verb(await stored(storage, "task"))


async def _expire(storage: Storage) -> None:
    await storage.claim_task("task", "agent-1", lease=0.001)
    while not (await storage.requeue_expired_tasks()).requeued:
        assert (await stored(storage, "task")).status is TaskStatus.ASSIGNED


async def _delete_its_agent(storage: Storage) -> None:
    await storage.claim_task("task", "agent-1")
    await storage.delete_agent("agent-1")


async def _fail_its_dependency(storage: Storage) -> None:
    await storage.update_task(a_task("task", dependencies=["dependency"], version=1))
    await storage.cancel_task("dependency")


WRITES: dict[str, Writing] = {
    "update_task": lambda storage: storage.update_task(a_task("task", payload=1, version=1)),
    "save": lambda storage: storage.repository(TaskModel).save(a_task("task", payload=1, version=1)),
    "claim_task": lambda storage: storage.claim_task("task", "agent-1"),
    "claim_next_task": _claim,
    "extend_lease": lambda storage: _with_claim(storage, storage.extend_lease),
    "complete_task": lambda storage: _with_claim(storage, storage.complete_task),
    "release_task": lambda storage: _with_claim(storage, storage.release_task),
    "fail_task": lambda storage: _with_claim(storage, lambda task: storage.fail_task(task, "no luck")),
    "cancel_task": lambda storage: storage.cancel_task("task"),
    "requeue_expired_tasks": _expire,
    "delete_agent": _delete_its_agent,
    "a failed dependency": _fail_its_dependency,
}


async def until_seen(storage: Storage, last: TaskModel) -> list[TaskModel]:
    """Watch all tasks up to this one, and return them."""
    seen: list[TaskModel] = []
    async with aclosing(storage.watch_tasks()) as tasks, asyncio.timeout(FOR_LONG_SECONDS):
        async for task in tasks:
            seen.append(task)
            if task == last:
                break
    return seen


@pytest.mark.asyncio
class TestWatchedTasks:
    """The contract of `watch_tasks`."""

    @pytest.mark.parametrize("verb", WRITES)
    async def test_every_write_shows(self, storage: Storage, verb: str) -> None:
        late = now() + timedelta(days=1)
        await storage.store_agent(an_agent(heartbeat=late))
        await storage.store_many([a_task("task"), a_task("dependency", run_at=late)])
        async with aclosing(storage.watch_tasks()) as tasks, asyncio.timeout(FOR_LONG_SECONDS):
            for _ in range(2):
                await anext(tasks)

            await WRITES[verb](storage)
            written = await stored(storage, "task")

            assert written.version > 1
            while (seen := await anext(tasks)) != written:
                assert seen.id == "dependency" or seen.version < written.version

    async def test_tasks_come_in_the_order_of_their_last_writes(self, storage: Storage) -> None:
        await storage.store_many([a_task(id) for id in "abcd"])
        await storage.update_task(a_task("b", version=1))
        await storage.update_task(a_task("a", version=1))

        assert ids(await until_seen(storage, a_task("a", version=2))) == ["c", "d", "b", "a"]

    async def test_of_writes_between_two_looks_the_last_one_shows(self, storage: Storage) -> None:
        task = a_task()
        await storage.store_task(task)
        for number in range(5):
            task.payload = number
            await storage.update_task(task)

        assert await until_seen(storage, task) == [task]

    async def test_no_version_comes_twice_and_the_last_one_of_each_task_always(self, storage: Storage) -> None:
        chance = random.Random(11)
        await storage.store_many([a_task(f"task-{number}") for number in range(8)])

        async def write() -> None:
            for _ in range(25):
                task = await stored(storage, f"task-{chance.randrange(8)}")
                task.payload = chance.random()
                await storage.update_task(task, force=True)

        async def watch() -> list[TaskModel]:
            return await until_seen(storage, a_task("the end", version=1))

        watchers = [elsewhere(watch()) for _ in range(3)]
        await asyncio.gather(*(elsewhere(write()) for _ in range(4)))
        await storage.store_task(a_task("the end"))

        for seen in await asyncio.gather(*watchers):
            versions = [(task.id, task.version) for task in seen]
            assert len(set(versions)) == len(versions)
            last = {task.id: task for task in seen}
            assert last == {id: await stored(storage, id) for id in last}
            assert last.keys() == {*(f"task-{number}" for number in range(8)), "the end"}

    async def test_the_versions_of_one_task_come_in_their_order(self, storage: Storage) -> None:
        task = a_task()
        await storage.store_task(task)
        watching = elsewhere(until_seen(storage, a_task(payload=29, version=31)))

        for number in range(30):
            task.payload = number
            await storage.update_task(task)
            await asyncio.sleep(0)

        versions = [seen.version for seen in await watching]
        assert versions == sorted(set(versions))

    async def test_each_of_many_watchers_has_records_of_its_own(self, storage: Storage) -> None:
        await storage.store_task(a_task("a", payload=[1]))
        watching = [elsewhere(until_seen(storage, a_task("b", payload=[2], version=1))) for _ in range(50)]
        await settle(storage)
        await storage.store_task(a_task("b", payload=[2]))

        seen = await asyncio.gather(*watching)

        assert [ids(tasks) for tasks in seen] == [["a", "b"]] * 50
        for tasks in seen:
            assert tasks[-1].payload == [2]
            tasks[-1].payload.append(3)

    async def test_a_deleted_task_is_not_told_of(self, storage: Storage) -> None:
        await storage.store_many([a_task("a"), a_task("b")])
        await storage.repository(TaskModel).delete("a")
        await storage.store_task(a_task("c"))

        assert ids(await until_seen(storage, a_task("c", version=1))) == ["b", "c"]
