"""A process that opens new files at the same moment as others do, and adds an item to a session in each."""

import asyncio
from threading import Barrier

from agents import TResponseInputItem

from swarm_persistence import init_storage
from swarm_persistence.contrib.openai_agents import SwarmSession


def start(folder: str, name: str, files: int, gate: Barrier) -> None:
    """Open each file when all processes are about to do so, and add an item to the session that they share."""
    for number in range(files):
        gate.wait(60)
        asyncio.run(_add(f"{folder}/{number}.db", {"role": "user", "content": name}))


async def _add(file: str, item: TResponseInputItem) -> None:
    async with await init_storage(file) as storage:
        await SwarmSession("shared", storage).add_items([item])
