"""One event loop in a background thread, shared by all blocking storages of the process."""

import asyncio
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from swarm_persistence.errors import OtherError, PoolError, StorageError

R = TypeVar("R")

_gate = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def run(coroutine: Coroutine[Any, Any, R]) -> R:
    """Run a coroutine in the background loop, in the calling thread's context, and wait for its result."""
    try:
        require_no_loop()
        loop = _running_loop()
    except StorageError:
        coroutine.close()
        raise
    future = asyncio.run_coroutine_threadsafe(coroutine, loop)
    try:
        return future.result()
    except BaseException:
        # Ctrl-C, for one: whoever gives up waiting gives up the call.
        future.cancel()
        # The loop takes the cancellation first: what this thread does next must not overtake it.
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result()
        raise


def require_no_loop() -> None:
    """Raise `OtherError` in a thread that runs an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise OtherError("a blocking call would stop this thread's event loop; use the async storage here")


def _running_loop() -> asyncio.AbstractEventLoop:
    global _loop  # noqa: PLW0603 - one background loop for the process is the purpose of this module
    with _gate:
        if _loop is None:
            try:
                _loop = asyncio.new_event_loop()
            except OSError as error:  # it needs descriptors
                raise PoolError(f"no event loop could be started for blocking calls: {error.strerror}") from error
            threading.Thread(target=_loop.run_forever, name="swarm-persistence loop", daemon=True).start()
        return _loop


def _forget_in_child() -> None:
    global _loop, _gate
    _loop, _gate = None, threading.Lock()


if hasattr(os, "register_at_fork"):  # not in a browser
    os.register_at_fork(after_in_child=_forget_in_child)
