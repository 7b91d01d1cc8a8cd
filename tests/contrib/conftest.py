"""A storage on each engine, for the facts about adapters."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from postgres.conftest import schema, server, url
from swarm_persistence import MemoryStorage, PostgresStorage, SqliteStorage, Storage

__all__ = ["schema", "server", "url"]

ENGINES = ["memory", "sqlite", "postgres"]


@pytest_asyncio.fixture(params=ENGINES)
async def storage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Storage]:
    """Give a storage on each engine."""
    if request.param == "memory":
        opened: Storage = MemoryStorage()
    elif request.param == "sqlite":
        opened = await SqliteStorage.open(tmp_path / "swarm.db")
    else:
        opened = await PostgresStorage.open(request.getfixturevalue("url"))
    async with opened:
        yield opened
