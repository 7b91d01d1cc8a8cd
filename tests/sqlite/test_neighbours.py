"""Facts about the steps beside which old code goes on: on a filled file, forwards and back, beside that code."""

from pathlib import Path

import apsw
import pytest

from sqlite.neighbours import STEPS, NeighbourlyStep, version_before
from sqlite.old_release import unpack
from sqlite.programs import Program
from swarm_persistence import SqliteStorage
from swarm_persistence.engines.sql.sqlite import schema_version
from swarm_persistence.engines.sql.sqlite.migrations import LATEST, MIGRATIONS

_SCHEMA = "SELECT name, sql FROM sqlite_schema ORDER BY name"


def schema_of(path: Path) -> dict[str, str]:
    connection = apsw.Connection(str(path))
    try:
        return dict(connection.execute(_SCHEMA).fetchall())  # type: ignore[arg-type]
    finally:
        connection.close()


@pytest.fixture(scope="module", params=STEPS)
def step(request: pytest.FixtureRequest) -> NeighbourlyStep:
    return STEPS[request.param]


@pytest.fixture(scope="module")
def old(step: NeighbourlyStep, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the directory to import the code before the step from."""
    return unpack(step.LAST_BEFORE, tmp_path_factory.mktemp("old"))


async def test_a_filled_file_is_brought_back_and_up_with_all_rows(
    storage: SqliteStorage, path: Path, step: NeighbourlyStep
) -> None:
    plain = path.with_name("plain.db")
    connection = apsw.Connection(str(plain))
    schema_version.migrate(connection, version_before(step, MIGRATIONS))
    connection.close()
    await step.fill(storage)

    await storage.migrate_to(version_before(step, MIGRATIONS))
    assert schema_of(path) == schema_of(plain)
    await storage.migrate_to(LATEST)

    await step.require_defaults(storage)


async def test_programs_of_the_old_code_go_on_and_open_the_file_beside_the_new(
    path: Path, step: NeighbourlyStep, old: Path
) -> None:
    source = step.program_of_old_code("SqliteStorage")
    running = Program(source, path, old)
    assert int(running.wait_for_line()) <= version_before(step, MIGRATIONS)

    async with await SqliteStorage.open(path) as storage:
        assert (await storage.migration_status()).version == LATEST
        started_later = Program(source, path, old)
        assert started_later.wait_for_line() == str(LATEST)
        await step.require_neighbourliness(storage, running, started_later)
