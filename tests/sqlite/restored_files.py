"""Databases of events that are restored, or that a backup replaces."""

from collections.abc import Iterable
from pathlib import Path

from swarm_persistence import SqliteStorage
from swarm_persistence_conformance.records import an_event

WRITE_AND_DIE = """
    import asyncio, os, signal, sys
    from swarm_persistence import EventModel, SqliteStorage

    async def main(path):
        storage = await SqliteStorage.open(path)
        await storage.store_event(EventModel(id="in the log", event_type="t", data=None))
        print("ready", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

    asyncio.run(main(sys.argv[1]))
"""
"""A program that stores an event, and is killed while that is in the log only."""


async def ids_in(path: Path) -> list[str]:
    """Return the ids of the events in a database."""
    async with await SqliteStorage.open(path) as storage:
        return [event.id for event in await storage.read_events()]


async def make(path: Path, ids: Iterable[str]) -> None:
    """Make a database with these events."""
    async with await SqliteStorage.open(path) as storage:
        await storage.append_events([an_event(id) for id in ids])
