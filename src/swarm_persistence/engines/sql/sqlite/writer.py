"""The one connection that writes: whichever thread leads runs the batches that wait, in the order of their arrival."""

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import apsw

from swarm_persistence.engines.sql.sqlite.connection import BusyHandler
from swarm_persistence.engines.sql.sqlite.group_commit import GroupCommit
from swarm_persistence.engines.sql.sqlite.log_notices import LogNotices, PollFinding
from swarm_persistence.engines.sql.sqlite.statements import MOST_ROWS
from swarm_persistence.engines.sql.sqlite.submit import Action, Batch, answer, refuse
from swarm_persistence.engines.sql.sqlite.writer_connection import FileIdentity
from swarm_persistence.engines.watches import Watches
from swarm_persistence.errors import ClosedError, StorageError

_POLL_SECONDS = 0.02
"""How often the writer polls for other processes' commits while there is a watch."""
_RARE_POLL_SECONDS = 0.04
"""How often it does so beside the notices of writes to the log."""
_LONGEST_WAIT_SECONDS = 1.0
"""How long a notice waits for its poll: an open transaction keeps the writer from it."""

LARGEST_GROUP = MOST_ROWS
"""Operations in one commit: enough to share its cost, and few enough that the first need not wait for the last."""


class _Poll:
    """Asks the writer to poll for other processes' commits."""

    def __init__(self, *, is_first: bool) -> None:
        self.is_first = is_first
        self.finding = PollFinding.NOTHING
        self.is_done = threading.Event()


