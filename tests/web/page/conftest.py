"""The client that a browser is to the pages, and a swarm for them to show."""

from collections.abc import AsyncIterator

import httpx
import pytest

from swarm_persistence import Storage
from web.page.forms import AS_PAGE
from web.page_swarm import fill
from web.servers import client_of


@pytest.fixture
async def client(storage: Storage) -> AsyncIterator[httpx.AsyncClient]:
    """Give a browser's client."""
    async with client_of(storage) as opened:
        opened.headers.update(AS_PAGE)
        yield opened


@pytest.fixture
async def swarm(storage: Storage) -> None:
    """Store a swarm."""
    await fill(storage, finished=60)
