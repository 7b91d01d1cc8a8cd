"""The limit of a task type: how many of its tasks may be claimed at once, and how often."""

from datetime import datetime, timedelta

from swarm_persistence.models.base import Model


class TaskLimit(Model, kw_only=True):
    """The limit of a task type, as set by `set_limit`; the `id` is the type.

    At most `running` of its tasks are claimed at once, at most `per_key` of each `concurrency_key`, and at most
    `starts` within any `per_seconds`. `None` means no such limit.
    """

    running: int | None = None
    per_key: int | None = None
    starts: int | None = None
    per_seconds: float | None = None

    @property
    def task_type(self) -> str:
        """Return the type of the tasks that it limits."""
        return self.id

    @property
    def per(self) -> timedelta | None:
        """Return the period in which at most `starts` tasks are claimed."""
        return None if self.per_seconds is None else timedelta(seconds=self.per_seconds)


class TaskStart(Model, kw_only=True):
    """The number of tasks of a type that were claimed at a time; internal to the storage."""

    task_type: str
    started_at: datetime
    number: int
