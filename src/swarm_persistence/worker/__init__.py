"""The worker: claims tasks, runs their handlers and records the outcomes."""

from swarm_persistence.worker.handlers import WorkerContext
from swarm_persistence.worker.worker import Worker

__all__ = ["Worker", "WorkerContext"]
