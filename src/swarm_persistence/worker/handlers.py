"""Handlers: functions of a task, asynchronous or blocking, with an optional context as second argument."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Generic

import msgspec

from swarm_persistence.background import HAS_THREADS
from swarm_persistence.blocking import BlockingStorage
from swarm_persistence.errors import InvalidQueryError
from swarm_persistence.models import AgentModel, TaskModel
from swarm_persistence.schema.values import text
from swarm_persistence.storage import Storage
from swarm_persistence.storage.leases import progress_of
from swarm_persistence.worker.handler_control import HandlerCancelled, HandlerControl
from swarm_persistence.worker.threads import HandlerThreads

if TYPE_CHECKING:
    # Type checkers know it without the package: `WorkerContext` alone is that of an asynchronous handler.
    from typing_extensions import TypeVar

    S = TypeVar("S", Storage, BlockingStorage, default=Storage)
else:
    from typing import TypeVar

    S = TypeVar("S", Storage, BlockingStorage)


class WorkerContext(msgspec.Struct, Generic[S], frozen=True):
    """The storage, the agent and the task's dependencies; passed to a handler that takes a second argument.

    Its methods may be called from any thread.
    """

    storage: S
    """The worker's storage; a blocking handler gets its blocking form."""
    agent: AgentModel
    """The agent that the task is assigned to."""
    dependencies: Mapping[str, TaskModel]
    """The stored dependencies of the task by their ids, with their results, as they were when the handler started."""
    _control: HandlerControl | None = None

    @property
    def is_cancelled(self) -> bool:
        """Tell whether the handler is cancelled: its claim is over, it has timed out, or the worker stops at once.

        A thread cannot be cancelled from outside, so a long blocking handler should check this.
        """
        return self._control is not None and self._control.is_cancelled

    def raise_if_cancelled(self) -> None:
        """Raise `HandlerCancelled` if the handler is cancelled; its outcome is not written in any case."""
        if self.is_cancelled:
            raise HandlerCancelled("the handler is cancelled; its outcome is not written")

    def report_progress(self, progress: float, text: str | None = None) -> None:
        """Report the task's progress, from 0 to 1; cheap, as at most one report a second is written.

        Reports in between are coalesced, and one just before the end may be left out.

        Raises:
            InvalidQueryError: the progress is not a number from 0 to 1.

        """
        if self._control is None:
            progress_of(progress, text)
        else:
            self._control.report_progress(progress, text)


class Handler:
    """A function that handles the tasks of one type."""

    def __init__(self, task_type: str, function: Callable[..., Any]) -> None:
        self._function = function
        self.name = _name_of(function)
        self._is_async = _is_async(function)
        self._takes_context = _takes_context(task_type, function)

    async def handle(
        self, task: TaskModel, control: HandlerControl, storage: Storage, agent: AgentModel, threads: HandlerThreads
    ) -> Any:
        """Call the function for a task and return its result; a blocking function runs in a thread."""
        if not self._takes_context:
            return await self._call(threads, task)
        dependencies = await storage.get_dependencies(task) if task.dependencies else {}
        if self._is_async:
            return await self._function(task, WorkerContext(storage, agent, dependencies, control))
        return await self._call(threads, task, WorkerContext(BlockingStorage(storage), agent, dependencies, control))

    async def _call(self, threads: HandlerThreads, *arguments: Any) -> Any:
        if self._is_async:
            return await self._function(*arguments)
        result = await threads.run(partial(self._function, *arguments))
        # inspect does not recognize a lambda that returns a coroutine as asynchronous.
        return await result if inspect.isawaitable(result) else result


def handlers_by_type(handlers: Mapping[str, Callable[..., Any]]) -> dict[str, Handler]:
    """Return the handlers of a mapping from task types to functions; raise `InvalidQueryError` for anything else."""
    if not isinstance(handlers, Mapping) or not handlers:
        raise InvalidQueryError(f"handlers is {handlers!r}, expected a dict from task types to functions, not empty")
    for task_type, function in handlers.items():
        text(task_type, "handlers: task type")
        if not callable(function):
            raise InvalidQueryError(f"handlers[{task_type!r}] is {function!r}, expected a function of a task")
        if not HAS_THREADS and not _is_async(function):
            raise InvalidQueryError(
                f"handlers[{task_type!r}] is {function!r}, which would run in a thread, and a browser has none; "
                "write it as async def"
            )
    return {task_type: Handler(task_type, function) for task_type, function in handlers.items()}


def _name_of(function: Callable[..., Any]) -> str:
    """Return the name of a function for messages; that of its class for a partial or an object."""
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}.{named.__qualname__}"


def _is_async(function: Callable[..., Any]) -> bool:
    call = type(function).__call__  # of an object that can be called
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


def _takes_context(task_type: str, function: Callable[..., Any]) -> bool:
    """Return whether a function requires a second argument; one with a default is not passed."""
    try:
        signature = inspect.signature(function)
    except ValueError:
        return False  # some C functions have no signature
    for count in (1, 2):
        try:
            signature.bind(*(None,) * count)
        except TypeError:
            continue
        return count == 2
    raise InvalidQueryError(
        f"handlers[{task_type!r}] is {function!r}, which takes {signature}; expected (task) or (task, context)"
    )
