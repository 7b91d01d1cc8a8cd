"""The coordinator: stores the tasks, supervises the workers, reads their messages, and shuts down cleanly."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from swarm_persistence.clock import now
from swarm_persistence.demo.failure import DemoError
from swarm_persistence.demo.fleet import Fleet
from swarm_persistence.demo.kill_target import KillTarget
from swarm_persistence.demo.liveness import HEARTBEAT_SECONDS, SILENCE_SECONDS, is_alive, process_metadata
from swarm_persistence.demo.plan import TaskPlan
from swarm_persistence.demo.stopping import Stopping
from swarm_persistence.demo.vocabulary import (
    COORDINATOR,
    COORDINATOR_ID,
    FINDING,
    RUN_COMPLETED,
    RUN_STARTED,
    RUN_STOPPED,
    TASK_TYPES,
    WORKER,
    WORKER_KILLED,
    WORKER_LOST,
    WORKER_STARTED,
)
from swarm_persistence.errors import ConflictError
from swarm_persistence.models import AgentModel, AgentStatus, EventModel, TaskModel, TaskStatus
from swarm_persistence.models.identifiers import new_id
from swarm_persistence.query.builder import QueryBuilder
from swarm_persistence.query.task_statuses import UNSUCCESSFUL
from swarm_persistence.storage import Storage

_POLL_SECONDS = 0.1


class Coordinator:
    """One run over a plan. Calls `on_progress` with the number of completed tasks."""

    def __init__(
        self, storage: Storage, plan: TaskPlan, fleet: Fleet, stopping: Stopping, on_progress: Callable[[int], None]
    ) -> None:
        self._storage = storage
        self._plan = plan
        self._fleet = fleet
        self._stopping = stopping
        self._on_progress = on_progress
        self._agent = AgentModel.new("coordinator", COORDINATOR)
        self._completed: set[str] = set()
        self._workers_started = 0
        self._kill_target: KillTarget | None = None
        self.killed: str | None = None
        """The name of the worker that was killed in this run."""

    @property
    def completed(self) -> int:
        """Return how many tasks of the plan are known to be done."""
        return len(self._completed)

    @property
    def is_finished(self) -> bool:
        """Return whether every task of the plan is done."""
        return len(self._completed) == len(self._plan.tasks)

    async def prepare(self) -> None:
        """Register as the coordinator, release the tasks of dead workers, and store the missing tasks.

        Raises:
            DemoError: another coordinator is running on this storage.

        """
        await self._register()
        await self._release_tasks_of_dead_workers()
        await self._read_messages()
        await self._store_plan()
        self._on_progress(self.completed)

    def plan_kill(self) -> None:
        """Choose the task in the middle of the remaining ones; the worker that claims it will be killed."""
        left = [task.id for task in self._plan.tasks if task.id not in self._completed]
        if left:
            self._kill_target = KillTarget(left[len(left) // 2], new_id())

    async def run(self, workers: int) -> None:
        """Run this many workers until the report is written or a stop is requested.

        Raises:
            DemoError: a task failed for good, or the workers keep ending.

        """
        try:
            if not self.is_finished and not self._stopping.is_requested:
                await self._start_workers(workers)
                await self._watch(spare=workers)
        finally:
            for worker in await self._fleet.stop(self._stopping.urgent):
                await self._remove(worker.agent_id, worker.ended.result())
        await self._read_messages()

    async def sign_off(self) -> None:
        """Record how the run ended, and mark the coordinator as shut down."""
        self._agent.set_status(AgentStatus.SHUTDOWN)
        async with self._storage.transaction():
            await self._storage.update_agent(self._agent)
            await self._store_event(RUN_COMPLETED if self.is_finished else RUN_STOPPED, {"completed": self.completed})

    async def _register(self) -> None:
        stored = await self._storage.get_agent(COORDINATOR_ID)
        if stored is not None and is_alive(stored):
            raise DemoError(
                f"another demo (process {stored.metadata.get('pid')} on {stored.metadata.get('host')}) is running on "
                f"this database, or was {SILENCE_SECONDS:g} seconds ago; wait for it, or pass another --database"
            )
        self._agent.id = COORDINATOR_ID
        self._agent.version = stored.version if stored else 0
        self._agent.status = AgentStatus.ACTIVE
        self._agent.metadata = process_metadata()
        try:
            await self._storage.repository(AgentModel).save(self._agent)
        except ConflictError as error:
            raise DemoError("another demo has just started on this database; pass another --database") from error

    async def _store_plan(self) -> None:
        stored = {task.id: task for task in await self._storage.repository(TaskModel).query(_of_demo())}
        missing = [task for task in self._plan.tasks if task.id not in stored]
        dependencies_first = sorted(stored.values(), key=lambda task: TASK_TYPES.index(task.task_type))
        async with self._storage.transaction():
            # Before the missing tasks are stored, and dependencies first: the dependents of a failed task fail.
            for task in dependencies_first:
                await self._make_pending(task)
            await self._storage.store_many(missing)
            # Dependents first: cancelling a task fails its dependents.
            for task in reversed(dependencies_first):
                if task.id not in self._plan.ids and task.status is TaskStatus.PENDING:
                    await self._storage.cancel_task(task.id)
            tasks = len(self._plan.tasks)
            await self._store_event(RUN_STARTED, {"report": self._plan.report.id, "tasks": tasks, "new": len(missing)})
        done = {task.id for task in stored.values() if task.status is TaskStatus.COMPLETED}
        self._completed |= done & self._plan.ids

    async def _make_pending(self, task: TaskModel) -> None:
        """Make a task pending again if this run needs it, and it failed or was cancelled in an earlier one."""
        if task.id not in self._plan.ids or task.status not in UNSUCCESSFUL:
            return
        task.status, task.assigned_to, task.started_at, task.completed_at = TaskStatus.PENDING, None, None, None
        task.error, task.retry_count, task.run_at = None, 0, None
        task.updated_at = now()
        await self._storage.update_task(task)

    async def _start_workers(self, count: int) -> None:
        # The numbers continue those of earlier runs, whose workers stay in the tables.
        of_workers = QueryBuilder(EventModel).where_eq("event_type", WORKER_STARTED)
        self._workers_started = await self._storage.repository(EventModel).count(of_workers)
        for _ in range(count):
            await self._start_worker()

    async def _start_worker(self) -> None:
        self._workers_started += 1
        await self._fleet.start(f"worker-{self._workers_started}", self._kill_target)

    async def _watch(self, spare: int) -> None:
        beaten = looked = now()
        while not self.is_finished and not self._stopping.is_requested:
            await self._stopping.wait(_POLL_SECONDS)
            await self._read_messages()
            await self._check_for_failed_tasks()
            if self._kill_target is not None and self.killed is None:
                await self._kill_holder(self._kill_target)
            for worker in self._fleet.take_ended():
                await self._remove(worker.agent_id, worker.ended.result())
                if spare == 0:
                    raise DemoError(f"the workers keep ending; the last one said: {worker.ended.result()}")
                spare -= 1
                await self._start_worker()
            if now() - beaten >= timedelta(seconds=HEARTBEAT_SECONDS):
                self._agent.update_heartbeat()
                await self._storage.update_agent(self._agent)
                beaten = now()
            if now() - looked >= timedelta(seconds=SILENCE_SECONDS / 2):
                await self._release_tasks_of_dead_workers()
                looked = now()

    async def _kill_holder(self, kill_target: KillTarget) -> None:
        holder = await kill_target.holder(self._storage)
        worker = next(
            (worker for worker in self._fleet.workers if worker.agent_id == holder and not worker.ended.done()), None
        )
        if worker is None:
            return
        await self._fleet.kill(worker)
        self.killed = worker.name
        async with self._storage.transaction():
            left = await kill_target.left_by(self._storage, worker.agent_id)
            # Its tasks stay claimed: the other workers take them over once the leases have expired.
            agent = await self._storage.get_agent(worker.agent_id)
            if agent is not None:
                agent.set_status(AgentStatus.ERROR)
                await self._storage.update_agent(agent)
            told = {
                "run": kill_target.run,
                "worker": worker.agent_id,
                "exit_code": worker.process.returncode,
                "tasks": left,
            }
            await self._store_event(WORKER_KILLED, told)

    async def _read_messages(self) -> None:
        """Read the unread messages, and mark them as read."""
        messages = await self._storage.get_unread_messages(COORDINATOR_ID)
        finished = {message.content["task_id"] for message in messages if message.message_type == FINDING}
        self._completed |= finished & self._plan.ids
        await asyncio.gather(*(self._storage.mark_message_read(message.id) for message in messages))
        self._on_progress(self.completed)

    async def _check_for_failed_tasks(self) -> None:
        of_failed = _of_demo().where_eq("status", TaskStatus.FAILED)
        failed = {task.id: task for task in await self._storage.repository(TaskModel).query(of_failed)}
        # The dependents of a failed task, which come later in the plan, have failed with it.
        cause = next((failed[task.id] for task in self._plan.tasks if task.id in failed), None)
        if cause is not None:
            raise DemoError(f"a task failed for good ({cause.task_type}): {cause.error}")

    async def _release_tasks_of_dead_workers(self) -> None:
        """Release the tasks of workers that died in an earlier run."""
        of_kills = QueryBuilder(EventModel).where_eq("event_type", WORKER_KILLED)
        kills = await self._storage.repository(EventModel).query(of_kills)
        known = {worker.agent_id for worker in self._fleet.workers} | {event.data["worker"] for event in kills}
        for agent in await self._storage.list_agents():
            is_stranger = agent.agent_type == WORKER and agent.id not in known
            if is_stranger and agent.status is not AgentStatus.SHUTDOWN and not is_alive(agent):
                await self._remove(agent.id, "belonged to an earlier run and is dead")

    async def _remove(self, agent_id: str, reason: str) -> None:
        async with self._storage.transaction():
            await self._storage.delete_agent(agent_id)
            await self._store_event(WORKER_LOST, {"worker": agent_id, "reason": reason})

    async def _store_event(self, event_type: str, data: dict[str, Any]) -> None:
        await self._storage.store_event(EventModel.new(event_type, data).with_agent(COORDINATOR_ID))


def _of_demo() -> QueryBuilder[TaskModel]:
    return QueryBuilder(TaskModel).where_in("task_type", TASK_TYPES)
