"""Facts about a disk that fails for a while: the calls that meet it say so, and the storage works on afterwards."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import apsw
import pytest
import pytest_asyncio

from sqlite.faulty_disk import FaultyDisk, faulty_disk
from swarm_persistence import DatabaseError, SqliteStorage
from swarm_persistence.engines.sql.sqlite.settings import Settings
from swarm_persistence.testing.records import a_task


@pytest.fixture
def disk() -> Iterator[FaultyDisk]:
    """Give a disk that fails when the test says so."""
    with faulty_disk() as disk:
        yield disk


@pytest_asyncio.fixture
async def storage(path: Path, disk: FaultyDisk) -> AsyncIterator[SqliteStorage]:
    """Give a storage on that disk."""
    async with await SqliteStorage._open(path, Settings(vfs=disk.name, connection_timeout=2.0)) as storage:
        yield storage
        disk.fault = None


class TestDiskFaults:
    async def test_a_full_disk_refuses_the_write_and_takes_the_next(
        self, storage: SqliteStorage, disk: FaultyDisk
    ) -> None:
        disk.fault = lambda method, path: apsw.SQLITE_FULL if method == "xWrite" and path.endswith("-wal") else None

        with pytest.raises(DatabaseError, match="the disk is full; nothing of the failed operation is stored"):
            await storage.store_task(a_task("a"))

        disk.fault = None
        assert await storage.get_task("a") is None
        await storage.store_task(a_task("a"))
