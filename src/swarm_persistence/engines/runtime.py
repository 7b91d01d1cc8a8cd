"""Checks the runtime around a storage: asyncio's event loop must run, and threads must be real ones."""

import asyncio
import sys
from typing import Any

from swarm_persistence.errors import OtherError

if sys.platform == "emscripten":
    from contextlib import nullcontext

    new_lock = nullcontext  # a browser has no threads

    def thread_id() -> int:
        """Return the number of the only thread."""
        return 0
else:
    from threading import Lock, get_ident

    new_lock, thread_id = Lock, get_ident

_GEVENT_PARTS = ("threading", "thread", "queue", "select")


def running_loop() -> asyncio.AbstractEventLoop:
    """Return the running event loop; without one, raise `OtherError`, which names the library that runs instead."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        pass
    if _other_library() == "trio":
        raise OtherError(
            "the storage needs asyncio's event loop, and trio runs here; call the blocking form, open_storage(), by "
            "trio.to_thread.run_sync, or open a loop of asyncio by trio-asyncio"
        )
    raise OtherError(
        "the storage needs asyncio's event loop, and none runs here; call it within asyncio.run(), or use "
        "the blocking form, open_storage()"
    )


def require_real_threads() -> None:
    """Raise `OtherError` if gevent or eventlet has replaced threads: they would deadlock."""
    gevent: Any = sys.modules.get("gevent.monkey")
    if gevent is not None and any(gevent.is_module_patched(part) for part in _GEVENT_PARTS):
        raise OtherError(
            "the storage needs real threads, and gevent has replaced them; call gevent's "
            "monkey.patch_all(thread=False, queue=False, select=False), or run this in a worker that patches nothing "
            "(gunicorn: gthread; Celery: prefork or threads)"
        )
    eventlet: Any = sys.modules.get("eventlet.patcher")
    if eventlet is not None and any(eventlet.is_monkey_patched(part) for part in ("thread", "select")):
        raise OtherError(
            "the storage needs real threads, and eventlet has replaced them; call "
            "eventlet.monkey_patch(thread=False, select=False), or run this in a worker that patches nothing"
        )


def require_own_threads() -> None:
    """Raise `OtherError` if gevent or eventlet has replaced threads after this library has taken locks from them.

    A browser has no threads at all, and a call that waited would stop its page.
    """
    if sys.platform == "emscripten":
        raise OtherError("a blocking call would stop the page's event loop; use the async storage here")
    import threading

    if threading.Lock is not new_lock:
        raise OtherError(
            "threads were replaced after swarm_persistence was imported, by gevent or eventlet; patch before any "
            "other import"
        )


def _other_library() -> str | None:
    """Return the async library that runs this coroutine, if it brings sniffio, which tells."""
    sniffio: Any = sys.modules.get("sniffio")
    if sniffio is None:
        return None
    try:
        name: str = sniffio.current_async_library()
    except sniffio.AsyncLibraryNotFoundError:
        return None
    return name
