"""The worker in JavaScript shares a swarm with a worker of Python: each task is done once, by one of them."""

import asyncio
import os
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from swarm_persistence import AgentModel, SqliteStorage, TaskModel, TaskStatus, Worker
from web.servers import TOKEN, server

SCRIPT = Path(__file__).parents[2] / "examples" / "worker.mjs"
TASKS = 40


async def test_it_claims_extends_and_completes_beside_a_worker_of_python(tmp_path: Path) -> None:
    database = tmp_path / "swarm.db"
    (tmp_path / "token").touch(mode=0o600)
    (tmp_path / "token").write_text(TOKEN)

    async def count(task: TaskModel) -> Any:
        await asyncio.sleep(0.02)
        return {"by": "python"}

    with server(tmp_path, str(database), "--token-file", "token") as started:
        async with await SqliteStorage.open(database) as storage:
            node = await asyncio.create_subprocess_exec(
                "node", SCRIPT, started.url, "count", env={**os.environ, "SWARM_TOKEN": TOKEN}
            )
            try:
                async with asyncio.timeout(60):
                    broken = await storage.store_task(TaskModel.new("count", "no object", max_retries=0))
                    assert (await storage.wait_for_task(broken.id)).status is TaskStatus.FAILED
                    tasks = await storage.store_tasks(
                        [TaskModel.new("count", {"text": "one two", "milliseconds": 20}) for _ in range(TASKS)]
                    )
                    agent = AgentModel.new("python", "worker", ["count"])
                    async with Worker(storage, agent, {"count": count}, concurrency=1) as worker:
                        working = asyncio.create_task(worker.run())
                        done = await storage.wait_for_tasks([task.id for task in tasks])
                        working.cancel()
                        with suppress(asyncio.CancelledError):
                            await working
            finally:
                node.terminate()
                await node.wait()
            node_agent = f"node-{node.pid}"
            assert await storage.get_agent(node_agent) is not None

    results: list[Any] = [task.result for task in done]
    by = Counter(result["by"] for result in results)
    assert {task.status for task in done} == {TaskStatus.COMPLETED}
    assert {task.claim_count for task in done} == {1}
    assert by.keys() == {"python", node_agent}
    assert {result["words"] for result in results if result["by"] == node_agent} == {2}
    assert node.returncode == 0
