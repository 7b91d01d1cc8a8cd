"""Reads a row as a record, or explains why that fails."""

from typing import Any

from swarm_persistence.engines.sql.sqlite.recovery.cells import Value
from swarm_persistence.engines.sql.sqlite.recovery.losses import Loss
from swarm_persistence.engines.sql.sqlite.recovery.shapes import Shape
from swarm_persistence.engines.sql.sqlite.recovery.source import FoundRow
from swarm_persistence.schema.codec import codec_of
from swarm_persistence.schema.tables import TABLES

_RECORDS = {table.name: table for table in TABLES}


def readable_values(shape: Shape, row: FoundRow) -> dict[str, Any]:
    """Return a row's values by their columns, with the defaults of those that were added since it was written.

    Raises:
        ValueError: a text is not UTF-8, or the row does not have the form of its table's.
        SerializationError: the values do not form a record.

    """
    if row.reason is not None:
        raise ValueError(row.reason)
    values: dict[str, Any] = {column.name: column.default for column in shape.columns}
    for column, value in zip(shape.columns, row.values, strict=False):
        values[column.name] = row.rowid if column.is_rowid else _readable(column.name, value)
    table = _RECORDS[shape.table]
    codec_of(table.model).decode([values[name] for name in table.positions])
    return values


def loss_of(shape: Shape, row: FoundRow, reason: str) -> Loss:
    """Return the loss of a row, with the values that can still be read."""
    names = [column.name for column in shape.columns] + [f"column {place}" for place in range(len(row.values))]
    shown = {name: _shown(value) for name, value in zip(names, row.values, strict=False)}
    id = shown.get("id")
    return Loss(shape.table, reason, row.rowid, id if isinstance(id, str) else None, shown or None)


def _readable(column: str, value: Value) -> Any:
    if isinstance(value, memoryview):
        return bytes(value)
    if not isinstance(value, bytes):
        return value
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{column} holds bytes that are not UTF-8: {error.reason} at {error.start}") from error
    if "\0" in text:
        raise ValueError(f"{column} holds a NUL character")
    return text


def _shown(value: Value) -> Any:
    if isinstance(value, bytes | memoryview):
        return bytes(value).decode(errors="backslashreplace")
    return value
