"""Translates violations of unique constraints into the errors that callers get."""

import re
from collections.abc import Sequence
from typing import Any

import asyncpg

from swarm_persistence.engines.sql.postgres.failures import OvertakenError, conflict, stale_sequence
from swarm_persistence.engines.sql.postgres.statements import Values
from swarm_persistence.errors import ConflictError, DatabaseError, with_cause
from swarm_persistence.schema.tables import Table

_OF_PARTITION = re.compile(r"_p\d+(?=_)")


def constraint_of(table: Table[Any], error: asyncpg.UniqueViolationError) -> str:
    """Return the name of a violated constraint; that of a partition is mapped to the table's."""
    name = (error.constraint_name or "").removeprefix(table.name)
    return table.name + _OF_PARTITION.sub("", name, count=1)


def index_of(table: Table[Any], field: str) -> str:
    """Return the name of the index in which a field's values are unique."""
    return next(index.name for index in table.indexes if index.is_unique and index.columns == (field,))


def overtaken(table: Table[Any], error: asyncpg.UniqueViolationError) -> OvertakenError:
    """Return the error for a record that another transaction has added at the same time."""
    return with_cause(OvertakenError(f"another transaction has added the same {table.label} at the same time"), error)


def refused(table: Table[Any], error: asyncpg.UniqueViolationError, rows: Sequence[Values]) -> DatabaseError:
    """Return the error for rows whose sequence, key or id is already taken."""
    constraint = constraint_of(table, error)
    if constraint == f"{table.name}_pkey":
        return stale_sequence(table.name, error)
    for index in table.indexes:
        if index.is_unique and index.name == constraint:
            message = f"another {table.label} has this {index.columns[0]}; nothing was written"
            return with_cause(ConflictError(message), error)
    # The server names the id in a sentence in its own language: find which of ours it contains.
    ids = sorted((str(row[0]) for row in rows), key=len, reverse=True)
    detail = error.detail or ""
    identity = next((id for id in ids if f"({id})" in detail), ids[0])
    return conflict(table.label, identity, error)
