"""Transactions of the memory engine, whose writes overlay the committed rows until the commit, and its snapshots."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from swarm_persistence.engines.reads import Read
from swarm_persistence.engines.rows.memory.deferred_lock import DeferredLock
from swarm_persistence.engines.rows.overlays import Overlays
from swarm_persistence.engines.rows.reading import evaluate, finish
from swarm_persistence.engines.rows.sessions import RowSession
from swarm_persistence.engines.rows.steps import compile_steps
from swarm_persistence.engines.rows.tables import RowTable
from swarm_persistence.engines.steps import Step
from swarm_persistence.errors import ClosedError
from swarm_persistence.schema.tables import Table

T = TypeVar("T")


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
        result: T = finish(read, found)
        return result

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
        result: T = finish(read, evaluate(read, self._table))
        return result

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
