"""The fixtures of the facts, built on the one that the user defines: `open_storage`."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import pytest_asyncio

from swarm_persistence import Storage
from swarm_persistence.testing import manual_clock as clock

__all__ = ["OpenStorage", "clock", "storage"]

OpenStorage = Callable[[], AbstractAsyncContextManager[Storage]]
"""Returns an async context manager of a fresh, empty storage, which it closes."""


@pytest_asyncio.fixture
async def storage(open_storage: OpenStorage) -> AsyncIterator[Storage]:
    """Give a fresh, empty storage."""
    async with open_storage() as storage:
        yield storage
