"""Facts about other programs on our file: the Rust crate, and old releases of this package."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any, NamedTuple

import apsw
import pytest

from sqlite import rust_crate as the_crate
from sqlite.old_release import VERSION_2, VERSION_5, of_release, unpack
from sqlite.programs import Program, run_program
from swarm_persistence import DatabaseError, MigrationError, SqliteStorage
from swarm_persistence.engines.sql.sqlite import schema_version
from swarm_persistence.engines.sql.sqlite.migrations import LATEST, MIGRATIONS, Migration
from swarm_persistence.engines.sql.sqlite.rust_crate import find_traces, repair
from swarm_persistence_conformance.records import a_task, an_agent, ids

THREE_AND_FOUR = ("version 3 (add_task_dependencies_tracking)", "version 4 (add_agent_groups)")
TABLES = ("table task_dependencies", "table agent_group_members", "table agent_groups")


@contextmanager
def connected(path: Path) -> Iterator[apsw.Connection]:
    connection = apsw.Connection(str(path))
    try:
        yield connection
    finally:
        connection.close()


def content_of(path: Path) -> list[Any]:
    with connected(path) as connection:
        schema: Any = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name").fetchall()
        tables = [name for kind, name, _, _ in schema if kind == "table"]
        return [schema, *(connection.execute(f"SELECT * FROM {name}").fetchall() for name in tables)]


async def filled_at(path: Path, version: int) -> None:
    """Leave a file of this version of the schema, with an agent and a task."""
    async with await SqliteStorage.open(path) as storage:
        await storage.store_agent(an_agent())
        await storage.store_task(a_task())
        await storage.migrate_to(version)


class TestRustCrate:
    async def test_it_is_stopped_before_it_has_changed_anything(self, path: Path) -> None:
        async with await SqliteStorage.open(path) as storage:
            await storage.store_agent(an_agent())
        before = content_of(path)

        with pytest.raises(the_crate.CrateError, match="there is already a table named idx_agents_status"):
            the_crate.open_storage(path)
        with pytest.raises(the_crate.CrateError, match="out of range"):
            the_crate.migrate(path)

        assert content_of(path) == before
        async with await SqliteStorage.open(path) as storage:
            assert ids(await storage.list_agents()) == ["agent-1"]

    async def test_a_file_with_its_versions_is_refused_and_left_as_it_is(self, path: Path) -> None:
        await filled_at(path, 2)
        the_crate.migrate(path)
        before = content_of(path)

        with pytest.raises(MigrationError, match=r"'add_task_dependencies_tracking' as version 3 .*doctor --repair"):
            await SqliteStorage.open(path)

        assert content_of(path) == before

    async def test_its_version_is_not_taken_for_ours_of_the_same_number(self, path: Path) -> None:
        await filled_at(path, 2)
        the_crate.migrate(path)
        later = tuple(Migration(number, "later", (), (), number) for number in range(LATEST + 1, 6))

        with connected(path) as connection, pytest.raises(MigrationError, match="not a step of this package"):
            schema_version.migrate(connection, 4, (*MIGRATIONS, *later))

    @pytest.mark.parametrize(
        ("version", "traces"),
        [
            (
                1,
                {*TABLES, *THREE_AND_FOUR, "version 2 (add_agent_capabilities_index)", "index idx_agents_capabilities"},
            ),
            (2, {*TABLES, *THREE_AND_FOUR}),
        ],
    )
    async def test_what_it_left_is_taken_out_and_every_record_is_kept(
        self, path: Path, version: int, traces: set[str]
    ) -> None:
        await filled_at(path, version)
        before = content_of(path)
        the_crate.migrate(path)

        with connected(path) as connection:
            assert set(find_traces(connection)) == traces
            assert set(repair(connection)) == traces
            assert find_traces(connection) == ()

        assert content_of(path) == before
        async with await SqliteStorage.open(path) as storage:
            assert (await storage.migration_status()).version == LATEST
            assert ids(await storage.list_agents()) == ["agent-1"]
            assert ids(await storage.get_pending_tasks()) == ["task-1"]

    async def test_the_indexes_of_its_first_attempt_are_taken_out_too(self, path: Path) -> None:
        await filled_at(path, 2)
        before = content_of(path)
        with pytest.raises(the_crate.CrateError, match="no such column: task_id"):
            the_crate.open_storage(path)
        assert content_of(path) != before

        with connected(path) as connection:
            assert len(repair(connection)) == 9

        assert content_of(path) == before

    async def test_a_file_with_its_indexes_only_opens(self, path: Path) -> None:
        await filled_at(path, 2)
        with pytest.raises(the_crate.CrateError):
            the_crate.open_storage(path)

        async with await SqliteStorage.open(path) as storage:
            assert ids(await storage.list_agents()) == ["agent-1"]

    async def test_a_sound_file_has_nothing_to_repair(self, path: Path) -> None:
        await filled_at(path, LATEST)
        before = content_of(path)

        with connected(path) as connection:
            assert repair(connection) == ()

        assert content_of(path) == before

    async def test_tables_with_rows_and_others_of_the_same_name_stay(self, path: Path) -> None:
        await filled_at(path, 2)
        with connected(path) as connection:
            connection.execute("CREATE TABLE task_dependencies (mine TEXT)").fetchall()
            connection.execute("CREATE INDEX idx_tasks_status ON tasks (status, priority)").fetchall()
            connection.execute("DELETE FROM schema_migrations WHERE version > 2").fetchall()
        with connected(path) as connection:  # what the crate's last step makes, and a row in it
            connection.execute("CREATE TABLE agent_groups (id, name, description, metadata, created_at, updated_at)")
            connection.execute("INSERT INTO agent_groups (id) VALUES ('group')").fetchall()
        before = content_of(path)

        with connected(path) as connection:
            assert repair(connection) == ()

        assert content_of(path) == before

    async def test_a_file_with_its_tables_only_is_refused_and_left(self, path: Path) -> None:
        the_crate.open_storage(path)
        with connected(path) as connection:
            connection.pragma("application_id", schema_version.APPLICATION_ID)
        before = content_of(path)

        with pytest.raises(MigrationError, match="'initial_schema' as version 1"):
            await SqliteStorage.open(path)
        with connected(path) as connection, pytest.raises(DatabaseError, match="the tables of the Rust crate"):
            repair(connection)

        assert content_of(path) == before


class Release(NamedTuple):
    """An old release: the version of its schema, and the directory to import it from."""

    version: int
    source: Path


@pytest.fixture(scope="module", params=[(2, VERSION_2), (5, VERSION_5)], ids=["version 2", "version 5"])
def old(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Release:
    """Give the last releases with a version of the schema."""
    version, commit = request.param
    return Release(version, unpack(commit, tmp_path_factory.mktemp("old")))


class TestOldRelease:
    """Processes of the last releases with older versions of the schema, beside ours."""

    OPEN = of_release(
        dedent("""
        import asyncio
        from swarm_persistence import SqliteStorage, StorageError

        async def main(path):
            try:
                async with await SqliteStorage.open(path) as storage:
                    print([agent.id for agent in await storage.list_agents()])
            except StorageError as error:
                print(error)

        asyncio.run(main(sys.argv[1]))
        """)
    )

    WORK = of_release(
        dedent("""
        import asyncio
        from swarm_persistence import AgentModel, MigrationError, SqliteStorage, TaskModel

        async def main(path):
            async with await SqliteStorage.open(path) as storage:
                agent = AgentModel(id="old", name="old", agent_type="t")
                await storage.store_agent(agent)
                print((await storage.migration_status()).version, flush=True)
                input()
                await storage.store_task(TaskModel(id="by-old", task_type="t", payload=1))
                while task := await storage.claim_next_task("old"):
                    await storage.complete_task(task, task.id)
                    print(task.id)
                async with storage.transaction():
                    await storage.update_agent(agent)
                await storage.vacuum()
                await storage.checkpoint()
                for version in (1, 2):
                    try:
                        await storage.migrate_to(version)
                    except MigrationError as error:
                        print(error)

        asyncio.run(main(sys.argv[1]))
        """)
    )

    async def test_it_refuses_the_file_of_a_newer_one_and_leaves_it(self, path: Path, old: Release) -> None:
        await filled_at(path, LATEST)
        before = content_of(path)

        (printed,) = run_program(self.OPEN, path, old.source)

        assert printed.startswith("Migration error: ")
        assert (
            f"and this code knows {old.version} at most; upgrade swarm-persistence (the file was left as it is)"
            in printed
        )
        assert content_of(path) == before

    async def test_its_file_is_brought_up_and_back_with_all_records(self, path: Path, old: Release) -> None:
        run_program(self.OPEN, path, old.source)
        with connected(path) as connection:
            before = content_of(path)[0]
            assert schema_version.status(connection).version == old.version

        await filled_at(path, old.version)

        assert content_of(path)[0] == before
        assert run_program(self.OPEN, path, old.source) == ["['agent-1']"]

    async def test_its_workers_go_on_while_a_newer_one_brings_the_file_up(self, path: Path, old: Release) -> None:
        worker = Program(self.WORK, path, old.source)
        assert worker.wait_for_line() == str(old.version)

        async with await SqliteStorage.open(path) as storage:
            assert (await storage.migration_status()).version == LATEST
            await storage.store_task(a_task())
            worker.tell("")
            *done, to_one, to_two = worker.finish()

            assert done == ["task-1", "by-old"]
            assert {task.result for task in await storage.get_tasks_by_agent("old")} == {"task-1", "by-old"}
            # What it can no longer do is to change the schema.
            for refusal in (to_one, to_two):
                assert refusal.startswith("Migration error: ")
                assert "upgrade swarm-persistence" in refusal
            assert (await storage.migration_status()).version == LATEST


def test_the_version_of_a_file_without_a_log_is_zero(path: Path) -> None:
    with connected(path) as connection:
        assert schema_version.status(connection).version == 0
