"""Other callers: code that runs in a task of its own and has no part in the transaction of the test."""

import asyncio
from collections.abc import Coroutine
from contextvars import Context
from typing import Any, TypeVar

T = TypeVar("T")


def elsewhere(call: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
    """Start a call as another caller, whose context knows nothing of this one's transaction."""
    return asyncio.get_running_loop().create_task(call, context=Context())


async def cancel_after(turns: int, call: Coroutine[Any, Any, T]) -> bool:
    """Start a call as another caller, cancel it after so many turns of the loop, and tell whether that stopped it.

    An error of the call is raised.
    """
    task = elsewhere(call)
    for _ in range(turns):
        if task.done():
            break
        await asyncio.sleep(0)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        return True
    return False


def turns_before_cancelling() -> "list[int]":
    """Return after how many turns to cancel: each of the first, where the awaits are, then ever more."""
    return [*range(12), 20, 50, 100, 300, 1000, 3000]
