"""What the Rust crate has stored is here after an import, and the file that it wrote is as it was."""

import json
import shutil
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import apsw
import pytest

from swarm_persistence import (
    AgentModel,
    AgentStatus,
    DatabaseError,
    EventModel,
    MemoryStorage,
    MessageModel,
    MessagePriority,
    MetricModel,
    PostgresStorage,
    SqliteStorage,
    Storage,
    TaskModel,
    TaskPriority,
    TaskStatus,
)
from swarm_persistence.transfer.rust_import import RustImport, import_rust
from swarm_persistence_conformance.records import everything_in, ids
from transfer.rust_files import SECONDS, TIME, WRITTEN_BY_RUST, RustFile, state_of

MOMENT = datetime(2026, 11, 28, 16, 15, 37, 63_203, UTC)


async def imported(source: Path) -> tuple[Storage, RustImport]:
    """Import a file into memory."""
    storage = MemoryStorage()
    return storage, await import_rust(source, storage)


def counts(outcome: RustImport) -> dict[str, tuple[int, int]]:
    """Return what was found, and what was imported."""
    return {each.table: (each.found, each.imported) for each in outcome.tables}


def rows_of_the_crate(table: str) -> list[dict[str, Any]]:
    """Return the rows of the crate's own file with their JSON, read by SQLite alone."""
    connection = apsw.Connection(
        f"file:{WRITTEN_BY_RUST}?immutable=1", apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    )
    try:
        cursor = connection.execute(f"SELECT * FROM {table} ORDER BY rowid")
        names = [name for name, _ in cursor.get_description()]
        rows = [dict(zip(names, row, strict=True)) for row in cursor]
        return [row | {"json": json.loads(row["data"])} for row in rows]
    finally:
        connection.close()


class TestTheCratesOwnFile:
    async def test_all_of_it_comes_over_with_its_fields_and_order(self, old: Path, tmp_path: Path) -> None:
        outcome = await import_rust(old, tmp_path / "new.db")

        assert outcome.is_complete
        assert counts(outcome) == {
            "agents": (2, 2), "tasks": (20, 20), "events": (20, 20), "messages": (20, 20), "metrics": (20, 20)
        }  # fmt: skip
        async with await SqliteStorage.open(tmp_path / "new.db", must_exist=True) as storage:
            found = await everything_in(storage)
            (doctor,) = [await storage.repository(AgentModel).find_by_id(found["AgentModel"][0].id)]
            assert doctor is not None
            assert (doctor.name, doctor.capabilities, doctor.status) == ("worker ü", ["x"], AgentStatus.INITIALIZING)
        for record, row in zip(found["TaskModel"], rows_of_the_crate("tasks"), strict=True):
            assert (record.id, record.payload, record.priority) == (
                row["id"],
                row["json"]["payload"],
                TaskPriority.HIGH,
            )
            assert record.status.value == row["status"].strip('"')
            assert record.result == row["json"]["result"]
            assert (record.assigned_to, record.fails_with_dependencies) == (row["assigned_to"], False)
        for record, row in zip(found["EventModel"], rows_of_the_crate("events"), strict=True):
            fields = ("id", "event_type", "agent_id", "task_id", "metadata")
            assert {name: getattr(record, name) for name in fields} == {name: row["json"][name] for name in fields}
            assert record.data == row["json"]["payload"]
        for record, row in zip(found["MessageModel"], rows_of_the_crate("messages"), strict=True):
            assert (record.id, record.content, record.priority) == (
                row["id"], row["json"]["content"], MessagePriority(row["json"]["priority"])
            )  # fmt: skip
            assert record.read == bool(row["read"])
            assert (record.read_at and record.read_at.timestamp()) == row["read_at"]
        for record, row in zip(found["MetricModel"], rows_of_the_crate("metrics"), strict=True):
            assert (record.id, record.value, record.tags) == (row["id"], row["value"], row["json"]["tags"])
            assert record.timestamp.isoformat()[:26] == row["json"]["timestamp"][:26]

    async def test_neither_the_file_nor_its_directory_is_changed_by_a_byte(self, old: Path, tmp_path: Path) -> None:
        before = state_of(old.parent)

        await import_rust(old, tmp_path / "new.db")

        assert state_of(old.parent) == before
        assert [*before] == ["swarm.db"]

    async def test_it_goes_to_a_server_as_well(self, old: Path, tmp_path: Path, url: str) -> None:
        await import_rust(old, tmp_path / "new.db")
        outcome = await import_rust(old, url)

        assert outcome.is_complete
        async with await PostgresStorage.open(url) as remote, await SqliteStorage.open(tmp_path / "new.db") as local:
            assert await everything_in(remote) == await everything_in(local)

    async def test_what_a_server_refuses_is_skipped_and_the_rest_comes_over(self, file: RustFile, url: str) -> None:
        long = "".join(sha256(str(number).encode()).hexdigest() for number in range(200))  # does not compress
        for number in range(20):
            file.add_task(long if number == 7 else f"task-{number}")
        file.close()

        outcome = await import_rust(file.path, url)

        assert counts(outcome)["tasks"] == (20, 19)
        (skipped,) = outcome.skipped
        assert (skipped.table, skipped.row, skipped.id) == ("tasks", 8, long)
        assert "too long" in skipped.reason
        async with await PostgresStorage.open(url) as storage:
            assert await storage.repository(TaskModel).count() == 19

    async def test_opening_it_as_a_storage_says_how_to_import_it(self, old: Path) -> None:
        with pytest.raises(
            DatabaseError, match=r"Rust crate.*as it is.*`swarm-persistence import-rust .*swarm\.db NEW`"
        ):
            await SqliteStorage.open(old)


