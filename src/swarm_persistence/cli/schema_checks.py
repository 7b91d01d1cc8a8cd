"""What `doctor` says of a swarm's schema on a PostgreSQL server: sequences, indexes, dead rows."""

import re
from collections.abc import AsyncIterator, Collection
from typing import Any

from swarm_persistence.cli.finding import Finding, advice, ok, wrong
from swarm_persistence.engines.sql.postgres.link import Link
from swarm_persistence.engines.sql.postgres.maintenance import advance_sequence
from swarm_persistence.engines.sql.postgres.migrations import MIGRATIONS
from swarm_persistence.schema.tables import TABLES

_SEQUENCE = """
SELECT
  has_sequence_privilege(numbers, 'SELECT') OR has_sequence_privilege(numbers, 'USAGE'),
  coalesce(pg_sequence_last_value(numbers), 0),
  coalesce((SELECT max(sequence) FROM {table}), 0)
FROM CAST(pg_get_serial_sequence('{table}', 'sequence') AS regclass) AS numbers
"""

_INDEXES = """
SELECT found.relname, indisvalid AND indisready, pg_relation_size(found.oid), greatest(found.reltuples, 0)::float8
FROM pg_index
JOIN pg_class AS found ON found.oid = indexrelid
JOIN pg_namespace ON pg_namespace.oid = found.relnamespace
WHERE nspname = $1
ORDER BY 1
"""
_CREATE_INDEX = re.compile(
    r"\s*CREATE\s+(?P<unique>UNIQUE\s+)?INDEX\s+(?:CONCURRENTLY\s+)?(?:IF\s+NOT\s+EXISTS\s+)?(?P<name>\w+)\s+ON\s", re.I
)
_DROP_INDEX = re.compile(
    r"\s*DROP\s+INDEX\s+(?:CONCURRENTLY\s+)?(?:IF\s+EXISTS\s+)?(?:\{schema\}\.)?(?P<name>\w+)", re.I
)
_OF_PARTITION = re.compile(r"(?P<table>[a-z]+)(?P<partition>_p\d+)(?P<suffix>_\w+)")
_RENAME_INDEX = re.compile(r"\s*ALTER\s+INDEX\s+(?:\{schema\}\.)?(?P<name>\w+)\s+RENAME\s+TO\s+(?P<new>\w+)", re.I)

_TABLES = """
SELECT
  relname, n_live_tup, n_dead_tup, pg_relation_size(relid),
  EXISTS (
    SELECT FROM pg_class
    WHERE pg_class.oid = relid AND reloptions && ARRAY['autovacuum_enabled=false', 'autovacuum_enabled=off']
  ),
  (SELECT sum(avg_width) FROM pg_stats WHERE pg_stats.schemaname = tables.schemaname AND tablename = relname)::float8
FROM pg_stat_user_tables AS tables
WHERE schemaname = $1
ORDER BY relname
"""
_ROW_HEAD_BYTES = 28
_LARGE_BYTES = 64 * 1024**2
"""What is smaller is not worth a word."""
_MANY_DEAD_ROWS = 10_000
_LARGEST_TABLE_FACTOR = 4.0
_MOST_BYTES_OF_AN_ENTRY = 500.0


async def examine_sequences(link: Link, schema: str) -> AsyncIterator[Finding]:
    """Find tables with numbers that their sequence has yet to give out."""
    behind, hidden = [], []
    for table in TABLES:
        is_visible, last, highest = await _numbers_of(link, schema, table.name)
        if not is_visible:
            hidden.append(table.name)
        elif last < highest:
            behind.append(f"that of the {table.name} stands at {last:,}, and the table at {highest:,}")
    if behind:
        yield wrong(
            "sequences",
            f"{'; '.join(behind)}, as after a logical replication",
            "run `swarm-persistence doctor --repair`; each is also advanced by the next store",
        )
    if hidden:
        yield advice(
            "sequences",
            f"this role may not read those of {', '.join(hidden)}",
            f"GRANT SELECT ON ALL SEQUENCES IN SCHEMA {schema} TO the role",
        )
    if not behind and not hidden:
        yield ok("sequences", "each is ahead of its table")


async def repair_sequences(link: Link, schema: str) -> list[str]:
    """Advance those that are behind, and return the names of their tables.

    Raises:
        DatabaseError: the role may not do that.

    """
    repaired: list[str] = []
    for table in TABLES:
        is_visible, last, highest = await _numbers_of(link, schema, table.name)
        if is_visible and last < highest:
            await advance_sequence(link, schema, table.name)
            repaired.append(table.name)
    return repaired


