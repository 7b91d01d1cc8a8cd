"""The storages that a worker is proved on."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from pathlib import Path

import pytest
import pytest_asyncio

from postgres.conftest import server
from postgres.schemas import Schemas, open_storage
from swarm_persistence import Storage, init_storage
from swarm_persistence_conformance.fixtures import OpenStorage

__all__ = ["open_storage", "server"]


@pytest.fixture(scope="session")
def schemas() -> Iterator[Schemas]:
    """Give the schemas that were used before, in whichever module: all have one server."""
    with closing(Schemas()) as schemas:
        yield schemas


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give the path of a file that does not exist yet."""
    return tmp_path / "swarm.db"


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def opening(request: pytest.FixtureRequest, path: Path) -> AbstractAsyncContextManager[Storage]:
    """Give the way to a fresh storage of each kind."""
    if request.param == "postgres":
        open_storage: OpenStorage = request.getfixturevalue("open_storage")
        return open_storage()

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
