"""Polls for the commits of other processes, as long as there is a watch, and wakes the watches."""

import threading
import time
from collections.abc import Callable
from typing import Any

import apsw

from swarm_persistence.engines.sql.sqlite.log_notices import LogNotices, PollFinding
from swarm_persistence.engines.sql.sqlite.writer_connection import WriterConnection
from swarm_persistence.engines.watches import Watches
from swarm_persistence.errors import StorageError

_POLL_SECONDS = 0.02
"""How often the writer polls for other processes' commits while there is a watch."""
_RARE_POLL_SECONDS = 0.25
"""How often the writer polls while log notices are active, for writes that they miss."""
_LONGEST_WAIT_SECONDS = 1.0
"""How long a notice waits for its poll, which an open transaction delays."""


class Poll:
    """Asks the writer to poll for other processes' commits."""

    def __init__(self, *, is_first: bool) -> None:
        self.is_first = is_first
        self.finding = PollFinding.NOTHING
        self.is_done = threading.Event()


class ForeignCommits:
    """Finds the commits of other processes by polls of the writer, sooner where log notices are available."""

    def __init__(self, log: str, watches: Watches, send: Callable[[Poll], None]) -> None:
        """Take the path of the log, and the function that sends a poll to the writer, which calls `run`."""
        self._notices = LogNotices(log, self._poll_soon, lambda: not watches.is_empty)
        self._watches = watches
        self._send = send
        self._data_version: int | None = None
        self._own_changes = 0
        self._polled_at = 0.0
        self._has_failed = False

    @property
    def poll_seconds(self) -> float:
        """Return how often the writer is to poll while there is a watch."""
        return _RARE_POLL_SECONDS if self._notices.is_active else _POLL_SECONDS

    def watch(self) -> None:
        """Start to poll, for as long as there is a watch."""
        self._notices.start()
        self._send(Poll(is_first=True))

    def close(self) -> None:
        """Stop watching the log."""
        self._notices.close()

    def poll_if_due(self, connection: WriterConnection) -> None:
        """Poll unless the last poll is younger than `poll_seconds`."""
        if time.monotonic() - self._polled_at >= self.poll_seconds:
            self.poll(connection)

    def run(self, poll: Poll, connection: WriterConnection) -> None:
        """Run a poll that was sent."""
        poll.finding = self.poll(connection, is_first=poll.is_first)
        poll.is_done.set()

    def poll(self, connection: WriterConnection, *, is_first: bool = False) -> PollFinding:
        """Wake the watches if another process has committed: only that changes the connection's `data_version`.

        The first poll always wakes them, or a commit between their own read and this poll would be missed. After a
        failed poll, they are woken once, so that their own reads raise the error.
        """
        self._polled_at = time.monotonic()
        try:
            connection.prepare()
            rows: Any = connection.cursor.execute("PRAGMA data_version").fetchall()
        except (StorageError, apsw.Error) as error:
            connection.translate(error)
            must_ring, self._has_failed, self._data_version = not self._has_failed, True, None
        else:
            number: int = rows[0][0]
            must_ring, self._has_failed, self._data_version = number != self._data_version, False, number
        if must_ring or is_first:
            self._watches.notify()
        own_changes, self._own_changes = self._own_changes, connection.connection.total_changes()
        if must_ring:
            return PollFinding.FOREIGN_COMMIT
        return PollFinding.NOTHING if own_changes == self._own_changes else PollFinding.OWN_WRITE

    def _poll_soon(self) -> PollFinding:
        """Let the writer poll, and return what it has found; runs in another thread."""
        poll = Poll(is_first=False)
        self._send(poll)
        poll.is_done.wait(_LONGEST_WAIT_SECONDS)
        return poll.finding
