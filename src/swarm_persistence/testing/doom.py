"""Facts about transactions that cannot go on: doomed by an error, dropped, or left behind."""

import asyncio
import gc
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest

from swarm_persistence.errors import (
    ConflictError,
    InvalidQueryError,
    NotFoundError,
    SerializationError,
    TransactionError,
)
from swarm_persistence.storage import Storage
from swarm_persistence.testing.callers import elsewhere
from swarm_persistence.testing.records import a_message, a_task, an_agent, ids

HARMLESS: dict[str, tuple[type[Exception], Callable[[Storage], Coroutine[Any, Any, Any]]]] = {
    "a value that cannot be stored": (
        SerializationError,
        lambda storage: storage.store_task(a_task("bad", payload=float("nan"))),
    ),
    "a batch with a value that cannot be stored": (
        SerializationError,
        lambda storage: storage.store_many([a_task("good"), a_task("bad", payload=float("nan"))]),
    ),
    "an unknown status": (InvalidQueryError, lambda storage: storage.list_agents_by_status("sleepy")),
    "an update of what is missing": (NotFoundError, lambda storage: storage.update_agent(an_agent("missing"))),
    "a mark on what is missing": (NotFoundError, lambda storage: storage.mark_message_read("missing")),
}


@pytest.mark.asyncio
class TestDoom:
    """What an error does to the transaction it happens in."""

    async def test_a_conflict_dooms_the_transaction(self, storage: Storage) -> None:
        await storage.store_task(a_task("known"))
        transaction = await storage.begin_transaction()
        with suppress(ConflictError):
            await storage.store_task(a_task("known"))

        with pytest.raises(TransactionError, match="task 'known'"):
            await transaction.commit()

    async def test_nothing_of_a_doomed_transaction_is_stored(self, storage: Storage) -> None:
        await storage.store_task(a_task("known"))
        transaction = await storage.begin_transaction()
        await storage.store_task(a_task("before"))
        with suppress(ConflictError):
            await storage.store_task(a_task("known"))
        with suppress(TransactionError):
            await transaction.commit()

        assert ids(await storage.get_pending_tasks()) == ["known"]

    @pytest.mark.parametrize(
        "call",
        [
            lambda storage: storage.get_task("known"),
            lambda storage: storage.list_agents(),
            lambda storage: storage.store_task(a_task("more")),
            lambda storage: storage.claim_task("known", "agent-1"),
            lambda storage: storage.begin_transaction(),
        ],
    )
    async def test_a_doomed_transaction_refuses_calls_and_names_the_first_error(
        self, storage: Storage, call: Callable[[Storage], Coroutine[Any, Any, Any]]
    ) -> None:
        await storage.store_task(a_task("known"))
        transaction = await storage.begin_transaction()
        with suppress(ConflictError):
            await storage.store_task(a_task("known"))

        with pytest.raises(TransactionError, match="task 'known'"):
            await call(storage)
        await transaction.rollback()

    async def test_a_doomed_transaction_can_be_rolled_back(self, storage: Storage) -> None:
        await storage.store_task(a_task("known"))
        transaction = await storage.begin_transaction()
        with suppress(ConflictError):
            await storage.store_task(a_task("known"))

        await transaction.rollback()
        await storage.store_task(a_task("after"))

        assert ids(await storage.get_pending_tasks()) == ["known", "after"]

    async def test_a_block_whose_conflict_was_swallowed_raises_at_its_end(self, storage: Storage) -> None:
        await storage.store_task(a_task("known"))

        with pytest.raises(TransactionError, match="task 'known'"):
            async with storage.transaction():
                with suppress(ConflictError):
                    await storage.store_task(a_task("known"))

    async def test_a_commit_that_was_refused_has_ended_the_transaction(self, storage: Storage) -> None:
        await storage.store_task(a_task("known"))
        transaction = await storage.begin_transaction()
        with suppress(ConflictError):
            await storage.store_task(a_task("known"))
        with suppress(TransactionError):
            await transaction.commit()

        await storage.store_task(a_task("after"))

        assert ids(await elsewhere(storage.get_pending_tasks())) == ["known", "after"]

    async def test_a_conflict_in_a_task_started_inside_dooms_it_too(self, storage: Storage) -> None:
        await storage.store_task(a_task("known"))

        with pytest.raises(TransactionError, match="task 'known'"):
            async with storage.transaction():
                await asyncio.gather(storage.store_task(a_task("known")), return_exceptions=True)

    @pytest.mark.parametrize("reason", HARMLESS)
    async def test_what_is_refused_before_the_engine_harms_nothing(self, storage: Storage, reason: str) -> None:
        error, call = HARMLESS[reason]

        async with storage.transaction():
            await storage.store_task(a_task("before"))
            with pytest.raises(error):
                await call(storage)
            await storage.store_task(a_task("after"))

        assert ids(await storage.get_pending_tasks()) == ["before", "after"]

    async def test_a_lost_claim_harms_nothing(self, storage: Storage) -> None:
        async with storage.transaction():
            await storage.store_task(a_task())
            await storage.claim_task("missing", "agent-1")

        assert ids(await storage.get_pending_tasks()) == ["task-1"]


@pytest.mark.asyncio
class TestAbandonedTransactions:
    """What becomes of a transaction that nobody ends."""

    async def test_a_dropped_transaction_is_rolled_back_with_a_warning(self, storage: Storage) -> None:
        async def drop() -> None:
            transaction = await storage.begin_transaction()
            assert transaction.is_open
            await storage.store_task(a_task())

        with pytest.warns(ResourceWarning, match="rolled back"):
            await elsewhere(drop())
            gc.collect()

        assert await storage.get_task("task-1") is None

    async def test_a_transaction_dropped_within_its_task_is_rolled_back_with_a_warning(self, storage: Storage) -> None:
        transaction = await storage.begin_transaction()
        await storage.store_task(a_task())

        with pytest.warns(ResourceWarning, match="dropped"):
            del transaction
            gc.collect()

        assert await storage.get_task("task-1") is None

    async def test_a_transaction_that_outlives_its_task_is_rolled_back_with_a_warning(self, storage: Storage) -> None:
        async def leave_open() -> Any:
            transaction = await storage.begin_transaction()
            await storage.store_task(a_task())
            return transaction

        with pytest.warns(ResourceWarning, match="outlived"):
            transaction = await elsewhere(leave_open())
            await asyncio.sleep(0)

        with pytest.raises(TransactionError):
            await transaction.commit()
        assert await storage.get_task("task-1") is None

    async def test_a_dropped_transaction_keeps_no_one_from_writing(self, storage: Storage) -> None:
        async def drop() -> None:
            transaction = await storage.begin_transaction()
            assert transaction.is_open
            await storage.store_task(a_task("dropped"))

        with pytest.warns(ResourceWarning):
            await elsewhere(drop())
            gc.collect()
        await storage.store_message(a_message())
        await storage.store_task(a_task("after"))

        assert ids(await storage.get_pending_tasks()) == ["after"]

    async def test_a_dropped_transaction_takes_back_the_versions(self, storage: Storage) -> None:
        task = a_task()

        async def drop() -> None:
            transaction = await storage.begin_transaction()
            assert transaction.is_open
            await storage.store_task(task)

        with pytest.warns(ResourceWarning):
            await elsewhere(drop())
            gc.collect()

        assert task.version == 0
