"""The fixtures of the SQL facts: a filled storage, whose statements are watched."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from sql.verbs import fill
from sqlite.tracing import Watch, watching
from swarm_persistence import SqliteStorage


@pytest.fixture
def watch() -> Iterator[Watch]:
    """Watch the connections that the test opens."""
    with watching() as watch:
        yield watch


@pytest_asyncio.fixture
async def filled(tmp_path: Path, watch: Watch) -> AsyncIterator[SqliteStorage]:
    """Give a storage with a few hundred records of each model."""
    # However slow the machine is: a read that takes the loop too long is repeated in a reader thread.
    async with await SqliteStorage.builder().longest_stay(3600).build(tmp_path / "swarm.db") as storage:
        await fill(storage)
        await storage.list_agents()  # opens the reading connection
        watch.forget_statements()
        yield storage
