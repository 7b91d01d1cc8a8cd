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
from contextlib import suppress
from typing import Any

import msgspec

from swarm_persistence.backends.targets import init_storage
from swarm_persistence.demo.kill_target import KillTarget
from swarm_persistence.demo.liveness import HEARTBEAT_SECONDS, LEASE_SECONDS, whereabouts
from swarm_persistence.demo.stopping import Stopping, stop_on_signals
from swarm_persistence.demo.vocabulary import (
    COORDINATOR_ID,
    DURATION,
    FAILURE,
    FINDING,
    TASK_COMPLETED,
    TASK_FAILED,
    TASK_STARTED,
    TASK_TYPES,
    WORKER,
    WORKER_STARTED,
    WORKER_STOPPED,
)
from swarm_persistence.demo.work import perform
from swarm_persistence.errors import LeaseLostError, NotFoundError, StorageError
from swarm_persistence.models import (
    AgentModel,
    AgentStatus,
    EventModel,
    MessageModel,
    MetricModel,
    TaskModel,
    TaskStatus,
)
from swarm_persistence.storage import Storage

_WAIT_SECONDS = 0.25
"""How long to wait for a task before a look at whether to stop."""
_LOOK_SECONDS = 0.1


class DemoWorker:
    """One agent at work."""

    def __init__(
        self, storage: Storage, agent: AgentModel, stopping: Stopping, kill_target: KillTarget | None = None
    ) -> None:
        self._storage = storage
        self._agent = agent
        self._stopping = stopping
        self._kill_target = kill_target
        self._held: TaskModel | None = None
        self._is_over = asyncio.Event()

    async def run(self) -> None:
        """Register, work until a stop is requested, and sign off."""
        self._agent.status = AgentStatus.ACTIVE
        await self._storage.store_many([self._agent, self._event(WORKER_STARTED, {"name": self._agent.name})])
        async with asyncio.TaskGroup() as group:
            beating = group.create_task(self._send_heartbeats())
            await self._work()
            self._is_over.set()
        if beating.result():
            self._agent.set_status(AgentStatus.SHUTDOWN)
            async with self._storage.transaction():
                await self._storage.update_agent(self._agent)
                await self._storage.store_event(self._event(WORKER_STOPPED, {"name": self._agent.name}))

    async def _work(self) -> None:
        while not self._stopping.is_requested:
            task = await self._start_next_task()
            self._agent.status = AgentStatus.BUSY if task else AgentStatus.IDLE
            if task is not None:
                await self._do(task)

    async def _start_next_task(self) -> TaskModel | None:
        task = await self._storage.claim_next_task(
            self._agent.id, task_types=TASK_TYPES, lease=LEASE_SECONDS, wait=_WAIT_SECONDS
        )
        if task is not None:
            await self._storage.store_event(self._event(TASK_STARTED, {"task_id": task.id}))
        return task

    async def _send_heartbeats(self) -> bool:
        """Keep the agent and its claim alive until the work is over; tell whether the swarm still knows this worker."""
        while not self._is_over.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._is_over.wait(), HEARTBEAT_SECONDS)
            await self._extend_lease()
            self._agent.update_heartbeat()
            try:
                await self._storage.update_agent(self._agent)
            except NotFoundError:
                # The coordinator took this process for dead and gave its task to others.
                self._stopping.request()
                return False
            await self._requeue_expired_tasks()
        return True

    async def _extend_lease(self) -> None:
        held = self._held
        if held is None:
            return
        try:
            await self._storage.extend_lease(msgspec.structs.replace(held), lease=LEASE_SECONDS)
        except LeaseLostError:
            # Finished in the meantime, or taken over; then finishing it is refused as well.
            if self._held is held:
                self._held = None

    async def _requeue_expired_tasks(self) -> None:
        """Give the tasks of the dead to the living, and tell of those that have died too often."""
        async with self._storage.transaction():
            # The coordinator buries agents by itself.
            recovery = await self._storage.requeue_expired_tasks(heartbeat_timeout=None)
            for id in recovery.failed:
                task = await self._storage.get_task(id)
                if task is not None:
                    await self._storage.store_message(self._failure(task))

    async def _do(self, task: TaskModel) -> None:
        self._held = task
        try:
            await self._do_held(task)
        except LeaseLostError:
            # The task was taken back while this process seemed dead. The result of whoever has it now counts, not ours.
            return
        finally:
            self._held = None

    async def _do_held(self, task: TaskModel) -> None:
        start = time.perf_counter()
        try:
            result = await perform(self._storage, task)
        except StorageError:
            raise
        except Exception as error:  # whatever goes wrong in a task must not end the worker
            await self._fail(task, f"{type(error).__name__}: {error}")
            return
        duration_ms = (time.perf_counter() - start) * 1000
        if self._kill_target is not None and self._kill_target.task_id == task.id:
            await self._keep_back(task, self._kill_target)
        await self._complete(task, result, duration_ms)

    async def _keep_back(self, task: TaskModel, kill_target: KillTarget) -> None:
        """Wait until a worker was killed, most likely this one, or there is no reason to wait any more."""
        while self._held is task and not self._stopping.is_requested and not await kill_target.is_killed(self._storage):
            await self._stopping.wait(_LOOK_SECONDS)

    async def _complete(self, task: TaskModel, result: Any, duration_ms: float) -> None:
        told = {"task_id": task.id, "task_type": task.task_type, "result": result}
        metric = MetricModel.new(DURATION, duration_ms, "ms").with_agent(self._agent.id)
        records = (
            self._event(TASK_COMPLETED, {"task_id": task.id, "duration_ms": duration_ms}),
            metric.with_tag("task_id", task.id).with_tag("task_type", task.task_type),
            MessageModel.new(self._agent.id, COORDINATOR_ID, FINDING, told),
        )
        # All of it, or, if we are killed, nothing.
        async with self._storage.transaction():
            await self._storage.complete_task(task, result)
            await self._storage.store_many(records)

    async def _fail(self, task: TaskModel, error: str) -> None:
        async with self._storage.transaction():
            await self._storage.fail_task(task, error, retry_in=0)
            await self._storage.store_event(self._event(TASK_FAILED, {"task_id": task.id, "error": error}))
            if task.status is TaskStatus.FAILED:
                await self._storage.store_message(self._failure(task))

    def _failure(self, task: TaskModel) -> MessageModel:
        told = {"task_id": task.id, "task_type": task.task_type, "error": task.error}
        return MessageModel.new(self._agent.id, COORDINATOR_ID, FAILURE, told)

    def _event(self, event_type: str, data: dict[str, Any]) -> EventModel:
        return EventModel.new(event_type, data).with_agent(self._agent.id)


async def _run(agent_id: str, name: str, kill_target: KillTarget | None) -> None:
    with stop_on_signals() as stopping:
        threading.Thread(target=_watch_coordinator, args=(stopping,), daemon=True).start()
        agent = AgentModel.new(name, WORKER, TASK_TYPES)
        agent.id = agent_id
        agent.metadata = whereabouts()
        async with await init_storage() as storage:
            await DemoWorker(storage, agent, stopping, kill_target).run()


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
    parser.add_argument("--kill-target")
    parser.add_argument("--run")
    arguments = parser.parse_args()
    kill_target = KillTarget(arguments.kill_target, arguments.run) if arguments.kill_target else None
    failure: BaseException | None = None
    try:
        asyncio.run(_run(arguments.agent_id, arguments.name, kill_target))
    except* StorageError as errors:
        failure = errors.exceptions[0]
    if failure is not None:
        sys.stderr.write(f"{failure}\n")
    return int(failure is not None)


if __name__ == "__main__":
    sys.exit(main())
