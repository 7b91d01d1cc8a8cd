"""The transaction object, the `async with` block, and the retries of `run_transaction`."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from types import TracebackType
from typing import Any, TypeVar

from swarm_persistence.backoff import backoff_seconds
from swarm_persistence.engines.transaction_errors import is_over
from swarm_persistence.errors import ClosedError, CollisionError, TransactionError
from swarm_persistence.storage.held_transactions import HeldTransactions
from swarm_persistence.storage.pickling import NotPicklable
from swarm_persistence.storage.scopes import Scope

T = TypeVar("T")

ATTEMPTS = 20
"""The default number of attempts for a transaction that collides."""

_FIRST_PAUSE_SECONDS = 0.01
_LONGEST_PAUSE_SECONDS = 1.0


async def begin(scope: Scope, held: HeldTransactions) -> "Transaction":
    """Open a scope, and add its transaction to `held`."""
    await scope.begin()
    return Transaction(scope, held)


class Transaction(NotPicklable):
    """An open transaction. If it is dropped without `commit` or `rollback`, it is rolled back with a warning."""

    def __init__(self, scope: Scope, held: HeldTransactions) -> None:
        self._scope = scope
        self._is_finished = False
        self._held = held
        held.add(scope)

    @property
    def is_open(self) -> bool:
        """Whether it can still be committed or rolled back."""
        return self._scope.is_open

    @property
    def is_finished(self) -> bool:
        """Whether `commit` or `rollback` was called."""
        return self._is_finished

    def commit(self) -> Coroutine[Any, Any, None]:
        """Commit atomically and durably. A doomed transaction is rolled back instead.

        Raises:
            TransactionError: the transaction is over already, was doomed by an error, or was open for too long.
            DatabaseError: the database failed; nothing of the transaction is stored.

        """
        return self._finish(self._scope.commit)

    def rollback(self) -> Coroutine[Any, Any, None]:
        """Roll the transaction back.

        Raises:
            TransactionError: the transaction is over already.

        """
        return self._finish(self._scope.rollback)

    def _finish(self, end: Callable[[], Coroutine[Any, Any, None]]) -> Coroutine[Any, Any, None]:
        self._is_finished = True
        self._held.discard(self._scope)
        self._scope.unbind()
        return self._end(end)

    async def _end(self, end: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if self._scope.is_inherited:
            raise ClosedError("the transaction belongs to the process that this one was forked from; it goes on there")
        if self._scope.is_rolled_back:
            self._scope.drop_if_outlived()
            raise TransactionError(
                f"the transaction {self._scope.ending}, and was rolled back then; begin and end it in one task"
            )
        if not self._scope.is_open:
            raise is_over()
        await end()

    def __del__(self) -> None:
        self._held.discard(self._scope)
        self._scope.drop("was dropped")


async def run(begin: Callable[[], "TransactionBlock"], work: Callable[[], Awaitable[T]], pauses: Iterator[float]) -> T:
    """Run `work` in a transaction; after a collision, retry all of it after the next pause."""
    while True:
        try:
            async with begin():
                return await work()
        except CollisionError:
            pause = next(pauses, None)
            if pause is None:
                raise
        await asyncio.sleep(pause)


def pauses(attempts: int) -> Iterator[float]:
    """Yield the pauses, in seconds, between this many attempts."""
    return (backoff_seconds(retry, _FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS) for retry in range(1, attempts))


class TransactionBlock(NotPicklable):
    """A transaction for `async with`: commits on success, rolls back on any exception, including cancellation."""

    def __init__(self, begin: Callable[[], Coroutine[Any, Any, Transaction]]) -> None:
        self._begin = begin
        self._transaction: Transaction | None = None

    async def __aenter__(self) -> Transaction:
        self._transaction = await self._begin()
        return self._transaction

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        transaction, self._transaction = self._transaction, None
        if transaction is None or transaction.is_finished:
            return
        if error is None:
            await transaction.commit()
        elif transaction.is_open:
            await transaction.rollback()
