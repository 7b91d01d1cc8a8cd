"""Lets the event loop turn until something has come about in a thread."""

import asyncio
from collections.abc import Callable

from swarm_persistence_conformance.waiting import LIMIT_SECONDS


async def until(is_so: Callable[[], bool]) -> None:
    """Let the loop turn until it is so; `TimeoutError` if that takes too long."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while not is_so():  # noqa: ASYNC110 - threads set no asyncio.Event
            await asyncio.sleep(0)
