"""A storage on each engine, for the facts about adapters."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from contrib.storages import ENGINES, opened
from postgres.conftest import schema, server, url
from swarm_persistence import Storage

__all__ = ["schema", "server", "url"]


@pytest_asyncio.fixture(params=ENGINES)
async def storage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Storage]:
    """Give a storage on each engine."""
    async with await opened(request.param, request, tmp_path) as storage:
        yield storage
