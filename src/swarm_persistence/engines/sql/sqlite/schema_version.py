"""Brings a file's schema to a version: atomic, and safe when many processes do it at once."""

from collections.abc import Sequence
from typing import Any

import apsw

from swarm_persistence.clock import from_microseconds, microseconds, now
from swarm_persistence.engines.interface import AppliedMigration, MigrationStatus
from swarm_persistence.engines.sql.sqlite.migrations import LATEST, MIGRATIONS, Migration
from swarm_persistence.errors import MigrationError

APPLICATION_ID = 0x53575250
"""`SWRP` in the file's header tells our files from another program's."""

_LOG = """
CREATE TABLE IF NOT EXISTS schema_migrations (
  version INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  applied_at INTEGER NOT NULL
) STRICT
"""


def migrate(connection: apsw.Connection, target: int = LATEST, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Take the steps to the target version in one transaction; a step that fails leaves the file as it was.

    Raises:
        MigrationError: the target is unknown, the file is newer than this code, or a step failed.

    """
    latest = migrations[-1].version
    if type(target) is not int or not 0 <= target <= latest:
        raise MigrationError(f"version {target!r} is unknown; this code knows the versions 0 to {latest}")
    if _is_at(connection, target):
        return
    connection.execute("BEGIN IMMEDIATE").fetchall()
    try:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}").fetchall()
        connection.execute(_LOG).fetchall()
        current = _current(connection, latest)
        steps = migrations[current:target] if target > current else migrations[target:current][::-1]
        for step in steps:
            _take(connection, step, is_upwards=target > current)
        connection.execute("COMMIT").fetchall()
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK").fetchall()
        raise


def status(connection: apsw.Connection) -> MigrationStatus:
    """Return where the file's schema stands."""
    rows: Any = connection.execute(
        "SELECT version, name, applied_at FROM schema_migrations ORDER BY version"
    ).fetchall()
    applied = tuple(AppliedMigration(version, name, from_microseconds(at).isoformat()) for version, name, at in rows)
    return MigrationStatus(applied[-1].version if applied else 0, LATEST, applied)


def require_known(connection: apsw.Connection, latest: int = LATEST) -> None:
    """Raise `MigrationError` if the file is newer than this code; reads only."""
    if _has_log(connection):
        _current(connection, latest)


def _is_at(connection: apsw.Connection, target: int) -> bool:
    """Tell whether there is nothing to do: a file in order is opened without a wait for the turn to write."""
    if connection.execute("PRAGMA application_id").get != APPLICATION_ID or not _has_log(connection):
        return False
    version: int = connection.execute("SELECT coalesce(max(version), 0) FROM schema_migrations").get
    return version == target


def _has_log(connection: apsw.Connection) -> bool:
    return bool(connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'schema_migrations'").get)


def _current(connection: apsw.Connection, latest: int) -> int:
    current: int = connection.execute("SELECT coalesce(max(version), 0) FROM schema_migrations").get
    if current > latest:
        raise MigrationError(
            f"{connection.filename!r} has schema version {current}, and this code knows {latest} at most; "
            "upgrade swarm-persistence (the file was left as it is)"
        )
    return current


def _take(connection: apsw.Connection, step: Migration, *, is_upwards: bool) -> None:
    try:
        for statement in step.up if is_upwards else step.down:
            connection.execute(statement).fetchall()
    except (apsw.SQLError, apsw.ConstraintError, apsw.MismatchError) as error:
        direction = "to" if is_upwards else "back from"
        raise MigrationError(f"the step {direction} version {step.version} ({step.name}) failed: {error}") from error
    if is_upwards:
        row = (step.version, step.name, microseconds(now()))
        connection.execute("INSERT INTO schema_migrations (version, name, applied_at) VALUES (?, ?, ?)", row).fetchall()
    else:
        connection.execute("DELETE FROM schema_migrations WHERE version = ?", (step.version,)).fetchall()
