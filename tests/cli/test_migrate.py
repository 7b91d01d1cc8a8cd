"""Facts about `swarm-persistence migrate` on files: it plans, goes forwards and back, and refuses senseless targets."""

from pathlib import Path

import apsw
import pytest

from cli.commands import run_command
from swarm_persistence import open_storage
from swarm_persistence.engines.sql.sqlite.migrations import LATEST, MIGRATIONS
from swarm_persistence_conformance.records import a_task


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "swarm.db"
    with open_storage(path) as storage:
        storage.store_task(a_task())
    return path


def version_of(path: Path) -> int:
    with open_storage(path) as storage:
        return storage.migration_status().version


def test_it_goes_back_and_forwards_and_says_so(database: Path) -> None:
    back = run_command("migrate", database, "--to", "3")
    forwards = run_command("migrate", f"sqlite:///{database}")

    assert (back.returncode, back.stderr) == (forwards.returncode, forwards.stderr) == (0, "")
    assert back.stdout.splitlines() == [
        f"{database}: version {LATEST}",
        *(f"took back version {step.version} ({step.name})" for step in MIGRATIONS[:2:-1]),
        f"{database}: version 3",
    ]
    assert forwards.stdout.splitlines() == [
        f"{database}: version 3",
        *(f"took version {step.version} ({step.name})" for step in MIGRATIONS[3:]),
        f"{database}: version {LATEST}",
    ]
    with open_storage(database, migrate=False) as storage:
        assert storage.get_task("task-1") is not None


def test_a_plan_names_steps_and_statements_and_changes_nothing(database: Path) -> None:
    run_command("migrate", database, "--to", "3")

    plan = run_command("migrate", database, "--plan")
    back = run_command("migrate", database, "--plan", "--to", "2")

    assert plan.returncode == back.returncode == 0
    assert f"{database}: version 3; the target is {LATEST}" in plan.stdout
    assert "to version 4: the event floor" in plan.stdout
    assert "CREATE TABLE event_floor (number INTEGER NOT NULL) STRICT;" in plan.stdout
    assert "in one transaction with the other steps, for which other writers wait:" in plan.stdout
    assert "to version 3:" not in plan.stdout
    assert "back from version 3: a log of its own" in back.stdout
    connection = apsw.Connection(str(database))
    assert connection.execute("SELECT max(version) FROM swarm_migrations").get == 3
    connection.close()


def test_what_is_there_already_needs_nothing(database: Path) -> None:
    done = run_command("migrate", database)
    plan = run_command("migrate", database, "--plan")

    assert done.stdout == f"{database}: version {LATEST}\nthere was nothing to do\n"
    assert plan.stdout.endswith("there is nothing to do\n")


def test_it_makes_a_file_and_its_plan_makes_none(tmp_path: Path) -> None:
    path = tmp_path / "new.db"

    plan = run_command("migrate", path, "--plan")
    assert f"{path}: version 0" in plan.stdout
    assert not path.exists()

    run_command("migrate", cwd=tmp_path, SWARM_DATABASE_URL="new.db")
    assert version_of(path) == LATEST


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["{path}", "--to", "0"], 2, "--to 0 would drop all tables"),
        (["{path}", "--to", "99"], 2, f"--to is 99, expected a version that this code knows: 1 to {LATEST}"),
        (["{path}", "--to", "x"], 2, "invalid int value: 'x'"),
        ([":memory:"], 2, ":memory: has no schema to migrate"),
        (["indexeddb://swarm"], 2, "indexeddb://swarm has no schema to migrate"),
        (["{path}?"], 0, ""),
        (["sqlite:///{path}?mode=ro"], 1, "not an SQLite URL"),
        (["{folder}"], 1, "is a directory"),
        (["{folder}/missing/swarm.db"], 1, "does not exist"),
    ],
)
def test_what_cannot_be_done_is_said_with_its_exit_code(
    database: Path, arguments: list[str], code: int, reason: str
) -> None:
    given = [each.format(path=database, folder=database.parent) for each in arguments]

    done = run_command("migrate", *given)

    assert (done.returncode, reason in done.stderr) == (code, True), done.stderr
    assert version_of(database) == LATEST


def test_another_programs_database_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE cats (name TEXT)")
    connection.close()
    before = path.read_bytes()

    for arguments in ([], ["--plan"]):
        done = run_command("migrate", path, *arguments)
        assert (done.returncode, "another program's database" in done.stderr) == (1, True)

    assert path.read_bytes() == before
