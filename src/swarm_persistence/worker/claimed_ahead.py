"""The tasks that are claimed and wait for a free slot."""

import time
from collections import deque
from contextlib import suppress
from typing import NamedTuple

from swarm_persistence.models import TaskModel


class WaitingTask(NamedTuple):
    """A claimed task, and when it was claimed at the earliest, by the monotonic clock."""

    task: TaskModel
    claimed_at: float


class ClaimedAhead:
    """Tasks in the order of their claims; each is taken once, even by concurrent threads."""

    def __init__(self) -> None:
        self._waiting: deque[WaitingTask] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def tasks(self) -> list[TaskModel]:
        """Return the tasks."""
        # Of a copy: the thread that guards the loop may take tasks meanwhile.
        return [waiting.task for waiting in list(self._waiting)]

    def add(self, tasks: list[TaskModel], claimed_at: float) -> None:
        """Add tasks that were claimed no earlier than at this time of the monotonic clock."""
        self._waiting.extend([WaitingTask(task, claimed_at) for task in tasks])

    def take(self) -> WaitingTask | None:
        """Take the next task."""
        try:
            return self._waiting.popleft()
        except IndexError:
            return None

    def take_all(self) -> list[WaitingTask]:
        """Take all tasks, the next one last; from any thread."""
        taken: list[WaitingTask] = []
        while True:
            try:
                taken.append(self._waiting.pop())
            except IndexError:
                return taken

    def take_overdue(self, longest: float) -> list[WaitingTask]:
        """Take all tasks if the first of them has waited for longer than this many seconds."""
        try:
            is_overdue = time.monotonic() - self._waiting[0].claimed_at >= longest
        except IndexError:
            return []
        return self.take_all() if is_overdue else []

    def discard(self, task: TaskModel) -> bool:
        """Drop a task whose claim is over; tell whether it was here."""
        for waiting in list(self._waiting):
            if waiting.task is task:
                with suppress(ValueError, IndexError):  # another thread has just taken some
                    self._waiting.remove(waiting)
                return True
        return False
