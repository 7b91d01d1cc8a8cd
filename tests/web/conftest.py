"""A storage in memory, and a client of a server of it; a module may give others of these names."""

from collections.abc import AsyncIterator

import httpx
import pytest

from swarm_persistence import MemoryStorage, Storage
from web.servers import client_of


@pytest.fixture
async def storage() -> AsyncIterator[Storage]:
    """Give an empty storage."""
    async with MemoryStorage() as opened:
        yield opened


@pytest.fixture
async def client(storage: Storage) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client of a server."""
    async with client_of(storage) as opened:
        yield opened