class TestLog:
    async def test_what_a_killed_program_has_left_in_the_log_is_read_and_the_log_stays(
        self, file: RustFile, tmp_path: Path
    ) -> None:
        file.run("PRAGMA journal_mode = WAL")
        file.run("PRAGMA wal_checkpoint(TRUNCATE)")
        file.run("PRAGMA wal_autocheckpoint = 0")
        for number in range(50):
            file.add_metric(str(number))
        left = tmp_path / "left"
        left.mkdir()
        for suffix in ("", "-wal"):
            shutil.copyfile(f"{file.path}{suffix}", left / f"old.db{suffix}")
        file.close()
        before = state_of(left)

        storage, outcome = await imported(left / "old.db")

        assert counts(outcome)["metrics"] == (50, 50)
        assert await storage.repository(MetricModel).count() == 50
        assert state_of(left) == before
        assert sorted(before) == ["old.db", "old.db-wal"]

    async def test_the_log_of_a_link_lies_beside_the_file_itself(self, file: RustFile, tmp_path: Path) -> None:
        file.run("PRAGMA journal_mode = WAL")
        file.add_metric("in the log")
        (tmp_path / "links").mkdir()
        link = tmp_path / "links" / "link.db"
        link.symlink_to(file.path)

        storage, _ = await imported(link)

        assert ids(await storage.repository(MetricModel).find_all()) == ["in the log"]
        file.close()


