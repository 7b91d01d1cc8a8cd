"""Delivers the outcome of a write to its caller, or reports that the caller was cancelled."""

import asyncio
from collections.abc import Callable
from typing import Any

OnAbandoned = Callable[[list[Any] | None], None]
"""Called with the results of a write that were not delivered, or with `None` if nothing was written."""


async def delivered(future: "asyncio.Future[Any]", on_abandoned: OnAbandoned) -> Any:
    """Return a future's result; if the caller is cancelled meanwhile, pass the result to `on_abandoned`.

    A future that is not done is cancelled, and the engine calls `on_abandoned` once it knows the outcome.
    """
    try:
        return await future
    except (asyncio.CancelledError, GeneratorExit):  # the latter where a loop is closed before its tasks have ended
        if not future.cancel() and not future.cancelled():
            # asyncio may cancel a task between the answer and the task's next step.
            on_abandoned(None if future.exception() is not None else future.result())
        raise
