"""Facts about versions: every write increments them, stale writes are refused, and `modify` loses no update."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from swarm_persistence import (
    AgentModel,
    AgentStatus,
    ConflictError,
    EventModel,
    InvalidQueryError,
    NotFoundError,
    Storage,
    TaskModel,
    TaskPriority,
    TaskStatus,
)
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.held_tasks import claimed, stored
from swarm_persistence_conformance.records import a_task, an_agent, an_event
from swarm_persistence_conformance.watched_tasks import WRITES


@pytest.mark.asyncio
class TestVersions:
    """The contract of versions."""

    @pytest.mark.parametrize("verb", WRITES)
    async def test_every_write_of_a_task_puts_older_copies_out_of_date(self, storage: Storage, verb: str) -> None:
        await storage.store_agent(an_agent())
        await storage.store_many([a_task("task"), a_task("dependency", priority=TaskPriority.LOW)])
        copy = await stored(storage, "task")

        await WRITES[verb](storage)
        written = await stored(storage, "task")

        assert written.version > copy.version
        copy.payload = "stale"
        with pytest.raises(ConflictError):
            await storage.update_task(copy)
        with pytest.raises(ConflictError):
            await storage.repository(TaskModel).save(copy)
        assert await stored(storage, "task") == written

    async def test_a_heartbeat_puts_older_copies_of_an_agent_out_of_date(self, storage: Storage) -> None:
        agent = an_agent()
        await storage.store_agent(agent)

        await storage.heartbeat("agent-1")

        with pytest.raises(ConflictError):
            await storage.update_agent(agent)

    async def test_a_stale_copy_cannot_undo_a_claim_but_force_can(self, storage: Storage) -> None:
        copy = a_task()
        await storage.store_task(copy)
        held = await claimed(storage)

        with pytest.raises(ConflictError):
            await storage.update_task(copy)
        assert await stored(storage) == held
        await storage.update_task(copy, force=True)

        assert copy == await stored(storage) == a_task(version=3, claim_count=1, past_claims=copy.past_claims)

    async def test_an_update_raises_the_version_of_the_callers_copy(self, storage: Storage) -> None:
        task, agent = a_task(), an_agent()
        await storage.store_many([task, agent])

        for number in range(2, 5):
            await storage.update_task(task)
            await storage.update_agent(agent)
            assert (task.version, agent.version) == (number, number)

    async def test_a_refused_update_leaves_the_callers_copy_as_it_is(self, storage: Storage) -> None:
        await storage.store_task(a_task())
        stale = a_task(payload="mine", version=7)

        with pytest.raises(ConflictError):
            await storage.update_task(stale)

        assert stale == a_task(payload="mine", version=7)

    async def test_modify_changes_in_place_or_by_another_record(self, storage: Storage) -> None:
        await storage.store_many([an_agent(), a_task()])

        def rename(agent: AgentModel) -> None:
            agent.name = "renamed"

        agent = await storage.modify(AgentModel, "agent-1", rename)
        task = await storage.modify(TaskModel, "task-1", lambda task: a_task(payload="new", version=task.version))

        assert agent == await storage.get_agent("agent-1") == an_agent(name="renamed", version=2)
        assert task == await stored(storage) == a_task(payload="new", version=2)

    async def test_modify_under_contention_loses_nothing(self, storage: Storage) -> None:
        await storage.store_task(a_task(payload=[]))

        def add(number: int) -> Callable[[TaskModel], None]:
            return lambda task: task.payload.append(number)

        await asyncio.gather(*(elsewhere(storage.modify(TaskModel, "task-1", add(n))) for n in range(25)))

        task = await stored(storage)
        assert (sorted(task.payload), task.version) == (list(range(25)), 26)

    async def test_modify_and_the_verbs_of_a_claim_do_not_undo_each_other(self, storage: Storage) -> None:
        await storage.store_task(a_task(payload=0))
        held = await claimed(storage)

        def count(task: TaskModel) -> None:
            task.payload += 1

        await asyncio.gather(
            *(elsewhere(storage.modify(TaskModel, "task-1", count)) for _ in range(10)),
            elsewhere(storage.complete_task(held, "done")),
        )

        task = await stored(storage)
        assert (task.payload, task.status, task.result, task.version) == (10, TaskStatus.COMPLETED, "done", 13)

    async def test_what_the_function_raises_comes_through_and_nothing_is_written(self, storage: Storage) -> None:
        await storage.store_task(a_task())

        def fail(task: TaskModel) -> None:
            task.payload = "half"
            raise RuntimeError("changed my mind")

        with pytest.raises(RuntimeError, match="changed my mind"):
            await storage.modify(TaskModel, "task-1", fail)

        assert await stored(storage) == a_task(version=1)

    async def test_modify_refuses_another_id(self, storage: Storage) -> None:
        await storage.store_many([a_task("a"), a_task("b")])

        with pytest.raises(InvalidQueryError, match="task 'b', expected 'a'"):
            await storage.modify(TaskModel, "a", lambda _: a_task("b", version=1))

        assert (await stored(storage, "b")).version == 1

    async def test_modify_refuses_models_without_a_version(self, storage: Storage) -> None:
        await storage.store_event(an_event())
        model: Any = EventModel

        with pytest.raises(InvalidQueryError, match="EventModel has no version"):
            await storage.modify(model, "event-1", lambda event: event)

    @pytest.mark.parametrize("model", [AgentModel, TaskModel])
    async def test_modifying_a_missing_record_is_refused(self, storage: Storage, model: Any) -> None:
        with pytest.raises(NotFoundError, match="'missing'"):
            await storage.modify(model, "missing", lambda record: record)

    async def test_modify_joins_the_transaction(self, storage: Storage) -> None:
        await storage.store_agent(an_agent())

        def work(agent: AgentModel) -> None:
            agent.status = AgentStatus.BUSY

        transaction = await storage.begin_transaction()
        agent = await storage.modify(AgentModel, "agent-1", work)
        assert agent.status is AgentStatus.BUSY
        await transaction.rollback()

        assert await storage.get_agent("agent-1") == an_agent(version=1)
        assert agent.version == 1

    async def test_a_conflict_of_another_kind_is_told_and_not_tried_for_ever(self, storage: Storage) -> None:
        await storage.store_many([a_task("a", idempotency_key="key"), a_task("b")])

        def take_the_key(task: TaskModel) -> None:
            task.idempotency_key = "key"

        async with asyncio.timeout(10):
            with pytest.raises(ConflictError):
                await storage.modify(TaskModel, "b", take_the_key)