class TestMapping:
    @pytest.mark.parametrize("has_plain_statuses", [True, False])
    async def test_a_status_is_read_with_and_without_the_quotes_of_json(
        self, tmp_path: Path, has_plain_statuses: bool
    ) -> None:
        file = RustFile(tmp_path / "old.db", has_plain_statuses=has_plain_statuses)
        for status in TaskStatus:
            file.add_task(status.value, status=status.value)

        storage, outcome = await imported(file.close())

        found = {task.id: task.status.value for task in await storage.repository(TaskModel).find_all()}
        expected = {status.value: status.value for status in TaskStatus}
        # Nothing was assigned: their agents were deleted.
        assert found == expected | {"assigned": "pending", "running": "pending"}
        assert any("2 tasks were assigned to an agent that was deleted" in text for text in outcome.mapped)
        assert any("6 tasks had a status in the quotes" in text for text in outcome.mapped) is not has_plain_statuses

    async def test_a_claim_that_stands_in_the_columns_only_is_kept_with_its_time(self, file: RustFile) -> None:
        file.add_agent()
        file.add_task("claimed")
        file.claim("claimed", "a", SECONDS + 60)

        storage, outcome = await imported(file.close())

        task = await storage.get_task("claimed")
        assert task is not None
        assert (task.status, task.assigned_to) == (TaskStatus.ASSIGNED, "a")
        assert task.updated_at == datetime.fromtimestamp(SECONDS + 60, UTC)
        assert task.created_at == MOMENT
        assert "1 tasks took status and assigned_to from their columns, which a claim changes alone" in outcome.mapped

    async def test_a_task_whose_agent_was_deleted_is_pending(self, file: RustFile) -> None:
        file.add_agent()
        file.run("PRAGMA foreign_keys = ON")
        file.add_task("t", status="running", assigned_to="a", started_at=TIME)
        file.run("DELETE FROM agents")

        storage, _ = await imported(file.close())

        assert ids(await storage.get_pending_tasks()) == ["t"]
        assert await storage.repository(AgentModel).count() == 0

    async def test_a_result_an_error_and_the_retries_come_from_the_json(self, file: RustFile) -> None:
        fields = {"result": {"big": 18_446_744_073_709_551_615}, "error": "e", "retry_count": 2, "max_retries": 7}
        file.add_task("t", status="completed", completed_at=TIME, started_at=TIME, **fields)

        storage, _ = await imported(file.close())

        task = await storage.get_task("t")
        assert task is not None
        assert {name: getattr(task, name) for name in fields} == fields
        assert (task.started_at, task.completed_at) == (MOMENT, MOMENT)

    async def test_times_are_cut_never_rounded(self, file: RustFile) -> None:
        times = {
            "0001-01-01T00:00:00.000000999Z": datetime(1, 1, 1, tzinfo=UTC),
            "1969-12-31T23:59:59.999999999Z": datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC),
            "2026-11-28T16:15:37Z": datetime(2026, 11, 28, 16, 15, 37, tzinfo=UTC),
            "2026-11-28T16:15:37.5Z": datetime(2026, 11, 28, 16, 15, 37, 500_000, UTC),
            "9999-12-31T23:59:59.999999999Z": datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC),
        }
        for text in times:
            file.add_event(text, timestamp=text)

        storage, outcome = await imported(file.close())

        found = {event.id: event.timestamp for event in await storage.repository(EventModel).find_all()}
        assert found == times
        assert outcome.mapped == ("3 times were cut to microseconds",)

    async def test_events_come_in_the_order_of_arrival_whatever_their_sequence(self, file: RustFile) -> None:
        for place, id in enumerate(("z", "a", "m")):
            file.add_event(id, sequence=9 - place, task_id="t", metadata={"n": place})

        storage, outcome = await imported(file.close())

        events = await storage.read_events()
        assert [(event.id, event.task_id, event.metadata) for event in events] == [
            ("z", "t", {"n": 0}), ("a", "t", {"n": 1}), ("m", "t", {"n": 2})
        ]  # fmt: skip
        assert any(text.startswith("3 events had a sequence of their own") for text in outcome.mapped)

    async def test_a_message_is_read_if_its_column_says_so(self, file: RustFile) -> None:
        file.add_agent()
        for id in ("marked", "read before", "unread"):
            file.add_message(id, **({"read": True, "read_at": TIME} if id == "read before" else {}))
        file.run("UPDATE messages SET read = 1, read_at = ? WHERE id = 'marked'", SECONDS + 5)

        storage, _ = await imported(file.close())

        messages = {message.id: message for message in await storage.repository(MessageModel).find_all()}
        assert {id: message.read_at for id, message in messages.items()} == {
            "marked": datetime.fromtimestamp(SECONDS + 5, UTC), "read before": MOMENT, "unread": None
        }  # fmt: skip
        assert ids(await storage.get_unread_messages("a")) == ["unread"]
        assert messages["unread"].priority is MessagePriority.URGENT

    async def test_a_task_waits_for_its_dependencies_wherever_they_stand(self, file: RustFile) -> None:
        file.add_task("first", dependencies=["last", "done"])
        for number in range(600):
            file.add_task(f"between-{number}", status="completed")
        file.add_task("done", status="completed")
        file.add_task("last", status="failed")

        storage, _ = await imported(file.close())

        task = await storage.get_task("first")
        assert task is not None
        assert (task.status, task.dependencies) == (TaskStatus.PENDING, ["last", "done"])
        assert await storage.get_ready_tasks() == []

    async def test_what_no_code_of_the_crate_writes_and_what_it_may_write_one_day_is_warned_of(
        self, tmp_path: Path
    ) -> None:
        from sqlite import rust_crate

        file = RustFile(tmp_path / "old.db")
        rust_crate.migrate(file.path)
        file.add_metric("m", colour="red")
        file.run("INSERT INTO agent_groups VALUES ('g', 'n', NULL, '{}', 0, 0)")

        _, outcome = await imported(file.close())

        assert outcome.is_complete
        assert outcome.warnings == (
            "the field metrics.colour of 1 records is unknown here, and was left out",
            "the table agent_groups holds 1 rows, which no code of the crate writes; they were left out",
        )


