"""Runs a coroutine in the calling thread; an event loop runs only while the coroutine waits."""

import asyncio
import os
import threading
import warnings
from asyncio import events
from collections.abc import Callable, Coroutine, Generator, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from contextvars import copy_context
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from swarm_persistence.engines.deferred_signals import DeferredSignals
from swarm_persistence.engines.runtime import require_own_threads

P = ParamSpec("P")
R = TypeVar("R")

_MOST_INTERRUPTIONS = 100
"""How many consecutive exceptions are attributed to signal handlers."""


class CallingThreadLoop(asyncio.BaseEventLoop):
    """The event loop of one call at a time, in whichever thread makes it. It waits on a lock, and watches no files.

    A call that does not wait never runs the loop: its coroutine is driven to completion by hand.
    """

    def __init__(self) -> None:
        super().__init__()
        self._selector: Any = self  # the base class calls its `select` for events
        self._wake = threading.Lock()
        self._wake.acquire()
        self._interruption: BaseException | None = None
        self._signals = DeferredSignals()
        self.defer_signals = self._signals.defer
        """Run signal handlers when the call next waits or ends, instead of in the middle of its work."""
        self.is_in_use = False
        self.stopped_loop: asyncio.AbstractEventLoop | None = None
        """The event loop of this thread that stands still until the call returns."""

    def call(self, coroutine: Coroutine[Any, Any, R], on_abandoned: Callable[[R], None] | None = None) -> R:
        """Run a coroutine, in a copy of the calling context, and return its result.

        An exception that a signal's handler raises, such as KeyboardInterrupt, cancels the coroutine. If it
        completes all the same, `on_abandoned` is called with its result.
        """
        outer = events._get_running_loop()
        if outer is not None:
            try:
                _warn_of_running_loop(outer)
            except Warning:
                coroutine.close()
                raise
        self._interruption = None
        try:
            # Before signals are deferred: a handler that calls the storage needs a loop of its own.
            self.is_in_use = True
            try:
                self.defer_signals()
                task = None if outer is None else _leave(outer)
                self.stopped_loop = outer
                context = copy_context()
                events._set_running_loop(self)
                try:
                    awaited = context.run(coroutine.send, None)
                except StopIteration as end:
                    result: R = end.value
                else:
                    events._set_running_loop(None)
                    result = self._wait_for(self.create_task(_resume(coroutine, awaited), context=context))
                finally:
                    events._set_running_loop(None)
                    self.stopped_loop = None
                    if outer is not None:
                        _enter(outer, task)
            except BaseException:
                coroutine.close()  # it may not have started yet
                self.deliver_signals()
                raise
            try:
                self.deliver_signals()
            except BaseException:
                if on_abandoned is not None:
                    on_abandoned(result)
                raise
            return result
        finally:
            self.is_in_use = False

    def block(self, lock: threading.Lock, seconds: float) -> bool:
        """Wait for a lock within the call; return `False` if the call must await it instead."""
        if self._interruption is not None:
            return False
        events._set_running_loop(None)  # greenlets take turns in one thread
        is_acquired = False
        try:
            self.deliver_signals()
            is_acquired = lock.acquire(timeout=seconds)
            self.defer_signals()  # inside the `try`, as a signal handler may raise until then
        except BaseException as error:
            self._interruption = error
            self._defer_again()
        finally:
            events._set_running_loop(self)
        return is_acquired and self._interruption is None

    def select(self, timeout: float | None) -> Sequence[Any]:
        """Wait until another thread wakes this one, or until the timeout."""
        if timeout is not None and timeout <= 0:
            self._wake.acquire(blocking=False)
            return ()
        events._set_running_loop(None)
        try:
            self.deliver_signals()
            self._wake.acquire(timeout=-1 if timeout is None else timeout)
            self.defer_signals()
        except BaseException:
            self._defer_again()
            raise
        finally:
            events._set_running_loop(self)
        return ()

    def _defer_again(self) -> None:
        """Defer signals after an interruption; what another handler raises meanwhile also interrupts the call."""
        for _ in range(_MOST_INTERRUPTIONS):
            try:
                self.defer_signals()
            except BaseException as error:
                self._interruption = error
            else:
                return

    def close(self) -> None:
        super().close()
        self._selector = None  # otherwise a reference cycle would keep it alive

    def finish(self) -> None:
        """Cancel the remaining tasks, and close the loop."""
        outer = events._get_running_loop()
        outer_task = None if outer is None else _leave(outer)
        self.defer_signals()
        try:
            while tasks := asyncio.all_tasks(self):
                for task in tasks:
                    task.cancel()
                self.run_until_complete(_settled(tasks))
            self.close()
        finally:
            if outer is not None:
                _enter(outer, outer_task)
            self.deliver_signals()

    def _wait_for(self, task: "asyncio.Task[R]") -> R:
        try:
            return self.run_until_complete(task)
        except BaseException as error:
            if task.done() and not _has_result(task):
                if isinstance(error, asyncio.CancelledError):
                    raise CancelledError from error
                raise
            interruption = error
        # Not within the handler: the interruption would be the context of the task's cancellation, which is a cycle.
        task.cancel()
        # Also process what other threads have just submitted, before anything that this thread does next.
        for _ in range(2):
            with suppress(asyncio.CancelledError, Exception):
                self.run_until_complete(_settled([task]))
        self._interruption = interruption
        del interruption
        return task.result() if _has_result(task) else self._raise_interruption()

    def _raise_interruption(self) -> Any:
        error, self._interruption = self._interruption, None
        assert error is not None
        try:
            raise error
        finally:
            del error  # or its traceback would be a cycle, which keeps the call's task until a garbage collection

    def deliver_signals(self) -> None:
        """Run the handlers of signals that were deferred, and raise what interrupts the call."""
        self._signals.deliver()
        if self._interruption is not None:
            self._raise_interruption()

    def _process_events(self, event_list: Sequence[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        if self._wake.locked():
            with suppress(RuntimeError):  # another thread has taken it
                self._wake.release()

    def __del__(self) -> None:
        if not self.is_closed():
            self.close()


class _LoopOfThread:
    """Closes the loop of a thread that has ended."""

    def __init__(self) -> None:
        self.loop = CallingThreadLoop()

    def __del__(self) -> None:
        self.loop.close()


_local = threading.local()
_has_warned = False


def run(coroutine: Coroutine[Any, Any, R], on_abandoned: Callable[[R], None] | None = None) -> R:
    """Run a coroutine in the calling thread; see `CallingThreadLoop.call`."""
    try:
        loop: CallingThreadLoop = _local.owner.loop
    except AttributeError:
        try:
            require_own_threads()
        except BaseException:
            coroutine.close()
            raise
        _local.owner = _LoopOfThread()
        loop = _local.owner.loop
    if not loop.is_in_use:
        return loop.call(coroutine, on_abandoned)
    # A function that a verb calls makes a nested call.
    inner = CallingThreadLoop()
    try:
        return inner.call(coroutine, on_abandoned)
    finally:
        inner.finish()


def interruptible(function: Callable[P, R]) -> Callable[P, R]:
    """Let signals interrupt a caller's function that runs within a blocking call, as it may run long."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        loop = events._get_running_loop()
        if not isinstance(loop, CallingThreadLoop):
            return function(*args, **kwargs)
        try:
            loop.deliver_signals()
            return function(*args, **kwargs)
        finally:
            loop.defer_signals()

    return call


def _warn_of_running_loop(running: asyncio.AbstractEventLoop) -> None:
    """Warn, once in a process, that a call stops this thread's event loop."""
    global _has_warned  # noqa: PLW0603 - once in a process
    if isinstance(running, CallingThreadLoop) or _has_warned:
        return
    _has_warned = True
    warnings.warn(
        "a blocking call stops this thread's event loop until it returns: fine in a notebook, but where other tasks "
        "must go on, use the async storage",
        RuntimeWarning,
        stacklevel=4,
    )


def _reset_in_child() -> None:
    global _local  # noqa: PLW0603 - the parent's loops may wait for threads that a forked child has not
    _inherited.append(_local)
    _local = threading.local()


_inherited: list[threading.local] = []
os.register_at_fork(after_in_child=_reset_in_child)


async def _resume(coroutine: Coroutine[Any, Any, R], awaited: Any) -> R:
    return await _StartedCoroutine(coroutine, awaited)  # type: ignore[no-any-return]


class _StartedCoroutine:
    """The rest of a coroutine that was driven by hand until it had to wait."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], awaited: Any) -> None:
        self._coroutine = coroutine
        self._awaited = awaited

    def __await__(self) -> Generator[Any, Any, Any]:
        awaited = self._awaited
        try:
            while True:
                try:
                    yield awaited
                except BaseException as error:
                    awaited = self._coroutine.throw(error)
                else:
                    awaited = self._coroutine.send(None)
        except StopIteration as end:
            return end.value


async def _settled(tasks: "Sequence[asyncio.Task[Any]] | set[asyncio.Task[Any]]") -> None:
    await asyncio.wait(tasks)
    for task in tasks:
        if task.cancelled():
            with suppress(asyncio.CancelledError):
                task.result()  # else it keeps its error, whose traceback leads back to the task: a cycle since 3.12


def _has_result(task: "asyncio.Task[Any]") -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


def _leave(outer: asyncio.AbstractEventLoop) -> "asyncio.Task[Any] | None":
    """Unset the thread's running event loop, and return its current task."""
    task = asyncio.current_task(outer)
    if task is not None:
        asyncio.tasks._leave_task(outer, task)
    events._set_running_loop(None)
    return task


def _enter(outer: asyncio.AbstractEventLoop, task: "asyncio.Task[Any] | None") -> None:
    events._set_running_loop(outer)
    if task is not None:
        asyncio.tasks._enter_task(outer, task)
