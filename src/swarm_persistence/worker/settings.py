"""The settings of a worker, checked and complete."""

from collections.abc import Mapping
from typing import NamedTuple

from swarm_persistence.worker.handlers import Handler
from swarm_persistence.worker.retry_policies import RetryPolicy
from swarm_persistence.worker.task_runs import TaskLimits


class WorkerSettings(NamedTuple):
    """The settings of a worker; times in seconds."""

    handlers: Mapping[str, Handler]
    policies: Mapping[str, RetryPolicy]
    concurrency: int
    limits: TaskLimits
    drain_timeout: float
    heartbeat_timeout: float
    fires_schedules: bool
    retention: float | None = None
    ageing: float | None = None

    @property
    def heartbeat_pause(self) -> float:
        """Return the seconds between heartbeats, of which several may fail before the agent counts as lost."""
        return self.heartbeat_timeout / 5
