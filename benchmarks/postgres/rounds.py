"""One measurement: so many callers, each of which waits for one operation before the next, for so many seconds."""

import asyncio
import time
from collections.abc import Awaitable, Callable

Operation = Callable[[int], Awaitable[object]]


async def rate_of(operation: Operation, in_flight: int, seconds: float) -> float:
    """Return the operations done a second; each gets a number of its own."""
    numbers = iter(range(10**9))
    deadline = time.perf_counter() + seconds
    done = 0

    async def call() -> None:
        nonlocal done
        for number in numbers:
            await operation(number)
            done += 1
            if time.perf_counter() >= deadline:
                return

    started = time.perf_counter()
    await asyncio.gather(*(call() for _ in range(in_flight)))
    return done / (time.perf_counter() - started)
