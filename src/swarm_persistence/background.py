"""Runs coroutines beside the caller's event loop: in one loop of a daemon thread that the whole process shares."""

import asyncio
import os
import sys
from collections.abc import Coroutine
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

from swarm_persistence.errors import PoolError

if TYPE_CHECKING:
    from concurrent.futures import Future

R = TypeVar("R")

HAS_THREADS = sys.platform != "emscripten"


class _Background:
    """The loop of the process, once it is needed."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self.gate: AbstractContextManager[object] = nullcontext()
        if HAS_THREADS:
            from threading import Lock  # a browser loads no part of this

            self.gate = Lock()

    def start(self) -> asyncio.AbstractEventLoop:
        """Start the loop in a thread, unless that was done before, and return it."""
        from threading import Thread

        with self.gate:
            if self.loop is None:
                try:
                    self.loop = asyncio.new_event_loop()
                except OSError as error:  # it needs descriptors
                    raise PoolError(f"no event loop could be started for blocking calls: {error.strerror}") from error
                # A daemon: it must not block the interpreter's exit.
                Thread(target=self.loop.run_forever, name="swarm-persistence loop", daemon=True).start()
            return self.loop


_background = _Background()


def submit(coroutine: Coroutine[Any, Any, R]) -> "Future[R]":
    """Start a coroutine that outlives its caller, from any thread, and return where its outcome will be."""
    try:
        return asyncio.run_coroutine_threadsafe(coroutine, background_loop())
    except PoolError:
        coroutine.close()
        raise


def background_loop() -> asyncio.AbstractEventLoop:
    """Return the loop; a browser has no threads, and only the one that is running."""
    return _background.start() if HAS_THREADS else asyncio.get_running_loop()


def _forget_in_child() -> None:
    global _background  # noqa: PLW0603 - one background loop for the process is the purpose of this module
    _background = _Background()


if hasattr(os, "register_at_fork"):  # not in a browser
    os.register_at_fork(after_in_child=_forget_in_child)
