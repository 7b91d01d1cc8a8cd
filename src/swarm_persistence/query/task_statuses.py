"""Sets of task statuses, and the conditions for them."""

from collections.abc import Iterable

from swarm_persistence.models.tasks import TaskStatus
from swarm_persistence.query.query import Condition

HELD = (TaskStatus.ASSIGNED, TaskStatus.RUNNING)
"""An agent has claimed the task."""
UNFINISHED = (TaskStatus.PENDING, *HELD)
UNSUCCESSFUL = (TaskStatus.FAILED, TaskStatus.CANCELLED)
FINISHED = (TaskStatus.COMPLETED, *UNSUCCESSFUL)


def _is_one_of(statuses: Iterable[TaskStatus]) -> Condition:
    return Condition("status", "IN", tuple(status.value for status in statuses))


IS_HELD = _is_one_of(HELD)
IS_UNFINISHED = _is_one_of(UNFINISHED)
IS_FINISHED = _is_one_of(FINISHED)
IS_UNSUCCESSFUL = _is_one_of(UNSUCCESSFUL)
