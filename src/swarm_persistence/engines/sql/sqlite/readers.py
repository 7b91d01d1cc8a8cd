"""Reader threads with a connection each, and connections for calling threads; opened on demand, closed when idle."""

import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

import apsw

from swarm_persistence.engines.sql.sqlite.batches import Batch, answer, refuse
from swarm_persistence.engines.sql.sqlite.bounded_reads import BoundedReads
from swarm_persistence.engines.sql.sqlite.connection import BusyHandler, LockWait
from swarm_persistence.engines.sql.sqlite.execution import fetch
from swarm_persistence.engines.sql.sqlite.failures import has_spoiled_connection
from swarm_persistence.engines.sql.sqlite.file_identity import FileIdentity
from swarm_persistence.engines.sql.sqlite.operations import Operation
from swarm_persistence.engines.sql.sqlite.read_turns import ReadTurns
from swarm_persistence.engines.sql.sqlite.settings import SqliteSettings
from swarm_persistence.engines.sql.sqlite.statements import TooLargeError
from swarm_persistence.engines.sql.statements import Statement, TextStatement
from swarm_persistence.errors import ClosedError, PoolError, copy_error

_Run = Callable[[apsw.Cursor, Any], Any]

_NO_WAIT = LockWait(0.0)
_USUAL_WAIT = LockWait()
"""Shared by all readers: whether one of them waits is not asked."""
_BETWEEN_GROWTHS_SECONDS = 1.0
"""How long to start no thread after one that could not open a connection."""


class PooledReader:
    """A reading connection: that of a reader thread, or one that calling threads share.

    An event loop may use that of a thread while the thread is idle.
    """

    __slots__ = ("busy_handler", "connection", "cursor", "lock", "used_at")

    def __init__(self, busy_handler: BusyHandler) -> None:
        self.lock = threading.Lock()
        self.busy_handler = busy_handler
        self.connection: apsw.Connection | None = None
        self.cursor: apsw.Cursor | None = None
        self.used_at = 0.0


