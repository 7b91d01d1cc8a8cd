"""Calls in flight: reads and writes, each with the future of its result."""

import asyncio
from collections.abc import Sequence
from math import inf
from typing import Any

from swarm_persistence.engines.delivery import OnAbandoned
from swarm_persistence.engines.reads import FirstOfEach, Get, IsAny, LastSequence, Page, Read, Select, Sizes, Values
from swarm_persistence.engines.rows.changes import Changes, CompiledStep
from swarm_persistence.engines.rows.evaluator import access_path_of
from swarm_persistence.engines.rows.indexeddb.fetched_table import FIRST_ROWS
from swarm_persistence.engines.rows.indexeddb.view import DatabaseView
from swarm_persistence.engines.rows.reading import evaluate, finish
from swarm_persistence.engines.steps import Step
from swarm_persistence.query.query import FromNow, Query, Subquery
from swarm_persistence.schema.tables import Table


class PendingCall:
    """One call of the engine. The caller gets its outcome only when it is settled."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.result: Any = None
        self.error: Exception | None = None

    def settle(self, failure: BaseException | None = None) -> None:
        """Set the caller's future to the outcome, unless the caller was cancelled."""
        if self.future.done():
            return
        error = failure or self.error
        if error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(error)


class PendingWrite(PendingCall):
    """The steps of one write."""

    def __init__(
        self,
        deadline: float,
        steps: Sequence[Step],
        compiled: Sequence[CompiledStep],
        on_abandoned: OnAbandoned | None = None,
    ) -> None:
        super().__init__(deadline)
        self._on_abandoned = on_abandoned
        self.steps = steps
        self.compiled = compiled
        self.max_batch_size: float = inf
        """The largest batch it may run in: a batch that is too large for the remaining space is halved."""
        self.is_counted = True
        """Whether its commit is counted, which takes space."""

    def run(self, changes: Changes) -> None:
        """Run all of the steps or none of them on the fetched rows."""
        self.error = None
        try:
            self.result = changes.run(self.compiled)
        except Exception as error:
            self.error = error

    def settle(self, failure: BaseException | None = None) -> None:
        """Set the caller's future to the outcome, or call `on_abandoned` if the caller was cancelled."""
        if self.future.done() and self._on_abandoned is not None:
            self._on_abandoned(None if failure or self.error else self.result)
        super().settle(failure)


class PendingRead(PendingCall):
    """One read."""

    def __init__(self, read: Read[Any]) -> None:
        super().__init__(inf)
        self._read = read
        self._first_rows = _first_rows(read)

    def run(self, view: DatabaseView) -> None:
        """Evaluate the read on the fetched rows."""
        self.error = None
        if isinstance(self._read, LastSequence) and self._read.before is None:
            view.want_state()
        try:
            self.result = evaluate(self._read, lambda table: self._source(view, table))
        except Exception as error:
            self.error = error

    def settle(self, failure: BaseException | None = None) -> None:
        """Set the caller's future to the outcome; rows are decoded only now."""
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


def _first_rows(read: Read[Any]) -> int | None:
    """Return how many rows of its access path to fetch first; `None` for all."""
    match read:
        case Get() | FirstOfEach() | IsAny():
            return FIRST_ROWS
        case Select(query) | Page(query) | Values(query) | Sizes(query):
            return _rows_needed(query)
    return None


def _rows_needed(query: Query[Any]) -> int | None:
    """Return how many rows of its access path a query needs at least; `None` if it needs all."""
    if any(isinstance(condition.value, FromNow | Subquery) for condition in query.conditions):
        return FIRST_ROWS
    path = access_path_of(query)
    if query.limit is None or not path.is_sorted:
        return None
    end = query.offset + query.limit
    return max(end, FIRST_ROWS) if path.residual else max(end, 1)
