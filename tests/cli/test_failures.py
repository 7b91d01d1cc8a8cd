"""Whatever goes wrong is one line on standard error and an exit code."""

import subprocess
import sys
from pathlib import Path

import pytest

from cli.commands import run_command
from cli.test_help import CALLS
from swarm_persistence import TaskModel, open_storage
from swarm_persistence.cli.main import main


def failure_of(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str]:
    code = main([str(each) for each in arguments])
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    return code, captured.err.removeprefix("swarm-persistence: ").rstrip("\n")


@pytest.mark.parametrize("command", ["stats", "top", "tasks list", "events tail", "agents list --json"])
def test_a_command_whose_output_is_closed_runs(command: str, tmp_path: Path) -> None:
    with open_storage(tmp_path / "swarm.db") as storage:
        storage.store_task(TaskModel.new("t", 1))
    line = f'exec "$0" -m swarm_persistence {command} "$1" >&-'
    done = subprocess.run(
        ["bash", "-c", line, sys.executable, tmp_path / "swarm.db"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("command", ["stats", "doctor"])
def test_a_database_that_is_not_there_is_not_created(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "missing.db"
    for target in (str(missing), f"sqlite:///{missing}"):
        assert failure_of(capsys, command, target) == (2, f"there is no database at '{missing}'")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["stats", "doctor"])
def test_an_empty_file_is_refused_and_left_empty(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty.db").touch()
    assert failure_of(capsys, command, tmp_path / "empty.db") == (2, f"'{tmp_path}/empty.db' is empty: no database")
    assert (tmp_path / "empty.db").stat().st_size == 0


def test_an_error_of_the_storage_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "text.db"
    path.write_text("no database, but long enough for one\n" * 100)
    code, line = failure_of(capsys, "stats", path)
    assert (code, line) == (
        1,
        f"Database error: '{path}' is not an SQLite database, or its first page is destroyed; it was left as it is",
    )


def test_an_unknown_scheme_is_one_line_without_the_password(capsys: pytest.CaptureFixture[str]) -> None:
    code, line = failure_of(capsys, "demo", "--database", "nosuch://user:secret@host/swarm")
    assert code == 1
    assert "secret" not in line


@pytest.mark.parametrize(
    "arguments",
    [
        ["stats", "swarm.db", "postgresql://user:se cret@host/swarm"],
        ["postgresql://user:se cret@host/swarm"],
        ["demo", "--workers", "postgresql://user:se cret@host/swarm"],
        ["demo", "--databsae=postgresql://user:se cret@host/swarm"],
    ],
)
def test_a_url_in_the_wrong_place_is_refused_without_the_password(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match=r"^2$"):
        main(arguments)
    printed = capsys.readouterr().err
    assert "postgresql://…" in printed
    assert "cret" not in printed


@pytest.mark.parametrize("command", [" ".join(call) for call in CALLS])
def test_arguments_that_make_no_sense_are_one_line_that_names_the_command(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    prog = f"swarm-persistence {command}".rstrip()
    for arguments in (["--nosuch"], ["a\x1b[2J\nb", "--nosuch=1"], ["--nosuch", "x", "y", "z", "u", "v", "w"]):
        with pytest.raises(SystemExit, match=r"^2$"):
            main([*command.split(), *arguments])
        printed = capsys.readouterr().err
        assert printed.startswith(f"{prog}: error: ")
        assert printed.endswith(f"; see {prog} --help\n")
        assert printed[:-1].isprintable()


def test_an_unknown_option_is_named_beside_its_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["tasks", "list", "swarm.db", "--colour", "red"])
    line = "swarm-persistence tasks list: error: unrecognized arguments: --colour red"
    assert capsys.readouterr().err == f"{line}; see swarm-persistence tasks list --help\n"


def test_a_swarm_of_processes_is_not_run_in_memory(capsys: pytest.CaptureFixture[str]) -> None:
    code, line = failure_of(capsys, "demo", "--database", ":memory:")
    assert code == 2
    assert "share no memory" in line


@pytest.mark.parametrize("number", ["0", "-1", "2.5", "many"])
def test_a_number_of_workers_that_makes_no_sense_is_refused(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["demo", f"--workers={number}"])
    assert f"argument --workers: '{number}' is not a whole number above 0" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["demo", "stats", "doctor"])
def test_without_rich_a_command_says_what_to_install(command: str, tmp_path: Path) -> None:
    (tmp_path / "rich").mkdir()
    (tmp_path / "rich" / "__init__.py").write_text("raise ImportError('rich is not installed')\n")
    database = tmp_path / "swarm.db"
    open_storage(database).close()
    arguments = ["--database", database] if command == "demo" else [database]
    done = run_command(command, *arguments, PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    assert done.stderr == "swarm-persistence: this needs rich: pip install 'swarm-persistence[cli]'\n"
    if command != "demo":
        assert run_command(command, *arguments, "--json", PYTHONPATH=str(tmp_path)).returncode == 0
    assert run_command(command, "--help", PYTHONPATH=str(tmp_path)).returncode == 0


def test_output_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    database = tmp_path / "swarm.db"
    open_storage(database).close()
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "swarm_persistence", "stats", str(database)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "swarm-persistence: [Errno 28] No space left on device\n"


def test_a_terminal_without_unicode_gets_no_traceback(tmp_path: Path) -> None:
    done = run_command("demo", "--limit", "2", "--workers", "1", cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].startswith("check: OK ? 2 modules")
    assert (tmp_path / "swarm.db").exists()
