"""Facts about the page for database administrators: its SQL runs, and its table is right."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest_asyncio

from postgres.conftest import server
from postgres.servers import Server
from swarm_persistence import PostgresStorage
from swarm_persistence.cli.finding import Level
from swarm_persistence.cli.server_examination import examine_server
from swarm_persistence.schema.tables import TABLES
from swarm_persistence_conformance.records import a_task

__all__ = ["server"]

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "postgres-dba.md").read_text()
STATEMENTS = re.findall(r"^```sql\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


@pytest_asyncio.fixture
async def owner(server: Server) -> AsyncIterator[asyncpg.Connection]:
    """Give a connection to a database that holds a swarm in the schema of the page."""
    async with await PostgresStorage.open(server.url()) as storage:
        await storage.store_many([a_task("a", task_type="waits"), a_task("b", dependencies=["a"])])
        connection = await asyncpg.connect(server.url())
        yield connection
        await connection.execute("DROP SCHEMA swarm CASCADE; ALTER DATABASE postgres RESET ALL")
        await connection.close()


async def test_its_sql_runs_and_its_role_sees_all_that_doctor_looks_at(
    server: Server, owner: asyncpg.Connection
) -> None:
    for statement in STATEMENTS:
        await owner.execute(statement.replace("'…'", "'x'"))
    try:
        findings = await examine_server(server.url(user="swarm_doctor", password="x"), is_repairing=False)
        # The tests' server does not wait for its disk, and is wrong in that.
        assert {finding.check for finding in findings if finding.level is not Level.OK} == {"settings"}
    finally:
        await owner.execute("DROP OWNED BY swarm_doctor; DROP ROLE swarm_doctor")


async def test_its_first_query_shows_what_waits(owner: asyncpg.Connection) -> None:
    (query,) = [text for text in STATEMENTS if "AS waiting" in text]
    rows = await owner.fetch(query.partition(";")[0])
    assert [(row["task_type"], row["waiting"]) for row in rows] == [("waits", 1)]


async def test_its_table_names_the_tables(server: Server, owner: asyncpg.Connection) -> None:
    told = re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE)
    assert sorted(told) == sorted(table.name for table in TABLES)
    stored = await owner.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'swarm'")
    assert {name for (name,) in stored} == {
        *told,
        "event_floor",
        "document_indexes",
        "document_words",
        "document_vectors",
        "schema_migrations",
        "schema_steps",
        "partitioned_tables",
        "partitions",
    }


def test_it_names_the_release_that_the_tests_start(server: Server) -> None:
    newest = server.run("postgres", "--version").split()[-1].partition(".")[0]
    assert f"PostgreSQL {newest}" in TEXT
