"""Recovery of damaged files: at least what plain SQL can read row by row, and a list of the rest."""

import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from swarm_persistence import (
    AgentModel,
    ConflictError,
    DocumentModel,
    EventModel,
    MessageModel,
    MetricModel,
    ScheduleModel,
    TaskModel,
    TaskStatus,
    open_storage,
)
from swarm_persistence.cli.main import main
from swarm_persistence.engines.sql.sqlite import checksums
from swarm_persistence.engines.sql.sqlite.recovery.losses import RecoveryOutcome
from swarm_persistence.engines.sql.sqlite.recovery.recovering import recover

PAGE = 4096
TABLES = {
    **{"agents": 50, "tasks": 300, "events": 300, "messages": 100, "metrics": 150, "documents": 60},
    "schedules": 20,
}

# Ends without closing, as a killed process does: the log stays.
FILLING = """
import os, sys
from swarm_persistence import TaskModel, open_storage
storage = open_storage(sys.argv[1])
for number in range(int(sys.argv[2])):
    storage.store_many([TaskModel.new(f"t{number}", "x" * 500) for _ in range(20)])
os._exit(0)
"""


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("original") / "swarm.db"
    draw = random.Random(12)
    with open_storage(path) as storage:
        storage.store_many([AgentModel.new(f"agent-{number}", "coder", ["x"]) for number in range(50)])
        tasks = [
            TaskModel.new(
                f"type-{number}", {"text": "é" * draw.randrange(900), "large": "z" * 9000 * (not number % 50)}
            )
            for number in range(300)
        ]
        for task in tasks[20:60]:
            task.dependencies = [tasks[0].id, tasks[1].id]
        storage.store_many(tasks)
        for number in range(300):
            storage.store_event(EventModel.new(f"e{number % 5}", {"text": "y" * draw.randrange(400)}))
        storage.store_many([MessageModel.new("a", "b", "note", f"message {number}" * 9) for number in range(100)])
        storage.store_many([MetricModel.new("cpu", float(number), "percent") for number in range(150)])
        storage.store_many([ScheduleModel.new(f"schedule-{number}", "x", every=number + 1) for number in range(20)])
        storage.put_documents(
            DocumentModel.new(
                ("notes", str(number % 3)), f"note-{number}", number, draw.randbytes(number * 50), label="x"
            )
            for number in range(60)
        )
    return path


