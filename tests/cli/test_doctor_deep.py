"""`swarm-persistence doctor --deep`, which reads every record, and `--repair`."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import pytest

from cli.commands import commands_in
from cli.test_doctor_logs import examined
from sqlite import rust_crate as the_crate
from swarm_persistence import (
    AgentModel,
    DocumentModel,
    EventModel,
    MessageModel,
    MetricModel,
    SqliteStorage,
    TaskModel,
    TaskStatus,
    open_storage,
)
from swarm_persistence.cli.main import main

KINDS = ("agents", "tasks", "events", "messages", "metrics", "documents")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A file with a task that waits for one dependency, and records of all kinds."""
    path = tmp_path / "swarm.db"
    with open_storage(path) as storage:
        tasks = [TaskModel.new(f"type-{number}", {"number": number}) for number in range(3)]
        tasks[2].dependencies = [tasks[0].id, tasks[1].id]
        storage.store_many([AgentModel.new("agent", "coder", []), *tasks])
        storage.store_many([MessageModel.new("a", "b", "note", "text"), MetricModel.new("cpu", 1.0, "percent")])
        storage.store_event(EventModel.new("begun", {}))
        storage.put_documents([DocumentModel.new(("notes",), "note", {"n": 1}, b"\0\xff\xfe", embedding=[0.5])])
        tasks[0].status = TaskStatus.COMPLETED
        storage.update_task(tasks[0])
    return path


@contextmanager
def changing(database: Path) -> Iterator[apsw.Connection]:
    connection = apsw.Connection(str(database))
    try:
        yield connection
    finally:
        connection.close()


def ready(database: Path) -> set[str]:
    with open_storage(database) as storage:
        return {task.task_type for task in storage.get_ready_tasks()}


def test_the_records_of_a_sound_database_are_counted(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, findings = examined(database, capsys, "--deep")
    assert code == 0
    assert [findings[kind]["detail"] for kind in KINDS] == [f"{count}, all readable" for count in (1, 3, 1, 1, 1, 1)]
    assert {findings[check]["level"] for check in ("waiting", "numbers", "other programs")} == {"ok"}


def test_a_file_of_a_version_without_documents_is_examined(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with open_storage(database) as storage:
        storage.migrate_to(8)

    _, findings = examined(database, capsys, "--deep")

    assert "documents" not in findings
    assert findings["tasks"]["level"] == "ok"


@pytest.mark.parametrize(
    ("change", "kind", "reason"),
    [
        ("UPDATE tasks SET payload = CAST(x'ff41' AS TEXT) WHERE sequence = 2", "tasks", "bytes that are not UTF-8"),
        ("UPDATE tasks SET payload = '{' WHERE sequence = 2", "tasks", "cannot be read back"),
        ("UPDATE agents SET status = 'asleep'", "agents", "KeyError"),
        ("UPDATE events SET event_type = 'a' || char(0)", "events", "a NUL character"),
    ],
)
def test_a_record_that_cannot_be_read_is_named(
    change: str, kind: str, reason: str, database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with changing(database) as connection:
        connection.execute(change).fetchall()
        ids: Any = connection.execute(f"SELECT id FROM {kind}").fetchall()
    assert examined(database, capsys)[0] == 0
    code, findings = examined(database, capsys, "--deep")
    assert (code, findings[kind]["level"]) == (1, "wrong")
    assert reason in findings[kind]["detail"]
    assert any(id in findings[kind]["detail"] for (id,) in ids)
    assert "recover" in findings[kind]["remedy"]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("UPDATE tasks SET unmet_dependencies = 0 WHERE sequence = 3", "count another number of dependencies"),
        ("UPDATE tasks SET unmet_dependencies = 2 WHERE sequence = 3", "count another number of dependencies"),
        ("DELETE FROM task_links", "do not wait for unfinished dependencies"),
        (
            "INSERT INTO task_links (id, task_id, dependency_id) "
            "SELECT 'x', a.id, b.id FROM tasks a, tasks b WHERE a.sequence = 3 AND b.sequence = 1",
            "wait for completed tasks",
        ),
    ],
)
def test_tasks_that_wait_for_other_things_than_they_say_are_found_and_repaired(
    change: str, what: str, database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with changing(database) as connection:
        connection.execute(change).fetchall()
    code, findings = examined(database, capsys, "--deep")
    assert (code, findings["waiting"]["level"]) == (1, "wrong")
    assert what in findings["waiting"]["detail"]
    assert main(["doctor", str(database), "--deep", "--repair"]) == 0
    assert "repaired: waiting" in capsys.readouterr().out
    assert ready(database) == {"type-1"}
    with open_storage(database) as storage:
        (task,) = storage.get_ready_tasks()
        task.status = TaskStatus.COMPLETED
        storage.update_task(task)
    assert ready(database) == {"type-2"}


def test_a_task_that_waits_for_no_time_is_found_and_repaired(
    database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with changing(database) as connection:
        connection.execute("UPDATE tasks SET is_delayed = 1 WHERE sequence = 2").fetchall()
    code, findings = examined(database, capsys, "--deep")
    assert (code, findings["waiting"]["level"]) == (1, "wrong")
    assert main(["doctor", str(database), "--deep", "--repair"]) == 0
    assert ready(database) == {"type-1"}


def test_numbers_that_may_be_given_out_twice_are_told(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with changing(database) as connection:
        connection.execute("UPDATE sqlite_sequence SET seq = 0 WHERE name = 'events'").fetchall()
    code, findings = examined(database, capsys, "--deep")
    assert (code, findings["numbers"]["level"]) == (1, "wrong")
    assert "events" in findings["numbers"]["detail"]


async def test_what_another_program_has_written_is_told_and_taken_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "swarm.db"
    async with await SqliteStorage.open(path) as storage:
        await storage.store_task(TaskModel.new("kept", {}))
        await storage.migrate_to(2)
    the_crate.migrate(path)
    code, findings = examined(path, capsys, "--deep")
    assert (code, findings["other programs"]["level"]) == (1, "wrong")
    assert "table agent_groups" in findings["other programs"]["detail"]
    commands = commands_in(findings["other programs"]["remedy"])
    assert [command[0] for command in commands] == ["doctor"]
    done = [await asyncio.to_thread(main, command) for command in commands]
    assert done == [0]
    assert "repaired: other programs" in capsys.readouterr().out
    async with await SqliteStorage.open(path) as storage:
        assert [task.task_type for task in await storage.get_pending_tasks()] == ["kept"]


def test_a_damaged_file_is_not_repaired(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with changing(database) as connection:
        connection.execute("PRAGMA writable_schema = 1").fetchall()
        connection.execute("UPDATE sqlite_schema SET rootpage = 5 WHERE name = 'tasks_by_agent'").fetchall()
    before = database.read_bytes()
    assert main(["doctor", str(database), "--repair"]) == 1
    assert "nothing was repaired" in capsys.readouterr().err
    assert database.read_bytes() == before
