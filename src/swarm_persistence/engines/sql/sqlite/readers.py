"""The readers: threads with a connection each, opened when needed and closed when idle."""

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

import apsw

from swarm_persistence.engines.sql.sqlite.mailboxes import Batch, post
from swarm_persistence.engines.sql.sqlite.settings import Settings


class Readers:
    """Runs batches of reads, each in one snapshot, on whichever thread is free."""

    def __init__(
        self,
        open_connection: Callable[[], apsw.Connection],
        translate: Callable[[BaseException], BaseException],
        settings: Settings,
    ) -> None:
        self._open_connection = open_connection
        self._translate = translate
        self._most = settings.max_connections - 1
        self._kept = min(settings.min_idle_connections, self._most)
        self._idle_timeout = settings.idle_timeout
        self._inbox: SimpleQueue[Batch | None] = SimpleQueue()
        self._gate = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self.active = 0

    @property
    def open(self) -> int:
        """Return how many connections are open."""
        return len(self._threads)

    def start(self) -> None:
        """Open the connections that are always kept."""
        with self._gate:
            for _ in range(self._kept):
                self._start_thread()

    def send(self, batch: Batch) -> None:
        """Take a batch; its operations are answered by `post`."""
        with self._gate:
            self._inbox.put(batch)
            idle = len(self._threads) - self.active
            if idle < self._inbox.qsize() and len(self._threads) < self._most:
                self._start_thread()

    def stop(self) -> None:
        """Let the threads end once they have done what they were sent."""
        with self._gate:
            for _ in self._threads:
                self._inbox.put(None)

    def join(self) -> None:
        """Wait for the threads' end."""
        for thread in list(self._threads):
            thread.join()

    def _start_thread(self) -> None:
        # A daemon: a program that forgets close() must still be able to end.
        thread = threading.Thread(target=self._run, name="swarm-persistence reader", daemon=True)
        self._threads.add(thread)
        thread.start()

    def _run(self) -> None:
        connection: apsw.Connection | None = None
        try:
            while (batch := self._next()) is not None:
                if batch.take():
                    try:
                        if connection is None:
                            connection = self._open_connection()
                        self._run_batch(connection, batch)
                    except BaseException as error:
                        for operation in batch.operations:
                            operation.error = operation.error or self._translate(error)
                    post([batch])
                with self._gate:
                    self.active -= 1
        finally:
            if connection is not None:
                connection.close()

    def _next(self) -> Batch | None:
        """Wait for a batch; `None` when the thread shall end, which is then no longer counted."""
        while True:
            try:
                batch = self._inbox.get(timeout=self._idle_timeout)
            except Empty:
                with self._gate:
                    if len(self._threads) <= self._kept or not self._inbox.empty():
                        continue
                    self._threads.discard(threading.current_thread())
                    return None
            with self._gate:
                if batch is None:
                    self._threads.discard(threading.current_thread())
                else:
                    self.active += 1
            return batch

    def _run_batch(self, connection: apsw.Connection, batch: Batch) -> None:
        cursor = connection.cursor()
        operations = [operation for operation in batch.operations if not operation.future.cancelled()]
        if len(operations) > 1:
            cursor.execute("BEGIN")
        try:
            for operation in operations:
                try:
                    operation.result = [statement.run(cursor, values) for statement, values in operation.parts]
                except Exception as error:
                    operation.error = self._translate(error)
        finally:
            if connection.in_transaction:
                cursor.execute("COMMIT")
