"""The verbs of tasks: what is stored, and what waits."""

from collections.abc import AsyncGenerator, Iterable, Sequence
from typing import Any

from swarm_persistence.engines.following import BEFORE_ALL
from swarm_persistence.engines.interface import Delete, Hold, Insert, Replace, Save, Step, Unless, Update, When
from swarm_persistence.engines.reads import Count, Select, Values
from swarm_persistence.models import TaskModel, TaskStatus
from swarm_persistence.query.builder import bound
from swarm_persistence.query.query import Condition, FromNow, Order, Query, one_of
from swarm_persistence.query.task_statuses import FINISHED, IS_UNSUCCESSFUL, UNSUCCESSFUL
from swarm_persistence.schema.tables import IS_DELAYED, SEQUENCE, TASK_LINKS, TASKS, UNMET_DEPENDENCIES, Table
from swarm_persistence.schema.values import identifier
from swarm_persistence.storage.arguments import several
from swarm_persistence.storage.core import StorageCore, by_id
from swarm_persistence.storage.dependencies import (
    IS_COMPLETED,
    dependencies_of,
    hold_to_link,
    id_of,
    refuse_cycle,
    refuse_cycles_with_stored,
    steps_after_replacing,
    steps_to_wait_again,
    waiting_for,
)
from swarm_persistence.storage.failures import fail_dependents
from swarm_persistence.storage.new_tasks import (
    dependencies_of_any,
    is_plain_task,
    linked_among,
    may_be_linked,
    may_close_cycle,
    places_of_duplicates,
    steps_to_store,
)
from swarm_persistence.storage.watching import watched

IS_PENDING = Condition("status", "=", TaskStatus.PENDING.value)
IS_MET = Condition(UNMET_DEPENDENCIES, "=", 0)
IS_NOT_DELAYED = Condition(IS_DELAYED, "=", 0)
IS_DUE = (Condition(IS_DELAYED, "=", 1), Condition("run_at", "<=", FromNow()))
MOST_URGENT_FIRST = (Order("priority", is_descending=True), Order(SEQUENCE))


