"""A worker of the swarm, as a process of its own: registers, claims tasks, does them, and stops when asked.

Its standard input is its tie to the coordinator: when that closes, on purpose or because the coordinator has died, the
worker finishes the task in hand and ends.
"""

import argparse
import asyncio
import os
import sys
import threading
import time
from typing import Any

from swarm_persistence.backends.targets import init_storage
from swarm_persistence.clock import now
from swarm_persistence.demo.labor import perform
from swarm_persistence.demo.liveness import HEARTBEAT_SECONDS, whereabouts
from swarm_persistence.demo.queue import Queue
from swarm_persistence.demo.stopping import Stopping, stop_on_signals
from swarm_persistence.demo.vocabulary import (
    COORDINATOR_ID,
    DURATION,
    FAILURE,
    FINDING,
    TASK_COMPLETED,
    TASK_FAILED,
    TASK_TYPES,
    WORKER,
    WORKER_STARTED,
    WORKER_STOPPED,
)
from swarm_persistence.errors import ConflictError, NotFoundError, StorageError
from swarm_persistence.models import (
    AgentModel,
    AgentStatus,
    EventModel,
    MessageModel,
    MetricModel,
    Model,
    TaskModel,
    TaskStatus,
)
from swarm_persistence.storage import Storage

_SHORTEST_WAIT_SECONDS = 0.02
_LONGEST_WAIT_SECONDS = 0.32


class Worker:
    """One agent at work."""

    def __init__(self, storage: Storage, agent: AgentModel, position: int, stopping: Stopping) -> None:
        self._storage = storage
        self._agent = agent
        self._queue = Queue(storage, agent.id, position)
        self._stopping = stopping

    async def run(self) -> None:
        """Register, work until a stop is requested, and sign off."""
        self._agent.status = AgentStatus.ACTIVE
        await self._storage.store_many([self._agent, self._event(WORKER_STARTED, {"name": self._agent.name})])
        async with asyncio.TaskGroup() as group:
            beating = group.create_task(self._send_heartbeats())
            await self._work()
        if beating.result():
            self._agent.set_status(AgentStatus.SHUTDOWN)
            async with self._storage.transaction():
                await self._storage.update_agent(self._agent)
                await self._storage.store_event(self._event(WORKER_STOPPED, {"name": self._agent.name}))

    async def _work(self) -> None:
        wait = _SHORTEST_WAIT_SECONDS
        while not self._stopping.is_requested:
            task = await self._queue.start_next_task()
            if task is None:
                self._agent.status = AgentStatus.IDLE
                await self._stopping.wait(wait)
                wait = min(wait * 2, _LONGEST_WAIT_SECONDS)
            else:
                self._agent.status = AgentStatus.BUSY
                await self._do(task)
                wait = _SHORTEST_WAIT_SECONDS

    async def _send_heartbeats(self) -> bool:
        """Store a sign of life every second until the stop; tell whether the swarm still knows this worker."""
        while not self._stopping.is_requested:
            await self._stopping.wait(HEARTBEAT_SECONDS)
            self._agent.update_heartbeat()
            try:
                await self._storage.update_agent(self._agent)
            except NotFoundError:
                # The coordinator took this process for dead and gave its task to others.
                self._stopping.request()
                return False
        return True

    async def _do(self, task: TaskModel) -> None:
        start = time.perf_counter()
        try:
            result = await perform(self._storage, task)
        except StorageError:
            raise
        except Exception as error:  # whatever goes wrong in a task must not end the worker
            await self._fail(task, f"{type(error).__name__}: {error}")
            return
        await self._complete(task, result, (time.perf_counter() - start) * 1000)

    async def _complete(self, task: TaskModel, result: Any, duration_ms: float) -> None:
        task.status = TaskStatus.COMPLETED
        task.result = result
        task.completed_at = task.updated_at = now()
        told = {"task_id": task.id, "task_type": task.task_type, "result": result}
        metric = MetricModel.new(DURATION, duration_ms, "ms").with_agent(self._agent.id)
        await self._finish(
            task,
            self._event(TASK_COMPLETED, {"task_id": task.id, "duration_ms": duration_ms}),
            metric.with_tag("task_id", task.id).with_tag("task_type", task.task_type),
            MessageModel.new(self._agent.id, COORDINATOR_ID, FINDING, told),
        )

    async def _fail(self, task: TaskModel, error: str) -> None:
        task.error = error
        task.updated_at = now()
        event = self._event(TASK_FAILED, {"task_id": task.id, "error": error})
        if task.retry_count < task.max_retries:
            task.retry_count += 1
            task.status, task.assigned_to, task.started_at = TaskStatus.PENDING, None, None
            await self._finish(task, event)
            return
        task.status = TaskStatus.FAILED
        told = {"task_id": task.id, "task_type": task.task_type, "error": error}
        await self._finish(task, event, MessageModel.new(self._agent.id, COORDINATOR_ID, FAILURE, told))

    async def _finish(self, task: TaskModel, *records: Model) -> None:
        """Store what came of the task together with what tells of it: all of it, or, if we are killed, nothing."""
        try:
            async with self._storage.transaction():
                await self._storage.update_task(task)
                await self._storage.store_many(records)
        except ConflictError:
            # The task was taken back while this process seemed dead. The result of whoever has it now counts, not ours.
            return

    def _event(self, event_type: str, data: dict[str, Any]) -> EventModel:
        return EventModel.new(event_type, data).with_agent(self._agent.id)


async def _run(agent_id: str, name: str, position: int) -> None:
    with stop_on_signals() as stopping:
        threading.Thread(target=_watch_coordinator, args=(stopping,), daemon=True).start()
        agent = AgentModel.new(name, WORKER, TASK_TYPES)
        agent.id = agent_id
        agent.metadata = whereabouts()
        async with await init_storage() as storage:
            await Worker(storage, agent, position, stopping).run()


def _watch_coordinator(stopping: Stopping) -> None:
    # os.read, not sys.stdin: a thread that holds the lock of sys.stdin disturbs the interpreter's end.
    while os.read(0, 1024):
        pass
    stopping.request()


def main() -> int:
    """Run a worker on the storage that `$SWARM_DATABASE_URL` names; its name may hold a password."""
    parser = argparse.ArgumentParser(prog="python -m swarm_persistence.demo.worker")
    parser.add_argument("--agent-id", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--position", type=int, required=True)
    arguments = parser.parse_args()
    failure: BaseException | None = None
    try:
        asyncio.run(_run(arguments.agent_id, arguments.name, arguments.position))
    except* StorageError as errors:
        failure = errors.exceptions[0]
    if failure is not None:
        sys.stderr.write(f"{failure}\n")
    return int(failure is not None)


if __name__ == "__main__":
    sys.exit(main())
