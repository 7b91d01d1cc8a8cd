"""The files that a trial begins with, each made once."""

import asyncio
import random
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from swarm_persistence import SqliteStorage, TaskModel
from torture.actor import Actor
from torture.history import Stored
from torture.stored import all_in


@cache
def older_file(version: int) -> tuple[dict[str, bytes], Stored]:
    """Return a file of an older schema, and what is in it once it is brought up to date."""
    return asyncio.run(_made(version))


@cache
def plain_file(seed: int) -> tuple[dict[str, bytes], Stored]:
    """Return a file, and what is in it."""
    return asyncio.run(_made(None, seed=seed))


@cache
def file_with_holes() -> tuple[dict[str, bytes], Stored]:
    """Return a file from which much was deleted, and what is left in it."""
    return asyncio.run(_made(None, deletes=True))


async def _made(version: int | None, *, seed: int = 1, deletes: bool = False) -> tuple[dict[str, bytes], Stored]:
    with TemporaryDirectory() as directory:
        path = Path(directory) / "swarm.db"
        async with await SqliteStorage.open(path) as storage:
            actor = Actor(f"earlier-{seed}", storage, random.Random(seed), lambda: False)
            await actor.run(60)
            if deletes:
                tasks = storage.repository(TaskModel)
                for task in await tasks.find_all():
                    await tasks.delete(task.id)
            if version is not None:
                await storage.migrate_to(version)
        image = {"swarm.db": path.read_bytes()}
        async with await SqliteStorage.open(path) as storage:
            return image, await all_in(storage)
