"""`swarm-persistence doctor`, on files that are sound, ill, and not ours."""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import pytest

from cli.commands import commands_in
from swarm_persistence import TaskModel, open_storage
from swarm_persistence.cli.examination import examine_content
from swarm_persistence.cli.finding import Finding, Level
from swarm_persistence.cli.main import main
from swarm_persistence.engines.sql.sqlite import schema_version
from swarm_persistence.engines.sql.sqlite.migrations import LATEST, MIGRATIONS, Migration
from swarm_persistence_conformance.records import a_task


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "swarm.db"
    with open_storage(path) as storage:
        storage.store_many([TaskModel.new("analyze", "x" * 500) for _ in range(300)])
    return path


@contextmanager
def changing(database: Path) -> Iterator[apsw.Connection]:
    connection = apsw.Connection(str(database))
    try:
        yield connection
    finally:
        connection.close()


def findings_of(database: Path, **options: Any) -> dict[str, Finding]:
    return {finding.check: finding for finding in examine_content(database, is_quick=False, **options)}


def refusal_of(path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    before = path.read_bytes() if path.is_file() else b""
    beside = sorted(path.parent.iterdir())
    code = main(["doctor", str(path)])
    assert (path.read_bytes() if path.is_file() else b"") == before
    assert sorted(path.parent.iterdir()) == beside
    return code, capsys.readouterr().err


def test_a_sound_database_has_nothing_wrong(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(database), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["database"], report["ok"]) == (str(database), True)
    levels = {finding["check"]: finding["level"] for finding in report["findings"]}
    for check in ("SQLite", "permissions", "journal mode", "log (WAL)", "integrity_check", "schema"):
        assert levels[check] == "ok"
    assert {"file system", "Python's sqlite3"} <= set(levels)


def test_each_finding_that_is_not_ok_says_what_to_do(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    database.chmod(0o666)
    assert main(["doctor", str(database)]) == 1
    lines = capsys.readouterr().out.splitlines()
    (place,) = [number for number, line in enumerate(lines) if line.startswith(" wrong  permissions")]
    assert lines[place + 1] == f"        what to do: chmod 600 {database}"


def test_no_data_is_changed(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = hashlib.sha256(database.read_bytes()).digest()
    assert main(["doctor", str(database)]) == 0
    assert main(["doctor", str(database), "--quick"]) == 0
    assert "quick_check: ok" in capsys.readouterr().out
    assert hashlib.sha256(database.read_bytes()).digest() == before
    assert list(database.parent.iterdir()) == [database]


def test_a_database_at_work_is_examined_with_its_log(database: Path) -> None:
    with open_storage(database) as storage:
        storage.store_many([TaskModel.new("more", "x" * 500) for _ in range(100)])
        assert findings_of(database)["log (WAL)"].level is Level.OK
        assert len(storage.get_pending_tasks()) == 400


def test_another_journal_mode_is_wrong(database: Path) -> None:
    with changing(database) as connection:
        connection.pragma("journal_mode", "delete")
    finding = findings_of(database)["journal mode"]
    assert (finding.level, finding.detail.partition(":")[0]) == (Level.WRONG, "delete, not wal")


@pytest.mark.parametrize(("large", "level"), [(1000, Level.WRONG), (10**9, Level.ADVICE)])
def test_a_log_that_an_old_reader_holds_is_told_with_the_reason(database: Path, large: int, level: Level) -> None:
    with open_storage(database) as storage, changing(database) as reader:
        storage.store_task(TaskModel.new("before", {}))
        reader.execute("BEGIN").fetchall()
        reader.execute("SELECT count(*) FROM tasks").fetchall()
        storage.store_many([TaskModel.new("after", "x" * 500) for _ in range(100)])
        finding = findings_of(database, large_log_bytes=large)["log (WAL)"]
    assert finding.level is level
    assert "it cannot shrink: a reader has kept an old state" in finding.detail
    assert finding.remedy is not None
    assert "end the reader's transaction" in finding.remedy


def test_a_large_log_without_readers_can_shrink(database: Path) -> None:
    with open_storage(database) as storage:
        storage.store_many([TaskModel.new("more", "x" * 500) for _ in range(100)])
        finding = findings_of(database, large_log_bytes=1000)["log (WAL)"]
    assert finding.level is Level.ADVICE
    assert finding.remedy is not None
    assert "checkpoint()" in finding.remedy


def test_a_damaged_index_is_found(database: Path) -> None:
    with changing(database) as connection:
        connection.execute("PRAGMA writable_schema = 1").fetchall()
        connection.execute("UPDATE sqlite_schema SET rootpage = 5 WHERE name = 'tasks_by_agent'").fetchall()
    finding = findings_of(database)["integrity_check"]
    assert finding.level is Level.WRONG
    assert finding.remedy is not None
    assert "backup" in finding.remedy


def test_a_page_that_is_overwritten_is_found(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with database.open("r+b") as file:
        size = file.seek(0, 2)
        file.seek(size // 2 // 4096 * 4096)
        file.write(b"\xff" * 4096 * 4)
    assert main(["doctor", str(database)]) == 1
    assert " wrong  " in capsys.readouterr().out


def test_a_missing_index_is_found(database: Path) -> None:
    with changing(database) as connection:
        connection.execute("DROP INDEX tasks_pending").fetchall()
    finding = findings_of(database)["schema"]
    assert finding.level is Level.WRONG
    assert "index tasks_pending" in finding.detail


def test_a_newer_schema_is_told(database: Path) -> None:
    with changing(database) as connection:
        connection.execute("INSERT INTO swarm_migrations VALUES (999, 'from the future', 0)").fetchall()
    finding = findings_of(database)["schema"]
    assert (finding.level, finding.remedy) == (Level.WRONG, "upgrade swarm-persistence")


def test_a_newer_schema_on_which_this_code_works_is_told(database: Path) -> None:
    newer = Migration(LATEST + 1, "of tomorrow", ("CREATE TABLE later (id TEXT)",), (), LATEST)
    with changing(database) as connection:
        schema_version.migrate(connection, LATEST + 1, (*MIGRATIONS, newer))
    finding = findings_of(database)["schema"]
    assert (finding.level, finding.remedy) == (Level.ADVICE, "upgrade swarm-persistence")


def test_tasks_that_wait_for_some_that_are_not_stored_are_named(database: Path) -> None:
    assert findings_of(database)["missing_dependency"].level is Level.OK
    with open_storage(database) as storage:
        storage.store_tasks([a_task(f"{n}", dependencies=["9", f"mistyped-{n}"]) for n in range(7)])
        storage.store_task(TaskModel.new("analyze", None, dependencies=["is stored soon"]))
        storage.cancel_task("0")

    finding = findings_of(database)["missing_dependency"]

    assert finding.level is Level.ADVICE
    assert "'1' waits for '9', '1' waits for 'mistyped-1'" in finding.detail
    assert finding.detail.endswith(", and 7 more")


def test_an_older_schema_is_told(database: Path) -> None:
    with changing(database) as connection:
        schema_version.migrate(connection, 2)
    finding = findings_of(database)["schema"]
    assert finding.level is Level.ADVICE
    assert finding.detail.startswith("version 2; the latest is ")


def test_another_programs_database_is_refused_and_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "places.sqlite"
    with changing(path) as connection:
        connection.pragma("journal_mode", "wal")
        connection.execute("CREATE TABLE places (url)").fetchall()
    code, line = refusal_of(path, capsys)
    assert code == 2
    assert line == f"swarm-persistence: '{path}' is another program's database (application_id 0x0)\n"


def test_what_is_no_sqlite_database_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("notes\n")
    code, line = refusal_of(path, capsys)
    assert code == 2
    assert "is not an SQLite database" in line


def test_a_directory_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, line = refusal_of(tmp_path, capsys)
    assert code == 2
    assert "is a directory" in line


def test_a_server_that_is_unknown_is_none_of_its_business(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "mysql://user:secret@host/swarm"]) == 2
    assert "secret" not in capsys.readouterr().err


@pytest.mark.parametrize("version", range(1, LATEST))
def test_a_file_that_went_back_to_an_older_version_is_sound(database: Path, version: int) -> None:
    with changing(database) as connection:
        schema_version.migrate(connection, version)
    levels = {check: finding.level for check, finding in findings_of(database).items()}
    assert (levels["schema"], Level.WRONG in levels.values()) == (Level.ADVICE, False)


def _go_back(connection: apsw.Connection) -> None:
    schema_version.migrate(connection, 2)


def _lose_an_index(connection: apsw.Connection) -> None:
    connection.execute("DROP INDEX tasks_pending").fetchall()


def _be_opened_by_the_rust_crate(connection: apsw.Connection) -> None:
    connection.execute("CREATE INDEX idx_tasks_status ON tasks(status)").fetchall()


@pytest.mark.parametrize(
    ("change", "verbs"),
    [(_go_back, ["migrate"]), (_lose_an_index, ["recover"]), (_be_opened_by_the_rust_crate, ["doctor"])],
)
def test_what_is_advised_can_be_run_as_it_is_printed(
    database: Path, change: Callable[[apsw.Connection], None], verbs: list[str]
) -> None:
    path = database.rename(database.with_name("the swarm's.db"))
    with changing(path) as connection:
        change(connection)
    remedies = [finding.remedy or "" for finding in findings_of(path).values()]

    commands = [command for remedy in remedies for command in commands_in(remedy)]

    assert [command[0] for command in commands] == verbs
    assert [main(command) for command in commands] == [0] * len(verbs)
