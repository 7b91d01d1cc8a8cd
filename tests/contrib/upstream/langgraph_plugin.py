"""A plugin for pytest: LangGraph's own tests get our saver where they ask for the one of SQLite."""

import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from swarm_persistence import SqliteStorage, open_storage
from swarm_persistence.contrib.langgraph import SwarmSaver


@contextmanager
def a_saver() -> Iterator[SwarmSaver]:
    """Give a saver to callers without a loop."""
    with tempfile.TemporaryDirectory() as folder, open_storage(Path(folder) / "swarm.db") as storage:
        yield SwarmSaver(storage)


@asynccontextmanager
async def an_async_saver() -> AsyncIterator[SwarmSaver]:
    """Give a saver to coroutines."""
    with tempfile.TemporaryDirectory() as folder:
        async with await SqliteStorage.open(Path(folder) / "swarm.db") as storage:
            yield SwarmSaver(storage)


def pytest_collection_modifyitems(config: Any, items: list[Any]) -> None:
    """Put our savers where LangGraph's conftest looks for those of SQLite."""
    conftest: Any = sys.modules["tests.conftest"]
    assert {"_checkpointer_sqlite", "_checkpointer_sqlite_aio"} <= vars(conftest).keys()
    conftest._checkpointer_sqlite = a_saver
    conftest._checkpointer_sqlite_aio = an_async_saver
    config.hook.pytest_deselected(items=[item for item in items if not _has_our_saver(item)])
    items[:] = [item for item in items if _has_our_saver(item)]
    for item in items:
        if item.originalname in _RACES:
            item.add_marker(pytest.mark.flaky(reruns=5))


_RACES = {"test_imp_nested"}
"""These expect that a thread has done its work within 10 ms, which on a busy machine no saver can promise."""


def _has_our_saver(item: Any) -> bool:
    given = item.callspec.params if hasattr(item, "callspec") else {}
    return any(value in ("sqlite", "sqlite_aio") for name, value in given.items() if name.endswith("checkpointer"))
