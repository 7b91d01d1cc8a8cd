"""The measured savers and stores, opened as their documentation says."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.store.memory import InMemoryStore
from langgraph.store.sqlite.aio import AsyncSqliteStore

from swarm_persistence import PostgresStorage, SqliteStorage
from swarm_persistence.contrib.langgraph import SwarmSaver, SwarmStore

OURS, THEIRS = "swarm", "langgraph"
DIMENSIONS = 32


async def embed(texts: list[str]) -> list[list[float]]:
    """Stand for a model: a vector of a text's bytes."""
    return [[float(each) for each in text.encode()[:DIMENSIONS].ljust(DIMENSIONS, b" ")] for text in texts]


@asynccontextmanager
async def sqlite_saver(peer: str, path: Path) -> AsyncIterator[Any]:
    """Give a saver on a file."""
    if peer == OURS:
        async with await SqliteStorage.open(path) as storage:
            yield SwarmSaver(storage)
    else:
        async with AsyncSqliteSaver.from_conn_string(str(path)) as saver:
            await saver.setup()
            yield saver


@asynccontextmanager
async def postgres_saver(peer: str, url: str) -> AsyncIterator[Any]:
    """Give a saver on a database."""
    if peer == OURS:
        async with await PostgresStorage.open(url) as storage:
            yield SwarmSaver(storage)
    else:
        async with AsyncPostgresSaver.from_conn_string(url) as saver:
            await saver.setup()
            yield saver


@asynccontextmanager
async def sqlite_store(peer: str, path: Path, *, has_vectors: bool) -> AsyncIterator[Any]:
    """Give a store on a file; vectors are compared with LangGraph's store in memory.

    Its store for SQLite loads an extension for them, which the `sqlite3` of many a Python cannot do.
    """
    fields = {"dims": DIMENSIONS, "embed": embed, "fields": ["text"]}
    index: Any = fields if has_vectors else None
    if peer == OURS:
        async with await SqliteStorage.open(path) as storage:
            yield SwarmStore(storage, index=index)
    elif has_vectors:
        yield InMemoryStore(index=index)
    else:
        async with AsyncSqliteStore.from_conn_string(str(path)) as store:
            await store.setup()
            yield store