class TaskVerbs(StorageCore):
    """Tasks: store, read, update, list."""

    async def store_task(self, task: TaskModel) -> TaskModel:
        """Store a new task, raise its `version`, and return it.

        If a task with its `idempotency_key` is stored already, that one is returned, and nothing is written. A
        dependency need not be stored yet; the task waits for it all the same. If one has failed for good or was
        cancelled, the task fails at once, unless it says otherwise.

        Raises:
            ConflictError: the id is taken; the stored task is unchanged.
            DependencyCycleError: the task would wait for itself, by way of others or at once.
            SerializationError: a field's value cannot be stored; nothing was written.

        """
        return await self._store(TASKS, task)

    async def store_tasks(self, tasks: Iterable[TaskModel]) -> list[TaskModel]:
        """Store new tasks in one atomic write, and return what is stored now, as `store_task` does for each.

        They may depend on each other, in any order. One that depends on another of them that has failed or is cancelled
        fails at once, as if they were stored one after the other.
        """
        records = several(tasks, "tasks", "a list of TaskModel")
        for task in records:
            self._require_model(TASKS, task)
        return await self._store_all(records)

    async def get_task(self, id: str) -> TaskModel | None:
        """Return the task, or `None` if there is none with this id."""
        return await self._get(TASKS, id)

    async def update_task(self, task: TaskModel, *, force: bool = False) -> None:
        """Replace the stored task by this one, and raise its `version`.

        One that is completed by this lets its dependents go on; one that failed or is cancelled fails them. If it was
        completed, and is so no longer, those of its dependents that are not finished wait for it again; all unfinished
        tasks are looked through for them. `claim_count` never falls, whatever the copy says: no two claims of a stored
        task share a number.

        Raises:
            NotFoundError: no task has this id.
            ConflictError: the stored task has changed since this copy was read; `force=True` overwrites it. Or another
                task has its `idempotency_key`.
            DependencyCycleError: the task would wait for itself, by way of others or at once.
            SerializationError: a field's value cannot be stored; nothing was written.

        """
        await self._update(TASKS, task, force)
        if force:
            await self._tell_claim_count(task)

    async def get_pending_tasks(self) -> list[TaskModel]:
        """Return the tasks that wait for an agent: highest priority first, then first stored."""
        return await self._executor().read(Select(Query(TASKS, (IS_PENDING,), MOST_URGENT_FIRST)))

    async def get_ready_tasks(self, limit: int | None = None) -> list[TaskModel]:
        """Return the pending tasks that could be claimed now: highest priority first, then first stored.

        Their dependencies are completed, and their `run_at` has come.
        """
        if limit is not None:
            bound("limit", limit)
        executor = self._executor()
        # What becomes due between these two reads is found by both, never by none.
        due = await executor.read(Select(Query(TASKS, (IS_PENDING, IS_MET, *IS_DUE), MOST_URGENT_FIRST, limit)))
        ready = await executor.read(
            Select(Query(TASKS, (IS_PENDING, IS_MET, IS_NOT_DELAYED), MOST_URGENT_FIRST, limit))
        )
        if not due:
            return ready
        every = {task.id: task for task in (*due, *ready)}
        rows: list[Any] = await executor.read(Values(Query(TASKS, (one_of("id", [*every]),)), ("id", SEQUENCE)))
        arrivals = dict(rows)
        # One that was deleted in between has no arrival any more.
        left = [task for id, task in every.items() if id in arrivals]
        return sorted(left, key=lambda task: (-task.priority.rank, arrivals[task.id]))[:limit]

    async def get_blocked_tasks(self) -> list[TaskModel]:
        """Return the pending tasks that wait for a dependency: highest priority first, then first stored."""
        is_blocked = Condition(UNMET_DEPENDENCIES, ">", 0)
        return await self._executor().read(Select(Query(TASKS, (IS_PENDING, is_blocked), MOST_URGENT_FIRST)))

    async def get_tasks_by_agent(self, agent_id: str) -> list[TaskModel]:
        """Return the tasks assigned to this agent, newest first."""
        assigned = Condition("assigned_to", "=", identifier(agent_id, "task.assigned_to"))
        return await self._executor().read(
            Select(Query(TASKS, (assigned,), (Order("created_at", is_descending=True),)))
        )

    def watch_tasks(self) -> AsyncGenerator[TaskModel, None]:
        """Yield the tasks as they are, then each again whenever it was written; it never ends by itself.

        In the order of their last writes, whichever process writes. Of several writes between two looks, only the last
        one shows; no version of a task comes twice, and the last one always comes.

        Raises:
            TransactionError: within a transaction, which sees no commits of others.

        """
        self._require_no_transaction("watch_tasks")
        return watched(self._feeds, self._engine, Query(TASKS), BEFORE_ALL)

    def _stands_alone(self, table: Table[Any], model: Any) -> bool:
        if table is not TASKS:
            return StorageCore._stands_alone(self, table, model)
        is_over = model.status in FINISHED
        is_plain = model.dependencies == [] and model.run_at is None and model.idempotency_key is None
        return is_plain and not is_over

    async def _write_record(self, step: Insert[Any] | Save[Any] | Replace[Any]) -> Any:
        if not isinstance(step.model, TaskModel):
            return await super()._write_record(step)
        if isinstance(step, Insert):
            return (await self._write_records([step]))[0]
        return await self._rewrite_task(step, step.model)

    async def _write_records(self, inserts: Sequence[Insert[Any]]) -> list[Any]:
        linked = linked_among(inserts)
        if not linked:
            return (await self._executor().write(steps_to_store(inserts)))[: len(inserts)]
        hold = hold_to_link(linked, own=(id_of(step.model) for step in inserts if is_plain_task(step)))
        results = None
        if not may_close_cycle(inserts, linked):
            results = await self._write_unless_awaited(hold, steps_to_store(inserts), linked)
        if results is None:
            results = await self._write_new(hold, inserts)
        return results[: len(inserts)]

    async def _write_new(self, hold: Hold, inserts: Sequence[Insert[Any]]) -> list[Any]:
        """Write those of the records whose key is not stored, as one; the result of the others is 0.

        A duplicate stores nothing: what it depends on closes no cycle, and hides none that its namesake closes.
        """

        async def write() -> list[Any]:
            await self._executor().write([hold])
            known = await places_of_duplicates(self._executor(), inserts)
            new = [step for place, step in enumerate(inserts) if place not in known]
            results = iter(await self._write_among_others(steps_to_store(new), linked_among(new)) if new else ())
            return [0 if place in known else next(results) for place in range(len(inserts))]

        return await self._as_one(write)

    async def _write_unless_awaited(
        self, hold: Hold, steps: Sequence[Step], tasks: Sequence[TaskModel]
    ) -> list[Any] | None:
        """Write tasks in one go if none is waited for yet, and none would wait in vain; else return `None`.

        So it is with most of them: then there can be no cycle, and no task to fail.
        """
        links = waiting_for([id_of(task) for task in tasks])
        dependencies = dependencies_of_any(tasks)
        is_vain = Query(TASKS, (one_of("id", dependencies or ("",)), IS_UNSUCCESSFUL))
        # One that is written here is not stored yet, where the query would find it.
        if any(task.status in UNSUCCESSFUL and id_of(task) in dependencies for task in tasks):
            return None
        _, results = await self._executor().write([hold, Unless(links, (Unless(is_vain, tuple(steps)),))])
        return None if results is None or results[0] is None else list(results[0])

    async def _write_among_others(self, steps: Sequence[Step], tasks: Sequence[TaskModel]) -> list[Any]:
        """Write tasks that are held already, unless that closes a cycle; fail those that wait in vain.

        Returns the results of the steps.
        """
        await refuse_cycles_with_stored(self._executor(), tasks)
        results = await self._executor().write(steps)
        await self._fail_dependents_of_any((*map(id_of, tasks), *dependencies_of_any(tasks)))
        if any(results):  # a stale copy, of which nothing was written, is not told what the stored one is
            await self._tell_failed(tasks)
        return results

    async def _fail_dependents_of_any(self, ids: Sequence[str]) -> None:
        failed_ones = Query(TASKS, (one_of("id", ids), IS_UNSUCCESSFUL))
        rows: list[Any] = await self._executor().read(Values(failed_ones, ("id", "status", "error")))
        for id, status, error in rows:
            await fail_dependents(self._executor(), id, _reason(status, error))

    async def _tell_failed(self, tasks: Sequence[TaskModel]) -> None:
        """Tell the caller's objects that their tasks have failed at once; the write itself still counts a version."""
        for task in tasks:
            if task.status is TaskStatus.PENDING and dependencies_of(task):
                stored = await self._get(TASKS, task.id)
                if stored is not None and stored.status is TaskStatus.FAILED:
                    fields = ("status", "error", "completed_at", "updated_at")
                    values = {field: getattr(stored, field) for field in fields}
                    self._tell(self._scope(), task, version=stored.version - 1, **values)

    async def _tell_claim_count(self, task: TaskModel) -> None:
        """Tell the caller's object, which may be older than claims that it did not know, how many there were."""
        stored = await self._get(TASKS, task.id)
        if stored is not None and stored.version == task.version:
            self._tell(self._scope(), task, claim_count=stored.claim_count)

    async def _rewrite_task(self, step: Save[Any] | Replace[Any], task: TaskModel) -> Any:
        whole = When(step, steps_after_replacing(task))
        version = task.version
        if may_be_linked(task):
            refuse_cycle({id_of(task): dependencies_of(task)})
            result = await self._write_linked(whole, task)
        else:
            result = await self._write_one(whole)
        if not result and task.status is not TaskStatus.COMPLETED:
            result = await self._set_back(step, whole, task) or result
        # One that has failed at once has been written twice.
        return result if task.version == version or isinstance(step, Save) else task.version + 1

    async def _write_linked(self, whole: Step, task: TaskModel) -> Any:
        hold = hold_to_link([task])

        async def write() -> list[Any]:
            await self._executor().write([hold])
            return await self._write_among_others([whole], [task])

        results = await self._write_unless_awaited(hold, [whole], [task])
        return (await self._as_one(write) if results is None else results)[0]

    async def _set_back(self, step: Save[Any] | Replace[Any], whole: Step, task: TaskModel) -> Any:
        """Rewrite a task that was completed, and is to be so no longer: those that depend on it wait for it again."""
        is_forced = isinstance(step, Replace) and step.is_forced
        is_same = () if is_forced else (Condition("version", "=", task.version),)
        id = id_of(task)
        completed = Query(TASKS, (Condition("id", "=", id), IS_COMPLETED, *is_same))
        if not await self._executor().read(Count(completed)):
            return None

        async def write() -> Any:
            freed = Update(completed, {"status": task.status.value})
            result = (await self._executor().write([hold_to_link([task]), freed, whole]))[-1]
            if result:
                await self._executor().write(await steps_to_wait_again(self._executor(), id))
                await refuse_cycles_with_stored(self._executor(), [task])
                await self._fail_dependents_of_any((id, *dependencies_of(task)))
                await self._tell_failed([task])
            return result

        return await self._as_one(write)


def steps_to_delete_task(id: str) -> list[Step]:
    """Return the steps that delete a task; those that wait for it wait until one of its id is stored and completed."""
    links = Query(TASK_LINKS, (Condition("task_id", "=", identifier(id, TASKS.id_field)),))
    return [Delete(by_id(TASKS, id)), Delete(links)]


def _reason(status: str, error: str | None) -> str:
    if status == TaskStatus.CANCELLED.value:
        return "was cancelled"
    return f"failed: {error}" if error else "failed"
