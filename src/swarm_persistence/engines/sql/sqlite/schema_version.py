"""Migrates a file's schema: atomically, and safely if many processes do so at once.

The header's `user_version` says from which version code may open the file: 7006 is version 7, for code of version 6 and
newer. Code before version 6 does not look at it, and refuses what is newer than itself.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import apsw

from swarm_persistence.clock import from_microseconds, microseconds, now
from swarm_persistence.engines.interface import AppliedMigration, MigrationStatus
from swarm_persistence.engines.sql.sqlite import rust_crate
from swarm_persistence.engines.sql.sqlite.access import writing
from swarm_persistence.engines.sql.sqlite.migrations import LATEST, MIGRATIONS, REQUIRED, Migration
from swarm_persistence.engines.sql.sqlite.migrations.m0003_own_log import CREATE_FIRST_LOG
from swarm_persistence.errors import MigrationError, shown

APPLICATION_ID = 0x53575250
"""`SWRP` in the file's header tells our files from another program's."""

LOG = "swarm_migrations"
LOG_BEFORE_VERSION_3 = "schema_migrations"

_VERSION_UNIT = 1000


def open_schema(connection: apsw.Connection, *, is_migrating: bool) -> None:
    """Migrate the file to the latest version, or leave it as it is if this code can work on it.

    Raises:
        MigrationError: the file is too new; or too old and not to be migrated; or as in `migrate`.

    """
    if _is_at(connection, LATEST, MIGRATIONS):
        return
    require_openable(connection)
    version = status(connection).version
    if version > LATEST:
        return
    if is_migrating:
        migrate(connection)
    elif version < REQUIRED:
        raise explain_old(connection.filename, version)


def explain_old(path: str, version: int) -> MigrationError:
    """Return the error of a file that is too old for this code, and is not to be changed."""
    has = f"has schema version {version}" if version else "holds no swarm yet"
    return MigrationError(
        f"{path!r} {has}, this code needs version {REQUIRED} or newer, and migrate=False keeps it from changing the "
        f"file; run `swarm-persistence migrate {path}`"
    )


def migrate(connection: apsw.Connection, target: int = LATEST, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Run the steps to the target version in one transaction; a step that fails leaves the file as it was.

    Raises:
        MigrationError: the target is unknown, the file is newer than this code, another program has written its own
            steps into the file's log, or a step failed.

    """
    latest = migrations[-1].version
    if type(target) is not int or not 0 <= target <= latest:
        raise MigrationError(f"version {shown(target)} is unknown; this code knows the versions 0 to {latest}")
    if _is_at(connection, target, migrations):
        return
    with writing(connection):
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}").fetchall()
        if log_of(connection) is None:
            connection.execute(CREATE_FIRST_LOG).fetchall()
        current = _current(connection, migrations)
        steps = migrations[current:target] if target > current else migrations[target:current][::-1]
        for step in steps:
            _take(connection, step, is_upwards=target > current)
        opens_from = max((step.opens_from for step in migrations[:target]), default=0)
        connection.execute(f"PRAGMA user_version = {_VERSION_UNIT * target + opens_from}").fetchall()


def status(connection: apsw.Connection) -> MigrationStatus:
    """Return the status of the file's schema, without steps that the Rust crate has logged."""
    with _snapshot(connection):
        log = log_of(connection)
        user_version: int = connection.execute("PRAGMA user_version").get
        rows: Any = () if log is None else connection.execute(f"SELECT * FROM {log} ORDER BY version").fetchall()
    applied = tuple(
        AppliedMigration(version, name, from_microseconds(at).isoformat())
        for version, name, at in rows
        if not rust_crate.is_step(version, name)
    )
    version = applied[-1].version if applied else 0
    return MigrationStatus(version, LATEST, applied, _opens_from(version, user_version))


def require_known(connection: apsw.Connection) -> None:
    """Raise `MigrationError` if the file is newer than this code, or its log is not ours alone; reads only."""
    with _snapshot(connection):
        if log_of(connection) is not None:
            _current(connection, MIGRATIONS)


def require_openable(connection: apsw.Connection) -> None:
    """Raise `MigrationError` if this code must not open the file: it is too new, or its log is not ours alone."""
    with _snapshot(connection):
        if log_of(connection) is not None and not _lets_in(connection):
            _current(connection, MIGRATIONS)


def log_of(connection: apsw.Connection) -> str | None:
    """Return the name of the table that logs the file's migrations; `None` if there is none yet."""
    names: Any = connection.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name IN (?, ?)", (LOG, LOG_BEFORE_VERSION_3)
    ).fetchall()
    return max((name for (name,) in names), default=None)


@contextmanager
def _snapshot(connection: apsw.Connection) -> Iterator[None]:
    """Read a single snapshot within the block, as another process may be renaming the log."""
    if connection.in_transaction:
        yield
        return
    connection.execute("BEGIN").fetchall()
    try:
        yield
    finally:
        connection.execute("ROLLBACK").fetchall()


def _lets_in(connection: apsw.Connection) -> bool:
    """Tell whether the file is newer, but marked as compatible, and its first steps are the known ones."""
    steps = _steps(connection)
    if [*steps[:LATEST]] != [(step.version, step.name) for step in MIGRATIONS] or len(steps) <= LATEST:
        return False
    user_version: int = connection.execute("PRAGMA user_version").get
    return _opens_from(steps[-1][0], user_version) <= LATEST


def _opens_from(version: int, user_version: int) -> int:
    """Return the oldest version whose code may open a file; its own version if the header does not state one."""
    known, opens_from = divmod(user_version, _VERSION_UNIT)
    return opens_from if known == version and opens_from else version


def _is_at(connection: apsw.Connection, target: int, migrations: Sequence[Migration]) -> bool:
    """Tell whether nothing is to be done, so that the file is opened without waiting for the write lock."""
    with _snapshot(connection):
        if connection.execute("PRAGMA application_id").get != APPLICATION_ID or log_of(connection) is None:
            return False
        return _steps(connection) == [(step.version, step.name) for step in migrations[:target]]


def _steps(connection: apsw.Connection) -> list[tuple[int, str]]:
    rows: Any = connection.execute(f"SELECT version, name FROM {log_of(connection)} ORDER BY version").fetchall()
    return list(rows)


def _current(connection: apsw.Connection, migrations: Sequence[Migration]) -> int:
    """Return the version of the file, all of whose steps are ours."""
    latest = migrations[-1].version
    names = {step.version: step.name for step in migrations}
    steps = _steps(connection)
    for version, name in steps:
        if rust_crate.is_step(version, name) or (version <= latest and name != names.get(version)):
            raise MigrationError(
                f"{connection.filename!r} has {name!r} as version {version} in its log of migrations, which is not a "
                "step of this package: another program has taken the file for its own; end that program, and run "
                "swarm-persistence doctor --repair (the file was left as it is)"
            )
    current = steps[-1][0] if steps else 0
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
    log = log_of(connection)
    if is_upwards:
        row = (step.version, step.name, microseconds(now()))
        connection.execute(f"INSERT INTO {log} (version, name, applied_at) VALUES (?, ?, ?)", row).fetchall()
    else:
        connection.execute(f"DELETE FROM {log} WHERE version = ?", (step.version,)).fetchall()
