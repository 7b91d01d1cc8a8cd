"""The checks of `doctor` on a PostgreSQL server: release, settings, connections, and blocking sessions."""

import time
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from typing import Any

from swarm_persistence.cli.finding import Finding, advice, ok, wrong
from swarm_persistence.engines.sql.postgres.connection import Connection
from swarm_persistence.engines.sql.postgres.headroom import limits_of


def _set(name: str, setting: str) -> str:
    return f"run: ALTER SYSTEM SET {name} = {setting}; then: SELECT pg_reload_conf()"


_LAST_DAYS = {
    13: date(2025, 11, 13),
    14: date(2026, 11, 12),
    15: date(2027, 11, 11),
    16: date(2028, 11, 9),
    17: date(2029, 11, 8),
    18: date(2030, 11, 14),
}
"""When each major version gets its last fixes: https://www.postgresql.org/support/versioning/."""

_DANGERS = {
    ("fsync", "off"): "a crash of the machine can destroy the whole database, not only its last transactions",
    ("full_page_writes", "off"): "a crash while a page is written can damage it for good",
    ("zero_damaged_pages", "on"): "damaged pages are emptied silently instead of reported",
    ("ignore_checksum_failure", "on"): "damaged pages are read as if they were sound",
}
_WEAKNESSES = {
    ("data_checksums", "off"): (
        "corruption by the disk goes undetected",
        "stop the server and run pg_checksums --enable; from PostgreSQL 18 on, initdb does that by itself",
    ),
    ("autovacuum", "off"): (
        "dead rows of a queue pile up, and every claim gets slower",
        _set("autovacuum", "on"),
    ),
    ("track_counts", "off"): (
        "autovacuum has no statistics, and vacuums no table",
        _set("track_counts", "on"),
    ),
}
_SETTINGS = "SELECT name, setting FROM pg_settings WHERE name = ANY($1)"

_LARGEST_SKEW_SECONDS = 5.0

# Sessions of other databases, and VACUUM itself, do not keep dead rows of this database.
_HOLDERS = """
SELECT
  CASE backend_type
    WHEN 'walsender' THEN format('a standby with hot_standby_feedback (process %s, %s)', pid, client_addr)
    ELSE format('process %s (%s, role %s, %s)', pid, coalesce(nullif(application_name, ''), 'no application_name'),
      usename, state)
  END,
  extract(epoch FROM clock_timestamp() - xact_start)::float8,
  greatest(age(backend_xmin), age(backend_xid))::bigint,
  CASE backend_type
    WHEN 'walsender' THEN 'end the long query on the standby, or set hot_standby_feedback = off there'
    ELSE format('let it end its transaction, or SELECT pg_terminate_backend(%s)', pid)
  END
FROM pg_stat_activity
WHERE (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL)
  AND pid <> pg_backend_pid()
  AND (datname = current_database() OR datname IS NULL)
  AND pid NOT IN (SELECT pid FROM pg_stat_progress_vacuum)
UNION ALL
SELECT
  format('the prepared transaction %L of the role %s', gid, owner),
  extract(epoch FROM clock_timestamp() - prepared)::float8,
  age(transaction)::bigint,
  format('COMMIT PREPARED %L, or ROLLBACK PREPARED %L', gid, gid)
FROM pg_prepared_xacts
WHERE database = current_database()
UNION ALL
SELECT
  format('the replication slot %L (%s)', slot_name, CASE WHEN active THEN 'in use' ELSE 'not in use' END),
  NULL,
  age(xmin)::bigint,
  format('let its standby catch up, or SELECT pg_drop_replication_slot(%L)', slot_name)
FROM pg_replication_slots
WHERE xmin IS NOT NULL
ORDER BY 3 DESC
"""
_LONG_SECONDS = 300.0
_MANY_TRANSACTIONS = 1_000_000

_SEES_OTHERS = "SELECT pg_has_role(current_user, 'pg_read_all_stats', 'USAGE'), quote_ident(current_user)"

_WAITING = """
SELECT pid, coalesce(nullif(application_name, ''), 'no application_name'),
  extract(epoch FROM clock_timestamp() - query_start)::float8, pg_blocking_pids(pid)::text
FROM pg_stat_activity
WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0
ORDER BY query_start
"""
_LONG_WAIT_SECONDS = 5.0


