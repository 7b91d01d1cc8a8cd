"""Facts about migrations: forwards, back, at once, and all or nothing; and that the schema is the models'."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from swarm_persistence import (
    DatabaseError,
    MigrationError,
    OtherError,
    SqliteStorage,
    TaskModel,
    init_storage,
    open_storage,
)
from swarm_persistence.clock import ManualClock, use_clock
from swarm_persistence.engines.sql.sqlite import schema_version, word_index
from swarm_persistence.engines.sql.sqlite.connection import switch_to_wal
from swarm_persistence.engines.sql.sqlite.migrations import LATEST, MIGRATIONS, Migration
from swarm_persistence.models.links import TaskLink
from swarm_persistence.query.text import quoted
from swarm_persistence.schema.tables import SEQUENCE, TABLES, Column, Index, Kind, Table
from swarm_persistence_conformance.records import an_agent, ids

_TYPES = {Kind.COUNT: "INTEGER", Kind.VERSION: "INTEGER", Kind.RANK: "INTEGER", Kind.FLAG: "INTEGER"}
_TYPES |= {Kind.TIME: "INTEGER", Kind.REAL: "REAL", Kind.BYTES: "BLOB", Kind.VECTOR: "BLOB"}

_INSERT_TASKS_OF_VERSION_1 = """
INSERT INTO tasks (id, status, dependencies, task_type, priority, retry_count, max_retries, created_at, updated_at,
  payload, version)
VALUES
  ('done', 'completed', '[]', 't', 1, 0, 3, 0, 0, 'null', 2),
  ('ready', 'pending', '["done"]', 't', 1, 0, 3, 0, 0, 'null', 1),
  ('waiting', 'pending', '["done","ready","ready"]', 't', 1, 0, 3, 0, 0, 'null', 1),
  ('missing', 'pending', '["ready","no\u0308 such"]', 't', 1, 0, 3, 0, 0, 'null', 1)
