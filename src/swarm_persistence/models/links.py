"""The link: a task that waits for another one. Kept for the storage's own use."""

from typing import Self

from swarm_persistence.models.base import Model


class TaskLink(Model, kw_only=True):
    """Says that a task waits for a dependency, which is not completed yet and may not even be stored."""

    task_id: str
    dependency_id: str

    @classmethod
    def between(cls, task_id: str, dependency_id: str) -> Self:
        """Return the one link from this task to this dependency."""
        return cls(id=f"{len(task_id)}:{task_id}{dependency_id}", task_id=task_id, dependency_id=dependency_id)
