"""Facts about the command `swarm-persistence mcp`."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cli.commands import run_command


def test_it_ends_when_its_client_goes(tmp_path: Path) -> None:
    done = run_command("mcp", "swarm.db", cwd=tmp_path, stdin="")

    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"database: {tmp_path / 'swarm.db'}\n"


def test_without_a_name_it_takes_the_database_of_the_environment(tmp_path: Path) -> None:
    done = run_command("mcp", cwd=tmp_path, stdin="", SWARM_DATABASE_URL="sqlite:///other.db")

    assert done.stderr == f"database: {tmp_path / 'other.db'}\n"


@pytest.mark.parametrize("module", ["raise ModuleNotFoundError(name='mcp')", "# a release without our names"])
def test_a_missing_or_old_package_is_named_in_one_line(tmp_path: Path, module: str) -> None:
    packages = tmp_path / "packages"
    packages.mkdir()
    (packages / "mcp.py").write_text(module)

    done = run_command("mcp", "swarm.db", cwd=tmp_path, PYTHONPATH=str(packages))

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == ('swarm-persistence: this needs mcp 2.3 or newer: pip install "swarm-persistence[mcp]"\n')
    assert not (tmp_path / "swarm.db").exists()


def test_a_database_in_memory_is_refused(tmp_path: Path) -> None:
    done = run_command("mcp", ":memory:", cwd=tmp_path, stdin="")

    assert done.returncode == 2
    assert done.stderr.startswith("swarm-persistence: a database in memory is this process's own")


def test_a_database_that_cannot_be_opened_ends_it_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no database, but a text that is long enough to be read as one" * 10)

    done = run_command("mcp", "text.db", cwd=tmp_path, stdin="")

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_although_its_client_stays(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "swarm_persistence", "mcp", "swarm.db"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=tmp_path, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write('{"jsonrpc":"2.0","id":1,"method":"server/discover"}\n')
        server.stdin.flush()
        server.stdout.readline()
        server.send_signal(number)

        assert server.wait(60) == 128 + number
    assert not (tmp_path / "swarm.db-wal").exists()
