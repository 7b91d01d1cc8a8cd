"""A swarm in a process of its own: a worker, and a producer of its tasks; tells how many are completed a second."""

import asyncio
import sys
from pathlib import Path

import msgspec

from swarm_persistence import AgentModel, EventModel, SqliteStorage, Storage, TaskModel
from swarm_persistence.worker import Worker

AT_ONCE = 4
HANDLER_SECONDS = 0.005
EVENTS_A_SECOND = 10
BACKLOG = 400


class _Count:
    """What the swarm has stored and completed."""

    stored = 0
    completed = 0


async def main(path: Path) -> None:
    """Work until standard input ends; print the rate within each number of seconds that stands in it."""
    count = _Count()

    async def handle(task: TaskModel) -> None:
        await asyncio.sleep(HANDLER_SECONDS)
        count.completed += 1

    async with await SqliteStorage.open(path) as storage, asyncio.TaskGroup() as group:
        feeding = [group.create_task(_store_tasks(storage, count)), group.create_task(_record_events(storage))]
        agent = AgentModel.new("worker", "measured", [])
        async with Worker(storage, agent, {"measured": handle}, concurrency=AT_ONCE, heeds_signals=False):
            loop = asyncio.get_running_loop()
            while line := await asyncio.to_thread(sys.stdin.readline):
                before, started = count.completed, loop.time()
                await asyncio.sleep(float(line))
                rate = (count.completed - before) / (loop.time() - started)
                print(msgspec.json.encode(rate).decode(), flush=True)
        for task in feeding:
            task.cancel()


async def _store_tasks(storage: Storage, count: _Count) -> None:
    while True:
        if count.stored - count.completed < BACKLOG:
            await storage.store_tasks([TaskModel.new("measured", {"place": place}) for place in range(BACKLOG)])
            count.stored += BACKLOG
        await asyncio.sleep(0.05)


async def _record_events(storage: Storage) -> None:
    while True:
        await storage.store_event(EventModel.new("progress", {"tool": "grep", "lines": 214}, agent_id="worker"))
        await asyncio.sleep(1 / EVENTS_A_SECOND)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
