"""Batches the operations that callers start at the same time, so that one round trip serves all of them.

While a batch is in flight, the next one fills. A single sequential caller does not wait.
"""

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Sequence
from functools import partial
from operator import itemgetter
from typing import Any, Generic, NamedTuple, TypeVar

from swarm_persistence.engines.sql.postgres.comments import VERB
from swarm_persistence.engines.sql.postgres.failures import blames_a_row, waited_for_lock
from swarm_persistence.engines.sql.postgres.insertion import (
    LARGEST_INSERT,
    ArrayInsertStatement,
    ArrayPutStatement,
    RowInsertStatement,
)
from swarm_persistence.engines.sql.postgres.pending import PendingOperation, PendingOperations
from swarm_persistence.engines.sql.postgres.retry import Retrier
from swarm_persistence.engines.sql.postgres.row_sizes import SizeOf, first_part, sizes_at
from swarm_persistence.engines.sql.postgres.row_updates import RowUpdate, RowUpdatePlan
from swarm_persistence.engines.sql.postgres.statement_compiler import PostgresStatementCompiler
from swarm_persistence.engines.sql.statements import Statement
from swarm_persistence.errors import StorageError, copy_error
from swarm_persistence.schema.codec import codec_of
from swarm_persistence.schema.tables import Table
from swarm_persistence.schema.values import ColumnValue

T = TypeVar("T")

Batch = list[tuple[T, asyncio.Future[Any]]]
"""Items, each with the future of its caller."""
BatchWork = Callable[[PendingOperation, Batch[T]], Coroutine[Any, Any, None]]

LARGEST_BATCH = 512
_MOST_AT_ONCE = 4
"""The most batches of one kind in flight at once; a further one starts only if it has enough items."""


