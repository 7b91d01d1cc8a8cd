"""A short run of the benchmark on PostgreSQL: every peer does its work, and the page tells of it."""

from argparse import Namespace
from pathlib import Path

import asyncpg
import pytest

from benchmarks import latency
from benchmarks.postgres import __main__ as benchmark
from benchmarks.postgres import churn
from benchmarks.postgres.__main__ import VERBS, WHOLE_TASKS, new_database, run
from benchmarks.postgres.document import text_of, write_document
from benchmarks.postgres.peers import PEERS
from benchmarks.postgres.pooler import IN_FLIGHT, compare
from benchmarks.postgres.pooler import VERBS as POOLED_VERBS
from benchmarks.postgres.queues import QUEUES
from benchmarks.postgres.whole_tasks import UNITS
from benchmarks.results import Results
from benchmarks.workloads import claim_limits
from postgres.poolers import new_pooler
from postgres.servers import Server, embedded_programs, new_server


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
    assert "| store, 100 in flight, against asyncpg one by one |" in page


async def test_the_start_of_each_task_is_measured_beside_the_claim_of_a_row_by_the_bare_driver(server: Server) -> None:
    async with new_database(server.url()) as own_url:
        measured = await latency.measure(own_url, count=2, idle_seconds=0.1)

    assert len(measured.seconds) == len(measured.floor_seconds) == 2
    assert min(*measured.seconds, *measured.floor_seconds) > 0
    assert "by bare asyncpg p50" in latency.report(own_url, measured)


async def test_the_workers_of_every_queue_do_whole_tasks_and_the_page_tells_what_they_cost(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(benchmark, "PROCESSES", (1,))
    monkeypatch.setattr(benchmark, "AT_ONCE", (8,))

    with new_server(embedded_programs(), shared_preload_libraries="pg_stat_statements") as own_server:
        results = await run(own_server.url(), [WHOLE_TASKS], rounds=1, seconds=0.02)

    assert [(row.peer, row.unit) for row in results.rows] == [(key, unit) for key in QUEUES for unit in UNITS]
    assert all(row.median > 0 for row in results.rows)
    write_document(results, tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text()
    assert [queue.title for queue in QUEUES.values() if f"\n| {queue.title} | " not in page] == []
    assert [queue.title for queue in QUEUES.values() if queue.title not in "\n".join(text_of(results))] == []


async def test_claims_under_limits_are_measured_and_the_page_names_them(server: Server, tmp_path: Path) -> None:
    results = await run(server.url(), [claim_limits.KEY], rounds=2, seconds=0.02, grown=400)

    assert len(results.rows) == 5
    assert all(row.median > 0 and row.size == 400 and len(row.measurements) == 2 for row in results.rows)
    write_document(results, tmp_path / "page.md")
    page, text = (tmp_path / "page.md").read_text(), "\n".join(text_of(results))
    for case in claim_limits.CASES:
        assert case in page
        assert case in text
    assert "400 that are pending" in page


async def test_churn_is_measured_without_and_beside_an_open_snapshot(server: Server, admin: asyncpg.Connection) -> None:
    options = Namespace(minutes=0.01, pending=60, finished=60, schema_version=None)

    lines = await churn.measured(server.url(), options)

    text = "\n".join(lines)
    assert "60 pending and 60 finished tasks" in text
    assert [line.partition(":")[0] for line in lines if "tasks in" in line] == [
        "nothing else open",
        "another program's snapshot open",
    ]
    for told in ("WAL a task", "of which HOT", "last tenth: p50", "tasks_id_key"):
        assert text.count(told) == 2, text


async def test_a_pooler_is_compared_with_the_server_itself(server: Server) -> None:
    async with new_pooler(server) as url:
        compared = await compare((server.url(), url), POOLED_VERBS, rounds=1, seconds=0.02)

    assert {(rates.verb, rates.in_flight) for rates in compared} == {
        (verb, count) for verb in POOLED_VERBS for count in IN_FLIGHT
    }
    assert all(rates.ratio > 0 for rates in compared)
