"""The numbers that a database has given out: readers have seen them, so that none is given a second time."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import apsw

CHANGES = "change_floor"
"""The name under which `numbers_of` gives the highest number of a change."""

_HIGHEST_CHANGE = """
SELECT max((SELECT number FROM change_floor), (SELECT coalesce(max(change_number), 0) FROM tasks))
"""


def numbers_of(connection: apsw.Connection) -> Mapping[str, int]:
    """Return the highest number of each numbered table and of the changes; leaves out what is damaged."""
    numbers: dict[str, int] = {}
    tables = _tables_of(connection)
    with suppress(apsw.CorruptError, apsw.NotADBError):
        if "sqlite_sequence" in tables:
            rows: Any = connection.execute("SELECT name, seq FROM sqlite_sequence").fetchall()
            numbers.update(rows)
    with suppress(apsw.CorruptError, apsw.NotADBError):
        if CHANGES in tables:
            numbers[CHANGES] = connection.execute(_HIGHEST_CHANGE).get
    return numbers


def raise_numbers(connection: apsw.Connection, numbers: Mapping[str, int]) -> None:
    """Let tables and changes number on from these, as far as they are behind; call it within a transaction."""
    tables = _tables_of(connection)
    for name, number in numbers.items():
        if name == CHANGES and name in tables:
            connection.execute("UPDATE change_floor SET number = max(number, ?)", (number,)).fetchall()
        elif "AUTOINCREMENT" in tables.get(name, ""):
            connection.execute("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?", (number, name)).fetchall()
            if not connection.changes():
                connection.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (name, number)).fetchall()


def _tables_of(connection: apsw.Connection) -> Mapping[str, str]:
    rows = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'table'").fetchall()
    return {str(name): str(text) for name, text in rows}
