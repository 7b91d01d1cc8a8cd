"""Runs reads of any number of rows in an event loop's own thread, as long as they prove short."""

import time

import apsw

from swarm_persistence.engines.sql.sqlite.execution import fetch
from swarm_persistence.engines.sql.sqlite.statements import TooLargeError
from swarm_persistence.engines.sql.statements import MOST_BYTES_IN_LOOP, TextStatement

_STEPS_BETWEEN_CHECKS = 1000
"""Instructions of SQLite's virtual machine between checks: some twenty rows."""
_SKIPPED = 64
"""How many reads of one text go to the threads after one that took long."""
_TEXTS_KEPT = 256


class BoundedReads:
    """Interrupts a read that takes long, and sends the next ones of its text to the threads for a while.

    For a short list, the round trip to a thread is a third of the time.
    """

    def __init__(self, longest_seconds: float) -> None:
        """Take how long a read may run, the decoding of its rows included."""
        self._longest_seconds = longest_seconds
        self._skipped: dict[str, int] = {}

    def is_likely_short(self, statement: TextStatement) -> bool:
        """Tell whether no read of this text has taken long lately."""
        left = self._skipped.get(statement.text, 0)
        if left:
            self._skipped[statement.text] = left - 1
        return not left

    def fetch(self, cursor: apsw.Cursor, statement: TextStatement) -> object:
        """Run a read and return its result.

        Raises:
            TooLargeError: it takes too long, or reads a large value.

        """
        connection = cursor.connection
        start = time.monotonic()
        deadline = start + self._longest_seconds / 2  # decoding the rows into records takes as long
        connection.set_progress_handler(lambda: time.monotonic() >= deadline, _STEPS_BETWEEN_CHECKS)
        longest_value = connection.limit(apsw.SQLITE_LIMIT_LENGTH, MOST_BYTES_IN_LOOP)
        try:
            result: object = fetch(cursor, statement)
        except (apsw.InterruptError, apsw.TooBigError):
            self._skip(statement)
            raise TooLargeError from None
        finally:
            connection.limit(apsw.SQLITE_LIMIT_LENGTH, longest_value)
            connection.set_progress_handler(None)
        if time.monotonic() - start > self._longest_seconds:
            self._skip(statement)
        return result

    def _skip(self, statement: TextStatement) -> None:
        if len(self._skipped) >= _TEXTS_KEPT:
            self._skipped.clear()
        self._skipped[statement.text] = _SKIPPED
