"""The storages that a worker is proved on."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from swarm_persistence import Storage, init_storage


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give the path of a file that does not exist yet."""
    return tmp_path / "swarm.db"


@pytest_asyncio.fixture(params=["memory", "sqlite"])
async def storage(request: pytest.FixtureRequest, path: Path) -> AsyncIterator[Storage]:
    """Give a fresh storage of each kind."""
    async with await init_storage(":memory:" if request.param == "memory" else path) as storage:
        yield storage
