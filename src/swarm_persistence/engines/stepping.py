"""Runs long blocking work step by step in a thread, so that an event loop can report progress and cancel it."""

import asyncio
import sys
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Generic, TypeVar

from swarm_persistence.engines.interface import Progress
from swarm_persistence.engines.runtime import running_loop

if TYPE_CHECKING:
    import threading

T = TypeVar("T")

Steps = Generator[tuple[int, int], None, T]
"""Work that yields the amount done and the total after each step. Closing it undoes the work."""


async def run_in_steps(begin: "Callable[[threading.Event], Steps[T]]", progress: Progress | None) -> T:
    """Run the work to its end, and return its result.

    `begin` receives an event that tells a long step to stop early. If the caller is cancelled, or `progress` raises,
    the work is undone before this raises.
    """
    # Imported here: a browser has no threads, but uses the rest of this module.
    from concurrent.futures import ThreadPoolExecutor
    from threading import Event

    loop = running_loop()
    stop = Event()
    steps = begin(stop)
    # One dedicated thread: the steps own connections, and must not queue behind other work.
    thread = ThreadPoolExecutor(1, thread_name_prefix="swarm-persistence steps")
    try:
        while True:
            outcome = await loop.run_in_executor(thread, _next_step, steps)
            if isinstance(outcome, _End):
                return outcome.result
            if progress is not None:
                progress(*outcome)
    finally:
        stop.set()
        # The thread closes the work after the current step, even if this await is cancelled.
        closing = loop.run_in_executor(thread, steps.close)
        thread.shutdown(wait=False)
        await asyncio.shield(closing)


async def run_beside(work: Callable[[], T]) -> T:
    """Run blocking work in a thread, and wait for its end even if the caller is cancelled.

    In a browser, which has no threads, run it directly.
    """
    if sys.platform == "emscripten":
        return work()
    running_loop()
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait((task,))
        raise


class _End(Generic[T]):
    """The return value of a generator, since a future cannot hold a StopIteration."""

    def __init__(self, result: T) -> None:
        self.result = result


def _next_step(steps: Steps[T]) -> "tuple[int, int] | _End[T]":
    try:
        return next(steps)
    except StopIteration as end:
        return _End(end.value)
