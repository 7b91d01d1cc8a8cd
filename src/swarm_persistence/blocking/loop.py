"""Runs coroutines for threads that wait for them: in the calling thread, or in the background loop."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError
from threading import Lock
from typing import Any, Generic, Protocol, TypeVar

from swarm_persistence.background import background_loop
from swarm_persistence.engines import calling_thread
from swarm_persistence.engines.calling_thread import CallingThreadLoop
from swarm_persistence.engines.interface import Engine
from swarm_persistence.engines.runtime import require_real_threads
from swarm_persistence.errors import OtherError, StorageError

R = TypeVar("R")


class Run(Protocol):
    """Runs a coroutine, and waits for its result; `on_abandoned` takes one that the interrupted thread does not get."""

    def __call__(self, coroutine: Coroutine[Any, Any, R], on_abandoned: Callable[[R], None] | None = None) -> R: ...


def run_of(engine: Engine) -> Run:
    """Return the function that runs the calls of a storage over this engine."""
    return calling_thread.run if engine.is_local else run


class Series:
    """Runs dependent coroutines one after another; each may be called from another thread."""

    run: Run
    _loop: CallingThreadLoop | None = None

    def __init__(self, engine: Engine) -> None:
        self._loop = CallingThreadLoop() if engine.is_local else None
        self.run = run if self._loop is None else self._loop.call

    def close(self) -> None:
        """Cancel the remaining coroutines; idempotent."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.finish()

    def __del__(self) -> None:
        self.close()


def run(coroutine: Coroutine[Any, Any, R], on_abandoned: Callable[[R], None] | None = None) -> R:
    """Run a coroutine in the background loop, in the calling thread's context, and wait for its result.

    An exception that is raised in the waiting thread, such as KeyboardInterrupt, cancels the coroutine. If it
    completes all the same, `on_abandoned` is called with it in the loop.
    """
    try:
        require_real_threads()
        require_no_loop()
        loop = background_loop()
    except StorageError:
        coroutine.close()
        raise
    call = _Call(coroutine)
    try:
        loop.call_soon_threadsafe(call.start)
        return call.wait()
    except BaseException as error:
        if error is call.error:
            call.error = None  # or the error's traceback would be a cycle
        else:
            loop.call_soon_threadsafe(call.abandon, on_abandoned)
            # The loop must handle the cancellation before anything that this thread submits next.
            barrier = _Call(asyncio.sleep(0))
            loop.call_soon_threadsafe(barrier.start)
            barrier.wait()
        raise


def require_no_loop() -> None:
    """Raise `OtherError` in a thread that runs an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise OtherError("a blocking call would stop this thread's event loop; use the async storage here")


class _Call(Generic[R]):
    """A coroutine, and the thread that waits for it. All methods but `wait` run in the loop."""

    def __init__(self, coroutine: Coroutine[Any, Any, R]) -> None:
        self.error: BaseException | None = None
        self._result: R
        self._coroutine = coroutine
        self._task: asyncio.Task[R] | None = None
        # A lock and no concurrent future: a signal that interrupts a condition's wait may leave its lock held.
        self._done = Lock()
        self._done.acquire()

    def wait(self) -> R:
        """Block the thread until the outcome is known, and return or raise it."""
        self._done.acquire()
        if self.error is not None:
            raise self.error
        return self._result

    def start(self) -> None:
        """Start the coroutine."""
        self._task = asyncio.get_running_loop().create_task(self._coroutine)
        self._task.add_done_callback(self._take)

    def abandon(self, on_abandoned: Callable[[R], None] | None) -> None:
        """Cancel the coroutine; if that comes too late, hand over the result that no thread waits for."""
        if self._task is None:
            self._coroutine.close()
            return
        self._task.cancel()
        if on_abandoned is not None:
            self._task.add_done_callback(lambda task: _has_result(task) and on_abandoned(task.result()))

    def _take(self, task: "asyncio.Task[R]") -> None:
        if task.cancelled():
            self.error = CancelledError()
        elif (error := task.exception()) is not None:
            self.error = error
        else:
            self._result = task.result()
        self._done.release()


def _has_result(task: "asyncio.Task[Any]") -> bool:
    return not task.cancelled() and task.exception() is None
