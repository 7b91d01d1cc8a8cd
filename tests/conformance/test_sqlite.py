"""Holds `SqliteStorage` to the conformance suite."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import pytest

from swarm_persistence import blocking
from swarm_persistence.backends.sqlite import SqliteStorage
from swarm_persistence.storage import Storage
from swarm_persistence_conformance import *  # noqa: F403 - every fact of the suite


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a file without records: to copy one takes far less time than to make one."""
    path = tmp_path_factory.mktemp("empty") / "swarm.db"
    with blocking.open_storage(path):
        return path


@pytest.fixture
def open_storage(empty: Path, tmp_path: Path) -> OpenStorage:  # noqa: F405
    """Give the way to a fresh storage."""
    numbers = count()

    @asynccontextmanager
    async def open_storage() -> AsyncIterator[Storage]:
        async with await SqliteStorage.open(shutil.copy(empty, tmp_path / f"{next(numbers)}.db")) as storage:
            yield storage

    return open_storage
