"""Facts about doomed transactions: after a database error, a transaction can only be rolled back."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest

from swarm_persistence import (
    ConflictError,
    InvalidQueryError,
    NotFoundError,
    SerializationError,
    Storage,
    TransactionError,
)
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.records import a_task, an_agent, ids

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
class TestDoomedTransactions:
    """A database error dooms the transaction that it happens in."""

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

        with pytest.raises(TransactionError, match="task 'known'"):  # noqa: PT012 - the block is what must raise
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
