"""The extra fields of the worker's log records: every record has the same four, for use in formatters."""

import logging
from typing import TYPE_CHECKING

from swarm_persistence.models import TaskModel

if TYPE_CHECKING:
    Log = logging.LoggerAdapter[logging.Logger]


def worker_log(log: logging.Logger, agent_id: str) -> "Log":
    """Return a log whose records name the agent, and no task."""
    return logging.LoggerAdapter(log, {"task_id": None, "task_type": None, "agent_id": agent_id, "attempt": None})


def task_log(log: logging.Logger, task: TaskModel) -> "Log":
    """Return a logger adapter whose records name a claimed task, its agent, and the attempt."""
    fields = {
        "task_id": task.id,
        "task_type": task.task_type,
        "agent_id": task.assigned_to,
        "attempt": task.retry_count + 1,
    }
    return logging.LoggerAdapter(log, fields)
