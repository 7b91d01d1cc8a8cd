"""Reports the usage of a task type's limit, and what waits for it; acquires no lock."""

from collections import Counter
from datetime import datetime

import msgspec

from swarm_persistence.clock import from_microseconds
from swarm_persistence.models import TaskLimit, TaskModel, TaskStatus
from swarm_persistence.query.builder import QueryBuilder
from swarm_persistence.query.task_statuses import HELD
from swarm_persistence.storage.storage import Storage
from swarm_persistence.storage.task_limits import room_of


class KeyUsage(msgspec.Struct, frozen=True):
    """How many tasks of one `concurrency_key` are claimed, and how many are pending."""

    key: str
    held: int
    pending: int


class LimitUsage(msgspec.Struct, frozen=True):
    """The claimed and pending tasks of a limited type."""

    limit: TaskLimit
    held: int
    """How many tasks are claimed now."""
    started: int
    """How many were claimed within the period that ends now; 0 if starts are not limited."""
    next_start: datetime | None
    """When the next one may be claimed, if the starts are used up and that is known."""
    pending: int
    keys: list[KeyUsage]
    """By key, those with the most claimed tasks first; empty if keys are not limited."""


async def usage_of(storage: Storage, limit: TaskLimit) -> LimitUsage:
    """Return how far a limit is used."""
    of_type = QueryBuilder(TaskModel).where_eq("task_type", limit.task_type)
    held = await _by_key(storage, of_type.where_in("status", HELD))
    pending = await _by_key(storage, of_type.where_eq("status", TaskStatus.PENDING))
    started, next_start = 0, None
    if limit.starts is not None:
        of_starts = msgspec.structs.replace(limit, running=None, per_key=None)
        room = await room_of(storage._executor(), of_starts)
        started = limit.starts - (limit.starts if room.left is None else room.left)
        next_start = None if room.next_start is None else from_microseconds(room.next_start)
    keys = [KeyUsage(key, held[key], pending[key]) for key in {**held, **pending} if key is not None]
    keys.sort(key=lambda each: (-each.held, -each.pending, each.key))
    return LimitUsage(
        limit, held.total(), started, next_start, pending.total(), keys if limit.per_key is not None else []
    )


async def _by_key(storage: Storage, query: QueryBuilder[TaskModel]) -> Counter[str | None]:
    return Counter({key: count for (key,), count in (await storage.count_by(query, "concurrency_key")).items()})
