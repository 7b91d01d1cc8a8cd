"""The object stores, their version, and how a database of an older version becomes one of this."""

from collections.abc import Sequence
from typing import Any

import msgspec

from swarm_persistence.clock import SystemClock
from swarm_persistence.engines.rows.indexeddb import messages
from swarm_persistence.engines.rows.indexeddb.fetched_table import Request
from swarm_persistence.engines.rows.indexeddb.keys import every_index, text_keys_of
from swarm_persistence.engines.rows.indexeddb.messages import META, Difference
from swarm_persistence.engines.rows.planner import ARRIVALS
from swarm_persistence.errors import MigrationError
from swarm_persistence.schema.codec import Row
from swarm_persistence.schema.tables import SEQUENCE, TABLES, Column, Kind, Table
from swarm_persistence.schema.values import column_value

VERSIONS = ("stores", "order of arrival", "events of types")
"""What each version brought. A change of the tables, their columns or indexes needs a new one."""

_ROWS_AT_ONCE = 1_000
_FETCH_SCHEMA: Request = ("get", META, ["schema"])


class StoreSchema(msgspec.Struct, frozen=True):
    """The stores of one version of this code."""

    versions: tuple[str, ...] = VERSIONS
    tables: tuple[Table[Any], ...] = TABLES

    @property
    def version(self) -> int:
        """Return the version of the database."""
        return len(self.versions)

    def stores(self) -> dict[str, list[str]]:
        """Return the stores and their indexes."""
        return {META: [], **{table.name: [index.name for index in every_index(table)] for table in self.tables}}

    def columns(self) -> dict[str, list[str]]:
        """Return the columns of each store's rows, in order."""
        return {table.name: list(table.positions) for table in self.tables}


class Upgrade:
    """Brings the rows of an older version into the form of this one, inside the transaction that upgrades."""

    def __init__(self, schema: StoreSchema) -> None:
        self._schema = schema
        self._old_columns: dict[str, list[str]] | None = None
        self._applied: list[Any] = []
        self._left = list(schema.tables)
        self._last_key = ""

    def first_message(self) -> str:
        """Return what to ask for first."""
        return messages.fetch([_FETCH_SCHEMA])

    def answer(self, old_version: int, text: str) -> str:
        """Take some rows, and return them in their new form with the request for the next ones."""
        (rows,) = messages.answers_of(text)
        if self._old_columns is None:
            return self._begin(old_version, rows[0])
        table = self._left[0]
        old = self._old_columns[table.name]
        new_rows = [_converted(table, old, row) for row in rows]
        if len(rows) < _ROWS_AT_ONCE:
            del self._left[0]
        return messages.write([Difference(table, (), new_rows)], {}, self._next(rows))

    def _begin(self, old_version: int, schema: Any) -> str:
        if old_version and schema is None:
            raise MigrationError("the database does not say which columns it has; it was changed by another program")
        self._old_columns, self._applied = ({}, []) if schema is None else (schema[0], schema[1])
        moment = SystemClock().now().isoformat()
        names = self._schema.versions[old_version:]
        self._applied = [*self._applied, *[[name, moment] for name in names]]
        self._left = [table for table in self._schema.tables if table.name in self._old_columns]
        meta: dict[str, Any] = {"schema": [self._schema.columns(), self._applied]}
        if not old_version:
            meta["state"] = [0, {}]
        return messages.write((), meta, self._next(()))

    def _next(self, rows: Sequence[Row]) -> list[Request] | None:
        """Return the request for the rows that follow, of this table or of the next one."""
        if not self._left:
            return None
        table = self._left[0]
        lower = None
        if len(rows) == _ROWS_AT_ONCE:
            lower = arrival_key(table, rows[-1]) + "\0"
        return [("range", table.name, ARRIVALS.name, lower, None, False, _ROWS_AT_ONCE)]


def arrival_key(table: Table[Any], row: Row) -> str:
    """Return the key of a row's arrival, which is the same in every version."""
    plain: list[Any] = [None] * (len(table.positions) - 1)
    return str(text_keys_of(table, ARRIVALS).key_of((*plain, row[-1])))


def _converted(table: Table[Any], old_columns: list[str], row: Row) -> Row:
    old = dict(zip(old_columns, row, strict=True))
    return tuple([old[name] if name in old else _default(table, name) for name in table.positions])


def _default(table: Table[Any], name: str) -> Any:
    """Return what a column holds in rows that are older than it."""
    if name == SEQUENCE:
        raise MigrationError(f"a stored {table.label} has no sequence")
    column: Column = table.column(name)
    for field in msgspec.structs.fields(table.model):
        if field.name == name and field.default is not msgspec.NODEFAULT:
            return column_value(column, field.default, f"{table.label}.{name}")
    if column.is_nullable:
        return None
    if column.kind in (Kind.COUNT, Kind.FLAG, Kind.VERSION):
        return 0
    raise MigrationError(f"{table.label}.{name} has no default for older rows")
