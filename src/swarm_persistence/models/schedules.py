"""The schedule: the times at which a task is stored, and the task's fields."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Self

import msgspec

from swarm_persistence.clock import now
from swarm_persistence.durations import in_seconds
from swarm_persistence.models.base import Model
from swarm_persistence.models.choices import member, member_or_value
from swarm_persistence.models.tasks import TaskPriority


class CatchUp(StrEnum):
    """What happens for times that were missed because no worker was running."""

    SKIP = "skip"
    """No task is stored, except for the latest time if it is at most a minute ago."""
    ONE = "one"
    """One task is stored, for the latest time."""
    ALL = "all"
    """A task is stored for each time."""


class ScheduleModel(Model, kw_only=True):
    """Times at which a task is stored, and the task's fields. `version` counts the writes; a fresh record has 0.

    The times are those of `cron` in the time zone `timezone`, or every `every` seconds from `starts_at`, which is the
    first one, or from `created_at`. The name is the id. Each task has its time in `run_at`.
    `task_fields` are further keyword arguments of `TaskModel.new`. Storing the schedule sets `next_at`.
    """

    id: str = ""
    name: str
    task_type: str
    payload: Any = None
    priority: TaskPriority = TaskPriority.MEDIUM
    max_retries: int = 3
    task_fields: dict[str, Any] = {}
    cron: str | None = None
    every: float | None = None
    timezone: str = "UTC"
    starts_at: datetime | None = None
    catch_up: CatchUp = CatchUp.ONE
    paused: bool = False
    next_at: datetime | None = None
    last_at: datetime | None = None
    """The time of the latest task."""
    last_task_id: str | None = None
    created_at: datetime = msgspec.field(default_factory=now)
    updated_at: datetime = msgspec.field(default_factory=now)
    version: int = 0

    def __post_init__(self) -> None:
        if not self.id and isinstance(self.name, str):
            self.id = self.name
        if isinstance(self.every, timedelta):
            self.every = in_seconds(self.every)
        self.priority = member_or_value(TaskPriority, self.priority)
        self.catch_up = member_or_value(CatchUp, self.catch_up)

    @classmethod
    def new(
        cls,
        name: str,
        task_type: str,
        payload: Any = None,
        *,
        cron: str | None = None,
        every: float | timedelta | None = None,
        timezone: str = "UTC",
        starts_at: datetime | None = None,
        catch_up: CatchUp | str = CatchUp.ONE,
        paused: bool = False,
        priority: TaskPriority | str = TaskPriority.MEDIUM,
        max_retries: int = 3,
        task_fields: Mapping[str, Any] | None = None,
    ) -> Self:
        """Return a schedule of this name, created now; `every` is seconds or a timedelta."""
        moment = now()
        return cls(
            name=name,
            task_type=task_type,
            payload=payload,
            cron=cron,
            every=None if every is None else in_seconds(every),
            timezone=timezone,
            starts_at=starts_at,
            catch_up=member(CatchUp, catch_up, "schedule.catch_up"),
            paused=paused,
            priority=member(TaskPriority, priority, "schedule.priority"),
            max_retries=max_retries,
            task_fields=dict(task_fields or {}),
            created_at=moment,
            updated_at=moment,
        )
