"""The checks of `doctor` on the indexes of a PostgreSQL schema: missing, invalid and bloated ones."""

import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec

from swarm_persistence.cli.finding import Finding, advice, ok, wrong
from swarm_persistence.cli.schema_checks import LARGE_BYTES, megabytes
from swarm_persistence.engines.sql.postgres.connection import Connection
from swarm_persistence.engines.sql.postgres.migrations import MIGRATIONS
from swarm_persistence.engines.sql.postgres.migrations.migration import PostgresMigration
from swarm_persistence.schema.tables import SEQUENCE, TABLES

_INDEXES = """
SELECT
  found.relname, found.relkind::text, indisvalid AND indisready, pg_relation_size(found.oid),
  greatest(found.reltuples, 0)::float8
FROM pg_index
JOIN pg_class AS found ON found.oid = indexrelid
JOIN pg_namespace ON pg_namespace.oid = found.relnamespace
WHERE nspname = $1
ORDER BY 1
"""
_PARTITIONS = """
SELECT parent.relname, child.relname
FROM pg_inherits
JOIN pg_class AS parent ON parent.oid = inhparent
JOIN pg_class AS child ON child.oid = inhrelid
JOIN pg_namespace ON pg_namespace.oid = parent.relnamespace
WHERE nspname = $1 AND parent.relkind = 'p'
ORDER BY 1, 2
"""
_CREATE_INDEX = re.compile(
    r"\s*CREATE\s+(?P<unique>UNIQUE\s+)?INDEX\s+(?:CONCURRENTLY\s+)?(?:IF\s+NOT\s+EXISTS\s+)?(?P<name>\w+)\s+"
    r"ON\s+\{schema\}\.(?P<table>\w+)\s*(?P<definition>.*)",
    re.I | re.S,
)
_CREATE_TABLE = re.compile(r"\s*CREATE\s+TABLE\s+\{schema\}\.(?P<name>\w+)", re.I)
_WITH_RECORDS = frozenset(table.name for table in TABLES)
_DROP_INDEX = re.compile(
    r"\s*DROP\s+INDEX\s+(?:CONCURRENTLY\s+)?(?:IF\s+EXISTS\s+)?(?:\{schema\}\.)?(?P<name>\w+)", re.I
)
_RENAME_INDEX = re.compile(r"\s*ALTER\s+INDEX\s+(?:\{schema\}\.)?(?P<name>\w+)\s+RENAME\s+TO\s+(?P<new>\w+)", re.I)
_LEFT_BY_REINDEX = re.compile(r"_cc(?:new|old)\d*$")
"""The suffixes that REINDEX CONCURRENTLY gives to a new index, and to a replaced one."""

_MOST_BYTES_OF_AN_ENTRY = 500.0

Partitions = dict[str, list[str]]
"""The names of the partitions of each partitioned table."""


class ExpectedIndex(msgspec.Struct, frozen=True):
    """An index of a schema version."""

    name: str
    table: str
    definition: str
    is_unique: bool
    is_partitioned: bool = False
    """Whether its table is partitioned, so that the index cannot be built concurrently."""

    def create(self, schema: str) -> str:
        """Return the statement that creates it."""
        unique = "UNIQUE " if self.is_unique else ""
        online = "" if self.is_partitioned else "CONCURRENTLY "
        return f'CREATE {unique}INDEX {online}{self.name} ON "{schema}".{self.table} {self.definition}'

    def in_tables(self, partitions: Partitions) -> Iterator["ExpectedIndex"]:
        """Yield this index, or those of the partitions if its table is partitioned."""
        children = partitions.get(self.table)
        if children is None:
            yield self
        elif self.is_unique and self.definition != f"({SEQUENCE})":
            # A unique index of a partitioned table would have to hold the sequence: each partition has its own.
            for child in children:
                name = child + self.name.removeprefix(self.table)
                yield msgspec.structs.replace(self, name=name, table=child)
        else:
            yield msgspec.structs.replace(self, is_partitioned=True)


async def examine_indexes(
    connection: Connection, schema: str, version: int, open_step: PostgresMigration | None, migrate: str
) -> AsyncIterator[Finding]:
    """Find missing, invalid and bloated indexes.

    Indexes that the next migration step changes are skipped: the step may be running, or have been interrupted.
    """
    found = {name: rest for name, *rest in await connection.run(_INDEXES, (schema,))}
    partitions: Partitions = {}
    for table, partition in await connection.run(_PARTITIONS, (schema,)):
        partitions.setdefault(table, []).append(partition)
    expected = {one.name: one for index in _expected(version) for one in index.in_tables(partitions)}
    changing = _names_in(open_step) if open_step else set()
    problems = [
        *(_missing(schema, index) for name, index in expected.items() if name not in found | dict.fromkeys(changing)),
        *_invalid(schema, found, expected, changing, migrate),
        *_bloated(schema, found),
    ]
    for problem in problems:
        yield problem
    if not problems:
        yield ok("indexes", f"{len(found)}; all indexes of version {version} exist and are valid")


