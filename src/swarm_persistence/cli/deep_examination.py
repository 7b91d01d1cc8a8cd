"""Checks that each record of an SQLite database can be read, and that records are consistent with each other."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw

from swarm_persistence.cli.finding import Finding, ok, wrong
from swarm_persistence.cli.remedies import recover, restore
from swarm_persistence.cli.repairs import examine_needs
from swarm_persistence.engines.sql.sqlite import schema_version
from swarm_persistence.engines.sql.sqlite.migrations import LATEST
from swarm_persistence.engines.sql.sqlite.read_only import opened_read_only
from swarm_persistence.engines.sql.sqlite.recovery.losses import Loss, loss_of, readable_values
from swarm_persistence.engines.sql.sqlite.recovery.shapes import Shape, shapes
from swarm_persistence.engines.sql.sqlite.recovery.source import FoundRow
from swarm_persistence.errors import SerializationError
from swarm_persistence.query.text import quoted
from swarm_persistence.schema.tables import CHANGE_NUMBER, PUBLIC_TABLES, TASKS

_MOST_NAMED = 5
_BUSY_MILLISECONDS = 5000
_SEQUENCES_BEHIND = """
    SELECT name FROM sqlite_sequence
    WHERE seq < (CASE name WHEN 'events' THEN (SELECT max(sequence) FROM events)
                           WHEN 'messages' THEN (SELECT max(sequence) FROM messages) END)
"""


def examine_records(path: Path) -> Iterator[Finding]:
    """Yield a finding for each kind of record, and for the consistency between records."""
    try:
        with opened_read_only(path, _BUSY_MILLISECONDS) as connection:
            connection.execute("BEGIN").fetchall()  # one snapshot of all tables
            yield from _examine(path, connection)
    except apsw.Error as error:
        yield wrong("records", f"the records cannot be read (SQLite: {error})", restore(path))


def _examine(path: Path, connection: apsw.Connection) -> Iterator[Finding]:
    known = shapes()
    unreadable = 0
    for table in PUBLIC_TABLES:
        # A file that was not opened since an upgrade has fewer columns, and tables.
        stored = _columns(connection, table.name)
        if not stored:
            continue
        losses, count = _read_all(connection, known[table.name], stored)
        yield _records(path, table.name, losses, count)
        unreadable += len(losses)
    if unreadable:
        yield wrong("waiting", "not checked, since some records cannot be read", restore(path))
    elif schema_version.status(connection).version == LATEST:
        yield from examine_needs(path, connection, is_deep=True)
        yield _numbers(path, connection)


def _columns(connection: apsw.Connection, table: str) -> set[str]:
    rows: Any = connection.execute("SELECT name FROM pragma_table_info(?)", (table,)).fetchall()
    return {name for (name,) in rows}


def _read_all(connection: apsw.Connection, shape: Shape, stored: set[str]) -> tuple[list[Loss], int]:
    """Decode every row of a table; return the losses and the number of rows."""
    losses: list[Loss] = []
    count = 0
    # Texts as bytes: SQLite's driver would raise its own error for one that is not UTF-8.
    known = [column for column in shape.columns if column.name in stored]
    names = [quoted(each.name) for each in known]
    columns = ", ".join(f"iif(typeof({name}) = 'text', CAST({name} AS BLOB), {name})" for name in names)
    binary = [place for place, column in enumerate(known[1:]) if column.types == (memoryview,)]
    rows: Any = connection.execute(f"SELECT {columns} FROM {shape.table}")
    for number, *values in rows:
        count += 1
        for place in binary:
            values[place] = None if values[place] is None else memoryview(values[place])
        row = FoundRow(number, [None, *values])
        try:
            readable_values(shape, row)
        except (SerializationError, ValueError) as error:
            losses.append(loss_of(shape, row, str(error)))
    return losses, count


def _records(path: Path, table: str, losses: list[Loss], count: int) -> Finding:
    if not losses:
        return ok(table, f"{count:,}, all readable")
    more = f"; and {len(losses) - _MOST_NAMED:,} more" if len(losses) > _MOST_NAMED else ""
    detail = (
        f"{len(losses):,} of {count:,} cannot be read: {'; '.join(loss.shown() for loss in losses[:_MOST_NAMED])}{more}"
    )
    return wrong(table, detail, restore(path))


def _numbers(path: Path, connection: apsw.Connection) -> Finding:
    check = "numbers"
    behind: Any = connection.execute(_SEQUENCES_BEHIND).fetchall()
    unnumbered: int = connection.execute(f"SELECT count(*) FROM {TASKS.name} WHERE {CHANGE_NUMBER} <= 0").get
    problems = [f"numbers of {name} may be assigned twice" for (name,) in behind]
    problems += [f"{unnumbered:,} tasks have no change number, so watchers miss them"] if unnumbered else []
    if problems:
        return wrong(check, "; ".join(problems), f"{recover(path)} writes a file with correct numbers")
    return ok(check, "each is assigned only once")
