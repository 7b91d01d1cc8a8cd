"""The storages that a worker is proved on."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from swarm_persistence import Storage, init_storage


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give the path of a file that does not exist yet."""
    return tmp_path / "swarm.db"


@pytest.fixture(params=["memory", "sqlite"])
def opening(request: pytest.FixtureRequest, path: Path) -> AbstractAsyncContextManager[Storage]:
    """Give the way to a fresh storage of each kind."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Storage]:
        async with await init_storage(":memory:" if request.param == "memory" else path) as storage:
            yield storage

    return opened()


@pytest_asyncio.fixture
async def storage(opening: AbstractAsyncContextManager[Storage]) -> AsyncIterator[Storage]:
    """Give a fresh storage of each kind."""
    async with opening as storage:
        yield storage
