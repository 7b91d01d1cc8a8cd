"""The room that the limits of task types leave, counted from claimed tasks and recent starts."""

from collections import Counter
from collections.abc import Iterable, Sequence
from copy import copy
from typing import Any

from swarm_persistence.engines.interface import Executor
from swarm_persistence.engines.reads import Aggregate, AggregateFunction, Count, Select, Values
from swarm_persistence.engines.steps import Delete, Insert, Step
from swarm_persistence.models import TaskLimit, TaskModel, TaskStatus
from swarm_persistence.models.limits import TaskStart
from swarm_persistence.query.query import Condition, FromNow, Order, Query
from swarm_persistence.schema.tables import IS_COUNTED, TASK_LIMITS, TASK_STARTS, TASKS

ANY_LIMIT: Query[TaskLimit] = Query(TASK_LIMITS, limit=1)

_HELD = (TaskStatus.ASSIGNED.value, TaskStatus.RUNNING.value)
_COUNT = (AggregateFunction("count"),)


class Room:
    """How many more tasks of a type may be claimed, and with which keys."""

    def __init__(self, limit: TaskLimit, held: Counter[str | None], starts: Sequence[tuple[int, int]]) -> None:
        """Take the number of held slots of each key, and recent starts, each a time and a number, the oldest first."""
        self._per_key = limit.per_key
        self._held = held
        left = None if limit.running is None else limit.running - held.total()
        self.next_start: int | None = None
        """If there is no room now, the time at which the next task may be claimed, in microseconds, if known."""
        if limit.starts is not None and limit.per_seconds is not None:
            starts_left = limit.starts - sum(number for _, number in starts)
            if starts_left <= 0 and (left is None or left > 0):
                self.next_start = starts[0][0] + round(limit.per_seconds * 1_000_000) if starts else None
            left = starts_left if left is None else min(left, starts_left)
        self.left = left
        """The number of tasks, whatever their keys; `None` if it is not limited."""

    @property
    def is_empty(self) -> bool:
        """Whether no task may be claimed."""
        return self.left is not None and self.left <= 0

    @property
    def is_of_keys(self) -> bool:
        """Whether keys are limited."""
        return self._per_key is not None

    @property
    def full_keys(self) -> list[str]:
        """Return the keys that have no room, sorted."""
        return sorted(key for key in self._held if key is not None and not self._has_key(key))

    def has(self, key: str | None) -> bool:
        """Tell whether a task of this key may be claimed."""
        return not self.is_empty and self._has_key(key)

    def fitting(self, rows: Iterable[Any], key_at: int, most: int) -> list[Any]:
        """Return the first of some rows that may be claimed together; `key_at` is the position of the key."""
        room = copy(self)
        room._held = self._held.copy()
        fitting = []
        for row in rows:
            if room.has(row[key_at]):
                room.take(row[key_at])
                fitting.append(row)
                if len(fitting) == most:
                    break
        return fitting

    def take(self, key: str | None) -> None:
        """Count a task of this key."""
        self._held[key] += 1
        if self.left is not None:
            self.left -= 1

    def _has_key(self, key: str | None) -> bool:
        return self._per_key is None or key is None or self._held[key] < self._per_key


async def limits_by_type(executor: Executor) -> dict[str, TaskLimit]:
    """Return all limits."""
    return {limit.task_type: limit for limit in await executor.read(Select(Query(TASK_LIMITS)))}


async def room_of(executor: Executor, limit: TaskLimit) -> Room:
    """Return the room that a limit leaves. It is exact while the limit's row is locked."""
    held: Counter[str | None] = Counter()
    if limit.running is not None or limit.per_key is not None:
        counted = (Condition(IS_COUNTED, "=", 1), Condition("task_type", "=", limit.task_type))
        for status in _HELD:
            query = Query(TASKS, (*counted, Condition("status", "=", status)))
            if limit.per_key is None:
                held[None] += await executor.read(Count(query))
            else:
                rows: list[Any] = await executor.read(Aggregate(query, ("concurrency_key",), _COUNT))
                held.update(dict(rows))
    starts: list[Any] = []
    if limit.starts is not None and limit.per_seconds is not None:
        # Ignore starts further ahead: they were counted while the clock was wrong, and would block until that time.
        before = Condition("started_at", "<=", FromNow(limit.per_seconds))
        recent = Query(TASK_STARTS, (*_starts(limit, ">"), before), (Order("started_at"),))
        starts = await executor.read(Values(recent, ("started_at", "number")))
    return Room(limit, held, starts)


def steps_of_starts(limit: TaskLimit, tasks: Sequence[TaskModel]) -> list[Step]:
    """Return the steps that count tasks of a type as started, and delete starts that no longer count."""
    if limit.starts is None or not tasks:
        return []
    start = TaskStart(task_type=limit.task_type, started_at=max(task.updated_at for task in tasks), number=len(tasks))
    return [Delete(Query(TASK_STARTS, _starts(limit, "<="))), Insert(start)]


def _starts(limit: TaskLimit, operator: Any) -> tuple[Condition, ...]:
    assert limit.per_seconds is not None
    return (
        Condition("task_type", "=", limit.task_type),
        Condition("started_at", operator, FromNow(-limit.per_seconds)),
    )
