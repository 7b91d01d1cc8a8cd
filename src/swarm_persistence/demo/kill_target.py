"""The kill target: the demo kills the worker that has claimed this task.

A kill after a fixed time may hit a worker between two tasks. So the worker that claims this task does its work, but
holds back the result until a worker has been killed: at the kill, the task is certainly claimed.
"""

import msgspec

from swarm_persistence.demo.vocabulary import TASK_STARTED, WORKER_KILLED
from swarm_persistence.models import TaskStatus
from swarm_persistence.query.task_statuses import HELD
from swarm_persistence.storage import Storage

_LATEST_EVENTS = 10
"""How many of an agent's last events to search for the start of its current task: a task leaves one or two."""


class KillTarget(msgspec.Struct, frozen=True):
    """The task, and the run in which its worker is to be killed."""

    task_id: str
    run: str

    async def is_killed(self, storage: Storage) -> bool:
        """Return whether a worker was killed in this run."""
        return any(event.data["run"] == self.run for event in await storage.get_events_by_type(WORKER_KILLED, 1))

    async def holder(self, storage: Storage) -> str | None:
        """Return the agent that has started the task, and holds no other: it gives back what it has claimed ahead."""
        task = await storage.get_task(self.task_id)
        if task is None or task.assigned_to is None:
            return None
        tasks = await storage.get_tasks_by_agent(task.assigned_to)
        if [each.id for each in tasks if each.status in HELD] != [task.id]:
            return None
        latest = await storage.get_events_by_agent(task.assigned_to, _LATEST_EVENTS)
        has_started = any(each.event_type == TASK_STARTED and each.data["task_id"] == task.id for each in latest)
        return task.assigned_to if has_started else None

    async def left_by(self, storage: Storage, agent_id: str) -> list[str]:
        """Return the unfinished tasks of an agent that was killed while it held this one."""
        tasks = await storage.get_tasks_by_agent(agent_id)
        held = {task.id for task in tasks if task.status in HELD}
        # On a slow machine, its lease may have expired by now.
        done = {task.id for task in tasks if task.status is TaskStatus.COMPLETED}
        return sorted(held | ({self.task_id} - done))
