"""Facts about migrations: forwards, back, at once, and all or nothing; and that the schema is the models'."""

from pathlib import Path
from typing import Any

import apsw
import pytest

from sqlite.schema_dumps import dump_of
from swarm_persistence import DatabaseError, MigrationError, SqliteStorage
from swarm_persistence.clock import ManualClock, use_clock
from swarm_persistence.engines.sql.sqlite import schema_version
from swarm_persistence.engines.sql.sqlite.migrations import LATEST, MIGRATIONS, Migration
from swarm_persistence.models.links import TaskLink
from swarm_persistence_conformance.records import an_agent, ids

_INSERT_TASKS_OF_VERSION_1 = """
INSERT INTO tasks (id, status, dependencies, task_type, priority, retry_count, max_retries, created_at, updated_at,
  payload, version)
VALUES
  ('done', 'completed', '[]', 't', 1, 0, 3, 0, 0, 'null', 2),
  ('ready', 'pending', '["done"]', 't', 1, 0, 3, 0, 0, 'null', 1),
  ('waiting', 'pending', '["done","ready","ready"]', 't', 1, 0, 3, 0, 0, 'null', 1),
  ('missing', 'pending', '["ready","no\u0308 such"]', 't', 1, 0, 3, 0, 0, 'null', 1)
"""


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