class Readers:
    """Runs batches of reads, each in one snapshot, on the next free thread; or a single read in the calling thread.

    At least one connection is reserved for the threads, which run what a calling thread cannot run itself.
    """

    def __init__(
        self,
        open_connection: Callable[[BusyHandler], apsw.Connection],
        identity: FileIdentity,
        translate: Callable[[BaseException], BaseException],
        settings: SqliteSettings,
    ) -> None:
        self._open_connection = open_connection
        self._identity = identity
        self._translate = translate
        self._most = settings.max_connections - 1
        self._kept = min(settings.min_idle_connections, self._most)
        self._idle_timeout = settings.idle_timeout
        self._connection_timeout = settings.connection_timeout
        self._bounded = BoundedReads(settings.longest_stay)
        self._turns = ReadTurns()
        self._inbox: SimpleQueue[Batch | None] = SimpleQueue()
        self._lock = threading.RLock()  # a finalizer that reads may interrupt its own thread
        self._threads: set[threading.Thread] = set()
        """Also those that have ended, until another one is started: `join` waits for the last moment of each."""
        self._pooled_readers: tuple[PooledReader, ...] = ()
        self._unfinished = 0
        self._is_stopped = False
        self._next_growth = 0.0
        self._threads_open = 0
        self.lent = 0
        """How many connections calling threads use at this moment."""
        self._idle: list[PooledReader] = []
        """Idle connections for calling threads; the most recently used ones come last."""
        self._all_returned = threading.Condition(self._lock)

    @property
    def open(self) -> int:
        """Return the number of connections."""
        return self._threads_open + self.lent + len(self._idle)

    def start(self) -> None:
        """Start the threads that are kept when idle."""
        with self._lock:
            for _ in range(0 if self._is_stopped else self._kept):
                self._start_thread()

    def send(self, batch: Batch) -> None:
        """Take a batch; its operations are answered by `answer`."""
        with self._lock:
            if self._is_stopped:
                refuse(batch, ClosedError("the storage was closed before this call ran"))
                return
            self._inbox.put(batch)
            self._unfinished += 1
            may_grow = self._threads_open == 0 or self._next_growth <= time.monotonic()
            if may_grow and self._threads_open < min(self._unfinished, self._most):
                if self.open >= self._most and self._idle:
                    self._close(self._idle.pop(0))
                if self.open < self._most:
                    self._grow(batch)

    def run_in_caller(self, operation: Operation, _deadline: float) -> bool:
        """Run a read in the calling thread, if a connection is free and no lock prevents it; tell whether it ran.

        It waits neither for another process nor, beyond a short read, for another thread.
        """
        turn = self._turns.take()
        try:
            return self._try_in_caller(operation)
        finally:
            self._turns.release(turn)

    def _try_in_caller(self, operation: Operation) -> bool:
        (statement,) = operation.statements
        reader = self._borrow()
        if reader is None:
            return False
        try:
            reader.busy_handler.wait = _NO_WAIT
            self._connection_of(reader)
            return self._run_with(reader, operation, statement, fetch)
        except apsw.BusyError:
            return False
        except Exception as error:
            # A process that is out of descriptors reads on with what it has open.
            has_failed = self._threads_open == 0
            operation.error = self._failure_of(reader, error) if has_failed else None
            return has_failed
        except BaseException:
            reader.cursor = None
            raise
        finally:
            reader.busy_handler.wait = _USUAL_WAIT
            self._return(reader)

    def _borrow(self) -> PooledReader | None:
        with self._lock:
            if self._is_stopped:
                return None
            if self._idle:
                reader = self._idle.pop()
            elif self.open < self._most - (not self._threads_open):
                reader = PooledReader(BusyHandler(self._connection_timeout))
            else:
                return None
            self.lent += 1
            return reader

    def _return(self, reader: PooledReader) -> None:
        reader.used_at = time.monotonic()
        with self._lock:
            self.lent -= 1
            if reader.connection is None:
                pass
            elif self._is_stopped:
                self._close(reader)
            else:
                self._idle.append(reader)
                if self._idle[0].used_at < reader.used_at - self._idle_timeout:
                    self._close(self._idle.pop(0))
            if self._is_stopped and not self.lent:
                self._all_returned.notify_all()

    def _close(self, reader: PooledReader) -> None:
        reader.cursor = None
        if reader.connection is not None:
            self._identity.close(reader.connection)

    def run_here(self, operation: Operation) -> bool:
        """Run a short read in the calling thread, on the connection of an idle reader; return whether it is done.

        It waits neither for another process's lock nor for a thread.
        """
        (whole,) = operation.statements
        statement: Any = whole.in_loop
        run: _Run = fetch
        if statement is None:
            if not (isinstance(whole, TextStatement) and whole.may_be_short and self._bounded.is_likely_short(whole)):
                return False
            statement, run = whole, self._bounded.fetch
        for reader in self._pooled_readers:
            if reader.cursor is not None and reader.lock.acquire(blocking=False):
                try:
                    return self._run_with(reader, operation, statement, run)
                finally:
                    reader.lock.release()
        return False

    def _run_with(self, reader: PooledReader, operation: Operation, statement: Statement, run: _Run) -> bool:
        if reader.cursor is None:
            return False  # it was closed just now
        try:
            self._identity.verify_now_and_then()
            reader.busy_handler.wait = _NO_WAIT
            operation.result = run(reader.cursor, statement)
        except (apsw.BusyError, TooLargeError):
            return False
        except Exception as error:
            operation.error = self._failure_of(reader, error)
        finally:
            reader.busy_handler.wait = _USUAL_WAIT
        return True

    def _failure_of(self, reader: PooledReader, error: BaseException) -> BaseException:
        """Return the caller's error for a failure of a connection, and note if the connection must be replaced."""
        if has_spoiled_connection(error):
            reader.cursor = None
        return self._translate(error)

    def stop(self) -> None:
        """Let the threads end after the batches that they were sent."""
        with self._lock:
            self._is_stopped = True
            for _ in range(self._threads_open):
                self._inbox.put(None)
            while self._idle:
                self._close(self._idle.pop())

    def join(self) -> None:
        """Wait for the threads' end, and for the connections that calling threads use."""
        for thread in list(self._threads):
            thread.join()
        with self._lock:
            self._all_returned.wait_for(lambda: not self.lent)

    def _grow(self, batch: Batch) -> None:
        try:
            self._start_thread()
        except RuntimeError as error:
            # Out of threads: go on with those that run.
            if self._threads_open == 0:
                refuse(batch, PoolError(f"no thread could be started to read: {error}"))

    def _start_thread(self) -> None:
        # A daemon: a program that forgets close() must still be able to end.
        thread = threading.Thread(target=self._run, name="swarm-persistence reader", daemon=True)
        thread.start()
        self._threads.difference_update([other for other in self._threads if not other.is_alive()])
        self._threads.add(thread)
        self._threads_open += 1

    def _run(self) -> None:
        reader = PooledReader(BusyHandler(self._connection_timeout))
        with self._lock:
            self._pooled_readers = (*self._pooled_readers, reader)
        try:
            while (batch := self._next()) is not None:
                if reader.connection is None and self._is_left_to_others(reader, batch):
                    return
                is_ours = batch.taken.acquire(blocking=False)
                try:
                    if is_ours:
                        with reader.lock:
                            self._run_batch(reader, batch)
                except BaseException as error:
                    failure = self._failure_of(reader, error)
                    for operation in batch.operations:
                        operation.error = operation.error or copy_error(failure)
                with self._lock:
                    self._unfinished -= 1
                if is_ours:
                    answer([batch])
        finally:
            with reader.lock:
                self._close(reader)
            with self._lock:
                self._pooled_readers = tuple(other for other in self._pooled_readers if other is not reader)

    def _is_left_to_others(self, reader: PooledReader, batch: Batch) -> bool:
        """Open the connection; if that fails, return the batch to the queue if other threads have a connection.

        A process that is out of descriptors goes on with the connections it has. Then this thread is no longer counted.
        """
        try:
            with reader.lock:
                self._connection_of(reader)
        except Exception:
            with self._lock:
                if self._is_stopped or not any(other.cursor is not None for other in self._pooled_readers):
                    return False
                self._inbox.put(batch)
                self._next_growth = time.monotonic() + _BETWEEN_GROWTHS_SECONDS
                self._threads_open -= 1
            return True
        return False

    def _connection_of(self, reader: PooledReader) -> apsw.Connection:
        if reader.connection is None or reader.cursor is None:
            spoiled, reader.connection = reader.connection, self._open_connection(reader.busy_handler)
            reader.cursor = reader.connection.cursor()
            if spoiled is not None:
                self._identity.close(spoiled)
        return reader.connection

    def _next(self) -> Batch | None:
        """Wait for a batch; return `None`, and stop counting the thread, if it is to end."""
        while True:
            try:
                batch = self._inbox.get(timeout=self._idle_timeout)
            except Empty:
                with self._lock:
                    while self._idle and self._idle[0].used_at < time.monotonic() - self._idle_timeout:
                        self._close(self._idle.pop(0))
                    if self._threads_open <= self._kept or not self._inbox.empty():
                        continue
                    self._threads_open -= 1
                    return None
            if batch is None:
                with self._lock:
                    self._threads_open -= 1
            return batch

    def _run_batch(self, reader: PooledReader, batch: Batch) -> None:
        self._identity.verify_now_and_then()
        connection = self._connection_of(reader)
        cursor = connection.cursor()
        operations = [operation for operation in batch.operations if operation.is_wanted]
        if len(operations) > 1:
            cursor.execute("BEGIN")
        try:
            for operation in operations:
                try:
                    (statement,) = operation.statements
                    operation.result = fetch(cursor, statement)
                except Exception as error:
                    operation.error = self._failure_of(reader, error)
        finally:
            if connection.in_transaction:
                cursor.execute("COMMIT")
