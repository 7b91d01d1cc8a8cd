"""The storages of the blocking form, and the server on which it is tried beside the local engines."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from postgres.conftest import server
from swarm_persistence import BlockingStorage, open_storage

__all__ = ["server"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give the path of a file that does not exist yet."""
    return tmp_path / "swarm.db"


@pytest.fixture(params=["sqlite", "memory"])
def storage(request: pytest.FixtureRequest, path: Path) -> Iterator[BlockingStorage]:
    """Give a fresh storage of each local engine."""
    with open_storage(path if request.param == "sqlite" else ":memory:") as storage:
        yield storage
