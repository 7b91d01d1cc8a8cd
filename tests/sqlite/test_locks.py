"""Facts about the locks of an open storage: nothing in its process opens the file past SQLite, and so drops them.

Closing any descriptor of a file drops all POSIX locks that the process has on it. Then another process, with an SQLite
that looks and leaves, deletes the log, and everything that is committed afterwards is lost.
"""

from pathlib import Path

import pytest

from sqlite.programs import Program, run_program

VERBS = {
    "open": "await open_and_close(path)",
    "open a link": "os.symlink(path, path + '.link'); await open_and_close(path + '.link')",
    "open what is newer": "await make_newer(path); await refused(path)",
    "open a log alone": "make_log(path + '.alone-wal'); await refused(path + '.alone')",
    "stats": "await command('stats', path)",
    "doctor": "await command('doctor', path)",
    "doctor --deep": "await command('doctor', path, '--deep')",
    "doctor --repair": "await command('doctor', path, '--repair')",
    "copy from it": "await command('copy', path, path + '.jsonl')",
    "backup": "await command('backup', path, path + '.backup', '--verify')",
    "restore, which takes it closed": (
        "await command('backup', path, path + '.b'); await command('restore', path + '.b', path, '--force', code=1)"
    ),
    "recover, which takes it closed": "await command('recover', path, path + '.recovered', code=2)",
    "add checksums, which takes it closed": "await command('checksums', path, code=1)",
    "open many at once": "await asyncio.gather(*(open_and_close(path) for _ in range(20)))",
    "copy into it": "await command('copy', path, path + '.jsonl'); await command('copy', path + '.jsonl', path)",
    "back up": "await storage.backup(path + '.backup', verify=True)",
    "back up by command": "await command('backup', path, path + '.backup', '--verify')",
    "restore from it": "await command('restore', path, path + '.restored')",
    "restore onto it": "await storage.backup(path + '.backup'); await refused_restore(path + '.backup', path)",
    "vacuum": "await storage.vacuum()",
    "checkpoint": "await storage.checkpoint()",
    "size": "await storage.get_storage_size()",
    "read": "await asyncio.gather(*(storage.list_agents() for _ in range(50)))",
    "migrate": "await storage.migrate_to(1); await storage.migrate_to(LATEST)",
}
"""What a program does with a file that it has open; `path` names the file, and `storage` is open on it."""

PROGRAM = """
    import asyncio, contextlib, io, os, subprocess, sys
    import apsw
    from swarm_persistence import AgentModel, SqliteStorage, StorageError
    from swarm_persistence.cli.main import main as run_command
    from swarm_persistence.engines.sql.sqlite.migrations import LATEST
    from swarm_persistence.transfer.restoring import restore

    opened = []

    def note(event, arguments):
        if event == "open" and isinstance(arguments[0], str):
            opened.append(os.path.realpath(arguments[0]))

    async def open_and_close(path):
        await (await SqliteStorage.open(path)).close()

    async def refused(path):
        try:
            await open_and_close(path)
        except StorageError:
            return
        raise AssertionError(f"{path} was opened")

    def make_log(path):
        with open(path, "wb") as log:
            log.write(b"7" * 9000)

    async def make_newer(path):
        connection = apsw.Connection(path)
        connection.execute("INSERT INTO swarm_migrations VALUES (99, 'of the future', 0)").fetchall()
        connection.close()

    async def command(*arguments, code=0):
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            assert await asyncio.to_thread(run_command, list(arguments)) == code

    async def refused_restore(backup, path):
        try:
            await restore(backup, path, overwrite=True)
        except StorageError:
            return
        raise AssertionError(f"{path} was overwritten")

    LOCK_IT = '''if True:
        import fcntl, sys
        with open(sys.argv[1], "r+b") as file:
            try:
                # Where each reader of SQLite's has its lock.
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 510, 0x40000002)
            except BlockingIOError:
                print("locked")
    '''

    def is_locked(path):
        program = [sys.executable, "-c", LOCK_IT, path]
        return subprocess.run(program, check=True, capture_output=True, text=True).stdout == "locked\\n"

    async def main(path):
        async with await SqliteStorage.open(path) as storage:
            await storage.store_agent(AgentModel.new("a", "b"))
            assert is_locked(path)
            sys.addaudithook(note)
            VERB
            opened_past_sqlite = {path, path + "-wal", path + "-shm"}.intersection(opened)
            assert not opened_past_sqlite, opened_past_sqlite
            assert is_locked(path)

    asyncio.run(main(sys.argv[1]))
"""

KILLED = """
    import asyncio, sys
    from swarm_persistence import SqliteStorage, TaskModel

    async def main(path):
        storage = await SqliteStorage.open(path)
        await (await SqliteStorage.open(path)).close()  # one more storage on the file, in this process
        print("open", flush=True)
        input()
        for number in range(100):
            await storage.store_task(TaskModel.new("t", number))
        print("stored", flush=True)
        input()

    asyncio.run(main(sys.argv[1]))
"""

COUNT = """
    import sqlite3, sys
    connection = sqlite3.connect(sys.argv[1])
    print(connection.execute("SELECT count(*) FROM tasks").fetchone()[0])
    connection.close()
"""


@pytest.mark.parametrize("verb", VERBS)
def test_nothing_opens_the_file_past_sqlite_while_a_storage_has_it_open(path: Path, verb: str) -> None:
    run_program(PROGRAM.replace("VERB", VERBS[verb]), path)


def test_storages_that_make_the_file_at_once_all_keep_their_locks(path: Path) -> None:
    making = "new = path + '.new'; storages = await asyncio.gather(*(SqliteStorage.open(new) for _ in range(20)))"
    closing = "; assert is_locked(new); await asyncio.gather(*(each.close() for each in storages))"

    run_program(PROGRAM.replace("VERB", making + closing), path)


def test_a_second_storage_and_another_sqlite_that_looks_cost_no_task(path: Path) -> None:
    program = Program(KILLED, path)
    assert program.wait_for_line() == "open"
    assert run_program(COUNT, path) == ["0"]

    program.tell("")
    assert program.wait_for_line() == "stored"
    program.kill()

    assert run_program(COUNT, path) == ["100"]
