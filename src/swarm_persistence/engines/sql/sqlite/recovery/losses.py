"""The losses of a recovery, as lines of a file beside the new database; a row that cannot be read is one."""

from typing import Any

import msgspec

from swarm_persistence.engines.sql.sqlite.recovery.cells import Value
from swarm_persistence.engines.sql.sqlite.recovery.shapes import Shape
from swarm_persistence.engines.sql.sqlite.recovery.source import FoundRow
from swarm_persistence.schema.codec import codec_of
from swarm_persistence.schema.tables import TABLES


class Loss(msgspec.Struct, frozen=True, omit_defaults=True):
    """A row, or an unknown number of rows, that could not be read."""

    table: str
    reason: str
    rowid: int | None = None
    id: str | None = None
    columns: dict[str, Any] | None = None
    """The values of the row that can still be read; bytes that are not UTF-8 are shown as `\\xNN`."""
    after_rowid: int | None = None
    """The row or rows came after this one, …"""
    last_rowid: int | None = None
    """… up to this one."""

    def shown(self) -> str:
        """Return it as one line, without the row's values."""
        if self.after_rowid is None:
            return f"{self.table}, row {self.rowid}{'' if self.id is None else f', id {self.id!r}'}: {self.reason}"
        is_first, is_last = self.after_rowid == -(2**63), self.last_rowid == 2**63 - 1
        begin, end = "the first" if is_first else self.after_rowid + 1, "the last" if is_last else self.last_rowid
        return f"{self.table}, an unknown number of rows from {begin} to {end}: {self.reason}"


class TableOutcome(msgspec.Struct):
    """The outcome for one table's rows."""

    table: str
    recovered: int = 0
    lost: int = 0
    """Rows that are known to be lost."""
    gaps: int = 0
    """Places where an unknown number of rows may be lost."""
    uncertain: int = 0
    """Recovered rows that may have been deleted, or changed, before the damage."""


class RecoveryOutcome(msgspec.Struct, frozen=True):
    """What a recovery has restored and lost."""

    tables: tuple[TableOutcome, ...]
    losses: tuple[Loss, ...]
    notes: tuple[str, ...]

    @property
    def is_complete(self) -> bool:
        """Whether nothing is known or suspected to be lost."""
        return not self.losses and not self.notes


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
