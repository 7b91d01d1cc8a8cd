"""Runs the reads of one tick together: one transaction, one snapshot."""

import asyncio

from swarm_persistence.clock import ManualClock, now, use_clock
from swarm_persistence.engines.rows.indexeddb import messages
from swarm_persistence.engines.rows.indexeddb.bridge import Bridge
from swarm_persistence.engines.rows.indexeddb.pending import PendingRead
from swarm_persistence.engines.rows.indexeddb.view import DatabaseView, Fetch
from swarm_persistence.errors import StorageError


class ReadBatcher:
    """The reads that stand in no transaction."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self._collected: list[PendingRead] = []
        self._running: set[_Batch] = set()

    def submit(self, operation: PendingRead) -> "asyncio.Future[object]":
        """Take a read; it goes with the others of this tick."""
        self._collected.append(operation)
        if len(self._collected) == 1:
            asyncio.get_running_loop().call_soon(self._start)
        return operation.future

    def outstanding(self) -> "list[asyncio.Future[object]]":
        """Return the futures of all that is on its way."""
        collected = [operation.future for operation in self._collected]
        return collected + [operation.future for batch in self._running for operation in batch.operations]

    def _start(self) -> None:
        operations, self._collected = [each for each in self._collected if not each.future.done()], []
        if not operations:
            return
        batch = _Batch(operations)
        first = batch.evaluate()
        if first == messages.NOTHING_MORE:
            return
        self._running.add(batch)

        def settled(failure: BaseException | None) -> None:
            self._running.discard(batch)
            batch.fail(failure)

        try:
            self._bridge.read(first, batch.answer, settled)
        except StorageError as error:
            settled(error)


class _Batch:
    def __init__(self, operations: list[PendingRead]) -> None:
        self.operations = operations
        self._todo = operations
        self._view = DatabaseView()
        self._fetch: Fetch
        # It stands still, or each repetition would ask for the rows of another moment.
        self._clock = ManualClock(now())

    def evaluate(self) -> str:
        """Evaluate what is left on what is there, answer what was complete, and ask for the rest."""
        todo = []
        for operation in self._todo:
            with use_clock(self._clock):
                operation.run(self._view)
            if self._view.missing:
                todo.append(operation)
            else:
                operation.settle()
        self._todo = todo
        self._fetch = self._view.fetch()
        return messages.fetch(self._fetch.requests) if self._fetch.requests else messages.NOTHING_MORE

    def answer(self, text: str) -> str:
        """Take what was fetched, and go on."""
        self._fetch.receive(messages.answers_of(text))
        return self.evaluate()

    def fail(self, failure: BaseException | None) -> None:
        """Tell those that have no answer yet."""
        if failure is not None:
            for operation in self._todo:
                operation.settle(failure)
