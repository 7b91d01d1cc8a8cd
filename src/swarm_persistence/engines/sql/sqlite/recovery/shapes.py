"""The shapes of our tables' rows, by which pages that no tree leads to are assigned to a table."""

from collections.abc import Iterator, Sequence
from typing import Any

import apsw
import msgspec

from swarm_persistence.engines.sql.sqlite import schema_version
from swarm_persistence.engines.sql.sqlite.recovery.cells import Value

SCHEMA = "sqlite_schema"
NUMBERS = "sqlite_sequence"
"""SQLite's own table of the highest sequences ever assigned."""

_TYPES: dict[str, tuple[type, ...]] = {
    "TEXT": (bytes,),
    "INTEGER": (int,),
    "INT": (int,),
    "REAL": (int, float),
    "BLOB": (memoryview,),
}


class ShapeColumn(msgspec.Struct, frozen=True):
    """A column, and the values that a row may hold in it."""

    name: str
    types: tuple[type, ...]
    is_nullable: bool
    default: str | int | None
    is_rowid: bool = False


class Shape(msgspec.Struct, frozen=True):
    """A table, and the values that its rows can hold."""

    table: str
    columns: tuple[ShapeColumn, ...]
    id_index: str
    """The index that leads from ids to rows."""
    indexes: dict[str, tuple[int, ...]]
    """The positions of each index's columns in a row, -2 for an expression."""

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names."""
        return tuple(column.name for column in self.columns)

    @property
    def fewest(self) -> int:
        """The columns that the oldest rows have: the later ones were added with a default."""
        needed = [not column.is_nullable and column.default is None for column in self.columns]
        return max((place for place, is_needed in enumerate(needed, 1) if is_needed), default=1)

    def matches(self, values: Sequence[Value]) -> bool:
        """Tell whether this can be a row of the table."""
        if not self.fewest <= len(values) <= len(self.columns):
            return False
        return all(_fits(column, value) for column, value in zip(self.columns, values, strict=False))


def _fits(column: ShapeColumn, value: Value) -> bool:
    if column.is_rowid:
        return value is None or isinstance(value, int)  # SQLite stores null in its place, and ignores it
    return column.is_nullable if value is None else isinstance(value, column.types)


def shapes() -> dict[str, Shape]:
    """Return the shapes of the tables of the latest schema by name, including SQLite's own two.

    Older schemas have fewer columns: migrations have only ever appended columns.
    """
    model = apsw.Connection(":memory:")
    try:
        schema_version.migrate(model)
        rows: Any = model.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
        names = [name for (name,) in rows]
        return {name: _shape(model, name) for name in (SCHEMA, *names)}
    finally:
        model.close()


def _shape(model: apsw.Connection, table: str) -> Shape:
    rows: Any = model.execute('SELECT name, type, "notnull", dflt_value, pk FROM pragma_table_info(?)', (table,))
    columns = tuple(
        ShapeColumn(
            name,
            # SQLite's own tables name no types for some columns.
            _TYPES.get(kind, (bytes, int)),
            is_nullable=not not_null and not key,
            default=_default(default),
            is_rowid=bool(key) and kind == "INTEGER",
        )
        for name, kind, not_null, default, key in rows.fetchall()
    )
    return Shape(table, columns, f"sqlite_autoindex_{table}_1", dict(_indexes(model, table)))


def _indexes(model: apsw.Connection, table: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    names: Any = model.execute("SELECT name FROM pragma_index_list(?)", (table,)).fetchall()
    for (name,) in names:
        rows: Any = model.execute("SELECT cid FROM pragma_index_xinfo(?) WHERE key", (name,)).fetchall()
        yield name, tuple(position for (position,) in rows)


def _default(text: str | None) -> str | int | None:
    if text is None or not text.lstrip("-").isdigit():
        return None if text is None else text.strip("'")
    return int(text)
