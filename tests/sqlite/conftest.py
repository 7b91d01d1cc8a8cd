"""The fixtures of the SQLite facts: a path, a connection, a watch on connections, a storage, and a backup."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import apsw
import pytest
import pytest_asyncio

from sqlite.tracing import Watch, watching
from swarm_persistence import EventModel, SqliteStorage
from swarm_persistence.engines.sql.sqlite.connection import switch_to_wal
from swarm_persistence_conformance.records import an_event


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give the path of a file that does not exist yet."""
    return tmp_path / "swarm.db"


@pytest.fixture
def watch() -> Iterator[Watch]:
    """Watch the connections that the test opens."""
    with watching() as watch:
        yield watch


@pytest.fixture
def connection(path: Path) -> Iterator[apsw.Connection]:
    """Give a connection to a new file."""
    connection = apsw.Connection(str(path))
    switch_to_wal(connection, 10)
    yield connection
    connection.close()


@pytest_asyncio.fixture
async def storage(path: Path, watch: Watch) -> AsyncIterator[SqliteStorage]:
    """Give a fresh storage, whose connections are watched."""
    async with await SqliteStorage.open(path) as storage:
        yield storage


@pytest.fixture
async def backup(tmp_path: Path) -> Path:
    """Give a backup that holds the events a, b and c, the last of which was deleted before."""
    path = tmp_path / "backup"
    async with await SqliteStorage.open(tmp_path / "original.db") as storage:
        await storage.append_events([an_event(id) for id in "abcd"])
        await storage.repository(EventModel).delete("d")
        await storage.backup(path)
    return path
