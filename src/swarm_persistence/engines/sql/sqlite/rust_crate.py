"""What the Rust crate `ruv-swarm-persistence` leaves in a file that it takes for its own, and how to remove it.

Until version 3 of our schema, our log had the name of the crate's, `schema_migrations`.
"""

from collections.abc import Iterator
from typing import Any

import apsw

from swarm_persistence.engines.sql.sqlite.access import writing
from swarm_persistence.errors import DatabaseError

_LOG = "schema_migrations"
_STEPS = (
    (1, "initial_schema"),
    (2, "add_agent_capabilities_index"),
    (3, "add_task_dependencies_tracking"),
    (4, "add_agent_groups"),
)
UNUSED_TABLES = {
    "task_dependencies": "task_id, depends_on, created_at",
    "agent_group_members": "group_id, agent_id, role, joined_at",
    "agent_groups": "id, name, description, metadata, created_at, updated_at",
}
"""Tables of its own, with their columns; no code of the crate writes to them."""
_RECORDS = ("agents", "tasks", "events", "messages", "metrics")
_INDEXES = {
    "idx_agents_status": "agents(status)",
    "idx_agents_type": "agents(agent_type)",
    "idx_agents_heartbeat": "agents(heartbeat)",
    "idx_agents_capabilities": "agents(json_extract(capabilities, '$'))",
    "idx_tasks_status": "tasks(status)",
    "idx_tasks_priority": "tasks(priority DESC)",
    "idx_tasks_assigned": "tasks(assigned_to)",
    "idx_tasks_created": "tasks(created_at)",
    "idx_events_type": "events(event_type)",
    "idx_events_agent": "events(agent_id)",
}
"""Indexes on our tables, up to the first column that ours lack: writes maintain them, and queries may use them."""


def is_step(version: int, name: str) -> bool:
    """Tell whether this entry of a log of migrations is one of the crate's."""
    return (version, name) in _STEPS


def find_traces(connection: apsw.Connection) -> tuple[str, ...]:
    """Name what the crate has left in a file of ours: `table agent_groups`, `index …`, `version 3 (…)`; reads only."""
    return tuple(name for name, _ in _traces(connection))


def repair(connection: apsw.Connection) -> tuple[str, ...]:
    """Remove the crate's objects from a file of this package, in one transaction, and return their names.

    Changes no record of this package. A table of the crate that holds rows is kept, so no stored data is lost. A file
    without traces is left as it is; opening the file afterwards migrates the schema. The connection must be able to
    write and not be in a transaction, and the file must be known as ours by its application_id.

    Raises:
        DatabaseError: the five tables themselves are the crate's: there is no record of ours in the file.
        apsw.Error: SQLite failed; nothing was changed.

    """
    with writing(connection):
        if has_tables_of_the_crate(connection):
            raise DatabaseError(
                f"{connection.filename!r} holds the tables of the Rust crate ruv-swarm-persistence, and none of ours; "
                "it was left as it is"
            )
        traces = list(_traces(connection))
        for _, statement in traces:
            connection.execute(statement).fetchall()
    return tuple(name for name, _ in traces)


def _traces(connection: apsw.Connection) -> Iterator[tuple[str, str]]:
    """Yield the name of each trace, and the statement that removes it.

    Another program's own index or table of the same name, and of another form, is not a trace.
    """
    indexes: Any = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'index'").fetchall()
    for name, text in indexes:
        if name in _INDEXES and text.split() == f"CREATE INDEX {name} ON {_INDEXES[name]}".split():
            yield f"index {name}", f"DROP INDEX {name}"
    for name, columns in UNUSED_TABLES.items():
        if _columns(connection, name) == columns and _is_empty(connection, name):
            yield f"table {name}", f"DROP TABLE {name}"
    if _is_table(connection, _LOG):
        steps: Any = connection.execute(f"SELECT version, name FROM {_LOG} ORDER BY version").fetchall()
        for version, name in steps:
            if is_step(version, name):
                yield f"version {version} ({name})", f"DELETE FROM {_LOG} WHERE version = {version}"


def _columns(connection: apsw.Connection, table: str) -> str:
    rows: Any = connection.execute("SELECT name FROM pragma_table_info(?)", (table,)).fetchall()
    return ", ".join(name for (name,) in rows)


def _is_empty(connection: apsw.Connection, table: str) -> bool:
    return not connection.execute(f"SELECT EXISTS (SELECT 1 FROM {table})").get


def _is_table(connection: apsw.Connection, name: str) -> bool:
    found: Any = connection.execute("SELECT type FROM sqlite_schema WHERE name = ?", (name,)).get
    return bool(found == "table")


def has_tables_of_the_crate(connection: apsw.Connection) -> bool:
    """Tell whether the records' tables have the crate's column with the whole record."""
    return all("data" in _columns(connection, name).split(", ") for name in _RECORDS)
