"""Watches the connections that SQLite opens, and the statements that run on them."""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import apsw
import pytest

from swarm_persistence.engines.sql.sqlite.bounded_reads import BoundedReads


class Watch:
    """What was seen, while its block was open."""

    def __init__(self) -> None:
        self.connections: list[weakref.ref[apsw.Connection]] = []
        self.statements: list[str] = []

    @property
    def writer(self) -> apsw.Connection:
        """Return the connection that writes. Use it only while nothing runs on it."""
        (writer,) = (each for each in self.opened if not each.execute("PRAGMA query_only").get)
        return writer

    @property
    def readers(self) -> list[apsw.Connection]:
        """Return the connections that read only. Use them only while nothing runs on them."""
        return [each for each in self.opened if each.execute("PRAGMA query_only").get]

    @property
    def opened(self) -> list[apsw.Connection]:
        """Return the connections that are in use now."""
        return [connection for each in self.connections if (connection := each()) is not None]

    def forget_statements(self) -> None:
        """Start to watch statements anew."""
        self.statements.clear()

    def count(self, beginning: str) -> int:
        """Return how many statements began like this."""
        return sum(statement.startswith(beginning) for statement in self.statements)

    def _meet(self, connection: apsw.Connection) -> None:
        self.connections.append(weakref.ref(connection))
        connection.set_exec_trace(self._hear)

    def _hear(self, _cursor: apsw.Cursor, statement: str, _values: object) -> bool:
        self.statements.append(statement)
        return True


@contextmanager
def watching() -> Iterator[Watch]:
    """Watch every connection that is opened within the block.

    Lists go to the threads meanwhile: one that a busy machine has stopped in the event loop's would be seen twice.
    """
    watch = Watch()
    apsw.connection_hooks.append(watch._meet)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(BoundedReads, "is_likely_short", lambda *_: False)
            yield watch
    finally:
        apsw.connection_hooks.remove(watch._meet)
