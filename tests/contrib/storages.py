"""The storages that adapters are tested on, and what the frameworks' own services fail."""

from collections.abc import Collection, Mapping
from pathlib import Path

import pytest

from swarm_persistence import MemoryStorage, PostgresStorage, SqliteStorage, Storage

ENGINES = ["memory", "sqlite", "postgres"]


async def opened(engine: str, request: pytest.FixtureRequest, folder: Path) -> Storage:
    """Return a storage on the engine."""
    if engine == "memory":
        return MemoryStorage()
    if engine == "sqlite":
        return await SqliteStorage.open(folder / "swarm.db")
    return await PostgresStorage.open(request.getfixturevalue("url"))


def expect_what_fails(request: pytest.FixtureRequest, fails: Mapping[str, Collection[str]]) -> None:
    """Expect a test to fail on the services that `fails` names for it, and on no other."""
    given = request.node.callspec.params.values() if hasattr(request.node, "callspec") else ()
    if {*fails.get(request.node.originalname, ())} & {*given}:
        request.node.add_marker(pytest.mark.xfail(reason="the framework's own service fails it", strict=True))
