"""Runs the reads of one tick of the event loop in one transaction, on one snapshot."""

import asyncio

from swarm_persistence.engines.rows.indexeddb import messages
from swarm_persistence.engines.rows.indexeddb.bridge import Bridge
from swarm_persistence.engines.rows.indexeddb.exchange import Exchange, evaluated
from swarm_persistence.engines.rows.indexeddb.pending import PendingRead
from swarm_persistence.engines.rows.indexeddb.view import DatabaseView


class ReadBatcher:
    """The reads outside of transactions."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self._collected: list[PendingRead] = []
        self._running: set[_ReadBatch] = set()

    def submit(self, read: PendingRead) -> "asyncio.Future[object]":
        """Take a read, which runs with the others of this tick."""
        self._collected.append(read)
        if len(self._collected) == 1:
            asyncio.get_running_loop().call_soon(self._start)
        return read.future

    def outstanding(self) -> "list[asyncio.Future[object]]":
        """Return the futures of all reads in flight."""
        running = [read for batch in self._running for read in batch.reads]
        return [read.future for read in (*self._collected, *running)]

    def _start(self) -> None:
        reads, self._collected = [read for read in self._collected if not read.future.done()], []
        batch = _ReadBatch(reads)
        self._running.add(batch)

        def settled(failure: BaseException | None) -> None:
            self._running.discard(batch)
            if failure is not None:
                batch.fail(failure)

        self._bridge.read(batch.run(), settled)


class _ReadBatch:
    def __init__(self, reads: list[PendingRead]) -> None:
        self.reads = reads
        self._view = DatabaseView()

    def run(self) -> Exchange[str]:
        """Evaluate all reads; answer each as soon as its rows are complete."""
        yield from evaluated(self._view, self._evaluate)
        return messages.NOTHING_MORE

    def fail(self, failure: BaseException) -> None:
        """Fail the reads that have not been answered."""
        for read in self.reads:
            read.settle(failure)

    def _evaluate(self) -> None:
        for read in self.reads:
            if read.future.done():
                continue
            read.run(self._view)
            if not self._view.is_missing:
                read.settle()
