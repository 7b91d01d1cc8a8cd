"""Two clients of two server processes and a worker share one swarm."""

import asyncio
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from mcp import Client

from mcp_server.connections import call, connected
from swarm_persistence import SqliteStorage, Storage, TaskModel, TaskStatus

TASKS = 60
HANDLERS = """
import asyncio

async def handle(task):
    await asyncio.sleep(0.01)
    return {"by": "worker"}

handlers = {"count": handle}
"""


async def test_two_clients_and_a_worker_share_a_swarm_without_a_double_claim(tmp_path: Path) -> None:
    (tmp_path / "handlers.py").write_text(HANDLERS)
    async with await SqliteStorage.open(tmp_path / "swarm.db") as storage:
        await storage.store_tasks([TaskModel.new("count", number) for number in range(TASKS)])
        async with connected(tmp_path / "swarm.db") as first, connected(tmp_path / "swarm.db", "legacy") as second:
            held = [await claimed(client, name) for client, name in ((first, "first"), (second, "second"))]
            worker = await started_worker(tmp_path)
            try:
                await until_a_task_is_completed(storage)
                done = await asyncio.gather(finish_all(first, "first", held[0]), finish_all(second, "second", held[1]))
                await until_all_are_completed(storage)
            finally:
                worker.send_signal(signal.SIGTERM)
                await worker.wait()
        tasks = await storage.repository(TaskModel).find_all()

    outcomes: list[Any] = [task.result for task in tasks]
    results = Counter(outcome["by"] for outcome in outcomes)
    assert {task.status for task in tasks} == {TaskStatus.COMPLETED}
    assert {task.claim_count for task in tasks} == {1}
    assert (results["first"], results["second"]) == tuple(done)
    assert min(results["first"], results["second"], results["worker"]) >= 1
    assert results.total() == TASKS


async def claimed(client: Client, name: str) -> dict[str, Any]:
    """Claim the next task."""
    claim: dict[str, Any] = await call(client, "claim_next_task", agent_id=name)
    return claim


async def finish_all(client: Client, name: str, claim: dict[str, Any]) -> int:
    """Complete the claimed task, and all that can be claimed after it; return how many."""
    count = 0
    while claim["task"] is not None:
        held = {"task_id": claim["task"]["id"], "agent_id": name, "claim": claim["claim"]}
        await call(client, "complete_task", **held, result={"by": name})
        count += 1
        claim = await claimed(client, name)
    return count


async def started_worker(folder: Path) -> asyncio.subprocess.Process:
    """Start the worker that is a program."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "swarm_persistence", "worker", "handlers:handlers"),
        *("--database", "swarm.db", "--concurrency", "1"),
        cwd=folder,
        env={**os.environ, "PYTHONSAFEPATH": "1"},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )


async def until_a_task_is_completed(storage: Storage) -> None:
    """Wait for the worker's first result."""
    async with asyncio.timeout(60):
        async for _ in storage.watch_tasks(statuses=["completed"]):
            return


async def until_all_are_completed(storage: Storage) -> None:
    """Wait for the last result."""
    async with asyncio.timeout(60):
        tasks = await storage.repository(TaskModel).find_all()
        await storage.wait_for_tasks([task.id for task in tasks])
