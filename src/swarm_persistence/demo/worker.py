"""A worker process of the swarm: a `Worker` whose handlers store the outcome of a task with all that tells of it.

Its standard input is a pipe from the coordinator: once that is closed, on purpose or because the coordinator has died,
the worker finishes its current task and exits.
"""

import argparse
import asyncio
import os
import sys
import threading
import time
from typing import Any

import msgspec

from swarm_persistence.backends.targets import init_storage
from swarm_persistence.demo.kill_target import KillTarget
from swarm_persistence.demo.liveness import LEASE_SECONDS, SILENCE_SECONDS, process_metadata
from swarm_persistence.demo.measures import Measures, measure_module
from swarm_persistence.demo.stopping import Stopping, stop_on_signals
from swarm_persistence.demo.totals import Totals, sum_modules, sum_totals
from swarm_persistence.demo.vocabulary import (
    COORDINATOR_ID,
    DURATION,
    FINDING,
    MEASURE_MODULE,
    SUM_PACKAGE,
    TASK_COMPLETED,
    TASK_FAILED,
    TASK_STARTED,
    TASK_TYPES,
    WORKER,
    WORKER_STARTED,
    WORKER_STOPPED,
)
from swarm_persistence.errors import StorageError
from swarm_persistence.models import AgentModel, EventModel, MessageModel, MetricModel, TaskModel
from swarm_persistence.storage import Storage
from swarm_persistence.worker import RetryPolicy, Worker, WorkerContext

_POLL_SECONDS = 0.1
_RETRY_SECONDS = 0.001
"""A module that could not be measured waits for nothing that time would change."""


class DemoWorker:
    """The worker of one process, and the handler of its tasks."""

    def __init__(
        self, storage: Storage, agent: AgentModel, stopping: Stopping, kill_target: KillTarget | None = None
    ) -> None:
        self._storage = storage
        self._agent = agent
        self._stopping = stopping
        self._kill_target = kill_target

    async def run(self) -> None:
        """Register, work until a stop is requested, and sign off."""
        worker = Worker(
            self._storage,
            self._agent,
            dict.fromkeys(TASK_TYPES, self._handle),
            concurrency=1,
            lease=LEASE_SECONDS,
            heartbeat_timeout=SILENCE_SECONDS,
            heeds_signals=False,
            retries=RetryPolicy(first=_RETRY_SECONDS, longest=_RETRY_SECONDS),
            fires_schedules=False,
        )
        await self._storage.store_event(self._event(WORKER_STARTED, {"name": self._agent.name}))
        async with worker:
            await self._stopping.requested.wait()
        await self._storage.store_event(self._event(WORKER_STOPPED, {"name": self._agent.name}))

    async def _handle(self, task: TaskModel, context: WorkerContext) -> None:
        await self._storage.store_event(self._event(TASK_STARTED, {"task_id": task.id}))
        start = time.perf_counter()
        try:
            result = await perform(task, [each.result for each in context.dependencies.values()])
        except Exception as error:
            told = {"task_id": task.id, "error": f"{type(error).__name__}: {error}"}
            await self._storage.store_event(self._event(TASK_FAILED, told))
            raise
        duration_ms = (time.perf_counter() - start) * 1000
        if self._kill_target is not None and self._kill_target.task_id == task.id:
            await self._wait_for_kill(self._kill_target)
        await self._complete(task, result, duration_ms)

    async def _wait_for_kill(self, kill_target: KillTarget) -> None:
        """Wait until a worker was killed, most likely this one, or a stop is requested."""
        while not self._stopping.is_requested and not await kill_target.is_killed(self._storage):
            await self._stopping.wait(_POLL_SECONDS)

    async def _complete(self, task: TaskModel, result: Any, duration_ms: float) -> None:
        told = {"task_id": task.id, "task_type": task.task_type, "result": result}
        metric = MetricModel.new(DURATION, duration_ms, "ms").with_agent(self._agent.id)
        records = (
            self._event(TASK_COMPLETED, {"task_id": task.id, "duration_ms": duration_ms}),
            metric.with_tag("task_id", task.id).with_tag("task_type", task.task_type),
            MessageModel.new(self._agent.id, COORDINATOR_ID, FINDING, told),
        )
        # All or, if this process is killed, nothing.
        async with self._storage.transaction():
            await self._storage.complete_task(task, result)
            await self._storage.store_many(records)

    def _event(self, event_type: str, data: dict[str, Any]) -> EventModel:
        return EventModel.new(event_type, data).with_agent(self._agent.id)


async def perform(task: TaskModel, results: list[Any]) -> Any:
    """Return the task's result as a JSON value, from the results of its dependencies."""
    if task.task_type == MEASURE_MODULE:
        # In a thread, so that the heartbeat goes on.
        module, path = task.payload["module"], task.payload["path"]
        return msgspec.to_builtins(await asyncio.to_thread(measure_module, module, path))
    if task.task_type == SUM_PACKAGE:
        return msgspec.to_builtins(sum_modules(msgspec.convert(results, list[Measures])))
    return msgspec.to_builtins(sum_totals(msgspec.convert(results, list[Totals])))


async def _run(agent_id: str, name: str, kill_target: KillTarget | None) -> None:
    with stop_on_signals() as stopping:
        threading.Thread(target=_watch_coordinator, args=(stopping,), daemon=True).start()
        agent = AgentModel.new(name, WORKER, TASK_TYPES)
        agent.id = agent_id
        agent.metadata = process_metadata()
        async with await init_storage() as storage:
            await DemoWorker(storage, agent, stopping, kill_target).run()


def _watch_coordinator(stopping: Stopping) -> None:
    # os.read, not sys.stdin: a thread that holds the lock of sys.stdin breaks interpreter shutdown.
    while os.read(0, 1024):
        pass
    stopping.request()


def main() -> int:
    """Run a worker on the storage that `$SWARM_DATABASE_URL` names: a URL may contain a password."""
    parser = argparse.ArgumentParser(prog="python -m swarm_persistence.demo.worker")
    parser.add_argument("--agent-id", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--kill-target")
    parser.add_argument("--run")
    arguments = parser.parse_args()
    kill_target = KillTarget(arguments.kill_target, arguments.run) if arguments.kill_target else None
    try:
        asyncio.run(_run(arguments.agent_id, arguments.name, kill_target))
    except StorageError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
