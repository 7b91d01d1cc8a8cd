"""The trap: the task at which the demo kills the worker that has it, whichever that is.

A kill at a moment that a clock chooses may find a worker between two tasks. So the worker that gets this task does the
work, and keeps the result to itself until somebody has been killed: then the task is in its hands for certain.
"""

import msgspec

from swarm_persistence.demo.vocabulary import WORKER_KILLED
from swarm_persistence.models import TaskStatus
from swarm_persistence.storage import Storage


class Trap(msgspec.Struct, frozen=True):
    """A task, and the run in which one worker is to be killed."""

    task_id: str
    run: str

    async def has_sprung(self, storage: Storage) -> bool:
        """Tell whether a worker was killed in this run."""
        return any(event.data["run"] == self.run for event in await storage.get_events_by_type(WORKER_KILLED, 1))

    async def holder(self, storage: Storage) -> str | None:
        """Return the agent that holds the task now, as the storage shows it."""
        task = await storage.get_task(self.task_id)
        return task.assigned_to if task is not None and task.status is TaskStatus.ASSIGNED else None

    async def left_by(self, storage: Storage, agent_id: str) -> list[str]:
        """Return the tasks that an agent, which was killed as it held this one, has left unfinished."""
        tasks = await storage.get_tasks_by_agent(agent_id)
        held = {task.id for task in tasks if task.status in (TaskStatus.ASSIGNED, TaskStatus.RUNNING)}
        # Its lease may have run out by now, on a machine that is slow.
        done = {task.id for task in tasks if task.status is TaskStatus.COMPLETED}
        return sorted(held | ({self.task_id} - done))
