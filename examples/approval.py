"""A release that waits for a person: an approval is a task of a type that no worker handles.

`python examples/approval.py swarm.db` builds and waits; in another terminal:
`swarm-persistence tasks approve swarm.db release-1-approval --by alice --comment "looks fine"`.
"""

import asyncio
import sys

from swarm_persistence import AgentModel, Storage, TaskModel, TaskStatus, Worker, WorkerContext, init_storage


async def build(_: TaskModel, context: WorkerContext) -> dict[str, str]:
    """Build, and report how far that is."""
    for step in range(1, 6):
        await asyncio.sleep(0.1)  # the work
        context.report_progress(step / 5, f"step {step} of 5")
    return {"artifact": "app-1.0.tar"}


async def publish(task: TaskModel, context: WorkerContext) -> str:
    """Publish what was built, once it was approved."""
    results = {name: context.dependencies[id].result or {} for name, id in task.payload.items()}
    build, decision = results["build"], results["approval"]
    return f"{build['artifact']} was published: {decision['by']} said {decision['comment']!r}"


async def release(storage: Storage, name: str) -> TaskModel:
    """Store the three tasks of a release, and return the last one when it has ended."""
    ids = {"build": f"{name}-build", "approval": f"{name}-approval"}
    await storage.store_tasks(
        [
            TaskModel(id=ids["build"], task_type="build"),
            TaskModel(id=ids["approval"], task_type="approval", dependencies=[ids["build"]]),
            TaskModel(id=f"{name}-publish", task_type="publish", payload=ids, dependencies=[*ids.values()]),
        ]
    )
    return await storage.wait_for_task(f"{name}-publish")


async def main(target: str) -> None:
    """Run a worker until one release is published or rejected."""
    agent = AgentModel.new("releaser", "worker", [])
    async with await init_storage(target) as storage, Worker(storage, agent, {"build": build, "publish": publish}):
        task = await release(storage, "release-1")
        print(task.result if task.status is TaskStatus.COMPLETED else task.error)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
