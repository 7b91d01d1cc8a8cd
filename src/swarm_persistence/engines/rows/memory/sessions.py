"""An open transaction of the memory engine: its writes overlay the committed rows until it commits."""

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
