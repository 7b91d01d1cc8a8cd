"""A short run of the benchmark on PostgreSQL: every peer does its work, and the page tells of it."""

from pathlib import Path

import asyncpg

from benchmarks.postgres.__main__ import VERBS, run
from benchmarks.postgres.document import write_document
from benchmarks.postgres.peers import PEERS
from benchmarks.results import Results
from postgres.servers import Server


async def test_every_peer_is_measured_and_the_page_names_it(
    server: Server, admin: asyncpg.Connection, tmp_path: Path
) -> None:
    databases = await admin.fetch("SELECT datname FROM pg_database")

    results = await run(server.url(), VERBS, rounds=1, seconds=0.02)

    assert await admin.fetch("SELECT datname FROM pg_database") == databases

    results.write(tmp_path / "results.json")
    assert Results.read(tmp_path / "results.json") == results
    assert {row.peer for row in results.rows} == {*PEERS}
    assert all(row.median > 0 for row in results.rows)
    assert "PostgreSQL" in results.machine.versions
    write_document(results, tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text()
    assert [title for title, _ in PEERS.values() if title not in page] == []
    assert "| store, 100 in flight, against asyncpg one by one | 3.5 × |" in page
