"""Hands the outcome of a write to its caller, or tells that the caller has gone."""

import asyncio
from collections.abc import Callable
from typing import Any

OnAbandoned = Callable[[list[Any] | None], None]
"""Takes the results of a write that were not delivered, or `None` if nothing was written."""


async def delivered(future: "asyncio.Future[Any]", on_abandoned: OnAbandoned) -> Any:
    """Return a future's result; if the caller is cancelled while the result is on its way, hand that over instead.

    Cancels a future that is not done; then the engine calls `on_abandoned` once it knows the outcome.
    """
    try:
        return await future
    except (asyncio.CancelledError, GeneratorExit):  # the latter where a loop is closed before its tasks have ended
        if not future.cancel() and not future.cancelled():
            # asyncio may cancel a task between the answer and the task's next step.
            on_abandoned(None if future.exception() is not None else future.result())
        raise
