"""Facts about programs without asyncio's event loop, or without real threads: the error names cause and remedy."""

import subprocess
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import trio

from swarm_persistence import (
    MemoryStorage,
    OtherError,
    PostgresStorage,
    SqliteStorage,
    Storage,
    StorageError,
    TaskModel,
    open_storage,
)
from swarm_persistence.errors import shown
from swarm_persistence.transfer.restoring import restore

_WITH_GEVENT = """
import sys
{before}
from gevent import monkey
monkey.patch_all({patched})
import gevent
from swarm_persistence import StorageError, TaskModel, open_storage

def count(number):
    with storage.transaction():
        storage.store_task(TaskModel.new("job", number))
    return len(storage.get_pending_tasks())

try:
    with open_storage(sys.argv[1]) as storage:
        jobs = [gevent.spawn(count, number) for number in range(3)]
        gevent.joinall(jobs, raise_error=True)
        print([job.value for job in jobs])
except StorageError as error:
    print(error)
"""


def with_gevent(target: Path | str, patched: str, before: str = "") -> str:
    """Return what a program prints whose standard library gevent has patched, perhaps after other code."""
    program = _WITH_GEVENT.format(patched=patched, before=before)
    command = [sys.executable, "-W", "ignore", "-c", program, str(target)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.mark.parametrize("patched", ["", "thread=False, queue=False, select=False"])
@pytest.mark.parametrize("target", ["swarm.db", ":memory:"])
def test_the_blocking_form_works_in_the_greenlets_of_gevent(tmp_path: Path, target: str, patched: str) -> None:
    printed = with_gevent(target if target == ":memory:" else tmp_path / target, patched)

    assert printed == "[1, 2, 3]\n"


def test_with_gevent_a_server_needs_real_threads() -> None:
    printed = with_gevent("postgresql://localhost:1/none", "")

    assert "gevent has replaced them" in printed
    assert "monkey.patch_all(thread=False, queue=False, select=False)" in printed


def test_threads_that_gevent_replaces_too_late_are_refused(tmp_path: Path) -> None:
    printed = with_gevent(tmp_path / "swarm.db", "", before="import swarm_persistence")

    assert "threads were replaced after swarm_persistence was imported" in printed
    assert not (tmp_path / "swarm.db").exists()


def test_opening_a_storage_under_trio_names_trio(tmp_path: Path) -> None:
    with pytest.raises(OtherError, match=r"trio runs here; .*trio\.to_thread\.run_sync"):
        trio.run(SqliteStorage.open, tmp_path / "swarm.db")
    assert not (tmp_path / "swarm.db").exists()
    with pytest.raises(OtherError, match="trio runs here"):
        trio.run(PostgresStorage.open, "postgresql://localhost:1/none")


def test_calls_under_trio_name_trio(tmp_path: Path) -> None:
    async def use(storage: Storage) -> None:
        calls: tuple[Callable[[], Awaitable[Any]], ...] = (
            lambda: storage.store_task(TaskModel.new("job", 1)),
            storage.begin_transaction,
            storage.get_pending_tasks,
            storage.vacuum,
            lambda: anext(storage.watch_tasks()),
        )
        for call in calls:
            with pytest.raises(OtherError, match="trio runs here"):
                await call()

    with open_storage(tmp_path / "swarm.db") as opened:
        trio.run(use, opened._storage)


def test_a_write_to_memory_under_trio_names_trio() -> None:
    with pytest.raises(OtherError, match="trio runs here"):
        trio.run(MemoryStorage().store_task, TaskModel.new("job", 1))


def test_backups_and_restores_under_trio_name_trio(tmp_path: Path) -> None:
    backup = tmp_path / "backup.db"
    with open_storage(tmp_path / "swarm.db") as opened:
        opened.backup(backup)
        for storage in (opened._storage, MemoryStorage()):
            with pytest.raises(OtherError, match="trio runs here"):
                trio.run(storage.backup, tmp_path / "other")

    with pytest.raises(OtherError, match="trio runs here"):
        trio.run(restore, backup, tmp_path / "restored.db")
    assert {path.name for path in tmp_path.iterdir()} == {"swarm.db", "backup.db"}


def test_a_call_without_any_event_loop_says_so() -> None:
    with pytest.raises(OtherError, match=r"none runs here; call it within asyncio\.run\(\)"):
        MemoryStorage().store_task(TaskModel.new("job", 1)).send(None)


def test_the_blocking_form_works_in_a_thread_of_trio(tmp_path: Path) -> None:
    def store() -> int:
        with open_storage(tmp_path / "swarm.db") as storage:
            storage.store_task(TaskModel.new("job", 1))
            return len(storage.get_pending_tasks())

    async def main() -> int:
        return await trio.to_thread.run_sync(store)

    assert trio.run(main) == 1


@pytest.mark.parametrize("name", ["connection_timeout", "idle_timeout", "transaction_timeout"])
@pytest.mark.parametrize("duration", [timedelta(days=30), timedelta(days=36_500)])
async def test_a_file_is_opened_and_used_with_a_long_duration(tmp_path: Path, name: str, duration: timedelta) -> None:
    builder = getattr(SqliteStorage.builder(), name)(duration)
    for _ in range(2):
        async with await builder.build(tmp_path / "swarm.db") as storage:
            async with storage.transaction():
                await storage.store_task(TaskModel.new("job", 1))
            await storage.checkpoint()


@pytest.mark.parametrize("name", ["connection_timeout", "idle_timeout", "transaction_timeout"])
@pytest.mark.parametrize("duration", [1e10, 1e300, 10**5_000, float("inf"), timedelta.max], ids=shown)
async def test_a_duration_that_no_clock_reaches_is_refused(
    tmp_path: Path, name: str, duration: float | timedelta
) -> None:
    with pytest.raises(StorageError, match=f"{name} is .* expected seconds or a timedelta, above 0, .* at most"):
        await getattr(SqliteStorage.builder(), name)(duration).build(tmp_path / "swarm.db")