class Batches(Generic[T]):
    """Collects items of one kind."""

    def __init__(
        self,
        pending: PendingOperations,
        work: BatchWork[T],
        *,
        verb: str,
        is_write: bool,
        size_of: SizeOf[T] | None = None,
        fewest_beside: int = LARGEST_BATCH,
    ) -> None:
        """Take the function that runs a batch, and the verb to name it by: its items may belong to several verbs.

        `size_of` returns how many bytes of an item are sent, if it may be large. A batch of at least `fewest_beside`
        items begins while others are in flight.
        """
        self._verb = verb
        self._loop = asyncio.get_running_loop()
        self._pending = pending
        self._work = work
        self._is_write = is_write
        self._size_of = size_of
        self._fewest_beside = fewest_beside
        self._collected: Batch[T] = []
        self._under_way = 0
        self._was_single = False
        self._is_scheduled = False

    @property
    def waiting(self) -> int:
        """Return how many items are not in flight yet."""
        return len(self._collected)

    @property
    def is_idle(self) -> bool:
        """Tell whether no item is collected or in flight."""
        return not self._collected and self._under_way == 0

    def add(self, item: T) -> "asyncio.Future[Any]":
        """Add an item, and return the future of its result."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self._collected.append((item, future))
        if self._was_single and self._under_way == 0 and len(self._collected) == 1:
            self._start_batches()
        elif not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._start_batches)
        return future

    def _start_batches(self) -> None:
        self._is_scheduled = False
        while self._collected and self._may_start():
            size = LARGEST_BATCH
            if (size_of := self._size_of) is not None:
                size = first_part(self._collected, LARGEST_BATCH, lambda item: size_of(item[0]))
            batch, self._collected = self._collected[:size], self._collected[size:]
            self._was_single = len(batch) == 1
            self._under_way += 1
            work = partial(self._do, batch=batch)
            self._pending.start_for([future for _, future in batch], work, self._is_write)

    def _may_start(self) -> bool:
        return self._under_way == 0 or (self._under_way < _MOST_AT_ONCE and len(self._collected) >= self._fewest_beside)

    async def _do(self, operation: PendingOperation, batch: Batch[T]) -> None:
        VERB.set(self._verb)
        try:
            await self._work(operation, batch)
        finally:
            self._under_way -= 1
            self._start_batches()


class RowAdder:
    """Inserts the rows of a batch, each of which may fail alone; under the write lock."""

    def __init__(
        self,
        table: Table[Any],
        compiler: PostgresStatementCompiler,
        retrier: Retrier,
        committed: Callable[..., None],
        *,
        may_notify_within: Callable[[], bool],
    ) -> None:
        """Take a function that tells whether the commit of a single row may notify other processes itself."""
        self._table = table
        self._text = compiler.inserts[table.name]
        self._row_text = compiler.row_inserts[table.name]
        self._may_notify_within = may_notify_within
        self._retrier = retrier
        self._committed = committed

    async def run(self, operation: PendingOperation, batch: Batch[tuple[ColumnValue, ...]]) -> None:
        """Insert the rows, and set the result of each caller."""
        wanted = [(row, future) for row, future in batch if not future.done()]
        if not wanted:
            return
        rows = [row for row, _ in wanted]
        insert = self._insert(rows)
        try:
            sequences = await self._retrier.write(operation, (insert,))
        except StorageError as error:
            if len(wanted) == 1 or not blames_a_row(error):
                refuse(wanted, error)
                return
            # One row is to blame, and the server has rolled the statement back: bisect.
            middle = len(wanted) // 2
            await self.run(operation, wanted[:middle])
            await self.run(operation, wanted[middle:])
        else:
            self._committed({self._table.name}, has_notified=insert.has_notified)
            for (_, future), sequence in zip(wanted, sequences, strict=True):
                if not future.done():
                    future.set_result([sequence])

    def _insert(self, rows: list[tuple[ColumnValue, ...]]) -> ArrayInsertStatement:
        # `Batches` has bounded them.
        if len(rows) == 1:
            return RowInsertStatement(self._table, rows, self._row_text, [rows], may_notify=self._may_notify_within())
        return ArrayInsertStatement(self._table, rows, self._text, [rows])


class RowUpdater:
    """Runs changes of equal shape, each of one row, under the write lock; rows skipped as locked are retried alone."""

    def __init__(
        self,
        plan: RowUpdatePlan,
        retrier: Retrier,
        committed: Callable[[set[str]], None],
        try_alone: Callable[[RowUpdate, asyncio.Future[Any], bool], None],
    ) -> None:
        """Take a function that runs one change; it is told whether the answer to an earlier attempt was lost."""
        self._plan = plan
        self._retrier = retrier
        self._committed = committed
        self._try_alone = try_alone

    async def run(self, operation: PendingOperation, batch: Batch[RowUpdate]) -> None:
        """Change the rows, and set the result of each caller."""
        rest = [item for item in batch if not item[1].done()]
        while rest:
            # A statement can change a row only once, so a second change of the same row needs another statement.
            first: dict[str, tuple[RowUpdate, asyncio.Future[Any]]] = {}
            later = [item for item in rest if first.setdefault(item[0].id, item) is not item]
            await self._update(operation, [*first.values()])
            rest = later

    async def _update(self, operation: PendingOperation, items: Batch[RowUpdate]) -> None:
        try:
            outcomes = await self._retrier.update_rows(operation, self._plan, [update for update, _ in items])
        except StorageError as error:
            if not (blames_a_row(error) or waited_for_lock(error)):
                refuse(items, error)
                return
            outcomes = [None] * len(items)  # the server has rolled the statement back
        if any(results is not None for results in outcomes):
            self._committed({self._plan.table.name})
        for (update, future), results in zip(items, outcomes, strict=True):
            if future.done():
                continue
            if results is None:
                self._try_alone(update, future, operation.has_lost_an_answer)
            else:
                future.set_result(results)


class RowReader:
    """Reads the records of a batch of ids."""

    def __init__(
        self, table: Table[Any], text: str, values_of: Callable[[list[str]], Sequence[Any]], retrier: Retrier
    ) -> None:
        self._text = text
        self._values_of = values_of
        self._retrier = retrier
        self._decode = codec_of(table.model).decode

    async def run(self, operation: PendingOperation, batch: Batch[str]) -> None:
        """Read the rows, and set the result of each caller."""
        ids = [*{id for id, future in batch if not future.done()}]
        try:
            values = self._values_of(ids)
            rows = await self._retrier.make(operation, lambda attempt: attempt.connection.run(self._text, values))
        except StorageError as error:
            refuse(batch, error)
            return
        found = {row[0]: row for row in rows}
        for id, future in batch:
            if future.done():
                continue
            row = found.get(id)
            try:
                future.set_result(None if row is None else self._decode(row))
            except StorageError as error:
                future.set_exception(error)


def refuse(batch: Batch[Any], error: StorageError) -> None:
    """Give an error to all callers of a batch that are not answered yet."""
    for _, future in batch:
        if not future.done():
            future.set_exception(copy_error(error))


_Callers = list[tuple[Hashable, "asyncio.Future[Any]"]]


class SharedReads:
    """The reads requested in this tick of an event loop, keyed by what they read: equal ones run once.

    A commit wakes all callers that wait for it, and all of them issue the same read.
    """

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
    """Runs the puts of a batch, under the write lock.

    The statement waits only briefly for a row that another transaction has locked. Then each put is retried alone, so
    that no caller waits long for another caller's row.
    """

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
