"""The memory engine: rows in dictionaries and sorted indexes, changed under one lock in the caller's thread."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count, islice
from typing import Any, TypeVar

from swarm_persistence.clock import microseconds, now
from swarm_persistence.engines.delivery import OnAbandoned
from swarm_persistence.engines.following import FollowingEngine
from swarm_persistence.engines.interface import MigrationStatus, PoolStatus
from swarm_persistence.engines.lines import LineBackupEngine
from swarm_persistence.engines.reads import Read
from swarm_persistence.engines.rows.changes import Changes, CompiledStep
from swarm_persistence.engines.rows.memory.write_queue import DeferredLock, WriteQueue
from swarm_persistence.engines.rows.overlays import Overlays
from swarm_persistence.engines.rows.reading import evaluate, finish
from swarm_persistence.engines.rows.sessions import RowSession
from swarm_persistence.engines.rows.steps import compile_steps
from swarm_persistence.engines.rows.tables import RowTable
from swarm_persistence.engines.runtime import running_loop
from swarm_persistence.engines.schemas import DEFAULT_SCHEMA
from swarm_persistence.engines.steps import Step
from swarm_persistence.engines.watches import TableWatch, Watches
from swarm_persistence.errors import ClosedError, MigrationError, shown
from swarm_persistence.query.query import Condition
from swarm_persistence.schema.codec import Row
from swarm_persistence.schema.tables import TABLES, Table

T = TypeVar("T")
Tables = dict[str, RowTable]

_CALLS_PER_PAUSE = 64
"""After this number of calls without a pause, other tasks run, so that one busy caller does not starve them."""

_ROWS_PER_PAUSE = 5_000
_BYTES_PER_NUMBER = 8
_NO_SCHEMA = MigrationStatus(version=0, latest=0, applied=())


class MemorySession(RowSession):
    """Keeps other writers waiting until it ends; `release`, called under the lock, lets them go on."""

    def __init__(
        self,
        lock: DeferredLock,
        tables: Mapping[str, RowTable],
        release: Callable[[], None],
        transaction_timeout: float,
        notify: Callable[[Iterable[str]], None],
    ) -> None:
        super().__init__(Overlays(lambda table: tables[table.name]), lock, transaction_timeout, release)
        self._deferred = lock
        self._notify = notify

    async def write(self, steps: Sequence[Step]) -> list[Any]:
        compiled = compile_steps(steps)
        with self._lock:
            self._require_open()
            results = self._changes.run(compiled)
            self._changes.settle()
            return results

    async def read(self, read: Read[T]) -> T:
        with self._lock:
            self._require_open()
            found = evaluate(read, self._overlays.table)
        return finish(read, found)

    async def commit(self) -> None:
        with self._lock:
            self._require_open()
            changed = self._overlays.commit()
            self.end(None)
            self._notify(changed)

    def abandon(self) -> None:
        self._deferred.run_or_defer(lambda: self.end(None))


class MemorySnapshot:
    """The tables as they were when the snapshot was taken."""

    def __init__(self, tables: Mapping[str, RowTable]) -> None:
        """Copy the tables; called under the lock."""
        self._tables: Mapping[str, RowTable] | None = {name: table.copy() for name, table in tables.items()}

    async def read(self, read: Read[T]) -> T:
        return finish(read, evaluate(read, self._table))

    async def numbers(self) -> Mapping[str, int]:
        return {name: table.last_sequence for name, table in self._used().items()}

    async def close(self) -> None:
        self._tables = None

    def _table(self, table: Table[Any]) -> RowTable:
        return self._used()[table.name]

    def _used(self) -> Mapping[str, RowTable]:
        if self._tables is None:
            raise ClosedError("the snapshot is closed")
        return self._tables


class MemoryEngine(FollowingEngine, LineBackupEngine):
    """A store in this process. Durations are in seconds."""

    is_ephemeral = True
    is_local = True

    def __init__(
        self,
        connection_timeout: float,
        transaction_timeout: float,
        *,
        schema_name: str = DEFAULT_SCHEMA,
        tables: Tables | None = None,
    ) -> None:
        """Use the given tables, or new ones."""
        self.schema_name = schema_name
        self._connection_timeout = connection_timeout
        self._lock = DeferredLock()
        self._writers = WriteQueue(self._lock, connection_timeout)
        self._transaction_timeout = transaction_timeout
        self._tables = _new_tables() if tables is None else tables
        self._tables_of_schemas: dict[str, Tables] = {}
        self._changes = Changes(self._table)
        self._watches = Watches()
        self._calls = count(1)
        self._is_closed = False

    async def write(self, steps: Sequence[Step]) -> list[Any]:
        compiled = compile_steps(steps)
        running_loop()  # without a loop, every call must fail, not only one that waits
        with self._lock:
            self._require_open()
            is_free = self._writers.is_free()
            if is_free:
                results = self._run(compiled)
            else:
                waiter = self._writers.join(lambda: self._run(compiled), on_abandoned=_forget)
        return await self._answered(results) if is_free else await waiter.wait()

    async def deliver(self, steps: Sequence[Step], on_abandoned: OnAbandoned) -> list[Any]:
        compiled = compile_steps(steps)
        try:
            await self._answered(None)  # before the write: a cancellation after it would lose the result
        except (asyncio.CancelledError, GeneratorExit):
            on_abandoned(None)
            raise
        with self._lock:
            self._require_open()
            if self._writers.is_free():
                return self._run(compiled)
            waiter = self._writers.join(lambda: self._run(compiled), on_abandoned)
        results: list[Any] = await waiter.wait()
        return results

    async def read(self, read: Read[T]) -> T:
        with self._lock:
            self._require_open()
            found = evaluate(read, self._table)
        if next(self._calls) % _CALLS_PER_PAUSE == 0:
            await self._pause()
        return finish(read, found)

    async def snapshot(self) -> MemorySnapshot:
        with self._lock:
            self._require_open()
            return MemorySnapshot(self._tables)

    async def time(self) -> int:
        return microseconds(now())

    def watch(self, tables: tuple[Table[Any], ...]) -> TableWatch:
        return self._watches.add(tables)

    async def begin(self) -> MemorySession:
        await self._answered(None)  # before the transaction opens: a caller cancelled after that would leave it open
        with self._lock:
            self._require_open()
            if self._writers.is_free():
                return self._open_session()
            waiter = self._writers.join(self._open_session, _roll_back)
        session: MemorySession = await waiter.wait()
        return session

    def for_schema(self, schema: str) -> "MemoryEngine":
        # Kept here, so that the tables outlive that engine, as they would in a database.
        tables = self._tables_of_schemas.setdefault(schema, _new_tables())
        return MemoryEngine(self._connection_timeout, self._transaction_timeout, schema_name=schema, tables=tables)

    async def drop_parts(self, table: Table[Any], stale: Sequence[tuple[Condition, ...]]) -> int:
        return 0

    async def vacuum(self) -> None:
        """Do nothing: deleted rows take no space."""

    async def checkpoint(self) -> None:
        """Do nothing: there is no log."""

    async def migrate_to(self, version: int) -> None:
        if version != _NO_SCHEMA.version:
            raise MigrationError(
                f"version {shown(version)} is unknown; memory keeps no schema, and its only version is 0"
            )

    async def migration_status(self) -> MigrationStatus:
        self._require_open()
        return _NO_SCHEMA

    async def size(self) -> int:
        """Return the bytes of the stored values, computed on each call: texts as UTF-8, numbers as 8 bytes.

        Other tasks run in between. Python's objects take several times as much memory.
        """
        with self._lock:
            self._require_open()
            every_row = [row for table in self._tables.values() for row in table.rows.values()]
        rows = iter(every_row)
        total = 0
        while some := list(islice(rows, _ROWS_PER_PAUSE)):
            total += sum(map(_bytes_of, some))
            await asyncio.sleep(0)
        return total

    def pool_status(self) -> PoolStatus:
        with self._lock:
            self._writers.expire()
            active = 0 if self._writers.transaction is None else 1
            return PoolStatus(active=active, idle=0, max=1, waiting=self._writers.waiting)

    async def close(self) -> None:
        with self._lock:
            self._close()

    def abandon(self) -> None:
        self._lock.run_or_defer(self._close)

    async def _answered(self, answer: T) -> T:
        """Return the answer; from time to time, let the loop's other tasks run first."""
        if next(self._calls) % _CALLS_PER_PAUSE == 0:
            await self._pause()
        return answer

    async def _pause(self) -> None:
        running_loop()
        await asyncio.sleep(0)

    def _run(self, compiled: Sequence[CompiledStep]) -> list[Any]:
        results = self._changes.run(compiled)
        changed = () if self._watches.is_empty else self._changes.changed_tables()
        self._changes.forget()
        if changed:
            self._watches.notify(changed)
        return results

    def _open_session(self) -> MemorySession:
        self._require_open()
        session = MemorySession(
            self._lock, self._tables, self._writers.release, self._transaction_timeout, self._watches.notify
        )
        self._writers.transaction = session
        return session

    def _close(self) -> None:
        """End the open transaction, run the queued writes, and drop the rows."""
        self._is_closed = True
        self._watches.close()
        if self._writers.transaction is not None:
            self._writers.transaction.end(ClosedError("the storage was closed while the transaction was open"))
        self._tables = _new_tables()
        self._tables_of_schemas.clear()

    def _require_open(self) -> None:
        if self._is_closed:
            raise ClosedError("the storage is closed")

    def _table(self, table: Table[Any]) -> RowTable:
        return self._tables[table.name]


def _new_tables() -> Tables:
    return {table.name: RowTable(table) for table in TABLES}


def _roll_back(session: MemorySession | None) -> None:
    if session is not None:
        session.abandon()


def _forget(_results: list[Any] | None) -> None:
    """Ignore the outcome of a write whose caller was cancelled."""


def _bytes_of(row: Row) -> int:
    total = 0
    for value in row:
        if isinstance(value, str):
            total += len(value) if value.isascii() else len(value.encode())
        elif value is not None:
            total += _BYTES_PER_NUMBER
    return total
