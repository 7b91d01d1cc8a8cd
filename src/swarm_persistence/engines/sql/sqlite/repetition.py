"""Repeats the writes that can be repeated after a commit of unknown outcome: a second insert finds the first."""

from collections.abc import Sequence
from typing import Any

import apsw

from swarm_persistence.engines.sql.sqlite.conditional import WHEN
from swarm_persistence.engines.sql.sqlite.operations import Operation, Part
from swarm_persistence.engines.sql.sqlite.statements import InsertStatement, InsertUnlessStatement
from swarm_persistence.schema.tables import SEQUENCE


def is_repeatable(operation: Operation) -> bool:
    """Tell whether an operation adds records only, so that their ids and keys show whether it was done."""
    return all(_adds_by_id(part) or _adds_by_key(part) for part in operation.parts)


def stored_sequences(cursor: apsw.Cursor, parts: Sequence[Part]) -> list[int] | None:
    """Return the sequences of rows that are stored as they were to be added; `None` if one is not."""
    sequences: list[int] = []
    for statement, row in parts:
        if not isinstance(statement, InsertStatement):
            return None
        columns = ", ".join((*statement.table.names, SEQUENCE))
        found: Any = cursor.execute(f"SELECT {columns} FROM {statement.table_name} WHERE id = ?", (row[0],)).fetchall()
        if not found or found[0][:-1] != (*row,):
            return None
        sequences.append(found[0][-1])
    return sequences


def _adds_by_id(part: Part) -> bool:
    return isinstance(part[0], InsertStatement)


def _adds_by_key(part: Part) -> bool:
    statement, parameters = part
    if statement is WHEN:
        first: Any = parameters[0]
        return _adds_by_key(first)
    return isinstance(statement, InsertUnlessStatement)
