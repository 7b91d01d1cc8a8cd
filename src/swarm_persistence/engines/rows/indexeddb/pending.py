"""What callers have asked for and wait for: reads and writes, each with its outcome."""

import asyncio
from collections.abc import Sequence
from math import inf
from typing import Any

from swarm_persistence.engines.delivery import OnAbandoned
from swarm_persistence.engines.interface import Step
from swarm_persistence.engines.reads import Read
from swarm_persistence.engines.rows.changes import Changes, CompiledStep
from swarm_persistence.engines.rows.indexeddb.view import DatabaseView
from swarm_persistence.engines.rows.reading import evaluate, finish
from swarm_persistence.schema.tables import Table


class PendingCall:
    """One call of the engine. Its outcome is known to the caller only once it is `settled`."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.result: Any = None
        self.error: Exception | None = None

    def settle(self, failure: BaseException | None = None) -> None:
        """Give the outcome to the caller, if it still waits."""
        if self.future.done():
            return
        error = failure or self.error
        if error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(error)


class PendingWrite(PendingCall):
    """Steps to do as one."""

    def __init__(
        self,
        deadline: float,
        steps: Sequence[Step],
        works: Sequence[CompiledStep],
        on_abandoned: OnAbandoned | None = None,
    ) -> None:
        super().__init__(deadline)
        self._on_abandoned = on_abandoned
        self.steps = steps
        self.works = works
        self.most_together: float = inf
        """In how large a group it may be done: one that was too large is halved."""
        self.is_counted = True
        """Whether its commit is to be counted, for which there must be room."""

    def run(self, changes: Changes) -> None:
        """Do the steps on what is there, all of them or none."""
        self.error = None
        try:
            self.result = changes.run(self.works)
        except Exception as error:
            self.error = error

    def settle(self, failure: BaseException | None = None) -> None:
        """Give the outcome to the caller, or tell that the caller was cancelled."""
        if self.future.done() and self._on_abandoned is not None:
            self._on_abandoned(None if failure or self.error else self.result)
        super().settle(failure)


class PendingRead(PendingCall):
    """A read."""

    def __init__(self, read: Read[Any], first_rows: int | None) -> None:
        super().__init__(inf)
        self._read = read
        self._first_rows = first_rows

    def run(self, view: DatabaseView) -> None:
        """Evaluate it on what is there."""
        self.error = None
        try:
            self.result = evaluate(self._read, lambda table: self._source(view, table))
        except Exception as error:
            self.error = error

    def settle(self, failure: BaseException | None = None) -> None:
        """Give the outcome to the caller; what rows say is read only now."""
        if not self.future.done() and failure is None and self.error is None:
            try:
                self.result = finish(self._read, self.result)
            except Exception as error:
                self.error = error
        super().settle(failure)

    def _source(self, view: DatabaseView, table: Table[Any]) -> Any:
        source = view.table(table)
        source.first_rows = self._first_rows
        return source