def _deep(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


class TestRowsThatCannotBeDecoded:
    async def test_each_is_listed_with_its_reason_and_the_others_are_imported(self, file: RustFile) -> None:
        file.add_agent("good")
        file.add_agent("of NUL", name="a\0b")
        file.add_agent("")
        file.add_agent("far", created_at="+11476-01-01T00:00:00Z")
        file.add_agent("broken")
        file.run("UPDATE agents SET data = substr(data, 1, 30) WHERE id = 'broken'")
        file.add_agent("of bytes")
        file.run("UPDATE agents SET data = CAST(x'7bff' AS TEXT) WHERE id = 'of bytes'")
        file.add_agent("renamed")
        file.run("UPDATE agents SET id = 'other' WHERE id = 'renamed'")
        file.add_agent("dancing", status="dancing")
        file.add_metric("infinite", value=None)
        file.add_event("deep", payload=_deep(300))

        storage, outcome = await imported(file.close())

        assert ids(await storage.list_agents()) == ["good"]
        assert counts(outcome) == {
            "agents": (8, 1), "tasks": (0, 0), "events": (1, 0), "messages": (0, 0), "metrics": (1, 0)
        }  # fmt: skip
        reasons = {row.id: row.reason for row in outcome.skipped}
        for id, reason in {
            "of NUL": "agent.name is 'a\\x00b', expected text without NUL",
            "": "agent.id is '', expected an id that is not empty",
            "far": "agent.created_at is '+11476-01-01T00:00:00Z', expected a time in UTC from the year 1",
            "broken": "truncated",
            "of bytes": "data is not UTF-8 text",
            "other": "its JSON has the id 'renamed', and the row has another",
            "dancing": "agent.status is 'dancing', expected a AgentStatus",
            "infinite": "`$.value`",
            "deep": "event.data",
        }.items():
            assert reason in reasons.pop(id)
        assert reasons == {}
        assert {row.row for row in outcome.skipped if row.table == "agents"} == {2, 3, 4, 5, 6, 7, 8}

    async def test_tasks_of_a_cycle_are_listed_and_those_that_wait_for_them_are_imported(self, file: RustFile) -> None:
        for id, needs in {"a": ["b"], "b": ["c"], "c": ["a"], "self": ["self"], "after": ["a"], "free": []}.items():
            file.add_task(id, dependencies=needs)

        storage, outcome = await imported(file.close())

        assert sorted(row.id for row in outcome.skipped) == ["a", "b", "c", "self"]
        assert {row.reason for row in outcome.skipped} == {
            "its dependencies lead back to itself, so it could never become ready"
        }
        assert sorted(ids(await storage.get_pending_tasks())) == ["after", "free"]

    async def test_what_the_target_would_refuse_is_listed_and_counts_as_no_mapped_record(self, file: RustFile) -> None:
        file.add_task("free", status="pending")
        for id, needs in {"of NUL": ["a\0b"], "of nothing": [""], "self": ["self"]}.items():
            file.add_task(id, dependencies=needs)

        storage, outcome = await imported(file.close())

        assert {row.id: row.reason for row in outcome.skipped} == {
            "of NUL": "task.dependencies[0] is 'a\\x00b', expected text without NUL characters",
            "of nothing": "task.dependencies[0] is '', expected an id that is not empty",
            "self": "its dependencies lead back to itself, so it could never become ready",
        }
        assert ids(await storage.get_pending_tasks()) == ["free"]
        assert not any("dependencies" in text for text in outcome.mapped)
