"""The worker: claims tasks, runs their handlers and records the outcomes."""

from swarm_persistence.worker.handler_control import HandlerCancelled
from swarm_persistence.worker.handlers import WorkerContext
from swarm_persistence.worker.retry_policies import FailTask, RetryPolicy, RetryTask, SnoozeTask
from swarm_persistence.worker.worker import Worker

__all__ = ["FailTask", "HandlerCancelled", "RetryPolicy", "RetryTask", "SnoozeTask", "Worker", "WorkerContext"]
