"""Facts about openings that are killed at any call of SQLite's to the disk: the file opens again, with all it held."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from sqlite.programs import Program, run_program
from swarm_persistence import SqliteStorage, open_storage
from swarm_persistence.cli.main import main
from swarm_persistence.engines.sql.sqlite.migrations import LATEST
from swarm_persistence_conformance.records import an_agent, ids

KILLED = """
    import asyncio, itertools, os, shutil, signal, sys
    sys.path.insert(0, sys.argv[1])
    from sqlite.faulty_disk import FaultyDisk
    from swarm_persistence import SqliteStorage
    from swarm_persistence.engines.sql.sqlite.settings import SqliteSettings

    async def open_until(path, call):
        disk, calls = FaultyDisk(), itertools.count()

        def meet(method, name):
            if next(calls) == call:
                os.kill(os.getpid(), signal.SIGKILL)

        disk.fault = meet
        storage = await SqliteStorage._open(path, SqliteSettings(vfs=disk.name))
        os._exit(0 if storage.path == path else 1)

    folder, template = sys.argv[2:]
    for call in itertools.count():
        path = f"{folder}/{call}.db"
        if template:
            shutil.copy(template, path)
        child = os.fork()
        if not child:
            asyncio.run(open_until(path, call))
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            break
        print(path)
    assert os.WEXITSTATUS(status) == 0
"""
"""Opens copies of a file (or new ones), each killed one call later than the one before, until one is not."""

OPENED = """
    import asyncio, sys
    from swarm_persistence import AgentModel, SqliteStorage

    async def main(path):
        print("ready", flush=True)
        input()
        async with await SqliteStorage.open(path) as storage:
            await storage.store_agent(AgentModel.new("a", "b"))
            print("stored")

    asyncio.run(main(sys.argv[1]))
"""

TESTS = Path(__file__).parents[1]


def killed_openings(folder: Path, template: Path | str = "") -> list[Path]:
    """Return the files that killed openings leave, one for each call at which they can be killed."""
    folder.mkdir()
    paths = [Path(line) for line in run_program(KILLED, TESTS, folder, template)]
    assert len(paths) > 20
    return paths


def in_rollback_mode(path: Path, tmp_path: Path) -> Path:
    """Return a file with an agent, which SQLite has made without a log."""
    copy = tmp_path / "copy.db"
    with open_storage(path) as storage:
        storage.store_agent(an_agent())
    connection = apsw.Connection(str(path))
    connection.execute("VACUUM INTO ?", (str(copy),)).fetchall()
    connection.close()
    return copy


def with_journal(paths: list[Path]) -> Iterator[Path]:
    return (path for path in paths if path.with_name(f"{path.name}-journal").exists())


async def assert_opens(path: Path, agents: list[str]) -> None:
    async with await SqliteStorage.open(path) as storage:
        assert (await storage.migration_status()).version == LATEST
        assert ids(await storage.list_agents()) == agents
        await storage.store_agent(an_agent("another"))
        assert len(await storage.list_agents()) == len(agents) + 1
    connection = apsw.Connection(str(path))
    assert connection.execute("PRAGMA integrity_check").get == "ok"
    assert connection.execute("PRAGMA journal_mode").get == "wal"
    connection.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "killed"


async def test_a_file_whose_first_opening_was_killed_opens(folder: Path) -> None:
    paths = killed_openings(folder)
    assert list(with_journal(paths))

    for path in paths:
        await assert_opens(path, [])


def test_processes_that_open_it_at_once_all_open_it(folder: Path) -> None:
    *_, path = with_journal(killed_openings(folder))
    programs = [Program(OPENED, path) for _ in range(4)]
    for program in programs:
        assert program.wait_for_line() == "ready"

    for program in programs:
        program.tell("")

    for program in programs:
        assert program.finish() == ["stored"]
    with open_storage(path) as storage:
        assert len(storage.list_agents()) == 4


def test_the_tools_say_that_it_holds_nothing_yet(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in with_journal(killed_openings(folder)):
        for command in ("doctor", "stats"):
            assert main([command, str(path)]) in (1, 2)
            printed = capsys.readouterr().err
            assert "holds nothing yet" in printed or "is empty" in printed


def test_the_tools_read_one_in_rollback_mode(
    path: Path, tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for killed in with_journal(killed_openings(folder, in_rollback_mode(path, tmp_path))):
        assert main(["doctor", str(killed), "--json"]) in (0, 1)
        findings = {each["check"]: each["level"] for each in json.loads(capsys.readouterr().out)["findings"]}
        assert (findings["integrity_check"], findings["schema"]) == ("ok", "ok")
        assert main(["stats", str(killed), "--json"]) == 0
        assert sum(json.loads(capsys.readouterr().out)["agents"].values()) == 1


async def test_a_file_in_rollback_mode_whose_opening_was_killed_opens_with_all_it_held(
    path: Path, tmp_path: Path, folder: Path
) -> None:
    template = await asyncio.to_thread(in_rollback_mode, path, tmp_path)
    paths = killed_openings(folder, template)
    assert list(with_journal(paths))

    for killed in paths:
        await assert_opens(killed, ["agent-1"])


@pytest.mark.parametrize("version", sorted({*range(0, LATEST, 4), LATEST - 1}))
async def test_a_file_whose_upgrade_was_killed_opens_with_all_it_held(path: Path, folder: Path, version: int) -> None:
    async with await SqliteStorage.open(path) as storage:
        await storage.store_agent(an_agent())
        await storage.migrate_to(version)

    for killed in killed_openings(folder, path):
        await assert_opens(killed, ["agent-1"] if version else [])
