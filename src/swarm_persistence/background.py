"""Runs coroutines in a background event loop: one daemon thread for the whole process."""

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
    """The background loop of the process, started on first use."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self._lock: AbstractContextManager[object] = nullcontext()
        if HAS_THREADS:
            from threading import Lock  # not in a browser, which has no threads

            self._lock = Lock()

    def start(self) -> asyncio.AbstractEventLoop:
        """Return the loop; the first call starts it in a daemon thread."""
        from threading import Thread

        with self._lock:
            if self.loop is None:
                try:
                    self.loop = asyncio.new_event_loop()
                except OSError as error:  # the process is out of file descriptors
                    raise PoolError(f"no event loop could be started for blocking calls: {error.strerror}") from error
                # A daemon: it must not block the interpreter's exit.
                Thread(target=self.loop.run_forever, name="swarm-persistence loop", daemon=True).start()
            return self.loop


_background = _Background()


def submit(coroutine: Coroutine[Any, Any, R]) -> "Future[R]":
    """Schedule a coroutine that outlives its caller, from any thread; return its future."""
    try:
        return asyncio.run_coroutine_threadsafe(coroutine, background_loop())
    except PoolError:
        coroutine.close()
        raise


def background_loop() -> asyncio.AbstractEventLoop:
    """Return the background loop; in a browser, which has no threads, the running loop."""
    return _background.start() if HAS_THREADS else asyncio.get_running_loop()


def _reset_in_child() -> None:
    global _background  # noqa: PLW0603 - one background loop for the process is the purpose of this module
    _background = _Background()


if hasattr(os, "register_at_fork"):  # not in a browser
    os.register_at_fork(after_in_child=_reset_in_child)
