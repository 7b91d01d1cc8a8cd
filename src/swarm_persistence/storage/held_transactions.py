"""Refuses writes beside an open transaction that no call can join any more.

A transaction belongs to the context that began it. A fixture, a dependency or a notebook cell runs in a task of its
own, and a call in a thread in a context of its own; once that has ended, no call can join the transaction. A caller
that still references the transaction expects to write into it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Any, TypeVar

from swarm_persistence.engines.interface import Engine
from swarm_persistence.errors import TransactionError
from swarm_persistence.storage.scopes import Scope

T = TypeVar("T")

_CHECK_DELAYS = (0.005, 0.05, 0.5)
"""Delays between the checks of a waiting call, in seconds; an ended context is garbage-collected in this time."""
_ADVICE = (
    "begin and end a transaction in the task, or the thread's call, that writes: `async with storage.transaction():`, "
    "or `with` in the blocking form"
)


class HeldTransactions:
    """The open transactions that the callers of one storage reference. Thread-safe."""

    def __init__(self) -> None:
        self.scopes: dict[Scope, None] = {}

    def add(self, scope: Scope) -> None:
        """Add a transaction that a caller has begun."""
        self.scopes[scope] = None

    def discard(self, scope: Scope) -> None:
        """Remove a transaction that its caller has ended, or no longer references."""
        self.scopes.pop(scope, None)

    def refuse_write(self) -> None:
        """Raise `TransactionError` for a write that its caller may expect to be part of a transaction."""
        for scope in list(self.scopes):
            if scope.is_inherited:
                continue
            if scope.is_rolled_back:
                raise TransactionError(
                    "this write would be stored outside of the transaction that is still held: it was begun in another "
                    "task, such as a fixture, a dependency or a cell of a notebook, and was rolled back when that task "
                    f"ended; {_ADVICE}"
                )
            _refuse_to_wait(scope)

    def refuse_transaction(self) -> None:
        """Raise `TransactionError` for a new transaction that would wait for one that no call can end."""
        for scope in list(self.scopes):
            if not scope.is_inherited:
                _refuse_to_wait(scope)


def _refuse_to_wait(scope: Scope) -> None:
    if scope.is_unreachable:
        raise TransactionError(
            "this call would wait for an open transaction that no call can join any more: it was begun in a thread's "
            f"call that has returned, such as a synchronous dependency; {_ADVICE}"
        )


class GuardedEngine:
    """The engine for calls outside of the transactions that callers hold.

    A call that may wait for the write lock repeats the check while it waits: the context of a thread's call is
    destroyed shortly after the call has returned.
    """

    def __init__(self, engine: Engine, held: HeldTransactions) -> None:
        self._engine = engine
        write = held.refuse_write
        self._refusals = {"write": write, "deliver": write, "drop_parts": write, "begin": held.refuse_transaction}
        """What refuses a call of these methods if its caller may expect it to be part of a transaction."""

    def __getattr__(self, name: str) -> Any:
        call, refuse = getattr(self._engine, name), self._refusals.get(name)
        if refuse is None:
            return call

        async def guarded(*arguments: Any) -> Any:
            refuse()
            return await _checked_while_waiting(lambda: call(*arguments), refuse)

        return guarded


async def _checked_while_waiting(call: Callable[[], Awaitable[T]], refuse: Callable[[], None]) -> T:
    """Await a call; while it waits, check repeatedly whether to refuse it."""
    if asyncio.current_task() is None:
        await asyncio.sleep(0)  # a call that is driven by hand is a task from its first pause on
    loop = asyncio.get_running_loop()
    pauses = iter(_CHECK_DELAYS)
    refusal: TransactionError | None = None
    timer: asyncio.TimerHandle

    def check() -> None:
        nonlocal refusal, timer
        try:
            refuse()
        except TransactionError as error:
            refusal = error
            limit.reschedule(loop.time())
            return
        if (pause := next(pauses, None)) is not None:
            timer = loop.call_later(pause, check, context=Context())

    timer = loop.call_later(next(pauses), check, context=Context())
    try:
        async with asyncio.timeout(None) as limit:
            return await call()
    except TimeoutError:
        if refusal is None:
            raise
        raise refusal from None
    finally:
        timer.cancel()
