"""Facts about transactions: begin, commit and rollback."""

import asyncio

import pytest

from swarm_persistence import Storage, TaskModel, TransactionError
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.fixtures import OpenStorage
from swarm_persistence_conformance.records import (
    MOMENT,
    a_message,
    a_metric,
    a_task,
    an_agent,
    an_event,
    complete_records,
    everything_in,
    ids,
)


@pytest.mark.asyncio
class TestTransactions:
    """The contract of transactions."""

    async def test_the_seeds_example_commits_atomically(self, storage: Storage) -> None:
        tx = await storage.begin_transaction()
        await storage.store_task(a_task("task-1"))
        await storage.store_task(a_task("task-2"))
        await storage.store_event(an_event())
        await tx.commit()

        assert ids(await storage.get_pending_tasks()) == ["task-1", "task-2"]
        assert ids(await storage.get_events_since(MOMENT)) == ["event-1"]

    async def test_a_rollback_leaves_nothing(self, storage: Storage) -> None:
        transaction = await storage.begin_transaction()
        await storage.store_many(complete_records())

        await transaction.rollback()

        assert not any((await everything_in(storage)).values())

    async def test_a_rollback_undoes_every_kind_of_change(self, storage: Storage) -> None:
        agent, task = an_agent(), a_task()
        await storage.store_many([agent, task, a_task("held"), a_message(), a_metric(), an_event()])
        await storage.claim_task("held", "agent-1")
        before = await everything_in(storage)

        transaction = await storage.begin_transaction()
        agent.name = "renamed"
        await storage.update_agent(agent)
        await storage.claim_task("task-1", "agent-1")
        await storage.mark_message_read("message-1")
        await storage.delete_agent("agent-1")
        await storage.repository(TaskModel).save(a_task("new"))
        await storage.repository(TaskModel).delete("held")
        await transaction.rollback()

        assert await everything_in(storage) == before

    async def test_a_block_commits_when_it_succeeds(self, storage: Storage) -> None:
        async with storage.transaction():
            await storage.store_task(a_task())

        assert await storage.get_task("task-1") is not None

    async def test_a_block_rolls_back_on_an_exception(self, storage: Storage) -> None:
        with pytest.raises(ZeroDivisionError):  # noqa: PT012 - the block is what must raise
            async with storage.transaction():
                await storage.store_task(a_task())
                raise ZeroDivisionError

        assert await storage.get_task("task-1") is None

    async def test_a_block_rolls_back_on_cancellation(self, storage: Storage) -> None:
        has_stored, never = asyncio.Event(), asyncio.Event()

        async def hang() -> None:
            async with storage.transaction():
                await storage.store_task(a_task())
                has_stored.set()
                await never.wait()

        hanging = elsewhere(hang())
        await has_stored.wait()
        hanging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hanging

        assert await storage.get_task("task-1") is None

    async def test_a_block_may_be_committed_by_hand(self, storage: Storage) -> None:
        async with storage.transaction() as transaction:
            await storage.store_task(a_task())
            await transaction.commit()

        assert await storage.get_task("task-1") is not None

    async def test_a_block_may_be_rolled_back_by_hand(self, storage: Storage) -> None:
        async with storage.transaction() as transaction:
            await storage.store_task(a_task())
            await transaction.rollback()

        assert await storage.get_task("task-1") is None

    async def test_a_transaction_may_be_empty(self, storage: Storage) -> None:
        async with storage.transaction():
            pass

        assert not any((await everything_in(storage)).values())

    @pytest.mark.parametrize("first", ["commit", "rollback"])
    @pytest.mark.parametrize("second", ["commit", "rollback"])
    async def test_a_finished_transaction_cannot_be_finished_again(
        self, storage: Storage, first: str, second: str
    ) -> None:
        transaction = await storage.begin_transaction()
        await getattr(transaction, first)()

        with pytest.raises(TransactionError, match="over"):
            await getattr(transaction, second)()

    async def test_a_transaction_knows_whether_it_is_open(self, storage: Storage) -> None:
        transaction = await storage.begin_transaction()
        was_open = transaction.is_open

        await transaction.commit()

        assert (was_open, transaction.is_open) == (True, False)

    async def test_after_the_end_calls_stand_alone_again(self, storage: Storage) -> None:
        await (await storage.begin_transaction()).rollback()

        await storage.store_task(a_task())

        assert ids(await elsewhere(storage.get_pending_tasks())) == ["task-1"]

    async def test_transactions_may_follow_each_other(self, storage: Storage) -> None:
        for number in range(5):
            async with storage.transaction():
                await storage.store_task(a_task(str(number)))

        assert ids(await storage.get_pending_tasks()) == ["0", "1", "2", "3", "4"]

    async def test_begin_and_commit_may_be_given_to_wait_for(self, storage: Storage) -> None:
        transaction = await asyncio.wait_for(storage.begin_transaction(), 30)
        await asyncio.wait_for(storage.store_task(a_task()), 30)
        seen_before = await elsewhere(storage.get_task("task-1"))

        await asyncio.wait_for(transaction.commit(), 30)

        assert (seen_before, ids(await elsewhere(storage.get_pending_tasks()))) == (None, ["task-1"])

    async def test_a_transaction_of_one_storage_is_none_of_anothers(
        self, storage: Storage, open_storage: OpenStorage
    ) -> None:
        async with open_storage() as other:
            transaction = await storage.begin_transaction()
            await other.store_task(a_task())
            await transaction.rollback()

            assert ids(await other.get_pending_tasks()) == ["task-1"]

    async def test_transactions_of_two_storages_may_cross(self, storage: Storage, open_storage: OpenStorage) -> None:
        async with open_storage() as other:
            first = await storage.begin_transaction()
            second = await other.begin_transaction()
            await storage.store_task(a_task("first"))
            await other.store_task(a_task("second"))
            await first.commit()
            await other.store_task(a_task("third"))
            await second.rollback()

            assert ids(await storage.get_pending_tasks()) == ["first"]
            assert await other.get_pending_tasks() == []
