"""The fixtures of the SQLite facts: a path, a watch on connections, and a storage."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from sqlite.tracing import Watch, watching
from swarm_persistence import SqliteStorage


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give the path of a file that does not exist yet."""
    return tmp_path / "swarm.db"


@pytest.fixture
def watch() -> Iterator[Watch]:
    """Watch the connections that the test opens."""
    with watching() as watch:
        yield watch


@pytest_asyncio.fixture
async def storage(path: Path, watch: Watch) -> AsyncIterator[SqliteStorage]:
    """Give a fresh storage, whose connections are watched."""
    async with await SqliteStorage.open(path) as storage:
        yield storage
