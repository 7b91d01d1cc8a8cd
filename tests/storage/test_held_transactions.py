"""Facts about transactions whose task, or thread's call, has ended: a write that is meant for one is refused."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from swarm_persistence import (
    BlockingStorage,
    MemoryStorage,
    SqliteStorage,
    Storage,
    TaskModel,
    Transaction,
    TransactionError,
    open_storage,
)

pytestmark = pytest.mark.filterwarnings("ignore:A transaction:ResourceWarning")

OUTSIDE = (
    "begun in another task, such as a fixture.*rolled back when that task ended; begin and end a transaction in the"
)


def a_task() -> TaskModel:
    return TaskModel.new("job", 1)


@pytest_asyncio.fixture(params=["memory", "sqlite"])
async def storage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Storage]:
    opened = MemoryStorage() if request.param == "memory" else await SqliteStorage.open(tmp_path / "swarm.db")
    async with opened as storage:
        yield storage


async def begun_elsewhere(storage: Storage) -> Transaction:
    """Return a transaction that another task has begun, which has ended."""

    async def fixture() -> Transaction:
        return await storage.begin_transaction()

    return await asyncio.create_task(fixture())


WRITES: dict[str, Callable[[Storage], Coroutine[Any, Any, Any]]] = {
    "store_task": lambda storage: storage.store_task(a_task()),
    "store_tasks": lambda storage: storage.store_tasks([a_task(), TaskModel(task_type="b", dependencies=["c"])]),
    "append_events": lambda storage: storage.append_events([]),
    "claim_next_task": lambda storage: storage.claim_next_task("agent-1"),
    "claim_task": lambda storage: storage.claim_task("task-1", "agent-1"),
    "delete": lambda storage: storage.repository(TaskModel).delete("task-1"),
}


@pytest.mark.parametrize("write", WRITES)
async def test_a_write_outside_of_a_held_transaction_of_an_ended_task_is_refused(storage: Storage, write: str) -> None:
    transaction = await begun_elsewhere(storage)

    with pytest.raises(TransactionError, match=OUTSIDE):
        await WRITES[write](storage)

    assert await storage.get_pending_tasks() == []
    with pytest.raises(TransactionError, match="outlived the task that began it, and was rolled back then"):
        await transaction.rollback()
    await storage.store_task(a_task())
    assert len(await storage.get_pending_tasks()) == 1


async def test_its_commit_names_the_cause(storage: Storage) -> None:
    transaction = await begun_elsewhere(storage)

    with pytest.raises(TransactionError, match="outlived the task that began it"):
        await transaction.commit()


async def test_once_nothing_holds_it_writes_are_stored_again(storage: Storage) -> None:
    transaction = await begun_elsewhere(storage)
    await asyncio.sleep(0)  # the loop tells that the task has ended
    del transaction
    gc.collect()

    await storage.store_task(a_task())

    assert len(await storage.get_pending_tasks()) == 1


async def test_a_new_transaction_can_be_begun_beside_a_lost_one(storage: Storage) -> None:
    lost = await begun_elsewhere(storage)

    async with storage.transaction():
        await storage.store_task(a_task())

    assert len(await storage.get_pending_tasks()) == 1
    assert not lost.is_open


async def test_a_fixture_that_yields_within_a_transaction_is_found_out(storage: Storage) -> None:
    async def fixture() -> AsyncIterator[None]:
        async with storage.transaction():
            yield

    running = fixture()
    await asyncio.create_task(anext(running))  # type: ignore[arg-type]

    with pytest.raises(TransactionError, match=OUTSIDE):
        await storage.store_task(a_task())
    with pytest.raises(TransactionError, match="outlived the task that began it"):
        await anext(running)


async def test_writes_beside_an_open_transaction_wait_for_it(storage: Storage) -> None:
    begun, end = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        async with storage.transaction():
            await storage.store_task(a_task())
            begun.set()
            await end.wait()

    holding = asyncio.create_task(hold())
    await begun.wait()
    writing = asyncio.create_task(storage.store_task(a_task()))
    await asyncio.sleep(0)
    assert not writing.done()
    end.set()
    await asyncio.gather(holding, writing)

    assert len(await storage.get_pending_tasks()) == 2


async def test_another_task_may_end_a_transaction_whose_own_goes_on(storage: Storage) -> None:
    transaction = await storage.begin_transaction()
    await storage.store_task(a_task())

    await asyncio.create_task(transaction.commit())

    assert len(await storage.get_pending_tasks()) == 1


def in_a_context_of_its_own(storage: BlockingStorage, pool: ThreadPoolExecutor, work: Callable[[], Any]) -> Any:
    """Call some work in another thread, as frameworks do: in a copy of the caller's context."""
    return pool.submit(copy_context().run, work).result()


def test_a_write_outside_of_a_transaction_that_a_threads_call_began_is_refused_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool, open_storage(tmp_path / "swarm.db") as storage:
        transaction = in_a_context_of_its_own(storage, pool, storage.begin_transaction)

        writes = (
            lambda: storage.store_task(a_task()),
            storage.begin_transaction,
            lambda: storage.claim_next_task("agent"),
        )
        for write in writes:
            with pytest.raises(TransactionError, match=r"no call can join any more: .* a thread's call"):
                in_a_context_of_its_own(storage, pool, write)

        assert in_a_context_of_its_own(storage, pool, storage.get_pending_tasks) == []
        in_a_context_of_its_own(storage, pool, transaction.rollback)
        in_a_context_of_its_own(storage, pool, lambda: storage.store_task(a_task()))
        assert len(storage.get_pending_tasks()) == 1


def test_another_call_may_commit_what_the_first_one_wrote(tmp_path: Path) -> None:
    def begin_and_write() -> Any:
        transaction = blocking.begin_transaction()
        blocking.store_task(a_task())
        return transaction

    with ThreadPoolExecutor(2) as pool, open_storage(tmp_path / "swarm.db") as blocking:
        transaction = in_a_context_of_its_own(blocking, pool, begin_and_write)
        in_a_context_of_its_own(blocking, pool, transaction.commit)

        assert len(blocking.get_pending_tasks()) == 1


def test_a_transaction_of_a_thread_lasts_as_long_as_the_thread(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool, open_storage(tmp_path / "swarm.db") as blocking:
        transaction = pool.submit(blocking.begin_transaction).result()
        pool.submit(blocking.store_task, a_task()).result()
        pool.submit(transaction.commit).result()

        assert len(blocking.get_pending_tasks()) == 1
