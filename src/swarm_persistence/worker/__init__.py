"""The loop that claims tasks, lets handlers do them, and records what came of it."""

from swarm_persistence.worker.handlers import WorkerContext
from swarm_persistence.worker.worker import Worker

__all__ = ["Worker", "WorkerContext"]
