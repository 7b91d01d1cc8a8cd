"""What the tests of the step to the order of arrival share, on files and on servers."""

from textwrap import dedent
from typing import Any

from sqlite.old_release import of_release
from swarm_persistence import Storage, TaskPriority, TaskStatus
from swarm_persistence_conformance.records import a_task, after

_WORK = """
    import asyncio
    from swarm_persistence import Backend

    async def main(target):
        async with await Backend.open(target) as storage:
            print((await storage.migration_status()).version, flush=True)
            input()
            while task := await storage.claim_next_task("old"):
                print(task.id, flush=True)
                await storage.complete_task(task, "old")
                input()

    asyncio.run(main(sys.argv[1]))
    """


def worker_of_old_code(backend: str) -> str:
    """Return a program of the old code that claims and completes tasks, one for each line that it is told."""
    return of_release(dedent(_WORK).replace("Backend", backend))


async def fill(storage: Storage) -> None:
    """Store tasks whose times contradict the order in which they arrive."""
    priorities = [TaskPriority.HIGH, TaskPriority.LOW]
    for number in range(40):
        fields: dict[str, Any] = {"priority": priorities[number % 2], "created_at": after(-number)}
        if number % 5 == 0:
            fields["dependencies"] = ["missing"]
        if number % 7 == 0:
            fields["status"] = TaskStatus.COMPLETED
        await storage.store_task(a_task(f"{number:02}", **fields))
