"""The verbs of tasks: store, read, update, list, watch."""

from collections.abc import Iterable
from typing import Any

from swarm_persistence.engines.reads import Select, Values
from swarm_persistence.models import TaskModel, TaskStatus
from swarm_persistence.query.builder import bound
from swarm_persistence.query.query import Condition, FromNow, Order, Query, one_of
from swarm_persistence.schema.tables import IS_DELAYED, SEQUENCE, TASKS, UNMET_DEPENDENCIES
from swarm_persistence.schema.values import identifier
from swarm_persistence.storage.arguments import several
from swarm_persistence.storage.core import StorageCore
from swarm_persistence.storage.rewriting import update
from swarm_persistence.storage.storing import store, store_all
from swarm_persistence.storage.task_changes import TaskChanges, TaskFilter, position_of_cursor
from swarm_persistence.storage.watching import Watched

IS_PENDING = Condition("status", "=", TaskStatus.PENDING.value)
IS_MET = Condition(UNMET_DEPENDENCIES, "=", 0)
IS_BLOCKED = Condition(UNMET_DEPENDENCIES, ">", 0)
IS_NOT_DELAYED = Condition(IS_DELAYED, "=", 0)
IS_READY = (IS_PENDING, IS_MET, IS_NOT_DELAYED)
IS_DUE = (Condition(IS_DELAYED, "=", 1), Condition("run_at", "<=", FromNow()))
MOST_URGENT_FIRST = (Order("priority", is_descending=True), Order(SEQUENCE))


class TaskVerbs(StorageCore):
    """Tasks: store, read, update, list, watch."""

    async def store_task(self, task: TaskModel) -> TaskModel:
        """Store a new task, raise its `version`, and return it.

        If a task with its `idempotency_key` is stored already, that one is returned, and nothing is written: the task
        was new if the returned object is the same. A task whose `key_policy` is `while_active` releases its key once it
        has ended and another task with the key is stored.

        A dependency need not be stored yet; the task waits for it nevertheless. If a dependency has failed for good or
        was cancelled, the task fails at once, unless its `fails_with_dependencies` is false.

        Raises:
            ConflictError: the id is taken, or the stored task of its key has another type or payload; that one is
                unchanged.
            DependencyCycleError: the task would wait for itself, directly or through others.
            SerializationError: a field's value cannot be stored; nothing was written.

        """
        return await store(self, TASKS, task)

    async def store_tasks(self, tasks: Iterable[TaskModel]) -> list[TaskModel]:
        """Store new tasks in one atomic write, and return what `store_task` would return for each.

        They may depend on each other, in any order. A task that depends on a failed or cancelled one fails at once, as
        if they were stored one by one.
        """
        records = several(tasks, "tasks", "a list of TaskModel")
        for task in records:
            self._require_model(TASKS, task)
        return await store_all(self, records)

    async def get_task(self, id: str) -> TaskModel | None:
        """Return the task, or `None` if there is none with this id."""
        return await self._get(TASKS, id)

    async def update_task(self, task: TaskModel, *, force: bool = False) -> None:
        """Replace the stored task by this one, and raise its `version`.

        If this completes the task, its dependents no longer wait for it; if it fails or cancels the task, they fail. If
        the task was completed and no longer is, its unfinished dependents wait for it again, which takes a scan of all
        unfinished tasks. `claim_count` never decreases, whatever the copy says: no two claims of a stored task share a
        number. `past_claims` stays as it is stored; if the copy is no longer assigned to the agent that is stored, its
        claim is appended, and reading the task again shows it.

        Raises:
            NotFoundError: no task has this id.
            ConflictError: the stored task has changed since this copy was read (`force=True` overwrites it), or another
                task has its `idempotency_key`.
            DependencyCycleError: the task would wait for itself, directly or through others.
            SerializationError: a field's value cannot be stored; nothing was written.

        """
        await update(self, TASKS, task, force)
        if force:
            await self._refresh_claims(task)

    async def get_pending_tasks(self) -> list[TaskModel]:
        """Return the pending tasks: highest priority first, then first stored."""
        return await self._executor().read(Select(Query(TASKS, (IS_PENDING,), MOST_URGENT_FIRST)))

    async def get_ready_tasks(self, limit: int | None = None) -> list[TaskModel]:
        """Return the pending tasks that could be claimed now: highest priority first, then first stored.

        Their dependencies are completed, and their `run_at` has passed.
        """
        if limit is not None:
            bound("limit", limit)
        executor = self._executor()
        # A task that becomes due between these two reads is found twice rather than missed.
        due = await executor.read(Select(Query(TASKS, (IS_PENDING, IS_MET, *IS_DUE), MOST_URGENT_FIRST, limit)))
        ready = await executor.read(
            Select(Query(TASKS, (IS_PENDING, IS_MET, IS_NOT_DELAYED), MOST_URGENT_FIRST, limit))
        )
        if not due:
            return ready
        every = {task.id: task for task in (*due, *ready)}
        rows: list[Any] = await executor.read(Values(Query(TASKS, (one_of("id", [*every]),)), ("id", SEQUENCE)))
        arrivals = dict(rows)
        # A task that was deleted in between has no sequence any more.
        left = [task for id, task in every.items() if id in arrivals]
        return sorted(left, key=lambda task: (-task.priority.rank, arrivals[task.id]))[:limit]

    async def get_blocked_tasks(self, limit: int | None = None) -> list[TaskModel]:
        """Return the pending tasks that wait for a dependency: highest priority first, then first stored.

        `get_unmet_dependencies` tells what each of them waits for.
        """
        if limit is not None:
            bound("limit", limit)
        return await self._executor().read(Select(Query(TASKS, (IS_PENDING, IS_BLOCKED), MOST_URGENT_FIRST, limit)))

    async def get_tasks_by_agent(self, agent_id: str) -> list[TaskModel]:
        """Return the tasks assigned to this agent, newest first."""
        assigned = Condition("assigned_to", "=", identifier(agent_id, "task.assigned_to"))
        return await self._executor().read(
            Select(Query(TASKS, (assigned,), (Order("created_at", is_descending=True),)))
        )

    def watch_tasks(
        self,
        *,
        ids: Iterable[str] | None = None,
        types: Iterable[str] | None = None,
        statuses: Iterable[TaskStatus | str] | None = None,
        group: str | None = None,
        after: str | None = None,
    ) -> TaskChanges:
        """Yield all tasks, then each task again whenever any process writes it; never ends by itself.

        Tasks come in the order of their last writes. Writes between two polls are coalesced: only the latest version is
        yielded. No version is yielded twice, and the latest is never missed. Only tasks with one of the `ids`, one of
        the `types` and, as last written, one of the `statuses` and the group are yielded, where given.

        `after` is the `cursor` of an earlier call, in this process or another one: what was written since is yielded.
        With `"now"`, tasks written after the iteration starts are yielded.

        Raises:
            InvalidQueryError: the cursor, an id or a type is malformed, or a status is unknown.
            TransactionError: called within a transaction, which does not see other commits.

        """
        self._require_no_transaction("watch_tasks")
        wanted = TaskFilter(ids, types, statuses, group)
        position = position_of_cursor(after)
        return TaskChanges(Watched(self._feeds, self._engine, wanted.query, position, wanted.fits))
