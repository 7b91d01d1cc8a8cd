"""Version 3: the log of migrations has a name of its own, and views stop programs that mistake the file for theirs.

Many programs log their migrations in a table `schema_migrations`, the Rust crate `ruv-swarm-persistence` among them: it
mistook our log for its own, and added its tables and versions.

Processes with code of version 2 that have the file open keep working, as no table of records changes. They can no
longer change its schema or open it again: to them, the file is too new.
"""

NO_VERSION_OF_OURS = 9_999_999_999
"""The version that the view shows: newer than any that older releases know, and above the crate's 32 bits."""

_COLUMNS = """(
  version INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  applied_at INTEGER NOT NULL
) STRICT
"""

CREATE_FIRST_LOG = f"CREATE TABLE schema_migrations {_COLUMNS}"
"""The log of a file before this step, and after the step is reverted."""

UP = (
    f"CREATE TABLE swarm_migrations {_COLUMNS}",
    "INSERT INTO swarm_migrations SELECT version, name, applied_at FROM schema_migrations",
    "DROP TABLE schema_migrations",
    f"""
    CREATE VIEW schema_migrations AS
    SELECT {NO_VERSION_OF_OURS} AS version, 'see swarm_migrations' AS name, 0 AS applied_at
    """,
    # Named like the first index that the crate creates: without this view, it creates nine before an error stops it.
    "DROP INDEX IF EXISTS idx_agents_status",
    "CREATE VIEW idx_agents_status AS SELECT 'stops a program that would index agents as its own' AS purpose",
)

DOWN = (
    "DROP VIEW idx_agents_status",
    "DROP VIEW schema_migrations",
    CREATE_FIRST_LOG,
    "INSERT INTO schema_migrations SELECT version, name, applied_at FROM swarm_migrations",
    "DROP TABLE swarm_migrations",
)
