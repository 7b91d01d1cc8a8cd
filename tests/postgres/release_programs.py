"""Programs of workers, watchers and a probe, which the previous release and the present one run alike."""

from textwrap import dedent

_BEGINNING = """
import asyncio
import sys
import threading
import time

from swarm_persistence import AgentModel, EventModel, MessageModel, MetricModel, TaskModel, init_storage

told = []
threading.Thread(target=lambda: told.append(sys.stdin.readline()), daemon=True).start()

"""


def _program(text: str) -> str:
    return _BEGINNING + dedent(text)


STORE_EACH = _program(
    """
    async def main(url):
        async with await init_storage(url) as storage:
            for number in range(20):
                await storage.store_agent(AgentModel(id=f"agent-{number}", name="a", agent_type="t"))
                await storage.store_event(EventModel.new("filled", {"number": number}))
                await storage.store_message(MessageModel.new("agent-1", "agent-2", "hello", {}))
                await storage.store_metric(MetricModel.new("load", 0.5, "1"))
            print((await storage.migration_status()).version)


    asyncio.run(main(sys.argv[1]))
    """
)
"""Opens an empty schema, and stores some of each record."""

STORE = _program(
    """
    async def main(url):
        async with await init_storage(url) as storage:
            for number in range(10):
                await storage.store_task(TaskModel.new("live", number))


    asyncio.run(main(sys.argv[1]))
    """
)
"""Stores ten tasks for workers."""

GO_BACK = _program(
    """
    from swarm_persistence import StorageError


    async def main(url):
        async with await init_storage(url) as storage:
            try:
                await storage.migrate_to(1)
            except StorageError as error:
                print(error)


    asyncio.run(main(sys.argv[1]))
    """
)
"""Tries to take back a step that later ones stand on, of which the release knows nothing."""

WORK = _program(
    """
    async def main(url, name):
        async with await init_storage(url) as storage:
            print("open", flush=True)
            while not told:
                task = await storage.claim_next_task(name, task_types=["live"], wait=0.2)
                if task is not None:
                    await storage.store_event(EventModel.new("done", {"task": task.id, "by": name}))
                    await storage.complete_task(task, name)


    asyncio.run(main(*sys.argv[1:3]))
    """
)
"""Completes the tasks that the probe stores, and stores an event for each, until it is told to stop."""

WATCH = _program(
    """
    async def watch(storage, seen):
        async for task in storage.watch_tasks():
            if task.task_type == "live" and task.status == "completed":
                seen.add(task.id)


    async def main(url):
        async with await init_storage(url) as storage:
            seen = set()
            watching = asyncio.create_task(watch(storage, seen))
            print("open", flush=True)
            deadline = None
            while not watching.done() and (deadline is None or time.monotonic() < deadline):
                await asyncio.sleep(0.05)
                if told and deadline is None:
                    deadline = time.monotonic() + float(sys.argv[2])
                if told and len(seen) >= int(told[0]):
                    break
            watching.cancel()
            print(len(seen))


    asyncio.run(main(sys.argv[1]))
    """
)
"""Watches all tasks; told a number, waits until it has seen so many live ones completed, and prints how many it has."""

PROBE = _program(
    """
    async def main(url):
        async with await init_storage(url) as storage:
            print("open", flush=True)
            writes, reads = [], []
            while not told:
                start = time.monotonic()
                await storage.store_task(TaskModel(id=f"live-{len(writes)}", task_type="live", payload=None))
                stored = time.monotonic()
                assert await storage.get_task(f"live-{len(writes)}") is not None
                read = time.monotonic()
                writes.append(stored - start)
                reads.append(read - stored)
                await asyncio.sleep(max(0.0, 0.01 - (read - start)))
            print(len(writes), max(writes), max(reads))


    asyncio.run(main(sys.argv[1]))
    """
)
"""Stores a task and reads it back every 10 ms; prints how many, and the longest a write and a read took, in seconds."""
