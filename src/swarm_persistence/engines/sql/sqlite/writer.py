"""The writer: one thread with the one connection that writes; it serves batches in the order of their arrival."""

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

import apsw

from swarm_persistence.engines.sql.sqlite.commits import Commits
from swarm_persistence.engines.sql.sqlite.connection import Patience
from swarm_persistence.engines.sql.sqlite.mailboxes import Batch, post, refuse
from swarm_persistence.engines.sql.sqlite.operations import Action
from swarm_persistence.errors import ClosedError

LARGEST_GROUP = 1024
"""Operations in one commit: enough to share its cost, and few enough that the first need not wait for the last."""


class Writer:
    """Takes what waits, and hands it to `commits` as one."""

    commits: Commits

    def __init__(
        self,
        open_connection: Callable[[], apsw.Connection],
        patience: Patience,
        translate: Callable[[BaseException], BaseException],
    ) -> None:
        self._open_connection = open_connection
        self._patience = patience
        self._translate = translate
        self._inbox: SimpleQueue[Batch | None] = SimpleQueue()
        # A daemon: a program that forgets close() must still be able to end.
        self._thread = threading.Thread(target=self._run, name="swarm-persistence writer", daemon=True)
        self._opened = threading.Event()
        self._failure: BaseException | None = None
        self._is_over = False

    def start(self) -> None:
        """Open the connection in the writer's thread; raises what opening raises. Blocks: call it from a thread."""
        self._thread.start()
        self._opened.wait()
        if self._failure is not None:
            raise self._failure

    def send(self, batch: Batch) -> None:
        """Take a batch; its operations are answered by `post`."""
        self._inbox.put(batch)
        if self._is_over:
            self._refuse_the_rest()

    def stop(self) -> None:
        """Let the thread end once it has done what it was sent."""
        self._inbox.put(None)

    def join(self) -> None:
        """Wait for the thread's end."""
        self._thread.join()

    def _run(self) -> None:
        try:
            connection = self._open_connection()
            self.commits = Commits(connection, self._patience, self._translate)
        except BaseException as error:
            self._failure = self._translate(error)
            return
        finally:
            self._opened.set()
        try:
            while self._run_next_group():
                pass
        except BaseException as error:
            self._failure = self._translate(error)
            raise
        finally:
            connection.close()
            self._is_over = True
            self._refuse_the_rest()

    def _run_next_group(self) -> bool:
        batch = self._inbox.get()
        group: list[Batch] = []
        size = 0
        while batch is not None:
            if isinstance(batch.operations[0], Action):
                self.commits.run_group(group)
                group, size = [], 0
                self._run_action(batch)
            elif batch.take():
                group.append(batch)
                size += len(batch.operations)
            if size >= LARGEST_GROUP:
                break
            try:
                batch = self._inbox.get_nowait()
            except Empty:
                break
        self.commits.run_group(group)
        return batch is not None

    def _run_action(self, batch: Batch) -> None:
        operation = batch.operations[0]
        assert isinstance(operation, Action)
        if not batch.take():
            return
        if not operation.future.cancelled():
            try:
                operation.result = operation.action()
            except BaseException as error:
                operation.error = self._translate(error)
                self.commits.roll_back()
        has_succeeded = operation.result is not None and operation.error is None
        post([batch])
        if operation.following is not None and has_succeeded:
            operation.following()

    def _refuse_the_rest(self) -> None:
        # Whoever sends sees that it is over, or is seen here: nothing waits for ever.
        while True:
            try:
                batch = self._inbox.get_nowait()
            except Empty:
                return
            if batch is not None:
                refuse(batch, self._failure or ClosedError("the storage was closed before this call's turn came"))
