"""Holds `SqliteStorage` to the conformance suite."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import pytest

from swarm_persistence.backends.sqlite import SqliteStorage
from swarm_persistence.storage import Storage
from swarm_persistence_conformance import *  # noqa: F403 - every fact of the suite


@pytest.fixture
def open_storage(tmp_path: Path) -> OpenStorage:  # noqa: F405
    """Give the way to a fresh storage."""
    numbers = count()

    @asynccontextmanager
    async def open_storage() -> AsyncIterator[Storage]:
        async with await SqliteStorage.open(tmp_path / f"{next(numbers)}.db") as storage:
            yield storage

    return open_storage