async def examine_indexes(link: Link, schema: str, version: int) -> AsyncIterator[Finding]:
    """Find indexes that a version of the schema has and this one lacks, broken ones, and those that are swollen."""
    found = {name: (is_valid, size, entries) for name, is_valid, size, entries in await link.run(_INDEXES, (schema,))}
    has_problem = False
    for name, (text, is_unique) in _expected_indexes(version).items():
        statement = f"run: {' '.join(text.replace('{schema}', schema).split())}"
        if name not in found and not _has_each_partition(name, found):
            has_problem = True
            if is_unique:
                yield wrong(
                    "indexes", f"{name} is missing, and with it the promise that no value comes twice", statement
                )
            else:
                yield advice("indexes", f"{name} is missing: what needs it reads whole tables", statement)
    for name, (is_valid, size, entries) in found.items():
        if not is_valid:
            has_problem = True
            yield wrong(
                "indexes",
                f"{name} is not valid, as after a CREATE INDEX CONCURRENTLY that was broken off",
                f"REINDEX INDEX CONCURRENTLY {schema}.{name}",
            )
        elif size > _LARGE_BYTES and size > _MOST_BYTES_OF_AN_ENTRY * entries:
            has_problem = True
            yield advice(
                "indexes",
                f"{name} takes {_megabytes(size)} for about {entries:,.0f} entries",
                f"REINDEX INDEX CONCURRENTLY {schema}.{name}",
            )
    if not has_problem:
        yield ok("indexes", f"{len(found)}, all of version {version} are there and valid")


def _has_each_partition(name: str, found: Collection[str]) -> bool:
    """Tell whether each partition of an index's table has one of its own: a partitioned table itself has none."""
    partitions_of: dict[str, set[str]] = {}
    for match in filter(None, map(_OF_PARTITION.fullmatch, found)):
        partitions_of.setdefault(match["table"] + match["suffix"], set()).add(match["partition"])
    table = name.partition("_")[0]
    having = partitions_of.get(name, set())
    return bool(having) and having == partitions_of.get(f"{table}_pkey")


async def examine_dead_rows(link: Link, schema: str) -> AsyncIterator[Finding]:
    """Find tables that hold more dead rows than live ones, or far more room than their rows take."""
    problems = [problem async for problem in _swollen(link, schema)]
    for problem in problems:
        yield problem
    if not problems:
        yield ok("dead rows", "autovacuum keeps up with them in each table")


async def _swollen(link: Link, schema: str) -> AsyncIterator[Finding]:
    rows: list[Any] = await link.run(_TABLES, (schema,))
    for name, live, dead, size, is_left_out, width in rows:
        if is_left_out:
            yield wrong(
                "dead rows",
                f"autovacuum is switched off for {name}",
                f"ALTER TABLE {schema}.{name} RESET (autovacuum_enabled)",
            )
        if dead > _MANY_DEAD_ROWS and dead > live:
            yield advice(
                "dead rows",
                f"{name} holds {dead:,} dead rows beside {live:,} live ones",
                f"see what `old snapshots` says, and run VACUUM (ANALYZE) {schema}.{name}",
            )
        elif size > _LARGE_BYTES and width and size > _LARGEST_TABLE_FACTOR * live * (width + _ROW_HEAD_BYTES):
            yield advice(
                "dead rows",
                f"{name} takes {_megabytes(size)} for {live:,} rows of about {width:.0f} bytes",
                f"pg_repack, or VACUUM (FULL) {schema}.{name} while no worker runs; later rows use the room, too",
            )


async def _numbers_of(link: Link, schema: str, table: str) -> tuple[bool, int, int]:
    ((is_visible, last, highest),) = await link.run(_SEQUENCE.replace("{table}", f'"{schema}".{table}'))
    return bool(is_visible), last, highest


def _expected_indexes(version: int) -> dict[str, tuple[str, bool]]:
    """Return the statement of each index that the steps up to a version have created, and whether it is unique."""
    expected: dict[str, tuple[str, bool]] = {}
    for migration in MIGRATIONS[:version]:
        for statement in migration.statements(is_upwards=True):
            if created := _CREATE_INDEX.match(statement):
                text = re.sub(r"INDEX(\s+CONCURRENTLY)?", "INDEX CONCURRENTLY", statement, count=1, flags=re.I)
                expected[created["name"]] = text, created["unique"] is not None
            elif dropped := _DROP_INDEX.match(statement):
                expected.pop(dropped["name"], None)
            elif renamed := _RENAME_INDEX.match(statement):
                text, is_unique = expected.pop(renamed["name"])
                expected[renamed["new"]] = text.replace(renamed["name"], renamed["new"], 1), is_unique
    return expected


def _megabytes(size: int) -> str:
    return f"{size / 1024**2:,.0f} MiB"
