"""The verbs that read the dependencies of tasks: records, results, and unmet ones."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

import msgspec

from swarm_persistence.clock import microseconds
from swarm_persistence.durations import seconds
from swarm_persistence.engines.reads import Select, Values
from swarm_persistence.models import TaskModel, TaskStatus
from swarm_persistence.query.query import Query, one_of
from swarm_persistence.schema.tables import TASK_LINKS, TASKS, Table
from swarm_persistence.storage.arguments import texts
from swarm_persistence.storage.dependencies import ROWS_AT_ONCE, dependencies_of
from swarm_persistence.storage.tasks import IS_BLOCKED, IS_PENDING, TaskVerbs

MISSING_AFTER_SECONDS = 60.0
"""The default age of a task from which a dependency that is not stored counts as missing."""


class UnmetDependency(msgspec.Struct, frozen=True):
    """A dependency that a task waits for."""

    id: str
    status: TaskStatus | None
    """The status of the stored task; `None` if there is none of this id."""
    is_missing: bool = False
    """Whether it is not stored although it should be by now; the id may be mistyped."""


class DependencyVerbs(TaskVerbs):
    """Dependencies of tasks."""

    async def get_dependencies(self, task: TaskModel) -> dict[str, TaskModel]:
        """Return the stored dependencies of the task by their ids, in its order, in one read."""
        self._require_model(TASKS, task)
        ids = dependencies_of(task)
        if not ids:
            return {}
        found = {each.id: each for each in await self._executor().read(Select(Query(TASKS, (one_of("id", ids),))))}
        return {id: found[id] for id in ids if id in found}

    async def get_dependency_results(self, task: TaskModel) -> dict[str, Any]:
        """Return the results of the task's completed dependencies by their ids, in its order, in one read."""
        found = await self.get_dependencies(task)
        return {id: each.result for id, each in found.items() if each.status is TaskStatus.COMPLETED}

    async def get_unmet_dependencies(
        self, *, missing_after: float | timedelta = MISSING_AFTER_SECONDS, task_ids: Iterable[str] | None = None
    ) -> dict[str, tuple[UnmetDependency, ...]]:
        """Return for each blocked task, or each of these, by id, the dependencies that it waits for, in its order.

        A dependency that is not stored counts as missing once the task is `missing_after` seconds old.
        """
        age = round(seconds(missing_after, "missing_after", is_zero_possible=True) * 1_000_000)
        blocked = await (
            self.get_blocked_tasks() if task_ids is None else self._blocked_among(texts(task_ids, "task_ids"))
        )
        if not blocked:
            return {}
        links = {*await self._pairs(TASK_LINKS, "task_id", [task.id for task in blocked], "dependency_id")}
        awaited = [*dict.fromkeys(dependency for _, dependency in links)]
        statuses = dict(await self._pairs(TASKS, "id", awaited, "status"))
        old = await self._engine.time() - age

        def unmet(task: TaskModel, id: str) -> UnmetDependency:
            status = statuses.get(id)
            is_missing = status is None and microseconds(task.created_at) <= old
            return UnmetDependency(id, None if status is None else TaskStatus(status), is_missing)

        # A task that was blocked at the first read may have no link at the second.
        found = {task.id: [id for id in dependencies_of(task) if (task.id, id) in links] for task in blocked}
        return {task.id: tuple(unmet(task, id) for id in found[task.id]) for task in blocked if found[task.id]}

    async def _blocked_among(self, ids: Sequence[str]) -> list[TaskModel]:
        found: list[TaskModel] = []
        for place in range(0, len(ids), ROWS_AT_ONCE):
            some = one_of("id", ids[place : place + ROWS_AT_ONCE])
            found += await self._executor().read(Select(Query(TASKS, (some, IS_PENDING, IS_BLOCKED))))
        return found

    async def _pairs(self, table: Table[Any], key: str, values: Sequence[str], field: str) -> list[tuple[str, str]]:
        """Return two columns of the rows that have one of these values in the first."""
        pairs: list[tuple[str, str]] = []
        for place in range(0, len(values), ROWS_AT_ONCE):
            some = Query(table, (one_of(key, values[place : place + ROWS_AT_ONCE]),))
            rows: list[Any] = await self._executor().read(Values(some, (key, field)))
            pairs += [(row[0], row[1]) for row in rows]
        return pairs
