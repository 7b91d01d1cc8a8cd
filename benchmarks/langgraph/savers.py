"""The measured savers and stores on SQLite, opened as their documentation says."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, ChannelVersions, Checkpoint, CheckpointMetadata
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.store.memory import InMemoryStore
from langgraph.store.sqlite.aio import AsyncSqliteStore

from swarm_persistence import SqliteStorage
from swarm_persistence.contrib.langgraph import SwarmSaver, SwarmStore

OURS, THEIRS, NOTHING = "swarm", "langgraph", "nothing"
DIMENSIONS = 32


class SerializingSaver(BaseCheckpointSaver[int]):
    """Serializes what it is given, as any saver must, and stores nothing: what LangGraph takes by itself."""

    async def aget_tuple(self, config: RunnableConfig) -> None:
        """Find nothing."""

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Serialize a checkpoint."""
        self.serde.dumps_typed(checkpoint)
        self.serde.dumps_typed(metadata)
        await asyncio.sleep(0)
        place = config["configurable"]
        return {"configurable": {"checkpoint_ns": "", **place, "checkpoint_id": checkpoint["id"]}}

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Serialize what a task has written."""
        for _, value in writes:
            self.serde.dumps_typed(value)
        await asyncio.sleep(0)

    def get_next_version(self, current: int | None, channel: None) -> int:
        """Count on."""
        return (current or 0) + 1


async def embed(texts: list[str]) -> list[list[float]]:
    """Stand for a model: a vector of a text's bytes."""
    return [[float(each) for each in text.encode()[:DIMENSIONS].ljust(DIMENSIONS, b" ")] for text in texts]


@asynccontextmanager
async def sqlite_saver(peer: str, path: Path) -> AsyncIterator[Any]:
    """Give a saver on a file."""
    if peer == OURS:
        async with await SqliteStorage.open(path) as storage:
            yield SwarmSaver(storage)
    elif peer == NOTHING:
        yield SerializingSaver()
    else:
        async with AsyncSqliteSaver.from_conn_string(str(path)) as saver:
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
