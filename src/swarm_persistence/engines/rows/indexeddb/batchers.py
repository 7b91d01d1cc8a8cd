"""Runs reads and writes in batches: those of one tick, or all that wait, share a transaction, and each fails alone."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from math import inf

from swarm_persistence.engines.rows.changes import Changes
from swarm_persistence.engines.rows.indexeddb import messages
from swarm_persistence.engines.rows.indexeddb.bridge import Bridge
from swarm_persistence.engines.rows.indexeddb.exchange import Exchange, evaluated
from swarm_persistence.engines.rows.indexeddb.failures import is_quota_exceeded
from swarm_persistence.engines.rows.indexeddb.pending import PendingRead, PendingWrite
from swarm_persistence.engines.rows.indexeddb.view import DatabaseView
from swarm_persistence.engines.rows.overlays import Overlays
from swarm_persistence.engines.transaction_errors import lock_timed_out
from swarm_persistence.errors import StorageError

_MAX_STEPS = 5_000
"""Steps per transaction: enough to amortize its start, few enough that other writers are not kept waiting."""


class WriteBatcher:
    """The writes outside of callers' transactions."""

    def __init__(self, bridge: Bridge, connection_timeout: float, notify: Callable[[list[str]], None]) -> None:
        self._bridge = bridge
        self._notify = notify
        self._timeout = connection_timeout
        self._waiting: deque[PendingWrite] = deque()
        self._running: list[PendingWrite] = []
        self._lock: int | None = None
        self._is_locked = False

    @property
    def waiting(self) -> int:
        """Return the number of writes that have not started."""
        return sum(not operation.future.done() for operation in self._waiting)

    @property
    def is_running(self) -> bool:
        """Tell whether a transaction is in flight."""
        return bool(self._running)

    def submit(self, operation: PendingWrite) -> "asyncio.Future[object]":
        """Take a write, which runs with the others that wait."""
        self._waiting.append(operation)
        if self._lock is None:
            self._request_lock(self._timeout)
        elif self._is_locked and not self._running:
            self._start()
        return operation.future

    def refuse(self, reason: Exception) -> None:
        """Fail the writes that have not started. Those in flight end by themselves."""
        while self._waiting:
            self._waiting.popleft().settle(reason)

    def release_if_idle(self) -> None:
        """Release the lock now if no write needs it."""
        if self._lock is not None and self._is_locked and not self._running:
            self._bridge.unlock(self._lock)
            self._released()

    def outstanding(self) -> "list[asyncio.Future[object]]":
        """Return the futures of all writes in flight."""
        return [operation.future for operation in (*self._waiting, *self._running)]

    def _request_lock(self, seconds: float) -> None:
        # Shared: IndexedDB itself serializes writes. The lock excludes only callers' transactions.
        try:
            self._lock = self._bridge.lock(seconds, self._locked, self._released, is_exclusive=False)
        except StorageError as error:
            self.refuse(error)

    def _locked(self, is_ours: bool) -> None:
        if is_ours:
            self._is_locked = True
            self._start()
        else:
            self._lock = None
            self._fail_late_writes()

    def _released(self) -> None:
        self._lock, self._is_locked = None, False

    def _start(self) -> None:
        self._running = self._next_group()
        if not self._running:
            self.release_if_idle()
            return
        batch = _WriteBatch(self._running)

        def settled(failure: BaseException | None) -> None:
            self._finish(failure, batch)

        assert self._lock is not None
        self._bridge.write(batch.run(), settled, self._lock)

    def _next_group(self) -> list[PendingWrite]:
        group: list[PendingWrite] = []
        steps, most = 0, inf
        while self._waiting and steps < _MAX_STEPS:
            most = min(most, self._waiting[0].max_batch_size)
            if len(group) >= most:
                break
            operation = self._waiting.popleft()
            if operation.future.done():
                operation.settle()  # its caller was cancelled before it started: nothing is written
                continue
            group.append(operation)
            steps += len(operation.compiled)
        return group

    def _finish(self, failure: BaseException | None, batch: "_WriteBatch") -> None:
        operations, self._running = self._running, []
        if not (is_quota_exceeded(failure) and self._retry_in_less_space(operations, batch)):
            for operation in operations:
                operation.settle(failure)
        if failure is None:
            self._notify(batch.tables)
        else:
            self.release_if_idle()
        self._continue()

    def _retry_in_less_space(self, operations: list[PendingWrite], batch: "_WriteBatch") -> bool:
        """Queue the writes, none of which is stored, for a retry in less space; return `False` if impossible."""
        if batch.is_counted and batch.removes_only:
            for operation in operations:
                operation.is_counted = False
        elif len(operations) > 1:
            for operation in operations:
                operation.max_batch_size = len(operations) // 2
        else:
            return False
        self._waiting.extendleft(reversed(operations))
        return True

    def _continue(self) -> None:
        if not self._waiting:
            return
        if self._lock is None:
            self._request_lock(max(self._waiting[0].deadline - time.monotonic(), 0))
        else:
            self._start()

    def _fail_late_writes(self) -> None:
        now = time.monotonic()
        while self._waiting and self._waiting[0].deadline <= now + 0.001:
            self._waiting.popleft().settle(lock_timed_out("database", self._timeout))
        self._continue()


class _WriteBatch:
    def __init__(self, operations: list[PendingWrite]) -> None:
        self._operations = operations
        self._view = DatabaseView()
        self.tables: list[str] = []
        self.removes_only = False
        self.is_counted = any(operation.is_counted for operation in operations)

    def run(self) -> Exchange[str]:
        """Run all writes on the rows of one transaction, and return the message that stores their changes."""
        view = self._view
        view.want_state()
        for operation in self._operations:
            view.want(operation.steps)
        overlays = yield from evaluated(view, self._evaluate)
        differences = overlays.differences()
        self.tables = [difference.table.name for difference in differences]
        self.removes_only = messages.removes_only(differences)
        if not differences:
            return messages.NOTHING_MORE
        assert view.state is not None
        is_counted = self.is_counted or not self.removes_only
        return messages.write(differences, messages.next_state(view.state, overlays) if is_counted else {})

    def _evaluate(self) -> Overlays:
        overlays = Overlays(self._view.table)
        changes = Changes(overlays.table)
        for operation in self._operations:
            operation.run(changes)
        return overlays


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
