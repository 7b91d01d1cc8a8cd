"""The fields of the worker's log records: each has the same four, so that a formatter may name them."""

import logging
from typing import TYPE_CHECKING

from swarm_persistence.models import TaskModel

if TYPE_CHECKING:
    Log = logging.LoggerAdapter[logging.Logger]


def worker_log(log: logging.Logger, agent_id: str) -> "Log":
    """Return a log whose records name the agent, and no task."""
    return logging.LoggerAdapter(log, {"task_id": None, "task_type": None, "agent_id": agent_id, "attempt": None})


def task_log(log: logging.Logger, task: TaskModel) -> "Log":
    """Return a log whose records name a claimed task, the agent that holds it, and which attempt this is."""
    fields = {
        "task_id": task.id,
        "task_type": task.task_type,
        "agent_id": task.assigned_to,
        "attempt": task.retry_count + 1,
    }
    return logging.LoggerAdapter(log, fields)
