"""Puts of few records: those that callers request in one tick, or while one is in flight, share a statement.

The statement waits only briefly for a row that another transaction has locked. Then each put is retried alone, so that
no caller waits long for another caller's row.
"""

import asyncio
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from swarm_persistence.engines.sql.postgres.batches import LARGEST_BATCH, Batch, refuse
from swarm_persistence.engines.sql.postgres.failures import blames_a_row, waited_for_lock
from swarm_persistence.engines.sql.postgres.insertion import LARGEST_INSERT, ArrayPutStatement
from swarm_persistence.engines.sql.postgres.pending import PendingOperation
from swarm_persistence.engines.sql.postgres.retry import Retrier
from swarm_persistence.engines.sql.postgres.row_sizes import sizes_at
from swarm_persistence.engines.sql.statements import Statement
from swarm_persistence.errors import StorageError

MOST_ROWS = LARGEST_INSERT // LARGEST_BATCH
"""The most rows of a put that shares a statement: a whole batch then fits into one."""


class RowPut(NamedTuple):
    """One put, with its rows in the order of their ids."""

    rows: Sequence[Sequence[Any]]
    statement: ArrayPutStatement

    @property
    def size(self) -> int:
        """Return how many bytes of it are sent."""
        return sum(map(sizes_at(self.statement.table.large_places), self.rows))


class RowPutter:
    """Runs the puts of a batch, under the write lock."""

    def __init__(
        self,
        retrier: Retrier,
        committed: Callable[[set[str]], None],
        try_alone: Callable[[Statement, asyncio.Future[Any]], None],
    ) -> None:
        self._retrier = retrier
        self._committed = committed
        self._try_alone = try_alone

    async def run(self, operation: PendingOperation, batch: Batch[RowPut]) -> None:
        """Put the rows, and set the result of each caller."""
        rest = [item for item in batch if not item[1].done()]
        while rest:
            # A statement can write a row only once, so a second put of the same row needs another statement.
            ids: set[Any] = set()
            chosen: Batch[RowPut] = []
            later: Batch[RowPut] = []
            for item in rest:
                own: list[Any] = [row[0] for row in item[0].rows]
                (chosen if ids.isdisjoint(own) else later).append(item)
                # Puts of the same row keep their order.
                ids.update(own)
            await self._put(operation, chosen)
            rest = later

    async def _put(self, operation: PendingOperation, items: Batch[RowPut]) -> None:
        first = items[0][0].statement
        every: list[Any] = [row for put, _ in items for row in put.rows]
        rows = sorted(every, key=itemgetter(0))
        together = ArrayPutStatement(first.table, rows, first.compiler, first.if_absent, has_lock_timeout=True)
        try:
            (written,) = await self._retrier.write(operation, (together,))
        except StorageError as error:
            if not (blames_a_row(error) or waited_for_lock(error)):
                refuse(items, error)
                return
            # The server has rolled the statement back.
            for put, future in items:
                if not future.done():
                    self._try_alone(put.statement, future)
            return
        self._committed({first.table.name})
        result_of = {row[0]: result for row, result in zip(rows, written, strict=True)}
        for put, future in items:
            if not future.done():
                future.set_result([[result_of[row[0]] for row in put.rows]])
