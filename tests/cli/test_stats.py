"""`swarm-persistence stats`."""

import json
from pathlib import Path
from typing import Any

import pytest

from swarm_persistence import (
    AgentModel,
    DocumentModel,
    EventModel,
    MemoryStorage,
    MessageModel,
    MetricModel,
    TaskModel,
    open_storage,
)
from swarm_persistence.cli.main import main
from swarm_persistence.cli.stats import Schema, read_stats
from swarm_persistence.clock import ManualClock, use_clock


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "swarm.db"
    with open_storage(path) as storage:
        with use_clock(ManualClock()) as clock:
            first = TaskModel.new("first", {})
            clock.advance(60)
            second = TaskModel.new("second", {})
            claimed = TaskModel.new("claimed", {})
        agent = AgentModel.new("worker", "researcher")
        storage.store_many([second, first, claimed, agent])
        assert storage.claim_task(claimed.id, agent.id)
        read, unread = (MessageModel.new("a", "b", "note", None) for _ in range(2))
        storage.store_many([read, unread, EventModel.new("seen", {}), MetricModel.new("cpu", 1.0, "s")])
        storage.mark_message_read(read.id)
        storage.put_documents([DocumentModel.new(("notes",), key) for key in "abc"])
    return path


def stats_of(database: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    assert main(["stats", str(database), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_json_holds_every_count(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stats = stats_of(database, capsys)
    assert stats["database"] == str(database)
    assert {status: count for status, count in stats["tasks"].items() if count} == {"pending": 2, "assigned": 1}
    assert {status: count for status, count in stats["agents"].items() if count} == {"initializing": 1}
    assert (stats["events"], stats["messages"], stats["messages_unread"], stats["metrics"]) == (1, 2, 1, 1)
    assert stats["documents"] == 3


def test_tasks_are_counted_by_type_and_status(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    types = stats_of(database, capsys)["task_types"]
    assert types == {"claimed": {"assigned": 1}, "first": {"pending": 1}, "second": {"pending": 1}}


def test_the_table_of_types_shows_the_most_frequent_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "swarm.db"
    with open_storage(path) as storage:
        frequent = [TaskModel.new("[red]frequent[/red]", None) for _ in range(1234)]
        storage.store_many([*frequent, *(TaskModel.new(f"rare-{n:02}", None) for n in range(30))])
    assert main(["stats", str(path)]) == 0
    output = capsys.readouterr().out
    assert "and 11 less frequent types" in output
    lines = [line.split() for line in output.splitlines()]
    assert ["[red]frequent[/red]", "1,234"] in lines
    assert ["rare-18", "1"] in lines
    assert ["rare-19", "1"] not in lines


def test_texts_of_records_send_no_control_characters_to_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "a\x1b]0;title\x07\x9b31m\r\u202e"
    with open_storage(tmp_path / "swarm.db") as storage:
        storage.store_task(TaskModel(id=text, task_type=text))
    assert main(["stats", str(tmp_path / "swarm.db")]) == 0
    printed = capsys.readouterr().out
    assert "\N{REPLACEMENT CHARACTER}]0;title" in printed
    assert all(each.isprintable() for each in printed.replace("\n", ""))


def test_the_oldest_pending_task_is_the_one_created_first(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    oldest = stats_of(database, capsys)["oldest_pending_task"]
    assert (oldest["task_type"], oldest["priority"]) == ("first", "medium")
    assert oldest["created_at"] == "2026-01-01T00:00:00+00:00"


def test_the_oldest_ready_task_of_each_type_is_told_longest_waiting_first(
    database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    waiting = stats_of(database, capsys)["waiting"]
    assert [(name, each["count"], each["since"]) for name, each in waiting.items()] == [
        ("first", 1, "2026-01-01T00:00:00+00:00"),
        ("second", 1, "2026-01-01T00:01:00+00:00"),
    ]
    with open_storage(database) as storage:
        assert {name: storage.get_task(each["oldest_id"]) for name, each in waiting.items()} == {
            task.task_type: task for task in storage.get_pending_tasks()
        }
    assert main(["stats", str(database)]) == 0
    assert waiting["first"]["oldest_id"] in capsys.readouterr().out


def test_the_schema_is_told(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    schema = stats_of(database, capsys)["schema"]
    assert schema["version"] == schema["latest"] >= 1


def test_the_size_holds_the_log(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with open_storage(database) as storage:
        storage.store_many([TaskModel.new("more", "x" * 1000) for _ in range(200)])
        log = database.with_name(f"{database.name}-wal").stat().st_size
        assert log > 200_000
        assert stats_of(database, capsys)["size_bytes"] >= database.stat().st_size + log


def test_the_tables_hold_the_same_numbers(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stats", str(database)]) == 0
    output = capsys.readouterr().out
    lines = [line.split() for line in output.splitlines()]
    for row in (["tasks", "3"], ["pending", "2"], ["assigned", "1"], ["messages", "2"], ["unread", "1"]):
        assert row in lines
    assert "oldest pending task: first " in output


async def test_any_storage_can_be_counted() -> None:
    async with MemoryStorage() as storage:
        await storage.store_task(TaskModel.new("first", {}))
        stats = await read_stats(storage, "memory")
    assert (stats.tasks["pending"], stats.schema) == (1, Schema(0, 0))