def destroy_page(data: bytearray, draw: random.Random) -> bytearray:
    start = draw.randrange(len(data) // PAGE) * PAGE
    data[start : start + PAGE] = draw.randbytes(PAGE)
    return data


def zero_sector(data: bytearray, draw: random.Random) -> bytearray:
    start = draw.randrange(len(data) // 512) * 512
    data[start : start + 512] = bytes(512)
    return data


def flip_bits(data: bytearray, draw: random.Random) -> bytearray:
    for place in draw.sample(range(len(data)), 20):
        data[place] ^= 1 << draw.randrange(8)
    return data


def cut_off(data: bytearray, draw: random.Random) -> bytearray:
    return data[: draw.randrange(PAGE, len(data))]


Damage = Callable[[bytearray, random.Random], bytearray]


def rows_by_plain_sql(path: Path) -> dict[str, set[Any]]:
    """Return the rows that SQLite gives one by one, from both ends, and by each number."""
    found: dict[str, set[Any]] = {table: set() for table in TABLES}
    connection = apsw.Connection(f"{path.as_uri()}?immutable=1", flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)

    def take(table: str, rest: str) -> None:
        try:
            for row in connection.execute(f"SELECT * FROM {table} {rest}"):
                found[table].add(row)
        except (apsw.Error, UnicodeDecodeError):
            pass

    for table, count in TABLES.items():
        take(table, "ORDER BY sequence")
        take(table, "ORDER BY sequence DESC")
        for number in range(1, count + 1):
            take(table, f"WHERE sequence = {number}")
    connection.close()
    return found


def ids_in(path: Path) -> dict[str, set[str]]:
    connection = apsw.Connection(str(path))
    try:
        rows: dict[str, Any] = {table: connection.execute(f"SELECT id FROM {table}").fetchall() for table in TABLES}
        return {table: {id for (id,) in each} for table, each in rows.items()}
    finally:
        connection.close()


def recovered(path: Path, **options: Any) -> tuple[Path, RecoveryOutcome]:
    """Recover into a new file beside it, having seen that no byte of the damaged one changes."""
    before = {each: each.read_bytes() for each in path.parent.iterdir()}
    target = path.with_name("recovered.db")
    outcome = recover(path, target, **options)
    assert {each: each.read_bytes() for each in before} == before
    return target, outcome


def copy_of(original: Path, directory: Path, data: bytes | bytearray | None = None) -> Path:
    path = directory / "swarm.db"
    path.write_bytes(original.read_bytes() if data is None else data)
    return path


def pages_of(path: Path, name: str) -> list[tuple[int, str, str]]:
    """Return the numbers, kinds and paths of the pages of a table or an index."""
    connection = apsw.Connection(str(path))
    try:
        rows: Any = connection.execute("SELECT pageno, pagetype, path FROM dbstat WHERE name = ?", (name,)).fetchall()
        return list(rows)
    finally:
        connection.close()


def with_pages_destroyed(path: Path, numbers: list[int]) -> bytes:
    data = bytearray(path.read_bytes())
    for number in numbers:
        data[(number - 1) * PAGE : number * PAGE] = random.Random(number).randbytes(PAGE)
    return bytes(data)


def fill(path: Path, groups: int) -> None:
    subprocess.run([sys.executable, "-c", FILLING, str(path), str(groups)], check=True)


def test_all_of_a_sound_file_is_there_with_its_numbers(original: Path, tmp_path: Path) -> None:
    target, outcome = recovered(copy_of(original, tmp_path))
    assert outcome.is_complete
    found = {table.table: table.recovered for table in outcome.tables if table.recovered}
    assert found == {**TABLES, "task_links": 80}
    for table in (*TABLES, "task_links", "sqlite_sequence", "change_floor", "event_floor"):
        rows = []
        for path in (original, target):
            connection = apsw.Connection(str(path))
            rows.append(connection.execute(f"SELECT * FROM {table} ORDER BY rowid").fetchall())
            connection.close()
        assert rows[0] == rows[1]


@pytest.mark.parametrize("damage", [destroy_page, zero_sector, flip_bits, cut_off])
@pytest.mark.parametrize("seed", range(6))
def test_no_less_than_by_plain_sql_is_recovered_and_the_rest_is_listed(
    damage: Damage, seed: int, original: Path, tmp_path: Path
) -> None:
    path = copy_of(original, tmp_path, damage(bytearray(original.read_bytes()), random.Random(seed)))
    target, outcome = recovered(path)
    found, all_ids = ids_in(target), ids_in(original)
    plain, right = rows_by_plain_sql(path), rows_by_plain_sql(original)
    listed = {(loss.table, loss.id) for loss in outcome.losses}
    gaps = {loss.table for loss in outcome.losses if loss.after_rowid is not None}
    for table in TABLES:
        assert {row[1] for row in plain[table] & right[table]} <= found[table]
        for id in all_ids[table] - found[table]:
            assert (table, id) in listed or table in gaps


@pytest.mark.parametrize("table", TABLES)
def test_no_row_is_lost_with_the_pages_of_indexes(table: str, original: Path, tmp_path: Path) -> None:
    numbers = [number for number, _, _ in pages_of(original, f"sqlite_autoindex_{table}_1")]
    target, outcome = recovered(copy_of(original, tmp_path, with_pages_destroyed(original, numbers)))
    assert outcome.is_complete
    assert ids_in(target) == ids_in(original)


@pytest.mark.parametrize("table", ["tasks", "events"])
def test_no_row_is_lost_with_the_root_of_a_table(table: str, original: Path, tmp_path: Path) -> None:
    (root,) = [number for number, kind, path in pages_of(original, table) if path == "/" and kind == "internal"]
    target, outcome = recovered(copy_of(original, tmp_path, with_pages_destroyed(original, [root])))
    assert outcome.is_complete
    assert ids_in(target) == ids_in(original)


def test_no_row_is_lost_with_the_first_page(original: Path, tmp_path: Path) -> None:
    target, outcome = recovered(copy_of(original, tmp_path, with_pages_destroyed(original, [1])))
    assert outcome.is_complete
    assert ids_in(target) == ids_in(original)


def test_no_row_is_lost_with_the_first_page_of_a_file_that_keeps_checksums(original: Path, tmp_path: Path) -> None:
    path = copy_of(original, tmp_path)
    checksums.add(str(path))
    path.write_bytes(with_pages_destroyed(path, [1]))
    target, outcome = recovered(path)
    assert outcome.is_complete
    assert ids_in(target) == ids_in(original)


def test_a_row_that_the_disk_has_changed_is_told_of_where_pages_have_checksums(original: Path, tmp_path: Path) -> None:
    path = copy_of(original, tmp_path)
    checksums.add(str(path))
    path.write_bytes(path.read_bytes().replace(b"message 42message 42", b"message 52message 42"))
    target, outcome = recovered(path)
    assert ids_in(target) == ids_in(original)
    assert not outcome.is_complete
    (note,) = outcome.notes
    assert note.startswith("checksums of pages are wrong (")


@pytest.mark.parametrize("version", [1, 2])
def test_a_file_of_an_older_version_is_recovered_into_one_of_the_latest(version: int, tmp_path: Path) -> None:
    path = tmp_path / "swarm.db"
    with open_storage(path) as storage:
        tasks = [TaskModel.new(f"type-{number}", {}) for number in range(100)]
        tasks[7].dependencies = [tasks[5].id]
        storage.store_many([*tasks, MessageModel.new("a", "b", "note", "text"), AgentModel.new("a", "coder", [])])
        storage.store_event(EventModel.new("begun", {}))
        storage.migrate_to(version)
    target, outcome = recovered(path)
    assert outcome.is_complete
    with open_storage(target) as storage:
        counts = [storage.repository(model).count() for model in (TaskModel, AgentModel, EventModel, MessageModel)]
        assert counts == [100, 1, 1, 1]
        assert len(storage.get_ready_tasks()) == 99
        task = storage.get_task(tasks[5].id)
        assert task is not None
        task.status = TaskStatus.COMPLETED
        storage.update_task(task)
        assert tasks[7].id in {task.id for task in storage.get_ready_tasks()}
    assert main(["doctor", str(target), "--deep"]) == 0


def test_rows_are_lost_by_name_with_the_page_that_holds_them(original: Path, tmp_path: Path) -> None:
    leaf = [number for number, kind, _ in pages_of(original, "events") if kind == "leaf"][5]
    target, outcome = recovered(copy_of(original, tmp_path, with_pages_destroyed(original, [leaf])))
    lost = ids_in(original)["events"] - ids_in(target)["events"]
    assert lost
    assert {loss.id for loss in outcome.losses} == lost
    assert {table.table: table.lost for table in outcome.tables if table.lost} == {"events": len(lost)}


@pytest.mark.parametrize("has_first_page", [True, False])
def test_deleted_rows_do_not_come_back(has_first_page: bool, original: Path, tmp_path: Path) -> None:
    path = copy_of(original, tmp_path)
    with open_storage(path) as storage:
        kept = {task.id for task in storage.repository(TaskModel).find_all()[::10]}
        for task in storage.repository(TaskModel).find_all():
            if task.id not in kept:
                storage.repository(TaskModel).delete(task.id)
    (root,) = [number for number, _, place in pages_of(path, "tasks") if place == "/"]
    path.write_bytes(with_pages_destroyed(path, [root] if has_first_page else [root, 1]))
    target, _ = recovered(path)
    assert ids_in(target)["tasks"] <= kept


def test_a_damaged_row_is_listed_with_what_is_left_of_it(original: Path, tmp_path: Path) -> None:
    path = copy_of(original, tmp_path)
    # Wherever it stands: free room of a page may hold a copy.
    path.write_bytes(path.read_bytes().replace(b"message 42message 42", b"\xffessage 42message 42"))
    target, outcome = recovered(path)
    (loss,) = outcome.losses
    assert (loss.table, loss.rowid) == ("messages", 43)
    assert loss.columns is not None
    assert loss.columns["content"].startswith('"\\xffessage 42message 42')
    assert loss.id not in ids_in(target)["messages"]


@pytest.mark.parametrize("state", ["whole", "missing", "empty", "without its first page"])
def test_rows_are_taken_from_the_log(state: str, tmp_path: Path) -> None:
    path = tmp_path / "swarm.db"
    fill(path, 5)
    if state == "missing":
        path.unlink()
    elif state != "whole":
        path.write_bytes(b"" if state == "empty" else bytes(PAGE))
    target, outcome = recovered(path)
    assert outcome.is_complete
    assert len(ids_in(target)["tasks"]) == 100


def test_commits_behind_a_damaged_frame_of_the_log_are_recovered(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path / "swarm.db"
    fill(path, 30)
    log = tmp_path / "swarm.db-wal"
    data = bytearray(log.read_bytes())
    data[32 + len(data) // (PAGE + 24) // 2 * (PAGE + 24) + 1000] ^= 0xFF
    log.write_bytes(data)
    shutil.copytree(tmp_path, elsewhere := tmp_path_factory.mktemp("elsewhere"), dirs_exist_ok=True)
    with open_storage(elsewhere / "swarm.db") as storage:
        by_sqlite = {task.id for task in storage.repository(TaskModel).find_all()}
    target, outcome = recovered(path)
    found = ids_in(target)["tasks"]
    assert by_sqlite < found
    assert len(found) > 400
    assert any("of the log is damaged" in note for note in outcome.notes)
    assert not outcome.is_complete


def test_numbers_go_on_above_those_that_were_given_out(original: Path, tmp_path: Path) -> None:
    path = copy_of(original, tmp_path)
    with open_storage(path) as storage:
        seen = storage.append_events([EventModel.new("late", {}), EventModel.new("later", {})])
        storage.prune(0)
    numbers = [number for number, _, _ in pages_of(path, "sqlite_sequence")]
    path.write_bytes(with_pages_destroyed(path, numbers))
    target, _ = recovered(path)
    with open_storage(target) as storage:
        assert storage.append_events([EventModel.new("next", {})]) > seen


def test_the_place_of_a_lost_last_event_is_known(original: Path, tmp_path: Path) -> None:
    leaf = max(number for number, kind, _ in pages_of(original, "events") if kind == "leaf")
    target, _ = recovered(copy_of(original, tmp_path, with_pages_destroyed(original, [leaf])))
    with open_storage(target) as storage:
        assert len(storage.get_events_since(0)) < 300
        with pytest.raises(ConflictError):
            storage.append_events(
                [EventModel.new("next", {})], expected_sequence=storage.get_events_since(0)[-1].sequence
            )
        assert storage.append_events([EventModel.new("next", {})], expected_sequence=300) == 301


def test_dependents_still_wait_when_their_links_are_lost(original: Path, tmp_path: Path) -> None:
    numbers = [number for number, _, _ in pages_of(original, "task_links")]
    target, outcome = recovered(copy_of(original, tmp_path, with_pages_destroyed(original, numbers)))
    assert outcome.is_complete
    with open_storage(target) as storage:
        tasks = {task.task_type: task for task in storage.repository(TaskModel).find_all()}
        ready = {task.id for task in storage.get_ready_tasks()}
        assert tasks["type-20"].id not in ready
        for name in ("type-0", "type-1"):
            task = tasks[name]
            task.status = TaskStatus.COMPLETED
            storage.update_task(task)
        assert tasks["type-20"].id in {task.id for task in storage.get_ready_tasks()}
