"""Daemon threads for blocking handlers, started as they are needed; they do not block interpreter exit."""

import asyncio
import threading
from collections.abc import Callable
from contextvars import Context, copy_context
from queue import SimpleQueue
from typing import Any, NamedTuple


class _HandlerCall(NamedTuple):
    context: Context
    function: Callable[[], Any]
    outcome: "asyncio.Future[tuple[Any, BaseException | None]]"


class HandlerThreads:
    """Runs functions in a limited number of threads for one event loop, each in its caller's context.

    A thread cannot be cancelled: a cancelled call returns at once, and its thread continues.
    """

    def __init__(self, most: int, on_return: Callable[[], None]) -> None:
        """Create the pool; the loop calls `on_return` when an abandoned thread is free again."""
        self.abandoned = 0
        """The number of threads whose call was cancelled."""
        self._most = most
        self._on_return = on_return
        self._loop = asyncio.get_running_loop()
        self._calls: SimpleQueue[_HandlerCall | None] = SimpleQueue()
        self._started = 0
        self._outstanding = 0

    async def run(self, function: Callable[[], Any]) -> Any:
        """Run a function in a thread; return its result or raise its exception."""
        call = _HandlerCall(copy_context(), function, self._loop.create_future())
        self._outstanding += 1
        if self._started < min(self._outstanding, self._most):
            self._started += 1
            # A daemon: concurrent.futures joins its threads at interpreter exit, and a handler may hang forever.
            threading.Thread(target=self._serve, name="swarm-persistence handler", daemon=True).start()
        self._calls.put(call)
        try:
            value, error = await call.outcome
        except asyncio.CancelledError:
            self.abandoned += call.outcome.cancelled()
            raise
        if error is not None:
            raise error
        return value

    def close(self) -> None:
        """Let each thread exit once it is idle."""
        for _ in range(self._started):
            self._calls.put(None)

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            value, error = None, None
            if not call.outcome.cancelled():  # cancelled before it started
                try:
                    value = call.context.run(call.function)
                except BaseException as raised:
                    error = raised
            try:
                self._loop.call_soon_threadsafe(self._settle, call, value, error)
            except RuntimeError:
                return  # the loop is closed, and its waiters with it
            del call, value, error  # an idle thread must not keep objects alive

    def _settle(self, call: _HandlerCall, value: Any, error: BaseException | None) -> None:
        self._outstanding -= 1
        if call.outcome.cancelled():
            self.abandoned -= 1
            self._on_return()
        else:
            call.outcome.set_result((value, error))
