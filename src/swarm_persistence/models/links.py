"""The link: a task that waits for another one. Internal to the storage."""

from typing import Self

from swarm_persistence.models.base import Model


class TaskLink(Model, kw_only=True):
    """A dependency that a task waits for: not completed yet, perhaps not even stored."""

    task_id: str
    dependency_id: str

    @classmethod
    def between(cls, task_id: str, dependency_id: str) -> Self:
        """Return the one link from this task to this dependency."""
        return cls(id=f"{len(task_id)}:{task_id}{dependency_id}", task_id=task_id, dependency_id=dependency_id)
