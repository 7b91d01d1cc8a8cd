"""Facts about the steps beside which old code goes on: on a filled schema, forwards and back, beside that code."""

from pathlib import Path

import pytest

from postgres.servers import Server
from sqlite.neighbours import STEPS, NeighbourlyStep, version_before
from sqlite.old_release import unpack
from sqlite.programs import Program
from swarm_persistence import PostgresStorage
from swarm_persistence.engines.sql.postgres.migrations import LATEST, MIGRATIONS


@pytest.fixture(params=STEPS)
def step(request: pytest.FixtureRequest) -> NeighbourlyStep:
    return STEPS[request.param]


async def test_a_filled_schema_is_brought_back_and_up_with_all_rows(
    storage: PostgresStorage, url: str, step: NeighbourlyStep
) -> None:
    await step.fill(storage)

    await storage.migrate_to(version_before(step, MIGRATIONS))
    async with await PostgresStorage.open(url) as again:
        await again.migrate_to(LATEST)

        await step.require_defaults(again)


async def test_a_filled_schema_with_partitions_is_brought_back_and_up(
    server: Server, schema: str, step: NeighbourlyStep
) -> None:
    url = server.url(schema=schema)
    async with await PostgresStorage.builder().partition_by("day").build(url) as storage:
        await step.fill(storage)

        await storage.migrate_to(version_before(step, MIGRATIONS))
        await storage.migrate_to(LATEST)

        await step.require_defaults(storage)


async def test_programs_of_the_old_code_go_on_and_open_the_schema_beside_the_new(
    server: Server, schema: str, tmp_path: Path, step: NeighbourlyStep
) -> None:
    url, old = server.url(schema=schema), unpack(step.LAST_BEFORE, tmp_path)
    source = step.program_of_old_code("PostgresStorage")
    running = Program(source, url, old)
    assert int(running.wait_for_line()) <= version_before(step, MIGRATIONS)

    async with await PostgresStorage.open(url) as storage:
        assert (await storage.migration_status()).version == LATEST
        started_later = Program(source, url, old)
        assert started_later.wait_for_line() == str(LATEST)
        await step.require_neighbourliness(storage, running, started_later)
