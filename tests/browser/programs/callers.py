"""Callers beside the one that a program is, and how their calls end."""

import asyncio
from collections.abc import Awaitable, Coroutine
from contextvars import Context
from typing import Any

from swarm_persistence import StorageError

TIMEOUT_SECONDS = 10


def elsewhere(call: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
    """Start a call as another caller, whose context knows nothing of this one's transaction."""
    return asyncio.get_running_loop().create_task(call, context=Context())


async def outcome(call: Awaitable[Any]) -> str:
    """Wait for a call, and return its error, if it has one, or what else came of it."""
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await call
    except TimeoutError:
        return "hangs"
    except StorageError as error:
        return f"{type(error).__name__}: {error}"
    return "done"
