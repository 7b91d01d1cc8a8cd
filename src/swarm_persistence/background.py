"""Runs coroutines beside the caller's event loop: in one loop of a daemon thread that the whole process shares."""

import asyncio
import os
import sys
from collections.abc import Coroutine
from concurrent.futures import Future
from threading import Lock, Thread
from typing import Any, TypeVar

from swarm_persistence.errors import PoolError

R = TypeVar("R")

HAS_THREADS = sys.platform != "emscripten"

_gate = Lock()
_loop: asyncio.AbstractEventLoop | None = None


def submit(coroutine: Coroutine[Any, Any, R]) -> "Future[R]":
    """Start a coroutine that outlives its caller, from any thread, and return where its outcome will be."""
    try:
        return asyncio.run_coroutine_threadsafe(coroutine, background_loop())
    except PoolError:
        coroutine.close()
        raise


def background_loop() -> asyncio.AbstractEventLoop:
    """Return the loop; a browser has no threads, and only the one that is running."""
    global _loop  # noqa: PLW0603 - one background loop for the process is the purpose of this module
    if not HAS_THREADS:
        return asyncio.get_running_loop()
    with _gate:
        if _loop is None:
            try:
                _loop = asyncio.new_event_loop()
            except OSError as error:  # it needs descriptors
                raise PoolError(f"no event loop could be started for blocking calls: {error.strerror}") from error
            # A daemon: it must not block the interpreter's exit.
            Thread(target=_loop.run_forever, name="swarm-persistence loop", daemon=True).start()
        return _loop


def _forget_in_child() -> None:
    global _loop, _gate
    _loop, _gate = None, Lock()


if hasattr(os, "register_at_fork"):  # not in a browser
    os.register_at_fork(after_in_child=_forget_in_child)
