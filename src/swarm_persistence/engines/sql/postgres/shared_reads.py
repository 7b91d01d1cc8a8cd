"""Shares reads: equal reads that several callers of one event loop request in one tick run once.

A commit wakes all callers that wait for it, and all of them issue the same read.
"""

import asyncio
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any

from swarm_persistence.engines.sql.postgres.batches import refuse
from swarm_persistence.engines.sql.postgres.pending import PendingOperation, PendingOperations
from swarm_persistence.engines.sql.postgres.retry import Retrier
from swarm_persistence.engines.sql.statements import Statement
from swarm_persistence.errors import StorageError

_Callers = list[tuple[Hashable, "asyncio.Future[Any]"]]


class SharedReads:
    """The reads requested in this tick of an event loop, keyed by what they read."""

    def __init__(self, pending: PendingOperations, retrier: Retrier) -> None:
        self._loop = asyncio.get_running_loop()
        self._pending = pending
        self._retrier = retrier
        self._collected: dict[Hashable, _Callers] = {}

    @property
    def waiting(self) -> int:
        """Return how many callers wait for a read that has not begun."""
        return sum(map(len, self._collected.values()))

    def add(self, key: Hashable, statement: Callable[[], Statement]) -> "asyncio.Future[Any]":
        """Return the future of a statement's result, which its callers must not modify."""
        callers = self._collected.get(key)
        if callers is None:
            # Later callers may have seen a later commit: none joins a statement that may have been sent.
            self._loop.call_soon(self._start, key, statement())
            callers = self._collected[key] = []
        future: asyncio.Future[Any] = self._loop.create_future()
        callers.append((key, future))
        return future

    def _start(self, key: Hashable, statement: Statement) -> None:
        callers = self._collected.pop(key)
        work = partial(self._read, statement=statement, callers=callers)
        self._pending.start_for([future for _, future in callers], work, is_write=False)

    async def _read(self, operation: PendingOperation, statement: Statement, callers: _Callers) -> None:
        try:
            result = await self._retrier.read(operation, statement)
        except StorageError as error:
            refuse(callers, error)
            return
        for _, future in callers:
            if not future.done():
                future.set_result(result)
