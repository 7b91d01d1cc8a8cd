"""A worker process of the swarm: registers, claims and performs tasks, and stops on request.

Its standard input is a pipe from the coordinator: once that is closed, on purpose or because the coordinator has died,
the worker finishes its current task and exits.
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
from swarm_persistence.demo.liveness import HEARTBEAT_SECONDS, LEASE_SECONDS, process_metadata
from swarm_persistence.demo.measures import Measures, measure_module
from swarm_persistence.demo.stopping import Stopping, stop_on_signals
from swarm_persistence.demo.totals import Totals, sum_modules, sum_totals
from swarm_persistence.demo.vocabulary import (
    COORDINATOR_ID,
    DURATION,
    FAILURE,
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
from swarm_persistence.query.builder import QueryBuilder
from swarm_persistence.storage import Storage

_WAIT_SECONDS = 0.25
"""How long to wait for a task before checking for a stop."""
_POLL_SECONDS = 0.1
_IDS_IN_ONE_QUERY = 500


class DemoWorker:
    """The agent of one worker process."""

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
            self._held = task  # from now on, its lease is extended
            await self._storage.store_event(self._event(TASK_STARTED, {"task_id": task.id}))
        return task

    async def _send_heartbeats(self) -> bool:
        """Send heartbeats and extend the lease until the work ends; return whether the agent is still registered."""
        while not self._is_over.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._is_over.wait(), HEARTBEAT_SECONDS)
            await self._extend_lease()
            self._agent.update_heartbeat()
            try:
                await self._storage.update_agent(self._agent)
            except NotFoundError:
                # The coordinator presumed this process dead, and has released its task.
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
            # The task was completed meanwhile or taken over; in the latter case, completing it is refused, too.
            if self._held is held:
                self._held = None

    async def _requeue_expired_tasks(self) -> None:
        """Requeue expired tasks, and report those that have failed for good."""
        async with self._storage.transaction():
            # The coordinator removes lost agents itself.
            recovery = await self._storage.requeue_expired_tasks(heartbeat_timeout=None)
            for id in recovery.failed:
                task = await self._storage.get_task(id)
                if task is not None:
                    await self._storage.store_message(self._failure(task))

    async def _do(self, task: TaskModel) -> None:
        try:
            await self._do_held(task)
        except LeaseLostError:
            # The task was requeued while this process seemed dead. The result of its next holder counts, not ours.
            return
        finally:
            self._held = None

    async def _do_held(self, task: TaskModel) -> None:
        start = time.perf_counter()
        try:
            result = await perform(self._storage, task)
        except StorageError:
            raise
        except Exception as error:  # no exception of a task may end the worker
            await self._fail(task, f"{type(error).__name__}: {error}")
            return
        duration_ms = (time.perf_counter() - start) * 1000
        if self._kill_target is not None and self._kill_target.task_id == task.id:
            await self._wait_for_kill(task, self._kill_target)
        await self._complete(task, result, duration_ms)

    async def _wait_for_kill(self, task: TaskModel, kill_target: KillTarget) -> None:
        """Wait until a worker was killed, most likely this one, or the claim is lost, or a stop is requested."""
        while self._held is task and not self._stopping.is_requested and not await kill_target.is_killed(self._storage):
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


async def perform(storage: Storage, task: TaskModel) -> Any:
    """Return the task's result as a JSON value."""
    if task.task_type == MEASURE_MODULE:
        # In a thread, so that the heartbeat goes on.
        module, path = task.payload["module"], task.payload["path"]
        return msgspec.to_builtins(await asyncio.to_thread(measure_module, module, path))
    results = await _results(storage, task.dependencies)
    if task.task_type == SUM_PACKAGE:
        return msgspec.to_builtins(sum_modules(msgspec.convert(results, list[Measures])))
    return msgspec.to_builtins(sum_totals(msgspec.convert(results, list[Totals])))


async def _results(storage: Storage, ids: list[str]) -> list[Any]:
    results = []
    for start in range(0, len(ids), _IDS_IN_ONE_QUERY):
        some = QueryBuilder(TaskModel).where_in("id", ids[start : start + _IDS_IN_ONE_QUERY])
        results += [task.result for task in await storage.repository(TaskModel).query(some)]
    return results


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