class Writer:
    """Takes the batches that wait, and runs them as one group: in its own thread, or in that of a caller.

    A caller's thread leads if no other does at that moment, and ends with its own batch. The rest is left to the
    writer's thread, and so is all that may have to wait, for a transaction's caller or another process.
    """

    commits: GroupCommit

    def __init__(
        self,
        open_connection: Callable[[bool], apsw.Connection],
        identity: FileIdentity,
        busy_handler: BusyHandler,
        translate: Callable[[BaseException], BaseException],
        watches: Watches,
        *,
        log: str,
        wait_for_readers: Callable[[], None],
        reserve: Callable[[apsw.Connection], None] | None,
    ) -> None:
        """Take the path of the log, and what the connection needs; nothing is opened before `start`."""
        self._notices = LogNotices(log, self._poll_soon, lambda: not watches.is_empty)
        self._reserve = reserve
        self._wait_for_readers = wait_for_readers
        self._watches = watches
        self._data_version: int | None = None
        self._own_changes = 0
        self._polled_at = 0.0
        self._has_failed_to_poll = False
        self._open_connection = open_connection
        self._identity = identity
        self._busy_handler = busy_handler
        self._translate = translate
        self._inbox: deque[Batch | _Poll | None] = deque()
        # Held by the thread that leads: it uses the connection, and takes from the inbox.
        self._lead = threading.Lock()
        self._wake = threading.Lock()
        self._wake.acquire()
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
        """Take a batch; its operations are answered by `answer`."""
        self._put(batch)
        if self._is_over:
            self._refuse_the_rest()

    def lead(self, batch: Batch) -> None:
        """Take a batch, and run it in the calling thread if no thread leads at this moment."""
        # Mostly nothing else waits: then the batch is a group of its own, and is not looked for in the inbox.
        is_alone = not self._inbox and self._lead.acquire(blocking=False)
        if not is_alone:
            self._inbox.append(batch)
            if not self._lead.acquire(blocking=False):
                # The leader looks again after it has let go.
                if self._is_over:
                    self._refuse_the_rest()
                return
        try:
            if is_alone:
                batch.taken.acquire(blocking=False)
                if self.commits.run_group([batch], is_patient=False):
                    batch.taken.release()
                    self._inbox.appendleft(batch)
            else:
                while not batch.is_done and self._run_group(is_patient=False):
                    pass
        finally:
            self._lead.release()
        if self._inbox:
            self._put()

    def poll(self) -> None:
        """Wake the watches if another process has committed; runs in the writer's thread."""
        if not self._watches.is_empty:
            self._poll()

    def watch(self) -> None:
        """Start to poll for other processes' commits, for as long as there is a watch."""
        self._notices.start()
        self._put(_Poll(is_first=True))

    def stop(self) -> None:
        """Let the thread end after the batches that it was sent."""
        self._notices.close()
        self._put(None)

    def join(self) -> None:
        """Wait for the thread's end."""
        self._thread.join()

    def _run(self) -> None:
        try:
            self.commits = GroupCommit(
                self._open_connection,
                self._identity,
                self._busy_handler,
                self._translate,
                self._watches,
                reserve=self._reserve,
            )
        except BaseException as error:
            self._failure = self._translate(error)
            return
        finally:
            self._opened.set()
        try:
            self._lead_until_stopped()
        except BaseException as error:
            self._failure = self._translate(error)
            raise
        finally:
            self._is_over = True
            self._refuse_the_rest()
            # The last connection to close removes the log, and a reader that opens one then would miss it.
            self._wait_for_readers()
            self.commits.close()

    def _put(self, *items: Batch | _Poll | None) -> None:
        """Add to the inbox, and wake the writer's thread."""
        self._inbox += items
        if self._wake.locked():
            with suppress(RuntimeError):  # another thread was quicker
                self._wake.release()

    def _lead_until_stopped(self) -> None:
        """Lead whenever there is something to do. Returns as the leader, so that no other thread ever leads again."""
        while True:
            if not self._inbox:
                self._wake.acquire(timeout=-1 if self._watches.is_empty else self._poll_seconds)
            self._lead.acquire()
            while self._inbox:
                if not self._run_group(is_patient=True) and not self._run_other():
                    return
                if not self._watches.is_empty:
                    self._poll_if_due()
            if not self._watches.is_empty:
                self._poll_if_due()
            self._lead.release()

    def _poll_if_due(self) -> None:
        if time.monotonic() - self._polled_at >= self._poll_seconds:
            self._poll()

    def _run_other(self) -> bool:
        """Run what stands next in the inbox and belongs to no group; `False` if that is the end."""
        item = self._inbox.popleft()
        if item is None:
            return False
        if isinstance(item, Batch):
            self._run_action(item)
        else:
            item.finding = self._poll(is_first=item.is_first)
            item.is_done.set()
        return True

    def _run_group(self, *, is_patient: bool) -> bool:
        """Run the batches that stand next as one group; `False` if something else is next, or it would have to wait."""
        group: list[Batch] = []
        size = 0
        is_other_next = True
        while self._inbox and size < LARGEST_GROUP:
            batch = self._inbox[0]
            if not isinstance(batch, Batch) or isinstance(batch.operations[0], Action):
                break
            self._inbox.popleft()
            is_other_next = False
            if batch.taken.acquire(blocking=False):
                group.append(batch)
                size += len(batch.operations)
        rest = self.commits.run_group(group, is_patient=is_patient)
        for batch in reversed(rest):
            batch.taken.release()
            self._inbox.appendleft(batch)
        return not (is_other_next or rest)

    @property
    def _poll_seconds(self) -> float:
        return _RARE_POLL_SECONDS if self._notices.is_active else _POLL_SECONDS

    def _poll_soon(self) -> PollFinding:
        """Let the writer's thread poll, and return what it has found; runs in another thread."""
        poll = _Poll(is_first=False)
        self._put(poll)
        poll.is_done.wait(_LONGEST_WAIT_SECONDS)
        return poll.finding

    def _poll(self, is_first: bool = False) -> PollFinding:
        """Wake the watches if another process has committed: only that changes the `data_version` of this connection.

        The first poll wakes them anyway: a commit between their own read and this poll would be missed. After a failed
        poll, they are woken once, so that their own reads raise the error.
        """
        self._polled_at = time.monotonic()
        try:
            self.commits.prepare()
            rows: Any = self.commits.cursor.execute("PRAGMA data_version").fetchall()
        except (StorageError, apsw.Error) as error:
            self.commits.translate(error)
            must_ring, self._has_failed_to_poll, self._data_version = not self._has_failed_to_poll, True, None
        else:
            number: int = rows[0][0]
            must_ring, self._has_failed_to_poll, self._data_version = number != self._data_version, False, number
        if must_ring or is_first:
            self._watches.ring()
        own_changes, self._own_changes = self._own_changes, self.commits.connection.total_changes()
        if must_ring:
            return PollFinding.FOREIGN_COMMIT
        return PollFinding.NOTHING if own_changes == self._own_changes else PollFinding.OWN_WRITE

    def _run_action(self, batch: Batch) -> None:
        operation = batch.operations[0]
        assert isinstance(operation, Action)
        if not batch.taken.acquire(blocking=False):
            return
        if not operation.future.cancelled():
            try:
                self.commits.prepare()
                operation.result = operation.action()
            except BaseException as error:
                operation.error = self.commits.translate(error)
                self.commits.roll_back()
        has_succeeded = operation.result is not None and operation.error is None
        answer([batch])
        if operation.following is not None and has_succeeded:
            operation.following()

    def _refuse_the_rest(self) -> None:
        # A sender either sees `_is_over`, or has its batch refused here: none waits forever.
        while True:
            try:
                batch = self._inbox.popleft()
            except IndexError:
                return
            if isinstance(batch, Batch):
                refuse(batch, self._failure or ClosedError("the storage was closed before this call's turn came"))
