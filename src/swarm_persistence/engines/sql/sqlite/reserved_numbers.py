"""Reserves numbers durably, a block at a time, before unsynced commits assign them.

With `durability="normal"`, a power cut takes the last commits, and readers in other processes may have seen the numbers
of their events, messages and changes. If those were assigned again, a watcher would skip the records that get them.
So every number is below one that was synced before, and after a crash of the machine, numbering continues above that.
"""

import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import apsw

from swarm_persistence.engines.sql.sqlite.access import writing
from swarm_persistence.engines.sql.sqlite.numbers import CHANGES, FOLLOWED, highest_change, numbers_of, raise_numbers

BLOCK = 1_000_000
"""Numbers in a block. The next one is reserved when half of it is left: the limit for the rows of one transaction."""

NAMES = ("events", "messages", CHANGES)

_CHANGES_BETWEEN_CHECKS = 10_000
"""Rows that a connection writes before it checks the rest of the block again: other processes draw from it, too."""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_LEAST = f"""
SELECT min(
  coalesce((SELECT number FROM reserved_numbers WHERE name = 'events'), 0)
    - coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0),
  coalesce((SELECT number FROM reserved_numbers WHERE name = 'messages'), 0)
    - coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'messages'), 0),
  coalesce((SELECT number FROM reserved_numbers WHERE name = '{CHANGES}'), 0)
    - {highest_change(FOLLOWED)}
)
"""
_RESERVE = """
INSERT INTO reserved_numbers (name, number, boot) VALUES (?, ?, ?)
ON CONFLICT (name) DO UPDATE SET number = max(number, excluded.number), boot = excluded.boot
"""


class NumberReserve:
    """Keeps numbers reserved for one connection that writes."""

    def __init__(self) -> None:
        self._connection: apsw.Connection | None = None
        self._checked_at = 0

    def __call__(self, connection: apsw.Connection) -> None:
        """Reserve the next block if the present one is half used; call it outside of transactions.

        The connection syncs this one commit, and all before it.

        Raises:
            apsw.BusyError: another process kept writing.

        """
        changes = connection.total_changes()
        if connection is self._connection and changes - self._checked_at < _CHANGES_BETWEEN_CHECKS:
            return
        # Without the table, the schema was taken back, and what needs it fails by itself.
        is_there = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'reserved_numbers'").get
        if is_there and connection.execute(_LEAST).get < BLOCK // 2:
            _reserve(connection)
        self._connection, self._checked_at = connection, changes


def skip_numbers_of_another_boot(connection: apsw.Connection) -> None:
    """After a reboot, continue numbering above the reserved block, part of which may have been lost.

    Raises:
        apsw.BusyError: another process kept writing.

    """
    if not _reserved_before(connection):
        return
    with writing(connection):
        raise_numbers(connection, _reserved_before(connection))
        connection.execute("DELETE FROM reserved_numbers WHERE boot <> ?", (boot_id(),)).fetchall()


def _reserve(connection: apsw.Connection) -> None:
    connection.execute("PRAGMA synchronous = FULL").fetchall()
    try:
        with writing(connection):
            numbers, boot = numbers_of(connection), boot_id()
            connection.executemany(_RESERVE, [(name, numbers.get(name, 0) + BLOCK, boot) for name in NAMES]).fetchall()
    finally:
        connection.execute("PRAGMA synchronous = NORMAL").fetchall()


def boot_id() -> str:
    """Return a text that identifies this boot of the machine."""
    with suppress(OSError):
        return _BOOT_ID.read_text().strip()
    # The minute of the boot. A clock change looks like another boot, and skips some numbers.
    return str(round((time.time() - time.monotonic()) / 60))


def _reserved_before(connection: apsw.Connection) -> Mapping[str, int]:
    rows: Any = connection.execute("SELECT name, number FROM reserved_numbers WHERE boot <> ?", (boot_id(),)).fetchall()
    return dict(rows)
