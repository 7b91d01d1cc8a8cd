"""The kill target: the task at which the demo kills the worker that has it, whichever that is.

A kill at a moment that a clock chooses may find a worker between two tasks. So the worker that gets this task does the
work, and keeps the result to itself until somebody has been killed: then the task is in its hands for certain.
"""

import msgspec

from swarm_persistence.demo.vocabulary import TASK_STARTED, WORKER_KILLED
from swarm_persistence.models import TaskStatus
from swarm_persistence.query.task_statuses import HELD
from swarm_persistence.storage import Storage

_LATEST_EVENTS = 10
"""Events of an agent among which the start of its present task is: a task leaves one or two."""


class KillTarget(msgspec.Struct, frozen=True):
    """A task, and the run in which one worker is to be killed."""

    task_id: str
    run: str

    async def is_killed(self, storage: Storage) -> bool:
        """Tell whether a worker was killed in this run."""
        return any(event.data["run"] == self.run for event in await storage.get_events_by_type(WORKER_KILLED, 1))

    async def holder(self, storage: Storage) -> str | None:
        """Return the agent that holds the task now, and has told so by an event, as the storage shows it."""
        task = await storage.get_task(self.task_id)
        if task is None or task.assigned_to is None or task.status is not TaskStatus.ASSIGNED:
            return None
        latest = await storage.get_events_by_agent(task.assigned_to, _LATEST_EVENTS)
        has_told = any(each.event_type == TASK_STARTED and each.data["task_id"] == task.id for each in latest)
        return task.assigned_to if has_told else None

    async def left_by(self, storage: Storage, agent_id: str) -> list[str]:
        """Return the tasks that an agent, which was killed as it held this one, has left unfinished."""
        tasks = await storage.get_tasks_by_agent(agent_id)
        held = {task.id for task in tasks if task.status in HELD}
        # Its lease may have run out by now, on a machine that is slow.
        done = {task.id for task in tasks if task.status is TaskStatus.COMPLETED}
        return sorted(held | ({self.task_id} - done))
