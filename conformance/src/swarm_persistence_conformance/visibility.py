"""Facts about the visibility of an open transaction: to callers within it, to others, and on the caller's records."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest

from swarm_persistence import ConflictError, Storage, TaskModel, TaskStatus, Transaction, TransactionError
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.records import a_message, a_task, an_agent, an_event, ids


@pytest.mark.asyncio
class TestVisibility:
    """Only callers within a transaction see its writes."""

    async def test_reads_inside_see_the_transactions_own_writes(self, storage: Storage) -> None:
        async with storage.transaction():
            await storage.store_task(a_task())
            await storage.claim_task("task-1", "agent-1")

            assert ids(await storage.get_tasks_by_agent("agent-1")) == ["task-1"]
            assert await storage.get_pending_tasks() == []
            assert await storage.repository(TaskModel).count() == 1

    async def test_others_see_committed_data_only(self, storage: Storage) -> None:
        async with storage.transaction():
            await storage.store_task(a_task())

            assert await elsewhere(storage.get_task("task-1")) is None
            assert await elsewhere(storage.repository(TaskModel).count()) == 0

        assert await elsewhere(storage.get_task("task-1")) is not None

    async def test_others_read_the_last_committed_record_without_waiting(self, storage: Storage) -> None:
        task = a_task()
        await storage.store_task(task)
        committed = await storage.get_task("task-1")

        async with storage.transaction():
            task.error = "changed"
            await storage.update_task(task)

            assert await elsewhere(storage.get_task("task-1")) == committed
            assert ids(await elsewhere(storage.get_pending_tasks())) == ["task-1"]

    async def test_others_still_see_what_a_transaction_has_deleted(self, storage: Storage) -> None:
        await storage.store_agent(an_agent())

        async with storage.transaction():
            await storage.delete_agent("agent-1")

            assert ids(await elsewhere(storage.list_agents())) == ["agent-1"]

    async def test_others_wait_to_write(self, storage: Storage) -> None:
        async with storage.transaction():
            writer = elsewhere(storage.store_task(a_task("other's")))
            await storage.store_task(a_task("ours"))
            await elsewhere(storage.get_pending_tasks())
            has_waited = not writer.done()
        await writer

        assert (has_waited, ids(await storage.get_pending_tasks())) == (True, ["ours", "other's"])

    async def test_a_rollback_leaves_the_writes_of_those_who_waited(self, storage: Storage) -> None:
        transaction = await storage.begin_transaction()
        writer = elsewhere(storage.store_task(a_task("other's")))
        await storage.store_task(a_task("ours"))
        await transaction.rollback()
        await writer

        assert ids(await storage.get_pending_tasks()) == ["other's"]

    async def test_tasks_started_inside_join(self, storage: Storage) -> None:
        transaction = await storage.begin_transaction()
        await asyncio.gather(*(storage.store_task(a_task(str(number))) for number in range(10)))
        seen_inside = await storage.repository(TaskModel).count()

        await transaction.rollback()

        assert (seen_inside, await storage.repository(TaskModel).count()) == (10, 0)

    async def test_tasks_started_before_do_not_join(self, storage: Storage) -> None:
        begun, stored = asyncio.Event(), asyncio.Event()

        async def started_before() -> TaskModel | None:
            await begun.wait()
            await stored.wait()
            return await storage.get_task("task-1")

        outsider = asyncio.create_task(started_before())
        await asyncio.sleep(0)
        async with storage.transaction():
            begun.set()
            await storage.store_task(a_task())
            stored.set()

            assert await outsider is None

    async def test_a_read_modify_write_inside_loses_nothing(self, storage: Storage) -> None:
        await storage.store_task(a_task(payload=0))

        async def count_up() -> None:
            async with storage.transaction():
                task = await storage.get_task("task-1")
                assert task is not None
                task.payload += 1
                await storage.update_task(task)

        await asyncio.gather(*(elsewhere(count_up()) for _ in range(20)))

        task = await storage.get_task("task-1")
        assert task is not None
        assert task.payload == 20

    async def test_a_task_that_outlives_the_transaction_it_was_started_in_is_refused(self, storage: Storage) -> None:
        is_over = asyncio.Event()

        async def late() -> None:
            await is_over.wait()
            await storage.store_task(a_task("late"))

        async with storage.transaction():
            straggler = asyncio.create_task(late())
            await asyncio.sleep(0)
        is_over.set()

        with pytest.raises(TransactionError, match="over"):
            await straggler
        assert await storage.get_task("late") is None

    @pytest.mark.parametrize("end", [Transaction.commit, Transaction.rollback])
    async def test_after_an_end_by_another_task_only_tasks_started_inside_are_refused(
        self, storage: Storage, end: Callable[[Transaction], Coroutine[Any, Any, None]]
    ) -> None:
        is_over = asyncio.Event()

        async def late() -> None:
            await is_over.wait()
            await storage.store_task(a_task("late"))

        async def finish() -> None:
            await end(transaction)

        transaction = await storage.begin_transaction()
        straggler = asyncio.create_task(late())
        await asyncio.sleep(0)
        await elsewhere(finish())
        is_over.set()

        with pytest.raises(TransactionError, match="over"):
            await straggler
        await asyncio.gather(storage.store_task(a_task("started after")))
        await storage.store_task(a_task("own"))
        assert sorted(ids(await elsewhere(storage.get_pending_tasks()))) == ["own", "started after"]

    async def test_after_an_end_of_a_nested_one_by_another_task_calls_join_the_outer_one(
        self, storage: Storage
    ) -> None:
        async def finish() -> None:
            await nested.commit()

        outer = await storage.begin_transaction()
        nested = await storage.begin_transaction()
        await elsewhere(finish())
        await asyncio.gather(storage.store_task(a_task("started after")))
        await storage.store_task(a_task("own"))

        await outer.rollback()

        assert await storage.get_pending_tasks() == []

    async def test_a_claim_inside_is_kept_from_others_until_it_is_undone(self, storage: Storage) -> None:
        await storage.store_task(a_task())
        transaction = await storage.begin_transaction()
        await storage.claim_task("task-1", "agent-1")
        rival = elsewhere(storage.claim_task("task-1", "agent-2"))
        await storage.get_task("task-1")

        await transaction.rollback()

        assert await rival is True

    async def test_a_claim_inside_stays_when_it_is_committed(self, storage: Storage) -> None:
        await storage.store_task(a_task())
        transaction = await storage.begin_transaction()
        await storage.claim_task("task-1", "agent-1")
        rival = elsewhere(storage.claim_task("task-1", "agent-2"))
        await storage.get_task("task-1")

        await transaction.commit()

        assert await rival is False


@pytest.mark.asyncio
class TestCallersObjects:
    """A rollback restores the caller's own records."""

    async def test_a_rollback_takes_back_version_and_sequence(self, storage: Storage) -> None:
        agent, task, event, message = an_agent(), a_task(), an_event(), a_message()
        transaction = await storage.begin_transaction()
        await storage.store_many([agent, event])
        await storage.store_message(message)
        await storage.store_task(task)
        await storage.update_task(task)
        inside = (agent.version, task.version, event.sequence is not None, message.sequence is not None)

        await transaction.rollback()

        assert inside == (1, 2, True, True)
        assert (agent.version, task.version, event.sequence, message.sequence) == (0, 0, None, None)

    async def test_what_was_rolled_back_can_be_stored_again(self, storage: Storage) -> None:
        task = a_task()
        with suppress(ZeroDivisionError):
            async with storage.transaction():
                await storage.store_task(task)
                await storage.update_task(task)
                raise ZeroDivisionError

        await storage.store_task(task)

        assert await storage.get_task("task-1") == task == a_task(version=1)

    async def test_an_update_that_was_rolled_back_can_be_made_again(self, storage: Storage) -> None:
        task = a_task()
        await storage.store_task(task)
        transaction = await storage.begin_transaction()
        await storage.update_task(task)
        await storage.repository(TaskModel).save(task)
        await storage.update_task(task, force=True)
        await transaction.rollback()

        task.status = TaskStatus.RUNNING
        await storage.update_task(task)

        assert await storage.get_task("task-1") == a_task(status=TaskStatus.RUNNING, version=2)

    async def test_a_refused_commit_takes_back_the_version(self, storage: Storage) -> None:
        await storage.store_task(a_task("known"))
        task = a_task()
        transaction = await storage.begin_transaction()
        await storage.store_task(task)
        with suppress(ConflictError):
            await storage.store_task(a_task("known"))

        with pytest.raises(TransactionError):
            await transaction.commit()

        assert task.version == 0
