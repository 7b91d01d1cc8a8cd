"""Lets SQLite move its log into the file more often than by default: small loads would never see it do so."""

from collections.abc import Iterator
from contextlib import contextmanager

import apsw


@contextmanager
def checkpoints_every(pages: int) -> Iterator[None]:
    """Let the connections that are opened within the block move a log of so many pages."""

    def set_up(connection: apsw.Connection) -> None:
        connection.wal_autocheckpoint(pages)

    apsw.connection_hooks.append(set_up)
    try:
        yield
    finally:
        apsw.connection_hooks.remove(set_up)
