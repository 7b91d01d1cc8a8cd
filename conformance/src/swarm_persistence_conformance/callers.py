"""Other callers: asyncio tasks that do not join the transaction of the test."""

import asyncio
from collections.abc import Coroutine
from contextvars import Context
from typing import Any, TypeVar

T = TypeVar("T")


def elsewhere(call: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
    """Start a call as another caller, in an empty context, so that it does not join the current transaction."""
    return asyncio.get_running_loop().create_task(call, context=Context())


async def cancel_after(turns: int, call: Coroutine[Any, Any, T]) -> bool:
    """Start a call as another caller, cancel it after some loop iterations, and return whether it was cancelled.

    Raises what the call raises.
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


def iterations_before_cancelling() -> "list[int]":
    """Return after how many loop iterations to cancel: each of the first ones, then ever fewer."""
    return [*range(12), 20, 50, 100, 300, 1000, 3000]