"""


@pytest.fixture
def connection(path: Path) -> Iterator[apsw.Connection]:
    connection = apsw.Connection(str(path))
    switch_to_wal(connection, 10)
    yield connection
    connection.close()


def schema_of(connection: apsw.Connection) -> list[Any]:
    return connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name").fetchall()


def dump_of(path: Path) -> list[Any]:
    connection = apsw.Connection(str(path))
    rows = [connection.execute(f"SELECT * FROM {name}").fetchall() for _, name, _, _ in tables_of(connection)]
    dump = [schema_of(connection), rows]
    connection.close()
    return dump


def tables_of(connection: apsw.Connection) -> list[Any]:
    return [row for row in schema_of(connection) if row[0] == "table"]


class TestMigrations:
    def test_they_are_numbered_from_one_without_a_gap(self) -> None:
        assert [step.version for step in MIGRATIONS] == list(range(1, LATEST + 1))

    async def test_a_new_file_is_at_the_latest_version(self, path: Path) -> None:
        with use_clock(ManualClock()):
            async with await SqliteStorage.open(path) as storage:
                status = await storage.migration_status()

        assert (status.version, status.latest) == (LATEST, LATEST)
        assert [step.version for step in status.applied] == [step.version for step in MIGRATIONS]
        assert {step.applied_at for step in status.applied} == {"2026-01-01T00:00:00+00:00"}

    async def test_back_and_forth_gives_the_same_schema(self, storage: SqliteStorage, path: Path) -> None:
        before = dump_of(path)[0]

        await storage.migrate_to(0)
        empty = dump_of(path)[0]
        below = await storage.migration_status()
        await storage.migrate_to(LATEST)

        assert [name for _, name, _, _ in empty if not name.startswith("sqlite_")] == [
            schema_version.LOG_BEFORE_VERSION_3
        ]
        assert (below.version, below.applied) == (0, ())
        assert dump_of(path)[0] == before

    async def test_the_storage_works_again_after_back_and_forth(self, storage: SqliteStorage) -> None:
        await storage.store_agent(an_agent())
        await storage.list_agents()

        await storage.migrate_to(0)
        with pytest.raises(DatabaseError, match="no such table"):
            await storage.list_agents()
        await storage.migrate_to(LATEST)

        assert await storage.list_agents() == []
        await storage.store_agent(an_agent())
        assert ids(await storage.list_agents()) == ["agent-1"]

    async def test_to_the_version_it_has_changes_nothing(self, storage: SqliteStorage, path: Path) -> None:
        await storage.store_agent(an_agent())
        before = dump_of(path)

        await storage.migrate_to(LATEST)

        assert dump_of(path) == before

    def test_what_the_first_version_holds_is_kept_and_waits_for_what_it_waited(
        self, connection: apsw.Connection
    ) -> None:
        schema_version.migrate(connection, 1)
        connection.execute(_INSERT_TASKS_OF_VERSION_1)
        connection.execute(
            "INSERT INTO messages "
            "VALUES (7, 'm', 'a', 'b', 'hello', '{}', 1, 5), (3, 'n', 'b', 'a', 'hello', '{}', 0, 6)"
        )
        messages = connection.execute("SELECT * FROM messages ORDER BY sequence").fetchall()
        tasks = connection.execute("SELECT * FROM tasks ORDER BY sequence").fetchall()

        schema_version.migrate(connection, 2)

        waits = (
            "SELECT id, unmet_dependencies, is_delayed, change_number, fails_with_dependencies FROM tasks ORDER BY id"
        )
        assert connection.execute(waits).fetchall() == [
            ("done", 0, 0, 1, 1),
            ("missing", 2, 0, 4, 1),
            ("ready", 0, 0, 2, 1),
            ("waiting", 1, 0, 3, 1),
        ]
        links = "SELECT id, task_id, dependency_id FROM task_links ORDER BY id"
        assert connection.execute(links).fetchall() == [
            (TaskLink.between(*link).id, *link)
            for link in [("missing", "no\u0308 such"), ("missing", "ready"), ("waiting", "ready")]
        ]
        every_message = "SELECT * FROM messages ORDER BY sequence"
        assert connection.execute(every_message).fetchall() == [(*message, None, None) for message in messages]

        schema_version.migrate(connection, 1)

        assert connection.execute(every_message).fetchall() == messages
        assert connection.execute("SELECT * FROM tasks ORDER BY sequence").fetchall() == tasks

    @pytest.mark.parametrize("version", [-1, LATEST + 1, "1", True, None, 1.0])
    async def test_an_unknown_version_is_refused(self, storage: SqliteStorage, version: Any) -> None:
        with pytest.raises(MigrationError, match=f"version .* is unknown; this code knows the versions 0 to {LATEST}"):
            await storage.migrate_to(version)

        assert (await storage.migration_status()).version == LATEST

    async def test_a_file_left_below_the_latest_is_brought_up_when_it_is_opened(self, path: Path) -> None:
        async with await SqliteStorage.open(path) as storage:
            await storage.migrate_to(0)

        async with await SqliteStorage.open(path) as storage:
            assert (await storage.migration_status()).version == LATEST

    @pytest.mark.parametrize(
        ("statement", "reason"),
        [
            ("CREATE TABLE cats (", "incomplete input"),
            ("INSERT INTO agents SELECT * FROM agents", "UNIQUE constraint failed"),
            ("SELECT * FROM cats", "no such table: cats"),
        ],
    )
    async def test_a_step_that_fails_leaves_the_file_as_it_was(
        self, storage: SqliteStorage, path: Path, connection: apsw.Connection, statement: str, reason: str
    ) -> None:
        await storage.store_agent(an_agent())
        before = dump_of(path)
        good = Migration(LATEST + 1, "good", ("CREATE TABLE mice (name TEXT)", "DELETE FROM agents"), (), LATEST)
        bad = Migration(LATEST + 2, "bad", ("CREATE TABLE rats (name TEXT)", statement), (), LATEST)
        steps = (*MIGRATIONS, good, bad) if "agents" not in statement else (*MIGRATIONS, _harmless(), bad)

        with pytest.raises(MigrationError, match=rf"the step to version {LATEST + 2} \(bad\) failed: .*{reason}"):
            schema_version.migrate(connection, LATEST + 2, steps)

        assert dump_of(path) == before
        assert ids(await storage.list_agents()) == ["agent-1"]

    def test_a_step_back_that_fails_leaves_the_file_as_it_was(self, path: Path, connection: apsw.Connection) -> None:
        steps = (*MIGRATIONS, Migration(LATEST + 1, "no return", (), ("DROP TABLE mice",), LATEST))
        schema_version.migrate(connection, LATEST + 1, steps)
        before = dump_of(path)

        with pytest.raises(MigrationError, match=rf"the step back from version {LATEST + 1} \(no return\) failed"):
            schema_version.migrate(connection, 0, steps)

        assert dump_of(path) == before


def _harmless() -> Migration:
    return Migration(LATEST + 1, "harmless", ("CREATE TABLE mice (name TEXT)",), ("DROP TABLE mice",), LATEST)


class TestSchema:
    """The schema that the migrations make is the one that the models describe."""

    @pytest.fixture(autouse=True)
    def _migrated(self, connection: apsw.Connection) -> None:
        schema_version.migrate(connection)

    def test_there_are_no_other_tables(self, connection: apsw.Connection) -> None:
        names = {name for _, name, _, _ in tables_of(connection)} - {
            schema_version.LOG,
            "sqlite_sequence",
            "change_floor",
            "event_floor",
            "reserved_numbers",
            *word_index.TABLES,
        }

        assert names == {table.name for table in TABLES}

    @pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
    def test_the_columns_are_the_models_fields(self, connection: apsw.Connection, table: Table[Any]) -> None:
        rows = connection.execute(f"PRAGMA table_xinfo({table.name})").fetchall()

        found = {name: (kind, not is_required) for _, name, kind, is_required, *_ in rows if name != SEQUENCE}
        assert found == {column.name: (_type(column), column.is_nullable) for column in (*table.columns, *table.hidden)}
        assert [(name, key) for _, name, _, _, _, key, _ in rows if key] == [(SEQUENCE, 1)]

    @pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
    def test_the_tables_are_strict(self, connection: apsw.Connection, table: Table[Any]) -> None:
        assert connection.execute("SELECT strict FROM pragma_table_list(?)", (table.name,)).get == 1

    @pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
    def test_the_indexes_are_the_models(self, connection: apsw.Connection, table: Table[Any]) -> None:
        texts = {
            name: sql for kind, name, owner, sql in schema_of(connection) if (kind, owner) == ("index", table.name)
        }

        assert {name: _columns(connection, name, text) for name, text in texts.items() if text} == {
            index.name: _expected(index) for index in table.indexes
        }

    @pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
    def test_ids_are_unique(self, connection: apsw.Connection, table: Table[Any]) -> None:
        rows = connection.execute(
            "SELECT c.name FROM pragma_index_list(?) i, pragma_index_info(i.name) c WHERE i.[unique]", (table.name,)
        ).fetchall()

        assert {name for (name,) in rows} == {
            "id",
            *(column for index in table.indexes if index.is_unique for column in index.columns),
        }


def _type(column: Column) -> str:
    return _TYPES.get(column.kind, "TEXT")


def _columns(connection: apsw.Connection, name: str, text: str) -> tuple[Any, ...]:
    """Return what an index has: its columns, in what direction, and the rows it is limited to."""
    rows = connection.execute(f"PRAGMA index_xinfo({name})").fetchall()
    columns = [(column, bool(descending)) for _, place, column, descending, _, _ in rows if place != -1]
    assert [place for _, place, *_ in rows][-1] == -1  # the sequence follows by itself
    _, _, where = text.partition("WHERE ")
    expressions = text[text.index("(") :].count("min(") + text[text.index("(") :].count("max(")
    return columns, expressions, where.strip()


def _expected(index: Index) -> tuple[Any, ...]:
    columns: list[Any] = []
    pairs = 0
    for column in index.columns:
        if "|" in column:
            pairs += 1
            columns += [(None, False), (None, False)]  # min(a, b), max(a, b)
        else:
            columns.append((column.removeprefix("-"), column.startswith("-")))
    limits = [f"{field} = {value!r}" for field, value in index.where]
    limits += [f"{quoted(index.present)} IS NOT NULL"] if index.present else []
    return columns, 2 * pairs, " AND ".join(limits)


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


class TestEventFloor:
    def test_an_empty_log_that_had_events_remembers_the_last_one(self, connection: apsw.Connection) -> None:
        schema_version.migrate(connection, 3)
        _insert_events(connection, 3)
        connection.execute("DELETE FROM events")

        schema_version.migrate(connection)

        assert _floor(connection) == 3

    def test_a_log_with_events_begins_without_a_floor(self, connection: apsw.Connection) -> None:
        schema_version.migrate(connection, 3)
        _insert_events(connection, 3)
        # As the replacing of a stored event leaves it: with a number used up that no event has.
        connection.execute("UPDATE sqlite_sequence SET seq = 4 WHERE name = 'events'")

        schema_version.migrate(connection)

        assert _floor(connection) == 0

    def test_deletions_by_an_older_release_raise_it(self, connection: apsw.Connection) -> None:
        schema_version.migrate(connection)
        _insert_events(connection, 3)

        connection.execute("DELETE FROM events WHERE sequence >= 2")
        connection.execute("DELETE FROM events WHERE sequence = 1")

        assert _floor(connection) == 3

    def test_back_and_forth_keeps_the_events(self, connection: apsw.Connection) -> None:
        schema_version.migrate(connection)
        _insert_events(connection, 3)
        rows = connection.execute("SELECT * FROM events").fetchall()

        schema_version.migrate(connection, 3)
        connection.execute("DELETE FROM events WHERE sequence = 3")
        schema_version.migrate(connection)

        assert connection.execute("SELECT * FROM events").fetchall() == rows[:2]
        assert _floor(connection) == 0


def _insert_events(connection: apsw.Connection, number: int) -> None:
    for place in range(number):
        connection.execute(
            "INSERT INTO events (id, event_type, data, timestamp) VALUES (?, 't', 'null', 0)", (str(place),)
        )


def _floor(connection: apsw.Connection) -> int:
    number: int = connection.execute("SELECT number FROM event_floor").get
    return number


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
