"""The verbs of limits: how many tasks of a type may be claimed at once, and how often."""

from datetime import timedelta
from typing import Any

from swarm_persistence.durations import seconds
from swarm_persistence.engines.reads import Get, Select, Values
from swarm_persistence.engines.steps import Delete, Save, Update
from swarm_persistence.errors import InvalidQueryError
from swarm_persistence.models import TaskLimit
from swarm_persistence.query.builder import bound
from swarm_persistence.query.query import Condition, Order, Query
from swarm_persistence.query.task_statuses import IS_HELD
from swarm_persistence.schema.tables import IS_COUNTED, TASK_LIMITS, TASK_STARTS, TASKS
from swarm_persistence.schema.values import identifier
from swarm_persistence.storage.core import StorageCore

_MOST_IDS = 1000


class LimitVerbs(StorageCore):
    """Limits: set, read, list, delete. Every claim of the whole swarm observes them."""

    async def set_limit(
        self,
        task_type: str,
        *,
        running: int | None = None,
        per_key: int | None = None,
        starts: int | None = None,
        per: float | timedelta | None = None,
    ) -> TaskLimit:
        """Set the limit of a task type, replacing an earlier one, and return it.

        At most `running` of its tasks are claimed at once, and at most `per_key` of those with the same
        `concurrency_key`; at most `starts` are claimed within any period of `per` seconds or a timedelta. With 0, none
        can be claimed. A task that may not be claimed stays pending, counts no retry, and does not block others. Tasks
        that are already claimed count, but keep going even if they exceed the limit.

        Raises:
            InvalidQueryError: a number is negative, nothing is limited, or only one of `starts` and `per` is given.

        """
        if (starts is None) != (per is None):
            raise InvalidQueryError("starts and per belong together: at most so many starts in such a period")
        if running is None and per_key is None and starts is None:
            raise InvalidQueryError("nothing is limited: give running, per_key, or starts and per; or delete_limit")
        limit = TaskLimit(
            id=identifier(task_type, "task_type"),
            running=None if running is None else bound("running", running),
            per_key=None if per_key is None else bound("per_key", per_key),
            starts=None if starts is None else bound("starts", starts),
            per_seconds=None if per is None else seconds(per, "per"),
        )
        # Twice: what is claimed before the limit holds is counted when it does, or soon after.
        await self._count_held(limit.task_type)
        await self._write_one(Save(limit))
        self._is_choosing = True
        await self._count_held(limit.task_type)
        return limit

    async def get_limit(self, task_type: str) -> TaskLimit | None:
        """Return the limit of a task type, or `None` if there is none."""
        return await self._executor().read(Get(TASK_LIMITS, identifier(task_type, "task_type")))

    async def list_limits(self) -> list[TaskLimit]:
        """Return all limits, sorted by task type."""
        return await self._executor().read(Select(Query(TASK_LIMITS, order=(Order("id"),))))

    async def delete_limit(self, task_type: str) -> bool:
        """Delete the limit of a task type, and return whether there was one."""
        id = identifier(task_type, "task_type")
        deleted, _ = await self._executor().write(
            (
                Delete(Query(TASK_LIMITS, (Condition("id", "=", id),))),
                Delete(Query(TASK_STARTS, (Condition("task_type", "=", id),))),
            )
        )
        return bool(deleted)

    async def _count_held(self, task_type: str) -> None:
        """Count the tasks of a type that were claimed while it had no limit."""
        uncounted = (Condition("task_type", "=", task_type), IS_HELD, Condition(IS_COUNTED, "=", 0))
        # Read without the write lock: no index leads to them.
        rows: list[Any] = await self._executor().read(Values(Query(TASKS, uncounted), ("id",)))
        ids = [str(id) for (id,) in rows]
        for start in range(0, len(ids), _MOST_IDS):
            some = tuple(ids[start : start + _MOST_IDS])
            await self._write_one(Update(Query(TASKS, (Condition("id", "IN", some), IS_HELD)), {IS_COUNTED: 1}))
