"""The storages that the facts about verbs run on, where no engine makes a difference."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from swarm_persistence import Storage, init_storage


@pytest_asyncio.fixture(params=["memory", "sqlite"])
async def storage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Storage]:
    """Give a fresh storage."""
    place = ":memory:" if request.param == "memory" else str(tmp_path / "swarm.db")
    async with await init_storage(place) as storage:
        yield storage
