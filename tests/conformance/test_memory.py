"""Holds `MemoryStorage` to the conformance suite."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from swarm_persistence.backends.memory import MemoryStorage
from swarm_persistence.storage import Storage
from swarm_persistence_conformance import *  # noqa: F403 - every fact of the suite


@pytest.fixture
def open_storage() -> OpenStorage:  # noqa: F405
    """Give the way to a fresh storage."""

    @asynccontextmanager
    async def open_storage() -> AsyncIterator[Storage]:
        async with MemoryStorage() as storage:
            yield storage

    return open_storage
