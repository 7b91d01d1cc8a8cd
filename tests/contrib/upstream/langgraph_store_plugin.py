"""A plugin for pytest: LangGraph's own tests of stores get ours where they ask for those of SQLite and of memory.

`$STORE_TARGET` says on which engine: `named` is what a test asks for (`:memory:` or a file), `sqlite` a file for all,
and a URL a server, on which each store has a schema of its own.
"""

import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import langgraph.store.memory
import langgraph.store.sqlite
import langgraph.store.sqlite.aio
import pytest

from swarm_persistence import init_storage, open_storage
from swarm_persistence.contrib.langgraph import SwarmStore

TARGET = os.environ.get("STORE_TARGET", "named")
_numbers = count()
_open = ExitStack()

EXCLUDED = {
    "checkpoint_sqlite/test_store::test_vector_store_initialization": "reads the names of SQLite's tables",
    "checkpoint_sqlite/test_store::test_nonnull_migrations": "reads the statements of SqliteStore.MIGRATIONS",
    "checkpoint_sqlite/test_store::test_escape_glob_literal": "calls the function that writes SQLite's GLOB",
    "checkpoint_sqlite/test_store::test_namespace_match_pattern": "calls the one that writes a regular expression",
    "checkpoint_sqlite/test_store::test_list_namespaces_prefix_uses_indexable_condition": "reads SqliteStore's SQL",
    "checkpoint_sqlite/test_store::test_sql_injection_vulnerability":
        "expects keys that cannot be part of SQL to be refused; SwarmStore puts none into SQL, and finds no such key",
    "checkpoint_sqlite/test_async_store::test_no_running_loop":
        "expects methods without `await` to be refused in the thread of a loop, where SwarmStore answers",
}  # fmt: skip
"""Tests that reach into SqliteStore, or expect a refusal of what SwarmStore can do."""


EXCLUDED_ON_A_SERVER = {
    f"checkpoint/test_store::test_{name}"
    for name in (
        "async_batch_store_resilience",
        "async_batch_store_deduplication",
        "async_batched_vector_search_concurrent",
        "async_rejects_invalid_namespace_labels",
        "async_search_and_listing_keep_empty_prefixes_and_wildcards",
        "async_vector_insert_with_auto_embedding",
        "async_vector_search_pagination",
        "async_vector_search_with_filters",
        "async_vector_update_with_embedding",
        "cannot_put_empty_namespace",
        "embed_with_path",
    )
}
"""Coroutines that make a store, or call it, without `await`: on PostgreSQL, that would block their own event loop."""
TOO_MANY_AT_ONCE = {"checkpoint_sqlite/test_async_store::test_large_batches_async"}
"""6,000 calls at once, which on a loaded machine wait for longer than a connection of PostgreSQL's pool may take."""


def _target(named: str, folder: Path) -> str:
    if TARGET == "named":
        return named
    if TARGET == "sqlite":
        return str(folder / "swarm.db")
    return f"{TARGET}_{os.getpid()}_{next(_numbers)}"  # its end is the name of a schema


def _options(index: Any, ttl: Any) -> dict[str, Any]:
    """Return the options of SqliteStore as SwarmStore, and LangGraph's documentation, have them."""
    if index:
        index = {**index, "fields": index.get("text_fields") or index.get("fields")}
    return {"index": index, "ttl": ttl and {"refresh_on_read": False, **ttl}}


class _Store(SwarmStore):
    """Has the methods of SqliteStore that SwarmStore has no need of."""

    def setup(self) -> None:
        """Do nothing: opening the storage migrates it."""

    def start_ttl_sweeper(self) -> None:
        """Do nothing: what has expired is not read, swept or not."""

    stop_ttl_sweeper = start_ttl_sweeper

    @classmethod
    @contextmanager
    def from_conn_string(cls, named: str, *, index: Any = None, ttl: Any = None) -> Iterator["_Store"]:
        with tempfile.TemporaryDirectory() as folder, open_storage(_target(named, Path(folder))) as storage:
            yield cls(storage, **_options(index, ttl))


class _AsyncStore(SwarmStore):
    """Has the methods of AsyncSqliteStore that SwarmStore has no need of."""

    async def setup(self) -> None:
        """Do nothing: opening the storage migrates it."""

    async def start_ttl_sweeper(self) -> None:
        """Do nothing: what has expired is not read, swept or not."""

    stop_ttl_sweeper = start_ttl_sweeper
    sweep_ttl: Any = SwarmStore.asweep_ttl

    @classmethod
    @asynccontextmanager
    async def from_conn_string(cls, named: str, *, index: Any = None, ttl: Any = None) -> AsyncIterator["_AsyncStore"]:
        with tempfile.TemporaryDirectory() as folder:
            async with await init_storage(_target(named, Path(folder))) as storage:
                yield cls(storage, **_options(index, ttl))


class _StoreInMemory(SwarmStore):
    """Is made like InMemoryStore, which needs no closing: the end of the test closes it."""

    def __init__(self, *, index: Any = None) -> None:
        folder = Path(_open.enter_context(tempfile.TemporaryDirectory()))
        super().__init__(_open.enter_context(open_storage(_target(":memory:", folder))), index=index)


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    _open.close()


def pytest_configure() -> None:
    """Put our stores in the place of LangGraph's, before its tests import them."""
    stores: Any = (langgraph.store.memory, langgraph.store.sqlite, langgraph.store.sqlite.aio)
    stores[0].InMemoryStore = _StoreInMemory
    stores[1].SqliteStore = _Store
    stores[1].AsyncSqliteStore = stores[2].AsyncSqliteStore = _AsyncStore


def pytest_collection_modifyitems(config: Any, items: list[Any]) -> None:
    """Leave out the tests that are excluded by name."""
    config.hook.pytest_deselected(items=[item for item in items if _is_excluded(item)])
    items[:] = [item for item in items if not _is_excluded(item)]
    for item in items:
        if item.path.stem == "test_ttl":  # these sleep until just before an item expires, which takes an idle machine
            item.add_marker(pytest.mark.flaky(reruns=5))


def _is_excluded(item: Any) -> bool:
    package = "checkpoint_sqlite" if "checkpoint_sqlite" in item.path.parts[-3] else "checkpoint"
    name = f"{package}/{item.path.stem}::{item.originalname}"
    return name in EXCLUDED or (TARGET not in ("named", "sqlite") and name in EXCLUDED_ON_A_SERVER | TOO_MANY_AT_ONCE)
