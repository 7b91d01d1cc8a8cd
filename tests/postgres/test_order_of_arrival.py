"""Facts about the step to the order of arrival: on a filled schema, forwards and back, beside workers of old code."""

from pathlib import Path

import asyncpg
import pytest

from postgres.servers import Server
from sqlite.old_release import VERSION_5, unpack
from sqlite.order_of_arrival import fill, worker_of_old_code
from sqlite.programs import Program
from swarm_persistence import PostgresStorage
from swarm_persistence.engines.sql.postgres.migrations import LATEST, MIGRATIONS
from swarm_persistence.engines.sql.postgres.migrations.migration import CreateIndex, DropIndex
from swarm_persistence_conformance.records import a_task, after, ids

STEP = next(step for step in MIGRATIONS if step.name == "order of arrival")
_INDEXES = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = $1 AND tablename = 'tasks'"

WORK = worker_of_old_code("PostgresStorage")


async def indexes_in(schema: str, admin: asyncpg.Connection) -> dict[str, str]:
    """Return the definitions of the indexes of tasks by their names."""
    return {str(name): str(text) for name, text in await admin.fetch(_INDEXES, schema)}


async def test_a_filled_schema_is_brought_up_and_back_with_all_rows(
    storage: PostgresStorage, url: str, schema: str, admin: asyncpg.Connection
) -> None:
    await fill(storage)
    await storage.migrate_to(STEP.version)
    rows = await admin.fetch(f"SELECT * FROM {schema}.tasks ORDER BY sequence")
    new = await indexes_in(schema, admin)

    await storage.migrate_to(STEP.version - 1)

    old = await indexes_in(schema, admin)
    assert await admin.fetch(f"SELECT * FROM {schema}.tasks ORDER BY sequence") == rows
    assert old.keys() == new.keys()
    assert {name for name, text in old.items() if text != new[name]} == {
        "tasks_pending",
        "tasks_ready",
        "tasks_ready_by_type",
    }
    async with await PostgresStorage.open(url) as again:
        await again.migrate_to(STEP.version)
        assert await indexes_in(schema, admin) == new
        await again.migrate_to(LATEST)
        claimed = await again.claim_next_tasks("agent-1", limit=99)
    by_priority = (*range(0, 40, 2), *range(1, 40, 2))
    assert ids(claimed) == [f"{number:02}" for number in by_priority if number % 5 and number % 7]


async def test_workers_of_the_old_code_go_on_in_their_order_and_share_the_tasks(
    storage: PostgresStorage, server: Server, schema: str, tmp_path: Path
) -> None:
    await storage.migrate_to(2)
    url = server.url(schema=schema)
    worker = Program(WORK, url, unpack(VERSION_5, tmp_path))
    assert worker.wait_for_line() == "2"

    async with await PostgresStorage.open(url) as ours:
        await ours.store_tasks([a_task(str(number), created_at=after(-number)) for number in range(6)])
        by_old, by_new = [], []
        for _ in range(3):
            worker.tell("")
            by_old.append(worker.wait_for_line())
            task = await ours.claim_next_task("new")
            assert task is not None
            by_new.append(task.id)
        worker.tell("")
        assert worker.finish() == []

    # Theirs is the order of `created_at`.
    assert by_old == ["5", "4", "3"]
    assert by_new == ["0", "1", "2"]


@pytest.mark.parametrize("version", [STEP.version - 1, STEP.version])
@pytest.mark.parametrize("group", range(1, 10))
async def test_a_step_that_was_interrupted_anywhere_is_finished_or_taken_back(
    storage: PostgresStorage, schema: str, admin: asyncpg.Connection, group: int, version: int
) -> None:
    await storage.migrate_to(version)
    expected = await indexes_in(schema, admin)
    await storage.migrate_to(STEP.version - 1)
    for part in STEP.groups(is_upwards=True)[:group]:
        assert isinstance(part, CreateIndex | DropIndex)
        await admin.execute(part.statement(is_online=True).replace("{schema}", schema))
    await admin.execute(
        f"INSERT INTO {schema}.schema_steps "
        f"VALUES ({STEP.version}, '{STEP.name}', NULL, {STEP.opens_from}, true, {group})"
    )

    await storage.migrate_to(version)

    assert await indexes_in(schema, admin) == expected
