"""The examination and the repairs of `doctor` for a swarm on a PostgreSQL server."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial

import asyncpg

import swarm_persistence.backends.postgres  # noqa: F401 - says in one line if the driver is missing
from swarm_persistence.cli.finding import Finding, advice, ok, wrong
from swarm_persistence.cli.index_checks import examine_indexes
from swarm_persistence.cli.schema_checks import (
    examine_dead_rows,
    examine_dependencies,
    examine_sequences,
    repair_sequences,
)
from swarm_persistence.cli.server_checks import (
    examine_clock,
    examine_connections,
    examine_old_snapshots,
    examine_release,
    examine_settings,
    examine_waits,
)
from swarm_persistence.engines.interface import MigrationStatus
from swarm_persistence.engines.sql.postgres.change_numbers import counted
from swarm_persistence.engines.sql.postgres.connection import Connection
from swarm_persistence.engines.sql.postgres.engine import PostgresEngine
from swarm_persistence.engines.sql.postgres.migrating import Move
from swarm_persistence.engines.sql.postgres.migrations import LATEST
from swarm_persistence.engines.sql.postgres.part_attaching import detached_parts, is_being_unpartitioned
from swarm_persistence.engines.sql.postgres.settings import PostgresSettings

_PARTITIONS = "partitions"

# Schemas before version 10 have no partitions.
_HAS_PARTITIONS = "SELECT to_regclass($1) IS NOT NULL"
_PERIODS = """
SELECT table_name, period, to_char(ends_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'), has_next,
  ends_at < clock_timestamp() - interval '1 hour'
FROM {schema}.current_periods()
ORDER BY table_name
"""

Check = Callable[[Connection], AsyncIterator[Finding]]


async def examine_server(url: str, *, is_repairing: bool) -> list[Finding]:
    """Return what was repaired, then all findings.

    Raises:
        StorageError: the server cannot be reached, it holds no swarm there, or this role may not do that.

    """
    engine = PostgresEngine.of(url, PostgresSettings())
    try:
        await engine.require()
        findings = [finding async for finding in _repair(engine)] if is_repairing else []
        return [*findings, *[finding async for finding in _examine(engine)]]
    finally:
        await engine.close()


async def _repair(engine: PostgresEngine) -> AsyncIterator[Finding]:
    schema = engine.settings.schema
    if replaced := await engine.replace_foreign_changes():
        yield ok("repaired", f"change numbers: those of {counted(replaced)} were another server's")
    for table in await engine.on_a_connection(lambda connection: repair_sequences(connection, schema)):
        yield ok("repaired", f"sequences: that of the {table} was behind its table")


async def _examine(engine: PostgresEngine) -> AsyncIterator[Finding]:
    schema = engine.settings.schema
    status = await engine.migration_status()
    moves = (await engine.migration_plan(LATEST))[1] if status.version < LATEST else []
    open_step = moves[0].step if moves else None
    migrate = engine.command("migrate")
    repair = engine.command("doctor --repair")
    checks: list[tuple[str, Check]] = [
        ("server", examine_release),
        ("clock", examine_clock),
        ("settings", examine_settings),
        ("connections", examine_connections),
        ("old snapshots", examine_old_snapshots),
        ("locks", examine_waits),
        ("sequences", lambda connection: examine_sequences(connection, schema, repair)),
        ("indexes", lambda connection: examine_indexes(connection, schema, status.version, open_step, migrate)),
        ("partitions", lambda connection: examine_partitions(connection, schema, engine.command)),
        ("dead rows", lambda connection: examine_dead_rows(connection, schema)),
        ("missing_dependency", lambda connection: examine_dependencies(connection, schema)),
    ]
    yield await _pooler(engine)
    yield _schema(status, moves, migrate)
    if counts := await engine.count_foreign_changes():
        yield wrong(
            "change numbers",
            f"{counted(counts)} have numbers of another server, as after a restore of a dump: watchers miss them",
            f"run `{repair}`, or open the storage as a role that may write",
        )
    else:
        yield ok("change numbers", "all assigned by this server")
    for name, check in checks:
        for finding in await engine.on_a_connection(partial(_run, name, check)):
            yield finding


def _schema(status: MigrationStatus, moves: Sequence[Move], migrate: str) -> Finding:
    if status.version == status.latest:
        return ok("schema", f"version {status.version}, the latest")
    if status.version < status.latest:
        # Otherwise the log does not show any finished part of it.
        is_half_done = moves[0].first > 0 or not moves[0].is_upwards
        step = f"the step {'to' if moves[0].is_upwards else 'back from'} version {moves[0].step.version}"
        half = f"; {step} ({moves[0].step.name}) is half done" if is_half_done else ""
        return advice(
            "schema", f"version {status.version} of {status.latest}{half}", f"run `{migrate}` as the role that owns it"
        )
    if status.opens_from <= status.latest:
        return advice(
            "schema",
            f"version {status.version}; this code knows {status.latest}, and works on it",
            "upgrade the package",
        )
    return wrong("schema", f"version {status.version}, and this code knows {status.latest}", "upgrade the package")


async def _run(name: str, check: Check, connection: Connection) -> Sequence[Finding]:
    try:
        return [finding async for finding in check(connection)]
    except asyncpg.InsufficientPrivilegeError as error:
        ((role,),) = await connection.run("SELECT quote_ident(current_user)")
        remedy = f"run doctor as the owner of the schema, or run: GRANT pg_monitor TO {role}"
        return [advice(name, f"not examined ({error})", remedy)]


async def _pooler(engine: PostgresEngine) -> Finding:
    """Report a pooler between this process and the server, as far as two connections can detect it."""
    connector = engine.pools.connector
    deadline = time.monotonic() + engine.settings.connection_timeout
    first = await connector.open(deadline)
    try:
        second = await connector.open(deadline)
        try:
            processes = [(await connection.run("SELECT pg_backend_pid()"))[0][0] for connection in (first, second)]
        finally:
            await second.close()
    finally:
        await first.close()
    if not connector.has_pooler:
        return ok("pooler", "none, the connections lead to the server itself")
    if processes[0] == processes[1]:
        mode = "it lends one connection of the server to several clients in turn (transaction mode)"
    else:
        mode = "two clients got two connections of the server (session mode, or transaction mode with enough of them)"
    prepared = "with prepared statements" if connector.named.are_kept else "without prepared statements"
    return ok("pooler", f"{mode}; the storage works {prepared}, and looks for commits instead of listening")


async def examine_partitions(
    connection: Connection, schema: str, command: Callable[[str], str]
) -> AsyncIterator[Finding]:
    """Find overdue periods, partitions that no query reads, and tables between the two layouts.

    `command` returns a command of this package for the schema, quoted for a shell.
    """
    quoted = f'"{schema}"'
    if not (await connection.run(_HAS_PARTITIONS, (f"{quoted}.partitioned_tables",)))[0][0]:
        return
    rows = await connection.run(_PERIODS.replace("{schema}", quoted))
    is_sound = True
    for table, period, end, has_next, is_late in rows:
        async for finding in _examine_table(connection, quoted, table, period, command):
            is_sound = False
            yield finding
        if not has_next:
            is_sound = False
            yield advice(
                _PARTITIONS,
                f"{table} has no partition for the {period} from {end} UTC on: later rows go into the previous one",
                f"run: SELECT {quoted}.add_partition('{table}')",
            )
        elif is_late:
            is_sound = False
            yield advice(
                _PARTITIONS,
                f"{table}: rows still go into the {period} that ended at {end} UTC: no storage has begun the next one",
                f"run: SELECT {quoted}.begin_partition('{table}')",
            )
    if is_sound and rows:
        yield ok(_PARTITIONS, "each table has a partition for the next period, and none is detached")


async def _examine_table(
    connection: Connection, schema: str, table: str, period: str, command: Callable[[str], str]
) -> AsyncIterator[Finding]:
    if await is_being_unpartitioned(connection, schema, table):
        yield advice(
            _PARTITIONS,
            f"{table} is being converted to a plain table, or the conversion was interrupted: until it has ended, no "
            "partition is dropped, and each write is logged for the copy",
            f"if no conversion is running, run `{command('partition --by none')}` again, or "
            f"`{command(f'partition --by {period}')}` to keep the partitions",
        )
    for part, is_pending in await detached_parts(connection, schema, table):
        state = "is about to be detached" if is_pending else "is detached"
        yield wrong(
            _PARTITIONS,
            f"{part} {state} from {table}, since a drop was interrupted: no query finds its rows",
            "call storage.prune() again: it drops the partition, or attaches it again if rows have to be kept",
        )
