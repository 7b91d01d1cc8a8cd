"""Facts about the step to limits and capabilities: on a filled file, forwards and back, beside old code."""

from pathlib import Path

import apsw
import pytest

from sqlite.limits import NAME, fill, program_of_old_code, require_defaults, require_neighbourliness
from sqlite.old_release import WITHOUT_LIMITS, unpack
from sqlite.programs import Program
from swarm_persistence import SqliteStorage
from swarm_persistence.engines.sql.sqlite import schema_version
from swarm_persistence.engines.sql.sqlite.migrations import LATEST, MIGRATIONS

_SCHEMA = "SELECT name, sql FROM sqlite_schema ORDER BY name"
_STEP = next(step for step in MIGRATIONS if step.name == NAME)


def schema_of(path: Path) -> dict[str, str]:
    connection = apsw.Connection(str(path))
    try:
        return dict(connection.execute(_SCHEMA).fetchall())  # type: ignore[arg-type]
    finally:
        connection.close()


async def test_a_filled_file_is_brought_back_and_up_with_all_rows(storage: SqliteStorage, path: Path) -> None:
    plain = path.with_name("plain.db")
    connection = apsw.Connection(str(plain))
    schema_version.migrate(connection, _STEP.version - 1)
    connection.close()
    await fill(storage)

    await storage.migrate_to(_STEP.version - 1)
    assert schema_of(path) == schema_of(plain)
    await storage.migrate_to(LATEST)

    await require_defaults(storage)


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the directory to import the code before the step from."""
    return unpack(WITHOUT_LIMITS, tmp_path_factory.mktemp("old"))


async def test_programs_of_the_old_code_go_on_and_open_the_file_beside_the_new(path: Path, old: Path) -> None:
    source = program_of_old_code("SqliteStorage")
    running = Program(source, path, old)
    assert running.wait_for_line() == "14"

    async with await SqliteStorage.open(path) as storage:
        assert (await storage.migration_status()).version == LATEST
        started_later = Program(source, path, old)
        assert started_later.wait_for_line() == str(LATEST)
        await require_neighbourliness(storage, running, started_later)
