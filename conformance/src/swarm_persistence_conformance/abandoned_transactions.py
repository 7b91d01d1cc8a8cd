"""Facts about transactions that are never ended: dropped by the caller, or outliving its task."""

import asyncio
import gc

import pytest

from swarm_persistence import Storage, TaskModel, Transaction, TransactionError
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.records import a_message, a_task, ids


async def drop(storage: Storage, task: TaskModel) -> None:
    """Store a task, as another caller, in a transaction that is dropped without an end."""

    async def begin_and_forget() -> None:
        transaction = await storage.begin_transaction()
        assert transaction.is_open
        await storage.store_task(task)

    await elsewhere(begin_and_forget())
    gc.collect()


async def leave_open(storage: Storage, task: TaskModel) -> Transaction:
    """Store a task in a transaction that outlives its caller's asyncio task, and return the transaction."""

    async def begin_and_return() -> Transaction:
        transaction = await storage.begin_transaction()
        await storage.store_task(task)
        return transaction

    transaction = await elsewhere(begin_and_return())
    await asyncio.sleep(0)  # lets the callbacks of the finished task run
    return transaction


@pytest.mark.asyncio
class TestAbandonedTransactions:
    """A transaction that is never ended is rolled back with a warning."""

    async def test_a_dropped_transaction_is_rolled_back_with_a_warning(self, storage: Storage) -> None:
        with pytest.warns(ResourceWarning, match="rolled back"):
            await drop(storage, a_task())

        assert await storage.get_task("task-1") is None

    async def test_a_transaction_dropped_within_its_task_is_rolled_back_with_a_warning(self, storage: Storage) -> None:
        open_transactions = [await storage.begin_transaction()]
        await storage.store_task(a_task())

        with pytest.warns(ResourceWarning, match="dropped"):
            open_transactions.clear()

        assert await storage.get_task("task-1") is None

    async def test_a_transaction_that_outlives_its_task_is_rolled_back_with_a_warning(self, storage: Storage) -> None:
        with pytest.warns(ResourceWarning, match="outlived"):
            await leave_open(storage, a_task())

        assert await storage.get_task("task-1") is None

    async def test_a_transaction_that_has_outlived_its_task_cannot_be_committed(self, storage: Storage) -> None:
        with pytest.warns(ResourceWarning, match="outlived"):
            transaction = await leave_open(storage, a_task())

        with pytest.raises(TransactionError):
            await transaction.commit()
        assert await storage.get_task("task-1") is None

    async def test_a_dropped_transaction_keeps_no_one_from_writing(self, storage: Storage) -> None:
        with pytest.warns(ResourceWarning):
            await drop(storage, a_task("dropped"))

        await storage.store_message(a_message())
        await storage.store_task(a_task("after"))

        assert ids(await storage.get_pending_tasks()) == ["after"]

    async def test_a_dropped_transaction_takes_back_the_versions(self, storage: Storage) -> None:
        task = a_task()

        with pytest.warns(ResourceWarning):
            await drop(storage, task)

        assert task.version == 0
