"""Facts about files of other versions: which are opened as they are, and what older releases do beside this one."""

import asyncio
import os
from pathlib import Path
from typing import Any

import apsw
import pytest

from sqlite.schema_dumps import dump_of
from swarm_persistence import MigrationError, OtherError, SqliteStorage, TaskModel, init_storage, open_storage
from swarm_persistence.engines.sql.sqlite import schema_version
from swarm_persistence.engines.sql.sqlite.migrations import LATEST, MIGRATIONS, Migration
from swarm_persistence_conformance.records import an_agent, ids


class TestUnlinking:
    """From version 8 on, a trigger counts the dependencies that a task waits for, once they are few."""

    async def test_code_of_an_older_version_completes_dependencies_beside_this_one(
        self, storage: SqliteStorage, connection: apsw.Connection
    ) -> None:
        names = [f"task-{number}" for number in range(20)]
        await storage.store_tasks([*(TaskModel(id=name, task_type="t") for name in names), _waiting_for(names)])

        for place, task in enumerate(await storage.claim_next_tasks("agent", limit=20)):
            assert await storage.get_ready_tasks() == []
            if place % 2:
                _complete_as_version_7(connection, task.id)
            else:
                await storage.complete_task(task)

        assert ids(await storage.get_ready_tasks()) == ["last"]

    async def test_the_step_back_leaves_the_number_of_dependencies(
        self, storage: SqliteStorage, path: Path, connection: apsw.Connection
    ) -> None:
        names = [f"task-{number}" for number in range(20)]
        await storage.store_tasks([*(TaskModel(id=name, task_type="t") for name in names), _waiting_for(names)])
        first, *others = await storage.claim_next_tasks("agent", limit=11)
        for task in others:
            await storage.complete_task(task)

        await storage.migrate_to(7)
        counted = connection.execute("SELECT unmet_dependencies FROM tasks WHERE id = 'last'").get
        await storage.migrate_to(LATEST)
        await storage.complete_task(first)

        assert counted == 10
        for task in await storage.claim_next_tasks("agent", limit=20):
            await storage.complete_task(task)
        assert ids(await storage.get_ready_tasks()) == ["last"]


def _waiting_for(names: list[str]) -> TaskModel:
    return TaskModel(id="last", task_type="t", dependencies=names)


def _complete_as_version_7(connection: apsw.Connection, id: str) -> None:
    with connection:
        connection.execute("UPDATE tasks SET status = 'completed' WHERE id = ?", (id,)).fetchall()
        connection.execute(
            "UPDATE tasks SET unmet_dependencies = unmet_dependencies + -1 "
            "WHERE id IN (SELECT task_id FROM task_links WHERE dependency_id = ?)",
            (id,),
        ).fetchall()
        connection.execute("DELETE FROM task_links WHERE dependency_id = ?", (id,)).fetchall()


_GOES_FASTER = Migration(
    LATEST + 1, "an index", ("CREATE INDEX extra ON agents (name)",), ("DROP INDEX extra",), LATEST, is_required=False
)
_NEEDS_NEWER = Migration(LATEST + 1, "another name", ("ALTER TABLE agents RENAME TO hands",), (), LATEST + 1)


class TestOtherVersions:
    """What code does with a file of another version than its own."""

    async def test_a_newer_file_that_says_so_is_opened_and_backed_up(
        self, path: Path, connection: apsw.Connection
    ) -> None:
        schema_version.migrate(connection, LATEST + 1, (*MIGRATIONS, _GOES_FASTER))

        async with await SqliteStorage.open(path) as storage:
            await storage.store_agent(an_agent())
            assert (await storage.migration_status()).version == LATEST + 1
            with pytest.raises(MigrationError, match="upgrade"):
                await storage.migrate_to(LATEST)
            await storage.backup(path.with_name("backup.db"))
        async with await SqliteStorage.open(path.with_name("backup.db"), migrate=False) as storage:
            assert ids(await storage.list_agents()) == ["agent-1"]

    async def test_a_newer_file_that_does_not_is_left_as_it_is(self, path: Path, connection: apsw.Connection) -> None:
        schema_version.migrate(connection, LATEST + 1, (*MIGRATIONS, _NEEDS_NEWER))
        before = dump_of(path)

        with pytest.raises(MigrationError, match=f"has schema version {LATEST + 1}, and this code knows {LATEST}"):
            await SqliteStorage.open(path)

        assert dump_of(path) == before

    async def test_opening_changes_no_schema_if_it_is_not_to(self, path: Path, connection: apsw.Connection) -> None:
        schema_version.migrate(connection, 2)
        before = dump_of(path)

        with pytest.raises(MigrationError, match=rf"version 2, this code needs version \d.* migrate {path}"):
            await SqliteStorage.builder().migrate(False).build(path)
        with pytest.raises(MigrationError, match="version 2"):
            await init_storage(f"sqlite:///{path}?migrate=false")
        with pytest.raises(MigrationError, match="version 2"):
            await asyncio.to_thread(open_storage, path, migrate=False)

        assert dump_of(path) == before

    @pytest.mark.parametrize("content", [None, b""])
    async def test_nor_is_a_file_made_or_filled(self, path: Path, content: bytes | None) -> None:
        if content is not None:
            await asyncio.to_thread(path.write_bytes, content)

        with pytest.raises(MigrationError, match=r"holds no swarm yet, .*swarm-persistence migrate"):
            await init_storage(path, migrate=False)

        left = {name: os.stat(path.with_name(name)).st_size for name in os.listdir(path.parent)}
        assert left == ({} if content is None else {path.name: 0})

    async def test_a_file_in_order_is_opened_without(self, storage: SqliteStorage, path: Path) -> None:
        async with await init_storage(f"sqlite:///{path}?migrate=false") as other:
            await other.store_agent(an_agent())

        assert ids(await storage.list_agents()) == ["agent-1"]

    async def test_where_there_is_no_schema_it_does_no_harm(self) -> None:
        async with await init_storage(":memory:", migrate=False) as storage:
            await storage.store_agent(an_agent())

    @pytest.mark.parametrize("options", ["migrate=no", "migrate", "", "migrate=false&mode=ro"])
    async def test_an_unknown_option_is_refused(self, path: Path, options: str) -> None:
        with pytest.raises(OtherError, match=r"\?migrate=false"):
            await init_storage(f"sqlite:///{path}?{options}")

    async def test_a_setting_that_is_none_is_refused(self, path: Path) -> None:
        flag: Any = "no"
        with pytest.raises(OtherError, match="migrate is 'no', expected true or false"):
            await SqliteStorage.open(path, migrate=flag)
