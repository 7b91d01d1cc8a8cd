"""Runs long blocking work in steps, in a thread of its own, so that an event loop can follow it and stop it."""

import asyncio
import sys
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Generic, TypeVar

from swarm_persistence.engines.interface import Progress
from swarm_persistence.engines.surroundings import running_loop

if TYPE_CHECKING:
    import threading

T = TypeVar("T")

Steps = Generator[tuple[int, int], None, T]
"""Work that tells after each step how much is done, and of how much. Closing it undoes what it has begun."""


async def run_in_steps(begin: "Callable[[threading.Event], Steps[T]]", progress: Progress | None) -> T:
    """Run the work to its end, and return what it returns.

    `begin` gets the event by which a long step learns that it is to be cut short. If the caller is cancelled, or
    `progress` raises, what was begun is undone before this raises.
    """
    # Loaded here: a browser, which has no threads, takes the rest of this module.
    from concurrent.futures import ThreadPoolExecutor
    from threading import Event

    loop = running_loop()
    stop = Event()
    steps = begin(stop)
    # One thread for all steps: they own connections, and no other work of the program can keep them waiting.
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
        # It waits in the thread for the step that may be under way, whatever becomes of this await.
        closing = loop.run_in_executor(thread, steps.close)
        thread.shutdown(wait=False)
        await asyncio.shield(closing)


async def run_beside(work: Callable[[], T]) -> T:
    """Do what may wait for the disk in a thread, and wait for its end even if the caller is cancelled.

    A browser has no threads, and no disk to wait for.
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
    """The return of a generator: no future carries a StopIteration."""

    def __init__(self, result: T) -> None:
        self.result = result


def _next_step(steps: Steps[T]) -> "tuple[int, int] | _End[T]":
    try:
        return next(steps)
    except StopIteration as end:
        return _End(end.value)
