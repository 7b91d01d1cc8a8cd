"""`swarm-persistence copy`."""

from pathlib import Path

import pytest

from sqlite.programs import Program
from sqlite.test_backup import WRITE
from swarm_persistence import EventModel, MessageModel, TaskModel, open_storage
from swarm_persistence.cli.main import main


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "swarm.db"
    with open_storage(path) as storage:
        storage.store_many([TaskModel.new("count", n) for n in range(20)])
        storage.store_event(EventModel.new("begun", None))
    return path


def test_a_database_moves_to_a_file_and_back(
    database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, copy = tmp_path / "all.jsonl", tmp_path / "copy.db"

    assert main(["copy", str(database), str(file)]) == 0
    assert main(["copy", str(file), str(copy)]) == 0

    assert f"check: OK – {copy} holds what {file} holds" in capsys.readouterr().out.replace("\n", "")
    with open_storage(database) as original, open_storage(copy) as copied:
        assert copied.get_pending_tasks() == original.get_pending_tasks()


def test_a_target_that_holds_more_fails_the_check(
    database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy.db"
    with open_storage(copy) as storage:
        storage.store_event(EventModel.new("other", None))

    assert main(["copy", str(database), str(copy)]) == 1
    assert "check: FAILED – the two differ in events" in capsys.readouterr().out


def test_a_source_that_is_not_there_is_an_error_and_creates_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["copy", str(tmp_path / "none.db"), str(tmp_path / "copy.db")]) == 2
    assert "there is no database at" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["{}", "sqlite:///{}", "{}.link", "sqlite:///{}.link"])
def test_a_copy_onto_itself_is_refused(database: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    Path(f"{database}.link").symlink_to(database)

    assert main(["copy", str(database), name.format(database)]) == 2
    assert "is both the source and the target" in capsys.readouterr().err


def test_a_copy_of_a_database_that_three_processes_write_to_holds_one_moment(
    database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    writers = [Program(WRITE, database, name) for name in "abc"]
    assert [writer.wait_for_line() for writer in writers] == ["ready"] * 3
    copy = tmp_path / "copy.db"

    codes = [main(["copy", str(database), str(target)]) for target in (copy, tmp_path / "copy.jsonl")]

    for writer in writers:
        writer.tell("stop")
        writer.finish()
    assert codes == [0, 0]
    assert capsys.readouterr().out.count("check: OK") == 2
    with open_storage(database) as original, open_storage(copy) as copied:
        events = [event.data for event in copied.read_events(0, 10**6) if event.event_type == "pair"]
        messages = copied.repository(MessageModel).find_all()
        assert copied.repository(EventModel).count() < original.repository(EventModel).count()
    for name in "abc":
        numbers = [event["number"] for event in events if event["name"] == name]
        assert numbers == list(range(len(numbers)))
        assert [message.content for message in messages if message.from_agent == name] == numbers
