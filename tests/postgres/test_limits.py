"""Facts about the step to limits and capabilities: on a filled schema, forwards and back, beside old code."""

from pathlib import Path

from postgres.servers import Server
from sqlite.limits import NAME, fill, program_of_old_code, require_defaults, require_neighbourliness
from sqlite.old_release import WITHOUT_LIMITS, unpack
from sqlite.programs import Program
from swarm_persistence import PostgresStorage
from swarm_persistence.engines.sql.postgres.migrations import LATEST, MIGRATIONS

_STEP = next(step for step in MIGRATIONS if step.name == NAME)


async def test_a_filled_schema_is_brought_back_and_up_with_all_rows(storage: PostgresStorage, url: str) -> None:
    await fill(storage)

    await storage.migrate_to(_STEP.version - 1)
    async with await PostgresStorage.open(url) as again:
        await again.migrate_to(LATEST)

        await require_defaults(again)


async def test_a_filled_schema_with_partitions_is_brought_back_and_up(server: Server, schema: str) -> None:
    url = server.url(schema=schema)
    async with await PostgresStorage.builder().partition_by("day").build(url) as storage:
        await fill(storage)

        await storage.migrate_to(_STEP.version - 1)
        await storage.migrate_to(LATEST)

        await require_defaults(storage)


async def test_programs_of_the_old_code_go_on_and_open_the_schema_beside_the_new(
    server: Server, schema: str, tmp_path: Path
) -> None:
    url, old = server.url(schema=schema), unpack(WITHOUT_LIMITS, tmp_path)
    source = program_of_old_code("PostgresStorage")
    running = Program(source, url, old)
    assert running.wait_for_line() == "18"

    async with await PostgresStorage.open(url) as storage:
        assert (await storage.migration_status()).version == LATEST
        started_later = Program(source, url, old)
        assert started_later.wait_for_line() == str(LATEST)
        await require_neighbourliness(storage, running, started_later)
