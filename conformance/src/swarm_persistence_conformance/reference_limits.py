"""The reference model of limits: predicts which tasks may be claimed, on plain dictionaries."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

from swarm_persistence import TaskModel, TaskStatus
from swarm_persistence.testing import now

HELD = (TaskStatus.ASSIGNED, TaskStatus.RUNNING)


class ReferenceLimit(NamedTuple):
    """The limit of a type: `None` is no such limit. At most `starts` in any `per` seconds."""

    running: int | None = None
    per_key: int | None = None
    starts: int | None = None
    per: float | None = None


class ReferenceLimits:
    """The limits of types, the recent starts of each, and the ids of the tasks that count while they are held."""

    def __init__(self) -> None:
        self._limits: dict[str, ReferenceLimit] = {}
        self._starts: dict[str, list[datetime]] = {}
        self._counted: set[str] = set()

    def set(self, task_type: str, limit: ReferenceLimit, tasks: Iterable[TaskModel]) -> None:
        """Set the limit of a type; what is held already counts."""
        self._limits[task_type] = limit
        self._counted |= {task.id for task in tasks if task.task_type == task_type and task.status in HELD}

    def delete(self, task_type: str) -> bool:
        """Delete the limit of a type, and tell whether there was one."""
        self._starts.pop(task_type, None)
        return self._limits.pop(task_type, None) is not None

    def forget(self, id: str) -> None:
        """Forget a task that is deleted."""
        self._counted.discard(id)

    def allows(self, task: TaskModel, tasks: Iterable[TaskModel]) -> bool:
        """Tell whether a pending task may be claimed."""
        limit = self._limits.get(task.task_type)
        if limit is None:
            return True
        held = [each for each in tasks if self._counts(each, task.task_type)]
        of_key = [each for each in held if each.concurrency_key == task.concurrency_key]
        return (
            (limit.running is None or len(held) < limit.running)
            and (limit.per_key is None or task.concurrency_key is None or len(of_key) < limit.per_key)
            and (limit.starts is None or len(self._recent_starts(task.task_type, limit)) < limit.starts)
        )

    def count(self, task: TaskModel) -> None:
        """Count a task that is claimed, if its type has a limit."""
        limit = self._limits.get(task.task_type)
        if limit is not None:
            self._counted.add(task.id)
            if limit.starts is not None:
                self._starts[task.task_type] = [*self._recent_starts(task.task_type, limit), now()]

    def _counts(self, task: TaskModel, task_type: str) -> bool:
        return task.id in self._counted and task.status in HELD and task.task_type == task_type

    def _recent_starts(self, task_type: str, limit: ReferenceLimit) -> list[datetime]:
        assert limit.per is not None
        since = now() - timedelta(seconds=limit.per)
        return [moment for moment in self._starts.get(task_type, ()) if moment > since]
