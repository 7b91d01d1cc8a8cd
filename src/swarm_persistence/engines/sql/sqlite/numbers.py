"""The numbers that a database has assigned: readers have seen them, so none may be assigned again."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import apsw

from swarm_persistence.schema.tables import TABLES

CHANGES = "change_floor"
"""The name under which `numbers_of` gives the highest number of a change."""

FOLLOWED = tuple(table.name for table in TABLES if table.is_followed)


def numbers_of(connection: apsw.Connection) -> Mapping[str, int]:
    """Return the highest number of each numbered table and of the changes; damaged tables are left out."""
    numbers: dict[str, int] = {}
    tables = _tables_of(connection)
    with suppress(apsw.CorruptError, apsw.NotADBError):
        if "sqlite_sequence" in tables:
            rows: Any = connection.execute("SELECT name, seq FROM sqlite_sequence").fetchall()
            numbers.update(rows)
    with suppress(apsw.CorruptError, apsw.NotADBError):
        if CHANGES in tables:
            # A schema of an earlier version lacks some of them.
            numbers[CHANGES] = connection.execute(
                f"SELECT {highest_change(name for name in FOLLOWED if name in tables)}"
            ).get
    return numbers


def highest_change(names: Iterable[str]) -> str:
    """Return the expression of the highest number of a change to any of these tables."""
    highest = [f"(SELECT coalesce(max(change_number), 0) FROM {name})" for name in names]
    return f"max({', '.join(('(SELECT number FROM change_floor)', *highest))})"


def raise_numbers(connection: apsw.Connection, numbers: Mapping[str, int]) -> None:
    """Advance the numbering of tables and changes to these numbers, where it is behind; call it in a transaction."""
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