def _missing(schema: str, index: ExpectedIndex) -> Finding:
    remedy = f"run: {index.create(schema)}"
    waits = "; writes to the table block until it is built" if index.is_partitioned else ""
    if index.is_unique:
        return wrong("indexes", f"{index.name} is missing, so duplicate values are not refused{waits}", remedy)
    return advice("indexes", f"{index.name} is missing: queries that need it scan the whole table{waits}", remedy)


def _invalid(
    schema: str, found: dict[str, list[Any]], expected: dict[str, ExpectedIndex], changing: set[str], migrate: str
) -> Iterator[Finding]:
    for name, (kind, is_valid, *_) in found.items():
        if is_valid:
            continue
        if name in changing:
            yield advice(
                "indexes",
                f"{name} is not valid: a migration step was interrupted, or is still building it",
                f"run `{migrate}`",
            )
        elif _LEFT_BY_REINDEX.search(name):
            yield wrong(
                "indexes",
                f"{name} is not valid: an interrupted REINDEX CONCURRENTLY has left it behind",
                f'run: DROP INDEX CONCURRENTLY "{schema}".{_quoted(name)}',
            )
        elif kind == "I":
            # REINDEX rebuilds the indexes of the partitions, and leaves this one invalid.
            again = f"; {expected[name].create(schema)}" if name in expected else ""
            yield wrong(
                "indexes",
                f"{name} is not valid: some partitions lack an index that matches it",
                f'run: DROP INDEX "{schema}".{_quoted(name)}{again}',
            )
        else:
            yield wrong(
                "indexes",
                f"{name} is not valid, as after an interrupted CREATE INDEX CONCURRENTLY",
                f'run: REINDEX INDEX CONCURRENTLY "{schema}".{_quoted(name)}',
            )


def _bloated(schema: str, found: dict[str, list[Any]]) -> Iterator[Finding]:
    for name, (_, is_valid, size, entries) in found.items():
        if is_valid and size > LARGE_BYTES and size > _MOST_BYTES_OF_AN_ENTRY * entries:
            yield advice(
                "indexes",
                f"{name} takes {megabytes(size)} for about {entries:,.0f} entries",
                f'run: REINDEX INDEX CONCURRENTLY "{schema}".{_quoted(name)}',
            )


def _expected(version: int) -> Iterator[ExpectedIndex]:
    """Yield the indexes created by the steps up to a version, those of constraints included."""
    created: dict[str, ExpectedIndex] = {}
    for migration in MIGRATIONS[:version]:
        for statement in migration.statements(is_upwards=True):
            if (table := _CREATE_TABLE.match(statement)) and table["name"] in _WITH_RECORDS:
                name = table["name"]
                yield ExpectedIndex(f"{name}_pkey", name, f"({SEQUENCE})", is_unique=True)
                yield ExpectedIndex(f"{name}_id_key", name, "(id)", is_unique=True)
            elif match := _CREATE_INDEX.match(statement):
                definition = " ".join(match["definition"].split())
                index = ExpectedIndex(match["name"], match["table"], definition, match["unique"] is not None)
                created[index.name] = index
            elif dropped := _DROP_INDEX.match(statement):
                created.pop(dropped["name"], None)
            elif renamed := _RENAME_INDEX.match(statement):
                created[renamed["new"]] = msgspec.structs.replace(created.pop(renamed["name"]), name=renamed["new"])
    yield from created.values()


def _names_in(step: PostgresMigration) -> set[str]:
    """Return the names of all indexes that a step or its reversal creates, drops or renames."""
    matches = (
        pattern.match(statement)
        for is_upwards in (True, False)
        for statement in step.statements(is_upwards=is_upwards)
        for pattern in (_CREATE_INDEX, _DROP_INDEX, _RENAME_INDEX)
    )
    return {match[name] for match in matches if match for name in ("name", "new") if name in match.groupdict()}


def _quoted(name: str) -> str:
    return name if re.fullmatch("[a-z_][a-z0-9_]*", name) else '"' + name.replace('"', '""') + '"'
