"""The hooks of tracing and metrics beside the engine's calls; a storage that is not instrumented has none."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

from swarm_persistence.models import TaskModel


class Instrumentation(Protocol):
    """Observes a storage and the workers on it."""

    def around(self, handle: Callable[[TaskModel], Awaitable[Any]], agent_id: str) -> Callable[[TaskModel], Any]:
        """Return a handler that is observed."""
        ...

    def continuing(self, trace_parent: str) -> AbstractContextManager[None]:
        """Return a context in which calls belong to a trace that began elsewhere, unless they have a trace already."""
        ...

    def completed(self, tasks: list[TaskModel], started_at: int) -> None:
        """Note tasks that a write, begun at so many nanoseconds since 1970, has completed without giving them."""
        ...

    def requeued(self, task_count: int) -> None:
        """Note tasks that were requeued: their lease has expired, or their agent is lost."""
        ...
