"""The object stores, their version, and the upgrade of a database of an older version."""

from typing import Any

import msgspec

from swarm_persistence.clock import SystemClock
from swarm_persistence.engines.rows.indexeddb import messages
from swarm_persistence.engines.rows.indexeddb.bridge import Upgrade
from swarm_persistence.engines.rows.indexeddb.fetched_table import Request
from swarm_persistence.engines.rows.indexeddb.keys import text_keys_of
from swarm_persistence.engines.rows.indexeddb.messages import META
from swarm_persistence.engines.rows.indexeddb.stored_bytes import PIECES
from swarm_persistence.engines.rows.overlays import Difference
from swarm_persistence.engines.rows.planner import ARRIVALS, indexes_of
from swarm_persistence.errors import MigrationError
from swarm_persistence.schema.codec import Row
from swarm_persistence.schema.tables import SEQUENCE, TABLES, Column, Kind, Table
from swarm_persistence.schema.values import column_value

VERSIONS = (
    "stores",
    "order of arrival",
    "events of types",
    "documents",
    "events of tasks, priorities of messages",
    "groups and tags",
    "traces of tasks",
    "schedules, progress of tasks",
    "limits and capabilities",
    "past claims of tasks",
    "long bytes in pieces",
)
"""The change of each version. A change of the tables, their columns or indexes needs a new one."""

_ROWS_AT_ONCE = 1_000
_LARGE_ROWS_AT_ONCE = 10
"""The tables whose rows may hold megabytes."""
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
        return {
            META: [],
            PIECES: [],
            **{table.name: [index.name for index in indexes_of(table)] for table in self.tables},
        }

    def columns(self) -> dict[str, list[str]]:
        """Return the columns of each store's rows, in order."""
        return {table.name: list(table.positions) for table in self.tables}


def upgrade(schema: StoreSchema) -> Upgrade:
    """Convert the rows of an older version, inside the transaction that upgrades the database."""
    old_version, text = yield messages.fetch([_FETCH_SCHEMA])
    ((stored,),) = messages.answers_of(text)
    if old_version and stored is None:
        raise MigrationError("the database does not say which columns it has; it was changed by another program")
    old_columns, applied = ({}, []) if stored is None else stored
    moment = SystemClock().now().isoformat()
    steps = [[name, moment] for name in schema.versions[old_version:]]
    meta: dict[str, Any] = {"schema": [schema.columns(), [*applied, *steps]]}
    if not old_version:
        meta["state"] = [0, {}]
    differences: list[Difference] = []
    for table in schema.tables:
        lower, limit = None, _LARGE_ROWS_AT_ONCE if table.may_be_large else _ROWS_AT_ONCE
        while table.name in old_columns:
            request = ("range", table.name, ARRIVALS.name, lower, None, False, limit)
            _, text = yield messages.write(differences, meta, [request])
            (rows,) = messages.answers_of(text)
            converted = [_converted(table, old_columns[table.name], row) for row in rows]
            meta, differences = {}, [Difference(table, [], rows, converted)]
            if len(rows) < limit:
                break
            lower = arrival_key(table, rows[-1]) + "\0"
    return messages.write(differences, meta)


def arrival_key(table: Table[Any], row: Row) -> str:
    """Return the key of a row in the index of arrivals, which is the same in every version."""
    plain: list[Any] = [None] * (len(table.positions) - 1)
    return str(text_keys_of(table, ARRIVALS).key_of((*plain, row[-1])))


def _converted(table: Table[Any], old_columns: list[str], row: Row) -> Row:
    old = dict(zip(old_columns, row, strict=True))
    return tuple([old[name] if name in old else _default(table, name) for name in table.positions])


def _default(table: Table[Any], name: str) -> Any:
    """Return the value of a column in rows that are older than the column."""
    if name == SEQUENCE:
        raise MigrationError(f"a stored {table.label} has no sequence")
    column: Column = table.column(name)
    for field in msgspec.structs.fields(table.model):
        if field.name != name:
            continue
        if field.default is not msgspec.NODEFAULT:
            return column_value(column, field.default, f"{table.label}.{name}")
        # An empty list or dict, which each record gets for itself; other factories give an id, or the present time.
        if field.default_factory in (list, dict):
            return column_value(column, field.default_factory(), f"{table.label}.{name}")
    if column.is_nullable:
        return None
    if column.kind in (Kind.COUNT, Kind.FLAG, Kind.VERSION):
        return 0
    raise MigrationError(f"{table.label}.{name} has no default for older rows")
