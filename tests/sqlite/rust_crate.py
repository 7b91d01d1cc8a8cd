"""Does to a file what the Rust crate `ruv-swarm-persistence` 1.0.5 does when it opens it: its own statements.

`rust_crate_schema.sql` is the crate's file `sql/schema.sql` (MIT or Apache-2.0), byte for byte; the steps are those of
its `src/migrations.rs`.
"""

from collections.abc import Callable
from pathlib import Path

import apsw

_SCHEMA = Path(__file__).with_name("rust_crate_schema.sql").read_text()
_MOST_OF_32_BITS = 2**32 - 1
_CREATE_LOG = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    version INTEGER PRIMARY KEY NOT NULL,
    name TEXT NOT NULL,
    applied_at INTEGER NOT NULL
);
"""
_STEPS = (
    (1, "initial_schema", _SCHEMA),
    (
        2,
        "add_agent_capabilities_index",
        """
        CREATE INDEX IF NOT EXISTS idx_agents_capabilities
        ON agents(json_extract(capabilities, '$'));
        """,
    ),
    (
        3,
        "add_task_dependencies_tracking",
        """
        CREATE TABLE IF NOT EXISTS task_dependencies (
            task_id TEXT NOT NULL,
            depends_on TEXT NOT NULL,
            created_at INTEGER NOT NULL,
            PRIMARY KEY (task_id, depends_on),
            FOREIGN KEY (task_id) REFERENCES tasks(id) ON DELETE CASCADE,
            FOREIGN KEY (depends_on) REFERENCES tasks(id) ON DELETE CASCADE
        );
        CREATE INDEX IF NOT EXISTS idx_task_deps_task ON task_dependencies(task_id);
        CREATE INDEX IF NOT EXISTS idx_task_deps_depends ON task_dependencies(depends_on);
        """,
    ),
    (
        4,
        "add_agent_groups",
        """
        CREATE TABLE IF NOT EXISTS agent_groups (
            id TEXT PRIMARY KEY NOT NULL,
            name TEXT NOT NULL,
            description TEXT,
            metadata TEXT NOT NULL, -- JSON
            created_at INTEGER NOT NULL,
            updated_at INTEGER NOT NULL
        );
        CREATE TABLE IF NOT EXISTS agent_group_members (
            group_id TEXT NOT NULL,
            agent_id TEXT NOT NULL,
            role TEXT,
            joined_at INTEGER NOT NULL,
            PRIMARY KEY (group_id, agent_id),
            FOREIGN KEY (group_id) REFERENCES agent_groups(id) ON DELETE CASCADE,
            FOREIGN KEY (agent_id) REFERENCES agents(id) ON DELETE CASCADE
        );
        CREATE INDEX IF NOT EXISTS idx_group_members_group ON agent_group_members(group_id);
        CREATE INDEX IF NOT EXISTS idx_group_members_agent ON agent_group_members(agent_id);
        """,
    ),
)


class CrateError(Exception):
    """The crate gives up, with an error of its own."""


def open_storage(path: Path) -> None:
    """Do what `SqliteStorage::new` does; raises `CrateError` where the crate returns an error."""
    _run(path, lambda connection: connection.execute(_SCHEMA).fetchall())


def migrate(path: Path) -> None:
    """Do what `MigrationManager::migrate` does; raises `CrateError` where the crate returns an error."""
    _run(path, _migrate)


def _migrate(connection: apsw.Connection) -> None:
    connection.execute(_CREATE_LOG).fetchall()
    version = connection.execute("SELECT MAX(version) FROM schema_migrations").get or 0
    if not 0 <= version <= _MOST_OF_32_BITS:
        raise CrateError(f"Database error: Integer {version} out of range at index 0")
    for number, name, statements in _STEPS:
        if number > version:
            with connection:
                connection.execute(statements).fetchall()
                row = (number, name, 1_700_000_000)
                connection.execute("INSERT INTO schema_migrations (version, name, applied_at) VALUES (?, ?, ?)", row)


def _run(path: Path, action: Callable[[apsw.Connection], object]) -> None:
    connection = apsw.Connection(str(path))
    try:
        connection.execute("PRAGMA busy_timeout = 5000").fetchall()
        action(connection)
    except apsw.Error as error:
        raise CrateError(str(error)) from error
    finally:
        connection.close()
