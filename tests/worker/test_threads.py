"""Facts about the threads of blocking handlers."""

import asyncio
import threading

import pytest

from swarm_persistence.worker.threads import HandlerThreads


async def test_the_thread_of_a_cancelled_call_counts_as_abandoned_until_it_is_free() -> None:
    has_started, may_return, is_free = threading.Event(), threading.Event(), asyncio.Event()
    threads = HandlerThreads(1, is_free.set)

    def handle() -> None:
        has_started.set()
        may_return.wait()

    try:
        call = asyncio.ensure_future(threads.run(handle))
        await asyncio.to_thread(has_started.wait)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert threads.abandoned == 1

        may_return.set()
        await is_free.wait()

        assert threads.abandoned == 0
        assert await threads.run(lambda: "next") == "next"
    finally:
        may_return.set()
        threads.close()


async def test_an_idle_thread_runs_the_next_call_though_more_threads_are_allowed() -> None:
    threads = HandlerThreads(4, lambda: None)

    try:
        used = [await threads.run(threading.get_ident) for _ in range(5)]
    finally:
        threads.close()

    assert len(set(used)) == 1
