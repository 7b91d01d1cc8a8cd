"""Waits for what nothing signals, such as the state of a server or of a thread: polled, under a limit.

A limit ends a wait that would hang, and names what did not come about; it does not measure.
"""

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any

from swarm_persistence_conformance.waiting import LIMIT_SECONDS


async def until(condition: Callable[[], Any], *, pause_seconds: float = 0.001) -> Any:
    """Poll a function, or what it returns to be awaited, until that is true, and return its value.

    With a pause of 0 it is polled in each iteration of the event loop.

    Raises:
        AssertionError: it is not true within the limit; tells what was polled, and the last value.

    """
    value: Any = None
    try:
        async with asyncio.timeout(LIMIT_SECONDS) as limit:
            while True:
                value = condition()
                if inspect.isawaitable(value):
                    value = await value
                if value:
                    return value
                await asyncio.sleep(pause_seconds)
    except TimeoutError:
        if not limit.expired():
            raise
        raise _not_met(condition, value) from None


def block_until(condition: Callable[[], Any], *, pause_seconds: float = 0.001) -> Any:
    """Poll a function in the calling thread until its value is true, and return that; raises as `until` does."""
    end = time.monotonic() + LIMIT_SECONDS
    while not (value := condition()):
        if time.monotonic() > end:
            raise _not_met(condition, value)
        time.sleep(pause_seconds)
    return value


def _not_met(condition: Callable[[], Any], value: object) -> AssertionError:
    try:
        text = inspect.getsource(condition).strip()
    except (OSError, TypeError):
        text = repr(condition)
    return AssertionError(f"not true within {LIMIT_SECONDS:g} s, but {value!r}: {text}")