async def examine_release(connection: Connection) -> AsyncIterator[Finding]:
    """Report the release of PostgreSQL, and whether it is still supported."""
    release = connection.driver.get_settings().server_version
    last_day = _LAST_DAYS.get(connection.driver.get_server_version().major)
    if last_day is not None and last_day < datetime.now(UTC).date():
        yield advice("server", f"PostgreSQL {release}, unsupported since {last_day}", "upgrade to a newer release")
    else:
        yield ok("server", f"PostgreSQL {release}")
    if (await connection.run("SELECT pg_is_in_recovery()"))[0][0]:
        yield ok("role of the server", "a standby: the storage reads from it, and writes nothing")


async def examine_clock(connection: Connection) -> AsyncIterator[Finding]:
    """Compare the server's clock with that of this machine."""
    before = time.time()
    ((server_time,),) = await connection.run("SELECT clock_timestamp()")
    skew = server_time / 1e6 - (before + time.time()) / 2
    if abs(skew) > _LARGEST_SKEW_SECONDS:
        yield advice(
            "clock",
            f"the server's is {abs(skew):,.0f} s {'ahead of' if skew > 0 else 'behind'} that of this machine: leases "
            "and delays use the server's clock, times that a program sets use its own",
            "synchronise both by NTP",
        )
    else:
        yield ok("clock", f"within {_LARGEST_SKEW_SECONDS:g} s of the one of this machine")


async def examine_settings(connection: Connection) -> AsyncIterator[Finding]:
    """Find settings of the server that endanger acknowledged writes or cause bloat."""
    names = sorted({name for name, _ in (*_DANGERS, *_WEAKNESSES)})
    found = {(name, setting) for name, setting in await connection.run(_SETTINGS, (names,))}
    for name, setting in sorted(found & _DANGERS.keys()):
        yield wrong("settings", f"{name} is {setting}: {_DANGERS[name, setting]}", _set(name, _other(setting)))
    for name, setting in sorted(found & _WEAKNESSES.keys()):
        detail, remedy = _WEAKNESSES[name, setting]
        yield advice("settings", f"{name} is {setting}: {detail}", remedy)
    if not found & (_DANGERS.keys() | _WEAKNESSES.keys()):
        yield ok("settings", "none that weakens durability or disables autovacuum")


async def examine_connections(connection: Connection) -> AsyncIterator[Finding]:
    """Report how many connections the server, the role and the database have left."""
    limits: list[tuple[int, int]] = await limits_of(connection)
    for most, clients in limits:
        detail = f"{clients:,} of {most:,} are in use"
        if clients > most * 0.9:
            yield advice(
                "connections",
                f"{detail}: new processes may have to wait for one",
                "raise max_connections or the CONNECTION LIMIT, lower max_connections of the storages, or put a "
                "pooler in between",
            )
        else:
            yield ok("connections", detail)


async def examine_old_snapshots(connection: Connection, long_seconds: float = _LONG_SECONDS) -> AsyncIterator[Finding]:
    """Find what keeps VACUUM from removing dead rows: old or prepared transactions, slots, standbys."""
    check = "old snapshots"
    ((sees_others, role),) = await connection.run(_SEES_OTHERS)
    if not sees_others:
        yield advice(
            check, "this role sees the transactions of its own sessions only", f"run: GRANT pg_read_all_stats TO {role}"
        )
    has_old = False
    for holder, seconds, transactions, remedy in await connection.run(_HOLDERS):
        if transactions >= _MANY_TRANSACTIONS or (seconds is not None and seconds >= long_seconds):
            has_old = True
            age = "" if seconds is None else f"for {_duration(seconds)}, "
            yield advice(
                check,
                f"{holder} keeps VACUUM from removing dead rows, {age}{transactions:,} transactions",
                remedy,
            )
    if not has_old:
        yield ok(check, f"no transaction is open for longer than {_duration(long_seconds)}")


async def examine_waits(connection: Connection, long_seconds: float = _LONG_WAIT_SECONDS) -> AsyncIterator[Finding]:
    """Find sessions that have waited long for a lock, and those that block them."""
    rows: list[Any] = [row for row in await connection.run(_WAITING) if row[2] >= long_seconds]
    for process, name, seconds, blockers in rows:
        yield advice(
            "locks",
            f"process {process} ({name}) waits for {_duration(seconds)} for the processes {blockers}",
            f"see what these do: SELECT pid, state, query FROM pg_stat_activity WHERE pid = ANY('{blockers}')",
        )
    if not rows:
        yield ok("locks", f"no session waits for one longer than {_duration(long_seconds)}")


def _other(setting: str) -> str:
    return "on" if setting == "off" else "off"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h"
