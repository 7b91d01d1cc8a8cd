"""Computes the performance of each worker from the stored tasks."""

from collections import defaultdict

import msgspec

from swarm_persistence.demo.records import Records
from swarm_persistence.models import TaskModel, TaskStatus


class Performance(msgspec.Struct, frozen=True):
    """The performance of one worker."""

    worker: str
    tasks: int
    seconds: float
    """From the start of its first task to the end of its last."""

    @property
    def tasks_per_second(self) -> float:
        """Return its tasks per second over that time."""
        return self.tasks / self.seconds if self.seconds else 0.0


def performances(records: Records) -> list[Performance]:
    """Return the performance of each worker, ordered by the number in its name."""
    done: defaultdict[str, list[TaskModel]] = defaultdict(list)
    for task in records.tasks.values():
        if task.status is TaskStatus.COMPLETED and task.assigned_to:
            done[task.assigned_to].append(task)
    found = [_performance(name_of(records, agent_id), tasks) for agent_id, tasks in done.items()]
    return sorted(found, key=lambda each: (len(each.worker), each.worker))


def name_of(records: Records, agent_id: str | None) -> str:
    """Return a worker's name, from the event of its start if its record was deleted."""
    return records.worker_names.get(agent_id or "", agent_id or "")


def _performance(worker: str, tasks: list[TaskModel]) -> Performance:
    starts = [task.started_at for task in tasks if task.started_at]
    ends = [task.completed_at for task in tasks if task.completed_at]
    return Performance(worker, len(tasks), (max(ends) - min(starts)).total_seconds() if starts and ends else 0.0)
